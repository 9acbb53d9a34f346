//! GRUB 2: `grub.cfg` and `grubenv`, read by a tolerant reader of GRUB's language.
//!
//! ```text
//! grub.cfg ─► script.rs (words, blocks) ─► run.rs (variables, conditions, menu) ─► the default entry first
//! ```

mod run;
mod script;

use std::collections::BTreeMap;

use super::bls;
use super::entry::{Entry, Files, Place, System};
use crate::read_small;
use run::{MenuItem, Runner};

const CONFIG_LIMIT_BYTES: u64 = 1 << 20;
const ENVIRONMENT_LIMIT_BYTES: u64 = 64 << 10;

/// Where the files may be below `/boot`, or below the root of a file system of its own.
const FOLDERS: &[&str] = &["grub", "grub2", "boot/grub", "boot/grub2"];

/// The entries of a place's `grub.cfg`, the default one first.
pub(super) fn entries(system: &System<'_>, place: &Place, _passed_over: &mut Vec<String>) -> Vec<Entry> {
    FOLDERS
        .iter()
        .find_map(|folder| read(system, place, &format!("{}/{folder}", place.folder)))
        .unwrap_or_default()
}

fn read(system: &System<'_>, place: &Place, folder: &str) -> Option<Vec<Entry>> {
    let fs = system.fs(place);
    let path = format!("{folder}/grub.cfg");
    let text = read_small(fs, &path, CONFIG_LIMIT_BYTES).ok()?;
    let environment = read_small(fs, &format!("{folder}/grubenv"), ENVIRONMENT_LIMIT_BYTES);
    let environment = environment.map_or(BTreeMap::new(), |text| parse_environment(&text));
    let script = script::parse(&String::from_utf8_lossy(&text));
    let mut runner = Runner::new(environment);
    runner.run(&script);
    let finder = Finder { system, place, path };
    let entries = finder.menu(runner);
    (!entries.is_empty()).then_some(entries)
}

/// The variables of a `grubenv` block, which is filled up with `#`. What counts only for the next start is left
/// out: nobody would clear it.
fn parse_environment(text: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let variables = lines.filter_map(|line| line.split_once('='));
    variables
        .filter(|(name, _)| !matches!(*name, "next_entry" | "prev_saved_entry"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .take(1000)
        .collect()
}

/// Makes entries of a menu.
struct Finder<'a> {
    system: &'a System<'a>,
    place: &'a Place,
    path: String,
}

/// An entry, and the names by which `default` may choose it.
struct Named {
    names: Vec<String>,
    /// An entry, or those of a submenu.
    entries: Vec<Named>,
    entry: Option<Entry>,
}

impl Finder<'_> {
    /// The menu's entries, the default one first.
    fn menu(&self, runner: Runner) -> Vec<Entry> {
        let Runner { variables, menu, .. } = runner;
        let mut named = Vec::new();
        for item in menu {
            match item {
                MenuItem::Bls => named.extend(self.bls(&variables)),
                item => named.push(self.named(item)),
            }
        }
        let default = variables.get("default").map_or("0", String::as_str);
        let default = if default == "saved" {
            variables.get("saved_entry").map_or("0", String::as_str)
        } else {
            default
        };
        bring_forward(&mut named, default, 0);
        let mut entries = Vec::new();
        flatten(named, &mut entries);
        entries
    }

    fn bls(&self, variables: &BTreeMap<String, String>) -> Vec<Named> {
        // GRUB looks beside the folder that holds grub.cfg, or where the configuration says.
        let mut read = bls::read(self.system, self.place);
        read.sort_by(bls::BlsEntry::order_by_name);
        let mut named = Vec::new();
        for entry in read {
            let names = vec![entry.id.clone(), entry.title.clone(), format!("{}.conf", entry.id)];
            let entry = entry.into_entry(self.place, self.place.folder, variables);
            named.push(Named { names, entries: Vec::new(), entry: Some(entry) });
        }
        named
    }

    fn named(&self, item: MenuItem) -> Named {
        match item {
            MenuItem::Bls => Named { names: Vec::new(), entries: Vec::new(), entry: None },
            MenuItem::Submenu { title, id, items } => Named {
                names: vec![id, title],
                entries: items.into_iter().map(|item| self.named(item)).collect(),
                entry: None,
            },
            MenuItem::Entry { title, id, kernel, initrds, cmdline, search } => {
                let searched = search.and_then(|name| self.volume(&name));
                let files = Files::Paths { volume: searched.unwrap_or(self.place.volume), kernel, initrds };
                let entry = Entry { source: format!("{}: {title}", self.path), files, cmdline };
                Named { names: vec![id, title], entries: Vec::new(), entry: Some(entry) }
            }
        }
    }

    /// The volume that `search` finds by a UUID or a label.
    fn volume(&self, name: &str) -> Option<usize> {
        self.system.volumes.list.iter().position(|volume| {
            volume.fs.uuid().is_some_and(|uuid| uuid.eq_ignore_ascii_case(name)) || volume.fs.label() == name
        })
    }
}

