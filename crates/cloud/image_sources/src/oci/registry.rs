//! Pulling from a registry (distribution-spec, "Pull"), without a name or as an anonymous bearer of a token.

use std::path::Path;
use std::time::Duration;

use image_model::{Checksum, ChecksumKind, Digest};
use oci_image::{
    DOCUMENT_BYTES_MAX, Descriptor, Manifest, OciImageError, OciOptions, OciReference, check_sizes, choose,
    layer_compression, parse_config, parse_manifest,
};
use reqwest::Url;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{Layer, OciError, OciImage};
use crate::fetch::{Download, FetchError, FetchEvent, FetchEvents, Fetcher};
use crate::progress::Progress;

/// Media types that a registry is asked for.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";
/// Longest answer of a token service that is read.
const TOKEN_BYTES_MAX: u64 = 64 << 10;

impl Fetcher {
    /// Pulls an image. Its layers become files in `folder`, named by their digests; what is there from an
    /// earlier pull is not fetched again, and what is there in part goes on.
    ///
    /// # Errors
    /// The registry cannot be reached, has no such image or none for these processors, or sends something
    /// else.
    pub fn pull_oci(
        &self,
        reference: &OciReference,
        folder: &Path,
        options: OciOptions,
        events: FetchEvents<'_>,
    ) -> Result<OciImage, OciError> {
        let mut registry = Registry::new(self, reference)?;
        let (digest, config, descriptors) = registry.find_image(options, events)?;
        let total = check_sizes(descriptors.iter().map(|layer| layer.size), options)?;
        let config = registry.document(&config, "blobs", events)?;
        let config = parse_config(&config, descriptors.len(), options.architecture)?;
        let mut layers = Vec::new();
        let mut done = 0;
        for (descriptor, diff_id) in descriptors.iter().zip(&config.diff_ids) {
            let compression = layer_compression(&descriptor.media_type)?;
            let path = folder.join(descriptor.digest.hex());
            registry.blob(descriptor, &path, &mut |event| events(of_all(event, done, total)))?;
            done += descriptor.size;
            let (digest, bytes) = (descriptor.digest, descriptor.size);
            layers.push(Layer { path, compression, digest, diff_id: *diff_id, bytes });
        }
        Ok(OciImage { architecture: config.architecture, digest, layers, config: config.config })
    }
}

/// A repository of a registry, and what lets us in.
struct Registry<'a> {
    fetcher: &'a Fetcher,
    reference: &'a OciReference,
    base: Url,
    challenge: Option<Challenge>,
    token: Option<HeaderValue>,
}

