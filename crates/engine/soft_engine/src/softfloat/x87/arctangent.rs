//! The angle of a point (SDM vol. 2, FPATAN and table 3-30).

use super::series::{self, PI};
use crate::softfloat::nan::{answer_nans, note_denormals};
use crate::softfloat::rounding::round;
use crate::softfloat::{Class, Env, F80, Format, Real, Unpacked};

/// The angle of the point (x, y) from −π to π: x is ST(0), y is ST(1).
pub fn arctangent(env: &mut Env, x: F80, y: F80) -> F80 {
    let (x, y) = (x.unpack(), y.unpack());
    env.rounded_up = false;
    if let Some(answer) = answer_nans(env, &[x, y]) {
        return answer;
    }
    note_denormals::<F80>(env, &[x, y]);
    let angle = first_quadrant(x, y);
    let angle = if x.sign { PI.minus(angle) } else { angle };
    if angle.is_zero() {
        return F80::zero(y.sign);
    }
    round(env, Real { sign: y.sign, ..angle }.inexact())
}

/// The angle of (|x|, |y|).
fn first_quadrant(x: Unpacked, y: Unpacked) -> Real {
    let infinite = (x.class == Class::Infinity, y.class == Class::Infinity);
    match infinite {
        (true, true) => PI.scaled(-2),
        (true, false) => Real::ZERO,
        (false, true) => PI.scaled(-1),
        _ if y.class == Class::Zero => Real::ZERO,
        _ => series::arctangent(Real::of(y).abs(), Real::of(x).abs()),
    }
}
