//! What is executed, as the image's configuration has it (image-spec, "Image Configuration").

/// What a guest is to execute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Entry point and command; the first word is the program.
    pub args: Vec<String>,
    /// `NAME=value`, or `NAME` for one that is to be missing.
    pub env: Vec<String>,
    /// A name or a number, with `:` and a group behind it perhaps; empty for root.
    pub user: String,
    /// Working folder; made if it is missing.
    pub cwd: String,
    /// Folders that are made if they are missing: the image's volumes.
    pub folders: Vec<String>,
    /// What asks it to end.
    pub stop_signal: StopSignal,
}

/// Number of a signal of Linux, 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopSignal(u8);

impl Default for StopSignal {
    fn default() -> StopSignal {
        StopSignal(15)
    }
}

/// The first word of a file that holds a [`Process`].
const FORM: &str = "process 1";

impl Process {
    /// As a file: words with a NUL behind each, so that no word needs quoting. No word may have a NUL in it.
    pub fn encode(&self) -> Vec<u8> {
        let Process { args, env, user, cwd, folders, stop_signal } = self;
        let mut bytes = Vec::new();
        let mut put = |word: &str| {
            bytes.extend(word.as_bytes());
            bytes.push(0);
        };
        put(FORM);
        put(user);
        put(cwd);
        put(&stop_signal.0.to_string());
        for list in [folders, env, args] {
            put(&list.len().to_string());
            list.iter().for_each(|word| put(word));
        }
        bytes
    }

    /// What [`Process::encode`] wrote; nothing if it is something else.
    pub fn decode(bytes: &[u8]) -> Option<Process> {
        let mut words = bytes.strip_suffix(&[0])?.split(|byte| *byte == 0);
        let mut word = || String::from_utf8(words.next()?.to_vec()).ok();
        if word()? != FORM {
            return None;
        }
        let (user, cwd) = (word()?, word()?);
        let stop_signal = StopSignal(word()?.parse().ok()?);
        let mut list = || {
            let count: usize = word()?.parse().ok()?;
            (0..count).map(|_| word()).collect::<Option<Vec<String>>>()
        };
        let (folders, env, args) = (list()?, list()?, list()?);
        Some(Process { args, env, user, cwd, folders, stop_signal })
    }
}

impl StopSignal {
    /// The number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// What a configuration says: a number, or a name with or without `SIG`, in any case. Real-time signals count from
    /// 34 on, as in glibc. Nothing for what is no signal.
    pub fn parse(text: &str) -> Option<StopSignal> {
        const LAST: u8 = 64;
        let number = match text.parse::<u8>() {
            Ok(number) => number,
            Err(_) => named(&text.to_ascii_uppercase())?,
        };
        (1..=LAST).contains(&number).then_some(StopSignal(number))
    }
}

/// Names in the order of their numbers from 1 on (signal(7), x86 and ARM).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// Second names.
const OTHER_NAMES: [(&str, u8); 4] = [("IOT", 6), ("CLD", 17), ("POLL", 29), ("UNUSED", 31)];
const REAL_TIME_MIN: u8 = 34;
const REAL_TIME_MAX: u8 = 64;

fn named(text: &str) -> Option<u8> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let offset =
        |digits: &str| digits.parse::<u8>().ok().filter(|offset| *offset <= REAL_TIME_MAX - REAL_TIME_MIN);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let digits = if rest.is_empty() { "0" } else { rest.strip_prefix('+')? };
        return Some(REAL_TIME_MIN + offset(digits)?);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        let digits = if rest.is_empty() { "0" } else { rest.strip_prefix('-')? };
        return Some(REAL_TIME_MAX - offset(digits)?);
    }
    let other = OTHER_NAMES.iter().find(|(other, _)| *other == name).map(|(_, number)| *number);
    let index = NAMES.iter().position(|known| *known == name).map(|index| index as u8 + 1);
    index.or(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_all_kinds_arrive() {
        let words = [
            "",
            " ",
            "a b",
            "it's",
            "\"",
            "$(reboot)",
            "`id`",
            "a\nb\n",
            "\\",
            "-n",
            "=",
            "A=b",
            "ä\u{7f}\u{1}",
        ];
        let list: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let process = Process {
            args: list.clone(),
            env: list.clone(),
            user: "ann:staff".to_owned(),
            cwd: "/a b\n".to_owned(),
            folders: vec![],
            stop_signal: StopSignal(37),
        };
        let bytes = process.encode();
        assert_eq!(Process::decode(&bytes), Some(process));
        for length in 0..bytes.len() {
            assert_eq!(Process::decode(&bytes[..length]), None, "{length}");
        }
        assert_eq!(Process::decode(b"process 1\0\0\x0015\x0018446744073709551615\0"), None);
        assert_eq!(Process::decode(&Process::default().encode()), Some(Process::default()));
    }

    #[test]
    fn signals_as_docker_takes_them() {
        let cases: &[(&str, Option<u8>)] = &[
            ("SIGTERM", Some(15)),
            ("TERM", Some(15)),
            ("sigquit", Some(3)),
            ("SIGWINCH", Some(28)),
            ("SIGPWR", Some(30)),
            ("SIGIOT", Some(6)),
            ("9", Some(9)),
            ("64", Some(64)),
            ("SIGRTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-14", Some(50)),
            ("SIGRTMAX", Some(64)),
            ("0", None),
            ("65", None),
            ("-1", None),
            ("", None),
            ("SIG", None),
            ("SIGRTMIN+31", None),
            ("SIGRTMIN-1", None),
            ("SIGNOTHING", None),
            ("SIGTERM ", None),
        ];
        for (text, number) in cases {
            assert_eq!(StopSignal::parse(text).map(StopSignal::number), *number, "{text}");
        }
    }
}
