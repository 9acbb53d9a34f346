//! Registers of the timer (Intel 8254 Programmable Interval Timer, data sheet 231164-005) and of system control
//! port B beside it (IBM Personal Computer AT Technical Reference, March 1984, 1-24).

/// Pulses a second at each counter's CLK input (AT Technical Reference 1-8): a third of the colour carrier.
pub const TICKS_PER_SECOND: u64 = 1_193_182;
/// Counters in the chip.
pub const COUNTERS: usize = 3;
/// The counter whose OUT is interrupt request 0.
pub const INTERRUPT_COUNTER: usize = 0;
/// The counter whose GATE and OUT are bits of port B.
pub const SPEAKER_COUNTER: usize = 2;

/// Last of the counters' ports, from the chip's first.
pub const LAST_COUNTER_PORT: u16 = 2;
/// Control word register, written only.
pub const CONTROL: u16 = 3;
/// System control port B. It is a face of its own on the bus: 0x61.
pub const PORT_B: u16 = 4;

/// Control word: which counter (figure 7, SC).
pub const SELECT_SHIFT: u32 = 6;
/// SC that makes the word a read-back command.
pub const READ_BACK: u8 = 3;
/// Control word: which bytes are read and written (figure 7, RW); zero is the counter latch command.
pub const ACCESS_SHIFT: u32 = 4;
/// Width of RW.
pub const ACCESS_MASK: u8 = 3;
/// Control word: mode (figure 7, M). 6 and 7 are 2 and 3.
pub const MODE_SHIFT: u32 = 1;
/// Width of M.
pub const MODE_MASK: u8 = 7;
/// Control word: count in four decimal digits.
pub const BCD: u8 = 1;

/// Read-back command: zero latches the count (figure 10).
pub const READ_BACK_NO_COUNT: u8 = 1 << 5;
/// Read-back command: zero latches the status.
pub const READ_BACK_NO_STATUS: u8 = 1 << 4;
/// Read-back command: counter 0; the others follow.
pub const READ_BACK_FIRST_COUNTER_SHIFT: u32 = 1;

/// Status: level of OUT (figure 11).
pub const STATUS_OUT: u8 = 1 << 7;
/// Status: what was written last is not yet counted.
pub const STATUS_NULL_COUNT: u8 = 1 << 6;

/// Port B: GATE of counter 2.
pub const PORT_B_GATE: u8 = 1 << 0;
/// Port B: bits that software sets (timer gate, speaker, two check enables).
pub const PORT_B_WRITABLE: u8 = 0x0f;
/// Port B: toggles with each memory refresh.
pub const PORT_B_REFRESH: u8 = 1 << 4;
/// Port B: OUT of counter 2.
pub const PORT_B_OUT: u8 = 1 << 5;
