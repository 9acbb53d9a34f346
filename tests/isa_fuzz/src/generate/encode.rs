//! Instructions of a form with random operands.

use iced_x86::{
    Code, Decoder, DecoderOptions, Encoder, Instruction, MemoryOperand, OpCodeOperandKind as Kind, OpKind,
    Register,
};

use super::value;
use crate::case::{Case, Ending};
use crate::layout::{CODE, DATA, DATA_SIZE, PAGE};
use crate::random::Random;

/// Where RIP-relative operands and branches are encoded for; the real place is drawn later and the displacement,
/// being relative, moves with it.
pub const NOMINAL_RIP: u64 = CODE + 0x800;

/// The instruction at the start of `bytes`, which stands at `rip`.
pub fn decode(bytes: &[u8], rip: u64) -> Instruction {
    Decoder::with_ip(64, bytes, rip, DecoderOptions::NONE).decode()
}

/// Bytes of an instruction of the form `code`; `None` if the operands drawn cannot be encoded together.
pub fn build(code: Code, random: &mut Random) -> Option<Vec<u8>> {
    let op_code = code.op_code();
    let mut insn = Instruction::default();
    insn.set_code(code);
    let can_lock = op_code.can_use_lock_prefix();
    let lock = can_lock && random.chance(30);
    let wants_memory = if lock { true } else { random.chance(55) };
    let address32 = random.chance(12);
    let mut immediates = 0;
    for (index, kind) in op_code.op_kinds().iter().enumerate() {
        let operand = Operand { index: index as u32, kind: *kind };
        if is_memory(*kind, wants_memory) {
            set_memory(&mut insn, operand, address32, random);
        } else if let Some(register) = register(*kind, random) {
            insn.set_op_kind(operand.index, OpKind::Register);
            insn.set_op_register(operand.index, register);
        } else {
            set_other(&mut insn, operand, address32, &mut immediates, random)?;
        }
    }
    insn.set_has_lock_prefix(lock && (0..insn.op_count()).any(|index| insn.op_kind(index) == OpKind::Memory));
    if op_code.can_use_rep_prefix() && random.chance(60) {
        insn.set_has_rep_prefix(true);
    } else if op_code.can_use_repne_prefix() && random.chance(50) {
        insn.set_has_repne_prefix(true);
    }
    let mut encoder = Encoder::new(64);
    encoder.encode(&insn, NOMINAL_RIP).ok()?;
    let bytes = encoder.take_buffer();
    (decode(&bytes, NOMINAL_RIP).code() == code).then_some(bytes)
}

/// Puts the instruction somewhere into the page of code, and INT3 behind it.
pub fn place(case: &mut Case, bytes: &[u8], insn: &Instruction, random: &mut Random) {
    let repeats = insn.is_string_instruction() && (insn.has_rep_prefix() || insn.has_repne_prefix());
    let shows_trap_flag = matches!(insn.code(), Code::Pushfw | Code::Pushfq);
    // A single step comes instead of the fault of a gather that got somewhere.
    let gathers = insn.memory_index().is_vector_register();
    case.ending = if repeats || shows_trap_flag || gathers { Ending::Breakpoint } else { Ending::Step };
    case.len = bytes.len() as u16;
    case.code[..bytes.len()].copy_from_slice(bytes);
    let last = PAGE - bytes.len() as u64;
    // Where what is invalid ends is not defined, and so not whether it reaches over the page.
    let may_end = case.ending == Ending::Step && !insn.is_invalid();
    let offset = match random.below(100) {
        // At the end of the page, and over it.
        0..=3 if may_end => last,
        4..=5 if may_end => last + random.below(bytes.len() as u64),
        _ => 16 * random.below(PAGE / 16 - 2),
    };
    case.state.rip = CODE + offset.min(PAGE - 1);
}

#[derive(Clone, Copy)]
struct Operand {
    index: u32,
    kind: Kind,
}

fn is_memory(kind: Kind, wanted: bool) -> bool {
    match kind {
        Kind::mem | Kind::mem_mib | Kind::mem_offs | Kind::seg_rBX_al => true,
        Kind::mem_vsib32x | Kind::mem_vsib32y | Kind::mem_vsib64x | Kind::mem_vsib64y => true,
        Kind::r8_or_mem | Kind::r16_or_mem | Kind::r32_or_mem | Kind::r64_or_mem => wanted,
        Kind::mm_or_mem | Kind::xmm_or_mem | Kind::ymm_or_mem => wanted,
        _ => false,
    }
}

