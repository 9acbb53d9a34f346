//! From a process of ours to the image's command, as runc's init does it.

use std::fs::{self, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use oci_init::users::{Credentials, look_up};
use oci_init::{Process, environment, status};
use rustix::fs::{Access, OFlags};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use crate::failure::{Failure, IntoFailure};
use crate::{mounts, process};

/// Becomes the command; comes back only with what is wrong.
pub fn start() -> Failure {
    match prepare() {
        Ok((mut command, program)) => not_executable(&program, &command.exec()),
        Err(failure) => failure,
    }
}

fn prepare() -> Result<(Command, String), Failure> {
    let process = process()?;
    // In the session's own terminal keys such as Ctrl-C do what they are for.
    rustix::process::setsid().or_fail("make a session")?;
    let read = |path: &str| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let user =
        look_up(&process.user, &read("/etc/passwd"), &read("/etc/group")).map_err(Failure::not_ready)?;
    take_console(&user)?;
    mounts::mount_own_proc()?;
    rustix::process::umask(rustix::fs::Mode::WGRP | rustix::fs::Mode::WOTH);
    let entered = enter(&process.cwd);
    become_user(&user).or_fail("become the image's user")?;
    // Root may enter folders that the user may not, and the other way round.
    if entered.is_err() {
        enter(&process.cwd).or_fail(&format!("enter the working folder {}", process.cwd))?;
    }
    command(&process, &user)
}

fn command(process: &Process, user: &Credentials) -> Result<(Command, String), Failure> {
    let variables = environment::compose(&process.env, &mounts::hostname(), &user.home);
    let Some((name, arguments)) = process.args.split_first() else {
        return Err(Failure::not_ready("the image names no command"));
    };
    let path = variables.iter().find(|(key, _)| key == "PATH").map_or("", |(_, value)| value);
    let program = find(name, path)?;
    let mut command = Command::new(program);
    command.arg0(name).args(arguments).env_clear().envs(variables);
    Ok((command, name.clone()))
}

/// The file that a command's first word means: with a slash in it, itself; else the first in `PATH` that may be
/// executed.
fn find(name: &str, path: &str) -> Result<PathBuf, Failure> {
    if name.contains('/') {
        return Ok(name.into());
    }
    let missing = || Failure {
        what: format!("'{}' is not found in PATH", name.escape_debug()),
        status: status::NOT_FOUND,
    };
    if name.is_empty() {
        return Err(missing());
    }
    let folders = path.split(':').filter(|folder| folder.starts_with('/'));
    let files: Vec<PathBuf> =
        folders.map(|folder| Path::new(folder).join(name)).filter(|file| file.is_file()).collect();
    let executable = |file: &&PathBuf| rustix::fs::access(*file, Access::EXEC_OK).is_ok();
    match files.iter().find(executable) {
        Some(file) => Ok(file.clone()),
        None if files.is_empty() => Err(missing()),
        None => Err(Failure {
            what: format!("'{}' may not be executed by the image's user", name.escape_debug()),
            status: status::NOT_EXECUTABLE,
        }),
    }
}

fn not_executable(program: &str, error: &std::io::Error) -> Failure {
    let missing = error.kind() == ErrorKind::NotFound;
    let status = if missing { status::NOT_FOUND } else { status::NOT_EXECUTABLE };
    Failure { what: format!("cannot execute '{}': {error}", program.escape_debug()), status }
}

fn enter(folder: &str) -> rustix::io::Result<()> {
    rustix::process::chdir(if folder.is_empty() { "/" } else { folder })
}

/// The console becomes this session's terminal and its standard files, and the user's own.
fn take_console(user: &Credentials) -> Result<(), Failure> {
    let console = console();
    let terminal =
        OpenOptions::new().read(true).write(true).custom_flags(OFlags::NOCTTY.bits() as i32).open(&console);
    let Ok(terminal) = terminal else { return Ok(()) };
    // Without a terminal, such as with --console none, there is nothing to control.
    let _ = rustix::process::ioctl_tiocsctty(terminal.as_fd());
    rustix::stdio::dup2_stdin(terminal.as_fd()).or_fail("use the console")?;
    rustix::stdio::dup2_stdout(terminal.as_fd()).or_fail("use the console")?;
    rustix::stdio::dup2_stderr(terminal.as_fd()).or_fail("use the console")?;
    // /dev/stdout and its like are opened by the user.
    let _ = fchown(&terminal, Some(user.uid), None);
    let _ = terminal.set_permissions(Permissions::from_mode(0o620));
    Ok(())
}

/// The terminal behind the console: the last that the kernel names.
fn console() -> PathBuf {
    let active = fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
    Path::new("/dev").join(active.split_whitespace().next_back().unwrap_or("console"))
}

fn become_user(user: &Credentials) -> Result<(), Errno> {
    let groups: Vec<Gid> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}
