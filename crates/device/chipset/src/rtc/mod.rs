//! Real-time clock with 128 bytes of memory: an MC146818A as wired in a PC.
//!
//! The time is the host's plus what the guest has set it off by; nothing ticks. Alarm and periodic interrupt
//! are registers without effect, and no interrupt is wired: the machine's ACPI tables declare none.

mod calendar;
mod spec;

use std::sync::Arc;

use device_model::{Clock, Device, PortIo, Saved, Snapshot, SnapshotError};
use serde::{Deserialize, Serialize};

use crate::ports::{read_bytes, write_bytes};
use calendar::Moment;
use spec::*;

/// Largest distance between the guest's and the host's time, in seconds: the years 0 to 9999 and more.
const MAX_OFFSET_S: i64 = 400_000_000_000;

/// Registers that hold the time.
const TIME_REGISTERS: [u8; 8] = [SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, CENTURY];

/// The clock. Two ports.
pub struct Rtc {
    index: u8,
    /// Registers and memory. Those of the time count only while the guest sets it.
    bytes: [u8; SIZE],
    /// Guest time less host time in seconds.
    offset_s: i64,
    /// Guest time in seconds when register C was last read.
    flags_read_s: i64,
    clock: Arc<dyn Clock>,
}

/// Saved state of an [`Rtc`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtcState {
    index: u8,
    bytes: Vec<u8>,
    offset_s: i64,
    flags_read_s: i64,
}

impl Rtc {
    /// A clock that shows the host's time in UTC, BCD, 24 hours.
    pub fn new(clock: Arc<dyn Clock>) -> Rtc {
        let mut bytes = [0; SIZE];
        bytes[usize::from(REGISTER_A)] = A_POWER_ON;
        bytes[usize::from(REGISTER_B)] = B_24_HOURS;
        let mut rtc = Rtc { index: 0, bytes, offset_s: 0, flags_read_s: 0, clock };
        rtc.flags_read_s = rtc.now_s();
        rtc
    }

    fn now_s(&self) -> i64 {
        i64::try_from(self.clock.realtime().as_secs()).unwrap_or(i64::MAX).saturating_add(self.offset_s)
    }

    fn mode(&self) -> u8 {
        self.bytes[usize::from(REGISTER_B)]
    }

    fn is_being_set(&self) -> bool {
        self.mode() & B_SET != 0
    }

    fn read(&mut self) -> u8 {
        match self.index {
            register if TIME_REGISTERS.contains(&register) && !self.is_being_set() => {
                self.encode(register, Moment::from_unix(self.now_s()))
            }
            REGISTER_A => self.bytes[usize::from(REGISTER_A)] | self.update_in_progress(),
            REGISTER_C => self.read_flags(),
            REGISTER_D => D_VALID,
            register => self.bytes[usize::from(register)],
        }
    }

    fn update_in_progress(&self) -> u8 {
        let soon = self.clock.realtime().subsec_nanos() >= 1_000_000_000 - UPDATE_NOTICE_NS;
        if soon && !self.is_being_set() { A_UPDATE_IN_PROGRESS } else { 0 }
    }

    /// Whether a second has passed since the last look, which this is the next of.
    fn read_flags(&mut self) -> u8 {
        let now_s = self.now_s();
        let updated = now_s != self.flags_read_s && !self.is_being_set();
        self.flags_read_s = now_s;
        match (updated, self.mode() & B_UPDATE_INTERRUPT != 0) {
            (false, _) => 0,
            (true, false) => C_UPDATE_ENDED,
            (true, true) => C_UPDATE_ENDED | C_INTERRUPT,
        }
    }

    fn write(&mut self, value: u8) {
        match self.index {
            register if TIME_REGISTERS.contains(&register) => self.write_time(register, value),
            REGISTER_A => self.bytes[usize::from(REGISTER_A)] = value & !A_UPDATE_IN_PROGRESS,
            REGISTER_B => self.write_mode(value),
            REGISTER_C | REGISTER_D => {}
            register => self.bytes[usize::from(register)] = value,
        }
    }

    fn write_time(&mut self, register: u8, value: u8) {
        if !self.is_being_set() {
            self.latch_time();
        }
        self.bytes[usize::from(register)] = value;
        if !self.is_being_set() {
            self.take_over_time();
        }
    }

    /// Updates stop when SET goes up and go on from what was set when it goes down.
    fn write_mode(&mut self, value: u8) {
        let (was_set, is_set) = (self.is_being_set(), value & B_SET != 0);
        if !was_set && is_set {
            self.latch_time();
        }
        self.bytes[usize::from(REGISTER_B)] = value;
        if was_set && !is_set {
            self.take_over_time();
        }
    }

    fn latch_time(&mut self) {
        let now = Moment::from_unix(self.now_s());
        for register in TIME_REGISTERS {
            self.bytes[usize::from(register)] = self.encode(register, now);
        }
    }

