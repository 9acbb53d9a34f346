//! Configurations of images, and what a machine of each prints and ends with.

/// What is in an image.
#[derive(Clone, Copy)]
pub enum Tree {
    /// A shell and what it needs, with users.
    Usual,
    /// One static program, `/busybox`, and nothing else.
    OneProgram,
}

/// When the power button is pressed.
#[derive(Clone, Copy, PartialEq)]
pub enum Press {
    /// Not at all.
    Never,
    /// When the command has said that it is ready.
    Ready,
}

/// An image, and what becomes of it.
pub struct Case {
    /// Its name, fit for an image and a machine.
    pub name: &'static str,
    /// `config` of its configuration, as JSON.
    pub config: &'static str,
    pub tree: Tree,
    pub press: Press,
    /// How often it is started.
    pub starts: usize,
    /// Lines on the console: these and no others.
    pub printed: &'static [&'static str],
    pub status: i32,
}

const fn case(
    name: &'static str,
    config: &'static str,
    printed: &'static [&'static str],
    status: i32,
) -> Case {
    Case { name, config, tree: Tree::Usual, press: Press::Never, starts: 1, printed, status }
}

/// The table.
pub const CASES: &[Case] = &[
    Case {
        starts: 2,
        ..case(
            "user-by-name",
            r#"{"User":"ann","WorkingDir":"/made/here","Cmd":["/bin/sh","-c","id; echo $HOME ${USER-none} $PWD; stat -c %u:%a . /run/db /pipe; exit 3"]}"#,
            &[
                "uid=1000(ann) gid=1000(ann) groups=29(audio),50(staff),1000(ann)",
                "/srv/ann none /made/here",
                "0:755",
                "0:755",
                "0:640",
            ],
            3,
        )
    },
    case(
        "user-by-number",
        r#"{"User":"1000","Cmd":["/bin/sh","-c","id"]}"#,
        &["uid=1000(ann) gid=1000(ann) groups=29(audio),50(staff),1000(ann)"],
        0,
    ),
    case(
        "user-and-group",
        r#"{"User":"1000:1000","Cmd":["/bin/sh","-c","id"]}"#,
        &["uid=1000(ann) gid=1000(ann) groups=1000(ann)"],
        0,
    ),
    case(
        "root-by-name",
        r#"{"User":"root","Cmd":["/bin/sh","-c","id; echo $HOME"]}"#,
        &["uid=0(root) gid=0(root) groups=0(root)", "/root"],
        0,
    ),
    case(
        "root-by-number",
        r#"{"User":"0:0","Cmd":["/bin/sh","-c","id"]}"#,
        &["uid=0(root) gid=0(root) groups=0(root)"],
        0,
    ),
    case(
        "unknown-number",
        r#"{"User":"4242:4343","Cmd":["/bin/sh","-c","id; echo $HOME"]}"#,
        &["uid=4242 gid=4343 groups=4343", "/"],
        0,
    ),
    case(
        "unknown-name",
        r#"{"User":"eve","Cmd":["id"]}"#,
        &["yagura: user 'eve' is not in /etc/passwd of the image"],
        125,
    ),
    case(
        "environment",
        r#"{"User":"1000:1000","Env":["A=1","TERM","B","A=2=3","E="],"Cmd":["env"]}"#,
        &[
            "A=2=3",
            "E=",
            "HOME=/srv/ann",
            "HOSTNAME=environment",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ],
        0,
    ),
    Case {
        tree: Tree::OneProgram,
        ..case(
            "one-program",
            r#"{"Entrypoint":["/busybox","printf","%s|"],"Cmd":["a b","","it's","\"","$HOME","A=b","`id`","x\ny"]}"#,
            &["a b||it's|\"|$HOME|A=b|`id`|x", "y|"],
            0,
        )
    },
    case("word-with-equals", r#"{"Cmd":["A=b","c"]}"#, &["yagura: 'A=b' is not found in PATH"], 127),
    case(
        "not-there",
        r#"{"Cmd":["/no/such"]}"#,
        &["yagura: cannot execute '/no/such': No such file or directory (os error 2)"],
        127,
    ),
    case(
        "not-executable",
        r#"{"Cmd":["/bin/closed"]}"#,
        &["yagura: cannot execute '/bin/closed': Permission denied (os error 13)"],
        126,
    ),
    case(
        "ended-by-a-signal",
        r#"{"Entrypoint":["/bin/sh","-c","/bin/sh -c 'kill -SEGV $$'; exit $?"]}"#,
        &["Segmentation fault"],
        139,
    ),
    case(
        "files",
        r#"{"User":"ann","Cmd":["/bin/sh","-c","hostname; cat /etc/hostname; echo out >/dev/stdout; test -p /pipe && echo pipe; echo x >/dev/shm/x && echo shm; ps -o pid,comm | cat | sed -n 2p; cat /.yagura/process 2>/dev/null || echo closed"]}"#,
        &["files", "files", "out", "pipe", "shm", "    1 sh", "closed"],
        0,
    ),
    Case {
        press: Press::Ready,
        ..case(
            "stop-signal",
            r#"{"StopSignal":"SIGINT","Cmd":["/bin/sh","-c","trap 'echo asked; exit 42' INT; echo ready; while :; do sleep 1; done"]}"#,
            &["ready", "asked"],
            42,
        )
    },
    Case {
        press: Press::Ready,
        ..case(
            "deaf-to-signals",
            r#"{"Cmd":["/bin/sh","-c","trap '' TERM; echo ready; while :; do sleep 1; done"]}"#,
            &["ready"],
            137,
        )
    },
];
