//! The little operating system in which the engine runs a block: where its RAM is, page tables, descriptors, handlers.
//!
//! ```text
//!  #PF in the lazy page ─► the page is there now, IRETQ
//!  interrupts           ─► RIP into the log, end of interrupt, IRETQ
//!  everything else      ─► the vector's stub: OUT, upon which the run ends
//! ```
//!
//! Programs find nothing of it: it is mapped where they have no access, like an operating system's own memory.

use engine_suite::tables::{A, D, Descriptor, Gate, NX, P, PS, U, W};

use crate::layout::{BLOCK_CODE, DATA, DATA_SIZE, INT3, LAZY, PAGE, READ_ONLY};

/// Bytes of RAM.
pub const RAM_SIZE: usize = 0x2_8000;
/// Where all of RAM is mapped for the system.
pub const SYSTEM: u64 = 0xffff_8000_0000_0000;
/// Guest-physical addresses.
pub const GDT: u64 = 0x1000;
pub const IDT: u64 = 0x2000;
pub const TSS: u64 = 0x3000;
/// Handlers: vector `n` leads to `STUBS + 16 * n`, unless it has one of its own.
pub const STUBS: u64 = 0x4000;
const HANDLERS: u64 = 0x5000;
const INTERRUPT_HANDLER: u64 = HANDLERS + 0x100;
const LOG: u64 = 0x6000;
/// How many interrupts the log tells of, modulo 256 in the first byte.
pub const LOG_COUNT: u64 = LOG + 0x800;
/// Top of the stack on which everything is handled.
pub const STACK: u64 = 0x9000;
pub const PML4: u64 = 0xa000;
const LOW: [u64; 2] = [0xb000, 0xc000];
const CODE_TABLE: u64 = 0xd000;
const DATA_TABLE: u64 = 0xe000;
const HIGH: [u64; 2] = [0xf000, 0x1_0000];
/// The block's code.
pub const CODE_FRAME: u64 = 0x2_0000;
/// The data, the page that can only be read included.
pub const DATA_FRAME: u64 = 0x2_2000;

/// Where a block that works with interrupts finds the local APIC.
pub const APIC: u64 = 0x1002_0000;
/// The local APIC's guest-physical address (SDM vol. 3, 11.4.1).
const APIC_FRAME: u64 = 0xfee0_0000;
/// Vectors of interrupts: this and the fifteen behind it.
pub const INTERRUPTS: u8 = 0x40;
/// The port whose writes end a run.
pub const PORT: u16 = 0xf4;
/// Selectors, those of programs as Linux has them.
pub const SYSTEM_CODE: u16 = 0x08;
pub const TASK: u16 = 0x40;
pub const USER_DATA: u16 = 0x2b;
pub const USER_CODE: u16 = 0x33;
const DESCRIPTORS: [(u16, Descriptor); 4] = [
    (SYSTEM_CODE, Descriptor::code64(11, 0)),
    (USER_DATA, Descriptor::flat(3, 3)),
    (USER_CODE, Descriptor::code64(11, 3)),
    (TASK, Descriptor::system(11, 0, TSS as u32, 0x67)),
];

/// The descriptor of one of the selectors above.
pub fn descriptor(selector: u16) -> Descriptor {
    let found = DESCRIPTORS.iter().find(|(place, _)| *place == selector);
    found.map_or(Descriptor::flat(3, 3), |(_, descriptor)| *descriptor)
}

/// Who reaches the local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apic {
    /// Nobody.
    Absent,
    /// The system.
    System,
    /// The program too.
    Program,
}

/// RAM with everything but a block's code and data; `lazy` leaves the lazy page out.
pub fn build(lazy: bool, apic: Apic) -> Vec<u8> {
    let mut image = Image(vec![0; RAM_SIZE]);
    for (selector, descriptor) in DESCRIPTORS {
        image.put64(GDT + u64::from(selector & !7), descriptor.raw());
    }
    image.put64(GDT + u64::from(TASK) + 8, SYSTEM >> 32);
    image.put64(TSS + 4, SYSTEM + STACK);
    // No port is open (SDM vol. 1, 19.5.2).
    image.put(TSS + 0x66, &0x68u16.to_le_bytes());
    image.gates();
    image.put(HANDLERS, &page_fault_handler());
    image.put(INTERRUPT_HANDLER, &interrupt_handler());
    image.map(lazy, apic);
    image.0[CODE_FRAME as usize..DATA_FRAME as usize].fill(INT3);
    image.0
}

struct Image(Vec<u8>);

