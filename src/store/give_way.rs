//! Events that give way to room: a bite of the oldest that may, told in the same transaction. Who may, says `room`.

use rusqlite::{Transaction, TransactionBehavior, params};
use serde_json::json;

use super::expiry::LASTS;
use super::journal::{self, Journal, Teller};
use super::room::Way;
use super::{Error, chain, file};
use crate::event::Draft;
use crate::reading::Millis;

/// What had to go: of the numbers from `from` to `to` so many, of these kinds. Others between them stayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    pub from: u64,
    pub to: u64,
    pub kinds: Vec<String>,
    pub count: u64,
}

/// Events dropped in one transaction: with few there would be as many events that tell of it, with many it would need
/// much room itself.
const BITE: u64 = 5000;
/// For fewer there is nothing to be gained: an event has to tell of them.
const LEAST: u64 = 100;

impl Journal {
    /// Drops the oldest events that may go, and tells it with the next number. `None`: there are none, or too few. From
    /// the one that is dropped first to the last there may be some that stay.
    pub fn give_way(&mut self, way: Way, at: Millis, synced: bool) -> Result<Option<Dropped>, Error> {
        let (gateway, epoch, seal) = (self.gateway.clone(), self.epoch.clone(), self.seal.clone());
        let step = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let Some(dropped) = drop_oldest(&step, way)? else { return Ok(None) };
        let head = file::head(&step)?;
        let data = json!({
            "from": dropped.from,
            "to": dropped.to,
            "types": dropped.kinds,
            "count": dropped.count,
            "acknowledged": way == Way::Acknowledged,
            "reason": "there is no room for them",
        });
        let draft = Draft::new("gateway.events-dropped", format!("gateways/{gateway}"), at, &data);
        let teller = Teller { gateway: &gateway, epoch: &epoch, seal: &seal, at, synced };
        let head = journal::write_events(&step, &teller, &[draft], head)?;
        step.commit()?;
        self.head = head;
        Ok(Some(dropped))
    }
}

/// The head stays in any case: the next number is read from it.
fn drop_oldest(step: &Transaction<'_>, way: Way) -> Result<Option<Dropped>, Error> {
    let head = file::head(step)?;
    let acknowledged: Option<u64> =
        step.query_row("SELECT min(acknowledged) FROM consumer WHERE required", [], |row| row.get(0))?;
    // Where nobody has to have them, all are as good as acknowledged.
    let acknowledged = acknowledged.unwrap_or(head).min(head.saturating_sub(1));
    let (above, up_to, may_go) = match way {
        Way::Acknowledged => (
            0,
            acknowledged,
            // What tells of holes and stubs stays as long as these may.
            format!(
                "NOT {LASTS}
                     AND NOT EXISTS (SELECT 1 FROM ticket WHERE ticket.id = event.ticket AND ticket.state <> 'closed')"
            ),
        ),
        Way::Unacknowledged => {
            (acknowledged, head.saturating_sub(1), "ticket IS NULL AND kind NOT LIKE 'gateway.%'".to_owned())
        }
    };
    let some = format!(
        "SELECT seq, kind FROM event WHERE seq > ?1 AND seq <= ?2 AND {may_go}
             AND seq NOT IN (SELECT seq FROM aside)
         ORDER BY seq LIMIT ?3"
    );
    let found = format!("SELECT min(seq), max(seq), count(*) FROM ({some})");
    let bounds = params![above, up_to, BITE as i64];
    let (from, to, count): (Option<u64>, Option<u64>, u64) =
        step.prepare_cached(&found)?.query_row(bounds, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let (Some(from), Some(to), LEAST..) = (from, to, count) else { return Ok(None) };
    let mut kinds = step.prepare_cached(&format!("SELECT DISTINCT kind FROM ({some}) ORDER BY kind"))?;
    let kinds = kinds.query_map(bounds, |row| row.get(0))?.collect::<Result<_, _>>()?;
    chain::before_dropping(step, &some, bounds)?;
    step.prepare_cached(&format!("DELETE FROM event WHERE seq IN (SELECT seq FROM ({some}))"))?
        .execute(bounds)?;
    Ok(Some(Dropped { from, to, kinds, count }))
}
