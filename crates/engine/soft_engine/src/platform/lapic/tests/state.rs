//! Saved registers, in KVM's layout.

use arch_model::x86_64::LapicState;

use super::*;

/// What `apic` restores to, on a VM of its own at the same time.
fn restored(f: &Fixture, id: usize) -> (Fixture, LapicState) {
    let state = f.apics[id].save();
    let mut other = Fixture::power_on(f.apics.len() as u32);
    other.apics[id].restore(&state, f.apics[id].apic_base());
    (other, state)
}

#[test]
fn xapic_round_trip() {
    let mut f = Fixture::xapic(2);
    let apic = &mut f.apics[1];
    apic.write(at(index::TPR), 0x13);
    apic.write(at(index::LDR), 0x0200_0000);
    apic.write(at(index::DFR), 0);
    apic.write(at(index::LVT + 3), 0x8700);
    apic.write(at(index::LVT + 4), 0x400);
    apic.write(at(index::LVT_END), 0xfe);
    apic.write(at(index::TIMER_DIVIDE), 0xb);
    apic.write(at(index::ICR_HIGH), 0x0100_0000);
    apic.write(at(index::ICR), 0x41);
    assert_eq!(apic.accept(), Some(0x41));
    apic.mailbox.interrupt(0x61, true);
    apic.mailbox.interrupt(0x31, false);

    let (mut other, state) = restored(&f, 1);
    assert_eq!(state.registers.len(), 64);
    let expected = [
        (index::ID, 0x0100_0000),
        (index::VERSION, 0x0005_0014),
        (index::TPR, 0x13),
        (index::PPR, 0x40),
        (index::LDR, 0x0200_0000),
        (index::DFR, 0x0fff_ffff),
        (index::SVR, 0x1ff),
        (index::ISR + 2, 1 << 1),
        (index::TMR + 3, 1 << 1),
        (index::IRR + 3, 1 << 1),
        (index::IRR + 1, 1 << 17),
        (index::ICR, 0x41),
        (index::ICR_HIGH, 0x0100_0000),
        (index::LVT + 3, 0x8700),
    ];
    for (register, value) in expected {
        assert_eq!(state.registers[register], value, "{register:#x}");
    }
    assert_eq!(other.apics[1].save(), state);
    assert_eq!(other.platform.mailbox(1).target(), f.platform.mailbox(1).target());
    assert_eq!(other.requests(), [NOTHING, Request::INTERRUPT]);
    assert_eq!(other.apics[1].accept(), Some(0x61));
}

#[test]
fn x2apic_round_trip_in_the_legacy_format() {
    let mut f = Fixture::x2apic(20);
    f.apics[17].write_msr(msr(index::ICR), 3 << 32 | 0x41).unwrap();
    let (mut other, state) = restored(&f, 17);
    assert_eq!(state.registers[index::ID], 17 << 24);
    assert_eq!(state.registers[index::LDR], 1 << 16 | 1 << 1);
    assert_eq!((state.registers[index::ICR], state.registers[index::ICR_HIGH]), (0x41, 3));
    let apic = &mut other.apics[17];
    assert_eq!((apic.mode(), apic.save()), (ApicMode::X2Apic, state));
    assert_eq!((apic.read_msr(msr(index::ICR)), apic.read_msr(msr(index::ID))), (Ok(3 << 32 | 0x41), Ok(17)));
    assert!(other.platform.mailbox(17).target().x2apic);
}

#[test]
fn counting_goes_on_where_it_was() {
    let mut f = Fixture::xapic(1);
    f.apics[0].write(at(index::TIMER_DIVIDE), 0xb);
    f.apics[0].write(at(index::LVT), 1 << 17 | 0xec);
    f.apics[0].write(at(index::TIMER_INITIAL), 1_000_000);
    f.advance(300_000);
    let (mut other, state) = restored(&f, 0);
    assert_eq!(state.registers[index::TIMER_CURRENT], 700_000);
    other.advance(700_000);
    assert!(other.apics[0].poll_timer());
    assert_eq!(other.apics[0].deadline_ns(), Some(1_700_000));
    assert_eq!(other.interrupts(), [Some(0xec)]);
}

#[test]
fn a_deadline_comes_after_the_registers() {
    let mut f = Fixture::xapic(1);
    f.apics[0].write(at(index::LVT), 2 << 17 | 0xec);
    f.apics[0].set_tsc_deadline(5_000);
    let (mut other, _) = restored(&f, 0);
    assert_eq!(other.apics[0].deadline_ns(), None);
    other.apics[0].set_tsc_deadline(5_000);
    assert_eq!(other.apics[0].deadline_ns(), Some(5_000));
}

#[test]
fn what_cannot_be_is_not_taken_over() {
    let mut f = Fixture::power_on(2);
    let state = LapicState { registers: vec![!0; 64] };
    let apic = &mut f.apics[1];
    apic.restore(&state, 0xfee0_0800);
    let saved = apic.save().registers;
    assert_eq!((saved[index::ID], saved[index::VERSION]), (0x0100_0000, 0x0005_0014));
    assert_eq!((saved[index::SVR], saved[index::LVT], saved[index::TIMER_DIVIDE]), (0x3ff, 0x7_00ff, 0xb));
    assert_eq!(apic.pending_vector(), None, "everything is in service");
    while apic.isr.highest().is_some() {
        apic.write(at(index::EOI), 0);
    }
    apic.set_cr8(0);
    assert_eq!(apic.accept(), Some(0xff));
}

#[test]
fn short_empty_and_absurd_states() {
    let mut f = Fixture::xapic(1);
    let apic = &mut f.apics[0];
    apic.restore(&LapicState { registers: vec![0; 9] }, 0xfee0_0900);
    assert_eq!((apic.read(at(index::SVR)), apic.mode()), (0, ApicMode::XApic));
    apic.restore(&LapicState::default(), !(1 << 11));
    assert_eq!((apic.mode(), apic.svr, apic.mmio_base()), (ApicMode::Disabled, 0xff, None));
}
