//! `yagura-cloud`: what `yagura` becomes for everything but running a machine. Nobody types its name.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Nothing may have been opened, started or read before a child confines itself.
    if image_import::is_child(std::env::args_os()) {
        return image_import::child_main();
    }
    yagura::cloud()
}
