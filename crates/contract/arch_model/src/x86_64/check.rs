//! Whether a vCPU or a platform can be in a state that comes from a file.
//!
//! What is refused here is what no processor can be in. What it can be in without its guest's wish (a page table that
//! leads nowhere, a stack that is none) is the guest's own affair, and ends in the exceptions that it would end in on
//! hardware.

use super::cpuid::{CpuidLeaf, xsave_components};
use super::{
    CpuState, DebugRegisters, ExtendedState, IoApicState, LapicState, MsrValue, PendingEvents, PlatformState,
    Registers, Segment, SystemRegisters, layout, msr,
};

/// A state that is none; the words say which part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadState(pub &'static str);

type Verdict = Result<(), BadState>;

/// RFLAGS bits that are defined (SDM vol. 1, 3.4.3), and bit 1, which is always set.
const RFLAGS_DEFINED: u64 = 0x3f_7fd7;
/// CR0 bits that are defined (SDM vol. 3, 2.5).
const CR0_DEFINED: u64 = 0xe005_003f;
const CR0_PE: u64 = 1;
const CR0_NW: u64 = 1 << 29;
const CR0_CD: u64 = 1 << 30;
const CR0_PG: u64 = 1 << 31;
/// CR4 bits that are defined (SDM vol. 3, 2.5), up to FRED.
const CR4_DEFINED: u64 = 0x1_1bff_7fff;
const CR4_PAE: u64 = 1 << 5;
const CR4_LA57: u64 = 1 << 12;
/// CR3 bits between the highest address and the mode of linear addresses, and the one that is never stored (SDM vol. 3,
/// table 4-12).
const CR3_RESERVED: u64 = 1 << 63 | ((1 << 61) - (1 << 52));
/// EFER bits that are defined (APM vol. 2, 3.1.7).
const EFER_DEFINED: u64 = 0x36_fd01;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
/// Global enable and x2APIC of the APIC base (SDM vol. 3, 11.4.4).
const APIC_ENABLE: u64 = 1 << 11;
const APIC_X2: u64 = 1 << 10;
/// Reserved bits of the APIC base below the address.
const APIC_BASE_RESERVED: u64 = 0x2ff;
/// Legacy region and header of an XSAVE area (SDM vol. 1, 13.4).
const XSAVE_MIN: usize = 576;
/// Longest area that is looked at: that of every component defined today, and as much again.
const XSAVE_MAX: usize = 32 << 10;
/// The header: XSTATE_BV, XCOMP_BV, and what is reserved.
const XSTATE_BV: usize = 512;
const XCOMP_BV: usize = 520;
const MXCSR: usize = 24;
const MXCSR_DEFINED: u32 = 0xffff;
/// Registers of the local APIC's page.
const LAPIC_REGISTERS: usize = 64;
/// A guest that has run for longer than that, 146 years, has not.
const CLOCK_MAX_NS: u64 = 1 << 62;
/// No TSC is faster.
const TSC_MAX_KHZ: u32 = 100_000_000;

fn fail(what: &'static str) -> Verdict {
    Err(BadState(what))
}

fn check(holds: bool, what: &'static str) -> Verdict {
    if holds { Ok(()) } else { fail(what) }
}

impl CpuState {
    /// Checks that a vCPU which answers `cpuid` can be in this state.
    ///
    /// # Errors
    /// It cannot; by which part.
    pub fn check(&self, cpuid: &[CpuidLeaf]) -> Verdict {
        let CpuState { registers, system, extended, debug, msrs, lapic, events, run_state: _, tsc_khz } =
            self;
        let Registers { rflags, .. } = registers;
        check(rflags & !RFLAGS_DEFINED == 0, "RFLAGS has bits that do not exist")?;
        system.check()?;
        extended.check(cpuid)?;
        let DebugRegisters { addresses: _, dr6, dr7 } = debug;
        check(dr6 >> 32 == 0 && dr7 >> 32 == 0, "DR6 or DR7 has bits that do not exist")?;
        check_msrs(msrs, system)?;
        let LapicState { registers } = lapic;
        check(registers.len() == LAPIC_REGISTERS, "the local APIC does not have 64 registers")?;
        events.check()?;
        check(tsc_khz.is_none_or(|khz| (1..=TSC_MAX_KHZ).contains(&khz)), "no TSC has such a frequency")
    }
}

