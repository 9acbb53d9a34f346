//! A VM as a person describes it, by flags, by a file, or both, and its one conversion to a [`VmSpec`].
//!
//! ```text
//! flags ──clap──► GivenSettings ─┐
//!                                ├─ or (flags win) ─► GivenSettings ─ into_request ─► Request
//! file ──serde──► GivenSettings ─┘
//! ```

mod file;
mod restored;
mod values;

use std::path::{Path, PathBuf};

use clap::Args;
use image_model::ImageReference;
use serde::Deserialize;
use vm_spec::{
    BadValue, BootProtocol, BootSpec, ConsoleSpec, CpuCount, CpuModel, DiskSize, DiskSpec, KernelSpec,
    MemorySize, ModuleSpec, OnError, OnPanic, OnReset, VmName, VmSpec,
};
use yagura_vmm::{EngineChoice, Translation};

pub use file::FileError;
pub use restored::RestoredVm;
pub use values::disk_argument;
use values::{NetArgument, PortNumber, Switch};

/// Everything that flags and file can say. What was not said is empty.
#[derive(Args, Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct GivenSettings {
    /// Name of the VM [default: the configuration file's name, or vm]
    ///
    /// ps shows it, and 'yagura pause' and the like find the VM by it while it runs. Two VMs that run have two names: one that
    /// was given no name gets another, such as vm-2, where its own is taken.
    #[arg(long, value_name = "NAME")]
    #[serde(deserialize_with = "values::text")]
    name: Option<VmName>,
    /// Image of an operating system, such as debian/12: the VM gets a disk of its own that begins as the image's
    ///
    /// It is brought here first if it is not. The disk stays when the VM ends, and is used again by a VM of the
    /// same name.
    #[arg(long, value_name = "IMAGE")]
    #[serde(deserialize_with = "values::text")]
    image: Option<ImageReference>,
    /// Length of the disk of a new VM [default: as the image has it]
    #[arg(long, value_name = "SIZE", requires = "image")]
    #[serde(deserialize_with = "values::text")]
    disk_size: Option<DiskSize>,
    /// What follows when the host cannot read or write the image VM's own disk: report or pause [default: report]
    ///
    /// As on-error of --disk: the guest sees an I/O error, or the machine is paused until 'yagura resume'.
    #[arg(long, value_name = "report|pause", requires = "image")]
    #[serde(deserialize_with = "values::text")]
    disk_on_error: Option<OnError>,
    /// What a new VM does at its first boot: a cloud-config document, a script, or what else cloud-init takes; - is
    /// standard input
    #[arg(long, value_name = "FILE", requires = "image")]
    #[serde(deserialize_with = "values::path")]
    user_data: Option<PathBuf>,
    /// Network configuration of a new VM, version 2 [default: DHCP]
    #[arg(long, value_name = "FILE", requires = "image")]
    #[serde(deserialize_with = "values::path")]
    network_config: Option<PathBuf>,
    /// File with public keys of a new VM's user; give it again for more [default: those in ~/.ssh]
    #[arg(long = "ssh-key", value_name = "FILE", requires = "image")]
    #[serde(rename = "ssh-key", deserialize_with = "values::paths")]
    ssh_keys: Vec<PathBuf>,
    /// Kernel: a Linux bzImage, an ELF file, a Multiboot image or a unified kernel image [default: the image's]
    ///
    /// A unified kernel image brings its initial RAM disks along, and its command line for who gives none.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["config", "image", "restore"])]
    #[serde(deserialize_with = "values::path")]
    kernel: Option<PathBuf>,
    /// Way into the kernel: auto, linux, pvh, multiboot or multiboot2 [default: auto]
    ///
    /// auto takes Linux for a bzImage; for another file the first that it offers of PVH, Multiboot2, Multiboot,
    /// Linux.
    #[arg(long, value_name = "PROTOCOL")]
    #[serde(deserialize_with = "values::text")]
    boot_protocol: Option<BootProtocol>,
    /// Initial RAM disk; for a kernel that takes modules, the first of them; give it again for more
    ///
    /// Several become one, in their order: microcode comes first. They stand behind those of a unified kernel image.
    #[arg(long = "initrd", value_name = "FILE")]
    #[serde(rename = "initrd", deserialize_with = "values::one_or_more_paths")]
    initrds: Vec<PathBuf>,
    /// Boot module for a Multiboot or PVH kernel, with its command line; give it again for more modules
    ///
    /// An equals sign within the path is doubled.
    #[arg(long = "module", value_name = "PATH[=CMDLINE]", value_parser = values::module_argument())]
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
    ///
    /// A comma within the path is doubled: path=a,,b.img is the file 'a,b.img'. A disk that is said to be raw and looks
    /// like another format is refused, unless force-raw is added. block-size is what the guest sees [default: the host
    /// device's, of a file 512]. The id names the disk in counters and messages [default: disk-root for the first,
    /// disk1 and so on].
    ///
    /// Where the host cannot read or write it, because its file system is full, say, the guest sees an I/O error
    /// (on-error=report, the default), or the machine is paused and tries again after 'yagura resume' (on-error=pause).
    #[arg(
        long = "disk",
        value_name = "path=P[,id=NAME][,format=raw|qcow2][,force-raw][,block-size=512|4096][,readonly][,serial=S][,on-error=report|pause]",
        value_parser = values::disk_argument()
    )]
    #[serde(rename = "disk", deserialize_with = "values::disks")]
    disks: Vec<DiskSpec>,
    /// Network card on a tap interface, or one that nothing is plugged into, or none; give it again for more cards
    #[arg(long = "net", value_name = "tap=T|unplugged[,id=NAME][,mac=M][,queues=N]|none")]
    #[serde(rename = "net", deserialize_with = "values::nets")]
    nets: Vec<NetArgument>,
    /// Where the serial port leads: stdio, file=P[,mode=M], socket=P or none [default: stdio]
    ///
    /// A file is made with mode 0600, unless M says otherwise. On a terminal, Ctrl-] and then q ends the VM, and Ctrl-] twice
    /// sends one Ctrl-].
    #[arg(long, value_name = "WHERE", value_parser = values::console_argument())]
    #[serde(deserialize_with = "values::text")]
    console: Option<ConsoleSpec>,
    /// Where a virtio console leads, for a guest that is to have one as well (same places)
    #[arg(long, value_name = "WHERE", value_parser = values::console_argument())]
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
    /// What a panic of the guest's kernel leads to: guest (its own panic= rules), restart, exit or pause
    /// [default: guest]
    ///
    /// The guest tells of it by its driver for the pvpanic device; /events of the control socket has it in any case. A
    /// guest that is paused stands still until 'yagura resume', 'reset' or 'stop', or until a signal comes.
    #[arg(long, value_name = "guest|restart|exit|pause")]
    #[serde(deserialize_with = "values::text")]
    on_panic: Option<OnPanic>,
    /// First of four ports on which a test guest ends this process with a status of its own, such as 0xf4
    #[arg(long, value_name = "PORT")]
    #[serde(deserialize_with = "values::number")]
    debug_exit: Option<PortNumber>,
    /// Serve the control API (JSON over HTTP) on this unix socket, too
    ///
    /// Without it, it is served where 'yagura pause' and the like look for the VM: below /run/yagura, without root rights below
    /// XDG_RUNTIME_DIR, or below /tmp/yagura-UID where that is not set; YAGURA_DIR is another place.
    #[arg(long, value_name = "PATH")]
    #[serde(deserialize_with = "values::path")]
    control: Option<PathBuf>,
    /// Whether the machine is there for a command of its image's: not for anybody to say.
    #[arg(skip)]
    #[serde(skip)]
    exit_status: bool,
}

