//! What the scripts say, and that a shell takes them.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use super::*;
use crate::DefaultUser;

fn instance(user_data: &str) -> Instance {
    Instance {
        id: "i-1".to_owned(),
        hostname: "web1".to_owned(),
        user: DefaultUser {
            name: "debian".to_owned(),
            ssh_keys: vec!["ssh-ed25519 AAAA me".to_owned()],
            password: None,
        },
        user_data: Some(user_data.to_owned()),
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
    let (early, _) = scripts("#cloud-config\nssh_authorized_keys: [ssh-rsa BBBB you]\n");
    assert!(early.contains("'ssh-ed25519 AAAA me\nssh-rsa BBBB you\n'"), "{early}");
    assert!(early.contains("id -u 'debian'"));
    assert_eq!(scripts("#cloud-config\n").1, "", "nothing is late, nothing waits for the network");
    let (early, _) = scripts("#cloud-config\nusers: [{name: ann}]\n");
    assert!(!early.contains("'debian'"), "a list without default has no default user");
}

#[test]
fn a_script_runs_late() {
    let archive = archive(&instance("#!/bin/sh\necho hello\n")).unwrap();
    assert_eq!(member(&archive, "user-script").unwrap(), "#!/bin/sh\necho hello\n");
    assert!(member(&archive, "late").unwrap().contains("/run/first-boot/user-script"));
}

#[test]
fn nonsense_is_refused_before_there_is_an_instance() {
    assert!(refused("hostname: \"a b\"").contains("cannot be a host name"));
    assert!(refused("users: [{name: '../x'}]").contains("cannot be a user's"));
    assert!(refused("users: [{name: '-x'}]").contains("cannot be a user's"));
    assert!(refused("ssh_authorized_keys: [hello]").contains("is not an SSH key"));
    assert!(refused("write_files: [{path: x}]").contains("has to begin with /"));
    assert!(refused("write_files: [{path: /x, encoding: rot13}]").contains("rot13 is not known"));
    assert!(refused("write_files: [{path: /x, permissions: '9'}]").contains("not octal"));
    assert!(refused("password: \"a\\nb\"").contains("more than one line"));
}
