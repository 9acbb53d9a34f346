//! Who an instance is, for as long as it is there.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use host_sys::named_file::read_named;
use host_sys::new_file::{NewFile, PRIVATE};
use image_model::{Digest, UtcTime};
use image_store::{Image, StoreError};
use serde::{Deserialize, Serialize};
use vm_spec::VmName;

use crate::{InstanceError, random};

/// Version of the record's form. A changed record gets another number, and a type that what is written under this one is
/// read by.
const FORM: u32 = 1;
/// Longest record that is read, in bytes.
const BYTES_MAX: u64 = 64 << 10;

/// The record's file in an instance's folder.
pub(crate) const FILE: &str = "instance.json";

/// Who an instance is: written when it is made, and never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceRecord {
    /// The version of this form: 1.
    form: u32,
    /// A UUID (RFC 9562), which differs from that of every other instance, anywhere and at any time.
    pub uuid: String,
    /// Its name.
    pub name: VmName,
    /// The image that it was made of.
    pub image: Digest,
    /// When it was made; of an instance that is older than records, when it got this one.
    pub created: UtcTime,
}

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordFault {
    /// A newer program wrote it.
    #[error("the record {} has form {found}, and this version of Yagura knows form {FORM}; use the newer one", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its form.
        found: u32,
    },
    /// It is something else, or not whole.
    #[error("the record {} is damaged ({what}); move it away, and the instance gets a new one at its next start", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// It is another instance's.
    #[error("the record {} is of instance {name}, of which this may be a copy; move it away, and this instance gets one of its own at its next start", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        name: VmName,
    },
}

/// What records of all forms have.
#[derive(Deserialize)]
struct AnyForm {
    form: u32,
}

impl InstanceRecord {
    /// The record of an instance that is made now.
    pub(crate) fn new(name: &VmName, image: &Image) -> Result<InstanceRecord, InstanceError> {
        let (uuid, created) = (random::uuid()?, UtcTime::now());
        Ok(InstanceRecord { form: FORM, uuid, name: name.clone(), image: image.id, created })
    }

    /// Writes it to a new file at `path`: whole, or not at all.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        let new = NewFile::create(path, PRIVATE)?;
        new.file().write_all(&bytes)?;
        new.keep()
    }

    /// The record at `path`, which has to be of the instance called `name`; nothing where there is none.
    pub(crate) fn read(path: &Path, name: &VmName) -> Result<Option<InstanceRecord>, InstanceError> {
        let bytes = match read_named(path, BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(StoreError::io("read", path))?,
        };
        Ok(Some(InstanceRecord::parse(&bytes, path, name)?))
    }

    fn parse(bytes: &[u8], path: &Path, name: &VmName) -> Result<InstanceRecord, RecordFault> {
        let path = path.to_owned();
        let damaged = |error: serde_json::Error| RecordFault::Damaged {
            path: path.clone(),
            what: messages::parser_words(&error.to_string()),
        };
        let AnyForm { form: found } = serde_json::from_slice(bytes).map_err(damaged)?;
        if found != FORM {
            return Err(RecordFault::Newer { path, found });
        }
        let record: InstanceRecord = serde_json::from_slice(bytes).map_err(damaged)?;
        if record.name != *name {
            return Err(RecordFault::Foreign { path, name: record.name });
        }
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "{\n  \"form\": 1,\n  \"uuid\": \"3f0c9a52-7a36-4d0e-9c53-8e6f0f8f7c11\",\n  \
        \"name\": \"web1\",\n  \"image\": \"sha256:abababababababababababababababababababababababababababababababab\",\n  \
        \"created\": \"2026-11-30T21:00:00Z\"\n}\n";

    fn read(text: &str) -> Result<InstanceRecord, String> {
        let name = "web1".parse().unwrap();
        InstanceRecord::parse(text.as_bytes(), Path::new("/srv/instance.json"), &name)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_was_written_under_a_form_is_read_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let record = read(GOOD).unwrap();
        record.write(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), GOOD);
        assert_eq!(InstanceRecord::read(&path, &record.name).unwrap(), Some(record.clone()));
        assert!(record.write(&path).is_err(), "nothing is written over");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(InstanceRecord::read(&path, &record.name).unwrap(), None);
    }

    #[test]
    fn what_is_no_record_of_this_instance_is_refused_in_a_line() {
        for (from, to, words) in [
            ("\"form\": 1", "\"form\": 2", "form 2, and this version of Yagura knows form 1"),
            ("\"form\": 1", "\"shape\": 1", "damaged"),
            ("\"form\": 1,", "\"form\": 1, \"more\": 2,", "damaged"),
            ("\"web1\"", "\"../web1\"", "damaged"),
            ("\"web1\"", "\"web2\"", "is of instance web2"),
            ("sha256:ab", "sha256:xx", "damaged"),
            ("2026-11", "2026-13", "damaged"),
            ("}", "", "damaged"),
        ] {
            let line = read(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(line.contains(words) && line.contains("/srv/instance.json"), "{to}: {line}");
            assert!(!line.contains('\n'), "{line}");
        }
    }
}
