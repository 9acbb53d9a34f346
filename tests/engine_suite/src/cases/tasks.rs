//! Hardware task switches: TSSs, task gates, nested tasks, what is checked in which task (SDM vol. 3, ch. 8).

use super::{Case, vector};
use crate::guest::{Guest, TF};
use crate::layout::*;
use crate::outcome::{Expect, Outcome};
use crate::tables::{Descriptor, Gate, TASK_GATE};

const SWITCH: &str = "SDM vol. 3, 8.3; vol. 2, JMP, CALL, INT n, IRET";
const CHECKS: &str = "SDM vol. 3, 8.3, table 8-1";
/// The new task's TSS, and that of the task that faults of the new one lead to. Their stacks are in the page of all TSSs:
/// a processor under emulation that leaves the guest in mid-switch, to have another page mapped, cannot begin anew.
const TSS_B: u64 = TSS + 0x100;
const TSS_C: u64 = TSS + 0x200;
const STACK_B: u64 = TSS + 0xe00;
const STACK_C: u64 = TSS + 0xc00;
/// Where the new task begins.
const TARGET: u64 = USER_CODE + 0x100;
/// RFLAGS.NT.
const NT: u64 = 1 << 14;
/// RFLAGS.VM and IOPL 3.
const VIRTUAL: u64 = 1 << 17 | 3 << 12;
/// DR6: trap of a task, single step.
const BT: u64 = 1 << 15;
const BS: u64 = 1 << 14;
/// Selectors: of TSS C, of what is not present, of code of 64 KiB, of data with 16-bit addresses.
const TEST3: u16 = 0x68;
const TEST4: u16 = 0x70;
const TEST5: u16 = 0x78;
const SMALL_DATA: u16 = 0x80;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    switches(&mut cases);
    events(&mut cases);
    returns(&mut cases);
    local(&mut cases);
    refusals(&mut cases);
    new_task_faults(&mut cases);
    traps(&mut cases);
    virtual_tasks(&mut cases);
    cases
}

/// What a TSS holds.
#[derive(Clone, Copy)]
struct Task {
    wide: bool,
    link: u16,
    rip: u64,
    rflags: u64,
    rsp: u64,
    /// ES, CS, SS, DS, FS, GS.
    segments: [u16; 6],
    ldt: u16,
    traps: bool,
}

const DATA_0: u16 = KERNEL_DATA_SELECTOR;
const TASK_B: Task = Task {
    wide: true,
    link: 0,
    rip: TARGET,
    rflags: 2,
    rsp: STACK_B,
    segments: [DATA_0, KERNEL_CODE32, DATA_0, DATA_0, DATA_0, DATA_0],
    ldt: 0,
    traps: false,
};

impl Task {
    /// Offset of EIP, and bytes of a register.
    fn layout(wide: bool) -> (u64, u64) {
        if wide { (0x20, 4) } else { (0xe, 2) }
    }

    /// Writes it to `at`. General registers but ESP hold 0x1100 and their number.
    fn put(self, guest: &mut Guest, at: u64) {
        let Task { wide, link, rip, rflags, rsp, segments, ldt, traps } = self;
        let (first, size) = Task::layout(wide);
        let mut values = vec![rip, rflags];
        values.extend((0..8).map(|number| if number == 4 { rsp } else { 0x1100 + number }));
        values.extend(segments.into_iter().take(if wide { 6 } else { 4 }).map(u64::from));
        values.push(ldt.into());
        for (index, value) in values.into_iter().enumerate() {
            let bytes = &value.to_le_bytes()[..size as usize];
            guest.put(at + first + size * index as u64, bytes);
        }
        guest.put(at, &link.to_le_bytes());
        if wide {
            guest.put(at + 4, &(RSP0 as u32 - 0x400).to_le_bytes());
            guest.put(at + 8, &DATA_0.to_le_bytes());
            guest.put(at + 0x64, &[u8::from(traps), 0, 0x68, 0]);
        }
    }

    fn descriptor(self, base: u64, dpl: u8) -> Descriptor {
        let (kind, limit) = if self.wide { (9, 0x67) } else { (1, 0x2b) };
        Descriptor::system(kind, dpl, base as u32, limit)
    }
}

/// A task of the other kind too, whose stack then is a small one.
fn sized(wide: bool) -> Task {
    let mut task = Task { wide, ..TASK_B };
    if !wide {
        task.segments[2] = SMALL_DATA;
    }
    task
}

