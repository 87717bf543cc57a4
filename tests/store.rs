//! What the journal promises: numbers without gaps, all or nothing, nothing forgotten by a kill, nothing of another
//! gateway, nothing dropped that someone still waits for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod a_ticket;

use std::io;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gatehouse::event::{Draft, Kinds};
use gatehouse::live::DeviceState;
use gatehouse::order::{Order, Outcome};
use gatehouse::reading::{Millis, Value};
use gatehouse::store::{
    self, AccessRow, DeviceRow, Ends, EpisodeRow, Error, Filter, Kind, ORDERS_MAX, OrderRow, Page, Settings,
    TicketRow,
};
use gatehouse::ticket::{Deadlines, Evidence, State, Ticket};

const T0: Millis = 1_763_712_000_000;
const DAY: Millis = 24 * 3600 * 1000;

fn open(dir: &Path) -> Ends {
    store::open(&Settings::at(dir), "cp-017").unwrap()
}

fn ticket(id: &str, state: State) -> Ticket {
    Ticket {
        state,
        since: T0 - 1,
        closed_at: (state == State::Closed).then_some(T0),
        evidence: vec![Evidence(T0 - 1, None), Evidence(T0, Some(Value::Number(180.0)))],
        ..a_ticket::open(id, T0)
    }
}

fn row(id: &str, state: State) -> TicketRow {
    TicketRow { ticket: ticket(id, state), subject: "pump-1.pressure".into(), life: r#"{"well":0}"#.into() }
}

fn draft(kind: &'static str, subject: &str, at: Millis) -> Draft {
    Draft::new(kind, subject.to_owned(), at, &serde_json::json!({"n": 1}))
}

fn events(count: usize, at: Millis) -> Page {
    Page {
        at,
        synced: true,
        events: (0..count).map(|_| draft("device.online", "devices/pump-1", at)).collect(),
        ..Page::default()
    }
}

fn about(id: &str, state: State, at: Millis) -> Page {
    Page {
        at,
        synced: true,
        events: vec![draft("ticket.updated", &format!("tickets/{id}"), at)],
        tickets: vec![row(id, state)],
        ..Page::default()
    }
}

fn all() -> Kinds {
    Kinds::default()
}

fn seqs(ends: &Ends) -> Vec<u64> {
    let slice = ends.view.events(0, 1000, &all()).unwrap();
    slice.events.iter().map(|event| event.seq).collect()
}

#[test]
fn events_are_numbered_from_one_without_gaps_across_pages_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    let epoch = ends.journal.epoch().clone();
    assert!(!epoch.contains('.') && !epoch.is_empty());
    assert_eq!(ends.journal.head(), 0);
    assert_eq!(ends.journal.commit(&events(3, T0)).unwrap(), 3);
    assert_eq!(ends.journal.commit(&Page::default()).unwrap(), 3, "a page without events uses no number");
    drop(ends);
    let mut ends = open(dir.path());
    assert_eq!(ends.journal.epoch(), &epoch);
    assert_eq!(ends.journal.head(), 3);
    assert_eq!(ends.journal.commit(&events(2, T0)).unwrap(), 5);
    assert_eq!(seqs(&ends), [1, 2, 3, 4, 5]);

    let slice = ends.view.events(4, 10, &all()).unwrap();
    let event: serde_json::Value = serde_json::from_str(&slice.events[0].json).unwrap();
    assert_eq!(event["id"], format!("cp-017/{epoch}/5"));
    assert_eq!(event["sequence"], "00000000000000000005");
    assert_eq!(event["type"], "gatehouse.device.online");
    assert_eq!(event["clock"], "synced");
    assert_eq!(event["data"]["n"], 1);
}

