//! What the translator knows about an instruction before it emits anything: how it is translated, where its memory
//! operand is, and what it does to the status flags.

use iced_x86::{
    CpuidFeature, FlowControl, Instruction, InstructionInfoFactory, InstructionInfoOptions, Mnemonic,
    OpAccess, OpKind, Register, RflagsBits,
};

use super::host_cpu;
use super::operands::{
    has_plain_operands, is_gpr_or_immediate_or_memory, is_gpr_or_memory, is_high_byte, is_memory,
    is_register, shifts_by_nothing, string_element,
};
use super::system::System;
use super::words::vectors;
use crate::cpu::{flags, seg};
use crate::features::Features;
use crate::undefined;

/// Status flags by iced's names for them, and at their places in RFLAGS.
const NAMES: [(u32, u64); 6] = [
    (RflagsBits::OF, flags::OF),
    (RflagsBits::SF, flags::SF),
    (RflagsBits::ZF, flags::ZF),
    (RflagsBits::AF, flags::AF),
    (RflagsBits::CF, flags::CF),
    (RflagsBits::PF, flags::PF),
];

/// By which template an instruction is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// By the interpreter's handler.
    Interpreted,
    /// By the interpreter, which looks at it anew each time: its end is in the next page.
    Crossing,
    /// By itself, with its operands mapped; all registers are general-purpose.
    Mapped,
    /// The same, with a VEX prefix.
    MappedVex,
    /// By itself, with its memory and general-purpose operands mapped.
    Vector,
    /// The same, with a VEX prefix.
    VectorVex,
    /// By itself on the host's x87 unit.
    X87,
    /// REP MOVS or REP STOS, with the power of two that its elements have in bytes.
    String {
        element: u8,
    },
    /// A shift or rotation by CL.
    ShiftByCl,
    /// BSF and BSR.
    Scan,
    /// One operand against the accumulator: opcodes 04 to 3D, A8, A9.
    AccumulatorImmediate,
    MovImmediate,
    Lea,
    Push,
    Pop,
    Leave,
    Call,
    CallIndirect,
    Jump,
    JumpIndirect,
    JumpIf,
    Return,
    Widen,
    Multiply,
    Divide,
    CompareExchange,
    ExchangeRegisters,
    ByteSwap,
    ZeroExtendHighByte,
    Nothing,
    /// What kernels are full of.
    System(System),
}

/// How an access to memory is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// By itself.
    Own,
    /// For a window of `span` bytes, in which it lies at `own`; its host address goes to word `slot`.
    Lead { slot: u8, own: i32, span: i32 },
    /// Not at all: it lies at `own` in the window whose host address is in word `slot`.
    Follow { slot: u8, own: i32 },
}

/// A memory operand.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Bytes.
    pub size: u32,
    /// It is written, perhaps read too.
    pub write: bool,
    /// Has to be a multiple of its size.
    pub aligned: bool,
    /// The host locks it, so that it has to lie in one cache line.
    pub locked: bool,
}

/// An instruction with all that.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub insn: Instruction,
    pub template: Template,
    /// Offset in its page.
    pub offset: u16,
    pub memory: Option<Memory>,
    /// Status flags that it reads, at their places in RFLAGS.
    pub reads: u64,
    /// Those that it writes, or leaves undefined.
    pub modified: u64,
    /// Those that it leaves undefined: what the host makes of them is dropped.
    pub undefined: u64,
    /// It writes some, or all but leaves them alone at times: those before have to be there.
    pub writes_part: bool,
    /// It writes all.
    pub writes_all: bool,
    /// Operand 0 is written.
    pub writes_first: bool,
    /// Operand 1 is.
    pub writes_second: bool,
    /// How its access to memory is checked.
    pub check: Check,
    /// Nothing that follows it belongs to the unit.
    pub ends: bool,
    /// Somebody looks at the flags as they are after it.
    pub flags_wanted: bool,
}

