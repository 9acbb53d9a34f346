//! The client against sockets that answer well, badly, slowly and not at all.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use vm_client::{ClientError, Next, RunFolder, VmClient};
use vm_control::{AttachDevice, DetachDevice, EventKind, FailureClass, Phase, ResizeDisk, Verb};

const STATUS: &str = r#"{"protocol":1,"name":"web1","state":"running","engine":"soft","cpus":1,"memory_bytes":1,
    "uptime_ms":1,"resets":0,"pid":1}"#;

fn with_head(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Answers one connection with `answer`, whatever it asks, and tells what it was asked.
fn once(socket: &Path, answer: String) -> thread::JoinHandle<io::Result<String>> {
    let listener = UnixListener::bind(socket);
    thread::spawn(move || {
        let (mut stream, _) = listener?.accept()?;
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request)?;
        stream.write_all(answer.as_bytes())?;
        Ok(String::from_utf8_lossy(&request[..length]).lines().next().unwrap_or_default().to_owned())
    })
}

fn socket(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("web1.sock")
}

#[test]
fn a_vm_is_asked_in_its_own_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = socket(&folder);
    let asked = once(&path, with_head("200 OK", STATUS));
    let status = VmClient::new(&path).status().unwrap();
    assert_eq!((status.name.as_str(), status.state), ("web1", Phase::Running));
    assert_eq!(asked.join().unwrap().unwrap(), "GET /state HTTP/1.1");
    std::fs::remove_file(&path).unwrap();
    let asked = once(&path, with_head("200 OK", "{}"));
    VmClient::new(&path).ask(Verb::PowerButton).unwrap();
    assert_eq!(asked.join().unwrap().unwrap(), "PUT /power-button HTTP/1.1");
    std::fs::remove_file(&path).unwrap();
    let asked = once(&path, with_head("200 OK", "{}"));
    let wanted = ResizeDisk { disk: "disk-root".to_owned(), size_bytes: 1 << 30, from_bytes: None };
    VmClient::new(&path).resize_disk(&wanted).unwrap();
    assert_eq!(asked.join().unwrap().unwrap(), "PUT /resize-disk HTTP/1.1");
    std::fs::remove_file(&path).unwrap();
    let asked = once(&path, with_head("200 OK", r#"{"id":"disk1","slot":3}"#));
    let attached = VmClient::new(&path).attach(&AttachDevice::Disk("path=/a".to_owned())).unwrap();
    assert_eq!(
        (attached.id.as_str(), asked.join().unwrap().unwrap().as_str()),
        ("disk1", "PUT /attach HTTP/1.1")
    );
    std::fs::remove_file(&path).unwrap();
    let asked = once(&path, with_head("200 OK", "{}"));
    let wanted = DetachDevice { device: "disk1".to_owned(), timeout_ms: 1, force: false };
    VmClient::new(&path).detach(&wanted).unwrap();
    assert_eq!(asked.join().unwrap().unwrap(), "PUT /detach HTTP/1.1");
}

/// A guest has its own time besides.
#[test]
fn who_detaches_waits_as_long_as_the_guest_may() {
    let folder = tempfile::tempdir().unwrap();
    let path = socket(&folder);
    let listener = UnixListener::bind(&path).unwrap();
    let slow = thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let mut request = [0; 4096];
        let _read = stream.read(&mut request)?;
        thread::sleep(Duration::from_millis(300));
        stream.write_all(with_head("200 OK", "{}").as_bytes())
    });
    let vm = VmClient::new(&path).with_patience(Duration::from_millis(100));
    vm.detach(&DetachDevice { device: "a".to_owned(), timeout_ms: 5_000, force: false }).unwrap();
    slow.join().unwrap().unwrap();
}

