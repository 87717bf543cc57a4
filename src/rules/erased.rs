//! A person who is erased goes from what people said of tickets and of maintenance. Pure.

use super::engine::Engine;

impl Engine {
    /// In place of this pseudonym there is the word that the journal has there too. Nothing is told of it or saved.
    pub fn forget(&mut self, pseudonym: &str) {
        let cases = self.watches.iter_mut().filter_map(|watch| watch.case.as_mut());
        let of_tickets = cases.flat_map(|case| {
            let ticket = &mut case.ticket;
            [&mut ticket.by, &mut ticket.note, &mut ticket.external_id].into_iter().flatten()
        });
        let of_maintenance = self.shelf.iter_mut().flat_map(|shelved| {
            let maintenance = &mut shelved.maintenance;
            std::iter::once(&mut maintenance.by).chain(&mut maintenance.note)
        });
        for text in of_tickets.chain(of_maintenance) {
            if text.contains(pseudonym) {
                *text = text.replace(pseudonym, "erased");
            }
        }
    }
}
