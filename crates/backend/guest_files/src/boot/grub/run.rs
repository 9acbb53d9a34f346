//! Runs a script of GRUB's for its variables and its menu. Nothing is repeated and nothing is called, so that every
//! statement runs once at most.

use std::collections::BTreeMap;

use super::script::{Part, Statement, Word};

/// The longest value; values may be made of one another.
const VALUE_LIMIT: usize = 4096;
const VARIABLE_LIMIT: usize = 1000;
const ITEM_LIMIT: usize = 1000;

/// An item of the menu.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum MenuItem {
    Entry {
        title: String,
        id: String,
        /// Empty when it starts no kernel.
        kernel: String,
        initrds: Vec<String>,
        cmdline: String,
        /// The UUID or label of the file system that the paths are on.
        search: Option<String>,
    },
    Submenu {
        title: String,
        id: String,
        items: Vec<MenuItem>,
    },
    /// `blscfg`: the Boot Loader Specification's entries stand here.
    Bls,
}

/// What an entry's body sets.
#[derive(Default)]
struct Kernel {
    path: String,
    cmdline: String,
    initrds: Vec<String>,
}

/// A script that runs.
pub(super) struct Runner {
    pub(super) variables: BTreeMap<String, String>,
    pub(super) menu: Vec<MenuItem>,
    /// What `load_env` brings.
    environment: BTreeMap<String, String>,
    kernel: Kernel,
    search: Option<String>,
    items: usize,
}

impl Runner {
    pub(super) fn new(environment: BTreeMap<String, String>) -> Runner {
        // What GRUB's core sets, as far as scripts ask for it.
        let variables = [("prefix", "/boot/grub"), ("grub_platform", "efi"), ("grub_cpu", "x86_64")];
        let known = ["feature_menuentry_id", "feature_default_font_path", "feature_platform_search_hint"];
        let known = known.map(|name| (name, "y"));
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Runner {
            variables: variables.into_iter().chain(known).map(own).collect(),
            menu: Vec::new(),
            environment,
            kernel: Kernel::default(),
            search: None,
            items: 0,
        }
    }

    /// Runs statements and says whether the last command succeeded.
    pub(super) fn run(&mut self, statements: &[Statement]) -> bool {
        let mut succeeded = true;
        for statement in statements {
            match statement {
                Statement::Command(words) => succeeded = self.command(words),
                Statement::If { arms, otherwise } => {
                    let taken = arms.iter().find(|(condition, _)| self.run(condition));
                    succeeded = self.run(taken.map_or(otherwise, |(_, body)| body));
                }
                Statement::Menu { words, is_submenu, body } => self.item(words, *is_submenu, body),
            }
        }
        succeeded
    }

    fn command(&mut self, words: &[Word]) -> bool {
        let words = self.expand(words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["set", assignment, ..] => self.assign(assignment),
            ["[" | "test", arguments @ ..] => return test(arguments, &self.environment),
            ["true" | "insmod" | "export", ..] => {}
            ["load_env", ..] => {
                let environment = self.environment.clone();
                environment.into_iter().for_each(|(name, value)| self.set(name, value));
            }
            ["blscfg", ..] => self.menu.push(MenuItem::Bls),
            ["search" | "search.fs_uuid" | "search.fs_label", arguments @ ..] => self.search(arguments),
            ["linux" | "linux16" | "linuxefi", path, arguments @ ..] => {
                (*path).clone_into(&mut self.kernel.path);
                self.kernel.cmdline = join(arguments);
            }
            ["initrd" | "initrd16" | "initrdefi", paths @ ..] => {
                self.kernel.initrds = paths.iter().map(|&path| path.to_owned()).collect();
            }
            ["unset", name, ..] => {
                self.variables.remove(*name);
            }
            // An assignment without `set` is none in GRUB but for scripts that leave it out.
            [assignment] if assignment.contains('=') => self.assign(assignment),
            _ => return false,
        }
        true
    }

