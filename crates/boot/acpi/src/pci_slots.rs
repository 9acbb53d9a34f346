//! The slots of the PCI bus, from which devices come and go while the system runs (ACPI 6.4, 6.3): in AML, each with `_EJ0`,
//! by which the system lets go of what is in it.
//!
//! The registers are those of the event device (`chipset::AcpiGed`). Its `_EVT` calls [`LOOK`] when slots have changed.

use acpi_tables::Aml;
use acpi_tables::aml::{
    And, Device, Field, FieldAccessType, FieldEntry, FieldLockRule, FieldUpdateRule, If, Local, Method, Name,
    Notify, OpRegion, OpRegionSpace, Path, Scope, Store, ZERO,
};
use arch_model::x86_64::layout::ACPI_GED_PORT;

use crate::spec::*;

/// The method that tells the system which slots were filled and which are to be emptied.
pub(crate) const LOOK: &str = "\\_SB_.PCI0.LOOK";

/// Slot 0 is the host bridge's.
const SLOTS: std::ops::Range<u32> = 1..32;
/// Where the slots' registers begin and end.
const REGISTERS: std::ops::Range<u16> = FILLED_OFFSET..EJECT_OFFSET + 4;
const _: () = assert!(LEAVING_OFFSET == FILLED_OFFSET + 4 && EJECT_OFFSET == LEAVING_OFFSET + 4);

pub(crate) fn build(body: &mut Vec<u8>) {
    let first_port = ACPI_GED_PORT + REGISTERS.start;
    let length = REGISTERS.end - REGISTERS.start;
    let region = OpRegion::new("HPRG".into(), OpRegionSpace::SystemIO, &first_port, &length);
    let registers = [*b"FILL", *b"LEAV", *b"EJCT"].map(|name| FieldEntry::Named(name, 32));
    let field = Field::new(
        "HPRG".into(),
        FieldAccessType::DWord,
        FieldLockRule::NoLock,
        FieldUpdateRule::WriteAsZeroes,
        registers.into(),
    );
    let slots: Vec<Slot> = SLOTS.map(Slot).collect();
    let mut children: Vec<&dyn Aml> = vec![&region, &field];
    children.extend(slots.iter().map(|slot| slot as &dyn Aml));
    children.push(&Look);
    Scope::new("\\_SB_.PCI0".into(), children).to_aml_bytes(body);
}

/// A slot by its number.
struct Slot(u32);

impl Slot {
    fn path(&self) -> Path {
        Path::new(&format!("S{:03X}", self.0))
    }

    /// Its bit in the registers.
    fn bit(&self) -> u32 {
        1 << self.0
    }
}

impl Aml for Slot {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        let address = self.0 << 16;
        let (register, bit) = (Path::new("EJCT"), self.bit());
        let let_go = Store::new(&register, &bit);
        let address = Name::new("_ADR".into(), &address);
        let number = Name::new("_SUN".into(), &self.0);
        let eject = Method::new("_EJ0".into(), 1, true, vec![&let_go]);
        Device::new(self.path(), vec![&address, &number, &eject]).to_aml_bytes(sink);
    }
}

/// Reads which slots have changed, and notifies each of what happened to it. What leaves comes first: where one device
/// took the place of another before the system has looked, it lets go of the one and then finds the other.
struct Look;

impl Aml for Look {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        let (filled, leaving) = (Local(0), Local(1));
        let (fill_register, leave_register) = (Path::new("FILL"), Path::new("LEAV"));
        let reads = [Store::new(&filled, &fill_register), Store::new(&leaving, &leave_register)];
        let changes = [(&leaving, NOTIFY_EJECT_REQUEST), (&filled, NOTIFY_DEVICE_CHECK)];
        let tells = changes
            .into_iter()
            .flat_map(|(slots, what)| SLOTS.map(move |slot| Tell { slot: Slot(slot), slots, what }));
        let tells: Vec<Tell<'_>> = tells.collect();
        let mut steps: Vec<&dyn Aml> = reads.iter().map(|read| read as &dyn Aml).collect();
        steps.extend(tells.iter().map(|tell| tell as &dyn Aml));
        Method::new("LOOK".into(), 0, true, steps).to_aml_bytes(sink);
    }
}

/// Notifies `slot` of `what`, if it is among `slots`.
struct Tell<'l> {
    slot: Slot,
    slots: &'l Local,
    what: u8,
}

impl Aml for Tell<'_> {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        let (bit, path) = (self.slot.bit(), self.slot.path());
        let is_one = And::new(&ZERO, self.slots, &bit);
        let notify = Notify::new(&path, &self.what);
        If::new(&is_one, vec![&notify]).to_aml_bytes(sink);
    }
}
