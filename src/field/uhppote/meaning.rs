//! What a controller's event means at a door: its reasons are numbers.

use std::sync::Arc;

use super::Controller;
use super::codec::Event;
use crate::happening::{Direction, Happening, Kind};
use crate::pseudonym::Pseudonyms;
use crate::reading::Millis;

const SWIPE: u8 = 1;
/// The reasons that a card's event can have; in others the card's field says something else.
const OF_CARDS: std::ops::RangeInclusive<u8> = 1..=18;
/// A card shown under threat.
const THREAT: u8 = 34;

/// `None`: nothing was done at a door (the controller was switched on, was reset).
pub fn meaning(
    controller: &Controller,
    event: &Event,
    names: Option<&Pseudonyms>,
    (at, late): (Millis, bool),
) -> Option<Happening> {
    let (kind, reason) = kind(event)?;
    let with_card = event.kind == SWIPE || OF_CARDS.contains(&event.reason) || event.reason == THREAT;
    let door = usize::from(event.door).checked_sub(1);
    Some(Happening {
        point: door.and_then(|door| controller.doors.get(door).copied()),
        who: names.filter(|_| with_card && event.card != 0).map(|names| names.card(&event.card.to_string())),
        direction: match event.direction {
            1 => Some(Direction::In),
            2 => Some(Direction::Out),
            _ => None,
        },
        reason: reason.map(Arc::from),
        record: Some(record(event)),
        late,
        ..Happening::new(controller.id, at, kind)
    })
}

/// Number and time: a controller that was reset counts from 1 again, and those are other events.
pub fn record(event: &Event) -> Arc<str> {
    match event.time {
        Some(time) => format!("{}@{time}", event.index).into(),
        None => event.index.to_string().into(),
    }
}

/// The event's number in a record.
pub fn number(record: &str) -> Option<u32> {
    record.split('@').next()?.parse().ok()
}

fn kind(event: &Event) -> Option<(Kind, Option<&'static str>)> {
    let judged = if event.granted { Kind::Granted } else { Kind::Denied };
    Some(match event.reason {
        1 => (judged, None),
        5 => (judged, Some("pc-control")),
        6 => (judged, Some("no-privilege")),
        7 => (judged, Some("wrong-password")),
        8 => (judged, Some("anti-passback")),
        9 => (judged, Some("more-cards")),
        10 => (judged, Some("first-card")),
        11 => (judged, Some("door-normally-closed")),
        12 => (judged, Some("interlock")),
        13 => (judged, Some("limited-times")),
        15 => (judged, Some("invalid-timezone")),
        18 => (judged, Some("denied")),
        20 => (Kind::Exit, None),
        23 => (Kind::Opened, None),
        24 => (Kind::Closed, None),
        25 => (Kind::Granted, Some("supervisor-password")),
        28 | 29 => return None,
        31 => (Kind::Denied, Some("button-forced-lock")),
        32 => (Kind::Denied, Some("button-offline")),
        33 => (Kind::Denied, Some("button-interlock")),
        THREAT => (Kind::Tamper, Some("threat")),
        37 => (Kind::Held, None),
        38 => (Kind::Forced, None),
        39 => (Kind::Tamper, Some("fire")),
        40 => (Kind::Tamper, Some("forced-close")),
        41 => (Kind::Tamper, Some("theft")),
        42 => (Kind::Tamper, Some("24-hour-zone")),
        43 => (Kind::Tamper, Some("emergency")),
        44 => (Kind::Granted, Some("remote")),
        45 => (Kind::Granted, Some("remote-usb-reader")),
        _ => match event.kind {
            3 => (Kind::Tamper, Some("unknown-alarm")),
            _ => (judged, Some("unknown-reason")),
        },
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::codec;
    use super::super::codec::tests::vector;
    use super::*;
    use crate::reading::{DeviceId, PointId};
    use crate::secret::Secret;

    fn told(change: impl Fn(&mut Event)) -> Option<Happening> {
        let controller = Controller {
            id: DeviceId(0),
            serial: 1,
            address: None,
            poll: Duration::from_secs(1),
            doors: vec![PointId(0), PointId(1), PointId(2), PointId(3)],
            commands: vec![],
        };
        let names = Pseudonyms::new(&Secret::new("a key that is long enough")).unwrap();
        let mut event = codec::event(&vector());
        change(&mut event);
        meaning(&controller, &event, Some(&names), (5, false))
    }

    #[test]
    fn reasons_are_the_fields_words() {
        for (reason, granted, expected) in [
            (1, true, "granted"),
            (6, false, "denied no-privilege"),
            (7, false, "denied wrong-password"),
            (8, false, "denied anti-passback"),
            (20, true, "exit"),
            (23, true, "opened"),
            (24, true, "closed"),
            (37, false, "held"),
            (38, false, "forced"),
            (34, false, "tamper threat"),
            (44, true, "granted remote"),
            (99, false, "denied unknown-reason"),
        ] {
            let told = told(|event| (event.reason, event.granted) = (reason, granted)).unwrap();
            let words = [Some(told.kind.word()), told.reason.as_deref()];
            assert_eq!(words.into_iter().flatten().collect::<Vec<_>>().join(" "), expected);
            assert_eq!(told.who.is_some(), reason <= 18 || reason == 34, "{reason}");
        }
        assert_eq!(told(|event| event.reason = 28), None);
    }

    #[test]
    fn an_event_names_its_door_its_way_and_its_number() {
        let told = told(|_| {}).unwrap();
        assert_eq!((told.point, told.direction), (Some(PointId(2)), Some(Direction::In)));
        assert_eq!(told.record.as_deref(), Some("57@2019-04-19T17:00:09"));
        assert_eq!(super::tests::told(|event| event.door = 0).unwrap().point, None);
        assert_eq!(super::tests::told(|event| event.door = 9).unwrap().point, None);
    }
}
