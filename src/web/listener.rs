//! Who comes in: connections are taken from the port, and each is a task of its own, from its first byte to its last.
//!
//! Nobody is waited for here but the next one: a handshake, a slow head or a slow body holds up the task of its own
//! connection alone, and none of them for longer than [`Times`] says.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::bodies::{Arriving, Told};
use super::guest::{Guest, Pace, Times};
use super::refusals::Refusals;
use super::seats::{ALL_MAX, ELSEWHERE_MAX, ONE_MAX, Seat, Seats};
use super::tls::{Tls, Unusable};

/// Bytes of a request's head, and of what is read and written at one time. Of headers hyper takes 100.
const HEAD_MAX: usize = 32 << 10;
/// With which TLS begins.
const HANDSHAKE: u8 = 0x16;
/// After an accept that failed for lack of something.
const PAUSE: Duration = Duration::from_secs(1);
/// How long, and how much, is still taken and thrown away after the last answer: who sends without listening has no more
/// than this on the way when the answer comes.
const FAREWELL: Duration = Duration::from_secs(1);
const FAREWELL_BYTES: usize = 4 << 20;
/// Half a year would outlive many a certificate of one's own.
const HTTPS_FROM_NOW_ON: &str = "max-age=2592000";

/// Who is at the other end of a connection; every request has it as an extension.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    pub address: SocketAddr,
    /// Nobody on the way can read it.
    pub tls: bool,
    /// A certificate was shown that `client_ca` signed.
    pub certified: bool,
}

/// On what terms connections are taken now.
#[derive(Clone)]
pub struct Terms {
    server: Option<Arc<ServerConfig>>,
    /// Others are: who came on these is answered, and then has to come again.
    over: CancellationToken,
}

impl Terms {
    pub fn new(tls: Option<&Tls>, stop: &CancellationToken) -> Result<Self, Unusable> {
        let server = tls.map(Tls::server).transpose()?;
        Ok(Self { server, over: stop.child_token() })
    }

    /// Those from now on. A renewed certificate is shown to who comes next and closes nothing.
    pub fn turn(
        &self,
        before: Option<&Tls>,
        now: Option<&Tls>,
        stop: &CancellationToken,
    ) -> Result<Self, Unusable> {
        let next = Self::new(now, stop)?;
        let same = match (before, now) {
            (Some(before), Some(now)) => now.is_as_strict_as(before),
            (before, now) => before.is_none() && now.is_none(),
        };
        if same {
            return Ok(Self { over: self.over.clone(), ..next });
        }
        self.over.cancel();
        Ok(next)
    }
}

/// Takes connections until `stop`, and returns when the last has been answered.
pub async fn attend(
    listener: TcpListener,
    router: Router,
    terms: watch::Receiver<Terms>,
    times: Times,
    stop: CancellationToken,
) {
    let seats = Seats::new(ALL_MAX, ELSEWHERE_MAX, ONE_MAX);
    let mut guests = JoinSet::new();
    let refusals = Arc::new(Refusals::default());
    loop {
        let came = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = guests.join_next() => continue,
            came = next(&listener, &seats) => came,
        };
        let (stream, address, seat) = came;
        let Some(seat) = seat else {
            tracing::debug!(from = %address.ip(), "an address has as many connections as it may");
            continue;
        };
        let refusals = refusals.clone();
        let host = Host { router: router.clone(), terms: terms.borrow().clone(), times, refusals };
        guests.spawn(async move {
            // Boxed, since what it holds while it shakes hands is not needed for the hours after.
            Box::pin(host.welcome(stream, address)).await;
            drop::<Seat>(seat);
        });
    }
    drop(listener);
    while guests.join_next().await.is_some() {}
}

async fn next(listener: &TcpListener, seats: &Seats) -> (TcpStream, SocketAddr, Option<Seat>) {
    let permit = seats.free().await;
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                // Answers are written in one go; waiting for more to send would only delay them.
                let _ = stream.set_nodelay(true);
                let seat = permit.and_then(|permit| seats.sit(permit, address));
                return (stream, address, seat);
            }
            // Of that connection, which has gone already.
            Err(error) if is_of_the_guest(&error) => {}
            Err(error) => {
                tracing::error!(%error, "the API cannot take connections for the moment");
                sleep(PAUSE).await;
            }
        }
    }
}

