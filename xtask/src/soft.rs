//! `cargo xtask soft`: guests on the software engine, right on this machine, put through their paces.
//!
//! A session is either Debian with some vCPUs and the commands that are typed at its shell, each of which has to end
//! well and, where it says so, print what is expected; or a machine made of an image; or one of the lab's jobs, on this
//! host and this engine.

mod container;
mod image;
mod lockstep;

use crate::cache::Cache;
use crate::demo::{END_SECONDS, LOGIN_SECONDS, PROMPT, guest};
use crate::guests::{self, Guests};
use crate::lab::console::Console;
use crate::lab::{self, Job, Verdict};
use crate::{packages, process, progress, workspace};
use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Which sessions to run.
#[derive(clap::Args)]
pub struct Arguments {
    /// Run this session only; can be given several times.
    #[arg(long = "session", value_name = "NAME")]
    sessions: Vec<String>,
    /// Name the sessions and end.
    #[arg(long)]
    list: bool,
}

/// What can be run by its name.
#[derive(Clone, Copy)]
pub enum Session {
    /// Debian, typed at.
    Typed(&'static Talk),
    /// A job of the lab's.
    Job(&'static Job),
    /// A machine made of an image.
    Image,
    /// Machines made of containers' images.
    Containers,
}

impl Session {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Session::Typed(talk) => talk.name,
            Session::Job(job) => job.name,
            Session::Image => image::NAME,
            Session::Containers => container::NAME,
        }
    }

    /// Runs in `cargo xtask test` without `--all` too.
    fn quick(self) -> bool {
        matches!(self, Session::Typed(talk) if talk.quick)
    }
}

/// One guest and what it is asked to do.
pub struct Talk {
    name: &'static str,
    cpus: u32,
    quick: bool,
    /// Wants the image with compilers and the like.
    tools: bool,
    /// What the translator has to prove beside.
    proof: Proof,
    commands: &'static [Typed],
}

/// What the translator has to prove while the guest runs.
#[derive(Clone, Copy, PartialEq)]
enum Proof {
    Nothing,
    /// That it does what the interpreter does, in a guest that has nothing but an `init`.
    KernelInLockstep,
    /// The same in Debian.
    Lockstep,
}

