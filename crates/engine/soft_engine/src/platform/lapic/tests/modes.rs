//! IA32_APIC_BASE and the MSRs of x2APIC mode.

use super::*;

const EN: u64 = 1 << 11;
const EXTD: u64 = 1 << 10;
const BASE: u64 = 0xfee0_0000;
const GP: GeneralProtection = GeneralProtection;

#[test]
fn every_transition() {
    let disabled = BASE;
    let xapic = BASE | EN;
    let x2apic = BASE | EN | EXTD;
    let impossible = BASE | EXTD;
    let paths: [(&[u64], u64, bool); 12] = [
        (&[xapic], xapic, true),
        (&[xapic], x2apic, true),
        (&[xapic], disabled, true),
        (&[xapic], impossible, false),
        (&[xapic, x2apic], x2apic, true),
        (&[xapic, x2apic], xapic, false),
        (&[xapic, x2apic], disabled, true),
        (&[xapic, x2apic], impossible, false),
        (&[disabled], disabled, true),
        (&[disabled], xapic, true),
        (&[disabled], x2apic, false),
        (&[disabled], impossible, false),
    ];
    for (path, to, legal) in paths {
        let mut f = Fixture::power_on(1);
        let apic = &mut f.apics[0];
        path.iter().for_each(|value| apic.set_apic_base(*value).unwrap());
        let before = apic.apic_base();
        assert_eq!(apic.set_apic_base(to).is_ok(), legal, "{path:x?} to {to:#x}");
        assert_eq!(apic.apic_base(), if legal { to } else { before });
    }
}

#[test]
fn reserved_bits_of_the_base() {
    let mut f = Fixture::power_on(1);
    let apic = &mut f.apics[0];
    for bit in (0..8).chain([9]).chain(46..64) {
        assert_eq!(apic.set_apic_base(BASE | EN | 1 << bit), Err(GP), "{bit}");
    }
    assert_eq!(apic.set_apic_base(1 << 45 | EN | 1 << 8), Ok(()));
    assert_eq!((apic.mmio_base(), apic.is_bsp()), (Some(1 << 45), true));
    apic.set_apic_base(BASE | EN).unwrap();
    assert!(!apic.is_bsp());
}

#[test]
fn the_page_is_there_in_xapic_mode_only() {
    let mut f = Fixture::power_on(1);
    let apic = &mut f.apics[0];
    assert_eq!(apic.mmio_base(), Some(BASE));
    apic.set_apic_base(BASE | EN | EXTD).unwrap();
    assert_eq!(apic.mmio_base(), None);
    apic.set_apic_base(BASE).unwrap();
    assert_eq!(apic.mmio_base(), None);
}

#[test]
fn a_disabled_apic_gets_nothing_and_forgets() {
    let mut f = Fixture::xapic(2);
    f.requests();
    f.apics[1].write(at(index::TPR), 0x50);
    f.apics[1].set_apic_base(BASE).unwrap();
    f.apics[0].write(at(index::ICR), 0xc_0441);
    f.apics[0].write(at(index::ICR), 0xc_0500);
    f.apics[0].write(at(index::ICR), 0xc_0041);
    assert_eq!(f.requests(), [NOTHING; 2]);
    let apic = &mut f.apics[1];
    apic.set_apic_base(BASE | EN).unwrap();
    assert_eq!((apic.read(at(index::TPR)), apic.read(at(index::SVR))), (0, 0xff));
}

#[test]
fn pending_interrupts_survive_the_way_to_x2apic() {
    let mut f = Fixture::xapic(1);
    let apic = &mut f.apics[0];
    apic.write(at(index::ICR), 0x4_0041);
    apic.set_apic_base(BASE | EN | EXTD).unwrap();
    assert_eq!(apic.accept(), Some(0x41));
    assert_eq!(apic.read_msr(msr(index::SVR)), Ok(0x1ff));
}

#[test]
fn msrs_need_x2apic_mode() {
    let mut f = Fixture::xapic(1);
    assert_eq!(f.apics[0].read_msr(msr(index::ID)), Err(GP));
    assert_eq!(f.apics[0].write_msr(msr(index::TPR), 0), Err(GP));
}

