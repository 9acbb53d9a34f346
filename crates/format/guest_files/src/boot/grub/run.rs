//! Runs a script of GRUB's: variables, conditions, loops, functions, and the menu that it makes.
//!
//! A script is anybody's: what it may do in all is counted, and beyond that it is stopped.

use std::collections::BTreeMap;

use super::environment::{TooMuch, Variables};
use super::expand;
use super::script::{Body, Statement, Word};
use crate::FileRef;
use crate::boot::entry::System;

/// What a configuration may do in all: commands, and bytes that they handle in units of [`BYTES_A_STEP`].
const STEP_LIMIT: usize = 200_000;
const BYTES_A_STEP: usize = 64;
/// Blocks, functions and files inside of one another.
const DEPTH_LIMIT: usize = 100;
const ITEM_LIMIT: usize = 1000;
const FUNCTION_LIMIT: usize = 1000;

/// An item of the menu. Its body runs when it is chosen.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// Where it stands, and its title.
    pub(super) source: String,
    /// By which `default` and `fallback` may name it.
    pub(super) names: Vec<String>,
    /// What `$1` and those behind it are in its body.
    pub(super) arguments: Vec<String>,
    pub(super) is_submenu: bool,
    pub(super) body: Body,
}

/// A menu, and the variables that its items find.
#[derive(Clone, Debug, Default)]
pub(super) struct Menu {
    pub(super) variables: Variables,
    pub(super) items: Vec<Item>,
    /// Why the root that the items find cannot be believed.
    pub(super) lost_root: Option<String>,
}

/// What is loaded to be started; or why it cannot be.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) kernel: Option<Result<FileRef, String>>,
    pub(super) cmdline: String,
    pub(super) initrds: Vec<Result<FileRef, String>>,
    /// What is started that is no kernel of Linux's.
    pub(super) other: Option<String>,
}

/// How it goes on behind a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Next,
    /// Leave so many loops.
    Break(usize),
    /// Leave so many loops but for the last, which goes on.
    Continue(usize),
    Return,
    /// Another menu took over, or something was started.
    Left,
    /// It does more than it may.
    Stopped(&'static str),
}

/// A script that runs.
pub(super) struct Runner<'a> {
    pub(super) system: &'a System<'a>,
    /// The menu that is being made, and the variables.
    pub(super) menu: Menu,
    pub(super) functions: BTreeMap<String, Body>,
    /// `$1`, `$2` …
    pub(super) arguments: Vec<String>,
    pub(super) loaded: Loaded,
    /// The menu that `configfile` went on with.
    pub(super) taken: Option<Menu>,
    /// Why `root` cannot be believed: it was searched for, and may be where nothing is read.
    pub(super) lost_root: Option<String>,
    /// The path of the file that runs.
    pub(super) file: String,
    pub(super) notes: Vec<String>,
    pub(super) succeeded: bool,
    items: usize,
    steps: usize,
    depth: usize,
}

