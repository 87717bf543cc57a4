//! What a journal holds, read beside the store: as one number, and as an older version would have left it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use gatehouse::event::Draft;
use gatehouse::reading::{Millis, Value};
use gatehouse::ticket::{Class, Deadlines, Evidence, State, Ticket};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};

use super::day::GATEWAY;

/// Everything that one transaction changes together. Events are told apart by number here; what they say never changes.
const QUESTIONS: [&str; 10] = [
    "SELECT min(seq), max(seq), count(*) FROM event",
    "SELECT id, epoch, number, committed FROM gateway",
    "SELECT id, state, device, closed_at, last_seq, subject, life, json FROM ticket ORDER BY id",
    "SELECT rule, subject, state FROM episode ORDER BY rule, subject",
    "SELECT * FROM device ORDER BY id",
    "SELECT * FROM consumer ORDER BY name",
    "SELECT * FROM aside ORDER BY consumer, seq",
    "SELECT * FROM command ORDER BY key",
    "SELECT * FROM access ORDER BY subject",
    "SELECT * FROM maintenance ORDER BY scope, name",
];

pub fn digest(db: &Connection) -> u64 {
    let mut hasher = DefaultHasher::new();
    // All of it as of one moment.
    db.execute_batch("BEGIN").unwrap();
    for question in QUESTIONS {
        let mut query = db.prepare_cached(question).unwrap();
        let columns = query.column_count();
        let mut rows = query.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for column in 0..columns {
                match row.get_ref(column).unwrap() {
                    ValueRef::Null => 0_u8.hash(&mut hasher),
                    ValueRef::Integer(value) => value.hash(&mut hasher),
                    ValueRef::Real(value) => value.to_bits().hash(&mut hasher),
                    ValueRef::Text(value) | ValueRef::Blob(value) => value.hash(&mut hasher),
                }
            }
        }
    }
    db.execute_batch("COMMIT").unwrap();
    hasher.finish()
}

/// Of an event as it is told: what it says, word for word.
pub fn data_of(json: &str) -> &str {
    let start = json.find(",\"data\":").unwrap() + 8;
    &json[start..json.len() - 1]
}

/// Of an event as it is told: the id of the ticket that it is about.
pub fn ticket_of(json: &str) -> String {
    let start = json.find("\"subject\":\"tickets/").unwrap() + 19;
    json[start..].split('"').next().unwrap().to_owned()
}

/// Writes a journal of an older format with tickets in all states, as that version left it; returns its events.
pub fn older(path: &Path, format: usize, at: Millis) -> Vec<String> {
    let db = Connection::open(path).unwrap();
    db.pragma_update(None, "journal_mode", "wal").unwrap();
    let formats =
        [include_str!("journal-1.sql"), include_str!("journal-2.sql"), include_str!("journal-3.sql")];
    for sql in &formats[..format] {
        db.execute_batch(sql).unwrap();
    }
    db.pragma_update(None, "user_version", format as i64).unwrap();
    let epoch = "0199aaaabbbbccccddddeeeeffff0000";
    db.execute("INSERT INTO gateway VALUES (1, ?1, ?2, 8, ?3)", params![GATEWAY, epoch, at]).unwrap();
    let mut events: Vec<String> = Vec::new();
    let mut tell = |kind: &'static str, ticket: &Ticket| {
        let seq = events.len() as u64 + 1;
        let draft = Draft::new(kind, format!("tickets/{}", ticket.id), at, ticket);
        let json = draft.render(GATEWAY, epoch, seq, true);
        db.execute(
            "INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5)",
            params![seq, at, kind, &*ticket.id, json],
        )
        .unwrap();
        events.push(json);
        seq
    };
    for n in 0..8_u64 {
        // Some on rules that there still are, some not.
        let (rule, point) = if n < 4 { ("low", n) } else { ("of-before", n) };
        let mut ticket = ticket(n, rule, &format!("pump-{}.pressure-{}", point / 4, point % 4), at);
        let mut last = tell("ticket.opened", &ticket);
        for (kind, state) in [("ticket.acknowledged", State::Acknowledged), ("ticket.closed", State::Closed)]
            .iter()
            .take(n as usize % 3)
        {
            (ticket.state, ticket.revision) = (*state, ticket.revision + 1);
            ticket.closed_at = (*state == State::Closed).then_some(at);
            ticket.cleared_at = ticket.closed_at;
            last = tell(kind, &ticket);
        }
        let json = serde_json::to_string(&ticket).unwrap();
        let (state, subject) = (ticket.state.word(), ticket.point.as_deref());
        let row = params![
            &*ticket.id,
            state,
            ticket.device.as_deref(),
            ticket.closed_at,
            last,
            subject,
            "{}",
            json
        ];
        db.execute("INSERT INTO ticket VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)", row).unwrap();
    }
    db.execute("INSERT INTO consumer VALUES ('crm', 'push', 1, 1, 5, NULL, NULL)", []).unwrap();
    events
}

fn ticket(n: u64, rule: &str, point: &str, at: Millis) -> Ticket {
    Ticket {
        id: format!("0199aaaa-0000-7000-8000-00000000000{n}").into(),
        number: format!("CP-017-00000{}", n + 1),
        rule: rule.into(),
        device: point.split('.').next().map(Into::into),
        point: Some(point.into()),
        place: "3号楼/地下室/水泵房".into(),
        title: "水压低 180 kPa".into(),
        class: Class::Immediate,
        level: 1,
        trade: None,
        state: State::Open,
        revision: 1,
        occurrences: 1,
        value: Some(Value::Number(180.0)),
        limit: serde_json::json!({ "as": rule }),
        unit: Some("kPa".into()),
        external_id: None,
        by: None,
        note: None,
        since: at,
        opened_at: at,
        cleared_at: None,
        resolved_at: None,
        closed_at: None,
        deadlines: Deadlines::default(),
        evidence: vec![Evidence(at, Some(Value::Number(180.0)))],
    }
}
