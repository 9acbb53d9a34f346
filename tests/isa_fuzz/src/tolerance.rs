//! Where two right answers may differ, by the manuals, never by what one processor did: status flags are in the engine's own
//! table ([`undefined`]), everything else is here.

use std::ops::Range;

use iced_x86::{Code, CodeSize, Instruction, Mnemonic, OpKind, Register, RflagsBits};
use soft_engine::probe::{Outcome, UserState};
use soft_engine::undefined;

use crate::case::{Case, Line};
use crate::layout::{CODE, DATA, LINE, SMALL_DATA};

const AF: u64 = 1 << 4;
const ZF: u64 = 1 << 6;
const RCX: usize = 1;
/// Conditions of the x87 status word: C1 is rounded up.
const C0: u64 = undefined::C0 as u64;
const C1: u64 = undefined::C1 as u64;
const C2: u64 = undefined::C2 as u64;
const C3: u64 = undefined::C3 as u64;
/// MXCSR_MASK in an FXSAVE area.
const MXCSR_MASK: Range<usize> = 28..32;
/// Last opcode, instruction and data pointers in an FXSAVE area.
pub const POINTERS: Range<usize> = 6..24;
/// The same in FNSTENV's 32-bit and 16-bit forms (SDM vol. 1, 8.1.10), with the selectors.
const ENVIRONMENT_POINTERS: Range<usize> = 12..28;
const SMALL_ENVIRONMENT_POINTERS: Range<usize> = 6..14;
/// Vectors of faults that an address alone can raise (SDM vol. 3, table 6-1).
const STACK_FAULT: u8 = 12;
const GENERAL_PROTECTION: u8 = 13;
/// Vector of a page fault.
pub const PAGE_FAULT: u8 = 14;
/// Vector of an alignment check.
const ALIGNMENT_CHECK: u8 = 17;
/// The upper byte of the x87 status word in an FXSAVE area.
const STATUS_HIGH: usize = 3;
/// Exception summary in the x87 status word, which an FXSAVE area has at bytes 2 and 3.
const ES: u8 = 0x80;

/// Status flags that manuals leave open after `insn` (SDM vol. 2, "Flags Affected" of each; APM vol. 3, "rFLAGS Affected"
/// of each), executed in `before`. Processors that leave them alone are as right as those that do not.
pub fn undefined_flags(insn: &Instruction, before: &UserState) -> u64 {
    use Mnemonic as M;
    // The APM and older editions of the SDM leave BT's ZF open, too.
    let bit_test = matches!(insn.mnemonic(), M::Bt | M::Bts | M::Btr | M::Btc);
    undefined::flags(insn, before.gpr[RCX] as u8) | if bit_test { ZF } else { 0 }
}

/// Whether a block with `insn` in it comes to the same on every processor but for AF and the x87 conditions: it leaves no
/// other flags and no result open whatever CL is, and reads none of these.
pub fn is_settled(insn: &Instruction) -> bool {
    use Mnemonic as M;
    const NEVER_READ: u32 =
        RflagsBits::AF | RflagsBits::C0 | RflagsBits::C1 | RflagsBits::C2 | RflagsBits::C3;
    let any_count = UserState { gpr: [31; 16], ..UserState::default() };
    undefined_flags(insn, &any_count) & !AF == 0
        && insn.rflags_read() & NEVER_READ == 0
        && !is_approximation(insn)
        && !is_transcendental(insn)
        && !matches!(insn.mnemonic(), M::Bswap | M::Fprem | M::Fprem1)
}

/// What [`is_settled`] leaves open in `state`.
pub fn drop_unsettled(state: &mut UserState) {
    state.rflags &= !AF;
    state.fxsave[STATUS_HIGH] &= !((C0 | C1 | C2 | C3) >> 8) as u8;
}

/// The general-purpose register of which manuals do not say what `insn` leaves in it; `flags` are RFLAGS afterwards.
pub fn undefined_register(insn: &Instruction, before: &UserState, flags: u64) -> Option<usize> {
    use Mnemonic as M;
    let is_open = match insn.mnemonic() {
        // SDM vol. 2A, BSF, BSR: of zero, undefined; in older processors the upper half is cleared (APM vol. 3: unchanged).
        M::Bsf | M::Bsr => flags & ZF != 0,
        // SDM vol. 2A and APM vol. 3, BSWAP.
        M::Bswap => insn.op0_register().size() == 2,
        // SDM vol. 2B and APM vol. 3, SHLD, SHRD.
        M::Shld | M::Shrd => undefined::is_double_shift_too_far(insn, before.gpr[RCX] as u8),
        _ => false,
    };
    let register = insn.op0_register().full_register();
    (is_open && register.is_gpr64()).then(|| register.number())
}

