//! Limits that a process was started with (getrlimit(2)), and what to do about them.

use std::fs;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::endings;

/// Lets this process open as many files as its hard limit allows: the soft one, 1024 as a rule, is for programs that use
/// select(2). A refusal leaves it as it was.
pub fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

/// Makes a write beyond `RLIMIT_FSIZE` an error of that write (`EFBIG`) instead of the end of the process (`SIGXFSZ`).
///
/// # Errors
/// What sigaction(2) answers.
pub fn survive_file_size_limit() -> io::Result<()> {
    endings::ignore_where_default(libc::SIGXFSZ)
}

/// Memory that this process may still map, in bytes, under the limits on its address space (`RLIMIT_AS`) and on its
/// data (`RLIMIT_DATA`); `None` without such limits.
pub fn mappable_bytes() -> Option<u64> {
    let limits = [(Resource::As, 0), (Resource::Data, 5)];
    if limits.iter().all(|(resource, _)| getrlimit(*resource).current.is_none()) {
        return None;
    }
    let sizes = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    least_left(&sizes, rustix::param::page_size() as u64, |index| getrlimit(limits[index].0).current)
}

/// The smaller of what two limits leave; `statm` is as proc_pid_statm(5) has it.
fn least_left(statm: &str, page_bytes: u64, limit: impl Fn(usize) -> Option<u64>) -> Option<u64> {
    let pages = |column| statm.split_ascii_whitespace().nth(column).and_then(|text| text.parse::<u64>().ok());
    let used = [0, 5].map(|column| pages(column).unwrap_or(0).saturating_mul(page_bytes));
    used.iter().enumerate().filter_map(|(index, used)| Some(limit(index)?.saturating_sub(*used))).min()
}

/// What a person can do about an error that a limit of this process, or of the host, is behind: a clause for the end of
/// a line, or nothing.
pub fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EMFILE) => "; this process may open no more files: raise 'ulimit -n'",
        Some(libc::ENFILE) => "; this host has too many open files: raise fs.file-max",
        Some(libc::EAGAIN) => {
            "; no more threads may be started: raise 'ulimit -u', or pids.max of the control group"
        }
        Some(libc::ENOMEM) => "; raise 'ulimit -v', or free memory",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_on_files_becomes_the_hard_one() {
        raise_descriptor_limit();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
    }

    #[test]
    fn the_tighter_limit_counts() {
        let statm = "100 40 30 5 0 20 0\n";
        let left = |space: Option<u64>, data: Option<u64>| {
            least_left(statm, 4096, move |index| if index == 0 { space } else { data })
        };
        assert_eq!(left(None, None), None);
        assert_eq!(left(Some(150 * 4096), None), Some(50 * 4096));
        assert_eq!(left(None, Some(50 * 4096)), Some(30 * 4096));
        assert_eq!(left(Some(150 * 4096), Some(50 * 4096)), Some(30 * 4096));
        assert_eq!(left(Some(10 * 4096), None), Some(0));
    }

    #[test]
    fn a_write_beyond_the_limit_fails_and_the_process_goes_on() {
        survive_file_size_limit().unwrap();
        // SAFETY: takes plain numbers; the limit of this process is not changed, only a handler is looked at.
        let action = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(libc::SIGXFSZ, std::ptr::null(), &raw mut action);
            action.sa_sigaction
        };
        assert_eq!(action, libc::SIG_IGN);
    }
}
