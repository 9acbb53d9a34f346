//! Downloads from servers good and bad.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

mod server;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use image_model::{Checksum, ChecksumKind};
use image_sources::{Download, FetchError, FetchEvent, FetchSettings, Fetched, Fetcher};
use server::{Piece, Reply, Server, body, file, part};
use sha2::{Digest, Sha256, Sha512};
use tempfile::TempDir;

const MANY: u64 = 1 << 30;

fn settings() -> FetchSettings {
    FetchSettings {
        connect_timeout: Duration::from_secs(5),
        stall_timeout: Duration::from_secs(1),
        attempts_max: 3,
        first_wait: Duration::from_millis(10),
        extra_roots: Vec::new(),
    }
}

fn sha256(bytes: &[u8]) -> Checksum {
    Checksum::from_bytes(ChecksumKind::Sha256, &Sha256::digest(bytes)).unwrap()
}

struct Case {
    folder: TempDir,
    events: Vec<FetchEvent>,
    bytes_max: u64,
}

impl Case {
    fn new() -> Case {
        Case { folder: tempfile::tempdir().unwrap(), events: Vec::new(), bytes_max: MANY }
    }

    fn partial(&self) -> PathBuf {
        self.folder.path().join("part")
    }

    fn fetch(&mut self, url: &str, expected: Option<&Checksum>) -> Result<Fetched, FetchError> {
        let partial = self.partial();
        let download = Download { url, partial: &partial, expected, bytes_max: self.bytes_max };
        let fetcher = Fetcher::new(settings()).unwrap();
        fetcher.download(&download, &mut |event| {
            self.events.push(event);
            ControlFlow::Continue(())
        })
    }

    fn error(&mut self, url: &str, expected: Option<&Checksum>) -> String {
        self.fetch(url, expected).unwrap_err().to_string()
    }

    fn here(&self) -> Option<Vec<u8>> {
        fs::read(self.partial()).ok()
    }

    fn resumed_from(&self) -> Vec<u64> {
        let from = |event: &FetchEvent| match event {
            FetchEvent::Resumed { from_bytes } => Some(*from_bytes),
            _ => None,
        };
        self.events.iter().filter_map(from).collect()
    }

    fn restarts(&self) -> usize {
        self.events.iter().filter(|event| **event == FetchEvent::Restarted).count()
    }
}

/// A reply that breaks off after `bytes` of `body`.
fn cut(body: &[u8], bytes: usize, etag: &str) -> Reply {
    Reply::status(200)
        .header("content-length", body.len())
        .header("etag", etag)
        .piece(Piece::Bytes(body[..bytes].to_vec()))
        .piece(Piece::Cut)
}

#[test]
fn a_file_comes_whole_and_is_checked() {
    let served = body(3_000_000);
    let copy = served.clone();
    let server = Server::start(move |asked| file(asked, &copy, "\"1\""));
    let mut case = Case::new();
    let fetched = case.fetch(&server.url("/x"), None).unwrap();
    assert_eq!((fetched.bytes, &fetched.checksum), (3_000_000, &sha256(&served)));
    assert_eq!(case.here().unwrap(), served);
    let FetchEvent::Progress(last) = case.events.last().unwrap() else { panic!("{:?}", case.events) };
    assert_eq!((last.done_bytes, last.total_bytes), (3_000_000, Some(3_000_000)));
    // What is here and right is not asked for again.
    case.fetch(&server.url("/x"), Some(&sha256(&served))).unwrap();
    assert_eq!(server.asked().len(), 1);
    let sha512 = Checksum::from_bytes(ChecksumKind::Sha512, &Sha512::digest(&served)).unwrap();
    assert_eq!(Case::new().fetch(&server.url("/x"), Some(&sha512)).unwrap().checksum, sha512);
}

#[test]
fn what_is_interrupted_goes_on() {
    let served = body(300_000);
    let copy = served.clone();
    let mut count = 0;
    let server = Server::start(move |asked| {
        count += 1;
        if count == 1 { cut(&copy, 100_000, "\"1\"") } else { file(asked, &copy, "\"1\"") }
    });
    let mut case = Case::new();
    case.fetch(&server.url("/x"), Some(&sha256(&served))).unwrap();
    assert_eq!(case.here().unwrap(), served);
    assert_eq!(case.resumed_from(), [100_000]);
    assert_eq!(server.asked()[1].header("range"), Some("bytes=100000-"));
    assert_eq!(server.asked()[1].header("if-range"), Some("\"1\""));
}

