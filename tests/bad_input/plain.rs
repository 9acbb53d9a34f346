//! Whether a message is one that a person can use: words, and none of a library's or of the program's insides.

use std::path::Path;

/// What no message holds: parts of programs, words of libraries, places that a person did not name.
const INSIDES: &[&str] = &[
    "::",
    "{",
    "}",
    "Error(",
    "Some(",
    "Ok(",
    "os error",
    "panicked",
    " at line ",
    "invalid type",
    "invalid value:",
    "unknown field",
    "unknown variant",
    "missing field",
    "duplicate key",
    "duplicate field",
    "expected one of",
    "expected a ",
    "failed to fill",
    "did not contain valid UTF-8",
    "SUN_LEN",
    "DuplicateKeyPolicy",
    "from_str",
    "IncompatibleFeatures",
    "entity not found",
    "/staging/",
    "/blobs/",
    "/proc/self/",
];

/// What is wrong with all that was said on stderr, with the files' folder already put as `DIR`, and the store as `STORE`.
pub fn fault(said: &str) -> Option<String> {
    let lines: Vec<&str> = said.lines().collect();
    let [line] = lines[..] else { return Some(format!("is {} lines", lines.len())) };
    if !line.starts_with("yagura: ") {
        return Some("does not begin with the program's name".to_owned());
    }
    if let Some(found) = INSIDES.iter().find(|inside| line.contains(**inside)) {
        return Some(format!("holds '{found}'"));
    }
    if line.contains("STORE/") {
        return Some("holds a path of the store".to_owned());
    }
    let unseen = |c: char| c.is_control() || "\u{feff}\u{200b}\u{202e}\u{fffd}".contains(c);
    if line.contains(unseen) {
        return Some("holds what cannot be seen".to_owned());
    }
    let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.filter(|word| is_type_name(word)).map(|word| format!("holds the type's name {word}")).next()
}

/// Two or more words written as one with capitals, as Rust names its types.
fn is_type_name(word: &str) -> bool {
    let humps =
        word.split_inclusive(char::is_lowercase).filter(|part| part.starts_with(char::is_uppercase)).count();
    let is_word = word.chars().all(char::is_alphabetic) && word.starts_with(char::is_uppercase);
    is_word && humps >= 2 && word.chars().filter(|c| c.is_lowercase()).count() >= 4 && !NAMES.contains(&word)
}

/// Names that are written so.
const NAMES: &[&str] = &["VMware"];

/// Text with the folder and the store as `DIR` and `STORE`.
pub fn anonymous(said: &str, folder: &Path) -> String {
    let folder = folder.to_str().unwrap();
    said.replace(&format!("{folder}/store"), "STORE").replace(folder, "DIR")
}

#[test]
fn faults_of_messages_are_found() {
    for good in [
        "yagura: DIR/a cannot be read: No such file or directory",
        "yagura: VM web1: disk STORE is in use; 'yagura list' shows by whom",
        "yagura: VMware's Multiboot2 header at PCIe",
    ] {
        assert_eq!(fault(good), None);
    }
    for bad in [
        "",
        "a",
        "yagura: a\nyagura: b",
        "yagura: std::io",
        "yagura: NotFound { path }",
        "yagura: PermissionDenied",
        "yagura: no (os error 2)",
        "yagura: \u{feff}kernel",
        "yagura: STORE/x",
    ] {
        assert!(fault(bad).is_some(), "{bad}");
    }
}
