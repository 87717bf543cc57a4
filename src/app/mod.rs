//! Wiring, and the order of draining. Read [`House::build`] to see who holds what.
//!
//! `start`: what a house is built from; `storage`: where its journal is; `front`: where the API listens; `gear`: wires and
//! pushes; `turn`: another configuration while it stays; `supervise`: what runs is kept running; `concerns`: what is not as it should be; `watchdog`: what systemd is told.

mod certificate;
mod concerns;
mod front;
mod gear;
mod start;
mod storage;
mod supervise;
mod turn;
mod watchdog;

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use jiff::tz::TimeZone;
use sd_notify::NotifyState;
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{self, Gateway};
use crate::event::Draft;
use crate::intake::{self, Doors, Intake, Left, Turn};
use crate::live::Live;
use crate::metrics::Metrics;
use crate::reading::{DeviceId, Edition, Site};
use crate::reload::Reload;
use crate::rules::{Engine, Memory, Plan, SavedEpisode, SavedTicket};
use crate::{secret, store, sync, web};

use concerns::{CARD, CONFIGURATION, Concerns, EPOCH, show_trouble};
use front::Front;
use gear::{Pushes, Spool, Wires};
pub use start::Start;
use start::{Again, announce, begun_anew, first_start, keep};
use storage::{Lookout, Storage};
use supervise::{Asked, Group, Signals, on_a_thread};
use watchdog::{Patience, feed_watchdog, say_that_it_ends};

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
    storage::survive_file_limits()?;
    let mut storage = Storage::new(Clock::system());
    // Before any secret is read.
    if let Err(error) = secret::keep_off_the_disk() {
        tracing::warn!(%error, "the kernel does not keep this process's memory, and the secrets in it, off the disk");
    }
    let Some(start) = first_start(path) else {
        return Ok(ExitCode::from(BAD_CONFIGURATION));
    };
    let front = Front::new(&start.gateway.web);
    // Where it is taken, the house does without it and goes on trying.
    let _ = front.open().await;
    let mut house = match House::build_on(&mut storage, front, start).await {
        Err(error) if is_locked(&error) => {
            tracing::error!("{error:#}");
            return Ok(ExitCode::from(BAD_CONFIGURATION));
        }
        house => house?,
    };
    loop {
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        let next = house.wait(&mut signals, path).await;
        say_that_it_ends(next.is_some());
        let (data_dir, front) = (house.gateway.store.dir.clone(), house.front.clone());
        let reason = next.as_ref().map_or("stop", |next| next.reason);
        let left = house.end(reason).await;
        let Some(next) = next else {
            let mut left = left;
            if let Some(what) = left.as_mut().and_then(|left| left.journal.look()) {
                let unwritten = left.as_ref().map_or(0, |left| left.page.events.len());
                tracing::error!(
                    what,
                    unwritten,
                    "stopping without a journal; what can be read of it is put in its place"
                );
                storage.between(left, storage::RECOVERED).context("saving the journal")?;
                return Ok(ExitCode::FAILURE);
            }
            let whole = left.is_some_and(|left| left.page.is_blank()) & !storage.end(&data_dir).await;
            return Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        };
        let patience = Patience::begin();
        storage.between(left, next.reason).context("going on in memory")?;
        drop(patience);
        house = rebuild(&mut storage, &front, *next, &data_dir).await?;
    }
}

/// A journal whose key is not at hand is left as it is, however often a supervisor would start.
fn is_locked(error: &anyhow::Error) -> bool {
    let locked = |cause: &(dyn std::error::Error + 'static)| {
        matches!(cause.downcast_ref(), Some(crate::store::Error::Locked(_)))
    };
    error.chain().any(locked)
}

/// What reads well may still not work on this machine (a port that is taken): then on with the one before.
async fn rebuild(
    storage: &mut Storage,
    front: &Front,
    next: Start,
    data_dir: &Path,
) -> anyhow::Result<House> {
    let error = match build_next(storage, front, next).await {
        Ok(house) => return Ok(house),
        Err(error) => format!("{error:#}"),
    };
    tracing::error!("the new configuration does not work here: {error}");
    let before = config::last_good::of(data_dir).context(error.clone())?;
    tracing::warn!("running with the last good configuration until this one is put right and reloaded");
    let (rejected, beside) = (Some(error), Vec::new());
    let changes = Vec::new();
    let before = Start { gateway: before, reason: "reload", rejected, text: None, beside, changes };
    build_next(storage, front, before).await
}

async fn build_next(storage: &mut Storage, front: &Front, next: Start) -> anyhow::Result<House> {
    let front = front.next(&next.gateway.web).await?;
    House::build_on(storage, front, next).await
}

