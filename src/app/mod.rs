//! Wiring, and the order of draining. Read [`House::build`] to see who holds what.
//!
//! `start`: what a house is built from; `supervise`: what runs is kept running.

mod start;
mod supervise;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use jiff::tz::TimeZone;
use sd_notify::NotifyState;
use serde_json::json;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

use crate::config::{self, Gateway, Mistakes};
use crate::event::Draft;
use crate::field::{Errand, Lane};
use crate::intake::{self, Doors, Intake};
use crate::live::Live;
use crate::metrics::Metrics;
use crate::reading::{Batch, DeviceId, Site};
use crate::rules::{Engine, Memory, Plan, SavedEpisode, SavedTicket};
use crate::store::Journal;
use crate::{field, store, sync, time, web};

pub use start::Start;
use start::{accept, announce, first_start, keep, rejected};
use supervise::{Asked, Group, Signals, feed_watchdog, say_that_it_ends, show_trouble};

/// Each step of draining has its share of the ten seconds that a stop may take.
const WIRES_DRAIN: Duration = Duration::from_secs(1);
const INTAKE_DRAIN: Duration = Duration::from_secs(4);
const SYNC_DRAIN: Duration = Duration::from_secs(3);
const WEB_DRAIN: Duration = Duration::from_secs(1);

/// EX_CONFIG of sysexits.h.
pub const BAD_CONFIGURATION: u8 = 78;

/// `gatehouse run`: parse → build → wait → drain, and again after a reload.
pub async fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let Some(start) = first_start(path) else {
        return Ok(ExitCode::from(BAD_CONFIGURATION));
    };
    let mut house = House::build(start).await?;
    loop {
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        let next = house.wait(&mut signals, path).await;
        say_that_it_ends(next.is_some());
        let data_dir = house.data_dir.clone();
        let reason = if next.is_some() { "reload" } else { "stop" };
        let whole = house.drain(reason).await;
        house = match next {
            Some(next) => rebuild(*next, &data_dir).await?,
            None if whole => return Ok(ExitCode::SUCCESS),
            None => return Ok(ExitCode::FAILURE),
        }
    }
}

/// What reads well may still not work on this machine (a port that is taken): then on with the one before.
async fn rebuild(next: Start, data_dir: &Path) -> anyhow::Result<House> {
    let error = match House::build(next).await {
        Ok(house) => return Ok(house),
        Err(error) => format!("{error:#}"),
    };
    tracing::error!("the new configuration does not work here: {error}");
    let before = config::last_good::of(data_dir).context(error.clone())?;
    tracing::warn!("running with the last good configuration until this one is put right and reloaded");
    House::build(Start { gateway: before, reason: "reload", rejected: Some(error), text: None }).await
}

/// Everything that runs. What is not here is held by a task.
#[derive(Debug)]
pub struct House {
    gateway: Arc<str>,
    data_dir: PathBuf,
    wires: Group,
    /// Intake goes on until the last wire has let go of it; this one is for a house without wires.
    batches: mpsc::Sender<Batch>,
    intake: JoinHandle<()>,
    intake_done: oneshot::Receiver<()>,
    intake_gone: bool,
    farewell: Option<oneshot::Sender<&'static str>>,
    syncs: Group,
    webs: Group,
    tells: mpsc::Sender<Draft>,
    ready: watch::Sender<web::Readiness>,
    /// Where the API listens.
    pub api: std::net::SocketAddr,
}

