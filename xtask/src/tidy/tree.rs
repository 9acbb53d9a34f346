//! The tree as the checks see it: packages from `cargo metadata`, text files from the disk.

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, MetadataCommand};
use std::path::{Path, PathBuf};

/// Folders that hold nothing that people wrote.
const SKIPPED_FOLDERS: &[&str] = &["target", "node_modules", "dist", "corpus", "artifacts", "coverage"];
/// Folders whose name starts with a dot and that belong to the project.
const DOT_FOLDERS: &[&str] = &[".ci", ".cargo", ".config", ".github"];

/// Where a package stands. The folder is the tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    Host,
    Contract,
    Engine,
    Device,
    Backend,
    /// What other programs write, and nobody runs on.
    Format,
    Boot,
    Vmm,
    /// Programs that run in guests.
    Guest,
    Cloud,
    App,
    /// Not part of what is shipped: xtask, tests, fuzz, bench.
    Outside,
}

impl Tier {
    fn of(folder: &Path) -> Option<Self> {
        let mut parts = folder.iter().map(|part| part.to_string_lossy());
        if parts.next()? != "crates" {
            return Some(Self::Outside);
        }
        Some(match parts.next()?.as_ref() {
            "host" => Self::Host,
            "contract" => Self::Contract,
            "engine" => Self::Engine,
            "device" => Self::Device,
            "backend" => Self::Backend,
            "format" => Self::Format,
            "boot" => Self::Boot,
            "vmm" => Self::Vmm,
            "guest" => Self::Guest,
            "cloud" => Self::Cloud,
            "app" => Self::App,
            _ => return None,
        })
    }
}

/// A package of the workspace.
pub struct Package {
    pub name: String,
    /// Below the root.
    pub folder: PathBuf,
    /// Nothing when the folder is none of the tiers'.
    pub tier: Option<Tier>,
    /// What it is built from; what only its tests use is left out.
    pub dependencies: Vec<String>,
    /// The first files of its targets, below the root.
    pub roots: Vec<PathBuf>,
    /// The text of its Cargo.toml.
    pub manifest: String,
}

/// A text file.
pub struct File {
    /// Below the root.
    pub path: PathBuf,
    pub text: String,
}

impl File {
    /// Whether its name ends with `.rs`.
    pub fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }
}

/// Packages and files.
pub struct Tree {
    pub root: PathBuf,
    pub packages: Vec<Package>,
    pub files: Vec<File>,
}

impl Tree {
    /// Reads the tree at `root`.
    pub fn read(root: &Path) -> Result<Self> {
        let root = root.canonicalize()?;
        let packages = packages(&root)?;
        let mut files = Vec::new();
        read_files(&root, &root, &mut files)?;
        files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(Self { root, packages, files })
    }

    /// The file at a path below the root.
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == Path::new(path))
    }

    /// The package that a file belongs to.
    pub fn package_of(&self, path: &Path) -> Option<&Package> {
        self.packages
            .iter()
            .filter(|package| path.starts_with(&package.folder))
            .max_by_key(|package| package.folder.as_os_str().len())
    }
}

fn packages(root: &Path) -> Result<Vec<Package>> {
    let mut command = MetadataCommand::new();
    command.manifest_path(root.join("Cargo.toml")).no_deps();
    let metadata = command.exec().context("cargo metadata failed")?;
    let below = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_owned();
    let package = |package: &cargo_metadata::Package| -> Result<Package> {
        let manifest_path = package.manifest_path.as_std_path();
        let folder = below(manifest_path.parent().unwrap_or(root));
        let shipped =
            package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development);
        Ok(Package {
            name: package.name.to_string(),
            tier: Tier::of(&folder),
            folder,
            dependencies: shipped.map(|dependency| dependency.name.clone()).collect(),
            roots: package.targets.iter().map(|target| below(target.src_path.as_std_path())).collect(),
            manifest: std::fs::read_to_string(manifest_path)?,
        })
    };
    metadata.packages.iter().map(package).collect()
}

fn read_files(root: &Path, folder: &Path, files: &mut Vec<File>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let ours = if name.starts_with('.') {
                DOT_FOLDERS.contains(&&*name)
            } else {
                !SKIPPED_FOLDERS.contains(&&*name)
            };
            if ours {
                read_files(root, &path, files)?;
            }
        } else if kind.is_file()
            && let Ok(text) = std::fs::read_to_string(&path)
        {
            files.push(File { path: path.strip_prefix(root)?.to_owned(), text });
        }
    }
    Ok(())
}
