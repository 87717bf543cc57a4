//! A simulated Zigbee bridge: battery devices behind it, told to the broker in Zigbee2MQTT's manner.
//!
//! The states are told when they change and again each few seconds, not retained; whether a device is there is
//! retained. The bridge's own last will says `offline`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, LastWill, MqttOptions, Packet, PublishOptions, QoS};
use serde_json::{Value as Json, json};
use tokio::time::{interval, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A running bridge; it is gone, last will and all, when this is dropped.
#[derive(Debug)]
pub struct Bridge {
    client: AsyncClient,
    states: Arc<Mutex<BTreeMap<String, Json>>>,
    _running: DropGuard,
}

const BASE: &str = "zigbee2mqtt";
const AGAIN: Duration = Duration::from_secs(2);

impl Bridge {
    pub fn start(broker: SocketAddr) -> Self {
        let mut options = MqttOptions::new("zigbee2mqtt", (broker.ip().to_string(), broker.port()));
        let will =
            LastWill::new(format!("{BASE}/bridge/state"), r#"{"state":"offline"}"#, QoS::AtLeastOnce, true);
        options.set_keep_alive(10).set_last_will(will);
        let (client, events) = AsyncClient::builder(options).capacity(64).build();
        let states = Arc::new(Mutex::new(BTreeMap::new()));
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(speak(client.clone(), states.clone())));
        tokio::spawn(stop.clone().run_until_cancelled_owned(carry(client.clone(), events)));
        Self { client, states, _running: stop.drop_guard() }
    }

    /// Merges `change` into the state of a device and tells it at once.
    pub async fn set(&self, device: &str, change: Json) {
        let state = {
            let mut states = lock(&self.states);
            let state = states
                .entry(device.to_owned())
                .or_insert_with(|| json!({ "battery": 97, "linkquality": 94 }));
            if let (Some(state), Json::Object(change)) = (state.as_object_mut(), change) {
                state.extend(change);
            }
            state.to_string()
        };
        tell(&self.client, &format!("{BASE}/{device}"), state, false).await;
    }

    /// Whether the bridge still hears a device.
    pub async fn set_available(&self, device: &str, online: bool) {
        let word = if online { "online" } else { "offline" };
        tell(
            &self.client,
            &format!("{BASE}/{device}/availability"),
            json!({ "state": word }).to_string(),
            true,
        )
        .await;
    }
}

async fn speak(client: AsyncClient, states: Arc<Mutex<BTreeMap<String, Json>>>) {
    let mut again = interval(AGAIN);
    loop {
        again.tick().await;
        let all: Vec<_> =
            lock(&states).iter().map(|(device, state)| (device.clone(), state.to_string())).collect();
        for (device, state) in all {
            tell(&client, &format!("{BASE}/{device}"), state, false).await;
        }
    }
}

async fn carry(client: AsyncClient, mut events: EventLoop) {
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                let options = PublishOptions::at_least_once().retained();
                let _ = client.try_publish(format!("{BASE}/bridge/state"), r#"{"state":"online"}"#, options);
            }
            Ok(_) => {}
            Err(_) => sleep(Duration::from_millis(500)).await,
        }
    }
}

async fn tell(client: &AsyncClient, topic: &str, payload: String, retained: bool) {
    let options = PublishOptions::at_least_once().retain(retained);
    let _ = client.publish(topic, payload, options).await;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
