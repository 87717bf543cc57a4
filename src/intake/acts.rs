//! People's words on tickets.

use std::sync::Arc;

use super::Corridor;
use crate::masked::mask;
use crate::reading::Millis;
use crate::rules::SavedTicket;
use crate::ticket::{Action, Ask, Refusal, Ticket};

impl Corridor {
    pub(super) fn act(&mut self, mut ask: Ask) {
        let Action { by, note, .. } = &mut ask.action;
        mask(by);
        note.iter_mut().for_each(mask);
        let now = self.look_at_the_clocks();
        let done = match self.intake.engine.act(&ask.action, now) {
            Err(Refusal::Unknown(id)) => self.act_on_filed(&ask.action, id, now),
            done => done,
        };
        self.answers.push((ask.answer, done));
    }

    /// A ticket that has left the desk is closed for good: whatever is asked, it is already further.
    fn act_on_filed(&mut self, action: &Action, id: Arc<str>, now: Millis) -> Result<Ticket, Refusal> {
        let Ok(Some(row)) = self.intake.view.filed(&action.ticket) else {
            return Err(Refusal::Unknown(id));
        };
        let filed = SavedTicket { ticket: row.ticket, subject: row.subject, life: row.life };
        self.intake.engine.act_on_filed(filed, action, now)
    }
}
