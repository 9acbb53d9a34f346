//! Confines itself, says on standard output what was refused, does what its first argument names, and says
//! "alive" if it still can.

#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use host_sys::sandbox::{Limits, enter};

/// Memory that the probe may have, in bytes.
const MEMORY_BYTES: u64 = 64 << 20;

fn main() {
    let action = std::env::args().nth(1).unwrap_or_default();
    let kept = File::open("/dev/zero").expect("the device of zeros");
    let other = File::open("/dev/zero").expect("the device of zeros");
    let limits = Limits { memory_bytes: MEMORY_BYTES, cpu_seconds: 1, file_bytes: 1 << 20 };
    if action == "threads" {
        std::thread::spawn(std::thread::park);
    }
    match enter(&[kept.as_fd()], &limits) {
        Ok(refused) => refused.iter().for_each(|layer| say(&format!("refused {:?}", layer.layer))),
        Err(error) => return say(&format!("unconfined: {error}")),
    }
    act(&action, &kept, &other);
    // Closed already.
    std::mem::forget(other);
    say("alive");
}

fn say(line: &str) {
    // Who started this sees what is missing.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn act(action: &str, kept: &File, other: &File) {
    const SHELL: &CStr = c"/bin/sh";
    let none: *const u8 = ptr::null();
    match action {
        "nothing" => {}
        "kept" => {
            let mut byte = [1];
            let answer = rustix::io::pread(kept, &mut byte, 0);
            say(&format!("kept {answer:?}"));
        }
        "others" => {
            let mut byte = [1];
            say(&format!("others {:?}", rustix::io::pread(other, &mut byte, 0).err()));
        }
        "memory" => {
            let bytes = vec![1u8; 2 * MEMORY_BYTES as usize];
            say(&format!("{}", bytes[bytes.len() / 2]));
        }
        "processor" => {
            let mut number = 1u64;
            loop {
                number = std::hint::black_box(number.wrapping_mul(3));
            }
        }
        "hang" => {
            say("hanging");
            loop {
                std::thread::park();
            }
        }
        "panic" => {
            std::panic::set_hook(Box::new(|_| ()));
            let caught = std::panic::catch_unwind(|| panic!("on purpose"));
            say(&format!("panic {}", caught.is_err()));
        }
        // SAFETY: each call is made to be refused; whatever it answers, no memory of ours is given to it.
        _ => unsafe {
            match action {
                "open" => libc::open(SHELL.as_ptr(), libc::O_RDONLY) as libc::c_long,
                "stat" => libc::syscall(libc::SYS_newfstatat, libc::AT_FDCWD, SHELL.as_ptr(), none, 0),
                "socket" => libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) as libc::c_long,
                "execve" => libc::syscall(libc::SYS_execve, SHELL.as_ptr(), none, none),
                "ptrace" => libc::syscall(libc::SYS_ptrace, libc::PTRACE_TRACEME, 0, 0, 0),
                "fork" => libc::fork() as libc::c_long,
                "thread" => libc::syscall(libc::SYS_clone, libc::CLONE_VM, 0, 0, 0, 0),
                "kill" => libc::kill(libc::getppid(), 0) as libc::c_long,
                "signal" => libc::syscall(libc::SYS_tgkill, 1, 1, 0),
                "ioctl" => libc::ioctl(kept.as_raw_fd(), libc::TIOCSTI as libc::Ioctl, c"x".as_ptr()).into(),
                "x32" => libc::syscall(libc::SYS_getpid | 0x4000_0000),
                "executable" => {
                    let (flags, protection) = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, libc::PROT_EXEC);
                    libc::mmap(ptr::null_mut(), 4096, protection, flags, -1, 0) as libc::c_long
                }
                "executable_later" => {
                    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                    let page = libc::mmap(ptr::null_mut(), 4096, libc::PROT_READ, flags, -1, 0);
                    libc::mprotect(page, 4096, libc::PROT_READ | libc::PROT_EXEC).into()
                }
                _ => panic!("there is no action {action}"),
            };
        },
    }
}
