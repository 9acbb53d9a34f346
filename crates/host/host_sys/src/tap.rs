//! TAP network interfaces (Linux, `Documentation/networking/tuntap.rst`).
//!
//! A packet is read or written with a 12-byte `virtio_net_hdr_v1` before it, so that checksums and
//! segmentation can be left to whoever does them last.

use std::ffi::{CString, c_int, c_short, c_uint, c_ulong};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::io_buffers::{IoBuffers, writev};

/// Size of the header before each packet, in bytes.
pub const VNET_HEADER_BYTES: usize = 12;

/// Most queues that Linux attaches to one interface (`MAX_TAP_QUEUES`).
pub const MAX_QUEUES: u16 = 256;

const DEVICE_PATH: &str = "/dev/net/tun";

/// Work on packets that one side may leave to the other: what who reads from the interface accepts to be handed
/// unfinished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Packets without checksums (`TUN_F_CSUM`); the others need it.
    pub checksum: bool,
    /// TCP over IPv4 unsegmented (`TUN_F_TSO4`).
    pub tso4: bool,
    /// TCP over IPv6 unsegmented (`TUN_F_TSO6`).
    pub tso6: bool,
    /// The two above also with congestion notification (`TUN_F_TSO_ECN`); needs one of them.
    pub tso_ecn: bool,
}

impl Offloads {
    /// Everything.
    pub const ALL: Offloads = Offloads { checksum: true, tso4: true, tso6: true, tso_ecn: true };

    fn bits(self) -> c_uint {
        let Offloads { checksum, tso4, tso6, tso_ecn } = self;
        let tso = checksum && (tso4 || tso6);
        [
            (checksum, libc::TUN_F_CSUM),
            (checksum && tso4, libc::TUN_F_TSO4),
            (checksum && tso6, libc::TUN_F_TSO6),
            (tso && tso_ecn, libc::TUN_F_TSO_ECN),
        ]
        .into_iter()
        .filter(|(wanted, _)| *wanted)
        .fold(0, |bits, (_, bit)| bits | bit)
    }
}

