//! Target `pci_config`: a bus with an entropy device and a block device, reached in every way that a guest
//! has: ports, ECAM, regions wherever the guest maps them, negotiation in and out of order, rings anywhere.
//! In between the machine pauses, saves, resets and restores.
//!
//! Always: who a function is and which capabilities it has does not change; slots without function read all
//! ones; no doorbell is left behind.

use std::sync::Arc;

use device_harness::{RecordingDoorbells, WINDOWS};
use device_model::fake::FakeMsi;
use device_model::{AnySnapshot, Device, Shared, lock, shared};
use guest_memory::GuestMemory;
use pci::{PciRoot, Slot};
use virtio_block::VirtioBlock;
use virtio_core::{VirtioDevice, VirtioPci, spec};
use virtio_rng::VirtioRng;

use crate::hostile_ring::{self, HostileRing, SeedPiece, note_chain};
use crate::memory_disk::MemoryDisk;
use crate::{Notation, Script, Seed, ram};

const ECAM_READ: u8 = hostile_ring::COUNT;
const ECAM_WRITE: u8 = ECAM_READ + 1;
const PORT_READ: u8 = ECAM_READ + 2;
const PORT_WRITE: u8 = ECAM_READ + 3;
const MEMORY_READ: u8 = ECAM_READ + 4;
const MEMORY_WRITE: u8 = ECAM_READ + 5;
const REGION_READ: u8 = ECAM_READ + 6;
const REGION_WRITE: u8 = ECAM_READ + 7;
const ENABLE: u8 = ECAM_READ + 8;
const NEGOTIATE: u8 = ECAM_READ + 9;
const SET_UP_QUEUE: u8 = ECAM_READ + 10;
const START: u8 = ECAM_READ + 11;
const KICK: u8 = ECAM_READ + 12;
const RESET_FUNCTION: u8 = ECAM_READ + 13;
const PAUSE: u8 = ECAM_READ + 14;
const MOVE: u8 = ECAM_READ + 15;
const RESET_BUS: u8 = ECAM_READ + 16;
const OPERATIONS: u8 = ECAM_READ + 17;

/// Slots of the functions.
const SLOTS: [u8; 2] = [1, 2];
/// Queues of the block device.
const BLOCK_QUEUES: u16 = 2;

/// Offsets in configuration space (PCI Local Bus 3.0, 6.1) and its size.
const COMMAND: u64 = 0x04;
const BAR0: u64 = 0x10;
const CAPABILITIES: u64 = 0x34;
const CONFIG_SPACE_BYTES: u64 = 256;
const CAPABILITY_MSIX: u64 = 0x11;
/// Offset of the doorbells in the region; the common configuration is at its start.
const NOTIFY: u64 = 0x3000;
const MSIX_TABLE: u64 = 0x8000;

struct Function {
    slot: u8,
    function: Shared<VirtioPci>,
    identity: u64,
    capabilities: Vec<u64>,
}

struct Bus {
    root: PciRoot,
    memory: GuestMemory,
    functions: Vec<Function>,
    doorbells: Arc<RecordingDoorbells>,
    ring: HostileRing,
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let mut bus = Bus::new();
    while let Some(operation) = script.operation(OPERATIONS) {
        bus.act(operation, &mut script);
    }
    bus.check();
    let doorbells = Arc::clone(&bus.doorbells);
    drop(bus);
    assert!(doorbells.addresses().is_empty(), "doorbells are taken away");
}

fn device(index: usize) -> Box<dyn VirtioDevice> {
    match index {
        0 => Box::new(VirtioRng::new()),
        _ => {
            let disk = Arc::new(MemoryDisk::new(false));
            Box::new(VirtioBlock::new(disk, "fuzz", BLOCK_QUEUES).expect("a good device"))
        }
    }
}

fn function(index: usize, memory: &GuestMemory, doorbells: &Arc<RecordingDoorbells>) -> VirtioPci {
    let (memory, doorbells) = (memory.clone(), doorbells.clone());
    VirtioPci::new(format!("fuzz{index}"), device(index), memory, &FakeMsi::default(), doorbells)
        .expect("event descriptors")
}

