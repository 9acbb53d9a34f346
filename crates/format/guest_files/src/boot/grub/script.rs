//! GRUB's language, read: words with quotes and variables, blocks, conditions, loops, functions. What is not known
//! is a command like any other (GRUB's manual, "Writing configuration files"; its `yylex.l` and `grammar` say the rest).

use std::rc::Rc;

/// Blocks are not nested deeper, and what is deeper is left out.
const DEPTH_LIMIT: usize = 24;

/// A part of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// As it stands; empty where a pair of quotes holds nothing.
    Text(String),
    /// What `$name` stands for.
    Variable { name: String, quoted: bool },
}

/// A word, or what ends a command.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word {
        parts: Vec<Part>,
        quoted: bool,
    },
    End,
    /// `&`, `|`, `<` or `>`, which GRUB's language has no use for.
    Stray(char),
}

pub(super) type Word = Vec<Part>;

/// Statements that can be kept for later: a function's, an entry's.
pub(super) type Body = Rc<[Statement]>;

/// What a script consists of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Statement {
    Command(Vec<Word>),
    /// `if`: conditions with what they lead to, and `else`.
    If {
        arms: Vec<(Vec<Statement>, Vec<Statement>)>,
        otherwise: Vec<Statement>,
    },
    /// `while`, and `until`, which goes on as long as its condition fails.
    Loop {
        condition: Vec<Statement>,
        until: bool,
        body: Vec<Statement>,
    },
    /// `for name in words`.
    For {
        name: String,
        words: Vec<Word>,
        body: Vec<Statement>,
    },
    /// `function name { … }`.
    Function {
        name: String,
        body: Body,
    },
    /// `menuentry` and `submenu`.
    Menu {
        words: Vec<Word>,
        is_submenu: bool,
        body: Body,
    },
    /// What GRUB's parser would not take.
    Broken(char),
}

