//! Exceptions on their way from where they are noticed to where they are delivered.

/// The instruction did not complete: [`Core::fault`](super::Core) says why. Deliberately empty, so that the result
/// of a load travels in two registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised(pub(super) ());

impl Raised {
    /// For who finds [`Core::fault`](super::Core) set.
    pub(crate) fn again() -> Raised {
        Raised(())
    }
}

/// What executing or part of it yields.
pub type Exec<T = ()> = Result<T, Raised>;

/// Vectors of the exceptions (SDM vol. 3, table 6-1).
pub mod vector {
    pub const DE: u8 = 0;
    pub const DB: u8 = 1;
    pub const NMI: u8 = 2;
    pub const BP: u8 = 3;
    pub const OF: u8 = 4;
    pub const BR: u8 = 5;
    pub const UD: u8 = 6;
    pub const NM: u8 = 7;
    pub const DF: u8 = 8;
    pub const TS: u8 = 10;
    pub const NP: u8 = 11;
    pub const SS: u8 = 12;
    pub const GP: u8 = 13;
    pub const PF: u8 = 14;
    pub const MF: u8 = 16;
    pub const AC: u8 = 17;
    pub const XM: u8 = 19;
}

/// An exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Vector, 0 to 31.
    pub vector: u8,
    /// Error code, for vectors that push one.
    pub error: Option<u32>,
    /// CR2 for a page fault, the bits to set in DR6 for a debug exception.
    pub payload: u64,
    /// RIP to return to is the next instruction's (traps) rather than this one's (faults).
    pub trap: bool,
}

impl Exception {
    /// A fault without an error code.
    pub fn plain(vector: u8) -> Exception {
        Exception { vector, error: None, payload: 0, trap: false }
    }

    /// A fault with an error code.
    pub fn with_error(vector: u8, error: u32) -> Exception {
        Exception { error: Some(error), ..Exception::plain(vector) }
    }

    /// #PF at linear address `address`.
    pub fn page_fault(address: u64, error: u32) -> Exception {
        Exception { payload: address, ..Exception::with_error(vector::PF, error) }
    }
}
