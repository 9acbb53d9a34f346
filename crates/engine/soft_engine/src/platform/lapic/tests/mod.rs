mod delivery;
mod modes;
mod registers;
mod state;
mod timer;

use std::time::Duration;

use device_model::fake::FakeClock;

use super::registers::index;
use super::*;
use crate::platform::Request;

/// A VM's local APICs on a clock that is moved by hand.
struct Fixture {
    clock: Arc<FakeClock>,
    platform: Arc<Platform>,
    apics: Vec<Lapic>,
}

impl Fixture {
    /// As after power-on.
    fn power_on(vcpus: u32) -> Fixture {
        let clock = Arc::new(FakeClock::default());
        let platform = Arc::new(Platform::new(vcpus, clock.clone()));
        let apics = (0..vcpus as usize).map(|index| Lapic::new(Arc::clone(&platform), index)).collect();
        Fixture { clock, platform, apics }
    }

    /// xAPIC mode, enabled.
    fn xapic(vcpus: u32) -> Fixture {
        let mut f = Fixture::power_on(vcpus);
        f.apics.iter_mut().for_each(|apic| apic.write(at(index::SVR), 0x1ff));
        f
    }

    /// x2APIC mode, enabled.
    fn x2apic(vcpus: u32) -> Fixture {
        let mut f = Fixture::xapic(vcpus);
        for apic in &mut f.apics {
            apic.set_apic_base(apic.apic_base() | 1 << 10).unwrap();
        }
        f
    }

    fn advance(&self, nanos: u64) {
        self.clock.advance(Duration::from_nanos(nanos));
    }

    /// Takes the requests of every vCPU.
    fn requests(&self) -> Vec<Request> {
        self.platform.mailboxes().iter().map(|mailbox| mailbox.take(Request::ALL)).collect()
    }

    /// Accepts and ends one interrupt at every vCPU.
    fn interrupts(&mut self) -> Vec<Option<u8>> {
        self.apics
            .iter_mut()
            .map(|apic| {
                let vector = apic.accept();
                apic.end_of_interrupt();
                vector
            })
            .collect()
    }
}

/// Offset of a register in the page.
fn at(register: usize) -> u64 {
    register as u64 * 16
}

/// Number of a register's MSR.
fn msr(register: usize) -> u32 {
    0x800 + register as u32
}

const NOTHING: Request = Request(0);
