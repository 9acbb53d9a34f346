//! Loads and stores of instructions: segment and offset → linear address → RAM or device.
//!
//! Every function either does all of its access or raises an exception and does none.
//!
//! A locked access inside one cache line is the host's own. One that crosses a line's or a page's end is done while the
//! other vCPUs stand still (`platform/exclusive.rs`), and so is one to a device: what it reads and writes can then be
//! several accesses, and no load or store of another vCPU, split or whole, comes in between. The host never sees a split
//! lock, which would stop its other processors and which it may forbid its programs
//! ([ADR 20](../../../../../docs/adr/0020-split-locks-stop-the-other-vcpus.md)).

use guest_memory::{Frame, PAGE_SIZE};

use super::paging::{self, Access, Kind};
use super::space::Space;
use super::tlb::Fill;
use super::{RamTables, View, code_map, order};
use crate::cpu::mode::{cr0, cr4};
use crate::cpu::{Core, Exception, Exec, Word, flags, seg, vector};

/// What a processor locks at once (SDM vol. 3, 9.1.2.2), on guest and host.
pub const LINE_BYTES: u64 = 64;

/// Where one piece of an access, inside one page, leads.
#[derive(Clone, Copy)]
enum Target<'m> {
    Ram {
        frame: Frame<'m>,
        gpa: u64,
    },
    /// Reads come from the page, writes go to whoever watches them.
    Rom {
        frame: Frame<'m>,
        gpa: u64,
    },
    Device {
        gpa: u64,
    },
}

/// A linear access as it comes from an instruction.
#[derive(Clone, Copy)]
struct Place {
    address: u64,
    /// Segment by which it was made, which decides between #SS and #GP.
    segment: usize,
    view: View,
}

/// Whether `size` bytes at `address` cross the end of a cache line.
pub fn is_split(address: u64, size: usize) -> bool {
    address % LINE_BYTES > LINE_BYTES - size as u64
}

fn is_canonical(address: u64) -> bool {
    (address as i64) << 16 >> 16 == address as i64
}

impl<'m> Core<'m> {
    /// Loads an integer at `offset` of a segment.
    #[inline(always)]
    pub fn load<T: Word>(&mut self, segment: usize, offset: u64) -> Exec<T> {
        let address = self.linear(segment, offset, T::BYTES as u32, Kind::Read)?;
        self.load_at(Place { address, segment, view: self.view })
    }

    /// Stores an integer at `offset` of a segment.
    #[inline(always)]
    pub fn store<T: Word>(&mut self, segment: usize, offset: u64, value: T) -> Exec {
        let address = self.linear(segment, offset, T::BYTES as u32, Kind::Write)?;
        self.store_at(Place { address, segment, view: self.view }, value)
    }

    /// Replaces an integer in memory by what `change` makes of it; answers what was there before. Atomic if
    /// `locked`; then `change` may be called several times.
    pub fn modify<T: Word>(
        &mut self,
        segment: usize,
        offset: u64,
        locked: bool,
        mut change: impl FnMut(T) -> T,
    ) -> Exec<T> {
        let address = self.linear(segment, offset, T::BYTES as u32, Kind::Write)?;
        let place = Place { address, segment, view: self.view };
        if let Some(frame) = self.writable_frame(place, T::BYTES as u64)
            && !(locked && is_split(address, T::BYTES))
        {
            return Ok(change_in(frame, (address % PAGE_SIZE) as usize, locked, &mut change));
        }
        self.modify_slowly(place, locked, change)
    }

