//! A program that is nothing but the confined child.

use std::process::ExitCode;

fn main() -> ExitCode {
    image_import::child_main()
}
