//! Promise: what a stranger, a thief of a token or another site's page tries over HTTP comes to nothing, and the daemon goes
//! on. Rows of the table in docs/security.md, each against the real binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway;
mod mosquitto;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gateway::{Gateway, until};
use mosquitto::Broker;
use serde_json::Value as Json;

const PATIENCE: Duration = Duration::from_secs(30);
const MAINTENANCE: &str = "/api/v1/maintenance";
const TOKENS: [(&str, &str, &str); 3] = [
    ("central", "central", "central-token-0123456789"),
    ("li", "technician", "technician-token-0123456789"),
    ("wall", "viewer", "viewer-token-0123456789"),
];

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }
}

struct House(Gateway);

impl House {
    /// With a token of each role, and `rest` after `[api]`.
    fn start(rest: &str) -> Self {
        let mut house = Gateway::new("cp-017");
        Self::write(&house, rest);
        house.start();
        Self(house)
    }

    fn write(house: &Gateway, rest: &str) {
        let mut text = rest.to_owned();
        for (name, role, token) in TOKENS {
            let file = house.dir().join(name);
            if !file.exists() {
                fs::write(&file, token).unwrap();
            }
            text += &format!(
                "[[api.token]]\nname = \"{name}\"\nrole = \"{role}\"\ntoken = {{ file = \"{name}\" }}\n"
            );
        }
        house.configure(&text);
    }

    fn raw(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = self.opened(request);
        let mut answer = Vec::new();
        // A connection that is reset after its answer has answered.
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    fn opened(&self, request: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.0.api().unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request).unwrap();
        stream
    }

    fn ask(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        answer(&self.raw(&request(method, path, headers, body)))
    }

    fn get(&self, path: &str, token: &str) -> Answer {
        self.ask("GET", path, &[&bearer(token)], "")
    }

    /// The cookie of a session on the page.
    fn log_in(&self, token: &str) -> String {
        let said = self.ask("POST", "/api/v1/session", &[], &format!("{{\"token\":\"{token}\"}}"));
        assert_eq!(said.status, 204, "{}", said.body);
        format!("Cookie: {}", said.header("set-cookie").split(';').next().unwrap())
    }

    fn is_alive(&mut self) -> bool {
        self.0.is_running() && self.ask("GET", "/healthz", &[], "").status == 200
    }
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

fn request(method: &str, path: &str, headers: &[&str], body: &str) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|header| header.starts_with("Host:")) {
        text += "Host: 127.0.0.1\r\n";
    }
    headers.iter().for_each(|header| text += &format!("{header}\r\n"));
    if !body.is_empty() {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    (text + "\r\n" + body).into_bytes()
}