/// Reads a script.
pub(super) fn parse(text: &str) -> Vec<Statement> {
    let tokens = tokens(text);
    let mut parser = Parser { tokens: &tokens, at: 0 };
    let mut statements = Vec::new();
    // A word that ends no block that was begun is passed over.
    while parser.at < tokens.len() {
        statements.extend(parser.block(&[], 0));
        parser.at += 1;
    }
    statements
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl Parser<'_> {
    /// Statements up to a word of `ends`, which is not taken.
    fn block(&mut self, ends: &[&str], depth: usize) -> Vec<Statement> {
        let mut statements = Vec::new();
        while let Some(token) = self.tokens.get(self.at) {
            let keyword = keyword(token);
            match keyword {
                _ if *token == Token::End => self.at += 1,
                Some(word) if ends.contains(&word) => break,
                Some("if") => statements.extend(self.condition(depth + 1)),
                Some("menuentry" | "submenu") => {
                    statements.push(self.menu(keyword == Some("submenu"), depth));
                }
                Some("function") => statements.extend(self.function(depth)),
                Some("while" | "until") => statements.push(self.while_loop(keyword == Some("until"), depth)),
                Some("for") => statements.push(self.for_loop(depth)),
                Some("}" | "fi" | "done" | "then" | "else" | "elif") if ends.is_empty() => break,
                Some("{" | "}" | "then" | "do" | "done" | "else" | "elif" | "fi") => self.at += 1,
                _ => statements.push(self.command()),
            }
        }
        statements
    }

    /// A block one level deeper. Beyond the limit its words are passed over.
    fn block_in(&mut self, ends: &[&str], depth: usize) -> Vec<Statement> {
        if depth <= DEPTH_LIMIT {
            return self.block(ends, depth);
        }
        while let Some(token) = self.tokens.get(self.at) {
            if keyword(token).is_some_and(|word| ends.contains(&word)) {
                break;
            }
            self.at += 1;
        }
        Vec::new()
    }

    fn command(&mut self) -> Statement {
        let words = self.words();
        let Some(Token::Stray(stray)) = self.tokens.get(self.at) else { return Statement::Command(words) };
        // GRUB drops the line.
        while self
            .tokens
            .get(self.at)
            .is_some_and(|token| *token != Token::End && keyword(token) != Some("}"))
        {
            self.at += 1;
        }
        Statement::Broken(*stray)
    }

    /// The words of a command; a brace ends them, too.
    fn words(&mut self) -> Vec<Word> {
        let mut words = Vec::new();
        while let Some(Token::Word { parts, .. }) = self.tokens.get(self.at) {
            if matches!(keyword(&self.tokens[self.at]), Some("{" | "}")) {
                break;
            }
            words.push(parts.clone());
            self.at += 1;
        }
        words
    }

    fn menu(&mut self, is_submenu: bool, depth: usize) -> Statement {
        let words = self.words();
        let body = self.braces(depth + 1).into();
        Statement::Menu { words, is_submenu, body }
    }

    fn function(&mut self, depth: usize) -> Option<Statement> {
        let words = self.words();
        let body = self.braces(depth + 1).into();
        match words.get(1)?.as_slice() {
            [Part::Text(name)] => Some(Statement::Function { name: name.clone(), body }),
            _ => None,
        }
    }

    /// `{ … }`, or nothing.
    fn braces(&mut self, depth: usize) -> Vec<Statement> {
        while self.tokens.get(self.at) == Some(&Token::End) {
            self.at += 1;
        }
        if self.tokens.get(self.at).and_then(keyword) != Some("{") {
            return Vec::new();
        }
        self.at += 1;
        let body = self.block_in(&["}"], depth);
        self.at += 1;
        body
    }

    /// `while …; do …; done`.
    fn while_loop(&mut self, until: bool, depth: usize) -> Statement {
        self.at += 1;
        let condition = self.block_in(&["do", "done", "}"], depth + 1);
        Statement::Loop { condition, until, body: self.do_done(depth) }
    }

    /// `for name in …; do …; done`.
    fn for_loop(&mut self, depth: usize) -> Statement {
        let mut words = self.words().into_iter().skip(1);
        let name = match words.next().as_deref() {
            Some([Part::Text(name)]) => name.clone(),
            _ => String::new(),
        };
        // The word behind the name is `in`.
        let words = words.skip(1).collect();
        while self.tokens.get(self.at) == Some(&Token::End) {
            self.at += 1;
        }
        Statement::For { name, words, body: self.do_done(depth) }
    }

    fn do_done(&mut self, depth: usize) -> Vec<Statement> {
        if self.tokens.get(self.at).and_then(keyword) != Some("do") {
            return Vec::new();
        }
        self.at += 1;
        let body = self.block_in(&["done", "}"], depth + 1);
        if self.tokens.get(self.at).and_then(keyword) == Some("done") {
            self.at += 1;
        }
        body
    }

    /// `if …; then …; elif …; then …; else …; fi`.
    fn condition(&mut self, depth: usize) -> Option<Statement> {
        let mut arms = Vec::new();
        let mut otherwise = Vec::new();
        loop {
            self.at += 1;
            let condition = self.block_in(&["then", "fi", "}"], depth);
            if self.tokens.get(self.at).and_then(keyword) != Some("then") {
                break;
            }
            self.at += 1;
            let body = self.block_in(&["elif", "else", "fi", "}"], depth);
            arms.push((condition, body));
            match self.tokens.get(self.at).and_then(keyword) {
                Some("elif") => {}
                Some("else") => {
                    self.at += 1;
                    otherwise = self.block_in(&["fi", "}"], depth);
                    break;
                }
                _ => break,
            }
        }
        if self.tokens.get(self.at).and_then(keyword) == Some("fi") {
            self.at += 1;
        }
        (!arms.is_empty()).then_some(Statement::If { arms, otherwise })
    }
}

