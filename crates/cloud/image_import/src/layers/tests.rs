//! Layers of all kinds, hostile ones first of all. What comes out is read by the `tar` crate here, and unpacked by
//! `tar` in `tests/`.

use std::collections::HashSet;
use std::io::Write;

use tar::{EntryType, Header};

use super::pax::record;
use super::*;

/// Writes layers, with any nonsense in them.
#[derive(Default)]
pub(super) struct LayerMaker(Vec<u8>);

impl LayerMaker {
    fn header(mut self, header: &mut Header, name: &str, data: &[u8]) -> LayerMaker {
        assert!(name.len() <= 100, "longer ones need records");
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn entry(self, kind: EntryType, name: &str, link: &str, data: &[u8]) -> LayerMaker {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_700_000_000);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        self.header(&mut header, name, data)
    }

    fn file(self, name: &str, data: &str) -> LayerMaker {
        self.entry(EntryType::Regular, name, "", data.as_bytes())
    }

    fn folder(self, name: &str) -> LayerMaker {
        self.entry(EntryType::Directory, name, "", b"")
    }

    fn symlink(self, name: &str, target: &str) -> LayerMaker {
        self.entry(EntryType::Symlink, name, target, b"")
    }

    fn hardlink(self, name: &str, target: &str) -> LayerMaker {
        self.entry(EntryType::Link, name, target, b"")
    }

    fn records(self, records: &[(&str, &[u8])]) -> LayerMaker {
        let records: Vec<u8> =
            records.iter().flat_map(|(key, value)| record(key.as_bytes(), value)).collect();
        self.entry(EntryType::XHeader, "records", "", &records)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

fn layer() -> LayerMaker {
    LayerMaker::default()
}

fn merge_all(layers: &[Vec<u8>]) -> Result<(Merged, Vec<u8>), String> {
    let layers: Vec<_> = layers.iter().map(|layer| (LayerCompression::None, &layer[..])).collect();
    merge_in_memory(&layers, &Limits::default())
}

/// What is in an archive: a line an entry. Asserts everything that is promised about it.
fn listing(archive: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut seen, mut folders) = (HashSet::new(), HashSet::new());
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = String::from_utf8_lossy(&entry.path_bytes()).trim_end_matches('/').to_owned();
        if name == "." {
            continue;
        }
        let link = entry.link_name_bytes().map(|link| String::from_utf8_lossy(&link).into_owned());
        assert!(
            !name.starts_with('/') && !name.split('/').any(|part| matches!(part, ".." | "." | "")),
            "{name}"
        );
        if let Some((parent, _)) = name.rsplit_once('/') {
            assert!(folders.contains(parent), "{name} is not in a folder before it");
        }
        let (kind, link) = match entry.header().entry_type() {
            EntryType::Directory => {
                folders.insert(name.clone());
                ('d', String::new())
            }
            EntryType::Regular => {
                let mut data = String::new();
                entry.read_to_string(&mut data).unwrap();
                ('-', format!(" {data}"))
            }
            EntryType::Symlink => ('l', format!(" -> {}", link.unwrap())),
            EntryType::Link => {
                let link = link.unwrap();
                assert!(seen.contains(&link), "{name} links to {link}, which is not before it");
                ('h', format!(" = {link}"))
            }
            EntryType::Fifo => ('p', String::new()),
            other => panic!("an entry of kind {other:?}"),
        };
        assert!(seen.insert(name.clone()), "{name} is twice there");
        lines.push(format!("{kind} {name}{link}"));
    }
    lines
}

#[track_caller]
fn assert_merged(layers: &[Vec<u8>], expected: &[&str]) -> Dropped {
    let (merged, archive) = merge_all(layers).unwrap();
    assert_eq!(listing(&archive), expected);
    assert_eq!((merged.archive_bytes, merged.entries), (archive.len() as u64, expected.len() as u64 + 1));
    merged.dropped
}

#[test]
fn later_layers_lie_over_former_ones() {
    let base = layer().folder("etc/").file("etc/a", "old").file("etc/b", "b").file("bin", "x").end();
    let upper = layer().file("etc/a", "new").file("etc/deep/er/c", "c").folder("bin").end();
    let expected =
        ["d bin", "d etc", "- etc/a new", "- etc/b b", "d etc/deep", "d etc/deep/er", "- etc/deep/er/c c"];
    assert_merged(&[base, upper], &expected);
}