impl SystemRegisters {
    fn check(&self) -> Verdict {
        let SystemRegisters { cs, ds, es, fs, gs, ss, tr, ldt, gdt, idt, .. } = self;
        let SystemRegisters { cr0, cr2: _, cr3, cr4, cr8, efer, apic_base, .. } = *self;
        check(cr0 & !CR0_DEFINED == 0, "CR0 has bits that do not exist")?;
        check(cr0 & CR0_PG == 0 || cr0 & CR0_PE != 0, "CR0 has paging without protection")?;
        check(cr0 & CR0_NW == 0 || cr0 & CR0_CD != 0, "CR0 has NW without CD")?;
        check(cr4 & !CR4_DEFINED == 0, "CR4 has bits that do not exist")?;
        check(efer & !EFER_DEFINED == 0, "EFER has bits that do not exist")?;
        let is_active = efer & EFER_LME != 0 && cr0 & CR0_PG != 0;
        check((efer & EFER_LMA != 0) == is_active, "EFER.LMA is not what LME and paging make it")?;
        check(!is_active || cr4 & CR4_PAE != 0, "long mode without CR4.PAE")?;
        check(cr3 & CR3_RESERVED == 0, "CR3 leads beyond all memory")?;
        check(cr8 < 16, "CR8 is no priority")?;
        check(
            apic_base & APIC_BASE_RESERVED == 0 && apic_base >> 52 == 0,
            "the APIC base has bits that do not exist",
        )?;
        check(apic_base & (APIC_ENABLE | APIC_X2) != APIC_X2, "an x2APIC that is not enabled")?;
        let canonical = |address| is_canonical(address, cr4);
        check(canonical(gdt.base) && canonical(idt.base), "a descriptor table outside of the address space")?;
        for segment in [cs, ds, es, fs, gs, ss, tr, ldt] {
            let Segment { kind, dpl, base, unusable, .. } = *segment;
            check(dpl <= 3, "a segment's privilege level is above 3")?;
            check(kind <= 15, "a segment's type has more than 4 bits")?;
            check(unusable || canonical(base), "a segment outside of the address space")?;
        }
        Ok(())
    }
}

impl ExtendedState {
    fn check(&self, cpuid: &[CpuidLeaf]) -> Verdict {
        let ExtendedState { xsave, xcr0 } = self;
        check((XSAVE_MIN..=XSAVE_MAX).contains(&xsave.len()), "the XSAVE area has a length that none has")?;
        // Without XSAVE, x87 and SSE are there without being enabled.
        let supported = xsave_components(cpuid).unwrap_or(1);
        check(
            xcr0 & 1 != 0 && xcr0 & !supported == 0,
            "XCR0 enables what the guest's processor does not have",
        )?;
        check(xcr0 & 0b100 == 0 || xcr0 & 0b10 != 0, "XCR0 enables AVX without SSE")?;
        let present = u64::from_le_bytes(part(xsave, XSTATE_BV));
        check(
            present & !(supported | 0b11) == 0,
            "the XSAVE area holds what the guest's processor does not have",
        )?;
        for index in (2..63).filter(|index| present >> index & 1 == 1) {
            let component = |leaf: &&CpuidLeaf| leaf.function == 0xd && leaf.index == Some(index);
            let leaf =
                cpuid.iter().find(component).ok_or(BadState("the XSAVE area holds an unknown component"))?;
            let end = u64::from(leaf.ebx) + u64::from(leaf.eax);
            check(end <= xsave.len() as u64, "the XSAVE area ends within a component")?;
        }
        check(
            part::<56>(xsave, XCOMP_BV) == [0; 56],
            "the XSAVE area is compacted, or its header no header",
        )?;
        let mxcsr = u32::from_le_bytes(part(xsave, MXCSR));
        check(mxcsr & !MXCSR_DEFINED == 0, "MXCSR has bits that do not exist")
    }
}

/// So many bytes from `offset`; zeros where there are none.
fn part<const N: usize>(area: &[u8], offset: usize) -> [u8; N] {
    let mut bytes = [0; N];
    if let Some(found) = area.get(offset..offset + N) {
        bytes.copy_from_slice(found);
    }
    bytes
}

