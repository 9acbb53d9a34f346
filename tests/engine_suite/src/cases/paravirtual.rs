//! What a hypervisor tells the guest in its memory (Linux, `Documentation/virt/kvm/x86/msr.rst`).

use arch_model::x86_64::msr;

use super::Case;
use crate::guest::Guest;
use crate::layout::*;
use crate::outcome::Expect;

const STEAL: &str = "KVM, x86/msr.rst, MSR_KVM_STEAL_TIME";

pub(super) fn cases() -> Vec<Case> {
    // movzx eax, byte [rbx + 0x50]: `preempted` of the structure, 16 bytes from its start. The state was saved while
    // others ran; whoever reads this runs, and must not be taken for one whose TLB somebody else will flush.
    let mut guest = Guest::long(0, &[0x0f, 0xb6, 0x43, 0x50]);
    guest.msrs.push((msr::kvm::STEAL_TIME, (DATA + 0x40) | 1));
    guest.put(DATA + 0x50, &[1]);
    guest.registers.rax = 0x55;
    vec![Case::new("a vCPU that runs is not preempted", STEAL, guest, Expect::done().rax(0))]
}
