//! Far jumps, calls and returns, and IRET, to code and to tasks (SDM vol. 2: JMP, CALL, RET, IRET; vol. 3, 5.8, 8.3).

use arch_model::x86_64::Segment;
use iced_x86::{Code, Mnemonic, OpKind};

use super::{Form, serializing};
use crate::cpu::segment::{
    Descriptor, SegmentType, is_null, null_segment, rpl, selector_error, system_type, virtual_segment,
};
use crate::cpu::task::Switch;
use crate::cpu::{Core, Exception, Exec, Mode, flags, gpr, seg, vector};
use crate::decode::insn::{Handler, Insn, OperandKind};

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    Some(match form.mnemonic {
        Mnemonic::Jmp if form.insn.is_jmp_far_indirect() => jump::<0>,
        Mnemonic::Jmp if form.insn.op0_kind() == OpKind::FarBranch16 => jump::<2>,
        Mnemonic::Jmp if form.insn.op0_kind() == OpKind::FarBranch32 => jump::<4>,
        Mnemonic::Call if form.insn.is_call_far_indirect() => call::<0>,
        Mnemonic::Call if form.insn.op0_kind() == OpKind::FarBranch16 => call::<2>,
        Mnemonic::Call if form.insn.op0_kind() == OpKind::FarBranch32 => call::<4>,
        Mnemonic::Retf => match form.insn.code() {
            Code::Retfw | Code::Retfw_imm16 => far_return::<2>,
            Code::Retfd | Code::Retfd_imm16 => far_return::<4>,
            _ => far_return::<8>,
        },
        Mnemonic::Iret => serializing!(interrupt_return::<2>),
        Mnemonic::Iretd => serializing!(interrupt_return::<4>),
        Mnemonic::Iretq => serializing!(interrupt_return::<8>),
        _ => return None,
    })
}

/// Selector and offset that a far jump or call names, and its operand size: `DIRECT`, or 0 for one in memory.
fn far_pointer<const DIRECT: u8>(core: &mut Core<'_>, insn: &Insn) -> Exec<(u16, u64, u8)> {
    if DIRECT != 0 {
        return Ok(((insn.imm >> 32) as u16, insn.imm & 0xffff_ffff, DIRECT));
    }
    // m16:16, m16:32, m16:64: the memory operand is 2 bytes longer than the offset.
    let size = insn.size - 2;
    let at = core.effective_address(insn);
    let offset = core.load_sized(insn.segment.into(), at, size)?;
    let selector: u16 = core.load(insn.segment.into(), at.wrapping_add(size.into()))?;
    Ok((selector, offset, size))
}

fn jump<const DIRECT: u8>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let (selector, offset, size) = far_pointer::<DIRECT>(core, insn)?;
    if !core.mode.is_protected() {
        return enter_real(core, selector, offset, size);
    }
    let (descriptor, segment) = target(core, selector)?;
    if segment.is_code() {
        return enter_code(core, descriptor, segment, selector, offset, vector::GP);
    }
    match segment.kind {
        system_type::CALL_GATE | system_type::CALL_GATE16 if !segment.code_or_data => {
            let gate = call_gate(core, descriptor, &segment, selector)?;
            let code = gate_target(core, &gate)?;
            if !code.1.is_conforming() && code.1.dpl != core.cpl {
                return core.general_protection(selector_error(gate.selector));
            }
            load_code(core, code.0, code.1, gate.selector, gate.offset, core.cpl)
        }
        _ => to_task(core, descriptor, &segment, selector, Switch::Jump),
    }
}

fn call<const DIRECT: u8>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let (selector, offset, size) = far_pointer::<DIRECT>(core, insn)?;
    let code_selector = core.segments[seg::CS].selector;
    let back = core.next_rip();
    if !core.mode.is_protected() {
        push_pair(core, size, code_selector, back)?;
        return enter_real(core, selector, offset, size);
    }
    let (descriptor, segment) = target(core, selector)?;
    if segment.is_code() {
        check_code(core, &segment, selector, vector::GP)?;
        check_target(core, &segment, offset)?;
        push_pair(core, size, code_selector, back)?;
        return enter_code(core, descriptor, segment, selector, offset, vector::GP);
    }
    match segment.kind {
        system_type::CALL_GATE | system_type::CALL_GATE16 if !segment.code_or_data => {
            let gate = call_gate(core, descriptor, &segment, selector)?;
            call_through(core, &gate)
        }
        _ => to_task(core, descriptor, &segment, selector, Switch::Call),
    }
}

