//! Equal pages of several guests are kept once, and a write after merging is seen by its writer alone.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

mod monitor;

use std::fs;
use std::time::{Duration, Instant};

use monitor::{Engine, Monitor, skipped};
use test_guests::guests::{self, EQUAL_PAGES_BYTES};

const KSM: &str = "/sys/kernel/mm/ksm";
/// Pages of the pattern that may be missed: ksmd passes over what was written a moment ago.
const SHARE_MERGED: f64 = 0.9;

/// ksmd, told to scan fast; as it was before when dropped.
struct Ksm {
    before: Vec<(&'static str, String)>,
}

impl Ksm {
    fn start() -> Option<Ksm> {
        let settings = [("run", "1"), ("pages_to_scan", "20000"), ("sleep_millisecs", "5")];
        let read =
            |name: &'static str| fs::read_to_string(format!("{KSM}/{name}")).ok().map(|text| (name, text));
        let before: Option<Vec<_>> = settings.iter().map(|(name, _)| read(name)).collect();
        let ksm = Ksm { before: before? };
        settings.iter().all(|(name, value)| fs::write(format!("{KSM}/{name}"), value).is_ok()).then_some(ksm)
    }
}

impl Drop for Ksm {
    fn drop(&mut self) {
        for (name, value) in &self.before {
            let _ = fs::write(format!("{KSM}/{name}"), value);
        }
    }
}

/// Pages of a process that stand merged.
fn merged_pages(monitor: &Monitor) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/ksm_stat", monitor.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("ksm_merging_pages ")).unwrap();
    line.trim().parse().unwrap()
}

/// One engine after the other: there is one ksmd.
#[test]
fn three_guests_of_one_image_share_their_pages_until_one_writes() {
    let Some(_ksm) = Ksm::start() else {
        println!("SKIPPED: {KSM} cannot be written: not root, or a kernel without KSM");
        return;
    };
    share_until_one_writes(Engine::Soft);
    if !skipped() {
        share_until_one_writes(Engine::Kvm);
    }
}

fn share_until_one_writes(engine: Engine) {
    let mut guests: Vec<Monitor> =
        (0..3).map(|_| engine.start(guests::equal_pages(), &["--merge", "on"])).collect();
    let unmerged = engine.start(guests::equal_pages(), &[]);
    guests.iter().chain([&unmerged]).for_each(|guest| assert_eq!(guest.receive(), b'!'));
    let wanted = (f64::from(EQUAL_PAGES_BYTES / 4096) * SHARE_MERGED) as u64;
    let deadline = Instant::now() + Duration::from_secs(60);
    while guests.iter().any(|guest| merged_pages(guest) < wanted) {
        let seen: Vec<u64> = guests.iter().map(merged_pages).collect();
        assert!(Instant::now() < deadline, "merged pages {seen:?}, wanted {wanted} each");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(merged_pages(&unmerged), 0, "a guest without the switch keeps its pages to itself");
    // The first byte of the pattern is 0x41 in every guest; one changes its own.
    guests[0].send(b"Z");
    assert_eq!(guests[0].receive(), b'Z');
    for (guest, first_byte) in guests.iter_mut().zip(*b"ZAA") {
        guest.send(b"r");
        assert_eq!(guest.receive(), first_byte);
    }
}
