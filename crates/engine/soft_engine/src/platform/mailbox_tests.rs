use std::sync::Arc;
use std::thread;
use std::time::Instant;

use device_model::HostClock;

use super::*;
use crate::platform::target::Destination;

fn mailbox() -> Mailbox {
    Mailbox::new(Target { ldr: 0, model: 0xf, enabled: true, accepts_fixed: true, x2apic: false })
}

fn clock() -> GuestClock {
    GuestClock::new(Arc::new(HostClock::default()))
}

fn message(mode: DeliveryMode, vector: u8) -> Message {
    Message { mode, vector, level: false, destination: Destination::Everyone }
}

#[test]
fn requests_are_taken_once_and_apart() {
    let mailbox = mailbox();
    mailbox.post(Request::KICK);
    mailbox.post(Request::NMI | Request::FLUSH_TLB);
    assert_eq!(mailbox.take(Request::NMI | Request::INIT), Request::NMI);
    assert_ne!(mailbox.pending(), 0);
    let rest = mailbox.take(Request::ALL);
    assert!(rest.has(Request::KICK) && rest.has(Request::FLUSH_TLB) && !rest.has(Request::NMI));
    assert_eq!(mailbox.pending(), 0);
}

#[test]
fn a_vector_is_posted_once_until_it_is_taken() {
    let mailbox = mailbox();
    assert!(mailbox.accept(&message(DeliveryMode::Fixed, 0x40)));
    assert!(mailbox.take(Request::ALL).has(Request::INTERRUPT));
    assert!(mailbox.accept(&message(DeliveryMode::Fixed, 0x40)), "it is merged with the first");
    assert_eq!(mailbox.pending(), 0);
    mailbox.irr.remove(0x40);
    assert!(mailbox.accept(&message(DeliveryMode::LowestPriority, 0x40)));
    assert!(mailbox.take(Request::ALL).has(Request::INTERRUPT));
}

#[test]
fn trigger_mode_follows_the_last_message() {
    let mailbox = mailbox();
    assert!(mailbox.interrupt(0x40, true));
    assert!(mailbox.tmr.contains(0x40));
    assert!(mailbox.interrupt(0x40, false));
    assert!(!mailbox.tmr.contains(0x40));
}

#[test]
fn vectors_below_sixteen_are_errors() {
    let mailbox = mailbox();
    assert!(!mailbox.accept(&message(DeliveryMode::Fixed, 15)));
    assert_eq!(mailbox.irr.highest(), None);
    assert!(mailbox.take(Request::ALL).has(Request::INTERRUPT));
    assert_eq!((mailbox.take_errors(), mailbox.take_errors()), (1 << 6, 0));
}

#[test]
fn a_disabled_apic_takes_only_what_is_not_maskable() {
    let mailbox = mailbox();
    mailbox.publish_target(Target { accepts_fixed: false, ..mailbox.target() });
    assert!(!mailbox.accept(&message(DeliveryMode::Fixed, 0x40)));
    assert_eq!((mailbox.pending(), mailbox.irr.highest()), (0, None));
    assert!(mailbox.accept(&message(DeliveryMode::Nmi, 0)));
    assert!(mailbox.accept(&message(DeliveryMode::StartUp, 9)));
    assert_eq!(mailbox.take(Request::ALL), Request::NMI | Request::SIPI);
    assert_eq!(mailbox.sipi_vector(), 9);
}

#[test]
fn init_drops_an_older_start_up_but_not_a_later_one() {
    let mailbox = mailbox();
    mailbox.accept(&message(DeliveryMode::StartUp, 1));
    mailbox.accept(&message(DeliveryMode::Init, 0));
    assert_eq!(mailbox.take(Request::ALL), Request::INIT);
    mailbox.accept(&message(DeliveryMode::Init, 0));
    mailbox.accept(&message(DeliveryMode::StartUp, 2));
    assert_eq!(mailbox.take(Request::ALL), Request::INIT | Request::SIPI);
    assert_eq!(mailbox.sipi_vector(), 2);
}

#[test]
fn a_pending_request_keeps_the_owner_awake() {
    let mailbox = mailbox();
    mailbox.post(Request::KICK);
    mailbox.sleep_until(None, &clock());
    assert_eq!(mailbox.take(Request::ALL), Request::KICK);
}

#[test]
fn sleep_ends_at_the_deadline() {
    let (mailbox, clock) = (mailbox(), clock());
    let deadline_ns = clock.now_ns() + 3_000_000;
    mailbox.sleep_until(Some(deadline_ns), &clock);
    assert!(clock.now_ns() >= deadline_ns);
    let started = Instant::now();
    mailbox.sleep_until(Some(deadline_ns), &clock);
    assert!(started.elapsed().as_secs() < 5, "a deadline that has passed");
}

/// Two threads wake each other in turn: a wake-up that is lost stops both, and the test's time runs out.
#[test]
fn no_wake_up_is_lost() {
    const ROUNDS: u32 = 20_000;
    let boxes = [Arc::new(mailbox()), Arc::new(mailbox())];
    let play = |mine: Arc<Mailbox>, other: Arc<Mailbox>| {
        thread::spawn(move || {
            let clock = clock();
            for _ in 0..ROUNDS {
                mine.sleep_until(None, &clock);
                assert_eq!(mine.take(Request::ALL), Request::KICK);
                other.post(Request::KICK);
            }
        })
    };
    let [first, second] = boxes;
    let threads = [play(Arc::clone(&first), Arc::clone(&second)), play(second, Arc::clone(&first))];
    first.post(Request::KICK);
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Many senders, one sleeper that takes vectors: every vector sent is seen at least once after it was sent.
#[test]
fn every_sender_is_heard() {
    const SENDERS: u8 = 4;
    const ROUNDS: usize = 2_000;
    let mailbox = Arc::new(mailbox());
    let threads: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || {
                for _ in 0..ROUNDS {
                    assert!(mailbox.interrupt(32 + sender, false));
                    while mailbox.irr.contains(32 + sender) {
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let clock = clock();
    let mut seen = 0;
    while seen < usize::from(SENDERS) * ROUNDS {
        mailbox.sleep_until(None, &clock);
        assert_eq!(mailbox.take(Request::ALL), Request::INTERRUPT);
        while let Some(vector) = mailbox.irr.highest() {
            mailbox.irr.remove(vector);
            seen += 1;
        }
    }
    for thread in threads {
        thread.join().unwrap();
    }
}
