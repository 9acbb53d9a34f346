//! What the scripts say, and that a shell takes them.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use super::*;
use crate::DefaultUser;
use crate::ssh_keys::tests::example;

fn instance(user_data: &str) -> Instance {
    Instance {
        id: "i-1".to_owned(),
        hostname: "web1".to_owned(),
        user: DefaultUser { name: Some("debian".to_owned()), ssh_keys: vec![example("me")], password: None },
        user_data: Some(user_data.as_bytes().to_vec()),
        network_config: None,
    }
}

fn member(archive: &[u8], name: &str) -> Option<String> {
    let mut archive = tar::Archive::new(archive);
    let mut entries = archive.entries().unwrap().map(Result::unwrap);
    let mut entry = entries.find(|entry| entry.path().unwrap().to_str() == Some(name))?;
    let mut text = String::new();
    entry.read_to_string(&mut text).unwrap();
    Some(text)
}

fn scripts(user_data: &str) -> (String, String) {
    let archive = archive(&instance(user_data)).unwrap();
    (member(&archive, "early").unwrap(), member(&archive, "late").unwrap_or_default())
}

fn refused(user_data: &str) -> String {
    archive(&instance(&format!("#cloud-config\n{user_data}"))).unwrap_err().to_string()
}

/// `sh -n`: everything is grammar, nothing is done.
fn assert_grammar(script: &str) {
    let mut shell = Command::new("sh").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success(), "{script}");
}

#[test]
fn a_full_document_is_grammar_for_the_shell() {
    let (early, late) = scripts(
        "#cloud-config\nfqdn: web1.example.org\nbootcmd: ['echo \"it''s\" >/x']\ngroups: [ops]\nusers:\n  - default\n  \
        - {name: ann, gecos: \"Ann O'Neil\", sudo: [\"ALL=(ALL) ALL\"], groups: [ops], lock_passwd: false, plain_text_passwd: \"a'$b\"}\n\
        ssh_pwauth: true\ndisable_root: true\ntimezone: Europe/Vienna\nlocale: C.UTF-8\nwrite_files:\n  \
        - {path: /etc/a, content: aGVsbG8=, encoding: b64, permissions: '0600', owner: 'ann:ops'}\n  \
        - {path: /etc/b, content: later, defer: true}\npackages: [nginx]\nruncmd: ['true', [echo, \"$HOME\"]]\nfinal_message: up\n",
    );
    assert_grammar(&early);
    assert_grammar(&late);
    for words in ["try 'hostname' 'web1'", "'--groups' 'ops'", "'Ann O'\\''Neil'"] {
        assert!(early.contains(words), "{words}\n{early}");
    }
    assert!(late.contains("try 'apt-get' '--yes' 'install' '--' 'nginx'"), "{late}");
    assert!(late.contains("'/etc/b'") && !early.contains("'/etc/b'"));
    assert!(late.contains("try 'echo' '$HOME'"));
}

#[test]
fn the_default_user_gets_the_keys() {
    let (mine, yours) = (example("me"), example("you"));
    let (early, _) = scripts(&format!("#cloud-config\nssh_authorized_keys: [{yours}]\n"));
    assert!(early.contains(&format!("'{mine}\n{yours}\n'")), "{early}");
    assert!(early.contains("id -u 'debian'"));
    assert_eq!(scripts("#cloud-config\n").1, "", "nothing is late, nothing waits for the network");
    let (early, _) = scripts("#cloud-config\nusers: [{name: ann}]\n");
    assert!(!early.contains("'debian'"), "a list without default has no default user");
}

#[test]
fn scripts_run_late_with_line_ends_that_the_kernel_knows() {
    let script = |text: &str| {
        let archive = archive(&instance(text)).unwrap();
        assert!(member(&archive, "late").unwrap().contains("/run/first-boot/user-script-1"));
        member(&archive, "user-script-1").unwrap()
    };
    assert_eq!(script("#!/bin/sh\necho hello\n"), "#!/bin/sh\necho hello\n");
    assert_eq!(script("#!/bin/sh\r\necho 'a\rb'\r\n"), "#!/bin/sh\necho 'a\rb'\n");
    assert_eq!(script("#!/bin/sh\nprintf 'a\r\n'\n"), "#!/bin/sh\nprintf 'a\r\n'\n");
}

#[test]
fn nonsense_is_refused_before_there_is_an_instance() {
    assert!(refused("hostname: \"a b\"").contains("cannot be a host name"));
    assert!(refused("users: [{name: '../x'}]").contains("a user's or group's name has to be"));
    assert!(refused("users: [{name: '-x'}]").contains("a user's or group's name has to be"));
    assert!(refused("password: \"a\\nb\"").contains("more than one line"));
}

#[test]
fn nobody_is_guessed() {
    let mut nameless = instance("#cloud-config\n{}\n");
    nameless.user.name = None;
    let error = archive(&nameless).unwrap_err().to_string();
    assert!(error.contains("names no user who logs in") && error.contains("user: NAME"), "{error}");
    nameless.user_data = Some(b"#cloud-config\nuser: ann\n".to_vec());
    assert!(member(&archive(&nameless).unwrap(), "early").unwrap().contains("id -u 'ann'"));
    nameless.user_data = Some(b"#cloud-config\nusers: [{name: bob}]\n".to_vec());
    assert!(archive(&nameless).is_ok());
}

/// Who has a password without `lock_passwd: false` is locked out by cloud-init, and so here.
#[test]
fn accounts_are_locked_as_by_cloud_init() {
    let locked = |user: &str| {
        scripts(&format!("#cloud-config\nusers: [{{name: ann, {user}}}]\n")).0.contains("'--lock' 'ann'")
    };
    assert!(locked("gecos: x") && locked("plain_text_passwd: x") && locked("hashed_passwd: x"));
    assert!(!locked("plain_text_passwd: x, lock_passwd: false"));
}

#[test]
fn a_clone_is_told_its_name_and_machine_id() {
    let identity = |hostname: &str| CloneIdentity {
        hostname: hostname.to_owned(),
        machine_id: "0123456789abcdef0123456789abcdef".to_owned(),
    };
    let archive = clone_archive(&identity("web2")).unwrap();
    let script = member(&archive, "clone").unwrap();
    assert_grammar(&script);
    assert!(script.contains("try 'hostname' 'web2'") && script.contains("'/etc/machine-id'"), "{script}");
    assert!(clone_archive(&identity("a b")).is_err());
    assert!(!is_archive(&archive) && is_archive(&super::archive(&instance("#cloud-config\n{}")).unwrap()));
}
