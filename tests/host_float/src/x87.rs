//! One x87 instruction on the host, with any control word: no waiting instruction follows before the flags of an
//! unmasked exception are cleared.

use soft_engine::softfloat::F80;
use std::arch::asm;

/// Everything masked, round to nearest, extended precision.
const CONTROL_MASKED: u16 = 0x37f;

/// What an instruction left behind.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// ST(0).
    pub st0: F80,
    /// ST(1), if there is one.
    pub st1: F80,
    /// The status word.
    pub status: u16,
    /// What was stored to memory.
    pub memory: [u8; 10],
}

/// Where an instruction finds its operands and leaves its results.
#[repr(C, align(16))]
struct Exchange {
    st0: [u8; 16],
    st1: [u8; 16],
    memory: [u8; 16],
    control: u16,
    control_masked: u16,
    status: u16,
}

impl Exchange {
    fn new(control: u16, st0: F80, st1: F80, memory: [u8; 10]) -> Self {
        Self {
            st0: sixteen(st0.to_bytes()),
            st1: sixteen(st1.to_bytes()),
            memory: sixteen(memory),
            control,
            control_masked: CONTROL_MASKED,
            status: 0,
        }
    }

    fn outcome(&self) -> Outcome {
        Outcome {
            st0: F80::from_bytes(ten(self.st0)),
            st1: F80::from_bytes(ten(self.st1)),
            status: self.status,
            memory: ten(self.memory),
        }
    }
}

fn sixteen(bytes: [u8; 10]) -> [u8; 16] {
    let mut wide = [0; 16];
    wide[..10].copy_from_slice(&bytes);
    wide
}

fn ten(bytes: [u8; 16]) -> [u8; 10] {
    let mut narrow = [0; 10];
    narrow.copy_from_slice(&bytes[..10]);
    narrow
}

macro_rules! instructions {
    ($($name:ident, $line:literal;)*) => {$(
        #[doc = concat!("`", $line, "`, with two registers and ten bytes of memory as operands.")]
        pub fn $name(control: u16, st0: F80, st1: F80, memory: [u8; 10]) -> Outcome {
            let mut exchange = Exchange::new(control | 0x40, st0, st1, memory);
            // SAFETY: the block reads and writes `exchange` alone, which outlives it; the x87 stack is empty at the
            // start and at the end, and a pending exception is cleared before the next waiting instruction.
            unsafe {
                asm!(
                    "fninit",
                    "fld tbyte ptr [{e} + 16]",
                    "fld tbyte ptr [{e}]",
                    "fldcw word ptr [{e} + 48]",
                    $line,
                    "fnstsw word ptr [{e} + 52]",
                    "fnclex",
                    "fldcw word ptr [{e} + 50]",
                    "fstp tbyte ptr [{e}]",
                    "fstp tbyte ptr [{e} + 16]",
                    "fninit",
                    e = in(reg) &mut exchange,
                    out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                    out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
                );
            }
            exchange.outcome()
        }
    )*};
}

instructions! {
    fadd, "fadd st(0), st(1)";
    fsub, "fsub st(0), st(1)";
    fmul, "fmul st(0), st(1)";
    fdiv, "fdiv st(0), st(1)";
    fsqrt, "fsqrt";
    fcom, "fcom st(1)";
    fucom, "fucom st(1)";
    frndint, "frndint";
    fscale, "fscale";
    fxtract, "fxtract";
    fprem, "fprem";
    fprem1, "fprem1";
    f2xm1, "f2xm1";
    fyl2x, "fyl2x";
    fyl2xp1, "fyl2xp1";
    fpatan, "fpatan";
    fptan, "fptan";
    fsin, "fsin";
    fcos, "fcos";
    fsincos, "fsincos";
    fld_single, "fld dword ptr [{e} + 32]";
    fld_double, "fld qword ptr [{e} + 32]";
    fst_single, "fst dword ptr [{e} + 32]";
    fst_double, "fst qword ptr [{e} + 32]";
    fild_word, "fild word ptr [{e} + 32]";
    fild_double_word, "fild dword ptr [{e} + 32]";
    fild_quad_word, "fild qword ptr [{e} + 32]";
    fistp_word, "fistp word ptr [{e} + 32]";
    fistp_double_word, "fistp dword ptr [{e} + 32]";
    fistp_quad_word, "fistp qword ptr [{e} + 32]";
    fisttp_word, "fisttp word ptr [{e} + 32]";
    fisttp_double_word, "fisttp dword ptr [{e} + 32]";
    fisttp_quad_word, "fisttp qword ptr [{e} + 32]";
    fbld, "fbld tbyte ptr [{e} + 32]";
    fbstp, "fbstp tbyte ptr [{e} + 32]";
}
