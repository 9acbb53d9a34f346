//! What is only known once the host's files and interfaces are open.

use std::collections::BTreeMap;

use arch_model::x86_64::cpuid::Cpuid;

use crate::DeviceId;
use crate::blueprint::{DiskFeatures, NicFeatures};

/// What this host and the engine can give a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// What the engine gives a guest of the CPU model that is wanted.
    pub cpuid: Cpuid,
    /// Frequency of the guest's TSC, in kHz, where that is not left to the engine.
    pub tsc_khz: Option<u32>,
    /// What is behind the machine's devices.
    pub backends: BackendFacts,
}

/// What the files and interfaces that are given for a machine are, and can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackendFacts {
    /// The command line that a unified kernel image brings along.
    pub command_line: Option<String>,
    /// What is behind each disk.
    pub disks: BTreeMap<DeviceId, DiskFacts>,
    /// What is behind each network card.
    pub nics: BTreeMap<DeviceId, NicFacts>,
    /// Something is behind the virtio console.
    pub console: bool,
}

/// A disk that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskFacts {
    /// Size of its logical blocks in bytes.
    pub block_size_bytes: u32,
    /// It cannot be written.
    pub readonly: bool,
    /// What it can do besides reading and writing.
    pub features: DiskFeatures,
}

/// A network interface that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NicFacts {
    /// Queue pairs, at least one.
    pub queue_pairs: u16,
    /// What it can do.
    pub features: NicFeatures,
}
