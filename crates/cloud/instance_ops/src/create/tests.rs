//! What is left of an instance that is not made: at each step, ended by its watch or by the host.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use image_import::Importer;
use image_model::{Architecture, ImageDescription, ImageSource, MachineDefaults, SourceKind, UtcTime};
use image_store::{BootFiles, NewImage, Store};
use messages::Unwatched;
use tempfile::TempDir;
use vm_control::FailureClass;

use super::*;

/// Waits for the result no longer, from a question on.
struct EndsAt(Cell<usize>);

impl Watch for EndsAt {
    fn stage(&mut self, _what: &str) {}
    fn bytes(&mut self, _done: u64, _all: Option<u64>) {}
    fn note(&mut self, _what: &str) {}

    fn is_cancelled(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left == 0
    }
}

struct Place {
    folder: TempDir,
    store: Store,
    importer: Importer,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        Place { folder, store, importer: Importer::this_program() }
    }

    fn instances(&self) -> Instances<'_> {
        Instances { store: &self.store, importer: &self.importer }
    }

    fn image(&self, first_boot: FirstBoot) -> Image {
        let staging = self.store.stage().unwrap();
        let disk = staging.file("disk");
        fs::write(&disk, vec![7; 1 << 20]).unwrap();
        let description = ImageDescription {
            os: "tiny".to_owned(),
            release: "1".to_owned(),
            architecture: Architecture::of_host(),
            variant: "default".to_owned(),
            description: String::new(),
            default_user: Some("tiny".to_owned()),
            min_disk_bytes: 0,
            min_memory_bytes: 0,
            machine: MachineDefaults::default(),
            first_boot,
            source: ImageSource { kind: SourceKind::File, location: "/a".to_owned(), checksum: None },
            built: UtcTime::from_unix(0),
        };
        let new = NewImage { description, disk, boot: BootFiles::FromDisk };
        self.store.add_image(new, &mut |_, _| ()).unwrap()
    }

    fn create(&self, image: &Image, name: &str, watch: &mut dyn Watch) -> Result<Instance, InstanceError> {
        let name = name.parse().unwrap();
        self.instances().create(image, &name, None, &FirstBootChoices::default(), watch)
    }

    /// All files and folders of the store and what is in them, but for locks.
    fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut all = BTreeMap::new();
        gather(self.folder.path(), &mut all);
        all.retain(|path, _| !path.starts_with(self.folder.path().join("locks")));
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

#[test]
fn ended_at_any_step_it_leaves_nothing_and_a_second_try_works() {
    for (first_boot, steps) in [(FirstBoot::CloudInit, 4), (FirstBoot::Yagura, 4), (FirstBoot::None, 3)] {
        let place = Place::new();
        let image = place.image(first_boot);
        let before = place.contents();
        for step in 0..steps {
            let ended = place.create(&image, "web1", &mut EndsAt(Cell::new(step)));
            assert!(matches!(ended, Err(InstanceError::Cancelled(_))), "{first_boot:?}, step {step}");
            assert_eq!(place.contents(), before, "{first_boot:?}, step {step}");
            place.create(&image, "web1", &mut Unwatched).unwrap();
            place.instances().delete(&"web1".parse().unwrap()).unwrap();
            assert_eq!(place.contents(), before, "{first_boot:?}, step {step}, deleted");
        }
        place.create(&image, "web1", &mut EndsAt(Cell::new(steps))).unwrap();
    }
}

#[test]
fn a_host_that_refuses_a_step_leaves_nothing_and_a_second_try_works() {
    let place = Place::new();
    let image = place.image(FirstBoot::CloudInit);
    let in_store = |name: &str| place.folder.path().join(name);
    let blob = place.store.blob_path(&image.metadata.disk);
    let moved = in_store("moved");
    // The staging folder; the disk's blob; the place of the instance.
    for taken in [in_store("staging"), blob, in_store("instances")] {
        let before = place.contents();
        fs::rename(&taken, &moved).unwrap();
        let without = place.contents();
        let error = place.create(&image, "web1", &mut Unwatched).map(|_| ()).unwrap_err();
        assert_eq!(error.class(), FailureClass::Host, "{}: {error}", taken.display());
        assert_eq!(place.contents(), without, "{}", taken.display());
        fs::rename(&moved, &taken).unwrap();
        assert_eq!(place.contents(), before);
        place.create(&image, "web1", &mut Unwatched).unwrap();
        place.instances().delete(&"web1".parse().unwrap()).unwrap();
    }
}

