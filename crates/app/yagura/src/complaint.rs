//! Errors as a person sees them: one line on stderr, `yagura: WHAT: WHY; WHAT TO DO`.

use std::error::Error;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use messages::in_words;
use yagura_vmm::{FAILED, say};

use crate::images::without_store_paths;

/// The command line cannot be understood.
const USAGE: u8 = 2;

/// Prints an error with all its causes.
pub fn about_failure(error: &anyhow::Error) -> ExitCode {
    tell(error);
    ExitCode::from(FAILED)
}

fn tell(error: &anyhow::Error) {
    say(&without_store_paths(&in_words(&**error)));
}

/// Prints an error of a verb on images or instances; the status says what kind of failure it is.
pub fn by_class(answer: anyhow::Result<u8>) -> u8 {
    answer.unwrap_or_else(|error| {
        tell(&error);
        crate::verbs::status_of_error(&error)
    })
}

/// Prints what clap found, which may be help that was asked for.
pub fn about_command_line(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
        }
        ErrorKind::InvalidUtf8 => {
            say("an argument is not text in UTF-8; of other bytes only names of files can be");
        }
        ErrorKind::UnknownArgument if size_behind_path(error).is_some() => {
            say(&size_behind_path(error).unwrap_or_default());
        }
        _ => say(&bad_value(error).unwrap_or_else(|| shortened(&error.render().to_string()))),
    }
    ExitCode::from(USAGE)
}

/// A value that is refused says itself why.
fn bad_value(error: &clap::Error) -> Option<String> {
    let reason = error.source()?;
    let argument = error.get(ContextKind::InvalidArg)?;
    Some(format!("{argument}: {reason}"))
}

/// `disk create FILE 50`, as other programs have it.
fn size_behind_path(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return None };
    let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) else { return None };
    let is_create = usage.to_string().contains("disk create");
    let is_size = argument.starts_with(|c: char| c.is_ascii_digit());
    let unit = if argument.bytes().all(|byte| byte.is_ascii_digit()) { "G" } else { "" };
    (is_create && is_size).then(|| {
        format!("unexpected argument '{argument}'; if it is the disk's size, did you mean --size {argument}{unit}?")
    })
}

/// clap's paragraphs without usage and decoration, as clauses of one line.
fn shortened(rendered: &str) -> String {
    let (paragraphs, usage) = rendered.split_once("Usage:").unwrap_or((rendered, "yagura"));
    let clauses = paragraphs
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
        .map(|line| line.trim_start_matches("error: ").trim_start_matches("tip: "));
    let mut text = String::new();
    for clause in clauses {
        let joint = if text.is_empty() || text.ends_with(':') { " " } else { "; " };
        text.push_str(joint);
        text.push_str(clause);
    }
    // The usage starts with the command that was understood.
    let usage = usage.lines().next().unwrap_or("");
    let words = usage.split_ascii_whitespace().take_while(|word| word.starts_with(char::is_alphabetic));
    let command: Vec<&str> = words.collect();
    format!("{}; see '{} --help'", text.trim_start(), command.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usage_error_becomes_one_line() {
        let unknown = "error: unexpected argument '--memry' found\n\n  tip: a similar argument exists: \
                       '--memory'\n\nUsage: yagura run\n\nFor more information, try '--help'.\n";
        assert_eq!(
            shortened(unknown),
            "unexpected argument '--memry' found; a similar argument exists: '--memory'; see 'yagura run --help'"
        );
        let missing = "error: the following required arguments were not provided:\n  --kernel <FILE>\n";
        assert!(
            shortened(missing).starts_with("the following required arguments were not provided: --kernel")
        );
    }
}
