//! Interrupt messages, whoever sends them: ICR, I/O APIC, or a device's memory write.

use device_model::MsiMessage;

use super::target::Destination;

/// What a message does at its target (SDM vol. 3, 11.6.1). SMI and ExtINT are not among them: there is no
/// system-management mode here and no 8259.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeliveryMode {
    /// The vector, at every target.
    Fixed,
    /// The vector, at one of the targets.
    LowestPriority,
    /// A non-maskable interrupt.
    Nmi,
    /// Reset of the vCPU.
    Init,
    /// The start-up message for a vCPU that waits after INIT.
    StartUp,
}

impl DeliveryMode {
    /// From the three bits that ICR, redirection entries and message data have in common.
    fn from_bits(bits: u64) -> Option<DeliveryMode> {
        match bits & 7 {
            0 => Some(DeliveryMode::Fixed),
            1 => Some(DeliveryMode::LowestPriority),
            4 => Some(DeliveryMode::Nmi),
            5 => Some(DeliveryMode::Init),
            6 => Some(DeliveryMode::StartUp),
            _ => None,
        }
    }

    /// Whether the message's vector is one to interrupt with.
    pub(crate) fn has_vector(self) -> bool {
        matches!(self, DeliveryMode::Fixed | DeliveryMode::LowestPriority)
    }
}

/// An interrupt on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) mode: DeliveryMode,
    pub(crate) vector: u8,
    /// Level-triggered: the I/O APIC wants to know of its end.
    pub(crate) level: bool,
    pub(crate) destination: Destination,
}

const DELIVERY_MODE_SHIFT: u32 = 8;
/// Logical rather than physical destination (ICR and redirection entries).
const LOGICAL: u64 = 1 << 11;
/// Assert, as opposed to de-assert (ICR).
const ASSERT: u64 = 1 << 14;
/// Level-triggered (all forms).
const LEVEL: u64 = 1 << 15;
const SHORTHAND_SHIFT: u32 = 18;

/// The window of the address that makes a write an interrupt (SDM vol. 3, 11.11.1).
const MSI_WINDOW: u64 = 0xfee0_0000;
const MSI_WINDOW_MASK: u64 = !0xf_ffff;
/// Redirection hint: one of the targets will do.
const MSI_REDIRECT: u64 = 1 << 3;
/// Logical rather than physical destination.
const MSI_LOGICAL: u64 = 1 << 2;

/// Destination shorthands (SDM vol. 3, 11.6.1).
mod shorthand {
    pub(super) const ONESELF: u64 = 1;
    pub(super) const EVERYONE: u64 = 2;
    pub(super) const OTHERS: u64 = 3;
}

impl Message {
    /// What a write of `icr` sends, if anything. `wide` is the x2APIC's 32-bit destination (SDM vol. 3,
    /// 11.12.9).
    pub(crate) fn from_icr(icr: u64, sender: u32, wide: bool) -> Option<Message> {
        let mode = DeliveryMode::from_bits(icr >> DELIVERY_MODE_SHIFT)?;
        // INIT level de-assert sets arbitration IDs, which nobody has any more.
        if mode == DeliveryMode::Init && icr & LEVEL != 0 && icr & ASSERT == 0 {
            return None;
        }
        let logical = icr & LOGICAL != 0;
        let destination = match icr >> SHORTHAND_SHIFT & 3 {
            shorthand::ONESELF => Destination::Physical(sender),
            shorthand::EVERYONE => Destination::Everyone,
            shorthand::OTHERS => Destination::EveryoneBut(sender),
            _ if wide => Destination::wide((icr >> 32) as u32, logical),
            _ => Destination::narrow((icr >> 56) as u8, logical),
        };
        // Inter-processor interrupts are edge-triggered, whatever bit 15 says (SDM vol. 3, table 11-3).
        Some(Message { mode, vector: icr as u8, level: false, destination })
    }

