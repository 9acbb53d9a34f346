//! Options as a person joins them on a command line: `path=a.img,readonly`. A comma within a value is doubled.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use messages::did_you_mean;

use crate::BadValue;

/// What an option may be called, and how all of them are written.
pub(crate) struct Form {
    /// What is described: `disk`.
    pub what: &'static str,
    /// The options' names.
    pub keys: &'static [&'static str],
    /// How they are written, for a person.
    pub shape: &'static str,
}

/// One option; a bare word has no value.
pub(crate) type Given = (&'static str, Option<OsString>);

impl Form {
    /// The options in `text`, each of the form's and each at most once.
    pub fn parse(&self, text: &OsStr) -> Result<Vec<Given>, BadValue> {
        let mut all: Vec<Given> = Vec::new();
        for part in parts(text.as_bytes()) {
            let (name, value) = match part.iter().position(|byte| *byte == b'=') {
                Some(at) => (&part[..at], Some(OsString::from_vec(part[at + 1..].to_vec()))),
                None => (&part[..], None),
            };
            let Some(key) = self.keys.iter().find(|key| key.as_bytes() == name) else {
                return Err(self.unknown(text, &String::from_utf8_lossy(name)));
            };
            if all.iter().any(|(other, _)| other == key) {
                return Err(self.bad(text, &format!("{key} is given twice")));
            }
            all.push((*key, value));
        }
        Ok(all)
    }

    /// What is said of an option that is there, and has no value or one that it does not take.
    pub fn misshapen(&self, text: &OsStr) -> BadValue {
        self.bad(text, &format!("write {}", self.shape))
    }

    /// Something that is wrong with `text`.
    pub fn bad(&self, text: &OsStr, why: &str) -> BadValue {
        BadValue(format!("{} '{}': {why}", self.what, text.display()))
    }

    fn unknown(&self, text: &OsStr, name: &str) -> BadValue {
        let hint = match did_you_mean(name, self.keys.iter().copied()) {
            hint if !hint.is_empty() => hint,
            _ if text.as_bytes().contains(&b',') => "; a comma within a name is doubled (,,)".to_owned(),
            _ => format!("; write {}", self.shape),
        };
        self.bad(text, &format!("unknown option '{name}'{hint}"))
    }
}

/// A value that has to be text.
pub(crate) fn text_of(value: &OsStr) -> Result<&str, BadValue> {
    value.to_str().ok_or_else(|| BadValue(format!("'{}' is not text in UTF-8", value.display())))
}

/// What single commas part, with doubled ones made single.
fn parts(text: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::new()];
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let parted = byte == b',' && bytes.next_if_eq(&b',').is_none();
        match parts.last_mut() {
            Some(part) if !parted => part.push(byte),
            _ => parts.push(Vec::new()),
        }
    }
    parts
}

/// The names of files that may be meant if single commas behind `key=` belong to its value: `x,readonly` in
/// `path=x,readonly`. Whoever can look for files refuses the text where there is one of them.
pub fn names_with_commas(text: &OsStr, key: &str) -> Vec<OsString> {
    let parts = parts(text.as_bytes());
    let start = [key.as_bytes(), b"="].concat();
    let Some(first) = parts.iter().position(|part| part.starts_with(&start)) else { return Vec::new() };
    let mut name = parts[first][start.len()..].to_vec();
    let longer = parts[first + 1..].iter().map(|part| {
        name.push(b',');
        name.extend(part);
        OsString::from_vec(name.clone())
    });
    longer.collect()
}

/// A name as the value of an option.
pub fn with_doubled_commas(name: &OsStr) -> String {
    name.to_string_lossy().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: Form = Form { what: "disk", keys: &["path", "readonly"], shape: "path=FILE[,readonly]" };

    fn parsed(text: &str) -> Result<Vec<(&'static str, Option<String>)>, String> {
        let all = FORM.parse(OsStr::new(text)).map_err(|error| error.0)?;
        Ok(all
            .into_iter()
            .map(|(key, value)| (key, value.map(|value| value.into_string().unwrap())))
            .collect())
    }

    #[test]
    fn a_doubled_comma_is_one_of_the_value() {
        let path = |value: &str| ("path", Some(value.to_owned()));
        let readonly = ("readonly", None);
        for (text, all) in [
            ("path=x,readonly", vec![path("x"), readonly.clone()]),
            ("path=x,,readonly", vec![path("x,readonly")]),
            ("path=x,,,readonly", vec![path("x,"), readonly.clone()]),
            ("path=x,,,,readonly", vec![path("x,,readonly")]),
            ("readonly,path=,,", vec![readonly.clone(), path(",")]),
            ("path=a=b", vec![path("a=b")]),
            ("path=", vec![path("")]),
        ] {
            assert_eq!(parsed(text).unwrap(), all, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        for (text, why) in [
            ("", "unknown option ''; write path=FILE[,readonly]"),
            ("path=a,readnly", "unknown option 'readnly'; did you mean 'readonly'?"),
            ("path=a,", "unknown option ''; a comma within a name is doubled (,,)"),
            ("path=a,b.img", "unknown option 'b.img'; a comma within a name is doubled (,,)"),
            ("path=a,path=b", "path is given twice"),
            ("readonly,readonly", "readonly is given twice"),
        ] {
            assert_eq!(parsed(text).unwrap_err(), format!("disk '{text}': {why}"));
        }
    }

    #[test]
    fn names_that_may_be_meant_are_all_told() {
        for (text, names) in [
            ("path=x,readonly", &["x,readonly"][..]),
            ("path=x,readonly,serial=S", &["x,readonly", "x,readonly,serial=S"]),
            ("readonly,path=x", &[]),
            ("path=x,,readonly", &[]),
            ("path=x,,y,readonly", &["x,y,readonly"]),
            ("readonly", &[]),
        ] {
            assert_eq!(names_with_commas(OsStr::new(text), "path"), names, "{text}");
        }
        assert_eq!(with_doubled_commas(OsStr::new("x,readonly")), "x,,readonly");
    }

    #[test]
    fn bytes_stay_as_they_are() {
        let text = OsStr::from_bytes(b"path=\xff,,\xfe,readonly");
        let all = FORM.parse(text).unwrap();
        assert_eq!(all[0].1.as_deref(), Some(OsStr::from_bytes(b"\xff,\xfe")));
        assert_eq!(all.len(), 2);
    }
}
