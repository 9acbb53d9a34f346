//! Disks as a person describes them:
//! `path=P[,id=NAME][,format=raw|qcow2][,force-raw][,block-size=512|4096][,readonly][,serial=S][,on-error=report|pause]`.
//! A comma within the path is doubled.

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use image_model::DiskFormat;
use messages::did_you_mean;
use serde::{Deserialize, Serialize};

use crate::options::{Form, text_of, with_doubled_commas};
use crate::{BadValue, DeviceId};

/// One disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSpec {
    /// Its name in the machine; `None` derives one from its place in the list.
    pub id: Option<DeviceId>,
    /// File or block device.
    pub path: PathBuf,
    /// How the disk lies in it. Stated, never guessed: what a guest can write may look like anything.
    pub format: DiskFormat,
    /// A raw disk is used whatever it looks like. Else one that looks like another format is refused.
    pub force_raw: bool,
    /// Size of its blocks; nothing for the host device's own, which of a file is 512 bytes.
    pub block_size: Option<BlockSize>,
    /// The guest may not write.
    pub readonly: bool,
    /// Serial number shown to the guest.
    pub serial: Option<DiskSerial>,
    /// What a request does that the host cannot carry out.
    pub on_error: OnError,
}

/// What happens when the host cannot read or write a disk: its file system is full, say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnError {
    /// The guest sees an I/O error.
    #[default]
    Report,
    /// The machine is paused; what failed is tried again when it is resumed, and the guest sees nothing.
    Pause,
}

impl FromStr for OnError {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text {
            "report" => Ok(OnError::Report),
            "pause" => Ok(OnError::Pause),
            _ => {
                let hint = did_you_mean(text, ["report", "pause"]);
                Err(BadValue(format!(
                    "'{text}' is not a reaction to an error (there are report, pause){hint}"
                )))
            }
        }
    }
}

/// Size of a disk's logical blocks, which partition tables and file systems count in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlockSize {
    /// 512 bytes, as most disks have them.
    B512,
    /// 4096 bytes ("4Kn").
    B4096,
}

impl BlockSize {
    /// In bytes.
    pub fn bytes(self) -> u32 {
        match self {
            BlockSize::B512 => 512,
            BlockSize::B4096 => 4096,
        }
    }

    /// The size of so many bytes, if there is one.
    pub fn of_bytes(bytes: u32) -> Option<BlockSize> {
        [BlockSize::B512, BlockSize::B4096].into_iter().find(|size| size.bytes() == bytes)
    }
}

impl FromStr for BlockSize {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text {
            "512" => Ok(BlockSize::B512),
            "4096" | "4k" | "4K" => Ok(BlockSize::B4096),
            _ => Err(BadValue(format!("'{text}' is not a block size (there are 512, 4096)"))),
        }
    }
}

/// A serial number as virtio-block has it: at most 20 printable ASCII characters (VIRTIO 1.2, 5.2.6.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DiskSerial(String);

impl DiskSerial {
    /// The number as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DiskSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DiskSerial {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        if (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(DiskSerial(text.to_owned()))
        } else {
            Err(BadValue(format!("serial '{text}': it takes 1 to 20 printable characters")))
        }
    }
}

impl TryFrom<String> for DiskSerial {
    type Error = BadValue;

    fn try_from(text: String) -> Result<Self, BadValue> {
        text.parse()
    }
}

impl From<DiskSerial> for String {
    fn from(serial: DiskSerial) -> String {
        serial.0
    }
}

const FORM: Form = Form {
    what: "disk",
    keys: &["path", "id", "format", "force-raw", "block-size", "readonly", "serial", "on-error"],
    shape: "path=FILE[,id=NAME][,format=raw|qcow2][,force-raw][,block-size=512|4096][,readonly][,serial=S][,on-error=report|pause]",
};

impl DiskSpec {
    /// A disk in a file, as it is used when nothing else is said of it.
    pub fn new(path: impl Into<PathBuf>, format: DiskFormat) -> DiskSpec {
        DiskSpec {
            id: None,
            path: path.into(),
            format,
            force_raw: false,
            block_size: None,
            readonly: false,
            serial: None,
            on_error: OnError::default(),
        }
    }

    /// Reads a description; a path may be of any bytes.
    ///
    /// # Errors
    /// It is not written as it should be, or names no file.
    pub fn parse(text: &OsStr) -> Result<DiskSpec, BadValue> {
        let (mut path, mut format, mut readonly, mut serial) = (None, DiskFormat::default(), false, None);
        let (mut id, mut force_raw, mut block_size, mut on_error) = (None, false, None, OnError::default());
        for option in FORM.parse(text)? {
            match option {
                ("path", Some(value)) if !value.is_empty() => path = Some(PathBuf::from(value)),
                ("id", Some(value)) => id = Some(text_of(&value)?.parse()?),
                ("format", Some(value)) => format = text_of(&value)?.parse()?,
                ("force-raw", None) => force_raw = true,
                ("block-size", Some(value)) => block_size = Some(text_of(&value)?.parse()?),
                ("readonly", None) => readonly = true,
                ("serial", Some(value)) => serial = Some(text_of(&value)?.parse()?),
                ("on-error", Some(value)) => on_error = text_of(&value)?.parse()?,
                _ => return Err(FORM.misshapen(text)),
            }
        }
        let path = path.ok_or_else(|| BadValue(format!("disk '{}' has no path=FILE", text.display())))?;
        let disk = DiskSpec { id, path, format, force_raw, block_size, readonly, serial, on_error };
        disk.check()?;
        Ok(disk)
    }

