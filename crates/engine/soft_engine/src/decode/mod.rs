//! From bytes in guest memory to blocks of decoded instructions.

pub mod block;
pub mod crossing;
pub mod insn;
pub mod lower;
pub mod pause;
pub mod places;
