//! What runs guest code: the contract between an engine and everything above it.
//!
//! An [`Engine`] makes a [`Vm`]; a VM makes [`Vcpu`]s; a vCPU runs guest code and calls the device world,
//! given to it as [`GuestIo`], for everything the guest does outside RAM. Implemented by: `kvm_engine`;
//! [`fake`] for tests. Used by: `machine` and `vm_runtime`, which are generic over it and know no engine.

pub mod fake;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arch_model::x86_64::cpuid::{self, Cpuid};
use arch_model::x86_64::{CpuModel, CpuState, PlatformState};
use device_model::{Doorbells, IrqLine, MsiController};
use guest_memory::{DirtyPages, GuestMemory};

/// The error of a VM whose CPUID has features that `engine` cannot give on this host, where `offered` is what it can.
pub fn check_cpuid(engine: &str, wanted: &Cpuid, offered: &Cpuid) -> Result<(), EngineError> {
    let missing = cpuid::lacking(wanted, offered);
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(", ");
    Err(EngineError::Unsupported(format!(
        "the guest was told of CPU features that the {engine} engine cannot give on this host: {missing}"
    )))
}

/// Index of a vCPU in its VM, from 0. On x86-64 it is the APIC ID too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VcpuIndex(pub u32);

impl fmt::Display for VcpuIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Most vCPUs that a VM can have.
pub const MAX_VCPUS: u32 = 64;

/// Why an engine could not do what was asked. One line for a person: what, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine cannot be used on this host.
    #[error("{what}")]
    Unavailable {
        /// What is missing and what to do about it.
        what: String,
        /// The kernel's answer, where there is one.
        source: Option<std::io::Error>,
    },
    /// The engine cannot offer what the configuration asks for.
    #[error("{0}")]
    Unsupported(String),
    /// An operation on the engine failed.
    #[error("{operation} failed")]
    Operation {
        /// The operation, in the engine's own terms.
        operation: &'static str,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The engine cannot go on executing the guest.
    #[error("vCPU {index} cannot continue at rip {rip:#x}: {reason}")]
    Stuck {
        /// Which vCPU.
        index: VcpuIndex,
        /// Where it was.
        rip: u64,
        /// The engine's own words.
        reason: String,
    },
}

/// What a VM is to consist of, as far as an engine is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmConfig {
    /// Number of vCPUs, 1 to [`MAX_VCPUS`].
    pub vcpus: u32,
    /// What CPUID tells the guest, but for what differs between its vCPUs. It is carried wherever the guest goes.
    pub cpuid: Cpuid,
}

impl VmConfig {
    /// A VM with `vcpus` vCPUs of `model` as `engine` offers it on this host.
    pub fn of(engine: &impl Engine, vcpus: u32, model: Option<CpuModel>) -> Result<VmConfig, EngineError> {
        Ok(VmConfig { vcpus, cpuid: engine.guest_cpuid(model)? })
    }
}

/// A way of executing guest code.
pub trait Engine {
    /// The engine's VMs.
    type Vm: Vm;

    /// Short name as users type it: `kvm`, `soft`.
    fn name(&self) -> &'static str;

    /// CPUID with everything that this engine can give a guest on this host.
    fn offered_cpuid(&self) -> Result<Cpuid, EngineError>;

    /// The model of a guest that nobody chose one for: the highest that is not slower than one below.
    fn default_cpu_model(&self) -> Result<CpuModel, EngineError>;

    /// CPUID of a guest on `model`, or on the default one.
    fn guest_cpuid(&self, model: Option<CpuModel>) -> Result<Cpuid, EngineError> {
        let model = model.map_or_else(|| self.default_cpu_model(), Ok)?;
        cpuid::restrict(self.offered_cpuid()?, model).map_err(|error| {
            let (engine, missing) = (self.name(), error.missing.join(", "));
            EngineError::Unsupported(format!(
                "the {engine} engine of this host cannot offer CPU model {model}: it lacks {missing}"
            ))
        })
    }

    /// Makes a VM with all slots of `memory` mapped and its interrupt controllers, without vCPUs. The VM
    /// keeps the memory for as long as it may touch it.
    ///
    /// # Errors
    /// More vCPUs than the engine takes; a CPUID with features that it cannot give on this host.
    fn create_vm(&self, config: &VmConfig, memory: &GuestMemory) -> Result<Self::Vm, EngineError>;
}

