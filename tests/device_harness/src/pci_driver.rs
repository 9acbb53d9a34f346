//! A device behind the PCI transport, driven by guest accesses alone: configuration space, one region,
//! rings in memory (VIRTIO 1.2, 4.1).

use std::sync::Arc;

use device_model::fake::{FakeMsi, FakePower, NoDoorbells};
use device_model::{AnySnapshot, Device, Doorbells, Shared, lock, shared};
use pci::{PciRoot, Slot, Window, Windows};
use virtio_core::{VirtioDevice, VirtioPci, spec};

use crate::{Arena, DirectDriver, Piece, REPLY_TIMEOUT, Reply, RingDriver, Used};

/// The windows of the fake machine's host bridge.
pub const WINDOWS: Windows = Windows {
    memory32: Window { base: 0xc000_0000, size_bytes: 0x2000_0000 },
    memory64: Window { base: 0x10_0000_0000, size_bytes: 0x4_0000_0000 },
};

const SLOT: Slot = Slot(1);
const COMMAND: u64 = 0x04;
const BAR0: u64 = 0x10;
const CAPABILITIES: u64 = 0x34;
const CAPABILITY_MSIX: u64 = 0x11;
/// Memory decoding and bus mastering.
const COMMAND_MEMORY_MASTER: u64 = 0b110;
const MSIX_ENABLE: u64 = 1 << 15;

/// Where the driver found a structure in the region (4.1.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegionStructure {
    /// Offset of the capability in configuration space.
    pub capability: u64,
    /// Offset in the region.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

/// Drives a device through [`VirtioPci`] on a [`PciRoot`] of its own.
///
/// Vector 0 is for configuration changes, vector `n + 1` for queue `n`; a vector's message carries its number
/// as data.
pub struct PciDriver {
    /// Guest RAM: put buffers here.
    pub arena: Arena,
    root: PciRoot,
    function: Shared<VirtioPci>,
    msi: FakeMsi,
    rings: Vec<RingDriver>,
    machine: Arc<FakePower>,
}

impl PciDriver {
    /// `device` in slot 1, its region assigned, nothing enabled; kicks arrive over the bus.
    pub fn new(device: Box<dyn VirtioDevice>) -> PciDriver {
        PciDriver::with_doorbells(device, Arc::new(NoDoorbells))
    }

    /// Like [`new`](PciDriver::new), with an engine's doorbells.
    pub fn with_doorbells(device: Box<dyn VirtioDevice>, doorbells: Arc<dyn Doorbells>) -> PciDriver {
        let driver = PciDriver::build(device, doorbells, Arena::new(16 << 20), Vec::new());
        driver.root.assign_bars().expect("the window is large");
        driver
    }

    fn build(
        device: Box<dyn VirtioDevice>,
        doorbells: Arc<dyn Doorbells>,
        arena: Arena,
        rings: Vec<RingDriver>,
    ) -> PciDriver {
        let msi = FakeMsi::default();
        let function = VirtioPci::new("virtio-test", device, arena.memory().clone(), &msi, doorbells);
        let machine = Arc::new(FakePower::default());
        let function = shared(function.expect("the transport is built").part_of(machine.clone()));
        let root = PciRoot::new(WINDOWS);
        root.attach(SLOT, function.clone()).expect("the slot is free");
        PciDriver { arena, root, function, msi, rings, machine }
    }

    /// The machine that is told of failures.
    pub fn machine(&self) -> &FakePower {
        &self.machine
    }

    /// The function, for what the machine does to it: pause, save, reset.
    pub fn function(&self) -> &Shared<VirtioPci> {
        &self.function
    }

    /// The root, for accesses that go elsewhere.
    pub fn root(&self) -> &PciRoot {
        &self.root
    }

    /// Messages sent since the last call: the vectors' numbers.
    pub fn messages(&self) -> Vec<u32> {
        self.msi.take().into_iter().map(|message| message.data).collect()
    }

    /// Reads `len` bytes (up to 8) of configuration space.
    pub fn config_read(&self, register: u64, len: usize) -> u64 {
        let mut bytes = [0; 8];
        self.root.ecam_read(u64::from(SLOT.0) << 15 | register, &mut bytes[..len]);
        u64::from_le_bytes(bytes)
    }

