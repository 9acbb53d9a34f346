//! A request that makes sense: its verb, with what belongs to that.

use serde::de::DeserializeOwned;
use vm_control::{AttachDevice, DetachDevice, ResizeDisk, RestoreOrder, SnapshotOrder, Verb};

/// Longest body of a request, in bytes: a hundred times what any has.
pub(super) const BODY_BYTES_MAX: usize = 64 << 10;

/// What is asked of the VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Status,
    Counters,
    Pause,
    Resume,
    PowerButton,
    Reset,
    Stop,
    ResizeDisk(ResizeDisk),
    Snapshot(SnapshotOrder),
    Restore(RestoreOrder),
    Attach(AttachDevice),
    Detach(DetachDevice),
}

impl Wanted {
    /// Reads the body of a request; verbs that need none do not look at it.
    ///
    /// # Errors
    /// In words: it is not what the verb needs.
    pub(super) fn of(verb: Verb, body: &[u8]) -> Result<Wanted, String> {
        Ok(match verb {
            Verb::Status => Wanted::Status,
            Verb::Counters => Wanted::Counters,
            Verb::Pause => Wanted::Pause,
            Verb::Resume => Wanted::Resume,
            Verb::PowerButton => Wanted::PowerButton,
            Verb::Reset => Wanted::Reset,
            Verb::Stop => Wanted::Stop,
            Verb::ResizeDisk => {
                Wanted::ResizeDisk(read(verb, body, r#"{"disk":"disk-root","size_bytes":21474836480}"#)?)
            }
            Verb::Snapshot => {
                let example = r#"{"folder":"/srv/snapshots/a","vm":"web1","name":"a","uuid":"..."}"#;
                Wanted::Snapshot(read(verb, body, example)?)
            }
            Verb::Restore => Wanted::Restore(read(verb, body, r#"{"folder":"/srv/snapshots/a"}"#)?),
            Verb::Attach => Wanted::Attach(read(verb, body, r#"{"disk":"path=/srv/data.img,id=data"}"#)?),
            Verb::Detach => Wanted::Detach(read(verb, body, r#"{"device":"data","timeout_ms":30000}"#)?),
        })
    }
}

/// Reads a body that looks like `example`.
fn read<T: DeserializeOwned>(verb: Verb, body: &[u8], example: &str) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|_| format!("{} takes a body such as {example}", verb.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_looked_at_where_one_is_needed() {
        assert_eq!(Wanted::of(Verb::Pause, b"whatever"), Ok(Wanted::Pause));
        let wanted = Wanted::of(Verb::ResizeDisk, br#"{"disk":"a","size_bytes":512,"from_bytes":1}"#);
        let expected = ResizeDisk { disk: "a".to_owned(), size_bytes: 512, from_bytes: Some(1) };
        assert_eq!(wanted, Ok(Wanted::ResizeDisk(expected)));
        let wanted = Wanted::of(Verb::Attach, br#"{"net":"tap=tap0"}"#);
        assert_eq!(wanted, Ok(Wanted::Attach(AttachDevice::Net("tap=tap0".to_owned()))));
        let wanted = Wanted::of(Verb::Detach, br#"{"device":"nic1"}"#);
        let expected = DetachDevice {
            device: "nic1".to_owned(),
            timeout_ms: DetachDevice::DEFAULT_TIMEOUT_MS,
            force: false,
        };
        assert_eq!(wanted, Ok(Wanted::Detach(expected)));
        for bad in ["", "{}", "[]", r#"{"disk":"path=a","net":"tap=a"}"#, r#"{"cpu":"1"}"#, r#""disk""#] {
            let error = Wanted::of(Verb::Attach, bad.as_bytes()).unwrap_err();
            assert!(error.starts_with("/attach takes a body such as "), "{bad}: {error}");
        }
        for bad in ["", "{}", r#"{"device":"a","timeout_ms":-1}"#, r#"{"device":"a","force":1}"#] {
            let error = Wanted::of(Verb::Detach, bad.as_bytes()).unwrap_err();
            assert!(error.starts_with("/detach takes a body such as "), "{bad}: {error}");
        }
        for bad in ["", "{", "[]", r#"{"disk":1,"size_bytes":512}"#] {
            let error = Wanted::of(Verb::ResizeDisk, bad.as_bytes()).unwrap_err();
            assert!(error.starts_with("/resize-disk takes a body such as "), "{error}");
        }
    }
}
