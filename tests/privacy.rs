//! Two hundred known cards, and the people who hold them, go in at readers, a controller and a face terminal while everything runs
//! and the log is at its most talkative. What the gateway wrote, logged, printed and sent is then searched for each of them,
//! in every form in which a program might write it: there are pseudonyms only, and in the journal's files not even these.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access_peers;
mod gateway;
mod mosquitto;
mod search;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use access_peers::{Controller, KEY, Readers, SERIAL, names, publish_lines};
use gatehouse::personal;
use gateway::Gateway;
use mosquitto::Broker;
use search::{Needles, card_forms, number_forms, text_forms};
use serde_json::{Value as Json, json};

const CARDS: u32 = 200;
/// So many of them at readers too, which are asked again and again.
const READ: u32 = 50;
const FACILITY: u32 = 100;
/// Its second byte, 0xC5, is no letter of sealed text, no digit of a time, and no place in a page of SQLite: the forms of
/// these cards stand nowhere by accident.
const FIRST: u32 = 50_472;
/// Of the same people at the face terminal; other cards.
const IC_FIRST: u64 = 3_518_447_100;
const CODE: &str = "7391573915";
const STORE_KEY: &str = "5c1f8e0b7d2a49638150f4e6c2b7a9d3";
/// Who puts something into maintenance, and why.
const BY: &str = "Technician-Zhuge-QX";
const NOTE: &str = "Lintel-Rehung-QX";
const READER_KEY: &str = "9f0b1d2c3e4a5968778695a4b3c2d1e0";

struct Person {
    custom_id: String,
    name: String,
    phone: String,
    citizen: String,
    ic: String,
}

fn people() -> Vec<Person> {
    let person = |n: u64| Person {
        custom_id: format!("resident-88{n:02}-QX"),
        name: format!("诸葛{}亮", char::from_u32(0x6850 + n as u32).unwrap()),
        phone: format!("1380427{:04}", 1357 + n * 7),
        citizen: format!("31010119880{:07}", 3_141_592 + n * 11),
        ic: (IC_FIRST + n).to_string(),
    };
    (0..u64::from(CARDS)).map(person).collect()
}

/// As controllers show it and as it is printed on the card.
fn shown(card: u32) -> u32 {
    FACILITY * 100_000 + card
}

fn needles() -> Needles {
    let mut needles = Needles::default();
    for card in FIRST..FIRST + CARDS {
        card_forms(&mut needles, FACILITY, card);
        number_forms(&mut needles, u64::from(shown(card)));
    }
    for person in people() {
        number_forms(&mut needles, person.ic.parse().unwrap());
        number_forms(&mut needles, person.phone.parse().unwrap());
        for text in [&person.custom_id, &person.name, &person.citizen, &person.phone, &person.ic] {
            text_forms(&mut needles, text);
        }
    }
    for secret in [CODE, KEY, STORE_KEY, READER_KEY, &READER_KEY.to_uppercase()] {
        text_forms(&mut needles, secret);
    }
    needles
}

// --- the world around it ---

/// All that the CRM is sent, byte for byte.
#[derive(Clone, Default)]
struct Crm(Arc<Mutex<Vec<u8>>>);

