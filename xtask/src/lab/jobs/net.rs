//! The network between a guest and the lab's machine, by a tap that the job makes inside that machine. On the
//! software engine the other side is a network namespace of this host that holds nothing but the tap.

use super::{Job, Lab, MONITOR, Outcome, Soft};
use crate::lab::guest::Guest;
use crate::process;
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::io::{Read, copy};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

/// This theme's jobs.
pub const JOBS: &[Job] = &[
    Job {
        name: "net-ping",
        about: "packets between guest and host by tap",
        quick: true,
        soft: Soft::WithNetwork,
        run: ping,
        ..MONITOR
    },
    Job {
        name: "net-transfer",
        about: "100 MiB each way by TCP, checksums compared",
        soft: Soft::WithNetwork,
        limit_seconds: 240,
        run: transfer,
        ..MONITOR
    },
];

pub const TAP: &str = "lab0";
pub const HOST: &str = "192.0.2.1";
const GUEST: &str = "192.0.2.2";
const MAC: &str = "52:54:00:12:34:56";
const TRANSFER_BYTES: u64 = 100 << 20;

/// The tap, with this side configured.
pub fn tap() -> Result<()> {
    let ip = |arguments: &str| process::run(Command::new("ip").args(arguments.split(' ')));
    // The tap is left from an earlier job where it is there already.
    if ip(&format!("link show {TAP}")).is_err() {
        ip(&format!("tuntap add dev {TAP} mode tap vnet_hdr"))?;
        ip(&format!("address add {HOST}/24 dev {TAP}"))?;
        ip(&format!("link set {TAP} up"))?;
    }
    Ok(())
}

/// Configures the other side, the guest's card `card`.
pub fn configure(guest: &mut Guest, card: &str) -> Result<()> {
    guest.command(&format!("ip address add {GUEST}/24 dev {card} && ip link set {card} up")).map(drop)
}

/// A guest with a network, both sides configured.
fn connected(lab: &Lab, memory: &str) -> Result<Guest> {
    tap()?;
    let mut guest =
        lab.setup("net")?.with(&["--net", &format!("tap={TAP},mac={MAC}"), "--memory", memory]).start()?;
    guest.ready()?;
    let mac = guest.command("cat /sys/class/net/eth0/address")?;
    ensure!(mac == MAC, "the guest's address is {mac}, wanted {MAC}");
    configure(&mut guest, "eth0")?;
    Ok(guest)
}

fn ping(lab: &Lab) -> Result<Outcome> {
    let mut guest = connected(lab, "256M")?;
    guest.command(&format!("ping -c 3 -i 0.2 -W 5 {HOST}"))?;
    guest.command(&format!("ping -c 2 -i 0.2 -W 5 -s 1400 {HOST}"))?;
    guest.power_off()?;
    Ok(Outcome::Passed)
}

fn transfer(lab: &Lab) -> Result<Outcome> {
    let mut guest = connected(lab, "512M")?;
    let sent = lab.folder().join("sent");
    let random = File::open("/dev/urandom")?;
    copy(&mut random.take(TRANSFER_BYTES), &mut File::create(&sent)?)?;
    let returned = lab.folder().join("returned");

    let there = TcpListener::bind((HOST, 0))?;
    let back = TcpListener::bind((HOST, 0))?;
    let ports = (there.local_addr()?.port(), back.local_addr()?.port());
    let (from, to) = (sent.clone(), returned.clone());
    let server = thread::spawn(move || -> Result<()> {
        let (mut socket, _) = there.accept()?;
        copy(&mut File::open(from)?, &mut socket)?;
        drop(socket);
        let (mut socket, _) = back.accept()?;
        copy(&mut socket, &mut File::create(to)?)?;
        Ok(())
    });
    let limit = lab.limit(100);
    guest.slow_command(&format!("nc {HOST} {} </dev/null >/data; ls -l /data", ports.0), limit)?;
    let inside = guest.slow_command("sha256sum </data | cut -d' ' -f1", limit)?;
    guest.slow_command(&format!("nc {HOST} {} </data", ports.1), limit)?;
    server.join().map_err(|_| anyhow::anyhow!("the server died"))??;

    let sum = |path| -> Result<String> {
        let line = process::output(Command::new("sha256sum").arg(path))?;
        Ok(line.split(' ').next().context("sha256sum said nothing")?.to_owned())
    };
    let (wanted, back) = (sum(&sent)?, sum(&returned)?);
    ensure!(inside == wanted, "sent {wanted}, the guest got {inside}");
    ensure!(back == wanted, "the guest sent {wanted}, we got {back}");
    let offloads = guest
        .command("cat /sys/class/net/eth0/statistics/rx_errors /sys/class/net/eth0/statistics/tx_errors")?;
    ensure!(offloads.split_whitespace().all(|count| count == "0"), "errors counted: {offloads}");
    guest.power_off()?;
    Ok(Outcome::Passed)
}
