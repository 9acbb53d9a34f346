//! The parent's side: starts the child, gives it its order, listens, and does not believe.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use disk::SourceFormat;
use host_sys::open_beneath::open_beneath;
use image_model::{Architecture, Compression};
use messages::{Cancelled, Progress, unwatched};
use oci_image::{ArchivedImage, OciOptions};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::fstat;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::Signal;
use tracing::debug;

use crate::CHILD_COMMAND;
use crate::answers::{check_appliance, check_archived, check_boot, check_described, impossible};
use crate::appliance::{Appliance, ApplianceSource};
use crate::error::ImportError;
use crate::inputs::{
    Boot, BootOutputs, Converted, Described, DiskFile, InputFile, LayerFile, Layout, Merged, Recognized,
};
use crate::limits::{Limits, human};
use crate::text::printable;
use crate::wire::{Answer, DiskPart, Job, LayerPart, Order, Outcome, send_order, take_frame};

/// How long a child that has hung up may take to end.
const END_GRACE: Duration = Duration::from_secs(2);
const END_POLL: Duration = Duration::from_millis(5);

/// Has foreign formats read by children of its own, one a job.
#[derive(Clone, Debug)]
pub struct Importer {
    program: PathBuf,
    arguments: Vec<OsString>,
    limits: Limits,
}

impl Importer {
    /// Children are this program again, under [`CHILD_COMMAND`].
    pub fn this_program() -> Importer {
        Importer::new("/proc/self/exe".into(), vec![CHILD_COMMAND.into()])
    }