/// x87 status bits that manuals leave open after `insn` (SDM vol. 1, table 8-1; vol. 2, "FPU Flags Affected" of each; APM
/// vol. 5, "x87 Condition Code" of each), or that depend on the last bit of an approximation; `status` is the word afterwards.
pub fn loose_status(insn: &Instruction, status: u64) -> u64 {
    let approximated = if is_transcendental(insn) { C1 } else { 0 };
    let quotient = if is_partial_remainder(insn, status) { C0 | C1 | C3 } else { 0 };
    approximated | quotient | u64::from(undefined::conditions(insn.mnemonic()))
}

/// Whether FPREM or FPREM1 has come part of its way: by a number of bits that is the processor's own, from 32 to 63
/// (SDM vol. 2A, FPREM; APM vol. 5, FPREM).
pub fn is_partial_remainder(insn: &Instruction, status: u64) -> bool {
    matches!(insn.mnemonic(), Mnemonic::Fprem | Mnemonic::Fprem1) && status & C2 != 0
}

/// Whether two x87 registers agree: within one unit in the last place after a transcendental instruction
/// (SDM vol. 1, 8.3.10).
pub fn is_close_extended(insn: &Instruction, host: &[u8], engine: &[u8]) -> bool {
    if host == engine {
        return true;
    }
    let ordered = |bytes: &[u8]| bytes.iter().rev().fold(0u128, |word, byte| word << 8 | u128::from(*byte));
    let (host, engine) = (ordered(host), ordered(engine));
    // With the explicit integer bit taken out, neighbours differ by one.
    let index = |value: u128| value >> 64 << 63 | value & (u128::MAX >> 65);
    let is_number = |value: u128| value >> 64 & 0x7fff != 0x7fff;
    is_transcendental(insn)
        && is_number(host)
        && is_number(engine)
        && index(host).abs_diff(index(engine)) <= 1
}

/// Whether two XMM registers agree: within 1.5 times 2 to the power of -12 of each other's error after an
/// approximation (SDM vol. 2B, RCPPS, RSQRTPS).
pub fn is_close_vector(insn: &Instruction, host: &[u8], engine: &[u8]) -> bool {
    const ERROR: f32 = 3.0 / 4096.0;
    if host == engine {
        return true;
    }
    let lanes = |bytes: &[u8]| -> [f32; 4] {
        std::array::from_fn(|n| {
            f32::from_le_bytes([bytes[4 * n], bytes[4 * n + 1], bytes[4 * n + 2], bytes[4 * n + 3]])
        })
    };
    let close = |(host, engine): (f32, f32)| {
        host.to_bits() == engine.to_bits() || (host - engine).abs() <= host.abs().min(engine.abs()) * ERROR
    };
    is_approximation(insn) && lanes(host).into_iter().zip(lanes(engine)).all(close)
}

/// Whether `insn` reads or writes an area of many fields: which of them faults first is each processor's own business.
pub fn has_many_fields(insn: &Instruction) -> bool {
    use Mnemonic as M;
    let mnemonic = insn.mnemonic();
    is_extended_state(mnemonic)
        || matches!(
            mnemonic,
            M::Fldenv
                | M::Fnstenv
                | M::Frstor
                | M::Fnsave
                | M::Fxsave
                | M::Fxsave64
                | M::Fxrstor
                | M::Fxrstor64
        )
}

/// XSAVE, XRSTOR, and their variants.
pub fn is_extended_state(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        mnemonic,
        M::Xsave
            | M::Xsave64
            | M::Xsaveopt
            | M::Xsaveopt64
            | M::Xsavec
            | M::Xsavec64
            | M::Xrstor
            | M::Xrstor64
    )
}

/// Whether a processor tells where the last x87 instruction was in `area`. AMD's save and restore the pointers only
/// while an exception is pending (APM vol. 3, FXSAVE), so that otherwise they are those of an earlier case.
pub fn has_pointers(area: &[u8; 512]) -> bool {
    area[2] & ES != 0
}

