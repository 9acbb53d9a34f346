//! Cases for a form: an instruction, then registers and memory in which it meets what is special to it.

mod adjust;
mod encode;
mod memory;
mod prefix;
pub mod state;
pub mod value;

use iced_x86::{Code, Instruction};

use crate::case::Case;
use crate::random::Random;

pub use encode::{NOMINAL_RIP, build, decode};

/// A case with its instruction as decoded.
#[derive(Clone, Copy, Debug)]
pub struct Generated {
    /// What is executed.
    pub case: Case,
    /// What it is.
    pub insn: Instruction,
}

/// Makes cases.
#[derive(Default)]
pub struct Generator {
    memory: memory::Aim,
}

/// Times that an instruction is built anew when it cannot be encoded as drawn (AH with REX, for example).
const TRIES: usize = 64;

impl Generator {
    /// A case for `code`; the same `seed` gives the same. `None` if the form cannot be built. `allowed` tells what a
    /// form may turn into by prefixes.
    pub fn generate(&mut self, code: Code, seed: u64, allowed: impl Fn(Code) -> bool) -> Option<Generated> {
        let mut random = Random::new(seed ^ (code as u64) << 40);
        (0..TRIES).find_map(|_| self.attempt(code, &mut random, &allowed))
    }

    fn attempt(
        &mut self,
        code: Code,
        random: &mut Random,
        allowed: &impl Fn(Code) -> bool,
    ) -> Option<Generated> {
        let built = encode::build(code, random)?;
        let (bytes, insn) = prefix::vary(built, random, allowed)?;
        let mut values = value::Values::new(random, &insn);
        let state = state::draw(&mut values, &insn);
        let mut case = Case::new(&state);
        encode::place(&mut case, &bytes, &insn, values.random());
        // What depends on RIP is decoded where it stands.
        let insn = decode(case.insn(), case.state.rip);
        adjust::registers(&mut case, &mut values, &insn);
        self.memory.aim(&mut case, &mut values, &insn);
        adjust::memory(&mut case, &mut values, &insn, &mut self.memory);
        adjust::is_telling(&case, &insn, &mut self.memory).then_some(Generated { case, insn })
    }
}
