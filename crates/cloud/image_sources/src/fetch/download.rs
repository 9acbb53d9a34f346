//! Downloading a file that may be large: in several attempts, each going on where the last one ended.
//!
//! ```text
//!        open partial ──► ask, from where we are ──► 206: write on ──┐
//!             ▲                     │ 200: begin anew ───────────────┤
//!             │ wait                │ 416: drop what is here         ▼
//!             └── temporary failure ◄──────────────────────── end ──► checksum ──► done
//! ```

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use image_model::{Checksum, ChecksumKind};
use reqwest::Url;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, LAST_MODIFIED, RANGE,
    WWW_AUTHENTICATE,
};

use super::error::{FetchError, shown};
use super::partial::{Origin, Partial};
use super::transport::{Answer, FetchSettings, Transport};
use crate::progress::{Progress, RateMeter};

/// The longest wait between attempts.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Attempts to reach a server that has never answered. Whoever waits may have something else to fall back to.
const ATTEMPTS_WITHOUT_CONTACT_MAX: u32 = 2;
/// An attempt that brings so much was worth it: the count of attempts begins anew.
const WORTH_BYTES: u64 = 1 << 20;

/// What is told while a file comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchEvent {
    /// How far it is.
    Progress(Progress),
    /// An earlier download goes on.
    Resumed {
        /// Bytes that are here already.
        from_bytes: u64,
    },
    /// What was here is of no use: the file changed, or the server sends it only as a whole.
    Restarted,
    /// An attempt failed.
    Retry {
        /// Which attempt comes next; the first was 1.
        attempt: u32,
        /// Why the last one failed.
        why: String,
        /// When the next one begins.
        wait: Duration,
    },
}

/// Told what happens; breaking off cancels the download, and what is here is kept.
pub type FetchEvents<'a> = &'a mut dyn FnMut(FetchEvent) -> ControlFlow<()>;

/// A file to be downloaded.
#[derive(Clone, Debug)]
pub struct Download<'a> {
    /// Where it is: http or https.
    pub url: &'a str,
    /// Where it goes. Beside it a file with the ending `.json` keeps what is needed to go on.
    pub partial: &'a Path,
    /// What its bytes have to amount to.
    pub expected: Option<&'a Checksum>,
    /// The longest that it may be.
    pub bytes_max: u64,
}

/// A file that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Where.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Its checksum: of the kind that was expected, else SHA-256.
    pub checksum: Checksum,
    /// Where it came from, behind redirects.
    pub url: String,
}

/// Fetches files. Each thread takes one of its own; not to be called inside of an asynchronous runtime.
pub struct Fetcher {
    pub(crate) transport: Transport,
    settings: FetchSettings,
}

impl Fetcher {
    /// A fetcher that trusts the host's authorities and goes through the proxies that the environment names
    /// (`http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`).
    ///
    /// # Errors
    /// The client cannot be built.
    pub fn new(settings: FetchSettings) -> Result<Fetcher, FetchError> {
        Ok(Fetcher { transport: Transport::new(&settings)?, settings })
    }

    /// Fetches a short text.
    ///
    /// # Errors
    /// It is not there, too long, or does not come.
    pub fn fetch_text(
        &self,
        url: &str,
        bytes_max: u64,
        events: FetchEvents<'_>,
    ) -> Result<String, FetchError> {
        let url = parse_url(url)?;
        let short = self.ask(&url, &HeaderMap::new(), bytes_max, events)?;
        let bytes = short.body.ok_or_else(|| FetchError::status(&url, 401))?;
        String::from_utf8(bytes)
            .map_err(|_| FetchError::Protocol { url: shown(&url), what: "this is not text".to_owned() })
    }

    /// Asks for something short; a request for a login is an answer, too.
    pub(crate) fn ask(
        &self,
        url: &Url,
        headers: &HeaderMap,
        bytes_max: u64,
        events: FetchEvents<'_>,
    ) -> Result<Short, FetchError> {
        let get = || {
            let answer = self.transport.get(url, headers.clone())?;
            match answer.status() {
                200 => Ok(Short { body: Some(answer.body(bytes_max)?), challenge: None }),
                401 => {
                    let challenge = answer.header(WWW_AUTHENTICATE).map(str::to_owned);
                    Ok(Short { body: None, challenge })
                }
                status => Err(FetchError::status(url, status)),
            }
        };
        self.retry(events, (), |(), _| get().map_err(Failure::of_nothing))
    }