    fn assign(&mut self, assignment: &str) {
        if let Some((name, value)) = assignment.split_once('=') {
            self.set(name.to_owned(), value.to_owned());
        }
    }

    fn set(&mut self, name: String, mut value: String) {
        if value.len() > VALUE_LIMIT {
            let end = (0..=VALUE_LIMIT).rev().find(|&end| value.is_char_boundary(end)).unwrap_or(0);
            value.truncate(end);
        }
        if self.variables.len() < VARIABLE_LIMIT || self.variables.contains_key(&name) {
            self.variables.insert(name, value);
        }
    }

    /// `search --no-floppy --fs-uuid --set=root UUID`: the name is the last word that is no option.
    fn search(&mut self, arguments: &[&str]) {
        let by_name = ["--fs-uuid", "-u", "--label", "-l", "--fs-label"];
        let is_by_name = arguments.iter().any(|argument| by_name.contains(argument));
        let name = arguments.iter().rev().find(|argument| !argument.starts_with('-'));
        if let (true, Some(name)) = (is_by_name, name) {
            self.search = Some((*name).to_owned());
        }
    }

    fn item(&mut self, words: &[Word], is_submenu: bool, body: &[Statement]) {
        self.items += 1;
        if self.items > ITEM_LIMIT {
            return;
        }
        let words = self.expand(words);
        let title = words.get(1).cloned().unwrap_or_default();
        let id = option(&words, "--id").unwrap_or_default();
        let outer = (self.variables.clone(), self.search.clone());
        self.kernel = Kernel::default();
        let item = if is_submenu {
            let above = std::mem::take(&mut self.menu);
            self.run(body);
            let items = std::mem::replace(&mut self.menu, above);
            MenuItem::Submenu { title, id, items }
        } else {
            // What would be a menu of its own, inside of an entry, is not one.
            let len = self.menu.len();
            self.run(body);
            self.menu.truncate(len);
            let Kernel { path, cmdline, initrds } = std::mem::take(&mut self.kernel);
            MenuItem::Entry { title, id, kernel: path, initrds, cmdline, search: self.search.take() }
        };
        (self.variables, self.search) = outer;
        self.menu.push(item);
    }

    /// Words with their variables replaced. A variable that stands alone and without quotes is as many words as it
    /// holds.
    fn expand(&self, words: &[Word]) -> Vec<String> {
        let mut expanded = Vec::new();
        for word in words {
            if let [Part::Variable { name, quoted: false }] = word.as_slice() {
                expanded.extend(self.value(name).split_whitespace().map(str::to_owned));
                continue;
            }
            let mut text = String::new();
            for part in word {
                let value = match part {
                    Part::Text(text) => text.as_str(),
                    Part::Variable { name, .. } => self.value(name),
                };
                if text.len() + value.len() <= VALUE_LIMIT * 4 {
                    text.push_str(value);
                }
            }
            expanded.push(text);
        }
        expanded
    }

    fn value(&self, name: &str) -> &str {
        // Menus name their ids by the option that this stands for.
        let unset = if name == "menuentry_id_option" { "--id" } else { "" };
        self.variables.get(name).map_or(unset, String::as_str)
    }
}