#[test]
fn a_later_call_goes_on_too() {
    let served = body(300_000);
    let copy = served.clone();
    let mut bad = 3;
    let server = Server::start(move |asked| {
        if bad > 0 {
            bad -= 1;
            return if bad == 2 { cut(&copy, 100_000, "\"1\"") } else { Reply::status(503) };
        }
        file(asked, &copy, "\"1\"")
    });
    let mut case = Case::new();
    let error = case.error(&server.url("/x"), None);
    assert!(error.contains("status 503") && error.contains("try again later"), "{error}");
    assert_eq!(case.here().unwrap().len(), 100_000);
    case.fetch(&server.url("/x"), None).unwrap();
    assert_eq!(case.resumed_from(), [100_000]);
    assert_eq!(case.here().unwrap(), served);
}

#[test]
fn another_address_begins_anew() {
    let served = body(1000);
    let copy = served.clone();
    let server = Server::start(move |asked| {
        if asked.path == "/a" { cut(&copy, 500, "\"1\"") } else { file(asked, &copy, "\"1\"") }
    });
    let mut case = Case::new();
    case.error(&server.url("/a"), None);
    assert_eq!(case.here().unwrap().len(), 500);
    case.fetch(&server.url("/b"), None).unwrap();
    assert_eq!(server.asked().last().unwrap().header("range"), None);
    assert_eq!(case.here().unwrap(), served);
}

#[test]
fn a_file_that_changed_meanwhile_is_taken_anew() {
    let (old, new) = (body(200_000), vec![9; 150_000]);
    let mut count = 0;
    let server = Server::start(move |asked| {
        count += 1;
        if count == 1 { cut(&old, 100_000, "\"old\"") } else { file(asked, &new, "\"new\"") }
    });
    let mut case = Case::new();
    case.fetch(&server.url("/x"), Some(&sha256(&[9; 150_000]))).unwrap();
    assert_eq!((case.restarts(), case.resumed_from().len()), (1, 0));
    assert_eq!(case.here().unwrap(), vec![9; 150_000]);
}

#[test]
fn a_server_that_ignores_if_range_is_found_out() {
    let (old, new) = (body(200_000), vec![9; 150_000]);
    let mut count = 0;
    let server = Server::start(move |asked| {
        count += 1;
        match asked.range_start() {
            None if count == 1 => cut(&old, 100_000, "\"old\""),
            None => file(asked, &new, "\"new\""),
            Some(start) => part(&new[start..], start, new.len()).header("etag", "\"new\""),
        }
    });
    let mut case = Case::new();
    case.fetch(&server.url("/x"), None).unwrap();
    assert_eq!(case.here().unwrap(), vec![9; 150_000]);
}

#[test]
fn without_validators_the_checksum_decides() {
    let (old, new) = (body(200_000), vec![9; 150_000]);
    let served = new.clone();
    let mut count = 0;
    let server = Server::start(move |asked| {
        count += 1;
        let mut reply = match asked.range_start() {
            None if count == 1 => cut(&old, 100_000, "\"old\""),
            None => file(asked, &served, "\"new\""),
            Some(start) => part(&served[start..], start, served.len()),
        };
        reply.headers.retain(|(name, _)| name != "etag");
        reply
    });
    let mut case = Case::new();
    case.fetch(&server.url("/x"), Some(&sha256(&new))).unwrap();
    assert_eq!((case.resumed_from(), case.restarts()), (vec![100_000], 1));
    assert_eq!(case.here().unwrap(), new);
}

#[test]
fn without_validators_and_checksum_nothing_goes_on() {
    let served = body(100_000);
    let copy = served.clone();
    let mut count = 0;
    let server = Server::start(move |asked| {
        count += 1;
        let mut reply = if count == 1 { cut(&copy, 50_000, "x") } else { file(asked, &copy, "x") };
        reply.headers.retain(|(name, _)| name != "etag");
        reply
    });
    let mut case = Case::new();
    case.fetch(&server.url("/x"), None).unwrap();
    assert!(server.asked().iter().all(|asked| asked.header("range").is_none()));
    assert_eq!(case.here().unwrap(), served);
}

#[test]
fn a_server_without_ranges_sends_all_of_it_again() {
    let served = body(200_000);
    let copy = served.clone();
    let mut count = 0;
    let server = Server::start(move |_| {
        count += 1;
        if count == 1 { cut(&copy, 100_000, "\"1\"") } else { Reply::ok(&copy).header("etag", "\"1\"") }
    });
    let mut case = Case::new();
    case.fetch(&server.url("/x"), Some(&sha256(&served))).unwrap();
    assert_eq!(case.restarts(), 1);
    assert_eq!(case.here().unwrap(), served);
}

