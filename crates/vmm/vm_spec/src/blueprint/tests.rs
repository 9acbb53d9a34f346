//! What is decided, and what stays.

use super::*;
use crate::{BootSpec, KernelSpec, VmSpec};

fn spec(disks: &[&str], nets: &[&str]) -> VmSpec {
    VmSpec {
        disks: disks.iter().map(|text| text.parse().unwrap()).collect(),
        nets: nets.iter().map(|text| text.parse().unwrap()).collect(),
        ..VmSpec::new("web1".parse().unwrap(), BootSpec::Kernel(KernelSpec::new("k")))
    }
    .validate()
    .unwrap()
}

const OFFLOADS: NicFeatures =
    NicFeatures { checksum: true, tso4: true, tso6: true, tso_ecn: true, mtu_bytes: Some(1500) };

/// A host that has what `spec` names.
fn host(spec: &VmSpec) -> HostFacts {
    let disk = |readonly| DiskFacts {
        block_size_bytes: 512,
        readonly,
        features: DiskFeatures { discard: true, write_zeroes: true },
    };
    let nic = NicFacts { queue_pairs: 4, features: OFFLOADS };
    let backends = BackendFacts {
        disks: spec.disk_ids().into_iter().zip(spec.disks.iter().map(|spec| disk(spec.readonly))).collect(),
        nics: spec.nic_ids().into_iter().map(|id| (id, nic)).collect(),
        command_line: None,
        console: spec.virtio_console.is_some(),
    };
    HostFacts { cpuid: vec![], tsc_khz: None, backends }
}

fn blueprint(spec: &VmSpec, former: Option<&Blueprint>) -> Blueprint {
    resolve(spec, &host(spec), former).unwrap()
}

/// Slots and names, as `1 disk-root`.
fn slots(blueprint: &Blueprint) -> Vec<String> {
    blueprint.devices.iter().map(|device| format!("{} {}", device.slot, device.id)).collect()
}

fn command_line(blueprint: &Blueprint) -> &str {
    let Boot::Kernel { command_line, .. } = &blueprint.boot;
    command_line
}

#[test]
fn a_new_machine_has_disks_cards_console_and_entropy_in_a_row() {
    let spec = VmSpec {
        virtio_console: Some("none".parse().unwrap()),
        ..spec(&["path=a", "path=b"], &["tap=a", "tap=b"])
    };
    let expected = ["1 disk-root", "2 disk1", "3 nic0", "4 nic1", "5 console0", "6 rng0"];
    assert_eq!(slots(&blueprint(&spec, None)), expected);
    let bare = blueprint(&self::spec(&[], &[]), None);
    assert_eq!(slots(&bare), ["1 rng0"]);
    let ids: Vec<&str> = bare.ids().collect();
    assert_eq!(ids, ["pci", "serial0", "rtc", "pit", "i8042", "acpi-power", "acpi-ged", "pvpanic", "rng0"]);
}

#[test]
fn a_machine_has_the_devices_of_its_description_and_of_no_other() {
    let named = |disks: &[&str], nets: &[&str]| spec(disks, nets).named();
    let wanted = named(&["path=a,id=x", "path=b,id=y"], &["tap=a"]);
    let machine = blueprint(&wanted, None);
    assert!(machine.has_devices_of(&wanted));
    for other in [
        named(&["path=a,id=x"], &["tap=a"]),
        named(&["path=a,id=x", "path=b,id=y"], &[]),
        named(&["path=a,id=x", "path=b,id=z"], &["tap=a"]),
        named(&["path=a,id=x", "path=b,id=y", "path=c,id=z"], &["tap=a"]),
    ] {
        assert!(!machine.has_devices_of(&other) && !blueprint(&other, None).has_devices_of(&wanted));
    }
    assert!(machine.has_devices_of(&named(&["path=b,id=y", "path=a,id=x"], &["tap=a"])), "in any order");
}

