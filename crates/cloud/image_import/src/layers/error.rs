//! What can be wrong with layers.

use std::io;

use image_model::Digest;

use crate::limits::human;

#[derive(Debug, thiserror::Error)]
pub(crate) enum LayerError {
    #[error("it is damaged ({0}); get the image again")]
    Damaged(&'static str),
    #[error(
        "it is damaged (unpacked it is {found}, but the image's configuration says {stated}); \
         get the image again"
    )]
    DiffId { found: Digest, stated: Digest },
    #[error("it is cut short; get the image again")]
    CutShort,
    #[error("it uses {0}, which is not supported; build the image with another tool")]
    Unsupported(&'static str),
    #[error("a name in it is {0}, which no file can have; the image is damaged or malicious")]
    Name(&'static str),
    #[error("symbolic links in it lead in circles; the image is damaged or malicious")]
    Circle,
    #[error(
        "the image unpacks to more than {}, which is more than is let through for its size; \
         it is damaged or malicious", human(*.limit)
    )]
    Expands { limit: u64 },
    #[error("the image has more than {limit} {what}, which is more than is let through")]
    TooMany { what: &'static str, limit: u64 },
    #[error("it cannot be unpacked (get the image again)")]
    Read(#[source] io::Error),
    #[error("the temporary file cannot be written or read")]
    Scratch(#[source] io::Error),
    #[error("the archive cannot be written")]
    Write(#[source] io::Error),
}

impl From<io::Error> for LayerError {
    fn from(error: io::Error) -> LayerError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => LayerError::CutShort,
            _ => LayerError::Read(error),
        }
    }
}
