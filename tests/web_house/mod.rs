//! A web room on a free port, with all that stands around it. Each test uses a part of it.
#![allow(dead_code)]

#[path = "../a_ticket/mod.rs"]
mod a_ticket;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatehouse::event::Draft;
use gatehouse::fingerprint::Fingerprint;
use gatehouse::live::Live;
use gatehouse::maintenance::{Call, Maintenance};
use gatehouse::metrics::Metrics;
use gatehouse::order::{Outcome, Refused, Wish};
use gatehouse::reading::{Clean, Device, DeviceId, Point, Site};
use gatehouse::rules::{Condition, Engine, Locale, Memory, Over, Plan, Rule};
use gatehouse::store::{self, Journal, Page, TicketRow};
use gatehouse::ticket::{Ask, Class, Refusal, Standard, State, Ticket, Verb};
use gatehouse::web::{self, Readiness, Role, Rooms, Sessions, Settings, Token, plan};
use serde_json::{Value as Json, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A web room on a free port, before a store on disk; intake is a task that answers by the book.
pub struct House {
    pub url: String,
    pub http: reqwest::Client,
    pub journal: Journal,
    pub epoch: String,
    pub head: watch::Sender<u64>,
    /// Receivers of the head that the house itself holds.
    own: usize,
    pub ready: watch::Sender<Readiness>,
    pub live: Arc<Live>,
    pub metrics: Metrics,
    pub stop: CancellationToken,
    pub serving: JoinHandle<std::io::Result<()>>,
    pub view: store::View,
    /// Dropping it writes what it has gathered.
    pub history: Option<store::History>,
    pub dir: tempfile::TempDir,
}

pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    /// The document, after its shape has been looked at.
    pub fn problem(&self, status: u16) -> Json {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let document = self.json();
        assert_eq!(document["status"], status);
        for member in ["type", "title", "detail"] {
            assert!(document[member].as_str().is_some_and(|t| !t.is_empty()), "{member} of {document}");
        }
        document
    }
}

impl House {
    pub async fn open() -> Self {
        Self::with_tokens(&[]).await
    }

    pub async fn with_tokens(tokens: &[(&str, Role)]) -> Self {
        Self::built(site(), plan(), tokens).await
    }

