//! PCLMULQDQ (SDM vol. 2B).

use iced_x86::Mnemonic;

use super::access::binary_immediate;
use super::lanes::{Xmm, from_bits};
use crate::decode::insn::Handler;
use crate::exec::Form;

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Pclmulqdq | Mnemonic::Vpclmulqdq => {
            binary_immediate!(form, 0, |a: Xmm, b: Xmm, imm: u8| {
                from_bits(product(a[usize::from(imm & 1)], b[usize::from(imm >> 4 & 1)]))
            })
        }
        _ => None,
    }
}

/// The product of two polynomials over GF(2).
fn product(a: u64, b: u64) -> u128 {
    (0..64).fold(0, |sum, bit| sum ^ (u128::from(a) << bit) & u128::from(b >> bit & 1).wrapping_neg())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_have_no_carries() {
        assert_eq!(product(0b11, 0b11), 0b101);
        assert_eq!(product(u64::MAX, 3), 1 << 64 | 1);
        assert_eq!(product(1 << 63, 1 << 63), 1 << 126);
    }
}
