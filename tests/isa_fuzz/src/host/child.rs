//! What a child does before its first case: memory at the fixed addresses, signal handlers, their stack.

use std::arch::asm;
use std::ptr;

use super::ldt;
use super::sandbox;
use super::signal::{self, Session};
use crate::layout::{BLOCK_CODE, BLOCK_CODE_SIZE, CODE, DATA, DATA_SIZE, PAGE, READ_ONLY};

/// Size of the stack on which signals are handled: a context with AVX-512 state takes 3 KiB of it.
const SIGNAL_STACK: usize = 64 * 1024;
/// Signals by which the kernel tells of exceptions.
const SIGNALS: [i32; 5] = [libc::SIGSEGV, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGBUS];
/// Status of a child that could not be set up.
const NOT_SET_UP: i32 = 101;

/// Executes batches until the parent goes away.
pub fn main(session: &mut Session) -> ! {
    if set_up(session).is_none() {
        // SAFETY: ends the child at once, with nothing of the parent's undone.
        unsafe { libc::_exit(NOT_SET_UP) }
    }
    loop {
        // SAFETY: raises #UD, whose handler goes on with the first case and does not come back.
        unsafe { asm!("ud2") }
    }
}

fn set_up(session: &mut Session) -> Option<()> {
    // SAFETY: changes of this process alone; every argument is a constant or points to something live.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core);
    }
    map_at(CODE, PAGE as usize)?;
    protect(CODE, libc::PROT_NONE)?;
    map_at(BLOCK_CODE, BLOCK_CODE_SIZE)?;
    for page in (BLOCK_CODE..).step_by(PAGE as usize).take(BLOCK_CODE_SIZE / PAGE as usize) {
        protect(page, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC)?;
    }
    signal::clear_block_code();
    map_at(DATA, DATA_SIZE + PAGE as usize)?;
    let background = session.background();
    // SAFETY: the pages were mapped writable just now, and are as long as the background.
    unsafe { ptr::copy_nonoverlapping(background.as_ptr(), DATA as *mut u8, background.len()) };
    protect(READ_ONLY, libc::PROT_READ)?;
    take_signals()?;
    // Where there are no such segments, nobody asks for them.
    let _ = ldt::make();
    signal::adopt(session);
    sandbox::enter()
}

/// Maps pages at an address where nothing is.
fn map_at(address: u64, size: usize) -> Option<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE | libc::MAP_POPULATE;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: NOREPLACE leaves alone what is there already.
    let start = unsafe { libc::mmap(address as *mut _, size, access, flags, -1, 0) };
    (start as u64 == address).then_some(())
}

/// Changes what may be done with a page of the child's.
pub fn protect(address: u64, access: i32) -> Option<()> {
    // SAFETY: a page that `map_at` has mapped and no reference leads to.
    let done = unsafe { libc::mprotect(address as *mut _, PAGE as usize, access) };
    (done == 0).then_some(())
}

fn take_signals() -> Option<()> {
    // SAFETY: a new mapping becomes the signal stack and stays; the handler fits SA_SIGINFO's signature.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let stack = libc::mmap(ptr::null_mut(), SIGNAL_STACK, access, flags, -1, 0);
        if stack == libc::MAP_FAILED {
            return None;
        }
        let stack = libc::stack_t { ss_sp: stack, ss_flags: 0, ss_size: SIGNAL_STACK };
        if libc::sigaltstack(&raw const stack, ptr::null_mut()) != 0 {
            return None;
        }
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = signal::entry as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigfillset(&raw mut action.sa_mask);
        SIGNALS
            .iter()
            .all(|number| libc::sigaction(*number, &raw const action, ptr::null_mut()) == 0)
            .then_some(())
    }
}
