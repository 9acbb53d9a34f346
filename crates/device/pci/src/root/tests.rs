//! The root with functions that record what reaches them.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use device_model::{AnySnapshot, BarKind};

use super::*;
use crate::spec::CLASS_HOST_BRIDGE;
use crate::{ConfigSpace, Identity};

const WINDOWS: Windows = Windows {
    memory32: Window { base: 0xc000_0000, size_bytes: 0x2000_0000 },
    memory64: Window { base: 0x10_0000_0000, size_bytes: 0x4_0000_0000 },
};

/// A function whose regions read as its tag and that records writes and moves.
struct Recorder {
    config: ConfigSpace,
    tag: u8,
    writes: Vec<(u8, u64, Vec<u8>)>,
    moves: Vec<(u8, Option<u64>)>,
    config_sizes: Vec<usize>,
}

impl Recorder {
    fn new(tag: u8, bars: &[BarRegion]) -> Recorder {
        let identity = Identity {
            vendor: 0x1af4,
            device: 0x1000 + u16::from(tag),
            class: 0xff_0000,
            revision: tag,
            subsystem_vendor: 0,
            subsystem: 0,
        };
        let config = ConfigSpace::new(identity, bars);
        Recorder { config, tag, writes: Vec::new(), moves: Vec::new(), config_sizes: Vec::new() }
    }
}

impl PciFunction for Recorder {
    fn bars(&self) -> Vec<BarRegion> {
        self.config.bars().to_vec()
    }

    fn config_read(&mut self, offset: u16, data: &mut [u8]) {
        self.config_sizes.push(data.len());
        self.config.read(offset, data);
    }

    fn config_write(&mut self, offset: u16, data: &[u8]) {
        self.config.write(offset, data);
    }

    fn bar_address(&self, index: u8) -> Option<u64> {
        self.config.bar_address(index)
    }

    fn bar_moved(&mut self, index: u8, address: Option<u64>) {
        self.moves.push((index, address));
    }

    fn bar_read(&mut self, _index: u8, _offset: u64, data: &mut [u8]) {
        data.fill(self.tag);
    }

    fn bar_write(&mut self, index: u8, offset: u64, data: &[u8]) {
        self.writes.push((index, offset, data.to_vec()));
    }
}

const WIDE: BarRegion = BarRegion { index: 0, kind: BarKind::Memory64, size_bytes: 0x1_0000 };
const NARROW: BarRegion = BarRegion { index: 2, kind: BarKind::Memory32, size_bytes: 0x1000 };

/// A root with two functions, in slots 3 and 5, assigned.
fn root() -> (PciRoot, [Shared<Recorder>; 2]) {
    let root = PciRoot::new(WINDOWS);
    let functions = [shared(Recorder::new(3, &[WIDE, NARROW])), shared(Recorder::new(5, &[WIDE, NARROW]))];
    root.attach(Slot(5), functions[1].clone()).unwrap();
    root.attach(Slot(3), functions[0].clone()).unwrap();
    root.assign_bars().unwrap();
    (root, functions)
}

fn ecam_of(slot: u64, register: u64) -> u64 {
    slot << 15 | register
}

fn read_u32(root: &PciRoot, offset: u64) -> u32 {
    let mut data = [0; 4];
    root.ecam_read(offset, &mut data);
    u32::from_le_bytes(data)
}

fn write(root: &PciRoot, slot: u64, register: u64, value: u32) {
    root.ecam_write(ecam_of(slot, register), &value.to_le_bytes());
}

#[test]
fn absent_functions_read_all_ones() {
    let (root, _) = root();
    let absent =
        [ecam_of(1, 0), ecam_of(31, 0), ecam_of(3, 0) | 1 << 12, 1 << 20, 0xff << 20, 1 << 40, u64::MAX];
    for offset in absent {
        assert_eq!(read_u32(&root, offset), u32::MAX, "{offset:#x}");
        root.ecam_write(offset, &[0; 8]);
    }
    assert_eq!(read_u32(&root, 0), 0x0008_1b36, "the host bridge");
    assert_eq!(read_u32(&root, 8) >> 8, CLASS_HOST_BRIDGE);
    assert_eq!(read_u32(&root, ecam_of(3, 0)), 0x1003_1af4);
    assert_eq!(read_u32(&root, ecam_of(3, 0x100)), 0, "no extended capabilities");
}

