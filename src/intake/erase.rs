//! Persons to be erased: a bite between two pages, and when it is done the journal's head has moved.

use std::time::Duration;

use super::{Corridor, Doors};
use crate::reading::Millis;

/// Between two bites; half of the time is everybody else's.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

impl Corridor {
    pub(super) fn erase(&mut self, doors: &Doors, now: Millis) {
        match self.intake.journal.erase_on(now, self.synced) {
            Ok(erased) => {
                if let Some(erased) = erased.filter(|erased| erased.told.is_some()) {
                    // Or what is in memory would bring them back with its next revision.
                    self.intake.engine.forget(&erased.pseudonym);
                    self.show_maintenance();
                    tracing::info!(
                        events = erased.events,
                        "a person is erased from the journal, and the centre is told"
                    );
                }
                self.tell_head(doors);
            }
            // It is tried again with the next round.
            Err(error) => tracing::debug!(%error, "what is to be erased cannot be erased now"),
        }
    }

    /// Once every centre knows whom, that goes too.
    pub(super) fn forget_erased(&mut self, doors: &Doors, now: Millis) {
        match self.intake.journal.forget_erased(now, self.synced) {
            Ok(true) => {
                tracing::info!("every consumer knows whom to erase; the journal knows it no more");
                self.tell_head(doors);
            }
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, "whom the centre has erased cannot be forgotten now"),
        }
    }
}
