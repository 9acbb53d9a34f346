//! To and from the engine-neutral state.

use arch_model::x86_64::{
    CpuState, ExtendedState, PendingEvents, PendingException, Registers, RunState, SystemRegisters,
};

use super::debug::BREAKPOINTS;
use super::mode::{cr0, efer};
use super::registers::{Cpu, Fpu, X87Register};
use super::{Flags, Mode, gpr, msr, seg, shadow, vector};
use crate::platform::Lapic;
use crate::shared::Shared;

/// Bytes of an XSAVE area with legacy region, header, and AVX (SDM vol. 1, 13.4).
const XSAVE_SIZE: usize = 576 + 256;
/// Offset of the header.
const HEADER: usize = 512;
/// Offset of the upper halves of YMM.
const YMM_HIGH: usize = 576;
/// MXCSR bits that exist.
const MXCSR_MASK: u32 = 0xffff;

/// All of a vCPU's state.
pub fn save(cpu: &Cpu, lapic: &Lapic, shared: &Shared) -> CpuState {
    CpuState {
        registers: registers(cpu),
        system: SystemRegisters { cr8: lapic.cr8().into(), apic_base: lapic.apic_base(), ..system(cpu) },
        extended: extended(cpu),
        debug: cpu.debug,
        msrs: msr::save(cpu, lapic, shared),
        lapic: lapic.save(),
        events: PendingEvents {
            exception: held_trap(cpu),
            interrupt_shadow: cpu.shadow,
            nmi_pending: cpu.nmi_pending,
            nmi_masked: cpu.nmi_masked,
            sipi_vector: cpu.sipi_vector,
            ..PendingEvents::default()
        },
        run_state: cpu.run_state,
        tsc_khz: Some(cpu.tsc.khz()),
    }
}

/// Takes over all of `state`.
pub fn restore(cpu: &mut Cpu, lapic: &mut Lapic, shared: &Shared, state: &CpuState) {
    shared.platform.clock().hold_for_restore();
    lapic.restore(&state.lapic, state.system.apic_base);
    if state.lapic.registers.is_empty() {
        lapic.set_cr8(state.system.cr8 as u8);
    }
    if let Some(khz) = state.tsc_khz {
        cpu.tsc = cpu.tsc.with_khz(khz, shared.platform.clock().now_ns());
        lapic.set_tsc(cpu.tsc);
    }
    msr::restore(cpu, lapic, shared, &state.msrs);
    restore_registers(cpu, &state.registers);
    restore_system(cpu, &state.system);
    restore_extended(cpu, &state.extended);
    cpu.debug = state.debug;
    cpu.run_state = state.run_state;
    // What halts has ended its shadow.
    let halted = state.run_state == RunState::Halted;
    cpu.shadow = if halted { 0 } else { state.events.interrupt_shadow & (shadow::MOV_SS | shadow::STI) };
    cpu.held_traps = held_traps(cpu.shadow, &state.events);
    cpu.nmi_pending = state.events.nmi_pending || state.events.nmi_injected;
    cpu.nmi_masked = state.events.nmi_masked;
    cpu.sipi_vector = state.events.sipi_vector;
    if state.run_state == RunState::SipiReceived {
        cpu.run_state = RunState::InitReceived;
    }
    cpu.cpl = if cpu.cr0 & cr0::PE == 0 {
        0
    } else if cpu.flags.has(super::flags::VM) && cpu.efer & efer::LMA == 0 {
        3
    } else {
        cpu.segments[seg::SS].dpl
    };
    cpu.mode = Mode::Real;
}

/// The debug trap that waits for the end of the instruction behind MOV SS.
fn held_trap(cpu: &Cpu) -> Option<PendingException> {
    let trap = PendingException {
        vector: vector::DB,
        error_code: None,
        injected: false,
        payload: Some(cpu.held_traps),
    };
    (cpu.held_traps != 0).then_some(trap)
}

/// The bits for DR6 of such a trap.
fn held_traps(shadow: u8, events: &PendingEvents) -> u64 {
    let is_held =
        |trap: &PendingException| shadow & shadow::MOV_SS != 0 && trap.vector == vector::DB && !trap.injected;
    events.exception.filter(is_held).and_then(|trap| trap.payload).unwrap_or(0) & BREAKPOINTS
}

fn registers(cpu: &Cpu) -> Registers {
    let gpr = std::array::from_fn(|number| cpu.gpr[number]);
    Registers::numbered(gpr, cpu.rip, cpu.flags.get())
}

fn restore_registers(cpu: &mut Cpu, from: &Registers) {
    cpu.gpr = [0; gpr::SLOTS];
    cpu.gpr[..16].copy_from_slice(&from.by_number());
    cpu.rip = from.rip;
    cpu.flags = Flags::default();
    cpu.flags.set(from.rflags);
}

fn system(cpu: &Cpu) -> SystemRegisters {
    let [es, cs, ss, ds, fs, gs] = cpu.segments;
    SystemRegisters {
        cs,
        ds,
        es,
        fs,
        gs,
        ss,
        tr: cpu.tr,
        ldt: cpu.ldt,
        gdt: cpu.gdt,
        idt: cpu.idt,
        cr0: cpu.cr0,
        cr2: cpu.cr2,
        cr3: cpu.cr3,
        cr4: cpu.cr4,
        efer: cpu.efer,
        cr8: 0,
        apic_base: 0,
    }
}

