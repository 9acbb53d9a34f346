//! The DSDT: devices that cannot be found otherwise, in AML (ACPI 6.4, 5.2.11.1 and 20).

use acpi_tables::Aml;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, And, Device, EISAName, Equal, Field, FieldAccessType, FieldEntry,
    FieldLockRule, FieldUpdateRule, IO, If, Interrupt, Local, Memory32Fixed, Method, MethodCall, Name,
    Notify, OpRegion, OpRegionSpace, Package, Path, ResourceTemplate, Store, ZERO,
};
use acpi_tables::sdt::Sdt;
use arch_model::x86_64::layout::{
    ACPI_GED_GSI, ACPI_GED_PORT, ACPI_GED_PORTS, ACPI_POWER_PORT, COM1_GSI, COM1_PORT, PCI_CONFIG_PORT,
    PVPANIC_PORT, RTC_PORT,
};
use guest_memory::GpaRange;

use crate::fixed::last_bus;
use crate::spec::*;
use crate::{AcpiConfig, OEM_ID, OEM_REVISION, OEM_TABLE_ID, generation, pci_slots, to_bytes};

/// DSDT revision with 64-bit integers (ACPI 6.4, 5.2.11.1).
const REVISION: u8 = 2;
/// Ports of PCI configuration by address and data (PCI Local Bus 3.0, 3.2.2.3.2).
const PCI_CONFIG_PORTS: u8 = 8;

pub(crate) fn build(config: &AcpiConfig) -> Vec<u8> {
    let mut body = Vec::new();
    pci_root(config, &mut body);
    reserved(config.ecam, &mut body);
    if config.serial {
        com1(&mut body);
    }
    clock(&mut body);
    power_button(&mut body);
    panic_device(&mut body);
    pci_slots::build(&mut body);
    if let Some(address) = config.generation_id {
        generation::build(address.0, &mut body);
    }
    generic_events(config, &mut body);
    (0..config.vcpus).for_each(|index| processor(index, &mut body));
    soft_off(&mut body);
    let mut dsdt = Sdt::new(*b"DSDT", HEADER_SIZE, REVISION, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    dsdt.append_slice(&body);
    to_bytes(&dsdt)
}

/// The PCI Express root (PCI Firmware 3.3, 4.1.3): one segment, its buses, ports and memory windows.
fn pci_root(config: &AcpiConfig, body: &mut Vec<u8>) {
    let buses = AddressSpace::new_bus_number(0u16, u16::from(last_bus(config.ecam)));
    let config_ports = IO::new(PCI_CONFIG_PORT, PCI_CONFIG_PORT, 1, PCI_CONFIG_PORTS);
    let ports_below = AddressSpace::new_io(0u16, PCI_CONFIG_PORT - 1, None);
    let ports_above = AddressSpace::new_io(PCI_CONFIG_PORT + u16::from(PCI_CONFIG_PORTS), u16::MAX, None);
    let (start, end) = (config.mmio32.start.0, last_address(config.mmio32));
    let kind = AddressSpaceCacheable::NotCacheable;
    let memory32 = AddressSpace::new_memory(kind, true, start as u32, end as u32, None);
    let memory64 = config
        .mmio64
        .map(|range| AddressSpace::new_memory(kind, true, range.start.0, last_address(range), None));
    let mut resources: Vec<&dyn Aml> = vec![&buses, &config_ports, &ports_below, &ports_above, &memory32];
    resources.extend(memory64.iter().map(|window| window as &dyn Aml));
    device(
        "PCI0",
        &[
            &Name::new("_HID".into(), &EISAName::new("PNP0A08")),
            &Name::new("_CID".into(), &EISAName::new("PNP0A03")),
            &Name::new("_SEG".into(), &ZERO),
            &Name::new("_BBN".into(), &ZERO),
            &Name::new("_UID".into(), &ZERO),
            &Name::new("_CRS".into(), &ResourceTemplate::new(resources)),
        ],
        body,
    );
}

/// Addresses that belong to the machine and not to a device: PCI configuration space (PCI Firmware 3.3,
/// 4.1.2, wants them here) and the ACPI registers.
fn reserved(ecam: GpaRange, body: &mut Vec<u8>) {
    let ecam = Memory32Fixed::new(true, ecam.start.0 as u32, ecam.size_bytes as u32);
    let power = IO::new(ACPI_POWER_PORT, ACPI_POWER_PORT, 1, POWER_PORTS);
    let events = IO::new(ACPI_GED_PORT, ACPI_GED_PORT, 1, ACPI_GED_PORTS as u8);
    device(
        "MRES",
        &[
            &Name::new("_HID".into(), &EISAName::new("PNP0C02")),
            &Name::new("_UID".into(), &ZERO),
            &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&ecam, &power, &events])),
        ],
        body,
    );
}