/// The words of a command line, in quotes where they hold spaces, as GRUB hands them on.
fn join(words: &[&str]) -> String {
    let quoted = |word: &&str| {
        if word.contains(char::is_whitespace) { format!("\"{word}\"") } else { (*word).to_owned() }
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// The word behind an option, or behind its `=`.
fn option(words: &[String], name: &str) -> Option<String> {
    let at = words.iter().position(|word| word == name);
    let joined = || words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    at.and_then(|at| words.get(at + 1)).cloned().or_else(|| joined().map(str::to_owned))
}

/// `[ … ]`. Of files only the environment block is known to be there.
fn test(arguments: &[&str], environment: &BTreeMap<String, String>) -> bool {
    let arguments = match arguments {
        [inner @ .., "]"] => inner,
        arguments => arguments,
    };
    match arguments {
        ["!", inner @ ..] => !test_one(inner, environment),
        arguments => {
            let mut any = arguments.split(|&word| word == "-o" || word == "||");
            any.any(|all| {
                all.split(|&word| word == "-a" || word == "&&").all(|one| test_one(one, environment))
            })
        }
    }
}

fn test_one(arguments: &[&str], environment: &BTreeMap<String, String>) -> bool {
    match arguments {
        ["-n", text] => !text.is_empty(),
        ["-z", text] => text.is_empty(),
        ["-z"] => true,
        ["-s" | "-f" | "-e", path] => path.ends_with("grubenv") && !environment.is_empty(),
        [text] => !text.is_empty() && *text != "-n",
        [left, "=" | "==", right] => left == right,
        [left, "!=", right] => left != right,
        // An operand without quotes that is empty.
        ["!=", _] | [_, "!="] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::grub::script::parse;

    fn run(text: &str, environment: &[(&str, &str)]) -> Runner {
        let own = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut runner = Runner::new(own.collect());
        runner.run(&parse(text));
        runner
    }

    #[test]
    fn debians_header_chooses_the_saved_entry() {
        let text = r#"
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set boot_once=true
else
   set default="${saved_entry}"
fi
if [ x"${feature_menuentry_id}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi
export menuentry_id_option
function savedefault { save_env saved_entry }
for i in a b; do menuentry 'no' { linux /no } ; done
"#;
        let runner = run(text, &[("saved_entry", "gnulinux-1")]);
        assert_eq!(runner.variables["default"], "gnulinux-1");
        assert!(!runner.variables.contains_key("boot_once"));
        assert!(runner.menu.is_empty());
        let runner = run(text, &[]);
        assert_eq!(runner.variables["default"], "");
    }

    #[test]
    fn entries_and_submenus() {
        let text = r#"
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-1' {
	load_video
	insmod gzio
	if [ x$grub_platform = xxen ]; then insmod xzio; fi
	search --no-floppy --fs-uuid --set=root 0123-abcd
	echo	'Loading Linux ...'
	linux	/boot/vmlinuz-6.1 root=UUID=1 ro  "a b" $nothing quiet
	initrd	/boot/initrd.img-6.1 /boot/more
}
submenu 'Advanced' --id=adv { menuentry "inner" { linux /x y } }
if [ "$grub_platform" = "efi" ]; then
  menuentry 'UEFI Firmware Settings' --id 'uefi' { fwsetup }
fi
blscfg
"#;
        let runner = run(text, &[]);
        let [first, second, third, MenuItem::Bls] = runner.menu.as_slice() else {
            panic!("{:?}", runner.menu)
        };
        assert_eq!(
            *first,
            MenuItem::Entry {
                title: "Debian GNU/Linux".to_owned(),
                id: "gnulinux-simple-1".to_owned(),
                kernel: "/boot/vmlinuz-6.1".to_owned(),
                initrds: vec!["/boot/initrd.img-6.1".to_owned(), "/boot/more".to_owned()],
                cmdline: "root=UUID=1 ro \"a b\" quiet".to_owned(),
                search: Some("0123-abcd".to_owned()),
            }
        );
        let MenuItem::Submenu { id, items, .. } = second else { panic!("{second:?}") };
        assert_eq!((id.as_str(), items.len()), ("adv", 1));
        assert!(matches!(third, MenuItem::Entry { kernel, .. } if kernel.is_empty()));
    }

    #[test]
    fn values_that_double_do_not_explode() {
        let text = format!("set a=xxxx\n{}", "set a=$a$a$a$a\n".repeat(1000));
        assert!(run(&text, &[]).variables["a"].len() <= VALUE_LIMIT);
        let text =
            (0..5000).map(|n| format!("set v{n}=1\nmenuentry 'e{n}' {{ linux /k }}\n")).collect::<String>();
        let runner = run(&text, &[]);
        assert!(runner.variables.len() <= VARIABLE_LIMIT && runner.menu.len() <= ITEM_LIMIT);
    }
}