/// A jump or call to a TSS or through a task gate (SDM vol. 3, 8.3), neither of which IA-32e mode has.
fn to_task(
    core: &mut Core<'_>,
    descriptor: Descriptor,
    segment: &Segment,
    selector: u16,
    why: Switch,
) -> Exec {
    let error = selector_error(selector);
    let is_gate = segment.kind == system_type::TASK_GATE;
    let is_task = is_gate || matches!(segment.kind, system_type::TSS | system_type::TSS16);
    let privileged = segment.dpl < core.cpl.max(rpl(selector));
    if core.is_long_mode() || segment.code_or_data || !is_task || privileged {
        return core.general_protection(error);
    }
    if is_gate && !segment.present {
        return core.raise(Exception::with_error(vector::NP, error));
    }
    let task = if is_gate { (descriptor.raw >> 16) as u16 } else { selector };
    core.switch_task(task, why, (core.next_rip(), core.flags.get() & !flags::RF))
}

/// Pushes CS and the return address, both or neither.
fn push_pair(core: &mut Core<'_>, size: u8, selector: u16, back: u64) -> Exec {
    let low = core.stack_offset(-2 * i64::from(size));
    core.probe_write(seg::SS, low, u32::from(size) * 2)?;
    core.push_sized(size, selector.into())?;
    core.push_sized(size, back)
}

fn enter_real(core: &mut Core<'_>, selector: u16, offset: u64, size: u8) -> Exec {
    let offset = if size == 2 { offset & 0xffff } else { offset };
    if offset > core.segments[seg::CS].limit.into() {
        return core.general_protection(0);
    }
    core.load_real_segment(seg::CS, selector);
    core.set_next_rip(offset);
    Ok(())
}

/// The descriptor that a far transfer names.
fn target(core: &mut Core<'_>, selector: u16) -> Exec<(Descriptor, Segment)> {
    if is_null(selector) {
        return core.general_protection(0);
    }
    let descriptor = core.descriptor_or(selector, vector::GP)?;
    Ok((descriptor, descriptor.segment(selector)))
}

/// Checks a code segment that is entered without a change of privilege.
fn check_code(core: &mut Core<'_>, segment: &Segment, selector: u16, fault: u8) -> Exec {
    let error = selector_error(selector);
    let privileged = if segment.is_conforming() {
        segment.dpl > core.cpl
    } else {
        rpl(selector) > core.cpl || segment.dpl != core.cpl
    };
    let mixed = core.is_long_mode() && segment.long && segment.default_big;
    if privileged || mixed {
        return core.raise(Exception::with_error(fault, error));
    }
    if !segment.present {
        return core.raise(Exception::with_error(vector::NP, error));
    }
    Ok(())
}

/// Checks that `offset` is inside the code segment, or canonical where that has no limit.
fn check_target(core: &mut Core<'_>, segment: &Segment, offset: u64) -> Exec {
    let fits = if core.is_long_mode() && segment.long {
        (offset as i64) << 16 >> 16 == offset as i64
    } else {
        offset <= segment.limit.into()
    };
    if fits { Ok(()) } else { core.general_protection(0) }
}

fn enter_code(
    core: &mut Core<'_>,
    descriptor: Descriptor,
    segment: Segment,
    selector: u16,
    offset: u64,
    fault: u8,
) -> Exec {
    check_code(core, &segment, selector, fault)?;
    load_code(core, descriptor, segment, selector, offset, core.cpl)
}

