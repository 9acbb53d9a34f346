//! What becomes of a verb that was not carried out: a line, and an exit status.

use image_ops::ImageError;
use image_store::StoreError;
use instance_ops::InstanceError;
use snapshot_files::SnapshotError;
use vm_control::FailureClass;
use yagura_vmm::say;

/// A verb that was not carried out.
#[derive(Debug, PartialEq, Eq)]
pub struct Failed {
    /// What kind of failure.
    pub class: FailureClass,
    /// What, where, and what to do.
    pub line: String,
}

impl Failed {
    /// Says the line; returns the exit status, as `--help` has it.
    pub fn tell(&self) -> u8 {
        say(&self.line);
        status_of(self.class)
    }
}

/// The exit status for a class of failures, of every verb but `run`, whose statuses tell how the guest ended.
fn status_of(class: FailureClass) -> u8 {
    match class {
        FailureClass::Host | FailureClass::Exists | FailureClass::Invalid => 1,
        FailureClass::NotFound => 3,
        FailureClass::Busy => 4,
    }
}

/// What kind of failure of a snapshot it is.
pub(super) fn class_of_snapshot(error: &SnapshotError) -> FailureClass {
    match error {
        SnapshotError::Missing { .. } => FailureClass::NotFound,
        SnapshotError::Busy(_) => FailureClass::Busy,
        _ => FailureClass::Host,
    }
}

/// The exit status of a verb on images or instances that came to this end.
pub fn status_of_error(error: &anyhow::Error) -> u8 {
    let class = error.chain().find_map(|cause| {
        let image = || cause.downcast_ref::<ImageError>().map(ImageError::class);
        let instance = || cause.downcast_ref::<InstanceError>().map(InstanceError::class);
        let store = || cause.downcast_ref::<StoreError>().map(StoreError::class);
        let snapshot = || cause.downcast_ref::<SnapshotError>().map(class_of_snapshot);
        image().or_else(instance).or_else(store).or_else(snapshot)
    });
    status_of(class.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_follows_from_the_class_whatever_is_around_it() {
        let missing = StoreError::NoSuchInstance { name: "web1".parse().unwrap(), suggestion: None };
        let wrapped = anyhow::Error::from(InstanceError::from(missing)).context("VM web1 cannot be deleted");
        assert_eq!(status_of_error(&wrapped), 3);
        let busy = anyhow::Error::from(InstanceError::Busy("VM web1 runs".to_owned()));
        assert_eq!(status_of_error(&busy), 4);
        let there = anyhow::Error::from(StoreError::InstanceExists("web1".parse().unwrap()));
        assert_eq!(status_of_error(&there), 1);
        assert_eq!(status_of_error(&anyhow::anyhow!("which image?")), 1);
    }
}