    /// Writes `len` bytes (up to 8) of configuration space.
    pub fn config_write(&self, register: u64, len: usize, value: u64) {
        self.root.ecam_write(u64::from(SLOT.0) << 15 | register, &value.to_le_bytes()[..len]);
    }

    /// Guest-physical address of the region, as its register says.
    pub fn region_address(&self) -> u64 {
        self.config_read(BAR0, 8) & !0xf
    }

    /// Reads `len` bytes (up to 8) at `offset` of the region.
    pub fn region_read(&self, offset: u64, len: usize) -> u64 {
        let mut bytes = [0; 8];
        self.root.memory_read(self.region_address() + offset, &mut bytes[..len]);
        u64::from_le_bytes(bytes)
    }

    /// Writes `len` bytes (up to 8) at `offset` of the region.
    pub fn region_write(&self, offset: u64, len: usize, value: u64) {
        self.root.memory_write(self.region_address() + offset, &value.to_le_bytes()[..len]);
    }

    /// Offsets of all capabilities with `id` in configuration space.
    pub fn capabilities(&self, id: u64) -> Vec<u64> {
        let mut found = Vec::new();
        let mut at = self.config_read(CAPABILITIES, 1);
        // A list that loops is the device's fault: 64 capabilities are more than fit.
        for _ in 0..64 {
            if at == 0 {
                break;
            }
            if self.config_read(at, 1) == id {
                found.push(at);
            }
            at = self.config_read(at + 1, 1);
        }
        found
    }

    /// The structure of type `cfg_type` (4.1.4).
    pub fn structure(&self, cfg_type: u8) -> RegionStructure {
        let capability = self
            .capabilities(u64::from(spec::CAPABILITY_VENDOR))
            .into_iter()
            .find(|at| self.config_read(at + 3, 1) == u64::from(cfg_type))
            .expect("the device has the structure");
        let (offset, len) = (self.config_read(capability + 8, 4), self.config_read(capability + 12, 4));
        RegionStructure { capability, offset, len }
    }

    /// Reads a register of common configuration.
    pub fn common_read(&self, register: u64, len: usize) -> u64 {
        self.region_read(self.structure(spec::CAPABILITY_COMMON).offset + register, len)
    }

    /// Writes a register of common configuration.
    pub fn common_write(&self, register: u64, len: usize, value: u64) {
        self.region_write(self.structure(spec::CAPABILITY_COMMON).offset + register, len, value);
    }

    /// The device status register.
    pub fn status(&self) -> u8 {
        self.common_read(spec::DEVICE_STATUS, 1) as u8
    }

    /// Sets bits of the device status register.
    pub fn add_status(&self, bits: u8) {
        let value = self.status() | bits;
        self.common_write(spec::DEVICE_STATUS, 1, u64::from(value));
    }

    /// Turns on memory decoding and MSI-X with all vectors unmasked.
    pub fn enable_function(&self) {
        self.config_write(COMMAND, 2, COMMAND_MEMORY_MASTER);
        let msix = self.capabilities(CAPABILITY_MSIX)[0];
        let vectors = (self.config_read(msix + 2, 2) & 0x7ff) + 1;
        let table = self.config_read(msix + 4, 4) & !7;
        self.config_write(msix + 2, 2, MSIX_ENABLE);
        for vector in 0..vectors {
            self.region_write(table + 16 * vector, 8, 0xfee0_0000);
            self.region_write(table + 16 * vector + 8, 8, vector);
        }
    }

    /// The features that the device offers.
    pub fn offered(&self) -> u64 {
        (0..2).fold(0, |bits, select| {
            self.common_write(spec::DEVICE_FEATURE_SELECT, 4, select);
            bits | self.common_read(spec::DEVICE_FEATURE, 4) << (32 * select)
        })
    }

    /// Resets the device and accepts `features`: whether the device agrees.
    pub fn negotiate(&self, features: u64) -> bool {
        self.common_write(spec::DEVICE_STATUS, 1, 0);
        self.add_status(spec::STATUS_ACKNOWLEDGE);
        self.add_status(spec::STATUS_DRIVER);
        for select in 0..2 {
            self.common_write(spec::DRIVER_FEATURE_SELECT, 4, select);
            self.common_write(spec::DRIVER_FEATURE, 4, features >> (32 * select) & 0xffff_ffff);
        }
        self.add_status(spec::STATUS_FEATURES_OK);
        self.status() & spec::STATUS_FEATURES_OK != 0
    }

