//! Is an image sound?

use super::header::Header;
use super::spec::{AUTOCLEAR_BITMAPS, INCOMPATIBLE_CORRUPT, INCOMPATIBLE_DIRTY};
use super::survey::{Survey, counted_behind, counts_on_disk};
use crate::error::FormatError;
use crate::image_file::ImageFile;

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Things that lead to wrong data, now or after a write.
    pub corruptions: u64,
    /// Clusters that are counted as in use more often than they are: lost room.
    pub leaks: u64,
    /// The first few of both in words.
    pub complaints: Vec<String>,
    /// The image was not closed by a writer that defers its reference counts.
    pub dirty: bool,
    /// The image is marked as corrupt.
    pub marked_corrupt: bool,
    /// Clusters of the disk that have their data in this image, compressed ones among them.
    pub allocated_clusters: u64,
    /// Those of them that are compressed.
    pub compressed_clusters: u64,
    /// Clusters of the disk.
    pub total_clusters: u64,
    /// Behind the last byte in use, in bytes.
    pub image_end_bytes: u64,
}

impl CheckReport {
    /// Nothing was found.
    pub fn is_clean(&self) -> bool {
        self.corruptions == 0 && self.leaks == 0
    }
}

/// Checks the image in `file`, which nobody writes to meanwhile.
///
/// # Errors
/// It is no image, uses what is not supported, or cannot be read. Damage inside is in the report.
pub fn check(file: &dyn ImageFile) -> Result<CheckReport, FormatError> {
    let header = Header::read(file)?;
    if header.autoclear & AUTOCLEAR_BITMAPS != 0 {
        return Err(FormatError::unsupported("checking an image with persistent bitmaps"));
    }
    let survey = Survey::take(file, &header)?;
    let counts = counts_on_disk(file, &header, survey.references.len())?;
    let Survey { references, mut findings, copied, .. } = survey;
    let geometry = header.geometry;
    let mut leaks = 0;
    for (cluster, (count, references)) in counts.iter().zip(&references).enumerate() {
        let offset = geometry.offset_of(cluster as u64);
        if count < references {
            let what =
                format!("the cluster at {offset:#x} is counted {count} times and used {references} times");
            findings.corruption(what);
        } else if count > references {
            leaks += 1;
            findings.complain(format!(
                "the cluster at {offset:#x} is counted {count} times and used {references} times"
            ));
        }
    }
    for cluster in counted_behind(file, &header, references.len())? {
        leaks += 1;
        let offset = geometry.offset_of(cluster);
        findings
            .complain(format!("the cluster at {offset:#x} is counted and lies behind the end of the file"));
    }
    for (cluster, copied) in copied {
        let alone = counts.get(cluster as usize) == Some(&1);
        if alone != copied {
            let offset = geometry.offset_of(cluster);
            findings
                .corruption(format!("the flag of the cluster at {offset:#x} that it is used once is wrong"));
        }
    }
    let last = references.iter().rposition(|count| *count > 0).map_or(0, |last| last as u64 + 1);
    Ok(CheckReport {
        corruptions: findings.corruptions,
        leaks,
        complaints: findings.complaints,
        dirty: header.incompatible & INCOMPATIBLE_DIRTY != 0,
        marked_corrupt: header.incompatible & INCOMPATIBLE_CORRUPT != 0,
        allocated_clusters: findings.data_clusters + findings.compressed_clusters,
        compressed_clusters: findings.compressed_clusters,
        total_clusters: geometry.clusters_for(header.size_bytes),
        image_end_bytes: geometry.offset_of(last),
    })
}
