//! Locked instructions of several vCPUs on one place that is misaligned, crosses a cache line's or a page's end, or is a
//! device's: no change may be lost, and no half of a value seen.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

use std::time::Duration;

use engine_suite::guest::Guest;
use engine_suite::layout::{TEST_ADDRESS, TEST_PAGE, TEST_PT};
use engine_suite::outcome::End;
use engine_suite::smp::{Code, DEVICES, Ended, SHARED, SmpGuest};
use engine_suite::tables::{A, D, P, W};
use guest_memory::{Bytes, GuestAddress};
use soft_engine::SoftEngine;

/// Longer than any guest here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Times that each vCPU goes through its loop: an odd number, for what undoes itself.
const ROUNDS: u32 = 31;
const LONG_ROUNDS: u32 = 301;
/// Where vCPUs wait for each other, and where they leave what they hold.
const BARRIER: u64 = TEST_PAGE;
const HELD: u64 = TEST_PAGE + 64;
/// How often a vCPU saw what must not be.
const WRONG: u64 = TEST_PAGE + 128;

/// Where the operand is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// In one cache line, misaligned.
    Misaligned,
    /// Across a line's end.
    Line,
    /// Across the end of a page, and the next one is elsewhere in RAM.
    Page,
    /// In a device's registers, aligned.
    Device,
    /// In a device's registers, across a page's end.
    DevicePage,
    /// From RAM into a device.
    Mixed,
}

const PLACES: [Place; 6] =
    [Place::Misaligned, Place::Line, Place::Page, Place::Device, Place::DevicePage, Place::Mixed];

/// Pages of RAM that follow each other at [`TEST_ADDRESS`], not in RAM.
const FRAMES: [u64; 2] = [SHARED + 0x5000, SHARED + 0x2000];
const _: () = assert!(FRAMES[1] < FRAMES[0]);

impl Place {
    /// Linear address of `size` bytes.
    fn address(self, size: u64) -> u64 {
        match self {
            Place::Misaligned => SHARED + 0x1001,
            Place::Line => SHARED + 0x1040 - size / 2,
            Place::Page => TEST_ADDRESS + 0x1000 - size / 2,
            Place::Device => DEVICES + 64,
            Place::DevicePage => DEVICES + 0x1000 - size / 2,
            Place::Mixed => DEVICES - size / 2,
        }
    }

    /// What is there in the end.
    fn value(self, size: u64, ended: &Ended) -> u64 {
        let byte = |address: u64| match address {
            DEVICES.. if address < TEST_ADDRESS => ended.device[(address - DEVICES) as usize],
            _ => {
                let page = (address.wrapping_sub(TEST_ADDRESS) / 0x1000) as usize;
                let at = FRAMES.get(page).map_or(address, |frame| frame + address % 0x1000);
                ended.memory.slots().read_obj(GuestAddress(at)).unwrap()
            }
        };
        let address = self.address(size);
        (0..size).fold(0, |value, index| value | u64::from(byte(address + index)) << (8 * index))
    }
}

/// An instruction on `[rbx]`, in a loop.
struct Form {
    name: &'static str,
    size: u64,
    /// What is done before the loop on each vCPU, which R12 numbers from 0.
    before: &'static [u8],
    /// Each turn.
    turn: &'static [u8],
    /// What is left by so many vCPUs after so many turns.
    left: fn(u64, u64) -> u64,
}

const fn form(name: &'static str, size: u64, turn: &'static [u8], left: fn(u64, u64) -> u64) -> Form {
    Form { name, size, before: &[], turn, left }
}

/// Each vCPU adds one, each turn.
const COUNTED: fn(u64, u64) -> u64 = |vcpus, turns| vcpus * turns;
const COUNTED_DOWN: fn(u64, u64) -> u64 = |vcpus, turns| u64::from((vcpus * turns).wrapping_neg() as u32);
/// Each vCPU flips a bit of its own an odd number of times.
const FLIPPED: fn(u64, u64) -> u64 = |vcpus, _| ((1 << vcpus) - 1) << 13;

