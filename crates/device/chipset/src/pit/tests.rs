use std::sync::Arc;
use std::time::{Duration, Instant};

use device_model::fake::{FakeClock, FakeIrqLine};
use device_model::{Clock, Device, HostClock, PortIo, Saved, Snapshot, lock};

use super::*;
use device_model::AnySnapshot;

struct Setup {
    pit: Pit,
    clock: Arc<FakeClock>,
    line: Arc<FakeIrqLine>,
}

fn setup() -> Setup {
    let (clock, line) = (Arc::new(FakeClock::default()), Arc::new(FakeIrqLine::default()));
    Setup { pit: Pit::new(clock.clone(), line.clone()), clock, line }
}

impl Setup {
    fn set(&mut self, offset: u16, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.pit.port_write(offset, &[*byte]));
    }

    fn get(&mut self, offset: u16) -> u8 {
        let mut data = [0];
        self.pit.port_read(offset, &mut data);
        data[0]
    }

    fn get16(&mut self, offset: u16) -> u16 {
        u16::from_le_bytes([self.get(offset), self.get(offset)])
    }

    /// Moves the clock so that exactly so many pulses have come since the chip was made.
    fn at(&mut self, pulse: u64) {
        let due = Duration::from_nanos((pulse * 1_000_000_000).div_ceil(TICKS_PER_SECOND));
        self.clock.advance(due - self.clock.monotonic());
        // The thread waits by the host's clock: here the test does its work.
        lock(self.pit.chip.shared()).follow();
    }

    fn out2(&mut self) -> bool {
        self.get(PORT_B) & PORT_B_OUT != 0
    }
}

#[test]
fn counter_2_measures_time_by_gate_and_out() {
    // As memtest86+, Linux and Xen calibrate: mode 0, count, gate, poll OUT.
    let mut s = setup();
    s.set(PORT_B, &[0]);
    s.set(CONTROL, &[0xb0]);
    s.set(2, &[0x34, 0x12]);
    s.at(10_000);
    assert!(!s.out2());
    assert_eq!(s.get16(2), 0x1234, "GATE is low: nothing counts");
    s.set(PORT_B, &[1]);
    s.at(10_000 + 0x1233);
    assert!(!s.out2());
    s.at(10_000 + 0x1234);
    assert!(s.out2());
    s.at(10_000 + 0x1236);
    assert_eq!(s.get16(2), 0xfffe, "the count goes on behind zero");
    assert!(s.out2());
    assert_eq!(s.line.edges(), 0, "counter 2 is not an interrupt");
    assert_eq!(s.get(PORT_B) & 0x0f, 1);
}

#[test]
fn a_closed_gate_holds_mode_0_and_an_open_one_lets_it_go_on() {
    let mut s = setup();
    s.set(CONTROL, &[0xb0]);
    s.set(PORT_B, &[1]);
    s.set(2, &[100, 0]);
    s.at(41);
    s.set(PORT_B, &[0]);
    s.at(1000);
    assert_eq!(s.get16(2), 60);
    s.set(PORT_B, &[1]);
    s.at(1059);
    assert!(!s.out2());
    s.at(1060);
    assert!(s.out2());
}

#[test]
fn counter_0_interrupts_once_a_period() {
    for (control, name) in [(0x34, "rate generator"), (0x36, "square wave")] {
        let mut s = setup();
        s.set(CONTROL, &[control]);
        let before = s.line.edges();
        s.set(0, &[100, 0]);
        for period in 1..=5u64 {
            s.at(1 + 100 * period - 1);
            assert_eq!(s.line.edges() - before, period - 1, "{name}");
            s.at(1 + 100 * period);
            assert_eq!(s.line.edges() - before, period, "{name}");
        }
        s.at(1 + 100 * 9);
        assert_eq!(s.line.edges() - before, 6, "{name}: three at once are one");
    }
}

#[test]
fn mode_0_and_4_interrupt_once() {
    for (control, pulse) in [(0x30, 1000), (0x38, 1001)] {
        let mut s = setup();
        s.set(CONTROL, &[control]);
        let before = s.line.edges();
        s.set(0, &[0xe8, 0x03]);
        s.at(pulse);
        assert_eq!(s.line.edges(), before, "{control:#x}");
        s.at(1 + pulse);
        assert_eq!(s.line.edges(), before + 1, "{control:#x}");
        s.at(1_000_000);
        assert_eq!(s.line.edges(), before + 1, "{control:#x}");
    }
}

#[test]
fn a_gate_that_rises_starts_modes_1_and_5() {
    let mut s = setup();
    s.set(CONTROL, &[0xb2]);
    s.set(2, &[10, 0]);
    s.at(50);
    assert!(s.out2());
    s.set(PORT_B, &[1]);
    s.at(51);
    assert!(!s.out2());
    s.at(60);
    assert!(!s.out2());
    s.at(61);
    assert!(s.out2());
    s.set(PORT_B, &[0]);
    s.set(CONTROL, &[0xba]);
    s.set(2, &[10, 0]);
    s.set(PORT_B, &[1]);
    s.at(72);
    assert!(!s.out2());
    s.at(73);
    assert!(s.out2());
}

