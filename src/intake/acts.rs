//! People's words on tickets.

use std::sync::Arc;

use super::Corridor;
use crate::ticket::{Action, Ask, Refusal, State, Ticket};
use crate::time;

impl Corridor {
    pub(super) fn act(&mut self, ask: Ask) {
        let done = match self.intake.engine.act(&ask.action, time::now()) {
            Err(Refusal::Unknown(id)) => self.act_on_filed(&ask.action, id),
            done => done,
        };
        self.answers.push((ask.answer, done));
    }

    /// A ticket that has left the desk is closed for good: whatever is asked, it is already further.
    fn act_on_filed(&self, action: &Action, id: Arc<str>) -> Result<Ticket, Refusal> {
        let filed = self.intake.view.ticket(&action.ticket).ok().flatten();
        let ticket: Option<Ticket> = filed.and_then(|json| serde_json::from_str(&json).ok());
        ticket.filter(|ticket| ticket.state == State::Closed).ok_or(Refusal::Unknown(id))
    }
}