impl Plan {
    /// What it asks of the vector registers.
    pub fn vectors(&self) -> u8 {
        match self.template {
            Template::Vector => vectors::SSE,
            Template::VectorVex => vectors::AVX,
            _ => vectors::NONE,
        }
    }

    /// Plans `insn`, which was decoded with its offset in the page for an address. What the guest's CPU does not have
    /// is the interpreter's business, and so is what the host's does not.
    pub fn of(insn: &Instruction, features: &Features, info: &mut InstructionInfoFactory) -> Plan {
        let on_both = |feature: &CpuidFeature| features.has(*feature) && host_cpu::has(*feature);
        let has_template = insn.cpuid_features().iter().all(on_both);
        let template = match System::of(insn, features) {
            Some(system) => Template::System(system),
            None if is_older(insn, features) && has_plain_operands(insn) => Template::Scan,
            None if has_template => template(insn),
            None => Template::Interpreted,
        };
        let used = info.info_options(insn, InstructionInfoOptions::NO_REGISTER_USAGE);
        let writes = |access| {
            matches!(
                access,
                OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
            )
        };
        let memory = (0..insn.op_count()).find(|index| insn.op_kind(*index) == OpKind::Memory).map(|index| {
            let size = insn.memory_size().size() as u32;
            let aligned = needs_alignment(insn, template, size);
            Memory { size, write: writes(used.op_access(index)), aligned, locked: false }
        });
        let modified = match template {
            // MOV from a control register may leave them undefined (SDM vol. 2B); no processor does.
            Template::System(System::ReadControl) => 0,
            _ => in_rflags(insn.rflags_modified()),
        };
        let undefined = match template {
            Template::Scan => undefined::by_mnemonic(Mnemonic::Bsf),
            // Its template leaves none of the host's.
            Template::ShiftByCl => 0,
            _ => undefined::flags(insn, 0),
        };
        let writes_all = modified == flags::STATUS && template != Template::ShiftByCl;
        Plan {
            insn: *insn,
            template,
            offset: insn.ip() as u16,
            memory: memory.filter(|_| template != Template::Lea && template != Template::Nothing),
            reads: in_rflags(insn.rflags_read()),
            modified,
            undefined,
            writes_part: modified != 0 && !writes_all,
            writes_all,
            writes_first: writes(used.op_access(0)),
            writes_second: writes(used.op_access(1)),
            check: Check::Own,
            ends: !matches!(insn.flow_control(), FlowControl::Next | FlowControl::ConditionalBranch)
                || insn.mnemonic() == Mnemonic::Hlt,
            flags_wanted: true,
        }
    }

    /// Plans what begins at `insn`'s place and ends in the next page; `insn` itself is no instruction.
    pub fn crossing(insn: &Instruction, features: &Features, info: &mut InstructionInfoFactory) -> Plan {
        Plan { template: Template::Crossing, memory: None, ends: true, ..Plan::of(insn, features, info) }
    }

    /// It reads status flags.
    pub fn reads_flags(&self) -> bool {
        self.reads != 0
    }

    /// Offset in its page of what follows.
    pub fn next(&self) -> u16 {
        self.offset + self.insn.len() as u16
    }

    /// The segment of the memory operand in 64-bit mode: FS or GS if asked for, else SS or DS by the base.
    pub fn segment(&self) -> usize {
        match self.insn.segment_prefix() {
            Register::FS => seg::FS,
            Register::GS => seg::GS,
            _ if matches!(self.insn.memory_base(), Register::RSP | Register::RBP) => seg::SS,
            _ => seg::DS,
        }
    }

