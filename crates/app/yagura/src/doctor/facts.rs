//! What there is to know about a host. The names of these fields are the keys of `doctor -f json`.

use std::io::{self, ErrorKind};

use serde::Serialize;
use yagura_vmm::meminfo::{HugePageFacts, MemoryFacts};

/// A host.
#[derive(Clone, Debug, Serialize)]
pub struct HostFacts {
    /// Linux KVM.
    pub kvm: KvmFacts,
    /// What executes guests where nobody chooses.
    pub engine: EngineFacts,
    /// What the CPU says of itself.
    pub cpu: CpuFacts,
    /// RAM; `None` where `/proc` is missing.
    pub memory: Option<MemoryFacts>,
    /// Merging of equal pages; `None` where the kernel has none.
    pub ksm: Option<KsmFacts>,
    /// Mode of transparent huge pages (`always`, `madvise`, `never`); `None` where the kernel has none.
    pub transparent_huge_pages: Option<String>,
    /// Huge pages set aside.
    pub huge_pages: HugePageFacts,
    /// Network interfaces for guests.
    pub tap: TapFacts,
    /// Asynchronous file I/O.
    pub io_uring: Access,
    /// Limits for process groups.
    pub cgroups: CgroupFacts,
    /// Confinement to files.
    pub landlock: LandlockFacts,
    /// Guest memory that is filled on demand.
    pub userfaultfd: UserfaultfdFacts,
    /// Confinement to system calls.
    pub seccomp: SeccompFacts,
}

/// Whether something is there and may be used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Access {
    /// The kernel has it.
    pub present: bool,
    /// This user can use it.
    pub usable: bool,
    /// Why not.
    pub error: Option<String>,
}

/// KVM, by its API and by a probe guest.
#[derive(Clone, Debug, Default, Serialize)]
pub struct KvmFacts {
    /// Where it was looked for.
    pub device: String,
    /// Whether it can be opened and has what our guests need.
    #[serde(flatten)]
    pub access: Access,
    /// Version of the API.
    pub api_version: Option<i32>,
    /// Whether hardware runs the guest's ring 0; false where that could not be found out.
    pub hardware: bool,
    /// Why the probe guest did not run.
    pub probe_error: Option<String>,
    /// Time that an instruction of the probe guest took.
    pub ns_per_instruction: Option<f64>,
    /// The highest named CPU model that guests can be given.
    pub highest_cpu_model: Option<&'static str>,
    /// Most vCPUs of one VM.
    pub max_vcpus: Option<u32>,
}

/// Engines.
#[derive(Clone, Debug, Default, Serialize)]
pub struct EngineFacts {
    /// What `--engine auto` takes: `kvm` or `soft`.
    pub auto: &'static str,
    /// The highest named CPU model of the software engine.
    pub soft_cpu_model: Option<&'static str>,
}

/// The CPU.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CpuFacts {
    /// Name of the hardware virtualization that it shows: `VT-x` or `AMD-V`.
    pub virtualization: Option<&'static str>,
}

/// Kernel samepage merging (Linux, `Documentation/admin-guide/mm/ksm.rst`).
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct KsmFacts {
    /// ksmd is at work (`run` is 1).
    pub running: bool,
    /// Pages that stand for several equal ones.
    pub pages_shared: u64,
    /// Pages saved by them.
    pub pages_sharing: u64,
    /// Memory saved by them.
    pub saved_bytes: u64,
}

/// Tap interfaces.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TapFacts {
    /// Of `/dev/net/tun`.
    #[serde(flatten)]
    pub access: Access,
    /// This process may make interfaces (CAP_NET_ADMIN).
    pub net_admin: bool,
}

/// Control groups.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CgroupFacts {
    /// Controllers that are mounted as version 1.
    pub v1_controllers: Vec<String>,
    /// This process may make groups below its own, in version 1.
    pub v1_writable: bool,
    /// Version 2 is mounted.
    pub v2_mounted: bool,
    /// Controllers that version 2 offers to this process's group.
    pub v2_controllers: Vec<String>,
    /// This process may make groups below its own, in version 2: they were delegated to it.
    pub v2_writable: bool,
}

/// Landlock.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LandlockFacts {
    /// Version of the interface; `None` where it is missing or off.
    pub version: Option<u32>,
}

/// userfaultfd(2).
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct UserfaultfdFacts {
    /// Faults of user mode can be served.
    pub user_faults: bool,
    /// So can the kernel's, as KVM needs.
    pub kernel_faults: bool,
}

/// seccomp(2).
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct SeccompFacts {
    /// System calls can be filtered.
    pub filters: bool,
}

impl HostFacts {
    /// Whether unmodified operating systems run here.
    pub fn can_run(&self) -> bool {
        self.kvm.is_first_choice() || self.engine.soft_cpu_model.is_some()
    }
}

impl KvmFacts {
    /// Whether `--engine auto` takes it.
    pub fn is_first_choice(&self) -> bool {
        self.access.usable && self.hardware
    }
}

impl Access {
    /// Usable, without doubt.
    pub fn granted() -> Access {
        Access { present: true, usable: true, error: None }
    }

    /// Not usable, by the kernel's answer.
    pub fn denied(error: &io::Error) -> Access {
        let absent = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unsupported)
            || error.raw_os_error().is_some_and(|errno| ABSENT.contains(&errno));
        Access { present: !absent, usable: false, error: Some(error.to_string()) }
    }

    /// By the result of an attempt.
    pub fn of<T>(attempt: &io::Result<T>) -> Access {
        attempt.as_ref().map_or_else(Access::denied, |_| Access::granted())
    }
}

/// Answers that mean "there is no such thing": ENXIO, ENODEV, ENOSYS (errno(3)).
const ABSENT: [i32; 3] = [6, 19, 38];
