//! The software TLB: linear page → page of RAM, with a tag for each kind of access.
//!
//! `tag ^ address <= 4096 - size` says in one comparison that the entry is about this page, allows this access,
//! and that the access stays inside the page. Whatever needs a closer look (devices, pages whose writes are
//! recorded, pages with decoded code) has a tag that never matches.

use guest_memory::{Frame, PAGE_SIZE};

/// Entries of one view. A power of two.
pub const ENTRIES: usize = 4096;
/// Entries of the view for instruction fetches.
const CODE_ENTRIES: usize = 256;

/// Where generated code finds an entry's fields.
pub const READ: i32 = std::mem::offset_of!(Entry<'static>, read) as i32;
pub const WRITE: i32 = std::mem::offset_of!(Entry<'static>, write) as i32;
pub const FRAME: i32 = std::mem::offset_of!(Entry<'static>, frame) as i32;

/// One translation. Generated code knows where its first three fields are.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Entry<'m> {
    /// Matches addresses that may be read.
    pub read: u64,
    /// Matches addresses that may be written at once.
    pub write: u64,
    /// The page in RAM.
    pub frame: Option<Frame<'m>>,
    /// Guest-physical address of the page; bit 0 says that the translation is global.
    page: u64,
}

impl Entry<'_> {
    /// Guest-physical address of the page.
    pub fn gpa(&self) -> u64 {
        self.page & !(PAGE_SIZE - 1)
    }

    /// Whether the translation outlives changes of CR3.
    pub fn is_global(&self) -> bool {
        self.page & 1 == 1
    }
}

/// What is to be remembered.
#[derive(Clone, Copy)]
pub struct Fill<'m> {
    /// Linear address of the page.
    pub page: u64,
    /// Guest-physical address of the page.
    pub gpa: u64,
    /// The page in RAM.
    pub frame: Frame<'m>,
    /// Writes need no closer look.
    pub writable: bool,
    /// The translation outlives changes of CR3.
    pub global: bool,
    /// Size of the guest's page, in bytes.
    pub size_bytes: u64,
}

/// Translations of one view: one privilege, one address space.
pub struct Tlb<'m> {
    entries: Box<[Entry<'m>]>,
    /// Indexes of entries in use, each at least once.
    filled: Vec<u16>,
    /// Linear addresses that large pages cover: none of them can be dropped alone.
    large: Option<(u64, u64)>,
}

impl<'m> Tlb<'m> {
    /// An empty view for data.
    pub fn for_data() -> Tlb<'m> {
        Tlb::with_entries(ENTRIES)
    }

    /// An empty view for code.
    pub fn for_code() -> Tlb<'m> {
        Tlb::with_entries(CODE_ENTRIES)
    }

    fn with_entries(count: usize) -> Tlb<'m> {
        Tlb { entries: (0..count).map(invalid).collect(), filled: Vec::new(), large: None }
    }

    fn index(&self, address: u64) -> usize {
        (address / PAGE_SIZE) as usize & (self.entries.len() - 1)
    }

    /// Where the entries are.
    pub fn table(&self) -> *const Entry<'m> {
        self.entries.as_ptr()
    }

    /// The entry at which `address` would be found.
    #[inline(always)]
    pub fn entry(&self, address: u64) -> &Entry<'m> {
        &self.entries[self.index(address)]
    }

    /// Remembers a translation.
    pub fn fill(&mut self, fill: Fill<'m>) {
        let index = self.index(fill.page);
        if self.filled.len() >= 4 * self.entries.len() {
            // Others may still rely on what was found here, so that large pages stay known.
            let large = self.large;
            self.flush();
            self.large = large;
        }
        let never = never_matches(index);
        self.entries[index] = Entry {
            read: fill.page,
            write: if fill.writable { fill.page } else { never },
            frame: Some(fill.frame),
            page: fill.gpa | u64::from(fill.global),
        };
        self.filled.push(index as u16);
        if fill.size_bytes > PAGE_SIZE {
            let start = fill.page & !(fill.size_bytes - 1);
            let end = start.wrapping_add(fill.size_bytes - 1);
            let (low, high) = self.large.unwrap_or((start, end));
            self.large = Some((low.min(start), high.max(end)));
        }
    }

    /// Forgets everything.
    pub fn flush(&mut self) {
        for index in self.filled.drain(..) {
            self.entries[usize::from(index)] = invalid(usize::from(index));
        }
        self.large = None;
    }

    /// Forgets what does not outlive a change of CR3.
    pub fn flush_local(&mut self) {
        let entries = &mut self.entries;
        self.filled.retain(|index| {
            let index = usize::from(*index);
            let keep = entries[index].is_global();
            if !keep {
                entries[index] = invalid(index);
            }
            keep
        });
    }

    /// Whether a large page may cover `address`.
    pub fn is_in_large_page(&self, address: u64) -> bool {
        self.large.is_some_and(|(low, high)| (low..=high).contains(&address))
    }

    /// Forgets what is known about one linear address.
    pub fn flush_address(&mut self, address: u64) {
        if self.is_in_large_page(address) {
            self.flush();
            return;
        }
        let index = self.index(address);
        if (self.entries[index].read ^ address) < PAGE_SIZE {
            self.entries[index] = invalid(index);
        }
    }

    /// Makes writes to the page of RAM at `gpa` need a closer look. True if any did not before.
    pub fn protect(&mut self, gpa: u64) -> bool {
        let mut found = false;
        for index in &self.filled {
            let index = usize::from(*index);
            let entry = &mut self.entries[index];
            if entry.gpa() == gpa && entry.frame.is_some() && entry.write != never_matches(index) {
                entry.write = never_matches(index);
                found = true;
            }
        }
        found
    }

    /// Makes all writes need a closer look.
    pub fn protect_all(&mut self) {
        for index in &self.filled {
            let index = usize::from(*index);
            self.entries[index].write = never_matches(index);
        }
    }
}

/// A tag that no address looked up at `index` matches: it names a page that belongs to another entry.
fn never_matches(index: usize) -> u64 {
    (index as u64 ^ 1) * PAGE_SIZE
}

fn invalid<'m>(index: usize) -> Entry<'m> {
    Entry { read: never_matches(index), write: never_matches(index), frame: None, page: 0 }
}
