//! Moves of general-purpose registers and memory, and conversions between sizes.

use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

use super::{Form, by_condition, by_size, condition};
use crate::cpu::flags::{AF, CF, FIXED, PF, SF, ZF};
use crate::cpu::{Core, Exec, Word, gpr};
use crate::decode::insn::{Handler, Insn};

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Mov => mov_handler(form),
        Mnemonic::Movzx => zero_extension(form),
        Mnemonic::Movsx | Mnemonic::Movsxd => sign_extension(form),
        Mnemonic::Lea => by_size!(form, lea),
        Mnemonic::Xchg => by_size!(form, xchg),
        Mnemonic::Bswap => by_size!(form, bswap),
        Mnemonic::Movbe => by_size!(form, movbe),
        Mnemonic::Movnti => by_size!(form, mov),
        Mnemonic::Xlatb => Some(xlatb),
        Mnemonic::Lahf => Some(lahf),
        Mnemonic::Sahf => Some(sahf),
        Mnemonic::Cbw => Some(widen_accumulator::<u8, u16>),
        Mnemonic::Cwde => Some(widen_accumulator::<u16, u32>),
        Mnemonic::Cdqe => Some(widen_accumulator::<u32, u64>),
        Mnemonic::Cwd => Some(sign_to_data::<u16>),
        Mnemonic::Cdq => Some(sign_to_data::<u32>),
        Mnemonic::Cqo => Some(sign_to_data::<u64>),
        _ => conditional_handler(form),
    }
}

/// MOV with a 64-bit absolute address that does not fit a displacement: the handler takes the offset from
/// [`Insn::imm`].
pub fn absolute_move(insn: &Instruction, size: usize) -> Option<Handler> {
    let form = Form { mnemonic: insn.mnemonic(), size, insn };
    let displacement = insn.memory_displacement64();
    if insn.memory_displ_size() != 8 || i64::from(displacement as i32) as u64 == displacement {
        return None;
    }
    match insn.code() {
        Code::Mov_AL_moffs8 | Code::Mov_AX_moffs16 | Code::Mov_EAX_moffs32 | Code::Mov_RAX_moffs64 => {
            by_size!(form, load_absolute)
        }
        Code::Mov_moffs8_AL | Code::Mov_moffs16_AX | Code::Mov_moffs32_EAX | Code::Mov_moffs64_RAX => {
            by_size!(form, store_absolute)
        }
        _ => None,
    }
}

/// MOV between general-purpose registers, memory and immediates; the most frequent forms have handlers of their own.
fn mov_handler(form: &Form<'_>) -> Option<Handler> {
    let insn = form.insn;
    // For operands that are no registers iced answers `Register::None`.
    let registers = [insn.op0_register(), insn.op1_register()];
    if registers.iter().any(|register| *register != Register::None && !register.is_gpr()) {
        return None;
    }
    let high_bytes = Register::AH..=Register::BH;
    if registers.iter().any(|register| high_bytes.contains(register)) {
        return by_size!(form, mov);
    }
    match (insn.op0_kind(), insn.op1_kind()) {
        (OpKind::Register, OpKind::Register) => by_size!(form, mov_register),
        (OpKind::Register, OpKind::Memory) => by_size!(form, mov_load),
        (OpKind::Memory, OpKind::Register) => by_size!(form, mov_store),
        _ => by_size!(form, mov),
    }
}

fn zero_extension(form: &Form<'_>) -> Option<Handler> {
    let handler: Handler = match (form.size, source_size(form.insn)) {
        (2, 1) => movzx::<u8, u16>,
        (4, 1) => movzx::<u8, u32>,
        (8, 1) => movzx::<u8, u64>,
        (2, 2) => movzx::<u16, u16>,
        (4, 2) => movzx::<u16, u32>,
        (8, 2) => movzx::<u16, u64>,
        _ => return None,
    };
    Some(handler)
}

fn sign_extension(form: &Form<'_>) -> Option<Handler> {
    let handler: Handler = match (form.size, source_size(form.insn)) {
        (2, 1) => movsx::<u8, u16>,
        (4, 1) => movsx::<u8, u32>,
        (8, 1) => movsx::<u8, u64>,
        (2, 2) => movsx::<u16, u16>,
        (4, 2) => movsx::<u16, u32>,
        (8, 2) => movsx::<u16, u64>,
        (2, 4) => movsx::<u32, u16>,
        (4, 4) => movsx::<u32, u32>,
        (8, 4) => movsx::<u32, u64>,
        _ => return None,
    };
    Some(handler)
}

fn source_size(insn: &Instruction) -> usize {
    match insn.op1_kind() {
        OpKind::Register => insn.op1_register().size(),
        _ => insn.memory_size().size(),
    }
}

/// CMOVcc and SETcc.
fn conditional_handler(form: &Form<'_>) -> Option<Handler> {
    use Mnemonic as M;
    match form.mnemonic {
        M::Cmovo
        | M::Cmovno
        | M::Cmovb
        | M::Cmovae
        | M::Cmove
        | M::Cmovne
        | M::Cmovbe
        | M::Cmova
        | M::Cmovs
        | M::Cmovns
        | M::Cmovp
        | M::Cmovnp
        | M::Cmovl
        | M::Cmovge
        | M::Cmovle
        | M::Cmovg => {
            let code = condition(form.insn)?;
            match form.size {
                2 => by_condition!(code, cmov, u16),
                4 => by_condition!(code, cmov, u32),
                8 => by_condition!(code, cmov, u64),
                _ => None,
            }
        }
        M::Seto
        | M::Setno
        | M::Setb
        | M::Setae
        | M::Sete
        | M::Setne
        | M::Setbe
        | M::Seta
        | M::Sets
        | M::Setns
        | M::Setp
        | M::Setnp
        | M::Setl
        | M::Setge
        | M::Setle
        | M::Setg => {
            by_condition!(condition(form.insn)?, set)
        }
        _ => None,
    }
}

