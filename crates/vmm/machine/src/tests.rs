//! The whole machine on a scripted engine: what is wired to what.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use device_model::fake::FakePower;
use device_model::{GuestReport, PowerRequest};
use guest_memory::{Bytes, GuestAddress};
use test_guests::guests::{self, LOAD_ADDRESS};
use test_guests::pvh_elf;
use vcpu_model::fake::{FakeEngine, FakeVm};
use vcpu_model::{Engine, GuestIo, VmConfig};
use vm_spec::{Blueprint, BootSpec, HostFacts, KernelSpec, VmSpec, resolve};
use vm_state::DeviceState;

use crate::boot::{self, Entry};
use crate::{Backends, GenerationId, Machine, Sinks};

mod hotplug;

struct Setup {
    engine: FakeEngine,
    vm: FakeVm,
    power: Arc<FakePower>,
    blueprint: Blueprint,
    backends: Backends,
    machine: Machine,
    entry: Entry,
    folder: tempfile::TempDir,
}

fn setup() -> Setup {
    setup_with("file")
}

/// A machine whose console is of this kind.
fn setup_with(console: &str) -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("kernel"), pvh_elf(guests::hello(), LOAD_ADDRESS)).unwrap();
    fs::write(path("disk"), vec![7; 1 << 20]).unwrap();
    let spec = VmSpec {
        cpus: "2".parse().unwrap(),
        memory: "64M".parse().unwrap(),
        disks: vec![format!("path={}", path("disk").display()).parse().unwrap()],
        console: format!("{console}={}", path("console").display()).parse().unwrap(),
        debug_exit: Some(0xf4),
        exit_status: true,
        ..VmSpec::new("test".parse().unwrap(), BootSpec::Kernel(KernelSpec::new(path("kernel"))))
    };
    let engine = FakeEngine::default();
    let power = Arc::new(FakePower::default());
    let backends = Backends::open(&spec, || {}).unwrap();
    let cpuid = engine.guest_cpuid(None).unwrap();
    let blueprint =
        resolve(&spec, &HostFacts { cpuid, tsc_khz: None, backends: backends.facts() }, None).unwrap();
    let memory = Machine::allocate_ram(&blueprint.memory, spec.merge).unwrap();
    let config = VmConfig { vcpus: blueprint.cpus.get(), cpuid: blueprint.cpuid.clone() };
    let vm = engine.create_vm(&config, &memory).unwrap();
    let machine =
        Machine::assemble(&blueprint, &vm, &memory, &backends, Sinks::all_to(power.clone())).unwrap();
    let entry = boot::load(&blueprint, &memory.slots(), &backends).unwrap();
    Setup { engine, vm, power, blueprint, backends, machine, entry, folder }
}

fn port_read<const N: usize>(machine: &Machine, port: u16) -> [u8; N] {
    let mut data = [0; N];
    machine.bus().port_read(port, &mut data);
    data
}

#[test]
fn every_way_to_end_a_run_reaches_the_power_sink() {
    let s = setup();
    let bus = s.machine.bus();
    bus.port_write(0x64, &[0xfe]);
    bus.port_write(0x602, &[1]);
    bus.port_write(0x600, &[0x34]);
    bus.port_write(0xf4, &[0x2a]);
    bus.port_write(0xf4, &[0x2b, 0, 0, 0]);
    bus.port_write(0x620, &[3]);
    let exit = PowerRequest::DebugExit;
    let expected = [
        PowerRequest::Reset,
        PowerRequest::Reset,
        PowerRequest::Shutdown,
        exit(0x2a),
        exit(0x2b),
        PowerRequest::Exit(3),
    ];
    assert_eq!(s.power.take(), expected);
}

#[test]
fn a_panic_is_reported_and_counted() {
    let s = setup();
    assert_eq!(port_read::<1>(&s.machine, 0x505), [7]);
    s.machine.bus().port_write(0x505, &[1]);
    assert_eq!(s.power.take_reports(), [GuestReport::Panicked]);
    assert_eq!(s.machine.figures()["pvpanic"][0], ("panicked", 1));
}

