//! Making the reference counts say what is so.

use std::io;

use super::owner::Owner;
use super::survey::{Survey, counted_behind};
use crate::error::FormatError;
use crate::image_file::ImageFile;

/// What is put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Counts that are too high: lost room comes back, and nothing else changes.
    Leaks,
    /// Counts that are too low, too.
    Counts,
}

/// Counts all references anew. Nobody else is at the image, and nothing in it is changed but not written.
pub(super) fn recount(file: &dyn ImageFile, owner: &mut Owner) -> Result<(), FormatError> {
    repair(file, owner, Repair::Counts)
}

/// See [`Repair`].
pub(super) fn repair(file: &dyn ImageFile, owner: &mut Owner, what: Repair) -> Result<(), FormatError> {
    let header = owner.header.clone();
    let survey = Survey::take(file, &header)?;
    if survey.findings.corruptions > 0 {
        let first = survey.findings.complaints.into_iter().next().unwrap_or_default();
        return Err(FormatError::damaged(format!("{first}; this cannot be repaired")));
    }
    // Until all counts are right, no cluster of the file may be taken for free.
    let behind = counted_behind(file, &header, survey.references.len())?;
    owner.free_hint = behind.last().map_or(survey.references.len() as u64, |last| last + 1);
    for (cluster, references) in survey.references.iter().enumerate() {
        set_right(owner, cluster as u64, u64::from(*references), what)?;
    }
    for cluster in behind {
        owner.set_refcount(cluster, 0)?;
    }
    owner.free_hint = 0;
    Ok(())
}

fn set_right(owner: &mut Owner, cluster: u64, references: u64, what: Repair) -> io::Result<()> {
    let count = owner.refcount(cluster)?;
    // Both stay where a survey stops to count.
    if count == references || (references == u64::from(u16::MAX) && count > references) {
        return Ok(());
    }
    if count < references {
        if what == Repair::Leaks {
            return Ok(());
        }
        owner.make_countable(cluster)?;
    }
    owner.set_refcount(cluster, references)
}
