//! A guest that sends frames, and looks at what is answered.

use std::process::Command;
use std::time::Instant;

use test_guests::pinging::pinger;

use super::guest::Guest;
use super::link::{Link, TAP};
use super::subject::{Random, Subject, start};
use crate::monitor::{Engine, LIMIT};
use crate::place::Place;

/// A guest that sends frames, and looks at what is answered.
#[derive(Clone)]
pub struct Network {
    answers: u32,
}

impl Network {
    fn answers(guest: &mut Guest, name: &str) -> u32 {
        guest.send(b"p");
        assert_eq!(guest.receive(), b'1', "{name} got what it had not sent");
        u32::from_le_bytes([(); 4].map(|()| guest.receive()))
    }
}

impl Subject for Network {
    fn link() -> Option<Link> {
        Some(Link::new().unwrap())
    }

    /// Let go of its card, and take another one.
    const CAN_BE_CLONED: bool = false;

    fn start(yagura: Command, place: &Place, engine: Engine, name: &str) -> (Guest, Self) {
        let card = format!("tap={TAP}");
        let mut guest = start(yagura, place, engine, pinger(), &["--name", name, "--net", &card]);
        assert_eq!(guest.receive(), b'!', "{}", guest.said());
        (guest, Network { answers: 0 })
    }

    /// It always sends.
    fn work(&mut self, _guest: &mut Guest, _random: &mut Random) {}

    /// There are more answers than before, soon.
    fn prove(&mut self, guest: &mut Guest, name: &str) {
        let deadline = Instant::now() + LIMIT;
        let answers = loop {
            let answers = Network::answers(guest, name);
            assert!(answers >= self.answers, "{name} has forgotten: {answers} of {}", self.answers);
            if answers != self.answers {
                break answers;
            }
            assert!(Instant::now() < deadline, "{name} gets no answers any more");
        };
        self.answers = answers;
    }

    fn after_reset(&mut self, guest: &mut Guest) {
        assert_eq!(guest.receive(), b'!', "{}", guest.said());
        self.answers = 0;
    }
}