#[test]
fn the_reset_vector_leads_to_the_reset_register() {
    let s = setup();
    let mut code = [0u8; 9];
    s.machine.memory().slots().read_slice(&mut code, GuestAddress(0xf_fff0)).unwrap();
    assert_eq!(code, [0xba, 0x02, 0x06, 0xb0, 0x01, 0xee, 0xf4, 0xeb, 0xfd]);
}

#[test]
fn the_serial_port_writes_to_the_console() {
    let s = setup();
    b"hello".iter().for_each(|byte| s.machine.bus().port_write(0x3f8, &[*byte]));
    assert_eq!(fs::read(s.folder.path().join("console")).unwrap(), b"hello");
    assert_eq!(port_read::<1>(&s.machine, 0x3fd)[0] & 0x60, 0x60, "the transmitter is empty");
}

#[test]
fn the_power_button_raises_its_interrupt_and_says_why() {
    let s = setup();
    let edges = || s.engine.line(9).unwrap().edges();
    assert_eq!(edges(), 0);
    s.machine.press_power_button();
    assert_eq!(edges(), 1);
    assert_eq!(port_read::<1>(&s.machine, 0x610), [1]);
    assert_eq!(port_read::<1>(&s.machine, 0x610), [0], "reading clears");
}

#[test]
fn a_guest_finds_its_life_in_memory_and_hears_of_another() {
    let s = setup();
    let found = |machine: &Machine| {
        let mut id = [0; 16];
        machine.memory().slots().read_slice(&mut id, GuestAddress(0xd_f028)).unwrap();
        id
    };
    let (first, second) = (GenerationId::fresh().unwrap(), GenerationId::fresh().unwrap());
    assert_ne!(first, second);
    assert_eq!(format!("{first:?}"), "GenerationId", "it is in no log");
    s.machine.begin_life(&first).unwrap();
    assert_eq!((&found(&s.machine), port_read(&s.machine, 0x610)), (first.as_bytes(), [0]));
    s.machine.pause();
    s.machine.begin_other_life(&second).unwrap();
    s.machine.resume();
    assert_eq!(s.engine.line(9).unwrap().edges(), 1);
    assert_eq!((&found(&s.machine), port_read(&s.machine, 0x610)), (second.as_bytes(), [4]));
    // A machine that was first started by a program which knew of none.
    let blueprint = Blueprint { generation_id: None, ..s.blueprint.clone() };
    let memory = Machine::allocate_ram(&blueprint.memory, false).unwrap();
    let older = Machine::assemble(&blueprint, &s.vm, &memory, &s.backends, Sinks::all_to(s.power.clone()));
    let older = older.unwrap();
    older.begin_other_life(&second).unwrap();
    assert_eq!((found(&older), port_read(&older, 0x610)), ([0; 16], [0]));
}

/// Identity of the function in `slot`, by ECAM.
fn identity(machine: &Machine, slot: u64) -> u32 {
    let mut data = [0; 4];
    machine.bus().mmio_read(0xe000_0000 + (slot << 15), &mut data);
    u32::from_le_bytes(data)
}

#[test]
fn the_bus_holds_bridge_disk_and_entropy_and_all_have_addresses() {
    let s = setup();
    let found: Vec<u32> = (0..5).map(|slot| identity(&s.machine, slot) >> 16).collect();
    assert_ne!(found[0], 0xffff, "host bridge");
    assert_eq!(found[1..], [0x1042, 0x1044, 0xffff, 0xffff]);
    for slot in [1u64, 2] {
        let mut bar = [0; 4];
        s.machine.bus().mmio_read(0xe000_0000 + (slot << 15) + 0x10, &mut bar);
        let mut high = [0; 4];
        s.machine.bus().mmio_read(0xe000_0000 + (slot << 15) + 0x14, &mut high);
        let address = u64::from(u32::from_le_bytes(high)) << 32 | u64::from(u32::from_le_bytes(bar) & !0xf);
        assert!(address >= 1 << 32, "{address:#x} is above RAM and 4 GiB");
    }
}

