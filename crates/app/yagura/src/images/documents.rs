//! Files that a person names for the first boot of a machine. Nothing that stands in them is repeated in a message.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use first_boot::{KeyFault, USER_DATA_MAX_BYTES, parse_ssh_keys};
use host_sys::named_file::read_named;
use yagura_vmm::say;

/// No other document of a person's is longer.
const DOCUMENT_MAX_BYTES: usize = 1 << 20;
/// What stands for standard input.
const STANDARD_INPUT: &str = "-";

/// Kinds of keys that `ssh` makes, in the order in which it offers them.
const KEY_FILES: [&str; 3] = ["id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"];

/// User data: bytes of any kind, from a file or, for `-`, from standard input.
pub fn user_data(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path == Path::new(STANDARD_INPUT) { standard_input() } else { read(path, USER_DATA_MAX_BYTES) }
}

/// A text.
pub fn text(path: &Path) -> anyhow::Result<String> {
    let bytes = read(path, DOCUMENT_MAX_BYTES)?;
    String::from_utf8(bytes).ok().with_context(|| format!("{} is not UTF-8 text", path.display()))
}

/// The public keys in files that a person named.
pub fn keys(paths: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let mut keys = Vec::new();
    for path in paths {
        let bytes = read(path, DOCUMENT_MAX_BYTES)?;
        let found = parse_ssh_keys(&bytes).map_err(|fault| {
            let public = beside(path).filter(|_| fault == KeyFault::Private);
            let hint = public.map_or(String::new(), |path| format!("; did you mean {}?", path.display()));
            anyhow::anyhow!("--ssh-key {}: {fault}{hint}", path.display())
        });
        keys.extend(found?);
    }
    Ok(keys)
}

/// The public half's file, if it is there.
fn beside(path: &Path) -> Option<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    Some(PathBuf::from(name)).filter(|path| path.is_file())
}

/// The public keys of whoever runs this. Nobody has named them: one that is none is told of and left out.
pub fn own_keys() -> Vec<String> {
    let folder = std::env::home_dir().map(|home| home.join(".ssh"));
    let files = folder.into_iter().flat_map(|folder| KEY_FILES.map(|name| folder.join(name)));
    let files = files.filter(|path| path.is_file());
    let keys = files.flat_map(|path| {
        let found = read(&path, DOCUMENT_MAX_BYTES).and_then(|bytes| Ok(parse_ssh_keys(&bytes)?));
        found.unwrap_or_else(|fault| {
            say(&format!("warning: {} is left out: {fault:#}", path.display()));
            Vec::new()
        })
    });
    keys.collect()
}

fn read(path: &Path, most: usize) -> anyhow::Result<Vec<u8>> {
    read_named(path, most as u64).with_context(|| format!("{} cannot be read", path.display()))
}

fn standard_input() -> anyhow::Result<Vec<u8>> {
    let input = std::io::stdin().lock();
    if input.is_terminal() {
        say("reading user data from the terminal; Ctrl-D ends it");
    }
    let mut bytes = Vec::new();
    let read = input.take(USER_DATA_MAX_BYTES as u64 + 1).read_to_end(&mut bytes);
    read.context("user data cannot be read from standard input")?;
    if bytes.len() > USER_DATA_MAX_BYTES {
        bail!("user data on standard input is longer than {} MiB", USER_DATA_MAX_BYTES >> 20);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_is_refused_and_its_public_half_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id_ed25519");
        std::fs::write(
            &path,
            "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n-----END OPENSSH PRIVATE KEY-----\n",
        )
        .unwrap();
        let error = || format!("{:#}", keys(std::slice::from_ref(&path)).unwrap_err());
        assert!(
            error().contains("this is a private key") && !error().contains("did you mean"),
            "{}",
            error()
        );
        std::fs::write(folder.path().join("id_ed25519.pub"), "x").unwrap();
        assert!(
            error().ends_with("did you mean {}?".replace("{}", &format!("{}.pub", path.display())).as_str())
        );
        assert!(!error().contains("hunter2"), "{}", error());
    }

    #[test]
    fn what_is_too_long_or_no_text_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long");
        std::fs::write(&path, vec![b'#'; DOCUMENT_MAX_BYTES + 1]).unwrap();
        assert!(text(&path).is_err());
        assert_eq!(user_data(&path).unwrap().len(), DOCUMENT_MAX_BYTES + 1);
        std::fs::write(&path, [0xff]).unwrap();
        assert!(text(&path).unwrap_err().to_string().contains("not UTF-8"));
    }
}
