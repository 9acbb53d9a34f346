//! Disks and archives that are cut short, or something else than was said.

use std::fs;
use std::io::Write;

use crate::{Files, fault, run};

/// Bytes without an order, always the same.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

/// What begins as something and goes on as nothing.
fn beginnings() -> Vec<(&'static str, Vec<u8>)> {
    let starts: [(&str, &[u8]); 12] = [
        ("noise", b""),
        ("qcow2", b"QFI\xfb\0\0\0\x03"),
        ("qcow2-new", b"QFI\xfb\0\0\0\x09"),
        ("vmdk", b"KDMV\x01\0\0\0"),
        (
            "descriptor",
            b"# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\nRW 1 FLAT \"../x\" 0\n",
        ),
        ("nameless", b"# Disk DescriptorFile\nversion=1\n"),
        ("vhdx", b"vhdxfile"),
        ("gzip", b"\x1f\x8b\x08\0"),
        ("xz", b"\xfd7zXZ\0"),
        ("zstd", b"\x28\xb5\x2f\xfd"),
        ("json", b"{\"schemaVersion\": 2,"),
        ("bom", b"\xef\xbb\xbf# Disk DescriptorFile\n"),
    ];
    let long = |(name, start): (&'static str, &[u8])| (name, [start, &noise(100_000)].concat());
    let mut all: Vec<_> = starts.into_iter().map(long).collect();
    all.push(("short", b"QFI".to_vec()));
    all.push(("empty", Vec::new()));
    all.push(("text", b"no disk at all\n".to_vec()));
    let mut gzip = Vec::new();
    let mut encoder = flate2::write::GzEncoder::new(&mut gzip, flate2::Compression::fast());
    encoder.write_all(&noise(50_000)).unwrap();
    encoder.finish().unwrap();
    all.push(("cut-gzip", gzip[..20_000].to_vec()));
    all.push(("gzip-of-noise", gzip));
    all
}

#[test]
fn damage_is_said_in_words_whatever_it_was_said_to_be() {
    let files = Files::new();
    let mut wrong = Vec::new();
    let mut count = 0;
    for (name, bytes) in beginnings() {
        let path = files.path(&format!("bad-{name}"));
        fs::write(&path, bytes).unwrap();
        for text in [
            "disk info PATH --disk-format qcow2",
            "disk check PATH",
            "disk map PATH --disk-format qcow2",
            "disk convert PATH new --from qcow2 --to raw",
            "disk convert PATH new --from vmdk --to raw",
            "disk convert PATH new --from vhdx --to qcow2",
            "image import PATH --format qcow2",
            "image import PATH --format vmdk",
            "image import PATH --format vhdx",
            "image import PATH --format raw.xz",
            "image import PATH --format raw.zst",
            "image import PATH --format qcow2.gz",
            "image import PATH --format oci",
            "image import PATH --format oci.gz",
            "run --kernel PATH",
            "run --config PATH",
            "image build --recipe PATH",
        ] {
            count += 1;
            let text = text.replace("PATH", &format!("bad-{name}"));
            let output = run(&files, &text);
            // A recipe has no name of its own in it, a configuration no kernel; all others are told by their names.
            let named = format!("bad-{name}");
            wrong.extend(fault(&files, &output, &[&named]).map(|fault| format!("`yagura {text}` {fault}")));
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(!files.path("new").exists());
}
