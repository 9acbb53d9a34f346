//! The record of an instance's machine: read before it is started, written when it is resolved and when it ends.
//!
//! The VM's process is the only one that writes it, while the VM's name and disks are its own. It knows a path and nothing
//! of the store in which that lies.

use std::io;
use std::path::{Path, PathBuf, absolute};

use anyhow::Context;
use host_sys::named_file::read_named;
use host_sys::new_file;
use vm_runtime::Keeper;
use vm_spec::{Blueprint, BootSpec, ConsoleSpec, MachineRecord, VmSpec};

/// A machine's record, in a file.
#[derive(Debug)]
pub(crate) struct KeptMachine {
    path: PathBuf,
    /// The VM as it is to be recorded.
    spec: VmSpec,
    former: Option<Blueprint>,
}

impl KeptMachine {
    /// Reads the record at `path`, if there is one, and names the devices of `spec` as it has them.
    ///
    /// # Errors
    /// There is a record, and it cannot be used. Nothing is changed then.
    pub(crate) fn open(path: &Path, spec: &mut VmSpec) -> anyhow::Result<KeptMachine> {
        let former = read(path).with_context(|| {
            format!("{} records the VM's machine; move it away to have one described anew", path.display())
        })?;
        let recorded = at_absolute_paths(spec.clone())?;
        let recorded = match &former {
            Some(former) => recorded.named_like(&former.spec),
            None => recorded.named(),
        };
        for (disk, named) in spec.disks.iter_mut().zip(&recorded.disks) {
            disk.id.clone_from(&named.id);
        }
        for (net, named) in spec.nets.iter_mut().zip(&recorded.nets) {
            net.id.clone_from(&named.id);
        }
        let former = former.map(|former| former.blueprint);
        Ok(KeptMachine { path: path.to_owned(), spec: recorded, former })
    }

    fn write(&self, blueprint: &Blueprint, ended: Option<&str>) -> io::Result<()> {
        let (spec, blueprint) = (self.spec.clone(), blueprint.clone());
        let record = MachineRecord { spec, blueprint, ended: ended.map(str::to_owned) };
        new_file::replace(&self.path, &record.to_json().map_err(io::Error::other)?)
    }
}

impl Keeper for KeptMachine {
    fn former(&self) -> Option<&Blueprint> {
        self.former.as_ref()
    }

    fn keep(&self, blueprint: &Blueprint) -> io::Result<()> {
        self.write(blueprint, None)
    }

    fn ended(&self, blueprint: &Blueprint, how: &str) -> io::Result<()> {
        self.write(blueprint, Some(how))
    }
}

fn read(path: &Path) -> anyhow::Result<Option<MachineRecord>> {
    match read_named(path, MachineRecord::BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        bytes => Ok(Some(MachineRecord::from_json(&bytes?)?)),
    }
}

/// The same VM for whoever reads of it in another folder.
fn at_absolute_paths(mut spec: VmSpec) -> io::Result<VmSpec> {
    let BootSpec::Kernel(kernel) = &mut spec.boot;
    let modules = kernel.modules.iter_mut().map(|module| &mut module.path);
    let boot = std::iter::once(&mut kernel.path).chain(&mut kernel.initrds).chain(modules);
    let consoles = std::iter::once(&mut spec.console).chain(&mut spec.virtio_console);
    let consoles = consoles.filter_map(|console| match console {
        ConsoleSpec::File { path, .. } | ConsoleSpec::Socket(path) => Some(path),
        ConsoleSpec::Stdio | ConsoleSpec::None => None,
    });
    for path in boot.chain(spec.disks.iter_mut().map(|disk| &mut disk.path)).chain(consoles) {
        *path = absolute(&*path)?;
    }
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_spec::blueprint::{BackendFacts, DiskFacts, DiskFeatures, NicFacts, NicFeatures};
    use vm_spec::{HostFacts, KernelSpec, MacAddress, resolve};

    fn spec(disks: &[&str], taps: &[&str]) -> VmSpec {
        VmSpec {
            disks: disks.iter().map(|name| format!("path={name}").parse().unwrap()).collect(),
            nets: taps.iter().map(|name| format!("tap={name}").parse().unwrap()).collect(),
            ..VmSpec::new("web1".parse().unwrap(), BootSpec::Kernel(KernelSpec::new("kernel")))
        }
    }

    /// A start and an end of a VM, as the driver has them; what its guest found.
    fn start(path: &Path, mut spec: VmSpec) -> anyhow::Result<Blueprint> {
        let kept = KeptMachine::open(path, &mut spec)?;
        let disk = DiskFacts { block_size_bytes: 512, readonly: false, features: DiskFeatures::default() };
        let nic = NicFacts { queue_pairs: 1, features: NicFeatures::default() };
        let backends = BackendFacts {
            disks: spec.disk_ids().into_iter().map(|id| (id, disk)).collect(),
            nics: spec.nic_ids().into_iter().map(|id| (id, nic)).collect(),
            command_line: None,
            console: false,
        };
        let blueprint = resolve(&spec, &HostFacts { cpuid: vec![], tsc_khz: None, backends }, kept.former())?;
        kept.keep(&blueprint)?;
        kept.ended(&blueprint, "shutdown")?;
        Ok(blueprint)
    }

    fn found(blueprint: &Blueprint, id: &str) -> (u8, Option<MacAddress>) {
        let id = id.parse().unwrap();
        let mac = blueprint.nics().find(|(nic, _)| **nic == id).map(|(_, nic)| nic.mac);
        (blueprint.device(&id).unwrap().slot, mac)
    }

    #[test]
    fn what_is_left_when_something_is_removed_stays_what_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("machine.json");
        let whole = start(&path, spec(&["root", "a", "b"], &["t0", "t1"])).unwrap();
        for _ in 0..2 {
            let less = start(&path, spec(&["root", "b"], &["t1"])).unwrap();
            for id in ["disk-root", "disk2", "nic1", "rng0"] {
                assert_eq!(found(&less, id), found(&whole, id), "{id}");
            }
            assert_eq!(less.devices.len(), 4);
        }
        let record = MachineRecord::from_json(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(record.ended.as_deref(), Some("shutdown"));
        assert!(record.spec.disks.iter().all(|disk| disk.path.is_absolute()));
        // The first ones are back: the others do not move for them.
        let more = start(&path, spec(&["root", "a", "b"], &["t0", "t1"])).unwrap();
        assert_eq!(found(&more, "disk2"), found(&whole, "disk2"));
        assert_eq!(found(&more, "nic1"), found(&whole, "nic1"));
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }

    #[test]
    fn a_record_that_cannot_be_used_is_told_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("machine.json");
        for (bytes, words) in [
            ("", "damaged"),
            ("{}", "damaged"),
            ("{\"form\": 7, \"new\": 1}", "form 7"),
            ("GIF89a", "damaged"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = start(&path, spec(&["root"], &[])).unwrap_err();
            let line = messages::in_words(&*error);
            assert!(line.contains(words) && line.contains("move it away") && !line.contains('\n'), "{line}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), bytes);
        }
    }
}
