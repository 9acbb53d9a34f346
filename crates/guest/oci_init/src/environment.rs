//! The environment of the command, as Docker composes it.

/// Where programs are looked for if the image does not say.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The variables: Docker's own for a container with a terminal, those of the image in their order, a later one in
/// place of an earlier one, and `HOME` where none is set. An entry without `=` takes a variable away.
pub fn compose(image: &[String], hostname: &str, home: &str) -> Vec<(String, String)> {
    let own = [("PATH", DEFAULT_PATH), ("HOSTNAME", hostname), ("TERM", "xterm")];
    let mut variables: Vec<(String, String)> =
        own.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    for entry in image {
        match entry.split_once('=') {
            None => variables.retain(|(name, _)| name != entry),
            Some((name, value)) => set(&mut variables, name, value),
        }
    }
    let has_home = variables.iter().any(|(name, value)| name == "HOME" && !value.is_empty());
    if !has_home {
        set(&mut variables, "HOME", home);
    }
    variables
}

fn set(variables: &mut Vec<(String, String)>, name: &str, value: &str) {
    match variables.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => value.clone_into(old),
        None => variables.push((name.to_owned(), value.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn composed(image: &[&str]) -> Vec<String> {
        let image: Vec<String> = image.iter().map(|entry| (*entry).to_owned()).collect();
        compose(&image, "web1", "/srv/ann")
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }

    #[test]
    fn as_docker_composes_it() {
        let path = format!("PATH={DEFAULT_PATH}");
        let usual = [&*path, "HOSTNAME=web1", "TERM=xterm", "HOME=/srv/ann"];
        assert_eq!(composed(&[]), usual, "and there is no USER");
        let cases: &[(&[&str], &[&str])] = &[
            (&["PATH=/bin"], &["PATH=/bin", "HOSTNAME=web1", "TERM=xterm", "HOME=/srv/ann"]),
            (&["HOME=/srv"], &[&path, "HOSTNAME=web1", "TERM=xterm", "HOME=/srv"]),
            (&["HOME="], &usual),
            (&["A=1", "B=2", "A=3"], &[&path, "HOSTNAME=web1", "TERM=xterm", "A=3", "B=2", "HOME=/srv/ann"]),
            (
                &["A=b=c", "E=", "a.b-c d=x\ny"],
                &[&path, "HOSTNAME=web1", "TERM=xterm", "A=b=c", "E=", "a.b-c d=x\ny", "HOME=/srv/ann"],
            ),
            (&["A=1", "TERM", "A", "NEVER"], &[&path, "HOSTNAME=web1", "HOME=/srv/ann"]),
        ];
        for (image, expected) in cases {
            assert_eq!(composed(image), *expected, "{image:?}");
        }
    }
}
