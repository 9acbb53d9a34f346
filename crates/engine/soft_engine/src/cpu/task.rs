//! Hardware task switching outside IA-32e mode (SDM vol. 3, ch. 8).
//!
//! ```text
//! JMP, CALL, task gate, IRET ──► checks ──► old state saved ──► commit: TR, registers, selectors
//!                                  │ raises in the old task        │
//!                                  ▼                               ▼ descriptors, error code, EIP, T: raise in the new
//! ```
//!
//! Everything up to the commit happens or nothing does; what is found afterwards is a fault of the new task's first
//! instruction, with its selectors loaded and the descriptors not yet.

mod segments;
mod state;

use arch_model::x86_64::Segment;

use super::debug::BT;
use super::mode::cr0;
use super::segment::{Descriptor, is_null, selector_error, system_type};
use super::{Core, Exception, Exec, flags, gpr, seg, vector};
use crate::memory::paging::Kind;
use state::{Layout, TaskState};

/// In a TSS descriptor's type: the task runs, or waits for one that it has called.
const BUSY: u8 = 2;
/// Link to the task that is returned to.
const LINK: u64 = 0;

/// Why tasks are switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// JMP: the old task is left for good.
    Jump,
    /// CALL: the new task is nested in the old one.
    Call,
    /// An exception or interrupt through a task gate: nested too.
    Event {
        /// Error code to push.
        error: Option<u32>,
        /// EXT of the error codes of faults.
        ext: u32,
    },
    /// IRET with NT: back to the task that the TSS links to.
    Return,
}

impl Switch {
    fn is_nested(self) -> bool {
        matches!(self, Switch::Call | Switch::Event { .. })
    }

    fn ext(self) -> u32 {
        match self {
            Switch::Event { ext, .. } => ext,
            _ => 0,
        }
    }
}

/// The task that is switched to.
struct Target {
    selector: u16,
    descriptor: Descriptor,
    segment: Segment,
}

impl Core<'_> {
    /// Switches to the task whose TSS `selector` names. The old one will go on at `return_rip`; with `rflags`, but that
    /// IRET clears NT. RIP is the new task's afterwards, also where this raises in it.
    pub fn switch_task(&mut self, selector: u16, why: Switch, (return_rip, rflags): (u64, u64)) -> Exec {
        let target = self.task_target(selector, why)?;
        let layout = Layout::of(target.segment.kind);
        let old = Layout::of(self.tr.kind);
        self.check_task_memory(&target, layout, old, why)?;
        let rflags = if why == Switch::Return { rflags & !flags::NT } else { rflags };
        self.save_task(old, return_rip, rflags)?;
        if !why.is_nested() {
            self.set_busy(self.tr.selector, false)?;
        }
        let link = self.tr.selector;
        let mut state = TaskState::load(self, layout, target.segment.base)?;
        if why.is_nested() {
            self.store_system(target.segment.base.wrapping_add(LINK), link)?;
            state.rflags |= flags::NT;
        }
        if why != Switch::Return {
            self.set_busy(target.selector, true)?;
        }
        self.commit(&target, &state);
        self.begin_task(layout, &state, why)
    }

    /// The TSS, if it is one that `why` may switch to (SDM vol. 3, table 8-1).
    fn task_target(&mut self, selector: u16, why: Switch) -> Exec<Target> {
        let error = selector_error(selector) | why.ext();
        let wrong = if why == Switch::Return { vector::TS } else { vector::GP };
        if is_null(selector) || selector & 4 != 0 {
            return self.raise(Exception::with_error(wrong, error));
        }
        let Some(descriptor) = self.descriptor(selector)? else {
            return self.raise(Exception::with_error(wrong, error));
        };
        let segment = descriptor.segment(selector);
        let available = matches!(segment.kind, system_type::TSS | system_type::TSS16);
        let busy = matches!(segment.kind, system_type::TSS_BUSY | system_type::TSS16_BUSY);
        let fits = if why == Switch::Return { busy } else { available };
        if segment.code_or_data || !fits {
            return self.raise(Exception::with_error(wrong, error));
        }
        if !segment.present {
            return self.raise(Exception::with_error(vector::NP, error));
        }
        if segment.limit < Layout::of(segment.kind).limit() {
            return self.raise(Exception::with_error(vector::TS, error));
        }
        Ok(Target { selector, descriptor, segment })
    }

    /// Raises what reading the new TSS, saving to the old one, and marking both would raise.
    fn check_task_memory(&mut self, target: &Target, new: Layout, old: Layout, why: Switch) -> Exec {
        if self.tr.limit < old.limit() {
            let error = selector_error(self.tr.selector) | why.ext();
            return self.raise(Exception::with_error(vector::TS, error));
        }
        self.probe_system(target.segment.base, new.size(), Kind::Read)?;
        if why.is_nested() {
            self.probe_system(target.segment.base.wrapping_add(LINK), 2, Kind::Write)?;
        }
        self.probe_system(self.tr.base, old.size(), Kind::Write)?;
        self.probe_system(target.descriptor.address, 8, Kind::Write)?;
        if !is_null(self.tr.selector) && self.table_holds(self.tr.selector & !4, 8) {
            let own = self.gdt.base.wrapping_add((self.tr.selector & !7).into());
            self.probe_system(own, 8, Kind::Write)?;
        }
        Ok(())
    }

    /// Marks a TSS in the GDT busy or available. One that no entry stands for is left alone.
    fn set_busy(&mut self, selector: u16, busy: bool) -> Exec {
        if is_null(selector) || !self.table_holds(selector & !4, 8) {
            return Ok(());
        }
        let at = self.gdt.base.wrapping_add(u64::from(selector & !7) + 5);
        let byte: u8 = self.load_system(at)?;
        self.store_system(at, if busy { byte | BUSY } else { byte & !BUSY })
    }

    /// From here on the new task runs: everything that cannot fail.
    fn commit(&mut self, target: &Target, state: &TaskState) {
        self.cpu.tr = target.segment;
        self.cpu.tr.kind |= BUSY;
        self.cpu.cr0 |= cr0::TS;
        if self.cr0 & cr0::PG != 0
            && let Some(cr3) = state.cr3
        {
            self.cpu.cr3 = cr3.into();
            self.update_address_space(false);
        }
        self.cpu.flags.set(state.rflags);
        self.take_resume_flag();
        self.cpu.gpr[..8].copy_from_slice(&state.registers.map(u64::from));
        self.cpu.rip = state.rip.into();
        let rip = self.rip;
        self.set_next_rip(rip);
        self.commit_selectors(state);
        self.clear_local_breakpoints();
        self.cpu.shadow = 0;
        self.attention = true;
    }

    /// What is found in the new task before its first instruction.
    fn begin_task(&mut self, layout: Layout, state: &TaskState, why: Switch) -> Exec {
        let loaded = self.load_task_segments(state, why.ext());
        self.update_mode();
        loaded?;
        if let Switch::Event { error: Some(error), ext } = why {
            let (stack, top) = (self.segments[seg::SS], self.gpr[gpr::RSP]);
            let sp = self.push_frame(&stack, top, &[error.into()], (layout.width(), self.cpl, ext))?;
            self.set_stack_pointer(sp);
        }
        if self.rip > self.segments[seg::CS].limit.into() {
            return self.general_protection(why.ext());
        }
        if state.traps { self.trap_behind(BT) } else { Ok(()) }
    }
}
