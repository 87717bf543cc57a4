//! Wiring, and the order of draining. Read [`House::build`] to see who holds what.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use sd_notify::NotifyState;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backoff::Backoff;
use crate::config::{self, Gateway, Loaded, Mistakes};
use crate::event::Draft;
use crate::intake::{self, Doors, Intake};
use crate::live::Live;
use crate::metrics::Metrics;
use crate::rules::{Engine, Memory, Plan, SavedEpisode, SavedTicket};
use crate::ticket::{Action, Ask};
use crate::{field, store, sync, time, web};

/// Each step of draining has its share of the ten seconds that a stop may take.
const WIRES_DRAIN: Duration = Duration::from_secs(2);
const INTAKE_DRAIN: Duration = Duration::from_secs(4);
const SYNC_DRAIN: Duration = Duration::from_secs(3);
/// A wire's task that panics is begun again after such a pause.
const RESTART_FIRST: Duration = Duration::from_secs(1);
const RESTART_MOST: Duration = Duration::from_secs(60);

/// EX_CONFIG of sysexits.h.
pub const BAD_CONFIGURATION: u8 = 78;

/// `gatehouse run`: parse → build → wait → drain, and again after a reload.
pub async fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let Some(mut start) = first_start(path) else {
        return Ok(ExitCode::from(BAD_CONFIGURATION));
    };
    loop {
        let mut house = House::build(start).await?;
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        let next = house.wait(&mut signals, path).await;
        let reason = if next.is_some() { "reload" } else { "stop" };
        let _ = sd_notify::notify(&[if next.is_some() {
            NotifyState::Reloading
        } else {
            NotifyState::Stopping
        }]);
        let whole = house.drain(reason).await;
        match next {
            Some(next) => start = *next,
            None if whole => return Ok(ExitCode::SUCCESS),
            None => return Ok(ExitCode::FAILURE),
        }
    }
}

/// What a house is built from, and what it tells first.
#[derive(Debug)]
pub struct Start {
    pub gateway: Gateway,
    /// `start`, `reload`
    pub reason: &'static str,
    /// What is wrong with the configuration that was meant, when the last good one is used instead.
    pub rejected: Option<String>,
    pub changed: bool,
}

/// The configuration as it is, or the last good one with what is wrong with the present one, or none at all.
fn first_start(path: &Path) -> Option<Start> {
    let mistakes = match config::load(path) {
        Ok(loaded) => return Some(accept(loaded, "start")),
        Err(mistakes) => mistakes,
    };
    tracing::error!("the configuration is not right:\n{mistakes}");
    let Some(gateway) = config::last_good::recall(path) else {
        tracing::error!("there is no last good configuration to run with");
        return None;
    };
    tracing::warn!("running with the last good configuration until this one is put right and reloaded");
    Some(Start {
        gateway,
        reason: "start",
        rejected: Some(mistakes.to_string()),
        changed: false,
    })
}

fn accept(loaded: Loaded, reason: &'static str) -> Start {
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let changed = config::last_good::keep(&loaded).unwrap_or_else(|error| {
        tracing::warn!(%error, "the configuration could not be kept as the last good one");
        true
    });
    Start {
        gateway: loaded.gateway,
        reason,
        rejected: None,
        changed,
    }
}

/// Everything that runs. What is not here is held by a task.
#[derive(Debug)]
pub struct House {
    gateway: Arc<str>,
    wires: TaskTracker,
    stop_wires: CancellationToken,
    intake: Option<JoinHandle<()>>,
    intake_done: oneshot::Receiver<()>,
    farewell: Option<oneshot::Sender<&'static str>>,
    syncs: TaskTracker,
    stop_syncs: CancellationToken,
    webs: TaskTracker,
    stop_webs: CancellationToken,
    tells: mpsc::Sender<Draft>,
    stop_intake: CancellationToken,
    /// Where the API listens.
    pub api: std::net::SocketAddr,
}

