//! GRUB's commands, as far as they decide what is started (GRUB's manual, "Commands"). All others do nothing here.

use super::condition;
use super::environment::{NEXT_ENTRY, parse_block};
use super::expand::{kernel_line, options};
use super::run::{Flow, Item, Loaded, Menu, Runner};
use super::script::parse;
use crate::boot::bls;

/// What starts something else than a Linux kernel, or leaves GRUB.
const OTHER_STARTERS: &[&str] = &[
    "appleloader",
    "boottest",
    "chainloader",
    "exit",
    "freedos",
    "fwsetup",
    "halt",
    "kfreebsd",
    "knetbsd",
    "kopenbsd",
    "multiboot",
    "multiboot2",
    "ntldr",
    "pxechainloader",
    "reboot",
    "truecrypt",
    "xnu_kernel",
    "xnu_kernel64",
    "xen_hypervisor",
    "plan9",
];

/// Menus in languages of other loaders.
const FOREIGN_MENUS: &[&str] = &[
    "legacy_configfile",
    "legacy_source",
    "syslinux_configfile",
    "syslinux_source",
    "extract_legacy_entries_configfile",
    "extract_legacy_entries_source",
    "extract_syslinux_entries_configfile",
    "extract_syslinux_entries_source",
];

/// What succeeds and decides nothing.
const SILENT: &[&str] = &[
    "background_color",
    "background_image",
    "clear",
    "cls",
    "echo",
    "false",
    "gfxpayload",
    "insmod",
    "keymap",
    "load_video",
    "loadfont",
    "module",
    "module2",
    "outb",
    "password",
    "password_pbkdf2",
    "play",
    "rmmod",
    "save_env",
    "serial",
    "setpci",
    "sleep",
    "terminal_input",
    "terminal_output",
    "true",
    "videoinfo",
];

