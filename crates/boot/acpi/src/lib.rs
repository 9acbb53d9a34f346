//! ACPI tables of the x86-64 machine: hardware-reduced ACPI (ACPI 6.4, 4.1), which has no fixed event
//! registers, no PM timer and no PIC.
//!
//! [`write_to`] puts them at the addresses that [`layout`] names. The tables are a pure function of
//! [`AcpiConfig`]; which ports and interrupts they name is the machine's wiring in `layout`. May depend on
//! contracts only (and, in tests, on `chipset`, with which it shares register offsets).

mod dsdt;
mod fixed;
mod generation;
mod pci_slots;
mod spec;
#[cfg(test)]
mod tests;

use acpi_tables::Aml;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::xsdt::XSDT;
use arch_model::x86_64::layout::{ACPI_AREA_SIZE, RSDP_ADDRESS};
use guest_memory::{Bytes, GpaRange, GuestAddress, GuestMemoryError, Slots};

/// Who made the tables (ACPI 6.4, 5.2.6, OEMID).
const OEM_ID: [u8; 6] = *b"YAGURA";
/// Which machine they describe (ACPI 6.4, 5.2.6, OEM Table ID).
const OEM_TABLE_ID: [u8; 8] = *b"YAGURAVM";
/// Revision of the description.
const OEM_REVISION: u32 = 1;

/// Tables begin at multiples of this, in bytes.
const TABLE_ALIGN: u64 = 16;
/// Most processors that 8-bit APIC IDs can tell apart (ACPI 6.4, 5.2.12.2); 255 addresses all of them.
const MAX_PROCESSORS: u32 = 255;
/// Configuration space of one PCI bus by memory accesses, in bytes (PCI Express 3.0, 7.2.2).
const ECAM_BUS_SIZE: u64 = 1 << 20;

/// What the tables are to describe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcpiConfig {
    /// Number of vCPUs; their APIC IDs count from 0.
    pub vcpus: u32,
    /// PCI configuration space: whole buses from bus 0 on, below 4 GiB.
    pub ecam: GpaRange,
    /// Window for PCI memory regions below 4 GiB.
    pub mmio32: GpaRange,
    /// Window for 64-bit PCI memory regions.
    pub mmio64: Option<GpaRange>,
    /// Whether COM1 is there.
    pub serial: bool,
    /// Where the generation id is, if the machine has one.
    pub generation_id: Option<GuestAddress>,
}

/// Why the tables were not made.
#[derive(Debug, thiserror::Error)]
pub enum AcpiError {
    /// The number of vCPUs has no APIC IDs.
    #[error("ACPI tables can name 1 to {MAX_PROCESSORS} processors, not {0}")]
    Processors(u32),
    /// A range is empty, wraps, or lies where it must not.
    #[error("ACPI cannot describe the {window} window {start:#x} of {size_bytes:#x} bytes")]
    Window {
        /// Which one.
        window: &'static str,
        /// First address.
        start: u64,
        /// Length in bytes.
        size_bytes: u64,
    },
    /// The tables do not fit where they belong.
    #[error("ACPI tables of {0} bytes do not fit into their area of {ACPI_AREA_SIZE} bytes")]
    TooLarge(u64),
    /// The guest has no memory where the tables belong.
    #[error("cannot write ACPI tables to guest memory")]
    Write(#[source] GuestMemoryError),
}

/// One table and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Signature, as in the table's first four bytes; `RSDP` for the root pointer.
    pub name: &'static str,
    /// Guest-physical address.
    pub address: GuestAddress,
    /// Contents.
    pub bytes: Vec<u8>,
}

/// Makes all tables, the root pointer first (at `layout::RSDP_ADDRESS`).
pub fn build(config: &AcpiConfig) -> Result<Vec<Table>, AcpiError> {
    check(config)?;
    let mut tables = vec![Table { name: "RSDP", address: GuestAddress(RSDP_ADDRESS), bytes: Vec::new() }];
    let dsdt = place(&mut tables, "DSDT", dsdt::build(config));
    let entries = [
        place(&mut tables, "FACP", fixed::fadt(dsdt)),
        place(&mut tables, "APIC", fixed::madt(config.vcpus)),
        place(&mut tables, "MCFG", fixed::mcfg(config.ecam)),
    ];
    let mut xsdt = XSDT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    entries.into_iter().for_each(|entry| xsdt.add_entry(entry.0));
    let xsdt = place(&mut tables, "XSDT", to_bytes(&xsdt));
    tables[0].bytes = to_bytes(&Rsdp::new(OEM_ID, xsdt.0));
    let end = next_free(&tables).0 - RSDP_ADDRESS;
    if end > ACPI_AREA_SIZE { Err(AcpiError::TooLarge(end)) } else { Ok(tables) }
}

/// Makes all tables, writes them to guest memory and returns the address of the root pointer.
pub fn write_to(config: &AcpiConfig, memory: &Slots) -> Result<GuestAddress, AcpiError> {
    for table in build(config)? {
        memory.write_slice(&table.bytes, table.address).map_err(AcpiError::Write)?;
    }
    Ok(GuestAddress(RSDP_ADDRESS))
}

fn check(config: &AcpiConfig) -> Result<(), AcpiError> {
    let AcpiConfig { vcpus, ecam, mmio32, mmio64, serial: _, generation_id: _ } = config;
    if !(1..=MAX_PROCESSORS).contains(vcpus) {
        return Err(AcpiError::Processors(*vcpus));
    }
    let whole_buses = ecam.size_bytes % ECAM_BUS_SIZE == 0
        && ecam.size_bytes <= 256 * ECAM_BUS_SIZE
        && is_below_4_gib(ecam);
    let windows = [
        ("PCI configuration", Some(ecam), whole_buses),
        ("32-bit PCI memory", Some(mmio32), is_below_4_gib(mmio32)),
        ("64-bit PCI memory", mmio64.as_ref(), true),
    ];
    for (window, range, fits) in windows {
        let Some(GpaRange { start, size_bytes }) = range.copied() else { continue };
        if !fits || size_bytes == 0 || start.0.checked_add(size_bytes).is_none() {
            return Err(AcpiError::Window { window, start: start.0, size_bytes });
        }
    }
    Ok(())
}

fn is_below_4_gib(range: &GpaRange) -> bool {
    range.start.0.checked_add(range.size_bytes).is_some_and(|end| end <= 1 << 32)
}

fn place(tables: &mut Vec<Table>, name: &'static str, bytes: Vec<u8>) -> GuestAddress {
    let address = next_free(tables);
    tables.push(Table { name, address, bytes });
    address
}

/// First aligned address behind the last table. The root pointer's bytes are made last: its place is kept.
fn next_free(tables: &[Table]) -> GuestAddress {
    let behind = |table: &Table| table.address.0 + (table.bytes.len() as u64).max(Rsdp::len() as u64);
    GuestAddress(tables.iter().map(behind).max().unwrap_or(RSDP_ADDRESS).next_multiple_of(TABLE_ALIGN))
}

fn to_bytes(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}