/// Whether two lines of memory agree, where x87 pointers may be those of an earlier case, MXCSR_MASK is each
/// processor's own, and so is what SHLD and SHRD by more than their operand make.
pub fn is_close_memory(insn: &Instruction, case: &Case, host: &Line, engine: &Line) -> bool {
    if host.bytes == engine.bytes {
        return true;
    }
    let pointers = if has_pointers(&case.state.fxsave) { 0..0 } else { POINTERS };
    let own = match insn.code() {
        Code::Fxsave_m512byte
        | Code::Fxsave64_m512byte
        | Code::Xsave_mem
        | Code::Xsave64_mem
        | Code::Xsaveopt_mem
        | Code::Xsaveopt64_mem
        | Code::Xsavec_mem
        | Code::Xsavec64_mem => [MXCSR_MASK, pointers],
        Code::Shld_rm16_r16_imm8
        | Code::Shld_rm16_r16_CL
        | Code::Shrd_rm16_r16_imm8
        | Code::Shrd_rm16_r16_CL
            if undefined::is_double_shift_too_far(insn, case.state.gpr[RCX] as u8) =>
        {
            [0..2, 0..0]
        }
        Code::Fnstenv_m28byte | Code::Fnsave_m108byte => [ENVIRONMENT_POINTERS, 0..0],
        Code::Fnstenv_m14byte | Code::Fnsave_m94byte => [SMALL_ENVIRONMENT_POINTERS, 0..0],
        _ => return false,
    };
    let operand = (0..insn.op_count()).find(|index| insn.op_kind(*index) == OpKind::Memory);
    let Some(operand) = operand.and_then(|operand| address(insn, operand, &case.state)) else { return false };
    let start = DATA + u64::from(host.index) * LINE as u64;
    let is_own = |at: usize| {
        let offset = (start + at as u64).wrapping_sub(operand) as usize;
        own.iter().any(|range| range.contains(&offset))
    };
    (0..LINE).filter(|at| host.bytes[*at] != engine.bytes[*at]).all(is_own)
}

/// Whether two different faults are those of the two operands of a CMPS that has come as far as `state`. Which of them is
/// looked at first is each processor's own business.
pub fn is_other_operands_fault(
    insn: &Instruction,
    state: &UserState,
    host: Outcome,
    engine: Outcome,
) -> bool {
    let is_at = |outcome, operand| {
        address(insn, operand, state)
            .is_some_and(|start| can_be_at(outcome, start, insn.memory_size().size()))
    };
    is_cmps(insn) && (is_at(host, 0) && is_at(engine, 1) || is_at(host, 1) && is_at(engine, 0))
}

/// Whether `insn` is CMPS; CMPSD of vectors is another instruction.
pub fn is_cmps(insn: &Instruction) -> bool {
    matches!(insn.code(), Code::Cmpsb_m8_m8 | Code::Cmpsw_m16_m16 | Code::Cmpsd_m32_m32 | Code::Cmpsq_m64_m64)
}

/// Whether an access to `size` bytes at `start` may have ended so.
fn can_be_at(outcome: Outcome, start: u64, size: usize) -> bool {
    let is_canonical = |address: u64| (address as i64) << 16 >> 16 == address as i64;
    match outcome {
        Outcome::Exception { vector: PAGE_FAULT, cr2, .. } => cr2.wrapping_sub(start) < size as u64,
        Outcome::Exception { vector: STACK_FAULT | GENERAL_PROTECTION, .. } => {
            !is_canonical(start) || !is_canonical(start.wrapping_add(size as u64 - 1))
        }
        Outcome::Exception { vector: ALIGNMENT_CHECK, .. } => !start.is_multiple_of(size as u64),
        _ => false,
    }
}

fn address(insn: &Instruction, operand: u32, state: &UserState) -> Option<u64> {
    insn.virtual_address(operand, 0, |register, _, _| match register {
        Register::FS => Some(state.fs_base),
        Register::GS => Some(state.gs_base),
        Register::CS if insn.code_size() == CodeSize::Code16 => Some(CODE),
        Register::DS | Register::ES if insn.code_size() == CodeSize::Code16 => Some(SMALL_DATA),
        register if register.is_gpr64() => Some(state.gpr[register.number()]),
        register if register.is_gpr32() => Some(state.gpr[register.number()] & 0xffff_ffff),
        register if register.is_gpr16() => Some(state.gpr[register.number()] & 0xffff),
        _ => Some(0),
    })
}

/// Whether `insn` is approximated.
pub fn is_transcendental(insn: &Instruction) -> bool {
    use Mnemonic as M;
    matches!(
        insn.mnemonic(),
        M::F2xm1 | M::Fyl2x | M::Fyl2xp1 | M::Fptan | M::Fpatan | M::Fsin | M::Fcos | M::Fsincos
    )
}

/// Whether `insn` computes something to fewer bits than its result has.
pub fn is_approximation(insn: &Instruction) -> bool {
    use Mnemonic as M;
    matches!(
        insn.mnemonic(),
        M::Rcpps | M::Rcpss | M::Rsqrtps | M::Rsqrtss | M::Vrcpps | M::Vrcpss | M::Vrsqrtps | M::Vrsqrtss
    )
}
