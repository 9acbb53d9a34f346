//! Random bytes as code in every mode: the soft engine neither panics nor fails to answer a kick, whatever it executes,
//! and nothing beside the guest's RAM changes.
//!
//! `YAGURA_RANDOM_SECONDS` says for how long; without it a few hundred streams are run. A stream is named by its seed,
//! and `YAGURA_RANDOM_SEED` is the first. docs/soft-jit.md says how to run it under AddressSanitizer.

use std::time::{Duration, Instant};

use engine_suite::layout::RAM_SIZE;
use engine_suite::modes::MODES;
use engine_suite::run::{allocate, read_ram, run_for};
use guest_memory::{Bytes, GuestAddress, GuestMemory};
use soft_engine::SoftEngine;
use vcpu_model::{Engine, Vcpu, VcpuIndex, Vm, VmConfig};

/// Streams in a usual test run.
const USUAL: u64 = 400;
/// For how long one stream runs.
const STREAM: Duration = Duration::from_millis(3);
/// A vCPU that has not answered its kick after so long hangs, on a busy machine too.
const HANG: Duration = Duration::from_secs(30);
/// Bytes that lead to instructions more often than chance does: two-byte opcodes, prefixes, string and system ones.
const LEADS: &[u8] = &[
    0x0f, 0x0f, 0x0f, 0x66, 0xf2, 0xf3, 0xf0, 0x48, 0x4c, 0x41, 0x64, 0x65, 0x67, 0x89, 0x8b, 0xa4, 0xab,
    0xc7, 0xff, 0xd9, 0xdd, 0xcf, 0xcd, 0x8e, 0x01, 0x22, 0x20, 0x30, 0xc3, 0xe8, 0xeb, 0x75,
];

/// xorshift64*: the same streams on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn code(&mut self, len: usize) -> Vec<u8> {
        let byte = |random: &mut Random| {
            let value = random.next();
            if value >> 32 & 3 == 0 { LEADS[value as usize % LEADS.len()] } else { value as u8 }
        };
        (0..len).map(|_| byte(self)).collect()
    }
}

/// Another guest's RAM, as it was.
struct Bystander {
    memory: GuestMemory,
}

impl Bystander {
    fn new() -> Result<Bystander, String> {
        let bystander = Bystander { memory: allocate()? };
        let write = bystander.memory.slots().write_slice(&Bystander::contents(), GuestAddress(0));
        write.map_err(|error| error.to_string())?;
        Ok(bystander)
    }

    fn contents() -> Vec<u8> {
        (0..RAM_SIZE).map(|at| (at ^ at >> 8 ^ 0x5a) as u8).collect()
    }

    fn check(&self) -> Result<(), String> {
        let same = read_ram(&self.memory)? == Bystander::contents();
        if same { Ok(()) } else { Err("memory beside the guest's has changed".to_owned()) }
    }
}

/// A guest with random code, random registers, and random bytes in half of its free memory; the mode and the CPU model
/// follow from the seed too.
fn stream(seed: u64) -> Result<(), String> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let code = random.code(2048);
    let mode = MODES[seed as usize % MODES.len()];
    let mut guest = mode.guest(&code);
    let registers = &mut guest.registers;
    for register in [&mut registers.rax, &mut registers.rbx, &mut registers.rcx, &mut registers.rdx] {
        *register = random.next() >> (random.next() % 64);
    }
    for register in [&mut registers.rsi, &mut registers.rdi, &mut registers.rbp, &mut registers.r8] {
        *register = random.next() % RAM_SIZE as u64;
    }
    // Mappings made one after the other lie side by side.
    let below = Bystander::new()?;
    let memory = allocate()?;
    let above = Bystander::new()?;
    memory.slots().write_slice(&guest.image(), GuestAddress(0)).map_err(|error| error.to_string())?;
    let text = |error| format!("{error}");
    let engine = SoftEngine::eager();
    let cpu_model = if random.next() & 1 == 0 { None } else { engine.highest_cpu_model() };
    let vm = engine.create_vm(&VmConfig::of(&engine, 1, cpu_model).map_err(text)?, &memory).map_err(text)?;
    let mut vcpu = vm.create_vcpu(VcpuIndex(0)).map_err(text)?;
    let power_on = vcpu.state().map_err(text)?;
    vcpu.set_state(&mode.state(&guest, power_on)).map_err(text)?;
    let started = Instant::now();
    run_for(&mut vcpu, STREAM)?;
    if started.elapsed() > HANG {
        return Err("the vCPU did not answer its kick".to_owned());
    }
    vcpu.state().map_err(text)?;
    below.check().and(above.check())
}

#[test]
fn random_streams_neither_panic_nor_hang() {
    let seconds = std::env::var("YAGURA_RANDOM_SECONDS").ok().and_then(|text| text.parse().ok());
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let first: u64 = std::env::var("YAGURA_RANDOM_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut done = 0;
    while end.map_or(done < USUAL, |end| Instant::now() < end) {
        let seed = first + done;
        let result = std::panic::catch_unwind(|| stream(seed));
        assert!(matches!(result, Ok(Ok(()))), "seed {seed}: {result:?}");
        done += 1;
    }
    println!("{done} streams");
}