#[test]
fn a_commit_that_fails_leaves_nothing_behind_and_uses_no_number() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    ends.journal.commit(&events(2, T0)).unwrap();
    // Another program makes the last thing a page writes fail, after its events and tickets were written.
    let other = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
    other
        .execute_batch(
            "CREATE TRIGGER refuse BEFORE INSERT ON device BEGIN SELECT raise(ABORT, 'no room'); END",
        )
        .unwrap();
    let mut page = about("t1", State::Open, T0);
    page.devices.push(DeviceRow {
        device: "pump-1".into(),
        state: DeviceState::Online,
        since: T0,
        why: None,
    });
    page.number = Some(1);
    let error = ends.journal.commit(&page).unwrap_err();
    assert!(error.to_string().contains("no room"), "{error}");
    assert_eq!(ends.journal.head(), 2);
    assert_eq!(seqs(&ends), [1, 2]);
    assert_eq!(ends.view.ticket("t1").unwrap(), None);
    assert_eq!(ends.journal.recall().unwrap().number, 0);

    other.execute_batch("DROP TRIGGER refuse").unwrap();
    assert_eq!(ends.journal.commit(&page).unwrap(), 3);
    assert_eq!(seqs(&ends), [1, 2, 3]);
    assert!(ends.view.ticket("t1").unwrap().is_some());
}

#[test]
fn reopening_recalls_everything_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    let episode = |subject: &str, state: Option<&str>| EpisodeRow {
        rule: "pump-pressure-low".into(),
        subject: subject.into(),
        state: state.map(str::to_owned),
    };
    let device = DeviceRow {
        device: "pump-1".into(),
        state: DeviceState::Offline,
        since: T0,
        why: Some("no answer within 500 ms".into()),
    };
    let mut closed_long_ago = row("t0", State::Closed);
    closed_long_ago.ticket.closed_at = Some(T0 - 31 * DAY);
    let mut page = Page {
        at: T0,
        tickets: vec![
            row("t2", State::Open),
            row("t1", State::InProgress),
            row("t3", State::Closed),
            closed_long_ago,
        ],
        episodes: vec![episode("a", Some("{\"since\":1}")), episode("b", Some("{}"))],
        devices: vec![device.clone()],
        number: Some(41),
        ..Page::default()
    };
    ends.journal.commit(&page).unwrap();
    page.tickets = vec![row("t2", State::Resolved)];
    page.episodes = vec![episode("a", Some("{\"since\":2}")), episode("b", None)];
    page.number = None;
    ends.journal.commit(&page).unwrap();
    drop(ends);

    let memory = open(dir.path()).journal.recall().unwrap();
    assert_eq!(
        memory.tickets,
        [row("t1", State::InProgress), row("t2", State::Resolved), row("t3", State::Closed)],
        "unclosed ones and those closed within 30 days"
    );
    assert_eq!(memory.episodes, [episode("a", Some("{\"since\":2}"))]);
    assert_eq!(memory.devices, [device]);
    assert_eq!((memory.number, memory.last_trace), (41, T0));
}

#[test]
fn the_data_of_another_gateway_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let error = store::open(&Settings::at(dir.path()), "cp-018").unwrap_err();
    assert!(matches!(error, Error::OtherGateway { .. }));
    let words = error.to_string();
    assert!(words.contains("cp-017") && words.contains("cp-018"), "{words}");
}

#[test]
fn a_second_daemon_on_the_same_data_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ends = open(dir.path());
    let error = store::open(&Settings::at(dir.path()), "cp-017").unwrap_err();
    assert!(matches!(error, Error::InUse(_)), "{error}");
    drop(ends);
    open(dir.path());
}

#[test]
fn a_newer_journal_is_refused_by_name_and_a_number_that_fell_over_is_not() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let path = dir.path().join("journal.db");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.pragma_update(None, "user_version", 99).unwrap();
    other.execute_batch("CREATE TABLE newer(id)").unwrap();
    let error = store::open(&Settings::at(dir.path()), "cp-017").unwrap_err();
    assert!(matches!(error, Error::Newer { theirs: 99, .. }), "{error}");
    other.execute_batch("DROP TABLE newer").unwrap();
    drop(other);
    let ends = open(dir.path());
    assert!(ends.journal.before().unwrap().unwrap().reason.contains("99"));
}

