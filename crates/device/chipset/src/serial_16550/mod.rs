//! Serial port: an NS16550A with its FIFOs, wired as a PC's COM port.
//!
//! Sent bytes leave at once, so the transmitter is always empty. Received bytes wait in the FIFO; what does
//! not fit stays with the caller, who is told by an event when the guest has made room. A "character
//! timeout" is due as soon as bytes wait below the trigger level: there is no line whose speed would delay it.

mod spec;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use device_model::{Device, EventFd, IrqLine, PortIo, Saved, Snapshot, SnapshotError};
use serde::{Deserialize, Serialize};

use crate::ports::{read_bytes, write_bytes};
use spec::*;

/// Where sent bytes go. Called on the vCPU's thread; must not block for long.
pub type SerialOutput = Box<dyn FnMut(&[u8]) + Send>;

/// An NS16550A. Eight ports.
pub struct Serial {
    id: String,
    interrupt_enable: u8,
    fifo_control: u8,
    line_control: u8,
    modem_control: u8,
    overrun: bool,
    modem_status: u8,
    scratch: u8,
    divisor: u16,
    /// The transmitter became empty and nobody has looked since.
    transmit_pending: bool,
    received: VecDeque<u8>,
    /// The source of [`Serial::receive`] may have more.
    input_waiting: bool,
    line_high: bool,
    irq: Arc<dyn IrqLine>,
    output: SerialOutput,
    input_room: Option<EventFd>,
}

/// Saved state of a [`Serial`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SerialState {
    interrupt_enable: u8,
    fifo_control: u8,
    line_control: u8,
    modem_control: u8,
    overrun: bool,
    modem_status: u8,
    scratch: u8,
    divisor: u16,
    transmit_pending: bool,
    received: Vec<u8>,
}

impl Serial {
    /// A port after power-on. `input_room`, if given, is signalled when the guest has emptied the FIFO after
    /// [`receive`](Serial::receive) has filled it.
    pub fn new(
        id: impl Into<String>,
        irq: Arc<dyn IrqLine>,
        output: SerialOutput,
        input_room: Option<EventFd>,
    ) -> Serial {
        let mut serial = Serial {
            id: id.into(),
            interrupt_enable: 0,
            fifo_control: 0,
            line_control: 0,
            modem_control: 0,
            overrun: false,
            modem_status: 0,
            scratch: 0,
            divisor: DIVISOR_9600,
            transmit_pending: false,
            received: VecDeque::with_capacity(FIFO_SIZE),
            input_waiting: false,
            line_high: false,
            irq,
            output,
            input_room,
        };
        serial.modem_status = serial.modem_inputs();
        serial
    }

    /// Takes bytes from outside, as far as there is room: `source` fills what it is given from its start and returns how
    /// many bytes that were. While the guest has the port in loopback the line is disconnected, and there is no room.
    ///
    /// Returns whether there is room left, so that the source has no more for now. Where there is none, `input_room` is
    /// signalled when the guest has made some.
    pub fn receive(&mut self, source: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let room = if self.is_loopback() { 0 } else { self.room() };
        let mut bytes = [0; FIFO_SIZE];
        let count = source(&mut bytes[..room]).min(room);
        self.received.extend(&bytes[..count]);
        self.input_waiting = count == room;
        self.update_interrupt();
        !self.input_waiting
    }

    fn capacity(&self) -> usize {
        if self.fifo_control & FCR_ENABLE != 0 { FIFO_SIZE } else { 1 }
    }

    fn room(&self) -> usize {
        self.capacity().saturating_sub(self.received.len())
    }

    fn is_loopback(&self) -> bool {
        self.modem_control & MCR_LOOPBACK != 0
    }

    fn is_divisor_latched(&self) -> bool {
        self.line_control & LCR_DIVISOR_LATCH != 0
    }

    /// Modem inputs: a cable whose other end is always ready, or the port's own outputs in loopback (8.7).
    fn modem_inputs(&self) -> u8 {
        if !self.is_loopback() {
            return MSR_CTS | MSR_DSR | MSR_DCD;
        }
        [(MCR_RTS, MSR_CTS), (MCR_DTR, MSR_DSR), (MCR_OUT1, MSR_RI), (MCR_OUT2, MSR_DCD)]
            .into_iter()
            .filter(|(output, _)| self.modem_control & output != 0)
            .fold(0, |inputs, (_, input)| inputs | input)
    }

