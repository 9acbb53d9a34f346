//! Compressed clusters: one cluster of the disk each, in a deflate stream or a zstd frame.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};

use super::entry::{CompressedRange, compressed_entry};
use super::owner::Owner;
use crate::format::Compression;

/// Largest window of a zstd frame, as a power of two: what a hostile frame makes us allocate. Clusters have
/// 2 MiB at most.
const ZSTD_WINDOW_LOG_MAX: u32 = 22;
/// What QEMU compresses with, too.
const ZSTD_LEVEL: i32 = 3;
/// Inflated clusters that are kept: a guest reads on in small steps.
const KEPT_CLUSTERS: usize = 4;

/// The cluster in `data`, behind which there may be anything.
///
/// # Errors
/// `InvalidData`: it is not `cluster_bytes` long when inflated.
pub(crate) fn inflate(kind: Compression, data: &[u8], cluster_bytes: usize) -> io::Result<Vec<u8>> {
    let mut out = vec![0; cluster_bytes];
    let complete = match kind {
        Compression::Zlib => {
            let mut stream = Decompress::new(false);
            let answer = stream.decompress(data, &mut out, FlushDecompress::Finish);
            answer.is_ok() && stream.total_out() == cluster_bytes as u64
        }
        Compression::Zstd => {
            let mut stream = zstd::stream::read::Decoder::with_buffer(data)?.single_frame();
            stream.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            stream.read_exact(&mut out).is_ok()
        }
    };
    if complete {
        Ok(out)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "a compressed cluster is damaged"))
    }
}

/// The cluster compressed, or `None` where that does not make it smaller.
pub(crate) fn deflate(kind: Compression, cluster: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let data = match kind {
        Compression::Zlib => {
            let mut stream = Compress::new(flate2::Compression::default(), false);
            let mut out = Vec::with_capacity(cluster.len());
            match stream.compress_vec(cluster, &mut out, FlushCompress::Finish)? {
                Status::StreamEnd => out,
                Status::Ok | Status::BufError => return Ok(None),
            }
        }
        Compression::Zstd => zstd::bulk::compress(cluster, ZSTD_LEVEL)?,
    };
    Ok((data.len() < cluster.len()).then_some(data))
}

impl Owner {
    /// A place for compressed data, which is shorter than a cluster: behind the last, if there is room.
    ///
    /// Each host cluster is referred to by each compressed cluster that touches it.
    pub(super) fn place_compressed(&mut self, length_bytes: u64) -> io::Result<u64> {
        self.check_writable()?;
        let cluster_bytes = self.geometry.cluster_bytes();
        let (mut at_bytes, mut room_bytes) = self.packing.take().unwrap_or((0, 0));
        let shared = self.geometry.cluster_of(at_bytes);
        if room_bytes > 0 && self.refcount(shared)? >= self.geometry.refcount_max() {
            room_bytes = 0;
        }
        let mut shares = room_bytes > 0;
        if room_bytes < length_bytes {
            let (run, _) = self.allocate(1)?;
            let new_bytes = self.geometry.offset_of(run.first);
            if room_bytes == 0 || new_bytes != at_bytes + room_bytes {
                (at_bytes, room_bytes, shares) = (new_bytes, 0, false);
            }
            room_bytes += cluster_bytes;
        }
        if shares {
            self.add_reference(shared)?;
        }
        let left_bytes = room_bytes - length_bytes;
        self.packing = (left_bytes > 0).then_some((at_bytes + length_bytes, left_bytes));
        Ok(at_bytes)
    }

    /// The compressed data is in its place: from now on it is the guest's.
    pub(super) fn link_compressed(
        &mut self,
        guest: u64,
        host_bytes: u64,
        length_bytes: u64,
    ) -> io::Result<()> {
        let entry = compressed_entry(host_bytes, length_bytes, self.geometry);
        let old = self.replace_entry(guest, entry)?;
        self.free_mapping(old);
        Ok(())
    }
}

/// The last few clusters that were inflated.
#[derive(Default)]
pub(crate) struct Inflated {
    clusters: VecDeque<(CompressedRange, Arc<Vec<u8>>)>,
}

impl Inflated {
    pub(crate) fn get(&self, range: CompressedRange) -> Option<Arc<Vec<u8>>> {
        self.clusters.iter().find(|(other, _)| *other == range).map(|(_, cluster)| Arc::clone(cluster))
    }

    pub(crate) fn keep(&mut self, range: CompressedRange, cluster: Arc<Vec<u8>>) {
        self.clusters.truncate(KEPT_CLUSTERS - 1);
        self.clusters.push_front((range, cluster));
    }

    /// Forgets all: places in the file may have got other contents.
    pub(crate) fn clear(&mut self) {
        self.clusters.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_survive_both_ways_and_damage_is_told() {
        let cluster: Vec<u8> = (0..65536u32).map(|at| (at / 100) as u8).collect();
        for kind in [Compression::Zlib, Compression::Zstd] {
            let mut data = deflate(kind, &cluster).unwrap().unwrap();
            assert!(data.len() < 4096);
            data.extend([0xaa; 100]);
            assert_eq!(inflate(kind, &data, 65536).unwrap(), cluster);
            inflate(kind, &data[..50], 65536).unwrap_err();
            inflate(kind, &data, 131072).unwrap_err();
            inflate(kind, &[], 65536).unwrap_err();
            let noise: Vec<u8> =
                (0..4096u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
            assert!(deflate(kind, &noise).unwrap().is_none_or(|data| data.len() < 4096));
        }
    }
}
