//! Permissions of 4-level paging (SDM vol. 3, 4.5 to 4.8): each flag at each level, each access, each control bit;
//! error codes, accessed and dirty flags.

use super::{Case, vector};
use crate::guest::{AC, CR0_WP, CR4_SMAP, CR4_SMEP, EFER_NXE, Guest};
use crate::layout::*;
use crate::outcome::Expect;
use crate::tables::{A, D, NX, P, PS, U, W};

const SECTION: &str = "SDM vol. 3, 4.5.4, 4.6, 4.7, 4.8";
const TABLES: [u64; 4] = [PML4, TEST_PDPT, TEST_PD, TEST_PT];
/// Bits that an entry of every level takes.
const ALL: u64 = P | W | U;

/// What the guest does at the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    Write,
    Fetch,
}

/// Control bits.
#[derive(Clone, Copy, Debug)]
struct Controls {
    write_protect: bool,
    smep: bool,
    smap: bool,
    lifted: bool,
    nxe: bool,
}

const STRICT: Controls = Controls { write_protect: true, smep: false, smap: false, lifted: false, nxe: true };

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for access in [Access::Read, Access::Write, Access::Fetch] {
        for cpl in [0, 3] {
            permissions(&mut cases, access, cpl);
            controls(&mut cases, access, cpl);
            malformed(&mut cases, access, cpl);
            large(&mut cases, access, cpl);
        }
    }
    cases
}

/// Every combination of present, writable, user, no-execute at one level, the others allowing everything.
fn permissions(cases: &mut Vec<Case>, access: Access, cpl: u8) {
    for level in 0..4 {
        for bits in 0..16u64 {
            let nx = if bits & 8 != 0 { NX } else { 0 };
            let mut flags = [ALL; 4];
            flags[level] = bits & 7 | nx;
            cases.push(case(access, cpl, flags, STRICT));
        }
    }
}

/// Every combination of control bits with pages of both owners.
fn controls(cases: &mut Vec<Case>, access: Access, cpl: u8) {
    for bits in 0..32u8 {
        let bit = |n: u8| bits >> n & 1 == 1;
        let controls =
            Controls { write_protect: bit(0), smep: bit(1), smap: bit(2), lifted: bit(3), nxe: bit(4) };
        for leaf in [P, P | W, P | U, P | W | U] {
            cases.push(case(access, cpl, [ALL, ALL, ALL, leaf], controls));
        }
        cases.push(case(access, cpl, [ALL, ALL, ALL | NX, ALL], controls));
    }
}

/// Reserved bits, alone and with something that denies the access too.
fn malformed(cases: &mut Vec<Case>, access: Access, cpl: u8) {
    for level in 0..4 {
        for deny in [ALL, P] {
            let mut flags = [ALL; 4];
            // Bit 51 is beyond the width of physical addresses.
            flags[level] = deny | 1 << 51;
            cases.push(case(access, cpl, flags, STRICT));
        }
    }
    cases.push(case(access, cpl, [ALL | PS, ALL, ALL, ALL], STRICT));
    // A reserved bit above an entry that is not present is seen first; below it, never.
    cases.push(case(access, cpl, [ALL, ALL | 1 << 51, 0, 0], STRICT));
    cases.push(case(access, cpl, [ALL, 0, ALL | 1 << 51, ALL], STRICT));
}

/// Why the manual denies an access: error code bits besides those of the access.
fn denied(access: Access, cpl: u8, flags: [u64; 4], controls: Controls) -> Option<u32> {
    const PRESENT: u32 = 1;
    const RESERVED: u32 = 1 << 3;
    for (level, entry) in flags.into_iter().enumerate() {
        let reserved =
            entry & 1 << 51 != 0 || (level == 0 && entry & PS != 0) || (!controls.nxe && entry & NX != 0);
        if entry & P == 0 {
            return Some(0);
        }
        if reserved {
            return Some(PRESENT | RESERVED);
        }
    }
    let all = |bit: u64| flags.into_iter().all(|entry| entry & bit != 0);
    let (user_page, writable) = (all(U), all(W));
    let no_execute = flags.into_iter().any(|entry| entry & NX != 0);
    let smap = controls.smap && !controls.lifted && user_page;
    let allowed = match (cpl, access) {
        (3, _) if !user_page => false,
        (3, Access::Read) => true,
        (3, Access::Write) => writable,
        (_, Access::Fetch) if no_execute => false,
        (3, Access::Fetch) => true,
        (_, Access::Fetch) => !(controls.smep && user_page),
        (_, Access::Read) => !smap,
        (_, Access::Write) => !smap && (writable || !controls.write_protect),
    };
    (!allowed).then_some(PRESENT)
}

