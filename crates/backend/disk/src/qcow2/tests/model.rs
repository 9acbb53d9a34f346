//! What a disk has to hold: for each sector one value, or after a power cut one of several.
//!
//! A sector holds a number, over and over; no two writes write the same.

use guest_memory::IoBuffers;

use super::super::image::Image;
use super::random::Random;
use crate::contract::{DiskOperation, DiskRequest, SECTOR_SIZE};
use crate::layer::Layer;
use crate::thread_queue::Serve;

const SECTOR: usize = SECTOR_SIZE as usize;

/// One sector.
#[derive(Clone, Debug, Default)]
struct Sector {
    /// Flushed.
    stable: u64,
    /// Written since, in order; the last is what is read.
    since: Vec<u64>,
}

impl Sector {
    fn now(&self) -> u64 {
        self.since.last().copied().unwrap_or(self.stable)
    }
}

/// The sectors of a disk that one user writes to.
#[derive(Clone, Debug)]
pub(super) struct Model {
    sectors: Vec<Sector>,
    next_value: u64,
}

/// The sector filled with `value`.
pub(super) fn sector_of(value: u64) -> Vec<u8> {
    value.to_le_bytes().repeat(SECTOR / 8)
}

/// The value that fills a sector.
fn value_of(sector: &[u8], at: usize) -> u64 {
    let (words, _) = sector.as_chunks::<8>();
    assert!(words.windows(2).all(|pair| pair[0] == pair[1]), "sector {at} is a mixture");
    u64::from_le_bytes(words[0])
}

impl Model {
    /// Sectors that hold `values` at first, and get values from `next_value` on.
    pub(super) fn new(values: impl IntoIterator<Item = u64>, next_value: u64) -> Model {
        let sector = |stable| Sector { stable, since: Vec::new() };
        Model { sectors: values.into_iter().map(sector).collect(), next_value }
    }

    pub(super) fn len(&self) -> usize {
        self.sectors.len()
    }

    pub(super) fn resize(&mut self, sectors: usize) {
        self.sectors.resize(sectors, Sector::default());
    }

    /// New values for a range, and the data with which they are written.
    pub(super) fn begin_write(&mut self, first: usize, count: usize) -> Vec<u8> {
        let mut data = Vec::with_capacity(count * SECTOR);
        for sector in &mut self.sectors[first..first + count] {
            self.next_value += 1;
            sector.since.push(self.next_value);
            data.extend(sector_of(self.next_value));
        }
        data
    }

    pub(super) fn begin_zero(&mut self, first: usize, count: usize) {
        self.sectors[first..first + count].iter_mut().for_each(|sector| sector.since.push(0));
    }

    /// A discard may do nothing, or make zeros: both may be found after it.
    pub(super) fn begin_discard(&mut self, first: usize, count: usize) {
        for sector in &mut self.sectors[first..first + count] {
            let now = sector.now();
            sector.since.extend([0, now]);
        }
    }

    /// Learns what a discard has done.
    pub(super) fn end_discard(&mut self, image: &Image, first: usize) {
        let count = self.sectors.len();
        for (at, sector) in self.sectors.iter_mut().enumerate().take(count).skip(first) {
            let found = read_value(image, at);
            let old = sector.now();
            assert!(found == 0 || found == old, "sector {at}: {found}, not 0 or {old}");
            if found != old {
                sector.since.push(found);
            }
        }
    }

    /// Everything written so far is flushed.
    pub(super) fn flushed(&mut self) {
        for sector in &mut self.sectors {
            sector.stable = sector.now();
            sector.since.clear();
        }
    }

    /// Asserts that a range reads as it has to.
    pub(super) fn assert_reads(&self, image: &Image, first: usize, count: usize, what: &str) {
        let data = read(image, first, count);
        for (index, sector) in data.chunks(SECTOR).enumerate() {
            let at = first + index;
            assert_eq!(value_of(sector, at), self.sectors[at].now(), "{what}: sector {at}");
        }
    }

    /// Asserts that what is left after a power cut is possible, and goes on from there.
    pub(super) fn survive(&mut self, image: &Image, what: &str) {
        for at in 0..self.sectors.len() {
            let found = read_value(image, at);
            self.survive_sector(at, found, what);
        }
    }

    /// The same for one sector.
    pub(super) fn survive_sector(&mut self, at: usize, found: u64, what: &str) {
        let sector = &mut self.sectors[at];
        let possible = found == sector.stable || sector.since.contains(&found);
        assert!(possible, "{what}: sector {at} holds {found:#x} after a power cut, not one of {sector:x?}");
        *sector = Sector { stable: found, since: Vec::new() };
    }
}

pub(super) fn read(image: &Image, first: usize, count: usize) -> Vec<u8> {
    let buffers = IoBuffers::from_vec(vec![0xee; count * SECTOR]);
    Layer::read(image, &buffers, (first * SECTOR) as u64).unwrap();
    buffers.to_vec(usize::MAX)
}

pub(super) fn read_value(image: &Image, at: usize) -> u64 {
    value_of(&read(image, at, 1), at)
}

/// A request for a range of sectors.
pub(super) fn request(operation: DiskOperation, first: usize, count: usize, data: Vec<u8>) -> DiskRequest {
    DiskRequest {
        operation,
        offset_bytes: (first * SECTOR) as u64,
        length_bytes: (count * SECTOR) as u64,
        buffers: IoBuffers::from_vec(data),
        ..DiskRequest::flush(0)
    }
}

/// A range of sectors, mostly short.
pub(super) fn any_range(random: &mut Random, sectors: usize) -> (usize, usize) {
    let longest = [1, 8, 40, 300][random.below(4)];
    let first = random.below(sectors);
    (first, 1 + random.below(longest.min(sectors - first)))
}

/// Does something at random to an image and its model.
pub(super) fn step(image: &Image, model: &mut Model, random: &mut Random) -> std::io::Result<()> {
    let (first, count) = any_range(random, model.len());
    let durable = random.below(16) == 0;
    let perform =
        |operation, data| image.perform(DiskRequest { durable, ..request(operation, first, count, data) });
    match random.below(20) {
        0..=9 => {
            let data = model.begin_write(first, count);
            perform(DiskOperation::Write, data)?;
        }
        10..=11 => {
            model.begin_zero(first, count);
            perform(DiskOperation::WriteZeroes { may_unmap: random.below(2) == 0 }, Vec::new())?;
        }
        12..=13 => {
            model.begin_discard(first, count);
            perform(DiskOperation::Discard, Vec::new())?;
            model.end_discard(image, first);
        }
        14 => {
            image.perform(DiskRequest::flush(0))?;
            model.flushed();
            return Ok(());
        }
        _ => {
            model.assert_reads(image, first, count, "read");
            return Ok(());
        }
    }
    if durable {
        model.flushed();
    }
    Ok(())
}
