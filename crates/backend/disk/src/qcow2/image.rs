//! An open image: requests to its end, in whatever thread they come.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use guest_memory::IoBuffers;

use super::compressed::{Inflated, deflate, inflate};
use super::entry::CompressedRange;
use super::geometry::Geometry;
use super::header::Header;
use super::lookup::{Extent, Piece};
use super::owner::{Allocation, Clearing, Owner, WriteStep};
use super::spec::INCOMPATIBLE_DIRTY;
use crate::contract::{DiskOperation, DiskRequest};
use crate::error::FormatError;
use crate::image_file::{ImageFile, fill_with_zeros, read_vec};
use crate::layer::{Layer, locate_behind, read_behind};
use crate::map_piece::MapPiece;
use crate::thread_queue::Serve;

/// An image with what is behind it. Locks, in order: that of the disk's end, the owner's, then that of the inflated
/// clusters; the last two are not held while the guest's data is read or written.
pub(crate) struct Image {
    pub(crate) file: Arc<dyn ImageFile>,
    pub(crate) geometry: Geometry,
    /// It only grows: a request that was checked against it stays a good one.
    length_bytes: AtomicU64,
    /// Held by who takes the disk's last cluster for a whole one, so that it does not go on behind his back.
    end: RwLock<()>,
    pub(crate) read_only: bool,
    /// It is not closed in the end, since its file goes.
    abandoned: AtomicBool,
    pub(crate) header: Header,
    behind: Option<Arc<dyn Layer>>,
    owner: Mutex<Owner>,
    /// Somebody has linked or abandoned a place, or a commit has ended.
    changed: Condvar,
    inflated: Mutex<Inflated>,
}

impl Image {
    /// Opens the image in `file` with `behind` as its backing file.
    ///
    /// An image that was not closed by a writer that defers its reference counts gets them counted anew.
    pub(crate) fn open(
        file: Arc<dyn ImageFile>,
        behind: Option<Arc<dyn Layer>>,
        read_only: bool,
    ) -> Result<Image, FormatError> {
        let header = Header::read(&*file)?;
        if !read_only {
            header.check_writable()?;
        }
        let backed_bytes = behind.as_ref().map_or(0, |layer| layer.size_bytes());
        let owner = Owner::load(Arc::clone(&file), header.clone(), backed_bytes, read_only)?;
        let image = Image {
            geometry: header.geometry,
            length_bytes: AtomicU64::new(header.size_bytes),
            end: RwLock::default(),
            file,
            read_only,
            behind,
            owner: Mutex::new(owner),
            changed: Condvar::new(),
            inflated: Mutex::default(),
            abandoned: AtomicBool::new(false),
            header,
        };
        if !read_only {
            image.claim()?;
        }
        Ok(image)
    }

    /// Makes the header say what is so once we have written: no deferred counts, no features that we do not
    /// keep up.
    fn claim(&self) -> Result<(), FormatError> {
        if self.header.incompatible & INCOMPATIBLE_DIRTY != 0 {
            tracing::info!("the image was not closed: its reference counts are counted anew");
            super::repair::recount(&*self.file, &mut self.lock())?;
        }
        if self.header.incompatible & INCOMPATIBLE_DIRTY != 0 || self.header.autoclear != 0 {
            let mut owner = self.lock();
            owner.header.incompatible &= !INCOMPATIBLE_DIRTY;
            owner.header.autoclear = 0;
            owner.header_changed = true;
        } else {
            return Ok(());
        }
        Ok(self.flush()?)
    }