impl Bus {
    fn new() -> Bus {
        let (memory, doorbells) = (ram::allocate(), Arc::<RecordingDoorbells>::default());
        let root = PciRoot::new(WINDOWS);
        let mut bus = Bus { root, memory, functions: Vec::new(), doorbells, ring: HostileRing::decent(0) };
        for (index, slot) in SLOTS.into_iter().enumerate() {
            let function = shared(function(index, &bus.memory, &bus.doorbells));
            bus.root.attach(Slot(slot), function.clone()).expect("the slot is free");
            let identity = bus.config_read(slot, 0, 4);
            let capabilities = bus.capabilities(slot);
            bus.functions.push(Function { slot, function, identity, capabilities });
        }
        bus.root.assign_bars().expect("the windows are large");
        bus
    }

    fn act(&mut self, operation: u8, script: &mut Script<'_>) {
        match operation {
            0..ECAM_READ => return self.ring.act(operation, &self.memory, script),
            ECAM_READ..REGION_READ => return self.access(operation, script),
            RESET_BUS => return self.reset_bus(),
            _ => {}
        }
        let index = usize::from(script.u8()) % SLOTS.len();
        let slot = SLOTS[index];
        match operation {
            REGION_READ => {
                let (offset, len) = (script.u16(), len(script));
                let mut data = [0; 8];
                self.root.memory_read(self.region(slot).wrapping_add(offset.into()), &mut data[..len]);
            }
            REGION_WRITE => {
                let (offset, len) = (script.u16(), len(script));
                self.region_write(slot, offset.into(), len, script.u64());
            }
            ENABLE => self.enable(slot),
            NEGOTIATE => self.negotiate(slot, script.u32()),
            SET_UP_QUEUE => {
                let tag = script.u8();
                if tag & 0x80 != 0 {
                    self.ring = HostileRing::placed(script);
                }
                self.set_up_queue(slot, tag & 3);
            }
            START => self.common_write(slot, spec::DEVICE_STATUS, 1, script.u8().into()),
            KICK => self.region_write(slot, NOTIFY + u64::from(script.u8()), 2, 0),
            RESET_FUNCTION => {
                lock(&self.functions[index].function).reset();
                self.root.follow_all();
                self.root.assign_bars().expect("the windows are large");
                self.ring.restart();
            }
            PAUSE => {
                let mut function = lock(&self.functions[index].function);
                function.pause();
                function.resume();
            }
            _ => self.move_function(index, script),
        }
    }

    /// Accesses anywhere.
    fn access(&self, operation: u8, script: &mut Script<'_>) {
        let place = match operation {
            ECAM_READ | ECAM_WRITE => match script.u8() {
                slot @ 0..=3 => u64::from(slot) << 15 | u64::from(script.u16() & 0xfff),
                4 => u64::from(SLOTS[1]) << 15 | u64::from(script.u16() % CONFIG_SPACE_BYTES as u16),
                5 => script.u64(),
                _ => script.u32().into(),
            },
            PORT_READ | PORT_WRITE => u64::from(script.u8() % 9),
            _ => {
                let (window, offset) = (script.u8(), u64::from(script.u32()));
                let base = if window & 1 == 0 { WINDOWS.memory32.base } else { WINDOWS.memory64.base };
                if window & 2 == 0 { base + offset } else { offset << 32 | offset }
            }
        };
        let len = len(script);
        let mut data = [0; 8];
        match operation {
            ECAM_READ => self.root.ecam_read(place, &mut data[..len]),
            PORT_READ => self.root.config_port_read(place as u16, &mut data[..len.min(4)]),
            MEMORY_READ => self.root.memory_read(place, &mut data[..len]),
            _ => {
                data = script.u64().to_le_bytes();
                match operation {
                    ECAM_WRITE => self.root.ecam_write(place, &data[..len]),
                    PORT_WRITE => self.root.config_port_write(place as u16, &data[..len.min(4)]),
                    _ => self.root.memory_write(place, &data[..len]),
                }
            }
        }
    }

    fn config_read(&self, slot: u8, register: u64, len: usize) -> u64 {
        let mut data = [0; 8];
        self.root.ecam_read(u64::from(slot) << 15 | register, &mut data[..len]);
        u64::from_le_bytes(data)
    }

