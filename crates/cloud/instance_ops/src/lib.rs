//! What is done with instances, a file a verb: the ordered steps, and what is undone when one fails.
//!
//! ```text
//! image ─► create: seed, record, disk ─► instances/web1/ ─► open ─► boot (kernel out of the disk) ─► a VM's process
//!                                             │                                                        │
//!                                        delete            machine.json: what it was resolved to ◄─────┘
//! ```
//!
//! An instance has two records: who it is ([`InstanceRecord`], written once, here), and what its machine is
//! (`vm_spec::MachineRecord`, written at each start by the VM's process). Used by: the command line, and whatever else acts
//! for a person. Prints nothing.

mod boot;
mod create;
mod delete;
mod error;
mod open;
mod parts;
mod random;
mod record;

use image_import::Importer;
use image_store::Store;

pub use boot::BootPlan;
pub use create::FirstBootChoices;
pub use error::InstanceError;
pub use open::Instance;
pub use record::{InstanceRecord, RecordFault};

/// Where instances are, and who reads their disks.
#[derive(Clone, Copy, Debug)]
pub struct Instances<'a> {
    /// The store.
    pub store: &'a Store,
    /// Starts confined readers.
    pub importer: &'a Importer,
}