impl Crm {
    fn start() -> (Self, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let crm = Self::default();
        let serving = crm.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                std::thread::spawn(move || serving.serve(&stream));
            }
        });
        (crm, port)
    }

    fn serve(&self, mut stream: &std::net::TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let mut length = 0;
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).ok()? == 0 {
                    return None;
                }
                self.0.lock().unwrap().extend(line.bytes());
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().ok()?;
                }
                if line == "\r\n" {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            self.0.lock().unwrap().extend(body);
            let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
            stream.write_all(answer.as_bytes()).ok()?;
        }
    }

    fn heard(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

fn house(broker: u16, readers: u16, controller: u16, listen: u16, crm: u16) -> Gateway {
    let mut house = Gateway::new("cp-017");
    std::fs::create_dir(house.dir().join("secrets")).unwrap();
    std::fs::write(house.dir().join("secrets/privacy"), KEY).unwrap();
    std::fs::write(house.dir().join("secrets/reader"), READER_KEY).unwrap();
    std::fs::write(house.dir().join("secrets/store"), STORE_KEY).unwrap();
    // Everybody may say everything.
    house.set("GATEHOUSE_LOG", "trace,gatehouse=trace");
    house.configure(&format!(
        r#"
        [privacy]
        key = {{ file = "secrets/privacy" }}
        store_key = {{ file = "secrets/store" }}
        [[consumer]]
        name = "central"
        [[sync]]
        name = "crm"
        url  = "http://127.0.0.1:{crm}/events"
        [[channel]]
        id   = "broker"
        type = "mqtt"
        url  = "mqtt://127.0.0.1:{broker}"
        [[channel]]
        id      = "readers"
        type    = "osdp"
        address = "127.0.0.1:{readers}"
        [[channel]]
        id      = "gates"
        type    = "uhppote"
        address = "127.0.0.1:{controller}"
        listen  = "127.0.0.1:{listen}"
        [[device]]
        id      = "lobby"
        channel = "broker"
        profile = "face-terminal"
        topic   = "mqtt/face/1026700"
        [[device]]
        id      = "b3-reader"
        channel = "readers"
        profile = "osdp-reader"
        unit    = 5
        poll    = "50ms"
        [[device]]
        id      = "b4-reader"
        channel = "readers"
        profile = "osdp-reader"
        unit    = 6
        key     = {{ file = "secrets/reader" }}
        poll    = "50ms"
        [[device]]
        id      = "gate"
        channel = "gates"
        profile = "uhppote"
        serial  = {SERIAL}
        doors   = 1
        poll    = "200ms"
        [[rule]]
        id     = "turned-away"
        point  = "*.access"
        equals = "denied"
        class  = "planned"
        level  = 3
        "#
    ));
    house
}

/// What a terminal says of each of them, and what no terminal should say.
fn messages() -> String {
    let mut lines = Vec::new();
    for (n, person) in people().iter().enumerate() {
        let record = |number: usize, more: Json| {
            let mut info = json!({
                "RecordID": number.to_string(), "facesluiceId": "1026700", "PersonType": "0", "PushType": 0,
                "time": "2026-04-10 10:00:07", "telnum": person.phone, "idCard": person.citizen,
                "notes": {"holder": person.name, "phones": [person.phone, person.phone]},
                "unheard-of": [person.ic, {"deep": {"phone": person.phone.parse::<u64>().unwrap()}}],
                "pic": "data:image/jpeg;base64,/9j/4AAQ",
            });
            info.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"operator": "RecPush", "messageId": format!("m{number}"), "info": info}).to_string()
        };
        let n = n * 10;
        lines.push(record(
            n + 1,
            json!({"customId": person.custom_id, "personName": person.name, "RFIDCard": person.ic, "VerifyStatus": "1"}),
        ));
        // Not registered: only the card is known.
        lines.push(record(n + 2, json!({"RFIDCard": person.ic, "VerifyStatus": "3"})));
        lines.push(record(
            n + 3,
            json!({"persionName": person.name, "VerifyStatus": "2", "cardNum2": person.ic}),
        ));
        // Cut off, of another kind, with numbers that are none, or no record at all.
        let whole = record(n + 4, json!({"personName": person.name, "VerifyStatus": "1"}));
        let cut = whole.char_indices().nth(whole.chars().count() / 2).unwrap().0;
        lines.push(whole[..cut].to_owned());
        lines.push(
            json!({"operator": person.name, "info": {"RecordID": person.phone, "who": person.ic}})
                .to_string(),
        );
        lines.push(json!({"operator": "RecPush", "info": person.phone, "card": person.ic}).to_string());
        let strange = json!({"RecordID": {"of": person.phone}, "VerifyStatus": person.ic, "PersonType": person.name,
            "time": person.phone, "RFIDCard": [person.ic], "customId": {"id": person.custom_id}});
        lines.push(json!({"operator": "RecPush", "info": strange}).to_string());
        lines.push(format!("{} {} {}", person.name, person.phone, person.ic));
    }
    lines.join("\n") + "\n"
}

