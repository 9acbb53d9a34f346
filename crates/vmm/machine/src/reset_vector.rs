//! All the firmware there is: what an operating system finds when it jumps to the reset vector.
//!
//! Linux does so with hardware-reduced ACPI and without UEFI: of all ways to reset it then tries only this one.

use arch_model::x86_64::layout::{ACPI_POWER_PORT, RESET_VECTOR};
use chipset::{RESET_OFFSET, RESET_VALUE};
use guest_memory::{Bytes, GuestAddress, GuestMemoryError, Slots};

/// Real-mode code that writes the ACPI reset register, and waits.
const CODE: [u8; 9] = {
    let [port_low, port_high] = (ACPI_POWER_PORT + RESET_OFFSET).to_le_bytes();
    [
        0xba,
        port_low,
        port_high, // mov dx, reset register
        0xb0,
        RESET_VALUE, // mov al, RESET_VALUE
        0xee,        // out dx, al
        0xf4,        // hlt
        0xeb,
        0xfd, // jmp -3
    ]
};

/// Puts the code where the guest expects its firmware.
pub(crate) fn write_to(memory: &Slots) -> Result<(), GuestMemoryError> {
    memory.write_slice(&CODE, GuestAddress(RESET_VECTOR))
}