fn case(access: Access, cpl: u8, flags: [u64; 4], controls: Controls) -> Case {
    let mut guest = guest(access, cpl, controls);
    guest.map_test(flags, TEST_PAGE);
    guest.put(TEST_PAGE, &[0xcd, DONE]);
    let expect =
        match denied(access, cpl, flags, controls) {
            Some(bits) => fault(&guest, access, cpl, controls, bits)
                .memory(TEST_PT + 8, D, flags[3] & D)
                .memory(TEST_PAGE, u64::MAX, 0x30cd),
            None => {
                let dirty = if access == Access::Write { D } else { 0 };
                TABLES.into_iter().fold(done(access), |expect, table| {
                    let bits = if table == TEST_PT { A | dirty } else { A };
                    expect.memory(table + 8, A | D, bits)
                })
            }
        };
    Case::new(name(access, cpl, flags, controls), SECTION, guest, expect)
}

fn guest(access: Access, cpl: u8, controls: Controls) -> Guest {
    let code: &[u8] = match access {
        Access::Read => &[0x8b, 0x03],
        Access::Write => &[0x89, 0x03],
        Access::Fetch => &[0xff, 0xe3],
    };
    let mut guest = Guest::long(cpl, code);
    guest.registers.rbx = TEST_ADDRESS;
    guest.registers.rax = 0x30cd;
    let when = |on: bool, bit: u64| if on { bit } else { 0 };
    guest.system.cr0 |= when(controls.write_protect, CR0_WP);
    guest.system.cr4 |= when(controls.smep, CR4_SMEP) | when(controls.smap, CR4_SMAP);
    guest.registers.rflags |= when(controls.lifted, AC);
    if !controls.nxe {
        guest.system.efer &= !EFER_NXE;
    }
    guest
}

fn fault(guest: &Guest, access: Access, cpl: u8, controls: Controls, bits: u32) -> Expect {
    let address = guest.registers.rbx;
    let kind = match access {
        Access::Read => 0,
        Access::Write => 2,
        // I/D is set with SMEP, or PAE and NXE (SDM vol. 3, 4.7).
        Access::Fetch if controls.smep || controls.nxe => 0x10,
        Access::Fetch => 0,
    };
    let user = if cpl == 3 { 4 } else { 0 };
    let rip = if access == Access::Fetch { address } else { guest.start };
    Expect::fault_at(vector::PF, bits | kind | user, rip).cr2(address)
}

fn done(access: Access) -> Expect {
    match access {
        Access::Read => Expect::done().rax(0x30cd),
        Access::Write => Expect::done().memory(TEST_PAGE, 0xffff, 0x30cd),
        Access::Fetch => Expect::done().rip(TEST_ADDRESS + 2),
    }
}

fn name(access: Access, cpl: u8, flags: [u64; 4], controls: Controls) -> String {
    let Controls { write_protect, smep, smap, lifted, nxe } = controls;
    let on = [(write_protect, "WP"), (smep, "SMEP"), (smap, "SMAP"), (lifted, "AC"), (nxe, "NXE")];
    let on: Vec<&str> = on.into_iter().filter_map(|(on, name)| on.then_some(name)).collect();
    let entries = flags.map(|entry| {
        let letters = [(P, 'P'), (W, 'W'), (U, 'U'), (PS, 'S'), (1 << 51, 'R'), (NX, 'X')];
        letters
            .into_iter()
            .filter_map(|(bit, letter)| (entry & bit != 0).then_some(letter))
            .collect::<String>()
    });
    format!("cpl {cpl} {access:?} by {} with {}", entries.join("/"), on.join(" "))
}

/// Pages of 2 MiB: permissions, dirty flag at the directory, reserved bits of the address.
fn large(cases: &mut Vec<Case>, access: Access, cpl: u8) {
    let rows: [(&str, u64, Option<u32>); 5] = [
        ("good", ALL | PS, None),
        ("with PAT", ALL | PS | 1 << 12, None),
        ("bit 13 set", ALL | PS | 1 << 13, Some(9)),
        ("bit 20 set", ALL | PS | 1 << 20, Some(9)),
        ("absent", PS, Some(0)),
    ];
    for (what, entry, bits) in rows {
        let mut guest = guest(access, cpl, STRICT);
        guest.map_test([ALL; 4], TEST_PAGE);
        guest.put64(TEST_PD + 8, entry);
        let address = (TEST_ADDRESS & !0x1f_ffff) + TEST_PAGE;
        guest.registers.rbx = address;
        guest.put(TEST_PAGE, &[0xcd, DONE]);
        let dirty = if access == Access::Write { D } else { 0 };
        let expect = match bits {
            Some(bits) => fault(&guest, access, cpl, STRICT, bits),
            None if access == Access::Fetch => Expect::done().rip(address + 2).memory(TEST_PD + 8, A | D, A),
            None => done(access).memory(TEST_PD + 8, A | D, A | dirty),
        };
        let name = format!("cpl {cpl} {access:?} by a page of 2 MiB, {what}");
        cases.push(Case::new(name, "SDM vol. 3, table 4-18; 4.8", guest, expect));
    }
}
