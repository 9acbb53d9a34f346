//! Images and the VMs made of them: names that nothing has, and a store that is not what it was.

use std::fs;

use crate::{Case, Files, check, check_among, fault, run};

const NAMES: &[Case] = &[
    ("image show no/such", 3, &["there is no image 'no/such' here"]),
    ("image show 0123456789", 3, &["there is no image '0123456789' here"]),
    ("image show a..b", 3, &["there is no image 'a..b' here"]),
    ("image show ../x", 2, &["'../x' cannot be an image's alias"]),
    ("image delete no/such", 3, &["there is no image 'no/such' here"]),
    ("image alias a no/such", 3, &["there is no image 'no/such' here"]),
    ("image alias a --remove", 3, &["there is no image 'a' here"]),
    ("image export no/such DIR/new", 3, &["there is no image 'no/such' here"]),
    ("image publish web1", 3, &["there is no VM 'web1' here"]),
    ("delete web1", 3, &["VM web1 cannot be deleted", "there is no VM 'web1' here"]),
    ("image pull no/such", 3, &["image no/such", "no image is called no/such, here or in the catalogue"]),
    ("image pull debain/12 --checksum sha256:00", 2, &["is not a sha256 (64 hexadecimal digits)"]),
    ("image pull ftp://a.example/b.raw", 1, &["ftp://a.example/b.raw"]),
    ("image pull oci:", 1, &["'oci:' is not the name of an OCI image"]),
    ("image pull DIR/text", 1, &["does not say what is in it; give --format"]),
    ("image import DIR/text", 1, &["does not say what is in it; give --format"]),
    ("image import DIR/text --format qcow", 2, &["'qcow' is not a format"]),
    ("image import DIR/text --format tar.gz", 2, &["'tar.gz' is not a format"]),
    ("image build no/such", 3, &["no/such"]),
    ("run --image no/such", 1, &["image no/such: no image is called no/such"]),
    ("run --image no/such --name a,b", 2, &["'a,b' is not a name for a VM", "did you mean 'a-b'?"]),
];

#[test]
fn names_that_nothing_has() {
    check(NAMES);
}

/// A store with one image, whose disk is 1 MiB without a kernel, and a VM of it that does not run.
fn with_an_image() -> Files {
    let files = Files::new();
    fs::write(files.path("one.raw"), vec![1; 1 << 20]).unwrap();
    let imported = run(&files, "image import one.raw --alias my/one");
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    let ran = run(&files, "run --image my/one --name web1 --kernel good --console none");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    files
}

#[test]
fn an_image_is_called_by_its_name() {
    let files = with_an_image();
    check_among(
        &files,
        &[
            (
                "run --image my/one --name a --kernel good --disk-size 512B",
                1,
                &["VM a", "a disk of 512 bytes is too small: image my/one needs 1 MiB or more"],
            ),
            ("run --image my/one --name web1", 1, &["VM web1", "image my/one starts by firmware only"]),
            ("run --image my/one --name web1 --disk-size 2M", 1, &["VM web1 is there already"]),
            ("image show my/ome", 3, &["did you mean 'my/one'?"]),
            ("delete web2", 3, &["did you mean 'web1'?"]),
        ],
    );
}

/// What happens to a file of the store, where it is, and what is then said of what.
#[test]
fn a_store_that_was_damaged_is_spoken_of_in_words() {
    let cases: [(&str, &[u8], &str, &[&str]); 6] = [
        (
            "blobs/sha256",
            b"",
            "run --image my/one --name a --kernel good",
            &["image my/one", "missing from the store"],
        ),
        (
            "blobs/sha256",
            b"",
            "image export my/one new --disk-format raw",
            &["image my/one", "missing from the store"],
        ),
        (
            "images",
            b"{}",
            "image show my/one",
            &["what is known of image", "is damaged", "'yagura image verify'"],
        ),
        ("images", b"{ \"form\": ", "image list", &["what is known of image", "is damaged"]),
        ("aliases.json", b"[1]", "image show my/one", &["the list of images' names is damaged"]),
        ("version", b"99", "image list", &["is not a store that this version of Yagura can use", "'99'"]),
    ];
    for (place, bytes, text, words) in cases {
        let files = with_an_image();
        let place = files.path("store").join(place);
        let path = if place.is_dir() {
            fs::read_dir(&place).unwrap().next().unwrap().unwrap().path()
        } else {
            place
        };
        fs::remove_file(&path).unwrap();
        if !bytes.is_empty() {
            fs::write(&path, bytes).unwrap();
        }
        let output = run(&files, text);
        let fault = fault(&files, &output, words);
        assert!(fault.is_none(), "{}: `yagura {text}` {fault:?}", path.display());
    }
}

#[test]
fn a_place_that_is_no_store() {
    let files = Files::new();
    fs::write(files.path("store"), "a file").unwrap();
    let output = run(&files, "image list");
    let fault = fault(&files, &output, &["images: cannot make the folder STORE"]);
    assert!(fault.is_none(), "{fault:?}");
}
