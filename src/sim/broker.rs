//! A small MQTT 3.1.1 broker on loopback: QoS 0 and 1, wildcards, retained messages, last wills.
//!
//! What it leaves out: sessions end with their connection, and a message that was sent with QoS 1 is not sent again.
//! A client that does not read loses the messages beyond its queue; nobody else waits for it.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rumqttc::{
    ConnAck, Connect, ConnectReturnCode, LastWill, Packet, PubAck, Publish, QoS, SubAck, Subscribe,
    SubscribeReasonCode, UnsubAck,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::bytes::BytesMut;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::field::mqtt::topic;

/// A running broker; it ends, with all its connections, when this is dropped.
#[derive(Debug)]
pub struct Broker {
    pub address: SocketAddr,
    _running: DropGuard,
}

const PACKET_MAX: usize = 256 * 1024;
const QUEUE: usize = 256;
const CLIENTS_MAX: usize = 64;
const RETAINED_MAX: usize = 1024;
const FILTERS_MAX: usize = 256;
const PATIENCE: Duration = Duration::from_secs(5);

impl Broker {
    /// On a free loopback port.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let stop = CancellationToken::new();
        let broker = Self { address: listener.local_addr()?, _running: stop.clone().drop_guard() };
        let hub = Hub::default();
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(stop.clone().run_until_cancelled_owned(hub.clone().serve(socket)));
            }
        }));
        Ok(broker)
    }
}

// --- what all connections share ---

#[derive(Debug, Clone, Default)]
struct Hub(Arc<Mutex<Tables>>);

#[derive(Debug, Default)]
struct Tables {
    retained: BTreeMap<String, Publish>,
    clients: HashMap<String, Client>,
    connections: u64,
}

#[derive(Debug)]
struct Client {
    connection: u64,
    filters: Vec<(String, QoS)>,
    outbox: mpsc::Sender<Publish>,
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self, socket: TcpStream) {
        let Some(mut connection) = Connection::greet(self.clone(), socket).await else {
            return;
        };
        let end = connection.run().await;
        self.lock().leave(&connection.client, connection.number);
        if let (Err(error), Some(will)) = (end, connection.will) {
            tracing::debug!(client = connection.client, %error, "a client of the simulated broker is gone");
            let mut message = Publish::from_bytes(will.topic, will.qos, will.message);
            message.retain = will.retain;
            self.lock().publish(&message);
        }
    }
}

impl Tables {
    fn publish(&mut self, message: &Publish) {
        let Ok(name) = std::str::from_utf8(&message.topic) else {
            return;
        };
        if message.retain && message.payload.is_empty() {
            self.retained.remove(name);
        } else if message.retain && (self.retained.len() < RETAINED_MAX || self.retained.contains_key(name)) {
            self.retained.insert(name.to_owned(), message.clone());
        }
        for client in self.clients.values() {
            let wanted = client.filters.iter().filter(|(filter, _)| topic::matches(filter, name));
            if let Some(qos) = wanted.map(|(_, qos)| *qos).max_by_key(|qos| *qos as u8) {
                let _ = client.outbox.try_send(copy(message, qos, false));
            }
        }
    }

    fn subscribe(&mut self, client: &str, request: &Subscribe) -> Vec<SubscribeReasonCode> {
        let Some(client) = self.clients.get_mut(client) else {
            return Vec::new();
        };
        let mut codes = Vec::new();
        for wanted in &request.filters {
            if !topic::is_filter(&wanted.path) || client.filters.len() >= FILTERS_MAX {
                codes.push(SubscribeReasonCode::Failure);
                continue;
            }
            let qos = lower(wanted.qos, QoS::AtLeastOnce);
            client.filters.retain(|(filter, _)| *filter != wanted.path);
            client.filters.push((wanted.path.clone(), qos));
            codes.push(SubscribeReasonCode::Success(qos));
            for (_, message) in self.retained.iter().filter(|(name, _)| topic::matches(&wanted.path, name)) {
                let _ = client.outbox.try_send(copy(message, qos, true));
            }
        }
        codes
    }

    /// Forgets a client, unless a newer connection goes by its name.
    fn leave(&mut self, client: &str, connection: u64) {
        if self.clients.get(client).is_some_and(|now| now.connection == connection) {
            self.clients.remove(client);
        }
    }
}

fn lower(a: QoS, b: QoS) -> QoS {
    if (a as u8) < (b as u8) { a } else { b }
}

fn copy(message: &Publish, qos: QoS, retain: bool) -> Publish {
    Publish { qos: lower(message.qos, qos), retain, dup: false, pkid: 0, ..message.clone() }
}

// --- one connection ---

