//! What is kept of a machine from one start to the next.

use image_model::{from_hex, hex};
use serde::{Deserialize, Serialize};

use crate::blueprint::BlueprintError;
use crate::{BadValue, Blueprint, VmSpec};

/// Version of [`Saved`]. A changed record gets another number, and a type that what is written under this one is read by.
const FORM: u32 = 1;

/// What a machine was started with, what that came to, and how it ended: written by the VM's process, read by the next
/// one, which has it go on with the same devices, and by whoever wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineRecord {
    /// What was wanted. Each device has its name. A kernel below `/proc/self/fd` came out of the VM's disk at that start.
    pub spec: VmSpec,
    /// What it was resolved to.
    pub blueprint: Blueprint,
    /// How it ended, as the event `ended` tells it; nothing while it runs, nor where its process was killed.
    pub ended: Option<String>,
}

/// Why bytes are no record that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A newer program wrote them.
    #[error("it has form {found}, and this program knows form {FORM}; use the newer one")]
    Newer {
        /// The form.
        found: u32,
    },
    /// They are something else, or not whole.
    #[error("it is damaged ({0})")]
    Damaged(String),
    /// The machine's description in it cannot be used.
    #[error(transparent)]
    Blueprint(#[from] BlueprintError),
    /// The wish in it cannot be fulfilled by any machine.
    #[error(transparent)]
    Spec(#[from] BadValue),
}

/// The record as it is written, in JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    form: u32,
    ended: Option<String>,
    spec: VmSpec,
    /// [`Blueprint::to_bytes`], two hexadecimal digits a byte.
    blueprint: String,
}

/// What records of all forms have.
#[derive(Deserialize)]
struct AnyForm {
    form: u32,
}

impl MachineRecord {
    /// Longest record that is read, in bytes.
    pub const BYTES_MAX: u64 = 1 << 20;

    /// The bytes of its file.
    ///
    /// # Errors
    /// A path in it is not text in UTF-8.
    pub fn to_json(&self) -> Result<Vec<u8>, RecordError> {
        let MachineRecord { spec, blueprint, ended } = self.clone();
        let blueprint = hex(&blueprint.to_bytes()?);
        let saved = Saved { form: FORM, ended, spec, blueprint };
        let mut bytes = serde_json::to_vec_pretty(&saved).map_err(|error| damaged(&error))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads what [`to_json`](MachineRecord::to_json) wrote, perhaps long ago, perhaps changed by somebody since.
    ///
    /// # Errors
    /// It is none, of a newer form, or no machine is like it.
    pub fn from_json(bytes: &[u8]) -> Result<MachineRecord, RecordError> {
        let AnyForm { form: found } = serde_json::from_slice(bytes).map_err(|error| damaged(&error))?;
        if found != FORM {
            return Err(RecordError::Newer { found });
        }
        let Saved { form: _, ended, spec, blueprint } =
            serde_json::from_slice(bytes).map_err(|error| damaged(&error))?;
        let blueprint = from_hex(&blueprint).ok_or_else(|| RecordError::Damaged("blueprint".to_owned()))?;
        Ok(MachineRecord { spec: spec.validate()?, blueprint: Blueprint::from_bytes(&blueprint)?, ended })
    }
}

fn damaged(error: &serde_json::Error) -> RecordError {
    RecordError::Damaged(messages::parser_words(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blueprint::{BackendFacts, DiskFacts, DiskFeatures, NicFacts, NicFeatures};
    use crate::{BootSpec, HostFacts, KernelSpec, resolve};

    fn example() -> MachineRecord {
        let spec = VmSpec {
            disks: vec!["path=/srv/a.raw,serial=A".parse().unwrap()],
            nets: vec!["tap=t0,queues=2".parse().unwrap()],
            cpus: "2".parse().unwrap(),
            ..VmSpec::new("web1".parse().unwrap(), BootSpec::Kernel(KernelSpec::new("/boot/vmlinuz")))
        };
        let spec = spec.named();
        let features = DiskFeatures::default();
        let disk = DiskFacts { block_size_bytes: 512, readonly: false, features };
        let nic = NicFacts { queue_pairs: 2, features: NicFeatures::default() };
        let backends = BackendFacts {
            disks: spec.disk_ids().into_iter().map(|id| (id, disk)).collect(),
            nics: spec.nic_ids().into_iter().map(|id| (id, nic)).collect(),
            command_line: None,
            console: false,
        };
        let blueprint = resolve(&spec, &HostFacts { cpuid: vec![], tsc_khz: None, backends }, None).unwrap();
        MachineRecord { spec, blueprint, ended: Some("shutdown".to_owned()) }
    }

    #[test]
    fn a_record_is_read_as_it_was_written_for_ever() {
        let bytes = example().to_json().unwrap();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/states/machine-record-v1-blueprint-v2.json");
        device_harness::golden::check(path, &bytes);
        assert_eq!(MachineRecord::from_json(&bytes), Ok(example()));
        // The blueprint in it has a version of its own.
        let mut older = example();
        older.blueprint.generation_id = None;
        assert_eq!(MachineRecord::from_json(include_bytes!("../states/machine-record-v1.json")), Ok(older));
    }

    #[test]
    fn what_is_no_record_is_refused_in_a_line() {
        let good = String::from_utf8(example().to_json().unwrap()).unwrap();
        for (from, to, words) in [
            ("\"form\": 1", "\"form\": 2", "form 2, and this program knows form 1"),
            ("\"form\": 1", "\"shape\": 1", "damaged"),
            ("\"form\": 1,", "\"form\": 1, \"more\": 2,", "damaged"),
            ("\"web1\"", "\"../web1\"", "damaged"),
            ("\"disk-root\"", "\"rtc\"", "a part of every machine is called so"),
            ("\"blueprint\": \"02", "\"blueprint\": \"03", "version 3"),
            ("\"blueprint\": \"02", "\"blueprint\": \"0", "damaged"),
            ("\"blueprint\": \"02", "\"blueprint\": \"xx", "damaged"),
        ] {
            assert!(good.contains(from), "{from}");
            let error = MachineRecord::from_json(good.replacen(from, to, 1).as_bytes()).unwrap_err();
            let line = error.to_string();
            assert!(line.contains(words) && !line.contains('\n'), "{to}: {line}");
        }
        for len in 0..good.trim_end().len() {
            assert!(MachineRecord::from_json(&good.as_bytes()[..len]).is_err(), "{len}");
        }
    }
}
