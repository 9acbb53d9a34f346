//! Interpreter or translator: what code is executed with.

/// Size of one vCPU's code cache. What is in use costs memory, the rest does not. When it is full, everything is dropped.
pub const CODE_BYTES: usize = 64 << 20;

/// What executes code.
#[derive(Clone, Copy, Debug)]
pub struct Tiers {
    /// How often a block is interpreted before it is translated; `None` is for ever.
    pub cold_runs: Option<u16>,
    /// Translated code is compared with the interpreter.
    pub lockstep: bool,
    /// One vCPU executes at a time on any host.
    pub in_turn: bool,
    /// Size of one vCPU's code cache in bytes.
    pub code_bytes: usize,
}

impl Tiers {
    /// Everything is interpreted.
    pub const INTERPRETER: Tiers =
        Tiers { cold_runs: None, lockstep: false, in_turn: false, code_bytes: CODE_BYTES };
}
