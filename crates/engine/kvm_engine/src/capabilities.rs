//! What this host's KVM can do.

use kvm_ioctls::{Cap, Kvm};

/// Optional capabilities (API 4.4). A missing one changes how a thing is done, or leaves it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are KVM's")]
pub struct Capabilities {
    pub immediate_exit: bool,
    pub irqfd: bool,
    pub irq_routing: bool,
    pub signal_msi: bool,
    pub ioeventfd: bool,
    pub ioeventfd_any_length: bool,
    pub vcpu_events: bool,
    pub exception_payload: bool,
    pub debug_registers: bool,
    pub xsave: bool,
    pub xcrs: bool,
    pub adjust_clock: bool,
    pub kvmclock_ctrl: bool,
    pub tsc_deadline: bool,
    pub get_tsc_khz: bool,
    pub x2apic_api: bool,
    pub identity_map_address: bool,
    pub readonly_memory: bool,
    pub memory_slots: usize,
    pub max_vcpus: u32,
    /// Bytes of the XSAVE area of the widest guest (`KVM_CAP_XSAVE2`), or 4096.
    pub xsave_size_bytes: usize,
}

/// Capabilities without which no guest of ours can run, and what they are called.
const REQUIRED: [(Cap, &str); 5] = [
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
    (Cap::Irqchip, "KVM_CAP_IRQCHIP"),
    (Cap::ExtCpuid, "KVM_CAP_EXT_CPUID"),
    (Cap::SetTssAddr, "KVM_CAP_SET_TSS_ADDR"),
    (Cap::MpState, "KVM_CAP_MP_STATE"),
];

/// `KVM_CAP_XSAVE2` (API 4.134).
const CAP_XSAVE2: u32 = kvm_bindings::KVM_CAP_XSAVE2;

impl Capabilities {
    /// Asks for all of them.
    pub(crate) fn of(kvm: &Kvm) -> Capabilities {
        let has = |cap| kvm.check_extension(cap);
        let xsave2 = kvm.check_extension_raw(CAP_XSAVE2.into());
        Capabilities {
            immediate_exit: has(Cap::ImmediateExit),
            irqfd: has(Cap::Irqfd),
            irq_routing: has(Cap::IrqRouting),
            signal_msi: has(Cap::SignalMsi),
            ioeventfd: has(Cap::Ioeventfd),
            ioeventfd_any_length: kvm.check_extension_raw(kvm_bindings::KVM_CAP_IOEVENTFD_ANY_LENGTH.into())
                > 0,
            vcpu_events: has(Cap::VcpuEvents),
            exception_payload: kvm.check_extension_raw(kvm_bindings::KVM_CAP_EXCEPTION_PAYLOAD.into()) > 0,
            debug_registers: has(Cap::Debugregs),
            xsave: has(Cap::Xsave),
            xcrs: has(Cap::Xcrs),
            adjust_clock: has(Cap::AdjustClock),
            kvmclock_ctrl: has(Cap::KvmclockCtrl),
            tsc_deadline: has(Cap::TscDeadlineTimer),
            get_tsc_khz: has(Cap::GetTscKhz),
            x2apic_api: has(Cap::X2ApicApi),
            identity_map_address: has(Cap::SetIdentityMapAddr),
            readonly_memory: has(Cap::ReadonlyMem),
            memory_slots: kvm.get_nr_memslots(),
            max_vcpus: u32::try_from(kvm.get_max_vcpus()).unwrap_or(u32::MAX),
            xsave_size_bytes: usize::try_from(xsave2).unwrap_or(0).max(4096),
        }
    }

    /// The first capability that is required and absent.
    pub(crate) fn missing(kvm: &Kvm) -> Option<&'static str> {
        REQUIRED.iter().find(|(cap, _)| !kvm.check_extension(*cap)).map(|(_, name)| *name)
    }
}
