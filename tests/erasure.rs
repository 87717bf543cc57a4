//! One person is erased: no event, no table and no byte of the files names them any more, the chain holds, and the centre
//! is told. Kinds that are kept for less long say no more than what they were.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use gatehouse::event::{Draft, Kinds};
use gatehouse::order::{Order, Outcome};
use gatehouse::reading::Millis;
use gatehouse::secret::Secret;
use gatehouse::store::{self, Asked, Ends, Kind, OrderRow, Page, Seal, Settings, verify};
use gatehouse::time;
use gateway::Gateway;
use serde_json::{Value as Json, json};

const DAY: Millis = 24 * 3600 * 1000;
const T0: Millis = 1_763_712_000_000;
const WHO: &str = "c-0123456789abcdef";
const OTHER: &str = "c-fedcba9876543210";

fn key() -> Seal {
    Seal::new(Some(&Secret::new("5c1f8e0b7d2a49638150f4e6c2b7a9d3")), &[]).unwrap()
}

fn open(dir: &Path) -> Ends {
    open_with(dir, &Seal::none())
}

fn open_with(dir: &Path, seal: &Seal) -> Ends {
    let settings = Settings::at(dir);
    store::open_sealed(&settings, "cp-017", seal).unwrap()
}

/// Each tenth is theirs.
fn write(ends: &mut Ends, count: u64) {
    let from = ends.journal.head();
    let numbers: Vec<u64> = (from + 1..=from + count).collect();
    for some in numbers.chunks(500) {
        let draft = |n: &u64| {
            let card = if n.is_multiple_of(10) { WHO } else { OTHER };
            let data = json!({ "door": "b3", "card": card, "record": n.to_string() });
            Draft::new("access.granted", "devices/reader".into(), T0 + *n as Millis, &data)
        };
        let events = some.iter().map(draft).collect();
        ends.journal
            .commit(&Page { at: T0 + some[0] as Millis, synced: true, events, ..Page::default() })
            .unwrap();
    }
}

fn told(ends: &Ends) -> Vec<Json> {
    let slice = ends.view.events(0, 100_000, &Kinds::default()).unwrap();
    slice.events.iter().map(|event| serde_json::from_str(&event.json).unwrap()).collect()
}

fn erase(ends: &mut Ends) -> store::Erased {
    let asked = Asked { pseudonym: WHO.into(), by: "Wang".into(), reason: Some("has moved out".into()) };
    ends.outbox.erase(&asked, T0 + DAY).unwrap();
    loop {
        let erased = ends.journal.erase_on(T0 + DAY, true).unwrap().expect("it is under way");
        if erased.told.is_some() {
            return erased;
        }
        assert!(ends.journal.is_erasing());
    }
}

