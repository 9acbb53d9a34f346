//! Which encodings a program cannot try out, or not compare.

use std::fmt::{self, Display};

use iced_x86::{Code, CpuidFeature, FlowControl, Instruction, Mnemonic, OpKind, Register};

use crate::tolerance;

/// What is done with an encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Everything is compared.
    Compare,
    /// Its answer is the machine's or the moment's: whether it raises what, and its length.
    CompareOutcome,
    /// It is of an extension that one of the processors lacks.
    NotInBoth,
    /// Ends up in the operating system, or changes segments on which the program stands.
    OperatingSystem,
    /// What it does depends on what the operating system has enabled.
    ExtendedState,
    /// Prefixes of other instruction sets: EVEX, XOP, and what is no VEX prefix in compatibility mode.
    OtherSet,
}

impl Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Verdict::Compare | Verdict::CompareOutcome => "compared",
            Verdict::NotInBoth => "extension not in both processors",
            Verdict::OperatingSystem => "ends up in the operating system, or loads a segment",
            Verdict::ExtendedState => "depends on what the operating system has enabled",
            Verdict::OtherSet => "EVEX and XOP prefixes",
        })
    }
}

/// What is done with `insn`, as the decoder takes `bytes`; `has` tells of the extensions that both processors have.
pub fn verdict(insn: &Instruction, bytes: &[u8], bits: u32, has: impl Fn(CpuidFeature) -> bool) -> Verdict {
    use Mnemonic as M;
    if is_other_set(bytes, bits) {
        return Verdict::OtherSet;
    }
    if insn.is_invalid() {
        return Verdict::Compare;
    }
    let is_older = matches!(insn.mnemonic(), M::Tzcnt | M::Lzcnt);
    if !is_older && !insn.cpuid_features().iter().all(|feature| has(*feature)) {
        return Verdict::NotInBoth;
    }
    if is_for_the_system(insn) {
        return Verdict::OperatingSystem;
    }
    if tolerance::is_extended_state(insn.mnemonic()) || insn.mnemonic() == M::Xgetbv {
        return Verdict::ExtendedState;
    }
    match insn.mnemonic() {
        M::Rdtsc | M::Rdtscp | M::Rdpmc | M::Cpuid | M::Rdrand | M::Rdseed | M::Rdpid => {
            Verdict::CompareOutcome
        }
        M::Lar | M::Lsl | M::Verr | M::Verw => Verdict::CompareOutcome,
        // TF, which is the method's, is among the flags.
        M::Pushf | M::Pushfd | M::Pushfq => Verdict::CompareOutcome,
        // Selectors are the operating system's.
        M::Mov | M::Push if (0..insn.op_count()).any(|index| is_segment(insn, index)) => {
            Verdict::CompareOutcome
        }
        _ => Verdict::Compare,
    }
}

fn is_segment(insn: &Instruction, index: u32) -> bool {
    insn.op_kind(index) == OpKind::Register && insn.op_register(index).is_segment_register()
}

fn is_for_the_system(insn: &Instruction) -> bool {
    use Mnemonic as M;
    let loads_segment = is_segment(insn, 0) && matches!(insn.mnemonic(), M::Mov | M::Pop);
    let is_far = matches!(insn.op0_kind(), OpKind::FarBranch16 | OpKind::FarBranch32)
        || insn.is_jmp_far_indirect()
        || insn.is_call_far_indirect();
    let calls = matches!(
        insn.mnemonic(),
        M::Syscall | M::Sysenter | M::Int | M::Int1 | M::Int3 | M::Into | M::Vmcall | M::Vmmcall
    );
    let returns = matches!(insn.mnemonic(), M::Iret | M::Iretd | M::Iretq | M::Retf);
    let loads_pair = matches!(insn.mnemonic(), M::Lds | M::Les | M::Lfs | M::Lgs | M::Lss);
    // FS and GS have no segments in compatibility mode.
    let by_base = matches!(insn.segment_prefix(), Register::FS | Register::GS);
    // What is on the stack, or anything, may set TF or clear it.
    let sets_trap_flag = matches!(insn.code(), Code::Popfw | Code::Popfd | Code::Popfq);
    // With UMIP, Linux answers some of them itself.
    let stores_table = matches!(insn.mnemonic(), M::Sgdt | M::Sidt | M::Sldt | M::Str | M::Smsw);
    loads_segment
        || stores_table
        || is_far
        || calls
        || returns
        || loads_pair
        || sets_trap_flag
        || by_base && insn.code_size() != iced_x86::CodeSize::Code64
        || insn.flow_control() == FlowControl::Interrupt
}

fn is_other_set(bytes: &[u8], bits: u32) -> bool {
    let is_prefix = |byte: &u8| {
        matches!(byte, 0x66 | 0x67 | 0xf0 | 0xf2 | 0xf3 | 0x2e | 0x65) || bits == 64 && byte & 0xf0 == 0x40
    };
    let at = bytes.iter().take_while(|byte| is_prefix(byte)).count();
    let next = bytes.get(at + 1).copied().unwrap_or(0);
    let is_register = bits == 64 || next >> 6 == 3;
    match bytes[at] {
        0x62 => is_register,
        // POP only where ModRM.reg is zero; else XOP (APM vol. 6, 1.2.5).
        0x8f => next >> 3 & 7 != 0,
        _ => false,
    }
}
