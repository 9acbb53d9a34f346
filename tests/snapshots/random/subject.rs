//! Guests of which one knows at any time what they have to have in their memory and on their disks.

use test_guests::guests::{self, LOAD_ADDRESS};
use test_guests::hashing::{Expected, hasher};
use test_guests::pvh_elf;

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
    /// Starts a machine with it.
    fn start(place: &Place, engine: Engine, name: &str) -> (Monitor, Self);
    /// Has the guest do something.
    fn work(&mut self, monitor: &mut Monitor, random: &mut Random);
    /// Sees to it that the guest has what it should.
    fn prove(&mut self, monitor: &mut Monitor, name: &str);
    /// The machine was reset.
    fn after_reset(&mut self, monitor: &mut Monitor);
}

fn start(place: &Place, engine: Engine, name: &str, code: &[u8], arguments: &[&str]) -> Monitor {
    let arguments = [&["--name", name], arguments].concat();
    let folder = tempfile::tempdir().unwrap();
    let kernel = pvh_elf(code, LOAD_ADDRESS);
    Monitor::start_among(folder, &place.folder(), engine, &kernel, &arguments)
}

/// A guest that writes all over its memory on so many vCPUs.
#[derive(Clone)]
pub struct Memory<const CPUS: u32>(Vec<Expected>);

impl<const CPUS: u32> Memory<CPUS> {
    fn begin(monitor: &mut Monitor) -> Memory<CPUS> {
        assert_eq!(monitor.receive(), b'!', "{}", monitor.said());
        monitor.send(CPUS.to_string().as_bytes());
        assert_eq!(monitor.receive(), b'+', "{}", monitor.said());
        Memory((0..CPUS).map(Expected::of).collect())
    }
}

impl<const CPUS: u32> Subject for Memory<CPUS> {
    fn start(place: &Place, engine: Engine, name: &str) -> (Monitor, Self) {
        let mut monitor = start(place, engine, name, hasher(), &["--cpus", &CPUS.to_string()]);
        let memory = Memory::begin(&mut monitor);
        (monitor, memory)
    }

    /// It always writes.
    fn work(&mut self, _monitor: &mut Monitor, _random: &mut Random) {}

    fn prove(&mut self, monitor: &mut Monitor, name: &str) {
        monitor.send(b"p");
        for (number, expected) in self.0.iter_mut().enumerate() {
            let is_right = monitor.receive();
            let [count, sum] = [(); 2].map(|()| u32::from_le_bytes([(); 4].map(|()| monitor.receive())));
            let who =
                format!("vCPU {number} of {name}, which has written {count}, {} before", expected.count);
            assert_eq!(is_right, b'1', "{who}: its memory is not what it wrote");
            assert!(count >= expected.count, "{who}: it has forgotten");
            expected.advance(count);
            assert_eq!(sum, expected.sum, "{who}: it has written something else");
        }
    }

    fn after_reset(&mut self, monitor: &mut Monitor) {
        *self = Memory::begin(monitor);
    }
}

/// Pieces of 64 KiB that the disk has.
const PIECES: usize = 16;

/// A guest that writes to its disk. What is there says where it was written, or is zeros.
#[derive(Clone)]
pub struct Disk {
    written: [bool; PIECES],
}

impl Disk {
    fn ask(monitor: &mut Monitor, what: u8) -> u8 {
        monitor.send(&[what]);
        monitor.receive()
    }
}

impl Subject for Disk {
    fn start(place: &Place, engine: Engine, name: &str) -> (Monitor, Self) {
        let disk = format!("path={}", place.disk(&format!("disk-of-{name}"), &[]).display());
        let monitor = start(place, engine, name, guests::disk_writer(), &["--disk", &disk]);
        assert_eq!(monitor.receive(), b'!', "{}", monitor.said());
        (monitor, Disk { written: [false; PIECES] })
    }

    /// A piece that the guest writes, after it has read all before.
    fn work(&mut self, monitor: &mut Monitor, random: &mut Random) {
        let piece = random.below(PIECES);
        monitor.send(b"z");
        for _ in 0..piece {
            Disk::ask(monitor, b'r');
        }
        assert_eq!(Disk::ask(monitor, b'w'), b'0');
        self.written[piece] = true;
    }

    fn prove(&mut self, monitor: &mut Monitor, name: &str) {
        monitor.send(b"z");
        let found = [(); PIECES].map(|()| Disk::ask(monitor, b'r'));
        let expected = self.written.map(|written| if written { b'0' } else { b'd' });
        assert_eq!(found, expected, "the pieces of {name}'s disk that were written");
    }

    /// What the disk has stays.
    fn after_reset(&mut self, monitor: &mut Monitor) {
        assert_eq!(monitor.receive(), b'!', "{}", monitor.said());
    }
}
