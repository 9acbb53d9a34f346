use std::cell::{Cell, RefCell};

use super::*;
use crate::platform::message::DeliveryMode;
use crate::platform::target::Destination;

/// An I/O APIC and what it has sent.
struct Fixture {
    chip: IoApic,
    sent: RefCell<Vec<Message>>,
    anybody_there: Cell<bool>,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture { chip: IoApic::new(), sent: RefCell::default(), anybody_there: Cell::new(true) }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut IoApic, Deliver<'_>) -> T) -> T {
        let Fixture { chip, sent, anybody_there } = self;
        act(chip, &|message| {
            sent.borrow_mut().push(*message);
            anybody_there.get()
        })
    }

    fn write(&mut self, index: u8, value: u32) {
        self.with(|chip, deliver| {
            chip.write(0x00, index.into(), deliver);
            chip.write(0x10, value, deliver);
        });
    }

    fn read(&mut self, index: u8) -> u32 {
        self.with(|chip, deliver| chip.write(0x00, index.into(), deliver));
        self.chip.read(0x10)
    }

    /// Sets the lower half of a pin's entry.
    fn program(&mut self, pin: u8, low: u32) {
        self.write(0x10 + 2 * pin, low);
    }

    fn low(&mut self, pin: u8) -> u32 {
        self.read(0x10 + 2 * pin)
    }

    fn line(&mut self, pin: u32, high: bool) {
        self.with(|chip, deliver| chip.set_line(pin, high, deliver));
    }

    fn eoi(&mut self, vector: u8) {
        self.with(|chip, deliver| chip.end_of_interrupt(vector, deliver));
    }

    fn vectors(&mut self) -> Vec<u8> {
        self.sent.take().iter().map(|message| message.vector).collect()
    }
}

const EDGE: u32 = 0;
const LEVEL: u32 = 1 << 15;
const MASKED: u32 = 1 << 16;
const REMOTE_IRR: u32 = 1 << 14;

#[test]
fn identification() {
    let mut f = Fixture::new();
    assert_eq!(f.read(1), 0x0017_0011);
    f.write(0, 0xff00_0000);
    assert_eq!((f.read(0), f.read(2)), (0x0f00_0000, 0x0f00_0000));
    f.write(1, 0);
    assert_eq!(f.read(1), 0x0017_0011);
    assert_eq!((f.read(3), f.read(0x40), f.read(0xff)), (!0, !0, !0));
    assert_eq!((f.chip.read(0x00), f.chip.read(0x20), f.chip.read(0x40)), (0xff, 0, 0));
    f.write(0xff, 5);
}

#[test]
fn pins_start_masked_and_keep_what_is_writable() {
    let mut f = Fixture::new();
    assert_eq!((f.low(23), f.read(0x10 + 47)), (MASKED, 0));
    f.write(0x11, !0);
    f.program(0, !0);
    assert_eq!((f.low(0), f.read(0x11)), (0x0001_afff, 0xff00_0000));
}

#[test]
fn an_edge_is_sent_once_with_its_destination() {
    let mut f = Fixture::new();
    f.write(0x10 + 9, 0x0300_0000);
    f.program(4, EDGE | 0x0951);
    f.line(4, true);
    f.line(4, true);
    let expected = Message {
        mode: DeliveryMode::LowestPriority,
        vector: 0x51,
        level: false,
        destination: Destination::Logical(3),
    };
    assert_eq!(f.sent.take(), [expected]);
    f.line(4, false);
    f.line(4, true);
    assert_eq!(f.vectors(), [0x51]);
    assert_eq!(f.low(4) & REMOTE_IRR, 0);
}

#[test]
fn an_edge_on_a_masked_pin_is_lost() {
    let mut f = Fixture::new();
    f.program(4, MASKED | EDGE | 0x51);
    f.line(4, true);
    f.program(4, EDGE | 0x51);
    assert_eq!(f.vectors(), []);
}

#[test]
fn a_level_waits_for_the_end_and_is_sent_again_while_it_lasts() {
    let mut f = Fixture::new();
    f.program(10, LEVEL | 0x61);
    f.line(10, true);
    f.line(10, true);
    assert_eq!(f.vectors(), [0x61]);
    assert_ne!(f.low(10) & REMOTE_IRR, 0);
    f.eoi(0x62);
    assert_eq!(f.vectors(), []);
    f.eoi(0x61);
    assert_eq!(f.vectors(), [0x61]);
    f.line(10, false);
    f.eoi(0x61);
    assert_eq!(f.vectors(), []);
    assert_eq!(f.low(10) & REMOTE_IRR, 0);
}

