//! Which entry of a menu is started: `default`, then `fallback`, then the others in their order; submenus opened.

use super::environment::Variables;
use super::run::{Flow, Item, Loaded, Menu, Runner};
use super::script::Statement;
use crate::boot::entry::{Entry, Files};

/// Menus inside of one another.
const MENU_DEPTH_LIMIT: usize = 8;

impl Runner<'_> {
    /// The entries of a menu, the one that GRUB would start first.
    pub(super) fn entries(&mut self, menu: &Menu, depth: usize) -> Vec<Entry> {
        let default = menu.variables.get("default").to_owned();
        let chosen = by_name(&menu.items, &default).unwrap_or(0);
        let fallback = menu.variables.get("fallback").to_owned();
        let mut order = vec![chosen];
        // GRUB's names in `fallback` have no spaces, which stand between them.
        order.extend(fallback.split_whitespace().filter_map(|name| by_name(&menu.items, name)));
        order.extend(0..menu.items.len());
        let mut entries = Vec::new();
        let mut seen = vec![false; menu.items.len()];
        for index in order {
            let Some(item) = menu.items.get(index).filter(|_| !std::mem::replace(&mut seen[index], true))
            else {
                continue;
            };
            let inner = if index == chosen { rest_of(&default) } else { "" };
            entries.extend(self.entries_of(item, menu, inner, depth));
        }
        entries
    }

    /// What an item leads to; `inner` is what `default` says of the submenu.
    fn entries_of(&mut self, item: &Item, menu: &Menu, inner: &str, depth: usize) -> Vec<Entry> {
        let refused = |why: String| {
            vec![Entry { source: item.source.clone(), files: Files::Refused(why), cmdline: String::new() }]
        };
        if depth >= MENU_DEPTH_LIMIT {
            return refused("its menus are nested too deep".to_owned());
        }
        let variables = self.variables_of(item, menu, inner);
        self.menu = if item.is_submenu {
            Menu { variables: variables.exported(), ..Menu::default() }
        } else {
            Menu { variables, ..Menu::default() }
        };
        if item.is_submenu && !inner.is_empty() {
            // Beyond the limits of variables the first entry of the submenu is taken.
            let _ = self.menu.variables.set("default", inner);
        }
        self.arguments.clone_from(&item.arguments);
        (self.loaded, self.taken, self.lost_root) = (Loaded::default(), None, menu.lost_root.clone());
        if contains_broken(&item.body) {
            return refused("its lines hold what GRUB's language does not know".to_owned());
        }
        let flow = self.run(&item.body);
        if let Flow::Stopped(why) = flow {
            return refused(why.to_owned());
        }
        if let Some(taken) = self.taken.take() {
            return self.entries(&taken, depth + 1);
        }
        if item.is_submenu && flow != Flow::Left && self.loaded.kernel.is_none() {
            let submenu = Menu { lost_root: self.lost_root.clone(), ..std::mem::take(&mut self.menu) };
            return self.entries(&submenu, depth + 1);
        }
        let loaded = std::mem::take(&mut self.loaded);
        vec![loaded.into_entry(item.source.clone())]
    }

    /// The variables that an item's body finds.
    fn variables_of(&self, item: &Item, menu: &Menu, inner: &str) -> Variables {
        let mut variables = menu.variables.clone();
        let id = item.names.last().map_or("", String::as_str).replace('>', ">>");
        let chosen = match variables.get("chosen") {
            "" => id,
            above => format!("{above}>{id}"),
        };
        // A name beyond the limits is known to nobody.
        let _ = variables.set("chosen", &chosen).and_then(|()| variables.export("chosen"));
        if inner.is_empty() {
            variables.unset("default");
        } else {
            let _ = variables.set("default", inner);
        }
        variables
    }
}

impl Loaded {
    /// What was loaded, as an entry; or what is wrong with it.
    pub(super) fn into_entry(self, source: String) -> Entry {
        let Loaded { kernel, cmdline, initrds, other } = self;
        let files = match (kernel, other) {
            (_, Some(other)) => Err(other),
            (None, None) => Err("it names no kernel".to_owned()),
            (Some(kernel), None) => std::iter::once(kernel).chain(initrds).collect::<Result<Vec<_>, _>>(),
        };
        Entry { source, files: files.map_or_else(Files::Refused, Files::Known), cmdline }
    }
}

/// Whether GRUB's parser would not take a body, wherever in it.
fn contains_broken(body: &[Statement]) -> bool {
    body.iter().any(|statement| match statement {
        Statement::Broken(_) => true,
        Statement::If { arms, otherwise } => {
            let in_arm = |(condition, body): &(Vec<Statement>, Vec<Statement>)| {
                contains_broken(condition) || contains_broken(body)
            };
            arms.iter().any(in_arm) || contains_broken(otherwise)
        }
        Statement::Loop { condition, body, .. } => contains_broken(condition) || contains_broken(body),
        Statement::For { body, .. } => contains_broken(body),
        Statement::Function { body, .. } | Statement::Menu { body, .. } => contains_broken(body),
        Statement::Command(_) => false,
    })
}

/// The item that the first part of a name means: its title, its id, or else its number.
fn by_name(items: &[Item], name: &str) -> Option<usize> {
    let first = &name[..first_len(name)];
    let plain = first.replace(">>", ">");
    let by_name =
        items.iter().position(|item| item.names.iter().any(|known| !known.is_empty() && *known == plain));
    by_name.or_else(|| first.trim().parse::<usize>().ok().filter(|&index| index < items.len()))
}

/// What stands behind the first part of a name.
fn rest_of(name: &str) -> &str {
    name.get(first_len(name) + 1..).unwrap_or("")
}

/// The length of the first part: up to a `>`, which is doubled where it belongs to the name.
fn first_len(name: &str) -> usize {
    let bytes = name.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'>', Some(b'>')) => at += 2,
            (b'>', _) => return at,
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_items() {
        let item = |title: &str, id: &str| Item {
            source: String::new(),
            names: vec![title.to_owned(), id.to_owned()],
            arguments: Vec::new(),
            is_submenu: false,
            body: Vec::new().into(),
        };
        let items =
            [item("a", "id-a"), item("Advanced > more", "advanced"), item("0123-6.1", "x"), item("", "")];
        for (name, index, rest) in [
            ("0", Some(0), ""),
            ("2", Some(2), ""),
            ("id-a", Some(0), ""),
            ("advanced>1>2", Some(1), "1>2"),
            ("1>id-d", Some(1), "id-d"),
            ("Advanced >> more>x >> y", Some(1), "x >> y"),
            ("Advanced > more", None, " more"),
            ("0123-6.1", Some(2), ""),
            ("7", None, ""),
            ("", None, ""),
            (">", None, ""),
            ("-1", None, ""),
        ] {
            assert_eq!((by_name(&items, name), rest_of(name)), (index, rest), "{name}");
        }
    }
}
