//! Blocks: instructions of any form, between them branches, calls, loops with a bound, and stores to code ahead.

use iced_x86::{Instruction, Mnemonic};

use super::assemble::{Label, Piece, assemble, offset_of};
use super::image::{APIC, INTERRUPTS};
use super::ordinary::Drawer;
use super::{Block, Kept};
use crate::case::{Case, Ending, Scope};
use crate::generate::state;
use crate::generate::value::Values;
use crate::layout::{BLOCK_CODE, CODE_ROOM, DATA, DATA_SIZE, INT3, PAGE, background};
use crate::random::Random;

/// Fewest instructions of a block, and how many more there may be.
const FEWEST: u64 = 5;
const MORE: u64 = 16;
/// Times that a block is composed anew when it does not come out.
const TRIES: usize = 64;
/// CF, PF, AF, ZF, SF, OF.
const STATUS: u64 = 0x8d5;
const TF: u64 = 1 << 8;
const IF: u64 = 1 << 9;
const DF: u64 = 1 << 10;
const AC: u64 = 1 << 18;
const STACK_POINTER: usize = 4;

/// Makes blocks.
pub struct Composer {
    drawer: Drawer,
    background: Vec<u8>,
}

/// A loop around the items `first` to `last`, and code that is changed: item `changed` by item `changer`.
#[derive(Clone, Copy)]
struct Shape {
    count: usize,
    first: usize,
    last: usize,
    changer: usize,
    changed: usize,
}

impl Shape {
    fn draw(random: &mut Random) -> Shape {
        let count = (FEWEST + random.below(MORE)) as usize;
        let below = |random: &mut Random| random.below(count as u64) as usize;
        let (a, b, c, d) = (below(random), below(random), below(random), below(random));
        let none = count + 1;
        let (first, last) = if random.chance(60) { (a.min(b), a.max(b)) } else { (none, none) };
        let in_loop = |item: usize| (first..=last).contains(&item) && last < none;
        let (changer, changed) = match random.chance(45) && c != d {
            // What stands before the store is changed for the next turn.
            true if in_loop(c) && in_loop(d) => (c, d),
            true => (c.min(d), c.max(d)),
            false => (none, none),
        };
        Shape { count, first, last, changer, changed }
    }

    fn item(&self, index: usize) -> Label {
        index.min(self.count)
    }

    fn repeat(&self) -> Label {
        self.count + 1
    }

    fn slot(&self) -> Label {
        self.count + 2
    }

    fn routine(&self, number: usize) -> Label {
        self.count + 3 + number
    }
}

/// Subroutines of a block.
const ROUTINES: usize = 2;

impl Composer {
    /// One that draws from `drawer`.
    pub fn new(drawer: Drawer) -> Composer {
        Composer { drawer, background: background().to_vec() }
    }

    /// The block of `seed`.
    pub fn compose(&mut self, seed: u64) -> Option<Block> {
        let mut random = Random::new(seed ^ 0xb10c << 48);
        (0..TRIES).find_map(|_| self.attempt(seed, &mut random))
    }

    fn attempt(&mut self, seed: u64, random: &mut Random) -> Option<Block> {
        let open = random.chance(25);
        let kept = Kept::draw(random);
        let mut body = Body { drawer: &mut self.drawer, random, kept: &kept, open, pieces: Vec::new() };
        let shape = Shape::draw(body.random);
        body.items(shape)?;
        let pieces = body.pieces;
        let len = assemble(&pieces, BLOCK_CODE)?.len();
        if len > CODE_ROOM {
            return None;
        }
        let start = match random.below(10) {
            0..=3 => BLOCK_CODE + PAGE - random.below(len as u64),
            4 => BLOCK_CODE + 2 * PAGE - len as u64,
            _ => BLOCK_CODE + 16 * random.below((2 * PAGE - CODE_ROOM as u64) / 16),
        };
        let bytes = assemble(&pieces, start)?;
        let sample = self.drawer.draw(random, &kept)?;
        let mut case = self.case(random, &kept, &sample);
        case.state.rip = start;
        case.len = offset_of(&pieces, shape.item(shape.count), start)? as u16;
        case.code[..bytes.len()].copy_from_slice(&bytes);
        Some(Block { seed, case, size: bytes.len(), open, settled: kept.settled })
    }

