//! The tap backend against this kernel, in a network namespace of its own: this binary runs itself again
//! under `unshare --net`.

use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

use super::*;
use crate::HEADER_BYTES;

const CHILD: &str = "YAGURA_TAP_TEST";

#[test]
fn tap_in_a_namespace_of_its_own() {
    if std::env::var_os(CHILD).is_some() {
        return in_namespace();
    }
    if let Some(reason) = reason_to_skip() {
        println!("SKIPPED: {reason}");
        return;
    }
    let status = Command::new("unshare")
        .arg("--net")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "tap::tests::tap_in_a_namespace_of_its_own", "--nocapture"])
        .env(CHILD, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}

fn reason_to_skip() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("creating a tap interface takes root".to_owned());
    }
    if let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun") {
        return Some(format!("/dev/net/tun: {error}"));
    }
    match Command::new("unshare").args(["--net", "ip", "link"]).output() {
        Ok(output) if output.status.success() => None,
        _ => Some("`unshare --net ip link` does not work here".to_owned()),
    }
}

fn in_namespace() {
    one_pair_moves_packets_both_ways();
    several_pairs_are_switched_on_and_off();
    what_is_in_use_or_of_another_kind_is_refused();
}

fn one_pair_moves_packets_both_ways() {
    let tap = Tap::open("ygtest0", 1).unwrap();
    assert_eq!((tap.pairs().len(), tap.mtu_bytes()), (1, Some(1500)));
    assert_eq!(tap.offloads(), Offloads::ALL);
    tap.set_offloads(Offloads::ALL).unwrap();
    tap.set_active_pairs(9).unwrap();
    ip(&["addr", "add", "192.0.2.1/24", "dev", "ygtest0"]);
    ip(&["neigh", "add", "192.0.2.2", "lladdr", "02:00:00:00:00:02", "dev", "ygtest0"]);

    let host = UdpSocket::bind("192.0.2.1:7000").unwrap();
    host.send_to(b"to the guest", "192.0.2.2:7001").unwrap();
    let got = receive_udp(&tap, b"to the guest");
    assert_eq!(&got[HEADER_BYTES..HEADER_BYTES + 6], [2, 0, 0, 0, 0, 2]);

    let refused = tap.pairs()[0].send(&IoBuffers::from_vec(vec![0xff; 64]));
    assert!(refused.is_err(), "a header that makes no sense: {refused:?}");
    tap.pairs()[0].send(&IoBuffers::from_vec(udp_reply(&got))).unwrap();
    host.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut buffer = [0; 64];
    let (len, from) = host.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..len], from.port()), (&b"to the guest"[..], 7001));
}

fn several_pairs_are_switched_on_and_off() {
    let tap = Tap::open("ygtest1", 4).unwrap();
    for count in [4, 1, 3, 2, 0, 4] {
        tap.set_active_pairs(count).unwrap();
    }
    drop(tap);
    Tap::open("ygtest1", 2).unwrap();
}

fn what_is_in_use_or_of_another_kind_is_refused() {
    let held = Tap::open("ygtest2", 1).unwrap();
    assert!(matches!(Tap::open("ygtest2", 1), Err(TapError::Busy(..))));
    assert!(matches!(Tap::open("ygtest2", 2), Err(TapError::WrongKind(..))));
    assert!(matches!(Tap::open("lo", 1), Err(TapError::WrongKind(..))));
    drop(held);
    ip(&["tuntap", "add", "dev", "ygtest3", "mode", "tap", "multi_queue"]);
    Tap::open("ygtest3", 1).expect("a lone queue fits an interface made for several");
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().unwrap();
    assert!(status.success(), "ip {arguments:?}: {status}");
}

/// Waits for the UDP packet with `payload`, past whatever else the kernel says on a new interface.
fn receive_udp(tap: &Tap, payload: &[u8]) -> Vec<u8> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut buffer = vec![0; 65_600];
    while Instant::now() < deadline {
        match tap.pairs()[0].receive(&mut buffer).unwrap() {
            Some(len) if buffer[..len].ends_with(payload) => return buffer[..len].to_vec(),
            Some(_) => {}
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    panic!("the packet did not arrive");
}

/// The packet sent back: addresses and ports changed about, no checksum for UDP, that of IP unchanged.
fn udp_reply(packet: &[u8]) -> Vec<u8> {
    let (ethernet, ip, udp) = (HEADER_BYTES, HEADER_BYTES + 14, HEADER_BYTES + 34);
    let mut reply = packet.to_vec();
    reply[..HEADER_BYTES].fill(0);
    let mut swap = |at: usize, len: usize| {
        for index in at..at + len {
            reply.swap(index, index + len);
        }
    };
    swap(ethernet, 6);
    swap(ip + 12, 4);
    swap(udp, 2);
    reply[udp + 6..udp + 8].fill(0);
    reply
}
