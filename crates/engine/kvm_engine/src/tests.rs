//! Small real-mode guests on this machine's KVM. Without `/dev/kvm` each test says that it was skipped.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use arch_model::x86_64::{CpuState, RunState};
use device_model::{EventFd, MsiMessage};
use guest_memory::{Bytes, GpaRange, GuestAddress, GuestMemory, Policy};
use host_sys::poll::new_event;
use test_guests::guest_code;
use vcpu_model::{Engine, EngineError, ExitKind, GuestIo, Halt, Kick, Vcpu, VcpuIndex, Vm, VmConfig};

use crate::{KvmEngine, KvmVcpu, KvmVm};

const CODE: u64 = 0x1000;
const RAM_BYTES: u64 = 0x20_0000;
/// A guest ends its test by writing here.
const END_PORT: u16 = 0xf4;

fn engine() -> Option<KvmEngine> {
    match KvmEngine::open(Path::new("/dev/kvm")) {
        Ok(engine) => Some(engine),
        Err(error) => {
            println!("SKIPPED: {error}");
            None
        }
    }
}

struct Setup {
    vm: KvmVm,
    memory: GuestMemory,
    vcpu: KvmVcpu,
}

fn ram() -> GuestMemory {
    let range = GpaRange { start: GuestAddress(0), size_bytes: RAM_BYTES };
    GuestMemory::allocate(&[range], Policy::default()).unwrap()
}

/// A VM with 2 MiB of RAM and `code` at 0x1000, entered in real mode.
fn setup(code: &[u8], vcpus: u32) -> Option<Setup> {
    let engine = engine()?;
    let memory = ram();
    let vm = engine.create_vm(&VmConfig::of(&engine, vcpus, None).unwrap(), &memory).unwrap();
    memory.slots().write_slice(code, GuestAddress(CODE)).unwrap();
    let mut vcpu = vm.create_vcpu(VcpuIndex(0)).unwrap();
    let mut state = vcpu.state().unwrap();
    enter_at(&mut state, CODE as u16);
    vcpu.set_state(&state).unwrap();
    Some(Setup { vm, memory, vcpu })
}

fn enter_at(state: &mut CpuState, ip: u16) {
    state.system.cs.base = 0;
    state.system.cs.selector = 0;
    state.registers.rip = ip.into();
    state.registers.rsp = 0x8000;
    state.registers.rflags = 2;
}

/// Records accesses, answers reads from a counter, kicks the vCPU when the guest writes to the end port.
struct Recorder {
    log: RefCell<Vec<String>>,
    next_read: RefCell<u8>,
    kick: Arc<dyn Kick>,
}

impl Recorder {
    fn new(vcpu: &KvmVcpu) -> Recorder {
        Recorder { log: RefCell::default(), next_read: RefCell::new(0x40), kick: vcpu.kicker() }
    }

    fn answer(&self, data: &mut [u8]) {
        let mut next = self.next_read.borrow_mut();
        for byte in data {
            *byte = *next;
            *next = next.wrapping_add(1);
        }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.log.borrow_mut())
    }
}

impl GuestIo for Recorder {
    fn port_read(&self, port: u16, data: &mut [u8]) {
        self.answer(data);
        self.log.borrow_mut().push(format!("in {port:#x} {data:02x?}"));
    }

    fn port_write(&self, port: u16, data: &[u8]) {
        if port == END_PORT {
            self.kick.kick();
        } else {
            self.log.borrow_mut().push(format!("out {port:#x} {data:02x?}"));
        }
    }

    fn mmio_read(&self, address: u64, data: &mut [u8]) {
        self.answer(data);
        self.log.borrow_mut().push(format!("load {address:#x} {data:02x?}"));
    }

    fn mmio_write(&self, address: u64, data: &[u8]) {
        self.log.borrow_mut().push(format!("store {address:#x} {data:02x?}"));
    }
}

