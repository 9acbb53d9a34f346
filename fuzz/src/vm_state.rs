//! Whole saved states: read, checked, and given to a machine.
//!
//! Checksums are made right, so that what is behind them is reached. A state that is believed round-trips; the machine that
//! it describes can be put together or is refused; its devices take their states or refuse them; and whatever they took,
//! they can go on, stop, and be saved again.

use std::sync::{Arc, OnceLock};

use device_model::fake::FakePower;
use machine::{Backends, Machine, Sinks};
use tempfile::TempDir;
use test_guests::guests::{self, LOAD_ADDRESS};
use test_guests::pvh_elf;
use vcpu_model::fake::FakeEngine;
use vcpu_model::{Engine, Vcpu, VcpuIndex, Vm, VmConfig};
use vm_spec::{BootSpec, ConsoleSpec, HostFacts, KernelSpec, VmSpec, resolve};
use vm_state::VmState;

use crate::Seed;

/// RAM of machines that are put together; a state that wants more is read and checked only.
const RAM_MAX_BYTES: u64 = 64 << 20;
/// Bytes before the table of sections, and of each of its entries; see `vm_state`'s `file.rs`.
const HEAD_BYTES: usize = 52;
const ENTRY_BYTES: usize = 24;

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut bytes = data.to_vec();
    make_checksums_right(&mut bytes);
    let Ok(state) = VmState::from_bytes(&bytes) else { return };
    let again = state.to_bytes().expect("what was read is written");
    assert_eq!(VmState::from_bytes(&again).as_ref(), Ok(&state));
    if state.blueprint.memory.ram_bytes() <= RAM_MAX_BYTES {
        go_on(&state);
    }
}

fn go_on(state: &VmState) {
    let host = Host::get();
    let blueprint = &state.blueprint;
    let Ok(memory) = Machine::allocate_ram(&blueprint.memory, false) else { return };
    let config = VmConfig { vcpus: blueprint.cpus.get(), cpuid: blueprint.cpuid.clone() };
    let vm = FakeEngine::default().create_vm(&config, &memory).expect("a VM of the fake engine");
    let power = Arc::new(FakePower::default());
    let Ok(machine) = Machine::assemble(blueprint, &vm, &memory, &host.backends, Sinks::all_to(power)) else {
        return;
    };
    machine.pause();
    let restored = machine.restore(&state.devices);
    machine.resume();
    machine.pause();
    let saved = machine.save().expect("a paused machine is saved");
    assert!(saved.iter().map(|device| device.id.as_str()).eq(blueprint.ids()));
    if restored.is_ok() {
        let other = VmState { devices: saved, ..state.clone() };
        other.check().expect("what is saved is whole");
    }
}

/// Puts in the checksums that belong to what is there.
fn make_checksums_right(bytes: &mut [u8]) {
    let number = |bytes: &[u8], at: usize| {
        let four = bytes.get(at..at + 4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]));
        four.unwrap_or(0) as usize
    };
    let count = number(bytes, HEAD_BYTES - 4).min(4);
    for index in 0..count {
        let at = HEAD_BYTES + index * ENTRY_BYTES;
        let (offset, length) = (number(bytes, at + 8), number(bytes, at + 16));
        let Some(section) = bytes.get(offset..offset.saturating_add(length)) else { continue };
        let crc = crc32c::crc32c(section).to_le_bytes();
        if let Some(place) = bytes.get_mut(at + 4..at + 8) {
            place.copy_from_slice(&crc);
        }
    }
    let end = HEAD_BYTES + count * ENTRY_BYTES;
    if let Some(table) = bytes.get(..end) {
        let crc = crc32c::crc32c(table).to_le_bytes();
        if let Some(place) = bytes.get_mut(end..end + 4) {
            place.copy_from_slice(&crc);
        }
    }
}

/// What is behind the machine, opened once.
struct Host {
    spec: VmSpec,
    backends: Backends,
    _folder: TempDir,
}

impl Host {
    fn get() -> &'static Host {
        static HOST: OnceLock<Host> = OnceLock::new();
        HOST.get_or_init(|| {
            let folder = tempfile::tempdir().expect("a folder");
            let (kernel, disk) = (folder.path().join("kernel"), folder.path().join("disk"));
            std::fs::write(&kernel, pvh_elf(guests::hello(), LOAD_ADDRESS)).expect("a kernel");
            std::fs::write(&disk, vec![7; 1 << 16]).expect("a disk");
            let disk = format!("path={}", disk.display()).parse().expect("a disk");
            let spec = VmSpec {
                memory: "2M".parse().expect("a size"),
                disks: vec![disk],
                console: ConsoleSpec::None,
                virtio_console: Some(ConsoleSpec::None),
                ..VmSpec::new("fuzz".parse().expect("a name"), BootSpec::Kernel(KernelSpec::new(kernel)))
            };
            let backends = Backends::open(&spec, || {}).expect("files that were just written");
            Host { spec, backends, _folder: folder }
        })
    }
}

/// The state of a machine that was just put together.
pub fn seeds() -> Vec<Seed> {
    let Host { spec, backends, .. } = Host::get();
    let facts = HostFacts { cpuid: vec![], tsc_khz: None, backends: backends.facts() };
    let blueprint = resolve(spec, &facts, None).expect("a machine");
    let memory = Machine::allocate_ram(&blueprint.memory, false).expect("2 MiB");
    let config = VmConfig { vcpus: 1, cpuid: vec![] };
    let vm = FakeEngine::default().create_vm(&config, &memory).expect("a VM of the fake engine");
    let power = Arc::new(FakePower::default());
    let machine =
        Machine::assemble(&blueprint, &vm, &memory, backends, Sinks::all_to(power)).expect("a machine");
    machine.pause();
    let vcpu = vm.create_vcpu(VcpuIndex(0)).expect("a vCPU");
    let state = VmState {
        devices: machine.save().expect("its devices"),
        platform: vm.platform_state().expect("its platform"),
        vcpus: vec![vcpu.state().expect("its vCPU")],
        blueprint,
    };
    vec![("fresh", state.to_bytes().expect("its bytes"))]
}