/// Everything that runs. What is not here is held by a task.
#[derive(Debug)]
pub struct House {
    /// As it runs.
    gateway: Gateway,
    edition: Edition,
    epoch: Arc<str>,
    clock: Clock,
    wires: Wires,
    intake: JoinHandle<()>,
    intake_done: oneshot::Receiver<Left>,
    intake_gone: bool,
    lookout: Lookout,
    /// For a house on the same configuration: the files it was read from, and what was wrong with the one that was meant.
    again: Again,
    farewell: Option<oneshot::Sender<&'static str>>,
    pushes: Pushes,
    webs: Group,
    /// What the API shows, and the next time it changes.
    offers: watch::Sender<web::Offer>,
    /// Looks at the offer, and so has the store in its hands.
    certificates: tokio::task::JoinHandle<()>,
    tells: mpsc::Sender<Draft>,
    turns: mpsc::Sender<Turn>,
    /// People's word to read the configuration anew.
    reloads: mpsc::Receiver<Reload>,
    concerns: Concerns,
    metrics: Metrics,
    front: Front,
}

impl House {
    /// # Errors
    /// The store cannot be opened, or the API's port is taken; each names the thing and the cure.
    pub async fn build(start: Start) -> anyhow::Result<Self> {
        let front = Front::new(&start.gateway.web);
        front.open().await?;
        Self::build_on(&mut Storage::new(Clock::system()), front, start).await
    }

    /// Where the API listens.
    pub fn api(&self) -> Option<std::net::SocketAddr> {
        self.front.address()
    }

    async fn build_on(storage: &mut Storage, front: Front, start: Start) -> anyhow::Result<Self> {
        let _patience = Patience::begin();
        let data_dir = start.gateway.store.dir.clone();
        let named = consumers(&start.gateway);
        let edition = Edition::default();
        let mut ends = storage.open(&start.gateway, &named)?;
        // Not before the store is open: the directory might be another gateway's.
        let changed = keep(&start);
        let clock = Clock::system();
        let before = ends.journal.before().context("reading which epoch was before")?;
        let origin = ends.journal.origin().context("asking the journal where it comes from")?;
        let announce = announce(&start, changed, origin, before.as_ref(), &clock);
        let Start { gateway, rejected, text, beside, .. } = start;
        let concerns = Concerns::default();
        concerns.set(CONFIGURATION, rejected.clone());
        concerns.set(CARD, storage.trouble());
        concerns.set(EPOCH, begun_anew(before.as_ref(), &clock));
        let again = Again { rejected, text, beside };
        let site = gateway.site.clone();
        let metrics = Metrics::new().with_disk(storage.disk());
        metrics.journal_in_memory.set(storage.trouble().is_some().into());
        let live = Arc::new(Live::new(&site));
        let mut remembered = ends.journal.recall().context("recalling tickets from the journal")?;
        clock.not_before(remembered.last_trace);
        let told_last = ends.journal.last_records().context("recalling what devices told last")?;
        let last_records = Arc::new(known_records(told_last, &site));
        let epoch = ends.journal.epoch().clone();
        let damage = ends.journal.alarm().heard();
        let first_head = ends.journal.head();

        let (batch_in, batches) = mpsc::channel(intake::BATCHES_MAX);
        let (ask_in, asks) = mpsc::channel(intake::ASKS_MAX);
        let (wish_in, wishes) = mpsc::channel(intake::WISHES_MAX);
        let (call_in, calls) = mpsc::channel(intake::CALLS_MAX);
        let (tell_in, tells) = mpsc::channel(intake::TELLS_MAX);
        let (turn_in, turns) = mpsc::channel(intake::TURNS_MAX);
        let (reload_in, reloads) = mpsc::channel(web::RELOADS_MAX);
        let mut wires = Wires::new(batch_in, &concerns, &metrics);
        gateway.channels.iter().for_each(|channel| wires.lay(&channel.id, &site, edition));
        let (head_in, head) = watch::channel(first_head);
        let (pulse_in, pulse) = watch::channel(0);
        let (trouble_in, trouble) = watch::channel(None);

        let devices = std::mem::take(&mut remembered.devices);
        let orders = std::mem::take(&mut remembered.orders);
        let saved = std::mem::take(&mut remembered.access);
        let engine = Engine::new(plan_of(&gateway, &epoch), site.clone(), memory(remembered), clock.now());
        ends.journal.keep_kinds(&gateway.keep_kinds);
        let intake = Intake {
            clock: clock.clone(),
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
            lanes: wires.lanes(),
            summary: gateway.summary,
            keep: keep_of(&gateway),
        };
        let doors = Doors {
            batches,
            asks,
            wishes,
            calls,
            turns,
            tells,
            head: head_in,
            trouble: trouble_in,
            pulse: pulse_in,
        };
        let (farewell, farewell_reason) = oneshot::channel();
        let (refused_in, refused) = watch::channel(None);
        let lookout = storage.lookout(&data_dir, refused, damage);
        let (intake, intake_done) = begin_intake(intake, doors, announce, farewell_reason, refused_in)?;

        let context = sync::Context {
            gateway: site.gateway.clone(),
            epoch: epoch.clone(),
            outbox: ends.outbox.clone(),
            head: head.clone(),
            asks: ask_in.clone(),
            wishes: wish_in.clone(),
            stop: CancellationToken::new(),
            metrics: metrics.clone(),
        };
        let mut pushes = Pushes::new(context, &concerns);
        gateway.sync.iter().for_each(|target| pushes.begin(target.clone()));

        let rooms = web::Rooms {
            view: ends.view,
            outbox: ends.outbox,
            live,
            site: site.clone(),
            plan: Arc::new(gateway.shown()),
            sessions: front.sessions(),
            metrics: metrics.clone(),
            head,
            asks: ask_in.clone(),
            wishes: wish_in,
            calls: call_in,
            lanes: wires.lanes(),
            ready: concerns.subscribe(),
            files: files_of(&gateway, again.text.as_deref()),
            reloads: reload_in,
            named: named_of(&gateway),
        };
        let offers = watch::Sender::new((gateway.web.clone(), rooms));
        let webs = open_api(&front, &offers, &concerns, &metrics);
        for channel in &gateway.channels {
            let (site, pseudonyms) = (site.clone(), gateway.pseudonyms.clone());
            let spool = Spool { site, pseudonyms, last_records: last_records.clone() };
            wires.begin(channel.clone(), spool);
        }
        tokio::spawn(feed_watchdog(pulse));
        tokio::spawn(show_trouble(trouble, concerns.clone()));
        let certificates =
            tokio::spawn(certificate::watch(offers.subscribe(), concerns.clone(), clock.clone()));
        concerns.ready(true);
        let (devices, points, rules) = (site.devices.len(), site.points.len(), gateway.rules.len());
        tracing::info!(gateway = %site.gateway, %epoch, devices, points, rules, "gatehouse runs");
        Ok(Self {
            gateway,
            edition,
            epoch,
            clock,
            wires,
            intake,
            intake_done,
            intake_gone: false,
            lookout,
            again,
            farewell: Some(farewell),
            pushes,
            webs,
            offers,
            certificates,
            tells: tell_in,
            turns: turn_in,
            reloads,
            concerns,
            metrics,
            front,
        })
    }

