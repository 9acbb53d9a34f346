//! Processors.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::NameError;

/// A processor architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// AMD and Intel, 64 bits.
    #[serde(rename = "x86_64")]
    X86_64,
    /// Arm, 64 bits.
    Aarch64,
    /// RISC-V, 64 bits.
    Riscv64,
}

impl Architecture {
    /// As the kernel's `uname -m` writes it.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::X86_64 => "x86_64",
            Architecture::Aarch64 => "aarch64",
            Architecture::Riscv64 => "riscv64",
        }
    }

    /// What this program was built for.
    pub fn of_host() -> Architecture {
        if cfg!(target_arch = "aarch64") {
            Architecture::Aarch64
        } else if cfg!(target_arch = "riscv64") {
            Architecture::Riscv64
        } else {
            Architecture::X86_64
        }
    }
}

impl FromStr for Architecture {
    type Err = NameError;

    /// Takes the kernel's names, and Debian's.
    fn from_str(text: &str) -> Result<Architecture, NameError> {
        match text {
            "x86_64" | "amd64" => Ok(Architecture::X86_64),
            "aarch64" | "arm64" => Ok(Architecture::Aarch64),
            "riscv64" => Ok(Architecture::Riscv64),
            _ => Err(NameError(format!(
                "'{}' is not an architecture (there are x86_64, aarch64, riscv64)",
                text.escape_default()
            ))),
        }
    }
}

impl Display for Architecture {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}
