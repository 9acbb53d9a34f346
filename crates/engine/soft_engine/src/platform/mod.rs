//! Interrupt controllers and clocks.
//!
//! ```text
//!  devices ── set_irq ──► IoApic ─┐
//!          ── MSI ────────────────┼─► Message ─► Platform::deliver ─► Mailbox of each vCPU that it is for
//!  vCPU ──── ICR ─► Lapic ────────┘                                       │ IRR, TMR, requests
//!    ▲                                                                    ▼
//!    └──────────────── accept ◄──────────────── Lapic of that vCPU ◄──────┘
//! ```
//!
//! What other threads may touch of a vCPU is its [`Mailbox`](mailbox::Mailbox), which is atomics (and
//! its TSC behind a lock that is taken alone); its [`Lapic`] belongs to the
//! thread that runs it. Lock order: the [`IoApic`](ioapic::IoApic)'s lock, then a mailbox's sleep lock, which
//! is the innermost; [`Exclusive`](exclusive::Exclusive)'s may be held when a sleep lock is taken. The clock's lock is taken alone.
//!
//! Saved states have KVM's layout and meaning, so that they move between the engines.

mod alarm;
mod clock;
mod doorbells;
mod exclusive;
mod halt_poll;
mod ioapic;
mod kvmclock;
mod lapic;
mod lines;
mod mailbox;
mod message;
mod paravirtual;
mod router;
mod target;
mod tsc;
mod turn;
mod vectors;

pub(crate) use alarm::Alarm;
pub(crate) use doorbells::DoorbellMap;
pub(crate) use exclusive::Exclusive;
pub(crate) use kvmclock::{TimeInfo, WallClock};
pub(crate) use lapic::Lapic;
pub(crate) use lines::{SoftIrqLine, SoftMsi};
pub(crate) use mailbox::{Mailbox, Request};
pub(crate) use paravirtual::SendIpi;
pub(crate) use router::Platform;
pub(crate) use tsc::{TSC_KHZ, Tsc};
pub(crate) use turn::Turn;