/// Goes on at `offset` of a checked code segment with privilege `cpl`.
fn load_code(
    core: &mut Core<'_>,
    descriptor: Descriptor,
    mut segment: Segment,
    selector: u16,
    offset: u64,
    cpl: u8,
) -> Exec {
    check_target(core, &segment, offset)?;
    core.mark_accessed(descriptor, &mut segment)?;
    segment.selector = selector & !3 | u16::from(cpl);
    core.cpu.segments[seg::CS] = segment;
    core.cpu.cpl = cpl;
    core.set_next_rip(offset);
    core.update_mode();
    Ok(())
}

/// A call gate (SDM vol. 3, 5.8.3).
struct CallGate {
    selector: u16,
    offset: u64,
    parameters: u8,
    size: u8,
}

fn call_gate(
    core: &mut Core<'_>,
    descriptor: Descriptor,
    segment: &Segment,
    selector: u16,
) -> Exec<CallGate> {
    let error = selector_error(selector);
    let raw = descriptor.raw;
    if segment.dpl < core.cpl.max(rpl(selector)) {
        return core.general_protection(error);
    }
    if !segment.present {
        return core.raise(Exception::with_error(vector::NP, error));
    }
    let narrow = segment.kind == system_type::CALL_GATE16;
    let mut gate = CallGate {
        selector: (raw >> 16) as u16,
        offset: raw & 0xffff | raw >> 32 & 0xffff_0000,
        parameters: (raw >> 32 & 0x1f) as u8,
        size: if narrow { 2 } else { 4 },
    };
    if narrow {
        gate.offset &= 0xffff;
    }
    if core.is_long_mode() {
        if narrow {
            return core.general_protection(error);
        }
        if !core.table_holds(selector, 16) {
            return core.general_protection(error);
        }
        let high: u64 = core.load_system(descriptor.address.wrapping_add(8))?;
        // The upper half's type field has to be 0.
        if high >> 40 & 0x1f != 0 {
            return core.general_protection(error);
        }
        gate.offset |= high << 32;
        (gate.size, gate.parameters) = (8, 0);
    }
    Ok(gate)
}

fn gate_target(core: &mut Core<'_>, gate: &CallGate) -> Exec<(Descriptor, Segment)> {
    let (descriptor, code) = target(core, gate.selector)?;
    let error = selector_error(gate.selector);
    let wrong_size = core.is_long_mode() && (!code.long || code.default_big);
    if !code.is_code() || code.dpl > core.cpl || wrong_size {
        return core.general_protection(error);
    }
    if !code.present {
        return core.raise(Exception::with_error(vector::NP, error));
    }
    Ok((descriptor, code))
}

fn call_through(core: &mut Core<'_>, gate: &CallGate) -> Exec {
    let (descriptor, code) = gate_target(core, gate)?;
    let back = core.next_rip();
    let code_selector = core.segments[seg::CS].selector;
    if code.is_conforming() || code.dpl == core.cpl {
        check_target(core, &code, gate.offset)?;
        push_pair(core, gate.size, code_selector, back)?;
        return load_code(core, descriptor, code, gate.selector, gate.offset, core.cpl);
    }
    let cpl = code.dpl;
    let (old_stack, old_sp) = (core.segments[seg::SS], core.gpr[gpr::RSP]);
    if core.is_long_mode() {
        let offset = 4 + 8 * u64::from(cpl);
        if offset + 7 > core.tr.limit.into() {
            return core.raise(Exception::with_error(vector::TS, selector_error(core.tr.selector)));
        }
        let mut sp: u64 = core.load_system(core.tr.base.wrapping_add(offset))?;
        for value in [old_stack.selector.into(), old_sp, code_selector.into(), back] {
            sp = sp.wrapping_sub(8);
            core.store_stack(sp, value, cpl == 3)?;
        }
        load_code(core, descriptor, code, gate.selector, gate.offset, cpl)?;
        core.set_segment(seg::SS, null_segment(cpl.into(), cpl));
        core.cpu.gpr[gpr::RSP] = sp;
        return Ok(());
    }
    let (stack, top) = core.task_state_stack(cpl, 0)?;
    let mut values = vec![u64::from(old_stack.selector), old_sp];
    for index in (0..i64::from(gate.parameters)).rev() {
        values.push(core.peek(gate.size, index * i64::from(gate.size))?);
    }
    values.extend([u64::from(code_selector), back]);
    check_target(core, &code, gate.offset)?;
    let sp = core.push_frame(&stack, top, &values, (gate.size, cpl, 0))?;
    load_code(core, descriptor, code, gate.selector, gate.offset, cpl)?;
    core.set_segment(seg::SS, stack);
    core.set_stack_pointer(sp);
    Ok(())
}

