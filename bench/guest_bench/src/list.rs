//! What is measured, in the order of the table.

use std::arch::is_x86_feature_detected as has;
use std::io;

use crate::compute::{bytecode, calls, float, hash, integer, lz, matrix, memory, sha256, sort, strings, x87};
use crate::measure::Work;
use crate::packed::{avx2, sse};
use crate::system::{handover, pages, pipe, process, switch, syscall};

/// Something that can be measured.
pub struct Benchmark {
    /// One word.
    pub name: &'static str,
    /// What an operation is, in one word.
    pub unit: &'static str,
    /// What it asks of the machine.
    pub needs: Needs,
    /// Makes its data ready.
    pub prepare: Prepare,
}

/// How a benchmark is made ready.
pub enum Prepare {
    /// On one processor.
    One(fn() -> io::Result<Work>),
    /// With a second processor's number.
    Two(fn(usize) -> io::Result<Work>),
}

/// What a benchmark asks of the machine.
#[derive(Clone, Copy, PartialEq)]
pub enum Needs {
    /// x86-64.
    Baseline,
    /// SSSE3 and SSE4.1.
    Sse41,
    /// AVX2.
    Avx2,
    /// AVX2 and FMA.
    Fma,
}

impl Needs {
    /// What is missing, if anything.
    pub fn missing(self) -> Option<&'static str> {
        let (there, name) = match self {
            Needs::Baseline => return None,
            Needs::Sse41 => (has!("ssse3") && has!("sse4.1"), "SSE4.1"),
            Needs::Avx2 => (has!("avx2"), "AVX2"),
            Needs::Fma => (has!("avx2") && has!("fma"), "FMA"),
        };
        (!there).then_some(name)
    }
}

const fn plain(name: &'static str, unit: &'static str, prepare: fn() -> io::Result<Work>) -> Benchmark {
    with(name, unit, Needs::Baseline, prepare)
}

const fn with(
    name: &'static str,
    unit: &'static str,
    needs: Needs,
    prepare: fn() -> io::Result<Work>,
) -> Benchmark {
    Benchmark { name, unit, needs, prepare: Prepare::One(prepare) }
}

/// All of them.
pub const BENCHMARKS: &[Benchmark] = &[
    plain("integer", "step", integer::integer),
    plain("divide", "division", integer::divide),
    plain("branch_predictable", "branch", integer::branch_predictable),
    plain("branch_random", "branch", integer::branch_random),
    plain("call_direct", "call", calls::call_direct),
    plain("call_indirect", "call", calls::call_indirect),
    plain("read_sequential", "load", memory::read_sequential),
    plain("write_sequential", "store", memory::write_sequential),
    plain("chase_32k", "load", memory::chase_32k),
    plain("chase_2m", "load", memory::chase_2m),
    plain("chase_32m", "load", memory::chase_32m),
    plain("read_modify_write", "update", memory::read_modify_write),
    plain("atomic_add", "update", memory::atomic_add),
    plain("movsb_small", "48-bytes", strings::movsb_small),
    plain("movsb_large", "64-KiB", strings::movsb_large),
    plain("movsq_small", "48-bytes", strings::movsq_small),
    plain("movsq_large", "64-KiB", strings::movsq_large),
    plain("stosb_small", "48-bytes", strings::stosb_small),
    plain("stosb_large", "64-KiB", strings::stosb_large),
    plain("float_scalar", "point", float::float_scalar),
    plain("float_divide", "step", float::float_divide),
    plain("float_packed", "vector", sse::float_packed),
    plain("double_packed", "vector", sse::double_packed),
    plain("integer_packed", "vector", sse::integer_packed),
    with("bytes_packed", "vector", Needs::Sse41, sse::bytes_packed),
    with("avx2_float", "vector", Needs::Avx2, avx2::avx2_float),
    with("avx2_integer", "vector", Needs::Avx2, avx2::avx2_integer),
    with("fma_float", "vector", Needs::Fma, avx2::fma_float),
    plain("x87", "step", x87::x87),
    plain("sort", "item", sort::sort),
    plain("hash_table", "operation", hash::hash_table),
    plain("lz_compress", "byte", lz::lz_compress),
    plain("lz_decompress", "byte", lz::lz_decompress),
    plain("bytecode", "instruction", bytecode::bytecode),
    plain("sha256", "block", sha256::sha256),
    plain("matrix", "product", matrix::matrix),
    plain("syscall", "call", syscall::syscall),
    plain("page_fault", "page", pages::page_fault),
    plain("fork_wait", "process", process::fork_wait),
    plain("fork_exec", "process", process::fork_exec),
    plain("pipe_round_trip", "round-trip", pipe::pipe_round_trip),
    plain("context_switch", "switch", switch::context_switch),
    Benchmark {
        name: "thread_handover",
        unit: "round-trip",
        needs: Needs::Baseline,
        prepare: Prepare::Two(handover::thread_handover),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_units_are_single_words_and_names_differ() {
        let mut names: Vec<&str> = BENCHMARKS.iter().map(|benchmark| benchmark.name).collect();
        let words = |text: &str| text.split_whitespace().count();
        assert!(BENCHMARKS.iter().all(|one| words(one.name) == 1 && words(one.unit) == 1));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), BENCHMARKS.len());
    }
}
