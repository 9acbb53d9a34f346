//! Single bits, counts of bits, bit fields, and CRC32.
//!
//! Flags that manuals leave open are clear ([`crate::undefined`]).

use iced_x86::{Mnemonic, OpKind};

use super::{Form, by_size, check_vex, wrap};
use crate::cpu::flags::{CF, SF, ZF};
use crate::cpu::{Core, Exec, Word};
use crate::decode::insn::{Handler, Insn, OperandKind};

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Bt => by_size!(form, bt),
        Mnemonic::Bts => by_size!(form, bts),
        Mnemonic::Btr => by_size!(form, btr),
        Mnemonic::Btc => by_size!(form, btc),
        Mnemonic::Bsf => by_size!(form, bsf),
        Mnemonic::Bsr => by_size!(form, bsr),
        Mnemonic::Popcnt => by_size!(form, popcnt),
        Mnemonic::Lzcnt => by_size!(form, lzcnt),
        Mnemonic::Tzcnt => by_size!(form, tzcnt),
        Mnemonic::Bextr => by_size!(form, bextr),
        Mnemonic::Bzhi => by_size!(form, bzhi),
        Mnemonic::Blsi => by_size!(form, blsi),
        Mnemonic::Blsr => by_size!(form, blsr),
        Mnemonic::Blsmsk => by_size!(form, blsmsk),
        Mnemonic::Pdep => by_size!(form, pdep),
        Mnemonic::Pext => by_size!(form, pext),
        Mnemonic::Crc32 => crc32_handler(form),
        _ => None,
    }
}

/// SDM vol. 2A, BT. CF is the bit, and ZF stays.
fn bt<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let place = bit_place::<T>(core, insn)?;
    let old: T = match place.memory {
        Some(offset) => core.load(insn.segment.into(), offset)?,
        None => core.read(insn, 0)?,
    };
    note_bit(core, old, place.mask);
    Ok(())
}

/// SDM vol. 2A, BTS.
fn bts<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    change_bit(core, insn, |old: T, mask| old | mask)
}

/// SDM vol. 2A, BTR.
fn btr<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    change_bit(core, insn, |old: T, mask| old & !mask)
}

/// SDM vol. 2A, BTC.
fn btc<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    change_bit(core, insn, |old: T, mask| old ^ mask)
}

#[inline(always)]
fn change_bit<T: Word>(core: &mut Core<'_>, insn: &Insn, change: fn(T, T) -> T) -> Exec {
    let place = bit_place::<T>(core, insn)?;
    let mask = place.mask;
    let old = match place.memory {
        Some(offset) => {
            core.modify(insn.segment.into(), offset, insn.is_locked(), |old: T| change(old, mask))?
        }
        None => core.update(insn, 0, |old: T| change(old, mask))?,
    };
    note_bit(core, old, mask);
    Ok(())
}

/// Where the bit is that operand 1 names.
struct BitPlace<T> {
    /// Offset of the word in memory that holds it.
    memory: Option<u64>,
    /// The bit in its word.
    mask: T,
}

/// A bit offset in a register reaches beyond a memory operand, in both directions (SDM vol. 2A, BT; vol. 1, 3.6).
#[inline(always)]
fn bit_place<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec<BitPlace<T>> {
    let bit: T = core.read(insn, 1)?;
    let mask = T::from_u64(1 << (bit.to_u64() & u64::from(T::BITS - 1)));
    if !insn.ops[0].is_memory() {
        return Ok(BitPlace { memory: None, mask });
    }
    let mut offset = core.effective_address(insn);
    if insn.ops[1].kind == OperandKind::Register {
        let words = bit.to_i64() >> T::BITS.trailing_zeros();
        offset = wrap(insn.address_size, offset.wrapping_add((words * T::BYTES as i64) as u64));
    }
    Ok(BitPlace { memory: Some(offset), mask })
}

#[inline(always)]
fn note_bit<T: Word>(core: &mut Core<'_>, old: T, mask: T) {
    let zero = if core.flags.zf() { ZF } else { 0 };
    core.flags.set_status(zero | if (old & mask).to_u64() != 0 { CF } else { 0 });
}

/// SDM vol. 2A, BSF. A source of zero leaves all of the destination.
fn bsf<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    scan(core, insn, |source: T| source.to_u64().trailing_zeros())
}

/// SDM vol. 2A, BSR.
fn bsr<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    scan(core, insn, |source: T| 63 - source.to_u64().leading_zeros())
}

#[inline(always)]
fn scan<T: Word>(core: &mut Core<'_>, insn: &Insn, index: fn(T) -> u32) -> Exec {
    let source: T = core.read(insn, 1)?;
    if source.to_u64() == 0 {
        core.flags.set_status(ZF);
        return Ok(());
    }
    let index = index(source);
    core.write(insn, 0, T::from_u64(index.into()))?;
    core.flags.set_status(0);
    Ok(())
}

/// SDM vol. 2B, POPCNT.
fn popcnt<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let source: T = core.read(insn, 1)?;
    core.write(insn, 0, T::from_u64(source.to_u64().count_ones().into()))?;
    core.flags.set_status(if source.to_u64() == 0 { ZF } else { 0 });
    Ok(())
}

/// SDM vol. 2A, LZCNT.
fn lzcnt<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let source: T = core.read(insn, 1)?;
    finish_count::<T>(core, insn, source.to_u64().leading_zeros() - (64 - T::BITS))
}

/// SDM vol. 2B, TZCNT.
fn tzcnt<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let source: T = core.read(insn, 1)?;
    finish_count::<T>(core, insn, source.to_u64().trailing_zeros().min(T::BITS))
}

