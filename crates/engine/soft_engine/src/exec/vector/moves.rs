//! Moves of whole vectors, and of 32 and 64 bits between register files and memory (SDM vol. 2A and 2B, MOVAPS, MOVD,
//! MOVQ, MOVDQA, MOVNTDQ and following).

use iced_x86::{Mnemonic, OpKind};

use super::access::{self, Encoding, Mmx, Sse, narrow, wide};
use super::lanes::{Wide, Xmm};
use crate::cpu::{Core, Exec, Word, gpr};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;
use crate::memory::paging::Kind;

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    whole_moves(form).or_else(|| match form.mnemonic {
        Mnemonic::Movntq => Some(movq_from_mmx),
        Mnemonic::Movd | Mnemonic::Vmovd => integer_move::<u32>(form),
        Mnemonic::Movq | Mnemonic::Vmovq => movq(form),
        Mnemonic::Movdq2q => Some(movdq2q),
        Mnemonic::Movq2dq => Some(movq2dq),
        Mnemonic::Maskmovdqu | Mnemonic::Vmaskmovdqu => narrow!(form, E, maskmovdqu::<E>),
        Mnemonic::Maskmovq => Some(maskmovq),
        _ => None,
    })
}

fn whole_moves(form: &Form<'_>) -> Option<Handler> {
    let to_memory = is_store(form);
    match form.mnemonic {
        Mnemonic::Movaps
        | Mnemonic::Movapd
        | Mnemonic::Movdqa
        | Mnemonic::Vmovaps
        | Mnemonic::Vmovapd
        | Mnemonic::Vmovdqa => {
            if to_memory {
                wide!(form, E, store_aligned::<E>)
            } else {
                wide!(form, E, load_aligned::<E>)
            }
        }
        Mnemonic::Movups
        | Mnemonic::Movupd
        | Mnemonic::Movdqu
        | Mnemonic::Vmovups
        | Mnemonic::Vmovupd
        | Mnemonic::Vmovdqu => {
            if to_memory {
                wide!(form, E, store::<E>)
            } else {
                wide!(form, E, load::<E>)
            }
        }
        Mnemonic::Lddqu | Mnemonic::Vlddqu => wide!(form, E, load::<E>),
        Mnemonic::Movntdqa | Mnemonic::Vmovntdqa => wide!(form, E, load_aligned::<E>),
        Mnemonic::Movntps
        | Mnemonic::Movntpd
        | Mnemonic::Movntdq
        | Mnemonic::Vmovntps
        | Mnemonic::Vmovntpd
        | Mnemonic::Vmovntdq => wide!(form, E, store_aligned::<E>),
        _ => None,
    }
}

/// Whether the destination is memory.
pub(super) fn is_store(form: &Form<'_>) -> bool {
    form.insn.op0_kind() == OpKind::Memory
}

fn load_aligned<E: Encoding<V: Wide>>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    E::check(core)?;
    if insn.ops[1].is_memory() {
        let offset = core.effective_address(insn);
        core.require_alignment(insn.segment, offset, E::BYTES as u32, Kind::Read)?;
    }
    load_checked::<E>(core, insn)
}

fn load<E: Encoding<V: Wide>>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    E::check(core)?;
    load_checked::<E>(core, insn)
}

#[inline(always)]
fn load_checked<E: Encoding<V: Wide>>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let value = access::unaligned_vector::<E>(core, insn, 1)?;
    E::set(core, insn.ops[0].register, value);
    Ok(())
}

/// To memory.
fn store_aligned<E: Encoding<V: Wide>>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    E::check(core)?;
    let offset = core.effective_address(insn);
    core.require_alignment(insn.segment, offset, E::BYTES as u32, Kind::Write)?;
    let value = E::get(core, insn.ops[1].register);
    access::store_vector(core, insn, offset, value)
}

/// To memory.
fn store<E: Encoding<V: Wide>>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    E::check(core)?;
    let offset = core.effective_address(insn);
    let value = E::get(core, insn.ops[1].register);
    access::store_vector(core, insn, offset, value)
}

