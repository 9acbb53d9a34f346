//! System instructions (SDM vol. 2 and vol. 3, 2.8): control and debug registers, descriptor tables, MSRs, TSC, CPUID,
//! TLB management, HLT, interrupt flag, hypercalls.

use arch_model::x86_64::{DescriptorTable, RunState};
use iced_x86::{Mnemonic, OpKind};

use super::vector::xsave;
use super::{Form, by_size, serializing};
use crate::cpu::mode::{cr0, cr4};
use crate::cpu::segment::{is_null, null_segment, selector_error, system_type};
use crate::cpu::{Core, Exception, Exec, Mode, Word, flags, gpr, seg, shadow, vector};
use crate::decode::insn::{Handler, Insn};
use crate::memory::order;
use crate::platform::SendIpi;

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    let register = |operand: u32| {
        (operand < form.insn.op_count() && form.insn.op_kind(operand) == OpKind::Register)
            .then(|| form.insn.op_register(operand))
    };
    let is_cr = |operand| register(operand).is_some_and(iced_x86::Register::is_cr);
    let is_dr = |operand| register(operand).is_some_and(iced_x86::Register::is_dr);
    Some(match form.mnemonic {
        Mnemonic::Mov if is_cr(1) => read_control,
        Mnemonic::Mov if is_cr(0) => serializing!(write_control),
        Mnemonic::Mov if is_dr(1) => read_debug,
        Mnemonic::Mov if is_dr(0) => serializing!(write_debug),
        Mnemonic::Clts => clts,
        Mnemonic::Lmsw => serializing!(lmsw),
        Mnemonic::Smsw if form.insn.op0_kind() == OpKind::Register => return by_size!(form, smsw),
        Mnemonic::Smsw => smsw::<u16>,
        Mnemonic::Lgdt => serializing!(load_table::<true>),
        Mnemonic::Lidt => serializing!(load_table::<false>),
        Mnemonic::Sgdt => store_table::<true>,
        Mnemonic::Sidt => store_table::<false>,
        Mnemonic::Lldt => serializing!(lldt),
        Mnemonic::Ltr => serializing!(ltr),
        Mnemonic::Sldt if form.insn.op0_kind() == OpKind::Register => return by_size!(form, sldt),
        Mnemonic::Sldt => sldt::<u16>,
        Mnemonic::Str if form.insn.op0_kind() == OpKind::Register => return by_size!(form, str),
        Mnemonic::Str => str::<u16>,
        Mnemonic::Rdmsr => rdmsr,
        Mnemonic::Wrmsr => wrmsr,
        Mnemonic::Rdtsc => rdtsc,
        Mnemonic::Rdtscp => rdtscp,
        Mnemonic::Rdpmc => rdpmc,
        Mnemonic::Cpuid => serializing!(cpuid),
        Mnemonic::Hlt => hlt,
        Mnemonic::Cli => cli,
        Mnemonic::Sti => sti,
        Mnemonic::Clac => set_ac::<false>,
        Mnemonic::Stac => set_ac::<true>,
        Mnemonic::Swapgs => swapgs,
        Mnemonic::Invlpg => serializing!(invlpg),
        Mnemonic::Invpcid => serializing!(invpcid),
        Mnemonic::Invd | Mnemonic::Wbinvd => serializing!(invalidate_caches),
        Mnemonic::Vmcall | Mnemonic::Vmmcall => hypercall,
        Mnemonic::Xgetbv => xgetbv,
        Mnemonic::Xsetbv => xsetbv,
        _ => return None,
    })
}

fn read_control(core: &mut Core<'_>, insn: &Insn) -> Exec {
    core.require_cpl0()?;
    let value = match insn.ops[1].register {
        0 => core.cr0,
        2 => core.cr2,
        3 => core.cr3,
        4 => core.cr4,
        8 => core.lapic.cr8().into(),
        _ => return core.undefined(),
    };
    let size = if core.mode == Mode::Long { 8 } else { 4 };
    core.set_reg_sized(insn.ops[0].register.into(), size, value);
    Ok(())
}

fn write_control(core: &mut Core<'_>, insn: &Insn) -> Exec {
    core.journal.note_unrepeatable();
    let value = core.reg(insn.ops[1].register.into());
    let value = if core.mode == Mode::Long { value } else { value & 0xffff_ffff };
    let number = insn.ops[0].register;
    if !matches!(number, 0 | 2 | 3 | 4 | 8) {
        return core.undefined();
    }
    core.require_cpl0()?;
    match number {
        0 => core.set_cr0(value),
        2 => {
            core.cpu.cr2 = value;
            Ok(())
        }
        3 => core.set_cr3(value),
        4 => core.set_cr4(value),
        _ => core.set_cr8(value),
    }
}

