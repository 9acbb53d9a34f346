//! I/O APIC and clock (API 4.26, 4.29).

use std::time::{SystemTime, UNIX_EPOCH};

use arch_model::x86_64::{ClockState, IoApicPin, IoApicState, PlatformState};
use kvm_bindings::{KVM_CLOCK_REALTIME, KVM_IRQCHIP_IOAPIC, kvm_clock_data, kvm_ioapic_state, kvm_irqchip};
use kvm_ioctls::VmFd;
use vcpu_model::EngineError;

use crate::capabilities::Capabilities;
use crate::failed;

pub(crate) fn save(vm: &VmFd, capabilities: &Capabilities) -> Result<PlatformState, EngineError> {
    let ioapic = get_ioapic(vm)?;
    let clock = if capabilities.adjust_clock {
        let clock = vm.get_clock().map_err(failed("KVM_GET_CLOCK"))?;
        // Kernels before 5.16, and hosts without a stable TSC, do not say when that was: now.
        let is_said = clock.flags & KVM_CLOCK_REALTIME != 0;
        let realtime_ns = if is_said { Some(clock.realtime) } else { now_ns() };
        ClockState { guest_ns: clock.clock, host_realtime_ns: realtime_ns }
    } else {
        ClockState::default()
    };
    let ioapic = IoApicState {
        id: (ioapic.id & 0xf) as u8,
        selected: ioapic.ioregsel as u8,
        lines: ioapic.irr,
        // SAFETY: `bits` is the whole entry as one integer; every bit pattern is valid.
        pins: ioapic.redirtbl.iter().map(|entry| IoApicPin(unsafe { entry.bits })).collect(),
    };
    Ok(PlatformState { ioapic, clock })
}

pub(crate) fn restore(
    vm: &VmFd,
    capabilities: &Capabilities,
    state: &PlatformState,
) -> Result<(), EngineError> {
    let PlatformState { ioapic, clock } = state;
    let mut chip = get_ioapic(vm)?;
    chip.id = ioapic.id.into();
    chip.ioregsel = ioapic.selected.into();
    chip.irr = ioapic.lines;
    for (entry, pin) in chip.redirtbl.iter_mut().zip(&ioapic.pins) {
        entry.bits = pin.0;
    }
    let mut irqchip = kvm_irqchip { chip_id: KVM_IRQCHIP_IOAPIC, ..Default::default() };
    irqchip.chip.ioapic = chip;
    vm.set_irqchip(&irqchip).map_err(failed("KVM_SET_IRQCHIP"))?;
    if capabilities.adjust_clock && *clock != ClockState::default() {
        // It goes on from there: what has passed since it was saved is part of the state, if it is to be.
        let data = kvm_clock_data { clock: clock.guest_ns, ..Default::default() };
        vm.set_clock(&data).map_err(failed("KVM_SET_CLOCK"))?;
    }
    Ok(())
}

/// The host's time since 1970 in nanoseconds; none before that, and after 2554.
fn now_ns() -> Option<u64> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since_1970.as_nanos()).ok()
}

fn get_ioapic(vm: &VmFd) -> Result<kvm_ioapic_state, EngineError> {
    let mut irqchip = kvm_irqchip { chip_id: KVM_IRQCHIP_IOAPIC, ..Default::default() };
    vm.get_irqchip(&mut irqchip).map_err(failed("KVM_GET_IRQCHIP"))?;
    // SAFETY: `chip_id` selected this member of the union, and any bytes make a valid value of it.
    Ok(unsafe { irqchip.chip.ioapic })
}
