//! Asking the host. Nothing here changes it.

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use host_sys::features;
use host_sys::ring::Ring;
use kvm_engine::{CPUINFO, Hardware, KvmEngine, virtualization};
use rustix::fs::Access as Mode;
use soft_engine::SoftEngine;
use vcpu_model::EngineError;
use yagura_vmm::meminfo::{self, HugePageFacts, MemoryFacts};

use super::facts::{
    Access, CgroupFacts, CpuFacts, EngineFacts, HostFacts, KsmFacts, KvmFacts, LandlockFacts, SeccompFacts,
    TapFacts, UserfaultfdFacts,
};

/// The only version that KVM has had since 2007; [`KvmEngine::open`] takes no other.
const KVM_API_VERSION: i32 = 12;
/// Bit of CAP_NET_ADMIN (capabilities(7)).
const CAP_NET_ADMIN: u32 = 12;
/// Controllers that VMs are limited by.
const CONTROLLERS: [&str; 4] = ["cpu", "memory", "blkio", "pids"];

/// Everything about this host.
pub fn gather(kvm_device: &Path) -> HostFacts {
    let meminfo = read(meminfo::PATH);
    let kvm = kvm(kvm_device);
    HostFacts {
        engine: EngineFacts {
            auto: if kvm.is_first_choice() { "kvm" } else { "soft" },
            soft_cpu_model: SoftEngine::default().highest_cpu_model().map(|model| model.name()),
        },
        kvm,
        cpu: CpuFacts { virtualization: virtualization(&read(CPUINFO)) },
        memory: MemoryFacts::parse(&meminfo),
        ksm: ksm(Path::new("/sys/kernel/mm/ksm")),
        transparent_huge_pages: chosen(&read("/sys/kernel/mm/transparent_hugepage/enabled")),
        huge_pages: HugePageFacts::parse(&meminfo),
        tap: TapFacts {
            access: Access::of(&open_device("/dev/net/tun")),
            net_admin: has_capability(&read("/proc/self/status"), CAP_NET_ADMIN),
        },
        io_uring: Access::of(&Ring::<()>::new(2)),
        cgroups: cgroups(&read("/proc/self/mounts"), &read("/proc/self/cgroup")),
        landlock: LandlockFacts { version: features::landlock_version().ok() },
        userfaultfd: userfaultfd(),
        seccomp: SeccompFacts { filters: features::has_seccomp_filters() },
    }
}

/// A file of the kernel's, empty where there is none.
fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn open_device(path: &str) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

fn kvm(device: &Path) -> KvmFacts {
    let nothing = KvmFacts { device: device.display().to_string(), ..KvmFacts::default() };
    let engine = match KvmEngine::open(device) {
        Ok(engine) => engine,
        Err(error) => return KvmFacts { access: kvm_access(&error), ..nothing },
    };
    let report = engine.probe();
    let measured = report.as_ref().ok();
    KvmFacts {
        access: Access::granted(),
        api_version: Some(KVM_API_VERSION),
        hardware: measured.is_some_and(|report| report.hardware == Hardware::Present),
        probe_error: report.as_ref().err().map(ToString::to_string),
        ns_per_instruction: measured.map(|report| {
            let instructions = report.instructions.max(1) as f64;
            (report.elapsed.as_nanos() as f64 / instructions * 10.0).round() / 10.0
        }),
        highest_cpu_model: engine.highest_cpu_model().ok().flatten().map(|model| model.name()),
        max_vcpus: Some(engine.capabilities().max_vcpus.min(vcpu_model::MAX_VCPUS)),
        ..nothing
    }
}

fn kvm_access(error: &EngineError) -> Access {
    let answer = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    match answer {
        Some(answer) => Access::denied(answer),
        None => Access { present: true, usable: false, error: Some(error.to_string()) },
    }
}

pub(super) fn ksm(folder: &Path) -> Option<KsmFacts> {
    let number = |file| read(folder.join(file)).trim().parse::<u64>().ok();
    let run = number("run")?;
    let pages_sharing = number("pages_sharing").unwrap_or(0);
    Some(KsmFacts {
        running: run == 1,
        pages_shared: number("pages_shared").unwrap_or(0),
        pages_sharing,
        saved_bytes: pages_sharing.saturating_mul(rustix::param::page_size() as u64),
    })
}

/// The word in brackets, by which the kernel shows a choice.
pub(super) fn chosen(choices: &str) -> Option<String> {
    let (_, rest) = choices.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

/// Whether bit `number` is set in the effective capabilities (proc_pid_status(5), `CapEff`).
pub(super) fn has_capability(status: &str, number: u32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = mask.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> number & 1 != 0)
}

fn userfaultfd() -> UserfaultfdFacts {
    let kernel_faults = features::try_userfaultfd(true).is_ok() || open_device("/dev/userfaultfd").is_ok();
    UserfaultfdFacts { kernel_faults, user_faults: kernel_faults || features::try_userfaultfd(false).is_ok() }
}

/// Groups by what is mounted (proc_pid_mounts(5)) and where this process is (cgroups(7), `/proc/PID/cgroup`).
pub(super) fn cgroups(mounts: &str, own: &str) -> CgroupFacts {
    let mut facts = CgroupFacts::default();
    let mut v1_folders = Vec::new();
    for mount in mounts.lines() {
        let mut fields = mount.split(' ').skip(1);
        let (Some(at), Some(kind), Some(options)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if kind == "cgroup2" {
            let folder = group_folder(at, own_path(own, ""));
            facts.v2_mounted = true;
            let controllers = read(folder.join("cgroup.controllers"));
            facts.v2_controllers = controllers.split_ascii_whitespace().map(str::to_owned).collect();
            facts.v2_writable = is_writable(&folder);
        } else if kind == "cgroup" {
            for controller in options.split(',').filter(|name| CONTROLLERS.contains(name)) {
                facts.v1_controllers.push(controller.to_owned());
                v1_folders.push(group_folder(at, own_path(own, controller)));
            }
        }
    }
    facts.v1_writable = !v1_folders.is_empty() && v1_folders.iter().all(|folder| is_writable(folder));
    facts
}

/// The group of this process in the hierarchy of `controller` (empty for version 2).
fn own_path<'a>(own: &'a str, controller: &str) -> &'a str {
    let fields = |line: &'a str| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some((fields.next()?, fields.next()?))
    };
    let mut groups = own.lines().filter_map(fields);
    groups.find(|(names, _)| names.split(',').any(|name| name == controller)).map_or("/", |(_, path)| path)
}

/// In a container the path may be one of the host's that is not visible here: then the mount is the group.
fn group_folder(mount: &str, path: &str) -> PathBuf {
    let folder = Path::new(mount).join(path.trim_start_matches('/'));
    if folder.is_dir() { folder } else { mount.into() }
}

fn is_writable(folder: &Path) -> bool {
    rustix::fs::access(folder, Mode::WRITE_OK | Mode::EXEC_OK).is_ok()
}
