//! Tables without AML: FADT, MADT, MCFG.

use acpi_tables::fadt::{FADTBuilder, Flags, PmProfile};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::mcfg::MCFG;
use acpi_tables::sdt::Sdt;
use arch_model::x86_64::layout::{ACPI_POWER_PORT, IOAPIC_BASE, LAPIC_BASE, PIT_GSI, PIT_IRQ};
use guest_memory::{GpaRange, GuestAddress};

use crate::spec::*;
use crate::{ECAM_BUS_SIZE, OEM_ID, OEM_REVISION, OEM_TABLE_ID, to_bytes};

/// Fixed description (ACPI 6.4, 5.2.9): no fixed hardware, power and reset by ports, and no keyboard
/// controller to probe for.
pub(crate) fn fadt(dsdt: GuestAddress) -> Vec<u8> {
    let port = |offset| {
        let address = u64::from(ACPI_POWER_PORT + offset);
        GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, address)
    };
    let mut fadt = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .dsdt_64(dsdt.0)
        .preferred_pm_profile(PmProfile::EnterpriseServer)
        .flag(Flags::Wbinvd)
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton)
        .flag(Flags::FixRtc)
        .flag(Flags::ResetRegSup)
        .flag(Flags::Headless)
        .flag(Flags::HwReducedAcpi);
    fadt.century = RTC_CENTURY;
    fadt.iapc_boot_arch = (BOOT_LEGACY_DEVICES | BOOT_NO_VGA | BOOT_NO_ASPM).into();
    fadt.reset_reg = port(RESET_OFFSET);
    fadt.reset_value = RESET_VALUE;
    fadt.sleep_control_reg = port(SLEEP_CONTROL_OFFSET);
    fadt.sleep_status_reg = port(SLEEP_STATUS_OFFSET);
    to_bytes(&fadt.finalize())
}

/// Interrupt controllers (ACPI 6.4, 5.2.12). There is no PIC; input n of the I/O APIC is interrupt n, but
/// for the timer's, which is where it is on every PC. NMI comes in at LINT1 everywhere.
pub(crate) fn madt(vcpus: u32) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend_from_slice(&(LAPIC_BASE as u32).to_le_bytes());
    body.extend_from_slice(&0u32.to_le_bytes());
    for id in (0..vcpus).map(|index| index as u8) {
        body.extend_from_slice(&[MADT_LOCAL_APIC, 8, id, id]);
        body.extend_from_slice(&LOCAL_APIC_ENABLED.to_le_bytes());
    }
    body.extend_from_slice(&[MADT_IO_APIC, 12, 0, 0]);
    body.extend_from_slice(&(IOAPIC_BASE as u32).to_le_bytes());
    body.extend_from_slice(&0u32.to_le_bytes());
    body.extend_from_slice(&[MADT_INTERRUPT_OVERRIDE, 10, ISA_BUS, PIT_IRQ]);
    body.extend_from_slice(&PIT_GSI.to_le_bytes());
    body.extend_from_slice(&0u16.to_le_bytes());
    body.extend_from_slice(&[MADT_LOCAL_APIC_NMI, 6, ALL_PROCESSORS, 0, 0, 1]);
    let mut madt = Sdt::new(*b"APIC", HEADER_SIZE, MADT_REVISION, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    madt.append_slice(&body);
    to_bytes(&madt)
}

/// PCI configuration space (PCI Firmware 3.3, 4.1.2).
pub(crate) fn mcfg(ecam: GpaRange) -> Vec<u8> {
    let mut mcfg = MCFG::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    mcfg.add_ecam(ecam.start.0, 0, 0, last_bus(ecam));
    to_bytes(&mcfg)
}

/// Number of the last bus whose configuration space lies in `ecam`.
pub(crate) fn last_bus(ecam: GpaRange) -> u8 {
    (ecam.size_bytes / ECAM_BUS_SIZE).saturating_sub(1).min(0xff) as u8
}
