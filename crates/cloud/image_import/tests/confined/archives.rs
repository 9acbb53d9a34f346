//! Archives with OCI images, read by a child.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use image_import::ImportError;
use image_model::{Architecture, Digest};
use oci_image::{ArchivedImage, LayerCompression, OciOptions};
use sha2::{Digest as _, Sha256};

use super::{Folder, all_importers, importer};

const OPTIONS: OciOptions = OciOptions { architecture: Architecture::X86_64, bytes_max: 1 << 20 };

fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

/// As `docker save` writes an image of some layers.
fn saved(layers: &[&[u8]], more: &str) -> Vec<u8> {
    let digest = |layer: &&[u8]| Digest::from_bytes(Sha256::digest(layer).into());
    let diff_ids: Vec<String> = layers.iter().map(|layer| format!("\"{}\"", digest(layer))).collect();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux"{more},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diff_ids.join(",")
    );
    let names: Vec<String> = (0..layers.len()).map(|index| format!("{index}/layer.tar")).collect();
    let manifest = format!(r#"[{{"Config":"c.json","Layers":{names:?}}}]"#);
    let mut entries: Vec<(&str, &[u8])> =
        vec![("c.json", config.as_bytes()), ("manifest.json", manifest.as_bytes())];
    entries.extend(names.iter().map(String::as_str).zip(layers.iter().copied()));
    archive(&entries)
}

fn read(folder: &Folder, bytes: &[u8]) -> Result<ArchivedImage, ImportError> {
    let file = folder.unnamed(bytes);
    importer().read_oci_archive(file.as_fd(), Path::new("some\nimage.tar"), OPTIONS)
}

#[test]
fn an_archive_is_read_by_a_child() {
    let bytes = saved(&[b"one", b"two"], r#","config":{"Env":["A=\n"],"Labels":{"a":"b"}}"#);
    for importer in all_importers() {
        let file = Folder::new().unnamed(&bytes);
        let image = importer.read_oci_archive(file.as_fd(), Path::new("a.tar"), OPTIONS).unwrap();
        assert_eq!(image.config.env, ["A=\n"]);
        let found = image.layers.iter().map(|layer| {
            assert_eq!(layer.compression, LayerCompression::None);
            &bytes[layer.range.offset_bytes as usize..][..layer.range.length_bytes as usize]
        });
        assert_eq!(found.collect::<Vec<_>>(), [b"one", b"two"]);
    }
}

#[test]
fn an_archive_of_many_layers_is_read() {
    let layers: Vec<Vec<u8>> = (0..300).map(|index| format!("layer {index}").into_bytes()).collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    assert_eq!(read(&Folder::new(), &saved(&layers, "")).unwrap().layers.len(), 300);
}

#[test]
fn what_is_wrong_is_one_line_of_bounded_length() {
    let folder = Folder::new();
    let named = format!(r#"[{{"Config":"{}","Layers":["l"]}}]"#, "\\u001bx".repeat(1 << 18));
    let image = saved(&[b"one"], "");
    for (bytes, words) in [
        (b"no archive".to_vec(), "image.tar"),
        (archive(&[]), "is it an OCI image?"),
        (archive(&[("manifest.json", named.as_bytes())]), "the archive has no file"),
        (image[..image.len() - 1024 - 510].to_vec(), "ends in the middle"),
        (saved(&[&[0; 2 << 20]], ""), "2 MiB together"),
    ] {
        let error = read(&folder, &bytes).unwrap_err();
        let ImportError::Refused(line) = error else { panic!("{error:?}") };
        assert!(line.contains("some\\nimage.tar") && line.contains(words), "{words}: {line}");
        assert!(line.len() < 5000 && !line.chars().any(char::is_control), "{line}");
    }
}

#[test]
fn what_has_no_positions_is_refused() {
    let (_writer, reader) =
        rustix::pipe::pipe().map(|(reader, writer)| (writer, File::from(reader))).unwrap();
    let error = importer().read_oci_archive(reader.as_fd(), Path::new("a.tar"), OPTIONS).unwrap_err();
    assert!(error.to_string().contains("a.tar"), "{error}");
}
