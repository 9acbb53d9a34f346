//! The cases, a file a subject. Each names the section that says what comes out.

mod canonical;
mod code_writes;
mod control;
mod debug;
mod encodings;
mod extended;
mod faults;
mod gates;
mod interrupts;
mod paging;
mod paravirtual;
mod returns;
mod segments;
mod syscalls;
mod tasks;
mod transfers;
mod translation;

use crate::guest::Guest;
use crate::outcome::Expect;

/// A guest and what comes of it.
#[derive(Clone)]
pub struct Case {
    /// What it is about.
    pub name: String,
    /// Where the manual says so.
    pub section: &'static str,
    /// The guest.
    pub guest: Guest,
    /// The outcome.
    pub expect: Expect,
}

impl Case {
    fn new(name: impl Into<String>, section: &'static str, guest: Guest, expect: Expect) -> Case {
        Case { name: name.into(), section, guest, expect }
    }
}

/// All cases.
pub fn all() -> Vec<Case> {
    let parts = [
        segments::cases(),
        transfers::cases(),
        gates::cases(),
        tasks::cases(),
        syscalls::cases(),
        paging::cases(),
        canonical::cases(),
        faults::cases(),
        interrupts::cases(),
        debug::cases(),
        control::cases(),
        translation::cases(),
        code_writes::cases(),
        returns::cases(),
        encodings::cases(),
        extended::cases(),
        paravirtual::cases(),
    ];
    parts.into_iter().flatten().collect()
}

/// The fault that refuses something, and its error code; `None` if nothing does.
type Refusal = Option<(u8, u32)>;

/// Vectors (SDM vol. 3, table 6-1).
mod vector {
    pub(super) const DE: u8 = 0;
    pub(super) const DB: u8 = 1;
    pub(super) const NMI: u8 = 2;
    pub(super) const BP: u8 = 3;
    pub(super) const UD: u8 = 6;
    pub(super) const NM: u8 = 7;
    pub(super) const DF: u8 = 8;
    pub(super) const TS: u8 = 10;
    pub(super) const NP: u8 = 11;
    pub(super) const SS: u8 = 12;
    pub(super) const GP: u8 = 13;
    pub(super) const PF: u8 = 14;
}
