//! Page walks (SDM vol. 3, ch. 4; where Intel and AMD differ, as AMD does: page-directory-pointer entries of
//! PAE paging are read at each walk): 32-bit, PAE and 4-level paging, with every permission the CPU offers.

use crate::cpu::mode::{cr0, cr4, efer};
use crate::cpu::{Cpu, Exception, flags};

/// Width of physical addresses, as CPUID says.
pub const PHYSICAL_BITS: u32 = 46;

/// What an access wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Kind.
    pub kind: Kind,
    /// With user privilege: CPL 3 and not one that the CPU makes on its own account.
    pub user: bool,
    /// A supervisor access that the CPU makes on its own account (descriptor tables, TSS, interrupt stacks from
    /// CPL 3): SMAP applies whatever EFLAGS.AC says.
    pub implicit: bool,
}

/// Kinds of accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Load.
    Read,
    /// Store, or the load of a read-modify-write.
    Write,
    /// Instruction fetch.
    Fetch,
}

/// Where a linear address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// Guest-physical address.
    pub gpa: u64,
    /// A write with the same privilege needs neither another check nor a dirty bit.
    pub writable: bool,
    /// Outlives changes of CR3.
    pub global: bool,
    /// Size of the page, in bytes.
    pub size_bytes: u64,
}

/// Page-table entries in guest memory.
pub trait Tables {
    /// The entry of 4 or 8 bytes at `gpa`; all ones where there is no memory.
    fn read(&self, gpa: u64, wide: bool) -> u64;
    /// Sets `bits` in the entry if it still is `entry`; false if it has changed.
    fn set_bits(&self, gpa: u64, wide: bool, entry: u64, bits: u64) -> bool;
}

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const GLOBAL: u64 = 1 << 8;
const NO_EXECUTE: u64 = 1 << 63;

/// Bits of a page fault's error code (SDM vol. 3, 4.7).
mod error {
    pub const PRESENT: u32 = 1 << 0;
    pub const WRITE: u32 = 1 << 1;
    pub const USER: u32 = 1 << 2;
    pub const RESERVED: u32 = 1 << 3;
    pub const FETCH: u32 = 1 << 4;
}

/// Why a walk ended: error code bits beyond those of the access.
struct Denied(u32);

/// Translates `address`, which is canonical, for `access`. Sets accessed and dirty bits.
pub fn translate(
    cpu: &Cpu,
    tables: &impl Tables,
    address: u64,
    access: Access,
) -> Result<Translation, Exception> {
    if cpu.cr0 & cr0::PG == 0 {
        // Without paging, addresses are 32 bits wide.
        let gpa = address & 0xffff_ffff;
        return Ok(Translation { gpa, writable: true, global: true, size_bytes: 1 << 12 });
    }
    loop {
        match walk(cpu, tables, address, access) {
            Ok(Some(translation)) => return Ok(translation),
            // Another vCPU changed an entry meanwhile.
            Ok(None) => {}
            Err(Denied(bits)) => return Err(Exception::page_fault(address, bits | access_bits(cpu, access))),
        }
    }
}

fn access_bits(cpu: &Cpu, access: Access) -> u32 {
    let fetch_is_told = cpu.cr4 & cr4::SMEP != 0 || (cpu.cr4 & cr4::PAE != 0 && cpu.efer & efer::NXE != 0);
    let kind = match access.kind {
        Kind::Read => 0,
        Kind::Write => error::WRITE,
        Kind::Fetch if fetch_is_told => error::FETCH,
        Kind::Fetch => 0,
    };
    kind | if access.user { error::USER } else { 0 }
}

/// How one paging mode lays out its tables.
struct Layout {
    /// Levels, the root's first: the lowest bit of the address that indexes the table.
    shifts: &'static [u32],
    /// Entries of 8 bytes rather than 4.
    wide: bool,
    /// Bits of an index.
    index_bits: u32,
}

const FOUR_LEVELS: Layout = Layout { shifts: &[39, 30, 21, 12], wide: true, index_bits: 9 };
const PAE: Layout = Layout { shifts: &[30, 21, 12], wide: true, index_bits: 9 };
const TWO_LEVELS: Layout = Layout { shifts: &[22, 12], wide: false, index_bits: 10 };

/// The entries that one walk went through.
struct Path {
    gpas: [u64; 4],
    entries: [u64; 4],
    len: usize,
    shift: u32,
}

impl Path {
    fn leaf(&self) -> u64 {
        self.entries[self.len - 1]
    }

    fn all(&self) -> &[u64] {
        &self.entries[..self.len]
    }
}

fn walk(
    cpu: &Cpu,
    tables: &impl Tables,
    address: u64,
    access: Access,
) -> Result<Option<Translation>, Denied> {
    let layout = layout(cpu);
    let path = descend(cpu, tables, address, &layout)?;
    let pae_root = layout.shifts.len() == 3;
    // PAE's root entries have no permission bits.
    let ruling = &path.all()[usize::from(pae_root)..];
    let allowed = |bit| ruling.iter().all(|entry| entry & bit != 0);
    let no_execute = ruling.iter().any(|entry| entry & NO_EXECUTE != 0) && layout.wide;
    let rights = Rights { writable: allowed(WRITABLE), user: allowed(USER), no_execute };
    if !rights.permit(cpu, access) {
        return Err(Denied(error::PRESENT));
    }
    if !mark(tables, &path, layout.wide, access.kind == Kind::Write, pae_root) {
        return Ok(None);
    }
    let leaf = path.leaf();
    let dirty = access.kind == Kind::Write || leaf & DIRTY != 0;
    let writable = dirty && rights.permit(cpu, Access { kind: Kind::Write, ..access });
    let size_bytes = 1u64 << path.shift;
    Ok(Some(Translation {
        gpa: base_of(leaf, path.shift, layout.wide) | address & (size_bytes - 1),
        writable,
        global: leaf & GLOBAL != 0 && cpu.cr4 & cr4::PGE != 0,
        size_bytes,
    }))
}

