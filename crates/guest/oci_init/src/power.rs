//! The power button asks the command to end; the command's end is the machine's.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use oci_init::{EXIT_PORT_PARAMETER, StopSignal};
use rustix::mount::{MountFlags, mount_remount};
use rustix::system::{RebootCommand, reboot};

use crate::{say, tool};

/// How long a command may take to end, as Docker has it.
const GRACE: Duration = Duration::from_secs(10);
/// `struct input_event` of 64-bit Linux (`linux/input.h`), and what a pressed power button looks like in one.
const EVENT_BYTES: usize = 24;
const EV_KEY: u16 = 1;
const KEY_POWER: u16 = 116;
const PRESSED: i32 = 1;
const KILL: u8 = 9;

/// From now on the power button sends the signal to process `pid`, and SIGKILL when that does not help.
pub fn watch_button(pid: u32, stop: StopSignal) {
    for path in input_devices() {
        let Ok(mut device) = File::open(path) else { continue };
        let watch = move || {
            let mut event = [0; EVENT_BYTES];
            while device.read_exact(&mut event).is_ok() {
                if is_press(&event) {
                    send(stop.number(), pid);
                    std::thread::sleep(GRACE);
                    send(KILL, pid);
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().spawn(watch) {
            say(&format!("the power button cannot be watched: {error}"));
        }
    }
}

fn input_devices() -> impl Iterator<Item = PathBuf> {
    let files = std::fs::read_dir("/dev/input").into_iter().flatten().flatten();
    files.filter(|entry| entry.file_name().to_string_lossy().starts_with("event")).map(|entry| entry.path())
}

fn is_press(event: &[u8; EVENT_BYTES]) -> bool {
    let word = |at: usize| u16::from_ne_bytes([event[at], event[at + 1]]);
    let value = i32::from_ne_bytes([event[20], event[21], event[22], event[23]]);
    (word(16), word(18), value) == (EV_KEY, KEY_POWER, PRESSED)
}

fn send(signal: u8, pid: u32) {
    let _ = tool("kill").args([format!("-{signal}"), pid.to_string()]).status();
}

/// Ends the machine with this exit status, or without one where the monitor takes none.
pub fn end(status: u8, port: Option<u16>) -> ! {
    rustix::fs::sync();
    // A clean file system has nothing to be mended at the next start.
    let _ = mount_remount("/", MountFlags::RDONLY, c"");
    if let Some(port) = port {
        let _ = host_sys::io_port::write_byte(port, status);
    }
    let _ = reboot(RebootCommand::PowerOff);
    loop {
        std::thread::sleep(GRACE);
    }
}

/// The port that takes the exit status, where the monitor has named one.
pub fn exit_port() -> Option<u16> {
    let cmdline = std::fs::read_to_string("/proc/cmdline").ok()?;
    let port = cmdline.split_whitespace().find_map(|word| word.strip_prefix(EXIT_PORT_PARAMETER))?;
    u16::from_str_radix(port.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pressed_power_button_counts() {
        let event = |kind: u16, code: u16, value: i32| {
            let mut event = [0xff; EVENT_BYTES];
            event[16..18].copy_from_slice(&kind.to_ne_bytes());
            event[18..20].copy_from_slice(&code.to_ne_bytes());
            event[20..].copy_from_slice(&value.to_ne_bytes());
            event
        };
        assert!(is_press(&event(1, 116, 1)));
        for (kind, code, value) in [(0, 0, 0), (1, 116, 0), (1, 116, 2), (1, 30, 1), (5, 116, 1)] {
            assert!(!is_press(&event(kind, code, value)), "{kind} {code} {value}");
        }
    }
}
