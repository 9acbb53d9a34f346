//! What manuals leave undefined, and what this engine makes of it: the one place where that is decided.
//!
//! A guest finds the same on every host and in both tiers, or a snapshot would not go on elsewhere as it was. So:
//!
//! - Status flags that are undefined are **clear**. Handlers leave them so; generated code drops the host's
//!   (`jit/translate.rs`) before anybody can look at them.
//! - C0, C2 and C3 of the x87 status word, where they are undefined, stay as they were. Here alone generated code trusts the
//!   host to do the same.
//! - BSF and BSR of zero leave all of the destination alone. SHLD and SHRD of 16 bits by more than 16 go on as the
//!   handlers in `exec/shift.rs` say; BSWAP of 16 bits makes zero.
//! - RCPPS, RSQRTPS and their like, and the transcendental instructions of x87, are computed by the engine.
//! - FPREM and FPREM1 of operands that are far apart take as many bits at a time as `softfloat::remainder` says.
//!
//! The last three are never done by the host's own instruction, and neither is a scan's destination.
//!
//! Sources: Intel SDM vol. 2, "Flags Affected" of each instruction, and vol. 1, appendix A (EFLAGS cross-reference);
//! AMD APM vol. 3, "rFLAGS Affected" of each, where U is undefined, and appendix F.

use iced_x86::{Instruction, Mnemonic, OpKind};

use crate::cpu::flags::{AF, CF, OF, PF, SF, STATUS, ZF};

/// Status flags that are undefined after `insn`, at their places in RFLAGS. `cl` is CL, by which shifts and rotates may
/// go. BT's ZF is not among them: vol. 2A has it unaffected, where older editions and the APM leave it open.
pub fn flags(insn: &Instruction, cl: u8) -> u64 {
    use Mnemonic as M;
    match insn.mnemonic() {
        M::Shl | M::Sal | M::Shr | M::Sar | M::Rol | M::Ror | M::Rcl | M::Rcr | M::Shld | M::Shrd => {
            after_shift(insn.mnemonic(), operand_bits(insn), count(insn).unwrap_or(cl))
        }
        mnemonic => by_mnemonic(mnemonic),
    }
}

/// Those that are the same for every operand.
pub fn by_mnemonic(mnemonic: Mnemonic) -> u64 {
    use Mnemonic as M;
    match mnemonic {
        M::And | M::Or | M::Xor | M::Test => AF,
        M::Andn | M::Bzhi | M::Blsi | M::Blsmsk | M::Blsr => AF | PF,
        M::Bextr => SF | AF | PF,
        M::Bt | M::Btc | M::Btr | M::Bts => OF | SF | AF | PF,
        M::Bsf | M::Bsr => STATUS & !ZF,
        M::Lzcnt | M::Tzcnt => STATUS & !(ZF | CF),
        M::Mul | M::Imul => STATUS & !(CF | OF),
        M::Div | M::Idiv => STATUS,
        M::Daa | M::Das => OF,
        M::Aaa | M::Aas => STATUS & !(AF | CF),
        M::Aad | M::Aam => OF | AF | CF,
        _ => 0,
    }
}

/// Those after a shift or rotate of `bits` by `count` as it stands in CL or the immediate. None is touched by a count
/// that is zero once it is cut to 5 bits, to 6 for operands of 64.
pub fn after_shift(mnemonic: Mnemonic, bits: u32, count: u8) -> u64 {
    use Mnemonic as M;
    let count = u32::from(count) & if bits == 64 { 63 } else { 31 };
    if count == 0 {
        return 0;
    }
    let overflow = if count == 1 { 0 } else { OF };
    match mnemonic {
        M::Rol | M::Ror | M::Rcl | M::Rcr => overflow,
        M::Shl | M::Sal | M::Shr if count >= bits => CF | AF | overflow,
        M::Shld | M::Shrd if count > bits => STATUS,
        _ => AF | overflow,
    }
}

/// Whether SHLD's or SHRD's result is undefined, too: the count is greater than the operand.
pub fn is_double_shift_too_far(insn: &Instruction, cl: u8) -> bool {
    matches!(insn.mnemonic(), Mnemonic::Shld | Mnemonic::Shrd)
        && u32::from(count(insn).unwrap_or(cl)) & 31 > operand_bits(insn)
}

/// The count of a shift, if it is no register.
fn count(insn: &Instruction) -> Option<u8> {
    let last = insn.op_count() - 1;
    (insn.op_kind(last) == OpKind::Immediate8).then(|| insn.immediate8())
}

fn operand_bits(insn: &Instruction) -> u32 {
    let bytes = match insn.op0_kind() {
        OpKind::Register => insn.op0_register().size(),
        _ => insn.memory_size().size(),
    };
    8 * bytes as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_decide() {
        use Mnemonic as M;
        let cases = [
            (M::Shl, 32, 0, 0),
            (M::Shl, 32, 32, 0),
            (M::Shl, 32, 33, AF),
            (M::Shl, 64, 33, AF | OF),
            (M::Shl, 8, 8, CF | AF | OF),
            (M::Sar, 8, 8, AF | OF),
            (M::Shr, 16, 31, CF | AF | OF),
            (M::Rol, 8, 9, OF),
            (M::Rcl, 8, 9, OF),
            (M::Rcr, 8, 1, 0),
            (M::Shld, 16, 16, AF | OF),
            (M::Shld, 16, 17, STATUS),
            (M::Shrd, 32, 1, AF),
        ];
        for (mnemonic, bits, count, undefined) in cases {
            assert_eq!(after_shift(mnemonic, bits, count), undefined, "{mnemonic:?} of {bits} by {count}");
        }
    }
}