/// Wires that break in the middle: answers lost, a controller that is not one, a reader that dies.
fn trouble(readers: &mut Readers, listen: u16, broker: &Broker) {
    readers.tell("deaf 4");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for card in FIRST..FIRST + CARDS {
        let mut event = [0; 64];
        event[..2].copy_from_slice(&[0x17, 0x20]);
        event[4..8].copy_from_slice(&SERIAL.to_le_bytes());
        event[8..12].copy_from_slice(&card.to_le_bytes());
        event[16..20].copy_from_slice(&shown(card).to_le_bytes());
        socket.send_to(&event, ("127.0.0.1", listen)).unwrap();
        event[4..8].copy_from_slice(&shown(card).to_le_bytes());
        socket.send_to(&event, ("127.0.0.1", listen)).unwrap();
        socket.send_to(&event[..41], ("127.0.0.1", listen)).unwrap();
        socket.send_to(format!("card {}", shown(card)).as_bytes(), ("127.0.0.1", listen)).unwrap();
    }
    for person in people().iter().take(10) {
        let info = json!({"facesluiceId": person.phone, "name": person.name});
        broker.publish(
            "mqtt/face/heartbeat",
            &json!({"operator": "HeartBeat", "info": info}).to_string(),
            &[],
        );
        let snap = json!({"operator": "StrSnapPush", "info": {"SnapID": person.phone, "name": person.name}});
        broker.publish("mqtt/face/1026700/Snap", &snap.to_string(), &[]);
    }
}

