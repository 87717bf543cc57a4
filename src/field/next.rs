//! Other devices on a wire that goes on: what it is told of them while it runs.

use std::future::pending;
use std::sync::Arc;

use tokio::sync::watch;

use super::{Channel, Lane, Out};
use crate::reading::Site;

/// What a wire runs with, and all of it changes at once: devices are numbered by the site, which is that of `out`'s
/// edition, and by which whoever is at the near end of the lane names them.
#[derive(Debug, Clone)]
pub struct Next {
    pub channel: Channel,
    pub site: Arc<Site>,
    pub out: Out,
    pub lane: Lane,
}

/// Where a wire hears of it; what it missed does not matter, the last one holds. By default never.
#[derive(Debug, Clone, Default)]
pub struct Changes(Option<watch::Receiver<Next>>);

impl Changes {
    pub fn new(next: watch::Receiver<Next>) -> Self {
        Self(Some(next))
    }

    /// Waits for the next one; cancelled, it is not lost.
    pub async fn next(&mut self) -> Next {
        if let Some(next) = &mut self.0
            && next.changed().await.is_ok()
        {
            return next.borrow_and_update().clone();
        }
        pending().await
    }
}
