//! Programs that are stepped through: pieces of code, each with the places at which #DB has to come.

use engine_suite::layout::{CODE2, DATA, STACK};
use engine_suite::modes::Mode;
use engine_suite::outcome::End;
use engine_suite::run::run_from;
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
    Register,
};
use soft_engine::SoftEngine;

use crate::handler::{Enter, PLAIN, SERVICE};

/// Random instructions of a program.
const RANDOM: usize = 40;
/// Longest instruction in bytes.
const INSN_MAX: usize = 15;

/// A program and the RIPs at which traps come, in order.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pub code: Vec<u8>,
    pub steps: Vec<u64>,
    /// Code of the system's that it calls.
    pub service: Vec<u8>,
}

/// xorshift64*: the same programs on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

impl Program {
    /// Random instructions, each of which goes on behind itself, and after them pieces that branch, repeat, call, halt
    /// and cast shadows. `start` is the RIP of the program's start.
    pub fn new(mode: Mode, seed: u64, enter: Enter, start: u64) -> Program {
        let mut program = Program::default();
        for insn in random_insns(mode, seed) {
            program.code.extend(insn);
            program.steps.push(start + program.code.len() as u64);
        }
        for (bytes, steps) in pieces(mode) {
            let at = start + program.code.len() as u64;
            program.code.extend(bytes);
            program.steps.extend(steps.iter().map(|step| at + step));
        }
        program.call_system(mode, enter, start);
        program
    }

    /// SYSCALL or SYSENTER, where the handler does not use them.
    fn call_system(&mut self, mode: Mode, enter: Enter, start: u64) {
        let at = start + self.code.len() as u64;
        let stack = (STACK as u32).to_le_bytes();
        let to = |register: u8, value: [u8; 4]| [&[0xb8 | register][..], &value].concat();
        let back = ((at + 2) as u32).to_le_bytes();
        match mode {
            Mode::Long(3) if enter != Enter::Syscall => {
                // TF is off inside, and SYSRET's own trap comes behind SYSCALL.
                self.code.extend([0x0f, 0x05, 0x90]);
                self.service = vec![0x48, 0x0f, 0x07];
                self.steps.extend([at + 2, at + 3]);
            }
            Mode::Compatibility | Mode::Protected(3) if enter != Enter::Sysenter => {
                // TF stays on inside: mov edx, the place behind SYSENTER; mov ecx, a stack; sysexit.
                self.code.extend([0x0f, 0x34, 0x90]);
                self.service = [&to(2, back)[..], &to(1, stack), &[0x0f, 0x35]].concat();
                self.steps.extend([SERVICE, SERVICE + 5, SERVICE + 10, at + 2, at + 3]);
            }
            _ => {}
        }
    }
}

/// Code, and where traps come, from its start.
type Piece = (Vec<u8>, Vec<u64>);

fn pieces(mode: Mode) -> Vec<Piece> {
    // Bytes of a displacement or immediate of the operand size, and beyond the least of 2.
    let wide = if mode.bits() == 16 { 2 } else { 4 };
    let more = wide as u64 - 2;
    let word = |value: u64| value.to_le_bytes()[..wide].to_vec();
    let call = |distance: u64| [vec![0xe8], word(distance)].concat();
    let mut pieces: Vec<Piece> = vec![
        (vec![0x90], vec![1]),
        // jmp over a nop; xor eax, eax; jnz, not taken; jz, taken
        (vec![0xeb, 1, 0x90], vec![3]),
        (vec![0x31, 0xc0, 0x75, 1, 0x74, 1, 0x90], vec![2, 4, 7]),
        // call over a nop; pop eax
        ([call(1), vec![0x90, 0x58]].concat(), vec![4 + more, 5 + more]),
        // mov ecx, 2; loop to itself
        ([vec![0xb9], word(2), vec![0xe2, 0xfe]].concat(), vec![3 + more, 3 + more, 5 + more]),
        // mov edi, DATA + 0x400; mov ecx, 3; rep stosb
        (
            [vec![0xbf], word(DATA + 0x400), vec![0xb9], word(3), vec![0xf3, 0xaa]].concat(),
            vec![3 + more, 6 + 2 * more, 6 + 2 * more, 6 + 2 * more, 8 + 2 * more],
        ),
        // pushf; popf, with TF as it is
        (vec![0x9c, 0x9d], vec![1, 2]),
        // mov eax, ss; mov ss, eax, which is not stepped; nop
        (vec![0x8c, 0xd0, 0x8e, 0xd0, 0x90], vec![2, 5]),
        // int, int3: the handler's IRET brings TF back for the nop
        (vec![0xcd, PLAIN, 0x90], vec![3]),
        (vec![0xcc, 0x90], vec![2]),
        // the same with an int in the shadow: nothing comes between
        (vec![0x8c, 0xd0, 0x8e, 0xd0, 0xcd, PLAIN, 0x90], vec![2, 7]),
    ];
    if mode.bits() != 64 {
        // push ss; pop ss, which is not stepped; nop
        pieces.push((vec![0x16, 0x17, 0x90], vec![1, 3]));
        // pushf; push cs; call to the iret, which returns to the nop; jmp over the iret
        let code = [vec![0x9c, 0x0e], call(3), vec![0x90, 0xeb, 1, 0xcf]].concat();
        pieces
            .push((code, [1, 2, 8, 5, 6, 9].map(|step| if step > 2 { step + more } else { step }).to_vec()));
        // push cs; call to the far ret
        let code = [vec![0x0e], call(3), vec![0x90, 0xeb, 1, 0xcb]].concat();
        pieces.push((code, [1, 7, 4, 5, 8].map(|step| if step > 1 { step + more } else { step }).to_vec()));
    }
    if mode.cpl() == 0 {
        // sti; nop; cli; hlt; nop; mov eax, cr0; mov cr0, eax; clts; wbinvd; mov eax, ss; mov ds, eax
        pieces.push((vec![0xfb, 0x90, 0xfa], vec![1, 2, 3]));
        pieces.push((vec![0xf4, 0x90], vec![1, 2]));
        pieces.push((vec![0x0f, 0x20, 0xc0, 0x0f, 0x22, 0xc0, 0x0f, 0x06], vec![3, 6, 8]));
        pieces.push((vec![0x0f, 0x09, 0x8c, 0xd0, 0x8e, 0xd8], vec![2, 4, 6]));
    }
    pieces
}

