//! The user's cache folder: what is fetched and built for guests, kept by content.
//!
//! An entry's name carries the sha256 of its recipe (the text of what is done, and its inputs). It is built
//! in a folder beside its place and renamed into it, so that an entry either is whole or is not there. A
//! file lock for each entry keeps two runs from building the same thing at once.

use crate::progress;
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Entries of the same name that nobody has used for so long are removed when a new one is built.
const KEEP_UNUSED: Duration = Duration::from_secs(14 * 24 * 3600);

/// The text that says how an entry is made; equal recipes give equal entries.
pub struct Recipe {
    name: String,
    digest: Sha256,
}

impl Recipe {
    /// A recipe for the entry `name`.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), digest: Sha256::new() }
    }

    /// Adds something that the entry's content depends on.
    pub fn with(mut self, input: impl AsRef<[u8]>) -> Self {
        let input = input.as_ref();
        self.digest.update((input.len() as u64).to_le_bytes());
        self.digest.update(input);
        self
    }

    fn entry_name(self) -> String {
        let digest = self.digest.finalize();
        let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{hex}", self.name)
    }
}

/// The cache folder.
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens the user's cache folder, making it when it is not there.
    pub fn open() -> Result<Self> {
        let base = match std::env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty()) {
            Some(folder) => PathBuf::from(folder),
            None => std::env::home_dir().context("neither XDG_CACHE_HOME nor HOME is set")?.join(".cache"),
        };
        Self::at(base.join("yagura"))
    }

    /// Opens the cache folder at `root`, making it when it is not there.
    pub fn at(root: PathBuf) -> Result<Self> {
        fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        Ok(Self { root })
    }

    /// The folder of the entry that `recipe` describes; `build` fills it when it is not there yet.
    pub fn entry(&self, recipe: Recipe, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let label = recipe.name.clone();
        let name = recipe.entry_name();
        let place = self.root.join(&name);
        let _lock = self.lock(&name)?;
        if place.is_dir() {
            mark_used(&place);
            return Ok(place);
        }
        let step = progress::step(format!("preparing {label}"));
        let staging = tempfile::Builder::new().prefix(".building-").tempdir_in(&self.root)?;
        build(staging.path()).with_context(|| format!("cannot prepare {label}"))?;
        fs::rename(staging.path(), &place)
            .with_context(|| format!("cannot put {} in place", place.display()))?;
        let _renamed_away = staging.keep();
        mark_used(&place);
        self.remove_unused(&label, &name);
        step.done();
        Ok(place)
    }

    fn lock(&self, name: &str) -> Result<File> {
        let path = self.root.join(format!(".{name}.lock"));
        let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(file)
    }

    /// Removes entries of the same label that have not been used for a long time. Best effort: an entry that
    /// stays costs room and nothing else.
    fn remove_unused(&self, label: &str, newest: &str) {
        let Ok(entries) = fs::read_dir(&self.root) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let same = name.rsplit_once('-').is_some_and(|(stem, _)| stem == label) && name != newest;
            let unused = last_used(&entry.path()).is_some_and(|age| age > KEEP_UNUSED);
            if same && unused && self.lock(&name).is_ok() {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

fn mark_used(place: &Path) {
    let _ = File::create(place.join(".used"));
}

fn last_used(place: &Path) -> Option<Duration> {
    let used = fs::metadata(place.join(".used")).and_then(|meta| meta.modified()).ok()?;
    SystemTime::now().duration_since(used).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn empty_cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("not/there/yet")).unwrap();
        (folder, cache)
    }

    #[test]
    fn builds_once_and_then_finds_it() {
        let (_folder, cache) = empty_cache();
        let builds = AtomicU32::new(0);
        let get = || {
            cache.entry(Recipe::new("thing").with("v1"), |place| {
                builds.fetch_add(1, Ordering::Relaxed);
                Ok(fs::write(place.join("content"), "x")?)
            })
        };
        assert_eq!(get().unwrap(), get().unwrap());
        assert_eq!(builds.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn another_input_is_another_entry() {
        let (_folder, cache) = empty_cache();
        let one = cache.entry(Recipe::new("thing").with("a").with("bc"), |_| Ok(())).unwrap();
        let two = cache.entry(Recipe::new("thing").with("ab").with("c"), |_| Ok(())).unwrap();
        assert_ne!(one, two);
    }

    #[test]
    fn a_failed_build_leaves_nothing_behind() {
        let (_folder, cache) = empty_cache();
        let recipe = || Recipe::new("thing");
        assert!(cache.entry(recipe(), |_| anyhow::bail!("no")).is_err());
        let visible = fs::read_dir(&cache.root).unwrap().flatten();
        let left = visible.filter(|entry| entry.path().is_dir()).count();
        assert_eq!(left, 0);
        assert!(cache.entry(recipe(), |_| Ok(())).is_ok());
    }

    #[test]
    fn two_at_once_build_once() {
        let (_folder, cache) = empty_cache();
        let builds = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    cache.entry(Recipe::new("thing"), |_| {
                        builds.fetch_add(1, Ordering::Relaxed);
                        std::thread::sleep(Duration::from_millis(20));
                        Ok(())
                    })
                });
            }
        });
        assert_eq!(builds.load(Ordering::Relaxed), 1);
    }
}
