//! Code that is there before anything is translated: the way in and out, and the ways to the engine.

use iced_x86::CpuidFeature;

use super::asm::{Asm, Label, Op, Rm, Vex, cond, host};
use super::fpu::X87;
use super::host_cpu;
use super::run::answer;
use super::words::{self, PINNED, vectors, word_at};

/// Why generated code was left; the low half of what it answers. The high half is the edge's number.
pub mod exit {
    /// RIP says where to go on.
    pub const NEXT: u32 = 1;
    /// An edge that leads nowhere yet was taken.
    pub const EDGE: u32 = 2;
    /// The instruction at RIP raised.
    pub const RAISED: u32 = 3;
    /// The interpreter has to execute what is at RIP.
    pub const INTERPRET: u32 = 4;
}

/// Offsets in the cache.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stubs {
    /// `fn(registers, code) -> u64`: runs code with the registers loaded.
    pub enter: usize,
    /// Executes instruction number ECX by its handler.
    pub interpret: usize,
    /// Makes the access of instruction number ECX to `address` hit the TLB (EAX 0), or executes it (EAX not 0).
    pub miss: usize,
    /// Goes on at RAX.
    pub lookup: usize,
    /// Leaves for RAX.
    pub missed: usize,
    /// Leaves by edge EDX.
    pub edge: usize,
    /// Leaves at offset ECX of the page.
    pub stale: usize,
    /// Loads the vector registers for level DL; on the way to offset ECX of the page.
    pub vectors: usize,
    /// Loads the x87 unit; on the way to offset ECX of the page.
    pub fpu: usize,
    /// Where the next code goes.
    pub end: usize,
}

/// Functions of the engine that generated code calls.
#[derive(Clone, Copy)]
pub struct Callbacks {
    pub interpret: u64,
    pub miss: u64,
    /// Makes the image of the x87 unit.
    pub load_fpu: u64,
}

/// Entries of a table of indirect jumps. A power of two.
pub const JUMPS: usize = 64 * 1024;
/// Tables: one for kernels, and others that programs take turns with, as many run at the same addresses.
pub const JUMP_TABLES: usize = 4;
/// Size of an entry of it: RIP, salt, code, nothing.
pub const JUMP_SHIFT: u8 = 5;

/// Size of a table of them.
pub const JUMP_TABLE_BYTES: usize = JUMPS << JUMP_SHIFT;

/// Emits all stubs at the start of the cache.
pub fn emit(asm: &mut Asm, callbacks: Callbacks) -> Stubs {
    let mut stubs = Stubs { enter: asm.here(), ..Stubs::default() };
    emit_enter(asm);
    let spill = asm.here();
    emit_spill(asm);
    let reload = asm.here();
    emit_reload(asm);
    let leave = asm.here();
    store_pinned(asm);
    // push rax; call; pop rax
    asm.byte(0x50);
    asm.call(spill);
    asm.byte(0x58);
    let leave_stored = asm.here();
    emit_leave(asm);
    let refuse = asm.here();
    emit_refuse(asm, leave);
    stubs.vectors = asm.here();
    emit_vectors(asm, refuse);
    stubs.missed = asm.here();
    asm.store(words::rip(), host::RAX);
    asm.mov_imm(host::RAX, exit::NEXT);
    asm.jmp_to(leave);
    stubs.lookup = asm.here();
    let miss = asm.label();
    let other = lookup(asm, miss);
    jump_found(asm);
    other.emit(asm);
    asm.bind(miss);
    asm.jmp_to(stubs.missed);
    let ways = Ways { spill, reload, leave_stored, lookup: stubs.lookup };
    let fill_fpu = asm.here();
    emit_call(asm, callbacks.load_fpu, ways, true);
    stubs.fpu = asm.here();
    emit_fpu(asm, refuse, fill_fpu);
    stubs.interpret = asm.here();
    emit_call(asm, callbacks.interpret, ways, false);
    stubs.miss = asm.here();
    emit_call(asm, callbacks.miss, ways, true);
    stubs.edge = asm.here();
    // The edge above, the reason below.
    asm.mov(host::RAX, host::RDX);
    asm.op(Op::new(true, 0xc1), 4, Rm::Reg(host::RAX));
    asm.byte(32);
    asm.alu_imm(true, 1, Rm::Reg(host::RAX), exit::EDGE as i32);
    asm.jmp_to(leave);
    stubs.stale = asm.here();
    asm.op(Op::new(true, 0x03), host::RCX, word_at!(page));
    asm.store(words::rip(), host::RCX);
    asm.mov_imm(host::RAX, exit::NEXT);
    asm.jmp_to(leave);
    stubs.end = asm.here();
    stubs
}