/// Puts what `default` names first: an index, a title or an id, for each level of menus, with `>` between.
fn bring_forward(named: &mut [Named], default: &str, depth: usize) {
    /// Submenus are not nested deeper.
    const DEPTH_LIMIT: usize = 16;
    let (name, rest) = default.split_once('>').unwrap_or((default, ""));
    let by_name =
        named.iter().position(|entry| entry.names.iter().any(|known| !known.is_empty() && known == name));
    // A title may hold a `>` of its own.
    let whole = named.iter().position(|entry| entry.names.iter().any(|known| known == default));
    let by_index = || name.trim().parse::<usize>().ok().filter(|&index| index < named.len());
    if let Some(at) = whole.or(by_name).or_else(by_index) {
        named[..=at].rotate_right(1);
        if depth < DEPTH_LIMIT {
            bring_forward(&mut named[0].entries, rest, depth + 1);
        }
    }
}

fn flatten(named: Vec<Named>, entries: &mut Vec<Entry>) {
    for item in named {
        entries.extend(item.entry.filter(|entry| match &entry.files {
            Files::Paths { kernel, .. } => !kernel.is_empty(),
            Files::Known(_) => true,
        }));
        flatten(item.entries, entries);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(default: &str) -> String {
        let entry = |title: &str| {
            let files = Files::Paths { volume: 0, kernel: "k".to_owned(), initrds: Vec::new() };
            let entry = Entry { source: title.to_owned(), files, cmdline: String::new() };
            Named {
                names: vec![format!("id-{title}"), title.to_owned()],
                entries: Vec::new(),
                entry: Some(entry),
            }
        };
        let submenu = Named {
            names: vec!["advanced".to_owned(), "Advanced > more".to_owned()],
            entries: vec![entry("c"), entry("d")],
            entry: None,
        };
        let mut named = vec![entry("a"), submenu, entry("b")];
        bring_forward(&mut named, default, 0);
        let mut entries = Vec::new();
        flatten(named, &mut entries);
        entries.into_iter().map(|entry| entry.source).collect()
    }

    #[test]
    fn the_default_comes_first() {
        for (default, order) in [
            ("0", "acdb"),
            ("2", "bacd"),
            ("b", "bacd"),
            ("id-b", "bacd"),
            ("1>1", "dcab"),
            ("advanced>id-d", "dcab"),
            ("Advanced > more", "cdab"),
            ("7", "acdb"),
            ("", "acdb"),
            ("nothing>0", "acdb"),
        ] {
            assert_eq!(titles(default), order, "{default}");
        }
    }

    #[test]
    fn the_environment_block() {
        let block =
            b"# GRUB Environment Block\nsaved_entry=x-6.1\nkernelopts=root=UUID=1 ro\nnext_entry=2\n#######";
        let variables = parse_environment(block);
        assert_eq!(variables["saved_entry"], "x-6.1");
        assert_eq!(variables["kernelopts"], "root=UUID=1 ro");
        assert_eq!(variables.len(), 2);
    }
}
