//! A long past for those who look at one: readings of pump-1 every second for a month, and a season of tickets, put by
//! the store's own writer into a data directory before the daemon starts on it.
//!
//! `pump-1.pressure` goes up and down with the day around 320 kPa, falls below 200 at nine in the evening of each third
//! day (where its tickets stand), was not read for three hours of each seventh, and `pump-1.state` says a word.
#![allow(dead_code, reason = "not every test looks at all of it")]

use std::f64::consts::TAU;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use gatehouse::event::Draft;
use gatehouse::reading::{Millis, PointId, Reading, Value};
use gatehouse::store::{Ends, Page, TicketRow};
use gatehouse::ticket::{Class, Deadlines, State, Ticket};
use serde_json::json;

const SECOND: Millis = 1000;
const HOUR: Millis = 3600 * SECOND;
pub const DAY: Millis = 24 * HOUR;

/// Written to the history once a minute though it did not change, as the daemon does.
const HEARTBEAT: Millis = 60 * SECOND;

/// Until now, in a gateway in China.
const ZONE: Millis = 8 * HOUR;

pub const PLACES: [&str; 6] = [
    "3号楼/地下室/水泵房",
    "大堂/快递柜",
    "地下车库/B1/排风机房",
    "3号楼/1单元/电梯",
    "物业中心/大厅",
    "8号楼/12层/弱电间",
];

/// The devices and rules that this past is of, without `[gateway]`; the pump answers at `address`, or nobody does.
pub fn config(address: &str) -> String {
    format!(
        r#"
[[channel]]
id      = "plant"
type    = "modbus-tcp"
address = "{address}"

[[device]]
id      = "pump-1"
channel = "plant"
unit    = 7
place   = "{place}"
[[device.point]]
id       = "pressure"
table    = "holding"
register = 0
type     = "u16"
scale    = 0.1
unit     = "kPa"
range    = [0, 1600]
[[device.point]]
id       = "state"
table    = "holding"
register = 1
type     = "u16"
map      = {{ 0 = "stopped", 1 = "running", 2 = "fault" }}

[[rule]]
id       = "pump-pressure-low"
point    = "pump-1.pressure"
below    = 200.0
deadband = 20.0
on_delay = "10s"
level    = 1
trade    = "plumbing"
title    = "{{place}}: 水压低 {{value}} {{unit}}"
[[rule]]
id    = "pump-fault"
point = "pump-1.state"
equals = "fault"
level = 2
"#,
        place = PLACES[0]
    )
}

/// `days` of readings up to `until`, one each `every`. Returns how many were handed to the history.
pub fn readings(ends: &mut Ends, until: Millis, days: i64, every: Millis) -> u64 {
    let names: [Arc<str>; 2] = ["pump-1.pressure".into(), "pump-1.state".into()];
    let mut last: [Option<(Millis, Value)>; 2] = [None, None];
    let mut noted = 0;
    let mut at = until - days * DAY;
    while at < until {
        if !is_gap(at) {
            for (n, value) in [pressure(at), state(at)].into_iter().enumerate() {
                let steady =
                    last[n].as_ref().is_some_and(|(then, old)| *old == value && at - then < HEARTBEAT);
                if !steady {
                    ends.history.note(&names[n], &Reading::good(PointId(n as u32), at, value.clone()));
                    last[n] = Some((at, value));
                    noted += 1;
                }
            }
        }
        // More at once than the daemon hands over: less is waited for.
        if at / HOUR != (at + every) / HOUR {
            flush(ends, at);
        }
        at += every;
    }
    flush(ends, until);
    noted
}

/// In its own time the writer has minutes for it; here it is waited for.
fn flush(ends: &mut Ends, now: Millis) {
    ends.history.flush(now);
    while ends.history.due(now + DAY) {
        thread::sleep(Duration::from_micros(200));
    }
}

