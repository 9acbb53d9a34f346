//! Why an import came to nothing.

use std::io;
use std::time::Duration;

/// Each says what, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The image is damaged, or wants what is not given.
    #[error("{0}")]
    Refused(String),
    /// A file that the disk's own names.
    #[error("disk {name} has data in '{extent}', which cannot be opened beside it")]
    Extent {
        /// The disk.
        name: String,
        /// The file, as it names it.
        extent: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The child broke off.
    #[error(
        "{name} made its reader fail ({how}): the image is damaged or malicious; \
         get it again, and check it against its publisher's checksum"
    )]
    Died {
        /// The image.
        name: String,
        /// What ended the child.
        how: String,
    },
    /// More memory than the child may have.
    #[error(
        "{name} needs more than {limit} of memory to be read: the image is damaged or malicious; \
         get it again, and check it against its publisher's checksum"
    )]
    Memory {
        /// The image.
        name: String,
        /// What the child may have.
        limit: String,
    },
    /// More time than the child may take.
    #[error("{name} was not read within {} seconds; get it again, or try on a faster host", .limit.as_secs())]
    TimedOut {
        /// The image.
        name: String,
        /// What was allowed.
        limit: Duration,
    },
    /// The child's answer is impossible.
    #[error(
        "the reader of {name} answers what cannot be ({what}): the image is malicious; \
         get it again, and check it against its publisher's checksum"
    )]
    Impossible {
        /// The image.
        name: String,
        /// What it answered.
        what: &'static str,
    },
    /// Nobody wants it any more.
    #[error(transparent)]
    Cancelled(#[from] messages::Cancelled),
    /// This host does not let a process confine itself.
    #[error("images cannot be read safely on this host: {0}")]
    Unconfined(String),
    /// The child cannot be started or spoken to.
    #[error("cannot {operation} the confined reader of images")]
    Child {
        /// What was tried.
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}
