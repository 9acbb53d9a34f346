//! Moves of chosen elements: masked loads and stores, gathers (SDM vol. 2C, VMASKMOV, VPMASKMOV, VGATHERDPS and
//! following).

use iced_x86::{Mnemonic, Register};

use super::access::{Encoding, by_encoding, check_avx};
use super::lanes::{Wide, Ymm};
use super::moves::is_store;
use crate::cpu::{Core, Exec, Word};
use crate::decode::insn::{Handler, Insn};
use crate::exec::{Form, wrap};

/// 64-bit pieces of a YMM register.
const PIECES: usize = 4;

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Vmaskmovps | Mnemonic::Vpmaskmovd => masked_move::<u32>(form),
        Mnemonic::Vmaskmovpd | Mnemonic::Vpmaskmovq => masked_move::<u64>(form),
        _ => gathers(form),
    }
}

fn masked_move<T: Word>(form: &Form<'_>) -> Option<Handler> {
    if is_store(form) {
        by_encoding!(form, [Vex128 Vex256], E, store_masked::<E, T>)
    } else {
        by_encoding!(form, [Vex128 Vex256], E, load_masked::<E, T>)
    }
}

/// By the widths of destination and indices.
fn gathers(form: &Form<'_>) -> Option<Handler> {
    let has_ymm = form.insn.op0_register().is_ymm();
    let has_ymm_index = Register::is_ymm(form.insn.memory_index());
    let handler: Handler = match form.mnemonic {
        Mnemonic::Vpgatherdd | Mnemonic::Vgatherdps if has_ymm => gather::<i32, u32, 8>,
        Mnemonic::Vpgatherdd | Mnemonic::Vgatherdps => gather::<i32, u32, 4>,
        Mnemonic::Vpgatherdq | Mnemonic::Vgatherdpd if has_ymm => gather::<i32, u64, 4>,
        Mnemonic::Vpgatherdq | Mnemonic::Vgatherdpd => gather::<i32, u64, 2>,
        Mnemonic::Vpgatherqd | Mnemonic::Vgatherqps if has_ymm_index => gather::<i64, u32, 4>,
        Mnemonic::Vpgatherqd | Mnemonic::Vgatherqps => gather::<i64, u32, 2>,
        Mnemonic::Vpgatherqq | Mnemonic::Vgatherqpd if has_ymm => gather::<i64, u64, 4>,
        Mnemonic::Vpgatherqq | Mnemonic::Vgatherqpd => gather::<i64, u64, 2>,
        _ => return None,
    };
    Some(handler)
}

fn ymm<V: Wide>(value: V) -> Ymm {
    Ymm::from_lanes(|index| if index < V::LANES { value.lane(index) } else { [0; 2] })
}

/// Element `index` of the size of `T`.
fn element<T: Word>(vector: &Ymm, index: usize) -> T {
    let bit = T::BITS as usize * index;
    T::from_u64(vector[bit / 64 % PIECES] >> (bit % 64))
}

fn set_element<T: Word>(vector: &mut Ymm, index: usize, value: T) {
    let bit = T::BITS as usize * index;
    let piece = &mut vector[bit / 64 % PIECES];
    let mask = (u64::MAX >> (64 - T::BITS)) << (bit % 64);
    *piece = *piece & !mask | value.to_u64() << (bit % 64);
}

/// Whether the mask chooses element `index`: by its highest bit.
fn is_chosen<T: Word>(mask: &Ymm, index: usize) -> bool {
    element::<T>(mask, index).to_u64() >> (T::BITS - 1) != 0
}

/// What is not chosen becomes zero, and its memory is not looked at.
fn load_masked<E: Encoding<V: Wide>, T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    E::check(core)?;
    let offset = core.effective_address(insn);
    let mask = ymm(E::get(core, insn.ops[1].register));
    let mut value = [0; PIECES];
    for index in 0..E::BYTES as usize / T::BYTES {
        if is_chosen::<T>(&mask, index) {
            let mut bytes = [0; 8];
            let place = wrap(insn.address_size, offset.wrapping_add((T::BYTES * index) as u64));
            core.load_slice(insn.segment.into(), place, &mut bytes[..T::BYTES])?;
            set_element(&mut value, index, T::from_u64(u64::from_le_bytes(bytes)));
        }
    }
    E::set(core, insn.ops[0].register, E::V::from_lanes(|index| value.lane(index)));
    Ok(())
}

/// Nothing is stored if an element that is chosen cannot be.
fn store_masked<E: Encoding<V: Wide>, T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    E::check(core)?;
    let offset = core.effective_address(insn);
    let [mask, value] = [1, 2].map(|index| ymm(E::get(core, insn.ops[index].register)));
    let chosen = |index: &usize| is_chosen::<T>(&mask, *index);
    let count = E::BYTES as usize / T::BYTES;
    let place = |index: usize| wrap(insn.address_size, offset.wrapping_add((T::BYTES * index) as u64));
    for index in (0..count).filter(chosen) {
        core.probe_write(insn.segment.into(), place(index), T::BYTES as u32)?;
    }
    for index in (0..count).filter(chosen) {
        let bytes = element::<T>(&value, index).to_u64().to_le_bytes();
        core.store_slice(insn.segment.into(), place(index), &bytes[..T::BYTES])?;
    }
    Ok(())
}

/// An index of a gather.
trait Index {
    fn at(indices: &Ymm, index: usize) -> u64;
}

impl Index for i32 {
    fn at(indices: &Ymm, index: usize) -> u64 {
        element::<u32>(indices, index) as i32 as u64
    }
}

impl Index for i64 {
    fn at(indices: &Ymm, index: usize) -> u64 {
        element::<u64>(indices, index)
    }
}

/// Element after element is loaded and its mask cleared, so that after a fault the instruction goes on where it was.
fn gather<I: Index, T: Word, const COUNT: usize>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    check_avx(core)?;
    let [destination, mask] = [0, 2].map(|operand: usize| usize::from(insn.ops[operand].register & 15));
    let indices = core.vectors[usize::from(insn.index & 15)];
    let base = core.reg(insn.base.into()).wrapping_add(insn.disp as i64 as u64);
    for index in 0..COUNT {
        if is_chosen::<T>(&core.vectors[mask], index) {
            let offset = base.wrapping_add(I::at(&indices, index) << (insn.scale & 3));
            let value = core.load::<T>(insn.segment.into(), wrap(insn.address_size, offset))?;
            set_element(&mut core.vectors[destination], index, value);
        }
        set_element(&mut core.vectors[mask], index, T::from_u64(0));
    }
    let used = T::BYTES * COUNT / 8;
    core.vectors[destination][used..].fill(0);
    core.vectors[mask] = [0; PIECES];
    Ok(())
}
