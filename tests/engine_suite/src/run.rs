//! Runs one guest on one engine.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use arch_model::x86_64::{CpuModel, CpuState, ExtendedState, MsrValue, SystemRegisters};
use guest_memory::{Bytes, GpaRange, GuestAddress, GuestMemory, Policy};
use vcpu_model::{Engine, GuestIo, Halt, Kick, Vcpu, VcpuIndex, Vm, VmConfig};

use crate::guest::{Guest, has_error_code};
use crate::layout::{PORT, RAM_SIZE, STUBS};
use crate::outcome::{End, Frame, Outcome};

/// Longer than any case takes, on a loaded machine too.
const PATIENCE: Duration = Duration::from_secs(3);

/// RFLAGS.VM: the frame is one of virtual-8086 mode, whose code segment's low bits are no privilege.
const VM: u64 = 1 << 17;

/// The device world: the debug port ends the run.
pub struct DebugPort {
    kick: Arc<dyn Kick>,
}

impl DebugPort {
    /// A port that kicks `vcpu`.
    pub fn new(vcpu: &impl Vcpu) -> DebugPort {
        DebugPort { kick: vcpu.kicker() }
    }
}

impl GuestIo for DebugPort {
    fn port_read(&self, _port: u16, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn port_write(&self, port: u16, _data: &[u8]) {
        if port == PORT {
            self.kick.kick();
        }
    }

    fn mmio_read(&self, _address: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn mmio_write(&self, _address: u64, _data: &[u8]) {}
}

/// RAM of a guest.
pub fn allocate() -> Result<GuestMemory, String> {
    let range = GpaRange { start: GuestAddress(0), size_bytes: RAM_SIZE as u64 };
    let policy = Policy { huge_pages: false, ..Policy::default() };
    GuestMemory::allocate(&[range], policy).map_err(|error| error.to_string())
}

/// Runs `guest` in a VM of its own. `Err`: the engine could not.
pub fn run(engine: &impl Engine, guest: &Guest) -> Result<Outcome, String> {
    run_from(engine, guest, initial)
}

/// Runs `guest` from the state that `start` makes of the engine's after power-on.
pub fn run_from(
    engine: &impl Engine,
    guest: &Guest,
    start: impl FnOnce(&Guest, CpuState) -> CpuState,
) -> Result<Outcome, String> {
    let memory = allocate()?;
    memory.slots().write_slice(&guest.image(), GuestAddress(0)).map_err(|error| error.to_string())?;
    let cpu_model = guest.xcr0.map(|_| CpuModel::V3);
    let vm = engine.create_vm(&VmConfig::of(engine, 1, cpu_model).map_err(text)?, &memory).map_err(text)?;
    let mut vcpu = vm.create_vcpu(VcpuIndex(0)).map_err(text)?;
    let state = start(guest, vcpu.state().map_err(text)?);
    vcpu.set_state(&state).map_err(text)?;
    let (halt, silent) = run_patiently(&mut vcpu)?;
    let state = vcpu.state().map_err(text)?;
    Ok(outcome(guest, (halt, silent), state, read_ram(&memory)?))
}

/// All of a guest's RAM.
pub fn read_ram(memory: &GuestMemory) -> Result<Vec<u8>, String> {
    let mut ram = vec![0; RAM_SIZE];
    memory.slots().read_slice(&mut ram, GuestAddress(0)).map_err(|error| error.to_string())?;
    Ok(ram)
}

/// What the guest came to, by how [`run_patiently`] ended and what it left.
pub fn outcome(guest: &Guest, (halt, silent): (Halt, bool), state: CpuState, ram: Vec<u8>) -> Outcome {
    let mut outcome = Outcome { end: End::Silence, error: None, frame: Frame::default(), state, ram };
    match halt {
        Halt::Kicked if silent => {}
        Halt::Kicked => read_frame(guest, &mut outcome),
        other => outcome.end = End::Halt(other),
    }
    outcome
}

/// One line about an engine's error.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub fn text(error: vcpu_model::EngineError) -> String {
    use std::error::Error as _;
    let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{source}")
}

/// Runs until the guest stops; true if it had to be stopped.
pub fn run_patiently(vcpu: &mut impl Vcpu) -> Result<(Halt, bool), String> {
    run_for(vcpu, PATIENCE)
}

/// Runs until the guest stops, or is stopped after `time`, which the second value tells.
pub fn run_for(vcpu: &mut impl Vcpu, time: Duration) -> Result<(Halt, bool), String> {
    let io = DebugPort::new(vcpu);
    run_with(vcpu, &io, time)
}

/// The same with devices of one's own, of which the debug port is one.
pub fn run_with(vcpu: &mut impl Vcpu, io: &impl GuestIo, time: Duration) -> Result<(Halt, bool), String> {
    let kick = vcpu.kicker();
    let (ended, end) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        let silent = end.recv_timeout(time) == Err(mpsc::RecvTimeoutError::Timeout);
        if silent {
            kick.kick();
        }
        silent
    });
    let result = vcpu.run(io);
    let settled = vcpu.settle(io);
    drop(ended);
    let silent = watch.join().map_err(|_| "the watch ended badly".to_owned())?;
    settled.map_err(text)?;
    Ok((result.map_err(text)?, silent))
}

