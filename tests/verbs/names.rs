//! Names: given, made up, taken, left behind by the dead, and in places that are not fit for them.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::*;

/// The second of two is refused before it touches anything, and the first does not notice (cloud-hypervisor 4026).
#[test]
fn two_that_run_have_two_names() {
    let place = Place::new();
    let first = place.running(Engine::Soft, "web1", guests::sleeper());
    let mut second = place.start(
        Engine::Soft,
        "web1",
        guests::hello(),
        &["--console", "file=DIR/log", "--control", "DIR/control"],
    );
    assert_eq!(second.wait().code(), Some(1));
    assert_eq!(second.said(), "yagura: VM web1 runs already; --name gives another one a name of its own\n");
    assert!(!second.path("log").exists() && !second.path("control").exists());
    assert_eq!(place.info("web1")["pid"], first.pid());
}

#[test]
fn who_was_given_no_name_gets_a_free_one() {
    let place = Place::new();
    let start = |arguments: &[&str]| {
        let monitor = place.start_unnamed(Engine::Soft, guests::sleeper(), arguments);
        assert_eq!(monitor.receive(), b'!');
        monitor
    };
    let (first, second, third) = (start(&[]), start(&[]), start(&[]));
    assert_eq!([first.said(), second.said()], ["", "yagura: VM vm runs already; this one is vm-2\n"]);
    for (name, monitor) in [("vm", &first), ("vm-2", &second), ("vm-3", &third)] {
        assert_eq!(place.info(name)["pid"], monitor.pid());
        let title = fs::read(format!("/proc/{}/cmdline", monitor.pid())).unwrap();
        assert!(title.starts_with(format!("yagura: {name}\0").as_bytes()));
    }
    let config = place.0.path().join("web1.toml");
    fs::write(&config, "cpus = 1\n").unwrap();
    let config = config.to_str().unwrap();
    let _first = start(&["--config", config]);
    assert!(start(&["--config", config]).said().contains("this one is web1-2"));
    place.good("stop --force vm");
    assert_eq!(start(&[]).said(), "", "it is free again");
}

/// Nobody trusts what a dead process left: neither a number that another may have by now, nor a socket (lima-vm/lima 236
/// and 5075, cloud-hypervisor 7784, canonical/lxd 296).
#[test]
fn a_machine_that_was_killed_is_not_running_and_leaves_nothing_in_the_way() {
    let place = Place::new();
    for _ in 0..3 {
        let mut monitor = place.running(Engine::Soft, "web1", guests::sleeper());
        monitor.signal("KILL");
        monitor.wait();
        assert!(place.socket("web1").exists());
        place.bad("info web1", 3, "VM web1 is not running: its process was killed");
        place.bad("stop web1", 3, "VM web1 is not running");
        assert!(place.list().is_empty());
        assert!(place.socket("web1").exists(), "whoever only looks removes nothing");
    }
    let mut monitor = place.running(Engine::Soft, "web1", guests::sleeper());
    assert_eq!(place.info("web1")["pid"], monitor.pid());
    assert_eq!(monitor.said(), "");
    place.good("stop --force web1");
    monitor.wait();
    assert!(place.sockets().is_empty());
}

/// Of many that find a dead one's socket, one has its name (cloud-hypervisor 8325).
#[test]
fn of_many_that_start_at_once_one_has_the_name() {
    let place = Place::new();
    fs::create_dir_all(place.folder().join("run/vms")).unwrap();
    for _ in 0..4 {
        drop(UnixListener::bind(place.socket("web1")).unwrap());
        let mut monitors: Vec<Monitor> =
            (0..8).map(|_| place.start(Engine::Soft, "web1", guests::obedient(), &[])).collect();
        let deadline = Instant::now() + LIMIT;
        let mut living = || -> Vec<u32> {
            let alive = |monitor: &mut Monitor| monitor.ended().is_none().then(|| monitor.pid());
            monitors.iter_mut().filter_map(alive).collect()
        };
        while living().len() > 1 {
            assert!(Instant::now() < deadline, "two of them run");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!([place.info("web1")["pid"].as_u64().unwrap() as u32], living()[..]);
        place.good("stop web1");
        monitors.iter_mut().for_each(|monitor| assert!(matches!(monitor.wait().code(), Some(0 | 1))));
        assert!(place.sockets().is_empty());
    }
}

/// A start that fails later takes its name away again (cloud-hypervisor 8018).
#[test]
fn a_start_that_fails_leaves_no_socket() {
    let place = Place::new();
    for arguments in
        [&["--disk", "path=DIR/none"][..], &["--control", "DIR/none/socket"], &["--net", "tap=lo"]]
    {
        let mut monitor = place.start(Engine::Soft, "web1", guests::hello(), arguments);
        assert_eq!(monitor.wait().code(), Some(1), "{arguments:?}");
        assert!(monitor.said().starts_with("yagura: VM web1: "), "{}", monitor.said());
        assert!(place.sockets().is_empty(), "{arguments:?}");
    }
}

/// The longest name in a folder that is too deep for a socket's address (lxc/incus 1343).
#[test]
fn a_long_name_in_a_deep_folder_is_found() {
    let place = Place(tempfile::TempDir::with_prefix("d".repeat(120)).unwrap());
    let name = "x".repeat(63);
    let mut monitor = place.running(Engine::Soft, &name, guests::obedient());
    assert_eq!(place.info(&name)["name"], name.as_str());
    place.good(&format!("stop {name}"));
    assert_eq!(monitor.wait().code(), Some(0));
    assert!(place.sockets().is_empty());
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let place = Place::new();
    let run = place.folder().join("run/vms");
    fs::create_dir_all(&run).unwrap();
    fs::set_permissions(&run, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(run.join("web1.sock"), "kept").unwrap();
    fs::create_dir(run.join("web2.sock")).unwrap();
    fs::write(run.join("README"), "kept").unwrap();
    std::os::unix::fs::symlink("/dev/zero", run.join("web3.sock")).unwrap();
    let _foreign: Vec<UnixListener> =
        ["Not a name.sock", "other"].map(|name| UnixListener::bind(run.join(name)).unwrap()).into();
    for name in ["web1", "web2", "web3"] {
        let mut monitor = place.start(Engine::Soft, name, guests::hello(), &[]);
        assert_eq!(monitor.wait().code(), Some(1));
        let said = monitor.said();
        assert!(
            said.lines().count() == 1 && said.contains("a file of that name is there that is no socket"),
            "{said}"
        );
        let (status, said) = place.ask(&format!("info {name}"));
        assert!(status != 0 && said.lines().count() == 1, "{said}");
    }
    assert!(place.list().is_empty());
    let monitor = place.running(Engine::Soft, "web4", guests::sleeper());
    assert_eq!(place.list().len(), 1);
    let mode = |path: &std::path::Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode(&run), mode(&place.socket("web4"))], [0o700, 0o600]);
    drop(monitor);
    assert_eq!(fs::read_to_string(run.join("web1.sock")).unwrap(), "kept");
    place.bad("info Web1", 2, "did you mean 'web1'?");
    place.bad("pause ../x", 2, "'../x' is not a name for a VM");
    place.bad("stop --timeout soon web1", 2, "'soon' is not a number of seconds");
    place.bad("stop --force --timeout 3 web1", 2, "--timeout");
    assert_eq!(place.ask("pause").0, 2);
}

