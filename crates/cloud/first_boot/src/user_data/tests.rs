//! First lines and packings, and what becomes of them.

use std::io::Write;

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn kinds(bytes: &[u8]) -> Vec<Kind> {
    match look(bytes) {
        Ok(parts) => parts.into_iter().map(|part| part.kind).collect(),
        Err(error) => panic!("{}: {error}", String::from_utf8_lossy(bytes)),
    }
}

#[track_caller]
fn refused(bytes: &[u8]) -> String {
    let error = look(bytes).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(!error.contains("hunter2"), "{error}");
    error
}

const MESSAGE: &str = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"==B==\"\n\n\
    --==B==\nContent-Type: text/cloud-config; charset=\"us-ascii\"\n\n#cloud-config\nhostname: a\n\
    --==B==\nContent-Type: text/x-shellscript\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=\"x.sh\"\n\n\
    IyEvYmluL3NoCmVjaG8gaGkK\n\
    --==B==\nContent-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n#cloud-config\nlocale=3A C\n\
    --==B==--\n";

/// What cloud-init 22.4.2 makes of the same bytes was found out with its own code.
#[test]
fn kinds_as_cloud_init_knows_them() {
    let cases: &[(&[u8], &[Kind])] = &[
        (b"#cloud-config\nhostname: a\n", &[Kind::CloudConfig]),
        (b"#Cloud-Config\nhostname: a\n", &[Kind::CloudConfig]),
        (b"\n \t#cloud-config\r\nhostname: a\r\n", &[Kind::CloudConfig]),
        (b"#cloud-config # with a comment\n{}\n", &[Kind::CloudConfig]),
        (b"#cloud-config\n", &[Kind::CloudConfig]),
        (b"#!/bin/sh\necho hi\n", &[Kind::Script]),
        (b"#!/bin/sh\r\necho hi\r\n", &[Kind::Script]),
        (b"#!/bin/sh\n\xff\n", &[Kind::Script]),
        (b"#include\nhttp://192.0.2.1/x\n", &[Kind::Include]),
        (b"#include http://192.0.2.1/x\n", &[Kind::Include]),
        (b"#include-once\nhttp://192.0.2.1/x\n", &[Kind::Include]),
        (b"#cloud-boothook\n#!/bin/sh\n", &[Kind::Boothook]),
        (b"#part-handler\ndef list_types(): return []\n", &[Kind::PartHandler]),
        (b"## template: jinja\n#cloud-config\nhostname: {{ x }}\n", &[Kind::Template]),
        (b"#cloud-config-jsonp\n[]\n", &[Kind::JsonPatch]),
        (
            b"#cloud-config-archive\n- '#!/bin/sh'\n- {type: text/cloud-config, content: 'a: 1'}\n",
            &[Kind::Script, Kind::CloudConfig],
        ),
        (MESSAGE.as_bytes(), &[Kind::CloudConfig, Kind::Script, Kind::CloudConfig]),
        (
            b"#cloud-config\nwrite_files:\n- content: |\n    MIME-Version: 1.0\n  path: /a\n",
            &[Kind::CloudConfig],
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(kinds(bytes), *expected);
        assert_eq!(kinds(&gzip(bytes)), *expected);
    }
    let crlf = MESSAGE.replace('\n', "\r\n");
    let boxed = format!("From nobody Mon Jan  1 00:00:00 2024\n{MESSAGE}");
    let headers_first =
        MESSAGE.replacen("MIME-Version: 1.0\n", "", 1).replacen("\n\n", "\nMIME-Version: 1.0\n\n", 1);
    for message in [crlf, boxed, headers_first] {
        assert_eq!(kinds(message.as_bytes()).len(), 3, "{message}");
    }
}

#[test]
fn parts_of_messages_are_unpacked() {
    let found = parts(MESSAGE.as_bytes()).unwrap();
    assert_eq!(found[1].bytes, b"#!/bin/sh\necho hi\n");
    assert_eq!(found[2].text().unwrap().trim_end(), "#cloud-config\nlocale: C");
    let packed = format!(
        "MIME-Version: 1.0\nContent-Type: application/x-gzip\nContent-Transfer-Encoding: base64\n\n{}\n",
        base64(&gzip(b"#!/bin/sh\n"))
    );
    assert_eq!(parts(packed.as_bytes()).unwrap()[0].bytes, b"#!/bin/sh\n");
    let nested = MESSAGE
        .replacen("text/cloud-config; charset=\"us-ascii\"", "multipart/mixed; boundary=C", 1)
        .replacen(
            "#cloud-config\nhostname: a\n",
            "--C\nContent-Type: text/x-shellscript\n\n#!/bin/sh\n--C--\n",
            1,
        );
    assert_eq!(kinds(nested.as_bytes()), [Kind::Script, Kind::Script, Kind::CloudConfig]);
}

#[test]
fn what_cloud_init_would_pass_over_is_refused_with_what_was_meant() {
    let script = base64(b"#!/bin/sh\necho hunter2\n");
    let cases: Vec<(&[u8], &str)> = vec![
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"# cloud-config\npassword: hunter2\n", "is not '#cloud-config', to the letter"),
        (b"#cloud-confg\npassword: hunter2\n", "is not '#cloud-config', to the letter"),
        (b"#cloud_config\n", "is not '#cloud-config', to the letter"),
        (b"##cloud-config\n", "is not '#cloud-config', to the letter"),
        (b"#cloudconfig\n", "is not '#cloud-config', to the letter"),
        (b"cloud-config\n", "is not '#cloud-config', to the letter"),
        (b"cloud-config:\n  a: 1\n", "is not '#cloud-config', to the letter"),
        (b"#cloud-boot-hook\n", "is not '#cloud-boothook', to the letter"),
        (b"##template:jinja\n", "is not '## template: jinja', to the letter"),
        (b"# !/bin/sh\necho hunter2\n", "is not '#!', to the letter"),
        (b"#/bin/sh\n", "is not '#!', to the letter"),
        (b"!#/bin/sh\n", "is not '#!', to the letter"),
        (b"password: hunter2\n", "looks like a cloud-config document; put the line '#cloud-config'"),
        (b"---\n#cloud-config\nhostname: hunter2\n...\n", "looks like a cloud-config document"),
        (b"  #!/bin/sh\n", "does not begin with '#!'"),
        (b"{\"hostname\": \"hunter2\"}\n", "looks like a cloud-config document"),
        (b"echo hunter2\n", "its first line has to be"),
        (b"# hunter2\n", "its first line has to be"),
        (script.as_bytes(), "is base64 of a script"),
        (b"Content-Type: text/x-shellscript\n\n#!/bin/sh\n", "has no line 'MIME-Version: 1.0'"),
        (b"From x\nSubject: hunter2\n\nx", "has no line 'MIME-Version: 1.0'"),
        (b"\xef\xbb\xbf#cloud-config\na: hunter2\n", "byte order mark"),
        (b"\xff\xfe#\0c\0", "UTF-16"),
        (b"hunter2 \xff\xff\n", "is not UTF-8"),
        (b"\xfd7zXZ\0...", "packed by xz"),
        (b"PK\x03\x04...", "packed by zip"),
        (b"\x28\xb5\x2f\xfd...", "packed by zstd"),
        (b"\x1f\x8b\x08hunter2", "cannot be unpacked"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n", "this is a private key"),
        (b"#cloud-config\n- a: hunter2\n", "the document is a list"),
        (b"#cloud-config\nhunter2\n", "the document is text"),
        (b"#cloud-config\na: [hunter2\n", "line "),
        (b"\n#!/bin/sh\n", "does not begin with '#!'"),
        (b"#cloud-config-archive\na: 1\n", "has to be a list"),
        (b"#cloud-config-archive\n- {type: text/hunter2!, content: x}\n", "part 1: the type that it has"),
        (b"#cloud-config-archive\n- {type: text/html, content: x}\n", "part 1: the type 'text/html'"),
        (b"#cloud-config-archive\n- [hunter2]\n", "part 1: line 2: has no text"),
        (b"MIME-Version: 1.0\nContent-Type: text/html\n\nhunter2\n", "the type 'text/html'"),
        (b"MIME-Version: 1.0\nContent-Type: text/plain\n\nhunter2\n", "part 1: its first line"),
        (
            b"MIME-Version: 1.0\nContent-Type: text/x-shellscript\n\necho hunter2\n",
            "does not begin with '#!'",
        ),
        (b"MIME-Version: 1.0\nContent-Type: application/gzip\n\nhunter2\n", "is not"),
    ];
    for (bytes, expected) in cases {
        let error = refused(bytes);
        assert!(error.contains(expected), "{}: {error}", String::from_utf8_lossy(bytes));
    }
    let long = [b"#!/bin/sh\n#".to_vec(), vec![b'x'; USER_DATA_MAX_BYTES]].concat();
    assert!(refused(&long).contains("longer than 16 MiB"));
    assert!(refused(&gzip(&long)).contains("longer than 16 MiB, unpacked"));
}

#[test]
fn types_of_a_part_handler_are_its_own() {
    let message = MESSAGE
        .replacen("text/cloud-config; charset=\"us-ascii\"", "text/part-handler", 1)
        .replacen("Content-Type: text/x-shellscript", "Content-Type: text/x-own", 1);
    assert_eq!(kinds(message.as_bytes()), [Kind::PartHandler, Kind::CloudConfig]);
}

#[test]
fn the_service_says_what_only_cloud_init_can_do() {
    let cases: [(&[u8], &str); 5] = [
        (b"#include\nhttp://192.0.2.1/x\n", "a list of addresses"),
        (b"#cloud-boothook\n#!/bin/sh\n", "a boothook"),
        (b"## template: jinja\n#cloud-config\n", "a jinja template"),
        (b"#cloud-config-jsonp\n[]\n", "a JSON patch"),
        (b"#part-handler\n", "a part handler"),
    ];
    for (bytes, expected) in cases {
        let error = for_service(bytes).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("only cloud-init can do"), "{error}");
    }
    assert_eq!(for_service(MESSAGE.as_bytes()).unwrap().len(), 3);
    assert_eq!(for_service(&gzip(b"#!/bin/sh\n")).unwrap().len(), 1);
}

#[test]
fn cut_off_and_changed_messages_end_no_program() {
    let message = MESSAGE.as_bytes();
    for length in 0..message.len() {
        let _ = look(&message[..length]);
        let mut changed = message.to_vec();
        changed[length] ^= 0x20;
        let _ = look(&changed);
    }
}
