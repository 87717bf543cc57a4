//! Another configuration in a house that stays: only what changed ends and begins.
//!
//! In order: what may be refused is tried first (the port), while nothing has changed. Then the wires and pushes that
//! change end, intake turns with all that waits ([`crate::intake::Turn`]), and only then what is new begins: until the
//! journal has the turn, nothing speaks by the new numbers; a wire that goes on with other devices speaks by the old ones
//! until it has taken them. The API stays open throughout. What cannot be done in place
//! goes the old way: the house is drained and built anew.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::concerns::CONFIGURATION;
use super::gear::Spool;
use super::start::{Again, Start, accept, keep_text, rejected};
use super::watchdog::say_that_it_ends;
use super::{House, SYNC_DRAIN, WIRES_DRAIN, consumers, keep_of, known_records, plan_of};
use crate::config::changes::Changes;
use crate::config::{self, Loaded, Mistakes};
use crate::event::Draft;
use crate::field::Lane;
use crate::intake::{Turn, Turned};
use crate::logging;
use crate::reading::Edition;
use crate::reload::{Mistake, Refused, Reload, Reloaded};

/// How long intake may take: the page before, and the turn's own.
const TURN_WITHIN: Duration = Duration::from_secs(10);

/// What comes of it.
enum Came {
    Of(Result<Reloaded, Refused>),
    /// The house has to be built anew.
    Whole(Box<Start>),
}

impl House {
    /// The configuration as it lies there now. `Some`: the house has to be built anew for it.
    pub(super) async fn reload(&mut self, path: &Path, asked: Option<Reload>) -> Option<Box<Start>> {
        let by = asked.as_ref().map_or("a signal", |asked| &asked.by);
        tracing::info!(by, "the configuration is read anew");
        let came = match config::load(path) {
            Ok(loaded) if self.again.is_of(&loaded) => Came::Of(Ok(self.stay())),
            Ok(loaded) => self.turn(loaded).await,
            Err(mistakes) => Came::Of(Err(self.reject(&mistakes))),
        };
        let (answer, next) = match came {
            Came::Of(answer) => (answer, None),
            Came::Whole(start) => {
                let (changed, restarted) = (start.changes.clone(), vec!["gateway".to_owned()]);
                (Ok(Reloaded { changed, restarted, is_to_come: true }), Some(start))
            }
        };
        if let Some(asked) = asked {
            // Whoever asked may have gone; it has happened all the same.
            let _ = asked.answer.send(answer);
        }
        next
    }

    /// Told to reload what it runs with already.
    fn stay(&self) -> Reloaded {
        say_that_it_ends(true);
        tracing::info!("the configuration is as it was; nothing changes");
        self.concerns.set(CONFIGURATION, None);
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        Reloaded::default()
    }

    /// A bad configuration is said and told, and the daemon goes on with the one it has.
    fn reject(&mut self, mistakes: &Mistakes) -> Refused {
        tracing::error!("the configuration was not reloaded, since it is not right");
        logging::error_lines(mistakes);
        self.tell_rejected(mistakes.brief());
        let mistake = |mistake: &config::Mistake| Mistake {
            code: mistake.code.number(),
            file: mistake.path.display().to_string(),
            place: mistake.place.as_ref().map(|place| (place.line, place.column)),
            what: mistake.what.clone(),
            cure: mistake.cure.clone(),
        };
        Refused { text: mistakes.to_string(), mistakes: mistakes.list.iter().map(mistake).collect() }
    }

    /// It reads well and does not work here.
    fn refuse(&mut self, why: String) -> Refused {
        tracing::error!("the new configuration does not work here: {why}");
        self.tell_rejected(why.clone());
        Refused { text: why, mistakes: Vec::new() }
    }

    fn tell_rejected(&mut self, why: String) {
        // Full only while the journal cannot be written; it is in the log, and a stop must not wait for it.
        let _ = self.tells.try_send(rejected(&self.gateway.site.gateway, &why, self.clock.now()));
        self.concerns.set(CONFIGURATION, Some(why));
    }

