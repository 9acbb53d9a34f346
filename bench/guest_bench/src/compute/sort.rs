//! Quicksort with a comparison by a function pointer, as C's `qsort` has it.

use std::cmp::Ordering;
use std::hint::black_box;
use std::io;

use crate::measure::Work;
use crate::random::{Random, digest};

const ITEMS: usize = 2048;
/// Shorter pieces are sorted by insertion.
const SHORT: usize = 12;

type Compare = fn(&Item, &Item) -> Ordering;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Item {
    key: u32,
    value: u32,
}

/// Sorts items by their keys.
pub fn sort() -> io::Result<Work> {
    let items = items();
    Work::compute(ITEMS as u64, move || {
        let mut sorted = items.clone();
        quicksort(&mut sorted, black_box(by_key));
        digest(sorted.iter().step_by(64).map(|item| u64::from(item.key)))
    })
}

fn items() -> Vec<Item> {
    let mut random = Random::new(9);
    (0..ITEMS).map(|index| Item { key: random.next() as u32, value: index as u32 }).collect()
}

fn by_key(one: &Item, other: &Item) -> Ordering {
    one.key.cmp(&other.key).then(one.value.cmp(&other.value))
}

fn quicksort(mut items: &mut [Item], compare: Compare) {
    while items.len() > SHORT {
        let middle = partition(items, compare);
        let (low, high) = items.split_at_mut(middle);
        quicksort(low, compare);
        items = high;
    }
    for end in 1..items.len() {
        let item = items[end];
        let mut at = end;
        while at > 0 && compare(&item, &items[at - 1]).is_lt() {
            items[at] = items[at - 1];
            at -= 1;
        }
        items[at] = item;
    }
}

/// Hoare's: what is before the returned index is not greater than what follows.
fn partition(items: &mut [Item], compare: Compare) -> usize {
    let pivot = items[(items.len() - 1) / 2];
    let (mut low, mut high) = (0, items.len() - 1);
    loop {
        while compare(&items[low], &pivot).is_lt() {
            low += 1;
        }
        while compare(&items[high], &pivot).is_gt() {
            high -= 1;
        }
        if low >= high {
            return high + 1;
        }
        items.swap(low, high);
        low += 1;
        high -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_sorts() {
        let (mut ours, mut wanted) = (items(), items());
        quicksort(&mut ours, by_key);
        wanted.sort_by(by_key);
        assert_eq!(ours, wanted);
    }
}
