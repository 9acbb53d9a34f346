//! AES-NI (SDM vol. 2A, AESENC and following; FIPS 197). The state is column by column, as in FIPS 197: byte 0 first.

use iced_x86::Mnemonic;

use super::access::{binary_xmm, unary_immediate, unary_xmm};
use super::lanes::{Xmm, bytes, dwords, from_bytes, from_dwords};
use crate::decode::insn::Handler;
use crate::exec::Form;

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Aesenc | Mnemonic::Vaesenc => {
            binary_xmm!(form, |state, key| add(mix_columns(substitute(state, &ENCRYPT), [2, 3, 1, 1]), key))
        }
        Mnemonic::Aesenclast | Mnemonic::Vaesenclast => {
            binary_xmm!(form, |state, key| add(substitute(state, &ENCRYPT), key))
        }
        Mnemonic::Aesdec | Mnemonic::Vaesdec => {
            binary_xmm!(form, |state, key| add(
                mix_columns(substitute(state, &DECRYPT), [14, 11, 13, 9]),
                key
            ))
        }
        Mnemonic::Aesdeclast | Mnemonic::Vaesdeclast => {
            binary_xmm!(form, |state, key| add(substitute(state, &DECRYPT), key))
        }
        Mnemonic::Aesimc | Mnemonic::Vaesimc => unary_xmm!(form, |key| mix_columns(key, [14, 11, 13, 9])),
        Mnemonic::Aeskeygenassist | Mnemonic::Vaeskeygenassist => unary_immediate!(form, assist_key),
        _ => None,
    }
}

/// A direction of the cipher: where each byte comes from (ShiftRows and its inverse) and what replaces it.
struct Direction {
    rotation: usize,
    boxes: [u8; 256],
}

static ENCRYPT: Direction = Direction { rotation: 1, boxes: SBOX };
static DECRYPT: Direction = Direction { rotation: 3, boxes: INVERSE_SBOX };

/// ShiftRows and SubBytes, or their inverses (FIPS 197, 5.1.1, 5.1.2, 5.3.1, 5.3.2).
fn substitute(state: Xmm, direction: &Direction) -> Xmm {
    let state = bytes(state);
    from_bytes(std::array::from_fn(|index| {
        let (row, column) = (index % 4, index / 4);
        direction.boxes[usize::from(state[row + 4 * ((column + row * direction.rotation) % 4)])]
    }))
}

/// MixColumns with the first row of its matrix, each next row turned by one (FIPS 197, 5.1.3 and 5.3.3).
fn mix_columns(state: Xmm, matrix: [u8; 4]) -> Xmm {
    let state = bytes(state);
    from_bytes(std::array::from_fn(|index| {
        let (row, column) = (index % 4, index / 4 * 4);
        (0..4).fold(0, |sum, other| sum ^ multiply(state[column + other], matrix[(other + 4 - row) % 4]))
    }))
}

/// AddRoundKey.
fn add(state: Xmm, key: Xmm) -> Xmm {
    [state[0] ^ key[0], state[1] ^ key[1]]
}

/// SDM vol. 2A, AESKEYGENASSIST.
fn assist_key(key: Xmm, round_constant: u8) -> Xmm {
    let [_, second, _, fourth] = dwords(key);
    let constant = u32::from(round_constant);
    let (second, fourth) = (substitute_word(second), substitute_word(fourth));
    from_dwords([second, second.rotate_right(8) ^ constant, fourth, fourth.rotate_right(8) ^ constant])
}

fn substitute_word(word: u32) -> u32 {
    u32::from_le_bytes(word.to_le_bytes().map(|byte| SBOX[usize::from(byte)]))
}

/// The product in GF(2⁸) modulo x⁸ + x⁴ + x³ + x + 1 (FIPS 197, 4.2).
const fn multiply(a: u8, b: u8) -> u8 {
    let (mut a, mut b, mut product) = (a, b, 0);
    while b != 0 {
        if b & 1 != 0 {
            product ^= a;
        }
        a = a << 1 ^ if a & 0x80 != 0 { 0x1b } else { 0 };
        b >>= 1;
    }
    product
}

/// FIPS 197, 5.1.1: the multiplicative inverse, and an affine map.
const SBOX: [u8; 256] = {
    let mut boxes = [0; 256];
    let mut index = 0;
    // Powers of the generator 3 and of its inverse 0xf6 run through all elements and their inverses.
    let (mut element, mut inverse) = (1u8, 1u8);
    while index < 255 {
        let x = inverse;
        let mapped = x ^ x.rotate_left(1) ^ x.rotate_left(2) ^ x.rotate_left(3) ^ x.rotate_left(4);
        boxes[element as usize] = mapped ^ 0x63;
        element = multiply(element, 3);
        inverse = multiply(inverse, 0xf6);
        index += 1;
    }
    boxes[0] = 0x63;
    boxes
};

const INVERSE_SBOX: [u8; 256] = {
    let mut boxes = [0; 256];
    let mut index = 0;
    while index < 256 {
        boxes[SBOX[index] as usize] = index as u8;
        index += 1;
    }
    boxes
};

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(text: u128) -> Xmm {
        from_bytes(text.to_be_bytes())
    }

    fn encrypt_round(state: Xmm, key: Xmm) -> Xmm {
        add(mix_columns(substitute(state, &ENCRYPT), [2, 3, 1, 1]), key)
    }

    fn decrypt_round(state: Xmm, key: Xmm) -> Xmm {
        add(mix_columns(substitute(state, &DECRYPT), [14, 11, 13, 9]), key)
    }

    /// The key schedule as programs make it of AESKEYGENASSIST.
    fn expand(key: Xmm) -> Vec<Xmm> {
        let mut keys = vec![key];
        for constant in [1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80, 0x1b, 0x36] {
            let previous = dwords(keys[keys.len() - 1]);
            let mut word = dwords(assist_key(keys[keys.len() - 1], constant))[3];
            let next = previous.map(|old| {
                word ^= old;
                word
            });
            keys.push(from_dwords(next));
        }
        keys
    }

    /// FIPS 197, appendix C.1.
    #[test]
    fn the_cipher_of_fips_197() {
        let keys = expand(vector(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f));
        assert_eq!(keys[10], vector(0x1311_1d7f_e394_4a17_f307_a78b_4d2b_30c5));
        let plain = vector(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
        let state = keys[1..10].iter().fold(add(plain, keys[0]), |state, key| encrypt_round(state, *key));
        let cipher = add(substitute(state, &ENCRYPT), keys[10]);
        assert_eq!(cipher, vector(0x69c4_e0d8_6a7b_0430_d8cd_b780_70b4_c55a));

        let inverse = |key: &Xmm| mix_columns(*key, [14, 11, 13, 9]);
        let start = add(cipher, keys[10]);
        let state = keys[1..10].iter().rev().fold(start, |state, key| decrypt_round(state, inverse(key)));
        assert_eq!(add(substitute(state, &DECRYPT), keys[0]), plain);
    }
}
