//! Prefixes that a form does not ask for: ignored, or forbidden, or turning it into another form.

use iced_x86::{Code, EncodingKind, Instruction, Mnemonic};

use super::encode::decode;
use crate::layout::CODE;
use crate::random::Random;

const LOCK: u8 = 0xf0;
/// Prefix bytes (SDM vol. 2A, 2.1.1 and 2.2.1).
const PREFIXES: &[u8] =
    &[0x66, 0x67, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, LOCK, 0x40, 0x41, 0x42, 0x44, 0x48, 0x4f];
/// Those of them whose meaning a VEX prefix has.
const IN_VEX: &[u8] = &[0x66, 0xf2, 0xf3, 0x40, 0x41, 0x42, 0x44, 0x48, 0x4f];
/// Longest instruction in bytes.
const INSN_MAX: usize = 15;

/// Most often `bytes` as they are; sometimes with one more prefix. `None` if that makes something that is not
/// compared.
pub fn vary(
    mut bytes: Vec<u8>,
    random: &mut Random,
    allowed: &impl Fn(Code) -> bool,
) -> Option<(Vec<u8>, Instruction)> {
    let is_vex = decode(&bytes, CODE).code().encoding() == EncodingKind::VEX;
    let mut added = 0;
    if random.chance(7) {
        added = random.pick(PREFIXES);
        bytes.insert(0, added);
    }
    let insn = decode(&bytes, CODE);
    // A lock prefix where none is allowed makes an instruction invalid for iced and for processors alike, and so do
    // those that a VEX prefix contains (SDM vol. 2A, 2.3.2 to 2.3.3).
    let fits = if insn.is_invalid() {
        added == LOCK || is_vex && IN_VEX.contains(&added)
    } else {
        allowed(insn.code()) && insn.len() == bytes.len()
    };
    (fits && !is_disputed(&insn, &bytes) && bytes.len() <= INSN_MAX).then_some((bytes, insn))
}

/// Whether makers, or manuals and processors, differ about `insn`: near branches with an operand size prefix, which
/// Intel's ignore; LOOPE and LOOPNE, whose condition a repeat prefix turns round on AMD's; REX.B before F3 90.
fn is_disputed(insn: &Instruction, bytes: &[u8]) -> bool {
    let has = |prefixes: &[u8]| bytes.iter().take(4).any(|byte| prefixes.contains(byte));
    match insn.mnemonic() {
        Mnemonic::Loope | Mnemonic::Loopne => has(&[0x66, 0xf2, 0xf3]),
        Mnemonic::Pause => bytes.len() > 2,
        _ => is_near_branch(insn) && has(&[0x66]),
    }
}

fn is_near_branch(insn: &Instruction) -> bool {
    use iced_x86::FlowControl as Flow;
    !matches!(insn.flow_control(), Flow::Next | Flow::Exception)
}
