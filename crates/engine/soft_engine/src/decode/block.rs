//! The cache of decoded blocks of one vCPU, keyed by guest-physical address and decoding mode.
//!
//! A block is a run of instructions inside one page, up to the first that branches or changes how what follows is
//! decoded. An instruction that reaches into the next page is decoded anew each time: the two pages may be mapped
//! together today and apart tomorrow.

use std::collections::HashMap;

use guest_memory::PAGE_SIZE;
use iced_x86::{Decoder, DecoderOptions, Instruction};

use super::insn::{Flow, Insn};
use super::lower::lower;
use crate::cpu::{Core, Exception, Exec, vector};
use crate::features::Features;
use crate::memory::code_map;

/// Longest instruction in bytes (SDM vol. 2, 2.3.11).
const INSN_MAX: usize = 15;
/// Most instructions in a block.
const BLOCK_INSNS: usize = 32;
/// Entries of the table that is asked first. A power of two.
const FRONT_ENTRIES: usize = 16 * 1024;
/// Decoded instructions after which everything is dropped and decoded again as needed.
const INSNS_MAX: usize = 512 * 1024;

/// Decoded instructions that follow one another.
pub struct Block {
    /// The instructions, at least one.
    pub insns: Box<[Insn]>,
    /// Offset of the first byte in its page, and of the byte behind the last.
    span: (u16, u16),
}

type BlockIndex = u32;

/// All decoded blocks of one vCPU.
pub struct BlockCache {
    features: Features,
    by_address: HashMap<u64, BlockIndex>,
    by_page: HashMap<u64, Vec<(u64, BlockIndex)>>,
    blocks: Vec<Option<Block>>,
    free: Vec<BlockIndex>,
    front: Box<[(u64, BlockIndex)]>,
    insns: usize,
    /// The instruction that is not kept.
    single: Block,
}

/// No address: not even.
const NO_KEY: u64 = u64::MAX;

impl BlockCache {
    /// An empty cache for a CPU that has `features`.
    pub fn new(features: Features) -> BlockCache {
        BlockCache {
            features,
            by_address: HashMap::new(),
            by_page: HashMap::new(),
            blocks: Vec::new(),
            free: Vec::new(),
            front: vec![(NO_KEY, 0); FRONT_ENTRIES].into(),
            insns: 0,
            single: Block { insns: Box::default(), span: (0, 0) },
        }
    }

    /// The block at the current RIP, or its first instruction only. Raises what a fetch from there raises.
    #[inline]
    pub fn at_rip(&mut self, core: &mut Core<'_>, only_one: bool) -> Exec<&Block> {
        let address = core.fetch_address()?;
        let Some((_, gpa)) = core.code_frame(address)? else {
            return core.raise(Exception::plain(vector::UD));
        };
        if only_one {
            return self.decode_single(core, address, gpa);
        }
        let key = gpa | u64::from(core.mode.bits()) << 56;
        let slot = front_slot(key);
        if self.front[slot].0 == key {
            let index = self.front[slot].1;
            if let Some(block) = &self.blocks[index as usize] {
                // Looked up again: the borrow checker does not see that this return ends the borrow.
                let _ = block;
            }
            return self.block(core, index);
        }
        match self.by_address.get(&key) {
            Some(index) => {
                let index = *index;
                self.front[slot] = (key, index);
                self.block(core, index)
            }
            None => self.decode(core, address, gpa, key),
        }
    }

    fn block(&self, core: &mut Core<'_>, index: BlockIndex) -> Exec<&Block> {
        match &self.blocks[index as usize] {
            Some(block) => Ok(block),
            // Tables that lead to a dropped block are cleared with it.
            None => core.raise(Exception::plain(vector::UD)),
        }
    }

    /// Drops what was decoded from the grains `bits` of the page at `gpa`.
    pub fn invalidate(&mut self, gpa: u64, bits: u64) {
        let Some(list) = self.by_page.get_mut(&gpa) else { return };
        let (blocks, free) = (&mut self.blocks, &mut self.free);
        let (by_address, front, insns) = (&mut self.by_address, &mut self.front, &mut self.insns);
        list.retain(|(key, index)| {
            let Some(block) = &blocks[*index as usize] else { return false };
            let (start, end) = block.span;
            if code_map::grains_of(start.into(), usize::from(end - start)) & bits == 0 {
                return true;
            }
            *insns -= block.insns.len();
            blocks[*index as usize] = None;
            free.push(*index);
            by_address.remove(key);
            let slot = front_slot(*key);
            if front[slot].0 == *key {
                front[slot].0 = NO_KEY;
            }
            false
        });
        if list.is_empty() {
            self.by_page.remove(&gpa);
        }
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        *self = BlockCache::new(self.features.clone());
    }

