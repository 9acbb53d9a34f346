//! `yagura info`

use indicatif::FormattedDuration;
use messages::Bytes;
use serde_json::json;
use std::time::Duration;
use vm_control::{CardStatus, Counters, DiskStatus, Figures, Status};

use super::Running;
use super::arguments::InfoArguments;
use crate::cli::Format;
use crate::print::{empty_table, print};

/// How long a VM may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// Shows how a VM is and what it has done; the exit status.
pub fn info(arguments: &InfoArguments) -> anyhow::Result<u8> {
    let InfoArguments { name, format, json } = arguments;
    let running = Running::here();
    let vm = running.client(name).with_patience(PATIENCE);
    let (status, counters) = match vm.status().and_then(|status| Ok((status, vm.counters()?))) {
        Ok(both) => both,
        Err(error) => return Ok(running.failed(name, &error).tell()),
    };
    print(&match format {
        Format::Table if !json => table(&status, &counters),
        _ => in_json(&status, &counters)?,
    })?;
    Ok(0)
}

fn in_json(status: &Status, counters: &Counters) -> anyhow::Result<String> {
    let mut value = serde_json::to_value(status)?;
    value["counters"] = json!(counters);
    Ok(format!("{value:#}"))
}

fn table(status: &Status, counters: &Counters) -> String {
    let Status { protocol: _, name, state, paused_by, engine, cpus, memory_bytes, .. } = status;
    let paused_by = paused_by.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    let mut rows = vec![
        ("name".to_owned(), name.clone()),
        ("state".to_owned(), format!("{}{paused_by}", state.name())),
        ("up for".to_owned(), up_for(status.uptime_ms)),
        ("engine".to_owned(), engine.clone()),
        ("vCPUs".to_owned(), cpus.to_string()),
        ("memory".to_owned(), Bytes(*memory_bytes).to_string()),
        ("process".to_owned(), status.pid.to_string()),
        ("resets".to_owned(), status.resets.to_string()),
        ("panics".to_owned(), status.panics.to_string()),
    ];
    rows.extend(status.disks.iter().map(|disk| (format!("disk {}", disk.id), disk_in_words(disk))));
    rows.extend(status.cards.iter().map(|card| (format!("card {}", card.id), card_in_words(card))));
    let devices = counters.devices.iter().map(|(id, figures)| (id.as_str(), figures));
    let groups = [("exits", &counters.exits), ("code", &counters.code), ("host's memory", &counters.memory)];
    let figures = devices.chain(groups).filter_map(|(of, figures)| {
        let words = figures_in_words(figures);
        (!words.is_empty()).then(|| (format!("counted, {of}"), words))
    });
    rows.extend(figures);
    let mut table = empty_table();
    // A VM's words are a stranger's: its guest may have taken it over.
    table.add_rows(rows.into_iter().map(|(what, value)| [what, value].map(|text| messages::one_line(&text))));
    table.to_string()
}

/// How long a VM is up.
pub fn up_for(uptime_ms: u64) -> String {
    FormattedDuration(Duration::from_millis(uptime_ms)).to_string()
}

fn disk_in_words(disk: &DiskStatus) -> String {
    let DiskStatus { id: _, path, format, size_bytes, readonly } = disk;
    let readonly = if *readonly { ", readonly" } else { "" };
    format!("{path}, {format}, {}{readonly}", Bytes(*size_bytes))
}

fn card_in_words(card: &CardStatus) -> String {
    format!("on {}, {}", card.interface, card.mac)
}

/// What was counted at all: `reads 4, read 2 MiB`.
fn figures_in_words(figures: &Figures) -> String {
    let counted = figures.iter().filter(|(_, count)| **count > 0);
    let words = counted.map(|(name, count)| {
        let words = name.replace('_', " ");
        match words.strip_suffix(" bytes") {
            Some(what) => format!("{what} {}", Bytes(*count)),
            None => format!("{words} {count}"),
        }
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use vm_control::Phase;

    use super::*;

    #[test]
    fn a_table_says_what_there_is_and_what_was_done() {
        let disk = DiskStatus {
            id: "block0".into(),
            path: "/srv/a\n.img".into(),
            format: "raw".into(),
            size_bytes: 10 << 30,
            readonly: true,
        };
        let card =
            CardStatus { id: "net0".into(), interface: "tap0".into(), mac: "52:00:00:00:00:01".into() };
        let status = Status {
            protocol: 2,
            name: "web1".into(),
            state: Phase::Paused,
            paused_by: Some("no room".into()),
            engine: "soft".into(),
            cpus: 2,
            memory_bytes: 512 << 20,
            uptime_ms: 3_723_000,
            resets: 1,
            panics: 0,
            pid: 77,
            disks: vec![disk],
            cards: vec![card],
        };
        let figures =
            |list: &[(&str, u64)]| list.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let block = figures(&[("reads", 4), ("read_bytes", 2 << 20), ("failed", 0)]);
        let counters = Counters {
            exits: figures(&[("port_read", 7)]),
            devices: [("block0".to_owned(), block), ("net0".to_owned(), figures(&[("sent_packets", 0)]))]
                .into(),
            ..Counters::default()
        };
        let table = table(&status, &counters);
        for words in [
            "paused: no room",
            "01:02:03",
            "512 MiB",
            "/srv/a\\n.img, raw, 10 GiB, readonly",
            "on tap0, 52:00:00:00:00:01",
            "read 2 MiB, reads 4",
            "port read 7",
        ] {
            assert!(table.contains(words), "{words}:\n{table}");
        }
        assert!(!table.contains("failed") && !table.contains("counted, net0"), "{table}");
        let json: serde_json::Value = serde_json::from_str(&in_json(&status, &counters).unwrap()).unwrap();
        assert_eq!(
            (&json["state"], &json["counters"]["devices"]["block0"]["failed"]),
            (&"paused".into(), &0.into())
        );
    }
}
