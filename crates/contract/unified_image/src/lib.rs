//! Unified kernel images: PE files that hold a kernel, initial RAM disks and a command line in sections of their own
//! (UAPI group, "Unified Kernel Image"; PE format, sections 2 to 4). Where they are, and nothing more: no file is read.
//!
//! Of an image with several profiles the first is taken, as systemd-stub does where nobody asks for another: its
//! sections, and for names that it lacks those in front of all profiles.
//!
//! Used by the boot loader for `--kernel` and by the reader of foreign disks. Images are anybody's: nothing in them
//! is believed that the file's length contradicts.

#![forbid(unsafe_code)]

/// How much of a file's front [`UnifiedImage::parse`] wants to see, in bytes, if there is as much.
pub const FRONT_BYTES: usize = 64 << 10;

/// PE's number for x86-64 (PE format, "Machine Types").
pub const MACHINE_X86_64: u16 = 0x8664;
/// PE's number for 64-bit Arm.
pub const MACHINE_AARCH64: u16 = 0xAA64;
/// PE's number for 64-bit RISC-V.
pub const MACHINE_RISCV64: u16 = 0x5064;

/// Fields of the headers (PE format, sections 2 to 4).
const PE_AT: usize = 0x3C;
const MACHINE_AT: usize = 4;
const SECTION_COUNT_AT: usize = 6;
const OPTIONAL_SIZE_AT: usize = 20;
const OPTIONAL_AT: usize = 24;
const SECTION_HEADER_LEN: usize = 40;
const NAME_LEN: usize = 8;
const VIRTUAL_SIZE_AT: usize = 8;
const RAW_SIZE_AT: usize = 16;
const RAW_AT: usize = 20;
/// Most sections of an image (PE format, "COFF File Header").
const SECTION_LIMIT: usize = 96;

const PROFILE: &[u8] = b".profile";
const KERNEL: &str = ".linux";
/// In the order in which they are loaded: the processor's microcode comes first.
const INITRDS: &[&str] = &[".ucode", ".initrd"];
/// The sections that are looked for.
const KNOWN: &[&str] = &[KERNEL, ".ucode", ".initrd", ".cmdline", ".dtb", ".uname", ".osrel"];

/// An image contradicts itself or the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is damaged: {0}")]
pub struct Damaged(pub &'static str);

/// A range of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// What it is called in the image, as `.linux`.
    pub name: &'static str,
    /// Where it begins in the file.
    pub offset_bytes: u64,
    /// How long it is; never 0.
    pub size_bytes: u64,
}

/// What is in a unified kernel image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnifiedImage {
    machine: u16,
    kernel: Section,
    /// Those that count, in their order.
    sections: Vec<Section>,
}

impl UnifiedImage {
    /// Reads the headers of a file that begins with `front` and has `file_bytes` in all; nothing when it is
    /// something else.
    ///
    /// # Errors
    /// It is such an image, or begins as one, and its headers make no sense.
    pub fn parse(front: &[u8], file_bytes: u64) -> Result<Option<UnifiedImage>, Damaged> {
        let Some(pe) = pe_headers(front) else { return Ok(None) };
        let (machine, count) = match (le16(pe, MACHINE_AT), le16(pe, SECTION_COUNT_AT)) {
            (Some(machine), Some(count)) => (machine, usize::from(count)),
            _ => return Err(Damaged("its PE headers are cut off")),
        };
        if count > SECTION_LIMIT {
            return Err(Damaged("it has more sections than the format allows"));
        }
        let optional_len = usize::from(le16(pe, OPTIONAL_SIZE_AT).unwrap_or(0));
        let table = pe.get(OPTIONAL_AT + optional_len..).unwrap_or_default();
        let headers: Vec<&[u8]> = table.chunks_exact(SECTION_HEADER_LEN).take(count).collect();
        let sections = in_force(&headers);
        let Some(kernel) = sections.iter().copied().find(|section| section.name == KERNEL) else {
            let cut_off = headers.len() < count;
            return if cut_off { Err(Damaged("its table of sections is cut off")) } else { Ok(None) };
        };
        let ends_behind = |section: &Section| section.offset_bytes + section.size_bytes > file_bytes;
        if headers.len() < count || sections.iter().any(ends_behind) {
            return Err(Damaged("a section ends behind the end of the file"));
        }
        Ok(Some(UnifiedImage { machine, kernel, sections }))
    }

