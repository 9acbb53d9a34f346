//! Keyboard controller without keyboard (Intel 8042, as wired in the IBM AT): the machine's reset line and the
//! A20 gate. Port 0x61, between its two ports, is the timer's.
//!
//! It answers its own commands as hardware does, so that a system that probes it finds no keyboard and no
//! mouse at once instead of waiting for answers that never come. No interrupt is wired.

use std::sync::Arc;

use device_model::{Device, PortIo, PowerRequest, PowerSink, Saved, Snapshot, SnapshotError};
use serde::{Deserialize, Serialize};

use crate::ports::{read_bytes, write_bytes};
use spec::*;

/// IBM Personal Computer AT Technical Reference (March 1984), "Keyboard Controller", 1-38 to 1-46, and the
/// PS/2 additions (IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device
/// Controller").
mod spec {
    /// Data port, from 0x60.
    pub const DATA: u16 = 0;
    /// Status (read) and command (write) port, from 0x60.
    pub const COMMAND: u16 = 4;

    /// Status: a byte waits in the output buffer.
    pub const STATUS_OUTPUT_FULL: u8 = 1 << 0;
    /// Status: the self-test passed.
    pub const STATUS_SYSTEM: u8 = 1 << 2;
    /// Status: the last write was to the command port.
    pub const STATUS_COMMAND: u8 = 1 << 3;
    /// Status: the keyboard is not locked.
    pub const STATUS_UNLOCKED: u8 = 1 << 4;

    /// Command: read the command byte.
    pub const READ_COMMAND_BYTE: u8 = 0x20;
    /// Command: the next data byte is the command byte.
    pub const WRITE_COMMAND_BYTE: u8 = 0x60;
    /// Command: test the mouse interface.
    pub const TEST_MOUSE: u8 = 0xa9;
    /// Command: self-test.
    pub const SELF_TEST: u8 = 0xaa;
    /// Command: test the keyboard interface.
    pub const TEST_KEYBOARD: u8 = 0xab;
    /// Command: read the output port.
    pub const READ_OUTPUT_PORT: u8 = 0xd0;
    /// Command: the next data byte goes to the output port.
    pub const WRITE_OUTPUT_PORT: u8 = 0xd1;
    /// Command: the next data byte comes back as if from the keyboard.
    pub const LOOP_KEYBOARD: u8 = 0xd2;
    /// Command: the next data byte comes back as if from the mouse.
    pub const LOOP_MOUSE: u8 = 0xd3;
    /// Command: the next data byte goes to the mouse.
    pub const WRITE_MOUSE: u8 = 0xd4;
    /// Commands from here on pulse output lines; a zero in bit 0 pulses the reset line.
    pub const PULSE: u8 = 0xf0;

    /// Answer to the self-test.
    pub const SELF_TEST_PASSED: u8 = 0x55;
    /// Answer to an interface test: the clock line is stuck low, as where nothing is plugged in.
    pub const CLOCK_STUCK: u8 = 0x01;
    /// What a device that is not there seems to say: resend.
    pub const RESEND: u8 = 0xfe;

    /// Output port: zero resets the machine.
    pub const OUTPUT_NO_RESET: u8 = 1 << 0;
    /// Output port: A20 is not masked.
    pub const OUTPUT_A20: u8 = 1 << 1;

    /// Command byte: the self-test passed.
    pub const COMMAND_BYTE_SYSTEM: u8 = 1 << 2;
}

/// The controller. Two ports: 0x60 and, four behind it, 0x64.
pub struct I8042 {
    output: Option<u8>,
    command_byte: u8,
    /// Command that waits for its data byte.
    awaiting: Option<u8>,
    last_was_command: bool,
    power: Arc<dyn PowerSink>,
}

/// Saved state of an [`I8042`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct I8042State {
    output: Option<u8>,
    command_byte: u8,
    awaiting: Option<u8>,
    last_was_command: bool,
}

impl I8042 {
    /// A controller after its self-test, whose reset line asks `power`.
    pub fn new(power: Arc<dyn PowerSink>) -> I8042 {
        I8042 {
            output: None,
            command_byte: COMMAND_BYTE_SYSTEM,
            awaiting: None,
            last_was_command: false,
            power,
        }
    }

    fn read(&mut self, register: u16) -> u8 {
        match register {
            DATA => self.output.take().unwrap_or(0),
            COMMAND => self.status(),
            _ => 0xff,
        }
    }

    fn status(&self) -> u8 {
        let mut status = STATUS_UNLOCKED | self.command_byte & STATUS_SYSTEM;
        if self.output.is_some() {
            status |= STATUS_OUTPUT_FULL;
        }
        if self.last_was_command {
            status |= STATUS_COMMAND;
        }
        status
    }

    fn write(&mut self, register: u16, value: u8) {
        match register {
            DATA => self.write_data(value),
            COMMAND => self.write_command(value),
            _ => {}
        }
    }

    fn write_command(&mut self, command: u8) {
        self.last_was_command = true;
        self.awaiting = None;
        match command {
            READ_COMMAND_BYTE => self.output = Some(self.command_byte),
            WRITE_COMMAND_BYTE | WRITE_OUTPUT_PORT | LOOP_KEYBOARD | LOOP_MOUSE | WRITE_MOUSE => {
                self.awaiting = Some(command);
            }
            TEST_MOUSE | TEST_KEYBOARD => self.output = Some(CLOCK_STUCK),
            SELF_TEST => self.output = Some(SELF_TEST_PASSED),
            READ_OUTPUT_PORT => self.output = Some(OUTPUT_NO_RESET | OUTPUT_A20),
            PULSE.. if command & 1 == 0 => self.power.request(PowerRequest::Reset),
            _ => {}
        }
    }