impl House {
    /// # Errors
    /// The store cannot be opened, or the API's port is taken; each names the thing and the cure.
    pub async fn build(start: Start) -> anyhow::Result<Self> {
        let announce = announce(&start);
        let Start {
            gateway, rejected, ..
        } = start;
        let site = gateway.site.clone();
        let metrics = Metrics::new();
        let live = Arc::new(Live::new(&site));
        let listener = web::bind(&gateway.web).await?;
        let api = listener.local_addr().context("asking for the API's address")?;

        let mut ends = store::open(&gateway.store, &site.gateway)
            .with_context(|| format!("opening the store in {}", gateway.store.dir.display()))?;
        ends.journal
            .keep_consumers(&consumers(&gateway))
            .context("naming the consumers")?;
        let remembered = ends
            .journal
            .recall()
            .context("recalling tickets from the journal")?;
        let epoch = ends.journal.epoch().clone();
        let first_head = ends.journal.head();

        let (batch_in, batches) = mpsc::channel(intake::BATCHES_MAX);
        let (ask_in, asks) = mpsc::channel(intake::ASKS_MAX);
        let (tell_in, tells) = mpsc::channel(intake::TELLS_MAX);
        let (head_in, head) = watch::channel(first_head);
        let (pulse_in, pulse) = watch::channel(0);
        let (ready_in, ready) = watch::channel(web::Readiness {
            ready: false,
            degraded: rejected,
        });

        let plan = Plan {
            rules: gateway.rules.clone(),
            standards: gateway.standards(),
            locale: gateway.locale,
            epoch: epoch.clone(),
        };
        let engine = Engine::new(plan, site.clone(), memory(remembered), time::now());
        let intake = Intake {
            site: site.clone(),
            engine,
            journal: ends.journal,
            history: ends.history,
            view: ends.view.clone(),
            live: live.clone(),
            metrics: metrics.clone(),
            keep: intake::Keep {
                events: gateway.store.events_keep,
                readings: gateway.store.readings_keep,
                disk_limit: gateway.store.disk_limit,
            },
        };
        let stop_intake = CancellationToken::new();
        let doors = Doors {
            batches,
            asks,
            tells,
            stop: stop_intake.clone(),
            head: head_in,
            pulse: pulse_in,
        };
        let (farewell, farewell_reason) = oneshot::channel();
        let (intake, intake_done) = begin_intake(intake, doors, announce, farewell_reason)?;

        let stop_syncs = CancellationToken::new();
        let syncs = TaskTracker::new();
        for target in gateway.sync.clone() {
            let (words_in, words) = mpsc::channel(intake::ASKS_MAX);
            let context = sync::Context {
                gateway: site.gateway.clone(),
                epoch: epoch.clone(),
                outbox: ends.outbox.clone(),
                head: head.clone(),
                words: words_in,
                stop: stop_syncs.clone(),
                metrics: metrics.clone(),
            };
            syncs.spawn(sync::run(target, context));
            tokio::spawn(hand_on(words, ask_in.clone()));
        }

        let stop_webs = CancellationToken::new();
        let webs = TaskTracker::new();
        let rooms = web::Rooms {
            view: ends.view,
            outbox: ends.outbox,
            live,
            site: site.clone(),
            metrics: metrics.clone(),
            head,
            asks: ask_in.clone(),
            ready,
            named: gateway
                .consumers
                .iter()
                .map(|c| c.name.clone())
                .chain(gateway.sync.iter().map(|t| t.name.clone()))
                .collect(),
        };
        webs.spawn(web::serve(
            listener,
            gateway.web.clone(),
            rooms,
            stop_webs.clone(),
        ));
        tracing::info!(%api, "the API listens");

        let stop_wires = CancellationToken::new();
        let wires = TaskTracker::new();
        let context = field::Context {
            site: site.clone(),
            out: batch_in,
            stop: stop_wires.clone(),
            metrics,
        };
        for channel in gateway.channels {
            wires.spawn(keep_running(channel, context.clone()));
        }
        drop(context);
        wires.close();
        tokio::spawn(feed_watchdog(pulse));
        ready_in.send_modify(|ready| ready.ready = true);
        tokio::spawn(async move { ready_in.closed().await });
        let (devices, points, rules) = (site.devices.len(), site.points.len(), gateway.rules.len());
        tracing::info!(gateway = %site.gateway, %epoch, devices, points, rules, "gatehouse runs");
        Ok(Self {
            gateway: site.gateway.clone(),
            wires,
            stop_wires,
            intake: Some(intake),
            intake_done,
            farewell: Some(farewell),
            syncs,
            stop_syncs,
            webs,
            stop_webs,
            tells: tell_in,
            stop_intake,
            api,
        })
    }

