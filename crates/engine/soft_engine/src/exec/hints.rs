//! Instructions that do nothing that a program could see, fences, random numbers, and those that exist to raise.

use iced_x86::Mnemonic;

use super::{Form, by_size, wrap};
use crate::cpu::flags::CF;
use crate::cpu::{Core, Exception, Exec, Word, vector};
use crate::decode::insn::{Handler, Insn};
use crate::memory::order;

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        mnemonic if is_ignored(mnemonic) => Some(nothing),
        Mnemonic::Pause => Some(pause),
        Mnemonic::Mfence | Mnemonic::Sfence => Some(fence),
        Mnemonic::Clflush => Some(clflush),
        Mnemonic::Rdrand | Mnemonic::Rdseed => by_size!(form, random),
        Mnemonic::Ud0 | Mnemonic::Ud1 | Mnemonic::Ud2 => Some(super::undefined),
        Mnemonic::Bound => match form.insn.op0_register().size() {
            2 => Some(bound::<u16>),
            _ => Some(bound::<u32>),
        },
        _ => None,
    }
}

/// Prefetches never fault. LFENCE orders loads, which are in order anyway.
fn is_ignored(mnemonic: Mnemonic) -> bool {
    matches!(
        mnemonic,
        Mnemonic::Nop
            | Mnemonic::Reservednop
            | Mnemonic::Endbr32
            | Mnemonic::Endbr64
            | Mnemonic::Prefetch
            | Mnemonic::Prefetchnta
            | Mnemonic::Prefetcht0
            | Mnemonic::Prefetcht1
            | Mnemonic::Prefetcht2
            | Mnemonic::Prefetchw
            | Mnemonic::Prefetchwt1
            | Mnemonic::Cldemote
            | Mnemonic::Lfence
    )
}

fn nothing(_core: &mut Core<'_>, _insn: &Insn) -> Exec {
    Ok(())
}

/// SDM vol. 2B, PAUSE.
fn pause(_core: &mut Core<'_>, _insn: &Insn) -> Exec {
    std::hint::spin_loop();
    Ok(())
}

/// SDM vol. 2B, MFENCE and SFENCE. The latter counts where translated code has made non-temporal stores, which the host
/// executes as such.
fn fence(_core: &mut Core<'_>, _insn: &Insn) -> Exec {
    order::drain_stores();
    Ok(())
}

/// SDM vol. 2A, CLFLUSH: there is no cache, but the address is checked as that of a load.
fn clflush(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let offset = core.effective_address(insn);
    core.load::<u8>(insn.segment.into(), offset).map(drop)
}

/// SDM vol. 2B, RDRAND and RDSEED. CF says that there was a number; the other status flags are clear.
fn random<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    core.journal.note_unrepeatable();
    let drawn = getrandom::u64();
    core.write(insn, 0, T::from_u64(drawn.unwrap_or(0)))?;
    core.flags.set_status(if drawn.is_ok() { CF } else { 0 });
    Ok(())
}

/// SDM vol. 2A, BOUND.
fn bound<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let index: T = core.read(insn, 0)?;
    let lower_at = core.effective_address(insn);
    let upper_at = wrap(insn.address_size, lower_at.wrapping_add(T::BYTES as u64));
    let lower: T = core.load(insn.segment.into(), lower_at)?;
    let upper: T = core.load(insn.segment.into(), upper_at)?;
    if index.to_i64() < lower.to_i64() || index.to_i64() > upper.to_i64() {
        return core.raise(Exception::plain(vector::BR));
    }
    Ok(())
}
