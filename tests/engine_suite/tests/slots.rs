//! Memory that comes and goes while vCPUs run, and memory that they cannot write, on each engine.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use engine_suite::guest::Guest;
use engine_suite::layout::{DATA, PT};
use engine_suite::run::{allocate, initial};
use engine_suite::tables::{A, D, P, W};
use guest_memory::{Access, Backing, Bytes, GpaRange, GuestAddress, GuestMemory, NewSlot, PAGE_SIZE, SlotId};
use soft_engine::SoftEngine;
use vcpu_model::{Engine, GuestIo, Halt, Vcpu, VcpuIndex, Vm, VmConfig};

/// Longer than anything here takes, on a loaded machine and on one that is emulated.
const PATIENCE: Duration = Duration::from_secs(120);
const ROUNDS: u32 = 60;
const VCPUS: u32 = 2;
/// What a guest reads where there is nothing.
const NOTHING: u32 = u32::MAX;

/// Slots of one page.
const DATA_SLOT: u64 = 0x8_0000;
const CODE_SLOT: u64 = 0x9_0000;
const ROM: u64 = 0xa_0000;

/// Each vCPU has a place of its own in RAM, where RBX leads: whether it is to stand still, whether it does, how often it came
/// round, and what it found.
const PLACE_BYTES: u64 = 64;
const STANDS: u64 = 1;
const COUNT: u64 = 4;
const FOUND_DATA: u64 = 8;
const FOUND_CODE: u64 = 12;

/// 64-bit code: what is in the data slot, and what the routine in the code slot answers, over and over.
#[rustfmt::skip]
const LOOP: &[u8] = &[
    0x8a, 0x03,                                // again: mov al, [rbx]
    0x88, 0x43, 0x01,                          // mov [rbx + 1], al
    0x84, 0xc0,                                // test al, al
    0x75, 0xf7,                                // jnz again
    0x8b, 0x04, 0x25, 0x00, 0x00, 0x08, 0x00,  // mov eax, [DATA_SLOT]
    0x89, 0x43, 0x08,                          // mov [rbx + 8], eax
    0xb9, 0x00, 0x00, 0x09, 0x00,              // mov ecx, CODE_SLOT
    0xff, 0xd1,                                // call rcx
    0x89, 0x43, 0x0c,                          // mov [rbx + 12], eax
    0xff, 0x43, 0x04,                          // inc dword [rbx + 4]
    0xeb, 0xde,                                // jmp again
];

/// Reads, writes, changes and calls what is in the ROM; then says so.
#[rustfmt::skip]
const USE_ROM: &[u8] = &[
    0x8b, 0x04, 0x25, 0x00, 0x00, 0x0a, 0x00,                          // mov eax, [ROM]
    0x89, 0x03,                                                        // mov [rbx], eax
    0xc7, 0x04, 0x25, 0x00, 0x00, 0x0a, 0x00, 0x88, 0x77, 0x66, 0x55,  // mov dword [ROM], 55667788h
    0xf0, 0xff, 0x04, 0x25, 0x00, 0x00, 0x0a, 0x00,                    // lock inc dword [ROM]
    0x8b, 0x04, 0x25, 0x00, 0x00, 0x0a, 0x00,                          // mov eax, [ROM]
    0x89, 0x43, 0x04,                                                  // mov [rbx + 4], eax
    0xb9, 0x10, 0x00, 0x0a, 0x00,                                      // mov ecx, ROM + 16
    0xff, 0xd1,                                                        // call rcx
    0x89, 0x43, 0x08,                                                  // mov [rbx + 8], eax
    0xff, 0x43, 0x0c,                                                  // inc dword [rbx + 12]
    0xeb, 0xcb,                                                        // again, from the start
];

/// `mov eax, answer; ret`
fn routine(answer: u32) -> Vec<u8> {
    [&[0xb8], &answer.to_le_bytes()[..], &[0xc3]].concat()
}

#[test]
fn the_interpreter_follows() {
    all(&SoftEngine::interpreter());
}

#[test]
fn translated_code_follows() {
    all(&SoftEngine::eager());
}

#[test]
fn one_vcpu_at_a_time_follows() {
    all(&SoftEngine::one_vcpu_at_a_time());
}

#[cfg(target_arch = "x86_64")]
#[test]
fn kvm_follows() {
    match kvm_engine::KvmEngine::open(std::path::Path::new(kvm_engine::DEVICE)) {
        Ok(engine) => all(&engine),
        Err(error) => println!("SKIPPED: {error}"),
    }
}

fn all(engine: &impl Engine) {
    vcpus_see_what_is_there(engine);
    a_rom_is_read_and_executed_and_not_written(engine);
}

/// After the engine has followed no vCPU sees anything of what was there before: data, or code that it has executed a
/// thousand times.
fn vcpus_see_what_is_there(engine: &impl Engine) {
    let memory = allocate().unwrap();
    let mut code = add(&memory, CODE_SLOT, Access::Ram, &routine(0));
    run(engine, &memory, LOOP, VCPUS, &Devices::default(), |vm| {
        for round in 1..=ROUNDS {
            // Code is replaced while nobody is in it: an empty place has nothing to execute.
            places().for_each(|place| store(&memory, place, 1));
            places().for_each(|place| until(|| load::<u8>(&memory, place + STANDS) == 1));
            memory.remove(code).unwrap();
            code = add(&memory, CODE_SLOT, Access::Ram, &routine(round));
            vm.follow_memory().unwrap();
            places().for_each(|place| store(&memory, place, 0));
            assert_eq!(found(&memory), [(NOTHING, round); VCPUS as usize], "{round}");

            // Data while they read it.
            let data = add(&memory, DATA_SLOT, Access::Ram, &round.to_le_bytes());
            vm.follow_memory().unwrap();
            assert_eq!(found(&memory), [(round, round); VCPUS as usize], "{round}");
            let removed = memory.remove(data).unwrap();
            vm.follow_memory().unwrap();
            assert!(removed.is_released(), "{round}: the engine still has it");
            assert_eq!(found(&memory), [(NOTHING, round); VCPUS as usize], "{round}");
        }
    });
}

