//! MQTT 5: what our side of a session is after a restart of ours: empty, and ours.
//!
//! The broker keeps what it has for us. On our side a session is made of what we have said and the broker not yet taken; an order
//! that was under way when we fell is not said again, so that there is nothing to remember. The library has to be told so: without
//! a session of our own it takes the broker's words but sends nothing, not even a subscription.

use std::future::ready;

use rumqttc_v5::{PersistedAckMode, PersistedSession, SessionStore, SessionStoreError, SessionStoreKey};

#[derive(Debug)]
pub struct Empty {
    pub expiry_seconds: u32,
}

type Answer<'a, T> = std::pin::Pin<Box<dyn Future<Output = Result<T, SessionStoreError>> + Send + 'a>>;

impl SessionStore for Empty {
    fn load<'a>(&'a self, key: &'a SessionStoreKey) -> Answer<'a, Option<PersistedSession>> {
        let session = PersistedSession {
            format_version: 1,
            client_id: key.client_id().to_owned(),
            clean_start: false,
            session_expiry_interval: Some(self.expiry_seconds),
            outgoing_inflight_upper_limit: None,
            ack_mode: PersistedAckMode::Manual,
            last_pkid: 0,
            last_puback: 0,
            replay: Vec::new(),
            incoming_qos2: Vec::new(),
        };
        Box::pin(ready(Ok(Some(session))))
    }

    fn save<'a>(&'a self, _: &'a SessionStoreKey, _: &'a PersistedSession) -> Answer<'a, ()> {
        Box::pin(ready(Ok(())))
    }

    fn clear<'a>(&'a self, _: &'a SessionStoreKey) -> Answer<'a, ()> {
        Box::pin(ready(Ok(())))
    }
}
