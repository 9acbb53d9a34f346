//! PAUSE with REX.B, which is none.

use iced_x86::{Code, CodeSize, Instruction, Mnemonic, Register};

/// XCHG with R8 and a REP prefix that means nothing has PAUSE's opcode (SDM vol. 2, NOP, PAUSE, XCHG); the decoder takes
/// it for PAUSE. Puts `insn` right, which was decoded from the first of `bytes`.
pub fn correct(insn: &mut Instruction, bytes: &[u8]) {
    if insn.mnemonic() != Mnemonic::Pause || insn.len() < 3 || insn.code_size() != CodeSize::Code64 {
        return;
    }
    let Some(&[ref prefixes @ .., rex, _opcode]) = bytes.get(..insn.len()) else { return };
    // 0100WRXB with B.
    if rex & 0xf1 != 0x41 {
        return;
    }
    let (code, first, second) = match (rex & 8 != 0, prefixes.contains(&0x66)) {
        (true, _) => (Code::Xchg_r64_RAX, Register::R8, Register::RAX),
        (false, true) => (Code::Xchg_r16_AX, Register::R8W, Register::AX),
        (false, false) => (Code::Xchg_r32_EAX, Register::R8D, Register::EAX),
    };
    insn.set_code(code);
    insn.set_op0_register(first);
    insn.set_op1_register(second);
    insn.set_has_rep_prefix(false);
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions};

    use super::*;

    fn decoded(bits: u32, bytes: &[u8]) -> (Code, usize) {
        let mut insn = Decoder::with_ip(bits, bytes, 0, DecoderOptions::NONE).decode();
        correct(&mut insn, bytes);
        (insn.code(), insn.len())
    }

    #[test]
    fn rex_b_makes_it_an_exchange() {
        assert_eq!(decoded(64, &[0xf3, 0x41, 0x90]), (Code::Xchg_r32_EAX, 3));
        assert_eq!(decoded(64, &[0xf3, 0x4f, 0x90, 0x90]), (Code::Xchg_r64_RAX, 3));
        assert_eq!(decoded(64, &[0x66, 0xf3, 0x41, 0x90]), (Code::Xchg_r16_AX, 4));
    }

    #[test]
    fn all_others_are_pause() {
        assert_eq!(decoded(64, &[0xf3, 0x90]), (Code::Pause, 2));
        assert_eq!(decoded(64, &[0xf3, 0x48, 0x90]), (Code::Pause, 3));
        assert_eq!(decoded(64, &[0xf3, 0x41, 0x66, 0x90]).0, Code::Pause);
        assert_eq!(decoded(32, &[0x66, 0xf3, 0x90]), (Code::Pause, 3));
    }
}