    /// It may raise, or it looks at the flags in memory.
    pub fn may_leave(&self) -> bool {
        let checks = !matches!(self.check, Check::Follow { .. });
        match self.template {
            Template::Mapped
            | Template::MappedVex
            | Template::Vector
            | Template::VectorVex
            | Template::ShiftByCl
            | Template::Scan
            | Template::AccumulatorImmediate
            | Template::MovImmediate
            | Template::Lea
            | Template::Widen
            | Template::Multiply
            | Template::CompareExchange
            | Template::ExchangeRegisters
            | Template::ByteSwap
            | Template::ZeroExtendHighByte
            | Template::System(System::HighByte)
            | Template::Nothing => self.memory.is_some() && checks,
            Template::X87 => self.memory.is_some() && checks || keeps_conditions(self.insn.mnemonic()),
            Template::Push | Template::Pop | Template::Leave => checks,
            _ => true,
        }
    }
}

/// Status flags at their places in RFLAGS.
fn in_rflags(names: u32) -> u64 {
    NAMES.iter().filter(|(name, _)| names & name != 0).fold(0, |mask, (_, flag)| mask | flag)
}

/// Whether a memory operand of so many bytes has to be aligned: in the legacy encoding nearly always, with a VEX prefix
/// where the name says so (SDM vol. 1, 14.9).
fn needs_alignment(insn: &Instruction, template: Template, size_bytes: u32) -> bool {
    use Mnemonic as M;
    match template {
        Template::Vector => {
            size_bytes == 16 && !matches!(insn.mnemonic(), M::Movups | M::Movupd | M::Movdqu | M::Lddqu)
        }
        Template::VectorVex => matches!(
            insn.mnemonic(),
            M::Vmovaps | M::Vmovapd | M::Vmovdqa | M::Vmovntps | M::Vmovntpd | M::Vmovntdq | M::Vmovntdqa
        ),
        _ => false,
    }
}

