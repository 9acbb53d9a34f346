//! YAML as a tree that knows its lines, with scalars as they were typed.
//!
//! cloud-init reads YAML 1.1 by PyYAML. What differs from 1.2 in documents that people write is which words are truth
//! values and numbers; that is decided here ([`Node::truth`]), and where text is wanted a number is the text that was
//! typed.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle};

/// Most nodes of a document, with those that aliases repeat.
const NODES_MAX: usize = 100_000;
/// Deepest nesting.
const DEPTH_MAX: usize = 64;

/// What is wrong with a document; nothing that stands in it is repeated.
#[derive(Debug, PartialEq, Eq)]
pub struct YamlError {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

/// A value, and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// From 1.
    pub line: usize,
    /// What it is.
    pub value: Value,
}

/// A value.
#[derive(Clone, Debug)]
pub enum Value {
    /// Text as it was typed.
    Scalar {
        /// Without quotes.
        text: String,
        /// Whether it had none.
        plain: bool,
        /// Whether it is base64 of bytes (`!!binary`).
        binary: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// Keys and values, in their order.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// Whether nothing stands there.
    pub fn is_null(&self) -> bool {
        match &self.value {
            Value::Scalar { text, plain: true, .. } => matches!(&**text, "" | "~" | "null" | "Null" | "NULL"),
            _ => false,
        }
    }

    /// A truth value, by YAML 1.1.
    pub fn truth(&self) -> Option<bool> {
        match &self.value {
            Value::Scalar { text, plain: true, .. } => match &**text {
                "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
                "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// The text of a scalar.
    pub fn scalar(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// What this is, for a person.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            _ if self.is_null() => "nothing",
            _ if self.truth().is_some() => "true or false",
            Value::Scalar { .. } => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "keys with values",
        }
    }
}

/// The one document of `text`; nothing where there is none.
pub fn load(text: &str) -> Result<Option<Node>, YamlError> {
    let mut loader =
        Loader { parser: Parser::new_from_str(text), line: 1, anchors: HashMap::new(), nodes: 0 };
    let mut document = None;
    loop {
        match loader.next()? {
            Event::StreamEnd => return Ok(document),
            Event::DocumentStart(..) if document.is_some() => {
                return Err(loader.fault("a second document begins here; there may be one only"));
            }
            Event::DocumentStart(..) => {
                let event = loader.next()?;
                document = Some(loader.node(event, 0)?);
            }
            _ => {}
        }
    }
}

struct Loader<'a, I: granit_parser::BorrowedInput<'a>> {
    parser: Parser<'a, I>,
    line: usize,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'a, I: granit_parser::BorrowedInput<'a>> Loader<'a, I> {
    fn next(&mut self) -> Result<Event<'a>, YamlError> {
        match self.parser.next() {
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok(event)
            }
            Some(Err(error)) => {
                self.line = error.marker().line();
                Err(self.fault(
                    "this is no YAML; look at indentation, quotes and colons here and in the line before",
                ))
            }
            None => Ok(Event::StreamEnd),
        }
    }

    fn fault(&self, why: &str) -> YamlError {
        YamlError { line: self.line, why: why.to_owned() }
    }

    fn count(&mut self, more: usize) -> Result<(), YamlError> {
        self.nodes += more;
        if self.nodes > NODES_MAX {
            Err(self.fault("the document is larger than any sensible one"))
        } else {
            Ok(())
        }
    }

    /// The node that begins with `event`.
    fn node(&mut self, event: Event<'a>, depth: usize) -> Result<Node, YamlError> {
        self.count(1)?;
        if depth > DEPTH_MAX {
            return Err(self.fault("lists and keys are nested more deeply than in any sensible document"));
        }
        let line = self.line;
        let (anchor, value) = match event {
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(self.fault("an alias leads to nothing"));
                };
                self.count(size(&node))?;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let binary = self.binary(tag.as_deref())?;
                let plain = style == ScalarStyle::Plain;
                (anchor, Value::Scalar { text: text.into_owned(), plain, binary })
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.binary(tag.as_deref())?;
                (anchor, Value::List(self.list(depth)?))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.binary(tag.as_deref())?;
                (anchor, Value::Map(self.map(depth)?))
            }
            _ => (0, Value::Scalar { text: String::new(), plain: true, binary: false }),
        };
        let node = Node { line, value };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, YamlError> {
        let mut list = Vec::new();
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(list),
                event => list.push(self.node(event, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<(Node, Node)>, YamlError> {
        let mut map: Vec<(Node, Node)> = Vec::new();
        let mut merged = Vec::new();
        loop {
            match self.next()? {
                Event::MappingEnd => break,
                event => {
                    let key = self.node(event, depth + 1)?;
                    let event = self.next()?;
                    let value = self.node(event, depth + 1)?;
                    if matches!(&key.value, Value::Scalar { text, plain: true, .. } if text == "<<") {
                        merged.push(value);
                    } else {
                        map.push((key, value));
                    }
                }
            }
        }
        for value in merged {
            self.merge(&mut map, value)?;
        }
        Ok(map)
    }

    /// A merge key: what is there already stays.
    fn merge(&self, map: &mut Vec<(Node, Node)>, value: Node) -> Result<(), YamlError> {
        let maps = match value.value {
            Value::List(maps) => maps,
            _ => vec![value],
        };
        for other in maps {
            let Value::Map(entries) = other.value else {
                return Err(self.fault("'<<' wants keys with values"));
            };
            for (key, value) in entries {
                if !map.iter().any(|(known, _)| known.scalar().is_some() && known.scalar() == key.scalar()) {
                    map.push((key, value));
                }
            }
        }
        Ok(())
    }

    /// Whether a tag is `!!binary`. cloud-init refuses documents with tags that are not YAML's own.
    fn binary(&self, tag: Option<&granit_parser::Tag>) -> Result<bool, YamlError> {
        let Some(tag) = tag else { return Ok(false) };
        let text = tag.to_string();
        let name = text.rsplit([':', '!']).next().unwrap_or("");
        match name {
            "binary" => Ok(true),
            "" | "str" | "int" | "float" | "bool" | "null" | "seq" | "map" | "timestamp" | "set" | "omap" => {
                Ok(false)
            }
            _ => Err(self.fault("a tag (a word that begins with '!') that cloud-init does not know")),
        }
    }
}

fn size(node: &Node) -> usize {
    match &node.value {
        Value::Scalar { .. } => 1,
        Value::List(list) => 1 + list.iter().map(size).sum::<usize>(),
        Value::Map(map) => 1 + map.iter().map(|(key, value)| size(key) + size(value)).sum::<usize>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(node: &Node) -> String {
        match &node.value {
            _ if node.is_null() => "null".to_owned(),
            Value::Scalar { text, plain, .. } => match node.truth() {
                Some(truth) => format!("{truth}!"),
                None if *plain => text.clone(),
                None => format!("'{text}'"),
            },
            Value::List(list) => format!("[{}]", list.iter().map(shown).collect::<Vec<_>>().join(", ")),
            Value::Map(map) => {
                let entries = map.iter().map(|(key, value)| format!("{}: {}", shown(key), shown(value)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
            }
        }
    }

    #[test]
    fn scalars_are_as_they_were_typed() {
        let cases = [
            ("a: 0644", "{a: 0644}"),
            ("a: '0644'", "{a: '0644'}"),
            ("a: yes\nb: \"yes\"\nc: Off", "{a: true!, b: 'yes', c: false!}"),
            ("a: ~\nb:\nc: ''", "{a: null, b: null, c: ''}"),
            ("a: 1_000.50", "{a: 1_000.50}"),
            ("a: |\n  x\n  y\n", "{a: 'x\ny\n'}"),
            ("[1, two, {three: 3}]", "[1, two, {three: 3}]"),
            ("a: &x [1]\nb: *x", "{a: [1], b: [1]}"),
            ("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}", "{a: {p: 1, q: 2}, b: {q: 3, p: 1}}"),
            ("a: 1\na: 2", "{a: 1, a: 2}"),
            ("a: !!str 5", "{a: 5}"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(&load(text).unwrap().unwrap()), expected, "{text}");
        }
        assert!(load("").unwrap().is_none());
        assert!(load("# nothing\n").unwrap().is_none());
    }

    #[test]
    fn lines_are_known() {
        let Value::Map(map) = load("# x\na: 1\nb:\n  - c\n  - d: e\n").unwrap().unwrap().value else {
            panic!()
        };
        let Value::List(list) = &map[1].1.value else { panic!() };
        assert_eq!((map[0].0.line, map[1].0.line, list[0].line, list[1].line), (2, 3, 4, 5));
    }

    #[test]
    fn faults_say_their_line_and_repeat_nothing() {
        for (text, line) in [
            ("a: [hunter2", 2),
            ("a: 1\n---\nb: 2", 2),
            ("a: !ruby/hunter2 x", 1),
            ("a:\n\t- hunter2", 2),
            ("a: 'hunter2", 1),
            ("<<: hunter2", 1),
        ] {
            let error = load(text).unwrap_err();
            assert!(error.line.abs_diff(line) <= 1, "{text}: {error:?}");
            assert!(!error.why.contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn a_document_that_multiplies_itself_is_refused() {
        let mut text = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for (name, before) in ('b'..='z').zip('a'..) {
            let list = vec![format!("*{before}"); 9].join(",");
            text.push_str(&format!("{name}: &{name} [{list}]\n"));
        }
        assert!(load(&text).unwrap_err().why.contains("larger"));
        assert!(load(&"[".repeat(100_000)).is_err());
        assert!(load(&format!("{}{}", "[".repeat(1000), "]".repeat(1000))).is_err());
    }
}
