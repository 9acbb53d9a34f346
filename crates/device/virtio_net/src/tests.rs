//! The card on fake memory and a network in memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use device_harness::{Descriptor, DirectDriver, Piece, REPLY_TIMEOUT};
use guest_memory::GuestAddress;
use net_backend::fake::FakeNet;
use net_backend::{HEADER_BYTES, Offloads};
use virtio_core::{QueueState, VIRTIO_F_EVENT_IDX, VirtioDevice};

use crate::spec::*;
use crate::{MacAddress, NetCounters, Offer, VirtioNet};

const RX: u16 = 0;
const TX: u16 = 1;

struct Card {
    net: FakeNet,
    driver: DirectDriver,
    counters: Arc<NetCounters>,
    control: u16,
}

fn mac() -> MacAddress {
    [0x52, 0x54, 0, 0x12, 0x34, 0x56].try_into().unwrap()
}

impl Card {
    fn new(pairs: u16, features: u64) -> Card {
        let mut card = Card::idle(pairs);
        card.driver.start(features);
        card.control = if features & F_MQ != 0 { 2 * pairs } else { 2 };
        card
    }

    fn idle(pairs: u16) -> Card {
        let net = FakeNet::new(pairs).unwrap().with_mtu_bytes(1500);
        let device = VirtioNet::new(Arc::new(net.clone()), mac(), pairs);
        let counters = Arc::clone(&device.counters);
        Card { net, counters, driver: DirectDriver::new(Box::new(device)), control: 2 * pairs }
    }

    fn figure(&self, name: &str) -> u64 {
        self.counters.figures().into_iter().find(|(known, _)| *known == name).unwrap().1
    }

    fn offer(&mut self, sizes: &[u32]) -> Vec<Piece> {
        let pieces: Vec<Piece> = sizes.iter().map(|len| self.driver.arena.room(*len)).collect();
        for piece in &pieces {
            self.driver.ring(RX).add(&[], &[*piece]);
        }
        self.driver.kick(RX);
        pieces
    }

    fn command(&mut self, class: u8, command: u8, data: &[u8]) -> u8 {
        let index = self.control;
        let reply = self.driver.request(index, &[&[class, command], data], &[1]);
        assert_eq!(reply.written_bytes, 1);
        reply.data[0]
    }

