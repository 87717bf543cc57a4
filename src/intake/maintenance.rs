//! People's words on maintenance: judged by the rules, answered once they are on the disk.

use serde_json::Value as Json;

use super::Corridor;
use crate::event::Draft;
use crate::maintenance::{Call, Change, Maintenance, Step};
use crate::masked::mask;
use crate::store::MaintenanceRow;

impl Corridor {
    pub(super) fn maintain(&mut self, call: Call) {
        let Call { scope, until, mut by, mut note, answer } = call;
        mask(&mut by);
        note.iter_mut().for_each(mask);
        let asked = Maintenance { scope, since: self.look_at_the_clocks(), until, by, note };
        self.maintained.push((answer, self.intake.engine.maintain(asked)));
    }

    /// What began, changed or ended: what is kept of it, and its event.
    pub(super) fn write_maintenance(&mut self, changes: Vec<Change>) {
        for change in changes {
            let subject = format!("gateways/{}", self.intake.site.gateway);
            let data = Json::Object(change.told());
            self.page.events.push(Draft::new("gateway.maintenance", subject, change.at, &data));
            let scope = change.maintenance.scope.clone();
            let now = (change.step != Step::Ended).then_some(change.maintenance);
            self.page.maintenance.push(MaintenanceRow { scope, now });
        }
    }

    /// For the page and the API, once it is on the disk.
    pub(super) fn show_maintenance(&self) {
        let now = self.intake.engine.maintenances().cloned().collect();
        self.intake.live.lock().set_maintenance(now);
    }
}