/// A word without quotes and variables.
fn keyword(token: &Token) -> Option<&str> {
    match token {
        Token::Word { parts, quoted: false } => match parts.as_slice() {
            [Part::Text(text)] => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// Splits a text into words and ends of commands.
fn tokens(text: &str) -> Vec<Token> {
    let mut lexer =
        Lexer { chars: text.chars().peekable(), tokens: Vec::new(), parts: Vec::new(), quoted: false };
    lexer.run();
    lexer.tokens
}

struct Lexer<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    tokens: Vec<Token>,
    parts: Vec<Part>,
    quoted: bool,
}

impl Lexer<'_> {
    fn run(&mut self) {
        while let Some(c) = self.chars.next() {
            match c {
                '\'' => {
                    self.quote();
                    while let Some(c) = self.chars.next().filter(|&c| c != '\'') {
                        self.push(c);
                    }
                }
                '"' => self.double_quotes(),
                '\\' => match self.chars.next() {
                    Some('\n') | None => {}
                    Some(c) => {
                        self.quote();
                        self.push(c);
                    }
                },
                '$' => self.variable(false),
                '#' if self.parts.is_empty() => while self.chars.next_if(|&c| c != '\n').is_some() {},
                '\n' | ';' => {
                    self.end_word();
                    self.tokens.push(Token::End);
                }
                '{' | '}' => {
                    self.end_word();
                    self.push(c);
                    self.end_word();
                }
                '&' | '|' | '<' | '>' => {
                    self.end_word();
                    self.tokens.push(Token::Stray(c));
                }
                c if c.is_whitespace() => self.end_word(),
                c => self.push(c),
            }
        }
        self.end_word();
    }

    fn double_quotes(&mut self) {
        self.quote();
        while let Some(c) = self.chars.next() {
            match c {
                '"' => return,
                '$' => self.variable(true),
                '\\' => match self.chars.next() {
                    Some(c @ ('"' | '\\' | '$')) => self.push(c),
                    Some('\n') | None => {}
                    Some(c) => {
                        self.push('\\');
                        self.push(c);
                    }
                },
                c => self.push(c),
            }
        }
    }

    /// `$name`, `${name}`, `$1`, `$?`; a dollar before anything else is itself.
    fn variable(&mut self, quoted: bool) {
        let mut name = String::new();
        let is_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
        if self.chars.next_if_eq(&'{').is_some() {
            while let Some(c) = self.chars.next_if(|&c| c != '}' && c != '\n') {
                name.push(c);
            }
            self.chars.next_if_eq(&'}');
        } else if let Some(special) = self.chars.next_if(|c| matches!(c, '?' | '@' | '*' | '#')) {
            name.push(special);
        } else if let Some(digit) = self.chars.next_if(char::is_ascii_digit) {
            name.push(digit);
            while let Some(digit) = self.chars.next_if(char::is_ascii_digit) {
                name.push(digit);
            }
        } else {
            while let Some(c) = self.chars.next_if(is_name) {
                name.push(c);
            }
        }
        if name.is_empty() {
            self.push('$');
        } else {
            self.parts.push(Part::Variable { name, quoted });
        }
    }

    /// What is in quotes is a word, even if it is empty.
    fn quote(&mut self) {
        self.quoted = true;
        if !matches!(self.parts.last(), Some(Part::Text(_))) {
            self.parts.push(Part::Text(String::new()));
        }
    }

    fn push(&mut self, c: char) {
        match self.parts.last_mut() {
            Some(Part::Text(text)) => text.push(c),
            _ => self.parts.push(Part::Text(c.to_string())),
        }
    }

    fn end_word(&mut self) {
        let parts = std::mem::take(&mut self.parts);
        let quoted = std::mem::take(&mut self.quoted);
        if !parts.is_empty() {
            self.tokens.push(Token::Word { parts, quoted });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_their_quotes() {
        let text = "set a='b c'\"d $e\"${f}g\\ h # no\n\\\nx";
        let word = |parts: &[Part], quoted| Token::Word { parts: parts.to_vec(), quoted };
        let plain = |text: &str| Part::Text(text.to_owned());
        let variable = |name: &str, quoted| Part::Variable { name: name.to_owned(), quoted };
        assert_eq!(
            tokens(text),
            [
                word(&[plain("set")], false),
                word(&[plain("a=b cd "), variable("e", true), variable("f", false), plain("g h")], true),
                Token::End,
                word(&[plain("x")], false),
            ]
        );
    }

    #[test]
    fn blocks_without_ends_and_ends_without_blocks() {
        for text in [
            "if",
            "if true; then",
            "if a; then b; elif c; then d; else e",
            "menuentry a {",
            "} fi done then a",
            "function f { a",
            "for i in a; do b",
            "for",
            "while",
            "until a; do",
            "function",
            "a & b | c < d > e",
            "{ a && }",
            "menuentry 'a' { linux /b }\n}",
        ] {
            parse(text);
        }
        let deep = "if a; then ".repeat(100_000);
        parse(&deep);
        let deep = "menuentry a { ".repeat(100_000);
        parse(&deep);
        assert_eq!(parse("} a").len(), 1);
    }

    #[test]
    fn loops_functions_and_what_is_broken() {
        let statements = parse(
            "function f { a $1 $12; }\nfor x in 1 \"\" $y ; do b; done\nwhile [ c ]\ndo d; done\nuntil e; do\n f; done\n\
             g && h; i",
        );
        let Statement::Function { name, body } = &statements[0] else { panic!("{statements:?}") };
        assert_eq!((name.as_str(), body.len()), ("f", 1));
        let Statement::For { name, words, body } = &statements[1] else { panic!("{statements:?}") };
        assert_eq!((name.as_str(), words.len(), body.len()), ("x", 3, 1));
        let Statement::Loop { condition, until: false, body } = &statements[2] else {
            panic!("{statements:?}")
        };
        assert_eq!((condition.len(), body.len()), (1, 1));
        assert!(matches!(&statements[3], Statement::Loop { until: true, .. }));
        assert_eq!(statements[4], Statement::Broken('&'));
        assert_eq!(statements.len(), 6);
    }

    #[test]
    fn a_condition_has_its_arms() {
        let statements = parse("if [ a ]; then b; elif c; then d; else e; f; fi; g");
        let Statement::If { arms, otherwise } = &statements[0] else { panic!("{statements:?}") };
        assert_eq!((arms.len(), otherwise.len(), statements.len()), (2, 2, 2));
    }
}