fn register(kind: Kind, random: &mut Random) -> Option<Register> {
    let gpr = |first: Register, random: &mut Random| first + random.below(16) as u32;
    Some(match kind {
        Kind::r8_or_mem | Kind::r8_reg | Kind::r8_opcode => Register::AL + random.below(20) as u32,
        Kind::r16_or_mem | Kind::r16_reg | Kind::r16_rm | Kind::r16_opcode => gpr(Register::AX, random),
        Kind::r32_or_mem | Kind::r32_reg | Kind::r32_rm | Kind::r32_opcode | Kind::r32_vvvv => {
            gpr(Register::EAX, random)
        }
        Kind::r64_or_mem | Kind::r64_reg | Kind::r64_rm | Kind::r64_opcode | Kind::r64_vvvv => {
            gpr(Register::RAX, random)
        }
        Kind::mm_or_mem | Kind::mm_reg | Kind::mm_rm => Register::MM0 + random.below(8) as u32,
        Kind::xmm_or_mem | Kind::xmm_reg | Kind::xmm_rm | Kind::xmm_vvvv | Kind::xmm_is4 => {
            gpr(Register::XMM0, random)
        }
        Kind::ymm_or_mem | Kind::ymm_reg | Kind::ymm_rm | Kind::ymm_vvvv | Kind::ymm_is4 => {
            gpr(Register::YMM0, random)
        }
        Kind::seg_reg => {
            random.pick(&[Register::ES, Register::CS, Register::SS, Register::DS, Register::FS, Register::GS])
        }
        Kind::sti_opcode => Register::ST0 + random.below(8) as u32,
        Kind::st0 => Register::ST0,
        Kind::al => Register::AL,
        Kind::cl => Register::CL,
        Kind::ax => Register::AX,
        Kind::dx => Register::DX,
        Kind::eax => Register::EAX,
        Kind::rax => Register::RAX,
        Kind::fs => Register::FS,
        Kind::gs => Register::GS,
        _ => return None,
    })
}

fn set_memory(insn: &mut Instruction, operand: Operand, address32: bool, random: &mut Random) {
    let segment = random.pick(&[
        Register::None,
        Register::None,
        Register::None,
        Register::None,
        Register::None,
        Register::None,
        Register::FS,
        Register::GS,
    ]);
    insn.set_op_kind(operand.index, OpKind::Memory);
    let first = if address32 { Register::EAX } else { Register::RAX };
    let memory = match operand.kind {
        Kind::seg_rBX_al => {
            let base = if address32 { Register::EBX } else { Register::RBX };
            MemoryOperand::new(base, Register::AL, 1, 0, 0, false, segment)
        }
        Kind::mem_offs => {
            let size = if address32 { 4 } else { 8 };
            let high = !address32 && random.chance(10);
            let place = if high { random.word() } else { some_place(random) };
            MemoryOperand::new(Register::None, Register::None, 1, place as i64, size, false, segment)
        }
        Kind::mem_vsib32x | Kind::mem_vsib64x => vector_memory(Register::XMM0, address32, segment, random),
        Kind::mem_vsib32y | Kind::mem_vsib64y => vector_memory(Register::YMM0, address32, segment, random),
        _ => match random.below(12) {
            0 => {
                let base = if address32 { Register::EIP } else { Register::RIP };
                MemoryOperand::new(base, Register::None, 1, some_place(random) as i64, 4, false, segment)
            }
            1 => {
                let size = if address32 { 4 } else { 8 };
                MemoryOperand::new(
                    Register::None,
                    Register::None,
                    1,
                    some_place(random) as i64,
                    size,
                    false,
                    segment,
                )
            }
            shape => {
                let base = if shape == 2 { Register::None } else { first + random.below(16) as u32 };
                let index = first + random.below(16) as u32;
                let no_index = (shape > 6 && base != Register::None) || index.number() == 4;
                let index = if no_index { Register::None } else { index };
                let scale = if no_index { 1 } else { random.pick(&[1, 2, 4, 8]) };
                let (displacement, size) = displacement(base, address32, random);
                MemoryOperand::new(base, index, scale, displacement, size, false, segment)
            }
        },
    };
    insn.set_memory_base(memory.base);
    insn.set_memory_index(memory.index);
    insn.set_memory_index_scale(memory.scale);
    insn.set_memory_displacement64(memory.displacement as u64);
    insn.set_memory_displ_size(memory.displ_size);
    insn.set_segment_prefix(memory.segment_prefix);
}

