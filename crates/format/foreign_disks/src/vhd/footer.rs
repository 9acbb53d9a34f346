//! The footer, of which dynamic images have a copy at their front ("Hard Disk Footer Format").

use disk::{FormatError, ImageFile, SECTOR_SIZE, read_vec};

/// Bytes of a footer, and of one that Virtual PC wrote before 2004.
pub(super) const FOOTER_BYTES: u64 = 512;
const OLD_FOOTER_BYTES: u64 = 511;
const COOKIE: &[u8; 8] = b"conectix";
const CHECKSUM_AT: usize = 64;
const TYPE_FIXED: u32 = 2;
const TYPE_DYNAMIC: u32 = 3;
const TYPE_DIFFERENCING: u32 = 4;
/// More than any VHD is said to hold: 2040 GiB; QEMU goes to 2 TiB.
const SIZE_BYTES_MAX: u64 = 2 << 40;
/// Programs whose guests see a disk as long as its geometry says, which is rounded down: Virtual PC, Virtual Server,
/// and QEMU unless it is told otherwise. All others mean the current size.
const BY_GEOMETRY: [&[u8; 4]; 3] = [b"vpc ", b"vs  ", b"qemu"];
/// The geometry of every disk that is too long for one.
const GEOMETRY_MAX: u64 = 65535 * 16 * 255;

/// What an image says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) is_fixed: bool,
    pub(super) size_bytes: u64,
    /// Where the header of a dynamic image is.
    pub(super) header_offset: u64,
    /// Where the data of a fixed image ends at the latest.
    pub(super) footer_at: u64,
}

impl Footer {
    /// The footer at the end of the file; where that is damaged, its copy at the front.
    pub(super) fn read(file: &dyn ImageFile, file_bytes: u64) -> Result<Footer, FormatError> {
        let mut is_damaged = false;
        let ends = [FOOTER_BYTES, OLD_FOOTER_BYTES].map(|length| file_bytes.checked_sub(length));
        for at in ends.into_iter().chain([Some(0)]).flatten() {
            let bytes = read_vec(file, at, FOOTER_BYTES as usize)?;
            if !bytes.starts_with(COOKIE) {
                continue;
            }
            if is_sound(&bytes, CHECKSUM_AT) {
                return Footer::parse(&bytes, at);
            }
            is_damaged = true;
        }
        Err(if is_damaged {
            FormatError::damaged("its footer is not what its checksum says")
        } else {
            FormatError::NotThis("a VHD image, nor does it end as one")
        })
    }

    fn parse(bytes: &[u8], footer_at: u64) -> Result<Footer, FormatError> {
        let version = u32_at(bytes, 12);
        if version >> 16 != 1 {
            return Err(FormatError::unsupported(format!(
                "VHD version {}.{}",
                version >> 16,
                version & 0xffff
            )));
        }
        let is_fixed = match u32_at(bytes, 60) {
            TYPE_FIXED => true,
            TYPE_DYNAMIC => false,
            TYPE_DIFFERENCING => {
                return Err(FormatError::unsupported(
                    "a differencing image (merge it with its parent where it comes from)",
                ));
            }
            other => return Err(FormatError::unsupported(format!("VHD type {other}"))),
        };
        if is_fixed && footer_at == 0 {
            return Err(FormatError::damaged("its footer is missing: the file was cut short"));
        }
        let size_bytes = size_bytes(bytes);
        if size_bytes == 0 || size_bytes > SIZE_BYTES_MAX || !size_bytes.is_multiple_of(SECTOR_SIZE) {
            return Err(FormatError::damaged(format!("a disk of {size_bytes} bytes is impossible")));
        }
        Ok(Footer { is_fixed, size_bytes, header_offset: u64_at(bytes, 16), footer_at })
    }
}

/// Length of the disk. A footer has two: the current size, and a geometry, which is rounded to whole cylinders. They are
/// about the same disk only if they differ by less than one.
fn size_bytes(bytes: &[u8]) -> u64 {
    let current_bytes = u64_at(bytes, 48);
    let cylinders = u64::from(u16::from_be_bytes([bytes[56], bytes[57]]));
    let (heads, sectors) = (u64::from(bytes[58]), u64::from(bytes[59]));
    let cylinder_bytes = heads * sectors * SECTOR_SIZE;
    let geometry = cylinders * heads * sectors;
    let is_geometry = BY_GEOMETRY.iter().any(|program| bytes[28..32] == program[..]);
    let rounded = current_bytes.checked_sub(geometry * SECTOR_SIZE).is_some_and(|rest| rest < cylinder_bytes);
    let is_known = geometry != 0 && geometry != GEOMETRY_MAX;
    if is_geometry && is_known && rounded { geometry * SECTOR_SIZE } else { current_bytes }
}

/// Whether the checksum at `checksum_at` is right: the complement of the sum of all other bytes.
pub(super) fn is_sound(bytes: &[u8], checksum_at: usize) -> bool {
    let checksum = checksum_at..checksum_at + 4;
    let others = bytes.iter().enumerate().filter(|(at, _)| !checksum.contains(at));
    let sum = others.fold(0u32, |sum, (_, byte)| sum.wrapping_add(u32::from(*byte)));
    !sum == u32_at(bytes, checksum_at)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(std::array::from_fn(|index| bytes[at + index]))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(std::array::from_fn(|index| bytes[at + index]))
}