#[test]
fn whiteouts_hide_what_is_below_and_nothing_of_their_own_layer() {
    let base = layer().file("d/a", "a").file("d/b", "b").file("e/x/y", "y").file("f", "f").end();
    let upper = layer()
        .file("d/.wh.a", "")
        .file("d/c", "c")
        .file("e/new", "new")
        .file("e/.wh..wh..opq", "")
        .file("f", "again")
        .file(".wh.f", "")
        .file(".wh.never", "")
        .file("d/.wh..wh.plnk", "")
        .end();
    assert_merged(&[base, upper], &["d d", "- d/b b", "- d/c c", "d e", "- e/new new", "- f again"]);
}

#[test]
fn a_folder_that_is_hidden_and_filled_again_has_the_new_things_only() {
    let base = layer().file("d/old/one", "1").file("d/two", "2").end();
    let upper = layer().file("d/old/three", "3").file(".wh.d", "").end();
    assert_merged(&[base.clone(), upper], &["d d", "d d/old", "- d/old/three 3"]);
    let all = layer().file(".wh.d", "").end();
    assert_merged(
        &[base.clone(), all.clone(), base.clone()],
        &["d d", "d d/old", "- d/old/one 1", "- d/two 2"],
    );
    assert_merged(&[base, all], &[]);
}

#[test]
fn names_that_climb_or_are_absolute_stay_inside() {
    let hostile = layer()
        .file("/etc/passwd", "p")
        .file("../../outside", "o")
        .file("a/../../b", "b")
        .symlink("/abs", "/etc")
        .end();
    let dropped = assert_merged(&[hostile], &["l abs -> /etc", "d etc", "- etc/passwd p"]);
    assert_eq!((dropped.made_relative, dropped.outside), (2, 2));
}

#[test]
fn entries_do_not_go_through_links_to_the_outside() {
    let hostile = layer()
        .symlink("up", "../../../../etc")
        .file("up/cron.d/x", "x")
        .symlink("root", "/")
        .file("root/home/y", "y")
        .symlink("lib", "usr/lib")
        .file("lib/z", "z")
        .end();
    // As in a guest: each link leads to a place in the tree.
    let expected = [
        "d etc",
        "d etc/cron.d",
        "- etc/cron.d/x x",
        "d home",
        "- home/y y",
        "l lib -> usr/lib",
        "l root -> /",
        "l up -> etc",
        "d usr",
        "d usr/lib",
        "- usr/lib/z z",
    ];
    let dropped = assert_merged(&[hostile], &expected);
    assert_eq!(dropped.shortened, 1);
}

#[test]
fn links_end_at_the_root() {
    let links = layer()
        .symlink("a/b/deep", "../../c")
        .symlink("a/b/far", "../../../../../../../x/../y")
        .symlink("top", "..")
        .symlink("self", ".")
        .end();
    let expected =
        ["d a", "d a/b", "l a/b/deep -> ../../c", "l a/b/far -> ../../x/../y", "l self -> .", "l top -> ."];
    assert_eq!(assert_merged(&[links], &expected).shortened, 2);
}

#[test]
fn links_in_circles_are_an_error() {
    let circle = layer().symlink("a", "b").symlink("b", "a").file("a/x", "").end();
    let error = merge_all(&[circle]).unwrap_err();
    assert!(error.contains("circles"), "{error}");
}

#[test]
fn hard_links_lead_to_files_of_the_tree_or_nowhere() {
    let base = layer().file("a", "data").symlink("s", "/etc/shadow").end();
    let upper = layer()
        .hardlink("0/first", "a")
        .hardlink("b", "/a")
        .hardlink("c", "../../etc/shadow")
        .hardlink("d", "missing")
        .hardlink("e", "/etc/passwd")
        .folder("f")
        .hardlink("g", "f")
        .hardlink("h", "s")
        .hardlink("a", "a")
        .end();
    let expected = [
        "d 0",
        "- 0/first data",
        "h a = 0/first",
        "h b = 0/first",
        "d f",
        "l h -> /etc/shadow",
        "l s -> /etc/shadow",
    ];
    let dropped = assert_merged(&[base, upper], &expected);
    assert_eq!((dropped.links, dropped.outside), (3, 1));
}

#[test]
fn a_hard_link_keeps_its_data_when_the_other_name_is_replaced() {
    let base = layer().file("a", "data").hardlink("b", "a").end();
    let upper = layer().file("a", "other").end();
    assert_merged(&[base, upper], &["- a other", "- b data"]);
}

#[test]
fn devices_and_unknown_kinds_are_counted_and_left_out() {
    let hostile = layer()
        .entry(EntryType::Char, "dev/null", "", b"")
        .entry(EntryType::Block, "dev/sda", "", b"")
        .entry(EntryType::new(b'V'), "volume", "", b"label")
        .file("file", "x")
        .end();
    let dropped = assert_merged(&[hostile], &["- file x"]);
    assert_eq!((dropped.devices, dropped.unknown), (2, 1));
}