fn template(insn: &Instruction) -> Template {
    if insn.mnemonic() == Mnemonic::Movzx
        && is_high_byte(insn.op1_register())
        && insn.op0_register().size() == 4
    {
        return Template::ZeroExtendHighByte;
    }
    if let Some(element) = string_element(insn) {
        return Template::String { element };
    }
    if !has_plain_operands(insn) {
        return Template::Interpreted;
    }
    if is_vector(insn) {
        return Template::Vector;
    }
    if is_x87(insn.mnemonic()) {
        return if host_cpu::has(CpuidFeature::XSAVE) { Template::X87 } else { Template::Interpreted };
    }
    if insn.encoding() == iced_x86::EncodingKind::VEX {
        return vex_template(insn);
    }
    let mnemonic = insn.mnemonic();
    use Mnemonic as M;
    match mnemonic {
        M::Nop
        | M::Reservednop
        | M::Endbr64
        | M::Prefetcht0
        | M::Prefetcht1
        | M::Prefetcht2
        | M::Prefetchnta
        | M::Prefetchw => Template::Nothing,
        M::Lea if insn.op0_register().size() >= 4 => Template::Lea,
        M::Mov if insn.op0_kind() == OpKind::Register && !is_memory(insn, 1) && !is_register(insn, 1) => {
            Template::MovImmediate
        }
        M::Mov if is_gpr_or_memory(insn, 0) && is_gpr_or_immediate_or_memory(insn, 1) => Template::Mapped,
        M::Add | M::Or | M::Adc | M::Sbb | M::And | M::Sub | M::Xor | M::Cmp | M::Test => {
            if is_accumulator_immediate(insn) {
                Template::AccumulatorImmediate
            } else {
                Template::Mapped
            }
        }
        M::Shl | M::Shr | M::Sar | M::Rol | M::Ror => {
            match (insn.op1_kind() == OpKind::Register, insn.op0_kind() == OpKind::Memory) {
                (true, true) => Template::Interpreted,
                // Of less than 32 bits, CF may be undefined by the count, too.
                (true, false) if insn.op0_register().size() < 4 => Template::Interpreted,
                (true, false) => Template::ShiftByCl,
                _ if shifts_by_nothing(insn) => Template::Interpreted,
                _ => Template::Mapped,
            }
        }
        M::Shld | M::Shrd if insn.op2_kind() == OpKind::Register || shifts_by_nothing(insn) => {
            Template::Interpreted
        }
        M::Shld | M::Shrd if undefined::is_double_shift_too_far(insn, 0) => Template::Interpreted,
        M::Shld | M::Shrd => Template::Mapped,
        M::Bt | M::Bts | M::Btr | M::Btc if !(is_memory(insn, 0) && insn.op1_kind() == OpKind::Register) => {
            Template::Mapped
        }
        M::Imul if insn.op_count() > 1 => Template::Mapped,
        M::Mul | M::Imul if insn.op0_kind() == OpKind::Register && insn.op0_register().size() >= 4 => {
            Template::Multiply
        }
        M::Mul | M::Imul if insn.memory_size().size() >= 4 => Template::Multiply,
        M::Div | M::Idiv if insn.op0_kind() == OpKind::Register && insn.op0_register().size() >= 4 => {
            Template::Divide
        }
        M::Movzx
        | M::Movsx
        | M::Movsxd
        | M::Inc
        | M::Dec
        | M::Neg
        | M::Not
        | M::Popcnt
        | M::Tzcnt
        | M::Lzcnt
        | M::Xadd
        | M::Movbe
        | M::Crc32 => Template::Mapped,
        M::Bsf | M::Bsr => Template::Scan,
        M::Xchg if is_memory(insn, 0) || is_memory(insn, 1) => Template::Mapped,
        M::Xchg if insn.op0_register().size() >= 4 => Template::ExchangeRegisters,
        M::Cmpxchg => Template::CompareExchange,
        M::Bswap if insn.op0_register().size() >= 4 => Template::ByteSwap,
        M::Cdqe | M::Cdq | M::Cqo | M::Cwde => Template::Widen,
        M::Push if insn.stack_pointer_increment() == -8 && !is_memory(insn, 0) && pushes_plain(insn) => {
            Template::Push
        }
        M::Pop if insn.stack_pointer_increment() == 8 && insn.op0_register().is_gpr64() => {
            if insn.op0_register() == Register::RSP { Template::Interpreted } else { Template::Pop }
        }
        M::Leave if insn.code() == iced_x86::Code::Leaveq => Template::Leave,
        M::Call if insn.is_call_near() => Template::Call,
        M::Call if insn.is_call_near_indirect() && insn.op0_kind() == OpKind::Register => {
            Template::CallIndirect
        }
        M::Call if insn.is_call_near_indirect() && insn.memory_size().size() == 8 => Template::CallIndirect,
        M::Jmp if insn.is_jmp_short_or_near() => Template::Jump,
        M::Jmp if insn.is_jmp_near_indirect() && insn.op0_kind() == OpKind::Register => {
            Template::JumpIndirect
        }
        M::Jmp if insn.is_jmp_near_indirect() && insn.memory_size().size() == 8 => Template::JumpIndirect,
        M::Ret if insn.stack_pointer_increment() >= 8 && is_near_return_64(insn) => Template::Return,
        _ if insn.is_jcc_short_or_near() => Template::JumpIf,
        // CMOVcc and SETcc.
        _ if insn.condition_code() != iced_x86::ConditionCode::None
            && insn.flow_control() == FlowControl::Next =>
        {
            Template::Mapped
        }
        _ => Template::Interpreted,
    }
}

fn pushes_plain(insn: &Instruction) -> bool {
    insn.op0_kind() != OpKind::Register || insn.op0_register().is_gpr64()
}