/// A guest with the new task, to which its descriptor at [`TEST`] and a task gate at [`TEST2`] lead.
fn guest(cpl: u8, code: &[u8], task: Task) -> Guest {
    let mut guest = Guest::protected(cpl, code);
    task.put(&mut guest, TSS_B);
    guest.put(TARGET, &[0xcd, DONE]);
    guest.descriptor(TEST, task.descriptor(TSS_B, cpl));
    guest.put64(GDT + u64::from(TEST2), task_gate(TEST, cpl).raw()[0]);
    let small = Descriptor { granular: false, limit: 0xffff, big: false, ..Descriptor::flat(3, 0) };
    guest.descriptor(SMALL_DATA, small);
    (guest.registers.rcx, guest.registers.rdx) = (0x2201, 0x2202);
    guest
}

fn task_gate(selector: u16, dpl: u8) -> Gate {
    Gate { kind: TASK_GATE, dpl, present: true, selector, offset: 0, stack: 0 }
}

/// JMP or CALL ptr16:32.
fn far(jump: bool, selector: u16) -> Vec<u8> {
    let [low, high] = selector.to_le_bytes();
    vec![if jump { 0xea } else { 0x9a }, 0, 0, 0, 0, low, high]
}

fn cr0_ts(outcome: &Outcome) -> u64 {
    outcome.state.system.cr0 >> 3 & 1
}

fn tr(outcome: &Outcome) -> u64 {
    outcome.state.system.tr.selector.into()
}

fn nt(outcome: &Outcome) -> u64 {
    outcome.frame.rflags & NT
}

fn why(outcome: &Outcome) -> u64 {
    outcome.state.debug.dr6 & 0xe00f
}

/// The busy bit of the descriptor that `selector` names.
fn busy(expect: Expect, selector: u16, busy: bool) -> Expect {
    expect.memory(GDT + u64::from(selector), 2 << 40, if busy { 2 << 40 } else { 0 })
}

/// That the old task was saved: where it goes on, its ECX, its CS.
fn saved(expect: Expect, guest: &Guest, wide: bool, rip: u64) -> Expect {
    let (first, size) = Task::layout(wide);
    let mask = u64::MAX >> (64 - 8 * size);
    let expect = expect.memory(TSS + first, mask, rip);
    let expect = expect.memory(TSS + first + 3 * size, mask, guest.registers.rcx);
    expect.memory(TSS + first + 11 * size, 0xffff, guest.system.cs.selector.into())
}

/// JMP and CALL, to TSSs of both kinds, from TSSs of both kinds, directly and through a gate.
fn switches(cases: &mut Vec<Case>) {
    for (jump, by_gate) in [(true, false), (true, true), (false, false), (false, true)] {
        for (old_wide, wide) in [(true, true), (true, false), (false, true), (false, false)] {
            for cpl in [0, 3] {
                let code = far(jump, if by_gate { TEST2 } else { TEST } | u16::from(cpl));
                let mut guest = guest(cpl, &code, sized(wide));
                if !old_wide {
                    (guest.system.tr.kind, guest.system.tr.limit) = (3, 0x2b);
                }
                let expect = Expect::done()
                    .memory(STACK_B - 12, u64::MAX, (TARGET + 2) | u64::from(KERNEL_CODE32) << 32)
                    .memory(STACK_B - 4, NT, if jump { 0 } else { NT })
                    .value("ecx", |outcome| outcome.state.registers.rcx & 0xffff, 0x1101)
                    .value("edi", |outcome| outcome.state.registers.rdi & 0xffff, 0x1107)
                    .value("sp", |outcome| outcome.state.registers.rsp & 0xffff, STACK_B - 12)
                    .value("tr", tr, u64::from(TEST) | if by_gate { 0 } else { cpl.into() })
                    .value("cr0.ts", cr0_ts, 1)
                    .value("cr3", |outcome| outcome.state.system.cr3, 0)
                    .memory(TSS_B, 0xffff, if jump { 0 } else { TASK.into() });
                let expect = busy(busy(expect, TEST, true), TASK, !jump);
                let expect = saved(expect, &guest, old_wide, guest.start + 7);
                let bits = |wide| if wide { 32 } else { 16 };
                let name = format!(
                    "cpl {cpl} {} {} from a {}-bit task to a {}-bit one",
                    if jump { "jmp" } else { "call" },
                    if by_gate { "through a task gate" } else { "to a TSS" },
                    bits(old_wide),
                    bits(wide)
                );
                cases.push(Case::new(name, SWITCH, guest, expect));
            }
        }
    }
}

