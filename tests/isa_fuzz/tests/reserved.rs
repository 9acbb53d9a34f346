//! Opcodes of which manuals say little, one by one: no host is asked.
#![cfg(target_arch = "x86_64")]

use soft_engine::probe::{Outcome, ProbeVm, ProgramPage, Tier, UserState};

const CODE: u64 = 0x1000_0000;
const DATA: u64 = 0x2000_0000;
const CF: u64 = 1;

const UNDEFINED: Outcome = Outcome::Exception { vector: 6, error: 0, cr2: 0 };

fn vm() -> ProbeVm {
    let pages =
        [ProgramPage { address: CODE, writable: false }, ProgramPage { address: DATA, writable: true }];
    ProbeVm::offered(&pages).expect("there is memory for a page or two")
}

/// Executes `bytes` with RBX, RSP at data and RFLAGS as told.
fn step(tier: Tier, bits: u32, bytes: &[u8], rflags: u64) -> (Outcome, UserState) {
    let mut vm = vm();
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
    assert_eq!(outcome, UNDEFINED);
}

/// BSF RCX, RAX with both (SDM vol. 1, 3.6.1, table 3-4): a 16-bit one would keep most of RCX.
#[test]
fn a_width_of_64_bits_goes_before_one_of_16() {
    for tier in [Tier::Interpreter, Tier::Jit] {
        let mut vm = vm();
        let mut probe = vm.probe(tier);
        probe.set_bits(64);
        probe.write(CODE, &[0x66, 0x48, 0x0f, 0xbc, 0xc8]);
        let mut state = UserState { rip: CODE, rflags: 2, ..UserState::default() };
        (state.gpr[0], state.gpr[1]) = (1 << 40, u64::MAX);
        assert_eq!((probe.step(&mut state), state.gpr[1]), (Outcome::Done, 40), "{tier:?}");
    }
}

/// Guests are offered no extension whose instructions have an EVEX prefix (SDM vol. 2A, 2.7), so none of them is one.
fn check_evex(tier: Tier, bits: u32, one_of: usize) {
    let mut vm = vm();
    let mut probe = vm.probe(tier);
    probe.set_bits(bits);
    let before = UserState { rip: CODE, rflags: 2, gpr: [DATA; 16], ..UserState::default() };
    // Map; W, vvvv and the implied prefix; z, length, broadcast and mask.
    let maps = 0xf0..=0xff_u8;
    let payloads = maps.flat_map(|map| (0..8).map(move |bits| (map, (bits & 4) << 5 | 0x7c | bits & 3)));
    let prefixes =
        payloads.flat_map(|(map, second)| [0x08, 0x48, 0xdf].map(|third| [0x62, map, second, third]));
    let all = prefixes.flat_map(|prefix| {
        (0..=u8::MAX).flat_map(move |opcode| [0x03, 0xc2].map(|modrm| (prefix, opcode, modrm)))
    });
    let mut count = 0;
    for ([first, second, third, fourth], opcode, modrm) in all.step_by(one_of) {
        probe.write(CODE, &[first, second, third, fourth, opcode, modrm, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let mut state = before;
        let outcome = probe.step(&mut state);
        assert_eq!(
            (outcome, state.rip),
            (UNDEFINED, CODE),
            "{bits}: 62 {second:x} {third:x} {fourth:x} {opcode:x} {modrm:x}"
        );
        count += 1;
    }
    assert!(count > 10_000);
}

#[test]
fn evex_encodings_are_undefined_in_64_bit_mode() {
    check_evex(Tier::Interpreter, 64, 1);
    check_evex(Tier::Jit, 64, 11);
}

#[test]
fn evex_encodings_are_undefined_in_compatibility_mode() {
    check_evex(Tier::Interpreter, 32, 1);
}
