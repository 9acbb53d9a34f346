//! Many clones of one snapshot.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::net::sockopt::socket_peercred;

use super::contestant::{Source, Yagura};
use super::place::Place;
use crate::bench::smaps;
use crate::lab::console::Console;

/// Until all that a guest does behind its answer is done.
const SETTLED: Duration = Duration::from_secs(2);
/// For the guests' answers, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);
/// Name of the mapped file in a snapshot's folder.
const RAM: &str = "/ram";

/// What they came to.
pub struct Clones {
    pub count: u32,
    /// Until the command was done.
    pub command_s: f64,
    /// Until the shell of the last had answered.
    pub answered_s: f64,
    /// Of each while idle, in KiB: a mean.
    pub each: Share,
}

/// Memory of one process, in KiB.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub struct Share {
    /// RAM that its guest has written since: nobody else's.
    pub ram_private: f64,
    /// What else is its own.
    pub own_private: f64,
    /// All of it, with what is shared divided among those that share it.
    pub proportional: f64,
}

/// Makes `count` clones and lets them be idle.
pub fn run(saved: &Yagura, count: u32) -> Result<Clones> {
    let Source { place, engine, talk, .. } = &*saved.source;
    let names: Vec<String> = (0..count).map(|number| format!("c{number}")).collect();
    let running = Running { place, names: &names };
    let socket = |name: &str| place.folder().join(format!("{name}.console"));
    let (id, console) = (saved.id(), format!("socket={}", socket("{name}").display()));
    let mut clone = vec!["clone", &id, "--engine", engine, "--console", &console];
    clone.extend(names.iter().map(String::as_str));
    let began = Instant::now();
    place.ask(&clone)?;
    let command_s = began.elapsed().as_secs_f64();
    let mut consoles = Vec::new();
    for name in &names {
        let stream =
            UnixStream::connect(socket(name)).with_context(|| format!("clone {name} has no console"))?;
        let process = socket_peercred(&stream)?.pid.as_raw_nonzero().get().cast_unsigned();
        let mut console = Console::over(stream.try_clone()?, stream);
        console.send(talk.typed)?;
        consoles.push((console, process));
    }
    for (console, _) in &mut consoles {
        console.expect(talk.answer, PATIENCE)?;
    }
    let answered_s = began.elapsed().as_secs_f64();
    std::thread::sleep(SETTLED);
    let shares = consoles.iter().map(|(_, process)| Ok(share(&smaps::of(*process)?)));
    let each = mean(&shares.collect::<Result<Vec<_>>>()?);
    running.end()?;
    Ok(Clones { count, command_s, answered_s, each })
}

/// Clones, whose processes outlive the command that made them: they end when this goes.
struct Running<'p> {
    place: &'p Place,
    names: &'p [String],
}

impl Running<'_> {
    fn end(&self) -> Result<()> {
        for verb in [&["stop", "--force"][..], &["delete"]] {
            let names = self.names.iter().map(String::as_str);
            self.place.ask(&verb.iter().copied().chain(names).collect::<Vec<_>>())?;
        }
        Ok(())
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Fails where they have ended.
        let _ = self.end();
    }
}

fn share(mappings: &[smaps::Mapping]) -> Share {
    let is_ram = |mapping: &&smaps::Mapping| mapping.name.trim_end_matches(" (deleted)").ends_with(RAM);
    let private = |mapping: &smaps::Mapping| mapping.private_kib() as f64;
    Share {
        ram_private: mappings.iter().filter(is_ram).map(|ram| ram.private_dirty_kib as f64).sum(),
        own_private: mappings.iter().filter(|mapping| !is_ram(mapping)).map(private).sum(),
        proportional: mappings.iter().map(|mapping| mapping.proportional_kib as f64).sum(),
    }
}

fn mean(shares: &[Share]) -> Share {
    let mean =
        |figure: fn(&Share) -> f64| shares.iter().map(figure).sum::<f64>() / shares.len().max(1) as f64;
    Share {
        ram_private: mean(|share| share.ram_private),
        own_private: mean(|share| share.own_private),
        proportional: mean(|share| share.proportional),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_is_what_maps_the_snapshot_s_file() {
        let mapping = |name: &str, dirty, clean| smaps::Mapping {
            name: name.to_owned(),
            private_dirty_kib: dirty,
            private_clean_kib: clean,
            proportional_kib: 2 * dirty,
            ..Default::default()
        };
        let mappings = [mapping("/x/ram", 40, 5), mapping("", 7, 0), mapping("/bin/yagura", 1, 2)];
        let one = share(&mappings);
        assert_eq!((one.ram_private, one.own_private, one.proportional), (40.0, 10.0, 96.0));
        let other = Share { ram_private: 60.0, ..one };
        assert_eq!(mean(&[one, other]).ram_private, 50.0);
    }
}