#[test]
fn slots_are_given_once() {
    let (root, [function, _]) = root();
    assert_eq!(root.attach(Slot(0), function.clone()), Err(AttachError::Taken(Slot(0))));
    assert_eq!(root.attach(Slot(5), function.clone()), Err(AttachError::Taken(Slot(5))));
    assert_eq!(root.attach(Slot(32), function), Err(AttachError::NoSuchSlot(Slot(32))));
}

#[test]
fn accesses_are_cut_into_aligned_pieces() {
    let (root, [function, _]) = root();
    // (register, length, sizes that the function sees)
    let cases: [(u64, usize, &[usize]); 6] = [
        (0, 8, &[4, 4]),
        (0, 4, &[4]),
        (2, 4, &[2, 2]),
        (1, 4, &[1, 2, 1]),
        (1, 8, &[1, 2, 4, 1]),
        (0xfff, 1, &[1]),
    ];
    for (register, len, sizes) in cases {
        lock(&function).config_sizes.clear();
        let mut data = [0; 8];
        root.ecam_read(ecam_of(3, register), &mut data[..len]);
        assert_eq!(lock(&function).config_sizes, sizes, "{register:#x} {len}");
    }
}

#[test]
fn ports_reach_configuration_space() {
    let (root, _) = root();
    let read = |port: u16, len: usize| {
        let mut data = [0; 4];
        root.config_port_read(port, &mut data[..len]);
        u32::from_le_bytes(data)
    };
    assert_eq!(read(4, 4), u32::MAX, "not enabled");
    root.config_port_write(0, &(1_u32 << 31 | 3 << 11 | 8).to_le_bytes());
    root.config_port_write(0, &[0; 2]);
    root.config_port_write(3, &[1]);
    assert_eq!(read(0, 4), 0x8000_1808, "only whole writes change the address");
    assert_eq!(read(0, 1), 0xff);
    assert_eq!(read(4, 4), 0xff00_0003);
    assert_eq!(read(7, 1), 0xff, "the byte lane follows the port");
    assert_eq!(read(4, 1), 3);
    assert_eq!(read(6, 2), 0xff00);
    assert_eq!(read(5, 4), 0xffff_0000, "beyond the last port there is nothing");
    root.config_port_write(0, &(1_u32 << 31 | 3 << 11 | 0x3c).to_le_bytes());
    root.config_port_write(4, &[0x5a]);
    assert_eq!(read(4, 4), 0x5a);
    root.config_port_write(0, &(1_u32 << 31 | 1 << 16 | 3 << 11).to_le_bytes());
    assert_eq!(read(4, 4), u32::MAX, "another bus");
}

#[test]
fn regions_are_assigned_in_their_windows_and_answer_once_decoding() {
    let (root, functions) = root();
    assert_eq!(read_u32(&root, ecam_of(3, 0x10)), 4);
    assert_eq!(read_u32(&root, ecam_of(3, 0x14)), 0x10);
    assert_eq!(read_u32(&root, ecam_of(5, 0x10)), 0x1_0004);
    assert_eq!(read_u32(&root, ecam_of(5, 0x18)), 0xc000_1000);
    let mut data = [0; 4];
    root.memory_read(0x10_0001_0000, &mut data);
    assert_eq!(data, [0xff; 4], "decoding is off");
    write(&root, 5, 4, 2);
    let base = WINDOWS.memory64.base;
    root.memory_read(base + 0x1_0000, &mut data);
    assert_eq!(data, [5; 4]);
    root.memory_read(base + 0x1_fffe, &mut data);
    assert_eq!(data, [0xff; 4], "the access runs over the end");
    root.memory_write(base + 0x1_0010, &[1, 2]);
    root.memory_write(base + 0x1_ffff, &[1, 2]);
    root.memory_write(u64::MAX, &[1, 2]);
    root.memory_write(0xc000_1ff8, &[9; 8]);
    assert_eq!(lock(&functions[1]).writes, [(0, 0x10, vec![1, 2]), (2, 0xff8, vec![9; 8])]);
    assert_eq!(lock(&functions[1]).moves, [(0, Some(0x10_0001_0000)), (2, Some(0xc000_1000))]);
    assert!(lock(&functions[0]).moves.is_empty());
}

