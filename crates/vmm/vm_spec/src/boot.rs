//! What a guest is started with.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::str::FromStr;

use messages::did_you_mean;
use serde::{Deserialize, Serialize};

use crate::BadValue;
use crate::options::text_of;

/// What a machine starts with when it is powered on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BootSpec {
    /// A kernel that the monitor loads.
    Kernel(KernelSpec),
}

/// A kernel, and what it is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelSpec {
    /// bzImage, ELF file, Multiboot image, or a unified kernel image with one of them.
    pub path: PathBuf,
    /// How it is entered.
    pub protocol: BootProtocol,
    /// Initial RAM disks, which become one in this order, behind those of a unified kernel image.
    pub initrds: Vec<PathBuf>,
    /// Boot modules, in the order in which the kernel finds them, behind the initial RAM disks.
    pub modules: Vec<ModuleSpec>,
    /// Its command line; `None` gets that of a unified kernel image, or else one that fits console and disks.
    pub cmdline: Option<String>,
}

impl KernelSpec {
    /// A kernel alone.
    pub fn new(path: impl Into<PathBuf>) -> KernelSpec {
        let (initrds, modules) = (Vec::new(), Vec::new());
        KernelSpec { path: path.into(), protocol: BootProtocol::Auto, initrds, modules, cmdline: None }
    }

    /// The files that make it up.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let modules = self.modules.iter().map(|module| &module.path);
        std::iter::once(&self.path).chain(&self.initrds).chain(modules)
    }
}

/// A file that is loaded for the kernel as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleSpec {
    /// The file.
    pub path: PathBuf,
    /// What the kernel is told with it; may be empty.
    pub cmdline: String,
}

impl ModuleSpec {
    /// Reads `PATH[=CMDLINE]`; a path may be of any bytes, and an equals sign in it is doubled.
    ///
    /// # Errors
    /// It names no file, or the command line is not text.
    pub fn parse(text: &OsStr) -> Result<ModuleSpec, BadValue> {
        let mut path = Vec::new();
        let mut bytes = text.as_bytes();
        let cmdline = loop {
            match bytes {
                [b'=', b'=', rest @ ..] => (path.push(b'='), bytes = rest),
                [b'=', rest @ ..] => break text_of(OsStr::from_bytes(rest))?,
                [byte, rest @ ..] => (path.push(*byte), bytes = rest),
                [] => break "",
            };
        };
        if path.is_empty() {
            let text = text.display();
            return Err(BadValue(format!("module '{text}' names no file; write PATH or PATH=CMDLINE")));
        }
        Ok(ModuleSpec { path: OsString::from_vec(path).into(), cmdline: cmdline.to_owned() })
    }

    /// The names of files that may be meant if an equals sign of `text` that is not doubled belongs to the path.
    pub fn names_with_equals(text: &OsStr) -> Vec<OsString> {
        let bytes = text.as_bytes();
        let signs = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'=').map(|(at, _)| at);
        let mut ends: Vec<usize> = signs.skip(1).chain([bytes.len()]).collect();
        if !bytes.contains(&b'=') {
            ends.clear();
        }
        ends.into_iter().map(|end| OsString::from_vec(bytes[..end].to_vec())).collect()
    }
}

impl FromStr for ModuleSpec {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        ModuleSpec::parse(text.as_ref())
    }
}

/// How the kernel is entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BootProtocol {
    /// The first of the others that the kernel offers: a bzImage by Linux, another file by PVH, Multiboot2,
    /// Multiboot, Linux.
    #[default]
    Auto,
    /// The Linux boot protocol.
    Linux,
    /// Xen's PVH.
    Pvh,
    /// Multiboot, version 1.
    Multiboot,
    /// Multiboot, version 2.
    Multiboot2,
}

const PROTOCOLS: [(&str, BootProtocol); 5] = [
    ("auto", BootProtocol::Auto),
    ("linux", BootProtocol::Linux),
    ("pvh", BootProtocol::Pvh),
    ("multiboot", BootProtocol::Multiboot),
    ("multiboot2", BootProtocol::Multiboot2),
];

impl FromStr for BootProtocol {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let known = PROTOCOLS.iter().find(|(name, _)| *name == text);
        known.map(|(_, protocol)| *protocol).ok_or_else(|| {
            let names = PROTOCOLS.map(|(name, _)| name);
            let hint = did_you_mean(text, names);
            BadValue(format!("'{text}' is not a boot protocol (there are {}){hint}", names.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_a_path_and_perhaps_a_line() {
        let module = |text: &str| {
            let module: ModuleSpec = text.parse().unwrap();
            (module.path.to_str().unwrap().to_owned(), module.cmdline)
        };
        let pair = |path: &str, line: &str| (path.to_owned(), line.to_owned());
        assert_eq!(module("ext2fs.gz"), pair("ext2fs.gz", ""));
        assert_eq!(module("vmlinuz=root=/dev/vda, rw"), pair("vmlinuz", "root=/dev/vda, rw"));
        assert_eq!(module("a b="), pair("a b", ""));
        assert_eq!(module("a==b=c=d"), pair("a=b", "c=d"));
        let names = ModuleSpec::names_with_equals(OsStr::new("a=b=c"));
        assert_eq!(names, ["a=b", "a=b=c"]);
        assert!(ModuleSpec::names_with_equals(OsStr::new("a")).is_empty());
        for bad in ["", "=x"] {
            assert!(bad.parse::<ModuleSpec>().unwrap_err().0.contains("names no file"));
        }
    }

    #[test]
    fn protocols_have_names() {
        assert_eq!("multiboot2".parse(), Ok(BootProtocol::Multiboot2));
        assert_eq!("auto".parse(), Ok(BootProtocol::default()));
        let wrong = "multibot".parse::<BootProtocol>().unwrap_err().0;
        assert!(wrong.contains("auto, linux, pvh, multiboot, multiboot2"), "{wrong}");
        assert!(wrong.ends_with("did you mean 'multiboot'?"), "{wrong}");
    }
}
