//! Conversions from and to half precision (SDM vol. 2C, VCVTPH2PS and VCVTPS2PH).

use iced_x86::Mnemonic;

use super::access::{self, Encoding, Vex128, by_encoding};
use super::float::{environment, settle};
use super::lanes::{Wide, Xmm, dwords, from_dwords, join_words, words_of};
use crate::cpu::{Core, Exec};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;
use crate::softfloat::{F16, F32, Rounding, convert};

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Vcvtph2ps => by_encoding!(form, [Vex128 Vex256], E, to_single::<E>),
        Mnemonic::Vcvtps2ph => by_encoding!(form, [Vex128 Vex256], E, to_half::<E>),
        _ => None,
    }
}

/// Half as many bytes as the destination has.
fn to_single<E: Encoding<V: Wide>>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    E::check(core)?;
    let source = if E::V::LANES == 1 {
        [access::low_source(core, insn, 1)?, 0]
    } else {
        access::unaligned_source(core, insn, 1)?
    };
    super::float::finish::<E>(core, insn, |env| {
        E::V::from_lanes(|index| {
            from_dwords(words_of(source[index]).map(|word| convert::<F16, F32>(env, F16(word)).0))
        })
    })
}

/// Into a register, or half as many bytes of memory. The immediate may name the direction of rounding; MXCSR.FTZ does
/// not count.
fn to_half<E: Encoding<V: Wide>>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    E::check(core)?;
    let len = 8 * E::V::LANES;
    let source = E::get(core, insn.ops[1].register);
    let offset = core.effective_address(insn);
    if insn.ops[0].is_memory() {
        core.check_wide_alignment(insn.segment, offset, len as u64)?;
        core.probe_write(insn.segment.into(), offset, len as u32)?;
    }
    let mut env = environment(core);
    env.ftz = false;
    if insn.imm & 4 == 0 {
        env.rounding = Rounding::from_field(insn.imm as u32);
    }
    let mut value: Xmm = [0; 2];
    for (index, piece) in value.iter_mut().enumerate().take(E::V::LANES) {
        let halves = dwords(source.lane(index)).map(|dword| convert::<F32, F16>(&mut env, F32(dword)).0);
        *piece = join_words(halves);
    }
    settle(core, &env)?;
    if insn.ops[0].is_memory() {
        return core.store_slice(insn.segment.into(), offset, &super::lanes::bytes(value)[..len]);
    }
    Vex128::set(core, insn.ops[0].register, value);
    Ok(())
}
