//! The guests.

use crate::guest_code;

/// Where [`pvh_elf`](crate::pvh_elf) guests are loaded.
pub const LOAD_ADDRESS: u32 = 0x10_0000;

guest_code! {
    /// Writes `!` to COM1 and powers off by the ACPI sleep control register (see the machine's address map);
    /// then, for monitors that have no such register, resets by the keyboard controller and by a triple fault.
    hello,
    ".code32",
    "mov dx, 0x3f8",
    "mov al, '!'",
    "out dx, al",
    "mov dx, 0x600",
    "mov al, 0x34",
    "out dx, al",
    "mov al, 0xfe",
    "out 0x64, al",
    // An interrupt table of no length, on the stack.
    "mov esp, 0x9000",
    "push 0",
    "push 0",
    "lidt [esp]",
    "ud2",
}

guest_code! {
    /// Writes `!` to COM1 and then waits for ever, interrupts off.
    sleeper,
    ".code32",
    "mov dx, 0x3f8",
    "mov al, '!'",
    "out dx, al",
    "cli",
    "2: hlt",
    "jmp 2b",
}
