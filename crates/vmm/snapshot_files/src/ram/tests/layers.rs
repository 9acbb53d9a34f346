//! RAM that differs from other RAM, several times over.

use super::*;

/// Numbers that look like chance, and are the same each time (xorshift64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// A file with RAM, and its index.
type Kept = (MemoryFile, RamIndex);

fn layers(kept: &[Kept]) -> RamLayers<&MemoryFile> {
    let again = |index: &RamIndex| RamIndex::from_bytes(&index.to_bytes().unwrap()).unwrap();
    RamLayers::new(kept.iter().map(|(file, index)| (file, file.length(), again(index))).collect()).unwrap()
}

/// What is kept of `memory` beside what `before` have of it.
fn kept(memory: &GuestMemory, before: &[Kept], is_compressed: bool) -> Kept {
    let (mut file, mut index) = {
        let file = file_for(memory);
        let index = saved(memory, &file);
        (file, index)
    };
    if !before.is_empty() {
        let to = file_for(memory);
        index = difference(&index, &file, &layers(before), &&to).unwrap();
        file = to;
    }
    if is_compressed {
        let to = MemoryFile::default();
        index = compress(&index, &file, &&to).unwrap();
        file = to;
    }
    (file, index)
}

/// The same without a look at whether they go together.
fn of<'k>(all: &[&'k Kept]) -> Result<RamLayers<&'k MemoryFile>, RamError> {
    RamLayers::new(all.iter().map(|(file, index)| (file, file.length(), index.clone())).collect())
}

fn change(memory: &GuestMemory, chance: &mut Chance) {
    let layout = RamLayout::of(memory);
    for _ in 0..chance.below(200) {
        let gpa = layout.gpa_of(chance.below(layout.pages())).unwrap();
        // Few values, so that pages become what they were, and zeros.
        let byte = chance.below(3) as u8;
        memory.slots().write_slice(&[byte; 4096], GuestAddress(gpa)).unwrap();
    }
}

fn laid_over(all: &[Kept]) -> GuestMemory {
    let memory = memory();
    for (file, index) in all {
        RamReader::new(file, file.length(), index).unwrap().restore(&memory).unwrap();
    }
    memory
}

#[test]
fn what_differs_four_times_over_comes_to_the_same() {
    for seed in 1..40 {
        let mut chance = Chance(0x9e37_79b9_7f4a_7c15 ^ seed);
        let memory = memory();
        let mut all: Vec<Kept> = Vec::new();
        for _ in 0..5 {
            change(&memory, &mut chance);
            let is_compressed = chance.below(2) == 0;
            all.push(kept(&memory, &all, is_compressed));
            assert!(contents(&laid_over(&all)) == contents(&memory), "seed {seed}, {} deep", all.len());
        }
        let whole = file_for(&memory);
        let flat = layers(&all).flatten(&&whole, &mut messages::unwatched).unwrap();
        assert!(!flat.is_difference() && contents(&restored(&whole, &flat).unwrap()) == contents(&memory));
        RamReader::new(&whole, whole.length(), &flat).unwrap().verify().unwrap();
        // As one that was kept whole, but for pages of zeros that had something before.
        let other = file_for(&memory);
        assert_eq!(flat, saved(&memory, &other));
        assert!(*whole.0.lock().unwrap() == *other.0.lock().unwrap());
    }
}

#[test]
fn only_what_differs_is_kept() {
    let memory = filled();
    let first = [kept(&memory, &[], false)];
    assert_eq!(kept(&memory, &first, false).1.data_bytes(), 0);
    memory.slots().write_slice(b"changed", GuestAddress(0x2004)).unwrap();
    // As it was, though it was written.
    memory.slots().write_slice(&[3; 4096], GuestAddress(0x10_0000)).unwrap();
    memory.slots().write_slice(&[0; 4096], GuestAddress(0x1000)).unwrap();
    // Zeros as before.
    memory.slots().write_slice(&[0; 4096], GuestAddress(0x8_0000)).unwrap();
    let (_, index) = kept(&memory, &first, false);
    assert_eq!((index.data_bytes(), index.zero_bytes()), (4096, 4096));
}

