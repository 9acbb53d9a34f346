//! Operations that only x87 has (SDM vol. 1, 8.3).

mod arctangent;
mod bcd;
mod logarithmic;
mod remainder;
mod scale;
mod series;
mod trigonometric;

pub use arctangent::arctangent;
pub use bcd::{bcd_load, bcd_store};
pub use logarithmic::{exponential_minus_one, logarithm, logarithm_plus_one};
pub use remainder::{Remainder, RemainderKind, remainder};
pub use scale::{Extracted, extract, scale};
pub use trigonometric::{cosine, sine, sine_cosine, tangent};
