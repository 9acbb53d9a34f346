//! A VM as a person describes it, by flags, by a file, or both, and its one conversion to a [`VmSpec`].
//!
//! ```text
//! flags ──clap──► GivenSettings ─┐
//!                                ├─ or (flags win) ─► GivenSettings ─ into_request ─► Request
//! file ──serde──► GivenSettings ─┘
//! ```

mod file;
mod values;

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use vm_spec::{
    BadValue, BootProtocol, ConsoleSpec, CpuCount, CpuModel, DiskSpec, MemorySize, ModuleSpec, OnReset,
    VmName, VmSpec,
};

pub use file::FileError;
pub use values::EngineChoice;
pub use values::Translation;
use values::{NetArgument, PortNumber, Switch};

/// Everything that flags and file can say. What was not said is empty.
#[derive(Args, Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct GivenSettings {
    /// Name of the VM, shown by ps [default: the configuration file's name, or vm]
    #[arg(long, value_name = "NAME")]
    #[serde(deserialize_with = "values::text")]
    name: Option<VmName>,
    /// Kernel: a Linux bzImage, an ELF file or a Multiboot image
    #[arg(long, value_name = "FILE", required_unless_present = "config")]
    kernel: Option<PathBuf>,
    /// Way into the kernel: auto, linux, pvh, multiboot or multiboot2 [default: auto]
    ///
    /// auto takes Linux for a bzImage; for another file the first that it offers of PVH, Multiboot2, Multiboot,
    /// Linux.
    #[arg(long, value_name = "PROTOCOL")]
    #[serde(deserialize_with = "values::text")]
    boot_protocol: Option<BootProtocol>,
    /// Initial RAM disk; for a kernel that takes modules, the first of them
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,
    /// Boot module for a Multiboot or PVH kernel, with its command line; give it again for more modules
    #[arg(long = "module", value_name = "PATH[=CMDLINE]")]
    #[serde(rename = "module", deserialize_with = "values::modules")]
    modules: Vec<ModuleSpec>,
    /// Kernel command line [default: see below]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    cmdline: Option<String>,
    /// Number of vCPUs, 1 to 64 [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    #[serde(deserialize_with = "values::number")]
    cpus: Option<CpuCount>,
    /// RAM, such as 512M or 4G [default: 512M]
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    #[serde(deserialize_with = "values::text")]
    memory: Option<MemorySize>,
    /// Let the kernel keep pages that are equal to another VM's only once: on or off [default: off]
    ///
    /// It saves memory when ksmd runs (see 'yagura doctor'). A guest can then find out by timing whether
    /// another one holds a page that it guesses.
    #[arg(long, value_name = "on|off")]
    #[serde(deserialize_with = "values::switch")]
    merge: Option<Switch>,
    /// Disk image or block device, raw unless format says otherwise; give it again for more disks
    #[arg(long = "disk", value_name = "path=P[,format=raw|qcow2][,readonly][,serial=S]")]
    #[serde(rename = "disk", deserialize_with = "values::disks")]
    disks: Vec<DiskSpec>,
    /// Network card on a tap interface, or none; give it again for more cards
    #[arg(long = "net", value_name = "tap=T[,mac=M][,queues=N]|none")]
    #[serde(rename = "net", deserialize_with = "values::nets")]
    nets: Vec<NetArgument>,
    /// Where the serial port leads: stdio, file=P, socket=P or none [default: stdio]
    #[arg(long, value_name = "WHERE")]
    #[serde(deserialize_with = "values::text")]
    console: Option<ConsoleSpec>,
    /// Where a virtio console leads, for a guest that is to have one as well (same places)
    #[arg(long, value_name = "WHERE")]
    #[serde(deserialize_with = "values::text")]
    virtio_console: Option<ConsoleSpec>,
    /// What executes the guest: auto, kvm or soft [default: auto]
    #[arg(long, value_name = "auto|kvm|soft")]
    #[serde(deserialize_with = "values::text")]
    engine: Option<EngineChoice>,
    /// Whether the software engine translates code rather than only interpreting it [default: on]
    #[arg(long, value_name = "on|off")]
    #[serde(deserialize_with = "values::switch")]
    jit: Option<Translation>,
    /// What CPU the guest sees: x86-64-v1 to x86-64-v4, or host [default: the highest level offered]
    #[arg(long, value_name = "MODEL")]
    #[serde(deserialize_with = "values::text")]
    cpu_model: Option<CpuModel>,
    /// What a reset by the guest does: restart or exit [default: restart]
    #[arg(long, value_name = "restart|exit")]
    #[serde(deserialize_with = "values::text")]
    on_reset: Option<OnReset>,
    /// Port on which a test guest ends this process with a status of its own, such as 0xf4
    #[arg(long, value_name = "PORT")]
    #[serde(deserialize_with = "values::number")]
    debug_exit: Option<PortNumber>,
    /// Serve the control API (JSON over HTTP) on this unix socket
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
}

/// A VM and how to run it, fit for use.
#[derive(Debug, PartialEq)]
pub struct Request {
    /// The VM.
    pub spec: VmSpec,
    /// What executes it.
    pub engine: EngineChoice,
    /// Whether the software engine translates code.
    pub jit: Translation,
    /// Where it is controlled.
    pub control: Option<PathBuf>,
}

