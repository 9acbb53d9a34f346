//! The guest's architecture as data: registers, CPUID, interrupt-controller state, vectors, with the
//! manual's section beside each constant.
//!
//! Nothing here runs. "SDM" is the Intel 64 and IA-32 Architectures Software Developer's Manual, "APM" the
//! AMD64 Architecture Programmer's Manual. Everything that ends up in saved state is written by us and
//! versioned, so that state moves between engines.

pub mod x86_64;
