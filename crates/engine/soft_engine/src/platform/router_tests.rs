use device_model::fake::FakeClock;
use device_model::{IrqLine, MsiController};

use super::*;
use crate::platform::lines::{SoftIrqLine, SoftMsi};
use crate::platform::target::{Target, x2apic_ldr};
use crate::platform::{Request, Tsc};

/// A platform whose APICs take interrupts, with the logical IDs 1, 2, 4...
fn platform(vcpus: u32) -> Arc<Platform> {
    let platform = Platform::new(vcpus, Arc::new(FakeClock::default()));
    for (index, mailbox) in platform.mailboxes().iter().enumerate() {
        let ldr = 1u32.wrapping_shl(24 + index as u32);
        mailbox.publish_target(Target { ldr, accepts_fixed: true, ..mailbox.target() });
    }
    Arc::new(platform)
}

fn msi(address: u64, data: u32) -> MsiMessage {
    MsiMessage { address, data }
}

/// Takes `vector` out of all IRRs: the vCPUs that had it.
fn taken(platform: &Platform, vector: u8) -> Vec<usize> {
    let mut out = Vec::new();
    for (index, mailbox) in platform.mailboxes().iter().enumerate() {
        if mailbox.irr.contains(vector) {
            mailbox.irr.remove(vector);
            assert!(mailbox.take(Request::ALL).has(Request::INTERRUPT));
            out.push(index);
        }
        assert_eq!(mailbox.pending(), 0);
    }
    out
}

#[test]
fn messages_reach_whom_they_are_for() {
    let platform = platform(4);
    let cases: [(u64, &[usize]); 6] = [
        (0xfee0_2000, &[2]),
        (0xfeef_f000, &[0, 1, 2, 3]),
        (0xfee0_9000, &[]),
        (0xfee0_5004, &[0, 2]),
        (0xfeef_f004, &[0, 1, 2, 3]),
        (0xfef0_1000, &[]),
    ];
    for (address, expected) in cases {
        platform.deliver_msi(msi(address, 0x4041));
        assert_eq!(taken(&platform, 0x41), expected, "{address:#x}");
    }
}

#[test]
fn sixty_four_vcpus_in_x2apic_clusters() {
    let platform = platform(64);
    for (index, mailbox) in platform.mailboxes().iter().enumerate() {
        mailbox.publish_target(Target { ldr: x2apic_ldr(index as u32), x2apic: true, ..mailbox.target() });
    }
    let send = |icr: u64| platform.deliver(&Message::from_icr(icr, 0, true).unwrap());
    assert_eq!(send(0x0003_8001_0000_0841), 2);
    assert_eq!(taken(&platform, 0x41), [48, 63]);
    assert_eq!(send(0x0000_003f_0000_0041), 1);
    assert_eq!(taken(&platform, 0x41), [63]);
    assert_eq!(send(0xffff_ffff_0000_0041), 64);
    assert_eq!(send(0x000c_0041), 63);
}

#[test]
fn lowest_priority_goes_round() {
    let platform = platform(4);
    let ready = platform.mailbox(2);
    ready.publish_target(Target { accepts_fixed: false, ..ready.target() });
    let mut order = Vec::new();
    for _ in 0..6 {
        platform.deliver_msi(msi(0xfeef_f00c, 0x4041));
        order.extend(taken(&platform, 0x41));
    }
    assert_eq!(order, [0, 1, 3, 0, 1, 3]);
    platform.deliver_msi(msi(0xfee0_4004, 0x4141));
    assert_eq!(taken(&platform, 0x41), [0usize; 0], "the only target takes nothing");
}

#[test]
fn init_and_nmi_need_no_vector() {
    let platform = platform(2);
    platform.deliver_msi(msi(0xfee0_1000, 0x0500));
    platform.deliver_msi(msi(0xfee0_1000, 0x0400));
    assert_eq!(platform.mailbox(1).take(Request::ALL), Request::INIT | Request::NMI);
}

#[test]
fn lines_and_vectors_of_devices() {
    let platform = platform(2);
    platform.ioapic_write(0x00, 0x10 + 8);
    platform.ioapic_write(0x10, 0x51);
    assert_eq!(platform.ioapic_read(0x10), 0x51);
    let line = SoftIrqLine::new(Arc::clone(&platform), 4);
    line.pulse();
    assert_eq!(taken(&platform, 0x51), [0]);
    line.pulse();
    assert_eq!(taken(&platform, 0x51), [0]);
    SoftIrqLine::new(Arc::clone(&platform), 99).pulse();

    let vector = SoftMsi::new(Arc::clone(&platform)).allocate().unwrap();
    vector.signal();
    vector.route(Some(msi(0xfee0_1000, 0x42))).unwrap();
    vector.signal();
    assert_eq!(taken(&platform, 0x42), [1]);
    vector.route(None).unwrap();
    vector.signal();
    vector.route(Some(msi(0x1000, 0x42))).unwrap();
    vector.signal();
    assert_eq!(taken(&platform, 0x42), [0usize; 0]);
}

#[test]
fn tscs_are_stable_while_their_offsets_agree() {
    let platform = platform(3);
    assert!(platform.tsc_is_stable());
    platform.mailbox(1).publish_tsc(Tsc::default().moved(5));
    assert!(!platform.tsc_is_stable());
    platform.mailbox(0).publish_tsc(Tsc::default().moved(5));
    platform.mailbox(2).publish_tsc(Tsc::default().moved(5));
    assert!(platform.tsc_is_stable());
}

#[test]
fn state_round_trips() {
    let platform = platform(1);
    platform.ioapic_write(0x00, 0x10 + 20);
    platform.ioapic_write(0x10, 0x8061);
    platform.set_irq(10, true);
    let state = platform.save();
    let other = self::platform(1);
    other.restore(&state);
    assert_eq!(other.save().ioapic, state.ioapic);
    assert_eq!(taken(&other, 0x61), [0usize; 0], "it is in the vCPU's own state");
    other.end_of_interrupt(0x61);
    assert_eq!(taken(&other, 0x61), [0]);
}
