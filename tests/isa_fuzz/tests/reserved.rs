//! Opcodes of which manuals say little, one by one: no host is asked.
#![cfg(target_arch = "x86_64")]

use soft_engine::probe::{Outcome, ProbeVm, ProgramPage, Tier, UserState};

const CODE: u64 = 0x1000_0000;
const DATA: u64 = 0x2000_0000;
const CF: u64 = 1;

/// Executes `bytes` with RBX, RSP at data and RFLAGS as told.
fn step(tier: Tier, bits: u32, bytes: &[u8], rflags: u64) -> (Outcome, UserState) {
    let pages =
        [ProgramPage { address: CODE, writable: false }, ProgramPage { address: DATA, writable: true }];
    let mut vm = ProbeVm::offered(&pages).expect("there is memory for a page or two");
    let mut probe = vm.probe(tier);
    probe.set_bits(bits);
    probe.write(CODE, bytes);
    let mut state = UserState { rip: CODE, rflags: rflags | 2, ..UserState::default() };
    state.gpr[0] = 0x1234;
    state.gpr[3] = DATA;
    state.fxsave[..2].copy_from_slice(&0x37f_u16.to_le_bytes());
    let outcome = probe.step(&mut state);
    (outcome, state)
}

/// 0F 0D and 0F 18 to 0F 1F, with every ModRM.reg and any operand, even one that is not there (SDM vol. 2D, table A-3).
#[test]
fn reserved_hints_do_nothing() {
    for tier in [Tier::Interpreter, Tier::Jit] {
        for bits in [64, 32] {
            for opcode in [0x0d].into_iter().chain(0x18..=0x1f) {
                for reg in 0..8u8 {
                    for (modrm, len) in [(0x03, 3), (0x00, 3), (0x43, 4), (0xc3, 3)] {
                        let bytes = [0x0f, opcode, modrm | reg << 3, 0, 0, 0, 0, 0];
                        let (outcome, state) = step(tier, bits, &bytes, 0);
                        assert_eq!((outcome, state.rip), (Outcome::Done, CODE + len), "{bits}: {bytes:x?}");
                    }
                }
            }
        }
    }
}

#[test]
fn salc_spreads_the_carry_outside_of_64_bit_mode() {
    for (flags, rax) in [(0, 0x1200), (CF, 0x12ff)] {
        let (outcome, state) = step(Tier::Interpreter, 32, &[0xd6], flags);
        assert_eq!((outcome, state.gpr[0], state.rflags), (Outcome::Done, rax, flags | 2));
    }
    let (outcome, _) = step(Tier::Interpreter, 64, &[0xd6], CF);
    assert_eq!(outcome, Outcome::Exception { vector: 6, error: 0, cr2: 0 });
}
