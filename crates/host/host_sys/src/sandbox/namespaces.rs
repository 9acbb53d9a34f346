//! Leaving the host's namespaces, and a root with nothing in it.

use std::ffi::CStr;
use std::io;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};
use rustix::process::{chdir, chroot, pivot_root};

/// What is left behind. Mounts come with it, so that the root can be taken away.
const NAMESPACES: libc::c_int =
    libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;
/// Folders of which one exists on every host: the empty one is mounted there before it becomes the root.
const PLACES: [&CStr; 5] = [c"/tmp", c"/proc", c"/dev", c"/run", c"/usr"];

/// Leaves the host's namespaces: in a user namespace of its own, or as root where there are none of those.
pub(super) fn leave() -> io::Result<()> {
    unshare(NAMESPACES | libc::CLONE_NEWUSER).or_else(|reason| unshare(NAMESPACES).map_err(|_| reason))
}

fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: the call takes flags only, and this process has one thread; memory stays shared with nobody.
    let answer = unsafe { libc::unshare(flags) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes an empty folder the root, in this mount namespace of our own.
pub(super) fn empty_root() -> io::Result<()> {
    mount_change(c"/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let options = c"mode=0555,size=4k,nr_inodes=1";
    let place = PLACES
        .into_iter()
        .find(|place| mount(c"none", *place, c"tmpfs", flags, options).is_ok())
        .ok_or_else(|| io::Error::other("nothing can be mounted"))?;
    chdir(place)?;
    // The old root comes to lie over the new one, and is taken off (pivot_root(2), "pivot_root(".", ".")").
    match pivot_root(c".", c".") {
        Ok(()) => unmount(c".", UnmountFlags::DETACH)?,
        // The first root of a kernel cannot be moved.
        Err(_) => chroot(c".")?,
    }
    chdir(c"/")?;
    Ok(())
}
