//! One backend, and its steps.

use std::sync::Arc;

use char_backend::{CharBackend, CharError, FileLog, Null, SocketServer, Stdio};
use disk::{ActiveDisk, DiskOptions, NotDone, PreparedDisk, RawContents, StatedBy};
use net_backend::{NetBackend, Tap, Unplugged};
use virtio_block::OnError;
use vm_spec::{BlockSize, ConsoleSpec, DiskFormat, DiskSpec, NetSpec};

use super::error::DeviceError;

/// What is to be behind a device, as a person describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendSpec {
    /// A disk.
    Disk(DiskSpec),
    /// A network interface.
    Nic(NetSpec),
    /// The other end of a console.
    Console(ConsoleSpec),
}

/// Called when the person at the terminal asks for the end of the VM.
pub(super) type OnQuit = Arc<dyn Fn() + Send + Sync>;

/// What another process may have.
pub(super) enum Prepared {
    Disk(PreparedDisk, OnError),
    /// Attaching to it is having it.
    Nic(NetSpec),
    /// A socket is listened on, a terminal is in raw mode: both are seen.
    Console(ConsoleSpec),
}

/// What is this process's.
pub(super) enum Active {
    Disk(DiskBackend),
    Nic(NetSpec, Arc<dyn NetBackend>),
    Console(ConsoleSpec, Arc<dyn CharBackend>),
}

/// A disk, and what is done when the host cannot serve it.
pub(crate) struct DiskBackend {
    pub(crate) disk: ActiveDisk,
    pub(crate) on_error: OnError,
}

/// What is as it was, since a step was refused, and why.
pub(super) type Refused<T> = Box<(T, DeviceError)>;

fn refused_step<T>(backend: T, source: impl Into<DeviceError>) -> Refused<T> {
    Box::new((backend, source.into()))
}

impl Prepared {
    pub(super) fn open(what: BackendSpec) -> Result<Prepared, DeviceError> {
        Ok(match what {
            BackendSpec::Disk(spec) => {
                Prepared::Disk(PreparedDisk::open(&spec.path, disk_options(&spec))?, on_error(spec.on_error))
            }
            BackendSpec::Nic(spec) => Prepared::Nic(spec),
            BackendSpec::Console(spec) => Prepared::Console(spec),
        })
    }

    /// Takes it; where that is refused, it is as it was.
    pub(super) fn activate(self, on_quit: &OnQuit) -> Result<Active, Refused<Prepared>> {
        match self {
            Prepared::Disk(disk, on_error) => match disk.activate() {
                Ok(disk) => Ok(Active::Disk(DiskBackend { disk, on_error })),
                Err(refused) => {
                    let NotDone { disk, source } = *refused;
                    Err(refused_step(Prepared::Disk(disk, on_error), source))
                }
            },
            Prepared::Nic(spec) => match open_network(&spec) {
                Ok(network) => Ok(Active::Nic(spec, network)),
                Err(error) => Err(refused_step(Prepared::Nic(spec), error)),
            },
            Prepared::Console(spec) => match open_console(&spec, on_quit) {
                Ok(console) => Ok(Active::Console(spec, console)),
                Err(error) => Err(refused_step(Prepared::Console(spec), error)),
            },
        }
    }
}

impl Active {
    /// Gives it back; where that is refused, it is as it was.
    pub(super) fn release(self) -> Result<Prepared, Refused<Active>> {
        match self {
            Active::Disk(DiskBackend { disk, on_error }) => match disk.release() {
                Ok(disk) => Ok(Prepared::Disk(disk, on_error)),
                Err(refused) => {
                    let NotDone { disk, source } = *refused;
                    Err(refused_step(Active::Disk(DiskBackend { disk, on_error }), source))
                }
            },
            Active::Nic(spec, backend) => match drop_last(backend) {
                Ok(()) => Ok(Prepared::Nic(spec)),
                Err(backend) => Err(refused_step(Active::Nic(spec, backend), DeviceError::StillUsed)),
            },
            Active::Console(spec, backend) => match drop_last(backend) {
                Ok(()) => Ok(Prepared::Console(spec)),
                Err(backend) => Err(refused_step(Active::Console(spec, backend), DeviceError::StillUsed)),
            },
        }
    }
}

/// Drops what nobody else has.
fn drop_last<T: ?Sized>(backend: Arc<T>) -> Result<(), Arc<T>> {
    if Arc::strong_count(&backend) > 1 { Err(backend) } else { Ok(()) }
}

/// How the format of a machine's disk is stated.
const DISK_OPTION: &StatedBy =
    &StatedBy { option: "format=", force: "force-raw", takes_foreign: false, takes_packed: false };

fn disk_options(spec: &DiskSpec) -> DiskOptions {
    DiskOptions {
        format: match spec.format {
            DiskFormat::Raw => disk::DiskFormat::Raw,
            DiskFormat::Qcow2 => disk::DiskFormat::Qcow2,
        },
        read_only: spec.readonly,
        contents: if spec.force_raw { RawContents::Any } else { RawContents::Checked(DISK_OPTION) },
        block_bytes: spec.block_size.map(BlockSize::bytes),
    }
}

fn on_error(wanted: vm_spec::OnError) -> OnError {
    match wanted {
        vm_spec::OnError::Report => OnError::Report,
        vm_spec::OnError::Pause => OnError::Hold,
    }
}

fn open_network(spec: &NetSpec) -> Result<Arc<dyn NetBackend>, DeviceError> {
    Ok(match &spec.tap {
        Some(tap) => Arc::new(Tap::open(tap, spec.queues)?),
        None => Arc::new(Unplugged::new(spec.queues).map_err(DeviceError::Descriptor)?),
    })
}

fn open_console(spec: &ConsoleSpec, on_quit: &OnQuit) -> Result<Arc<dyn CharBackend>, CharError> {
    let on_quit = Arc::clone(on_quit);
    Ok(match spec {
        ConsoleSpec::Stdio => Arc::new(Stdio::open(move || on_quit())?),
        ConsoleSpec::File { path, mode } => Arc::new(FileLog::open(path, mode.bits())?),
        ConsoleSpec::Socket(path) => Arc::new(SocketServer::open(path)?),
        ConsoleSpec::None => Arc::new(Null),
    })
}
