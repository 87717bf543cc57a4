//! The end for readings: gathered in memory as few bytes, written in bulk by a thread of its own, disposable.
//!
//! No call waits for the disk, but [`History::close`]. A power cut or a kill costs what was read since the last hand-over,
//! five minutes and a little. What is damaged is passed over or put aside. Where the disk does not take what is gathered,
//! new readings are left out until it does. Nothing of this touches a ticket.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tracing::{error, warn};

use super::gathered::Shared;
use super::past::{Readings, newest};
use super::scribe::{Desk, HandOver, Retire, Scribe};
use super::series::Sample;
use super::{Error, WRITE_BUDGET_DEFAULT};
use crate::reading::{Millis, Reading};

/// Owned by one thread; dropping it [closes](Self::close) it.
#[derive(Debug)]
pub struct History {
    dir: PathBuf,
    gathered: Shared,
    /// Readings left out since the last hand-over.
    left_out: u64,
    tried_at: Millis,
    write_budget: u64,
    desk: Arc<Desk>,
    /// The thread that writes; `None` where it could not begin.
    scribe: Option<JoinHandle<()>>,
    /// Hangs up when that thread ends, however it does.
    life: mpsc::Receiver<Infallible>,
}

/// Between two hand-overs at the most.
const FLUSH_EVERY: Millis = 5 * 60_000;
/// So much gathered is handed over at once.
const GATHERED_ENOUGH: usize = 512 << 10;
/// So much gathered and under way is all that the memory gives, while the disk takes nothing.
const GATHERED_MAX: usize = 1 << 20;
/// Readings in one answer; go on from the last one's time.
pub const SAMPLES_MAX: usize = 50_000;
/// How long the end may wait for the disk.
const CLOSE_WAITS: Duration = Duration::from_secs(2);

impl History {
    pub(super) fn open(dir: &Path) -> Self {
        let gathered = Shared::default();
        let scribe = Scribe::new(dir, gathered.clone());
        Self::with(dir, gathered, move |desk| scribe.run(desk))
    }

    fn with(dir: &Path, gathered: Shared, write: impl FnOnce(&Desk) + Send + 'static) -> Self {
        let desk = Arc::new(Desk::default());
        let (scribe, life) = begin(desk.clone(), write);
        let (dir, write_budget) = (dir.to_owned(), WRITE_BUDGET_DEFAULT);
        Self { dir, gathered, left_out: 0, tried_at: 0, write_budget, desk, scribe, life }
    }

    /// Bytes that may be written in a day. Who counts them asks it to be [thin](Self::thin).
    pub fn within(mut self, write_budget: u64) -> Self {
        self.write_budget = write_budget;
        self
    }

    pub fn set_write_budget(&mut self, write_budget: u64) {
        self.write_budget = write_budget;
    }

    pub fn write_budget(&self) -> u64 {
        self.write_budget
    }

    /// Gathers one reading of the point with this name, in memory. Which ones are worth it is the caller's to say.
    pub fn note(&mut self, point: &Arc<str>, reading: &Reading) {
        if !self.gathered.lock().note(point, reading, GATHERED_MAX) {
            self.left_out += 1;
        }
    }

    /// Whether it is time to [`flush`](Self::flush): five minutes after the last time, or as soon as much is gathered.
    pub fn due(&self, now: Millis) -> bool {
        let gathered = self.gathered.lock();
        let busy = gathered.is_busy();
        // A clock that was set back must not stop the flushing, hence the absolute difference.
        let waited = now.abs_diff(self.tried_at) >= FLUSH_EVERY.unsigned_abs();
        let full = gathered.bytes() >= GATHERED_ENOUGH;
        (waited && (busy || !gathered.is_empty())) || (full && !busy)
    }

    /// Hands over what is gathered, to be written at once. While the last hand-over is not written, it is that one's
    /// turn again and the rest stays gathered, as far as the memory allows.
    pub fn flush(&mut self, now: Millis) {
        self.tried_at = now;
        if self.life.try_recv() == Err(TryRecvError::Disconnected) {
            self.begin_anew();
        } else if self.gathered.lock().is_busy() {
            self.desk.try_again();
        } else {
            self.hand_over();
        }
    }

    /// Asks for the deletion of what is older than `keep`, then of the oldest while the readings take more than `limit`
    /// bytes. It is done little by little, between hand-overs. Only with a clock that can be believed.
    pub fn retire(&self, now: Millis, keep: Duration, limit: u64) {
        let cut = now.saturating_sub(keep.as_millis().try_into().unwrap_or(Millis::MAX));
        self.desk.retire(Retire { cut, limit });
    }

    /// Writes everything gathered and ends the thread; waits two seconds for it at the most, and then leaves it to itself.
    pub fn close(self) {}

    /// Only rollups are written from now on, since so much was written today; or all of it again.
    pub fn thin(&self, thin: bool) {
        self.desk.thin(thin);
    }

