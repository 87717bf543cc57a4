//! The lane that goes ahead: unclosed tickets, by level, the newest first, while the bulk lane is behind.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::carry::{Bulk, Courier, Porter, Rest};
use super::lanes::{Lane, URGENT_MAX};
use crate::event::Kinds;
use crate::store;

/// So long the bulk lane may have its hands full before this one goes ahead, where it will be back for the rest at once.
const PATIENCE: Duration = Duration::from_millis(100);
/// Between two looks, the first of which found nothing.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Pushes until the stop, and then what is left, once.
pub async fn run(courier: &Courier) {
    if !speaks_of_tickets(&courier.target.kinds) {
        return;
    }
    let mut porter = Porter::new(Lane::Urgent, courier);
    let mut bulk = courier.bulk.subscribe();
    let stop = &courier.context.stop;
    while !stop.is_cancelled() {
        tokio::select! { () = wanted(&mut bulk) => {}, () = stop.cancelled() => break }
        match courier.round(&mut porter).await {
            Rest::For(pause) => courier.pause(&mut porter, pause).await,
            Rest::UntilNews => {
                tokio::select! { () = sleep(LOOK_PAUSE) => {}, () = stop.cancelled() => break }
                tokio::select! { () = porter.news() => {}, _ = bulk.changed() => {}, () = stop.cancelled() => break }
            }
        }
    }
    if needed_at(*bulk.borrow()).is_some() {
        courier.round(&mut porter).await;
    }
}

/// Fills the load where it is empty; false where no ticket can go ahead.
pub async fn load(courier: &Courier, porter: &mut Porter) -> Result<bool, store::Error> {
    let mut lanes = courier.lanes.lock().await;
    let rewritten = courier.context.outbox.rewritten();
    if !lanes.is_empty(Lane::Urgent) && porter.rewritten == rewritten {
        return Ok(true);
    }
    porter.rewritten = rewritten;
    lanes.load_urgent(Vec::new());
    porter.head.borrow_and_update();
    let (name, kinds) = (courier.target.name.clone(), courier.target.kinds.clone());
    let above = lanes.reach();
    let events = courier.outbox(move |outbox| outbox.urgent(&name, above, URGENT_MAX, &kinds)).await?;
    lanes.load_urgent(events);
    Ok(!lanes.is_empty(Lane::Urgent))
}

/// Waits until the bulk lane cannot be waited for.
async fn wanted(bulk: &mut watch::Receiver<Bulk>) {
    loop {
        let at = needed_at(*bulk.borrow_and_update());
        let patience = async {
            match at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = patience => return,
            changed = bulk.changed() => if changed.is_err() { std::future::pending::<()>().await },
        }
    }
}

/// From when on this lane is needed; `None`: the bulk lane takes what comes at once.
fn needed_at(bulk: Bulk) -> Option<Instant> {
    match bulk {
        Bulk::Idle => None,
        Bulk::Busy { since, behind: true } => Some(since),
        Bulk::Busy { since, behind: false } => Some(since + PATIENCE),
    }
}

fn speaks_of_tickets(kinds: &Kinds) -> bool {
    kinds.0.is_empty()
        || kinds
            .0
            .iter()
            .any(|word| word.starts_with("ticket.") || "ticket.".starts_with(word.trim_end_matches('*')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bulk_lane_is_waited_for_where_it_will_be_back_at_once() {
        let since = Instant::now();
        assert_eq!(needed_at(Bulk::Idle), None);
        assert_eq!(needed_at(Bulk::Busy { since, behind: true }), Some(since));
        assert_eq!(needed_at(Bulk::Busy { since, behind: false }), Some(since + PATIENCE));
    }

    #[test]
    fn a_centre_that_wants_no_tickets_needs_no_urgent_lane() {
        for (words, needed) in [
            ("", true),
            ("ticket.*", true),
            ("ticket.opened", true),
            ("device.*,access.*", false),
            ("device.*,*", true),
        ] {
            let kinds = Kinds(words.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect());
            assert_eq!(speaks_of_tickets(&kinds), needed, "{words}");
        }
    }
}