/// MOVQ: between vector registers and memory, or general-purpose registers.
fn movq(form: &Form<'_>) -> Option<Handler> {
    let insn = form.insn;
    let (first, second) = (insn.op0_register(), insn.op1_register());
    if first.is_gpr() || second.is_gpr() {
        return integer_move::<u64>(form);
    }
    match (first.is_xmm(), second.is_xmm(), first.is_mm()) {
        (true, ..) => narrow!(form, E, movq_to_xmm::<E>),
        (_, true, _) => narrow!(form, E, move_from_xmm::<E, u64>),
        (.., true) => Some(movq_to_mmx),
        _ => Some(movq_from_mmx),
    }
}

/// MOVD and MOVQ whose other operand is a general-purpose register or memory.
fn integer_move<T: Word>(form: &Form<'_>) -> Option<Handler> {
    let (first, second) = (form.insn.op0_register(), form.insn.op1_register());
    match (first.is_xmm(), second.is_xmm(), first.is_mm()) {
        (true, ..) => narrow!(form, E, move_to_xmm::<E, T>),
        (_, true, _) => narrow!(form, E, move_from_xmm::<E, T>),
        (.., true) => Some(move_to_mmx::<T>),
        _ => Some(move_from_mmx::<T>),
    }
}

fn move_to_xmm<E: Encoding<V = Xmm>, T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    E::check(core)?;
    let value = core.read::<T>(insn, 1)?.to_u64();
    E::set(core, insn.ops[0].register, [value, 0]);
    Ok(())
}

/// To a general-purpose register or memory.
fn move_from_xmm<E: Encoding<V = Xmm>, T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    E::check(core)?;
    let value = E::get(core, insn.ops[1].register)[0];
    core.write(insn, 0, T::from_u64(value))
}

fn move_to_mmx<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_mmx(core)?;
    let value = core.read::<T>(insn, 1)?.to_u64();
    Mmx::set(core, insn.ops[0].register, [value]);
    Ok(())
}

fn move_from_mmx<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_mmx(core)?;
    let [value] = Mmx::get(core, insn.ops[1].register);
    core.write(insn, 0, T::from_u64(value))?;
    access::enter_mmx(core);
    Ok(())
}

fn movq_to_xmm<E: Encoding<V = Xmm>>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    E::check(core)?;
    let value = access::low_source(core, insn, 1)?;
    E::set(core, insn.ops[0].register, [value, 0]);
    Ok(())
}

fn movq_to_mmx(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::unary::<Mmx>(core, insn, |source| source)
}

/// To memory, or to another MMX register.
fn movq_from_mmx(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_mmx(core)?;
    let value = Mmx::get(core, insn.ops[1].register);
    if insn.ops[0].is_memory() {
        core.write(insn, 0, value[0])?;
        access::enter_mmx(core);
    } else {
        Mmx::set(core, insn.ops[0].register, value);
    }
    Ok(())
}

fn movdq2q(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_sse(core)?;
    access::check_mmx(core)?;
    let [low, _] = Sse::get(core, insn.ops[1].register);
    Mmx::set(core, insn.ops[0].register, [low]);
    Ok(())
}

fn movq2dq(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_sse(core)?;
    access::check_mmx(core)?;
    let [value] = Mmx::get(core, insn.ops[1].register);
    access::enter_mmx(core);
    Sse::set(core, insn.ops[0].register, [value, 0]);
    Ok(())
}

fn maskmovdqu<E: Encoding<V = Xmm>>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    E::check(core)?;
    let (value, mask) = (E::get(core, insn.ops[1].register), E::get(core, insn.ops[2].register));
    store_masked(core, insn, &super::lanes::bytes(value), &super::lanes::bytes(mask))
}

/// Already an attempt that ends in a fault makes the unit MMX's.
fn maskmovq(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_mmx(core)?;
    let ([value], [mask]) = (Mmx::get(core, insn.ops[1].register), Mmx::get(core, insn.ops[2].register));
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
