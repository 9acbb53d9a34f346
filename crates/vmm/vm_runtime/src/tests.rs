//! The driver on a scripted engine: phases, endings, control requests.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use device_model::{GuestReport, HostFailure, PowerRequest};
use guest_memory::{Bytes, GuestAddress};
use machine::{Backends, GenerationId, Machine};
use test_guests::guests::{self, LOAD_ADDRESS};
use test_guests::pvh_elf;
use vcpu_model::fake::{FakeEngine, Step};
use vcpu_model::{EngineError, Halt, VcpuIndex};
use vm_control::{Failure, FailureClass};
use vm_spec::{BootSpec, HostFacts, KernelSpec, OnPanic, OnReset, VmSpec, resolve};
use vm_state::VmState;

use crate::control::CLIENTS_MAX;
use crate::{ControlSocket, Listener, Options, Outcome, PowerCycle, PowerOn, RunError, run};

mod hotplug;
mod lives;
mod resize;

pub(crate) fn spec(folder: &Path, on_reset: OnReset) -> VmSpec {
    let kernel = folder.join("kernel");
    fs::write(&kernel, pvh_elf(guests::hello(), LOAD_ADDRESS)).unwrap();
    VmSpec {
        cpus: "2".parse().unwrap(),
        memory: "64M".parse().unwrap(),
        console: format!("file={}", folder.join("console").display()).parse().unwrap(),
        on_reset,
        debug_exit: Some(0xf4),
        exit_status: true,
        ..VmSpec::new("test".parse().unwrap(), BootSpec::Kernel(KernelSpec::new(kernel)))
    }
}

/// Options of a VM with a control socket.
pub(crate) fn listening(socket: &Path) -> Options {
    Options { control: vec![ControlSocket::open(socket).unwrap()], ..Options::default() }
}

fn end(engine: &FakeEngine, on_reset: OnReset) -> Result<Outcome, RunError> {
    let folder = tempfile::tempdir().unwrap();
    run(engine, &spec(folder.path(), on_reset), Options::default())
}

fn script(steps: &[Step]) -> FakeEngine {
    FakeEngine::new(vec![steps.to_vec()])
}

const RESET: fn() -> Step = || Step::PortWrite(0x64, vec![0xfe]);
const SHUTDOWN: fn() -> Step = || Step::PortWrite(0x600, vec![0x34]);

#[test]
fn each_end_has_its_outcome() {
    let outcome = |steps: &[Step], on_reset| end(&script(steps), on_reset).unwrap();
    assert!(matches!(outcome(&[SHUTDOWN()], OnReset::Restart), Outcome::Shutdown));
    assert!(matches!(outcome(&[RESET()], OnReset::Exit), Outcome::Reset));
    assert!(matches!(outcome(&[Step::PortWrite(0xf4, vec![3])], OnReset::Exit), Outcome::DebugExit(3)));
    assert!(matches!(outcome(&[Step::PortWrite(0x620, vec![143])], OnReset::Restart), Outcome::Exited(143)));
    assert!(matches!(outcome(&[Step::Halt(Halt::TripleFault)], OnReset::Exit), Outcome::TripleFault));
    assert!(matches!(outcome(&[Step::Halt(Halt::Shutdown)], OnReset::Restart), Outcome::Shutdown));
    assert!(matches!(outcome(&[Step::Fail("x".into())], OnReset::Restart), Outcome::Crash(_)));
}

#[test]
fn the_first_power_request_wins_and_no_further_step_is_taken() {
    let engine = script(&[SHUTDOWN(), RESET(), Step::PortRead(0x3fd, 1)]);
    assert!(matches!(end(&engine, OnReset::Exit).unwrap(), Outcome::Shutdown));
    assert_eq!(engine.reads().len(), 0);
}

#[test]
fn a_reset_builds_the_machine_anew_and_a_loop_of_them_ends() {
    let engine = script(&[RESET(), Step::Halt(Halt::TripleFault), RESET(), SHUTDOWN()]);
    assert!(matches!(end(&engine, OnReset::Restart).unwrap(), Outcome::Shutdown));
    assert_eq!(engine.vms(), 4);
    let engine = script(&vec![RESET(); 50]);
    assert!(matches!(end(&engine, OnReset::Restart).unwrap(), Outcome::ResetLoop));
    assert_eq!(engine.vms(), 10);
}

