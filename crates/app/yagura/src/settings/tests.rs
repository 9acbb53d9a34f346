use super::*;
use clap::{CommandFactory, Parser};

use crate::cli::{Cli, Command};

fn flags(arguments: &[&str]) -> GivenSettings {
    let kernel: &[&str] = if arguments.contains(&"--kernel") { &[] } else { &["--kernel", "k"] };
    let all = ["yagura", "run"].iter().chain(kernel).chain(arguments);
    match Cli::try_parse_from(all).unwrap().command {
        Command::Run(arguments) => arguments.settings,
        other => panic!("{other:?}"),
    }
}

fn flag_error(arguments: &[&str]) -> String {
    let all = ["yagura", "run", "--kernel", "k"].iter().chain(arguments);
    Cli::try_parse_from(all).unwrap_err().to_string()
}

fn kernel(spec: &VmSpec) -> &KernelSpec {
    let BootSpec::Kernel(kernel) = &spec.boot;
    kernel
}

const WHOLE_FILE: &str = r#"
name = "web1"
kernel = "vmlinuz"
boot-protocol = "multiboot"
initrd = ["ucode.img", "/boot/initrd.img"]
cmdline = "quiet"
cpus = 2
memory = "1G"
merge = true
console = "socket=web1.console"
virtio-console = "file=web1.log"
engine = "kvm"
cpu-model = "x86-64-v2"
on-reset = "exit"
on-panic = "pause"
debug-exit = 0xf4
control = "web1.socket"

[[module]]
path = "a.mod"
cmdline = "x=1"
[[module]]
path = "/b.mod"

[[disk]]
path = "a,b.img"
force-raw = true
block-size = 4096
[[disk]]
path = "/c.img"
format = "qcow2"
readonly = true
serial = "C"
id = "disk-c"

[[net]]
tap = "tap0"
id = "wan"
mac = "52:54:00:12:34:56"
queues = 2
"#;

/// The same as [`WHOLE_FILE`].
const WHOLE_LINE: &str = "--name web1 --kernel vmlinuz --boot-protocol multiboot \
    --initrd ucode.img --initrd /boot/initrd.img --module a.mod=x=1 --module /b.mod --cmdline quiet --cpus 2 --memory 1G \
    --merge on --console socket=web1.console --virtio-console file=web1.log --engine kvm --cpu-model x86-64-v2 \
    --on-reset exit --on-panic pause --debug-exit 0xf4 --control web1.socket \
    --disk path=a,,b.img,force-raw,block-size=4096 \
    --disk path=/c.img,format=qcow2,readonly,serial=C,id=disk-c --net tap=tap0,id=wan,mac=52:54:00:12:34:56,queues=2";

#[test]
fn a_file_says_the_same_as_flags() {
    let file = file::parse(WHOLE_FILE).unwrap();
    assert_eq!(file.disks[0].path, PathBuf::from("a,b.img"));
    assert_eq!(file, flags(&WHOLE_LINE.split_whitespace().collect::<Vec<_>>()));
}

#[test]
fn paths_in_a_file_start_at_the_file() {
    let settings = file::parse(WHOLE_FILE).unwrap().below(Path::new("vms"));
    assert_eq!(settings.kernel, Some("vms/vmlinuz".into()));
    assert_eq!(settings.initrds, [PathBuf::from("vms/ucode.img"), "/boot/initrd.img".into()]);
    assert_eq!(settings.console, Some(ConsoleSpec::Socket("vms/web1.console".into())));
    assert_eq!(settings.virtio_console, Some("file=vms/web1.log".parse().unwrap()));
    assert_eq!(settings.control, Some("vms/web1.socket".into()));
    assert_eq!(settings.modules[0].path, PathBuf::from("vms/a.mod"));
    assert_eq!(settings.modules[1].path, PathBuf::from("/b.mod"));
    assert_eq!(settings.disks[0].path, PathBuf::from("vms/a,b.img"));
    assert_eq!(settings.disks[1].path, PathBuf::from("/c.img"));
}

#[test]
fn flags_win_over_the_file_and_lists_replace_lists() {
    let file = || file::parse(WHOLE_FILE).unwrap();
    let merged = flags(&["--memory", "2G", "--disk", "path=z.img", "--net", "none"]).or(file());
    let request = merged.into_request("k".into(), None).unwrap();
    assert_eq!(request.spec.memory.bytes(), 2 << 30);
    assert_eq!(request.spec.cpus.get(), 2);
    assert_eq!(request.spec.name.as_str(), "web1");
    assert_eq!((request.spec.disks.len(), kernel(&request.spec).modules.len()), (1, 2));
    assert_eq!(kernel(&request.spec).protocol, BootProtocol::Multiboot);
    assert!(request.spec.nets.is_empty());
    assert!(request.spec.merge);
    assert_eq!(request.spec.debug_exit, Some(0xf4));
    assert_eq!(GivenSettings::default().or(file()), file());
}

