//! What runs is kept running: a task that breaks, or ends by itself, is begun again after a pause that grows, and as long
//! as it does not run well that is shown.

use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::concerns::Concerns;
use crate::backoff::Backoff;
use crate::fault::{Fault, contained};
use crate::metrics::{Metrics, Task};

/// How a task is begun again.
#[derive(Debug, Clone, Copy)]
struct Policy {
    /// Pauses, from the first to the longest.
    first: Duration,
    most: Duration,
    /// Having run so long it runs well: the next pause begins small again.
    well: Duration,
}

const POLICY: Policy = Policy {
    first: Duration::from_secs(1),
    most: Duration::from_secs(60),
    well: Duration::from_secs(5 * 60),
};

/// Tasks that end together.
#[derive(Debug)]
pub(super) struct Group {
    tasks: JoinSet<()>,
    pub(super) stop: CancellationToken,
    board: Board,
}

/// Where it is shown how they do.
#[derive(Debug, Clone)]
struct Board {
    concerns: Concerns,
    metrics: Metrics,
}

impl Group {
    pub(super) fn new(concerns: &Concerns, metrics: &Metrics) -> Self {
        let board = Board { concerns: concerns.clone(), metrics: metrics.clone() };
        Self { tasks: JoinSet::new(), stop: CancellationToken::new(), board }
    }

    /// A task that is to run until the group's stop: `wire rs485-1`, `push crm`, `api`.
    pub(super) fn keep<F>(&mut self, name: String, begin: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let kept =
            Kept { name: name.into(), policy: POLICY, stop: self.stop.clone(), board: self.board.clone() };
        self.tasks.spawn(kept.run(begin));
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

/// One task that is kept running.
struct Kept {
    name: Arc<str>,
    policy: Policy,
    stop: CancellationToken,
    board: Board,
}

type Ended = Result<Result<(), Fault>, JoinError>;

impl Kept {
    async fn run<F>(self, begin: impl Fn() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut pauses = Backoff::new(self.policy.first, self.policy.most);
        loop {
            let ended = self.once(begin(), &mut pauses).await;
            if self.stop.is_cancelled() {
                return;
            }
            let pause = pauses.pause();
            self.tell(&ended, pause);
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    }

    /// Until it ends, however it does.
    async fn once(&self, work: impl Future<Output = ()> + Send + 'static, pauses: &mut Backoff) -> Ended {
        let mut running = pin!(AbortOnDropHandle::new(tokio::spawn(contained(work))));
        tokio::select! {
            ended = &mut running => return ended,
            () = sleep(self.policy.well) => {}
        }
        pauses.reset();
        self.board.concerns.set(&self.name, None);
        running.await
    }

    fn tell(&self, ended: &Ended, pause: Duration) {
        let name = &self.name;
        let why = match ended {
            Ok(Ok(())) => "it ended by itself".to_owned(),
            Ok(Err(fault)) => fault.to_string(),
            Err(_) => "it was broken off".to_owned(),
        };
        tracing::error!(task = %name, why, ?pause, "a task has ended that should not; it is begun again");
        self.board.concerns.set(name, Some(format!("{name} was begun again: {why}")));
        self.board.metrics.restarts.get_or_create(&Task { task: name.to_string() }).inc();
    }
}

/// On a thread of its own, which is not begun again: what it was doing may be half done, and only a new start reads it
/// anew from the disk. Hangs up where it breaks.
pub(super) fn on_a_thread<T: Send + 'static, F: Future<Output = T>>(
    name: &'static str,
    work: impl FnOnce() -> F + Send + 'static,
) -> anyhow::Result<(JoinHandle<()>, oneshot::Receiver<T>)> {
    let (done_in, done) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let body = move || match runtime.block_on(contained(async { work().await })) {
        Ok(what) => drop(done_in.send(what)),
        Err(fault) => {
            tracing::error!(thread = name, place = %fault.place, "a thread broke; please report the place");
        }
    };
    let thread = std::thread::Builder::new().name(name.into()).spawn(body);
    Ok((thread.with_context(|| format!("starting {name}"))?, done))
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::time::Instant;

    use super::*;

    /// Runs a task for so long of simulated time, and says when it was begun and what is shown at the end.
    async fn begun<F>(
        work: impl Fn(usize) -> F + Send + 'static,
        for_: Duration,
    ) -> (Vec<Duration>, Option<String>, String)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (concerns, metrics) = (Concerns::default(), Metrics::new());
        let mut group = Group::new(&concerns, &metrics);
        let start = Instant::now();
        let times = Arc::new(Mutex::new(Vec::new()));
        let theirs = times.clone();
        group.keep("wire plant".into(), move || {
            let mut times = theirs.lock().unwrap();
            times.push(start.elapsed());
            work(times.len())
        });
        sleep(for_).await;
        let shown = concerns.now().degraded();
        group.end(Duration::from_secs(1)).await;
        let times = times.lock().unwrap().clone();
        (times, shown, metrics.render())
    }

    #[tokio::test]
    async fn a_thread_that_breaks_hangs_up_and_lets_go_of_what_it_held() {
        let (held, let_go) = oneshot::channel::<()>();
        let (thread, done) = on_a_thread("intake", || async move {
            let _held = held;
            panic!("card 4711")
        })
        .unwrap();
        let done: Result<(), _> = done.await;
        assert!(done.is_err() && let_go.await.is_err());
        thread.join().unwrap();
        let (thread, done) = on_a_thread("intake", || async { 7 }).unwrap();
        assert_eq!(done.await, Ok(7));
        thread.join().unwrap();
    }

    fn pauses(times: &[Duration]) -> Vec<Duration> {
        times.windows(2).map(|two| two[1] - two[0]).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_breaks_again_and_again_is_begun_ever_more_rarely_and_shown() {
        let (times, shown, metrics) =
            begun(|_| async { panic!("card 4711") }, Duration::from_secs(3600)).await;
        let pauses = pauses(&times);
        assert!(pauses[0] <= Duration::from_secs(1), "{pauses:?}");
        assert!(pauses[8..].iter().all(|pause| (45..=61).contains(&pause.as_secs())), "{pauses:?}");
        let shown = shown.unwrap();
        assert!(shown.starts_with("wire plant was begun again") && !shown.contains("4711"), "{shown}");
        let count = format!("gatehouse_restarts_total{{task=\"wire plant\"}} {}", times.len());
        assert!(metrics.contains(&count), "{count} in {metrics}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ends_by_itself_is_begun_again_as_well() {
        let (times, shown, _) = begun(|_| async {}, Duration::from_secs(60)).await;
        assert!(times.len() > 3, "{times:?}");
        assert!(shown.unwrap().contains("ended by itself"));
    }

    #[tokio::test(start_paused = true)]
    async fn having_run_well_it_is_no_concern_and_the_pauses_begin_anew() {
        let work = |nth| async move {
            match nth {
                1..=9 => panic!(),
                10 => sleep(Duration::from_secs(1000)).await,
                _ => sleep(Duration::from_secs(1_000_000)).await,
            }
        };
        let (times, shown, _) = begun(work, Duration::from_secs(3600)).await;
        let pauses = pauses(&times);
        assert!(pauses[8] >= Duration::from_secs(40), "grown: {pauses:?}");
        assert!(pauses[9] <= Duration::from_secs(1001), "begun anew: {pauses:?}");
        assert_eq!((times.len(), shown), (11, None));
    }
}