/// Interrupts and exceptions through task gates. The handler's task begins at the vector's stub.
fn events(cases: &mut Vec<Case>) {
    // Code, vector, offset at which the old task goes on, error code.
    type Row<'r> = (&'r str, &'r [u8], u8, u64, Option<u32>);
    let rows: [Row<'_>; 5] = [
        ("int n", &[0xcd, TEST_VECTOR], TEST_VECTOR, 2, None),
        ("int3", &[0xcc], vector::BP, 1, None),
        ("#UD", &[0x0f, 0x0b], vector::UD, 0, None),
        // mov ds, ecx
        ("#GP", &[0x8e, 0xd9], vector::GP, 0, Some(0x2200)),
        // mov ds, ecx, with a gate for #GP that is not present
        ("#DF", &[0x8e, 0xd9], vector::DF, 0, Some(0)),
    ];
    for (name, code, number, offset, error) in rows {
        for (cpl, wide) in [(0, true), (3, true), (0, false)] {
            let task = Task { rip: stub(number), ..sized(wide) };
            let mut guest = guest(cpl, code, task);
            if number == vector::DF {
                guest.gate(vector::GP, Gate { present: false, ..guest.default_gate(vector::GP) });
            }
            guest.gate(number, task_gate(TEST, 3));
            let size = if wide { 4 } else { 2 };
            let pushed = if error.is_some() { size } else { 0 };
            let expect = Expect::event(number);
            let expect = match error {
                Some(error) if wide => expect.error(error),
                Some(error) => expect.any_error().memory(STACK_B - 2, 0xffff, error.into()),
                None => expect,
            };
            let flags = |outcome: &Outcome| outcome.state.registers.rflags & NT;
            let expect = expect
                .value("NT", flags, NT)
                .value("cs", |outcome| outcome.state.system.cs.selector.into(), KERNEL_CODE32.into())
                .value("sp", |outcome| outcome.state.registers.rsp & 0xffff, STACK_B - pushed)
                .value("tr", tr, TEST.into())
                .memory(TSS_B, 0xffff, TASK.into());
            let expect = busy(busy(expect, TEST, true), TASK, true);
            let expect = saved(expect, &guest, true, guest.start + offset);
            let bits = if wide { 32 } else { 16 };
            let name = format!("cpl {cpl} {name} through a task gate to a {bits}-bit task");
            cases.push(Case::new(name, SWITCH, guest, expect));
        }
    }
    // INT n looks at the gate's privilege level, an exception does not.
    let mut guest = guest(3, &[0xcd, TEST_VECTOR], TASK_B);
    guest.gate(TEST_VECTOR, task_gate(TEST, 0));
    let expect = Expect::fault(&guest, vector::GP, u32::from(TEST_VECTOR) * 8 + 2);
    cases.push(Case::new("cpl 3 int n through a task gate of dpl 0", SWITCH, guest, expect));
}

/// IRET with NT, to the task that the TSS links to, and back into a task that has called.
fn returns(cases: &mut Vec<Case>) {
    type Change = fn(&mut Guest, &mut Descriptor);
    let nested = |change: Change, link: u16| {
        let mut guest = guest(0, &[0xcf], TASK_B);
        guest.registers.rflags |= NT;
        guest.put(TSS, &link.to_le_bytes());
        let mut descriptor = Descriptor { kind: 11, ..TASK_B.descriptor(TSS_B, 0) };
        change(&mut guest, &mut descriptor);
        guest.descriptor(TEST, descriptor);
        guest
    };
    let guest = nested(|_, _| (), TEST);
    let expect = Expect::done().rip(TARGET + 2).value("tr", tr, TEST.into()).value("NT", nt, 0);
    let expect = busy(busy(expect, TEST, true), TASK, false).memory(TSS + 0x24, NT, 0);
    let expect = saved(expect, &guest, true, guest.start + 1);
    cases.push(Case::new("iret with NT to another task", SWITCH, guest, expect));
    let ts = vector::TS;
    let test = u32::from(TEST);
    let rows: [(&str, Change, u16, u8, u32); 6] = [
        ("that is null", |_, _| (), 0, ts, 0),
        ("outside the table", |_, _| (), 0xff8, ts, 0xff8),
        ("into the LDT", |_, _| (), TEST | 4, ts, test | 4),
        ("to a task that is not busy", |_, descriptor| descriptor.kind = 9, TEST, ts, test),
        ("to data", |_, descriptor| *descriptor = Descriptor::flat(3, 0), TEST, ts, test),
        ("to a task not present", |_, descriptor| descriptor.present = false, TEST, vector::NP, test),
    ];
    for (name, change, link, fault, error) in rows {
        let guest = nested(change, link);
        let expect = busy(Expect::fault(&guest, fault, error), TASK, true);
        cases.push(Case::new(format!("iret with NT and a link {name}"), CHECKS, guest, expect));
    }
    // CALL to a task whose IRET leads back behind the CALL.
    let mut there = self::guest(0, &[&far(false, TEST)[..], &[0x90]].concat(), TASK_B);
    there.put(TARGET, &[0xcf]);
    let expect = Expect::done().rip(there.start + 10).value("tr", tr, TASK.into()).value("NT", nt, 0);
    let expect = busy(busy(expect, TASK, true), TEST, false)
        .value("ecx", |outcome| outcome.state.registers.rcx, 0x2201)
        .memory(TSS_B + 0x20, 0xffff_ffff, TARGET + 1);
    cases.push(Case::new("call to a task, and its iret", SWITCH, there, expect));
}

