//! The vCPU: its state, and everything about it that is not one instruction's own business.

pub mod control;
pub mod debug;
mod devices;
pub mod event;
pub mod fault;
pub mod flags;
pub mod mode;
mod msr;
mod operand;
pub mod registers;
mod reset;
pub mod segment;
pub mod stack;
pub mod state;
pub mod task;
mod word;

use std::ops::{Deref, DerefMut};

use arch_model::x86_64::cpuid::Cpuid;
use vcpu_model::{ExitCounters, GuestIo};

pub use fault::{Exception, Exec, Raised, vector};
pub use flags::Flags;
pub use mode::Mode;
pub use registers::{Cpu, Fpu, X87Register, gpr, seg, shadow};
pub use word::Word;

use crate::memory::journal::Journal;
use crate::memory::space::Space;
use crate::memory::{Translations, View};
use crate::notices::Notice;
use crate::platform::{Lapic, Mailbox};
use crate::shared::Shared;

/// A vCPU while it executes: its state and its way to memory and devices. Lives for one
/// [`run`](vcpu_model::Vcpu::run).
#[repr(C)]
pub struct Core<'m> {
    /// What generated code has of its own; right before [`cpu`](Core::cpu).
    pub(crate) words: crate::jit::Words,
    /// Architectural state.
    pub cpu: Cpu,
    /// By which the x87 unit's state goes to generated code and back.
    pub(crate) fpu_image: crate::jit::FpuImage,
    /// Where generated code's returns lead.
    pub(crate) returns: crate::jit::Returns,
    /// The local APIC.
    pub lapic: &'m mut Lapic,
    /// What the vCPU shares with the others.
    pub shared: &'m Shared,
    /// Guest memory as the vCPU sees it.
    pub space: &'m Space,
    /// This vCPU's number.
    pub index: usize,
    /// Software TLBs.
    pub translations: Translations<'m>,
    /// The rules for data accesses now.
    pub view: View,
    /// The exception that the instruction raised, when it answered [`Raised`].
    pub fault: Option<Exception>,
    /// Something happened that the run loop has to look at before the next instruction.
    pub attention: bool,
    /// Pages and grains that were written and may have been decoded.
    pub stale_code: Vec<(u64, u64)>,
    /// Nothing that was decoded counts any more.
    pub all_code_is_stale: bool,
    /// What stores replace, while tiers are compared.
    pub journal: Journal<'m>,
    /// The vCPU cannot go on, and why.
    pub dead: Option<vcpu_model::Halt>,
    /// What CPUID answers.
    pub cpuid: &'m Cpuid,
    mailbox: &'m Mailbox,
    /// What the alarm is set to.
    alarm_ns: Option<u64>,
    io: &'m dyn GuestIo,
    counters: &'m ExitCounters,
    /// Bits for DR6 of a debug trap that is due when the instruction ends. Counts, as the next, for an instruction that is
    /// looked at alone, whose start clears both.
    debug_trap: u64,
    aftermath: debug::Aftermath,
}

/// What is around a vCPU.
#[derive(Clone, Copy)]
pub struct Surroundings<'m> {
    /// Its number.
    pub index: usize,
    /// What it shares with the others.
    pub shared: &'m Shared,
    /// Guest memory.
    pub space: &'m Space,
    /// What CPUID answers.
    pub cpuid: &'m Cpuid,
    /// The device world.
    pub io: &'m dyn GuestIo,
    /// Counters of exits.
    pub counters: &'m ExitCounters,
}

impl Deref for Core<'_> {
    type Target = Cpu;

    #[inline(always)]
    fn deref(&self) -> &Cpu {
        &self.cpu
    }
}

impl DerefMut for Core<'_> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Cpu {
        &mut self.cpu
    }
}

