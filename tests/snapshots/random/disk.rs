//! A guest that writes to its disk.

use std::process::Command;

use test_guests::guests;

use super::guest::Guest;
use super::subject::{Random, Subject, start};
use crate::monitor::Engine;
use crate::place::Place;

/// Pieces of 64 KiB that the disk has.
const PIECES: usize = 16;

/// A guest that writes to its disk. What is there says where it was written, or is zeros.
#[derive(Clone)]
pub struct Disk {
    written: [bool; PIECES],
}

impl Disk {
    fn ask(guest: &mut Guest, what: u8) -> u8 {
        guest.send(&[what]);
        guest.receive()
    }
}

impl Subject for Disk {
    fn start(yagura: Command, place: &Place, engine: Engine, name: &str) -> (Guest, Self) {
        let disk = format!("path={}", place.disk(&format!("disk-of-{name}"), &[]).display());
        let mut guest =
            start(yagura, place, engine, guests::disk_writer(), &["--name", name, "--disk", &disk]);
        assert_eq!(guest.receive(), b'!', "{}", guest.said());
        (guest, Disk { written: [false; PIECES] })
    }

    /// A piece that the guest writes, after it has read all before.
    fn work(&mut self, guest: &mut Guest, random: &mut Random) {
        let piece = random.below(PIECES);
        guest.send(b"z");
        for _ in 0..piece {
            Disk::ask(guest, b'r');
        }
        assert_eq!(Disk::ask(guest, b'w'), b'0');
        self.written[piece] = true;
    }

    fn prove(&mut self, guest: &mut Guest, name: &str) {
        guest.send(b"z");
        let found = [(); PIECES].map(|()| Disk::ask(guest, b'r'));
        let expected = self.written.map(|written| if written { b'0' } else { b'd' });
        assert_eq!(found, expected, "the pieces of {name}'s disk that were written");
    }

    /// What the disk has stays.
    fn after_reset(&mut self, guest: &mut Guest) {
        assert_eq!(guest.receive(), b'!', "{}", guest.said());
    }
}