/// Why an interface could not be attached to.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// Not a name that Linux gives to interfaces.
    #[error("cannot open tap interface '{0}': a name has 1 to 15 bytes, no '/', '%', ':' or space")]
    BadName(String),
    /// More queues than one interface can have, or none.
    #[error("cannot open tap interface {0}: {1} queues asked for, 1 to {MAX_QUEUES} are possible")]
    BadQueueCount(String, u16),
    /// The kernel has no tun driver, or the device file is not in this container.
    #[error(
        "cannot open tap interface {0}: {DEVICE_PATH} is missing; load the module (modprobe tun) or make \
         the device available here"
    )]
    NoDriver(String, #[source] io::Error),
    /// The user may not open the device, create the interface, or use it.
    #[error(
        "cannot open tap interface {0}: permission denied; as root, make it for this user: ip tuntap add \
         dev {0} mode tap user {1} multi_queue (and let the user open {DEVICE_PATH})"
    )]
    Forbidden(String, u32, #[source] io::Error),
    /// Another process is attached.
    #[error("cannot open tap interface {0}: it is in use by another process")]
    Busy(String, #[source] io::Error),
    /// An interface of that name is there, but of another kind.
    #[error(
        "cannot open tap interface {0}: there is an interface of that name that is no tap, or that was not \
         made for {1} queues (ip tuntap add dev {0} mode tap multi_queue)"
    )]
    WrongKind(String, u16, #[source] io::Error),
    /// Another answer of the kernel.
    #[error("cannot open tap interface {interface}: {operation} failed")]
    Kernel {
        /// The interface's name.
        interface: String,
        /// The operation that failed.
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// One queue of a TAP interface. Never blocks.
#[derive(Debug)]
pub struct TapQueue {
    fd: OwnedFd,
}

/// Attaches to interface `name` with `count` queues; packets carry a 12-byte header, offloads are off.
///
/// An interface that is not there is created, which takes root, brought up, and gone when the last queue is
/// closed. Linux lets several processes attach queues to one multi-queue interface: it is the
/// administrator's to give each VM its own.
pub fn open_queues(name: &str, count: u16) -> Result<Vec<TapQueue>, TapError> {
    let forbidden = |c: char| matches!(c, '/' | '%' | ':') || c.is_whitespace() || c.is_control();
    if !(1..libc::IFNAMSIZ).contains(&name.len()) || name.contains(forbidden) || matches!(name, "." | "..") {
        return Err(TapError::BadName(name.to_owned()));
    }
    if !(1..=MAX_QUEUES).contains(&count) {
        return Err(TapError::BadQueueCount(name.to_owned(), count));
    }
    let existed = interface_exists(name);
    let mut queues = vec![open_first(name, count)?];
    for _ in 1..count {
        queues.push(open_queue(name, count, true)?);
    }
    let kernel = |operation| move |source| TapError::Kernel { interface: name.to_owned(), operation, source };
    let first = &queues[0];
    let header_bytes = VNET_HEADER_BYTES as c_int;
    set_pointed(&first.fd, libc::TUNSETVNETHDRSZ, &header_bytes).map_err(kernel("TUNSETVNETHDRSZ"))?;
    first.set_offloads(Offloads::default()).map_err(kernel("TUNSETOFFLOAD"))?;
    if !existed {
        bring_up(name).map_err(kernel("SIOCSIFFLAGS"))?;
    }
    Ok(queues)
}

/// The interface's largest packet without link header, in bytes.
pub fn mtu_bytes(name: &str) -> io::Result<u16> {
    let mut request = interface_request(name, 0);
    interface_ioctl(libc::SIOCGIFMTU, &mut request)?;
    // SAFETY: SIOCGIFMTU succeeded, so the kernel filled this member of the union.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    Ok(u16::try_from(mtu.max(0)).unwrap_or(u16::MAX))
}

impl TapQueue {
    /// Reads one packet with its header, or `None` when there is none. A packet longer than `buffer` is cut
    /// to its length.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            return match rustix::io::read(&self.fd, &mut *buffer) {
                Ok(count) => Ok(Some(count)),
                Err(rustix::io::Errno::AGAIN) => Ok(None),
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => Err(errno.into()),
            };
        }
    }

    /// Writes one packet with its header. The kernel refuses a header that does not fit the packet.
    pub fn write(&self, packet: &IoBuffers) -> io::Result<usize> {
        writev(&self.fd, packet)
    }

    /// Says what the reader accepts (of the whole interface). Fails when this kernel cannot do one of them.
    pub fn set_offloads(&self, offloads: Offloads) -> io::Result<()> {
        set_number(&self.fd, libc::TUNSETOFFLOAD, c_ulong::from(offloads.bits()))
    }

    /// Takes the queue into the interface's service or out of it. Only for interfaces with several queues,
    /// and only when that changes something.
    pub fn set_attached(&self, attached: bool) -> io::Result<()> {
        let flags = if attached { libc::IFF_ATTACH_QUEUE } else { libc::IFF_DETACH_QUEUE };
        let request = interface_request("", flags as c_short);
        set_pointed(&self.fd, libc::TUNSETQUEUE, &request)
    }
}

impl AsFd for TapQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The first queue decides what the interface is. A lone queue also fits an interface made for several.
fn open_first(name: &str, count: u16) -> Result<TapQueue, TapError> {
    match open_queue(name, count, count > 1) {
        Err(TapError::WrongKind(..)) if count == 1 => open_queue(name, count, true),
        other => other,
    }
}

