//! The page: filled with what has come of things, written in one transaction, and only then told.

use std::time::Duration;

use tokio::time::Instant;

use super::{Corridor, Doors};
use crate::event::Draft;
use crate::personal;
use crate::reading::Millis;
use crate::rules::Outcome;
use crate::store::room::PATIENCE;
use crate::store::{EpisodeRow, Page, TicketRow};

/// How often a page that cannot be written is tried again once the daemon has to stop.
pub(super) const LAST_TRIES: u32 = 3;

impl Corridor {
    /// Lets time pass, writes what has come of it all, and only then tells. A page that cannot be written is tried
    /// until it can, `tries` times at the most where that is given; meanwhile the wires wait.
    pub(super) async fn settle(&mut self, doors: &Doors, tries: Option<u32>) {
        let now = self.look_at_the_clocks();
        self.day_advance(now);
        self.period_advance(now);
        let opened = self.pass_time(now);
        self.save_access();
        if self.is_refused() {
            // Everything is kept for the next journal; nobody is told.
            return;
        }
        let maintained = !self.page.maintenance.is_empty();
        if !self.page.is_blank() || std::mem::take(&mut self.trace_due) {
            if !self.write(doors, now, tries).await {
                // Page and answers stay for a last try; what is not on the disk is told to nobody.
                return;
            }
            let durable = self.intake.clock.now();
            for at in opened {
                self.intake.metrics.ticket_durable.observe((durable - at).max(0) as f64 / 1000.0);
            }
            if maintained {
                self.show_maintenance();
            }
            self.intake.metrics.tickets_unclosed.set(self.intake.engine.unclosed() as i64);
        }
        self.orders.settled();
        for receipt in self.receipts.drain(..) {
            receipt.sign();
        }
        for (answer, done) in self.answers.drain(..) {
            // Whoever asked may have gone; what they asked has happened all the same.
            let _ = answer.send(done);
        }
        for (answer, done) in self.maintained.drain(..) {
            let _ = answer.send(done);
        }
        self.erase(doors, now);
        self.keep_house(doors, now);
        doors.pulse.send_modify(|pulse| *pulse = pulse.wrapping_add(1));
    }

    /// What time brings by `now`, onto the page; when tickets were opened by it, or by what was read before.
    pub(super) fn pass_time(&mut self, now: Millis) -> Vec<Millis> {
        self.watch.advance(now);
        self.orders_advance(now);
        self.tell_of_access();
        self.intake.engine.advance(now, self.synced);
        let outcome = self.intake.engine.take(now);
        let opened = outcome.told.iter().filter(|c| c.kind == "ticket.opened").map(|c| c.at).collect();
        self.fill(outcome);
        opened
    }

    fn fill(&mut self, outcome: Outcome) {
        self.write_maintenance(outcome.maintenance);
        for change in outcome.told {
            let subject = format!("tickets/{}", change.ticket.id);
            self.page.events.push(Draft::new(change.kind, subject, change.at, &change.ticket));
        }
        let tickets = outcome.tickets.into_iter();
        self.page.tickets.extend(tickets.map(|t| TicketRow {
            ticket: t.ticket,
            subject: t.subject,
            life: t.life,
        }));
        let episodes = outcome.episodes.into_iter();
        self.page.episodes.extend(episodes.map(|e| EpisodeRow {
            rule: e.rule,
            subject: e.subject,
            state: e.state,
        }));
        if outcome.number > self.number {
            self.number = outcome.number;
            self.page.number = Some(outcome.number);
        }
    }

    /// Whether the page is on the disk.
    async fn write(&mut self, doors: &Doors, now: Millis, tries: Option<u32>) -> bool {
        self.page.at = now;
        self.page.synced = self.synced;
        personal::hold_to_list(&mut self.page.events);
        let began = Instant::now();
        let mut tried = 0;
        loop {
            let started = Instant::now();
            let error = match self.intake.journal.commit(&self.page) {
                Ok(head) => {
                    self.intake.metrics.commit.observe(started.elapsed().as_secs_f64());
                    self.intake.metrics.events.inc_by(self.page.events.len() as u64);
                    doors.head.send_replace(head);
                    if tried > 0 {
                        tracing::info!(tried, "the journal can be written again");
                        doors.trouble.send_replace(None);
                    }
                    self.page = Page::default();
                    return true;
                }
                Err(error) => error,
            };
            if tried == 0 {
                tracing::error!(%error, "the journal cannot be written; readings wait until it can");
            }
            tried += 1;
            doors.trouble.send_replace(Some(format!("the journal cannot be written: {error}")));
            if error.is_full() && self.make_room(doors, tried, now) {
                continue;
            }
            // Without wires there is nothing more to wait for: the daemon stops.
            let tries = tries.or_else(|| doors.batches.is_closed().then_some(LAST_TRIES));
            if tries.is_some_and(|tries| tried >= tries) {
                let events = self.page.events.len();
                tracing::error!(%error, events, "stopping without having written the last events");
                return false;
            }
            // What is damaged stays so, and the next house is being built already.
            let is_damaged = self.intake.journal.alarm().heard().borrow().is_some();
            if (is_damaged || began.elapsed() >= PATIENCE) && self.gives_up(&error) {
                return false;
            }
            doors.pulse.send_modify(|pulse| *pulse = pulse.wrapping_add(1));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}