    /// Until the daemon has to stop (`None`), or to go on with another configuration.
    async fn wait(&mut self, signals: &mut Signals, path: &Path) -> Option<Box<Start>> {
        loop {
            tokio::select! {
                asked = signals.next() => match asked {
                    Asked::Stop => return None,
                    Asked::Reload => match config::load(path) {
                        Ok(loaded) => return Some(Box::new(accept(loaded, "reload"))),
                        Err(mistakes) => self.reject(&mistakes).await,
                    },
                },
                _ = &mut self.intake_done => {
                    tracing::error!("intake has ended by itself; stopping, so that the supervisor starts anew");
                    return None;
                }
            }
        }
    }

    /// A bad configuration is said and told, and the daemon goes on with the one it has.
    async fn reject(&mut self, mistakes: &Mistakes) {
        tracing::error!("the configuration was not reloaded, since it is not right:\n{mistakes}");
        // Intake is gone only when the daemon is about to stop.
        let _ = self
            .tells
            .send(rejected(&self.gateway, &mistakes.to_string()))
            .await;
    }

    /// Wires, intake, one last round of sync, web: the way of a reading. Whether everything was written.
    pub async fn drain(mut self, reason: &'static str) -> bool {
        let started = Instant::now();
        if let Some(farewell) = self.farewell.take() {
            // Intake asks for it last; if it is gone already there is nobody to tell.
            let _ = farewell.send(reason);
        }
        self.stop_wires.cancel();
        if timeout(WIRES_DRAIN, self.wires.wait()).await.is_err() {
            tracing::warn!("a wire did not let go in time");
        }
        self.stop_intake.cancel();
        let whole = timeout(INTAKE_DRAIN, &mut self.intake_done)
            .await
            .is_ok_and(|done| done.is_ok());
        if whole && let Some(intake) = self.intake.take() {
            // It has said that it is done; joining it releases the journal for whoever comes next.
            let _ = intake.join();
        }
        self.stop_syncs.cancel();
        self.syncs.close();
        if timeout(SYNC_DRAIN, self.syncs.wait()).await.is_err() {
            tracing::info!("a centre did not take the last events in time; they wait in the journal");
        }
        self.stop_webs.cancel();
        self.webs.close();
        let _ = timeout(Duration::from_secs(1), self.webs.wait()).await;
        tracing::info!(
            took_ms = started.elapsed().as_millis() as u64,
            reason,
            "gatehouse has stopped"
        );
        whole
    }
}

/// What the journal is told when the house opens.
fn announce(start: &Start) -> Vec<Draft> {
    let gateway = &start.gateway.site.gateway;
    let subject = format!("gateways/{gateway}");
    let now = time::now();
    let data = json!({ "version": env!("CARGO_PKG_VERSION"), "reason": start.reason });
    let mut events = vec![Draft::new("gateway.started", subject.clone(), now, &data)];
    if let Some(mistakes) = &start.rejected {
        events.push(rejected(gateway, mistakes));
    } else if start.changed {
        events.push(Draft::new("gateway.config-changed", subject, now, &data));
    }
    events
}

