//! Packs, unpacks, shuffles and blends (SDM vol. 2B).

use iced_x86::Mnemonic;

use super::access::{
    self, Encoding, Mmx, binary, binary_immediate, binary_xmm, narrow, unary_immediate, wide,
};
use super::lanes::{
    Single, Vector, Wide, Xmm, dwords, from_dwords, from_words, join_halves, join_words, words, words_of,
};
use crate::cpu::{Core, Exec};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;

/// Packs: each 64 bits become 32.
macro_rules! pack {
    ($form:expr, $operation:expr) => {
        binary!($form, |a, b| a.narrow(b, $operation))
    };
}

/// Unpacks of the low or the high half: pairs of 32 bits become 64.
macro_rules! unpack {
    ($form:expr, $high:literal, $operation:expr) => {
        if access::is_mmx($form.insn) && !$high {
            Some((|core, insn| unpack_low_mmx(core, insn, $operation)) as Handler)
        } else {
            binary!($form, |a, b| a.widen(b, $high, $operation))
        }
    };
}

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    packs(form).or_else(|| shuffles(form)).or_else(|| blends(form))
}

fn packs(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Packsswb | Mnemonic::Vpacksswb => {
            pack!(form, |x| narrow_words(x, |word| word.clamp(-128, 127) as u8))
        }
        Mnemonic::Packuswb | Mnemonic::Vpackuswb => {
            pack!(form, |x| narrow_words(x, |word| word.clamp(0, 255) as u8))
        }
        Mnemonic::Packssdw | Mnemonic::Vpackssdw => {
            pack!(form, |x| narrow_dwords(x, |dword| dword.clamp(-0x8000, 0x7fff) as u16))
        }
        Mnemonic::Packusdw | Mnemonic::Vpackusdw => {
            binary_xmm!(form, |a, b| a.narrow(b, |x| narrow_dwords(x, |dword| dword.clamp(0, 0xffff) as u16)))
        }
        Mnemonic::Punpcklbw | Mnemonic::Vpunpcklbw => unpack!(form, false, interleave_bytes),
        Mnemonic::Punpcklwd | Mnemonic::Vpunpcklwd => unpack!(form, false, interleave_words),
        Mnemonic::Punpckldq | Mnemonic::Vpunpckldq => unpack!(form, false, join_halves),
        Mnemonic::Punpckhbw | Mnemonic::Vpunpckhbw => unpack!(form, true, interleave_bytes),
        Mnemonic::Punpckhwd | Mnemonic::Vpunpckhwd => unpack!(form, true, interleave_words),
        Mnemonic::Punpckhdq | Mnemonic::Vpunpckhdq => unpack!(form, true, join_halves),
        Mnemonic::Unpcklps | Mnemonic::Vunpcklps => binary_xmm!(form, |a, b| a.widen(b, false, join_halves)),
        Mnemonic::Unpckhps | Mnemonic::Vunpckhps => binary_xmm!(form, |a, b| a.widen(b, true, join_halves)),
        Mnemonic::Punpcklqdq | Mnemonic::Vpunpcklqdq | Mnemonic::Unpcklpd | Mnemonic::Vunpcklpd => {
            binary_xmm!(form, |a, b| [a[0], b[0]])
        }
        Mnemonic::Punpckhqdq | Mnemonic::Vpunpckhqdq | Mnemonic::Unpckhpd | Mnemonic::Vunpckhpd => {
            binary_xmm!(form, |a, b| [a[1], b[1]])
        }
        _ => None,
    }
}

