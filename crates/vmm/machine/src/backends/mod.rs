//! What is behind a machine's devices on the host, by the devices' names, in two steps; kept across resets.
//!
//! ```text
//!  prepare(id, what)              activate(id)
//! ──────────────────► Prepared ───────────────────► Active ──► to the device of that name
//!                        ▲  │                         │
//!                        │  └─ remove(id)             │
//!                        └────────────────────────────┘
//!                             release(id), when the device is gone
//! ```
//!
//! - **Prepared**: what can be opened and checked while another process has it. Nothing is locked, nothing is kept of what
//!   another may change. A tap interface and a console cannot be shared at all: of them only the name is held.
//! - **Active**: this process's. Only what is active is ever handed to a device, which the types see to.
//!
//! One comes and goes while the others are in use.

mod backend;
mod boot_files;
mod error;
mod facts;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use char_backend::CharBackend;
use disk::{ActiveDisk, DiskRequest};
use net_backend::NetBackend;
use vm_spec::{Chip, DeviceId, VmSpec};

pub use self::backend::BackendSpec;
pub(crate) use self::backend::DiskBackend;
use self::backend::{Active, OnQuit, Prepared};
pub(crate) use self::boot_files::BootFiles;
pub use self::error::{BackendError, DeviceError};

/// Whether somebody else can have it.
enum Backend {
    Prepared(Prepared),
    Active(Active),
}

/// What a machine starts with, and what is behind its devices.
pub struct Backends {
    pub(crate) boot: BootFiles,
    devices: BTreeMap<DeviceId, Backend>,
    on_quit: OnQuit,
}

impl Backends {
    /// Prepares and activates everything that `spec` names. `on_quit` is called when the person at the terminal asks
    /// for the end of the VM.
    pub fn open(spec: &VmSpec, on_quit: impl Fn() + Send + Sync + 'static) -> Result<Backends, BackendError> {
        let mut backends = Backends::prepare_all(spec, on_quit)?;
        backends.activate_all()?;
        Ok(backends)
    }

    /// Opens and checks what `spec` names, as far as another process may have it meanwhile.
    pub fn prepare_all(
        spec: &VmSpec,
        on_quit: impl Fn() + Send + Sync + 'static,
    ) -> Result<Backends, BackendError> {
        let boot = BootFiles::open(&spec.boot)?;
        let mut backends = Backends { boot, devices: BTreeMap::new(), on_quit: Arc::new(on_quit) };
        for (id, disk) in spec.disk_ids().into_iter().zip(&spec.disks) {
            backends.prepare(id, BackendSpec::Disk(disk.clone()))?;
        }
        for (id, net) in spec.nic_ids().into_iter().zip(&spec.nets) {
            backends.prepare(id, BackendSpec::Nic(net.clone()))?;
        }
        if let Some(console) = &spec.virtio_console {
            backends.prepare(DeviceId::console(), BackendSpec::Console(console.clone()))?;
        }
        backends.prepare(DeviceId::of_chip(Chip::Serial), BackendSpec::Console(spec.console.clone()))?;
        Ok(backends)
    }

    /// Makes ready what will be behind the device `id`. The others may be in use.
    pub fn prepare(&mut self, id: DeviceId, what: BackendSpec) -> Result<(), BackendError> {
        if self.devices.contains_key(&id) {
            return Err(BackendError::Taken(id));
        }
        let prepared = Prepared::open(what).map_err(BackendError::of(&id))?;
        self.devices.insert(id, Backend::Prepared(prepared));
        Ok(())
    }

    /// Takes what is behind the device `id` for this process, and reads anew what another may have changed. What is active
    /// already stays so.
    pub fn activate(&mut self, id: &DeviceId) -> Result<(), BackendError> {
        let (id, backend) = self.devices.remove_entry(id).ok_or_else(|| BackendError::Unknown(id.clone()))?;
        let (backend, answer) = match backend {
            Backend::Active(active) => (Backend::Active(active), Ok(())),
            Backend::Prepared(prepared) => match prepared.activate(&self.on_quit) {
                Ok(active) => (Backend::Active(active), Ok(())),
                Err(refused) => {
                    let (prepared, source) = *refused;
                    (Backend::Prepared(prepared), Err(BackendError::of(&id)(source)))
                }
            },
        };
        self.devices.insert(id, backend);
        answer
    }