const SAVED: [u8; 6] = [host::RBX, host::RBP, 12, 13, 14, 15];

fn emit_enter(asm: &mut Asm) {
    for register in SAVED {
        push(asm, 0x50, register);
    }
    asm.alu_imm(true, 5, Rm::Reg(host::RSP), 8);
    asm.mov(host::RBP, host::RDI);
    asm.mov(host::RAX, host::RSI);
    load_pinned(asm);
    // jmp rax
    asm.raw(&[0xff, 0xe0]);
}

/// The end of a run; RAX is the answer.
fn emit_leave(asm: &mut Asm) {
    asm.alu_imm(true, 0, Rm::Reg(host::RSP), 8);
    for register in SAVED.into_iter().rev() {
        push(asm, 0x58, register);
    }
    asm.byte(0xc3);
}

fn push(asm: &mut Asm, code: u8, register: u8) {
    if register >= 8 {
        asm.byte(0x41);
    }
    asm.byte(code | register & 7);
}

fn store_pinned(asm: &mut Asm) {
    for (number, register) in PINNED.iter().enumerate() {
        if let Some(register) = register {
            asm.store(words::gpr(number as u8), *register);
        }
    }
}

fn load_pinned(asm: &mut Asm) {
    for (number, register) in PINNED.iter().enumerate() {
        if let Some(register) = register {
            asm.load(*register, words::gpr(number as u8));
        }
    }
}

/// A move of 16 or 32 bytes between a vector register and its place; `store` is 0 or 1.
fn move_vector(asm: &mut Asm, number: u8, store: u8) {
    let place = words::vector(number);
    if host_cpu::has(CpuidFeature::AVX) {
        // VMOVUPS
        asm.vex(Vex { map: 1, long: true, code: 0x10 | store, ..Vex::default() }, number, 0, place);
    } else {
        asm.op(Op { map: 1, code: 0x10 | store, ..Op::default() }, number, place);
    }
}

/// LDMXCSR (2) or STMXCSR (3).
fn mxcsr(asm: &mut Asm, which: u8, place: Rm) {
    asm.op(Op { map: 1, code: 0xae, ..Op::default() }, which, place);
}

/// Stores what is live of the vector registers and the x87 unit, and gives the engine the control words that Rust
/// expects. Clobbers RAX and RDX.
fn emit_spill(asm: &mut Asm) {
    let (stored, end) = (asm.label(), asm.label());
    compare_byte(asm, word_at!(vectors_live), vectors::NONE);
    asm.jcc(cond::E, stored);
    (0..16).for_each(|number| move_vector(asm, number, 1));
    if host_cpu::has(CpuidFeature::AVX) {
        // VZEROUPPER: the engine's own code is SSE, which upper halves in use slow down.
        asm.raw(&[0xc5, 0xf8, 0x77]);
    }
    mxcsr(asm, 3, words::mxcsr());
    asm.raw(&[0x68, 0x80, 0x1f, 0, 0]);
    mxcsr(asm, 2, Rm::At(host::RSP, 0));
    asm.alu_imm(true, 0, Rm::Reg(host::RSP), 8);
    set_byte(asm, word_at!(vectors_live), vectors::NONE);
    asm.bind(stored);
    compare_byte(asm, word_at!(fpu_live), 0);
    asm.jcc(cond::E, end);
    // XSAVE64, FNINIT
    fpu_image(asm, 4);
    asm.raw(&[0xdb, 0xe3]);
    set_byte(asm, word_at!(fpu_live), 0);
    set_byte(asm, word_at!(fpu_left), 1);
    asm.bind(end);
    asm.byte(0xc3);
}

/// Loads again what [`emit_spill`] stored: CL and CH are what was live. Clobbers RAX and RDX.
fn emit_reload(asm: &mut Asm) {
    let (loaded, end) = (asm.label(), asm.label());
    // test cl, cl
    asm.raw(&[0x84, 0xc9]);
    asm.jcc(cond::E, loaded);
    load_vectors(asm);
    asm.bind(loaded);
    // test ch, ch
    asm.raw(&[0x84, 0xed]);
    asm.jcc(cond::E, end);
    load_fpu(asm);
    asm.bind(end);
    asm.byte(0xc3);
}

/// Clobbers RDX.
fn load_vectors(asm: &mut Asm) {
    if host_cpu::has(CpuidFeature::AVX) {
        load_wide_vectors(asm);
    } else {
        (0..16).for_each(|number| move_vector(asm, number, 0));
    }
    mxcsr(asm, 2, words::mxcsr());
    asm.op(Op { map: 1, code: 0xb6, ..Op::default() }, host::RDX, word_at!(vectors_allowed));
    asm.op(Op::new(false, 0x88), host::RDX, word_at!(vectors_live));
}

