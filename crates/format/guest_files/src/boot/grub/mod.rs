//! GRUB 2: `grub.cfg` and `grubenv`, read as GRUB's own interpreter would, but for what only shows something.
//!
//! ```text
//! grub.cfg ─► script.rs (words, blocks) ─► run.rs (variables, loops) ─► menu.rs (default, fallback, submenus) ─► entries
//!                                          │ commands.rs: linux, initrd, configfile …   each entry's body runs by itself
//!                                          └ files.rs, device.rs: (hd0,gpt2)/path, search ─► a file of this disk
//! ```
//!
//! A path is looked up on the device that it names, or on the root that the script has set, and nowhere else. What
//! names a device that is not here, or cannot be read, is said.

mod commands;
mod condition;
mod device;
mod environment;
mod expand;
mod files;
mod menu;
mod run;
mod script;

use super::entry::{Entry, Place, System, file};
use crate::{FileKind, PartitionType};
use run::{Flow, Menu, Runner};

/// Where the files may be below `/boot`, or below the root of a file system of its own.
const FOLDERS: &[&str] = &["grub", "grub2", "boot/grub", "boot/grub2"];
/// Folders of an EFI system partition that are looked into.
const VENDOR_LIMIT: usize = 16;

/// The entries of the `grub.cfg` that GRUB would read: the one that it would start first. Others follow as long as
/// nothing is there to be started.
///
/// With firmware, what GRUB reads first is on the EFI system partition, and leads to the right one of several.
pub(super) fn entries(system: &System<'_>, passed_over: &mut Vec<String>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let at = |place: &Place| {
        FOLDERS.iter().find_map(|folder| {
            let folder = format!("{}/{folder}", place.folder);
            let file = file(system.volumes, place.volume, &format!("{folder}/grub.cfg"))?;
            Some((file.volume(), folder))
        })
    };
    let configs = on_esp(system).into_iter().chain(system.places.iter().filter_map(at));
    for (volume, folder) in configs {
        let mut notes = Vec::new();
        let read = read(system, volume, &folder, &mut notes);
        let is_found = read.iter().any(|entry| entry.locate(system).is_ok());
        // Of one that leads nowhere the first reason will do.
        notes.truncate(if is_found { NOTE_LIMIT } else { 1 });
        passed_over.extend(notes);
        entries.extend(read);
        if is_found {
            break;
        }
    }
    entries
}

/// The folders of EFI system partitions that hold a `grub.cfg`: the one that firmware takes by itself, then others.
fn on_esp(system: &System<'_>) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (volume, esp) in system.volumes.list.iter().enumerate() {
        if esp.kind() != Some(PartitionType::Esp) {
            continue;
        }
        let folders = esp.fs.list("/EFI", 4096).unwrap_or_default();
        let mut names: Vec<String> = folders
            .into_iter()
            .filter(|folder| folder.kind == FileKind::Directory)
            .map(|folder| folder.name)
            .collect();
        names.sort_by_key(|name| (!name.eq_ignore_ascii_case("BOOT"), name.clone()));
        let folders = names.into_iter().take(VENDOR_LIMIT).map(|name| format!("/EFI/{name}"));
        let has_config =
            |folder: &String| file(system.volumes, volume, &format!("{folder}/grub.cfg")).is_some();
        found.extend(folders.filter(has_config).map(|folder| (volume, folder)));
    }
    found
}

fn read(system: &System<'_>, volume: usize, folder: &str, passed_over: &mut Vec<String>) -> Vec<Entry> {
    let mut runner = Runner::new(system);
    let root = device::name(system.volumes, volume);
    let is_efi = system.volumes.list.iter().any(|volume| volume.kind() == Some(PartitionType::Esp));
    // btrfs's subvolume that was found as the system's root: paths of `folder` begin there.
    let relative = system.volumes.list[volume].fs.subvolume_path() != "";
    let known = [
        ("root", root.as_str()),
        ("prefix", &format!("({root}){folder}")),
        ("grub_platform", if is_efi { "efi" } else { "pc" }),
        ("grub_cpu", if is_efi { "x86_64" } else { "i386" }),
        ("feature_menuentry_id", "y"),
        ("feature_menuentry_options", "y"),
        ("feature_default_font_path", "y"),
        ("feature_platform_search_hint", "y"),
        ("feature_200_final", "y"),
        ("feature_all_video_module", "y"),
        ("feature_nativedisk_cmd", "y"),
        ("feature_ntldr", "y"),
        ("feature_timeout_style", "y"),
        ("btrfs_relative_path", if relative { "y" } else { "" }),
    ];
    for (name, value) in known {
        // They are few and short.
        let _ = runner.menu.variables.set(name, value).and_then(|()| runner.menu.variables.export(name));
    }
    let flow = runner.run_file(&format!("({root}){folder}/grub.cfg"));
    let entries = match (flow, runner.taken.take()) {
        (Flow::Stopped(why), _) => {
            passed_over.push(format!("{}: {why}", runner.file));
            Vec::new()
        }
        (Flow::Left, None) => vec![std::mem::take(&mut runner.loaded).into_entry(runner.file.clone())],
        (_, Some(menu)) => runner.entries(&menu, 0),
        (_, None) => {
            let menu = Menu { lost_root: runner.lost_root.take(), ..std::mem::take(&mut runner.menu) };
            runner.entries(&menu, 0)
        }
    };
    passed_over.append(&mut runner.notes);
    entries
}

/// What is noted of a configuration.
const NOTE_LIMIT: usize = 8;
