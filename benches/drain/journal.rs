//! A month of a busy compound in the journal, written through the store: who came and went, devices that fell silent, and
//! tickets with their whole lives, some hundred of which are still open at its end.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use gatehouse::event::Draft;
use gatehouse::reading::{Millis, Value};
use gatehouse::store::{self, Kind, Page, Settings, TicketRow};
use gatehouse::ticket::{Class, Deadlines, Evidence, State, Ticket};
use serde_json::json;

/// What becomes of a ticket, one event each.
const LIFE: [(&str, State); 8] = [
    ("ticket.opened", State::Open),
    ("ticket.acknowledged", State::Acknowledged),
    ("ticket.started", State::InProgress),
    ("ticket.cleared", State::InProgress),
    ("ticket.reopened", State::InProgress),
    ("ticket.cleared", State::InProgress),
    ("ticket.resolved", State::Resolved),
    ("ticket.closed", State::Closed),
];
const UNCLOSED: usize = 200;
const PAGE: usize = 5000;
const BEGIN: Millis = 1_793_000_000_000;

struct Tickets {
    /// Each with the step of its life that it has come to.
    active: Vec<(Ticket, usize)>,
    count: u64,
    dice: u64,
}

/// Writes so many events for these consumers and says how many bytes their JSON has.
pub fn write(dir: &Path, events: usize, consumers: &[&str]) -> u64 {
    let settings = Settings::at(dir);
    let mut journal = store::open(&settings, "bench").unwrap().journal;
    let named: Vec<(Arc<str>, Kind, bool)> =
        consumers.iter().map(|name| ((*name).into(), Kind::Push, true)).collect();
    journal.keep_consumers(&named).unwrap();
    let mut tickets = Tickets { active: Vec::new(), count: 0, dice: 1 };
    let (mut written, mut bytes) = (0, 0);
    while written < events {
        let count = PAGE.min(events - written);
        let at = BEGIN + (written as Millis) * 2592;
        let page = tickets.page(at, count);
        bytes += page.events.iter().map(|draft| draft.data.get().len() as u64 + 260).sum::<u64>();
        journal.commit(&page).unwrap();
        written += count;
    }
    bytes
}

impl Tickets {
    fn page(&mut self, at: Millis, count: usize) -> Page {
        let mut changed: HashMap<Arc<str>, Ticket> = HashMap::new();
        let mut events = Vec::with_capacity(count);
        for n in 0..count as Millis {
            let at = at + n;
            let dice = self.dice();
            events.push(match dice % 100 {
                0..25 => {
                    let (kind, ticket) = self.step(at);
                    let draft = Draft::new(kind, format!("tickets/{}", ticket.id), at, &ticket);
                    changed.insert(ticket.id.clone(), ticket);
                    draft
                }
                25..85 => access(dice, at),
                _ => device(dice, at),
            });
        }
        let row = |ticket: Ticket| TicketRow { subject: "".into(), life: "{}".into(), ticket };
        Page {
            at,
            synced: true,
            events,
            tickets: changed.into_values().map(row).collect(),
            ..Page::default()
        }
    }

    /// The next event of some ticket, or of a new one.
    fn step(&mut self, at: Millis) -> (&'static str, Ticket) {
        if self.active.len() < UNCLOSED {
            self.count += 1;
            self.active.push((ticket(self.count, at), 0));
        }
        let which = self.dice() as usize % self.active.len();
        let (ticket, step) = &mut self.active[which];
        let (kind, state) = LIFE[*step];
        *step += 1;
        ticket.state = state;
        ticket.revision = *step as u64;
        ticket.closed_at = (state == State::Closed).then_some(at);
        let now = ticket.clone();
        if state == State::Closed {
            self.active.swap_remove(which);
        }
        (kind, now)
    }

    fn dice(&mut self) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice
    }
}

fn ticket(n: u64, at: Millis) -> Ticket {
    let evidence = (0..8).map(|i| Evidence(at - 8000 + i * 1000, Some(Value::Number(231.0 - i as f64))));
    Ticket {
        id: format!("0193{n:08x}-77aa-7bbb-8ccc-0123456789ab").into(),
        number: format!("BENCH-{n:06}"),
        rule: "pump-pressure-low".into(),
        device: Some(format!("pump-{}", n % 40).into()),
        point: Some(format!("pump-{}.pressure", n % 40).into()),
        place: "3号楼/地下室/水泵房".into(),
        title: format!("3号楼/地下室/水泵房: 水压低 {} kPa", n % 200),
        class: Class::Immediate,
        level: 1 + (n % 3) as u8,
        trade: Some("plumbing".into()),
        state: State::Open,
        revision: 1,
        occurrences: 1,
        value: Some(Value::Number(180.0)),
        limit: json!({"below": 200.0}),
        unit: Some("kPa".into()),
        external_id: None,
        by: None,
        note: None,
        since: at - 1000,
        opened_at: at,
        cleared_at: None,
        resolved_at: None,
        closed_at: None,
        deadlines: Deadlines::default(),
        evidence: evidence.collect(),
    }
}

fn access(dice: u64, at: Millis) -> Draft {
    let door = format!("doors/b{}-entrance", dice % 30);
    let data = json!({
        "door": format!("b{}-entrance", dice % 30), "device": format!("reader-{}", dice % 60), "reader": "1",
        "card": format!("{:016x}{:016x}", dice, dice.rotate_left(17)), "direction": "in", "via": "card",
        "place": format!("{}号楼/入口/一层大堂", dice % 30), "record": dice % 100_000,
        "detail": "let in by the controller, whose own list has this card", "opened_within_ms": dice % 8000,
    });
    Draft::new(if dice.is_multiple_of(9) { "access.denied" } else { "access.granted" }, door, at, &data)
}

fn device(dice: u64, at: Millis) -> Draft {
    let id = format!("meter-{}", dice % 300);
    let data = json!({
        "device": id, "profile": "dlt645", "channel": "rs485-1", "place": "5号楼/配电间", "since": gatehouse::time::format(at),
        "state": "offline", "why": "no answer to the last 3 questions within 500 ms; the line itself answers for others",
    });
    Draft::new(
        if dice.is_multiple_of(2) { "device.offline" } else { "device.online" },
        format!("devices/{id}"),
        at,
        &data,
    )
}
