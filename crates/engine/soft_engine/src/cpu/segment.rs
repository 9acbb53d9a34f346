//! Segmentation: descriptors, loading of segment registers, limit checks (SDM vol. 3, ch. 3 and 5).

use arch_model::x86_64::Segment;

use super::mode::{cr0, efer};
use super::{Core, Exception, Exec, Mode, flags, seg, vector};
use crate::memory::paging::Kind;

/// Types of system descriptors (SDM vol. 3, table 3-2).
pub mod system_type {
    pub const TSS16: u8 = 1;
    pub const LDT: u8 = 2;
    pub const TSS16_BUSY: u8 = 3;
    pub const CALL_GATE16: u8 = 4;
    pub const TASK_GATE: u8 = 5;
    pub const INTERRUPT_GATE16: u8 = 6;
    pub const TRAP_GATE16: u8 = 7;
    pub const TSS: u8 = 9;
    pub const TSS_BUSY: u8 = 11;
    pub const CALL_GATE: u8 = 12;
    pub const INTERRUPT_GATE: u8 = 14;
    pub const TRAP_GATE: u8 = 15;
}

/// Code segment types: bit 3. Conforming, or expand-down for data: bit 2. Readable code, writable data: bit 1.
const CODE: u8 = 8;
const CONFORMING: u8 = 4;
const EXPAND_DOWN: u8 = 4;
const READ_WRITE: u8 = 2;
const ACCESSED: u8 = 1;

/// Requested privilege level of a selector.
pub fn rpl(selector: u16) -> u8 {
    (selector & 3) as u8
}

/// Whether a selector is null.
pub fn is_null(selector: u16) -> bool {
    selector & !3 == 0
}

/// Error code that names a selector.
pub fn selector_error(selector: u16) -> u32 {
    u32::from(selector & !3)
}

/// What [`Segment::kind`] says, for code and data segments.
pub trait SegmentType {
    /// It holds code.
    fn is_code(&self) -> bool;
    /// Conforming code.
    fn is_conforming(&self) -> bool;
    /// Data that may be written.
    fn is_writable(&self) -> bool;
    /// Data, or code that may be read.
    fn is_readable(&self) -> bool;
}

impl SegmentType for Segment {
    fn is_code(&self) -> bool {
        self.code_or_data && self.kind & CODE != 0
    }

    fn is_conforming(&self) -> bool {
        self.is_code() && self.kind & CONFORMING != 0
    }

    fn is_writable(&self) -> bool {
        self.code_or_data && self.kind & (CODE | READ_WRITE) == READ_WRITE
    }

    fn is_readable(&self) -> bool {
        self.code_or_data && (self.kind & CODE == 0 || self.kind & READ_WRITE != 0)
    }
}

/// A descriptor as it stands in a table, and where.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    /// Its 8 bytes.
    pub raw: u64,
    /// Linear address.
    pub address: u64,
}

impl Descriptor {
    /// As a segment register's hidden part; `selector` becomes the visible one.
    pub fn segment(self, selector: u16) -> Segment {
        let raw = self.raw;
        let limit = (raw & 0xffff) as u32 | (raw >> 32) as u32 & 0xf_0000;
        let granular = raw >> 55 & 1 == 1;
        Segment {
            selector,
            base: raw >> 16 & 0xff_ffff | (raw >> 56) << 24,
            limit: if granular { limit << 12 | 0xfff } else { limit },
            kind: (raw >> 40 & 0xf) as u8,
            code_or_data: raw >> 44 & 1 == 1,
            dpl: (raw >> 45 & 3) as u8,
            present: raw >> 47 & 1 == 1,
            available: raw >> 52 & 1 == 1,
            long: raw >> 53 & 1 == 1,
            default_big: raw >> 54 & 1 == 1,
            granular,
            unusable: false,
        }
    }
}

