//! The instructions of which blocks are made: any form, with its memory operand aimed at the block's data.

use iced_x86::{
    Code, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};

use super::Kept;
use crate::forms::{Family, Form};
use crate::generate;
use crate::random::Random;
use crate::tolerance;

/// Times that an instruction is drawn anew when it does not fit into blocks.
const TRIES: usize = 200;

/// Draws instructions.
pub struct Drawer {
    factory: InstructionInfoFactory,
    families: [Vec<Code>; 3],
}

impl Drawer {
    /// One that draws from `forms`.
    pub fn new(forms: &[Form]) -> Drawer {
        let of = |family: Family| {
            let fitting =
                forms.iter().filter(|form| form.family == family && form.offered && fits(form.code));
            fitting.map(|form| form.code).collect()
        };
        Drawer { factory: InstructionInfoFactory::new(), families: Family::ALL.map(of) }
    }

    /// An instruction that leaves the kept registers alone, most of the time. For the host too, none that manuals leave
    /// open: what follows in the block would depend on it.
    pub fn draw(&mut self, random: &mut Random, kept: &Kept) -> Option<Instruction> {
        (0..TRIES).find_map(|_| {
            let family = random.pick(&[0, 0, 0, 0, 0, 0, 1, 1, 1, 2]);
            let code = random.pick(&self.families[family]);
            let bytes = generate::build(code, random)?;
            let insn = generate::decode(&bytes, generate::NOMINAL_RIP);
            let insn = aim(insn, random, kept)?;
            if kept.settled && !tolerance::is_settled(&insn) {
                return None;
            }
            (random.chance(1) || self.leaves_alone(&insn, kept)).then_some(insn)
        })
    }

    /// Whether `insn` writes none of the registers on which addresses depend, but as string instructions and those of
    /// the stack do.
    fn leaves_alone(&mut self, insn: &Instruction, kept: &Kept) -> bool {
        let is_free = |number: usize| {
            let by_itself = insn.is_string_instruction() && matches!(number, 1 | 6 | 7)
                || insn.is_stack_instruction() && number == 4;
            by_itself || !kept.has(number)
        };
        let writes_stack_pointer = (0..insn.op_count()).any(|index| {
            let register = insn.op_register(index);
            insn.op_kind(index) == OpKind::Register && register.full_register() == Register::RSP
        });
        let info = self.factory.info(insn);
        let fits = info.used_registers().iter().all(|used| {
            let register = used.register();
            let reads = matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess);
            reads || !register.is_gpr() || is_free(register.full_register().number())
        });
        fits && !(writes_stack_pointer && info.op0_access() != OpAccess::Read)
    }
}

/// Forms that are something in a block: branches are made by themselves; some instructions have answers that depend on
/// the processor, or stop nearly every block.
fn fits(code: Code) -> bool {
    use Mnemonic as M;
    let mut insn = Instruction::default();
    insn.set_code(code);
    let is_left_out = matches!(
        insn.mnemonic(),
        M::Popf | M::Popfq | M::Ldmxcsr | M::Vldmxcsr | M::Ud2 | M::Wait | M::Enter | M::Loop | M::Xlatb
    );
    insn.flow_control() == FlowControl::Next && !is_left_out && !tolerance::has_many_fields(&insn)
}

/// Leads the memory operand to the data by a kept register.
fn aim(mut insn: Instruction, random: &mut Random, kept: &Kept) -> Option<Instruction> {
    use Mnemonic as M;
    let has_memory = (0..insn.op_count()).any(|index| insn.op_kind(index) == OpKind::Memory);
    if !random.chance(6) {
        insn.set_segment_prefix(Register::None);
    }
    if !has_memory {
        return Some(insn);
    }
    let wild = random.chance(1);
    let far_bits =
        matches!(insn.mnemonic(), M::Bt | M::Bts | M::Btr | M::Btc) && insn.op1_kind() == OpKind::Register;
    if insn.memory_index().is_vector_register() || far_bits {
        return wild.then_some(insn);
    }
    let is_absolute = insn.memory_base() == Register::None && insn.memory_index() == Register::None;
    if wild || is_absolute || insn.is_ip_rel_memory_operand() {
        return Some(insn);
    }
    let narrow = insn.memory_base().is_gpr32() || insn.memory_index().is_gpr32();
    let first = if narrow { Register::EAX } else { Register::RAX };
    insn.set_memory_base(first + random.pick(&kept.pointers) as u32);
    let indexed = random.chance(30);
    insn.set_memory_index(if indexed { first + kept.index as u32 } else { Register::None });
    insn.set_memory_index_scale(if indexed { random.pick(&[1, 2, 4, 8]) } else { 1 });
    let (displacement, size) = match random.below(10) {
        0..=2 => (0, 0),
        3..=6 => (32 * (random.below(5) as i64 - 2), 1),
        7..=8 => (random.below(96) as i64 - 32, 1),
        _ => (random.below(512) as i64 - 256, if narrow { 4 } else { 8 }),
    };
    insn.set_memory_displacement64(displacement as u64);
    insn.set_memory_displ_size(size);
    Some(insn)
}