    /// Fetches a file, or the rest of it.
    ///
    /// # Errors
    /// It is not there, is not what is expected (then nothing is kept), or does not come (then what came is
    /// kept).
    pub fn download(&self, what: &Download<'_>, events: FetchEvents<'_>) -> Result<Fetched, FetchError> {
        self.download_with(what, &HeaderMap::new(), events)
    }

    pub(crate) fn download_with(
        &self,
        what: &Download<'_>,
        headers: &HeaderMap,
        events: FetchEvents<'_>,
    ) -> Result<Fetched, FetchError> {
        let url = parse_url(what.url)?;
        let kind = what.expected.map_or(ChecksumKind::Sha256, Checksum::kind);
        let partial = Partial::open(what.partial, &identity(&url), kind)?;
        let meter = RateMeter::new(Instant::now(), partial.bytes);
        let mut transfer =
            Transfer { url: &url, what, headers, partial, meter, resumed: false, from: url.clone() };
        if transfer.partial.bytes > 0 && transfer.is_right()? == Some(true) {
            return transfer.finish();
        }
        loop {
            self.retry(events, &mut transfer, |transfer, events| transfer.attempt(&self.transport, events))?;
            if transfer.is_right()? != Some(false) {
                return transfer.finish();
            }
            if !transfer.resumed {
                return Err(transfer.discard()?);
            }
            // The pieces may be of two files.
            transfer.begin_anew(events)?;
        }
    }

    /// Tries until it works, or is not worth trying any more.
    fn retry<S, T>(
        &self,
        events: FetchEvents<'_>,
        mut state: S,
        mut attempt: impl FnMut(&mut S, FetchEvents<'_>) -> Result<T, Failure>,
    ) -> Result<T, FetchError> {
        let mut attempts = 1;
        let mut contact = false;
        loop {
            let failure = match attempt(&mut state, events) {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            if failure.brought_bytes >= WORTH_BYTES {
                attempts = 1;
            }
            contact |= !failure.error.is_without_contact();
            let attempts_max = self.settings.attempts_max;
            let attempts_max =
                if contact { attempts_max } else { attempts_max.min(ATTEMPTS_WITHOUT_CONTACT_MAX) };
            if !failure.error.is_temporary() || attempts >= attempts_max {
                return Err(failure.error);
            }
            let wait = wait_before(self.settings.first_wait, attempts);
            attempts += 1;
            tell(events, FetchEvent::Retry { attempt: attempts, why: failure.error.to_string(), wait })?;
            thread::sleep(wait);
        }
    }
}

/// A short answer.
pub(crate) struct Short {
    /// Nothing if a login is wanted.
    pub(crate) body: Option<Vec<u8>>,
    /// How to log in.
    pub(crate) challenge: Option<String>,
}

/// Why an attempt failed, and what it was good for.
struct Failure {
    error: FetchError,
    brought_bytes: u64,
}

impl Failure {
    fn of_nothing(error: FetchError) -> Failure {
        Failure { error, brought_bytes: 0 }
    }
}

/// A download under way.
struct Transfer<'a> {
    url: &'a Url,
    what: &'a Download<'a>,
    headers: &'a HeaderMap,
    partial: Partial,
    meter: RateMeter,
    /// What is here came in several pieces.
    resumed: bool,
    /// Where the last answer came from.
    from: Url,
}

impl Transfer<'_> {
    /// Asks for what is missing, and takes it.
    fn attempt(&mut self, transport: &Transport, events: FetchEvents<'_>) -> Result<(), Failure> {
        let before = self.partial.bytes;
        let done = self.ask(transport, events).and_then(|answer| self.receive(answer, events));
        let brought = |after: u64| after.saturating_sub(before);
        done.map_err(|error| Failure { error, brought_bytes: brought(self.partial.bytes) })
    }

