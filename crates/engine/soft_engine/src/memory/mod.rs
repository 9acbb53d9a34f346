//! From the guest's linear addresses to its RAM and devices.
//!
//! A load looks into the software TLB of the current view ([`tlb`]); what misses is translated by the guest's page
//! tables ([`paging`]) and remembered. [`access`] has the loads and stores that instructions use.

pub mod access;
mod code_epochs;
pub mod code_map;
pub mod journal;
pub mod order;
pub mod paging;
pub mod space;
pub mod tlb;
pub mod write_log;

use code_epochs::CodePages;
use guest_memory::{Access, Frame, Slots};
use journal::Journal;
use paging::Tables;
use tlb::{Fill, Tlb};
use write_log::WriteLog;

/// Under which rules data is accessed: each has translations of its own.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// CPL 3.
    User = 0,
    /// CPL 0 to 2, and accesses that the CPU makes on its own account.
    #[default]
    Supervisor = 1,
    /// CPL 0 to 2 while EFLAGS.AC lifts SMAP.
    SupervisorToUser = 2,
    /// Every access is looked at closely: alignment is checked, or a data breakpoint is set.
    Careful = 3,
}

/// Address spaces whose translations are kept at the same time: the six that Linux takes turns with, and one without.
const SPACES: usize = 7;

/// The translations of one address space.
struct Space<'m> {
    /// Process-context identifier (SDM vol. 3, 4.10.1).
    pcid: u16,
    /// Changes whenever a translation of code may have changed.
    epoch: u64,
    data: [Option<Tlb<'m>>; 3],
    code: [Option<Tlb<'m>>; 2],
}

impl<'m> Space<'m> {
    fn new(pcid: u16, epoch: u64) -> Space<'m> {
        Space { pcid, epoch, data: [None, None, None], code: [None, None] }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Tlb<'m>> {
        self.data.iter_mut().chain(&mut self.code).flatten()
    }
}

/// All translations of one vCPU.
pub struct Translations<'m> {
    spaces: Vec<Space<'m>>,
    current: usize,
    /// Where the next new address space goes when all places are taken.
    next_victim: usize,
    /// Where code was fetched from last.
    last_code: CodePage,
    /// Nothing matches here: for the view in which every access is looked at closely.
    nothing: Tlb<'m>,
    /// The last number that was given to translations of code.
    last_epoch: u64,
    /// Changes whenever a global translation of code may have changed.
    global_epoch: u64,
    /// Pages that code was fetched from since all numbers changed.
    code_pages: CodePages,
}

/// A page of code: its linear address, bit 0 set for user mode, its guest-physical address, and whether its
/// translation is global.
#[derive(Clone, Copy)]
struct CodePage {
    tag: u64,
    gpa: u64,
    global: bool,
}

/// No page's tag.
const NO_CODE: CodePage = CodePage { tag: u64::MAX, gpa: 0, global: false };

