//! Numbers of ACPI 6.4 that `acpi_tables` does not name, and the machine's ACPI registers.

/// Sleep control register, from `layout::ACPI_POWER_PORT` (4.8.3.7.1). The chip is `chipset::AcpiPower`.
pub const SLEEP_CONTROL_OFFSET: u16 = 0;
/// Sleep status register, from `layout::ACPI_POWER_PORT` (4.8.3.7.2).
pub const SLEEP_STATUS_OFFSET: u16 = 1;
/// Reset register, from `layout::ACPI_POWER_PORT` (4.8.3.6).
pub const RESET_OFFSET: u16 = 2;
/// Ports of the power block.
pub const POWER_PORTS: u8 = 3;
/// Value that resets the machine (5.2.9, RESET_VALUE).
pub const RESET_VALUE: u8 = 1;
/// Sleep type of soft off (7.4.2.6).
pub const SLEEP_TYPE_S5: u8 = 5;
/// Power button bit of the event register at `layout::ACPI_GED_PORT`. The chip is `chipset::AcpiGed`.
pub const EVENT_POWER_BUTTON: u8 = 1;
/// Slots bit of the event register.
pub const EVENT_SLOTS: u8 = 2;
/// Generation bit of the event register.
pub const EVENT_GENERATION: u8 = 4;
/// PCI slots that were filled, from `layout::ACPI_GED_PORT`: 32 bits, which reading clears.
pub const FILLED_OFFSET: u16 = 4;
/// PCI slots that are to be emptied, likewise.
pub const LEAVING_OFFSET: u16 = 8;
/// PCI slots that the system lets go of: 32 bits, written.
pub const EJECT_OFFSET: u16 = 12;
/// Notification that a device came or went (5.6.6, table 5.171: device check).
pub const NOTIFY_DEVICE_CHECK: u8 = 1;
/// Notification that a device is wanted back (5.6.6, table 5.171: eject request).
pub const NOTIFY_EJECT_REQUEST: u8 = 3;
/// Notification that a button was pressed (5.6.6, table 5.171).
pub const NOTIFY_BUTTON_PRESSED: u8 = 0x80;
/// Notification that the generation id is another (Microsoft, "Virtual Machine Generation ID").
pub const NOTIFY_GENERATION: u8 = 0x80;

/// FADT boot flags: devices on an ISA-like bus (5.2.9.3).
pub const BOOT_LEGACY_DEVICES: u16 = 1 << 0;
/// FADT boot flags: no VGA (5.2.9.3).
pub const BOOT_NO_VGA: u16 = 1 << 2;
/// FADT boot flags: leave PCI Express link power management alone (5.2.9.3).
pub const BOOT_NO_ASPM: u16 = 1 << 4;
/// Index of the century in the clock's memory (5.2.9, CENTURY).
pub const RTC_CENTURY: u8 = 0x32;

/// MADT revision of ACPI 6.3 and later (5.2.12).
pub const MADT_REVISION: u8 = 5;
/// Length of a table header (5.2.6).
pub const HEADER_SIZE: u32 = 36;
/// MADT structure: processor local APIC (5.2.12.2).
pub const MADT_LOCAL_APIC: u8 = 0;
/// MADT structure: I/O APIC (5.2.12.3).
pub const MADT_IO_APIC: u8 = 1;
/// MADT structure: where an ISA interrupt request is wired (5.2.12.5).
pub const MADT_INTERRUPT_OVERRIDE: u8 = 2;
/// The only bus whose requests are overridden (5.2.12.5).
pub const ISA_BUS: u8 = 0;
/// MADT structure: where a local APIC's NMI input is wired (5.2.12.7).
pub const MADT_LOCAL_APIC_NMI: u8 = 4;
/// Processor UID that stands for all processors (5.2.12.7).
pub const ALL_PROCESSORS: u8 = 0xff;
/// Local APIC flags: enabled (5.2.12.2.1).
pub const LOCAL_APIC_ENABLED: u32 = 1;
