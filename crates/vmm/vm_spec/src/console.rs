//! Where COM1 leads: `stdio`, `file=P[,mode=M]`, `socket=P` or `none`. A comma within the path is doubled.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::options::{Form, text_of};
use crate::{BadValue, FileMode};

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

const FORM: Form = Form {
    what: "console",
    keys: &["stdio", "file", "socket", "none", "mode"],
    shape: "stdio, file=PATH[,mode=MODE], socket=PATH or none",
};

impl ConsoleSpec {
    /// Reads a description; a path may be of any bytes.
    ///
    /// # Errors
    /// It is not written as it should be.
    pub fn parse(text: &OsStr) -> Result<ConsoleSpec, BadValue> {
        let mut options = FORM.parse(text)?;
        let mode = match options.iter().position(|(key, _)| *key == "mode") {
            Some(at) => Some(options.remove(at).1.ok_or_else(|| FORM.misshapen(text))?),
            None => None,
        };
        match (options.pop(), options.is_empty(), mode) {
            (Some(("stdio", None)), true, None) => Ok(ConsoleSpec::Stdio),
            (Some(("none", None)), true, None) => Ok(ConsoleSpec::None),
            (Some(("file", Some(path))), true, mode) if !path.is_empty() => {
                let mode = mode.map_or(Ok(FileMode::default()), |mode| text_of(&mode)?.parse())?;
                Ok(ConsoleSpec::File { path: path.into(), mode })
            }
            (Some(("socket", Some(path))), true, None) if !path.is_empty() => {
                Ok(ConsoleSpec::Socket(path.into()))
            }
            _ => Err(FORM.misshapen(text)),
        }
    }
}

impl FromStr for ConsoleSpec {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        ConsoleSpec::parse(text.as_ref())
    }
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
        assert_eq!("file=/x,,y,mode=0640".parse(), Ok(file("/x,y", "0640")));
        assert_eq!("mode=0640,file=/x".parse(), Ok(file("/x", "0640")));
        assert!("file=/x,mode=rw".parse::<ConsoleSpec>().unwrap_err().0.contains("octal"));
        assert_eq!("socket=a=b".parse(), Ok(ConsoleSpec::Socket("a=b".into())));
        for bad in [
            "",
            "file",
            "file=",
            "tty",
            "sokcet=/x",
            "stdio,none",
            "file=a,b",
            "stdio=x",
            "file=a,",
            "mode=0600",
            "stdio,mode=0600",
            "socket=a,mode=0600",
            "file=a,mode",
        ] {
            assert!(bad.parse::<ConsoleSpec>().is_err(), "{bad}");
        }
        assert_eq!("file=a,,b".parse(), Ok(file("a,b", "0600")));
        assert!("sokcet=/x".parse::<ConsoleSpec>().unwrap_err().0.contains("did you mean 'socket'"));
    }
}
