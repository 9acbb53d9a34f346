//! Why something could not be had from the network, in words that say what to do.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use image_model::Checksum;
use messages::Bytes;
use reqwest::Url;

use super::redirects::RedirectRefused;
use super::resolver::NameNotResolved;

/// Why a download failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The address makes no sense.
    #[error("'{url}' is not an address that can be fetched: {why}")]
    BadUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The name service does not know the host, or there is none.
    #[error(
        "cannot find the address of {host}: {why}; check the name, and that this host has a working \
         resolver in /etc/resolv.conf"
    )]
    Resolve {
        /// The host's name.
        host: String,
        /// What the resolver says.
        why: String,
    },
    /// Nobody listens there.
    #[error(
        "{host} refuses the connection; is it the right address, and does a proxy have to be set \
         (https_proxy)?"
    )]
    Refused {
        /// The host, with its port where it has an unusual one.
        host: String,
    },
    /// There is no way to the host.
    #[error("cannot connect to {host}: {why}")]
    Connect {
        /// The host.
        host: String,
        /// What the network says.
        why: String,
    },
    /// The host cannot prove who it is.
    #[error(
        "{host} cannot prove that it is {host}: {why}; if a proxy of yours is in between, put its \
         certificate into /etc/ssl/certs, and check this host's clock"
    )]
    Certificate {
        /// The host.
        host: String,
        /// What is wrong with its certificate.
        why: String,
    },
    /// This host trusts nobody.
    #[error("this host has no certificates to check servers with; install the package ca-certificates")]
    NoRoots,
    /// The file is not there.
    #[error(
        "{url} is not there (status {status}); the vendor has moved or removed it: look for a newer release \
         with 'yagura image list --all', or give its new address in /etc/yagura/images.d"
    )]
    NotFound {
        /// The address.
        url: String,
        /// 404 or 410.
        status: u16,
    },
    /// It may not be had.
    #[error("{url} may not be fetched (status {status}): the server wants a login, or refuses this host")]
    Forbidden {
        /// The address.
        url: String,
        /// 401, 403 or 407.
        status: u16,
    },
    /// Some other refusal.
    #[error("the server answers {url} with status {status}{}", if *status >= 500 { "; it is out of order, try again later" } else { "" })]
    Status {
        /// The address.
        url: String,
        /// The status.
        status: u16,
    },
    /// The server sends us on in a way that is not followed.
    #[error("{url}: {why}")]
    Redirect {
        /// The address that was asked for.
        url: String,
        /// What is wrong with where it leads.
        why: String,
    },
    /// Nothing came for too long.
    #[error("{url}: nothing came for {} seconds; what is here is kept, so try again to go on", after.as_secs_f32())]
    Stalled {
        /// The address.
        url: String,
        /// For how long.
        after: Duration,
    },
    /// The connection ended before the file did.
    #[error("{url}: the connection ended after {}{}; what is here is kept, so try again to go on", Bytes(*got_bytes), of(*total_bytes))]
    EndedEarly {
        /// The address.
        url: String,
        /// What came.
        got_bytes: u64,
        /// What was announced.
        total_bytes: Option<u64>,
    },
    /// It is not what the vendor says it is.
    #[error(
        "{url}: the file is damaged or is not the right one: its checksum is {found}, not {expected}; it \
         was removed. Try again; if that does not help, the vendor's file and list do not match"
    )]
    Checksum {
        /// The address.
        url: String,
        /// What it should be.
        expected: Checksum,
        /// What it is.
        found: Checksum,
    },
    /// The file is larger than it may be.
    #[error("{url}: the file has more than {}, which is more than is let through", Bytes(*bytes_max))]
    TooLarge {
        /// The address.
        url: String,
        /// What is allowed.
        bytes_max: u64,
    },
    /// The disk is full.
    #[error("there is no space left for {}{}; remove something, perhaps with 'yagura image gc'", path.display(), needed(*needed_bytes))]
    NoSpace {
        /// What was being written.
        path: PathBuf,
        /// What is still to come, where that is known.
        needed_bytes: Option<u64>,
    },
    /// Somebody else is at the same file.
    #[error("{}: another process is downloading this", .0.display())]
    Busy(PathBuf),
    /// The host refused.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The server does not speak HTTP as it should.
    #[error("{url}: the server's answer makes no sense: {what}")]
    Protocol {
        /// The address.
        url: String,
        /// What is wrong.
        what: String,
    },
    /// The vendor's list does not help.
    #[error(
        "{url}: this list cannot be used: {why}; the vendor may be publishing a release just now, try again \
         later"
    )]
    ChecksumList {
        /// The list.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The caller wants no more.
    #[error("the download was cancelled; what is here is kept")]
    Cancelled,
}