fn answer(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// Each path of the router with its methods, as its source has them.
fn routes() -> Vec<(String, Vec<&'static str>)> {
    let source = fs::read_to_string("src/web/mod.rs").unwrap();
    let methods = [("get(", "GET"), ("post(", "POST"), ("put(", "PUT"), ("delete(", "DELETE")];
    let mut routes = Vec::new();
    for call in source.split(".route(\"").skip(1) {
        let (path, rest) = call.split_once('"').unwrap();
        let rest = rest.split(".route(").next().unwrap().split(";\n").next().unwrap();
        let has = methods.iter().filter(|(word, _)| rest.contains(word)).map(|(_, method)| *method);
        routes.push((path.to_owned(), has.collect()));
    }
    for verb in ["acknowledge", "start", "resolve", "close"] {
        routes.push((format!("/api/v1/tickets/{{id}}/{verb}"), vec!["POST"]));
    }
    assert!(routes.len() > 25 && routes.iter().all(|(_, methods)| !methods.is_empty()), "{routes:?}");
    routes
}

/// With a name in place of each `{…}`.
fn filled(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect::<Vec<_>>().join("/")
}

#[test]
fn without_a_token_nothing_is_told() {
    let house = House::start("");
    let public = ["/", "/page/{*file}", "/healthz", "/readyz", "/openapi.json"];
    for (path, methods) in routes() {
        for method in methods {
            let said = house.ask(method, &filled(&path), &[], "");
            let guarded = !public.contains(&path.as_str()) && path != "/api/v1/session";
            assert_eq!(said.status == 401, guarded, "{method} {path}: {}", said.status);
            assert!(!guarded || said.header("www-authenticate") == "Bearer", "{method} {path}");
        }
    }
    for shown in ["Bearer", "Bearer ", "Basic bGk6bGk=", "Bearer sha256:00", "central-token-0123456789"] {
        let said = house.ask("GET", "/api/v1/events", &[&format!("Authorization: {shown}")], "");
        assert_eq!(said.status, 401, "{shown}");
    }
    assert_eq!(house.get("/api/v1/events", TOKENS[0].2).status, 200);
}

#[test]
fn a_role_may_what_it_may() {
    let house = House::start("");
    let [central, _, viewer] = TOKENS.map(|(.., token)| bearer(token));
    for (path, methods) in routes() {
        for method in methods.into_iter().filter(|method| *method != "GET") {
            if path == "/api/v1/session" {
                continue;
            }
            let said = house.ask(method, &filled(&path), &[&viewer], "{}");
            assert_eq!(said.status, 403, "a viewer: {method} {path}: {}", said.body);
        }
    }
    let no_technician = [
        ("POST", "/api/v1/reload"),
        ("POST", "/api/v1/devices/x/read"),
        ("POST", "/api/v1/channels/x/scan"),
        ("POST", "/api/v1/devices/x/commands"),
        ("GET", "/api/v1/configuration"),
        ("PUT", "/api/v1/consumers/wall"),
    ];
    for (method, path) in no_technician {
        let order = r#"{"action":"open","reason":"test","by":"x","key":"k","acknowledged":0}"#;
        let said = house.ask(method, path, &[&central], order);
        assert_eq!(said.status, 403, "the centre: {method} {path}: {}", said.body);
    }
}

#[test]
fn a_stolen_token_is_worth_nothing_after_rotation() {
    let house = House::start("");
    let old = bearer(TOKENS[1].2);
    let cookie = house.log_in(TOKENS[1].2);
    let head = serde_json::from_str::<Json>(&house.get("/api/v1/events?limit=1", TOKENS[0].2).body).unwrap();
    let wait = format!("/api/v1/events?wait=60&types=ticket.*&after={}", head["head"].as_str().unwrap());
    let begun = Instant::now();
    let mut open: Vec<TcpStream> = [&old, &cookie]
        .iter()
        .flat_map(|pass| {
            ["/api/v1/live", wait.as_str()].map(|path| house.opened(&request("GET", path, &[pass], "")))
        })
        .collect();
    // The streams have told their beginning, so they are open.
    for stream in [0, 2] {
        let mut first = [0; 64];
        assert!(open[stream].read(&mut first).unwrap() > 0);
    }
    // The technician turns to a token of which the box has the hash alone.
    let made = Command::new(env!("CARGO_BIN_EXE_gatehouse")).args(["token", "--json"]).output().unwrap();
    let made: Json = serde_json::from_slice(&made.stdout).unwrap();
    fs::write(house.0.dir().join("li"), made["hash"].as_str().unwrap()).unwrap();
    let hash = |token: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gatehouse"))
            .args(["token", "--hash"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.take().unwrap(), "{token}").unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    };
    assert_eq!(hash(made["token"].as_str().unwrap()).trim(), made["hash"].as_str().unwrap());
    let status = Command::new(env!("CARGO_BIN_EXE_gatehouse"))
        .args(["status", "--url", &format!("http://{}", house.0.api().unwrap()), "--token-file"])
        .arg(house.0.dir().join("li"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&status.stderr);
    assert!(status.status.code() == Some(1) && said.contains("holds the fingerprint"), "{said}");
    house.0.reload();
    for (n, stream) in open.iter_mut().enumerate() {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        let rest = answer(&rest);
        assert!(n % 2 == 0 || rest.status == 401, "{n}: {}", rest.head);
    }
    assert!(begun.elapsed() < PATIENCE, "they ended by themselves");
    for headers in [&old, &cookie] {
        assert_eq!(house.ask("GET", "/api/v1/site", &[headers], "").status, 401);
        assert_eq!(house.ask("POST", MAINTENANCE, &[headers, "X-Gatehouse: page"], "{}").status, 401);
    }
    let new = made["token"].as_str().unwrap();
    assert_eq!(house.get("/api/v1/site", new).status, 200);
    assert_eq!(house.get("/api/v1/site", TOKENS[0].2).status, 200, "the others' stay");

    let cookie = house.log_in(new);
    let mut stream = house.opened(&request("GET", "/api/v1/live", &[&cookie], ""));
    assert!(stream.read(&mut [0; 64]).unwrap() > 0);
    let ended = house.ask("DELETE", "/api/v1/session", &[&cookie, "X-Gatehouse: page"], "");
    assert_eq!(ended.status, 204);
    stream.read_to_end(&mut Vec::new()).expect("the stream ends with its session");
}

#[test]
fn guessing_teaches_nothing_and_locks_out_nobody_else() {
    let house = House::start("");
    assert_eq!(house.get("/api/v1/site", TOKENS[0].2).status, 200);
    let guess = |n: u32| house.get("/api/v1/site", &format!("guess-{n}-0123456789abcdef")).status;
    let first: Vec<u16> = (0..6).map(guess).collect();
    assert_eq!(first, [401; 6]);
    let begun = Instant::now();
    let right = house.get("/api/v1/site", TOKENS[1].2);
    let wrong = guess(7);
    if begun.elapsed() < Duration::from_millis(900) {
        assert_eq!((right.status, wrong), (429, 429), "{}", right.body);
        assert!(right.header("retry-after").parse::<u32>().unwrap() >= 1);
    }
    assert_eq!(
        house.get("/api/v1/site", TOKENS[0].2).status,
        200,
        "the centre behind the same address goes on"
    );
    let came_in = until(|| (house.get("/api/v1/site", TOKENS[1].2).status == 200).then_some(()));
    assert!(came_in.is_some(), "the pause ends");
    let log = house.0.log();
    assert_eq!(log.matches("wrong tokens are shown").count(), 1, "{log}");
    assert!(!log.contains("guess-"), "{log}");
    let metrics = house.get("/metrics", TOKENS[0].2).body;
    let counted = metrics.lines().find(|line| line.contains("api_refused_total{why=\"unauthorized\"}"));
    assert!(counted.is_some_and(|line| line.split(' ').next_back().unwrap().parse::<u64>().unwrap() >= 6));
}

#[test]
fn deep_json_is_refused() {
    let mut house = House::start("");
    let li = bearer(TOKENS[1].2);
    for (path, method) in [
        (MAINTENANCE, "POST"),
        ("/api/v1/session", "POST"),
        ("/api/v1/reload", "POST"),
        ("/api/v1/consumers/li", "PUT"),
        ("/api/v1/tickets/x/close", "POST"),
        ("/api/v1/devices/x/commands", "POST"),
    ] {
        // One that is small enough to be read, and one that is not.
        for (deep, status) in [(60_000, 400), (100_000, 413)] {
            for one in ["[", "{\"a\":"] {
                let body = one.repeat(deep / one.len());
                let said = house.ask(method, path, &[&li], &body);
                let refused = said.status == status || said.status == 404 && path.contains("/x/");
                assert!(refused || said.status == 403, "{method} {path} {deep}: {}", said.head);
            }
        }
        let said = house.ask(method, path, &[&li], &"[".repeat(100_000));
        assert!((400..500).contains(&said.status), "{}", said.head);
    }
    assert!(house.is_alive());
}

#[test]
fn no_path_leads_to_a_file() {
    let mut house = House::start("");
    for path in [
        "/page/../../../../../../etc/passwd",
        "/page/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/page/..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/page//etc/passwd",
        "/page/%2fetc%2fpasswd",
        "/page/..\\..\\..\\etc\\passwd",
        "/page/%5c..%5c..%5cetc%5cpasswd",
        "/page/%c0%ae%c0%ae/%c0%ae%c0%ae/etc/passwd",
        "/page/%e0%80%ae%e0%80%ae/etc/passwd",
        "/page/app.js%00.html",
        "//etc/passwd",
    ] {
        let said = house.ask("GET", path, &[], "");
        assert!(matches!(said.status, 400 | 404), "{path}: {}", said.head);
        assert!(!said.body.contains("root:"), "{path}");
    }
    for path in ["/api/v1/tickets/..%2f..%2fsite", "/api/v1/tickets/%00", "/api/v1/points/..%2f/history"] {
        let said = house.get(path, TOKENS[1].2);
        assert!(matches!(said.status, 400 | 404), "{path}: {}", said.head);
    }
    let sneaks = house.ask("GET", "/page/../api/v1/site", &[], "");
    assert!(matches!(sneaks.status, 400 | 401 | 404), "a path around the gate: {}", sneaks.head);
    assert!(house.is_alive());
}

#[test]
fn another_site_changes_nothing() {
    let house = House::start("");
    let cookie = house.log_in(TOKENS[1].2);
    assert!(cookie.contains("gatehouse-cp-017="), "gateways on one host have cookies of their own: {cookie}");
    let page = "X-Gatehouse: page";
    let body = "{\"place\":\"x\",\"until\":\"2030-01-01T00:00:00Z\"}";
    for headers in [
        &[cookie.as_str(), "Content-Type: text/plain", "Origin: http://evil.example"][..],
        &[cookie.as_str(), "Content-Type: application/x-www-form-urlencoded"],
        &[cookie.as_str(), page, "Origin: null"],
        &[cookie.as_str(), page, "Origin: http://127.0.0.1.evil.example"],
        &[cookie.as_str(), page, "Sec-Fetch-Site: cross-site"],
        &[cookie.as_str(), page, "Sec-Fetch-Site: same-site"],
        &[cookie.as_str(), page, "Origin: http://evil.example", "X-Forwarded-Host: 127.0.0.1"],
    ] {
        for (method, path) in
            [("POST", MAINTENANCE), ("DELETE", "/api/v1/session"), ("POST", "/api/v1/reload")]
        {
            let said = house.ask(method, path, headers, body);
            // What is not said to be JSON is not even read.
            assert!(matches!(said.status, 403 | 415), "{method} {path} {headers:?}: {}", said.body);
        }
    }
    let login = format!("{{\"token\":\"{}\"}}", TOKENS[2].2);
    for origin in ["Origin: http://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"] {
        for (kind, refused) in [("application/json", 403), ("text/plain", 415)] {
            let kind = format!("Content-Type: {kind}");
            let said = house.ask("POST", "/api/v1/session", &[&kind, origin], &login);
            assert_eq!((said.status, said.header("set-cookie")), (refused, ""), "a login for somebody else");
        }
    }
    let own = house.ask("GET", "/api/v1/site", &[&cookie], "");
    assert_eq!(own.status, 200, "the session is as it was");
    for (path, says) in [("/", "script-src 'self'"), ("/api/v1/site", "default-src 'none'")] {
        let said = house.ask("GET", path, &[&cookie], "");
        let policy = said.header("content-security-policy");
        assert!(policy.contains(says) && policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(said.header(name), value, "{path} {name}");
        }
    }

    let mut open = Gateway::new("cp-018");
    open.configure("");
    open.start();
    let open = House(open);
    for headers in [
        &["Host: evil.example"][..],
        &["Origin: http://evil.example"],
        &["Origin: null"],
        &["Sec-Fetch-Site: cross-site"],
    ] {
        let said = open.ask("POST", "/api/v1/reload", headers, "");
        assert_eq!(said.status, 403, "an API without tokens: {headers:?}: {}", said.body);
    }
}

/// A centre that answers each push so.
fn centre(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 65536]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    port
}

#[test]
fn words_from_outside_begin_no_log_line() {
    const ORDERS: &str =
        "x\n<3>forged\r\n2026-01-01T00:00:00Z ERROR forged\u{1b}[2J\u{1b}]0;forged\u{7}\u{9b}31m";
    let port = centre(
        "HTTP/1.1 403 No\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\nfrom-the-centre\n<3>forged\u{1b}[2J",
    );
    let broker = Broker::start();
    for journald in [false, true] {
        let mut house = Gateway::new("cp-017");
        house.set("GATEHOUSE_LOG", "trace");
        let log = fs::File::create(house.dir().join("log")).unwrap().metadata().unwrap();
        if journald {
            house.set("JOURNAL_STREAM", &format!("{}:{}", log.dev(), log.ino()));
        }
        fs::write(house.dir().join("crm"), "crm-token-0123456789").unwrap();
        let sync = format!(
            "[[sync]]\nname = \"crm\"\nurl = \"http://127.0.0.1:{port}/\"\ntoken = {{ file = \"crm\" }}\n"
        );
        let mqtt = format!(
            "[[channel]]\nid = \"broker\"\ntype = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{}\"\n\
             [[device]]\nid = \"leak\"\nchannel = \"broker\"\ntopic = \"site/+\"\n[[device.point]]\nid = \"wet\"\njson = \"/wet\"\n",
            broker.port
        );
        House::write(&house, &(sync + &mqtt));
        house.start();
        let house = House(house);
        let li = bearer(TOKENS[1].2);
        let said = serde_json::json!({ "by": ORDERS, "note": ORDERS });
        for (path, body) in [("/api/v1/reload", said.to_string()), (MAINTENANCE, said.to_string())] {
            house.ask("POST", path, &[&li], &body);
        }
        house.ask("GET", "/api/v1/%0a%3c3%3eforged%1b[2J", &[&li, "X-Forged: a\u{1b}[2J\u{9b}"], "");
        house.0.until("it listens to the broker", || {
            house.0.log().contains("connected to the broker").then_some(())
        });
        broker.publish("site/\u{202e}<3>forged", ORDERS, &["-r"]);
        broker.publish("site/leak", &serde_json::json!({ "wet": ORDERS }).to_string(), &["-r"]);
        house.0.until("the payload is heard", || {
            let points = serde_json::from_str::<Json>(&house.get("/api/v1/points", TOKENS[0].2).body).ok()?;
            let heard = points["points"].as_array()?.iter().find(|point| point["id"] == "leak.wet")?;
            (!heard["at"].is_null()).then_some(())
        });
        let log = house.0.until("the centre's answer is logged", || {
            let log = house.0.log();
            log.contains("from-the-centre").then_some(log)
        });
        for line in log.lines() {
            let begins = if journald {
                line.starts_with('<') && line.as_bytes()[1].is_ascii_digit() && line.as_bytes()[2] == b'>'
            } else {
                line.len() > 27 && line.starts_with("20") && line[..27].ends_with('Z')
            };
            assert!(begins, "a line that begins otherwise: {line}");
            assert!(!line.starts_with("<3>forged") && !line.starts_with("2026-01-01"), "{line}");
        }
        assert!(!log.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{log:?}");
    }
}

#[test]
fn a_request_has_one_length() {
    let mut house = House::start("");
    let li = bearer(TOKENS[1].2);
    let smuggled = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Smuggled: 1\r\n\r\n";
    // Of both the chunks count, as RFC 9112 has it, and nothing behind them does: whoever stands before us may take the other.
    let chunks = "7\r\n{\"x\":1}\r\n0\r\n\r\n";
    for heads in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        let text = format!(
            "POST {MAINTENANCE} HTTP/1.1\r\nHost: 127.0.0.1\r\n{li}\r\n{heads}\r\n{chunks}{smuggled}"
        );
        let said = house.raw(text.as_bytes());
        let text = String::from_utf8_lossy(&said);
        let first = answer(&said);
        assert!(
            first.body.contains("unknown field `x`") && first.header("connection") == "close",
            "{heads:?}: {text}"
        );
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "what came behind was answered: {heads:?}: {text}");
    }
    for (heads, body) in [
        ("Content-Length: 2\r\nContent-Length: 40\r\n", "{}"),
        ("Content-Length: +2\r\n", "{}"),
        ("Content-Length: 2, 2\r\n", "{}"),
        ("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        ("Content-Length: -1\r\n", ""),
        ("X: a\n b\r\n c\r\n", ""),
        ("Content-Length : 2\r\n", "{}"),
    ] {
        let text =
            format!("POST {MAINTENANCE} HTTP/1.1\r\nHost: 127.0.0.1\r\n{li}\r\n{heads}\r\n{body}{smuggled}");
        let said = house.raw(text.as_bytes());
        let text = String::from_utf8_lossy(&said);
        assert!(answer(&said).status == 400, "{heads:?}: {text}");
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "what came behind was answered: {heads:?}: {text}");
    }
    assert!(house.is_alive());
}

