//! Which Debian archive this host's apt reads.

use std::process::Command;

use crate::BuildError;

/// A Debian archive, as `sources.list` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Code name of the release that this host reads.
    pub codename: String,
    /// Its lines.
    lines: Vec<Line>,
}

/// A line of `sources.list`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    uri: String,
    suite: String,
    component: String,
}

/// What this host's apt reads from Debian.
///
/// # Errors
/// It reads no Debian archive, or has no lists yet.
pub fn host_archive() -> Result<Archive, BuildError> {
    let format = "$(CODENAME) $(REPO_URI) $(RELEASE) $(COMPONENT)";
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", format, "Created-By: Packages", "Origin: Debian"]);
    let output = command.output().map_err(|_| BuildError::Missing("apt-get".to_owned(), "apt".to_owned()))?;
    parse(&String::from_utf8_lossy(&output.stdout)).ok_or(BuildError::NoArchive)
}

fn parse(text: &str) -> Option<Archive> {
    let rows = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((
            words.next()?,
            Line {
                uri: words.next()?.to_owned(),
                suite: words.next()?.to_owned(),
                component: words.next()?.to_owned(),
            },
        ))
    });
    let rows: Vec<(&str, Line)> = rows.collect();
    let codename = rows.iter().map(|(codename, _)| *codename).find(|name| !name.contains('-'))?.to_owned();
    let of_release = rows.into_iter().filter(|(name, _)| name.split('-').next() == Some(&codename));
    let lines = of_release.map(|(_, line)| line).collect();
    Some(Archive { codename, lines })
}

impl Archive {
    /// Lines for a `sources.list` of the release `codename`: this host's mirrors, whatever it reads itself.
    pub fn lines(&self, codename: &str) -> Vec<String> {
        let suite = |suite: &str| {
            if codename == self.codename { suite.to_owned() } else { suite.replace(&self.codename, codename) }
        };
        let lines = self
            .lines
            .iter()
            .map(|Line { uri, suite: name, component }| format!("deb {uri} {} {component}", suite(name)));
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &str = "bookworm-updates http://mirror.invalid/debian bookworm-updates main\n\
        bookworm http://mirror.invalid/debian bookworm main\n\
        bookworm-security http://mirror.invalid/security bookworm-security main\n\
        trixie http://mirror.invalid/debian trixie main\n";

    #[test]
    fn the_hosts_release_and_its_updates() {
        let archive = parse(TARGETS).unwrap();
        assert_eq!(archive.codename, "bookworm");
        assert_eq!(archive.lines("bookworm").len(), 3);
        assert_eq!(archive.lines("bookworm")[1], "deb http://mirror.invalid/debian bookworm main");
    }

    #[test]
    fn another_release_from_the_same_mirrors() {
        let lines = parse(TARGETS).unwrap().lines("trixie");
        assert_eq!(lines[2], "deb http://mirror.invalid/security trixie-security main");
    }

    #[test]
    fn no_lists_no_archive() {
        assert_eq!(parse(""), None);
        assert_eq!(parse("bookworm-security x y z\n"), None);
    }
}
