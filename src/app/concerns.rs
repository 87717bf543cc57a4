//! What is not as it should be, by who says so: shown together as long as it lasts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::web::Readiness;

/// One for each house. Cheap to clone; every clone writes on the same page.
#[derive(Debug, Clone)]
pub(super) struct Concerns {
    /// As many as there are tasks, and a few.
    by: Arc<Mutex<BTreeMap<Arc<str>, String>>>,
    shown: watch::Sender<Readiness>,
}

pub(super) const CONFIGURATION: &str = "configuration";
pub(super) const JOURNAL: &str = "journal";
pub(super) const CARD: &str = "card";
pub(super) const EPOCH: &str = "epoch";
pub(super) const CERTIFICATE: &str = "certificate";
/// Not the name of the API's task, which has a word of its own.
pub(super) const API: &str = "port";

impl Concerns {
    /// What somebody says now, in place of what they said before; `None`: all is well there.
    pub(super) fn set(&self, who: &str, what: Option<String>) {
        let mut by = self.by.lock().unwrap_or_else(PoisonError::into_inner);
        match what {
            Some(what) => by.insert(who.into(), what),
            None => by.remove(who),
        };
        let troubles: Vec<String> = by.values().cloned().collect();
        self.shown.send_if_modified(|shown| {
            let changed = shown.troubles != troubles;
            shown.troubles = troubles;
            changed
        });
    }

    pub(super) fn ready(&self, ready: bool) {
        self.shown.send_modify(|shown| shown.ready = ready);
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Readiness> {
        self.shown.subscribe()
    }

    #[cfg(test)]
    pub(super) fn now(&self) -> Readiness {
        self.shown.borrow().clone()
    }
}

impl Default for Concerns {
    fn default() -> Self {
        Self { by: Arc::default(), shown: watch::Sender::new(Readiness::default()) }
    }
}

/// What intake cannot do is shown as long as it lasts.
pub(super) async fn show_trouble(mut trouble: watch::Receiver<Option<String>>, concerns: Concerns) {
    while trouble.changed().await.is_ok() {
        concerns.set(JOURNAL, trouble.borrow_and_update().clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_says_its_own_and_takes_back_its_own() {
        let concerns = Concerns::default();
        concerns.set(JOURNAL, Some("the journal cannot be written".into()));
        concerns.set(API, Some("the port is taken".into()));
        concerns.set(API, Some("the port is still taken".into()));
        let all = "the journal cannot be written; the port is still taken";
        assert_eq!(concerns.now().degraded().as_deref(), Some(all));
        concerns.set(API, None);
        assert_eq!(concerns.now().degraded().as_deref(), Some("the journal cannot be written"));
        concerns.set(JOURNAL, None);
        concerns.ready(true);
        assert_eq!(concerns.now(), Readiness { ready: true, troubles: vec![] });
    }
}
