//! `yagura run --image debian/12` where there is no image yet: from its name to a shell, and once more with the disk
//! that the first machine left, at last with a panic that ends the monitor.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::demo::{END_SECONDS, LOGIN_SECONDS, PROMPT};
use crate::lab::console::Console;
use crate::{packages, process, progress, workspace};

/// Its name.
pub const NAME: &str = "image";
/// A line about it.
pub const ABOUT: &str =
    "debian/12 from nothing to a shell, configured by user data; its disk a second time; a panic";

const USER_DATA: &str = "#cloud-config\npassword: open\nchpasswd: {expire: false}\nwrite_files:\n  \
    - {path: /etc/motd, content: \"it's here\\n\"}\nruncmd:\n  - touch /var/lib/late\n";

/// Builds the image, and boots an instance of it three times.
pub fn hold() -> Result<()> {
    packages::require(&[packages::BUILD, packages::GUESTS, packages::JOBS])?;
    let yagura = workspace::build_yagura()?;
    let folder = tempfile::tempdir()?;
    let user_data = folder.path().join("user-data.yaml");
    fs::write(&user_data, USER_DATA)?;
    let step = progress::step("debian/12, from its name to a shell");
    let user_data = user_data.display().to_string();
    let checks: &[(&str, &str)] = &[
        ("hostname", "web1"),
        ("cat /etc/motd", "it's here"),
        ("df --output=size -BG / | tail -1 | tr -d ' '", "8G"),
        ("while [ ! -e /var/lib/late ]; do sleep 1; done; echo late", "late"),
        ("systemctl is-system-running --wait", "running"),
        ("echo kept >/var/lib/kept; sync", ""),
    ];
    boot(&yagura, folder.path(), &["--user-data", &user_data, "--disk-size", "8G"], checks, SWITCHED_OFF)?;
    step.done();
    let step = progress::step("the same instance again");
    boot(
        &yagura,
        folder.path(),
        &[],
        &[("cat /var/lib/kept", "kept"), ("ls /run/first-boot 2>&1 | wc -l", "1")],
        SWITCHED_OFF,
    )?;
    step.done();
    let step = progress::step("the same instance, whose kernel panics");
    // udev has loaded the driver that tells of it.
    let checks: &[(&str, &str)] = &[("lsmod | grep -c ^pvpanic_mmio", "1")];
    boot(&yagura, folder.path(), &["--on-panic", "exit"], checks, PANICKED)?;
    step.done();
    Ok(())
}

/// How a life of the instance ends: what is typed, and the monitor's exit status.
type Ending = (&'static str, i32);

const SWITCHED_OFF: Ending = ("poweroff\n", 0);
const PANICKED: Ending = ("echo c >/proc/sysrq-trigger\n", 12);

/// One life of the instance: somebody logs in, looks, and ends it.
fn boot(
    yagura: &Path,
    place: &Path,
    arguments: &[&str],
    checks: &[(&str, &str)],
    (last, expected_status): Ending,
) -> Result<()> {
    let started = Instant::now();
    let mut command = process::bound_to_us(yagura);
    command.args(["run", "--image", "debian/12", "--name", "web1", "--engine", "soft", "--net", "none"]);
    command.args(arguments).env("YAGURA_DIR", place.join("store")).env("HOME", place);
    let mut child = process::Ended::of(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
    let output = child.stdout.take().context("the guest has no output")?;
    let input = child.stdin.take().context("the guest has no input")?;
    let mut console = Console::over(output, input);
    console.expect("login: ", Duration::from_secs(LOGIN_SECONDS))?;
    println!("login prompt after {:.1} s", started.elapsed().as_secs_f64());
    let patience = Duration::from_secs(END_SECONDS);
    console.send("debian\n")?;
    console.expect("Password: ", patience)?;
    console.send("open\n")?;
    console.expect(":~$", patience)?;
    console.send("sudo -i\n")?;
    console.expect(PROMPT, patience)?;
    for (line, expected) in checks {
        let printed = console.command(line, patience)?;
        ensure!(printed.trim() == *expected, "`{line}` printed {printed:?}, not {expected:?}");
    }
    console.send(last)?;
    console.expect_end(patience)?;
    let status = child.wait()?;
    ensure!(status.code() == Some(expected_status), "the monitor ended with {status}");
    Ok(())
}
