//! One disk, two processes: both prepare it, one has it, then the other, as in a migration.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use disk::{
    ActiveDisk, CreateOptions, DiskFormat, DiskOperation, DiskOptions, DiskRequest, PreparedDisk,
    RawContents, create_qcow2,
};
use guest_memory::IoBuffers;

/// The variable that makes a player of this executable: the disk's format and path.
const PLAYS: &str = "YAGURA_TEST_PLAYS";
/// Before each of a player's answers: the test harness says things of its own.
const MARK: &str = ">> ";

/// A process that does what it is told to a disk.
struct Player {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Player {
    fn start(format: DiskFormat, path: &Path) -> Player {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "player", "--ignored", "--nocapture"])
            .env(PLAYS, format!("{}:{}", format.name(), path.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (orders, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut player = Player { child, orders, answers };
        assert_eq!(player.answer(), "prepared");
        player
    }

    fn tell(&mut self, order: &str) -> String {
        writeln!(self.orders, "{order}").unwrap();
        self.answer()
    }

    fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.answers.read_line(&mut line).unwrap() > 0, "the player has ended");
            if let Some((_, answer)) = line.trim_end().split_once(MARK) {
                return answer.to_owned();
            }
        }
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

enum Step {
    Prepared(PreparedDisk),
    Active(ActiveDisk),
}

#[test]
#[ignore = "played by another process of the test below"]
fn player() {
    let Ok(play) = std::env::var(PLAYS) else { return };
    let (format, path) = play.split_once(':').unwrap();
    let options = DiskOptions {
        format: format.parse().unwrap(),
        read_only: false,
        contents: RawContents::Any,
        block_bytes: None,
    };
    let mut step = Step::Prepared(PreparedDisk::open(Path::new(path), options).unwrap());
    println!("{MARK}prepared");
    for order in io::stdin().lines() {
        let order = order.unwrap();
        let (verb, number) = order.split_once(' ').unwrap_or((&order, "0"));
        let answer;
        (step, answer) = play_step(step, verb, number.parse().unwrap());
        println!("{MARK}{answer}");
    }
}

fn play_step(step: Step, verb: &str, number: u64) -> (Step, String) {
    let done = "done".to_owned();
    match (step, verb) {
        (Step::Prepared(disk), "activate") => match disk.activate() {
            Ok(disk) => (Step::Active(disk), done),
            Err(refused) => (Step::Prepared(refused.disk), messages::in_words(&refused.source)),
        },
        (Step::Active(disk), "release") => match disk.release() {
            Ok(disk) => (Step::Prepared(disk), done),
            Err(refused) => (Step::Active(refused.disk), messages::in_words(&refused.source)),
        },
        (Step::Active(disk), "resize") => {
            disk.resize(number).unwrap();
            (Step::Active(disk), done)
        }
        (Step::Active(disk), "size") => {
            let size_bytes = disk.size_bytes();
            (Step::Active(disk), size_bytes.to_string())
        }
        // A byte at this place, of this value.
        (Step::Active(disk), "write") => {
            transfer(&disk, DiskOperation::Write, number, number as u8);
            (Step::Active(disk), done)
        }
        (Step::Active(disk), "read") => {
            let found = transfer(&disk, DiskOperation::Read, number, 0);
            (Step::Active(disk), found.to_string())
        }
        (step, other) => (step, format!("{other} is not for a disk in this step")),
    }
}

/// Writes or reads sector `sector`, each byte of it this value.
fn transfer(disk: &ActiveDisk, operation: DiskOperation, sector: u64, value: u8) -> u8 {
    let mut queue = disk.disk().open_queue().unwrap();
    let buffers = IoBuffers::from_vec(vec![value; 512]);
    let offset_bytes = sector * 512;
    let whole = buffers.slice(0, 512);
    queue.submit(DiskRequest {
        id: 1,
        operation,
        offset_bytes,
        length_bytes: 512,
        buffers: whole,
        durable: false,
    });
    queue.commit();
    let mut done = Vec::new();
    queue.drain(&mut done);
    done.remove(0).result.unwrap();
    buffers.to_vec(1)[0]
}

#[test]
fn a_disk_is_handed_over_and_back() {
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        match format {
            DiskFormat::Raw => std::fs::File::create(&path).unwrap().set_len(1 << 20).unwrap(),
            DiskFormat::Qcow2 => create_qcow2(&path, &CreateOptions::new(1 << 20)).unwrap(),
        }
        let (mut source, mut target) = (Player::start(format, &path), Player::start(format, &path));
        assert_eq!(source.tell("activate"), "done");
        assert_eq!(source.tell("write 3"), "done");
        let refused = target.tell("activate");
        assert!(
            refused.contains("is in use by another machine or process; it can be shared only"),
            "{refused}"
        );
        // What the source does last, after the target has looked at the disk.
        for sector in [5, 200, 2000] {
            assert_eq!(source.tell(&format!("write {sector}")), "done");
        }
        assert_eq!(source.tell("resize 67108864"), "done");
        assert_eq!(source.tell("write 131071"), "done");
        assert!(target.tell("activate").contains("in use"));
        assert_eq!(source.tell("release"), "done");
        assert_eq!(target.tell("activate"), "done");
        assert_eq!(target.tell("size"), "67108864");
        for sector in [3_u64, 5, 200, 2000, 131_071] {
            assert_eq!(
                target.tell(&format!("read {sector}")),
                (sector as u8).to_string(),
                "{format:?} {sector}"
            );
        }
        // And back.
        assert!(source.tell("activate").contains("in use"));
        assert_eq!(target.tell("write 77"), "done");
        assert_eq!(target.tell("release"), "done");
        assert_eq!(source.tell("activate"), "done");
        assert_eq!(source.tell("read 77"), "77");
        // One that dies gives the disk back, with what it had flushed.
        assert_eq!(source.tell("write 9"), "done");
        drop(source);
        assert_eq!(target.tell("activate"), "done");
        assert_eq!(target.tell("read 77"), "77");
        assert_eq!(target.tell("release"), "done");
        if format == DiskFormat::Qcow2 {
            assert_eq!(disk::check(&path, format, None).unwrap().corruptions, 0);
        }
    }
}