/// Where a token is to be had, and for what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Challenge {
    realm: String,
    service: Option<String>,
    scope: Option<String>,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl<'a> Registry<'a> {
    fn new(fetcher: &'a Fetcher, reference: &'a OciReference) -> Result<Registry<'a>, OciError> {
        let scheme = if reference.is_here() { "http" } else { "https" };
        let base = format!("{scheme}://{}/v2/{}/", reference.host(), reference.repository());
        let base = crate::fetch::parse_url(&base)?;
        Ok(Registry { fetcher, reference, base, challenge: None, token: None })
    }

    /// The manifest for our processors: its digest, configuration and layers.
    fn find_image(
        &mut self,
        options: OciOptions,
        events: FetchEvents<'_>,
    ) -> Result<(Digest, Descriptor, Vec<Descriptor>), OciError> {
        let path = format!("manifests/{}", self.reference.version());
        let bytes = self.get(&path, events).map_err(|error| match error {
            OciError::Fetch(FetchError::NotFound { .. }) => OciError::NotFound(self.reference.to_string()),
            error => error,
        })?;
        let mut digest = digest_of(&bytes);
        if self.reference.digest().is_some_and(|wanted| *wanted != digest) {
            return Err(nonsense(format!(
                "the registry sends the manifest {digest}, which was not asked for"
            )));
        }
        let mut manifest = parse_manifest(&bytes)?;
        if let Manifest::Index(manifests) = &manifest {
            let chosen = choose(manifests, options.architecture)?.clone();
            digest = chosen.digest;
            manifest = parse_manifest(&self.document(&chosen, "manifests", events)?)?;
        }
        match manifest {
            Manifest::Image { config, layers } => Ok((digest, config, layers)),
            Manifest::Index(_) => Err(nonsense("its index leads to another index")),
        }
    }

    /// A short piece that is named by its digest.
    fn document(
        &mut self,
        descriptor: &Descriptor,
        kind: &str,
        events: FetchEvents<'_>,
    ) -> Result<Vec<u8>, OciError> {
        let bytes = self.get(&format!("{kind}/{}", descriptor.digest), events)?;
        let found = digest_of(&bytes);
        if found != descriptor.digest {
            let wanted = descriptor.digest;
            return Err(nonsense(format!("the registry sends {found} when it is asked for {wanted}")));
        }
        Ok(bytes)
    }

    fn get(&mut self, path: &str, events: FetchEvents<'_>) -> Result<Vec<u8>, OciError> {
        let url = self.url(path)?;
        loop {
            let mut headers = self.headers();
            headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
            let short = self.fetcher.ask(&url, &headers, DOCUMENT_BYTES_MAX, events)?;
            match (short.body, short.challenge) {
                (Some(body), _) => return Ok(body),
                (None, Some(challenge)) if self.token.is_none() => {
                    self.challenge = parse_challenge(&challenge);
                    self.authenticate(events)?;
                }
                (None, _) => return Err(self.login()),
            }
        }
    }

    /// Fetches a blob to a file. A token that has run out in the meantime is renewed once.
    fn blob(
        &mut self,
        descriptor: &Descriptor,
        path: &Path,
        events: FetchEvents<'_>,
    ) -> Result<(), OciError> {
        let url = self.url(&format!("blobs/{}", descriptor.digest))?;
        let expected = Checksum::new(ChecksumKind::Sha256, &descriptor.digest.hex())
            .map_err(|error| nonsense(error.to_string()))?;
        let download = Download {
            url: url.as_str(),
            partial: path,
            expected: Some(&expected),
            bytes_max: descriptor.size,
        };
        let fetched = match self.fetcher.download_with(&download, &self.headers(), events) {
            Err(FetchError::Forbidden { status: 401, .. }) if self.challenge.is_some() => {
                self.authenticate(events)?;
                self.fetcher.download_with(&download, &self.headers(), events)
            }
            fetched => fetched,
        };
        if fetched?.bytes != descriptor.size {
            return Err(nonsense(format!("{} is not as long as its manifest says", descriptor.digest)));
        }
        Ok(())
    }

    /// Gets a token as nobody in particular (distribution-spec's token authentication).
    fn authenticate(&mut self, events: FetchEvents<'_>) -> Result<(), OciError> {
        let Some(challenge) = self.challenge.clone() else { return Err(self.login()) };
        let mut url = crate::fetch::parse_url(&challenge.realm)?;
        // A registry must not make us ask services of the network that trust whoever reaches them, and be
        // told the answer.
        if url.scheme() != "https" && !self.reference.is_here() {
            let what =
                format!("the registry wants a token from {}, which is not https", crate::fetch::shown(&url));
            return Err(nonsense(what));
        }
        for (name, value) in [("service", challenge.service), ("scope", challenge.scope)] {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, &value);
            }
        }
        let short = self.fetcher.ask(&url, &HeaderMap::new(), TOKEN_BYTES_MAX, events)?;
        let Some(body) = short.body else { return Err(self.login()) };
        let token: Token = serde_json::from_slice(&body).map_err(|error| {
            let why = messages::parser_words(&error.to_string());
            nonsense(format!("its registry's token cannot be read: {why}"))
        })?;
        let token = token.token.or(token.access_token).unwrap_or_default();
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| nonsense("the registry's token cannot be sent"))?;
        value.set_sensitive(true);
        self.token = Some(value);
        Ok(())
    }

    fn headers(&self) -> HeaderMap {
        self.token.iter().map(|token| (AUTHORIZATION, token.clone())).collect()
    }

    fn url(&self, path: &str) -> Result<Url, OciError> {
        self.base.join(path).map_err(|error| nonsense(format!("{path}: {error}")))
    }

    fn login(&self) -> OciError {
        OciError::Login(self.reference.host().to_owned())
    }
}

/// Reads `Bearer realm="…",service="…",scope="…"` (RFC 6750, 3; RFC 9110, 11.6.1).
fn parse_challenge(text: &str) -> Option<Challenge> {
    let (scheme, mut rest) = text.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut challenge = Challenge::default();
    while let Some((name, after)) = rest.split_once("=\"") {
        let (value, after) = after.split_once('"')?;
        match name.trim_matches([' ', ',']) {
            "realm" => challenge.realm = value.to_owned(),
            "service" => challenge.service = Some(value.to_owned()),
            "scope" => challenge.scope = Some(value.to_owned()),
            _ => {}
        }
        rest = after;
    }
    (!challenge.realm.is_empty()).then_some(challenge)
}

/// How far one layer is, as how far all are.
fn of_all(event: FetchEvent, before: u64, total: u64) -> FetchEvent {
    let FetchEvent::Progress(progress) = event else { return event };
    let done_bytes = before + progress.done_bytes;
    let rate = progress.rate_bytes_per_s;
    let left = (rate > 0).then(|| Duration::from_secs(total.saturating_sub(done_bytes).div_ceil(rate)));
    FetchEvent::Progress(Progress { done_bytes, total_bytes: Some(total), left, ..progress })
}

fn nonsense(what: impl Into<String>) -> OciError {
    OciImageError::nonsense(what).into()
}

fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let text =
            r#"Bearer realm="https://a.example/token",service="r.example",scope="repository:a/b:pull,push""#;
        let challenge = parse_challenge(text).unwrap();
        assert_eq!(challenge.realm, "https://a.example/token");
        assert_eq!(challenge.service.as_deref(), Some("r.example"));
        assert_eq!(challenge.scope.as_deref(), Some("repository:a/b:pull,push"));
        for bad in ["", "Bearer", "Basic realm=\"x\"", "Bearer realm=\"x", "Bearer service=\"x\""] {
            assert_eq!(parse_challenge(bad), None, "{bad}");
        }
    }

    #[test]
    fn progress_is_of_all_layers() {
        let one = Progress { done_bytes: 10, total_bytes: Some(20), rate_bytes_per_s: 10, left: None };
        let FetchEvent::Progress(all) = of_all(FetchEvent::Progress(one), 100, 210) else { panic!() };
        assert_eq!(
            (all.done_bytes, all.total_bytes, all.left),
            (110, Some(210), Some(Duration::from_secs(10)))
        );
    }
}