/// Memory whose index is a vector register.
fn vector_memory(index: Register, address32: bool, segment: Register, random: &mut Random) -> MemoryOperand {
    let first = if address32 { Register::EAX } else { Register::RAX };
    let index = index + random.below(16) as u32;
    let scale = random.pick(&[1, 2, 4, 8]);
    if random.chance(10) {
        let size = if address32 { 4 } else { 8 };
        let place = some_place(random) as i64;
        return MemoryOperand::new(Register::None, index, scale, place, size, false, segment);
    }
    let base = first + random.below(16) as u32;
    let (displacement, size) = displacement(base, address32, random);
    MemoryOperand::new(base, index, scale, displacement, size, false, segment)
}

fn displacement(base: Register, address32: bool, random: &mut Random) -> (i64, u32) {
    let wide = if address32 { 4 } else { 8 };
    match random.below(4) {
        _ if base == Register::None => (random.word() as i8 as i64, wide),
        0 => (0, 0),
        1 | 2 => (random.word() as i8 as i64, 1),
        _ => (i64::from(random.word() as i32 >> random.below(24)), wide),
    }
}

/// An address of data for operands that no register moves.
fn some_place(random: &mut Random) -> u64 {
    match random.below(20) {
        0 => DATA + DATA_SIZE as u64 - 8 + random.below(24),
        1 => DATA + DATA_SIZE as u64 + random.below(PAGE),
        2 => DATA - 8 + random.below(16),
        3 => DATA + PAGE - 8 + random.below(16),
        4..=7 => DATA + random.below(DATA_SIZE as u64 - 64),
        _ => DATA + 64 * random.below(DATA_SIZE as u64 / 64 - 8),
    }
}

fn set_other(
    insn: &mut Instruction,
    operand: Operand,
    address32: bool,
    immediates: &mut u32,
    random: &mut Random,
) -> Option<()> {
    let index = operand.index;
    let value = value::immediate(random);
    let mut immediate = |kind: OpKind, value: u64| {
        let second = *immediates > 0;
        *immediates += 1;
        insn.set_op_kind(index, if second { OpKind::Immediate8_2nd } else { kind });
        match (second, kind) {
            (true, _) => insn.set_immediate8_2nd(value as u8),
            (_, OpKind::Immediate8) => insn.set_immediate8(value as u8),
            (_, OpKind::Immediate16) => insn.set_immediate16(value as u16),
            (_, OpKind::Immediate32) => insn.set_immediate32(value as u32),
            (_, OpKind::Immediate64) => insn.set_immediate64(value),
            (_, OpKind::Immediate8to16) => insn.set_immediate8to16(value as i8 as i16),
            (_, OpKind::Immediate8to32) => insn.set_immediate8to32(value as i8 as i32),
            (_, OpKind::Immediate8to64) => insn.set_immediate8to64(value as i8 as i64),
            _ => insn.set_immediate32to64(value as i32 as i64),
        }
    };
    match operand.kind {
        Kind::imm8 => immediate(OpKind::Immediate8, value),
        Kind::imm8_const_1 => immediate(OpKind::Immediate8, 1),
        Kind::imm8sex16 => immediate(OpKind::Immediate8to16, value),
        Kind::imm8sex32 => immediate(OpKind::Immediate8to32, value),
        Kind::imm8sex64 => immediate(OpKind::Immediate8to64, value),
        Kind::imm16 => immediate(OpKind::Immediate16, value),
        Kind::imm32 => immediate(OpKind::Immediate32, value),
        Kind::imm32sex64 => immediate(OpKind::Immediate32to64, value),
        Kind::imm64 => immediate(OpKind::Immediate64, value),
        Kind::br64_1 | Kind::br64_4 => {
            let short = operand.kind == Kind::br64_1;
            let distance =
                if short { i64::from(random.word() as i8 / 2) } else { i64::from(random.word() as i32 >> 1) };
            insn.set_op_kind(index, OpKind::NearBranch64);
            insn.set_near_branch64(NOMINAL_RIP.wrapping_add(distance as u64));
        }
        Kind::seg_rSI | Kind::seg_rDI | Kind::es_rDI => {
            if operand.kind != Kind::es_rDI && random.chance(15) {
                insn.set_segment_prefix(random.pick(&[Register::FS, Register::GS]));
            }
            let kind = match (operand.kind, address32) {
                (Kind::seg_rSI, false) => OpKind::MemorySegRSI,
                (Kind::seg_rSI, true) => OpKind::MemorySegESI,
                (Kind::seg_rDI, false) => OpKind::MemorySegRDI,
                (Kind::seg_rDI, true) => OpKind::MemorySegEDI,
                (_, false) => OpKind::MemoryESRDI,
                (_, true) => OpKind::MemoryESEDI,
            };
            insn.set_op_kind(index, kind);
        }
        _ => return None,
    }
    Some(())
}
