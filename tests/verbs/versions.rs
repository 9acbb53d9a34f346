//! VMs of other versions of the protocol, played by this test.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

use super::*;

/// What a VM answers to a request line.
type Answers = fn(&str) -> (u16, String);

/// Listens as a VM would, and answers each connection's one request.
fn play(place: &Place, name: &str, answers: Answers) {
    fs::create_dir_all(place.folder().join("run/vms")).unwrap();
    let listener = UnixListener::bind(place.socket(name)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap();
            let line =
                String::from_utf8_lossy(&request[..length]).lines().next().unwrap_or_default().to_owned();
            let (status, body) = answers(&line);
            let head = format!("HTTP/1.1 {status} As It Is\r\ncontent-length: {}\r\n\r\n", body.len());
            // A client may have seen enough.
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
}

const COUNTERS: &str = r#"{"exits":{"port_read":7},"devices":{"block0":{"reads":4}},"memory":{}}"#;

fn problem(status: u16, class: &str) -> (u16, String) {
    let class = if class.is_empty() { String::new() } else { format!(r#","class":"{class}""#) };
    (status, format!(r#"{{"status":{status},"title":"x","detail":"it does not want to"{class}}}"#))
}

fn version_0(line: &str) -> (u16, String) {
    let state = r#"{"cpus":2,"engine":"soft","memory_bytes":536870912,"name":"old","pid":77,"resets":1,
        "state":"running","uptime_ms":1234}"#;
    match line {
        "GET /state HTTP/1.1" => (200, state.to_owned()),
        "GET /counters HTTP/1.1" => (200, COUNTERS.to_owned()),
        "PUT /pause HTTP/1.1" => problem(409, ""),
        "PUT /resume HTTP/1.1" => (200, "{}".to_owned()),
        _ => problem(404, ""),
    }
}

fn version_1(line: &str) -> (u16, String) {
    let state = r#"{"protocol":1,"name":"old","state":"paused","paused_by":"disk a: no room","engine":"kvm","cpus":1,
        "memory_bytes":1048576,"uptime_ms":2,"resets":0,"panics":3,"pid":7}"#;
    match line {
        "GET /state HTTP/1.1" => (200, state.to_owned()),
        "GET /counters HTTP/1.1" => (200, COUNTERS.to_owned()),
        "PUT /pause HTTP/1.1" => problem(409, "host"),
        "PUT /resume HTTP/1.1" => (200, "{}".to_owned()),
        _ => problem(404, "not-found"),
    }
}

fn version_2(line: &str) -> (u16, String) {
    let state = r#"{"protocol":2,"name":"old","state":"running","paused_by":null,"engine":"kvm","cpus":1,
        "memory_bytes":1048576,"uptime_ms":2,"resets":0,"panics":0,"pid":7,"cards":[],
        "disks":[{"id":"disk-root","path":"/srv/a","format":"raw","size_bytes":1048576,"readonly":false}]}"#;
    match line {
        "GET /state HTTP/1.1" => (200, state.to_owned()),
        "GET /counters HTTP/1.1" => (200, COUNTERS.to_owned()),
        _ => problem(404, "not-found"),
    }
}

fn version_3(line: &str) -> (u16, String) {
    let (status, body) = version_2(line);
    (status, body.replace(r#""protocol":2"#, r#""protocol":3"#))
}

fn version_5(line: &str) -> (u16, String) {
    let state = r#"{"protocol":5,"name":"new","state":"migrating","engine":"kvm","cpus":1,"memory_bytes":1,"uptime_ms":2,
        "resets":0,"panics":0,"pid":7,"node":"b","disks":[{"id":"root","path":"/srv/a","format":"raw","size_bytes":512,
        "readonly":true,"cache":"none"}],"cards":[]}"#;
    match line {
        "GET /state HTTP/1.1" => (200, state.to_owned()),
        "GET /counters HTTP/1.1" => (200, COUNTERS.to_owned()),
        "PUT /pause HTTP/1.1" => problem(409, "busy"),
        "PUT /resume HTTP/1.1" => problem(423, "quota"),
        _ => problem(404, "not-found"),
    }
}

#[test]
fn machines_of_other_versions_are_understood_as_far_as_they_go() {
    let place = Place::new();
    play(&place, "v0", version_0);
    play(&place, "v1", version_1);
    play(&place, "v5", version_5);
    let infos = ["v0", "v1", "v5"].map(|name| place.info(name));
    assert_eq!(infos.each_ref().map(|info| info["protocol"].as_u64().unwrap()), [0, 1, 5]);
    assert_eq!(
        infos.each_ref().map(|info| info["state"].as_str().unwrap()),
        ["running", "paused", "unknown"]
    );
    assert_eq!(infos[0]["counters"]["devices"]["block0"]["reads"], 4);
    let tables = ["v0", "v1", "v5"].map(|name| place.ask(&format!("info {name}")).1);
    assert!(tables[0].contains("512 MiB") && tables[1].contains("paused: disk a: no room"), "{}", tables[1]);
    assert!(tables[2].contains("/srv/a, raw, 512 bytes, readonly"), "{}", tables[2]);
    assert_eq!(place.list().len(), 3);
    for (name, status) in [("v0", 1), ("v1", 1), ("v5", 4)] {
        place.bad(&format!("pause {name}"), status, &format!("VM {name}: it does not want to"));
    }
    place.good("resume v0 v1");
    place.bad("resume v5", 1, "VM v5: it does not want to");
    place.bad("reset v1", 1, "VM v1 was started by a version of yagura that cannot do that");
}

/// What a VM has not learnt yet, it is not blamed for.
#[test]
fn older_machines_say_that_they_cannot_resize() {
    let place = Place::new();
    play(&place, "v1", version_1);
    play(&place, "v2", version_2);
    assert_eq!(place.info("v2")["disks"][0]["size_bytes"], 1 << 20);
    for text in ["resize v1 disk-root 2M", "resize v2 disk-root 2M", "resize v2 disk-root +1M"] {
        place.bad(text, 1, "was started by a version of yagura that cannot do that");
    }
}

/// Nor for what came after that.
#[test]
fn older_machines_say_that_they_cannot_attach() {
    let place = Place::new();
    play(&place, "v1", version_1);
    play(&place, "v3", version_3);
    assert_eq!(place.info("v3")["protocol"], 3);
    for text in
        ["attach v1 --disk path=a", "attach v3 --net tap=tap0", "detach v3 disk-root", "detach v3 a --force"]
    {
        place.bad(text, 1, "was started by a version of yagura that cannot do that");
    }
}

/// A socket behind which something else is, or a VM that its guest has taken over.
#[test]
fn nonsense_is_told_in_one_line() {
    let place = Place::new();
    play(&place, "html", |_| (200, "<html>".to_owned()));
    play(&place, "words", |_| {
        let name = r#""name":"\u001b[2J\nevil""#;
        let rest = r#""state":"running","engine":"x\ny","cpus":1,"memory_bytes":1,"uptime_ms":2,"resets":0,"pid":7}"#;
        (200, format!(r#"{{"exits":{{}},"devices":{{}},"memory":{{}},{name},{rest}"#))
    });
    place.bad("attach html --disk path=a", 1, "is no VM that this version of yagura can speak to");
    place.bad("info html", 1, "is no VM that this version of yagura can speak to");
    let (status, table) = place.ask("info words");
    assert!(status == 0 && !table.contains('\u{1b}') && table.contains("x\\ny"), "{table}");
    let (status, list) = place.ask("list");
    assert!(status == 0 && !list.contains('\u{1b}'), "{list}");
}