fn com1(body: &mut Vec<u8>) {
    let ports = IO::new(COM1_PORT, COM1_PORT, 1, 8);
    let interrupt = Interrupt::new(true, true, false, false, COM1_GSI);
    device(
        "COM1",
        &[
            &Name::new("_HID".into(), &EISAName::new("PNP0501")),
            &Name::new("_UID".into(), &ZERO),
            &Name::new("_DDN".into(), &"COM1"),
            &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&ports, &interrupt])),
        ],
        body,
    );
}

/// The clock, without interrupt: a system then leaves its alarm alone.
fn clock(body: &mut Vec<u8>) {
    let ports = IO::new(RTC_PORT, RTC_PORT, 1, 2);
    device(
        "RTC_",
        &[
            &Name::new("_HID".into(), &EISAName::new("PNP0B00")),
            &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&ports])),
        ],
        body,
    );
}

fn power_button(body: &mut Vec<u8>) {
    device("PWRB", &[&Name::new("_HID".into(), &EISAName::new("PNP0C0C"))], body);
}

/// The panic device, by the name that Linux's driver (`pvpanic-mmio`) and others look for.
fn panic_device(body: &mut Vec<u8>) {
    let port = IO::new(PVPANIC_PORT, PVPANIC_PORT, 1, 1);
    device(
        "PEVT",
        &[
            &Name::new("_HID".into(), &"QEMU0001"),
            &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&port])),
        ],
        body,
    );
}

/// The generic event device (ACPI 6.4, 5.6.9): its interrupt stays high until `_EVT` has read the events.
fn generic_events(config: &AcpiConfig, body: &mut Vec<u8>) {
    let interrupt = Interrupt::new(true, false, false, false, ACPI_GED_GSI);
    let events = OpRegion::new("EVTS".into(), OpRegionSpace::SystemIO, &ACPI_GED_PORT, &1u8);
    let field = Field::new(
        "EVTS".into(),
        FieldAccessType::Byte,
        FieldLockRule::NoLock,
        FieldUpdateRule::WriteAsZeroes,
        vec![FieldEntry::Named(*b"EVST", 8)],
    );
    let (register, seen, button) = (Path::new("EVST"), Local(0), Path::new("\\_SB_.PWRB"));
    let read = Store::new(&seen, &register);
    let masked = And::new(&ZERO, &seen, &EVENT_POWER_BUTTON);
    let pressed = Equal::new(&masked, &EVENT_POWER_BUTTON);
    let notify = Notify::new(&button, &NOTIFY_BUTTON_PRESSED);
    let tell = If::new(&pressed, vec![&notify]);
    let slots_changed = And::new(&ZERO, &seen, &EVENT_SLOTS);
    let look = MethodCall::new(Path::new(pci_slots::LOOK), Vec::new());
    let look = If::new(&slots_changed, vec![&look]);
    let generation = Path::new(generation::PATH);
    let generation_changed = And::new(&ZERO, &seen, &EVENT_GENERATION);
    let notify_generation = Notify::new(&generation, &NOTIFY_GENERATION);
    let tell_generation = If::new(&generation_changed, vec![&notify_generation]);
    let mut steps: Vec<&dyn Aml> = vec![&read, &tell, &look];
    if config.generation_id.is_some() {
        // First: whoever hears of anything else may draw random numbers.
        steps.insert(1, &tell_generation);
    }
    let on_event = Method::new("_EVT".into(), 1, true, steps);
    device(
        "GED_",
        &[
            &Name::new("_HID".into(), &"ACPI0013"),
            &Name::new("_UID".into(), &ZERO),
            &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&interrupt])),
            &events,
            &field,
            &on_event,
        ],
        body,
    );
}

/// One processor (ACPI 6.4, 8.4); `_UID` is its identity in the MADT.
fn processor(index: u32, body: &mut Vec<u8>) {
    let name = format!("C{index:03X}");
    device(&name, &[&Name::new("_HID".into(), &"ACPI0007"), &Name::new("_UID".into(), &index)], body);
}

/// The one sleeping state (ACPI 6.4, 7.4.2.6).
fn soft_off(body: &mut Vec<u8>) {
    let values = Package::new(vec![&SLEEP_TYPE_S5, &SLEEP_TYPE_S5, &ZERO, &ZERO]);
    Name::new("\\_S5_".into(), &values).to_aml_bytes(body);
}

fn device(name: &str, children: &[&dyn Aml], body: &mut Vec<u8>) {
    let path = Path::new(&format!("\\_SB_.{name}"));
    Device::new(path, children.to_vec()).to_aml_bytes(body);
}

fn last_address(range: GpaRange) -> u64 {
    range.start.0 + (range.size_bytes - 1)
}