impl<'a> Runner<'a> {
    pub(super) fn new(system: &'a System<'a>) -> Runner<'a> {
        Runner {
            system,
            menu: Menu::default(),
            functions: BTreeMap::new(),
            arguments: Vec::new(),
            loaded: Loaded::default(),
            taken: None,
            lost_root: None,
            file: String::new(),
            notes: Vec::new(),
            succeeded: true,
            items: 0,
            steps: 0,
            depth: 0,
        }
    }

    /// Runs statements up to one that leaves them.
    pub(super) fn run(&mut self, statements: &[Statement]) -> Flow {
        if self.depth >= DEPTH_LIMIT {
            return Flow::Stopped("its blocks, functions and files are nested too deep");
        }
        self.depth += 1;
        let left =
            statements.iter().map(|statement| self.statement(statement)).find(|&flow| flow != Flow::Next);
        self.depth -= 1;
        left.unwrap_or(Flow::Next)
    }

    fn statement(&mut self, statement: &Statement) -> Flow {
        match statement {
            Statement::Command(words) => match self.expand(words) {
                Ok(words) => self.command(&words),
                Err(stopped) => stopped,
            },
            Statement::If { arms, otherwise } => self.condition(arms, otherwise),
            Statement::Loop { condition, until, body } => self.while_loop(condition, *until, body),
            Statement::For { name, words, body } => self.for_loop(name, words, body),
            Statement::Function { name, body } => {
                if self.functions.len() >= FUNCTION_LIMIT && !self.functions.contains_key(name) {
                    return Flow::Stopped("it has too many functions");
                }
                self.functions.insert(name.clone(), body.clone());
                Flow::Next
            }
            Statement::Menu { words, is_submenu, body } => self.item(words, *is_submenu, body),
            Statement::Broken(_) => {
                self.succeeded = false;
                Flow::Next
            }
        }
    }

    fn condition(&mut self, arms: &[(Vec<Statement>, Vec<Statement>)], otherwise: &[Statement]) -> Flow {
        for (condition, body) in arms {
            match self.run(condition) {
                Flow::Next if self.succeeded => return self.run(body),
                Flow::Next => {}
                left => return left,
            }
        }
        self.run(otherwise)
    }

    fn while_loop(&mut self, condition: &[Statement], until: bool, body: &[Statement]) -> Flow {
        loop {
            if let Some(stopped) = self.charge(0) {
                return stopped;
            }
            match self.run(condition) {
                Flow::Next if self.succeeded == until => return Flow::Next,
                Flow::Next => {}
                left => return left,
            }
            if let Some(left) = after_turn(self.run(body)) {
                return left;
            }
        }
    }

    fn for_loop(&mut self, name: &str, words: &[Word], body: &[Statement]) -> Flow {
        let words = match self.expand(words) {
            Ok(words) => words,
            Err(stopped) => return stopped,
        };
        for word in words {
            if let Some(stopped) = self.charge(word.len()).or_else(|| self.set(name, &word)) {
                return stopped;
            }
            if let Some(left) = after_turn(self.run(body)) {
                return left;
            }
        }
        Flow::Next
    }

    /// Calls a function of the script's.
    pub(super) fn call(&mut self, body: &Body, arguments: Vec<String>) -> Flow {
        let outer = std::mem::replace(&mut self.arguments, arguments);
        let flow = self.run(body);
        self.arguments = outer;
        match flow {
            Flow::Return | Flow::Break(_) | Flow::Continue(_) => Flow::Next,
            flow => flow,
        }
    }

    /// `menuentry` and `submenu`.
    fn item(&mut self, words: &[Word], is_submenu: bool, body: &Body) -> Flow {
        let words = match self.expand(words) {
            Ok(words) => words,
            Err(stopped) => return stopped,
        };
        let words: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
        let options = expand::options(&words, &["class", "users", "hotkey", "source", "id"]);
        let arguments: Vec<String> = options.arguments.iter().map(|&word| word.to_owned()).collect();
        // GRUB refuses an item without a title.
        let Some(title) = arguments.first().cloned() else {
            self.succeeded = false;
            return Flow::Next;
        };
        let id = options.value("id").map_or_else(|| title.clone(), str::to_owned);
        let source = format!("{}: {title}", self.file);
        self.add(Item { source, names: vec![title, id], arguments, is_submenu, body: body.clone() })
    }

    pub(super) fn add(&mut self, item: Item) -> Flow {
        self.items += 1;
        if self.items > ITEM_LIMIT {
            return Flow::Stopped("its menu has too many entries");
        }
        self.menu.items.push(item);
        self.succeeded = true;
        Flow::Next
    }

    /// Words with their variables replaced.
    fn expand(&mut self, words: &[Word]) -> Result<Vec<String>, Flow> {
        let status = if self.succeeded { "0" } else { "1" };
        let values = expand::Values { variables: &self.menu.variables, arguments: &self.arguments, status };
        let words = expand::expand(words, &values)
            .map_err(|TooMuch| Flow::Stopped("one of its lines is too long"))?;
        let len = words.iter().map(|word| word.len() + 1).sum();
        self.charge(len).map_or(Ok(words), Err)
    }

    /// Counts a step that handles so many bytes.
    pub(super) fn charge(&mut self, len_bytes: usize) -> Option<Flow> {
        self.steps += 1 + len_bytes / BYTES_A_STEP;
        (self.steps > STEP_LIMIT).then_some(Flow::Stopped("it goes on for too long"))
    }

    /// Sets a variable, or stops.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Option<Flow> {
        if name == "root" {
            self.lost_root = None;
        }
        let set = self.menu.variables.set(name, value);
        set.err().map(|TooMuch| Flow::Stopped("it has too many variables, or one that is too long"))
    }
}

/// What a turn of a loop leads to: nothing when the next one begins.
fn after_turn(flow: Flow) -> Option<Flow> {
    match flow {
        Flow::Next | Flow::Continue(..=1) => None,
        Flow::Break(..=1) => Some(Flow::Next),
        Flow::Break(loops) => Some(Flow::Break(loops - 1)),
        Flow::Continue(loops) => Some(Flow::Continue(loops - 1)),
        flow => Some(flow),
    }
}