fn is_of_the_guest(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// What one connection needs of the house.
struct Host {
    router: Router,
    terms: Terms,
    times: Times,
    refusals: Arc<Refusals>,
}

impl Host {
    async fn welcome(self, stream: TcpStream, address: SocketAddr) {
        let pace = Pace::default();
        let mut guest = Guest::new(stream, self.times, pace.clone());
        let Some(server) = self.terms.server.clone() else {
            let peer = Peer { address, tls: false, certified: false };
            return self.converse(guest, peer, pace).await;
        };
        let shakes_hands = async {
            let begins = begins_with_a_handshake(&mut guest, self.times.head).await;
            if begins { TlsAcceptor::from(server).accept(guest).await.map(Some) } else { Ok(None) }
        };
        // Who has not asked anything yet is owed no answer when the house closes.
        match self.terms.over.run_until_cancelled(Box::pin(shakes_hands)).await {
            Some(Ok(Some(stream))) => {
                let certified = stream.get_ref().1.peer_certificates().is_some();
                let peer = Peer { address, tls: true, certified };
                self.converse(stream, peer, pace).await;
            }
            Some(Err(error)) => self.refusals.tell(address.ip(), &error),
            Some(Ok(None)) | None => {}
        }
    }

    /// Answers one request after the other.
    async fn converse<I>(self, io: I, peer: Peer, pace: Pace)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (rooms, body_within) = (TowerToHyperService::new(self.router), self.times.body);
        let service = service_fn(move |request: Request<Incoming>| {
            let answering = pace.answers();
            let mut request = request.map(|body| Arriving::within(body, body_within));
            request.extensions_mut().insert(peer);
            let answer = rooms.call(request);
            // On the heap: the connection can then be moved, and taken apart at its end.
            Box::pin(async move {
                let mut answer: Response<Body> = answer.await?;
                if peer.tls {
                    let value = HeaderValue::from_static(HTTPS_FROM_NOW_ON);
                    answer.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, value);
                }
                Ok::<_, Infallible>(answer.map(|body| Told { body, _answering: answering }))
            })
        });
        let mut connection =
            http1::Builder::new().max_buf_size(HEAD_MAX).serve_connection(TokioIo::new(io), service);
        let mut is_over = false;
        loop {
            tokio::select! {
                // How it ended is the client's affair: the reason was sent to them where there was one.
                _ = poll_fn(|cx| connection.poll_without_shutdown(cx)) => break,
                () = self.terms.over.cancelled(), if !is_over => {
                    is_over = true;
                    std::pin::Pin::new(&mut connection).graceful_shutdown();
                }
            }
        }
        let mut io = connection.into_parts().io.into_inner();
        if is_over {
            let _ = timeout(FAREWELL, io.shutdown()).await;
        } else {
            see_out(io).await;
        }
    }
}

/// Whoever speaks HTTP to a port of TLS is told so; whoever says nothing, nothing.
async fn begins_with_a_handshake(guest: &mut Guest, within: Duration) -> bool {
    let mut first = [0];
    match timeout(within, guest.stream.peek(&mut first)).await {
        Ok(Ok(1)) if first[0] == HANDSHAKE => return true,
        Ok(Ok(1)) if first[0].is_ascii_uppercase() => {}
        _ => return false,
    }
    let detail = "this port speaks HTTPS only; write https:// in place of http://";
    let body = format!(
        "{{\"type\":\"urn:gatehouse:problem:https-only\",\"title\":\"Bad Request\",\"status\":400,\"detail\":\"{detail}\"}}"
    );
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    );
    if guest.write_all(answer.as_bytes()).await.is_ok() {
        see_out(guest).await;
    }
    false
}

