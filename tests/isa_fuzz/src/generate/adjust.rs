//! What single instructions need to do more than fail: small counts, divisors that divide, images that make sense.

use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind, Register};

use super::memory::Aim;
use super::state;
use super::value::Values;
use crate::case::Case;
use crate::tolerance::is_extended_state;

const RAX: usize = 0;
const RCX: usize = 1;
const RDX: usize = 2;
const RBX: usize = 3;
/// RFLAGS.TF, which must not be popped.
const TF: u8 = 1;

/// Before operands in memory are placed.
pub fn registers(case: &mut Case, values: &mut Values<'_>, insn: &Instruction) {
    use Mnemonic as M;
    let index = insn.memory_index();
    if index.is_xmm() || index.is_ymm() {
        gather_indices(case, values, insn);
    }
    let gpr = &mut case.state.gpr;
    if insn.is_string_instruction() && (insn.has_rep_prefix() || insn.has_repne_prefix()) {
        let count = values.random().below(12);
        let high = if counts_in_ecx(insn) { values.random().word() << 32 } else { 0 };
        gpr[RCX] = high | if values.random().chance(3) { 64 } else { count };
    }
    match insn.mnemonic() {
        M::Bt | M::Bts | M::Btr | M::Btc
            if insn.op0_kind() == OpKind::Memory && insn.op1_kind() == OpKind::Register =>
        {
            let range = if values.random().chance(10) { 1 << 34 } else { 2048 };
            let offset = values.random().below(range) as i64 - range as i64 / 2;
            gpr[insn.op1_register().full_register().number()] = offset as u64;
        }
        M::Div | M::Idiv if values.random().chance(70) => dividend(gpr, values, insn),
        M::Loop | M::Loope | M::Loopne | M::Jrcxz | M::Jecxz => {
            let high = values.random().word() << 32;
            gpr[RCX] = values.random().below(3) | if values.random().chance(50) { high } else { 0 };
        }
        M::Pcmpestri | M::Pcmpestrm | M::Pcmpestri64 | M::Pcmpestrm64 | M::Vpcmpestri | M::Vpcmpestrm => {
            for register in [RAX, RDX] {
                if values.random().chance(80) {
                    gpr[register] = (values.random().below(40) as i64 - 20) as u64;
                }
            }
        }
        // Components that both processors have enabled: x87, SSE, AVX.
        mnemonic if is_extended_state(mnemonic) => {
            (gpr[RAX], gpr[RDX]) =
                (gpr[RAX] & !0xffff_ffff | values.random().below(8), gpr[RDX] & !0xffff_ffff);
        }
        M::Wrfsbase | M::Wrgsbase if values.random().chance(70) => {
            let register = insn.op0_register().full_register().number();
            gpr[register] = values.code_address();
        }
        _ => {}
    }
    let branches = matches!(insn.flow_control(), FlowControl::IndirectBranch | FlowControl::IndirectCall);
    if branches && insn.op0_kind() == OpKind::Register {
        gpr[insn.op0_register().full_register().number()] = values.code_address();
    }
}

/// Indices that lead near the operand, most of them.
fn gather_indices(case: &mut Case, values: &mut Values<'_>, insn: &Instruction) {
    use Mnemonic as M;
    let is_narrow = matches!(insn.mnemonic(), M::Vpgatherdd | M::Vpgatherdq | M::Vgatherdps | M::Vgatherdpd);
    let len = if is_narrow { 4 } else { 8 };
    let number = insn.memory_index().number();
    let mut index = [0; 32];
    for element in index.chunks_exact_mut(len) {
        let value = if values.random().chance(4) {
            values.random().word() as i64
        } else {
            values.random().below(256) as i64 - 64
        };
        element.copy_from_slice(&value.to_le_bytes()[..len]);
    }
    case.state.fxsave[160 + 16 * number..176 + 16 * number].copy_from_slice(&index[..16]);
    case.state.ymm_high[number].copy_from_slice(&index[16..]);
}

