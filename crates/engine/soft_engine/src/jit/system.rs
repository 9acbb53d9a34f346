//! Instructions that kernels are full of and that have templates of their own: which they are.

use iced_x86::{Code, ConditionCode, CpuidFeature, Instruction, Mnemonic, OpKind, Register};

use super::operands::{has_plain_operands, is_high_byte, is_memory, is_plain_memory, shifts_by_nothing};
use crate::features::Features;

/// How one of them is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// SWAPGS.
    SwapGs,
    /// CLI.
    DisableInterrupts,
    /// STI.
    EnableInterrupts,
    /// CLD and STD.
    Direction,
    /// CLAC and STAC.
    AccessControl,
    /// PUSHFQ.
    PushFlags,
    /// PUSH of 8 bytes in memory.
    PushMemory,
    /// POP RSP.
    PopStackPointer,
    /// LFENCE: loads are in order anyway.
    Nothing,
    /// SFENCE: non-temporal stores are executed as such.
    StoreFence,
    /// MFENCE.
    Fence,
    /// MOV from a segment register.
    ReadSegment,
    /// MOV from CR0, CR2, CR3 or CR4.
    ReadControl,
    /// RDFSBASE and RDGSBASE.
    ReadBase,
    /// WRFSBASE and WRGSBASE.
    WriteBase,
    /// BT and the like of a string of bits in memory, by a register.
    BitString,
    /// An instruction on AH, BH, CH or DH.
    HighByte,
}

impl System {
    /// How `insn` is translated, if it is one of them and a CPU with `features` has it.
    pub fn of(insn: &Instruction, features: &Features) -> Option<System> {
        let is_offered = insn.cpuid_features().iter().all(|feature: &CpuidFeature| features.has(*feature));
        is_offered.then(|| by_mnemonic(insn)).flatten()
    }
}

fn by_mnemonic(insn: &Instruction) -> Option<System> {
    use Mnemonic as M;
    let stack_step = insn.stack_pointer_increment();
    Some(match insn.mnemonic() {
        M::Swapgs => System::SwapGs,
        M::Cli => System::DisableInterrupts,
        M::Sti => System::EnableInterrupts,
        M::Cld | M::Std => System::Direction,
        M::Clac | M::Stac => System::AccessControl,
        M::Pushfq if stack_step == -8 => System::PushFlags,
        M::Push if insn.code() == Code::Push_rm64 && is_memory(insn, 0) && has_plain_operands(insn) => {
            System::PushMemory
        }
        M::Pop if insn.code() == Code::Pop_r64 && insn.op0_register() == Register::RSP => {
            System::PopStackPointer
        }
        M::Lfence => System::Nothing,
        M::Sfence => System::StoreFence,
        M::Mfence => System::Fence,
        M::Mov if insn.op1_kind() == OpKind::Register && insn.op1_register().is_segment_register() => {
            return has_plain_operands(insn).then_some(System::ReadSegment);
        }
        M::Mov if reads_control(insn) => System::ReadControl,
        M::Rdfsbase | M::Rdgsbase => System::ReadBase,
        M::Wrfsbase | M::Wrgsbase => System::WriteBase,
        M::Bt | M::Bts | M::Btr | M::Btc if is_bit_string(insn) => System::BitString,
        _ if is_on_high_byte(insn) => System::HighByte,
        _ => return None,
    })
}

fn reads_control(insn: &Instruction) -> bool {
    insn.op1_kind() == OpKind::Register
        && matches!(insn.op1_register(), Register::CR0 | Register::CR2 | Register::CR3 | Register::CR4)
}

fn is_bit_string(insn: &Instruction) -> bool {
    is_memory(insn, 0)
        && insn.op1_kind() == OpKind::Register
        && insn.op1_register().size() >= 4
        && has_plain_operands(insn)
}

/// Those whose only effect is on their operands and the flags.
fn is_on_high_byte(insn: &Instruction) -> bool {
    use Mnemonic as M;
    let is_register = |index| insn.op_kind(index) == OpKind::Register;
    let operands = || 0..insn.op_count();
    let has_high_byte = operands().any(|index| is_register(index) && is_high_byte(insn.op_register(index)));
    let is_known = match insn.mnemonic() {
        M::Add | M::Or | M::Adc | M::Sbb | M::And | M::Sub | M::Xor | M::Cmp | M::Test => true,
        M::Mov | M::Movsx | M::Inc | M::Dec | M::Not | M::Neg => true,
        M::Movzx => insn.op0_register().size() == 2,
        M::Shl | M::Shr | M::Sar => insn.op1_kind() == OpKind::Immediate8 && !shifts_by_nothing(insn),
        _ => insn.condition_code() != ConditionCode::None && insn.op_count() == 1,
    };
    let is_plain = operands().all(|index| match insn.op_kind(index) {
        OpKind::Memory => is_plain_memory(insn),
        kind => matches!(kind, OpKind::Register | OpKind::Immediate8),
    });
    has_high_byte && is_known && is_plain
}
