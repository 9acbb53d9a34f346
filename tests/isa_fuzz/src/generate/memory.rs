//! Where an instruction's operands in memory lie, and what is there: inside a page, over the edge of one, where
//! writes or all accesses are forbidden, and where no address is canonical.

use iced_x86::{CodeSize, Instruction, InstructionInfoFactory, MemorySize, Mnemonic, Register, UsedMemory};

use super::value::Values;
use crate::case::Case;
use crate::layout::{DATA, DATA_SIZE, PAGE, background};

/// Bytes that are filled in at most for an operand.
const FILL_MAX: usize = 64;

/// Aims operands at addresses.
pub struct Aim {
    factory: InstructionInfoFactory,
    background: Box<[u8; DATA_SIZE + PAGE as usize]>,
}

impl Default for Aim {
    fn default() -> Aim {
        Aim { factory: InstructionInfoFactory::new(), background: background() }
    }
}

impl Aim {
    /// Sets the registers by which `insn` addresses memory, and fills in values of its type where they lead.
    pub fn aim(&mut self, case: &mut Case, values: &mut Values<'_>, insn: &Instruction) {
        let info = self.factory.info(insn);
        let mut taken = 0u16;
        for memory in info.used_memory() {
            let len = memory.memory_size().info().size().max(1);
            let target = target(values, len as u64);
            move_to(case, values, memory, target, &mut taken);
            let address = address(case, memory);
            let bytes: [u8; FILL_MAX] = values.bytes();
            case.poke(&self.background[..], address, &bytes[..len.clamp(16, FILL_MAX)]);
        }
    }
}

impl Aim {
    /// Puts `bytes` where `insn`'s first operand in memory is.
    pub fn fill(&mut self, case: &mut Case, insn: &Instruction, bytes: &[u8]) {
        let found = self.factory.info(insn).used_memory().first().copied();
        if let Some(memory) = found {
            let address = address(case, &memory);
            case.poke(&self.background[..], address, bytes);
        }
    }

    /// Bytes of the first operand in memory.
    pub fn look<const N: usize>(&mut self, case: &Case, insn: &Instruction) -> Option<[u8; N]> {
        let memory = self.factory.info(insn).used_memory().first().copied()?;
        let mut bytes = [0; N];
        let start = address(case, &memory);
        for (offset, byte) in bytes.iter_mut().enumerate() {
            *byte = self.byte(case, start.wrapping_add(offset as u64))?;
        }
        Some(bytes)
    }

    /// Whether an operand's address is one about which processors differ: its offset into FS or GS is not canonical
    /// where the sum with the base is (Intel's look at the sum alone, AMD's at the offset too), or it is accessed in
    /// several steps and only some of it is not canonical, or begins anew at 0 (AMD's wrap a 32-bit offset in each step).
    pub fn is_disputed(&mut self, case: &Case, insn: &Instruction) -> bool {
        let info = self.factory.info(insn);
        if insn.is_vsib() {
            return info.used_memory().iter().any(|memory| has_disputed_element(case, memory));
        }
        info.used_memory().iter().any(|memory| {
            let start = address(case, memory);
            let len = memory.memory_size().info().size().max(1) as u64;
            let masked = matches!(
                insn.mnemonic(),
                Mnemonic::Vmaskmovps | Mnemonic::Vmaskmovpd | Mnemonic::Vpmaskmovd | Mnemonic::Vpmaskmovq
            );
            let steps =
                matches!(memory.memory_size(), MemorySize::Float80 | MemorySize::Bcd | MemorySize::UInt128)
                    || len > 16
                    || masked;
            let last = start.wrapping_add(len - 1);
            if steps && (canonical(start) == start) != (canonical(last) == last) {
                return true;
            }
            let offset = start.wrapping_sub(segment_base(case, memory));
            let is_short = memory.address_size() == CodeSize::Code32;
            if steps && is_short && offset as u32 > u32::MAX - (len - 1) as u32 {
                return true;
            }
            [start, last].into_iter().any(|address| is_offset_disputed(case, memory, address))
        })
    }

    /// Whether an operand's offset into its segment is close to where addresses cease to be canonical.
    pub fn is_near_edge(&mut self, case: &Case, insn: &Instruction) -> bool {
        const NEAR: u64 = 1 << 32;
        self.factory.info(insn).used_memory().iter().any(|memory| {
            let offset = address(case, memory).wrapping_sub(segment_base(case, memory));
            [offset.wrapping_sub(NEAR), offset.wrapping_add(NEAR), offset]
                .iter()
                .any(|place| canonical(*place) != *place)
        })
    }

    fn byte(&self, case: &Case, address: u64) -> Option<u8> {
        let at = address.wrapping_sub(DATA) as usize;
        let line = case.lines().iter().find(|line| usize::from(line.index) == at / 64);
        line.map(|line| line.bytes[at % 64]).or_else(|| self.background.get(at).copied())
    }
}

/// The base that counts in 64-bit mode.
fn segment_base(case: &Case, memory: &UsedMemory) -> u64 {
    match memory.segment() {
        Register::FS => case.state.fs_base,
        Register::GS => case.state.gs_base,
        _ => 0,
    }
}