/// A socket that is closed over unread bytes takes back what it has sent: a little of what still comes is taken.
async fn see_out(mut io: impl AsyncRead + AsyncWrite + Unpin) {
    let hears_out = async {
        let _ = io.shutdown().await;
        let (mut rest, mut left) = ([0; 8 << 10], FAREWELL_BYTES);
        while let Ok(heard @ 1..) = io.read(&mut rest).await {
            left = left.saturating_sub(heard);
            if left == 0 {
                break;
            }
        }
    };
    let _ = timeout(FAREWELL, hears_out).await;
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use axum::extract::Extension;
    use axum::routing::{get, post};
    use tokio::task::JoinHandle;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    /// That does not end in a test.
    const LONG: Duration = Duration::from_secs(600);
    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    /// A house of three rooms; where it listens.
    async fn open(times: Times, stop: &CancellationToken) -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/", get(|Extension(peer): Extension<Peer>| async move { format!("tls {}", peer.tls) }))
            .route("/body", post(|body: Bytes| async move { body.len().to_string() }))
            .route("/much", get(|| async { vec![b'a'; 64 << 20] }));
        let (_, terms) = watch::channel(Terms::new(None, stop).unwrap());
        (address, tokio::spawn(attend(listener, router, terms, times, stop.clone())))
    }

    async fn said(stream: &mut TcpStream) -> String {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        String::from_utf8(bytes).unwrap()
    }

    /// One answer of a connection that stays open.
    async fn answer(stream: &mut TcpStream) -> String {
        let mut bytes = vec![0; 1024];
        let heard = stream.read(&mut bytes).await.unwrap();
        String::from_utf8_lossy(&bytes[..heard]).into_owned()
    }

    #[tokio::test]
    async fn a_body_that_drips_ends_in_time() {
        let stop = CancellationToken::new();
        let (address, _) = open(Times { body: SHORT, idle: LONG, head: LONG }, &stop).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc").await.unwrap();
        let refused = said(&mut stream).await;
        assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("in time"), "{refused}");
    }

    #[tokio::test]
    async fn an_answer_that_nobody_takes_is_given_up() {
        let stop = CancellationToken::new();
        let (address, serving) = open(Times { body: LONG, idle: 10 * SHORT, head: LONG }, &stop).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /much HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        stream.read_u8().await.unwrap();
        // What is being answered is waited for: this returns since it was given up.
        stop.cancel();
        serving.await.unwrap();
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        assert!(bytes.len() < 64 << 20, "all of it came");
    }

    #[tokio::test]
    async fn between_two_requests_there_is_more_time_than_within_one() {
        let stop = CancellationToken::new();
        let (address, _) = open(Times { head: 20 * SHORT, body: LONG, idle: LONG }, &stop).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(GET).await.unwrap();
        assert!(answer(&mut stream).await.ends_with("tls false"));
        sleep(30 * SHORT).await;
        stream.write_all(GET).await.unwrap();
        assert!(
            answer(&mut stream).await.ends_with("tls false"),
            "it was idle for longer than a head may take"
        );
        stream.write_all(&GET[..9]).await.unwrap();
        assert_eq!(said(&mut stream).await, "", "the third does not come to its end");
    }

    #[tokio::test]
    async fn who_says_nothing_for_long_is_shown_out() {
        let stop = CancellationToken::new();
        let (address, _) = open(Times { head: LONG, body: LONG, idle: SHORT }, &stop).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(said(&mut stream).await, "");
    }

    #[tokio::test]
    async fn other_terms_and_the_end_close_what_is_idle() {
        let stop = CancellationToken::new();
        let (address, _) = open(Times { head: LONG, body: LONG, idle: LONG }, &stop).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(GET).await.unwrap();
        answer(&mut stream).await;
        stop.cancel();
        assert_eq!(said(&mut stream).await, "");
    }

    #[tokio::test]
    async fn a_renewed_certificate_leaves_the_terms_and_other_clients_do_not() {
        let stop = CancellationToken::new();
        let terms = Terms::new(None, &stop).unwrap();
        let same = terms.turn(None, None, &stop).unwrap();
        assert!(!terms.over.is_cancelled());
        drop(same);
        let tls = Tls {
            cert: "".into(),
            key: crate::secret::Secret::new(""),
            client_ca: None,
            client: super::super::Demand::All,
        };
        assert!(terms.turn(None, Some(&tls), &stop).is_err(), "what cannot be spoken with");
        assert!(!terms.over.is_cancelled(), "changes nothing");
    }
}