/// One virtual machine's share of an engine.
pub trait Vm: Send + Sync + 'static {
    /// The engine's vCPUs.
    type Vcpu: Vcpu;

    /// Makes vCPU `index`. Vcpu 0 starts running, the others wait for INIT, as after power-on.
    fn create_vcpu(&self, index: VcpuIndex) -> Result<Self::Vcpu, EngineError>;

    /// Input `gsi` of the I/O APIC.
    fn irq_line(&self, gsi: u32) -> Arc<dyn IrqLine>;

    /// Where devices get message-signalled vectors.
    fn msi(&self) -> Arc<dyn MsiController>;

    /// Fast notification from guest to device.
    fn doorbells(&self) -> Arc<dyn Doorbells>;

    /// Makes vCPUs see the VM's memory as it is now, where slots have come or gone since it was made or followed last.
    /// Afterwards the engine has nothing of a slot that is gone, translations and code included. Callable while vCPUs
    /// run, from any thread but theirs; each stops for a moment at most.
    ///
    /// # Errors
    /// The engine has no room for more slots, or cannot have one that guests may not write. Then slots that came last may be
    /// missing until the next call; those that are gone are gone.
    fn follow_memory(&self) -> Result<(), EngineError>;

    /// Starts recording which pages vCPUs write.
    fn start_dirty_log(&self) -> Result<(), EngineError>;

    /// Pages that vCPUs wrote since the last call (a superset is allowed); the record is then empty.
    fn take_dirty_log(&self) -> Result<DirtyPages, EngineError>;

    /// Stops recording.
    fn stop_dirty_log(&self) -> Result<(), EngineError>;

    /// State of the I/O APIC and the clock. All vCPUs are out of [`Vcpu::run`].
    fn platform_state(&self) -> Result<PlatformState, EngineError>;

    /// Sets what [`platform_state`](Vm::platform_state) returned, here or on another engine.
    fn set_platform_state(&self, state: &PlatformState) -> Result<(), EngineError>;
}

/// One virtual CPU. Owned by the thread that runs it.
pub trait Vcpu: Send + 'static {
    /// A handle that gets this vCPU out of [`run`](Vcpu::run) from any thread.
    fn kicker(&self) -> Arc<dyn Kick>;

    /// Runs guest code until there is a reason to stop. Everything the guest does outside RAM arrives at
    /// `io` on the calling thread, in program order. A vCPU that halts or waits for start-up sleeps inside.
    fn run(&mut self, io: &impl GuestIo) -> Result<Halt, EngineError>;

    /// Has the guest told, when it goes on, that it stood still: its watchdogs are not to take that for a processor that
    /// hangs. A guest that has no place to be told at is not told.
    ///
    /// # Errors
    /// The engine failed.
    fn tell_of_standstill(&mut self) -> Result<(), EngineError>;

    /// Finishes an access that [`run`](Vcpu::run) left half-way, so that [`state`](Vcpu::state) is whole.
    fn settle(&mut self, io: &impl GuestIo) -> Result<(), EngineError>;

    /// The complete state. The vCPU is settled.
    fn state(&self) -> Result<CpuState, EngineError>;

    /// Makes the vCPU continue from `state`, which may come from another engine.
    fn set_state(&mut self, state: &CpuState) -> Result<(), EngineError>;

    /// Counters of this vCPU, shared with whoever shows them.
    fn counters(&self) -> Arc<ExitCounters>;
}

/// Gets a vCPU out of guest code.
pub trait Kick: Send + Sync {
    /// Makes the vCPU's current or next [`Vcpu::run`] return [`Halt::Kicked`] soon, once. Callable from any
    /// thread, the vCPU's own included.
    fn kick(&self);
}

/// Why [`Vcpu::run`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// Somebody called [`Kick::kick`].
    Kicked,
    /// A fault while delivering a double fault (SDM vol. 3, 6.15): hardware would reset.
    TripleFault,
    /// The guest asked the engine for a reset.
    Reset,
    /// The guest asked the engine for power-off.
    Shutdown,
    /// A debug event that the host asked for.
    Debug,
}

