//! What differs between two endings of a block.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction};
use soft_engine::probe::UserState;

use super::Block;
use super::machine::Ending;
use crate::case::Record;
use crate::compare;
use crate::layout::{DATA_SIZE, LINE};
use crate::tolerance;

/// Differences in RAM that are told.
const SHOWN: usize = 8;
/// What the host's signals lose.
const LOST: [&str; 3] = ["x87 opcode", "x87 instruction pointer", "x87 data pointer"];

/// Everything in which the translator's ending is not the interpreter's.
pub fn tiers(interpreter: &Ending, translator: &Ending) -> Vec<String> {
    let mut found = Vec::new();
    let (a, b) = (&interpreter.state, &translator.state);
    let mut note = |what: &str, a: String, b: String| {
        if a != b {
            found.push(format!("{what}: interpreter {a}, translator {b}"));
        }
    };
    note("registers", format!("{:x?}", a.registers), format!("{:x?}", b.registers));
    note("system registers", format!("{:x?}", a.system), format!("{:x?}", b.system));
    note("x87, vectors", hex(&a.extended.xsave), hex(&b.extended.xsave));
    note("debug registers", format!("{:x?}", a.debug), format!("{:x?}", b.debug));
    note("MSRs", format!("{:x?}", a.msrs), format!("{:x?}", b.msrs));
    note("local APIC", format!("{:x?}", a.lapic), format!("{:x?}", b.lapic));
    note("events", format!("{:?} {:?}", a.events, a.run_state), format!("{:?} {:?}", b.events, b.run_state));
    let words = interpreter.ram.chunks_exact(8).zip(translator.ram.chunks_exact(8)).enumerate();
    for (index, (a, b)) in words.filter(|(_, (a, b))| a != b).take(SHOWN) {
        note(&format!("RAM at {:#x}", 8 * index), hex(a), hex(b));
    }
    found
}

/// Everything that a program sees to be different.
pub fn programs(calm: &Record, stormy: &Record) -> Vec<String> {
    let (a, b) = (&calm.state, &stormy.state);
    let mut found = Vec::new();
    let mut note = |what: &str, a: String, b: String| {
        if a != b {
            found.push(format!("{what}: without {a}, with {b}"));
        }
    };
    note("outcome", format!("{:x?}", calm.outcome), format!("{:x?}", stormy.outcome));
    note("registers", format!("{:x?}", a.gpr), format!("{:x?}", b.gpr));
    let others = |state: &UserState| [state.rip, state.rflags, state.fs_base, state.gs_base];
    note("rip, rflags, bases", format!("{:x?}", others(a)), format!("{:x?}", others(b)));
    note("x87, vectors", hex(&a.fxsave), hex(&b.fxsave));
    note("vectors", hex(a.ymm_high.as_flattened()), hex(b.ymm_high.as_flattened()));
    note("memory", format!("{:x?}", calm.lines()), format!("{:x?}", stormy.lines()));
    note("code", hex(&calm.code), hex(&stormy.code));
    found
}

/// What a program sees of `ending`.
pub fn record(block: &Block, ending: &Ending, background: &[u8]) -> Record {
    let mut record = Record::new(&block.case.state);
    (record.outcome, record.state) = ending.outcome(&block.case);
    record.note_lines(ending.data(DATA_SIZE), &background[..DATA_SIZE], |_line| {});
    let code = ending.code(&block.case);
    record.code[..code.len()].copy_from_slice(code);
    record
}

/// Everything in which the engine's ending is not the host's. Where more memory has changed than a record holds,
/// nothing can be said; x87 pointers do not outlive the host's signals (AMD's FXSAVE stores them only while an exception
/// is pending).
pub fn host(block: &Block, host: &Record, engine: &Record) -> Vec<String> {
    let (mut host, mut engine) = (*host, *engine);
    tolerance::drop_unsettled(&mut host.state);
    tolerance::drop_unsettled(&mut engine.state);
    if host.overflow || engine.overflow {
        return Vec::new();
    }
    let found = compare::differences(&block.case, &stopped_at(block, &engine), &host, &engine);
    let counts = found.iter().filter(|difference| !LOST.contains(&difference.place.as_str()));
    let mut found: Vec<String> = counts.map(ToString::to_string).collect();
    for (index, (a, b)) in host.code.chunks(LINE).zip(engine.code.chunks(LINE)).enumerate() {
        if a != b {
            found.push(format!("code at {:#x}: host {}, engine {}", index * LINE, hex(a), hex(b)));
        }
    }
    found
}

/// The CMPS that the program ends at, as its operands may fault in any order; else an instruction without tolerances.
fn stopped_at(block: &Block, ending: &Record) -> Instruction {
    let rip = ending.state.rip;
    let start = rip.wrapping_sub(block.case.state.rip) as usize;
    let code = ending.code.get(start..).unwrap_or_default();
    let insn = Decoder::with_ip(64, code, rip, DecoderOptions::NONE).decode();
    if tolerance::is_cmps(&insn) {
        return insn;
    }
    let mut none = Instruction::default();
    none.set_code(Code::Nopd);
    none
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect()
}
