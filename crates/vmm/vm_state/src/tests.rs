//! States that are whole, and all that are not.

use arch_model::x86_64::cpuid::CpuidLeaf;
use arch_model::x86_64::{
    ClockState, CpuState, ExtendedState, IoApicPin, IoApicState, LapicState, MsrValue, PlatformState,
    Registers, RunState, layout, msr,
};
use vm_spec::blueprint::{Boot, DeviceKind, MemoryMap, PciDevice};
use vm_spec::{Blueprint, BootProtocol, Chip, DeviceId};

use crate::file::Section;
use crate::{DeviceState, StateError, VmState};

fn blueprint() -> Blueprint {
    let leaf =
        |index, eax, ebx| CpuidLeaf { function: 0xd, index: Some(index), eax, ebx, ..CpuidLeaf::default() };
    Blueprint {
        boot: Boot::Kernel { protocol: BootProtocol::Auto, command_line: "quiet".to_owned() },
        cpus: "2".parse().unwrap(),
        cpuid: vec![leaf(0, 7, 832), leaf(2, 256, 576)],
        tsc_khz: None,
        memory: MemoryMap::of("64M".parse().unwrap()),
        chips: vec![Chip::Serial, Chip::Rtc],
        devices: vec![PciDevice { id: DeviceId::entropy(), slot: 1, kind: DeviceKind::Entropy }],
        generation_id: Some(0xd_f028),
    }
}

fn vcpu(rip: u64, run_state: RunState) -> CpuState {
    CpuState {
        registers: Registers { rip, rflags: 2, ..Registers::default() },
        extended: ExtendedState { xsave: vec![0; 832], xcr0: 7 },
        msrs: vec![MsrValue { index: msr::TSC, value: 77 }],
        lapic: LapicState { registers: vec![0; 64] },
        run_state,
        tsc_khz: Some(1_000_000),
        ..CpuState::default()
    }
}

fn state() -> VmState {
    let device =
        |id: &str, bytes: Option<&[u8]>| DeviceState { id: id.to_owned(), bytes: bytes.map(<[u8]>::to_vec) };
    let pins = vec![IoApicPin(1 << 16); layout::IOAPIC_PINS as usize];
    VmState {
        blueprint: blueprint(),
        devices: vec![
            device("pci", Some(&[1])),
            device("serial0", Some(&[1, 2, 3])),
            device("rtc", Some(&[2])),
            device("rng0", None),
        ],
        platform: PlatformState {
            ioapic: IoApicState { pins, ..IoApicState::default() },
            clock: ClockState { guest_ns: 5, host_realtime_ns: Some(6) },
        },
        vcpus: vec![vcpu(0xfff0, RunState::Running), vcpu(0, RunState::Uninitialized)],
    }
}

#[test]
fn what_is_written_is_read() {
    let bytes = state().to_bytes().unwrap();
    assert_eq!(VmState::from_bytes(&bytes), Ok(state()));
}

#[test]
fn format_1_is_written_and_read_as_it_was() {
    let mut bytes = state().to_bytes().unwrap();
    // The program's version is not part of the format.
    bytes[16..48].fill(0);
    let table_end =
        bytes.len() - sections(&bytes).iter().map(|(_, section)| section.len()).sum::<usize>() - 4;
    let crc = crc32c::crc32c(&bytes[..table_end]);
    bytes[table_end..table_end + 4].copy_from_slice(&crc.to_le_bytes());
    device_harness::golden::check(
        concat!(env!("CARGO_MANIFEST_DIR"), "/states/format-1-blueprint-2.bin"),
        &bytes,
    );
    assert_eq!(VmState::from_bytes(&bytes), Ok(state()));
    // Of a program that knew of no generation id.
    let mut older = state();
    older.blueprint.generation_id = None;
    assert_eq!(VmState::from_bytes(include_bytes!("../states/format-1.bin")), Ok(older));
}

/// The sections of good bytes: kind and contents.
fn sections(bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let entry = |index: u32| {
        let at = 52 + index as usize * 24;
        (number(at), bytes[long(at + 8)..long(at + 8) + long(at + 16)].to_vec())
    };
    (0..number(48)).map(entry).collect()
}

