//! Devices that speak through an MQTT broker. One task owns the one connection.
//!
//! The session is persistent and QoS 1, so that what is published while we are away comes when we are back; it is
//! subscribed anew after every connect all the same, since a broker that lost its data would stay silent.
//!
//! A message is acknowledged once intake has taken all that it says: what a stop or a fall leaves in between, the broker
//! sends again. What intake has taken but not yet written to disk is lost with the power all the same.

mod inbox;
mod payload;
pub mod topic;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{
    AckMode, AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, NetworkOptions, Packet, Publish,
    QoS, StateError, SubAck, SubscribeReasonCode, mqttbytes,
};
use tokio::sync::mpsc::error::SendError;
use tokio::time::{Instant, sleep, timeout};

use super::Context;
use super::decode::Transform;
use crate::backoff::Backoff;
use crate::metrics::Request;
use crate::reading::{Batch, DeviceId, PointId};
use crate::secret::Secret;
use crate::time::now;
use inbox::{Inbox, Message};

/// A larger packet ends the connection: no device says so much, but a bridge's list of all its devices may.
const PACKET_MAX: usize = 4 * MIB;
const MIB: usize = 1024 * 1024;
/// So many packets are read at once. All they ask for in acknowledgements goes out before the next are read.
const READ_AT_ONCE: usize = 32;
const KEEP_ALIVE_SECONDS: u16 = 20;
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MOST: Duration = Duration::from_secs(30);
/// A connection that stood this long was a good one: the next pause begins small again.
const STOOD: Duration = Duration::from_secs(5);
/// When it has to stop: how long intake may take for what was received, and the broker for the goodbye.
const LAST_BATCHES: Duration = Duration::from_millis(400);
const GOODBYE: Duration = Duration::from_millis(400);

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub host: String,
    pub port: u16,
    /// `None`: `gatehouse-<gateway>-<channel>`.
    pub client_id: Option<String>,
    pub login: Option<(String, Secret)>,
    /// How long connecting may take.
    pub timeout: Duration,
    pub version: Version,
    /// `None`: in clear.
    pub tls: Option<Tls>,
    pub devices: Vec<Device>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// MQTT 3.1.1
    #[default]
    V311,
    V5,
}

/// PEM texts, read by the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Who may sign the broker's certificate; `None`: those whom the system trusts.
    pub ca: Option<Arc<str>>,
    /// Our own certificate and its key.
    pub identity: Option<(Arc<str>, Secret)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    pub id: DeviceId,
    /// A topic filter, `+` and `#` allowed.
    pub topic: String,
    /// Where the device (or its bridge) says whether it is there, retained: `online` / `offline` or
    /// `{"state":"online"}`. Its last will says `offline`.
    pub availability: Option<String>,
    pub dialect: Dialect,
    pub points: Vec<Point>,
    pub commands: Vec<Command>,
}

/// What messages of a device are.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Dialect {
    /// Values of its points.
    #[default]
    Points,
    /// A face terminal (`mqtt/face/<id>`): what happens at its door, not values. The device's topic is `mqtt/face/<id>`.
    FaceTerminal {
        /// The zone of its clock.
        timezone: String,
    },
}

