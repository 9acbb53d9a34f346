//! Where things are in a guest, and the selectors of its table. Linear addresses are physical ones, but for what a
//! case maps itself.

/// Bytes of RAM.
pub const RAM_SIZE: usize = 0x4_0000;
/// Global descriptor table.
pub const GDT: u64 = 0x1000;
/// Its limit.
pub const GDT_LIMIT: u16 = 0x9f;
/// Interrupt descriptor table: all 256 vectors.
pub const IDT: u64 = 0x2000;
/// Task-state segment.
pub const TSS: u64 = 0x3000;
/// Handlers: vector `n` leads to `STUBS + 16 * n`.
pub const STUBS: u64 = 0x5000;
/// Supervisor code.
pub const CODE: u64 = 0x6000;
/// The page after it, supervisor too.
pub const CODE2: u64 = 0x7000;
/// Data, for user and supervisor.
pub const DATA: u64 = 0x8000;
/// Data, for the supervisor only.
pub const KERNEL_DATA: u64 = 0x9000;
/// Top of the supervisor's stack.
pub const STACK: u64 = 0xb000;
/// Top of the stack of IST 1, which handlers have unless a case says otherwise.
pub const IST1: u64 = 0xc000;
/// RSP0; not a multiple of 16, so that the alignment of frames shows.
pub const RSP0: u64 = 0xcff8;
/// Top of the stack of IST 2.
pub const IST2: u64 = 0xe000;
/// User code.
pub const USER_CODE: u64 = 0xe000;
/// Top of the user stack; the stack is one page.
pub const USER_STACK: u64 = 0x1_0000;
/// Root of the page tables; then a directory of each level, for the identity map of the first 2 MiB.
pub const PML4: u64 = 0x1_0000;
/// The identity map's page table.
pub const PT: u64 = 0x1_3000;
/// A second branch of tables, which cases lead to [`TEST_ADDRESS`]: directory pointers.
pub const TEST_PDPT: u64 = 0x1_4000;
/// Its directory.
pub const TEST_PD: u64 = 0x1_5000;
/// Its page table.
pub const TEST_PT: u64 = 0x1_6000;
/// A second root, for cases that change CR3.
pub const PML4_B: u64 = 0x1_7000;
/// Index 1 at each of the four levels.
pub const TEST_ADDRESS: u64 = 1 << 39 | 1 << 30 | 1 << 21 | 1 << 12;
/// A page that only cases of paging map.
pub const TEST_PAGE: u64 = 0x2_0000;
/// Another one.
pub const TEST_PAGE_B: u64 = 0x2_1000;

/// The debug port.
pub const PORT: u16 = 0xf4;
/// Vector that says that the code came to its end; privilege 3 may use it.
pub const DONE: u8 = 0x30;
/// Vector of the external interrupt that cases have pending.
pub const INTERRUPT: u8 = 0x40;
/// Vector whose gate cases make.
pub const TEST_VECTOR: u8 = 0x41;

/// 64-bit code of privilege 0.
pub const KERNEL_CODE: u16 = 0x08;
/// Data of privilege 0.
pub const KERNEL_DATA_SELECTOR: u16 = 0x10;
/// 32-bit code of privilege 3.
pub const USER_CODE32: u16 = 0x1b;
/// Data of privilege 3.
pub const USER_DATA: u16 = 0x23;
/// 64-bit code of privilege 3.
pub const USER_CODE64: u16 = 0x2b;
/// 32-bit code of privilege 0.
pub const KERNEL_CODE32: u16 = 0x30;
/// Task-state segment, 16 bytes.
pub const TASK: u16 = 0x40;
/// Place of the descriptor that cases make, 16 bytes.
pub const TEST: u16 = 0x50;
/// Place of a second one.
pub const TEST2: u16 = 0x60;
/// 64-bit code of privilege 1; its data is the next, then those of privilege 2.
pub const RING1_CODE: u16 = 0x70;

/// Data selector of a privilege level, for SS.
pub fn stack_selector(cpl: u8) -> u16 {
    [KERNEL_DATA_SELECTOR, 0x79, 0x8a, USER_DATA][usize::from(cpl & 3)]
}

/// Where the stub of `vector` is.
pub fn stub(vector: u8) -> u64 {
    STUBS + 16 * u64::from(vector)
}