/// A command, and what it prints if that is known.
struct Typed(&'static str, Answer);

enum Answer {
    /// It ends with status 0.
    Any,
    /// It prints exactly this.
    Is(&'static str),
    /// It prints the SHA-256 of so many MiB of zeros.
    DigestOfZeros(u32),
}

use Answer::{Any, DigestOfZeros, Is};

/// Arithmetic whose results are known.
const PYTHON: Typed = Typed(
    "python3 -c 'print(2**4423 % 1000003, sum(1/i for i in range(1, 20000)))'",
    Is("867170 10.48067821722932"),
);
const COMPILED: Typed = Typed(
    "printf '#include <stdio.h>\\n#include <math.h>\\nint main(){long double s=0;for(int i=1;i<1000;i++)s+=sqrtl(i);\
     printf(\"%%.12Lf\\\\n\",s);}' >t.c && gcc -O2 t.c -o t -lm && ./t",
    Is("21065.833110879052"),
);

const TALKS: &[Talk] = &[
    Talk {
        name: "debian",
        cpus: 1,
        quick: true,
        tools: false,
        proof: Proof::Nothing,
        commands: &[
            Typed("nproc", Is("1")),
            Typed("apt-get --version", Any),
            PYTHON,
            Typed("head -c 20M /dev/zero | sha256sum | cut -d' ' -f1", DigestOfZeros(20)),
        ],
    },
    Talk {
        name: "debian-2",
        cpus: 2,
        quick: false,
        tools: false,
        proof: Proof::Nothing,
        commands: &[Typed("nproc", Is("2")), PYTHON],
    },
    Talk {
        name: "debian-4",
        cpus: 4,
        quick: false,
        tools: false,
        proof: Proof::Nothing,
        commands: &[Typed("nproc", Is("4")), PYTHON],
    },
    Talk {
        name: "tools",
        cpus: 2,
        quick: false,
        tools: true,
        proof: Proof::Nothing,
        commands: &[
            PYTHON,
            COMPILED,
            Typed("openssl speed -seconds 1 sha256 aes-128-cbc", Any),
            Typed("openssl dgst -sha256 -r </dev/null | cut -d' ' -f1", DigestOfZeros(0)),
            Typed("head -c 200M /dev/zero | sha256sum | cut -d' ' -f1", DigestOfZeros(200)),
            Typed("stress-ng --verify --cpu 1 --cpu-ops 200 --cpu-method all", Any),
            Typed("stress-ng --verify --vm 1 --vm-bytes 64M --vm-ops 2000", Any),
        ],
    },
    Talk {
        name: "lockstep",
        cpus: 1,
        quick: false,
        tools: false,
        proof: Proof::KernelInLockstep,
        commands: &[],
    },
    Talk {
        name: "lockstep-debian",
        cpus: 1,
        quick: false,
        tools: false,
        proof: Proof::Lockstep,
        commands: &[PYTHON],
    },
];

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.list {
        for session in sessions() {
            let about = match session {
                Session::Typed(talk) => format!("Debian, {} vCPUs", talk.cpus),
                Session::Job(job) => job.about.to_owned(),
                Session::Image => image::ABOUT.to_owned(),
                Session::Containers => container::ABOUT.to_owned(),
            };
            println!("{:<16} {:<6} {about}", session.name(), if session.quick() { "quick" } else { "" });
        }
        return Ok(());
    }
    for name in &arguments.sessions {
        ensure!(sessions().any(|session| session.name() == name), "there is no session named {name}");
    }
    let wanted = |session: &Session| {
        arguments.sessions.is_empty() || arguments.sessions.iter().any(|name| name == session.name())
    };
    let mut failed = 0;
    for session in sessions().filter(wanted) {
        match hold(session) {
            Ok(Verdict::Passed) => {}
            Ok(Verdict::Skipped(why)) => println!("{}: skipped: {why}", session.name()),
            Ok(Verdict::Failed(why)) => {
                println!("{}: {why}", session.name());
                failed += 1;
            }
            Err(error) => {
                println!("{}: {error:#}", session.name());
                failed += 1;
            }
        }
    }
    ensure!(failed == 0, "{failed} sessions failed");
    Ok(())
}

fn sessions() -> impl Iterator<Item = Session> {
    let jobs = lab::here::jobs().map(Session::Job);
    TALKS.iter().map(Session::Typed).chain([Session::Image, Session::Containers]).chain(jobs)
}

/// The sessions that belong to a test run.
pub fn for_test(all: bool) -> impl Iterator<Item = Session> {
    sessions().filter(move |session| all || session.quick())
}

/// Runs a session.
pub fn hold(session: Session) -> Result<Verdict> {
    match session {
        Session::Typed(Talk { proof: Proof::KernelInLockstep, cpus, .. }) => lockstep::hold(*cpus)?,
        Session::Typed(talk) => hold_typed(talk)?,
        Session::Job(job) => return hold_job(job),
        Session::Image => image::hold()?,
        Session::Containers => container::hold()?,
    }
    Ok(Verdict::Passed)
}

fn hold_typed(talk: &Talk) -> Result<()> {
    let (yagura, guests) = prepare()?;
    let image = if talk.tools { guests::tools_disk(&Cache::open()?)? } else { guests.debian.clone() };
    let step = progress::step(format!("{} on the software engine", talk.name));
    let folder = tempfile::tempdir()?;
    let disk = copy(&image, folder.path())?;
    hold_talk(talk, &yagura, &guests, &disk)?;
    step.done();
    Ok(())
}

fn hold_job(job: &Job) -> Result<Verdict> {
    let (yagura, guests) = prepare()?;
    let step = progress::step(format!("{} on the software engine", job.name));
    let verdict = lab::here::run(job, &yagura, guests)?;
    step.done();
    Ok(verdict)
}

/// The monitor, and what Debian boots from.
fn prepare() -> Result<(PathBuf, Guests)> {
    packages::require(&[packages::BUILD, packages::GUESTS, packages::JOBS])?;
    let yagura = workspace::build_yagura()?;
    Ok((yagura, guests::prepare(&Cache::open()?)?))
}

fn copy(image: &Path, folder: &Path) -> Result<PathBuf> {
    let disk = folder.join("disk.ext4");
    process::run(Command::new("cp").arg("--sparse=always").arg(image).arg(&disk))?;
    Ok(disk)
}

/// Starts the guest, types the commands, and switches it off.
fn hold_talk(talk: &Talk, yagura: &Path, guests: &Guests, disk: &Path) -> Result<()> {
    let mut command = guest(yagura, guests, disk, talk.cpus);
    let slowness = match talk.proof {
        Proof::Lockstep => {
            command = lockstep::debian(yagura, guests, disk, talk.cpus);
            lockstep::SLOWNESS
        }
        Proof::Nothing | Proof::KernelInLockstep => 1,
    };
    command.args(["--engine", "soft"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = process::Ended::of(command.spawn()?);
    let output = child.stdout.take().context("the guest has no output")?;
    let input = child.stdin.take().context("the guest has no input")?;
    let told = child.stderr.take().map(lockstep::listen);
    let mut console = Console::over(output, input);
    let talked = type_all(talk, &mut console, slowness);
    if talked.is_err() {
        // It does not end by itself.
        child.kill()?;
    }
    let status = child.wait()?;
    let told = told.map(lockstep::told).transpose()?;
    talked.with_context(|| told.clone().unwrap_or_default())?;
    ensure!(status.success(), "the monitor ended with {status}");
    if let Some(told) = told {
        println!("{}", lockstep::count(&told)?);
    }
    Ok(())
}

/// Types the commands and switches the guest off; all takes `slowness` times as long as usual at most.
fn type_all(talk: &Talk, console: &mut Console, slowness: u64) -> Result<()> {
    let seconds = |usual: u64| Duration::from_secs(usual * slowness);
    console.expect(PROMPT, seconds(LOGIN_SECONDS))?;
    for Typed(line, answer) in talk.commands {
        let printed = console.command(line, seconds(END_SECONDS))?;
        let expected = match answer {
            Any => continue,
            Is(text) => (*text).to_owned(),
            DigestOfZeros(mib) => digest_of_zeros(*mib),
        };
        if printed.trim() != expected {
            bail!("`{line}` printed {printed:?}, not {expected:?}");
        }
    }
    console.send("poweroff\n")?;
    console.expect_end(seconds(END_SECONDS))
}

fn digest_of_zeros(mib: u32) -> String {
    let piece = vec![0; 1 << 20];
    let mut digest = Sha256::new();
    (0..mib).for_each(|_| digest.update(&piece));
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = sessions().map(Session::name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
