//! Broadcasts, permutes, and moves of halves of YMM registers (SDM vol. 2C, VBROADCAST, VPERMD and following,
//! VEXTRACTF128, VINSERTF128).

use iced_x86::{Mnemonic, OpKind};

use super::access::{self, Encoding, Sse, Vex128, Vex256, binary_xmm, by_encoding, check_avx};
use super::lanes::{Wide, Xmm, Ymm, dwords, from_dwords, half, join_halves};
use crate::cpu::{Core, Exec, Mode, Word};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;

/// A broadcast of elements of the size of `$word`.
macro_rules! broadcast {
    ($form:expr, $word:ty) => {
        by_encoding!($form, [Vex128 Vex256], E, broadcast::<E, $word>)
    };
}

/// A permutation of each 128 bits by an immediate, of which they have `$bits` of their own.
macro_rules! permute_by_immediate {
    ($form:expr, $bits:literal, $operation:expr) => {
        by_encoding!($form, [Vex128 Vex256], E, |core, insn| {
            let imm = insn.imm as u8;
            access::unary::<E>(core, insn, |source| {
                Wide::from_lanes(|index| $operation(source.lane(index), imm >> ($bits * index)))
            })
        })
    };
}

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    let by_immediate = form.insn.op_count() > 2 && form.insn.op2_kind() == OpKind::Immediate8;
    match form.mnemonic {
        Mnemonic::Vpbroadcastb => broadcast!(form, u8),
        Mnemonic::Vpbroadcastw => broadcast!(form, u16),
        Mnemonic::Vpbroadcastd | Mnemonic::Vbroadcastss => broadcast!(form, u32),
        Mnemonic::Vpbroadcastq | Mnemonic::Vbroadcastsd => broadcast!(form, u64),
        Mnemonic::Vpermilps if by_immediate => permute_by_immediate!(form, 0, permute_singles),
        Mnemonic::Vpermilpd if by_immediate => permute_by_immediate!(form, 2, permute_doubles),
        Mnemonic::Vpermilps => binary_xmm!(form, |a, b| {
            let lanes = dwords(a);
            from_dwords(dwords(b).map(|control| lanes[control as usize & 3]))
        }),
        Mnemonic::Vpermilpd => binary_xmm!(form, |a, b| b.map(|control| a[control as usize >> 1 & 1])),
        _ => across_lanes(form),
    }
}

fn across_lanes(form: &Form<'_>) -> Option<Handler> {
    let handler: Handler = match form.mnemonic {
        Mnemonic::Vbroadcastf128 | Mnemonic::Vbroadcasti128 => broadcast_128,
        Mnemonic::Vextractf128 | Mnemonic::Vextracti128 => extract_128,
        Mnemonic::Vinsertf128 | Mnemonic::Vinserti128 => insert_128,
        Mnemonic::Vperm2f128 | Mnemonic::Vperm2i128 => {
            |core, insn| access::combine::<Vex256>(core, insn, |a, b| permute_128(a, b, insn.imm as u8))
        }
        Mnemonic::Vpermq | Mnemonic::Vpermpd => |core, insn| {
            access::unary::<Vex256>(core, insn, |source| {
                std::array::from_fn(|index| source[insn.imm as usize >> (2 * index) & 3])
            })
        },
        Mnemonic::Vpermd | Mnemonic::Vpermps => {
            |core, insn| access::combine::<Vex256>(core, insn, permute_dwords)
        }
        Mnemonic::Vzeroupper => |core, _| zero(core, 2),
        Mnemonic::Vzeroall => |core, _| zero(core, 0),
        _ => return None,
    };
    Some(handler)
}

/// The source is the low part of a register or as much memory.
fn broadcast<E: Encoding<V: Wide>, T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    E::check(core)?;
    let element = if insn.ops[1].is_memory() {
        core.read::<T>(insn, 1)?
    } else {
        T::from_u64(Sse::get(core, insn.ops[1].register)[0])
    };
    // One in each element.
    let ones = u64::MAX / (u64::MAX >> (64 - T::BITS));
    let piece = element.to_u64().wrapping_mul(ones);
    E::set(core, insn.ops[0].register, E::V::from_lanes(|_| [piece; 2]));
    Ok(())
}

/// From memory.
fn broadcast_128(core: &mut Core<'_>, insn: &Insn) -> Exec {
    check_avx(core)?;
    let lane = access::unaligned_source(core, insn, 1)?;
    Vex256::set(core, insn.ops[0].register, Ymm::from_lanes(|_| lane));
    Ok(())
}

fn extract_128(core: &mut Core<'_>, insn: &Insn) -> Exec {
    check_avx(core)?;
    let lane = Vex256::get(core, insn.ops[1].register).lane(insn.imm as usize & 1);
    if insn.ops[0].is_memory() {
        let offset = core.effective_address(insn);
        return access::store_vector(core, insn, offset, lane);
    }
    Vex128::set(core, insn.ops[0].register, lane);
    Ok(())
}

fn insert_128(core: &mut Core<'_>, insn: &Insn) -> Exec {
    check_avx(core)?;
    let inserted = access::unaligned_source(core, insn, 2)?;
    let value = Vex256::get(core, insn.ops[1].register);
    let place = insn.imm as usize & 1;
    let value = Ymm::from_lanes(|index| if index == place { inserted } else { value.lane(index) });
    Vex256::set(core, insn.ops[0].register, value);
    Ok(())
}

/// SDM vol. 2C, VPERM2F128: four bits for each half, the highest of which clears it.
fn permute_128(a: Ymm, b: Ymm, imm: u8) -> Ymm {
    Ymm::from_lanes(|index| {
        let control = imm >> (4 * index);
        let from = if control & 2 == 0 { a } else { b };
        if control & 8 != 0 { [0; 2] } else { from.lane(usize::from(control & 1)) }
    })
}

fn permute_dwords(places: Ymm, source: Ymm) -> Ymm {
    let dword = |place: u32| half(source[place as usize >> 1 & 3], place & 1 != 0);
    places.map(|pair| join_halves(dword(half(pair, false)), dword(half(pair, true))))
}

fn permute_singles(source: Xmm, imm: u8) -> Xmm {
    let lanes = dwords(source);
    from_dwords(std::array::from_fn(|index| lanes[usize::from(imm >> (2 * index) & 3)]))
}

fn permute_doubles(source: Xmm, imm: u8) -> Xmm {
    std::array::from_fn(|index| source[usize::from(imm >> index & 1)])
}

/// Clears every register from 64-bit piece `from` on: of sixteen in 64-bit mode, else of eight.
fn zero(core: &mut Core<'_>, from: usize) -> Exec {
    check_avx(core)?;
    let count = if core.mode == Mode::Long { 16 } else { 8 };
    for register in &mut core.vectors[..count] {
        register[from..].fill(0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_chosen_or_cleared() {
        let (a, b) = ([1, 2, 3, 4], [5, 6, 7, 8]);
        assert_eq!(permute_128(a, b, 0x21), [3, 4, 5, 6]);
        assert_eq!(permute_128(a, b, 0x83), [7, 8, 0, 0]);
    }

    #[test]
    fn dwords_cross_the_middle() {
        let source = [0x1_0000_0000, 0x3_0000_0002, 0x5_0000_0004, 0x7_0000_0006];
        assert_eq!(permute_dwords([0x7 | 0x6 << 32, 0xa, 0, 5], source)[0], 0x6_0000_0007);
        assert_eq!(permute_dwords([0xd, 0, 0, 0], source)[0], 5);
    }
}
