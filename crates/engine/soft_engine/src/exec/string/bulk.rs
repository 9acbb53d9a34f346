//! Many elements of MOVS and STOS at once: upward, inside one page on each side, both RAM that needs no closer look.

use guest_memory::{Frame, PAGE_SIZE};

use super::{advance_by, pointer};
use crate::cpu::flags::DF;
use crate::cpu::{Core, Word, gpr, seg};
use crate::decode::insn::Insn;
use crate::exec::wrap;
use crate::memory::paging::Kind;

/// Moves up to `left` elements. `None`: the next one has to be moved alone.
pub(super) fn movs<T: Word>(core: &mut Core<'_>, insn: &Insn, left: u64) -> Option<u64> {
    let bytes = bytes_of::<T>(core, left)?;
    let source = stretch(core, insn, (insn.segment.into(), gpr::RSI, Kind::Read), bytes)?;
    let target = stretch(core, insn, (seg::ES, gpr::RDI, Kind::Write), source.len)?;
    let elements = target.len / T::BYTES as u64;
    let len = elements * T::BYTES as u64;
    // How far the target starts inside what is still to be read.
    let ahead = target.gpa.wrapping_sub(source.gpa);
    if elements == 0 || (ahead != 0 && ahead < T::BYTES as u64) {
        return None;
    }
    copy_upward(&source, &target, ahead as usize, len as usize);
    advance_by(core, insn, gpr::RSI, len);
    advance_by(core, insn, gpr::RDI, len);
    Some(elements)
}

/// Stores up to `left` elements. `None`: the next one has to be stored alone.
pub(super) fn stos<T: Word>(core: &mut Core<'_>, insn: &Insn, left: u64) -> Option<u64> {
    let bytes = bytes_of::<T>(core, left)?;
    let target = stretch(core, insn, (seg::ES, gpr::RDI, Kind::Write), bytes)?;
    let elements = target.len / T::BYTES as u64;
    if elements == 0 {
        return None;
    }
    let value: T = core.get_reg(gpr::RAX);
    let (start, len) = (target.offset(), (elements * T::BYTES as u64) as usize);
    let bytes = value.to_u64().to_le_bytes();
    if bytes[..T::BYTES].iter().all(|byte| *byte == bytes[0]) {
        target.frame.fill(start, len, bytes[0]);
    } else {
        (start..start + len).step_by(T::BYTES).for_each(|offset| target.frame.store(offset, value));
    }
    advance_by(core, insn, gpr::RDI, len as u64);
    Some(elements)
}

/// A run of bytes in one page of RAM.
struct Stretch<'m> {
    frame: Frame<'m>,
    gpa: u64,
    len: u64,
}

impl Stretch<'_> {
    fn offset(&self) -> usize {
        (self.gpa % PAGE_SIZE) as usize
    }
}

/// Bytes to look for; `None` where strings go downward.
fn bytes_of<T: Word>(core: &Core<'_>, left: u64) -> Option<u64> {
    (!core.flags.has(DF)).then(|| left.min(PAGE_SIZE).wrapping_mul(T::BYTES as u64).min(PAGE_SIZE))
}

/// What the software TLB knows of up to `len` bytes at a string pointer.
fn stretch<'m>(
    core: &mut Core<'m>,
    insn: &Insn,
    (segment, register, kind): (usize, usize, Kind),
    len: u64,
) -> Option<Stretch<'m>> {
    let offset = pointer(core, insn, register);
    let before_wrap = wrap(insn.address_size, u64::MAX) - offset;
    let address = linear(core, segment, offset, 1, kind)?;
    let len = len.min(before_wrap.saturating_add(1)).min(PAGE_SIZE - address % PAGE_SIZE);
    linear(core, segment, offset, len as u32, kind)?;
    let entry = core.translations.data(core.view)?.entry(address);
    let tag = if kind == Kind::Write { entry.write } else { entry.read };
    if tag ^ address >= PAGE_SIZE {
        return None;
    }
    Some(Stretch { frame: entry.frame?, gpa: entry.gpa() + address % PAGE_SIZE, len })
}

/// A linear address, if all of the bytes are inside the segment; what is wrong else is raised by the single element.
fn linear(core: &mut Core<'_>, segment: usize, offset: u64, len: u32, kind: Kind) -> Option<u64> {
    let address = core.linear(segment, offset, len, kind).ok();
    if address.is_none() {
        core.fault = None;
    }
    address
}

/// Copies byte by byte in ascending order, as far as one can see: where the target starts `ahead` bytes inside the
/// source, the first `ahead` bytes are repeated.
fn copy_upward(source: &Stretch<'_>, target: &Stretch<'_>, ahead: usize, len: usize) {
    let (from, to) = (source.offset(), target.offset());
    if ahead == 0 {
        return;
    }
    if ahead >= len {
        return target.frame.copy_from(to, source.frame, from, len);
    }
    if ahead == 1 {
        return target.frame.fill(to, len, source.frame.load(from));
    }
    let mut done = 0;
    while done < len {
        // Always a multiple of `ahead` but at the end, so each piece starts where the pattern does.
        let piece = (len - done).min(done + ahead);
        target.frame.copy_from(to + done, source.frame, from, piece);
        done += piece;
    }
}
