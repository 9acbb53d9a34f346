//! What of a machine outlives its process.

use std::fmt::Debug;
use std::io;

use arch_model::x86_64::cpuid::{Cpuid, CpuidLeaf, common, highest_level};
use vcpu_model::{Engine, EngineError};
use vm_spec::{Blueprint, CpuModel};

/// Keeps what a machine was resolved to, so that the next start of the same VM is the same machine.
pub trait Keeper: Debug + Send {
    /// What it was resolved to at its last start.
    fn former(&self) -> Option<&Blueprint>;

    /// What it is resolved to now, before it is powered on.
    ///
    /// # Errors
    /// It cannot be kept; then the machine is not started.
    fn keep(&self, blueprint: &Blueprint) -> io::Result<()>;

    /// How it ended, while its name is still its own.
    ///
    /// # Errors
    /// That cannot be kept.
    fn ended(&self, blueprint: &Blueprint, how: &str) -> io::Result<()>;
}

/// CPUID of a guest: of the model that was asked for; else of the level that it had, as this engine offers it; else of the
/// engine's own choice, and then what is to be said of that. If it was not asked for, the guest is told of nothing that is
/// missing where it may go: `also` is what is offered there.
pub(crate) fn guest_cpuid<E: Engine>(
    engine: &E,
    asked: Option<CpuModel>,
    former: Option<&Blueprint>,
    also: Option<&[CpuidLeaf]>,
) -> Result<(Cpuid, Option<String>), EngineError> {
    if asked.is_some() {
        return Ok((engine.guest_cpuid(asked)?, None));
    }
    let had = former.and_then(|former| highest_level(&former.cpuid));
    let most = also.and_then(highest_level);
    let own = || {
        let level = engine.default_cpu_model()?;
        engine.guest_cpuid(Some(most.map_or(level, |most| level.min(most))))
    };
    let (cpuid, line) = match had.map(|had| (had, engine.guest_cpuid(Some(had)))) {
        None => (own()?, None),
        Some((_, Ok(cpuid))) => (cpuid, None),
        // It starts from nothing: a guest that finds another CPU takes that.
        Some((had, Err(error))) => {
            let why = messages::in_words(&error);
            (own()?, Some(format!("its CPU was {had} until now; it gets another ({why})")))
        }
    };
    // A machine whose level is missing there stays what it is.
    Ok((
        match also.filter(|_| most.is_some() && most >= highest_level(&cpuid)) {
            Some(also) => common(cpuid, also),
            None => cpuid,
        },
        line,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    use arch_model::x86_64::cpuid::restrict;
    use guest_memory::GuestMemory;
    use vcpu_model::VmConfig;
    use vcpu_model::fake::{FakeEngine, FakeVm, Step};
    use vm_spec::OnReset;

    use crate::tests::spec;
    use crate::{Options, Outcome, RunError, run};

    /// What a keeper was told, in its order.
    type Told = Arc<Mutex<Vec<String>>>;

    #[derive(Debug)]
    struct Fake {
        former: Option<Blueprint>,
        told: Told,
        is_full: bool,
    }

    impl Keeper for Fake {
        fn former(&self) -> Option<&Blueprint> {
            self.former.as_ref()
        }

        fn keep(&self, blueprint: &Blueprint) -> io::Result<()> {
            if self.is_full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let slots = blueprint.devices.iter().map(|device| format!("{} {}", device.slot, device.id));
            self.told.lock().unwrap().extend(slots);
            Ok(())
        }

        fn ended(&self, _blueprint: &Blueprint, how: &str) -> io::Result<()> {
            self.told.lock().unwrap().push(how.to_owned());
            Ok(())
        }
    }

    fn start(former: Option<Blueprint>, is_full: bool) -> (Result<Outcome, RunError>, Vec<String>, u32) {
        let folder = tempfile::tempdir().unwrap();
        let engine = FakeEngine::new(vec![vec![Step::PortWrite(0x600, vec![0x34])]]);
        let told = Told::default();
        let keeper = Box::new(Fake { former, told: Arc::clone(&told), is_full });
        let options = Options { keeper: Some(keeper), ..Options::default() };
        let ended = run(&engine, &spec(folder.path(), OnReset::Exit), options);
        let told = told.lock().unwrap().clone();
        (ended, told, engine.vms())
    }

    #[test]
    fn what_is_resolved_is_kept_before_the_machine_starts_and_its_end_is_told() {
        let (ended, told, vms) = start(None, false);
        assert!(matches!(ended, Ok(Outcome::Shutdown)), "{ended:?}");
        assert_eq!((told, vms), (vec!["1 rng0".to_owned(), "shutdown".to_owned()], 1));
        let (ended, told, vms) = start(None, true);
        let line = messages::in_words(&ended.unwrap_err());
        assert!(line.contains("cannot keep the machine's description"), "{line}");
        assert_eq!((told, vms), (vec![], 0), "it is not started");
    }

    #[test]
    fn a_device_is_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let spec = spec(folder.path(), OnReset::Exit);
        let facts = vm_spec::HostFacts::default();
        let mut former = vm_spec::resolve(&spec, &facts, None).unwrap();
        former.devices[0].slot = 9;
        assert_eq!(start(Some(former), false).1[0], "9 rng0");
    }

    /// An engine that offers a CPUID.
    struct Offers(Cpuid);

    impl Engine for Offers {
        type Vm = FakeVm;

        fn name(&self) -> &'static str {
            "fake"
        }

        fn offered_cpuid(&self) -> Result<Cpuid, EngineError> {
            Ok(self.0.clone())
        }

        fn default_cpu_model(&self) -> Result<CpuModel, EngineError> {
            Ok(highest_level(&self.0).unwrap_or(CpuModel::V1))
        }

        fn create_vm(&self, config: &VmConfig, memory: &GuestMemory) -> Result<FakeVm, EngineError> {
            FakeEngine::new(Vec::new()).create_vm(config, memory)
        }
    }

    #[test]
    fn the_level_of_a_cpu_stays_where_the_host_has_it() {
        let leaf = |function, index| CpuidLeaf { function, index, eax: !0, ebx: !0, ecx: !0, edx: !0 };
        let all = vec![leaf(1, None), leaf(7, Some(0)), leaf(0x8000_0001, None)];
        let level = |model| restrict(all.clone(), model).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let facts = vm_spec::HostFacts { cpuid: level(CpuModel::V1), ..vm_spec::HostFacts::default() };
        let former = vm_spec::resolve(&spec(folder.path(), OnReset::Exit), &facts, None).unwrap();
        let newer = Offers(level(CpuModel::V2));
        let cpuid = |asked, former| guest_cpuid(&newer, asked, former, None).unwrap();
        assert_eq!(cpuid(None, None), (level(CpuModel::V2), None));
        assert_eq!(cpuid(None, Some(&former)), (level(CpuModel::V1), None));
        assert_eq!(cpuid(Some(CpuModel::V2), Some(&former)), (level(CpuModel::V2), None));
        let had = Blueprint { cpuid: level(CpuModel::V2), ..former };
        let older = Offers(level(CpuModel::V1));
        let (cpuid, line) = guest_cpuid(&older, None, Some(&had), None).unwrap();
        assert_eq!(cpuid, level(CpuModel::V1));
        assert!(line.unwrap().starts_with("its CPU was x86-64-v2 until now; it gets another ("));
    }
    #[test]
    fn a_guest_that_may_go_elsewhere_is_told_of_what_is_there_too() {
        let leaf = |function, index| CpuidLeaf { function, index, eax: !0, ebx: !0, ecx: !0, edx: !0 };
        let all = vec![leaf(1, None), leaf(7, Some(0)), leaf(0x8000_0001, None)];
        let level = |model| restrict(all.clone(), model).unwrap();
        let engine = Offers(level(CpuModel::V2));
        // No PCID there (leaf 1 ECX bit 17).
        let mut there = level(CpuModel::V2);
        there[0].ecx &= !(1 << 17);
        let cpuid = |asked, former, also| guest_cpuid(&engine, asked, former, Some(also)).unwrap().0;
        assert_eq!(cpuid(None, None, &there[..]), there);
        assert_eq!(cpuid(Some(CpuModel::V2), None, &there), level(CpuModel::V2));
        let lower = level(CpuModel::V1);
        assert_eq!(cpuid(None, None, &lower), lower);
        let folder = tempfile::tempdir().unwrap();
        let facts = vm_spec::HostFacts { cpuid: level(CpuModel::V2), ..vm_spec::HostFacts::default() };
        let former = vm_spec::resolve(&spec(folder.path(), OnReset::Exit), &facts, None).unwrap();
        assert_eq!(cpuid(None, Some(&former), &there), there);
        assert_eq!(cpuid(None, Some(&former), &lower), level(CpuModel::V2));
    }
}
