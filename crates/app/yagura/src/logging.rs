//! Logs on stderr: errors, unless `--log` or `YAGURA_LOG` asks for more.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::filter::LevelFilter;
use vm_spec::BadValue;

/// Names the level where the command line does not.
const VARIABLE: &str = "YAGURA_LOG";

/// Starts logging from `asked` on. Called once.
pub fn start(asked: Option<LevelFilter>) -> anyhow::Result<()> {
    let level = match asked {
        Some(level) => level,
        None => level_of(std::env::var(VARIABLE).ok().as_deref())?,
    };
    if level == LevelFilter::OFF {
        return Ok(());
    }
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .try_init()
        .map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))
        .context("this is a mistake in yagura")
}

fn level_of(variable: Option<&str>) -> anyhow::Result<LevelFilter> {
    let text = variable.filter(|text| !text.is_empty());
    text.map_or(Ok(LevelFilter::ERROR), parse_level)
        .with_context(|| format!("environment variable {VARIABLE}"))
}

/// A level as a person types it.
pub fn parse_level(text: &str) -> Result<LevelFilter, BadValue> {
    let hint = "write off, error, warn, info, debug or trace";
    text.parse().map_err(|_| BadValue(format!("'{text}' is not a log level; {hint}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_logged_unless_told_otherwise() {
        assert_eq!(level_of(None).unwrap(), LevelFilter::ERROR);
        assert_eq!(level_of(Some("debug")).unwrap(), LevelFilter::DEBUG);
        assert_eq!(level_of(Some("off")).unwrap(), LevelFilter::OFF);
        let error = format!("{:#}", level_of(Some("loud")).unwrap_err());
        assert!(error.starts_with("environment variable YAGURA_LOG: 'loud' is not a log level"), "{error}");
    }
}