/// mov eax, 2000h; mov ecx, r12d; shl eax, cl
const OWN_BIT: &[u8] = &[0xb8, 0, 0x20, 0, 0, 0x44, 0x89, 0xe1, 0xd3, 0xe0];
/// mov rax, 7f000dh; add rax, r12; sub rbx, fe000h: bit 13 and on, by far.
const FAR_BIT: &[u8] =
    &[0x48, 0xc7, 0xc0, 0x0d, 0, 0x7f, 0, 0x4c, 0x01, 0xe0, 0x48, 0x81, 0xeb, 0, 0xe0, 0x0f, 0];

#[rustfmt::skip]
const FORMS: &[Form] = &[
    form("lock inc word", 2, &[0x66, 0xf0, 0xff, 0x03], |vcpus, turns| (vcpus * turns) & 0xffff),
    form("lock inc", 4, &[0xf0, 0xff, 0x03], COUNTED),
    form("lock inc qword", 8, &[0xf0, 0x48, 0xff, 0x03], COUNTED),
    form("lock dec", 4, &[0xf0, 0xff, 0x0b], COUNTED_DOWN),
    form("lock add", 4, &[0xf0, 0x83, 0x03, 1], COUNTED),
    form("lock sub", 4, &[0xf0, 0x83, 0x2b, 1], COUNTED_DOWN),
    // stc; lock adc dword [rbx], 0
    form("lock adc", 4, &[0xf9, 0xf0, 0x83, 0x13, 0], COUNTED),
    form("lock sbb", 4, &[0xf9, 0xf0, 0x83, 0x1b, 0], COUNTED_DOWN),
    // mov eax, 1; lock xadd [rbx], eax
    form("lock xadd", 4, &[0xb8, 1, 0, 0, 0, 0xf0, 0x0f, 0xc1, 0x03], COUNTED),
    form("lock not", 4, &[0xf0, 0xf7, 0x13], |vcpus, turns| if vcpus * turns % 2 == 1 { 0xffff_ffff } else { 0 }),
    Form { before: OWN_BIT, ..form("lock xor", 4, &[0xf0, 0x31, 0x03], FLIPPED) },
    // lock or [rbx], eax; test [rbx], eax; jnz +7; inc dword [WRONG]; not eax; lock and [rbx], eax; not eax
    Form { before: OWN_BIT, ..form("lock or, lock and", 4, &[
        0xf0, 0x09, 0x03, 0x85, 0x03, 0x75, 7, 0xff, 0x04, 0x25, 0x80, 0, 2, 0,
        0xf7, 0xd0, 0xf0, 0x21, 0x03, 0xf7, 0xd0,
    ], |_, _| 0) },
    Form { before: FAR_BIT, ..form("lock btc, far", 8, &[0xf0, 0x48, 0x0f, 0xbb, 0x03], FLIPPED) },
    form("lock btc", 4, &[0xf0, 0x0f, 0xba, 0x3b, 13], |vcpus, turns| (vcpus * turns % 2) << 13),
    // again: mov eax, [rbx]; lea ecx, [rax + 1]; lock cmpxchg [rbx], ecx; jne again
    form("lock cmpxchg", 4, &[0x8b, 0x03, 0x8d, 0x48, 1, 0xf0, 0x0f, 0xb1, 0x0b, 0x75, 0xf5], COUNTED),
    // again: mov rax, [rbx]; lea rcx, [rax + 1]; lock cmpxchg [rbx], rcx; jne again
    form("lock cmpxchg qword", 8, &[0x48, 0x8b, 0x03, 0x48, 0x8d, 0x48, 1, 0xf0, 0x48, 0x0f, 0xb1, 0x0b, 0x75, 0xf2], COUNTED),
    // RBX is the operand's address and its new value's lower half: mov r11, rbx; again: mov eax, [r11];
    // mov edx, [r11 + 4]; lea ebx, [rax + 1]; mov ecx, edx; lock cmpxchg8b [r11]; jne again; mov rbx, r11
    form("lock cmpxchg8b", 8, &[
        0x49, 0x89, 0xdb, 0x41, 0x8b, 0x03, 0x41, 0x8b, 0x53, 4, 0x8d, 0x58, 1, 0x89, 0xd1,
        0xf0, 0x41, 0x0f, 0xc7, 0x0b, 0x75, 0xed, 0x4c, 0x89, 0xdb,
    ], COUNTED),
];