impl Image {
    fn put(&mut self, at: u64, bytes: &[u8]) {
        self.0[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    }

    fn put64(&mut self, at: u64, value: u64) {
        self.put(at, &value.to_le_bytes());
    }

    fn gates(&mut self) {
        for vector in 0..=255u8 {
            let stub = STUBS + 16 * u64::from(vector);
            // out PORT, al; hlt; jmp -3
            self.put(stub, &[0xe6, PORT as u8, 0xf4, 0xeb, 0xfd]);
            let handler = match vector {
                14 => HANDLERS,
                _ if vector & 0xf0 == INTERRUPTS => INTERRUPT_HANDLER,
                _ => stub,
            };
            // INT3 and INTO are open to programs, as in Linux.
            let dpl = if matches!(vector, 3 | 4) { 3 } else { 0 };
            let [low, high] = Gate::interrupt(SYSTEM_CODE, SYSTEM + handler, dpl).raw();
            self.put64(IDT + 16 * u64::from(vector), low);
            self.put64(IDT + 16 * u64::from(vector) + 8, high);
        }
    }

    fn map(&mut self, lazy: bool, apic: Apic) {
        let index = |address: u64, level: u32| 8 * (address >> level & 0x1ff);
        let table = P | W | U | A;
        self.put64(PML4, LOW[0] | table);
        self.put64(LOW[0], LOW[1] | table);
        self.put64(LOW[1] + index(BLOCK_CODE, 21), CODE_TABLE | table);
        self.put64(LOW[1] + index(DATA, 21), DATA_TABLE | table);
        self.put64(PML4 + index(SYSTEM, 39), HIGH[0] | table);
        self.put64(HIGH[0], HIGH[1] | table);
        self.put64(HIGH[1], PS | P | W | A | D);
        for page in 0..2 {
            let address = BLOCK_CODE + page * PAGE;
            self.put64(CODE_TABLE + index(address, 12), (CODE_FRAME + page * PAGE) | P | W | U);
        }
        let rights = match apic {
            Apic::Absent => 0,
            Apic::System => APIC_FRAME | P | W,
            Apic::Program => APIC_FRAME | P | W | U,
        };
        self.put64(CODE_TABLE + index(APIC, 12), rights);
        for (page, address) in (0..).zip((DATA..=READ_ONLY).step_by(PAGE as usize)) {
            let present = if address == LAZY && lazy { 0 } else { P };
            let writable = if address == READ_ONLY { 0 } else { W };
            let frame = DATA_FRAME + page * PAGE;
            self.put64(DATA_TABLE + index(address, 12), frame | present | writable | U | NX);
        }
        const { assert!(READ_ONLY == DATA + DATA_SIZE as u64) };
    }
}

/// The lazy page's entry.
const LAZY_ENTRY: u64 = DATA_TABLE + 8 * (LAZY >> 12 & 0x1ff);

/// rel32 of an operand at `target` for an instruction that ends at `next`.
fn relative(target: u64, next: u64) -> [u8; 4] {
    (target.wrapping_sub(next) as u32).to_le_bytes()
}

fn page_fault_handler() -> Vec<u8> {
    let mut code = Vec::new();
    // push rax; mov rax, cr2; sub rax, LAZY
    code.extend([0x50, 0x0f, 0x20, 0xd0, 0x48, 0x2d]);
    code.extend((LAZY as u32).to_le_bytes());
    // cmp rax, 4096; jae other
    code.extend([0x48, 0x3d, 0, 0x10, 0, 0, 0x73, 23]);
    // test byte [entry], 1; jnz other
    let next = HANDLERS + code.len() as u64 + 7;
    code.extend([0xf6, 0x05].into_iter().chain(relative(LAZY_ENTRY, next)).chain([1, 0x75, 14]));
    // or byte [entry], 1
    let next = HANDLERS + code.len() as u64 + 7;
    code.extend([0x80, 0x0d].into_iter().chain(relative(LAZY_ENTRY, next)).chain([1]));
    // pop rax; add rsp, 8; iretq
    code.extend([0x58, 0x48, 0x83, 0xc4, 8, 0x48, 0xcf]);
    // other: pop rax; jmp the stub
    code.push(0x58);
    let next = HANDLERS + code.len() as u64 + 5;
    code.extend([0xe9].into_iter().chain(relative(STUBS + 16 * 14, next)));
    code
}

fn interrupt_handler() -> Vec<u8> {
    let mut code = Vec::new();
    // push rax; push rcx; push rdx; movzx eax, byte [count]
    code.extend([0x50, 0x51, 0x52]);
    let next = INTERRUPT_HANDLER + code.len() as u64 + 7;
    code.extend([0x0f, 0xb6, 0x05].into_iter().chain(relative(LOG_COUNT, next)));
    // lea rcx, [log]
    let next = INTERRUPT_HANDLER + code.len() as u64 + 7;
    code.extend([0x48, 0x8d, 0x0d].into_iter().chain(relative(LOG, next)));
    // mov rdx, [rsp + 24]; mov [rcx + rax * 8], rdx
    code.extend([0x48, 0x8b, 0x54, 0x24, 24, 0x48, 0x89, 0x14, 0xc1]);
    // inc qword [count]
    let next = INTERRUPT_HANDLER + code.len() as u64 + 7;
    code.extend([0x48, 0xff, 0x05].into_iter().chain(relative(LOG_COUNT, next)));
    // mov dword [apic + 0xb0], 0
    code.extend([0xc7, 0x04, 0x25].into_iter().chain((APIC as u32 + 0xb0).to_le_bytes()).chain([0; 4]));
    // pop rdx; pop rcx; pop rax; iretq
    code.extend([0x5a, 0x59, 0x58, 0x48, 0xcf]);
    code
}
