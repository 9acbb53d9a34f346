//! Snapshots, and what becomes of them.

use std::process::Child;
use std::time::Duration;

use super::World;
use super::machines::Machine;
use super::subject::Subject;

/// A snapshot, and what is known of the guest in it.
pub struct Saved<S> {
    pub vm: String,
    pub name: String,
    pub subject: S,
}

impl<S> Saved<S> {
    pub fn id(&self) -> String {
        format!("{}/{}", self.vm, self.name)
    }
}

impl<S: Subject> World<S> {
    /// Which snapshots are of this VM.
    pub fn own(&self, vm: &str) -> Vec<usize> {
        (0..self.saved.len()).filter(|saved| self.saved[*saved].vm == vm).collect()
    }

    /// Of a machine that runs or is paused, compressed or not, by itself or upon another.
    pub fn save(&mut self) {
        let machine = self.any_machine();
        self.save_one(machine);
    }

    fn save_one(&mut self, machine: usize) {
        let name = self.name("s");
        let (paused, compress) = (self.random.below(4) == 0, self.random.below(3) == 0);
        let Machine { name: vm, subject, .. } = &self.machines[machine];
        let (vm, subject) = (vm.clone(), subject.clone());
        let mut command = format!("snapshot create {vm} {name}");
        let own = self.own(&vm);
        if !own.is_empty() && self.random.below(2) == 0 {
            let base = &self.saved[own[self.random.below(own.len())]];
            command += &format!(" --base {}", base.name);
        }
        if compress {
            command += " --compress";
        }
        if paused {
            self.place.good(&format!("pause {vm}"));
        }
        self.patiently(&command);
        if paused {
            self.place.good(&format!("resume {vm}"));
        }
        self.saved.push(Saved { vm, name, subject });
    }

    /// Whoever made a snapshot of this machine and was killed may have left the machine at it; and a process that was killed
    /// is not gone at once.
    pub fn patiently(&self, command: &str) {
        for _ in 0..200 {
            let (status, said) = self.place.ask(command);
            match status {
                0 => return,
                4 if said.contains("is being made") || said.contains("runs; stop it first") => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                _ => panic!("{command}: {said}"),
            }
        }
        panic!("{command}: busy for ever");
    }

    fn begun(&mut self, command: &str) -> Child {
        let child = self.place.command(command).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(self.random.below(80) as u64));
        child
    }

    /// The command, or the machine, is killed while a snapshot is made: it is there, whole, or it is not.
    pub fn kill_while_saving(&mut self) {
        let (machine, name) = (self.any_machine(), self.name("s"));
        let Machine { name: vm, subject, .. } = &self.machines[machine];
        let made = Saved { vm: vm.clone(), name, subject: subject.clone() };
        let mut creating = self.begun(&format!("snapshot create {} {}", made.vm, made.name));
        if self.random.below(2) == 0 {
            creating.kill().unwrap();
            creating.wait().unwrap();
            // What it has left goes with the next one, when the machine is done with it.
            self.save_one(machine);
        } else {
            self.machines[machine].guest.kill();
            creating.wait().unwrap();
            self.forget(machine);
        }
        self.keep_if_there(made);
    }

    fn keep_if_there(&mut self, saved: Saved<S>) {
        let id = saved.id();
        if self.place.snapshot(&id).exists() {
            assert_eq!(self.place.ask(&format!("snapshot info {id}")).0, 0, "{id}");
            self.saved.push(saved);
        }
    }

    /// A snapshot builds upon nothing any more, or whoever was to see to that is killed.
    pub fn flatten(&mut self) {
        if self.saved.is_empty() {
            return;
        }
        let id = self.saved[self.random.below(self.saved.len())].id();
        let command = format!("snapshot flatten {id}");
        if self.random.below(2) == 0 {
            self.place.done(&command);
            let info = self.place.json(&format!("snapshot info {id} --json"));
            assert_eq!(info["base"], serde_json::Value::Null, "{id}");
        } else {
            let mut flattening = self.begun(&command);
            flattening.kill().unwrap();
            flattening.wait().unwrap();
        }
    }

    /// A snapshot goes into a file, and comes back by another name, unless whoever brings it is killed.
    pub fn carry(&mut self) {
        if self.saved.is_empty() {
            return;
        }
        let name = self.name("s");
        let saved = &self.saved[self.random.below(self.saved.len())];
        let copy = Saved { vm: saved.vm.clone(), name, subject: saved.subject.clone() };
        let file = self.place.0.path().join("archive");
        self.place.done(&format!("snapshot export {} {}", saved.id(), file.display()));
        let mut importing = self.begun(&format!("snapshot import {} {}", file.display(), copy.id()));
        let is_killed = self.random.below(2) == 0;
        if is_killed {
            importing.kill().unwrap();
        }
        let status = importing.wait().unwrap();
        assert!(is_killed || status.success(), "{}", copy.id());
        std::fs::remove_file(file).unwrap();
        self.keep_if_there(copy);
    }

    /// What others build upon stays, and a line says so.
    pub fn delete(&mut self) {
        if self.saved.is_empty() {
            return;
        }
        let saved = self.random.below(self.saved.len());
        if self.delete_one(saved) {
            self.saved.swap_remove(saved);
        }
    }

    fn delete_one(&self, saved: usize) -> bool {
        let id = self.saved[saved].id();
        for _ in 0..200 {
            let (status, said) = self.place.ask(&format!("snapshot delete {id}"));
            match status {
                0 => return true,
                1 if said.contains("was restored from it") || said.contains("what differs from it") => {
                    return false;
                }
                4 => std::thread::sleep(Duration::from_millis(50)),
                _ => panic!("{id}: {said}"),
            }
        }
        panic!("{id}: busy for ever");
    }

    pub fn delete_all(&mut self) {
        while !self.saved.is_empty() {
            let before = self.saved.len();
            for saved in (0..before).rev() {
                if self.delete_one(saved) {
                    self.saved.swap_remove(saved);
                }
            }
            assert!(self.saved.len() < before, "snapshots are kept that nobody builds upon");
        }
    }
}