/// Files of the directory in which somebody who looks finds them.
fn files_with(dir: &Path, who: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let bytes = fs::read(entry.path()).unwrap_or_default();
        if bytes.windows(who.len()).any(|some| some == who.as_bytes()) {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found
}

#[test]
fn a_person_goes_from_events_tables_and_files_and_the_chain_holds() {
    a_person_goes(&Seal::none());
}

#[test]
fn a_person_goes_from_a_journal_that_is_sealed() {
    a_person_goes(&key());
}

fn a_person_goes(seal: &Seal) {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open_with(dir.path(), seal);
    ends.journal.keep_consumers(&[("crm".into(), Kind::Push, true)]).unwrap();
    write(&mut ends, 3000);
    let order = Order {
        key: "k".into(),
        device: "lock".into(),
        action: "open".into(),
        target: "1".into(),
        reason: Some(format!("for {WHO}")),
        by: "Wang".into(),
        role: gatehouse::order::Role::Technician,
        via: "api".into(),
        expires_at: None,
    };
    let row = OrderRow {
        order,
        begun_at: T0,
        ended: Some((T0, Outcome::of("executed", "unknown", String::new()))),
    };
    ends.journal.commit(&Page { at: T0, synced: true, orders: vec![row], ..Page::default() }).unwrap();
    ends.outbox.settle("crm", 1500, T0).unwrap();
    ends.outbox.set_aside("crm", 1501, &format!("422: {WHO}?"), T0).unwrap();
    fs::write(dir.path().join("journal.db.left"), WHO).unwrap();
    let before = told(&ends);
    let rewritten = ends.outbox.rewritten();

    let erased = erase(&mut ends);
    assert_eq!((erased.events, erased.told), (300, Some(3001)));
    assert!(ends.outbox.rewritten() > rewritten, "what was read before is out of date");
    let after = told(&ends);
    for (n, (was, is)) in before.iter().zip(&after).enumerate() {
        if (n + 1) % 10 > 0 {
            assert_eq!(was, is);
            continue;
        }
        for field in ["id", "source", "type", "subject", "time", "sequence", "clock", "specversion"] {
            assert_eq!(was[field], is[field], "{field} of {n}");
        }
        assert_eq!((&is["data"], &is["record"]), (&Json::Null, &was["data"]["record"]));
        assert_eq!(is["erased"], "2025-11-22T08:00:00.000Z");
    }
    let last = after.last().unwrap();
    assert_eq!(last["type"], "gatehouse.gateway.erased");
    let data = json!({ "pseudonym": WHO, "events": 300, "by": "Wang", "reason": "has moved out" });
    assert_eq!(last["data"], data);
    let pending = ends.outbox.pending("crm", 2000, &Kinds::default()).unwrap();
    assert!(pending.slice.events.iter().any(store_stub), "what the centre did not have it gets as stubs");
    assert_eq!(ends.journal.order("k").unwrap().unwrap().order.reason.as_deref(), Some("for erased"));
    assert_eq!(ends.journal.last_records().unwrap(), [("devices/reader".to_owned(), "3000".to_owned())]);
    for said in [WHO, "has moved out"] {
        let found = files_with(dir.path(), said);
        if seal.has_keys() {
            assert_eq!(found, Vec::<String>::new(), "what tells the centre whom is sealed as well");
        } else {
            assert_eq!(found, ["journal.db"], "the event that tells the centre whom");
        }
    }

    // The centre has to have it.
    assert!(!ends.journal.forget_erased(T0 + DAY, true).unwrap());
    ends.outbox.settle("crm", 3001, T0 + DAY).unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while !ends.journal.forget_erased(T0 + DAY, true).unwrap() {
        assert!(Instant::now() < end, "every consumer has it");
        std::thread::sleep(Duration::from_millis(50));
    }
    let last = told(&ends);
    let [stub, heard] = last.last_chunk().unwrap();
    assert_eq!((&stub["type"], &stub["data"]), (&json!("gatehouse.gateway.erased"), &Json::Null));
    let data = json!({
        "from": 3001, "to": 3001, "types": ["gateway.erased"], "erased": stub["time"], "events": 300,
    });
    assert_eq!((&heard["type"], &heard["data"]), (&json!("gatehouse.gateway.expired"), &data));
    assert_eq!(files_with(dir.path(), WHO), Vec::<String>::new());
    assert_eq!(
        files_with(dir.path(), OTHER).is_empty(),
        seal.has_keys(),
        "others stay, sealed where there is a key"
    );
    assert!(told(&ends).iter().any(|event| event["data"]["card"] == OTHER));
    let report = verify::verify(dir.path(), &[], seal, store::EVENTS_KEEP_DEFAULT).unwrap();
    assert!(report.holds(), "{report:?}");
    assert_eq!((report.events, report.erased, report.expired), (3002, 300, 1));
    drop(ends);
    let ends = open_with(dir.path(), seal);
    assert_eq!(
        (ends.journal.head(), ends.journal.before().unwrap()),
        (3002, None),
        "the next start finds no damage"
    );
}

/// One pushes and one pulls while a bite after the other is erased.
#[test]
fn who_reads_on_meanwhile_is_not_stuck_and_gets_nobody_that_is_erased() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open_with(dir.path(), &key());
    let named = [("crm".into(), Kind::Push, true), ("central".into(), Kind::Pull, true)];
    ends.journal.keep_consumers(&named).unwrap();
    write(&mut ends, 5000);
    let asked = Asked { pseudonym: WHO.into(), by: "Wang".into(), reason: None };
    ends.outbox.erase(&asked, T0).unwrap();
    let (mut pushed, mut pulled, mut is_told) = (0, 0, false);
    while pulled < ends.journal.head() || !is_told {
        let rewritten = ends.outbox.rewritten();
        let batch = ends.outbox.pending("crm", 700, &Kinds::default()).unwrap().slice;
        let page = ends.view.events(pulled, 300, &Kinds::default()).unwrap();
        if !is_told {
            write(&mut ends, 10);
            is_told = ends.journal.erase_on(T0, true).unwrap().is_some_and(|erased| erased.told.is_some());
        }
        // As the push does it: what was read before is not sent.
        if ends.outbox.rewritten() == rewritten && batch.next > pushed {
            ends.outbox.settle("crm", batch.next, T0).unwrap();
            pushed = batch.next;
        }
        if ends.outbox.rewritten() == rewritten && is_told {
            let names = page.events.iter().filter(|event| event.json.contains(WHO)).count();
            let words = page.events.iter().filter(|event| event.json.contains("gateway.erased")).count();
            assert_eq!(names, words, "only the word to the centre names them");
        }
        pulled = page.next;
    }
    while pushed < ends.journal.head() {
        pushed = ends.outbox.pending("crm", 700, &Kinds::default()).unwrap().slice.next;
        ends.outbox.settle("crm", pushed, T0).unwrap();
    }
    let left = told(&ends).iter().filter(|event| event["data"]["card"] == WHO).count();
    assert_eq!(left, 0);
    ends.outbox.settle("central", pulled, T0).unwrap();
    let report = verify::verify(dir.path(), &[], &key(), store::EVENTS_KEEP_DEFAULT).unwrap();
    assert!(report.holds() && report.erased >= 500 && report.locked == 0, "{report:?}");
    drop(ends);
    // Without the key the order of all of them can be looked at; one text under another key is no missing key.
    let report = verify::verify(dir.path(), &[], &Seal::none(), store::EVENTS_KEEP_DEFAULT).unwrap();
    assert!(report.faults.is_empty() && !report.holds() && report.locked == report.events, "{report:?}");
    let db = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
    db.execute("UPDATE event SET json = '~1.deadbeef.AAAA', sum = NULL WHERE seq = 77", []).unwrap();
    drop(db);
    let report = verify::verify(dir.path(), &[], &key(), store::EVENTS_KEEP_DEFAULT).unwrap();
    assert_eq!(report.faults.iter().map(|fault| fault.seq).collect::<Vec<_>>(), [Some(77)], "{report:?}");
}

