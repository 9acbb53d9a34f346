//! What either side one version away makes of the other's words. The texts of version 0 are as it wrote them.

use super::*;

#[test]
fn each_request_is_its_verb_and_no_other() {
    for verb in Verb::ALL {
        assert_eq!(Verb::of(verb.method().as_str(), verb.path()), Ok(verb));
    }
    assert_eq!(Verb::of("GET", "/pause"), Err(Misdirected::Use(Method::Put)));
    assert_eq!(Verb::of("PUT", "/state"), Err(Misdirected::Use(Method::Get)));
    assert_eq!(Verb::of("GET", "/"), Err(Misdirected::NoSuchPath));
    assert_eq!(Verb::of("GET", "/state/"), Err(Misdirected::NoSuchPath));
}

#[test]
fn a_vm_of_version_0_is_understood() {
    let text = r#"{"cpus":2,"engine":"soft","memory_bytes":536870912,"name":"web1","pid":77,"resets":1,
        "state":"paused","uptime_ms":1234}"#;
    let status: Status = serde_json::from_str(text).unwrap();
    assert_eq!((status.protocol, status.state, status.cpus), (0, Phase::Paused, 2));
    assert!(status.disks.is_empty() && status.cards.is_empty());
    let text = r#"{"detail":"there is no /x","status":404,"title":"Not Found"}"#;
    let failure: Failure = serde_json::from_str(text).unwrap();
    assert_eq!((failure.status, failure.class), (404, FailureClass::Host));
    let text =
        r#"{"devices":{"block0":{"reads":4}},"exits":{"port_read":7},"memory":{"resident_bytes":4096}}"#;
    let counters: Counters = serde_json::from_str(text).unwrap();
    assert_eq!((counters.devices["block0"]["reads"], counters.exits["port_read"]), (4, 7));
    let event: Event =
        serde_json::from_str(r#"{"time_ms":1,"event":"triple_fault","detail":"vCPU 0"}"#).unwrap();
    assert_eq!(event.event, EventKind::TripleFault);
}

/// As version 1 wrote it.
#[test]
fn a_vm_of_version_1_is_understood() {
    let text = r#"{"protocol":1,"name":"web1","state":"paused","paused_by":"disk a: no room","engine":"kvm","cpus":1,
        "memory_bytes":1,"uptime_ms":2,"resets":0,"panics":3,"pid":7}"#;
    let status: Status = serde_json::from_str(text).unwrap();
    assert_eq!(
        (status.protocol, status.panics, status.paused_by.as_deref()),
        (1, 3, Some("disk a: no room"))
    );
    assert!(status.disks.is_empty() && status.cards.is_empty());
    let text = r#"{"status":409,"title":"Conflict","detail":"vCPU 0 cannot continue","class":"host"}"#;
    assert_eq!(serde_json::from_str::<Failure>(text).unwrap().class, FailureClass::Host);
}

/// As version 2 wrote it; it had no disks that grow.
#[test]
fn a_vm_of_version_2_is_understood() {
    let text = r#"{"protocol":2,"name":"web1","state":"running","paused_by":null,"engine":"kvm","cpus":1,"memory_bytes":1,
        "uptime_ms":2,"resets":0,"panics":0,"pid":7,"cards":[],
        "disks":[{"id":"disk-root","path":"/a","format":"raw","size_bytes":512,"readonly":false}]}"#;
    let status: Status = serde_json::from_str(text).unwrap();
    assert_eq!((status.protocol, status.disks[0].size_bytes), (2, 512));
}

/// As version 3 wrote it; its devices did not come and go.
#[test]
fn a_vm_of_version_3_is_understood() {
    let text = r#"{"protocol":3,"name":"web1","state":"running","paused_by":null,"engine":"kvm","cpus":1,"memory_bytes":1,
        "uptime_ms":2,"resets":0,"panics":0,"pid":7,"cards":[{"id":"nic0","interface":"tap0","mac":"52:00:00:00:00:01"}],
        "disks":[{"id":"disk-root","path":"/a","format":"raw","size_bytes":512,"readonly":false}]}"#;
    let status: Status = serde_json::from_str(text).unwrap();
    assert_eq!((status.protocol, status.cards[0].interface.as_str()), (3, "tap0"));
    let event: Event = serde_json::from_str(r#"{"time_ms":1,"event":"disk_resized","detail":"a"}"#).unwrap();
    assert_eq!(event.event, EventKind::DiskResized);
}