    fn take_over_time(&mut self) {
        let field = |register: u8| self.decode(self.bytes[usize::from(register)]);
        let century = from_bcd(self.bytes[usize::from(CENTURY)]);
        let moment = Moment {
            year: century * 100 + field(YEAR),
            month: field(MONTH),
            day: field(DAY),
            hour: self.decode_hours(self.bytes[usize::from(HOURS)]),
            minute: field(MINUTES),
            second: field(SECONDS),
        };
        let off_by = moment.to_unix().saturating_sub(self.now_s());
        self.offset_s = self.offset_s.saturating_add(off_by).clamp(-MAX_OFFSET_S, MAX_OFFSET_S);
    }

    fn encode(&self, register: u8, moment: Moment) -> u8 {
        let year = moment.year.clamp(0, 9999);
        match register {
            SECONDS => self.encode_field(moment.second),
            MINUTES => self.encode_field(moment.minute),
            HOURS if self.mode() & B_24_HOURS != 0 => self.encode_field(moment.hour),
            HOURS => {
                let pm = if moment.hour >= 12 { HOURS_PM } else { 0 };
                self.encode_field((moment.hour + 11) % 12 + 1) | pm
            }
            WEEKDAY => self.encode_field(moment.weekday()),
            DAY => self.encode_field(moment.day),
            MONTH => self.encode_field(moment.month),
            YEAR => self.encode_field(year % 100),
            _ => to_bcd(year / 100),
        }
    }

    fn encode_field(&self, value: i64) -> u8 {
        if self.mode() & B_BINARY != 0 { value as u8 } else { to_bcd(value) }
    }

    fn decode(&self, value: u8) -> i64 {
        if self.mode() & B_BINARY != 0 { i64::from(value) } else { from_bcd(value) }
    }

    fn decode_hours(&self, value: u8) -> i64 {
        if self.mode() & B_24_HOURS != 0 {
            return self.decode(value);
        }
        let pm = if value & HOURS_PM != 0 { 12 } else { 0 };
        self.decode(value & !HOURS_PM) % 12 + pm
    }
}

/// Two decimal digits of a value from 0 to 99.
fn to_bcd(value: i64) -> u8 {
    (value / 10 * 16 + value % 10) as u8
}

fn from_bcd(value: u8) -> i64 {
    i64::from(value >> 4) * 10 + i64::from(value & 0xf)
}

impl PortIo for Rtc {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        read_bytes(offset, data, |register| if register == DATA { self.read() } else { 0xff });
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        write_bytes(offset, data, |register, value| match register {
            INDEX => self.index = value & INDEX_MASK,
            DATA => self.write(value),
            _ => {}
        });
    }
}

impl Device for Rtc {
    fn id(&self) -> &str {
        "rtc"
    }

    /// The chip runs on its battery: a reset clears interrupt enables only ("RESET").
    fn reset(&mut self) {
        self.bytes[usize::from(REGISTER_B)] &= !B_CLEARED_BY_RESET;
    }

    fn pause(&mut self) {}

    fn resume(&mut self) {}
}

impl Snapshot for Rtc {
    const VERSION: u32 = 1;
    type State = RtcState;

    fn save(&self) -> Saved<RtcState> {
        let Rtc { index, bytes, offset_s, flags_read_s, clock: _ } = self;
        Saved::State(RtcState {
            index: *index,
            bytes: bytes.to_vec(),
            offset_s: *offset_s,
            flags_read_s: *flags_read_s,
        })
    }

