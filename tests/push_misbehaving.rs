//! A centre that does all that a centre should not do, on bare sockets: whatever it is, nothing is lost, nothing has effect
//! twice, no answer is taken for another's, memory stays bounded, and when the centre is well everything goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod push_house;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gatehouse::sync::Target;
use gatehouse::ticket::Refusal;
use push_house::{House, SOON, target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// In place of 30 s.
const PATIENCE: Duration = Duration::from_secs(4);
const EVENTS: u64 = 3;
/// More than is read of an answer, and what lies in the sockets between.
const READ_MAX: usize = (1 << 20) + (8 << 20);

/// What the centre does with its first request.
#[derive(Debug, Clone, Copy)]
enum Mischief {
    /// Reads the request, says this, and closes.
    Says(&'static str),
    /// Says this and keeps the connection, which is then as good as any.
    SaysAndGoesOn(&'static str),
    /// The first, and then the second for ever.
    ForEver(&'static str, &'static str),
    /// The same, a byte at a time with pauses.
    Drips(&'static str),
    /// Answers just in time.
    AlmostTooLate(&'static str),
    Never,
    /// Answers well, and cuts the connection hard when the next request is on it.
    ResetsLater,
    /// Answers while the request is still coming, and closes.
    BeforeReading(&'static str),
}

use Mischief::{AlmostTooLate, BeforeReading, Drips, ForEver, Never, ResetsLater, Says, SaysAndGoesOn};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
/// 64 bytes.
const CHUNK: &str = "40\r\n                                                                \r\n";
const NO_END: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

/// What it does, and what that is taken for: the outcome of the first request.
const TABLE: &[(&str, Mischief, &str)] = &[
    ("slow, but in time", AlmostTooLate(OK), "accepted"),
    ("a byte now and then", Drips(OK), "again"),
    ("no answer at all", Never, "again"),
    ("a word of greeting and then nothing", ForEver("", ""), "again"),
    ("the head and no body", Says("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"), "again"),
    ("half of the head", Says("HTTP/1.1 200 OK\r\nconte"), "again"),
    ("less than announced", Says("HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\n{}"), "again"),
    ("more than announced", SaysAndGoesOn("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}}}}}"), "accepted"),
    ("two lengths", Says("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 4\r\n\r\n{}{}"), "again"),
    ("a length that is none", Says("HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\n{}"), "again"),
    ("HTTP/0.9", Says("<html>hello</html>"), "again"),
    ("another protocol", Says("220 mail.example.com ESMTP\r\n"), "again"),
    ("noise", Says("\u{0}\u{1}\u{2}\u{fffd}\u{fffd}\r\n\r\n"), "again"),
    (
        "a redirect to itself",
        Says("HTTP/1.1 307 Moved\r\nlocation: /\r\ncontent-length: 0\r\n\r\n"),
        "misconfigured",
    ),
    (
        "rubbish in place of JSON",
        Says("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n{\"\u{1}}"),
        "misconfigured",
    ),
    (
        "a body that never ends",
        ForEver("HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n", "{\"tickets\":[]} "),
        "misconfigured",
    ),
    ("a body of nothing that never ends", ForEver("HTTP/1.1 200 OK\r\n\r\n", "          "), "misconfigured"),
    ("chunks that never end", ForEver(NO_END, CHUNK), "misconfigured"),
    ("a refusal that never ends", ForEver("HTTP/1.1 503 No\r\n\r\n", "no no no no no "), "again"),
    (
        "chunks that stop",
        ForEver("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n", ""),
        "again",
    ),
    (
        "a chunk of no size",
        Says("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"),
        "again",
    ),
    (
        "headers that never end",
        ForEver("HTTP/1.1 200 OK\r\n", "x-more: and more and more and more\r\n"),
        "again",
    ),
    (
        "asked to go on first",
        SaysAndGoesOn("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"),
        "accepted",
    ),
    ("asked to go on for ever", ForEver("", "HTTP/1.1 100 Continue\r\n\r\n"), "again"),
    (
        "two answers to one request",
        SaysAndGoesOn(
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        ),
        "accepted",
    ),
    (
        "another protocol is offered",
        Says("HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"),
        "misconfigured",
    ),
    ("the connection is cut later", ResetsLater, "accepted"),
    (
        "an answer before the question",
        BeforeReading("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
        "again",
    ),
    (
        "words on tickets of others",
        SaysAndGoesOn(
            "HTTP/1.1 200 OK\r\ncontent-length: 64\r\n\r\n{\"tickets\":[{\"id\":\"../../etc\",\"state\":\"closed\"},{\"id\":7},null]}\n",
        ),
        "accepted",
    ),
];

#[derive(Clone)]
struct Centre {
    mischief: Mischief,
    /// Requests so far.
    count: Arc<AtomicUsize>,
    /// What it took, in its order, without what it had already.
    taken: Arc<Mutex<Vec<u64>>>,
    /// Bytes of an answer that it got rid of.
    said: Arc<AtomicUsize>,
}

impl Centre {
    async fn open(mischief: Mischief) -> (Self, String, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let centre = Self { mischief, count: Arc::default(), taken: Arc::default(), said: Arc::default() };
        let all = centre.clone();
        let serving = tokio::spawn(async move {
            loop {
                let (peer, _) = listener.accept().await.unwrap();
                tokio::spawn(all.clone().serve(peer));
            }
        });
        (centre, url, serving)
    }

    async fn serve(self, mut peer: TcpStream) -> Option<()> {
        let first = self.count.load(Ordering::SeqCst) == 0;
        if let (true, BeforeReading(text)) = (first, self.mischief) {
            self.count.fetch_add(1, Ordering::SeqCst);
            peer.write_all(text.as_bytes()).await.ok()?;
            return None;
        }
        loop {
            let seqs = request(&mut peer).await?;
            let first = self.count.fetch_add(1, Ordering::SeqCst) == 0;
            if first {
                match self.mischief {
                    Says(text) => return peer.write_all(text.as_bytes()).await.ok(),
                    SaysAndGoesOn(text) => {
                        self.take(&seqs);
                        peer.write_all(text.as_bytes()).await.ok()?;
                        continue;
                    }
                    ForEver(start, more) => return self.talk(peer, start, more).await,
                    Drips(text) => {
                        for byte in text.bytes() {
                            peer.write_all(&[byte]).await.ok()?;
                            sleep(Duration::from_millis(300)).await;
                        }
                    }
                    AlmostTooLate(text) => {
                        self.take(&seqs);
                        sleep(PATIENCE / 2).await;
                        peer.write_all(text.as_bytes()).await.ok()?;
                        continue;
                    }
                    Never => std::future::pending().await,
                    ResetsLater => {
                        self.take(&seqs);
                        peer.write_all(OK.as_bytes()).await.ok()?;
                        let mut some = [0; 64];
                        peer.read_exact(&mut some).await.ok()?;
                        // Closed with unread bytes: the other side gets a reset.
                        return None;
                    }
                    BeforeReading(_) => {}
                }
            }
            self.take(&seqs);
            peer.write_all(OK.as_bytes()).await.ok()?;
        }
    }

    async fn talk(&self, mut peer: TcpStream, start: &str, more: &str) -> Option<()> {
        peer.write_all(start.as_bytes()).await.ok()?;
        if more.is_empty() {
            std::future::pending::<()>().await;
        }
        let many = more.repeat(1000);
        loop {
            if start.is_empty() {
                // This one is read for as long as it is said.
                sleep(Duration::from_millis(10)).await;
            }
            let said = peer.write(many.as_bytes()).await.ok()?;
            self.said.fetch_add(said, Ordering::SeqCst);
        }
    }

    fn take(&self, seqs: &[u64]) {
        let mut taken = self.taken.lock().unwrap();
        for seq in seqs {
            if !taken.contains(seq) {
                taken.push(*seq);
            }
        }
    }
}

/// The numbers in one request; `None`: the other side has closed.
async fn request(peer: &mut TcpStream) -> Option<Vec<u64>> {
    let mut text = Vec::new();
    let head = loop {
        if let Some(at) = text.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if peer.read_buf(&mut text).await.ok()? == 0 {
            return None;
        }
    };
    let line = String::from_utf8_lossy(&text[..head]).to_lowercase();
    let length = line.split("content-length: ").nth(1)?.split("\r\n").next()?.parse::<usize>().ok()?;
    while text.len() < head + length {
        if peer.read_buf(&mut text).await.ok()? == 0 {
            return None;
        }
    }
    let events: Vec<serde_json::Value> = serde_json::from_slice(&text[head..]).unwrap();
    Some(events.iter().map(|event| event["sequence"].as_str().unwrap().parse().unwrap()).collect())
}

/// Intake, which knows none of these tickets.
fn refusing(house: &mut House) -> JoinHandle<()> {
    let (_, nobody) = tokio::sync::mpsc::channel(1);
    let mut asks = std::mem::replace(&mut house.asks, nobody);
    tokio::spawn(async move {
        while let Some(ask) = asks.recv().await {
            let _ = ask.answer.send(Err(Refusal::Unknown(ask.action.ticket)));
        }
    })
}

async fn row(name: &str, mischief: Mischief, outcome: &'static str) {
    let (centre, url, serving) = Centre::open(mischief).await;
    let patient = Target { patience: PATIENCE, ..target(&url) };
    let mut house = House::pushing_to(patient, EVENTS as usize).await;
    let intake = refusing(&mut house);
    house.until(name, |now| now.acknowledged == EVENTS || now.error.is_some()).await;
    assert_eq!(house.pushes(outcome), 1, "{name}: {:?}", house.consumer());
    if outcome != "accepted" {
        assert_eq!(house.consumer().acknowledged, 0, "{name}: nothing moves");
    }
    house.write("ticket.cleared", 1);
    if outcome == "misconfigured" {
        // It is tried again slowly; an orderly end does not wait for that.
        house.ended().await;
    }
    let now = house.acknowledged(EVENTS + 1).await;
    assert_eq!((now.error, now.set_aside), (None, vec![]), "{name}");
    let taken = centre.taken.lock().unwrap().clone();
    assert_eq!(
        taken,
        (1..=EVENTS + 1).collect::<Vec<_>>(),
        "{name}: what is acknowledged is with the centre"
    );
    let said = centre.said.load(Ordering::SeqCst);
    assert!(said <= READ_MAX, "{name}: {said} bytes were read");
    serving.abort();
    intake.abort();
}

#[tokio::test]
async fn whatever_the_centre_does_nothing_is_lost_and_all_goes_on_when_it_is_well() {
    let all = async {
        let rows =
            TABLE.iter().map(|(name, does, outcome)| tokio::task::spawn_local(row(name, *does, outcome)));
        for (done, (name, ..)) in rows.collect::<Vec<_>>().into_iter().zip(TABLE) {
            if let Err(error) = done.await {
                panic!("{name}: {error}");
            }
        }
    };
    tokio::task::LocalSet::new().run_until(all).await;
}

#[tokio::test]
async fn a_centre_whose_tls_is_broken_gets_nothing_and_loses_nothing() {
    let hello: [&'static [u8]; 4] = [
        b"",
        b"HTTP/1.1 400 plain\r\n\r\n",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"\x16\x03\x03\x00\x04\x02\x00\x00\x00",
    ];
    for said in hello {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        let house = House::pushing_to(Target { patience: PATIENCE, ..target(&url) }, 2).await;
        let (mut peer, _) = timeout(SOON, listener.accept()).await.unwrap().unwrap();
        let mut some = [0; 5];
        peer.read_exact(&mut some).await.unwrap();
        assert_eq!(some[0], 0x16, "nothing but a TLS greeting is said");
        peer.write_all(said).await.unwrap();
        drop(peer);
        let now = house.until("shown", |now| now.error.is_some()).await;
        assert_eq!((now.acknowledged, house.pushes("again")), (0, 1), "{now:?}");
    }
}

/// Large requests to a centre, or a line, that never answers those: they become smaller until they get through.
#[tokio::test]
async fn a_line_that_bears_only_small_requests_gets_small_ones() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let taken = Arc::new(Mutex::new(BTreeSet::new()));
    let book = taken.clone();
    let serving = tokio::spawn(async move {
        loop {
            let (mut peer, _) = listener.accept().await.unwrap();
            let book = book.clone();
            tokio::spawn(async move {
                while let Some(seqs) = request(&mut peer).await {
                    if seqs.len() > 5 {
                        std::future::pending::<()>().await;
                    }
                    book.lock().unwrap().extend(seqs);
                    peer.write_all(OK.as_bytes()).await.ok()?;
                }
                Some(())
            });
        }
    });
    let hasty = Target { patience: Duration::from_millis(150), batch: 10, ..target(&url) };
    let house = House::pushing_to(hasty, 20).await;
    house.acknowledged(20).await;
    assert_eq!(*taken.lock().unwrap(), (1..=20).collect::<BTreeSet<_>>());
    serving.abort();
}