/// The other half of the next test: writes pages and says each head, until it is killed.
#[test]
#[ignore = "is started and killed by the next test"]
fn writer_that_will_be_killed() {
    let Some(dir) = std::env::var_os("GATEHOUSE_TEST_DIR") else {
        return;
    };
    let mut ends = open(Path::new(&dir));
    loop {
        let next = ends.journal.head() + 1;
        let id = format!("t{next:05}");
        let head = ends.journal.commit(&about(&id, State::Open, T0)).unwrap();
        ends.outbox.settle("crm", head, T0).unwrap();
        println!("head {head}");
    }
}

#[test]
fn what_was_committed_before_a_kill_is_there_after_it_and_the_numbers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut told = 0;
    for _ in 0..3 {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer_that_will_be_killed", "--ignored", "--nocapture"])
            .env("GATEHOUSE_TEST_DIR", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let mut heads = 0;
        while heads < 20 {
            let line: io::Result<String> = lines.next().expect("the writer ended before it was killed");
            if let Some(head) = line.unwrap().strip_prefix("head ") {
                told = head.parse().unwrap();
                heads += 1;
            }
        }
        writer.kill().unwrap();
        // What it said before it died counts, too.
        for line in lines.map_while(Result::ok) {
            if let Some(Ok(head)) = line.strip_prefix("head ").map(str::parse) {
                told = head;
            }
        }
        writer.wait().unwrap();

        let ends = open(dir.path());
        let head = ends.journal.head();
        assert!(head >= told, "{told} was told, {head} is there");
        assert_eq!(seqs(&ends), (1..=head).collect::<Vec<_>>());
        let memory = ends.journal.recall().unwrap();
        let ids: Vec<_> = memory.tickets.iter().map(|row| row.ticket.id.to_string()).collect();
        let expected: Vec<_> = (1..=head).map(|n| format!("t{n:05}")).collect();
        assert_eq!(ids, expected, "no event without its ticket, no ticket without its event");
        assert!(ends.outbox.acknowledged("crm").unwrap() <= head);
    }
}

#[test]
fn a_reader_gets_the_kinds_it_wants_and_its_cursor_moves_past_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    for n in 1..=4 {
        ends.journal.commit(&events(1, T0)).unwrap();
        ends.journal.commit(&about(&format!("t{n}"), State::Open, T0)).unwrap();
    }
    ends.journal.commit(&events(1, T0)).unwrap();
    let kinds: Kinds = "ticket.*".parse().unwrap();
    let slice = ends.view.events(0, 3, &kinds).unwrap();
    let got: Vec<_> = slice.events.iter().map(|e| (e.seq, e.kind.as_str())).collect();
    assert_eq!(got, [(2, "ticket.updated"), (4, "ticket.updated"), (6, "ticket.updated")]);
    assert_eq!((slice.next, slice.head), (6, 9));
    let slice = ends.view.events(slice.next, 3, &kinds).unwrap();
    assert_eq!(slice.events.len(), 1);
    assert_eq!(slice.next, 9, "past what the kinds left out");
    let slice = ends.view.events(u64::MAX, 3, &kinds).unwrap();
    assert!(slice.events.is_empty());
    assert_eq!(ends.view.head().unwrap(), 9);
}

