//! The code of a litmus test.
//!
//! ```text
//! batch: barrier
//!        for each race: the steps; store the registers          RSI: number of the race
//!        barrier                                                RDI: its words
//!        first vCPU: for each race: compare; count; clear       R13: where the barrier opens next
//!        until there were R14 batches
//! ```

use super::fences::Fence;
use super::shapes::{Shape, Step, Term};
use crate::layout::{GDT, TEST, TEST_PAGE, TEST_VECTOR, TEST2};
use crate::smp::{Code, SHARED, SmpGuest, VCPUS_MAX};
use crate::tables::{Descriptor, Gate, TSS};

/// Races of a batch.
pub const BATCH: u64 = 2048;
/// Bytes of a race's words: four cache lines.
const RACE_BYTES: u32 = 256;
/// How many batches are done, and how many races came out so.
pub const DONE_BATCHES: u64 = TEST_PAGE;
pub const SEEN: u64 = TEST_PAGE + 64;
/// How often a vCPU has come to a barrier.
const BARRIER: u64 = TEST_PAGE + 128;
/// What was loaded: for each vCPU and register a byte for each race.
const LOADED: u64 = TEST_PAGE + 0x1000;
/// Where [`TEST_VECTOR`] leads: mov rax, [rsp]; mov rsp, [rsp + 24]; jmp rax
const HANDLER: u64 = TEST_PAGE + 0x7000;
const HANDLER_CODE: &[u8] = &[0x48, 0x8b, 0x04, 0x24, 0x48, 0x8b, 0x64, 0x24, 0x18, 0xff, 0xe0];

const _: () = assert!(LOADED + 2 * BATCH * VCPUS_MAX as u64 <= HANDLER);
const _: () = assert!(BATCH * RACE_BYTES as u64 <= 2 << 20);

/// The guest that lets `shape` race with `fence`, `batches` times [`BATCH`] times.
pub fn guest(shape: &Shape, fence: &Fence, batches: u32) -> SmpGuest {
    let vcpus = shape.threads.len();
    let codes: Vec<Vec<u8>> = (0..vcpus).map(|vcpu| code(shape, fence, vcpu, batches)).collect();
    let mut smp = SmpGuest::new(&codes);
    let guest = smp.guest();
    guest.gate(TEST_VECTOR, Gate { stack: 0, ..Gate::interrupt(crate::layout::KERNEL_CODE, HANDLER, 0) });
    guest.put(HANDLER, HANDLER_CODE);
    for selector in [TEST, TEST2] {
        guest.descriptor(selector, Descriptor::system(TSS, 0, crate::layout::TSS as u32, 0x67));
        guest.put64(GDT + u64::from(selector) + 8, 0);
    }
    smp
}

fn code(shape: &Shape, fence: &Fence, vcpu: usize, batches: u32) -> Vec<u8> {
    let mut code = Code::default();
    // xor r13d, r13d; mov r14d, batches
    code.bytes(&[0x45, 0x31, 0xed, 0x41, 0xbe]).word(batches);
    let batch = code.here();
    code.barrier(BARRIER, shape.threads.len());
    let race = code.first_race();
    for step in shape.threads[vcpu] {
        code.step(*step, fence.code_on(vcpu).unwrap_or_default());
    }
    for register in loaded(shape.threads[vcpu]) {
        // mov [rsi + place], r8b or r9b
        code.bytes(&[0x44, 0x88, if register == 0 { 0x86 } else { 0x8e }]).word(place(vcpu, register));
    }
    code.next_race(race);
    code.barrier(BARRIER, shape.threads.len());
    if vcpu == 0 {
        code.count(shape.outcome);
    }
    // dec r14d; jnz batch
    code.bytes(&[0x41, 0xff, 0xce]).jump_back(&[0x0f, 0x85], batch);
    code.finish()
}

/// Which of the registers a vCPU loads.
fn loaded(steps: &[Step]) -> impl Iterator<Item = usize> + '_ {
    steps.iter().filter_map(|step| match step {
        Step::Load(_, register) => Some(*register as usize),
        _ => None,
    })
}

/// Where the bytes of a vCPU's register are.
fn place(vcpu: usize, register: usize) -> u32 {
    LOADED as u32 + (2 * vcpu + register) as u32 * BATCH as u32
}

impl Code {
    /// Begins a loop over all races of a batch; answers where.
    fn first_race(&mut self) -> usize {
        // xor esi, esi; mov edi, SHARED
        self.bytes(&[0x31, 0xf6, 0xbf]).word(SHARED as u32);
        self.here()
    }

    /// Ends it.
    fn next_race(&mut self, race: usize) {
        // inc esi; add rdi, RACE_BYTES; cmp esi, BATCH; jb race
        self.bytes(&[0xff, 0xc6, 0x48, 0x81, 0xc7]).word(RACE_BYTES).bytes(&[0x81, 0xfe]).word(BATCH as u32);
        self.jump_back(&[0x0f, 0x82], race);
    }

    fn step(&mut self, step: Step, fence: &[u8]) {
        match step {
            // mov dword [rdi + word], value
            Step::Store(word, value) => self.bytes(&[0xc7, 0x87]).word(word as u32 * 64).word(value.into()),
            // mov eax, value; movnti [rdi + word], eax
            Step::StoreInt(word, value) => {
                self.bytes(&[0xb8]).word(value.into()).bytes(&[0x0f, 0xc3, 0x87]).word(word as u32 * 64)
            }
            // mov eax, value; movd xmm0, eax; movntdq [rdi + word], xmm0
            Step::StoreVector(word, value) => self
                .bytes(&[0xb8])
                .word(value.into())
                .bytes(&[0x66, 0x0f, 0x6e, 0xc0, 0x66, 0x0f, 0xe7, 0x87])
                .word(word as u32 * 64),
            // mov r8d or r9d, [rdi + word]
            Step::Load(word, register) => self
                .bytes(&[0x44, 0x8b, if register as usize == 0 { 0x87 } else { 0x8f }])
                .word(word as u32 * 64),
            Step::Fence => self.bytes(fence),
        };
    }

    /// Counts the races of a batch that came out as `outcome` says, and clears their words.
    fn count(&mut self, outcome: &[Term]) {
        let race = self.first_race();
        let mut misses = Vec::new();
        for term in outcome {
            match *term {
                // cmp byte [rsi + place], value
                Term::Loaded(vcpu, register, value) => {
                    self.bytes(&[0x80, 0xbe]).word(place(vcpu, register as usize)).bytes(&[value])
                }
                // cmp byte [rdi + word], value
                Term::Left(word, value) => self.bytes(&[0x80, 0xbf]).word(word as u32 * 64).bytes(&[value]),
            };
            // jne miss
            self.bytes(&[0x75, 0]);
            misses.push(self.here());
        }
        // inc dword [SEEN]
        self.bytes(&[0xff, 0x04, 0x25]).word(SEEN as u32);
        misses.into_iter().for_each(|miss| self.land(miss));
        for word in 0..4 {
            // mov dword [rdi + word], 0
            self.bytes(&[0xc7, 0x87]).word(word * 64).word(0);
        }
        self.next_race(race);
        // inc dword [DONE_BATCHES]
        self.bytes(&[0xff, 0x04, 0x25]).word(DONE_BATCHES as u32);
    }
}
