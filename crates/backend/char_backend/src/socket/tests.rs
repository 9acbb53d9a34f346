use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use host_sys::poll::new_event;
use vmm_sys_util::eventfd::EventFd;

use super::*;
use crate::{InputPump, InputSource};

fn server() -> (tempfile::TempDir, SocketServer) {
    let folder = tempfile::tempdir().unwrap();
    let server = SocketServer::open(&folder.path().join("console.sock")).unwrap();
    (folder, server)
}

fn client(server: &SocketServer) -> UnixStream {
    let stream = UnixStream::connect(server.file.path()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    server.read(&mut []);
    stream
}

fn hear(stream: &mut UnixStream, len: usize) -> String {
    let mut data = vec![0; len];
    stream.read_exact(&mut data).unwrap();
    String::from_utf8(data).unwrap()
}

#[test]
fn nothing_said_before_a_client_came_is_lost() {
    let (_folder, server) = server();
    server.write(b"booting\n");
    let mut first = client(&server);
    assert_eq!(hear(&mut first, 8), "booting\n");
    server.write(b"login: ");
    assert_eq!(hear(&mut first, 7), "login: ");
    first.write_all(b"root\n").unwrap();
    let mut buffer = [0; 16];
    assert_eq!(server.read(&mut buffer), 5);
    assert_eq!(&buffer[..5], b"root\n");

    drop(first);
    assert_eq!(server.read(&mut buffer), 0);
    server.write(b"while away ");
    let mut second = client(&server);
    assert_eq!(hear(&mut second, 26), "booting\nlogin: while away ");

    let mut third = client(&server);
    assert_eq!(second.read(&mut buffer).unwrap(), 0, "the second was replaced");
    assert_eq!(hear(&mut third, 8), "booting\n");
}

#[test]
fn a_client_that_falls_behind_loses_the_oldest_and_delays_nobody() {
    let (_folder, server) = server();
    let mut slow = client(&server);
    for index in 0..20_000 {
        server.write(format!("line {index:08}\n").as_bytes());
    }
    server.write(&[b'x'; 3 * SCROLL_BACK_BYTES]);
    server.write(b"the end");
    let mut heard = Vec::new();
    let mut buffer = vec![0; 65_536];
    while !heard.ends_with(b"the end") {
        let count = slow.read(&mut buffer).unwrap();
        assert!(count > 0);
        heard.extend_from_slice(&buffer[..count]);
        server.read(&mut []);
    }
    assert!(heard.starts_with(b"line 00000000\n"));
    assert!(heard.len() < 20_000 * 14 + 2 * SCROLL_BACK_BYTES);
}

#[test]
fn a_path_in_use_is_refused_and_a_stale_one_replaced() {
    let (folder, server) = server();
    let path = server.file.path().to_owned();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut present = client(&server);
    assert!(matches!(SocketServer::open(&path), Err(CharError::Socket { source: ListenError::InUse, .. })));
    server.write(b"undisturbed");
    assert_eq!(hear(&mut present, 11), "undisturbed");
    drop(server);
    assert!(!path.exists());

    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "left by a process that died");
    let replaced = SocketServer::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "another's").unwrap();
    drop(replaced);
    assert_eq!(fs::read_to_string(&path).unwrap(), "another's");
    assert!(matches!(
        SocketServer::open(&path),
        Err(CharError::Socket { source: ListenError::NotASocket, .. })
    ));
    let long = folder.path().join("x".repeat(120));
    assert!(matches!(
        SocketServer::open(&long),
        Err(CharError::Socket { source: ListenError::PathTooLong, .. })
    ));
    assert!(matches!(SocketServer::open(Path::new("/nowhere/x")), Err(CharError::Socket { .. })));
}

/// A device that takes as many bytes as it is allowed to, a few at a time, has room again at once, and tells what it has
/// taken.
fn device(
    room: &EventFd,
    limit: &Arc<Mutex<usize>>,
) -> (impl FnMut(InputSource<'_>) -> bool + Send + 'static, Receiver<Vec<u8>>) {
    let (room, limit) = (room.try_clone().unwrap(), Arc::clone(limit));
    let (sender, receiver) = mpsc::channel();
    let take = move |source: InputSource<'_>| {
        let mut limit = limit.lock().unwrap();
        let mut bytes = [0; 16];
        let allowed = (*limit).min(bytes.len());
        let count = source(&mut bytes[..allowed]);
        *limit -= count;
        if count > 0 {
            sender.send(bytes[..count].to_vec()).unwrap();
        }
        if count == allowed && *limit > 0 {
            room.write(1).unwrap();
        }
        count < allowed
    };
    (take, receiver)
}

/// So many bytes, however they come.
fn taken(receiver: &Receiver<Vec<u8>>, count: usize) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        bytes.extend(receiver.recv_timeout(Duration::from_secs(10)).unwrap());
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn input_waits_until_the_device_has_room() {
    let (_folder, server) = server();
    let (path, server) = (server.file.path().to_owned(), Arc::new(server));
    let (room, limit) = (new_event().unwrap(), Arc::new(Mutex::new(2)));
    let (take, receiver) = device(&room, &limit);
    let pump = InputPump::start(server, room.try_clone().unwrap(), take).unwrap().unwrap();
    pump.resume();
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(b"four").unwrap();
    assert_eq!(taken(&receiver, 2), "fo");
    *limit.lock().unwrap() = 90;
    room.write(1).unwrap();
    assert_eq!(taken(&receiver, 2), "ur");
    stream.write_all(&[b'x'; 80]).unwrap();
    assert_eq!(taken(&receiver, 80), "x".repeat(80));
    drop(pump);
    assert!(InputPump::start(Arc::new(crate::Null), room, |_| false).unwrap().is_none());
}

#[test]
fn what_comes_during_a_pause_waits_for_its_end() {
    let (_folder, server) = server();
    let (path, server) = (server.file.path().to_owned(), Arc::new(server));
    let room = new_event().unwrap();
    let (take, receiver) = device(&room, &Arc::new(Mutex::new(1 << 20)));
    let pump = InputPump::start(server, room, take).unwrap().unwrap();
    let mut stream = UnixStream::connect(&path).unwrap();
    let nothing = || assert!(receiver.recv_timeout(Duration::from_millis(250)).is_err());
    stream.write_all(b"before the start ").unwrap();
    nothing();
    pump.resume();
    assert_eq!(taken(&receiver, 17), "before the start ");
    for round in 0..20 {
        pump.pause();
        let text = format!("line {round:02}\n").repeat(500);
        stream.write_all(text.as_bytes()).unwrap();
        if round == 0 {
            nothing();
        }
        assert!(receiver.try_recv().is_err(), "a paused device is given nothing");
        pump.resume();
        assert_eq!(taken(&receiver, text.len()), text, "all of it, once, in order");
    }
    // A pause that begins in mid-stream.
    let text = "0123456789".repeat(20_000);
    let sent = text.clone();
    let sender = std::thread::spawn(move || stream.write_all(sent.as_bytes()).map(|()| stream));
    let mut heard = taken(&receiver, 1000);
    pump.pause();
    heard.extend(receiver.try_iter().map(|bytes| String::from_utf8(bytes).unwrap()));
    std::thread::sleep(Duration::from_millis(50));
    assert!(receiver.try_recv().is_err(), "a paused device is given nothing");
    pump.resume();
    heard.push_str(&taken(&receiver, text.len() - heard.len()));
    assert!(heard == text, "all of it, once, in order");
    sender.join().unwrap().unwrap();
}
