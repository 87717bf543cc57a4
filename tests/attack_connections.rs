//! Promise: nobody keeps others from being answered by connections of their own: silent, slow, many or large. While each is tried,
//! a healthy request is answered in time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod certs;
mod gateway;

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gateway::Gateway;

/// A head has to be there within 10 s; a busy machine adds to it.
const SHOWN_OUT: Duration = Duration::from_secs(25);
/// A healthy request, on a machine that is busy with other tests.
const ANSWERED: Duration = Duration::from_secs(5);
const HEALTHY: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

fn connect(api: &str) -> TcpStream {
    let stream = TcpStream::connect(api).unwrap();
    stream.set_read_timeout(Some(SHOWN_OUT)).unwrap();
    stream
}

fn healthy(api: &str) -> Duration {
    let asked = Instant::now();
    let mut stream = connect(api);
    stream.write_all(HEALTHY).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    asked.elapsed()
}

/// Asks again and again while something is tried; each answer has to come in time.
fn while_others_are_answered<T>(api: &str, tried: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                longest = longest.max(healthy(api));
                thread::park_timeout(Duration::from_millis(100));
            }
            longest
        });
        let came = tried();
        over.store(true, Ordering::Relaxed);
        let longest = asking.join().unwrap();
        assert!(longest < ANSWERED, "a healthy request took {longest:?}");
        came
    })
}

fn started(rest: &str) -> (Gateway, String) {
    let mut gateway = Gateway::new("cp-017");
    if !rest.is_empty() {
        certs::ca(gateway.dir(), "ca");
        certs::signed(gateway.dir(), "box", "ca", 30);
    }
    gateway.configure(rest);
    gateway.spawn();
    let api = gateway.until("the API listens", || gateway.api());
    (gateway, api)
}

/// KiB.
fn resident(gateway: &Gateway) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Until the other side closes; what it said. `each` is sent again and again meanwhile.
fn shown_out(mut stream: TcpStream, first: &[u8], each: &[u8]) -> Vec<u8> {
    let begun = Instant::now();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let (mut said, mut bytes) = (Vec::new(), [0; 1024]);
    stream.write_all(first).unwrap();
    while begun.elapsed() < SHOWN_OUT {
        match stream.read(&mut bytes) {
            Ok(0) => return said,
            Ok(heard) => said.extend(&bytes[..heard]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if stream.write_all(each).is_err() {
                    return said;
                }
            }
            Err(_) => return said,
        }
    }
    panic!("still there after {SHOWN_OUT:?}");
}

/// All of these take as long as a head may: they are tried side by side.
#[test]
fn who_is_silent_slow_or_many_is_shown_out_and_holds_up_nobody() {
    thread::scope(|scope| {
        scope.spawn(silent_and_dripping);
        scope.spawn(handshakes_that_are_never_made);
        scope.spawn(two_hundred_silent_ones);
    });
}

fn silent_and_dripping() {
    let (_gateway, api) = started("");
    while_others_are_answered(&api, || {
        thread::scope(|scope| {
            scope.spawn(|| assert_eq!(shown_out(connect(&api), b"", b""), b"", "silent"));
            let head = b"GET /healthz HTTP/1.1\r\nX-Slow: ";
            scope.spawn(|| assert_eq!(shown_out(connect(&api), head, b"a"), b"", "a head that drips"));
        });
    });
}

fn handshakes_that_are_never_made() {
    let (_gateway, api) = started("tls = { cert = \"box.pem\", key = \"box-key.pem\" }\n");
    // What is answered in the clear is an answer, too: a 400.
    let healthy = || {
        let asked = Instant::now();
        let mut stream = connect(&api);
        stream.write_all(HEALTHY).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        asked.elapsed()
    };
    thread::scope(|scope| {
        let silent = scope.spawn(|| shown_out(connect(&api), b"", b""));
        let dripping =
            scope.spawn(|| shown_out(connect(&api), &[0x16, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3], &[7]));
        let mut longest = Duration::ZERO;
        while !(silent.is_finished() && dripping.is_finished()) {
            longest = longest.max(healthy());
            thread::park_timeout(Duration::from_millis(100));
        }
        assert_eq!(silent.join().unwrap(), b"");
        assert_eq!(dripping.join().unwrap(), b"");
        assert!(longest < ANSWERED, "a healthy request took {longest:?}");
    });
}

fn two_hundred_silent_ones() {
    let (_gateway, api) = started("");
    let silent: Vec<TcpStream> = (0..200).map(|_| connect(&api)).collect();
    // All of this machine's may be taken: then who comes next waits until the silent ones have to go.
    assert!(healthy(&api) < SHOWN_OUT);
    drop(silent);
    assert!(healthy(&api) < ANSWERED);
}

#[test]
fn a_body_of_a_gigabyte_is_refused_after_a_little_of_it() {
    let (gateway, api) = started("");
    healthy(&api);
    let before = resident(&gateway);
    let sent = while_others_are_answered(&api, || {
        let mut stream = connect(&api);
        let head =
            "PUT /api/v1/consumers/crm HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
        write!(stream, "{head}Content-Length: 1073741824\r\n\r\n").unwrap();
        let mut hears = stream.try_clone().unwrap();
        let answer = thread::spawn(move || {
            let mut first = [0; 16];
            let _ = hears.read_exact(&mut first);
            String::from_utf8_lossy(&first).into_owned()
        });
        let (chunk, mut sent) = ([b' '; 64 << 10], 0);
        while sent < 1 << 30 && stream.write_all(&chunk).is_ok() {
            sent += chunk.len();
        }
        assert_eq!(answer.join().unwrap(), "HTTP/1.1 413 Pay");
        sent
    });
    let grown = resident(&gateway).saturating_sub(before);
    assert!(sent < 32 << 20, "{sent} bytes were taken");
    assert!(grown < 8 << 10, "{grown} KiB more are resident");
}

/// As people and scripts ask: curl waits for `100 Continue`, or sends at once, or in chunks; each time it hears why not.
#[test]
fn curl_that_would_send_a_gigabyte_hears_413() {
    for rest in ["", "tls = { cert = \"box.pem\", key = \"box-key.pem\" }\n"] {
        let (gateway, api) = started(rest);
        let scheme = if rest.is_empty() { "http" } else { "https" };
        let file = gateway.dir().join("gigabyte");
        fs::File::create(&file).unwrap().set_len(1 << 30).unwrap();
        for header in ["Expect: 100-continue", "Expect:", "Transfer-Encoding: chunked"] {
            for _ in 0..5 {
                let mut curl = Command::new("curl");
                curl.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "20"]);
                curl.args(["--cacert", "ca.pem", "-H", header, "-H", "Content-Type: application/json", "-T"]);
                curl.arg(&file).arg(format!("{scheme}://{api}/api/v1/consumers/crm"));
                let said = curl.current_dir(gateway.dir()).output().unwrap();
                let told = (said.status.code(), gateway::text(&said.stdout));
                let why = gateway::text(&said.stderr);
                assert_eq!(told, (Some(0), "413".to_owned()), "{scheme}, {header}: {why}");
            }
        }
    }
}

#[test]
fn heads_that_are_too_large_are_431() {
    let (_gateway, api) = started("");
    let long = format!("X-Long: {}\r\n", "a".repeat(64 << 10));
    let many: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    while_others_are_answered(&api, || {
        for headers in [&long, &many] {
            let mut stream = connect(&api);
            let _ = write!(stream, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
            let mut first = [0; 12];
            stream.read_exact(&mut first).unwrap();
            assert_eq!(&first, b"HTTP/1.1 431");
        }
    });
}