#[test]
fn a_range_that_is_not_there_begins_anew() {
    let served = body(1000);
    let copy = served.clone();
    let mut count = 0;
    let server = Server::start(move |asked| {
        count += 1;
        match count {
            1 => cut(&[7; 5000], 2000, "\"1\""),
            2 => Reply::status(416).header("content-range", "bytes */1000"),
            _ => file(asked, &copy, "\"2\""),
        }
    });
    let mut case = Case::new();
    case.fetch(&server.url("/x"), None).unwrap();
    assert_eq!(case.here().unwrap(), served);
}

#[test]
fn a_wrong_checksum_leaves_nothing() {
    let server = Server::start(move |asked| file(asked, b"evil", "\"1\""));
    let mut case = Case::new();
    let error = case.error(&server.url("/x"), Some(&sha256(b"good")));
    assert!(
        error.contains(&sha256(b"good").to_string()) && error.contains(&sha256(b"evil").to_string()),
        "{error}"
    );
    assert_eq!(fs::read_dir(case.folder.path()).unwrap().count(), 0);
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_stall_is_an_error_after_several_attempts() {
    let server = Server::start(move |_| {
        Reply::status(200)
            .header("content-length", 1000)
            .header("etag", "\"1\"")
            .piece(Piece::Bytes(vec![1; 10]))
            .piece(Piece::Pause(Duration::from_secs(60)))
    });
    let mut case = Case::new();
    let error = case.error(&server.url("/x"), None);
    assert!(error.contains("nothing came for 1 seconds"), "{error}");
    assert_eq!(server.asked().len(), 3);
    let retries = case.events.iter().filter(|event| matches!(event, FetchEvent::Retry { .. })).count();
    assert_eq!(retries, 2);
}

#[test]
fn slow_is_not_stalled() {
    let server = Server::start(move |_| {
        let drip = |reply: Reply, _| {
            reply.piece(Piece::Bytes(vec![1])).piece(Piece::Pause(Duration::from_millis(200)))
        };
        (0..8).fold(Reply::status(200).header("content-length", 8), drip)
    });
    let mut case = Case::new();
    assert_eq!(case.fetch(&server.url("/x"), None).unwrap().bytes, 8);
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_body_shorter_than_announced_is_not_taken_for_whole() {
    let server = Server::start(move |_| {
        Reply::status(200).header("content-length", 1000).piece(Piece::Bytes(vec![1; 10])).piece(Piece::Cut)
    });
    let mut case = Case::new();
    let error = case.error(&server.url("/x"), None);
    assert!(error.contains("ended after 10 bytes of 1000"), "{error}");
}

#[test]
fn a_range_that_is_longer_than_the_whole_is_refused() {
    let mut count = 0;
    let server = Server::start(move |_| {
        count += 1;
        if count == 1 {
            cut(&[1; 1000], 100, "\"1\"")
        } else {
            part(&[2; 5000], 100, 200).header("etag", "\"1\"")
        }
    });
    let mut case = Case::new();
    let error = case.error(&server.url("/x"), None);
    assert!(error.contains("makes no sense"), "{error}");
}

#[test]
fn files_that_are_too_large_are_not_taken() {
    let announced = Server::start(move |_| Reply::ok(&[1; 5000]));
    let silent = Server::start(move |_| {
        let more = |reply: Reply, _| reply.piece(Piece::Bytes(vec![1; 100]));
        (0..50).fold(Reply::status(200), more)
    });
    for server in [announced, silent] {
        let mut case = Case::new();
        case.bytes_max = 1000;
        let error = case.error(&server.url("/x"), None);
        assert!(error.contains("more than 1000 bytes"), "{error}");
        assert!(case.here().unwrap().len() <= 1000);
        assert_eq!(server.asked().len(), 1);
    }
}

#[test]
fn a_file_for_which_there_is_no_room_is_not_begun() {
    let server = Server::start(move |_| {
        Reply::status(200)
            .header("content-length", 1_u64 << 60)
            .piece(Piece::Bytes(vec![1; 10]))
            .piece(Piece::Cut)
    });
    let mut case = Case::new();
    case.bytes_max = u64::MAX;
    let error = case.error(&server.url("/x"), None);
    assert!(error.contains("no space left") && error.contains("1024 PiB"), "{error}");
    assert!(case.here().unwrap().is_empty());
}

#[test]
fn redirects_are_followed_up_to_a_number() {
    let served = body(100);
    let copy = served.clone();
    let server = Server::start(move |asked| match asked.path.as_str() {
        "/file" => file(asked, &copy, "\"1\""),
        "/loop" => Reply::redirect("/loop"),
        "/away" => Reply::redirect("ftp://a.example/x"),
        _ => Reply::redirect("/file"),
    });
    let mut case = Case::new();
    let fetched = case.fetch(&server.url("/there"), None).unwrap();
    assert_eq!(fetched.url, server.url("/file"));
    let error = Case::new().error(&server.url("/loop"), None);
    assert!(error.contains("more than 10 times"), "{error}");
    let error = Case::new().error(&server.url("/away"), None);
    assert!(error.contains("neither http nor https"), "{error}");
}

#[test]
fn refusals_are_said_in_words() {
    let server = Server::start(move |asked| Reply::status(asked.path[1..].parse().unwrap()));
    for (status, words, attempts) in [
        (404, "moved or removed", 1),
        (403, "wants a login", 1),
        (500, "try again later", 3),
        (302, "302", 1),
    ] {
        let before = server.asked().len();
        let error = Case::new().error(&server.url(&format!("/{status}")), None);
        assert!(error.contains(words), "{status}: {error}");
        assert_eq!(server.asked().len() - before, attempts, "{status}");
    }
    let mut case = Case::new();
    let error = case.error("http://127.0.0.1:1/x", None);
    assert_eq!(case.events.len(), 1, "two attempts: {:?}", case.events);
    assert!(error.contains("127.0.0.1:1 refuses the connection"), "{error}");
    let error = Case::new().error("gopher://x/", None);
    assert!(error.contains("has to begin with https://"), "{error}");
}

#[test]
fn what_is_no_http_is_said_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::io::Write::write_all(&mut stream.unwrap(), b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
        }
    });
    let error = Case::new().error(&format!("http://{address}/x"), None);
    assert!(error.contains("makes no sense"), "{error}");
    let error = Case::new().error(&format!("https://{address}/x"), None);
    assert!(error.contains(&address.to_string()), "{error}");
}

