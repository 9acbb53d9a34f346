//! Names of hosts, in a network of the test's own: a name server, `/etc/resolv.conf` and `/etc/hosts`.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

mod server;

use std::env;
use std::fs;
use std::net::UdpSocket;
use std::ops::ControlFlow;
use std::process::Command;
use std::thread;
use std::time::Duration;

use image_sources::{Download, FetchError, FetchSettings, Fetched, Fetcher};
use server::{Server, file};

/// Tells the test that it runs inside of its namespaces.
const INSIDE: &str = "YAGURA_TEST_NAMESPACE";
/// Loopback up, then the resolver's files in their places; the test's executable is `$0`.
const ENTER: &str = "ip link set lo up && mount --bind \"$1/resolv.conf\" /etc/resolv.conf && \
    mount --bind \"$1/hosts\" /etc/hosts && exec \"$0\" names_are_found_as_the_host_is_configured --exact --nocapture";

#[test]
fn names_are_found_as_the_host_is_configured() {
    if env::var_os(INSIDE).is_some() {
        return check_names();
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("resolv.conf"), "nameserver 127.0.0.1\nsearch corp.test\n").unwrap();
    fs::write(folder.path().join("hosts"), "127.0.0.1 localhost\n127.0.0.1 listed.test\n").unwrap();
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount", "sh", "-c", ENTER])
        .arg(env::current_exe().unwrap())
        .arg(folder.path())
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn check_names() {
    let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
    thread::spawn(move || serve_names(&socket));
    let server = Server::start(|asked| file(asked, &[1; 100], "\"1\""));
    let port = server.address.port();
    for known in ["server.test", "listed.test", "localhost", "short"] {
        let fetched = fetch(&format!("http://{known}:{port}/x"));
        assert_eq!(fetched.unwrap_or_else(|error| panic!("{known}: {error}")).bytes, 100);
    }
    let error = fetch("http://missing.test/x").unwrap_err();
    assert!(matches!(&error, FetchError::Resolve { host, .. } if host == "missing.test"), "{error}");
    assert!(error.to_string().contains("there is no such name"), "{error}");
    assert!(error.is_unreachable());
    // A host without a name server asks nobody else.
    fs::write("/etc/resolv.conf", "").unwrap();
    let error = fetch("http://server.test/x").unwrap_err();
    assert!(matches!(error, FetchError::Resolve { .. }), "{error}");
    println!("without a name server: {error}");
}

fn fetch(url: &str) -> Result<Fetched, FetchError> {
    let folder = tempfile::tempdir().unwrap();
    let partial = folder.path().join("part");
    let download = Download { url, partial: &partial, expected: None, bytes_max: 1 << 20 };
    let settings =
        FetchSettings { attempts_max: 1, stall_timeout: Duration::from_secs(20), ..FetchSettings::default() };
    Fetcher::new(settings)?.download(&download, &mut |_| ControlFlow::Continue(()))
}

/// Answers questions for addresses (RFC 1035, 4.1): two names are 127.0.0.1, and there are no others.
fn serve_names(socket: &UdpSocket) {
    let mut question = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut question) {
        let question = &question[..length];
        let end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
        let name = question[12..end - 5].to_ascii_lowercase();
        let known = [&b"\x06server\x04test"[..], b"\x05short\x04corp\x04test"].contains(&name.as_slice());
        let wants_ipv4 = question[end - 4..end - 2] == [0, 1];
        let answers = u8::from(known && wants_ipv4);
        let code = if known { 0x80 } else { 0x83 };
        let mut answer = question[..2].to_vec();
        answer.extend([0x81, code, 0, 1, 0, answers, 0, 0, 0, 0]);
        answer.extend(&question[12..end]);
        if answers == 1 {
            answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
        }
        socket.send_to(&answer, from).unwrap();
    }
}