/// SDM vol. 2B, MOV.
fn mov<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let value: T = core.read(insn, 1)?;
    core.write(insn, 0, value)
}

fn mov_register<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let value: T = core.get_reg(insn.ops[1].register.into());
    core.set_reg(insn.ops[0].register.into(), value);
    Ok(())
}

fn mov_load<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let offset = core.effective_address(insn);
    let value: T = core.load(insn.segment.into(), offset)?;
    core.set_reg(insn.ops[0].register.into(), value);
    Ok(())
}

fn mov_store<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let offset = core.effective_address(insn);
    let value: T = core.get_reg(insn.ops[1].register.into());
    core.store(insn.segment.into(), offset, value)
}

fn load_absolute<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let value: T = core.load(insn.segment.into(), insn.imm)?;
    core.set_reg(gpr::RAX, value);
    Ok(())
}

fn store_absolute<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let value: T = core.get_reg(gpr::RAX);
    core.store(insn.segment.into(), insn.imm, value)
}

/// SDM vol. 2B, MOVZX.
fn movzx<S: Word, D: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let value: S = core.read(insn, 1)?;
    core.set_reg(insn.ops[0].register.into(), D::from_u64(value.to_u64()));
    Ok(())
}

/// SDM vol. 2B, MOVSX and MOVSXD.
fn movsx<S: Word, D: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let value: S = core.read(insn, 1)?;
    core.set_reg(insn.ops[0].register.into(), D::from_u64(value.to_i64() as u64));
    Ok(())
}

/// SDM vol. 2A, LEA.
fn lea<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let offset = core.effective_address(insn);
    core.set_reg(insn.ops[0].register.into(), T::from_u64(offset));
    Ok(())
}

/// SDM vol. 2D, XCHG: with memory it is locked, prefix or not.
fn xchg<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let new: T = core.read(insn, 1)?;
    let old: T = if insn.ops[0].is_memory() {
        let offset = core.effective_address(insn);
        core.modify(insn.segment.into(), offset, true, |_| new)?
    } else {
        core.update(insn, 0, |_| new)?
    };
    core.write(insn, 1, old)
}

/// SDM vol. 2A, BSWAP. Of 16 bits it makes zero, as AMD's and Intel's CPUs do.
fn bswap<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let swap = |old: T| if T::BITS == 16 { T::from_u64(0) } else { swap_bytes(old) };
    core.update(insn, 0, swap).map(drop)
}

/// SDM vol. 2B, MOVBE.
fn movbe<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let value: T = core.read(insn, 1)?;
    core.write(insn, 0, swap_bytes(value))
}

fn swap_bytes<T: Word>(value: T) -> T {
    T::from_u64(value.to_u64().swap_bytes() >> (64 - T::BITS))
}

/// SDM vol. 2D, XLAT: the index is AL, not all of the register.
fn xlatb(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let index = core.reg(gpr::RAX) & 0xff;
    let offset = super::wrap(insn.address_size, core.reg(gpr::RBX).wrapping_add(index));
    let value: u8 = core.load(insn.segment.into(), offset)?;
    core.set_reg(gpr::RAX, value);
    Ok(())
}

/// SDM vol. 2A, LAHF.
fn lahf(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    let low = core.flags.status() & 0xff | FIXED;
    let rax = core.reg(gpr::RAX) & !0xff00 | low << 8;
    core.set_reg(gpr::RAX, rax);
    Ok(())
}

/// SDM vol. 2B, SAHF.
fn sahf(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    let high = core.reg(gpr::RAX) >> 8;
    core.flags.set_some(SF | ZF | AF | PF | CF, high);
    Ok(())
}

/// SDM vol. 2A, CBW, CWDE, CDQE.
fn widen_accumulator<S: Word, D: Word>(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    let value: S = core.get_reg(gpr::RAX);
    core.set_reg(gpr::RAX, D::from_u64(value.to_i64() as u64));
    Ok(())
}

/// SDM vol. 2A, CWD, CDQ, CQO.
fn sign_to_data<T: Word>(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    let sign = core.get_reg::<T>(gpr::RAX).to_i64() >> 63;
    core.set_reg(gpr::RDX, T::from_u64(sign as u64));
    Ok(())
}

/// SDM vol. 2A, CMOVcc: memory is read, and the upper half cleared, whether the condition holds or not.
fn cmov<T: Word, const CONDITION: u8>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let value: T = core.read(insn, 1)?;
    let register = insn.ops[0].register.into();
    let value = if core.flags.condition(CONDITION) { value } else { core.get_reg(register) };
    core.set_reg(register, value);
    Ok(())
}

/// SDM vol. 2B, SETcc.
fn set<const CONDITION: u8>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let value = u8::from(core.flags.condition(CONDITION));
    core.write(insn, 0, value)
}
