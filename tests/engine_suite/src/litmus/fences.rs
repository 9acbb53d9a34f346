//! What may stand between two accesses, and what it keeps from being overtaken.

use crate::layout::{GDT, TEST, TEST_VECTOR, TEST2};
use crate::smp::DEVICES;

/// What is seen before an access behind it; each includes those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// Nothing that would not be anyway.
    None,
    /// Non-temporal stores, before stores behind it (SDM vol. 2B, SFENCE).
    Stores,
    /// All stores, before loads behind it.
    Full,
}

/// An instruction, or a few, between two accesses.
#[derive(Debug)]
pub struct Fence {
    /// Its name.
    pub name: &'static str,
    /// Its code on each of the first two vCPUs; it may change RAX, RBX, RCX, RDX and what R15 points to.
    pub code: [&'static [u8]; 2],
    /// What it does.
    pub strength: Strength,
    /// It takes a CPU of x86-64-v3.
    pub needs_v3: bool,
    /// It takes so long that a hundredth of the races do.
    pub is_slow: bool,
}

impl Fence {
    /// Its code on vCPU number `vcpu`; `None`: it has none there.
    pub fn code_on(&self, vcpu: usize) -> Option<&'static [u8]> {
        let [first, second] = self.code;
        match vcpu {
            1 => Some(second),
            0 => Some(first),
            _ => std::ptr::eq(first, second).then_some(first),
        }
    }
}

const fn full(name: &'static str, code: &'static [u8]) -> Fence {
    Fence { name, code: [code, code], strength: Strength::Full, needs_v3: false, is_slow: false }
}

const fn none(name: &'static str, code: &'static [u8]) -> Fence {
    Fence { strength: Strength::None, ..full(name, code) }
}

/// Nothing.
pub const NO_FENCE: Fence = none("nothing", &[]);

const TEST_KIND: u8 = (GDT + TEST as u64 + 5) as u8;
const TEST2_KIND: u8 = (GDT + TEST2 as u64 + 5) as u8;
const GDT_PAGE: u8 = (GDT >> 8) as u8;
const DEVICES_HIGH: [u8; 2] = [(DEVICES >> 16) as u8, (DEVICES >> 24) as u8];