#[test]
fn what_a_vm_says_no_with_is_passed_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = socket(&folder);
    let body = r#"{"status":409,"title":"Conflict","detail":"not now","class":"busy"}"#;
    once(&path, with_head("409 Conflict", body));
    let Err(ClientError::Refused(failure)) = VmClient::new(&path).ask(Verb::Pause) else { panic!("refused") };
    assert_eq!((failure.to_string().as_str(), failure.class), ("not now", FailureClass::Busy));
    std::fs::remove_file(&path).unwrap();
    once(&path, with_head("500 Oh", "<html>"));
    let Err(ClientError::Refused(failure)) = VmClient::new(&path).ask(Verb::Pause) else { panic!("refused") };
    assert_eq!(failure.status, 500);
}

#[test]
fn nonsense_is_said_to_be_and_never_believed() {
    let folder = tempfile::tempdir().unwrap();
    let path = socket(&folder);
    for body in ["", "[]", "{\"name\":1}", &"x".repeat(2 << 20)] {
        once(&path, with_head("200 OK", body));
        let answer = VmClient::new(&path).status();
        assert!(matches!(answer, Err(ClientError::Nonsense(_))), "{answer:?}");
        std::fs::remove_file(&path).unwrap();
    }
    once(&path, "SSH-2.0-nobody\r\n".to_owned());
    assert!(matches!(VmClient::new(&path).status(), Err(ClientError::Connection { .. })));
}

#[test]
fn a_vm_that_is_gone_is_not_running() {
    let folder = tempfile::tempdir().unwrap();
    let path = socket(&folder);
    assert!(matches!(VmClient::new(&path).status(), Err(ClientError::NotRunning(_))));
    drop(UnixListener::bind(&path).unwrap());
    assert!(matches!(VmClient::new(&path).status(), Err(ClientError::Gone(_))));
    std::fs::write(folder.path().join("file.sock"), "").unwrap();
    std::fs::create_dir(folder.path().join("folder.sock")).unwrap();
    let run = RunFolder::new(folder.path());
    assert_eq!(run.names().unwrap(), ["web1"]);
    let error = run.client("web1").status().unwrap_err();
    assert!(matches!(error, ClientError::Gone(_)) && error.class() == FailureClass::NotFound);
    assert!(!run.client("web1").is_listening().unwrap());
    assert!(RunFolder::new(&folder.path().join("none")).names().unwrap().is_empty());
}

/// More at once than wait to be accepted come one after the other; a VM that accepts nobody is silent.
#[test]
fn many_may_ask_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = socket(&folder);
    // A backlog of none: the second to come has to wait.
    let listener = rustix::net::socket_with(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    rustix::net::bind(&listener, &rustix::net::SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let asked: Vec<_> = (0..8)
        .map(|_| {
            let path = path.clone();
            thread::spawn(move || VmClient::new(&path).status())
        })
        .collect();
    thread::sleep(Duration::from_millis(50));
    let hasty = VmClient::new(&path).with_patience(Duration::from_millis(100));
    assert!(matches!(hasty.status(), Err(ClientError::Silent(_))));
    let listener = UnixListener::from(listener);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            // One that has lost its patience hears nothing any more.
            let _ = stream.write_all(with_head("200 OK", STATUS).as_bytes());
        }
    });
    for status in asked {
        assert_eq!(status.join().unwrap().unwrap().name, "web1");
    }
}

#[test]
fn events_come_one_by_one_and_end_with_the_vm() {
    let folder = tempfile::tempdir().unwrap();
    let path = socket(&folder);
    let lines = "{\"time_ms\":1,\"event\":\"paused\"}\n{\"time_ms\":2,\"event\":\"brand_new\"}\n{\"time";
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    once(&path, format!("{head}{:x}\r\n{lines}\r\n", lines.len()));
    let mut events = VmClient::new(&path).events().unwrap();
    let mut next = || events.next(Duration::from_secs(10)).unwrap();
    for expected in [EventKind::Paused, EventKind::Unknown] {
        let Next::Event(event) = next() else { panic!("an event") };
        assert_eq!(event.event, expected);
    }
    assert_eq!(next(), Next::Ended);
}