    pub async fn built(site: Site, plan: web::Plan, tokens: &[(&str, Role)]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let ends = store::open(&store::Settings::at(dir.path()), "cp-017").unwrap();
        let site = Arc::new(site);
        let live = Arc::new(Live::new(&site));
        let (head, head_seen) = watch::channel(0);
        let (ready, ready_seen) = watch::channel(Readiness { ready: true, troubles: vec![] });
        let (asks, asked) = mpsc::channel(8);
        tokio::spawn(intake(asked));
        let (wishes, wished) = mpsc::channel(8);
        tokio::spawn(orders(wished));
        let (calls, called) = mpsc::channel(8);
        tokio::spawn(maintenance(called, live.clone()));
        let metrics = Metrics::new();
        let rooms = Rooms {
            view: ends.view.clone(),
            outbox: ends.outbox,
            live: live.clone(),
            plan: Arc::new(plan),
            sessions: Sessions::default(),
            site,
            metrics: metrics.clone(),
            head: head_seen,
            asks,
            wishes,
            calls,
            lanes: HashMap::new(),
            ready: ready_seen,
            files: Arc::default(),
            reloads: mpsc::channel(1).0,
            named: vec!["central".into()],
        };
        let tokens = tokens.iter().map(|(name, role)| Token {
            name: (*name).into(),
            role: *role,
            token: Fingerprint::of(format!("{name}-secret").as_bytes()),
        });
        let settings = Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            tokens: tokens.collect(),
            closed: false,
            tls: None,
            rate: None,
        };
        let listener = web::bind(&settings).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let serving = tokio::spawn(web::serve(listener, settings, rooms, stop.clone()));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        // Once it answers, it holds what it holds.
        assert_eq!(ask(&http, "GET", &format!("{url}/healthz"), &[], "").await.status, 200);
        Self {
            url,
            http,
            own: head.receiver_count(),
            journal: ends.journal,
            epoch: ends.view.epoch().to_string(),
            head,
            ready,
            live,
            metrics,
            stop,
            serving,
            view: ends.view,
            history: Some(ends.history),
            dir,
        }
    }

    pub fn commit(&mut self, page: &Page) -> u64 {
        let head = self.journal.commit(page).unwrap();
        self.head.send_replace(head);
        head
    }

    pub fn commit_events(&mut self, kinds: &[&'static str]) -> u64 {
        self.commit(&Page { at: AT, events: kinds.iter().map(|k| draft(k)).collect(), ..Page::default() })
    }

    pub fn commit_tickets(&mut self, tickets: Vec<Ticket>) {
        let rows = tickets.into_iter().map(|ticket| TicketRow {
            subject: ticket.point.clone().unwrap_or_default(),
            life: "{}".into(),
            ticket,
        });
        self.commit(&Page { at: AT, tickets: rows.collect(), ..Page::default() });
    }

    pub fn cursor(&self, seq: u64) -> String {
        format!("{}.{seq}", self.epoch)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    pub async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        ask(&self.http, method, &format!("{}{path}", self.url), headers, body).await
    }

    /// The same request in the background.
    pub fn start_get(&self, path: &str) -> JoinHandle<Answer> {
        let (http, url) = (self.http.clone(), format!("{}{path}", self.url));
        tokio::spawn(async move { ask(&http, "GET", &url, &[], "").await })
    }

    /// Until at least so many requests wait for news, each of which holds a receiver of the head.
    pub async fn until_waiting(&self, count: usize) {
        self.until(|waiting| waiting >= count).await;
    }

    pub async fn until_waiting_at_most(&self, count: usize) {
        self.until(|waiting| waiting <= count).await;
    }

    async fn until(&self, enough: impl Fn(usize) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let waiting = self.head.receiver_count() - self.own;
            if enough(waiting) {
                return;
            }
            assert!(Instant::now() < deadline, "{waiting} requests wait");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

pub async fn ask(
    http: &reqwest::Client,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut request = http.request(method.parse().unwrap(), url).timeout(Duration::from_secs(20));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if !body.is_empty() {
        request = request.body(body.to_owned());
    }
    let response = request.send().await.unwrap();
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        text: response.text().await.unwrap(),
    }
}

/// Server-sent events as they come.
pub struct Stream {
    response: reqwest::Response,
    bytes: Vec<u8>,
}

/// One of them.
#[derive(Debug, PartialEq)]
pub struct Message {
    pub event: String,
    pub id: Option<String>,
    pub data: Json,
}

impl Stream {
    pub async fn open(house: &House, query: &str, headers: &[(&str, &str)]) -> Self {
        let mut request = house.http.get(format!("{}/api/v1/live{query}", house.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, bytes: Vec::new() }
    }

    /// `None`: it has ended.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(end) = self.bytes.windows(2).position(|two| two == b"\n\n") {
                let message: Vec<u8> = self.bytes.drain(..end + 2).collect();
                // A comment is none.
                if message != b":\n\n" {
                    return Some(Message::read(std::str::from_utf8(&message).unwrap()));
                }
                continue;
            }
            let more = tokio::time::timeout(Duration::from_secs(30), self.response.chunk()).await;
            match more.expect("nothing for 30 s") {
                Ok(Some(more)) => self.bytes.extend_from_slice(&more),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// The next of a kind; others are passed over, but not for ever.
    pub async fn next_of(&mut self, event: &str) -> Message {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < Duration::from_secs(30), "no `{event}` for 30 s");
            let message = self.next().await.unwrap_or_else(|| panic!("it ended before a `{event}`"));
            if message.event == event {
                return message;
            }
        }
    }
}

impl Message {
    fn read(text: &str) -> Self {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let data = field("data: ").unwrap_or_else(|| panic!("no data: {text}"));
        Self {
            event: field("event: ").unwrap_or_default(),
            id: field("id: "),
            data: serde_json::from_str(&data).unwrap(),
        }
    }
}

/// `curl` with these arguments before the URL: status, head and body as it printed them.
pub async fn curl(arguments: &[&str], url: String) -> (u16, String) {
    let mut command = std::process::Command::new("curl");
    command.args(["--silent", "--include", "--max-time", "20", "--noproxy", "*"]);
    command.args(arguments).arg(url);
    let done = tokio::task::spawn_blocking(move || command.output().expect("curl is installed"));
    let printed = String::from_utf8(done.await.unwrap().stdout).unwrap();
    let status = printed.split_whitespace().nth(1).and_then(|s| s.parse().ok());
    (status.unwrap_or_else(|| panic!("no answer: {printed}")), printed)
}

pub const AT: i64 = 1_795_248_000_123;

pub fn site() -> Site {
    let point = |id: &str, unit: Option<&str>| Point {
        id: id.into(),
        device: DeviceId(0),
        unit: unit.map(Into::into),
        range: None,
        deadband: 0.0,
        clean: Clean::default(),
    };
    Site {
        gateway: "cp-017".into(),
        name: "锦绣花园".into(),
        devices: vec![Device {
            place: "3号楼/地下室/水泵房".into(),
            points: 2,
            ..Device::polled("pump-1", "plant")
        }],
        points: vec![point("pump-1.pressure", Some("kPa")), point("pump-1.state", None)],
        doors: vec![],
    }
}

/// What of the configuration is shown.
pub fn plan() -> web::Plan {
    let line = plan::Line { id: "plant".into(), kind: "modbus-tcp", at: "192.0.2.10:502".into() };
    web::Plan { timezone: "Asia/Shanghai".into(), locale: "zh-CN", lines: vec![line], ..web::Plan::default() }
}