fn a_rom_is_read_and_executed_and_not_written(engine: &impl Engine) {
    let memory = allocate().unwrap();
    let devices = Devices::default();
    let contents = [&0x1122_3344_u32.to_le_bytes()[..], &[0; 12], &routine(77)].concat();
    let rom = add(&memory, ROM, Access::Rom, &contents);
    run(engine, &memory, USE_ROM, 1, &devices, |_| {
        until(|| load::<u32>(&memory, DATA + 12) > 100);
    });
    let results = [0, 4, 8].map(|at| load::<u32>(&memory, DATA + at));
    assert_eq!(results, [0x1122_3344, 0x1122_3344, 77]);
    let writes = devices.writes.lock().unwrap();
    let wanted = [(ROM, 0x5566_7788), (ROM, 0x1122_3345)];
    assert!(writes.len() > 200 && writes.chunks_exact(2).all(|pair| pair == wanted), "{:x?}", &writes[..4]);
    let mut left = vec![0; contents.len()];
    memory.slots().slot(rom).map(|_| memory.slots().frame(ROM).unwrap().read(0, &mut left)).unwrap();
    assert_eq!(left, contents);
}

/// Runs `work` while vCPUs execute `code` over and over.
fn run<E: Engine>(
    engine: &E,
    memory: &GuestMemory,
    code: &[u8],
    vcpus: u32,
    devices: &Devices,
    work: impl FnOnce(&E::Vm),
) {
    let mut guest = Guest::long(0, code);
    for address in [DATA_SLOT, CODE_SLOT, ROM] {
        guest.put64(PT + address / PAGE_SIZE * 8, address | P | W | A | D);
    }
    memory.slots().write_slice(&guest.image(), GuestAddress(0)).unwrap();
    let vm = engine.create_vm(&VmConfig::of(engine, vcpus, None).unwrap(), memory).unwrap();
    let mut cpus: Vec<_> = (0..vcpus).map(|index| vm.create_vcpu(VcpuIndex(index)).unwrap()).collect();
    for (index, cpu) in (0..).zip(&mut cpus) {
        let mut state = initial(&guest, cpu.state().unwrap());
        state.run_state = arch_model::x86_64::RunState::Running;
        state.registers.rbx = DATA + index * PLACE_BYTES;
        state.registers.rsp -= index * 0x200;
        cpu.set_state(&state).unwrap();
    }
    let kicks: Vec<_> = cpus.iter().map(Vcpu::kicker).collect();
    std::thread::scope(|scope| {
        let running = cpus.iter_mut().map(|cpu| scope.spawn(move || cpu.run(devices)));
        let running: Vec<_> = running.collect();
        // A failure in `work` must not leave the vCPUs running for ever.
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&vm)));
        kicks.iter().for_each(|kick| kick.kick());
        for thread in running {
            assert_eq!(thread.join().unwrap().unwrap(), Halt::Kicked);
        }
        worked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// Nothing but what hears writes.
#[derive(Default)]
struct Devices {
    writes: Mutex<Vec<(u64, u32)>>,
}

impl GuestIo for Devices {
    fn port_read(&self, _port: u16, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn port_write(&self, _port: u16, _data: &[u8]) {}

    fn mmio_read(&self, _address: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn mmio_write(&self, address: u64, data: &[u8]) {
        let value = data.try_into().map_or(0, u32::from_le_bytes);
        self.writes.lock().unwrap().push((address, value));
    }
}

fn add(memory: &GuestMemory, start: u64, access: Access, contents: &[u8]) -> SlotId {
    let range = GpaRange { start: GuestAddress(start), size_bytes: PAGE_SIZE };
    // Whole before anybody sees it.
    let file = tempfile::tempfile().unwrap();
    let mut page = contents.to_vec();
    page.resize(PAGE_SIZE as usize, 0);
    std::os::unix::fs::FileExt::write_all_at(&file, &page, 0).unwrap();
    let part = guest_memory::FileRange { file: file.into(), offset_bytes: 0 };
    memory.add(&NewSlot { range, access, backing: Backing::PrivateFile(part) }).unwrap()
}

fn places() -> impl Iterator<Item = u64> {
    (0..u64::from(VCPUS)).map(|index| DATA + index * PLACE_BYTES)
}

/// What each vCPU finds in a whole round from now on: data and code.
fn found(memory: &GuestMemory) -> [(u32, u32); VCPUS as usize] {
    let counts = places().map(|place| load::<u32>(memory, place + COUNT)).collect::<Vec<_>>();
    for (place, count) in places().zip(counts) {
        until(|| load::<u32>(memory, place + COUNT).wrapping_sub(count) >= 2);
    }
    std::array::from_fn(|index| {
        let place = DATA + index as u64 * PLACE_BYTES;
        (load(memory, place + FOUND_DATA), load(memory, place + FOUND_CODE))
    })
}

fn load<T: guest_memory::ByteValued>(memory: &GuestMemory, at: u64) -> T {
    memory.slots().read_obj(GuestAddress(at)).unwrap()
}

fn store(memory: &GuestMemory, at: u64, value: u8) {
    memory.slots().store(value, GuestAddress(at), Ordering::SeqCst).unwrap();
}

#[track_caller]
fn until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "the guest does not get on");
        std::thread::yield_now();
    }
}
