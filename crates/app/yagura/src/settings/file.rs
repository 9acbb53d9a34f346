//! Configuration files: TOML with the flags' names as keys.

use std::io;
use std::path::{Path, PathBuf};

use host_sys::named_file::read_named;
use messages::parser_words;

use super::GivenSettings;

/// No description of a VM is longer.
const SIZE_MAX_BYTES: u64 = 1 << 20;

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read, or is too long to be one.
    #[error("configuration file {path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
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
    let bytes = read_named(path, SIZE_MAX_BYTES)
        .map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    let wrong = |(line, what)| FileError::Content { path: path.to_owned(), line, what };
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        wrong((line_at_end(before), "this is not text in UTF-8".to_owned()))
    })?;
    Ok(parse(&text).map_err(wrong)?.below(&start_of_paths(path)))
}

/// Where relative paths in the file at `path` start. What comes out of a pipe was written where the command was typed.
fn start_of_paths(path: &Path) -> PathBuf {
    let is_pipe = path.starts_with("/dev") || path.starts_with("/proc");
    if is_pipe { PathBuf::new() } else { path.with_file_name("") }
}

/// The settings in `text`, or the line (from 1) of a mistake and what it is.
pub(super) fn parse(text: &str) -> Result<GivenSettings, (usize, String)> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start).min(text.len());
        let line = line_at_end(&text.as_bytes()[..start]);
        (line, explain(error.message(), text.lines().nth(line - 1).unwrap_or("")))
    })
}

/// The line, from 1, that the end of `before` is in.
fn line_at_end(before: &[u8]) -> usize {
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Makes a line for a person out of a parser's message about `line`.
fn explain(message: &str, line: &str) -> String {
    let words = parser_words(message);
    let key = line.split('=').next().unwrap_or("").trim_matches(|c: char| "[]\"' \t\u{feff}".contains(c));
    match example(key) {
        _ if words.starts_with("unknown key") => words,
        None => words,
        Some(example)
            if words.contains(" is needed, not ")
                || words.ends_with("is missing")
                || words.starts_with("a name of") =>
        {
            format!("{key}: {words}; write {example}")
        }
        Some(_) => format!("{key}: {words}"),
    }
}

/// How a key is written.
pub(super) fn example(key: &str) -> Option<&'static str> {
    Some(match key {
        "name" => "name = \"web1\"",
        "image" => "image = \"debian/12\"",
        "disk-size" => "disk-size = \"10G\"",
        "disk-on-error" => "disk-on-error = \"pause\"",
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
        "id" => "id = \"disk-data\"",
        "format" => "format = \"qcow2\"",
        "readonly" => "readonly = true",
        "serial" => "serial = \"DISK1\"",
        "tap" => "tap = \"tap0\"",
        "mac" => "mac = \"52:54:00:12:34:56\"",
        "queues" => "queues = 2",
        _ => return None,
    })
}
