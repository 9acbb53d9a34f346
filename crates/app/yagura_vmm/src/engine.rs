//! Which engine runs a VM.

use std::path::Path;

use anyhow::Context;
use kvm_engine::{CPUINFO, Hardware, KvmEngine, virtualization};
use soft_engine::SoftEngine;
use vcpu_model::Engine;
use vm_runtime::Elsewhere;

use crate::order::{EngineChoice, Translation};

/// The engine that was chosen.
pub enum Chosen {
    /// Linux KVM.
    Kvm(KvmEngine),
    /// Guest code in software, and why that was chosen where nobody asked for it.
    Soft(SoftEngine, Option<String>),
}

/// Opens the engine that was asked for; `auto` takes KVM where hardware stands behind it.
pub fn choose(choice: EngineChoice, jit: Translation, kvm_device: &Path) -> anyhow::Result<Chosen> {
    let soft = match jit {
        Translation::On => SoftEngine::default(),
        Translation::Off => SoftEngine::interpreter(),
        Translation::Check => SoftEngine::lockstep(),
    };
    match choice {
        EngineChoice::Soft => Ok(Chosen::Soft(soft, None)),
        EngineChoice::Kvm => Ok(Chosen::Kvm(KvmEngine::open(kvm_device)?)),
        EngineChoice::Auto => Ok(best(soft, kvm_device)),
    }
}

/// KVM with hardware behind it, where the software engine was taken all the same: guests can go on there.
pub fn beside(choice: EngineChoice, kvm_device: &Path) -> Option<Elsewhere> {
    // Otherwise KVM has been looked at, and is not usable.
    if choice != EngineChoice::Soft {
        return None;
    }
    // A guest that has to be emulated takes its time to show it.
    virtualization(&std::fs::read_to_string(CPUINFO).ok()?)?;
    let engine = KvmEngine::open(kvm_device).ok()?;
    let report = engine.probe().ok().filter(|report| report.hardware == Hardware::Present)?;
    Some(Elsewhere { cpuid: engine.offered_cpuid().ok()?, tsc_khz: report.tsc_khz })
}

fn best(engine: SoftEngine, kvm_device: &Path) -> Chosen {
    let soft = |why: String| {
        Chosen::Soft(engine, Some(format!("{why}: running on the software engine (see 'yagura doctor')")))
    };
    let engine = match KvmEngine::open(kvm_device).context("no KVM") {
        Ok(engine) => engine,
        Err(error) => return soft(messages::in_words(&*error)),
    };
    match engine.probe() {
        Ok(report) if report.hardware == Hardware::Present => Chosen::Kvm(engine),
        Ok(_) => soft("the KVM of this host has no hardware behind it".to_owned()),
        Err(error) => soft(format!("the KVM of this host runs no guest ({})", messages::in_words(&error))),
    }
}
