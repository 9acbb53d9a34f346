//! The handler of #DB: it notes where it came from, goes out of the system and back in, and returns by IRET.

use engine_suite::guest::Guest;
use engine_suite::layout::*;
use engine_suite::modes::Mode;
use engine_suite::outcome::Outcome;
use engine_suite::tables::{Descriptor, Gate, TASK_GATE};

/// Where the next record goes, and where the handler's stack pointer is kept; then the records.
const NEXT: u64 = KERNEL_DATA;
const SAVED: u64 = KERNEL_DATA + 8;
const RECORDS: u64 = KERNEL_DATA + 0x10;
/// Code that is left to, of privilege 3, and its stack.
const OUTSIDE: u64 = USER_CODE + 0x800;
const OUTSIDE_STACK: u64 = USER_STACK - 0x40;
/// Vectors: back into the handler; a handler that returns at once, in the program's own way.
const BACK: u8 = TEST_VECTOR;
pub const PLAIN: u8 = TEST_VECTOR + 1;
/// Where such a handler is, and the code of another task.
const RETURN: u64 = CODE2 + 0x200;
/// Where SYSCALL and SYSENTER of the program lead, where they do not lead back into the handler.
pub const SERVICE: u64 = CODE2 + 0x300;
const TSS_B: u64 = 0x4000;
/// SYSENTER's code in 32-bit mode; its stack, and SYSEXIT's code and stack follow.
const FAST_CODE: u16 = RING1_CODE;
/// MSRs (SDM vol. 4, table 2-2).
const SYSENTER_CS: u32 = 0x174;
const SYSENTER_ESP: u32 = 0x175;
const SYSENTER_EIP: u32 = 0x176;
const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
const FMASK: u32 = 0xc000_0084;

/// How the handler leaves the system, or its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It does not.
    Not,
    /// SYSRET to 64-bit code, and to 32-bit code.
    Sysret,
    SysretNarrow,
    /// SYSEXIT to 64-bit code, and to 32-bit code.
    Sysexit,
    SysexitNarrow,
    /// IRET and far RET to the outer privilege.
    Iret,
    FarReturn,
    /// CALL to another task, which returns.
    Task,
}

/// How it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enter {
    Int,
    Syscall,
    Sysenter,
}

/// The ways that there are for a handler of `mode`.
pub fn ways(mode: Mode) -> Vec<(Leave, Enter)> {
    use {Enter as E, Leave as L};
    match mode {
        Mode::Real => vec![(L::Not, E::Int)],
        Mode::Long(_) | Mode::Compatibility => vec![
            (L::Not, E::Int),
            (L::Sysret, E::Syscall),
            (L::Sysret, E::Int),
            (L::SysretNarrow, E::Int),
            (L::SysretNarrow, E::Sysenter),
            (L::Sysexit, E::Syscall),
            (L::SysexitNarrow, E::Sysenter),
            (L::Iret, E::Syscall),
            (L::FarReturn, E::Int),
        ],
        _ => vec![
            (L::Not, E::Int),
            (L::SysexitNarrow, E::Int),
            (L::SysexitNarrow, E::Sysenter),
            (L::Iret, E::Int),
            (L::FarReturn, E::Sysenter),
            (L::Task, E::Int),
        ],
    }
}

fn is_long(mode: Mode) -> bool {
    matches!(mode, Mode::Long(_) | Mode::Compatibility)
}

fn word(address: u64) -> [u8; 4] {
    (address as u32).to_le_bytes()
}

/// Puts the handler into `guest`.
pub fn install(guest: &mut Guest, mode: Mode, (leave, enter): (Leave, Enter)) {
    let narrow = is_long(mode) && matches!(leave, Leave::SysretNarrow | Leave::SysexitNarrow);
    let outside: &[u8] = match enter {
        Enter::Int => &[0xcd, BACK],
        Enter::Syscall => &[0x0f, 0x05],
        Enter::Sysenter => &[0x0f, 0x34],
    };
    assert!(!(narrow && enter == Enter::Syscall), "SYSCALL is 64-bit code's alone");
    guest.put(OUTSIDE, outside);
    guest.put64(NEXT, RECORDS);
    match mode {
        Mode::Real => return real(guest),
        _ if is_long(mode) => long(guest, leave, enter),
        _ => protected(guest, leave, enter),
    }
    let code = if is_long(mode) { KERNEL_CODE } else { KERNEL_CODE32 };
    let fast = if is_long(mode) { KERNEL_CODE } else { FAST_CODE };
    guest.msrs.push((SYSENTER_CS, fast.into()));
    guest.msrs.push((SYSENTER_ESP, STACK - 0x800));
    guest.put(RETURN, if is_long(mode) { &[0x48, 0xcf] } else { &[0xcf, 0xeb, 0xfd] });
    for vector in [3, PLAIN] {
        guest.gate(vector, Gate { dpl: 3, ..Gate::interrupt(code, RETURN, 3) });
    }
}