fn store_stub(event: &gatehouse::event::Stored) -> bool {
    event.is_stub()
}

#[test]
fn an_erasure_goes_on_under_another_epoch() {
    for seal in [Seal::none(), key()] {
        let dir = tempfile::tempdir().unwrap();
        let mut ends = open_with(dir.path(), &seal);
        ends.journal.keep_consumers(&[("crm".into(), Kind::Push, true)]).unwrap();
        write(&mut ends, 3000);
        let asked = Asked { pseudonym: WHO.into(), by: "Wang".into(), reason: None };
        ends.outbox.erase(&asked, T0).unwrap();
        assert_eq!(ends.journal.erase_on(T0, true).unwrap().map(|erased| erased.told), Some(None));
        drop(ends);
        let (from, force, at, synced) = (dir.path(), false, T0, true);
        let order =
            store::restore::Order { from, dir: from, gateway: "cp-017", seal: &seal, force, at, synced };
        store::restore::restore(&order).unwrap();
        let mut ends = open_with(dir.path(), &seal);
        while ends.journal.erase_on(T0, true).unwrap().is_none_or(|erased| erased.told.is_none()) {}
        let left = told(&ends).iter().filter(|event| event["data"]["card"] == WHO).count();
        assert_eq!(left, 0);
        let report = verify::verify(dir.path(), &[], &seal, store::EVENTS_KEEP_DEFAULT).unwrap();
        assert!(report.holds() && report.erased == 300, "{report:?}");
    }
}

