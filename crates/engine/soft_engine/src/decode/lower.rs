//! From iced's description of an instruction to the form that is executed.

use iced_x86::{CodeSize, Instruction, Mnemonic, OpKind, Register};

use super::insn::{Flow, Insn, Operand, OperandKind, prefix};
use crate::cpu::{gpr, seg};
use crate::exec;
use crate::features::Features;

/// Lowers `insn`, decoded at `ip`. What the CPU model does not offer, and what no CPU knows, raises #UD.
pub fn lower(insn: &Instruction, features: &Features) -> Insn {
    let size = operand_size(insn);
    let run = mnemonic(insn, features).and_then(|mnemonic| exec::handler(mnemonic, insn, size));
    let flow = if run.is_none() || exec::ends_block(insn) { Flow::End } else { Flow::Next };
    let mut lowered = Insn {
        run: run.unwrap_or(exec::undefined),
        imm: 0,
        disp: 0,
        ops: [Operand::default(); 4],
        base: gpr::ZERO as u8,
        index: gpr::ZERO as u8,
        scale: 0,
        segment: seg::DS as u8,
        address_size: 8,
        size: size as u8,
        len: insn.len() as u8,
        prefixes: prefixes(insn),
        flow,
    };
    for index in 0..insn.op_count().min(4) {
        lowered.ops[index as usize] = operand(insn, index, &mut lowered.imm);
    }
    lower_memory(insn, &mut lowered);
    if let Some(run) = exec::absolute_move(insn, size) {
        // MOV's 64-bit address does not fit into a displacement; it has no other use for the immediate.
        (lowered.run, lowered.imm) = (run, insn.memory_displacement64());
    }
    lowered
}

/// What `insn` is to a CPU with `features`; `None` is undefined. Some later instructions are older ones with a prefix
/// that CPUs without them ignore.
fn mnemonic(insn: &Instruction, features: &Features) -> Option<Mnemonic> {
    if insn.is_invalid() {
        return None;
    }
    if insn.cpuid_features().iter().all(|feature| features.has(*feature)) {
        return Some(insn.mnemonic());
    }
    match insn.mnemonic() {
        Mnemonic::Tzcnt => Some(Mnemonic::Bsf),
        Mnemonic::Lzcnt => Some(Mnemonic::Bsr),
        // What KVM's guests call their hypervisor with.
        Mnemonic::Vmcall | Mnemonic::Vmmcall => Some(insn.mnemonic()),
        Mnemonic::Wbnoinvd => Some(Mnemonic::Wbinvd),
        // Prefetches of kinds that a CPU does not know do nothing either (APM vol. 3, PREFETCHlevel).
        Mnemonic::Rdsspd | Mnemonic::Rdsspq | Mnemonic::Reservednop | Mnemonic::Prefetchwt1 => {
            Some(Mnemonic::Nop)
        }
        _ => None,
    }
}

/// Size of what the instruction works on: its first operand, or its memory operand where that is implicit.
fn operand_size(insn: &Instruction) -> usize {
    match insn.op0_kind() {
        OpKind::Register if insn.op0_register().is_gpr() => insn.op0_register().size(),
        OpKind::Immediate8 | OpKind::Immediate16 | OpKind::Immediate32 if insn.op_count() > 1 => {
            // OUT imm8, reg
            insn.op1_register().size()
        }
        _ => insn.memory_size().size(),
    }
}

fn prefixes(insn: &Instruction) -> u8 {
    let bit = |on: bool, bit: u8| if on { bit } else { 0 };
    bit(insn.has_lock_prefix(), prefix::LOCK)
        | bit(insn.has_rep_prefix(), prefix::REP)
        | bit(insn.has_repne_prefix(), prefix::REPNE)
        | bit(exec::is_repeated_string(insn), prefix::REPEATED)
}

