//! What a guest is told of the time in which it stood still, and of the life that it is in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use guest_memory::{Bytes, GuestAddress};
use machine::{Backends, GenerationId};
use vcpu_model::VcpuIndex;
use vcpu_model::fake::{FakeEngine, FakeVm, Step};
use vm_spec::{HostFacts, OnReset, VmSpec, resolve};
use vm_state::VmState;

use super::{Nobody, Sleeping, listening, spec};
use crate::snapshot::Opened;
use crate::{Listener, Outcome, PowerCycle, PowerOn};

const MONTH_NS: u64 = 30 * 24 * 3600 * 1_000_000_000;
const BOTH: [VcpuIndex; 2] = [VcpuIndex(0), VcpuIndex(1)];

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What the guest finds pending at its event device.
fn events(engine: &FakeEngine) -> u8 {
    let before = engine.reads().len();
    engine.then(0, [Step::PortRead(0x610, 1)]);
    wait_until("the events are read", || engine.reads().len() > before);
    engine.reads()[before][0]
}

fn id_of(cycle: &PowerCycle<FakeVm>) -> [u8; 16] {
    let mut id = [0; 16];
    cycle.memory().slots().read_slice(&mut id, GuestAddress(0xd_f028)).unwrap();
    id
}

fn saved_ns_ago(state: &VmState, ago_ns: u64) -> VmState {
    let mut state = state.clone();
    let clock = &mut state.platform.clock;
    (clock.guest_ns, clock.host_realtime_ns) = (5, Some(crate::cycle::now_ns() - ago_ns));
    state
}

#[test]
fn a_snapshot_is_another_life_later_and_a_state_is_neither() {
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(folder.path(), OnReset::Exit);
    let backends = Backends::open(&spec, || {}).unwrap();
    let facts = HostFacts { cpuid: vec![], tsc_khz: None, backends: backends.facts() };
    let blueprint = Arc::new(resolve(&spec, &facts, None).unwrap());
    let listener: Arc<dyn Listener> = Arc::new(Nobody);
    let power_on = |engine: &FakeEngine, how: PowerOn<'_>| {
        PowerCycle::power_on(engine, &spec, &backends, how, &listener).unwrap()
    };
    let (first, second) = (GenerationId::fresh().unwrap(), GenerationId::fresh().unwrap());

    let engine = FakeEngine::default();
    let cycle = power_on(&engine, PowerOn::Cold(&blueprint, &first));
    cycle.resume();
    assert_eq!((&id_of(&cycle), events(&engine)), (first.as_bytes(), 0));
    assert_eq!(engine.take_told(), [], "nobody stood still");
    cycle.pause().unwrap();
    let saved = saved_ns_ago(&cycle.save().unwrap(), MONTH_NS);
    let memory = cycle.memory().clone();
    drop(cycle);

    let engine = FakeEngine::default();
    let cycle = power_on(&engine, PowerOn::State(&saved, memory.clone()));
    assert_eq!(engine.take_told(), BOTH);
    assert_eq!(cycle.save().unwrap().platform.clock, saved.platform.clock);
    cycle.resume();
    assert_eq!((&id_of(&cycle), events(&engine)), (first.as_bytes(), 0));
    drop(cycle);

    let engine = FakeEngine::default();
    let cycle = power_on(&engine, PowerOn::Snapshot(&saved, memory.clone(), &second));
    assert_eq!(engine.take_told(), BOTH);
    let later_ns = cycle.save().unwrap().platform.clock.guest_ns - 5;
    assert!((MONTH_NS..MONTH_NS + 60_000_000_000).contains(&later_ns), "{later_ns}");
    cycle.resume();
    assert_eq!((&id_of(&cycle), events(&engine)), (second.as_bytes(), 4));
    drop(cycle);

    // Of tomorrow, as far as the host knows.
    let mut future = saved;
    future.platform.clock.host_realtime_ns = Some(crate::cycle::now_ns() + MONTH_NS);
    let cycle = power_on(&FakeEngine::default(), PowerOn::Snapshot(&future, memory, &second));
    assert_eq!(cycle.save().unwrap().platform.clock.guest_ns, 5);
}

#[test]
fn a_vm_that_goes_back_is_told_and_one_that_was_paused_or_reset_only_of_the_pause() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control");
    let engine = FakeEngine::default();
    let (spec, options): (VmSpec, _) = (spec(folder.path(), OnReset::Restart), listening(&socket));
    let vm = Sleeping::start(engine.clone(), spec, options, socket, tempfile::tempdir().unwrap());
    let asked =
        |path: &str, body: &str| assert_eq!(vm.order("PUT", path, body).0, "HTTP/1.1 200 OK", "{path}");
    let told = || {
        wait_until("both vCPUs run", || engine.running() == 2);
        let mut told = engine.take_told();
        told.sort();
        told
    };
    assert_eq!((events(&engine), told()), (0, vec![]));
    asked("/pause", "");
    assert_eq!(engine.take_told(), [], "not before it goes on");
    asked("/resume", "");
    assert_eq!((events(&engine), told()), (0, BOTH.to_vec()));
    let path = |name: &str| folder.path().join(name);
    // What a snapshot of now has as the generation id.
    let id_in = |name: &str| {
        std::fs::create_dir(path(name)).unwrap();
        let (target, uuid) = (path(name), "0b54a1f6-6a43-4b5c-9c0a-1f2e3d4c5b6a");
        let target = target.display();
        asked("/snapshot", &format!(r#"{{"folder":"{target}","vm":"test","name":"a","uuid":"{uuid}"}}"#));
        let memory = Opened::open(&path(name)).unwrap().ram(false).unwrap();
        memory.slots().read_obj::<[u8; 16]>(GuestAddress(0xd_f028)).unwrap()
    };
    let first = id_in("a");
    assert_eq!((events(&engine), told()), (0, BOTH.to_vec()));
    asked("/restore", &format!(r#"{{"folder":"{}"}}"#, path("a").display()));
    assert_eq!((events(&engine), told()), (4, BOTH.to_vec()));
    let second = id_in("b");
    assert!(first != second && first != [0; 16], "{first:?}, {second:?}");
    told();
    asked("/reset", "");
    assert_eq!((events(&engine), told()), (0, vec![]), "a machine that begins anew");
    assert_eq!(id_in("c"), second, "in the same life");
    asked("/stop", "");
    assert!(matches!(vm.running.join().unwrap().unwrap(), Outcome::Killed));
}
