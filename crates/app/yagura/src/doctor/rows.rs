//! From facts to what a person reads: feature, state, detail, what to do about it.

use messages::Bytes;
use serde::Serialize;

use super::facts::{Access, CgroupFacts, HostFacts, KsmFacts, TapFacts, UserfaultfdFacts};
use super::kvm_rows;

/// How much of a feature there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Yes,
    No,
    Limited,
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What it is about.
    pub feature: &'static str,
    /// How much of it there is.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// What to do about it; empty where nothing is to be done.
    pub advice: String,
}

impl Row {
    pub(super) fn new(feature: &'static str, state: State, detail: String, advice: &str) -> Row {
        Row { feature, state, detail, advice: advice.to_owned() }
    }
}

/// All rows. The features and their order are the same for every host.
pub fn rows(facts: &HostFacts) -> Vec<Row> {
    let mut rows = kvm_rows::rows(facts);
    rows.extend([
        memory(facts),
        ksm(facts.ksm.as_ref()),
        transparent_huge_pages(facts.transparent_huge_pages.as_deref()),
        huge_pages(facts),
        tap(&facts.tap),
        io_uring(&facts.io_uring),
        cgroups(&facts.cgroups),
        landlock(facts.landlock.version),
        userfaultfd(facts.userfaultfd),
        seccomp(facts.seccomp.filters),
    ]);
    rows
}

fn memory(facts: &HostFacts) -> Row {
    let row = |state, detail, advice| Row::new("memory", state, detail, advice);
    let Some(memory) = facts.memory else {
        return row(State::Limited, "not known".to_owned(), "mount /proc");
    };
    let detail = format!("{}, {} available", Bytes(memory.total_bytes), Bytes(memory.available_bytes));
    if memory.available_bytes < 512 << 20 {
        return row(State::Limited, detail, "a VM of the default size (512M) does not fit: free some");
    }
    row(State::Yes, detail, "")
}

fn ksm(facts: Option<&KsmFacts>) -> Row {
    let row = |state, detail, advice| Row::new("equal pages kept once (KSM)", state, detail, advice);
    match facts {
        None => row(
            State::No,
            "this kernel has none".to_owned(),
            "VMs keep their equal pages apart; a kernel with CONFIG_KSM merges them",
        ),
        Some(KsmFacts { running: false, .. }) => row(
            State::Limited,
            "ksmd does not run".to_owned(),
            "echo 1 > /sys/kernel/mm/ksm/run, and start VMs with --merge on; a guest can then find out by \
             timing whether another holds a page that it guesses",
        ),
        Some(KsmFacts { running: true, pages_shared, saved_bytes, .. }) => row(
            State::Yes,
            format!("ksmd runs; {pages_shared} pages stand for more, {} saved", Bytes(*saved_bytes)),
            "start VMs with --merge on only where a guest may find out by timing whether another holds a page \
             that it guesses",
        ),
    }
}

fn transparent_huge_pages(mode: Option<&str>) -> Row {
    let row = |state, detail, advice| Row::new("transparent huge pages", state, detail, advice);
    match mode {
        Some(mode @ ("always" | "madvise")) => row(State::Yes, mode.to_owned(), ""),
        Some(mode) => row(
            State::No,
            mode.to_owned(),
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled makes guests faster",
        ),
        None => row(
            State::No,
            "this kernel has none".to_owned(),
            "a kernel with CONFIG_TRANSPARENT_HUGEPAGE makes guests faster",
        ),
    }
}

fn huge_pages(facts: &HostFacts) -> Row {
    let pages = facts.huge_pages;
    let row = |state, detail| Row::new("reserved huge pages", state, detail, "none are needed");
    if pages.total == 0 {
        return row(State::No, "none reserved".to_owned());
    }
    let size = Bytes(pages.size_bytes);
    row(State::Yes, format!("{} of {size}, {} free", pages.total, pages.free))
}

