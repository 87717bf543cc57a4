//! Promise: an order is given once, by who may, while it is good; whatever is replayed, repeated, sent too late, too often or
//! by a server that may not, and whatever the clock does. The real binary before simulated Modbus; and intake itself under
//! sequences of chance.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod compound;
mod gateway;
mod kernel_clock;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::post;
use compound::bench::Bench;
use gatehouse::clock::Clock;
use gatehouse::order::{Order, Outcome, Role};
use gatehouse::reading::Millis;
use gatehouse::sim::modbus::{Server, Units};
use gatehouse::{store, time};
use gateway::{Gateway, beside, of_kind};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tokio::task::LocalSet;

const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;
const DAY: Millis = 24 * HOUR;

/// The daemon, with lamps behind Modbus that can be ordered on.
struct House {
    gateway: Gateway,
    units: Units,
    _server: Server,
}

/// Each has a coil, in this order.
const LAMPS: [&str; 5] = ["lamp", "gate", "vault", "bell", "shop"];

impl House {
    async fn new(id: &'static str, rest: String) -> Self {
        let units = Units::default();
        units.change(1, |unit| unit.coils = (0..5).map(|coil| (coil, false)).collect());
        let server = Server::tcp(units.clone()).await.unwrap();
        let address = server.address;
        let configured = beside(move || {
            let mut gateway = Gateway::new(id);
            let dir = gateway.dir().to_owned();
            let mut text = String::new();
            for role in ["technician", "central"] {
                let file = dir.join(role);
                fs::write(&file, format!("{role}-secret-0123456789")).unwrap();
                let file = file.display();
                text += &format!(
                    "[[api.token]]\nname = \"{role}-1\"\nrole = \"{role}\"\ntoken = {{ file = \"{file}\" }}\n"
                );
            }
            text += &format!(
                "[[channel]]\nid = \"plant\"\ntype = \"modbus-tcp\"\naddress = \"{address}\"\n\
                 [[device]]\nid = \"io\"\nchannel = \"plant\"\nunit = 1\n\
                 [[device.point]]\nid = \"lamp\"\ntable = \"coil\"\nregister = 0\ntype = \"bool\"\n"
            );
            let six_hours_on = (time::now() / HOUR + 6) % 24;
            let terms = [
                "read_back = true".to_owned(),
                "roles = [\"technician\", \"central\"]".to_owned(),
                "reason = true".to_owned(),
                "at_most = { times = 1, within = \"1h\" }".to_owned(),
                format!("hours = \"{six_hours_on:02}:00-{six_hours_on:02}:30\""),
            ];
            for ((coil, lamp), terms) in LAMPS.iter().enumerate().zip(terms) {
                text += &format!(
                    "[[device.command]]\naction = \"on\"\ntarget = \"{lamp}\"\ncoil = {coil}\nvalue = true\n{terms}\n"
                );
            }
            gateway.configure(&(text + &rest));
            // The hours are those of this clock.
            let file = fs::read_to_string(gateway.file()).unwrap();
            fs::write(gateway.file(), file.replacen("locale", "timezone = \"UTC\"\nlocale", 1)).unwrap();
            gateway.set("LD_PRELOAD", kernel_clock::adjtimex(&dir).to_str().unwrap());
            gateway.set("SYNCED_FILE", dir.join("synced").to_str().unwrap());
            fs::write(dir.join("synced"), "no").unwrap();
            let checked = gateway.ran("check");
            assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
            gateway
        });
        Self { gateway: configured.await, units, _server: server }
    }

    fn synced(&self, is: bool) {
        fs::write(self.gateway.dir().join("synced"), if is { "synced" } else { "no" }).unwrap();
    }

