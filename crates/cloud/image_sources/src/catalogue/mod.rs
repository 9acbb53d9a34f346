//! The catalogue: under which name a vendor's image is known, and where it is.
//!
//! One file is part of the program; files in `/etc/yagura/images.d` and in the user's configuration add to
//! it, or replace entries. What the entries of the shipped file name lies with their vendors and could not be
//! tried where this was written.

mod checksums;
mod form;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use host_sys::named_file::read_named;
use image_model::{
    Alias, Architecture, Checksum, ChecksumKind, FirstBoot, ImageDescription, ImageSource, SourceKind,
    UtcTime,
};
use messages::{nearest, parser_words};
use reqwest::Url;

use crate::fetch::{Download, FetchError, FetchEvents, Fetched, Fetcher};
use crate::file_kind::FileKind;
use form::{BootForm, EntryForm, FileForm, FirstBootForm, VendorFileForm, file_name, is_open_to_change};

pub use checksums::find_checksum;

const SHIPPED: &str = include_str!("../../catalogue.toml");
const SHIPPED_NAME: &str = "the shipped catalogue";
/// Longest catalogue file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Longest list of checksums that is read.
const LIST_BYTES_MAX: u64 = 4 << 20;

/// What is wrong with a catalogue, or with a question to it.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// A file that makes no sense.
    #[error("{}, line {line}: {what}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        what: String,
    },
    /// A file or folder that cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A name that is not in the catalogue.
    #[error("the catalogue has no image '{alias}'{}; 'yagura image list --all' shows all", suggestion.as_ref().map(|name| format!("; did you mean '{name}'?")).unwrap_or_default())]
    Unknown {
        /// What was asked for.
        alias: Alias,
        /// A name that may have been meant.
        suggestion: Option<String>,
    },
    /// An image that is not made for these processors.
    #[error("there is no image '{alias}' for {architecture}; there are: {}", known.iter().map(|it| it.name()).collect::<Vec<_>>().join(", "))]
    Architecture {
        /// What was asked for.
        alias: Alias,
        /// For which processors.
        architecture: Architecture,
        /// For which there is one.
        known: Vec<Architecture>,
    },
}

/// Where it is known what a vendor's file amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VendorChecksum {
    /// It stands in the catalogue.
    Pinned(Checksum),
    /// In a list of the vendor's. That this list is the vendor's rests on TLS: signatures beside it are not
    /// checked, since they are PGP's or signify's.
    Listed {
        /// The list.
        url: Url,
        /// Of what kind it is.
        kind: ChecksumKind,
    },
}

/// A vendor's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VendorFile {
    /// For which processors.
    pub architecture: Architecture,
    /// Where it is.
    pub url: Url,
    /// What is in it.
    pub kind: FileKind,
    /// How it is checked.
    pub checksum: VendorChecksum,
}

/// How an image of the catalogue is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VendorBoot {
    /// Kernel and initrd are read from the disk.
    FromDisk,
    /// It takes firmware.
    Firmware,
}

/// An image of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueEntry {
    /// Its name.
    pub alias: Alias,
    /// The operating system.
    pub os: String,
    /// Its release.
    pub release: String,
    /// Which flavour.
    pub variant: String,
    /// One line for a person.
    pub description: String,
    /// Who logs in.
    pub default_user: Option<String>,
    /// The smallest disk, in bytes.
    pub min_disk_bytes: u64,
    /// The least memory, in bytes.
    pub min_memory_bytes: u64,
    /// How it is started.
    pub boot: VendorBoot,
    /// What configures it.
    pub first_boot: FirstBoot,
    /// The recipe that builds the like of it from packages, for when the vendor cannot be reached.
    pub recipe: Option<String>,
    /// The vendor's files, one for each architecture. None where there is only the recipe.
    pub files: Vec<VendorFile>,
    /// The catalogue's file that it stands in.
    pub from: PathBuf,
}

/// All entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    entries: BTreeMap<Alias, CatalogueEntry>,
}

