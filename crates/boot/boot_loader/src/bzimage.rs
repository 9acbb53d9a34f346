//! The setup header of a bzImage (Linux, `Documentation/arch/x86/boot.rst`, "The Real-Mode Kernel Header").

use crate::KernelFault;

/// Offsets in the file, which are those in the zero page too, and values of fields.
pub(crate) mod spec {
    /// `setup_sects`: sectors of real-mode code, 0 means 4. The header begins here.
    pub const SETUP_SECTS: usize = 0x1f1;
    /// `syssize`: size of the protected-mode code in 16-byte paragraphs.
    pub const SYSSIZE: usize = 0x1f4;
    /// `vid_mode`
    pub const VID_MODE: usize = 0x1fa;
    /// `boot_flag`
    pub const BOOT_FLAG: usize = 0x1fe;
    /// `jump`: its second byte is the header's length behind 0x202.
    pub const HEADER_LENGTH: usize = 0x201;
    /// `header`: "HdrS"
    pub const HEADER: usize = 0x202;
    /// `version`: protocol, major and minor a byte.
    pub const VERSION: usize = 0x206;
    /// `type_of_loader`
    pub const TYPE_OF_LOADER: usize = 0x210;
    /// `loadflags`
    pub const LOADFLAGS: usize = 0x211;
    /// `code32_start`: where the protected-mode code lies.
    pub const CODE32_START: usize = 0x214;
    /// `ramdisk_image`
    pub const RAMDISK_IMAGE: usize = 0x218;
    /// `ramdisk_size`
    pub const RAMDISK_SIZE: usize = 0x21c;
    /// `cmd_line_ptr`
    pub const CMD_LINE_PTR: usize = 0x228;
    /// `initrd_addr_max` (2.03+)
    pub const INITRD_ADDR_MAX: usize = 0x22c;
    /// `kernel_alignment` (2.05+)
    pub const KERNEL_ALIGNMENT: usize = 0x230;
    /// `relocatable_kernel` (2.05+)
    pub const RELOCATABLE_KERNEL: usize = 0x234;
    /// `xloadflags` (2.12+)
    pub const XLOADFLAGS: usize = 0x236;
    /// `cmdline_size` (2.06+), without the final zero
    pub const CMDLINE_SIZE: usize = 0x238;
    /// `payload_offset` (2.08+), from the protected-mode code
    pub const PAYLOAD_OFFSET: usize = 0x248;
    /// `payload_length` (2.08+)
    pub const PAYLOAD_LENGTH: usize = 0x24c;
    /// `setup_data` (2.09+)
    pub const SETUP_DATA: usize = 0x250;
    /// `pref_address` (2.10+)
    pub const PREF_ADDRESS: usize = 0x258;
    /// `init_size` (2.10+)
    pub const INIT_SIZE: usize = 0x260;
    /// The zero page's next field behind the header; the header ends here at the latest.
    pub const HEADER_END: usize = 0x290;

    /// `boot_flag`'s value
    pub const BOOT_FLAG_VALUE: [u8; 2] = [0x55, 0xaa];
    /// `header`'s value
    pub const HEADER_VALUE: [u8; 4] = *b"HdrS";
    /// First protocol whose header says how long the command line may be.
    pub const OLDEST_VERSION: u16 = 0x0206;
    /// First protocol with a payload that can be found.
    pub const VERSION_PAYLOAD: u16 = 0x0208;
    /// First protocol with `pref_address` and `init_size`.
    pub const VERSION_INIT_SIZE: u16 = 0x020a;
    /// First protocol with `xloadflags`.
    pub const VERSION_XLOADFLAGS: u16 = 0x020c;
    /// `loadflags`: the protected-mode code belongs above 1 MiB.
    pub const LOADED_HIGH: u8 = 1 << 0;
    /// `xloadflags`: has the 64-bit entry at 0x200.
    pub const XLF_KERNEL_64: u16 = 1 << 0;
    /// Unit of `setup_sects` in bytes.
    pub const SECTOR: u64 = 512;
    /// Unit of `syssize` in bytes.
    pub const PARAGRAPH: u64 = 16;
    /// The 64-bit entry, from the protected-mode code.
    pub const ENTRY_64: u64 = 0x200;
    /// The 32-bit entry, from the protected-mode code.
    pub const ENTRY_32: u64 = 0;
    /// Where a kernel without `pref_address` is loaded.
    pub const DEFAULT_LOAD_ADDRESS: u64 = 0x10_0000;
}

use spec::*;

/// A checked setup header: what it points at lies in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SetupHeader {
    /// The header as in the file, from [`SETUP_SECTS`] on, for the zero page.
    pub bytes: Vec<u8>,
    /// Most bytes that the command line may have.
    pub cmdline_size: u32,
    /// Last address that the initrd may occupy.
    pub initrd_addr_max: u32,
    /// Where the payload lies in the file, if there is one.
    pub payload: Option<(u64, u64)>,
    /// Where the protected-mode code lies in the file.
    pub code: (u64, u64),
    /// Where the protected-mode code wants to be.
    pub load_address: u64,
    /// Memory that the kernel needs from there on until it knows its memory map, in bytes.
    pub init_size: u64,
    /// Where the protected-mode code can be instead: at multiples of this.
    pub relocatable: Option<u64>,
    /// How the protected-mode code is entered.
    pub width: Width,
}