fn read_debug(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let value = core.read_debug_register(insn.ops[1].register)?;
    let size = if core.mode == Mode::Long { 8 } else { 4 };
    core.set_reg_sized(insn.ops[0].register.into(), size, value);
    Ok(())
}

fn write_debug(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let value = core.reg(insn.ops[1].register.into());
    let value = if core.mode == Mode::Long { value } else { value & 0xffff_ffff };
    core.write_debug_register(insn.ops[0].register, value)
}

fn clts(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    core.require_cpl0()?;
    core.cpu.cr0 &= !cr0::TS;
    Ok(())
}

/// LMSW sets PE, MP, EM, TS, but cannot clear PE.
fn lmsw(core: &mut Core<'_>, insn: &Insn) -> Exec {
    core.journal.note_unrepeatable();
    core.require_cpl0()?;
    let value = u64::from(core.read::<u16>(insn, 0)?);
    let changeable = cr0::MP | cr0::EM | cr0::TS;
    let merged = core.cr0 & !changeable | value & (changeable | cr0::PE);
    core.set_cr0(merged)
}

/// Stops what UMIP stops (SDM vol. 3, 2.5).
fn refuse_under_umip(core: &mut Core<'_>) -> Exec {
    if core.is_user_mode_prevented() { core.general_protection(0) } else { Ok(()) }
}

fn smsw<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    refuse_under_umip(core)?;
    let value = T::from_u64(core.cr0);
    core.write(insn, 0, value)
}

fn require_protected(core: &mut Core<'_>) -> Exec {
    if core.mode.is_protected() { Ok(()) } else { core.undefined() }
}

fn sldt<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    require_protected(core)?;
    refuse_under_umip(core)?;
    let selector = T::from_u64(core.ldt.selector.into());
    core.write(insn, 0, selector)
}

fn str<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    require_protected(core)?;
    refuse_under_umip(core)?;
    let selector = T::from_u64(core.tr.selector.into());
    core.write(insn, 0, selector)
}

fn load_table<const GLOBAL: bool>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    core.require_cpl0()?;
    let at = core.effective_address(insn);
    let long = core.mode == Mode::Long;
    let limit: u16 = core.load(insn.segment.into(), at)?;
    let base = core.load_sized(insn.segment.into(), at.wrapping_add(2), if long { 8 } else { 4 })?;
    if long && (base as i64) << 16 >> 16 != base as i64 {
        return core.general_protection(0);
    }
    // A 16-bit operand size takes 24 bits of the base. Iced tells it by the memory operand's size.
    let base = if insn.size == 5 { base & 0xff_ffff } else { base };
    let table = DescriptorTable { base, limit };
    if GLOBAL {
        core.cpu.gdt = table;
    } else {
        core.cpu.idt = table;
    }
    Ok(())
}

fn store_table<const GLOBAL: bool>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    refuse_under_umip(core)?;
    let table = if GLOBAL { core.gdt } else { core.idt };
    let mut bytes = [0; 10];
    bytes[..2].copy_from_slice(&table.limit.to_le_bytes());
    bytes[2..].copy_from_slice(&table.base.to_le_bytes());
    let len = if core.mode == Mode::Long { 10 } else { 6 };
    let at = core.effective_address(insn);
    core.store_slice(insn.segment.into(), at, &bytes[..len])
}

/// The system descriptor that LLDT or LTR names, 16 bytes long in IA-32e mode.
fn system_segment(
    core: &mut Core<'_>,
    selector: u16,
    kinds: &[u8],
) -> Exec<(crate::cpu::segment::Descriptor, arch_model::x86_64::Segment)> {
    let error = selector_error(selector);
    if selector & 4 != 0 {
        return core.general_protection(error);
    }
    let descriptor = core.descriptor_or(selector, vector::GP)?;
    let mut segment = descriptor.segment(selector);
    if segment.code_or_data || !kinds.contains(&segment.kind) {
        return core.general_protection(error);
    }
    if !segment.present {
        return core.raise(Exception::with_error(vector::NP, error));
    }
    if core.is_long_mode() {
        // The upper half has to be in the table too.
        if !core.table_holds(selector, 16) {
            return core.general_protection(error);
        }
        let high: u64 = core.load_system(descriptor.address.wrapping_add(8))?;
        segment.base |= high << 32;
        if (segment.base as i64) << 16 >> 16 != segment.base as i64 || high >> 40 & 0x1f != 0 {
            return core.general_protection(error);
        }
    }
    Ok((descriptor, segment))
}

fn lldt(core: &mut Core<'_>, insn: &Insn) -> Exec {
    require_protected(core)?;
    core.require_cpl0()?;
    let selector: u16 = core.read(insn, 0)?;
    core.cpu.ldt = if is_null(selector) {
        null_segment(selector, 0)
    } else {
        system_segment(core, selector, &[system_type::LDT])?.1
    };
    Ok(())
}

