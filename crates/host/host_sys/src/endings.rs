//! What is put right when the process ends, in whatever way.
//!
//! ```text
//! exit() ───────────────────────────► actions
//! a signal that ends the process ───► actions ─► its default
//! a fault (SIGSEGV and the like) ───► actions ─► the handler found, if any: the instruction faults again
//! ```
//!
//! Actions are plain functions that make nothing but async-signal-safe calls (signal-safety(7)). `SIGKILL`, `SIGSTOP` and
//! `_exit` alone pass them by.
//!
//! Handlers are installed with the first action, and only where nobody else has: a signal that is ignored stays
//! ignored, one that another part of the program handles, blocks or reads with signalfd stays with it. The exceptions
//! are faults, where the handler found (std's, for stack overflow) runs after ours.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Signals whose default ends the process (signal(7), "Standard signals"), but for [`FAULTS`] and `SIGKILL`. Real-time
/// signals do, too: see [`ending_signals`].
const FATAL: [c_int; 18] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGPIPE,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGSTKFLT,
    libc::SIGXCPU,
    libc::SIGXFSZ,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
    libc::SIGPWR,
    libc::SIGSYS,
];

/// Fatal signals that an instruction of ours causes.
const FAULTS: [c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// One past the largest signal number of [`FAULTS`].
const FAULT_SLOTS: usize = 16;

/// Most actions of a process.
const ACTIONS_MAX: usize = 4;

/// The actions, in no order.
static ACTIONS: [AtomicPtr<c_void>; ACTIONS_MAX] = [const { AtomicPtr::new(null_mut()) }; ACTIONS_MAX];

/// Every signal that ends a process by default and can be caught, but for faults.
pub(crate) fn ending_signals() -> impl Iterator<Item = c_int> {
    FATAL.into_iter().chain(libc::SIGRTMIN()..=libc::SIGRTMAX())
}

/// Has `action` called when the process ends; once, however often it is registered. It makes async-signal-safe calls
/// only, and may be called more than once.
pub(crate) fn before_ending(action: fn()) {
    static REGISTRATION: Mutex<()> = Mutex::new(());
    let _alone = REGISTRATION.lock().unwrap_or_else(PoisonError::into_inner);
    let pointer = action as *mut c_void;
    let is_first = ACTIONS.iter().all(|slot| slot.load(Ordering::SeqCst).is_null());
    for slot in &ACTIONS {
        let found = slot.load(Ordering::SeqCst);
        if found == pointer {
            return;
        }
        if found.is_null() {
            slot.store(pointer, Ordering::SeqCst);
            break;
        }
    }
    if is_first {
        install();
    }
}

/// Async-signal-safe.
fn act() {
    for slot in &ACTIONS {
        let pointer = slot.load(Ordering::SeqCst);
        if !pointer.is_null() {
            // SAFETY: slots hold null or what `before_ending` made of a `fn()`.
            let action = unsafe { std::mem::transmute::<*mut c_void, fn()>(pointer) };
            action();
        }
    }
}

/// The actions found for [`FAULTS`], by signal number. Written before the handler that reads them is
/// installed.
struct FaultActions(UnsafeCell<[MaybeUninit<libc::sigaction>; FAULT_SLOTS]>);

// SAFETY: written once, under a lock, before any reader can run.
unsafe impl Sync for FaultActions {}

static FOUND_ACTIONS: FaultActions = FaultActions(UnsafeCell::new([MaybeUninit::uninit(); FAULT_SLOTS]));

/// Installs the handlers. Called once, under a lock.
fn install() {
    extern "C" fn at_exit() {
        act();
    }
    // SAFETY: the function is safe to call at exit; failure (out of memory) leaves the other ways.
    unsafe { libc::atexit(at_exit) };
    for signal in ending_signals() {
        install_where_default(signal, on_fatal);
    }
    for signal in FAULTS {
        let Some(found) = current_action(signal) else { continue };
        // SAFETY: nobody reads the slot before the handler below is installed.
        unsafe { (*FOUND_ACTIONS.0.get())[signal as usize] = MaybeUninit::new(found) };
        set_action(signal, &own_action(on_fault));
    }
}

pub(crate) type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// On the alternate stack where there is one, since a stack overflow is among the faults.
fn own_action(handler: Handler) -> libc::sigaction {
    // SAFETY: an all-zero sigaction is a valid value (no flags, empty mask).
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    action
}

fn current_action(signal: c_int) -> Option<libc::sigaction> {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: sigaction fills the structure when it succeeds.
    unsafe {
        if libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) != 0 {
            return None;
        }
        Some(action.assume_init())
    }
}

fn set_action(signal: c_int, action: &libc::sigaction) {
    // SAFETY: the action is valid; the handlers make async-signal-safe calls only.
    unsafe { libc::sigaction(signal, &raw const *action, null_mut()) };
}

/// Has `handler` called for `signal`, unless somebody else sees to it or it is ignored. `handler` makes
/// async-signal-safe calls only.
pub(crate) fn install_where_default(signal: c_int, handler: Handler) {
    if current_action(signal).is_some_and(|action| action.sa_sigaction == libc::SIG_DFL) {
        set_action(signal, &own_action(handler));
    }
}

/// Has `signal` ignored from now on, here and in what this process executes, unless somebody else sees to it.
pub(crate) fn ignore_where_default(signal: c_int) -> io::Result<()> {
    let found = current_action(signal).ok_or_else(io::Error::last_os_error)?;
    if found.sa_sigaction == libc::SIG_DFL {
        // SAFETY: an all-zero sigaction is a valid value.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = libc::SIG_IGN;
        set_action(signal, &action);
    }
    Ok(())
}

/// Puts things right, then lets the signal do what it does by default once this handler returns.
extern "C" fn on_fatal(signal: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    act();
    // SAFETY: an all-zero sigaction is the default action; both calls are async-signal-safe.
    unsafe {
        set_action(signal, &std::mem::zeroed());
        libc::raise(signal);
    }
}

/// Puts things right and gives the signal back to the handler found: the instruction faults again and finds it. A
/// signal that somebody sent, with no fault behind it, ends the process here.
extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid siginfo.
    if unsafe { (*info).si_code } <= 0 {
        return on_fatal(signal, info, context);
    }
    act();
    // SAFETY: the slot was written before this handler was installed; sigaction is async-signal-safe.
    set_action(signal, unsafe { (*FOUND_ACTIONS.0.get())[signal as usize].assume_init_ref() });
}
