//! Computing: what a compiler makes of ordinary code, and string instructions.

pub mod bytecode;
pub mod calls;
pub mod float;
pub mod hash;
pub mod integer;
pub mod lz;
pub mod matrix;
pub mod memory;
pub mod sha256;
pub mod sort;
pub mod strings;
pub mod x87;