impl House {
    /// # Errors
    /// The store cannot be opened, or the API's port is taken; each names the thing and the cure.
    pub async fn build(start: Start) -> anyhow::Result<Self> {
        let listener = web::bind(&start.gateway.web).await?;
        let api = listener.local_addr().context("asking for the API's address")?;
        let data_dir = start.gateway.store.dir.clone();
        let mut ends = store::open(&start.gateway.store, &start.gateway.site.gateway)
            .with_context(|| format!("opening the store in {}", data_dir.display()))?;
        // Not before the store is open: the directory might be another gateway's.
        let changed = keep(&start);
        let announce = announce(&start, changed);
        let Start { gateway, rejected, .. } = start;
        let site = gateway.site.clone();
        let metrics = Metrics::new();
        let live = Arc::new(Live::new(&site));
        let named = consumers(&gateway);
        ends.journal.keep_consumers(&named).context("naming the consumers")?;
        let mut remembered = ends.journal.recall().context("recalling tickets from the journal")?;
        let last_records = last_records(&ends.journal, &site).context("recalling what devices told last")?;
        let epoch = ends.journal.epoch().clone();
        let first_head = ends.journal.head();

        let (batch_in, batches) = mpsc::channel(intake::BATCHES_MAX);
        let (ask_in, asks) = mpsc::channel(intake::ASKS_MAX);
        let (wish_in, wishes) = mpsc::channel(intake::WISHES_MAX);
        let (call_in, calls) = mpsc::channel(intake::CALLS_MAX);
        let (tell_in, tells) = mpsc::channel(intake::TELLS_MAX);
        let (lanes, mut far_lanes) = lanes(&gateway);
        let (head_in, head) = watch::channel(first_head);
        let (pulse_in, pulse) = watch::channel(0);
        let (trouble_in, trouble) = watch::channel(None);
        let (ready, ready_seen) = watch::channel(web::Readiness { ready: false, degraded: rejected });

        let plan = Plan {
            rules: gateway.rules.clone(),
            standards: gateway.standards(),
            locale: gateway.locale,
            epoch: epoch.clone(),
        };
        let devices = std::mem::take(&mut remembered.devices);
        let orders = std::mem::take(&mut remembered.orders);
        let saved = std::mem::take(&mut remembered.access);
        let engine = Engine::new(plan, site.clone(), memory(remembered), time::now());
        let intake = Intake {
            site: site.clone(),
            engine,
            journal: ends.journal,
            history: ends.history.within(gateway.write_budget),
            view: ends.view.clone(),
            live: live.clone(),
            metrics: metrics.clone(),
            devices,
            access: gateway.access.clone(),
            saved,
            commands: gateway.commands.clone(),
            zone: TimeZone::get(&gateway.timezone).unwrap_or(TimeZone::UTC),
            orders,
            lanes: lanes.clone(),
            keep: intake::Keep {
                events: gateway.store.events_keep,
                readings: gateway.store.readings_keep,
                disk_limit: gateway.store.disk_limit,
            },
        };
        let doors = Doors {
            batches,
            asks,
            wishes,
            calls,
            tells,
            head: head_in,
            trouble: trouble_in,
            pulse: pulse_in,
        };
        let (farewell, farewell_reason) = oneshot::channel();
        let (intake, intake_done) = begin_intake(intake, doors, announce, farewell_reason)?;

        let mut syncs = Group::default();
        for target in gateway.sync.clone() {
            let context = sync::Context {
                gateway: site.gateway.clone(),
                epoch: epoch.clone(),
                outbox: ends.outbox.clone(),
                head: head.clone(),
                asks: ask_in.clone(),
                stop: syncs.stop.clone(),
                metrics: metrics.clone(),
            };
            syncs.keep(target.name.clone(), move || sync::run(target.clone(), context.clone()));
        }

        let mut webs = Group::default();
        let rooms = web::Rooms {
            view: ends.view,
            outbox: ends.outbox,
            live,
            site: site.clone(),
            metrics: metrics.clone(),
            head,
            asks: ask_in.clone(),
            wishes: wish_in,
            calls: call_in,
            lanes,
            ready: ready_seen,
            named: named.into_iter().map(|(name, ..)| name).collect(),
        };
        let serving = web::serve(listener, gateway.web.clone(), rooms, webs.stop.clone());
        webs.tasks.spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the API has ended");
            }
        });
        tracing::info!(%api, "the API listens");

        let mut wires = Group::default();
        for channel in gateway.channels {
            let Some(lane) = far_lanes.remove(&channel.id) else { continue };
            let context = field::Context {
                site: site.clone(),
                out: batch_in.clone(),
                stop: wires.stop.clone(),
                metrics: metrics.clone(),
                lane,
                pseudonyms: gateway.pseudonyms.clone(),
                last_records: last_records.clone(),
            };
            wires.keep(channel.id.clone(), move || field::run(channel.clone(), context.clone()));
        }
        tokio::spawn(feed_watchdog(pulse));
        tokio::spawn(show_trouble(trouble, ready.clone()));
        ready.send_modify(|ready| ready.ready = true);
        let (devices, points, rules) = (site.devices.len(), site.points.len(), gateway.rules.len());
        tracing::info!(gateway = %site.gateway, %epoch, devices, points, rules, "gatehouse runs");
        Ok(Self {
            gateway: site.gateway.clone(),
            data_dir,
            wires,
            batches: batch_in,
            intake,
            intake_done,
            intake_gone: false,
            farewell: Some(farewell),
            syncs,
            webs,
            tells: tell_in,
            ready,
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
                        Err(mistakes) => self.reject(&mistakes),
                    },
                },
                _ = &mut self.intake_done => {
                    self.intake_gone = true;
                    tracing::error!("intake has ended by itself; stopping, so that the supervisor starts anew");
                    return None;
                }
            }
        }
    }

    /// A bad configuration is said and told, and the daemon goes on with the one it has.
    fn reject(&mut self, mistakes: &Mistakes) {
        tracing::error!("the configuration was not reloaded, since it is not right:\n{mistakes}");
        let mistakes = mistakes.brief();
        // Full only while the journal cannot be written; it is in the log, and a stop must not wait for it.
        let _ = self.tells.try_send(rejected(&self.gateway, &mistakes));
        self.ready.send_modify(|ready| ready.degraded = Some(mistakes));
    }

    /// Wires, intake, one last round of sync, web: the way of a reading. Whether everything was written.
    pub async fn drain(mut self, reason: &'static str) -> bool {
        let started = Instant::now();
        if let Some(farewell) = self.farewell.take() {
            // Intake asks for it last; if it is gone already there is nobody to tell.
            let _ = farewell.send(reason);
        }
        self.ready.send_modify(|ready| ready.ready = false);
        if !self.wires.end(WIRES_DRAIN).await {
            tracing::warn!("a wire did not let go in time");
        }
        drop(self.batches);
        let whole =
            !self.intake_gone && timeout(INTAKE_DRAIN, self.intake_done).await.is_ok_and(|done| done.is_ok());
        if whole {
            // It has said that it is done; joining it releases the journal for whoever comes next.
            let _ = self.intake.join();
        }
        if !self.syncs.end(SYNC_DRAIN).await {
            tracing::info!("a centre did not take the last events in time; they wait in the journal");
        }
        if !self.webs.end(WEB_DRAIN).await {
            tracing::info!("requests to the API were broken off");
        }
        tracing::info!(took_ms = started.elapsed().as_millis() as u64, reason, "gatehouse has stopped");
        whole
    }
}

