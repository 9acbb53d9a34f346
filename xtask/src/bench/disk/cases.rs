//! What is measured: formats, patterns, sizes of requests, depths, and how fio is told.

use std::fmt;

/// A disk image's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Raw,
    Qcow2,
}

impl Format {
    pub const ALL: [Format; 2] = [Format::Raw, Format::Qcow2];

    /// As Yagura and QEMU both call it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
        }
    }
}

/// The order of requests, and their direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    SequentialRead,
    RandomRead,
    SequentialWrite,
    RandomWrite,
}

impl Pattern {
    pub const ALL: [Pattern; 4] =
        [Pattern::SequentialRead, Pattern::RandomRead, Pattern::SequentialWrite, Pattern::RandomWrite];

    pub fn is_write(self) -> bool {
        matches!(self, Pattern::SequentialWrite | Pattern::RandomWrite)
    }

    /// What fio calls it.
    pub fn name(self) -> &'static str {
        match self {
            Pattern::SequentialRead => "read",
            Pattern::RandomRead => "randread",
            Pattern::SequentialWrite => "write",
            Pattern::RandomWrite => "randwrite",
        }
    }
}

/// Sizes of requests, in KiB.
pub const BLOCKS_KIB: [u32; 3] = [4, 64, 1024];
/// Requests in flight.
pub const DEPTHS: [u32; 3] = [1, 8, 32];
/// What reads go over, again and again, in MiB.
pub const READ_MIB: u32 = 256;

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    pub format: Format,
    pub pattern: Pattern,
    pub block_kib: u32,
    pub depth: u32,
}

impl Case {
    /// All of them, those of one format and pattern together.
    pub fn all() -> Vec<Case> {
        let mut cases = Vec::new();
        for format in Format::ALL {
            for pattern in Pattern::ALL {
                for block_kib in BLOCKS_KIB {
                    for depth in DEPTHS {
                        cases.push(Case { format, pattern, block_kib, depth });
                    }
                }
            }
        }
        cases
    }

    /// Its name within a guest, which has one format only.
    pub fn job(&self) -> String {
        format!("{}-{}k-x{}", self.pattern.name(), self.block_kib, self.depth)
    }

    /// What a case writes, each to a place of its own where nothing was written before, in MiB.
    pub fn write_mib(&self) -> u32 {
        match self.block_kib {
            ..64 => 32,
            64..1024 => 96,
            _ => 192,
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.format.name(), self.job())
    }
}

/// Size of the disk for cases of one format and pattern, in MiB.
pub fn disk_mib(cases: &[Case]) -> u32 {
    let written: u32 = cases.iter().filter(|case| case.pattern.is_write()).map(Case::write_mib).sum();
    written.max(READ_MIB)
}

/// What a job writes to the console as it begins and as it has ended.
pub const BEGIN: &str = "DISK-BEGIN ";
pub const END: &str = "DISK-END ";
/// fio's jobs, one after the other, and one before them that does not count: buffers that the guest has not used yet
/// are memory that the host has not given yet. A read goes on for `millis`; a write ends sooner when all is written.
pub fn jobs(cases: &[Case], device: &str, millis: u32) -> String {
    let mut text = format!(
        "[global]\nfilename={device}\nioengine=libaio\ndirect=1\nthread\ngtod_reduce=1\nrandrepeat=1\n\
        allow_file_create=0\ndisk_util=0\nruntime={millis}ms\n\
        [warm]\nrw=read\nbs=1024k\niodepth=32\nnumber_ios=128\n"
    );
    let mut offset_mib = 0;
    for case in cases {
        let Case { pattern, block_kib, depth, .. } = case;
        let (name, pattern_name) = (case.job(), pattern.name());
        text += &format!(
            "[{name}]\nstonewall\nrw={pattern_name}\nbs={block_kib}k\niodepth={depth}\n\
            exec_prerun=sh -c \"echo {BEGIN}{name} >/dev/console\"\n\
            exec_postrun=sh -c \"echo {END}{name} >/dev/console\"\n"
        );
        if pattern.is_write() {
            text += &format!("offset={offset_mib}m\nsize={}m\n", case.write_mib());
            offset_mib += case.write_mib();
        } else {
            text += &format!("size={READ_MIB}m\ntime_based\nnorandommap\n");
        }
    }
    text
}

/// What the guest's first process does: fio out of Debian's disk, its report to the disk `notes`, which the console would
/// be slow for.
pub fn script(jobs: &str, debian: &str, notes: &str) -> String {
    format!(
        "mkdir /debian\n\
        mount -t ext4 -o ro,noload {debian} /debian\n\
        for folder in proc sys dev; do mount --bind /$folder /debian/$folder; done\n\
        mount -t tmpfs tmpfs /debian/tmp\n\
        cat >/debian/tmp/jobs <<'JOBS'\n{jobs}JOBS\n\
        chroot /debian sh -c 'cd /tmp && fio --output-format=json jobs >report'\n\
        echo \"fio ended with $?\"\n\
        cat /debian/tmp/report >{notes}\n\
        sync\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<String> = Case::all().iter().map(Case::to_string).collect();
        assert_eq!(names.len(), 72);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 72);
    }

    #[test]
    fn writes_go_where_nothing_was_written_and_fit_the_disk() {
        let is_write = |case: &Case| case.format == Format::Qcow2 && case.pattern == Pattern::RandomWrite;
        let cases: Vec<Case> = Case::all().into_iter().filter(is_write).collect();
        let text = jobs(&cases, "/dev/vdb", 500);
        let numbers = |key: &str| -> Vec<u32> {
            let lines = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_suffix('m'));
            lines.map(|number| number.parse().unwrap()).collect()
        };
        let (offsets, sizes) = (numbers("offset="), numbers("size="));
        assert_eq!((offsets.len(), sizes.len()), (9, 9));
        let ends: Vec<u32> = offsets.iter().zip(&sizes).map(|(offset, size)| offset + size).collect();
        assert!(offsets.iter().skip(1).zip(&ends).all(|(next, end)| next == end));
        assert_eq!(ends.last(), Some(&disk_mib(&cases)));
    }
}
