//! A whole Linux that goes on from a snapshot, as if it had lain for a while: it has the right time, knows that it is another
//! life, and takes none of it for a fault.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use guest_memory::Bytes;
use machine::{Backends, GenerationId, Machine};
use soft_engine::SoftEngine;
use vcpu_model::Engine;
use vm_runtime::{PowerCycle, PowerOn};
use vm_spec::{BootSpec, ConsoleSpec, HostFacts, VmSpec, resolve};
use vm_state::VmState;

use super::{Happenings, Result, copy, kvm, material, run_until, spec};

/// Nothing that only costs time is left out here: what watches over clocks is to be there.
const COMMAND_LINE: &str = "console=ttyS0 panic=-1 quiet cryptomgr.notests softlockup_panic=1";
/// What the guest says in each line: its date, the time since its start, both in seconds.
const SCRIPT: &str = r#"
if [ -d /sys/bus/acpi/drivers/vmgenid ]; then echo "hears of lives"; fi
cd /sys/devices/system/clocksource/clocksource0
echo "clock $(cat current_clocksource)"
dmesg -c >/dev/null
for _ in $(seq BUSY); do (while :; do :; done) & done
n=0
while [ $n -lt 60 ]; do
    n=$((n + 1))
    echo "at $(date +%s) $(cut -d' ' -f1 /proc/uptime)"
    sleep 0.2
done
echo "clock $(cat current_clocksource)"
kill $(jobs -p) 2>/dev/null
dmesg | sed 's/^/log: /'
"#;
/// Lines before the snapshot.
const BEFORE: usize = 10;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// What no log may tell of.
const FAULTS: [&str; 7] =
    ["soft lockup", "stall", "unstable", "hung", "blocked for more", "clocksource watchdog", "Call Trace"];

#[test]
fn software_after_a_minute() {
    goes_on(&SoftEngine::default(), 1, Duration::from_secs(60));
}

#[test]
fn software_after_a_month_with_two_vcpus() {
    goes_on(&SoftEngine::default(), 2, 30 * DAY);
}

/// The snapshot is of tomorrow: time does not go back, and the guest goes on.
#[test]
fn software_from_the_future() {
    let engine = SoftEngine::default();
    let Some(told) = live(&engine, 1, |now_ns| now_ns + nanos(DAY)) else { return };
    let (before, after) = told.around();
    assert!(after.uptime_s - before.uptime_s < 60.0, "{told:?}");
    told.check_log();
}

#[test]
fn hardware_after_a_minute() {
    let Some(kvm) = kvm() else { return };
    goes_on(&kvm, 1, Duration::from_secs(60));
}

#[test]
fn hardware_after_a_month_with_two_vcpus() {
    let Some(kvm) = kvm() else { return };
    goes_on(&kvm, 2, 30 * DAY);
}

fn goes_on(engine: &impl Engine, cpus: u32, later: Duration) {
    let Some(told) = live(engine, cpus, |now_ns| now_ns - nanos(later)) else { return };
    let (before, after) = told.around();
    let passed_s = later.as_secs_f64();
    println!("{before:?}, {after:?}");
    // Both of the guest's clocks, and its date is off the host's by what was pretended: its own life took seconds.
    for moved_s in [after.uptime_s - before.uptime_s, after.date_s - before.date_s] {
        assert!((passed_s - 1.0..passed_s + 60.0).contains(&moved_s), "{moved_s}: {told:?}");
    }
    // The guest has its first date from a clock that knows no parts of a second, and the host looks a little later.
    let off_by_s = told.looked_at_s + passed_s - told.last.date_s;
    assert!((-1.0..5.0).contains(&off_by_s), "off by {off_by_s}: {told:?}");
    told.check_log();
}

fn nanos(time: Duration) -> u64 {
    time.as_nanos() as u64
}

/// What a guest said of its two lives.
#[derive(Debug)]
struct Told {
    times: Vec<Time>,
    text: String,
    /// What it said last when the host's time was this, in seconds.
    last: Time,
    looked_at_s: f64,
}

#[derive(Clone, Copy, Debug)]
struct Time {
    date_s: f64,
    uptime_s: f64,
}

impl Told {
    /// The last line before the snapshot, and the first one that was begun after it.
    fn around(&self) -> (Time, Time) {
        (self.times[BEFORE - 2], self.times[BEFORE + 2])
    }