fn finish_count<T: Word>(core: &mut Core<'_>, insn: &Insn, count: u32) -> Exec {
    core.write(insn, 0, T::from_u64(count.into()))?;
    core.flags.set_status((u64::from(count == T::BITS) * CF) | (u64::from(count == 0) * ZF));
    Ok(())
}

/// SDM vol. 2A, BEXTR.
fn bextr<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    check_vex(core)?;
    let source: T = core.read(insn, 1)?;
    let control = core.read::<T>(insn, 2)?.to_u64();
    let (start, len) = ((control & 0xff) as u32, (control >> 8 & 0xff) as u32);
    let result = T::from_u64(source.to_u64().unbounded_shr(start) & low_bits(len));
    core.write(insn, 0, result)?;
    core.flags.set_status(if result.to_u64() == 0 { ZF } else { 0 });
    Ok(())
}

/// SDM vol. 2A, BZHI.
fn bzhi<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    check_vex(core)?;
    let source: T = core.read(insn, 1)?;
    let len = (core.read::<T>(insn, 2)?.to_u64() & 0xff) as u32;
    let result = T::from_u64(source.to_u64() & low_bits(len));
    finish_lowest(core, insn, result, len >= T::BITS)
}

/// SDM vol. 2A, BLSI.
fn blsi<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    check_vex(core)?;
    let source: T = core.read(insn, 1)?;
    let negative = T::from_u64(0).sub(source);
    finish_lowest(core, insn, negative & source, source.to_u64() != 0)
}

/// SDM vol. 2A, BLSR.
fn blsr<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    check_vex(core)?;
    let source: T = core.read(insn, 1)?;
    let below = source.sub(T::from_u64(1));
    finish_lowest(core, insn, below & source, source.to_u64() == 0)
}

/// SDM vol. 2A, BLSMSK.
fn blsmsk<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    check_vex(core)?;
    let source: T = core.read(insn, 1)?;
    let below = source.sub(T::from_u64(1));
    finish_lowest(core, insn, below ^ source, source.to_u64() == 0)
}

fn finish_lowest<T: Word>(core: &mut Core<'_>, insn: &Insn, result: T, carry: bool) -> Exec {
    core.write(insn, 0, result)?;
    let zero = result.to_u64() == 0;
    core.flags.set_status((u64::from(carry) * CF) | (u64::from(zero) * ZF) | (u64::from(result.sign()) * SF));
    Ok(())
}

fn low_bits(len: u32) -> u64 {
    !u64::MAX.unbounded_shl(len)
}

/// SDM vol. 2B, PDEP.
fn pdep<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    check_vex(core)?;
    let source: T = core.read(insn, 1)?;
    let mask: T = core.read(insn, 2)?;
    core.write(insn, 0, T::from_u64(deposited(source.to_u64(), mask.to_u64())))
}

/// SDM vol. 2B, PEXT.
fn pext<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    check_vex(core)?;
    let source: T = core.read(insn, 1)?;
    let mask: T = core.read(insn, 2)?;
    core.write(insn, 0, T::from_u64(extracted(source.to_u64(), mask.to_u64())))
}

/// The low bits of `source` at the places of the ones of `mask`.
fn deposited(source: u64, mask: u64) -> u64 {
    let (mut left, mut from, mut result) = (mask, source, 0);
    while left != 0 {
        result |= (left & left.wrapping_neg()) * (from & 1);
        from >>= 1;
        left &= left - 1;
    }
    result
}

/// The bits of `source` at the places of the ones of `mask`, side by side.
fn extracted(source: u64, mask: u64) -> u64 {
    let (mut left, mut place, mut result) = (mask, 0, 0);
    while left != 0 {
        result |= (source >> left.trailing_zeros() & 1) << place;
        place += 1;
        left &= left - 1;
    }
    result
}

fn crc32_handler(form: &Form<'_>) -> Option<Handler> {
    let source = match form.insn.op1_kind() {
        OpKind::Register => form.insn.op1_register().size(),
        _ => form.insn.memory_size().size(),
    };
    let form = Form { size: source, ..*form };
    by_size!(form, crc32)
}

/// SDM vol. 2A, CRC32. The result has 32 bits, whatever the destination's size.
fn crc32<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let source: T = core.read(insn, 1)?;
    let crc: u32 = core.get_reg(insn.ops[0].register.into());
    let bytes = source.to_u64().to_le_bytes();
    let crc =
        bytes[..T::BYTES].iter().fold(crc, |crc, byte| crc >> 8 ^ CRC32C[usize::from(crc as u8 ^ byte)]);
    core.set_reg(insn.ops[0].register.into(), crc);
    Ok(())
}

/// Remainders of all bytes by the polynomial 0x11edc6f41, bits reversed.
const CRC32C: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extracting_undoes_depositing() {
        let (source, mask) = (0x0123_4567_89ab_cdef, 0x8421_ff00_0ff0_1248_u64);
        let kept = low_bits(mask.count_ones());
        assert_eq!(deposited(source, mask) & !mask, 0);
        assert_eq!(extracted(deposited(source, mask), mask), source & kept);
        assert_eq!(deposited(source, u64::MAX), source);
        assert_eq!(extracted(source, 0), 0);
        assert_eq!(deposited(0b101, 0b1_1010), 0b1_0010);
    }

    #[test]
    fn checksum_of_the_standard_text() {
        let crc =
            b"123456789".iter().fold(u32::MAX, |crc, byte| crc >> 8 ^ CRC32C[usize::from(crc as u8 ^ byte)]);
        assert_eq!(!crc, 0xe306_9283);
    }
}
