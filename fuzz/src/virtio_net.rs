//! Target `virtio_net`: a network card with two queue pairs on a network in memory. Packets arrive, buffers of
//! any kind are offered, packets of any kind are sent, and commands of any kind are given.
//!
//! Always: what reaches the network is neither shorter nor longer than a packet can be, and the number of pairs
//! in use is one that the card has. What is in the headers is not checked: the script may change them meanwhile.

use std::sync::Arc;

use device_model::AnySnapshot as _;
use net_backend::fake::FakeNet;
use virtio_core::{VIRTIO_F_EVENT_IDX, VIRTIO_F_INDIRECT_DESC, VIRTIO_F_VERSION_1, VirtioDevice as _};
use virtio_net::{MacAddress, VirtioNet};

use crate::hostile_driver::{self, HostileDriver};
use crate::hostile_ring::{self, SeedPiece, note_chain};
use crate::{Notation, Script, Seed};

const ARRIVE: u8 = hostile_driver::COUNT;
const ARRIVE_LONG: u8 = ARRIVE + 1;
const REFUSE: u8 = ARRIVE + 2;
const REMOVE: u8 = ARRIVE + 3;
const OPERATIONS: u8 = ARRIVE + 4;

const PAIRS: u16 = 2;
/// Header, Ethernet header with a VLAN tag, and 64 KiB of IP.
const LONGEST_PACKET: usize = net_backend::HEADER_BYTES + 18 + 65_535;

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let net = FakeNet::new(PAIRS).expect("event descriptors");
    let mac = MacAddress::try_from([0x52, 0x54, 0, 0, 0, 1]).expect("a good address");
    let card = VirtioNet::new(Arc::new(net.clone()), mac, PAIRS);
    card.save_bytes().expect("a card can be saved");
    let offered = card.features() | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC;
    let features = u64::from(script.u32()) & offered | VIRTIO_F_VERSION_1;
    let mut driver = HostileDriver::new(Box::new(card), features);
    while let Some(operation) = script.operation(OPERATIONS) {
        let pair = |script: &mut Script<'_>| usize::from(script.u8()) % usize::from(PAIRS);
        match operation {
            ARRIVE => {
                let (pair, len) = (pair(&mut script), usize::from(script.u8()));
                net.arrive(pair, script.bytes(len));
            }
            ARRIVE_LONG => {
                let (pair, len) = (pair(&mut script), usize::from(script.u16()) * 2);
                net.arrive(pair, &vec![0x5a; len]);
            }
            REFUSE => net.set_refuses(pair(&mut script), script.u8() & 1 != 0),
            REMOVE => net.remove(pair(&mut script)),
            _ => driver.act(operation, &mut script),
        }
        check_sent(&net);
    }
    drop(driver);
    check_sent(&net);
}

fn check_sent(net: &FakeNet) {
    for packet in (0..usize::from(PAIRS)).flat_map(|pair| net.take_sent(pair)) {
        assert!(
            (net_backend::HEADER_BYTES + 14..=LONGEST_PACKET).contains(&packet.len()),
            "a packet's length"
        );
    }
    assert!((1..=PAIRS).contains(&net.active_pairs()));
}

/// Packets both ways, merged buffers, and each command.
pub fn seeds() -> Vec<Seed> {
    let chain = |script: Notation, queue: u8, pieces: &[SeedPiece<'_>]| {
        note_chain(script.u8(hostile_ring::CHAIN).u8(queue), None, pieces)
    };
    let stop = |script: Notation, queue: u8| script.u8(hostile_driver::STOP).u8(queue);
    let packet = [&[0; 12][..], &[0xff; 6], &[0x52, 0x54, 0, 0, 0, 1, 8, 0], &[7; 40]].concat();
    let start = || Notation::new().u32(u32::MAX);
    let sent =
        chain(start(), 1, &[SeedPiece::Read(0x4000, &packet[..12]), SeedPiece::Read(0x4100, &packet[12..])]);
    let sent = stop(chain(stop(sent, 1), 3, &[SeedPiece::Read(0x4200, &packet)]), 3);
    let arrive = |script: Notation| script.u8(ARRIVE).u8(0).u8(packet.len() as u8).bytes(&packet);
    let received = (0..4u16)
        .fold(start(), |script, index| chain(script, 0, &[SeedPiece::Write(0x5000 + index * 0x100, 40)]));
    let received = stop(arrive(arrive(received)), 0);
    let plain = Notation::new().u32(0);
    let plain = stop(arrive(chain(plain, 0, &[SeedPiece::Write(0x5000, 2048)])), 0);
    let starved = arrive(start().u8(hostile_driver::START).u8(0)).u8(hostile_driver::KICK).u8(0);
    let starved = chain(starved.u8(hostile_driver::WAIT).u8(0), 0, &[SeedPiece::Write(0x5000, 2048)]);
    let starved = starved.u8(hostile_driver::KICK).u8(0).u8(hostile_driver::WAIT).u8(0).u8(REMOVE).u8(0);
    let long = (0..8u16).fold(start(), |script, index| {
        chain(script, 0, &[SeedPiece::Write(0x2000 + index * 0x1000, 0x1000)])
    });
    let long = stop(long.u8(ARRIVE_LONG).u8(0).u16(0x3000), 0);
    let commands: [&[u8]; 7] = [
        &[0, 0, 1],
        &[0, 1, 1],
        &[1, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0],
        &[1, 1, 0x52, 0x54, 0, 0, 0, 9],
        &[4, 0, 2, 0],
        &[5, 0, 2, 0, 0, 0, 0, 0, 0, 0],
        &[9, 9],
    ];
    let control = commands.into_iter().fold(start(), |script, command| {
        stop(chain(script, 4, &[SeedPiece::Read(0x6000, command), SeedPiece::Write(0x6100, 1)]), 4)
    });
    let control = control.u8(hostile_driver::RESTORE).u8(1).u8(3).u8(9).u8(hostile_driver::RESET);
    vec![
        ("sent", sent.finish()),
        ("received", received.finish()),
        ("plain", plain.finish()),
        ("starved", starved.finish()),
        ("long", long.finish()),
        ("control", control.finish()),
    ]
}
