//! What a vCPU has and whose it is, by CPUID: which cases apply to it.

use vcpu_model::Engine;

use crate::cases::Case;
use crate::guest::{CR4_PCIDE, CR4_SMAP, CR4_SMEP, Guest};
use crate::known::matches;
use crate::outcome::Outcome;
use crate::run::run;

/// What CPUID says (SDM vol. 2, CPUID).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// Made by Intel; the cases follow Intel's manual.
    pub intel: bool,
    /// Process-context identifiers.
    pub pcid: bool,
    /// INVPCID.
    pub invpcid: bool,
    /// Supervisor-mode execution prevention.
    pub smep: bool,
    /// Supervisor-mode access prevention.
    pub smap: bool,
    /// AVX and what else x86-64-v3 has.
    pub v3: bool,
    /// XSAVEC, and with it the compacted form.
    pub xsavec: bool,
}

/// Where AMD's manual says otherwise, or leaves it open: these are compared on Intel's processors only. SYSENTER and
/// SYSEXIT are #UD in long mode; SYSRET and branches to an address that is not canonical fault there, not here; an
/// IRET that faults need not unmask NMIs; a null SS below privilege 3 may have any RPL; SYSENTER's RSP and RIP have 32
/// bits, and the upper half of TSC_AUX is not said to be reserved (APM vol. 2, 8.5, 6.1.2; vol. 3, under each).
const INTEL_ONLY: [&str; 9] = [
    "*sysenter*",
    "*sysexit*",
    "sysretq to *",
    "* to an address that is not canonical",
    "* IRET that faults",
    "cpl 0 mov ss, null with rpl {1|2|3} in 64-bit code",
    "iretq to cs 0x8 with ss 0x3",
    "wrmsr SYSENTER's {RSP|RIP}, not canonical",
    "wrmsr TSC_AUX, bit 32",
];

impl Offered {
    /// Asks a vCPU of `engine`.
    pub fn by(engine: &impl Engine) -> Result<Offered, String> {
        let cpuid = |leaf: u64| -> Result<Outcome, String> {
            let mut guest = Guest::long(0, &[0x0f, 0xa2]);
            guest.registers.rax = leaf;
            run(engine, &guest)
        };
        let mut compaction = Guest::long(0, &[0x0f, 0xa2]);
        (compaction.registers.rax, compaction.registers.rcx, compaction.xcr0) = (0xd, 1, Some(7));
        // An engine that cannot offer x86-64-v3 says so.
        let compaction = run(engine, &compaction).ok().map(|outcome| outcome.state.registers.rax);
        let vendor = cpuid(0)?.state.registers.rbx;
        let leaf1 = cpuid(1)?.state.registers.rcx;
        let leaf7 = cpuid(7)?.state.registers.rbx;
        Ok(Offered {
            intel: vendor == u64::from(u32::from_le_bytes(*b"Genu")),
            pcid: leaf1 >> 17 & 1 == 1,
            invpcid: leaf7 >> 10 & 1 == 1,
            smep: leaf7 >> 7 & 1 == 1,
            smap: leaf7 >> 20 & 1 == 1,
            v3: compaction.is_some(),
            xsavec: compaction.is_some_and(|word| word >> 1 & 1 == 1),
        })
    }

    /// Whether `case` says something about this vCPU.
    pub fn covers(&self, case: &Case) -> bool {
        let cr4 = case.guest.system.cr4;
        let named = |word: &str| case.name.contains(word);
        let pcid = cr4 & CR4_PCIDE != 0 || named("PCID");
        !(pcid && !self.pcid
            || named("invpcid") && !self.invpcid
            || cr4 & CR4_SMEP != 0 && !self.smep
            || cr4 & CR4_SMAP != 0 && !self.smap
            || case.guest.xcr0.is_some() && !self.v3
            || named("compacted") && !self.xsavec
            || INTEL_ONLY.iter().any(|pattern| matches(pattern, &case.name)) && !self.intel)
    }
}
