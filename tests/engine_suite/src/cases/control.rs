//! Values that control registers and MSRs do not take (SDM vol. 3, 2.5; vol. 2, MOV to control registers, WRMSR).

use arch_model::x86_64::msr;

use super::{Case, Refusal, vector};
use crate::guest::{CR0_LONG, CR4_LONG, CR4_PCIDE, EFER_LONG, Guest};
use crate::layout::*;
use crate::outcome::{Expect, Outcome};

const REGISTERS: &str = "SDM vol. 3, 2.5; vol. 2, MOV to control registers";
const MSRS: &str = "SDM vol. 2, WRMSR; vol. 4, table 2-2";
const NOT_CANONICAL: u64 = 0x8000_0000_0000;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    registers(&mut cases);
    msrs(&mut cases);
    tables(&mut cases);
    cases
}

fn registers(cases: &mut Vec<Case>) {
    const CR0: &[u8] = &[0x0f, 0x22, 0xc0];
    const CR3: &[u8] = &[0x0f, 0x22, 0xd8];
    const CR4: &[u8] = &[0x0f, 0x22, 0xe0];
    const CR8: &[u8] = &[0x44, 0x0f, 0x22, 0xc0];
    let rows: [(&str, &[u8], u64, bool); 22] = [
        ("cr0 as it is", CR0, CR0_LONG, true),
        ("cr0: CD without NW", CR0, CR0_LONG | 1 << 30, true),
        ("cr0: NW without CD", CR0, CR0_LONG | 1 << 29, false),
        ("cr0: PG without PE", CR0, CR0_LONG & !1, false),
        ("cr0: PG cleared in 64-bit code", CR0, CR0_LONG & !(1 << 31), false),
        ("cr0: bit 32", CR0, CR0_LONG | 1 << 32, false),
        ("cr0: bit 63", CR0, CR0_LONG | 1 << 63, false),
        ("cr0: reserved bits below 32 are ignored", CR0, CR0_LONG | 0x40, true),
        ("cr3: bit 51", CR3, PML4 | 1 << 51, false),
        ("cr3: bit 63 without PCIDE", CR3, PML4 | 1 << 63, false),
        ("cr3: PWT and PCD", CR3, PML4 | 0x18, true),
        ("cr4 as it is", CR4, CR4_LONG, true),
        ("cr4: PAE cleared in 64-bit code", CR4, CR4_LONG & !0x20, false),
        ("cr4: bit 15", CR4, CR4_LONG | 1 << 15, false),
        ("cr4: bit 19 (key locker)", CR4, CR4_LONG | 1 << 19, false),
        ("cr4: bit 31", CR4, CR4_LONG | 1 << 31, false),
        ("cr4: bit 32", CR4, CR4_LONG | 1 << 33, false),
        ("cr4: PCIDE", CR4, CR4_LONG | CR4_PCIDE, true),
        ("cr8: 15", CR8, 15, true),
        ("cr8: 16", CR8, 16, false),
        ("cr8: bit 63", CR8, 1 << 63, false),
        ("cr3 as it is", CR3, PML4, true),
    ];
    for (name, code, value, takes) in rows {
        let mut guest = Guest::long(0, code);
        guest.registers.rax = value;
        let expect = if takes { Expect::done() } else { Expect::fault(&guest, vector::GP, 0) };
        cases.push(Case::new(format!("mov to {name}"), REGISTERS, guest, expect));
    }
    let mut guest = Guest::long(0, CR4);
    guest.registers.rax = CR4_LONG | CR4_PCIDE;
    guest.system.cr3 |= 0x18;
    let expect = Expect::fault(&guest, vector::GP, 0);
    cases.push(Case::new("mov to cr4: PCIDE with CR3[11:0] not zero", REGISTERS, guest, expect));
    let mut guest = Guest::long(0, &[0x0f, 0x01, 0xf0, 0x0f, 0x20, 0xc0]);
    guest.registers.rax = 0xfff8;
    let expect = Expect::done().rax(CR0_LONG & !0xe | 8);
    cases.push(Case::new("lmsw sets TS, clears MP, but not PE", "SDM vol. 2, LMSW", guest, expect));
    // 32-bit code without paging: PG needs PAE where LME is set.
    let mut guest = Guest::protected(0, CR0);
    guest.registers.rax = 0x8000_0031;
    guest.system.efer = 0x100;
    let expect = Expect::fault(&guest, vector::GP, 0);
    cases.push(Case::new("mov to cr0: PG with LME but not PAE", REGISTERS, guest, expect));
    let mut guest = Guest::protected(0, CR4);
    guest.registers.rax = 0x620 | CR4_PCIDE as u32 as u64;
    let expect = Expect::fault(&guest, vector::GP, 0);
    cases.push(Case::new("mov to cr4: PCIDE outside IA-32e mode", REGISTERS, guest, expect));
}