    /// Length of the disk.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.length_bytes.load(Ordering::SeqCst)
    }

    /// Serves requests up to `size_bytes` from now on. All that reads there has been made zeros.
    pub(super) fn grow_to(&self, size_bytes: u64) {
        let _end = self.end.write().unwrap_or_else(PoisonError::into_inner);
        self.length_bytes.fetch_max(size_bytes, Ordering::SeqCst);
    }

    /// Keeps the disk's end where it is.
    fn hold_end(&self) -> RwLockReadGuard<'_, ()> {
        self.end.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Owner> {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, owner: MutexGuard<'a, Owner>) -> MutexGuard<'a, Owner> {
        self.changed.wait(owner).unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the buffers from `offset_bytes` on. The range lies in the disk.
    pub(crate) fn write(&self, buffers: &IoBuffers, offset_bytes: u64) -> io::Result<()> {
        let length = buffers.len_bytes();
        let mut done = 0;
        while done < length {
            done += self.write_some(&buffers.slice(done, length - done), offset_bytes + done as u64)?;
        }
        self.commit_if_due()
    }

    /// Writes as much as lies in a row, and says how much.
    fn write_some(&self, buffers: &IoBuffers, offset_bytes: u64) -> io::Result<usize> {
        let mut owner = self.lock();
        let step = loop {
            match owner.begin_write(offset_bytes, buffers.len_bytes() as u64)? {
                WriteStep::Wait => owner = self.wait(owner),
                step => break step,
            }
        };
        let pin = Pin { image: self, generation: owner.pin() };
        drop(owner);
        match step {
            WriteStep::Wait => unreachable!("the loop above waits"),
            WriteStep::InPlace { host_bytes, length_bytes } => {
                let length = length_bytes as usize;
                self.file.write(buffers.slice(0, length), host_bytes)?;
                drop(pin);
                Ok(length)
            }
            WriteStep::Allocate(allocation) => {
                let written = self.fill(&allocation, buffers, offset_bytes);
                drop(pin);
                self.end_allocation(&allocation, written)
            }
        }
    }

    /// Puts the guest's data into its new place, and around it what was there before.
    fn fill(&self, allocation: &Allocation, buffers: &IoBuffers, offset_bytes: u64) -> io::Result<usize> {
        let start_bytes = self.geometry.offset_of(allocation.guest);
        let place_bytes = allocation.count * self.geometry.cluster_bytes();
        let head_bytes = offset_bytes - start_bytes;
        let length = (place_bytes - head_bytes).min(buffers.len_bytes() as u64);
        let tail_bytes = place_bytes - head_bytes - length;
        let (zero_head, zero_tail) = allocation.zero_ends;
        self.keep_old(allocation, zero_head, 0, head_bytes)?;
        self.keep_old(allocation, zero_tail, head_bytes + length, tail_bytes)?;
        self.file.write(buffers.slice(0, length as usize), allocation.host_bytes + head_bytes)?;
        Ok(length as usize)
    }

    /// Copies what the disk holds at a part of an allocation to the new place.
    fn keep_old(&self, allocation: &Allocation, zero: bool, at: u64, length_bytes: u64) -> io::Result<()> {
        let host_bytes = allocation.host_bytes + at;
        if length_bytes == 0 || (zero && allocation.fresh) {
            return Ok(());
        }
        if zero {
            return self.file.write_zeroes(host_bytes, length_bytes, false);
        }
        let guest_bytes = self.geometry.offset_of(allocation.guest) + at;
        let old = IoBuffers::from_vec(vec![0; length_bytes as usize]);
        // Beyond the end of the disk the last cluster holds zeros.
        let there = self.size_bytes().saturating_sub(guest_bytes).min(length_bytes);
        self.read(&old.slice(0, there as usize), guest_bytes)?;
        self.file.write(old, host_bytes)
    }

    fn end_allocation(&self, allocation: &Allocation, written: io::Result<usize>) -> io::Result<usize> {
        let mut owner = self.lock();
        let answer = match written.and_then(|length| owner.link(allocation).map(|()| length)) {
            Ok(length) => Ok(length),
            Err(error) => owner.abandon(allocation).and(Err(error)),
        };
        drop(owner);
        self.changed.notify_all();
        answer
    }

    /// Writes data that begins at a cluster, compressed where that makes it smaller. For images that nobody
    /// else is at.
    pub(crate) fn write_compressed(&self, data: &[u8], offset_bytes: u64) -> io::Result<()> {
        let cluster_bytes = self.geometry.cluster_bytes() as usize;
        for (index, cluster) in data.chunks(cluster_bytes).enumerate() {
            let at_bytes = offset_bytes + (index * cluster_bytes) as u64;
            let mut whole = cluster.to_vec();
            whole.resize(cluster_bytes, 0);
            match deflate(self.header.compression, &whole)? {
                Some(small) => self.put_compressed(small, self.geometry.cluster_of(at_bytes))?,
                None => self.write(&IoBuffers::from_vec(cluster.to_vec()), at_bytes)?,
            }
        }
        self.commit_if_due()
    }

    fn put_compressed(&self, data: Vec<u8>, guest_cluster: u64) -> io::Result<()> {
        let length_bytes = data.len() as u64;
        let host_bytes = self.lock().place_compressed(length_bytes)?;
        self.file.write(IoBuffers::from_vec(data), host_bytes)?;
        self.lock().link_compressed(guest_cluster, host_bytes, length_bytes)
    }

    /// Fills the buffers from `offset_bytes` on. The range lies in the disk.
    fn read_range(&self, buffers: &IoBuffers, offset_bytes: u64) -> io::Result<()> {
        let length = buffers.len_bytes();
        let mut done = 0;
        while done < length {
            let at_bytes = offset_bytes + done as u64;
            let mut owner = self.lock();
            let pieces = owner.pieces(at_bytes, (length - done) as u64)?;
            let pin = Pin { image: self, generation: owner.pin() };
            drop(owner);
            for piece in pieces {
                let length = piece.length_bytes as usize;
                self.read_piece(piece, &buffers.slice(done, length), offset_bytes + done as u64)?;
                done += length;
            }
            drop(pin);
        }
        Ok(())
    }

    fn read_piece(&self, piece: Piece, buffers: &IoBuffers, offset_bytes: u64) -> io::Result<()> {
        match piece.extent {
            Extent::Unallocated => read_behind(self.behind.as_ref(), buffers, offset_bytes),
            Extent::Zero => {
                fill_with_zeros(buffers);
                Ok(())
            }
            Extent::Data(host_bytes) => self.file.read(buffers.slice(0, buffers.len_bytes()), host_bytes),
            Extent::Compressed(range, within) => {
                let cluster = self.inflated_cluster(range)?;
                let within = within as usize;
                buffers.fill_from(&cluster[within..within + buffers.len_bytes()]);
                Ok(())
            }
        }
    }

    fn inflated_cluster(&self, range: CompressedRange) -> io::Result<Arc<Vec<u8>>> {
        let inflated = || self.inflated.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cluster) = inflated().get(range) {
            return Ok(cluster);
        }
        let cluster_bytes = self.geometry.cluster_bytes() as usize;
        // Longer than the cluster itself, no data is worth its compression.
        let length = (range.length_bytes as usize).min(2 * cluster_bytes + 512);
        let data = read_vec(&*self.file, range.offset_bytes, length)?;
        let cluster = Arc::new(inflate(self.header.compression, &data, cluster_bytes)?);
        inflated().keep(range, Arc::clone(&cluster));
        Ok(cluster)
    }

    /// Says that a range is not needed any more. What fills only a part of a cluster stays.
    pub(crate) fn discard(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        let _end = self.hold_end();
        let (first, end) = self.whole_clusters(offset_bytes, length_bytes);
        self.clear(first, end, Clearing::Discard)
    }

    /// Makes a range read as zeros.
    pub(crate) fn write_zeroes(
        &self,
        offset_bytes: u64,
        length_bytes: u64,
        may_unmap: bool,
    ) -> io::Result<()> {
        let _end = self.hold_end();
        let end_bytes = offset_bytes + length_bytes;
        let (first, end) = self.whole_clusters(offset_bytes, length_bytes);
        // Version 2 cannot hide a backing file without data in front of it.
        if first >= end || (self.header.version < 3 && self.behind.is_some()) {
            return self.write_zero_data(offset_bytes, end_bytes);
        }
        self.clear(first, end, Clearing::Zero { keep: !may_unmap })?;
        self.write_zero_data(offset_bytes, self.geometry.offset_of(first))?;
        self.write_zero_data(self.geometry.offset_of(end), end_bytes)
    }

    /// The clusters that lie in a range as a whole: the first, and the first behind them. The last cluster of
    /// the disk counts as whole where the disk ends; the end is held.
    fn whole_clusters(&self, offset_bytes: u64, length_bytes: u64) -> (u64, u64) {
        let end_bytes = offset_bytes + length_bytes;
        let first = self.geometry.clusters_for(offset_bytes);
        let end = if end_bytes == self.size_bytes() {
            self.geometry.clusters_for(end_bytes)
        } else {
            self.geometry.cluster_of(end_bytes)
        };
        (first, end.max(first))
    }

    /// Makes what lies behind the end of the disk read as zeros, from `offset_bytes` on.
    pub(super) fn zero_behind(&self, offset_bytes: u64, end_bytes: u64) -> io::Result<()> {
        let first = self.geometry.clusters_for(offset_bytes);
        let end = self.geometry.clusters_for(end_bytes);
        self.write_zero_data(offset_bytes, self.geometry.offset_of(first).min(end_bytes))?;
        if self.header.version >= 3 || self.behind.is_none() {
            return self.clear(first, end.max(first), Clearing::Zero { keep: false });
        }
        self.write_zero_data(self.geometry.offset_of(first), end_bytes)
    }

    fn clear(&self, first: u64, end: u64, how: Clearing) -> io::Result<()> {
        let mut owner = self.lock();
        let mut cluster = first;
        while cluster < end {
            match owner.clear(cluster, end - cluster, how)? {
                0 => owner = self.wait(owner),
                done => cluster += done,
            }
            if owner.tables.is_commit_due() {
                drop(owner);
                self.flush()?;
                owner = self.lock();
            }
        }
        Ok(())
    }

    /// Writes zeros as data, except where there are some.
    fn write_zero_data(&self, offset_bytes: u64, end_bytes: u64) -> io::Result<()> {
        let mut at_bytes = offset_bytes;
        while at_bytes < end_bytes {
            let cluster = self.geometry.cluster_of(at_bytes);
            let next_bytes = self.geometry.offset_of(cluster + 1).min(end_bytes);
            let zero = self.lock().reads_as_zero(cluster)?;
            if !zero {
                let zeros = vec![0; (next_bytes - at_bytes) as usize];
                self.write(&IoBuffers::from_vec(zeros), at_bytes)?;
            }
            at_bytes = next_bytes;
        }
        Ok(())
    }

    fn commit_if_due(&self) -> io::Result<()> {
        let due = self.lock().tables.is_commit_due();
        if due { self.flush() } else { Ok(()) }
    }

    /// Brings everything that was written to stable storage. Who comes while somebody else is at it waits, and
    /// several who wait are served by one commit.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let mut owner = self.lock();
        if owner.read_only {
            return Ok(());
        }
        // One that has begun already may have missed what this caller wants.
        let needed = owner.commits.begun + 1;
        loop {
            if owner.commits.succeeded >= needed {
                return Ok(());
            }
            owner.check_writable()?;
            if !owner.commits.running {
                break;
            }
            owner = self.wait(owner);
        }
        owner.commits.begun += 1;
        owner.commits.running = true;
        let number = owner.commits.begun;
        let batch = owner.take_changes();
        drop(owner);
        let answer = batch.write_to(&*self.file);
        let mut owner = self.lock();
        owner.commits.running = false;
        let answer = match answer {
            Ok(()) => {
                owner.commits.succeeded = number;
                self.inflated.lock().unwrap_or_else(PoisonError::into_inner).clear();
                owner.finish_commit(batch)
            }
            Err(failure) => {
                owner.put_back(batch, &failure);
                Err(failure.error)
            }
        };
        drop(owner);
        self.changed.notify_all();
        answer
    }

    /// Gives up an image whose file goes: it is not closed.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// Leaves an image in which nothing is lost, neither data nor room.
    pub(crate) fn close(&self) -> io::Result<()> {
        self.flush()?;
        let unfinished = self.lock().has_changes();
        if unfinished {
            self.flush()?;
        }
        self.lock().trim_file()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if !self.read_only
            && !self.abandoned.load(Ordering::Relaxed)
            && let Err(error) = self.close()
        {
            tracing::error!(%error, "an image could not be closed: what was not flushed before is lost");
        }
    }
}

