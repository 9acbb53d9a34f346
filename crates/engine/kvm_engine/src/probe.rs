//! Finding out what stands behind `/dev/kvm`: a guest of a few thousand ring-0 instructions.
//!
//! On hardware they take microseconds; where KVM emulates ring 0 they take a thousand times as long, and
//! some instructions that every kernel uses fail altogether.

use std::time::{Duration, Instant};

use guest_memory::{Bytes, GpaRange, GuestAddress, GuestMemory, Policy};
use vcpu_model::{Engine, EngineError, GuestIo, Halt, Kick, Vcpu, VcpuIndex, Vm, VmConfig};

use crate::engine::KvmEngine;

/// What the probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// The verdict.
    pub hardware: Hardware,
    /// Time of the measured instructions.
    pub elapsed: Duration,
    /// How many they were, in ring 0.
    pub instructions: u64,
    /// Frequency of its TSC, in kHz, where KVM says it.
    pub tsc_khz: Option<u32>,
}

/// Whether hardware virtualization runs the guest's ring 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hardware {
    /// Ring 0 runs on the CPU.
    Present,
    /// Ring 0 is emulated: too slow and too incomplete for an operating system.
    Absent,
}

/// Where the kernel tells of this host's processors (proc_cpuinfo(5)).
pub const CPUINFO: &str = "/proc/cpuinfo";

/// Hardware virtualization by the flags of the first processor in [`CPUINFO`].
pub fn virtualization(cpuinfo: &str) -> Option<&'static str> {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"))?;
    let has = |name| flags.split_ascii_whitespace().any(|flag| flag == name);
    match () {
        () if has("vmx") => Some("VT-x"),
        () if has("svm") => Some("AMD-V"),
        () => None,
    }
}

/// How often both loops are measured.
const ROUNDS: u8 = 3;
/// Iterations of the two loops, of two instructions each. What both have in common, leaving the guest and
/// entering it again, does not count: it takes long where this host is a guest itself. The quickest of each is
/// taken, as others may have used the processor meanwhile.
const SHORT_LOOP: u16 = 200;
const LONG_LOOP: u16 = SHORT_LOOP + 1500;
/// Slower than this on average is not hardware: nested or not, a CPU takes nanoseconds for each of these
/// instructions, and an emulator hundreds.
const LIMIT_PER_INSTRUCTION: Duration = Duration::from_nanos(150);
/// Port on which the guest says where it is.
const MARK_PORT: u16 = 0x80;

/// Real-mode code: so many times announce, count down, announce, count down for longer, announce; then execute
/// `int3` through a vector that leads to the last announcement, and halt.
const CODE: [u8; 34] = {
    let [short_low, short_high] = SHORT_LOOP.to_le_bytes();
    let [long_low, long_high] = LONG_LOOP.to_le_bytes();
    [
        0xbe, ROUNDS, 0x00, // mov si, ROUNDS
        0xe6, 0x80, // out 0x80, al
        0xb9, short_low, short_high, // mov cx, SHORT_LOOP
        0x49,       // dec cx
        0x75, 0xfd, // jnz -3
        0xe6, 0x80, // out 0x80, al
        0xb9, long_low, long_high, // mov cx, LONG_LOOP
        0x49,      // dec cx
        0x75, 0xfd, // jnz -3
        0xe6, 0x80, // out 0x80, al
        0x4e, // dec si
        0x75, 0xeb, // jnz -21
        0xbc, 0x00, 0x20, // mov sp, 0x2000
        0xcc, // int3
        0xf4, // hlt (not reached)
        0xe6, 0x80, // handler: out 0x80, al
        0xf4, // hlt
        0xeb, 0xfd, // jmp -3
    ]
};
const CODE_ADDRESS: u64 = 0x1000;
const HANDLER_OFFSET: u16 = 29;
/// Announcements of a round.
const MARKS_OF_A_ROUND: usize = 3;
/// Announcements of a guest that came to its end.
const ALL_MARKS: usize = MARKS_OF_A_ROUND * ROUNDS as usize + 1;

struct Marks {
    times: std::cell::RefCell<Vec<Instant>>,
    done: std::sync::Arc<dyn Kick>,
}