#[test]
fn pipes_are_kept_with_all_their_names() {
    let base = layer()
        .entry(EntryType::Fifo, "run/pipe", "", b"")
        .hardlink("run/second", "run/pipe")
        .entry(EntryType::Fifo, "gone", "", b"")
        .entry(EntryType::Fifo, "file", "", b"")
        .end();
    let upper = layer().file(".wh.gone", "").file("file", "x").entry(EntryType::Fifo, "new", "", b"").end();
    assert_merged(&[base, upper], &["- file x", "p new", "d run", "p run/pipe", "h run/second = run/pipe"]);
}

#[test]
fn of_entries_that_are_twice_there_the_last_one_counts() {
    let twice = layer()
        .file("a", "one")
        .file("./a", "two")
        .folder("b")
        .symlink("b", "/tmp")
        .symlink("c", "/etc")
        .folder("c")
        .file("c/x", "x")
        .end();
    assert_merged(&[twice], &["- a two", "l b -> /tmp", "d c", "- c/x x"]);
}

#[test]
fn long_names_owners_and_attributes_survive() {
    let long = "n".repeat(250);
    let path = format!("{long}/{long}");
    let capability = b"\x01\x00\x00\x02\x00\n\x00\x00";
    let rich = layer()
        .records(&[
            ("path", path.as_bytes()),
            ("uid", b"4000000000"),
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.trusted.x", b"no"),
        ])
        .file("short", "data")
        .entry(EntryType::GNULongName, "././@LongLink", "", format!("{long}\0").as_bytes())
        .symlink("short", "target")
        .end();
    let (merged, archive) = merge_all(&[rich]).unwrap();
    assert_eq!(merged.dropped.attributes, 1);
    // The link has replaced the folder.
    assert_eq!(listing(&archive), [format!("l {long} -> target")]);
    let rich = layer()
        .records(&[
            ("path", path.as_bytes()),
            ("uid", b"4000000000"),
            ("SCHILY.xattr.security.capability", capability),
        ])
        .file("short", "data")
        .end();
    let (_, archive) = merge_all(&[rich]).unwrap();
    let mut archive = tar::Archive::new(&archive[..]);
    let mut entry = archive.entries().unwrap().map(Result::unwrap).last().unwrap();
    assert_eq!(entry.path_bytes(), path.as_bytes());
    let records = entry.pax_extensions().unwrap().unwrap();
    let has_uid =
        records.flatten().any(|record| record.key() == Ok("uid") && record.value() == Ok("4000000000"));
    assert!(has_uid);
}

#[test]
fn links_to_nothing_and_numbers_that_are_left_out() {
    let mut header = Header::new_old();
    header.set_entry_type(EntryType::Regular);
    let odd = layer().symlink("nothing", "").header(&mut header, "plain", b"").end();
    assert_eq!(assert_merged(&[odd], &["- plain "]).links, 1);
    for target in [&b"a\0b"[..], &[b'x'; 4096]] {
        let odd = layer().records(&[("linkpath", target)]).symlink("link", "").end();
        assert!(merge_all(&[odd]).unwrap_err().contains("which no file can have"));
    }
}

