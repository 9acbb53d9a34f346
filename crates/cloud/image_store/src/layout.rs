//! Where everything lies below the data folder.

use std::path::{Path, PathBuf};

use vm_spec::VmName;

use image_model::Digest;

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

    pub(crate) fn instance(&self, name: &VmName) -> PathBuf {
        self.instances().join(name.as_str())
    }
}

/// A path as messages have it: what lies inside of a store is said in words, as its names say nothing to a person.
pub fn place_in_words(path: &Path) -> String {
    let parts: Vec<&str> = path.iter().map(|part| part.to_str().unwrap_or_default()).collect();
    match parts.as_slice() {
        // What a person may have to move away is said as it is.
        [.., "instances", _, "instance.json" | "machine.json"] => path.display().to_string(),
        [.., "instances", name] | [.., "instances", name, _] if name.parse::<VmName>().is_ok() => {
            format!("the disk of VM {name}")
        }
        [.., "blobs", "sha256", digest] if digest.parse::<Digest>().is_ok() => {
            format!("the file {} of the store of images", &digest[..12])
        }
        [.., "images", _] if Layout::image_id(path).is_some() => {
            let id = Layout::image_id(path).map(|id| id.short()).unwrap_or_default();
            format!("what is known of image {id}")
        }
        [.., "staging", temporary] | [.., "staging", temporary, _] if is_random(temporary) => {
            "a new file of the store of images".to_owned()
        }
        [.., "partial", key] | [.., "partial", key, _] if key.get(..16).is_some_and(is_random) => {
            "a download into the store of images".to_owned()
        }
        [.., "locks", key] if key.get(..16).is_some_and(is_random) => {
            "a lock of the store of images".to_owned()
        }
        [.., "aliases.json"] => "the list of images' names".to_owned(),
        _ => path.display().to_string(),
    }
}

/// Whether a name is as those that are made up here.
fn is_random(name: &str) -> bool {
    name.len() >= 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_a_store_is_said_in_words() {
        let layout = Layout::new(Path::new("/var/lib/yagura"));
        let digest = Digest::from_bytes([0xab; 32]);
        let vm: VmName = "web1".parse().unwrap();
        let staging = layout.staging().join("0123456789abcdef");
        for (path, words) in [
            (layout.instance(&vm), "the disk of VM web1"),
            (layout.instance(&vm).join("disk.raw"), "the disk of VM web1"),
            (layout.instance(&vm).join("instance.json"), "/var/lib/yagura/instances/web1/instance.json"),
            (layout.blob(&digest), "the file abababababab of the store of images"),
            (layout.image(&digest), "what is known of image abababababab"),
            (staging.clone(), "a new file of the store of images"),
            (staging.join("disk"), "a new file of the store of images"),
            (layout.aliases(), "the list of images' names"),
            (layout.root().to_owned(), "/var/lib/yagura"),
            (PathBuf::from("/srv/ann/images/a.raw"), "/srv/ann/images/a.raw"),
            (PathBuf::from("staging/disk"), "staging/disk"),
            (PathBuf::from("locks/web1"), "locks/web1"),
        ] {
            assert_eq!(place_in_words(&path), words);
        }
    }
}
