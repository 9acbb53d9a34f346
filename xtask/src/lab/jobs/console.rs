//! The virtio console as an unmodified driver uses it, beside the serial port on which the guest is told what to do.

use super::{Job, Lab, MONITOR, Outcome};
use crate::lab::console::Console;
use crate::lab::guest::{ANSWER_SECONDS, Guest};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::time::{Duration, Instant};

/// This theme's jobs.
pub const JOBS: &[Job] = &[
    Job {
        name: "virtio-console",
        about: "a shell on hvc0, by a unix socket, and a long text each way",
        quick: true,
        run: by_socket,
        ..MONITOR
    },
    Job {
        name: "virtio-console-file",
        about: "what the guest writes to hvc0 is in a file, byte by byte",
        run: to_file,
        ..MONITOR
    },
];

const POLL: Duration = Duration::from_millis(50);
/// Lines of the long texts: several times what the guest's terminal holds (4 KiB).
const LINES: u32 = 4_000;

fn to_file(lab: &Lab) -> Result<Outcome> {
    let file = lab.folder().join("hvc0");
    let mut guest = start(lab, &format!("file={}", file.display()))?;
    guest.slow_command(&format!("seq 1 {LINES} >&3"), lab.limit(ANSWER_SECONDS))?;
    let wanted = text();
    wait_for_size(&file, wanted.len() as u64, lab.limit(ANSWER_SECONDS))?;
    guest.power_off()?;
    let written = std::fs::read_to_string(&file)?;
    ensure!(
        written == wanted,
        "{} of {} bytes are as they were written",
        same(&written, &wanted),
        wanted.len()
    );
    Ok(Outcome::Passed)
}

fn by_socket(lab: &Lab) -> Result<Outcome> {
    let socket = lab.folder().join("hvc0");
    let limit = lab.limit(ANSWER_SECONDS);
    let mut guest = start(lab, &format!("socket={}", socket.display()))?;
    let mut console = Console::at(&socket, limit)?;
    guest.command("{ setsid sh <&3 >&3 2>&3 & }")?;
    ensure!(console.command("expr 6 \\* 7", limit)? == "42", "the shell on hvc0 did not answer");
    let refused = console.command("sh -c 'exit 3'", limit);
    ensure!(refused.is_err_and(|error| error.to_string().contains("status 3")), "a status was lost");
    let listed = console.command(&format!("seq 1 {LINES}"), limit)?;
    ensure!(listed == text().trim_end(), "{} bytes of {} came", same(&listed, &text()), text().len());
    console.send("exit\n")?;
    guest.command("wait")?;

    let sent = text();
    console.send(&sent)?;
    let inside = guest.slow_command(&format!("head -c {} <&3 | sha256sum", sent.len()), limit)?;
    let wanted = guest.slow_command(&format!("seq 1 {LINES} | sha256sum"), limit)?;
    ensure!(inside == wanted, "the guest read {inside}, {wanted} was sent");
    guest.power_off()?;
    console.expect_end(limit)?;
    Ok(Outcome::Passed)
}

/// A guest that has hvc0 open as descriptor 3, as a line that carries bytes and changes none.
fn start(lab: &Lab, place: &str) -> Result<Guest> {
    let mut guest = lab.setup("console")?.with(&["--virtio-console", place]).start()?;
    guest.ready()?;
    let bound = guest.command("ls /sys/bus/virtio/drivers/virtio_console")?;
    ensure!(bound.split_whitespace().any(|name| name.starts_with("virtio")), "the driver found no device");
    guest.command("exec 3<>/dev/hvc0 && stty raw -echo <&3")?;
    Ok(guest)
}

/// What `seq` writes.
fn text() -> String {
    (1..=LINES).map(|line| format!("{line}\n")).collect()
}

/// How many bytes are the same before the first that is not.
fn same(one: &str, other: &str) -> usize {
    one.bytes().zip(other.bytes()).take_while(|(left, right)| left == right).count()
}

fn wait_for_size(file: &Path, wanted: u64, limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        let size = std::fs::metadata(file).with_context(|| format!("no {}", file.display()))?.len();
        if size >= wanted {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{size} bytes came, wanted {wanted}");
        std::thread::sleep(POLL);
    }
}