/// 64-bit code.
fn long(guest: &mut Guest, leave: Leave, enter: Enter) {
    let mut code = vec![0x50, 0x51, 0x52, 0x41, 0x53]; // push rax, rcx, rdx, r11
    let absolute = |opcode: &[u8], address: u64| [opcode, &word(address)].concat();
    code.extend(absolute(&[0x48, 0x8b, 0x04, 0x25], NEXT)); // mov rax, [NEXT]
    code.extend([0x48, 0x8b, 0x54, 0x24, 0x20, 0x48, 0x89, 0x10]); // RIP
    code.extend([0x0f, 0x21, 0xf2, 0x48, 0x89, 0x50, 8]); // DR6
    code.extend([0x48, 0x8b, 0x54, 0x24, 0x30, 0x48, 0x89, 0x50, 16]); // RFLAGS
    code.extend([&absolute(&[0x48, 0x83, 0x04, 0x25], NEXT)[..], &[24]].concat());
    code.extend([0xba, 0xf0, 0x0f, 0xff, 0xff, 0x0f, 0x23, 0xf2]); // mov dr6, 0xffff0ff0
    code.extend(absolute(&[0x48, 0x89, 0x24, 0x25], SAVED)); // mov [SAVED], rsp
    let push = |value: u64| absolute(&[0x68], value);
    let frame = [push(USER_DATA.into()), push(OUTSIDE_STACK)].concat();
    let target = [push(USER_CODE64.into()), push(OUTSIDE)].concat();
    let to = |register: u8, value: u64| absolute(&[0xb8 | register], value);
    let sysret = [to(1, OUTSIDE), vec![0x41, 0xbb, 2, 0, 0, 0]].concat();
    let sysexit = [to(2, OUTSIDE), to(1, OUTSIDE_STACK)].concat();
    code.extend(match leave {
        Leave::Not | Leave::Task => Vec::new(),
        Leave::Sysret => [&sysret[..], &[0x48, 0x0f, 0x07]].concat(),
        Leave::SysretNarrow => [&sysret[..], &[0x0f, 0x07]].concat(),
        Leave::Sysexit => [&sysexit[..], &[0x48, 0x0f, 0x35]].concat(),
        Leave::SysexitNarrow => [&sysexit[..], &[0x0f, 0x35]].concat(),
        Leave::Iret => [&frame[..], &push(2), &target, &[0x48, 0xcf]].concat(),
        Leave::FarReturn => [&frame[..], &target, &[0x48, 0xcb]].concat(),
    });
    let back = CODE2 + code.len() as u64;
    code.extend(absolute(&[0x48, 0x8b, 0x24, 0x25], SAVED)); // mov rsp, [SAVED]
    code.extend([0x41, 0x5b, 0x5a, 0x59, 0x58, 0x48, 0xcf]);
    guest.put(CODE2, &code);
    guest.gate(1, Gate { stack: 2, ..Gate::interrupt(KERNEL_CODE, CODE2, 3) });
    guest.gate(BACK, Gate { stack: 1, ..Gate::interrupt(KERNEL_CODE, back, 3) });
    let service = |is_used: bool| if is_used { back } else { SERVICE };
    guest.msrs.push((STAR, u64::from(USER_CODE32) << 48 | u64::from(KERNEL_CODE) << 32));
    guest.msrs.push((LSTAR, service(enter == Enter::Syscall)));
    guest.msrs.push((FMASK, 0x300));
    guest.msrs.push((SYSENTER_EIP, service(enter == Enter::Sysenter)));
}