    /// Children are another program that calls [`child_main`](crate::child_main) with these arguments.
    pub fn new(program: PathBuf, arguments: Vec<OsString>) -> Importer {
        Importer { program, arguments, limits: Limits::default() }
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Importer {
        Importer { limits, ..self }
    }

    /// What children may take.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Reads what a file says about the disk in it.
    ///
    /// # Errors
    /// It is no such disk, or the reader failed.
    pub fn describe(&self, disk: DiskFile<'_>) -> Result<Described, ImportError> {
        let job = Job::Describe { disk: part(&disk) };
        let name = disk.name.display().to_string();
        match self.run(&name, job, &[disk.file], &mut unwatched)? {
            Outcome::Described(described) => check_described(described, &name),
            _ => Err(impossible(&name, "another job's outcome")),
        }
    }

    /// Opens the files in `folder` that a disk's own file names and that hold its data: a VMDK descriptor's. Nothing
    /// outside of the folder is opened, and no symbolic link is followed.
    ///
    /// # Errors
    /// It is no such disk, a file is not there, or the reader failed.
    pub fn open_extents(&self, disk: DiskFile<'_>, folder: &Path) -> Result<Vec<File>, ImportError> {
        if disk.format != SourceFormat::Vmdk {
            return Ok(Vec::new());
        }
        let names = self.describe(disk)?.extents;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let folder = File::open(folder).map_err(|source| ImportError::Extent {
            name: disk.name.display().to_string(),
            extent: names.first().map(|name| printable(name)).unwrap_or_default(),
            source,
        })?;
        let open = |extent: &String| {
            open_beneath(&folder, Path::new(extent)).map_err(|source| {
                let (name, extent) = (disk.name.display().to_string(), printable(extent));
                ImportError::Extent { name, extent, source }
            })
        };
        names.iter().map(open).collect()
    }

    /// Copies the disk in a file, and in what [`open_extents`](Importer::open_extents) found beside it, to `target`,
    /// an empty regular file, as a raw disk with holes. `progress` is told the bytes done and the bytes in all.
    ///
    /// # Errors
    /// The disk is damaged, has a file behind it, is larger than the limits, or the reader failed. `target` then
    /// holds anything.
    pub fn convert(
        &self,
        disk: DiskFile<'_>,
        extents: &[File],
        target: BorrowedFd<'_>,
        progress: Progress<'_>,
    ) -> Result<Converted, ImportError> {
        let job = Job::Convert { disk: part(&disk), extents: extents.len() };
        let name = disk.name.display().to_string();
        let mut files = vec![disk.file];
        files.extend(extents.iter().map(AsFd::as_fd));
        files.push(target);
        match self.run(&name, job, &files, progress)? {
            Outcome::Converted(converted) if length_of(target)? == converted.size_bytes => Ok(converted),
            Outcome::Converted(_) => Err(impossible(&name, "a length that the disk does not have")),
            _ => Err(impossible(&name, "another job's outcome")),
        }
    }

    /// Finds what a disk boots with on a processor. `disks` are the disk's own file and then those behind it; `once_done` is
    /// the entry ([`Boot::next_entry`]) that was to be started once, and was.
    ///
    /// # Errors
    /// The disk or its file systems are damaged, nothing on it boots, or the reader failed.
    pub fn read_boot(
        &self,
        disks: &[DiskFile<'_>],
        architecture: Architecture,
        once_done: Option<&str>,
        outputs: BootOutputs<'_>,
    ) -> Result<Boot, ImportError> {
        let parts = disks.iter().map(part).collect();
        let job = Job::ReadBoot { disks: parts, architecture, once_done: once_done.map(str::to_owned) };
        let name = disks.first().map(|disk| disk.name.display().to_string()).unwrap_or_default();
        let mut files: Vec<BorrowedFd<'_>> = disks.iter().map(|disk| disk.file).collect();
        files.extend([outputs.kernel, outputs.initrd]);
        match self.run(&name, job, &files, &mut unwatched)? {
            Outcome::Boot(boot) => {
                let lengths = (length_of(outputs.kernel)?, length_of(outputs.initrd)?);
                if lengths != (boot.kernel_bytes, boot.initrd_bytes) {
                    return Err(impossible(&name, "lengths that its files do not have"));
                }
                check_boot(boot, &name)
            }
            _ => Err(impossible(&name, "another job's outcome")),
        }
    }

    /// Decompresses a file, or a range of it, into `target`, an empty file; zeros become holes. `progress` is told bytes of the source
    /// that were read, and its bytes in all. Returns the bytes that came out.
    ///
    /// # Errors
    /// It is damaged, is not compressed so, holds more than the limits, or the reader failed.
    pub fn unpack(
        &self,
        source: InputFile<'_>,
        compression: Compression,
        target: BorrowedFd<'_>,
        progress: Progress<'_>,
    ) -> Result<u64, ImportError> {
        let name = source.name.display().to_string();
        let job = Job::Unpack { compression, range: source.range, name: name.clone() };
        match self.run(&name, job, &[source.file, target], progress)? {
            Outcome::Unpacked(bytes) if length_of(target)? == bytes => Ok(bytes),
            Outcome::Unpacked(_) => Err(impossible(&name, "a length that the file does not have")),
            _ => Err(impossible(&name, "another job's outcome")),
        }
    }

    /// Finds out what a file is, or a range of it, by its contents. A guest can make its raw disk look like anything:
    /// whoever asks takes care that nothing is done then that a stranger must not cause.
    ///
    /// # Errors
    /// It cannot be read, or the reader failed.
    pub fn recognize(&self, source: InputFile<'_>) -> Result<Recognized, ImportError> {
        let name = source.name.display().to_string();
        let job = Job::Recognize { range: source.range, name: name.clone() };
        match self.run(&name, job, &[source.file], &mut unwatched)? {
            Outcome::Recognized(Recognized::Foreign(what)) => Ok(Recognized::Foreign(printable(&what))),
            Outcome::Recognized(recognized) => Ok(recognized),
            _ => Err(impossible(&name, "another job's outcome")),
        }
    }

    /// Reads how a disk is laid out.
    ///
    /// # Errors
    /// It is no such disk, or the reader failed.
    pub fn read_layout(&self, disk: DiskFile<'_>) -> Result<Layout, ImportError> {
        let job = Job::ReadLayout { disk: part(&disk) };
        let name = disk.name.display().to_string();
        match self.run(&name, job, &[disk.file], &mut unwatched)? {
            Outcome::Layout(layout)
                if layout.sector_bytes.is_none_or(|bytes| [512, 4096].contains(&bytes)) =>
            {
                Ok(layout)
            }
            Outcome::Layout(_) => Err(impossible(&name, "sectors that no disk has")),
            _ => Err(impossible(&name, "another job's outcome")),
        }
    }

    /// Reads what an appliance in an archive (OVA) consists of, and compares its files with the digests in its manifest.
    /// `progress` is told the bytes compared and the bytes in all.
    ///
    /// # Errors
    /// The archive makes no sense or is not what its manifest says, or the reader failed.
    pub fn read_appliance(
        &self,
        archive: BorrowedFd<'_>,
        name: &Path,
        progress: Progress<'_>,
    ) -> Result<Appliance, ImportError> {
        let name = name.display().to_string();
        let job = Job::ReadAppliance { source: ApplianceSource::Archive, name: name.clone() };
        match self.run(&name, job, &[archive], progress)? {
            Outcome::Appliance(appliance) => check_appliance(appliance, Some(length_of(archive)?), &name),
            _ => Err(impossible(&name, "another job's outcome")),
        }
    }

    /// Reads what an appliance consists of whose description (OVF) lies beside its files, and compares these with the
    /// digests in its manifest. `files` are the description and then the others, by their names.
    ///
    /// # Errors
    /// The description makes no sense, a file is not what the manifest says, or the reader failed.
    pub fn read_description(
        &self,
        name: &Path,
        files: &[(String, File)],
        manifest: Option<&File>,
        progress: Progress<'_>,
    ) -> Result<Appliance, ImportError> {
        let name = name.display().to_string();
        let names = files.iter().map(|(name, _)| name.clone()).collect();
        let source = ApplianceSource::Beside { names, has_manifest: manifest.is_some() };
        let job = Job::ReadAppliance { source, name: name.clone() };
        let descriptors = files.iter().map(|(_, file)| file).chain(manifest).map(AsFd::as_fd);
        match self.run(&name, job, &descriptors.collect::<Vec<_>>(), progress)? {
            Outcome::Appliance(appliance) => check_appliance(appliance, None, &name),
            _ => Err(impossible(&name, "another job's outcome")),
        }
    }

    /// Finds the OCI image in an archive, and where its layers lie. These are not looked at.
    ///
    /// # Errors
    /// The archive makes no sense, holds no image for these processors or too large a one, or the reader failed.
    pub fn read_oci_archive(
        &self,
        archive: BorrowedFd<'_>,
        name: &Path,
        options: OciOptions,
    ) -> Result<ArchivedImage, ImportError> {
        let name = name.display().to_string();
        let job = Job::ReadOciArchive { name: name.clone(), options };
        match self.run(&name, job, &[archive], &mut unwatched)? {
            Outcome::OciArchive(image) => check_archived(image, length_of(archive)?, options, &name),
            _ => Err(impossible(&name, "another job's outcome")),
        }
    }

    /// Merges OCI layers, the lowest first, each a range of a file, into one tar archive in `output`, an empty file.
    /// `scratch` is an empty file that holds the layers' data meanwhile. `progress` is told bytes of layers read, and
    /// their bytes in all.
    ///
    /// In the archive each name is relative, without `..`, is there once, and comes after its folder; no name leads
    /// through a symbolic link; hard links lead to names before them. There are files, folders, symbolic and hard
    /// links. Owners and set-user-ID bits are those of the layers: unpack it where nobody else can look.
    ///
    /// # Errors
    /// A layer is damaged, has another `diff_id` than was stated or is larger than the limits, or the reader failed.
    /// `output` then holds anything.
    pub fn merge_layers(
        &self,
        layers: &[LayerFile<'_>],
        output: BorrowedFd<'_>,
        scratch: BorrowedFd<'_>,
        progress: Progress<'_>,
    ) -> Result<Merged, ImportError> {
        let mut files: Vec<BorrowedFd<'_>> = Vec::new();
        let parts = layers.iter().map(|layer| part_of(layer, &mut files)).collect();
        let job = Job::MergeLayers { files: files.len(), layers: parts };
        let name = layers.first().map(|layer| layer.name.clone()).unwrap_or_default();
        files.extend([output, scratch]);
        match self.run(&name, job, &files, progress)? {
            Outcome::Merged(merged) if length_of(output)? == merged.archive_bytes => Ok(merged),
            Outcome::Merged(_) => Err(impossible(&name, "a length that the archive does not have")),
            _ => Err(impossible(&name, "another job's outcome")),
        }
    }

    fn run(
        &self,
        name: &str,
        job: Job,
        files: &[BorrowedFd<'_>],
        progress: Progress<'_>,
    ) -> Result<Outcome, ImportError> {
        let deadline = Instant::now() + self.limits.time;
        let name = printable(name);
        let (mut child, socket) = self.start()?;
        let order = Order { limits: self.limits.clone(), job };
        // A child that ends before it has its order is heard of below.
        match send_order(&socket, &order, files) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(failed("order")(error)),
            _ => {}
        }
        let mut talk = Talk { socket, received: Vec::new(), deadline, limit: self.limits.time, name: &name };
        loop {
            match talk.next()? {
                Some(Answer::Confined(refused)) => debug!(?refused, "the reader of {name} is confined"),
                Some(Answer::Unconfined(why)) => return Err(ImportError::Unconfined(printable(&why))),
                // The child goes with this.
                Some(Answer::Progress(done, all)) if progress(done.min(all), all).is_break() => {
                    return Err(Cancelled.into());
                }
                Some(Answer::Progress(..)) => {}
                Some(Answer::Done(outcome)) => return Ok(*outcome),
                Some(Answer::Failed(why)) => return Err(ImportError::Refused(printable(&why))),
                None => return Err(self.why_it_ended(&name, child.end()?)),
            }
        }
    }

    fn start(&self) -> Result<(Ended, File), ImportError> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|errno| failed("speak to")(errno.into()))?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed("start"))?;
        Ok((Ended(child), File::from(ours)))
    }