fn rejected(gateway: &str, mistakes: &str) -> Draft {
    // A journal line, not a report: the first lines name the first mistakes.
    let reason: String = mistakes.chars().take(2000).collect();
    let data = json!({ "version": env!("CARGO_PKG_VERSION"), "reason": reason });
    Draft::new(
        "gateway.config-rejected",
        format!("gateways/{gateway}"),
        time::now(),
        &data,
    )
}

fn consumers(gateway: &Gateway) -> Vec<(Arc<str>, store::Kind, bool)> {
    let pushed = gateway
        .sync
        .iter()
        .map(|target| (target.name.clone(), store::Kind::Push, true));
    let pulled = gateway
        .consumers
        .iter()
        .map(|c| (c.name.clone(), store::Kind::Pull, c.required));
    pushed.chain(pulled).collect()
}

fn memory(remembered: store::Memory) -> Memory {
    let ticket = |t: store::TicketRow| SavedTicket {
        ticket: t.ticket,
        subject: t.subject,
        life: t.life,
    };
    let episode = |e: store::EpisodeRow| SavedEpisode {
        rule: e.rule,
        subject: e.subject,
        state: e.state,
    };
    Memory {
        tickets: remembered.tickets.into_iter().map(ticket).collect(),
        episodes: remembered.episodes.into_iter().map(episode).collect(),
        number: remembered.number,
        last_trace: remembered.last_trace,
    }
}

/// Intake has a thread of its own, since it waits for the disk.
fn begin_intake(
    intake: Intake,
    doors: Doors,
    announce: Vec<Draft>,
    farewell: oneshot::Receiver<&'static str>,
) -> anyhow::Result<(JoinHandle<()>, oneshot::Receiver<()>)> {
    let (done_in, done) = oneshot::channel();
    let gateway = intake.site.gateway.clone();
    let goodbye = move || {
        let mut farewell = farewell;
        let reason = farewell.try_recv().unwrap_or("stop");
        let data = json!({ "version": env!("CARGO_PKG_VERSION"), "reason": reason });
        vec![Draft::new(
            "gateway.stopped",
            format!("gateways/{gateway}"),
            time::now(),
            &data,
        )]
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let body = move || {
        runtime.block_on(intake.run(doors, announce, goodbye));
        let _ = done_in.send(());
    };
    let thread = std::thread::Builder::new()
        .name("intake".into())
        .spawn(body)
        .context("starting intake")?;
    Ok((thread, done))
}

/// A panic in one wire's task ends that task alone; it is begun again after a pause.
async fn keep_running(channel: field::Channel, context: field::Context) {
    let mut pauses = Backoff::new(RESTART_FIRST, RESTART_MOST);
    loop {
        match tokio::spawn(field::run(channel.clone(), context.clone())).await {
            Ok(()) => return,
            Err(error) => {
                let pause = pauses.pause();
                tracing::error!(channel = %channel.id, %error, ?pause, "a wire's task broke; it is begun again");
                tokio::select! {
                    () = context.stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }
}

/// The centre's words on tickets become asks like anyone's.
async fn hand_on(mut words: mpsc::Receiver<Action>, asks: mpsc::Sender<Ask>) {
    while let Some(action) = words.recv().await {
        let ticket = action.ticket.clone();
        let (answer, done) = oneshot::channel();
        if asks.send(Ask { action, answer }).await.is_err() {
            return;
        }
        if let Ok(Err(refusal)) = done.await {
            tracing::info!(%ticket, %refusal, "a word of the centre was not followed");
        }
    }
}

/// Fed by intake's rounds, not by a timer: when intake is stuck, the watchdog starves.
async fn feed_watchdog(mut pulse: watch::Receiver<u64>) {
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

/// What the outside may ask of the process.
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("listening for signals");
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            int: listen(SignalKind::interrupt())?,
            hup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.term.recv() => Asked::Stop,
            _ = self.int.recv() => Asked::Stop,
            _ = self.hup.recv() => Asked::Reload,
        }
    }
}

enum Asked {
    Stop,
    Reload,
}
