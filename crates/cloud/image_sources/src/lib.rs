//! Where images come from: a catalogue of vendors, package archives, files, OCI registries.

mod fetch;
mod progress;

pub use fetch::{Download, FetchError, FetchEvent, FetchEvents, FetchSettings, Fetched, Fetcher};
pub use progress::{Progress, RateMeter};
