//! The lane that takes everything in order: batch by batch from the cursor on, each tried again until it is settled.

use tokio::time::Instant;
use tracing::warn;

use super::carry::{Bulk, Courier, Porter, Rest};
use super::lanes::Lane;
use crate::store;

/// Pushes until the stop, and then what is left, once.
pub async fn run(courier: &Courier) {
    let mut porter = Porter::new(Lane::Bulk, courier);
    let stop = &courier.context.stop;
    while !stop.is_cancelled() {
        match courier.round(&mut porter).await {
            Rest::UntilNews => tokio::select! {
                () = porter.news() => {}
                () = courier.released.notified() => {}
                () = stop.cancelled() => {}
            },
            Rest::For(pause) => courier.pause(&mut porter, pause).await,
        }
    }
    // What the urgent lane has in hand bounds this one; it lets go of it soon.
    while let Rest::UntilNews = courier.round(&mut porter).await
        && !courier.lanes.lock().await.is_empty(Lane::Urgent)
    {
        courier.released.notified().await;
    }
}

/// Fills the load where it is empty; false where nothing is pending, or only what the urgent lane has in hand.
pub async fn load(courier: &Courier, porter: &mut Porter) -> Result<bool, store::Error> {
    loop {
        let mut lanes = courier.lanes.lock().await;
        let rewritten = courier.context.outbox.rewritten();
        if !lanes.is_empty(Lane::Bulk) && porter.rewritten == rewritten {
            return Ok(true);
        }
        porter.rewritten = rewritten;
        // Seen before it is read, so that an event that comes in between wakes us again.
        porter.head.borrow_and_update();
        let (name, kinds) = (courier.target.name.clone(), courier.target.kinds.clone());
        let limit = lanes.limit();
        let pending = courier.outbox(move |outbox| outbox.pending(&name, limit, &kinds)).await?;
        let (acknowledged, head, oldest) = (pending.acknowledged, pending.slice.head, pending.oldest);
        courier.show_lag(head, acknowledged);
        if oldest > acknowledged + 1 && acknowledged < head {
            warn!(consumer = %courier.target.name, from = acknowledged + 1, to = oldest - 1, "These events were no longer kept when this consumer was named; it goes on after them.");
        }
        lanes.load_bulk(pending);
        let (reach, empty) = (lanes.reach(), lanes.is_empty(Lane::Bulk));
        let idle = empty && reach >= head;
        courier.bulk.send_replace(match idle {
            true => Bulk::Idle,
            false => Bulk::Busy { since: Instant::now(), behind: reach < head },
        });
        drop(lanes);
        if !empty {
            return Ok(true);
        }
        if reach <= acknowledged {
            return Ok(false);
        }
        // All that was there is of kinds that this centre does not want, or with it already.
        courier.move_to(reach).await?;
    }
}
