//! Named CPU models: what a guest is told it runs on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A named set of CPU features.
///
/// The levels are those of the x86-64 psABI (section 3.1.1). A guest on a level can move to any host that
/// offers it; `Host` is whatever this host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CpuModel {
    /// x86-64-v1: SSE2.
    V1,
    /// x86-64-v2: SSE4.2, POPCNT, CMPXCHG16B.
    V2,
    /// x86-64-v3: AVX2, BMI, FMA, MOVBE.
    V3,
    /// x86-64-v4: AVX-512.
    V4,
    /// Everything that the engine can offer on this host.
    Host,
}

impl CpuModel {
    /// All models, lowest first.
    pub const ALL: [CpuModel; 5] = [CpuModel::V1, CpuModel::V2, CpuModel::V3, CpuModel::V4, CpuModel::Host];

    /// The name that users type.
    pub fn name(self) -> &'static str {
        match self {
            CpuModel::V1 => "x86-64-v1",
            CpuModel::V2 => "x86-64-v2",
            CpuModel::V3 => "x86-64-v3",
            CpuModel::V4 => "x86-64-v4",
            CpuModel::Host => "host",
        }
    }
}

impl fmt::Display for CpuModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name is not one of [`CpuModel::ALL`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown CPU model '{0}' (there are x86-64-v1, x86-64-v2, x86-64-v3, x86-64-v4, host)")]
pub struct UnknownCpuModel(pub String);

impl FromStr for CpuModel {
    type Err = UnknownCpuModel;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        CpuModel::ALL
            .into_iter()
            .find(|model| model.name() == name)
            .ok_or_else(|| UnknownCpuModel(name.to_owned()))
    }
}
