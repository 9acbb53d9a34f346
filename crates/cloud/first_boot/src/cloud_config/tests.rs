//! What documents are understood as, and what is said of those that are not.

use super::*;
use crate::ssh_keys::tests::example;
use crate::user_data;

fn read(text: &str) -> Result<CloudConfig, ConfigError> {
    CloudConfig::of(&user_data::for_service(format!("#cloud-config\n{text}").as_bytes())?)
}

#[track_caller]
fn refused(text: &str) -> String {
    let Err(error) = read(text) else { panic!("{text} is taken") };
    let error = error.to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(!error.contains("hunter2") && !error.contains('`') && !error.contains("::"), "{error}");
    error
}

#[test]
fn what_people_write_is_understood() {
    let key = example("ann");
    let config = read(&format!(
        "hostname: web1\nusers:\n  - default\n  - name: ann\n    groups: sudo, adm\n    sudo: ALL=(ALL) NOPASSWD:ALL\n    \
        ssh_authorized_keys:\n      - {key}\nwrite_files:\n  - path: /etc/motd\n    content: |\n      hello\n    \
        permissions: '0644'\n  - {{path: /x, permissions: 0600}}\nruncmd:\n  - [sh, -c, 'echo a > /b']\n  - echo done\n"
    ));
    let config = config.unwrap();
    assert_eq!(config.hostname.as_deref(), Some("web1"));
    let users = config.users.unwrap();
    let UserEntry::User(ann) = &users[1] else { panic!() };
    assert_eq!((&ann.groups[..], ann.sudo.len()), (&["sudo".to_owned(), "adm".to_owned()][..], 1));
    assert_eq!(ann.ssh_authorized_keys, [key]);
    let modes: Vec<u32> = config.write_files.iter().map(|file| file.mode).collect();
    assert_eq!(modes, [0o644, 0o600]);
    assert_eq!(config.write_files[0].content, b"hello\n");
    assert_eq!(config.runcmd[1].words, ["sh", "-c", "echo done"]);
    assert_eq!(config.runcmd[1].called, "runcmd, line 18");
    assert!(read("").is_ok() && read("{}\n").is_ok());
}

#[test]
fn numbers_are_taken_where_text_is_wanted() {
    let config = read(
        "password: 12345\nhostname: 10\ntimezone: 1.5\npackages: [7zip, [nginx, 1.22]]\nchpasswd: {list: 'root:0123'}\n\
        runcmd: [[echo, 5, true, ~x], 'true']\nusers: [{name: ann, uid: '1000', gecos: 0x10, passwd: 1}]\n\
        write_files: [{path: /a, content: 0644, permissions: 0o755}, {path: /b, content: yes, permissions: 644}]\n",
    )
    .unwrap();
    assert_eq!((config.password.as_deref(), config.hostname.as_deref()), (Some("12345"), Some("10")));
    assert_eq!(config.packages, ["7zip", "nginx=1.22"]);
    assert_eq!((&*config.passwords[0].password, config.passwords[0].kind), ("0123", PasswordKind::Text));
    assert_eq!(config.runcmd[0].words, ["echo", "5", "true", "~x"]);
    let users = config.users.unwrap();
    let UserEntry::User(ann) = &users[0] else { panic!() };
    assert_eq!((ann.uid, ann.gecos.as_deref()), (Some(1000), Some("0x10")));
    let files: Vec<(&[u8], u32)> =
        config.write_files.iter().map(|file| (&file.content[..], file.mode)).collect();
    assert_eq!(files, [(&b"0644"[..], 0o755), (b"yes", 0o644)]);
}

#[test]
fn truth_is_what_cloud_init_takes_for_it() {
    for (text, expected) in
        [("true", true), ("yes", true), ("'on'", true), ("1", true), ("No", false), ("off", false)]
    {
        assert_eq!(read(&format!("package_update: {text}")).unwrap().package_update, expected, "{text}");
    }
    assert_eq!(read("ssh_pwauth: unchanged").unwrap().ssh_pwauth, None);
}

#[test]
fn forms_that_cloud_init_takes_are_taken() {
    let config = read(
        "users: ann, bob\ngroups: [ops, {web: [ann, bob]}]\nchpasswd: {expire: false, users: [{name: a, password: b}]}\n\
        bootcmd: [~, echo]\nwrite_files:\n  - {path: /z, encoding: gz+b64, content: H4sIAAAAAAAAA8tIzcnJBwCGphA2BQAAAA==}\n  \
        - {path: /b, content: !!binary aGVsbG8=}\nssh_authorized_keys: []\n",
    )
    .unwrap();
    assert_eq!(config.users.unwrap().len(), 2);
    assert_eq!(config.groups[1].members, ["ann", "bob"]);
    assert_eq!((config.expire_passwords, config.passwords[0].kind), (false, PasswordKind::Hash));
    assert_eq!(config.bootcmd.len(), 1);
    assert!(config.write_files.iter().all(|file| file.content == b"hello"));
}