    fn ask<'t>(
        &mut self,
        transport: &'t Transport,
        events: FetchEvents<'_>,
    ) -> Result<Answer<'t>, FetchError> {
        let answer = transport.get(self.url, self.request_headers())?;
        self.from = answer.url().clone();
        match answer.status() {
            200 => {
                if self.partial.bytes > 0 {
                    tell(events, FetchEvent::Restarted)?;
                }
                self.partial.restart(origin(self.url, &answer))?;
            }
            206 => self.go_on(&answer, events)?,
            416 => {
                self.begin_anew(events)?;
                return Err(self.nonsense("it has no more than what is here, which is not all"));
            }
            status => return Err(FetchError::status(self.url, status)),
        }
        self.check_room()?;
        Ok(answer)
    }

    /// Asks for the rest only if it can be seen that it is of the same file: by the server's validator, or by
    /// the checksum.
    fn request_headers(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let validator = self.partial.origin.validator().and_then(|text| HeaderValue::from_str(text).ok());
        if self.partial.bytes == 0 || (validator.is_none() && self.what.expected.is_none()) {
            return headers;
        }
        if let Ok(range) = HeaderValue::from_str(&format!("bytes={}-", self.partial.bytes)) {
            headers.insert(RANGE, range);
            headers.extend(validator.map(|validator| (IF_RANGE, validator)));
        }
        headers
    }

    /// Checks that an answer is the rest of what is here (RFC 9110, 14.4).
    fn go_on(&mut self, answer: &Answer<'_>, events: FetchEvents<'_>) -> Result<(), FetchError> {
        let range = answer.header(CONTENT_RANGE).and_then(content_range);
        let fresh = origin(self.url, answer);
        let known = &self.partial.origin;
        let same = fresh.etag.is_none() || known.etag.is_none() || fresh.etag == known.etag;
        match range {
            Some((start, total_bytes)) if start == self.partial.bytes && same => {
                self.partial.origin.total_bytes = total_bytes;
                self.resumed = true;
                tell(events, FetchEvent::Resumed { from_bytes: start })
            }
            _ => {
                self.begin_anew(events)?;
                Err(self.nonsense("it sends another part of the file than was asked for"))
            }
        }
    }

    fn check_room(&mut self) -> Result<(), FetchError> {
        let Some(total) = self.partial.origin.total_bytes else { return Ok(()) };
        if total > self.what.bytes_max {
            return Err(self.too_large());
        }
        let needed = total.saturating_sub(self.partial.bytes);
        if needed > self.partial.free_bytes()? {
            let path = self.what.partial.to_owned();
            return Err(FetchError::NoSpace { path, needed_bytes: Some(needed) });
        }
        Ok(())
    }

    fn receive(&mut self, mut answer: Answer<'_>, events: FetchEvents<'_>) -> Result<(), FetchError> {
        self.progress(events)?;
        loop {
            let (partial, bytes_max) = (&mut self.partial, self.what.bytes_max);
            let mut fits = true;
            let more = answer.next_piece(&mut |piece| {
                fits = partial.bytes + piece.len() as u64 <= bytes_max;
                if fits { partial.write(piece) } else { Ok(()) }
            });
            if !fits {
                self.partial.restart(Origin { url: identity(self.url), ..Origin::default() })?;
                return Err(self.too_large());
            }
            match more {
                Ok(true) if self.meter.is_due(Instant::now()) => self.progress(events)?,
                Ok(true) => {}
                Ok(false) => break,
                Err(FetchError::EndedEarly { .. }) => return Err(self.ended_early()),
                Err(error) => return Err(error),
            }
        }
        self.progress(events)?;
        match self.partial.origin.total_bytes {
            Some(total) if self.partial.bytes < total => Err(self.ended_early()),
            Some(total) if self.partial.bytes > total => {
                self.begin_anew(events)?;
                Err(self.nonsense("it sends more than it announced"))
            }
            _ => Ok(()),
        }
    }

    fn progress(&mut self, events: FetchEvents<'_>) -> Result<(), FetchError> {
        let total_bytes = self.partial.origin.total_bytes;
        let progress = self.meter.sample(Instant::now(), self.partial.bytes, total_bytes);
        tell(events, FetchEvent::Progress(progress))
    }

    fn begin_anew(&mut self, events: FetchEvents<'_>) -> Result<(), FetchError> {
        self.resumed = false;
        self.partial.restart(Origin { url: identity(self.url), ..Origin::default() })?;
        tell(events, FetchEvent::Restarted)
    }

    /// Whether what is here has the checksum that is expected; nothing if none is.
    fn is_right(&self) -> Result<Option<bool>, FetchError> {
        let Some(expected) = self.what.expected else { return Ok(None) };
        Ok(Some(*expected == self.partial.checksum()?))
    }

    fn finish(self) -> Result<Fetched, FetchError> {
        let (bytes, checksum) = (self.partial.bytes, self.partial.checksum()?);
        self.partial.finish()?;
        Ok(Fetched { path: self.what.partial.to_owned(), bytes, checksum, url: shown(&self.from) })
    }

    /// Removes what is here, and says why.
    fn discard(self) -> Result<FetchError, FetchError> {
        let found = self.partial.checksum()?;
        let expected = self.what.expected.cloned().unwrap_or_else(|| found.clone());
        self.partial.discard()?;
        Ok(FetchError::Checksum { url: shown(self.url), expected, found })
    }

    fn ended_early(&self) -> FetchError {
        let (got_bytes, total_bytes) = (self.partial.bytes, self.partial.origin.total_bytes);
        FetchError::EndedEarly { url: shown(self.url), got_bytes, total_bytes }
    }

    fn too_large(&self) -> FetchError {
        FetchError::TooLarge { url: shown(self.url), bytes_max: self.what.bytes_max }
    }

    fn nonsense(&self, what: &str) -> FetchError {
        FetchError::Protocol { url: shown(self.url), what: what.to_owned() }
    }
}