/// A task with an LDT of its own, from which its code and stack are: the code's is slot 0, which is no null selector.
fn local(cases: &mut Vec<Case>) {
    for wide in [true, false] {
        let mut task = Task { ldt: TEST3, segments: [0, 4, 0xc, 0, 0, 0], ..sized(wide) };
        task.segments[3] = DATA_0;
        let mut guest = guest(0, &far(false, TEST), task);
        guest.descriptor(TEST3, Descriptor::system(2, 0, DATA as u32, 0xf));
        guest.put64(DATA, Descriptor::flat(11, 0).raw());
        let small = Descriptor { granular: false, limit: 0xffff, big: false, ..Descriptor::flat(3, 0) };
        guest.put64(DATA + 8, small.raw());
        let expect = Expect::done()
            .memory(STACK_B - 12, u64::MAX, (TARGET + 2) | 4 << 32)
            .value("ldtr", |outcome| outcome.state.system.ldt.selector.into(), TEST3.into())
            .value("ds", |outcome| outcome.state.system.ds.selector.into(), DATA_0.into());
        let bits = if wide { 32 } else { 16 };
        cases.push(Case::new(format!("call to a {bits}-bit task in its LDT"), SWITCH, guest, expect));
    }
}

/// What is found wrong before the switch: the fault is the old task's, and nothing has changed.
fn refusals(cases: &mut Vec<Case>) {
    let system = TASK_B.descriptor(TSS_B, 3);
    let (gp, np, ts) = (vector::GP, vector::NP, vector::TS);
    let test = u32::from(TEST);
    let rows: [(&str, Descriptor, u16, u8, u32); 7] = [
        ("busy", Descriptor { kind: 11, ..system }, TEST, gp, test),
        ("busy, 16-bit", Descriptor { kind: 3, ..system }, TEST, gp, test),
        ("not present", Descriptor { present: false, ..system }, TEST, np, test),
        ("too small", Descriptor { limit: 0x66, ..system }, TEST, ts, test),
        ("too small, 16-bit", Descriptor { kind: 1, limit: 0x2a, ..system }, TEST, ts, test),
        ("of dpl 0", Descriptor { dpl: 0, ..system }, TEST, gp, test),
        ("in an LDT that is not there", system, TEST | 4, gp, test | 4),
    ];
    for (name, descriptor, selector, fault, error) in rows {
        for jump in [true, false] {
            let mut guest = guest(3, &far(jump, selector | 3), TASK_B);
            guest.descriptor(TEST, descriptor);
            let how = if jump { "jmp" } else { "call" };
            let expect = busy(Expect::fault(&guest, fault, error), TASK, true).value("tr", tr, TASK.into());
            cases.push(Case::new(format!("cpl 3 {how} to a TSS {name}"), CHECKS, guest, expect));
        }
    }
    let gate = task_gate(TEST, 3);
    let rows: [(&str, Gate, u8, u32); 5] = [
        ("not present", Gate { present: false, ..gate }, np, TEST2.into()),
        ("of dpl 0", Gate { dpl: 0, ..gate }, gp, TEST2.into()),
        ("to null", Gate { selector: 0, ..gate }, gp, 0),
        ("to data", Gate { selector: DATA_0, ..gate }, gp, DATA_0.into()),
        ("into the LDT", Gate { selector: TEST | 4, ..gate }, gp, test | 4),
    ];
    for (name, gate, fault, error) in rows {
        let mut by_call = guest(3, &far(false, TEST2 | 3), TASK_B);
        by_call.put64(GDT + u64::from(TEST2), gate.raw()[0]);
        let expect = Expect::fault(&by_call, fault, error).value("tr", tr, TASK.into());
        cases.push(Case::new(format!("cpl 3 call through a task gate {name}"), CHECKS, by_call, expect));
        let mut by_event = guest(3, &[0x0f, 0x0b], TASK_B);
        by_event.gate(vector::UD, gate);
        let expect = match name {
            // It is no INT n.
            "of dpl 0" => continue,
            "not present" => Expect::fault(&by_event, np, u32::from(vector::UD) * 8 + 3),
            _ => Expect::fault(&by_event, fault, error | 1),
        };
        cases.push(Case::new(format!("cpl 3 #UD through a task gate {name}"), CHECKS, by_event, expect));
    }
}

