//! The wire itself: opened, broken, waited for, and opened again.

use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::errands::refuse;
use super::{Ask, Closed, Poll};
use crate::backoff::Backoff;
use crate::field::wire::{Link, Wire};
use crate::reading::{Batch, Life, Reading, Reason};
use crate::time::now;

/// How the wire does.
#[derive(Debug)]
pub(super) struct Health {
    pauses: Backoff,
    /// Told to all, and not yet answered by anyone since: why.
    pub down: Option<String>,
    /// Whether anybody answered since it was opened.
    pub answered: bool,
    /// Times it broke in a row with no answer in between.
    breaks: u32,
    /// Questions in a row that nobody answered.
    pub unanswered: u32,
    /// When it was opened.
    opened: Instant,
    /// Told once that the kernel does not switch the direction.
    direction_told: bool,
}

const REOPEN_FIRST: Duration = Duration::from_millis(500);
const REOPEN_MOST: Duration = Duration::from_secs(30);
/// A port that is plugged in again is found within that.
const LOOK_AT_PORT: Duration = Duration::from_secs(2);
/// A wire that breaks so often at the first question is down, though it can be opened.
const BREAKS_DOWN: u32 = 3;
/// A peer that lost its power leaves a connection that looks alive; after so much silence a new one is tried.
const UNANSWERED_MOST: u32 = 3;
/// An adapter may hang and deliver nothing until its port is opened anew; after so much silence, and not more often.
const UNANSWERED_MOST_PORT: u32 = 10;
const REOPEN_PORT_APART: Duration = Duration::from_secs(30);

impl<P: Ask> Poll<P> {
    pub(super) async fn connect(&mut self) -> io::Result<()> {
        self.link = None; // a serial port is held by one alone
        let link = self.wire.open().await?;
        self.is_open(link);
        Ok(())
    }

    fn is_open(&mut self, link: Link) {
        if let Some(e) =
            link.direction().filter(|_| !std::mem::replace(&mut self.health.direction_told, true))
        {
            warn!(channel = %self.id, wire = %self.wire, error = %e, "The port's driver does not switch the RS-485 direction; its adapter has to.");
        }
        self.link = Some(link);
        self.protocol.opened();
        (self.health.answered, self.health.opened) = (false, Instant::now());
    }

    /// Tries until the wire is open, ever more rarely. What others want of it meanwhile is refused where it is down.
    pub(super) async fn open(&mut self) -> Result<(), Closed> {
        self.link = None;
        loop {
            match self.open_once().await? {
                Ok(link) => {
                    self.is_open(link);
                    debug!(channel = %self.id, wire = %self.wire, "The wire is open.");
                    return Ok(());
                }
                Err(e) => self.down(&e).await?,
            }
            self.wait_for_wire().await?;
        }
    }

    async fn open_once(&mut self) -> Result<io::Result<Link>, Closed> {
        let mut opening = pin!(self.wire.open());
        loop {
            let errand = tokio::select! {
                opened = &mut opening => return Ok(opened),
                errand = self.errands.next(), if self.health.down.is_some() => errand,
            };
            refuse(errand, self.health.why_down(), &self.out).await?;
        }
    }

    /// Until it is time to try again, or until something else is plugged in.
    async fn wait_for_wire(&mut self) -> Result<(), Closed> {
        let before = self.wire.plugged();
        let is_port = matches!(self.wire, Wire::Serial(_));
        let end = Instant::now() + self.health.pauses.pause();
        loop {
            let at = if is_port { end.min(Instant::now() + LOOK_AT_PORT) } else { end };
            tokio::select! {
                errand = self.errands.next() => refuse(errand, self.health.why_down(), &self.out).await?,
                () = sleep_until(at) => {}
            }
            let plugged = self.wire.plugged();
            if Instant::now() >= end || (plugged.is_some() && plugged != before) {
                return Ok(());
            }
        }
    }

    /// It broke with no answer since it was opened: not at once again.
    pub(super) async fn broke(&mut self, e: &io::Error) -> Result<(), Closed> {
        self.health.breaks += 1;
        if self.health.breaks >= BREAKS_DOWN {
            self.down(e).await?;
        }
        self.wait_for_wire().await
    }

    /// Says once that all devices of this wire are out of reach.
    async fn down(&mut self, e: &io::Error) -> Result<(), Closed> {
        if self.health.down.replace(e.to_string()).is_some() {
            return Ok(());
        }
        self.counters.broken();
        warn!(channel = %self.id, error = %e, "The wire is down; it is tried again until it is back.");
        for unit in 0..self.units.len() {
            let at = now();
            let turns = self.turns.iter().filter(|turn| turn.unit == unit);
            let points = turns.flat_map(|turn| &turn.round.points);
            let readings = points.map(|&p| Reading::bad(p, at, Reason::WireDown)).collect();
            let why = e.to_string();
            let batch = Batch::new(self.units[unit].id, at, readings, Some(Life::Offline { why }));
            self.out.send(Batch { wire: Some(false), ..batch }).await.map_err(|_| Closed)?;
        }
        Ok(())
    }
}

impl Health {
    pub fn new() -> Self {
        Self {
            pauses: Backoff::new(REOPEN_FIRST, REOPEN_MOST),
            down: None,
            answered: false,
            breaks: 0,
            unanswered: 0,
            opened: Instant::now(),
            direction_told: false,
        }
    }

    /// Somebody answered, so the wire is well.
    pub fn answer(&mut self, channel: &str) {
        if self.down.take().is_some() {
            info!(channel, "The wire is back.");
        }
        self.pauses.reset();
        self.answered = true;
        self.breaks = 0;
        self.unanswered = 0;
    }

    /// A connection, or a port, on which nobody answers for long is given up.
    pub fn give_up_on_silence(&mut self, wire: &Wire, link: &mut Option<Link>) {
        let long = match wire {
            Wire::Tcp { .. } => self.unanswered >= UNANSWERED_MOST,
            Wire::Serial(_) => {
                self.unanswered >= UNANSWERED_MOST_PORT && self.opened.elapsed() >= REOPEN_PORT_APART
            }
        };
        if long {
            self.unanswered = 0;
            *link = None;
        }
    }

    /// For people.
    pub fn why_down(&self) -> &str {
        self.down.as_deref().unwrap_or("the wire is down")
    }
}
