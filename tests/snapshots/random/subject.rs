//! Guests of which one knows at any time what they have to have in their memory and on their disks.

use std::process::Command;

use test_guests::guests::LOAD_ADDRESS;
use test_guests::pvh_elf;

use super::guest::Guest;
use super::link::Link;
use crate::monitor::{Engine, Monitor};
use crate::place::Place;

/// Numbers that a seed determines (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }
}

/// What is known of a guest. A copy of it is what is known of a snapshot.
pub trait Subject: Clone + Sized {
    /// Whether it does what a clone has to.
    const CAN_BE_CLONED: bool = true;

    /// A network of its own, if it needs one.
    fn link() -> Option<Link> {
        None
    }
    /// Starts a machine with it, by this command.
    fn start(yagura: Command, place: &Place, engine: Engine, name: &str) -> (Guest, Self);
    /// Has the guest do something.
    fn work(&mut self, guest: &mut Guest, random: &mut Random);
    /// Sees to it that the guest has what it should.
    fn prove(&mut self, guest: &mut Guest, name: &str);
    /// The machine was reset.
    fn after_reset(&mut self, guest: &mut Guest);
}

/// A machine of 64 MiB with the guest `code`.
pub fn start(yagura: Command, place: &Place, engine: Engine, code: &[u8], arguments: &[&str]) -> Guest {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("kernel"), pvh_elf(code, LOAD_ADDRESS)).unwrap();
    let arguments = [&["--memory", "64M", "--kernel", "DIR/kernel"], arguments].concat();
    Guest::Child(Monitor::start_by(yagura, folder, &place.folder(), engine, &arguments))
}
