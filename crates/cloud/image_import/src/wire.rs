//! What goes between parent and child: frames of a length and postcard, over a socket pair; descriptors go along
//! with the order.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use disk::SourceFormat;
use image_model::{Architecture, Digest};
use oci_image::{ArchivedImage, ByteRange, LayerCompression, OciOptions};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::appliance::{Appliance, ApplianceSource};
use crate::inputs::{Boot, Converted, Described, Layout, Merged, Recognized};
use crate::limits::Limits;
use image_model::Compression;

/// Longest frame, in bytes.
pub(crate) const FRAME_BYTES_MAX: usize = 256 << 10;
/// Bytes of the length before a frame, little-endian.
pub(crate) const LENGTH_BYTES: usize = 4;
/// Most descriptors of an order: what one message carries (`SCM_MAX_FD`, unix(7)).
pub(crate) const DESCRIPTORS_MAX: usize = 253;

/// A job with its limits. Descriptors come in the order in which the job lists its files, outputs last.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) limits: Limits,
    pub(crate) job: Job,
}

/// What is to be done.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Job {
    Describe {
        disk: DiskPart,
    },
    /// The disk's own file names so many others.
    Convert {
        disk: DiskPart,
        extents: usize,
    },
    ReadBoot {
        disks: Vec<DiskPart>,
        architecture: Architecture,
        once_done: Option<String>,
    },
    ReadOciArchive {
        name: String,
        options: OciOptions,
    },
    MergeLayers {
        files: usize,
        layers: Vec<LayerPart>,
    },
    Unpack {
        compression: Compression,
        /// All of the file if there is none.
        range: Option<ByteRange>,
        name: String,
    },
    Recognize {
        range: Option<ByteRange>,
        name: String,
    },
    ReadLayout {
        disk: DiskPart,
    },
    /// A tar archive; or a document that stands alone, and the list of digests beside it if there is one.
    ReadAppliance {
        source: ApplianceSource,
        name: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DiskPart {
    #[serde(with = "crate::inputs::format_name")]
    pub(crate) format: SourceFormat,
    pub(crate) range: Option<ByteRange>,
    pub(crate) name: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LayerPart {
    /// Which of the job's files it lies in.
    pub(crate) file: usize,
    pub(crate) range: ByteRange,
    pub(crate) compression: LayerCompression,
    pub(crate) diff_id: Option<Digest>,
    pub(crate) name: String,
}

/// What the child says. Nothing of it is believed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// It is confined, but for these layers.
    Confined(Vec<String>),
    /// It cannot be confined, and has read nothing.
    Unconfined(String),
    Progress(u64, u64),
    Done(Box<Outcome>),
    Failed(String),
}

/// What a job answers: an outcome, or one line that says what is wrong and where.
pub(crate) type Answered<T> = Result<T, String>;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Described(Described),
    Converted(Converted),
    Boot(Boot),
    Merged(Merged),
    /// So many bytes came out.
    Unpacked(u64),
    OciArchive(ArchivedImage),
    Recognized(Recognized),
    Layout(Layout),
    Appliance(Appliance),
}

/// A frame as it goes over the socket.
pub(crate) fn frame(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let body = postcard::to_allocvec(message).map_err(io::Error::other)?;
    if body.len() > FRAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the message is too long"));
    }
    let mut bytes = (body.len() as u32).to_le_bytes().to_vec();
    bytes.extend(body);
    Ok(bytes)
}

/// Takes the first frame off `bytes`, if all of it is there.
pub(crate) fn take_frame<T: DeserializeOwned>(bytes: &mut Vec<u8>) -> io::Result<Option<T>> {
    let invalid = |what: &'static str| io::Error::new(io::ErrorKind::InvalidData, what);
    let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(invalid("a message is too long"));
    }
    let Some(body) = bytes.get(LENGTH_BYTES..LENGTH_BYTES + length) else { return Ok(None) };
    let (message, rest) = postcard::take_from_bytes(body).map_err(|_| invalid("a message is none"))?;
    if !rest.is_empty() {
        return Err(invalid("a message is longer than what it says"));
    }
    bytes.drain(..LENGTH_BYTES + length);
    Ok(Some(message))
}

