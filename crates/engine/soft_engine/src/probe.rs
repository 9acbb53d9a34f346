//! One instruction at a time, from a given user-mode state to the state after it: what the differential fuzzer
//! compares with the host's processor. Not part of the engine's interface.

use std::sync::Arc;

use arch_model::x86_64::Segment;
use arch_model::x86_64::cpuid::Cpuid;
use guest_memory::{Frame, GpaRange, GuestAddress, GuestMemory, PAGE_SIZE, Policy, Slots};
use iced_x86::CpuidFeature;
use vcpu_model::{ExitCounters, GuestIo};

use crate::cpu::mode::{cr0, cr4, efer};
use crate::cpu::state::{legacy_area, legacy_fpu};
use crate::cpu::{Core, Cpu, Exec, Raised, Surroundings, gpr, seg};
use crate::decode::block::BlockCache;
use crate::decode::insn::{Handler, prefix};
use crate::exec;
use crate::features::{self, Features};
use crate::jit::{Jit, Ran};
use crate::memory::space::Space;
use crate::platform::Lapic;
use crate::shared::Shared;
use crate::tiers::{CODE_BYTES, Tiers};

/// RAM: page tables from the bottom, the program's pages from [`FIRST_PAGE`].
const RAM_SIZE: u64 = 1 << 20;
/// Top-level page table; the others follow it.
const TABLES: u64 = 0x1000;
/// Where the program's pages lie in RAM.
const FIRST_PAGE: u64 = 0x40000;
/// Page-table entry: present, user, accessed, dirty (SDM vol. 3, table 4-20).
const ENTRY: u64 = 0x65;
const ENTRY_WRITABLE: u64 = 2;
/// Selectors that Linux gives its programs.
const USER_CODE: u16 = 0x33;
const USER_CODE_32: u16 = 0x23;
const USER_DATA: u16 = 0x2b;
/// Calls of a handler for one instruction: those that repeat hand control back now and then.
const REPEATS_MAX: u32 = 4096;

/// What a user program sees of its processor.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserState {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.
    pub gpr: [u64; 16],
    /// RIP.
    pub rip: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// Base of FS.
    pub fs_base: u64,
    /// Base of GS.
    pub gs_base: u64,
    /// x87, MMX, XMM and MXCSR as FXSAVE64 stores them (SDM vol. 1, table 10-2).
    pub fxsave: [u8; 512],
    /// Upper halves of YMM0 to YMM15.
    pub ymm_high: [[u8; 16]; 16],
}

impl Default for UserState {
    fn default() -> UserState {
        UserState {
            gpr: [0; 16],
            rip: 0,
            rflags: 2,
            fs_base: 0,
            gs_base: 0,
            fxsave: [0; 512],
            ymm_high: [[0; 16]; 16],
        }
    }
}

/// How an instruction ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It completed.
    Done,
    /// It raised an exception.
    Exception {
        /// Vector.
        vector: u8,
        /// Error code, 0 where there is none.
        error: u32,
        /// Linear address of a page fault, 0 otherwise.
        cr2: u64,
    },
}

/// One page of the program.
#[derive(Clone, Copy, Debug)]
pub struct ProgramPage {
    /// Linear address.
    pub address: u64,
    /// Writable rather than read-only.
    pub writable: bool,
}

/// A VM with a program's pages.
pub struct ProbeVm {
    shared: Arc<Shared>,
    space: Arc<Space>,
    lapic: Lapic,
    cpuid: Cpuid,
    features: Features,
    counters: ExitCounters,
    pages: Vec<(u64, u64)>,
}

/// What executes the instructions of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// The handlers.
    Interpreter,
    /// Each instruction is translated by itself.
    Jit,
}

/// Nothing outside RAM.
struct NoDevices;

