//! What a child may ask of the kernel once it executes cases: code that goes astray must not reach the machine.

/// What the child itself needs.
const ALLOWED: [libc::c_long; 6] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_mprotect,
    libc::SYS_rt_sigreturn,
    libc::SYS_exit,
    libc::SYS_exit_group,
];
/// `AUDIT_ARCH_X86_64`: not a 32-bit system call.
const X86_64: u32 = 0xc000_003e;
/// Offsets in `seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// Kills the child at every other system call from now on. `None` if the kernel does not do that.
pub fn enter() -> Option<()> {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let unless_equal = |k: u32, skip: usize| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: 0,
        jf: skip as u8,
        k,
    };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let answer = libc::BPF_RET | libc::BPF_K;
    let mut program = vec![
        statement(load, ARCHITECTURE),
        unless_equal(X86_64, 2 * ALLOWED.len() + 1),
        statement(load, NUMBER),
    ];
    for number in ALLOWED {
        program.push(unless_equal(number as u32, 1));
        program.push(statement(answer, libc::SECCOMP_RET_ALLOW));
    }
    program.push(statement(answer, libc::SECCOMP_RET_KILL_PROCESS));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: changes of this process alone; the program lives until the kernel has copied it.
    let entered = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0
    };
    entered.then_some(())
}