guest_code! {
    port_accesses,
    ".code16",
    "mov al, 0x11", "out 0x50, al",
    "mov ax, 0x2233", "out 0x50, ax",
    "mov eax, 0x44556677", "out 0x50, eax",
    "in al, 0x30", "out 0x31, al",
    "mov dx, 0x32",
    "mov si, 0x1080", "mov cx, 3", "cld", "rep outsb",
    "mov di, 0x3000", "mov cx, 2", "rep insb",
    "out 0xf4, al",
    "1: hlt", "jmp 1b",
    ".org 0x80",
    ".byte 1, 2, 3",
}

#[test]
fn port_accesses_of_every_width_and_strings_one_by_one() {
    let Some(mut s) = setup(port_accesses(), 1) else { return };
    let io = Recorder::new(&s.vcpu);
    assert_eq!(s.vcpu.run(&io).unwrap(), Halt::Kicked);
    let expected = [
        "out 0x50 [11]",
        "out 0x50 [33, 22]",
        "out 0x50 [77, 66, 55, 44]",
        "in 0x30 [40]",
        "out 0x31 [40]",
        "out 0x32 [01]",
        "out 0x32 [02]",
        "out 0x32 [03]",
        "in 0x32 [41]",
        "in 0x32 [42]",
    ];
    assert_eq!(io.take(), expected);
    s.vcpu.settle(&io).unwrap();
    let mut read = [0; 2];
    s.memory.slots().read_slice(&mut read, GuestAddress(0x3000)).unwrap();
    assert_eq!(read, [0x41, 0x42]);
    assert_eq!(s.vcpu.counters().get(ExitKind::PortRead), 3);
}

guest_code! {
    mmio_accesses,
    ".code16",
    "mov ax, 0xf000", "mov ds, ax",
    "mov al, [0]",
    "mov [4], al",
    "mov word ptr [8], 0x1234",
    "mov dword ptr [12], 0x12345678",
    "mov eax, [16]",
    "mov [20], eax",
    "out 0xf4, al",
    "1: hlt", "jmp 1b",
}

#[test]
fn loads_and_stores_outside_ram_reach_the_device_world() {
    let Some(mut s) = setup(mmio_accesses(), 1) else { return };
    // RAM ends at 2 MiB: an address of 0xf0000 is inside, so the segment is moved out of RAM.
    let mut state = s.vcpu.state().unwrap();
    s.memory.slots().write_slice(&[0x90; 5], GuestAddress(CODE)).unwrap();
    state.system.ds.base = 0xd000_0000;
    s.vcpu.set_state(&state).unwrap();
    let io = Recorder::new(&s.vcpu);
    assert_eq!(s.vcpu.run(&io).unwrap(), Halt::Kicked);
    let expected = [
        "load 0xd0000000 [40]",
        "store 0xd0000004 [40]",
        "store 0xd0000008 [34, 12]",
        "store 0xd000000c [78, 56, 34, 12]",
        "load 0xd0000010 [41, 42, 43, 44]",
        "store 0xd0000014 [41, 42, 43, 44]",
    ];
    assert_eq!(io.take(), expected);
}

guest_code! { spin, ".code16", "1: inc eax", "jmp 1b" }

#[test]
fn a_kick_from_another_thread_stops_a_spinning_vcpu_once() {
    let Some(mut s) = setup(spin(), 1) else { return };
    let kick = s.vcpu.kicker();
    let io = Recorder::new(&s.vcpu);
    for _ in 0..20 {
        let other = Arc::clone(&kick);
        let thread = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(2));
            other.kick();
        });
        assert_eq!(s.vcpu.run(&io).unwrap(), Halt::Kicked);
        thread.join().unwrap();
    }
    kick.kick();
    kick.kick();
    assert_eq!(s.vcpu.run(&io).unwrap(), Halt::Kicked);
    assert!(s.vcpu.state().unwrap().registers.rax > 0);
}

guest_code! {
    triple_fault,
    ".code16",
    "lidt [0x1080]",
    "mov eax, cr0", "or eax, 1", "mov cr0, eax",
    "ud2",
    ".org 0x80",
    ".word 0", ".long 0",
}

