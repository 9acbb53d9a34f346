//! Numbers of VIRTIO 1.2, section 5.1.

use net_backend::HEADER_BYTES;

/// Device handles packets with partial checksum (5.1.3).
pub const F_CSUM: u64 = 1 << 0;
/// Driver handles packets with partial checksum (5.1.3).
pub const F_GUEST_CSUM: u64 = 1 << 1;
/// Offloads can be changed on the control queue (5.1.3).
pub const F_CTRL_GUEST_OFFLOADS: u64 = 1 << 2;
/// The configuration has an MTU (5.1.3).
pub const F_MTU: u64 = 1 << 3;
/// The configuration has an address (5.1.3).
pub const F_MAC: u64 = 1 << 5;
/// Driver can receive TSOv4 (5.1.3).
pub const F_GUEST_TSO4: u64 = 1 << 7;
/// Driver can receive TSOv6 (5.1.3).
pub const F_GUEST_TSO6: u64 = 1 << 8;
/// Driver can receive TSO with ECN (5.1.3).
pub const F_GUEST_ECN: u64 = 1 << 9;
/// Device can receive TSOv4 (5.1.3).
pub const F_HOST_TSO4: u64 = 1 << 11;
/// Device can receive TSOv6 (5.1.3).
pub const F_HOST_TSO6: u64 = 1 << 12;
/// Device can receive TSO with ECN (5.1.3).
pub const F_HOST_ECN: u64 = 1 << 13;
/// Driver can merge receive buffers (5.1.3).
pub const F_MRG_RXBUF: u64 = 1 << 15;
/// The configuration has a status (5.1.3).
pub const F_STATUS: u64 = 1 << 16;
/// There is a control queue (5.1.3).
pub const F_CTRL_VQ: u64 = 1 << 17;
/// The control queue takes receive modes (5.1.3).
pub const F_CTRL_RX: u64 = 1 << 18;
/// There are several queue pairs (5.1.3).
pub const F_MQ: u64 = 1 << 22;
/// The control queue takes an address (5.1.3).
pub const F_CTRL_MAC_ADDR: u64 = 1 << 23;

/// The features that `CTRL_GUEST_OFFLOADS` switches; the command's bits are the features' (5.1.6.5.6).
pub const GUEST_OFFLOADS: u64 = F_GUEST_CSUM | F_GUEST_TSO4 | F_GUEST_TSO6 | F_GUEST_ECN;

/// `VIRTIO_NET_S_LINK_UP` in the configuration's status (5.1.4).
pub const S_LINK_UP: u16 = 1;
/// Least MTU that may be offered, in bytes (5.1.4.1).
pub const MTU_MIN_BYTES: u16 = 68;
/// Most queue pairs (5.1.4.1).
pub const PAIRS_MAX: u16 = 0x8000;

/// Where the header's `flags` are (5.1.6).
pub const HDR_FLAGS: usize = 0;
/// `VIRTIO_NET_HDR_F_NEEDS_CSUM` in the header's `flags` (5.1.6).
pub const HDR_F_NEEDS_CSUM: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_NONE` in the header's `gso_type` (5.1.6).
pub const HDR_GSO_NONE: u8 = 0;
/// `VIRTIO_NET_HDR_GSO_TCPV4` (5.1.6).
pub const HDR_GSO_TCPV4: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_TCPV6` (5.1.6).
pub const HDR_GSO_TCPV6: u8 = 4;
/// `VIRTIO_NET_HDR_GSO_ECN`, joined to one of the above (5.1.6).
pub const HDR_GSO_ECN: u8 = 0x80;
/// Where the header's 16-bit `num_buffers` is (5.1.6).
pub const HDR_NUM_BUFFERS: std::ops::Range<usize> = 10..12;

/// Longest packet: 64 KiB of IP, an Ethernet header with a VLAN tag, and ours before it (5.1.6.3.1).
pub const PACKET_MAX_BYTES: usize = HEADER_BYTES + 18 + 65_535;
/// Shortest packet that is one: an Ethernet header, and ours before it.
pub const PACKET_MIN_BYTES: usize = HEADER_BYTES + 14;

/// Answer of the control queue: done (5.1.6.5).
pub const OK: u8 = 0;
/// Answer of the control queue: refused (5.1.6.5).
pub const ERR: u8 = 1;
/// Class of receive modes (5.1.6.5.1).
pub const CTRL_RX: u8 = 0;
/// All packets wanted, or not (5.1.6.5.1).
pub const CTRL_RX_PROMISC: u8 = 0;
/// All multicast packets wanted, or not (5.1.6.5.1).
pub const CTRL_RX_ALLMULTI: u8 = 1;
/// Class of addresses (5.1.6.5.2).
pub const CTRL_MAC: u8 = 1;
/// Two lists of addresses wanted (5.1.6.5.2).
pub const CTRL_MAC_TABLE_SET: u8 = 0;
/// The card's own address (5.1.6.5.2).
pub const CTRL_MAC_ADDR_SET: u8 = 1;
/// Class of queue pairs (5.1.6.5.5).
pub const CTRL_MQ: u8 = 4;
/// How many pairs are in use (5.1.6.5.5).
pub const CTRL_MQ_VQ_PAIRS_SET: u8 = 0;
/// Class of offloads (5.1.6.5.6).
pub const CTRL_GUEST_OFFLOADS: u8 = 5;
/// Which offloads the driver takes (5.1.6.5.6).
pub const CTRL_GUEST_OFFLOADS_SET: u8 = 0;
