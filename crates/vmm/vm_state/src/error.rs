//! Why a saved state is not believed.

use arch_model::x86_64::BadState;
use vm_spec::blueprint::BlueprintError;

use crate::file::{FORMAT, Section};

/// What is wrong with a saved state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The bytes are something else.
    #[error("this is no saved state of a machine")]
    NotAState,
    /// It was written on another architecture.
    #[error("this is the state of a machine of another architecture (ELF machine {0}, and this one is 62)")]
    Architecture(u32),
    /// It was written by a newer program.
    #[error(
        "this state was written by {build}, in format {found}; this program reads format {FORMAT}, use a newer one"
    )]
    Format {
        /// The format.
        found: u32,
        /// Which program wrote it.
        build: String,
    },
    /// A part of it was written by a newer program, or one so old that nobody reads it any more.
    #[error("the {section} of this state has version {found}, and this program reads {expected}")]
    Version {
        /// The part.
        section: Section,
        /// Its version.
        found: u32,
        /// The version that is read.
        expected: u32,
    },
    /// It is cut, or something was added.
    #[error("this state has {found} bytes and should have {expected}; it was not copied whole")]
    Length {
        /// Its bytes.
        found: u64,
        /// How many its header tells of.
        expected: u64,
    },
    /// What is read is not what was written.
    #[error("the {0} of this state is damaged")]
    Damaged(Section),
    /// A part is there twice or not at all.
    #[error("this state does not have exactly one {0}")]
    Sections(Section),
    /// The description of the machine.
    #[error(transparent)]
    Blueprint(#[from] BlueprintError),
    /// A device has no state.
    #[error("this state lacks that of device {0}")]
    Missing(String),
    /// A device has two states.
    #[error("this state has two of device {0}")]
    Twice(String),
    /// The machine has no such device.
    #[error("this state has one of device {0}, which the machine does not have")]
    Foreign(String),
    /// The number of vCPUs is not the machine's.
    #[error("this state has {found} vCPUs, and its machine {expected}")]
    Vcpus {
        /// vCPUs in the state.
        found: usize,
        /// vCPUs of the machine.
        expected: usize,
    },
    /// No vCPU can be in this state.
    #[error("this state is none of vCPU {index}: {source}")]
    Vcpu {
        /// Which vCPU.
        index: usize,
        /// What is wrong.
        source: BadState,
    },
    /// The interrupt controller or the clock cannot be in this state.
    #[error("this state is none of the machine's interrupt controller and clock: {0}")]
    Platform(BadState),
    /// It cannot be written: a mistake in its types.
    #[error("the machine's state cannot be written")]
    Encode,
}