    /// Takes over the modem inputs and notes what changed. The ring indicator counts only its end (8.8).
    fn update_modem_status(&mut self) {
        let (before, now) = (self.modem_status & !MSR_DELTAS, self.modem_inputs());
        let changed = (before ^ now) & !(now & MSR_RI);
        self.modem_status = now | (self.modem_status & MSR_DELTAS) | changed >> MSR_DELTA_SHIFT;
    }

    /// The pending interrupt of highest priority (table IV).
    fn interrupt_id(&self) -> u8 {
        let enabled = |bit| self.interrupt_enable & bit != 0;
        if enabled(IER_LINE_STATUS) && self.overrun {
            return IIR_LINE_STATUS;
        }
        if enabled(IER_RECEIVED) && !self.received.is_empty() {
            let trigger = TRIGGER_LEVELS[usize::from(self.fifo_control >> FCR_TRIGGER_SHIFT)];
            let below = self.fifo_control & FCR_ENABLE != 0 && self.received.len() < trigger;
            return if below { IIR_TIMEOUT } else { IIR_RECEIVED };
        }
        if enabled(IER_TRANSMIT) && self.transmit_pending {
            return IIR_TRANSMIT;
        }
        if enabled(IER_MODEM_STATUS) && self.modem_status & MSR_DELTAS != 0 {
            return IIR_MODEM_STATUS;
        }
        IIR_NONE
    }

    /// Drives the interrupt line. On a PC it passes through a gate that OUT2 opens; in loopback the OUT2 pin
    /// is inactive (8.7).
    fn update_interrupt(&mut self) {
        let gate_open = self.modem_control & (MCR_OUT2 | MCR_LOOPBACK) == MCR_OUT2;
        let high = gate_open && self.interrupt_id() != IIR_NONE;
        if high != self.line_high {
            self.line_high = high;
            self.irq.set_level(high);
        }
    }

    /// Tells the owner of held-back input that the guest has made room.
    fn offer_room(&mut self) {
        if self.input_waiting && self.received.is_empty() && !self.is_loopback() {
            self.input_waiting = false;
            if let Some(event) = &self.input_room {
                // Fails only when the counter is at its end: then the reader has been woken already.
                let _ = event.write(1);
            }
        }
    }

    fn read(&mut self, register: u16) -> u8 {
        let value = match register {
            DATA if self.is_divisor_latched() => self.divisor.to_le_bytes()[0],
            DATA => self.received.pop_front().unwrap_or(0),
            INTERRUPT_ENABLE if self.is_divisor_latched() => self.divisor.to_le_bytes()[1],
            INTERRUPT_ENABLE => self.interrupt_enable,
            INTERRUPT_ID => self.read_interrupt_id(),
            LINE_CONTROL => self.line_control,
            MODEM_CONTROL => self.modem_control,
            LINE_STATUS => self.read_line_status(),
            MODEM_STATUS => {
                let status = self.modem_status;
                self.modem_status &= !MSR_DELTAS;
                status
            }
            SCRATCH => self.scratch,
            _ => 0xff,
        };
        self.offer_room();
        self.update_interrupt();
        value
    }

    /// Looking at a pending transmitter interrupt takes it back (table IV).
    fn read_interrupt_id(&mut self) -> u8 {
        let id = self.interrupt_id();
        if id == IIR_TRANSMIT {
            self.transmit_pending = false;
        }
        if self.fifo_control & FCR_ENABLE != 0 { id | IIR_FIFOS_ON } else { id }
    }

    /// Looking at the line status clears its errors (8.3).
    fn read_line_status(&mut self) -> u8 {
        let mut status = LSR_TRANSMIT_HOLDING_EMPTY | LSR_TRANSMITTER_EMPTY;
        if !self.received.is_empty() {
            status |= LSR_DATA_READY;
        }
        if std::mem::take(&mut self.overrun) {
            status |= LSR_OVERRUN;
        }
        status
    }

    fn write(&mut self, register: u16, value: u8) {
        match register {
            DATA if self.is_divisor_latched() => self.divisor = self.divisor & 0xff00 | u16::from(value),
            DATA => self.transmit(value),
            INTERRUPT_ENABLE if self.is_divisor_latched() => {
                self.divisor = self.divisor & 0x00ff | u16::from(value) << 8;
            }
            INTERRUPT_ENABLE => self.write_interrupt_enable(value),
            INTERRUPT_ID => self.write_fifo_control(value),
            LINE_CONTROL => self.line_control = value,
            MODEM_CONTROL => {
                self.modem_control = value & MCR_MASK;
                self.update_modem_status();
            }
            SCRATCH => self.scratch = value,
            // Line and modem status are read-only in effect: writing them is for factory tests (8.3).
            _ => {}
        }
        self.offer_room();
        self.update_interrupt();
    }