#[test]
fn which_msrs_exist() {
    let readable = |register| match register {
        0x02 | 0x03 | 0x08 | 0x0a | 0x0d | 0x0f | 0x30 | 0x3e => true,
        _ => (0x10..=0x28).contains(&register) || (0x32..=0x39).contains(&register),
    };
    let writable = |register| match register {
        0x08 | 0x0b | 0x0f | 0x28 | 0x30 | 0x3e | 0x3f => true,
        _ => (0x32..=0x38).contains(&register),
    };
    let mut f = Fixture::x2apic(1);
    let apic = &mut f.apics[0];
    for register in 0..0x100 {
        assert_eq!(apic.read_msr(msr(register)).is_ok(), readable(register), "read {register:#x}");
        assert_eq!(apic.write_msr(msr(register), 0).is_ok(), writable(register), "write {register:#x}");
    }
    assert_eq!(apic.read_msr(0x7ff), Err(GP));
    assert_eq!(apic.read_msr(u32::MAX), Err(GP));
}

#[test]
fn values_that_raise_gp() {
    let mut f = Fixture::x2apic(1);
    let apic = &mut f.apics[0];
    for register in [index::TPR, index::SVR, index::LVT, index::TIMER_INITIAL, index::SELF_IPI] {
        assert_eq!(apic.write_msr(msr(register), 1 << 32), Err(GP), "{register:#x}");
    }
    for register in [index::EOI, index::ESR] {
        assert_eq!(apic.write_msr(msr(register), 1), Err(GP), "{register:#x}");
    }
    for register in [index::TPR, index::SELF_IPI] {
        assert_eq!(apic.write_msr(msr(register), 0x100), Err(GP), "{register:#x}");
    }
    for bit in [13, 16, 17, 20, 31] {
        assert_eq!(apic.write_msr(msr(index::ICR), 1 << bit | 0x41), Err(GP), "{bit}");
    }
    assert_eq!(apic.pending_vector(), None);
}

#[test]
fn the_icr_is_one_register_with_a_wide_destination() {
    let mut f = Fixture::x2apic(64);
    f.apics[0].write_msr(msr(index::ICR), 63 << 32 | 0x41).unwrap();
    assert_eq!(f.apics[0].read_msr(msr(index::ICR)), Ok(63 << 32 | 0x41));
    assert_eq!(f.apics[63].accept(), Some(0x41));
    // Cluster 1, members 0 and 2.
    f.apics[0].write_msr(msr(index::ICR), 0x1_0005 << 32 | 0x842).unwrap();
    let reached: Vec<_> = (0..64).filter(|id| f.apics[*id].pending_vector() == Some(0x42)).collect();
    assert_eq!(reached, [16, 18]);
    // All ones are everyone, 255 is nobody.
    f.apics[0].write_msr(msr(index::ICR), 0xff << 32 | 0x53).unwrap();
    assert!(f.apics.iter().all(|apic| apic.pending_vector() != Some(0x53)));
    f.apics[0].write_msr(msr(index::ICR), 0xffff_ffff << 32 | 0x53).unwrap();
    assert!(f.apics.iter().all(|apic| apic.pending_vector() == Some(0x53)));
}

#[test]
fn identity_in_x2apic_mode() {
    let mut f = Fixture::x2apic(40);
    let apic = &mut f.apics[39];
    assert_eq!(apic.read_msr(msr(index::ID)), Ok(39));
    assert_eq!(apic.read_msr(msr(index::LDR)), Ok(2 << 16 | 1 << 7));
}

#[test]
fn self_ipi() {
    let mut f = Fixture::x2apic(1);
    let apic = &mut f.apics[0];
    apic.write_msr(msr(index::SELF_IPI), 0x41).unwrap();
    assert_eq!(apic.accept(), Some(0x41));
    apic.write_msr(msr(index::EOI), 0).unwrap();
    apic.write_msr(msr(index::SELF_IPI), 0x0f).unwrap();
    apic.write_msr(msr(index::ESR), 0).unwrap();
    assert_eq!((apic.accept(), apic.read_msr(msr(index::ESR))), (None, Ok(1 << 5)));
    apic.write_msr(msr(index::SVR), 0xff).unwrap();
    apic.write_msr(msr(index::SELF_IPI), 0x41).unwrap();
    assert_eq!(apic.pending_vector(), None);
}
