//! Constants of PCI configuration space, MSI-X and the configuration mechanisms, each with its section.

/// Bytes of configuration space that a conventional function has (6.1). What PCI Express adds beyond, up to
/// 4096, reads as zero: an empty list of extended capabilities (PCI Express 3.0, 7.9).
pub(crate) const CONFIG_SPACE_SIZE: usize = 256;

/// Vendor ID (6.2.1).
pub(crate) const VENDOR_ID: usize = 0x00;
/// Device ID (6.2.1).
pub(crate) const DEVICE_ID: usize = 0x02;
/// Command (6.2.2).
pub(crate) const COMMAND: usize = 0x04;
/// Status (6.2.3).
pub(crate) const STATUS: usize = 0x06;
/// Revision ID (6.2.1); the class code's three bytes follow.
pub(crate) const REVISION_ID: usize = 0x08;
/// Cacheline size (6.2.4).
pub(crate) const CACHE_LINE_SIZE: usize = 0x0c;
/// First of six base address registers (6.2.5).
pub(crate) const BAR0: usize = 0x10;
/// Number of base address registers of a type 0 header (6.2.5).
pub(crate) const BAR_COUNT: u8 = 6;
/// Subsystem vendor ID (6.2.4).
pub(crate) const SUBSYSTEM_VENDOR_ID: usize = 0x2c;
/// Subsystem ID (6.2.4).
pub(crate) const SUBSYSTEM_ID: usize = 0x2e;
/// Offset of the first capability (6.2.4, 6.7).
pub(crate) const CAPABILITIES_POINTER: usize = 0x34;
/// Interrupt line (6.2.4): the firmware's scratch register.
pub(crate) const INTERRUPT_LINE: usize = 0x3c;
/// First byte behind the header, where capabilities start (6.1).
pub(crate) const HEADER_END: usize = 0x40;

/// Command: respond to memory accesses (6.2.2, table 6-1).
pub(crate) const COMMAND_MEMORY: u16 = 1 << 1;
/// Command: may act as a master (6.2.2, table 6-1).
pub(crate) const COMMAND_MASTER: u16 = 1 << 2;
/// Command: do not assert INTx (6.2.2, table 6-1).
pub(crate) const COMMAND_INTX_DISABLE: u16 = 1 << 10;
/// Status: there is a list of capabilities (6.2.3, table 6-2).
pub(crate) const STATUS_CAPABILITIES: u16 = 1 << 4;

/// Low bits of a memory base address register that do not hold an address (6.2.5.1).
pub(crate) const BAR_TYPE_BITS: u32 = 0xf;
/// Base address register: 64 bits wide (6.2.5.1, table 6-4).
pub(crate) const BAR_MEMORY_64: u32 = 0b10 << 1;

/// Capability ID of MSI-X (appendix H).
pub(crate) const CAPABILITY_MSIX: u8 = 0x11;
/// Message control within the MSI-X capability (6.8.2.3).
pub(crate) const MSIX_CONTROL: usize = 2;
/// Message control: all vectors are masked (6.8.2.3).
pub(crate) const MSIX_FUNCTION_MASK: u16 = 1 << 14;
/// Message control: MSI-X is in use (6.8.2.3).
pub(crate) const MSIX_ENABLE: u16 = 1 << 15;
/// Bytes of one entry of the MSI-X table (6.8.2.6).
pub(crate) const MSIX_ENTRY_SIZE: u64 = 16;
/// Vector control: the vector is masked (6.8.2.9).
pub(crate) const MSIX_VECTOR_MASK: u32 = 1;

/// Class code of a host bridge (appendix D).
pub const CLASS_HOST_BRIDGE: u32 = 0x06_0000;

/// Configuration address: the data port is connected to configuration space (3.2.2.3.2).
pub(crate) const CONFIG_ADDRESS_ENABLE: u32 = 1 << 31;
/// Offset of the data port from the address port (3.2.2.3.2).
pub(crate) const CONFIG_DATA_PORT: u16 = 4;
/// Ports of the configuration mechanism, address and data (3.2.2.3.2).
pub(crate) const CONFIG_PORTS: u16 = 8;