    /// Until the daemon has to stop (`None`), or to go on with another configuration.
    async fn wait(&mut self, signals: &mut Signals, path: &Path) -> Option<Box<Start>> {
        loop {
            tokio::select! {
                asked = signals.next() => match asked {
                    Asked::Stop => return None,
                    Asked::Reload => if let Some(start) = self.reload(path, None).await {
                        return Some(start);
                    },
                },
                Some(asked) = self.reloads.recv() => if let Some(start) = self.reload(path, Some(asked)).await {
                    return Some(start);
                },
                _ = &mut self.intake_done => {
                    self.intake_gone = true;
                    tracing::error!("intake has ended by itself; stopping, so that the supervisor starts anew");
                    return None;
                }
                reason = self.lookout.moves() => return Some(Box::new(self.again.start(&self.gateway, reason))),
            }
        }
    }

    /// The API shows another configuration from now on; who is being answered is answered.
    fn offer(&mut self, live: Arc<Live>) {
        let gateway = &self.gateway;
        let files = files_of(gateway, self.again.text.as_deref());
        let (site, lanes, named) = (gateway.site.clone(), self.wires.lanes(), named_of(gateway));
        let plan = Arc::new(gateway.shown());
        self.front.stay(&gateway.web);
        self.offers.send_modify(|(settings, rooms)| {
            *settings = gateway.web.clone();
            *rooms = web::Rooms { live, site, plan, lanes, files, named, ..rooms.clone() };
        });
    }

    /// The API moves to another address; at the one before, who has asked is still answered.
    fn open_beside(&mut self, front: Front) {
        let next = open_api(&front, &self.offers, &self.concerns, &self.metrics);
        let (mut before, closing) = (std::mem::replace(&mut self.webs, next), self.front.clone());
        self.front = front;
        tokio::spawn(async move {
            before.end(WEB_DRAIN).await;
            drop(closing);
        });
    }

    /// Drained; whether everything was written.
    pub async fn drain(self, reason: &'static str) -> bool {
        self.end(reason).await.is_some_and(|left| left.page.is_blank())
    }

