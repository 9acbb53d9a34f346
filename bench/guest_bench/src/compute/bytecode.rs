//! An interpreter of bytecode: a loop around a jump table.

use std::hint::black_box;
use std::io;

use crate::measure::Work;

/// The longest Collatz sequence is looked for up to this number.
const BOUND: i64 = 60;

/// What the machine can do; places are indexes of registers, targets those of instructions.
#[derive(Clone, Copy)]
enum Instruction {
    Set(u8, i64),
    Copy(u8, u8),
    AddConstant(u8, i64),
    TripleAndOne(u8),
    Halve(u8),
    JumpIfOdd(u8, u16),
    JumpIfEqual(u8, i64, u16),
    JumpIfLess(u8, u8, u16),
    Jump(u16),
    Halt,
}

use Instruction::{
    AddConstant, Copy as CopyRegister, Halt, Halve, Jump, JumpIfEqual, JumpIfLess, JumpIfOdd, Set,
    TripleAndOne,
};

const START: u8 = 0;
const VALUE: u8 = 1;
const LENGTH: u8 = 2;
const BEST: u8 = 3;
const WINNER: u8 = 4;

/// Finds the start below the bound from which the sequence is longest.
const PROGRAM: &[Instruction] = &[
    Set(START, 1),
    Set(BEST, 0),
    // 2: the next start
    CopyRegister(VALUE, START),
    Set(LENGTH, 0),
    // 4: the next value
    JumpIfEqual(VALUE, 1, 9),
    AddConstant(LENGTH, 1),
    JumpIfOdd(VALUE, 15),
    Halve(VALUE),
    Jump(4),
    // 9: the sequence has ended
    JumpIfLess(LENGTH, BEST, 12),
    CopyRegister(BEST, LENGTH),
    CopyRegister(WINNER, START),
    // 12: on to the next start
    AddConstant(START, 1),
    JumpIfEqual(START, BOUND, 17),
    Jump(2),
    // 15: triple and one
    TripleAndOne(VALUE),
    Jump(4),
    // 17: done
    Halt,
];

/// Runs the program.
pub fn bytecode() -> io::Result<Work> {
    let instructions = run(PROGRAM).1;
    Work::compute(instructions, || {
        let (registers, instructions) = run(black_box(PROGRAM));
        registers.iter().fold(instructions, |sum, value| sum.rotate_left(9) ^ *value as u64)
    })
}

/// The registers at the end, and how many instructions there were.
fn run(program: &[Instruction]) -> ([i64; 8], u64) {
    let (mut registers, mut at, mut count) = ([0i64; 8], 0usize, 0);
    loop {
        count += 1;
        let instruction = program[at];
        at += 1;
        let register = |place: u8| usize::from(place) % 8;
        match instruction {
            Set(to, value) => registers[register(to)] = value,
            CopyRegister(to, from) => registers[register(to)] = registers[register(from)],
            AddConstant(to, value) => registers[register(to)] += value,
            TripleAndOne(to) => registers[register(to)] = registers[register(to)] * 3 + 1,
            Halve(to) => registers[register(to)] >>= 1,
            JumpIfOdd(of, target) if registers[register(of)] & 1 != 0 => at = usize::from(target),
            JumpIfEqual(of, value, target) if registers[register(of)] == value => at = usize::from(target),
            JumpIfLess(of, than, target) if registers[register(of)] < registers[register(than)] => {
                at = usize::from(target);
            }
            JumpIfOdd(..) | JumpIfEqual(..) | JumpIfLess(..) => {}
            Jump(target) => at = usize::from(target),
            Halt => return (registers, count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_finds_the_longest_sequence() {
        let length = |start: i64| {
            let (mut value, mut length) = (start, 0);
            while value != 1 {
                value = if value % 2 == 0 { value / 2 } else { value * 3 + 1 };
                length += 1;
            }
            length
        };
        let best = (1..BOUND).max_by_key(|start| length(*start)).unwrap();
        let (registers, _) = run(PROGRAM);
        assert_eq!(registers[usize::from(WINNER)], best);
        assert_eq!(registers[usize::from(BEST)], length(best));
    }
}
