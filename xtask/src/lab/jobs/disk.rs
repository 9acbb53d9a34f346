//! Disks: what is written is there after a reboot, and under stress.

use super::{Job, Lab, MONITOR, Outcome, Soft};
use crate::process;
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::path::PathBuf;
use std::process::Command;

/// This theme's jobs.
pub const JOBS: &[Job] = &[
    Job {
        name: "disk-reboot",
        about: "checksums of a disk are the same after a reboot",
        quick: true,
        soft: Soft::Yes,
        limit_seconds: 150,
        run: reboot,
        ..MONITOR
    },
    Job {
        name: "disk-options",
        about: "serial number, read-only, a block device as a disk",
        soft: Soft::Yes,
        run: options,
        ..MONITOR
    },
    Job {
        name: "disk-4096",
        about: "Debian from a partition of a disk with blocks of 4096 bytes",
        soft: Soft::Yes,
        limit_seconds: 240,
        run: large_blocks,
        ..MONITOR
    },
    Job { name: "disk-in-use", about: "a second monitor does not get a disk in use", run: in_use, ..MONITOR },
    Job {
        name: "fio",
        about: "mixed random I/O with verification",
        soft: Soft::Yes,
        limit_seconds: 420,
        run: fio,
        ..MONITOR
    },
];

const MIB: u64 = 1 << 20;

fn empty_disk(lab: &Lab, name: &str, size_bytes: u64) -> Result<PathBuf> {
    let path = lab.folder().join(name);
    File::create(&path)?.set_len(size_bytes)?;
    Ok(path)
}

fn sum(path: &str, mib: u64) -> Result<String> {
    let line = process::output(
        Command::new("sh").args(["-c", &format!("head -c {} {path} | sha256sum", mib * MIB)]),
    )?;
    Ok(line.split(' ').next().context("sha256sum said nothing")?.to_owned())
}

fn reboot(lab: &Lab) -> Result<Outcome> {
    const SUM: &str = "dd if=/dev/vda bs=1M count=24 2>/dev/null | sha256sum | cut -d' ' -f1";
    let disk = empty_disk(lab, "data.raw", 32 * MIB)?;
    let setup =
        lab.setup("disk")?.with(&["--on-reset", "restart", "--disk", &format!("path={}", disk.display())]);
    let mut guest = setup.start()?;
    guest.ready()?;
    guest.command("dd if=/dev/urandom of=/dev/vda bs=1M count=24 conv=fsync 2>/dev/null")?;
    let written = guest.command(SUM)?;
    guest.console.send("reboot -f\n")?;
    guest.ready()?;
    let read = guest.command(SUM)?;
    ensure!(written == read, "wrote {written}, read {read} after the reboot");
    guest.power_off()?;
    let outside = sum(&disk.to_string_lossy(), 24)?;
    ensure!(outside == read, "the guest reads {read}, the file holds {outside}");
    Ok(Outcome::Passed)
}

fn options(lab: &Lab) -> Result<Outcome> {
    let disk = empty_disk(lab, "data.raw", 16 * MIB)?;
    let debian = lab.debian_image()?.display().to_string();
    let arguments =
        [format!("path={},serial=yagura-7", disk.display()), format!("path={debian},readonly,serial=debian")];
    let mut guest = lab.setup("disk")?.with(&["--disk", &arguments[0], "--disk", &arguments[1]]).start()?;
    guest.ready()?;
    let seen = guest.command("cat /sys/block/vda/serial; echo; cat /sys/block/vdb/serial; echo; cat /sys/block/vda/ro /sys/block/vdb/ro")?;
    let words: Vec<&str> = seen.split_whitespace().collect();
    ensure!(words == ["yagura-7", "debian", "0", "1"], "the guest sees {words:?}");
    guest.command("! dd if=/dev/zero of=/dev/vdb bs=4k count=1 oflag=direct 2>/dev/null")?;
    let inside = guest.command("dd if=/dev/vdb bs=1M count=32 2>/dev/null | sha256sum | cut -d' ' -f1")?;
    let outside = sum(&debian, 32)?;
    ensure!(inside == outside, "the guest reads {inside}, we read {outside}");
    guest.power_off()?;
    Ok(Outcome::Passed)
}

/// Length of the second partition, in bytes.
const SPARE_BYTES: u64 = 64 * MIB;
/// A unit of `/sys/block/*/*/start` and `size`, in bytes.
const SYSFS_BYTES: u64 = 512;

