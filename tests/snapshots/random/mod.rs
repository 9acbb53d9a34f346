//! Random operations on machines that go on from one another, saved, put back, killed and reset: whatever comes, what each
//! guest has in its memory and on its disk is what it wrote, and in the end no file is left.
//!
//! Each test prints its seed; `YAGURA_RANDOM_SEED` gives it again. `YAGURA_RANDOM_STEPS` asks for more than the few steps that
//! belong to every run.

use std::path::PathBuf;
use std::time::Duration;

use crate::monitor::{Engine, Monitor, on_each_engine};
use crate::place::Place;
use crate::subject::{Disk, Memory, Random, Subject};

on_each_engine!(memory_on_one_vcpu, memory_on_two_vcpus, disks);

fn memory_on_one_vcpu(engine: Engine) {
    run::<Memory<1>>(engine, 14);
}

fn memory_on_two_vcpus(engine: Engine) {
    run::<Memory<2>>(engine, 14);
}

fn disks(engine: Engine) {
    run::<Disk>(engine, 14);
}

#[test]
#[ignore = "long"]
fn many_steps_in_software() {
    many_steps(Engine::Soft);
}

#[test]
#[ignore = "long"]
fn many_steps_under_kvm() {
    if !crate::monitor::skipped() {
        many_steps(Engine::Kvm);
    }
}

fn many_steps(engine: Engine) {
    run::<Memory<1>>(engine, 40);
    run::<Memory<2>>(engine, 40);
    run::<Memory<3>>(engine, 40);
    run::<Memory<4>>(engine, 40);
    run::<Disk>(engine, 40);
}

/// Most machines at a time.
const MACHINES: usize = 3;

/// A machine that runs, and what is known of its guest.
struct Machine<S> {
    name: String,
    monitor: Monitor,
    subject: S,
}

/// A snapshot, and what is known of the guest in it.
struct Saved<S> {
    vm: String,
    id: String,
    subject: S,
}

struct World<S> {
    engine: Engine,
    place: Place,
    random: Random,
    machines: Vec<Machine<S>>,
    saved: Vec<Saved<S>>,
    /// Machines and snapshots so far, for names.
    made: u32,
}

fn run<S: Subject>(engine: Engine, steps: u32) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("YAGURA_RANDOM_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let steps = number("YAGURA_RANDOM_STEPS").unwrap_or(u64::from(steps));
    println!("YAGURA_RANDOM_SEED={seed}: {steps} steps on {engine:?}");
    let mut world = World::<S> {
        engine,
        place: Place::new(),
        random: Random::new(seed),
        machines: Vec::new(),
        saved: Vec::new(),
        made: 0,
    };
    world.begin();
    for step in 0..steps {
        world.step(step);
        world.prove();
    }
    world.end();
}

impl<S: Subject> World<S> {
    fn step(&mut self, step: u64) {
        let what = self.random.below(12);
        println!("step {step}: {what}");
        match what {
            0 => self.idle(),
            1..=3 => self.save(),
            4 | 5 => self.put_back(),
            6 | 7 => self.go_on(),
            8 => self.kill(),
            9 => self.kill_while_saving(),
            10 => self.delete(),
            _ => self.reset(),
        }
        if self.machines.is_empty() {
            self.go_on();
        }
        if self.machines.is_empty() {
            self.begin();
        }
    }

    fn name(&mut self, prefix: &str) -> String {
        self.made += 1;
        format!("{prefix}{}", self.made)
    }

    fn any_machine(&mut self) -> usize {
        self.random.below(self.machines.len())
    }

    /// A machine that is powered on cold.
    fn begin(&mut self) {
        let name = self.name("v");
        let (monitor, subject) = S::start(&self.place, self.engine, &name);
        self.machines.push(Machine { name, monitor, subject });
    }

    fn prove(&mut self) {
        for Machine { name, monitor, subject } in &mut self.machines {
            subject.work(monitor, &mut self.random);
            subject.prove(monitor, name);
        }
    }

    fn idle(&mut self) {
        std::thread::sleep(Duration::from_millis(self.random.below(100) as u64));
    }

    /// Of a machine that runs or is paused, compressed or not.
    fn save(&mut self) {
        let machine = self.any_machine();
        self.save_one(machine);
    }

    fn save_one(&mut self, machine: usize) {
        let snapshot = self.name("s");
        let (paused, compress) = (self.random.below(4) == 0, self.random.below(3) == 0);
        let Machine { name, subject, .. } = &self.machines[machine];
        let (name, subject) = (name.clone(), subject.clone());
        if paused {
            self.place.good(&format!("pause {name}"));
        }
        let compress = if compress { " --compress" } else { "" };
        self.patiently(&format!("snapshot create {name} {snapshot}{compress}"));
        if paused {
            self.place.good(&format!("resume {name}"));
        }
        self.saved.push(Saved { id: format!("{name}/{snapshot}"), vm: name, subject });
    }

