//! What the driver finds in configuration space: identity, capabilities, and the layout of the one region.

use std::ops::Range;

use device_model::{BarKind, BarRegion};
use pci::{ConfigSpace, Identity, MsixPlacement};

use super::spec;
use crate::DeviceType;

/// Register of the region.
pub(super) const BAR: u8 = 0;
/// The region: all structures and the MSI-X table.
pub(super) const REGION: BarRegion = BarRegion { index: BAR, kind: BarKind::Memory64, size_bytes: 0x1_0000 };
/// Common configuration (4.1.4.3).
pub(super) const COMMON: Range<u64> = 0..spec::COMMON_SIZE as u64;
/// ISR status (4.1.4.5).
pub(super) const ISR: Range<u64> = 0x1000..0x1004;
/// Device configuration space (4.1.4.6).
pub(super) const DEVICE_CONFIG: Range<u64> = 0x2000..0x3000;
/// Doorbells (4.1.4.4), in a page of their own.
pub(super) const NOTIFY: Range<u64> = 0x3000..0x4000;
/// Pending bits, then the table, both with room for as many vectors as a function can have.
pub(super) const MSIX_PLACEMENT: MsixPlacement =
    MsixPlacement { bar: BAR, table_offset: 0x8000, pending_offset: 0x4000 };
/// Most queues of a device: that many doorbells fit.
pub(super) const MAX_QUEUES: u16 = ((NOTIFY.end - NOTIFY.start) / spec::NOTIFY_MULTIPLIER as u64) as u16;

/// Bytes of `virtio_pci_cap` behind the two that every capability has (4.1.4).
const CAP_BODY: usize = 14;
/// `cap.bar`, `cap.offset` and `cap.length` within that body.
const CAP_BAR: usize = 2;
const CAP_OFFSET: usize = 6;
const CAP_LENGTH: usize = 10;

/// Configuration space of a device of type `kind`, with everything but MSI-X in it.
pub(super) fn config_space(kind: DeviceType) -> (ConfigSpace, ConfigWindow) {
    let identity = Identity {
        vendor: spec::VENDOR,
        device: spec::DEVICE_BASE + kind as u16,
        class: class_of(kind),
        revision: spec::REVISION,
        subsystem_vendor: spec::VENDOR,
        subsystem: spec::SUBSYSTEM_BASE + kind as u16,
    };
    let mut config = ConfigSpace::new(identity, &[REGION]);
    let fixed = [0; CAP_BODY + 4];
    let structures = [
        (spec::CAPABILITY_COMMON, COMMON),
        (spec::CAPABILITY_ISR, ISR),
        (spec::CAPABILITY_DEVICE, DEVICE_CONFIG),
    ];
    for (cfg_type, range) in structures {
        config.add_capability(
            spec::CAPABILITY_VENDOR,
            &body(cfg_type, &range)[..CAP_BODY],
            &fixed[..CAP_BODY],
        );
    }
    let mut notify = body(spec::CAPABILITY_NOTIFY, &NOTIFY);
    notify[CAP_BODY..].copy_from_slice(&spec::NOTIFY_MULTIPLIER.to_le_bytes());
    config.add_capability(spec::CAPABILITY_VENDOR, &notify, &fixed);
    let window = ConfigWindow::add(&mut config);
    (config, window)
}

/// A `virtio_pci_cap` (4.1.4) and room for four bytes more.
fn body(cfg_type: u8, range: &Range<u64>) -> [u8; CAP_BODY + 4] {
    let mut body = [0; CAP_BODY + 4];
    // The common header's two bytes are not part of the body, but count in `cap_len`.
    let has_more = matches!(cfg_type, spec::CAPABILITY_NOTIFY | spec::CAPABILITY_PCI);
    body[0] = 2 + CAP_BODY as u8 + if has_more { 4 } else { 0 };
    body[1] = cfg_type;
    body[CAP_BAR] = BAR;
    body[CAP_OFFSET..CAP_LENGTH].copy_from_slice(&(range.start as u32).to_le_bytes());
    body[CAP_LENGTH..CAP_BODY].copy_from_slice(&((range.end - range.start) as u32).to_le_bytes());
    body
}

/// Class codes (PCI Code and ID Assignment 1.11).
fn class_of(kind: DeviceType) -> u32 {
    match kind {
        DeviceType::Net => 0x02_0000,
        DeviceType::Block => 0x01_8000,
        DeviceType::Console => 0x07_8000,
        DeviceType::Rng => 0x00_ff00,
    }
}

/// The capability that reaches the region through configuration space (4.1.4.9), for firmware.
pub(super) struct ConfigWindow {
    capability: u16,
}

/// An access through the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WindowAccess {
    /// Offset in the region.
    pub(super) offset: u64,
    /// Bytes there: 1, 2 or 4.
    pub(super) len: usize,
    /// Which byte of `pci_cfg_data` the access to configuration space starts with.
    pub(super) first_byte: usize,
}

impl ConfigWindow {
    fn add(config: &mut ConfigSpace) -> ConfigWindow {
        let mut writable = [0; CAP_BODY + 4];
        writable[CAP_BAR] = 0xff;
        writable[CAP_OFFSET..CAP_BODY].fill(0xff);
        let capability =
            config.add_capability(spec::CAPABILITY_VENDOR, &body(spec::CAPABILITY_PCI, &(0..0)), &writable);
        ConfigWindow { capability }
    }

    /// What an access to configuration space at `offset` means if `pci_cfg_data` lies there: an access to the
    /// region, or nothing (of length 0) where `cap.bar`, `cap.offset` or `cap.length` make no sense.
    pub(super) fn access(&self, offset: u16, config: &ConfigSpace) -> Option<WindowAccess> {
        let body = self.capability + 2;
        let first_byte = usize::from(offset.checked_sub(body + CAP_BODY as u16).filter(|byte| *byte < 4)?);
        let region_offset = u64::from(config.read_u32(body + CAP_OFFSET as u16));
        let len = config.read_u32(body + CAP_LENGTH as u16);
        let bar = config.read_u16(body + CAP_BAR as u16) as u8;
        let makes_sense = bar == BAR
            && matches!(len, 1 | 2 | 4)
            && region_offset.is_multiple_of(u64::from(len))
            && region_offset < REGION.size_bytes;
        let len = if makes_sense { len as usize } else { 0 };
        Some(WindowAccess { offset: region_offset, len, first_byte })
    }
}