impl FetchError {
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> FetchError {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                FetchError::NoSpace { path: path.clone(), needed_bytes: None }
            }
            _ => FetchError::Io { operation, path: path.clone(), source },
        }
    }

    /// What a status that is no success says.
    pub(crate) fn status(url: &Url, status: u16) -> FetchError {
        let url = shown(url);
        match status {
            404 | 410 => FetchError::NotFound { url, status },
            401 | 403 | 407 => FetchError::Forbidden { url, status },
            _ => FetchError::Status { url, status },
        }
    }

    /// What a failed request says, by what is at the bottom of it.
    pub(crate) fn request(url: &Url, error: &reqwest::Error) -> FetchError {
        let asked = error.url().unwrap_or(url);
        let host = host(asked);
        if let Some(refused) = find::<RedirectRefused>(error) {
            return FetchError::Redirect { url: shown(url), why: refused.to_string() };
        }
        if let Some(unresolved) = find::<NameNotResolved>(error) {
            return FetchError::Resolve { host: unresolved.name.clone(), why: unresolved.why.clone() };
        }
        if let Some(tls) = find::<rustls::Error>(error) {
            return FetchError::Certificate { host, why: tls_words(tls).to_owned() };
        }
        if let Some(io) = find::<io::Error>(error)
            && io.kind() == io::ErrorKind::ConnectionRefused
        {
            return FetchError::Refused { host };
        }
        if error.is_connect() {
            let why = if error.is_timeout() { "it does not answer".to_owned() } else { last(error) };
            return FetchError::Connect { host, why };
        }
        FetchError::Protocol { url: shown(asked), what: last(error) }
    }

    /// Whether the vendor could not be reached at all, or does not have the file any more; a file that is the
    /// wrong one, or a server that cannot prove who it is, is another thing.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            FetchError::Resolve { .. }
                | FetchError::Refused { .. }
                | FetchError::Connect { .. }
                | FetchError::NoRoots
                | FetchError::NotFound { .. }
                | FetchError::Forbidden { .. }
                | FetchError::Status { .. }
                | FetchError::Stalled { .. }
        )
    }

    /// Whether there was no connection.
    pub(crate) fn is_without_contact(&self) -> bool {
        matches!(self, FetchError::Refused { .. } | FetchError::Connect { .. })
    }

    /// Whether another attempt may fare better.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            FetchError::Stalled { .. }
            | FetchError::EndedEarly { .. }
            | FetchError::Refused { .. }
            | FetchError::Connect { .. }
            | FetchError::Protocol { .. } => true,
            FetchError::Status { status, .. } => *status >= 500 || matches!(status, 408 | 425 | 429),
            _ => false,
        }
    }
}

/// An address as it can be shown: without a password or a token in it.
pub(crate) fn shown(url: &Url) -> String {
    messages::without_login(url.as_str()).into_owned()
}

fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or("the server");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Why there is no secure connection.
fn tls_words(error: &rustls::Error) -> &'static str {
    use rustls::CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet, NotValidYetContext,
        Revoked, UnknownIssuer,
    };
    let rustls::Error::InvalidCertificate(certificate) = error else {
        return "no secure connection came about";
    };
    match certificate {
        UnknownIssuer => "its certificate was issued by nobody that this host trusts",
        Expired | ExpiredContext { .. } => "its certificate has expired",
        NotValidYet | NotValidYetContext { .. } => "its certificate is not valid yet",
        NotValidForName | NotValidForNameContext { .. } => "its certificate is another server's",
        Revoked => "its certificate was revoked",
        _ => "its certificate makes no sense",
    }
}

/// The error of type `E` beneath `error`. Those inside of I/O errors are no sources of them.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = inside.and_then(|inside| find::<E>(inside)) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// What the innermost error says.
fn last(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    messages::in_words(innermost)
}

fn of(total_bytes: Option<u64>) -> String {
    total_bytes.map(|total| format!(" of {}", Bytes(total))).unwrap_or_default()
}

fn needed(needed_bytes: Option<u64>) -> String {
    needed_bytes.map(|needed| format!(" (it needs {} more)", Bytes(needed))).unwrap_or_default()
}