    /// Whoever made a snapshot of this machine and was killed may have left the machine at it.
    fn patiently(&self, command: &str) {
        for _ in 0..200 {
            let (status, said) = self.place.ask(command);
            match status {
                0 => return,
                4 if said.contains("is being made") => std::thread::sleep(Duration::from_millis(50)),
                _ => panic!("{command}: {said}"),
            }
        }
        panic!("{command}: busy for ever");
    }

    /// A machine goes back to a snapshot of its own.
    fn put_back(&mut self) {
        let machine = self.any_machine();
        let Machine { name, .. } = &self.machines[machine];
        let own: Vec<&Saved<S>> = self.saved.iter().filter(|saved| saved.vm == *name).collect();
        if own.is_empty() {
            return;
        }
        let Saved { id, subject, .. } = own[self.random.below(own.len())];
        let subject = subject.clone();
        self.patiently(&format!("snapshot restore {}", id.replace('/', " ")));
        self.machines[machine].subject = subject;
    }

    /// Another machine goes on from a snapshot of any.
    fn go_on(&mut self) {
        if self.saved.is_empty() || self.machines.len() >= MACHINES {
            return;
        }
        let (saved, name) = (self.random.below(self.saved.len()), self.name("v"));
        let Saved { id, subject, .. } = &self.saved[saved];
        let (monitor, subject) = (self.place.restored(self.engine, id, &name, &[]), subject.clone());
        self.machines.push(Machine { name, monitor, subject });
    }

    fn kill(&mut self) {
        let machine = self.any_machine();
        self.remove(machine);
    }

    /// Kills a machine, and removes what it has.
    fn remove(&mut self, machine: usize) {
        let Machine { name, mut monitor, .. } = self.machines.swap_remove(machine);
        monitor.signal("KILL");
        monitor.wait();
        if self.place.folder().join("restored").join(&name).exists() {
            self.place.good(&format!("delete {name}"));
        }
    }

    /// The command, or the machine, is killed while a snapshot is made: it is there, whole, or it is not.
    fn kill_while_saving(&mut self) {
        let (machine, snapshot) = (self.any_machine(), self.name("s"));
        let name = self.machines[machine].name.clone();
        let subject = self.machines[machine].subject.clone();
        let mut creating = self.place.command(&format!("snapshot create {name} {snapshot}")).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(self.random.below(80) as u64));
        if self.random.below(2) == 0 {
            creating.kill().unwrap();
            creating.wait().unwrap();
            // What it has left goes with the next one, when the machine is done with it.
            self.save_one(machine);
        } else {
            self.machines[machine].monitor.signal("KILL");
            creating.wait().unwrap();
            self.remove(machine);
        }
        let id = format!("{name}/{snapshot}");
        if self.place.snapshot(&id).exists() {
            assert_eq!(self.place.ask(&format!("snapshot info {id}")).0, 0, "{id}");
            self.saved.push(Saved { vm: name, id, subject });
        }
    }

    /// What others build upon stays, and a line says so.
    fn delete(&mut self) {
        if self.saved.is_empty() {
            return;
        }
        let saved = self.random.below(self.saved.len());
        if self.delete_one(saved) {
            self.saved.swap_remove(saved);
        }
    }

    fn delete_one(&self, saved: usize) -> bool {
        let id = &self.saved[saved].id;
        for _ in 0..200 {
            let (status, said) = self.place.ask(&format!("snapshot delete {id}"));
            match status {
                0 => return true,
                1 if said.contains("was restored from it") || said.contains("build upon it") => return false,
                4 => std::thread::sleep(Duration::from_millis(50)),
                _ => panic!("{id}: {said}"),
            }
        }
        panic!("{id}: busy for ever");
    }

    fn reset(&mut self) {
        let machine = self.any_machine();
        let Machine { name, monitor, subject } = &mut self.machines[machine];
        self.place.good(&format!("reset {name}"));
        subject.after_reset(monitor);
    }

    /// All goes; nothing is left.
    fn end(mut self) {
        while !self.machines.is_empty() {
            self.remove(0);
        }
        while !self.saved.is_empty() {
            let before = self.saved.len();
            for saved in (0..before).rev() {
                if self.delete_one(saved) {
                    self.saved.swap_remove(saved);
                }
            }
            assert!(self.saved.len() < before, "snapshots are kept that nobody builds upon");
        }
        assert_eq!(self.place.leftovers(), [] as [String; 0]);
        for folder in ["snapshots", "restored"] {
            let folder = self.place.folder().join(folder);
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            assert_eq!(entries.map(|entry| entry.path()).collect::<Vec<_>>(), [] as [PathBuf; 0]);
        }
    }
}