/// What vCPU number `vcpu` of `vcpus` does: `before`, a barrier, `rounds` times `turn`, a barrier; then EAX is left.
fn code(vcpu: usize, vcpus: usize, address: u64, before: &[u8], turn: &[u8], rounds: u32) -> Vec<u8> {
    let mut code = Code::default();
    // xor r13d, r13d; mov r12d, vcpu; mov rbx, address
    code.bytes(&[0x45, 0x31, 0xed, 0x41, 0xbc]).word(vcpu as u32).bytes(&[0x48, 0xbb]);
    code.bytes(&address.to_le_bytes()).bytes(before).barrier(BARRIER, vcpus);
    // mov ebp, rounds
    code.bytes(&[0xbd]).word(rounds);
    let again = code.here();
    // dec ebp; jnz again
    code.bytes(turn).bytes(&[0xff, 0xcd]).jump_back(&[0x0f, 0x85], again);
    // mov [r12 * 4 + HELD], eax
    code.bytes(&[0x42, 0x89, 0x04, 0xa5]).word(HELD as u32).barrier(BARRIER, vcpus);
    code.finish()
}

/// A guest with the two pages of [`FRAMES`] at [`TEST_ADDRESS`], run to its end.
fn run(engine: &SoftEngine, codes: &[Vec<u8>]) -> Ended {
    let mut guest = SmpGuest::new(codes);
    guest.guest().map_test([P | W | A | D; 4], FRAMES[0]);
    guest.guest().put64(TEST_PT + 16, FRAMES[1] | P | W | A | D);
    let ended = guest.run(engine, None, PATIENCE).unwrap();
    assert!(ended.in_time, "the guest did not end");
    ended
}

fn word(ended: &Ended, at: u64) -> u32 {
    ended.memory.slots().read_obj(GuestAddress(at)).unwrap()
}

fn engines() -> [SoftEngine; 3] {
    [SoftEngine::eager(), SoftEngine::interpreter(), SoftEngine::one_vcpu_at_a_time()]
}

/// `form` at `place` by `vcpus`, on the same instruction's other tier too.
fn check(form: &Form, place: Place, vcpus: usize, rounds: u32) {
    for engine in engines() {
        let address = place.address(form.size);
        let one = |vcpu| code(vcpu, vcpus, address, form.before, form.turn, rounds);
        let ended = run(&engine, &(0..vcpus).map(one).collect::<Vec<_>>());
        let expected = (form.left)(vcpus as u64, rounds.into());
        let came = (place.value(form.size, &ended), word(&ended, WRONG));
        assert_eq!(came, (expected, 0), "{} {place:?}, {vcpus} vCPUs, {engine:?}", form.name);
    }
}

fn check_all(rounds: u32) {
    for (index, form) in FORMS.iter().enumerate() {
        for (turn, place) in PLACES.into_iter().enumerate() {
            check(form, place, 2 + (index + turn) % 3, rounds);
        }
    }
}

#[test]
fn no_change_is_lost() {
    check_all(ROUNDS);
}

#[test]
#[ignore = "minutes of split locks"]
fn no_change_of_many_is_lost() {
    check_all(LONG_ROUNDS);
}

/// lea eax, [r12 + 1]; imul eax, eax, 11111111h
const OWN_PATTERN: &[u8] = &[0x41, 0x8d, 0x44, 0x24, 1, 0x69, 0xc0, 0x11, 0x11, 0x11, 0x11];

#[test]
fn exchanged_values_stay_whole() {
    for (engine, place) in engines().into_iter().flat_map(|engine| PLACES.map(|place| (engine, place))) {
        // xchg [rbx], eax
        let one = |vcpu| code(vcpu, 3, place.address(4), OWN_PATTERN, &[0x87, 0x03], ROUNDS);
        let ended = run(&engine, &[one(0), one(1), one(2)]);
        let mut values = vec![place.value(4, &ended)];
        values.extend((0..3).map(|vcpu| u64::from(word(&ended, HELD + 4 * vcpu))));
        values.sort_unstable();
        assert_eq!(values, [0, 0x1111_1111, 0x2222_2222, 0x3333_3333], "{place:?} {engine:?}");
    }
}