fn far_return<const SIZE: u8>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let step = i64::from(SIZE);
    let offset = core.peek(SIZE, 0)?;
    let selector = core.peek(SIZE, step)? as u16;
    let released = if insn.ops[0].kind == OperandKind::Immediate { insn.imm as u16 } else { 0 };
    let after = 2 * step + i64::from(released);
    if !core.mode.is_protected() {
        if offset > core.segments[seg::CS].limit.into() {
            return core.general_protection(0);
        }
        core.load_real_segment(seg::CS, selector);
        core.set_next_rip(offset);
        core.set_stack_pointer(core.stack_offset(after));
        return Ok(());
    }
    return_to(core, &Return { selector, offset, size: SIZE, stack_depth: after, released, rflags: None })
}

/// A return to a code segment, possibly of an outer privilege.
struct Return {
    selector: u16,
    offset: u64,
    size: u8,
    /// Where SP and SS are above the top of the stack, if they are needed; else how far SP moves.
    stack_depth: i64,
    /// Bytes that RET n also releases on the outer stack.
    released: u16,
    /// RFLAGS that IRET pops.
    rflags: Option<u64>,
}

fn return_to(core: &mut Core<'_>, back: &Return) -> Exec {
    let error = selector_error(back.selector);
    let (descriptor, mut code) = target(core, back.selector)?;
    let new_cpl = rpl(back.selector);
    let dpl_fits = if code.is_conforming() { code.dpl <= new_cpl } else { code.dpl == new_cpl };
    let mixed = core.is_long_mode() && code.long && code.default_big;
    if !code.is_code() || new_cpl < core.cpl || !dpl_fits || mixed {
        return core.general_protection(error);
    }
    if !code.present {
        return core.raise(Exception::with_error(vector::NP, error));
    }
    check_target(core, &code, back.offset)?;
    let is_iretq = back.rflags.is_some() && core.mode == Mode::Long;
    let stack = if new_cpl > core.cpl || is_iretq {
        let sp = core.peek(back.size, back.stack_depth)?;
        let selector = core.peek(back.size, back.stack_depth + i64::from(back.size))? as u16;
        Some((outer_stack(core, selector, new_cpl, &code)?, sp))
    } else {
        None
    };
    core.mark_accessed(descriptor, &mut code)?;
    let old_cpl = core.cpl;
    if let Some(rflags) = back.rflags {
        set_popped_flags(core, rflags, back.size, old_cpl);
    }
    code.selector = back.selector;
    core.cpu.segments[seg::CS] = code;
    core.set_next_rip(back.offset);
    if let Some((segment, sp)) = stack {
        core.cpu.cpl = new_cpl;
        core.update_mode();
        core.set_segment(seg::SS, segment);
        core.set_stack_pointer(sp.wrapping_add(back.released.into()) & size_mask(back.size));
        if new_cpl > old_cpl {
            core.drop_inner_segments();
        }
    } else {
        core.set_stack_pointer(core.stack_offset(back.stack_depth));
        core.update_mode();
    }
    core.update_view();
    Ok(())
}

fn size_mask(size: u8) -> u64 {
    u64::MAX >> (64 - 8 * u32::from(size))
}

/// SS for a return to privilege `cpl`.
fn outer_stack(core: &mut Core<'_>, selector: u16, cpl: u8, code: &Segment) -> Exec<Segment> {
    if is_null(selector) && core.is_long_mode() && code.long && cpl != 3 {
        return if rpl(selector) == cpl {
            Ok(null_segment(selector, cpl))
        } else {
            core.general_protection(0)
        };
    }
    if is_null(selector) {
        return core.general_protection(0);
    }
    core.stack_segment(selector, cpl, vector::GP)
}