/// A VM and how to run it, fit for use.
#[derive(Debug, PartialEq)]
pub struct Request {
    /// The VM.
    pub spec: VmSpec,
    /// Whether nobody gave it its name.
    pub another_name_will_do: bool,
    /// What executes it.
    pub engine: EngineChoice,
    /// Whether the software engine translates code.
    pub jit: Translation,
    /// Where it is controlled, besides the place where it is found by its name.
    pub control: Option<PathBuf>,
}

/// Why there is no VM to run.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file is at fault.
    #[error(transparent)]
    File(#[from] FileError),
    /// Nobody named a kernel.
    #[error("no kernel is given; add --kernel FILE or --image IMAGE, or kernel = \"FILE\" to {0}")]
    NoKernel(PathBuf),
    /// Something for an image, and no image.
    #[error(
        "{0} is for a VM that is made of an image; add image = \"debian/12\" to {1}, or --image debian/12"
    )]
    NoImage(&'static str, PathBuf),
    /// Something is said of a machine that is what it was.
    #[error(
        "--{0} is not for a VM that goes on from a snapshot, as its machine is what it was; leave it out"
    )]
    Settled(&'static str),
    /// Settings do not fit together.
    #[error(transparent)]
    Bad(#[from] BadValue),
}

/// A VM that is to be made of an image.
#[derive(Debug, PartialEq)]
pub struct ImageChoices {
    /// The image.
    pub image: ImageReference,
    /// The VM's name, if it was given one.
    pub name: Option<VmName>,
    /// Length of its disk.
    pub disk_size: Option<DiskSize>,
    /// File with user data.
    pub user_data: Option<PathBuf>,
    /// File with a network configuration.
    pub network_config: Option<PathBuf>,
    /// Files with public keys.
    pub ssh_keys: Vec<PathBuf>,
}

/// What an instance adds to the settings of the VM that runs it.
#[derive(Debug)]
pub struct InstanceSettings {
    /// Its name.
    pub name: VmName,
    /// Its disks, the root first.
    pub disks: Vec<DiskSpec>,
    /// Kernel, initial RAM disk, command line; not needed where a person names a kernel.
    pub boot: Option<(PathBuf, Option<PathBuf>, String)>,
    /// Whether its guest tells the exit status of a command.
    pub exit_status: bool,
    /// Its memory where nobody says otherwise.
    pub memory: MemorySize,
    /// The vCPUs that its image's machine had.
    pub cpus: Option<CpuCount>,
    /// The network cards that its image's machine had.
    pub cards: u32,
    /// Whether its guest has units that wait for a network.
    pub waits_for_network: bool,
}

/// Without a card systemd's guests would wait two minutes for a network at each boot
/// (systemd-debug-generator(8), `systemd.mask=`).
const NO_WAIT_FOR_NETWORK: &str =
    " systemd.mask=systemd-networkd-wait-online.service systemd.mask=NetworkManager-wait-online.service";

/// Flags and file become one set of settings.
///
/// # Errors
/// The file cannot be read or understood.
pub fn gather(settings: GivenSettings, config: Option<&Path>) -> Result<GivenSettings, SettingsError> {
    match config {
        Some(path) => Ok(settings.or(file::read(path)?)),
        None => Ok(settings),
    }
}

impl GivenSettings {
    /// What is to be made of an image, if anything is.
    ///
    /// # Errors
    /// Something is said of an image's VM, and no image is named.
    pub fn image_choices(&self, config: Option<&Path>) -> Result<Option<ImageChoices>, SettingsError> {
        let Some(image) = self.image.clone() else {
            let extra = (self.disk_size.map(|_| "disk-size"))
                .or(self.disk_on_error.map(|_| "disk-on-error"))
                .or(self.user_data.as_ref().map(|_| "user-data"))
                .or(self.network_config.as_ref().map(|_| "network-config"))
                .or((!self.ssh_keys.is_empty()).then_some("ssh-key"));
            return extra.map_or(Ok(None), |what| Err(SettingsError::NoImage(what, place(config))));
        };
        Ok(Some(ImageChoices {
            image,
            name: self.name.clone().or_else(|| config.map(|path| default_name(Some(path)))),
            disk_size: self.disk_size,
            user_data: self.user_data.clone(),
            network_config: self.network_config.clone(),
            ssh_keys: self.ssh_keys.clone(),
        }))
    }

    /// Whether a person named a kernel.
    pub fn has_kernel(&self) -> bool {
        self.kernel.is_some()
    }

    /// What to say of network cards that an image's machine had and this one has not; nothing where a person said
    /// something of cards.
    pub fn missing_cards(&self, instance: &InstanceSettings) -> Option<String> {
        let InstanceSettings { name, cards, .. } = instance;
        let cards_of =
            if *cards == 1 { "a network card".to_owned() } else { format!("{cards} network cards") };
        (*cards > 0 && self.nets.is_empty()).then(|| {
            format!("VM {name}: its image comes from a machine with {cards_of}; give --net tap=NAME for each, or --net none")
        })
    }

    /// Whether the VM has a network card.
    pub fn has_card(&self) -> bool {
        self.nets.iter().any(|net| *net != NetArgument::None)
    }

    /// These, with what an instance brings: its disks come first, and what a person said wins.
    pub fn with_instance(mut self, instance: InstanceSettings) -> GivenSettings {
        let InstanceSettings {
            name,
            mut disks,
            boot,
            exit_status,
            memory,
            cpus,
            cards: _,
            waits_for_network,
        } = instance;
        if let Some(root) = disks.first_mut() {
            root.on_error = self.disk_on_error.unwrap_or_default();
        }
        disks.append(&mut self.disks);
        self.disks = disks;
        self.name = Some(name);
        self.exit_status = exit_status;
        // What is there for one command ends with it, if by a crash of its kernel.
        self.on_reset = self.on_reset.or(exit_status.then_some(OnReset::Exit));
        if let Some((kernel, initrd, mut cmdline)) = boot {
            if waits_for_network && !self.has_card() {
                cmdline.push_str(NO_WAIT_FOR_NETWORK);
            }
            self.kernel = Some(kernel);
            self.initrds = either_list(self.initrds, initrd.into_iter().collect());
            self.cmdline = self.cmdline.or(Some(cmdline));
        }
        self.memory = self.memory.or(Some(memory));
        self.cpus = self.cpus.or(cpus);
        self
    }

    /// One VM.
    ///
    /// # Errors
    /// There is no kernel, or settings do not fit together.
    pub fn request(self, config: Option<&Path>) -> Result<Request, SettingsError> {
        match self.kernel.clone() {
            Some(kernel) => Ok(self.into_request(kernel, config)?),
            None => Err(SettingsError::NoKernel(place(config))),
        }
    }

    /// These, and `fallback` for what they leave open. A list replaces the other's list.
    fn or(self, fallback: GivenSettings) -> GivenSettings {
        GivenSettings {
            name: self.name.or(fallback.name),
            image: self.image.or(fallback.image),
            disk_size: self.disk_size.or(fallback.disk_size),
            disk_on_error: self.disk_on_error.or(fallback.disk_on_error),
            user_data: self.user_data.or(fallback.user_data),
            network_config: self.network_config.or(fallback.network_config),
            ssh_keys: either_list(self.ssh_keys, fallback.ssh_keys),
            kernel: self.kernel.or(fallback.kernel),
            boot_protocol: self.boot_protocol.or(fallback.boot_protocol),
            initrds: either_list(self.initrds, fallback.initrds),
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
            on_panic: self.on_panic.or(fallback.on_panic),
            debug_exit: self.debug_exit.or(fallback.debug_exit),
            control: self.control.or(fallback.control),
            exit_status: self.exit_status || fallback.exit_status,
        }
    }

    /// Makes relative paths start at `folder`.
    fn below(mut self, folder: &Path) -> GivenSettings {
        let disks = self.disks.iter_mut().map(|disk| &mut disk.path);
        let modules = self.modules.iter_mut().map(|module| &mut module.path);
        let consoles =
            [&mut self.console, &mut self.virtio_console].into_iter().filter_map(|console| match console {
                Some(ConsoleSpec::File { path, .. } | ConsoleSpec::Socket(path)) => Some(path),
                Some(ConsoleSpec::Stdio | ConsoleSpec::None) | None => None,
            });
        let single = [&mut self.kernel, &mut self.control, &mut self.user_data, &mut self.network_config];
        let keys = self.ssh_keys.iter_mut().chain(&mut self.initrds);
        for path in single.into_iter().flatten().chain(keys).chain(disks).chain(modules).chain(consoles) {
            *path = folder.join(&*path);
        }
        self
    }

    /// The one conversion: defaults are filled in, and settings checked against each other.
    fn into_request(self, kernel: PathBuf, config: Option<&Path>) -> Result<Request, BadValue> {
        let another_name_will_do = self.name.is_none();
        let spec = VmSpec {
            name: self.name.unwrap_or_else(|| default_name(config)),
            boot: BootSpec::Kernel(KernelSpec {
                path: kernel,
                protocol: self.boot_protocol.unwrap_or_default(),
                initrds: self.initrds,
                modules: self.modules,
                cmdline: self.cmdline,
            }),
            cpus: self.cpus.unwrap_or_default(),
            memory: self.memory.unwrap_or_default(),
            merge: self.merge == Some(Switch::On),
            disks: self.disks,
            nets: values::cards(self.nets)?,
            console: self.console.unwrap_or(ConsoleSpec::Stdio),
            virtio_console: self.virtio_console,
            cpu_model: self.cpu_model,
            on_reset: self.on_reset.unwrap_or_default(),
            on_panic: self.on_panic.unwrap_or_default(),
            debug_exit: self.debug_exit.map(|port| port.0),
            exit_status: self.exit_status,
        };
        Ok(Request {
            spec: spec.validate()?,
            another_name_will_do,
            engine: self.engine.unwrap_or(EngineChoice::Auto),
            jit: self.jit.unwrap_or_default(),
            control: self.control,
        })
    }
}

fn either_list<T>(list: Vec<T>, fallback: Vec<T>) -> Vec<T> {
    if list.is_empty() { fallback } else { list }
}

/// Where settings are added that are missing.
fn place(config: Option<&Path>) -> PathBuf {
    config.unwrap_or(Path::new("the configuration file")).into()
}

/// The configuration file's name, as far as a VM can have it; what comes out of a pipe has none.
fn default_name(config: Option<&Path>) -> VmName {
    let file = config.filter(|path| !path.starts_with("/dev") && !path.starts_with("/proc"));
    let stem = file.and_then(Path::file_stem).and_then(|stem| stem.to_str());
    stem.and_then(VmName::like).unwrap_or_default()
}

#[cfg(test)]
mod tests;
