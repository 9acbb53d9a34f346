//! A whole Linux that is stopped half-way on one engine and goes on, to its end, on another.
//!
//! `YAGURA_KERNEL` and `YAGURA_INITRD` name what it boots from: Debian's kernel and the guests' archive, whose first
//! process runs the script of the disk with serial number "script". The script counts, computes digests, sleeps, and
//! writes a disk; whatever is lost on the way shows in what it prints or leaves on the disk.

#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

mod another_life;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arch_model::x86_64::{CpuModel, cpuid};
use device_model::{GuestReport, HostFailure, PowerRequest, lock};
use engine_suite::round_trip::tsc_khz;
use guest_memory::{Bytes, GuestAddress, GuestMemory};
use kvm_engine::{Hardware, KvmEngine};
use machine::{Backends, GenerationId, Machine};
use sha2::{Digest, Sha256};
use soft_engine::SoftEngine;
use vcpu_model::{Engine, EngineError, Halt, VcpuIndex, Vm};
use vm_runtime::{Listener, PowerCycle, PowerOn};
use vm_spec::{BootSpec, ConsoleSpec, DiskFormat, DiskSpec, HostFacts, KernelSpec, OnReset, VmSpec, resolve};
use vm_state::VmState;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Rounds of the script, and after which of them the machine changes its engine.
const ROUNDS: u32 = 40;
const HALF: u32 = 15;
/// Bytes that a round writes to the disk, all of them the round's letter.
const ROUND_BYTES: usize = 32 << 10;
const DISK_BYTES: u64 = 2 << 20;
/// Time for either half, on an emulated and busy machine too.
const LIMIT: Duration = Duration::from_secs(480);
const POLL: Duration = Duration::from_millis(5);

/// What only costs time is left out.
const COMMAND_LINE: &str = "console=ttyS0 panic=-1 quiet mitigations=off tsc=reliable no_timer_check cryptomgr.notests \
    random.trust_cpu=on";
const SCRIPT: &str = r#"
n=0
while [ $n -lt ROUNDS ]; do
    n=$((n + 1))
    letter=$(printf "\\$(printf %o $((48 + n)))")
    head -c ROUND_BYTES /dev/zero | tr '\0' "$letter" >/block
    dd if=/block of=/dev/vda bs=ROUND_BYTES seek=$((n - 1)) conv=notrunc,fsync 2>/dev/null
    echo "round $n $(sha256sum </block | cut -d' ' -f1) $(cut -d' ' -f1 /proc/uptime)"
    sleep 0.05
done
echo "disk $(sha256sum </dev/vda | cut -d' ' -f1)"
"#;

#[test]
fn from_soft_to_soft() {
    exchange(&SoftEngine::default(), &SoftEngine::interpreter(), Guest::default());
}

#[test]
fn from_soft_to_soft_with_two_vcpus() {
    exchange(&SoftEngine::default(), &SoftEngine::default(), Guest { cpus: 2, ..Guest::default() });
}

/// As on hosts whose processors order memory accesses less strictly than x86's.
#[test]
fn from_soft_to_soft_with_one_vcpu_at_a_time() {
    let in_turn = SoftEngine::one_vcpu_at_a_time();
    exchange(&in_turn, &in_turn, Guest { cpus: 2, ..Guest::default() });
}

#[test]
fn from_kvm_to_soft() {
    let Some(kvm) = kvm() else { return };
    exchange(&kvm, &SoftEngine::default(), Guest::default());
}

#[test]
fn from_kvm_to_soft_with_two_vcpus() {
    let Some(kvm) = kvm() else { return };
    exchange(&kvm, &SoftEngine::default(), Guest { cpus: 2, ..Guest::default() });
}

#[test]
fn from_soft_to_kvm() {
    let Some(kvm) = kvm() else { return };
    let tsc_khz = tsc_khz(&kvm).unwrap();
    exchange(&SoftEngine::default(), &kvm, Guest { tsc_khz, ..Guest::default() });
}

#[test]
fn from_soft_to_kvm_with_two_vcpus() {
    let Some(kvm) = kvm() else { return };
    let tsc_khz = tsc_khz(&kvm).unwrap();
    exchange(&SoftEngine::default(), &kvm, Guest { cpus: 2, tsc_khz });
}

/// A KVM that can run Linux: one with hardware behind it.
fn kvm() -> Option<KvmEngine> {
    let engine = match KvmEngine::open(Path::new(kvm_engine::DEVICE)) {
        Ok(engine) => engine,
        Err(error) => {
            println!("SKIPPED: {error}");
            return None;
        }
    };
    let present = engine.probe().is_ok_and(|report| report.hardware == Hardware::Present);
    if !present {
        println!("SKIPPED: there is no hardware behind this KVM");
    }
    present.then_some(engine)
}

/// How the guest is started.
#[derive(Clone, Copy)]
struct Guest {
    cpus: u32,
    /// Its TSC's frequency; `None` is the first engine's own.
    tsc_khz: Option<u32>,
}

