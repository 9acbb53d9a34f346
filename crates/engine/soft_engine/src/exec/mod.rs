//! What instructions do, a file a family. Each family's `handler` is the one place where its instructions are named;
//! decoding (length, operands, prefixes) is iced's.

use iced_x86::{ConditionCode, FlowControl, Instruction, Mnemonic, OpKind};

use crate::cpu::{Core, Exec};
use crate::decode::insn::{Handler, Insn};

mod arith;
mod atomic;
mod bcd;
mod bits;
mod branch;
mod data;
mod far;
mod flag_ops;
mod hints;
mod interrupt_ops;
mod logic;
mod muldiv;
mod port_ops;
#[cfg(test)]
pub mod program;
mod segment_ops;
mod shift;
mod stack_ops;
mod string;
mod system;
mod vector;
mod wide;
mod x87;

/// An instruction as a family looks at it.
pub struct Form<'i> {
    /// What it does.
    pub mnemonic: Mnemonic,
    /// Size in bytes of what it works on: the first operand where that is a general-purpose register, else the
    /// memory operand.
    pub size: usize,
    /// Everything else.
    pub insn: &'i Instruction,
}

/// Picks the instance of a generic handler for the instruction's size: `by_size!(form, add)`.
macro_rules! by_size {
    ($form:expr, $handler:ident) => {
        match $form.size {
            1 => Some($handler::<u8> as crate::decode::insn::Handler),
            2 => Some($handler::<u16> as crate::decode::insn::Handler),
            4 => Some($handler::<u32> as crate::decode::insn::Handler),
            8 => Some($handler::<u64> as crate::decode::insn::Handler),
            _ => None,
        }
    };
}
pub(crate) use by_size;

/// The handler of a serializing instruction (SDM vol. 3, 9.3): what was stored up to its end is seen by all vCPUs before
/// anything behind it is loaded.
macro_rules! serializing {
    ($handler:expr) => {{
        fn serializing(
            core: &mut crate::cpu::Core<'_>,
            insn: &crate::decode::insn::Insn,
        ) -> crate::cpu::Exec {
            let done = $handler(core, insn);
            crate::memory::order::drain_stores();
            done
        }
        serializing as crate::decode::insn::Handler
    }};
}
use serializing;

/// Picks the instance of a handler for a [`condition`]: `by_condition!(code, cmov, u32)`.
macro_rules! by_condition {
    ($code:expr, $handler:ident $(, $word:ty)?) => {
        match $code {
            0 => Some($handler::<$($word,)? 0> as crate::decode::insn::Handler),
            1 => Some($handler::<$($word,)? 1> as crate::decode::insn::Handler),
            2 => Some($handler::<$($word,)? 2> as crate::decode::insn::Handler),
            3 => Some($handler::<$($word,)? 3> as crate::decode::insn::Handler),
            4 => Some($handler::<$($word,)? 4> as crate::decode::insn::Handler),
            5 => Some($handler::<$($word,)? 5> as crate::decode::insn::Handler),
            6 => Some($handler::<$($word,)? 6> as crate::decode::insn::Handler),
            7 => Some($handler::<$($word,)? 7> as crate::decode::insn::Handler),
            8 => Some($handler::<$($word,)? 8> as crate::decode::insn::Handler),
            9 => Some($handler::<$($word,)? 9> as crate::decode::insn::Handler),
            10 => Some($handler::<$($word,)? 10> as crate::decode::insn::Handler),
            11 => Some($handler::<$($word,)? 11> as crate::decode::insn::Handler),
            12 => Some($handler::<$($word,)? 12> as crate::decode::insn::Handler),
            13 => Some($handler::<$($word,)? 13> as crate::decode::insn::Handler),
            14 => Some($handler::<$($word,)? 14> as crate::decode::insn::Handler),
            15 => Some($handler::<$($word,)? 15> as crate::decode::insn::Handler),
            _ => None,
        }
    };
}
use by_condition;

pub use branch::counter_size;
pub use data::absolute_move;