    /// What a redirection entry sends (82093AA, 3.2.4).
    pub(crate) fn from_redirection(entry: u64) -> Option<Message> {
        Some(Message {
            mode: device_mode(entry)?,
            vector: entry as u8,
            level: entry & LEVEL != 0,
            destination: Destination::narrow((entry >> 56) as u8, entry & LOGICAL != 0),
        })
    }

    /// What a message-signalled interrupt sends (SDM vol. 3, 11.11).
    pub(crate) fn from_msi(msi: MsiMessage) -> Option<Message> {
        if msi.address & MSI_WINDOW_MASK != MSI_WINDOW {
            return None;
        }
        let data = u64::from(msi.data);
        let mode = match device_mode(data)? {
            DeliveryMode::Fixed if msi.address & MSI_REDIRECT != 0 => DeliveryMode::LowestPriority,
            mode => mode,
        };
        let destination = Destination::narrow((msi.address >> 12) as u8, msi.address & MSI_LOGICAL != 0);
        Some(Message { mode, vector: msi.data as u8, level: data & LEVEL != 0, destination })
    }
}

/// Delivery mode of what comes from devices, which cannot start up a vCPU.
fn device_mode(bits: u64) -> Option<DeliveryMode> {
    DeliveryMode::from_bits(bits >> DELIVERY_MODE_SHIFT).filter(|mode| *mode != DeliveryMode::StartUp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn icr(low: u64, destination: u64) -> Option<Message> {
        Message::from_icr(low | destination << 56, 2, false)
    }

    #[test]
    fn delivery_modes_of_the_icr() {
        let modes = [
            (0x000, Some(DeliveryMode::Fixed)),
            (0x100, Some(DeliveryMode::LowestPriority)),
            (0x200, None),
            (0x300, None),
            (0x400, Some(DeliveryMode::Nmi)),
            (0x500, Some(DeliveryMode::Init)),
            (0x600, Some(DeliveryMode::StartUp)),
            (0x700, None),
        ];
        for (bits, mode) in modes {
            assert_eq!(icr(bits | 0x4055, 1).map(|message| message.mode), mode, "{bits:#x}");
        }
    }

    #[test]
    fn shorthands_override_the_destination() {
        let to = |shorthand: u64| icr(shorthand << 18 | 0x40, 7).unwrap().destination;
        assert_eq!(to(0), Destination::Physical(7));
        assert_eq!(to(1), Destination::Physical(2));
        assert_eq!(to(2), Destination::Everyone);
        assert_eq!(to(3), Destination::EveryoneBut(2));
    }

    #[test]
    fn init_level_deassert_is_nothing() {
        assert_eq!(icr(0x8500, 1), None);
        assert!(icr(0xc500, 1).is_some());
        assert!(icr(0x0500, 1).is_some());
    }

    #[test]
    fn ipis_are_edges_and_x2apic_destinations_are_wide() {
        let message = Message::from_icr(0x0001_0004_0000_c841, 0, true).unwrap();
        assert!(!message.level);
        assert_eq!((message.vector, message.destination), (0x41, Destination::Logical(0x1_0004)));
    }

    #[test]
    fn message_signalled() {
        let msi = |address, data| Message::from_msi(MsiMessage { address, data });
        let fixed = msi(0xfee0_3000, 0x4051).unwrap();
        assert_eq!((fixed.mode, fixed.vector, fixed.level), (DeliveryMode::Fixed, 0x51, false));
        assert_eq!(fixed.destination, Destination::Physical(3));
        let redirected = msi(0xfee0_500c, 0xc051).unwrap();
        assert_eq!((redirected.mode, redirected.level), (DeliveryMode::LowestPriority, true));
        assert_eq!(redirected.destination, Destination::Logical(5));
        assert_eq!(msi(0xfee0_0000, 0x0400).unwrap().mode, DeliveryMode::Nmi);
        assert_eq!(msi(0xfee0_0000, 0x0600), None, "a start-up message from a device");
        assert_eq!(msi(0xfee0_0000, 0x0700), None, "ExtINT");
        assert_eq!(msi(0xfed0_0000, 0x4051), None);
        assert_eq!(msi(0x1_fee0_0000, 0x4051), None);
    }
}
