//! Model-specific registers.

use arch_model::x86_64::{MsrValue, msr};

use super::{Core, Cpu, Exec, seg};
use crate::features::ARCH_CAPABILITIES;
use crate::platform::{TimeInfo, WallClock};
use crate::shared::Shared;

/// Offset of `preempted` in `struct kvm_steal_time` (Linux, `Documentation/virt/kvm/x86/msr.rst`).
const STEAL_TIME_PREEMPTED: u64 = 16;
/// IA32_ARCH_CAPABILITIES.
const ARCH_CAPABILITIES_MSR: u32 = 0x10a;
/// Microcode revision (SDM vol. 4).
const BIOS_SIGN_ID: u32 = 0x8b;
/// Prediction commands: write-only.
const PRED_CMD: u32 = 0x49;
/// Platform information, and others that operating systems read without asking and that hold nothing here.
const READ_AS_ZERO: &[u32] =
    &[0x17, 0x2a, 0x34, 0x3a, 0xcd, 0xce, 0x140, 0x179, 0x17b, 0x198, 0x19c, 0x1d9, 0x1fc];
/// MTRR capabilities: eight variable ranges, fixed ranges, write combining.
const MTRR_CAP_VALUE: u64 = 0x508;
/// First of the x2APIC's MSRs, and their number.
const X2APIC: std::ops::Range<u32> = 0x800..0x900;
/// Old numbers of kvmclock's MSRs (Linux, `Documentation/virt/kvm/x86/msr.rst`).
const OLD_WALL_CLOCK: u32 = 0x11;
const OLD_SYSTEM_TIME: u32 = 0x12;
/// Memory types that PAT and MTRRs may hold (SDM vol. 3, 12.3).
const MEMORY_TYPES: u64 = 1 << 0 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6;

fn is_canonical(address: u64) -> bool {
    (address as i64) << 16 >> 16 == address as i64
}