#[test]
fn a_triple_fault_is_reported() {
    let Some(mut s) = setup(triple_fault(), 1) else { return };
    let io = Recorder::new(&s.vcpu);
    assert_eq!(s.vcpu.run(&io).unwrap(), Halt::TripleFault);
}

guest_code! {
    wait_for_interrupts,
    ".code16",
    // Vector 0x40 counts in [0x3000] and ends the interrupt (SDM vol. 3, 11.8.5); then the test ends.
    "mov word ptr [0x100], 0x1080",
    "mov word ptr [0x102], 0",
    "sti",
    "1: hlt", "jmp 1b",
    ".org 0x80",
    "inc byte ptr [0x3000]", "mov dword ptr es:[0xb0], 0", "out 0xf4, al", "iret",
}

/// A LAPIC that is enabled and accepts everything, as an operating system leaves it, at ES:0.
fn enable_lapic(state: &mut CpuState) {
    state.system.es.base = 0xfee0_0000;
    state.lapic.registers[0xf] = 0x1ff; // spurious vector register: enabled (SDM vol. 3, 11.9)
    state.lapic.registers[0xd] = 0x0100_0000; // logical destination 1
}

#[test]
fn a_vector_interrupts_a_halted_vcpu_through_its_irqfd_and_not_while_masked() {
    let Some(mut s) = setup(wait_for_interrupts(), 1) else { return };
    let mut state = s.vcpu.state().unwrap();
    enable_lapic(&mut state);
    s.vcpu.set_state(&state).unwrap();
    let vector = s.vm.msi().allocate().unwrap();
    let message = MsiMessage { address: 0xfee0_0000, data: 0x40 };
    vector.route(Some(message)).unwrap();
    let io = Recorder::new(&s.vcpu);
    vector.signal();
    assert_eq!(s.vcpu.run(&io).unwrap(), Halt::Kicked);
    assert_eq!(s.memory.slots().read_obj::<u8>(GuestAddress(0x3000)).unwrap(), 1);

    vector.route(None).unwrap();
    vector.signal();
    let kick = s.vcpu.kicker();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(30));
        kick.kick();
    });
    assert_eq!(s.vcpu.run(&io).unwrap(), Halt::Kicked);
    thread.join().unwrap();
    assert_eq!(
        s.memory.slots().read_obj::<u8>(GuestAddress(0x3000)).unwrap(),
        1,
        "masked vectors stay silent"
    );

    vector.route(Some(message)).unwrap();
    vector.signal();
    assert_eq!(s.vcpu.run(&io).unwrap(), Halt::Kicked);
    assert_eq!(s.memory.slots().read_obj::<u8>(GuestAddress(0x3000)).unwrap(), 2);
}

#[test]
fn an_ioapic_input_interrupts_and_its_state_round_trips() {
    let Some(mut s) = setup(wait_for_interrupts(), 1) else { return };
    let mut state = s.vcpu.state().unwrap();
    enable_lapic(&mut state);
    s.vcpu.set_state(&state).unwrap();
    let mut platform = s.vm.platform_state().unwrap();
    platform.ioapic.pins[4].0 = 0x40; // edge, fixed, physical destination 0, unmasked
    s.vm.set_platform_state(&platform).unwrap();
    assert_eq!(s.vm.platform_state().unwrap().ioapic, platform.ioapic);
    let io = Recorder::new(&s.vcpu);
    s.vm.irq_line(4).pulse();
    assert_eq!(s.vcpu.run(&io).unwrap(), Halt::Kicked);
    assert_eq!(s.memory.slots().read_obj::<u8>(GuestAddress(0x3000)).unwrap(), 1);
}

guest_code! {
    ring_doorbell,
    ".code16",
    "mov cx, 5",
    "1: mov word ptr [0x10], cx", "dec cx", "jnz 1b",
    "out 0xf4, al",
    "2: hlt", "jmp 2b",
}

