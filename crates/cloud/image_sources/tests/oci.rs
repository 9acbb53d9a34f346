//! OCI images from a registry on the loopback interface.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

mod server;

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::time::Duration;

use image_model::Architecture;
use image_sources::{FetchEvent, FetchSettings, Fetcher, OciError, OciImage};
use oci_image::{LayerCompression, OciOptions};
use server::{Asked, Piece, Reply, Server, body, file};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

const OPTIONS: OciOptions = OciOptions { architecture: Architecture::X86_64, bytes_max: 1 << 20 };
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(bytes))
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An image of two layers, of which the second is gzip-compressed by its media type, and of one more
/// platform.
#[derive(Clone)]
struct Image {
    blobs: BTreeMap<String, Vec<u8>>,
    index: String,
    manifest: String,
    config: String,
    layers: [Vec<u8>; 2],
}

fn descriptor(media_type: &str, bytes: &[u8], more: &str) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{}{more}}}"#, digest(bytes), bytes.len())
}

impl Image {
    fn new() -> Image {
        let layers = [body(30_000), body(20_000)];
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{"Env":["A=b"],"Entrypoint":["/x"],"User":"www"}},
               "rootfs":{{"type":"layers","diff_ids":["{}","{}"]}}}}"#,
            digest(&layers[0]),
            digest(b"what is in the second")
        );
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{},{}]}}"#,
            descriptor("application/vnd.oci.image.config.v1+json", config.as_bytes(), ""),
            descriptor(LAYER, &layers[0], ""),
            descriptor(&format!("{LAYER}+gzip"), &layers[1], "")
        );
        let platform =
            |architecture: &str| format!(r#","platform":{{"os":"linux","architecture":"{architecture}"}}"#);
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{},{}]}}"#,
            descriptor(MANIFEST, b"the manifest for arm64", &platform("arm64")),
            descriptor(MANIFEST, manifest.as_bytes(), &platform("amd64"))
        );
        let pieces = [config.as_bytes(), manifest.as_bytes(), index.as_bytes(), &layers[0], &layers[1]];
        let blobs = pieces.iter().map(|piece| (digest(piece), piece.to_vec())).collect();
        Image { blobs, index, manifest, config, layers }
    }

    /// What a registry without access control answers.
    fn reply(&self, asked: &Asked) -> Reply {
        let Some(rest) = asked.path.strip_prefix("/v2/team/app/") else { return Reply::status(404) };
        match rest.split_once('/') {
            Some(("manifests", "1.0")) => Reply::ok(self.index.as_bytes()).header("content-type", INDEX),
            Some(("manifests", name)) => self.blob(name).map_or(Reply::status(404), |blob| Reply::ok(&blob)),
            Some(("blobs", name)) => {
                self.blob(name).map_or(Reply::status(404), |blob| file(asked, &blob, "\"1\""))
            }
            _ => Reply::status(404),
        }
    }

    fn blob(&self, name: &str) -> Option<Vec<u8>> {
        self.blobs.get(name).cloned()
    }

    fn check(&self, image: &OciImage) {
        assert_eq!(image.architecture, Architecture::X86_64);
        assert_eq!(image.config.env, ["A=b"]);
        assert_eq!(
            (&image.config.entrypoint[..], image.config.user.as_str()),
            (&["/x".to_owned()][..], "www")
        );
        let found: Vec<Vec<u8>> = image.layers.iter().map(|layer| fs::read(&layer.path).unwrap()).collect();
        assert_eq!(found, self.layers);
        assert_eq!(image.layers[0].digest, image.layers[0].diff_id);
        assert_eq!(image.layers[1].diff_id.to_string(), digest(b"what is in the second"));
        assert_eq!(image.layers[1].bytes, 20_000);
    }
}

struct Pull {
    folder: TempDir,
    events: Vec<FetchEvent>,
}

impl Pull {
    fn new() -> Pull {
        Pull { folder: tempfile::tempdir().unwrap(), events: Vec::new() }
    }

    fn pull(&mut self, server: &Server, version: &str, options: OciOptions) -> Result<OciImage, OciError> {
        let settings = FetchSettings {
            attempts_max: 2,
            first_wait: Duration::from_millis(1),
            stall_timeout: Duration::from_secs(2),
            ..FetchSettings::default()
        };
        let reference = format!("oci:{}/team/app{version}", server.address).parse().unwrap();
        let fetcher = Fetcher::new(settings).unwrap();
        fetcher.pull_oci(&reference, self.folder.path(), options, &mut |event| {
            self.events.push(event);
            ControlFlow::Continue(())
        })
    }
}

