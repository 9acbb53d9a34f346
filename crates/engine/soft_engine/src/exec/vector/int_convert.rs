//! Widening moves (SDM vol. 2B, PMOVSX and PMOVZX).

use iced_x86::Mnemonic;

use super::access::{self, Register};
use super::lanes::{Xmm, from_dwords, from_words};
use crate::cpu::{Core, Exec, Word};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    let handler: Handler = match form.mnemonic {
        Mnemonic::Pmovsxbw => |core, insn| widen::<u64>(core, insn, |x| to_words(x, |x| x as i8 as u16)),
        Mnemonic::Pmovsxbd => |core, insn| widen::<u32>(core, insn, |x| to_dwords(x, 8, |x| x as i8 as u32)),
        Mnemonic::Pmovsxbq => |core, insn| widen::<u16>(core, insn, |x| to_qwords(x, 8, |x| x as i8 as u64)),
        Mnemonic::Pmovsxwd => {
            |core, insn| widen::<u64>(core, insn, |x| to_dwords(x, 16, |x| x as i16 as u32))
        }
        Mnemonic::Pmovsxwq => {
            |core, insn| widen::<u32>(core, insn, |x| to_qwords(x, 16, |x| x as i16 as u64))
        }
        Mnemonic::Pmovsxdq => {
            |core, insn| widen::<u64>(core, insn, |x| to_qwords(x, 32, |x| x as i32 as u64))
        }
        Mnemonic::Pmovzxbw => |core, insn| widen::<u64>(core, insn, |x| to_words(x, |x| x & 0xff)),
        Mnemonic::Pmovzxbd => |core, insn| widen::<u32>(core, insn, |x| to_dwords(x, 8, |x| x & 0xff)),
        Mnemonic::Pmovzxbq => |core, insn| widen::<u16>(core, insn, |x| to_qwords(x, 8, |x| x & 0xff)),
        Mnemonic::Pmovzxwd => |core, insn| widen::<u64>(core, insn, |x| to_dwords(x, 16, |x| x & 0xffff)),
        Mnemonic::Pmovzxwq => |core, insn| widen::<u32>(core, insn, |x| to_qwords(x, 16, |x| x & 0xffff)),
        Mnemonic::Pmovzxdq => {
            |core, insn| widen::<u64>(core, insn, |x| to_qwords(x, 32, |x| x & 0xffff_ffff))
        }
        _ => return None,
    };
    Some(handler)
}

/// The source is the low part of a register or as much memory.
#[inline(always)]
fn widen<T: Word>(core: &mut Core<'_>, insn: &Insn, operation: impl Fn(u64) -> Xmm) -> Exec {
    access::check_sse(core)?;
    let source = if insn.ops[1].is_memory() {
        core.read::<T>(insn, 1)?.to_u64()
    } else {
        Xmm::get(core, insn.ops[1].register)[0]
    };
    Xmm::set(core, insn.ops[0].register, operation(source));
    Ok(())
}

fn to_words(source: u64, extend: impl Fn(u16) -> u16) -> Xmm {
    from_words(std::array::from_fn(|lane| extend((source >> (8 * lane)) as u16)))
}

fn to_dwords(source: u64, width: usize, extend: impl Fn(u32) -> u32) -> Xmm {
    from_dwords(std::array::from_fn(|lane| extend((source >> (width * lane)) as u32)))
}

fn to_qwords(source: u64, width: usize, extend: impl Fn(u64) -> u64) -> Xmm {
    std::array::from_fn(|lane| extend(source >> (width * lane)))
}
