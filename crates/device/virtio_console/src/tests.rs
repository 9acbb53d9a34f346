//! The console on fake memory and a backend in memory.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use char_backend::{CharBackend, Null, WindowSize};
use device_harness::{Descriptor, DirectDriver};
use guest_memory::GuestAddress;
use host_sys::poll::{event_fd, new_event};
use vmm_sys_util::eventfd::EventFd;

use crate::VirtioConsole;
use crate::spec::{F_SIZE, RECEIVE_QUEUE as RX, TRANSMIT_QUEUE as TX};

struct Typist {
    readable: EventFd,
    state: Mutex<Typed>,
}

#[derive(Default)]
struct Typed {
    input: VecDeque<u8>,
    output: Vec<u8>,
    reads: u64,
}

impl Typist {
    fn new() -> Arc<Typist> {
        Arc::new(Typist { readable: new_event().unwrap(), state: Mutex::default() })
    }

    fn types(&self, text: &[u8]) {
        self.state.lock().unwrap().input.extend(text);
        self.readable.write(1).unwrap();
    }
}

impl CharBackend for Typist {
    fn write(&self, data: &[u8]) {
        self.state.lock().unwrap().output.extend_from_slice(data);
    }

    fn readable(&self) -> Option<BorrowedFd<'_>> {
        Some(event_fd(&self.readable))
    }

    fn read(&self, buffer: &mut [u8]) -> usize {
        let mut state = self.state.lock().unwrap();
        state.reads += 1;
        let count = buffer.len().min(state.input.len());
        for (to, from) in buffer.iter_mut().zip(state.input.drain(..count)) {
            *to = from;
        }
        if state.input.is_empty() {
            let _ = self.readable.read();
        }
        count
    }

    fn window_size(&self) -> Option<WindowSize> {
        Some(WindowSize { columns: 132, rows: 25 })
    }
}

fn started() -> (Arc<Typist>, DirectDriver) {
    let typist = Typist::new();
    let mut driver = DirectDriver::new(Box::new(VirtioConsole::new(typist.clone())));
    driver.start(F_SIZE);
    (typist, driver)
}

fn output(typist: &Typist) -> Vec<u8> {
    std::mem::take(&mut typist.state.lock().unwrap().output)
}

#[test]
fn configuration_tells_the_size_of_a_terminal() {
    let mut driver = DirectDriver::new(Box::new(VirtioConsole::new(Typist::new())));
    let mut config = [0xaa; 14];
    driver.device().write_config(0, &[9; 12]);
    driver.device().read_config(0, &mut config);
    assert_eq!(config, [132, 0, 25, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(driver.device().features(), F_SIZE);
    assert_eq!(driver.device().queue_sizes(), [128, 128]);
    assert!(driver.device().save_bytes().unwrap().is_none());
    let mut without = DirectDriver::new(Box::new(VirtioConsole::new(Arc::new(Null))));
    assert_eq!(without.device().features(), 0);
    without.start(0);
    without.request(TX, &[b"lost"], &[]);
}

#[test]
fn what_the_guest_says_comes_out_in_order() {
    let (typist, mut driver) = started();
    driver.request(TX, &[b"Debian ", b"GNU/Linux"], &[]);
    let long: Vec<u8> = (0..10_000u32).map(|index| index as u8).collect();
    driver.request(TX, &[&long], &[]);
    assert_eq!(output(&typist), [b"Debian GNU/Linux".as_slice(), &long].concat());
}

#[test]
fn input_fills_buffers_and_the_rest_waits() {
    let (typist, mut driver) = started();
    typist.types(b"uname -a\n");
    std::thread::sleep(Duration::from_millis(10));
    let reads = typist.state.lock().unwrap().reads;
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(typist.state.lock().unwrap().reads, reads, "the worker must not spin");
    assert_eq!(driver.request(RX, &[], &[5]).data, b"uname");
    assert_eq!(driver.request(RX, &[], &[2, 30]).data[..4], *b" -a\n");

    let piece = driver.arena.room(16);
    driver.submit(RX, &[], &[piece]);
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(driver.ring(RX).take_used(), None);
    typist.types(b"x");
    assert_eq!(driver.wait(RX).written_bytes, 1);
    assert!(driver.interrupt(RX).used() > 0);
}

#[test]
fn stopping_hands_back_the_buffer_that_waits() {
    let (typist, mut driver) = started();
    let piece = driver.arena.room(16);
    driver.submit(RX, &[], &[piece]);
    std::thread::sleep(Duration::from_millis(5));
    let states = driver.stop();
    assert_eq!(states[0].unwrap().next_avail, 0);
    typist.types(b"later");
    driver.resume(&states);
    assert_eq!(driver.wait(RX).written_bytes, 5);
}

#[test]
fn hostile_chains_are_completed() {
    let (typist, mut driver) = started();
    let outside = (GuestAddress(1 << 40), u32::MAX);
    let said = driver.arena.put(b"said");
    driver.submit(TX, &[outside, said], &[]);
    driver.wait(TX);
    driver.request(TX, &[], &[16]);
    typist.types(b"lost");
    driver.submit(RX, &[], &[outside]);
    assert_eq!(driver.wait(RX).written_bytes, 0);
    driver.request(RX, &[b"not writable"], &[]);
    assert_eq!(output(&typist), b"");

    // A buffer as large as RAM, chained to itself: only so much of it is written.
    let flags = Descriptor::NEXT;
    driver.ring(TX).set_descriptor(0, Descriptor { address: 0x1000, len: 8 << 20, flags, next: 0 });
    driver.ring(TX).publish(0);
    driver.kick(TX);
    driver.wait(TX);
    assert_eq!(output(&typist).len(), 1 << 20);
    driver.ring(TX).set_avail_index(0x7000);
    driver.kick(TX);
    while !driver.interrupt(TX).is_broken() {
        std::thread::sleep(Duration::from_micros(100));
    }
}
