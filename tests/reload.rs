//! Another configuration while the daemon runs: random edits, good and bad, under load. A device that was not touched loses
//! no reading and is asked over one connection all the time; no ticket is doubled; each bad edit is refused with place and
//! cure, and changes nothing. `GATEHOUSE_EDITS` says how many there are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod gateway;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use gatehouse::sim::crm::Crm;
use gatehouse::sim::modbus::{Server, Units};
use gateway::{Gateway, beside, of_kind, text};
use serde_json::{Value as Json, json};

/// In the test command; a long run asks for more.
const EDITS_DEFAULT: usize = 20;
const POLL: Duration = Duration::from_millis(50);
/// A machine that is busy with other tests stands still for so long; a wire that begins anew is seen by its connection.
const MARGIN: Duration = Duration::from_secs(3);
/// Levels of the plant are this and the unit: no count comes that far.
const LEVELS: u16 = 60_000;
const SECRET: &str = "a-token-for-technicians";

// ---------------------------------------------------------------------------------------------- a device that counts

/// A Modbus TCP device whose one register says how often it was asked.
#[derive(Clone, Default)]
struct Counter {
    asked: Arc<Mutex<Vec<Instant>>>,
    connections: Arc<AtomicUsize>,
}

impl Counter {
    fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let counter = self.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counter.connections.fetch_add(1, Ordering::SeqCst);
                let counter = counter.clone();
                thread::spawn(move || counter.answer(stream));
            }
        });
        address
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut question = [0; 12];
        while stream.read_exact(&mut question).is_ok() {
            assert_eq!(question[7..12], [3, 0, 0, 0, 1], "one holding register, the first");
            let count = {
                let mut asked = self.asked.lock().unwrap();
                asked.push(Instant::now());
                u16::try_from(asked.len()).unwrap()
            };
            let mut answer = question[..4].to_vec();
            answer.extend([0, 5, question[6], 3, 2]);
            answer.extend(count.to_be_bytes());
            if stream.write_all(&answer).is_err() {
                return;
            }
        }
    }

    fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn longest_pause(&self) -> Duration {
        let asked = self.asked.lock().unwrap();
        asked.windows(2).map(|two| two[1] - two[0]).max().unwrap_or_default()
    }
}

// ---------------------------------------------------------------------------------------------- edits

/// The same rolls on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

/// What is edited.
#[derive(Clone)]
struct Plan {
    counter: SocketAddr,
    plant: SocketAddr,
    crm: String,
    limit: u32,
    delay_ms: u32,
    rule: String,
    /// Before the counter in the file, and behind it.
    first: BTreeSet<u8>,
    last: BTreeSet<u8>,
    roof: bool,
    batch: u32,
    token: bool,
    consumers: BTreeSet<u8>,
}