#[test]
fn a_new_count_waits_for_the_end_of_the_period() {
    let mut s = setup();
    s.set(CONTROL, &[0x34]);
    s.set(0, &[100, 0]);
    s.at(31);
    s.set(0, &[50, 0]);
    assert_eq!(s.get16(0), 70);
    s.at(101 + 10);
    assert_eq!(s.get16(0), 40);
    assert_eq!(s.line.edges(), 2, "the control word raised OUT, then the period ended");
    s.at(151);
    assert_eq!(s.line.edges(), 3);
}

#[test]
fn latched_values_stay_until_they_are_read() {
    let mut s = setup();
    s.set(CONTROL, &[0x34]);
    s.set(0, &[0, 0]);
    s.at(1 + 0x100);
    s.set(CONTROL, &[0x00]);
    s.at(1 + 0x200);
    s.set(CONTROL, &[0x00]);
    assert_eq!(s.get16(0), 0xff00, "the second latch command came too late");
    assert_eq!(s.get16(0), 0xfe00);
    // Read back status and count of counter 0: the status comes first.
    s.set(CONTROL, &[0xc2]);
    assert_eq!(s.get(0), 0xb4, "OUT high, counting, both bytes, mode 2");
    assert_eq!(s.get16(0), 0xfe00);
    s.set(CONTROL, &[0x36]);
    s.set(CONTROL, &[0xe2]);
    assert_eq!(s.get(0), 0xf6, "no count yet");
}

#[test]
fn single_bytes_decimals_and_odd_square_waves() {
    let mut s = setup();
    s.set(CONTROL, &[0x54, 0x25]);
    s.set(1, &[20]);
    s.set(0, &[0x10]);
    s.at(6);
    assert_eq!(s.get(1), 15);
    assert_eq!(s.get(0), 0x09, "decimal, high byte only, of 1000 less 5");
}

#[test]
fn state_moves_in_the_middle_of_a_count() {
    let mut s = setup();
    s.set(CONTROL, &[0x34, 0xb0]);
    s.set(0, &[0, 2]);
    s.set(2, &[7]);
    s.at(1 + 0x101);
    s.pit.pause();
    s.clock.advance(Duration::from_secs(3));
    device_harness::golden::check(
        concat!(env!("CARGO_MANIFEST_DIR"), "/states/pit-v1.bin"),
        &s.pit.save_bytes().unwrap().unwrap(),
    );
    let Saved::State(state) = s.pit.save() else { panic!("the timer has state") };
    let mut other = setup();
    other.clock.advance(Duration::from_secs(77));
    other.pit = Pit::new(other.clock.clone(), other.line.clone());
    other.pit.pause();
    other.pit.restore(state.clone()).unwrap();
    assert_eq!(other.pit.save(), Saved::State(state.clone()));
    other.pit.resume();
    s.pit.resume();
    for timer in [&mut s, &mut other] {
        timer.set(CONTROL, &[0x00]);
        assert_eq!(timer.get16(0), 0xff);
        timer.set(2, &[0]);
        timer.set(CONTROL, &[0xe8]);
        assert_eq!(timer.get(2), 0x30, "GATE is low, but the count is there");
    }
    assert!(other.pit.restore(PitState { port_b: 0x80, ..state }).is_err());
    other.pit.reset();
    assert_eq!(other.pit.save(), setup().pit.save());
}

#[test]
fn nonsense_is_taken_and_no_thread_runs_unasked() {
    let mut s = setup();
    s.set(CONTROL, &[0xb6, 0x74]);
    s.set(2, &[1, 0]);
    s.set(1, &[18]);
    s.set(PORT_B, &[3]);
    assert!(!s.pit.chip.is_running(), "counters 1 and 2 interrupt nobody");
    let clock = Arc::clone(&s.clock);
    crate::ports::tests::hammer(&mut s.pit, |_, nanos| clock.advance(Duration::from_nanos(nanos.into())));
}

#[test]
fn the_thread_interrupts_by_the_hosts_clock() {
    let line = Arc::new(FakeIrqLine::default());
    let mut pit = Pit::new(Arc::new(HostClock::default()), line.clone());
    pit.port_write(CONTROL, &[0x34]);
    pit.port_write(0, &[0]);
    pit.port_write(0, &[4]);
    let start = Instant::now();
    while line.edges() < 20 {
        assert!(start.elapsed() < Duration::from_secs(30), "{} edges", line.edges());
        std::thread::sleep(Duration::from_millis(1));
    }
    pit.pause();
    let edges = line.edges();
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(line.edges(), edges, "paused");
}