    fn config_write(&self, slot: u8, register: u64, len: usize, value: u64) {
        self.root.ecam_write(u64::from(slot) << 15 | register, &value.to_le_bytes()[..len]);
    }

    /// Offsets of the capabilities.
    fn capabilities(&self, slot: u8) -> Vec<u64> {
        let mut found = Vec::new();
        let mut at = self.config_read(slot, CAPABILITIES, 1);
        while at != 0 {
            assert!(found.len() < CONFIG_SPACE_BYTES as usize / 4, "the list of capabilities has an end");
            found.push(at);
            at = self.config_read(slot, at + 1, 1);
        }
        found
    }

    /// Where the function's region is, by its register.
    fn region(&self, slot: u8) -> u64 {
        self.config_read(slot, BAR0, 8) & !0xf
    }

    fn region_write(&self, slot: u8, offset: u64, len: usize, value: u64) {
        let address = self.region(slot).wrapping_add(offset);
        self.root.memory_write(address, &value.to_le_bytes()[..len]);
    }

    fn common_write(&self, slot: u8, register: u64, len: usize, value: u64) {
        self.region_write(slot, register, len, value);
    }

    /// Memory decoding and MSI-X on, two vectors unmasked.
    fn enable(&self, slot: u8) {
        self.config_write(slot, COMMAND, 2, 6);
        let msix =
            self.capabilities(slot).into_iter().find(|at| self.config_read(slot, *at, 1) == CAPABILITY_MSIX);
        let msix = msix.expect("the function has MSI-X");
        self.config_write(slot, msix + 2, 2, 0x8000);
        for vector in 0..2 {
            self.region_write(slot, MSIX_TABLE + 16 * vector, 8, 0xfee0_0000);
            self.region_write(slot, MSIX_TABLE + 16 * vector + 8, 8, vector);
        }
    }

    /// From reset to features agreed on, if `features` and the modern interface are offered.
    fn negotiate(&self, slot: u8, features: u32) {
        for status in [0, 1, 3] {
            self.common_write(slot, spec::DEVICE_STATUS, 1, status);
        }
        for (select, bits) in [(0, features), (1, 1)] {
            self.common_write(slot, spec::DRIVER_FEATURE_SELECT, 4, select);
            self.common_write(slot, spec::DRIVER_FEATURE, 4, bits.into());
        }
        self.common_write(slot, spec::CONFIG_VECTOR, 2, 0);
        self.common_write(slot, spec::DEVICE_STATUS, 1, 0xb);
    }

    fn set_up_queue(&self, slot: u8, queue: u8) {
        let layout = self.ring.layout;
        self.common_write(slot, spec::QUEUE_SELECT, 2, queue.into());
        self.common_write(slot, spec::QUEUE_SIZE, 2, layout.size.into());
        self.common_write(slot, spec::QUEUE_VECTOR, 2, 1);
        self.common_write(slot, spec::QUEUE_DESCRIPTORS, 8, layout.descriptors.0);
        self.common_write(slot, spec::QUEUE_AVAILABLE, 8, layout.available.0);
        self.common_write(slot, spec::QUEUE_USED, 8, layout.used.0);
        self.common_write(slot, spec::QUEUE_ENABLE, 2, 1);
    }

    /// Saves a function, restores it into a fresh one, and into another from state that somebody has changed.
    fn move_function(&self, index: usize, script: &mut Script<'_>) {
        let mut here = lock(&self.functions[index].function);
        here.pause();
        let mut bytes = here.save_bytes().expect("a paused function can be saved").expect("it has state");
        let mut there = function(index, &self.memory, &Arc::default());
        there.pause();
        there.restore_bytes(&bytes).expect("what was saved can be restored");
        let again = there.save_bytes().expect("a paused function can be saved").expect("it has state");
        assert_eq!(bytes, again, "nothing is lost on the way");
        for _ in 0..script.u8() % 4 {
            let at = usize::from(script.u16()) % bytes.len();
            bytes[at] = script.u8();
        }
        let mut hostile = function(index, &self.memory, &Arc::default());
        hostile.pause();
        if hostile.restore_bytes(&bytes).is_ok() {
            hostile.resume();
        }
        here.resume();
    }