fn check_msrs(msrs: &[MsrValue], system: &SystemRegisters) -> Verdict {
    let addresses = [msr::SYSENTER_ESP, msr::SYSENTER_EIP, msr::LSTAR, msr::CSTAR, msr::KERNEL_GS_BASE];
    for (at, MsrValue { index, value }) in msrs.iter().enumerate() {
        check(msr::saved().any(|saved| saved == *index), "an MSR that is not part of a vCPU's state")?;
        check(msrs[..at].iter().all(|other| other.index != *index), "an MSR is there twice")?;
        check(!addresses.contains(index) || is_canonical(*value, system.cr4), "an MSR holds no address")?;
        // Memory types: 0, 1, 4, 5, 6, and 7 in the PAT (SDM vol. 3, 12.11.2.1, table 12-10).
        let is_type = |byte: u8| matches!(byte, 0 | 1 | 4 | 5 | 6 | 7);
        let is_pat = *index != msr::PAT || value.to_le_bytes().into_iter().all(is_type);
        check(is_pat, "the PAT has a memory type that does not exist")?;
    }
    Ok(())
}

impl PendingEvents {
    fn check(&self) -> Verdict {
        let PendingEvents { exception, interrupt_shadow, sipi_vector, .. } = self;
        check(exception.is_none_or(|exception| exception.vector < 32), "an exception's vector is above 31")?;
        check(*interrupt_shadow <= 3, "an interrupt shadow that does not exist")?;
        check(*sipi_vector <= 0xff, "a start-up vector above 255")
    }
}

impl PlatformState {
    /// Checks that a machine's interrupt controller and clock can be in this state.
    ///
    /// # Errors
    /// They cannot; by which part.
    pub fn check(&self) -> Verdict {
        let PlatformState { ioapic, clock } = self;
        let IoApicState { id, selected: _, lines, pins } = ioapic;
        check(*id < 16, "an I/O APIC's id is above 15")?;
        check(lines >> layout::IOAPIC_PINS == 0, "an input that the I/O APIC does not have is high")?;
        // KVM keeps whatever a guest writes to an entry, and so must a state.
        check(pins.len() == layout::IOAPIC_PINS as usize, "the I/O APIC does not have 24 inputs")?;
        check(clock.guest_ns < CLOCK_MAX_NS, "the guest's clock has run for longer than any")
    }
}