/// A technician who looks at everything, and what they are shown.
fn look_around(house: &Gateway) -> Vec<u8> {
    let api = house.api().unwrap();
    let mut seen = Vec::new();
    for path in
        ["/", "/metrics", "/readyz", "/api/v1/devices", "/api/v1/points", "/api/v1/tickets?limit=1000"]
    {
        seen.extend(house.text(path).bytes());
    }
    seen.extend(house.text("/api/v1/events?after=0&limit=1000").bytes());
    for point in ["b3-reader.access", "gate.access", "lobby.access", "gate.door-1"] {
        seen.extend(house.text(&format!("/api/v1/points/{point}/history")).bytes());
    }
    for device in ["b3-reader", "b4-reader", "gate", "lobby"] {
        let (_, shown) = house.post(&format!("/api/v1/devices/{device}/read"), &json!({}));
        seen.extend(shown.to_string().bytes());
    }
    let url = format!("http://{api}");
    for words in [
        &["events", "--after", "0"][..],
        &["events", "--json"],
        &["status"],
        &["status", "--json"],
        &["tickets", "--all"],
        &["history", "gate.access"],
        &["history", "b3-reader.access", "--json"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
        command.args(words).args(["--url", &url]).env("GATEHOUSE_LOG", "trace,gatehouse=trace");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        seen.extend(output.stdout);
        seen.extend(output.stderr);
    }
    seen
}

/// What the gateway says to the broker.
struct Ear {
    process: std::process::Child,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Drop for Ear {
    fn drop(&mut self) {
        // By itself it would seek its broker for ever.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn listen_in(broker: &Broker) -> Ear {
    let port = broker.port.to_string();
    let mut process = Command::new("mosquitto_sub")
        .args(["-h", "127.0.0.1", "-p", &port, "-i", "ear", "-v", "-t", "mqtt/face/+", "-t", "gatehouse/#"])
        // What terminals share; only they speak there.
        .args(["-T", "mqtt/face/heartbeat", "-T", "mqtt/face/basic"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let told = heard.clone();
    let mut stdout = process.stdout.take().unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(n @ 1..) = stdout.read(&mut bytes) {
            told.lock().unwrap().extend(&bytes[..n]);
        }
    });
    gateway::until(|| (broker.logged("Sending SUBACK to ear") > 0).then_some(())).unwrap();
    Ear { process, heard }
}

/// Every file below, but for the two secrets and what was configured.
fn files(dir: &Path, into: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "secrets" {
            files(&path, into);
        } else if path.is_file() {
            let content = std::fs::read(&path).unwrap();
            // The reserve is room and says nothing.
            if content.iter().any(|byte| *byte != 0) {
                into.push((path.display().to_string(), content));
            }
        }
    }
}

/// All words that look like a pseudonym: one letter, a hyphen and sixteen hexadecimal digits.
fn pseudonyms_in(bytes: &[u8]) -> BTreeSet<String> {
    let looks_so = |word: &&[u8]| {
        matches!(word[0], b'c' | b'k' | b'p')
            && word[1] == b'-'
            && word[2..].iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
    };
    bytes.windows(18).filter(looks_so).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

fn pseudonyms_told(house: &Gateway) -> BTreeSet<String> {
    let mut told = BTreeSet::new();
    let mut after = "0".to_owned();
    loop {
        let Some(page) = house.get(&format!("/api/v1/events?after={after}&limit=1000&types=access.*")) else {
            return told;
        };
        let cards =
            page["events"].as_array().unwrap().iter().filter_map(|event| event["data"]["card"].as_str());
        told.extend(cards.map(str::to_owned));
        if page["next"] == page["head"] {
            return told;
        }
        after = page["next"].as_str().unwrap().to_owned();
    }
}

/// Each field of each event that may speak of people stands on the list, and no other event has one about anybody.
fn assert_held_to_the_list(house: &Gateway) {
    let mut after = "0".to_owned();
    let mut kinds = BTreeSet::new();
    loop {
        let page = house.get(&format!("/api/v1/events?after={after}&limit=1000")).unwrap();
        for event in page["events"].as_array().unwrap() {
            let kind = event["type"].as_str().unwrap().strip_prefix("gatehouse.").unwrap();
            let fields = event["data"].as_object().unwrap().keys();
            for field in fields {
                let fits = match personal::listed(kind) {
                    Some(listed) => listed.has(field),
                    None => !["by", "note", "card", "pseudonym", "name", "phone"].contains(&field.as_str()),
                };
                assert!(fits, "{kind} has `{field}`");
            }
            kinds.insert(kind.to_owned());
        }
        if page["next"] == page["head"] {
            break;
        }
        after = page["next"].as_str().unwrap().to_owned();
    }
    for kind in ["access.card", "access.granted", "access.denied", "gateway.maintenance", "ticket.opened"] {
        assert!(kinds.contains(kind), "{kind}: {kinds:?}");
    }
}

fn await_pseudonyms(house: &Gateway, what: &str, expected: &BTreeSet<String>) {
    house.until(what, || pseudonyms_told(house).is_superset(expected).then_some(()));
}

#[test]
fn of_two_hundred_known_cards_and_their_holders_nothing_stands_in_clear_in_journal_history_logs_and_traffic()
{
    let broker = Broker::with(tempfile::tempdir().unwrap(), "max_queued_messages 10000\n");
    let said = listen_in(&broker);
    let (crm, crm_port) = Crm::start();
    let readers_port = mosquitto::free_port();
    let listen = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut readers = Readers::start(readers_port, &["5", &format!("6:{READER_KEY}")]);
    let controller = Controller::start();
    let mut house = house(broker.port, readers_port, controller.port, listen, crm_port);
    house.start();
    house.until("all devices are there", || {
        let devices = house.get("/api/v1/devices")?;
        let online = |id: &str| devices.to_string().contains(id);
        (online("gate") && devices.to_string().matches("\"online\"").count() >= 3).then_some(())
    });

    let keys = names();
    let cards: BTreeSet<String> =
        (FIRST..FIRST + CARDS).map(|card| keys.card(&shown(card).to_string()).as_str().to_owned()).collect();
    assert_eq!(cards.len(), CARDS as usize);
    let read: BTreeSet<String> =
        (FIRST..FIRST + READ).map(|card| keys.card(&shown(card).to_string()).as_str().to_owned()).collect();
    // One card is one pseudonym, at a reader in clear, at one with a secure channel and at a controller.
    for address in [5, 6] {
        readers.tell(&format!("cards {address} {FIRST} {READ}"));
        readers.tell(&format!("keys {address} {CODE}#"));
    }
    let by_reader = |house: &Gateway, device: &str| -> BTreeSet<String> {
        let told = house.get("/api/v1/events?after=0&limit=1000&types=access.card,access.granted").unwrap();
        let of = |event: &&Json| event["subject"] == format!("devices/{device}");
        let events = told["events"].as_array().unwrap().iter().filter(of);
        events.map(|event| event["data"]["card"].as_str().unwrap().to_owned()).collect()
    };
    for device in ["b3-reader", "b4-reader"] {
        house.until("a reader's cards are told", || (by_reader(&house, device) == read).then_some(()));
    }
    for card in FIRST..FIRST + CARDS {
        controller.card(shown(card), card % 2 == 0);
        controller.card(shown(card), true);
    }
    house.until("the controller's cards are told", || (by_reader(&house, "gate") == cards).then_some(()));
    await_pseudonyms(&house, "the code", &[keys.code(CODE).as_str().to_owned()].into());

    trouble(&mut readers, listen, &broker);
    publish_lines(broker.port, "mqtt/face/1026700/Rec", &messages()).wait().unwrap();
    let mut residents = Vec::new();
    for person in people() {
        residents.extend([keys.person(&person.custom_id), keys.person(&person.name), keys.card(&person.ic)]);
    }
    let residents: BTreeSet<String> = residents.iter().map(|who| who.as_str().to_owned()).collect();
    assert_eq!(residents.len(), 3 * CARDS as usize);
    await_pseudonyms(&house, "the terminal's people", &residents);

    // What a technician types, a resident's number in it.
    let until = gatehouse::time::format(gatehouse::time::now() + 3_600_000);
    let note = format!("{NOTE}, 电话{}", people()[0].phone);
    let (status, told) = house
        .post("/api/v1/maintenance", &json!({"device": "lobby", "until": until, "by": BY, "note": note}));
    assert_eq!(status, 200, "{told}");
    assert_eq!(told["note"], format!("{NOTE}, 电话***57"));
    assert_held_to_the_list(&house);

    let mut shown_to_people = look_around(&house);
    // Any change makes it build anew.
    let text = std::fs::read_to_string(house.file()).unwrap();
    std::fs::write(house.file(), text + "# as before\n").unwrap();
    house.reload();
    // A reader that dies amid its cards, a broker that goes, and a fall.
    readers.tell(&format!("cards 5 {FIRST} {READ}"));
    drop(readers);
    drop(controller);
    shown_to_people.extend(look_around(&house));
    house.until("the CRM has the residents", || {
        let heard = pseudonyms_in(&crm.heard());
        residents.union(&cards).all(|who| heard.contains(who)).then_some(())
    });
    drop(broker);
    house.until("the broker is missed", || house.log().contains("the broker is gone").then_some(()));
    let mut places = Vec::new();
    files(house.dir(), &mut places); // while it runs: the write-ahead log too
    assert!(places.iter().any(|(name, _)| name.ends_with("journal.db-wal")), "{places:?}");
    assert!(house.stop().0.success());
    files(house.dir(), &mut places);
    places.push(("traffic to the CRM".into(), crm.heard()));
    places.push(("traffic to the broker".into(), said.heard.lock().unwrap().clone()));
    places.push(("what people are shown".into(), shown_to_people));

    let needles = needles();
    let (mut bytes, mut clear) = (0, Vec::new());
    for (place, content) in &places {
        bytes += content.len();
        clear.extend(needles.find(content).into_iter().take(3).map(|found| format!("{place}: {found}")));
    }
    assert!(clear.is_empty(), "in clear:\n{}", clear.join("\n"));
    println!("{} forms sought in {bytes} bytes of {} places", needles.count(), places.len());

    // The CRM is told of them by their pseudonyms; in the journal's files there is nobody at all.
    let journal: Vec<u8> =
        places.iter().filter(|(name, _)| name.contains("journal.db")).flat_map(|(_, c)| c.clone()).collect();
    let journal = String::from_utf8_lossy(&journal);
    assert!(journal.contains("access.granted") && journal.contains("~1."), "it is the journal");
    let typed = [BY.to_owned(), NOTE.to_owned()];
    let in_journal = pseudonyms_in(journal.as_bytes());
    let named: Vec<_> = residents.union(&cards).filter(|who| in_journal.contains(*who)).collect();
    assert!(named.is_empty(), "in the clear in the journal's files: {named:?}");
    assert!(!typed.iter().any(|text| journal.contains(text)), "in the clear in the journal's files");
    for place in ["traffic to the broker", "/log"] {
        let (_, content) = places.iter().rev().find(|(name, _)| name.ends_with(place)).unwrap();
        assert!(content.len() > 1000, "{place} is heard");
    }
    let log = house.log();
    for talkative in ["TRACE", "DEBUG", "gatehouse::field"] {
        assert!(log.contains(talkative), "{talkative}");
    }
}