#[test]
fn a_kill_at_any_moment_costs_no_erasure_and_the_centre_is_told_once() {
    let mut gateway = Gateway::new("cp-017");
    gateway.configure("[[consumer]]\nname = \"central\"\nrequired = true\n");
    write(&mut open(&gateway.data()), 20_000);
    gateway.start();
    let path = format!("/api/v1/people/{WHO}/erase");
    let (status, refused) = gateway.post("/api/v1/people/Wang/erase", &json!({}));
    assert_eq!(status, 400, "{refused}");
    let asking = {
        let url = format!("http://{}{path}", gateway.api().unwrap());
        std::process::Command::new("curl")
            .args(["-s", "--max-time", "20", "-d", r#"{"by": "Wang"}"#, &url])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let begun = |gateway: &Gateway| {
        let db = rusqlite::Connection::open(gateway.data().join("journal.db")).unwrap();
        let scanned = "SELECT scanned FROM erasure WHERE pseudonym = ?1";
        db.query_row(scanned, [WHO], |row| row.get::<_, u64>(0)).ok()
    };
    gateway.until("it is on the disk", || begun(&gateway));
    for _ in 0..3 {
        gateway.kill();
        gateway.start();
    }
    let _ = { asking }.wait();
    let told = gateway.until_told_last("gateway.erased");
    assert_eq!((told.len(), &told[0]["data"]["pseudonym"]), (1, &json!(WHO)));
    let done = gateway.post(&path, &json!({ "by": "Wang", "reason": "again" }));
    assert_eq!((done.0, &done.1["state"]), (200, &json!("done")), "{}", done.1);
    let head = gateway.get("/api/v1/site").unwrap()["head"].clone();
    let acknowledged = std::process::Command::new("curl")
        .args(["-s", "-X", "PUT", "-d", &json!({ "acknowledged": head }).to_string()])
        .arg(format!("http://{}/api/v1/consumers/central", gateway.api().unwrap()))
        .output()
        .unwrap();
    let row: Json = serde_json::from_slice(&acknowledged.stdout).unwrap();
    assert_eq!(row["anchor"]["cursor"], head, "{row}");
    gateway.until("no byte of it is left", || files_with(&gateway.data(), WHO).is_empty().then_some(()));
    let (ended, _) = gateway.stop();
    assert!(ended.success());
    let report = verify::verify(&gateway.data(), &[], &Seal::none(), store::EVENTS_KEEP_DEFAULT).unwrap();
    assert!(report.holds(), "{:?}", report.faults);
    assert_eq!(report.erased, 2000 + 1, "and the word on it that was there when it was asked for again");
    assert!(!gateway.log().contains(WHO), "no log names them");
}

#[test]
fn what_is_in_memory_brings_nobody_back() {
    let mut gateway = Gateway::new("cp-017");
    let silent = "[[channel]]\nid = \"plant\"\ntype = \"modbus-tcp\"\naddress = \"127.0.0.1:9\"\n\
                  [[device]]\nid = \"pump\"\nchannel = \"plant\"\nunit = 1\npoll = \"100ms\"\n\
                  [[device.point]]\nid = \"level\"\ntable = \"holding\"\nregister = 0\ntype = \"u16\"\n";
    gateway.configure(silent);
    gateway.start();
    let rests = json!({ "device": "pump", "until": time::format(time::now() + 3_600_000), "by": "Wang", "note": WHO });
    let (status, said) = gateway.post("/api/v1/maintenance", &rests);
    assert!(matches!(status, 200 | 201), "{status} {said}");
    let (status, said) = gateway.post(&format!("/api/v1/people/{WHO}/erase"), &json!({ "by": "Li" }));
    assert_eq!((status, &said["state"]), (200, &json!("done")), "{said}");
    let maintenance = gateway.get("/api/v1/maintenance").unwrap().to_string();
    assert!(maintenance.contains("erased") && !maintenance.contains(WHO), "{maintenance}");
    let (status, said) =
        gateway.post("/api/v1/maintenance", &json!({ "device": "pump", "until": time::format(0) }));
    assert!(status == 200 && !said.to_string().contains(WHO), "{status} {said}");
    assert!(gateway.stop().0.success());
}

trait Last {
    fn until_told_last(&self, kind: &str) -> Vec<Json>;
}

impl Last for Gateway {
    fn until_told_last(&self, kind: &str) -> Vec<Json> {
        self.until(kind, || {
            let head = self.get("/api/v1/site")?["head"].as_str()?.to_owned();
            let (epoch, seq) = head.rsplit_once('.')?;
            let after = seq.parse::<u64>().ok()?.saturating_sub(50);
            let page = self.get(&format!("/api/v1/events?after={epoch}.{after}&limit=100"))?;
            let found = gateway::of_kind(page["events"].as_array()?, kind);
            (!found.is_empty()).then_some(found)
        })
    }
}

#[test]
fn kinds_that_are_kept_for_less_long_become_stubs_once_every_centre_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    ends.journal.keep_consumers(&[("crm".into(), Kind::Push, true)]).unwrap();
    write(&mut ends, 1000);
    let later = vec![Draft::new("device.online", "devices/d".into(), T0, &json!({}))];
    ends.journal.commit(&Page { at: T0, synced: true, events: later, ..Page::default() }).unwrap();
    ends.outbox.settle("crm", 700, T0).unwrap();
    ends.outbox.set_aside_ahead("crm", 20, "422", T0).unwrap();
    ends.journal.keep_kinds(&[("access.*".into(), Duration::from_secs(30 * 24 * 3600))]);
    let expired = |ends: &Ends| told(ends).iter().filter(|event| event["expired"].is_string()).count();
    while ends.journal.expire(T0 + 20 * DAY).unwrap() {}
    assert_eq!(expired(&ends), 0, "none is old enough");
    while ends.journal.expire(T0 + 31 * DAY).unwrap() {}
    assert_eq!(expired(&ends), 699, "not what the centre has yet to get, nor what was set aside");
    let report = verify::verify(dir.path(), &[], &Seal::none(), store::EVENTS_KEEP_DEFAULT).unwrap();
    assert!(report.holds() && report.expired == 699, "{report:?}");
    ends.outbox.settle("crm", 1001, T0).unwrap();
    while ends.journal.expire(T0 + 31 * DAY).unwrap() {}
    assert_eq!(expired(&ends), 699, "once a day");
    while ends.journal.expire(T0 + 32 * DAY).unwrap() {}
    assert_eq!(expired(&ends), 999);
    let all = told(&ends);
    let kinds: Vec<_> = all[1000..].iter().map(|event| event["type"].as_str().unwrap()).collect();
    let told = "gatehouse.gateway.expired";
    assert_eq!(kinds, ["gatehouse.device.online", told, told], "told once a run");
    assert_eq!(all[1000]["data"], json!({}), "other kinds stay");
    let report = verify::verify(dir.path(), &[], &Seal::none(), store::EVENTS_KEEP_DEFAULT).unwrap();
    assert!(report.holds(), "{report:?}");
}