#[test]
fn the_machine_has_the_devices_of_its_blueprint_in_their_order() {
    let s = setup();
    s.machine.pause();
    let saved = s.machine.save().unwrap();
    assert!(saved.iter().map(|device| device.id.as_str()).eq(s.blueprint.ids()));
}

#[test]
fn a_saved_machine_is_restored_into_a_fresh_one() {
    let first = setup();
    let bus = first.machine.bus();
    bus.port_write(0x3ff, &[0x5a]); // scratch register
    bus.mmio_write(0xe000_0000 + (1 << 15) + 4, &[6, 0]); // disk: memory decoding and bus mastering on
    first.machine.pause();
    let state = first.machine.save().unwrap();
    assert!(state.iter().map(|device| device.id.as_str()).eq(first.blueprint.ids()));

    let second = setup();
    second.machine.pause();
    second.machine.restore(&state).unwrap();
    assert_eq!(second.machine.save().unwrap(), state);
    second.machine.resume();
    assert_eq!(port_read::<1>(&second.machine, 0x3ff), [0x5a]);
    let mut command = [0; 2];
    second.machine.bus().mmio_read(0xe000_0000 + (1 << 15) + 4, &mut command);
    assert_eq!(command, [6, 0]);

    type Change = fn(&mut Vec<DeviceState>, usize);
    let changes: [(&str, Change); 3] = [
        ("state is missing", |state, at| drop(state.remove(at))),
        ("state is missing", |state, at| state[at].bytes = None),
        ("cannot be read", |state, at| state[at].bytes.as_mut().unwrap().truncate(1)),
    ];
    for at in 0..state.len() {
        for (why, change) in changes.iter().filter(|_| state[at].bytes.is_some()) {
            let third = setup();
            third.machine.pause();
            let mut changed = state.clone();
            change(&mut changed, at);
            let error = third.machine.restore(&changed).unwrap_err();
            assert_eq!(error.id, state[at].id);
            assert!(error.source.to_string().contains(why), "{error}");
        }
    }
    let mut foreign = state;
    let stateless = foreign.iter_mut().find(|device| device.bytes.is_none()).unwrap();
    stateless.bytes = Some(vec![1]);
    let error = second.machine.restore(&foreign).unwrap_err();
    assert!(error.source.to_string().contains("it has none"), "{error}");
}

/// Input that comes during a pause changes nothing until the pause is over, and then it is there, once.
#[test]
fn a_paused_machine_s_state_stays_as_it_is() {
    let s = setup_with("socket");
    let line_status = || port_read::<1>(&s.machine, 0x3fd)[0];
    let receive = || {
        let deadline = Instant::now() + Duration::from_secs(10);
        while line_status() & 1 == 0 {
            assert!(Instant::now() < deadline, "nothing arrives");
        }
        port_read::<1>(&s.machine, 0x3f8)[0]
    };
    let mut typist = UnixStream::connect(s.folder.path().join("console")).unwrap();
    typist.write_all(b"early ").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(line_status() & 1, 0, "a machine begins paused");
    s.machine.resume();
    assert_eq!(std::array::from_fn(|_| receive()), *b"early ");
    for round in 0..5 {
        s.machine.pause();
        let before = s.machine.save().unwrap();
        let text = format!("round {round}, longer than the port's FIFO");
        typist.write_all(text.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        assert!(s.machine.save().unwrap() == before, "round {round}");
        s.machine.resume();
        let heard: Vec<u8> = text.bytes().map(|_| receive()).collect();
        assert_eq!(String::from_utf8(heard).unwrap(), text);
    }
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(line_status() & 1, 0, "nothing comes twice");
}

#[test]
fn vcpu_0_enters_the_kernel_and_keeps_the_rest_of_its_power_on_state() {
    let s = setup();
    let mut state = arch_model::x86_64::CpuState::default();
    state.debug.dr6 = 0xffff_0ff0;
    s.entry.apply(&mut state);
    assert_eq!(state.registers.rip, u64::from(LOAD_ADDRESS));
    assert_eq!(state.system.cr0 & 1, 1);
    assert_eq!(state.debug.dr6, 0xffff_0ff0);
    drop(s.vm);
}