#[test]
fn what_stays_keeps_its_slot_and_address_and_what_is_new_comes_last() {
    let mut spec = spec(&["path=a", "path=b"], &["tap=a", "tap=b"]).named();
    let first = blueprint(&spec, None);
    spec.disks.remove(0);
    spec.nets.remove(0);
    let second = blueprint(&spec, Some(&first));
    assert_eq!(slots(&second), ["2 disk1", "4 nic1", "5 rng0"]);
    assert_eq!(second.nics().next().unwrap().1.mac, first.nics().nth(1).unwrap().1.mac);
    // Named anew by their places, they would be others; named once, they are not.
    spec.disks.push("path=c".parse().unwrap());
    spec.nets.push("tap=c".parse().unwrap());
    let spec = spec.named();
    let third = blueprint(&spec, Some(&second));
    assert_eq!(slots(&third), ["2 disk1", "4 nic1", "5 rng0", "6 disk2", "7 nic2"]);
    // It must not have the address of the card whose place in the list it has.
    let macs: Vec<MacAddress> = third.nics().map(|(_, nic)| nic.mac).collect();
    assert_ne!(macs[0], macs[1]);
}

#[test]
fn a_full_bus_uses_what_is_left_and_then_refuses() {
    let disks: Vec<String> = (0..12).map(|index| format!("path={index}")).collect();
    let nets: Vec<String> = (0..12).map(|index| format!("tap=t{index}")).collect();
    fn texts(list: &[String]) -> Vec<&str> {
        list.iter().map(String::as_str).collect()
    }
    let full = spec(&texts(&disks), &texts(&nets)).named();
    let mut former = blueprint(&full, None);
    assert_eq!(former.devices.last().unwrap().slot, 25);
    // All have moved to the end of the bus.
    former.devices.iter_mut().for_each(|device| device.slot += 6);
    let more = VmSpec { virtio_console: Some("none".parse().unwrap()), ..full.clone() };
    let next = blueprint(&more, Some(&former));
    assert_eq!((next.devices[0].slot, next.devices[0].id.as_str()), (1, "console0"));
    assert!(next.devices[1..].iter().zip(&former.devices).all(|(now, before)| now.slot == before.slot));
    // More than `validate` lets through.
    let mut too_many = more;
    too_many.disks.extend((12..19).map(|index| format!("path={index}").parse().unwrap()));
    let error = resolve(&too_many, &host(&too_many), None).unwrap_err();
    assert!(error.to_string().contains("the PCI bus is full"), "{error}");
}

#[test]
fn queues_and_features_are_what_both_sides_have() {
    let spec = VmSpec {
        cpus: "8".parse().unwrap(),
        ..spec(&["path=a,readonly,serial=S"], &["tap=a,queues=8", "tap=b,queues=2"])
    };
    let found = blueprint(&spec, None);
    let disk = found.disks().next().unwrap().1;
    assert_eq!((disk.queues, disk.readonly, disk.block_size_bytes), (4, true, 512));
    assert_eq!(disk.serial.as_ref().unwrap().as_str(), "S");
    let pairs: Vec<u16> = found.nics().map(|(_, nic)| nic.queue_pairs).collect();
    assert_eq!(pairs, [4, 2]);
    assert_eq!(found.nics().next().unwrap().1.features, OFFLOADS);
    let two = VmSpec { cpus: "2".parse().unwrap(), ..spec };
    assert_eq!(blueprint(&two, None).disks().next().unwrap().1.queues, 2);
}

#[test]
fn a_device_with_nothing_behind_it_and_an_address_given_twice_are_refused() {
    let spec = spec(&["path=a"], &["tap=a", "tap=b"]);
    let mut without = host(&spec);
    without.backends.disks.clear();
    assert_eq!(resolve(&spec, &without, None), Err(ResolveError::NoFacts("disk-root".parse().unwrap())));
    // The second card had the address that the first is now to have.
    let former = blueprint(&spec.clone().named(), None);
    let mut spec = spec.named();
    spec.nets[0].mac = Some(former.nics().nth(1).unwrap().1.mac);
    let error = resolve(&spec, &host(&spec), Some(&former)).unwrap_err();
    assert!(error.to_string().starts_with("network cards nic0 and nic1 would both have"), "{error}");
}

