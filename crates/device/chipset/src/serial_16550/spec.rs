//! Registers of the NS16550A (National Semiconductor PC16550D data sheet, June 1995).

/// Receiver buffer (read) and transmitter holding (write) register; divisor low byte while DLAB (8.0).
pub const DATA: u16 = 0;
/// Interrupt enable register; divisor high byte while DLAB (8.6).
pub const INTERRUPT_ENABLE: u16 = 1;
/// Interrupt identification (read, 8.5) and FIFO control (write, 8.4).
pub const INTERRUPT_ID: u16 = 2;
/// Line control register (8.1).
pub const LINE_CONTROL: u16 = 3;
/// Modem control register (8.7).
pub const MODEM_CONTROL: u16 = 4;
/// Line status register (8.3).
pub const LINE_STATUS: u16 = 5;
/// Modem status register (8.8).
pub const MODEM_STATUS: u16 = 6;
/// Scratchpad register (8.9).
pub const SCRATCH: u16 = 7;

/// Depth of each FIFO in bytes (8.4).
pub const FIFO_SIZE: usize = 16;

/// Interrupt enable: received data available and timeout (8.6).
pub const IER_RECEIVED: u8 = 1 << 0;
/// Interrupt enable: transmitter holding register empty (8.6).
pub const IER_TRANSMIT: u8 = 1 << 1;
/// Interrupt enable: receiver line status (8.6).
pub const IER_LINE_STATUS: u8 = 1 << 2;
/// Interrupt enable: modem status (8.6).
pub const IER_MODEM_STATUS: u8 = 1 << 3;
/// Bits that exist (8.6).
pub const IER_MASK: u8 = 0x0f;

/// Interrupt identification: nothing pending (table IV).
pub const IIR_NONE: u8 = 0x01;
/// Interrupt identification: modem status, lowest priority (table IV).
pub const IIR_MODEM_STATUS: u8 = 0x00;
/// Interrupt identification: transmitter holding register empty (table IV).
pub const IIR_TRANSMIT: u8 = 0x02;
/// Interrupt identification: received data available (table IV).
pub const IIR_RECEIVED: u8 = 0x04;
/// Interrupt identification: receiver line status, highest priority (table IV).
pub const IIR_LINE_STATUS: u8 = 0x06;
/// Interrupt identification: characters wait below the trigger level (table IV).
pub const IIR_TIMEOUT: u8 = 0x0c;
/// Interrupt identification: FIFOs are on (8.5).
pub const IIR_FIFOS_ON: u8 = 0xc0;

/// FIFO control: both FIFOs on (8.4).
pub const FCR_ENABLE: u8 = 1 << 0;
/// FIFO control: empty the receiver FIFO (8.4).
pub const FCR_CLEAR_RECEIVER: u8 = 1 << 1;
/// FIFO control: bits that are kept (8.4).
pub const FCR_KEPT: u8 = 0xc9;
/// FIFO control: receiver trigger level, top two bits (8.4).
pub const FCR_TRIGGER_SHIFT: u32 = 6;
/// Receiver trigger levels in bytes (8.4).
pub const TRIGGER_LEVELS: [usize; 4] = [1, 4, 8, 14];

/// Line control: the first two registers are the divisor latch (8.1).
pub const LCR_DIVISOR_LATCH: u8 = 1 << 7;

/// Modem control: data terminal ready (8.7).
pub const MCR_DTR: u8 = 1 << 0;
/// Modem control: request to send (8.7).
pub const MCR_RTS: u8 = 1 << 1;
/// Modem control: auxiliary output 1 (8.7).
pub const MCR_OUT1: u8 = 1 << 2;
/// Modem control: auxiliary output 2 (8.7), which gates the interrupt on a PC.
pub const MCR_OUT2: u8 = 1 << 3;
/// Modem control: local loopback (8.7).
pub const MCR_LOOPBACK: u8 = 1 << 4;
/// Modem control: bits that exist (8.7).
pub const MCR_MASK: u8 = 0x1f;

/// Line status: data ready (8.3).
pub const LSR_DATA_READY: u8 = 1 << 0;
/// Line status: overrun error (8.3).
pub const LSR_OVERRUN: u8 = 1 << 1;
/// Line status: transmitter holding register empty (8.3).
pub const LSR_TRANSMIT_HOLDING_EMPTY: u8 = 1 << 5;
/// Line status: transmitter empty (8.3).
pub const LSR_TRANSMITTER_EMPTY: u8 = 1 << 6;

/// Modem status: clear to send (8.8).
pub const MSR_CTS: u8 = 1 << 4;
/// Modem status: data set ready (8.8).
pub const MSR_DSR: u8 = 1 << 5;
/// Modem status: ring indicator (8.8).
pub const MSR_RI: u8 = 1 << 6;
/// Modem status: data carrier detect (8.8).
pub const MSR_DCD: u8 = 1 << 7;
/// Modem status: the low half says which of the high half changed (8.8).
pub const MSR_DELTAS: u8 = 0x0f;
/// Distance from a modem status input to its change bit (8.8).
pub const MSR_DELTA_SHIFT: u32 = 4;

/// Divisor for 9600 baud from 1.8432 MHz (table III).
pub const DIVISOR_9600: u16 = 12;
