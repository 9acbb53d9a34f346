//! Priorities, acknowledgement, inter-processor interrupts.

use device_model::MsiMessage;

use super::*;

/// Writes the ICR in xAPIC mode.
fn ipi(apic: &mut Lapic, destination: u32, low: u32) {
    apic.write(at(index::ICR_HIGH), destination << 24);
    apic.write(at(index::ICR), low);
}

fn request(f: &Fixture, vector: u8) {
    f.platform.deliver_msi(MsiMessage { address: 0xfee0_0000, data: vector.into() });
}

#[test]
fn the_highest_vector_comes_first_and_blocks_its_class() {
    let mut f = Fixture::xapic(1);
    for vector in [0x31, 0x52, 0x55, 0x61] {
        request(&f, vector);
    }
    let apic = &mut f.apics[0];
    assert_eq!(apic.accept(), Some(0x61));
    assert_eq!(apic.pending_vector(), None, "lower classes wait");
    apic.write(at(index::EOI), 0);
    assert_eq!(apic.accept(), Some(0x55));
    assert_eq!(apic.pending_vector(), None, "so does the same class");
    apic.write(at(index::EOI), 0);
    assert_eq!((apic.accept(), apic.read(at(index::PPR))), (Some(0x52), 0x50));
    apic.write(at(index::EOI), 0);
    assert_eq!(apic.accept(), Some(0x31));
    apic.write(at(index::EOI), 0);
    assert_eq!((apic.accept(), apic.has_work(), apic.read(at(index::PPR))), (None, false, 0));
    apic.write(at(index::EOI), 0);
}

#[test]
fn a_higher_class_nests() {
    let mut f = Fixture::xapic(1);
    request(&f, 0x41);
    assert_eq!(f.apics[0].accept(), Some(0x41));
    request(&f, 0x81);
    let apic = &mut f.apics[0];
    assert_eq!(apic.accept(), Some(0x81));
    assert_eq!((apic.read(at(index::ISR) + 0x20), apic.read(at(index::ISR) + 0x40)), (2, 2));
    apic.write(at(index::EOI), 0);
    assert_eq!((apic.read(at(index::ISR) + 0x40), apic.read(at(index::PPR))), (0, 0x40));
}

#[test]
fn task_priority_masks_its_class_and_below() {
    let mut f = Fixture::xapic(1);
    request(&f, 0x4f);
    let apic = &mut f.apics[0];
    apic.set_cr8(4);
    assert_eq!((apic.pending_vector(), apic.read(at(index::TPR)), apic.cr8()), (None, 0x40, 4));
    apic.write(at(index::TPR), 0x3f);
    assert_eq!((apic.pending_vector(), apic.cr8()), (Some(0x4f), 3));
    apic.set_cr8(0xff);
    assert_eq!((apic.pending_vector(), apic.read(at(index::TPR))), (None, 0xf0));
    apic.set_cr8(3);
    assert!(apic.has_work());
}

#[test]
fn ppr_is_the_higher_of_task_and_service() {
    let mut f = Fixture::xapic(1);
    request(&f, 0x45);
    let apic = &mut f.apics[0];
    assert_eq!(apic.accept(), Some(0x45));
    for (tpr, ppr) in [(0x3a, 0x40), (0x4a, 0x4a), (0x5a, 0x5a), (0, 0x40)] {
        apic.write(at(index::TPR), tpr);
        assert_eq!(apic.read(at(index::PPR)), ppr);
    }
}

#[test]
fn fixed_ipis_to_one_some_and_all() {
    let mut f = Fixture::xapic(4);
    let cases = [
        (1, 0x0_0041, [None, Some(0x41), None, None]),
        (9, 0x0_0041, [None, None, None, None]),
        (0xff, 0x0_0041, [Some(0x41); 4]),
        (0, 0x4_0041, [None, None, Some(0x41), None]),
        (0, 0x8_0041, [Some(0x41); 4]),
        (0, 0xc_0041, [Some(0x41), Some(0x41), None, Some(0x41)]),
    ];
    for (destination, low, expected) in cases {
        ipi(&mut f.apics[2], destination, low);
        assert_eq!(f.interrupts(), expected, "{destination:#x} {low:#x}");
    }
    assert_eq!(f.apics[2].read(at(index::ICR)), 0xc_0041);
}

