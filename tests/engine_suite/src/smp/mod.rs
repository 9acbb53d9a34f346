//! Guests of several vCPUs: 64-bit code of privilege 0 that begins on all of them at once, in the page tables and
//! segments of [`Guest::long`], and the data that they share.

mod code;

use std::sync::{Arc, Mutex};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use arch_model::x86_64::{CpuModel, Registers, RunState};
use guest_memory::{Bytes, GpaRange, GuestAddress, GuestMemory, Policy};
use vcpu_model::{Engine, ExitCounters, GuestIo, Halt, Vcpu, VcpuIndex, Vm, VmConfig};

pub use code::Code;

use crate::guest::Guest;
use crate::run::{DebugPort, initial, run_with, text};
use crate::tables::{A, D, P, PS, U, W};

/// The most vCPUs of such a guest.
pub const VCPUS_MAX: usize = 4;
/// Guest-physical and linear address of 2 MiB of RAM for data.
pub const SHARED: u64 = 2 << 20;
/// Linear address at which there is no RAM, but a device: [`DEVICE_BYTES`] that are read and written one access at a time.
pub const DEVICES: u64 = 4 << 20;
/// What the device remembers.
pub const DEVICE_BYTES: usize = 8192;
/// Bytes of RAM.
const RAM_BYTES: u64 = 4 << 20;
/// The last level of the tables but one: 2 MiB an entry.
const DIRECTORY: u64 = crate::layout::PML4 + 0x2000;

/// What vCPU number `vcpu` has for itself: two pages of code, a page of data, a stack.
const PRIVATE: u64 = 0x2_8000;
const PRIVATE_BYTES: u64 = 0x4000;

/// Where the code of vCPU number `vcpu` begins.
pub fn code_of(vcpu: usize) -> u64 {
    PRIVATE + PRIVATE_BYTES * vcpu as u64
}

/// A page of data that only vCPU number `vcpu` uses; R15 holds its address when the code begins.
pub fn data_of(vcpu: usize) -> u64 {
    code_of(vcpu) + 0x2000
}

/// A guest of several vCPUs.
#[derive(Clone, Debug)]
pub struct SmpGuest {
    guest: Guest,
    vcpus: usize,
}

/// How such a guest ended.
pub struct Ended {
    /// The first vCPU's code came to its end in time; else it was stopped.
    pub in_time: bool,
    /// RAM, to be looked at.
    pub memory: GuestMemory,
    /// What the device remembers.
    pub device: Vec<u8>,
    /// Of each vCPU.
    pub counters: Vec<Arc<ExitCounters>>,
}

/// What a vCPU has around it: the debug port, and the device that all share.
struct SharedIo<'d> {
    port: DebugPort,
    device: &'d Mutex<Vec<u8>>,
}

impl SharedIo<'_> {
    fn with_bytes(&self, address: u64, len: usize, access: impl FnOnce(&mut [u8])) {
        let start = address.wrapping_sub(DEVICES) as usize;
        let mut device = self.device.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(bytes) = start.checked_add(len).and_then(|end| device.get_mut(start..end)) {
            access(bytes);
        }
    }
}

impl GuestIo for SharedIo<'_> {
    fn port_read(&self, port: u16, data: &mut [u8]) {
        self.port.port_read(port, data);
    }

    fn port_write(&self, port: u16, data: &[u8]) {
        self.port.port_write(port, data);
    }

    fn mmio_read(&self, address: u64, data: &mut [u8]) {
        self.with_bytes(address, data.len(), |bytes| data.copy_from_slice(bytes));
    }

    fn mmio_write(&self, address: u64, data: &[u8]) {
        self.with_bytes(address, data.len(), |bytes| bytes.copy_from_slice(data));
    }
}

