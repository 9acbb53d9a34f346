//! What is left of an image that does not come: at each step, ended by its watch or by the host.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use image_model::{Alias, ImageSource};
use image_ops::{ImageError, ImportOptions, Watch};

use super::{Folder, Notes};

/// Waits for the result no longer, from a question on. Counts the questions.
struct EndsAt {
    left: Cell<usize>,
    asked: Cell<usize>,
}

impl EndsAt {
    fn question(number: usize) -> EndsAt {
        EndsAt { left: Cell::new(number), asked: Cell::new(0) }
    }
}

impl Watch for EndsAt {
    fn stage(&mut self, _what: &str) {}
    fn bytes(&mut self, _done: u64, _all: Option<u64>) {}
    fn note(&mut self, _what: &str) {}

    fn is_cancelled(&self) -> bool {
        self.asked.set(self.asked.get() + 1);
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left == 0
    }
}

impl Folder {
    /// All of the store but locks and downloads, which go on where they were.
    fn store(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut all = BTreeMap::new();
        gather(&self.path("store"), &mut all);
        let left_out = ["store/locks", "store/partial"].map(|name| self.path(name));
        all.retain(|path, _| !left_out.iter().any(|folder| path.starts_with(folder)));
        all
    }
}

fn gather(folder: &Path, all: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, all);
            all.insert(path, Vec::new());
        } else {
            let bytes = fs::read(&path).unwrap();
            all.insert(path, bytes);
        }
    }
}

/// A disk with an ext4 file system's mark and nothing else: how far it is, is told in few steps.
fn small_disk() -> Vec<u8> {
    let mut disk = vec![0; 1 << 20];
    disk[1080..1082].copy_from_slice(&[0x53, 0xef]);
    disk
}

fn alias() -> Alias {
    "my/disk".parse().unwrap()
}

fn was_ended(error: &ImageError) -> bool {
    matches!(
        error,
        ImageError::Cancelled(_)
            | ImageError::Fetch(image_sources::FetchError::Cancelled)
            | ImageError::Import(image_import::ImportError::Cancelled(_))
            | ImageError::Store(image_store::StoreError::Cancelled(_))
    )
}

/// Ends `act` at each question in turn, until it comes to its end: the store stays as it was. The number of questions.
fn end_at_each_question(
    folder: &Folder,
    act: impl Fn(&mut dyn Watch) -> Result<image_store::Image, ImageError>,
) -> usize {
    let before = folder.store();
    for number in 0..100 {
        let mut watch = EndsAt::question(number);
        match act(&mut watch) {
            Ok(image) => {
                assert_eq!(folder.images.store.aliases().unwrap().get(&alias()), Some(&image.id));
                return number;
            }
            Err(error) => {
                assert!(was_ended(&error), "question {number}: {error}");
                assert_eq!(folder.store(), before, "question {number}");
            }
        }
    }
    panic!("it never ends");
}

#[test]
fn an_import_that_is_ended_leaves_nothing_and_a_second_try_works() {
    let folder = Folder::new();
    let path = folder.write("a.raw", &small_disk());
    let options = ImportOptions { alias: Some(alias()), ..folder.options("a.raw") };
    let questions =
        end_at_each_question(&folder, |watch| folder.images.import_file(&path, None, &options, watch));
    // Reading, looking for a kernel, the digest, the place.
    assert!(questions >= 4, "{questions}");
}

#[test]
fn a_pull_that_is_ended_leaves_its_download_and_a_second_try_goes_on() {
    let folder = Folder::new();
    let disk = small_disk();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/a.raw", listener.local_addr().unwrap());
    // It ends with the test.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let reader = BufReader::new(stream.try_clone().unwrap());
            reader.lines().map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nETag: \"1\"\r\nConnection: close\r\n\r\n",
                disk.len()
            );
            // Who wants no more hangs up.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&disk));
        }
    });
    let options = ImportOptions { alias: Some(alias()), ..ImportOptions::of(ImageSource::url(&url, None)) };
    let questions =
        end_at_each_question(&folder, |watch| folder.images.pull_url(&url, None, &options, watch));
    assert!(questions >= 6, "{questions}");
    let partial: Vec<_> = fs::read_dir(folder.path("store/partial")).unwrap().collect();
    assert!(partial.len() <= 1, "the download has become an image: {partial:?}");
}

#[test]
fn a_host_that_refuses_a_step_leaves_the_store_as_it_was() {
    let folder = Folder::new();
    let path = folder.write("a.raw", &small_disk());
    let options = ImportOptions { alias: Some(alias()), ..folder.options("a.raw") };
    let import = || folder.images.import_file(&path, None, &options, &mut Notes::default());
    let in_store = |name: &str| folder.path("store").join(name);
    // The staging folder; the place of blobs; the list of names.
    for (taken, is_there) in [("staging", true), ("blobs/sha256", true), ("aliases.json", false)] {
        let before = folder.store();
        if is_there {
            fs::rename(in_store(taken), folder.path("moved")).unwrap();
        } else {
            fs::create_dir(in_store(taken)).unwrap();
        }
        let without = folder.store();
        import().unwrap_err();
        assert_eq!(folder.store(), without, "{taken}");
        if is_there {
            fs::rename(folder.path("moved"), in_store(taken)).unwrap();
        } else {
            fs::remove_dir(in_store(taken)).unwrap();
        }
        assert_eq!(folder.store(), before, "{taken}");
    }
    let image = import().unwrap();
    assert_eq!(folder.images.store.aliases().unwrap().get(&alias()), Some(&image.id));
}

#[test]
fn a_build_that_is_ended_leaves_nothing() {
    let folder = Folder::new();
    let before = folder.store();
    let recipe = "name = \"my/disk\"\nos = \"none\"\nrelease = \"1\"\ncodename = \"no-such-release\"\n\
        packages = [\"none\"]\nsize = \"1G\"\nfirst-boot = \"none\"\n";
    let path = folder.write("none.toml", recipe.as_bytes());
    let recipe = image_build::Recipe::read(&path).unwrap();
    // Before anything is begun, and at the first word of the program that builds, if it is here.
    for number in 0..2 {
        assert!(folder.images.build(&recipe, &mut EndsAt::question(number)).is_err());
        assert_eq!(folder.store(), before, "question {number}");
    }
}
