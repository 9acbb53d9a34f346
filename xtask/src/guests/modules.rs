//! Which kernel modules to load, and in which order.
//!
//! A Debian kernel package ships no modules.dep: what a module needs is read from its own `.modinfo`.

use crate::process;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The modules of one kernel.
pub struct Modules {
    files: BTreeMap<String, PathBuf>,
}

/// A module's name and content.
pub type Module = (String, Vec<u8>);

impl Modules {
    /// Finds the modules below `folder`.
    pub fn find(folder: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            let entries =
                std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
            for path in entries.flatten().map(|entry| entry.path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if let Some(name) = module_name(&path) {
                    files.insert(name, path);
                }
            }
        }
        Ok(Self { files })
    }

    /// The `wanted` modules and what they need, in the order to load them. A name that stands for no file is
    /// taken for built in.
    pub fn in_load_order(&self, wanted: &[&str]) -> Result<Vec<Module>> {
        let mut loaded = Vec::new();
        let mut seen = HashSet::new();
        for name in wanted {
            self.load(&normal(name), &mut seen, &mut loaded)?;
        }
        Ok(loaded)
    }

    fn load(&self, name: &str, seen: &mut HashSet<String>, loaded: &mut Vec<Module>) -> Result<()> {
        let Some(file) = self.files.get(name).filter(|_| seen.insert(name.to_owned())) else { return Ok(()) };
        let content = read(file)?;
        for dependency in depends(&content) {
            self.load(&dependency, seen, loaded)?;
        }
        loaded.push((name.to_owned(), content));
        Ok(())
    }
}

fn module_name(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let (stem, extension) = file.split_once(".ko")?;
    matches!(extension, "" | ".xz" | ".zst").then(|| normal(stem))
}

fn normal(name: &str) -> String {
    name.replace('-', "_")
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let unpacker = match file.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return std::fs::read(file).with_context(|| format!("cannot read {}", file.display())),
    };
    process::output_bytes(Command::new(unpacker).arg("-dc").arg(file))
}

/// The names in the `depends=` line of a module's `.modinfo`, a list of strings that end with a zero byte.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let line = module[at + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(line);
    names.split(',').filter(|name| !name.is_empty()).map(normal).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake(modules: &[(&str, &str)]) -> (tempfile::TempDir, Modules) {
        let folder = tempfile::tempdir().unwrap();
        for (name, depends) in modules {
            let content = format!("\x7fELF\0license=GPL\0depends={depends}\0name={name}\0");
            std::fs::write(folder.path().join(format!("{name}.ko")), content).unwrap();
        }
        let found = Modules::find(folder.path()).unwrap();
        (folder, found)
    }

    fn order(modules: &[(&str, &str)], wanted: &[&str]) -> Vec<String> {
        let (_folder, found) = fake(modules);
        found.in_load_order(wanted).unwrap().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let modules = [("kvm-amd", "kvm,ccp"), ("kvm", "irqbypass"), ("irqbypass", ""), ("ccp", "")];
        assert_eq!(order(&modules, &["kvm", "kvm_amd"]), ["irqbypass", "kvm", "ccp", "kvm_amd"]);
    }

    #[test]
    fn what_has_no_file_is_built_in() {
        assert_eq!(order(&[("virtio_net", "ext4")], &["8250", "virtio_net"]), ["virtio_net"]);
    }
}
