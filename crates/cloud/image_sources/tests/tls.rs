//! Servers that prove who they are, and servers that do not.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

mod server;

use std::ops::ControlFlow;
use std::time::Duration;

use image_sources::{Download, FetchError, FetchSettings, Fetched, Fetcher};
use server::{Identity, Reply, Server, file};

/// Fetches from a server on this host, and trusts the holder of `root`.
fn fetch(url: &str, root: Option<&Identity>) -> Result<Fetched, FetchError> {
    let settings = FetchSettings {
        attempts_max: 1,
        stall_timeout: Duration::from_secs(5),
        extra_roots: root.map(|identity| identity.certificate.clone()).into_iter().collect(),
        ..FetchSettings::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let partial = folder.path().join("part");
    let download = Download { url, partial: &partial, expected: None, bytes_max: 1 << 20 };
    Fetcher::new(settings)?.download(&download, &mut |_| ControlFlow::Continue(()))
}

fn good(asked: &server::Asked) -> Reply {
    file(asked, &[1; 1000], "\"1\"")
}

#[test]
fn a_server_that_proves_who_it_is_is_believed() {
    let identity = Identity::of("localhost");
    let server = Server::start_tls(&identity, good);
    let url = format!("https://localhost:{}/x", server.address.port());
    assert_eq!(fetch(&url, Some(&identity)).unwrap().bytes, 1000);
}

#[test]
fn others_are_not() {
    let identity = Identity::of("localhost");
    let port = |server: &Server| server.address.port();
    let server = Server::start_tls(&identity, good);
    // Nobody vouches for it.
    let error = fetch(&format!("https://localhost:{}/x", port(&server)), None).unwrap_err();
    assert!(matches!(error, FetchError::Certificate { .. } | FetchError::NoRoots), "{error}");
    // It is somebody else.
    let error = fetch(&format!("https://127.0.0.1:{}/x", port(&server)), Some(&identity)).unwrap_err();
    assert!(matches!(error, FetchError::Certificate { .. }), "{error}");
    assert!(error.to_string().contains("cannot prove that it is 127.0.0.1"), "{error}");
    // It has another's name, and its own key.
    let other = Server::start_tls(&Identity::of("localhost"), good);
    let error = fetch(&format!("https://localhost:{}/x", port(&other)), Some(&identity)).unwrap_err();
    assert!(matches!(error, FetchError::Certificate { .. }), "{error}");
    assert!(server.asked().is_empty() && other.asked().is_empty());
}

#[test]
fn nobody_is_sent_from_https_to_http() {
    let identity = Identity::of("localhost");
    let plain = Server::start(good);
    let to = plain.url("/x");
    let server = Server::start_tls(&identity, move |_| Reply::redirect(&to));
    let error =
        fetch(&format!("https://localhost:{}/x", server.address.port()), Some(&identity)).unwrap_err();
    assert!(error.to_string().contains("from https to http://"), "{error}");
    assert!(plain.asked().is_empty());
}
