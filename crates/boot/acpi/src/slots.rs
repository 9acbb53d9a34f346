//! PCI slots whose functions come and go (ACPI 6.4, 5.6.6, 6.1.1, 6.1.11 and 6.3.3).
//!
//! The registers are those of `chipset::AcpiGed`. When one of its slots has changed, the generic event device calls
//! [`LOOK`], which notifies the slots concerned; the operating system then looks for a function there, or stops the
//! driver and evaluates `_EJ0`.

use acpi_tables::Aml;
use acpi_tables::aml::{
    And, Device, Field, FieldAccessType, FieldEntry, FieldLockRule, FieldUpdateRule, If, Local, Method, Name,
    Notify, OpRegion, OpRegionSpace, Path, Scope, Store, ZERO,
};
use arch_model::x86_64::layout::{ACPI_GED_PORT, ACPI_GED_PORTS, ACPI_SLOTS_PORT};

use crate::spec::{NOTIFY_DEVICE_CHECK, NOTIFY_EJECT_REQUEST};

/// The method that notifies slots.
pub(crate) const LOOK: &str = "\\_SB_.PCI0.LOOK";

/// Slots with a new function; reading clears them.
const INSERTED: [u8; 4] = *b"SINS";
/// Slots that are to be freed; reading clears them.
const LEAVING: [u8; 4] = *b"SLEA";
/// By writing here, slots are freed.
const EJECT: [u8; 4] = *b"SEJE";

/// Adds the slots in `slots` (a bit a slot) and their registers to the PCI root.
pub(crate) fn build(slots: u32, body: &mut Vec<u8>) {
    let size = ACPI_GED_PORT + ACPI_GED_PORTS - ACPI_SLOTS_PORT;
    let region = OpRegion::new("SLTS".into(), OpRegionSpace::SystemIO, &ACPI_SLOTS_PORT, &size);
    let registers = [INSERTED, LEAVING, EJECT].map(|name| FieldEntry::Named(name, 32));
    let field = Field::new(
        "SLTS".into(),
        FieldAccessType::DWord,
        FieldLockRule::NoLock,
        FieldUpdateRule::WriteAsZeroes,
        registers.into(),
    );
    let mut children = Vec::new();
    region.to_aml_bytes(&mut children);
    field.to_aml_bytes(&mut children);
    let slots = (0..32u8).filter(|slot| slots >> slot & 1 == 1);
    slots.clone().for_each(|slot| device(slot, &mut children));
    look(slots, &mut children);
    Scope::new("\\_SB_.PCI0".into(), vec![&Bytes(children)]).to_aml_bytes(body);
}

/// A slot: its address on the bus, its number as people see it, and the way to free it.
fn device(slot: u8, body: &mut Vec<u8>) {
    let (address, bit, register) = (u32::from(slot) << 16, 1u32 << slot, path(&EJECT));
    let free = Store::new(&register, &bit);
    let eject = Method::new("_EJ0".into(), 1, false, vec![&free]);
    let (address, number) = (Name::new("_ADR".into(), &address), Name::new("_SUN".into(), &slot));
    Device::new(name(slot), vec![&address, &number, &eject]).to_aml_bytes(body);
}

/// Reads both registers and notifies each slot in them.
fn look(slots: impl Iterator<Item = u8>, body: &mut Vec<u8>) {
    let mut steps = Vec::new();
    Store::new(&Local(0), &path(&INSERTED)).to_aml_bytes(&mut steps);
    Store::new(&Local(1), &path(&LEAVING)).to_aml_bytes(&mut steps);
    for slot in slots {
        for (seen, notification) in [(Local(0), NOTIFY_DEVICE_CHECK), (Local(1), NOTIFY_EJECT_REQUEST)] {
            let (bit, slot) = (1u32 << slot, name(slot));
            let concerned = And::new(&ZERO, &seen, &bit);
            let notify = Notify::new(&slot, &notification);
            If::new(&concerned, vec![&notify]).to_aml_bytes(&mut steps);
        }
    }
    Method::new("LOOK".into(), 0, true, vec![&Bytes(steps)]).to_aml_bytes(body);
}

fn name(slot: u8) -> Path {
    Path::new(&format!("S{slot:03}"))
}

fn path(name: &[u8; 4]) -> Path {
    Path::new(std::str::from_utf8(name).unwrap_or_default())
}

/// AML that has been made already.
struct Bytes(Vec<u8>);

impl Aml for Bytes {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        sink.vec(&self.0);
    }
}