fn ltr(core: &mut Core<'_>, insn: &Insn) -> Exec {
    require_protected(core)?;
    core.require_cpl0()?;
    let selector: u16 = core.read(insn, 0)?;
    if is_null(selector) {
        return core.general_protection(0);
    }
    let kinds: &[u8] =
        if core.is_long_mode() { &[system_type::TSS] } else { &[system_type::TSS, system_type::TSS16] };
    let (descriptor, mut segment) = system_segment(core, selector, kinds)?;
    // Busy from now on, here and in its table.
    segment.kind |= 2;
    let byte: u8 = core.load_system(descriptor.address + 5)?;
    core.store_system(descriptor.address + 5, byte | 2)?;
    core.cpu.tr = segment;
    Ok(())
}

fn rdmsr(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    core.journal.note_unrepeatable();
    core.require_cpl0()?;
    let value = core.read_msr(core.gpr[gpr::RCX] as u32)?;
    set_pair(core, value);
    Ok(())
}

fn wrmsr(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    core.journal.note_unrepeatable();
    core.require_cpl0()?;
    let value = pair(core);
    let index = core.gpr[gpr::RCX] as u32;
    core.write_msr(index, value)?;
    if !is_unordered_msr(index) {
        order::drain_stores();
    }
    Ok(())
}

/// MSRs whose writes are not serializing: the TSC deadline, and the local APIC in x2APIC mode (SDM vol. 3, 9.3 and 11.12.3).
fn is_unordered_msr(index: u32) -> bool {
    matches!(index, 0x6e0 | 0x800..=0x8ff)
}

/// EDX:EAX.
pub(super) fn pair(core: &Core<'_>) -> u64 {
    core.gpr[gpr::RAX] & 0xffff_ffff | core.gpr[gpr::RDX] << 32
}

fn set_pair(core: &mut Core<'_>, value: u64) {
    core.cpu.gpr[gpr::RAX] = value & 0xffff_ffff;
    core.cpu.gpr[gpr::RDX] = value >> 32;
}

fn check_tsc(core: &mut Core<'_>) -> Exec {
    if core.cr4 & cr4::TSD != 0 { core.require_cpl0() } else { Ok(()) }
}

fn rdtsc(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    check_tsc(core)?;
    let tsc = core.tsc();
    set_pair(core, tsc);
    Ok(())
}

fn rdtscp(core: &mut Core<'_>, insn: &Insn) -> Exec {
    rdtsc(core, insn)?;
    core.cpu.gpr[gpr::RCX] = core.msrs.tsc_aux & 0xffff_ffff;
    Ok(())
}

/// There are no performance counters.
fn rdpmc(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    core.general_protection(0)
}

fn cpuid(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    let (function, index) = (core.gpr[gpr::RAX] as u32, core.gpr[gpr::RCX] as u32);
    let found = core
        .cpuid
        .iter()
        .find(|leaf| leaf.function == function && leaf.index.is_none_or(|wanted| wanted == index))
        .copied()
        .unwrap_or_default();
    let (mut eax, mut ebx, mut ecx, mut edx) = (found.eax, found.ebx, found.ecx, found.edx);
    if function == 1 {
        // OSXSAVE and the APIC's presence follow the registers.
        ecx = ecx & !(1 << 27) | u32::from(core.cr4 & cr4::OSXSAVE != 0) << 27;
        edx = edx & !(1 << 9) | ((core.lapic.apic_base() >> 11 & 1) as u32) << 9;
    }
    if found.function == 0xd && index < 2 {
        // The size of an XSAVE area follows XCR0, in the compacted format too.
        ebx = xsave::area_size(core.xcr0);
    }
    if matches!(function, 0xb | 0x1f) && found.function == 0 {
        // Beyond the last level: the index and the APIC ID are still told.
        (ecx, edx) = (index & 0xff, core.index as u32);
    }
    match function {
        // The TSC may have been saved elsewhere.
        0x15 if found.function != 0 => [eax, ebx, ecx] = core.cpu.tsc.ratio(),
        0x16 if found.function != 0 => (eax, ebx) = (core.cpu.tsc.khz() / 1000, core.cpu.tsc.khz() / 1000),
        _ => {}
    }
    core.cpu.gpr[gpr::RAX] = eax.into();
    core.cpu.gpr[gpr::RBX] = ebx.into();
    core.cpu.gpr[gpr::RCX] = ecx.into();
    core.cpu.gpr[gpr::RDX] = edx.into();
    Ok(())
}

fn hlt(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    core.journal.note_unrepeatable();
    core.require_cpl0()?;
    core.cpu.run_state = RunState::Halted;
    core.cpu.shadow = 0;
    core.attention = true;
    Ok(())
}

