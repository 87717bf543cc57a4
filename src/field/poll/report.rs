//! What is said of devices and of the wire: whether a device is there, which points it does not give, and whether the
//! wire keeps up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::{Ask, Closed, Poll, Turn};
use crate::field::load::News;
use crate::field::schedule::{FAILURES_DEGRADED, State};
use crate::reading::{Life, PointId, Quality, Reading, Reason};
use crate::time::now;

/// The points that a device refuses or does not answer for.
#[derive(Debug, Default)]
pub(super) struct Troubles(BTreeMap<PointId, Reason>);

/// So many are named; people see the others in the page.
const NAMED_MOST: usize = 5;

impl<P: Ask> Poll<P> {
    /// What these readings, and what is known of the device, show of it.
    pub(super) fn life(&mut self, unit: usize, readings: &[Reading], why: &str) -> Option<Life> {
        self.units[unit].troubles.note(readings);
        match self.schedule.state(unit) {
            State::Well => {
                Some(self.protocol.refused(unit).map_or(Life::Online, |why| Life::Degraded { why }))
            }
            State::Partly => Some(Life::Degraded { why: self.troubles(unit) }),
            State::Silent(FAILURES_DEGRADED) => Some(Life::Failing { why: why.to_owned() }),
            State::Silent(1) => None,
            State::Silent(_) => Some(Life::Offline { why: why.to_owned() }),
        }
    }

    /// The points of a turn that got no answer are bad; of those that were told already it did.
    pub(super) async fn miss(
        &mut self,
        turn: usize,
        why: &str,
        mut readings: Vec<Reading>,
        told: &[PointId],
    ) -> Result<(), Closed> {
        let at = now();
        let points = self.turns[turn].round.points.iter().copied();
        let missed: Vec<_> = points
            .filter(|point| !told.contains(point) && readings.iter().all(|r| r.point != *point))
            .map(|point| Reading::bad(point, at, Reason::NoAnswer))
            .collect();
        readings.extend(missed);
        let unit = self.turns[turn].unit;
        let life = self.life(unit, &readings, why);
        self.hand_on(unit, readings, life).await
    }

    fn troubles(&self, unit: usize) -> String {
        let troubles = &self.units[unit].troubles.0;
        let of = |reason: Reason| troubles.iter().filter(move |t| *t.1 == reason).map(|t| self.point(*t.0));
        let parts = [("refused", of(Reason::DeviceError)), ("not answered", of(Reason::NoAnswer))];
        let parts = parts.map(|(what, points)| (what, list(points.collect())));
        let parts: Vec<_> =
            parts.iter().filter_map(|(what, who)| Some(format!("{what}: {}", who.as_ref()?))).collect();
        let parts: Vec<_> = parts.into_iter().chain(self.protocol.refused(unit)).collect();
        match parts.is_empty() {
            true => "it does not answer all that it is asked".into(),
            false => parts.join("; "),
        }
    }

    fn point(&self, id: PointId) -> String {
        self.site.points.get(id.0 as usize).map_or_else(|| format!("point {}", id.0), |p| p.id.to_string())
    }

    /// Now and then: how busy the wire is, and whether it keeps up.
    pub(super) fn look_at_load(&mut self, now: Instant) {
        let Some(seen) = self.load.look(now) else {
            return;
        };
        let troubled = |unit: &usize| {
            self.schedule.state(*unit) != State::Well || self.protocol.refused(*unit).is_some()
        };
        let degraded = (0..self.units.len()).filter(troubled).count();
        self.counters.load(seen.cycle, seen.lag, degraded);
        match seen.news {
            None => {}
            Some(News::KeepsUp) => {
                self.counters.behind(false);
                info!(channel = %self.id, "The line keeps up again with what is due on it.");
            }
            Some(News::Behind { within, takes, late }) => {
                self.counters.behind(true);
                let turns: Vec<&Turn> = late.iter().map(|(turn, _)| &self.turns[*turn]).collect();
                let who = sufferers(&turns, |point| self.point(point));
                let apart = late.first().map(|late| late.1).unwrap_or_default();
                warn!(
                    channel = %self.id,
                    "The line cannot keep up: it needs {} for what is due every {}; read only every {} or so: {who}. \
                     Poll them more rarely, or raise the baud rate.",
                    seconds(takes), seconds(within), seconds(apart),
                );
            }
        }
    }
}

impl Troubles {
    pub fn note(&mut self, readings: &[Reading]) {
        for reading in readings {
            match reading.reason {
                Some(reason @ (Reason::DeviceError | Reason::NoAnswer))
                    if reading.quality == Quality::Bad =>
                {
                    self.0.insert(reading.point, reason);
                }
                _ => {
                    self.0.remove(&reading.point);
                }
            }
        }
    }
}

/// `12 points of 3 devices (a.x, a.y, …)`, in the order of the turns.
fn sufferers(turns: &[&Turn], name: impl Fn(PointId) -> String) -> String {
    let points: Vec<String> = turns.iter().flat_map(|turn| &turn.round.points).map(|id| name(*id)).collect();
    let devices: BTreeSet<usize> = turns.iter().map(|turn| turn.unit).collect();
    let (all, of) = (points.len(), devices.len());
    format!("{all} points of {of} devices ({})", list(points).unwrap_or_default())
}

/// `a, b, c and 4 more`; `None` of nothing.
fn list(mut names: Vec<String>) -> Option<String> {
    let more = names.len().saturating_sub(NAMED_MOST);
    names.truncate(NAMED_MOST);
    match (names.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(names.join(", ")),
        (false, more) => Some(format!("{} and {more} more", names.join(", "))),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::super::Round;
    use super::*;

    #[test]
    fn who_suffers_is_named_by_points_the_worst_first_and_not_without_end() {
        let turn = |unit, points: std::ops::Range<u32>| {
            let (every, questions) = (Duration::from_secs(1), vec![0]);
            Turn { unit, round: Round { every, questions, points: points.map(PointId).collect() } }
        };
        let (slow, one, many) = (turn(0, 7..8), turn(1, 0..2), turn(0, 10..16));
        let said = |turns: &[&Turn]| sufferers(turns, |point| format!("p{}", point.0));
        assert_eq!(said(&[&slow, &one]), "3 points of 2 devices (p7, p0, p1)");
        assert_eq!(said(&[&one, &many]), "8 points of 2 devices (p0, p1, p10, p11, p12 and 3 more)");
    }
}
