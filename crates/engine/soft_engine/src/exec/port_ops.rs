//! IN and OUT (SDM vol. 2).

use iced_x86::{Mnemonic, OpKind};

use super::Form;
use crate::cpu::{Core, Exec, Word, gpr};
use crate::decode::insn::{Handler, Insn, OperandKind};

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    let accumulator = if form.mnemonic == Mnemonic::In { 0 } else { 1 };
    if !matches!(form.mnemonic, Mnemonic::In | Mnemonic::Out)
        || form.insn.op_kind(accumulator) != OpKind::Register
    {
        return None;
    }
    let size = form.insn.op_register(accumulator).size();
    Some(match (form.mnemonic, size) {
        (Mnemonic::In, 1) => read::<u8>,
        (Mnemonic::In, 2) => read::<u16>,
        (Mnemonic::In, _) => read::<u32>,
        (_, 1) => write::<u8>,
        (_, 2) => write::<u16>,
        (_, _) => write::<u32>,
    })
}

/// The port: an immediate byte or DX.
fn port(core: &Core<'_>, insn: &Insn, operand: usize) -> u16 {
    match insn.ops[operand].kind {
        OperandKind::Immediate => insn.imm as u8 as u16,
        _ => core.gpr[gpr::RDX] as u16,
    }
}

fn read<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let port = port(core, insn, 1);
    core.check_port(port, T::BYTES)?;
    let value = core.port_read(port, T::BYTES);
    core.set_reg(gpr::RAX, T::from_u64(value.into()));
    Ok(())
}

fn write<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let port = port(core, insn, 0);
    core.check_port(port, T::BYTES)?;
    let value: T = core.get_reg(gpr::RAX);
    core.port_write(port, T::BYTES, value.to_u64() as u32);
    Ok(())
}
