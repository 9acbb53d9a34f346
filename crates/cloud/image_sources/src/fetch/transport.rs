//! One request and its answer, piece by piece, with the time that each step may take.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, HeaderName};
use reqwest::{Client, Response, Url};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::error::{FetchError, shown};
use super::redirects;
use super::resolver::HostResolver;

/// A short answer may take so many times as long as nothing may come at all.
const SHORT_TIMES: u32 = 4;
const USER_AGENT: &str = concat!("yagura/", env!("CARGO_PKG_VERSION"));

/// How long things may take, and how often they are tried.
#[derive(Clone, Debug)]
pub struct FetchSettings {
    /// For a connection, name lookup and TLS included.
    pub connect_timeout: Duration,
    /// Without a byte.
    pub stall_timeout: Duration,
    /// Attempts in a row that bring next to nothing; two, if the server never answers at all.
    pub attempts_max: u32,
    /// Before the second attempt; each further wait is twice as long.
    pub first_wait: Duration,
    /// Certificates, in DER, of authorities to trust beside the host's.
    pub extra_roots: Vec<Vec<u8>>,
}

impl Default for FetchSettings {
    fn default() -> Self {
        FetchSettings {
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(30),
            attempts_max: 5,
            first_wait: Duration::from_secs(1),
            extra_roots: Vec::new(),
        }
    }
}

/// Sends requests. What is asynchronous beneath stays in here.
pub(crate) struct Transport {
    client: Client,
    runtime: Runtime,
    stall_timeout: Duration,
    has_roots: bool,
}

/// What a server answers; its body comes piece by piece.
pub(crate) struct Answer<'a> {
    transport: &'a Transport,
    response: Response,
    asked: Url,
}

impl Transport {
    pub(crate) fn new(settings: &FetchSettings) -> Result<Transport, FetchError> {
        let unusable = |what: String| FetchError::Protocol { url: "the HTTP client".to_owned(), what };
        let roots = roots(&settings.extra_roots);
        let has_roots = !roots.is_empty();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(Arc::new(HostResolver::default()))
            .redirect(redirects::policy())
            .connect_timeout(settings.connect_timeout)
            .user_agent(USER_AGENT)
            .referer(false)
            .http1_only()
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        Ok(Transport { client, runtime, stall_timeout: settings.stall_timeout, has_roots })
    }

    /// Asks for `url` and waits for the head of the answer, behind redirects.
    pub(crate) fn get(&self, url: &Url, headers: HeaderMap) -> Result<Answer<'_>, FetchError> {
        if url.scheme() == "https" && !self.has_roots {
            return Err(FetchError::NoRoots);
        }
        let send = self.client.get(url.clone()).headers(headers).send();
        let response = self.runtime.block_on(async { timeout(self.stall_timeout, send).await });
        let response = response.map_err(|_| self.stalled(url))?;
        let response = response.map_err(|error| FetchError::request(url, &error))?;
        Ok(Answer { transport: self, response, asked: url.clone() })
    }

    fn stalled(&self, url: &Url) -> FetchError {
        FetchError::Stalled { url: shown(url), after: self.stall_timeout }
    }
}

impl Answer<'_> {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// Where it came from in the end.
    pub(crate) fn url(&self) -> &Url {
        self.response.url()
    }

    /// A header's value, if there is one that is text.
    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// Length of the body in bytes, as announced.
    pub(crate) fn length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next bytes of the body, in `take`; `false` at its end.
    pub(crate) fn next_piece(
        &mut self,
        take: &mut dyn FnMut(&[u8]) -> Result<(), FetchError>,
    ) -> Result<bool, FetchError> {
        let stall_timeout = self.transport.stall_timeout;
        let next = self.response.chunk();
        let piece = self.transport.runtime.block_on(async { timeout(stall_timeout, next).await });
        match piece.map_err(|_| self.transport.stalled(&self.asked))? {
            Ok(None) => Ok(false),
            Ok(Some(piece)) => take(&piece).map(|()| true),
            // However a body breaks off, what came is good.
            Err(_) => {
                Err(FetchError::EndedEarly { url: shown(&self.asked), got_bytes: 0, total_bytes: None })
            }
        }
    }

    /// All of a body that is short.
    pub(crate) fn body(mut self, bytes_max: u64) -> Result<Vec<u8>, FetchError> {
        let too_large = FetchError::TooLarge { url: shown(&self.asked), bytes_max };
        if self.length().is_some_and(|length| length > bytes_max) {
            return Err(too_large);
        }
        let mut body = Vec::new();
        let deadline = Instant::now() + self.transport.stall_timeout * SHORT_TIMES;
        while self.next_piece(&mut |piece| {
            body.extend_from_slice(piece);
            Ok(())
        })? {
            if body.len() as u64 > bytes_max {
                return Err(too_large);
            }
            if Instant::now() > deadline {
                return Err(self.transport.stalled(&self.asked));
            }
        }
        Ok(body)
    }
}

/// The host's authorities, and more. One that cannot be read is as if it were not there.
fn roots(extra: &[Vec<u8>]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots.add_parsable_certificates(extra.iter().map(|der| CertificateDer::from(der.clone())));
    roots
}
