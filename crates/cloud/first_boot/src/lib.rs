//! What an instance is told at its first boot: a NoCloud seed made of user data and defaults.
//!
//! ```text
//! user data ─► cloud_config ────────┐
//! network config   ─► network ──────┼─► script ─► a tar archive, for images with a first-boot service of ours
//! defaults (name, user, keys) ──────┤
//!                                   └─► nocloud ─► a FAT volume labelled CIDATA, for cloud-init
//! ```
//!
//! cloud-init takes a second of a fast processor and Python in the image. The service of ours is a page of
//! shell in the guest ([`GUEST_FILES`]): it runs the scripts of the seed, and those are written here, on the
//! host, from the same user data. What they cannot do is refused before there is an instance.
//!
//! A guest that goes on as a clone is told its own name, machine id and host keys by another such archive ([`CloneIdentity`]), on a disk
//! that is put into the running machine; when it has read that, it writes so to the disk.
//!
//! Used by: `yagura run --image`, `yagura clone`, and by whoever builds images. Reads no files and knows no image store.

mod access;
mod clone;
mod cloud_config;
mod fields;
mod network;
mod nocloud;
mod script;
mod shell;
mod ssh_keys;
mod user_data;
mod users;
mod yaml;

use std::path::{Path, PathBuf};

pub use access::nobody as nobody_logs_in;
pub use clone::{CLONE_SERIAL, CloneIdentity, reads_clones, was_read, write_clone};
pub use cloud_config::ConfigError;
pub use shell::quote as shell_quote;
pub use ssh_keys::{KeyFault, parse as parse_ssh_keys};

/// Serial number of the virtio disk that carries the seed: how the guest's service finds it.
pub const SEED_SERIAL: &str = "cidata";

/// Longest user data, in bytes, packed and unpacked. cloud-init has no limit of its own.
pub const USER_DATA_MAX_BYTES: usize = 16 << 20;

/// What reads the seed in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedReader {
    /// cloud-init with its NoCloud data source.
    CloudInit,
    /// The service made of [`GUEST_FILES`].
    Service,
}

/// A user of the guest who is there without any user data.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct DefaultUser {
    /// Login name, where the image names one.
    pub name: Option<String>,
    /// Lines for `authorized_keys`.
    pub ssh_keys: Vec<String>,
    /// Password for the console; without one the user logs in by key only.
    pub password: Option<String>,
}

/// What is known of an instance before its first boot.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Instance {
    /// Differs between instances: a guest that sees another one than before starts anew.
    pub id: String,
    /// Host name.
    pub hostname: String,
    /// Who can log in by default.
    pub user: DefaultUser,
    /// Whatever cloud-init takes.
    pub user_data: Option<Vec<u8>>,
    /// A network configuration, version 2; without one every card asks by DHCP.
    pub network_config: Option<String>,
}

/// A password is in no log.
impl std::fmt::Debug for DefaultUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let DefaultUser { name, ssh_keys, password } = self;
        let mut shown = f.debug_struct("DefaultUser");
        shown
            .field("name", name)
            .field("ssh_keys", &ssh_keys.len())
            .field("password", &password.is_some())
            .finish()
    }
}

/// Neither is user data.
impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Instance { id, hostname, user, user_data, network_config } = self;
        let user_data_bytes = user_data.as_ref().map(Vec::len);
        let mut shown = f.debug_struct("Instance");
        shown
            .field("id", id)
            .field("hostname", hostname)
            .field("user", user)
            .field("user_data_bytes", &user_data_bytes);
        shown.field("network_config", &network_config.is_some()).finish()
    }
}

/// Why there is no seed.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// What a person wrote cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It could not be written.
    #[error("cannot write the first-boot seed {path}")]
    Write {
        /// The seed's file.
        path: PathBuf,
        /// The host's answer.
        source: std::io::Error,
    },
}

/// A file for images with the first-boot service.
pub struct GuestFile {
    /// Where it belongs.
    pub path: &'static str,
    /// What it holds.
    pub text: &'static str,
    /// Its permissions.
    pub mode: u32,
}

/// The first-boot service of ours; its units want to be enabled.
pub const GUEST_FILES: &[GuestFile] = &[
    GuestFile { path: "/usr/lib/first-boot/run", text: include_str!("guest/run.sh"), mode: 0o755 },
    GuestFile {
        path: "/etc/systemd/system/first-boot.service",
        text: include_str!("guest/first-boot.service"),
        mode: 0o644,
    },
    GuestFile {
        path: "/etc/systemd/system/first-boot-late.service",
        text: include_str!("guest/first-boot-late.service"),
        mode: 0o644,
    },
    GuestFile {
        path: "/etc/systemd/system/first-boot-clone.service",
        text: include_str!("guest/first-boot-clone.service"),
        mode: 0o644,
    },
    GuestFile {
        path: "/etc/udev/rules.d/80-first-boot.rules",
        text: include_str!("guest/80-first-boot.rules"),
        mode: 0o644,
    },
];

/// Writes the seed for `instance` to a new file at `path`.
///
/// # Errors
/// User data or network configuration cannot be understood, or the file cannot be written.
pub fn write_seed(reader: SeedReader, instance: &Instance, path: &Path) -> Result<(), SeedError> {
    let bytes = match reader {
        SeedReader::CloudInit => nocloud::volume(instance)?,
        SeedReader::Service => script::archive(instance)?,
    };
    write_private(path, &bytes)
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<(), SeedError> {
    let failed = |source| SeedError::Write { path: path.to_owned(), source };
    let mut file = private_file(path).map_err(failed)?;
    std::io::Write::write_all(&mut file, bytes).and_then(|()| file.sync_all()).map_err(failed)
}

/// A seed may hold a password.
fn private_file(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}
