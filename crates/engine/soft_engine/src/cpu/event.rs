//! Delivery of exceptions and interrupts (SDM vol. 3, ch. 6).
//!
//! ```text
//! instruction raises ──► deliver_fault ──► deliver ──► handler's first instruction
//! INT n, INT3, INTO ──────────────────────►   │ raises (contributory or page fault)
//! external interrupt, NMI ────────────────►   ▼
//!                              second exception: serially, or #DF; a third: shutdown
//! ```

use arch_model::x86_64::{RunState, Segment};
use vcpu_model::Halt;

use super::mode::cr4;
use super::segment::{SegmentType, is_null, null_segment, rpl, selector_error, system_type};
use super::task::Switch;
use super::{Core, Exception, Exec, Mode, flags, gpr, seg, vector};
use crate::memory::order;

/// Where an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A fault, trap or abort of the CPU.
    Exception,
    /// INT n, INT3, INTO: the gate's privilege level counts.
    Software,
    /// An interrupt or NMI from outside.
    External,
}

/// What is to be delivered.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Vector.
    pub vector: u8,
    /// Error code to push.
    pub error: Option<u32>,
    /// Where it comes from.
    pub source: Source,
    /// RIP to return to.
    pub return_rip: u64,
}

/// EXT: the fault happened while an event from outside the program was delivered (SDM vol. 3, 6.13).
const EXTERNAL: u32 = 1;
/// IDT: the index in the error code is one of the IDT.
const IN_IDT: u32 = 2;

/// Exceptions one after the other, each raised by the delivery of the one before. Tasks that make each other available
/// where they are saved, and ask for traps, could go on for ever, as on a processor; nobody could stop the vCPU meanwhile.
const DELIVERIES_MAX: u32 = 64;

/// A gate of the IDT (SDM vol. 3, 6.11 and 6.14.1).
struct Gate {
    selector: u16,
    offset: u64,
    kind: u8,
    dpl: u8,
    present: bool,
    stack: u8,
    error: u32,
}

impl Gate {
    fn is_interrupt(&self) -> bool {
        self.kind == system_type::INTERRUPT_GATE || self.kind == system_type::INTERRUPT_GATE16
    }

    fn is_16_bit(&self) -> bool {
        self.kind == system_type::INTERRUPT_GATE16 || self.kind == system_type::TRAP_GATE16
    }
}

