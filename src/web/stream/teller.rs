//! What one listener is told, and when.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::news::Missing;
use crate::event::Cursor;
use crate::live::PointNow;
use crate::reading::PointId;
use crate::web::gate::Caller;
use crate::web::health::Readiness;
use crate::web::problem::Problem;
use crate::web::site::{devices_after, points_now, site_now};
use crate::web::{Desk, lines};

/// Points and devices are told as often at the most.
const TURN: Duration = Duration::from_secs(1);
/// Of these turns.
const CONSUMERS_EVERY: u64 = 2;
const LINES_EVERY: u64 = lines::EVERY.as_secs();
const COMMENT_EVERY: u64 = 15;
/// The journal is told as often at the most, so that a flood of events is read in slices.
const NEWS_APART: Duration = Duration::from_millis(100);
/// Who does not take anything for so long is dropped.
const PATIENCE: Duration = Duration::from_secs(10);
/// Who is further behind begins anew.
const BEHIND_MAX: u64 = 2000;
/// In one message.
const POINTS_MAX: usize = 500;

/// Where to go on in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    after: u64,
    /// It is not where the listener was: what was between is not told.
    lost: bool,
}

/// After the last event that a listener saw, where that can be; else from the head.
pub fn place(desk: &Desk, last: Option<&str>) -> Result<Place, Problem> {
    let head = *desk.rooms.head.borrow();
    let Some(last) = last.filter(|last| !last.is_empty()) else {
        return Ok(Place { after: head, lost: false });
    };
    let cursor: Cursor = last.parse().map_err(|error| {
        Problem::bad_request(format!("Last-Event-ID: {error}; leave it out to begin with what is now"))
    })?;
    let foreign = cursor.epoch.is_some_and(|epoch| *epoch != **desk.rooms.view.epoch());
    let lost = foreign || cursor.seq > head || head - cursor.seq > BEHIND_MAX;
    Ok(Place { after: if lost { head } else { cursor.seq }, lost })
}

pub struct Teller {
    desk: Arc<Desk>,
    caller: Caller,
    points: Vec<PointId>,
    place: Place,
    to: DuplexStream,
    head: watch::Receiver<u64>,
    ready: watch::Receiver<Readiness>,
    /// The last change that was told; `None`: nothing yet.
    change: Option<u64>,
    /// What was told last of those who read the journal.
    consumers: String,
}

impl Teller {
    pub fn new(
        desk: Arc<Desk>,
        caller: Caller,
        points: Vec<PointId>,
        place: Place,
        to: DuplexStream,
    ) -> Self {
        let (head, ready) = (desk.rooms.head.clone(), desk.rooms.ready.clone());
        Self { desk, caller, points, place, to, head, ready, change: None, consumers: String::new() }
    }

    /// The house closes, or another configuration is shown: the listener comes again.
    pub fn end(&self) -> CancellationToken {
        self.desk.outdated.clone()
    }

    /// Until the listener is gone or too slow, or nobody writes the journal any more.
    pub async fn tell(mut self) {
        // Its end is seen by the listener.
        let _ = self.go_on().await;
    }

    async fn go_on(&mut self) -> io::Result<()> {
        self.begin().await?;
        let mut turn = interval(TURN);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        turn.tick().await;
        let (mut turns, mut news_at) = (0, Instant::now());
        let mut waiting = true;
        loop {
            tokio::select! {
                _ = turn.tick() => {
                    turns += 1;
                    self.turn(turns).await?;
                }
                changed = self.ready.changed() => {
                    changed.map_err(closed)?;
                    self.site().await?;
                }
                changed = self.head.changed(), if !waiting => {
                    changed.map_err(closed)?;
                    waiting = true;
                }
                () = sleep_until(news_at), if waiting => {
                    // Seen before the journal is read: what is committed in between wakes the wait above.
                    self.head.borrow_and_update();
                    waiting = self.news().await?;
                    news_at = Instant::now() + NEWS_APART;
                }
            }
        }
    }

    /// All as it is now, so that nothing is missed between a question and the stream.
    async fn begin(&mut self) -> io::Result<()> {
        self.ready.borrow_and_update();
        let (site, place) = (site_now(&self.desk, &self.caller), self.desk.cursor(self.place.after));
        // A listener who is let go before it hears of an event knows from where to go on.
        self.write(&framed("site", Some(&place), &serde_json::to_string(&site)?)).await?;
        if self.place.lost {
            self.lost().await?;
        }
        self.changes().await?;
        self.lines().await?;
        self.consumers().await
    }