impl GuestIo for NoDevices {
    fn port_read(&self, _port: u16, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn port_write(&self, _port: u16, _data: &[u8]) {}

    fn mmio_read(&self, _address: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn mmio_write(&self, _address: u64, _data: &[u8]) {}
}

impl ProbeVm {
    /// A VM whose processor has those extensions in `cpuid` that the engine executes, whether or not it offers them
    /// to guests. `None` if there is no memory for it.
    pub fn new(cpuid: Cpuid, pages: &[ProgramPage]) -> Option<ProbeVm> {
        let range = GpaRange { start: GuestAddress(0), size_bytes: RAM_SIZE };
        let policy = Policy { huge_pages: false, mergeable: false };
        let memory = GuestMemory::allocate(&[range], policy).ok()?;
        let features = Features::of(&cpuid);
        let shared = Shared::new(memory, cpuid.clone(), 1, Tiers::INTERPRETER);
        let space = shared.space();
        let places = (0u64..).map(|index| FIRST_PAGE + index * PAGE_SIZE);
        let mut tables_end = TABLES + PAGE_SIZE;
        for (page, gpa) in pages.iter().zip(places.clone()) {
            map(&space.slots, *page, gpa, &mut tables_end)?;
        }
        let pages = pages.iter().map(|page| page.address).zip(places).collect();
        let lapic = Lapic::new(Arc::clone(&shared.platform), 0);
        Some(ProbeVm { shared, space, lapic, cpuid, features, counters: ExitCounters::default(), pages })
    }

    /// A VM whose processor has what guests are offered, whatever the host has.
    pub fn offered(pages: &[ProgramPage]) -> Option<ProbeVm> {
        ProbeVm::new(features::offered(), pages)
    }

    /// Whether the VM's processor has `feature`.
    pub fn has(&self, feature: CpuidFeature) -> bool {
        self.features.has(feature)
    }

    /// Whether guests of the engine are offered `feature`.
    pub fn is_offered(feature: CpuidFeature) -> bool {
        Features::of(&features::offered()).has(feature)
    }

    /// A processor in this VM.
    pub fn probe(&mut self, tier: Tier) -> Probe<'_> {
        let ProbeVm { shared, space, lapic, cpuid, features, counters, pages } = self;
        let around = Surroundings { index: 0, shared, space, cpuid, io: &NoDevices, counters };
        let core = Core::new(user_cpu(), lapic, around);
        let mut core = core;
        let jit = (tier == Tier::Jit).then(|| Jit::new(features.clone(), 1, 0, CODE_BYTES)).flatten().map(
            |mut jit| {
                jit.begin(&mut core);
                jit
            },
        );
        Probe { pages, memory: &space.slots, core, jit, blocks: BlockCache::new(features.clone()) }
    }
}

/// Maps one page in 4-level tables, which grow at `tables_end`.
fn map(memory: &Slots, page: ProgramPage, gpa: u64, tables_end: &mut u64) -> Option<()> {
    let mut table = TABLES;
    for level in [39, 30, 21] {
        let frame = memory.frame(table)?;
        let slot = (page.address >> level & 0x1ff) as usize * 8;
        if frame.load::<u64>(slot) == 0 {
            frame.store(slot, *tables_end | ENTRY | ENTRY_WRITABLE);
            *tables_end += PAGE_SIZE;
        }
        table = frame.load::<u64>(slot) & !(PAGE_SIZE - 1);
    }
    let writable = if page.writable { ENTRY_WRITABLE } else { 0 };
    memory.frame(table)?.store((page.address >> 12 & 0x1ff) as usize * 8, gpa | ENTRY | writable);
    Some(())
}

/// 64-bit mode at CPL 3 as an operating system sets it up.
fn user_cpu() -> Cpu {
    let mut cpu = Cpu::power_on(0, 0);
    cpu.cr0 = cr0::PE | cr0::MP | cr0::ET | cr0::NE | cr0::WP | cr0::AM | cr0::PG;
    cpu.cr4 = cr4::PAE | cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::FSGSBASE | cr4::OSXSAVE | cr4::UMIP;
    cpu.efer = efer::SCE | efer::LME | efer::LMA | efer::NXE;
    cpu.cr3 = TABLES;
    cpu.xcr0 = 7;
    cpu.cpl = 3;
    let flat = Segment {
        limit: u32::MAX,
        dpl: 3,
        code_or_data: true,
        present: true,
        granular: true,
        ..Segment::default()
    };
    let null = Segment { dpl: 3, unusable: true, ..Segment::default() };
    // A task without a map of ports, and no descriptors.
    cpu.tr = Segment { kind: 11, present: true, ..Segment::default() };
    (cpu.gdt.limit, cpu.ldt.limit) = (0, 0);
    cpu.segments = [null; 6];
    cpu.segments[seg::CS] = Segment { selector: USER_CODE, kind: 11, long: true, ..flat };
    cpu.segments[seg::SS] = Segment { selector: USER_DATA, kind: 3, default_big: true, ..flat };
    cpu
}

/// A processor that executes one instruction at a time.
pub struct Probe<'v> {
    pages: &'v [(u64, u64)],
    memory: &'v Slots,
    core: Core<'v>,
    jit: Option<Jit>,
    blocks: BlockCache,
}