impl Runner<'_> {
    pub(super) fn command(&mut self, words: &[String]) -> Flow {
        let Some((name, arguments)) = words.split_first() else { return Flow::Next };
        let plain: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.succeeded = true;
        match (name.as_str(), plain.as_slice()) {
            ("set", [assignment, ..]) => self.assign(assignment),
            ("unset", [name, ..]) => {
                self.menu.variables.unset(name);
                Flow::Next
            }
            ("export", names) => self.export(names),
            ("[" | "test", inner) => {
                let inner = if name == "[" { inner.strip_suffix(&["]"]).unwrap_or(inner) } else { inner };
                self.succeeded = condition::is_true(inner, self);
                Flow::Next
            }
            ("load_env", inner) => self.load_env(inner),
            ("search", inner) => self.search(inner),
            ("search.fs_uuid" | "search.fs_label" | "search.file", inner) => {
                self.search_by_command(name, inner)
            }
            ("probe", inner) => self.probe(inner),
            ("source" | "." | "configfile" | "normal", inner) => self.go_to_file(name, inner),
            ("extract_entries_source" | "extract_entries_configfile", inner) => {
                self.extract_entries(name, inner)
            }
            ("blscfg", _) => self.bls_entries(),
            ("linux" | "linux16" | "linuxefi", [path, ..]) => self.linux(path, &arguments[1..]),
            ("initrd" | "initrd16" | "initrdefi", paths) => self.initrd(paths),
            ("boot", _) if self.loaded.kernel.is_some() || self.loaded.other.is_some() => Flow::Left,
            ("eval", inner) => self.eval(&inner.join(" ")),
            ("setparams", _) => {
                self.arguments = arguments.to_vec();
                Flow::Next
            }
            ("shift", inner) => self.shift(inner),
            ("break", inner) => Flow::Break(number(inner, 1)),
            ("continue", inner) => Flow::Continue(number(inner, 1)),
            ("return", inner) => {
                self.succeeded = number(inner, 0) == 0;
                Flow::Return
            }
            ("increment" | "decrement", [variable, ..]) => self.count(name == "increment", variable),
            (other, inner) if OTHER_STARTERS.contains(&other) => self.start_other(other, inner),
            (foreign, inner) if FOREIGN_MENUS.contains(&foreign) => {
                let menu = inner.first().copied().unwrap_or_default();
                self.fail(&format!("the menu {menu} is of another loader, and is not read by '{foreign}'"))
            }
            ("regexp", _) => self.fail("'regexp' is not known here, and its variable stays as it is"),
            (silent, _) if SILENT.contains(&silent) => {
                self.succeeded = silent != "false";
                Flow::Next
            }
            _ => self.function_or_assignment(name, arguments),
        }
    }

    /// What is no command is a function, or else an assignment.
    fn function_or_assignment(&mut self, name: &str, arguments: &[String]) -> Flow {
        if let Some(body) = self.functions.get(name).cloned() {
            return self.call(&body, arguments.to_vec());
        }
        if name.contains('=') {
            return self.assign(name);
        }
        self.succeeded = false;
        Flow::Next
    }

    fn assign(&mut self, assignment: &str) -> Flow {
        let Some((name, value)) = assignment.split_once('=') else { return Flow::Next };
        self.set(name, value).unwrap_or(Flow::Next)
    }

    fn export(&mut self, names: &[&str]) -> Flow {
        let exported = names.iter().try_for_each(|name| self.menu.variables.export(name));
        exported.map_or(Flow::Stopped("it has too many variables"), |()| Flow::Next)
    }

    /// Notes why a command that decides something failed.
    pub(super) fn fail(&mut self, why: &str) -> Flow {
        /// Nobody reads more.
        const LIMIT: usize = 16;
        self.succeeded = false;
        let note = format!("{}: {why}", self.file);
        if self.notes.len() < LIMIT && !self.notes.contains(&note) {
            self.notes.push(note);
        }
        Flow::Next
    }

    fn start_other(&mut self, name: &str, arguments: &[&str]) -> Flow {
        let line = [&[name], arguments].concat().join(" ");
        self.loaded.other = Some(format!("it does not start a Linux kernel, but '{line}'"));
        // What leaves GRUB does so at once.
        if matches!(name, "exit" | "fwsetup" | "halt" | "reboot") { Flow::Left } else { Flow::Next }
    }

    fn linux(&mut self, path: &str, arguments: &[String]) -> Flow {
        let kernel = self.find_file(path);
        self.succeeded = kernel.is_ok();
        let cmdline = kernel_line(arguments);
        self.loaded = Loaded { kernel: Some(kernel), cmdline, ..Loaded::default() };
        Flow::Next
    }

    fn initrd(&mut self, paths: &[&str]) -> Flow {
        if self.loaded.kernel.is_none() {
            self.succeeded = false;
            return Flow::Next;
        }
        let files = paths.iter().map(|path| {
            if path.starts_with("newc:") {
                return Err(format!("'{path}' is packed into an archive by GRUB, which is not done here"));
            }
            self.find_file(path)
        });
        let files: Vec<_> = files.collect();
        self.succeeded = files.iter().all(Result::is_ok);
        self.loaded.initrds = files;
        Flow::Next
    }

    fn load_env(&mut self, words: &[&str]) -> Flow {
        let options = options(words, &["file", "f"]);
        let named = options.value("file").or(options.value("f")).map(str::to_owned);
        let file = named.unwrap_or_else(|| format!("{}/grubenv", self.menu.variables.get("prefix")));
        let Ok(text) = self.read_text(&file) else {
            self.succeeded = false;
            return Flow::Next;
        };
        if let Some(stopped) = self.charge(text.len()) {
            return stopped;
        }
        let mut block = parse_block(&text);
        if let Some(next) = block.get(NEXT_ENTRY).cloned() {
            let once = self.system.once;
            if once.done.as_ref() == Some(&next) {
                block.remove(NEXT_ENTRY);
            }
            once.named.replace(Some(next));
        }
        let wanted =
            |name: &String| options.arguments.is_empty() || options.arguments.contains(&name.as_str());
        for (name, value) in block.iter().filter(|(name, _)| wanted(name)) {
            if let Some(stopped) = self.set(name, value) {
                return stopped;
            }
        }
        Flow::Next
    }

    /// `source`, which goes on in this menu; `configfile`, which opens one of its own and shows it; `normal`, which
    /// shows this one.
    fn go_to_file(&mut self, name: &str, arguments: &[&str]) -> Flow {
        let default = format!("{}/grub.cfg", self.menu.variables.get("prefix"));
        let file = match (name, arguments) {
            (_, [file]) => (*file).to_owned(),
            ("normal", []) => default,
            _ => return self.fail(&format!("'{name}' takes one file")),
        };
        let opens = name == "configfile";
        let outer = opens.then(|| {
            let variables = self.menu.variables.exported();
            std::mem::replace(&mut self.menu, Menu { variables, ..Menu::default() })
        });
        let flow = self.run_file(&file);
        if !matches!(flow, Flow::Next | Flow::Return) {
            return flow;
        }
        let shows = opens || name == "normal";
        if shows && !self.menu.items.is_empty() {
            let lost_root = self.lost_root.clone();
            self.taken = Some(Menu { lost_root, ..std::mem::take(&mut self.menu) });
            return Flow::Left;
        }
        if let Some(outer) = outer {
            self.menu = outer;
        }
        Flow::Next
    }

    /// The entries of a file come to this menu, and nothing else of it.
    fn extract_entries(&mut self, name: &str, arguments: &[&str]) -> Flow {
        let [file] = arguments else { return self.fail(&format!("'{name}' takes one file")) };
        let opened = if name.ends_with("source") {
            self.menu.variables.clone()
        } else {
            self.menu.variables.exported()
        };
        let outer = std::mem::replace(&mut self.menu, Menu { variables: opened, ..Menu::default() });
        let flow = self.run_file(file);
        let extracted = std::mem::replace(&mut self.menu, outer);
        self.menu.items.extend(extracted.items);
        if flow == Flow::Return { Flow::Next } else { flow }
    }

    /// Runs a file in the menu and with the variables that are there.
    pub(super) fn run_file(&mut self, file: &str) -> Flow {
        let text = match self.read_text(file) {
            Ok(text) => text,
            Err(why) => return self.fail(&why),
        };
        if let Some(stopped) = self.charge(text.len()) {
            return stopped;
        }
        let (full, path) = self.full_name(file);
        let folder = full.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
        let outer_names =
            ["config_file", "config_directory"].map(|name| self.menu.variables.get(name).to_owned());
        let outer_file = std::mem::replace(&mut self.file, path);
        for (name, value) in [("config_file", &full), ("config_directory", &folder)] {
            if let Some(stopped) = self.set(name, value).or_else(|| self.exported(name)) {
                return stopped;
            }
        }
        let flow = self.run(&parse(&text));
        for (name, value) in ["config_file", "config_directory"].into_iter().zip(&outer_names) {
            if let Some(stopped) = self.set(name, value) {
                return stopped;
            }
        }
        // What is started by this file names it.
        if matches!(flow, Flow::Next | Flow::Return) {
            self.file = outer_file;
        }
        flow
    }

    fn exported(&mut self, name: &str) -> Option<Flow> {
        Some(self.export(&[name])).filter(|flow| *flow != Flow::Next)
    }

    fn eval(&mut self, text: &str) -> Flow {
        if let Some(stopped) = self.charge(text.len()) {
            return stopped;
        }
        self.run(&parse(text))
    }

    fn shift(&mut self, arguments: &[&str]) -> Flow {
        let count = number(arguments, 1);
        self.succeeded = count <= self.arguments.len();
        if self.succeeded {
            self.arguments.drain(..count);
        }
        Flow::Next
    }

    /// `increment` and `decrement` of Fedora's GRUB.
    fn count(&mut self, up: bool, variable: &str) -> Flow {
        let value = self.menu.variables.get(variable).parse::<i64>().unwrap_or(0);
        let value = value.saturating_add(if up { 1 } else { -1 });
        self.set(variable, &value.to_string()).unwrap_or(Flow::Next)
    }

    /// `blscfg`: the Boot Loader Specification's entries, whose lines Fedora's GRUB reads as parts of a script.
    fn bls_entries(&mut self) -> Flow {
        let boot = self.menu.variables.get("boot").to_owned();
        let device = if boot.is_empty() { String::new() } else { format!("({})", bare(&boot)) };
        let folder = match self.menu.variables.get("blsdir") {
            "" => "/loader/entries",
            folder => folder,
        };
        let folder = if folder.starts_with('(') { folder.to_owned() } else { format!("{device}{folder}") };
        let (volume, path) = match self.find_folder(&folder) {
            Ok(found) => found,
            Err(why) => return self.fail(&why),
        };
        let mut entries = bls::read(self.system, volume, &path);
        entries.sort_by(bls::BlsEntry::order_by_name);
        for entry in entries.into_iter().filter(bls::BlsEntry::has_kernel) {
            let item = Item {
                source: format!("{path}/{}.conf: {}", entry.rank.id, entry.shown_title()),
                names: vec![entry.rank.id.clone(), entry.title.clone(), format!("{}.conf", entry.rank.id)],
                arguments: vec![entry.title.clone()],
                is_submenu: false,
                body: parse(&entry.script(&device)).into(),
            };
            let flow = self.add(item);
            if flow != Flow::Next {
                return flow;
            }
        }
        Flow::Next
    }
}

/// A device's name without parentheses.
fn bare(device: &str) -> &str {
    device.strip_prefix('(').and_then(|device| device.strip_suffix(')')).unwrap_or(device)
}

/// The number that is a command's first argument.
fn number(arguments: &[&str], default: usize) -> usize {
    arguments.first().map_or(default, |number| number.parse().unwrap_or(default))
}