/// Whether IF may be changed (SDM vol. 2, CLI): protected-mode virtual interrupts are not offered.
fn check_interrupt_flag(core: &mut Core<'_>) -> Exec {
    let allowed = match core.mode {
        Mode::Real => true,
        Mode::Virtual86 => core.flags.iopl() == 3,
        _ => core.cpl <= core.flags.iopl(),
    };
    if allowed { Ok(()) } else { core.general_protection(0) }
}

fn cli(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    check_interrupt_flag(core)?;
    core.cpu.flags.put(flags::IF, false);
    Ok(())
}

fn sti(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    check_interrupt_flag(core)?;
    if !core.flags.has(flags::IF) {
        core.cpu.flags.put(flags::IF, true);
        core.cpu.shadow = shadow::STI;
        core.attention = true;
    }
    Ok(())
}

fn set_ac<const ON: bool>(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    if core.cpl != 0 {
        return core.undefined();
    }
    core.cpu.flags.put(flags::AC, ON);
    core.update_view();
    Ok(())
}

fn swapgs(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    if core.mode != Mode::Long {
        return core.undefined();
    }
    core.require_cpl0()?;
    let mut segment = core.segments[seg::GS];
    std::mem::swap(&mut segment.base, &mut core.cpu.msrs.kernel_gs_base);
    core.set_segment(seg::GS, segment);
    Ok(())
}

fn invlpg(core: &mut Core<'_>, insn: &Insn) -> Exec {
    core.require_cpl0()?;
    let offset = core.effective_address(insn);
    let segment = usize::from(insn.segment);
    let base = if core.mode == Mode::Long && segment < seg::FS { 0 } else { core.segments[segment].base };
    core.invalidate_page(base.wrapping_add(offset));
    Ok(())
}

fn invpcid(core: &mut Core<'_>, insn: &Insn) -> Exec {
    core.require_cpl0()?;
    let kind = core.reg(insn.ops[0].register.into());
    let kind = if core.mode == Mode::Long { kind } else { kind & 0xffff_ffff };
    let at = core.effective_address(insn);
    let bytes: [u8; 16] = core.load_bytes(insn.segment.into(), at)?;
    let half = |start: usize| u64::from_le_bytes(std::array::from_fn(|index| bytes[start + index]));
    core.invalidate_pcid(kind, [half(0), half(8)])
}

/// Caches are the host's; there is nothing to write back.
fn invalidate_caches(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    core.require_cpl0()
}

/// KVM's hypercalls (Linux, `Documentation/virt/kvm/x86/hypercalls.rst`).
mod hypercalls {
    pub(super) const KICK_CPU: u64 = 5;
    pub(super) const SEND_IPI: u64 = 10;
    /// The answer to an unknown one.
    pub(super) const NOT_KNOWN: u64 = 1000u64.wrapping_neg();
    /// The answer to one from user mode.
    pub(super) const NOT_PERMITTED: u64 = 1u64.wrapping_neg();
}

fn hypercall(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    core.journal.note_unrepeatable();
    let argument = |register: usize| core.gpr[register];
    let [number, a0, a1, a2, a3] = [gpr::RAX, gpr::RBX, gpr::RCX, gpr::RDX, gpr::RSI].map(argument);
    let answer = if core.cpl != 0 {
        hypercalls::NOT_PERMITTED
    } else {
        match number {
            hypercalls::KICK_CPU => {
                core.shared.platform.kick_cpu(a1 as u32);
                0
            }
            hypercalls::SEND_IPI => {
                let ipi = SendIpi::from_operands([a0, a1, a2, a3], core.mode == Mode::Long);
                core.shared.platform.send_ipi(&ipi) as u64
            }
            _ => hypercalls::NOT_KNOWN,
        }
    };
    core.cpu.gpr[gpr::RAX] = answer;
    Ok(())
}

fn require_xsave(core: &mut Core<'_>) -> Exec {
    if core.cr4 & cr4::OSXSAVE != 0 { Ok(()) } else { core.undefined() }
}

fn xgetbv(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    require_xsave(core)?;
    let with_in_use = core.shared.cpuid_words.leaf_d_eax >> 2 & 1 == 1;
    let value = match core.gpr[gpr::RCX] as u32 {
        0 => core.xcr0,
        1 if with_in_use => core.xcr0 & xsave::in_use(&core.cpu),
        _ => return core.general_protection(0),
    };
    set_pair(core, value);
    Ok(())
}

fn xsetbv(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    require_xsave(core)?;
    core.require_cpl0()?;
    let value = pair(core);
    let illegal = core.gpr[gpr::RCX] as u32 != 0 || value & 1 == 0 || value & 6 == 4 || value & !7 != 0;
    if illegal {
        return core.general_protection(0);
    }
    core.cpu.xcr0 = value;
    Ok(())
}
