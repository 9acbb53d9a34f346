//! Where everything lies below the data folder.

use std::path::{Path, PathBuf};

use crate::names::{Digest, InstanceName};

/// The version of this layout, as the file `version` says it.
pub(crate) const VERSION: &str = "1";
/// Name of the file in an instance's folder that says what is known of its image.
pub(crate) const INSTANCE_IMAGE: &str = "image.json";
const METADATA_ENDING: &str = "json";

#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Layout {
        Layout { root: root.to_owned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// All folders, outer ones first.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        let blobs = self.root.join("blobs");
        vec![
            self.root.clone(),
            blobs,
            self.blobs(),
            self.images(),
            self.partial(),
            self.staging(),
            self.instances(),
            self.locks(),
            self.damaged(),
        ]
    }

    pub(crate) fn version(&self) -> PathBuf {
        self.root.join("version")
    }

    /// The file whose lock is the store's own.
    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(crate) fn aliases(&self) -> PathBuf {
        self.root.join("aliases.json")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    /// A blob's path as seen from a folder in `instances` or `staging`.
    pub(crate) fn blob_from_instance(digest: &Digest) -> String {
        format!("../../blobs/sha256/{}", digest.hex())
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(crate) fn image(&self, id: &Digest) -> PathBuf {
        self.images().join(format!("{}.{METADATA_ENDING}", id.hex()))
    }

    /// The id in the name of a metadata file.
    pub(crate) fn image_id(path: &Path) -> Option<Digest> {
        let name = path.file_name()?.to_str()?;
        let (hex, ending) = name.split_once('.')?;
        if ending == METADATA_ENDING { hex.parse().ok() } else { None }
    }

    pub(crate) fn partial(&self) -> PathBuf {
        self.root.join("partial")
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    pub(crate) fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    pub(crate) fn damaged(&self) -> PathBuf {
        self.root.join("damaged")
    }

    pub(crate) fn instances(&self) -> PathBuf {
        self.root.join("instances")
    }

    pub(crate) fn instance(&self, name: &InstanceName) -> PathBuf {
        self.instances().join(name.as_str())
    }
}
