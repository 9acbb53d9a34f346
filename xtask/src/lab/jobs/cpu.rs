//! Named CPU models: what a guest finds in its processor, and the refusal of what the machine lacks.
//!
//! The flags are written down here a second time, by the names that Linux gives them, so that the monitor's own
//! table is not compared with itself.

use super::{Job, Lab, MONITOR, Outcome};
use crate::lab::guest::{Guest, status};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;

/// This theme's jobs.
pub const JOBS: &[Job] = &[Job {
    name: "cpu-models",
    about: "x86-64-v1 to v4 and host: the guest's flags, or a clear refusal",
    limit_seconds: 240,
    run: models,
    ..MONITOR
}];

/// A level of the x86-64 psABI (table 3.1) and the flags that it adds. v3 has AES and carry-less multiply besides
/// (ADR 4).
const LEVELS: [(&str, &[&str]); 4] = [
    ("x86-64-v1", &["cmov", "cx8", "fpu", "fxsr", "mmx", "syscall", "sse", "sse2"]),
    ("x86-64-v2", &["cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"]),
    (
        "x86-64-v3",
        &["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave", "aes", "pclmulqdq"],
    ),
    ("x86-64-v4", &["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"]),
];

/// A flag of AMD's processors that no named model has.
const OF_NO_MODEL: &str = "sse4a";

/// Flags that the guest's kernel does not show when it mistrusts XSAVE: leaf, byte in the answer (EAX, EBX, ECX, EDX)
/// and bit in it (SDM vol. 2A, CPUID). QEMU before 9.1 lets XSETBV pass where KVM wants to see it, so that KVM's
/// answer to leaf 0xd does not fit the guest's XCR0, and Linux turns XSAVE and what hangs on it off.
const HANG_ON_XSAVE: [(&str, u32, usize, u32); 4] =
    [("fma", 1, 9, 4), ("xsave", 1, 11, 2), ("avx", 1, 11, 4), ("avx2", 7, 4, 5)];

fn models(lab: &Lab) -> Result<Outcome> {
    let host = flags(&std::fs::read_to_string("/proc/cpuinfo")?)?;
    ensure!(host.contains(OF_NO_MODEL), "the lab's processor lacks {OF_NO_MODEL}");
    for (index, (model, _)) in LEVELS.iter().enumerate() {
        let (has, above) = LEVELS.split_at(index + 1);
        let lacks: Vec<&str> = named(has).filter(|flag| !host.contains(*flag)).collect();
        if lacks.is_empty() {
            let guest = flags_in_guest(lab, model)?;
            expect(model, &guest, named(has), named(above).chain([OF_NO_MODEL]))?;
            println!("{model}: as it should be");
        } else {
            refused(lab, model)?;
            println!("{model}: refused, the lab's processor lacks {}", lacks.join(" "));
        }
    }
    let guest = flags_in_guest(lab, "host")?;
    let (there, absent): (Vec<&str>, Vec<&str>) = named(&LEVELS).partition(|flag| host.contains(*flag));
    expect("host", &guest, there.into_iter().chain([OF_NO_MODEL]), absent)?;
    Ok(Outcome::Passed)
}

fn named<'a>(levels: &'a [(&str, &'a [&'a str])]) -> impl Iterator<Item = &'a str> {
    levels.iter().flat_map(|(_, flags)| flags.iter().copied())
}

/// The flags of the first processor in the text of `/proc/cpuinfo`.
fn flags(cpuinfo: &str) -> Result<BTreeSet<String>> {
    let line = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")).context("no flags in cpuinfo")?;
    Ok(line.split_whitespace().map(str::to_owned).collect())
}

fn flags_in_guest(lab: &Lab, model: &str) -> Result<BTreeSet<String>> {
    let mut guest = lab.setup("cpu")?.with(&["--cpu-model", model]).start()?;
    guest.ready().with_context(|| format!("with {model}"))?;
    let mut found = flags(&guest.command("cat /proc/cpuinfo")?)?;
    for (flag, leaf, byte, bit) in HANG_ON_XSAVE {
        if answer(&mut guest, leaf)?.get(byte).is_some_and(|byte| byte >> bit & 1 == 1) {
            found.insert(flag.to_owned());
        }
    }
    guest.power_off()?;
    Ok(found)
}

/// What the guest's processor answers to CPUID with ECX = 0, by the driver that asks it.
fn answer(guest: &mut Guest, leaf: u32) -> Result<Vec<u8>> {
    let read = format!("dd if=/dev/cpu/0/cpuid bs=16 count=1 iflag=skip_bytes skip={leaf} 2>/dev/null");
    let bytes = guest.command(&format!("{read} | od -A n -v -t u1"))?;
    bytes
        .split_whitespace()
        .map(|byte| byte.parse().with_context(|| format!("leaf {leaf}: {bytes}")))
        .collect()
}

fn expect<'a>(
    model: &str,
    guest: &BTreeSet<String>,
    present: impl IntoIterator<Item = &'a str>,
    absent: impl IntoIterator<Item = &'a str>,
) -> Result<()> {
    let missing: Vec<&str> = present.into_iter().filter(|flag| !guest.contains(*flag)).collect();
    ensure!(missing.is_empty(), "a guest on {model} lacks {}", missing.join(" "));
    let beyond: Vec<&str> = absent.into_iter().filter(|flag| guest.contains(*flag)).collect();
    ensure!(beyond.is_empty(), "a guest on {model} has {}", beyond.join(" "));
    Ok(())
}

/// Sees to it that the monitor does not start, and says in one line why.
fn refused(lab: &Lab, model: &str) -> Result<()> {
    let mut guest = lab.setup("cpu")?.with(&["--cpu-model", model]).start()?;
    guest.ended_with(status::NOT_STARTED)?;
    let said = guest.said()?;
    let clear = format!("cannot offer CPU model {model}: it lacks ");
    ensure!(said.lines().count() == 1 && said.contains(&clear), "{model} was refused with: {said}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_whole_words_of_one_line() {
        let found = flags("model\t: 1\nflags\t\t: fpu sse sse2\nbugs\t: avx\n").unwrap();
        assert!(found.contains("sse2") && !found.contains("ss") && !found.contains("avx"));
        assert!(flags("model: 1\n").is_err());
    }

    #[test]
    fn a_flag_too_much_and_one_too_few_are_told() {
        let guest = BTreeSet::from(["sse".to_owned(), "avx".to_owned()]);
        assert!(expect("v1", &guest, ["sse"], ["avx2"]).is_ok());
        assert!(expect("v1", &guest, ["sse3"], []).unwrap_err().to_string().ends_with("lacks sse3"));
        assert!(expect("v1", &guest, ["sse"], ["avx"]).unwrap_err().to_string().ends_with("has avx"));
    }
}