/// 32-bit code, for programs of virtual-8086 mode too.
fn protected(guest: &mut Guest, leave: Leave, enter: Enter) {
    let absolute = |opcode: &[u8], address: u64| [opcode, &word(address)].concat();
    let mut code = vec![0x1e, 0x06, 0x0f, 0xa0, 0x0f, 0xa8, 0x50, 0x51, 0x52]; // push ds, es, fs, gs, eax, ecx, edx
    let data = [0xb8, USER_DATA as u8, 0, 0, 0, 0x8e, 0xd8]; // mov ds, USER_DATA
    code.extend(data);
    code.extend(absolute(&[0xa1], NEXT)); // mov eax, [NEXT]
    code.extend([0x8b, 0x54, 0x24, 0x1c, 0x89, 0x10]); // EIP
    code.extend([0x0f, 0x21, 0xf2, 0x89, 0x50, 8]); // DR6
    code.extend([0x8b, 0x54, 0x24, 0x24, 0x89, 0x50, 16]); // EFLAGS
    code.extend([&absolute(&[0x83, 0x05], NEXT)[..], &[24]].concat());
    code.extend([0xba, 0xf0, 0x0f, 0xff, 0xff, 0x0f, 0x23, 0xf2]); // mov dr6, 0xffff0ff0
    code.extend(absolute(&[0x89, 0x25], SAVED)); // mov [SAVED], esp
    let stack = |top: u64| [&absolute(&[0xc7, 0x05], TSS + 4)[..], &word(top)].concat();
    code.extend(stack(RSP0 - 0x200));
    let push = |value: u64| absolute(&[0x68], value);
    let frame = [push(USER_DATA.into()), push(OUTSIDE_STACK)].concat();
    let target = [push(USER_CODE32.into()), push(OUTSIDE)].concat();
    let to = |register: u8, value: u64| absolute(&[0xb8 | register], value);
    code.extend(match leave {
        Leave::SysexitNarrow => [to(2, OUTSIDE), to(1, OUTSIDE_STACK), vec![0x0f, 0x35]].concat(),
        Leave::Iret => [&frame[..], &push(2), &target, &[0xcf]].concat(),
        Leave::FarReturn => [&frame[..], &target, &[0xcb]].concat(),
        Leave::Task => vec![0x9a, 0, 0, 0, 0, TEST2 as u8, 0],
        _ => Vec::new(),
    });
    let back = CODE2 + code.len() as u64;
    code.extend(data);
    code.extend([0x0f, 0x06]); // clts
    code.extend(absolute(&[0x8b, 0x25], SAVED)); // mov esp, [SAVED]
    code.extend(stack(RSP0));
    code.extend([0x5a, 0x59, 0x58, 0x0f, 0xa9, 0x0f, 0xa1, 0x07, 0x1f, 0xcf]);
    guest.put(CODE2, &code);
    guest.gate(1, Gate::interrupt(KERNEL_CODE32, CODE2, 0));
    guest.gate(BACK, Gate::interrupt(KERNEL_CODE32, back, 3));
    for (index, (kind, dpl)) in [(11, 0), (3, 0), (11, 3), (3, 3)].into_iter().enumerate() {
        guest.descriptor(FAST_CODE + 8 * index as u16, Descriptor::flat(kind, dpl));
    }
    guest.msrs.push((SYSENTER_EIP, if enter == Enter::Sysenter { back } else { SERVICE }));
    let gate = Gate { kind: TASK_GATE, ..Gate::interrupt(TASK_B, 0, 3) };
    guest.put64(GDT + u64::from(TEST2), gate.raw()[0]);
    guest.descriptor(TASK_B, Descriptor::system(9, 0, TSS_B as u32, 0x67));
    let flat = u64::from(KERNEL_DATA_SELECTOR);
    guest.put64(TSS_B + 0x20, RETURN | 2 << 32);
    guest.put64(TSS_B + 0x38, STACK - 0x900);
    guest.put64(TSS_B + 0x48, flat | u64::from(KERNEL_CODE32) << 32);
    guest.put64(TSS_B + 0x50, flat | flat << 32);
}

/// Descriptor of the other task.
const TASK_B: u16 = TEST2 + 8;

/// 16-bit code, by the table of vectors at address 0.
fn real(guest: &mut Guest) {
    let short = |opcode: &[u8], address: u64| [opcode, &(address as u16).to_le_bytes()].concat();
    let mut code = vec![0x1e, 0x50, 0x52, 0x53, 0x55, 0x89, 0xe5]; // push ds, ax, dx, bx, bp; mov bp, sp
    code.extend([0x31, 0xc0, 0x8e, 0xd8]); // mov ds, 0
    code.extend(short(&[0x8b, 0x1e], NEXT)); // mov bx, [NEXT]
    code.extend([0x8b, 0x46, 10, 0x89, 0x07]); // IP
    code.extend([0x66, 0x52, 0x0f, 0x21, 0xf2, 0x66, 0x89, 0x57, 8]); // push edx; DR6
    code.extend([0x8b, 0x46, 14, 0x89, 0x47, 16]); // FLAGS
    code.extend([&short(&[0x83, 0x06], NEXT)[..], &[24]].concat());
    code.extend([0x66, 0xba, 0xf0, 0x0f, 0xff, 0xff, 0x0f, 0x23, 0xf2, 0x66, 0x5a]); // mov dr6; pop edx
    code.extend([0xcd, BACK, 0x5d, 0x5b, 0x5a, 0x58, 0x1f, 0xcf]);
    guest.put(CODE2, &code);
    guest.put(RETURN, &[0xcf]);
    let entries = [(1, CODE2), (3, RETURN), (BACK, RETURN), (PLAIN, RETURN), (DONE, stub(DONE))];
    for (vector, handler) in entries {
        guest.put(4 * u64::from(vector), &word(handler));
    }
}

/// What the handler noted: RIP, the bits of DR6, RFLAGS.
pub fn records(outcome: &Outcome) -> Vec<(u64, u64, u64)> {
    let end = (outcome.memory(NEXT) & 0xffff).clamp(RECORDS, KERNEL_DATA + 0x1000);
    let record = |at: u64| (outcome.memory(at), outcome.memory(at + 8) & 0xe00f, outcome.memory(at + 16));
    (RECORDS..end).step_by(24).map(record).collect()
}
