//! Modes in which code is executed, for tests that go through all of them: a [`Guest`] brought into each.

use arch_model::x86_64::{CpuState, Registers, SystemRegisters};

use crate::guest::{Guest, descriptor};
use crate::layout::{TEST, USER_CODE32};
use crate::run::initial;
use crate::tables::Descriptor;

/// RFLAGS.VM.
const VM: u64 = 1 << 17;

/// What code is executed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// 64-bit, of a privilege level.
    Long(u8),
    /// 32-bit in long mode.
    Compatibility,
    /// 32-bit without paging, of a privilege level.
    Protected(u8),
    /// 16-bit segments without paging.
    Small,
    /// Virtual-8086.
    Virtual86,
    /// Real.
    Real,
}

/// All of them.
pub const MODES: [Mode; 8] = [
    Mode::Long(0),
    Mode::Long(3),
    Mode::Protected(0),
    Mode::Protected(3),
    Mode::Real,
    Mode::Compatibility,
    Mode::Small,
    Mode::Virtual86,
];

impl Mode {
    /// A guest that begins with `code`.
    pub fn guest(self, code: &[u8]) -> Guest {
        let mut guest = match self {
            Mode::Long(cpl) => Guest::long(cpl, code),
            Mode::Compatibility => Guest::long(3, code),
            Mode::Protected(cpl) => Guest::protected(cpl, code),
            Mode::Virtual86 => Guest::protected(3, code),
            Mode::Small | Mode::Real => Guest::protected(0, code),
        };
        match self {
            Mode::Compatibility => guest.system.cs = descriptor(USER_CODE32).segment(USER_CODE32),
            Mode::Small => {
                let code = Descriptor { big: false, ..Descriptor::flat(11, 0) };
                guest.descriptor(TEST, code);
                guest.system.cs = code.segment(TEST);
            }
            Mode::Virtual86 => {
                guest.registers.rflags |= VM;
                real_segments(&mut guest.registers, &mut guest.system);
            }
            _ => {}
        }
        guest
    }

    /// The state that the guest starts from on an engine.
    pub fn state(self, guest: &Guest, power_on: CpuState) -> CpuState {
        let Mode::Real = self else { return initial(guest, power_on) };
        let mut state = power_on;
        state.registers = guest.registers;
        real_segments(&mut state.registers, &mut state.system);
        state
    }

    /// RIP of the first instruction of `guest`, an offset in its segment.
    pub fn start(self, guest: &Guest) -> u64 {
        match self {
            Mode::Real | Mode::Virtual86 => guest.start & 0xf,
            _ => guest.start,
        }
    }

    /// Bits of addresses and operands.
    pub fn bits(self) -> u32 {
        match self {
            Mode::Long(_) => 64,
            Mode::Compatibility | Mode::Protected(_) => 32,
            Mode::Small | Mode::Virtual86 | Mode::Real => 16,
        }
    }

    /// Its privilege level.
    pub fn cpl(self) -> u8 {
        match self {
            Mode::Long(cpl) | Mode::Protected(cpl) => cpl,
            Mode::Compatibility | Mode::Virtual86 => 3,
            Mode::Small | Mode::Real => 0,
        }
    }
}

/// Segments that lead to 64 KiB at the code's place, and RIP in them.
fn real_segments(registers: &mut Registers, system: &mut SystemRegisters) {
    let start = registers.rip;
    registers.rip = start & 0xf;
    for segment in [&mut system.cs, &mut system.ss, &mut system.ds, &mut system.es] {
        (segment.selector, segment.base, segment.limit) = ((start >> 4) as u16, start & !0xf, 0xffff);
        (segment.dpl, segment.default_big, segment.granular) = (3, false, false);
    }
}
