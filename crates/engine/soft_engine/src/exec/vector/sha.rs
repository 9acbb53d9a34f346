//! SHA extensions (SDM vol. 2B, SHA1RNDS4 and following; FIPS 180-4). Lane 3 holds what the manual calls the first
//! word.

use iced_x86::Mnemonic;

use super::access::{Encoding, Sse, combine_unaligned};
use super::lanes::{Xmm, dwords, from_dwords};
use crate::decode::insn::Handler;
use crate::exec::Form;

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    let handler: Handler = match form.mnemonic {
        Mnemonic::Sha1rnds4 => {
            |core, insn| combine_unaligned(core, insn, |a, b| sha1_rounds(a, b, insn.imm as u8))
        }
        Mnemonic::Sha1nexte => |core, insn| combine_unaligned(core, insn, sha1_next_e),
        Mnemonic::Sha1msg1 => |core, insn| combine_unaligned(core, insn, sha1_message_1),
        Mnemonic::Sha1msg2 => |core, insn| combine_unaligned(core, insn, sha1_message_2),
        Mnemonic::Sha256rnds2 => |core, insn| {
            let words = dwords(Sse::get(core, 0));
            combine_unaligned(core, insn, |a, b| sha256_rounds(a, b, [words[0], words[1]]))
        },
        Mnemonic::Sha256msg1 => |core, insn| combine_unaligned(core, insn, sha256_message_1),
        Mnemonic::Sha256msg2 => |core, insn| combine_unaligned(core, insn, sha256_message_2),
        _ => return None,
    };
    Some(handler)
}