impl Core<'_> {
    /// Delivers the exception that the current instruction raised, and whatever its delivery raises.
    pub fn deliver_fault(&mut self) {
        self.drop_debug_traps();
        let Some(mut exception) = self.fault.take() else { return };
        for _ in 0..DELIVERIES_MAX {
            self.take_payload(&exception);
            let event = Event {
                vector: exception.vector,
                error: exception.error,
                source: Source::Exception,
                return_rip: if exception.trap { self.next_rip() } else { self.rip },
            };
            if self.deliver(event).is_ok() {
                return;
            }
            let Some(next) = self.fault.take() else { return };
            exception = match together(exception.vector, next.vector) {
                Together::Serial => next,
                Together::DoubleFault => {
                    self.take_payload(&next);
                    Exception::with_error(vector::DF, 0)
                }
                Together::Shutdown => return self.shut_down(),
            };
        }
        self.shut_down();
    }

    fn shut_down(&mut self) {
        self.dead = Some(Halt::TripleFault);
        self.attention = true;
    }

    /// Delivers an interrupt from outside; what its delivery raises is delivered in its place.
    pub fn interrupt(&mut self, vector: u8) {
        let event = Event { vector, error: None, source: Source::External, return_rip: self.rip };
        if self.deliver(event).is_err() {
            self.deliver_fault();
        }
    }

    /// Enters the handler of `event`. Nothing has changed when it raises, or the handler's task has begun.
    pub fn deliver(&mut self, event: Event) -> Exec {
        order::drain_stores();
        match self.mode {
            Mode::Real => self.deliver_real(event),
            _ if self.is_long_mode() => self.deliver_long(event),
            _ => self.deliver_protected(event),
        }?;
        self.cpu.shadow = 0;
        // Also one of the instruction that halted the vCPU.
        self.cpu.run_state = RunState::Running;
        self.recheck_interrupts();
        Ok(())
    }

    fn take_payload(&mut self, exception: &Exception) {
        match exception.vector {
            vector::PF => self.cr2 = exception.payload,
            vector::DB => self.note_debug_exception(exception.payload),
            _ => {}
        }
    }

    fn deliver_real(&mut self, event: Event) -> Exec {
        let entry = u64::from(event.vector) * 4;
        if entry + 3 > self.idt.limit.into() {
            return self.raise(Exception::with_error(vector::GP, 0));
        }
        let target: u32 = self.load_system(self.idt.base + entry)?;
        let rflags = self.flags.get();
        let words = [rflags as u16, self.segments[seg::CS].selector, event.return_rip as u16];
        // All three words or none: the lowest is checked first.
        let lowest = self.stack_offset(-6);
        self.probe_write(seg::SS, lowest, 6)?;
        for (index, word) in words.into_iter().enumerate() {
            let offset = self.stack_offset(-2 * (index as i64 + 1));
            self.store(seg::SS, offset, word)?;
        }
        self.set_stack_pointer(lowest);
        self.cpu.flags.put(flags::IF | flags::TF | flags::AC | flags::RF, false);
        self.load_real_segment(seg::CS, (target >> 16) as u16);
        self.rip = u64::from(target & 0xffff);
        self.update_view();
        Ok(())
    }

    fn deliver_long(&mut self, event: Event) -> Exec {
        let gate = self.long_gate(&event)?;
        let code = self.gate_code(&gate, &event)?;
        let (descriptor, mut code_segment) = code;
        if !code_segment.long || code_segment.default_big {
            return self
                .raise(Exception::with_error(vector::GP, selector_error(gate.selector) | ext(&event)));
        }
        let new_cpl = if code_segment.is_conforming() { self.cpl } else { code_segment.dpl };
        let old_sp = self.gpr[gpr::RSP];
        let top = if gate.stack != 0 {
            self.task_stack(0x24 + 8 * (u64::from(gate.stack) - 1), &event)?
        } else if new_cpl < self.cpl {
            self.task_stack(4 + 8 * u64::from(new_cpl), &event)?
        } else {
            old_sp
        };
        if (top as i64) << 16 >> 16 != top as i64 {
            return self.raise(Exception::with_error(vector::SS, ext(&event)));
        }
        if (gate.offset as i64) << 16 >> 16 != gate.offset as i64 {
            return self.general_protection(ext(&event));
        }
        let mut sp = top & !0xf;
        let rflags = self.pushed_flags(&event);
        let frame = [
            u64::from(self.segments[seg::SS].selector),
            old_sp,
            rflags,
            u64::from(self.segments[seg::CS].selector),
            event.return_rip,
        ];
        for value in frame.into_iter().chain(event.error.map(u64::from)) {
            sp = sp.wrapping_sub(8);
            self.store_stack(sp, value, new_cpl == 3)?;
        }
        self.mark_accessed(descriptor, &mut code_segment)?;
        self.enter_handler(&gate, code_segment, new_cpl);
        if new_cpl != self.cpl {
            self.set_segment(seg::SS, null_segment(new_cpl.into(), new_cpl));
        }
        self.cpu.cpl = new_cpl;
        self.cpu.gpr[gpr::RSP] = sp;
        self.rip = gate.offset;
        self.update_mode();
        Ok(())
    }

    fn deliver_protected(&mut self, event: Event) -> Exec {
        let gate = self.protected_gate(&event)?;
        if gate.kind == system_type::TASK_GATE {
            let why = Switch::Event { error: event.error, ext: ext(&event) };
            return self.switch_task(gate.selector, why, (event.return_rip, self.pushed_flags(&event)));
        }
        let (descriptor, mut code) = self.gate_code(&gate, &event)?;
        let from_v86 = self.mode == Mode::Virtual86;
        let new_cpl = if code.is_conforming() { self.cpl } else { code.dpl };
        if from_v86 && new_cpl != 0 {
            return self.raise(Exception::with_error(vector::GP, selector_error(gate.selector)));
        }
        let width: u8 = if gate.is_16_bit() { 2 } else { 4 };
        let old = (self.segments[seg::SS], self.gpr[gpr::RSP]);
        let mut values: Vec<u64> = Vec::with_capacity(10);
        let (stack, top) = if new_cpl < self.cpl {
            if from_v86 {
                let of = |register: usize| u64::from(self.segments[register].selector);
                values.extend([of(seg::GS), of(seg::FS), of(seg::DS), of(seg::ES)]);
            }
            values.extend([u64::from(old.0.selector), old.1]);
            self.inner_stack(new_cpl, &event)?
        } else {
            old
        };
        let rflags = self.pushed_flags(&event);
        values.extend([rflags, u64::from(self.segments[seg::CS].selector), event.return_rip]);
        values.extend(event.error.map(u64::from));
        if gate.offset > code.limit.into() {
            return self.raise(Exception::with_error(vector::GP, ext(&event)));
        }
        let sp = self.push_frame(&stack, top, &values, (width, new_cpl, ext(&event)))?;
        self.mark_accessed(descriptor, &mut code)?;
        self.enter_handler(&gate, code, new_cpl);
        if from_v86 {
            for register in [seg::GS, seg::FS, seg::DS, seg::ES] {
                self.set_segment(register, null_segment(0, 0));
            }
            self.cpu.flags.put(flags::VM, false);
        }
        self.set_segment(seg::SS, stack);
        self.cpu.cpl = new_cpl;
        self.update_mode();
        self.set_stack_pointer(sp);
        self.rip = gate.offset;
        Ok(())
    }

    /// Stores `values` one below the other from `top` of `stack` down, `width` bytes each, with privilege `cpl`;
    /// answers the new stack pointer. `ext` is EXT of the error code.
    pub(crate) fn push_frame(
        &mut self,
        stack: &Segment,
        top: u64,
        values: &[u64],
        (width, cpl, ext): (u8, u8, u32),
    ) -> Exec<u64> {
        let mask: u64 = if stack.default_big { 0xffff_ffff } else { 0xffff };
        let mut sp = top & mask;
        for value in values {
            sp = sp.wrapping_sub(width.into()) & mask;
            if !super::segment::is_within(stack, sp, width.into()) {
                let error = if stack.selector == self.segments[seg::SS].selector {
                    0
                } else {
                    selector_error(stack.selector)
                };
                return self.raise(Exception::with_error(vector::SS, error | ext));
            }
            let address = stack.base.wrapping_add(sp);
            if width == 2 {
                self.store_stack(address, *value as u16, cpl == 3)?;
            } else {
                self.store_stack(address, *value as u32, cpl == 3)?;
            }
        }
        Ok(sp)
    }

    /// What changes in CS and RFLAGS when a handler is entered.
    fn enter_handler(&mut self, gate: &Gate, mut code: Segment, cpl: u8) {
        code.selector = gate.selector & !3 | u16::from(cpl);
        self.cpu.segments[seg::CS] = code;
        self.cpu.flags.put(flags::TF | flags::NT | flags::RF, false);
        if gate.is_interrupt() {
            self.cpu.flags.put(flags::IF, false);
        }
    }

    /// RFLAGS as pushed: faults set RF, so that a breakpoint at the instruction does not hit again.
    fn pushed_flags(&self, event: &Event) -> u64 {
        let is_fault = event.source == Source::Exception && event.return_rip == self.rip;
        let resume = if is_fault && event.vector != vector::DB { flags::RF } else { 0 };
        self.flags.get() | resume
    }

    fn long_gate(&mut self, event: &Event) -> Exec<Gate> {
        let error = gate_error(event);
        let entry = u64::from(event.vector) * 16;
        if entry + 15 > self.idt.limit.into() {
            return self.general_protection(error);
        }
        let address = self.idt.base.wrapping_add(entry);
        let low: u64 = self.load_system(address)?;
        let high: u64 = self.load_system(address.wrapping_add(8))?;
        let gate = gate_from(low, high & 0xffff_ffff, (low >> 32 & 7) as u8, error);
        let kind_fits = matches!(gate.kind, system_type::INTERRUPT_GATE | system_type::TRAP_GATE);
        self.check_gate(gate, kind_fits, event)
    }

    fn protected_gate(&mut self, event: &Event) -> Exec<Gate> {
        let error = gate_error(event);
        let entry = u64::from(event.vector) * 8;
        if entry + 7 > self.idt.limit.into() {
            return self.general_protection(error);
        }
        let raw: u64 = self.load_system(self.idt.base.wrapping_add(entry))?;
        let mut gate = gate_from(raw, 0, 0, error);
        let others = [system_type::TRAP_GATE, system_type::TRAP_GATE16, system_type::TASK_GATE];
        let kind_fits = gate.is_interrupt() || others.contains(&gate.kind);
        if gate.is_16_bit() {
            gate.offset &= 0xffff;
        }
        self.check_gate(gate, kind_fits, event)
    }

    fn check_gate(&mut self, gate: Gate, kind_fits: bool, event: &Event) -> Exec<Gate> {
        if !kind_fits || (event.source == Source::Software && gate.dpl < self.cpl) {
            return self.general_protection(gate.error);
        }
        if !gate.present {
            return self.raise(Exception::with_error(vector::NP, gate.error));
        }
        Ok(gate)
    }

    /// The code segment that a gate leads to.
    fn gate_code(&mut self, gate: &Gate, event: &Event) -> Exec<(super::segment::Descriptor, Segment)> {
        let ext = ext(event);
        if is_null(gate.selector) {
            return self.general_protection(ext);
        }
        let error = selector_error(gate.selector) | ext;
        let Some(descriptor) = self.descriptor(gate.selector)? else { return self.general_protection(error) };
        let code = descriptor.segment(gate.selector);
        if !code.is_code() || code.dpl > self.cpl {
            return self.general_protection(error);
        }
        if !code.present {
            return self.raise(Exception::with_error(vector::NP, error));
        }
        Ok((descriptor, code))
    }

    /// A stack pointer from the 64-bit task-state segment.
    fn task_stack(&mut self, offset: u64, event: &Event) -> Exec<u64> {
        if offset + 7 > self.tr.limit.into() {
            return self
                .raise(Exception::with_error(vector::TS, selector_error(self.tr.selector) | ext(event)));
        }
        self.load_system(self.tr.base.wrapping_add(offset))
    }

    /// SS and (E)SP for privilege `cpl` from the task-state segment.
    fn inner_stack(&mut self, cpl: u8, event: &Event) -> Exec<(Segment, u64)> {
        self.task_state_stack(cpl, ext(event))
    }

    /// SS and (E)SP for privilege `cpl` from a 16- or 32-bit task-state segment.
    pub(crate) fn task_state_stack(&mut self, cpl: u8, ext: u32) -> Exec<(Segment, u64)> {
        let wide = matches!(self.tr.kind, system_type::TSS | system_type::TSS_BUSY);
        let (offset, size) = if wide { (4 + 8 * u64::from(cpl), 8) } else { (2 + 4 * u64::from(cpl), 4) };
        if offset + size - 1 > self.tr.limit.into() {
            return self.raise(Exception::with_error(vector::TS, selector_error(self.tr.selector) | ext));
        }
        let base = self.tr.base.wrapping_add(offset);
        let (sp, selector) = if wide {
            (self.load_system::<u32>(base)?.into(), self.load_system::<u16>(base + 4)?)
        } else {
            (self.load_system::<u16>(base)?.into(), self.load_system::<u16>(base + 2)?)
        };
        if is_null(selector) || rpl(selector) != cpl {
            return self.raise(Exception::with_error(vector::TS, selector_error(selector) | ext));
        }
        match self.stack_segment(selector, cpl, vector::TS) {
            Ok(segment) => Ok((segment, sp)),
            Err(raised) => {
                // What is wrong with the segment is told with EXT; a page fault of its table has none.
                if let Some(fault) = &mut self.fault
                    && matches!(fault.vector, vector::TS | vector::SS)
                {
                    fault.error = fault.error.map(|error| error | ext);
                }
                Err(raised)
            }
        }
    }

    /// Whether user-mode instruction prevention stops SGDT and the like.
    pub fn is_user_mode_prevented(&self) -> bool {
        self.cpl > 0 && self.cr4 & cr4::UMIP != 0
    }
}

