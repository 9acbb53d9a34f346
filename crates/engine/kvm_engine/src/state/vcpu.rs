//! A vCPU's state, read and set in the order that KVM's own rules ask for.

use arch_model::x86_64::{CpuState, ExtendedState, MsrValue};
use kvm_bindings::{Msrs, kvm_msr_entry, kvm_xcr, kvm_xcrs, kvm_xsave};
use kvm_ioctls::VcpuFd;
use tracing::debug;
use vcpu_model::EngineError;

use super::convert;
use crate::capabilities::Capabilities;
use crate::failed;

/// Difference in frequency, in millionths, that KVM itself takes for none (`kvm.tsc_tolerance_ppm`).
const TSC_TOLERANCE_PPM: u64 = 250;
/// XCR0 (SDM vol. 3, 2.6).
const XCR0: u32 = 0;
/// Bytes of `kvm_xsave` without its extension.
const XSAVE_SIZE: usize = 4096;
/// Which components an area holds, the first word of its header (SDM vol. 1, 13.4.2).
const XSTATE_BV: usize = 512;
/// x87 and SSE, which every processor has.
const LEGACY_COMPONENTS: u64 = 0b11;

/// Reads the state of a vCPU whose processor has these components for XSAVE and these MSRs.
pub(crate) fn save(
    fd: &VcpuFd,
    capabilities: &Capabilities,
    components: u64,
    msrs: &[u32],
) -> Result<CpuState, EngineError> {
    // The run state first: asking for it makes KVM take pending INIT and start-up IPIs into account.
    let run_state = convert::run_state_from(fd.get_mp_state().map_err(failed("KVM_GET_MP_STATE"))?);
    let regs = fd.get_regs().map_err(failed("KVM_GET_REGS"))?;
    let sregs = fd.get_sregs().map_err(failed("KVM_GET_SREGS"))?;
    let mut state = CpuState {
        registers: convert::registers_from(&regs),
        system: convert::system_from(&sregs),
        extended: save_extended(fd, capabilities, components)?,
        msrs: save_msrs(fd, msrs)?,
        lapic: convert::lapic_from(&fd.get_lapic().map_err(failed("KVM_GET_LAPIC"))?),
        run_state,
        tsc_khz: tsc_khz(fd, capabilities),
        ..CpuState::default()
    };
    if capabilities.debug_registers {
        state.debug = convert::debug_from(&fd.get_debug_regs().map_err(failed("KVM_GET_DEBUGREGS"))?);
    }
    if capabilities.vcpu_events {
        state.events = convert::events_from(&fd.get_vcpu_events().map_err(failed("KVM_GET_VCPU_EVENTS"))?);
    }
    Ok(state)
}

pub(crate) fn restore(fd: &VcpuFd, capabilities: &Capabilities, state: &CpuState) -> Result<(), EngineError> {
    let CpuState { registers, system, extended, debug, msrs, lapic, events, run_state, tsc_khz } = state;
    fd.set_mp_state(convert::run_state_to(*run_state)).map_err(failed("KVM_SET_MP_STATE"))?;
    // System registers hold the APIC base, which decides how the LAPIC's registers are read; the LAPIC comes
    // before the MSRs, since setting the TSC deadline needs its timer in deadline mode.
    fd.set_sregs(&convert::system_to(system, events.interrupt)).map_err(failed("KVM_SET_SREGS"))?;
    fd.set_regs(&convert::registers_to(registers)).map_err(failed("KVM_SET_REGS"))?;
    restore_extended(fd, capabilities, extended)?;
    if !lapic.registers.is_empty() {
        fd.set_lapic(&convert::lapic_to(lapic)).map_err(failed("KVM_SET_LAPIC"))?;
    }
    if let Some(khz) = *tsc_khz {
        restore_tsc_khz(fd, capabilities, khz)?;
    }
    restore_msrs(fd, msrs)?;
    if capabilities.debug_registers {
        fd.set_debug_regs(&convert::debug_to(debug)).map_err(failed("KVM_SET_DEBUGREGS"))?;
    }
    if capabilities.vcpu_events {
        let events = convert::events_to(events, capabilities.exception_payload);
        fd.set_vcpu_events(&events).map_err(failed("KVM_SET_VCPU_EVENTS"))?;
    }
    Ok(())
}

/// The TSC's frequency; a host whose TSC is not stable does not say it (API 4.56).
fn tsc_khz(fd: &VcpuFd, capabilities: &Capabilities) -> Option<u32> {
    capabilities.get_tsc_khz.then(|| fd.get_tsc_khz().ok()).flatten().filter(|khz| *khz != 0)
}

/// A guest measures its TSC once and counts on it from then on: it gets the same frequency, or is not taken (API 4.55).
fn restore_tsc_khz(fd: &VcpuFd, capabilities: &Capabilities, khz: u32) -> Result<(), EngineError> {
    let Some(ours) = tsc_khz(fd, capabilities) else { return Ok(()) };
    if u64::from(ours.abs_diff(khz)) * 1_000_000 <= u64::from(ours) * TSC_TOLERANCE_PPM {
        return Ok(());
    }
    fd.set_tsc_khz(khz).map_err(|error| {
        debug!(%error, "KVM_SET_TSC_KHZ");
        EngineError::Unsupported(format!(
            "the guest's TSC has {khz} kHz, this host's {ours} kHz, and its processor cannot scale it"
        ))
    })
}

