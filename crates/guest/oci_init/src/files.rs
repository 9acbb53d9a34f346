//! Files that Docker puts into each container, and folders that the image's configuration names.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use host_sys::named_file::folder_of;
use oci_init::Process;
use rustix::mount::{MountFlags, mount, mount_bind};

use crate::say;

/// Where the files are; they are mounted over the image's own, which stay as they are.
pub const OWN_FILES: &str = "/.yagura/run";
const HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";
/// Debian's address for a name without a network.
const OWN_ADDRESS: &str = "127.0.1.1";

/// `/etc/hostname`, `/etc/hosts` and, where DHCP named servers, `/etc/resolv.conf`.
pub fn write_etc(hostname: &str) {
    let folder = Path::new(OWN_FILES);
    let address = fs::read_to_string(folder.join("address")).unwrap_or_default();
    let address = Some(address.trim()).filter(|text| !text.is_empty()).unwrap_or(OWN_ADDRESS);
    let files = [("hostname", format!("{hostname}\n")), ("hosts", format!("{HOSTS}{address}\t{hostname}\n"))];
    for (name, text) in files {
        let path = folder.join(name);
        let written =
            fs::write(&path, text).and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o644)));
        if let Err(error) = written {
            say(&format!("cannot write {}: {error}", path.display()));
        }
    }
    for name in ["hostname", "hosts", "resolv.conf"] {
        let own = folder.join(name);
        if own.exists() {
            cover(&own, &Path::new("/etc").join(name));
        }
    }
}

/// Mounts one file over another, which is made if it is missing. Where a link leads nowhere, it leads there now.
fn cover(own: &Path, target: &Path) {
    // An image of one program has no such folder.
    let _ = fs::create_dir_all(folder_of(target));
    let place = OpenOptions::new().append(true).create(true).open(target).or_else(|error| {
        let link = fs::read_link(target).map_err(|_| error)?;
        fs::create_dir_all(folder_of(&folder_of(target).join(link)))?;
        OpenOptions::new().append(true).create(true).open(target)
    });
    let covered = place.and_then(|_| Ok(mount_bind(own, target)?));
    if let Err(error) = covered {
        say(&format!("cannot make {}: {error}", target.display()));
    }
}

/// A place in memory for [`OWN_FILES`].
pub fn make_place() {
    let _ = fs::create_dir_all(OWN_FILES);
    let _ = mount("tmpfs", OWN_FILES, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=755,size=1m");
}

/// The working folder and the volumes, where the image does not bring them: root's, as Docker makes them.
pub fn make_folders(process: &Process) {
    for folder in process.folders.iter().chain([&process.cwd]).filter(|folder| !folder.is_empty()) {
        let folder = Path::new("/").join(folder);
        if let Err(error) = fs::create_dir_all(&folder) {
            say(&format!("cannot make the folder {}: {error}", folder.display()));
        }
    }
}
