//! From pieces with labels to bytes at a place.

use iced_x86::{Encoder, Instruction};

/// A place in a block.
pub type Label = usize;

/// A piece of a block.
#[derive(Clone, Debug)]
pub enum Piece {
    /// An instruction. What it addresses relative to RIP is an address.
    Insn(Instruction),
    /// Bytes as they are.
    Bytes(Vec<u8>),
    /// The label's place is here.
    Here(Label),
    /// An opcode, then rel8 to the label.
    Short(Vec<u8>, Label),
    /// An opcode, then rel32 to the label, and bytes behind that.
    Near(Vec<u8>, Label, Vec<u8>),
}

impl Piece {
    fn encode(&self, at: u64, place: impl Fn(Label) -> u64) -> Option<Vec<u8>> {
        Some(match self {
            Piece::Insn(insn) => {
                let mut encoder = Encoder::new(64);
                encoder.encode(insn, at).ok()?;
                encoder.take_buffer()
            }
            Piece::Bytes(bytes) => bytes.clone(),
            Piece::Here(_) => Vec::new(),
            Piece::Short(opcode, label) => {
                let next = at + opcode.len() as u64 + 1;
                let distance = i8::try_from(place(*label) as i64 - next as i64).ok()?;
                [&opcode[..], &distance.to_le_bytes()].concat()
            }
            Piece::Near(opcode, label, behind) => {
                let next = at + (opcode.len() + 4 + behind.len()) as u64;
                let distance = (place(*label) as i64 - next as i64) as i32;
                [&opcode[..], &distance.to_le_bytes(), behind].concat()
            }
        })
    }
}

/// The bytes of `pieces` at `start`; `None` if something cannot be encoded or reached. Lengths depend on no place.
pub fn assemble(pieces: &[Piece], start: u64) -> Option<Vec<u8>> {
    let mut places = Vec::new();
    let mut at = start;
    for piece in pieces {
        if let Piece::Here(label) = piece {
            if places.len() <= *label {
                places.resize(label + 1, start);
            }
            places[*label] = at;
        }
        let any_place = |_| at;
        at += piece.encode(at, any_place)?.len() as u64;
    }
    let mut bytes = Vec::new();
    for piece in pieces {
        let at = start + bytes.len() as u64;
        bytes.extend(piece.encode(at, |label| places.get(label).copied().unwrap_or(start))?);
    }
    Some(bytes)
}

/// The place of `label` from the start of `pieces`.
pub fn offset_of(pieces: &[Piece], label: Label, start: u64) -> Option<usize> {
    let until = pieces.iter().position(|piece| matches!(piece, Piece::Here(here) if *here == label))?;
    assemble_lengths(&pieces[..until], start)
}

fn assemble_lengths(pieces: &[Piece], start: u64) -> Option<usize> {
    let mut at = start;
    for piece in pieces {
        let any_place = |_| at;
        at += piece.encode(at, any_place)?.len() as u64;
    }
    Some((at - start) as usize)
}