impl Catalogue {
    /// What is part of the program.
    ///
    /// # Errors
    /// None, as a test sees to it.
    pub fn shipped() -> Result<Catalogue, CatalogueError> {
        let mut catalogue = Catalogue::default();
        catalogue.add(Path::new(SHIPPED_NAME), SHIPPED)?;
        Ok(catalogue)
    }

    /// What is part of the program, and what the `*.toml` files of `folders` add or replace: later folders
    /// before earlier ones, and in a folder by name. A folder that is not there adds nothing.
    ///
    /// # Errors
    /// A file cannot be read, or makes no sense.
    pub fn load(folders: &[PathBuf]) -> Result<Catalogue, CatalogueError> {
        let mut catalogue = Catalogue::shipped()?;
        for folder in folders {
            for path in toml_files(folder)? {
                let text = read(&path)?;
                catalogue.add(&path, &text)?;
            }
        }
        Ok(catalogue)
    }

    /// Adds the entries of one file, whose text is `text`.
    ///
    /// # Errors
    /// It makes no sense; then nothing is added.
    pub fn add(&mut self, path: &Path, text: &str) -> Result<(), CatalogueError> {
        let at = |offset: usize, what: String| CatalogueError::Form {
            path: path.to_owned(),
            line: text[..offset.min(text.len())].matches('\n').count() + 1,
            what: messages::one_line(&what),
        };
        let form: FileForm = toml::from_str(text)
            .map_err(|error| at(error.span().map_or(0, |span| span.start), parser_words(error.message())))?;
        let mut added = BTreeMap::new();
        for entry in form.image {
            let start = entry.span().start;
            let entry = check_entry(entry.into_inner(), path)
                .map_err(|(offset, what)| at(offset.unwrap_or(start), what))?;
            let twice = format!("'{}' is in this file twice", entry.alias);
            if added.insert(entry.alias.clone(), entry).is_some() {
                return Err(at(start, twice));
            }
        }
        self.entries.extend(added);
        Ok(())
    }

    /// All entries, by name.
    pub fn entries(&self) -> impl Iterator<Item = &CatalogueEntry> {
        self.entries.values()
    }

    /// The entry with this name.
    ///
    /// # Errors
    /// There is none; a name that may have been meant is named.
    pub fn entry(&self, alias: &Alias) -> Result<&CatalogueEntry, CatalogueError> {
        self.entries.get(alias).ok_or_else(|| {
            let suggestion = nearest(alias.as_str(), self.entries.keys().map(Alias::as_str));
            CatalogueError::Unknown { alias: alias.clone(), suggestion: suggestion.map(str::to_owned) }
        })
    }
}

impl CatalogueEntry {
    /// The vendor's file for these processors.
    ///
    /// # Errors
    /// There is none.
    pub fn file(&self, architecture: Architecture) -> Result<&VendorFile, CatalogueError> {
        self.files.iter().find(|file| file.architecture == architecture).ok_or_else(|| {
            let known = self.files.iter().map(|file| file.architecture).collect();
            CatalogueError::Architecture { alias: self.alias.clone(), architecture, known }
        })
    }

    /// What the store is to be told of an image made of the vendor's file, which had `checksum` as it came.
    pub fn describe(
        &self,
        architecture: Architecture,
        checksum: Checksum,
        built: UtcTime,
    ) -> ImageDescription {
        ImageDescription {
            os: self.os.clone(),
            release: self.release.clone(),
            architecture,
            variant: self.variant.clone(),
            description: self.description.clone(),
            default_user: self.default_user.clone(),
            min_disk_bytes: self.min_disk_bytes,
            min_memory_bytes: self.min_memory_bytes,
            machine: image_model::MachineDefaults::default(),
            first_boot: self.first_boot,
            source: ImageSource {
                kind: SourceKind::Catalogue,
                location: self.alias.to_string(),
                checksum: Some(checksum),
            },
            built,
        }
    }
}

