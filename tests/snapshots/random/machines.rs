//! Machines that run, and what becomes of them.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::World;
use super::guest::Guest;
use super::link::Link;
use super::saved::Saved;
use super::subject::Subject;
use crate::monitor::Monitor;

/// Most machines at a time.
const MACHINES: usize = 3;

/// A machine that runs, and what is known of its guest.
pub struct Machine<S> {
    pub name: String,
    pub guest: Guest,
    pub subject: S,
    /// Its network, which ends with it.
    _link: Option<Link>,
}

fn yagura(link: Option<&Link>) -> Command {
    link.map_or_else(|| Command::new(env!("CARGO_BIN_EXE_yagura")), Link::command)
}

impl<S: Subject> World<S> {
    pub fn any_machine(&mut self) -> usize {
        self.random.below(self.machines.len())
    }

    /// A machine that is powered on cold.
    pub fn begin(&mut self) {
        let (name, link) = (self.name("v"), S::link());
        let (guest, subject) = S::start(yagura(link.as_ref()), &self.place, self.engine, &name);
        self.machines.push(Machine { name, guest, subject, _link: link });
    }

    pub fn prove(&mut self) {
        for Machine { name, guest, subject, .. } in &mut self.machines {
            subject.work(guest, &mut self.random);
            subject.prove(guest, name);
        }
    }

    pub fn idle(&mut self) {
        std::thread::sleep(Duration::from_millis(self.random.below(100) as u64));
    }

    /// A machine goes back to a snapshot of its own.
    pub fn put_back(&mut self) {
        let machine = self.any_machine();
        let own = self.own(&self.machines[machine].name);
        if own.is_empty() {
            return;
        }
        let Saved { vm, name, subject } = &self.saved[own[self.random.below(own.len())]];
        self.patiently(&format!("snapshot restore {vm} {name}"));
        self.machines[machine].subject = subject.clone();
    }

    /// Any snapshot, and a name for who goes on from it, if there is one and room.
    fn source(&mut self) -> Option<(usize, String)> {
        let is_possible = !self.saved.is_empty() && self.machines.len() < MACHINES;
        is_possible.then(|| (self.random.below(self.saved.len()), self.name("v")))
    }

    /// Another machine goes on from a snapshot of any.
    pub fn go_on(&mut self) {
        let Some((saved, name)) = self.source() else { return };
        let (saved, link) = (&self.saved[saved], S::link());
        let arguments = ["--restore", &saved.id(), "--name", &name];
        let folder = tempfile::tempdir().unwrap();
        let command = yagura(link.as_ref());
        let monitor = Monitor::start_by(command, folder, &self.place.folder(), self.engine, &arguments);
        let subject = saved.subject.clone();
        self.machines.push(Machine { name, guest: Guest::Child(monitor), subject, _link: link });
    }

    /// The same as an instance that outlives the command.
    pub fn clone_one(&mut self) {
        let Some((saved, name)) = self.source().filter(|_| S::CAN_BE_CLONED) else { return };
        let (saved, link) = (&self.saved[saved], S::link());
        let console = self.place.0.path().join(format!("console-{name}"));
        let engine = self.engine.name();
        let mut command = yagura(link.as_ref());
        command.env("YAGURA_DIR", self.place.folder()).args([
            "clone",
            &saved.id(),
            &name,
            "--engine",
            engine,
        ]);
        command.arg("--console").arg(format!("socket={}", console.display()));
        let done = command.stdin(Stdio::null()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let pid = self.place.info(&name)["pid"].as_u64().unwrap();
        let (guest, subject) = (Guest::of_clone(&console, pid), saved.subject.clone());
        self.machines.push(Machine { name, guest, subject, _link: link });
    }

    pub fn kill(&mut self) {
        let machine = self.any_machine();
        self.remove(machine);
    }

    /// Kills a machine, and removes what it has.
    pub fn remove(&mut self, machine: usize) {
        self.machines[machine].guest.kill();
        self.forget(machine);
    }

    /// Removes what a machine had that was killed.
    pub fn forget(&mut self, machine: usize) {
        let Machine { name, .. } = self.machines.swap_remove(machine);
        if self.place.folder().join("restored").join(&name).exists() {
            self.patiently(&format!("delete {name}"));
        }
    }

    pub fn reset(&mut self) {
        let machine = self.any_machine();
        let Machine { name, guest, subject, .. } = &mut self.machines[machine];
        self.place.good(&format!("reset {name}"));
        subject.after_reset(guest);
    }
}