    fn write_data(&mut self, value: u8) {
        self.last_was_command = false;
        match self.awaiting.take() {
            Some(WRITE_COMMAND_BYTE) => self.command_byte = value,
            Some(WRITE_OUTPUT_PORT) => {
                if value & OUTPUT_NO_RESET == 0 {
                    self.power.request(PowerRequest::Reset);
                }
            }
            // Without the status bit that marks a mouse's byte, which says that there is no mouse.
            Some(LOOP_KEYBOARD | LOOP_MOUSE) => self.output = Some(value),
            _ => self.output = Some(RESEND),
        }
    }
}

impl PortIo for I8042 {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        read_bytes(offset, data, |register| self.read(register));
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        write_bytes(offset, data, |register, value| self.write(register, value));
    }
}

impl Device for I8042 {
    fn id(&self) -> &str {
        "i8042"
    }

    fn reset(&mut self) {
        *self = I8042::new(Arc::clone(&self.power));
    }

    fn pause(&mut self) {}

    fn resume(&mut self) {}
}

impl Snapshot for I8042 {
    const VERSION: u32 = 2;
    type State = I8042State;

    fn save(&self) -> Saved<I8042State> {
        let I8042 { output, command_byte, awaiting, last_was_command, power: _ } = self;
        Saved::State(I8042State {
            output: *output,
            command_byte: *command_byte,
            awaiting: *awaiting,
            last_was_command: *last_was_command,
        })
    }

    fn restore(&mut self, state: I8042State) -> Result<(), SnapshotError> {
        self.output = state.output;
        self.command_byte = state.command_byte;
        self.awaiting = state.awaiting;
        self.last_was_command = state.last_was_command;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use device_model::AnySnapshot;
    use device_model::fake::FakePower;

    fn controller() -> (I8042, Arc<FakePower>) {
        let power = Arc::new(FakePower::default());
        (I8042::new(power.clone()), power)
    }

    fn get(chip: &mut I8042, offset: u16) -> u8 {
        let mut data = [0];
        chip.port_read(offset, &mut data);
        data[0]
    }

    /// What a command answers, or `None` if nothing waits in the output buffer.
    fn ask(chip: &mut I8042, command: u8, parameter: Option<u8>) -> Option<u8> {
        chip.port_write(COMMAND, &[command]);
        if let Some(value) = parameter {
            chip.port_write(DATA, &[value]);
        }
        let full = get(chip, COMMAND) & STATUS_OUTPUT_FULL != 0;
        full.then(|| get(chip, DATA))
    }

    #[test]
    fn a_probe_ends_without_waiting() {
        let (mut chip, power) = controller();
        assert_eq!(get(&mut chip, COMMAND), 0x14, "nothing to read, ready to write");
        assert_eq!(ask(&mut chip, READ_COMMAND_BYTE, None), Some(0x04));
        assert_eq!(ask(&mut chip, WRITE_COMMAND_BYTE, Some(0x65)), None);
        assert_eq!(ask(&mut chip, READ_COMMAND_BYTE, None), Some(0x65));
        assert_eq!(ask(&mut chip, SELF_TEST, None), Some(0x55));
        assert_eq!(ask(&mut chip, TEST_KEYBOARD, None), Some(1));
        assert_eq!(ask(&mut chip, TEST_MOUSE, None), Some(1));
        assert_eq!(ask(&mut chip, LOOP_MOUSE, Some(0x5a)), Some(0x5a));
        assert_eq!(ask(&mut chip, WRITE_MOUSE, Some(0xff)), Some(0xfe));
        chip.port_write(DATA, &[0xf2]);
        assert_eq!(get(&mut chip, DATA), 0xfe);
        assert!(power.take().is_empty());
    }

    #[test]
    fn what_resets_and_what_does_not() {
        let cases: [(u8, Option<u8>, bool); 7] = [
            (0xfe, None, true),
            (0xf0, None, true),
            (0xff, None, false),
            (0xd1, Some(0xfe), true),
            (0xd1, Some(0xdf), false),
            (0xd1, Some(0xdd), false),
            (0xa8, None, false),
        ];
        for (command, parameter, resets) in cases {
            let (mut chip, power) = controller();
            ask(&mut chip, command, parameter);
            let expected: &[PowerRequest] = if resets { &[PowerRequest::Reset] } else { &[] };
            assert_eq!(power.take(), expected, "{command:#x} {parameter:x?}");
        }
    }

    #[test]
    fn state_moves_between_command_and_data() {
        let (mut chip, _) = controller();
        chip.port_write(COMMAND, &[WRITE_COMMAND_BYTE]);
        device_harness::golden::check(
            concat!(env!("CARGO_MANIFEST_DIR"), "/states/i8042-v2.bin"),
            &chip.save_bytes().unwrap().unwrap(),
        );
        let Saved::State(state) = chip.save() else { panic!("the controller has state") };
        let (mut other, power) = controller();
        other.restore(state).unwrap();
        other.port_write(DATA, &[0x47]);
        assert_eq!(ask(&mut other, READ_COMMAND_BYTE, None), Some(0x47));
        other.reset();
        assert_eq!(other.save(), controller().0.save());
        crate::ports::tests::hammer(&mut other, |_, _| drop(power.take()));
    }
}