type Family = fn(&Form<'_>) -> Option<Handler>;

/// The families, those that code is full of first.
const FAMILIES: &[Family] = &[
    data::handler,
    arith::handler,
    logic::handler,
    branch::handler,
    stack_ops::handler,
    shift::handler,
    bits::handler,
    muldiv::handler,
    string::handler,
    atomic::handler,
    flag_ops::handler,
    hints::handler,
    system::handler,
    segment_ops::handler,
    interrupt_ops::handler,
    far::handler,
    port_ops::handler,
    bcd::handler,
    vector::handler,
    x87::handler,
];

/// What executes `insn`; `None` if no CPU of ours does.
pub fn handler(mnemonic: Mnemonic, insn: &Instruction, size: usize) -> Option<Handler> {
    let form = Form { mnemonic, size, insn };
    FAMILIES.iter().find_map(|family| family(&form))
}

/// Executes what is not offered or does not exist.
pub fn undefined(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    core.undefined()
}

/// Raises #UD where there are no VEX prefixes (SDM vol. 2A, 2.5, exception type 13): instructions of general registers
/// ask for nothing else.
#[inline(always)]
fn check_vex(core: &mut Core<'_>) -> Exec {
    if core.mode.is_protected() { Ok(()) } else { core.undefined() }
}

/// The condition of a Jcc, SETcc or CMOVcc as its opcode encodes it (SDM vol. 1, appendix B).
fn condition(insn: &Instruction) -> Option<u8> {
    match insn.condition_code() {
        ConditionCode::None => None,
        code => Some(code as u8 - ConditionCode::o as u8),
    }
}

/// An offset cut to the address size, which is 2, 4 or 8 bytes.
#[inline(always)]
fn wrap(address_size: u8, offset: u64) -> u64 {
    match address_size {
        8 => offset,
        4 => offset & 0xffff_ffff,
        _ => offset & 0xffff,
    }
}

/// Whether the block ends with `insn`: it branches, raises, may go back to itself, or changes something on which
/// decoding, translation or delivery of interrupts depends.
pub fn ends_block(insn: &Instruction) -> bool {
    insn.flow_control() != FlowControl::Next
        || is_repeated_string(insn)
        || writes_system_register(insn)
        || is_system(insn.mnemonic())
}

/// Whether `insn` is a string instruction that may go back to itself.
pub fn is_repeated_string(insn: &Instruction) -> bool {
    insn.is_string_instruction() && (insn.has_rep_prefix() || insn.has_repne_prefix())
}

/// Segment, control and debug registers as destinations.
fn writes_system_register(insn: &Instruction) -> bool {
    let register = insn.op0_register();
    let loads_far_pointer = matches!(
        insn.mnemonic(),
        Mnemonic::Lds | Mnemonic::Les | Mnemonic::Lfs | Mnemonic::Lgs | Mnemonic::Lss
    );
    loads_far_pointer
        || insn.op0_kind() == OpKind::Register
            && matches!(insn.mnemonic(), Mnemonic::Mov | Mnemonic::Pop)
            && (register.is_segment_register() || register.is_cr() || register.is_dr())
}

fn is_system(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        mnemonic,
        M::Popf
            | M::Popfd
            | M::Popfq
            | M::Sti
            | M::Hlt
            | M::Mwait
            | M::In
            | M::Out
            | M::Insb
            | M::Insw
            | M::Insd
            | M::Outsb
            | M::Outsw
            | M::Outsd
            | M::Lgdt
            | M::Lidt
            | M::Lldt
            | M::Ltr
            | M::Lmsw
            | M::Wrmsr
            | M::Xsetbv
            | M::Invlpg
            | M::Invpcid
            | M::Syscall
            | M::Sysret
            | M::Sysretq
            | M::Sysenter
            | M::Sysexit
            | M::Sysexitq
            | M::Iret
            | M::Iretd
            | M::Iretq
            | M::Vmcall
            | M::Vmmcall
            | M::Ud0
            | M::Ud1
            | M::Ud2
    )
}
