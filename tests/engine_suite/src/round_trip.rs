//! A guest that stops half-way, is carried to another VM, perhaps of another engine, and goes on there.
//!
//! ```text
//! first_half ─► Stop ─► carry (set and read again, any number of times) ─► second_half ─► Outcome
//! ```

use std::time::Duration;

use arch_model::x86_64::{CpuState, IoApicPin, PlatformState};
use guest_memory::{Bytes, GuestAddress, GuestMemory};
use vcpu_model::{Engine, Vcpu, VcpuIndex, Vm, VmConfig};

use crate::guest::{Guest, IF};
use crate::layout::{DATA, INTERRUPT};
use crate::outcome::Outcome;
use crate::run::{allocate, initial, outcome, read_ram, run_for, run_patiently, text};

/// What is on its way when the guest is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// Nothing; the guest ends by INT.
    Nothing,
    /// The LAPIC's timer counts, one-shot.
    Timer,
    /// An edge came in at the I/O APIC.
    Edge,
    /// A level-triggered input of the I/O APIC is high.
    Level,
}

impl Pending {
    /// All of them.
    pub const ALL: [Pending; 4] = [Pending::Nothing, Pending::Timer, Pending::Edge, Pending::Level];
}

/// The input that [`Pending::Edge`] and [`Pending::Level`] use.
const INPUT: u32 = 4;
/// Level-triggered, in a redirection entry (82093AA, 3.2.4).
const LEVEL: u64 = 1 << 15;
/// Divide configuration of the timer: by 16 (SDM vol. 3, 11.5.4).
const DIVIDE_BY_16: u32 = 3;
/// Initial count of the timer: most of a minute, with a bus clock near 1 GHz. The first half outlasts it on no machine.
const TIMER_COUNT: u32 = 3_000_000_000;
/// What of it is left when the guest is carried: some tenths of a second.
const TIMER_LEFT: u32 = 10_000_000;
/// The timer's current count, among the LAPIC's registers.
const CURRENT_COUNT: usize = 0x39;
/// How long the first half runs. It need not come to its end: the rest is then done on the other side.
const FIRST_HALF: Duration = Duration::from_millis(40);

/// A stopped guest.
#[derive(Clone, Debug)]
pub struct Stop {
    /// RAM.
    pub ram: Vec<u8>,
    /// The vCPU.
    pub cpu: CpuState,
    /// I/O APIC and clock.
    pub platform: PlatformState,
}

/// xor [rbx], rax in 32-bit code; dec ecx.
const XOR: [u8; 2] = [0x31, 0x03];
const DEC: [u8; 2] = [0xff, 0xc9];
/// Where the program waits for a byte that is not 0 between its halves, and the loop that does: cmp byte [rbx + 8], 0;
/// je to itself.
const SIGNAL: u64 = DATA + 8;
const WAIT_FOR_SIGNAL: [u8; 6] = [0x80, 0x7b, 0x08, 0x00, 0x74, 0xfa];
/// ud2: the end, where nothing is pending. Not INT, which some KVMs that emulate ring 0 have not.
const END: [u8; 2] = [0x0f, 0x0b];
/// jmp to itself; before it STI, for ring 0.
const WAIT: [u8; 2] = [0xeb, 0xfe];
const STI_AND_WAIT: [u8; 3] = [0xfb, 0xeb, 0xfe];

/// Two loops with a wait between, in ring 3 with paging (integers, x87, SSE) or in flat 32-bit code of ring 0
/// (integers). With something pending it waits for that: in ring 0 at the end, behind STI, in ring 3 from the start.
pub fn program(long: bool, pending: Pending) -> Guest {
    // lea rax, [rax + 2 * rax + 7]; paddq xmm0, xmm1; fld1; faddp
    let lea: &[u8] = if long { &[0x48, 0x8d, 0x44, 0x40, 0x07] } else { &[0x8d, 0x44, 0x40, 0x07] };
    let float: &[u8] = if long { &[0x66, 0x0f, 0xd4, 0xc1, 0xd9, 0xe8, 0xde, 0xc1] } else { &[] };
    let body = [lea, &XOR, float, &DEC].concat();
    let back = 0u8.wrapping_sub(body.len() as u8 + 2);
    let count = [0xb9, 0xf4, 0x01, 0, 0]; // mov ecx, 500
    let half = [&count[..], &body, &[0x75, back]].concat();
    // fldz; movq xmm1, rbx
    let start: &[u8] = if long { &[0xd9, 0xee, 0x66, 0x48, 0x0f, 0x6e, 0xcb] } else { &[] };
    let end: &[u8] = match pending {
        Pending::Nothing => &END,
        _ if long => &WAIT,
        _ => &STI_AND_WAIT,
    };
    let code = [start, &half, &WAIT_FOR_SIGNAL, &half, end].concat();
    let mut guest = if long { Guest::long(3, &code) } else { Guest::protected(0, &code) };
    if long && pending != Pending::Nothing {
        guest.registers.rflags |= IF;
    }
    guest.registers.rbx = DATA;
    (guest.registers.r12, guest.registers.rbp) = if long { (0x1234_5678_9abc_def0, 5) } else { (0, 5) };
    guest.debug.addresses = [0x1111, 0x2222, 0x3333, 0x4444];
    guest
}