/// A file of these sections, with the checksums that belong to them.
fn file(sections: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let good = state().to_bytes().unwrap();
    let mut bytes = good[..48].to_vec();
    bytes.extend((sections.len() as u32).to_le_bytes());
    let mut offset = (52 + sections.len() * 24 + 4) as u64;
    for (kind, section) in sections {
        bytes.extend(kind.to_le_bytes());
        bytes.extend(crc32c::crc32c(section).to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        bytes.extend((section.len() as u64).to_le_bytes());
        offset += section.len() as u64;
    }
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    sections.iter().for_each(|(_, section)| bytes.extend(section));
    bytes
}

#[test]
fn cut_or_damaged_anywhere_it_is_refused() {
    let good = state().to_bytes().unwrap();
    for len in 0..good.len() {
        let error = VmState::from_bytes(&good[..len]).unwrap_err();
        let expected =
            if len < 8 { error == StateError::NotAState } else { matches!(error, StateError::Length { .. }) };
        assert!(expected, "{len}: {error}");
    }
    let longer = [&good[..], &[0]].concat();
    assert!(matches!(VmState::from_bytes(&longer), Err(StateError::Length { .. })));
    for at in 0..good.len() {
        for bit in [0, 7] {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            assert!(VmState::from_bytes(&bytes).is_err(), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn other_formats_architectures_and_versions_are_refused_by_name() {
    let changed = |at: usize, with: &[u8]| {
        let mut bytes = state().to_bytes().unwrap();
        bytes[at..at + with.len()].copy_from_slice(with);
        VmState::from_bytes(&bytes).unwrap_err()
    };
    let error = changed(8, &[2, 0, 0, 0]);
    assert!(
        error.to_string().contains(&format!("written by yagura {}, in format 2", env!("CARGO_PKG_VERSION")))
    );
    let error = changed(8, &[[2, 0, 0, 0].as_slice(), &[0; 4], b"\x1b[31m\xff\xffevil"].concat());
    assert!(error.to_string().contains("written by [31mevil"), "{error}");
    assert_eq!(changed(12, &[183]), StateError::Architecture(183));
    let good = sections(&state().to_bytes().unwrap());
    for (index, section) in [(1, Section::Devices), (2, Section::Platform), (3, Section::Vcpus)] {
        let mut newer = good.clone();
        newer[index].1[0] = 99;
        let error = VmState::from_bytes(&file(&newer)).unwrap_err();
        assert!(
            matches!(error, StateError::Version { section: s, found: 99, .. } if s == section),
            "{error}"
        );
        let mut longer = good.clone();
        longer[index].1.push(0);
        assert_eq!(VmState::from_bytes(&file(&longer)), Err(StateError::Damaged(section)));
        let mut shorter = good.clone();
        shorter[index].1.pop();
        assert_eq!(VmState::from_bytes(&file(&shorter)), Err(StateError::Damaged(section)));
    }
}

#[test]
fn each_section_is_there_once() {
    let good = sections(&state().to_bytes().unwrap());
    assert_eq!(VmState::from_bytes(&file(&good)), Ok(state()));
    for (index, section) in
        [Section::Blueprint, Section::Devices, Section::Platform, Section::Vcpus].into_iter().enumerate()
    {
        let mut without = good.clone();
        without.remove(index);
        assert_eq!(VmState::from_bytes(&file(&without)), Err(StateError::Sections(section)));
        let mut twice = without;
        twice.push(good[(index + 1) % 4].clone());
        assert!(matches!(VmState::from_bytes(&file(&twice)), Err(StateError::Sections(_))));
    }
    let mut more = good.clone();
    more.push((5, vec![]));
    assert_eq!(VmState::from_bytes(&file(&more)), Err(StateError::Damaged(Section::Header)));
}

#[test]
fn each_device_has_one_state_and_each_state_a_device() {
    let with = |change: &dyn Fn(&mut VmState)| {
        let mut changed = state();
        change(&mut changed);
        VmState::from_bytes(&changed.to_bytes().unwrap()).unwrap_err().to_string()
    };
    for index in 0..4 {
        let id = state().devices[index].id.clone();
        assert_eq!(with(&|s| drop(s.devices.remove(index))), format!("this state lacks that of device {id}"));
        let twice = with(&|s| s.devices.push(s.devices[index].clone()));
        assert_eq!(twice, format!("this state has two of device {id}"));
        let foreign = with(&|s| s.devices[index].id = "nic7".to_owned());
        assert!(foreign.contains("device nic7, which the machine does not have"), "{foreign}");
    }
    assert!(with(&|s| s.devices.clear()).contains("lacks"));
}

#[test]
fn vcpus_and_platform_are_checked() {
    let with = |change: &dyn Fn(&mut VmState)| {
        let mut changed = state();
        change(&mut changed);
        VmState::from_bytes(&changed.to_bytes().unwrap()).unwrap_err().to_string()
    };
    assert!(with(&|s| drop(s.vcpus.pop())).contains("1 vCPUs, and its machine 2"));
    assert!(with(&|s| s.vcpus.push(s.vcpus[0].clone())).contains("3 vCPUs, and its machine 2"));
    assert!(with(&|s| s.vcpus[1].system.ss.dpl = 7).starts_with("this state is none of vCPU 1: a segment's"));
    assert!(with(&|s| s.vcpus[0].extended.xcr0 = 0xff).contains("vCPU 0: XCR0 enables"));
    assert!(with(&|s| s.platform.ioapic.pins.clear()).contains("does not have 24 inputs"));
    assert!(with(&|s| s.blueprint.memory.ram.clear()).contains("makes no sense"));
}