    fn wait_for(&self, what: &str, reached: impl Fn(&Card) -> bool) {
        let deadline = Instant::now() + REPLY_TIMEOUT;
        while !reached(self) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.counters.figures());
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

/// A packet with an empty header and `len` bytes that can be told apart.
fn packet(len: usize) -> Vec<u8> {
    let mut packet = vec![0; HEADER_BYTES];
    packet.extend((0..len).map(|index| (index * 7 + len) as u8));
    packet
}

/// As `packet`, the way the guest is to see it.
fn with_buffers(mut packet: Vec<u8>, count: u16) -> Vec<u8> {
    packet[HDR_NUM_BUFFERS].copy_from_slice(&count.to_le_bytes());
    packet
}

#[test]
fn configuration_and_features_are_as_specified() {
    let mut card = Card::idle(2);
    let mut config = [0xaa; 14];
    card.driver.device().write_config(0, &[9; 12]);
    card.driver.device().read_config(0, &mut config);
    assert_eq!(config, [0x52, 0x54, 0, 0x12, 0x34, 0x56, 1, 0, 2, 0, 0xdc, 5, 0, 0]);
    let features = card.driver.device().features();
    let bits: Vec<u32> = (0..64).filter(|bit| features >> bit & 1 == 1).collect();
    assert_eq!(bits, [0, 1, 2, 3, 5, 7, 8, 9, 11, 12, 13, 15, 16, 17, 18, 22, 23]);
    assert_eq!(card.driver.device().queue_sizes().len(), 5);
    let single = Card::idle(1).driver.device().features();
    assert_eq!(features & !single, F_MQ);
}

#[test]
fn packets_of_the_guest_are_sent_with_their_headers() {
    let mut card = Card::new(1, F_CSUM | F_HOST_TSO4);
    let mut big = packet(60_000);
    big[..2].copy_from_slice(&[HDR_F_NEEDS_CSUM, HDR_GSO_TCPV4]);
    let small = packet(60);
    assert_eq!(card.driver.request(TX, &[&small], &[]).written_bytes, 0);
    let (head, rest) = big.split_at(HEADER_BYTES);
    card.driver.request(TX, &[&head[..5], &head[5..], &rest[..1], &rest[1..]], &[]);
    assert_eq!(card.net.take_sent(0), [small, big]);
    assert_eq!(card.figure("sent_packets"), 2);
    assert_eq!(card.figure("sent_bytes"), 60_060);
}

#[test]
fn nonsense_of_the_guest_is_completed_and_dropped() {
    let mut card = Card::new(1, F_CSUM);
    card.driver.request(TX, &[&packet(13)], &[]);
    card.driver.request(TX, &[&packet(65_554)], &[]);
    card.driver.request(TX, &[&[0; 3]], &[]);
    card.driver.request(TX, &[], &[64]);
    let mut wants_tso = packet(60);
    wants_tso[1] = HDR_GSO_TCPV4;
    card.driver.request(TX, &[&wants_tso], &[]);
    let outside = (GuestAddress(1 << 40), 100);
    card.driver.submit(TX, &[outside], &[]);
    card.driver.wait(TX);
    let straddling = card.driver.arena.put(&packet(60));
    card.driver.submit(TX, &[straddling, outside], &[]);
    card.driver.wait(TX);
    card.net.set_refuses(0, true);
    card.driver.request(TX, &[&packet(60)], &[]);
    card.net.set_refuses(0, false);
    card.driver.request(TX, &[&packet(60)], &[]);
    assert_eq!(card.net.take_sent(0).len(), 1);
    assert_eq!((card.figure("sent_dropped"), card.figure("sent_packets")), (8, 1));
    assert!(!card.driver.interrupt(TX).is_broken());
}

#[test]
fn bursts_longer_than_one_round_are_sent_to_the_end() {
    let mut card = Card::new(1, 0);
    let piece = card.driver.arena.put(&packet(60));
    for _ in 0..200 {
        card.driver.ring(TX).add(&[piece], &[]);
    }
    card.driver.kick(TX);
    for _ in 0..200 {
        card.driver.wait(TX);
    }
    assert_eq!(card.net.take_sent(0).len(), 200);
}

#[test]
fn a_chain_that_loops_does_not_hang_the_card() {
    let mut card = Card::new(1, 0);
    for index in [TX, RX] {
        let (address, len) = card.driver.arena.room(1024);
        let flags = Descriptor::NEXT | if index == RX { Descriptor::WRITE } else { 0 };
        let looped = Descriptor { address: address.0, len, flags, next: 0 };
        card.driver.ring(index).set_descriptor(0, looped);
        card.driver.ring(index).publish(0);
        card.driver.kick(index);
        if index == RX {
            card.net.arrive(0, &packet(3000));
        }
        card.driver.wait(index);
    }
    card.driver.ring(TX).set_avail_index(0x7fff);
    card.driver.kick(TX);
    card.wait_for("the ring is given up", |card| card.driver.interrupt(TX).is_broken());
}

#[test]
fn packets_for_the_guest_arrive_in_one_buffer_each() {
    let mut card = Card::new(1, F_GUEST_CSUM);
    let buffers = card.offer(&[2048, 2048]);
    let mut first = packet(1500);
    first[0] = 2;
    card.net.arrive(0, &first);
    card.net.arrive(0, &packet(60));
    for (buffer, packet) in buffers.iter().zip([first, packet(60)]) {
        assert_eq!(card.driver.wait(RX).written_bytes as usize, packet.len());
        let seen = card.driver.arena.read(buffer.0, packet.len());
        assert_eq!(seen, with_buffers(packet, 1));
    }
    card.wait_for("an interrupt", |card| card.driver.interrupt(RX).used() > 0);
    assert_eq!(card.figure("received_bytes"), 1560);
}

#[test]
fn a_large_packet_is_merged_from_many_buffers() {
    for features in [F_MRG_RXBUF, F_MRG_RXBUF | VIRTIO_F_EVENT_IDX] {
        let mut card = Card::new(1, features);
        let buffers = card.offer(&[1536; 50]);
        let sent = packet(65_549);
        card.net.arrive(0, &sent);
        let count = sent.len().div_ceil(1536);
        let mut seen = Vec::new();
        for buffer in &buffers[..count] {
            let used = card.driver.wait(RX);
            seen.extend(card.driver.arena.read(buffer.0, used.written_bytes as usize));
        }
        assert_eq!(seen, with_buffers(sent, count as u16));
        card.net.arrive(0, &packet(60));
        assert_eq!(card.driver.wait(RX).written_bytes, 72);
        assert_eq!(card.figure("received_packets"), 2);
    }
}

#[test]
fn flags_are_for_drivers_that_take_them() {
    let mut card = Card::new(1, 0);
    let buffer = card.offer(&[2048])[0];
    let mut flagged = packet(60);
    flagged[0] = 2;
    card.net.arrive(0, &flagged);
    card.driver.wait(RX);
    assert_eq!(card.driver.arena.get(buffer)[0], 0);
}

#[test]
fn a_buffer_too_small_costs_the_packet_but_not_the_buffer() {
    let mut card = Card::new(1, 0);
    card.offer(&[100]);
    card.net.arrive(0, &packet(1500));
    card.net.arrive(0, &packet(60));
    assert_eq!(card.driver.wait(RX).written_bytes, 72);
    assert_eq!(card.figure("received_dropped"), 1);
}

#[test]
fn a_packet_that_the_whole_ring_cannot_hold_is_dropped() {
    let mut card = Card::new(1, F_MRG_RXBUF);
    card.offer(&[16; 256]);
    card.net.arrive(0, &packet(5000));
    card.net.arrive(0, &packet(20));
    assert_eq!(card.driver.wait(RX).written_bytes, 16);
    assert_eq!(card.driver.wait(RX).written_bytes, 16);
    assert_eq!((card.figure("received_dropped"), card.figure("received_packets")), (1, 1));
}

#[test]
fn without_buffers_packets_wait_and_the_worker_sleeps() {
    for features in [F_MRG_RXBUF, F_MRG_RXBUF | VIRTIO_F_EVENT_IDX] {
        let mut card = Card::new(1, features);
        for _ in 0..3 {
            card.net.arrive(0, &packet(1000));
        }
        card.wait_for("one packet is held", |card| card.net.waiting(0) == 2);
        let calls = card.net.receive_calls(0);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(card.net.receive_calls(0), calls, "the worker must not spin");
        // Half of what the first packet needs, then the rest.
        card.offer(&[600]);
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(card.driver.ring(RX).take_used(), None);
        card.offer(&[600, 2000, 2000]);
        let lengths: Vec<u32> = (0..4).map(|_| card.driver.wait(RX).written_bytes).collect();
        assert_eq!(lengths, [600, 412, 1012, 1012]);
    }
}

#[test]
fn buffers_outside_memory_lose_the_packet_only() {
    let mut card = Card::new(1, F_MRG_RXBUF);
    card.driver.ring(RX).add(&[], &[(GuestAddress(1 << 40), 4096)]);
    card.offer(&[2048]);
    card.net.arrive(0, &packet(60));
    card.net.arrive(0, &packet(60));
    assert_eq!(card.driver.wait(RX).written_bytes, 0);
    assert_eq!(card.driver.wait(RX).written_bytes, 72);
    assert_eq!(card.figure("received_dropped"), 1);
}

#[test]
fn a_backend_that_goes_away_is_left_alone() {
    let mut card = Card::new(1, 0);
    card.offer(&[2048]);
    card.net.remove(0);
    // At most one call each for the start, the kick and the failure, and then none.
    card.wait_for("reception fails", |card| card.net.receive_calls(0) > 0);
    std::thread::sleep(Duration::from_millis(50));
    let calls = card.net.receive_calls(0);
    assert!(calls <= 3, "{calls} calls");
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(card.net.receive_calls(0), calls);
    card.driver.request(TX, &[&packet(60)], &[]);
}

#[test]
fn stopping_puts_back_what_was_taken_and_a_resume_goes_on() {
    let mut card = Card::new(1, F_MRG_RXBUF);
    card.offer(&[600]);
    card.net.arrive(0, &packet(1000));
    card.wait_for("the packet is held", |card| card.net.waiting(0) == 0);
    let states = card.driver.stop();
    assert_eq!(states[0].unwrap().next_avail, 0);
    assert_eq!(card.figure("received_dropped"), 1);
    card.net.arrive(0, &packet(60));
    card.driver.resume(&states);
    assert_eq!(card.driver.wait(RX).written_bytes, 72);
}

#[test]
fn what_is_not_offered_cannot_be_negotiated() {
    let net = FakeNet::new(1).unwrap().with_mtu_bytes(1500);
    let all = VirtioNet::new(Arc::new(net.clone()), mac(), 1);
    let offloads = Offloads { checksum: true, ..Offloads::default() };
    let card = VirtioNet::new(Arc::new(net), mac(), 1).offering(Offer { offloads, mtu_bytes: None });
    let tso = F_HOST_TSO4 | F_GUEST_TSO4 | F_HOST_TSO6 | F_GUEST_TSO6 | F_HOST_ECN | F_GUEST_ECN;
    assert_eq!(all.features() & !card.features(), tso | F_MTU);
    let mtu = |card: &VirtioNet| {
        let mut bytes = [0; 2];
        card.read_config(10, &mut bytes);
        u16::from_le_bytes(bytes)
    };
    assert_eq!((mtu(&all), mtu(&card)), (1500, 0));
}

#[test]
fn offloads_follow_negotiation_and_commands() {
    let all = GUEST_OFFLOADS | F_CTRL_GUEST_OFFLOADS;
    let mut card = Card::new(1, all);
    assert_eq!(card.net.accepted_offloads(), Offloads::ALL);
    assert_eq!(card.command(CTRL_GUEST_OFFLOADS, CTRL_GUEST_OFFLOADS_SET, &F_GUEST_CSUM.to_le_bytes()), OK);
    let checksum = Offloads { checksum: true, ..Offloads::default() };
    assert_eq!(card.net.accepted_offloads(), checksum);
    for (command, data) in [(0, &(1u64 << 10).to_le_bytes()[..]), (0, &[0; 7]), (1, &[0; 8])] {
        assert_eq!(card.command(CTRL_GUEST_OFFLOADS, command, data), ERR);
    }
    let states = card.driver.stop();
    card.driver.resume(&states);
    assert_eq!(card.net.accepted_offloads(), checksum, "a pause does not undo the command");
    card.driver.stop();
    card.driver.device().reset();
    assert_eq!(card.net.accepted_offloads(), Offloads::default());
}

#[test]
fn commands_of_the_control_queue() {
    let mut card = Card::new(2, F_MQ | F_CTRL_RX | F_CTRL_MAC_ADDR);
    for mode in [CTRL_RX_PROMISC, CTRL_RX_ALLMULTI] {
        assert_eq!(card.command(CTRL_RX, mode, &[1]), OK);
        assert_eq!(card.command(CTRL_RX, mode, &[2]), ERR);
        assert_eq!(card.command(CTRL_RX, mode, &[]), ERR);
    }
    assert_eq!(card.command(CTRL_RX, 2, &[1]), ERR);
    assert_eq!(card.command(CTRL_MAC, CTRL_MAC_ADDR_SET, &[2, 0, 0, 0, 0, 1]), OK);
    assert_eq!(card.command(CTRL_MAC, CTRL_MAC_ADDR_SET, &[3, 0, 0, 0, 0, 1]), ERR);
    assert_eq!(card.command(CTRL_MAC, CTRL_MAC_ADDR_SET, &[2, 0, 0, 0, 0]), ERR);
    let mut seen = [0; 6];
    card.driver.device().read_config(0, &mut seen);
    assert_eq!(seen, [2, 0, 0, 0, 0, 1]);
    let table = [&[1, 0, 0, 0][..], &[2; 6], &[2, 0, 0, 0], &[3; 12]].concat();
    assert_eq!(card.command(CTRL_MAC, CTRL_MAC_TABLE_SET, &table), OK);
    assert_eq!(card.command(CTRL_MAC, CTRL_MAC_TABLE_SET, &table[..table.len() - 1]), ERR);
    assert_eq!(card.command(CTRL_MAC, CTRL_MAC_TABLE_SET, &[0xff; 8]), ERR);
    for (count, answer) in [(2u16, OK), (0, ERR), (3, ERR), (0xffff, ERR)] {
        assert_eq!(card.command(CTRL_MQ, CTRL_MQ_VQ_PAIRS_SET, &count.to_le_bytes()), answer);
    }
    assert_eq!(card.net.active_pairs(), 2);
    for class in [2, 3, CTRL_GUEST_OFFLOADS, 6, 0xff] {
        assert_eq!(card.command(class, 0, &[0; 8]), ERR);
    }
}

#[test]
fn hostile_control_chains_are_answered_or_ignored() {
    let mut card = Card::new(1, F_CTRL_RX);
    let index = card.control;
    assert_eq!(card.driver.request(index, &[&[CTRL_RX]], &[1]).data, [ERR]);
    assert_eq!(card.driver.request(index, &[], &[1]).data, [ERR]);
    assert_eq!(card.driver.request(index, &[&[CTRL_RX, 0, 1]], &[]).written_bytes, 0);
    let ack = card.driver.arena.room(1);
    card.driver.submit(index, &[(GuestAddress(u64::MAX - 1), 100)], &[ack]);
    assert_eq!(card.driver.wait(index).written_bytes, 1);
    assert_eq!(card.driver.arena.get(ack), [ERR]);
    card.driver.submit(index, &[(GuestAddress(0x1000), u32::MAX)], &[(GuestAddress(1 << 50), 1)]);
    assert_eq!(card.driver.wait(index).written_bytes, 0);
}

#[test]
fn several_pairs_work_side_by_side_once_they_are_asked_for() {
    let mut card = Card::new(3, F_MQ);
    assert_eq!(card.net.active_pairs(), 1);
    assert_eq!(card.command(CTRL_MQ, CTRL_MQ_VQ_PAIRS_SET, &[3, 0]), OK);
    for pair in 0..3u16 {
        let len = 60 + usize::from(pair);
        card.driver.request(2 * pair + 1, &[&packet(len)], &[]);
        assert_eq!(card.net.take_sent(usize::from(pair)), [packet(len)]);
        card.net.arrive(usize::from(pair), &packet(len));
        assert_eq!(card.driver.request(2 * pair, &[], &[2048]).written_bytes as usize, len + HEADER_BYTES);
    }
}

#[test]
fn without_several_pairs_the_control_queue_is_the_third() {
    let mut card = Card::new(4, F_CTRL_RX);
    assert_eq!(card.control, 2);
    assert_eq!(card.command(CTRL_RX, CTRL_RX_PROMISC, &[1]), OK);
    assert_eq!(card.command(CTRL_MQ, CTRL_MQ_VQ_PAIRS_SET, &[2, 0]), ERR);
    // A queue that is started for nothing stands still; losing it would cost the driver a reset.
    let states = card.driver.stop();
    assert!(states[2].is_some() && states[3..].iter().all(|state| *state == Some(QueueState::default())));
    card.driver.resume(&states);
    assert_eq!(card.command(CTRL_RX, CTRL_RX_PROMISC, &[0]), OK);
}

#[test]
fn state_round_trips_and_foreign_state_is_refused() {
    let mut card = Card::new(2, F_MQ | F_CTRL_MAC_ADDR | F_GUEST_CSUM | F_CTRL_GUEST_OFFLOADS);
    card.command(CTRL_MAC, CTRL_MAC_ADDR_SET, &[2, 0, 0, 0, 0, 9]);
    card.command(CTRL_MQ, CTRL_MQ_VQ_PAIRS_SET, &[2, 0]);
    card.command(CTRL_GUEST_OFFLOADS, CTRL_GUEST_OFFLOADS_SET, &[0; 8]);
    card.driver.stop();
    let bytes = card.driver.device().save_bytes().unwrap().unwrap();
    device_harness::golden::check(concat!(env!("CARGO_MANIFEST_DIR"), "/states/net-v1.bin"), &bytes);

    let mut other = Card::idle(2);
    other.driver.device().restore_bytes(&bytes).unwrap();
    other.driver.start(F_MQ | F_GUEST_CSUM);
    assert_eq!(other.net.active_pairs(), 2);
    assert_eq!(other.net.accepted_offloads(), Offloads::default());
    assert_eq!(other.driver.device().save_bytes().unwrap().unwrap(), bytes);

    assert!(Card::idle(1).driver.device().restore_bytes(&bytes).is_err(), "a card with one pair");
    for index in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[index] = 0xff;
        let _ = Card::idle(1).driver.device().restore_bytes(&damaged);
    }
    let mut group = bytes.clone();
    group[1] |= 1;
    assert!(other.driver.device().restore_bytes(&group).is_err(), "a group's address");
}

#[test]
fn stop_is_prompt_while_the_guest_keeps_the_card_busy() {
    let mut card = Card::new(1, 0);
    let piece = card.driver.arena.put(&packet(60));
    for _ in 0..256 {
        card.driver.ring(TX).add(&[piece], &[]);
    }
    card.driver.kick(TX);
    let state = card.driver.stop()[1].unwrap();
    assert_eq!(state.next_avail, state.next_used);
}
