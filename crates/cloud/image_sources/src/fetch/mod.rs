//! HTTP: downloads that go on after an interruption, bounded in time and size, and checked while they come.

mod download;
mod error;
mod partial;
mod redirects;
mod resolver;
mod transport;

pub use download::{Download, FetchEvent, FetchEvents, Fetched, Fetcher};
pub use error::FetchError;
pub use transport::FetchSettings;

pub(crate) use download::parse_url;
pub(crate) use error::shown;