/// A slip is named by its line and key; what was typed there may be a secret, and is not repeated.
#[test]
fn faults_are_told_with_their_place() {
    let cases = [
        ("snap: {}", "line 2: 'snap' is nothing that"),
        ("hostnam: a", "did you mean 'hostname'?"),
        ("hunter2!: a", "line 2: a key is nothing that"),
        ("hostname: [hunter2", "line "),
        ("hostname: yes", "line 2: hostname: has to be text, and this word means true or false"),
        ("hostname: {a: hunter2}", "line 2: hostname: has to be text, and is keys with values"),
        ("hostname: a\nhostname: hunter2", "line 3: hostname: is there twice"),
        ("users:\n  - name: ann\n    sudo: true", "line 4: users[0].sudo: has to be a rule such as"),
        ("users:\n  - name: ann\n    sudo: hunter2", "line 4: users[0].sudo: has to be a rule"),
        ("users:\n  - name: ann\n    uid: hunter2", "line 4: users[0].uid: has to be a whole number"),
        (
            "users:\n  - name: ann\n    shel: x",
            "line 4: users[0]: 'shel' is nothing that the first-boot service of this image knows; did you mean 'shell'?",
        ),
        ("users:\n  - gecos: hunter2", "line 3: users[0]: has no name"),
        ("users:\n  - [hunter2]", "line 3: users[0]: has to be a user's name"),
        ("users: [{name: ann, lock_passwd: hunter2}]", "users[0].lock_passwd: has to be true or false"),
        (
            "users: [{name: ann, ssh_authorized_keys: [hunter2]}]",
            "ssh_authorized_keys[0]: is not an SSH public key",
        ),
        (
            "ssh_authorized_keys:\n - |\n  -----BEGIN OPENSSH PRIVATE KEY-----\n  hunter2",
            "this is a private key",
        ),
        ("runcmd: hunter2", "line 2: runcmd: has to be a list, and is text"),
        ("runcmd:\n  - echo hunter2: x", "line 3: runcmd[0]: has to be a command, and is keys with values"),
        ("runcmd: [[]]", "runcmd[0]: is a command without words"),
        ("runcmd: [[a, [hunter2]]]", "runcmd[0][1]: has to be text, and is a list"),
        ("write_files: [{content: hunter2}]", "write_files[0]: has no path"),
        ("write_files: [{path: x}]", "has to begin with '/'"),
        ("write_files: [{path: /x, encoding: rot13}]", "its encoding is none of"),
        ("write_files: [{path: /x, encoding: b64, content: '!hunter2'}]", "is not base64"),
        ("write_files: [{path: /x, encoding: gz, content: hunter2}]", "is not gzip"),
        ("write_files: [{path: /x, permissions: '9'}]", "permissions: has to be octal digits"),
        ("chpasswd: {list: hunter2}", "chpasswd.list: has to have lines such as 'name:password'"),
        ("chpasswd: {list: 'a:RANDOM'}", "makes up"),
        (
            "chpasswd: {users: [{name: a, password: hunter2, type: x}]}",
            "chpasswd.users[0].type: has to be 'hash' or 'text'",
        ),
        ("packages: [[a, b, c]]", "packages[0]: has to be a package's name"),
        (
            "- hunter2",
            "line 2: the document is a list, and has to be keys with values, such as 'hostname: web1'",
        ),
        ("hunter2", "line 2: the document is text"),
        ("a: 1\n---\nb: 2", "a second document begins here"),
    ];
    for (text, expected) in cases {
        let error = refused(text);
        assert!(error.starts_with("user data: ") && error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn later_documents_replace_keys_of_earlier_ones() {
    let archive = "#cloud-config-archive\n- \"#cloud-config\\nhostname: a\\npackages: [x]\"\n- content: 'hostname: b'\n";
    let config = CloudConfig::of(&user_data::for_service(archive.as_bytes()).unwrap()).unwrap();
    assert_eq!((config.hostname.as_deref(), config.packages.len()), (Some("b"), 1));
}

#[test]
fn private_keys_are_found_in_documents_for_cloud_init_too() {
    let look = |text: &str| user_data::look(format!("#cloud-config\n{text}").as_bytes());
    let private = "\"-----BEGIN RSA PRIVATE KEY-----\\nhunter2\"";
    for text in [
        format!("ssh_authorized_keys: [{private}]"),
        format!("ssh_authorized_keys: {private}"),
        format!("users: [default, {{name: a, ssh_authorized_keys: [{private}]}}]"),
    ] {
        let error = look(&text).unwrap_err().to_string();
        assert!(error.contains("this is a private key") && !error.contains("hunter2"), "{error}");
    }
    // Keys of the host are its own, and other keys are cloud-init's.
    assert!(look(&format!("ssh_keys: {{rsa_private: {private}}}\nsnap: {{}}\na: 1\na: 2\n")).is_ok());
}
