//! Network cards: each asks by DHCP and has its address renewed.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use crate::{say, tool};

/// What udhcpc calls as an address comes.
const SCRIPT: &str = "/.yagura/dhcp";

/// Brings up what there is.
pub fn start() {
    let _ = tool("ip").args(["link", "set", "lo", "up"]).status();
    for card in cards() {
        let _ = tool("ip").args(["link", "set", &card, "up"]).status();
        let mut client = tool("udhcpc");
        // With an address it goes on in the background; without one it gives up.
        client.args(["-n", "-S", "-t", "5", "-i", &card, "-s", SCRIPT]);
        let asked = client.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !asked.is_ok_and(|status| status.success()) {
            say(&format!("{card}: no DHCP server answers; going on without an address"));
        }
    }
}

/// Ethernet cards, in the order of their names.
fn cards() -> Vec<String> {
    let folders = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    // Bonding and the like make files here that are no cards.
    let is_card = |path: &PathBuf| path.join("device").exists();
    let cards = folders.map(|entry| entry.path()).filter(is_card);
    let names = cards.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}