    async fn turn(&mut self, turns: u64) -> io::Result<()> {
        self.changes().await?;
        if turns.is_multiple_of(CONSUMERS_EVERY) {
            self.consumers().await?;
        }
        if turns.is_multiple_of(LINES_EVERY) {
            self.lines().await?;
        }
        if turns.is_multiple_of(COMMENT_EVERY) {
            self.write(":\n\n").await?;
        }
        Ok(())
    }

    async fn site(&mut self) -> io::Result<()> {
        let site = site_now(&self.desk, &self.caller);
        self.say("site", &site).await
    }

    /// What the listener knows of the journal may have holes: it should ask for all anew.
    async fn lost(&mut self) -> io::Result<()> {
        let head = self.desk.cursor(self.place.after);
        self.say("reset", &serde_json::json!({ "head": head })).await
    }

    async fn lines(&mut self) -> io::Result<()> {
        let lines = lines::lines_now(&self.desk);
        self.say("lines", &lines).await
    }

    async fn consumers(&mut self) -> io::Result<()> {
        let Some(now) = self.desk.consumers.now(&self.desk).await else { return Ok(()) };
        if now.essence != self.consumers {
            self.consumers.clone_from(&now.essence);
            self.write(&framed("consumers", None, &now.body)).await?;
        }
        Ok(())
    }

    /// Devices and points that are not what they were.
    async fn changes(&mut self) -> io::Result<()> {
        let (now, points) = self.changed();
        if self.change == Some(now) {
            return Ok(());
        }
        let devices = devices_after(&self.desk, self.change.replace(now));
        for device in &devices {
            self.say("device", device).await?;
        }
        let mut points = points.into_iter().peekable();
        while points.peek().is_some() {
            let some = points.by_ref().take(POINTS_MAX).collect();
            let rows = points_now(&self.desk, some);
            self.say("points", &rows).await?;
        }
        Ok(())
    }

    /// The last change of all, and the wanted points that changed since what was told last.
    fn changed(&self) -> (u64, Vec<(PointId, PointNow)>) {
        let live = self.desk.rooms.live.lock();
        let new = |id: &PointId| self.change.is_none_or(|change| live.point_changed(*id) > change);
        let points = self.points.iter().copied().filter(new).map(|id| (id, live.point(id).clone()));
        (live.last_change(), points.collect())
    }

    /// Whether there may be more already.
    async fn news(&mut self) -> io::Result<bool> {
        let after = self.place.after;
        match self.desk.news.after(&self.desk.clone(), after).await {
            Ok(slice) => {
                let mut text = String::new();
                for (seq, event) in &slice.items {
                    text.push_str(&framed("journal", Some(&self.desk.cursor(*seq)), event));
                }
                self.place.after = slice.next;
                if !text.is_empty() {
                    self.write(&text).await?;
                }
                Ok(slice.next < *self.head.borrow())
            }
            Err(Missing::Gone) => {
                self.place = Place { after: *self.head.borrow(), lost: true };
                self.lost().await?;
                Ok(false)
            }
            // With the next event it is tried again.
            Err(Missing::Unread) => Ok(false),
        }
    }

    async fn say(&mut self, event: &str, data: &impl Serialize) -> io::Result<()> {
        let data = serde_json::to_string(data)?;
        self.write(&framed(event, None, &data)).await
    }

    async fn write(&mut self, text: &str) -> io::Result<()> {
        timeout(PATIENCE, self.to.write_all(text.as_bytes())).await?
    }
}

fn closed(_: watch::error::RecvError) -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

/// As the HTML standard has it: a line of data may not have a line break in it.
fn framed(event: &str, id: Option<&str>, data: &str) -> String {
    let mut text = format!("event: {event}\n");
    if let Some(id) = id {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "id: {id}");
    }
    for line in data.lines() {
        let _ = writeln!(text, "data: {line}");
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_whatever_is_in_it() {
        assert_eq!(framed("site", None, "{}"), "event: site\ndata: {}\n\n");
        let two = framed("journal", Some("e.7"), "{\n\"a\":1}");
        assert_eq!(two, "event: journal\nid: e.7\ndata: {\ndata: \"a\":1}\n\n");
    }
}