#[test]
fn claims_of_sizes_are_not_believed() {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_size(1 << 60);
    let huge = layer().header(&mut header, "huge", b"").end();
    let error = merge_all(&[huge]).unwrap_err();
    assert!(error.contains("more than 1 GiB"), "{error}");
    let huge = layer().records(&[("size", b"1152921504606846976")]).file("huge", "").end();
    let error = merge_all(&[huge]).unwrap_err();
    assert!(error.contains("more than 1 GiB"), "{error}");
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_size(0);
    let sparse = layer().header(&mut header, "sparse", b"").end();
    assert!(merge_all(&[sparse]).unwrap_err().contains("sparse files"));
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn bombs_go_off_in_words() {
    let limits = Limits { data_bytes: 8 << 20, ..Limits::default() };
    let zeros = layer().file("bomb", &"\0".repeat(16 << 20)).end();
    let (small, smaller) = (gzip(&zeros), zstd::bulk::compress(&zeros, 3).unwrap());
    assert!(small.len() < 64 << 10 && smaller.len() < 64 << 10);
    for (compression, bytes) in [(LayerCompression::Gzip, &small), (LayerCompression::Zstd, &smaller)] {
        let error = merge_in_memory(&[(compression, bytes)], &limits).unwrap_err();
        assert!(error.contains("unpacks to more than 8 MiB"), "{error}");
    }
    // Behind the archive's end, too.
    let mut behind = layer().file("a", "a").end();
    behind.resize(16 << 20, 0);
    let error = merge_in_memory(&[(LayerCompression::Gzip, &gzip(&behind))], &limits).unwrap_err();
    assert!(error.contains("unpacks to more than 8 MiB"), "{error}");
}

#[test]
fn many_entries_and_long_names_are_bounded() {
    let limits = Limits { entries: 100, names_bytes: 5000, ..Limits::default() };
    let many = (0..101).fold(layer(), |layer, at| layer.file(&format!("{at}"), "")).end();
    let error = merge_in_memory(&[(LayerCompression::None, &many)], &limits).unwrap_err();
    assert!(error.contains("more than 100 entries"), "{error}");
    // One name that makes many folders.
    let deep = layer().records(&[("path", &b"x/".repeat(150))]).file("x", "").file("y", "").end();
    let error = merge_in_memory(&[(LayerCompression::None, &deep)], &limits).unwrap_err();
    assert!(error.contains("more than 100 entries"), "{error}");
    let long = layer().records(&[("SCHILY.xattr.user.a", &[b'x'; 6000])]).file("x", "").end();
    let error = merge_in_memory(&[(LayerCompression::None, &long)], &limits).unwrap_err();
    assert!(error.contains("more than 5000 bytes of names"), "{error}");
}

#[test]
fn folders_in_folders_do_not_use_up_the_stack() {
    // Links make the way longer than a name can be, until a path would be too long.
    let mut maker = layer().records(&[("path", &b"d/".repeat(1000))]).folder("x");
    maker = maker.records(&[("linkpath", &b"d/".repeat(1000))]).symlink("l", "x");
    let deep = maker.file("l/e", "").end();
    assert!(merge_all(&[deep]).is_ok());
    let mut maker = layer().records(&[("path", &b"d/".repeat(2040))]).folder("x");
    maker = maker.records(&[("linkpath", &b"d/".repeat(2040))]).symlink("l", "x");
    let error = merge_all(&[maker.file("l/aaaaaaaaaaaaaaaaaaaaaaaaaaaa/b", "").end()]).unwrap_err();
    assert!(error.contains("longer than 4096"), "{error}");
}

/// A layer with something of each kind.
fn rich_layer() -> Vec<u8> {
    layer()
        .folder("etc")
        .file("etc/passwd", &"root:x:0:0\n".repeat(100))
        .records(&[("SCHILY.xattr.security.capability", b"\x01\0\0\x02"), ("mtime", b"1700000000.5")])
        .file("bin", "x")
        .hardlink("sbin", "bin")
        .symlink("lib", "usr/lib")
        .file("lib/libc.so", "c")
        .entry(EntryType::GNULongName, "././@LongLink", "", "v/".repeat(200).as_bytes())
        .folder("v")
        .file(".wh.old", "")
        .end()
}

#[test]
fn layers_that_are_cut_short_are_errors() {
    let whole = rich_layer();
    for length in (0..whole.len() - 1024).step_by(64) {
        merge_all(&[whole[..length].to_vec()]).unwrap_err();
    }
    for (compression, packed) in [
        (LayerCompression::Gzip, gzip(&whole)),
        (LayerCompression::Zstd, zstd::bulk::compress(&whole, 3).unwrap()),
    ] {
        assert!(merge_in_memory(&[(compression, &packed)], &Limits::default()).is_ok());
        for length in 0..packed.len() {
            merge_in_memory(&[(compression, &packed[..length])], &Limits::default()).unwrap_err();
        }
    }
}

#[test]
fn layers_with_changed_bytes_are_errors_or_sound_archives() {
    let whole = rich_layer();
    let mut state = 1u64;
    let mut next = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit
    };
    let mut sound = 0;
    for _ in 0..3000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + next(3) {
            let at = next(bytes.len());
            bytes[at] = next(256) as u8;
            // A checksum that fits, or the change would seldom be seen.
            fix_checksum(&mut bytes, at);
        }
        if let Ok((_, archive)) = merge_all(&[whole.clone(), bytes]) {
            listing_of_any(&archive);
            sound += 1;
        }
    }
    assert!(sound > 100, "{sound}");
}

fn fix_checksum(bytes: &mut [u8], at: usize) {
    let block = &mut bytes[at / 512 * 512..][..512];
    if block[257..262] == *b"ustar" {
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
    }
}

/// Asserts what is promised about an archive whose data need not be text.
fn listing_of_any(archive: &[u8]) {
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let entry = entry.unwrap();
        let name = entry.path_bytes().into_owned();
        assert!(!name.starts_with(b"/"));
        assert!(name == b"./" || !name.split(|byte| *byte == b'/').any(|part| matches!(part, b".." | b".")));
    }
}
