use std::sync::Mutex;

use device_model::AnySnapshot;
use device_model::fake::FakeIrqLine;

use super::*;

struct Bench {
    serial: Serial,
    irq: Arc<FakeIrqLine>,
    sent: Arc<Mutex<Vec<u8>>>,
    room: EventFd,
}

fn bench() -> Bench {
    let (irq, sent) = (Arc::new(FakeIrqLine::default()), Arc::new(Mutex::new(Vec::new())));
    let room = EventFd::new(0x800).unwrap();
    let sink = Arc::clone(&sent);
    let output: SerialOutput = Box::new(move |data: &[u8]| sink.lock().unwrap().extend_from_slice(data));
    let serial = Serial::new("serial0", irq.clone(), output, Some(room.try_clone().unwrap()));
    Bench { serial, irq, sent, room }
}

/// Offers bytes; how many the port took.
fn offer(serial: &mut Serial, data: &[u8]) -> usize {
    let mut taken = 0;
    serial.receive(|room| {
        taken = data.len().min(room.len());
        room[..taken].copy_from_slice(&data[..taken]);
        taken
    });
    taken
}

impl Bench {
    fn offer(&mut self, data: &[u8]) -> usize {
        offer(&mut self.serial, data)
    }

    fn get(&mut self, register: u16) -> u8 {
        let mut data = [0];
        self.serial.port_read(register, &mut data);
        data[0]
    }

    fn set(&mut self, register: u16, value: u8) {
        self.serial.port_write(register, &[value]);
    }

    fn open(&mut self, fifo_control: u8, interrupt_enable: u8) {
        self.set(MODEM_CONTROL, MCR_OUT2);
        self.set(INTERRUPT_ID, fifo_control);
        self.set(INTERRUPT_ENABLE, interrupt_enable);
        self.get(INTERRUPT_ID);
        self.get(MODEM_STATUS);
    }
}

#[test]
fn power_on_state_is_the_data_sheets() {
    let mut b = bench();
    let values: Vec<u8> = (1..8).map(|register| b.get(register)).collect();
    assert_eq!(values, [0, 0x01, 0, 0, 0x60, 0xb0, 0]);
    assert!(!b.irq.is_high());
}

#[test]
fn linux_finds_a_16550a() {
    let mut b = bench();
    // autoconfig: the enable register keeps four bits and no more.
    b.set(INTERRUPT_ENABLE, 0);
    assert_eq!(b.get(INTERRUPT_ENABLE) & 0x0f, 0);
    b.set(INTERRUPT_ENABLE, 0x0f);
    assert_eq!(b.get(INTERRUPT_ENABLE), 0x0f);
    b.set(INTERRUPT_ENABLE, 0);
    // Loopback: RTS and OUT2 come back as CTS and DCD.
    b.set(MODEM_CONTROL, MCR_LOOPBACK | 0x0a);
    assert_eq!(b.get(MODEM_STATUS) & 0xf0, 0x90);
    b.set(MODEM_CONTROL, 0);
    // FIFO type, and no extended register behind 0xbf.
    b.set(LINE_CONTROL, 0);
    b.set(INTERRUPT_ID, FCR_ENABLE);
    assert_eq!(b.get(INTERRUPT_ID) >> 6, 3);
    b.set(LINE_CONTROL, 0xbf);
    assert_ne!(b.get(INTERRUPT_ID), 0);
    b.set(LINE_CONTROL, 0);
    // XScale and 16750 tests: bits that are not there.
    b.set(INTERRUPT_ENABLE, 0x40);
    assert_eq!(b.get(INTERRUPT_ENABLE), 0);
    b.set(INTERRUPT_ID, FCR_ENABLE | 0x20);
    assert_eq!(b.get(INTERRUPT_ID) & 0x20, 0);
    // FIFO size by loopback.
    b.set(INTERRUPT_ID, FCR_ENABLE | 0x06);
    b.set(MODEM_CONTROL, MCR_LOOPBACK);
    (0..=255).for_each(|byte| b.set(DATA, byte));
    let mut count = 0;
    while b.get(LINE_STATUS) & LSR_DATA_READY != 0 {
        assert_eq!(b.get(DATA), count);
        count += 1;
    }
    assert_eq!(count, 16);
    assert!(b.sent.lock().unwrap().is_empty());
    // The test for a lost transmitter interrupt: enabling it raises it each time.
    b.set(MODEM_CONTROL, MCR_OUT2);
    for _ in 0..2 {
        b.set(INTERRUPT_ENABLE, IER_TRANSMIT);
        assert!(b.irq.is_high());
        assert_eq!(b.get(INTERRUPT_ID) & 0x0f, IIR_TRANSMIT);
        assert_eq!(b.get(INTERRUPT_ID) & 0x0f, IIR_NONE);
        assert!(!b.irq.is_high());
        b.set(INTERRUPT_ENABLE, 0);
    }
}

