//! From spawn to the guest's first byte, beside QEMU's microvm: wall time, CPU time until the end, and memory
//! that is not guest RAM.

use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use host_sys::child_usage;
use test_guests::guests::{self, LOAD_ADDRESS};
use test_guests::pvh_elf;

use super::plot::{self, Series};
use super::smaps::{self, Mapping};
use super::statistics::Spread;
use crate::packages::{self, Need};
use crate::{progress, workspace};

/// How to measure.
#[derive(clap::Args)]
pub struct Arguments {
    /// Starts of each monitor.
    #[arg(long, default_value_t = 40)]
    runs: u32,
    /// Where to write the table and the plot.
    #[arg(long, default_value = "docs/bench")]
    out: PathBuf,
}

impl Arguments {
    /// As few as show that it works, written nowhere that lasts.
    pub fn smoke() -> Arguments {
        Arguments { runs: 2, out: workspace::target().join("bench") }
    }
}

/// A monitor and the command that starts a guest's ELF file under it, COM1 on standard output.
struct Monitor {
    name: &'static str,
    command: Box<dyn Fn(&Path) -> Command>,
}

/// Size of guest RAM, which is not the monitor's own memory.
const RAM_MIB: u64 = 128;
/// Smallest part of guest RAM with advice of its own, in bytes.
const LEAST_RAM_PART: u64 = 1 << 20;
/// A monitor that shows nothing for so long is stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// One start: times in milliseconds.
struct Start {
    first_byte_ms: f64,
    cpu_ms: f64,
}

/// Memory that is not guest RAM, in KiB.
struct Memory {
    resident_kib: u64,
    private_dirty_kib: u64,
}

/// Measures and writes `startup.md` and `startup.svg`.
pub fn run(arguments: &Arguments) -> Result<()> {
    const NEEDS: &[Need] = packages::LAB;
    packages::require(&[packages::BUILD, NEEDS])?;
    let yagura = workspace::build_yagura()?;
    // A file that was just written counts as dirty where it is mapped, until it is on disk.
    fs::File::open(&yagura)?.sync_all()?;
    let folder = tempfile::tempdir()?;
    let guest = |name: &str, code: &[u8]| -> Result<PathBuf> {
        let path = folder.path().join(name);
        fs::write(&path, pvh_elf(code, LOAD_ADDRESS))?;
        Ok(path)
    };
    let hello = guest("hello.elf", guests::hello())?;
    let sleeper = guest("sleeper.elf", guests::sleeper())?;
    let monitors = [yagura_monitor(yagura), qemu_monitor()];
    let step = progress::step(format!("{} starts of each monitor, in turn", arguments.runs));
    let mut starts: Vec<Vec<Start>> = monitors.iter().map(|_| Vec::new()).collect();
    for round in 0..=arguments.runs {
        for (monitor, starts) in monitors.iter().zip(&mut starts) {
            let start = start(monitor, &hello).with_context(|| format!("{} did not start", monitor.name))?;
            // The first round warms caches and is not counted.
            if round > 0 {
                starts.push(start);
            }
        }
    }
    let memories = monitors.iter().map(|monitor| memory(monitor, &sleeper)).collect::<Result<Vec<_>>>()?;
    step.done();
    let rows = monitors.iter().zip(&starts).zip(&memories);
    let table = table(rows.map(|((monitor, starts), memory)| (monitor.name, starts.as_slice(), memory)))?;
    print!("{table}");
    let out = workspace::root().join(&arguments.out);
    fs::create_dir_all(&out)?;
    fs::write(out.join("startup.md"), &table)?;
    let series = monitors.iter().zip(&starts).map(|(monitor, starts)| Series {
        name: monitor.name,
        values: starts.iter().map(|start| start.first_byte_ms).collect(),
    });
    plot::cumulative(
        &out.join("startup.svg"),
        "spawn to first guest byte (ms)",
        &series.collect::<Vec<_>>(),
    )?;
    println!("written to {}", arguments.out.display());
    Ok(())
}

fn yagura_monitor(binary: PathBuf) -> Monitor {
    let command = move |guest: &Path| {
        let mut command = Command::new(&binary);
        command.env("YAGURA_DIR", workspace::place());
        command.args([
            "run",
            "--engine",
            "kvm",
            "--name",
            "bench",
            "--cpus",
            "1",
            "--memory",
            "128M",
            "--console",
            "stdio",
        ]);
        command.arg("--kernel").arg(guest);
        command
    };
    Monitor { name: "Yagura", command: Box::new(command) }
}

