//! Accesses of a unit that share one look into the software TLB.
//!
//! Accesses through the same registers at different displacements (a stack frame, a structure, an unrolled loop) lie
//! close together. The first of them, the leader, checks the whole window that they make and keeps the host's address
//! of its start in a word; the followers need nothing else, cannot fault, and leave the host's flags alone. Where a
//! window crosses a page's end, or the leader's access does not hit the TLB for good, the leader goes on in the plain
//! variant of the code, whose accesses check for themselves.
//!
//! What a leader has found holds to the end of the unit: only the run loop takes pages away, and what the interpreter
//! does in mid-unit ends all windows.

use iced_x86::{Mnemonic, OpKind, Register};

use super::plan::{Check, Memory, Plan, Template};
use super::system::System;
use super::words::WINDOWS;
use crate::cpu::seg;

/// Bytes of a window at most: the larger, the more of them cross a page's end.
const WINDOW_BYTES: i64 = 1024;
/// Displacements beyond this are left alone.
const FAR: i64 = 1 << 30;

/// By what an address is made, apart from the displacement.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    base: Option<usize>,
    index: Option<usize>,
    scale: u32,
    segment: usize,
    relative: bool,
}

/// An access to memory.
struct Access {
    key: Key,
    disp: i64,
    size: i64,
    write: bool,
    aligned: bool,
}

/// A window in the making; displacements are as the leader's registers were.
struct Window {
    key: Key,
    /// What was added to the registers since.
    shift: i64,
    low: i64,
    high: i64,
    write: bool,
    leader: (usize, i64),
    followers: Vec<(usize, i64)>,
    /// Where an access was found to be aligned to so many bytes.
    aligned: Option<(i64, i64)>,
}

/// Finds the windows of a unit.
#[derive(Default)]
pub struct Finder {
    open: Vec<Window>,
    used: u8,
}

impl Finder {
    /// Decides for each access how it is checked.
    pub fn find(&mut self, plans: &mut [Plan]) {
        self.used = 0;
        for index in 0..plans.len() {
            let plan = plans[index];
            if let Some(access) = access(&plan) {
                self.place(index, &access, plans);
            }
            self.follow_registers(&plan, plans);
        }
        self.close(plans, |_| true);
    }

    /// Puts an access into its window, or begins one.
    fn place(&mut self, index: usize, access: &Access, plans: &mut [Plan]) {
        if let Some(window) = self.open.iter_mut().find(|window| window.key == access.key)
            && window.take(index, access)
        {
            return;
        }
        self.close(plans, |window| window.key == access.key);
        self.open.push(Window::led_by(index, access));
    }

    /// What `plan` does to the registers that windows stand on.
    fn follow_registers(&mut self, plan: &Plan, plans: &mut [Plan]) {
        if !keeps_windows(plan.template) {
            return self.close(plans, |_| true);
        }
        let addition = addition(plan);
        if let Some((register, by)) = addition {
            for window in &mut self.open {
                window.shift += window.key.weight(register) * by;
            }
        }
        let written = written(plan, addition.is_some());
        self.close(plans, |window| written.iter().flatten().any(|register| window.key.uses(*register)));
    }

    /// Settles the windows that `which` names.
    fn close(&mut self, plans: &mut [Plan], which: impl Fn(&Window) -> bool) {
        for window in self.open.extract_if(.., |window| which(window)) {
            if window.followers.is_empty() || usize::from(self.used) == WINDOWS {
                continue;
            }
            let slot = self.used;
            self.used += 1;
            let at = |disp: i64| (disp - window.low) as i32;
            let (leader, disp) = window.leader;
            plans[leader].check =
                Check::Lead { slot, own: at(disp), span: (window.high - window.low) as i32 };
            for (follower, disp) in window.followers {
                plans[follower].check = Check::Follow { slot, own: at(disp) };
            }
        }
    }
}

impl Window {
    fn led_by(index: usize, access: &Access) -> Window {
        let Access { key, disp, size, write, aligned } = *access;
        Window {
            key,
            shift: 0,
            low: disp,
            high: disp + size,
            write,
            leader: (index, disp),
            followers: Vec::new(),
            aligned: aligned.then_some((disp, size)),
        }
    }

    /// Takes an access in, if the leader's check will do for it.
    fn take(&mut self, index: usize, access: &Access) -> bool {
        let disp = access.disp + self.shift;
        let low = self.low.min(disp);
        let high = self.high.max(disp + access.size);
        let is_aligned = !access.aligned
            || self.aligned.is_some_and(|(at, to)| to >= access.size && (disp - at) % access.size == 0);
        let fits = high - low <= WINDOW_BYTES && disp.abs() < FAR;
        if !fits || !is_aligned || access.write && !self.write {
            return false;
        }
        (self.low, self.high) = (low, high);
        self.followers.push((index, disp));
        true
    }
}

