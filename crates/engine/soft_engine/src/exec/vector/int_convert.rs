//! Widening moves (SDM vol. 2B, PMOVSX and PMOVZX).

use iced_x86::Mnemonic;

use super::access::{self, Encoding, wide};
use super::lanes::{Wide, Xmm, bits, from_dwords, from_words};
use crate::cpu::{Core, Exec, Word};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;

/// `operation` makes 128 bits of the low bits, as many as `$source` has.
macro_rules! widen {
    ($form:expr, $source:ty, $operation:expr) => {
        wide!($form, E, |core, insn| widen::<E, $source>(core, insn, $operation))
    };
}

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Pmovsxbw | Mnemonic::Vpmovsxbw => widen!(form, u64, |x| to_words(x, |x| x as i8 as u16)),
        Mnemonic::Pmovsxbd | Mnemonic::Vpmovsxbd => {
            widen!(form, u32, |x| to_dwords(x, 8, |x| x as i8 as u32))
        }
        Mnemonic::Pmovsxbq | Mnemonic::Vpmovsxbq => {
            widen!(form, u16, |x| to_qwords(x, 8, |x| x as i8 as u64))
        }
        Mnemonic::Pmovsxwd | Mnemonic::Vpmovsxwd => {
            widen!(form, u64, |x| to_dwords(x, 16, |x| x as i16 as u32))
        }
        Mnemonic::Pmovsxwq | Mnemonic::Vpmovsxwq => {
            widen!(form, u32, |x| to_qwords(x, 16, |x| x as i16 as u64))
        }
        Mnemonic::Pmovsxdq | Mnemonic::Vpmovsxdq => {
            widen!(form, u64, |x| to_qwords(x, 32, |x| x as i32 as u64))
        }
        Mnemonic::Pmovzxbw | Mnemonic::Vpmovzxbw => widen!(form, u64, |x| to_words(x, |x| x & 0xff)),
        Mnemonic::Pmovzxbd | Mnemonic::Vpmovzxbd => widen!(form, u32, |x| to_dwords(x, 8, |x| x & 0xff)),
        Mnemonic::Pmovzxbq | Mnemonic::Vpmovzxbq => widen!(form, u16, |x| to_qwords(x, 8, |x| x & 0xff)),
        Mnemonic::Pmovzxwd | Mnemonic::Vpmovzxwd => widen!(form, u64, |x| to_dwords(x, 16, |x| x & 0xffff)),
        Mnemonic::Pmovzxwq | Mnemonic::Vpmovzxwq => widen!(form, u32, |x| to_qwords(x, 16, |x| x & 0xffff)),
        Mnemonic::Pmovzxdq | Mnemonic::Vpmovzxdq => {
            widen!(form, u64, |x| to_qwords(x, 32, |x| x & 0xffff_ffff))
        }
        _ => None,
    }
}

/// Of each 128 bits of the result the source is of the size of `T`: the low part of a register or as much memory.
#[inline(always)]
fn widen<E: Encoding<V: Wide>, T: Word>(
    core: &mut Core<'_>,
    insn: &Insn,
    operation: impl Fn(u64) -> Xmm,
) -> Exec {
    E::check(core)?;
    let source = match (insn.ops[1].is_memory(), T::BYTES * E::V::LANES) {
        (true, 2) => core.read::<u16>(insn, 1)?.into(),
        (true, 4) => core.read::<u32>(insn, 1)?.into(),
        (true, 8) => core.read::<u64>(insn, 1)?.into(),
        _ => bits(access::unaligned_source(core, insn, 1)?),
    };
    let value = E::V::from_lanes(|index| operation((source >> (T::BITS * index as u32)) as u64));
    E::set(core, insn.ops[0].register, value);
    Ok(())
}

fn to_words(source: u64, extend: impl Fn(u16) -> u16) -> Xmm {
    from_words(std::array::from_fn(|lane| extend((source >> (8 * lane)) as u16)))
}

fn to_dwords(source: u64, width: usize, extend: impl Fn(u32) -> u32) -> Xmm {
    from_dwords(std::array::from_fn(|lane| extend((source >> (width * lane)) as u32)))
}

fn to_qwords(source: u64, width: usize, extend: impl Fn(u64) -> u64) -> Xmm {
    std::array::from_fn(|lane| extend(source >> (width * lane)))
}
