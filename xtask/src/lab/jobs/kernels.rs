//! Other kernels than the guests' own, each up to the words that show that it lives: one by one, and several kinds of
//! operating system side by side.

use super::{Job, Lab, MONITOR, Outcome, Soft};
use crate::guests::READY;
use crate::lab::console::Console;
use crate::process;
use anyhow::{Context, Result, ensure};
use std::process::{Command, Stdio};

/// Time for each of the words to come, on a quick and idle machine.
const WORD_SECONDS: u64 = 300;

const KERNEL: Job = Job { others: true, soft: Soft::Yes, limit_seconds: 320, ..MONITOR };

/// This theme's jobs.
pub const JOBS: &[Job] = &[
    Job {
        name: "memtest-64",
        about: "memtest86+ in 64-bit mode, its first tests",
        run: |lab| live(lab, &[&MEMTEST_64]),
        ..KERNEL
    },
    Job {
        name: "memtest-32",
        about: "memtest86+ in 32-bit mode, its first tests",
        run: |lab| live(lab, &[&MEMTEST_32]),
        ..KERNEL
    },
    Job {
        name: "memtest-pass",
        about: "memtest86+, all of its tests on 64 MiB",
        soft: Soft::Only,
        limit_seconds: 620,
        run: |lab| live(lab, &[&MEMTEST_PASS]),
        ..KERNEL
    },
    Job { name: "mach", about: "GNU Mach asks for its servers", run: |lab| live(lab, &[&MACH]), ..KERNEL },
    Job {
        name: "xen-alone",
        about: "Xen asks for its first guest",
        run: |lab| live(lab, &[&XEN_ALONE]),
        ..KERNEL
    },
    // In the emulated machine the first guest's kernel crashes early, by a page fault on its own stack; why is not known.
    Job {
        name: "xen",
        about: "Xen, and Debian's generic kernel in it to a shell",
        soft: Soft::Only,
        run: |lab| live(lab, &[&XEN]),
        ..KERNEL
    },
    Job {
        name: "generic",
        about: "Debian's generic kernel to a shell",
        run: |lab| live(lab, &[&GENERIC]),
        ..KERNEL
    },
    Job {
        name: "side-by-side",
        about: "four kinds of operating system at once",
        soft: Soft::Only,
        run: |lab| live(lab, &[&MEMTEST_64, &MACH, &XEN, &GENERIC]),
        ..KERNEL
    },
];

/// A kernel and how to tell that it lives.
struct Guest {
    name: &'static str,
    kernel: Kernel,
    command_line: &'static str,
    memory: &'static str,
    /// What it writes to its console, in this order.
    words: &'static [&'static str],
    /// What its shell says, if it gives one: a command, and what that prints.
    shell: Option<(&'static str, &'static str)>,
}

#[derive(Clone, Copy)]
enum Kernel {
    Memtest64,
    Memtest32,
    Mach,
    Xen,
    /// With Debian's generic kernel as its first guest.
    XenWithGuest,
    /// Debian's, and the guests' archive.
    Generic,
}

/// Without the pause before its first test, and without measuring the bandwidth of memory.
const MEMTEST: &str = "console=ttyS0,115200 nopause nobench";
/// What memtest86+ shows of its tests: that they run, and that there was no error yet. It draws its screen every two seconds,
/// and a test that is over sooner may never be on it; these are most of a pass.
const MEMTEST_LIVES: &[&str] = &["Status: Testing", "[Moving inversions, ", "Errors: 0"];

