//! Registers of the real-time clock (Motorola MC146818A data sheet, 1984) and what the PC adds.

/// Index port, from the chip's first; write-only.
pub const INDEX: u16 = 0;
/// Data port.
pub const DATA: u16 = 1;
/// Bits of the index port that select a register; bit 7 masks NMI on a PC.
pub const INDEX_MASK: u8 = 0x7f;

/// Bytes of clock and memory that the index reaches.
pub const SIZE: usize = 128;

/// Seconds (table 2).
pub const SECONDS: u8 = 0x00;
/// Minutes (table 2).
pub const MINUTES: u8 = 0x02;
/// Hours (table 2).
pub const HOURS: u8 = 0x04;
/// Day of the week, 1 is Sunday (table 2).
pub const WEEKDAY: u8 = 0x06;
/// Day of the month (table 2).
pub const DAY: u8 = 0x07;
/// Month (table 2).
pub const MONTH: u8 = 0x08;
/// Year of the century (table 2).
pub const YEAR: u8 = 0x09;
/// Register A: update in progress, divider, rate ("Register A").
pub const REGISTER_A: u8 = 0x0a;
/// Register B: modes and interrupt enables ("Register B").
pub const REGISTER_B: u8 = 0x0b;
/// Register C: interrupt flags, cleared by reading ("Register C").
pub const REGISTER_C: u8 = 0x0c;
/// Register D: valid RAM and time ("Register D").
pub const REGISTER_D: u8 = 0x0d;
/// Century, always in BCD; named by the FADT (ACPI 6.4, 5.2.9, CENTURY).
pub const CENTURY: u8 = 0x32;

/// Register A: an update of the time begins within 244 µs.
pub const A_UPDATE_IN_PROGRESS: u8 = 1 << 7;
/// Register A after power-on: 32.768 kHz divider, 1024 Hz rate, as every PC's firmware leaves it.
pub const A_POWER_ON: u8 = 0x26;
/// How long before an update the flag is up, in nanoseconds (table 5, t_BUC).
pub const UPDATE_NOTICE_NS: u32 = 244_000;

/// Register B: updates are held while the time is set.
pub const B_SET: u8 = 1 << 7;
/// Register B: periodic, alarm, update-ended interrupts and square wave, which a reset clears.
pub const B_CLEARED_BY_RESET: u8 = 0x78;
/// Register B: update-ended interrupt.
pub const B_UPDATE_INTERRUPT: u8 = 1 << 4;
/// Register B: binary instead of BCD.
pub const B_BINARY: u8 = 1 << 2;
/// Register B: 24 hours instead of 12.
pub const B_24_HOURS: u8 = 1 << 1;

/// Register C: an enabled interrupt's flag is up.
pub const C_INTERRUPT: u8 = 1 << 7;
/// Register C: the time was updated.
pub const C_UPDATE_ENDED: u8 = 1 << 4;

/// Register D: memory and time are valid.
pub const D_VALID: u8 = 1 << 7;

/// Hours: afternoon, in the 12-hour form.
pub const HOURS_PM: u8 = 1 << 7;