#[test]
fn tickets_are_found_by_state_and_device_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    let mut elsewhere = row("t4", State::Open);
    elsewhere.ticket.device = None;
    let page = Page {
        tickets: vec![
            row("t1", State::Open),
            row("t2", State::Closed),
            row("t3", State::Resolved),
            elsewhere,
        ],
        ..Page::default()
    };
    ends.journal.commit(&page).unwrap();
    let ids = |filter: &Filter| -> Vec<String> {
        let texts = ends.view.tickets(filter).unwrap();
        let tickets = texts.iter().map(|(_, json)| serde_json::from_str::<Ticket>(json).unwrap());
        tickets.map(|ticket| ticket.id.to_string()).collect()
    };
    let every = Filter { limit: 10, ..Filter::default() };
    assert_eq!(ids(&every), ["t1", "t2", "t3", "t4"]);
    let open_ones = Filter { states: vec![State::Open, State::Resolved], ..every.clone() };
    assert_eq!(ids(&open_ones), ["t1", "t3", "t4"]);
    let closed =
        Filter { states: vec![State::Open, State::Closed], device: Some("pump-1".into()), ..every.clone() };
    assert_eq!(ids(&closed), ["t1", "t2"]);
    let page = Filter { after: Some("t1".into()), limit: 2, ..every };
    assert_eq!(ids(&page), ["t2", "t3"]);
    assert_eq!(ends.view.ticket("t9").unwrap(), None);
    let one: Ticket = serde_json::from_str(&ends.view.ticket("t4").unwrap().unwrap()).unwrap();
    assert_eq!(one.device, None);
}

#[test]
fn a_cursor_only_goes_forward_and_never_above_the_head() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    ends.journal.commit(&events(5, T0)).unwrap();
    let outbox = &ends.outbox;
    assert_eq!(outbox.acknowledged("central").unwrap(), 0);
    assert_eq!(outbox.settle("central", 3, T0).unwrap().acknowledged, 3);
    assert_eq!(outbox.settle("central", 2, T0 + 1).unwrap().acknowledged, 3);
    let error = outbox.settle("central", 6, T0).unwrap_err();
    assert!(matches!(error, Error::AheadOfJournal { asked: 6, head: 5 }), "{error}");
    let slice = outbox.pending("central", 10, &all()).unwrap().slice;
    assert_eq!(slice.events.iter().map(|e| e.seq).collect::<Vec<_>>(), [4, 5]);

    outbox.note("central", Some("401 Unauthorized"), T0).unwrap();
    let now = ends.view.consumers().unwrap();
    assert_eq!((now[0].lag, now[0].last_seen), (2, Some(T0 + 1)));
    assert_eq!(now[0].error.as_deref(), Some("401 Unauthorized"));
    outbox.settle("central", 4, T0 + 2).unwrap();
    let now = ends.view.consumers().unwrap();
    assert_eq!((now[0].lag, now[0].error.as_deref()), (1, None), "a success ends the suffering");
}

#[test]
fn what_is_set_aside_holds_the_rest_for_ninety_days_and_no_longer() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    ends.journal.keep_consumers(&[("crm".into(), Kind::Push, true)]).unwrap();
    ends.journal.commit(&events(10, T0)).unwrap();
    ends.outbox.set_aside("crm", 3, "422", T0).unwrap();
    ends.outbox.settle("crm", 10, T0).unwrap();
    let mut retire = |now| ends.journal.retire(now, Duration::from_secs(24 * 3600)).unwrap();
    assert_eq!(retire(T0 + 89 * DAY), 2);
    assert_eq!(retire(T0 + 91 * DAY), 7, "all but the head");
    assert_eq!(ends.view.consumers().unwrap()[0].set_aside, Vec::<u64>::new());
}

#[test]
fn what_is_set_aside_is_left_out_shown_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    ends.journal.keep_consumers(&[("crm".into(), Kind::Push, true)]).unwrap();
    ends.journal.commit(&events(4, T0)).unwrap();
    ends.outbox.settle("crm", 1, T0).unwrap();
    ends.outbox.set_aside("crm", 2, "422", T0).unwrap();
    let slice = ends.outbox.pending("crm", 10, &all()).unwrap().slice;
    assert_eq!(slice.events.iter().map(|e| e.seq).collect::<Vec<_>>(), [3, 4]);
    ends.outbox.settle("crm", 4, T0).unwrap();
    assert_eq!(ends.view.consumers().unwrap()[0].set_aside, [2]);
    assert_eq!(ends.journal.retire(T0 + DAY, Duration::ZERO).unwrap(), 1, "only what is before it may go");
    assert_eq!(ends.view.events(1, 10, &all()).unwrap().events[0].seq, 2);
}