    /// Loads `N` bytes at `offset` of a segment.
    pub fn load_bytes<const N: usize>(&mut self, segment: usize, offset: u64) -> Exec<[u8; N]> {
        let mut bytes = [0; N];
        self.load_slice(segment, offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Loads as many bytes as `out` holds, at most a page.
    pub fn load_slice(&mut self, segment: usize, offset: u64, out: &mut [u8]) -> Exec {
        let address = self.linear(segment, offset, out.len() as u32, Kind::Read)?;
        let place = Place { address, segment, view: self.view };
        if let Some(entry) = self.translations.data(place.view).map(|tlb| tlb.entry(address))
            && entry.read ^ address <= PAGE_SIZE - out.len() as u64
            && let Some(frame) = entry.frame
        {
            frame.read((address % PAGE_SIZE) as usize, out);
            return Ok(());
        }
        self.load_pieces(place, out)
    }

    /// Stores `bytes`, at most a page.
    pub fn store_slice(&mut self, segment: usize, offset: u64, bytes: &[u8]) -> Exec {
        let address = self.linear(segment, offset, bytes.len() as u32, Kind::Write)?;
        let place = Place { address, segment, view: self.view };
        match self.writable_frame(place, bytes.len() as u64) {
            Some(frame) => {
                frame.write((address % PAGE_SIZE) as usize, bytes);
                Ok(())
            }
            None => self.store_pieces(place, bytes),
        }
    }

    /// Replaces 16 bytes, aligned, if they are `current`; answers what was there. Always checks for writing.
    pub fn exchange_16(
        &mut self,
        segment: usize,
        offset: u64,
        current: [u64; 2],
        new: [u64; 2],
    ) -> Exec<[u64; 2]> {
        let address = self.linear(segment, offset, 16, Kind::Write)?;
        if !address.is_multiple_of(16) {
            return self.raise(Exception::with_error(vector::GP, 0));
        }
        let place = Place { address, segment, view: self.view };
        match self.target(place, 16, Kind::Write)? {
            Target::Ram { frame, gpa } if guest_memory::has_exchange_16() => {
                let found = frame.compare_exchange_16((gpa % PAGE_SIZE) as usize, current, new);
                self.written(gpa, 16);
                Ok(found.unwrap_or_else(|found| found))
            }
            target => Ok(self.while_others_stand_still(|core| {
                let mut bytes = [0; 16];
                core.read_piece(target, &mut bytes);
                let found = u128::from_le_bytes(bytes);
                let found = [found as u64, (found >> 64) as u64];
                let stored = if found == current { new } else { found };
                core.write_piece(target, stored.map(u64::to_le_bytes).as_flattened());
                found
            })),
        }
    }

    /// Checks that `len` bytes (at most a page) at `offset` may be written, without writing: for instructions whose
    /// last step must not fail.
    pub fn probe_write(&mut self, segment: usize, offset: u64, len: u32) -> Exec {
        let address = self.linear(segment, offset, len, Kind::Write)?;
        self.pieces(Place { address, segment, view: self.view }, len as usize, Kind::Write).map(drop)
    }

    /// A load that the CPU makes on its own account, at a linear address: descriptor tables, task state.
    pub fn load_system<T: Word>(&mut self, address: u64) -> Exec<T> {
        let address = address & self.linear_mask();
        self.load_at(Place { address, segment: seg::DS, view: View::Supervisor })
    }

    /// A store that the CPU makes on its own account, at a linear address.
    pub fn store_system<T: Word>(&mut self, address: u64, value: T) -> Exec {
        let address = address & self.linear_mask();
        self.store_at(Place { address, segment: seg::DS, view: View::Supervisor }, value)
    }

    /// Raises what an access of the CPU's own to `len` bytes, at most a page, at a linear address would raise.
    pub fn probe_system(&mut self, address: u64, len: u32, kind: Kind) -> Exec {
        let address = address & self.linear_mask();
        self.pieces(Place { address, segment: seg::DS, view: View::Supervisor }, len as usize, kind).map(drop)
    }

    /// A push of event delivery: with supervisor privilege whatever CPL was, on the stack at a linear address.
    pub fn store_stack<T: Word>(&mut self, address: u64, value: T, user: bool) -> Exec {
        let view = if user { View::User } else { View::Supervisor };
        let address = address & self.linear_mask();
        self.store_at(Place { address, segment: seg::SS, view }, value)
    }

    /// Guest-physical address of the code at linear `address`; raises what a fetch from there raises.
    #[inline(always)]
    pub fn code_address(&mut self, address: u64) -> Exec<u64> {
        match self.translations.code_address(address, self.cpl == 3) {
            Some(gpa) => Ok(gpa),
            None => self.code_address_elsewhere(address),
        }
    }

    #[inline(never)]
    fn code_address_elsewhere(&mut self, address: u64) -> Exec<u64> {
        let user = self.cpl == 3;
        let known = self.translations.code(user).map(|tlb| tlb.entry(address));
        let (gpa, global) = match known {
            Some(entry) if entry.read ^ address < PAGE_SIZE => {
                (entry.gpa() | (address % PAGE_SIZE), entry.is_global())
            }
            _ => self.code_address_by_tables(address, user)?,
        };
        self.translations.set_last_code(address, user, gpa, global);
        Ok(gpa)
    }

    /// The guest-physical address, and whether the translation is global.
    fn code_address_by_tables(&mut self, address: u64, user: bool) -> Exec<(u64, bool)> {
        if self.mode == crate::cpu::Mode::Long && !is_canonical(address) {
            return self.raise(Exception::with_error(vector::GP, 0));
        }
        let found = self.translate(address, Access { kind: Kind::Fetch, user, implicit: false })?;
        if let Some(frame) = self.space.slots.frame(found.gpa) {
            let (page, gpa) = (address & !(PAGE_SIZE - 1), found.gpa & !(PAGE_SIZE - 1));
            let paging::Translation { global, size_bytes, .. } = found;
            self.translations.fill_code(user, Fill { page, gpa, frame, writable: false, global, size_bytes });
        }
        Ok((found.gpa, found.global))
    }

    /// A linear address from a segment and an offset, with the checks that the mode asks for (SDM vol. 3, 5.3).
    #[inline(always)]
    pub fn linear(&mut self, segment: usize, offset: u64, len: u32, kind: Kind) -> Exec<u64> {
        if self.mode == crate::cpu::Mode::Long {
            return Ok(self.bases[segment].wrapping_add(offset));
        }
        self.linear_checked(segment, offset, len, kind)
    }

    #[inline(always)]
    fn load_at<T: Word>(&mut self, place: Place) -> Exec<T> {
        if let Some(tlb) = self.translations.data(place.view) {
            let entry = tlb.entry(place.address);
            if entry.read ^ place.address <= PAGE_SIZE - T::BYTES as u64
                && let Some(frame) = entry.frame
            {
                return Ok(frame.load((place.address % PAGE_SIZE) as usize));
            }
        }
        self.load_slowly(place)
    }

    #[inline(always)]
    fn store_at<T: Word>(&mut self, place: Place, value: T) -> Exec {
        if let Some(frame) = self.writable_frame(place, T::BYTES as u64) {
            frame.store((place.address % PAGE_SIZE) as usize, value);
            return Ok(());
        }
        self.store_slowly(place, value)
    }

    /// The page, if `len` bytes at `place` are inside it and may be written without a closer look.
    #[inline(always)]
    fn writable_frame(&self, place: Place, len: u64) -> Option<Frame<'m>> {
        let entry = self.translations.data(place.view)?.entry(place.address);
        if entry.write ^ place.address <= PAGE_SIZE - len { entry.frame } else { None }
    }

    #[cold]
    #[inline(never)]
    fn load_slowly<T: Word>(&mut self, place: Place) -> Exec<T> {
        self.check_alignment(place, T::BYTES)?;
        if place.address % PAGE_SIZE > PAGE_SIZE - T::BYTES as u64 {
            let mut bytes = [0; 8];
            self.load_pieces(place, &mut bytes[..T::BYTES])?;
            return Ok(T::from_u64(u64::from_le_bytes(bytes)));
        }
        match self.target(place, T::BYTES, Kind::Read)? {
            Target::Ram { frame, gpa } | Target::Rom { frame, gpa } => {
                Ok(frame.load((gpa % PAGE_SIZE) as usize))
            }
            Target::Device { gpa } => Ok(self.device_load(gpa)),
        }
    }

    #[cold]
    #[inline(never)]
    fn store_slowly<T: Word>(&mut self, place: Place, value: T) -> Exec {
        self.check_alignment(place, T::BYTES)?;
        if place.address % PAGE_SIZE > PAGE_SIZE - T::BYTES as u64 {
            return self.store_pieces(place, &value.to_u64().to_le_bytes()[..T::BYTES]);
        }
        match self.target(place, T::BYTES, Kind::Write)? {
            Target::Ram { frame, gpa } => {
                frame.store((gpa % PAGE_SIZE) as usize, value);
                self.written(gpa, T::BYTES);
            }
            Target::Rom { gpa, .. } | Target::Device { gpa } => self.device_store(gpa, value),
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn modify_slowly<T: Word>(
        &mut self,
        place: Place,
        locked: bool,
        mut change: impl FnMut(T) -> T,
    ) -> Exec<T> {
        self.check_alignment(place, T::BYTES)?;
        if locked && is_split(place.address, T::BYTES) {
            return self.while_others_stand_still(|core| core.modify_in_pieces(place, change));
        }
        if place.address % PAGE_SIZE > PAGE_SIZE - T::BYTES as u64 {
            return self.modify_in_pieces(place, change);
        }
        match self.target(place, T::BYTES, Kind::Write)? {
            Target::Ram { frame, gpa } => {
                let old = change_in(frame, (gpa % PAGE_SIZE) as usize, locked, &mut change);
                self.written(gpa, T::BYTES);
                Ok(old)
            }
            Target::Rom { frame, gpa } => {
                let old = frame.load((gpa % PAGE_SIZE) as usize);
                self.device_store(gpa, change(old));
                Ok(old)
            }
            Target::Device { gpa } => {
                let mut on_device = |core: &mut Self| {
                    let old = core.device_load(gpa);
                    core.device_store(gpa, change(old));
                    old
                };
                Ok(if locked { self.while_others_stand_still(on_device) } else { on_device(self) })
            }
        }
    }

    /// [`modify`](Core::modify) of what may reach into a second page, and not atomic.
    fn modify_in_pieces<T: Word>(&mut self, place: Place, mut change: impl FnMut(T) -> T) -> Exec<T> {
        self.pieces(place, T::BYTES, Kind::Write)?;
        let mut bytes = [0; 8];
        self.load_pieces(place, &mut bytes[..T::BYTES])?;
        let old = T::from_u64(u64::from_le_bytes(bytes));
        self.store_pieces(place, &change(old).to_u64().to_le_bytes()[..T::BYTES])?;
        Ok(old)
    }

    /// Does `work` as a locked access: no other vCPU executes anything meanwhile, and what was stored before is seen.
    fn while_others_stand_still<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        let (shared, index) = (self.shared, self.index);
        let result = shared.exclusive.run_alone(index, &shared.platform, || work(self));
        order::drain_stores();
        result
    }

    fn load_pieces(&mut self, place: Place, out: &mut [u8]) -> Exec {
        let (first, second) = self.pieces(place, out.len(), Kind::Read)?;
        let (head, tail) = out.split_at_mut(first_len(place.address, out.len()));
        self.read_piece(first, head);
        if let Some(second) = second {
            self.read_piece(second, tail);
        }
        Ok(())
    }

    fn store_pieces(&mut self, place: Place, bytes: &[u8]) -> Exec {
        let (first, second) = self.pieces(place, bytes.len(), Kind::Write)?;
        let (head, tail) = bytes.split_at(first_len(place.address, bytes.len()));
        self.write_piece(first, head);
        if let Some(second) = second {
            self.write_piece(second, tail);
        }
        Ok(())
    }

    /// Translates an access that may reach into a second page, all of it before anything is done.
    fn pieces(&mut self, place: Place, len: usize, kind: Kind) -> Exec<(Target<'m>, Option<Target<'m>>)> {
        self.check_canonical(place, len)?;
        let head = first_len(place.address, len);
        let first = self.target(place, head, kind)?;
        if head == len {
            return Ok((first, None));
        }
        let address = place.address.wrapping_add(head as u64) & self.linear_mask();
        let second = self.target(Place { address, ..place }, len - head, kind)?;
        Ok((first, Some(second)))
    }

    fn read_piece(&mut self, target: Target<'m>, out: &mut [u8]) {
        match target {
            Target::Ram { frame, gpa } | Target::Rom { frame, gpa } => {
                frame.read((gpa % PAGE_SIZE) as usize, out);
            }
            Target::Device { gpa } => self.device_read(gpa, out),
        }
    }

    fn write_piece(&mut self, target: Target<'m>, bytes: &[u8]) {
        match target {
            Target::Ram { frame, gpa } => {
                frame.write((gpa % PAGE_SIZE) as usize, bytes);
                self.written(gpa, bytes.len());
            }
            Target::Rom { gpa, .. } | Target::Device { gpa } => self.device_write(gpa, bytes),
        }
    }

    /// Translates the address of `len` bytes inside one page and remembers it where that is allowed.
    fn target(&mut self, place: Place, len: usize, kind: Kind) -> Exec<Target<'m>> {
        let Place { address, view, .. } = place;
        self.check_canonical(place, 1)?;
        let (user, implicit) = match view {
            View::User => (true, false),
            // The CPU's own accesses come with this view too, so EFLAGS.AC never counts in it.
            View::Supervisor => (false, true),
            View::SupervisorToUser => (false, false),
            View::Careful => (self.cpl == 3, false),
        };
        let found = self.translate(address, Access { kind, user, implicit })?;
        if view == View::Careful {
            self.note_data_breakpoints(address, len, kind == Kind::Write);
        }
        let Some((frame, access)) = self.space.slots.page(found.gpa) else {
            return Ok(Target::Device { gpa: found.gpa });
        };
        let is_rom = access == guest_memory::Access::Rom;
        if is_rom && kind == Kind::Write {
            return Ok(Target::Rom { frame, gpa: found.gpa });
        }
        let (page, gpa) = (address & !(PAGE_SIZE - 1), found.gpa & !(PAGE_SIZE - 1));
        if kind == Kind::Write && self.space.log.is_on() {
            self.space.log.record(gpa);
        }
        self.journal.look(gpa);
        if kind == Kind::Write {
            self.journal.keep(gpa, frame);
        }
        let recorded = kind == Kind::Write || !(self.space.log.is_on() || self.journal.is_open());
        let writable = found.writable && recorded && !is_rom && self.space.code.grains(gpa) == 0;
        let fill = Fill { page, gpa, frame, writable, global: found.global, size_bytes: found.size_bytes };
        self.translations.fill_data(view, fill);
        Ok(Target::Ram { frame, gpa: found.gpa })
    }

    /// Makes an access of `size` bytes at linear `address` hit the TLB. False if it never does: it leaves its page, is
    /// one to a device or to decoded code, or is recorded anew each time. Raises what the access raises.
    pub fn prepare_access(&mut self, address: u64, size: u32, write: bool, segment: u8) -> Exec<bool> {
        let size = size as usize;
        if address % PAGE_SIZE > PAGE_SIZE - size as u64 {
            return Ok(false);
        }
        let place = Place { address, segment: segment.into(), view: self.view };
        self.target(place, size, if write { Kind::Write } else { Kind::Read })?;
        let Some(tlb) = self.translations.data(self.view) else { return Ok(false) };
        let entry = tlb.entry(address);
        let tag = if write { entry.write } else { entry.read };
        Ok(tag ^ address <= PAGE_SIZE - size as u64)
    }

    fn translate(&mut self, address: u64, access: Access) -> Exec<paging::Translation> {
        let Space { slots, log, .. } = self.space;
        let tables = RamTables { memory: slots, log, journal: &self.journal };
        match paging::translate(&self.cpu, &tables, address, access) {
            Ok(found) => Ok(found),
            Err(fault) => self.raise(fault),
        }
    }

    /// After a store of `len` bytes to RAM that took the slow way: drops what was decoded there.
    fn written(&mut self, gpa: u64, len: usize) {
        let bits = self.space.code.take(gpa, code_map::grains_of(gpa, len));
        if bits != 0 {
            self.code_written(gpa & !(PAGE_SIZE - 1), bits);
        }
    }

    /// #AC (SDM vol. 3, 6.15): only in the careful view, which is the current one when alignment is checked.
    fn check_alignment(&mut self, place: Place, size: usize) -> Exec {
        self.check_canonical(place, size)?;
        let checked = place.view == View::Careful
            && self.cpl == 3
            && self.cr0 & cr0::AM != 0
            && self.flags.has(flags::AC);
        if checked && !place.address.is_multiple_of(size as u64) {
            return self.raise(Exception::with_error(vector::AC, 0));
        }
        Ok(())
    }

    /// #GP, or #SS for the stack segment, if a byte of the access has no canonical address: before alignment and page
    /// tables are looked at.
    fn check_canonical(&mut self, place: Place, len: usize) -> Exec {
        let last = place.address.wrapping_add(len as u64 - 1);
        if self.efer & crate::cpu::mode::efer::LMA == 0 || (is_canonical(place.address) && is_canonical(last))
        {
            return Ok(());
        }
        let vector = if place.segment == seg::SS { vector::SS } else { vector::GP };
        self.raise(Exception::with_error(vector, 0))
    }

    fn linear_mask(&self) -> u64 {
        if self.efer & crate::cpu::mode::efer::LMA != 0 { u64::MAX } else { u32::MAX.into() }
    }

    /// Chooses the view for data anew, after CPL, EFLAGS.AC, CR0.AM, CR4.SMAP or the breakpoints have changed.
    pub fn update_view(&mut self) {
        let user = self.cpl == 3;
        let lifted = self.flags.has(flags::AC);
        self.view = if self.has_data_breakpoints() || (user && lifted && self.cr0 & cr0::AM != 0) {
            View::Careful
        } else if user {
            View::User
        } else if lifted && self.cr4 & cr4::SMAP != 0 {
            View::SupervisorToUser
        } else {
            View::Supervisor
        };
    }
}

/// How many of `len` bytes at `address` are in its page.
fn first_len(address: u64, len: usize) -> usize {
    len.min((PAGE_SIZE - address % PAGE_SIZE) as usize)
}

fn change_in<T: Word>(frame: Frame<'_>, offset: usize, locked: bool, change: &mut impl FnMut(T) -> T) -> T {
    let mut old = frame.load(offset);
    if !locked {
        frame.store(offset, change(old));
        return old;
    }
    loop {
        match frame.compare_exchange(offset, old, change(old)) {
            Ok(old) => return old,
            Err(found) => old = found,
        }
    }
}