/// All of them but [`NO_FENCE`].
#[rustfmt::skip]
pub const FENCES: &[Fence] = &[
    // Fences (SDM vol. 2).
    full("mfence", &[0x0f, 0xae, 0xf0]),
    none("lfence", &[0x0f, 0xae, 0xe8]),
    Fence { strength: Strength::Stores, ..full("sfence", &[0x0f, 0xae, 0xf8]) },
    // Locked instructions on a word that no other vCPU uses (SDM vol. 3, 9.1.2.2): [r15], AL, EAX or RAX.
    full("xchg byte", &[0x41, 0x86, 0x07]),
    full("xchg word", &[0x66, 0x41, 0x87, 0x07]),
    full("xchg dword", &[0x41, 0x87, 0x07]),
    full("xchg qword", &[0x49, 0x87, 0x07]),
    full("lock add", &[0xf0, 0x41, 0x01, 0x07]),
    full("lock or", &[0xf0, 0x41, 0x09, 0x07]),
    full("lock adc", &[0xf0, 0x41, 0x11, 0x07]),
    full("lock sbb", &[0xf0, 0x41, 0x19, 0x07]),
    full("lock and", &[0xf0, 0x41, 0x21, 0x07]),
    full("lock sub", &[0xf0, 0x41, 0x29, 0x07]),
    full("lock xor", &[0xf0, 0x41, 0x31, 0x07]),
    full("lock add of ah", &[0xf0, 0x41, 0x00, 0x07]),
    full("lock or of 0 on the stack", &[0xf0, 0x83, 0x4c, 0x24, 0xc0, 0x00]),
    full("lock inc", &[0xf0, 0x41, 0xff, 0x07]),
    full("lock dec", &[0xf0, 0x41, 0xff, 0x0f]),
    full("lock not", &[0xf0, 0x41, 0xf7, 0x17]),
    full("lock neg", &[0xf0, 0x41, 0xf7, 0x1f]),
    full("lock xadd", &[0xf0, 0x41, 0x0f, 0xc1, 0x07]),
    full("lock cmpxchg", &[0xf0, 0x41, 0x0f, 0xb1, 0x0f]),
    full("lock cmpxchg8b", &[0xf0, 0x41, 0x0f, 0xc7, 0x0f]),
    full("lock cmpxchg16b", &[0xf0, 0x49, 0x0f, 0xc7, 0x0f]),
    full("lock bts", &[0xf0, 0x41, 0x0f, 0xba, 0x2f, 0x01]),
    full("lock btr", &[0xf0, 0x41, 0x0f, 0xba, 0x37, 0x01]),
    full("lock btc", &[0xf0, 0x41, 0x0f, 0xba, 0x3f, 0x01]),
    full("lock bts of a string", &[0x31, 0xc0, 0xf0, 0x41, 0x0f, 0xab, 0x07]),
    // Misaligned, and across a line's end.
    full("lock add, misaligned", &[0xf0, 0x41, 0x01, 0x47, 0x03]),
    Fence { is_slow: true, ..full("lock add, split", &[0xf0, 0x41, 0x01, 0x47, 0x3e]) },
    Fence { is_slow: true, ..full("xchg, split", &[0x41, 0x87, 0x47, 0x3e]) },
    // Serializing instructions (SDM vol. 3, 9.3).
    full("cpuid", &[0x31, 0xc0, 0x0f, 0xa2]),
    // mov rax, rsp; push 10h; push rax; pushfq; push 8; lea rax, [behind]; push rax; iretq
    full("iretq", &[0x48, 0x89, 0xe0, 0x6a, 0x10, 0x50, 0x9c, 0x6a, 0x08, 0x48, 0x8d, 0x05, 3, 0, 0, 0, 0x50, 0x48, 0xcf]),
    full("mov cr0", &[0x0f, 0x20, 0xc0, 0x0f, 0x22, 0xc0]),
    full("mov cr2", &[0x0f, 0x22, 0xd0]),
    full("mov cr3", &[0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8]),
    full("mov cr4", &[0x0f, 0x20, 0xe0, 0x0f, 0x22, 0xe0]),
    full("lmsw", &[0x0f, 0x01, 0xe0, 0x0f, 0x01, 0xf0]),
    full("mov dr0", &[0x31, 0xc0, 0x0f, 0x23, 0xc0]),
    full("mov dr7", &[0x0f, 0x21, 0xf8, 0x0f, 0x23, 0xf8]),
    // KERNEL_GS_BASE
    full("wrmsr", &[0xb9, 0x02, 0x01, 0x00, 0xc0, 0x31, 0xc0, 0x31, 0xd2, 0x0f, 0x30]),
    full("invd", &[0x0f, 0x08]),
    full("wbinvd", &[0x0f, 0x09]),
    full("invlpg", &[0x41, 0x0f, 0x01, 0x3f]),
    Fence { needs_v3: true, ..full("invpcid", &[0xb8, 2, 0, 0, 0, 0x66, 0x41, 0x0f, 0x38, 0x82, 0x87, 0, 1, 0, 0]) },
    full("lgdt", &[0x41, 0x0f, 0x01, 0x07, 0x41, 0x0f, 0x01, 0x17]),
    full("lidt", &[0x41, 0x0f, 0x01, 0x0f, 0x41, 0x0f, 0x01, 0x1f]),
    full("lldt", &[0x31, 0xc0, 0x0f, 0x00, 0xd0]),
    // Each vCPU has a task of its own, and makes it available first.
    Fence {
        code: [
            &[0xc6, 0x04, 0x25, TEST_KIND, GDT_PAGE, 0, 0, 0x89, 0xb8, TEST as u8, 0, 0, 0, 0x0f, 0x00, 0xd8],
            &[0xc6, 0x04, 0x25, TEST2_KIND, GDT_PAGE, 0, 0, 0x89, 0xb8, TEST2 as u8, 0, 0, 0, 0x0f, 0x00, 0xd8],
        ],
        ..full("ltr", &[])
    },
    // What drains the store buffer besides (12.10): exceptions and interrupts, ports, devices.
    full("int, left without iret", &[0xcd, TEST_VECTOR]),
    full("in", &[0xe4, 0x80]),
    full("out", &[0xe6, 0x80]),
    full("load from a device", &[0x8b, 0x04, 0x25, 0, 0, DEVICES_HIGH[0], DEVICES_HIGH[1]]),
    full("store to a device", &[0x89, 0x04, 0x25, 0, 0, DEVICES_HIGH[0], DEVICES_HIGH[1]]),
    // What waits for nothing.
    none("pause", &[0xf3, 0x90]),
    none("rdtsc", &[0x0f, 0x31]),
    none("swapgs", &[0x0f, 0x01, 0xf8]),
];