    async fn turn(&mut self, loaded: Loaded) -> Came {
        let changes = Changes::between(&self.gateway, &loaded.gateway);
        if !changes.whole.is_empty() || !self.can_move(&loaded, &changes) {
            return Came::Whole(Box::new(Start { changes: changes.bounded(), ..accept(loaded, "reload") }));
        }
        let front = match self.front.beside(&loaded.gateway.web).await {
            Ok(front) => front,
            Err(error) => return Came::Of(Err(self.refuse(error.to_string()))),
        };
        say_that_it_ends(true);
        for sentence in &changes.told {
            tracing::info!("{sentence}");
        }
        let (all, ended) = self.wires.end(&changes.wires.ended, WIRES_DRAIN).await;
        if !all {
            tracing::warn!("a wire did not let go in time");
        }
        if !self.pushes.end(&changes.pushes.ended, SYNC_DRAIN).await {
            tracing::info!("a centre did not take the last events in time; they wait in the journal");
        }
        let edition = Edition(self.edition.0 + 1);
        for channel in changes.wires.begun.iter().chain(&changes.wires.changed) {
            self.wires.lay(channel, &loaded.gateway.site, edition);
        }
        let turned = match self.turn_intake(&loaded, &changes, edition, ended).await {
            Ok(turned) => turned,
            Err(why) => {
                tracing::warn!(why, "the configuration cannot be changed in place; the house is built anew");
                let changes = changes.bounded();
                return Came::Whole(Box::new(Start { changes, ..accept(loaded, "reload") }));
            }
        };
        self.edition = edition;
        self.begin_what_is_new(loaded, &changes, &turned);
        self.offer(turned.live);
        if let Some(front) = front {
            self.open_beside(front);
        }
        let (devices, points) = (self.gateway.site.devices.len(), self.gateway.site.points.len());
        let (rules, restarted) = (self.gateway.rules.len(), changes.begun_anew());
        tracing::info!(devices, points, rules, ?restarted, "gatehouse runs with the new configuration");
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        Came::Of(Ok(Reloaded { changed: changes.told, restarted, is_to_come: false }))
    }

    /// Two addresses with one port may exclude each other: then the old one has to close first.
    fn can_move(&self, loaded: &Loaded, changes: &Changes) -> bool {
        let (now, next) = (self.front.address(), loaded.gateway.web.listen);
        let own = now.is_some_and(|now| now.port() == next.port() && now != next);
        !(changes.listen && own)
    }

    /// Whether it is other than what runs, or only that the one that was meant had been refused.
    fn is_other(&self, loaded: &Loaded) -> bool {
        let last_good = || config::last_good::texts(&self.gateway.store.dir);
        self.again.text.clone().or_else(last_good).as_ref() != Some(&loaded.text)
            || self.again.beside != loaded.beside && self.again.text.is_some()
    }

    async fn turn_intake(
        &self,
        loaded: &Loaded,
        changes: &Changes,
        edition: Edition,
        ended: HashMap<Arc<str>, Lane>,
    ) -> Result<Turned, String> {
        let gateway = &loaded.gateway;
        let data = json!({
            "version": env!("CARGO_PKG_VERSION"), "reason": "reload", "changes": changes.bounded(),
        });
        let subject = format!("gateways/{}", gateway.site.gateway);
        let (answer, answered) = oneshot::channel();
        let turn = Turn {
            edition,
            in_use: self.wires.editions(),
            ended,
            numbers: changes.numbers.clone(),
            site: gateway.site.clone(),
            plan: plan_of(gateway, &self.epoch),
            access: gateway.access.clone(),
            commands: gateway.commands.clone(),
            lanes: self.wires.lanes(),
            keep: keep_of(gateway),
            write_budget: gateway.write_budget,
            keep_kinds: gateway.keep_kinds.clone(),
            summary: gateway.summary,
            consumers: consumers(gateway),
            told: self
                .is_other(loaded)
                .then(|| Draft::new("gateway.config-changed", subject, self.clock.now(), &data)),
            answer,
        };
        self.turns.try_send(turn).map_err(|_| "intake takes no turn".to_owned())?;
        match timeout(TURN_WITHIN, answered).await {
            Ok(Ok(turned)) => turned,
            Ok(Err(_)) => Err("intake has ended".to_owned()),
            Err(_) => Err("intake is busy with the journal".to_owned()),
        }
    }

    /// From here on it runs with this.
    fn begin_what_is_new(&mut self, loaded: Loaded, changes: &Changes, turned: &Turned) {
        let Start { gateway, text, beside, .. } = accept(loaded, "reload");
        let begins = |name: &Arc<str>, begun: &[Arc<str>]| begun.contains(name);
        let last_records = match changes.wires.begun.is_empty() {
            true => Arc::new(HashMap::new()),
            false => Arc::new(known_records(turned.last_records.clone(), &gateway.site)),
        };
        let spool =
            Spool { site: gateway.site.clone(), pseudonyms: gateway.pseudonyms.clone(), last_records };
        for channel in gateway.channels.iter().filter(|c| begins(&c.id, &changes.wires.begun)) {
            self.wires.begin(channel.clone(), spool.clone());
        }
        for channel in gateway.channels.iter().filter(|c| begins(&c.id, &changes.wires.changed)) {
            self.wires.change(channel.clone(), &spool);
        }
        for target in gateway.sync.iter().filter(|t| begins(&t.name, &changes.pushes.begun)) {
            self.pushes.begin(target.clone());
        }
        keep_text(&gateway, text.as_deref());
        self.again = Again { rejected: None, text, beside };
        self.concerns.set(CONFIGURATION, None);
        self.gateway = gateway;
    }
}
