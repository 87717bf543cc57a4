//! Devices that speak through an MQTT broker. One task owns the one connection.
//!
//! The session is persistent and QoS 1, so that what is published while we are away comes when we are back; it is
//! subscribed anew after every connect all the same, since a broker that lost its data would stay silent.

mod inbox;
mod payload;
pub mod topic;

use std::sync::Arc;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, NetworkOptions, Packet, QoS, SubscribeReasonCode};
use tokio::time::{Instant, timeout};

use super::Context;
use super::decode::Transform;
use crate::backoff::Backoff;
use crate::metrics::Request;
use crate::reading::{Batch, DeviceId, PointId};
use crate::secret::Secret;
use crate::time::now;
use inbox::{Inbox, Message};

/// A larger packet ends the connection.
const PACKET_MAX: usize = 256 * 1024;
const KEEP_ALIVE_SECONDS: u16 = 20;
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MOST: Duration = Duration::from_secs(30);
/// A connection that stood this long was a good one: the next pause begins small again.
const STOOD: Duration = Duration::from_secs(5);
const GOODBYE: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub host: String,
    pub port: u16,
    /// `None`: `gatehouse-<gateway>-<channel>`.
    pub client_id: Option<String>,
    pub login: Option<(String, Secret)>,
    /// How long connecting may take.
    pub timeout: Duration,
    pub devices: Vec<Device>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    pub id: DeviceId,
    /// A topic filter, `+` and `#` allowed.
    pub topic: String,
    /// Where the device (or its bridge) says whether it is there, retained: `online` / `offline` or
    /// `{"state":"online"}`. Its last will says `offline`.
    pub availability: Option<String>,
    pub points: Vec<Point>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub id: PointId,
    /// A topic of its own; `None`: the device's.
    pub topic: Option<String>,
    /// JSON Pointer into the payload; `None`: the payload is the value.
    pub json: Option<String>,
    pub transform: Transform,
}

/// Listens until `stop`; a broker that is gone is sought with growing pauses.
pub async fn run(channel: Arc<str>, settings: Settings, context: Context) {
    let stop = context.stop.clone();
    let mut link = Link::new(channel, settings, context);
    // Only between messages: a batch in the way to intake is given up too, but never half of one.
    stop.run_until_cancelled(link.listen()).await;
    link.part().await;
}

struct Link {
    channel: Arc<str>,
    broker: String,
    timeout: Duration,
    client: AsyncClient,
    events: EventLoop,
    inbox: Inbox,
    context: Context,
}

impl Link {
    fn new(channel: Arc<str>, settings: Settings, context: Context) -> Self {
        let broker = format!("{}:{}", settings.host, settings.port);
        let (client, events) = connection(&channel, &settings, &context);
        let inbox = Inbox::new(settings.devices);
        Self {
            channel,
            broker,
            timeout: settings.timeout,
            client,
            events,
            inbox,
            context,
        }
    }

    async fn listen(&mut self) {
        let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_MOST);
        let mut known_lost = false;
        loop {
            let why = match self.connect().await {
                Ok(()) => {
                    known_lost = false;
                    let since = Instant::now();
                    let why = self.take_messages().await;
                    if since.elapsed() >= STOOD {
                        backoff.reset();
                    }
                    why
                }
                Err(why) => why,
            };
            self.count("broken");
            if !known_lost {
                known_lost = true;
                let why = format!("broker {} is not there: {why}", self.broker);
                tracing::warn!(
                    channel = &*self.channel,
                    why,
                    "the broker is gone, its devices are offline"
                );
                self.hand_on(self.inbox.lost(&why, now())).await;
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    /// Connects and subscribes. An error says why, for people.
    async fn connect(&mut self) -> Result<(), String> {
        // Without a connection `poll` does nothing but connect, and its first word is the ConnAck.
        match timeout(self.timeout, self.events.poll()).await {
            Ok(Ok(Event::Incoming(Packet::ConnAck(_)))) => {}
            Ok(Ok(other)) => return Err(format!("expected its greeting, got {other:?}")),
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err(format!("no connection within {:?}", self.timeout)),
        }
        let filters = self
            .inbox
            .filters()
            .into_iter()
            .filter(|filter| topic::is_filter(filter));
        let filters: Vec<_> = filters
            .map(|f| rumqttc::SubscribeFilter::new(f.to_owned(), QoS::AtLeastOnce))
            .collect();
        if filters.is_empty() {
            return Ok(());
        }
        // Never the waiting form: the one who would make room in the queue is this task.
        self.client
            .try_subscribe_many(filters)
            .map_err(|error| error.to_string())?;
        tracing::info!(
            channel = &*self.channel,
            broker = self.broker,
            "connected to the broker"
        );
        Ok(())
    }

    /// Until the connection breaks; gives back why.
    async fn take_messages(&mut self) -> String {
        loop {
            match self.events.poll().await {
                Ok(Event::Incoming(Packet::Publish(message))) => {
                    self.count("ok");
                    let Ok(topic) = std::str::from_utf8(&message.topic) else {
                        continue;
                    };
                    let message = Message {
                        topic,
                        payload: &message.payload,
                        retained: message.retain,
                    };
                    let batches = self.inbox.take(message, now());
                    self.hand_on(batches).await;
                }
                Ok(Event::Incoming(Packet::SubAck(ack))) => {
                    let refused = ack
                        .return_codes
                        .iter()
                        .filter(|code| **code == SubscribeReasonCode::Failure)
                        .count();
                    if refused > 0 {
                        tracing::warn!(
                            channel = &*self.channel,
                            refused,
                            "the broker refuses subscriptions; may this login read the topics?"
                        );
                    }
                }
                Ok(_) => {}
                Err(error) => return error.to_string(),
            }
        }
    }

    async fn hand_on(&self, batches: Vec<Batch>) {
        for batch in batches {
            // Closed only while the daemon ends.
            let _ = self.context.out.send(batch).await;
        }
    }

    /// A polite goodbye keeps the session and spares the broker a warning.
    async fn part(&mut self) {
        if self.events.diagnostics().connected && self.client.try_disconnect().is_ok() {
            let _ = timeout(GOODBYE, async { while self.events.poll().await.is_ok() {} }).await;
        }
    }

    fn count(&self, outcome: &'static str) {
        let request = Request {
            channel: self.channel.to_string(),
            outcome,
        };
        self.context.metrics.requests.get_or_create(&request).inc();
    }
}

fn connection(channel: &str, settings: &Settings, context: &Context) -> (AsyncClient, EventLoop) {
    let id = settings.client_id.clone().filter(|id| !id.is_empty());
    let id = id.unwrap_or_else(|| format!("gatehouse-{}-{channel}", context.site.gateway));
    let mut options = MqttOptions::new(id, (settings.host.clone(), settings.port));
    options
        .set_clean_session(false)
        .set_keep_alive(KEEP_ALIVE_SECONDS)
        .set_max_packet_size(PACKET_MAX, PACKET_MAX);
    if let Some((user, password)) = &settings.login {
        options.set_credentials(user, password.reveal().to_owned());
    }
    // One subscription and one goodbye are all that ever waits there.
    let (client, mut events) = AsyncClient::builder(options).capacity(4).build();
    let mut network = NetworkOptions::new();
    network
        .set_connection_timeout(settings.timeout.as_secs().max(1))
        .set_tcp_nodelay(true);
    events.set_network_options(network);
    (client, events)
}