impl Key {
    /// How often `register` is in the address.
    fn weight(&self, register: usize) -> i64 {
        let base = i64::from(self.base == Some(register));
        let index = if self.index == Some(register) { i64::from(self.scale) } else { 0 };
        base + index
    }

    fn uses(&self, register: usize) -> bool {
        self.base == Some(register) || self.index == Some(register)
    }
}

/// Whether what a leader has found still holds after such an instruction, which then has but registers to change.
fn keeps_windows(template: Template) -> bool {
    match template {
        Template::Interpreted | Template::Crossing | Template::String { .. } => false,
        Template::System(system) => !matches!(
            system,
            System::SwapGs | System::WriteBase | System::AccessControl | System::PopStackPointer
        ),
        Template::Mapped
        | Template::MappedVex
        | Template::Vector
        | Template::VectorVex
        | Template::X87
        | Template::ShiftByCl
        | Template::Scan
        | Template::AccumulatorImmediate
        | Template::MovImmediate
        | Template::Lea
        | Template::Push
        | Template::Pop
        | Template::Leave
        | Template::Call
        | Template::CallIndirect
        | Template::Jump
        | Template::JumpIndirect
        | Template::JumpIf
        | Template::Return
        | Template::Widen
        | Template::Multiply
        | Template::Divide
        | Template::CompareExchange
        | Template::ExchangeRegisters
        | Template::ByteSwap
        | Template::ZeroExtendHighByte
        | Template::Nothing => true,
    }
}

/// The one access of an instruction, if it has just one.
fn access(plan: &Plan) -> Option<Access> {
    let stack = |register: usize, disp: i64, write: bool| {
        let key = Key { base: Some(register), index: None, scale: 0, segment: seg::SS, relative: false };
        Some(Access { key, disp, size: 8, write, aligned: false })
    };
    match plan.template {
        Template::Interpreted | Template::Crossing | Template::String { .. } | Template::CallIndirect => None,
        Template::System(System::HighByte | System::ReadSegment) => operand(plan),
        Template::System(System::PushFlags) => stack(4, -8, true),
        Template::System(_) => None,
        Template::Push | Template::Call => stack(4, -8, true),
        Template::Pop | Template::Return => stack(4, 0, false),
        Template::Leave => stack(5, 0, false),
        _ => operand(plan),
    }
}

/// Its memory operand.
fn operand(plan: &Plan) -> Option<Access> {
    let Memory { size, write, aligned, locked } = plan.memory?;
    if locked {
        // It looks more closely than a leader does.
        return None;
    }
    let insn = &plan.insn;
    let number = |register: Register| (register != Register::None).then(|| register.number());
    let relative = insn.is_ip_rel_memory_operand();
    let index = number(insn.memory_index());
    let key = Key {
        base: if relative { None } else { number(insn.memory_base()) },
        index,
        scale: if index.is_some() { insn.memory_index_scale() } else { 0 },
        segment: plan.segment(),
        relative,
    };
    let disp = i64::from(insn.memory_displacement64() as i32);
    (disp.abs() < FAR).then_some(Access { key, disp, size: size.into(), write, aligned })
}

/// The register to which `plan` adds a constant, in all 64 bits.
fn addition(plan: &Plan) -> Option<(usize, i64)> {
    let insn = &plan.insn;
    match plan.template {
        Template::Push | Template::Call => return Some((4, -8)),
        Template::System(System::PushFlags | System::PushMemory) => return Some((4, -8)),
        Template::Pop => return Some((4, 8)),
        _ => {}
    }
    let register = (insn.op0_kind() == OpKind::Register).then(|| insn.op0_register())?;
    if !register.is_gpr64() {
        return None;
    }
    let immediate = || {
        let is_immediate = !matches!(insn.op1_kind(), OpKind::Register | OpKind::Memory);
        is_immediate.then(|| insn.immediate(1) as i64).filter(|value| value.abs() < FAR)
    };
    let by = match insn.mnemonic() {
        Mnemonic::Add => immediate()?,
        Mnemonic::Sub => -immediate()?,
        Mnemonic::Inc => 1,
        Mnemonic::Dec => -1,
        Mnemonic::Lea if insn.memory_base() == register && insn.memory_index() == Register::None => {
            Some(i64::from(insn.memory_displacement64() as i32)).filter(|value| value.abs() < FAR)?
        }
        _ => return None,
    };
    Some((register.number(), by))
}

/// The general-purpose registers that `plan` writes, apart from what it adds to one.
fn written(plan: &Plan, adds: bool) -> [Option<usize>; 4] {
    let insn = &plan.insn;
    let operand = |index: u32, is_written: bool| {
        let is_register = index < insn.op_count() && insn.op_kind(index) == OpKind::Register;
        let register = if is_written && is_register { insn.op_register(index) } else { Register::None };
        register.is_gpr().then(|| register.full_register().number())
    };
    let adds_to_first = adds && plan.template != Template::Pop;
    let first = operand(0, plan.writes_first && !adds_to_first);
    let second = operand(1, plan.writes_second);
    let [third, fourth] = match plan.template {
        Template::Multiply | Template::Divide | Template::Widen => [Some(0), Some(2)],
        Template::CompareExchange => [Some(0), None],
        Template::Return => [Some(4), None],
        Template::Leave => [Some(4), Some(5)],
        _ => [None, None],
    };
    [first, second, third, fourth]
}

