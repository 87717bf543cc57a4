//! What happened to a ticket and when, as far as it and the journal still tell. Pure.

use std::collections::BTreeSet;
use std::ops::Range;

use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::reading::Millis;
use crate::ticket::{State, Ticket};
use crate::time::rfc3339;

/// Marks in a picture; of more, the first and the last are kept.
pub const MARKS_MAX: usize = 12;
const FIRST_KEPT: usize = 4;
/// What is shown before and after a breach, at least and at most.
const ROOM_LEAST: Millis = 2 * 60_000;
const ROOM_MOST: Millis = 24 * 3_600_000;
/// What is shown of the time that a rule looks back on, at most.
const BACK_MOST: Millis = 7 * 24 * 3_600_000;

/// In the order in which they stand where they have the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The condition began to hold.
    Since,
    Opened,
    Acknowledged,
    Started,
    Escalated,
    Cleared,
    Reopened,
    Resolved,
    Verified,
    Closed,
}

/// An event of the ticket, as far as a picture needs it.
#[derive(Debug, Clone, Deserialize)]
pub struct Told {
    r#type: String,
    #[serde(with = "rfc3339")]
    time: Millis,
    data: Then,
}

/// Of the ticket as it was then.
#[derive(Debug, Clone, Deserialize)]
struct Then {
    #[serde(with = "rfc3339")]
    since: Millis,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Story {
    /// In the order of time.
    pub marks: Vec<(Millis, Kind)>,
    /// So many more between the first and the last.
    pub left_out: usize,
    /// When the condition held; `None`: it holds.
    pub held: Vec<(Millis, Option<Millis>)>,
    /// From when on it was in which state.
    pub states: Vec<(Millis, State)>,
}

impl Kind {
    fn of(event: &str) -> Option<Self> {
        Some(match event.strip_prefix("gatehouse.ticket.")? {
            "opened" => Kind::Opened,
            "acknowledged" => Kind::Acknowledged,
            "started" => Kind::Started,
            "escalated" => Kind::Escalated,
            "cleared" => Kind::Cleared,
            "reopened" => Kind::Reopened,
            "resolved" => Kind::Resolved,
            "verified" => Kind::Verified,
            "closed" => Kind::Closed,
            _ => return None,
        })
    }