#[test]
fn what_makes_no_sense_is_found_before_anything_is_made() {
    let place = Place::new();
    let image = place.image(FirstBoot::CloudInit);
    place.create(&image, "taken", &mut Unwatched).unwrap();
    let before = place.contents();
    let create = |image: &Image, name: &str, size_bytes, choices: &FirstBootChoices| {
        let made =
            place.instances().create(image, &name.parse().unwrap(), size_bytes, choices, &mut Unwatched);
        let error = made.map(|_| ()).unwrap_err();
        assert_eq!(place.contents(), before, "{error}");
        error.class()
    };
    let usual = FirstBootChoices::default();
    let senseless =
        FirstBootChoices { user_data: Some(b"#cloud-config\n[\n".to_vec()), ..FirstBootChoices::default() };
    assert_eq!(create(&image, "taken", None, &usual), FailureClass::Exists);
    assert_eq!(create(&image, "new", Some(512), &usual), FailureClass::Invalid);
    assert_eq!(create(&image, "new", None, &senseless), FailureClass::Invalid);
    let told_nothing = place.image(FirstBoot::None);
    let before = place.contents();
    let keys = FirstBootChoices { keys_were_named: true, ..FirstBootChoices::default() };
    let made = place.instances().create(&told_nothing, &"new".parse().unwrap(), None, &keys, &mut Unwatched);
    assert_eq!(made.map(|_| ()).unwrap_err().class(), FailureClass::Invalid);
    assert_eq!(place.contents(), before);
}

#[test]
fn an_instance_is_who_it_was() {
    let place = Place::new();
    let image = place.image(FirstBoot::CloudInit);
    let (one, two) = (
        place.create(&image, "one", &mut Unwatched).unwrap(),
        place.create(&image, "two", &mut Unwatched).unwrap(),
    );
    assert_ne!(one.record.uuid, two.record.uuid);
    let again = place.instances().open(&one.name).unwrap();
    assert_eq!(
        (&again.record, again.seed.is_some(), again.machine),
        (&one.record, true, one.machine.clone())
    );
    assert_eq!(one.record.image, image.id);
    // One of before there were records.
    let path = place.store.instance_folder(&two.name).join(record::FILE);
    fs::remove_file(&path).unwrap();
    let new = place.instances().open(&two.name).unwrap().record;
    assert_ne!(new.uuid, two.record.uuid);
    assert_eq!(place.instances().open(&two.name).unwrap().record, new);
    // What cannot be read is left alone, and can be deleted.
    let foreign = fs::read(place.store.instance_folder(&one.name).join(record::FILE)).unwrap();
    for bytes in [&b"{}"[..], b"", b"{\"form\": 9}", &foreign[..]] {
        fs::write(&path, bytes).unwrap();
        let error = place.instances().open(&two.name).map(|_| ()).unwrap_err();
        assert!(matches!(error, InstanceError::Record(_)), "{error}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    place.instances().delete(&two.name).unwrap();
}

#[test]
fn what_runs_is_not_deleted() {
    let place = Place::new();
    let image = place.image(FirstBoot::None);
    let instance = place.create(&image, "web1", &mut Unwatched).unwrap();
    let before = place.contents();
    let claim = disk::claim(&instance.disk).unwrap();
    let error = place.instances().delete(&instance.name).unwrap_err();
    assert_eq!((error.class(), place.contents()), (FailureClass::Busy, before));
    drop(claim);
    place.instances().delete(&instance.name).unwrap();
    let gone = place.instances().delete(&instance.name).unwrap_err();
    assert_eq!(gone.class(), FailureClass::NotFound);
}
