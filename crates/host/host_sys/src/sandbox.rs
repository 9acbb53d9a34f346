//! What a process takes away from itself before it reads bytes of strangers.
//!
//! ```text
//! close other descriptors ► no new privileges ► namespaces ► empty root ► no capabilities ► no dumps
//!   ► end with the parent ► Landlock ► limits ► seccomp
//!                                      └── these two are required; of the rest, what the kernel grants
//! ```
//!
//! Afterwards the process can read and write the descriptors that it has, ask for memory, and end. It has one
//! thread, and gets no other.

mod filter;
mod namespaces;

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope,
};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, set_dumpable_behavior, set_parent_process_death_signal,
    setrlimit,
};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

/// Room for the program itself and its stack, beside what it may ask for, in bytes of addresses.
const PROGRAM_ADDRESSES_BYTES: u64 = 1 << 30;
/// Seconds between the signal that says that the processor time is used up and the one that ends the process.
const CPU_GRACE_SECONDS: u64 = 2;

/// What the process may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory that it asks for (`RLIMIT_DATA`), in bytes.
    pub memory_bytes: u64,
    /// Processor time, in seconds.
    pub cpu_seconds: u64,
    /// Length that a file can get, in bytes.
    pub file_bytes: u64,
}

/// One thing that is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// All descriptors but those that are kept (close_range(2)).
    Descriptors,
    /// Programs that change the user (`PR_SET_NO_NEW_PRIVS`).
    NewPrivileges,
    /// Network, mounts, System V IPC, host name and cgroups (namespaces(7)). A process number space would
    /// count for children only, and there are none.
    Namespaces,
    /// The file system: an empty folder that cannot be written to is all there is.
    Root,
    /// All capabilities (capabilities(7)).
    Capabilities,
    /// Being looked at by other processes of the same user, and core files (`PR_SET_DUMPABLE`).
    Dumps,
    /// Living on when the thread that started it has ended (`PR_SET_PDEATHSIG`).
    Orphans,
    /// Opening files, binding and connecting (landlock(7)).
    Landlock,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layer::Descriptors => "closing of descriptors",
            Layer::NewPrivileges => "no new privileges",
            Layer::Namespaces => "namespaces",
            Layer::Root => "empty root",
            Layer::Capabilities => "dropping of capabilities",
            Layer::Dumps => "no dumps",
            Layer::Orphans => "end with the parent",
            Layer::Landlock => "Landlock",
        })
    }
}

/// A layer that the kernel did not grant.
#[derive(Debug)]
pub struct Refused {
    /// Which.
    pub layer: Layer,
    /// The kernel's answer.
    pub reason: io::Error,
}

/// The process cannot be confined: it must not go on.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// It has several threads, of which only one would be confined.
    #[error("a process with {0} threads cannot confine itself")]
    Threads(usize),
    /// A limit was not taken.
    #[error("the kernel refuses resource limits")]
    Limits(#[source] io::Error),
    /// No filter of system calls.
    #[error("the kernel refuses a filter of system calls (seccomp)")]
    Filter(#[source] io::Error),
}

/// Confines this process for good. `keep` are the descriptors that it will use, besides standard input, output
/// and errors; all others are closed, whoever has them. Call it first of all in a process made for this.
///
/// Returns what the kernel refused of the layers that are not required.
///
/// # Errors
/// There are threads, or limits or seccomp are refused. The process is then confined in part.
pub fn enter(keep: &[BorrowedFd<'_>], limits: &Limits) -> Result<Vec<Refused>, SandboxError> {
    match thread_count() {
        Ok(1) => {}
        Ok(count) => return Err(SandboxError::Threads(count)),
        // No /proc: what follows fails by itself where it needs a process of one thread.
        Err(_) => {}
    }
    let mut refused = Vec::new();
    let mut note = |layer, answer: io::Result<()>| {
        refused.extend(answer.err().map(|reason| Refused { layer, reason }));
    };
    note(Layer::Descriptors, close_others(keep));
    note(Layer::NewPrivileges, set_no_new_privs(true).map_err(io::Error::from));
    match namespaces::leave() {
        Ok(()) => note(Layer::Root, namespaces::empty_root()),
        Err(reason) => {
            note(Layer::Root, Err(io::Error::other("without namespaces the root is everybody's")));
            note(Layer::Namespaces, Err(reason));
        }
    }
    note(Layer::Capabilities, drop_capabilities());
    note(Layer::Dumps, set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(io::Error::from));
    // Behind all that changes credentials, which clears it.
    note(Layer::Orphans, set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from));
    note(Layer::Landlock, restrict_by_landlock());
    set_limits(limits).map_err(SandboxError::Limits)?;
    filter::apply().map_err(SandboxError::Filter)?;
    Ok(refused)
}

fn thread_count() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// Closes everything above standard errors that is not to be kept.
fn close_others(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut keep: Vec<RawFd> = keep.iter().map(AsRawFd::as_raw_fd).filter(|fd| *fd > 2).collect();
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep {
        if fd > first {
            close_range(first, fd - 1)?;
        }
        first = first.max(fd + 1);
    }
    close_range(first, RawFd::MAX)
}

fn close_range(first: RawFd, last: RawFd) -> io::Result<()> {
    // SAFETY: the call takes numbers only. Whoever owned the descriptors in this process gets `EBADF` from now
    // on and can open nothing that would take their numbers: no file is reached by a mistaken one.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn drop_capabilities() -> io::Result<()> {
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    Ok(())
}

/// Handles all that Landlock knows and allows none of it.
fn restrict_by_landlock() -> io::Result<()> {
    let newest = ABI::V6;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(newest))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(newest)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(newest)))
        .and_then(|ruleset| ruleset.create())
        .and_then(|ruleset| ruleset.restrict_self())
        .map_err(io::Error::other)?;
    match status.ruleset {
        RulesetStatus::NotEnforced => Err(io::ErrorKind::Unsupported.into()),
        RulesetStatus::PartiallyEnforced | RulesetStatus::FullyEnforced => Ok(()),
    }
}

fn set_limits(limits: &Limits) -> io::Result<()> {
    let same = |value: u64| Rlimit { current: Some(value), maximum: Some(value) };
    let cpu = Rlimit {
        current: Some(limits.cpu_seconds),
        maximum: Some(limits.cpu_seconds.saturating_add(CPU_GRACE_SECONDS)),
    };
    let addresses = limits.memory_bytes.saturating_add(PROGRAM_ADDRESSES_BYTES);
    for (resource, limit) in [
        (Resource::Data, same(limits.memory_bytes)),
        (Resource::As, same(addresses)),
        (Resource::Cpu, cpu),
        (Resource::Fsize, same(limits.file_bytes)),
        (Resource::Nofile, same(0)),
        (Resource::Nproc, same(0)),
        (Resource::Core, same(0)),
        (Resource::Memlock, same(0)),
    ] {
        set_limit(resource, limit)?;
    }
    Ok(())
}

/// Sets a limit, or the host's own where that is tighter.
fn set_limit(resource: Resource, wanted: Rlimit) -> io::Result<()> {
    let host = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let tighter = |value: Option<u64>| Some(value.unwrap_or(u64::MAX).min(host));
    Ok(setrlimit(resource, Rlimit { current: tighter(wanted.current), maximum: tighter(wanted.maximum) })?)
}