/// A look at the tables, in use.
struct Pin<'a> {
    image: &'a Image,
    generation: u64,
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        self.image.lock().unpin(self.generation);
    }
}

impl Layer for Image {
    fn size_bytes(&self) -> u64 {
        Image::size_bytes(self)
    }

    fn read(&self, buffers: &IoBuffers, offset_bytes: u64) -> io::Result<()> {
        self.read_range(buffers, offset_bytes)
    }

    fn locate(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<MapPiece> {
        let pieces = self.lock().pieces(offset_bytes, length_bytes)?;
        let Some(Piece { extent, length_bytes }) = pieces.into_iter().next() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let (zero, data, place_bytes) = match extent {
            Extent::Unallocated => return locate_behind(self.behind.as_ref(), offset_bytes, length_bytes),
            Extent::Zero => (true, false, None),
            Extent::Data(host_bytes) => (false, true, Some(host_bytes)),
            Extent::Compressed(..) => (false, true, None),
        };
        Ok(MapPiece {
            start_bytes: offset_bytes,
            length_bytes,
            depth: 0,
            zero,
            data,
            offset_bytes: place_bytes,
        })
    }
}

impl Serve for Image {
    fn perform(&self, request: DiskRequest) -> io::Result<()> {
        request.check(self.size_bytes())?;
        let DiskRequest { id: _, operation, offset_bytes, length_bytes, buffers, durable } = request;
        if operation.is_write() && self.read_only {
            return Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "the disk is read-only"));
        }
        match operation {
            DiskOperation::Read => self.read(&buffers, offset_bytes)?,
            DiskOperation::Write => self.write(&buffers, offset_bytes)?,
            DiskOperation::Flush => self.flush()?,
            DiskOperation::Discard => self.discard(offset_bytes, length_bytes)?,
            DiskOperation::WriteZeroes { may_unmap } => {
                self.write_zeroes(offset_bytes, length_bytes, may_unmap)?;
            }
        }
        if durable && operation.is_write() { self.flush() } else { Ok(()) }
    }
}