#[test]
fn a_flood_is_slowed_and_health_answers() {
    let mut house = House::start("rate = 10\n");
    let statuses: Vec<Answer> = (0..120).map(|_| house.get("/api/v1/site", TOKENS[0].2)).collect();
    let slowed = statuses.iter().filter(|answer| answer.status == 429).count();
    let good = statuses.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(slowed + good, statuses.len());
    assert!(slowed > 0 && good > 20, "{good} answered, {slowed} slowed");
    let first = statuses.iter().find(|answer| answer.status == 429).unwrap();
    assert_eq!(first.header("retry-after"), "1");
    assert!(first.body.contains("too-many-requests"), "{}", first.body);
    assert!(house.is_alive());
    let again = until(|| (house.get("/api/v1/site", TOKENS[0].2).status == 200).then_some(()));
    assert!(again.is_some(), "who waits is answered");
}

#[test]
fn a_crash_leaves_no_core() {
    let house = Gateway::new("cp-017");
    let (data, tested) = (house.data(), Command::new("id").arg("-u").output().unwrap());
    fs::create_dir(&data).unwrap();
    house.configure("");
    let is_root = tested.stdout.starts_with(b"0\n");
    let log = fs::File::create(house.dir().join("log")).unwrap();
    for path in [house.dir(), &data] {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    }
    // Not as root, to whom everything in /proc belongs anyway.
    let drop = if is_root { "setpriv --reuid 65534 --regid 65534 --clear-groups" } else { "" };
    let daemon = env!("CARGO_BIN_EXE_gatehouse");
    let run = format!("ulimit -c unlimited; exec {drop} {daemon} run --config {}", house.file().display());
    let mut child = Command::new("sh")
        .args(["-c", &run])
        .current_dir(&data)
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    house.until("it runs", || house.log().contains("gatehouse runs").then_some(()));
    let pid = child.id();
    let owner = fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:\t")).unwrap();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core: Vec<&str> =
        limits.lines().find(|l| l.starts_with("Max core")).unwrap().split_whitespace().collect();
    let written = house.until("the disk is watched", || {
        let metrics = house.text("/metrics");
        let line = metrics.lines().find(|line| line.starts_with("gatehouse_disk_written_bytes_total "))?;
        line.split(' ').nth(1)?.parse::<f64>().ok()
    });
    Command::new("kill").args(["-ABRT", &pid.to_string()]).status().unwrap();
    let ended = child.wait().unwrap();
    assert!(!ended.success());
    assert!(!uid.starts_with("0\t"), "it should not run as root: {uid}");
    assert_eq!(owner, 0, "what is not dumpable belongs to root, not to its user");
    assert_eq!(&core[4..6], ["0", "0"], "{limits}");
    assert!(written >= 0.0);
    let files = [house.dir(), &data].map(|dir| fs::read_dir(dir).unwrap());
    let cores = files
        .into_iter()
        .flatten()
        .filter(|f| f.as_ref().unwrap().file_name().to_string_lossy().starts_with("core"));
    assert_eq!(cores.count(), 0);
}
