//! Which of several faults comes, and faults during the delivery of others (SDM vol. 3, 6.9, tables 6-2 and 6-5).

use vcpu_model::Halt;

use super::{Case, vector};
use crate::guest::Guest;
use crate::layout::*;
use crate::outcome::Expect;
use crate::tables::{Descriptor, Gate};

const DOUBLE: &str = "SDM vol. 3, table 6-5";
const PRIORITY: &str = "SDM vol. 3, 6.9, table 6-2";
/// UD2; DIV by zero; a load from [`TEST_ADDRESS`], which is not mapped; MOV DS from a selector that is not there.
const CAUSES: [(&str, &[u8], u8); 4] = [
    ("#UD", &[0x0f, 0x0b], vector::UD),
    ("#DE", &[0xf7, 0xf1], vector::DE),
    ("#PF", &[0x8b, 0x03], vector::PF),
    ("#GP", &[0x8e, 0xdb], vector::GP),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    doubles(&mut cases);
    triples(&mut cases);
    priorities(&mut cases);
    cases
}

/// A guest whose first instruction raises `cause`: RCX is 0, RBX an address and a selector.
fn raising(code: &[u8]) -> Guest {
    let mut guest = Guest::long(0, code);
    guest.registers.rbx = TEST_ADDRESS | 0xff8;
    guest
}

/// Delivery of the first fault raises #NP, #GP or #PF.
fn doubles(cases: &mut Vec<Case>) {
    for (name, code, first) in CAUSES {
        let contributory = first == vector::DE || first == vector::GP;
        for (second, number) in [("#NP", vector::NP), ("#GP", vector::GP), ("#PF", vector::PF)] {
            let mut guest = raising(code);
            let gate = guest.default_gate(first);
            match number {
                vector::NP => guest.gate(first, Gate { present: false, ..gate }),
                vector::GP => guest.gate(first, Gate { kind: 0, ..gate }),
                // An interrupt stack that is not mapped.
                _ => {
                    guest.gate(first, Gate { stack: 2, ..gate });
                    guest.put64(TSS + 0x2c, TEST_ADDRESS + 0x8000);
                }
            }
            let is_double = match number {
                vector::PF => first == vector::PF,
                _ => contributory || first == vector::PF,
            };
            let expect = if is_double {
                Expect::fault(&guest, vector::DF, 0)
            } else if number == vector::PF {
                Expect::fault(&guest, vector::PF, 2).cr2(TEST_ADDRESS + 0x7ff8)
            } else {
                Expect::fault(&guest, number, u32::from(first) * 8 + 3)
            };
            cases.push(Case::new(format!("{second} while {name} is delivered"), DOUBLE, guest, expect));
        }
    }
    // CR2 of the second page fault stands.
    let mut guest = raising(&[0x8b, 0x03]);
    guest.gate(vector::PF, Gate { stack: 2, ..guest.default_gate(vector::PF) });
    guest.put64(TSS + 0x2c, TEST_ADDRESS + 0x8000);
    let expect = Expect::fault(&guest, vector::DF, 0).cr2(TEST_ADDRESS + 0x7ff8);
    cases.push(Case::new("CR2 after two page faults", DOUBLE, guest, expect));
}

fn triples(cases: &mut Vec<Case>) {
    for (name, broken) in [("#NP", false), ("#GP", true)] {
        let mut guest = raising(&[0x8e, 0xdb]);
        for number in [vector::GP, vector::DF] {
            let gate = guest.default_gate(number);
            guest.gate(
                number,
                if broken { Gate { kind: 0, ..gate } } else { Gate { present: false, ..gate } },
            );
        }
        let expect = Expect::halt(Halt::TripleFault);
        cases.push(Case::new(format!("{name} while #DF is delivered"), DOUBLE, guest, expect));
    }
    let mut guest = raising(&[0x8b, 0x03]);
    for number in [vector::PF, vector::DF] {
        guest.gate(number, Gate { stack: 2, ..guest.default_gate(number) });
    }
    guest.put64(TSS + 0x2c, TEST_ADDRESS + 0x8000);
    cases.push(Case::new("#PF while #DF is delivered", DOUBLE, guest, Expect::halt(Halt::TripleFault)));
    let mut guest = raising(&[0x0f, 0x0b]);
    guest.system.idt.limit = 0;
    cases.push(Case::new("an exception without a table", DOUBLE, guest, Expect::halt(Halt::TripleFault)));
}