#[test]
fn sent_bytes_leave_at_once_and_each_gives_an_edge() {
    let mut b = bench();
    b.open(FCR_ENABLE, IER_TRANSMIT);
    let before = b.irq.edges();
    b.serial.port_write(DATA, b"a");
    b.set(DATA, b'b');
    assert_eq!(*b.sent.lock().unwrap(), b"ab");
    assert_eq!(b.irq.edges() - before, 2);
    assert_eq!(b.get(LINE_STATUS), 0x60);
}

#[test]
fn received_bytes_interrupt_by_trigger_level() {
    for (trigger, level) in TRIGGER_LEVELS.into_iter().enumerate() {
        let mut b = bench();
        b.open(FCR_ENABLE | (trigger as u8) << 6, IER_RECEIVED);
        for count in 1..=FIFO_SIZE {
            assert_eq!(b.offer(&[count as u8]), 1);
            let expected = if count < level { IIR_TIMEOUT } else { IIR_RECEIVED };
            assert_eq!(b.get(INTERRUPT_ID) & 0x0f, expected, "level {level}, {count} bytes");
            assert!(b.irq.is_high());
        }
        let drained: Vec<u8> = (0..FIFO_SIZE).map(|_| b.get(DATA)).collect();
        assert_eq!(drained, (1..=16).collect::<Vec<u8>>());
        assert!(!b.irq.is_high());
        assert_eq!(b.get(DATA), 0);
    }
}

#[test]
fn input_is_held_back_until_there_is_room() {
    for (fifo_control, capacity) in [(FCR_ENABLE, 16), (0, 1)] {
        let mut b = bench();
        b.open(fifo_control, 0);
        assert_eq!(b.offer(&[7; 20]), capacity);
        assert_eq!(b.offer(&[7; 2]), 0);
        assert!(b.room.read().is_err());
        (0..capacity).for_each(|_| assert_eq!(b.get(DATA), 7));
        assert_eq!(b.room.read().unwrap(), 1);
        assert_eq!(b.offer(&[8]), 1);
        b.get(DATA);
        assert_eq!(b.room.read().is_ok(), capacity == 1, "told where there may be more, and only there");
        assert!(b.serial.receive(|room| room.len() - 1) || capacity == 1);
        assert!(!b.serial.receive(|room| room.len()));
        b.set(MODEM_CONTROL, MCR_LOOPBACK);
        assert_eq!(b.offer(&[9]), 0);
        assert!(b.room.read().is_err(), "loopback is no room");
        b.set(MODEM_CONTROL, 0);
        (0..capacity).for_each(|_| assert_eq!(b.get(DATA), 0));
        assert_eq!(b.room.read().unwrap(), 1);
    }
}