impl Plan {
    fn text(&self) -> String {
        let mut text = String::new();
        if self.token {
            text += "[[api.token]]\nname = \"tech\"\nrole = \"technician\"\ntoken = { file = \"token\" }\n";
        }
        let wires = [("steady", self.counter), ("plant", self.plant)];
        for (id, address) in wires.into_iter().chain(self.roof.then_some(("roof", self.plant))) {
            text += &format!("[[channel]]\nid = \"{id}\"\ntype = \"modbus-tcp\"\naddress = \"{address}\"\n");
        }
        let level = |unit: &u8, channel: &str, name: &str| {
            format!(
                "[[device]]\nid = \"{name}{unit}\"\nchannel = \"{channel}\"\nunit = {unit}\npoll = \"100ms\"\n\
                 [[device.point]]\nid = \"level\"\ntable = \"holding\"\nregister = 0\ntype = \"u16\"\n"
            )
        };
        text.extend(self.first.iter().map(|unit| level(unit, "plant", "d")));
        text += &format!(
            "[[device]]\nid = \"counter\"\nchannel = \"steady\"\nunit = 1\npoll = \"{}ms\"\n\
             [[device.point]]\nid = \"count\"\ntable = \"holding\"\nregister = 0\ntype = \"u16\"\n",
            POLL.as_millis()
        );
        text.extend(self.last.iter().map(|unit| level(unit, "plant", "d")));
        text.extend(self.roof.then(|| level(&9, "roof", "r")));
        text += &format!(
            "[[rule]]\nid = \"{}\"\npoint = \"*.level\"\nabove = {}\non_delay = \"{}ms\"\n",
            self.rule, self.limit, self.delay_ms
        );
        text += "[[rule]]\nid = \"counts\"\npoint = \"counter.count\"\nabove = 5\n";
        text += "[[rule]]\nid = \"moves\"\npoint = \"counter.count\"\nrises = { by = 60, within = \"1h\" }\n";
        text += &format!("[[sync]]\nname = \"crm\"\nurl = \"{}\"\nbatch = {}\n", self.crm, self.batch);
        // Where there are tokens, who pulls is named by one.
        for n in self.consumers.iter().filter(|_| !self.token) {
            text += &format!("[[consumer]]\nname = \"c{n}\"\n");
        }
        text
    }

    /// Something a technician would do.
    fn edit(&mut self, dice: &mut Dice) {
        match dice.roll(9) {
            0 => self.limit = if self.limit == 100 { 90 } else { 100 },
            1 => self.delay_ms = 50 * (1 + (self.delay_ms / 50) % 5),
            2 => self.rule = if self.rule == "high" { "too-high".into() } else { "high".into() },
            3 => toggle(&mut self.first, 2 + u8::try_from(dice.roll(2)).unwrap()),
            4 => toggle(&mut self.last, 4 + u8::try_from(dice.roll(2)).unwrap()),
            5 => self.roof = !self.roof,
            6 => self.batch = 100 + (self.batch + 1) % 400,
            7 => self.token = !self.token,
            _ if self.token => self.batch = 100 + (self.batch + 1) % 400,
            _ => toggle(&mut self.consumers, u8::try_from(dice.roll(3)).unwrap()),
        }
    }
}

fn toggle(set: &mut BTreeSet<u8>, one: u8) {
    if !set.remove(&one) {
        set.insert(one);
    }
}

/// What can go wrong at the keyboard: a text, what becomes of it, and a word of the cure.
const SLIPS: &[(&str, &str)] = &[
    ("[[rule]]", "[[ruel]]"),
    ("[[device.point]]", "[[device.pont]]"),
    ("above = 5\n", "above = \"five\"\n"),
    ("above = 5\n", "abvoe = 5\n"),
    ("point = \"counter.count\"", "point = \"counter.cuont\""),
    ("channel = \"steady\"", "channel = \"stedy\""),
    ("type = \"modbus-tcp\"", "type = \"modbus-tpc\""),
    ("type = \"u16\"", "type = \"u17\""),
    ("unit = 1\n", "unit = 300\n"),
    ("poll = \"50ms\"", "poll = 50ms"),
    ("id = \"moves\"", "id = \"counts\""),
    ("batch = ", "batch = -"),
    ("[[channel]]", "[[channel]"),
    ("id = \"steady\"", "id = \"st eady\""),
];

// ---------------------------------------------------------------------------------------------- the daemon, asked

struct House {
    gateway: Gateway,
    guest: Guest,
}

/// Asks with the token, whether one is needed or not.
#[derive(Clone)]
struct Guest(String);

impl Guest {
    fn ask(&self, arguments: &[&str], path: &str) -> (u16, Json) {
        let answer = Command::new("curl")
            .args(["-s", "--max-time", "40", "-w", "\n%{http_code}", "-H"])
            .arg(format!("Authorization: Bearer {SECRET}"))
            .args(arguments)
            .arg(format!("http://{}{path}", self.0))
            .output()
            .unwrap();
        let answer = text(&answer.stdout);
        let (body, status) = answer.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), serde_json::from_str(body).unwrap_or(Json::Null))
    }

    fn get(&self, path: &str) -> Json {
        let (status, body) = self.ask(&[], path);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }
}

