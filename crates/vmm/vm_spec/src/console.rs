//! Where COM1 leads: `stdio`, `file=P`, `socket=P` or `none`. A comma within the path is doubled.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::BadValue;
use crate::options::Form;

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

const FORM: Form = Form {
    what: "console",
    keys: &["stdio", "file", "socket", "none"],
    shape: "stdio, file=PATH, socket=PATH or none",
};

impl ConsoleSpec {
    /// Reads a description; a path may be of any bytes.
    ///
    /// # Errors
    /// It is not written as it should be.
    pub fn parse(text: &OsStr) -> Result<ConsoleSpec, BadValue> {
        let mut options = FORM.parse(text)?;
        match (options.pop(), options.is_empty()) {
            (Some(("stdio", None)), true) => Ok(ConsoleSpec::Stdio),
            (Some(("none", None)), true) => Ok(ConsoleSpec::None),
            (Some(("file", Some(path))), true) if !path.is_empty() => Ok(ConsoleSpec::File(path.into())),
            (Some(("socket", Some(path))), true) if !path.is_empty() => Ok(ConsoleSpec::Socket(path.into())),
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
        assert_eq!("file=/x".parse(), Ok(ConsoleSpec::File("/x".into())));
        assert_eq!("socket=a=b".parse(), Ok(ConsoleSpec::Socket("a=b".into())));
        for bad in ["", "file", "file=", "tty", "sokcet=/x", "stdio,none", "file=a,b", "stdio=x", "file=a,"] {
            assert!(bad.parse::<ConsoleSpec>().is_err(), "{bad}");
        }
        assert_eq!("file=a,,b".parse(), Ok(ConsoleSpec::File("a,b".into())));
        assert!("sokcet=/x".parse::<ConsoleSpec>().unwrap_err().0.contains("did you mean 'socket'"));
    }
}
