//! Every rule is shown a small tree that breaks it, and has to say so.

use super::{Violation, check};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const LINTS: &str = "[workspace.lints.rust]\nunsafe_code = \"deny\"\nunsafe_op_in_unsafe_fn = \"deny\"\n\
    [workspace.lints.clippy]\nundocumented_unsafe_blocks = \"deny\"\n";
const ARCHITECTURE: &str =
    "# Tiers\n\n| behaviour | file |\n|---|---|\n| memory | `crates/host/host_sys/src/lib.rs` |\n";

/// A tree that breaks no rule: a crate in each tier, each depending on nothing.
struct Fake {
    folder: TempDir,
}

impl Fake {
    fn new() -> Self {
        let fake = Self { folder: tempfile::tempdir().unwrap() };
        fake.write(
            "Cargo.toml",
            &format!("[workspace]\nresolver = \"3\"\nmembers = [\"crates/*/*\"]\n{LINTS}"),
        );
        fake.write("ARCHITECTURE.md", ARCHITECTURE);
        for (tier, name) in [
            ("host", "host_sys"),
            ("contract", "device_model"),
            ("engine", "kvm_engine"),
            ("device", "virtio_core"),
            ("device", "virtio_block"),
            ("device", "virtio_net"),
            ("backend", "disk"),
            ("format", "guest_files"),
            ("boot", "boot_loader"),
            ("vmm", "vm_spec"),
            ("vmm", "machine"),
            ("cloud", "host_agent"),
            ("cloud", "image_store"),
            ("app", "yagura"),
            ("app", "yagura_vmm"),
        ] {
            fake.package(&format!("crates/{tier}/{name}"), name, &[]);
        }
        fake
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn package(&self, folder: &str, name: &str, dependencies: &[&str]) {
        let mut manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[lints]\nworkspace = true\n[dependencies]\n"
        );
        for dependency in dependencies {
            let (tier, name) = dependency.split_once('/').unwrap();
            manifest += &format!("{name} = {{ path = \"../../{tier}/{name}\" }}\n");
        }
        self.write(&format!("{folder}/Cargo.toml"), &manifest);
        self.write(&format!("{folder}/src/lib.rs"), "//! Says what it is for.\n#![forbid(unsafe_code)]\n");
    }

    fn violations(&self) -> Vec<Violation> {
        check(self.folder.path()).unwrap()
    }

    /// Asserts that there is one violation, with these words.
    #[track_caller]
    fn assert_found(&self, rule: &str, words: &str) {
        let violations = self.violations();
        assert_eq!(violations.len(), 1, "{violations:#?}");
        assert_eq!(violations[0].rule, rule);
        assert!(violations[0].to_string().contains(words), "{}", violations[0]);
    }

    #[track_caller]
    fn assert_dependency(user: &str, used: &str, words: &str) {
        let fake = Self::new();
        let name = Path::new(user).file_name().unwrap().to_str().unwrap();
        fake.package(&format!("crates/{user}"), name, &[used]);
        if words.is_empty() {
            assert_eq!(fake.violations(), []);
        } else {
            fake.assert_found("dependency", words);
        }
    }
}

#[test]
fn a_tree_in_order_has_no_violation() {
    assert_eq!(Fake::new().violations(), []);
}

#[test]
fn dependencies_go_down() {
    Fake::assert_dependency("contract/device_model", "host/host_sys", "");
    Fake::assert_dependency("device/virtio_block", "device/virtio_core", "");
    Fake::assert_dependency("device/virtio_block", "backend/disk", "");
    Fake::assert_dependency("vmm/machine", "device/virtio_block", "");
    Fake::assert_dependency("format/guest_files", "backend/disk", "");
    Fake::assert_dependency("cloud/host_agent", "format/guest_files", "");
    Fake::assert_dependency("cloud/host_agent", "vmm/vm_spec", "");
    Fake::assert_dependency("app/yagura", "engine/kvm_engine", "");
}