/// Four rounds of SHA-1; the immediate chooses function and constant (FIPS 180-4, 4.1.1 and 4.2.1).
fn sha1_rounds(state: Xmm, words: Xmm, imm: u8) -> Xmm {
    let [mut d, mut c, mut b, mut a] = dwords(state);
    // The first word has E added already (SHA1NEXTE).
    let mut e = 0u32;
    for word in dwords(words).into_iter().rev() {
        let (mix, constant) = match imm & 3 {
            0 => (b & c ^ !b & d, 0x5a82_7999),
            1 => (b ^ c ^ d, 0x6ed9_eba1),
            2 => (b & c ^ b & d ^ c & d, 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6u32),
        };
        let next = [mix, a.rotate_left(5), word, e, constant].into_iter().fold(0, u32::wrapping_add);
        (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
    }
    from_dwords([d, c, b, a])
}

fn sha1_next_e(state: Xmm, words: Xmm) -> Xmm {
    let [low @ .., first] = dwords(words);
    let e = dwords(state)[3].rotate_left(30);
    from_dwords([low[0], low[1], low[2], first.wrapping_add(e)])
}

fn sha1_message_1(a: Xmm, b: Xmm) -> Xmm {
    let ([w3, w2, w1, w0], [_, _, w5, w4]) = (dwords(a), dwords(b));
    from_dwords([w5 ^ w3, w4 ^ w2, w3 ^ w1, w2 ^ w0])
}

fn sha1_message_2(a: Xmm, b: Xmm) -> Xmm {
    let ([a0, a1, a2, a3], [w15, w14, w13, _]) = (dwords(a), dwords(b));
    let w16 = (a3 ^ w13).rotate_left(1);
    from_dwords([(a0 ^ w16).rotate_left(1), (a1 ^ w15).rotate_left(1), (a2 ^ w14).rotate_left(1), w16])
}

/// Two rounds of SHA-256 on C, D, G, H and A, B, E, F, with two sums of word and constant (FIPS 180-4, 6.2.2).
fn sha256_rounds(cdgh: Xmm, abef: Xmm, sums: [u32; 2]) -> Xmm {
    let ([mut h, mut g, mut d, mut c], [mut f, mut e, mut b, mut a]) = (dwords(cdgh), dwords(abef));
    for sum in sums {
        let choice = e & f ^ !e & g;
        let majority = a & b ^ a & c ^ b & c;
        let sigma_e = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let sigma_a = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let first = [choice, sigma_e, sum, h].into_iter().fold(0, u32::wrapping_add);
        let second = majority.wrapping_add(sigma_a);
        (a, b, c, d, e, f, g, h) = (first.wrapping_add(second), a, b, c, first.wrapping_add(d), e, f, g);
    }
    from_dwords([f, e, b, a])
}

fn sha256_message_1(a: Xmm, b: Xmm) -> Xmm {
    let ([w0, w1, w2, w3], [w4, ..]) = (dwords(a), dwords(b));
    let sigma = |x: u32| x.rotate_right(7) ^ x.rotate_right(18) ^ x >> 3;
    from_dwords([(w0, w1), (w1, w2), (w2, w3), (w3, w4)].map(|(x, next)| x.wrapping_add(sigma(next))))
}

fn sha256_message_2(a: Xmm, b: Xmm) -> Xmm {
    let ([a0, a1, a2, a3], [_, _, w14, w15]) = (dwords(a), dwords(b));
    let sigma = |x: u32| x.rotate_right(17) ^ x.rotate_right(19) ^ x >> 10;
    let w16 = a0.wrapping_add(sigma(w14));
    let w17 = a1.wrapping_add(sigma(w15));
    from_dwords([w16, w17, a2.wrapping_add(sigma(w16)), a3.wrapping_add(sigma(w17))])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The only block of the message "abc" (FIPS 180-4, 5.1.1).
    const BLOCK: [u32; 16] = [0x6162_6380, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 24];

    fn sum(a: Xmm, b: Xmm) -> Xmm {
        let (a, b) = (dwords(a), dwords(b));
        from_dwords(std::array::from_fn(|lane| a[lane].wrapping_add(b[lane])))
    }

    #[test]
    fn sha1_of_abc() {
        let block: Vec<Xmm> = BLOCK.chunks(4).map(|w| from_dwords([w[3], w[2], w[1], w[0]])).collect();
        let start = from_dwords([0x1032_5476, 0x98ba_dcfe, 0xefcd_ab89, 0x6745_2301]);
        let mut message = block.clone();
        for index in 4..20 {
            let [w0, w4, w8, w12] = [0, 1, 2, 3].map(|back| message[index - 4 + back]);
            let half = sha1_message_1(w0, w4);
            let mixed = [half[0] ^ w8[0], half[1] ^ w8[1]];
            message.push(sha1_message_2(mixed, w12));
        }
        // The first group adds E itself, later ones take it from A of four rounds before.
        let (mut state, mut previous) = (start, None::<Xmm>);
        for (index, words) in message.iter().enumerate() {
            let words = match previous {
                None => sum(*words, from_dwords([0, 0, 0, 0xc3d2_e1f0])),
                Some(previous) => sha1_next_e(previous, *words),
            };
            previous = Some(state);
            state = sha1_rounds(state, words, (index / 5) as u8);
        }
        assert_eq!(dwords(sum(state, start)), [0x7850_c26c, 0xba3e_2571, 0x4706_816a, 0xa999_3e36]);
        let e = sha1_next_e(previous.unwrap(), from_dwords([0, 0, 0, 0xc3d2_e1f0]));
        assert_eq!(dwords(e)[3], 0x9cd0_d89d);
    }

    #[test]
    fn sha256_of_abc() {
        let mut message: Vec<Xmm> = BLOCK.chunks(4).map(|w| from_dwords([w[0], w[1], w[2], w[3]])).collect();
        for index in 4..16 {
            let [w0, w4, w8, w12] = [0, 1, 2, 3].map(|back| message[index - 4 + back]);
            let (w8, w12_words) = (dwords(w8), dwords(w12));
            let w9 = from_dwords([w8[1], w8[2], w8[3], w12_words[0]]);
            message.push(sha256_message_2(sum(sha256_message_1(w0, w4), w9), w12));
        }
        let abef_start = from_dwords([0x9b05_688c, 0x510e_527f, 0xbb67_ae85, 0x6a09_e667]);
        let cdgh_start = from_dwords([0x5be0_cd19, 0x1f83_d9ab, 0xa54f_f53a, 0x3c6e_f372]);
        let (mut abef, mut cdgh) = (abef_start, cdgh_start);
        for (index, words) in message.iter().enumerate() {
            let constants = from_dwords(std::array::from_fn(|lane| constant(4 * index + lane)));
            let sums = dwords(sum(*words, constants));
            for pair in [[sums[0], sums[1]], [sums[2], sums[3]]] {
                (abef, cdgh) = (sha256_rounds(cdgh, abef, pair), abef);
            }
        }
        let [abef, cdgh] = [sum(abef, abef_start), sum(cdgh, cdgh_start)];
        assert_eq!(dwords(abef), [0x9617_7a9c, 0xb003_61a3, 0x8f01_cfea, 0xba78_16bf]);
        assert_eq!(dwords(cdgh), [0xf200_15ad, 0xb410_ff61, 0x5dae_2223, 0x4141_40de]);
    }

    /// The first 32 bits of the fractional part of the cube root of the prime number `index` (FIPS 180-4, 4.2.2).
    fn constant(index: usize) -> u32 {
        let prime = (2u128..).filter(|n| (2..*n).all(|d| n % d != 0)).nth(index).unwrap();
        // The largest root whose cube is at most prime · 2^96.
        let (mut low, mut high) = (0u128, 1 << 36);
        while high - low > 1 {
            let middle = (low + high) / 2;
            if middle * middle * middle <= prime << 96 { low = middle } else { high = middle }
        }
        low as u32
    }
}
