//! A guest that goes on elsewhere: another engine, by the commands that a person types.

use super::net::{HOST, TAP, configure, tap};
use super::{Job, Lab, MONITOR, Outcome};
use crate::lab::guest::{Guest, status};
use crate::process;
use anyhow::{Result, ensure};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;

/// This theme's jobs.
pub const JOBS: &[Job] = &[Job {
    name: "across-engines",
    about: "Debian from the software engine to KVM and back, its processes and a TCP connection alive",
    limit_seconds: 900,
    run: across_engines,
    ..MONITOR
}];

/// Prints when the shell's process that sleeps was started, after the kernel was (proc(5)).
const BEGAN: &str = "cut -d ' ' -f 22 /proc/$sleeper/stat";

fn across_engines(lab: &Lab) -> Result<Outcome> {
    tap()?;
    let listener = TcpListener::bind((HOST, 0))?;
    let port = listener.local_addr()?.port();
    // It ends with the job's process.
    thread::spawn(move || listener.accept().and_then(|(connection, _)| answer(connection)));

    let mut guest = lab
        .setup("web1")?
        .engine("soft")
        .plain_command_line()
        .debian()?
        .with(&["--memory", "512M", "--net", &format!("tap={TAP}")])
        .start()?;
    guest.log_in()?;
    configure(&mut guest, "$(ls /sys/class/net | grep -v lo)")?;
    guest.command(&format!("exec 3<>/dev/tcp/{HOST}/{port}; kept=word; sleep 1000000 & sleeper=$!"))?;
    asks(&mut guest, "on the software engine")?;
    let began = guest.command(BEGAN)?;

    let moves = [("web1", "web2", "kvm"), ("web2", "web3", "soft"), ("web3", "web4", "kvm")];
    for (from, to, engine) in moves {
        yagura(lab, &["snapshot", "create", from, "here"])?;
        yagura(lab, &["stop", "--force", from])?;
        guest.wait()?;
        guest = lab.restored(to, &format!("{from}/here"), engine)?;
        asks(&mut guest, &format!("as {to} under {engine}"))?;
        ensure!(guest.command(BEGAN)? == began, "another process than before");
        ensure!(guest.command("echo $kept")? == "word", "the shell has forgotten");
        guest.command("cat /usr/bin/* | sha256sum")?;
        let trouble = guest.command("dmesg | grep -iE 'call trace|bug:|lockup|stall|unstable' || true")?;
        ensure!(trouble.is_empty(), "as {to} under {engine} the guest's kernel says: {trouble}");
    }
    guest.console.send("systemctl poweroff\n")?;
    guest.ended_with(status::SHUTDOWN)?;
    Ok(Outcome::Passed)
}

/// Sends each line back.
fn answer(mut connection: TcpStream) -> std::io::Result<()> {
    for line in BufReader::new(connection.try_clone()?).lines() {
        writeln!(connection, "answer to: {}", line?)?;
    }
    Ok(())
}

/// A line goes by the connection of the guest's shell, and is answered.
fn asks(guest: &mut Guest, line: &str) -> Result<()> {
    let answer = guest.command(&format!("echo '{line}' >&3; read -t 15 -u 3 answer; echo $answer"))?;
    ensure!(answer == format!("answer to: {line}"), "the connection says {answer:?} {line}");
    Ok(())
}

fn yagura(lab: &Lab, arguments: &[&str]) -> Result<()> {
    process::run(Command::new(lab.yagura_with_cloud()?).args(arguments).env("YAGURA_DIR", lab.yagura_dir()))
}