pub fn draft(kind: &'static str) -> Draft {
    Draft::new(kind, "devices/pump-1".into(), AT, &json!({ "why": "水压 <&> \"quoted\"" }))
}

pub fn ticket(id: &str, state: State, device: &str) -> Ticket {
    Ticket {
        number: format!("CP-017-{id}"),
        device: Some(device.into()),
        point: Some(format!("{device}.pressure").into()),
        place: "3号楼".into(),
        title: "3号楼: 水压低 180 kPa".into(),
        state,
        ..a_ticket::open(id, AT)
    }
}

/// Knows the ticket `t-1`, whose condition holds; `t-stuck` is never answered; others it does not know.
pub async fn intake(mut asked: mpsc::Receiver<Ask>) {
    while let Some(Ask { action, answer }) = asked.recv().await {
        let reply = match (&*action.ticket, action.verb) {
            ("t-1", Verb::Close) => Err(Refusal::ConditionHolds("CP-017-000001".into())),
            ("t-1", verb) => {
                let state = match verb {
                    Verb::Acknowledge => State::Acknowledged,
                    Verb::Start => State::InProgress,
                    _ => State::Resolved,
                };
                let mut now = ticket("t-1", state, "pump-1");
                now.revision = 2;
                now.by = Some(action.by);
                now.note = action.note;
                Ok(now)
            }
            // Dropped unanswered, as by an intake that ends.
            ("t-stuck", _) => continue,
            (_, _) => Err(Refusal::Unknown(action.ticket)),
        };
        let _ = answer.send(reply);
    }
}

/// Answers by the action; `wait` for as long as the asker does, `stuck` never, not even that it was begun.
pub async fn orders(mut wished: mpsc::Receiver<Wish>) {
    let mut kept = Vec::new();
    while let Some(Wish { order, begun, answer, .. }) = wished.recv().await {
        let why = format!("{} {} by {}", order.action, order.target, order.by);
        let reply = match order.action.as_str() {
            "open" => Ok(Outcome::Executed { what: why }),
            "set" => Ok(Outcome::ReadBack { what: why }),
            "role" => Err(Refused::WrongRole(why)),
            "why" => Err(Refused::NoReason(why)),
            "night" => Err(Refused::OutsideHours(why)),
            "often" => Err(Refused::TooOften(why, Duration::from_secs(86_400))),
            "ever" => Err(Refused::NoExpiry(why)),
            "2099" => Err(Refused::TooFarAhead(why)),
            "clock" => Err(Refused::ClockUnsynced(why)),
            "used" => Err(Refused::KeyUsed(order.key)),
            "lost" => Err(Refused::KeysLost(why)),
            "fail" => Ok(Outcome::Failed { why }),
            "hang" => Ok(Outcome::Unsure { why }),
            "forbidden" => Err(Refused::NotAllowed(why)),
            "expired" => Err(Refused::Expired("2026-11-21T08:00:00.000Z".into())),
            "taken" => Err(Refused::KeyTaken(order.key)),
            "busy" => Err(Refused::Busy(why)),
            "wait" => {
                begun.send(()).unwrap();
                kept.push((None, answer));
                continue;
            }
            "stuck" => {
                kept.push((Some(begun), answer));
                continue;
            }
            _ => continue,
        };
        let _ = answer.send(reply);
    }
}

/// The rules themselves, over the site and one rule; what rests is shown at once.
pub async fn maintenance(mut called: mpsc::Receiver<Call>, live: Arc<Live>) {
    let standard = Standard { contact: 1, on_site: 1, follow_up: 1 };
    let plan = Plan { rules: vec![rule()], standards: [standard; 3], locale: Locale::En, epoch: "e".into() };
    let mut engine = Engine::new(plan, Arc::new(site()), Memory::default(), gatehouse::time::now());
    while let Some(Call { scope, until, by, note, answer }) = called.recv().await {
        // Dropped unanswered, as by an intake that ends.
        if by == "stuck" {
            continue;
        }
        let asked = Maintenance { scope, since: gatehouse::time::now(), until, by, note };
        let answered = engine.maintain(asked);
        live.lock().set_maintenance(engine.maintenances().cloned().collect());
        let _ = answer.send(answered);
    }
}

fn rule() -> Rule {
    Rule {
        id: "pump-pressure-low".into(),
        over: Over::Points(vec![gatehouse::reading::PointId(0)]),
        condition: Condition::Below(200.0),
        limit: json!({ "below": 200.0 }),
        deadband: 0.0,
        on_delay: 0,
        off_delay: 0,
        settle: 1,
        verify: 1,
        reopen: 1,
        class: Class::Immediate,
        level: 1,
        trade: None,
        title: None,
        chatter: None,
    }
}
