//! `/dev/kvm`, opened once a process.

use std::ffi::CString;
use std::io;
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

use arch_model::x86_64::CpuModel;
use arch_model::x86_64::cpuid::{self, Cpuid};
use guest_memory::GuestMemory;
use kvm_ioctls::Kvm;
use vcpu_model::{Engine, EngineError, VmConfig, check_cpuid};

use crate::capabilities::Capabilities;
use crate::cpuid::offered;
use crate::probe::{self, ProbeReport};
use crate::vm::KvmVm;

/// The only version of the API that there will ever be (API 4.1).
const API_VERSION: i32 = 12;

/// Where Linux puts it (see also `yagura doctor`).
pub const DEVICE: &str = "/dev/kvm";

/// KVM on this host.
pub struct KvmEngine {
    kvm: Kvm,
    capabilities: Capabilities,
    /// What this KVM offers guests: it stays as it is, and asking takes a third of a millisecond inside a VM,
    /// where each CPUID of the host's is an exit.
    offered: OnceLock<Cpuid>,
}

impl KvmEngine {
    /// Opens `path` (usually [`DEVICE`]) and checks that it can run our guests.
    pub fn open(path: &Path) -> Result<KvmEngine, EngineError> {
        let unavailable = |what: String, source| EngineError::Unavailable { what, source };
        let name = path.display();
        let c_path = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| unavailable(format!("{name} is not a path"), None))?;
        let fd = Kvm::open_with_cloexec_at(c_path, true).map_err(|error| {
            let source = io::Error::from_raw_os_error(error.errno());
            unavailable(advice(path, &source), Some(source))
        })?;
        // SAFETY: the descriptor was just opened and is owned by nothing else.
        let kvm = unsafe { Kvm::from_raw_fd(fd) };
        let version = kvm.get_api_version();
        if version != API_VERSION {
            return Err(unavailable(
                format!("{name} does not answer as KVM (version {version}, not 12)"),
                None,
            ));
        }
        if let Some(missing) = Capabilities::missing(&kvm) {
            return Err(unavailable(format!("the KVM of this host lacks {missing}"), None));
        }
        let capabilities = Capabilities::of(&kvm);
        Ok(KvmEngine { kvm, capabilities, offered: OnceLock::new() })
    }

    /// What this host's KVM can do.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The highest named CPU model that this host offers.
    pub fn highest_cpu_model(&self) -> Result<Option<CpuModel>, EngineError> {
        Ok(cpuid::highest_level(self.offered()?))
    }

    fn offered(&self) -> Result<&Cpuid, EngineError> {
        if let Some(known) = self.offered.get() {
            return Ok(known);
        }
        let asked = offered(&self.kvm, &self.capabilities)?;
        Ok(self.offered.get_or_init(|| asked))
    }

    /// Runs a tiny guest to find out whether hardware stands behind this KVM.
    pub fn probe(&self) -> Result<ProbeReport, EngineError> {
        probe::probe(self)
    }
}

impl Engine for KvmEngine {
    type Vm = KvmVm;

    fn name(&self) -> &'static str {
        "kvm"
    }

    fn offered_cpuid(&self) -> Result<Cpuid, EngineError> {
        self.offered().cloned()
    }

    fn default_cpu_model(&self) -> Result<CpuModel, EngineError> {
        self.highest_cpu_model()?.ok_or_else(|| {
            EngineError::Unsupported("this host offers not even x86-64-v1 to guests".to_owned())
        })
    }

    fn create_vm(&self, config: &VmConfig, memory: &GuestMemory) -> Result<KvmVm, EngineError> {
        let limit = self.capabilities.max_vcpus.min(vcpu_model::MAX_VCPUS);
        if !(1..=limit).contains(&config.vcpus) {
            let asked = config.vcpus;
            return Err(EngineError::Unsupported(format!(
                "{asked} vCPUs: this host's KVM takes 1 to {limit}"
            )));
        }
        check_cpuid(self.name(), &config.cpuid, self.offered()?)?;
        KvmVm::create(&self.kvm, self.capabilities, config.cpuid.clone(), config.vcpus, memory)
    }
}

/// One line for a person whose `/dev/kvm` does not open.
fn advice(path: &Path, error: &io::Error) -> String {
    let name = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            format!(
                "{name} is not there: load the kvm_intel or kvm_amd module, and turn on VT-x or AMD-V in the firmware"
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!(
                "{name} may not be opened by this user: join the group kvm (usermod -aG kvm USER, then log in again)"
            )
        }
        _ => format!("{name} cannot be opened"),
    }
}
