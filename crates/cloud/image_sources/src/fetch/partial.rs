//! A download that can go on: the bytes that are here, and what the server said they are part of.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use image_model::{Checksum, ChecksumKind};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256, Sha512};

use super::error::FetchError;

const STATE_BYTES_MAX: u64 = 64 << 10;
const CHUNK_BYTES: usize = 1 << 20;

/// What the server said of the file, as it lies beside the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Origin {
    pub(crate) url: String,
    pub(crate) etag: Option<String>,
    pub(crate) last_modified: Option<String>,
    pub(crate) total_bytes: Option<u64>,
}

impl Origin {
    /// What to send with a range so that the server compares: a strong ETag, else the time (RFC 9110,
    /// 13.1.5).
    pub(crate) fn validator(&self) -> Option<&str> {
        let strong = self.etag.as_deref().filter(|etag| !etag.starts_with("W/"));
        strong.or(self.last_modified.as_deref())
    }
}

/// A checksum that grows with its file.
enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    fn new(kind: ChecksumKind) -> Hasher {
        match kind {
            ChecksumKind::Sha256 => Hasher::Sha256(Sha256::new()),
            ChecksumKind::Sha512 => Hasher::Sha512(Sha512::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Hasher::Sha256(hasher) => hasher.clone().finalize().to_vec(),
            Hasher::Sha512(hasher) => hasher.clone().finalize().to_vec(),
        }
    }
}

/// A file that is being downloaded, locked against others.
pub(crate) struct Partial {
    path: PathBuf,
    file: File,
    pub(crate) bytes: u64,
    pub(crate) origin: Origin,
    kind: ChecksumKind,
    hasher: Hasher,
}

impl Partial {
    /// Opens what is at `path`, or begins. What came from another address, or of which nothing is known, is
    /// dropped.
    pub(crate) fn open(path: &Path, url: &str, kind: ChecksumKind) -> Result<Partial, FetchError> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
            .open(path)
            .map_err(FetchError::io("open", path))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(FetchError::Busy(path.to_owned())),
            answer => answer.map_err(|errno| FetchError::io("lock", path)(errno.into()))?,
        }
        let hasher = Hasher::new(kind);
        let mut partial =
            Partial { path: path.to_owned(), file, bytes: 0, origin: Origin::default(), kind, hasher };
        match partial.read_origin()? {
            Some(origin) if origin.url == url => {
                partial.origin = origin;
                partial.take_in()?;
            }
            _ => partial.restart(Origin { url: url.to_owned(), ..Origin::default() })?,
        }
        Ok(partial)
    }

    /// Begins anew, with what the server says now.
    pub(crate) fn restart(&mut self, origin: Origin) -> Result<(), FetchError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(FetchError::io("empty", &self.path))?;
        self.bytes = 0;
        self.hasher = Hasher::new(self.kind);
        self.origin = origin;
        self.write_origin()
    }

    pub(crate) fn write(&mut self, piece: &[u8]) -> Result<(), FetchError> {
        self.file.write_all(piece).map_err(FetchError::io("write", &self.path))?;
        self.hasher.update(piece);
        self.bytes += piece.len() as u64;
        Ok(())
    }

    /// Of all that is here.
    pub(crate) fn checksum(&self) -> Result<Checksum, FetchError> {
        Checksum::from_bytes(self.kind, &self.hasher.bytes())
            .map_err(|error| FetchError::io("hash", &self.path)(io::Error::other(error)))
    }

    /// What the file system has free, in bytes.
    pub(crate) fn free_bytes(&self) -> Result<u64, FetchError> {
        let stat = rustix::fs::fstatvfs(&self.file)
            .map_err(|errno| FetchError::io("look at", &self.path)(errno.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Removes the file, which is worth nothing.
    pub(crate) fn discard(self) -> Result<(), FetchError> {
        remove(&self.path)?;
        remove(&state_path(&self.path))
    }

    /// The file is whole: what was noted for going on is not needed any more.
    pub(crate) fn finish(self) -> Result<(), FetchError> {
        self.file.sync_all().map_err(FetchError::io("write", &self.path))
    }

    /// Hashes what is here already.
    fn take_in(&mut self) -> Result<(), FetchError> {
        let read = FetchError::io("read", &self.path);
        self.file.seek(SeekFrom::Start(0)).map_err(&read)?;
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let bytes = self.file.read(&mut buffer).map_err(&read)?;
            if bytes == 0 {
                return Ok(());
            }
            self.hasher.update(&buffer[..bytes]);
            self.bytes += bytes as u64;
        }
    }

    fn read_origin(&self) -> Result<Option<Origin>, FetchError> {
        let path = state_path(&self.path);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(FetchError::io("open", &path))?,
        };
        let mut bytes = Vec::new();
        file.take(STATE_BYTES_MAX).read_to_end(&mut bytes).map_err(FetchError::io("read", &path))?;
        // What a killed process wrote only in part says nothing.
        Ok(serde_json::from_slice(&bytes).ok())
    }

    fn write_origin(&self) -> Result<(), FetchError> {
        let path = state_path(&self.path);
        let bytes = serde_json::to_vec(&self.origin)
            .map_err(|error| FetchError::io("write", &path)(io::Error::other(error)))?;
        fs::write(&path, bytes).map_err(FetchError::io("write", &path))
    }
}

fn state_path(path: &Path) -> PathBuf {
    path.with_extension("json")
}

fn remove(path: &Path) -> Result<(), FetchError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FetchError::io("remove", path)(error)),
        _ => Ok(()),
    }
}
