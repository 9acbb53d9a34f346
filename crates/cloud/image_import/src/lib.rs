//! Foreign formats are read here, in a child process that can do nothing but that.
//!
//! ```text
//! Importer ──spawns──► this program again: child_main ─► sandbox::enter ─► the job
//!    │  ──order, open descriptors──►                                          │ reads sources, writes outputs
//!    ◄──────────── progress, outcome or complaint ────────────────────────────┘
//! ```
//!
//! - The parent opens every file; the child gets descriptors and never a name that it could open.
//! - Once it has read a byte of somebody else's, the child is not believed: what it answers is bounded and
//!   checked, and what it writes is a raw disk, a tar archive that the parent reads as such, or plain bytes.
//! - A child that does what it may not do, asks for too much memory, or takes too long is ended, and the caller
//!   gets one line that says so.
//!
//! Whoever uses an [`Importer`] that starts this program again has to call [`child_main`] in `main` when
//! [`CHILD_COMMAND`] is the first argument, before anything else.

mod answers;
mod appliance;
mod archived_file;
mod child;
mod error;
mod importer;
mod inputs;
mod layers;
mod limits;
mod position;
mod text;
mod unpack;
mod wire;

use std::ffi::OsString;

pub use appliance::{Appliance, ApplianceDisk};
pub use archived_file::NoSuchFile;
pub use child::child_main;
pub use error::ImportError;
pub use importer::Importer;
pub use inputs::{
    Boot, BootOutputs, BootRoot, Converted, Described, DiskFile, Dropped, InputFile, LayerFile, Layout,
    Merged, Recognized,
};
pub use limits::Limits;
pub use unpack::{UnpackError, unpack};

/// The hidden subcommand under which a program becomes the confined child.
pub const CHILD_COMMAND: &str = "confined-import";

/// Whether this process is to be the confined child: [`CHILD_COMMAND`] is its first argument.
pub fn is_child(mut arguments: impl Iterator<Item = OsString>) -> bool {
    arguments.nth(1).is_some_and(|argument| argument == CHILD_COMMAND)
}

/// What the fuzz targets reach past the child.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::appliance::{read_archive as read_appliance, read_envelope};
    pub use crate::layers::merge_in_memory;
}