fn error(server: &Server, version: &str) -> String {
    Pull::new().pull(server, version, OPTIONS).unwrap_err().to_string()
}

#[test]
fn an_image_is_pulled_from_an_index_of_several_platforms() {
    let image = Image::new();
    let copy = image.clone();
    let server = Server::start(move |asked| copy.reply(asked));
    let mut pull = Pull::new();
    let pulled = pull.pull(&server, ":1.0", OPTIONS).unwrap();
    image.check(&pulled);
    assert_eq!(pulled.digest.to_string(), digest(image.manifest.as_bytes()));
    assert_eq!(pulled.layers[0].compression, LayerCompression::None);
    assert_eq!(pulled.layers[1].compression, LayerCompression::Gzip);
    let progress = pull.events.iter().rev().find_map(|event| match event {
        FetchEvent::Progress(progress) => Some(*progress),
        _ => None,
    });
    assert_eq!(progress.map(|it| (it.done_bytes, it.total_bytes)), Some((50_000, Some(50_000))));
    // Layers that are here are not fetched again.
    let before = server.asked().len();
    image.check(&pull.pull(&server, ":1.0", OPTIONS).unwrap());
    let again = server.asked().split_off(before);
    assert!(again.iter().filter(|asked| asked.path.contains("/blobs/")).count() == 1, "{again:?}");
    let pinned = format!("@{}", digest(image.manifest.as_bytes()));
    image.check(&Pull::new().pull(&server, &pinned, OPTIONS).unwrap());
}

#[test]
fn what_is_not_there_is_said() {
    let image = Image::new();
    let server = Server::start(move |asked| image.reply(asked));
    let missing = error(&server, ":2.0");
    assert!(missing.contains("there is no image") && missing.contains(":2.0"), "{missing}");
    let riscv = OciOptions { architecture: Architecture::Riscv64, ..OPTIONS };
    let error = Pull::new().pull(&server, ":1.0", riscv).unwrap_err().to_string();
    assert!(error.contains("linux/riscv64") && error.contains("linux/arm64, linux/amd64"), "{error}");
    let small = OciOptions { bytes_max: 49_999, ..OPTIONS };
    let error = Pull::new().pull(&server, ":1.0", small).unwrap_err().to_string();
    assert!(error.contains("50000 bytes"), "{error}");
}