impl Core<'_> {
    /// RDMSR.
    pub fn read_msr(&mut self, index: u32) -> Exec<u64> {
        let value = match index {
            msr::TSC => Some(self.tsc()),
            msr::APIC_BASE => Some(self.lapic.apic_base()),
            msr::TSC_DEADLINE => Some(self.lapic.tsc_deadline()),
            msr::EFER => Some(self.efer),
            msr::FS_BASE => Some(self.segments[seg::FS].base),
            msr::GS_BASE => Some(self.segments[seg::GS].base),
            msr::MTRR_CAP => Some(MTRR_CAP_VALUE),
            ARCH_CAPABILITIES_MSR => Some(ARCH_CAPABILITIES),
            BIOS_SIGN_ID => Some(1 << 32),
            index if X2APIC.contains(&index) => self.lapic.read_msr(index).ok(),
            index if READ_AS_ZERO.contains(&index) => Some(0),
            index => stored(&mut self.cpu, index).map(|slot| *slot),
        };
        match value {
            Some(value) => Ok(value),
            None => self.general_protection(0),
        }
    }

    /// WRMSR.
    pub fn write_msr(&mut self, index: u32, value: u64) -> Exec {
        match index {
            msr::EFER => return self.set_efer(value),
            msr::TSC => self.set_tsc(value),
            msr::TSC_ADJUST => {
                let moved = value.wrapping_sub(self.msrs.tsc_adjust);
                self.move_tsc(moved);
                self.cpu.msrs.tsc_adjust = value;
            }
            msr::TSC_DEADLINE => {
                self.lapic.set_tsc_deadline(value);
                self.attention = true;
            }
            msr::APIC_BASE => {
                if self.lapic.set_apic_base(value).is_err() {
                    return self.general_protection(0);
                }
                self.attention = true;
            }
            index if X2APIC.contains(&index) => {
                if self.lapic.write_msr(index, value).is_err() {
                    return self.general_protection(0);
                }
                self.attention = true;
            }
            msr::FS_BASE | msr::GS_BASE => {
                if !is_canonical(value) {
                    return self.general_protection(0);
                }
                let register = if index == msr::FS_BASE { seg::FS } else { seg::GS };
                let segment = arch_model::x86_64::Segment { base: value, ..self.segments[register] };
                self.set_segment(register, segment);
            }
            msr::kvm::WALL_CLOCK | OLD_WALL_CLOCK => return self.publish_wall_clock(value),
            msr::kvm::SYSTEM_TIME | OLD_SYSTEM_TIME => {
                self.cpu.msrs.kvm_system_time = value;
                self.publish_system_time(false);
            }
            PRED_CMD => {}
            index => return self.store_msr(index, value),
        }
        Ok(())
    }

    fn store_msr(&mut self, index: u32, value: u64) -> Exec {
        let must_be_canonical = matches!(
            index,
            msr::LSTAR | msr::CSTAR | msr::KERNEL_GS_BASE | msr::SYSENTER_ESP | msr::SYSENTER_EIP
        );
        let type_is_known = |value: u64| value < 8 && MEMORY_TYPES >> value & 1 == 1;
        let bytes = value.to_le_bytes();
        let legal = match index {
            _ if must_be_canonical => is_canonical(value),
            // UC- is a type of PAT's alone.
            msr::PAT => bytes.iter().all(|byte| *byte == 7 || type_is_known((*byte).into())),
            msr::MTRR_DEF_TYPE => value & !0xcff == 0 && type_is_known(value & 0xff),
            _ if msr::MTRR_FIXED.contains(&index) => bytes.iter().all(|byte| type_is_known((*byte).into())),
            msr::SYSCALL_MASK | msr::TSC_AUX => value >> 32 == 0,
            msr::SPEC_CTRL => value & !7 == 0,
            _ => true,
        };
        match stored(&mut self.cpu, index) {
            Some(slot) if legal => *slot = value,
            // What nothing is kept for, but operating systems write without asking.
            None if READ_AS_ZERO.contains(&index) || index == BIOS_SIGN_ID => {}
            _ => return self.general_protection(0),
        }
        Ok(())
    }

    fn set_tsc(&mut self, value: u64) {
        let moved = value.wrapping_sub(self.tsc());
        self.move_tsc(moved);
        self.cpu.msrs.tsc_adjust = self.msrs.tsc_adjust.wrapping_add(moved);
    }

    fn move_tsc(&mut self, moved: u64) {
        self.cpu.tsc = self.cpu.tsc.moved(moved);
        self.lapic.set_tsc(self.cpu.tsc);
    }

    fn publish_wall_clock(&mut self, gpa: u64) -> Exec {
        self.cpu.msrs.kvm_wall_clock = gpa;
        let start_ns = self.shared.platform.clock().kvmclock_start_ns();
        let version = self.next_version(gpa);
        self.publish(gpa, &WallClock { version, start_ns }.to_bytes());
        Ok(())
    }

    /// Writes what kvmclock tells this vCPU; bit 0 of the MSR enables it. Whether the guest is told that it stood still.
    pub fn publish_system_time(&mut self, stopped: bool) {
        let gpa = self.msrs.kvm_system_time;
        if gpa & 1 == 1 {
            let gpa = gpa & !1;
            let clock = self.shared.platform.clock();
            let now_ns = clock.now_ns();
            let time = TimeInfo {
                version: self.next_version(gpa),
                tsc: self.cpu.tsc.at(now_ns),
                to_nanos: self.cpu.tsc.to_nanos(),
                kvmclock_ns: clock.kvmclock_ns(now_ns),
                stable: self.shared.platform.tsc_is_stable(),
                stopped,
            };
            self.publish(gpa, &time.to_bytes());
        }
    }

    /// Where steal time is told, a vCPU that was saved while others ran is no longer preempted. Otherwise a guest from
    /// KVM would leave the flush of its TLB to a hypervisor that looks for such requests.
    pub fn clear_preempted(&mut self) {
        let gpa = self.msrs.kvm_steal_time;
        if gpa & 1 == 1 {
            self.publish((gpa & !0x3f) + STEAL_TIME_PREEMPTED, &[0]);
        }
    }

    /// The version after the one that stands at `gpa`: even, and another.
    fn next_version(&self, gpa: u64) -> u32 {
        use guest_memory::{Bytes as _, GuestAddress};
        let found: u32 = self.space.slots.read_obj(GuestAddress(gpa)).unwrap_or(0);
        (found | 1).wrapping_add(1)
    }

    /// Writes to guest-physical memory; outside RAM it is lost, as the guest asked.
    fn publish(&mut self, gpa: u64, bytes: &[u8]) {
        use guest_memory::{Bytes as _, GuestAddress};
        // The whole structure or nothing: a guest that names a place without RAM gets no clock.
        let _ = self.space.slots.write_slice(bytes, GuestAddress(gpa));
    }
}

