//! Snapshots of VMs on disk: what is in one, and the folder that it is whole in or not at all.
//!
//! ```text
//! snapshots/web1/before-upgrade/
//!     snapshot.json     what it is (record), written last
//!     state             devices, platform, vCPUs (vm_state)
//!     ram, ram-index    pages that are not zero, and which those are
//!     disk-root.qcow2   each disk as it was at that moment
//!     kernel, initrd-0  what the machine starts with after a reset
//! ```
//!
//! begin ─► a folder that is called `.new-…` ─► its files are written and synced ─► keep: it is given its name
//!
//! Whoever writes it is the VM's process, which alone sees its RAM; who asks for it holds the lock and gives it its name.
//! Every byte may be somebody's work: names are of one form, so that no file outside of the folder is ever opened; numbers
//! are bounded; checksums are seen to before what is behind them is used.
//!
//! May not depend on engines, devices or the machine.

mod chain;
mod error;
mod file_name;
mod folder;
mod name;
pub mod ram;
mod record;
mod restored;
mod snapshot;
#[cfg(test)]
mod tests;
mod time;

pub use chain::{Chain, DEPTH_MAX, KeptBase};
pub use error::SnapshotError;
pub use file_name::FileName;
pub use folder::{Snapshots, Staging, check_description};
pub use name::{SnapshotId, SnapshotName};
pub use record::BYTES_MAX as RECORD_BYTES_MAX;
pub use record::{Keeping, KeptBacking, KeptBoot, KeptCard, KeptDisk, KeptFile, KeptModule, Record};
pub use restored::{Origin, Restored};
pub use snapshot::Snapshot;
pub use time::{now_s, utc};

/// File of the record.
pub const RECORD: &str = "snapshot.json";
/// File of the machine's state.
pub const STATE: &str = "state";
/// File of its RAM.
pub const RAM: &str = "ram";
/// File of the index of its RAM.
pub const RAM_INDEX: &str = "ram-index";
