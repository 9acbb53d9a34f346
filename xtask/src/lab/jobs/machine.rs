//! The lab's machine itself: what the monitor's jobs stand on.

use super::{Group, Job, Lab, Outcome, Soft};
use crate::process;
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::Command;

/// The only version that there ever was.
const KVM_API_VERSION: i32 = 12;

const LIMIT_SECONDS: u64 = 20;

const TEMPLATE: Job = Job {
    name: "",
    about: "",
    group: Group::PLAIN,
    quick: true,
    yagura: false,
    others: false,
    tests: None,
    soft: Soft::No,
    limit_seconds: LIMIT_SECONDS,
    run: kvm_present,
};

/// This theme's jobs.
pub const JOBS: &[Job] = &[
    Job { name: "kvm-present", about: "KVM with hardware virtualization and nested paging", ..TEMPLATE },
    Job { name: "tools", about: "cgroup v2, tap and KSM answer", run: tools, ..TEMPLATE },
    Job {
        name: "kvm-without-npt",
        about: "KVM with shadow page tables",
        group: Group::NO_NPT,
        run: kvm_without_npt,
        ..TEMPLATE
    },
    Job {
        name: "two-processors",
        about: "a second processor is online",
        group: Group::TWO_CPUS,
        run: two_processors,
        ..TEMPLATE
    },
];

fn kvm_present(_: &Lab) -> Result<Outcome> {
    check_kvm("1")
}

fn kvm_without_npt(_: &Lab) -> Result<Outcome> {
    check_kvm("0")
}

fn check_kvm(npt: &str) -> Result<Outcome> {
    let version = kvm_ioctls::Kvm::new().context("cannot open /dev/kvm")?.get_api_version();
    ensure!(version == KVM_API_VERSION, "KVM's API has version {version}");
    let cpu = std::fs::read_to_string("/proc/cpuinfo")?;
    ensure!(cpu.split_whitespace().any(|flag| flag == "svm"), "the processor shows no svm");
    let parameter = read("/sys/module/kvm_amd/parameters/npt")?;
    ensure!(matches!(parameter.as_str(), "Y" | "1") == (npt == "1"), "npt is {parameter}, wanted {npt}");
    Ok(Outcome::Passed)
}

fn two_processors(_: &Lab) -> Result<Outcome> {
    let online = read("/sys/devices/system/cpu/online")?;
    ensure!(online == "0-1", "online are {online}");
    check_kvm("1")
}

fn tools(lab: &Lab) -> Result<Outcome> {
    let controllers = read("/sys/fs/cgroup/cgroup.controllers")?;
    ensure!(controllers.contains("memory") && controllers.contains("cpu"), "cgroup v2 offers {controllers}");
    ensure!(Path::new("/dev/net/tun").exists(), "there is no /dev/net/tun");
    for arguments in [&["tuntap", "add", "dev", "probe0", "mode", "tap"][..], &["link", "delete", "probe0"]] {
        process::run(Command::new("ip").args(arguments))?;
    }
    std::fs::write("/sys/kernel/mm/ksm/run", "1").context("cannot start KSM")?;
    std::fs::write("/sys/kernel/mm/ksm/run", "0")?;
    std::fs::write(lab.folder().join("probe"), "x").context("the job's folder cannot be written")?;
    Ok(Outcome::Passed)
}

fn read(path: &str) -> Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    Ok(text.trim().to_owned())
}