    /// Makes a ring for each queue, maps its vector and enables it.
    pub fn set_up_queues(&mut self) {
        self.rings.clear();
        for index in 0..self.common_read(spec::NUM_QUEUES, 2) {
            self.common_write(spec::QUEUE_SELECT, 2, index);
            let size = (self.common_read(spec::QUEUE_SIZE, 2) as u16).min(DirectDriver::RING_SIZE);
            let ring = RingDriver::new(&mut self.arena, size);
            let layout = ring.layout();
            self.common_write(spec::QUEUE_SIZE, 2, u64::from(size));
            self.common_write(spec::QUEUE_VECTOR, 2, index + 1);
            self.common_write(spec::QUEUE_DESCRIPTORS, 8, layout.descriptors.0);
            self.common_write(spec::QUEUE_AVAILABLE, 8, layout.available.0);
            self.common_write(spec::QUEUE_USED, 8, layout.used.0);
            self.common_write(spec::QUEUE_ENABLE, 2, 1);
            self.rings.push(ring);
        }
    }

    /// Everything that a driver does to start the device with `features`; panics when the device refuses.
    pub fn start(&mut self, features: u64) {
        self.enable_function();
        assert!(self.negotiate(features), "the device refuses {features:#x}");
        self.common_write(spec::CONFIG_VECTOR, 2, 0);
        self.set_up_queues();
        self.add_status(spec::STATUS_DRIVER_OK);
        assert_eq!(self.status() & spec::STATUS_NEEDS_RESET, 0, "the device did not start");
    }

    /// The driver's half of queue `index`.
    pub fn ring(&mut self, index: u16) -> &mut RingDriver {
        &mut self.rings[usize::from(index)]
    }

    /// Offset of queue `index`'s doorbell in the region.
    pub fn doorbell(&self, index: u16) -> u64 {
        let notify = self.structure(spec::CAPABILITY_NOTIFY);
        let multiplier = self.config_read(notify.capability + 16, 4);
        self.common_write(spec::QUEUE_SELECT, 2, u64::from(index));
        notify.offset + multiplier * self.common_read(spec::QUEUE_NOTIFY_OFFSET, 2)
    }

    /// Writes to queue `index`'s doorbell, on the bus.
    pub fn kick(&self, index: u16) {
        self.region_write(self.doorbell(index), 2, u64::from(index));
    }

    /// Adds a chain to queue `index` and kicks. Returns its head.
    pub fn submit(&mut self, index: u16, readable: &[Piece], writable: &[Piece]) -> u16 {
        let head = self.ring(index).add(readable, writable);
        self.kick(index);
        head
    }

    /// Waits for the next completion on queue `index`; panics after [`REPLY_TIMEOUT`].
    pub fn wait(&mut self, index: u16) -> Used {
        self.ring(index).wait_used(REPLY_TIMEOUT).expect("the device answers in time")
    }

    /// One request and its reply, as [`DirectDriver::request`].
    pub fn request(&mut self, index: u16, readable: &[&[u8]], writable: &[u32]) -> Reply {
        let mark = self.arena.mark();
        let readable = self.arena.put_each(readable);
        let writable = self.arena.room_each(writable);
        let head = self.submit(index, &readable, &writable);
        let used = self.wait(index);
        assert_eq!(used.head, u32::from(head), "the device completed another chain");
        let data = self.arena.gather(&writable);
        self.arena.release(mark);
        Reply { written_bytes: used.written_bytes, data }
    }

    /// Pauses and saves the device, and goes on with a fresh one that is given the saved bytes: guest memory
    /// and rings stay. `device` is built like the first one.
    pub fn move_to(self, device: Box<dyn VirtioDevice>) -> PciDriver {
        lock(&self.function).pause();
        let bytes = lock(&self.function).save_bytes().expect("the device can be saved");
        let bytes = bytes.expect("a transport has state");
        let PciDriver { arena, rings, .. } = self;
        let mut driver = PciDriver::build(device, Arc::new(NoDoorbells), arena, rings);
        lock(&driver.function).restore_bytes(&bytes).expect("the state is taken over");
        driver.root.resume();
        lock(&driver.function).resume();
        driver
    }
}