#[test]
fn the_command_line_is_given_or_the_kernel_s_or_one_that_fits() {
    let line = |disks: &[&str], given: Option<&str>, of_kernel: Option<&str>| {
        let mut spec = spec(disks, &[]);
        let BootSpec::Kernel(kernel) = &mut spec.boot;
        kernel.cmdline = given.map(str::to_owned);
        let mut host = host(&spec);
        host.backends.command_line = of_kernel.map(str::to_owned);
        command_line(&resolve(&spec, &host, None).unwrap()).to_owned()
    };
    assert_eq!(line(&[], None, None), "console=ttyS0 panic=-1");
    assert_eq!(line(&["path=a", "path=b,readonly"], None, None), "console=ttyS0 panic=-1 root=/dev/vda rw");
    assert_eq!(line(&["path=a,readonly"], None, None), "console=ttyS0 panic=-1 root=/dev/vda ro");
    assert_eq!(line(&["path=a"], None, Some("quiet")), "quiet");
    assert_eq!(line(&["path=a"], Some(""), Some("quiet")), "");
    // The guest's first disk, not the list's.
    let both = spec(&["path=a,readonly", "path=b"], &[]).named();
    let former = blueprint(&both, None);
    let turned = VmSpec { disks: both.disks.iter().rev().cloned().collect(), ..both };
    assert!(command_line(&blueprint(&turned, Some(&former))).ends_with("ro"));
}

/// Numbers that look random and are the same in each run (Steele and others, "Fast splittable pseudorandom number
/// generators", figure 16).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Whatever is added, taken away and put in another order: nothing else moves.
#[test]
fn random_changes_move_nothing_that_stays() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let mut spec = spec(&["path=0"], &["tap=t0"]).named();
        let mut kept = blueprint(&spec, None);
        for step in 1..40 {
            match random.below(6) {
                0 if spec.disks.len() < 12 => spec.disks.push(format!("path={step}").parse().unwrap()),
                1 if spec.nets.len() < 12 => spec.nets.push(format!("tap=t{step}").parse().unwrap()),
                2 if !spec.disks.is_empty() => {
                    spec.disks.remove(random.below(spec.disks.len() as u64) as usize);
                }
                3 if !spec.nets.is_empty() => {
                    spec.nets.remove(random.below(spec.nets.len() as u64) as usize);
                }
                4 => spec.disks.reverse(),
                _ => spec.virtio_console = spec.virtio_console.is_none().then(|| "none".parse().unwrap()),
            }
            spec = spec.named().validate().unwrap();
            let next = blueprint(&spec, Some(&kept));
            for device in &next.devices {
                if let Some(before) = kept.device(&device.id) {
                    assert_eq!(device.slot, before.slot, "seed {seed}, step {step}: {}", device.id);
                }
                if let (DeviceKind::Nic(now), Some(DeviceKind::Nic(before))) =
                    (&device.kind, kept.device(&device.id).map(|device| &device.kind))
                {
                    assert_eq!(now.mac, before.mac, "seed {seed}, step {step}");
                }
            }
            assert_eq!(Blueprint::from_bytes(&next.to_bytes().unwrap()), Ok(next.clone()), "seed {seed}");
            kept = next;
        }
    }
}

/// What a file of version 2 holds. What was written once is read for ever.
fn golden() -> Blueprint {
    let mut spec = VmSpec {
        cpus: "2".parse().unwrap(),
        memory: "4G".parse().unwrap(),
        virtio_console: Some("none".parse().unwrap()),
        debug_exit: Some(0xf4),
        exit_status: true,
        ..spec(
            &["path=a,id=disk-root", "path=b,readonly,serial=S1"],
            &["tap=a,id=wan,mac=52:54:00:12:34:56,queues=2"],
        )
    };
    let BootSpec::Kernel(kernel) = &mut spec.boot;
    kernel.cmdline = Some("console=ttyS0".to_owned());
    let leaf =
        arch_model::x86_64::cpuid::CpuidLeaf { function: 7, index: Some(1), eax: 1, ebx: 2, ecx: 3, edx: 4 };
    resolve(&spec, &HostFacts { cpuid: vec![leaf], ..host(&spec) }, None).unwrap()
}

#[test]
fn version_2_is_read_and_written_as_it_was() {
    let bytes = golden().to_bytes().unwrap();
    device_harness::golden::check(concat!(env!("CARGO_MANIFEST_DIR"), "/states/blueprint-v2.bin"), &bytes);
    assert_eq!(Blueprint::from_bytes(&bytes), Ok(golden()));
}

#[test]
fn version_1_is_a_machine_without_a_generation_id() {
    let older = include_bytes!("../../states/blueprint-v1.bin");
    let expected = Blueprint { generation_id: None, ..golden() };
    assert_eq!(Blueprint::from_bytes(older), Ok(expected));
    assert_eq!(Blueprint::from_bytes(&[older.as_slice(), &[0]].concat()), Err(BlueprintError::Damaged));
    assert_eq!(Blueprint::from_bytes(&older[..older.len() - 1]), Err(BlueprintError::Damaged));
}

