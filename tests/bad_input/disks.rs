//! Images that cannot be made or used.

use crate::{Case, check};

/// Images that cannot be made or used.
const DISKS: &[Case] = &[
    ("disk create DIR/disk --size 10G", 1, &["DIR/disk exists already"]),
    ("disk create DIR/none/new --size 10G", 1, &["cannot make DIR/none/new", "No such file"]),
    (
        "disk create DIR/new --size 10G --cluster-size 1000B",
        2,
        &["--cluster-size", "another power of two from 512B to 2M"],
    ),
    ("disk create DIR/new --size 10G --cluster-size 1536B", 2, &["'1536B' is not a cluster size"]),
    ("disk create DIR/new --size 10G --cluster-size 4M", 2, &["'4M' is not a cluster size", "512B to 2M"]),
    ("disk create DIR/new --size 10G --qcow2-version 2 --compression zstd", 1, &["DIR/new", "version 2"]),
    ("disk create DIR/new --size 10G --disk-format raw --compression zstd", 1, &["raw", "--compression"]),
    ("disk create DIR/new --size 900P", 1, &["DIR/new", "a disk of"]),
    ("disk create DIR/new --backing DIR/none --backing-format raw", 1, &["DIR/none does not exist"]),
    ("disk create DIR/new --backing DIR/disk --backing-format qcow2", 1, &["DIR/disk", "as a qcow2 image"]),
    ("disk info DIR/none --disk-format raw", 1, &["DIR/none does not exist"]),
    ("disk info DIR/disk --disk-format qcow2", 1, &["DIR/disk", "not begin as a qcow2 image does"]),
    ("disk check DIR/disk", 1, &["DIR/disk", "not begin as a qcow2 image does"]),
    ("disk check DIR/sound.qcow2 --repair leaks --kvm", 2, &["'--kvm'"]),
    ("disk resize DIR/disk 1024B --disk-format raw", 1, &["DIR/disk has 4 KiB", "smaller"]),
    ("disk resize DIR/sound.qcow2 1024B --disk-format qcow2", 1, &["DIR/sound.qcow2 has", "smaller"]),
    ("disk convert DIR/disk DIR/text --from raw --to qcow2", 1, &["DIR/text exists already"]),
    ("disk convert DIR/disk DIR/new --from qcow2 --to raw", 1, &["DIR/disk", "as a qcow2 image"]),
    ("disk convert DIR/disk DIR/new --from raw --to raw --compress", 1, &["raw", "--compress"]),
    ("disk convert DIR/behind.qcow2 DIR/new --from qcow2 --to raw", 1, &["without saying"]),
    ("disk map DIR --disk-format raw", 1, &["DIR is a directory"]),
];

#[test]
fn images_that_cannot_be_made_or_used() {
    check(DISKS);
}
