//! The bodies of Yagura's fuzz targets, one module each, and what they share.
//!
//! ```text
//! fuzz_targets/NAME.rs ──bytes──► NAME::run ──Script──► device or loader, asserting what must always hold
//! examples/write_seeds.rs ◄─────── NAME::seeds          inputs that go all the way, to start from
//! ```
//!
//! An input is a [`Script`]: operations read from the front, fixed-size little-endian numbers, zeros behind
//! the end. That is plain enough for seeds to be written by hand, and a change to one operation leaves the
//! others as they were. Bodies panic when something is wrong; hangs and memory are libFuzzer's to watch.

#![forbid(unsafe_code)]

pub mod appliance;
pub mod catalogue;
mod fat_disk;
pub mod foreign_image;
pub mod guest_disk;
mod hostile_driver;
mod hostile_ring;
pub mod image_layers;
pub mod kernel_image;
mod memory_disk;
pub mod oci_archive;
pub mod oci_documents;
pub mod pci_config;
pub mod qcow2_image;
mod ram;
mod script;
pub mod serial_16550;
pub mod snapshot;
pub mod snapshot_archive;
pub mod virtio_block;
pub mod virtio_net;
pub mod virtqueue;
pub mod vm_state;

pub use script::{Notation, Script};

/// An input to start from: a name for its file, and the bytes.
pub type Seed = (&'static str, Vec<u8>);

/// A target's name, its body and its seeds.
pub struct Target {
    /// As `cargo fuzz list` says it.
    pub name: &'static str,
    /// The body.
    pub run: fn(&[u8]),
    /// Inputs to start from.
    pub seeds: fn() -> Vec<Seed>,
}

/// All targets.
pub const TARGETS: [Target; 24] = [
    Target { name: "virtqueue", run: virtqueue::run, seeds: virtqueue::seeds },
    Target { name: "pci_config", run: pci_config::run, seeds: pci_config::seeds },
    Target { name: "serial_16550", run: serial_16550::run, seeds: serial_16550::seeds },
    Target { name: "virtio_block", run: virtio_block::run, seeds: virtio_block::seeds },
    Target { name: "virtio_net", run: virtio_net::run, seeds: virtio_net::seeds },
    Target { name: "snapshot", run: snapshot::run, seeds: snapshot::seeds },
    Target { name: "snapshot_archive", run: snapshot_archive::run, seeds: snapshot_archive::seeds },
    Target { name: "vm_state", run: vm_state::run, seeds: vm_state::seeds },
    Target { name: "qcow2", run: qcow2_image::run, seeds: qcow2_image::seeds },
    Target { name: "vhdx", run: foreign_image::run_vhdx, seeds: foreign_image::vhdx_seeds },
    Target { name: "vmdk", run: foreign_image::run_vmdk, seeds: foreign_image::vmdk_seeds },
    Target { name: "vhd", run: foreign_image::run_vhd, seeds: foreign_image::vhd_seeds },
    Target { name: "vdi", run: foreign_image::run_vdi, seeds: foreign_image::vdi_seeds },
    Target { name: "appliance", run: appliance::run, seeds: appliance::seeds },
    Target { name: "layers", run: image_layers::run, seeds: image_layers::seeds },
    Target { name: "oci_archive", run: oci_archive::run, seeds: oci_archive::seeds },
    Target { name: "oci_documents", run: oci_documents::run, seeds: oci_documents::seeds },
    Target { name: "catalogue", run: catalogue::run, seeds: catalogue::seeds },
    Target { name: "guest_disk", run: guest_disk::run, seeds: guest_disk::seeds },
    Target { name: "boot_files", run: guest_disk::run_boot_files, seeds: guest_disk::boot_files_seeds },
    Target { name: "partitions", run: guest_disk::run_partitions, seeds: guest_disk::partitions_seeds },
    Target { name: "bzimage", run: kernel_image::run, seeds: kernel_image::bzimage_seeds },
    Target { name: "elf", run: kernel_image::run, seeds: kernel_image::elf_seeds },
    Target { name: "multiboot", run: kernel_image::run, seeds: kernel_image::multiboot_seeds },
];

#[cfg(test)]
mod tests {
    #[test]
    fn seeds_run_through() {
        for target in super::TARGETS {
            for (name, seed) in (target.seeds)() {
                println!("{} {name}: {} bytes", target.name, seed.len());
                (target.run)(&seed);
            }
        }
    }
}