#[test]
fn what_is_not_said_gets_a_default() {
    let request = |arguments: &[&str], config| flags(arguments).into_request("k".into(), config).unwrap();
    let Request { spec, another_name_will_do, engine, control, jit } = request(&[], None);
    assert!(another_name_will_do);
    assert_eq!(jit, Translation::On);
    assert_eq!((spec.name.as_str(), spec.cpus.get(), spec.memory.bytes()), ("vm", 1, 512 << 20));
    // What is not given is found when the kernel is open: it may bring a command line along.
    assert_eq!(kernel(&spec), &KernelSpec::new("k"));
    assert_eq!(spec.on_panic, OnPanic::Guest);
    assert_eq!((spec.console, spec.on_reset, spec.merge), (ConsoleSpec::Stdio, OnReset::Restart, false));
    assert!(spec.nets.is_empty() && spec.disks.is_empty() && spec.cpu_model.is_none() && control.is_none());
    assert_eq!(engine, EngineChoice::Auto);
    assert_eq!(request(&[], Some(Path::new("/etc/web-2.toml"))).spec.name.as_str(), "web-2");
    for (file, name) in
        [("/etc/a_b.toml", "a-b"), ("Web1.toml", "web1"), ("/dev/fd/63", "vm"), ("__.toml", "vm")]
    {
        assert_eq!(request(&[], Some(Path::new(file))).spec.name.as_str(), name, "{file}");
    }
}

