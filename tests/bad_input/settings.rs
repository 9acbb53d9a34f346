//! Mistakes in a configuration file, or between settings.

use std::io::Write;
use std::process::Stdio;

use tempfile::TempDir;

use crate::{Case, check, output, yagura};

/// Mistakes in a configuration file, or between settings.
const SETTINGS: &[Case] = &[
    ("run --config DIR/none.toml", 1, &["DIR/none.toml cannot be read", "No such file"]),
    ("run --config DIR", 1, &["DIR cannot be read", "it is a folder, and a file or a pipe is needed"]),
    (
        "run --config DIR/key.toml",
        1,
        &["DIR/key.toml, line 2", "unknown key 'memry'", "did you mean 'memory'"],
    ),
    (
        "run --config DIR/type.toml",
        1,
        &[
            "DIR/type.toml, line 3: memory: text in quotes is needed, not the number 512; write memory = \"512M\"",
        ],
    ),
    ("run --config DIR/value.toml", 1, &["DIR/value.toml, line 2", "0 CPUs: a VM has 1 to 64"]),
    ("run --config DIR/syntax.toml", 1, &["DIR/syntax.toml, line 1"]),
    ("run --config DIR/nokernel.toml", 1, &["no kernel is given", "DIR/nokernel.toml"]),
    ("run --config DIR/bom.toml", 1, &["DIR/bom.toml, line 2", "0 CPUs"]),
    ("run --config DIR/middle-bom.toml", 1, &["DIR/middle-bom.toml, line 2"]),
    ("run --config DIR/bytes.toml", 1, &["DIR/bytes.toml, line 2: this is not text in UTF-8"]),
    ("run --config DIR/twice.toml", 1, &["DIR/twice.toml, line 2: kernel: this is given twice"]),
    ("run --config DIR/table.toml", 1, &["DIR/table.toml, line 2: disk: a list is needed", "write [[disk]]"]),
    ("run --config DIR/open.toml", 1, &["DIR/open.toml, line 2"]),
    (
        "run --config DIR/name.toml",
        1,
        &["DIR/name.toml, line 2: name: 'Web1' is not a name", "did you mean 'web1'?"],
    ),
    ("run --config DIR/text", 1, &["DIR/text, line 1"]),
    (
        "run --config DIR/zeros",
        1,
        &["DIR/zeros cannot be read", "it is longer than 1 MiB; is it the right file?"],
    ),
    ("run --kernel DIR/good --disk path=DIR/disk --disk path=DIR/disk", 1, &["DIR/disk is given twice"]),
    ("run --kernel DIR/good --net tap=a --net tap=a", 1, &["tap a is given twice"]),
    ("run --kernel DIR/good --net none --net tap=a", 1, &["leave one of them out"]),
    (
        "run --kernel DIR/good --net tap=a,mac=52:54:00:00:00:01 --net tap=b,mac=52:54:00:00:00:01",
        1,
        &["card on b: another one has the MAC address 52:54:00:00:00:01"],
    ),
    ("run --kernel DIR/good --memory 15T", 1, &["15360G of memory: this host has", "less with --memory"]),
];

#[test]
fn mistakes_in_settings() {
    check(SETTINGS);
}

/// A configuration that comes out of a pipe, of which each byte is there once.
#[test]
fn a_configuration_may_come_from_a_pipe() {
    for (text, words) in [
        ("kernel = \"/does/not/exist\"\nengine = \"soft\"\n", "cannot use kernel /does/not/exist"),
        ("image = \"no/such\"\n", "no image is called no/such"),
    ] {
        let folder = TempDir::new().unwrap();
        let mut command = yagura(&["run", "--config", "/dev/stdin"]);
        let mut child = command.stdin(Stdio::piped()).env("YAGURA_DIR", folder.path()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = output(child);
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), line.lines().count()), (Some(1), 1), "{line}");
        assert!(line.contains(words), "{line}");
    }
}