fn counts_in_ecx(insn: &Instruction) -> bool {
    let is_small = |kind| matches!(kind, OpKind::MemorySegESI | OpKind::MemoryESEDI | OpKind::MemorySegEDI);
    (0..insn.op_count()).any(|index| is_small(insn.op_kind(index)))
}

/// A high half of the dividend that is near the divisor, or the sign of the low half.
fn dividend(gpr: &mut [u64; 16], values: &mut Values<'_>, insn: &Instruction) {
    let high = match values.random().below(4) {
        0 => 0,
        1 if insn.mnemonic() == Mnemonic::Idiv => (gpr[RAX] as i64 >> 63) as u64,
        2 if insn.op0_kind() == OpKind::Register => {
            gpr[insn.op0_register().full_register().number()].wrapping_sub(values.random().below(3)) / 2
        }
        _ => values.random().below(256),
    };
    gpr[RDX] = high;
    // The dividend of a byte division is AX.
    let is_byte = insn.memory_size().info().size() == 1 || insn.op0_register().size() == 1;
    if is_byte {
        gpr[RAX] = gpr[RAX] & 0xff | (high & 0xff) << 8;
    }
}

/// Whether a case shows something: a branch to itself looks as if it had not been executed, POPF must not set TF, and
/// about some addresses makers differ.
pub fn is_telling(case: &Case, insn: &Instruction, aim: &mut Aim) -> bool {
    use Mnemonic as M;
    if insn.near_branch_target() == case.state.rip || aim.is_disputed(case, insn) {
        return false;
    }
    match insn.mnemonic() {
        M::Popf | M::Popfq => aim.look::<2>(case, insn).is_none_or(|bytes| bytes[1] & TF == 0),
        // EDX:EAX chooses components; as an address it would choose some that only the host has. AMD's processors lose
        // the segment's base between the pages of an area with a 32-bit address.
        mnemonic if is_extended_state(mnemonic) => {
            let used = [insn.memory_base(), insn.memory_index()].map(Register::full_register);
            let based = matches!(insn.memory_segment(), Register::FS | Register::GS);
            let parts = [insn.memory_base(), insn.memory_index()];
            let bare = parts == [Register::None; 2] && insn.memory_displ_size() == 4;
            let short = bare || parts.iter().any(|part| part.is_gpr32());
            !(used.contains(&Register::RAX) || used.contains(&Register::RDX) || based && short)
        }
        // A bit offset that is an address too leads far beyond what is canonical.
        M::Bt | M::Bts | M::Btr | M::Btc if insn.op0_kind() == OpKind::Memory => {
            let used = [insn.memory_base(), insn.memory_index()].map(Register::full_register);
            let offset = insn.op1_register().full_register();
            // Into FS or GS it may lead where the offset is not canonical and the sum is.
            let based = matches!(insn.memory_segment(), Register::FS | Register::GS);
            offset == Register::None || !(used.contains(&offset) || based && aim.is_near_edge(case, insn))
        }
        _ => true,
    }
}

