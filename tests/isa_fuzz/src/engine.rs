//! The engine's side: a case into the probe, a record out of it.

use iced_x86::{Instruction, Mnemonic};
use soft_engine::probe::Probe;

use crate::case::{Case, Record};
use crate::layout::{CODE, DATA, DATA_SIZE, LINE, PAGE, READ_ONLY, SMALL_DATA, background, code_base};

/// A probe with the same memory as the host's child.
pub struct Engine<'v> {
    probe: Probe<'v>,
    background: Box<[u8; DATA_SIZE + PAGE as usize]>,
    data: Box<[u8; DATA_SIZE]>,
}

impl<'v> Engine<'v> {
    /// Fills the probe's memory.
    pub fn new(mut probe: Probe<'v>) -> Engine<'v> {
        let background = background();
        for (index, page) in background.chunks_exact(PAGE as usize).enumerate() {
            probe.write(DATA + index as u64 * PAGE, page);
        }
        debug_assert_eq!(READ_ONLY, DATA + DATA_SIZE as u64);
        Engine { probe, background, data: Box::new([0; DATA_SIZE]) }
    }

    /// Whether the engine has something for the instruction to do; for some that is to raise #UD.
    pub fn executes(&mut self, case: &Case, insn: &Instruction) -> bool {
        if insn.mnemonic() == Mnemonic::Ud2 || insn.is_invalid() {
            return true;
        }
        self.put_code(CODE, case.code());
        self.probe.executes(CODE)
    }

    /// Executes a case.
    pub fn run(&mut self, case: &Case, record: &mut Record) {
        for line in case.lines() {
            self.probe.write(DATA + u64::from(line.index) * LINE as u64, &line.bytes);
        }
        self.put_code(case.state.rip, case.code());
        match case.bits {
            16 => self.probe.set_small_code(CODE, SMALL_DATA),
            bits => self.probe.set_bits(bits.into()),
        }
        record.state = case.state;
        record.lost = false;
        let base = code_base(case.bits);
        record.state.rip -= base;
        record.outcome = self.probe.step(&mut record.state);
        record.state.rip += base;
        for (index, page) in self.data.chunks_exact_mut(PAGE as usize).enumerate() {
            self.probe.read(DATA + index as u64 * PAGE, page);
        }
        let (probe, background) = (&mut self.probe, &self.background[..DATA_SIZE]);
        record.note_lines(&self.data[..], background, |index| {
            probe.write(DATA + (index * LINE) as u64, &background[index * LINE..][..LINE]);
        });
    }

    fn put_code(&mut self, rip: u64, code: &[u8]) {
        let room = ((CODE + PAGE).saturating_sub(rip) as usize).min(code.len());
        self.probe.write(rip, &code[..room]);
    }
}