    fn restore(&mut self, state: RtcState) -> Result<(), SnapshotError> {
        let bytes = <[u8; SIZE]>::try_from(state.bytes)
            .map_err(|_| SnapshotError::Invalid("the clock's memory has another size"))?;
        if state.index & !INDEX_MASK != 0 {
            return Err(SnapshotError::Invalid("the clock's index has bits that do not exist"));
        }
        if state.offset_s.unsigned_abs() > MAX_OFFSET_S.unsigned_abs() {
            return Err(SnapshotError::Invalid("the clock is off by more than it can be set"));
        }
        self.index = state.index;
        self.bytes = bytes;
        self.bytes[usize::from(REGISTER_A)] &= !A_UPDATE_IN_PROGRESS;
        self.offset_s = state.offset_s;
        self.flags_read_s = state.flags_read_s;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use device_model::AnySnapshot;
    use device_model::fake::FakeClock;
    use std::time::Duration;

    /// 2024-02-29 12:34:56, a Thursday.
    const LEAP_DAY_S: u64 = 1_709_210_096;

    fn rtc_at(seconds: u64) -> (Rtc, Arc<FakeClock>) {
        let clock = Arc::new(FakeClock::default());
        clock.advance(Duration::from_secs(seconds));
        (Rtc::new(clock.clone()), clock)
    }

    fn get(rtc: &mut Rtc, register: u8) -> u8 {
        let mut data = [0];
        rtc.port_write(INDEX, &[register]);
        rtc.port_read(DATA, &mut data);
        data[0]
    }

    fn set(rtc: &mut Rtc, register: u8, value: u8) {
        rtc.port_write(INDEX, &[register, value]);
    }

    fn time(rtc: &mut Rtc) -> [u8; 8] {
        [CENTURY, YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS, WEEKDAY].map(|register| get(rtc, register))
    }

    #[test]
    fn shows_the_time_in_every_form() {
        let (mut rtc, _) = rtc_at(LEAP_DAY_S);
        let cases = [
            (B_24_HOURS, [0x20, 0x24, 0x02, 0x29, 0x12, 0x34, 0x56, 0x05]),
            (B_24_HOURS | B_BINARY, [0x20, 24, 2, 29, 12, 34, 56, 5]),
            (0, [0x20, 0x24, 0x02, 0x29, 0x92, 0x34, 0x56, 0x05]),
            (B_BINARY, [0x20, 24, 2, 29, 0x8c, 34, 56, 5]),
        ];
        for (mode, expected) in cases {
            set(&mut rtc, REGISTER_B, mode);
            assert_eq!(time(&mut rtc), expected, "mode {mode:#x}");
        }
        for (hour, shown) in [(0u64, 0x12), (1, 0x01), (11, 0x11), (12, 0x92), (13, 0x81), (23, 0x91)] {
            let (mut rtc, _) = rtc_at(hour * 3600);
            set(&mut rtc, REGISTER_B, 0);
            assert_eq!(get(&mut rtc, HOURS), shown);
        }
    }

    #[test]
    fn the_guest_sets_the_time_as_linux_does() {
        for mode in [B_24_HOURS, B_24_HOURS | B_BINARY, 0, B_BINARY] {
            let (mut source, _) = rtc_at(LEAP_DAY_S);
            set(&mut source, REGISTER_B, mode);
            let (mut rtc, clock) = rtc_at(1_000_000_000);
            set(&mut rtc, REGISTER_B, mode | B_SET);
            for register in TIME_REGISTERS {
                set(&mut rtc, register, get(&mut source, register));
            }
            clock.advance(Duration::from_secs(5));
            assert_eq!(time(&mut rtc), time(&mut source), "stands still while it is set");
            set(&mut rtc, REGISTER_B, mode);
            assert_eq!(time(&mut rtc), time(&mut source));
            clock.advance(Duration::from_secs(1));
            let seconds = get(&mut rtc, SECONDS);
            assert_eq!(rtc.decode(seconds), 57);
        }
    }

    #[test]
    fn a_single_field_is_set_in_flight() {
        let (mut rtc, _) = rtc_at(LEAP_DAY_S);
        set(&mut rtc, HOURS, 0x07);
        assert_eq!(time(&mut rtc)[4..7], [0x07, 0x34, 0x56]);
    }

    #[test]
    fn update_flags_follow_the_clock() {
        let (mut rtc, clock) = rtc_at(LEAP_DAY_S);
        assert_eq!(get(&mut rtc, REGISTER_A), 0x26);
        clock.advance(Duration::from_micros(999_800));
        assert_eq!(get(&mut rtc, REGISTER_A), 0xa6);
        assert_eq!(get(&mut rtc, REGISTER_C), 0);
        clock.advance(Duration::from_micros(300));
        assert_eq!((get(&mut rtc, REGISTER_A), get(&mut rtc, REGISTER_C)), (0x26, 0x10));
        assert_eq!((get(&mut rtc, REGISTER_C), get(&mut rtc, REGISTER_D)), (0, 0x80));
        let mut data = [0];
        rtc.port_read(INDEX, &mut data);
        assert_eq!(data, [0xff], "the index cannot be read");
    }

    #[test]
    fn memory_and_time_survive_reset_and_move() {
        let (mut rtc, clock) = rtc_at(LEAP_DAY_S);
        set(&mut rtc, 0x50, 0xab);
        set(&mut rtc, YEAR, 0x30);
        set(&mut rtc, REGISTER_B, B_24_HOURS | 0x70);
        rtc.reset();
        assert_eq!((get(&mut rtc, REGISTER_B), get(&mut rtc, 0x50)), (B_24_HOURS, 0xab));
        device_harness::golden::check(
            concat!(env!("CARGO_MANIFEST_DIR"), "/states/rtc-v1.bin"),
            &rtc.save_bytes().unwrap().unwrap(),
        );
        let Saved::State(state) = rtc.save() else { panic!("the clock has state") };
        clock.advance(Duration::from_secs(90));
        let mut other = Rtc::new(clock);
        other.restore(state.clone()).unwrap();
        assert_eq!(time(&mut other), time(&mut rtc));
        assert_eq!(get(&mut other, 0x50), 0xab);
        for wrong in [
            RtcState { bytes: vec![0; 127], ..state.clone() },
            RtcState { index: 0x80, ..state.clone() },
            RtcState { offset_s: i64::MIN, ..state },
        ] {
            assert!(matches!(other.restore(wrong), Err(SnapshotError::Invalid(_))));
        }
    }

    #[test]
    fn any_access_is_answered() {
        for seconds in [0, LEAP_DAY_S, u64::from(u32::MAX) * 4] {
            let (mut rtc, clock) = rtc_at(seconds);
            crate::ports::tests::hammer(&mut rtc, |rtc, value| {
                rtc.index = value & INDEX_MASK;
                clock.advance(Duration::from_micros(u64::from(value) * 7));
            });
        }
    }
}
