//! Random operations on machines that go on from one another, saved, put back, cloned, killed and reset: whatever comes, what
//! each guest has in its memory and on its disk is what it wrote, its network answers, and in the end no file is left.
//!
//! Each test prints its seed; `YAGURA_RANDOM_SEED` gives it again. `YAGURA_RANDOM_STEPS` asks for more than the few steps that
//! belong to every run.

mod disk;
mod guest;
mod link;
mod machines;
mod memory;
mod network;
mod saved;
mod subject;

use std::path::PathBuf;

use disk::Disk;
use machines::Machine;
use memory::Memory;
use network::Network;
use saved::Saved;
use subject::{Random, Subject};

use crate::monitor::{Engine, on_each_engine, skipped};
use crate::place::Place;

on_each_engine!(memory_on_one_vcpu, memory_on_two_vcpus, disks, networks);

fn memory_on_one_vcpu(engine: Engine) {
    run::<Memory<1>>(engine, 14);
}

fn memory_on_two_vcpus(engine: Engine) {
    run::<Memory<2>>(engine, 14);
}

fn disks(engine: Engine) {
    run::<Disk>(engine, 14);
}

fn networks(engine: Engine) {
    networks_for(engine, 14);
}

fn networks_for(engine: Engine, steps: u32) {
    if link::Link::new().is_some() {
        run::<Network>(engine, steps);
    } else {
        println!("SKIPPED: no network can be had in a namespace here");
    }
}

#[test]
#[ignore = "long"]
fn many_steps_in_software() {
    many_steps(Engine::Soft);
}

#[test]
#[ignore = "long"]
fn many_steps_under_kvm() {
    if !skipped() {
        many_steps(Engine::Kvm);
    }
}

fn many_steps(engine: Engine) {
    run::<Memory<1>>(engine, 40);
    run::<Memory<2>>(engine, 40);
    run::<Memory<3>>(engine, 40);
    run::<Memory<4>>(engine, 40);
    run::<Disk>(engine, 40);
    networks_for(engine, 40);
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
        let what = self.random.below(16);
        println!("step {step}: {what}");
        match what {
            0 => self.idle(),
            1..=4 => self.save(),
            5 | 6 => self.put_back(),
            7 | 8 => self.go_on(),
            9 => self.clone_one(),
            10 => self.kill(),
            11 => self.kill_while_saving(),
            12 => self.delete(),
            13 => self.flatten(),
            14 => self.carry(),
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

    /// All goes; nothing is left.
    fn end(mut self) {
        while !self.machines.is_empty() {
            self.remove(0);
        }
        self.delete_all();
        assert_eq!(self.place.leftovers(), [] as [String; 0]);
        for folder in ["snapshots", "restored"] {
            let folder = self.place.folder().join(folder);
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            assert_eq!(entries.map(|entry| entry.path()).collect::<Vec<_>>(), [] as [PathBuf; 0]);
        }
    }
}