/// Opcodes without ModRM that name the accumulator.
fn is_accumulator_immediate(insn: &Instruction) -> bool {
    use iced_x86::Code as C;
    matches!(
        insn.code(),
        C::Add_AL_imm8
            | C::Add_EAX_imm32
            | C::Add_RAX_imm32
            | C::Add_AX_imm16
            | C::Or_AL_imm8
            | C::Or_EAX_imm32
            | C::Or_RAX_imm32
            | C::Or_AX_imm16
            | C::Adc_AL_imm8
            | C::Adc_EAX_imm32
            | C::Adc_RAX_imm32
            | C::Adc_AX_imm16
            | C::Sbb_AL_imm8
            | C::Sbb_EAX_imm32
            | C::Sbb_RAX_imm32
            | C::Sbb_AX_imm16
            | C::And_AL_imm8
            | C::And_EAX_imm32
            | C::And_RAX_imm32
            | C::And_AX_imm16
            | C::Sub_AL_imm8
            | C::Sub_EAX_imm32
            | C::Sub_RAX_imm32
            | C::Sub_AX_imm16
            | C::Xor_AL_imm8
            | C::Xor_EAX_imm32
            | C::Xor_RAX_imm32
            | C::Xor_AX_imm16
            | C::Cmp_AL_imm8
            | C::Cmp_EAX_imm32
            | C::Cmp_RAX_imm32
            | C::Cmp_AX_imm16
            | C::Test_AL_imm8
            | C::Test_EAX_imm32
            | C::Test_RAX_imm32
            | C::Test_AX_imm16
    )
}

/// TZCNT and LZCNT, which are BSF and BSR to processors that do not know them.
pub fn is_older(insn: &Instruction, features: &Features) -> bool {
    matches!(insn.mnemonic(), Mnemonic::Tzcnt | Mnemonic::Lzcnt)
        && !insn.cpuid_features().iter().all(|feature| features.has(*feature))
}

/// SSE to SSE4.2, AES, PCLMULQDQ and SHA on XMM registers, where every operand is named or XMM0, but approximations and dot
/// products, which differ between processors: these in the NaN that they take of several.
fn is_vector(insn: &Instruction) -> bool {
    use CpuidFeature as F;
    use Mnemonic as M;
    let family = insn.cpuid_features().iter().all(|feature| {
        matches!(
            feature,
            F::SSE | F::SSE2 | F::SSE3 | F::SSSE3 | F::SSE4_1 | F::SSE4_2 | F::AES | F::PCLMULQDQ | F::SHA
        )
    });
    let plain = !matches!(
        insn.mnemonic(),
        M::Ldmxcsr
            | M::Stmxcsr
            | M::Lfence
            | M::Mfence
            | M::Sfence
            | M::Maskmovdqu
            | M::Movnti
            | M::Cvtpi2ps
            | M::Cvtpi2pd
            | M::Clflush
            | M::Pause
            | M::Prefetcht0
            | M::Prefetcht1
            | M::Prefetcht2
            | M::Prefetchnta
            | M::Pcmpestri
            | M::Pcmpestri64
            | M::Pcmpestrm64
            | M::Pcmpestrm
            | M::Pcmpistri
            | M::Pcmpistrm
            | M::Crc32
            | M::Rcpps
            | M::Rcpss
            | M::Rsqrtps
            | M::Rsqrtss
            | M::Dpps
            | M::Dppd
    );
    let has_xmm =
        (0..insn.op_count()).any(|index| is_register(insn, index) && insn.op_register(index).is_xmm());
    let has_mm =
        (0..insn.op_count()).any(|index| is_register(insn, index) && insn.op_register(index).is_mm());
    family && plain && has_xmm && !has_mm && insn.encoding() == iced_x86::EncodingKind::Legacy
}