#[test]
fn a_level_on_a_masked_pin_is_sent_when_unmasked() {
    let mut f = Fixture::new();
    f.program(10, MASKED | LEVEL | 0x61);
    f.line(10, true);
    assert_eq!(f.vectors(), []);
    f.program(10, LEVEL | 0x61);
    assert_eq!(f.vectors(), [0x61]);
    f.program(10, MASKED | LEVEL | 0x61);
    f.eoi(0x61);
    assert_eq!(f.vectors(), [], "masked at its end");
    f.program(10, LEVEL | 0x61);
    assert_eq!(f.vectors(), [0x61]);
}

#[test]
fn remote_irr_is_read_only_and_ends_with_edge_mode() {
    let mut f = Fixture::new();
    f.program(10, LEVEL | 0x61);
    f.line(10, true);
    f.program(10, LEVEL | 0x61);
    assert_ne!(f.low(10) & REMOTE_IRR, 0);
    assert_eq!(f.vectors(), [0x61]);
    f.program(10, MASKED | EDGE | 0x61);
    assert_eq!(f.low(10) & REMOTE_IRR, 0);
    f.program(10, LEVEL | 0x61);
    assert_eq!(f.vectors(), [0x61]);
}

#[test]
fn a_level_that_nobody_took_does_not_wait_for_an_end() {
    let mut f = Fixture::new();
    f.anybody_there.set(false);
    f.program(10, LEVEL | 0x61);
    f.line(10, true);
    assert_eq!(f.low(10) & REMOTE_IRR, 0);
    f.anybody_there.set(true);
    f.write(0x10 + 21, 0x0100_0000);
    assert_eq!(f.vectors(), [0x61, 0x61], "a new destination is tried at once");
    assert_ne!(f.low(10) & REMOTE_IRR, 0);
}

#[test]
fn modes_that_mean_nothing_here_send_nothing() {
    let mut f = Fixture::new();
    for mode in [2, 3, 6, 7] {
        f.program(0, mode << 8 | 0x51);
        f.line(0, true);
        f.line(0, false);
    }
    assert_eq!(f.vectors(), []);
    f.program(0, 4 << 8);
    f.line(0, true);
    assert_eq!(f.sent.take()[0].mode, DeliveryMode::Nmi);
    f.line(24, true);
    f.line(u32::MAX, true);
}

#[test]
fn polarity_is_kept_and_changes_nothing() {
    let mut f = Fixture::new();
    f.program(10, 1 << 13 | LEVEL | 0x61);
    assert_ne!(f.low(10) & 1 << 13, 0);
    f.line(10, true);
    assert_eq!(f.vectors(), [0x61]);
}

#[test]
fn state_round_trips_and_sends_nothing_twice() {
    let mut f = Fixture::new();
    f.write(0, 0x0200_0000);
    f.program(4, EDGE | 0x51);
    f.program(10, LEVEL | 0x61);
    f.program(11, MASKED | LEVEL | 0x62);
    for pin in [4, 10, 11] {
        f.line(pin, true);
    }
    assert_eq!(f.vectors(), [0x51, 0x61]);
    let state = f.chip.save();
    assert_eq!((state.id, state.lines, state.pins.len()), (2, 1 << 10 | 1 << 11, 24));
    assert_eq!(state.pins[10].0 as u32 & REMOTE_IRR, REMOTE_IRR);

    let mut other = Fixture::new();
    other.with(|chip, deliver| chip.restore(&state, deliver));
    assert_eq!(other.vectors(), []);
    assert_eq!(other.chip.save(), state);
    other.eoi(0x61);
    assert_eq!(other.vectors(), [0x61]);
    other.line(4, true);
    assert_eq!(other.vectors(), [0x51]);
}

#[test]
fn a_short_or_absurd_state_is_taken_for_what_it_says() {
    let mut f = Fixture::new();
    let state = IoApicState { id: 0xff, selected: 0xff, lines: !0, pins: vec![IoApicPin(0x8051)] };
    f.with(|chip, deliver| chip.restore(&state, deliver));
    assert_eq!(f.vectors(), [0x51]);
    assert_eq!(f.chip.save().id, 0xf);
}
