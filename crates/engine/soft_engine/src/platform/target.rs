//! Which local APICs a message is for (SDM vol. 3, 11.6.2 and 11.12.10).

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// The APIC with this ID.
    Physical(u32),
    /// APICs whose logical ID matches this message destination address.
    Logical(u32),
    /// All APICs.
    Everyone,
    /// All APICs but the one with this ID.
    EveryoneBut(u32),
}

impl Destination {
    /// From an 8-bit field: those of the xAPIC's ICR, the I/O APIC, and message-signalled interrupts.
    pub(crate) fn narrow(address: u8, logical: bool) -> Destination {
        if address == 0xff { Destination::Everyone } else { Destination::of(address.into(), logical) }
    }

    /// From the x2APIC's 32-bit field.
    pub(crate) fn wide(address: u32, logical: bool) -> Destination {
        if address == u32::MAX { Destination::Everyone } else { Destination::of(address, logical) }
    }

    fn of(address: u32, logical: bool) -> Destination {
        if logical { Destination::Logical(address) } else { Destination::Physical(address) }
    }
}

/// What senders have to know of a local APIC. Its owner publishes it as one word, so that senders never see
/// half of a change. The APIC ID is not in it: it is the vCPU's index and cannot be changed, as on recent
/// CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Logical destination register.
    pub(crate) ldr: u32,
    /// Bits 31:28 of the destination format register: 15 is the flat model, 0 the cluster model.
    pub(crate) model: u8,
    /// IA32_APIC_BASE enables the APIC; without, it gets no messages at all.
    pub(crate) enabled: bool,
    /// The spurious vector register enables the APIC; without, it gets no fixed interrupts.
    pub(crate) accepts_fixed: bool,
    /// x2APIC mode.
    pub(crate) x2apic: bool,
}

/// Models of the destination format register.
const FLAT: u8 = 0xf;
const CLUSTER: u8 = 0;

const ENABLED: u64 = 1 << 32;
const ACCEPTS_FIXED: u64 = 1 << 33;
const X2APIC: u64 = 1 << 34;
const MODEL_SHIFT: u32 = 36;

impl Target {
    pub(crate) fn pack(self) -> u64 {
        let Target { ldr, model, enabled, accepts_fixed, x2apic } = self;
        let flag = |set: bool, bit: u64| if set { bit } else { 0 };
        u64::from(ldr)
            | u64::from(model & 0xf) << MODEL_SHIFT
            | flag(enabled, ENABLED)
            | flag(accepts_fixed, ACCEPTS_FIXED)
            | flag(x2apic, X2APIC)
    }

    pub(crate) fn unpack(word: u64) -> Target {
        Target {
            ldr: word as u32,
            model: (word >> MODEL_SHIFT & 0xf) as u8,
            enabled: word & ENABLED != 0,
            accepts_fixed: word & ACCEPTS_FIXED != 0,
            x2apic: word & X2APIC != 0,
        }
    }

    /// Whether a message to `destination` is for this APIC, whose ID is `id`.
    pub(crate) fn matches(&self, id: u32, destination: Destination) -> bool {
        self.enabled
            && match destination {
                Destination::Physical(address) => address == id,
                Destination::Logical(address) => self.matches_logical(address),
                Destination::Everyone => true,
                Destination::EveryoneBut(other) => other != id,
            }
    }

    fn matches_logical(&self, address: u32) -> bool {
        if self.x2apic {
            return self.ldr >> 16 == address >> 16 && self.ldr & address & 0xffff != 0;
        }
        let id = self.ldr >> 24;
        match self.model {
            _ if address > 0xff => false,
            FLAT => id & address != 0,
            CLUSTER => id >> 4 == address >> 4 && id & address & 0xf != 0,
            _ => false,
        }
    }
}

/// Logical ID in x2APIC mode, which follows from the APIC ID (SDM vol. 3, 11.12.10.2).
pub(crate) fn x2apic_ldr(id: u32) -> u32 {
    (id >> 4) << 16 | 1 << (id & 0xf)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xapic(ldr: u8, model: u8) -> Target {
        Target { ldr: u32::from(ldr) << 24, model, enabled: true, accepts_fixed: true, x2apic: false }
    }

    fn x2apic(id: u32) -> Target {
        Target { ldr: x2apic_ldr(id), model: FLAT, enabled: true, accepts_fixed: true, x2apic: true }
    }

    #[test]
    fn packing_keeps_everything() {
        for bits in 0..8 {
            let target = Target {
                ldr: 0x8765_4321,
                model: 0xa,
                enabled: bits & 1 != 0,
                accepts_fixed: bits & 2 != 0,
                x2apic: bits & 4 != 0,
            };
            assert_eq!(Target::unpack(target.pack()), target);
        }
    }

    #[test]
    fn fields_of_all_ones_mean_everyone() {
        for logical in [false, true] {
            assert_eq!(Destination::narrow(0xff, logical), Destination::Everyone);
            assert_eq!(Destination::wide(u32::MAX, logical), Destination::Everyone);
        }
        assert_eq!(Destination::wide(0xff, false), Destination::Physical(0xff));
        assert_eq!(Destination::narrow(3, true), Destination::Logical(3));
    }

    #[test]
    fn physical_and_broadcast() {
        let target = xapic(0, FLAT);
        assert!(target.matches(5, Destination::Physical(5)));
        assert!(!target.matches(5, Destination::Physical(4)));
        assert!(target.matches(5, Destination::Everyone));
        assert!(target.matches(5, Destination::EveryoneBut(4)));
        assert!(!target.matches(5, Destination::EveryoneBut(5)));
        let off = Target { enabled: false, ..target };
        assert!(!off.matches(5, Destination::Everyone) && !off.matches(5, Destination::Physical(5)));
    }

    #[test]
    fn flat_model_is_a_bit_mask() {
        let target = xapic(0b0100, FLAT);
        assert!(target.matches(0, Destination::Logical(0b0110)));
        assert!(!target.matches(0, Destination::Logical(0b1011)));
        assert!(!target.matches(0, Destination::Logical(0x1_0004)), "an x2APIC cluster address");
    }

    #[test]
    fn cluster_model_compares_the_upper_half() {
        let target = xapic(0x24, CLUSTER);
        assert!(target.matches(0, Destination::Logical(0x2c)));
        assert!(!target.matches(0, Destination::Logical(0x28)));
        assert!(!target.matches(0, Destination::Logical(0x3c)));
    }

    #[test]
    fn other_models_match_nothing() {
        assert!(!xapic(0xff, 7).matches(0, Destination::Logical(0xf)));
    }

    #[test]
    fn x2apic_clusters_of_sixteen() {
        assert_eq!(x2apic_ldr(35), 2 << 16 | 1 << 3);
        assert!(x2apic(35).matches(35, Destination::Logical(2 << 16 | 0xff)));
        assert!(!x2apic(35).matches(35, Destination::Logical(1 << 16 | 0xff)));
        assert!(!x2apic(35).matches(35, Destination::Logical(2 << 16 | 0xf0)));
        // An 8-bit logical destination reaches the first eight APICs of cluster 0.
        assert!(x2apic(3).matches(3, Destination::narrow(1 << 3, true)));
    }
}