/// The device world as a vCPU sees it. Implemented by the machine's bus.
///
/// Addresses are in the guest's terms; accesses are 1, 2, 4 or 8 bytes (ports: up to 4). Nothing fails: an
/// address without a device reads as all ones and swallows writes, as on hardware.
pub trait GuestIo {
    /// `in`
    fn port_read(&self, port: u16, data: &mut [u8]);
    /// `out`
    fn port_write(&self, port: u16, data: &[u8]);
    /// A load outside RAM.
    fn mmio_read(&self, address: u64, data: &mut [u8]);
    /// A store outside RAM.
    fn mmio_write(&self, address: u64, data: &[u8]);
}

/// How often a vCPU left guest code, by kind. Monotonic, read from other threads.
#[derive(Debug, Default)]
pub struct ExitCounters {
    counts: [AtomicU64; ExitKind::ALL.len()],
    code: [AtomicU64; CodeFigure::ALL.len()],
}

/// What an engine that executes guest code in software keeps of it in the host's memory. Each has a bound: see
/// docs/bounds.md. Other engines keep nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeFigure {
    /// Decoded instructions.
    DecodedInstructions,
    /// Places that were executed, but not often enough to be translated.
    ColdPlaces,
    /// Pieces of translated code.
    TranslatedUnits,
    /// Their size in the code cache.
    TranslatedBytes,
    /// Instructions for which translated code may call the engine.
    Sites,
    /// Ways from one piece to another.
    Edges,
    /// How often all translated code was dropped, because the cache was full or the state was set.
    CacheDrops,
}

impl CodeFigure {
    /// All figures, in the order of their counters.
    pub const ALL: [CodeFigure; 7] = [
        CodeFigure::DecodedInstructions,
        CodeFigure::ColdPlaces,
        CodeFigure::TranslatedUnits,
        CodeFigure::TranslatedBytes,
        CodeFigure::Sites,
        CodeFigure::Edges,
        CodeFigure::CacheDrops,
    ];

    /// Name in counters and metrics.
    pub fn name(self) -> &'static str {
        match self {
            CodeFigure::DecodedInstructions => "decoded_instructions",
            CodeFigure::ColdPlaces => "cold_places",
            CodeFigure::TranslatedUnits => "translated_units",
            CodeFigure::TranslatedBytes => "translated_bytes",
            CodeFigure::Sites => "sites",
            CodeFigure::Edges => "edges",
            CodeFigure::CacheDrops => "cache_drops",
        }
    }
}

/// Kinds of exits that every engine tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitKind {
    /// `in`
    PortRead,
    /// `out`
    PortWrite,
    /// Load from a device.
    MmioRead,
    /// Store to a device.
    MmioWrite,
    /// Halted without an in-engine interrupt controller.
    Halt,
    /// Kicked, or a host signal arrived.
    Interrupted,
    /// Everything else.
    Other,
}

impl ExitKind {
    /// All kinds, in the order of their counters.
    pub const ALL: [ExitKind; 7] = [
        ExitKind::PortRead,
        ExitKind::PortWrite,
        ExitKind::MmioRead,
        ExitKind::MmioWrite,
        ExitKind::Halt,
        ExitKind::Interrupted,
        ExitKind::Other,
    ];

    /// Name in counters and metrics.
    pub fn name(self) -> &'static str {
        match self {
            ExitKind::PortRead => "port_read",
            ExitKind::PortWrite => "port_write",
            ExitKind::MmioRead => "mmio_read",
            ExitKind::MmioWrite => "mmio_write",
            ExitKind::Halt => "halt",
            ExitKind::Interrupted => "interrupted",
            ExitKind::Other => "other",
        }
    }
}

impl ExitCounters {
    /// Counts one exit.
    pub fn count(&self, kind: ExitKind) {
        self.counts[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Says what a figure about code is now.
    pub fn set_code(&self, figure: CodeFigure, value: u64) {
        self.code[figure as usize].store(value, Ordering::Relaxed);
    }

    /// A figure about code.
    pub fn code(&self, figure: CodeFigure) -> u64 {
        self.code[figure as usize].load(Ordering::Relaxed)
    }

    /// Exits of one kind so far.
    pub fn get(&self, kind: ExitKind) -> u64 {
        self.counts[kind as usize].load(Ordering::Relaxed)
    }
}
