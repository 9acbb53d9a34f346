//! What a guest came to, and what it should have come to.

use arch_model::x86_64::CpuState;
use vcpu_model::Halt;

use crate::guest::Guest;
use crate::layout::DONE;

/// How a guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The handler of a vector was entered.
    Event(u8),
    /// The vCPU stopped.
    Halt(Halt),
    /// Nothing happened for longer than any case takes.
    Silence,
}

/// The stack frame of a handler (SDM vol. 3, 6.12.1 and 6.14.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the manual's")]
pub struct Frame {
    pub rip: u64,
    pub cs: u16,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u16,
}

/// What a guest came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// Error code in the frame.
    pub error: Option<u32>,
    /// The frame.
    pub frame: Frame,
    /// Registers in the handler.
    pub state: CpuState,
    /// RAM.
    pub ram: Vec<u8>,
}

impl Outcome {
    /// Eight bytes of RAM; zero outside.
    pub fn memory(&self, at: u64) -> u64 {
        let bytes = usize::try_from(at).ok().and_then(|at| self.ram.get(at..at + 8));
        bytes.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
    }
}

/// One value that counts.
#[derive(Clone, Copy)]
enum Check {
    Value { what: &'static str, get: fn(&Outcome) -> u64, value: u64 },
    Memory { at: u64, mask: u64, value: u64 },
}

/// What the manual says comes out.
#[derive(Clone)]
pub struct Expect {
    end: End,
    error: Option<u32>,
    is_error_open: bool,
    checks: Vec<Check>,
}

impl Expect {
    /// The code comes to its end.
    pub fn done() -> Expect {
        Expect { end: End::Event(DONE), error: None, is_error_open: false, checks: Vec::new() }
    }

    /// An event without an error code.
    pub fn event(vector: u8) -> Expect {
        Expect { end: End::Event(vector), ..Expect::done() }
    }

    /// A fault of `guest`'s first instruction. `error` counts for vectors that have one.
    pub fn fault(guest: &Guest, vector: u8, error: u32) -> Expect {
        Expect::fault_at(vector, error, guest.start)
    }

    /// A fault with RIP in its frame.
    pub fn fault_at(vector: u8, error: u32, rip: u64) -> Expect {
        let error = crate::guest::has_error_code(vector).then_some(error);
        Expect { error, ..Expect::event(vector) }.rip(rip)
    }

    /// The error code on the handler's stack, where no frame is below it.
    pub fn error(self, error: u32) -> Expect {
        Expect { error: Some(error), ..self }
    }

    /// An error code that is not looked at.
    pub fn any_error(self) -> Expect {
        Expect { error: None, is_error_open: true, ..self }
    }

    /// The vCPU stops.
    pub fn halt(halt: Halt) -> Expect {
        Expect { end: End::Halt(halt), ..Expect::done() }
    }

    /// RIP in the frame.
    pub fn rip(self, value: u64) -> Expect {
        self.value("frame's rip", |outcome| outcome.frame.rip, value)
    }

    /// CR2.
    pub fn cr2(self, value: u64) -> Expect {
        self.value("cr2", |outcome| outcome.state.system.cr2, value)
    }

    /// CS in the frame.
    pub fn cs(self, value: u16) -> Expect {
        self.value("frame's cs", |outcome| outcome.frame.cs.into(), value.into())
    }

    /// SS in the frame.
    pub fn ss(self, value: u16) -> Expect {
        self.value("frame's ss", |outcome| outcome.frame.ss.into(), value.into())
    }

    /// RSP in the frame.
    pub fn rsp(self, value: u64) -> Expect {
        self.value("frame's rsp", |outcome| outcome.frame.rsp, value)
    }

    /// RAX.
    pub fn rax(self, value: u64) -> Expect {
        self.value("rax", |outcome| outcome.state.registers.rax, value)
    }

    /// Anything else.
    pub fn value(mut self, what: &'static str, get: fn(&Outcome) -> u64, value: u64) -> Expect {
        self.checks.push(Check::Value { what, get, value });
        self
    }

    /// Bits under `mask` of eight bytes of RAM.
    pub fn memory(mut self, at: u64, mask: u64, value: u64) -> Expect {
        self.checks.push(Check::Memory { at, mask, value });
        self
    }

    /// Everything in which `outcome` differs; empty if nothing does.
    pub fn differences(&self, outcome: &Outcome) -> Vec<String> {
        let error_differs = !self.is_error_open && self.error != outcome.error;
        if self.end != outcome.end || error_differs {
            let Outcome { end, error, frame, state, .. } = outcome;
            return vec![format!(
                "{:?} {:x?} expected, {end:?} {error:x?} came (frame's rip {:#x}, cr2 {:#x})",
                self.end, self.error, frame.rip, state.system.cr2
            )];
        }
        self.checks.iter().filter_map(|check| check.difference(outcome)).collect()
    }
}

impl Check {
    fn difference(self, outcome: &Outcome) -> Option<String> {
        let (what, found, value) = match self {
            Check::Value { what, get, value } => (what.to_owned(), get(outcome), value),
            Check::Memory { at, mask, value } => {
                (format!("memory at {at:#x}"), outcome.memory(at) & mask, value & mask)
            }
        };
        (found != value).then(|| format!("{what}: {value:#x} expected, {found:#x} found"))
    }
}
