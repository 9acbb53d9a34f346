//! The rows about what executes guests.

use super::facts::{HostFacts, KvmFacts};
use super::rows::{Row, State};

/// All of them, in the order shown.
pub fn rows(facts: &HostFacts) -> Vec<Row> {
    let kvm = &facts.kvm;
    vec![device(facts), hardware(facts), cpu_model(kvm), vcpus(kvm)]
}

fn device(facts: &HostFacts) -> Row {
    let KvmFacts { device, access, api_version, .. } = &facts.kvm;
    let row = |state, detail, advice: &str| Row::new("KVM", state, detail, advice);
    if access.usable {
        let version = api_version.map_or(String::new(), |version| format!(", API version {version}"));
        return row(State::Yes, format!("{device}{version}"), "");
    }
    let error = access.error.as_deref().unwrap_or("not usable");
    if !access.present {
        return row(State::No, format!("{device} is not there"), why_no_device(facts.cpu.virtualization));
    }
    let advice = if error.contains("ermission denied") {
        "join the group that owns it: usermod -aG kvm USER, then log in again"
    } else {
        "see the kernel's log (dmesg) for kvm"
    };
    row(State::No, format!("{device}: {error}"), advice)
}

fn why_no_device(virtualization: Option<&str>) -> &'static str {
    match virtualization {
        Some("VT-x") => "load the module: modprobe kvm_intel",
        Some(_) => "load the module: modprobe kvm_amd",
        None => {
            "the CPU shows neither VT-x nor AMD-V: turn it on in the firmware, or, if this is a VM, turn on \
             nested virtualization in its host"
        }
    }
}

fn hardware(facts: &HostFacts) -> Row {
    let kvm = &facts.kvm;
    let row = |state, detail, advice: &str| Row::new("hardware behind KVM", state, detail, advice);
    if !kvm.access.usable {
        return row(State::No, "not known without KVM".to_owned(), "");
    }
    if let Some(error) = &kvm.probe_error {
        return row(
            State::No,
            format!("the probe guest failed: {error}"),
            "see the kernel's log (dmesg) for kvm",
        );
    }
    let time =
        kvm.ns_per_instruction.map_or(String::new(), |ns| format!("{ns:.1} ns an instruction in ring 0"));
    if kvm.hardware {
        return row(State::Yes, time, "");
    }
    row(
        State::No,
        format!("{time}: it is emulated, and incomplete"),
        "only small test guests run here; take a machine whose CPU shows VT-x or AMD-V, or a VM with nested \
         virtualization",
    )
}

fn cpu_model(kvm: &KvmFacts) -> Row {
    let row = |state, detail: String, advice: &str| Row::new("CPU for guests", state, detail, advice);
    match kvm.highest_cpu_model {
        Some(model) => row(State::Yes, format!("up to {model}, or host"), ""),
        None if kvm.access.usable => {
            row(State::No, "less than x86-64-v1".to_owned(), "no 64-bit operating system runs on this CPU")
        }
        None => row(State::No, "not known without KVM".to_owned(), ""),
    }
}

fn vcpus(kvm: &KvmFacts) -> Row {
    match kvm.max_vcpus {
        Some(count) => Row::new("vCPUs of a VM", State::Yes, format!("up to {count}"), ""),
        None => Row::new("vCPUs of a VM", State::No, "not known without KVM".to_owned(), ""),
    }
}