/// A machine runs where it cannot be found, and says so.
#[test]
fn without_a_folder_a_machine_runs_all_the_same() {
    let place = Place::new();
    fs::write(place.folder(), "a file").unwrap();
    let mut monitor = place.start(Engine::Soft, "web1", guests::hello(), &["--control", "DIR/control"]);
    assert_eq!(monitor.wait().code(), Some(0));
    let said = monitor.said();
    assert!(
        said.lines().count() == 1 && said.contains("VM web1: warning: it cannot be found by its name"),
        "{said}"
    );
    assert!(said.contains("Not a directory"), "{said}");
    place.bad("info web1", 1, "VM web1: cannot speak to the VM at ");
}

/// A folder that another user has made is not believed in: what is asked there may be answered by anybody.
#[test]
fn another_user_s_folder_is_not_used() {
    let place = Place::new();
    let user = |arguments: &[&str]| as_user("61234", &place.folder(), arguments).output();
    if !user(&["--version"]).is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: nobody else can execute here what was built");
        return;
    }
    let kernel = place.0.path().join("kernel");
    fs::write(&kernel, pvh_elf(guests::hello(), LOAD_ADDRESS)).unwrap();
    fs::create_dir_all(place.folder().join("run")).unwrap();
    let open = fs::Permissions::from_mode(0o777);
    for path in [place.0.path(), &place.folder(), &place.folder().join("run")] {
        fs::set_permissions(path, open.clone()).unwrap();
    }
    let kernel = kernel.to_str().unwrap();
    let arguments = ["run", "--engine", "soft", "--memory", "8M", "--name", "web1", "--kernel", kernel];
    let output = user(&arguments).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && output.stdout == b"!", "{said}");
    assert!(
        said.contains("cannot be found by its name") && said.contains("belongs to another user"),
        "{said}"
    );
}

/// `yagura` as another user.
fn as_user(id: &str, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", id, "--regid", id, "--clear-groups", env!("CARGO_BIN_EXE_yagura")]);
    command.args(arguments).env("YAGURA_DIR", folder).stdin(Stdio::null());
    command
}

/// Whoever may write to a folder can put a socket there that answers in a VM's name.
#[test]
fn nobody_else_answers_for_a_vm() {
    let place = Place::new();
    let stranger = |arguments: &[&str]| as_user("61235", &place.0.path().join("own"), arguments);
    if !stranger(&["--version"]).output().is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: nobody else can execute here what was built");
        return;
    }
    let kernel = place.0.path().join("kernel");
    fs::write(&kernel, pvh_elf(guests::sleeper(), LOAD_ADDRESS)).unwrap();
    let vms = place.folder().join("run/vms");
    fs::create_dir_all(&vms).unwrap();
    for path in [place.0.path(), &place.folder(), &place.folder().join("run"), &vms] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let (kernel, control) = (kernel.to_str().unwrap(), vms.join("web1.sock"));
    let control = control.to_str().unwrap();
    let run = ["run", "--engine", "soft", "--memory", "8M", "--name", "web1", "--console", "none"];
    let run = [&run[..], &["--kernel", kernel, "--control", control]].concat();
    let mut vm = stranger(&run).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + LIMIT;
    while fs::metadata(control).is_err() {
        assert!(Instant::now() < deadline, "the stranger's VM does not listen");
        std::thread::sleep(Duration::from_millis(5));
    }
    fs::set_permissions(control, fs::Permissions::from_mode(0o777)).unwrap();
    let asked = as_user("61234", &place.folder(), &["info", "web1"]).output().unwrap();
    let said = String::from_utf8(asked.stderr).unwrap();
    let root = place.command("info web1").output().unwrap();
    vm.kill().unwrap();
    vm.wait().unwrap();
    assert!(asked.status.code() == Some(1) && said.contains("another user"), "{said}");
    assert!(root.status.success(), "root may: {root:?}");
}
