use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use host_sys::poll::new_event;

use super::*;
use crate::{CharInput, InputPump, Pumped};

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

#[test]
fn input_waits_until_the_device_has_room() {
    let (_folder, server) = server();
    let server = Arc::new(server);
    let mut stream = client(&server);
    let mut input = CharInput::new(server).unwrap();
    stream.write_all(b"abcdef").unwrap();
    let mut taken = Vec::new();
    let mut take = |limit: usize| {
        input.pump(&mut |data| {
            taken.extend_from_slice(&data[..data.len().min(limit)]);
            limit
        })
    };
    assert_eq!(
        [take(2), take(0), take(1), take(9), take(9)],
        [Pumped::Full, Pumped::Full, Pumped::Full, Pumped::Idle, Pumped::Idle]
    );
    assert_eq!(taken, b"abcdef");
}

#[test]
fn the_pump_moves_input_by_itself_and_ends_when_dropped() {
    let (_folder, server) = server();
    let (path, server) = (server.file.path().to_owned(), Arc::new(server));
    let room = new_event().unwrap();
    let (sender, receiver) = mpsc::channel();
    let limit = Arc::new(Mutex::new(2usize));
    let device = {
        let limit = Arc::clone(&limit);
        move |data: &[u8]| {
            let taken = data.len().min(*limit.lock().unwrap());
            *limit.lock().unwrap() -= taken;
            sender.send(data[..taken].to_vec()).unwrap();
            taken
        }
    };
    let pump = InputPump::start(server, room.try_clone().unwrap(), device).unwrap().unwrap();
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(b"four").unwrap();
    let next = || receiver.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(next(), b"fo");
    *limit.lock().unwrap() = 9;
    room.write(1).unwrap();
    let rest: Vec<u8> = std::iter::repeat_with(next).find(|data| !data.is_empty()).unwrap();
    assert_eq!(rest, b"ur");
    drop(pump);
    assert!(InputPump::start(Arc::new(crate::Null), room, |_| 0).unwrap().is_none());
}