/// mov eax, [rbx]; lea ecx, [rax + 1]; cmp ecx, 1; jbe +7; inc dword [WRONG]
const LOOK: &[u8] = &[0x8b, 0x03, 0x8d, 0x48, 1, 0x83, 0xf9, 1, 0x76, 7, 0xff, 0x04, 0x25, 0x80, 0, 2, 0];
/// not eax; xchg [rbx], eax would bring back what was there: mov edx, eax; xchg [rbx], edx; not eax
const FLIP: &[u8] = &[0x89, 0xc2, 0x87, 0x13, 0xf7, 0xd0];
/// mov [rbx], eax; not eax
const STORE: &[u8] = &[0x89, 0x03, 0xf7, 0xd0];
/// mov eax, -1
const ONES: &[u8] = &[0xb8, 0xff, 0xff, 0xff, 0xff];

#[test]
fn a_plain_load_sees_no_half_of_a_locked_change() {
    let rounds = 4 * ROUNDS;
    for (engine, place) in engines().into_iter().flat_map(|engine| PLACES.map(|place| (engine, place))) {
        if matches!(place, Place::Device | Place::DevicePage | Place::Mixed) {
            continue;
        }
        let address = place.address(4);
        let mut codes = vec![code(0, 2, address, &[], LOOK, rounds), code(1, 2, address, ONES, FLIP, rounds)];
        if place == Place::Misaligned {
            // In one line a plain store is whole, too.
            codes = vec![
                code(0, 3, address, &[], LOOK, rounds),
                code(1, 3, address, ONES, FLIP, rounds),
                code(2, 3, address, ONES, STORE, rounds),
            ];
        }
        let ended = run(&engine, &codes);
        assert_eq!(word(&ended, WRONG), 0, "{place:?} {engine:?}");
    }
}

/// Stores a byte, waits until it is seen, and looks whether it is still there:
/// mov [rbx], bpl; mfence; cmp [rbx], bpl; je +7; inc dword [WRONG]
const OWN_BYTE: &[u8] =
    &[0x40, 0x88, 0x2b, 0x0f, 0xae, 0xf0, 0x40, 0x38, 0x2b, 0x74, 7, 0xff, 0x04, 0x25, 0x80, 0, 2, 0];

#[test]
fn a_plain_store_to_a_half_is_not_undone() {
    for (engine, place) in engines().into_iter().flat_map(|engine| PLACES.map(|place| (engine, place))) {
        let address = place.address(4);
        // lock add dword [rbx], 10000h, which leaves the first byte as it is
        let add = [0xf0, 0x81, 0x03, 0, 0, 1, 0];
        let codes = [code(0, 2, address, &[], &add, ROUNDS), code(1, 2, address, &[], OWN_BYTE, 4 * ROUNDS)];
        let ended = run(&engine, &codes);
        let came = (word(&ended, WRONG), place.value(4, &ended) >> 16);
        assert_eq!(came, (0, ROUNDS.into()), "{place:?} {engine:?}");
    }
}

#[test]
fn sixteen_bytes_have_to_be_aligned() {
    // lock cmpxchg16b [rbx + 8]
    let guest = Guest::long(0, &[0xf0, 0x48, 0x0f, 0xc7, 0x4b, 8]);
    for engine in engines() {
        let outcome = engine_suite::run::run(&engine, &guest).unwrap();
        assert_eq!((outcome.end, outcome.error), (End::Event(13), Some(0)), "{engine:?}");
    }
}

#[test]
fn detection_of_split_locks_is_not_offered() {
    // mov eax, 7; xor ecx, ecx; cpuid; mov esi, ecx; mov edi, edx; mov ecx, TEST_CTRL; rdmsr
    let code =
        [0xb8, 7, 0, 0, 0, 0x31, 0xc9, 0x0f, 0xa2, 0x89, 0xce, 0x89, 0xd7, 0xb9, 0x33, 0, 0, 0, 0x0f, 0x32];
    let outcome = engine_suite::run::run(&SoftEngine::default(), &Guest::long(0, &code)).unwrap();
    let registers = outcome.state.registers;
    // Core capabilities, bus lock detection (SDM vol. 2A, CPUID).
    let offered = (registers.rdi >> 30 & 1, registers.rsi >> 24 & 1);
    assert_eq!((outcome.end, offered), (End::Event(13), (0, 0)));
}