    fn case(&self, random: &mut Random, kept: &Kept, sample: &Instruction) -> Box<Case> {
        let lazy = random.chance(40);
        let mut values = Values::new(random, sample);
        let mut state = state::draw(&mut values, sample);
        for pointer in kept.pointers {
            state.gpr[pointer] = place(values.random());
        }
        state.gpr[STACK_POINTER] = match values.random().below(10) {
            0 => place(values.random()),
            1 => DATA + PAGE + 8 * values.random().below(8),
            _ => DATA + 0x600 + 8 * values.random().below(64),
        };
        state.gpr[kept.index] = values.random().below(96);
        state.gpr[kept.counter] = 1 + values.random().below(4);
        for base in [&mut state.fs_base, &mut state.gs_base] {
            if values.random().chance(75) {
                *base = values.random().below(64);
            }
        }
        let mut case = Box::new(Case::new(&state));
        (case.ending, case.scope) = (Ending::Breakpoint, Scope::Block { lazy });
        for pointer in kept.pointers {
            let bytes: [u8; 128] = values.bytes();
            case.poke(&self.background, state.gpr[pointer], &bytes);
        }
        case
    }
}

/// Where a pointer leads.
fn place(random: &mut Random) -> u64 {
    let size = DATA_SIZE as u64;
    match random.below(100) {
        0..=9 => DATA + PAGE - random.below(48),
        10..=13 => DATA + size - random.below(48),
        14 => DATA + size + random.below(PAGE - 64),
        15 => DATA - random.below(64),
        16..=39 => DATA + 64 + random.below(size - 256),
        _ => DATA + 64 * (1 + random.below(size / 64 - 4)),
    }
}

/// A block in the making.
struct Body<'a> {
    drawer: &'a mut Drawer,
    random: &'a mut Random,
    kept: &'a Kept,
    open: bool,
    pieces: Vec<Piece>,
}

