//! The cache of decoded blocks of one vCPU, keyed by guest-physical address and decoding mode.
//!
//! A block is a run of instructions inside one page, up to the first that branches or changes how what follows is
//! decoded. An instruction that reaches into the next page is decoded anew each time: the two pages may be mapped
//! together today and apart tomorrow.

use std::collections::HashMap;

use guest_memory::PAGE_SIZE;
use iced_x86::{Decoder, DecoderOptions, Instruction};
use vcpu_model::CodeFigure;

use super::insn::{Flow, Insn};
use super::keys::KeyHasher;
use super::lower::lower;
use super::places::{Place, Places};
use super::{OPTIONS, pause};
use crate::cpu::{Core, Exec};
use crate::features::Features;
use crate::memory::code_map;

/// Longest instruction in bytes (SDM vol. 2, 2.3.11).
pub(super) const INSN_MAX: usize = 15;
/// Most instructions in a block.
const BLOCK_INSNS: usize = 32;
/// Entries of the table that is asked first. A power of two.
pub const FRONT_ENTRIES: usize = 16 * 1024;
/// Decoded instructions after which everything is dropped and decoded again as needed: 10 MiB.
const INSNS_MAX: usize = 256 * 1024;

/// A block: which of the decoded instructions it consists of.
#[derive(Clone, Copy, Default)]
struct Block {
    first: u32,
    count: u32,
}

/// An entry of the table that is asked first. No key is 0.
#[derive(Clone, Copy, Default)]
struct Front {
    key: u64,
    block: Block,
}

/// All decoded blocks of one vCPU.
pub struct BlockCache {
    features: Features,
    /// The instructions of all blocks, dropped ones included, block by block.
    insns: Vec<Insn>,
    front: Box<[Front]>,
    by_key: HashMap<u64, Block, KeyHasher>,
    places: Places,
}

impl BlockCache {
    /// An empty cache for a CPU that has `features`.
    pub fn new(features: Features) -> BlockCache {
        BlockCache {
            features,
            insns: Vec::new(),
            front: vec![Front::default(); FRONT_ENTRIES].into(),
            by_key: HashMap::default(),
            places: Places::default(),
        }
    }

    /// The instructions of the block at the current RIP, at least one. Raises what a fetch from there raises.
    #[inline(always)]
    pub fn at_rip(&mut self, core: &mut Core<'_>) -> Exec<&[Insn]> {
        let address = core.fetch_address()?;
        let gpa = core.code_address(address)?;
        let key = gpa | u64::from(core.mode.bits()) << 56;
        let front = &self.front[front_slot(key)];
        let block = if front.key == key { front.block } else { self.find(core, address, gpa, key)? };
        Ok(&self.insns[block.first as usize..][..block.count as usize])
    }

    /// The instruction at the current RIP alone.
    pub fn one_at_rip(&self, core: &mut Core<'_>) -> Exec<Insn> {
        let address = core.fetch_address()?;
        let gpa = core.code_address(address)?;
        Ok(decode_one(core, address, gpa, &self.features)?.0)
    }

    /// Drops what was decoded from the grains `bits` of the page at `gpa`.
    pub fn invalidate(&mut self, gpa: u64, bits: u64) {
        for place in self.places.take(gpa, bits) {
            self.by_key.remove(&place.key);
            let entry = &mut self.front[front_slot(place.key)];
            if entry.key == place.key {
                *entry = Front::default();
            }
        }
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.insns.clear();
        self.front.fill(Front::default());
        self.by_key.clear();
        self.places.clear();
    }

    #[inline(never)]
    fn find(&mut self, core: &mut Core<'_>, address: u64, gpa: u64, key: u64) -> Exec<Block> {
        let block = match self.by_key.get(&key) {
            Some(block) => *block,
            None => self.decode(core, address, gpa, key)?,
        };
        // What may not be kept has no place in the table.
        if self.by_key.contains_key(&key) {
            self.front[front_slot(key)] = Front { key, block };
        }
        Ok(block)
    }

    fn decode(&mut self, core: &mut Core<'_>, address: u64, gpa: u64, key: u64) -> Exec<Block> {
        if self.insns.len() >= INSNS_MAX {
            self.clear();
        }
        let page = gpa & !(PAGE_SIZE - 1);
        let start = (gpa % PAGE_SIZE) as usize;
        let len = (PAGE_SIZE as usize - start).min(BLOCK_INSNS * INSN_MAX);
        let mut bytes = [0; BLOCK_INSNS * INSN_MAX];
        let bytes = &mut bytes[..len];
        let Some(frame) = core.space.slots.frame(page) else { return core.undefined() };
        // Marked before it is read: a store in between is noticed, one before is seen.
        core.code_decoded(page, code_map::grains_of(gpa, len));
        frame.read(start, bytes);
        core.counters().set_code(CodeFigure::DecodedInstructions, self.insns.len() as u64);
        let first = self.insns.len();
        decode_insns(bytes, core.mode.bits(), &self.features, &mut self.insns);
        if self.insns.len() == first {
            // It reaches into the next page. It stays in the list until that is cleared, but nothing leads to it.
            let (insn, _bytes) = decode_one(core, address, gpa, &self.features)?;
            self.insns.push(insn);
            return Ok(Block { first: first as u32, count: 1 });
        }
        let decoded = &self.insns[first..];
        let len = decoded.iter().map(|insn| u16::from(insn.len)).sum();
        let block = Block { first: first as u32, count: decoded.len() as u32 };
        self.by_key.insert(key, block);
        self.places.add(page, Place { key, start: start as u16, len });
        Ok(block)
    }
}