fn operand(insn: &Instruction, index: u32, imm: &mut u64) -> Operand {
    let kind = insn.op_kind(index);
    let (kind, register) = match kind {
        OpKind::Register => register_operand(insn.op_register(index)),
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => {
            *imm = insn.near_branch_target().wrapping_sub(insn.next_ip());
            (OperandKind::Immediate, 0)
        }
        OpKind::FarBranch16 => {
            *imm = u64::from(insn.far_branch16()) | u64::from(insn.far_branch_selector()) << 32;
            (OperandKind::Immediate, 0)
        }
        OpKind::FarBranch32 => {
            *imm = u64::from(insn.far_branch32()) | u64::from(insn.far_branch_selector()) << 32;
            (OperandKind::Immediate, 0)
        }
        OpKind::Immediate8_2nd => {
            *imm |= u64::from(insn.immediate8_2nd()) << 32;
            (OperandKind::Immediate, 0)
        }
        OpKind::Immediate8
        | OpKind::Immediate16
        | OpKind::Immediate32
        | OpKind::Immediate64
        | OpKind::Immediate8to16
        | OpKind::Immediate8to32
        | OpKind::Immediate8to64
        | OpKind::Immediate32to64 => {
            *imm = insn.immediate(index);
            (OperandKind::Immediate, 0)
        }
        _ => (OperandKind::Memory, 0),
    };
    Operand { kind, register }
}

fn register_operand(register: Register) -> (OperandKind, u8) {
    match register {
        Register::AH => (OperandKind::HighByte, 0),
        Register::CH => (OperandKind::HighByte, 1),
        Register::DH => (OperandKind::HighByte, 2),
        Register::BH => (OperandKind::HighByte, 3),
        // Numbers of byte registers count AH to BH too; those of full registers are what instructions encode.
        other => (OperandKind::Register, other.full_register().number() as u8),
    }
}

fn lower_memory(insn: &Instruction, lowered: &mut Insn) {
    let Some(kind) = (0..insn.op_count()).map(|index| insn.op_kind(index)).find(is_memory) else {
        // Counters of LOOP, JCXZ: iced tells the address size by the mnemonic's code; see exec::branch.
        lowered.address_size = exec::counter_size(insn);
        return;
    };
    lowered.segment = segment_index(memory_segment(insn));
    lowered.address_size = match kind {
        OpKind::MemorySegSI | OpKind::MemorySegDI | OpKind::MemoryESDI => 2,
        OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI => 4,
        OpKind::MemorySegRSI | OpKind::MemorySegRDI | OpKind::MemoryESRDI => 8,
        _ => lower_effective_address(insn, lowered),
    };
}

/// Fills in base, index and displacement; answers the address size.
fn lower_effective_address(insn: &Instruction, lowered: &mut Insn) -> u8 {
    let (base, index) = (insn.memory_base(), insn.memory_index());
    let displacement = insn.memory_displacement64();
    lowered.scale = insn.memory_index_scale().trailing_zeros() as u8;
    if insn.is_ip_rel_memory_operand() {
        lowered.base = gpr::NEXT_RIP as u8;
        lowered.disp = displacement.wrapping_sub(insn.next_ip()) as i32;
        return if base == Register::EIP { 4 } else { 8 };
    }
    if base != Register::None {
        lowered.base = base.number() as u8;
    }
    // A vector register too, of which gathers alone make something.
    if index != Register::None {
        lowered.index = index.number() as u8;
    }
    lowered.disp = displacement as i32;
    let size = match (base, index) {
        (Register::None, index) if !index.is_gpr() => insn.memory_displ_size() as u8,
        (Register::None, index) => index.size() as u8,
        (base, _) => base.size() as u8,
    };
    size.max(2)
}

fn is_memory(kind: &OpKind) -> bool {
    matches!(
        kind,
        OpKind::Memory
            | OpKind::MemorySegSI
            | OpKind::MemorySegESI
            | OpKind::MemorySegRSI
            | OpKind::MemorySegDI
            | OpKind::MemorySegEDI
            | OpKind::MemorySegRDI
            | OpKind::MemoryESDI
            | OpKind::MemoryESEDI
            | OpKind::MemoryESRDI
    )
}

/// The segment of the memory operand. In 64-bit mode only FS and GS can be asked for; other overrides do not even
/// change whether #SS or #GP is raised (SDM vol. 1, 3.3.7.1).
fn memory_segment(insn: &Instruction) -> Register {
    let ignored = matches!(insn.segment_prefix(), Register::ES | Register::CS | Register::SS | Register::DS);
    if insn.code_size() != CodeSize::Code64 || !ignored {
        return insn.memory_segment();
    }
    match insn.memory_base() {
        Register::RSP | Register::RBP | Register::ESP | Register::EBP => Register::SS,
        _ => Register::DS,
    }
}

fn segment_index(register: Register) -> u8 {
    let index = match register {
        Register::ES => seg::ES,
        Register::CS => seg::CS,
        Register::SS => seg::SS,
        Register::FS => seg::FS,
        Register::GS => seg::GS,
        _ => seg::DS,
    };
    index as u8
}