    /// The byte takes back the transmitter interrupt, leaves, and raises it again: an edge each time.
    fn transmit(&mut self, byte: u8) {
        self.transmit_pending = false;
        self.update_interrupt();
        if self.is_loopback() {
            self.loop_back(byte);
        } else {
            (self.output)(&[byte]);
        }
        self.transmit_pending = true;
    }

    /// Without room, the FIFO drops the new byte and the single register the old one (8.3, OE).
    fn loop_back(&mut self, byte: u8) {
        if self.room() == 0 {
            self.overrun = true;
            if self.fifo_control & FCR_ENABLE != 0 {
                return;
            }
            self.received.clear();
        }
        self.received.push_back(byte);
    }

    /// Enabling the transmitter interrupt while the transmitter is empty raises it at once.
    fn write_interrupt_enable(&mut self, value: u8) {
        let enabled_now = value & !self.interrupt_enable & IER_MASK;
        self.interrupt_enable = value & IER_MASK;
        if enabled_now & IER_TRANSMIT != 0 {
            self.transmit_pending = true;
        }
    }

    /// Switching the FIFOs on or off empties them; the other bits count only while they are on (8.4).
    fn write_fifo_control(&mut self, value: u8) {
        let switched = (value ^ self.fifo_control) & FCR_ENABLE != 0;
        let on = value & FCR_ENABLE != 0;
        self.fifo_control = if on { value & FCR_KEPT } else { 0 };
        if switched || (on && value & FCR_CLEAR_RECEIVER != 0) {
            self.received.clear();
        }
    }
}

impl PortIo for Serial {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        read_bytes(offset, data, |register| self.read(register));
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        write_bytes(offset, data, |register, value| self.write(register, value));
    }
}

impl Device for Serial {
    fn id(&self) -> &str {
        &self.id
    }

    fn reset(&mut self) {
        self.interrupt_enable = 0;
        self.fifo_control = 0;
        self.line_control = 0;
        self.modem_control = 0;
        self.overrun = false;
        self.scratch = 0;
        self.divisor = DIVISOR_9600;
        self.transmit_pending = false;
        self.received.clear();
        self.modem_status = self.modem_inputs();
        self.offer_room();
        self.update_interrupt();
    }

    fn pause(&mut self) {}

    fn resume(&mut self) {}
}

impl Snapshot for Serial {
    const VERSION: u32 = 1;
    type State = SerialState;

    fn save(&self) -> Saved<SerialState> {
        let Serial {
            id: _,
            interrupt_enable,
            fifo_control,
            line_control,
            modem_control,
            overrun,
            modem_status,
            scratch,
            divisor,
            transmit_pending,
            received,
            // The host's side: a restored port has another owner of input, who asks anew.
            input_waiting: _,
            // Follows from the rest.
            line_high: _,
            irq: _,
            output: _,
            input_room: _,
        } = self;
        Saved::State(SerialState {
            interrupt_enable: *interrupt_enable,
            fifo_control: *fifo_control,
            line_control: *line_control,
            modem_control: *modem_control,
            overrun: *overrun,
            modem_status: *modem_status,
            scratch: *scratch,
            divisor: *divisor,
            transmit_pending: *transmit_pending,
            received: received.iter().copied().collect(),
        })
    }

    fn restore(&mut self, state: SerialState) -> Result<(), SnapshotError> {
        if state.interrupt_enable & !IER_MASK != 0
            || state.modem_control & !MCR_MASK != 0
            || state.fifo_control & !FCR_KEPT != 0
        {
            return Err(SnapshotError::Invalid("a serial register has bits that do not exist"));
        }
        let capacity = if state.fifo_control & FCR_ENABLE != 0 { FIFO_SIZE } else { 1 };
        if state.received.len() > capacity {
            return Err(SnapshotError::Invalid("the serial port's FIFO holds more than it can"));
        }
        self.interrupt_enable = state.interrupt_enable;
        self.fifo_control = state.fifo_control;
        self.line_control = state.line_control;
        self.modem_control = state.modem_control;
        self.overrun = state.overrun;
        self.modem_status = state.modem_status;
        self.scratch = state.scratch;
        self.divisor = state.divisor;
        self.transmit_pending = state.transmit_pending;
        self.received = state.received.into();
        self.update_interrupt();
        Ok(())
    }
}
