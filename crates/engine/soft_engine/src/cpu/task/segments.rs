//! The segment registers of a task that begins: first the selectors, then what they lead to (SDM vol. 3, table 8-1).

use arch_model::x86_64::Segment;

use super::state::TaskState;
use crate::cpu::segment::{
    Descriptor, SegmentType, is_null, null_segment, rpl, selector_error, system_type, virtual_segment,
};
use crate::cpu::{Core, Exception, Exec, flags, seg, vector};

impl Core<'_> {
    /// All selectors are the new task's; nothing but privilege follows from them yet. A virtual-8086 task has all that
    /// there is to its segments.
    pub(super) fn commit_selectors(&mut self, state: &TaskState) {
        let is_virtual = self.flags.has(flags::VM);
        let cpl = if is_virtual { 3 } else { rpl(state.segments[seg::CS]) };
        self.cpu.cpl = cpl;
        for (register, selector) in state.segments.into_iter().enumerate() {
            let segment = if is_virtual {
                virtual_segment(selector)
            } else if register == seg::CS {
                Segment { selector, ..self.segments[seg::CS] }
            } else {
                null_segment(selector, if register == seg::SS { cpl } else { 0 })
            };
            self.set_segment(register, segment);
        }
        self.cpu.ldt = null_segment(state.ldt, 0);
        self.update_mode();
    }

    /// Loads the LDT and the segments, in the order of the table but that the LDT is looked at once; `ext` is EXT of the
    /// error codes.
    pub(super) fn load_task_segments(&mut self, state: &TaskState, ext: u32) -> Exec {
        if !is_null(state.ldt) {
            self.cpu.ldt = self.task_ldt(state.ldt, ext)?;
        }
        if self.flags.has(flags::VM) {
            return Ok(());
        }
        let (descriptor, mut code) = self.task_code(state.segments[seg::CS], ext)?;
        let stack = self.task_stack_segment(state.segments[seg::SS], ext)?;
        self.check_task(code.present, vector::NP, code.selector, ext)?;
        self.mark_accessed(descriptor, &mut code)?;
        self.set_segment(seg::CS, code);
        self.update_mode();
        self.set_segment(seg::SS, stack);
        for register in [seg::DS, seg::ES, seg::FS, seg::GS] {
            let segment = self.task_data(state.segments[register], ext)?;
            self.set_segment(register, segment);
        }
        Ok(())
    }

    /// Raises `fault` with `selector` unless `holds`.
    fn check_task(&mut self, holds: bool, fault: u8, selector: u16, ext: u32) -> Exec {
        if holds { Ok(()) } else { self.raise(Exception::with_error(fault, selector_error(selector) | ext)) }
    }

    /// What a selector of the new task leads to, or #TS.
    fn task_descriptor(&mut self, selector: u16, ext: u32) -> Exec<(Descriptor, Segment)> {
        self.check_task(!is_null(selector), vector::TS, selector, ext)?;
        match self.descriptor(selector)? {
            Some(descriptor) => Ok((descriptor, descriptor.segment(selector))),
            None => self.raise(Exception::with_error(vector::TS, selector_error(selector) | ext)),
        }
    }

    fn task_ldt(&mut self, selector: u16, ext: u32) -> Exec<Segment> {
        self.check_task(selector & 4 == 0, vector::TS, selector, ext)?;
        let (_, segment) = self.task_descriptor(selector, ext)?;
        let is_table = !segment.code_or_data && segment.kind == system_type::LDT;
        self.check_task(is_table && segment.present, vector::TS, selector, ext)?;
        Ok(segment)
    }

    fn task_code(&mut self, selector: u16, ext: u32) -> Exec<(Descriptor, Segment)> {
        let (descriptor, segment) = self.task_descriptor(selector, ext)?;
        let dpl_fits =
            if segment.is_conforming() { segment.dpl <= rpl(selector) } else { segment.dpl == rpl(selector) };
        self.check_task(segment.is_code() && dpl_fits, vector::TS, selector, ext)?;
        Ok((descriptor, segment))
    }

    fn task_stack_segment(&mut self, selector: u16, ext: u32) -> Exec<Segment> {
        let cpl = self.cpl;
        let (descriptor, mut segment) = self.task_descriptor(selector, ext)?;
        self.check_task(segment.is_writable(), vector::TS, selector, ext)?;
        self.check_task(segment.present, vector::SS, selector, ext)?;
        self.check_task(segment.dpl == cpl && rpl(selector) == cpl, vector::TS, selector, ext)?;
        self.mark_accessed(descriptor, &mut segment)?;
        Ok(segment)
    }

    fn task_data(&mut self, selector: u16, ext: u32) -> Exec<Segment> {
        if is_null(selector) {
            return Ok(null_segment(selector, 0));
        }
        let (descriptor, mut segment) = self.task_descriptor(selector, ext)?;
        self.check_task(segment.is_readable(), vector::TS, selector, ext)?;
        self.check_task(segment.present, vector::NP, selector, ext)?;
        let privileged = !segment.is_conforming() && rpl(selector).max(self.cpl) > segment.dpl;
        self.check_task(!privileged, vector::TS, selector, ext)?;
        self.mark_accessed(descriptor, &mut segment)?;
        Ok(segment)
    }
}
