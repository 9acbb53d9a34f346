//! The generation id (Microsoft, "Virtual Machine Generation ID"): 16 bytes in memory, which are others whenever the machine
//! goes on from a snapshot, and a device by which the system finds them and hears of that.

use acpi_tables::Aml;
use acpi_tables::aml::{Device, Name, Package, Path};

/// The device.
pub(crate) const PATH: &str = "\\_SB_.VGEN";
/// What it is called here. Systems look for the names below.
const HARDWARE_ID: &str = "YAGU0001";
/// The name that the specification gives it, and one that ACPI allows (ACPI 6.4, 6.1.5), as Hyper-V has them.
const COMPATIBLE_IDS: [&str; 2] = ["VM_Gen_Counter", "VMGENCTR"];

/// The device, whose id is at `address`.
pub(crate) fn build(address: u64, body: &mut Vec<u8>) {
    let (low, high) = (address as u32, (address >> 32) as u32);
    let [by_specification, by_acpi] = &COMPATIBLE_IDS;
    let parts: [&dyn Aml; 4] = [
        &Name::new("_HID".into(), &HARDWARE_ID),
        &Name::new("_CID".into(), &Package::new(vec![by_specification, by_acpi])),
        &Name::new("_DDN".into(), by_specification),
        &Name::new("ADDR".into(), &Package::new(vec![&low, &high])),
    ];
    Device::new(Path::new(PATH), parts.to_vec()).to_aml_bytes(body);
}
