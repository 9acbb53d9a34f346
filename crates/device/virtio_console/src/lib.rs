//! The console (VIRTIO 1.2, 5.3): one port, between a driver's two queues and a [`CharBackend`].
//!
//! ```text
//! queue 0 ──► receive  ◄── what is typed     one thread each
//! queue 1 ──► transmit ──► what the guest says
//! ```
//!
//! Input that finds no buffer of the driver's stays in the backend. Output is the backend's at once: whether
//! it waits or drops is the backend's to say.

mod device;
mod receive;
mod spec;
mod transmit;

pub use char_backend::{CharBackend, WindowSize};
pub use device::VirtioConsole;

#[cfg(test)]
mod tests;