fn shuffles(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Pshufb | Mnemonic::Vpshufb => binary!(form, |a, b| a.shuffle_bytes(b)),
        Mnemonic::Pshufd | Mnemonic::Vpshufd => unary_immediate!(form, |b: Xmm, imm: u8| {
            let lanes = dwords(b);
            from_dwords(std::array::from_fn(|index| lanes[field(imm, index)]))
        }),
        Mnemonic::Pshuflw | Mnemonic::Vpshuflw => {
            unary_immediate!(form, |b: Xmm, imm: u8| [shuffle_words(b[0], imm), b[1]])
        }
        Mnemonic::Pshufhw | Mnemonic::Vpshufhw => {
            unary_immediate!(form, |b: Xmm, imm: u8| [b[0], shuffle_words(b[1], imm)])
        }
        Mnemonic::Pshufw => Some(|core, insn| {
            access::unary::<Mmx>(core, insn, |source| source.each(|x| shuffle_words(x, insn.imm as u8)))
        }),
        Mnemonic::Shufps | Mnemonic::Vshufps => binary_immediate!(form, 0, shuffle_singles),
        Mnemonic::Shufpd | Mnemonic::Vshufpd => {
            binary_immediate!(form, 2, |a: Xmm, b: Xmm, imm: u8| [
                a[usize::from(imm & 1)],
                b[usize::from(imm >> 1 & 1)]
            ])
        }
        Mnemonic::Palignr | Mnemonic::Vpalignr if access::is_mmx(form.insn) => {
            Some(|core, insn| access::combine::<Mmx>(core, insn, |a, b| align_right(a, b, insn.imm as u8, 8)))
        }
        Mnemonic::Palignr | Mnemonic::Vpalignr => {
            binary_immediate!(form, 0, |a: Xmm, b: Xmm, imm: u8| align_right(a, b, imm, 16))
        }
        _ => None,
    }
}

fn blends(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Blendps | Mnemonic::Vblendps => binary_immediate!(form, 4, blend_dwords),
        Mnemonic::Blendpd | Mnemonic::Vblendpd => binary_immediate!(form, 2, |a: Xmm, b: Xmm, imm: u8| {
            std::array::from_fn(|lane| if imm >> lane & 1 != 0 { b[lane] } else { a[lane] })
        }),
        Mnemonic::Pblendw | Mnemonic::Vpblendw => binary_immediate!(form, 0, |a: Xmm, b: Xmm, imm: u8| {
            let (a, b) = (words(a), words(b));
            from_words(std::array::from_fn(|lane| if imm >> lane & 1 != 0 { b[lane] } else { a[lane] }))
        }),
        Mnemonic::Pblendvb | Mnemonic::Vpblendvb => {
            wide!(form, E, |core, insn| blend::<E>(core, insn, |mask| mask.map_lanes::<i8>(|lane| lane >> 7)))
        }
        Mnemonic::Blendvps | Mnemonic::Vblendvps => {
            wide!(form, E, |core, insn| blend::<E>(core, insn, |mask| mask
                .map_lanes::<i32>(|lane| lane >> 31)))
        }
        Mnemonic::Blendvpd | Mnemonic::Vblendvpd => {
            wide!(form, E, |core, insn| blend::<E>(core, insn, |mask| mask
                .map_lanes::<i64>(|lane| lane >> 63)))
        }
        Mnemonic::Vpblendd => binary_immediate!(form, 4, blend_dwords),
        Mnemonic::Insertps | Mnemonic::Vinsertps => narrow!(form, E, insertps::<E>),
        _ => None,
    }
}

/// The MMX unpacks of low halves read 32 bits of memory only.
#[inline(always)]
fn unpack_low_mmx(core: &mut Core<'_>, insn: &Insn, operation: impl Fn(u32, u32) -> u64) -> Exec {
    access::check_mmx(core)?;
    let second = if insn.ops[1].is_memory() {
        [u64::from(core.read::<u32>(insn, 1)?)]
    } else {
        Mmx::get(core, insn.ops[1].register)
    };
    let destination = insn.ops[0].register;
    let value = Mmx::get(core, destination).widen(second, false, operation);
    Mmx::set(core, destination, value);
    Ok(())
}

/// A blend by XMM0, or by the fourth operand: `spread` makes a lane's sign all of its bits.
#[inline(always)]
fn blend<E: Encoding<V: Wide>>(core: &mut Core<'_>, insn: &Insn, spread: impl Fn(E::V) -> E::V) -> Exec {
    let register = if E::FIRST == 0 { 0 } else { insn.ops[3].register };
    let mask = spread(E::get(core, register));
    access::combine::<E>(core, insn, |a, b| {
        let kept = a.vertical(mask, |a, mask| a & !mask);
        kept.vertical(b.vertical(mask, |b, mask| b & mask), |a, b| a | b)
    })
}

fn blend_dwords(a: Xmm, b: Xmm, imm: u8) -> Xmm {
    let (a, b) = (dwords(a), dwords(b));
    from_dwords(std::array::from_fn(|lane| if imm >> lane & 1 != 0 { b[lane] } else { a[lane] }))
}

