//! GRUB's variables: contexts, of which a submenu and `configfile` open new ones, and the environment block.

use std::collections::BTreeMap;

/// The longest value; values may be made of one another.
pub(super) const VALUE_LIMIT: usize = 4096;
const VARIABLE_LIMIT: usize = 1000;
/// The entry that is started once.
pub(super) const NEXT_ENTRY: &str = "next_entry";

/// There are more variables, or longer ones, than a configuration that boots has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMuch;

/// The variables of one context.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    values: BTreeMap<String, Variable>,
}

#[derive(Clone, Debug, Default)]
struct Variable {
    /// Nothing when it is only marked for export.
    value: Option<String>,
    is_exported: bool,
}

impl Variables {
    /// The value; empty when there is none.
    pub(super) fn get(&self, name: &str) -> &str {
        self.values.get(name).and_then(|variable| variable.value.as_deref()).unwrap_or("")
    }

    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), TooMuch> {
        // GRUB keeps the root without parentheses, however it is set.
        let bare = value.strip_prefix('(').and_then(|value| value.strip_suffix(')'));
        let value = if name == "root" { bare.unwrap_or(value) } else { value };
        if value.len() > VALUE_LIMIT {
            return Err(TooMuch);
        }
        self.variable(name)?.value = Some(value.to_owned());
        Ok(())
    }

    pub(super) fn unset(&mut self, name: &str) {
        self.values.remove(name);
    }

    /// From now on, contexts that are opened have it.
    pub(super) fn export(&mut self, name: &str) -> Result<(), TooMuch> {
        self.variable(name)?.is_exported = true;
        Ok(())
    }

    /// What a context begins with that is opened in this one.
    pub(super) fn exported(&self) -> Variables {
        let exported = self.values.iter().filter(|(_, variable)| variable.is_exported);
        Variables { values: exported.map(|(name, variable)| (name.clone(), variable.clone())).collect() }
    }

    fn variable(&mut self, name: &str) -> Result<&mut Variable, TooMuch> {
        if self.values.len() >= VARIABLE_LIMIT && !self.values.contains_key(name) {
            return Err(TooMuch);
        }
        Ok(self.values.entry(name.to_owned()).or_default())
    }
}

/// The variables of an environment block (`grubenv`), which is filled up with `#`.
///
/// `next_entry` is there if it names something: GRUB clears it by leaving nothing behind its equals sign. The entry that
/// stood before a start of another one (`prev_saved_entry`, written by scripts before `next_entry` came up) is put back,
/// as GRUB would do at that start.
pub(super) fn parse_block(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let variables = lines.filter_map(|line| line.split_once('='));
    let mut block: BTreeMap<String, String> =
        variables.map(|(name, value)| (name.to_owned(), unescaped(value))).take(VARIABLE_LIMIT).collect();
    block.retain(|name, value| name != NEXT_ENTRY || is_one(value));
    if let Some(previous) = block.remove("prev_saved_entry").filter(|entry| !entry.is_empty()) {
        block.insert("saved_entry".to_owned(), previous);
    }
    block
}

/// Whether a value can name an entry of a menu.
fn is_one(value: &str) -> bool {
    (1..=VALUE_LIMIT).contains(&value.len()) && !value.contains(char::is_control)
}

/// A value of the block, where a backslash stands before backslashes and ends of lines.
fn unescaped(value: &str) -> String {
    let mut text = String::new();
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.extend(chars.next()),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_block() {
        let block = parse_block(
            "# GRUB Environment Block\nsaved_entry=x-6.1\nkernelopts=root=UUID=1 ro\nnext_entry=2\na=b\\\\c\n#######",
        );
        assert_eq!(block["saved_entry"], "x-6.1");
        assert_eq!(block["kernelopts"], "root=UUID=1 ro");
        assert_eq!(block["a"], "b\\c");
        assert_eq!((block["next_entry"].as_str(), block.len()), ("2", 4));
        for none in ["next_entry=\n", "next_entry=\u{1b}[2J\n", &format!("next_entry={}\n", "x".repeat(4097))]
        {
            assert!(parse_block(none).is_empty(), "{none:?}");
        }
        let block = parse_block("saved_entry=once\nprev_saved_entry=always\n");
        assert_eq!((block["saved_entry"].as_str(), block.len()), ("always", 1));
    }

    #[test]
    fn contexts_begin_with_what_is_exported() {
        let mut variables = Variables::default();
        variables.set("root", "(hd0,gpt2)").unwrap();
        variables.export("root").unwrap();
        variables.set("inner", "(x)").unwrap();
        assert_eq!((variables.get("root"), variables.get("inner")), ("hd0,gpt2", "(x)"));
        let opened = variables.exported();
        assert_eq!((opened.get("root"), opened.get("inner")), ("hd0,gpt2", ""));
        assert_eq!(variables.set("a", &"x".repeat(VALUE_LIMIT + 1)), Err(TooMuch));
        let too_many = (0..2000).find_map(|n| variables.set(&format!("v{n}"), "").err());
        assert_eq!(too_many, Some(TooMuch));
    }
}
