//! The signal handler in which a child spends its life: it takes one case's result out of the interrupted context
//! and puts the next case in; returning from the signal loads all registers at once.
//!
//! Between cases FS's base is the case's, so that nothing here may use thread-local storage before [`entry`] has put
//! the child's own back.

use std::arch::{asm, naked_asm};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use libc::{c_int, mcontext_t, siginfo_t, ucontext_t};
use soft_engine::probe::{Outcome, UserState};

use super::child::protect;
use super::ldt::{SMALL_CODE_SELECTOR, SMALL_DATA_SELECTOR};
use super::mailbox::{Mailbox, SharedMailbox};
use crate::case::{Case, Ending, Record, Scope};
use crate::layout::{
    BLOCK_CODE, BLOCK_CODE_SIZE, CODE, DATA, DATA_SIZE, INT3, LAZY, LINE, PAGE, background, code_base,
};

/// Vectors by which an instruction that raised nothing ends.
const DEBUG: u32 = 1;
const BREAKPOINT: u32 = 3;
const PAGE_FAULT: i64 = 14;
/// RFLAGS bits of the method, not of the case: TF, RF.
const TF: u64 = 1 << 8;
const RF: u64 = 1 << 16;
/// Bytes of an FXSAVE area that processors use; the kernel keeps notes in the others.
const FXSAVE_USED: usize = 464;
/// The kernel's notes: `FP_XSTATE_MAGIC1` says that an XSAVE area follows.
const MAGIC1: u32 = 0x4650_5853;
/// XSTATE_BV, and the upper halves of YMM (SDM vol. 1, 13.4).
const XSTATE_BV: usize = 512;
const YMM_HIGH: usize = 576;
/// x87, SSE, AVX.
const COMPONENTS: u64 = 7;
/// Linux's selectors of 64-bit and of 32-bit code; the kernel's context has CS in the low 16 bits of REG_CSGSFS.
const USER_CODE: i64 = 0x33;
const USER_CODE_32: i64 = 0x23;
/// That of data, which 64-bit mode does without.
const USER_DATA: u16 = 0x2b;
/// Where the kernel's context has RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.
const GPRS: [c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// FS's base as cases have it, and as the child's own code needs it.
static CASE_FS: AtomicU64 = AtomicU64::new(0);
static OWN_FS: AtomicU64 = AtomicU64::new(0);
/// The child's session.
static SESSION: AtomicPtr<Session> = AtomicPtr::new(ptr::null_mut());

/// Where a child stands in its batch.
pub struct Session {
    mailbox: *mut Mailbox,
    background: Box<[u8; DATA_SIZE + PAGE as usize]>,
    /// Index of the case that is executed, or to be executed next.
    current: usize,
    running: bool,
    /// The lazy page is not there.
    hidden: bool,
    /// What may be done with the page of code of single instructions; blocks do not have it.
    single_code: c_int,
    receive: c_int,
    send: c_int,
}

impl Session {
    /// A session whose first act is to wait for a batch.
    pub fn new(mailbox: &SharedMailbox, receive: c_int, send: c_int) -> Session {
        let mailbox = mailbox.as_ptr();
        let (background, current) = (background(), usize::MAX);
        let single_code = libc::PROT_NONE;
        Session { mailbox, background, current, running: false, hidden: false, single_code, receive, send }
    }

    /// What the data pages hold between cases.
    pub fn background(&self) -> &[u8] {
        &self.background[..]
    }
}

/// Makes `session` the one that signals work on; the child never leaves it.
pub fn adopt(session: &mut Session) {
    let base: u64;
    // SAFETY: reads FS's base; the instruction is there, or `Host::is_usable` had said no.
    unsafe { asm!("rdfsbase {}", out(reg) base) };
    OWN_FS.store(base, Ordering::Relaxed);
    SESSION.store(session, Ordering::Relaxed);
}

/// The handler that the kernel calls: flags (AC!) and FS as Rust code needs them, then [`handle`], then the next
/// case's FS. Everything else is loaded by returning.
#[unsafe(naked)]
pub extern "C" fn entry(_number: c_int, _info: *mut siginfo_t, _context: *mut ucontext_t) {
    naked_asm!(
        "push 0x202",
        "popfq",
        "rdfsbase rax",
        "mov [rip + {case_fs}], rax",
        "mov rax, [rip + {own_fs}]",
        "wrfsbase rax",
        "sub rsp, 8",
        "call {handle}",
        "add rsp, 8",
        "mov rax, [rip + {case_fs}]",
        "wrfsbase rax",
        "ret",
        case_fs = sym CASE_FS,
        own_fs = sym OWN_FS,
        handle = sym handle,
    )
}

extern "C" fn handle(_number: c_int, _info: *mut siginfo_t, context: *mut ucontext_t) {
    // SAFETY: the kernel hands over a live context that is nobody else's; the session was adopted before the first
    // signal and is used by this child's only thread.
    let (session, context) = unsafe { (&mut *SESSION.load(Ordering::Relaxed), &mut (*context).uc_mcontext) };
    if session.running {
        if session.brings_page(context) {
            return;
        }
        session.finish(context);
    }
    session.start_next(context);
}

impl Session {
    /// Whether the signal was about the lazy page, which is there now.
    fn brings_page(&mut self, context: &mcontext_t) -> bool {
        let register = |index: c_int| context.gregs[index as usize];
        let asked = self.hidden
            && register(libc::REG_TRAPNO) == PAGE_FAULT
            && register(libc::REG_CR2) as u64 & !(PAGE - 1) == LAZY;
        if asked {
            self.show_page();
        }
        asked
    }

    fn give_code(&mut self, scope: Scope) {
        let wanted = match scope {
            Scope::Instruction => libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
            Scope::Block { .. } => libc::PROT_NONE,
        };
        if wanted != self.single_code && protect(CODE, wanted).is_some() {
            self.single_code = wanted;
        }
    }

    fn show_page(&mut self) {
        if std::mem::take(&mut self.hidden) && protect(LAZY, libc::PROT_READ | libc::PROT_WRITE).is_none() {
            // SAFETY: ends the child, which cannot go on; the parent tells the case as lost.
            unsafe { libc::_exit(1) }
        }
    }

    fn finish(&mut self, context: &mcontext_t) {
        self.show_page();
        // SAFETY: the parent waits while a case runs.
        let Some((case, record)) = (unsafe { Mailbox::case(self.mailbox, self.current) }) else { return };
        store_state(context, &mut record.state, case.bits);
        record.outcome = outcome(case, context, &mut record.state);
        record.lost = false;
        self.compare_memory(record);
        if case.scope != Scope::Instruction {
            take_code(case, &mut record.code);
            clear_block_code();
        }
        self.current += 1;
        // SAFETY: as above.
        unsafe { Mailbox::finish(self.mailbox, self.current) };
    }

    fn start_next(&mut self, context: &mut mcontext_t) {
        self.running = true;
        loop {
            // SAFETY: the parent has put a batch in, and waits.
            let next = unsafe { Mailbox::case(self.mailbox, self.current) };
            match next {
                Some((case, _)) => {
                    self.give_code(case.scope);
                    put_memory(case);
                    self.hidden = matches!(case.scope, Scope::Block { lazy: true })
                        && protect(LAZY, libc::PROT_NONE).is_some();
                    return load_state(context, case);
                }
                None => self.next_batch(),
            }
        }
    }

    /// Tells that the batch is done, but at the very first, and waits for the next.
    fn next_batch(&mut self) {
        let mut byte = [1u8];
        // SAFETY: one byte from and to a live buffer; a parent that is gone ends the child.
        unsafe {
            if self.current != usize::MAX && libc::write(self.send, byte.as_ptr().cast(), 1) != 1 {
                libc::_exit(0);
            }
            if libc::read(self.receive, byte.as_mut_ptr().cast(), 1) != 1 {
                libc::_exit(0);
            }
        }
        self.current = 0;
    }

    fn compare_memory(&self, record: &mut Record) {
        // SAFETY: the writable data pages are mapped; the slice ends before anything is written to them.
        let data = unsafe { std::slice::from_raw_parts(DATA as *const u8, DATA_SIZE) };
        let background = &self.background[..DATA_SIZE];
        let mut changed = 0u128;
        record.note_lines(data, background, |index| changed |= 1 << index);
        for index in (0..DATA_SIZE / LINE).filter(|index| changed >> index & 1 == 1) {
            put(DATA + (index * LINE) as u64, &background[index * LINE..][..LINE]);
        }
    }
}

fn put_memory(case: &Case) {
    for line in case.lines() {
        put(DATA + u64::from(line.index) * LINE as u64, &line.bytes);
    }
    let (rip, code) = (case.state.rip, case.code());
    let end = match case.scope {
        Scope::Instruction => CODE + PAGE,
        Scope::Block { .. } => BLOCK_CODE + BLOCK_CODE_SIZE as u64,
    };
    put(rip, &code[..code.len().min(end.saturating_sub(rip) as usize)]);
}

/// Fills the code pages of blocks with INT3.
pub fn clear_block_code() {
    // SAFETY: the pages are mapped writable, and nothing refers to them.
    unsafe { ptr::write_bytes(BLOCK_CODE as *mut u8, INT3, BLOCK_CODE_SIZE) }
}

/// What a block's code has become.
fn take_code(case: &Case, out: &mut [u8]) {
    let room = (BLOCK_CODE + BLOCK_CODE_SIZE as u64).saturating_sub(case.state.rip) as usize;
    let len = room.min(out.len());
    out.fill(0);
    // SAFETY: the code pages are mapped, and `len` bytes from RIP on are in them.
    unsafe { ptr::copy_nonoverlapping(case.state.rip as *const u8, out.as_mut_ptr(), len) }
}

/// Copies `bytes` to the child's fixed pages.
fn put(address: u64, bytes: &[u8]) {
    // SAFETY: cases lie in the page of code and the writable data, which are mapped and which nothing refers to.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) }
}

fn outcome(case: &Case, context: &mcontext_t, state: &mut UserState) -> Outcome {
    let register = |index: c_int| context.gregs[index as usize] as u64;
    let vector = register(libc::REG_TRAPNO) as u32;
    let behind = case.state.rip.wrapping_add(u64::from(case.len) + 1);
    match (case.ending, vector) {
        (Ending::Step, DEBUG) => Outcome::Done,
        (Ending::Breakpoint, BREAKPOINT) if state.rip == behind => {
            state.rip -= 1;
            Outcome::Done
        }
        _ => Outcome::Exception {
            vector: vector as u8,
            error: register(libc::REG_ERR) as u32,
            cr2: register(libc::REG_CR2),
        },
    }
}

fn load_state(context: &mut mcontext_t, case: &Case) {
    let state = &case.state;
    for (place, value) in GPRS.iter().zip(state.gpr) {
        context.gregs[*place as usize] = value as i64;
    }
    let trap = if case.ending == Ending::Step { TF } else { 0 };
    context.gregs[libc::REG_RIP as usize] = (state.rip - code_base(case.bits)) as i64;
    context.gregs[libc::REG_EFL as usize] = (state.rflags | trap) as i64;
    let selectors = context.gregs[libc::REG_CSGSFS as usize] & !0xffff;
    let (code, data) = match case.bits {
        64 => (USER_CODE, 0),
        16 => (SMALL_CODE_SELECTOR.into(), SMALL_DATA_SELECTOR),
        _ => (USER_CODE_32, USER_DATA),
    };
    // SAFETY: selectors of no segment and of data, between which 64-bit code sees no difference.
    unsafe { asm!("mov ds, {0:x}", "mov es, {0:x}", in(reg) data) };
    context.gregs[libc::REG_CSGSFS as usize] = selectors | code;
    CASE_FS.store(state.fs_base, Ordering::Relaxed);
    let area = context.fpregs.cast::<u8>();
    // SAFETY: the kernel's context has an FXSAVE area of 512 bytes, and behind it an XSAVE area if it says so. GS's
    // base is not used by anything of the child's.
    unsafe {
        asm!("wrgsbase {}", in(reg) state.gs_base);
        ptr::copy_nonoverlapping(state.fxsave.as_ptr(), area, FXSAVE_USED);
        if has_xsave_area(area) {
            let components = area.add(XSTATE_BV).cast::<u64>();
            components.write_unaligned(components.read_unaligned() | COMPONENTS);
            ptr::copy_nonoverlapping(
                state.ymm_high.as_ptr().cast(),
                area.add(YMM_HIGH),
                size_of_val(&state.ymm_high),
            );
        }
    }
}

fn store_state(context: &mcontext_t, state: &mut UserState, bits: u8) {
    for (place, value) in GPRS.iter().zip(&mut state.gpr) {
        *value = context.gregs[*place as usize] as u64;
    }
    state.rip = (context.gregs[libc::REG_RIP as usize] as u64).wrapping_add(code_base(bits));
    state.rflags = context.gregs[libc::REG_EFL as usize] as u64 & !(TF | RF);
    state.fs_base = CASE_FS.load(Ordering::Relaxed);
    state.fxsave = [0; 512];
    let area = context.fpregs.cast::<u8>();
    // SAFETY: as in `load_state`.
    unsafe {
        asm!("rdgsbase {}", out(reg) state.gs_base);
        ptr::copy_nonoverlapping(area, state.fxsave.as_mut_ptr(), FXSAVE_USED);
        if has_xsave_area(area) {
            ptr::copy_nonoverlapping(
                area.add(YMM_HIGH),
                state.ymm_high.as_mut_ptr().cast(),
                size_of_val(&state.ymm_high),
            );
        }
    }
}

/// Whether the kernel's context goes on with an XSAVE area that has AVX in it.
///
/// # Safety
/// `area` is the FXSAVE area of a context.
unsafe fn has_xsave_area(area: *const u8) -> bool {
    // SAFETY: both words are inside the 512 bytes.
    let (magic, features) = unsafe {
        (
            area.add(FXSAVE_USED).cast::<u32>().read_unaligned(),
            area.add(FXSAVE_USED + 8).cast::<u64>().read_unaligned(),
        )
    };
    magic == MAGIC1 && features & COMPONENTS == COMPONENTS
}