/// An address of a file.
pub(crate) fn parse_url(text: &str) -> Result<Url, FetchError> {
    let bad = |why: &str| FetchError::BadUrl {
        url: messages::without_login(text).escape_default().to_string(),
        why: why.to_owned(),
    };
    let url = Url::parse(text).map_err(|error| bad(&error.to_string()))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err(bad("it has to begin with https:// or http://")),
    }
}

/// What tells one address from another where it is kept: it may have a password in it.
fn identity(url: &Url) -> String {
    use sha2::{Digest, Sha256};
    image_model::hex(&Sha256::digest(url.as_str()))
}

fn origin(url: &Url, answer: &Answer<'_>) -> Origin {
    let header = |name| answer.header(name).map(str::to_owned);
    Origin {
        url: identity(url),
        etag: header(ETAG),
        last_modified: header(LAST_MODIFIED),
        total_bytes: answer.length(),
    }
}

/// Where a part begins, and how long the whole is, in `bytes 100-199/1000`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _end) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()))
}

fn wait_before(first: Duration, attempts: u32) -> Duration {
    let doubled = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    first.saturating_mul(doubled).min(WAIT_MAX)
}

fn tell(events: FetchEvents<'_>, event: FetchEvent) -> Result<(), FetchError> {
    if events(event).is_break() { Err(FetchError::Cancelled) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!(content_range("bytes 100-199/1000"), Some((100, Some(1000))));
        assert_eq!(content_range("bytes 0-0/*"), Some((0, None)));
        for bad in ["", "bytes */1000", "bytes 1000", "lines 1-2/3", "bytes -1-2/3"] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn waits_double_up_to_a_limit() {
        let waits: Vec<u64> = (1..8).map(|n| wait_before(Duration::from_secs(1), n).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(wait_before(Duration::from_secs(1), 1000), WAIT_MAX);
    }

    #[test]
    fn only_web_addresses_are_fetched() {
        assert!(parse_url("https://a.example/x").is_ok());
        for bad in ["", "x", "file:///etc/passwd", "ftp://a.example/", "http://"] {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }
}