const PANIC: fn() -> Step = || Step::PortWrite(0x505, vec![1]);

#[test]
fn a_panic_leads_to_what_was_asked_for_and_no_further_step_is_taken() {
    let outcome = |on_panic, steps: Vec<Step>| {
        let folder = tempfile::tempdir().unwrap();
        let engine = FakeEngine::new(vec![steps]);
        let spec = VmSpec { on_panic, ..spec(folder.path(), OnReset::Exit) };
        (run(&engine, &spec, Options::default()).unwrap(), engine)
    };
    // With `panic=-1` a guest resets right after it told of its panic.
    let (end, _) = outcome(OnPanic::Guest, vec![PANIC(), RESET()]);
    assert!(matches!(end, Outcome::Reset), "{end:?}");
    let (end, _) = outcome(OnPanic::Exit, vec![PANIC(), RESET()]);
    assert!(matches!(end, Outcome::Panicked), "{end:?}");
    let (end, engine) = outcome(OnPanic::Exit, vec![PANIC(), Step::PortRead(0x3fd, 1)]);
    assert!(matches!(end, Outcome::Panicked) && engine.reads().is_empty(), "{end:?}");
    let (end, engine) = outcome(OnPanic::Restart, vec![PANIC(), RESET(), PANIC(), SHUTDOWN()]);
    assert!(matches!(end, Outcome::Reset), "{end:?}");
    assert_eq!(engine.vms(), 2);
    // A crash kernel takes over, and a shutdown is announced: both end nothing.
    let steps = vec![Step::PortWrite(0x505, vec![6]), SHUTDOWN()];
    assert!(matches!(outcome(OnPanic::Exit, steps).0, Outcome::Shutdown));
    // A guest that panics at each start is a loop of resets.
    let (end, engine) = outcome(OnPanic::Restart, vec![PANIC(); 50]);
    assert!(matches!(end, Outcome::ResetLoop), "{end:?}");
    assert_eq!(engine.vms(), 10);
}

#[test]
fn a_guest_that_panicked_stands_still_until_it_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control");
    let spec = VmSpec { on_panic: OnPanic::Pause, ..spec(folder.path(), OnReset::Restart) };
    let options = listening(&socket);
    // It tells a thousand times, which comes to one event.
    let steps = [vec![PANIC(); 1000], vec![SHUTDOWN()]].concat();
    let vm = Sleeping::start(FakeEngine::new(vec![steps]), spec, options, socket, folder);
    vm.wait_until("it is paused", || vm.state()["state"] == "paused");
    assert_eq!(vm.state()["panics"], 1);
    let counters: serde_json::Value = serde_json::from_str(&vm.ask("GET", "/counters").1).unwrap();
    assert_eq!(counters["devices"]["pvpanic"]["panicked"], 1);
    vm.ask("PUT", "/resume");
    assert!(matches!(vm.running.join().unwrap().unwrap(), Outcome::Shutdown));
}

/// A VM that sleeps until it is told to end, and its control socket.
pub(crate) struct Sleeping {
    engine: FakeEngine,
    socket: PathBuf,
    pub(crate) running: JoinHandle<Result<Outcome, RunError>>,
    _folder: tempfile::TempDir,
}

pub(crate) fn sleeping() -> Sleeping {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control");
    let (spec, options) = (spec(folder.path(), OnReset::Restart), listening(&socket));
    Sleeping::start(FakeEngine::default(), spec, options, socket, folder)
}

impl Sleeping {
    pub(crate) fn start(
        engine: FakeEngine,
        spec: VmSpec,
        options: Options,
        socket: PathBuf,
        folder: tempfile::TempDir,
    ) -> Sleeping {
        let runs = engine.clone();
        let running = std::thread::spawn(move || run(&runs, &spec, options));
        Sleeping { engine, socket, running, _folder: folder }
    }

    fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while !is_so() {
            assert!(std::time::Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Status line and body of one request.
    pub(crate) fn ask(&self, method: &str, path: &str) -> (String, String) {
        self.order(method, path, "")
    }

    /// The same of one that has a body.
    pub(crate) fn order(&self, method: &str, path: &str, body: &str) -> (String, String) {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: vm\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A VM that reads none of it may have answered already.
        let _ = stream.write_all(body.as_bytes());
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }

    pub(crate) fn state(&self) -> serde_json::Value {
        serde_json::from_str(&self.ask("GET", "/state").1).unwrap()
    }
}

/// Who does not listen.
struct Nobody;

impl Listener for Nobody {
    fn power_requested(&self, _request: PowerRequest) {}
    fn host_failed(&self, _failure: HostFailure) {}
    fn guest_reported(&self, _report: GuestReport) {}
    fn slot_ejected(&self, _slot: u8) {}
    fn vcpu_stopped(&self, _index: VcpuIndex, _reason: Result<Halt, EngineError>) {}
}

#[test]
fn a_machine_goes_on_where_it_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(folder.path(), OnReset::Exit);
    let backends = Backends::open(&spec, || {}).unwrap();
    let facts = HostFacts { cpuid: vec![], tsc_khz: None, backends: backends.facts() };
    let mut blueprint = resolve(&spec, &facts, None).unwrap();
    blueprint.tsc_khz = Some(1_000_000);
    let blueprint = Arc::new(blueprint);
    let listener: Arc<dyn Listener> = Arc::new(Nobody);
    let power_on = |engine: &FakeEngine, how: PowerOn<'_>| {
        PowerCycle::power_on(engine, &spec, &backends, how, &listener)
    };

    // Each vCPU writes a scratch register and says so.
    let engine = FakeEngine::new(vec![vec![Step::PortWrite(0x3ff, vec![0x5a]), Step::PortRead(0x3ff, 1)]]);
    let life = GenerationId::fresh().unwrap();
    let first = power_on(&engine, PowerOn::Cold(&blueprint, &life)).unwrap();
    first.resume();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while engine.reads().is_empty() {
        assert!(std::time::Instant::now() < deadline, "the script was not carried out");
        std::thread::sleep(Duration::from_millis(1));
    }
    first.pause().unwrap();
    let saved = VmState::from_bytes(&first.save().unwrap().to_bytes().unwrap()).unwrap();
    assert_eq!(saved.vcpus[0].registers.rip, u64::from(LOAD_ADDRESS), "it entered the kernel");
    assert!(saved.vcpus.iter().all(|vcpu| vcpu.tsc_khz == Some(1_000_000)));
    first.memory().slots().write_slice(b"what was in RAM", GuestAddress(0x5000)).unwrap();

    let memory = first.memory().clone();
    drop(first);
    let mut other_map = saved.blueprint.memory.clone();
    other_map.ram[0].size_bytes /= 2;
    let half = Machine::allocate_ram(&other_map, false).unwrap();
    let error = power_on(&FakeEngine::default(), PowerOn::State(&saved, half)).err().unwrap();
    assert!(error.to_string().contains("is not that of the machine"), "{error}");
    let engine = FakeEngine::new(vec![vec![Step::PortRead(0x3ff, 1)]]);
    let second = power_on(&engine, PowerOn::State(&saved, memory)).unwrap();
    assert_eq!(second.save().unwrap(), saved);
    let mut kept = [0; 15];
    second.memory().slots().read_slice(&mut kept, GuestAddress(0x5000)).unwrap();
    assert_eq!(&kept, b"what was in RAM");
    second.resume();
    while engine.reads().is_empty() {
        assert!(std::time::Instant::now() < deadline, "the script was not carried out");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(engine.reads(), [[0x5a]]);
}

#[test]
fn control_requests_change_the_phase_and_read_it() {
    let vm = sleeping();
    assert_eq!(vm.state()["state"], "running");
    for _ in 0..2 {
        assert_eq!(vm.ask("PUT", "/pause").0, "HTTP/1.1 200 OK");
        assert_eq!(vm.state()["state"], "paused");
    }
    assert_eq!(vm.ask("PUT", "/resume").0, "HTTP/1.1 200 OK");
    assert_eq!(vm.state()["state"], "running");
    assert_eq!(vm.ask("PUT", "/power-button").0, "HTTP/1.1 200 OK");
    assert_eq!(vm.ask("PUT", "/reset").0, "HTTP/1.1 200 OK");
    assert_eq!(vm.state()["resets"], 1);
    let counters: serde_json::Value = serde_json::from_str(&vm.ask("GET", "/counters").1).unwrap();
    assert!(counters["code"]["cold_places"].is_u64());
    assert!(counters["exits"]["port_write"].is_u64() && counters["memory"]["resident_bytes"].is_u64());
    assert_eq!(vm.ask("PUT", "/stop").0, "HTTP/1.1 200 OK");
    assert!(matches!(vm.running.join().unwrap().unwrap(), Outcome::Killed));
    assert!(!vm.socket.exists());
}

#[test]
fn wrong_requests_are_problems_and_change_nothing() {
    let vm = sleeping();
    let (status, body) = vm.ask("GET", "/nowhere");
    assert_eq!(status, "HTTP/1.1 404 Not Found");
    let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (problem["status"].as_u64(), problem["detail"].as_str()),
        (Some(404), Some("there is no /nowhere"))
    );
    assert_eq!(vm.ask("GET", "/pause").0, "HTTP/1.1 405 Method Not Allowed");
    assert_eq!(vm.ask("DELETE", "/state").0, "HTTP/1.1 405 Method Not Allowed");
    let mut garbage = UnixStream::connect(&vm.socket).unwrap();
    garbage.write_all(&[0xff; 4096]).unwrap();
    drop(garbage);
    assert_eq!(vm.state()["state"], "running");
    vm.ask("PUT", "/stop");
    vm.running.join().unwrap().unwrap();
}

