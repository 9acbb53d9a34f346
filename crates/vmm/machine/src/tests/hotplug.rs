//! Disks that come and go.

use vm_spec::DeviceId;
use vm_spec::blueprint::{DeviceKind, PciDevice};

use super::*;
use crate::BackendSpec;

const DATA_SLOT: u8 = 9;
/// Ports of the event device: events, slots that were filled, slots that are to be emptied, slots that are let go of.
const GED: [u16; 4] = [0x610, 0x614, 0x618, 0x61c];

fn id(text: &str) -> DeviceId {
    text.parse().unwrap()
}

/// A machine with what is to be behind a second disk, and that disk.
fn with_data() -> (Setup, PciDevice) {
    let mut s = setup();
    let path = s.folder.path().join("data");
    fs::write(&path, vec![8; 1 << 20]).unwrap();
    let spec = format!("path={}", path.display()).parse().unwrap();
    s.backends.prepare(id("data"), BackendSpec::Disk(spec)).unwrap();
    let kind = s.blueprint.device(&id("disk-root")).unwrap().kind.clone();
    (s, PciDevice { id: id("data"), slot: DATA_SLOT, kind })
}

fn registers(machine: &Machine) -> (u8, u32, u32) {
    let read = |port| u32::from_le_bytes(port_read(machine, port));
    (port_read::<1>(machine, GED[0])[0], read(GED[1]), read(GED[2]))
}

fn ids(machine: &Machine) -> Vec<String> {
    machine.pause();
    let saved = machine.save().unwrap();
    machine.resume();
    saved.into_iter().map(|device| device.id).collect()
}

#[test]
fn a_disk_comes_is_let_go_of_and_its_file_is_free() {
    let (mut s, data) = with_data();
    let error = s.machine.attach(&data, &s.backends).unwrap_err();
    assert!(error.to_string().contains("data has nothing active behind it"), "{error}");
    assert_eq!((identity(&s.machine, 9), registers(&s.machine)), (u32::MAX, (0, 0, 0)));

    s.backends.activate(&data.id).unwrap();
    let edges = s.engine.line(9).unwrap().edges();
    s.machine.attach(&data, &s.backends).unwrap();
    assert_eq!(identity(&s.machine, 9) >> 16, 0x1042);
    assert_eq!(s.engine.line(9).unwrap().edges(), edges + 1);
    assert_eq!(registers(&s.machine), (2, 1 << DATA_SLOT, 0));
    assert!(ids(&s.machine).iter().map(String::as_str).eq(s.blueprint.with(data.clone()).ids()));

    // The guest may not let go of what nobody asked for.
    s.machine.bus().port_write(GED[3], &u32::MAX.to_le_bytes());
    assert!(s.power.take_ejected().is_empty());
    assert!(s.machine.ask_to_leave(&data.id));
    assert_eq!(registers(&s.machine), (2, 0, 1 << DATA_SLOT));
    s.machine.bus().port_write(GED[3], &(1u32 << DATA_SLOT).to_le_bytes());
    assert_eq!(s.power.take_ejected(), [DATA_SLOT]);
    assert_eq!(identity(&s.machine, 9) >> 16, 0x1042, "it is there until it is taken out");
    assert_eq!(s.machine.detach(DATA_SLOT), Some(data.id.clone()));
    assert_eq!(identity(&s.machine, 9), u32::MAX);
    assert!(ids(&s.machine).iter().map(String::as_str).eq(s.blueprint.ids()));
    s.backends.remove(&data.id).unwrap();
    assert!(disk::claim(&s.folder.path().join("data")).is_ok());
}

#[test]
fn what_is_not_there_or_belongs_to_the_machine_stays() {
    let (mut s, data) = with_data();
    for name in ["data", "rng0", "console0", "serial0", "pci"] {
        assert!(!s.machine.ask_to_leave(&id(name)), "{name}");
        assert!(!s.machine.keep(&id(name)) && !s.machine.pull_out(&id(name)), "{name}");
    }
    let before = ids(&s.machine);
    // Slot 2 has the source of entropy.
    assert!([0, 2, 9, 31, 32, 255].into_iter().all(|slot| s.machine.detach(slot).is_none()));
    assert_eq!((ids(&s.machine), registers(&s.machine)), (before, (0, 0, 0)));
    // A slot that is taken, and one that no bus has.
    s.backends.activate(&data.id).unwrap();
    for slot in [0, 1, 2, 32, 255] {
        let error = s.machine.attach(&PciDevice { slot, ..data.clone() }, &s.backends).unwrap_err();
        assert!(error.to_string().contains("PCI slot"), "{error}");
    }
    assert_eq!(registers(&s.machine), (0, 0, 0));
    // None of them holds the file.
    s.backends.remove(&data.id).unwrap();
}

