//! Why a kernel or an initrd cannot be loaded: one line for a person, with the file's name.

use std::io;
use std::path::PathBuf;

use guest_memory::GuestMemoryError;
use messages::Bytes;

/// A guest's software cannot be loaded. The chain of sources says what is wrong with the file.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The kernel.
    #[error("cannot use kernel {path}")]
    Kernel {
        /// As given.
        path: PathBuf,
        /// What is wrong.
        source: KernelFault,
    },
    /// The initrd.
    #[error("cannot use initrd {path}")]
    Initrd {
        /// As given.
        path: PathBuf,
        /// What is wrong.
        source: BootFileFault,
    },
    /// Several initrds together.
    #[error("cannot use the {count} initrds together")]
    Initrds {
        /// How many.
        count: usize,
        /// What is wrong.
        source: BootFileFault,
    },
    /// A boot module.
    #[error("cannot use module {path}")]
    Module {
        /// As given.
        path: PathBuf,
        /// What is wrong.
        source: BootFileFault,
    },
    /// Linux was given modules.
    #[error("kernel {path} takes no modules: by the Linux boot protocol there is only an initrd")]
    NoModules {
        /// As given.
        path: PathBuf,
    },
    /// There are so many modules, or their command lines are so long, that no list of them can be made.
    #[error("the list of modules with their command lines is too long")]
    TooManyModules,
    /// The command line is longer than the kernel reads.
    #[error("the command line has {length} bytes, kernel {path} takes at most {limit}")]
    CommandLineTooLong {
        /// As given.
        path: PathBuf,
        /// Length in bytes.
        length: usize,
        /// Most bytes that the kernel takes.
        limit: usize,
    },
    /// The command line contains a zero byte, where the kernel would stop reading.
    #[error("the command line contains a zero byte")]
    CommandLineZero,
    /// The guest has no RAM where the boot data belong.
    #[error("cannot write boot data to guest memory")]
    BootData(#[source] GuestMemoryError),
}

/// What is wrong with a file, whatever it is meant to be.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    /// It cannot be opened, or is a folder, a device or a pipe.
    #[error("cannot open it")]
    Open(#[source] io::Error),
    /// It cannot be read.
    #[error("cannot read it")]
    Read(#[source] io::Error),
    /// It has no contents.
    #[error("it is empty")]
    Empty,
}

/// What is wrong with a kernel.
#[derive(Debug, thiserror::Error)]
pub enum KernelFault {
    /// What is wrong with the file as such.
    #[error(transparent)]
    File(#[from] FileFault),
    /// It is something else.
    #[error("it is {looks_like}, not an x86 kernel (a bzImage, an ELF file or a Multiboot image)")]
    NotKernel {
        /// What it looks like, with its article.
        looks_like: String,
    },
    /// It ends too early.
    #[error("it is truncated: {0} is missing")]
    Truncated(&'static str),
    /// It is a 32-bit ELF file that says no other way to enter it.
    #[error("it is 32-bit only and has neither a PVH nor a Multiboot entry")]
    ThirtyTwoBit,
    /// The PVH entry was asked for.
    #[error("it has no PVH entry")]
    NoPvhEntry,
    /// The Linux entry was asked for where there is no kernel that it fits.
    #[error("it has no Linux entry that can be used")]
    NoLinuxEntry,
    /// A version of Multiboot was asked for.
    #[error("it has no {0} header")]
    NoMultibootHeader(&'static str),
    /// It insists on something that cannot be had.
    #[error("its {header} header requires {what}")]
    Requires {
        /// Which of its headers.
        header: &'static str,
        /// What, and why it cannot be had.
        what: String,
    },
    /// Its boot protocol is too old.
    #[error("its boot protocol {major}.{minor} is too old (2.6 is the first that can be used)")]
    ProtocolTooOld {
        /// Major version.
        major: u8,
        /// Minor version.
        minor: u8,
    },
    /// Its headers contradict themselves or the format.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// It is a unified kernel image, and its headers contradict themselves or the file.
    #[error(transparent)]
    Unified(#[from] unified_image::Damaged),
    /// It is a unified kernel image for other processors.
    #[error("it is a unified kernel image for {0}")]
    OtherMachine(&'static str),
    /// It is a unified kernel image with something that the machine cannot be given.
    #[error("it is a unified kernel image with a device tree, which a machine with ACPI does not take")]
    DeviceTree,
    /// The kernel in a unified kernel image.
    #[error("the kernel in this unified kernel image")]
    InUnified(#[source] Box<KernelFault>),
    /// Its payload is packed in a way that is not understood.
    #[error("it is packed with {0} (gzip, xz, lz4 and zstd can be unpacked)")]
    UnknownCompression(&'static str),
    /// Its payload cannot be unpacked.
    #[error("its {compression} data are damaged or cut short; get it again")]
    BadPayload {
        /// How it is packed.
        compression: &'static str,
        /// What the decoder says, for a log: its words are not a person's.
        answer: io::Error,
    },
    /// It is larger than any kernel.
    #[error("it unpacks to more than {0}")]
    TooLarge(Bytes),
    /// A part of it would be loaded where there is no RAM.
    #[error(
        "it does not fit into the guest's memory: it belongs at {start:#x} to {end:#x}, RAM for it is from \
         {ram_start:#x} to {ram_end:#x}"
    )]
    DoesNotFit {
        /// First address of the part.
        start: u64,
        /// Address behind it.
        end: u64,
        /// First usable address.
        ram_start: u64,
        /// Address behind the usable RAM.
        ram_end: u64,
    },
    /// Guest memory refused a write.
    #[error("cannot write it to guest memory")]
    Memory(#[source] GuestMemoryError),
}

/// What is wrong with an initrd or a module.
#[derive(Debug, thiserror::Error)]
pub enum BootFileFault {
    /// What is wrong with the file as such.
    #[error(transparent)]
    File(#[from] FileFault),
    /// What is to be said with it contains a zero byte, where the kernel would stop reading.
    #[error("its command line contains a zero byte")]
    CommandLineZero,
    /// There is not enough RAM for it.
    #[error("it has {size}, but only {room} of the guest's {ram} are free for it")]
    DoesNotFit {
        /// Its size.
        size: Bytes,
        /// Free at one place of usable RAM.
        room: Bytes,
        /// All RAM.
        ram: Bytes,
    },
    /// Guest memory refused a write.
    #[error("cannot write it to guest memory")]
    Memory(#[source] GuestMemoryError),
}