    /// Wires, intake, one last round of sync, web: the way of a reading. What intake left; `None`: it did not come to
    /// its end.
    async fn end(mut self, reason: &'static str) -> Option<Left> {
        let started = Instant::now();
        if let Some(farewell) = self.farewell.take() {
            // Intake asks for it last; if it is gone already there is nobody to tell.
            let _ = farewell.send(reason);
        }
        self.concerns.ready(false);
        // With the last wire intake has nothing more to wait for.
        if !self.wires.end_all(WIRES_DRAIN).await {
            tracing::warn!("a wire did not let go in time");
        }
        let mut left = None;
        if !self.intake_gone {
            left = timeout(INTAKE_DRAIN, self.intake_done).await.ok().and_then(Result::ok);
        }
        if left.is_some() {
            // It has said that it is done; joining it releases what it held for whoever comes next.
            let _ = self.intake.join();
        }
        if !self.pushes.end_all(SYNC_DRAIN).await {
            tracing::info!("a centre did not take the last events in time; they wait in the journal");
        }
        if !self.webs.end(WEB_DRAIN).await {
            tracing::info!("requests to the API were broken off");
        }
        // Whoever opens the store next must be alone with it: beside an open connection a log that was cut cannot be read.
        self.certificates.abort();
        let _ = self.certificates.await;
        tracing::info!(took_ms = started.elapsed().as_millis() as u64, reason, "gatehouse has stopped");
        left
    }
}

/// The API at its front, until the group ends.
fn open_api(
    front: &Front,
    offers: &watch::Sender<web::Offer>,
    concerns: &Concerns,
    metrics: &Metrics,
) -> Group {
    let mut webs = Group::new(concerns, metrics);
    let desk = (front.clone(), concerns.clone(), offers.subscribe(), webs.stop.clone());
    webs.keep("api".into(), move || {
        let (front, concerns, offers, stop) = desk.clone();
        async move {
            let Some(listener) = stop.run_until_cancelled(front.listener(&concerns)).await else {
                return;
            };
            if let Err(error) = web::serve_offers(listener, offers, stop).await {
                tracing::error!(%error, "the API has ended");
            }
        }
    });
    if let Some(api) = front.address() {
        tracing::info!(%api, "the API listens");
    }
    webs
}

fn plan_of(gateway: &Gateway, epoch: &Arc<str>) -> Plan {
    Plan {
        rules: gateway.rules.clone(),
        standards: gateway.standards(),
        locale: gateway.locale,
        epoch: epoch.clone(),
    }
}

fn keep_of(gateway: &Gateway) -> intake::Keep {
    intake::Keep {
        events: gateway.store.events_keep,
        readings: gateway.store.readings_keep,
        disk_limit: gateway.store.disk_limit,
    }
}

/// Those it was read from; of a start with the last good one, those.
fn files_of(gateway: &Gateway, text: Option<&[(std::path::PathBuf, String)]>) -> web::Files {
    let text = text.map(<[_]>::to_vec).or_else(|| config::last_good::texts(&gateway.store.dir));
    let shown = |(path, text): (std::path::PathBuf, String)| (path, config::shown_text(&text));
    Arc::new(text.unwrap_or_default().into_iter().map(shown).collect())
}

fn named_of(gateway: &Gateway) -> Vec<Arc<str>> {
    consumers(gateway).into_iter().map(|(name, ..)| name).collect()
}

fn consumers(gateway: &Gateway) -> Vec<(Arc<str>, store::Kind, bool)> {
    let pushed = gateway.sync.iter().map(|target| (target.name.clone(), store::Kind::Push, true));
    let pulled = gateway.consumers.iter().map(|c| (c.name.clone(), store::Kind::Pull, c.required));
    pushed.chain(pulled).collect()
}

/// By device, of subjects that are devices here.
fn known_records(told: Vec<(String, String)>, site: &Site) -> HashMap<DeviceId, Arc<str>> {
    let known = |(subject, record): (String, String)| {
        Some((site.device_named(subject.strip_prefix("devices/")?)?, record.into()))
    };
    told.into_iter().filter_map(known).collect()
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
    refused: watch::Sender<Option<String>>,
) -> anyhow::Result<(JoinHandle<()>, oneshot::Receiver<Left>)> {
    let gateway = intake.site.gateway.clone();
    let clock = intake.clock.clone();
    let goodbye = move || {
        let mut farewell = farewell;
        let reason = farewell.try_recv().unwrap_or("stop");
        let data = json!({ "version": env!("CARGO_PKG_VERSION"), "reason": reason });
        vec![Draft::new("gateway.stopped", format!("gateways/{gateway}"), clock.now(), &data)]
    };
    on_a_thread("intake", move || intake.run_or_refuse(doors, announce, goodbye, refused))
}
