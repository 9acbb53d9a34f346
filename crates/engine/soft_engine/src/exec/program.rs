//! A program of one instruction for the tests of families: its pages, and how it ends.

use crate::features;
use crate::probe::{Outcome, Probe, ProbeVm, ProgramPage, UserState};

/// Where the instruction is.
pub const CODE: u64 = 0x1_0000;
/// Two writable pages; the page behind them is not there.
pub const DATA: u64 = 0x2_0000;
/// The page that is not there.
pub const HOLE: u64 = DATA + 0x2000;
/// A page that can only be read.
pub const READ_ONLY: u64 = 0x3_0000;

/// Runs `test` on a processor with the pages above, which interprets.
pub fn with_probe(test: impl FnOnce(&mut Probe<'_>)) {
    with_probe_on(crate::probe::Tier::Interpreter, test);
}

/// Runs `test` on a processor with the pages above.
pub fn with_probe_on(tier: crate::probe::Tier, test: impl FnOnce(&mut Probe<'_>)) {
    let page = |address, writable| ProgramPage { address, writable };
    let pages = [page(CODE, true), page(DATA, true), page(DATA + 0x1000, true), page(READ_ONLY, false)];
    let mut vm = ProbeVm::new(features::offered(), &pages).unwrap();
    test(&mut vm.probe(tier));
}

/// Registers all zero, at [`CODE`].
pub fn state() -> UserState {
    UserState {
        gpr: [0; 16],
        rip: CODE,
        rflags: 2,
        fs_base: 0,
        gs_base: 0,
        fxsave: [0; 512],
        ymm_high: [[0; 16]; 16],
    }
}

/// Executes the instruction `bytes` from `state`.
pub fn execute(probe: &mut Probe<'_>, bytes: &[u8], state: &mut UserState) -> Outcome {
    probe.write(CODE, bytes);
    probe.step(state)
}

/// Bytes of one page.
pub fn read<const N: usize>(probe: &Probe<'_>, address: u64) -> [u8; N] {
    let mut bytes = [0; N];
    probe.read(address, &mut bytes);
    bytes
}

/// A page fault of a program.
pub fn page_fault(cr2: u64, error: u32) -> Outcome {
    Outcome::Exception { vector: 14, error, cr2 }
}