/// Whether `address`, in `memory`'s segment, is canonical and its offset is not.
fn is_offset_disputed(case: &Case, memory: &UsedMemory, address: u64) -> bool {
    let offset = address.wrapping_sub(segment_base(case, memory));
    canonical(offset) != offset && canonical(address) == address
}

/// The same for the elements that a gather may load, those that its mask leaves out too.
fn has_disputed_element(case: &Case, memory: &UsedMemory) -> bool {
    const INDEX_BYTES: usize = 32;
    let number = memory.index().number();
    let mut index = [0; INDEX_BYTES];
    index[..16].copy_from_slice(&case.state.fxsave[160 + 16 * number..][..16]);
    index[16..].copy_from_slice(&case.state.ymm_high[number]);
    let element_bytes = memory.vsib_size() as usize;
    let last = memory.memory_size().info().size().max(1) as u64 - 1;
    (0..INDEX_BYTES / element_bytes.max(1)).any(|element| {
        let value = index[element * element_bytes..][..element_bytes].iter().rev();
        let value = value.fold(0, |word, byte| word << 8 | u64::from(*byte));
        let start = address_of(case, memory, element, value);
        [start, start.wrapping_add(last)].into_iter().any(|address| is_offset_disputed(case, memory, address))
    })
}

/// An address for an operand of `len` bytes.
fn target(values: &mut Values<'_>, len: u64) -> u64 {
    let random = values.random();
    let size = DATA_SIZE as u64;
    let inside = len + random.below(16);
    match random.below(100) {
        // Over the edge between two pages; into the page that can only be read, and in it.
        0..=4 => DATA + PAGE - random.below(inside).min(PAGE),
        5..=8 => DATA + size - random.below(inside).min(size),
        9..=11 => DATA + size + random.below(PAGE),
        // Into what is not there, at either end.
        12..=14 => DATA + size + PAGE - random.below(inside).min(PAGE),
        15..=16 => DATA - random.below(inside),
        17 => DATA - 1 - random.below(0x10_0000),
        // Not canonical, or at the edge.
        18..=19 => 0x8000_0000_0000 + random.below(u64::MAX << 48),
        20 => 0x8000_0000_0000 - random.below(inside),
        21..=39 => DATA + random.below(size - len.min(512)),
        _ => DATA + 64 * random.below(size / 64 - 8),
    }
}

/// Sets base, or index, or segment base, so that `memory` is at `target`.
fn move_to(case: &mut Case, values: &mut Values<'_>, memory: &UsedMemory, target: u64, taken: &mut u16) {
    let place = |register: Register| register.full_register().number();
    if memory.index().is_gpr64() || memory.index().is_gpr32() {
        let index = place(memory.index());
        if *taken >> index & 1 == 0 && values.random().chance(70) {
            case.state.gpr[index] = values.random().word() >> 40 & 0xff;
        }
    }
    let off_by = target.wrapping_sub(address(case, memory));
    if memory.base().is_gpr64() || memory.base().is_gpr32() {
        let base = place(memory.base());
        if *taken >> base & 1 == 1 {
            return;
        }
        *taken |= 1 << base;
        let also_index = memory.index() == memory.base();
        let factor = if also_index { 1 + memory.scale() as u64 } else { 1 };
        case.state.gpr[base] = case.state.gpr[base].wrapping_add(off_by / factor);
        return;
    }
    match memory.segment() {
        Register::FS => case.state.fs_base = canonical(case.state.fs_base.wrapping_add(off_by)),
        Register::GS => case.state.gs_base = canonical(case.state.gs_base.wrapping_add(off_by)),
        _ if memory.index().is_gpr64() || memory.index().is_gpr32() => {
            let index = place(memory.index());
            case.state.gpr[index] = case.state.gpr[index].wrapping_add(off_by / memory.scale() as u64);
        }
        _ => {}
    }
}

/// Segment bases are canonical: they come from WRFSBASE, which raises #GP for others.
fn canonical(address: u64) -> u64 {
    ((address as i64) << 16 >> 16) as u64
}

/// Linear address of `memory`; of a gather's, as if all indices were 0.
fn address(case: &Case, memory: &UsedMemory) -> u64 {
    address_of(case, memory, 0, 0)
}

/// The same for the element of a gather that has `index`.
fn address_of(case: &Case, memory: &UsedMemory, element: usize, index: u64) -> u64 {
    let value = |register: Register, _element: usize, _size: usize| {
        let gpr = |register: Register| case.state.gpr[register.full_register().number()];
        match register {
            Register::FS => Some(case.state.fs_base),
            Register::GS => Some(case.state.gs_base),
            Register::AL => Some(gpr(register) & 0xff),
            register if register.is_gpr64() => Some(gpr(register)),
            register if register.is_gpr32() => Some(gpr(register) & 0xffff_ffff),
            register if register.is_vector_register() => Some(index),
            _ => Some(0),
        }
    };
    memory.virtual_address(element, value).unwrap_or(0)
}
