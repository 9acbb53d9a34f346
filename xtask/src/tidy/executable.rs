//! What is linked into the process of a VM: `yagura` holds no code that speaks to a network or reads foreign formats.
//!
//! `yagura` and `yagura-cloud` are one package with one list of dependencies (ADR 6): what of it is in `yagura` is for the
//! linker, which takes what is called. So the executables are asked, by the names of their symbols. Each name has to be in
//! `yagura-cloud`: one that nobody has is a crate that was renamed, and would be found nowhere.

use super::Violation;
use crate::{process, workspace};
use anyhow::{Result, ensure};
use std::path::Path;
use std::process::Command;

/// Crates and modules that no VM's process holds, and what they are.
const KEPT_OUT: &[(&str, &str)] = &[
    ("reqwest", "an HTTP client"),
    ("hyper::client", "an HTTP client"),
    ("hyper_util::client", "an HTTP client"),
    ("rustls", "TLS"),
    ("webpki", "TLS"),
    ("ring", "TLS"),
    ("hickory_proto", "DNS"),
    ("hickory_net", "DNS"),
    ("hickory_resolver", "DNS"),
    ("getaddrinfo", "DNS"),
    ("image_sources::fetch", "downloads"),
    ("image_import", "foreign images"),
    ("oci_image", "OCI images"),
    ("guest_files", "guests' file systems"),
    ("ext4_view", "guests' file systems"),
    ("foreign_disks", "foreign disk formats"),
];

/// What is in every VM's process: without it, the symbols are not those of one.
const OF_A_VM: &str = "vm_runtime";

/// Builds the executables as users get them, and finds in `yagura` what belongs in `yagura-cloud`.
pub fn check() -> Result<Vec<Violation>> {
    let vm = workspace::build_yagura()?;
    let cloud = vm.with_file_name("yagura-cloud");
    Ok(judge(&symbols(&vm)?, &symbols(&cloud)?))
}

/// The names of an executable's symbols, a line each.
fn symbols(file: &Path) -> Result<String> {
    let names =
        process::output(Command::new("nm").args(["--demangle=rust", "--format=just-symbols"]).arg(file))?;
    ensure!(!names.trim().is_empty(), "{} was stripped of its symbols", file.display());
    Ok(names)
}

/// What is wrong with executables that have these symbols.
fn judge(vm: &str, cloud: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    if first_of(vm, OF_A_VM).is_none() {
        let what = format!("has no symbol of {OF_A_VM}, which every VM's process runs");
        violations.push(Violation::new("yagura", "executable", what));
    }
    for (name, kind) in KEPT_OUT {
        if let Some(symbol) = first_of(vm, name) {
            let what = format!("holds {name} ({kind}), which no VM's process may: {symbol}");
            violations.push(Violation::new("yagura", "executable", what));
        }
        if first_of(cloud, name).is_none() {
            let what = format!("has no symbol of {name}; if it was renamed, so is what yagura may not hold");
            violations.push(Violation::new("yagura-cloud", "executable", what));
        }
    }
    violations
}

/// The first symbol of a crate or module, or of a function of C, of this name.
fn first_of<'s>(symbols: &'s str, name: &str) -> Option<&'s str> {
    symbols.lines().find(|symbol| *symbol == name || names_path(symbol, name))
}

/// Whether a symbol has a path that begins with `name`. A module of another crate, `host_sys::ring`, is not the crate `ring`.
fn names_path(symbol: &str, name: &str) -> bool {
    let goes_on = |at: usize| symbol[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
    symbol.match_indices(name).any(|(at, _)| symbol[at + name.len()..].starts_with("::") && !goes_on(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Symbols of a VM's process that is as it should be.
    const VM: &str = "vm_runtime::driver::Driver::run\nhost_sys::ring::Ring<T>::push\nimage_sources::file_kind::FileKind\n\
        <disk::raw::RawDisk as disk::contract::Disk>::queue\nmain\n";

    fn cloud() -> String {
        KEPT_OUT
            .iter()
            .map(
                |(name, _)| {
                    if *name == "getaddrinfo" { "getaddrinfo\n".to_owned() } else { format!("{name}::f\n") }
                },
            )
            .collect()
    }

    #[test]
    fn what_a_vm_needs_is_let_through() {
        assert_eq!(judge(VM, &cloud()), []);
    }

    #[test]
    fn each_name_is_found_wherever_it_stands() {
        for symbol in [
            "rustls::client::connect",
            "<rustls::Error as core::fmt::Debug>::fmt",
            "core::ptr::drop_in_place<alloc::vec::Vec<rustls::Stream>>",
            "foreign_disks::vhdx::open",
            "<ring::aead::Key as core::ops::Drop>::drop",
            "image_sources::fetch::download",
            "getaddrinfo",
        ] {
            let found = judge(&format!("{VM}{symbol}\n"), &cloud());
            assert_eq!(found.len(), 1, "{symbol}: {found:?}");
            assert!(found[0].what.ends_with(symbol), "{found:?}");
        }
    }

    #[test]
    fn a_list_that_finds_nothing_is_no_proof() {
        let without = cloud().replace("guest_files::f\n", "");
        let found = judge(VM, &without);
        assert!(found.len() == 1 && found[0].what.contains("guest_files"), "{found:?}");
        let found = judge("main\n", &cloud());
        assert!(found.len() == 1 && found[0].what.contains("vm_runtime"), "{found:?}");
    }
}