impl GuestIo for Marks {
    fn port_read(&self, _port: u16, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn port_write(&self, port: u16, _data: &[u8]) {
        if port == MARK_PORT {
            self.times.borrow_mut().push(Instant::now());
            if self.times.borrow().len() == ALL_MARKS {
                self.done.kick();
            }
        }
    }

    fn mmio_read(&self, _address: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn mmio_write(&self, _address: u64, _data: &[u8]) {}
}

pub(crate) fn probe(engine: &KvmEngine) -> Result<ProbeReport, EngineError> {
    let vm = engine.create_vm(&VmConfig::of(engine, 1, None)?, &small_memory()?)?;
    let mut vcpu = vm.create_vcpu(VcpuIndex(0))?;
    let mut state = vcpu.state()?;
    state.system.cs.base = 0;
    state.system.cs.selector = 0;
    state.registers.rip = CODE_ADDRESS;
    state.registers.rflags = 2;
    vcpu.set_state(&state)?;
    let marks = Marks { times: std::cell::RefCell::default(), done: vcpu.kicker() };
    let outcome = vcpu.run(&marks);
    let times = marks.times.borrow();
    let Some(elapsed) = elapsed(&times) else {
        return Err(outcome
            .err()
            .unwrap_or_else(|| EngineError::Unsupported("the probe guest did not run".into())));
    };
    let instructions = u64::from(LONG_LOOP - SHORT_LOOP) * 2;
    let fast = elapsed < LIMIT_PER_INSTRUCTION * instructions as u32;
    let whole = times.len() == ALL_MARKS && matches!(outcome, Ok(Halt::Kicked));
    let hardware = if fast && whole { Hardware::Present } else { Hardware::Absent };
    Ok(ProbeReport { hardware, elapsed, instructions, tsc_khz: state.tsc_khz })
}

/// What the longer loop takes longer, by the times of the announcements; `None` if not one round is whole.
fn elapsed(times: &[Instant]) -> Option<Duration> {
    let rounds = || times.chunks_exact(MARKS_OF_A_ROUND);
    let quickest = |from: usize| rounds().map(|round| round[from + 1] - round[from]).min();
    Some(quickest(1)?.saturating_sub(quickest(0)?))
}

fn small_memory() -> Result<GuestMemory, EngineError> {
    let policy = Policy { huge_pages: false, ..Policy::default() };
    let range = GpaRange { start: GuestAddress(0), size_bytes: 0x4000 };
    let memory = GuestMemory::allocate(&[range], policy)
        .map_err(|error| EngineError::Unsupported(format!("no memory for the probe guest: {error}")))?;
    let write = |bytes: &[u8], at| memory.slots().write_slice(bytes, GuestAddress(at));
    // Vector 3 of the real-mode interrupt table: offset and segment of the handler.
    let vector = (CODE_ADDRESS as u16 + HANDLER_OFFSET).to_le_bytes();
    write(&CODE, CODE_ADDRESS)
        .and_then(|()| write(&vector, 3 * 4))
        .map_err(|error| EngineError::Unsupported(format!("no memory for the probe guest: {error}")))?;
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_is_told_by_a_flag() {
        assert_eq!(virtualization("flags\t\t: fpu vmx sse"), Some("VT-x"));
        assert_eq!(virtualization("flags\t\t: fpu svm sse"), Some("AMD-V"));
        assert_eq!(virtualization("flags\t\t: fpu vmx_x\nbugs\t: svm"), None);
    }

    #[test]
    fn what_others_used_the_processor_for_does_not_count() {
        let start = Instant::now();
        let times = |spans: &[u64]| {
            let mut at = start;
            let ends = spans.iter().map(|micros| {
                at += Duration::from_micros(*micros);
                at
            });
            ends.collect::<Vec<_>>()
        };
        // Announcement, short loop, long loop; twice a loop is interrupted for long.
        let emulated = [0, 350, 2900, 1, 9000, 2850, 1, 360, 7000, 1];
        assert_eq!(elapsed(&times(&emulated)), Some(Duration::from_micros(2500)));
        let on_hardware = [0, 4000, 6, 1, 5, 7, 1, 5, 3000, 1];
        assert_eq!(elapsed(&times(&on_hardware)), Some(Duration::from_micros(1)));
        assert_eq!(elapsed(&times(&[0, 350])), None);
    }
}
