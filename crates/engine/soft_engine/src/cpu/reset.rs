//! Power-on and INIT (SDM vol. 3, table 10-1).

use arch_model::x86_64::{DebugRegisters, DescriptorTable, RunState, Segment};

use super::mode::cr0;
use super::registers::{Cpu, Fpu, Msrs};
use super::{Core, Flags, Mode, gpr, seg};
use crate::platform::Tsc;

/// A data segment of real mode.
const REAL_DATA: Segment = Segment {
    selector: 0,
    base: 0,
    limit: 0xffff,
    kind: 3,
    code_or_data: true,
    dpl: 0,
    present: true,
    available: false,
    long: false,
    default_big: false,
    granular: false,
    unusable: false,
};

impl Cpu {
    /// As after power-on; vCPU 0 runs, the others wait for INIT.
    pub fn power_on(index: usize, signature: u32) -> Cpu {
        let table = DescriptorTable { base: 0, limit: 0xffff };
        let mut slots = [0; gpr::SLOTS];
        slots[gpr::RDX] = signature.into();
        Cpu {
            gpr: slots,
            rip: 0xfff0,
            flags: Flags::default(),
            segments: real_segments(0xf000, 0xffff_0000),
            tr: Segment { kind: 11, code_or_data: false, ..REAL_DATA },
            ldt: Segment { kind: 2, code_or_data: false, ..REAL_DATA },
            gdt: table,
            idt: table,
            cr0: cr0::CD | cr0::NW | cr0::ET,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            efer: 0,
            xcr0: 1,
            debug: DebugRegisters { addresses: [0; 4], dr6: 0xffff_0ff0, dr7: 0x400 },
            msrs: Msrs { pat: 0x0007_0406_0007_0406, misc_enable: 1, ..Msrs::default() },
            fpu: Fpu::default(),
            vectors: [[0; 4]; 16],
            mxcsr: 0x1f80,
            run_state: if index == 0 { RunState::Running } else { RunState::Uninitialized },
            unhalted: false,
            shadow: 0,
            held_traps: 0,
            nmi_masked: false,
            nmi_pending: false,
            sipi_vector: 0,
            tsc: Tsc::default(),
            mode: Mode::Real,
            cpl: 0,
            bases: [0; 6],
        }
    }
}

fn real_segments(code_selector: u16, code_base: u64) -> [Segment; 6] {
    let mut segments = [REAL_DATA; 6];
    segments[seg::CS] = Segment { selector: code_selector, base: code_base, kind: 11, ..REAL_DATA };
    segments
}

impl Core<'_> {
    /// INIT: what power-on does, but for the FPU, the TSC, and the MSRs.
    pub fn init(&mut self, signature: u32) {
        let fresh = Cpu::power_on(self.index, signature);
        let kept = std::mem::replace(&mut self.cpu, fresh);
        let caches = cr0::CD | cr0::NW;
        self.cpu.cr0 = kept.cr0 & caches | cr0::ET;
        self.cpu.fpu = kept.fpu;
        self.cpu.vectors = kept.vectors;
        self.cpu.mxcsr = kept.mxcsr;
        self.cpu.xcr0 = kept.xcr0;
        self.cpu.msrs = kept.msrs;
        self.cpu.tsc = kept.tsc;
        let is_bsp = self.lapic.is_bsp();
        self.cpu.run_state = if is_bsp { RunState::Running } else { RunState::InitReceived };
        self.lapic.init();
        self.translations.flush();
        self.update_mode();
        self.update_address_space(false);
        self.attention = true;
    }

    /// A start-up IPI: real mode at page `vector` (SDM vol. 3, 9.4.4).
    pub fn start_up(&mut self, vector: u8) {
        if self.run_state != RunState::InitReceived {
            return;
        }
        let selector = u16::from(vector) << 8;
        self.cpu.segments = real_segments(selector, u64::from(selector) << 4);
        self.rip = 0;
        self.run_state = RunState::Running;
        self.update_mode();
    }
}
