//! Lines of shell: every word that comes from outside is quoted, here and nowhere else.

/// A script in the making. Each step says when it fails, and the script goes on and fails in the end.
pub struct Script(String);

/// Commands have secrets in them, and the console is kept in journals: a failure is told by the program's name, or by
/// the place where a person wrote the command.
const HEAD: &str = "set -u\nfailed=0\ncalled=\n\
    try() { \"$@\" && return 0; echo \"first-boot: failed: ${called:-$1}\"; failed=1; }\n";

/// A word that the shell takes as it is.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

impl Script {
    /// A script without steps.
    pub fn new() -> Script {
        Script(HEAD.to_owned())
    }

    /// A command with its words.
    pub fn run(&mut self, words: &[&str]) {
        let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
        self.line(&format!("try {}", quoted.join(" ")));
    }

    /// A command of a person's, which messages call `called`.
    pub fn run_called(&mut self, called: &str, words: &[&str]) {
        self.line(&format!("called={}", quote(called)));
        self.run(words);
        self.line("called=");
    }

    /// A line of shell; whoever calls has quoted what came from outside.
    pub fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    /// A file with these contents, made with its folders. `append` keeps what it holds.
    pub fn file(&mut self, path: &str, contents: &[u8], mode: u32, append: bool) {
        use base64::Engine;
        let encoded = base64::engine::general_purpose::STANDARD.encode(contents);
        let redirect = if append { ">>" } else { ">" };
        let (path, folder) = (quote(path), quote(folder_of(path)));
        self.line(&format!("try mkdir -p {folder}"));
        // Nobody else reads it before it has its permissions.
        self.line(&format!("(umask 077; base64 -d {redirect}{path}) <<'END' || failed=1"));
        for line in encoded.as_bytes().chunks(76) {
            self.line(&String::from_utf8_lossy(line));
        }
        self.line("END");
        self.line(&format!("try chmod {mode:o} {path}"));
    }

    /// Whether no step was added.
    pub fn is_empty(&self) -> bool {
        self.0 == HEAD
    }

    /// The text, ended by the script's status.
    pub fn finish(mut self) -> String {
        self.line("exit $failed");
        self.0
    }
}

fn folder_of(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((folder, _)) => folder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn output(script: Script) -> (String, bool) {
        let output = Command::new("sh").args(["-c", &script.finish()]).output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.success())
    }

    #[test]
    fn hostile_words_stay_words() {
        for word in ["$(reboot)", "a'b", "'; exit 3; '", "`id`", "\\", "-n", "a\nb", "\"", "'"] {
            let mut script = Script::new();
            script.run(&["printf", "%s", word]);
            assert_eq!(output(script), (word.to_owned(), true));
        }
    }

    #[test]
    fn a_failed_step_is_told_and_the_others_are_done() {
        let mut script = Script::new();
        script.run(&["false"]);
        script.run(&["echo", "on"]);
        assert_eq!(output(script), ("first-boot: failed: false\non\n".to_owned(), false));
    }

    #[test]
    fn a_failed_command_is_told_by_its_place() {
        let mut script = Script::new();
        script.run_called("runcmd, line 3", &["sh", "-c", "exit 7 # hunter2"]);
        script.run(&["false", "hunter2"]);
        let expected = "first-boot: failed: runcmd, line 3\nfirst-boot: failed: false\n";
        assert_eq!(output(script), (expected.to_owned(), false));
    }

    #[test]
    fn files_are_written_byte_for_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a b/it's");
        let contents: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let mut script = Script::new();
        script.file(path.to_str().unwrap(), &contents, 0o600, false);
        script.file(path.to_str().unwrap(), b"more", 0o640, true);
        assert_eq!(output(script), (String::new(), true));
        assert_eq!(std::fs::read(&path).unwrap(), [&contents[..], b"more"].concat());
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o640);
    }
}
