//! PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (SDM vol. 2B, 4.1: imm8 control byte operation).

use iced_x86::Mnemonic;

use super::access::{self, Encoding, narrow};
use super::lanes::{Xmm, bytes, from_bytes, from_words, words};
use crate::cpu::{Core, Exec, flags, gpr};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;

/// Most elements that a vector holds.
const MOST: usize = 16;

/// The handler that finds lengths and gives its answer by these functions, for the encoding `E`.
macro_rules! compare {
    ($form:expr, $lengths:expr, $answer:expr) => {
        narrow!($form, E, |core, insn| compare::<E>(core, insn, $lengths, $answer))
    };
}

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Pcmpistri | Mnemonic::Vpcmpistri => compare!(form, implicit_lengths, answer_index),
        Mnemonic::Pcmpistrm | Mnemonic::Vpcmpistrm => compare!(form, implicit_lengths, answer_mask::<E>),
        Mnemonic::Pcmpestri | Mnemonic::Vpcmpestri => compare!(form, explicit_lengths::<i32>, answer_index),
        Mnemonic::Pcmpestrm | Mnemonic::Vpcmpestrm => {
            compare!(form, explicit_lengths::<i32>, answer_mask::<E>)
        }
        Mnemonic::Pcmpestri64 | Mnemonic::Vpcmpestri64 => {
            compare!(form, explicit_lengths::<i64>, answer_index)
        }
        Mnemonic::Pcmpestrm64 | Mnemonic::Vpcmpestrm64 => {
            compare!(form, explicit_lengths::<i64>, answer_mask::<E>)
        }
        _ => None,
    }
}

/// What the immediate byte asks for.
#[derive(Clone, Copy)]
struct Control(u8);

impl Control {
    fn has_words(self) -> bool {
        self.0 & 1 != 0
    }

    fn is_signed(self) -> bool {
        self.0 & 2 != 0
    }

    fn elements(self) -> usize {
        if self.has_words() { 8 } else { MOST }
    }
}

/// Elements, and how many of them are valid.
#[derive(Clone, Copy)]
struct Text {
    elements: [i32; MOST],
    len: usize,
}

