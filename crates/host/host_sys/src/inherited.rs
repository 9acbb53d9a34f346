//! Descriptors that this process was started with and has no use for: a caller's files, sockets and locks.

use std::fs;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// First descriptor that is not standard input, output or error.
const FIRST: RawFd = 3;

/// Closes what this process was started with beyond standard input, output and error, but for `kept`. Call it before this
/// process opens anything of its own that it does not name.
pub fn close_all_but(kept: &[RawFd]) {
    for (first, last) in gaps(kept) {
        close_range(first, last, 0);
    }
}

/// Keeps such descriptors from programs that this process executes from now on.
pub fn keep_from_children() {
    close_range(FIRST, RawFd::MAX, libc::CLOSE_RANGE_CLOEXEC);
}

/// Lets programs that this process executes have these, after [`keep_from_children`].
pub fn pass_on(descriptors: &[RawFd]) {
    for fd in descriptors {
        // SAFETY: takes plain numbers; a descriptor that is not open is refused.
        unsafe { libc::fcntl(*fd, libc::F_SETFD, 0) };
    }
}

/// Lets one program that is started have these: no other one that is started at the same time has them.
pub fn pass_to(command: &mut Command, descriptors: Vec<RawFd>) {
    let pass = move || {
        pass_on(&descriptors);
        Ok(())
    };
    // SAFETY: fcntl may be called behind a fork (signal-safety(7)), and nothing is allocated.
    unsafe { command.pre_exec(pass) };
}

/// The descriptors that a text with paths names: `/dev/fd/3`, `/proc/self/fd/3`.
pub fn named_in(text: &str) -> impl Iterator<Item = RawFd> {
    let after = move |prefix: &'static str| {
        text.match_indices(prefix).filter_map(move |(at, _)| {
            let rest = &text[at + prefix.len()..];
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            rest[..digits].parse().ok()
        })
    };
    ["/dev/fd/", "/proc/self/fd/", "/proc/thread-self/fd/"].into_iter().flat_map(after)
}

/// The descriptor that a path names.
pub fn named_by(path: &Path) -> Option<RawFd> {
    named_in(&path.to_string_lossy()).next()
}

/// Ranges, first to last, between the descriptors to keep.
fn gaps(kept: &[RawFd]) -> Vec<(RawFd, RawFd)> {
    let mut kept: Vec<RawFd> = kept.iter().copied().filter(|fd| *fd >= FIRST).collect();
    kept.sort_unstable();
    let mut gaps = Vec::new();
    let mut first = FIRST;
    for fd in kept {
        if fd > first {
            gaps.push((first, fd - 1));
        }
        first = first.max(fd.saturating_add(1));
    }
    gaps.push((first, RawFd::MAX));
    gaps
}

/// close_range(2), or one by one where the kernel has no such call.
fn close_range(first: RawFd, last: RawFd, flags: libc::c_uint) {
    // SAFETY: takes plain numbers. Nothing in this process owns a descriptor of the range, as the callers promise.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if answer == 0 {
        return;
    }
    let open: Vec<RawFd> = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| (first..=last).contains(fd))
        .collect();
    for fd in open {
        // SAFETY: as above. The folder's own descriptor is closed already, which harms nothing.
        unsafe {
            if flags & libc::CLOSE_RANGE_CLOEXEC == 0 {
                libc::close(fd);
            } else {
                libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_lie_between_what_is_kept() {
        assert_eq!(gaps(&[]), [(3, RawFd::MAX)]);
        assert_eq!(gaps(&[1, 2]), [(3, RawFd::MAX)]);
        assert_eq!(gaps(&[3]), [(4, RawFd::MAX)]);
        assert_eq!(gaps(&[9, 4, 5, 9]), [(3, 3), (6, 8), (10, RawFd::MAX)]);
        assert_eq!(gaps(&[RawFd::MAX]), [(3, RawFd::MAX - 1), (RawFd::MAX, RawFd::MAX)]);
    }

    #[test]
    fn descriptors_are_named_by_paths() {
        let named = |text| named_in(text).collect::<Vec<_>>();
        assert_eq!(named("path=/dev/fd/63,readonly"), [63]);
        assert_eq!(named("--kernel=/proc/self/fd/7"), [7]);
        assert_eq!(named("/dev/fd/4=/dev/fd/5"), [4, 5]);
        for text in ["", "/dev/fd/", "/dev/fd/x", "/dev/fd", "/proc/1/fd/3", "/dev/fd/99999999999"] {
            assert_eq!(named(text), [0; 0], "{text}");
        }
        assert_eq!(named_by(Path::new("/dev/fd/12")), Some(12));
    }
}