/// MSRs that are plain storage.
fn stored(cpu: &mut Cpu, index: u32) -> Option<&mut u64> {
    let msrs = &mut cpu.msrs;
    Some(match index {
        msr::SYSENTER_CS => &mut msrs.sysenter_cs,
        msr::SYSENTER_ESP => &mut msrs.sysenter_esp,
        msr::SYSENTER_EIP => &mut msrs.sysenter_eip,
        msr::STAR => &mut msrs.star,
        msr::LSTAR => &mut msrs.lstar,
        msr::CSTAR => &mut msrs.cstar,
        msr::SYSCALL_MASK => &mut msrs.syscall_mask,
        msr::KERNEL_GS_BASE => &mut msrs.kernel_gs_base,
        msr::TSC_AUX => &mut msrs.tsc_aux,
        msr::TSC_ADJUST => &mut msrs.tsc_adjust,
        msr::PAT => &mut msrs.pat,
        msr::MISC_ENABLE => &mut msrs.misc_enable,
        msr::SPEC_CTRL => &mut msrs.spec_ctrl,
        msr::MTRR_DEF_TYPE => &mut msrs.mtrr_def_type,
        index if index == msr::MCG[0] => &mut msrs.mcg_status,
        msr::kvm::WALL_CLOCK | OLD_WALL_CLOCK => &mut msrs.kvm_wall_clock,
        msr::kvm::SYSTEM_TIME | OLD_SYSTEM_TIME => &mut msrs.kvm_system_time,
        msr::kvm::STEAL_TIME => &mut msrs.kvm_steal_time,
        msr::kvm::POLL_CONTROL => &mut msrs.kvm_poll_control,
        _ => {
            if let Some(place) = msr::MTRR_FIXED.iter().position(|fixed| *fixed == index) {
                return Some(&mut msrs.mtrr_fixed[place]);
            }
            let place = index.checked_sub(msr::MTRR_VARIABLE)? as usize;
            return msrs.mtrr_variable.get_mut(place);
        }
    })
}

/// The MSRs of a saved state.
pub(super) fn save(cpu: &Cpu, lapic: &crate::platform::Lapic, shared: &Shared) -> Vec<MsrValue> {
    let mut cpu = cpu.clone();
    let tsc = cpu.tsc.at(shared.platform.clock().now_ns());
    let value = |index| match index {
        msr::TSC => Some(tsc),
        msr::TSC_DEADLINE => Some(lapic.tsc_deadline()),
        index => stored(&mut cpu, index).map(|slot| *slot),
    };
    let indexes: Vec<u32> = msr::saved().collect();
    indexes
        .iter()
        .copied()
        .zip(indexes.iter().copied().map(value))
        .filter_map(|(index, value)| Some(MsrValue { index, value: value? }))
        .collect()
}

/// Takes over the MSRs of a saved state; those that this CPU does not have are left out.
pub(super) fn restore(
    cpu: &mut Cpu,
    lapic: &mut crate::platform::Lapic,
    shared: &Shared,
    values: &[MsrValue],
) {
    for MsrValue { index, value } in values.iter().copied() {
        match index {
            msr::TSC => {
                cpu.tsc = cpu.tsc.showing(value, shared.platform.clock().now_ns());
                lapic.set_tsc(cpu.tsc);
            }
            msr::TSC_DEADLINE => lapic.set_tsc_deadline(value),
            index => {
                if let Some(slot) = stored(cpu, index) {
                    *slot = value;
                }
            }
        }
    }
}
