//! The child's side: takes its order, confines itself, does the job, says what came of it.

mod boot;
mod disks;
mod oci;
mod recognize;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use host_sys::sandbox;
use messages::in_words;
use oci_image::ByteRange;

use crate::appliance::{self, ApplianceSource};
use crate::layers;
use crate::limits::Limits;
use crate::position::{PositionReader, length_bytes};
use crate::text::printable;
use crate::unpack::unpack;
use crate::wire::{Answer, Answered, Job, Order, Outcome, frame, receive_order};

/// How often progress is told, at most.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// Becomes the confined child: waits for an order on standard input, which the parent has made a socket. Call it
/// first of all in `main`; it returns when the job is over.
pub fn child_main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody is there to be told.
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve() -> io::Result<()> {
    let socket = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (order, files) = receive_order(&socket)?;
    let mut parent = Parent { socket, told: None };
    let Order { limits, job } = order;
    let keep: Vec<_> = files.iter().map(AsFd::as_fd).chain([parent.socket.as_fd()]).collect();
    match sandbox::enter(&keep, &sandbox_limits(&limits)) {
        Ok(refused) => {
            let refused = refused.iter().map(|layer| format!("{}: {}", layer.layer, layer.reason));
            parent.tell(&Answer::Confined(refused.collect()))?;
        }
        Err(error) => return parent.tell(&Answer::Unconfined(in_words(&error))),
    }
    // A panic is a reader's error like others: told, not printed.
    std::panic::set_hook(Box::new(|_| ()));
    let outcome = catch_unwind(AssertUnwindSafe(|| work(job, files, &limits, &mut parent)));
    match outcome {
        Ok(Ok(outcome)) => parent.tell(&Answer::Done(Box::new(outcome))),
        // What was read may be quoted at any length; an answer is a bounded frame.
        Ok(Err(complaint)) => parent.tell(&Answer::Failed(printable(&complaint))),
        // Where it stood in the program says nothing to a person.
        Err(_) => parent.tell(&Answer::Failed(GAVE_UP.to_owned())),
    }
}

/// Said of what no reader was made for.
const GAVE_UP: &str = "it is damaged in a way that its reader did not expect; get the image again";

fn sandbox_limits(limits: &Limits) -> sandbox::Limits {
    sandbox::Limits {
        memory_bytes: limits.memory_bytes,
        cpu_seconds: limits.cpu.as_secs().max(1),
        // Raw disks are as long as they claim to be; archives and scratch are as long as data.
        file_bytes: limits.disk_bytes.max(limits.data_bytes.saturating_mul(2)),
    }
}

fn work(job: Job, files: Vec<OwnedFd>, limits: &Limits, parent: &mut Parent) -> Answered<Outcome> {
    let mut files = Files(files.into_iter());
    let progress = |done, all| parent.progress(done, all);
    match job {
        Job::Describe { disk } => disks::describe(&disk, files.next()?, limits).map(Outcome::Described),
        Job::Convert { disk, extents } => {
            let source = files.next()?;
            let extents = (0..extents).map(|_| files.next()).collect::<Answered<Vec<_>>>()?;
            disks::convert(&disk, source, extents, files.next()?, limits, progress).map(Outcome::Converted)
        }
        Job::ReadBoot { disks, architecture, once_done } => {
            let sources = disks.iter().map(|_| files.next()).collect::<Answered<Vec<_>>>()?;
            let outputs = (files.next()?, files.next()?);
            let disk = disks::open_chain(&disks, sources, limits)?;
            boot::read(disk, architecture, once_done.as_deref(), outputs, limits).map(Outcome::Boot)
        }
        Job::ReadOciArchive { name, options } => {
            oci::read_archive(&name, &files.next()?, options).map(Outcome::OciArchive)
        }
        Job::MergeLayers { files: count, layers } => {
            let sources = (0..count).map(|_| files.next()).collect::<Answered<Vec<_>>>()?;
            let outputs = (files.next()?, files.next()?);
            layers::merge(&sources, &layers, outputs, limits, progress).map(Outcome::Merged)
        }
        Job::Unpack { compression, range, name } => {
            let (source, target) = (files.next()?, files.next()?);
            let range = range_of(&source, range)?;
            let all = range.length_bytes;
            let mut told = progress;
            let source = PositionReader::new(&source, range, |_| ());
            unpack(source, compression, target, limits.data_bytes, &mut |done| told(done, all))
                .map(Outcome::Unpacked)
                .map_err(|error| format!("{name}: {}", in_words(&error)))
        }
        Job::Recognize { range, name } => {
            let file = files.next()?;
            let range = range_of(&file, range)?;
            recognize::recognize(&name, file, range).map(Outcome::Recognized)
        }
        Job::ReadLayout { disk } => {
            let reader = disks::open_chain(&[disk], vec![files.next()?], limits)?;
            recognize::read_layout(reader).map(Outcome::Layout)
        }
        Job::ReadAppliance { source, name } => {
            let mut progress = progress;
            let read = match source {
                ApplianceSource::Beside { names, has_manifest } => {
                    let beside = names.into_iter().map(|name| Ok((name, files.next()?)));
                    let beside = beside.collect::<Answered<Vec<_>>>()?;
                    let manifest = has_manifest.then(|| files.next()).transpose()?;
                    appliance::read_beside(&beside, manifest.as_ref(), &mut progress)
                }
                ApplianceSource::Archive => {
                    let archive = files.next()?;
                    let range = range_of(&archive, None)?;
                    let reader = PositionReader::new(&archive, range, |_| ());
                    appliance::read_archive(reader, range.length_bytes, &mut progress)
                }
            };
            read.map(Outcome::Appliance).map_err(|error| format!("{name}: {}", in_words(&error)))
        }
    }
}

/// The range that was given, or all of the file.
fn range_of(file: &File, range: Option<ByteRange>) -> Answered<ByteRange> {
    let whole = length_bytes(file).map(ByteRange::whole).map_err(|error| in_words(&error))?;
    Ok(range.unwrap_or(whole))
}

/// The descriptors that came with the order.
struct Files(std::vec::IntoIter<OwnedFd>);

impl Files {
    fn next(&mut self) -> Answered<File> {
        self.0.next().map(File::from).ok_or_else(|| "a file is missing from the order".to_owned())
    }
}

/// The way to the parent.
struct Parent {
    socket: File,
    told: Option<Instant>,
}

impl Parent {
    fn tell(&mut self, answer: &Answer) -> io::Result<()> {
        self.socket.write_all(&frame(answer)?)
    }

    fn progress(&mut self, done: u64, all: u64) {
        let now = Instant::now();
        if done < all && self.told.is_some_and(|told| now.duration_since(told) < PROGRESS_EVERY) {
            return;
        }
        self.told = Some(now);
        if self.tell(&Answer::Progress(done, all)).is_err() {
            // The parent is gone: nobody wants the rest.
            std::process::exit(1);
        }
    }
}