/// The near ends, by channel.
type Lanes = HashMap<Arc<str>, mpsc::Sender<Errand>>;

/// A lane to every wire: its near end, and the far one for the wire's task.
fn lanes(gateway: &Gateway) -> (Lanes, HashMap<Arc<str>, Lane>) {
    let lane = |channel: &field::Channel| {
        let (near, far) = mpsc::channel(field::ERRANDS_MAX);
        ((channel.id.clone(), near), (channel.id.clone(), Arc::new(Mutex::new(far))))
    };
    gateway.channels.iter().map(lane).unzip()
}

fn consumers(gateway: &Gateway) -> Vec<(Arc<str>, store::Kind, bool)> {
    let pushed = gateway.sync.iter().map(|target| (target.name.clone(), store::Kind::Push, true));
    let pulled = gateway.consumers.iter().map(|c| (c.name.clone(), store::Kind::Pull, c.required));
    pushed.chain(pulled).collect()
}

fn last_records(journal: &Journal, site: &Site) -> Result<Arc<HashMap<DeviceId, Arc<str>>>, store::Error> {
    let known = |(subject, record): (String, String)| {
        Some((site.device_named(subject.strip_prefix("devices/")?)?, record.into()))
    };
    Ok(Arc::new(journal.last_records()?.into_iter().filter_map(known).collect()))
}

fn memory(remembered: store::Memory) -> Memory {
    let ticket = |t: store::TicketRow| SavedTicket { ticket: t.ticket, subject: t.subject, life: t.life };
    let episode = |e: store::EpisodeRow| SavedEpisode { rule: e.rule, subject: e.subject, state: e.state };
    Memory {
        tickets: remembered.tickets.into_iter().map(ticket).collect(),
        episodes: remembered.episodes.into_iter().map(episode).collect(),
        maintenance: remembered.maintenance,
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
        vec![Draft::new("gateway.stopped", format!("gateways/{gateway}"), time::now(), &data)]
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let body = move || {
        runtime.block_on(intake.run(doors, announce, goodbye));
        let _ = done_in.send(());
    };
    let thread = std::thread::Builder::new().name("intake".into()).spawn(body).context("starting intake")?;
    Ok((thread, done))
}
