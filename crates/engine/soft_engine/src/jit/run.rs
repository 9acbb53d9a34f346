//! Into generated code and back: the one place that calls it, and the functions that it calls.

#![allow(unsafe_code)]

use arch_model::x86_64::RunState;

use super::stubs::{self, Callbacks, exit};
use super::words::vectors;
use super::{Jit, Site, fpu};
use crate::cpu::mode::{cr0, cr4};
use crate::cpu::{Core, Exec, Mode, flags, gpr};
use crate::decode::insn::Insn;
use crate::memory::View;
use crate::memory::access::is_split;

/// Answers of callbacks; reasons to leave are added to the last.
pub mod answer {
    /// The access can be tried again.
    pub const AGAIN: i32 = 0;
    /// Generated code goes on behind the instruction.
    pub const GO_ON: i32 = 1;
    /// It goes on at RIP.
    pub const ELSEWHERE: i32 = 2;
}

/// The functions of this file that generated code calls.
pub fn callbacks() -> Callbacks {
    let interpret: extern "C" fn(*mut Core<'static>, u32) -> u32 = interpret;
    let miss: extern "C" fn(*mut Core<'static>, u32) -> u32 = miss;
    let load_fpu: extern "C" fn(*mut Core<'static>, u32) -> u32 = load_fpu;
    Callbacks {
        interpret: interpret as usize as u64,
        miss: miss as usize as u64,
        load_fpu: load_fpu as usize as u64,
    }
}

/// Runs the code at `offset` of the cache. Answers the reason why it was left, and the edge.
pub fn enter(core: &mut Core<'_>, jit: &Jit, offset: usize) -> (u32, u32) {
    core.words.jit = std::ptr::from_ref(jit) as u64;
    if core.words.cleared != jit.cleared {
        core.words.cleared = jit.cleared;
        // To be chosen again.
        core.words.salts = [0; 2];
    }
    core.words.flags = flags_word(core);
    // Whatever changes that asks for attention or posts a request.
    core.words.interrupt_waits = u8::from(core.lapic.has_work());
    refresh(core);
    let enter = jit.memory.address(jit.stubs.enter);
    let code = jit.memory.address(offset);
    let core: *mut Core<'_> = core;
    // SAFETY: `enter` is the address of the stub that `stubs::emit` wrote for this signature; it keeps the registers
    // that the ABI tells it to. `code` was emitted by the translator for this core: it stores to guest RAM through
    // TLB entries only, to the core's words, registers and MXCSR through RBP, and calls `interpret` and `miss` with
    // this very pointer. Nobody else uses the core meanwhile. (docs/soft-jit.md goes through it.)
    let left = unsafe {
        let enter: extern "C" fn(*mut u8, u64) -> u64 = std::mem::transmute(enter);
        enter(core.cast::<u8>().add(super::words::REGISTERS), code)
    };
    // SAFETY: the pointer was made of a reference that is valid to the end of this function.
    let core = unsafe { &mut *core };
    take_flags(core);
    fpu::take(core);
    (left as u32, (left >> 32) as u32)
}

/// Status flags in the low byte of RFLAGS, which LAHF and SAHF move.
const LOW: u64 = flags::STATUS & 0xff;
/// All exceptions masked (SDM vol. 1, 10.2.3).
const MXCSR_MASKS: u32 = 0x1f80;

/// The same in the x87 unit's control word (SDM vol. 1, 8.1.5).
const FPU_MASKS: u16 = 0x3f;
/// An exception waits, in its status word (SDM vol. 1, 8.1.3).
const FPU_ERROR: u16 = 1 << 7;

/// Status flags as generated code keeps them: AH as LAHF leaves it, AL is OF.
fn flags_word(core: &Core<'_>) -> u32 {
    let status = core.flags.status();
    ((status & LOW) << 8 | u64::from(status & flags::OF != 0)) as u32
}

fn take_flags(core: &mut Core<'_>) {
    let word = u64::from(core.words.flags);
    let overflow = if word & 1 != 0 { flags::OF } else { 0 };
    core.cpu.flags.set_status(word >> 8 & LOW | overflow);
}

/// Brings the words up to date with what the engine has changed.
fn refresh(core: &mut Core<'_>) {
    core.words.tlb = core.translations.table(core.view) as u64;
    core.words.tlbs =
        [View::Supervisor, View::SupervisorToUser].map(|view| core.translations.table(view) as u64);
    core.words.ac_counts = u8::from(core.cpl == 0 && core.cr4 & cr4::SMAP != 0);
    core.words.vectors_allowed = vectors_allowed(core);
    core.words.fpu_allowed = fpu_allowed(core).into();
    let is_user = core.cpl == 3;
    let salts = [salt(core, !is_user), salt(core, is_user)];
    if core.words.salts != salts {
        core.words.salts = salts;
        choose_tables(core);
    }
}

/// Brings up to date in which tables branches are looked up.
fn choose_tables(core: &mut Core<'_>) {
    let table = jump_table(core);
    let [usual, other] = core.words.salts;
    core.words.jumps = core.words.all_jumps + (table * stubs::JUMP_TABLE_BYTES) as u64;
    core.words.returns = core.returns.choose(table, [usual, other, core.words.cleared]);
}

/// Whether x87 instructions neither fault nor trap now.
fn fpu_allowed(core: &Core<'_>) -> bool {
    core.cr0 & (cr0::EM | cr0::TS) == 0
        && core.fpu.control & FPU_MASKS == FPU_MASKS
        && core.fpu.status & FPU_ERROR == 0
}

/// Which vector instructions neither fault nor trap now.
fn vectors_allowed(core: &Core<'_>) -> u8 {
    let mxcsr_masked = core.cpu.mxcsr & MXCSR_MASKS == MXCSR_MASKS;
    let usable = core.cr0 & (cr0::EM | cr0::TS) == 0 && core.cr4 & cr4::OSFXSR != 0;
    match mxcsr_masked && usable {
        false => vectors::NONE,
        true if core.has_avx_enabled() => vectors::AVX,
        true => vectors::SSE,
    }
}

/// What an entry of the table of indirect jumps has to say to count now, for code by a `global` translation or not.
pub fn salt(core: &Core<'_>, global: bool) -> u64 {
    let translations = &core.translations;
    let epoch = if global { translations.global_code_epoch() } else { translations.code_epoch() };
    epoch << 1 | u64::from(core.cpl == 3)
}

/// Which of the tables of indirect jumps counts now: a kernel's code is the same in all address spaces.
pub fn jump_table(core: &Core<'_>) -> usize {
    let of_programs = stubs::JUMP_TABLES as u64 - 1;
    if core.cpl == 3 { 1 + (core.translations.code_epoch() % of_programs) as usize } else { 0 }
}

/// Whether generated code may be run for what comes next.
pub fn is_possible(core: &Core<'_>) -> bool {
    core.mode == Mode::Long && core.view != View::Careful && core.shadow == 0 && !core.is_stepping()
}

extern "C" fn interpret(core: *mut Core<'static>, number: u32) -> u32 {
    // SAFETY: generated code passes the pointer that `enter` was given, whose reference is not used meanwhile.
    let core = unsafe { &mut *core };
    // SAFETY: set by `enter`, whose caller holds the reference until it returns.
    let jit = unsafe { &*(core.words.jit as *const Jit) };
    fpu::take(core);
    execute(core, jit, &jit.tables.sites[number as usize])
}

extern "C" fn miss(core: *mut Core<'static>, number: u32) -> u32 {
    // SAFETY: as in `interpret`.
    let core = unsafe { &mut *core };
    // SAFETY: as in `interpret`.
    let jit = unsafe { &*(core.words.jit as *const Jit) };
    let site = &jit.tables.sites[number as usize];
    let has_fpu = fpu::take(core);
    let misaligned = site.aligned && !core.words.address.is_multiple_of(u64::from(site.size));
    let is_split = site.locked && is_split(core.words.address, site.size as usize);
    if core.view != View::Careful && !misaligned && !is_split {
        let address = core.words.address;
        core.cpu.rip = core.words.page + u64::from(site.offset);
        match core.prepare_access(address, site.size, site.write, site.segment) {
            Ok(true) => {
                refresh(core);
                return answer::AGAIN as u32;
            }
            Ok(false) => {}
            Err(_raised) => {
                take_flags(core);
                return raised(core, jit);
            }
        }
    }
    if site.leads {
        return answer::GO_ON as u32;
    }
    let answer = execute(core, jit, site);
    // Generated code goes on with what was in the host's x87 unit, which the instruction may have changed.
    if has_fpu {
        fpu::put(core);
    }
    answer
}

extern "C" fn load_fpu(core: *mut Core<'static>, _number: u32) -> u32 {
    // SAFETY: as in `interpret`.
    fpu::put(unsafe { &mut *core });
    answer::AGAIN as u32
}

/// Executes one instruction by its handler.
fn execute(core: &mut Core<'_>, jit: &Jit, site: &Site) -> u32 {
    take_flags(core);
    let salts_before = core.words.salts;
    core.cpu.rip = core.words.page + u64::from(site.offset);
    let next = core.cpu.rip.wrapping_add(site.insn.len.into());
    let done = if site.crosses {
        let found = jit.crossings.borrow_mut().at_rip(core);
        found.and_then(|insn| run_one(core, &insn))
    } else {
        run_one(core, &site.insn)
    };
    if done.is_err() {
        return raised(core, jit);
    }
    core.cpu.rip = core.cpu.gpr[gpr::NEXT_RIP];
    core.attention |= core.is_alarm_stale();
    match go_on(core) {
        answer if answer != answer::ELSEWHERE as u32 => answer,
        _ if core.cpu.rip == next && salts_before == core.words.salts => answer::GO_ON as u32,
        elsewhere => elsewhere,
    }
}

fn run_one(core: &mut Core<'_>, insn: &Insn) -> Exec {
    core.cpu.gpr[gpr::NEXT_RIP] = core.cpu.rip.wrapping_add(insn.len.into());
    (insn.run)(core, insn)
}

/// The instruction at RIP raised: enters the handler, or leaves where somebody wants to see that.
fn raised(core: &mut Core<'_>, jit: &Jit) -> u32 {
    if jit.shows_exceptions {
        core.words.flags = flags_word(core);
        return answer::ELSEWHERE as u32 + exit::RAISED;
    }
    core.deliver_fault();
    go_on(core)
}

/// Whether generated code goes on at RIP, after the engine has done something.
fn go_on(core: &mut Core<'_>) -> u32 {
    core.words.flags = flags_word(core);
    refresh(core);
    let stays = !core.attention && core.run_state == RunState::Running && is_possible(core);
    answer::ELSEWHERE as u32 + if stays { 0 } else { exit::NEXT }
}
