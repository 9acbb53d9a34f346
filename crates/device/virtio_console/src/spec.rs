//! Numbers of VIRTIO 1.2, section 5.3.

/// Configuration `cols` and `rows` are valid (5.3.3).
pub const F_SIZE: u64 = 1 << 0;
/// What is typed, index of its queue (5.3.2).
pub const RECEIVE_QUEUE: u16 = 0;
/// What the guest says, index of its queue (5.3.2).
pub const TRANSMIT_QUEUE: u16 = 1;
