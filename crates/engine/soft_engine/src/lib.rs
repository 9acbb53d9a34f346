//! The soft engine: the same guests where there is no hardware virtualization.
//!
//! An interpreter of x86-64 with a cache of decoded blocks, and a translator of what runs often, behind the contracts
//! that `kvm_engine` implements too. It has no global state. `unsafe` is where generated code is entered and calls
//! back (`jit::run`), and nowhere else: guest RAM is reached through [`guest_memory::Frame`].
//!
//! ```text
//!  vcpu (run loop) ─► decode::block (cache) ─► exec (a file a family) ─► cpu, memory ─► RAM
//!        ▲    └─► jit (hot 64-bit code) ─────────┘                          └─────────► devices (GuestIo)
//!        └── platform (local APIC, I/O APIC, clock), requests of other threads
//! ```
//!
//! May depend on `contract` and `host` crates only.
#![deny(unsafe_code)]

mod cpu;
mod decode;
mod engine;
mod exec;
mod features;
mod jit;
mod lockstep;
mod memory;
mod notices;
mod platform;
#[doc(hidden)]
pub mod probe;
mod shared;
#[doc(hidden)]
pub mod softfloat;
mod tiers;
#[doc(hidden)]
pub mod undefined;
mod vcpu;
mod vm;

pub use engine::SoftEngine;
pub use vcpu::SoftVcpu;
pub use vm::SoftVm;