impl<'v> Probe<'v> {
    /// Copies `bytes` to a linear address, whatever the page's protection. They stay in one page of the program;
    /// others are left alone.
    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        if let Some(frame) = self.frame(address) {
            frame.write((address % PAGE_SIZE) as usize, bytes);
        }
    }

    /// Copies bytes of one page from a linear address.
    pub fn read(&self, address: u64, out: &mut [u8]) {
        if let Some(frame) = self.frame(address) {
            frame.read((address % PAGE_SIZE) as usize, out);
        }
    }

    /// Executes in 64-bit mode, or in compatibility mode with segments of 32 bits, from now on.
    pub fn set_bits(&mut self, bits: u32) {
        let wide = bits == 64;
        let cpu = &mut self.core.cpu;
        let (code, data) = if wide { (USER_CODE, 0) } else { (USER_CODE_32, USER_DATA) };
        let stack = cpu.segments[seg::SS];
        let code_segment = &mut cpu.segments[seg::CS];
        (code_segment.selector, code_segment.base) = (code, 0);
        (code_segment.long, code_segment.default_big) = (wide, !wide);
        let null = Segment { dpl: 3, unusable: true, ..Segment::default() };
        for register in [seg::DS, seg::ES] {
            cpu.segments[register] = if wide { null } else { Segment { selector: data, ..stack } };
        }
        self.core.update_mode();
    }

    /// Executes in compatibility mode from now on, with 16-bit code in a segment that begins at `code`, where RIP counts
    /// from, and data in segments that begin at `data`.
    pub fn set_small_code(&mut self, code: u64, data: u64) {
        self.set_bits(32);
        let cpu = &mut self.core.cpu;
        (cpu.segments[seg::CS].default_big, cpu.segments[seg::CS].base) = (false, code);
        for register in [seg::DS, seg::ES] {
            cpu.segments[register].base = data;
        }
        self.core.update_mode();
    }

    /// Whether the engine has something for the instruction at `rip` to do but raising #UD.
    pub fn executes(&mut self, rip: u64) -> bool {
        self.core.cpu.rip = rip;
        let found = self.blocks.one_at_rip(&mut self.core).map(|insn| insn.run);
        found.is_ok_and(|run| !std::ptr::fn_addr_eq(run, exec::undefined as Handler))
    }

    /// Executes the instruction at `state.rip`.
    pub fn step(&mut self, state: &mut UserState) -> Outcome {
        self.load_state(state);
        let start = self.core.rip;
        let mut result = Ok(());
        for _ in 0..REPEATS_MAX {
            let repeats = self.execute();
            result = repeats.map(drop);
            if repeats != Ok(true) || self.core.rip != start {
                break;
            }
        }
        self.core.stale_code.clear();
        self.store_state(state);
        match (result, self.core.fault.take()) {
            (Ok(()), _) => Outcome::Done,
            (Err(_), Some(fault)) => Outcome::Exception {
                vector: fault.vector,
                error: fault.error.unwrap_or(0),
                cr2: fault.payload,
            },
            (Err(_), None) => Outcome::Exception { vector: u8::MAX, error: 0, cr2: 0 },
        }
    }

    /// What executes, in `state`; `None` without a translator.
    #[cfg(test)]
    pub(crate) fn parts(&mut self, state: &UserState) -> Option<(&mut Core<'v>, &mut Jit, &BlockCache)> {
        self.load_state(state);
        Some((&mut self.core, self.jit.as_mut()?, &self.blocks))
    }

    fn frame(&self, address: u64) -> Option<Frame<'_>> {
        let page = address & !(PAGE_SIZE - 1);
        let (_, gpa) = self.pages.iter().find(|(start, _)| *start == page)?;
        self.memory.frame(*gpa)
    }

    /// Executes the instruction at RIP, or part of it; answers whether it has a repeat prefix.
    fn execute(&mut self) -> Exec<bool> {
        let insn = self.blocks.one_at_rip(&mut self.core)?;
        let repeats = insn.prefixes & (prefix::REP | prefix::REPNE) != 0;
        if let Some(jit) = &mut self.jit {
            match jit.step(&mut self.core)? {
                Ran::Next => return Ok(repeats),
                Ran::Raised => return Err(Raised::again()),
                Ran::Cold => {}
            }
        }
        self.core.cpu.gpr[gpr::NEXT_RIP] = self.core.cpu.rip.wrapping_add(insn.len.into());
        (insn.run)(&mut self.core, &insn)?;
        self.core.cpu.rip = self.core.next_rip();
        Ok(repeats)
    }

    fn load_state(&mut self, state: &UserState) {
        let cpu = &mut self.core.cpu;
        cpu.gpr[..16].copy_from_slice(&state.gpr);
        cpu.rip = state.rip;
        cpu.flags.set(state.rflags);
        cpu.segments[seg::FS].base = state.fs_base;
        cpu.segments[seg::GS].base = state.gs_base;
        cpu.fpu = legacy_fpu(&state.fxsave);
        cpu.mxcsr = word(&state.fxsave, 24) as u32;
        for (index, vector) in cpu.vectors.iter_mut().enumerate() {
            let high = &state.ymm_high[index];
            *vector = [
                word(&state.fxsave, 160 + 16 * index),
                word(&state.fxsave, 168 + 16 * index),
                word(high, 0),
                word(high, 8),
            ];
        }
        self.core.fault = None;
        self.core.update_mode();
    }

    fn store_state(&self, state: &mut UserState) {
        let cpu = &self.core.cpu;
        state.gpr.copy_from_slice(&cpu.gpr[..16]);
        state.rip = cpu.rip;
        state.rflags = cpu.flags.get();
        state.fs_base = cpu.segments[seg::FS].base;
        state.gs_base = cpu.segments[seg::GS].base;
        state.fxsave = legacy_area(&cpu.fpu, cpu.mxcsr, &cpu.vectors);
        for (high, vector) in state.ymm_high.iter_mut().zip(&cpu.vectors) {
            high[..8].copy_from_slice(&vector[2].to_le_bytes());
            high[8..].copy_from_slice(&vector[3].to_le_bytes());
        }
    }
}

fn word(bytes: &[u8], offset: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(word)
}