impl SmpGuest {
    /// `codes` for as many vCPUs. The first ends the run when it ends; the others halt when theirs end.
    pub fn new(codes: &[Vec<u8>]) -> SmpGuest {
        assert!((1..=VCPUS_MAX).contains(&codes.len()), "a guest of 1 to {VCPUS_MAX} vCPUs");
        let mut guest = Guest::long(0, &[]);
        for (place, from) in [(1, SHARED), (2, DEVICES)] {
            guest.put64(DIRECTORY + 8 * place, from | P | W | U | A | D | PS);
        }
        for (vcpu, code) in codes.iter().enumerate() {
            let end: &[u8] = if vcpu == 0 { &[0xcd, crate::layout::DONE] } else { &[0xfa, 0xf4] };
            guest.put(code_of(vcpu), &[code, end].concat());
        }
        SmpGuest { guest, vcpus: codes.len() }
    }

    /// The guest itself, for what it has besides.
    pub fn guest(&mut self) -> &mut Guest {
        &mut self.guest
    }

    /// Runs the guest in a VM of its own, for `time` at most. `Err`: the engine could not.
    pub fn run(
        &self,
        engine: &impl Engine,
        cpu_model: Option<CpuModel>,
        time: Duration,
    ) -> Result<Ended, String> {
        let range = GpaRange { start: GuestAddress(0), size_bytes: RAM_BYTES };
        let policy = Policy { huge_pages: false, ..Policy::default() };
        let memory = GuestMemory::allocate(&[range], policy).map_err(|error| error.to_string())?;
        memory
            .slots()
            .write_slice(&self.guest.image(), GuestAddress(0))
            .map_err(|error| error.to_string())?;
        let config = VmConfig::of(engine, self.vcpus as u32, cpu_model).map_err(text)?;
        let vm = engine.create_vm(&config, &memory).map_err(text)?;
        let mut vcpus = Vec::new();
        for number in 0..self.vcpus {
            let mut vcpu = vm.create_vcpu(VcpuIndex(number as u32)).map_err(text)?;
            let mut state = initial(&self.guest, vcpu.state().map_err(text)?);
            state.run_state = RunState::Running;
            state.registers = Registers {
                rip: code_of(number),
                rsp: data_of(number) + 0x2000,
                r15: data_of(number),
                ..state.registers
            };
            vcpu.set_state(&state).map_err(text)?;
            vcpus.push(vcpu);
        }
        let device = Mutex::new(vec![0; DEVICE_BYTES]);
        let in_time = run_all(&mut vcpus, &device, time)?;
        let device = device.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let counters = vcpus.iter().map(Vcpu::counters).collect();
        Ok(Ended { in_time, memory, device, counters })
    }
}

/// Runs the vCPUs, each in a thread, until the first ends or the time has passed. Answers whether it ended.
fn run_all(vcpus: &mut [impl Vcpu], device: &Mutex<Vec<u8>>, time: Duration) -> Result<bool, String> {
    let Some((first, others)) = vcpus.split_first_mut() else { return Ok(true) };
    let kicks: Vec<_> = others.iter().map(|vcpu| vcpu.kicker()).collect();
    std::thread::scope(|scope| {
        let spawn = |vcpu: _| scope.spawn(move || run_one(vcpu, device));
        let threads: Vec<ScopedJoinHandle<'_, _>> = others.iter_mut().map(spawn).collect();
        let io = SharedIo { port: DebugPort::new(first), device };
        let ended = run_with(first, &io, time);
        kicks.iter().for_each(|kick| kick.kick());
        for thread in threads {
            thread.join().map_err(|_| "a vCPU's thread ended badly".to_owned())??;
        }
        ended.map(|(_, silent)| !silent)
    })
}

fn run_one(vcpu: &mut impl Vcpu, device: &Mutex<Vec<u8>>) -> Result<(), String> {
    let io = SharedIo { port: DebugPort::new(vcpu), device };
    match vcpu.run(&io).map_err(text)? {
        Halt::Kicked => Ok(()),
        halt => Err(format!("a vCPU stopped: {halt:?}")),
    }
}