/// Decodes one instruction that may reach into the next page, and answers the bytes too.
#[cold]
#[inline(never)]
pub(super) fn decode_one(
    core: &mut Core<'_>,
    address: u64,
    gpa: u64,
    features: &Features,
) -> Exec<(Insn, [u8; INSN_MAX])> {
    let mut bytes = [0; INSN_MAX];
    let head = read_head(core, gpa, &mut bytes)?;
    let mut insn = decode_first(&bytes[..head], core.mode.bits());
    if insn.is_none() && head < INSN_MAX {
        // The next page is touched only by an instruction that really reaches it.
        read_tail(core, address, &mut bytes[head..])?;
        insn = decode_first(&bytes, core.mode.bits());
    }
    match insn {
        Some(insn) => Ok((lower(&insn, features), bytes)),
        // Longer than 15 bytes (SDM vol. 2, 2.3.11).
        None => core.general_protection(0),
    }
}

/// Reads what of an instruction at `gpa` may be in its first page, and answers how many bytes that are.
pub(super) fn read_head(core: &mut Core<'_>, gpa: u64, bytes: &mut [u8; INSN_MAX]) -> Exec<usize> {
    let start = (gpa % PAGE_SIZE) as usize;
    let head = INSN_MAX.min(PAGE_SIZE as usize - start);
    let Some(frame) = core.space.slots.frame(gpa) else { return core.undefined() };
    frame.read(start, &mut bytes[..head]);
    Ok(head)
}

/// Reads the first bytes of the page after the one of linear `address`, or raises what a fetch from there raises.
pub(super) fn read_tail(core: &mut Core<'_>, address: u64, bytes: &mut [u8]) -> Exec {
    let next = core.code_address(core.next_page(address))?;
    let Some(frame) = core.space.slots.frame(next) else { return core.undefined() };
    frame.read(0, bytes);
    Ok(())
}

/// Where a key is in a table of [`FRONT_ENTRIES`].
pub fn front_slot(key: u64) -> usize {
    (key ^ key >> 12) as usize & (FRONT_ENTRIES - 1)
}

/// The first instruction in `bytes`; `None` if they end before it does, or if it is too long.
fn decode_first(bytes: &[u8], bits: u32) -> Option<Instruction> {
    let mut decoder = Decoder::with_ip(bits, bytes, 0, OPTIONS);
    let mut insn = decoder.decode();
    pause::correct(&mut insn, bytes);
    (!is_cut(&decoder, &insn) || is_whole(bytes, bits)).then_some(insn)
}

/// Whether the first instruction in `bytes` would be one without a LOCK prefix that it may not have: then it is not too
/// long but undefined.
fn is_whole(bytes: &[u8], bits: u32) -> bool {
    let mut decoder = Decoder::with_ip(bits, bytes, 0, OPTIONS | DecoderOptions::NO_INVALID_CHECK);
    !decoder.decode().is_invalid()
}

/// Whether what was decoded last is no instruction because the bytes ended, or because it would be longer than 15.
fn is_cut(decoder: &Decoder<'_>, insn: &Instruction) -> bool {
    let bytes_ended = decoder.last_error() == iced_x86::DecoderError::NoMoreBytes;
    insn.is_invalid() && (bytes_ended || insn.len() >= INSN_MAX)
}

/// Appends whole instructions from the start of `bytes` to the end of the block.
fn decode_insns(bytes: &[u8], bits: u32, features: &Features, out: &mut Vec<Insn>) {
    let mut decoder = Decoder::with_ip(bits, bytes, 0, OPTIONS);
    let mut insn = Instruction::default();
    for _ in 0..BLOCK_INSNS {
        if !decoder.can_decode() {
            break;
        }
        let start = decoder.position();
        decoder.decode_out(&mut insn);
        pause::correct(&mut insn, &bytes[start..]);
        // One that is too long is no undefined instruction: alone, it raises what it has to.
        if is_cut(&decoder, &insn) {
            break;
        }
        let lowered = lower(&insn, features);
        let ends = lowered.flow == Flow::End;
        out.push(lowered);
        if ends {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// lock test dword [...], imm32 with FS and 32-bit addresses: 15 bytes.
    const LOCKED: [u8; 15] =
        [0xf0, 0x64, 0x67, 0x41, 0xf7, 0x84, 0x33, 0xbc, 0, 0, 0, 0x18, 0xa0, 0x78, 0xd4];

    #[test]
    fn a_lock_prefix_makes_undefined_what_is_as_long_as_possible() {
        assert!(decode_first(&LOCKED, 64).is_some_and(|insn| insn.is_invalid()));
    }

    #[test]
    fn one_byte_more_is_too_long() {
        let bytes: Vec<u8> = [&[0x64], &LOCKED[..14]].concat();
        assert!(decode_first(&bytes, 64).is_none());
    }
}