/// Loads 32 bytes of each vector register, or 16 where all upper halves are zero and are left so: what the legacy encoding
/// writes keeps the upper half, and would wait for whatever wrote it if that may not be zero.
fn load_wide_vectors(asm: &mut Asm) {
    let (in_use, loaded) = (asm.label(), asm.label());
    // VZEROUPPER
    asm.raw(&[0xc5, 0xf8, 0x77]);
    let [load, or] = [0x10, 0x56].map(|code| Vex { map: 1, code, ..Vex::default() });
    asm.vex(load, 0, 0, words::upper_half(0));
    (1..16).for_each(|number| asm.vex(or, 0, 0, words::upper_half(number)));
    // VPTEST XMM0, XMM0
    asm.vex(Vex { map: 2, prefix: 1, code: 0x17, ..Vex::default() }, 0, 0, Rm::Reg(0));
    asm.jcc(cond::NE, in_use);
    (0..16).for_each(|number| asm.vex(load, number, 0, words::vector(number)));
    asm.jmp(loaded);
    asm.bind(in_use);
    (0..16).for_each(|number| move_vector(asm, number, 0));
    asm.bind(loaded);
}

/// XRSTOR64 from the image. Clobbers RAX and RDX.
fn load_fpu(asm: &mut Asm) {
    fpu_image(asm, 5);
    set_byte(asm, word_at!(fpu_live), 1);
}

/// XSAVE64 (4) or XRSTOR64 (5) of the x87 unit alone.
fn fpu_image(asm: &mut Asm, which: u8) {
    asm.mov_imm(host::RAX, X87);
    asm.mov_imm(host::RDX, 0);
    asm.op(Op { wide: true, map: 1, code: 0xae, ..Op::default() }, which, words::fpu_image());
}

fn set_byte(asm: &mut Asm, place: Rm, value: u8) {
    asm.op(Op::new(false, 0xc6), 0, place);
    asm.byte(value);
}

/// cmp byte [place], value
pub fn compare_byte(asm: &mut Asm, place: Rm, value: u8) {
    asm.op(Op::new(false, 0x80), 7, place);
    asm.byte(value);
}

/// Leaves: the interpreter is to execute what is at offset ECX of the page. The place to return to is on the stack.
fn emit_refuse(asm: &mut Asm, leave: usize) {
    asm.alu_imm(true, 0, Rm::Reg(host::RSP), 8);
    asm.op(Op::new(true, 0x03), host::RCX, word_at!(page));
    asm.store(words::rip(), host::RCX);
    asm.mov_imm(host::RAX, exit::INTERPRET);
    asm.jmp_to(leave);
}

/// Loads the vector registers if level DL is allowed.
fn emit_vectors(asm: &mut Asm, refuse: usize) {
    let allowed = asm.label();
    // cmp [vectors_allowed], dl
    asm.op(Op::new(false, 0x38), host::RDX, word_at!(vectors_allowed));
    asm.jcc(cond::AE, allowed);
    asm.jmp_to(refuse);
    asm.bind(allowed);
    load_vectors(asm);
    asm.byte(0xc3);
}

/// Loads the x87 unit if that is allowed.
fn emit_fpu(asm: &mut Asm, refuse: usize, fill: usize) {
    let allowed = asm.label();
    compare_byte(asm, word_at!(fpu_allowed), 0);
    asm.jcc(cond::NE, allowed);
    asm.jmp_to(refuse);
    asm.bind(allowed);
    // A second return address: the slot keeps the stack as a call from a unit finds it.
    asm.alu_imm(true, 5, Rm::Reg(host::RSP), 8);
    asm.call(fill);
    asm.alu_imm(true, 0, Rm::Reg(host::RSP), 8);
    load_fpu(asm);
    asm.byte(0xc3);
}

/// Places that calls of the engine go through.
#[derive(Clone, Copy)]
struct Ways {
    spill: usize,
    reload: usize,
    /// The end of a run, with all registers stored.
    leave_stored: usize,
    lookup: usize,
}

