//! What a VM's process is told, and how it gets it: a file in memory that stays open over `exec`.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use anyhow::{Context, bail};
use host_sys::inherited;
use messages::did_you_mean;
use rustix::fs::MemfdFlags;
use rustix::io::FdFlags;
use serde::{Deserialize, Serialize};
use vm_spec::{BadValue, VmSpec};

use crate::run::named_descriptors;

/// The executable of a VM's process.
const EXECUTABLE: &str = "yagura";
/// Its first argument where the second one leads to an order. Nobody types it.
const COMMAND: &str = "run-order";
/// An order starts with this; both executables come from one build.
const BUILD: &str = concat!("yagura ", env!("CARGO_PKG_VERSION"), ", order 4\n");

/// A VM and how to run it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// The VM.
    pub spec: VmSpec,
    /// Whether it may have another name, where a VM of its own runs already.
    pub another_name_will_do: bool,
    /// What executes it.
    pub engine: EngineChoice,
    /// Whether the software engine translates code.
    pub jit: Translation,
    /// What is used as `/dev/kvm`.
    pub kvm_device: PathBuf,
    /// Where the VM is controlled, besides the place where it is found by its name.
    pub control: Option<PathBuf>,
    /// Where an instance's machine is recorded, so that it is the same one at each start.
    pub machine: Option<PathBuf>,
    /// From which level on is logged, as [`logging::LevelFilter`](crate::logging::LevelFilter) writes it.
    pub log: String,
    /// Executed when the VM has ended: a program and its arguments; nothing if it is empty.
    pub afterwards: Vec<OsString>,
    /// The folder of a snapshot from which the VM goes on.
    pub restore: Option<PathBuf>,
    /// A descriptor's path, to which a byte is written when the machine runs.
    pub started: Option<PathBuf>,
}

/// What executes the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EngineChoice {
    /// KVM where hardware stands behind it, else the software engine.
    Auto,
    /// Linux KVM.
    Kvm,
    /// The software engine.
    Soft,
}

impl FromStr for EngineChoice {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text {
            "auto" => Ok(EngineChoice::Auto),
            "kvm" => Ok(EngineChoice::Kvm),
            "soft" => Ok(EngineChoice::Soft),
            _ => {
                let hint = did_you_mean(text, ["auto", "kvm", "soft"]);
                Err(BadValue(format!("'{text}' is not an engine (there are auto, kvm, soft){hint}")))
            }
        }
    }
}

/// Whether the software engine translates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Translation {
    /// What runs often.
    #[default]
    On,
    /// Nothing.
    Off,
    /// Everything, compared with the interpreter: for tests, and so not told of.
    Check,
}

impl FromStr for Translation {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text {
            "on" => Ok(Translation::On),
            "off" => Ok(Translation::Off),
            "check" => Ok(Translation::Check),
            _ => Err(BadValue(format!("'{text}' is neither on nor off"))),
        }
    }
}

/// This process becomes the VM's. `held` are files that the order's paths lead to by their descriptors: they stay open.
///
/// # Errors
/// It does not return otherwise: the executable is missing, or the host refuses.
pub fn hand_over(order: &Order, held: &[File]) -> anyhow::Error {
    let Err(error) = execute(order, held);
    error.context(format!("VM {}", order.spec.name))
}

fn execute(order: &Order, held: &[File]) -> anyhow::Result<Infallible> {
    let program = beside(EXECUTABLE)?;
    let file = write(order).context("cannot write down what to run")?;
    for file in held.iter().chain([&file]) {
        rustix::io::fcntl_setfd(file.as_fd(), FdFlags::empty()).context("cannot keep a file open")?;
    }
    inherited::pass_on(&named_descriptors(order));
    let mut command = command(&program, order, &file);
    Err(command.exec()).with_context(|| format!("cannot start {}", program.display()))
}

