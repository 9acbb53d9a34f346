//! Several processes at one download, and processes that are killed.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

mod server;

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use image_model::{Checksum, ChecksumKind};
use image_sources::{Download, FetchError, FetchEvent, FetchSettings, Fetcher};
use image_store::{Store, StoreError};
use server::{Identity, Piece, Reply, Server, body, file};
use sha2::{Digest, Sha256};

/// Tell a child of the test where its store is, what to fetch, and by which proxy.
const STORE: &str = "YAGURA_TEST_STORE";
const URL: &str = "YAGURA_TEST_URL";
const SIZE: usize = 400_000;
const FETCHED: &str = "fetched";

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

/// Pulls what is at `url` into the store's root, once for all who ask at the same time.
fn pull(store: &Store, url: &str) -> Result<PathBuf, Error> {
    let target = store.root().join(FETCHED);
    store.pull_once(
        url,
        |_| Ok(()),
        |_| Ok(target.exists().then(|| target.clone())),
        |lock| {
            let partial = store.partial_path(lock);
            let digest = Checksum::from_bytes(ChecksumKind::Sha256, &Sha256::digest(body(SIZE))).unwrap();
            let download = Download { url, partial: &partial, expected: Some(&digest), bytes_max: 1 << 30 };
            let settings = FetchSettings { attempts_max: 1, ..FetchSettings::default() };
            let fetched = Fetcher::new(settings)?.download(&download, &mut |event| {
                if let FetchEvent::Resumed { from_bytes } = event {
                    fs::write(store.root().join("resumed"), from_bytes.to_string()).unwrap();
                }
                ControlFlow::Continue(())
            })?;
            fs::rename(&fetched.path, &target).unwrap();
            Ok(target.clone())
        },
    )
}

/// What children of the tests do; by itself it pulls from a server of its own.
#[test]
fn child() {
    let folder = tempfile::tempdir().unwrap();
    let (store, url, _server) = match (env::var_os(STORE), env::var(URL)) {
        (Some(store), Ok(url)) => (PathBuf::from(store), url, None),
        _ => {
            let server = Server::start(|asked| file(asked, &body(SIZE), "\"1\""));
            (folder.path().to_owned(), server.url("/x"), Some(server))
        }
    };
    let path = pull(&Store::open(&store).unwrap(), &url).unwrap();
    assert!(fs::read(path).unwrap() == body(SIZE));
}

fn start(store: &Path, url: &str, settings: &[(&str, &str)]) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command
        .args(["child", "--exact"])
        .env(STORE, store)
        .env(URL, url)
        .envs(settings.iter().copied())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// A reply that sends the file in pieces, over about two seconds.
fn slow(asked: &server::Asked) -> Reply {
    let mut reply = file(asked, &body(SIZE), "\"1\"");
    let Some(Piece::Bytes(bytes)) = reply.body.pop() else { return reply };
    let pieces = bytes.chunks(20_000).map(|piece| Piece::Bytes(piece.to_vec()));
    reply.body = pieces.flat_map(|piece| [piece, Piece::Pause(Duration::from_millis(100))]).collect();
    reply
}

#[test]
fn several_processes_and_threads_fetch_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(slow);
    let url = server.url("/x");
    let mut children: Vec<Child> = (0..3).map(|_| start(folder.path(), &url, &[])).collect();
    let store = Store::open(folder.path()).unwrap();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| pull(&store, &url).unwrap());
        }
    });
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(server.asked().len(), 1);
    assert!(fs::read(store.root().join(FETCHED)).unwrap() == body(SIZE));
}

#[test]
fn what_a_killed_process_fetched_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(slow);
    let url = server.url("/x");
    let mut child = start(folder.path(), &url, &[]);
    let have = || {
        let files = fs::read_dir(folder.path().join("partial")).into_iter().flatten();
        files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len())).max().unwrap_or(0)
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while have() < 100_000 {
        assert!(Instant::now() < deadline, "nothing came");
        thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // Others do not wait for a process that is no more.
    assert!(start(folder.path(), &url, &[]).wait().unwrap().success());
    let resumed: u64 = fs::read_to_string(folder.path().join("resumed")).unwrap().parse().unwrap();
    assert!((100_000..SIZE as u64).contains(&resumed), "{resumed}");
    assert_eq!(server.asked()[1].range_start(), Some(resumed as usize));
    assert!(fs::read(folder.path().join(FETCHED)).unwrap() == body(SIZE));
}

#[test]
fn proxies_are_taken_from_the_environment() {
    let proxy = Server::start(|asked| {
        let known = asked.path == "http://server.invalid/x";
        if known { file(asked, &body(SIZE), "\"1\"") } else { Reply::status(502) }
    });
    let direct = Server::start(|asked| file(asked, &body(SIZE), "\"1\""));
    let address = format!("http://{}", proxy.address);
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, url: &str, settings: &[(&str, &str)]| {
        start(&folder.path().join(name), url, settings).wait().unwrap().success()
    };
    assert!(run("proxied", "http://server.invalid/x", &[("http_proxy", &address)]));
    assert_eq!(proxy.asked().len(), 1);
    assert!(run("not", &direct.url("/x"), &[("http_proxy", &address), ("no_proxy", "127.0.0.1")]));
    assert_eq!((proxy.asked().len(), direct.asked().len()), (1, 1));
    assert!(!run("refused", &direct.url("/x"), &[("http_proxy", &address)]));
    assert_eq!(direct.asked().len(), 1);
}

#[test]
fn https_goes_through_a_proxy_unseen() {
    let identity = Identity::of("server.invalid");
    let server = Server::start_tls(&identity, |asked| file(asked, &body(SIZE), "\"1\""));
    let (proxy, asked) = start_tunnel(server.address);
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("roots.pem");
    fs::write(&roots, &identity.pem).unwrap();
    let settings = [("https_proxy", proxy.as_str()), ("SSL_CERT_FILE", roots.to_str().unwrap())];
    let store = folder.path().join("store");
    assert!(start(&store, "https://server.invalid/x", &settings).wait().unwrap().success());
    assert!(fs::read(store.join(FETCHED)).unwrap() == body(SIZE));
    assert!(asked.recv().unwrap().starts_with("CONNECT server.invalid:443 "));
}

/// A proxy that takes one client to `target`, whatever it asks for. Returns its address, and what it was asked.
fn start_tunnel(target: SocketAddr) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (tell, asked) = mpsc::channel();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        tell.send(String::from_utf8(head).unwrap()).unwrap();
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let server = TcpStream::connect(target).unwrap();
        let (mut up, mut down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let (mut client, mut server) = (client, server);
        // Either end may close at any time.
        thread::spawn(move || drop(io::copy(&mut up, &mut server)));
        drop(io::copy(&mut down, &mut client));
    });
    (address, asked)
}
