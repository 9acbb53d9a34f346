//! A guest driver made of plain function calls: virtio devices are driven on fake memory, a fake interrupt
//! controller and no engine, by tests and by fuzz targets.
//!
//! ```text
//! DirectDriver ──start_queue──► dyn VirtioDevice        one device, no transport
//! PciDriver    ──accesses─────► PciRoot, VirtioPci      one device, driven as a guest drives it
//! RingDriver   ──descriptors──► guest memory            the driver's half of a split ring, hostile if asked
//! Arena        ──addresses────► guest memory            where buffers and rings lie
//! ```
//!
//! This is test support: it panics with a word of explanation where a test is at fault. What the *device*
//! does wrong comes back as a value.

mod arena;
mod direct;
mod doorbells;
mod echo;
pub mod golden;
mod interrupt;
mod pci_driver;
mod ring;

pub use arena::{Arena, Piece};
pub use direct::{DirectDriver, REPLY_TIMEOUT, Reply};
pub use doorbells::RecordingDoorbells;
pub use echo::{EchoControl, EchoDevice};
pub use interrupt::RecordingInterrupt;
pub use pci_driver::{PciDriver, RegionStructure, WINDOWS};
pub use ring::{Descriptor, RingDriver, Used};
