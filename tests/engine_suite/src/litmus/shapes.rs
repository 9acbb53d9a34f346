//! The races, by the names that they have in the literature (Sewell and others, "x86-TSO", 2010), and some of them with
//! non-temporal stores, which others may overtake (SDM vol. 1, 10.4.6.2).

use super::fences::Strength;

/// What a vCPU does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Stores a value to a word.
    Store(Word, u8),
    /// The same by MOVNTI.
    StoreInt(Word, u8),
    /// The same by MOVNTDQ, with zeros behind.
    StoreVector(Word, u8),
    /// Loads a word into the first or second register.
    Load(Word, Register),
    /// Waits as the test says.
    Fence,
}

/// A word of memory; each is in a cache line of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    X = 0,
    Y = 1,
    Z = 2,
    W = 3,
}

/// Where a load goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    A = 0,
    B = 1,
}

/// Part of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// The register of that vCPU holds the value.
    Loaded(usize, Register, u8),
    /// The word holds the value in the end.
    Left(Word, u8),
}

/// A race, and the outcome that tells orders apart.
#[derive(Debug)]
pub struct Shape {
    /// Its name.
    pub name: &'static str,
    /// What each vCPU does.
    pub threads: &'static [&'static [Step]],
    /// The outcome.
    pub outcome: &'static [Term],
    /// The outcome is forbidden where something so strong stands at [`Step::Fence`].
    pub forbidden_by: Strength,
}

impl Shape {
    /// Whether it has non-temporal stores.
    pub fn is_non_temporal(&self) -> bool {
        let steps = || self.threads.iter().copied().flatten();
        steps().any(|step| matches!(step, Step::StoreInt(..) | Step::StoreVector(..)))
    }
}

use Register::{A, B};
use Step::{Fence, Load, Store, StoreInt, StoreVector};
use Term::{Left, Loaded};
use Word::{W, X, Y, Z};