/// Whether all bits above the address space's are the same (SDM vol. 1, 3.3.7.1).
fn is_canonical(address: u64, cr4: u64) -> bool {
    let bits = if cr4 & CR4_LA57 != 0 { 57 } else { 48 };
    let above = address as i64 >> (bits - 1);
    above == 0 || above == -1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x86_64::{IoApicPin, PendingException};

    fn leaf(index: u32, eax: u32, ebx: u32) -> CpuidLeaf {
        CpuidLeaf { function: 0xd, index: Some(index), eax, ebx, ..CpuidLeaf::default() }
    }

    /// A processor with AVX.
    fn cpuid() -> Vec<CpuidLeaf> {
        vec![leaf(0, 7, 832), leaf(1, 0, 0), leaf(2, 256, 576)]
    }

    fn state() -> CpuState {
        let mut xsave = vec![0; 832];
        xsave[XSTATE_BV] = 7;
        let system = SystemRegisters {
            cr0: CR0_PG | CR0_PE,
            cr4: CR4_PAE,
            efer: EFER_LME | EFER_LMA,
            apic_base: layout::LAPIC_BASE | APIC_ENABLE,
            gs: Segment { base: 0xffff_8880_0000_0000, ..Segment::default() },
            ..SystemRegisters::default()
        };
        CpuState {
            registers: Registers { rflags: 0x246, rip: 0xffff_ffff_8100_0000, ..Registers::default() },
            system,
            extended: ExtendedState { xsave, xcr0: 7 },
            msrs: vec![MsrValue { index: msr::PAT, value: 0x0007_0406_0007_0406 }],
            lapic: LapicState { registers: vec![0; 64] },
            tsc_khz: Some(2_500_000),
            ..CpuState::default()
        }
    }

    fn platform() -> PlatformState {
        let ioapic =
            IoApicState { pins: vec![IoApicPin(0x0100_0000_0001_0021); 24], ..IoApicState::default() };
        PlatformState { ioapic, ..PlatformState::default() }
    }

    #[test]
    fn what_a_processor_can_be_in_is_taken() {
        assert_eq!(state().check(&cpuid()), Ok(()));
        assert_eq!(platform().check(), Ok(()));
        // Without XSAVE, and without the CPUID leaf for it.
        let mut old = state();
        old.extended = ExtendedState { xsave: vec![0; 576], xcr0: 1 };
        old.extended.xsave[XSTATE_BV] = 3;
        assert_eq!(old.check(&[]), Ok(()));
        let mut la57 = state();
        la57.system.cr4 |= CR4_LA57;
        la57.system.fs.base = 1 << 50;
        assert_eq!(la57.check(&cpuid()), Ok(()));
    }

    #[test]
    fn what_no_processor_can_be_in_is_refused_by_name() {
        type Change = fn(&mut CpuState);
        let changes: &[(&str, Change)] = &[
            ("RFLAGS", |s| s.registers.rflags |= 1 << 32),
            ("CR0 has bits", |s| s.system.cr0 |= 1 << 40),
            ("paging without", |s| s.system.cr0 &= !CR0_PE),
            ("NW without CD", |s| s.system.cr0 |= CR0_NW),
            ("CR4 has bits", |s| s.system.cr4 |= 1 << 63),
            ("EFER has bits", |s| s.system.efer |= 2),
            ("EFER.LMA", |s| s.system.efer &= !EFER_LMA),
            ("EFER.LMA", |s| s.system.cr0 &= !CR0_PG),
            ("CR4.PAE", |s| s.system.cr4 = 0),
            ("CR3", |s| s.system.cr3 = 1 << 63),
            ("CR8", |s| s.system.cr8 = 16),
            ("APIC base", |s| s.system.apic_base |= 1),
            ("x2APIC", |s| s.system.apic_base = layout::LAPIC_BASE | APIC_X2),
            ("descriptor table", |s| s.system.idt.base = 1 << 48),
            ("descriptor table", |s| s.system.gdt.base = 1 << 63),
            ("privilege level", |s| s.system.ss.dpl = 4),
            ("privilege level", |s| s.system.ldt.dpl = 255),
            ("type has more", |s| s.system.tr.kind = 16),
            ("a segment outside", |s| s.system.fs.base = 1 << 50),
            ("XSAVE area has a length", |s| s.extended.xsave.truncate(575)),
            ("XSAVE area has a length", |s| s.extended.xsave.resize(XSAVE_MAX + 1, 0)),
            ("ends within", |s| s.extended.xsave.truncate(831)),
            ("XCR0 enables what", |s| s.extended.xcr0 = 0),
            ("XCR0 enables what", |s| s.extended.xcr0 = 0xe7),
            ("AVX without SSE", |s| s.extended.xcr0 = 5),
            ("holds what", |s| s.extended.xsave[XSTATE_BV] = 0x27),
            ("compacted", |s| s.extended.xsave[XCOMP_BV + 7] = 0x80),
            ("compacted", |s| s.extended.xsave[575] = 1),
            ("MXCSR", |s| s.extended.xsave[MXCSR + 2] = 1),
            ("DR6", |s| s.debug.dr7 = 1 << 32),
            ("not part", |s| s.msrs.push(MsrValue { index: 0x1b, value: 0 })),
            ("there twice", |s| s.msrs.push(s.msrs[0])),
            ("no address", |s| s.msrs.push(MsrValue { index: msr::LSTAR, value: 1 << 60 })),
            ("memory type", |s| s.msrs[0].value = 2),
            ("64 registers", |s| s.lapic.registers.truncate(63)),
            ("64 registers", |s| s.lapic.registers.clear()),
            ("vector is above 31", |s| {
                s.events.exception = Some(PendingException { vector: 32, ..PendingException::default() });
            }),
            ("shadow", |s| s.events.interrupt_shadow = 4),
            ("start-up vector", |s| s.events.sipi_vector = 256),
            ("frequency", |s| s.tsc_khz = Some(0)),
        ];
        for (what, change) in changes {
            let mut changed = state();
            change(&mut changed);
            let why = changed.check(&cpuid()).expect_err(what).to_string();
            assert!(why.contains(what), "{what}: {why}");
        }
        let mut unknown = state();
        unknown.extended.xsave[XSTATE_BV] = 0xf;
        assert!(unknown.check(&[leaf(0, 0xf, 0), leaf(2, 256, 576)]).unwrap_err().0.contains("unknown"));
    }

    #[test]
    fn what_no_platform_can_be_in_is_refused_by_name() {
        type Change = fn(&mut PlatformState);
        let changes: &[(&str, Change)] = &[
            ("id is above", |p| p.ioapic.id = 16),
            ("is high", |p| p.ioapic.lines = 1 << 24),
            ("24 inputs", |p| p.ioapic.pins.truncate(23)),
            ("24 inputs", |p| p.ioapic.pins.push(IoApicPin(0))),
            ("clock", |p| p.clock.guest_ns = u64::MAX),
        ];
        for (what, change) in changes {
            let mut changed = platform();
            change(&mut changed);
            let why = changed.check().expect_err(what).to_string();
            assert!(why.contains(what), "{what}: {why}");
        }
    }
}
