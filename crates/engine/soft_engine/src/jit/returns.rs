//! Where returns will lead: a cache that calls fill and near returns look into.
//!
//! A call leaves, at the place that its stack slot chooses, the return address and the host address of the edge that
//! stands behind it. A return from the same slot compares the address and jumps. Slots keep themselves in step with
//! whatever the guest does to its stack: a thread that changes stacks, or leaves frames behind, finds nothing or what it
//! wants.
//!
//! What is found holds as long as the translations of code do that the call was executed under, and its privilege: each
//! change of these empties the table ([`Returns::choose`]).

use super::stubs::JUMP_TABLES;

/// Entries of a table. A power of two.
const ENTRIES: usize = 128;
/// An entry: the return address, and the address of the code.
type Entry = [u64; 2];

/// What of the stack pointer is the offset of an entry: the ABI has one return address in 16 bytes at most.
pub const MASK: i32 = ((ENTRIES - 1) * size_of::<Entry>()) as i32;

/// What the entries of a table hold for, and void when it changes: the two salts, and how often all code was dropped.
pub type Epochs = [u64; 3];

/// The tables: kernels' and programs', as there are tables of indirect jumps.
#[derive(Default)]
pub struct Returns {
    tables: Box<[[Entry; ENTRIES]]>,
    epochs: [Epochs; JUMP_TABLES],
    /// Code that looks for what is at its target: what empty entries lead to.
    lookup: u64,
}

impl Returns {
    /// Empty tables, whose entries lead to the code at `lookup`.
    pub fn new(lookup: u64) -> Returns {
        let tables = vec![[[0, lookup]; ENTRIES]; JUMP_TABLES].into();
        Returns { tables, epochs: [[0; 3]; JUMP_TABLES], lookup }
    }

    /// The address of table `number`, one of [`JUMP_TABLES`], whose entries hold for `epochs`.
    pub fn choose(&mut self, number: usize, epochs: Epochs) -> u64 {
        let table = &mut self.tables[number];
        if self.epochs[number] != epochs {
            self.epochs[number] = epochs;
            table.fill([0, self.lookup]);
        }
        table.as_ptr() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_emptied_when_its_ground_changes_and_alone() {
        let mut returns = Returns::new(7);
        let first = returns.choose(1, [2, 3, 0]);
        assert_ne!(first, returns.choose(0, [2, 3, 0]));
        returns.tables[1][5] = [0x1000, 9];
        assert_eq!(returns.choose(1, [2, 3, 0]), first);
        returns.choose(0, [4, 3, 0]);
        assert_eq!(returns.tables[1][5], [0x1000, 9]);
        for epochs in [[4, 3, 0], [4, 5, 0], [4, 5, 1]] {
            returns.tables[1][5] = [0x1000, 9];
            assert_eq!(returns.choose(1, epochs), first);
            assert!(returns.tables[1].iter().all(|entry| *entry == [0, 7]), "{epochs:?}");
        }
    }
}