#[test]
fn dependencies_that_go_up_or_sideways() {
    Fake::assert_dependency("host/host_sys", "contract/device_model", "only on lower tiers");
    Fake::assert_dependency("backend/disk", "device/virtio_core", "only on lower tiers");
    Fake::assert_dependency("boot/boot_loader", "backend/disk", "only on lower tiers");
    Fake::assert_dependency("engine/kvm_engine", "device/virtio_core", "only on lower tiers");
    Fake::assert_dependency("vmm/machine", "cloud/host_agent", "only on lower tiers");
    Fake::assert_dependency("vmm/machine", "format/guest_files", "only on lower tiers");
    Fake::assert_dependency("format/guest_files", "cloud/host_agent", "only on lower tiers");
    Fake::assert_dependency("vmm/machine", "app/yagura", "only on lower tiers");
}

#[test]
fn engines_are_named_by_the_executable_only() {
    Fake::assert_dependency("device/virtio_block", "engine/kvm_engine", "name an engine");
    Fake::assert_dependency("vmm/machine", "engine/kvm_engine", "name an engine");
}

#[test]
fn concrete_devices_are_named_by_the_machine_only() {
    Fake::assert_dependency("device/virtio_block", "device/virtio_net", "another device");
    Fake::assert_dependency("app/yagura", "device/virtio_net", "only machine");
    Fake::assert_dependency("cloud/host_agent", "vmm/machine", "only by vm_spec");
}

#[test]
fn images_are_read_apart_from_their_store_and_run_apart_from_both() {
    Fake::assert_dependency("cloud/host_agent", "cloud/image_store", "");
    Fake::assert_dependency("app/yagura", "cloud/image_store", "");
    Fake::assert_dependency("app/yagura_vmm", "cloud/image_store", "knows nothing of images");
    let fake = Fake::new();
    fake.package("crates/cloud/image_import", "image_import", &["cloud/image_store"]);
    fake.assert_found("dependency", "shares image_model with the store");
}

#[test]
fn what_only_tests_use_is_free() {
    let fake = Fake::new();
    let manifest = "[package]\nname = \"machine\"\nversion = \"0.1.0\"\n[lints]\nworkspace = true\n\
        [dev-dependencies]\nkvm_engine = { path = \"../../engine/kvm_engine\" }\n";
    fake.write("crates/vmm/machine/Cargo.toml", manifest);
    assert_eq!(fake.violations(), []);
}

#[test]
fn a_folder_that_is_no_tier() {
    let fake = Fake::new();
    fake.package("crates/extras/thing", "thing", &[]);
    fake.assert_found("tier", "crates/extras/thing");
}

#[test]
fn unsafe_code_where_it_may_not_be() {
    let fake = Fake::new();
    fake.write("crates/engine/kvm_engine/src/run.rs", "#![expect(unsafe_code, reason = \"ioctls\")]\n");
    assert_eq!(fake.violations(), []);
    fake.write("crates/backend/disk/src/ring.rs", "fn f() {}\n#[allow(unsafe_code)]\nfn g() {}\n");
    fake.assert_found("unsafe", "crates/backend/disk/src/ring.rs:2");
}

#[test]
fn lints_that_are_not_in_force() {
    let fake = Fake::new();
    fake.write("crates/backend/disk/Cargo.toml", "[package]\nname = \"disk\"\nversion = \"0.1.0\"\n");
    fake.assert_found("lints", "crates/backend/disk/Cargo.toml");
    let fake = Fake::new();
    let weak =
        LINTS.replace("undocumented_unsafe_blocks = \"deny\"", "undocumented_unsafe_blocks = \"warn\"");
    fake.write("Cargo.toml", &format!("[workspace]\nresolver = \"3\"\nmembers = [\"crates/*/*\"]\n{weak}"));
    fake.assert_found("lints", "clippy.undocumented_unsafe_blocks");
}

#[test]
fn names_that_say_nothing() {
    let fake = Fake::new();
    fake.write("crates/backend/disk/src/utils.rs", "");
    fake.assert_found("name", "utils");
    let fake = Fake::new();
    fake.write("crates/backend/disk/src/device_manager/mod.rs", "");
    fake.assert_found("name", "device_manager");
    let fake = Fake::new();
    fake.write("crates/backend/disk/src/raw.rs", "pub mod helpers {\n}\n");
    fake.assert_found("name", "raw.rs:1");
    let fake = Fake::new();
    fake.package("crates/backend/chars", "char_backend", &[]);
    fake.assert_found("name", "char_backend");
}