    fn call(&self, role: &str, path: &str, body: Option<&Json>) -> (u16, Json) {
        let url = format!("http://{}{path}", self.gateway.api().expect("it listens"));
        let mut curl = Command::new("curl");
        curl.args(["-s", "--max-time", "20", "-w", "\n%{http_code}", "-H"]);
        curl.arg(format!("Authorization: Bearer {role}-secret-0123456789"));
        if let Some(body) = body {
            curl.args(["-H", "Content-Type: application/json", "-d", &body.to_string()]);
        }
        let said = String::from_utf8(curl.arg(url).output().unwrap().stdout).unwrap();
        let (body, status) = said.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), serde_json::from_str(body).unwrap_or(Json::Null))
    }

    /// The answer, and the last word of its problem.
    fn order(&self, role: &str, lamp: &str, key: &str, more: &Json) -> (u16, String, Json) {
        let mut order = json!({ "action": "on", "target": lamp, "by": "Wang", "key": key });
        order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, body) = self.call(role, "/api/v1/devices/io/commands", Some(&order));
        let word = body["type"].as_str().and_then(|of| of.rsplit(':').next()).unwrap_or_default();
        (status, word.to_owned(), body)
    }

    fn refused(&self, role: &str, lamp: &str, key: &str, more: &Json) -> (u16, String) {
        let (status, word, _) = self.order(role, lamp, key, more);
        (status, word)
    }

    fn is_on(&self, lamp: &str) -> bool {
        let coil = LAMPS.iter().position(|of| *of == lamp).unwrap() as u16;
        let mut on = false;
        self.units.change(1, |unit| on = unit.coils[&coil]);
        on
    }

    fn all_off(&self) {
        self.units.change(1, |unit| unit.coils.values_mut().for_each(|on| *on = false));
    }

    fn told(&self, kind: &str) -> Vec<Json> {
        let (_, page) = self.call("technician", "/api/v1/events?after=0&limit=1000", None);
        of_kind(page["events"].as_array().unwrap(), kind)
    }

    /// How often each order was given, by key.
    fn executed(&self, key: &str) -> usize {
        self.told("command.executed").iter().filter(|event| event["data"]["key"] == key).count()
    }
}