    #[cold]
    #[inline(never)]
    fn decode(&mut self, core: &mut Core<'_>, address: u64, gpa: u64, key: u64) -> Exec<&Block> {
        if self.insns >= INSNS_MAX {
            self.clear();
        }
        let page = gpa & !(PAGE_SIZE - 1);
        let start = (gpa % PAGE_SIZE) as usize;
        let len = (PAGE_SIZE as usize - start).min(BLOCK_INSNS * INSN_MAX);
        let mut bytes = [0; BLOCK_INSNS * INSN_MAX];
        let bytes = &mut bytes[..len];
        // Marked before it is read: a store in between is noticed, one before is seen.
        core.code_decoded(page, code_map::grains_of(gpa, len));
        core.shared.memory.frame(page).map(|frame| frame.read(start, bytes));
        let insns = decode_insns(bytes, core.mode.bits(), &self.features);
        if insns.is_empty() {
            return self.decode_single(core, address, gpa);
        }
        let end = start + insns.iter().map(|insn| usize::from(insn.len)).sum::<usize>();
        self.insns += insns.len();
        let block = Block { insns: insns.into(), span: (start as u16, end as u16) };
        let index = match self.free.pop() {
            Some(index) => {
                self.blocks[index as usize] = Some(block);
                index
            }
            None => {
                self.blocks.push(Some(block));
                (self.blocks.len() - 1) as BlockIndex
            }
        };
        self.by_address.insert(key, index);
        self.by_page.entry(page).or_default().push((key, index));
        self.front[front_slot(key)] = (key, index);
        self.block(core, index)
    }

    /// Decodes one instruction that may reach into the next page.
    #[cold]
    #[inline(never)]
    fn decode_single(&mut self, core: &mut Core<'_>, address: u64, gpa: u64) -> Exec<&Block> {
        let mut bytes = [0; INSN_MAX];
        let start = (gpa % PAGE_SIZE) as usize;
        let head = INSN_MAX.min(PAGE_SIZE as usize - start);
        core.shared.memory.frame(gpa).map(|frame| frame.read(start, &mut bytes[..head]));
        let mut insn = decode_one(&bytes[..head], core.mode.bits());
        if insn.is_none() && head < INSN_MAX {
            // The next page is touched only by an instruction that really reaches it.
            let next = core.code_frame(core.next_page(address))?;
            if let Some((frame, _)) = next {
                frame.read(0, &mut bytes[head..]);
            }
            insn = decode_one(&bytes, core.mode.bits());
        }
        // Longer than 15 bytes: #GP (SDM vol. 2, 2.3.11).
        let Some(insn) = insn else { return core.raise(Exception::with_error(vector::GP, 0)) };
        self.single.insns = Box::new([lower(&insn, &self.features)]);
        Ok(&self.single)
    }
}

fn front_slot(key: u64) -> usize {
    (key ^ key >> 12) as usize & (FRONT_ENTRIES - 1)
}

/// The first instruction in `bytes`; `None` if they end before it does.
fn decode_one(bytes: &[u8], bits: u32) -> Option<Instruction> {
    let mut decoder = Decoder::with_ip(bits, bytes, 0, DecoderOptions::NONE);
    let insn = decoder.decode();
    let is_cut = insn.is_invalid() && decoder.last_error() == iced_x86::DecoderError::NoMoreBytes;
    (!is_cut).then_some(insn)
}

/// Whole instructions from the start of `bytes` to the end of the block.
fn decode_insns(bytes: &[u8], bits: u32, features: &Features) -> Vec<Insn> {
    let mut decoder = Decoder::with_ip(bits, bytes, 0, DecoderOptions::NONE);
    let mut insns = Vec::with_capacity(8);
    let mut insn = Instruction::default();
    while insns.len() < BLOCK_INSNS && decoder.can_decode() {
        decoder.decode_out(&mut insn);
        if insn.is_invalid() && decoder.last_error() == iced_x86::DecoderError::NoMoreBytes {
            break;
        }
        let lowered = lower(&insn, features);
        let ends = lowered.flow == Flow::End;
        insns.push(lowered);
        if ends {
            break;
        }
    }
    insns
}
