//! Where images come from: a catalogue of vendors, package archives, files, OCI registries.

mod fetch;
mod file_kind;
mod progress;
mod unpack;

pub use fetch::{Download, FetchError, FetchEvent, FetchEvents, FetchSettings, Fetched, Fetcher};
pub use file_kind::{Compression, FileFormat, FileKind, FileKindError};
pub use progress::{Progress, RateMeter};
pub use unpack::{UnpackError, unpack};
