//! The connection to a broker in either version of MQTT. The two crates are of one hand and read alike but share no types.

use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{NetworkOptions, TlsConfiguration};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::owed::OWED_MOST;
use super::{Settings, Version, session, tls, why};

/// A larger packet ends the connection: no device says so much, but a bridge's list of all its devices may. A broker that
/// speaks MQTT 5 is told and keeps it to itself.
pub const PACKET_MAX: u32 = 4 * MIB;
/// A broker of MQTT 3.1.1 says a larger packet again and again until it is taken. Up to here it is taken, to be put aside.
pub const PACKET_TAKEN_MAX: u32 = 64 * MIB;
pub const MIB: u32 = 1024 * 1024;
/// So many packets are read at once. All that waits to be sent goes out before the next are read.
pub const READ_AT_ONCE: usize = 32;
/// What may wait to be sent: the acknowledgements of one reading and of what waited before it, an answer to each (face
/// terminals), one subscription, one end of subscriptions, one question whether it is there, one order, one goodbye.
const ROOM: usize = 2 * (READ_AT_ONCE + OWED_MOST) + 5;
/// A filter under which nothing is subscribed.
const NOTHING: &str = "gatehouse/there";
pub const KEEP_ALIVE_SECONDS: u16 = 20;
/// How long a broker keeps what we miss. (One of MQTT 3.1.1 keeps it as long as it likes.)
const SESSION_SECONDS: u32 = 7 * 24 * 3600;

/// What is said to the broker.
#[derive(Debug, Clone)]
pub enum Mouth {
    V311(rumqttc::AsyncClient),
    V5(rumqttc_v5::AsyncClient),
}

/// What is heard of it.
pub enum Ear {
    V311(Box<rumqttc::EventLoop>),
    V5(Box<rumqttc_v5::EventLoop>),
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Word {
    Greeting,
    Message(Mail),
    /// So many filters were refused.
    Subscribed {
        refused: usize,
    },
    Other,
}

/// A message, with what its acknowledgement needs.
#[derive(Debug)]
pub enum Mail {
    V311(rumqttc::Publish),
    V5(rumqttc_v5::Publish),
}

/// Why a connection is gone, for people.
#[derive(Debug)]
pub struct Lost {
    pub why: String,
    /// The size of the packet that was too large for it.
    pub bytes: Option<usize>,
}

impl From<String> for Lost {
    fn from(why: String) -> Self {
        Self { why, bytes: None }
    }
}

/// The bound that holds a packet of this size. `None`: no connection takes it.
pub fn bound_for(bytes: usize) -> Option<u32> {
    let bound = u32::try_from(bytes).ok()?.checked_next_multiple_of(MIB)?;
    (bound <= PACKET_TAKEN_MAX).then_some(bound)
}

/// Whether the session outlives the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    Kept,
    /// Without acknowledgements by hand; for one who only looks.
    Passing,
}

/// The same words for both versions; `$mqtt` is the crate in them.
macro_rules! either {
    ($it:expr, $mqtt:ident, $name:pat => $do:expr) => {
        match $it {
            Self::V311($name) => {
                #[allow(unused_imports)]
                use rumqttc as $mqtt;
                $do
            }
            Self::V5($name) => {
                #[allow(unused_imports)]
                use rumqttc_v5 as $mqtt;
                $do
            }
        }
    };
}

/// A broker and how it is reached.
#[derive(Debug, Clone)]
pub struct Place {
    /// Without its devices.
    pub settings: Settings,
    security: Option<TlsConfiguration>,
}

impl Place {
    /// An error says for people why nothing can be reached this way.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let security = settings.tls.as_ref().map(tls::client).transpose()?;
        let security = security.map(|config| TlsConfiguration::Rustls(Arc::new(config)));
        Ok(Self { settings: Settings { devices: Vec::new(), ..settings.clone() }, security })
    }

    /// A connection that knows nothing of an earlier one: what that one had still to say is not said any more. (An order that
    /// comes after its hour opens a door for nobody.) It connects when it is listened to. `bound` is of one packet.
    pub fn open(&self, id: &str, kept: Session, bound: u32) -> (Mouth, Ear) {
        let settings = &self.settings;
        let mut network = NetworkOptions::new();
        network.set_connection_timeout(settings.timeout.as_secs().max(1)).set_tcp_nodelay(true);
        let security = self.security.clone();
        match settings.version {
            Version::V311 => v311(settings, id, kept, bound, security, network),
            Version::V5 => v5(settings, id, kept, bound, security, network),
        }
    }
}

