//! From blueprint to machine, in the order in which a person would put a computer together. Nothing is decided here.

use std::fs::File;
use std::sync::Arc;

use arch_model::x86_64::layout;
use char_backend::{CharBackend, InputPump, InputSource};
use device_model::{EventFd, lock};
use guest_memory::{Access, Backing, FileRange, GpaRange, GuestAddress, GuestMemory, NewSlot, Policy};
use host_sys::poll::new_event;
use pci::{PciRoot, Window, Windows};
use vcpu_model::Vm;
use vm_spec::blueprint::{MemoryMap, Range};
use vm_spec::{Blueprint, Chip, DeviceId};

use crate::backends::Backends;
use crate::devices::{Chips, Sinks, Wiring};
use crate::error::BuildError;
use crate::functions::Functions;
use crate::machine::Machine;

impl Machine {
    /// RAM of this map, for the engine to make a VM with; `merge` lets ksmd merge its pages with equal ones.
    pub fn allocate_ram(map: &MemoryMap, merge: bool) -> Result<GuestMemory, BuildError> {
        let ranges: Vec<GpaRange> = map.ram.iter().copied().map(gpa_range).collect();
        Ok(GuestMemory::allocate(&ranges, Policy { mergeable: merge, ..Policy::default() })?)
    }

    /// RAM of this map that is what `file` has, one range behind another; what is written to it stays in this process. Who else
    /// maps the file shares what neither has written. `file` is as long as all of RAM.
    pub fn map_ram(map: &MemoryMap, file: File, merge: bool) -> Result<GuestMemory, BuildError> {
        let file = Arc::new(file);
        let mut before = 0;
        let slots = map.ram.iter().map(|range| {
            let part = FileRange { file: Arc::clone(&file), offset_bytes: before };
            before += range.size_bytes;
            NewSlot { range: gpa_range(*range), access: Access::Ram, backing: Backing::PrivateFile(part) }
        });
        // Pages of files are as large as the file system has them.
        let policy = Policy { huge_pages: false, mergeable: merge };
        Ok(GuestMemory::map(&slots.collect::<Vec<_>>(), policy)?)
    }

    /// Puts the machine of `blueprint` together on `vm`, which was made with the RAM `memory`: devices are as after
    /// power-on, and nothing is in RAM yet. It is [loaded](crate::boot::load) or [restored](Machine::restore) next.
    pub fn assemble<V: Vm>(
        blueprint: &Blueprint,
        vm: &V,
        memory: &GuestMemory,
        backends: &Backends,
        sinks: Sinks,
    ) -> Result<Machine, BuildError> {
        blueprint.check_fit(&backends.facts())?;
        if !memory.slots().ram_ranges().eq(blueprint.memory.ram.iter().copied().map(gpa_range)) {
            return Err(BuildError::OtherRam);
        }
        let root = PciRoot::new(windows(&blueprint.memory));
        let functions =
            Functions::new(root, memory.clone(), vm.msi(), vm.doorbells(), Arc::clone(&sinks.power));
        let mut wiring = Wiring::new(functions, blueprint.memory.ecam, sinks);
        let room = new_event().map_err(BuildError::Console)?;
        let mut chips = Chips::default();
        for chip in &blueprint.chips {
            wire(*chip, &mut wiring, &mut chips, vm, backends, &room)?;
        }
        for device in &blueprint.devices {
            wiring.functions.attach(device, backends)?;
        }
        wiring.functions.root().assign_bars()?;

        let Chips { serial, acpi_events } = chips;
        let serial = serial.ok_or(BuildError::NoChip(Chip::Serial.id()))?;
        let acpi_events = acpi_events.ok_or(BuildError::NoChip(Chip::AcpiEvents.id()))?;
        let take = move |source: InputSource<'_>| lock(&serial).receive(source);
        let input = InputPump::start(Arc::clone(serial_console(backends)?), room, take);
        let generation_id = blueprint.generation_id.map(GuestAddress);
        Ok(Machine::new(wiring, acpi_events, generation_id, input.map_err(BuildError::Console)?))
    }
}

/// Makes a chip and wires it.
fn wire<V: Vm>(
    chip: Chip,
    wiring: &mut Wiring,
    chips: &mut Chips,
    vm: &V,
    backends: &Backends,
    room: &EventFd,
) -> Result<(), BuildError> {
    match chip {
        Chip::Serial => {
            let output = Arc::clone(serial_console(backends)?);
            let output = Box::new(move |data: &[u8]| output.write(data));
            let room = room.try_clone().map_err(BuildError::Console)?;
            chips.serial = Some(wiring.serial(vm.irq_line(layout::COM1_GSI), output, Some(room))?);
        }
        Chip::Rtc => wiring.rtc()?,
        Chip::Pit => wiring.pit(vm.irq_line(layout::PIT_GSI))?,
        Chip::Keyboard => wiring.keyboard()?,
        Chip::AcpiPower => wiring.acpi_power()?,
        Chip::AcpiEvents => chips.acpi_events = Some(wiring.acpi_events(vm.irq_line(layout::ACPI_GED_GSI))?),
        Chip::DebugExit { port } => wiring.debug_exit(port)?,
        Chip::ExitStatus => wiring.exit_status()?,
        Chip::Panic => wiring.pvpanic()?,
    }
    Ok(())
}

/// What is behind the serial port.
fn serial_console(backends: &Backends) -> Result<&Arc<dyn CharBackend>, BuildError> {
    let id = DeviceId::of_chip(Chip::Serial);
    backends.console(&id).ok_or(BuildError::NoBackend(id))
}

fn windows(map: &MemoryMap) -> Windows {
    let window = |Range { start, size_bytes }| Window { base: start, size_bytes };
    Windows { memory32: window(map.pci32), memory64: window(map.pci64) }
}

pub(crate) fn gpa_range(range: Range) -> GpaRange {
    GpaRange { start: GuestAddress(range.start), size_bytes: range.size_bytes }
}
