//! The KVM engine: guest code on the CPU's own virtualization, through `/dev/kvm`.
//!
//! Sections "API n.m" are those of Linux's `Documentation/virt/kvm/api.rst`. Optional capabilities are
//! asked for ([`Capabilities`]), never assumed. May depend on `contract` and `host` crates only; `unsafe`
//! is needed for the shared run page, for mapping memory, and for two ioctls.

#![allow(unsafe_code)]

mod capabilities;
mod cpuid;
mod doorbells;
mod engine;
mod interrupts;
mod kick;
mod memory;
mod probe;
mod state;
#[cfg(test)]
mod tests;
mod vcpu;
mod vm;

pub use capabilities::Capabilities;
pub use engine::{DEVICE, KvmEngine};
pub use probe::{CPUINFO, Hardware, ProbeReport, virtualization};
pub use vcpu::KvmVcpu;
pub use vm::KvmVm;

use std::io;

use vcpu_model::EngineError;

/// Names the KVM operation that failed.
fn failed(operation: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> EngineError {
    move |error| EngineError::Operation { operation, source: io::Error::from_raw_os_error(error.errno()) }
}
