use super::facts::{
    Access, CgroupFacts, CpuFacts, EngineFacts, HostFacts, KsmFacts, KvmFacts, LandlockFacts, SeccompFacts,
    TapFacts, UserfaultfdFacts,
};
use super::rows::{Row, State, rows};
use super::{gather, report};
use yagura_vmm::meminfo::{HugePageFacts, MemoryFacts};

/// A host on which everything is as it should be.
fn good_host() -> HostFacts {
    HostFacts {
        kvm: KvmFacts {
            device: "/dev/kvm".to_owned(),
            access: Access::granted(),
            api_version: Some(12),
            hardware: true,
            probe_error: None,
            ns_per_instruction: Some(0.4),
            highest_cpu_model: Some("x86-64-v3"),
            max_vcpus: Some(64),
        },
        engine: EngineFacts { auto: "kvm", soft_cpu_model: Some("x86-64-v2") },
        cpu: CpuFacts { virtualization: Some("VT-x") },
        memory: Some(MemoryFacts { total_bytes: 64 << 30, available_bytes: 60 << 30 }),
        ksm: Some(KsmFacts { running: true, pages_shared: 3, pages_sharing: 512, saved_bytes: 2 << 20 }),
        transparent_huge_pages: Some("madvise".to_owned()),
        huge_pages: HugePageFacts { total: 4, free: 4, size_bytes: 2 << 20 },
        tap: TapFacts { access: Access::granted(), net_admin: true },
        io_uring: Access::granted(),
        cgroups: CgroupFacts {
            v2_mounted: true,
            v2_controllers: vec!["cpu".to_owned(), "memory".to_owned()],
            v2_writable: true,
            ..CgroupFacts::default()
        },
        landlock: LandlockFacts { version: Some(6) },
        userfaultfd: UserfaultfdFacts { user_faults: true, kernel_faults: true },
        seccomp: SeccompFacts { filters: true },
    }
}

/// A host that has nothing.
fn bare_host() -> HostFacts {
    let denied = |errno| Access::denied(&std::io::Error::from_raw_os_error(errno));
    HostFacts {
        kvm: KvmFacts { device: "/dev/kvm".to_owned(), access: denied(2), ..KvmFacts::default() },
        engine: EngineFacts { auto: "soft", soft_cpu_model: Some("x86-64-v2") },
        cpu: CpuFacts::default(),
        memory: None,
        ksm: None,
        transparent_huge_pages: None,
        huge_pages: HugePageFacts::default(),
        tap: TapFacts { access: denied(2), net_admin: false },
        io_uring: denied(38),
        cgroups: CgroupFacts::default(),
        landlock: LandlockFacts::default(),
        userfaultfd: UserfaultfdFacts::default(),
        seccomp: SeccompFacts::default(),
    }
}

fn row(facts: &HostFacts, feature: &str) -> Row {
    rows(facts).into_iter().find(|row| row.feature.contains(feature)).unwrap()
}

#[test]
fn a_good_host_has_everything_and_a_bare_one_advice() {
    assert!(good_host().can_run());
    assert!(rows(&good_host()).iter().all(|row| row.state == State::Yes));
    assert!(bare_host().can_run(), "the software engine runs anywhere");
    let features = |facts: &HostFacts| rows(facts).iter().map(|row| row.feature).collect::<Vec<_>>();
    assert_eq!(features(&good_host()), features(&bare_host()));
    for row in rows(&bare_host()) {
        assert_ne!(row.state, State::Yes, "{row:?}");
        assert!(!row.advice.is_empty() || row.detail.contains("without KVM"), "{row:?}");
    }
}

#[test]
fn kvm_without_hardware_is_told_apart() {
    let mut facts = good_host();
    facts.kvm.hardware = false;
    facts.kvm.ns_per_instruction = Some(830.0);
    assert_eq!(row(&facts, "engine").state, State::Limited);
    assert_eq!(row(&facts, "KVM").state, State::Yes);
    let hardware = row(&facts, "hardware");
    assert_eq!(hardware.state, State::No);
    assert!(hardware.detail.starts_with("830.0 ns an instruction"), "{hardware:?}");
    facts.kvm.probe_error = Some("it broke".to_owned());
    assert!(row(&facts, "hardware").detail.contains("it broke"));
}

#[test]
fn an_absent_or_forbidden_kvm_is_explained() {
    let mut facts = bare_host();
    assert!(row(&facts, "KVM").advice.contains("neither VT-x nor AMD-V"));
    facts.cpu.virtualization = Some("AMD-V");
    assert!(row(&facts, "KVM").advice.contains("modprobe kvm_amd"));
    facts.kvm.access = Access::denied(&std::io::Error::from_raw_os_error(13));
    let forbidden = row(&facts, "KVM");
    assert!(forbidden.detail.contains("Permission denied") && forbidden.advice.contains("usermod"));
    facts.kvm.access = Access { present: true, usable: false, error: Some("version 3".to_owned()) };
    assert!(row(&facts, "KVM").detail.contains("version 3"));
}

