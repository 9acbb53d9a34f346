//! Reading keys out of a YAML tree; what is wrong is told with line and key, and never with the value.

use crate::cloud_config::ConfigError;
use crate::yaml::{self, Node, Value};

/// A document that a person wrote, or a part of one, as messages name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Document {
    /// What it is called.
    pub name: &'static str,
    /// Which part of several, from 1 on.
    pub part: Option<usize>,
}

impl Document {
    /// What is wrong with it.
    pub fn fault(self, why: impl std::fmt::Display) -> ConfigError {
        match self.part {
            Some(number) => ConfigError::new(self.name, format!("part {number}: {why}")),
            None => ConfigError::new(self.name, why.to_string()),
        }
    }

    /// Its keys and values, such as `example`; nothing where it is empty.
    ///
    /// # Errors
    /// It is no YAML, or something else than keys with values.
    pub fn load(self, text: &str, example: &str) -> Result<Option<Node>, ConfigError> {
        let node =
            yaml::load(text).map_err(|error| self.fault(format!("line {}: {}", error.line, error.why)))?;
        let Some(node) = node.filter(|node| !node.is_null()) else { return Ok(None) };
        let document = Field::document(self, &node);
        if !document.is_map() {
            let kind = node.kind();
            let why = format!("the document is {kind}, and has to be keys with values, such as '{example}'");
            return Err(document.fault(why));
        }
        Ok(Some(node))
    }
}

/// Keys with values, each to be taken once.
pub struct Keys<'a> {
    document: Document,
    path: String,
    left: Vec<(&'a str, &'a Node)>,
    known: Vec<&'static str>,
}

/// A value and the way to it.
#[derive(Clone)]
pub struct Field<'a> {
    document: Document,
    path: String,
    node: &'a Node,
}

/// The longest key that is repeated in a message.
const KEY_CHARS_MAX: usize = 40;

impl<'a> Field<'a> {
    /// A document as a whole.
    pub fn document(document: Document, node: &'a Node) -> Field<'a> {
        Field { document, path: String::new(), node }
    }

    /// What is wrong with it: its line, its key, and why.
    pub fn fault(&self, why: impl std::fmt::Display) -> ConfigError {
        let path = if self.path.is_empty() { String::new() } else { format!("{}: ", self.path) };
        self.document.fault(format!("line {}: {path}{why}", self.node.line))
    }

    fn wants(&self, wanted: &str) -> ConfigError {
        self.fault(format!("has to be {wanted}, and is {}", self.node.kind()))
    }

    /// Its value.
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// Whether nothing stands there.
    pub fn is_null(&self) -> bool {
        self.node.is_null()
    }

    /// Text; a number is the text that was typed.
    pub fn text(&self) -> Result<String, ConfigError> {
        if self.node.truth().is_some() {
            return Err(self.fault("has to be text, and this word means true or false; put it into quotes"));
        }
        match self.node.scalar() {
            Some(text) if !self.is_null() => Ok(text.to_owned()),
            _ => Err(self.wants("text")),
        }
    }

    /// Bytes: text, or base64 behind `!!binary`.
    pub fn bytes(&self) -> Result<Vec<u8>, ConfigError> {
        match &self.node.value {
            Value::Scalar { text, binary: true, .. } => {
                decode_base64(text).ok_or_else(|| self.fault("is marked as !!binary, and is not base64"))
            }
            _ if self.node.truth().is_some() => {
                Ok(self.node.scalar().unwrap_or_default().as_bytes().to_vec())
            }
            _ => self.text().map(String::into_bytes),
        }
    }

    /// True or false, in the words that cloud-init takes.
    pub fn flag(&self) -> Result<bool, ConfigError> {
        let word = |text: &str| match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => None,
        };
        self.node
            .truth()
            .or_else(|| self.node.scalar().and_then(word))
            .ok_or_else(|| self.wants("true or false"))
    }

    /// A number.
    pub fn number(&self) -> Result<u32, ConfigError> {
        let text = self.node.scalar().ok_or_else(|| self.wants("a whole number"))?;
        text.parse().map_err(|_| self.fault("has to be a whole number"))
    }