    /// The readings of one point since a time, oldest first; at most [`SAMPLES_MAX`].
    pub fn recent(&self, point: &str, since: Millis) -> Result<Vec<Sample>, Error> {
        let mut samples = Vec::new();
        self.readings()?.until(point, since, Millis::MAX, |sample| {
            samples.push(sample);
            if samples.len() < SAMPLES_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(samples)
    }

    /// Time of the last reading that was written, 0 where there is none.
    pub fn last_flush(&self) -> Millis {
        newest(&self.dir).unwrap_or_default()
    }

    /// What is not in a file yet, for who reads.
    pub(super) fn gathered(&self) -> Shared {
        self.gathered.clone()
    }

    fn readings(&self) -> Result<Readings, Error> {
        Readings::open(&self.dir, Some(self.gathered()))
    }

    fn hand_over(&mut self) {
        let Some(frame) = self.gathered.lock().hand_over() else { return };
        let left_out = std::mem::take(&mut self.left_out);
        self.desk.hand(HandOver { frame, left_out });
    }

    /// The thread has ended, which only a panic does to it, or it never began. Another one takes what was gathered since;
    /// what the first had in hand may be what it broke at. One that breaks again is begun at the next flush, not before.
    fn begin_anew(&mut self) {
        if let Some(broken) = self.scribe.take() {
            // What it has to say the panic has said.
            let _ = broken.join();
            error!(
                "The history's thread has broken and is begun anew; the readings that it had in hand are lost."
            );
        }
        self.gathered.lock().lose_under_way();
        let desk = Arc::new(Desk::default());
        desk.thin(self.desk.is_thin());
        self.desk = desk.clone();
        let scribe = Scribe::new(&self.dir, self.gathered.clone());
        (self.scribe, self.life) = begin(desk, move |desk| scribe.run(desk));
        self.hand_over();
    }
}

/// The thread, and what hangs up when it ends.
fn begin(
    desk: Arc<Desk>,
    write: impl FnOnce(&Desk) + Send + 'static,
) -> (Option<JoinHandle<()>>, mpsc::Receiver<Infallible>) {
    let (alive, life) = mpsc::channel();
    let body = move || {
        let _alive = alive;
        write(&desk);
    };
    let scribe = thread::Builder::new().name("history".into()).spawn(body);
    let scribe = scribe.inspect_err(
        |error| error!(%error, "The history's thread cannot begin; readings wait in memory, and it is tried again."),
    );
    (scribe.ok(), life)
}

impl Drop for History {
    fn drop(&mut self) {
        if self.scribe.is_none() {
            return;
        }
        self.hand_over();
        self.desk.close();
        match self.life.recv_timeout(CLOSE_WAITS) {
            Err(RecvTimeoutError::Timeout) => {
                warn!("The history takes too long to write the last readings; they may be lost.");
            }
            // It has ended, so this does not wait; a panic has said what it has to say.
            _ => drop(self.scribe.take().map(JoinHandle::join)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{PointId, Value};

    fn number(at: Millis, value: f64) -> Reading {
        Reading::good(PointId(0), at, Value::Number(value))
    }

    /// As long as the other end of the channel lives, the disk takes nothing.
    fn stuck(dir: &Path) -> (History, mpsc::Sender<()>) {
        let (disk, answers) = mpsc::channel::<()>();
        let history = History::with(dir, Shared::default(), move |_| {
            let _ = answers.recv();
        });
        (history, disk)
    }

    #[test]
    fn three_thousand_points_a_second_stay_below_two_mib_with_what_is_under_way() {
        let dir = tempfile::tempdir().unwrap();
        let (mut history, disk) = stuck(dir.path());
        let names: Vec<Arc<str>> =
            (0..3000).map(|n| format!("unit-{}.value-{}", n / 10, n % 10).into()).collect();
        for second in 0..900 {
            for (n, name) in names.iter().enumerate() {
                let at = 1_763_712_000_000 + second * 1000 + n as Millis / 10 % 17 * second % 7;
                let value = (1000 + n as Millis * 31 % 977 + second * second % 8999) as f64 / 10.0;
                history.note(name, &number(at, value));
            }
            if history.due(second * 1000) {
                history.flush(second * 1000);
            }
            let bytes = history.gathered.lock().memory();
            assert!(bytes < 2 << 20, "{bytes} bytes in second {second}");
        }
        assert!(history.gathered.lock().is_busy(), "something was under way");
        assert!(history.left_out > 0, "the memory was full");
        drop(disk);
    }

    #[test]
    fn closing_does_not_wait_long_for_a_disk_that_hangs() {
        let dir = tempfile::tempdir().unwrap();
        let (mut history, disk) = stuck(dir.path());
        history.note(&"p.v".into(), &number(1, 1.0));
        let started = std::time::Instant::now();
        history.close();
        assert!(started.elapsed() < CLOSE_WAITS * 2, "{:?}", started.elapsed());
        drop(disk);
    }

    #[test]
    fn a_thread_that_breaks_is_begun_anew_and_takes_what_was_gathered_since() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = History::with(dir.path(), Shared::default(), |_| panic!("as asked by the test"));
        let point: Arc<str> = "p.v".into();
        assert_eq!(history.life.recv(), Err(mpsc::RecvError));
        history.note(&point, &number(1, 1.0));
        assert!(history.due(FLUSH_EVERY));
        history.flush(FLUSH_EVERY);
        assert!(!history.due(FLUSH_EVERY), "not again at once");
        history.note(&point, &number(2, 2.0));
        history.close();
        let written = History::open(dir.path()).recent("p.v", 0).unwrap();
        assert_eq!(written.iter().map(|sample| sample.at).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_thread_that_breaks_with_readings_in_hand_loses_these_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let (mut history, disk) = stuck(dir.path());
        let point: Arc<str> = "p.v".into();
        history.note(&point, &number(1, 1.0));
        history.flush(0);
        history.note(&point, &number(2, 2.0));
        drop(disk);
        assert_eq!(history.life.recv(), Err(mpsc::RecvError));
        assert!(history.due(FLUSH_EVERY), "what is under way is looked after");
        history.flush(FLUSH_EVERY);
        history.close();
        let written = History::open(dir.path()).recent("p.v", 0).unwrap();
        assert_eq!(written.iter().map(|sample| sample.at).collect::<Vec<_>>(), [2]);
    }
}
