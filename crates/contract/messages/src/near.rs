//! What was probably meant.

/// Slips of the hand up to which one name is taken for another.
const SLIPS_MAX: usize = 3;
/// Letters from which on the beginning of a name stands for it.
const BEGINNING_MIN: usize = 3;

/// The one of `known` that `typed` is probably a slip of: letters added, left out, changed, or two of them exchanged, at
/// most three, and in no more than half of the name; or else its beginning. Whether letters are capitals does not count.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let known: Vec<&str> = known.into_iter().collect();
    let typed = typed.to_lowercase();
    let length = typed.chars().count();
    let slips = |name: &str| strsim::damerau_levenshtein(&typed, &name.to_lowercase());
    let near = |name: &str, slips: usize| {
        let shorter = length.min(name.chars().count());
        slips <= SLIPS_MAX.min(shorter / 2)
    };
    let measured = known.into_iter().map(|name| (slips(name), name));
    let nearest = measured.clone().filter(|(slips, name)| near(name, *slips)).min();
    // What is only begun is as good, where it is the beginning of one name alone.
    let mut begun =
        measured.filter(|(_, name)| length >= BEGINNING_MIN && name.to_lowercase().starts_with(&typed));
    nearest.or_else(|| begun.next().filter(|_| begun.next().is_none())).map(|(_, name)| name)
}

/// The same as the end of a message: `; did you mean 'memory'?`, or nothing.
pub fn did_you_mean<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(typed, known).map_or_else(String::new, |name| format!("; did you mean '{name}'?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_put_right_and_other_words_are_not() {
        let images = ["debian/11", "debian/12", "ubuntu/24.04"];
        let keys = ["memory", "name", "kernel", "tap", "raw", "qcow2", "readonly", "off", "on"];
        for (typed, meant) in [
            ("debain/12", Some("debian/12")),
            ("ubunto/24.04", Some("ubuntu/24.04")),
            ("Debian/12", Some("debian/12")),
            ("plan9", None),
            ("a", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, images), meant, "{typed}");
        }
        for (typed, meant) in [
            ("memry", Some("memory")),
            ("MEMORY", Some("memory")),
            ("tpa", Some("tap")),
            ("qcow", Some("qcow2")),
            ("readnly", Some("readonly")),
            ("mem", Some("memory")),
            ("readonl", Some("readonly")),
            ("xyzzy", None),
            ("x", None),
            ("me", None),
        ] {
            assert_eq!(nearest(typed, keys), meant, "{typed}");
        }
        assert_eq!(did_you_mean("memry", keys), "; did you mean 'memory'?");
        assert_eq!(did_you_mean("xyzzy", keys), "");
    }
}