    /// The elements of a list.
    pub fn list(&self) -> Result<Vec<Field<'a>>, ConfigError> {
        let Value::List(list) = &self.node.value else {
            return if self.is_null() { Ok(Vec::new()) } else { Err(self.wants("a list")) };
        };
        Ok(list.iter().enumerate().map(|(index, node)| self.below(&format!("[{index}]"), node)).collect())
    }

    /// Whether it is a list.
    pub fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    /// Whether it has keys.
    pub fn is_map(&self) -> bool {
        matches!(self.node.value, Value::Map(_))
    }

    /// A list of texts.
    pub fn texts(&self) -> Result<Vec<String>, ConfigError> {
        self.list()?.iter().map(Field::text).collect()
    }

    /// `a, b`, or a list.
    pub fn words(&self) -> Result<Vec<String>, ConfigError> {
        if self.is_list() || self.is_null() {
            return self.texts();
        }
        let text = self.text()?;
        Ok(text.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect())
    }

    /// Its keys.
    pub fn keys(&self) -> Result<Keys<'a>, ConfigError> {
        let Value::Map(map) = &self.node.value else {
            return Err(self.wants("keys with values, such as 'name: ann'"));
        };
        let mut left: Vec<(&str, &Node)> = Vec::new();
        for (key, value) in map {
            let Some(name) = key.scalar() else {
                return Err(self.below("", key).fault("a key has to be a word"));
            };
            if left.iter().any(|(other, _)| *other == name) {
                let path = self.below_path(&shown(name));
                return Err(Field { document: self.document, path, node: key }
                    .fault("is there twice; leave one of them out"));
            }
            left.push((name, value));
        }
        Ok(Keys { document: self.document, path: self.path.clone(), left, known: Vec::new() })
    }

    /// Keys with values as cloud-init takes them: one that is there twice is no fault, and what is no word no key.
    pub fn every_entry(&self) -> Vec<(String, Field<'a>)> {
        let Value::Map(map) = &self.node.value else { return Vec::new() };
        let named = map.iter().filter_map(|(key, node)| Some((key.scalar()?, node)));
        named.map(|(name, node)| (name.to_owned(), self.below(&format!(".{}", shown(name)), node))).collect()
    }

    /// Every key with its value.
    pub fn entries(&self) -> Result<Vec<(String, Field<'a>)>, ConfigError> {
        let Keys { left, .. } = self.keys()?;
        Ok(left
            .into_iter()
            .map(|(name, node)| (name.to_owned(), self.below(&format!(".{}", shown(name)), node)))
            .collect())
    }

    fn below_path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn below(&self, end: &str, node: &'a Node) -> Field<'a> {
        let path = format!("{}{end}", self.path);
        Field { document: self.document, path: path.trim_start_matches('.').to_owned(), node }
    }
}

impl<'a> Keys<'a> {
    /// None, below a field.
    pub fn empty(field: &Field<'a>) -> Keys<'a> {
        Keys { document: field.document, path: field.path.clone(), left: Vec::new(), known: Vec::new() }
    }

    /// The value of a key; nothing where it is missing, or has no value.
    pub fn take(&mut self, name: &'static str) -> Option<Field<'a>> {
        self.known.push(name);
        let index = self.left.iter().position(|(key, _)| *key == name)?;
        let (_, node) = self.left.remove(index);
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Some(Field { document: self.document, path, node }).filter(|field| !field.is_null())
    }

    /// The text of a key.
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>, ConfigError> {
        self.take(name).map(|field| field.text()).transpose()
    }

    /// The truth value of a key.
    pub fn flag(&mut self, name: &'static str) -> Result<Option<bool>, ConfigError> {
        self.take(name).map(|field| field.flag()).transpose()
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// A key that was not taken, with the one that was probably meant.
    pub fn finish(self) -> Result<(), ConfigError> {
        let Some((name, node)) = self.left.first() else { return Ok(()) };
        let place = if self.path.is_empty() { String::new() } else { format!("{}: ", self.path) };
        let hint = match messages::nearest(name, self.known.iter().copied()) {
            Some(known) => format!("did you mean '{known}'?"),
            None => "take an image with cloud-init for it".to_owned(),
        };
        Err(self.document.fault(format!(
            "line {}: {place}{} is nothing that the first-boot service of this image knows; {hint}",
            node.line,
            quoted(name)
        )))
    }
}

const UNSHOWN: &str = "a key";

/// A key as a message may have it: what is no name is not repeated.
fn shown(name: &str) -> String {
    let fits =
        name.len() <= KEY_CHARS_MAX && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    if fits { name.to_owned() } else { UNSHOWN.to_owned() }
}

/// The same in quotes.
pub fn quoted(name: &str) -> String {
    match shown(name) {
        name if name == UNSHOWN => name,
        name => format!("'{name}'"),
    }
}

/// Base64 with any blanks in it.
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    let text: String = text.split_whitespace().collect();
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}
