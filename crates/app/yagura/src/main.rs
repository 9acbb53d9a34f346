//! `yagura`: the one command that a person types.

use std::process::ExitCode;

fn main() -> ExitCode {
    yagura::typed()
}