fn restore_system(cpu: &mut Cpu, from: &SystemRegisters) {
    let SystemRegisters { cs, ds, es, fs, gs, ss, tr, ldt, gdt, idt, .. } = *from;
    let SystemRegisters { cr0, cr2, cr3, cr4, efer, cr8: _, apic_base: _, .. } = *from;
    cpu.segments = [es, cs, ss, ds, fs, gs];
    (cpu.tr, cpu.ldt, cpu.gdt, cpu.idt) = (tr, ldt, gdt, idt);
    (cpu.cr0, cpu.cr2, cpu.cr3, cpu.cr4, cpu.efer) = (cr0 | cr0::ET, cr2, cr3, cr4, efer);
}

fn extended(cpu: &Cpu) -> ExtendedState {
    let mut area = vec![0; XSAVE_SIZE];
    area[..HEADER].copy_from_slice(&legacy_area(&cpu.fpu, cpu.mxcsr, &cpu.vectors));
    for (index, vector) in cpu.vectors.iter().enumerate() {
        put(&mut area, YMM_HIGH + 16 * index, &vector[2].to_le_bytes());
        put(&mut area, YMM_HIGH + 16 * index + 8, &vector[3].to_le_bytes());
    }
    // XSTATE_BV: x87 and SSE always, AVX where it is enabled.
    let present = 3 | cpu.xcr0 & 4;
    put(&mut area, HEADER, &present.to_le_bytes());
    ExtendedState { xsave: area, xcr0: cpu.xcr0 }
}

fn restore_extended(cpu: &mut Cpu, from: &ExtendedState) {
    cpu.xcr0 = from.xcr0.max(1);
    cpu.fpu = Fpu::default();
    cpu.mxcsr = 0x1f80;
    cpu.vectors = [[0; 4]; 16];
    if from.xsave.len() < YMM_HIGH {
        return;
    }
    let area = &from.xsave;
    let present = u64::from_le_bytes(take(area, HEADER));
    if present & 1 != 0 {
        cpu.fpu = legacy_fpu(area);
    }
    if present & 6 != 0 {
        cpu.mxcsr = u32::from_le_bytes(take(area, 24)) & MXCSR_MASK;
    }
    for (index, vector) in cpu.vectors.iter_mut().enumerate() {
        if present & 2 != 0 {
            vector[0] = u64::from_le_bytes(take(area, 160 + 16 * index));
            vector[1] = u64::from_le_bytes(take(area, 168 + 16 * index));
        }
        if present & 4 != 0 {
            vector[2] = u64::from_le_bytes(take(area, YMM_HIGH + 16 * index));
            vector[3] = u64::from_le_bytes(take(area, YMM_HIGH + 16 * index + 8));
        }
    }
}

/// The 512-byte area of FXSAVE in its 64-bit format (SDM vol. 1, table 10-2).
pub fn legacy_area(fpu: &Fpu, mxcsr: u32, vectors: &[[u64; 4]; 16]) -> [u8; HEADER] {
    let mut area = [0; HEADER];
    put(&mut area, 0, &fpu.control.to_le_bytes());
    put(&mut area, 2, &fpu.status.to_le_bytes());
    area[4] = fpu.valid;
    put(&mut area, 6, &fpu.opcode.to_le_bytes());
    put(&mut area, 8, &fpu.instruction.to_le_bytes());
    put(&mut area, 16, &fpu.data.to_le_bytes());
    put(&mut area, 24, &mxcsr.to_le_bytes());
    put(&mut area, 28, &MXCSR_MASK.to_le_bytes());
    let top = usize::from(fpu.status >> 11 & 7);
    for index in 0..8 {
        let register = fpu.registers[(top + index) & 7];
        put(&mut area, 32 + 16 * index, &register.significand.to_le_bytes());
        put(&mut area, 40 + 16 * index, &register.sign_exponent.to_le_bytes());
    }
    for (index, vector) in vectors.iter().enumerate() {
        put(&mut area, 160 + 16 * index, &vector[0].to_le_bytes());
        put(&mut area, 168 + 16 * index, &vector[1].to_le_bytes());
    }
    area
}

/// The x87 part of a legacy area, which is at least 160 bytes long.
pub fn legacy_fpu(area: &[u8]) -> Fpu {
    let mut fpu = Fpu {
        registers: [X87Register::default(); 8],
        control: u16::from_le_bytes(take(area, 0)),
        status: u16::from_le_bytes(take(area, 2)),
        valid: area[4],
        opcode: u16::from_le_bytes(take(area, 6)) & 0x7ff,
        instruction: u64::from_le_bytes(take(area, 8)),
        data: u64::from_le_bytes(take(area, 16)),
    };
    let top = usize::from(fpu.status >> 11 & 7);
    for index in 0..8 {
        fpu.registers[(top + index) & 7] = X87Register {
            significand: u64::from_le_bytes(take(area, 32 + 16 * index)),
            sign_exponent: u16::from_le_bytes(take(area, 40 + 16 * index)),
        };
    }
    fpu
}

fn put(area: &mut [u8], offset: usize, bytes: &[u8]) {
    area[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn take<const N: usize>(area: &[u8], offset: usize) -> [u8; N] {
    let mut bytes = [0; N];
    if let Some(found) = area.get(offset..offset + N) {
        bytes.copy_from_slice(found);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trap_that_mov_ss_holds_is_carried_with_its_shadow() {
        let cpu = Cpu { shadow: shadow::MOV_SS, held_traps: 0xa, ..Cpu::power_on(0, 0) };
        let events = PendingEvents { exception: held_trap(&cpu), ..PendingEvents::default() };
        assert_eq!(held_traps(shadow::MOV_SS, &events), 0xa);
        assert_eq!(held_traps(shadow::STI, &events), 0);
        assert_eq!(held_trap(&Cpu::power_on(0, 0)), None);
        let mut other = events;
        other.exception = events.exception.map(|trap| PendingException { payload: Some(u64::MAX), ..trap });
        assert_eq!(held_traps(shadow::MOV_SS, &other), BREAKPOINTS);
    }
}