/// SDM vol. 2A, INSERTPS: from memory the source is 32 bits, and its selector does not count.
fn insertps<E: Encoding<V = Xmm>>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    E::check(core)?;
    let imm = insn.imm as u8;
    let value = if insn.ops[E::SECOND].is_memory() {
        core.read::<u32>(insn, E::SECOND)?
    } else {
        dwords(E::get(core, insn.ops[E::SECOND].register))[usize::from(imm >> 6)]
    };
    let mut lanes = dwords(E::get(core, insn.ops[E::FIRST].register));
    lanes[usize::from(imm >> 4 & 3)] = value;
    let kept = std::array::from_fn(|lane| if imm >> lane & 1 != 0 { 0 } else { lanes[lane] });
    E::set(core, insn.ops[0].register, from_dwords(kept));
    Ok(())
}

fn narrow_words(x: u64, operation: impl Fn(i16) -> u8) -> u32 {
    u32::from_le_bytes(words_of(x).map(|word| operation(word as i16)))
}

fn narrow_dwords(x: u64, operation: impl Fn(i32) -> u16) -> u32 {
    u32::from(operation(x as i32)) | u32::from(operation((x >> 32) as i32)) << 16
}

fn interleave_bytes(a: u32, b: u32) -> u64 {
    let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
    u64::from_le_bytes([a[0], b[0], a[1], b[1], a[2], b[2], a[3], b[3]])
}

fn interleave_words(a: u32, b: u32) -> u64 {
    join_words([a as u16, b as u16, (a >> 16) as u16, (b >> 16) as u16])
}

/// Field `index` of two bits.
fn field(imm: u8, index: usize) -> usize {
    usize::from(imm >> (2 * index) & 3)
}

fn shuffle_words(x: u64, imm: u8) -> u64 {
    let lanes = words_of(x);
    join_words(std::array::from_fn(|index| lanes[field(imm, index)]))
}

fn shuffle_singles(a: Xmm, b: Xmm, imm: u8) -> Xmm {
    let (a, b) = (dwords(a), dwords(b));
    from_dwords([a[field(imm, 0)], a[field(imm, 1)], b[field(imm, 2)], b[field(imm, 3)]])
}

/// `size` bytes from byte `imm` of the two vectors, the second below the first; zeros follow (SDM vol. 2B, PALIGNR).
#[inline(always)]
fn align_right<V: Single>(a: V, b: V, imm: u8, size: usize) -> V {
    V::from_bytes(|index| {
        let from = usize::from(imm) + index;
        match from / size {
            0 => b.byte(from),
            1 => a.byte(from),
            _ => 0,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_saturate() {
        let words = join_words([0x7fff, 0x8000, 0x00ff, 0xff80]);
        assert_eq!(narrow_words(words, |word| word.clamp(-128, 127) as u8), 0x807f_807f);
        assert_eq!(narrow_words(words, |word| word.clamp(0, 255) as u8), 0x00ff_00ff);
        let dwords = join_halves(0x8000_0000, 0x0001_0000);
        assert_eq!(narrow_dwords(dwords, |dword| dword.clamp(-0x8000, 0x7fff) as u16), 0x7fff_8000);
        assert_eq!(narrow_dwords(dwords, |dword| dword.clamp(0, 0xffff) as u16), 0xffff_0000);
    }

    #[test]
    fn packs_put_the_destination_below_the_source() {
        assert_eq!([1u64, 2].narrow([3, 4], |x| x as u32), [1 | 2 << 32, 3 | 4 << 32]);
        assert_eq!([1u64].narrow([3], |x| x as u32), [1 | 3 << 32]);
    }

    #[test]
    fn unpacks_interleave() {
        assert_eq!(interleave_bytes(0x0706_0504, 0x1716_1514), 0x1707_1606_1505_1404);
        assert_eq!([5u64, 6].widen([7, 8], true, join_halves), [6 | 8 << 32, 0]);
    }

    #[test]
    fn alignment_runs_out_into_zeros() {
        let (a, b) = ([0x1716_1514_1312_1110u64], [0x0706_0504_0302_0100u64]);
        assert_eq!(align_right(a, b, 3, 8), [0x1211_1007_0605_0403]);
        assert_eq!(align_right(a, b, 12, 8), [0x1716_1514]);
        assert_eq!(align_right(a, b, 16, 8), [0]);
    }
}
