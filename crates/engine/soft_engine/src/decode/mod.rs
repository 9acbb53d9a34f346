//! From bytes in guest memory to blocks of decoded instructions.

pub mod block;
pub mod crossing;
pub mod insn;
pub mod keys;
pub mod lower;
pub mod pause;
pub mod places;

use iced_x86::DecoderOptions;

/// How instructions are decoded: hints of 0F 0D and 0F 18 to 0F 1F do nothing on this CPU, whatever their ModRM byte says
/// (SDM vol. 2D, table A-3; APM vol. 3, table A-1: prefetches, ENDBR, CLDEMOTE, MPX and what is reserved there).
pub const OPTIONS: u32 = DecoderOptions::FORCE_RESERVED_NOP;