impl Body<'_> {
    fn items(&mut self, shape: Shape) -> Option<()> {
        for index in 0..shape.count {
            if index == shape.first {
                self.pieces.push(Piece::Here(shape.repeat()));
            }
            self.pieces.push(Piece::Here(shape.item(index)));
            match index {
                _ if index == shape.changer => self.change(shape)?,
                _ if index == shape.changed => self.slot(shape)?,
                _ => self.item(shape, index)?,
            }
            if index == shape.last {
                // sub counter, 1; jnz
                let counter = self.kept.counter as u8;
                self.bytes(&[0x48 | counter >> 3, 0x83, 0xe8 | counter & 7, 1]);
                self.pieces.push(Piece::Near(vec![0x0f, 0x85], shape.repeat(), Vec::new()));
            }
        }
        self.pieces.push(Piece::Here(shape.item(shape.count)));
        self.bytes(&[INT3]);
        for number in 0..ROUTINES {
            self.pieces.push(Piece::Here(shape.routine(number)));
            self.ordinary()?;
            let back: &[u8] = if self.random.chance(85) { &[0xc3] } else { &[0xc2, 8, 0] };
            self.bytes(back);
        }
        Some(())
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.pieces.push(Piece::Bytes(bytes.to_vec()));
    }

    fn ordinary(&mut self) -> Option<()> {
        let insn = self.drawer.draw(self.random, self.kept)?;
        if insn.is_string_instruction() && (insn.has_rep_prefix() || insn.has_repne_prefix()) {
            let most = if self.random.chance(5) { 300 } else { 12 };
            let count = self.random.below(most) as u32;
            // mov ecx, count
            self.bytes(&[&[0xb9][..], &count.to_le_bytes()].concat());
        }
        // For the host none is drawn: divisions leave flags open.
        if matches!(insn.mnemonic(), Mnemonic::Div | Mnemonic::Idiv) && self.random.chance(85) {
            self.divide();
        } else {
            self.pieces.push(Piece::Insn(insn));
        }
        Some(())
    }

    /// A division whose quotient fits most of the time: of a small dividend, by a register with an address in it.
    fn divide(&mut self) {
        let divisor = self.random.pick(&self.kept.pointers) as u8;
        let wide = self.random.chance(60);
        let signed = self.random.chance(50);
        // xor edx, edx, or cdq and cqo; div or idiv
        match (signed, wide) {
            (false, _) => self.bytes(&[0x31, 0xd2]),
            (true, false) => self.bytes(&[0x99]),
            (true, true) => self.bytes(&[0x48, 0x99]),
        }
        let modrm = 0xf0 | u8::from(signed) << 3 | divisor & 7;
        self.bytes(&[0x40 | u8::from(wide) << 3 | divisor >> 3, 0xf7, modrm]);
    }

    fn item(&mut self, shape: Shape, index: usize) -> Option<()> {
        let ahead = shape.item(index + 1 + self.random.below(4) as usize);
        let routine = shape.routine(self.random.below(ROUTINES as u64) as usize);
        match self.random.below(100) {
            0..=7 => {
                let condition = self.random.below(16) as u8;
                self.pieces.push(if self.random.chance(50) {
                    Piece::Short(vec![0x70 | condition], ahead)
                } else {
                    Piece::Near(vec![0x0f, 0x80 | condition], ahead, Vec::new())
                });
            }
            8 => self.pieces.push(Piece::Short(vec![0xeb], ahead)),
            9 => self.pieces.push(Piece::Near(vec![0xe9], ahead, Vec::new())),
            10 => {
                let opcode = self.random.pick(&[0xe0, 0xe1, 0xe2, 0xe3]);
                self.pieces.push(Piece::Short(vec![opcode], ahead));
            }
            11..=14 => self.pieces.push(Piece::Near(vec![0xe8], routine, Vec::new())),
            15..=16 => self.indirect(ahead, 4),
            17..=18 => self.indirect(routine, 2),
            19..=20 => self.flags(),
            21..=27 if self.open => self.interrupts(),
            _ => self.ordinary()?,
        }
        Some(())
    }

    /// A jump (4) or call (2) to an address in a register or in memory.
    fn indirect(&mut self, target: Label, extension: u8) {
        let register = self.kept.free(self.random) as u8;
        let rex = 0x48 | register >> 3 << 2;
        // lea register, [target]
        self.pieces.push(Piece::Near(vec![rex, 0x8d, 5 | (register & 7) << 3], target, Vec::new()));
        if self.random.chance(50) {
            self.bytes(&[0x40 | register >> 3, 0xff, 0xc0 | extension << 3 | register & 7]);
            return;
        }
        // mov [rsi + 32], register; jmp or call [rsi + 32]
        self.bytes(&[rex, 0x89, 0x46 | (register & 7) << 3, 32]);
        self.bytes(&[0xff, 0x46 | extension << 3, 32]);
    }

    /// push flags; popfq
    fn flags(&mut self) {
        let mut flags = 2 | self.random.word() & STATUS;
        let interrupts = if self.random.chance(50) || !self.open { IF } else { 0 };
        flags |= interrupts;
        for (flag, percent) in [(DF, 10), (AC, 3), (TF, if self.open { 2 } else { 0 })] {
            flags |= if self.random.chance(percent) { flag } else { 0 };
        }
        self.bytes(&[&[0x68][..], &(flags as u32).to_le_bytes(), &[0x9d]].concat());
    }

    fn interrupts(&mut self) {
        match self.random.below(10) {
            0..=1 => self.bytes(&[0xfa]),
            2..=3 => self.bytes(&[0xfb]),
            4 => self.bytes(&[0xfb, 0xfa]),
            _ => {
                // mov dword [apic + 0x300], an interrupt to itself (SDM vol. 3, 11.6.1)
                let command = 0x4_4000 | u32::from(INTERRUPTS) | self.random.below(16) as u32;
                let register = APIC as u32 + 0x300;
                let bytes = [&[0xc7, 0x04, 0x25][..], &register.to_le_bytes(), &command.to_le_bytes()];
                self.bytes(&bytes.concat());
            }
        }
    }

    /// Four bytes that are changed.
    fn slot(&mut self, shape: Shape) -> Option<()> {
        self.pieces.push(Piece::Here(shape.slot()));
        let bytes = self.four_bytes()?;
        self.bytes(&bytes);
        Some(())
    }

    /// The store that changes them.
    fn change(&mut self, shape: Shape) -> Option<()> {
        let bytes = self.four_bytes()?;
        if self.random.chance(50) {
            // mov dword [slot], bytes
            self.pieces.push(Piece::Near(vec![0xc7, 0x05], shape.slot(), bytes.to_vec()));
            return Some(());
        }
        // mov register, bytes; mov [slot], register
        let register = self.kept.free(self.random) as u8;
        let rex = 0x40 | register >> 3;
        self.bytes(&[&[rex, 0xb8 | register & 7][..], &bytes].concat());
        let store = vec![0x40 | register >> 3 << 2, 0x89, 5 | (register & 7) << 3];
        self.pieces.push(Piece::Near(store, shape.slot(), Vec::new()));
        Some(())
    }

    /// An instruction and what is left of four bytes.
    fn four_bytes(&mut self) -> Option<[u8; 4]> {
        (0..40).find_map(|_| {
            let insn = self.drawer.draw(self.random, self.kept)?;
            let repeats = insn.has_rep_prefix() || insn.has_repne_prefix();
            let encoded = assemble(&[Piece::Insn(insn)], BLOCK_CODE)?;
            if encoded.len() > 4 || repeats {
                return None;
            }
            let mut bytes = [0x90; 4];
            bytes[..encoded.len()].copy_from_slice(&encoded);
            Some(bytes)
        })
    }
}
