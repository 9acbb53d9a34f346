//! Round trips between two processes on one processor.

use std::fs::File;
use std::io::{self, Read, Write, pipe};
use std::os::fd::OwnedFd;

use super::child::Child;
use crate::measure::Work;

const ROUND_TRIPS: u64 = 20;

/// A byte there through a pipe, and one more back through another.
pub fn pipe_round_trip() -> io::Result<Work> {
    let (from_parent, to_child) = pipe()?;
    let (from_child, to_parent) = pipe()?;
    let [mut to_child, to_parent] = [to_child, to_parent].map(|end| File::from(OwnedFd::from(end)));
    let [from_parent, mut from_child] = [from_parent, from_child].map(|end| File::from(OwnedFd::from(end)));
    let child = Child::fork(|| echo(&from_parent, &to_parent))?;
    // The child's ends are the child's alone, so that each side sees the other's end.
    drop((from_parent, to_parent));
    Work::system(ROUND_TRIPS, move || {
        let _alive = &child;
        let mut sum = 0;
        for step in 0..ROUND_TRIPS {
            let mut byte = [step as u8];
            to_child.write_all(&byte)?;
            from_child.read_exact(&mut byte)?;
            sum += u64::from(byte[0]);
        }
        Ok(sum)
    })
}

/// Answers until the other end closes.
fn echo(mut from: &File, mut to: &File) -> i32 {
    let mut byte = [0];
    while let Ok(1) = from.read(&mut byte) {
        byte[0] = byte[0].wrapping_add(1);
        if to.write_all(&byte).is_err() {
            return 1;
        }
    }
    0
}
