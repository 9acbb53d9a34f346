//! Differential fuzzing of blocks: 5 to 20 instructions in 64-bit mode, with loops, calls, faults in mid-block, pages
//! that come when they are touched, stores to their own code, and interrupts to themselves.
//!
//! ```text
//!                     ┌─► machine, interpreter ─► ending ─┬─ all registers and all of RAM ─┐
//!  compose ─► block ──┼─► machine, translator ──► ending ─┘                                ├─► differences
//!                     └─► host (a forked child) ► record ─── what programs see ────────────┘
//! ```
//!
//! Blocks that work with interrupts, or with what manuals leave open, are not for the host. Some blocks are executed once more while another thread sends
//! interrupts ([`storm`]), which a program must not notice.

mod assemble;
mod compare;
mod compose;
mod image;
mod machine;
mod ordinary;
mod run;
mod storm;

use crate::case::Case;
use crate::random::Random;

pub use run::{Plan, Summary, run};

/// Registers on which addresses and loops depend.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// They lead to data; RSI and RDI are among them.
    pub pointers: [usize; 4],
    /// A small number.
    pub index: usize,
    /// Turns of the loop that are left.
    pub counter: usize,
    /// Nothing in the block is left open by manuals, but for AF and the x87 conditions: the host can execute it, too.
    pub settled: bool,
}

impl Kept {
    fn draw(random: &mut Random) -> Kept {
        let mut others = [3, 5, 8, 9, 10, 11, 12, 13, 14, 15];
        for at in (1..others.len()).rev() {
            others.swap(at, random.below(at as u64 + 1) as usize);
        }
        Kept {
            pointers: [6, 7, others[0], others[1]],
            index: others[2],
            counter: others[3],
            settled: random.chance(50),
        }
    }

    /// Whether `register` is one of them, or the stack pointer.
    pub fn has(&self, register: usize) -> bool {
        register == 4 || self.pointers.contains(&register) || [self.index, self.counter].contains(&register)
    }

    /// Another one.
    fn free(&self, random: &mut Random) -> usize {
        loop {
            let register = random.below(16) as usize;
            if !self.has(register) {
                return register;
            }
        }
    }
}

/// A block and all that it can see.
pub struct Block {
    /// The seed that makes it again.
    pub seed: u64,
    /// Registers, code, memory.
    pub case: Box<Case>,
    /// Bytes of code, subroutines included.
    pub size: usize,
    /// It works with interrupts.
    pub open: bool,
    /// Every processor makes the same of it, but for AF and the x87 conditions.
    pub settled: bool,
}