impl Default for Guest {
    fn default() -> Guest {
        Guest { cpus: 1, tsc_khz: None }
    }
}

/// Boots on `first`, goes on on `second`, and checks all that was printed and written.
fn exchange(first: &impl Engine, second: &impl Engine, guest: Guest) {
    let Some((kernel, initrd)) = material() else {
        return println!("SKIPPED: YAGURA_KERNEL and YAGURA_INITRD name no kernel");
    };
    let folder = tempfile::tempdir().unwrap();
    let script =
        SCRIPT.replace("ROUNDS", &ROUNDS.to_string()).replace("ROUND_BYTES", &ROUND_BYTES.to_string());
    let spec = spec(folder.path(), (kernel, initrd), guest.cpus, &script);
    let carried = carry(first, second, &spec, guest.tsc_khz);
    let text = fs::read_to_string(folder.path().join("console")).unwrap_or_default().replace('\r', "");
    let what = format!("{} to {}, {} vCPUs", first.name(), second.name(), guest.cpus);
    let Carried { changed_at, second_half } =
        carried.unwrap_or_else(|error| panic!("{what}: {error}\n{text}"));
    let rounds = rounds(&text);
    println!(
        "{what}: {} of {} rounds on the first; {second_half:?} on the second",
        rounds_in(&text[..changed_at]),
        rounds.len()
    );
    let expected: Vec<(u32, String)> = (1..=ROUNDS).map(|round| (round, digest(&block(round)))).collect();
    let found: Vec<(u32, String)> =
        rounds.iter().map(|(round, digest, _)| (*round, digest.clone())).collect();
    assert_eq!(found, expected, "{what}\n{text}");
    assert!(text.contains("GUEST SCRIPT ENDED 0"), "{what}\n{text}");
    assert!(rounds_in(&text[..changed_at]) >= HALF as usize, "{what}\n{text}");
    check_disk(&folder.path().join("disk"), &text);
    check_time(&what, &rounds, second_half);
}

fn material() -> Option<(PathBuf, PathBuf)> {
    Some((std::env::var_os("YAGURA_KERNEL")?.into(), std::env::var_os("YAGURA_INITRD")?.into()))
}

/// A machine with an empty disk that runs `script`.
fn spec(folder: &Path, (kernel, initrd): (PathBuf, PathBuf), cpus: u32, script: &str) -> VmSpec {
    File::create(folder.join("disk")).and_then(|file| file.set_len(DISK_BYTES)).unwrap();
    let mut bytes = script.as_bytes().to_vec();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    fs::write(folder.join("script"), bytes).unwrap();
    let disk = |name: &str| DiskSpec::new(folder.join(name), DiskFormat::Raw);
    let script = DiskSpec { readonly: true, serial: Some("script".parse().unwrap()), ..disk("script") };
    let boot = KernelSpec {
        initrds: vec![initrd],
        cmdline: Some(COMMAND_LINE.to_owned()),
        ..KernelSpec::new(kernel)
    };
    VmSpec {
        cpus: cpus.to_string().parse().unwrap(),
        memory: "128M".parse().unwrap(),
        disks: vec![disk("disk"), script],
        console: ConsoleSpec::File { path: folder.join("console"), mode: vm_spec::FileMode::default() },
        cpu_model: Some(CpuModel::V2),
        on_reset: OnReset::Exit,
        ..VmSpec::new("exchange".parse().unwrap(), BootSpec::Kernel(boot))
    }
}

/// What is known of a run besides what the guest printed.
struct Carried {
    /// Bytes on the console when the engine changed.
    changed_at: usize,
    /// How long the second half ran.
    second_half: Duration,
}

fn carry(first: &impl Engine, second: &impl Engine, spec: &VmSpec, khz: Option<u32>) -> Result<Carried> {
    let ConsoleSpec::File { path: console, .. } = &spec.console else {
        return Err("the console is no file".into());
    };
    let printed = || fs::read_to_string(console).unwrap_or_default();
    // Opened once and used by both, as by one machine before and after a reset.
    let backends = Backends::open(spec, || ())?;
    // What the guest is told of its processor has to be true of both.
    let cpuid = cpuid::common(first.guest_cpuid(spec.cpu_model)?, &second.offered_cpuid()?);
    let mut blueprint = resolve(spec, &HostFacts { cpuid, tsc_khz: None, backends: backends.facts() }, None)?;
    blueprint.tsc_khz = khz;
    let blueprint = Arc::new(blueprint);

    let (on_first, listener) = Happenings::listen();
    let life = GenerationId::fresh()?;
    let how = PowerOn::Cold(&blueprint, &life);
    let cycle = PowerCycle::power_on(first, spec, &backends, how, &listener)?;
    run_until(&cycle, &on_first, || rounds_in(&printed()) >= HALF as usize)?;
    if let Some(end) = on_first.end() {
        return Err(format!("the guest ended on the first engine: {end}").into());
    }
    let changed_at = printed().replace('\r', "").len();
    // As it would go through a file.
    let saved = VmState::from_bytes(&cycle.save()?.to_bytes()?)?;
    let memory = Machine::allocate_ram(&saved.blueprint.memory, false)?;
    copy(cycle.memory(), &memory)?;
    drop(cycle);

    let (on_second, listener) = Happenings::listen();
    let how = PowerOn::State(&saved, memory);
    let cycle = PowerCycle::power_on(second, spec, &backends, how, &listener)?;
    drop(saved);
    let began = Instant::now();
    run_until(&cycle, &on_second, || false)?;
    let second_half = began.elapsed();
    match on_second.end() {
        Some(end) if end == format!("{:?}", PowerRequest::Shutdown) => {
            Ok(Carried { changed_at, second_half })
        }
        other => Err(format!("the guest did not power off: {other:?}").into()),
    }
}

