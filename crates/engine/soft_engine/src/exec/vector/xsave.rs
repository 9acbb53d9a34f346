//! XSAVE, XSAVEOPT, XSAVEC, XRSTOR (SDM vol. 1, chapter 13), for x87, SSE and AVX.

use iced_x86::Mnemonic;

use super::fxsave::{self, AREA_SIZE, MXCSR, XMM0, bytes_at};
use crate::cpu::mode::{cr0, cr4};
use crate::cpu::{Core, Cpu, Exception, Exec, Fpu, vector};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;
use crate::exec::system::pair;
use crate::memory::paging::Kind;

/// State components, as bits of XCR0 and of the header's fields (SDM vol. 1, 13.1).
mod component {
    pub(super) const X87: u64 = 1;
    pub(super) const SSE: u64 = 2;
    pub(super) const AVX: u64 = 4;
}
/// Where the header is: XSTATE_BV, XCOMP_BV, 48 bytes reserved (SDM vol. 1, 13.4.2).
const HEADER: usize = AREA_SIZE;
/// Where the upper halves of YMM are, also in the compacted format, as nothing comes between.
const YMM_HIGH: usize = 576;
/// XCOMP_BV: the area is compacted.
const COMPACTED: u64 = 1 << 63;
/// CPUID leaf 0xd sub-leaf 1 EAX: XSAVEC.
const XSAVEC: u32 = 1 << 1;
/// MXCSR after reset.
const MXCSR_DEFAULT: u32 = 0x1f80;
/// Alignment of an area in bytes.
const ALIGNMENT: u32 = 64;

/// How an area is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Save {
    /// Everything that is asked for (XSAVE).
    All,
    /// What of it is in use (XSAVEOPT).
    InUse,
    /// That, in the compacted format (XSAVEC).
    Compacted,
}

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    let handler: Handler = match form.mnemonic {
        Mnemonic::Xsave => |core, insn| save(core, insn, Save::All, false),
        Mnemonic::Xsave64 => |core, insn| save(core, insn, Save::All, true),
        Mnemonic::Xsaveopt => |core, insn| save(core, insn, Save::InUse, false),
        Mnemonic::Xsaveopt64 => |core, insn| save(core, insn, Save::InUse, true),
        Mnemonic::Xsavec => |core, insn| save(core, insn, Save::Compacted, false),
        Mnemonic::Xsavec64 => |core, insn| save(core, insn, Save::Compacted, true),
        Mnemonic::Xrstor => |core, insn| restore(core, insn, false),
        Mnemonic::Xrstor64 => |core, insn| restore(core, insn, true),
        _ => return None,
    };
    Some(handler)
}

/// Size in bytes of the area for the components that `xcr0` enables, in either format.
pub fn area_size(xcr0: u64) -> u32 {
    let size = if xcr0 & component::AVX != 0 { YMM_HIGH + 256 } else { YMM_HIGH };
    size as u32
}

/// The components that are not as after reset: XINUSE (SDM vol. 1, 13.6).
pub fn in_use(cpu: &Cpu) -> u64 {
    let when = |on: bool, component: u64| if on { component } else { 0 };
    let any = |half: usize| cpu.vectors.iter().any(|vector| vector[2 * half] | vector[2 * half + 1] != 0);
    when(cpu.fpu != Fpu::default(), component::X87)
        | when(any(0), component::SSE)
        | when(any(1), component::AVX)
}

/// Checks that come before the operand's; answers which components are asked for.
fn requested(core: &mut Core<'_>, insn: &Insn, kind: Kind) -> Exec<u64> {
    if core.cr4 & cr4::OSXSAVE == 0 {
        return core.undefined();
    }
    if core.cr0 & cr0::TS != 0 {
        return core.raise(Exception::plain(vector::NM));
    }
    let offset = core.effective_address(insn);
    core.require_alignment(insn.segment, offset, ALIGNMENT, kind)?;
    Ok(core.xcr0 & pair(core))
}