/// After operands in memory are placed.
pub fn memory(case: &mut Case, values: &mut Values<'_>, insn: &Instruction, aim: &mut Aim) {
    use Mnemonic as M;
    match insn.mnemonic() {
        M::Cmpxchg if values.random().chance(50) => match insn.op0_kind() {
            OpKind::Register => {
                case.state.gpr[RAX] = case.state.gpr[insn.op0_register().full_register().number()];
            }
            _ => {
                if let Some(bytes) = aim.look::<8>(case, insn) {
                    set_accumulator(case, insn, u64::from_le_bytes(bytes));
                }
            }
        },
        M::Cmpxchg8b | M::Cmpxchg16b if values.random().chance(50) => compare_pair(case, insn, aim),
        M::Popf | M::Popfq => {
            if let Some(mut bytes) = aim.look::<8>(case, insn) {
                bytes[1] &= !TF;
                aim.fill(case, insn, &bytes);
            }
        }
        M::Ldmxcsr | M::Vldmxcsr => {
            let reserved = if values.random().chance(5) { 1 << 18 } else { 0 };
            let image = state::mxcsr(values) | reserved;
            aim.fill(case, insn, &image.to_le_bytes());
        }
        M::Fxrstor | M::Fxrstor64 => {
            let image = state::fxsave(values);
            aim.fill(case, insn, &image);
        }
        M::Xrstor | M::Xrstor64 => {
            let image = state::xsave(values);
            aim.fill(case, insn, &image);
        }
        M::Fldcw => {
            let control = state::x87_control(values);
            aim.fill(case, insn, &control.to_le_bytes());
        }
        M::Fldenv | M::Frstor if values.random().chance(80) => environment(case, values, insn, aim),
        M::Scasb | M::Cmpsb | M::Scasw | M::Cmpsw | M::Scasd | M::Cmpsd | M::Scasq | M::Cmpsq
            if values.random().chance(60) =>
        {
            same_bytes(case, values, insn);
        }
        _ => {}
    }
    let branches = matches!(
        insn.flow_control(),
        FlowControl::IndirectBranch | FlowControl::IndirectCall | FlowControl::Return
    );
    if branches && insn.op0_kind() != OpKind::Register {
        aim.fill(case, insn, &values.code_address().to_le_bytes());
    }
}

fn set_accumulator(case: &mut Case, insn: &Instruction, value: u64) {
    let size = insn.memory_size().info().size();
    let mask = if size >= 8 { u64::MAX } else { (1 << (8 * size)) - 1 };
    let rax = &mut case.state.gpr[RAX];
    if insn.memory_base().full_register().number() != RAX
        && insn.memory_index().full_register().number() != RAX
    {
        *rax = *rax & !mask | value & mask;
    }
}

fn compare_pair(case: &mut Case, insn: &Instruction, aim: &mut Aim) {
    let Some(bytes) = aim.look::<16>(case, insn) else { return };
    let used = |register: usize| {
        let is = |other: Register| other.is_gpr() && other.full_register().number() == register;
        is(insn.memory_base()) || is(insn.memory_index())
    };
    if used(RAX) || used(RDX) || used(RBX) {
        return;
    }
    let half = |at: usize, len: usize| {
        bytes[at..at + len].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
    };
    let len = if insn.mnemonic() == Mnemonic::Cmpxchg8b { 4 } else { 8 };
    case.state.gpr[RAX] = half(0, len);
    case.state.gpr[RDX] = half(len, len);
}

/// An x87 environment in its 32-bit or 16-bit form (SDM vol. 1, 8.1.10).
fn environment(case: &mut Case, values: &mut Values<'_>, insn: &Instruction, aim: &mut Aim) {
    let control = state::x87_control(values);
    let status = values.random().word() as u16 & 0x7f00;
    let tags = if values.random().chance(50) { 0 } else { values.random().word() as u16 };
    let unit = if matches!(insn.memory_size().info().size(), 28 | 108) { 4 } else { 2 };
    let mut image = [0; 12];
    for (index, word) in [control, status, tags].into_iter().enumerate() {
        image[index * unit..index * unit + 2].copy_from_slice(&word.to_le_bytes());
    }
    aim.fill(case, insn, &image[..3 * unit]);
}

/// Makes the lines that a comparison walks through alike.
fn same_bytes(case: &mut Case, values: &mut Values<'_>, insn: &Instruction) {
    let byte = values.random().word() as u8;
    let count = usize::from(case.line_count);
    for line in &mut case.lines[..count] {
        line.bytes.fill(byte);
        if values.random().chance(50) {
            line.bytes[values.random().below(64) as usize] ^= 1;
        }
    }
    if insn.op0_kind() == OpKind::Register {
        case.state.gpr[RAX] = u64::from_le_bytes([byte; 8]);
    }
}
