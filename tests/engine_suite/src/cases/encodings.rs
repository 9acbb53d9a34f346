//! Encodings that look like others.

use super::Case;
use crate::guest::Guest;
use crate::modes::{MODES, Mode};
use crate::outcome::Expect;

const EXCHANGE: &str = "SDM vol. 2, NOP, PAUSE, XCHG";

pub(super) fn cases() -> Vec<Case> {
    // With REX.B the opcode of NOP names R8, and a REP prefix does not make it PAUSE. Bytes; RAX and R8 afterwards.
    const RAX: u64 = 0x1111_1111_1111_1111;
    const R8: u64 = 0x8888_8888_8888_8888;
    let rows: [(&str, &[u8], u64, u64); 6] = [
        ("90", &[0x90], RAX, R8),
        ("f3 90", &[0xf3, 0x90], RAX, R8),
        ("f3 48 90", &[0xf3, 0x48, 0x90], RAX, R8),
        ("49 90", &[0x49, 0x90], R8, RAX),
        ("f3 49 90", &[0xf3, 0x49, 0x90], R8, RAX),
        ("f3 41 90", &[0xf3, 0x41, 0x90], R8 & 0xffff_ffff, RAX & 0xffff_ffff),
    ];
    let case = |(bytes, code, rax, r8): (&str, &[u8], u64, u64)| {
        let mut guest = Guest::long(0, code);
        (guest.registers.rax, guest.registers.r8) = (RAX, R8);
        let expect = Expect::done().rax(rax).value("r8", |outcome| outcome.state.registers.r8, r8);
        Case::new(format!("nop, pause or xchg: {bytes}"), EXCHANGE, guest, expect)
    };
    let mut cases: Vec<Case> = rows.map(case).into();
    // Prefetches of address 0xffff...: hints of all kinds, known or not, never fault.
    for kind in 0..8u8 {
        let mut guest = Guest::long(0, &[0x0f, 0x0d, kind << 3 | 3]);
        guest.registers.rbx = u64::MAX;
        let name = format!("prefetch of kind {kind}");
        cases.push(Case::new(name, "APM vol. 3, PREFETCH", guest, Expect::done()));
    }
    cases.extend(evex());
    cases
}

/// Instructions with an EVEX prefix, of which no guest here has the extensions; in real-address mode there is no such
/// prefix, as in virtual-8086 mode.
fn evex() -> impl Iterator<Item = Case> {
    const UNDEFINED: u8 = 6;
    // VADDPS zmm0, zmm0, zmm1; VPXORD xmm0, xmm0, xmm1; KMOV's neighbour of an unknown map.
    const ROWS: [(&str, &[u8]); 3] = [
        ("vaddps zmm", &[0x62, 0xf1, 0x7c, 0x48, 0x58, 0xc1]),
        ("vpxord xmm", &[0x62, 0xf1, 0x7d, 0x08, 0xef, 0xc1]),
        ("map 7", &[0x62, 0xf7, 0x7c, 0x48, 0x10, 0xc1]),
    ];
    let modes = MODES.into_iter().filter(|mode| *mode != Mode::Real);
    modes.flat_map(|mode| {
        ROWS.map(|(name, code)| {
            let guest = mode.guest(code);
            let expect = Expect::fault_at(UNDEFINED, 0, mode.start(&guest));
            Case::new(format!("{name} in {mode:?}"), "SDM vol. 2A, 2.7", guest, expect)
        })
    })
}
