//! What others want of the channel: orders, looking, seeking. It runs beside the listening and never holds it up.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::line::{Place, Untaken};
use super::link::Shared;
use super::{Command, Device, Settings, scan};
use crate::field::{Context, Errand, Exchange, Kind, Next, Sighting};
use crate::order::{Deed, Done, Outcome};
use crate::reading::{Batch, DeviceId};
use crate::time::now;

/// How long the broker may take for one message; others wait meanwhile.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);

pub struct Errands {
    /// The channel's name at the broker.
    id: String,
    place: Place,
    commands: HashMap<DeviceId, Vec<Command>>,
    shared: Shared,
    /// One at a time.
    scan: Option<JoinHandle<()>>,
    context: Context,
}

fn commands(devices: &[Device]) -> HashMap<DeviceId, Vec<Command>> {
    devices.iter().map(|device| (device.id, device.commands.clone())).collect()
}

impl Errands {
    pub fn new(id: String, place: Place, devices: &[Device], shared: Shared, context: Context) -> Self {
        Self { id, place, commands: commands(devices), shared, scan: None, context }
    }

    /// Ends never by itself.
    pub async fn run(&mut self) {
        loop {
            let lane = self.context.lane.clone();
            let mut lane = lane.lock().await;
            let next = loop {
                tokio::select! {
                    biased;
                    Some(errand) = lane.recv() => self.run_errand(errand).await,
                    next = self.context.changes.next() => break next,
                }
            };
            // What was asked along the old lane goes by what it was asked by.
            while let Ok(errand) = lane.try_recv() {
                self.run_errand(errand).await;
            }
            self.change(next);
        }
    }

    fn change(&mut self, next: Next) {
        let Next { channel, site, out, lane } = next;
        if let Kind::Mqtt(Settings { devices, .. }) = &channel.kind {
            self.commands = commands(devices);
        }
        (self.context.site, self.context.out, self.context.lane) = (site, out, lane);
    }

    async fn run_errand(&mut self, errand: Errand) {
        match errand {
            Errand::Do(deed) => {
                let outcome = self.carry_out(&deed).await;
                let done = Done { number: deed.number, at: now(), outcome };
                let batch = Batch { done: Some(done), ..Batch::new(deed.device, now(), Vec::new(), None) };
                // Nobody takes it: the gateway is ending.
                let _ = self.context.out.send(batch).await;
            }
            Errand::Read { answer, .. } => {
                let trouble = "an MQTT device speaks by itself; its last values are in /points".to_owned();
                // Who asked may have gone.
                let _ = answer.send(vec![Exchange { trouble: Some(trouble), ..Exchange::default() }]);
            }
            Errand::Scan { what, found } => {
                if self.scan.as_ref().is_some_and(|scan| !scan.is_finished()) {
                    let _ = found.try_send(Sighting::Trouble("this channel is being scanned already".into()));
                    return;
                }
                let id = format!("{}-scan", self.id);
                let scan = scan::run(self.place.clone(), id, what.timeout, found);
                let stop = self.context.stop.clone();
                self.scan = Some(tokio::spawn(async move {
                    stop.run_until_cancelled(scan).await;
                }));
            }
        }
    }

    async fn carry_out(&self, deed: &Deed) -> Outcome {
        let Some(Command { topic, payload }) = self.command(deed) else {
            return Outcome::Failed { why: "this channel knows no such command of the device".into() };
        };
        if deed.is_late() {
            return Outcome::Failed { why: "it came too late".into() };
        }
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some((mouth, cut)) = shared else {
            return Outcome::Failed { why: "the broker is not there".into() };
        };
        let soon = Instant::now() + TAKEN_WITHIN;
        let until = deed.until.map_or(soon, |until| until.min(soon));
        // What lies in the broker's own socket nobody can take back. One that does not answer is told nothing.
        if timeout_at(until, mouth.is_answered()).await != Ok(true) || until <= Instant::now() {
            return Outcome::Failed { why: "the broker did not answer in time; it was not told".into() };
        }
        let left = deed.until.map(|until| until - Instant::now());
        match timeout_at(until, mouth.order(topic.clone(), payload.clone(), left)).await {
            Ok(Ok(())) => Outcome::Executed {
                what: "the broker took it; whether the device did is seen by its state".into(),
            },
            Ok(Err(Untaken::Never(why))) => Outcome::Failed { why },
            Ok(Err(Untaken::Perhaps)) => {
                Outcome::Unsure { why: "the connection broke before the broker took it".into() }
            }
            Err(_) => {
                cut.cancel();
                Outcome::Unsure { why: "the broker did not take it in time".into() }
            }
        }
    }

    fn command(&self, deed: &Deed) -> Option<&Command> {
        self.commands.get(&deed.device)?.get(deed.nth)
    }
}
