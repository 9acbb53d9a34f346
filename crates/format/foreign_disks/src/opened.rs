//! What a format's code makes of a file.

use std::sync::Arc;

use disk::Layer;

/// A layer, and what kind of its format it is.
pub(crate) struct Opened {
    pub(crate) layer: Arc<dyn Layer>,
    pub(crate) kind: String,
}