#[test]
fn a_doorbell_rings_without_an_exit_until_it_is_detached() {
    let Some(mut s) = setup(ring_doorbell(), 1) else { return };
    let run_again = |vcpu: &mut KvmVcpu| {
        let mut state = vcpu.state().unwrap();
        enter_at(&mut state, CODE as u16);
        state.system.ds.base = 0xd000_0000;
        vcpu.set_state(&state).unwrap();
    };
    let event: EventFd = new_event().unwrap();
    let doorbells = s.vm.doorbells();
    if !doorbells.attach(0xd000_0010, &event).unwrap() {
        println!("SKIPPED: this KVM has no ioeventfd of any length");
        return;
    }
    let io = Recorder::new(&s.vcpu);
    run_again(&mut s.vcpu);
    assert_eq!(s.vcpu.run(&io).unwrap(), Halt::Kicked);
    assert_eq!((io.take().len(), event.read().unwrap()), (0, 5));
    doorbells.detach(0xd000_0010, &event).unwrap();
    run_again(&mut s.vcpu);
    assert_eq!(s.vcpu.run(&io).unwrap(), Halt::Kicked);
    assert_eq!(io.take().len(), 5);
    assert!(event.read().is_err());
}

guest_code! {
    write_three_pages,
    ".code16",
    "mov byte ptr [0x5000], 1", "mov byte ptr [0x7004], 1", "mov byte ptr [0x9ffc], 1",
    "out 0xf4, al",
    "2: hlt", "jmp 2b",
}

#[test]
fn the_dirty_log_holds_what_vcpus_and_devices_wrote() {
    let Some(mut s) = setup(write_three_pages(), 1) else { return };
    s.vm.start_dirty_log().unwrap();
    s.vm.take_dirty_log().unwrap();
    s.memory.slots().take_device_dirty();
    let io = Recorder::new(&s.vcpu);
    assert_eq!(s.vcpu.run(&io).unwrap(), Halt::Kicked);
    s.memory.slots().write_obj(7u8, GuestAddress(0xb123)).unwrap();
    let mut dirty = s.vm.take_dirty_log().unwrap();
    dirty.merge(&s.memory.slots().take_device_dirty());
    let pages: Vec<u64> = dirty.iter().collect();
    for page in [0x5000, 0x7000, 0x9000, 0xb000] {
        assert!(pages.contains(&page), "{page:#x} in {pages:x?}");
    }
    assert!(!pages.contains(&0x10_0000), "an untouched page is clean");
    assert_eq!(s.vm.take_dirty_log().unwrap().count(), 0);
    s.vm.stop_dirty_log().unwrap();
}

guest_code! {
    count_and_report,
    ".code16",
    "inc ebx",
    "out 0xf4, al",
    "inc ebx", "add edi, ebx",
    "mov al, bl", "out 0x50, al",
    "out 0xf4, al",
    "2: hlt", "jmp 2b",
}

#[test]
fn a_vcpu_goes_on_in_another_vm_from_its_saved_state() {
    let Some(mut first) = setup(count_and_report(), 1) else { return };
    let io = Recorder::new(&first.vcpu);
    assert_eq!(first.vcpu.run(&io).unwrap(), Halt::Kicked);
    first.vcpu.settle(&io).unwrap();
    let mut state = first.vcpu.state().unwrap();
    state.check(&VmConfig::of(&engine().unwrap(), 1, None).unwrap().cpuid).unwrap();
    state.registers.r15 = 0x1234_5678_9abc_def0;
    state.debug.addresses[1] = 0x1000;
    state.extended.xsave[160..176].copy_from_slice(&[7; 16]); // XMM0
    state.extended.xsave[512] |= 3;
    state.lapic.registers[0x8] = 0x20; // task priority
    let kernel_gs_base = arch_model::x86_64::msr::KERNEL_GS_BASE;
    state.msrs.iter_mut().filter(|msr| msr.index == kernel_gs_base).for_each(|msr| msr.value = 0xdead_0000);

    let mut second = setup(count_and_report(), 1).unwrap();
    second.vcpu.set_state(&state).unwrap();
    let again = second.vcpu.state().unwrap();
    assert_eq!(again.registers, state.registers);
    assert_eq!(again.system, arch_model::x86_64::SystemRegisters { cr8: 2, ..state.system });
    assert_eq!(again.debug, state.debug);
    assert_eq!(again.extended, state.extended);
    assert_eq!(again.events, state.events);
    assert_eq!(again.run_state, RunState::Running);
    assert_eq!(again.lapic.registers[0x8], 0x20);
    assert_eq!(again.msr(kernel_gs_base), Some(0xdead_0000));
    let io = Recorder::new(&second.vcpu);
    assert_eq!(second.vcpu.run(&io).unwrap(), Halt::Kicked);
    assert_eq!(io.take(), ["out 0x50 [02]"]);
}

