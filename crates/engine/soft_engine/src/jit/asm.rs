//! An emitter of x86-64 machine code: bytes into a buffer whose place in the code cache is known.

/// Host registers by number.
pub mod host {
    pub const RAX: u8 = 0;
    pub const RCX: u8 = 1;
    pub const RDX: u8 = 2;
    pub const RBX: u8 = 3;
    pub const RSP: u8 = 4;
    pub const RBP: u8 = 5;
    pub const RSI: u8 = 6;
    pub const RDI: u8 = 7;
}

/// Condition codes of Jcc (SDM vol. 1, appendix B).
pub mod cond {
    pub const B: u8 = 2;
    pub const E: u8 = 4;
    pub const NE: u8 = 5;
    pub const A: u8 = 7;
    pub const BE: u8 = 6;
    pub const AE: u8 = 3;
}

/// Place of the r/m operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rm {
    /// A register.
    Reg(u8),
    /// Memory at a base register plus displacement.
    At(u8, i32),
}

/// How an instruction is encoded apart from its operands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Op {
    /// 0x66 stands before it.
    pub operand16: bool,
    /// 0xf2 or 0xf3 stands before it; 0 for neither.
    pub repeat: u8,
    /// LOCK.
    pub lock: bool,
    /// REX.W.
    pub wide: bool,
    /// It works on bytes: SPL to DIL rather than AH to BH.
    pub byte: bool,
    /// Opcode map: 0, 1 (0F), 2 (0F 38), 3 (0F 3A).
    pub map: u8,
    /// Opcode.
    pub code: u8,
}

impl Op {
    /// A one-byte opcode on 32 or 64 bits.
    pub fn new(wide: bool, code: u8) -> Op {
        Op { wide, code, ..Op::default() }
    }
}

/// How an instruction with a VEX prefix is encoded apart from its operands (SDM vol. 2A, 2.3.5).
#[derive(Clone, Copy, Debug, Default)]
pub struct Vex {
    /// Opcode map: 1 (0F), 2 (0F 38), 3 (0F 3A).
    pub map: u8,
    /// The prefix implied: 0 for none, 1 (66), 2 (F3), 3 (F2).
    pub prefix: u8,
    /// VEX.W.
    pub wide: bool,
    /// VEX.L: 256 bits.
    pub long: bool,
    /// Opcode.
    pub code: u8,
}

/// A place in the code, to be named before it is known.
#[derive(Clone, Copy, Debug)]
pub struct Label(usize);

/// The emitter.
#[derive(Default)]
pub struct Asm {
    /// Offset of the first byte in the code cache.
    base: usize,
    bytes: Vec<u8>,
    labels: Vec<Option<usize>>,
    /// Where a rel32 is to be filled in, and for which label.
    open: Vec<(usize, Label)>,
}

impl Asm {
    /// Starts anew for code that begins at `base` in the cache.
    pub fn start(&mut self, base: usize) {
        self.base = base;
        self.bytes.clear();
        self.labels.clear();
        self.open.clear();
    }

    /// Offset in the cache of what comes next.
    pub fn here(&self) -> usize {
        self.base + self.bytes.len()
    }

    /// Fills in all labels and answers the code. Every label that was used has to be bound.
    pub fn finish(&mut self) -> &[u8] {
        for (at, label) in std::mem::take(&mut self.open) {
            let target = self.labels[label.0].expect("a label that is used is bound");
            self.fill_rel32(at, target);
        }
        &self.bytes
    }

    /// A new label.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// The label's place is here.
    pub fn bind(&mut self, label: Label) {
        self.labels[label.0] = Some(self.here());
    }

    fn fill_rel32(&mut self, at: usize, target: usize) {
        let relative = (target as i64 - (self.base + at + 4) as i64) as i32;
        self.bytes[at..at + 4].copy_from_slice(&relative.to_le_bytes());
    }

    pub fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub fn word(&mut self, word: u32) {
        self.raw(&word.to_le_bytes());
    }

    /// An instruction with a ModRM byte; an immediate, if any, is to follow.
    pub fn op(&mut self, op: Op, reg: u8, rm: Rm) {
        if op.lock {
            self.byte(0xf0);
        }
        if op.operand16 {
            self.byte(0x66);
        }
        if op.repeat != 0 {
            self.byte(op.repeat);
        }
        let base = match rm {
            Rm::Reg(number) | Rm::At(number, _) => number,
        };
        let rex = u8::from(op.wide) << 3 | (reg >> 3 & 1) << 2 | (base >> 3 & 1);
        if rex != 0 || op.byte {
            self.byte(0x40 | rex);
        }
        match op.map {
            0 => {}
            1 => self.byte(0x0f),
            2 => self.raw(&[0x0f, 0x38]),
            _ => self.raw(&[0x0f, 0x3a]),
        }
        self.byte(op.code);
        self.modrm(reg, rm);
    }

