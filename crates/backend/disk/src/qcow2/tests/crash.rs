//! One user, random operations, and the power cut at any step.

use std::sync::Arc;

use super::super::Repair;
use super::memory_file::{Cut, MemoryFile};
use super::model::{Model, sector_of, step};
use super::random::Random;
use super::*;
use crate::contract::SECTOR_SIZE;

/// How many operations are run; `YAGURA_DISK_OPERATIONS` says otherwise.
pub(super) fn operations(default: u64) -> u64 {
    let given = std::env::var("YAGURA_DISK_OPERATIONS").ok();
    given.map_or(default, |text| text.parse().expect("YAGURA_DISK_OPERATIONS is a number"))
}

/// A disk behind an image, with a value in each sector, and those values.
pub(super) fn any_behind(random: &mut Random, sectors: usize) -> (Option<Arc<dyn Layer>>, Vec<u64>) {
    let length = match random.below(4) {
        0 | 1 => return (None, vec![0; sectors]),
        2 => 1 + random.below(sectors),
        _ => sectors + random.below(sectors),
    };
    let values: Vec<u64> = (0..length as u64).map(|at| 1 << 63 | at).collect();
    let layer = MemoryLayer(values.iter().flat_map(|value| sector_of(*value)).collect());
    let mut seen = values;
    seen.resize(sectors, 0);
    (Some(Arc::new(layer)), seen)
}

#[test]
fn any_operations_with_power_cuts_leave_what_was_flushed() {
    let mut left = operations(20_000);
    for seed in 1.. {
        left = left.saturating_sub(live_and_die(seed, 1500.min(left)));
        if left == 0 {
            break;
        }
    }
}

/// One image, over several power cuts.
struct Life {
    seed: u64,
    random: Random,
    file: Arc<MemoryFile>,
    behind: Option<Arc<dyn Layer>>,
    model: Model,
    /// Clusters that power cuts have lost.
    leaks: u64,
}

/// Lives until so many operations are done, and returns how many they were.
fn live_and_die(seed: u64, operations: u64) -> u64 {
    let mut random = Random::new(seed);
    let options = any_options(&mut random);
    let sectors = (options.size_bytes / SECTOR_SIZE) as usize;
    let (behind, values) = any_behind(&mut random, sectors);
    let (model, file) = (Model::new(values, 0), new_image(&options));
    let mut life = Life { seed, random, file, behind, model, leaks: 0 };
    let mut done = 0;
    while done < operations {
        let image = open(&life.file, life.behind.clone());
        let steps = 1 + life.random.below(300) as u64;
        for _ in 0..steps {
            step(&image, &mut life.model, &mut life.random)
                .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
        done += steps;
        match life.random.below(5) {
            0 => life.close(image),
            1 => life.cut(image, Cut::Lost),
            2 => life.cut(image, Cut::Kept),
            _ => life.cut(image, Cut::Torn),
        }
    }
    done
}

impl Life {
    fn close(&mut self, image: Image) {
        drop(image);
        self.model.flushed();
        let report = assert_sound(&self.file, &format!("seed {}", self.seed));
        assert_eq!(report.leaks, self.leaks, "seed {}: closing loses no room: {report:?}", self.seed);
        if self.random.below(2) == 0 {
            grow(&self.file, self.behind.as_ref(), &mut self.model, &mut self.random);
        }
    }

    fn cut(&mut self, image: Image, how: Cut) {
        let what = format!("seed {}, {how:?}", self.seed);
        // The power goes while the image does something: everything fails from some step on.
        if self.random.below(2) == 0 {
            self.file.fail_after(self.random.below(30) as u64);
            while step(&image, &mut self.model, &mut self.random).is_ok() && self.random.below(200) > 0 {}
        }
        self.file.fail_after(0);
        let left = Arc::new(MemoryFile::new(self.file.cut(how, &mut self.random)));
        drop(image);
        self.leaks = assert_sound(&left, &what).leaks;
        self.model.survive(&open(&left, self.behind.clone()), &what);
        if self.random.below(3) == 0 {
            super::super::repair_file(&(Arc::clone(&left) as Arc<_>), Repair::Leaks).unwrap();
            assert!(check(&*left).unwrap().is_clean(), "{what}");
            self.leaks = 0;
        }
        self.file = left;
    }
}

/// Makes the disk larger: what comes is zeros, whatever is behind it.
fn grow(file: &Arc<MemoryFile>, behind: Option<&Arc<dyn Layer>>, model: &mut Model, random: &mut Random) {
    let sectors = (model.len() + random.below(200)).min(2000);
    create::grow(&open(file, behind.cloned()), sectors as u64 * SECTOR_SIZE).unwrap();
    model.resize(sectors);
    let image = open(file, behind.cloned());
    assert_eq!(image.size_bytes(), sectors as u64 * SECTOR_SIZE);
    model.assert_reads(&image, 0, sectors, "grown");
}

/// Runs one list of operations again and again, with the power cut one step later each time.
#[test]
fn at_each_step_the_power_can_go() {
    for seed in 1..=operations(20_000) / 4000 {
        let mut random = Random::new(seed);
        let options = any_options(&mut random);
        let sectors = (options.size_bytes / SECTOR_SIZE) as usize;
        let (behind, values) = any_behind(&mut random, sectors);
        for steps in 0.. {
            let file = new_image(&options);
            let image = open(&file, behind.clone());
            let mut model = Model::new(values.clone(), 0);
            let mut random = random.clone();
            file.fail_after(steps);
            let survived = (0..60).all(|_| step(&image, &mut model, &mut random).is_ok());
            for cut in [Cut::Lost, Cut::Kept, Cut::Torn, Cut::Torn] {
                let left = Arc::new(MemoryFile::new(file.cut(cut, &mut random)));
                let what = format!("seed {seed}, power cut at step {steps}, {cut:?}");
                assert_sound(&left, &what);
                model.clone().survive(&open(&left, behind.clone()), &what);
            }
            file.fail_after(u64::MAX);
            drop(image);
            if survived {
                break;
            }
        }
    }
}

/// A write that found no room fails alone.
#[test]
fn a_full_host_fails_requests_and_no_more() {
    for seed in 1..=20 {
        let mut random = Random::new(seed);
        let options = any_options(&mut random);
        let sectors = (options.size_bytes / SECTOR_SIZE) as usize;
        let file = new_image(&options);
        let image = open(&file, None);
        let mut model = Model::new(vec![0; sectors], 0);
        let data = model.begin_write(0, sectors);
        file.fail_after(0);
        image.write(&IoBuffers::from_vec(data.clone()), 0).unwrap_err();
        file.fail_after(u64::MAX);
        image.write(&IoBuffers::from_vec(data), 0).unwrap();
        image.flush().unwrap();
        model.flushed();
        model.assert_reads(&image, 0, sectors, "after the host had room again");
        drop(image);
        assert_eq!(assert_sound(&file, "closed").leaks, 0);
    }
}
