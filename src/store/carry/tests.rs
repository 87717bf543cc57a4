//! What goes on under a new epoch, and that nobody misses anything or gets it twice.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::event::{Kinds, Stored};
use crate::live::DeviceState;
use crate::order::{Order, Outcome};
use crate::reading::Value;
use crate::store::file::{self, Durable};
use crate::store::{self, DeviceRow, Ends, EpisodeRow, Filter, Kind, OrderRow, Page, Settings, TicketRow};
use crate::ticket::{Class, Deadlines, State, Ticket};

const T0: Millis = 1_763_712_000_000;

fn open(dir: &Path) -> Ends {
    let settings = Settings::at(dir);
    store::open(&settings, "cp-017").unwrap()
}

fn ticket(n: u64, state: State, at: Millis) -> Ticket {
    Ticket {
        id: format!("ticket-{n:04}").into(),
        number: format!("CP-017-{n:06}"),
        rule: "low".into(),
        device: Some("pump".into()),
        point: Some(format!("pump.p{n}").into()),
        place: "".into(),
        title: "水压低".into(),
        class: Class::Immediate,
        level: 1,
        trade: None,
        state,
        revision: 1,
        occurrences: 1,
        value: Some(Value::Number(180.5)),
        limit: json!({"below": 200.0}),
        unit: None,
        external_id: None,
        by: None,
        note: None,
        since: at,
        opened_at: at,
        cleared_at: None,
        resolved_at: None,
        closed_at: (state == State::Closed).then_some(at),
        deadlines: Deadlines::default(),
        evidence: Vec::new(),
    }
}