fn save_extended(
    fd: &VcpuFd,
    capabilities: &Capabilities,
    components: u64,
) -> Result<ExtendedState, EngineError> {
    if !capabilities.xsave {
        return Err(EngineError::Unsupported("this KVM cannot save the FPU (no KVM_CAP_XSAVE)".to_owned()));
    }
    // Tile data (AMX) is offered to no named model; a guest of model `host` may use it, where a process asked for it.
    if capabilities.xsave_size_bytes > XSAVE_SIZE {
        let size = capabilities.xsave_size_bytes;
        return Err(EngineError::Unsupported(format!(
            "the guest's vector registers take {size} bytes, of which {XSAVE_SIZE} can be saved; give it a named CPU model"
        )));
    }
    let xsave = fd.get_xsave().map_err(failed("KVM_GET_XSAVE"))?;
    let xcr0 = if capabilities.xcrs {
        let xcrs = fd.get_xcrs().map_err(failed("KVM_GET_XCRS"))?;
        xcrs.xcrs.iter().take(xcrs.nr_xcrs as usize).find(|xcr| xcr.xcr == XCR0).map_or(1, |xcr| xcr.value)
    } else {
        1
    };
    let mut bytes: Vec<u8> = xsave.region.iter().flat_map(|word| word.to_le_bytes()).collect();
    drop_foreign_components(&mut bytes, components);
    Ok(ExtendedState { xsave: bytes, xcr0 })
}

/// Takes out components that the guest's processor does not have. Kernels before 6.6 tell of those of the host's, in the state
/// that no guest has touched, and one is known that puts the host's into what a vCPU answers to CPUID as well.
fn drop_foreign_components(area: &mut [u8], components: u64) {
    if let Some((word, _)) = area.get_mut(XSTATE_BV..).and_then(<[u8]>::split_first_chunk_mut::<8>) {
        let present = u64::from_le_bytes(*word);
        *word = (present & (components | LEGACY_COMPONENTS)).to_le_bytes();
    }
}

fn restore_extended(
    fd: &VcpuFd,
    capabilities: &Capabilities,
    state: &ExtendedState,
) -> Result<(), EngineError> {
    let ExtendedState { xsave: bytes, xcr0 } = state;
    if capabilities.xcrs {
        let mut xcrs = kvm_xcrs { nr_xcrs: 1, ..Default::default() };
        xcrs.xcrs[0] = kvm_xcr { xcr: XCR0, value: (*xcr0).max(1), ..Default::default() };
        fd.set_xcrs(&xcrs).map_err(failed("KVM_SET_XCRS"))?;
    }
    if bytes.len() > XSAVE_SIZE {
        let size = bytes.len();
        return Err(EngineError::Unsupported(format!(
            "the guest's vector registers take {size} bytes, of which {XSAVE_SIZE} can be restored"
        )));
    }
    if capabilities.xsave && !bytes.is_empty() {
        let mut xsave = kvm_xsave::default();
        for (word, bytes) in xsave.region.iter_mut().zip(bytes.chunks(4)) {
            let mut padded = [0; 4];
            padded[..bytes.len()].copy_from_slice(bytes);
            *word = u32::from_le_bytes(padded);
        }
        // SAFETY: KVM reads at most `KVM_CAP_XSAVE2` bytes, which is 4096, the size of the structure, unless
        // the process asked for dynamic features (AMX); Yagura never does.
        unsafe { fd.set_xsave(&xsave) }.map_err(failed("KVM_SET_XSAVE"))?;
    }
    Ok(())
}

/// Reads `indexes`, leaving out those that this vCPU's CPUID hides (KVM stops at the first of them).
fn save_msrs(fd: &VcpuFd, indexes: &[u32]) -> Result<Vec<MsrValue>, EngineError> {
    let mut out = Vec::with_capacity(indexes.len());
    let mut rest = indexes;
    while !rest.is_empty() {
        let entries: Vec<_> =
            rest.iter().map(|index| kvm_msr_entry { index: *index, ..Default::default() }).collect();
        let mut msrs = Msrs::from_entries(&entries)
            .map_err(|_| EngineError::Unsupported("more MSRs than KVM takes".to_owned()))?;
        let read = fd.get_msrs(&mut msrs).map_err(failed("KVM_GET_MSRS"))?;
        out.extend(msrs.as_slice()[..read].iter().map(|msr| MsrValue { index: msr.index, value: msr.data }));
        rest = rest.get(read + 1..).unwrap_or_default();
    }
    Ok(out)
}

fn restore_msrs(fd: &VcpuFd, values: &[MsrValue]) -> Result<(), EngineError> {
    let mut rest = values;
    while !rest.is_empty() {
        let entries: Vec<_> = rest
            .iter()
            .map(|msr| kvm_msr_entry { index: msr.index, data: msr.value, ..Default::default() })
            .collect();
        let msrs = Msrs::from_entries(&entries)
            .map_err(|_| EngineError::Unsupported("more MSRs than KVM takes".to_owned()))?;
        let set = fd.set_msrs(&msrs).map_err(failed("KVM_SET_MSRS"))?;
        let Some(refused) = rest.get(set) else { break };
        if refused.value != 0 {
            let MsrValue { index, value } = refused;
            return Err(EngineError::Unsupported(format!("this host refuses MSR {index:#x} = {value:#x}")));
        }
        // A register that this host does not have and that is at zero is no loss.
        rest = &rest[set + 1..];
    }
    Ok(())
}