struct Running<V, C> {
    vm: V,
    vcpu: C,
    memory: GuestMemory,
}

fn create<E: Engine>(engine: &E, ram: &[u8]) -> Result<Running<E::Vm, <E::Vm as Vm>::Vcpu>, String> {
    let memory = allocate()?;
    memory.slots().write_slice(ram, GuestAddress(0)).map_err(|error| error.to_string())?;
    let vm = engine.create_vm(&VmConfig::of(engine, 1, None).map_err(text)?, &memory).map_err(text)?;
    let vcpu = vm.create_vcpu(VcpuIndex(0)).map_err(text)?;
    Ok(Running { vm, vcpu, memory })
}

impl<V: Vm, C: Vcpu> Running<V, C> {
    fn stop(&self) -> Result<Stop, String> {
        let cpu = self.vcpu.state().map_err(text)?;
        let platform = self.vm.platform_state().map_err(text)?;
        Ok(Stop { ram: read_ram(&self.memory)?, cpu, platform })
    }

    fn restore(&mut self, stop: &Stop) -> Result<(), String> {
        self.vm.set_platform_state(&stop.platform).map_err(text)?;
        self.vcpu.set_state(&stop.cpu).map_err(text)
    }
}

/// The frequency of the TSC of `engine`'s guests in kHz, where it is known.
pub fn tsc_khz(engine: &impl Engine) -> Result<Option<u32>, String> {
    let running = create(engine, &[])?;
    Ok(running.vcpu.state().map_err(text)?.tsc_khz)
}

/// Runs `guest` to its stop, with `pending` on its way there. `tsc_khz`: its TSC's frequency; `None` for the engine's own.
pub fn first_half(
    engine: &impl Engine,
    guest: &Guest,
    pending: Pending,
    tsc_khz: Option<u32>,
) -> Result<Stop, String> {
    let mut running = create(engine, &guest.image())?;
    let mut state = initial(guest, running.vcpu.state().map_err(text)?);
    state.tsc_khz = tsc_khz.or(state.tsc_khz);
    let registers = &mut state.lapic.registers;
    if registers.len() >= 0x40 {
        registers[0xf] = 0x1ff; // enabled (SDM vol. 3, 11.9)
    }
    if pending == Pending::Timer && registers.len() >= 0x40 {
        registers[0x3e] = DIVIDE_BY_16;
        registers[0x32] = INTERRUPT.into(); // one-shot, not masked
        (registers[0x38], registers[CURRENT_COUNT]) = (TIMER_COUNT, TIMER_COUNT);
    }
    running.vcpu.set_state(&state).map_err(text)?;
    if matches!(pending, Pending::Edge | Pending::Level) {
        let mut platform = running.vm.platform_state().map_err(text)?;
        let level = if pending == Pending::Level { LEVEL } else { 0 };
        if let Some(pin) = platform.ioapic.pins.get_mut(INPUT as usize) {
            *pin = IoApicPin(u64::from(INTERRUPT) | level);
        }
        running.vm.set_platform_state(&platform).map_err(text)?;
    }
    let (halt, stopped) = run_for(&mut running.vcpu, FIRST_HALF)?;
    if !stopped {
        let rip = running.vcpu.state().map_err(text)?.registers.rip;
        return Err(format!("the guest ended before it was stopped: {halt:?}, rip {rip:#x}"));
    }
    match pending {
        Pending::Edge => running.vm.irq_line(INPUT).pulse(),
        Pending::Level => running.vm.irq_line(INPUT).set_level(true),
        Pending::Nothing | Pending::Timer => {}
    }
    let mut stop = running.stop()?;
    if pending == Pending::Timer {
        nearly_due(&mut stop.cpu)?;
    }
    Ok(stop)
}

/// Lets most of the time go by that the timer still has to count.
fn nearly_due(cpu: &mut CpuState) -> Result<(), String> {
    match cpu.lapic.registers.get_mut(CURRENT_COUNT) {
        Some(count) if (TIMER_LEFT..TIMER_COUNT).contains(count) => *count = TIMER_LEFT,
        count => return Err(format!("the timer should be counting, and is at {count:?}")),
    }
    Ok(())
}

/// Sets `stop` in a new VM of `engine` and reads it back.
pub fn carry(engine: &impl Engine, stop: &Stop) -> Result<Stop, String> {
    let mut running = create(engine, &stop.ram)?;
    running.restore(stop)?;
    running.stop()
}

/// Sets `stop` in a new VM of `engine` and runs `guest` to its end.
pub fn second_half(engine: &impl Engine, guest: &Guest, stop: &Stop) -> Result<Outcome, String> {
    let mut running = create(engine, &stop.ram)?;
    running.restore(stop)?;
    running.memory.slots().write_slice(&[1], GuestAddress(SIGNAL)).map_err(|error| error.to_string())?;
    let ended = run_patiently(&mut running.vcpu)?;
    let state = running.vcpu.state().map_err(text)?;
    Ok(outcome(guest, ended, state, read_ram(&running.memory)?))
}
