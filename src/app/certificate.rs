//! How long the API's certificate still counts: shown two weeks before it ends, while there is time to renew it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::concerns::{CERTIFICATE, Concerns};
use crate::certificate::Validity;
use crate::clock::Clock;
use crate::web::{Offer, Settings};

/// Often enough to be there soon after the clock is set.
const EVERY: Duration = Duration::from_secs(60);

/// Until the house ends.
pub(super) async fn watch(mut offers: watch::Receiver<Offer>, concerns: Concerns, clock: Clock) {
    loop {
        let trouble = trouble(&offers.borrow_and_update().0, &clock);
        concerns.set(CERTIFICATE, trouble);
        tokio::select! {
            changed = offers.changed() => if changed.is_err() {
                return;
            },
            () = sleep(EVERY) => {}
        }
    }
}

/// A clock that nobody vouches for says nothing of a certificate.
fn trouble(settings: &Settings, clock: &Clock) -> Option<String> {
    let tls = settings.tls.as_ref().filter(|_| clock.is_believed())?;
    let trouble = Validity::of(&tls.cert)?.trouble(clock.now())?;
    Some(format!("the certificate of the API {trouble}; renew it and reload"))
}
