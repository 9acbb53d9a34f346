//! The rows about what executes guests.

use super::facts::{HostFacts, KvmFacts};
use super::rows::{Row, State};

/// All of them, in the order shown.
pub fn rows(facts: &HostFacts) -> Vec<Row> {
    let kvm = &facts.kvm;
    vec![engine(facts), device(facts), hardware(facts), cpu_model(facts), vcpus(kvm)]
}

fn engine(facts: &HostFacts) -> Row {
    let row = |state, detail: &str, advice: &str| Row::new("engine", state, detail.to_owned(), advice);
    if facts.kvm.is_first_choice() {
        return row(State::Yes, "auto takes KVM", "");
    }
    let advice = "guests run in software, some times slower than on hardware; see the rows about KVM";
    match facts.engine.soft_cpu_model {
        Some(_) => row(State::Limited, "auto takes the software engine", advice),
        None => row(State::No, "none for this CPU", advice),
    }
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
        "under KVM only small test guests run here; for its speed take a machine whose CPU shows VT-x or AMD-V, \
         or a VM with nested virtualization",
    )
}

fn cpu_model(facts: &HostFacts) -> Row {
    let row = |state, detail: String, advice: &str| Row::new("CPU for guests", state, detail, advice);
    let soft =
        facts.engine.soft_cpu_model.map(|model| format!("up to {model} in software")).unwrap_or_default();
    match facts.kvm.highest_cpu_model {
        Some(model) => row(State::Yes, format!("up to {model} with KVM; {soft}"), ""),
        None if facts.kvm.access.usable => {
            row(State::Limited, soft, "KVM offers less than x86-64-v1 on this CPU: take --engine soft")
        }
        None => row(State::Limited, soft, "what KVM would offer is not known without it"),
    }
}

fn vcpus(kvm: &KvmFacts) -> Row {
    match kvm.max_vcpus {
        Some(count) => Row::new("vCPUs of a VM", State::Yes, format!("up to {count}"), ""),
        None => {
            let detail = format!("up to {} in software", vcpu_model::MAX_VCPUS);
            Row::new("vCPUs of a VM", State::Limited, detail, "what KVM would offer is not known without it")
        }
    }
}