fn msrs(cases: &mut Vec<Case>) {
    let rows: [(&str, u32, u64, bool); 22] = [
        ("EFER as it is", msr::EFER, EFER_LONG, true),
        ("EFER: LME cleared while paging", msr::EFER, EFER_LONG & !0x100, false),
        ("EFER: bit 1", msr::EFER, EFER_LONG | 2, false),
        ("EFER: bit 16", msr::EFER, EFER_LONG | 1 << 16, false),
        ("EFER: bit 63", msr::EFER, EFER_LONG | 1 << 63, false),
        ("EFER: NXE cleared", msr::EFER, EFER_LONG & !0x800, true),
        ("LSTAR", msr::LSTAR, NOT_CANONICAL - 1, true),
        ("LSTAR, not canonical", msr::LSTAR, NOT_CANONICAL, false),
        ("CSTAR, not canonical", msr::CSTAR, NOT_CANONICAL, false),
        ("FS base", msr::FS_BASE, !0, true),
        ("FS base, not canonical", msr::FS_BASE, NOT_CANONICAL, false),
        ("GS base, not canonical", msr::GS_BASE, NOT_CANONICAL, false),
        ("kernel's GS base, not canonical", msr::KERNEL_GS_BASE, NOT_CANONICAL, false),
        ("SYSENTER's RSP, not canonical", msr::SYSENTER_ESP, NOT_CANONICAL, false),
        ("SYSENTER's RIP, not canonical", msr::SYSENTER_EIP, NOT_CANONICAL, false),
        ("PAT", msr::PAT, 0x0007_0406_0007_0406, true),
        ("PAT, type 2", msr::PAT, 0x0007_0406_0007_0402, false),
        ("PAT, type 8", msr::PAT, 0x0807_0406_0007_0406, false),
        ("TSC_AUX, bit 32", msr::TSC_AUX, 1 << 32, false),
        ("MTRR default type 2", msr::MTRR_DEF_TYPE, 2, false),
        ("APIC base beyond physical addresses", msr::APIC_BASE, 1 << 52 | 0xfee0_0900, false),
        ("one that does not exist", 0x1234_5678, 0, false),
    ];
    for (name, index, value, takes) in rows {
        let mut guest = Guest::long(0, &[0x0f, 0x30]);
        guest.registers.rcx = index.into();
        (guest.registers.rax, guest.registers.rdx) = (value & 0xffff_ffff, value >> 32);
        let expect = if takes { Expect::done() } else { Expect::fault(&guest, vector::GP, 0) };
        cases.push(Case::new(format!("wrmsr {name}"), MSRS, guest, expect));
    }
    for (name, index) in [("one that does not exist", 0x1234_5678u32), ("x2APIC's ID in xAPIC mode", 0x802)] {
        let mut guest = Guest::long(0, &[0x0f, 0x32]);
        guest.registers.rcx = index.into();
        let expect = Expect::fault(&guest, vector::GP, 0);
        cases.push(Case::new(format!("rdmsr {name}"), MSRS, guest, expect));
    }
}

/// Name, code, selector, low and high half of the descriptor, outcome.
type Load = (&'static str, [u8; 3], u16, [u64; 2], Refusal);

/// LGDT, LIDT, LLDT, LTR (SDM vol. 2).
fn tables(cases: &mut Vec<Case>) {
    const LTR: [u8; 3] = [0x0f, 0x00, 0xd8];
    const LLDT: [u8; 3] = [0x0f, 0x00, 0xd0];
    let tss = |kind: u64, present: u64| 0x67 | TSS << 16 | kind << 40 | present << 47;
    let rows: [Load; 13] = [
        ("ltr", LTR, TEST, [tss(9, 1), 0], None),
        ("ltr null", LTR, 0, [tss(9, 1), 0], Some((vector::GP, 0))),
        ("ltr busy", LTR, TEST, [tss(11, 1), 0], Some((vector::GP, 0x50))),
        ("ltr of an LDT", LTR, TEST, [tss(2, 1), 0], Some((vector::GP, 0x50))),
        ("ltr of a 16-bit TSS", LTR, TEST, [tss(1, 1), 0], Some((vector::GP, 0x50))),
        ("ltr of data", LTR, KERNEL_DATA_SELECTOR, [0; 2], Some((vector::GP, 0x10))),
        ("ltr in the LDT", LTR, TEST | 4, [tss(9, 1), 0], Some((vector::GP, 0x54))),
        ("ltr not present", LTR, TEST, [tss(9, 0), 0], Some((vector::NP, 0x50))),
        ("ltr beyond the table", LTR, 0xf8, [0; 2], Some((vector::GP, 0xf8))),
        ("lldt", LLDT, TEST, [tss(2, 1), 0], None),
        ("lldt null", LLDT, 0, [0; 2], None),
        ("lldt of a TSS", LLDT, TEST, [tss(9, 1), 0], Some((vector::GP, 0x50))),
        ("lldt not present", LLDT, TEST, [tss(2, 0), 0], Some((vector::NP, 0x50))),
    ];
    for (name, code, selector, [low, high], refused) in rows {
        let mut guest = Guest::long(0, &code);
        guest.registers.rax = selector.into();
        guest.put64(GDT + u64::from(TEST), low);
        guest.put64(GDT + u64::from(TEST) + 8, high);
        let busy = |outcome: &Outcome| outcome.memory(GDT + u64::from(TEST)) >> 40 & 0xf;
        let expect = match refused {
            Some((fault, error)) => Expect::fault(&guest, fault, error),
            None if name == "ltr" => Expect::done().value("type", busy, 11),
            None => Expect::done(),
        };
        cases.push(Case::new(name, "SDM vol. 2, LTR and LLDT", guest, expect));
    }
    // 16 bytes of descriptor, of which the table has 8 (SDM vol. 3, 3.5.2).
    let mut guest = Guest::long(0, &LTR);
    guest.registers.rax = TEST.into();
    guest.put64(GDT + u64::from(TEST), tss(9, 1));
    guest.system.gdt.limit = TEST + 7;
    let expect = Expect::fault(&guest, vector::GP, TEST.into());
    cases.push(Case::new("ltr at the table's end", "SDM vol. 2, LTR", guest, expect));
    for (name, modrm) in [("lgdt", 0x13), ("lidt", 0x1b)] {
        let mut guest = Guest::long(0, &[0x0f, 0x01, modrm]);
        guest.put(DATA, &[0xff, 0, 0, 0, 0, 0, 0, 0x80, 0, 0]);
        let expect = Expect::fault(&guest, vector::GP, 0);
        cases.push(Case::new(format!("{name}, base not canonical"), "SDM vol. 2, LGDT", guest, expect));
    }
}