fn about(n: u64, kind: &'static str, state: State, at: Millis) -> Page {
    let ticket = ticket(n, state, at);
    let draft = Draft::new(kind, format!("tickets/{}", ticket.id), at, &ticket);
    let subject: Arc<str> = format!("pump.p{n}").into();
    Page {
        at,
        synced: true,
        events: vec![draft],
        tickets: vec![TicketRow { ticket, subject: subject.clone(), life: r#"{"episode":1}"#.into() }],
        episodes: vec![EpisodeRow { rule: "low".into(), subject, state: Some(format!(r#"{{"n":{n}}}"#)) }],
        number: Some(n),
        ..Page::default()
    }
}

/// Five others around an event of a ticket, `count` times; the third closes.
fn live(ends: &mut Ends, count: u64) {
    for n in 1..=count {
        let at = T0 + n as Millis * 1000;
        let events =
            (0..5).map(|k| Draft::new("device.online", format!("devices/d{k}"), at, &json!({"n": n})));
        ends.journal
            .commit(&Page { at, synced: n.is_multiple_of(2), events: events.collect(), ..Page::default() })
            .unwrap();
        ends.journal.commit(&about(n, "ticket.opened", State::Open, at)).unwrap();
        if n % 3 == 0 {
            ends.journal.commit(&about(n, "ticket.closed", State::Closed, at)).unwrap();
        }
    }
    let order = Order {
        key: "k1".into(),
        device: "lock".into(),
        action: "open".into(),
        target: "1".into(),
        reason: None,
        by: "Wang".into(),
        role: crate::order::Role::Technician,
        via: "api".into(),
        expires_at: None,
    };
    let ended = OrderRow {
        order: order.clone(),
        begun_at: T0,
        ended: Some((T0, Outcome::of("executed", "unknown", String::new()))),
    };
    let begun = OrderRow { order: Order { key: "k2".into(), ..order }, begun_at: T0, ended: None };
    let device = DeviceRow {
        device: "pump".into(),
        state: DeviceState::Offline,
        since: T0,
        why: Some("timeout".into()),
    };
    let at = T0 + count as Millis * 1000;
    ends.journal
        .commit(&Page {
            at,
            synced: true,
            orders: vec![ended, begun],
            devices: vec![device],
            ..Page::default()
        })
        .unwrap();
}

fn consumers() -> Vec<(Arc<str>, Kind, bool)> {
    vec![
        ("crm".into(), Kind::Push, true),
        ("central".into(), Kind::Pull, true),
        ("screen".into(), Kind::Pull, false),
    ]
}

/// Carries into the file of another directory and opens it.
fn carried(from: &Path, into: &Path, limit: Limit) -> (Carried, Ends) {
    let source = file::reader(&from.join(file::JOURNAL)).unwrap();
    let mut target = file::journal(into).unwrap();
    let carried = carry(&source, &mut target, "cp-017", "second", Seals::same(&Seal::none()), limit).unwrap();
    drop(target);
    (carried, open(into))
}

fn pending(ends: &Ends, consumer: &str) -> Vec<Stored> {
    let mut all = Vec::new();
    let mut after = ends.outbox.acknowledged(consumer).unwrap();
    loop {
        let slice = ends.view.events(after, 1000, &Kinds::default()).unwrap();
        if slice.events.is_empty() {
            return all;
        }
        after = slice.next;
        all.extend(slice.events);
    }
}

/// What an event says, without what its place in the journal gives it.
fn said(event: &Stored) -> serde_json::Value {
    let mut json: serde_json::Value = serde_json::from_str(&event.json).unwrap();
    let fields = json.as_object_mut().unwrap();
    for place in ["id", "sequence", "origin"] {
        fields.remove(place);
    }
    json
}

fn all_said(events: &[Stored]) -> Vec<serde_json::Value> {
    events.iter().map(said).collect()
}

#[test]
fn each_consumer_gets_exactly_what_it_had_not_acknowledged_and_all_state_goes_on() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut ends = open(old.path());
    ends.journal.keep_consumers(&consumers()).unwrap();
    live(&mut ends, 60);
    ends.outbox.set_aside("crm", 7, "not liked", T0).unwrap();
    ends.outbox.settle("crm", 300, T0).unwrap();
    ends.outbox.settle("central", 120, T0).unwrap();
    ends.outbox.settle("screen", 200, T0).unwrap();
    let before: Vec<_> = ["crm", "central", "screen"].map(|c| all_said(&pending(&ends, c))).into();
    let (memory, head) = (ends.journal.recall().unwrap(), ends.journal.head());
    let tickets = ends.view.tickets(&Filter { limit: 1000, ..Filter::default() }).unwrap();
    let epoch = ends.journal.epoch().clone();
    drop(ends);

    let (told, mut ends) = carried(old.path(), new.path(), Limit::NONE);
    assert_eq!(told.before.as_deref(), Some(&*epoch));
    assert!(told.lost.is_nothing() && !told.damaged(), "{:?}", told.lost);
    assert_eq!(told.events, head - 120 + 1, "what the slowest has not got, and what was set aside");
    assert_eq!(&**ends.journal.epoch(), "second");
    let after: Vec<_> = ["crm", "central", "screen"].map(|c| all_said(&pending(&ends, c))).into();
    assert_eq!(before, after);
    assert_eq!(ends.journal.recall().unwrap(), memory);
    assert_eq!(ends.view.tickets(&Filter { limit: 1000, ..Filter::default() }).unwrap(), tickets);
    assert!(ends.journal.order("k1").unwrap().is_some(), "an order's key is known");
    let aside: Vec<_> = ends.view.consumers().unwrap().into_iter().flat_map(|c| c.set_aside).collect();
    assert_eq!(aside, [1], "the event that was set aside is the first one now");
    for (n, event) in ends.view.events(0, 1000, &Kinds::default()).unwrap().events.iter().enumerate() {
        let seq = n as u64 + 1;
        assert_eq!(event.seq, seq);
        let json: serde_json::Value = serde_json::from_str(&event.json).unwrap();
        assert_eq!(json["id"], format!("cp-017/second/{seq}"));
        assert_eq!(json["sequence"], format!("{seq:020}"));
        let origin = if seq == 1 { 7 } else { 119 + seq };
        assert_eq!(json["origin"], format!("cp-017/{epoch}/{origin}"));
    }
    let next = ends.journal.commit(&about(61, "ticket.opened", State::Open, T0)).unwrap();
    assert_eq!(next, told.events + 1, "numbers go on");
}

#[test]
fn a_second_carry_of_the_result_is_the_same() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut ends = open(dirs[0].path());
    ends.journal.keep_consumers(&consumers()).unwrap();
    live(&mut ends, 20);
    ends.outbox.set_aside("crm", 7, "not liked", T0).unwrap();
    ends.outbox.settle("crm", 60, T0).unwrap();
    ends.outbox.settle("central", 50, T0).unwrap();
    ends.outbox.settle("screen", 80, T0).unwrap();
    drop(ends);
    let (first, ends) = carried(dirs[0].path(), dirs[1].path(), Limit::NONE);
    let look = |ends: &Ends| {
        let events = ends.view.events(0, 1000, &Kinds::default()).unwrap().events;
        (events, ends.view.consumers().unwrap(), ends.journal.recall().unwrap())
    };
    let once = look(&ends);
    drop(ends);
    let (second, ends) = carried(dirs[1].path(), dirs[2].path(), Limit::NONE);
    assert_eq!(
        (second.events, second.tickets, second.episodes),
        (first.events, first.tickets, first.episodes)
    );
    assert_eq!(second.before.as_deref(), Some("second"));
    assert_eq!(look(&ends), once, "and each event's origin is the one it first had");
}

#[test]
fn what_is_ahead_of_a_cursor_stays_with_its_consumer() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut ends = open(old.path());
    ends.journal.keep_consumers(&consumers()).unwrap();
    live(&mut ends, 20);
    for name in ["crm", "central", "screen"] {
        ends.outbox.settle(name, 10, T0).unwrap();
    }
    drop(ends);
    let db = file::writer(&old.path().join(file::JOURNAL), Durable::Normal).unwrap();
    db.execute(
        "INSERT INTO ahead(consumer, seq) VALUES ('crm', 12), ('crm', 30), ('central', 12), ('crm', 5)",
        [],
    )
    .unwrap();
    drop(db);
    drop(carried(old.path(), new.path(), Limit::NONE));
    let db = file::reader(&new.path().join(file::JOURNAL)).unwrap();
    let mut ahead = db.prepare("SELECT consumer, seq FROM ahead ORDER BY consumer, seq").unwrap();
    let ahead: Vec<(String, u64)> =
        ahead.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().collect::<Result<_, _>>().unwrap();
    let expected = [("central", 2), ("crm", 2), ("crm", 20)].map(|(name, seq)| (name.to_owned(), seq));
    assert_eq!(ahead, expected);
}

#[test]
fn under_a_limit_tickets_stay_longest_and_what_is_left_behind_is_counted() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut ends = open(old.path());
    ends.journal.keep_consumers(&consumers()).unwrap();
    live(&mut ends, 30);
    let (head, of_tickets) = (ends.journal.head(), 40);
    assert_eq!(head, 30 * 6 + 10);
    ends.outbox.settle("crm", 6, T0).unwrap();
    drop(ends);
    let limit = Limit { events: of_tickets + 8, ..Limit::NONE };
    let (told, ends) = carried(old.path(), new.path(), limit);
    assert_eq!(told.events, limit.events);
    let kept = ends.view.events(0, 1000, &Kinds::default()).unwrap().events;
    assert_eq!(kept.iter().filter(|e| e.kind.starts_with("ticket.")).count() as u64, of_tickets);
    assert_eq!(told.lost.events, head - limit.events);
    assert_eq!(
        (told.lost.from, told.lost.types.iter().collect::<Vec<_>>()),
        (1, vec![&"device.online".to_owned()])
    );
    assert!(!told.damaged());
    let unclosed = ends.journal.recall().unwrap().tickets;
    assert_eq!(unclosed.iter().filter(|t| t.ticket.state != State::Closed).count(), 20, "all of them");
    drop(ends);
    let few = tempfile::tempdir().unwrap();
    let (told, ends) = carried(old.path(), few.path(), Limit { events: 5, bytes: 1500, closed: 2 });
    assert!(told.events >= 1 && told.events < 5, "{} events of 1500 bytes", told.events);
    let last = ends.view.events(0, 1000, &Kinds::default()).unwrap().events;
    assert!(last.iter().all(|event| event.kind.starts_with("ticket.")), "the latest of tickets: {last:?}");
    let tickets = ends.journal.recall().unwrap().tickets;
    assert_eq!(tickets.iter().filter(|t| t.ticket.state == State::Closed).count(), 2);
}
