//! The engine's side: a vCPU in the little operating system, from a block's first instruction to its end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arch_model::x86_64::{
    CpuModel, CpuState, DescriptorTable, ExtendedState, MsrValue, Registers, RunState, Segment,
    SystemRegisters,
};
use guest_memory::{Bytes, GpaRange, GuestAddress, GuestMemory, Policy};
use soft_engine::probe::{Outcome, UserState};
use soft_engine::{SoftEngine, SoftVcpu};
use vcpu_model::{Engine, GuestIo, Halt, Kick, Vcpu, VcpuIndex, Vm, VmConfig};

use super::image::{
    self, Apic, CODE_FRAME, DATA_FRAME, PORT, RAM_SIZE, STACK, STUBS, SYSTEM, USER_CODE, USER_DATA,
};
use super::storm::Storm;
use crate::case::{Case, Line, Scope};
use crate::layout::{BLOCK_CODE, LINE, background};

/// A block that takes more than twice as long, and that several times, never ends.
pub const PATIENCE: Duration = Duration::from_millis(20);
const ATTEMPTS: usize = 3;
/// IA32_TSC, which differs from run to run.
const TSC: u32 = 0x10;
/// RFLAGS.RF, which is the delivery's own.
const RF: u64 = 1 << 16;
/// CR0, CR4, EFER of a 64-bit operating system with everything that programs can use (SDM vol. 3, 2.5).
const CR0: u64 = 0x8005_0033;
const CR4: u64 = 0x5_0e20;
const EFER: u64 = 0xd01;
const XSTATE_BV: usize = 512;
const YMM_HIGH: usize = 576;

/// How a block is executed, and what about interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The program may switch interrupts off and on and write to the local APIC.
    pub open: bool,
    /// Another thread sends interrupts.
    pub storm: bool,
}

/// Everything that a run leaves.
pub struct Ending {
    /// All registers, in the stub.
    pub state: CpuState,
    /// All of RAM.
    pub ram: Vec<u8>,
}

/// A vCPU, used for one block after the other.
pub struct Machine {
    memory: GuestMemory,
    vcpu: SoftVcpu,
    storm: Storm,
    power_on: CpuState,
    background: Vec<u8>,
    watch: Arc<AtomicU64>,
}

impl Machine {
    /// A machine of `engine`, with all that it can offer, which waits so long for a block's end.
    pub fn new(engine: SoftEngine, patience: Duration) -> io::Result<Machine> {
        let range = GpaRange { start: GuestAddress(0), size_bytes: RAM_SIZE as u64 };
        let policy = Policy { huge_pages: false, ..Policy::default() };
        let memory = GuestMemory::allocate(&[range], policy).map_err(io::Error::other)?;
        let config = VmConfig::of(&engine, 1, Some(CpuModel::Host)).map_err(io::Error::other)?;
        let vm = engine.create_vm(&config, &memory).map_err(io::Error::other)?;
        let vcpu = vm.create_vcpu(VcpuIndex(0)).map_err(io::Error::other)?;
        let power_on = vcpu.state().map_err(io::Error::other)?;
        let watch = watch(vcpu.kicker(), patience);
        let vector = vm.msi().allocate()?;
        let storm = Storm::new(vector, memory.clone())?;
        Ok(Machine { memory, vcpu, storm, power_on, background: background().to_vec(), watch })
    }

    /// Runs a block to its end; `None` if it has none.
    pub fn run(&mut self, case: &Case, setting: Setting) -> io::Result<Option<Ending>> {
        for _ in 0..ATTEMPTS {
            if let Some(ending) = self.attempt(case, setting)? {
                return Ok(Some(ending));
            }
        }
        Ok(None)
    }

    fn attempt(&mut self, case: &Case, setting: Setting) -> io::Result<Option<Ending>> {
        let lazy = matches!(case.scope, Scope::Block { lazy: true });
        let apic = match setting {
            Setting { open: true, .. } => Apic::Program,
            Setting { storm: true, .. } => Apic::System,
            _ => Apic::Absent,
        };
        let mut ram = image::build(lazy, apic);
        ram[DATA_FRAME as usize..][..self.background.len()].copy_from_slice(&self.background);
        for Line { index, bytes } in case.lines() {
            ram[DATA_FRAME as usize + usize::from(*index) * LINE..][..LINE].copy_from_slice(bytes);
        }
        let start = (CODE_FRAME + case.state.rip - BLOCK_CODE) as usize;
        let room = (DATA_FRAME as usize - start).min(case.code().len());
        ram[start..start + room].copy_from_slice(&case.code()[..room]);
        self.memory.slots().write_slice(&ram, GuestAddress(0)).map_err(io::Error::other)?;
        self.vcpu.set_state(&self.initial(&case.state, setting)).map_err(io::Error::other)?;
        self.watch.fetch_add(1, Ordering::Relaxed);
        let io = EndPort(self.vcpu.kicker());
        if setting.storm {
            self.storm.rise();
        }
        let halt = self.vcpu.run(&io);
        if setting.storm {
            self.storm.calm();
        }
        let halt = halt.map_err(io::Error::other)?;
        self.watch.fetch_add(1, Ordering::Relaxed);
        self.vcpu.settle(&io).map_err(io::Error::other)?;
        let mut state = self.vcpu.state().map_err(io::Error::other)?;
        state.msrs.retain(|msr| msr.index != TSC);
        self.memory.slots().read_slice(&mut ram, GuestAddress(0)).map_err(io::Error::other)?;
        // Behind the OUT.
        let rip = state.registers.rip;
        let in_stub = rip.wrapping_sub(SYSTEM + STUBS) < 0x1000 && rip % 16 == 2;
        Ok((halt == Halt::Kicked && in_stub).then_some(Ending { state, ram }))
    }