#[test]
fn a_download_can_be_cancelled_and_goes_on_later() {
    let served = body(200_000);
    let copy = served.clone();
    let server = Server::start(move |asked| {
        if asked.range_start().is_some() {
            return file(asked, &copy, "\"1\"");
        }
        let pieces = copy.chunks(50_000).map(|piece| Piece::Bytes(piece.to_vec()));
        let pauses = pieces.flat_map(|piece| [piece, Piece::Pause(Duration::from_millis(120))]);
        Reply { body: pauses.collect(), ..file(asked, &copy, "\"1\"") }
    });
    let folder = tempfile::tempdir().unwrap();
    let partial: &Path = &folder.path().join("part");
    let url = server.url("/x");
    let download = Download { url: &url, partial, expected: None, bytes_max: MANY };
    let fetcher = Fetcher::new(settings()).unwrap();
    let cancelled = fetcher.download(&download, &mut |event| match event {
        FetchEvent::Progress(progress) if progress.done_bytes >= 100_000 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    assert!(matches!(cancelled, Err(FetchError::Cancelled)));
    let kept = fs::metadata(partial).unwrap().len();
    assert!((100_000..200_000).contains(&kept), "{kept}");
    fetcher.download(&download, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(fs::read(partial).unwrap(), served);
}

#[test]
fn one_partial_file_has_one_owner() {
    let server = Server::start(move |_| {
        Reply::status(200).header("content-length", 10).piece(Piece::Pause(Duration::from_millis(250)))
    });
    let folder = tempfile::tempdir().unwrap();
    let partial: &Path = &folder.path().join("part");
    let url = server.url("/x");
    let download = Download { url: &url, partial, expected: None, bytes_max: MANY };
    let mut inner = None;
    let fetcher = Fetcher::new(settings()).unwrap();
    let _ = fetcher.download(&download, &mut |_| {
        let other = Fetcher::new(settings()).unwrap();
        inner = Some(other.download(&download, &mut |_| ControlFlow::Continue(())).unwrap_err());
        ControlFlow::Break(())
    });
    assert!(matches!(inner, Some(FetchError::Busy(_))), "{inner:?}");
}

#[test]
fn texts_are_short() {
    let server = Server::start(move |asked| match asked.path.as_str() {
        "/long" => Reply::ok(&[b'x'; 5000]),
        "/binary" => Reply::ok(&[0xFF; 10]),
        "/drip" => (0..50).fold(Reply::status(200), |reply, _| {
            reply.piece(Piece::Bytes(vec![b'x'])).piece(Piece::Pause(Duration::from_millis(100)))
        }),
        _ => Reply::ok(b"text"),
    });
    let fetcher = Fetcher::new(FetchSettings { attempts_max: 1, ..settings() }).unwrap();
    let get = |path: &str| fetcher.fetch_text(&server.url(path), 1000, &mut |_| ControlFlow::Continue(()));
    assert_eq!(get("/").unwrap(), "text");
    assert!(matches!(get("/long"), Err(FetchError::TooLarge { .. })));
    assert!(matches!(get("/drip"), Err(FetchError::Stalled { .. })));
    assert!(get("/binary").unwrap_err().to_string().contains("not text"));
}
