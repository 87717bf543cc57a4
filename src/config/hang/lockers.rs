//! A locker's board on a serial channel: its cells, and what is thought of their openings.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::{POLL_DEFAULT, poll};
use crate::access::{Bank, CELL_HELD_AFTER_DEFAULT, OPENS_WITHIN_DEFAULT, OVERDUE_AFTER_DEFAULT};
use crate::config::commands::{Ability, permits};
use crate::config::devices::{Draft, Installer};
use crate::config::installed::Words;
use crate::config::kinds::millis;
use crate::config::points::state;
use crate::config::section::Section;
use crate::field::profile::{Board, Source, Transport};
use crate::field::serial::{self, Feedback, FirstByte, Kind, Locker, Protocol};
use crate::reading::Millis;

const ITEM: &[&str] = &["present", "absent"];
const SPAN_MIN: Duration = Duration::from_secs(1);
const SPAN_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

impl<'a> Installer<'a> {
    pub(in crate::config) fn locker(
        &mut self,
        section: &mut Section<'a>,
        draft: &mut Draft<'a>,
        channel: &Arc<str>,
        settings: &mut serial::Settings,
    ) -> Duration {
        let Some(&Transport::Locker { board, cells_default, cells_max, items, .. }) =
            draft.profile.map(|known| &known.profile.transport)
        else {
            return POLL_DEFAULT;
        };
        let cells =
            section.whole::<u8>("cells", 1..=i128::from(cells_max)).map_or(cells_default, |told| told.value);
        let items = items && section.take_or("items", true);
        draft.points = (1..=cells).map(|n| state(format!("cell-{n}"), Source::Cell)).collect();
        if items {
            draft.points.extend((1..=cells).map(|n| state(format!("item-{n}"), Source::State(ITEM))));
        }
        draft.words = Some(Words::Locker);
        let numbers = self.numbers();
        let ids = numbers.named(&draft.points, "cell-");
        let open = |(cell, id): (u8, &crate::reading::PointId)| Ability {
            action: "open".into(),
            target: format!("cell-{}", cell + 1).into(),
            point: Some(*id),
            does: cell,
        };
        let abilities: Vec<Ability<u8>> = (0..).zip(&ids).map(open).collect();
        let (commands, permits) = permits(section, numbers.device, &abilities);
        self.installed.permits.extend(permits);
        let locker = Locker {
            address: self.unit(section, &draft.id, channel, addresses(board), None),
            protocol: protocol(section, board),
            cells: ids.clone(),
            items: numbers.named(&draft.points, "item-"),
            commands,
        };
        self.installed.banks.push(Bank {
            device: numbers.device,
            cells: ids,
            items: locker.items.clone(),
            unexpected: section.take_or("unexpected", true),
            opens_within: span(section, "opens_within", OPENS_WITHIN_DEFAULT),
            held_after: span(section, "held_after", CELL_HELD_AFTER_DEFAULT),
            overdue_after: span(section, "overdue_after", OVERDUE_AFTER_DEFAULT),
        });
        let poll = poll(section, POLL_DEFAULT);
        settings.boards.push(serial::Board { id: numbers.device, poll, kind: Kind::Locker(locker) });
        poll
    }
}

/// What the switches of a board can be set to.
fn addresses(board: Board) -> RangeInclusive<u8> {
    match board {
        Board::LockBoard8a => 1..=32,
        // F means all boards.
        Board::KrCu16 => 0..=14,
        Board::KrCu48 => 0..=254,
        Board::Winnsen16 => 1..=4,
    }
}

fn protocol(section: &mut Section<'_>, board: Board) -> Protocol {
    match board {
        Board::LockBoard8a => {
            let orders = [("last", FirstByte::Last), ("first", FirstByte::First)];
            Protocol::LockBoard8a {
                feedback: feedback(section),
                first_byte: section.word("first_byte", &orders).map(|told| told.value).unwrap_or_default(),
            }
        }
        Board::KrCu16 => Protocol::KrCu16 { feedback: feedback(section) },
        Board::KrCu48 => Protocol::KrCu48 { feedback: feedback(section) },
        Board::Winnsen16 => Protocol::Winnsen16,
    }
}

fn feedback(section: &mut Section<'_>) -> Feedback {
    let words = [("door-closing", Feedback::DoorClosing), ("door-opening", Feedback::DoorOpening)];
    section.word("feedback", &words).map(|told| told.value).unwrap_or_default()
}

fn span(section: &mut Section<'_>, key: &'static str, default: Millis) -> Millis {
    section.span(key, SPAN_MIN..=SPAN_MAX).map_or(default, |told| millis(told.value))
}
