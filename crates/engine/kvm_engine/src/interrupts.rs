//! Interrupts into the guest: I/O APIC inputs, and message-signalled vectors as irqfds with a route each.
//!
//! Global system interrupts 0 to 23 are the I/O APIC's inputs; each vector takes one above them. The whole
//! routing table is handed to KVM at each change (API 4.52), so it is kept here.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use arch_model::x86_64::layout::IOAPIC_PINS;
use device_model::{EventFd, IrqLine, MsiController, MsiMessage, MsiVector, lock};
use host_sys::poll::new_event;
use kvm_bindings::{
    KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI, KVM_IRQCHIP_IOAPIC, KvmIrqRouting, kvm_irq_routing_entry,
    kvm_msi,
};
use kvm_ioctls::VmFd;
use tracing::warn;

use crate::capabilities::Capabilities;

pub(crate) struct KvmIrqLine {
    pub(crate) vm: Arc<VmFd>,
    pub(crate) gsi: u32,
}

impl IrqLine for KvmIrqLine {
    fn set_level(&self, high: bool) {
        // KVM_IRQ_LINE fails only for a line that does not exist; the machine's wiring is fixed.
        if let Err(error) = self.vm.set_irq_line(self.gsi, high) {
            warn!(gsi = self.gsi, %error, "KVM refused an interrupt line");
        }
    }
}

/// The routing table and the vectors' numbers.
pub(crate) struct Routes {
    vm: Arc<VmFd>,
    /// Vectors by number above the I/O APIC's inputs; `None` is allocated but masked.
    vectors: Mutex<BTreeMap<u32, Option<MsiMessage>>>,
}

/// Hands out vectors. Cloned into each.
#[derive(Clone)]
pub(crate) struct KvmMsi {
    routes: Arc<Routes>,
    by_irqfd: bool,
}

impl KvmMsi {
    pub(crate) fn new(vm: Arc<VmFd>, capabilities: &Capabilities) -> KvmMsi {
        let routes = Arc::new(Routes { vm, vectors: Mutex::default() });
        KvmMsi { routes, by_irqfd: capabilities.irqfd && capabilities.irq_routing }
    }
}

impl MsiController for KvmMsi {
    fn allocate(&self) -> io::Result<Arc<dyn MsiVector>> {
        if !self.by_irqfd {
            return Ok(Arc::new(DirectVector { vm: Arc::clone(&self.routes.vm), route: Mutex::new(None) }));
        }
        let mut vectors = lock(&self.routes.vectors);
        let gsi = (IOAPIC_PINS..).find(|gsi| !vectors.contains_key(gsi)).ok_or(io::ErrorKind::OutOfMemory)?;
        vectors.insert(gsi, None);
        let vector = IrqfdVector {
            routes: Arc::clone(&self.routes),
            gsi,
            event: new_event()?,
            bound: Mutex::new(false),
        };
        Ok(Arc::new(vector))
    }
}

impl Routes {
    fn set(&self, gsi: u32, message: Option<MsiMessage>) -> io::Result<()> {
        let mut vectors = lock(&self.vectors);
        if vectors.get(&gsi) == Some(&message) {
            return Ok(());
        }
        vectors.insert(gsi, message);
        let pins = (0..IOAPIC_PINS).map(ioapic_entry);
        let messages =
            vectors.iter().filter_map(|(gsi, message)| message.map(|message| msi_entry(*gsi, message)));
        let entries: Vec<_> = pins.chain(messages).collect();
        let table = KvmIrqRouting::from_entries(&entries).map_err(|_| io::ErrorKind::OutOfMemory)?;
        self.vm.set_gsi_routing(&table).map_err(|error| io::Error::from_raw_os_error(error.errno()))
    }
}

fn ioapic_entry(pin: u32) -> kvm_irq_routing_entry {
    let mut entry = kvm_irq_routing_entry { gsi: pin, type_: KVM_IRQ_ROUTING_IRQCHIP, ..Default::default() };
    entry.u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
    entry.u.irqchip.pin = pin;
    entry
}

fn msi_entry(gsi: u32, message: MsiMessage) -> kvm_irq_routing_entry {
    let mut entry = kvm_irq_routing_entry { gsi, type_: KVM_IRQ_ROUTING_MSI, ..Default::default() };
    entry.u.msi.address_lo = message.address as u32;
    entry.u.msi.address_hi = (message.address >> 32) as u32;
    entry.u.msi.data = message.data;
    entry
}

/// A vector signalled by writing an event descriptor that KVM watches (API 4.75).
struct IrqfdVector {
    routes: Arc<Routes>,
    gsi: u32,
    event: EventFd,
    /// Whether KVM watches `event` now. Held while the binding changes.
    bound: Mutex<bool>,
}

impl MsiVector for IrqfdVector {
    fn route(&self, message: Option<MsiMessage>) -> io::Result<()> {
        let mut bound = lock(&self.bound);
        let error = |error: kvm_ioctls::Error| io::Error::from_raw_os_error(error.errno());
        if message.is_none() && *bound {
            self.routes.vm.unregister_irqfd(&self.event, self.gsi).map_err(error)?;
            *bound = false;
        }
        self.routes.set(self.gsi, message)?;
        if message.is_some() && !*bound {
            // What was signalled while there was no route is not to be delivered late.
            let _ = self.event.read();
            self.routes.vm.register_irqfd(&self.event, self.gsi).map_err(error)?;
            *bound = true;
        }
        Ok(())
    }

    fn signal(&self) {
        // Fails only when the counter is at its end, and then KVM has been told.
        let _ = self.event.write(1);
    }
}

impl Drop for IrqfdVector {
    fn drop(&mut self) {
        if let Err(error) = self.route(None) {
            warn!(gsi = self.gsi, %error, "KVM kept an interrupt route");
        }
        lock(&self.routes.vectors).remove(&self.gsi);
    }
}

/// A vector signalled by a system call (API 4.70), where KVM has no irqfd.
struct DirectVector {
    vm: Arc<VmFd>,
    route: Mutex<Option<MsiMessage>>,
}

impl MsiVector for DirectVector {
    fn route(&self, message: Option<MsiMessage>) -> io::Result<()> {
        *lock(&self.route) = message;
        Ok(())
    }

    fn signal(&self) {
        let Some(message) = *lock(&self.route) else { return };
        let msi = kvm_msi {
            address_lo: message.address as u32,
            address_hi: (message.address >> 32) as u32,
            data: message.data,
            ..Default::default()
        };
        // An address outside the LAPIC window is the guest's mistake and reaches nobody, as on hardware.
        let _ = self.vm.signal_msi(msi);
    }
}