    /// Activates all that is prepared; where one refuses, none stays active that was not before.
    pub fn activate_all(&mut self) -> Result<(), BackendError> {
        let waiting = |(_, backend): &(&DeviceId, &Backend)| matches!(backend, Backend::Prepared(_));
        let mut ids: Vec<DeviceId> = self.devices.iter().filter(waiting).map(|(id, _)| id.clone()).collect();
        // The console may change the terminal's mode: errors before it are written to an unchanged one.
        ids.sort_by_key(|id| (self.is_console(id), *id == DeviceId::of_chip(Chip::Serial)));
        for (done, id) in ids.iter().enumerate() {
            if let Err(error) = self.activate(id) {
                for id in ids[..done].iter().rev() {
                    if let Err(error) = self.release(id) {
                        tracing::error!(%error, "what was activated for nothing is not released");
                    }
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Gives back what is behind the device `id`, which is gone or was put together for nothing: what was written is on
    /// stable storage then, and another process can have it. What is only prepared stays so.
    pub fn release(&mut self, id: &DeviceId) -> Result<(), BackendError> {
        let (id, backend) = self.devices.remove_entry(id).ok_or_else(|| BackendError::Unknown(id.clone()))?;
        let (backend, answer) = match backend {
            Backend::Prepared(prepared) => (Backend::Prepared(prepared), Ok(())),
            Backend::Active(active) => match active.release() {
                Ok(prepared) => (Backend::Prepared(prepared), Ok(())),
                Err(refused) => {
                    let (active, source) = *refused;
                    (Backend::Active(active), Err(BackendError::of(&id)(source)))
                }
            },
        };
        self.devices.insert(id, backend);
        answer
    }

    /// Releases all; each that can be is, and the first that cannot is told of.
    pub fn release_all(&mut self) -> Result<(), BackendError> {
        let ids: Vec<DeviceId> = self.devices.keys().cloned().collect();
        // All of them, whatever becomes of one.
        let answers: Vec<_> = ids.iter().map(|id| self.release(id)).collect();
        answers.into_iter().collect()
    }

    /// Releases what is behind the device `id`, and forgets it.
    pub fn remove(&mut self, id: &DeviceId) -> Result<(), BackendError> {
        self.release(id)?;
        self.devices.remove(id);
        Ok(())
    }

    /// Gives all disks back, and takes those that `spec` names after `change` was done to their files. No machine uses
    /// them.
    ///
    /// # Errors
    /// The change's, or a disk cannot be had again. Then some are missing.
    pub fn exchange_disks<E: From<BackendError>>(
        &mut self,
        spec: &VmSpec,
        change: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        for id in spec.disk_ids() {
            self.remove(&id)?;
        }
        change()?;
        for (id, disk) in spec.disk_ids().into_iter().zip(&spec.disks) {
            self.prepare(id.clone(), BackendSpec::Disk(disk.clone()))?;
            self.activate(&id)?;
        }
        Ok(())
    }

    /// Brings what a disk keeps in memory of its own format to its file. Nothing uses it meanwhile.
    ///
    /// # Errors
    /// The host refuses.
    pub fn flush_disk(&self, id: &DeviceId) -> io::Result<()> {
        let Some(disk) = self.disk(id) else { return Ok(()) };
        let mut queue = disk.disk().open_queue()?;
        let mut completions = Vec::new();
        queue.submit(DiskRequest::flush(0));
        queue.commit();
        queue.drain(&mut completions);
        completions.into_iter().try_for_each(|completion| completion.result)
    }

    /// The disk behind a device, if it is active.
    pub fn disk(&self, id: &DeviceId) -> Option<&ActiveDisk> {
        self.disk_backend(id).map(|backend| &backend.disk)
    }

    pub(crate) fn disk_backend(&self, id: &DeviceId) -> Option<&DiskBackend> {
        match self.devices.get(id)? {
            Backend::Active(Active::Disk(backend)) => Some(backend),
            _ => None,
        }
    }

    pub(crate) fn nic(&self, id: &DeviceId) -> Option<&Arc<dyn NetBackend>> {
        match self.devices.get(id)? {
            Backend::Active(Active::Nic(_, backend)) => Some(backend),
            _ => None,
        }
    }

    pub(crate) fn console(&self, id: &DeviceId) -> Option<&Arc<dyn CharBackend>> {
        match self.devices.get(id)? {
            Backend::Active(Active::Console(_, backend)) => Some(backend),
            _ => None,
        }
    }

    fn is_console(&self, id: &DeviceId) -> bool {
        matches!(
            self.devices.get(id),
            Some(Backend::Prepared(Prepared::Console(_)) | Backend::Active(Active::Console(..)))
        )
    }
}