    fn reset_bus(&mut self) {
        self.root.reset();
        self.functions.iter().for_each(|function| lock(&function.function).reset());
        self.root.follow_all();
        self.root.assign_bars().expect("the windows are large");
        self.ring.restart();
    }

    fn check(&self) {
        for Function { slot, function: _, identity, capabilities } in &self.functions {
            assert_eq!(self.config_read(*slot, 0, 4), *identity, "a function stays what it is");
            assert_eq!(self.capabilities(*slot), *capabilities);
        }
        assert_eq!(self.config_read(3, 0, 4), 0xffff_ffff, "nobody is in slot 3");
    }
}

fn len(script: &mut Script<'_>) -> usize {
    [1, 2, 4, 8][usize::from(script.u8() % 4)]
}

/// Both functions started and used; regions moved and sized; ports.
pub fn seeds() -> Vec<Seed> {
    let up = |script: Notation, function: u8, queue: u8| {
        let script = script.u8(ENABLE).u8(function).u8(NEGOTIATE).u8(function).u32(0x3000_0000);
        script.u8(SET_UP_QUEUE).u8(function).u8(queue).u8(START).u8(function).u8(0xf)
    };
    let kick = |script: Notation, function: u8| script.u8(KICK).u8(function).u8(0).u8(PAUSE).u8(function);
    let entropy = note_chain(Notation::new().u8(hostile_ring::CHAIN), None, &[SeedPiece::Write(0x5000, 64)]);
    let entropy = kick(up(entropy, 0, 0), 0).u8(MOVE).u8(0).u8(1).u16(9).u8(1).u8(RESET_FUNCTION).u8(0);
    let header = [0; 16];
    let request =
        [SeedPiece::Read(0x4000, &header), SeedPiece::Write(0x5000, 512), SeedPiece::Write(0x7000, 1)];
    let block = note_chain(Notation::new().u8(hostile_ring::CHAIN), Some(0x6000), &request);
    let block = kick(up(block, 1, 1), 1).u8(REGION_READ).u8(1).u16(0x2000).u8(3).u8(MOVE).u8(1).u8(0);
    let block = block.u8(REGION_READ).u8(1).u16(0x1000).u8(0).u8(RESET_BUS);
    let request = [
        SeedPiece::Read(0x4000, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        SeedPiece::Read(0x5000, &[7; 512]),
        SeedPiece::Write(0x7000, 1),
    ];
    let write = note_chain(Notation::new().u8(hostile_ring::CHAIN), None, &request);
    let write = kick(up(write, 1, 0), 1);
    let sized = (0..2u16).fold(Notation::new(), |script, register| {
        script
            .u8(ECAM_WRITE)
            .u8(1)
            .u16(0x10 + 4 * register)
            .u8(2)
            .u32(u32::MAX)
            .u32(0)
            .u8(ECAM_READ)
            .u8(1)
            .u16(0x10 + 4 * register)
            .u8(2)
    });
    let moved = sized.u8(ECAM_WRITE).u8(1).u16(0x10).u8(3).u32(0).u32(0x10).u8(ENABLE).u8(0);
    let moved = moved.u8(MEMORY_READ).u8(1).u32(0x12).u8(1).u8(MEMORY_WRITE).u8(0).u32(0).u8(2).u32(1).u32(0);
    let ports = Notation::new().u8(PORT_WRITE).u8(0).u8(2).u32(0x8000_1000).u32(0);
    let ports =
        ports.u8(PORT_READ).u8(4).u8(2).u8(PORT_WRITE).u8(4).u8(1).u32(6).u32(0).u8(PORT_READ).u8(0).u8(2);
    // The capability that reaches the region through configuration space is the fifth of the list.
    let window = Notation::new().u8(ECAM_WRITE).u8(1).u16(0x88).u8(2).u32(0x14).u32(0);
    let window =
        window.u8(ECAM_WRITE).u8(1).u16(0x8c).u8(2).u32(1).u32(0).u8(ECAM_READ).u8(1).u16(0x90).u8(0);
    vec![
        ("entropy", entropy.finish()),
        ("block", block.finish()),
        ("write", write.finish()),
        ("moved", moved.finish()),
        ("ports", ports.finish()),
        ("window", window.finish()),
    ]
}
