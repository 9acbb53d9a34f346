//! Target `serial_16550`: accesses and input of any kind, on two ports at once. The twin is saved and restored
//! into a fresh port whenever the script says so; nobody may see a difference.

use std::sync::{Arc, Mutex};

use chipset::Serial;
use device_model::fake::FakeIrqLine;
use device_model::{AnySnapshot, Device, PortIo, lock};

use crate::{Notation, Script, Seed};

const READ: u8 = 0;
const WRITE: u8 = 1;
const RECEIVE: u8 = 2;
const RESET: u8 = 3;
const MOVE: u8 = 4;
const RESTORE: u8 = 5;
const OPERATIONS: u8 = 6;

/// Deepest that a port's receive FIFO is, in bytes.
const FIFO_BYTES: usize = 16;

struct Port {
    serial: Serial,
    line: Arc<FakeIrqLine>,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Port {
    fn new(sent: Arc<Mutex<Vec<u8>>>) -> Port {
        let line = Arc::<FakeIrqLine>::default();
        let out = Arc::clone(&sent);
        let output = Box::new(move |bytes: &[u8]| lock(&out).extend_from_slice(bytes));
        Port { serial: Serial::new("serial0", line.clone(), output, None), line, sent }
    }

    /// Offers bytes; how many it took.
    fn receive(&mut self, data: &[u8]) -> usize {
        let mut taken = 0;
        self.serial.receive(|room| {
            taken = data.len().min(room.len());
            room[..taken].copy_from_slice(&data[..taken]);
            taken
        });
        taken
    }

    fn saved(&self) -> Vec<u8> {
        self.serial.save_bytes().expect("a port can be saved").expect("a port has state")
    }

    fn move_to_a_fresh_one(self) -> Port {
        let bytes = self.saved();
        let mut port = Port::new(self.sent);
        port.serial.restore_bytes(&bytes).expect("a saved state can be restored");
        port
    }
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let mut port = Port::new(Arc::default());
    let mut twin = Port::new(Arc::default());
    while let Some(operation) = script.operation(OPERATIONS) {
        match operation {
            READ => {
                let (offset, width) = (offset(&mut script), width(&mut script));
                let (mut ours, mut theirs) = ([0; 4], [0; 4]);
                port.serial.port_read(offset, &mut ours[..width]);
                twin.serial.port_read(offset, &mut theirs[..width]);
                assert_eq!(ours, theirs);
            }
            WRITE => {
                let (offset, width) = (offset(&mut script), width(&mut script));
                let data = script.u32().to_le_bytes();
                port.serial.port_write(offset, &data[..width]);
                twin.serial.port_write(offset, &data[..width]);
            }
            RECEIVE => {
                let len = usize::from(script.u8());
                let data = script.bytes(len);
                let accepted = port.receive(data);
                assert!(accepted <= data.len().min(FIFO_BYTES));
                assert_eq!(accepted, twin.receive(data));
            }
            RESET => {
                port.serial.reset();
                twin.serial.reset();
                assert!(!port.line.is_high());
            }
            MOVE => twin = twin.move_to_a_fresh_one(),
            _ => restore_anything(&port.saved(), &mut script),
        }
        assert_eq!(port.line.is_high(), twin.line.is_high());
    }
    assert_eq!(port.saved(), twin.saved());
    assert_eq!(*lock(&port.sent), *lock(&twin.sent));
}

/// Registers as a rule; any offset at times.
fn offset(script: &mut Script<'_>) -> u16 {
    match script.u8() {
        0xff => script.u16(),
        register => u16::from(register % 9),
    }
}

fn width(script: &mut Script<'_>) -> usize {
    [1, 1, 2, 4][usize::from(script.u8() % 4)]
}

/// State from a file that somebody has changed: refused, or a port that works.
fn restore_anything(saved: &[u8], script: &mut Script<'_>) {
    let mut bytes = saved.to_vec();
    for _ in 0..script.u8() % 4 {
        let at = usize::from(script.u8()) % bytes.len();
        bytes[at] = script.u8();
    }
    let mut port = Port::new(Arc::default());
    if port.serial.restore_bytes(&bytes).is_ok() {
        for register in 0..8 {
            port.serial.port_read(register, &mut [0]);
            port.serial.port_write(register, &[script.u8()]);
        }
        port.move_to_a_fresh_one();
    }
}

/// A driver's probe and a terminal's life.
pub fn seeds() -> Vec<Seed> {
    let write =
        |script: Notation, register: u8, value: u8| script.u8(WRITE).u8(register).u8(0).u32(value.into());
    let read = |script: Notation, register: u8| script.u8(READ).u8(register).u8(0);
    let setup = [(3, 0x80), (0, 1), (1, 0), (3, 3), (2, 0xc7), (4, 0x0b), (1, 0x0f)];
    let open =
        setup.into_iter().fold(Notation::new(), |script, (register, value)| write(script, register, value));
    let typed = open.clone().u8(RECEIVE).u8(20).bytes(&[b'x'; 20]).u8(MOVE);
    let typed = (0..24).fold(typed, |script, turn| read(script, [2, 5, 0, 6][turn % 4]));
    let sent = b"hello".iter().fold(open.clone(), |script, byte| read(write(script, 0, *byte), 2));
    let looped = write(open, 4, 0x1f);
    let looped = (0..18).fold(looped, |script, byte| write(script, 0, byte)).u8(MOVE);
    let looped = [5, 6, 2, 0].into_iter().fold(looped, read).u8(RESTORE).u8(1).u8(2).u8(0xff).u8(RESET);
    vec![("typed", typed.finish()), ("sent", sent.finish()), ("looped", looped.finish())]
}
