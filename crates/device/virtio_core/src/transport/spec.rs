//! Constants of the PCI transport, each with its section.

/// Vendor of all virtio devices, and of their subsystems here (4.1.2).
pub const VENDOR: u16 = 0x1af4;
/// PCI device ID of device type 0; the type is added (4.1.2).
pub const DEVICE_BASE: u16 = 0x1040;
/// Lowest subsystem ID of a device without the legacy interface; the type is added (4.1.2.1).
pub const SUBSYSTEM_BASE: u16 = 0x40;
/// Lowest revision of a device without the legacy interface (4.1.2.1).
pub const REVISION: u8 = 1;

/// Capability ID of vendor-specific capabilities (4.1.4).
pub const CAPABILITY_VENDOR: u8 = 0x09;
/// `VIRTIO_PCI_CAP_COMMON_CFG` (4.1.4).
pub const CAPABILITY_COMMON: u8 = 1;
/// `VIRTIO_PCI_CAP_NOTIFY_CFG` (4.1.4).
pub const CAPABILITY_NOTIFY: u8 = 2;
/// `VIRTIO_PCI_CAP_ISR_CFG` (4.1.4).
pub const CAPABILITY_ISR: u8 = 3;
/// `VIRTIO_PCI_CAP_DEVICE_CFG` (4.1.4).
pub const CAPABILITY_DEVICE: u8 = 4;
/// `VIRTIO_PCI_CAP_PCI_CFG` (4.1.4).
pub const CAPABILITY_PCI: u8 = 5;

/// Common configuration: which 32 bits `DEVICE_FEATURE` shows (4.1.4.3).
pub const DEVICE_FEATURE_SELECT: u64 = 0x00;
/// Common configuration: feature bits offered (4.1.4.3).
pub const DEVICE_FEATURE: u64 = 0x04;
/// Common configuration: which 32 bits `DRIVER_FEATURE` shows (4.1.4.3).
pub const DRIVER_FEATURE_SELECT: u64 = 0x08;
/// Common configuration: feature bits accepted (4.1.4.3).
pub const DRIVER_FEATURE: u64 = 0x0c;
/// Common configuration: vector for changes of configuration space (4.1.4.3).
pub const CONFIG_VECTOR: u64 = 0x10;
/// Common configuration: number of queues (4.1.4.3).
pub const NUM_QUEUES: u64 = 0x12;
/// Common configuration: device status (4.1.4.3, 2.1).
pub const DEVICE_STATUS: u64 = 0x14;
/// Common configuration: changes when configuration space has changed (4.1.4.3, 2.5.1).
pub const CONFIG_GENERATION: u64 = 0x15;
/// Common configuration: which queue the registers below are of (4.1.4.3).
pub const QUEUE_SELECT: u64 = 0x16;
/// Common configuration: number of descriptors (4.1.4.3).
pub const QUEUE_SIZE: u64 = 0x18;
/// Common configuration: vector for used buffers (4.1.4.3).
pub const QUEUE_VECTOR: u64 = 0x1a;
/// Common configuration: the queue is set up (4.1.4.3).
pub const QUEUE_ENABLE: u64 = 0x1c;
/// Common configuration: the queue's place in the notification structure (4.1.4.3).
pub const QUEUE_NOTIFY_OFFSET: u64 = 0x1e;
/// Common configuration: descriptor table (4.1.4.3).
pub const QUEUE_DESCRIPTORS: u64 = 0x20;
/// Common configuration: available ring (4.1.4.3).
pub const QUEUE_AVAILABLE: u64 = 0x28;
/// Common configuration: used ring (4.1.4.3).
pub const QUEUE_USED: u64 = 0x30;
/// Common configuration: value to notify with, where `VIRTIO_F_NOTIFICATION_DATA` is negotiated, which is not
/// offered (4.1.4.3).
pub const QUEUE_NOTIFY_DATA: u64 = 0x38;
/// Bytes of common configuration, to the end of `queue_reset` and rounded up (4.1.4.3).
pub const COMMON_SIZE: usize = 0x40;

/// Device status: the guest has found the device (2.1).
pub const STATUS_ACKNOWLEDGE: u8 = 1;
/// Device status: the guest can drive the device (2.1).
pub const STATUS_DRIVER: u8 = 2;
/// Device status: the driver is set up (2.1).
pub const STATUS_DRIVER_OK: u8 = 4;
/// Device status: negotiation of features is complete (2.1).
pub const STATUS_FEATURES_OK: u8 = 8;
/// Device status: the device cannot go on until it is reset (2.1).
pub const STATUS_NEEDS_RESET: u8 = 0x40;
/// Device status: the guest has given up on the device (2.1).
pub const STATUS_FAILED: u8 = 0x80;

/// ISR status: buffers were used (4.1.4.5).
pub const ISR_QUEUE: u8 = 1;
/// ISR status: configuration space has changed (4.1.4.5).
pub const ISR_CONFIG: u8 = 2;

/// `VIRTIO_MSI_NO_VECTOR` (4.1.4.3): no interrupt, or a vector that could not be had.
pub const NO_VECTOR: u16 = 0xffff;

/// Bytes between the doorbells of two queues (4.1.4.4, `notify_off_multiplier`).
pub const NOTIFY_MULTIPLIER: u32 = 4;
