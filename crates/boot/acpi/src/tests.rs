use std::fs;
use std::path::Path;
use std::process::Command;

use arch_model::x86_64::layout::*;
use guest_memory::{GuestMemory, Policy};

use super::*;

fn range(start: u64, size_bytes: u64) -> GpaRange {
    GpaRange { start: GuestAddress(start), size_bytes }
}

fn machine(vcpus: u32) -> AcpiConfig {
    AcpiConfig {
        vcpus,
        ecam: range(ECAM_BASE, ECAM_SIZE),
        mmio32: range(PCI_MMIO32_BASE, PCI_MMIO32_SIZE),
        mmio64: Some(range(0x10_0000_0000, PCI_MMIO64_SIZE)),
        serial: true,
        generation_id: Some(GuestAddress(GENERATION_ID_ADDRESS)),
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap())
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn tables_are_found_from_the_root_pointer() {
    let memory = GuestMemory::allocate(&[range(0, 0x20_0000)], Policy::default()).unwrap().snapshot();
    let root = write_to(&machine(4), &memory).unwrap();
    let read = |address: u64, len: usize| {
        let mut bytes = vec![0; len];
        memory.read_slice(&mut bytes, GuestAddress(address)).unwrap();
        bytes
    };
    let table = |address: u64| {
        let len = u32::from_le_bytes(read(address + 4, 4).try_into().unwrap());
        let bytes = read(address, len as usize);
        assert_eq!(sum(&bytes), 0, "checksum at {address:#x}");
        assert!(address.is_multiple_of(16) && address + u64::from(len) <= RSDP_ADDRESS + ACPI_AREA_SIZE);
        bytes
    };
    let rsdp = read(root.0, 36);
    assert_eq!((&rsdp[..8], sum(&rsdp), sum(&rsdp[..20])), (&b"RSD PTR "[..], 0, 0));
    let xsdt = table(u64_at(&rsdp, 24));
    let entries: Vec<Vec<u8>> = (36..xsdt.len()).step_by(8).map(|at| table(u64_at(&xsdt, at))).collect();
    let names: Vec<&[u8]> = entries.iter().map(|entry| &entry[..4]).collect();
    assert_eq!(names, [b"FACP", b"APIC", b"MCFG"]);
    let dsdt = table(u64_at(&entries[0], 140));
    assert_eq!(&dsdt[..4], b"DSDT");
    assert!(contains(&dsdt, b"C003") && !contains(&dsdt, b"C004"));
}

#[test]
fn the_largest_machine_fits_and_nonsense_is_refused() {
    assert!(build(&machine(255)).is_ok());
    let wrong = [
        machine(0),
        machine(256),
        AcpiConfig { ecam: range(ECAM_BASE, 0), ..machine(1) },
        AcpiConfig { ecam: range(ECAM_BASE, ECAM_SIZE / 2), ..machine(1) },
        AcpiConfig { ecam: range(0xf000_0000, 257 << 20), ..machine(1) },
        AcpiConfig { ecam: range(1 << 32, 1 << 20), ..machine(1) },
        AcpiConfig { mmio32: range(0xf000_0000, 0x2000_0000), ..machine(1) },
        AcpiConfig { mmio64: Some(range(u64::MAX, 2)), ..machine(1) },
    ];
    for config in wrong {
        assert!(build(&config).is_err(), "{config:?}");
    }
    let small = GuestMemory::allocate(&[range(0, 0x1000)], Policy::default()).unwrap().snapshot();
    assert!(matches!(write_to(&machine(1), &small), Err(AcpiError::Write(_))));
}

#[test]
fn registers_are_where_the_chips_have_them() {
    assert_eq!(spec::SLEEP_CONTROL_OFFSET, chipset::SLEEP_CONTROL_OFFSET);
    assert_eq!(spec::SLEEP_STATUS_OFFSET, chipset::SLEEP_STATUS_OFFSET);
    assert_eq!(spec::RESET_OFFSET, chipset::RESET_OFFSET);
    assert_eq!(spec::RESET_VALUE, chipset::RESET_VALUE);
    assert_eq!(spec::SLEEP_TYPE_S5, chipset::SLEEP_TYPE_S5);
    assert_eq!(spec::EVENT_POWER_BUTTON, chipset::EVENT_POWER_BUTTON);
    assert_eq!(spec::EVENT_SLOTS, chipset::EVENT_SLOTS);
    assert_eq!(spec::EVENT_GENERATION, chipset::EVENT_GENERATION);
    assert_eq!(spec::FILLED_OFFSET, chipset::FILLED_OFFSET);
    assert_eq!(spec::LEAVING_OFFSET, chipset::LEAVING_OFFSET);
    assert_eq!(spec::EJECT_OFFSET, chipset::EJECT_OFFSET);
}

/// Disassembles and recompiles every table with ACPICA's compiler. The root pointer is no table to it.
#[test]
fn iasl_reads_and_rebuilds_every_table() {
    if Command::new("iasl").arg("-v").output().is_err() {
        println!("SKIPPED: iasl is not installed");
        return;
    }
    let minimal = AcpiConfig { mmio64: None, serial: false, generation_id: None, ..machine(1) };
    let high = Some(GuestAddress(0x12_3456_7890));
    let wide = AcpiConfig { ecam: range(0xb000_0000, 256 << 20), generation_id: high, ..machine(64) };
    for config in [minimal, wide] {
        let folder = tempfile::tempdir().unwrap();
        for table in build(&config).unwrap().into_iter().skip(1) {
            fs::write(folder.path().join(format!("{}.dat", table.name)), &table.bytes).unwrap();
            iasl(folder.path(), &["-d", &format!("{}.dat", table.name)]);
            let rebuilt = iasl(folder.path(), &["-we", &format!("{}.dsl", table.name)]);
            assert!(!rebuilt.contains("Error "), "{}: {rebuilt}", table.name);
        }
        let source = fs::read_to_string(folder.path().join("DSDT.dsl")).unwrap();
        let has_generation = config.generation_id.is_some();
        let devices = [("PCI0", true), ("GED", true), ("COM1", config.serial), ("VGEN", has_generation)];
        for (name, expected) in devices {
            assert_eq!(source.contains(&format!("Device (\\_SB.{name})")), expected, "{name}");
        }
        assert_eq!(source.matches("Notify (\\_SB.VGEN, 0x80)").count(), usize::from(has_generation));
        // Low dword, high dword.
        let words = source.split_whitespace().collect::<String>();
        assert_eq!(words.contains("Name(ADDR,Package(0x02){0x34567890,0x12})"), has_generation);
        assert_eq!(source.matches("ACPI0007").count(), config.vcpus as usize);
        assert_eq!((source.matches("Method (_EJ0").count(), source.matches("Name (_SUN").count()), (31, 31));
    }
}

fn iasl(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("iasl").args(arguments).current_dir(folder).output().unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "iasl {arguments:?}: {text}");
    text
}