#[test]
fn a_disk_that_the_guest_keeps_stays_and_one_that_is_pulled_out_goes() {
    let (mut s, data) = with_data();
    s.backends.activate(&data.id).unwrap();
    s.machine.attach(&data, &s.backends).unwrap();
    assert!(s.machine.ask_to_leave(&data.id) && s.machine.keep(&data.id));
    s.machine.bus().port_write(GED[3], &(1u32 << DATA_SLOT).to_le_bytes());
    assert!(s.power.take_ejected().is_empty());
    registers(&s.machine);
    assert!(s.machine.pull_out(&data.id));
    assert_eq!(identity(&s.machine, 9), u32::MAX);
    assert_eq!(registers(&s.machine), (2, 0, 1 << DATA_SLOT), "the guest is told afterwards");
    s.machine.bus().port_write(GED[3], &(1u32 << DATA_SLOT).to_le_bytes());
    assert!(s.power.take_ejected().is_empty(), "and its answer concerns nobody");
    s.backends.remove(&data.id).unwrap();
    assert!(matches!(data.kind, DeviceKind::Disk(_)));
}

#[test]
fn a_pending_removal_is_part_of_the_state() {
    let (mut s, data) = with_data();
    s.backends.activate(&data.id).unwrap();
    s.machine.attach(&data, &s.backends).unwrap();
    s.machine.ask_to_leave(&data.id);
    s.machine.pause();
    let state = s.machine.save().unwrap();
    let blueprint = s.blueprint.with(data.clone());
    assert!(state.iter().map(|device| device.id.as_str()).eq(blueprint.ids()));
    s.machine.pull_out(&data.id);

    let memory = Machine::allocate_ram(&blueprint.memory, false).unwrap();
    let config = VmConfig { vcpus: 2, cpuid: vec![] };
    let vm = s.engine.create_vm(&config, &memory).unwrap();
    let power = Arc::new(FakePower::default());
    let mut other =
        Machine::assemble(&blueprint, &vm, &memory, &s.backends, Sinks::all_to(power.clone())).unwrap();
    other.pause();
    other.restore(&state).unwrap();
    assert_eq!(other.save().unwrap(), state);
    other.resume();
    other.bus().port_write(GED[3], &(1u32 << DATA_SLOT).to_le_bytes());
    assert_eq!(power.take_ejected(), [DATA_SLOT]);
    assert_eq!(other.detach(DATA_SLOT), Some(data.id));
}

/// vCPUs that are in a device's registers when it is taken out: each access ends, and the device is free afterwards.
#[test]
fn accesses_in_flight_end_before_the_device_is_free() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let (mut s, data) = with_data();
    let done = Arc::new(AtomicBool::new(false));
    let vcpus: Vec<_> = (0..2)
        .map(|_| {
            let (bus, done) = (Arc::clone(s.machine.bus()), Arc::clone(&done));
            std::thread::spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    bus.mmio_write(0xe000_0000 + (9 << 15) + 4, &[6, 0]);
                    bus.mmio_read(0xe000_0000 + (9 << 15), &mut [0; 4]);
                }
            })
        })
        .collect();
    for _ in 0..200 {
        s.backends.activate(&data.id).unwrap();
        s.machine.attach(&data, &s.backends).unwrap();
        s.machine.ask_to_leave(&data.id);
        s.machine.bus().port_write(GED[3], &(1u32 << DATA_SLOT).to_le_bytes());
        assert_eq!(s.machine.detach(DATA_SLOT), Some(data.id.clone()));
        // It refuses as long as anybody has the device in hand.
        s.backends.release(&data.id).unwrap();
    }
    done.store(true, Ordering::SeqCst);
    vcpus.into_iter().for_each(|vcpu| vcpu.join().unwrap());
}

/// What the guest let go of may be told late: by then it was pulled out, and another device is in its slot.
#[test]
fn what_was_let_go_of_is_one_device_and_not_whatever_is_in_its_slot() {
    let (mut s, data) = with_data();
    s.backends.activate(&data.id).unwrap();
    s.machine.attach(&data, &s.backends).unwrap();
    s.machine.ask_to_leave(&data.id);
    s.machine.bus().port_write(GED[3], &(1u32 << DATA_SLOT).to_le_bytes());
    assert!(s.machine.pull_out(&data.id));
    s.machine.attach(&data, &s.backends).unwrap();
    assert_eq!(s.power.take_ejected(), [DATA_SLOT]);
    assert_eq!(s.machine.detach(DATA_SLOT), None);
    assert!(s.machine.pull_out(&data.id), "it is there");
}