// Where there are no templates, no accesses share a check.
#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use iced_x86::{Decoder, DecoderOptions, InstructionInfoFactory};

    use super::*;
    use crate::features::{self, Features};

    /// Plans `code` and answers the checks of its accesses.
    fn checks(code: &[u8]) -> Vec<Check> {
        let features = Features::of(&features::offered());
        let mut info = InstructionInfoFactory::new();
        let mut plans: Vec<Plan> = Decoder::with_ip(64, code, 0, DecoderOptions::NONE)
            .iter()
            .map(|insn| Plan::of(&insn, &features, &mut info))
            .collect();
        Finder::default().find(&mut plans);
        plans.iter().filter(|plan| access(plan).is_some()).map(|plan| plan.check).collect()
    }

    #[test]
    fn pushes_share_a_check_and_know_how_far_the_stack_has_moved() {
        // push rbx; push rbp; sub rsp, 24; mov [rsp + 8], rax
        let code = [0x53, 0x55, 0x48, 0x83, 0xec, 24, 0x48, 0x89, 0x44, 0x24, 8];
        let lead = Check::Lead { slot: 0, own: 24, span: 32 };
        let follow = |own| Check::Follow { slot: 0, own };
        assert_eq!(checks(&code), [lead, follow(16), follow(0)]);
    }

    #[test]
    fn pops_share_a_check_unless_they_change_the_pointer() {
        // pop rbx; pop rbp; ret
        let lead = Check::Lead { slot: 0, own: 0, span: 24 };
        let follow = |own| Check::Follow { slot: 0, own };
        assert_eq!(checks(&[0x5b, 0x5d, 0xc3]), [lead, follow(8), follow(16)]);
        // mov rax, [rbx]; pop rbx; mov rcx, [rbx]
        assert_eq!(checks(&[0x48, 0x8b, 0x03, 0x5b, 0x48, 0x8b, 0x0b]), [Check::Own; 3]);
    }

    #[test]
    fn a_load_does_not_lead_a_store() {
        // mov rax, [rdi]; mov [rdi + 8], rcx; mov rdx, [rdi + 16]
        let code = [0x48, 0x8b, 0x07, 0x48, 0x89, 0x4f, 8, 0x48, 0x8b, 0x57, 16];
        let lead = Check::Lead { slot: 0, own: 0, span: 16 };
        assert_eq!(checks(&code), [Check::Own, lead, Check::Follow { slot: 0, own: 8 }]);
    }

    #[test]
    fn a_changed_register_ends_the_window() {
        // mov rax, [rdi]; mov rdi, rax; mov rcx, [rdi]
        let code = [0x48, 0x8b, 0x07, 0x48, 0x89, 0xc7, 0x48, 0x8b, 0x0f];
        assert_eq!(checks(&code), [Check::Own, Check::Own]);
        // mov rdi, [rdi]; mov rcx, [rdi]
        assert_eq!(checks(&[0x48, 0x8b, 0x3f, 0x48, 0x8b, 0x0f]), [Check::Own, Check::Own]);
        // mov rax, [rdi]; cpuid; mov rcx, [rdi]
        assert_eq!(checks(&[0x48, 0x8b, 0x07, 0x0f, 0xa2, 0x48, 0x8b, 0x0f]), [Check::Own, Check::Own]);
    }

    #[test]
    fn an_index_counts_by_its_scale() {
        // mov eax, [rdi + rcx*4]; inc rcx; mov eax, [rdi + rcx*4]
        let code = [0x8b, 0x04, 0x8f, 0x48, 0xff, 0xc1, 0x8b, 0x04, 0x8f];
        let expected = [Check::Lead { slot: 0, own: 0, span: 8 }, Check::Follow { slot: 0, own: 4 }];
        assert_eq!(checks(&code), expected);
    }

    #[test]
    fn alignment_has_to_be_known() {
        // movups xmm0, [rdi]; movaps xmm1, [rdi + 16]; movaps xmm2, [rdi + 32]; movaps xmm3, [rdi + 40]
        let code = [0x0f, 0x10, 0x07, 0x0f, 0x28, 0x4f, 16, 0x0f, 0x28, 0x57, 32, 0x0f, 0x28, 0x5f, 40];
        let lead = Check::Lead { slot: 0, own: 0, span: 32 };
        assert_eq!(checks(&code), [Check::Own, lead, Check::Follow { slot: 0, own: 16 }, Check::Own]);
    }
}
