//! The tiers of the engine on processors that this machine does not have: QEMU's, by its user emulation. The translator
//! uses the host's instructions, so that this compares the interpreter with that processor, too.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::io::ErrorKind;
use std::process::Command;

/// QEMU's user emulation.
const EMULATOR: &str = "qemu-x86_64";
/// Cases of each form.
const CASES: &str = "5";
/// What of QEMU's own is known to be otherwise than manuals say.
const KNOWN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/qemu_user_differs.txt");

fn compare_on(model: &str) {
    let fuzz = env!("CARGO_BIN_EXE_isa_fuzz");
    let mut command = Command::new(EMULATOR);
    command.args(["-cpu", model, fuzz, "--tiers", "--cases", CASES, "--known", KNOWN]);
    let output = match command.output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("SKIPPED: {EMULATOR} is missing (Debian package qemu-user)");
            return;
        }
        output => output.expect("QEMU starts"),
    };
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{told}");
    assert!(output.status.success(), "on {model}: {}\n{errors}", output.status);
    assert!(told.contains("forms covered"), "on {model}: {errors}");
}

/// One without any of the later extensions.
#[test]
fn the_tiers_do_the_same_on_the_oldest_processor() {
    compare_on("qemu64");
}

/// One with all that QEMU has.
#[test]
fn the_tiers_do_the_same_on_the_newest_processor() {
    compare_on("max");
}