const MEMTEST_64: Guest = Guest {
    name: "memtest86+ x64",
    kernel: Kernel::Memtest64,
    command_line: MEMTEST,
    memory: "64M",
    words: MEMTEST_LIVES,
    shell: None,
};
const MEMTEST_32: Guest = Guest { name: "memtest86+ ia32", kernel: Kernel::Memtest32, ..MEMTEST_64 };
const MEMTEST_PASS: Guest = Guest {
    name: "memtest86+, a pass",
    words: &["Pass:  0        Errors: 0", "Pass:  1        Errors: 0"],
    ..MEMTEST_64
};
const MACH: Guest = Guest {
    name: "GNU Mach",
    kernel: Kernel::Mach,
    command_line: "console=com0",
    memory: "256M",
    words: &["GNU Mach", "No bootstrap code loaded with the kernel"],
    shell: None,
};
const XEN: Guest = Guest {
    name: "Xen with Debian as its first guest",
    kernel: Kernel::XenWithGuest,
    command_line: "com1=115200,8n1 console=com1 no-real-mode noreboot",
    memory: "1G",
    words: &["Platform timer is 1.193MHz PIT", "Linux version", READY],
    shell: Some(("cat /sys/hypervisor/type", "xen")),
};
const XEN_ALONE: Guest = Guest {
    name: "Xen",
    kernel: Kernel::Xen,
    words: &["Xen version 4.17", "dom0 kernel not specified"],
    shell: None,
    ..XEN
};
const GENERIC: Guest = Guest {
    name: "Linux generic",
    kernel: Kernel::Generic,
    command_line: "console=ttyS0",
    memory: "512M",
    words: &["Linux version", READY],
    shell: Some(("uname -s", "Linux")),
};

/// Starts the guests, has each show that it lives, and ends them when the last has.
fn live(lab: &Lab, guests: &[&'static Guest]) -> Result<Outcome> {
    let mut running: Vec<Running> = guests.iter().map(|guest| start(lab, guest)).collect::<Result<_>>()?;
    for one in &mut running {
        one.lives(lab).with_context(|| one.guest.name)?;
    }
    for one in &mut running {
        ensure!(one.monitor.try_wait()?.is_none(), "{} ended while the others ran", one.guest.name);
    }
    Ok(Outcome::Passed)
}

/// A guest, which ends with this value.
struct Running {
    guest: &'static Guest,
    monitor: process::Ended,
    console: Console,
}

impl Running {
    fn lives(&mut self, lab: &Lab) -> Result<()> {
        let limit = lab.limit(WORD_SECONDS);
        for words in self.guest.words {
            self.console.expect(words, limit)?;
        }
        if let Some((command, printed)) = self.guest.shell {
            let found = self.console.command(command, limit)?;
            ensure!(found == printed, "`{command}` printed {found:?}, not {printed:?}");
        }
        Ok(())
    }
}

fn start(lab: &Lab, guest: &'static Guest) -> Result<Running> {
    let mut command = process::bound_to_us(lab.yagura()?);
    command.args(["run", "--engine", lab.engine(), "--net", "none", "--console", "stdio"]);
    command.args(["--memory", guest.memory, "--cmdline", guest.command_line]);
    boot_from(&mut command, lab, guest.kernel)?;
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut monitor = process::Ended::of(child);
    let output = monitor.stdout.take().context("the guest has no output")?;
    let input = monitor.stdin.take().context("the guest has no input")?;
    Ok(Running { guest, monitor, console: Console::over(output, input) })
}

fn boot_from(command: &mut Command, lab: &Lab, kernel: Kernel) -> Result<()> {
    let others = lab.others()?;
    let file = match kernel {
        Kernel::Memtest64 => &others.memtest64,
        Kernel::Memtest32 => &others.memtest32,
        Kernel::Mach => &others.mach,
        Kernel::Xen | Kernel::XenWithGuest => &others.xen,
        Kernel::Generic => &others.generic,
    };
    command.arg("--kernel").arg(lab.local(file)?);
    match kernel {
        Kernel::Generic => {
            command.arg("--initrd").arg(lab.local(&others.initrd)?);
        }
        Kernel::XenWithGuest => {
            let generic = lab.local(&others.generic)?;
            command
                .arg("--module")
                .arg(format!("{}=vmlinuz console=hvc0 earlyprintk=xen", generic.display()));
            command.arg("--module").arg(lab.local(&others.initrd)?);
        }
        Kernel::Memtest64 | Kernel::Memtest32 | Kernel::Mach | Kernel::Xen => {}
    }
    Ok(())
}
