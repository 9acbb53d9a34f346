//! A guest of one case: registers and a RAM image. Made whole by [`Guest::long`] or [`Guest::protected`]; a case then
//! changes what it is about.

use arch_model::x86_64::{
    DebugRegisters, DescriptorTable, PendingEvents, Registers, Segment, SystemRegisters,
};

use crate::layout::*;
use crate::tables::{A, D, Descriptor, Gate, P, U, W};

/// CR0: PE, MP, ET, NE, PG (SDM vol. 3, 2.5).
pub const CR0_LONG: u64 = 0x8000_0033;
/// CR0.WP.
pub const CR0_WP: u64 = 1 << 16;
/// CR4: PAE, PGE, OSFXSR, OSXMMEXCPT.
pub const CR4_LONG: u64 = 0x6a0;
/// CR4.OSXSAVE.
pub const CR4_OSXSAVE: u64 = 1 << 18;
/// CR4.PCIDE.
pub const CR4_PCIDE: u64 = 1 << 17;
/// CR4.SMEP.
pub const CR4_SMEP: u64 = 1 << 20;
/// CR4.SMAP.
pub const CR4_SMAP: u64 = 1 << 21;
/// EFER: SCE, LME, LMA, NXE (SDM vol. 4, table 2-2).
pub const EFER_LONG: u64 = 0xd01;
/// EFER.NXE.
pub const EFER_NXE: u64 = 1 << 11;
/// RFLAGS.AC.
pub const AC: u64 = 1 << 18;
/// RFLAGS.IF.
pub const IF: u64 = 1 << 9;
/// RFLAGS.TF.
pub const TF: u64 = 1 << 8;

/// Descriptors of the table, by selector (each with its accessed bit, as processors insist for what is loaded).
const DESCRIPTORS: [(u16, Descriptor); 11] = [
    (0x08, Descriptor::code64(11, 0)),
    (0x10, Descriptor::flat(3, 0)),
    (0x18, Descriptor::flat(11, 3)),
    (0x20, Descriptor::flat(3, 3)),
    (0x28, Descriptor::code64(11, 3)),
    (0x30, Descriptor::flat(11, 0)),
    (0x40, Descriptor::system(11, 0, TSS as u32, 0x67)),
    (0x70, Descriptor::code64(11, 1)),
    (0x78, Descriptor::flat(3, 1)),
    (0x80, Descriptor::code64(11, 2)),
    (0x88, Descriptor::flat(3, 2)),
];

/// Vectors that push an error code (SDM vol. 3, table 6-1).
pub fn has_error_code(vector: u8) -> bool {
    matches!(vector, 8 | 10..=14 | 17)
}

/// What a guest starts from.
#[derive(Clone, Debug)]
pub struct Guest {
    /// General registers, RIP, RFLAGS.
    pub registers: Registers,
    /// Segments, tables, control registers. APIC base and CR8 are the engine's.
    pub system: SystemRegisters,
    /// Debug registers.
    pub debug: DebugRegisters,
    /// NMI and shadows.
    pub events: PendingEvents,
    /// MSRs that are set.
    pub msrs: Vec<(u32, u64)>,
    /// XCR0, for a guest that wants a CPU with AVX. Its vector registers are filled: register n with bytes n + 1.
    pub xcr0: Option<u64>,
    /// A vector that the local APIC holds pending.
    pub interrupt: Option<u8>,
    /// What RAM holds besides what every guest has.
    patches: Vec<(u64, Vec<u8>)>,
    /// Where the code starts.
    pub start: u64,
    /// IDT entries of 16 bytes.
    pub wide: bool,
}

impl Guest {
    /// 64-bit code of privilege `cpl`, paging on: `code`, then INT DONE.
    pub fn long(cpl: u8, code: &[u8]) -> Guest {
        let mut guest = Guest::bare(true, cpl, code);
        let system = &mut guest.system;
        (system.cr0, system.cr3, system.cr4, system.efer) = (CR0_LONG, PML4, CR4_LONG, EFER_LONG);
        let selector = if cpl == 3 { USER_CODE64 } else { KERNEL_CODE };
        system.cs = descriptor(selector).segment(selector);
        guest
    }

    /// 32-bit code of privilege `cpl` in flat segments without paging: `code`, then INT DONE.
    pub fn protected(cpl: u8, code: &[u8]) -> Guest {
        let mut guest = Guest::bare(false, cpl, code);
        let system = &mut guest.system;
        (system.cr0, system.cr4) = (0x31, 0x600);
        let selector = if cpl == 3 { USER_CODE32 } else { KERNEL_CODE32 };
        system.cs = descriptor(selector).segment(selector);
        guest
    }

    fn bare(wide: bool, cpl: u8, code: &[u8]) -> Guest {
        let (start, stack) = if cpl == 3 { (USER_CODE, USER_STACK - 0x100) } else { (CODE, STACK - 0x100) };
        let data = stack_selector(cpl);
        let flat = descriptor(data).segment(data);
        let table = |base, limit| DescriptorTable { base, limit };
        let system = SystemRegisters {
            ds: flat,
            es: flat,
            fs: flat,
            gs: flat,
            ss: flat,
            tr: descriptor(TASK).segment(TASK),
            ldt: Segment { unusable: true, ..Segment::default() },
            gdt: table(GDT, GDT_LIMIT),
            idt: table(IDT, 0xfff),
            ..SystemRegisters::default()
        };
        let registers = Registers { rip: start, rsp: stack, rflags: 2, rbx: DATA, ..Registers::default() };
        let debug = DebugRegisters { dr6: 0xffff_0ff0, dr7: 0x400, ..DebugRegisters::default() };
        let mut guest = Guest {
            registers,
            system,
            debug,
            events: PendingEvents::default(),
            msrs: Vec::new(),
            xcr0: None,
            interrupt: None,
            patches: Vec::new(),
            start,
            wide,
        };
        guest.put(start, code);
        guest.put(start + code.len() as u64, &[0xcd, DONE]);
        guest
    }