/// The engine's state after power-on, with everything that the guest brings.
pub fn initial(guest: &Guest, engine: CpuState) -> CpuState {
    let mut state = engine;
    let SystemRegisters { apic_base, cr8, .. } = state.system;
    state.system = SystemRegisters { apic_base, cr8, ..guest.system };
    state.registers = guest.registers;
    state.debug = guest.debug;
    state.events = guest.events;
    for (index, value) in guest.msrs.iter().copied() {
        match state.msrs.iter_mut().find(|msr| msr.index == index) {
            Some(msr) => msr.value = value,
            None => state.msrs.push(MsrValue { index, value }),
        }
    }
    if let Some(xcr0) = guest.xcr0 {
        state.extended = ExtendedState { xsave: filled_vectors(), xcr0 };
    }
    let registers = &mut state.lapic.registers;
    if let Some(vector) = guest.interrupt
        && registers.len() >= 0x28
    {
        // Enabled, spurious vector 255; the request in the IRR (SDM vol. 3, 11.9 and 11.8.4).
        registers[0xf] = 0x1ff;
        registers[0x20 + usize::from(vector / 32)] |= 1 << (vector % 32);
    }
    state
}

/// An XSAVE area with x87 as after FNINIT and vector register n full of bytes n + 1 (SDM vol. 1, 13.4).
fn filled_vectors() -> Vec<u8> {
    let mut area = vec![0; 576 + 256];
    area[0..2].copy_from_slice(&0x37f_u16.to_le_bytes());
    area[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
    area[512] = 7;
    for register in 0..16 {
        let byte = register as u8 + 1;
        area[160 + 16 * register..][..16].fill(byte);
        area[576 + 16 * register..][..16].fill(byte);
    }
    area
}

/// Finds out at which stub the guest is and what its frame says.
fn read_frame(guest: &Guest, outcome: &mut Outcome) {
    let registers = outcome.state.registers;
    let Some(vector) = registers.rip.checked_sub(STUBS).and_then(|offset| u8::try_from(offset / 16).ok())
    else {
        return;
    };
    let size = if guest.wide { 8 } else { 4 };
    let mut at = registers.rsp;
    let mut take = || {
        let value = outcome.memory(at);
        at += size;
        if size == 4 { value & 0xffff_ffff } else { value }
    };
    let error = has_error_code(vector).then(|| take() as u32);
    let mut frame = Frame { rip: take(), cs: take() as u16, rflags: take(), ..Frame::default() };
    let inner = outcome.state.system.cs.selector & 3 != frame.cs & 3;
    if guest.wide || inner || frame.rflags & VM != 0 {
        (frame.rsp, frame.ss) = (take(), take() as u16);
    }
    (outcome.end, outcome.error, outcome.frame) = (End::Event(vector), error, frame);
}
