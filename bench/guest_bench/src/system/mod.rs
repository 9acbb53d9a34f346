//! Asking the kernel: calls, faults, processes, and passing the word between them.

mod child;
mod futex;
pub mod handover;
pub mod pages;
pub mod pipe;
pub mod process;
pub mod processors;
pub mod switch;
pub mod syscall;
