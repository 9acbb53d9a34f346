//! `yagura run --image debian/12` where there is no image yet: from its name to a shell, and once more with the disk
//! that the first machine left, at last with a panic that ends the monitor.

use std::collections::BTreeSet;
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
    "debian/12 from nothing to a shell, configured by user data; its disk a second time; two clones; a panic";

const USER_DATA: &str = "#cloud-config\npassword: open\nchpasswd: {expire: false}\nwrite_files:\n  \
    - {path: /etc/motd, content: \"it's here\\n\"}\nruncmd:\n  - touch /var/lib/late\n";

const PATIENCE: Duration = Duration::from_secs(END_SECONDS);

/// Builds the image, boots an instance of it four times, and clones it once.
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
    boot(
        &yagura,
        folder.path(),
        &["--net", "none", "--user-data", &user_data, "--disk-size", "8G"],
        checks,
        SWITCHED_OFF,
    )?;
    step.done();
    let step = progress::step("the same instance again");
    boot(
        &yagura,
        folder.path(),
        &["--net", "none"],
        &[("cat /var/lib/kept", "kept"), ("ls /run/first-boot 2>&1 | wc -l", "1")],
        SWITCHED_OFF,
    )?;
    step.done();
    let step = progress::step("two clones of the same instance");
    clones(&yagura, folder.path())?;
    step.done();
    let step = progress::step("the same instance, whose kernel panics");
    // udev has loaded the driver that tells of it.
    let checks: &[(&str, &str)] = &[("lsmod | grep -c ^pvpanic_mmio", "1")];
    boot(&yagura, folder.path(), &["--net", "none", "--on-panic", "exit"], checks, PANICKED)?;
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
    let (mut child, mut console) = log_in(yagura, place, arguments)?;
    for (line, expected) in checks {
        let printed = console.command(line, PATIENCE)?;
        ensure!(printed.trim() == *expected, "`{line}` printed {printed:?}, not {expected:?}");
    }
    console.send(last)?;
    console.expect_end(PATIENCE)?;
    let status = child.wait()?;
    ensure!(status.code() == Some(expected_status), "the monitor ended with {status}");
    Ok(())
}

/// Two clones of the instance have names, machine ids and cards of their own.
fn clones(yagura: &Path, place: &Path) -> Result<()> {
    let (mut child, mut console) = log_in(yagura, place, &["--net", "unplugged"])?;
    let mut seen = vec![identity(&mut console, "web1")?];
    ask(yagura, place, "snapshot create web1 ready")?;
    let compared = compare(yagura, place, &mut seen);
    // They outlive who made them.
    let stopped = ask(yagura, place, "stop --force c1 c2");
    compared.and(stopped)?;
    for command in ["delete c1 c2", "snapshot delete web1/ready"] {
        ask(yagura, place, command)?;
    }
    console.send(SWITCHED_OFF.0)?;
    console.expect_end(PATIENCE)?;
    ensure!(child.wait()?.success(), "the first one was harmed");
    Ok(())
}

/// Makes the clones, and holds them against what was `seen`.
fn compare(yagura: &Path, place: &Path, seen: &mut Vec<[String; 2]>) -> Result<()> {
    let sockets = place.join("console-{name}");
    let clone = "clone web1/ready c1 c2 --engine soft --net unplugged --console";
    ask(yagura, place, &format!("{clone} socket={}", sockets.display()))?;
    for name in ["c1", "c2"] {
        let mut console = Console::at(&place.join(format!("console-{name}")), PATIENCE)?;
        console.send("\n")?;
        console.expect(PROMPT, PATIENCE)?;
        seen.push(identity(&mut console, name)?);
    }
    for (index, what) in ["machine ids", "addresses of cards"].into_iter().enumerate() {
        let different: BTreeSet<&String> = seen.iter().map(|lines| &lines[index]).collect();
        ensure!(different.len() == seen.len(), "two have the same {what}: {seen:?}");
    }
    Ok(())
}

/// Machine id and address of the card of a guest that has to be called `name`.
fn identity(console: &mut Console, name: &str) -> Result<[String; 2]> {
    let hostname = console.command("hostname; cat /etc/hostname", PATIENCE)?;
    ensure!(hostname.split_whitespace().eq([name, name]), "{name} is called {hostname:?}");
    let lines = ["cat /etc/machine-id", "cat /sys/class/net/e*/address"];
    let [machine_id, address] = lines.map(|line| console.command(line, PATIENCE));
    Ok([machine_id?.trim().to_owned(), address?.trim().to_owned()])
}

fn ask(yagura: &Path, place: &Path, command: &str) -> Result<()> {
    let mut process = process::bound_to_us(yagura);
    process.args(command.split_whitespace()).env("YAGURA_DIR", place.join("store"));
    ensure!(process.status()?.success(), "`yagura {command}` failed");
    Ok(())
}

/// Starts the instance, and becomes root there.
fn log_in(yagura: &Path, place: &Path, arguments: &[&str]) -> Result<(process::Ended, Console)> {
    let started = Instant::now();
    let mut command = process::bound_to_us(yagura);
    command.args(["run", "--image", "debian/12", "--name", "web1", "--engine", "soft"]);
    command.args(arguments).env("YAGURA_DIR", place.join("store")).env("HOME", place);
    let mut child = process::Ended::of(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
    let output = child.stdout.take().context("the guest has no output")?;
    let input = child.stdin.take().context("the guest has no input")?;
    let mut console = Console::over(output, input);
    console.expect("login: ", Duration::from_secs(LOGIN_SECONDS))?;
    println!("login prompt after {:.1} s", started.elapsed().as_secs_f64());
    console.send("debian\n")?;
    console.expect("Password: ", PATIENCE)?;
    console.send("open\n")?;
    console.expect(":~$", PATIENCE)?;
    console.send("sudo -i\n")?;
    console.expect(PROMPT, PATIENCE)?;
    Ok((child, console))
}