    fn check_log(&self) {
        let text = &self.text;
        assert!(text.contains("GUEST SCRIPT ENDED 0"), "{text}");
        // Debian's kernel for clouds has no driver for it.
        let (hears, heard) = ("hears of lives", "crng reseeded due to virtual machine fork");
        assert_eq!(text.contains(hears), text.contains(heard), "{text}");
        for fault in FAULTS {
            assert!(!text.contains(fault), "{fault}: {text}");
        }
        let clocks: Vec<&str> = text.lines().filter(|line| line.starts_with("clock ")).collect();
        assert!(clocks.len() == 2 && clocks[0] == clocks[1], "{clocks:?}: {text}");
        let uptimes: Vec<f64> = self.times.iter().map(|time| time.uptime_s).collect();
        assert!(uptimes.is_sorted(), "{uptimes:?}");
    }
}

/// Two lives of a guest, where the host's time at the end of the first was what `pretend` makes of it; nothing where there is no
/// guest.
fn live(engine: &impl Engine, cpus: u32, pretend: impl Fn(u64) -> u64) -> Option<Told> {
    let Some(material) = material() else {
        println!("SKIPPED: YAGURA_KERNEL and YAGURA_INITRD name no kernel");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut spec = spec(folder.path(), material, cpus, "");
    spec.disks.clear();
    // Who has a processor at the moment of the snapshot, and who waits for one, is to be luck; but where kvmclock has to go on,
    // who has it would wait for all the time that passed.
    let cpuid = engine.guest_cpuid(spec.cpu_model).unwrap();
    let is_invariant = cpuid.iter().any(|leaf| leaf.function == 0x8000_0007 && leaf.edx >> 8 & 1 == 1);
    let script = SCRIPT.replace("BUSY", &if is_invariant { cpus } else { 0 }.to_string());
    let BootSpec::Kernel(kernel) = &mut spec.boot;
    // On the command line: some kernel that is given has no driver for disks with it.
    kernel.cmdline = Some(format!("{COMMAND_LINE} GUEST_SCRIPT={}", BASE64_STANDARD.encode(script)));
    let told = try_to_live(engine, &spec, pretend);
    let text = fs::read_to_string(folder.path().join("console")).unwrap_or_default();
    Some(told.unwrap_or_else(|error| panic!("{error}\n{text}")))
}

fn try_to_live(engine: &impl Engine, spec: &VmSpec, pretend: impl Fn(u64) -> u64) -> Result<Told> {
    let ConsoleSpec::File { path: console, .. } = &spec.console else {
        return Err("the console is no file".into());
    };
    let printed = || fs::read_to_string(console).unwrap_or_default().replace('\r', "");
    let backends = Backends::open(spec, || ())?;
    let cpuid = engine.guest_cpuid(spec.cpu_model)?;
    let blueprint = resolve(spec, &HostFacts { cpuid, tsc_khz: None, backends: backends.facts() }, None)?;
    let id_at = guest_memory::GuestAddress(blueprint.generation_id.ok_or("no generation id")?);
    let (blueprint, first_id) = (Arc::new(blueprint), GenerationId::fresh()?);

    let (happenings, listener) = Happenings::listen();
    let how = PowerOn::Cold(&blueprint, &first_id);
    let cycle = PowerCycle::power_on(engine, spec, &backends, how, &listener)?;
    run_until(&cycle, &happenings, || times(&printed()).len() >= BEFORE)?;
    let mut found = [0; 16];
    cycle.memory().slots().read_slice(&mut found, id_at)?;
    assert_eq!(&found, first_id.as_bytes(), "the guest leaves it as it is");
    let mut saved = VmState::from_bytes(&cycle.save()?.to_bytes()?)?;
    let saved_at_ns = saved.platform.clock.host_realtime_ns.ok_or("the state has no time")?;
    let memory = Machine::allocate_ram(&saved.blueprint.memory, false)?;
    copy(cycle.memory(), &memory)?;
    drop(cycle);

    saved.platform.clock.host_realtime_ns = Some(pretend(saved_at_ns));
    let (happenings, listener) = Happenings::listen();
    let second_id = GenerationId::fresh()?;
    let how = PowerOn::Snapshot(&saved, memory, &second_id);
    let cycle = PowerCycle::power_on(engine, spec, &backends, how, &listener)?;
    cycle.memory().slots().read_slice(&mut found, id_at)?;
    assert_eq!(&found, second_id.as_bytes());
    run_until(&cycle, &happenings, || times(&printed()).len() >= BEFORE + 10)?;
    let looked_at_s = now_s();
    let last = *times(&printed()).last().ok_or("the guest says nothing")?;
    run_until(&cycle, &happenings, || false)?;
    let text = printed();
    Ok(Told { times: times(&text), text, last, looked_at_s })
}

fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// The lines of the script, but for one that may be cut.
fn times(text: &str) -> Vec<Time> {
    let line = |line: &str| {
        let mut words = line.trim_end().strip_prefix("at ")?.split(' ');
        Some(Time { date_s: words.next()?.parse().ok()?, uptime_s: words.next()?.parse().ok()? })
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().filter_map(line).collect()
}