    /// Which processors it is for, as PE numbers them.
    pub fn machine(&self) -> u16 {
        self.machine
    }

    /// The kernel.
    pub fn kernel(&self) -> Section {
        self.kernel
    }

    /// The initial RAM disks, in the order in which they are to be loaded.
    pub fn initrds(&self) -> impl Iterator<Item = Section> {
        let named =
            |name: &'static str| self.sections.iter().copied().filter(move |section| section.name == name);
        INITRDS.iter().flat_map(move |name| named(name))
    }

    /// The section of a name, where there is one: `.cmdline`, `.dtb`, `.uname`, `.osrel`.
    pub fn section(&self, name: &str) -> Option<Section> {
        self.sections.iter().copied().find(|section| section.name == name)
    }
}

/// The PE headers of a program, if it is one.
fn pe_headers(front: &[u8]) -> Option<&[u8]> {
    let is_program = front.starts_with(b"MZ");
    let at = le32(front, PE_AT).filter(|_| is_program)?;
    front.get(at as usize..).filter(|pe| pe.starts_with(b"PE\0\0"))
}

/// The known sections that count: those of the first profile, and of other names those in front of all profiles.
fn in_force(headers: &[&[u8]]) -> Vec<Section> {
    let mut parts = headers.split(|header| name(header) == PROFILE);
    let base: Vec<Section> =
        parts.next().into_iter().flatten().filter_map(|header| section(header)).collect();
    let mut sections: Vec<Section> =
        parts.next().into_iter().flatten().filter_map(|header| section(header)).collect();
    let own = sections.clone();
    sections.extend(base.into_iter().filter(|section| own.iter().all(|other| other.name != section.name)));
    sections
}

fn name(header: &[u8]) -> &[u8] {
    let name = header.get(..NAME_LEN).unwrap_or_default();
    let len = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    &name[..len]
}

/// A section that is known and has contents.
fn section(header: &[u8]) -> Option<Section> {
    let name = KNOWN.iter().copied().find(|known| known.as_bytes() == name(header))?;
    let (virtual_size, raw_size) = (le32(header, VIRTUAL_SIZE_AT)?, le32(header, RAW_SIZE_AT)?);
    // The raw data is filled up to the alignment of the file; what is beyond it would be zeros.
    let size = virtual_size.min(raw_size);
    let offset_bytes = u64::from(le32(header, RAW_AT)?);
    (size > 0).then_some(Section { name, offset_bytes, size_bytes: size.into() })
}

fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes)
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE_AT: usize = 0x80 + OPTIONAL_AT + 0xF0;

    /// An image of these sections: name, contents.
    fn image(sections: &[(&str, &str)]) -> Vec<u8> {
        let mut file = vec![0; 0x1000];
        file[..2].copy_from_slice(b"MZ");
        file[PE_AT] = 0x80;
        file[0x80..0x84].copy_from_slice(b"PE\0\0");
        file[0x84..0x86].copy_from_slice(&MACHINE_X86_64.to_le_bytes());
        file[0x86] = sections.len() as u8;
        file[0x94] = 0xF0;
        for (index, (name, body)) in sections.iter().enumerate() {
            let at = TABLE_AT + index * SECTION_HEADER_LEN;
            file[at..at + name.len()].copy_from_slice(name.as_bytes());
            let fields = [(VIRTUAL_SIZE_AT, body.len()), (RAW_SIZE_AT, body.len() + 3), (RAW_AT, file.len())];
            for (field, value) in fields {
                file[at + field..at + field + 4].copy_from_slice(&(value as u32).to_le_bytes());
            }
            file.extend_from_slice(body.as_bytes());
            file.extend_from_slice(&[0xEE; 3]);
        }
        file
    }

    fn parse(file: &[u8]) -> Result<Option<UnifiedImage>, Damaged> {
        UnifiedImage::parse(file, file.len() as u64)
    }

    /// The contents of sections, one behind the other.
    fn contents(file: &[u8], sections: impl IntoIterator<Item = Section>) -> Vec<String> {
        let range = |section: Section| {
            let start = section.offset_bytes as usize;
            String::from_utf8_lossy(&file[start..start + section.size_bytes as usize]).into_owned()
        };
        sections.into_iter().map(range).collect()
    }

    #[test]
    fn sections_that_count() {
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a [&'a str], Option<&'a str>);
        let cases: &[Case<'_>] = &[
            (&[(".linux", "k")], "k", &[], None),
            (
                &[(".initrd", "a"), (".linux", "k"), (".cmdline", "c"), (".ucode", "u")],
                "k",
                &["u", "a"],
                Some("c"),
            ),
            (&[(".linux", "k"), (".initrd", "a"), (".initrd", "b")], "k", &["a", "b"], None),
            (&[(".linux", "k"), (".initrd", ""), (".cmdline", "")], "k", &[], None),
            // Profiles: the first one rules, over what stands in front of all.
            (
                &[
                    (".linux", "k"),
                    (".cmdline", "base"),
                    (".initrd", "a"),
                    (".profile", "ID=one"),
                    (".cmdline", "one"),
                    (".profile", "ID=two"),
                    (".cmdline", "two"),
                    (".initrd", "b"),
                ],
                "k",
                &["a"],
                Some("one"),
            ),
            (&[(".cmdline", "c"), (".profile", "ID=a"), (".linux", "k")], "k", &[], Some("c")),
        ];
        for (sections, kernel, initrds, cmdline) in cases {
            let file = image(sections);
            let image = parse(&file).unwrap().unwrap_or_else(|| panic!("{sections:?}"));
            assert_eq!(image.machine(), MACHINE_X86_64);
            assert_eq!(contents(&file, [image.kernel()]), [*kernel], "{sections:?}");
            assert_eq!(contents(&file, image.initrds()), *initrds, "{sections:?}");
            assert_eq!(contents(&file, image.section(".cmdline")).first().map(String::as_str), *cmdline);
        }
    }

    #[test]
    fn other_files_are_none() {
        let no_kernel = image(&[(".text", "x"), (".cmdline", "c")]);
        let second_profile = image(&[(".profile", "1"), (".profile", "2"), (".linux", "k")]);
        for file in [b"".as_slice(), b"MZ", &[0; 4096], &no_kernel, &second_profile] {
            assert_eq!(parse(file), Ok(None));
        }
        let mut far = image(&[(".linux", "k")]);
        far[PE_AT..PE_AT + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(parse(&far), Ok(None));
    }

    #[test]
    fn what_contradicts_the_file_is_damage() {
        let whole = image(&[(".linux", "kernel"), (".initrd", "initrd")]);
        let set = |at: usize, value: u32| {
            let mut file = whole.clone();
            file[at..at + 4].copy_from_slice(&value.to_le_bytes());
            file
        };
        let second = TABLE_AT + SECTION_HEADER_LEN;
        let cases = [
            whole[..whole.len() - 4].to_vec(),
            set(TABLE_AT + RAW_AT, u32::MAX),
            set(second + RAW_AT, whole.len() as u32),
            set(0x86, 0xFFFF),
            whole[..TABLE_AT + 10].to_vec(),
            whole[..0x86].to_vec(),
        ];
        for (index, file) in cases.iter().enumerate() {
            assert!(parse(file).is_err(), "{index}");
        }
        let mut both = set(TABLE_AT + RAW_SIZE_AT, u32::MAX);
        both[TABLE_AT + VIRTUAL_SIZE_AT..TABLE_AT + VIRTUAL_SIZE_AT + 4].copy_from_slice(&[0xFF; 4]);
        assert!(parse(&both).is_err());
    }

    #[test]
    fn no_headers_make_it_panic() {
        let whole = image(&[(".linux", "kernel"), (".profile", "p"), (".initrd", "initrd")]);
        for at in 0..0x200 {
            for value in [0, 1, 0x7F, 0x80, 0xFF] {
                let mut file = whole.clone();
                file[at] = value;
                let _ = parse(&file);
                let _ = UnifiedImage::parse(&file[..0x200], 10);
            }
        }
        (0..whole.len()).for_each(|len| drop(parse(&whole[..len])));
    }
}