#[test]
fn what_does_not_go_together_is_refused() {
    let memory = filled();
    let first = kept(&memory, &[], false);
    memory.slots().write_slice(b"changed", GuestAddress(0x2004)).unwrap();
    let second = kept(&memory, std::slice::from_ref(&first), false);
    assert!(of(&[&first, &second, &second]).is_ok());
    for bad in [&[][..], &[&second], &[&first, &first], &[&second, &first]] {
        assert!(matches!(of(bad), Err(RamError::Unfit)));
    }
    second.0.0.lock().unwrap().pop();
    assert!(matches!(of(&[&first, &second]), Err(RamError::Length { .. })));
    second.0.0.lock().unwrap().push(0);
    // A page that is damaged below is told of, also where nothing is kept of it above.
    first.0.0.lock().unwrap()[0x1234] ^= 1;
    let other = file_for(&memory);
    let index = saved(&memory, &other);
    let to = file_for(&memory);
    let differs = difference(&index, &other, &layers(std::slice::from_ref(&first)), &&to);
    assert!(matches!(differs, Err(RamError::Damaged { gpa: 0x1000 })));
    let flat = layers(&[first, second]).flatten(&&file_for(&memory), &mut messages::unwatched);
    assert!(matches!(flat, Err(RamError::Damaged { gpa: 0x1000 })));
}

/// With a checksum that is right.
#[test]
fn zeros_that_make_no_sense_are_refused() {
    let memory = filled();
    let first = [kept(&memory, &[], false)];
    memory.slots().write_slice(&[0; 4096], GuestAddress(0x1000)).unwrap();
    memory.slots().write_slice(b"changed", GuestAddress(0x2004)).unwrap();
    let (_, good) = kept(&memory, &first, false);
    let refused = |zeros: Vec<(u64, usize)>| {
        let zeros = zeros.into_iter().map(|(number, within)| {
            let mut zeros = index::ZeroPages::new(number);
            if within < 256 {
                zeros.insert(within);
            }
            zeros
        });
        let index = RamIndex { zeros: Some(zeros.collect()), ..good.clone() };
        let read = RamIndex::from_bytes(&index.to_bytes().unwrap());
        assert!(matches!(read, Err(RamError::DamagedIndex)), "{index:?}");
    };
    // None, twice, not in their order, no RAM, and a page that the file has.
    refused(vec![(0, 256)]);
    refused(vec![(0, 1), (0, 3)]);
    refused(vec![(1, 1), (0, 1)]);
    refused(vec![(5, 0)]);
    refused(vec![(u64::MAX, 0)]);
    refused(vec![(0, 2)]);
    let mut bytes = good.to_bytes().unwrap();
    bytes[8] = 1;
    let end = bytes.len() - 4;
    let checksum = crc32c::crc32c(&bytes[..end]).to_le_bytes();
    bytes[end..].copy_from_slice(&checksum);
    assert!(RamIndex::from_bytes(&bytes).is_err(), "it is not whole by itself");
}

/// What was written under version 2 is read, and written, for ever.
#[test]
fn an_index_of_version_2() {
    let range = GpaRange { start: GuestAddress(0), size_bytes: 2 << 20 };
    let memory = GuestMemory::allocate(&[range], Policy { huge_pages: false, ..Policy::default() }).unwrap();
    memory.slots().write_slice(&[1; 4096], GuestAddress(0x1000)).unwrap();
    let first = [kept(&memory, &[], false)];
    memory.slots().write_slice(&[0; 4096], GuestAddress(0x1000)).unwrap();
    memory.slots().write_slice(&[2; 4096], GuestAddress(0x2000)).unwrap();
    let (_, index) = kept(&memory, &first, false);
    let written = index.to_bytes().unwrap();
    let kept = include_bytes!("../../../states/ram-index-2");
    assert_eq!(RamIndex::from_bytes(kept).unwrap(), index);
    assert_eq!(written, kept);
}
