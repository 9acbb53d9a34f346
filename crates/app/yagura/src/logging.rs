//! How much is logged: errors, unless `--log` or `YAGURA_LOG` asks for more.

use anyhow::Context;
use vm_spec::BadValue;
use yagura_vmm::logging::LevelFilter;

/// Names the level where the command line does not.
const VARIABLE: &str = "YAGURA_LOG";

/// The level that was asked for, or the environment's.
pub fn level(asked: Option<LevelFilter>) -> anyhow::Result<LevelFilter> {
    asked.map_or_else(|| level_of(std::env::var(VARIABLE).ok().as_deref()), Ok)
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