impl House {
    fn write(&self, rest: &str) -> String {
        self.gateway.configure(rest);
        fs::read_to_string(self.gateway.file()).unwrap()
    }

    fn running(&self) -> String {
        self.guest.get("/api/v1/configuration")["files"][0]["text"].as_str().unwrap().to_owned()
    }

    fn command(&self, words: &[&str]) -> (Option<i32>, String, String) {
        let token = self.gateway.dir().join("token");
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
        command.args(words).arg("--url").arg(format!("http://{}", self.guest.0));
        let ran = command.arg("--token-file").arg(token).output().unwrap();
        (ran.status.code(), text(&ran.stdout), text(&ran.stderr))
    }

    /// A good one: what was changed for it, in one of the three ways.
    fn reload(&self, nth: usize) -> (Vec<String>, Vec<String>) {
        let words = |json: &Json| -> Vec<String> {
            json.as_array().unwrap().iter().map(|w| w.as_str().unwrap().to_owned()).collect()
        };
        let done = if nth.is_multiple_of(3) {
            let (code, out, err) = self.command(&["reload", "--json"]);
            assert_eq!(code, Some(0), "{err}");
            serde_json::from_str(&out).unwrap()
        } else {
            let (status, done) = self.guest.ask(&["-d", r#"{"by":"Wang"}"#], "/api/v1/reload");
            assert_eq!(status, 200, "{done}");
            done
        };
        (words(&done["changed"]), words(&done["restarted"]))
    }

    /// A bad one: refused, with a place in its file and a cure for each.
    fn is_refused(&self, nth: usize) {
        if nth.is_multiple_of(3) {
            let (code, _, err) = self.command(&["reload"]);
            assert_eq!(code, Some(78), "{err}");
            let place = format!("{}:", self.gateway.file().display());
            assert!(
                err.contains(&place) && err.contains('^') && err.contains("nothing has changed"),
                "{err}"
            );
            return;
        }
        let (status, refused) = self.guest.ask(&["-d", "{}"], "/api/v1/reload");
        assert_eq!(status, 422, "{refused}");
        let mistakes = refused["mistakes"].as_array().unwrap();
        assert!(!mistakes.is_empty(), "{refused}");
        for mistake in mistakes {
            assert_eq!(mistake["file"], self.gateway.file().display().to_string());
            assert!(mistake["line"].as_u64().unwrap() > 0 && mistake["column"].as_u64().unwrap() > 0);
            assert!(mistake["code"].as_str().unwrap().starts_with('E'), "{mistake}");
            assert!(!mistake["what"].as_str().unwrap().is_empty(), "{mistake}");
            assert!(!mistake["cure"].as_str().unwrap().is_empty(), "{mistake}");
        }
    }
}

/// Looks at all that is shown, again and again: nothing untouched falls back, and no number stands under another's name.
fn watch(guest: &Guest, stop: &AtomicBool) -> usize {
    let (mut looks, mut count) = (0, 0.0);
    while !stop.load(Ordering::Relaxed) {
        let devices = guest.get("/api/v1/devices");
        let counter =
            devices["devices"].as_array().unwrap().iter().find(|d| d["id"] == "counter").unwrap().clone();
        assert_eq!(counter["state"], "online", "{counter}");
        let points = guest.get("/api/v1/points");
        for point in points["points"].as_array().unwrap() {
            let id = point["id"].as_str().unwrap();
            match point["value"].as_f64() {
                Some(now) if id == "counter.count" => {
                    assert!(now >= count && now < f64::from(LEVELS), "{point} after {count}");
                    count = now;
                }
                Some(level) => {
                    let unit: u16 = id[1..2].parse().unwrap();
                    assert_eq!(level, f64::from(LEVELS + unit), "{point}");
                }
                None => assert_ne!(id, "counter.count", "{point}"),
            }
        }
        looks += 1;
    }
    looks
}

#[tokio::test]
async fn random_edits_lose_no_reading_double_no_ticket_and_refuse_what_is_wrong() {
    let edits = std::env::var("GATEHOUSE_EDITS").map_or(EDITS_DEFAULT, |edits| edits.parse().unwrap());
    let units = Units::default();
    for unit in 2..=9 {
        units.set_holding(unit, 0, LEVELS + u16::from(unit));
    }
    let plant = Server::tcp(units).await.unwrap();
    let crm = Crm::start().await.unwrap();
    let crm_url = crm.url();
    let plant_at: SocketAddr = plant.address;
    beside(move || turn_and_turn(edits, plant_at, &crm_url)).await;
    drop((plant, crm));
}

fn turn_and_turn(edits: usize, plant: SocketAddr, crm: &str) {
    let counter = Counter::default();
    let mut plan = Plan {
        counter: counter.start(),
        plant,
        crm: crm.to_owned(),
        limit: 100,
        delay_ms: 50,
        rule: "high".into(),
        first: [2].into(),
        last: [4].into(),
        roof: false,
        batch: 100,
        token: false,
        consumers: [0].into(),
    };
    let mut gateway = Gateway::new("gw-edits");
    fs::write(gateway.dir().join("token"), SECRET).unwrap();
    gateway.configure(&plan.text());
    gateway.start();
    gateway.until_told("ticket.opened", 2);
    let guest = Guest(gateway.api().unwrap());
    let mut house = House { gateway, guest };
    let stop = Arc::new(AtomicBool::new(false));
    let looking = {
        let (guest, stop) = (house.guest.clone(), stop.clone());
        thread::spawn(move || watch(&guest, &stop))
    };
    let mut dice = Dice(0x2545_F491_4F6C_DD1D);
    let (mut good, mut bad) = (0, 0);
    let mut longest = Duration::ZERO;
    for nth in 0..edits {
        if dice.roll(3) == 0 {
            let before = house.running();
            let (find, put) = SLIPS[dice.roll(SLIPS.len())];
            let whole = plan.text();
            assert!(whole.contains(find), "{find}");
            house.write(&whole.replacen(find, put, 1));
            house.is_refused(nth);
            assert_eq!(house.running(), before, "{find} → {put} changes nothing");
            bad += 1;
            continue;
        }
        plan.edit(&mut dice);
        let written = house.write(&plan.text());
        if nth % 4 == 0 {
            let path = house.gateway.file();
            let path = path.to_str().unwrap();
            let (code, told, err) = house.command(&["check", "--config", path, "--against-running"]);
            assert!(code == Some(0) && !told.contains("nothing changes"), "{told}{err}");
        }
        let began = Instant::now();
        let (changed, restarted) = house.reload(nth);
        longest = longest.max(began.elapsed());
        assert!(!changed.is_empty(), "{}", plan.text());
        assert!(!restarted.iter().any(|what| what == "steady" || what == "gateway"), "{restarted:?}");
        assert_eq!(house.running(), written);
        good += 1;
    }
    stop.store(true, Ordering::Relaxed);
    let looks = looking.join().unwrap();
    let heard = counter.count();
    // `moves` has to see a rise by 60.
    let enough = (heard + 5).max(70);
    house.gateway.until("some more is read", || (counter.count() > enough).then_some(()));
    assert!(house.gateway.stop().0.success());

    println!(
        "{good} good edits, {bad} refused, {looks} looks, {} readings, longest pause {:?}, longest reload {longest:?}",
        counter.count(),
        counter.longest_pause()
    );
    assert_eq!(counter.connections.load(Ordering::SeqCst), 1, "its wire was never begun anew");
    assert!(counter.longest_pause() < POLL + MARGIN, "{:?}", counter.longest_pause());
    each_reading_is_there(&house.gateway, counter.count());
    let events = house.gateway.journal();
    no_ticket_is_doubled(&events);
    let of_counter =
        |kind: &str| of_kind(&events, kind).iter().filter(|e| e["subject"] == "devices/counter").count();
    assert_eq!((of_counter("device.online"), of_counter("device.offline")), (1, 0));
    assert_eq!(of_kind(&events, "gateway.started").len(), 1);
    assert_eq!(of_kind(&events, "gateway.config-changed").len(), good + 1, "the first, and each good one");
    assert_eq!(of_kind(&events, "gateway.config-rejected").len(), bad);
}

/// Each count once, from the first to the last but what was under way at the stop.
fn each_reading_is_there(gateway: &Gateway, asked: usize) {
    let ends = gateway.store();
    let samples = ends.history.recent("counter.count", 0).unwrap();
    let counts: Vec<usize> = samples
        .iter()
        .map(|sample| sample.value.as_ref().and_then(gatehouse::reading::Value::number).unwrap() as usize)
        .collect();
    let all: Vec<usize> = (1..=counts.len()).collect();
    assert_eq!(counts, all, "each reading once and in order");
    assert!(counts.len() + 1 >= asked, "{} of {asked}", counts.len());
}

/// Of one rule and point never two that are not closed; and what only changed its limit is the ticket it was.
fn no_ticket_is_doubled(events: &[Json]) {
    let mut open: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for event in events {
        let kind = event["type"].as_str().unwrap();
        if !kind.starts_with("gatehouse.ticket.") {
            continue;
        }
        let ticket = &event["data"];
        let word = |name: &str| ticket[name].as_str().unwrap_or_default().to_owned();
        let (key, id) = ((word("rule"), word("point")), word("id"));
        if kind.ends_with(".opened") {
            assert!(ids.insert(id.clone()), "opened twice: {ticket}");
            assert_eq!(open.insert(key, id), None, "a second one: {ticket}");
        } else if kind.ends_with(".closed") {
            assert_eq!(open.remove(&key), Some(id), "{ticket}");
        }
    }
    let of =
        |rule: &str| of_kind(events, "ticket.opened").iter().filter(|e| e["data"]["rule"] == rule).count();
    assert_eq!((of("counts"), of("moves")), (1, 1), "of what was not touched");
}

// ---------------------------------------------------------------------------------------------- by itself

#[tokio::test]
async fn what_a_reload_would_change_is_told_before_and_by_it() {
    let units = Units::default();
    units.set_holding(2, 0, LEVELS);
    let plant = Server::tcp(units).await.unwrap();
    let at = plant.address;
    beside(move || {
        let mut gateway = Gateway::new("gw-told");
        fs::write(gateway.dir().join("token"), SECRET).unwrap();
        let text = |limit: u32, more: &str| {
            format!(
                "[[channel]]\nid = \"plant\"\ntype = \"modbus-tcp\"\naddress = \"{at}\"\n\
                 [[device]]\nid = \"pump\"\nchannel = \"plant\"\nunit = 2\npoll = \"100ms\"\n\
                 [[device.point]]\nid = \"level\"\ntable = \"holding\"\nregister = 0\ntype = \"u16\"\n\
                 [[rule]]\nid = \"low\"\npoint = \"pump.level\"\nbelow = {limit}\n{more}"
            )
        };
        gateway.configure(&text(200, ""));
        gateway.start();
        let guest = Guest(gateway.api().unwrap());
        let house = House { gateway, guest };
        let path = house.gateway.file().to_str().unwrap().to_owned();
        let check = ["check", "--config", &path, "--against-running"];
        assert_eq!(house.command(&check).1, "nothing changes\n");
        let roof = format!("[[channel]]\nid = \"roof\"\ntype = \"modbus-tcp\"\naddress = \"{at}\"\n");
        let token = "[[api.token]]\nname = \"tech\"\nrole = \"technician\"\ntoken = { file = \"token\" }\n";
        house.write(&text(190, &format!("{roof}{token}")));
        let expected = "api: token tech added, role technician\nchannel roof: added\nrule low: below 200 → 190\nrestarts: roof\n";
        // Whoever checks need not be able to read the secrets.
        let secret = house.gateway.dir().join("token");
        let aside = house.gateway.dir().join("aside");
        fs::rename(&secret, &aside).unwrap();
        let ran = Command::new(env!("CARGO_BIN_EXE_gatehouse"))
            .args(check)
            .args(["--url", &format!("http://{}", house.guest.0)])
            .output()
            .unwrap();
        assert_eq!(gateway::text(&ran.stdout), expected, "{}", gateway::text(&ran.stderr));
        fs::rename(&aside, &secret).unwrap();
        let (code, out, err) = house.command(&["reload"]);
        assert_eq!((code, out.as_str()), (Some(0), expected), "{err}");
        assert_eq!(house.command(&check).1, "nothing changes\n");

        // Now a token is asked for, and it has to be a technician's.
        let mut bare = Command::new("curl");
        bare.args(["-s", "-o", "/dev/null", "-w", "%{http_code}"]);
        let answer = bare.arg(format!("http://{}/api/v1/configuration", house.guest.0)).output().unwrap();
        assert_eq!(gateway::text(&answer.stdout), "401");
        let told = house.guest.get("/api/v1/events?after=0&limit=1000");
        let told = told["events"].as_array().unwrap().clone();
        let changes = of_kind(&told, "gateway.config-changed").pop().unwrap()["data"]["changes"].clone();
        assert_eq!(changes[2], json!("rule low: below 200 → 190"));
    })
    .await;
}

#[test]
fn the_api_moves_to_another_port_and_who_asked_for_it_is_answered() {
    let mut gateway = Gateway::new("gw-moves");
    gateway.configure("");
    gateway.start();
    let before = gateway.api().unwrap();
    let guest = Guest(before.clone());
    // Taken: refused, and nothing has changed.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    gateway.listen = taken.local_addr().unwrap().to_string();
    gateway.configure("");
    let (status, refused) = guest.ask(&["-d", "{}"], "/api/v1/reload");
    assert_eq!(status, 422, "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("stop what listens there, or choose another port"));
    drop(taken);
    let (status, done) = guest.ask(&["-d", "{}"], "/api/v1/reload");
    assert_eq!(status, 200, "{done}");
    assert_eq!(done["restarted"], json!([]));
    let now = gateway.listen.clone();
    gateway.until("it listens there", || (gateway.api() == Some(now.clone())).then_some(()));
    assert_eq!(Guest(now).get("/readyz")["ready"], true);
    gateway.until("the old port is closed", || TcpStream::connect(&before).err());
    assert!(gateway.stop().0.success());
    let events = gateway.journal();
    assert_eq!(of_kind(&events, "gateway.started").len(), 1);
    assert_eq!(of_kind(&events, "gateway.config-rejected").len(), 1);
    assert!(Path::new(&gateway.data()).exists());
}

/// A house with a technician's token and nothing else.
fn guarded(id: &str) -> (Gateway, Guest, String) {
    let mut gateway = Gateway::new(id);
    fs::write(gateway.dir().join("token"), SECRET).unwrap();
    let token = "[[api.token]]\nname = \"tech\"\nrole = \"technician\"\ntoken = { file = \"token\" }\n";
    gateway.configure(token);
    gateway.start();
    let guest = Guest(gateway.api().unwrap());
    (gateway, guest, token.to_owned())
}

#[test]
fn a_secret_that_changes_in_its_file_alone_is_taken_ends_sessions_and_is_never_shown() {
    let (mut gateway, guest, _) = guarded("gw-secret");
    let shown = guest.get("/api/v1/configuration").to_string();
    assert!(shown.contains("file = ") && !shown.contains(SECRET), "{shown}");
    let jar = gateway.dir().join("jar");
    let with_cookie = |more: &[&str], path: &str| {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-b"]).arg(&jar).arg("-c").arg(&jar);
        text(&curl.args(more).arg(format!("http://{}{path}", guest.0)).output().unwrap().stdout)
    };
    let said = json!({ "token": SECRET }).to_string();
    assert_eq!(with_cookie(&["-d", &said], "/api/v1/session"), "204");
    assert_eq!(with_cookie(&[], "/api/v1/tickets"), "200");

    fs::write(gateway.dir().join("token"), "another-token-for-them").unwrap();
    let (status, done) = guest.ask(&["-d", "{}"], "/api/v1/reload");
    assert_eq!((status, &done["changed"]), (200, &json!(["api: token tech: another secret"])));
    assert_eq!(done["restarted"], json!([]));
    assert_eq!(guest.ask(&[], "/api/v1/tickets").0, 401, "the token of before");
    assert_eq!(with_cookie(&[], "/api/v1/tickets"), "401", "and who had logged in with it");
    assert!(gateway.stop().0.success());
    let log = gateway.log();
    assert!(!log.contains(SECRET) && !log.contains("another-token"), "{log}");
}

#[test]
fn reloads_at_one_time_follow_each_other_and_a_stop_amid_them_is_a_stop() {
    let (mut gateway, guest, token) = guarded("gw-at-once");
    gateway.configure(&format!("{token}[store]\nreadings_keep = \"3d\"\n"));
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let guest = guest.clone();
            thread::spawn(move || guest.ask(&["-d", "{}"], "/api/v1/reload"))
        })
        .collect();
    gateway.signal("HUP");
    let answers: Vec<(u16, Json)> = asking.into_iter().map(|asking| asking.join().unwrap()).collect();
    for (status, answer) in &answers {
        assert_eq!(*status, 200, "{answer}");
    }
    // One of the five did it, which may have been the signal.
    let did = answers.iter().filter(|(_, answer)| answer["changed"] != json!([])).count();
    assert!(did <= 1, "{answers:?}");
    let told = guest.get("/api/v1/events?after=0&limit=1000")["events"].as_array().unwrap().clone();
    assert_eq!(of_kind(&told, "gateway.config-changed").len(), 2, "the first start, and one reload");

    gateway.configure(&format!("{token}[store]\nreadings_keep = \"4d\"\n"));
    gateway.signal("HUP");
    assert!(gateway.stop().0.success());
    let events = gateway.journal();
    assert_eq!(of_kind(&events, "gateway.started").len(), 1);
    assert_eq!(of_kind(&events, "gateway.stopped").len(), 1);
    assert!((2..=3).contains(&of_kind(&events, "gateway.config-changed").len()));
}

/// What a stream says until it ends or that is `enough`: the last id, and the types of the journal's events.
fn followed(
    guest: &Guest,
    last: Option<&str>,
    amid: impl FnOnce(),
    enough: impl Fn(&[String]) -> bool,
) -> (Option<String>, Vec<String>) {
    let mut curl = Command::new("curl");
    curl.args(["-s", "-N", "--max-time", "40", "-H"]).arg(format!("Authorization: Bearer {SECRET}"));
    if let Some(last) = last {
        curl.arg("-H").arg(format!("Last-Event-ID: {last}"));
    }
    let mut child =
        curl.arg(format!("http://{}/api/v1/live", guest.0)).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let (mut id, mut kinds) = (last.map(str::to_owned), Vec::new());
    let mut amid = Some(amid);
    for line in &mut lines {
        if let Some(amid) = amid.take() {
            amid();
        }
        if let Some(at) = line.strip_prefix("id:") {
            id = Some(at.trim().to_owned());
        }
        let data = line.strip_prefix("data:").and_then(|data| serde_json::from_str::<Json>(data).ok());
        kinds.extend(data.and_then(|data| Some(data["type"].as_str()?.to_owned())));
        if enough(&kinds) {
            child.kill().unwrap();
            break;
        }
    }
    child.wait().unwrap();
    (id, kinds)
}

#[test]
fn who_follows_is_let_go_by_a_reload_and_coming_again_hears_of_it_once() {
    let (mut gateway, guest, token) = guarded("gw-follows");
    let reload = |days: u32| {
        gateway.configure(&format!("{token}[store]\nreadings_keep = \"{days}d\"\n"));
        assert_eq!(guest.ask(&["-d", "{}"], "/api/v1/reload").0, 200);
    };
    let mut last = None;
    let mut told = Vec::new();
    for days in 3..7 {
        let (id, kinds) = followed(&guest, last.as_deref(), || reload(days), |_| false);
        assert!(id.is_some(), "where to come again");
        (last, told) = (id, [told, kinds].concat());
    }
    // What the last one brought is told to who comes once more.
    let of = |told: &[String]| told.iter().filter(|told| told.ends_with("gateway.config-changed")).count();
    let before = of(&told);
    let enough = |kinds: &[String]| before + of(kinds) >= 4;
    let (_, kinds) = followed(&guest, last.as_deref(), || {}, enough);
    told.extend(kinds);
    assert_eq!(of(&told), 4, "{told:?}");
    assert!(gateway.stop().0.success());
}

#[test]
fn what_needs_the_whole_house_is_answered_as_to_come() {
    let (mut gateway, guest, token) = guarded("gw-whole");
    gateway.configure(&token);
    let zone =
        fs::read_to_string(gateway.file()).unwrap().replace("[api]", "timezone = \"Asia/Urumqi\"\n[api]");
    fs::write(gateway.file(), zone).unwrap();
    let (status, done) = guest.ask(&["-d", "{}"], "/api/v1/reload");
    assert_eq!((status, &done["restarted"]), (202, &json!(["gateway"])), "{done}");
    gateway.until("it runs again", || (gateway.log().matches("gatehouse runs").count() == 2).then_some(()));
    assert!(gateway.stop().0.success());
    assert_eq!(of_kind(&gateway.journal(), "gateway.started").len(), 2);
}

#[test]
fn a_secret_in_the_address_of_a_centre_is_shown_nowhere_and_what_runs_is_known_without_it() {
    let mut gateway = Gateway::new("gw-address");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sync = |query: &str| {
        format!(
            "[[sync]]\nname = \"crm\"\nurl = \"http://{closed}/e?gw=7&sig={query}&token={query}#{query}\"\n"
        )
    };
    gateway.configure(&sync(SECRET));
    gateway.start();
    let guest = Guest(gateway.api().unwrap());
    let shown = guest.get("/api/v1/configuration").to_string();
    assert!(shown.contains("/e?gw=***&sig=***&token=***#***") && !shown.contains(SECRET), "{shown}");
    let error = gateway.until("it cannot be reached", || {
        let consumers = guest.get("/api/v1/consumers").to_string();
        consumers.contains("rror").then_some(consumers)
    });
    assert!(!error.contains(SECRET), "{error}");
    let check = |more: &[&str]| {
        let mut check = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
        check.args(["check", "--config"]).arg(gateway.file()).args(more);
        let ran = check.output().unwrap();
        let all = text(&ran.stdout) + &text(&ran.stderr);
        assert!(ran.status.success() && !all.contains(SECRET), "{all}");
        all
    };
    assert!(check(&[]).contains("W914"));
    let against = ["--against-running", "--url", &format!("http://{}", guest.0)];
    assert_eq!(check(&against), "nothing changes\n");
    gateway.configure(&sync("").replace("/e?", "/events?"));
    assert_eq!(check(&against), "push crm: another url, restarts\nrestarts: push crm\n");
    assert!(gateway.stop().0.success());
    assert!(!gateway.log().contains(SECRET), "{}", gateway.log());
}