/// Why there is no VM to run.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file is at fault.
    #[error(transparent)]
    File(#[from] FileError),
    /// Nobody named a kernel.
    #[error("no kernel is given; add --kernel FILE, or kernel = \"FILE\" to {0}")]
    NoKernel(PathBuf),
    /// Settings do not fit together.
    #[error(transparent)]
    Bad(#[from] BadValue),
}

/// Flags and file become one VM.
pub fn request(settings: GivenSettings, config: Option<&Path>) -> Result<Request, SettingsError> {
    let settings = match config {
        Some(path) => settings.or(file::read(path)?),
        None => settings,
    };
    let Some(kernel) = settings.kernel.clone() else {
        return Err(SettingsError::NoKernel(config.unwrap_or(Path::new("the configuration file")).into()));
    };
    Ok(settings.into_request(kernel, config)?)
}

impl GivenSettings {
    /// These, and `fallback` for what they leave open. A list replaces the other's list.
    fn or(self, fallback: GivenSettings) -> GivenSettings {
        GivenSettings {
            name: self.name.or(fallback.name),
            kernel: self.kernel.or(fallback.kernel),
            boot_protocol: self.boot_protocol.or(fallback.boot_protocol),
            initrd: self.initrd.or(fallback.initrd),
            modules: either_list(self.modules, fallback.modules),
            cmdline: self.cmdline.or(fallback.cmdline),
            cpus: self.cpus.or(fallback.cpus),
            memory: self.memory.or(fallback.memory),
            merge: self.merge.or(fallback.merge),
            disks: either_list(self.disks, fallback.disks),
            nets: either_list(self.nets, fallback.nets),
            console: self.console.or(fallback.console),
            virtio_console: self.virtio_console.or(fallback.virtio_console),
            engine: self.engine.or(fallback.engine),
            jit: self.jit.or(fallback.jit),
            cpu_model: self.cpu_model.or(fallback.cpu_model),
            on_reset: self.on_reset.or(fallback.on_reset),
            debug_exit: self.debug_exit.or(fallback.debug_exit),
            control: self.control.or(fallback.control),
        }
    }

    /// Makes relative paths start at `folder`.
    fn below(mut self, folder: &Path) -> GivenSettings {
        let disks = self.disks.iter_mut().map(|disk| &mut disk.path);
        let modules = self.modules.iter_mut().map(|module| &mut module.path);
        let consoles =
            [&mut self.console, &mut self.virtio_console].into_iter().filter_map(|console| match console {
                Some(ConsoleSpec::File(path) | ConsoleSpec::Socket(path)) => Some(path),
                Some(ConsoleSpec::Stdio | ConsoleSpec::None) | None => None,
            });
        let single = [&mut self.kernel, &mut self.initrd, &mut self.control].into_iter().flatten();
        for path in single.chain(disks).chain(modules).chain(consoles) {
            *path = folder.join(&*path);
        }
        self
    }

    /// The one conversion: defaults are filled in, and settings checked against each other.
    fn into_request(self, kernel: PathBuf, config: Option<&Path>) -> Result<Request, BadValue> {
        let spec = VmSpec {
            name: self.name.unwrap_or_else(|| default_name(config)),
            kernel,
            boot_protocol: self.boot_protocol.unwrap_or_default(),
            initrd: self.initrd,
            modules: self.modules,
            cmdline: Some(self.cmdline.unwrap_or_else(|| default_cmdline(&self.disks))),
            cpus: self.cpus.unwrap_or_default(),
            memory: self.memory.unwrap_or_default(),
            merge: self.merge == Some(Switch::On),
            disks: self.disks,
            nets: values::cards(self.nets)?,
            console: self.console.unwrap_or(ConsoleSpec::Stdio),
            virtio_console: self.virtio_console,
            cpu_model: self.cpu_model,
            on_reset: self.on_reset.unwrap_or_default(),
            debug_exit: self.debug_exit.map(|port| port.0),
        };
        Ok(Request {
            spec: spec.validate()?,
            engine: self.engine.unwrap_or(EngineChoice::Auto),
            jit: self.jit.unwrap_or_default(),
            control: self.control,
        })
    }
}

fn either_list<T>(list: Vec<T>, fallback: Vec<T>) -> Vec<T> {
    if list.is_empty() { fallback } else { list }
}

/// The configuration file's name where that can be a VM's name.
fn default_name(config: Option<&Path>) -> VmName {
    let stem = config.and_then(Path::file_stem).and_then(|stem| stem.to_str());
    stem.and_then(|stem| stem.parse().ok()).unwrap_or_default()
}

/// Messages on the serial port; a panic resets the machine instead of hanging; the first disk is the root.
fn default_cmdline(disks: &[DiskSpec]) -> String {
    let root = match disks.first() {
        Some(disk) if disk.readonly => " root=/dev/vda ro",
        Some(_) => " root=/dev/vda rw",
        None => "",
    };
    format!("console=ttyS0 panic=-1{root}")
}

#[cfg(test)]
mod tests;