/// All of them.
pub const SHAPES: &[Shape] = &[
    Shape {
        name: "SB",
        threads: &[&[Store(X, 1), Fence, Load(Y, A)], &[Store(Y, 1), Fence, Load(X, A)]],
        outcome: &[Loaded(0, A, 0), Loaded(1, A, 0)],
        forbidden_by: Strength::Full,
    },
    Shape {
        name: "SB3",
        threads: &[
            &[Store(X, 1), Fence, Load(Y, A)],
            &[Store(Y, 1), Fence, Load(Z, A)],
            &[Store(Z, 1), Fence, Load(X, A)],
        ],
        outcome: &[Loaded(0, A, 0), Loaded(1, A, 0), Loaded(2, A, 0)],
        forbidden_by: Strength::Full,
    },
    Shape {
        name: "SB4",
        threads: &[
            &[Store(X, 1), Fence, Load(Y, A)],
            &[Store(Y, 1), Fence, Load(Z, A)],
            &[Store(Z, 1), Fence, Load(W, A)],
            &[Store(W, 1), Fence, Load(X, A)],
        ],
        outcome: &[Loaded(0, A, 0), Loaded(1, A, 0), Loaded(2, A, 0), Loaded(3, A, 0)],
        forbidden_by: Strength::Full,
    },
    Shape {
        name: "R",
        threads: &[&[Store(X, 1), Fence, Store(Y, 1)], &[Store(Y, 2), Fence, Load(X, A)]],
        outcome: &[Left(Y, 2), Loaded(1, A, 0)],
        forbidden_by: Strength::Full,
    },
    Shape {
        name: "RWC",
        threads: &[&[Store(X, 1)], &[Load(X, A), Fence, Load(Y, B)], &[Store(Y, 1), Fence, Load(X, A)]],
        outcome: &[Loaded(1, A, 1), Loaded(1, B, 0), Loaded(2, A, 0)],
        forbidden_by: Strength::Full,
    },
    Shape {
        name: "MP",
        threads: &[&[Store(X, 1), Fence, Store(Y, 1)], &[Load(Y, A), Fence, Load(X, B)]],
        outcome: &[Loaded(1, A, 1), Loaded(1, B, 0)],
        forbidden_by: Strength::None,
    },
    Shape {
        name: "LB",
        threads: &[&[Load(X, A), Fence, Store(Y, 1)], &[Load(Y, A), Fence, Store(X, 1)]],
        outcome: &[Loaded(0, A, 1), Loaded(1, A, 1)],
        forbidden_by: Strength::None,
    },
    Shape {
        name: "S",
        threads: &[&[Store(X, 2), Fence, Store(Y, 1)], &[Load(Y, A), Fence, Store(X, 1)]],
        outcome: &[Loaded(1, A, 1), Left(X, 2)],
        forbidden_by: Strength::None,
    },
    Shape {
        name: "2+2W",
        threads: &[&[Store(X, 1), Fence, Store(Y, 2)], &[Store(Y, 1), Fence, Store(X, 2)]],
        outcome: &[Left(X, 1), Left(Y, 1)],
        forbidden_by: Strength::None,
    },
    Shape {
        name: "IRIW",
        threads: &[
            &[Store(X, 1)],
            &[Store(Y, 1)],
            &[Load(X, A), Fence, Load(Y, B)],
            &[Load(Y, A), Fence, Load(X, B)],
        ],
        outcome: &[Loaded(2, A, 1), Loaded(2, B, 0), Loaded(3, A, 1), Loaded(3, B, 0)],
        forbidden_by: Strength::None,
    },
    Shape {
        name: "WRC",
        threads: &[&[Store(X, 1)], &[Load(X, A), Fence, Store(Y, 1)], &[Load(Y, A), Fence, Load(X, B)]],
        outcome: &[Loaded(1, A, 1), Loaded(2, A, 1), Loaded(2, B, 0)],
        forbidden_by: Strength::None,
    },
    Shape {
        name: "CoRR",
        threads: &[&[Store(X, 1)], &[Load(X, A), Fence, Load(X, B)]],
        outcome: &[Loaded(1, A, 1), Loaded(1, B, 0)],
        forbidden_by: Strength::None,
    },
    Shape {
        name: "MP by MOVNTI",
        threads: &[&[StoreInt(X, 1), Fence, Store(Y, 1)], &[Load(Y, A), Fence, Load(X, B)]],
        outcome: &[Loaded(1, A, 1), Loaded(1, B, 0)],
        forbidden_by: Strength::Stores,
    },
    Shape {
        name: "MP by MOVNTDQ",
        threads: &[&[StoreVector(X, 1), Fence, Store(Y, 1)], &[Load(Y, A), Fence, Load(X, B)]],
        outcome: &[Loaded(1, A, 1), Loaded(1, B, 0)],
        forbidden_by: Strength::Stores,
    },
    Shape {
        name: "2+2W by MOVNTI",
        threads: &[&[StoreInt(X, 1), Fence, StoreInt(Y, 2)], &[StoreInt(Y, 1), Fence, StoreInt(X, 2)]],
        outcome: &[Left(X, 1), Left(Y, 1)],
        forbidden_by: Strength::Stores,
    },
    Shape {
        name: "SB by MOVNTI",
        threads: &[&[StoreInt(X, 1), Fence, Load(Y, A)], &[StoreInt(Y, 1), Fence, Load(X, A)]],
        outcome: &[Loaded(0, A, 0), Loaded(1, A, 0)],
        forbidden_by: Strength::Full,
    },
    Shape {
        name: "SB by MOVNTDQ",
        threads: &[&[StoreVector(X, 1), Fence, Load(Y, A)], &[StoreVector(Y, 1), Fence, Load(X, A)]],
        outcome: &[Loaded(0, A, 0), Loaded(1, A, 0)],
        forbidden_by: Strength::Full,
    },
];
