//! Where the API listens. The port stays open while the house behind it is built anew or its task is begun again: who
//! comes meanwhile waits a moment. A port that is taken is tried until it is free; tickets matter more than the API.

use std::net::{SocketAddr, TcpListener as Kept};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::sleep;

use super::concerns::{API, Concerns};
use crate::backoff::Backoff;
use crate::web;

const TRIED_FIRST: Duration = Duration::from_secs(1);
const TRIED_MOST: Duration = Duration::from_secs(60);

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Front {
    settings: web::Settings,
    sessions: web::Sessions,
    kept: Arc<Mutex<Option<Open>>>,
}

#[derive(Debug)]
struct Open {
    /// As configured, where the port may be 0.
    at: SocketAddr,
    listener: Kept,
}

impl Front {
    /// Closed as yet.
    pub(super) fn new(settings: &web::Settings) -> Self {
        Self { settings: settings.clone(), sessions: web::Sessions::default(), kept: Arc::default() }
    }

    /// For the next house: the same port where that listens at the same address.
    ///
    /// # Errors
    /// Another address, and it cannot be listened at.
    pub(super) async fn next(&self, settings: &web::Settings) -> std::io::Result<Self> {
        let next = Self { settings: settings.clone(), ..self.clone() };
        // One that was opened for a house that was not built may be elsewhere, too.
        let elsewhere = self.lock().as_ref().is_some_and(|open| open.at != settings.listen);
        if settings.listen == self.settings.listen && !elsewhere {
            return Ok(next);
        }
        // The new address may hold the old one's port.
        *self.lock() = None;
        next.open().await.map(|()| next)
    }

    /// Where the API is to listen from now on, opened while this one still is; `None`: it stays.
    ///
    /// # Errors
    /// It cannot be listened at.
    pub(super) async fn beside(&self, settings: &web::Settings) -> std::io::Result<Option<Self>> {
        let next = Self { settings: settings.clone(), kept: Arc::default(), ..self.clone() };
        if settings.listen == self.settings.listen || self.address() == Some(settings.listen) {
            web::bind_allowed(settings)?;
            // One that could not be opened as yet is tried from now on as it is to be now.
            return Ok(self.address().is_none().then_some(next));
        }
        next.open().await.map(|()| Some(next))
    }

    /// It stays where it is, under what may be other words for that.
    pub(super) fn stay(&mut self, settings: &web::Settings) {
        self.settings = settings.clone();
        if let Some(open) = self.lock().as_mut() {
            open.at = settings.listen;
        }
    }

    /// # Errors
    /// The port is taken, or the address not ours.
    pub(super) async fn open(&self) -> std::io::Result<()> {
        if self.address().is_none() {
            let listener = web::bind(&self.settings).await?.into_std()?;
            *self.lock() = Some(Open { at: self.settings.listen, listener });
        }
        Ok(())
    }

    /// Of those who logged in on the page, whichever house they were opened in.
    pub(super) fn sessions(&self) -> web::Sessions {
        self.sessions.clone()
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.lock().as_ref()?.listener.local_addr().ok()
    }

    /// A listener on the port, as soon as it can be had.
    pub(super) async fn listener(&self, concerns: &Concerns) -> TcpListener {
        let mut pauses = Backoff::new(TRIED_FIRST, TRIED_MOST);
        let closed = self.address().is_none();
        let mut told = false;
        loop {
            let error = match self.one_more().await {
                Ok(listener) => {
                    concerns.set(API, None);
                    if let (true, Some(api)) = (closed, self.address()) {
                        tracing::info!(%api, "the API listens");
                    }
                    return listener;
                }
                Err(error) => error,
            };
            if !std::mem::replace(&mut told, true) {
                tracing::error!(%error, "there is no API; all else goes on, and it is tried again");
            }
            concerns.set(API, Some(format!("there is no API: {error}")));
            sleep(pauses.pause()).await;
        }
    }

    async fn one_more(&self) -> std::io::Result<TcpListener> {
        // Also where it is open already: the house before may have had another certificate.
        web::bind_allowed(&self.settings)?;
        self.open().await?;
        let kept = self.lock().as_ref().map(|open| open.listener.try_clone());
        TcpListener::from_std(kept.unwrap_or_else(|| Err(std::io::ErrorKind::NotConnected.into()))?)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Open>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