    /// RAM as the guest finds it.
    pub fn image(&self) -> Vec<u8> {
        let mut image = Image { ram: vec![0; RAM_SIZE], wide: self.wide };
        for (selector, descriptor) in DESCRIPTORS {
            image.put64(GDT + u64::from(selector), descriptor.raw());
        }
        image.handlers();
        image.task();
        if self.wide {
            image.map();
        }
        for (at, bytes) in &self.patches {
            image.put(*at, bytes);
        }
        image.ram
    }

    /// Leads [`TEST_ADDRESS`] through `entries` of the four levels; those of tables get their addresses here.
    pub fn map_test(&mut self, flags: [u64; 4], page: u64) {
        let entries = [TEST_PDPT | flags[0], TEST_PD | flags[1], TEST_PT | flags[2], page | flags[3]];
        for (table, entry) in [PML4, TEST_PDPT, TEST_PD, TEST_PT].into_iter().zip(entries) {
            self.put64(table + 8, entry);
        }
    }

    /// Writes bytes into the image.
    pub fn put(&mut self, at: u64, bytes: &[u8]) {
        self.patches.push((at, bytes.to_vec()));
    }

    /// Writes eight bytes into the image.
    pub fn put64(&mut self, at: u64, value: u64) {
        self.put(at, &value.to_le_bytes());
    }

    /// Pushes eight bytes onto the initial stack.
    pub fn push64(&mut self, value: u64) {
        self.registers.rsp -= 8;
        self.put64(self.registers.rsp, value);
    }

    /// Pushes four bytes onto the initial stack.
    pub fn push32(&mut self, value: u32) {
        self.registers.rsp -= 4;
        self.put(self.registers.rsp, &value.to_le_bytes());
    }

    /// Puts a descriptor of 8 bytes into the table.
    pub fn descriptor(&mut self, selector: u16, descriptor: Descriptor) {
        self.put64(GDT + u64::from(selector & !7), descriptor.raw());
    }

    /// Puts a gate into the interrupt table.
    pub fn gate(&mut self, vector: u8, gate: Gate) {
        let (at, bytes) = gate_bytes(self.wide, vector, gate);
        self.put(at, &bytes);
    }

    /// The gate as it is by default, to be changed.
    pub fn default_gate(&self, vector: u8) -> Gate {
        default_gate(self.wide, vector)
    }
}

fn default_gate(wide: bool, vector: u8) -> Gate {
    let selector = if wide { KERNEL_CODE } else { KERNEL_CODE32 };
    Gate { stack: u8::from(wide), ..Gate::interrupt(selector, stub(vector), 0) }
}

fn gate_bytes(wide: bool, vector: u8, gate: Gate) -> (u64, Vec<u8>) {
    let [low, high] = gate.raw().map(u64::to_le_bytes);
    let number = u64::from(vector);
    if wide { (IDT + 16 * number, [low, high].concat()) } else { (IDT + 8 * number, low.to_vec()) }
}

/// RAM in the making: what every guest has.
struct Image {
    ram: Vec<u8>,
    wide: bool,
}

impl Image {
    fn put(&mut self, at: u64, bytes: &[u8]) {
        let at = at as usize;
        if let Some(place) = self.ram.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    fn put64(&mut self, at: u64, value: u64) {
        self.put(at, &value.to_le_bytes());
    }

    fn handlers(&mut self) {
        for vector in 0..=255u8 {
            let dpl = if vector == DONE { 3 } else { 0 };
            let (at, bytes) = gate_bytes(self.wide, vector, Gate { dpl, ..default_gate(self.wide, vector) });
            self.put(at, &bytes);
            // out PORT, al; hlt; jmp -3
            self.put(stub(vector), &[0xe6, PORT as u8, 0xf4, 0xeb, 0xfd]);
        }
    }

    /// SDM vol. 3, 7.2.1 and 7.7.
    fn task(&mut self) {
        if self.wide {
            for (offset, stack) in [(4, RSP0), (12, RSP0), (20, RSP0), (0x24, IST1), (0x2c, IST2)] {
                self.put64(TSS + offset, stack);
            }
        } else {
            self.put64(TSS + 4, RSP0 | u64::from(KERNEL_DATA_SELECTOR) << 32);
        }
        self.put(TSS + 0x66, &0x68u16.to_le_bytes());
    }

    /// Identity map of RAM.
    fn map(&mut self) {
        for level in 0..3 {
            let table = PML4 + 0x1000 * level;
            self.put64(table, (table + 0x1000) | P | W | U | A);
        }
        for page in 0..(RAM_SIZE / 0x1000) as u64 {
            let address = page << 12;
            let user = if matches!(address, DATA | USER_CODE | 0xf000) { U } else { 0 };
            self.put64(PT + 8 * page, address | P | W | A | D | user);
        }
    }
}

/// The table's descriptor that `selector` names.
pub fn descriptor(selector: u16) -> Descriptor {
    let found = DESCRIPTORS.iter().find(|(place, _)| *place == selector & !7);
    found.map_or(Descriptor::flat(3, 0), |(_, descriptor)| *descriptor)
}