/// Closed tickets of `days`, with the event of their opening: those of the pump where its pressure fell, and of the other
/// places more in the mornings and evenings. Returns how many.
pub fn tickets(ends: &mut Ends, until: Millis, days: i64) -> u64 {
    let mut number = 0;
    let first = (until + ZONE) / DAY - days;
    for day in first..(until + ZONE) / DAY {
        let mut rows = Vec::new();
        for hour in 0..24 {
            let at = day * DAY - ZONE + hour * HOUR + 600 * SECOND;
            for (n, place) in PLACES.iter().enumerate() {
                let due = if n == 0 { falls(at) } else { dice(day, hour, n) < odds(hour, n) };
                if due && at < until - 2 * HOUR {
                    number += 1;
                    rows.push(closed(number, at, place, n == 0));
                }
            }
        }
        let events = rows.iter().map(|row| opened(&row.ticket)).collect();
        let at = (day + 1) * DAY - ZONE;
        let page = Page { at, synced: true, events, tickets: rows, number: Some(number), ..Page::default() };
        ends.journal.commit(&page).unwrap();
    }
    number
}

fn opened(ticket: &Ticket) -> Draft {
    let first =
        Ticket { state: State::Open, revision: 1, cleared_at: None, closed_at: None, ..ticket.clone() };
    Draft::new("ticket.opened", format!("tickets/{}", ticket.id), ticket.opened_at, &first)
}

fn closed(number: u64, at: Millis, place: &str, pump: bool) -> TicketRow {
    let point: Option<Arc<str>> = pump.then(|| "pump-1.pressure".into());
    let subject = point.clone().unwrap_or_else(|| format!("gone-{number}").into());
    let ticket = Ticket {
        // A UUIDv7 has the time in its first 48 bits.
        id: format!("{:08x}-{:04x}-7000-8000-{number:012x}", at >> 16, at & 0xffff).into(),
        number: format!("GW-{number:06}"),
        rule: if pump { "pump-pressure-low" } else { "of-old" }.into(),
        device: pump.then(|| "pump-1".into()),
        point,
        place: place.into(),
        title: format!("{place}: {}", if pump { "水压低 180 kPa" } else { "报警" }),
        class: Class::Immediate,
        level: 1 + (number % 3) as u8,
        trade: None,
        state: State::Closed,
        revision: 2,
        occurrences: 1,
        value: pump.then_some(Value::Number(180.0)),
        limit: json!({"below": 200.0}),
        unit: pump.then(|| "kPa".into()),
        external_id: None,
        by: None,
        note: None,
        since: at - 10 * SECOND,
        opened_at: at,
        cleared_at: Some(at + HOUR),
        resolved_at: None,
        closed_at: Some(at + 2 * HOUR),
        deadlines: Deadlines::default(),
        evidence: Vec::new(),
    };
    TicketRow { ticket, subject, life: r#"{"episode":1}"#.into() }
}

/// By local time: the hour from nine in the evening of each third day.
fn falls(at: Millis) -> bool {
    let local = at + ZONE;
    local / DAY % 3 == 0 && local % DAY / HOUR == 21
}

fn is_gap(at: Millis) -> bool {
    let local = at + ZONE;
    local / DAY % 7 == 0 && (2..5).contains(&(local % DAY / HOUR))
}

fn pressure(at: Millis) -> Value {
    let second = (at / SECOND) as f64;
    let wave = 12.0 * (second / 86_400.0 * TAU).sin() + 4.0 * (second / 1800.0).sin();
    let noise = (dice(at / SECOND, 0, 0) - 0.5) * 3.0;
    let base = if falls(at) { 180.0 } else { 320.0 };
    Value::Number(((base + wave + noise) * 10.0).round() / 10.0)
}

fn state(at: Millis) -> Value {
    let word = match dice(at / (2 * HOUR), 1, 1) {
        x if x < 0.03 => "fault",
        x if x < 0.6 => "running",
        _ => "stopped",
    };
    Value::Text(word.into())
}

/// From 0 to 1, the same for the same.
fn dice(a: i64, b: i64, c: usize) -> f64 {
    let mut x = (a as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ((b as u64) << 32) ^ ((c as u64) << 17);
    for _ in 0..3 {
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    (x >> 11) as f64 / (1u64 << 53) as f64
}

fn odds(hour: i64, place: usize) -> f64 {
    let busy = matches!(hour, 7..=9 | 18..=21);
    (if busy { 0.35 } else { 0.05 }) / place as f64
}