    fn why_it_ended(&self, name: &str, status: Option<ExitStatus>) -> ImportError {
        let name = name.to_owned();
        let signal = status.and_then(|status| status.signal()).and_then(Signal::from_named_raw);
        let how = match signal {
            // How a Rust program ends that gets no memory; a panic would have been told.
            Some(Signal::ABORT) => {
                return ImportError::Memory { name, limit: human(self.limits.memory_bytes) };
            }
            Some(Signal::SYS) => "it did something that readers must not do, and was killed by seccomp",
            Some(Signal::XCPU) => "its processor time was used up",
            Some(Signal::XFSZ) => "it wrote more than it may",
            Some(Signal::SEGV | Signal::BUS | Signal::ILL | Signal::FPE) => "it crashed",
            Some(Signal::KILL) => "it was killed, perhaps because this host ran out of memory",
            Some(_) => "it was ended by a signal",
            None if status.is_none() => "it hung up and went on",
            None => "it ended without an answer",
        };
        ImportError::Died { name, how: how.to_owned() }
    }
}

/// A child that does not outlive its job.
struct Ended(Child);

impl Ended {
    /// Its status once it has ended; `None` for one that does not by itself.
    fn end(&mut self) -> Result<Option<ExitStatus>, ImportError> {
        let until = Instant::now() + END_GRACE;
        loop {
            if let Some(status) = self.0.try_wait().map_err(failed("wait for"))? {
                return Ok(Some(status));
            }
            if Instant::now() > until {
                return Ok(None);
            }
            std::thread::sleep(END_POLL);
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and need not be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What is heard from a child.
struct Talk<'a> {
    socket: File,
    received: Vec<u8>,
    deadline: Instant,
    limit: Duration,
    name: &'a str,
}

impl Talk<'_> {
    /// The next answer, `None` at the end.
    fn next(&mut self) -> Result<Option<Answer>, ImportError> {
        loop {
            let name = self.name;
            let answer =
                take_frame(&mut self.received).map_err(|_| impossible(name, "no answer of its kind"))?;
            if answer.is_some() {
                return Ok(answer);
            }
            self.wait()?;
            let mut chunk = [0; 4096];
            match self.socket.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(length) => self.received.extend(&chunk[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A child that ended with something unread.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(failed("hear")(error)),
            }
        }
    }

    fn wait(&self) -> Result<(), ImportError> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ImportError::TimedOut { name: self.name.to_owned(), limit: self.limit });
            }
            let timeout = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
            let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
            match poll(&mut polled, Some(&timeout)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(failed("hear")(errno.into())),
            }
        }
    }
}

fn part(disk: &DiskFile<'_>) -> DiskPart {
    DiskPart { format: disk.format, range: disk.range, name: disk.name.display().to_string() }
}

/// A layer with its file's index among `files`, where each file is once: one message does not carry many.
fn part_of<'a>(layer: &LayerFile<'a>, files: &mut Vec<BorrowedFd<'a>>) -> LayerPart {
    let known = files.iter().position(|file| file.as_raw_fd() == layer.file.as_raw_fd());
    let file = known.unwrap_or_else(|| {
        files.push(layer.file);
        files.len() - 1
    });
    let LayerFile { file: _, range, compression, diff_id, name } = layer.clone();
    LayerPart { file, range, compression, diff_id, name }
}

fn failed(operation: &'static str) -> impl Fn(io::Error) -> ImportError {
    move |source| ImportError::Child { operation, source }
}

fn length_of(file: BorrowedFd<'_>) -> Result<u64, ImportError> {
    let stat = fstat(file).map_err(|errno| failed("look at what was written by")(errno.into()))?;
    Ok(stat.st_size as u64)
}