fn open_queue(name: &str, count: u16, multi_queue: bool) -> Result<TapQueue, TapError> {
    let interface = || name.to_owned();
    let uid = || rustix::process::getuid().as_raw();
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = rustix::fs::open(DEVICE_PATH, flags, Mode::empty()).map_err(|errno| {
        let source = io::Error::from(errno);
        match source.raw_os_error() {
            Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => TapError::NoDriver(interface(), source),
            Some(libc::EACCES | libc::EPERM) => TapError::Forbidden(interface(), uid(), source),
            _ => TapError::Kernel { interface: interface(), operation: "open of /dev/net/tun", source },
        }
    })?;
    let multi_queue = if multi_queue { libc::IFF_MULTI_QUEUE } else { 0 };
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | multi_queue;
    let request = interface_request(name, flags as c_short);
    match set_pointed(&fd, libc::TUNSETIFF, &request) {
        Ok(()) => Ok(TapQueue { fd }),
        Err(source) => Err(match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => TapError::Forbidden(interface(), uid(), source),
            Some(libc::EBUSY | libc::E2BIG) => TapError::Busy(interface(), source),
            Some(libc::EINVAL | libc::EEXIST) => TapError::WrongKind(interface(), count, source),
            _ => TapError::Kernel { interface: interface(), operation: "TUNSETIFF", source },
        }),
    }
}

fn interface_exists(name: &str) -> bool {
    // SAFETY: the argument is a valid C string.
    CString::new(name).is_ok_and(|name| unsafe { libc::if_nametoindex(name.as_ptr()) } != 0)
}

/// Sets `IFF_UP` on an interface that this process created.
fn bring_up(name: &str) -> io::Result<()> {
    let mut request = interface_request(name, 0);
    interface_ioctl(libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: SIOCGIFFLAGS succeeded, so the kernel filled this member of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    interface_ioctl(libc::SIOCSIFFLAGS, &mut interface_request(name, flags | libc::IFF_UP as c_short))
}

/// A request about interface `name`, cut to what fits with its terminating zero.
fn interface_request(name: &str, flags: c_short) -> libc::ifreq {
    // SAFETY: an all-zero ifreq is a valid value: an empty name and numbers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *to = from as _;
    }
    request.ifr_ifru.ifru_flags = flags;
    request
}

/// An ioctl on a socket of this network namespace.
fn interface_ioctl(operation: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: the SIOC*IF* operations read and write one `ifreq`, which outlives the call.
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), operation, &raw mut *request) })
}

/// An ioctl of the tun driver that reads `argument` through a pointer.
fn set_pointed<T>(fd: &OwnedFd, operation: libc::Ioctl, argument: &T) -> io::Result<()> {
    // SAFETY: the operations used here only read an argument of the type that they are called with.
    checked(unsafe { libc::ioctl(fd.as_raw_fd(), operation, &raw const *argument) })
}

/// An ioctl of the tun driver that takes a number.
fn set_number(fd: &OwnedFd, operation: libc::Ioctl, argument: c_ulong) -> io::Result<()> {
    // SAFETY: the operation takes its argument by value and touches no memory of ours.
    checked(unsafe { libc::ioctl(fd.as_raw_fd(), operation, argument) })
}

fn checked(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_counts_are_checked_before_the_kernel_is_asked() {
        for name in ["", "sixteen-bytes-xx", "a/b", "tap%d", "a b", ".."] {
            assert!(matches!(open_queues(name, 1), Err(TapError::BadName(_))), "{name}");
        }
        assert!(matches!(open_queues("tap0", 0), Err(TapError::BadQueueCount(_, 0))));
        assert!(matches!(open_queues("tap0", 257), Err(TapError::BadQueueCount(_, 257))));
    }

    #[test]
    fn offloads_that_need_others_are_left_out() {
        let all = Offloads::ALL;
        assert_eq!(all.bits(), 0xf);
        assert_eq!(Offloads { checksum: false, ..all }.bits(), 0);
        assert_eq!(Offloads { checksum: true, tso_ecn: true, ..Offloads::default() }.bits(), 1);
    }
}
