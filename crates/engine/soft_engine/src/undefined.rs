//! What manuals leave undefined, and what this engine makes of it: the one place where that is decided.
//!
//! A guest finds the same on every host and in both tiers, or a snapshot would not go on elsewhere as it was. So:
//!
//! - Status flags that are undefined are **clear**. Handlers leave them so; generated code drops the host's
//!   (`jit/translate.rs`) before anybody can look at them.
//! - C0, C2 and C3 of the x87 status word, where they are undefined, stay as they were. So does C1 behind instructions that
//!   only look at the unit or set its control word; behind FCOMI, FUCOMI, FCMOVcc and FFREE it is clear. Generated code takes
//!   conditions from the host only behind instructions that define them (`jit/translate/x87.rs`).
//! - BSF and BSR of zero leave all of the destination alone. SHLD and SHRD of 16 bits by more than 16 go on as the
//!   handlers in `exec/shift.rs` say; BSWAP of 16 bits makes zero.
//! - RCPPS, RSQRTPS and their like, and the transcendental instructions of x87, are computed by the engine.
//! - FPREM and FPREM1 of operands that are far apart take as many bits at a time as `softfloat::remainder` says.
//!
//! The last three are never done by the host's own instruction, and neither is a scan's destination.
//!
//! Sources: Intel SDM vol. 2, "Flags Affected" of each instruction, and vol. 1, appendix A (EFLAGS cross-reference);
//! AMD APM vol. 3, "rFLAGS Affected" of each, where U is undefined, and appendix F. Of x87: SDM vol. 1, table 8-1, and vol. 2A,
//! "FPU Flags Affected" of each; APM vol. 5, "x87 Condition Code" of each.

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

/// Conditions of the x87 status word (SDM vol. 1, 8.1.3.2).
pub const C0: u16 = 1 << 8;
/// Rounded up; which way the stack ran out.
pub const C1: u16 = 1 << 9;
/// Unordered; not complete.
pub const C2: u16 = 1 << 10;
/// Equal.
pub const C3: u16 = 1 << 14;
/// All of them.
pub const CONDITIONS: u16 = C0 | C1 | C2 | C3;

/// Conditions of the x87 status word that are undefined after an instruction, by the rows of SDM vol. 1, table 8-1. Those of
/// FPREM and FPREM1 depend on C2: they are all defined once the remainder is complete.
pub fn conditions(mnemonic: Mnemonic) -> u16 {
    use Mnemonic as M;
    match mnemonic {
        M::Fcom | M::Fcomp | M::Fcompp | M::Ficom | M::Ficomp | M::Ftst => 0,
        M::Fucom | M::Fucomp | M::Fucompp | M::Fxam | M::Fprem | M::Fprem1 => 0,
        M::Fldenv | M::Frstor | M::Finit | M::Fninit | M::Fsave | M::Fnsave => 0,
        // C1 tells of a stack fault and has no other meaning in the table; vol. 2A has it cleared by the comparisons.
        M::Fcomi | M::Fcomip | M::Fucomi | M::Fucomip => CONDITIONS,
        M::Fcmovb | M::Fcmove | M::Fcmovbe | M::Fcmovu => CONDITIONS,
        M::Fcmovnb | M::Fcmovne | M::Fcmovnbe | M::Fcmovnu => CONDITIONS,
        M::Ffree | M::Ffreep | M::Fldcw | M::Fclex | M::Fnclex | M::Fnop | M::Wait => CONDITIONS,
        M::Fstcw | M::Fnstcw | M::Fstenv | M::Fnstenv | M::Fstsw | M::Fnstsw => CONDITIONS,
        M::Feni | M::Fneni | M::Fdisi | M::Fndisi | M::Fsetpm | M::Fnsetpm => CONDITIONS,
        // C2 tells that the operand was out of range, and C1 nothing then.
        M::Fsin | M::Fcos | M::Fsincos | M::Fptan => C0 | C3,
        M::Fadd | M::Faddp | M::Fiadd | M::Fmul | M::Fmulp | M::Fimul => ALL_BUT_C1,
        M::Fsub | M::Fsubp | M::Fisub | M::Fsubr | M::Fsubrp | M::Fisubr => ALL_BUT_C1,
        M::Fdiv | M::Fdivp | M::Fidiv | M::Fdivr | M::Fdivrp | M::Fidivr => ALL_BUT_C1,
        M::F2xm1 | M::Fyl2x | M::Fyl2xp1 | M::Fpatan | M::Fxtract => ALL_BUT_C1,
        M::Frndint | M::Fscale | M::Fsqrt => ALL_BUT_C1,
        M::Fabs | M::Fchs | M::Fdecstp | M::Fincstp | M::Fxch | M::Fld | M::Fild | M::Fbld => ALL_BUT_C1,
        M::Fld1 | M::Fldl2t | M::Fldl2e | M::Fldpi | M::Fldlg2 | M::Fldln2 | M::Fldz => ALL_BUT_C1,
        M::Fst | M::Fstp | M::Fstpnce | M::Fist | M::Fistp | M::Fisttp | M::Fbstp => ALL_BUT_C1,
        _ => 0,
    }
}

/// What most x87 instructions leave undefined: all but C1, which says how they rounded.
pub const ALL_BUT_C1: u16 = C0 | C2 | C3;

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
    use iced_x86::{Code, CpuidFeature, RflagsBits};

    use super::*;

    /// The decoder's library has a table of its own, with instructions of units of long ago besides.
    #[test]
    fn nothing_is_missing_in_the_table_of_conditions() {
        const NAMES: [(u32, u16); 4] =
            [(RflagsBits::C0, C0), (RflagsBits::C1, C1), (RflagsBits::C2, C2), (RflagsBits::C3, C3)];
        const OTHER_UNITS: [CpuidFeature; 3] =
            [CpuidFeature::FPU287XL_ONLY, CpuidFeature::FPU387SL_ONLY, CpuidFeature::CYRIX_FPU];
        let mut seen = 0;
        for code in Code::values() {
            let mut insn = Instruction::default();
            insn.set_code(code);
            if insn.cpuid_features().iter().any(|feature| OTHER_UNITS.contains(feature)) {
                continue;
            }
            let named = NAMES.iter().filter(|(name, _)| insn.rflags_undefined() & name != 0);
            let theirs = named.fold(0, |mask, (_, condition)| mask | condition);
            assert_eq!(theirs & !conditions(code.mnemonic()), 0, "{code:?}");
            seen += u32::from(theirs != 0);
        }
        assert!(seen > 100, "{seen}");
    }

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
