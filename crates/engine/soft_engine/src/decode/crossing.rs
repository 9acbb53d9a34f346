//! Instructions in 64-bit mode that reach into the next page. Two pages may be mapped together today and apart tomorrow,
//! so what was decoded is kept together with the bytes that it was decoded from, and these are compared each time.

use super::block::{INSN_MAX, decode_one, read_head, read_tail};
use super::insn::Insn;
use crate::cpu::{Core, Exec};
use crate::features::Features;

/// Entries. A power of two.
const ENTRIES: usize = 512;

#[derive(Clone, Copy)]
struct Entry {
    bytes: [u8; INSN_MAX],
    insn: Insn,
}

/// Such instructions of one vCPU, by where they begin.
pub struct Crossings {
    features: Features,
    entries: Box<[Option<Entry>]>,
}

impl Crossings {
    /// None yet, for a CPU that has `features`.
    pub fn new(features: Features) -> Crossings {
        Crossings { features, entries: vec![None; ENTRIES].into() }
    }

    /// The instruction at RIP. Raises what a fetch of it raises.
    pub fn at_rip(&mut self, core: &mut Core<'_>) -> Exec<Insn> {
        let address = core.rip;
        let gpa = core.code_address(address)?;
        let mut bytes = [0; INSN_MAX];
        let head = read_head(core, gpa, &mut bytes)?;
        let slot = (gpa ^ gpa >> 12) as usize & (ENTRIES - 1);
        if let Some(known) = self.entries[slot]
            && known.bytes[..head] == bytes[..head]
            && usize::from(known.insn.len) > head
        {
            let len = usize::from(known.insn.len);
            read_tail(core, address, &mut bytes[head..len])?;
            if known.bytes[..len] == bytes[..len] {
                return Ok(known.insn);
            }
        }
        let (insn, bytes) = decode_one(core, address, gpa, &self.features)?;
        self.entries[slot] = Some(Entry { bytes, insn });
        Ok(insn)
    }
}