    /// An instruction with a VEX prefix and a ModRM byte; `third` is the operand that the prefix names, 0 if there is
    /// none. An immediate, if any, is to follow.
    pub fn vex(&mut self, vex: Vex, reg: u8, third: u8, rm: Rm) {
        let (Rm::Reg(base) | Rm::At(base, _)) = rm;
        let inverted = |register: u8, bit: u8| (!register >> 3 & 1) << bit;
        let last = (!third & 15) << 3 | u8::from(vex.long) << 2 | vex.prefix;
        if vex.map == 1 && !vex.wide && base < 8 {
            self.raw(&[0xc5, inverted(reg, 7) | last]);
        } else {
            let second = inverted(reg, 7) | 1 << 6 | inverted(base, 5) | vex.map;
            self.raw(&[0xc4, second, u8::from(vex.wide) << 7 | last]);
        }
        self.byte(vex.code);
        self.modrm(reg, rm);
    }

    fn modrm(&mut self, reg: u8, rm: Rm) {
        let reg = (reg & 7) << 3;
        match rm {
            Rm::Reg(number) => self.byte(0xc0 | reg | number & 7),
            Rm::At(base, disp) => {
                let short = i8::try_from(disp).is_ok();
                let mode = match disp {
                    0 if base & 7 != host::RBP => 0,
                    _ if short => 0x40,
                    _ => 0x80,
                };
                self.byte(mode | reg | base & 7);
                if base & 7 == host::RSP {
                    self.byte(0x24);
                }
                match mode {
                    0 => {}
                    0x40 => self.byte(disp as u8),
                    _ => self.word(disp as u32),
                }
            }
        }
    }

    /// mov to, from (64 bits).
    pub fn mov(&mut self, to: u8, from: u8) {
        self.op(Op::new(true, 0x8b), to, Rm::Reg(from));
    }

    /// mov to, [..] (64 bits).
    pub fn load(&mut self, to: u8, from: Rm) {
        self.op(Op::new(true, 0x8b), to, from);
    }

    /// mov [..], from (64 bits).
    pub fn store(&mut self, to: Rm, from: u8) {
        self.op(Op::new(true, 0x89), from, to);
    }

    /// mov to, imm32 (zero-extended).
    pub fn mov_imm(&mut self, to: u8, value: u32) {
        if to >= 8 {
            self.byte(0x41);
        }
        self.byte(0xb8 | to & 7);
        self.word(value);
    }

    /// mov to, imm64.
    pub fn mov_imm64(&mut self, to: u8, value: u64) {
        self.raw(&[0x48 | to >> 3, 0xb8 | to & 7]);
        self.raw(&value.to_le_bytes());
    }

    /// One of add, or, adc, sbb, and, sub, xor, cmp (by number) with an immediate.
    pub fn alu_imm(&mut self, wide: bool, which: u8, rm: Rm, value: i32) {
        if let Ok(short) = i8::try_from(value) {
            self.op(Op::new(wide, 0x83), which, rm);
            self.byte(short as u8);
        } else {
            self.op(Op::new(wide, 0x81), which, rm);
            self.word(value as u32);
        }
    }

    /// lea to, [base + disp] (64 bits).
    pub fn lea(&mut self, to: u8, base: u8, disp: i32) {
        self.op(Op::new(true, 0x8d), to, Rm::At(base, disp));
    }

    /// lea to, the place of a label.
    pub fn lea_label(&mut self, to: u8, label: Label) {
        self.raw(&[0x48 | (to >> 3 & 1) << 2, 0x8d, 0x05 | (to & 7) << 3]);
        self.rel32(label);
    }

    /// lea to, [base + index << scale + disp]; no base is `None`; `index` is not RSP.
    pub fn lea_index(&mut self, to: u8, base: Option<u8>, index: u8, scale: u8, disp: i32) {
        let base_number = base.unwrap_or(host::RBP);
        self.byte(0x48 | (to >> 3 & 1) << 2 | (index >> 3 & 1) << 1 | base_number >> 3 & 1);
        self.byte(0x8d);
        self.byte(if base.is_some() { 0x84 } else { 0x04 } | (to & 7) << 3);
        self.byte(scale << 6 | (index & 7) << 3 | base_number & 7);
        self.word(disp as u32);
    }

    /// jcc to a label.
    pub fn jcc(&mut self, condition: u8, label: Label) {
        self.raw(&[0x0f, 0x80 | condition]);
        self.rel32(label);
    }

    /// jmp to a label.
    pub fn jmp(&mut self, label: Label) {
        self.byte(0xe9);
        self.rel32(label);
    }

    fn rel32(&mut self, label: Label) {
        self.open.push((self.bytes.len(), label));
        self.word(0);
    }

    /// jmp to an offset in the cache.
    pub fn jmp_to(&mut self, target: usize) {
        self.byte(0xe9);
        self.word(0);
        self.fill_rel32(self.bytes.len() - 4, target);
    }

    /// call an offset in the cache.
    pub fn call(&mut self, target: usize) {
        self.byte(0xe8);
        self.word(0);
        self.fill_rel32(self.bytes.len() - 4, target);
    }
}