struct Connection {
    hub: Hub,
    socket: TcpStream,
    received: BytesMut,
    client: String,
    number: u64,
    outbox: mpsc::Receiver<Publish>,
    will: Option<LastWill>,
    /// A client that is silent for longer is gone.
    silence: Duration,
    packet_id: u16,
}

impl Connection {
    /// Takes the CONNECT and answers it.
    async fn greet(hub: Hub, mut socket: TcpStream) -> Option<Self> {
        let mut received = BytesMut::new();
        let Ok(Ok(Packet::Connect(connect))) = timeout(PATIENCE, next(&mut socket, &mut received)).await
        else {
            return None;
        };
        let Connect { keep_alive, client_id, last_will, .. } = connect;
        let (sender, outbox) = mpsc::channel(QUEUE);
        let (number, client) = {
            let mut tables = hub.lock();
            tables.connections += 1;
            let number = tables.connections;
            let client = if client_id.is_empty() { format!("client-{number}") } else { client_id };
            if tables.clients.len() >= CLIENTS_MAX && !tables.clients.contains_key(&client) {
                return None;
            }
            // A connection of the same name loses its outbox, and ends by that.
            tables
                .clients
                .insert(client.clone(), Client { connection: number, filters: Vec::new(), outbox: sender });
            (number, client)
        };
        let silence = match keep_alive {
            0 => Duration::from_secs(u64::from(u16::MAX)),
            seconds => Duration::from_secs(u64::from(seconds)) * 3 / 2,
        };
        let mut connection =
            Self { hub, socket, received, client, number, outbox, will: last_will, silence, packet_id: 0 };
        let greeting = Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false));
        connection.send(&greeting).await.ok()?;
        Some(connection)
    }

    /// `Ok` after a DISCONNECT, which takes the last will back.
    async fn run(&mut self) -> io::Result<()> {
        loop {
            tokio::select! {
                // What it says comes first: a goodbye must be heard even while it is being told things.
                biased;
                packet = timeout(self.silence, next(&mut self.socket, &mut self.received)) => {
                    if self.take(packet.map_err(|_| ErrorKind::TimedOut)??).await? {
                        self.will = None;
                        return Ok(());
                    }
                }
                message = self.outbox.recv() => {
                    let mut message = message.ok_or_else(|| io::Error::other("another connection of this name"))?;
                    if message.qos != QoS::AtMostOnce {
                        self.packet_id = self.packet_id % u16::MAX + 1;
                        message.pkid = self.packet_id;
                    }
                    self.send(&Packet::Publish(message)).await?;
                }
            }
        }
    }

    /// `true`: it says goodbye.
    async fn take(&mut self, packet: Packet) -> io::Result<bool> {
        match packet {
            Packet::Publish(message) if message.qos == QoS::ExactlyOnce => {
                return Err(io::Error::new(ErrorKind::Unsupported, "QoS 2"));
            }
            Packet::Publish(message) => {
                self.hub.lock().publish(&message);
                if message.qos == QoS::AtLeastOnce {
                    self.send(&Packet::PubAck(PubAck::new(message.pkid))).await?;
                }
            }
            Packet::Subscribe(request) => {
                let codes = self.hub.lock().subscribe(&self.client, &request);
                self.send(&Packet::SubAck(SubAck::new(request.pkid, codes))).await?;
            }
            Packet::Unsubscribe(request) => {
                if let Some(client) = self.hub.lock().clients.get_mut(&self.client) {
                    client.filters.retain(|(filter, _)| !request.topics.contains(filter));
                }
                self.send(&Packet::UnsubAck(UnsubAck::new(request.pkid))).await?;
            }
            Packet::PingReq => self.send(&Packet::PingResp).await?,
            Packet::PubAck(_) => {}
            Packet::Disconnect => return Ok(true),
            other => {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    format!("unexpected {:?}", other.packet_type()),
                ));
            }
        }
        Ok(false)
    }

    async fn send(&mut self, packet: &Packet) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, PACKET_MAX).map_err(io::Error::other)?;
        timeout(PATIENCE, self.socket.write_all(&bytes)).await.map_err(|_| ErrorKind::TimedOut)?
    }
}

/// The next packet. Nothing is lost if it is cancelled.
async fn next(socket: &mut TcpStream, received: &mut BytesMut) -> io::Result<Packet> {
    loop {
        match Packet::read(received, PACKET_MAX) {
            Ok(packet) => return Ok(packet),
            Err(rumqttc::mqttbytes::Error::InsufficientBytes(_)) => {}
            Err(error) => return Err(io::Error::new(ErrorKind::InvalidData, error)),
        }
        if socket.read_buf(received).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
}
