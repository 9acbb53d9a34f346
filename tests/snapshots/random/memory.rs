//! A guest that writes all over its memory.

use std::process::Command;

use test_guests::hashing::{Expected, hasher};

use super::guest::Guest;
use super::subject::{Random, Subject, start};
use crate::monitor::Engine;
use crate::place::Place;

/// A guest that writes all over its memory on so many vCPUs.
#[derive(Clone)]
pub struct Memory<const CPUS: u32>(Vec<Expected>);

impl<const CPUS: u32> Memory<CPUS> {
    fn begin(guest: &mut Guest) -> Memory<CPUS> {
        assert_eq!(guest.receive(), b'!', "{}", guest.said());
        guest.send(CPUS.to_string().as_bytes());
        assert_eq!(guest.receive(), b'+', "{}", guest.said());
        Memory((0..CPUS).map(Expected::of).collect())
    }
}

impl<const CPUS: u32> Subject for Memory<CPUS> {
    fn start(yagura: Command, place: &Place, engine: Engine, name: &str) -> (Guest, Self) {
        let mut guest =
            start(yagura, place, engine, hasher(), &["--name", name, "--cpus", &CPUS.to_string()]);
        let memory = Memory::begin(&mut guest);
        (guest, memory)
    }

    /// It always writes.
    fn work(&mut self, _guest: &mut Guest, _random: &mut Random) {}

    fn prove(&mut self, guest: &mut Guest, name: &str) {
        guest.send(b"p");
        for (number, expected) in self.0.iter_mut().enumerate() {
            let is_right = guest.receive();
            let [count, sum] = [(); 2].map(|()| u32::from_le_bytes([(); 4].map(|()| guest.receive())));
            let who =
                format!("vCPU {number} of {name}, which has written {count}, {} before", expected.count);
            assert_eq!(is_right, b'1', "{who}: its memory is not what it wrote");
            assert!(count >= expected.count, "{who}: it has forgotten");
            expected.advance(count);
            assert_eq!(sum, expected.sum, "{who}: it has written something else");
        }
    }

    fn after_reset(&mut self, guest: &mut Guest) {
        *self = Memory::begin(guest);
    }
}