/// What is found wrong with the new task's segments: a fault at its first instruction, which a third task handles.
fn new_task_faults(cases: &mut Vec<Case>) {
    type Change = fn(&mut Task);
    let (ts, np, ss, gp) = (vector::TS, vector::NP, vector::SS, vector::GP);
    let absent = u32::from(TEST4);
    let rows: [(&str, Change, u8, u32); 17] = [
        ("an LDT outside the table", |task| task.ldt = 0xff8, ts, 0xff8),
        ("an LDT in the LDT", |task| task.ldt = TASK | 4, ts, u32::from(TASK) | 4),
        ("data for an LDT", |task| task.ldt = DATA_0, ts, DATA_0.into()),
        ("a null CS", |task| task.segments[1] = 0, ts, 0),
        ("data for CS", |task| task.segments[1] = DATA_0, ts, DATA_0.into()),
        ("CS of dpl 3 with rpl 0", |task| task.segments[1] = USER_CODE32 & !3, ts, USER_CODE32 as u32 & !3),
        ("CS outside the table", |task| task.segments[1] = 0xff8, ts, 0xff8),
        ("a null SS", |task| task.segments[2] = 0, ts, 0),
        ("code for SS", |task| task.segments[2] = KERNEL_CODE32, ts, KERNEL_CODE32.into()),
        ("SS of dpl 3", |task| task.segments[2] = USER_DATA & !3, ts, u32::from(USER_DATA) & !3),
        ("SS of rpl 3", |task| task.segments[2] = DATA_0 | 3, ts, DATA_0.into()),
        ("SS not present", |task| task.segments[2] = TEST4, ss, absent),
        ("DS outside the table", |task| task.segments[3] = 0xff8, ts, 0xff8),
        ("a TSS for ES", |task| task.segments[0] = TASK, ts, TASK.into()),
        ("FS not present", |task| task.segments[4] = TEST4, np, absent),
        ("GS of rpl 3 and dpl 0", |task| task.segments[5] = DATA_0 | 3, ts, DATA_0.into()),
        ("EIP beyond CS", |task| (task.segments[1], task.rip) = (TEST5, 0x1_0000), gp, 0),
    ];
    for (name, change, fault, error) in rows {
        for by_event in [false, true] {
            let mut task = TASK_B;
            change(&mut task);
            let code = if by_event { vec![0x0f, 0x0b] } else { far(false, TEST) };
            let mut guest = guest(0, &code, task);
            guest.descriptor(TEST4, Descriptor { present: false, ..Descriptor::flat(3, 0) });
            let small = Descriptor { granular: false, limit: 0xffff, ..Descriptor::flat(11, 0) };
            guest.descriptor(TEST5, small);
            guest.gate(vector::UD, task_gate(TEST, 0));
            Task { rip: stub(fault), rsp: STACK_C, ..TASK_B }.put(&mut guest, TSS_C);
            guest.descriptor(TEST3, TASK_B.descriptor(TSS_C, 0));
            guest.gate(fault, task_gate(TEST3, 0));
            let expect = Expect::event(fault)
                .error(error | u32::from(by_event))
                .value("tr", tr, TEST3.into())
                .memory(TSS_C, 0xffff, TEST.into())
                .memory(TSS_B, 0xffff, TASK.into())
                .memory(TSS_B + 0x20, 0xffff_ffff, task.rip)
                .memory(TSS_B + 0x4c, 0xffff, task.segments[1].into())
                .memory(TSS_B + 0x5c, 0xffff, task.segments[5].into());
            let how = if by_event { "#UD by a task gate" } else { "call" };
            cases.push(Case::new(format!("{how} to a task with {name}"), CHECKS, guest, expect));
        }
    }
}

