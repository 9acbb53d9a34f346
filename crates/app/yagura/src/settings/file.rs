//! Configuration files: TOML with the flags' names as keys.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use vm_spec::nearest;

use super::GivenSettings;

/// No description of a VM is longer.
const SIZE_MAX_BYTES: u64 = 1 << 20;

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("configuration file {path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It is too long to be one.
    #[error("configuration file {0} is longer than 1 MiB: is it the right file?")]
    TooLong(PathBuf),
    /// It says something that is not understood.
    #[error("configuration file {path}, line {line}: {what}")]
    Content {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// The mistake, and what would be right.
        what: String,
    },
}

/// Reads the file at `path`; relative paths in it start at its folder.
pub fn read(path: &Path) -> Result<GivenSettings, FileError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(SIZE_MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    if text.len() as u64 > SIZE_MAX_BYTES {
        return Err(FileError::TooLong(path.to_owned()));
    }
    let settings =
        parse(&text).map_err(|(line, what)| FileError::Content { path: path.to_owned(), line, what })?;
    Ok(settings.below(path.parent().unwrap_or(Path::new(""))))
}

/// The settings in `text`, or the line (from 1) of a mistake and what it is.
pub(super) fn parse(text: &str) -> Result<GivenSettings, (usize, String)> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start).min(text.len());
        let before = text.as_bytes()[..start].iter();
        let line = before.filter(|byte| **byte == b'\n').count();
        (line + 1, explain(error.message(), text.lines().nth(line).unwrap_or("")))
    })
}

/// Makes a line for a person out of serde's message about `line`.
fn explain(message: &str, line: &str) -> String {
    // serde puts names into backticks: the unknown one first, then those that it expected.
    if message.starts_with("unknown field") {
        let mut names = message.split('`').skip(1).step_by(2);
        let typed = names.next().unwrap_or("");
        return format!("unknown key '{typed}'{}", nearest(typed, names));
    }
    let key = line.split('=').next().unwrap_or("").trim_matches(|c: char| "[]\" \t".contains(c));
    let Some(example) = example(key) else { return message.to_owned() };
    if message.starts_with("invalid type") || message.starts_with("missing field") {
        format!("{key}: {message}; write {example}")
    } else {
        format!("{key}: {message}")
    }
}

/// How a key is written.
pub(super) fn example(key: &str) -> Option<&'static str> {
    Some(match key {
        "name" => "name = \"web1\"",
        "image" => "image = \"debian/12\"",
        "disk-size" => "disk-size = \"10G\"",
        "user-data" => "user-data = \"user-data.yaml\"",
        "network-config" => "network-config = \"network.yaml\"",
        "ssh-key" => "ssh-key = [\"id_ed25519.pub\"]",
        "kernel" => "kernel = \"vmlinuz\"",
        "boot-protocol" => "boot-protocol = \"auto\"",
        "module" => "[[module]] and below it path = \"module.gz\"",
        "initrd" => "initrd = [\"ucode.img\", \"initrd.img\"]",
        "cmdline" => "cmdline = \"console=ttyS0\"",
        "cpus" => "cpus = 2",
        "memory" => "memory = \"512M\"",
        "merge" => "merge = true",
        "disk" => "[[disk]] and below it path = \"disk.img\"",
        "net" => "[[net]] and below it tap = \"tap0\"",
        "console" => "console = \"stdio\"",
        "virtio-console" => "virtio-console = \"socket=vm.console\"",
        "engine" => "engine = \"auto\"",
        "jit" => "jit = true",
        "cpu-model" => "cpu-model = \"host\"",
        "on-reset" => "on-reset = \"exit\"",
        "on-panic" => "on-panic = \"pause\"",
        "debug-exit" => "debug-exit = 0xf4",
        "control" => "control = \"vm.socket\"",
        "path" => "path = \"disk.img\"",
        "format" => "format = \"qcow2\"",
        "readonly" => "readonly = true",
        "serial" => "serial = \"DISK1\"",
        "tap" => "tap = \"tap0\"",
        "mac" => "mac = \"52:54:00:12:34:56\"",
        "queues" => "queues = 2",
        _ => return None,
    })
}