#[test]
fn a_token_is_fetched_for_nobody_in_particular() {
    let image = Image::new();
    let copy = image.clone();
    let mut issued = 0;
    let server = Server::start(move |asked| {
        let host = asked.header("host").unwrap();
        if asked.path.starts_with("/token") {
            assert_eq!(asked.path, "/token?service=reg&scope=repository%3Ateam%2Fapp%3Apull");
            issued += 1;
            return Reply::ok(format!(r#"{{"token":"secret{issued}"}}"#).as_bytes());
        }
        // The first token does not last until the layers.
        let valid =
            if asked.path.contains(&digest(&copy.layers[0])) { "Bearer secret2" } else { "Bearer secret" };
        if asked.header("authorization").is_some_and(|found| found.starts_with(valid)) {
            return copy.reply(asked);
        }
        let realm =
            format!(r#"Bearer realm="http://{host}/token",service="reg",scope="repository:team/app:pull""#);
        Reply::status(401).header("www-authenticate", realm)
    });
    image.check(&Pull::new().pull(&server, ":1.0", OPTIONS).unwrap());
    assert_eq!(server.asked().iter().filter(|asked| asked.path.starts_with("/token")).count(), 2);
}

#[test]
fn logins_are_not_made_up() {
    for challenge in ["Basic realm=\"x\"", "Bearer service=\"x\"", ""] {
        let server = Server::start(move |_| Reply::status(401).header("www-authenticate", challenge));
        let error = error(&server, ":1.0");
        assert!(error.contains("wants a login"), "{challenge}: {error}");
    }
    // A token that does not open the door.
    let server = Server::start(move |asked| {
        let host = asked.header("host").unwrap();
        if asked.path.starts_with("/token") {
            return Reply::ok(br#"{"access_token":"x"}"#);
        }
        Reply::status(401).header("www-authenticate", format!("Bearer realm=\"http://{host}/token\""))
    });
    assert!(error(&server, ":1.0").contains("wants a login"));
    let server = Server::start(move |asked| {
        let host = asked.header("host").unwrap();
        if asked.path.starts_with("/token") {
            return Reply::ok(br#"{"token":"a\r\nX-Evil: 1"}"#);
        }
        Reply::status(401).header("www-authenticate", format!("Bearer realm=\"http://{host}/token\""))
    });
    assert!(error(&server, ":1.0").contains("cannot be sent"));
}

#[test]
fn blobs_that_lie_elsewhere_get_no_token() {
    let image = Image::new();
    let copy = image.clone();
    let store = Server::start(move |asked| {
        copy.blob(asked.path.trim_start_matches('/'))
            .map_or(Reply::status(404), |blob| file(asked, &blob, "\"1\""))
    });
    let elsewhere = store.address;
    let copy = image.clone();
    let server = Server::start(move |asked| {
        let host = asked.header("host").unwrap();
        if asked.path == "/token" {
            return Reply::ok(br#"{"token":"secret"}"#);
        }
        if asked.header("authorization") != Some("Bearer secret") {
            return Reply::status(401)
                .header("www-authenticate", format!("Bearer realm=\"http://{host}/token\""));
        }
        match asked.path.split_once("/blobs/") {
            Some((_, name)) => Reply::redirect(&format!("http://{elsewhere}/{name}")),
            None => copy.reply(asked),
        }
    });
    image.check(&Pull::new().pull(&server, ":1.0", OPTIONS).unwrap());
    assert_eq!(store.asked().len(), 3);
    assert!(store.asked().iter().all(|asked| asked.header("authorization").is_none()));
}

#[test]
fn a_registry_cannot_send_anything_else() {
    let image = Image::new();
    let wrong =
        |what: String, with: Vec<u8>| {
            let image = image.clone();
            let server = Server::start(move |asked| {
                if asked.path.ends_with(&what) { Reply::ok(&with) } else { image.reply(asked) }
            });
            let mut pull = Pull::new();
            let error = pull.pull(&server, ":1.0", OPTIONS).unwrap_err().to_string();
            (error, pull)
        };
    for piece in [image.manifest.as_bytes(), image.config.as_bytes()] {
        let (error, _) = wrong(digest(piece), b"{}".to_vec());
        assert!(error.contains("when it is asked for"), "{error}");
    }
    let mut damaged = image.layers[1].clone();
    damaged[100] ^= 1;
    let (error, pull) = wrong(digest(&image.layers[1]), damaged);
    assert!(error.contains("its checksum is"), "{error}");
    assert!(!pull.folder.path().join(hex(&image.layers[1])).exists());
    let (error, _) = wrong(digest(&image.layers[1]), [image.layers[1].clone(), vec![1]].concat());
    assert!(error.contains("more than 20000 bytes"), "{error}");
    let (error, _) = wrong("1.0".to_owned(), vec![b' '; 5 << 20]);
    assert!(error.contains("more than 4 MiB"), "{error}");
    let (error, _) = wrong("1.0".to_owned(), image.index.replace("manifests", "x").into_bytes());
    assert!(error.contains("no sound OCI image"), "{error}");
    let pinned = format!("@{}", digest(b"another"));
    let server = Server::start(move |_| Reply::ok(br#"{"manifests":[]}"#));
    assert!(self::error(&server, &pinned).contains("not asked for"));
}

#[test]
fn a_layer_that_breaks_off_goes_on() {
    let image = Image::new();
    let copy = image.clone();
    let mut cuts = 1;
    let server = Server::start(move |asked| {
        if asked.path.ends_with(&digest(&copy.layers[0])) && cuts > 0 {
            cuts -= 1;
            return Reply::status(200)
                .header("content-length", copy.layers[0].len())
                .piece(Piece::Bytes(copy.layers[0][..10_000].to_vec()))
                .piece(Piece::Cut);
        }
        copy.reply(asked)
    });
    let mut pull = Pull::new();
    image.check(&pull.pull(&server, ":1.0", OPTIONS).unwrap());
    assert!(pull.events.contains(&FetchEvent::Resumed { from_bytes: 10_000 }));
}
