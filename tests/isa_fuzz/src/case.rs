//! One case, and what became of it: plain data that parent and child share.

use soft_engine::probe::{Outcome, UserState};

use crate::layout::{CODE_ROOM, DATA, DATA_SIZE, LINE};

/// Lines of memory that a case can set.
pub const INPUT_LINES: usize = 18;
/// An instruction and an INT3.
const INSN_ROOM: usize = 16;
/// Changed lines that a record can hold.
pub const OUTPUT_LINES: usize = 32;

/// 64 bytes of the writable data.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which.
    pub index: u16,
    /// Contents.
    pub bytes: [u8; LINE],
}

impl Line {
    const EMPTY: Line = Line { index: 0, bytes: [0; LINE] };
}

/// How control comes back after an instruction that raises nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By single step.
    Step,
    /// By INT3 behind it: for instructions that repeat, and those that show the trap flag.
    Breakpoint,
}

/// What is executed.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One instruction in the page of code that cannot be written.
    Instruction,
    /// A block in the pages of code that can.
    Block {
        /// The second page of data is not there before it is touched.
        lazy: bool,
    },
}

/// One instruction, or a block of them, and all that it can see.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Registers; RIP is where the instruction is.
    pub state: UserState,
    /// The instruction or the block, then INT3.
    pub code: [u8; CODE_ROOM],
    /// Length of the instruction or the block in bytes; a block's subroutines stand behind that.
    pub len: u16,
    /// What is executed.
    pub scope: Scope,
    /// How it ends.
    pub ending: Ending,
    /// 64-bit mode, or compatibility mode with code of 32 or 16 bits; RIP in `state` is a linear address in all.
    pub bits: u8,
    /// How many of `lines` count.
    pub line_count: u8,
    /// Memory that differs from the background.
    pub lines: [Line; INPUT_LINES],
}

impl Case {
    /// A case with no memory of its own.
    pub fn new(state: &UserState) -> Case {
        Case {
            state: *state,
            code: [0xcc; CODE_ROOM],
            len: 0,
            scope: Scope::Instruction,
            ending: Ending::Step,
            bits: 64,
            line_count: 0,
            lines: [Line::EMPTY; INPUT_LINES],
        }
    }

    /// The lines that count.
    pub fn lines(&self) -> &[Line] {
        &self.lines[..usize::from(self.line_count)]
    }

    /// What is put where RIP is.
    pub fn code(&self) -> &[u8] {
        match self.scope {
            Scope::Instruction => &self.code[..INSN_ROOM],
            Scope::Block { .. } => &self.code,
        }
    }

    /// The instruction's bytes.
    pub fn insn(&self) -> &[u8] {
        &self.code[..usize::from(self.len)]
    }

    /// Puts `bytes` at a linear address; what is not writable data, or too much, is left out.
    pub fn poke(&mut self, background: &[u8], address: u64, bytes: &[u8]) {
        for (offset, byte) in bytes.iter().enumerate() {
            let at = address.wrapping_add(offset as u64).wrapping_sub(DATA) as usize;
            if at >= DATA_SIZE {
                continue;
            }
            let index = (at / LINE) as u16;
            let count = usize::from(self.line_count);
            let found = self.lines[..count].iter().position(|line| line.index == index);
            let Some(place) = found.or((count < INPUT_LINES).then_some(count)) else { return };
            if place == count {
                let start = usize::from(index) * LINE;
                self.lines[count].index = index;
                self.lines[count].bytes.copy_from_slice(&background[start..start + LINE]);
                self.line_count += 1;
            }
            self.lines[place].bytes[at % LINE] = *byte;
        }
    }
}

/// What a processor made of a case.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Registers afterwards.
    pub state: UserState,
    /// How it ended.
    pub outcome: Outcome,
    /// The child that executed it did not survive, or could not tell.
    pub lost: bool,
    /// How many of `lines` count.
    pub line_count: u8,
    /// More lines than fit had changed.
    pub overflow: bool,
    /// Where a block's code was, what is there afterwards.
    pub code: [u8; CODE_ROOM],
    /// Lines that differ from the background.
    pub lines: [Line; OUTPUT_LINES],
}

impl Record {
    /// A record to be filled in.
    pub fn new(state: &UserState) -> Record {
        Record {
            state: *state,
            outcome: Outcome::Done,
            lost: false,
            line_count: 0,
            overflow: false,
            code: [0; CODE_ROOM],
            lines: [Line::EMPTY; OUTPUT_LINES],
        }
    }

    /// The lines that count.
    pub fn lines(&self) -> &[Line] {
        &self.lines[..usize::from(self.line_count)]
    }

    /// Notes the lines of `data` that differ from `background`; tells `restore` about each.
    pub fn note_lines(&mut self, data: &[u8], background: &[u8], mut restore: impl FnMut(usize)) {
        (self.line_count, self.overflow) = (0, false);
        let pairs = data.chunks_exact(LINE).zip(background.chunks_exact(LINE));
        for (index, (now, before)) in pairs.enumerate() {
            if now == before {
                continue;
            }
            let count = usize::from(self.line_count);
            match self.lines.get_mut(count) {
                Some(line) => {
                    line.index = index as u16;
                    line.bytes.copy_from_slice(now);
                    self.line_count += 1;
                }
                None => self.overflow = true,
            }
            restore(index);
        }
    }
}
