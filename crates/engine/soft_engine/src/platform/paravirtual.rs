//! Hypercalls that interrupt other vCPUs (Linux, `Documentation/virt/kvm/x86/hypercalls.rst`).

use super::mailbox::Request;
use super::message::Message;
use super::router::Platform;

/// Operands of KVM_HC_SEND_IPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SendIpi {
    /// The APIC IDs from `first` on that the interrupt is for, a bit each; the caller in 64-bit mode gives
    /// two words of 64 bits, others two of 32.
    pub(crate) targets: u128,
    /// The APIC ID of bit 0.
    pub(crate) first: u32,
    /// Vector and delivery mode, as in the lower half of the ICR.
    pub(crate) icr: u32,
}

/// What a hypercall answers to operands that mean nothing.
pub(crate) const KVM_EINVAL: i64 = -22;

/// Logical destination and shorthand, which have no place in a call that names its targets.
const DESTINATION_BITS: u32 = 1 << 11 | 3 << 18;

impl SendIpi {
    /// From the registers RBX, RCX, RDX and RSI.
    pub(crate) fn from_operands(operands: [u64; 4], long_mode: bool) -> SendIpi {
        let [low, high, first, icr] = operands;
        let targets = if long_mode {
            u128::from(low) | u128::from(high) << 64
        } else {
            u128::from(low as u32) | u128::from(high as u32) << 32
        };
        SendIpi { targets, first: first as u32, icr: icr as u32 }
    }
}

impl Platform {
    /// KVM_HC_SEND_IPI: how many vCPUs were interrupted, or a negative error.
    pub(crate) fn send_ipi(&self, ipi: &SendIpi) -> i64 {
        let SendIpi { targets, first, icr } = *ipi;
        if icr & DESTINATION_BITS != 0 {
            return KVM_EINVAL;
        }
        let mut delivered = 0;
        for bit in (0..u128::BITS).filter(|bit| targets >> bit & 1 == 1) {
            let Some(id) = first.checked_add(bit).filter(|id| *id < self.mailboxes().len() as u32) else {
                break;
            };
            let icr = u64::from(icr) | u64::from(id) << 32;
            delivered +=
                Message::from_icr(icr, id, true).map_or(0, |message| i64::from(self.deliver(&message)));
        }
        delivered
    }

    /// KVM_HC_KICK_CPU: the vCPU with this APIC ID returns from HLT, now or at its next.
    pub(crate) fn kick_cpu(&self, apic_id: u32) {
        if let Some(mailbox) = self.mailboxes().get(apic_id as usize) {
            mailbox.post(Request::UNHALT);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use device_model::fake::FakeClock;

    use super::*;
    use crate::platform::target::Target;

    fn platform(vcpus: u32) -> Platform {
        let platform = Platform::new(vcpus, Arc::new(FakeClock::default()));
        for mailbox in platform.mailboxes() {
            mailbox.publish_target(Target { accepts_fixed: true, ..mailbox.target() });
        }
        platform
    }

    fn interrupted(platform: &Platform, vector: u8) -> Vec<usize> {
        let mailboxes = platform.mailboxes().iter().enumerate();
        mailboxes.filter(|(_, mailbox)| mailbox.irr.contains(vector)).map(|(index, _)| index).collect()
    }

    #[test]
    fn the_bitmap_starts_at_the_first_target() {
        let platform = platform(8);
        let ipi = SendIpi::from_operands([0b1011, 0, 2, 0x00fd], true);
        assert_eq!(platform.send_ipi(&ipi), 3);
        assert_eq!(interrupted(&platform, 0xfd), [2, 3, 5]);
    }

    #[test]
    fn the_second_word_goes_on_where_the_first_ends() {
        let platform = platform(64);
        assert_eq!(platform.send_ipi(&SendIpi::from_operands([1 << 63, 0, 0, 0xfd], true)), 1);
        assert_eq!(platform.send_ipi(&SendIpi::from_operands([!0 << 32, 2, 0, 0xfc], false)), 1);
        assert_eq!((interrupted(&platform, 0xfd), interrupted(&platform, 0xfc)), (vec![63], vec![33]));
    }

    #[test]
    fn targets_that_do_not_exist_are_left_out() {
        let platform = platform(4);
        assert_eq!(platform.send_ipi(&SendIpi::from_operands([!0, !0, 2, 0xfd], true)), 2);
        assert_eq!(platform.send_ipi(&SendIpi::from_operands([!0, !0, u64::MAX, 0xfd], true)), 0);
    }

    #[test]
    fn destinations_in_the_icr_are_refused() {
        let platform = platform(2);
        for icr in [0x8fd, 0x4_00fd, 0xc_00fd] {
            assert_eq!(platform.send_ipi(&SendIpi::from_operands([1, 0, 0, icr], true)), KVM_EINVAL);
        }
        assert_eq!(interrupted(&platform, 0xfd), [0usize; 0]);
    }

    #[test]
    fn nmis_can_be_sent_too() {
        let platform = platform(2);
        assert_eq!(platform.send_ipi(&SendIpi::from_operands([2, 0, 0, 0x400], true)), 1);
        assert_eq!(platform.mailbox(1).take(Request::ALL), Request::NMI);
    }

    #[test]
    fn a_kick_is_a_request() {
        let platform = platform(2);
        platform.kick_cpu(1);
        platform.kick_cpu(2);
        assert_eq!((platform.mailbox(0).pending(), platform.mailbox(1).pending()), (0, Request::UNHALT.0));
    }
}