fn layout(cpu: &Cpu) -> Layout {
    if cpu.efer & efer::LMA != 0 {
        FOUR_LEVELS
    } else if cpu.cr4 & cr4::PAE != 0 {
        PAE
    } else {
        TWO_LEVELS
    }
}

fn descend(cpu: &Cpu, tables: &impl Tables, address: u64, layout: &Layout) -> Result<Path, Denied> {
    let mut path = Path { gpas: [0; 4], entries: [0; 4], len: 0, shift: 12 };
    let mut table = match layout.shifts.len() {
        3 => cpu.cr3 & 0xffff_ffe0,
        2 => cpu.cr3 & 0xffff_f000,
        _ => cpu.cr3 & physical_mask() & !0xfff,
    };
    for (level, shift) in layout.shifts.iter().copied().enumerate() {
        let index = address >> shift & ((1 << layout.index_bits) - 1);
        // PAE's root has four entries: address bits 31:30.
        let index = if layout.shifts.len() == 3 && level == 0 { index & 3 } else { index };
        let gpa = table + index * if layout.wide { 8 } else { 4 };
        let entry = tables.read(gpa, layout.wide);
        if entry & PRESENT == 0 {
            return Err(Denied(0));
        }
        (path.gpas[level], path.entries[level], path.len, path.shift) = (gpa, entry, level + 1, shift);
        let large = shift != 12 && entry & LARGE != 0 && may_be_large(cpu, layout, shift);
        if entry & reserved(cpu, layout, shift, large) != 0 {
            return Err(Denied(error::PRESENT | error::RESERVED));
        }
        if large {
            return Ok(path);
        }
        table = entry & if layout.wide { physical_mask() & !0xfff } else { 0xffff_f000 };
    }
    Ok(path)
}

/// Whether bit 7 of an entry that covers `1 << shift` bytes selects a page rather than being reserved or ignored.
fn may_be_large(cpu: &Cpu, layout: &Layout, shift: u32) -> bool {
    match (layout.wide, shift) {
        (false, _) => cpu.cr4 & cr4::PSE != 0,
        (true, 21) => true,
        (true, 30) => layout.shifts.len() == 4,
        _ => false,
    }
}

/// Bits of an entry that have to be 0 (SDM vol. 3, 4.3 to 4.5).
fn reserved(cpu: &Cpu, layout: &Layout, shift: u32, large: bool) -> u64 {
    if !layout.wide {
        // PSE-36 with 46 physical address bits: bits 20:13 are address bits, 21 is reserved.
        return if large { 1 << 21 } else { 0 };
    }
    let above = 0x000f_ffff_ffff_ffff & !physical_mask();
    let no_execute = if cpu.efer & efer::NXE == 0 { NO_EXECUTE } else { 0 };
    let legacy = layout.shifts.len() == 3;
    // PAE has no bits 62:52 for software, and its root has no permissions.
    let software = if legacy { 0x7ff0_0000_0000_0000 } else { 0 };
    let root = if legacy && shift == 30 { NO_EXECUTE | 0x1e6 } else { 0 };
    // Bit 7 is reserved at the root of 4-level paging.
    let size = if shift == 39 { LARGE } else { 0 };
    // Between bit 12 (PAT) and the page's size, a large page's address is 0.
    let low = if large { (1 << shift) - (1 << 13) } else { 0 };
    above | no_execute | software | root | size | low
}

fn physical_mask() -> u64 {
    (1 << PHYSICAL_BITS) - 1
}

fn base_of(leaf: u64, shift: u32, wide: bool) -> u64 {
    let base = leaf & physical_mask() & !((1 << shift) - 1);
    if wide || shift == 12 {
        return base;
    }
    // PSE-36: bits 39:32 of the address are bits 20:13 of the entry (SDM vol. 3, table 4-4).
    (leaf & 0xffc0_0000) | (leaf >> 13 & 0xff) << 32
}

/// What the entries on the way allow together.
struct Rights {
    writable: bool,
    user: bool,
    no_execute: bool,
}

impl Rights {
    /// SDM vol. 3, 4.6.
    fn permit(&self, cpu: &Cpu, access: Access) -> bool {
        if access.kind == Kind::Fetch && self.no_execute {
            return false;
        }
        if access.user {
            return self.user && (access.kind != Kind::Write || self.writable);
        }
        if self.user {
            let on = |bit| cpu.cr4 & bit != 0;
            let stopped = match access.kind {
                Kind::Fetch => on(cr4::SMEP),
                _ => on(cr4::SMAP) && (access.implicit || !cpu.flags.has(flags::AC)),
            };
            if stopped {
                return false;
            }
        }
        access.kind != Kind::Write || self.writable || cpu.cr0 & cr0::WP == 0
    }
}

/// Sets accessed bits along the way and the dirty bit at its end. False if an entry has changed meanwhile.
fn mark(tables: &impl Tables, path: &Path, wide: bool, write: bool, pae_root: bool) -> bool {
    for level in usize::from(pae_root)..path.len {
        let is_leaf = level == path.len - 1;
        let bits = ACCESSED | if is_leaf && write { DIRTY } else { 0 };
        let entry = path.entries[level];
        if entry & bits != bits && !tables.set_bits(path.gpas[level], wide, entry, bits) {
            return false;
        }
    }
    true
}
