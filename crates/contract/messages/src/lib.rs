//! Messages to people: one line that says what, where, and what to do.
//!
//! Whatever comes from outside goes through here before a person sees it: causes of errors in the words of libraries and
//! of the kernel ([`in_words`], [`parser_words`]), and text that strangers wrote ([`one_line`], [`shortened`]). How far long
//! work is, is told to a [`Watch`]. Pure text:
//! nothing here does I/O or knows what a machine is.

mod chain;
mod login;
mod near;
mod parser;
mod size;
mod text;
mod watch;

pub use chain::in_words;
pub use login::without_login;
pub use near::{did_you_mean, nearest};
pub use parser::parser_words;
pub use size::Bytes;
pub use text::{one_line, shortened};
pub use watch::{Cancelled, Progress, Unwatched, Watch, progress_of, step, unwatched};
