//! What runs beside intake and may end and begin alone: each wire, each push. One group a task.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use super::concerns::Concerns;
use super::supervise::Group;
use crate::field::{self, Lane, Near, Out};
use crate::metrics::Metrics;
use crate::pseudonym::Pseudonyms;
use crate::reading::{Batch, DeviceId, Edition, Site};
use crate::sync;

/// Groups by name, of one kind: `wire plant`, `push crm`.
#[derive(Debug)]
struct Groups {
    kind: &'static str,
    running: HashMap<Arc<str>, Group>,
    concerns: Concerns,
    metrics: Metrics,
}

impl Groups {
    fn new(kind: &'static str, concerns: &Concerns, metrics: &Metrics) -> Self {
        Self { kind, running: HashMap::new(), concerns: concerns.clone(), metrics: metrics.clone() }
    }

    fn keep<F>(&mut self, name: &Arc<str>, begin: impl FnOnce(&Group) -> F)
    where
        F: Fn() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send + 'static,
    {
        let mut group = Group::new(&self.concerns, &self.metrics);
        let task = begin(&group);
        group.keep(format!("{} {name}", self.kind), task);
        self.running.insert(name.clone(), group);
    }

    /// Whether all of these have ended in time; who has not is broken off.
    async fn end(&mut self, names: &[Arc<str>], within: Duration) -> bool {
        let mut ending: Vec<(Arc<str>, Group)> =
            names.iter().filter_map(|name| Some((name.clone(), self.running.remove(name)?))).collect();
        ending.iter().for_each(|(_, group)| group.stop.cancel());
        let until = Instant::now() + within;
        let mut all = true;
        for (name, group) in &mut ending {
            all &= group.end(until.saturating_duration_since(Instant::now())).await;
            self.concerns.set(&format!("{} {name}", self.kind), None);
        }
        all
    }

    async fn end_all(&mut self, within: Duration) -> bool {
        let names: Vec<Arc<str>> = self.running.keys().cloned().collect();
        self.end(&names, within).await
    }
}

/// What a wire is begun with.
#[derive(Debug, Clone)]
pub(super) struct Spool {
    pub site: Arc<Site>,
    pub edition: Edition,
    pub pseudonyms: Option<Pseudonyms>,
    pub last_records: Arc<HashMap<DeviceId, Arc<str>>>,
}

#[derive(Debug)]
pub(super) struct Wires {
    groups: Groups,
    /// Intake goes on until the last wire has let go of it; this one is for a house without wires.
    batches: mpsc::Sender<Batch>,
    /// By channel.
    laid: HashMap<Arc<str>, Laid>,
}

/// Both ends of a wire's lane, and the edition by which it counts.
#[derive(Debug)]
struct Laid {
    near: Near,
    far: Lane,
    edition: Edition,
}

impl Wires {
    pub fn new(batches: mpsc::Sender<Batch>, concerns: &Concerns, metrics: &Metrics) -> Self {
        let groups = Groups::new("wire", concerns, metrics);
        Self { groups, batches, laid: HashMap::new() }
    }

    /// A lane for a wire that is to begin.
    pub fn lay(&mut self, channel: &Arc<str>, site: &Arc<Site>, edition: Edition) {
        let (errands, far) = mpsc::channel(field::ERRANDS_MAX);
        let (near, far) = (Near { site: site.clone(), errands }, Arc::new(Mutex::new(far)));
        self.laid.insert(channel.clone(), Laid { near, far, edition });
    }

    /// The near ends, by channel.
    pub fn lanes(&self) -> HashMap<Arc<str>, Near> {
        self.laid.iter().map(|(channel, laid)| (channel.clone(), laid.near.clone())).collect()
    }

    pub fn editions(&self) -> Vec<Edition> {
        let mut editions: Vec<Edition> = self.laid.values().map(|laid| laid.edition).collect();
        editions.sort_unstable();
        editions.dedup();
        editions
    }

    /// Along the lane that was laid for it.
    pub fn begin(&mut self, channel: field::Channel, spool: Spool) {
        let Some(lane) = self.laid.get(&channel.id).map(|laid| laid.far.clone()) else { return };
        let (out, metrics) = (Out::new(self.batches.clone(), spool.edition), self.groups.metrics.clone());
        self.groups.keep(&channel.id.clone(), |group| {
            let context = field::Context {
                site: spool.site,
                out,
                stop: group.stop.clone(),
                metrics,
                lane,
                pseudonyms: spool.pseudonyms,
                last_records: spool.last_records,
            };
            move || Box::pin(field::run(channel.clone(), context.clone()))
        });
    }

    /// Whether all of these have ended in time, and their lanes with what still waits in them.
    pub async fn end(&mut self, channels: &[Arc<str>], within: Duration) -> (bool, HashMap<Arc<str>, Lane>) {
        let all = self.groups.end(channels, within).await;
        let lanes = channels.iter().filter_map(|id| Some((id.clone(), self.laid.remove(id)?.far)));
        (all, lanes.collect())
    }

    pub async fn end_all(mut self, within: Duration) -> bool {
        self.groups.end_all(within).await
    }
}

#[derive(Debug)]
pub(super) struct Pushes {
    groups: Groups,
    /// What each is given, but for its stop.
    context: sync::Context,
}

impl Pushes {
    pub fn new(context: sync::Context, concerns: &Concerns) -> Self {
        Self { groups: Groups::new("push", concerns, &context.metrics), context }
    }

    pub fn begin(&mut self, target: sync::Target) {
        let context = self.context.clone();
        self.groups.keep(&target.name.clone(), |group| {
            let context = sync::Context { stop: group.stop.clone(), ..context };
            move || Box::pin(sync::run(target.clone(), context.clone()))
        });
    }

    pub async fn end(&mut self, targets: &[Arc<str>], within: Duration) -> bool {
        self.groups.end(targets, within).await
    }

    pub async fn end_all(&mut self, within: Duration) -> bool {
        self.groups.end_all(within).await
    }
}
