//! A web server on the loopback interface that behaves as a test wants it to.

#![allow(dead_code, reason = "each test file uses its own part of it")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Display;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;

/// A piece of an answer's body.
#[derive(Clone, Debug)]
pub enum Piece {
    Bytes(Vec<u8>),
    Pause(Duration),
    /// The connection is cut.
    Cut,
}

/// What the server answers.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<Piece>,
}

impl Reply {
    pub fn status(status: u16) -> Reply {
        Reply { status, headers: Vec::new(), body: Vec::new() }
    }

    pub fn ok(body: &[u8]) -> Reply {
        Reply::status(200).header("content-length", body.len()).piece(Piece::Bytes(body.to_vec()))
    }

    pub fn redirect(to: &str) -> Reply {
        Reply::status(302).header("location", to)
    }

    #[allow(clippy::needless_pass_by_value, reason = "calls are shorter")]
    pub fn header(self, name: &str, value: impl Display) -> Reply {
        self.with_header(name, &value.to_string())
    }

    fn with_header(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn piece(mut self, piece: Piece) -> Reply {
        self.body.push(piece);
        self
    }
}

/// What the server was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub headers: Vec<(String, String)>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Where the range that is asked for begins.
    pub fn range_start(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// A server; it ends with the process.
pub struct Server {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub fn start(reply: impl FnMut(&Asked) -> Reply + Send + 'static) -> Server {
        Server::start_with(None, reply)
    }

    /// A server that speaks TLS with this certificate and key.
    pub fn start_tls(identity: &Identity, reply: impl FnMut(&Asked) -> Reply + Send + 'static) -> Server {
        Server::start_with(Some(identity.acceptor()), reply)
    }

    fn start_with(tls: Option<TlsAcceptor>, reply: impl FnMut(&Asked) -> Reply + Send + 'static) -> Server {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (tell, told) = mpsc::channel();
        let log = asked.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(tell, tls, log, Arc::new(Mutex::new(reply))));
        });
        Server { address: told.recv().unwrap(), asked }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve<F>(
    tell: mpsc::Sender<SocketAddr>,
    tls: Option<TlsAcceptor>,
    asked: Arc<Mutex<Vec<Asked>>>,
    reply: Arc<Mutex<F>>,
) where
    F: FnMut(&Asked) -> Reply + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    tell.send(listener.local_addr().unwrap()).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (asked, reply, tls) = (asked.clone(), reply.clone(), tls.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let this = as_asked(&request);
                asked.lock().unwrap().push(this.clone());
                let answer = (reply.lock().unwrap())(&this);
                async move { Ok::<_, Infallible>(response(answer)) }
            });
            let http = hyper::server::conn::http1::Builder::new();
            // A client that goes away, or an answer that is cut, is no failure of the test.
            match tls {
                None => drop(http.serve_connection(TokioIo::new(stream), service).await),
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        drop(http.serve_connection(TokioIo::new(stream), service).await);
                    }
                }
            }
        });
    }
}

/// Who a server says it is: a certificate that it signed itself.
pub struct Identity {
    /// In DER.
    pub certificate: Vec<u8>,
    pub pem: String,
    key: Vec<u8>,
}

impl Identity {
    pub fn of(name: &str) -> Identity {
        let signed = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        Identity {
            certificate: signed.cert.der().to_vec(),
            pem: signed.cert.pem(),
            key: signed.signing_key.serialize_der(),
        }
    }

    fn acceptor(&self) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(self.key.clone());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone().into()], key.into())
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

fn as_asked(request: &Request<Incoming>) -> Asked {
    let headers = request.headers().iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    Asked { path: request.uri().to_string(), headers }
}

fn response(reply: Reply) -> Response<Script> {
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(Script { pieces: reply.body.into(), pause: None, cutting: false }).unwrap()
}

/// A body that is played piece by piece.
struct Script {
    pieces: VecDeque<Piece>,
    pause: Option<Pin<Box<Sleep>>>,
    cutting: bool,
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            if let Some(pause) = &mut self.pause {
                match pause.as_mut().poll(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => self.pause = None,
                }
            }
            match self.pieces.pop_front() {
                None => return Poll::Ready(None),
                Some(Piece::Bytes(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes.into())))),
                Some(Piece::Pause(time)) => self.pause = Some(Box::pin(tokio::time::sleep(time))),
                // What was said before gets a moment to arrive.
                Some(Piece::Cut) if !self.cutting => {
                    self.cutting = true;
                    self.pieces.push_front(Piece::Cut);
                    self.pause = Some(Box::pin(tokio::time::sleep(Duration::from_millis(50))));
                }
                Some(Piece::Cut) => return Poll::Ready(Some(Err(io::Error::other("cut")))),
            }
        }
    }
}

/// Serves `body` as a good server does, with ranges that `validator` guards.
pub fn file(asked: &Asked, body: &[u8], etag: &str) -> Reply {
    let same = asked.header("if-range").is_none_or(|validator| validator == etag);
    match asked.range_start() {
        Some(start) if same && start < body.len() => part(&body[start..], start, body.len()),
        Some(_) if same => Reply::status(416).header("content-range", format!("bytes */{}", body.len())),
        _ => Reply::ok(body),
    }
    .header("etag", etag)
}

pub fn part(rest: &[u8], start: usize, total: usize) -> Reply {
    let range = format!("bytes {start}-{}/{total}", total - 1);
    Reply { status: 206, ..Reply::ok(rest) }.header("content-range", range)
}

/// Bytes in which no two places look alike.
pub fn body(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    (0..bytes)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}