impl<'m> Translations<'m> {
    /// None yet.
    pub fn new() -> Translations<'m> {
        Translations {
            spaces: vec![Space::new(0, 1)],
            current: 0,
            next_victim: 0,
            last_code: NO_CODE,
            nothing: Tlb::for_data(),
            last_epoch: 2,
            global_epoch: 2,
            code_pages: CodePages::default(),
        }
    }

    /// Where the translations for data under `view` are; under `Careful`, and before the first, nothing matches.
    pub fn table(&self, view: View) -> *const tlb::Entry<'m> {
        self.data(view).unwrap_or(&self.nothing).table()
    }

    /// A number for the translations of code in the current address space: while it is the same, so are they. It is
    /// never 0.
    pub fn code_epoch(&self) -> u64 {
        self.spaces[self.current].epoch
    }

    /// As [`code_epoch`](Self::code_epoch), for the global translations of all address spaces.
    pub fn global_code_epoch(&self) -> u64 {
        self.global_epoch
    }

    /// Whether the translation by which code was fetched last is global.
    pub fn is_last_code_global(&self) -> bool {
        self.last_code.global
    }

    fn next_epoch(&mut self) -> u64 {
        self.last_epoch += 1;
        self.last_epoch
    }

    /// Translations of code that are not global may have changed in all address spaces, or in one.
    fn local_code_changes(&mut self, pcid: Option<u16>) {
        self.last_code = NO_CODE;
        for index in 0..self.spaces.len() {
            if pcid.is_none_or(|pcid| self.spaces[index].pcid == pcid) {
                self.spaces[index].epoch = self.next_epoch();
            }
        }
    }

    /// Any translation of code may have changed.
    fn code_changes(&mut self) {
        self.local_code_changes(None);
        self.global_epoch = self.next_epoch();
        self.code_pages.clear();
    }

    /// Translations for data under `view`, which is not `Careful`.
    #[inline(always)]
    pub fn data(&self, view: View) -> Option<&Tlb<'m>> {
        self.spaces[self.current].data.get(view as usize)?.as_ref()
    }

    /// Guest-physical address of code at linear `address`, if it was fetched from there last.
    #[inline(always)]
    pub fn code_address(&self, address: u64, user: bool) -> Option<u64> {
        let tag = address & !0xfff | u64::from(user);
        (self.last_code.tag == tag).then_some(self.last_code.gpa | address & 0xfff)
    }

    /// Remembers where code was fetched from last.
    pub fn set_last_code(&mut self, address: u64, user: bool, gpa: u64, global: bool) {
        self.code_pages.note(address);
        self.last_code = CodePage { tag: address & !0xfff | u64::from(user), gpa: gpa & !0xfff, global };
    }

    /// Translations for instruction fetches.
    #[inline(always)]
    pub fn code(&self, user: bool) -> Option<&Tlb<'m>> {
        self.spaces[self.current].code[usize::from(!user)].as_ref()
    }

    /// Remembers a translation for data.
    pub fn fill_data(&mut self, view: View, fill: Fill<'m>) {
        if let Some(slot) = self.spaces[self.current].data.get_mut(view as usize) {
            slot.get_or_insert_with(Tlb::for_data).fill(fill);
        }
    }

    /// Remembers a translation for instruction fetches.
    pub fn fill_code(&mut self, user: bool, fill: Fill<'m>) {
        self.spaces[self.current].code[usize::from(!user)].get_or_insert_with(Tlb::for_code).fill(fill);
    }

    /// Goes on in the address space `pcid`; `keep` says that what is remembered of it still holds.
    pub fn switch(&mut self, pcid: u16, keep: bool) {
        self.last_code = NO_CODE;
        match self.spaces.iter().position(|space| space.pcid == pcid) {
            Some(place) => {
                self.current = place;
                if !keep {
                    self.spaces[place].epoch = self.next_epoch();
                    self.spaces[place].all().for_each(Tlb::flush_local);
                }
            }
            None if self.spaces.len() < SPACES => {
                let epoch = self.next_epoch();
                self.spaces.push(Space::new(pcid, epoch));
                self.current = self.spaces.len() - 1;
            }
            None => {
                self.next_victim = (self.next_victim + 1) % SPACES;
                self.current = self.next_victim;
                let epoch = self.next_epoch();
                let space = &mut self.spaces[self.current];
                (space.pcid, space.epoch) = (pcid, epoch);
                space.all().for_each(Tlb::flush_local);
            }
        }
    }

    /// Forgets everything.
    pub fn flush(&mut self) {
        self.code_changes();
        self.all().for_each(Tlb::flush);
    }

    /// Forgets everything about data.
    pub fn flush_data(&mut self) {
        self.spaces.iter_mut().flat_map(|space| &mut space.data).flatten().for_each(Tlb::flush);
    }

    /// Forgets what is not global in all address spaces.
    pub fn flush_local(&mut self) {
        self.local_code_changes(None);
        self.all().for_each(Tlb::flush_local);
    }

    /// Forgets what is not global in one address space.
    pub fn flush_space(&mut self, pcid: u16) {
        self.local_code_changes(Some(pcid));
        for space in self.spaces.iter_mut().filter(|space| space.pcid == pcid) {
            space.all().for_each(Tlb::flush_local);
        }
    }

    /// Forgets one linear address, in all address spaces.
    pub fn flush_address(&mut self, address: u64) {
        let is_code = self.code_pages.may_hold(address)
            || self
                .spaces
                .iter()
                .flat_map(|space| space.code.iter().flatten())
                .any(|tlb| tlb.is_in_large_page(address));
        if is_code {
            self.code_changes();
        }
        self.all().for_each(|tlb| tlb.flush_address(address));
    }

    /// Makes writes to the page of RAM at `gpa` need a closer look. True if any did not before.
    pub fn protect(&mut self, gpa: u64) -> bool {
        self.all().fold(false, |found, tlb| tlb.protect(gpa) | found)
    }

    /// Makes all writes need a closer look.
    pub fn protect_all(&mut self) {
        self.all().for_each(Tlb::protect_all);
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Tlb<'m>> {
        self.spaces.iter_mut().flat_map(Space::all)
    }
}

/// Page tables in RAM.
pub struct RamTables<'m, 'j> {
    /// Where they are.
    pub memory: &'m Slots,
    /// Where they are kept before they change.
    pub journal: &'j Journal<'m>,
    /// Where their changes are recorded.
    pub log: &'m WriteLog,
}

impl<'m> RamTables<'m, '_> {
    fn place(&self, gpa: u64) -> Option<(Frame<'m>, Access, usize)> {
        let (frame, access) = self.memory.page(gpa)?;
        Some((frame, access, (gpa & 0xfff) as usize))
    }
}

impl Tables for RamTables<'_, '_> {
    fn read(&self, gpa: u64, wide: bool) -> u64 {
        match self.place(gpa) {
            Some((frame, _, offset)) if wide => frame.load::<u64>(offset),
            Some((frame, _, offset)) => frame.load::<u32>(offset).into(),
            None if wide => u64::MAX,
            None => u32::MAX.into(),
        }
    }

    fn set_bits(&self, gpa: u64, wide: bool, entry: u64, bits: u64) -> bool {
        // A ROM keeps what it has.
        let Some((frame, Access::Ram, offset)) = self.place(gpa) else { return true };
        if self.log.is_on() {
            self.log.record(gpa);
        }
        self.journal.keep(gpa, frame);
        if wide {
            frame.compare_exchange(offset, entry, entry | bits).is_ok()
        } else {
            frame.compare_exchange(offset, entry as u32, (entry | bits) as u32).is_ok()
        }
    }
}