    /// The description that [`parse`](DiskSpec::parse) reads as this disk. A path of other bytes than text is not kept.
    pub fn to_text(&self) -> String {
        let DiskSpec { id, path, format, force_raw, block_size, readonly, serial, on_error } = self;
        let words = [
            Some(format!("path={}", with_doubled_commas(path.as_os_str()))),
            id.as_ref().map(|id| format!("id={id}")),
            Some(format!("format={}", format.name())),
            force_raw.then(|| "force-raw".to_owned()),
            block_size.map(|size| format!("block-size={}", size.bytes())),
            readonly.then(|| "readonly".to_owned()),
            serial.as_ref().map(|serial| format!("serial={}", serial.as_str().replace(',', ",,"))),
            (*on_error == OnError::Pause).then(|| "on-error=pause".to_owned()),
        ];
        words.into_iter().flatten().collect::<Vec<_>>().join(",")
    }

    /// Checks what concerns several fields at once.
    ///
    /// # Errors
    /// They do not go together.
    pub fn check(&self) -> Result<(), BadValue> {
        if self.force_raw && self.format != DiskFormat::Raw {
            let path = self.path.display();
            return Err(BadValue(format!("disk {path}: force-raw is for format=raw; leave one of them out")));
        }
        Ok(())
    }
}

impl FromStr for DiskSpec {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        DiskSpec::parse(text.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_read_and_mistakes_explained() {
        let disk: DiskSpec = "path=/a b/c.img,readonly,serial=S1".parse().unwrap();
        assert_eq!(disk.path, PathBuf::from("/a b/c.img"));
        assert!(disk.readonly && disk.serial.as_ref().unwrap().as_str() == "S1");
        assert_eq!(disk.format, DiskFormat::Raw);
        assert_eq!("format=qcow2,path=a".parse::<DiskSpec>().unwrap().format, DiskFormat::Qcow2);
        let wrong = |text: &str| text.parse::<DiskSpec>().unwrap_err().0;
        assert_eq!("path=a,id=data".parse::<DiskSpec>().unwrap().id, Some("data".parse().unwrap()));
        assert!(wrong("path=a,id=My Disk").contains("such as disk-data"));
        assert!(wrong("readonly").contains("no path"));
        assert!(wrong("path=a,readnly").contains("did you mean 'readonly'"));
        assert!(wrong("path=a,readonly=yes").contains("write path="));
        assert!(wrong("path=a,serial=123456789012345678901").contains("1 to 20"));
        assert!(wrong("path=").contains("write path="));
        assert!(wrong("path=a,format=qcow").contains("did you mean 'qcow2'"));
        assert!(wrong("path=a,format").contains("write path="));
        assert!(wrong("").contains("unknown option"));
        assert!(wrong("path=a,path=b").contains("path is given twice"));
        assert_eq!("path=a,,readonly".parse::<DiskSpec>().unwrap().path, PathBuf::from("a,readonly"));
        assert_eq!(disk.on_error, OnError::Report);
        assert_eq!("path=a,on-error=pause".parse::<DiskSpec>().unwrap().on_error, OnError::Pause);
        assert!(wrong("path=a,on-error=puase").contains("did you mean 'pause'"));
        assert!(wrong("path=a,on-error").contains("write path="));
        assert!(wrong("path=a,force-raw=on").contains("write path="));
        assert!(wrong("path=a,format=qcow2,force-raw").contains("force-raw is for format=raw"));
        for size in ["", "0", "1024", "4095", "4097", "8192", "512.0", "-512", "4096 "] {
            assert!(wrong(&format!("path=a,block-size={size}")).contains("there are 512, 4096"), "{size}");
        }
        assert!(wrong("path=a,block-size").contains("write path="));
    }

    #[test]
    fn a_description_that_was_written_is_read_as_the_same_disk() {
        for text in [
            "path=a",
            "path=a,,b c.img,id=data,format=qcow2,block-size=4096,readonly,serial=S,,1,on-error=pause",
            "path=/x,force-raw,block-size=512",
        ] {
            let disk: DiskSpec = text.parse().unwrap();
            assert_eq!(disk.to_text().parse(), Ok(disk), "{text}");
        }
    }

    #[test]
    fn raw_disks_are_forced_and_blocks_sized_by_words() {
        let disk = |text: &str| text.parse::<DiskSpec>().unwrap();
        assert!(disk("path=a,format=raw,force-raw").force_raw && !disk("path=a").force_raw);
        assert_eq!(disk("path=a").block_size, None);
        assert_eq!(disk("path=a,block-size=4096").block_size.map(BlockSize::bytes), Some(4096));
        assert_eq!(disk("path=a,block-size=512").block_size.map(BlockSize::bytes), Some(512));
        for size in [BlockSize::B512, BlockSize::B4096] {
            assert_eq!(BlockSize::of_bytes(size.bytes()), Some(size));
        }
        assert_eq!(BlockSize::of_bytes(1024), None);
    }
}
