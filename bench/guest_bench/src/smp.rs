//! What several processors do together, for a machine whose vCPUs may share processors of the host. Told in lines
//!
//! ```text
//! READY
//! SMP <name> <ns> <ns> ...
//! DONE
//! ```

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::pages::Pages;

/// The argument that asks for this, and the one by which it starts what empties the pipe.
pub const FLAG: &str = "--smp";
pub const SINK: &str = "--sink";

const PIPE_BYTES: u64 = 50 << 20;
const CHUNK_BYTES: usize = 64 << 10;
const MAP_BYTES: usize = 64 << 10;
const MAP_THREADS: usize = 4;
const MAP_ROUNDS: usize = 400;
/// How long whoever reads the lines has to prepare.
const PAUSE: Duration = Duration::from_millis(500);

type Work = (&'static str, fn() -> io::Result<()>);

const ALL: [Work; 2] = [("pipe", pipe), ("map", map)];

/// Measures everything `repetitions` times.
pub fn run(repetitions: usize) -> io::Result<()> {
    println!("READY");
    std::thread::sleep(PAUSE);
    for (name, work) in ALL {
        let time = |_| {
            let start = Instant::now();
            work().map(|()| start.elapsed().as_nanos().to_string())
        };
        let times: Vec<String> = (0..repetitions).map(time).collect::<io::Result<_>>()?;
        println!("SMP {name} {}", times.join(" "));
    }
    println!("DONE");
    Ok(())
}

/// Reads standard input to its end.
pub fn sink() -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut input = io::stdin().lock();
    while input.read(&mut chunk)? > 0 {}
    Ok(())
}

/// 50 MiB through a pipe to another process.
fn pipe() -> io::Result<()> {
    let mut child = Command::new("/proc/self/exe").arg(SINK).stdin(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().ok_or_else(|| io::Error::other("there is no pipe"))?;
    let chunk = vec![0; CHUNK_BYTES];
    for _ in 0..PIPE_BYTES / CHUNK_BYTES as u64 {
        input.write_all(&chunk)?;
    }
    drop(input);
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(io::Error::other("the pipe's other end failed")) }
}

/// Four threads that map memory, touch its pages and unmap it.
fn map() -> io::Result<()> {
    let one = || -> io::Result<()> {
        for _ in 0..MAP_ROUNDS {
            let mut pages = Pages::new(MAP_BYTES)?;
            pages.words().iter_mut().step_by(512).for_each(|word| *word = 1);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..MAP_THREADS).map(|_| scope.spawn(one)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread ended badly")))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_map_and_unmap() {
        map().unwrap();
    }
}