/// What happens while a machine runs.
#[derive(Default)]
struct Happenings(Mutex<Option<String>>);

impl Happenings {
    fn listen() -> (Arc<Happenings>, Arc<dyn Listener>) {
        let happenings = Arc::new(Happenings::default());
        (Arc::clone(&happenings), happenings)
    }

    /// The first reason for which the machine does not go on.
    fn end(&self) -> Option<String> {
        lock(&self.0).clone()
    }

    fn ended(&self, why: String) {
        lock(&self.0).get_or_insert(why);
    }
}

impl Listener for Happenings {
    fn power_requested(&self, request: PowerRequest) {
        self.ended(format!("{request:?}"));
    }

    fn host_failed(&self, failure: HostFailure) {
        println!("{}: {}", failure.device, failure.what);
    }

    fn guest_reported(&self, _report: GuestReport) {}

    fn slot_ejected(&self, _slot: u8) {}

    fn vcpu_stopped(&self, index: VcpuIndex, reason: std::result::Result<Halt, EngineError>) {
        self.ended(format!("vCPU {index} stopped: {reason:?}"));
    }
}

/// Runs until the guest ends, or `done`; then everything stands still.
fn run_until<V: Vm>(cycle: &PowerCycle<V>, happenings: &Happenings, done: impl Fn() -> bool) -> Result<()> {
    cycle.resume();
    let deadline = Instant::now() + LIMIT;
    while !done() && happenings.end().is_none() && Instant::now() < deadline {
        std::thread::sleep(POLL);
    }
    cycle.pause()?;
    if done() || happenings.end().is_some() { Ok(()) } else { Err("it took too long".into()) }
}

fn copy(from: &GuestMemory, to: &GuestMemory) -> Result<()> {
    let mut piece = vec![0; 1 << 20];
    for range in from.slots().ram_ranges() {
        for offset in (0..range.size_bytes).step_by(piece.len()) {
            let at = GuestAddress(range.start.0 + offset);
            let len = piece.len().min((range.size_bytes - offset) as usize);
            from.slots().read_slice(&mut piece[..len], at)?;
            to.slots().write_slice(&piece[..len], at)?;
        }
    }
    Ok(())
}

fn rounds_in(text: &str) -> usize {
    rounds(text).len()
}

/// The rounds of the script: number, digest, seconds since the start.
fn rounds(text: &str) -> Vec<(u32, String, f64)> {
    let line = |line: &str| {
        let mut words = line.trim_end().strip_prefix("round ")?.split(' ');
        let (round, digest) = (words.next()?.parse().ok()?, words.next()?.to_owned());
        Some((round, digest, words.next()?.parse().ok()?))
    };
    // A line that is not ended may be cut.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().filter_map(line).collect()
}

fn block(round: u32) -> Vec<u8> {
    vec![b'0' + round as u8; ROUND_BYTES]
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The file holds what the script wrote, and what the script read at the end.
fn check_disk(disk: &Path, text: &str) {
    let mut expected: Vec<u8> = (1..=ROUNDS).flat_map(block).collect();
    expected.resize(DISK_BYTES as usize, 0);
    assert!(fs::read(disk).unwrap() == expected, "the disk holds something else");
    let read = text.lines().find_map(|line| line.trim_end().strip_prefix("disk "));
    assert_eq!(read, Some(&*digest(&expected)), "the guest read something else");
}

/// The guest's time went on from where it was, about as fast as ours.
fn check_time(what: &str, rounds: &[(u32, String, f64)], second_half: Duration) {
    let times: Vec<f64> = rounds.iter().map(|(_, _, seconds)| *seconds).collect();
    assert!(times.is_sorted(), "{what}: {times:?}");
    let inside = times[ROUNDS as usize - 1] - times[HALF as usize + 1];
    let least = 0.05 * f64::from(ROUNDS - HALF - 2);
    let outside = second_half.as_secs_f64();
    // What the guest slept it must have slept; and between two of its lines no more time passed than for us.
    assert!(inside >= least && inside <= outside * 1.05, "{what}: {inside} s inside, {outside} s outside");
}
