//! Moves of whole vectors, and of 32 and 64 bits between register files and memory (SDM vol. 2A and 2B, MOVAPS, MOVD,
//! MOVQ, MOVDQA, MOVNTDQ and following).

use iced_x86::{Mnemonic, OpKind};

use super::access::{self, Register};
use super::lanes::{Mm, Xmm};
use crate::cpu::{Core, Exec, Word, gpr};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;
use crate::memory::paging::Kind;

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Movaps | Mnemonic::Movapd | Mnemonic::Movdqa => Some(by_place(form, [load, store_aligned])),
        Mnemonic::Movups | Mnemonic::Movupd | Mnemonic::Movdqu => {
            Some(by_place(form, [load_unaligned, store_unaligned]))
        }
        Mnemonic::Lddqu => Some(load_unaligned),
        Mnemonic::Movntdqa => Some(load),
        Mnemonic::Movntps | Mnemonic::Movntpd | Mnemonic::Movntdq => Some(store_aligned),
        Mnemonic::Movntq => Some(movq_from_mmx),
        Mnemonic::Movd => integer_move::<u32>(form),
        Mnemonic::Movq => movq(form),
        Mnemonic::Movdq2q => Some(movdq2q),
        Mnemonic::Movq2dq => Some(movq2dq),
        Mnemonic::Maskmovdqu => Some(maskmovdqu),
        Mnemonic::Maskmovq => Some(maskmovq),
        _ => None,
    }
}

/// The load, or if the destination is memory the store.
pub(super) fn by_place(form: &Form<'_>, [load, store]: [Handler; 2]) -> Handler {
    if form.insn.op0_kind() == OpKind::Memory { store } else { load }
}

fn load(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::unary::<Xmm>(core, insn, |source| source)
}

fn load_unaligned(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_sse(core)?;
    let value = access::unaligned_source(core, insn, 1)?;
    Xmm::set(core, insn.ops[0].register, value);
    Ok(())
}

fn store_aligned(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_sse(core)?;
    let offset = core.effective_address(insn);
    core.require_alignment(insn.segment, offset, 16, Kind::Write)?;
    let value = Xmm::get(core, insn.ops[1].register);
    access::store_xmm(core, insn, offset, value)
}

fn store_unaligned(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_sse(core)?;
    let offset = core.effective_address(insn);
    let value = Xmm::get(core, insn.ops[1].register);
    access::store_xmm(core, insn, offset, value)
}

/// MOVQ: between vector registers and memory, or general-purpose registers.
fn movq(form: &Form<'_>) -> Option<Handler> {
    let insn = form.insn;
    let (first, second) = (insn.op0_register(), insn.op1_register());
    if first.is_gpr() || second.is_gpr() {
        return integer_move::<u64>(form);
    }
    Some(match (first.is_xmm(), second.is_xmm(), first.is_mm()) {
        (true, ..) => movq_to_xmm,
        (_, true, _) => move_from_xmm::<u64>,
        (.., true) => movq_to_mmx,
        _ => movq_from_mmx,
    })
}

/// MOVD and MOVQ whose other operand is a general-purpose register or memory.
fn integer_move<T: Word>(form: &Form<'_>) -> Option<Handler> {
    let (first, second) = (form.insn.op0_register(), form.insn.op1_register());
    Some(match (first.is_xmm(), second.is_xmm(), first.is_mm()) {
        (true, ..) => move_to_xmm::<T>,
        (_, true, _) => move_from_xmm::<T>,
        (.., true) => move_to_mmx::<T>,
        _ => move_from_mmx::<T>,
    })
}

fn move_to_xmm<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_sse(core)?;
    let value = core.read::<T>(insn, 1)?.to_u64();
    Xmm::set(core, insn.ops[0].register, [value, 0]);
    Ok(())
}

/// To a general-purpose register or memory.
fn move_from_xmm<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_sse(core)?;
    let value = Xmm::get(core, insn.ops[1].register)[0];
    core.write(insn, 0, T::from_u64(value))
}

fn move_to_mmx<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_mmx(core)?;
    let value = core.read::<T>(insn, 1)?.to_u64();
    Mm::set(core, insn.ops[0].register, [value]);
    Ok(())
}

fn move_from_mmx<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_mmx(core)?;
    let [value] = Mm::get(core, insn.ops[1].register);
    core.write(insn, 0, T::from_u64(value))?;
    access::enter_mmx(core);
    Ok(())
}

fn movq_to_xmm(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_sse(core)?;
    let value = access::low_source(core, insn, 1)?;
    Xmm::set(core, insn.ops[0].register, [value, 0]);
    Ok(())
}

fn movq_to_mmx(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::unary::<Mm>(core, insn, |source| source)
}

/// To memory, or to another MMX register.
fn movq_from_mmx(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_mmx(core)?;
    let value = Mm::get(core, insn.ops[1].register);
    if insn.ops[0].is_memory() {
        core.write(insn, 0, value[0])?;
        access::enter_mmx(core);
    } else {
        Mm::set(core, insn.ops[0].register, value);
    }
    Ok(())
}

fn movdq2q(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_sse(core)?;
    access::check_mmx(core)?;
    let [low, _] = Xmm::get(core, insn.ops[1].register);
    Mm::set(core, insn.ops[0].register, [low]);
    Ok(())
}

fn movq2dq(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_sse(core)?;
    access::check_mmx(core)?;
    let [value] = Mm::get(core, insn.ops[1].register);
    access::enter_mmx(core);
    Xmm::set(core, insn.ops[0].register, [value, 0]);
    Ok(())
}

fn maskmovdqu(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_sse(core)?;
    let (value, mask) = (Xmm::get(core, insn.ops[1].register), Xmm::get(core, insn.ops[2].register));
    store_masked(core, insn, &super::lanes::bytes(value), &super::lanes::bytes(mask))
}

/// Already an attempt that ends in a fault makes the unit MMX's.
fn maskmovq(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_mmx(core)?;
    let ([value], [mask]) = (Mm::get(core, insn.ops[1].register), Mm::get(core, insn.ops[2].register));
    access::enter_mmx(core);
    store_masked(core, insn, &value.to_le_bytes(), &mask.to_le_bytes())
}

/// Stores those bytes whose mask byte has its highest bit set, at DS:rDI. All must be writable, even if none is
/// selected, which the manual leaves open.
fn store_masked(core: &mut Core<'_>, insn: &Insn, value: &[u8], mask: &[u8]) -> Exec {
    let base: u64 = match insn.address_size {
        8 => core.get_reg(gpr::RDI),
        4 => core.get_reg::<u32>(gpr::RDI).into(),
        _ => core.get_reg::<u16>(gpr::RDI).into(),
    };
    core.check_wide_alignment(insn.segment, base, 8)?;
    let segment = insn.segment.into();
    core.probe_write(segment, base, value.len() as u32)?;
    for (index, byte) in value.iter().enumerate() {
        if mask[index] & 0x80 != 0 {
            core.store(segment, base.wrapping_add(index as u64), *byte)?;
        }
    }
    Ok(())
}
