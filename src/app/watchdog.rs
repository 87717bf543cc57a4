//! What systemd is told: that the daemon is ready, reloads, stops, and above all that it lives.
//!
//! The watchdog is fed by intake's rounds, and by the runtime of the wires: where either hangs, or a commit does not come
//! back from the disk, it starves. A history that hangs does not matter to it.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::Instant;

/// Each time so much longer is asked for while a store is opened, and it is asked so often at the most: half an hour.
const LONGER: Duration = Duration::from_secs(60);
const ASKED_EVERY: Duration = Duration::from_secs(10);
const ASKED_MOST: u32 = 180;

pub(super) async fn feed_watchdog(mut pulse: watch::Receiver<u64>) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut fed = Instant::now();
    while pulse.changed().await.is_ok() {
        if fed.elapsed() >= limit / 4 {
            fed = Instant::now();
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
    }
}

/// Asks systemd for patience as long as it is held: a large journal that is checked on a slow card takes minutes, in
/// which nothing else runs. Not without end, so that one that never opens is begun anew.
#[derive(Debug)]
pub(super) struct Patience {
    _held: Sender<()>,
}

impl Patience {
    pub(super) fn begin() -> Self {
        let (held, ends) = mpsc::channel();
        if std::env::var_os("NOTIFY_SOCKET").is_some() {
            // Without this thread a slow start may be cut short and tried again: nothing is lost by it.
            let _ = thread::Builder::new().name("patience".into()).spawn(move || ask_until(&ends));
        }
        Self { _held: held }
    }
}

fn ask_until(ends: &Receiver<()>) {
    let longer = u32::try_from(LONGER.as_micros()).unwrap_or(u32::MAX);
    for _ in 0..ASKED_MOST {
        if ends.recv_timeout(ASKED_EVERY) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        let _ = sd_notify::notify(&[NotifyState::ExtendTimeoutUsec(longer), NotifyState::Watchdog]);
    }
}

pub(super) fn say_that_it_ends(reloading: bool) {
    let mut states = vec![if reloading { NotifyState::Reloading } else { NotifyState::Stopping }];
    // systemd tells by it that the READY that follows is of this reload, and not of an older one.
    states.extend(NotifyState::monotonic_usec_now().ok().filter(|_| reloading));
    let _ = sd_notify::notify(&states);
}