#[test]
fn a_device_is_attached_and_detached_by_what_is_said_of_it() {
    let text = r#"{"disk":"path=/srv/a,id=data"}"#;
    let wanted: AttachDevice = serde_json::from_str(text).unwrap();
    assert_eq!(wanted, AttachDevice::Disk("path=/srv/a,id=data".into()));
    assert_eq!(serde_json::to_string(&wanted).unwrap(), text);
    assert_eq!(serde_json::to_string(&AttachDevice::Net("tap=a".into())).unwrap(), r#"{"net":"tap=a"}"#);
    assert_eq!(serde_json::from_str::<Attached>(r#"{"id":"disk1","slot":4}"#).unwrap().id, "disk1");
    for bad in ["{}", r#"{"disk":1}"#, r#"{"disk":"a","net":"b"}"#, r#"{"gpu":"a"}"#, r#""disk""#] {
        assert!(serde_json::from_str::<AttachDevice>(bad).is_err(), "{bad}");
    }
    let least: DetachDevice = serde_json::from_str(r#"{"device":"data"}"#).unwrap();
    assert_eq!((least.timeout_ms, least.force), (30_000, false));
    let text = r#"{"device":"data","timeout_ms":5,"force":true}"#;
    assert_eq!(serde_json::to_string(&serde_json::from_str::<DetachDevice>(text).unwrap()).unwrap(), text);
}

#[test]
fn a_disk_is_resized_by_what_is_said_of_it() {
    let text = r#"{"disk":"disk-root","size_bytes":1073741824}"#;
    let wanted: ResizeDisk = serde_json::from_str(text).unwrap();
    assert_eq!((wanted.size_bytes, wanted.from_bytes), (1 << 30, None));
    assert_eq!(serde_json::to_string(&wanted).unwrap(), text);
    for bad in
        ["{}", r#"{"disk":"a"}"#, r#"{"disk":"a","size_bytes":-1}"#, r#"{"disk":"a","size_bytes":"1G"}"#]
    {
        assert!(serde_json::from_str::<ResizeDisk>(bad).is_err(), "{bad}");
    }
}

/// Version 2 said nothing of snapshots, and what it says is what it said.
#[test]
fn orders_and_answers_about_snapshots_may_grow() {
    let order: SnapshotOrder =
        serde_json::from_str(r#"{"folder":"/a","vm":"web1","name":"b","uuid":"c","lazy":true}"#).unwrap();
    assert_eq!((order.folder.as_str(), order.compress, order.expires_s), ("/a", false, None));
    let taken: SnapshotTaken = serde_json::from_str(r#"{"pause_us":7,"ram_bytes":4096,"chain":[]}"#).unwrap();
    assert_eq!((taken.pause_us, taken.ram_bytes, taken.notes.len()), (7, 4096, 0));
    let order: RestoreOrder = serde_json::from_str(r#"{"folder":"/a"}"#).unwrap();
    assert_eq!(order.folder, "/a");
    assert_eq!(Verb::ALL.into_iter().filter(|verb| verb.has_body()).count(), 5);
}

#[test]
fn what_a_newer_version_adds_is_passed_over() {
    let text = r#"{"cpus":2,"engine":"soft","memory_bytes":1,"name":"web1","pid":77,"resets":1,"protocol":5,
        "state":"migrating","uptime_ms":1234,"node":"a",
        "disks":[{"id":"d","path":"p","format":"raw","size_bytes":1,"readonly":false,"cache":"none"}]}"#;
    let status: Status = serde_json::from_str(text).unwrap();
    assert_eq!((status.protocol, status.state), (5, Phase::Unknown));
    assert_eq!(status.disks[0].path, "p");
    let event: Event = serde_json::from_str(r#"{"time_ms":1,"event":"moved","to":"b"}"#).unwrap();
    assert_eq!((event.event, event.detail), (EventKind::Unknown, None));
    let text = r#"{"status":409,"title":"Conflict","detail":"x","class":"quota","limit":3}"#;
    assert_eq!(serde_json::from_str::<Failure>(text).unwrap().class, FailureClass::Host);
}

#[test]
fn clients_of_older_versions_find_what_they_know() {
    let status = Status {
        protocol: VERSION,
        name: "web1".into(),
        state: Phase::Running,
        paused_by: None,
        engine: "kvm".into(),
        cpus: 1,
        memory_bytes: 1 << 29,
        uptime_ms: 5,
        resets: 0,
        panics: 0,
        pid: 7,
        disks: vec![],
        cards: vec![],
    };
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!((&json["state"], &json["pid"]), (&"running".into(), &7.into()));
    for name in [
        "name",
        "state",
        "engine",
        "cpus",
        "memory_bytes",
        "uptime_ms",
        "resets",
        "pid",
        "protocol",
        "panics",
    ] {
        assert!(!json[name].is_null(), "{name}");
    }
    assert!(json.as_object().unwrap().contains_key("paused_by"));
    let event = Event { time_ms: 1, event: EventKind::TripleFault, detail: None };
    assert_eq!(serde_json::to_string(&event).unwrap(), r#"{"time_ms":1,"event":"triple_fault"}"#);
}
