//! Which instruction forms are compared, and why the others are not.

use std::fmt::{self, Display};

use iced_x86::{Code, CpuidFeature, EncodingKind, FlowControl, Instruction, Mnemonic, OpCodeOperandKind};

/// Whose business a form is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// General-purpose registers.
    Integer,
    /// MMX, SSE and later.
    Vector,
    /// x87.
    X87,
}

impl Family {
    /// All of them.
    pub const ALL: [Family; 3] = [Family::Integer, Family::Vector, Family::X87];

    fn of(code: Code) -> Family {
        use CpuidFeature::{AVX, FPU, FPU287, FPU387, FXSR, XSAVE, XSAVEC, XSAVEOPT};
        let kinds = code.op_code();
        let is_vector_register = |kind: &OpCodeOperandKind| {
            let name = format!("{kind:?}");
            ["mm_", "xmm", "ymm"].iter().any(|start| name.starts_with(start))
        };
        if code.cpuid_features().iter().any(|feature| matches!(feature, FPU | FPU287 | FPU387)) {
            Family::X87
        } else if kinds.op_kinds().iter().any(is_vector_register)
            || matches!(code.mnemonic(), Mnemonic::Emms | Mnemonic::Ldmxcsr | Mnemonic::Stmxcsr)
            || code
                .cpuid_features()
                .iter()
                .any(|feature| matches!(feature, AVX | FXSR | XSAVE | XSAVEC | XSAVEOPT))
        {
            Family::Vector
        } else {
            Family::Integer
        }
    }
}

impl Display for Family {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Family::Integer => "integer",
            Family::Vector => "vector",
            Family::X87 => "x87",
        })
    }
}

/// Why a form is not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Omission {
    /// Not in 64-bit mode, or not a form that Intel's processors know.
    NoSuchForm,
    /// FWAIT and another instruction, which are compared one by one.
    Two,
    /// One of the two processors lacks the extension.
    NotInBoth,
    /// Needs CPL 0 or I/O privilege.
    Privileged,
    /// Far calls, jumps, returns.
    FarTransfer,
    /// Ends up in the operating system.
    SystemCall,
    /// Loads a segment register, or reads descriptor tables, which are the operating system's.
    Segments,
    /// Answers differ from machine to machine or from time to time.
    NotDeterministic,
    /// Depends on the components that the operating system has enabled.
    ExtendedState,
    /// Intel's and AMD's processors differ: the source of MOVSXD with 16 bits, register forms of 0F 0D, whether UD0 and
    /// UD1 have operands.
    MakersDiffer,
}

impl Display for Omission {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Omission::NoSuchForm => "no such form in 64-bit mode on Intel's processors",
            Omission::Two => "two instructions: FWAIT and another",
            Omission::NotInBoth => "extension not in both processors",
            Omission::Privileged => "privileged, or port I/O",
            Omission::FarTransfer => "far transfer",
            Omission::SystemCall => "system call or software interrupt",
            Omission::Segments => "segment load, or reads descriptor tables",
            Omission::NotDeterministic => "answers are the machine's own or random",
            Omission::ExtendedState => "depends on the XSAVE components that are enabled",
            Omission::MakersDiffer => "Intel's and AMD's processors differ",
        })
    }
}

/// A form that is compared.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// Which.
    pub code: Code,
    /// Whose business it is.
    pub family: Family,
    /// Guests of the engine are offered its extensions.
    pub offered: bool,
}

/// All instruction forms there are, with those left out that `both` processors do not have, and so on.
pub fn all(
    has: impl Fn(CpuidFeature) -> bool,
    offered: impl Fn(CpuidFeature) -> bool,
) -> Vec<Result<Form, (Code, Omission)>> {
    Code::values()
        .filter(|code| code.op_code().is_instruction())
        .map(|code| match omission(code, &has) {
            Some(reason) => Err((code, reason)),
            None => {
                let offered = code.cpuid_features().iter().all(|feature| offered(*feature));
                Ok(Form { code, family: Family::of(code), offered })
            }
        })
        .collect()
}

fn omission(code: Code, has: &impl Fn(CpuidFeature) -> bool) -> Option<Omission> {
    let op_code = code.op_code();
    if !op_code.mode64() || !op_code.intel_decoder64() {
        return Some(Omission::NoSuchForm);
    }
    if op_code.fwait() {
        return Some(Omission::Two);
    }
    let encodable = matches!(op_code.encoding(), EncodingKind::Legacy | EncodingKind::VEX);
    if !encodable || !code.cpuid_features().iter().all(|feature| has(*feature)) {
        return Some(Omission::NotInBoth);
    }
    if op_code.is_privileged() || op_code.must_be_cpl0() || op_code.is_input_output() {
        return Some(Omission::Privileged);
    }
    let differs = [
        Code::Movsxd_r16_rm16,
        Code::Reservednop_rm16_r16_0F0D,
        Code::Reservednop_rm32_r32_0F0D,
        Code::Reservednop_rm64_r64_0F0D,
    ];
    if differs.contains(&code) {
        return Some(Omission::MakersDiffer);
    }
    let loads_segment = matches!(code, Code::Mov_Sreg_rm16 | Code::Mov_Sreg_r32m16 | Code::Mov_Sreg_r64m16);
    if loads_segment {
        return Some(Omission::Segments);
    }
    by_mnemonic(code)
}

fn by_mnemonic(code: Code) -> Option<Omission> {
    use Mnemonic as M;
    let mut insn = Instruction::default();
    insn.set_code(code);
    let pops_segment = matches!(code, Code::Popw_FS | Code::Popq_FS | Code::Popw_GS | Code::Popq_GS);
    match code.mnemonic() {
        M::Ud0 | M::Ud1 => Some(Omission::MakersDiffer),
        _ if pops_segment => Some(Omission::Segments),
        M::Lfs | M::Lgs | M::Lss | M::Lar | M::Lsl | M::Verr | M::Verw => Some(Omission::Segments),
        M::Sgdt | M::Sidt | M::Sldt | M::Str | M::Smsw => Some(Omission::NotDeterministic),
        M::Iret | M::Iretd | M::Iretq | M::Retf => Some(Omission::FarTransfer),
        M::Syscall | M::Sysenter | M::Sysexit | M::Sysret | M::Int | M::Int1 | M::Int3 => {
            Some(Omission::SystemCall)
        }
        M::Cpuid | M::Rdtsc | M::Rdtscp | M::Rdpmc | M::Rdpid | M::Rdrand | M::Rdseed => {
            Some(Omission::NotDeterministic)
        }
        M::Xgetbv => Some(Omission::ExtendedState),
        M::Vmcall | M::Vmmcall => Some(Omission::SystemCall),
        M::Call | M::Jmp if is_far(code) => Some(Omission::FarTransfer),
        _ if insn.flow_control() == FlowControl::Interrupt => Some(Omission::SystemCall),
        _ => None,
    }
}

fn is_far(code: Code) -> bool {
    let mut insn = Instruction::default();
    insn.set_code(code);
    insn.is_jmp_far_indirect() || insn.is_call_far_indirect() || insn.is_jmp_far() || insn.is_call_far()
}
