//! Small guests of the project's own, assembled into the test binary, and the kernel images around
//! them: an ELF file that any monitor with PVH support starts, and others.
//!
//! Code lies anywhere in this binary and runs at an address of the guest: jumps are relative, and data that
//! is addressed absolutely is put at a known offset by `.org`.

#![allow(unsafe_code)]

mod elf;
pub mod entries;
pub mod guests;
pub mod hashing;
mod images;
pub mod pinging;

pub use elf::pvh_elf;
pub use images::{linux_image, multiboot_image, multiboot2_image, unified_image};

/// Defines a function that returns assembled guest code. Intel syntax; choose the mode with `.code16`,
/// `.code32` or `.code64` first.
#[macro_export]
macro_rules! guest_code {
    ($(#[$doc:meta])* $name:ident, $($line:expr),+ $(,)?) => {
        ::core::arch::global_asm!(
            concat!(".pushsection .rodata.guest_", stringify!($name), ",\"a\",@progbits"),
            concat!(".globl guest_", stringify!($name), "_start"),
            concat!("guest_", stringify!($name), "_start:"),
            $($line),+,
            concat!(".globl guest_", stringify!($name), "_end"),
            concat!("guest_", stringify!($name), "_end:"),
            ".code64",
            ".popsection",
        );
        $(#[$doc])*
        pub fn $name() -> &'static [u8] {
            unsafe extern "C" {
                #[link_name = concat!("guest_", stringify!($name), "_start")]
                static START: u8;
                #[link_name = concat!("guest_", stringify!($name), "_end")]
                static END: u8;
            }
            // SAFETY: the two symbols delimit one run of read-only bytes in this binary.
            unsafe {
                let start = &raw const START;
                ::core::slice::from_raw_parts(start, (&raw const END).offset_from(start) as usize)
            }
        }
    };
}
