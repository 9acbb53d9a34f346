//! What a machine needs from the host, opened once and kept across resets.

use std::sync::Arc;

use boot_loader::{Initrd, Kernel, LoadError, Module};
use char_backend::{CharBackend, CharError, FileLog, Null, SocketServer, Stdio};
use disk::{BackingPolicy, Disk, OpenError, Qcow2Disk, RawDisk};
use net_backend::{NetBackend, Tap, TapError};
use vm_spec::{ConsoleSpec, DiskFormat, DiskSpec, ModuleSpec, NetSpec, VmSpec};

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

/// Kernel, modules, disks, taps and consoles, open, in the order of the spec.
pub struct Backends {
    pub(crate) kernel: Kernel,
    pub(crate) initrds: Vec<Initrd>,
    pub(crate) modules: Vec<Module>,
    pub(crate) disks: Vec<Arc<dyn Disk>>,
    pub(crate) nets: Vec<Arc<dyn NetBackend>>,
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
        let kernel = Kernel::open(&spec.kernel)?;
        let initrds = spec.initrds.iter().map(|path| Initrd::open(path)).collect::<Result<_, _>>()?;
        let module = |module: &ModuleSpec| Module::open(&module.path, &module.cmdline);
        let modules = spec.modules.iter().map(module).collect::<Result<_, _>>()?;
        let disks = spec.disks.iter().map(open_disk).collect::<Result<_, _>>()?;
        let nets = spec.nets.iter().map(open_tap).collect::<Result<_, _>>()?;
        let virtio_console = spec.virtio_console.as_ref();
        let virtio_console =
            virtio_console.map(|console| open_console(console, on_quit.clone())).transpose()?;
        // Last, since it may change the terminal's mode: errors above are written to an unchanged one.
        let console = open_console(&spec.console, on_quit)?;
        Ok(Backends { kernel, initrds, modules, disks, nets, console, virtio_console })
    }
}

fn open_disk(spec: &DiskSpec) -> Result<Arc<dyn Disk>, OpenError> {
    Ok(match spec.format {
        DiskFormat::Raw => Arc::new(RawDisk::open(&spec.path, spec.readonly)?),
        // Whoever runs the machine names its disks, and may name images with others behind them.
        DiskFormat::Qcow2 => Arc::new(Qcow2Disk::open(&spec.path, spec.readonly, BackingPolicy::Open)?),
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
