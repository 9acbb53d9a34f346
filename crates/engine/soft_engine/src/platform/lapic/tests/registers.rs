//! Registers by their offsets, and errors.

use super::*;

#[test]
fn power_on_values() {
    let mut f = Fixture::power_on(2);
    let apic = &mut f.apics[1];
    let values = [
        (index::ID, 0x0100_0000),
        (index::VERSION, 0x0005_0014),
        (index::TPR, 0),
        (index::LDR, 0),
        (index::DFR, !0),
        (index::SVR, 0xff),
        (index::ICR, 0),
        (index::TIMER_INITIAL, 0),
        (index::TIMER_CURRENT, 0),
        (index::TIMER_DIVIDE, 0),
    ];
    for (register, value) in values {
        assert_eq!(apic.read(at(register)), value, "{register:#x}");
    }
    for register in index::LVT..=index::LVT_END {
        assert_eq!(apic.read(at(register)), 0x1_0000);
    }
    assert!(f.apics[0].is_bsp() && !f.apics[1].is_bsp());
    assert_eq!((f.apics[0].apic_base(), f.apics[1].apic_base()), (0xfee0_0900, 0xfee0_0800));
    assert_eq!(f.requests(), [NOTHING; 2]);
}

#[test]
fn init_forgets_all_but_mode_and_id() {
    let mut f = Fixture::x2apic(2);
    let apic = &mut f.apics[1];
    apic.write_msr(msr(index::TPR), 0x20).unwrap();
    apic.write_msr(msr(index::TIMER_INITIAL), 1_000).unwrap();
    apic.write_msr(msr(index::SELF_IPI), 0x41).unwrap();
    apic.accept();
    apic.write_msr(msr(index::SELF_IPI), 0x51).unwrap();
    apic.init();
    assert_eq!((apic.mode(), apic.read_msr(msr(index::ID))), (ApicMode::X2Apic, Ok(1)));
    assert_eq!((apic.read_msr(msr(index::SVR)), apic.read_msr(msr(index::LDR))), (Ok(0xff), Ok(2)));
    assert_eq!((apic.pending_vector(), apic.ppr(), apic.deadline_ns()), (None, 0, None));
    apic.reset();
    assert_eq!((apic.mode(), apic.read(at(index::LDR))), (ApicMode::XApic, 0));
}

#[test]
fn only_bits_that_exist_are_kept() {
    let mut f = Fixture::xapic(1);
    let apic = &mut f.apics[0];
    let kept = [
        (index::TPR, 0xff),
        (index::LDR, 0xff00_0000),
        (index::DFR, !0),
        (index::SVR, 0x3ff),
        (index::ICR_HIGH, 0xff00_0000),
        (index::LVT, 0x7_00ff),
        (index::LVT + 1, 0x1_07ff),
        (index::LVT + 2, 0x1_07ff),
        (index::LVT + 3, 0x1_a7ff),
        (index::LVT + 4, 0x1_a7ff),
        (index::LVT + 5, 0x1_00ff),
        (index::TIMER_DIVIDE, 0xb),
    ];
    for (register, value) in kept {
        apic.write(at(register), !0);
        assert_eq!(apic.read(at(register)), value, "{register:#x}");
    }
    assert_eq!(apic.errors, 0);
}

#[test]
fn read_only_registers_ignore_stores() {
    let mut f = Fixture::xapic(1);
    let apic = &mut f.apics[0];
    for register in
        [index::ID, index::VERSION, index::APR, index::PPR, index::RRD, index::ISR, index::TIMER_CURRENT]
    {
        let before = apic.read(at(register));
        apic.write(at(register), !0);
        assert_eq!(apic.read(at(register)), before, "{register:#x}");
    }
    assert_eq!(apic.errors, 0);
}

#[test]
fn offsets_between_registers_mean_nothing() {
    let mut f = Fixture::xapic(1);
    let apic = &mut f.apics[0];
    apic.write(at(index::TPR) + 4, 0x50);
    assert_eq!((apic.read(at(index::TPR)), apic.read(at(index::SVR) + 8)), (0, 0));
    apic.write(u64::MAX, 1);
    assert_eq!((apic.read(u64::MAX), apic.errors), (0, 0));
}

#[test]
fn errors_are_latched_by_a_store_and_interrupt() {
    let mut f = Fixture::xapic(1);
    let apic = &mut f.apics[0];
    apic.write(at(index::LVT_END), 0xfe);
    assert_eq!(apic.read(at(0x3a)), 0);
    assert_eq!((apic.accept(), apic.read(at(index::ESR))), (Some(0xfe), 0));
    apic.write(at(index::ESR), 0);
    assert_eq!(apic.read(at(index::ESR)), 1 << 7);
    apic.write(at(index::ESR), 0);
    assert_eq!(apic.read(at(index::ESR)), 0);
    apic.write(at(0x3f), 0);
    apic.write(at(0xff), 0);
    apic.write(at(index::ESR), 0);
    assert_eq!(apic.read(at(index::ESR)), 1 << 7);
}

#[test]
fn sending_an_illegal_vector_is_an_error_and_sends_nothing() {
    let mut f = Fixture::xapic(2);
    f.apics[0].write(at(index::ICR), 0xc_000f);
    f.apics[0].write(at(index::ESR), 0);
    assert_eq!(f.apics[0].read(at(index::ESR)), 1 << 5);
    assert_eq!(f.requests(), [NOTHING; 2]);
    // INIT and NMI have no vector.
    f.apics[0].write(at(index::ICR), 0xc_0400);
    assert_eq!(f.requests(), [NOTHING, Request::NMI]);
}

#[test]
fn receiving_an_illegal_vector_is_an_error() {
    let mut f = Fixture::xapic(1);
    f.apics[0].write(at(index::LVT_END), 0xfe);
    f.platform.deliver_msi(device_model::MsiMessage { address: 0xfee0_0000, data: 3 });
    assert_eq!(f.requests(), [Request::INTERRUPT]);
    f.apics[0].poll_errors();
    assert_eq!(f.apics[0].accept(), Some(0xfe));
    f.apics[0].write(at(index::ESR), 0);
    assert_eq!(f.apics[0].read(at(index::ESR)), 1 << 6);
}

#[test]
fn an_error_vector_that_is_illegal_itself_comes_to_an_end() {
    let mut f = Fixture::xapic(1);
    let apic = &mut f.apics[0];
    apic.write(at(index::LVT_END), 0x05);
    apic.write(at(0x3f), 0);
    apic.write(at(index::ESR), 0);
    assert_eq!((apic.read(at(index::ESR)), apic.pending_vector()), (1 << 6 | 1 << 7, None));
}

#[test]
fn disabling_masks_the_local_vectors() {
    let mut f = Fixture::xapic(1);
    let apic = &mut f.apics[0];
    apic.write(at(index::LVT), 0xec);
    apic.write(at(index::SVR), 0xff);
    assert_eq!(apic.read(at(index::LVT)), 0x1_00ec);
    apic.write(at(index::LVT), 0xed);
    assert_eq!(apic.read(at(index::LVT)), 0x1_00ed);
    apic.write(at(index::SVR), 0x1ff);
    assert_eq!(apic.read(at(index::LVT)), 0x1_00ed, "enabling does not unmask");
}