#[test]
fn every_flag_is_a_key_with_an_example_that_parses() {
    let command = Cli::command();
    let run = command.find_subcommand("run").unwrap();
    let others = ["config", "restore", "rm", "kvm-device", "log", "help"];
    let mut count = 0;
    for key in
        run.get_arguments().filter_map(|argument| argument.get_long()).filter(|key| !others.contains(key))
    {
        let example = file::example(key).unwrap_or_else(|| panic!("no example for {key}"));
        let text = example.replace(" and below it ", "\n");
        file::parse(&text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        count += 1;
    }
    assert_eq!(count, 26);
}

#[test]
fn an_instance_adds_what_a_person_left_open() {
    let choices = |settings: &GivenSettings| settings.image_choices(Some(Path::new("web1.toml")));
    let file = file::parse("image = \"debian/12\"\nssh-key = [\"k.pub\"]\nmemory = \"1G\"").unwrap();
    let asked = choices(&file).unwrap().unwrap();
    assert_eq!((asked.name.unwrap().as_str(), asked.ssh_keys), ("web1", vec![PathBuf::from("k.pub")]));
    let lost = file::parse("user-data = \"u\"").unwrap();
    assert!(
        choices(&lost).unwrap_err().to_string().contains("user-data is for a VM that is made of an image")
    );
    let instance = |memory: &str| InstanceSettings {
        name: "web1".parse().unwrap(),
        disks: vec!["path=root.qcow2,format=qcow2".parse().unwrap()],
        boot: Some(("k".into(), Some("i".into()), "root=/dev/vda".to_owned())),
        exit_status: false,
        memory: memory.parse().unwrap(),
        cpus: "3".parse().ok(),
        cards: 2,
        waits_for_network: false,
    };
    let note = |given: &[&str]| flags(given).missing_cards(&instance("1G"));
    assert!(note(&[]).unwrap().contains("2 network cards; give --net tap=NAME for each"));
    assert!(note(&["--net", "tap=t"]).is_none() && note(&["--net", "none"]).is_none());
    let one = flags(&["--cpus", "1"]).with_instance(instance("1G")).request(None).unwrap().spec;
    let three = flags(&[]).with_instance(instance("1G")).request(None).unwrap().spec;
    assert_eq!((one.cpus, three.cpus), ("1".parse().unwrap(), "3".parse().unwrap()));
    let spec = file.with_instance(instance("2G")).request(None).unwrap().spec;
    assert_eq!((spec.memory.bytes(), kernel(&spec).cmdline.as_deref()), (1 << 30, Some("root=/dev/vda")));
    let bare = GivenSettings { image: "debian/12".parse().ok(), ..flags(&["--disk", "path=data"]) };
    let spec = bare.with_instance(instance("2G")).request(None).unwrap().spec;
    assert_eq!((spec.memory.bytes(), spec.disks[1].path.to_str()), (2 << 30, Some("data")));
    let cmdline = |given: &[&str]| {
        let instance = InstanceSettings { waits_for_network: true, ..instance("1G") };
        let spec = flags(given).with_instance(instance).request(None).unwrap().spec;
        kernel(&spec).cmdline.clone().unwrap()
    };
    assert!(cmdline(&["--net", "none"]).starts_with("root=/dev/vda systemd.mask=systemd-networkd-wait"));
    assert_eq!(cmdline(&["--net", "tap=t"]), "root=/dev/vda");
    assert_eq!(cmdline(&["--cmdline", "root=/dev/vdb"]), "root=/dev/vdb");
}

#[test]
fn disk_on_error_is_for_the_own_disk_of_an_image_s_machine() {
    let root = || InstanceSettings {
        name: "web1".parse().unwrap(),
        disks: vec!["path=root".parse().unwrap(), "path=seed,readonly".parse().unwrap()],
        boot: Some(("k".into(), None, String::new())),
        exit_status: false,
        memory: "1G".parse().unwrap(),
        cpus: None,
        cards: 0,
        waits_for_network: false,
    };
    let reactions = |settings: GivenSettings| {
        settings.image_choices(None).unwrap().unwrap();
        let disks = settings.with_instance(root()).request(None).unwrap().spec.disks;
        disks.into_iter().map(|disk| disk.on_error).collect::<Vec<_>>()
    };
    use OnError::{Pause, Report};
    let file = |text: &str| file::parse(&format!("image = \"debian/12\"\n{text}")).unwrap();
    assert_eq!(reactions(file("disk-on-error = \"pause\"")), [Pause, Report]);
    assert_eq!(reactions(file("disk-on-error = \"report\"\n[[disk]]\npath = \"a\"")), [Report; 3]);
    assert_eq!(reactions(file("")), [Report; 2]);
    let given = ["--image", "debian/12", "--disk-on-error", "pause", "--disk", "path=a"];
    assert_eq!(reactions(flags(&given)), [Pause, Report, Report]);
    let both = flags(&["--image", "debian/12", "--disk-on-error", "report"]);
    assert_eq!(reactions(both.or(file("disk-on-error = \"pause\""))), [Report; 2]);
    let refused = |settings: GivenSettings| settings.image_choices(None).unwrap_err().to_string();
    let lost = refused(file::parse("disk-on-error = \"pause\"").unwrap());
    assert!(lost.starts_with("disk-on-error is for a VM that is made of an image"), "{lost}");
    let slip = flag_error(&["--image", "a", "--disk-on-error", "puase"]);
    assert!(slip.contains("did you mean 'pause'"), "{slip}");
}

#[test]
fn several_initial_ram_disks() {
    let initrds = |settings: GivenSettings| {
        kernel(&settings.into_request("k".into(), None).unwrap().spec).initrds.clone()
    };
    let list = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
    assert_eq!(initrds(file::parse("initrd = \"a\"").unwrap()), list(&["a"]));
    assert_eq!(initrds(file::parse("initrd = [\"a\", \"b\"]").unwrap()), list(&["a", "b"]));
    assert_eq!(initrds(file::parse("initrd = []").unwrap()), list(&[]));
    assert_eq!(initrds(flags(&["--initrd", "b", "--initrd", "a", "--initrd", "a"])), list(&["b", "a", "a"]));
    let merged = flags(&["--initrd", "c"]).or(file::parse("initrd = [\"a\", \"b\"]").unwrap());
    assert_eq!(initrds(merged), list(&["c"]));
}

#[test]
fn mistakes_in_a_file_name_line_key_and_remedy() {
    let cases: &[(&str, usize, &[&str])] = &[
        ("kernel = \"k\"\nmemry = \"1G\"", 2, &["unknown key 'memry'", "did you mean 'memory'"]),
        (
            "\n\n[[disk]]\npath = \"a\"\nreadnly = true",
            5,
            &["unknown key 'readnly'", "did you mean 'readonly'"],
        ),
        ("[[net]]\ntap = \"t\"\nmacc = \"x\"", 3, &["unknown key 'macc'", "did you mean 'mac'"]),
        ("config = \"x\"", 1, &["unknown key 'config'"]),
        (
            "memory = 512",
            1,
            &["memory: text in quotes is needed, not the number 512; write memory = \"512M\""],
        ),
        ("cpus = 0", 1, &["cpus: 0 CPUs: a VM has 1 to 64"]),
        ("cpus = \"two\"", 1, &["cpus: 'two' is not a number of CPUs"]),
        ("cpus = true", 1, &["cpus: a whole number is needed, not the value true; write cpus = 2"]),
        ("cpus = -1", 1, &["cpus: '-1'"]),
        ("merge = 1", 1, &["merge: on or off is needed, not the number 1; write merge = true"]),
        ("kernel = 5", 1, &["kernel: ", "write kernel = \"vmlinuz\""]),
        ("debug-exit = 65536", 1, &["'65536' is not a port"]),
        ("initrd = 5", 1, &["initrd: ", "a path or a list of paths", "write initrd = [\"ucode.img\""]),
        ("initrd = [5]", 1, &["initrd: ", "write initrd = [\"ucode.img\""]),
        ("on-panic = \"halt\"", 1, &["on-panic: 'halt' is not a reaction to a panic"]),
        ("engine = \"hard\"", 1, &["'hard' is not an engine"]),
        ("boot-protocol = \"multibot\"", 1, &["did you mean 'multiboot'"]),
        ("[[module]]\npath = \"a\"\ncmd = \"x\"", 3, &["unknown key 'cmd'", "did you mean 'cmdline'"]),
        (
            "[[disk]]\npath = \"a\"\nformat = \"qcow\"",
            3,
            &["format: 'qcow' is not a disk format", "did you mean 'qcow2'"],
        ),
        ("disk = \"a\"", 1, &["disk: ", "[[disk]] and below it path"]),
        (
            "[[disk]]\npath = \"a\"\nblock-size = 1000",
            3,
            &["'1000' is not a block size (there are 512, 4096)"],
        ),
        ("[[disk]]\npath = \"a\"\nformat = \"qcow2\"\nforce-raw = true", 1, &["force-raw is for format=raw"]),
        (
            "name = \"a\"\n[[disk]]\nreadonly = true",
            2,
            &["disk: 'path' is missing; write [[disk]] and below it path = \"disk.img\""],
        ),
        ("[[net]]\ntap = \"a,b/c\"", 1, &["not a name for a network interface"]),
        ("[[net]]\ntap = \"t\"\nmac = \"ff:ff\"", 3, &["mac: 'ff:ff' is not a MAC address"]),
        ("name = ", 1, &[]),
        ("name = \"a\"\nname = \"b\"", 2, &["name: this is given twice"]),
        ("\u{0}", 1, &[]),
        ("kernel = \"\"", 1, &["kernel: a name of no letters is no file's", "write kernel = \"vmlinuz\""]),
        ("[[disk]]\npath = \"\"", 2, &["path: a name of no letters is no file's"]),
        ("kernel = \"a\\u0000b\"", 1, &["kernel: a file's name has no zero byte"]),
    ];
    for (text, line, fragments) in cases {
        let (found, what) = file::parse(text).unwrap_err();
        assert_eq!(found, *line, "{text}: {what}");
        for fragment in *fragments {
            assert!(what.contains(fragment), "{text}: {what}");
        }
    }
}

/// Every key with every kind of value: what is refused is refused in words.
#[test]
fn no_value_of_a_file_is_refused_in_words_of_a_library() {
    const VALUES: [&str; 12] = [
        "42",
        "-1",
        "1.5",
        "true",
        "\"\"",
        "\"\\u0000\"",
        "[]",
        "[1]",
        "[\"a\"]",
        "{}",
        "{ a = 1 }",
        "1979-05-27",
    ];
    let command = Cli::command();
    let run = command.find_subcommand("run").unwrap();
    let flags = run.get_arguments().filter_map(|argument| argument.get_long());
    let nested = ["[[disk]]\npath", "[[disk]]\npath = \"a\"\nserial", "[[net]]\ntap", "[[module]]\npath"];
    let mut refused = 0;
    for key in flags.chain(nested) {
        for value in VALUES {
            let text = format!("{key} = {value}\n");
            let Err((line, what)) = file::parse(&text) else { continue };
            refused += 1;
            assert!((1..=3).contains(&line), "{text}");
            // A zero byte is shown by its number.
            let what = what.replace("\\u{0}", "0");
            for word in
                ["`", "::", "expected", "invalid", "type", "integer", "boolean", "sequence", "{", "field"]
            {
                assert!(!what.contains(word), "{text}: {what}");
            }
        }
    }
    assert!(refused > 200, "{refused}");
}

#[test]
fn mistakes_in_flags_name_flag_and_remedy() {
    let cases: &[(&[&str], &str)] = &[
        (&["--cpus", "0"], "0 CPUs: a VM has 1 to 64"),
        (&["--cpus", "-1"], "'-1' is not a number of CPUs"),
        (&["--memory", "12X"], "'12X' is not a memory size"),
        (&["--merge", "yes"], "'yes' is neither on nor off"),
        (&["--net", "tp=x"], "did you mean 'tap'"),
        (&["--debug-exit", "0x10000"], "is not a port"),
        (&["--memry", "1G"], "--memory"),
    ];
    for (arguments, fragment) in cases {
        assert!(flag_error(arguments).contains(fragment), "{}", flag_error(arguments));
    }
    let both = flags(&["--net", "none", "--net", "tap=t"]).into_request("k".into(), None);
    assert!(both.unwrap_err().0.contains("leave one of them out"));
}

#[test]
fn without_a_kernel_there_is_no_vm() {
    let error = GivenSettings::default().request(None).unwrap_err().to_string();
    assert!(error.contains("add --kernel FILE"), "{error}");
    assert!(Cli::try_parse_from(["yagura", "run"]).unwrap_err().to_string().contains("--kernel"));
}