/// A call of the engine with the number in ECX. It returns with the answer in EAX, or goes on elsewhere, or leaves. Where
/// `reloads`, the vector registers and the x87 unit are as before when it returns.
fn emit_call(asm: &mut Asm, function: u64, ways: Ways, reloads: bool) {
    let (asleep, go_on, leave, done) = (asm.label(), asm.label(), asm.label(), asm.label());
    store_pinned(asm);
    // The second slot keeps the stack aligned and remembers what was live.
    asm.op(Op { map: 1, code: 0xb7, ..Op::default() }, host::RAX, word_at!(vectors_live));
    asm.byte(0x50);
    asm.op(Op::new(false, 0x85), host::RAX, Rm::Reg(host::RAX));
    asm.jcc(cond::E, asleep);
    asm.call(ways.spill);
    asm.bind(asleep);
    asm.lea(host::RDI, host::RBP, -(words::REGISTERS as i32));
    asm.op(Op::new(false, 0x8b), host::RSI, Rm::Reg(host::RCX));
    asm.mov_imm64(host::RAX, function);
    asm.raw(&[0xff, 0xd0]);
    // pop rcx: what was live
    asm.byte(0x59);
    asm.alu_imm(false, 7, Rm::Reg(host::RAX), answer::ELSEWHERE);
    asm.jcc(cond::B, go_on);
    // The place to return to is given up.
    asm.lea(host::RSP, host::RSP, 8);
    asm.jcc(cond::NE, leave);
    load_pinned(asm);
    asm.load(host::RAX, words::rip());
    asm.jmp_to(ways.lookup);
    asm.bind(leave);
    asm.alu_imm(false, 5, Rm::Reg(host::RAX), answer::ELSEWHERE);
    asm.jmp_to(ways.leave_stored);
    asm.bind(go_on);
    load_pinned(asm);
    if reloads {
        asm.op(Op::new(false, 0x85), host::RCX, Rm::Reg(host::RCX));
        asm.jcc(cond::E, done);
        // push rax; call; pop rax
        asm.byte(0x50);
        asm.call(ways.reload);
        asm.byte(0x58);
    }
    asm.bind(done);
    asm.byte(0xc3);
}

/// Goes to `wanted` if somebody wants something of this vCPU. Clobbers RCX.
pub fn look_at_requests(asm: &mut Asm, wanted: Label) {
    asm.load(host::RCX, word_at!(pending));
    asm.alu_imm(false, 7, Rm::At(host::RCX, 0), 0);
    asm.jcc(cond::NE, wanted);
}

/// Looks for the code at RAX: RCX is its entry in the table, or `miss` is taken, also when somebody wants something.
/// Clobbers RCX and RDX. What is answered has to be emitted somewhere.
pub fn lookup(asm: &mut Asm, miss: Label) -> OtherSalt {
    look_at_requests(asm, miss);
    asm.mov(host::RCX, host::RAX);
    asm.op(Op::new(true, 0xc1), 5, Rm::Reg(host::RCX));
    asm.byte(12);
    asm.op(Op::new(false, 0x33), host::RCX, Rm::Reg(host::RAX));
    asm.alu_imm(false, 4, Rm::Reg(host::RCX), JUMPS as i32 - 1);
    asm.op(Op::new(false, 0xc1), 4, Rm::Reg(host::RCX));
    asm.byte(JUMP_SHIFT);
    asm.op(Op::new(true, 0x03), host::RCX, word_at!(jumps));
    asm.op(Op::new(true, 0x3b), host::RAX, Rm::At(host::RCX, 0));
    asm.jcc(cond::NE, miss);
    let (other, found) = (asm.label(), asm.label());
    asm.load(host::RDX, Rm::At(host::RCX, 8));
    asm.op(Op::new(true, 0x3b), host::RDX, words::salt(0));
    asm.jcc(cond::NE, other);
    asm.bind(found);
    OtherSalt { other, found, miss }
}

/// The part of [`lookup`] for entries of the less usual kind.
#[must_use]
pub struct OtherSalt {
    other: Label,
    found: Label,
    miss: Label,
}

impl OtherSalt {
    /// Emits it. Control does not come here from above.
    pub fn emit(self, asm: &mut Asm) {
        asm.bind(self.other);
        asm.op(Op::new(true, 0x3b), host::RDX, words::salt(1));
        asm.jcc(cond::E, self.found);
        asm.jmp(self.miss);
    }
}

/// Jumps to the code that [`lookup`] found.
pub fn jump_found(asm: &mut Asm) {
    jump_to(asm, 16);
}

/// Jumps to where RCX and `disp` say: the code for RAX. RDX is kept.
pub fn jump_to(asm: &mut Asm, disp: i32) {
    asm.alu_imm(true, 4, Rm::Reg(host::RAX), -4096);
    asm.store(word_at!(page), host::RAX);
    asm.op(Op::new(false, 0xff), 4, Rm::At(host::RCX, disp));
}