#[test]
fn the_configuration_names_consumers_and_only_others_can_be_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    let crm = (Arc::from("crm"), Kind::Push, true);
    ends.journal.keep_consumers(&[crm.clone(), ("central".into(), Kind::Pull, false)]).unwrap();
    ends.journal.commit(&events(2, T0)).unwrap();
    ends.outbox.settle("central", 2, T0).unwrap();
    assert!(matches!(ends.outbox.forget("central").unwrap_err(), Error::Configured(_)));

    ends.journal.keep_consumers(&[crm]).unwrap();
    let names = |ends: &Ends| -> Vec<_> {
        let now = ends.view.consumers().unwrap();
        now.into_iter().map(|c| (c.name, c.kind.word(), c.required, c.acknowledged)).collect()
    };
    let (crm, central) = (("crm".into(), "push", true, 0), ("central".into(), "pull", false, 2));
    assert_eq!(names(&ends), [central, crm.clone()], "a cursor is not lost with a line of configuration");
    assert!(ends.outbox.forget("central").unwrap());
    assert!(!ends.outbox.forget("central").unwrap());
    assert_eq!(names(&ends), [crm]);
}

#[test]
fn nothing_goes_before_every_required_consumer_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    let consumers = [
        ("central".into(), Kind::Pull, true),
        ("crm".into(), Kind::Push, true),
        ("curious".into(), Kind::Pull, false),
    ];
    ends.journal.keep_consumers(&consumers).unwrap();
    ends.journal.commit(&events(10, T0)).unwrap();
    let keep = Duration::from_secs(24 * 3600);
    let late = T0 + 2 * DAY;
    ends.outbox.settle("crm", 10, T0).unwrap();
    assert_eq!(ends.journal.retire(late, keep).unwrap(), 0);
    ends.outbox.settle("central", 4, T0).unwrap();
    assert_eq!(ends.journal.retire(T0 + DAY / 2, keep).unwrap(), 0, "too young");
    assert_eq!(ends.journal.retire(late, keep).unwrap(), 4);
    let gone = ends.view.events(3, 10, &all()).unwrap_err();
    assert!(matches!(gone, Error::Gone { oldest: 4 }), "{gone}");
    assert_eq!(ends.view.events(4, 10, &all()).unwrap().events[0].seq, 5);

    ends.outbox.settle("central", 10, T0).unwrap();
    assert_eq!(ends.journal.retire(late, keep).unwrap(), 5, "the head stays, so that numbers go on");
    drop(ends);
    assert_eq!(open(dir.path()).journal.commit(&events(1, T0)).unwrap(), 11);
}

#[test]
fn what_speaks_of_an_unclosed_ticket_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    ends.journal.commit(&events(2, T0)).unwrap();
    ends.journal.commit(&about("t1", State::Open, T0)).unwrap();
    ends.journal.commit(&events(2, T0)).unwrap();
    let late = T0 + 100 * DAY;
    assert_eq!(ends.journal.retire(late, Duration::ZERO).unwrap(), 2);
    ends.journal.commit(&about("t1", State::Closed, T0)).unwrap();
    ends.journal.commit(&events(1, T0)).unwrap();
    assert_eq!(ends.journal.retire(late, Duration::ZERO).unwrap(), 4);
    assert_eq!(ends.view.ticket("t1").unwrap(), None, "closed long ago, and no event speaks of it");
}

/// As another version may have written it.
fn store_as(dir: &Path, id: &str, json: &str) {
    let other = rusqlite::Connection::open(dir.join("journal.db")).unwrap();
    let row = "SELECT id, state, device, closed_at, subject, life FROM ticket WHERE id = ?1";
    let mut sum: Vec<u8> = other
        .query_row(row, [id], |row| {
            let values = (0..6).map(|n| row.get::<_, rusqlite::types::Value>(n));
            Ok(values.flat_map(|value| summed(&value.unwrap())).collect())
        })
        .unwrap();
    sum.extend(summed(&json.to_owned().into()));
    let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&sum);
    let changed =
        other.execute("UPDATE ticket SET json = ?2, sum = ?3 WHERE id = ?1", (id, json, sum)).unwrap();
    assert_eq!(changed, 1);
}