fn tap(facts: &TapFacts) -> Row {
    let TapFacts { access, net_admin } = facts;
    let row = |state, detail, advice| Row::new("network (tap)", state, detail, advice);
    let make = "as root, make taps for this user: ip tuntap add dev tap0 mode tap user USER";
    match access {
        Access { usable: true, .. } if *net_admin => {
            row(State::Yes, "/dev/net/tun opens, and taps can be made".to_owned(), "")
        }
        Access { usable: true, .. } => {
            row(State::Limited, "/dev/net/tun opens, but taps cannot be made".to_owned(), make)
        }
        Access { present: false, .. } => row(
            State::No,
            "/dev/net/tun is not there".to_owned(),
            "load the module (modprobe tun), or give the device to this container",
        ),
        Access { error, .. } => row(
            State::No,
            format!("/dev/net/tun: {}", error.as_deref().unwrap_or("not usable")),
            "let this user open it: chmod 666 /dev/net/tun",
        ),
    }
}

fn io_uring(access: &Access) -> Row {
    let row = |state, detail, advice| Row::new("asynchronous disk I/O (io_uring)", state, detail, advice);
    match access {
        Access { usable: true, .. } => row(State::Yes, "usable".to_owned(), ""),
        Access { present: false, .. } => row(
            State::Limited,
            "this kernel has none; disks use threads".to_owned(),
            "Linux 5.6 or later with CONFIG_IO_URING is faster",
        ),
        Access { error, .. } => row(
            State::Limited,
            format!("{}; disks use threads", error.as_deref().unwrap_or("not usable")),
            "sysctl kernel.io_uring_disabled=0 allows it; a container may forbid it by seccomp",
        ),
    }
}

fn cgroups(facts: &CgroupFacts) -> Row {
    let row = |state, detail, advice| Row::new("limits for VMs (cgroups)", state, detail, advice);
    let CgroupFacts { v1_controllers, v1_writable, v2_mounted, v2_controllers, v2_writable } = facts;
    let delegated = |writable: &bool| if *writable { "writable" } else { "not writable" };
    let delegate = "have a group delegated: systemd-run --user --scope -p Delegate=yes yagura run ...";
    // Where controllers are split between the versions, what limits memory decides.
    if v2_controllers.iter().any(|name| name == "memory") {
        let detail = format!("version 2, {} ({})", delegated(v2_writable), v2_controllers.join(" "));
        return if *v2_writable {
            row(State::Yes, detail, "")
        } else {
            row(State::Limited, detail, delegate)
        };
    }
    if v1_controllers.is_empty() {
        let detail = if *v2_mounted { "version 2 without the memory controller" } else { "not mounted" };
        return row(State::No, detail.to_owned(), "mount -t cgroup2 none /sys/fs/cgroup");
    }
    let detail = format!("version 1, {} ({})", delegated(v1_writable), v1_controllers.join(" "));
    if *v1_writable {
        return row(State::Yes, detail, "");
    }
    row(
        State::Limited,
        detail,
        "run as root, or boot with systemd.unified_cgroup_hierarchy=1 and delegate a group",
    )
}

fn landlock(version: Option<u32>) -> Row {
    let row = |state, detail, advice| Row::new("confinement to files (Landlock)", state, detail, advice);
    match version {
        Some(version) => row(State::Yes, format!("version {version}"), ""),
        None => row(
            State::No,
            "missing, or off".to_owned(),
            "Linux 5.13 or later with CONFIG_SECURITY_LANDLOCK, booted with landlock in lsm=",
        ),
    }
}

fn userfaultfd(facts: UserfaultfdFacts) -> Row {
    let row = |state, detail: &str, advice| {
        Row::new("memory filled on demand (userfaultfd)", state, detail.to_owned(), advice)
    };
    match facts {
        UserfaultfdFacts { kernel_faults: true, .. } => row(State::Yes, "usable, for KVM too", ""),
        UserfaultfdFacts { user_faults: true, .. } => row(
            State::Limited,
            "not for faults that KVM makes",
            "let this user open /dev/userfaultfd, or sysctl vm.unprivileged_userfaultfd=1",
        ),
        _ => row(State::No, "missing, or forbidden", "a kernel with CONFIG_USERFAULTFD has it"),
    }
}

fn seccomp(filters: bool) -> Row {
    let row = |state, detail: &str, advice| {
        Row::new("confinement to system calls (seccomp)", state, detail.to_owned(), advice)
    };
    if filters {
        row(State::Yes, "usable", "")
    } else {
        row(State::No, "missing", "a kernel with CONFIG_SECCOMP_FILTER has it")
    }
}
