//! Where images come from: a catalogue of vendors, addresses, files and OCI registries.
//!
//! ```text
//!  a name ──► Source::parse ──► Catalogue: entry, vendor's file, checksum ──┐
//!                          ├──► Url ────────────────────────────────────────┴──► Fetcher::download ──► unpack ──► disk
//!                          ├──► File ─────────────────────────────────────────────────────────────────► unpack ──► disk
//!                          └──► Oci ──► Fetcher::pull_oci ──► OciImage: layers and configuration
//! ```
//!
//! What comes out are files that were checked against the digest that was promised; what is *in* them is
//! foreign still, and is read elsewhere, in a confined process. Downloads go on after an interruption
//! ([`Fetcher::download`]).
//!
//! Nothing here is asynchronous to its caller. A [`Fetcher`] must not be used inside of an asynchronous
//! runtime.

mod catalogue;
mod fetch;
mod file_kind;
mod oci;
mod progress;
mod source;

pub use catalogue::{
    Catalogue, CatalogueEntry, CatalogueError, VendorBoot, VendorChecksum, VendorFile, find_checksum,
};
pub use fetch::{Download, FetchError, FetchEvent, FetchEvents, FetchSettings, Fetched, Fetcher};
pub use file_kind::{FileFormat, FileKind, FileKindError};
pub use oci::{Layer, OciError, OciImage};
pub use progress::{Progress, RateMeter};
pub use source::{Source, SourceError};