    /// The state that it brings.
    fn state(self, before: Option<State>) -> Option<State> {
        match (self, before) {
            (Kind::Opened, _) => Some(State::Open),
            (Kind::Acknowledged, _) => Some(State::Acknowledged),
            (Kind::Started, _) => Some(State::InProgress),
            (Kind::Resolved, _) => Some(State::Resolved),
            (Kind::Closed, _) => Some(State::Closed),
            (Kind::Reopened, Some(State::Resolved | State::Closed)) => Some(State::Open),
            _ => None,
        }
    }
}

impl Story {
    /// `told` may lack what the journal no longer has; the ticket itself knows its own times.
    pub fn of(ticket: &Ticket, told: &[Told]) -> Self {
        let mut marks = BTreeSet::from([(ticket.since, Kind::Since), (ticket.opened_at, Kind::Opened)]);
        let own = [
            (ticket.cleared_at, Kind::Cleared),
            (ticket.resolved_at, Kind::Resolved),
            (ticket.closed_at, Kind::Closed),
        ];
        marks.extend(own.into_iter().filter_map(|(at, kind)| Some((at?, kind))));
        for event in told {
            let Some(kind) = Kind::of(&event.r#type) else { continue };
            let known = marks.iter().any(|(at, other)| *other == kind && (at - event.time).abs() < 2);
            if !known {
                marks.insert((event.time, kind));
            }
            if matches!(kind, Kind::Opened | Kind::Reopened) {
                marks.insert((event.data.since, Kind::Since));
            }
        }
        let marks: Vec<(Millis, Kind)> = marks.into_iter().collect();
        let (held, states) = (held(&marks, ticket.cleared_at), states(&marks, ticket.state));
        let left_out = marks.len().saturating_sub(MARKS_MAX);
        let kept = |index: usize| index < FIRST_KEPT || index >= FIRST_KEPT + left_out;
        let marks = marks.into_iter().enumerate().filter(|(n, _)| kept(*n)).map(|(_, mark)| mark).collect();
        Self { marks, left_out, held, states }
    }

    /// When the condition first began to hold.
    pub fn begin(&self) -> Option<Millis> {
        self.held.first().map(|(from, _)| *from)
    }

    /// What a picture of it shows: the breach, and some time around it.
    pub fn span(&self, limit: &Json, now: Millis) -> Range<Millis> {
        let begin = self.begin().unwrap_or(now);
        let end = self.held.last().map_or(now, |(_, to)| to.unwrap_or(now)).max(begin);
        let room = (end.saturating_sub(begin) / 4).clamp(ROOM_LEAST, ROOM_MOST);
        let before = room.max(look_back(limit).min(BACK_MOST));
        begin.saturating_sub(before)..end.saturating_add(room).min(now.max(end))
    }
}

fn held(marks: &[(Millis, Kind)], cleared_at: Option<Millis>) -> Vec<(Millis, Option<Millis>)> {
    let mut held: Vec<(Millis, Option<Millis>)> = Vec::new();
    for (at, kind) in marks {
        match (kind, held.last_mut()) {
            (Kind::Since, Some((_, None))) => {}
            (Kind::Since, _) => held.push((*at, None)),
            (Kind::Cleared, Some((_, to @ None))) => *to = Some(*at),
            _ => {}
        }
    }
    if let (Some((from, to @ None)), Some(at)) = (held.last_mut(), cleared_at) {
        *to = Some(at.max(*from));
    }
    held
}

fn states(marks: &[(Millis, Kind)], present: State) -> Vec<(Millis, State)> {
    let mut states: Vec<(Millis, State)> = Vec::new();
    for (at, kind) in marks {
        let before = states.last().map(|(_, state)| *state);
        if let Some(state) = kind.state(before).filter(|state| before != Some(*state)) {
            states.push((*at, state));
        }
    }
    if let Some((at, _)) = states.last().copied().filter(|(_, state)| *state != present) {
        // The journal no longer says when.
        match states.len() {
            1 => states = vec![(at, present)],
            _ => states.push((marks.last().map_or(at, |(at, _)| *at), present)),
        }
    }
    states
}

/// How far back the condition looks: over that time it came about.
fn look_back(limit: &Json) -> Millis {
    let Some((word, value)) = limit.as_object().and_then(|limit| limit.iter().next()) else { return 0 };
    if word == "forecast" {
        return BACK_MOST;
    }
    let span = value.as_str().or_else(|| value.get("within")?.as_str());
    let parsed = span.and_then(|span| span.parse::<SignedDuration>().ok());
    parsed.map_or(0, |span| Millis::try_from(span.as_millis()).unwrap_or(BACK_MOST)).max(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::ticket;
    use super::*;

    fn told(kind: &str, time: Millis, since: Millis) -> Told {
        Told { r#type: format!("gatehouse.ticket.{kind}"), time, data: Then { since } }
    }

    #[test]
    fn a_ticket_of_which_the_journal_knows_nothing_tells_its_own_times() {
        let ticket = Ticket {
            since: 1000,
            opened_at: 2000,
            cleared_at: Some(5000),
            resolved_at: Some(7000),
            state: State::Resolved,
            ..ticket()
        };
        let story = Story::of(&ticket, &[]);
        let kinds: Vec<Kind> = story.marks.iter().map(|(_, kind)| *kind).collect();
        assert_eq!(kinds, [Kind::Since, Kind::Opened, Kind::Cleared, Kind::Resolved]);
        assert_eq!(story.held, [(1000, Some(5000))]);
        assert_eq!(story.states, [(2000, State::Open), (7000, State::Resolved)]);
        let acknowledged = Ticket { state: State::Acknowledged, resolved_at: None, ..ticket };
        assert_eq!(Story::of(&acknowledged, &[]).states, [(2000, State::Acknowledged)]);
    }

    #[test]
    fn a_reopened_ticket_has_two_times_in_which_its_condition_held() {
        let events = [
            told("opened", 2000, 1000),
            told("acknowledged", 2500, 1000),
            told("cleared", 3000, 1000),
            told("resolved", 3500, 1000),
            told("reopened", 9000, 8000),
        ];
        let ticket = Ticket { since: 8000, opened_at: 2000, occurrences: 2, ..ticket() };
        let story = Story::of(&ticket, &events);
        assert_eq!(story.held, [(1000, Some(3000)), (8000, None)]);
        let states = [State::Open, State::Acknowledged, State::Resolved, State::Open];
        assert_eq!(story.states.iter().map(|(_, state)| *state).collect::<Vec<_>>(), states);
        assert_eq!(story.span(&Json::Null, 1_000_000).end, 1_000_000);
    }

    #[test]
    fn resolved_but_not_gone_is_one_time_in_which_it_held() {
        let events = [told("opened", 2000, 1000), told("resolved", 3000, 1000), told("reopened", 9000, 1000)];
        let ticket = Ticket { since: 1000, opened_at: 2000, ..ticket() };
        assert_eq!(Story::of(&ticket, &events).held, [(1000, None)]);
    }

    #[test]
    fn a_month_after_the_breach_the_picture_is_still_of_the_breach() {
        let month = 30 * 24 * 3_600_000;
        let ticket =
            Ticket { since: 1_000_000, opened_at: 1_010_000, cleared_at: Some(1_060_000), ..ticket() };
        let span = Story::of(&ticket, &[]).span(&json!({ "below": 200.0 }), month);
        assert_eq!(span, 1_000_000 - ROOM_LEAST..1_060_000 + ROOM_LEAST);
        // A rise of ten minutes is seen as a whole.
        let span = Story::of(&ticket, &[]).span(&json!({ "rises": { "by": 5.0, "within": "10m" } }), month);
        assert_eq!(span.start, 1_000_000 - 600_000);
    }

    #[test]
    fn a_ticket_that_came_back_a_thousand_times_has_few_marks() {
        let events: Vec<Told> = (0..1000)
            .flat_map(|n| {
                let at = 10_000 + n * 1000;
                [told("cleared", at, 1000), told("reopened", at + 500, at + 400)]
            })
            .collect();
        let story = Story::of(&Ticket { since: 1000, opened_at: 2000, ..ticket() }, &events);
        assert_eq!(story.marks.len(), MARKS_MAX);
        assert_eq!(story.marks[0], (1000, Kind::Since));
        assert_eq!(story.left_out, 2 + 3000 - MARKS_MAX);
    }
}
