//! What the operands of an instruction are, for who chooses how it is translated.

use iced_x86::{Code, Instruction, OpKind, Register};

/// Whether operand `index` is in memory, at an address that it spells out.
pub fn is_memory(insn: &Instruction, index: u32) -> bool {
    insn.op_kind(index) == OpKind::Memory
}

/// Whether operand `index` is a register.
pub fn is_register(insn: &Instruction, index: u32) -> bool {
    insn.op_kind(index) == OpKind::Register
}

/// Whether it is a general-purpose register or in memory.
pub fn is_gpr_or_memory(insn: &Instruction, index: u32) -> bool {
    is_memory(insn, index) || is_register(insn, index) && insn.op_register(index).is_gpr()
}

/// Whether it is anything but another kind of register.
pub fn is_gpr_or_immediate_or_memory(insn: &Instruction, index: u32) -> bool {
    !is_register(insn, index) || insn.op_register(index).is_gpr()
}

/// No high byte registers, no far or string operands, no absolute 64-bit or 32-bit addresses, FS and GS at most.
pub fn has_plain_operands(insn: &Instruction) -> bool {
    (0..insn.op_count()).all(|index| match insn.op_kind(index) {
        OpKind::Register => !is_high_byte(insn.op_register(index)),
        OpKind::Memory => is_plain_memory(insn),
        OpKind::NearBranch64
        | OpKind::Immediate8
        | OpKind::Immediate16
        | OpKind::Immediate32
        | OpKind::Immediate64
        | OpKind::Immediate8to16
        | OpKind::Immediate8to32
        | OpKind::Immediate8to64
        | OpKind::Immediate32to64 => true,
        _ => false,
    })
}

/// The memory operand's address is no absolute one of 64 or 32 bits.
pub fn is_plain_memory(insn: &Instruction) -> bool {
    let wide = |register: Register| register == Register::None || register.size() == 8;
    let absolute = insn.memory_base() == Register::None && insn.memory_index() == Register::None;
    // A bare displacement is told as 8 bytes wide unless 0x67 cuts it.
    wide(insn.memory_base())
        && wide(insn.memory_index())
        && !is_offset_move(insn)
        && !(absolute && insn.memory_displ_size() != 8)
}

fn is_offset_move(insn: &Instruction) -> bool {
    use Code as C;
    matches!(
        insn.code(),
        C::Mov_AL_moffs8
            | C::Mov_AX_moffs16
            | C::Mov_EAX_moffs32
            | C::Mov_RAX_moffs64
            | C::Mov_moffs8_AL
            | C::Mov_moffs16_AX
            | C::Mov_moffs32_EAX
            | C::Mov_moffs64_RAX
    )
}

/// The count is zero once it is cut to what counts (SDM vol. 2B, SAL/SAR/SHL/SHR).
pub fn shifts_by_nothing(insn: &Instruction) -> bool {
    let wide = insn.op0_register().size() == 8 || insn.memory_size().size() == 8;
    insn.immediate8() & if wide { 63 } else { 31 } == 0
}

/// AH, BH, CH, DH: no instruction with a REX prefix can name them.
pub fn is_high_byte(register: Register) -> bool {
    matches!(register, Register::AH | Register::BH | Register::CH | Register::DH)
}

/// REP MOVS and REP STOS with addresses of 64 bits and the usual segments: bytes of an element, as a power of two.
pub fn string_element(insn: &Instruction) -> Option<u8> {
    let plain = |kind| matches!(kind, OpKind::MemorySegRSI | OpKind::MemoryESRDI | OpKind::Register);
    let is_plain = plain(insn.op0_kind()) && plain(insn.op1_kind());
    let has_prefix = insn.has_rep_prefix() && insn.segment_prefix() == Register::None;
    if !is_plain || !has_prefix {
        return None;
    }
    match insn.code() {
        Code::Movsb_m8_m8 | Code::Stosb_m8_AL => Some(0),
        Code::Movsw_m16_m16 | Code::Stosw_m16_AX => Some(1),
        Code::Movsd_m32_m32 | Code::Stosd_m32_EAX => Some(2),
        Code::Movsq_m64_m64 | Code::Stosq_m64_RAX => Some(3),
        _ => None,
    }
}