fn in_a_minute() -> String {
    time::format(time::now() + MINUTE)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_given_once_by_who_may_and_only_while_it_is_good() {
    let mut house = House::new("gw-orders", String::new()).await;
    beside(move || {
        house.gateway.start();
        let soon = json!({ "expires_at": in_a_minute() });
        // A technician waits for the answer: a clock that nobody has set is enough, but not for hours.
        let (status, _, told) = house.order("technician", "lamp", "k-1", &soon);
        assert_eq!(
            (status, &told["outcome"], &told["effect"]),
            (200, &"executed".into(), &"read-back".into())
        );
        let on = |status, word: &str| (status, word.to_owned());
        assert_eq!(house.refused("central", "gate", "k-2", &soon), on(409, "clock-unsynced"));
        assert_eq!(house.refused("technician", "shop", "k-3", &json!({})), on(409, "clock-unsynced"));

        house.synced(true);
        house.gateway.until("the clock is believed", || {
            let (_, word) = house.refused("technician", "shop", "k-3", &json!({}));
            (word == "outside-hours").then_some(())
        });
        // Wrong role, no reason, too late, too far ahead, too often.
        assert_eq!(house.refused("central", "lamp", "k-4", &soon), on(403, "wrong-role"));
        let (status, _, told) = house.order("central", "gate", "k-2", &soon);
        assert_eq!((status, &told["outcome"], &told["effect"]), (200, &"executed".into(), &"unknown".into()));
        assert_eq!(house.refused("central", "gate", "k-5", &json!({})), on(400, "no-expiry"));
        let far = json!({ "expires_at": time::format(time::now() + 8 * DAY) });
        assert_eq!(house.refused("central", "gate", "k-6", &far), on(400, "too-far-ahead"));
        assert_eq!(house.refused("technician", "vault", "k-7", &json!({})), on(400, "no-reason"));
        let because = json!({ "reason": "burst pipe" });
        assert_eq!(house.refused("technician", "vault", "k-7", &because), on(200, ""));
        let past = json!({ "expires_at": time::format(time::now() - 1) });
        assert_eq!(house.refused("technician", "gate", "k-8", &past), on(410, "expired"));
        assert_eq!(house.refused("technician", "bell", "k-9", &json!({})), on(200, ""));
        assert_eq!(house.refused("technician", "bell", "k-10", &json!({})), on(429, "too-often"));

        // The same again, also after a kill: answered, and not given.
        house.all_off();
        house.gateway.kill();
        house.gateway.start();
        house.synced(true);
        for (role, lamp, key) in
            [("technician", "lamp", "k-1"), ("central", "gate", "k-2"), ("technician", "bell", "k-9")]
        {
            let (status, _, told) = house.order(role, lamp, key, &json!({}));
            assert_eq!((status, &told["outcome"]), (200, &"executed".into()), "{key}: {told}");
            assert_eq!((house.is_on(lamp), house.executed(key)), (false, 1), "{key} was given again");
        }
        assert_eq!(house.refused("technician", "gate", "k-1", &json!({})), on(409, "key-taken"));
        assert_eq!(
            house.refused("technician", "bell", "k-10", &json!({})),
            on(429, "too-often"),
            "it was counted"
        );

        // All of it is told, with who, in which role, and why.
        let told = house.told("command.executed");
        let of = |key: &str| told.iter().find(|event| event["data"]["key"] == key).unwrap()["data"].clone();
        let vault = of("k-7");
        for (name, value) in [
            ("by", "Wang"),
            ("role", "technician"),
            ("via", "technician-1"),
            ("reason", "burst pipe"),
            ("effect", "unknown"),
        ] {
            assert_eq!(vault[name], value, "{name}");
        }
        assert_eq!((&of("k-2")["role"], &of("k-2")["via"]), (&"central".into(), &"central-1".into()));
        let refused = house.told("command.refused");
        for (key, word) in [
            ("k-2", "clock-unsynced"),
            ("k-3", "outside-hours"),
            ("k-4", "wrong-role"),
            ("k-5", "no-expiry"),
            ("k-6", "too-far-ahead"),
            ("k-7", "no-reason"),
            ("k-8", "expired"),
            ("k-10", "too-often"),
        ] {
            let is = |event: &&Json| event["data"]["key"] == key && event["data"]["outcome"] == word;
            let event = refused.iter().find(is).unwrap_or_else(|| panic!("{key} {word} in {refused:#?}"));
            assert!(event["data"]["via"].is_string() && event["data"]["role"].is_string(), "{event}");
        }
    })
    .await;
}

// --- a CRM that gives orders ---

/// What it answers to each batch, and how many there were.
#[derive(Debug, Clone, Default)]
struct Centre(Arc<Mutex<(String, usize)>>);

impl Centre {
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let app = Router::new().route("/", post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        url
    }

    fn answers(&self, reply: &str) {
        reply.clone_into(&mut self.0.lock().unwrap().0);
    }

    fn batches(&self) -> usize {
        self.0.lock().unwrap().1
    }
}

async fn take(State(centre): State<Centre>, _: axum::body::Bytes) -> impl IntoResponse {
    let mut now = centre.0.lock().unwrap();
    now.1 += 1;
    ([(header::CONTENT_TYPE, "application/json")], now.0.clone())
}

fn said(lamp: &str, key: &str, expires_at: &str) -> Json {
    json!({ "device": "io", "action": "on", "target": lamp, "by": "Li", "expires_at": expires_at, "key": key })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_of_a_crm_carry_orders_only_where_the_configuration_says_so() {
    let (trusted, other) = (Centre::default(), Centre::default());
    let sync = |name: &str, url: &str, commands: bool| {
        format!("[[sync]]\nname = \"{name}\"\nurl = \"{url}\"\ncommands = {commands}\n")
    };
    let rest = sync("crm", &trusted.start().await, true) + &sync("shop", &other.start().await, false);
    let mut house = House::new("gw-replies", rest).await;
    let soon = in_a_minute();
    other.answers(&json!({ "commands": [said("gate", "other-1", &soon)] }).to_string());
    let late = time::format(time::now() - 1);
    let mut malformed = said("gate", "crm-5", &soon);
    malformed["expires_at"] = Json::Null;
    let mut commands = vec![
        said("gate", "crm-1", &soon),
        json!({ "device": "nope", "action": "on", "by": "Li", "expires_at": soon, "key": "crm-4" }),
        said("gate", "crm-2", &late),
        said("lamp", "crm-3", &soon),
        said("gate", "crm-1", &soon),
        malformed,
        json!(7),
    ];
    commands.extend((0..1000).map(|n| said("gate", &format!("many-{n}"), &late)));
    trusted.answers(&json!({ "commands": commands }).to_string());
    beside(move || {
        house.synced(true);
        house.gateway.start();
        let refused = |house: &House, key: &str| -> Vec<String> {
            let told = house.told("command.refused");
            let of = told.iter().filter(|event| event["data"]["key"] == key);
            of.map(|event| event["data"]["outcome"].as_str().unwrap().to_owned()).collect()
        };
        let words = [
            ("other-1", "not-from-there"),
            ("crm-2", "expired"),
            ("crm-3", "wrong-role"),
            ("crm-4", "unknown"),
            ("crm-5", "malformed"),
            // The first of those beyond the twenty.
            ("many-13", "too-many-orders"),
        ];
        house.gateway.until("each is given or refused", || {
            let all = words.iter().all(|(key, word)| refused(&house, key) == [*word]);
            (all && house.executed("crm-1") == 1).then_some(())
        });
        assert!(house.is_on("gate") && !house.is_on("lamp"));
        let event = house.told("command.executed").remove(0);
        let data = &event["data"];
        assert_eq!([&data["by"], &data["role"], &data["via"]], ["Li", "central", "crm"]);

        // Each of its replies says it again, also after a kill; it happens once, and there is no end of telling.
        house.all_off();
        house.gateway.kill();
        house.gateway.start();
        let before = trusted.batches();
        // Whatever is told makes a batch.
        assert_eq!(house.refused("technician", "lamp", "k-1", &json!({})).0, 200);
        house.gateway.until("it has said it again", || (trusted.batches() > before).then_some(()));
        assert_eq!(house.refused("technician", "lamp", "k-2", &json!({})).0, 200);
        assert_eq!((house.is_on("gate"), house.executed("crm-1")), (false, 1), "it was given again");
        // Deep and broken ones are no orders, and cost the push nothing.
        for reply in [
            format!("{{\"commands\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000)),
            r#"{"commands":{"device":"io"}}"#.to_owned(),
            r#"{"commands":[[],{},null,"on",{"device":{"io":1},"key":[]}]}"#.to_owned(),
        ] {
            trusted.answers(&reply);
            let key = format!("k-{}", reply.len());
            assert_eq!(house.refused("technician", "lamp", &key, &json!({})).0, 200);
        }
        let head = |house: &House| house.call("technician", "/api/v1/consumers", None).1;
        house.gateway.until("both have all of it", || {
            let now = head(&house);
            now["consumers"].as_array()?.iter().all(|one| one["lag"] == 0).then_some(())
        });
        assert!(house.gateway.log().contains("Orders of the centre are not done"), "{}", house.gateway.log());
        assert_eq!(house.executed("crm-1"), 1);
    })
    .await;
}

// --- chance ---

#[derive(Debug, Clone)]
enum Step {
    /// A new order that expires so much later; `None`: never.
    Order(Role, Option<Millis>),
    /// One of those before, once more.
    Replay(usize),
    Pass(Millis),
    /// The clock is set back by so much, and nobody says that it is right.
    Wrong(Millis),
    Right,
    /// What is old is forgotten in between.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let expires = prop_oneof![
        Just(None),
        prop_oneof![Just(-MINUTE), Just(MINUTE), Just(DAY), Just(8 * DAY)].prop_map(Some)
    ];
    let role = prop_oneof![2 => Just(Role::Technician), 1 => Just(Role::Central)];
    prop_oneof![
        4 => (role, expires).prop_map(|(role, expires)| Step::Order(role, expires)),
        4 => (0..50_usize).prop_map(Step::Replay),
        2 => prop_oneof![Just(30_000), Just(HOUR), Just(DAY), Just(9 * DAY)].prop_map(Step::Pass),
        1 => prop_oneof![Just(HOUR), Just(20 * DAY)].prop_map(Step::Wrong),
        2 => Just(Step::Right),
        2 => Just(Step::Restart),
    ]
}

/// A gateway over its restarts, and the true time.
struct World<'a> {
    dir: &'a Path,
    clock: Clock,
    bench: Bench,
    /// How far the wall clock is off.
    off: Millis,
    orders: Vec<Order>,
    fired: Vec<usize>,
}

impl<'a> World<'a> {
    fn begin(dir: &'a Path) -> Self {
        let clock = Clock::simulated(time::now(), true);
        let bench = Bench::on(clock.clone(), dir, Vec::new(), 8);
        Self { dir, clock, bench, off: 0, orders: Vec::new(), fired: Vec::new() }
    }

    async fn does(mut self, step: &Step) -> Self {
        match step {
            Step::Order(role, expires) => {
                let n = self.orders.len();
                let mut order = compound::bench::order("open", "cell-1", &format!("k-{n}"));
                order.role = *role;
                order.expires_at = expires.map(|span| self.clock.now() - self.off + span);
                self.orders.push(order);
                self.fired.push(0);
                self.asks(n).await;
            }
            Step::Replay(n) if !self.orders.is_empty() => self.asks(n % self.orders.len()).await,
            Step::Replay(_) => {}
            Step::Pass(span) => self.clock.step(*span),
            Step::Wrong(back) => {
                self.clock.sync(false);
                self.clock.step(-back);
                self.off -= back;
            }
            Step::Right => {
                self.clock.step(-self.off);
                self.clock.sync(true);
                self.off = 0;
            }
            Step::Restart => {
                self.bench.stop().await;
                let mut ends = compound::bench::opened(self.dir);
                let now = self.clock.now();
                while ends.journal.retire_orders(now - store::ORDERS_KEPT, now).unwrap() > 0 {}
                drop(ends);
                self.bench = Bench::on(self.clock.clone(), self.dir, Vec::new(), 8);
            }
        }
        self
    }

    async fn asks(&mut self, n: usize) {
        let order = self.orders[n].clone();
        let wished = self.bench.wish(order.clone()).await;
        let mut answer = wished.answer;
        let deed = tokio::select! {
            deed = self.bench.deed() => deed,
            answered = &mut answer => return drop(answered.unwrap()),
        };
        self.fired[n] += 1;
        assert_eq!(self.fired[n], 1, "{order:?} was given twice");
        let right = self.off == 0 && self.clock.is_synced();
        let truth = self.clock.now() - self.off;
        if right && let Some(at) = order.expires_at {
            assert!(at > truth - 5_000, "{order:?} was given at {truth}");
        }
        assert!(
            right || order.role == Role::Technician,
            "{order:?} was given by a clock that nobody has set"
        );
        self.bench.done(&deed, Outcome::Executed { what: "taken".into() }).await;
        answer.await.unwrap().unwrap();
    }
}

#[test]
fn whatever_comes_no_order_is_given_twice_or_after_its_expiry() {
    let config =
        ProptestConfig { cases: 8, max_shrink_iters: 40, failure_persistence: None, ..Default::default() };
    proptest!(config, |(steps in prop::collection::vec(step(), 10..30))| {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(LocalSet::new().run_until(async {
            let mut world = World::begin(dir.path());
            for step in &steps {
                world = world.does(step).await;
            }
            world.bench.stop().await;
        }));
        let report = store::verify::verify(dir.path(), &[], &store::Seal::none(), store::EVENTS_KEEP_DEFAULT).unwrap();
        prop_assert!(report.holds(), "{:?}", report);
    });
}