#[test]
fn interrupts_come_in_order_of_priority() {
    let mut b = bench();
    b.open(FCR_ENABLE, IER_MASK);
    b.set(MODEM_CONTROL, MCR_LOOPBACK | MCR_OUT1);
    (0..17).for_each(|_| b.set(DATA, 1));
    assert!(!b.irq.is_high(), "loopback closes the gate");
    b.set(MODEM_CONTROL, MCR_OUT2);
    assert!(b.irq.is_high());
    assert_eq!(b.get(INTERRUPT_ID) & 0x0f, IIR_LINE_STATUS);
    assert_eq!(b.get(LINE_STATUS) & LSR_OVERRUN, LSR_OVERRUN);
    assert_eq!(b.get(LINE_STATUS) & LSR_OVERRUN, 0);
    assert_eq!(b.get(INTERRUPT_ID) & 0x0f, IIR_RECEIVED);
    b.set(INTERRUPT_ID, FCR_ENABLE | FCR_CLEAR_RECEIVER);
    assert_eq!(b.get(INTERRUPT_ID) & 0x0f, IIR_TRANSMIT);
    assert_eq!(b.get(INTERRUPT_ID) & 0x0f, IIR_MODEM_STATUS);
    assert_eq!(b.get(MODEM_STATUS), 0xbf, "all inputs changed, ring ended");
    assert_eq!(b.get(MODEM_STATUS), 0xb0);
    assert!(!b.irq.is_high());
}

#[test]
fn out2_gates_the_line() {
    let mut b = bench();
    b.set(INTERRUPT_ENABLE, IER_RECEIVED);
    b.offer(b"x");
    assert!(!b.irq.is_high());
    b.set(MODEM_CONTROL, MCR_OUT2);
    assert!(b.irq.is_high());
}

#[test]
fn divisor_latch_covers_the_first_two_registers() {
    let mut b = bench();
    b.set(LINE_CONTROL, LCR_DIVISOR_LATCH | 3);
    b.serial.port_write(DATA, &[0x34, 0x12]);
    let mut both = [0; 2];
    b.serial.port_read(DATA, &mut both);
    assert_eq!(both, [0x34, 0x12]);
    b.set(LINE_CONTROL, 3);
    assert_eq!(b.get(INTERRUPT_ENABLE), 0);
    assert!(b.sent.lock().unwrap().is_empty());
}

#[test]
fn state_moves_in_mid_stream() {
    let mut b = bench();
    b.open(FCR_ENABLE | 0x80, IER_RECEIVED | IER_TRANSMIT);
    b.set(SCRATCH, 0x5a);
    b.offer(b"hello");
    b.set(DATA, b'!');
    let bytes = b.serial.save_bytes().unwrap().unwrap();
    device_harness::golden::check(concat!(env!("CARGO_MANIFEST_DIR"), "/states/serial-v1.bin"), &bytes);
    let mut other = bench();
    other.serial.restore_bytes(&bytes).unwrap();
    assert!(other.irq.is_high());
    assert_eq!(other.serial.save(), b.serial.save());
    let rest: Vec<u8> = (0..5).map(|_| other.get(DATA)).collect();
    assert_eq!(rest, b"hello");
    assert_eq!(other.get(INTERRUPT_ID), 0xc2);
    other.serial.reset();
    let mut fresh = bench();
    assert_eq!(other.serial.save(), fresh.serial.save());
    assert!(fresh.get(LINE_STATUS) == 0x60 && !other.irq.is_high());
}

#[test]
fn impossible_states_are_refused() {
    let Saved::State(state) = bench().serial.save() else { panic!("a serial port has state") };
    let wrong = [
        SerialState { received: vec![0; 2], ..state.clone() },
        SerialState { received: vec![0; 17], fifo_control: FCR_ENABLE, ..state.clone() },
        SerialState { interrupt_enable: 0x10, ..state.clone() },
        SerialState { modem_control: 0x20, ..state.clone() },
        SerialState { fifo_control: 0x02, ..state },
    ];
    for state in wrong {
        assert!(matches!(bench().serial.restore(state), Err(SnapshotError::Invalid(_))));
    }
}

#[test]
fn any_access_is_answered() {
    let mut b = bench();
    crate::ports::tests::hammer(&mut b.serial, |serial, value| {
        offer(serial, &[value; 3]);
        let Saved::State(state) = serial.save() else { panic!("a serial port has state") };
        serial.restore(state).unwrap();
    });
}
