//! A ticket, just opened; a test says what is otherwise of its own.

use gatehouse::reading::{Millis, Value};
use gatehouse::ticket::{Class, Deadlines, State, Ticket};

pub fn open(id: &str, at: Millis) -> Ticket {
    Ticket {
        id: id.into(),
        number: "CP-017-000001".into(),
        rule: "pump-pressure-low".into(),
        device: Some("pump-1".into()),
        point: Some("pump-1.pressure".into()),
        place: "3号楼/地下室".into(),
        title: "水压低 180 kPa".into(),
        class: Class::Immediate,
        level: 1,
        trade: None,
        state: State::Open,
        revision: 1,
        occurrences: 1,
        value: Some(Value::Number(180.0)),
        limit: serde_json::json!({ "below": 200.0 }),
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
        evidence: Vec::new(),
    }
}
