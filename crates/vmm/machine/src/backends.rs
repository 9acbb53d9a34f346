//! What a machine needs from the host, opened once and kept across resets.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use boot_loader::{Initrd, Kernel, LoadError, Module};
use char_backend::{CharBackend, CharError, FileLog, Null, SocketServer, Stdio};
use disk::{BackingPolicy, Disk, DiskRequest, OpenError, Qcow2Disk, RawContents, RawDisk, StatedBy};
use net_backend::{NetBackend, Offloads, Tap, TapError};
use virtio_block::OnError;
use vm_spec::blueprint::{BackendFacts, DiskFacts, DiskFeatures, NicFacts, NicFeatures};
use vm_spec::{
    BlockSize, BootSpec, ConsoleSpec, DeviceId, DiskFormat, DiskSpec, ModuleSpec, NetSpec, VmSpec,
};

/// A file or an interface of the host could not be opened. The message names which and why.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The kernel, an initrd or a module.
    #[error(transparent)]
    Boot(#[from] LoadError),
    /// A disk.
    #[error(transparent)]
    Disk(#[from] OpenError),
    /// A tap interface.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// A console.
    #[error(transparent)]
    Console(#[from] CharError),
}

/// A disk, and what is done when the host cannot serve it.
pub(crate) struct DiskBackend {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) on_error: OnError,
}

/// Kernel, modules, disks, taps and consoles, open; disks and taps by the device that they are behind.
pub struct Backends {
    pub(crate) kernel: Kernel,
    pub(crate) initrds: Vec<Initrd>,
    pub(crate) modules: Vec<Module>,
    pub(crate) disks: BTreeMap<DeviceId, DiskBackend>,
    pub(crate) nics: BTreeMap<DeviceId, Arc<dyn NetBackend>>,
    pub(crate) console: Arc<dyn CharBackend>,
    pub(crate) virtio_console: Option<Arc<dyn CharBackend>>,
}

impl Backends {
    /// Opens and locks everything that `spec` names. `on_quit` is called when the person at the terminal asks
    /// for the end of the VM.
    pub fn open(
        spec: &VmSpec,
        on_quit: impl Fn() + Send + Sync + Clone + 'static,
    ) -> Result<Backends, BackendError> {
        let BootSpec::Kernel(boot) = &spec.boot;
        let kernel = Kernel::open(&boot.path)?;
        let initrds = boot.initrds.iter().map(|path| Initrd::open(path)).collect::<Result<_, _>>()?;
        let module = |module: &ModuleSpec| Module::open(&module.path, &module.cmdline);
        let modules = boot.modules.iter().map(module).collect::<Result<_, _>>()?;
        let disks = open_disks(spec)?;
        let nics = spec.nic_ids().into_iter().zip(&spec.nets);
        let nics = nics.map(|(id, net)| Ok((id, open_tap(net)?))).collect::<Result<_, TapError>>()?;
        let virtio_console = spec.virtio_console.as_ref();
        let virtio_console =
            virtio_console.map(|console| open_console(console, on_quit.clone())).transpose()?;
        // Last, since it may change the terminal's mode: errors above are written to an unchanged one.
        let console = open_console(&spec.console, on_quit)?;
        Ok(Backends { kernel, initrds, modules, disks, nics, console, virtio_console })
    }

    /// What the description of a machine has to know of them.
    pub fn facts(&self) -> BackendFacts {
        let disk = |(id, backend): (&DeviceId, &DiskBackend)| (id.clone(), disk_facts(&*backend.disk));
        let nic = |(id, backend): (&DeviceId, &Arc<dyn NetBackend>)| (id.clone(), nic_facts(&**backend));
        BackendFacts {
            command_line: self.kernel.command_line().map(str::to_owned),
            disks: self.disks.iter().map(disk).collect(),
            nics: self.nics.iter().map(nic).collect(),
            console: self.virtio_console.is_some(),
        }
    }

    /// Brings what a disk keeps in memory of its own format to its file. Nothing uses it meanwhile.
    ///
    /// # Errors
    /// The host refuses.
    pub fn flush_disk(&self, id: &DeviceId) -> io::Result<()> {
        let Some(backend) = self.disks.get(id) else { return Ok(()) };
        let mut queue = backend.disk.open_queue()?;
        let mut completions = Vec::new();
        queue.submit(DiskRequest::flush(0));
        queue.commit();
        queue.drain(&mut completions);
        completions.into_iter().try_for_each(|completion| completion.result)
    }

    /// Closes all disks, and opens those that `spec` names after `change` was done to their files. No machine uses them.
    ///
    /// # Errors
    /// The change's, or a disk cannot be opened. Then there are no disks.
    pub fn exchange_disks<E: From<OpenError>>(
        &mut self,
        spec: &VmSpec,
        change: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        self.disks.clear();
        change()?;
        self.disks = open_disks(spec)?;
        Ok(())
    }

    /// Length of a disk in bytes.
    pub fn disk_size_bytes(&self, id: &DeviceId) -> Option<u64> {
        self.disks.get(id).map(|backend| backend.disk.size_bytes())
    }
}

fn disk_facts(disk: &dyn Disk) -> DiskFacts {
    let virtio_block::Offer { discard, write_zeroes } = virtio_block::Offer::of(disk);
    DiskFacts {
        block_size_bytes: disk.block_size_bytes(),
        readonly: disk.is_read_only(),
        features: DiskFeatures { discard, write_zeroes },
    }
}

fn nic_facts(backend: &dyn NetBackend) -> NicFacts {
    let virtio_net::Offer { offloads, mtu_bytes } = virtio_net::Offer::of(backend);
    let Offloads { checksum, tso4, tso6, tso_ecn } = offloads;
    NicFacts {
        queue_pairs: u16::try_from(backend.pairs().len()).unwrap_or(u16::MAX),
        features: NicFeatures { checksum, tso4, tso6, tso_ecn, mtu_bytes },
    }
}

fn on_error(wanted: vm_spec::OnError) -> OnError {
    match wanted {
        vm_spec::OnError::Report => OnError::Report,
        vm_spec::OnError::Pause => OnError::Hold,
    }
}

/// How the format of a machine's disk is stated.
const DISK_OPTION: &StatedBy =
    &StatedBy { option: "format=", force: "force-raw", takes_foreign: false, takes_packed: false };

fn open_disks(spec: &VmSpec) -> Result<BTreeMap<DeviceId, DiskBackend>, OpenError> {
    let open = |(id, disk): (DeviceId, &DiskSpec)| {
        Ok((id, DiskBackend { disk: open_disk(disk)?, on_error: on_error(disk.on_error) }))
    };
    spec.disk_ids().into_iter().zip(&spec.disks).map(open).collect()
}

fn open_disk(spec: &DiskSpec) -> Result<Arc<dyn Disk>, OpenError> {
    let block_bytes = spec.block_size.map(BlockSize::bytes);
    Ok(match spec.format {
        DiskFormat::Raw => {
            let contents = if spec.force_raw { RawContents::Any } else { RawContents::Checked(DISK_OPTION) };
            let disk = RawDisk::open(&spec.path, spec.readonly, contents)?;
            Arc::new(match block_bytes {
                Some(bytes) => disk.with_block_size(bytes)?,
                None => disk,
            })
        }
        DiskFormat::Qcow2 => {
            // Whoever runs the machine names its disks, and may name images with others behind them.
            let disk = Qcow2Disk::open(&spec.path, spec.readonly, BackingPolicy::Open)?;
            Arc::new(match block_bytes {
                Some(bytes) => disk.with_block_size(bytes)?,
                None => disk,
            })
        }
    })
}

fn open_tap(spec: &NetSpec) -> Result<Arc<dyn NetBackend>, TapError> {
    Ok(Arc::new(Tap::open(&spec.tap, spec.queues)?))
}

fn open_console(
    spec: &ConsoleSpec,
    on_quit: impl Fn() + Send + Sync + 'static,
) -> Result<Arc<dyn CharBackend>, CharError> {
    Ok(match spec {
        ConsoleSpec::Stdio => Arc::new(Stdio::open(on_quit)?),
        ConsoleSpec::File { path, mode } => Arc::new(FileLog::open(path, mode.bits())?),
        ConsoleSpec::Socket(path) => Arc::new(SocketServer::open(path)?),
        ConsoleSpec::None => Arc::new(Null),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn disks_are_what_is_said_of_them_or_not_opened() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("disk");
        let open = |text: &str| {
            let spec: DiskSpec = format!("path={}{text}", path.display()).parse().unwrap();
            open_disk(&spec).map(|disk| disk.block_size_bytes()).map_err(|error| error.to_string())
        };
        fs::write(&path, [0; 5 * 512]).unwrap();
        assert_eq!((open(""), open(",block-size=512")), (Ok(512), Ok(512)));
        let error = open(",block-size=4096").unwrap_err();
        assert!(error.contains("2560 bytes long, not a multiple of its block size of 4096"), "{error}");
        fs::write(&path, [0; 8192]).unwrap();
        assert_eq!((open(",block-size=4096"), open(",readonly,block-size=4096")), (Ok(4096), Ok(4096)));
        let mut image = [0; 8192];
        image[..8].copy_from_slice(b"vhdxfile");
        fs::write(&path, image).unwrap();
        for text in ["", ",format=raw", ",readonly", ",block-size=4096"] {
            let error = open(text).unwrap_err();
            assert!(error.contains("is a VHDX image") && error.ends_with("add force-raw"), "{error}");
        }
        assert_eq!((open(",force-raw"), open(",force-raw,block-size=4096")), (Ok(512), Ok(4096)));
        let image = folder.path().join("image");
        disk::create_qcow2(&image, &disk::CreateOptions::new(8192)).unwrap();
        fs::rename(&image, &path).unwrap();
        assert_eq!((open(",format=qcow2"), open(",format=qcow2,block-size=4096")), (Ok(512), Ok(4096)));
        assert!(open("").unwrap_err().contains("give format=qcow2"));
        fs::remove_file(&path).unwrap();
        disk::create_qcow2(&path, &disk::CreateOptions::new(512)).unwrap();
        assert!(open(",format=qcow2,block-size=4096").unwrap_err().contains("512 bytes long"));
    }
}