#[test]
fn logical_destinations_in_both_models() {
    let mut f = Fixture::xapic(3);
    for (apic, ldr) in f.apics.iter_mut().zip([0x01, 0x02, 0x04]) {
        apic.write(at(index::LDR), ldr << 24 | 0xff_ffff);
        assert_eq!(apic.read(at(index::LDR)), ldr << 24);
    }
    ipi(&mut f.apics[0], 0x06, 0x0_0841);
    assert_eq!(f.interrupts(), [None, Some(0x41), Some(0x41)]);
    for (apic, ldr) in f.apics.iter_mut().zip([0x11, 0x12, 0x21]) {
        apic.write(at(index::DFR), 0);
        assert_eq!(apic.read(at(index::DFR)), 0x0fff_ffff);
        apic.write(at(index::LDR), ldr << 24);
    }
    ipi(&mut f.apics[0], 0x13, 0x0_0841);
    assert_eq!(f.interrupts(), [Some(0x41), Some(0x41), None]);
    ipi(&mut f.apics[0], 0x21, 0x0_0841);
    assert_eq!(f.interrupts(), [None, None, Some(0x41)]);
}

#[test]
fn lowest_priority_reaches_one() {
    let mut f = Fixture::xapic(3);
    let mut reached = [0; 3];
    for _ in 0..9 {
        ipi(&mut f.apics[0], 0xff, 0x0_0141);
        let taken: Vec<_> = f.interrupts().iter().map(|vector| usize::from(vector.is_some())).collect();
        assert_eq!(taken.iter().sum::<usize>(), 1);
        reached.iter_mut().zip(taken).for_each(|(count, taken)| *count += taken);
    }
    assert_eq!(reached, [3, 3, 3]);
}

#[test]
fn init_then_start_up() {
    let f = &mut Fixture::xapic(3);
    f.requests();
    ipi(&mut f.apics[0], 1, 0xc500);
    ipi(&mut f.apics[0], 1, 0x8500);
    assert_eq!(f.requests(), [NOTHING, Request::INIT, NOTHING]);
    ipi(&mut f.apics[0], 1, 0x4608);
    assert_eq!(f.requests(), [NOTHING, Request::SIPI, NOTHING]);
    assert_eq!(f.platform.mailbox(1).sipi_vector(), 8);
    ipi(&mut f.apics[0], 0, 0xc_4500);
    ipi(&mut f.apics[0], 0, 0xc_4699);
    assert_eq!(f.requests(), [NOTHING, Request::INIT | Request::SIPI, Request::INIT | Request::SIPI]);
    assert_eq!(f.platform.mailbox(2).sipi_vector(), 0x99);
}

#[test]
fn nmis_need_no_software_enable() {
    let mut f = Fixture::power_on(2);
    ipi(&mut f.apics[0], 1, 0x0_0400);
    ipi(&mut f.apics[0], 1, 0x0_0041);
    assert_eq!(f.requests(), [NOTHING, Request::NMI]);
    assert_eq!(f.interrupts(), [None, None]);
}

#[test]
fn modes_that_do_not_exist_here_are_ignored() {
    let mut f = Fixture::xapic(2);
    f.requests();
    for mode in [2, 3, 7] {
        ipi(&mut f.apics[0], 1, mode << 8 | 0x41);
    }
    assert_eq!(f.requests(), [NOTHING; 2]);
    assert_eq!(f.interrupts(), [None, None]);
}

#[test]
fn level_triggered_interrupts_end_at_the_ioapic() {
    let mut f = Fixture::xapic(1);
    f.platform.ioapic_write(0x00, 0x10 + 20);
    f.platform.ioapic_write(0x10, 0x8061);
    f.platform.set_irq(10, true);
    assert_eq!(f.apics[0].accept(), Some(0x61));
    assert_eq!(f.apics[0].read(at(index::TMR) + 0x30), 2);
    assert_eq!(f.platform.ioapic_read(0x10) & 1 << 14, 1 << 14);
    f.apics[0].write(at(index::EOI), 0);
    assert_eq!(f.apics[0].accept(), Some(0x61), "the line is still high");
    f.platform.set_irq(10, false);
    f.apics[0].write(at(index::EOI), 0);
    assert_eq!((f.apics[0].accept(), f.platform.ioapic_read(0x10)), (None, 0x8061));
}

#[test]
fn edges_do_not_tell_the_ioapic() {
    let mut f = Fixture::xapic(1);
    f.platform.ioapic_write(0x00, 0x10 + 20);
    f.platform.ioapic_write(0x10, 0x8061);
    f.platform.set_irq(10, true);
    assert_eq!(f.apics[0].accept(), Some(0x61));
    request(&f, 0x71);
    assert_eq!(f.interrupts(), [Some(0x71)]);
    assert_ne!(f.platform.ioapic_read(0x10) & 1 << 14, 0);
}

#[test]
fn a_disabled_apic_keeps_what_it_has_and_takes_no_more() {
    let mut f = Fixture::xapic(1);
    request(&f, 0x41);
    f.apics[0].write(at(index::SVR), 0xff);
    request(&f, 0x51);
    assert_eq!(f.interrupts(), [Some(0x41)]);
    assert_eq!(f.interrupts(), [None]);
}
