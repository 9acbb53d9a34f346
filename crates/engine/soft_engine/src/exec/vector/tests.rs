use std::sync::Arc;

use guest_memory::{GpaRange, GuestAddress, GuestMemory, Policy};
use vcpu_model::{ExitCounters, GuestIo};

use super::access::{check_mmx, check_sse};
use super::float::settle;
use crate::cpu::mode::{cr0, cr4};
use crate::cpu::{Core, Cpu, Exec, Surroundings, vector};
use crate::exec::program::{DATA, execute, read, state, with_probe};
use crate::features;
use crate::platform::Lapic;
use crate::probe::{Outcome, UserState};
use crate::shared::Shared;
use crate::softfloat::{Env, flag};
use crate::tiers::Tiers;

const RCX: usize = 1;
const GENERAL_PROTECTION: Outcome = Outcome::Exception { vector: 13, error: 0, cr2: 0 };

struct NoDevices;

impl GuestIo for NoDevices {
    fn port_read(&self, _port: u16, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn port_write(&self, _port: u16, _data: &[u8]) {}

    fn mmio_read(&self, _address: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn mmio_write(&self, _address: u64, _data: &[u8]) {}
}

/// Runs `test` on a vCPU whose CR0 and CR4 it may change.
fn with_core(test: impl FnOnce(&mut Core<'_>)) {
    let range = GpaRange { start: GuestAddress(0), size_bytes: 1 << 20 };
    let policy = Policy { huge_pages: false, mergeable: false };
    let memory = GuestMemory::allocate(&[range], policy).unwrap();
    let cpuid = features::offered();
    let shared = Shared::new(memory, cpuid.clone(), 1, Tiers::INTERPRETER);
    let space = shared.space();
    let mut lapic = Lapic::new(Arc::clone(&shared.platform), 0);
    let counters = ExitCounters::default();
    let around = Surroundings {
        index: 0,
        shared: &shared,
        space: &space,
        cpuid: &cpuid,
        io: &NoDevices,
        counters: &counters,
    };
    test(&mut Core::new(Cpu::power_on(0, 0), &mut lapic, around));
}

fn raised(core: &mut Core<'_>, result: Exec) -> Option<u8> {
    match result {
        Ok(()) => None,
        Err(_) => core.fault.take().map(|fault| fault.vector),
    }
}

/// SDM vol. 3, tables 2-2 and 12-1.
#[test]
fn control_registers_decide_what_can_be_used() {
    let cases = [
        (0, cr4::OSFXSR, None, None),
        (0, 0, Some(vector::UD), None),
        (cr0::TS, cr4::OSFXSR, Some(vector::NM), Some(vector::NM)),
        (cr0::EM, cr4::OSFXSR, Some(vector::UD), Some(vector::UD)),
        (cr0::EM | cr0::TS, cr4::OSFXSR, Some(vector::UD), Some(vector::UD)),
        (cr0::TS, 0, Some(vector::UD), Some(vector::NM)),
    ];
    with_core(|core| {
        for (cr0, cr4, sse, mmx) in cases {
            (core.cpu.cr0, core.cpu.cr4) = (cr0, cr4);
            let (sse_check, mmx_check) = (check_sse(core), check_mmx(core));
            assert_eq!(sse_check.is_ok(), sse.is_none(), "{cr0:#x} {cr4:#x}");
            assert_eq!(raised(core, mmx_check), mmx, "{cr0:#x} {cr4:#x}");
            let again = check_sse(core);
            assert_eq!(raised(core, again), sse, "{cr0:#x} {cr4:#x}");
        }
        (core.cpu.cr0, core.cpu.fpu.status) = (0, 1 << 7);
        let result = check_mmx(core);
        assert_eq!(raised(core, result), Some(vector::MF));
    });
}

#[test]
fn unmasked_exceptions_need_a_system_that_expects_them() {
    with_core(|core| {
        for (cr4, expected) in [(cr4::OSXMMEXCPT, vector::XM), (0, vector::UD)] {
            core.cpu.cr4 = cr4;
            core.cpu.mxcsr = 0x1f80 & !(u32::from(flag::DIVIDE_BY_ZERO) << 7);
            let mut env = Env::from_mxcsr(core.mxcsr);
            env.raised = flag::DIVIDE_BY_ZERO | flag::PRECISION;
            let result = settle(core, &env);
            assert_eq!(raised(core, result), Some(expected));
            // What other elements would have raised after the division is not told.
            assert_eq!(core.mxcsr & 0x3f, u32::from(flag::DIVIDE_BY_ZERO));
        }
    });
}

fn with_registers() -> UserState {
    let mut state = state();
    for (index, byte) in state.fxsave[160..416].iter_mut().enumerate() {
        *byte = index as u8;
    }
    state.fxsave[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
    state.fxsave[0..2].copy_from_slice(&0x37fu16.to_le_bytes());
    state.gpr[RCX] = DATA;
    state
}

#[test]
fn only_aligned_forms_ask_for_alignment() {
    const MOVAPS: &[u8] = &[0x0f, 0x28, 0x41, 0x08];
    const MOVUPS: &[u8] = &[0x0f, 0x10, 0x41, 0x08];
    const MOVAPS_STORE: &[u8] = &[0x0f, 0x29, 0x41, 0x08];
    const PADDB: &[u8] = &[0x66, 0x0f, 0xfc, 0x41, 0x08];
    const PADDB_MMX: &[u8] = &[0x0f, 0xfc, 0x41, 0x01];
    const ADDSS: &[u8] = &[0xf3, 0x0f, 0x58, 0x41, 0x01];
    const PCMPISTRI: &[u8] = &[0x66, 0x0f, 0x3a, 0x63, 0x41, 0x08, 0];
    with_probe(|probe| {
        for bytes in [MOVAPS, MOVAPS_STORE, PADDB] {
            assert_eq!(execute(probe, bytes, &mut with_registers()), GENERAL_PROTECTION, "{bytes:x?}");
        }
        for bytes in [MOVUPS, PADDB_MMX, ADDSS, PCMPISTRI] {
            assert_eq!(execute(probe, bytes, &mut with_registers()), Outcome::Done, "{bytes:x?}");
        }
    });
}

#[test]
fn mmx_takes_over_the_x87_registers() {
    with_probe(|probe| {
        let mut state = with_registers();
        // TOP is 5: MM0 is R0, which is ST(3).
        state.fxsave[3] = 5 << 3;
        state.gpr[RCX] = 0x1122_3344_5566_7788;
        // MOVQ mm0, rcx
        assert_eq!(execute(probe, &[0x48, 0x0f, 0x6e, 0xc1], &mut state), Outcome::Done);
        assert_eq!((state.fxsave[3], state.fxsave[4]), (0, 0xff));
        assert_eq!(state.fxsave[32..42], [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0xff, 0xff]);
        // EMMS
        state.rip = crate::exec::program::CODE;
        assert_eq!(execute(probe, &[0x0f, 0x77], &mut state), Outcome::Done);
        assert_eq!(state.fxsave[4], 0);
    });
}

#[test]
fn an_unmasked_exception_leaves_the_destination_alone() {
    with_probe(|probe| {
        let mut state = with_registers();
        // Division by zero is unmasked.
        state.fxsave[24..28].copy_from_slice(&0x1d80u32.to_le_bytes());
        state.fxsave[160..176].copy_from_slice(&[0; 16]);
        let before = state.fxsave[176..192].to_vec();
        // DIVPS xmm1, xmm0
        let outcome = execute(probe, &[0x0f, 0x5e, 0xc8], &mut state);
        assert_eq!(outcome, Outcome::Exception { vector: vector::XM, error: 0, cr2: 0 });
        assert_eq!(state.fxsave[176..192], before);
        assert_eq!(state.fxsave[24] & 0x3f & !flag::DENORMAL, flag::DIVIDE_BY_ZERO);
    });
}

#[test]
fn the_image_of_fxsave_comes_back_and_ends_with_xmm15() {
    const FXSAVE64: &[u8] = &[0x48, 0x0f, 0xae, 0x01];
    const FXRSTOR64: &[u8] = &[0x48, 0x0f, 0xae, 0x09];
    with_probe(|probe| {
        probe.write(DATA, &[0xa5; 512]);
        let mut saved = with_registers();
        saved.fxsave[3] = 3 << 3;
        saved.fxsave[4] = 0x18;
        saved.fxsave[8..16].copy_from_slice(&0x1234_5678_9abcu64.to_le_bytes());
        saved.fxsave[32..42].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 0x88, 0xff, 0x3f]);
        assert_eq!(execute(probe, FXSAVE64, &mut saved), Outcome::Done);
        let image: [u8; 512] = read(probe, DATA);
        assert_eq!(image[..416], saved.fxsave[..416]);
        assert_eq!(image[416..], [0xa5; 96]);

        let mut restored = state();
        restored.gpr[RCX] = DATA;
        assert_eq!(execute(probe, FXRSTOR64, &mut restored), Outcome::Done);
        assert_eq!(restored.fxsave[..416], image[..416]);

        // A reserved bit of MXCSR.
        probe.write(DATA + 24, &0x1_1f80u32.to_le_bytes());
        restored.rip = crate::exec::program::CODE;
        assert_eq!(execute(probe, FXRSTOR64, &mut restored), GENERAL_PROTECTION);
    });
}

#[test]
fn a_masked_store_needs_all_of_its_bytes_to_be_writable() {
    // MASKMOVDQU xmm0, xmm1
    const MASKMOVDQU: &[u8] = &[0x66, 0x0f, 0xf7, 0xc1];
    const RDI: usize = 7;
    with_probe(|probe| {
        probe.write(DATA, &[0xa5; 16]);
        let mut state = with_registers();
        state.gpr[RDI] = DATA;
        state.fxsave[176..192].copy_from_slice(&[0, 0x80, 0, 0x7f, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80]);
        assert_eq!(execute(probe, MASKMOVDQU, &mut state), Outcome::Done);
        let mut expected = [0xa5; 16];
        (expected[1], expected[4], expected[15]) = (1, 4, 15);
        assert_eq!(read::<16>(probe, DATA), expected);

        state.rip = crate::exec::program::CODE;
        state.gpr[RDI] = crate::exec::program::HOLE - 1;
        let fault = crate::exec::program::page_fault(crate::exec::program::HOLE, 6);
        assert_eq!(execute(probe, MASKMOVDQU, &mut state), fault);
    });
}
