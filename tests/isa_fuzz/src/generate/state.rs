//! Registers before an instruction, as if nothing were known of it but its types.

use iced_x86::Instruction;
use soft_engine::probe::UserState;

use super::value::Values;

/// RFLAGS: bit 1, and IF, which programs of a real system run with.
const RFLAGS_ALWAYS: u64 = 0x202;
/// CF, PF, AF, ZF, SF, OF.
const STATUS: u64 = 0x8d5;
const DF: u64 = 1 << 10;
const AC: u64 = 1 << 18;
/// MXCSR as after reset: everything masked.
const MXCSR_DEFAULT: u32 = 0x1f80;
/// x87 control word as after FNINIT.
const CONTROL_DEFAULT: u16 = 0x37f;
/// Exception flags, and masks, of the x87 unit.
const X87_EXCEPTIONS: u16 = 0x3f;
/// Exception summary and busy.
const X87_PENDING: u16 = 0x8080;
/// C0 to C3.
const X87_CONDITIONS: u16 = 0x4700;

/// A state for `insn`.
pub fn draw(values: &mut Values<'_>, insn: &Instruction) -> UserState {
    let gpr = std::array::from_fn(|_| values.integer());
    let random = values.random();
    let mut rflags = RFLAGS_ALWAYS | random.word() & STATUS;
    if insn.is_string_instruction() && random.chance(30) || random.chance(2) {
        rflags |= DF;
    }
    if random.chance(3) {
        rflags |= AC;
    }
    let fs_base = segment_base(values);
    let gs_base = segment_base(values);
    let ymm_high = std::array::from_fn(|_| values.bytes());
    UserState { gpr, rip: 0, rflags, fs_base, gs_base, fxsave: fxsave(values), ymm_high }
}

fn segment_base(values: &mut Values<'_>) -> u64 {
    let random = values.random();
    match random.below(4) {
        0 => 0,
        1 => random.below(0x1000_0000),
        2 => random.below(1 << 47),
        _ => u64::MAX << random.below(40),
    }
}

/// An area as FXSAVE64 stores it (SDM vol. 1, table 10-2).
pub fn fxsave(values: &mut Values<'_>) -> [u8; 512] {
    let mut area = [0; 512];
    let control = x87_control(values);
    let status = x87_status(values, control);
    area[..2].copy_from_slice(&control.to_le_bytes());
    area[2..4].copy_from_slice(&status.to_le_bytes());
    area[4] = match values.random().below(20) {
        0..=12 => 0xff,
        13 => 0,
        _ => values.random().word() as u8,
    };
    area[24..28].copy_from_slice(&mxcsr(values).to_le_bytes());
    let numbers = values.random().chance(75);
    for register in area[32..160].chunks_exact_mut(16) {
        let value = if numbers { values.extended() } else { media(values) };
        register[..10].copy_from_slice(&value);
    }
    for register in area[160..416].chunks_exact_mut(16) {
        register.copy_from_slice(&values.bytes::<16>());
    }
    area
}

/// An XSAVE area with x87, SSE and AVX (SDM vol. 1, 13.4); seldom with a header that makes no sense.
pub fn xsave(values: &mut Values<'_>) -> [u8; 832] {
    const COMPACTED: u64 = 1 << 63;
    /// Components that neither processor has enabled.
    const DISABLED: [u64; 6] = [3, 4, 8, 10, 40, 62];
    let mut area = [0; 832];
    area[..512].copy_from_slice(&fxsave(values));
    if values.random().chance(3) {
        area[26] = 1;
    }
    let mut present = values.random().below(8);
    let mut layout = 0;
    if values.random().chance(30) {
        layout = COMPACTED | present | values.random().below(8);
    }
    match values.random().below(30) {
        0 => present |= 1 << values.random().pick(&DISABLED),
        1 => layout |= 1 << values.random().pick(&DISABLED),
        // Behind byte 24 makers differ for compacted areas.
        2 => area[528 + values.random().below(if layout == 0 { 48 } else { 8 }) as usize] = 1,
        _ => {}
    }
    area[512..520].copy_from_slice(&present.to_le_bytes());
    area[520..528].copy_from_slice(&layout.to_le_bytes());
    area[576..].copy_from_slice(&values.bytes::<256>());
    area
}

/// What an MMX instruction leaves in an x87 register, or a value that was loaded as an integer.
fn media(values: &mut Values<'_>) -> [u8; 10] {
    let mut bytes = [0xff; 10];
    bytes[..8].copy_from_slice(&values.word().to_le_bytes());
    bytes
}

/// A control word: precision control 1 is reserved.
pub fn x87_control(values: &mut Values<'_>) -> u16 {
    let random = values.random();
    let rounding = (random.below(4) as u16) << 10;
    let precision = random.pick(&[0u16, 2, 3, 3]) << 8;
    match random.below(100) {
        0..=49 => CONTROL_DEFAULT,
        50..=84 => 0x7f | rounding | precision,
        _ => 0x40 | rounding | precision | random.word() as u16 & X87_EXCEPTIONS,
    }
}

fn x87_status(values: &mut Values<'_>, control: u16) -> u16 {
    let random = values.random();
    let top = if random.chance(50) { 0 } else { random.below(8) as u16 } << 11;
    let mut flags = if random.chance(25) { random.word() as u16 & X87_EXCEPTIONS } else { 0 };
    if random.chance(70) {
        // Nothing pending.
        flags &= control;
    }
    let pending = if flags & !control & X87_EXCEPTIONS != 0 { X87_PENDING } else { 0 };
    top | flags | pending | random.word() as u16 & X87_CONDITIONS
}

/// MXCSR without reserved bits.
pub fn mxcsr(values: &mut Values<'_>) -> u32 {
    const MODES: u32 = 0xe040;
    const FLAGS: u32 = 0x3f;
    let random = values.random();
    match random.below(100) {
        0..=49 => MXCSR_DEFAULT,
        50..=79 => MXCSR_DEFAULT | random.word() as u32 & MODES,
        80..=89 => MXCSR_DEFAULT | random.word() as u32 & (MODES | FLAGS),
        _ => random.word() as u32 & 0xffff,
    }
}