/// What can be ordered: one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub topic: String,
    pub payload: String,
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
    let mut link = Link::new(channel, settings, context);
    link.listen().await;
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
        Self { channel, broker, timeout: settings.timeout, client, events, inbox, context }
    }

    /// `None`: it has to stop.
    async fn listen(&mut self) -> Option<Infallible> {
        let stop = self.context.stop.clone();
        let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_MOST);
        // An outage lasts until a connection stands for a while; its devices may come and go meanwhile.
        let (mut logged, mut told) = (false, false);
        loop {
            let why = match stop.run_until_cancelled(self.connect()).await? {
                Ok(()) => {
                    told = false;
                    let since = Instant::now();
                    let why = self.take_messages().await?;
                    if since.elapsed() >= STOOD {
                        backoff.reset();
                        logged = false;
                    }
                    format!("broker {} is lost: {why}", self.broker)
                }
                Err(why) => format!("broker {} is not there: {why}", self.broker),
            };
            self.count("broken");
            if !logged {
                logged = true;
                tracing::warn!(channel = &*self.channel, why, "the broker is gone, its devices are offline");
            }
            if !told {
                told = true;
                self.hand_on(self.inbox.lost(&why, now())).await;
            }
            stop.run_until_cancelled(sleep(backoff.pause())).await?;
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
        let filters = self.inbox.filters().into_iter().filter(|filter| topic::is_filter(filter));
        let filters: Vec<_> =
            filters.map(|f| rumqttc::SubscribeFilter::new(f.to_owned(), QoS::AtLeastOnce)).collect();
        if filters.is_empty() {
            return Ok(());
        }
        // Never the waiting form: the one who would make room in the queue is this task.
        self.client.try_subscribe_many(filters).map_err(|error| error.to_string())?;
        tracing::info!(channel = &*self.channel, broker = self.broker, "connected to the broker");
        Ok(())
    }

    /// Until the connection breaks; gives back why. `None`: it has to stop.
    async fn take_messages(&mut self) -> Option<String> {
        let stop = self.context.stop.clone();
        loop {
            let why = match stop.run_until_cancelled(self.events.poll()).await? {
                Ok(event) => match self.take(event).await {
                    true => continue,
                    false if stop.is_cancelled() => return None,
                    false => "nobody takes its messages".into(),
                },
                Err(error) => reason(&error),
            };
            self.events.clean();
            // What was received before it broke. It can no longer be acknowledged, so it may come twice.
            for event in std::mem::take(&mut self.events.state.events) {
                if let Event::Incoming(Packet::Publish(message)) = event {
                    let batches = self.said(&message);
                    self.hand_on(batches).await;
                }
            }
            return Some(why);
        }
    }

    /// Whether intake took what it says.
    async fn take(&mut self, event: Event) -> bool {
        match event {
            Event::Incoming(Packet::Publish(message)) => {
                self.count("ok");
                let batches = self.said(&message);
                // Never the waiting form: the one who would make room in the queue is this task.
                self.hand_on(batches).await && self.client.try_ack(&message).is_ok()
            }
            Event::Incoming(Packet::SubAck(ack)) => {
                self.look_for_refusals(&ack);
                true
            }
            _ => true,
        }
    }

    fn said(&mut self, message: &Publish) -> Vec<Batch> {
        let Ok(topic) = std::str::from_utf8(&message.topic) else {
            return Vec::new();
        };
        let message = Message { topic, payload: &message.payload, retained: message.retain };
        self.inbox.take(message, now())
    }

    fn look_for_refusals(&self, ack: &SubAck) {
        let codes = ack.return_codes.iter();
        let refused = codes.filter(|c| **c == SubscribeReasonCode::Failure).count();
        if refused > 0 {
            tracing::warn!(
                channel = &*self.channel,
                refused,
                "the broker refuses subscriptions; may this login read the topics?"
            );
        }
    }

    /// Whether intake took all of it. It may take its time, until the channel has to stop.
    async fn hand_on(&self, batches: Vec<Batch>) -> bool {
        let all = async {
            for batch in batches {
                self.context.out.send(batch).await?;
            }
            Ok::<_, SendError<Batch>>(())
        };
        let patience = async {
            self.context.stop.cancelled().await;
            sleep(LAST_BATCHES).await;
        };
        tokio::select! {
            biased;
            taken = all => taken.is_ok(),
            () = patience => false,
        }
    }

    /// Hands on what was received, then takes leave: a polite goodbye keeps the session and spares the broker a
    /// warning. What there is no time for comes again, since it was not acknowledged.
    async fn part(&mut self) {
        if !self.events.diagnostics().connected {
            return;
        }
        while let Some(event) = self.events.state.events.pop_front() {
            if !self.take(event).await {
                return;
            }
        }
        if self.client.try_disconnect().is_ok() {
            let _ = timeout(GOODBYE, async { while self.events.poll().await.is_ok() {} }).await;
        }
    }

    fn count(&self, outcome: &'static str) {
        let request = Request { channel: self.channel.to_string(), outcome };
        self.context.metrics.requests.get_or_create(&request).inc();
    }
}

/// For people.
fn reason(error: &ConnectionError) -> String {
    match error {
        ConnectionError::MqttState(StateError::Deserialization(
            mqttbytes::Error::PayloadSizeLimitExceeded(bytes),
        )) => format!(
            "it sends a message of {bytes} bytes, and more than {} MiB are not taken; narrow the topics of this \
             channel so that it is not among them",
            PACKET_MAX / MIB
        ),
        error => error.to_string(),
    }
}

fn connection(channel: &str, settings: &Settings, context: &Context) -> (AsyncClient, EventLoop) {
    let id = settings.client_id.clone().filter(|id| !id.is_empty());
    let id = id.unwrap_or_else(|| format!("gatehouse-{}-{channel}", context.site.gateway));
    let mut options = MqttOptions::new(id, (settings.host.clone(), settings.port));
    options
        .set_clean_session(false)
        .set_keep_alive(KEEP_ALIVE_SECONDS)
        .set_max_packet_size(PACKET_MAX, PACKET_MAX)
        .set_read_batch_size(READ_AT_ONCE)
        .set_ack_mode(AckMode::Manual);
    if let Some((user, password)) = &settings.login {
        options.set_credentials(user, password.reveal().to_owned());
    }
    // What waits there at the most: the acknowledgements of one reading, one subscription, one goodbye.
    let room = READ_AT_ONCE + 2;
    let (client, mut events) = AsyncClient::builder(options).capacity(room).build();
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(settings.timeout.as_secs().max(1)).set_tcp_nodelay(true);
    events.set_network_options(network);
    (client, events)
}