impl Core<'_> {
    /// Whether IA-32e mode is active.
    pub fn is_long_mode(&self) -> bool {
        self.efer & efer::LMA != 0
    }

    /// Works out mode, CPL-dependent views and address bases anew.
    pub fn update_mode(&mut self) {
        let code = self.segments[seg::CS];
        self.cpu.mode = if self.cr0 & cr0::PE == 0 {
            Mode::Real
        } else if self.flags.has(flags::VM) && !self.is_long_mode() {
            Mode::Virtual86
        } else if self.is_long_mode() && code.long {
            Mode::Long
        } else if code.default_big {
            Mode::Protected32
        } else {
            Mode::Protected16
        };
        let flat = self.mode == Mode::Long;
        for index in 0..6 {
            let counts = !flat || index >= seg::FS;
            self.cpu.bases[index] = if counts { self.segments[index].base } else { 0 };
        }
        self.update_view();
    }

    /// A linear address outside 64-bit mode, checked against the segment's type and limit.
    pub(crate) fn linear_checked(&mut self, segment: usize, offset: u64, len: u32, kind: Kind) -> Exec<u64> {
        let register = self.segments[segment];
        let vector = if segment == seg::SS { vector::SS } else { vector::GP };
        if self.mode.is_protected() {
            let type_fits = match kind {
                Kind::Read => register.is_readable(),
                Kind::Write => register.is_writable(),
                Kind::Fetch => register.is_code(),
            };
            // A null selector, or the wrong type: #GP(0), for SS #SS(0).
            if register.unusable || !type_fits {
                return self.raise(Exception::with_error(vector, 0));
            }
        }
        if !is_within(&register, offset, len) {
            return self.raise(Exception::with_error(vector, 0));
        }
        Ok(register.base.wrapping_add(offset) & 0xffff_ffff)
    }

    /// Reads the descriptor that `selector` names. `Err(None)`: it lies outside its table.
    pub fn descriptor(&mut self, selector: u16) -> Exec<Option<Descriptor>> {
        let index = u64::from(selector & !7);
        let (base, limit) = if selector & 4 == 0 {
            (self.gdt.base, u32::from(self.gdt.limit))
        } else if self.ldt.unusable || !self.ldt.present {
            return Ok(None);
        } else {
            (self.ldt.base, self.ldt.limit)
        };
        if index + 7 > u64::from(limit) {
            return Ok(None);
        }
        let address = base.wrapping_add(index);
        Ok(Some(Descriptor { raw: self.load_system(address)?, address }))
    }

    /// Whether `size` bytes at `selector` are inside its table, which is there.
    pub fn table_holds(&self, selector: u16, size: u32) -> bool {
        let limit = if selector & 4 == 0 { self.gdt.limit.into() } else { self.ldt.limit };
        u64::from(selector & !7) + u64::from(size) - 1 <= u64::from(limit)
    }

    /// Reads the descriptor that `selector` names, or raises `vector` with it.
    pub fn descriptor_or(&mut self, selector: u16, vector: u8) -> Exec<Descriptor> {
        match self.descriptor(selector)? {
            Some(descriptor) => Ok(descriptor),
            None => self.raise(Exception::with_error(vector, selector_error(selector))),
        }
    }

    /// Sets a descriptor's accessed bit, in memory and in `segment`.
    pub fn mark_accessed(&mut self, descriptor: Descriptor, segment: &mut Segment) -> Exec {
        if segment.kind & ACCESSED == 0 {
            segment.kind |= ACCESSED;
            let byte: u8 = self.load_system(descriptor.address + 5)?;
            self.store_system(descriptor.address + 5, byte | ACCESSED)?;
        }
        Ok(())
    }

    /// Loads ES, SS, DS, FS or GS as MOV and POP do (SDM vol. 2, MOV).
    pub fn load_segment(&mut self, register: usize, selector: u16) -> Exec {
        if !self.mode.is_protected() {
            self.load_real_segment(register, selector);
            return Ok(());
        }
        let loaded = if register == seg::SS {
            self.stack_segment(selector, self.cpl, vector::GP)?
        } else {
            self.data_segment(selector)?
        };
        self.set_segment(register, loaded);
        Ok(())
    }

    /// A segment register in real mode (and virtual-8086 mode): the base follows, the rest stays.
    pub fn load_real_segment(&mut self, register: usize, selector: u16) {
        let mut segment = self.segments[register];
        segment.selector = selector;
        segment.base = u64::from(selector) << 4;
        if self.mode == Mode::Virtual86 || register != seg::CS {
            segment.unusable = false;
        }
        self.set_segment(register, segment);
    }

    /// Puts a checked segment into its register.
    pub fn set_segment(&mut self, register: usize, segment: Segment) {
        self.cpu.segments[register] = segment;
        let counts = self.mode != Mode::Long || register >= seg::FS;
        self.cpu.bases[register] = if counts { segment.base } else { 0 };
    }

    /// Checks a selector for SS at privilege `cpl`; `fault` is raised for what is wrong with it but presence.
    pub fn stack_segment(&mut self, selector: u16, cpl: u8, fault: u8) -> Exec<Segment> {
        if is_null(selector) {
            // 64-bit mode allows it below CPL 3 when RPL equals CPL (SDM vol. 2, MOV).
            if self.mode == Mode::Long && cpl != 3 && rpl(selector) == cpl {
                return Ok(null_segment(selector, cpl));
            }
            return self.raise(Exception::with_error(fault, 0));
        }
        let descriptor = self.descriptor_or(selector, fault)?;
        let mut segment = descriptor.segment(selector);
        let error = selector_error(selector);
        if rpl(selector) != cpl || !segment.is_writable() || segment.dpl != cpl {
            return self.raise(Exception::with_error(fault, error));
        }
        if !segment.present {
            return self.raise(Exception::with_error(vector::SS, error));
        }
        self.mark_accessed(descriptor, &mut segment)?;
        Ok(segment)
    }

    fn data_segment(&mut self, selector: u16) -> Exec<Segment> {
        if is_null(selector) {
            return Ok(null_segment(selector, 0));
        }
        let descriptor = self.descriptor_or(selector, vector::GP)?;
        let mut segment = descriptor.segment(selector);
        let error = selector_error(selector);
        let privileged = !segment.is_conforming() && rpl(selector).max(self.cpl) > segment.dpl;
        if !segment.is_readable() || privileged {
            return self.general_protection(error);
        }
        if !segment.present {
            return self.raise(Exception::with_error(vector::NP, error));
        }
        self.mark_accessed(descriptor, &mut segment)?;
        Ok(segment)
    }

    /// After a return to an outer privilege: data segments that the new CPL may not use become null.
    pub fn drop_inner_segments(&mut self) {
        for register in [seg::ES, seg::DS, seg::FS, seg::GS] {
            let segment = self.segments[register];
            let kept = segment.unusable || segment.is_conforming() || segment.dpl >= self.cpl;
            if !kept || is_null(segment.selector) {
                let mut dropped = null_segment(0, 0);
                dropped.base = segment.base;
                self.set_segment(register, dropped);
            }
        }
    }
}

/// A register that holds a null selector. FS and GS keep a base of 0, as on Intel's CPUs.
pub fn null_segment(selector: u16, dpl: u8) -> Segment {
    Segment { selector, dpl, unusable: true, ..Segment::default() }
}

/// A segment register of virtual-8086 mode (SDM vol. 3, 21.2.1).
pub fn virtual_segment(selector: u16) -> Segment {
    Segment {
        selector,
        base: u64::from(selector) << 4,
        limit: 0xffff,
        kind: READ_WRITE | ACCESSED,
        code_or_data: true,
        dpl: 3,
        present: true,
        ..Segment::default()
    }
}

/// Whether `len` bytes at `offset` are inside the limit (SDM vol. 3, 5.3).
pub(super) fn is_within(segment: &Segment, offset: u64, len: u32) -> bool {
    let last = offset + u64::from(len.max(1)) - 1;
    let expand_down = segment.code_or_data && segment.kind & (CODE | EXPAND_DOWN) == EXPAND_DOWN;
    if expand_down {
        let top = if segment.default_big { 0xffff_ffff } else { 0xffff };
        return offset > segment.limit.into() && last <= top;
    }
    last <= segment.limit.into()
}