/// As the sum of a row takes a value: its type, a text with its length.
fn summed(value: &rusqlite::types::Value) -> Vec<u8> {
    match value {
        rusqlite::types::Value::Null => vec![0],
        rusqlite::types::Value::Integer(number) => [&[1], &number.to_le_bytes()[..]].concat(),
        rusqlite::types::Value::Text(text) => {
            [&[3], &(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_ticket_of_an_older_version_lacks_what_came_later_and_is_read_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    ends.journal.commit(&about("t1", State::Open, T0)).unwrap();
    drop(ends);
    let old = r#"{"id":"t1","number":"CP-017-000001","rule":"pump-pressure-low","class":"immediate","level":1,
        "state":"open","revision":3,"since":"2025-11-21T07:59:59.999Z","opened_at":"2025-11-21T08:00:00.000Z",
        "deadlines":{"contact_by":"2025-11-21T08:15:00.000Z"},"what_nobody_knows_any_more":1}"#;
    store_as(dir.path(), "t1", old);
    let tickets = open(dir.path()).journal.recall().unwrap().tickets;
    let expected = Ticket {
        device: None,
        point: None,
        place: "".into(),
        title: String::new(),
        revision: 3,
        value: None,
        limit: serde_json::Value::Null,
        unit: None,
        deadlines: Deadlines { contact_by: Some(T0 + 900_000), ..Deadlines::default() },
        evidence: vec![],
        ..ticket("t1", State::Open)
    };
    assert_eq!(tickets.iter().map(|row| &row.ticket).collect::<Vec<_>>(), [&expected]);
}

#[test]
fn a_ticket_that_cannot_be_read_is_named_once_and_keeps_nothing_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    for id in ["t1", "t2", "t3", "t4"] {
        ends.journal.commit(&about(id, State::Open, T0)).unwrap();
    }
    drop(ends);
    store_as(dir.path(), "t2", "{\"id\":\"t2\"");
    store_as(dir.path(), "t3", r#"{"id":"t3","state":"handed_over"}"#);
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    let memory = tracing::subscriber::with_default(subscriber, || open(dir.path()).journal.recall().unwrap());
    let ids: Vec<_> = memory.tickets.iter().map(|row| &*row.ticket.id).collect();
    assert_eq!(ids, ["t1", "t4"]);
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let errors: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors.len(), 2, "{log}");
    assert!(errors[0].contains("t2") && errors[1].contains("t3"), "{log}");
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn events_go_in_small_bites() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    ends.journal.commit(&events(2500, T0)).unwrap();
    let bites: Vec<_> = (0..4).map(|_| ends.journal.retire(T0 + DAY, Duration::ZERO).unwrap()).collect();
    assert_eq!(bites, [1000, 1000, 499, 0]);
}

fn ordered(key: &str, ended: Option<(Millis, Outcome)>) -> OrderRow {
    let order = Order {
        device: "bank-1".into(),
        action: "open".into(),
        target: "cell-3".into(),
        reason: None,
        by: "li".into(),
        role: gatehouse::order::Role::Technician,
        via: "api".into(),
        expires_at: None,
        key: key.into(),
    };
    OrderRow { order, begun_at: T0, ended }
}

fn executed(at: Millis) -> Option<(Millis, Outcome)> {
    Some((at, Outcome::Executed { what: "taken".into() }))
}

#[test]
fn orders_and_the_state_of_doors_are_there_after_a_restart_and_those_under_way_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    let access = |state: &str| AccessRow { subject: "doors/b3-entrance".into(), state: state.into() };
    let orders = vec![ordered("k-1", None), ordered("k-2", None), ordered("k-1", executed(T0 + 5))];
    let page = Page { at: T0, orders, access: vec![access("{}"), access("[1]")], ..Page::default() };
    ends.journal.commit(&page).unwrap();
    drop(ends);
    let ends = open(dir.path());
    let memory = ends.journal.recall().unwrap();
    assert_eq!(memory.orders, [ordered("k-2", None)]);
    assert_eq!(memory.access, [access("[1]")]);
    assert_eq!(ends.journal.order("k-1").unwrap(), Some(ordered("k-1", executed(T0 + 5))));
    assert_eq!(ends.journal.order("k-3").unwrap(), None);
}

/// The key of an order that was given must never be free to be given again, whatever is forgotten and whenever.
#[test]
fn an_order_is_forgotten_after_its_expiry_and_what_expired_up_to_then_is_too_late_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    let row = |key: &str, begun_at, expires_at| {
        let mut row = ordered(key, executed(begun_at + 1));
        (row.begun_at, row.order.expires_at) = (begun_at, Some(expires_at));
        row
    };
    let begun = T0 - 8 * DAY;
    let orders = vec![
        row("soon", begun, begun + 60_000),
        row("week", begun, begun + 7 * DAY),
        row("later", begun, begun + 7 * DAY + 1),
        row("not-yet", begun, T0 + 1),
        row("lately", T0 - DAY, T0 - DAY + 60_000),
    ];
    ends.journal.commit(&Page { at: T0, orders, ..Page::default() }).unwrap();
    assert_eq!(ends.journal.retire_orders(T0 - 7 * DAY, begun).unwrap(), 2, "an expiry that has not passed");
    assert_eq!(ends.journal.orders_known().unwrap().forgotten, 0);
    assert_eq!(ends.journal.retire_orders(T0 - 7 * DAY, T0).unwrap(), 2);
    drop(ends);
    let ends = open(dir.path());
    let kept = |key: &str| ends.journal.order(key).unwrap().is_some();
    let used = |key: &str| ends.journal.is_key_used(key).unwrap();
    assert_eq!(ends.journal.orders_known().unwrap().forgotten, begun + 7 * DAY, "the latest of what is gone");
    assert!(!kept("soon") && !kept("week") && !used("soon") && !used("week"));
    assert!(!kept("later") && used("later") && !kept("not-yet") && used("not-yet"));
    let lately = ends.journal.order("lately").unwrap().unwrap();
    assert_eq!(lately.order.expires_at, Some(T0 - DAY + 60_000));
    assert_eq!(ends.journal.order_room().unwrap(), (true, true));
}