#[inline(always)]
fn compare<E: Encoding<V = Xmm>>(
    core: &mut Core<'_>,
    insn: &Insn,
    lengths: impl Fn(&Core<'_>, &mut [Text; 2], usize),
    answer: impl Fn(&mut Core<'_>, Control, u32),
) -> Exec {
    E::check(core)?;
    let control = Control(insn.imm as u8);
    let second = access::unaligned_source(core, insn, 1)?;
    let first = E::get(core, insn.ops[0].register);
    let mut texts = [first, second].map(|value| text(value, control));
    let count = control.elements();
    lengths(core, &mut texts, count);
    let [set, examined] = &texts;
    let result = matches(set, examined, control);
    answer(core, control, result);
    let flag = |on: bool, flag: u64| if on { flag } else { 0 };
    core.flags.set_status(
        flag(result != 0, flags::CF)
            | flag(examined.len < count, flags::ZF)
            | flag(set.len < count, flags::SF)
            | flag(result & 1 != 0, flags::OF),
    );
    Ok(())
}

fn text(value: Xmm, control: Control) -> Text {
    let mut elements = [0; MOST];
    if control.has_words() {
        for (element, word) in elements.iter_mut().zip(words(value)) {
            *element = if control.is_signed() { i32::from(word as i16) } else { word.into() };
        }
    } else {
        for (element, byte) in elements.iter_mut().zip(bytes(value)) {
            *element = if control.is_signed() { i32::from(byte as i8) } else { byte.into() };
        }
    }
    Text { elements, len: 0 }
}

/// A text ends before its first zero.
fn implicit_lengths(_core: &Core<'_>, texts: &mut [Text; 2], count: usize) {
    for text in texts {
        text.len = text.elements[..count].iter().position(|element| *element == 0).unwrap_or(count);
    }
}

/// Lengths are the magnitudes of (R)AX and (R)DX, at most all elements.
fn explicit_lengths<T: Length>(core: &Core<'_>, texts: &mut [Text; 2], count: usize) {
    for (text, register) in texts.iter_mut().zip([gpr::RAX, gpr::RDX]) {
        text.len = T::magnitude(core.get_reg(register)).min(count as u64) as usize;
    }
}

/// The width in which explicit lengths are given.
trait Length {
    fn magnitude(register: u64) -> u64;
}

impl Length for i32 {
    fn magnitude(register: u64) -> u64 {
        (register as i32).unsigned_abs().into()
    }
}

impl Length for i64 {
    fn magnitude(register: u64) -> u64 {
        (register as i64).unsigned_abs()
    }
}

/// A bit for each element of `examined`: aggregation and polarity.
fn matches(set: &Text, examined: &Text, control: Control) -> u32 {
    let count = control.elements();
    let is_match = |index: usize| match control.0 >> 2 & 3 {
        0 => is_any(set, examined, index),
        1 => is_in_range(set, examined, index),
        2 => is_same(set, examined, index),
        _ => is_start(set, examined, index, count),
    };
    let found = (0..count).filter(|index| is_match(*index)).fold(0, |mask, index| mask | 1u32 << index);
    let all = (1u32 << count) - 1;
    match control.0 >> 4 & 3 {
        1 => !found & all,
        3 => found ^ ((1u32 << examined.len) - 1),
        _ => found,
    }
}

/// Equal any: the element is one of the set.
fn is_any(set: &Text, examined: &Text, index: usize) -> bool {
    index < examined.len && set.elements[..set.len].contains(&examined.elements[index])
}

/// Ranges: the element is between the bounds of a pair.
fn is_in_range(set: &Text, examined: &Text, index: usize) -> bool {
    let element = examined.elements[index];
    let mut bounds = set.elements[..set.len].chunks_exact(2);
    index < examined.len && bounds.any(|bounds| bounds[0] <= element && element <= bounds[1])
}

/// Equal each: the elements at the same place are equal, or neither is valid.
fn is_same(set: &Text, examined: &Text, index: usize) -> bool {
    match (index < set.len, index < examined.len) {
        (true, true) => set.elements[index] == examined.elements[index],
        (false, false) => true,
        _ => false,
    }
}

/// Equal ordered: the whole set stands at this place, as far as the vector reaches.
fn is_start(set: &Text, examined: &Text, index: usize, count: usize) -> bool {
    (0..set.len.min(count - index)).all(|offset| {
        index + offset < examined.len && set.elements[offset] == examined.elements[index + offset]
    })
}

/// ECX becomes the index of the lowest or highest match, or the number of elements.
fn answer_index(core: &mut Core<'_>, control: Control, result: u32) {
    let index = match (result, control.0 & 0x40 != 0) {
        (0, _) => control.elements() as u32,
        (result, true) => result.ilog2(),
        (result, false) => result.trailing_zeros(),
    };
    core.set_reg(gpr::RCX, u64::from(index));
}

/// XMM0 becomes the bits, or masks of whole elements.
fn answer_mask<E: Encoding<V = Xmm>>(core: &mut Core<'_>, control: Control, result: u32) {
    let value = match (control.0 & 0x40 != 0, control.has_words()) {
        (false, _) => [u64::from(result), 0],
        (true, true) => from_words(std::array::from_fn(|lane| ((result >> lane & 1) as u16).wrapping_neg())),
        (true, false) => from_bytes(std::array::from_fn(|lane| ((result >> lane & 1) as u8).wrapping_neg())),
    };
    E::set(core, 0, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made_of(elements: &str, control: u8) -> Text {
        let mut padded = [0; 16];
        padded[..elements.len()].copy_from_slice(elements.as_bytes());
        let control = Control(control);
        let mut texts = [text(from_bytes(padded), control); 2];
        for text in &mut texts {
            text.len = elements.len().min(control.elements());
        }
        texts[0]
    }

    fn found(set: &str, examined: &str, control: u8) -> u32 {
        matches(&made_of(set, control), &made_of(examined, control), Control(control))
    }

    #[test]
    fn any_and_ranges_look_at_valid_elements_only() {
        assert_eq!(found("lo", "hello world", 0), 0b010_1001_1100);
        assert_eq!(found("azAZ", "a-B c", 0b0100), 0b1_0101);
        // A lower bound without an upper one is no range.
        assert_eq!(found("azA", "aB", 0b0100), 1);
        assert_eq!(found("", "abc", 0), 0);
    }

    #[test]
    fn equal_each_counts_what_neither_has() {
        assert_eq!(found("abc", "abd", 0b1000), 0xfffb);
        assert_eq!(found("ab", "abc", 0b1000), 0xfffb);
    }

    #[test]
    fn ordered_finds_a_text_that_runs_over_the_end() {
        assert_eq!(found("ab", "ab..ab.........a", 0b1100), 1 | 1 << 4 | 1 << 15);
        // The empty text is everywhere.
        assert_eq!(found("", "abc", 0b1100), 0xffff);
        // Behind the end of the examined text it is not found.
        assert_eq!(found("ab", "aba", 0b1100), 1);
    }

    #[test]
    fn polarity_turns_all_or_the_valid_ones() {
        assert_eq!(found("b", "abc", 0b01_0000), 0xfffd);
        assert_eq!(found("b", "abc", 0b11_0000), 0b101);
    }

    #[test]
    fn signs_count_in_ranges() {
        let examined = Text { elements: [-3; MOST], len: 1 };
        let mut set = Text { elements: [0; MOST], len: 2 };
        (set.elements[0], set.elements[1]) = (-5, 1);
        assert_eq!(matches(&set, &examined, Control(0b0110)), 1);
    }

    #[test]
    fn lengths_are_magnitudes() {
        assert_eq!(i32::magnitude(0xffff_ffff_8000_0000), 1 << 31);
        assert_eq!(i64::magnitude(-7i64 as u64), 7);
    }
}
