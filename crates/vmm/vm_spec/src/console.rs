//! Where COM1 leads: `stdio`, `file=P[,mode=M]`, `socket=P` or `none`.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{BadValue, FileMode, nearest};

/// The serial console's other end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConsoleSpec {
    /// The terminal (or pipe) that the process was started from.
    Stdio,
    /// A file that takes the output.
    File {
        /// Where it is.
        path: PathBuf,
        /// Its permissions, where it is made.
        mode: FileMode,
    },
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
            Some(("file", file)) if !file.is_empty() => parse_file(file),
            Some(("socket", path)) if !path.is_empty() => Ok(ConsoleSpec::Socket(path.into())),
            split => {
                let key = split.map_or(text, |(key, _)| key);
                let hint = nearest(key, ["stdio", "file", "socket", "none"]);
                Err(BadValue(format!(
                    "console '{text}': write stdio, file=PATH[,mode=MODE], socket=PATH or none{hint}"
                )))
            }
        }
    }
}

/// `P[,mode=M]`. A path may have commas.
fn parse_file(text: &str) -> Result<ConsoleSpec, BadValue> {
    let (path, mode) = match text.rsplit_once(",mode=") {
        Some((path, mode)) if !path.is_empty() => (path, mode.parse()?),
        _ => (text, FileMode::default()),
    };
    Ok(ConsoleSpec::File { path: path.into(), mode })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_are_read_and_others_explained() {
        assert_eq!("stdio".parse(), Ok(ConsoleSpec::Stdio));
        let file =
            |path: &str, mode: &str| ConsoleSpec::File { path: path.into(), mode: mode.parse().unwrap() };
        assert_eq!("file=/x".parse(), Ok(file("/x", "0600")));
        assert_eq!("file=/x,y,mode=0640".parse(), Ok(file("/x,y", "0640")));
        assert!("file=/x,mode=rw".parse::<ConsoleSpec>().unwrap_err().0.contains("octal"));
        assert_eq!("socket=a=b".parse(), Ok(ConsoleSpec::Socket("a=b".into())));
        for bad in ["", "file", "file=", "tty", "sokcet=/x"] {
            assert!(bad.parse::<ConsoleSpec>().is_err(), "{bad}");
        }
        assert!("sokcet=/x".parse::<ConsoleSpec>().unwrap_err().0.contains("did you mean 'socket'"));
    }
}