/// Random instructions that, executed one after the other, all come to their ends.
fn random_insns(mode: Mode, seed: u64) -> Vec<Vec<u8>> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut info = InstructionInfoFactory::new();
    let mut found: Vec<Vec<u8>> = Vec::new();
    for _ in 0..4 * RANDOM {
        let bytes = loop {
            let bytes: Vec<u8> = (0..INSN_MAX).map(|_| random.next() as u8).collect();
            let insn = Decoder::with_ip(mode.bits(), &bytes, 0, DecoderOptions::NONE).decode();
            if may_be_stepped(&insn, &mut info) {
                break bytes[..insn.len()].to_vec();
            }
        };
        found.push(bytes);
        if !comes_to_its_end(mode, &found.concat()) {
            found.pop();
        }
        if found.len() == RANDOM {
            break;
        }
    }
    found
}

/// Whether the instruction goes on behind itself if it raises nothing, and leaves alone what the next ones and the handler
/// need: the stack, segments, the address of data, and the flags that are no status flags.
fn may_be_stepped(insn: &Instruction, info: &mut InstructionInfoFactory) -> bool {
    use Mnemonic as M;
    let goes_on = !insn.is_invalid() && insn.flow_control() == FlowControl::Next && !insn.is_privileged();
    let is_left_out = matches!(
        insn.mnemonic(),
        M::Popf | M::Popfd | M::Popfq | M::Enter | M::Leave | M::Popa | M::Popad | M::Rdtscp | M::Xlatb
    );
    goes_on && !is_left_out && addresses_data(insn) && keeps_registers(insn, info)
}

/// Whether its operands in memory, if there are any, are near the address of data.
fn addresses_data(insn: &Instruction) -> bool {
    let is_data = matches!(insn.memory_base(), Register::BX | Register::EBX | Register::RBX)
        && insn.memory_index() == Register::None
        && insn.memory_displacement64() < 0x100;
    !insn.is_string_instruction()
        && (0..insn.op_count()).all(|operand| match insn.op_kind(operand) {
            OpKind::Register => true,
            OpKind::Memory => is_data,
            kind => kind < OpKind::MemorySegSI,
        })
}

fn keeps_registers(insn: &Instruction, info: &mut InstructionInfoFactory) -> bool {
    let is_stack = |register: Register| register.full_register() == Register::RSP;
    let names_stack = (0..insn.op_count())
        .any(|operand| insn.op_kind(operand) == OpKind::Register && is_stack(insn.op_register(operand)));
    let moves_stack = insn.stack_pointer_increment() != 0;
    let is_kept = |register: Register| {
        register.is_segment_register()
            || register.full_register() == Register::RBX
            || is_stack(register) && !moves_stack
    };
    let is_written = |access| !matches!(access, OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess);
    let used = info.info(insn).used_registers();
    !names_stack && !used.iter().any(|used| is_written(used.access()) && is_kept(used.register()))
}

fn comes_to_its_end(mode: Mode, code: &[u8]) -> bool {
    let guest = mode.guest(code);
    let outcome = run_from(&SoftEngine::interpreter(), &real_vectors(mode, guest), |guest, power_on| {
        mode.state(guest, power_on)
    });
    outcome.is_ok_and(|outcome| outcome.end == End::Event(engine_suite::layout::DONE))
}

/// In real mode the vectors are at address 0.
fn real_vectors(mode: Mode, mut guest: engine_suite::guest::Guest) -> engine_suite::guest::Guest {
    if mode == Mode::Real {
        for vector in 0..=255u8 {
            let handler = engine_suite::layout::stub(vector) as u32;
            guest.put(4 * u64::from(vector), &handler.to_le_bytes());
        }
    }
    if mode == Mode::Virtual86 {
        guest.registers.rflags |= 3 << 12;
    }
    // The page of the handler, which there is none of.
    guest.put(CODE2, &[0xcc]);
    guest
}
