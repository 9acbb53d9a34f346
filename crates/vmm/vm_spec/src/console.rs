//! Where COM1 leads: `stdio`, `file=P`, `socket=P` or `none`.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{BadValue, nearest};

/// The serial console's other end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConsoleSpec {
    /// The terminal (or pipe) that the process was started from.
    Stdio,
    /// A file that takes the output.
    File(PathBuf),
    /// A unix socket that this process listens on.
    Socket(PathBuf),
    /// Nowhere.
    None,
}

impl FromStr for ConsoleSpec {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text.split_once('=') {
            None if text == "stdio" => Ok(ConsoleSpec::Stdio),
            None if text == "none" => Ok(ConsoleSpec::None),
            Some(("file", path)) if !path.is_empty() => Ok(ConsoleSpec::File(path.into())),
            Some(("socket", path)) if !path.is_empty() => Ok(ConsoleSpec::Socket(path.into())),
            split => {
                let key = split.map_or(text, |(key, _)| key);
                let hint = nearest(key, ["stdio", "file", "socket", "none"]);
                Err(BadValue(format!("console '{text}': write stdio, file=PATH, socket=PATH or none{hint}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_are_read_and_others_explained() {
        assert_eq!("stdio".parse(), Ok(ConsoleSpec::Stdio));
        assert_eq!("file=/x".parse(), Ok(ConsoleSpec::File("/x".into())));
        assert_eq!("socket=a=b".parse(), Ok(ConsoleSpec::Socket("a=b".into())));
        for bad in ["", "file", "file=", "tty", "sokcet=/x"] {
            assert!(bad.parse::<ConsoleSpec>().is_err(), "{bad}");
        }
        assert!("sokcet=/x".parse::<ConsoleSpec>().unwrap_err().0.contains("did you mean 'socket'"));
    }
}
