//! The PCI bus: configuration space, MSI-X, and the root that decodes the guest's accesses.
//!
//! Sections are those of the PCI Local Bus Specification, revision 3.0, unless they name another document.
//!
//! ```text
//! ports 0xcf8–0xcff ─┐
//! ECAM window ───────┼─► PciRoot ─► dyn PciFunction (ConfigSpace, Msix inside)
//! memory windows ────┘
//! ```
//!
//! One bus, 32 slots, one function a slot; INTx is not offered, so functions interrupt by MSI-X alone. This
//! crate may not depend on an engine, on virtio, or on the platform's address map: windows are plain numbers.
//! Used by: `virtio_core` (a function's own half) and `machine` (the root).

mod config_space;
mod msix;
mod root;
mod spec;

pub use config_space::{ConfigSpace, ConfigSpaceState, Identity};
pub use msix::{MAX_VECTORS, Msix, MsixPlacement, MsixState, MsixVectors, NO_SUCH_VECTOR};
pub use root::{AssignError, AttachError, PciRoot, PciRootState, Slot, Window, Windows};
pub use spec::CLASS_HOST_BRIDGE;
