//! Several guests at once: each is a process of its own, and the kernel's tools work on it.

use super::{Job, Lab, MONITOR, Outcome};
use crate::lab::guest::Guest;
use crate::process;
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use std::process::Command;

/// This theme's jobs.
pub const JOBS: &[Job] = &[
    Job {
        name: "three-guests",
        about: "three guests at once, one killed, two go on",
        quick: true,
        limit_seconds: 150,
        run: three,
        ..MONITOR
    },
    Job {
        name: "control",
        about: "state, pause, resume and counters by the control socket",
        run: control,
        ..MONITOR
    },
    Job {
        name: "cgroup",
        about: "a control group holds a guest's processor time",
        limit_seconds: 90,
        run: cgroup,
        ..MONITOR
    },
];

const NAMES: [&str; 3] = ["one", "two", "three"];

fn three(lab: &Lab) -> Result<Outcome> {
    let start = |name: &&str| lab.setup(name)?.with(&["--memory", "192M"]).start();
    let mut guests = NAMES.iter().map(start).collect::<Result<Vec<Guest>>>()?;
    for guest in &mut guests {
        guest.ready()?;
        let name = guest.name.clone();
        guest.command(&format!("echo {name} >/name"))?;
        let title =
            process::output(Command::new("ps").args(["-o", "args=", "-p", &guest.pid().to_string()]))?;
        ensure!(title.trim().starts_with(&format!("yagura: {name}")), "ps shows {title}");
    }
    let mut killed = guests.pop().context("no guests")?;
    killed.signal(Signal::KILL)?;
    killed.wait()?;
    for guest in &mut guests {
        guest.is_running()?;
        ensure!(guest.command("cat /name")? == guest.name, "{} is another guest now", guest.name);
        guest.power_off()?;
    }
    Ok(Outcome::Passed)
}

fn control(lab: &Lab) -> Result<Outcome> {
    let mut guest = lab.setup("control")?.start()?;
    guest.ready()?;
    let state = guest.control.get("/state")?;
    ensure!(state["state"] == "running", "the state is {state}");
    guest.control.put("/pause")?;
    let state = guest.control.get("/state")?;
    ensure!(state["state"] == "paused", "the state is {state}");
    guest.console.send("echo typed while paused\n")?;
    let silent = guest.console.expect("typed while paused", std::time::Duration::from_millis(500)).is_err();
    ensure!(silent, "a paused guest answered");
    guest.control.put("/resume")?;
    guest.console.expect("typed while paused", lab.limit(10))?;
    guest.command("true")?;
    let counters = guest.control.get("/counters")?;
    ensure!(counters.as_object().is_some_and(|object| !object.is_empty()), "the counters are {counters}");
    guest.control.put("/power-button")?;
    guest.ended_with(crate::lab::guest::status::SHUTDOWN)?;
    Ok(Outcome::Passed)
}

fn cgroup(lab: &Lab) -> Result<Outcome> {
    let group = std::path::Path::new("/sys/fs/cgroup/held");
    // The job itself is in a group of its own; the controller is handed down from the root.
    std::fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+cpu +memory")?;
    std::fs::create_dir_all(group)?;
    let mut guest = lab.setup("held")?.start()?;
    guest.ready()?;
    std::fs::write(group.join("cgroup.procs"), guest.pid().to_string())?;
    std::fs::write(group.join("cpu.max"), "20000 100000")?;
    guest.console.send("(while :; do :; done) &\n")?;
    let usage = || -> Result<u64> {
        let text = std::fs::read_to_string(group.join("cpu.stat"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
        Ok(line.context("cpu.stat holds no usage")?.parse()?)
    };
    let before = usage()?;
    std::thread::sleep(std::time::Duration::from_secs(5));
    let used_percent = (usage()? - before) / 50_000;
    ensure!(
        (5..=35).contains(&used_percent),
        "the guest used {used_percent} % of a processor, was allowed 20 %"
    );
    std::fs::write(group.join("cgroup.kill"), "1")?;
    guest.wait()?;
    Ok(Outcome::Passed)
}
