//! Several users at once, each with sectors of its own in clusters that all share, and the power cut in the
//! middle of it.

use std::sync::{Arc, Mutex, RwLock};

use super::crash::operations;
use super::memory_file::{Cut, MemoryFile};
use super::model::{Model, read_value, request};
use super::random::Random;
use super::*;
use crate::contract::{DiskOperation, DiskRequest, SECTOR_SIZE};
use crate::thread_queue::Serve;

const USERS: usize = 4;
/// Sectors that belong to one user in a row.
const STRIPE: usize = 3;

/// Whose sector it is.
fn user_of(sector: usize) -> usize {
    sector / STRIPE % USERS
}

/// The image, and what each user has written. Models change under the gate's read lock: who holds the write
/// lock sees all of them at one moment.
struct Scene {
    image: Image,
    models: [Mutex<Model>; USERS],
    gate: RwLock<()>,
}

impl Scene {
    fn model<T>(&self, user: usize, change: impl FnOnce(&mut Model) -> T) -> T {
        let _open = self.gate.read().unwrap();
        change(&mut self.models[user].lock().unwrap())
    }

    /// One user's life.
    fn live(&self, user: usize, seed: u64, operations: u64) {
        let mut random = Random::new(seed * 100 + user as u64);
        let sectors = self.models[user].lock().unwrap().len();
        for _ in 0..operations {
            let at = random.below(sectors);
            if user_of(at) != user {
                continue;
            }
            let end = (at / STRIPE + 1) * STRIPE;
            let count = 1 + random.below(end.min(sectors) - at);
            match random.below(16) {
                0..=9 => {
                    let data = self.model(user, |model| model.begin_write(at, count));
                    self.image.perform(request(DiskOperation::Write, at, count, data)).unwrap();
                }
                10 => {
                    let may_unmap = random.below(2) == 0;
                    self.model(user, |model| model.begin_zero(at, count));
                    let operation = DiskOperation::WriteZeroes { may_unmap };
                    self.image.perform(request(operation, at, count, Vec::new())).unwrap();
                }
                11 => {
                    self.image.perform(DiskRequest::flush(0)).unwrap();
                    self.model(user, Model::flushed);
                }
                _ => self.models[user].lock().unwrap().assert_reads(&self.image, at, count, "own"),
            }
        }
    }

    /// What is left of the file and of the models if the power goes now.
    fn cut(&self, file: &MemoryFile, random: &mut Random) -> (Arc<MemoryFile>, Vec<Model>) {
        let _closed = self.gate.write().unwrap();
        let how = [Cut::Lost, Cut::Kept, Cut::Torn, Cut::Torn][random.below(4)];
        let left = Arc::new(MemoryFile::new(file.cut(how, random)));
        (left, self.models.iter().map(|model| model.lock().unwrap().clone()).collect())
    }
}

#[test]
fn users_of_one_image_do_not_disturb_each_other() {
    let all = operations(20_000);
    let each = 2000.min(all / USERS as u64 + 1);
    for seed in 1..=all.div_ceil(each * USERS as u64) {
        let mut random = Random::new(seed);
        let options = any_options(&mut random);
        let sectors = (options.size_bytes / SECTOR_SIZE) as usize;
        let file = new_image(&options);
        let model = |user: usize| Mutex::new(Model::new(vec![0; sectors], (user as u64) << 48));
        let scene =
            Scene { image: open(&file, None), models: [0, 1, 2, 3].map(model), gate: RwLock::new(()) };
        std::thread::scope(|scope| {
            for user in 0..USERS {
                let scene = &scene;
                scope.spawn(move || scene.live(user, seed, each));
            }
            // The disk grows meanwhile: its last cluster is some user's, too.
            let (image, mut sizes) = (&scene.image, Random::new(seed));
            scope.spawn(move || {
                for _ in 0..8 {
                    let more_bytes = sizes.below(300) as u64 * SECTOR_SIZE;
                    create::grow(image, image.size_bytes() + more_bytes).unwrap();
                }
            });
            for _ in 0..8 {
                std::thread::sleep(std::time::Duration::from_millis(1));
                let (left, models) = scene.cut(&file, &mut random);
                assert_survivors(&left, models, seed);
            }
        });
        let Scene { image, models, .. } = scene;
        for (user, model) in models.iter().enumerate() {
            let model = model.lock().unwrap();
            (0..sectors)
                .filter(|at| user_of(*at) == user)
                .for_each(|at| model.assert_reads(&image, at, 1, "end"));
        }
        for at in sectors..(image.size_bytes() / SECTOR_SIZE) as usize {
            assert_eq!(read_value(&image, at), 0, "what has come is zeros");
        }
        drop(image);
        assert_eq!(assert_sound(&file, "closed").leaks, 0);
    }
}

fn assert_survivors(left: &Arc<MemoryFile>, mut models: Vec<Model>, seed: u64) {
    let what = format!("seed {seed}");
    assert_sound(left, &what);
    let image = open(left, None);
    for at in 0..models[0].len() {
        models[user_of(at)].survive_sector(at, read_value(&image, at), &what);
    }
}
