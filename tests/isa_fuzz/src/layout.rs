//! The memory that both processors have, at the same addresses.
//!
//! ```text
//!  CODE        one page, read and execute; nothing behind it
//!  BLOCK_CODE  two pages, read, write and execute: for blocks only
//!  DATA        two pages, read and write; nothing before them
//!              one page, read only; nothing behind it
//! ```

use soft_engine::probe::ProgramPage;

use crate::random::Random;

/// Size of a page.
pub const PAGE: u64 = 4096;
/// The page of code.
pub const CODE: u64 = 0x1000_0000;
/// The first page of code of blocks.
pub const BLOCK_CODE: u64 = 0x1001_0000;
/// Its size in bytes.
pub const BLOCK_CODE_SIZE: usize = 2 * PAGE as usize;
/// Room for a case's code, in bytes.
pub const CODE_ROOM: usize = 384;
/// INT3, which fills the code that a block leaves free.
pub const INT3: u8 = 0xcc;
/// The first page of data: not a power of two away from the code, which bit offsets and the like would hit.
pub const DATA: u64 = 0x2a64_2000;
/// Where data segments begin for code of 16 bits, which reaches 64 KiB of them; its code segment begins at [`CODE`].
pub const SMALL_DATA: u64 = DATA & !0xffff;
/// Size of the writable data, in bytes.
pub const DATA_SIZE: usize = 2 * PAGE as usize;
/// The page of data that is not there before it is touched, if a block wants it so.
pub const LAZY: u64 = DATA + PAGE;
/// The page that can only be read.
pub const READ_ONLY: u64 = DATA + DATA_SIZE as u64;
/// Unit in which memory is given and compared, in bytes.
pub const LINE: usize = 64;

/// All pages.
pub const PAGES: [ProgramPage; 4] = [
    ProgramPage { address: CODE, writable: false },
    ProgramPage { address: DATA, writable: true },
    ProgramPage { address: DATA + PAGE, writable: true },
    ProgramPage { address: READ_ONLY, writable: false },
];

/// Where the code segment begins for code of so many bits: RIP is an offset in it.
pub fn code_base(bits: u8) -> u64 {
    if bits == 16 { CODE } else { 0 }
}

/// What data pages, the read-only one included, hold before a case's own lines are put in.
pub fn background() -> Box<[u8; DATA_SIZE + PAGE as usize]> {
    let mut random = Random::new(0x5eed);
    let mut bytes = Box::new([0; DATA_SIZE + PAGE as usize]);
    for chunk in bytes.chunks_exact_mut(8) {
        chunk.copy_from_slice(&random.word().to_le_bytes());
    }
    bytes
}