/// Every path with every method, and paths and bodies that make no sense: what is refused is refused in one line of ours.
#[test]
fn no_request_is_refused_in_words_of_a_library() {
    let vm = sleeping();
    let long = format!("/{}", "x".repeat(60_000));
    let paths =
        ["/", "/State", "/state/", "/state/x", "//state", "/%00", "/%ff/..", "/{}", "*", long.as_str()];
    let known = vm_control::Verb::ALL.map(vm_control::Verb::path);
    // What is no right request for anything that would end the machine.
    let quiet = |method: &str, path: &str| vm_control::Verb::of(method, path).is_err();
    let mut refusals = 0;
    for method in ["GET", "PUT", "POST", "DELETE", "PATCH", "HEADLESS", "put"] {
        for path in paths.into_iter().chain(known).chain(["/events"]).filter(|path| quiet(method, path)) {
            if (method, path) == ("GET", "/events") {
                continue;
            }
            let (status, body) = vm.ask(method, path);
            let problem: serde_json::Value =
                serde_json::from_str(&body).unwrap_or_else(|_| panic!("{method} {path}: {body}"));
            let detail = problem["detail"].as_str().unwrap();
            assert!(["404", "405"].iter().any(|code| status.contains(code)), "{method} {path}: {status}");
            assert_eq!(problem["status"].as_u64(), status.split(' ').nth(1).unwrap().parse().ok());
            assert!(detail.starts_with("there is no ") || detail.starts_with("use "), "{detail}");
            assert!(detail.len() < 300 && !detail.contains(char::is_control), "{detail}");
            refusals += 1;
        }
    }
    assert!(refusals > 80, "{refusals}");
    // Where nothing is said by a body, whatever comes as one changes nothing.
    for body in ["{", "null", "\u{0}", "{\"state\": 1}", "[[[[[[[["] {
        let mut stream = UnixStream::connect(&vm.socket).unwrap();
        let head =
            format!("GET /state HTTP/1.1\r\nHost: vm\r\nConnection: close\r\nContent-Length: {}", body.len());
        write!(stream, "{head}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("running"), "{body}: {answer}");
    }
    vm.ask("PUT", "/stop");
    vm.running.join().unwrap().unwrap();
}

#[test]
fn clients_beyond_the_bound_wait_for_others_to_go() {
    let vm = sleeping();
    let mut idle: Vec<UnixStream> =
        (0..CLIENTS_MAX).map(|_| UnixStream::connect(&vm.socket).unwrap()).collect();
    let mut late = UnixStream::connect(&vm.socket).unwrap();
    write!(late, "GET /state HTTP/1.1\r\nHost: vm\r\nConnection: close\r\n\r\n").unwrap();
    late.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(late.read(&mut [0; 64]).is_err(), "nobody serves it yet");
    idle.clear();
    late.set_read_timeout(None).unwrap();
    let mut answer = String::new();
    late.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    vm.ask("PUT", "/stop");
    vm.running.join().unwrap().unwrap();
}

#[test]
fn events_are_told_to_listeners() {
    let vm = sleeping();
    let mut stream = UnixStream::connect(&vm.socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET /events HTTP/1.1\r\nHost: vm\r\n\r\n").unwrap();
    let mut seen = String::new();
    let mut wait_for = |what: &str| {
        let mut buffer = [0; 1024];
        while !seen.contains(what) {
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "{seen}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    };
    wait_for("application/x-ndjson");
    vm.ask("PUT", "/pause");
    wait_for("\"event\":\"paused\"");
    vm.ask("PUT", "/resume");
    wait_for("\"event\":\"resumed\"");
    vm.ask("PUT", "/stop");
    vm.running.join().unwrap().unwrap();
    wait_for("\"event\":\"ended\",\"detail\":\"killed\"");
    wait_for("\r\n0\r\n\r\n");
}

/// Threads of this name in this process.
fn control_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name == "control\n").count()
}

/// nextest gives each test a process of its own: no other test's threads are in it.
#[test]
fn a_vm_that_nobody_asks_has_nobody_who_answers() {
    let folder = tempfile::tempdir().unwrap();
    let sockets = ["a", "b"].map(|name| folder.path().join(name));
    let options = Options {
        control: sockets.iter().map(|path| ControlSocket::open(path).unwrap()).collect(),
        ..Options::default()
    };
    let spec = spec(folder.path(), OnReset::Restart);
    let [first, second] = sockets;
    let vm = Sleeping::start(FakeEngine::default(), spec, options, first, folder);
    vm.wait_until("it runs", || vm.engine.running() == 2);
    assert_eq!(control_threads(), 0, "before anybody asks");
    for round in 0..3 {
        assert_eq!(vm.state()["state"], "running", "round {round}");
        assert_eq!(control_threads(), 1, "round {round}");
        vm.wait_until("the thread ends", || control_threads() == 0);
    }
    // The other socket leads to the same VM, after a reset, too.
    let vm = Sleeping { socket: second, ..vm };
    assert_eq!(vm.ask("PUT", "/reset").0, "HTTP/1.1 200 OK");
    assert_eq!(vm.state()["resets"], 1);
    vm.ask("PUT", "/stop");
    assert!(matches!(vm.running.join().unwrap().unwrap(), Outcome::Killed));
}

#[test]
fn a_power_button_that_is_pressed_in_a_pause_waits_for_its_end() {
    let vm = sleeping();
    vm.ask("PUT", "/pause");
    assert_eq!(vm.ask("PUT", "/power-button").0, "HTTP/1.1 200 OK");
    assert_eq!(vm.state()["state"], "paused");
    assert_eq!(vm.engine.line(9).unwrap().edges(), 0, "a paused machine's state stays as it is");
    vm.ask("PUT", "/resume");
    assert_eq!(vm.engine.line(9).unwrap().edges(), 1);
    vm.ask("PUT", "/stop");
    vm.running.join().unwrap().unwrap();
}

/// What `--on-reset` and the end of a loop of resets are about is the guest's doing.
#[test]
fn resets_that_are_asked_for_end_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control");
    let (spec, options) = (spec(folder.path(), OnReset::Exit), listening(&socket));
    let vm = Sleeping::start(FakeEngine::default(), spec, options, socket, folder);
    for _ in 0..15 {
        assert_eq!(vm.ask("PUT", "/reset").0, "HTTP/1.1 200 OK");
    }
    assert_eq!(vm.state()["resets"], 15);
    vm.ask("PUT", "/stop");
    assert!(matches!(vm.running.join().unwrap().unwrap(), Outcome::Killed));
}

#[test]
fn a_pause_that_the_engine_refuses_is_the_host_s_failure_and_the_guest_goes_on() {
    let vm = sleeping();
    vm.engine.refuse_to_settle(true);
    for _ in 0..2 {
        let (status, body) = vm.ask("PUT", "/pause");
        assert_eq!(status, "HTTP/1.1 500 Internal Server Error");
        let failure: Failure = serde_json::from_str(&body).unwrap();
        assert_eq!((failure.class, failure.status), (FailureClass::Host, 500));
        assert_eq!(vm.state()["state"], "running");
        vm.wait_until("both vCPUs go on", || vm.engine.running() == 2);
    }
    vm.engine.refuse_to_settle(false);
    assert_eq!(vm.ask("PUT", "/pause").0, "HTTP/1.1 200 OK");
    assert_eq!(vm.engine.running(), 0);
    vm.ask("PUT", "/stop");
    vm.running.join().unwrap().unwrap();
}
