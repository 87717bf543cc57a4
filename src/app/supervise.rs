//! What runs is kept running: tasks that break are begun again, and systemd is told how it is.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::backoff::Backoff;
use crate::web;

/// A task that panics is begun again after such a pause.
const RESTART_FIRST: Duration = Duration::from_secs(1);
const RESTART_MOST: Duration = Duration::from_secs(60);

/// Tasks that end together.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) tasks: JoinSet<()>,
    pub(super) stop: CancellationToken,
}

impl Group {
    /// A task that is begun again if it panics.
    pub(super) fn keep<F>(&mut self, name: Arc<str>, work: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(keep_running(name, self.stop.clone(), work));
    }

    /// Whether all have ended in time. Those that have not are broken off, so that none holds on to what comes next.
    pub(super) async fn end(&mut self, within: Duration) -> bool {
        self.stop.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let ended = timeout(within, all).await.is_ok();
        self.tasks.shutdown().await;
        ended
    }
}

/// A panic ends one wire's or one centre's task alone; it is begun again after a pause.
async fn keep_running<F>(name: Arc<str>, stop: CancellationToken, begin: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut pauses = Backoff::new(RESTART_FIRST, RESTART_MOST);
    loop {
        match AbortOnDropHandle::new(tokio::spawn(begin())).await {
            Ok(()) => return,
            Err(error) => {
                let pause = pauses.pause();
                tracing::error!(%name, %error, ?pause, "a task broke; it is begun again");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }
}

/// What intake cannot do is shown as long as it lasts, in place of what was wrong before.
pub(super) async fn show_trouble(
    mut trouble: watch::Receiver<Option<String>>,
    ready: watch::Sender<web::Readiness>,
) {
    let before = ready.borrow().degraded.clone();
    while trouble.changed().await.is_ok() {
        let now = trouble.borrow_and_update().clone();
        ready.send_modify(|ready| ready.degraded = now.or_else(|| before.clone()));
    }
}

/// Fed by intake's rounds, not by a timer: when intake is stuck, the watchdog starves.
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

pub(super) fn say_that_it_ends(reloading: bool) {
    let mut states = vec![if reloading { NotifyState::Reloading } else { NotifyState::Stopping }];
    // systemd tells by it that the READY that follows is of this reload, and not of an older one.
    states.extend(NotifyState::monotonic_usec_now().ok().filter(|_| reloading));
    let _ = sd_notify::notify(&states);
}

/// What the outside may ask of the process.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    pub(super) fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("listening for signals");
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            int: listen(SignalKind::interrupt())?,
            hup: listen(SignalKind::hangup())?,
        })
    }

    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.term.recv() => Asked::Stop,
            _ = self.int.recv() => Asked::Stop,
            _ = self.hup.recv() => Asked::Reload,
        }
    }
}

pub(super) enum Asked {
    Stop,
    Reload,
}