#[test]
fn moved_regions_follow_and_the_first_slot_wins_an_overlap() {
    let (root, functions) = root();
    write(&root, 5, 4, 2);
    write(&root, 3, 4, 2);
    let tag = |address| {
        let mut data = [0];
        root.memory_read(address, &mut data);
        data[0]
    };
    write(&root, 3, 0x10, 0x1_0000);
    assert_eq!(tag(0x10_0001_0000), 3);
    write(&root, 3, 0x10, 0x8_0000);
    assert_eq!((tag(0x10_0001_0000), tag(0x10_0008_0000), tag(0x10_0000_0000)), (5, 3, 0xff));
    // Outside the windows nothing is forwarded: over RAM, and all ones as in sizing.
    for high in [0, 0xffff_ffff] {
        write(&root, 3, 0x14, high);
        assert_eq!(lock(&functions[0]).moves.last(), Some(&(0, None)));
        write(&root, 3, 0x14, 0x10);
    }
    write(&root, 3, 4, 0);
    assert_eq!(tag(0x10_0008_0000), 0xff);
}

#[test]
fn a_function_that_was_taken_out_is_nowhere_and_its_slot_is_free() {
    let (root, functions) = root();
    write(&root, 5, 4, 2);
    let mapped = lock(&functions[1]).config.bar_address(0).unwrap();
    let tag = || {
        let mut data = [0];
        root.memory_read(mapped, &mut data);
        data[0]
    };
    assert_eq!(tag(), 5);
    let taken = root.detach(Slot(5)).unwrap();
    assert!([0, 5, 7, 200].iter().all(|slot| root.detach(Slot(*slot)).is_none()));
    assert_eq!((tag(), read_u32(&root, ecam_of(5, 0))), (0xff, u32::MAX));
    assert!(lock(&functions[1]).moves.ends_with(&[(0, None), (2, None)]));
    // Somebody who had it in his hands writes to it once more: it gets no route.
    let held = Attached { slot: Slot(5), function: taken.clone(), bars: lock(&taken).bars().into() };
    root.follow(&held, &mut *lock(&taken));
    assert_eq!(tag(), 0xff);
    root.attach(Slot(5), taken).unwrap();
    write(&root, 5, 4, 2);
    assert_eq!(tag(), 5);
}

#[test]
fn windows_that_are_too_small_are_named() {
    let root =
        PciRoot::new(Windows { memory32: Window { base: 0xc000_0000, size_bytes: 0x1800 }, ..WINDOWS });
    for slot in 1..=2 {
        root.attach(Slot(slot), shared(Recorder::new(slot, &[NARROW]))).unwrap();
    }
    let error = root.assign_bars().unwrap_err();
    assert_eq!(error, AssignError { slot: Slot(2), bar: 2, size_bytes: 0x1000 });
    assert_eq!(error.to_string(), "no room for region 2 (4096 bytes) of the PCI function at 00:02.0");
}

#[test]
fn a_blocked_function_does_not_block_another() {
    let (root, functions) = root();
    write(&root, 3, 4, 2);
    write(&root, 5, 4, 2);
    let blocked = lock(&functions[0]);
    let (done, finished) = mpsc::channel();
    let other = root.clone();
    thread::spawn(move || {
        other.memory_write(0x10_0001_0000, &[1]);
        write(&other, 5, 0x10, 0x4_0000);
        done.send(()).unwrap();
    });
    let waiting = root.clone();
    let waiter = thread::spawn(move || waiting.memory_write(0x10_0000_0000, &[1]));
    finished.recv_timeout(Duration::from_secs(10)).expect("slot 5 is not held up by slot 3");
    drop(blocked);
    waiter.join().unwrap();
    assert_eq!(lock(&functions[0]).writes.len(), 1);
}

#[test]
fn saved_state_goes_to_another_root() {
    let (from, _) = root();
    from.config_port_write(0, &0x8000_1808_u32.to_le_bytes());
    write(&from, 0, 4, 2);
    let bytes = from.save_bytes().unwrap().unwrap();
    device_harness::golden::check(concat!(env!("CARGO_MANIFEST_DIR"), "/states/pci-v1.bin"), &bytes);
    let (mut to, functions) = root();
    to.restore_bytes(&bytes).unwrap();
    assert_eq!(read_u32(&to, 4) & 0xffff, 2);
    lock(&functions[0]).config.write(4, &[2]);
    to.resume();
    assert_eq!(lock(&functions[0]).moves.len(), 2, "regions are mapped again");
    to.resume();
    assert_eq!(lock(&functions[0]).moves.len(), 2, "and only once");
    lock(&functions[0]).config.reset();
    to.reset();
    to.assign_bars().unwrap();
    assert_eq!(lock(&functions[0]).moves[2..], [(0, None), (2, None)]);
    let mut address = [0; 4];
    to.config_port_read(0, &mut address);
    assert_eq!(address, [0; 4]);
}