    fn initial(&self, user: &UserState, setting: Setting) -> CpuState {
        let mut state = self.power_on.clone();
        let iopl = if setting.open { 3 << 12 } else { 0 };
        state.registers = Registers::numbered(user.gpr, user.rip, user.rflags | iopl);
        let system = &mut state.system;
        let flat = |selector: u16| image::descriptor(selector).segment(selector);
        let null = Segment { dpl: 3, unusable: true, ..Segment::default() };
        let table = |base: u64, limit| DescriptorTable { base: SYSTEM + base, limit };
        *system = SystemRegisters {
            cs: flat(USER_CODE),
            ss: flat(USER_DATA),
            ds: null,
            es: null,
            fs: Segment { base: user.fs_base, ..null },
            gs: Segment { base: user.gs_base, ..null },
            tr: Segment { base: SYSTEM + image::TSS, ..flat(image::TASK) },
            ldt: Segment { unusable: true, ..Segment::default() },
            gdt: table(image::GDT, 0x4f),
            idt: table(image::IDT, 0xfff),
            cr0: CR0,
            cr2: 0,
            cr3: image::PML4,
            cr4: CR4,
            efer: EFER,
            ..*system
        };
        state.extended = extended(user);
        state.run_state = RunState::Running;
        state.msrs.retain(|msr: &MsrValue| msr.index != TSC);
        if let Some(spurious) = state.lapic.registers.get_mut(0xf) {
            // Enabled, spurious vector 255 (SDM vol. 3, 11.9).
            *spurious = 0x1ff;
        }
        state
    }
}

fn extended(user: &UserState) -> ExtendedState {
    let mut xsave = vec![0; YMM_HIGH + size_of_val(&user.ymm_high)];
    xsave[..XSTATE_BV].copy_from_slice(&user.fxsave);
    xsave[XSTATE_BV] = 7;
    xsave[YMM_HIGH..].copy_from_slice(user.ymm_high.as_flattened());
    ExtendedState { xsave, xcr0: 7 }
}

/// A thread that ends the run of a block that does not end itself; it is told by an odd number that one is on its way.
fn watch(kick: Arc<dyn Kick>, patience: Duration) -> Arc<AtomicU64> {
    let number = Arc::new(AtomicU64::new(0));
    let watched = Arc::downgrade(&number);
    std::thread::spawn(move || {
        let mut last = 0;
        while let Some(number) = watched.upgrade() {
            let now = number.load(Ordering::Relaxed);
            drop(number);
            if now % 2 == 1 && now == last {
                kick.kick();
            }
            last = now;
            std::thread::sleep(patience);
        }
    });
    number
}

struct EndPort(Arc<dyn Kick>);

impl GuestIo for EndPort {
    fn port_read(&self, _port: u16, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn port_write(&self, port: u16, _data: &[u8]) {
        if port == PORT {
            self.0.kick();
        }
    }

    fn mmio_read(&self, _address: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn mmio_write(&self, _address: u64, _data: &[u8]) {}
}

impl Ending {
    /// How the block ended, and what the program's registers were then.
    pub fn outcome(&self, case: &Case) -> (Outcome, UserState) {
        let registers = &self.state.registers;
        let vector = (registers.rip.wrapping_sub(SYSTEM + STUBS) / 16) as u8;
        let mut at = (registers.rsp.wrapping_sub(SYSTEM)).min(STACK);
        let mut take = || {
            let bytes = self.ram.get(at as usize..at as usize + 8).and_then(|bytes| bytes.try_into().ok());
            at += 8;
            bytes.map_or(0, u64::from_le_bytes)
        };
        let error = if matches!(vector, 8 | 10..=14 | 17) { take() as u32 } else { 0 };
        let (rip, _cs, rflags, rsp) = (take(), take(), take(), take());
        let mut user = self.user(rip, rflags & !RF, rsp);
        let end = case.state.rip.wrapping_add(u64::from(case.len) + 1);
        if vector == 3 && rip == end {
            user.rip -= 1;
            return (Outcome::Done, user);
        }
        let cr2 = if vector == 14 { self.state.system.cr2 } else { 0 };
        (Outcome::Exception { vector, error, cr2 }, user)
    }

    fn user(&self, rip: u64, rflags: u64, rsp: u64) -> UserState {
        let Registers { rax, rbx, rcx, rdx, rsi, rdi, rbp, .. } = self.state.registers;
        let Registers { r8, r9, r10, r11, r12, r13, r14, r15, .. } = self.state.registers;
        let mut user = UserState {
            gpr: [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15],
            rip,
            rflags,
            fs_base: self.state.system.fs.base,
            gs_base: self.state.system.gs.base,
            ..UserState::default()
        };
        let area = &self.state.extended.xsave;
        user.fxsave.copy_from_slice(&area[..XSTATE_BV]);
        user.ymm_high.as_flattened_mut().copy_from_slice(&area[YMM_HIGH..YMM_HIGH + 256]);
        user
    }

    /// How many interrupts were taken, up to 255.
    pub fn interrupts(&self) -> u64 {
        self.ram[image::LOG_COUNT as usize].into()
    }

    /// The data that can be written.
    pub fn data(&self, size: usize) -> &[u8] {
        &self.ram[DATA_FRAME as usize..][..size]
    }

    /// What is where the block's code was.
    pub fn code(&self, case: &Case) -> &[u8] {
        let start = (CODE_FRAME + case.state.rip - BLOCK_CODE) as usize;
        &self.ram[start..(start + case.code.len()).min(DATA_FRAME as usize)]
    }
}