#[test]
fn registries_and_homes() {
    let fake = Fake::new();
    fake.write("README.md", &format!("fine\ndeb http://{}.{}/debian\n", "deb.debian", "org"));
    fake.assert_found("registry", "README.md:2");
    for home in ["home/someone/x", "root/.cache", "Users/someone"] {
        let fake = Fake::new();
        fake.write("README.md", &format!("see /{home}\n"));
        fake.assert_found("path", "README.md:1");
    }
    let fake = Fake::new();
    fake.write("README.md", &format!("cd {}\n", fake.folder.path().canonicalize().unwrap().display()));
    fake.assert_found("path", "work tree");
    let fake = Fake::new();
    fake.write("init.sh", "HOME=/root\nmount /mnt/root/proc\necho $root/etc /root\n");
    assert_eq!(fake.violations(), []);
}

#[test]
fn long_files() {
    let fake = Fake::new();
    fake.write("crates/backend/disk/src/raw.rs", &"\n".repeat(801));
    fake.assert_found("length", "801 lines");
    fake.write("crates/backend/disk/src/raw.rs", &("// @generated\n".to_owned() + &"\n".repeat(801)));
    assert_eq!(fake.violations(), []);
}

#[test]
fn crates_without_a_word_about_them() {
    let fake = Fake::new();
    fake.write("crates/backend/disk/src/lib.rs", "mod raw;\n//! Late.\n");
    fake.write("crates/backend/disk/src/raw.rs", "");
    fake.assert_found("documentation", "crates/backend/disk/src/lib.rs");
}

#[test]
fn an_architecture_that_names_what_is_not_there() {
    let fake = Fake::new();
    fake.write("ARCHITECTURE.md", &format!("{ARCHITECTURE}| disks | `crates/backend/disk/src/qcow.rs` |\n"));
    fake.assert_found("architecture", "ARCHITECTURE.md:6");
    fake.write("ARCHITECTURE.md", &format!("{ARCHITECTURE}| disks | in the backend |\n"));
    fake.assert_found("architecture", "names no file");
    fake.write("ARCHITECTURE.md", "# Nothing\n");
    fake.assert_found("architecture", "no table");
}

#[test]
fn messages_show_no_insides_and_paths_are_taken_apart_in_one_place() {
    const FILE: &str = "crates/backend/disk/src/lib.rs";
    for (line, rule) in [
        ("let text = format!(\"{error:?}\");", "message"),
        ("#[error(\"no {0:?}\")]", "message"),
        ("say(&format!(\"{error:#}\"));", "message"),
        ("let folder = path.parent();", "path"),
    ] {
        let fake = Fake::new();
        fake.write(FILE, &format!("//! A disk.\n{line}\n"));
        fake.assert_found(rule, "disk/src/lib.rs:2");
        for good in [format!("// {line}"), format!("#[cfg(test)]\nmod tests {{ {line} }}")] {
            fake.write(FILE, &format!("//! A disk.\n{good}\n"));
            assert_eq!(fake.violations(), [], "{good}");
        }
    }
    let fake = Fake::new();
    fake.write(FILE, "//! A disk.\ndebug!(\"{error:?}\");\n");
    fake.write("crates/host/host_sys/src/lib.rs", "//! Says what it is for.\nlet folder = path.parent();\n");
    assert_eq!(fake.violations(), []);
}

#[test]
fn readers_of_formats_open_nothing_and_hold_no_unsafe_code() {
    const FILE: &str = "crates/format/guest_files/src/lib.rs";
    let fake = Fake::new();
    fake.write(FILE, "//! Says what it is for.\n");
    fake.assert_found("format", "forbid(unsafe_code)");
    for opener in ["File::open(path)", "std::fs::read(path)", "Command::new(\"mount\")"] {
        fake.write(
            FILE,
            &format!("//! Says what it is for.\n#![forbid(unsafe_code)]\nfn f() {{ {opener} }}\n"),
        );
        fake.assert_found("format", "guest_files/src/lib.rs:3");
    }
    fake.write("crates/backend/disk/src/raw.rs", "fn f() { File::open(path) }\n");
    fake.write(
        FILE,
        "//! Says what it is for.\n#![forbid(unsafe_code)]\n#[cfg(test)]\nmod tests { File::open(path) }\n",
    );
    assert_eq!(fake.violations(), []);
}