fn large_blocks(lab: &Lab) -> Result<Outcome> {
    const BLOCK_BYTES: u64 = 4096;
    let system = lab.debian_image()?;
    let system_bytes = File::open(system)?.seek(SeekFrom::End(0))?;
    let disk = empty_disk(lab, "large.raw", MIB + system_bytes + SPARE_BYTES + MIB)?;
    // Debian's own program lays it out: Debian from 1 MiB on, then what is left.
    let script = lab.folder().join("fdisk.script");
    let (start, last) = (MIB / BLOCK_BYTES, system_bytes / BLOCK_BYTES - 1);
    fs::write(&script, format!("g\nn\n1\n{start}\n+{last}\nn\n2\n\n\nw\n"))?;
    let fdisk = process::find("fdisk").context("there is no fdisk")?;
    let mut lay_out = Command::new("sh");
    lay_out
        .args(["-c", &format!("\"$0\" -b {BLOCK_BYTES} \"$1\" <\"$2\"")])
        .arg(fdisk)
        .arg(&disk)
        .arg(&script);
    process::run(&mut lay_out)?;
    let mut copy = Command::new("dd");
    copy.arg(format!("if={}", system.display())).arg(format!("of={}", disk.display()));
    process::run(copy.args(["bs=1M", "seek=1", "conv=notrunc,sparse", "status=none"]))?;

    let setup = lab.setup("large")?.boot_with("root=/dev/vda1");
    let argument = format!("path={},block-size={BLOCK_BYTES}", disk.display());
    let mut guest = setup.with(&["--disk", &argument, "--memory", "512M"]).start()?;
    guest.log_in()?;
    for (command, expected) in [
        ("cat /sys/block/vda/queue/logical_block_size", BLOCK_BYTES.to_string()),
        ("cat /sys/block/vda/queue/physical_block_size", BLOCK_BYTES.to_string()),
        ("cat /sys/block/vda/vda1/start", (MIB / SYSFS_BYTES).to_string()),
        ("cat /sys/block/vda/vda1/size", (system_bytes / SYSFS_BYTES).to_string()),
        ("findmnt --noheadings --output SOURCE /", "/dev/vda1".to_owned()),
    ] {
        let seen = guest.command(command)?;
        ensure!(seen.trim() == expected, "`{command}` printed {seen:?}, not {expected:?}");
    }
    // A part of a block cannot be written; whole ones hold a file system.
    guest.command("! dd if=/dev/zero of=/dev/vda2 bs=512 count=1 oflag=direct 2>/dev/null")?;
    guest.command("dd if=/dev/zero of=/dev/vda2 bs=4096 count=1 oflag=direct 2>/dev/null")?;
    let limit = lab.limit(120);
    let copied = "mke2fs -q /dev/vda2 && mount /dev/vda2 /mnt && cp -a /etc /mnt && sync && diff -r --no-dereference /etc \
                  /mnt/etc && umount /mnt && e2fsck -fn /dev/vda2 >/dev/null 2>&1";
    guest.slow_command(copied, limit)?;
    guest.console.send("systemctl poweroff\n")?;
    guest.ended_with(crate::lab::guest::status::SHUTDOWN)?;
    Ok(Outcome::Passed)
}

fn in_use(lab: &Lab) -> Result<Outcome> {
    let disk = empty_disk(lab, "data.raw", MIB)?;
    let argument = format!("path={}", disk.display());
    let mut first = lab.setup("first")?.with(&["--disk", &argument]).start()?;
    first.ready()?;
    let status = lab.setup("second")?.with(&["--disk", &argument]).start()?.wait()?;
    ensure!(status.code().is_some_and(|code| code != 0), "a second monitor took a disk in use: {status}");
    first.power_off()?;
    Ok(Outcome::Passed)
}

fn fio(lab: &Lab) -> Result<Outcome> {
    const MIXED: &str = "fio --name=mixed --filename=/dev/vdb --rw=randrw --bsrange=512-64k --bs_unaligned=0 --blockalign=512 \
        --size=48M --io_size=48M --ioengine=libaio --iodepth=16 --direct=1 --verify=crc32c --verify_fatal=1 --do_verify=1 \
        --numjobs=1 --group_reporting --output-format=terse --minimal";
    let disk = empty_disk(lab, "data.raw", 64 * MIB)?;
    let setup = lab.setup("fio")?.debian()?.with(&[
        "--disk",
        &format!("path={}", disk.display()),
        "--memory",
        "512M",
        "--cpus",
        "2",
    ]);
    let mut guest = setup.start()?;
    guest.log_in()?;
    let limit = lab.limit(120);
    guest.slow_command(&format!("{MIXED} >/dev/null"), limit)?;
    let trims = "fio --name=trim --filename=/dev/vdb --rw=randtrim --bs=64k --size=8M --ioengine=sync --direct=1 --minimal >/dev/null";
    guest.slow_command(trims, limit)?;
    guest.slow_command("mke2fs -q /dev/vdb && mount /dev/vdb /mnt && cp -a /usr/bin /mnt && sync && diff -r --no-dereference /usr/bin /mnt/bin", limit)?;
    guest.power_off()?;
    Ok(Outcome::Passed)
}