/// What executes an order that is in `file`.
fn command(program: &Path, order: &Order, file: &File) -> Command {
    let mut command = Command::new(program);
    // What `ps` shows from the first moment on.
    command.arg0(format!("yagura: {}", order.spec.name));
    command.arg(COMMAND).arg(format!("/proc/self/fd/{}", file.as_raw_fd()));
    host_sys::signals::begin_unblocked(&mut command);
    command
}

/// Starts a process for the VM, which outlives this one and has no terminal, and waits until the machine runs. What the
/// process has to say it writes to `log`.
///
/// # Errors
/// It cannot be started, or ended before the machine ran: why is in `log` then.
pub fn start(mut order: Order, log: File) -> anyhow::Result<()> {
    let program = beside(EXECUTABLE)?;
    let (mut waits, tells) = std::io::pipe().context("cannot make a pipe")?;
    order.started = Some(format!("/proc/self/fd/{}", tells.as_raw_fd()).into());
    let file = write(&order).context("cannot write down what to run")?;
    let mut command = command(&program, &order, &file);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    host_sys::signals::begin_without_terminal(&mut command);
    inherited::pass_to(&mut command, [named_descriptors(&order), vec![file.as_raw_fd()]].concat());
    let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
    drop(tells);
    let runs = waits.read(&mut [0]).context("cannot hear of the VM's process")?;
    if runs == 0 {
        let status = child.wait().context("cannot wait for the VM's process")?;
        bail!("its process ended before the machine ran ({status})");
    }
    Ok(())
}

/// The executable of this name beside this process's own.
///
/// # Errors
/// It is not there.
pub fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find out where this program is")?;
    let program = own.with_file_name(name);
    if !program.exists() {
        bail!("{} is missing; it belongs beside {}: install both", program.display(), own.display());
    }
    Ok(program)
}

fn write(order: &Order) -> anyhow::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create(EXECUTABLE, MemfdFlags::CLOEXEC)?);
    file.write_all(BUILD.as_bytes())?;
    file.write_all(&postcard::to_allocvec(order)?)?;
    Ok(file)
}

/// Where the order of a process with these arguments is, if it has one.
pub fn ordered(mut arguments: impl Iterator<Item = OsString>) -> Option<PathBuf> {
    arguments.nth(1).filter(|command| command == COMMAND)?;
    arguments.next().map(PathBuf::from)
}

pub(crate) fn receive(path: &Path) -> anyhow::Result<Order> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .with_context(|| format!("the order {} cannot be read", path.display()))?;
    let order = bytes.strip_prefix(BUILD.as_bytes()).and_then(|order| postcard::from_bytes(order).ok());
    order.context("yagura and yagura-cloud are of different builds; install both again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_spec::{BootSpec, KernelSpec};

    #[test]
    fn an_order_arrives_as_it_was_given() {
        let spec = VmSpec {
            name: "web1".parse().unwrap(),
            boot: BootSpec::Kernel(KernelSpec {
                initrds: vec!["/boot/ucode".into(), "/boot/initrd".into()],
                modules: vec!["m=x y".parse().unwrap()],
                cmdline: Some("console=ttyS0".to_owned()),
                ..KernelSpec::new("/boot/vmlinuz")
            }),
            cpus: "3".parse().unwrap(),
            memory: "768M".parse().unwrap(),
            merge: true,
            disks: vec!["path=a,id=data,format=qcow2,serial=S".parse().unwrap()],
            nets: vec!["tap=t,mac=02:00:00:00:00:01".parse().unwrap()],
            console: "file=x".parse().unwrap(),
            virtio_console: Some("stdio".parse().unwrap()),
            cpu_model: Some("x86-64-v2".parse().unwrap()),
            on_reset: vm_spec::OnReset::Exit,
            on_panic: vm_spec::OnPanic::Pause,
            debug_exit: Some(0xf4),
            exit_status: true,
        };
        let bytes = postcard::to_allocvec(&spec).unwrap();
        assert_eq!(postcard::from_bytes::<VmSpec>(&bytes).unwrap(), spec);
    }
}
