//! The file systems that a container finds mounted (runtime-spec, "Linux Runtime").

use std::ffi::CStr;
use std::fs;
use std::os::unix::fs::symlink;

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

use crate::failure::{Failure, IntoFailure};

/// Flags of what holds no programs.
pub const PLAIN: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// A file system, where it goes, and how.
struct Mount {
    kind: &'static str,
    target: &'static str,
    flags: MountFlags,
    data: &'static CStr,
    /// Whether a kernel without it will do.
    optional: bool,
}

/// In the order in which they are mounted. What a machine has and a container has not: all of `/dev`.
const MOUNTS: [Mount; 7] = [
    Mount { kind: "proc", target: "/proc", flags: PLAIN, data: c"", optional: false },
    Mount { kind: "sysfs", target: "/sys", flags: PLAIN, data: c"", optional: false },
    Mount { kind: "devtmpfs", target: "/dev", flags: MountFlags::NOSUID, data: c"mode=755", optional: false },
    Mount {
        kind: "devpts",
        target: "/dev/pts",
        flags: MountFlags::NOSUID.union(MountFlags::NOEXEC),
        data: c"gid=5,mode=620,ptmxmode=666",
        optional: false,
    },
    Mount { kind: "tmpfs", target: "/dev/shm", flags: PLAIN, data: c"mode=1777", optional: false },
    Mount { kind: "mqueue", target: "/dev/mqueue", flags: PLAIN, data: c"", optional: true },
    Mount {
        kind: "cgroup2",
        target: "/sys/fs/cgroup",
        flags: PLAIN.union(MountFlags::RDONLY),
        data: c"",
        optional: true,
    },
];

/// Names in `/dev` that lead to what each process has open, as runc makes them.
const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("/proc/kcore", "/dev/core"),
];

/// Mounts everything but the command's own `/proc`.
pub fn mount_system() -> Result<(), Failure> {
    // The initial RAM disk leaves its /run over the image's own, which may have folders that programs need.
    let _ = unmount("/run", UnmountFlags::DETACH);
    for Mount { kind, target, flags, data, optional } in MOUNTS {
        // What the initial RAM disk has mounted there, with other options.
        let _ = unmount(target, UnmountFlags::DETACH);
        if !target.starts_with("/sys/") {
            let _ = fs::create_dir_all(target);
        }
        match mount(kind, target, kind, flags, data) {
            Ok(()) => {}
            Err(_) if optional => {}
            Err(error) => return Err(error).or_fail(&format!("mount {target}")),
        }
    }
    for (target, link) in LINKS {
        let _ = symlink(target, link);
    }
    Ok(())
}

/// The command gets `/sys` as a container does: to be read.
pub fn protect_sys() {
    let _ = mount_remount("/sys", PLAIN | MountFlags::RDONLY | MountFlags::BIND, c"");
}

/// The command sees its own processes.
pub fn mount_own_proc() -> Result<(), Failure> {
    let _ = unmount("/proc", UnmountFlags::DETACH);
    mount("proc", "/proc", "proc", PLAIN, c"").or_fail("mount /proc")
}

/// The machine's name: the monitor gave it to the kernel.
pub fn hostname() -> String {
    const UNNAMED: &str = "(none)";
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name != UNNAMED && !name.is_empty() {
        return name;
    }
    let _ = rustix::system::sethostname(b"localhost");
    "localhost".to_owned()
}