fn save(core: &mut Core<'_>, insn: &Insn, form: Save, wide: bool) -> Exec {
    let requested = requested(core, insn, Kind::Write)?;
    let offset = core.effective_address(insn);
    let mut used = requested & in_use(&core.cpu);
    if form == Save::Compacted && core.mxcsr != MXCSR_DEFAULT {
        used |= requested & component::SSE;
    }
    let written = if form == Save::All { requested } else { used };
    core.probe_write(insn.segment.into(), offset, area_size(written))?;
    let header = if form == Save::Compacted {
        [used, requested | COMPACTED]
    } else {
        let [present, layout] = header(core, insn)?;
        [present & !requested | used, layout]
    };
    let (image, upper) = (fxsave::image(core, wide), upper_halves(&core.cpu));
    let registers = fxsave::registers(core);
    let mut put = |at: usize, bytes: &[u8]| {
        core.store_slice(insn.segment.into(), offset.wrapping_add(at as u64), bytes)
    };
    if written & component::X87 != 0 {
        put(0, &image[..MXCSR])?;
        put(MXCSR + 8, &image[MXCSR + 8..XMM0])?;
    }
    // XSAVEC takes MXCSR as part of SSE; for the others it belongs to AVX too.
    let with_mxcsr = if form == Save::Compacted {
        written & component::SSE
    } else {
        requested & (component::SSE | component::AVX)
    };
    if with_mxcsr != 0 {
        put(MXCSR, &image[MXCSR..MXCSR + 8])?;
    }
    let fields = if form == Save::Compacted { 2 } else { 1 };
    for (index, field) in header.iter().take(fields).enumerate() {
        put(HEADER + 8 * index, &field.to_le_bytes())?;
    }
    if written & component::SSE != 0 {
        put(XMM0, &image[XMM0..XMM0 + 16 * registers])?;
    }
    if written & component::AVX != 0 {
        put(YMM_HIGH, &upper.as_flattened()[..16 * registers])?;
    }
    Ok(())
}

fn upper_halves(cpu: &Cpu) -> [[u8; 16]; 16] {
    cpu.vectors.map(|vector| (u128::from(vector[2]) | u128::from(vector[3]) << 64).to_le_bytes())
}

/// XSTATE_BV and XCOMP_BV.
fn header(core: &mut Core<'_>, insn: &Insn) -> Exec<[u64; 2]> {
    let offset = core.effective_address(insn).wrapping_add(HEADER as u64);
    let bytes: [u8; 16] = core.load_bytes(insn.segment.into(), offset)?;
    Ok([0, 8].map(|at| u64::from_le_bytes(bytes_at(&bytes, at))))
}

fn restore(core: &mut Core<'_>, insn: &Insn, wide: bool) -> Exec {
    let requested = requested(core, insn, Kind::Read)?;
    let offset = core.effective_address(insn);
    core.probe_field_read::<1>(insn, 0)?;
    let [present, layout] = header(core, insn)?;
    check_header(core, insn, present, layout)?;
    let loaded = requested & present;
    let mut image: [u8; AREA_SIZE] = core.load_bytes(insn.segment.into(), offset)?;
    let mut upper = [0; 256];
    if loaded & component::AVX != 0 {
        upper = core.load_bytes(insn.segment.into(), offset.wrapping_add(YMM_HIGH as u64))?;
    }
    let with_mxcsr = if layout & COMPACTED != 0 {
        loaded & component::SSE
    } else {
        requested & (component::SSE | component::AVX)
    };
    let mxcsr = if with_mxcsr != 0 { fxsave::mxcsr_of(core, &image)? } else { MXCSR_DEFAULT };
    if requested & component::X87 != 0 {
        if loaded & component::X87 != 0 {
            fxsave::take_fpu(core, &mut image, wide);
        } else {
            core.fpu = Fpu::default();
        }
    }
    if with_mxcsr != 0 || requested & component::SSE != 0 {
        core.mxcsr = mxcsr;
    }
    if requested & component::SSE != 0 {
        if loaded & component::SSE == 0 {
            image[XMM0..].fill(0);
        }
        fxsave::take_xmm(core, &image);
    }
    if requested & component::AVX != 0 {
        let registers = fxsave::registers(core);
        for (vector, bytes) in core.vectors.iter_mut().take(registers).zip(upper.chunks_exact(16)) {
            [vector[2], vector[3]] = [0, 8].map(|at| u64::from_le_bytes(bytes_at(bytes, at)));
        }
    }
    Ok(())
}

/// SDM vol. 1, 13.8.1 and 13.8.2: what a header may not say.
fn check_header(core: &mut Core<'_>, insn: &Insn, present: u64, layout: u64) -> Exec {
    let offset = core.effective_address(insn).wrapping_add(HEADER as u64 + 16);
    let reserved: [u8; 48] = core.load_bytes(insn.segment.into(), offset)?;
    let illegal = if layout & COMPACTED == 0 {
        present & !core.xcr0 != 0 || layout != 0 || reserved[..8] != [0; 8]
    } else {
        layout & !COMPACTED & !core.xcr0 != 0 || present & !layout != 0 || reserved != [0; 48]
    };
    // Without XSAVEC there is no compacted format either.
    let unknown = layout & COMPACTED != 0 && core.shared.cpuid_words.leaf_d_eax & XSAVEC == 0;
    if illegal || unknown { core.general_protection(0) } else { Ok(()) }
}