/// Sends the order with its descriptors.
pub(crate) fn send_order(socket: &File, order: &Order, files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = frame(order)?;
    if files.len() > DESCRIPTORS_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many files at once"));
    }
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::Error::other("descriptors do not fit into a message"));
    }
    let (head, rest) = bytes.split_at(LENGTH_BYTES);
    let sent = sendmsg(socket, &[IoSlice::new(head)], &mut ancillary, SendFlags::NOSIGNAL)?;
    if sent != LENGTH_BYTES {
        return Err(io::ErrorKind::WriteZero.into());
    }
    let mut socket = socket;
    socket.write_all(rest)
}

/// Receives an order and its descriptors, in the child before it is confined.
pub(crate) fn receive_order(socket: &File) -> io::Result<(Order, Vec<OwnedFd>)> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut head = [0; LENGTH_BYTES];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL;
    let message = recvmsg(socket.as_fd(), &mut [IoSliceMut::new(&mut head)], &mut ancillary, flags)?;
    if message.bytes != LENGTH_BYTES {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut files = Vec::new();
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = part {
            files.extend(fds);
        }
    }
    let length = u32::from_le_bytes(head) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = head.to_vec();
    bytes.resize(LENGTH_BYTES + length, 0);
    let mut socket = socket;
    socket.read_exact(&mut bytes[LENGTH_BYTES..])?;
    let order = take_frame(&mut bytes)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((order, files))
}

#[cfg(test)]
mod tests {
    use oci_image::{ArchivedLayer, CONFIG_BYTES_MAX, LAYERS_MAX, OciConfig};

    use super::*;

    #[test]
    fn frames_come_apart_as_they_were_put_together() {
        let mut bytes = frame(&Answer::Progress(1, 2)).unwrap();
        bytes.extend(frame(&Answer::Failed("no".into())).unwrap());
        assert!(matches!(take_frame(&mut bytes).unwrap(), Some(Answer::Progress(1, 2))));
        let tail = bytes.pop().unwrap();
        assert!(take_frame::<Answer>(&mut bytes).unwrap().is_none(), "not all there yet");
        bytes.push(tail);
        assert!(matches!(take_frame(&mut bytes).unwrap(), Some(Answer::Failed(text)) if text == "no"));
        assert!(bytes.is_empty());
    }

    /// The longest image that is let through.
    #[test]
    fn images_in_archives_fit_into_a_frame() {
        let digest = Digest::from_bytes([0xAB; 32]);
        let range = ByteRange { offset_bytes: u64::MAX, length_bytes: u64::MAX };
        let compression = LayerCompression::Zstd;
        let layers = vec![ArchivedLayer { range, compression, digest, diff_id: digest }; LAYERS_MAX];
        let long =
            OciConfig { env: vec!["x".repeat(255); CONFIG_BYTES_MAX / 256 - 1], ..OciConfig::default() };
        let short = OciConfig { env: vec![String::new(); CONFIG_BYTES_MAX - 3], ..OciConfig::default() };
        for config in [long, short] {
            assert!((CONFIG_BYTES_MAX - 256..=CONFIG_BYTES_MAX).contains(&config.words_bytes()));
            let (architecture, layers) = (Architecture::X86_64, layers.clone());
            let image = ArchivedImage { architecture, digest, layers, config };
            frame(&Answer::Done(Box::new(Outcome::OciArchive(image)))).unwrap();
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        let long = (FRAME_BYTES_MAX as u32 + 1).to_le_bytes();
        for nonsense in [&long[..], &[1, 0, 0, 0, 99], &[4, 0, 0, 0, 4, 0, 0, 0]] {
            take_frame::<Answer>(&mut nonsense.to_vec()).unwrap_err();
        }
    }
}
