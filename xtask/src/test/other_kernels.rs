//! Other kernels than the guests' own, on the software engine, each up to the words that show that it lives.

use super::single;
use super::tally::Tally;
use crate::cache::Cache;
use crate::guests::{self, READY};
use crate::lab::console::Console;
use crate::{packages, process, workspace};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// Time for each of the words to come, in software on a busy machine too.
const LIMIT: Duration = Duration::from_secs(600);

/// Without the pause before its first test, and without measuring the bandwidth of memory.
const MEMTEST: &str = "console=ttyS0,115200 nopause nobench";
/// What memtest86+ shows of its first test: that it runs, and that there was no error yet.
const MEMTEST_LIVES: &[&str] = &["Status: Testing", "#0  [Address test, walking ones", "Errors: 0"];

/// A kernel and how to tell that it lives.
struct Guest {
    name: &'static str,
    kernel: PathBuf,
    initrd: Option<PathBuf>,
    /// Boot modules, as `--module` takes them.
    modules: Vec<String>,
    command_line: &'static str,
    memory: &'static str,
    /// What it writes to its console, in this order.
    words: &'static [&'static str],
}

/// Boots them one after the other.
pub fn run(_: bool, tally: &mut Tally) -> Result<()> {
    let guests = match prepare() {
        Err(error) if error.is::<packages::Missing>() => {
            tally.skip("other kernels", &error.to_string());
            return Ok(());
        }
        guests => guests?,
    };
    let yagura = workspace::build_yagura()?;
    let mut last = Ok(());
    for guest in &guests {
        last = single(tally, &format!("kernel {}", guest.name), boot(&yagura, guest)).and(last);
    }
    last
}

fn prepare() -> Result<Vec<Guest>> {
    packages::require(&[packages::BUILD, packages::GUESTS])?;
    let cache = Cache::open()?;
    let others = guests::prepare_others(&cache)?;
    let (generic, initrd) = guests::prepare_generic(&cache)?;
    let memtest = |name, kernel| Guest {
        name,
        kernel,
        initrd: None,
        modules: Vec::new(),
        command_line: MEMTEST,
        memory: "64M",
        words: MEMTEST_LIVES,
    };
    Ok(vec![
        memtest("memtest86+ x64", others.memtest64),
        memtest("memtest86+ ia32", others.memtest32),
        Guest {
            name: "GNU Mach",
            kernel: others.mach,
            initrd: None,
            modules: Vec::new(),
            command_line: "console=com0",
            memory: "256M",
            words: &["GNU Mach", "No bootstrap code loaded with the kernel"],
        },
        Guest {
            name: "Xen with Debian as its first guest",
            kernel: others.xen,
            initrd: None,
            modules: vec![
                format!("{}=vmlinuz console=hvc0 earlyprintk=xen", generic.display()),
                initrd.display().to_string(),
            ],
            command_line: "com1=115200,8n1 console=com1 no-real-mode noreboot",
            memory: "1G",
            words: &["Platform timer is 1.193MHz PIT", "Linux version", READY],
        },
        Guest {
            name: "Linux generic",
            kernel: generic,
            initrd: Some(initrd),
            modules: Vec::new(),
            command_line: "console=ttyS0",
            memory: "512M",
            words: &["Linux version", READY],
        },
    ])
}

/// Starts the guest, waits for its words, and ends it.
fn boot(yagura: &Path, guest: &Guest) -> Result<()> {
    let mut command = process::bound_to_us(yagura);
    command.args(["run", "--engine", "soft", "--name", "kernel", "--net", "none", "--console", "stdio"]);
    command.args(["--memory", guest.memory, "--cmdline", guest.command_line]);
    command.arg("--kernel").arg(&guest.kernel);
    if let Some(initrd) = &guest.initrd {
        command.arg("--initrd").arg(initrd);
    }
    for module in &guest.modules {
        command.arg("--module").arg(module);
    }
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut child = process::Ended::of(child);
    let output = child.stdout.take().context("the guest has no output")?;
    let input = child.stdin.take().context("the guest has no input")?;
    let mut console = Console::over(output, input);
    for words in guest.words {
        console.expect(words, LIMIT)?;
    }
    Ok(())
}