/// Ways into the protected-mode code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// The header says that there is a 64-bit entry.
    Long,
    /// It says that there is none.
    Narrow,
    /// It is too old to say.
    Unsaid,
    /// It belongs below 1 MiB, or is of a protocol (iPXE's 2.7) that was mostly entered in real mode.
    Real,
}

/// Whether a file that begins with `head` is a Linux image of the x86 boot protocol.
pub(crate) fn is_bzimage(head: &[u8]) -> bool {
    head.get(BOOT_FLAG..BOOT_FLAG + 2) == Some(&BOOT_FLAG_VALUE)
        && head.get(HEADER..HEADER + 4) == Some(&HEADER_VALUE)
}

impl SetupHeader {
    /// Reads the header from the file's beginning; the file has `file_size` bytes.
    pub fn parse(head: &[u8], file_size: u64) -> Result<SetupHeader, KernelFault> {
        let version = u16_at(head, VERSION)?;
        if version < OLDEST_VERSION {
            let [minor, major] = version.to_le_bytes();
            return Err(KernelFault::ProtocolTooOld { major, minor });
        }
        let length = head.get(HEADER_LENGTH).copied().map_or(0, usize::from);
        let end = (HEADER + length).min(HEADER_END);
        if end < CMDLINE_SIZE + 4 {
            return Err(KernelFault::Damaged("its setup header is too short"));
        }
        let bytes = head.get(SETUP_SECTS..end).ok_or(KernelFault::Truncated("the setup header"))?.to_vec();
        let has = |first: u16, field: usize| version >= first && field < end;
        let flags = if has(VERSION_XLOADFLAGS, XLOADFLAGS) { Some(u16_at(head, XLOADFLAGS)?) } else { None };
        let code = code_range(head, file_size)?;
        let payload =
            if has(VERSION_PAYLOAD, PAYLOAD_LENGTH) { payload_range(head, code, file_size)? } else { None };
        let (load_address, init_size) = if has(VERSION_INIT_SIZE, INIT_SIZE) {
            (u64_at(head, PREF_ADDRESS)?, u64::from(u32_at(head, INIT_SIZE)?))
        } else {
            (DEFAULT_LOAD_ADDRESS, 0)
        };
        Ok(SetupHeader {
            bytes,
            cmdline_size: u32_at(head, CMDLINE_SIZE)?,
            initrd_addr_max: u32_at(head, INITRD_ADDR_MAX)?,
            payload,
            code,
            load_address: if load_address == 0 { DEFAULT_LOAD_ADDRESS } else { load_address },
            init_size,
            relocatable: if head.get(RELOCATABLE_KERNEL).is_some_and(|flag| *flag != 0) {
                Some(u64::from(u32_at(head, KERNEL_ALIGNMENT)?).max(1))
            } else {
                None
            },
            width: match flags {
                _ if head.get(LOADFLAGS).is_none_or(|flags| flags & LOADED_HIGH == 0) => Width::Real,
                _ if version < VERSION_PAYLOAD => Width::Real,
                Some(flags) if flags & XLF_KERNEL_64 != 0 => Width::Long,
                Some(_) => Width::Narrow,
                None => Width::Unsaid,
            },
        })
    }
}

/// The protected-mode code's range. Its size counts in paragraphs, of which the last may be cut short.
fn code_range(head: &[u8], file_size: u64) -> Result<(u64, u64), KernelFault> {
    let sectors = match head[SETUP_SECTS] {
        0 => 4,
        sectors => u64::from(sectors),
    };
    let start = (sectors + 1) * SECTOR;
    let end = start + u64::from(u32_at(head, SYSSIZE)?) * PARAGRAPH;
    if start >= file_size || end >= file_size + PARAGRAPH {
        return Err(KernelFault::Truncated("the end of the protected-mode code"));
    }
    Ok((start, end.min(file_size)))
}

fn payload_range(head: &[u8], code: (u64, u64), file_size: u64) -> Result<Option<(u64, u64)>, KernelFault> {
    let start = code.0 + u64::from(u32_at(head, PAYLOAD_OFFSET)?);
    let length = u64::from(u32_at(head, PAYLOAD_LENGTH)?);
    if length == 0 {
        return Ok(None);
    }
    if start + length > file_size {
        return Err(KernelFault::Truncated("the end of the packed kernel"));
    }
    Ok(Some((start, start + length)))
}

fn bytes_at<const N: usize>(head: &[u8], offset: usize) -> Result<[u8; N], KernelFault> {
    let bytes = head.get(offset..offset + N).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or(KernelFault::Truncated("the setup header"))
}

fn u16_at(head: &[u8], offset: usize) -> Result<u16, KernelFault> {
    bytes_at(head, offset).map(u16::from_le_bytes)
}

fn u32_at(head: &[u8], offset: usize) -> Result<u32, KernelFault> {
    bytes_at(head, offset).map(u32::from_le_bytes)
}

fn u64_at(head: &[u8], offset: usize) -> Result<u64, KernelFault> {
    bytes_at(head, offset).map(u64::from_le_bytes)
}