fn gate_from(low: u64, high: u64, stack: u8, error: u32) -> Gate {
    Gate {
        selector: (low >> 16) as u16,
        offset: low & 0xffff | low >> 32 & 0xffff_0000 | high << 32,
        kind: (low >> 40 & 0x1f) as u8,
        dpl: (low >> 45 & 3) as u8,
        present: low >> 47 & 1 == 1,
        stack,
        error,
    }
}

fn ext(event: &Event) -> u32 {
    if event.source == Source::Software { 0 } else { EXTERNAL }
}

fn gate_error(event: &Event) -> u32 {
    u32::from(event.vector) << 3 | IN_IDT | ext(event)
}

/// What becomes of an exception during the delivery of another (SDM vol. 3, table 6-5).
#[derive(Debug, PartialEq, Eq)]
enum Together {
    Serial,
    DoubleFault,
    Shutdown,
}

fn together(first: u8, second: u8) -> Together {
    let contributory =
        |number| matches!(number, vector::DE | vector::TS | vector::NP | vector::SS | vector::GP);
    match first {
        vector::DF if contributory(second) || second == vector::PF => Together::Shutdown,
        vector::PF if contributory(second) || second == vector::PF => Together::DoubleFault,
        first if contributory(first) && contributory(second) => Together::DoubleFault,
        _ => Together::Serial,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_exceptions_combine_as_the_manual_says() {
        assert_eq!(together(vector::GP, vector::NP), Together::DoubleFault);
        assert_eq!(together(vector::GP, vector::PF), Together::Serial);
        assert_eq!(together(vector::PF, vector::PF), Together::DoubleFault);
        assert_eq!(together(vector::UD, vector::PF), Together::Serial);
        assert_eq!(together(vector::DF, vector::GP), Together::Shutdown);
        assert_eq!(together(vector::DF, vector::UD), Together::Serial);
    }
}