guest_code! {
    start_the_other,
    ".code16",
    // INIT, then start-up IPI with vector 2 (0x2000), both to APIC 1, through the LAPIC at DS:0.
    "mov dword ptr [0x310], 0x01000000",
    "mov dword ptr [0x300], 0x00004500",
    "mov dword ptr [0x310], 0x01000000",
    "mov dword ptr [0x300], 0x00004602",
    "1: hlt", "jmp 1b",
}
guest_code! { the_other, ".code16", "mov al, 0x77", "out 0x50, al", "out 0xf4, al", "1: hlt", "jmp 1b" }

#[test]
fn an_application_processor_waits_for_its_start_up_ipi() {
    let Some(mut s) = setup(start_the_other(), 2) else { return };
    s.memory.slots().write_slice(the_other(), GuestAddress(0x2000)).unwrap();
    let mut state = s.vcpu.state().unwrap();
    state.system.ds.base = 0xfee0_0000;
    enable_lapic(&mut state);
    s.vcpu.set_state(&state).unwrap();
    let mut other = s.vm.create_vcpu(VcpuIndex(1)).unwrap();
    assert_eq!(other.state().unwrap().run_state, RunState::Uninitialized);
    let (bootstrap_kick, other_kick) = (s.vcpu.kicker(), other.kicker());
    let log = std::thread::scope(|scope| {
        let running = scope.spawn(move || {
            let io = Recorder::new(&other);
            assert_eq!(other.run(&io).unwrap(), Halt::Kicked);
            bootstrap_kick.kick();
            io.take()
        });
        scope.spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(500));
            other_kick.kick();
        });
        let io = Recorder::new(&s.vcpu);
        assert_eq!(s.vcpu.run(&io).unwrap(), Halt::Kicked);
        running.join().unwrap()
    });
    assert_eq!(log, ["out 0x50 [77]"]);
}

#[test]
fn up_to_64_vcpus_and_no_more() {
    let Some(engine) = engine() else { return };
    let vm = engine.create_vm(&VmConfig::of(&engine, 64, None).unwrap(), &ram()).unwrap();
    let vcpus: Vec<_> = (0..64).map(|index| vm.create_vcpu(VcpuIndex(index)).unwrap()).collect();
    assert_eq!(vcpus.len(), 64);
    for vcpus in [0, 65] {
        let refused = engine.create_vm(&VmConfig::of(&engine, vcpus, None).unwrap(), &ram());
        assert!(matches!(refused, Err(EngineError::Unsupported(_))));
    }
}

#[test]
fn a_missing_or_foreign_device_is_explained() {
    let missing = KvmEngine::open(Path::new("/nonexistent/kvm")).err().unwrap().to_string();
    assert!(missing.contains("not there"), "{missing}");
    let foreign = KvmEngine::open(Path::new("/dev/null")).err().unwrap().to_string();
    assert!(foreign.contains("does not answer as KVM"), "{foreign}");
}

#[test]
fn the_probe_comes_to_a_verdict() {
    let Some(engine) = engine() else { return };
    let report = engine.probe().unwrap();
    println!("{report:?}");
    assert_eq!(report.instructions, 3000);
}