#[test]
fn a_generation_id_is_where_there_is_ram() {
    let of = |size: &str| {
        let spec = VmSpec { memory: size.parse().unwrap(), ..spec(&[], &[]) };
        blueprint(&spec, None).generation_id
    };
    assert_eq!((of("1M"), of("5G")), (Some(0xd_f028), Some(0xd_f028)));
}

#[test]
fn what_is_no_machine_is_refused() {
    let good = golden();
    let refused = |change: &dyn Fn(&mut Blueprint)| {
        let mut changed = good.clone();
        change(&mut changed);
        let bytes = changed.to_bytes().unwrap();
        match Blueprint::from_bytes(&bytes) {
            Err(BlueprintError::Senseless(why)) => why,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(&|b| b.devices[1].id = b.devices[0].id.clone()), "two devices of one name");
    assert_eq!(refused(&|b| b.chips.push(Chip::Rtc)), "two devices of one name");
    assert!(refused(&|b| b.devices.swap(0, 1)).starts_with("two devices in one PCI slot"));
    assert!(refused(&|b| b.devices[1].slot = 1).starts_with("two devices in one PCI slot"));
    assert!(refused(&|b| b.devices[0].slot = 0).starts_with("a device in a PCI slot that is none"));
    assert!(refused(&|b| b.devices[4].slot = 32).starts_with("a device in a PCI slot that is none"));
    for size in [0, 511, 1000, 1 << 31] {
        let change = |b: &mut Blueprint| {
            let DeviceKind::Disk(disk) = &mut b.devices[0].kind else { panic!("no disk") };
            disk.block_size_bytes = size;
        };
        assert_eq!(refused(&change), "a device that is none", "{size}");
    }
    for nowhere in [0xd_f029, (3 << 30) - 8, 3 << 30, u64::MAX - 7] {
        assert!(refused(&|b| b.generation_id = Some(nowhere)).contains("not in RAM"), "{nowhere:#x}");
    }
    assert!(refused(&|b| b.memory.ram.clear()).starts_with("RAM"));
    assert!(refused(&|b| b.memory.ram[0].start = 4096).starts_with("RAM"));
    assert!(refused(&|b| b.memory.ram[0].size_bytes = 5 << 30).contains("overlap"));
    assert!(refused(&|b| b.memory.ram[1].size_bytes = u64::MAX).contains("whole pages"));
    assert!(refused(&|b| b.memory.ram[1].size_bytes -= 1).contains("whole pages"));
    assert!(refused(&|b| b.memory.pci64.start = 0).contains("overlap"));
    assert!(
        refused(&|b| {
            b.memory.pci64.start = 1 << 50;
            b.memory.ram[1].size_bytes = 1 << 45;
        })
        .contains("more memory")
    );
}

#[test]
fn damaged_bytes_are_refused_and_never_believed() {
    let good = golden().to_bytes().unwrap();
    for len in 0..good.len() {
        assert!(Blueprint::from_bytes(&good[..len]).is_err(), "{len}");
    }
    assert_eq!(Blueprint::from_bytes(&[&good[..], &[0]].concat()), Err(BlueprintError::Damaged));
    assert_eq!(Blueprint::from_bytes(&[3]), Err(BlueprintError::Version { found: 3 }));
    // No vCPU, 65 of them, and a name that none may have: what is parsed from text is checked from bytes, too.
    let with = |from: &[u8], to: &[u8]| {
        let at = good.windows(from.len()).position(|window| window == from).unwrap();
        Blueprint::from_bytes(&[&good[..at], to, &good[at + from.len()..]].concat())
    };
    assert_eq!(with(b"disk-root", b"disk/root"), Err(BlueprintError::Damaged));
    assert_eq!(with(&[0x52, 0x54, 0, 0x12], &[0x53, 0x54, 0, 0x12]), Err(BlueprintError::Damaged));
    let after_line = b"console=ttyS0\x02";
    assert_eq!(with(after_line, b"console=ttyS0\x00"), Err(BlueprintError::Damaged));
    assert_eq!(with(after_line, b"console=ttyS0\x41"), Err(BlueprintError::Damaged));
    let mut random = Random(7);
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << random.below(8);
        if let Ok(blueprint) = Blueprint::from_bytes(&bytes) {
            assert_eq!(Blueprint::from_bytes(&blueprint.to_bytes().unwrap()), Ok(blueprint));
        }
    }
}