impl<'m> Core<'m> {
    /// A vCPU that goes on from `cpu`.
    pub fn new(cpu: Cpu, lapic: &'m mut Lapic, around: Surroundings<'m>) -> Core<'m> {
        let Surroundings { index, shared, space, cpuid, io, counters } = around;
        let mut core = Core {
            words: crate::jit::Words::default(),
            fpu_image: crate::jit::FpuImage::default(),
            returns: crate::jit::Returns::default(),
            cpu,
            lapic,
            shared,
            space,
            index,
            translations: Translations::new(),
            view: View::default(),
            fault: None,
            attention: true,
            stale_code: Vec::new(),
            all_code_is_stale: false,
            journal: Journal::default(),
            dead: None,
            cpuid,
            alarm_ns: None,
            mailbox: shared.platform.mailbox(index),
            io,
            counters,
            debug_trap: 0,
            aftermath: debug::Aftermath::default(),
        };
        core.update_mode();
        core.update_address_space(false);
        core
    }

    /// Raises `exception`: the instruction answers with what this returns.
    #[cold]
    #[inline(never)]
    pub fn raise<T>(&mut self, exception: Exception) -> Exec<T> {
        self.fault = Some(exception);
        Err(Raised(()))
    }

    /// Raises #UD.
    pub fn undefined<T>(&mut self) -> Exec<T> {
        self.raise(Exception::plain(vector::UD))
    }

    /// Raises #GP with `error`.
    pub fn general_protection<T>(&mut self, error: u32) -> Exec<T> {
        self.raise(Exception::with_error(vector::GP, error))
    }

    /// Raises #GP(0) unless CPL is 0.
    pub fn require_cpl0(&mut self) -> Exec {
        if self.cpl == 0 { Ok(()) } else { self.general_protection(0) }
    }

    /// Linear address of the instruction at RIP, after the check against CS's limit.
    #[inline(always)]
    pub fn fetch_address(&mut self) -> Exec<u64> {
        if self.mode == Mode::Long {
            return Ok(self.rip);
        }
        let code = self.segments[seg::CS];
        if self.rip > code.limit.into() {
            return self.general_protection(0);
        }
        Ok(code.base.wrapping_add(self.rip) & 0xffff_ffff)
    }

    /// The linear address of the page after the one of `address`.
    pub fn next_page(&self, address: u64) -> u64 {
        let next = (address | 0xfff).wrapping_add(1);
        if self.mode == Mode::Long { next } else { next & 0xffff_ffff }
    }

    /// Notes that bytes of the page at `gpa` are being decoded.
    pub fn code_decoded(&mut self, gpa: u64, grains: u64) {
        if self.space.code.mark(gpa, grains) {
            self.translations.protect(gpa);
            self.space.slots.watch_writes(gpa);
            self.shared.tell_others(self.index, Notice::Decoded { gpa });
        }
    }

    /// Notes that decoded bytes of the page at `gpa` were written.
    pub fn code_written(&mut self, gpa: u64, grains: u64) {
        self.stale_code.push((gpa, grains));
        self.attention = true;
        self.shared.tell_others(self.index, Notice::Written { gpa, grains });
    }

    /// Takes in what other vCPUs and devices told about code.
    pub fn take_notices(&mut self) {
        for notice in self.shared.take_notices(self.index) {
            match notice {
                Notice::Written { gpa, grains } => self.stale_code.push((gpa, grains)),
                Notice::Anything => {
                    self.all_code_is_stale = true;
                    self.translations.flush();
                }
                // If this vCPU could write the page unnoticed, it may have.
                Notice::Decoded { gpa } => {
                    if self.translations.protect(gpa) {
                        self.stale_code.push((gpa, u64::MAX));
                        self.shared.tell_others(self.index, Notice::Written { gpa, grains: u64::MAX });
                    }
                }
            }
        }
    }

    /// Whether the timer was armed or disarmed since the alarm was set.
    pub(crate) fn is_alarm_stale(&self) -> bool {
        self.alarm_ns != self.lapic.deadline_ns()
    }

    /// Sets the alarm to the timer's deadline.
    pub(crate) fn set_alarm(&mut self) {
        self.alarm_ns = self.lapic.deadline_ns();
        self.shared.alarm.set(self.index, self.alarm_ns);
    }

    /// Where generated code looks for requests.
    pub(crate) fn mailbox_address(&self) -> u64 {
        self.mailbox.pending_address()
    }

    /// Whether others want something of this vCPU.
    #[inline(always)]
    pub fn has_requests(&self) -> bool {
        self.mailbox.pending() != 0
    }

    /// Asks the run loop to deliver what waits for IF, for the priority, or for the end of an NMI's handler, if
    /// something does and now may be. Who has new requests sees to it anyway.
    pub fn recheck_interrupts(&mut self) {
        let interrupt = self.flags.has(flags::IF) && self.lapic.has_work();
        let nmi = self.nmi_pending && !self.nmi_masked;
        self.attention |= interrupt || nmi;
    }

    /// Counters of exits.
    pub fn counters(&self) -> &ExitCounters {
        self.counters
    }

    /// Guest TSC.
    pub fn tsc(&self) -> u64 {
        self.journal.note_unrepeatable();
        self.cpu.tsc.at(self.shared.platform.clock().now_ns())
    }
}