#[test]
fn a_boot_is_another_one_than_that_of_the_run_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path()).journal;
    assert!(!journal.begin_boot("first").unwrap(), "nothing was before");
    assert!(!journal.begin_boot("first").unwrap());
    assert!(journal.begin_boot("second").unwrap());
    assert!(!journal.begin_boot("second").unwrap());
}

#[test]
fn old_orders_go_by_age_and_by_number_and_those_under_way_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    let mut orders = vec![ordered("under-way", None), ordered("old", executed(T0 - 8 * DAY))];
    orders.extend((0..ORDERS_MAX as Millis + 500).map(|n| ordered(&format!("k-{n}"), executed(T0 + n))));
    ends.journal.commit(&Page { at: T0, orders, ..Page::default() }).unwrap();
    let mut gone = 0;
    loop {
        match ends.journal.retire_orders(T0 - 7 * DAY, T0).unwrap() {
            0 => break,
            some => gone += some,
        }
    }
    assert_eq!(gone, 502, "the old one, and what is beyond the most that is kept");
    let kept = |key: &str| ends.journal.order(key).unwrap().is_some();
    assert!(kept("under-way") && kept("k-501") && !kept("old") && !kept("k-500") && !kept("k-0"));
    let used = |key: &str| ends.journal.is_key_used(key).unwrap();
    assert!(used("old") && used("k-500") && used("k-0"), "a key without an expiry is never free again");
    assert!(!used("k-501") && !used("nobody's"));
}