/// A connection that, however it ends, also by a kill, takes with it what was not sent yet: otherwise the kernel would go on
/// telling an order for minutes once nobody is left to take it back.
async fn connect(host: String, network: NetworkOptions) -> io::Result<TcpStream> {
    let addresses: Vec<_> = lookup_host(host).await?.collect();
    // One that swallows everything leaves time for the next.
    let each = Duration::from_secs(network.connection_timeout()) / addresses.len().max(1) as u32;
    let mut last = io::ErrorKind::NotFound.into();
    for address in addresses {
        let connecting = rumqttc::default_socket_connect(address.to_string(), network.clone());
        match timeout(each, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => return stream.set_zero_linger().map(|()| stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Of large packets there is never more than one in memory.
fn read_at_once(bound: u32) -> usize {
    if bound > PACKET_MAX { 1 } else { READ_AT_ONCE }
}

fn v311(
    settings: &Settings,
    id: &str,
    kept: Session,
    bound: u32,
    security: Option<TlsConfiguration>,
    network: NetworkOptions,
) -> (Mouth, Ear) {
    use rumqttc::{AckMode, AsyncClient, MqttOptions, Transport};
    let mut options = MqttOptions::new(id, (settings.host.clone(), settings.port));
    options
        .set_clean_session(kept == Session::Passing)
        .set_keep_alive(KEEP_ALIVE_SECONDS)
        .set_max_packet_size(bound as usize, PACKET_MAX as usize)
        .set_read_batch_size(read_at_once(bound));
    options.set_socket_connector(connect);
    if kept == Session::Kept {
        options.set_ack_mode(AckMode::Manual);
    }
    if let Some((user, password)) = &settings.login {
        options.set_credentials(user, password.reveal().to_owned());
    }
    if let Some(security) = security {
        options.set_transport(Transport::tls_with_config(security));
    }
    let (client, mut events) = AsyncClient::builder(options).capacity(ROOM).build();
    events.set_network_options(network);
    (Mouth::V311(client), Ear::V311(Box::new(events)))
}

fn v5(
    settings: &Settings,
    id: &str,
    kept: Session,
    bound: u32,
    security: Option<TlsConfiguration>,
    network: NetworkOptions,
) -> (Mouth, Ear) {
    use rumqttc_v5::{AckMode, AsyncClient, MqttOptions, Transport};
    let mut options = MqttOptions::new(id, (settings.host.clone(), settings.port));
    options
        .set_clean_start(kept == Session::Passing)
        .set_keep_alive(KEEP_ALIVE_SECONDS)
        .set_max_packet_size(Some(bound))
        .set_read_batch_size(read_at_once(bound))
        .set_connect_timeout(settings.timeout.max(Duration::from_secs(1)))
        .set_network_options(network);
    options.set_socket_connector(connect);
    if kept == Session::Kept {
        options
            .set_ack_mode(AckMode::Manual)
            .set_session_expiry_interval(Some(SESSION_SECONDS))
            .set_session_store(session::Empty { expiry_seconds: SESSION_SECONDS });
    }
    if let Some((user, password)) = &settings.login {
        options.set_credentials(user, password.reveal().to_owned());
    }
    if let Some(security) = security {
        options.set_transport(Transport::tls_with_config(security));
    }
    let (client, events) = AsyncClient::builder(options).capacity(ROOM).build();
    (Mouth::V5(client), Ear::V5(Box::new(events)))
}

// ---------------------------------------------------------------------------------------------- Mouth

/// Never the waiting forms: the one who would make room in the queue may be the one who asks.
impl Mouth {
    pub fn subscribe(&self, filters: impl Iterator<Item = String>, acknowledged: bool) -> Result<(), String> {
        either!(self, mqtt, client => {
            let qos = if acknowledged { mqtt::QoS::AtLeastOnce } else { mqtt::QoS::AtMostOnce };
            let filters: Vec<_> = filters.map(|filter| mqtt::SubscribeFilter::new(filter, qos)).collect();
            if filters.is_empty() {
                return Ok(());
            }
            client.try_subscribe_many(filters).map_err(|error| error.to_string())
        })
    }

    pub fn unsubscribe(&self, filters: Vec<String>) -> Result<(), String> {
        if filters.is_empty() {
            return Ok(());
        }
        either!(self, mqtt, client => {
            client.try_unsubscribe_many(filters).map_err(|error| error.to_string())
        })
    }

    pub fn acknowledge(&self, mail: &Mail) -> bool {
        match (self, mail) {
            (Self::V311(client), Mail::V311(publish)) => client.try_ack(publish).is_ok(),
            (Self::V5(client), Mail::V5(publish)) => client.try_ack(publish).is_ok(),
            _ => false,
        }
    }

    /// Without waiting for an answer. Whether it went out.
    pub fn say(&self, topic: String, payload: String) -> bool {
        either!(self, mqtt, client => {
            client.try_publish(topic, payload, mqtt::PublishOptions::at_most_once()).is_ok()
        })
    }

    /// Until the broker answers: whether it did. A ping would do, but the library has none to wait for; so it is told to end a
    /// subscription that there is not, which it has to answer all the same.
    pub async fn is_answered(&self) -> bool {
        either!(self, mqtt, client => match client.try_unsubscribe_tracked(NOTHING) {
            Ok(notice) => notice.wait_async().await.is_ok(),
            Err(_) => false,
        })
    }

    /// Until the broker has taken it. `left`: how long it is good; one of MQTT 5 keeps it no longer for whoever is away.
    pub async fn order(&self, topic: String, payload: String, left: Option<Duration>) -> Result<(), Untaken> {
        // Its own words would show the message.
        let never = || Untaken::Never("its topic is no topic, or too much waits to be sent".into());
        match self {
            Self::V311(client) => {
                let options = rumqttc::PublishOptions::at_least_once();
                let notice = client.try_publish_tracked(topic, payload, options).map_err(|_| never())?;
                notice.wait_async().await.map(drop).map_err(|_| Untaken::Perhaps)
            }
            Self::V5(client) => {
                use rumqttc_v5::{PublishNoticeError, PublishOptions, PublishProperties, PublishResult};
                let seconds = |left: Duration| u32::try_from(left.as_secs()).unwrap_or(u32::MAX);
                // Of 0 some brokers think that there is no end.
                let message_expiry_interval = left.map(|left| seconds(left).max(1));
                let properties = PublishProperties { message_expiry_interval, ..Default::default() };
                let options = PublishOptions::at_least_once().properties(properties);
                let notice = client.try_publish_tracked(topic, payload, options).map_err(|_| never())?;
                match notice.wait_async().await {
                    Ok(PublishResult::Qos1(ack)) => refusal(ack.reason),
                    Ok(_) => Ok(()),
                    Err(PublishNoticeError::V5PubAck(reason)) => refusal(reason),
                    Err(_) => Err(Untaken::Perhaps),
                }
            }
        }
    }

    pub fn part(&self) -> bool {
        either!(self, mqtt, client => client.try_disconnect().is_ok())
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Untaken {
    Never(String),
    /// The connection broke before the broker said.
    Perhaps,
}

/// MQTT 5 says what becomes of a message.
fn refusal(reason: rumqttc_v5::PubAckReason) -> Result<(), Untaken> {
    use rumqttc_v5::PubAckReason as Reason;
    let why = match reason {
        Reason::Success => return Ok(()),
        Reason::NoMatchingSubscribers => "nobody listens on its topic; is the device connected?",
        Reason::NotAuthorized => "this login may not write to its topic",
        Reason::TopicNameInvalid => "the broker does not allow its topic",
        Reason::QuotaExceeded => "the broker's quota is used up",
        _ => "the broker refuses it",
    };
    Err(Untaken::Never(why.into()))
}

// ---------------------------------------------------------------------------------------------- Ear

impl Ear {
    /// The next word. Without a connection it does nothing but connect.
    pub async fn next(&mut self) -> Result<Word, Lost> {
        either!(self, mqtt, events => match events.poll().await {
            Ok(mqtt::Event::Incoming(packet)) => Ok(match packet {
                mqtt::Packet::ConnAck(_) => Word::Greeting,
                mqtt::Packet::Publish(publish) => Word::Message(publish.into()),
                mqtt::Packet::SubAck(ack) => {
                    let taken = |code: &&_| matches!(code, mqtt::SubscribeReasonCode::Success(_));
                    let codes = ack.return_codes.iter();
                    Word::Subscribed { refused: codes.filter(|code| !taken(code)).count() }
                }
                _ => Word::Other,
            }),
            Ok(_) => Ok(Word::Other),
            Err(error) => Err(Lost { why: why::why(&error), bytes: why::too_large(&error) }),
        })
    }

    /// What was received and not yet heard. It can no longer be acknowledged once the connection is broken.
    pub fn rest(&mut self) -> Vec<Mail> {
        either!(self, mqtt, events => {
            let rest = mem::take(&mut events.state.events).into_iter();
            rest.filter_map(|event| match event {
                mqtt::Event::Incoming(mqtt::Packet::Publish(publish)) => Some(publish.into()),
                _ => None,
            })
            .collect()
        })
    }

    pub fn is_connected(&self) -> bool {
        either!(self, mqtt, events => events.diagnostics().connected)
    }
}

impl Mail {
    pub fn topic(&self) -> Option<&str> {
        either!(self, mqtt, publish => str::from_utf8(&publish.topic).ok())
    }

    pub fn payload(&self) -> &[u8] {
        either!(self, mqtt, publish => &publish.payload)
    }

    pub fn retained(&self) -> bool {
        either!(self, mqtt, publish => publish.retain)
    }

    /// Takes all out but what its acknowledgement needs, and gives back the payload alone.
    pub fn take_payload(&mut self) -> Self {
        either!(self, mqtt, publish => {
            let mut payload = publish.clone();
            payload.topic = Default::default();
            (publish.topic, publish.payload) = Default::default();
            payload.into()
        })
    }

    /// Nobody else holds the memory of its payload any more.
    pub fn is_sole_holder(&self) -> bool {
        either!(self, mqtt, publish => publish.payload.is_unique())
    }
}

impl From<rumqttc::Publish> for Mail {
    fn from(publish: rumqttc::Publish) -> Self {
        Self::V311(publish)
    }
}

impl From<rumqttc_v5::Publish> for Mail {
    fn from(publish: rumqttc_v5::Publish) -> Self {
        Self::V5(publish)
    }
}