#[test]
fn half_a_feature_is_limited() {
    let mut facts = good_host();
    facts.ksm = Some(KsmFacts::default());
    facts.tap.net_admin = false;
    facts.io_uring = Access::denied(&std::io::Error::from_raw_os_error(1));
    facts.cgroups.v2_writable = false;
    facts.userfaultfd.kernel_faults = false;
    facts.memory = Some(MemoryFacts { total_bytes: 1 << 30, available_bytes: 1 << 20 });
    let limited = ["KSM", "tap", "io_uring", "cgroups", "userfaultfd", "memory"];
    for feature in limited {
        let row = row(&facts, feature);
        assert!(row.state == State::Limited && !row.advice.is_empty(), "{row:?}");
    }
    assert!(row(&facts, "KSM").advice.contains("timing"));
    facts.cgroups =
        CgroupFacts { v1_controllers: vec!["cpu".to_owned()], v2_mounted: true, ..CgroupFacts::default() };
    assert!(row(&facts, "cgroups").detail.starts_with("version 1, not writable"));
    facts.cgroups.v2_controllers = vec!["hugetlb".to_owned()];
    assert!(row(&facts, "cgroups").detail.starts_with("version 1, not writable"));
}

#[test]
fn json_has_stable_keys() {
    let facts = good_host();
    let text = report::json(&facts, &rows(&facts));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["can_run"], true);
    assert_eq!(json["kvm"]["present"], true);
    assert_eq!(json["kvm"]["usable"], true);
    assert_eq!(json["kvm"]["hardware"], true);
    assert_eq!(json["kvm"]["highest_cpu_model"], "x86-64-v3");
    assert_eq!(json["tap"]["net_admin"], true);
    assert_eq!(json["landlock"]["version"], 6);
    assert_eq!(json["rows"][0]["feature"], "engine");
    assert_eq!(json["rows"][0]["state"], "yes");
    let mut keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let expected = "can_run cgroups cpu engine huge_pages io_uring ksm kvm landlock memory rows seccomp tap \
                    transparent_huge_pages userfaultfd";
    assert_eq!(keys, expected.split(' ').collect::<Vec<_>>());
}

#[test]
fn the_table_has_a_line_for_each_feature_and_no_colours_outside_a_terminal() {
    let facts = bare_host();
    let text = report::table(&rows(&facts));
    for row in rows(&facts) {
        assert!(text.contains(row.feature.split(' ').next().unwrap()), "{text}");
    }
}

#[test]
fn the_kernel_s_tables_are_read() {
    assert_eq!(gather::chosen("always [madvise] never"), Some("madvise".to_owned()));
    assert_eq!(gather::chosen("0"), None);
    assert!(gather::has_capability("Name:\tx\nCapEff:\t0000000000001000\n", 12));
    assert!(!gather::has_capability("CapEff:\t0000000000000fff\n", 12));
    assert!(!gather::has_capability("", 12));
    let folder = tempfile::tempdir().unwrap();
    assert!(gather::ksm(folder.path()).is_none());
    std::fs::write(folder.path().join("run"), "1\n").unwrap();
    std::fs::write(folder.path().join("pages_sharing"), "2\n").unwrap();
    let ksm = gather::ksm(folder.path()).unwrap();
    assert!(ksm.running && ksm.pages_sharing == 2 && ksm.saved_bytes >= 8192);
}

#[test]
fn control_groups_of_both_versions_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().display();
    let own = "9:name=systemd:/\n4:memory:/a\n2:cpu,cpuacct:/\n0::/mine\n";
    std::fs::create_dir_all(folder.path().join("unified/mine")).unwrap();
    std::fs::create_dir_all(folder.path().join("memory/a")).unwrap();
    std::fs::write(folder.path().join("unified/mine/cgroup.controllers"), "io pids\n").unwrap();
    let mounts = format!(
        "cgroup2 {root}/unified cgroup2 rw 0 0\ncgroup {root}/memory cgroup rw,memory 0 0\n\
         cgroup {root}/gone cgroup rw,cpu,cpuacct 0 0\nproc /proc proc rw 0 0\nbroken\n"
    );
    let facts = gather::cgroups(&mounts, own);
    assert!(facts.v2_mounted && facts.v2_writable && !facts.v1_writable);
    assert_eq!(facts.v2_controllers, ["io", "pids"]);
    assert_eq!(facts.v1_controllers, ["memory", "cpu"]);
    assert!(!gather::cgroups("", "").v2_mounted);
}
