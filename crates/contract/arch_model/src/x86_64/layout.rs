//! The guest-physical address map and the wiring of the x86-64 machine.

/// Local APIC (SDM vol. 3, 11.4.1).
pub const LAPIC_BASE: u64 = 0xfee0_0000;
/// I/O APIC (82093AA, 3.1).
pub const IOAPIC_BASE: u64 = 0xfec0_0000;
/// Inputs of the I/O APIC.
pub const IOAPIC_PINS: u32 = 24;

/// RAM below 4 GiB ends here at the latest; what does not fit continues at [`HIGH_RAM_START`].
pub const LOW_RAM_END: u64 = 0xc000_0000;
/// RAM above the hole for devices.
pub const HIGH_RAM_START: u64 = 0x1_0000_0000;

/// PCI configuration space by memory accesses (PCI Express 3.0, 7.2.2): 1 MiB a bus.
pub const ECAM_BASE: u64 = 0xe000_0000;
/// One bus.
pub const ECAM_SIZE: u64 = 0x10_0000;
/// Window for PCI memory regions below 4 GiB.
pub const PCI_MMIO32_BASE: u64 = 0xc000_0000;
/// Its size in bytes.
pub const PCI_MMIO32_SIZE: u64 = 0x2000_0000;
/// Size of the window for 64-bit PCI memory regions; it lies above RAM, aligned to its size.
pub const PCI_MMIO64_SIZE: u64 = 0x4_0000_0000;

/// Three pages that KVM needs on Intel hosts for real-mode emulation, and the identity map page behind.
pub const KVM_TSS_ADDRESS: u64 = 0xfffb_d000;
/// See [`KVM_TSS_ADDRESS`].
pub const KVM_IDENTITY_MAP_ADDRESS: u64 = 0xfffb_c000;

/// First port of COM1.
pub const COM1_PORT: u16 = 0x3f8;
/// Interrupt input of COM1.
pub const COM1_GSI: u32 = 4;
/// Index and data ports of the real-time clock.
pub const RTC_PORT: u16 = 0x70;
/// First port of the timer (0x40 to 0x43).
pub const PIT_PORT: u16 = 0x40;
/// System control port B, through which software drives and watches the timer's counter 2.
pub const PORT_B: u16 = 0x61;
/// Interrupt request that the timer is on an ISA bus.
pub const PIT_IRQ: u8 = 0;
/// Interrupt input of the timer: 2, as on every PC with an I/O APIC, and not that of its number.
pub const PIT_GSI: u32 = 2;
/// Data port of the keyboard controller, kept for its reset line.
pub const I8042_PORT: u16 = 0x60;
/// Command port of the keyboard controller.
pub const I8042_COMMAND_PORT: u16 = 0x64;
/// PCI configuration address and data ports (PCI Local Bus 3.0, 3.2.2.3.2).
pub const PCI_CONFIG_PORT: u16 = 0xcf8;
/// Port of the panic device, where QEMU has it.
pub const PVPANIC_PORT: u16 = 0x505;
/// First port of the ACPI power block: sleep control, sleep status, reset.
pub const ACPI_POWER_PORT: u16 = 0x600;
/// First port of the ACPI generic event device: events, then the registers of PCI slots.
pub const ACPI_GED_PORT: u16 = 0x610;
/// Ports of it.
pub const ACPI_GED_PORTS: u16 = 16;
/// The port that takes a command's exit status; only machines that are there for one command have it.
pub const EXIT_STATUS_PORT: u16 = 0x620;
/// Interrupt input of the ACPI generic event device.
pub const ACPI_GED_GSI: u32 = 9;

/// Where the generation id is put, 16 bytes: in a page of the hole below 1 MiB that holds nothing else, as the specification
/// of the device wants it. Not at a multiple of 2 KiB, where systems look for ROMs of cards.
pub const GENERATION_ID_ADDRESS: u64 = 0xd_f028;
/// Its length in bytes.
pub const GENERATION_ID_SIZE: u64 = 16;
/// Where the ACPI root pointer is put; operating systems search 0xe0000 to 0xfffff (ACPI 6.4, 5.2.5.1).
pub const RSDP_ADDRESS: u64 = 0xe_0000;
/// Room for all ACPI tables from [`RSDP_ADDRESS`] on, in bytes.
pub const ACPI_AREA_SIZE: u64 = RESET_VECTOR - RSDP_ADDRESS;
/// Where an 80x86 begins after a reset, below 1 MiB, and where operating systems without another way to reset
/// jump in real mode (`ffff:0000`).
pub const RESET_VECTOR: u64 = 0xf_fff0;
/// RAM below here is usable by the guest; above lies the classic hole up to 1 MiB.
pub const LOW_HOLE_START: u64 = 0x9_fc00;
/// End of the hole and the usual load address of kernels.
pub const HIGH_MEMORY_START: u64 = 0x10_0000;