/// The trap bit, single step around switches, and the breakpoints that a task has for itself.
fn traps(cases: &mut Vec<Case>) {
    let section = "SDM vol. 3, 8.2.1, 18.2.4, 18.3.1.5";
    for (tf, bits) in [(0, BT), (TF, BT | BS)] {
        let mut guest = guest(0, &far(true, TEST), Task { traps: true, ..TASK_B });
        guest.registers.rflags |= tf;
        let expect =
            Expect::event(vector::DB).rip(TARGET).value("dr6", |outcome| why(outcome) & BT, bits & BT);
        cases.push(Case::new(
            format!("jmp to a task that asks for a trap, TF {tf:#x}"),
            section,
            guest,
            expect,
        ));
    }
    let mut by_event = guest(0, &[0x0f, 0x0b], Task { traps: true, ..TASK_B });
    by_event.gate(vector::UD, task_gate(TEST, 0));
    let expect = Expect::event(vector::DB).rip(TARGET).value("dr6", why, BT);
    cases.push(Case::new("#UD by a task gate to a task that asks for a trap", section, by_event, expect));
    // TF of the new task: behind its first instruction.
    let mut steps = guest(0, &far(true, TEST), Task { rflags: TF | 2, ..TASK_B });
    steps.put(TARGET, &[0x90, 0x90]);
    let expect = Expect::event(vector::DB).rip(TARGET + 1).value("dr6", why, BS);
    cases.push(Case::new("jmp to a task with TF", section, steps, expect));
    let mut local = guest(0, &far(true, TEST), TASK_B);
    local.debug.dr7 = 0x400 | 0x3ff;
    local.debug.addresses = [TARGET + 0x80; 4];
    let expect = Expect::done().value("dr7", |outcome| outcome.state.debug.dr7, 0x400 | 0x2aa);
    cases.push(Case::new("jmp to a task ends local breakpoints", section, local, expect));
}

/// Virtual-8086 mode: by a task, by IRET, and out of it again.
fn virtual_tasks(cases: &mut Vec<Case>) {
    let section = "SDM vol. 3, 21.2.5, 21.2.6";
    let segment = (USER_CODE >> 4) as u16;
    let (ip, done) = (TARGET - USER_CODE, TARGET - USER_CODE + 2);
    let vm = |outcome: &Outcome| outcome.frame.rflags & VIRTUAL;
    let rflags = VIRTUAL | 2;
    let task = Task { rip: ip, rflags, rsp: 0x800, segments: [segment; 6], ..TASK_B };
    let guest = guest(0, &far(true, TEST), task);
    let frame = RSP0 - 0x400;
    let expect = Expect::done()
        .rip(done)
        .cs(segment)
        .rsp(0x800)
        .ss(segment)
        .value("VM", vm, VIRTUAL)
        .value("ds", |outcome| outcome.state.system.ds.selector.into(), 0)
        .value("esp", |outcome| outcome.state.registers.rsp, frame - 36)
        .memory(frame - 4, 0xffff_ffff, segment.into());
    cases.push(Case::new("jmp to a virtual-8086 task", section, guest, expect));
    for (name, code, number) in [
        ("int n", &[0xcd, DONE][..], DONE),
        ("ud2", &[0x0f, 0x0b], vector::UD),
        ("lgdt, which privilege 3 may not", &[0x0f, 0x01, 0x17], vector::GP),
        ("sldt, which it has not", &[0x0f, 0x00, 0xc0], vector::UD),
    ] {
        let mut guest = Guest::protected(0, &[0xcf]);
        guest.put(TARGET, code);
        // GS, FS, DS, ES, SS, ESP, EFLAGS, CS, EIP
        for value in [5, 4, 3, 2, u32::from(segment), 0x800, rflags as u32, u32::from(segment), ip as u32] {
            guest.push32(value);
        }
        let mut expect = Expect::event(number);
        if crate::guest::has_error_code(number) {
            expect = expect.error(0);
        }
        let expect = expect
            .rip(if number == DONE { done } else { ip })
            .cs(segment)
            .rsp(0x800)
            .value("VM", vm, VIRTUAL)
            .memory(RSP0 - 4, 0xffff_ffff, 5)
            .memory(RSP0 - 12, 0xffff_ffff, 3);
        cases.push(Case::new(format!("iret to virtual-8086 mode, {name}"), section, guest, expect));
    }
}