impl Fetcher {
    /// What a vendor's file has to amount to, by the catalogue or by the vendor's list.
    ///
    /// # Errors
    /// The list does not come, or the file is not in it.
    pub fn vendor_checksum(
        &self,
        file: &VendorFile,
        events: FetchEvents<'_>,
    ) -> Result<Checksum, FetchError> {
        match &file.checksum {
            VendorChecksum::Pinned(checksum) => Ok(checksum.clone()),
            VendorChecksum::Listed { url, kind } => {
                let list = self.fetch_text(url.as_str(), LIST_BYTES_MAX, events)?;
                find_checksum(&list, file_name(&file.url), *kind)
                    .map_err(|why| FetchError::ChecksumList { url: crate::fetch::shown(url), why })
            }
        }
    }

    /// Fetches a vendor's file, or the rest of it, to `partial`, and checks it.
    ///
    /// # Errors
    /// As for [`Fetcher::vendor_checksum`] and [`Fetcher::download`].
    pub fn fetch_vendor_file(
        &self,
        file: &VendorFile,
        partial: &Path,
        bytes_max: u64,
        events: FetchEvents<'_>,
    ) -> Result<Fetched, FetchError> {
        let expected = self.vendor_checksum(file, events)?;
        let download = Download { url: file.url.as_str(), partial, expected: Some(&expected), bytes_max };
        self.download(&download, events)
    }
}

/// What is wrong, and where, if that is not at the entry's start.
type Mistake = (Option<usize>, String);

fn check_entry(form: EntryForm, path: &Path) -> Result<CatalogueEntry, Mistake> {
    let mut files: Vec<VendorFile> = Vec::new();
    for file in form.file {
        let start = file.span().start;
        let file = check_file(file.into_inner()).map_err(|what| (Some(start), what))?;
        if files.iter().any(|other| other.architecture == file.architecture) {
            let what = format!("'{}' has two files for {}", form.alias, file.architecture);
            return Err((Some(start), what));
        }
        files.push(file);
    }
    if files.is_empty() && form.recipe.is_none() {
        return Err((None, format!("'{}' has neither a file nor a recipe", form.alias)));
    }
    Ok(CatalogueEntry {
        alias: form.alias,
        os: form.os.0,
        release: form.release.0,
        variant: form.variant.map_or_else(|| "default".to_owned(), |variant| variant.0),
        description: form.description.0,
        default_user: form.default_user.map(|user| user.0),
        min_disk_bytes: form.min_disk.0.bytes(),
        min_memory_bytes: form.min_memory.0.bytes(),
        boot: match form.boot {
            BootForm::FromDisk => VendorBoot::FromDisk,
            BootForm::Firmware => VendorBoot::Firmware,
        },
        first_boot: match form.first_boot {
            FirstBootForm::CloudInit => FirstBoot::CloudInit,
            FirstBootForm::None => FirstBoot::None,
        },
        recipe: form.recipe.map(|recipe| recipe.to_string()),
        files,
        from: path.to_owned(),
    })
}

fn check_file(form: VendorFileForm) -> Result<VendorFile, String> {
    let listed = |url, kind| VendorChecksum::Listed { url, kind };
    let checksum = match (form.checksum, form.sha256_list, form.sha512_list) {
        (Some(checksum), None, None) => VendorChecksum::Pinned(checksum),
        (None, Some(list), None) => listed(list.0, ChecksumKind::Sha256),
        (None, None, Some(list)) => listed(list.0, ChecksumKind::Sha512),
        _ => return Err("a file takes one of checksum, sha256_list and sha512_list".to_owned()),
    };
    if let VendorChecksum::Listed { url, .. } = &checksum
        && is_open_to_change(url)
    {
        return Err(format!(
            "the list {url} can be changed on its way; it has to be https, or the checksum has to stand here"
        ));
    }
    Ok(VendorFile { architecture: form.architecture.0, url: form.url.0, kind: form.format.0, checksum })
}

fn toml_files(folder: &Path) -> Result<Vec<PathBuf>, CatalogueError> {
    let listed = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect()),
    };
    let mut paths: Vec<PathBuf> =
        listed.map_err(|source| CatalogueError::Read { path: folder.to_owned(), source })?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "toml"));
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<String, CatalogueError> {
    let text = read_named(path, FILE_BYTES_MAX).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    });
    text.map_err(|source| CatalogueError::Read { path: path.to_owned(), source })
}