/// RFLAGS as IRET and POPF of privilege `cpl` may change them (SDM vol. 2, IRET).
fn set_popped_flags(core: &mut Core<'_>, rflags: u64, size: u8, cpl: u8) {
    let mut changeable =
        flags::STATUS | flags::TF | flags::DF | flags::NT | flags::RF | flags::AC | flags::ID;
    if cpl <= core.flags.iopl() {
        changeable |= flags::IF;
    }
    if cpl == 0 {
        changeable |= flags::IOPL | flags::VIF | flags::VIP;
    }
    if size == 2 {
        changeable &= 0xffff;
    }
    let merged = core.flags.get() & !changeable | rflags & changeable;
    core.cpu.flags.set(merged);
    core.take_resume_flag();
    core.recheck_interrupts();
}

fn interrupt_return<const SIZE: u8>(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    // Even if it faults (SDM vol. 3, 6.7.1).
    core.cpu.nmi_masked = false;
    let step = i64::from(SIZE);
    if core.mode == Mode::Virtual86 && core.flags.iopl() < 3 {
        return core.general_protection(0);
    }
    if core.mode.is_protected() && core.flags.has(flags::NT) {
        return return_to_task(core);
    }
    let offset = core.peek(SIZE, 0)?;
    let selector = core.peek(SIZE, step)? as u16;
    let rflags = core.peek(SIZE, 2 * step)?;
    if !core.mode.is_protected() {
        return real_interrupt_return(core, SIZE, offset, selector, rflags);
    }
    if rflags & flags::VM != 0 && core.cpl == 0 && !core.is_long_mode() && SIZE == 4 {
        return return_to_virtual(core, offset, selector, rflags);
    }
    let back =
        Return { selector, offset, size: SIZE, stack_depth: 3 * step, released: 0, rflags: Some(rflags) };
    return_to(core, &back)
}

/// A return from a nested task, of which IA-32e mode has none.
fn return_to_task(core: &mut Core<'_>) -> Exec {
    if core.is_long_mode() {
        return core.general_protection(0);
    }
    let link: u16 = core.load_system(core.tr.base)?;
    core.switch_task(link, Switch::Return, (core.next_rip(), core.flags.get() & !flags::RF))
}

/// Into virtual-8086 mode: a frame of nine, and all flags as they are in it (SDM vol. 3, 21.2.5).
fn return_to_virtual(core: &mut Core<'_>, offset: u64, selector: u16, rflags: u64) -> Exec {
    let mut frame = [0; 6];
    for (index, value) in frame.iter_mut().enumerate() {
        *value = core.peek(4, 12 + 4 * index as i64)?;
    }
    let [sp, ss, es, ds, fs, gs] = frame;
    if offset > 0xffff {
        return core.general_protection(0);
    }
    core.cpu.flags.set(rflags);
    core.take_resume_flag();
    core.cpu.cpl = 3;
    let segments = [(seg::CS, selector.into()), (seg::SS, ss), (seg::ES, es), (seg::DS, ds), (seg::FS, fs)];
    for (register, selector) in segments.into_iter().chain([(seg::GS, gs)]) {
        core.set_segment(register, virtual_segment(selector as u16));
    }
    core.set_next_rip(offset);
    core.cpu.gpr[gpr::RSP] = sp;
    core.update_mode();
    core.recheck_interrupts();
    Ok(())
}

fn real_interrupt_return(core: &mut Core<'_>, size: u8, offset: u64, selector: u16, rflags: u64) -> Exec {
    if offset > core.segments[seg::CS].limit.into() {
        return core.general_protection(0);
    }
    core.load_real_segment(seg::CS, selector);
    core.set_next_rip(offset);
    core.set_stack_pointer(core.stack_offset(3 * i64::from(size)));
    let cpl = core.cpl;
    set_popped_flags(core, rflags & !(flags::VIF | flags::VIP), size, cpl);
    core.update_view();
    Ok(())
}