fn qemu_monitor() -> Monitor {
    let command = |guest: &Path| {
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-M", "microvm,accel=kvm,x-option-roms=off,rtc=off,pit=off,pic=off,acpi=off"]);
        command.args([
            "-nodefaults",
            "-no-user-config",
            "-nographic",
            "-no-reboot",
            "-serial",
            "stdio",
            "-m",
            "128",
        ]);
        command.arg("-kernel").arg(guest);
        command
    };
    Monitor { name: "QEMU microvm", command: Box::new(command) }
}

fn spawn(monitor: &Monitor, guest: &Path) -> Result<(Child, f64)> {
    let mut command = (monitor.command)(guest);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let begin = Instant::now();
    let mut child = command.spawn()?;
    let mut byte = [0];
    let read = child.stdout.as_mut().context("no pipe")?.read(&mut byte)?;
    let elapsed = begin.elapsed();
    if read == 0 || byte[0] != b'!' || elapsed > PATIENCE {
        let _ = child.kill();
        let status = child.wait()?;
        bail!("no byte from the guest ({status})");
    }
    Ok((child, elapsed.as_secs_f64() * 1e3))
}

fn start(monitor: &Monitor, guest: &Path) -> Result<Start> {
    let (child, first_byte_ms) = spawn(monitor, guest)?;
    let usage = child_usage::wait(child)?;
    Ok(Start { first_byte_ms, cpu_ms: usage.cpu.as_secs_f64() * 1e3 })
}

fn memory(monitor: &Monitor, guest: &Path) -> Result<Memory> {
    let (mut child, _) = spawn(monitor, guest)?;
    std::thread::sleep(Duration::from_millis(100));
    let mappings = smaps::of(child.id());
    child.kill()?;
    child.wait()?;
    Ok(outside_ram(&mappings?))
}

/// Sums a process's mappings but for guest RAM.
fn outside_ram(mappings: &[Mapping]) -> Memory {
    let mut sum = Memory { resident_kib: 0, private_dirty_kib: 0 };
    // Advice about parts of RAM splits its mapping: what touches without a gap is taken together.
    let alike =
        |one: &Mapping, next: &Mapping| one.name.is_empty() && next.name.is_empty() && one.end == next.start;
    for group in mappings.chunk_by(alike) {
        let bytes: u64 = group.iter().map(|mapping| mapping.end - mapping.start).sum();
        let holds_ram = bytes >= RAM_MIB << 20;
        for mapping in group {
            if !(holds_ram && mapping.end - mapping.start >= LEAST_RAM_PART) {
                sum.resident_kib += mapping.resident_kib;
                sum.private_dirty_kib += mapping.private_dirty_kib;
            }
        }
    }
    sum
}

fn table<'a>(rows: impl Iterator<Item = (&'a str, &'a [Start], &'a Memory)>) -> Result<String> {
    let mut out = String::from(
        "| | first byte, best / p50 / p90 ms | CPU time, p50 ms | memory that is not guest RAM, RSS / private dirty KiB | first byte p50, ratio |\n|---|---|---|---|---|\n",
    );
    let mut ours = None;
    for (name, starts, memory) in rows {
        let spread =
            |figure: fn(&Start) -> f64| Spread::of(starts.iter().map(figure).collect()).context("no runs");
        let (first, cpu) = (spread(|start| start.first_byte_ms)?, spread(|start| start.cpu_ms)?);
        let ratio = first.median / *ours.get_or_insert(first.median);
        let Spread { best, median, p90 } = first;
        let Memory { resident_kib, private_dirty_kib } = memory;
        writeln!(
            out,
            "| {name} | {best:.2} / {median:.2} / {p90:.2} | {:.2} | {resident_kib} / {private_dirty_kib} | {ratio:.1} |",
            cpu.median
        )?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_ram_is_not_counted() {
        let mapping = |range: &str, file: &str, resident: u64, dirty: u64| {
            format!(
                "{range} rw-p 0 00:00 0 {file}\nSize: 1 kB\nRss: {resident} kB\nPrivate_Dirty: {dirty} kB\n"
            )
        };
        let text = [
            mapping("55000000-55100000", "/bin/x", 300, 8),
            mapping("70000000-70200000", "", 40, 40),
            mapping("70200000-78000000", "", 2048, 2048),
            mapping("78000000-78010000", "", 5, 5),
            mapping("7a000000-7a010000", "", 7, 7),
        ];
        let memory = outside_ram(&smaps::parse(&text.concat()));
        assert_eq!((memory.resident_kib, memory.private_dirty_kib), (312, 20));
    }
}