/// Instructions with a VEX prefix: BMI on general-purpose registers; AVX to FMA but what names more than its operands,
/// or accesses only part of its memory operand, approximations, and dot products.
fn vex_template(insn: &Instruction) -> Template {
    use CpuidFeature as F;
    use Mnemonic as M;
    let family = |list: &[F]| insn.cpuid_features().iter().all(|feature| list.contains(feature));
    if family(&[F::BMI1, F::BMI2]) {
        return Template::MappedVex;
    }
    let plain = !matches!(
        insn.mnemonic(),
        M::Vldmxcsr
            | M::Vstmxcsr
            | M::Vmaskmovdqu
            | M::Vmaskmovps
            | M::Vmaskmovpd
            | M::Vpmaskmovd
            | M::Vpmaskmovq
            | M::Vpcmpestri
            | M::Vpcmpestri64
            | M::Vpcmpestrm
            | M::Vpcmpestrm64
            | M::Vpcmpistri
            | M::Vpcmpistrm
            | M::Vrcpps
            | M::Vrcpss
            | M::Vrsqrtps
            | M::Vrsqrtss
            | M::Vdpps
            | M::Vdppd
    );
    let vector = family(&[F::AVX, F::AVX2, F::FMA, F::F16C, F::AES, F::PCLMULQDQ]);
    if vector && plain && !insn.is_vsib() { Template::VectorVex } else { Template::Interpreted }
}

/// x87 instructions but those on its environment and whole state, on packed decimals, transcendental ones, whose last bits
/// differ between processors, and partial remainders, which come by as many bits at a time as the processor likes.
fn is_x87(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    let moves = matches!(
        mnemonic,
        M::Fld
            | M::Fst
            | M::Fstp
            | M::Fild
            | M::Fist
            | M::Fistp
            | M::Fisttp
            | M::Fxch
            | M::Fcmovb
            | M::Fcmove
            | M::Fcmovbe
            | M::Fcmovu
            | M::Fcmovnb
            | M::Fcmovne
            | M::Fcmovnbe
            | M::Fcmovnu
            | M::Fld1
            | M::Fldl2e
            | M::Fldl2t
            | M::Fldlg2
            | M::Fldln2
            | M::Fldpi
            | M::Fldz
    );
    let arithmetic = matches!(
        mnemonic,
        M::Fadd
            | M::Faddp
            | M::Fiadd
            | M::Fsub
            | M::Fsubp
            | M::Fisub
            | M::Fsubr
            | M::Fsubrp
            | M::Fisubr
            | M::Fmul
            | M::Fmulp
            | M::Fimul
            | M::Fdiv
            | M::Fdivp
            | M::Fidiv
            | M::Fdivr
            | M::Fdivrp
            | M::Fidivr
            | M::Fchs
            | M::Fabs
            | M::Fsqrt
            | M::Frndint
            | M::Fscale
            | M::Fxtract
    );
    let compares = matches!(
        mnemonic,
        M::Fcom
            | M::Fcomp
            | M::Fcompp
            | M::Ficom
            | M::Ficomp
            | M::Fucom
            | M::Fucomp
            | M::Fucompp
            | M::Fcomi
            | M::Fcomip
            | M::Fucomi
            | M::Fucomip
            | M::Ftst
            | M::Fxam
    );
    moves || arithmetic || compares || is_x87_control(mnemonic) || matches!(mnemonic, M::Ffree | M::Fnop)
}

/// x87 control instructions: the unit does not remember where they stand (SDM vol. 1, 8.1.8).
fn is_x87_control(mnemonic: Mnemonic) -> bool {
    mnemonic == Mnemonic::Wait || keeps_conditions(mnemonic)
}

/// Whether the x87 conditions are kept before the instruction, which takes the host's flags.
fn keeps_conditions(mnemonic: Mnemonic) -> bool {
    matches!(mnemonic, Mnemonic::Fldcw | Mnemonic::Fnstcw | Mnemonic::Fnstsw)
}

/// Marks whose flags somebody looks at: the next to read them, or to leave the block, before all are overwritten.
pub fn mark_wanted(plans: &mut [Plan]) {
    let mut wanted = true;
    for plan in plans.iter_mut().rev() {
        plan.flags_wanted = wanted;
        let needs = plan.reads_flags() || plan.may_leave() || plan.writes_part && wanted;
        wanted = needs || (wanted && !plan.writes_all);
    }
}

fn is_near_return_64(insn: &Instruction) -> bool {
    matches!(insn.code(), iced_x86::Code::Retnq | iced_x86::Code::Retnq_imm16)
}
