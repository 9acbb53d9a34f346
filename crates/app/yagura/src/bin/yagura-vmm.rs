//! `yagura-vmm`: the process of one VM. `yagura run` becomes it.

use std::process::ExitCode;

fn main() -> ExitCode {
    yagura_vmm::main()
}