/// One instruction with two reasons to fault.
fn priorities(cases: &mut Vec<Case>) {
    let mut push = |name: &str, guest: Guest, number: u8, error: u32| {
        let expect = Expect::fault(&guest, number, error);
        cases.push(Case::new(name, PRIORITY, guest, expect));
    };
    // LOCK on a register form before the page that is not there; privilege before operands.
    let mut guest = Guest::long(0, &[0xf0, 0x8b, 0x03]);
    guest.registers.rbx = TEST_ADDRESS;
    push("lock mov from a page that is absent", guest, vector::UD, 0);
    let mut guest = Guest::long(3, &[0x0f, 0x01, 0x13]);
    guest.registers.rbx = TEST_ADDRESS;
    push("lgdt at cpl 3 from a page that is absent", guest, vector::GP, 0);
    let mut guest = Guest::long(0, &[0xd9, 0x03]);
    guest.registers.rbx = TEST_ADDRESS;
    guest.system.cr0 |= 8;
    push("fld with CR0.TS from a page that is absent", guest, vector::NM, 0);
    let mut guest = Guest::long(0, &[0x0f, 0x28, 0x03]);
    guest.registers.rbx = TEST_ADDRESS + 8;
    push("movaps, neither aligned nor mapped", guest, vector::GP, 0);
    let mut guest = Guest::long(0, &[0x0f, 0x10, 0x03]);
    guest.system.cr4 &= !0x200;
    guest.system.cr0 |= 8;
    push("movups without OSFXSR and with TS", guest, vector::UD, 0);
    let mut guest = Guest::long(3, &[0x0f, 0x22, 0xe0]);
    guest.registers.rax = u64::MAX;
    push("mov cr4 at cpl 3", guest, vector::GP, 0);
    push("mov cr1", Guest::long(0, &[0x0f, 0x22, 0xc8]), vector::UD, 0);
    push("mov cr8 at cpl 3", Guest::long(3, &[0x44, 0x0f, 0x20, 0xc0]), vector::GP, 0);
    push("hlt at cpl 3", Guest::long(3, &[0xf4]), vector::GP, 0);
    push("in at cpl 3", Guest::long(3, &[0xe4, 0x80]), vector::GP, 0);
    push("cli at cpl 3", Guest::long(3, &[0xfa]), vector::GP, 0);
    push("rdmsr at cpl 3", Guest::long(3, &[0x0f, 0x32]), vector::GP, 0);
    push("int 3 by CD 03 at cpl 3", Guest::long(3, &[0xcd, 0x03]), vector::GP, 0x1a);
    push("int3 at cpl 3", Guest::long(3, &[0xcc]), vector::GP, 0x1a);
    // A segment that is neither present nor of the right privilege.
    let mut guest = Guest::long(3, &[0x8e, 0xd8]);
    guest.descriptor(TEST, Descriptor { present: false, ..Descriptor::flat(3, 0) });
    guest.registers.rax = TEST.into();
    push("mov ds, neither present nor allowed", guest, vector::GP, TEST.into());
    let guest = Guest::long(0, &[0xcc]);
    let expect = Expect::event(vector::BP).rip(guest.start + 1);
    cases.push(Case::new("int3", "SDM vol. 3, 6.15, #BP", guest, expect));
    // 15 bytes are an instruction, 16 are not.
    let mut code = [0x66; 16];
    code[14] = 0x90;
    cases.push(Case::new("15 bytes", "SDM vol. 2, 2.3.11", Guest::long(0, &code[..15]), Expect::done()));
    code[14..].copy_from_slice(&[0x66, 0x90]);
    let guest = Guest::long(0, &code);
    let expect = Expect::fault(&guest, vector::GP, 0);
    cases.push(Case::new("16 bytes", "SDM vol. 2, 2.3.11", guest, expect));
}
