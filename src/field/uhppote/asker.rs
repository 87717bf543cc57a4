//! A question to a controller and its answer: one datagram each.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::codec::{self, Packet};
use crate::fault::Fault;
use crate::field::stumble;
use crate::metrics::{Metrics, Request};

#[derive(Debug)]
pub struct Asker {
    socket: UdpSocket,
    timeout: Duration,
    counters: Counters,
}

#[derive(Debug)]
struct Counters {
    ok: Counter,
    timeout: Counter,
    /// What is no answer to what was asked.
    wrong: Counter,
    broken: Counter,
}

/// Why there is no answer. For people.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("no answer within {} ms", .0.as_millis())]
    Silent(Duration),
    #[error("it cannot be sent to: {0}")]
    Broken(#[from] io::Error),
    #[error("{}", stumble::why(.0))]
    Fault(Fault),
}

/// Datagrams thrown away before a question, and looked at for its answer.
const HEARD_MOST: usize = 1000;

impl Asker {
    pub async fn open(
        towards: SocketAddr,
        timeout: Duration,
        channel: &Arc<str>,
        metrics: &Metrics,
    ) -> io::Result<Self> {
        let any: IpAddr =
            if towards.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.set_broadcast(true)?;
        Ok(Self { socket, timeout, counters: Counters::new(metrics, channel) })
    }

    /// Asks once. `from`: who may answer, where it is known.
    pub async fn ask(
        &self,
        to: SocketAddr,
        from: Option<IpAddr>,
        question: &Packet,
    ) -> Result<Packet, Trouble> {
        self.drain();
        if let Err(e) = self.socket.send_to(question, to).await {
            self.counters.broken.inc();
            return Err(e.into());
        }
        let until = Instant::now() + self.timeout;
        for _ in 0..HEARD_MOST {
            match self.hear(until).await? {
                None => break,
                Some((sender, packet)) => {
                    let ours = packet[1] == question[1] && packet[4..8] == question[4..8];
                    if ours && from.is_none_or(|from| from == sender) {
                        self.counters.ok.inc();
                        return Ok(packet);
                    }
                    self.counters.wrong.inc();
                }
            }
        }
        self.counters.timeout.inc();
        Err(Trouble::Silent(self.timeout))
    }

    /// Calls all at once and gathers who answers within `time`.
    pub async fn call(
        &self,
        to: SocketAddr,
        question: &Packet,
        time: Duration,
    ) -> Result<Vec<Packet>, Trouble> {
        self.drain();
        self.socket.send_to(question, to).await?;
        let until = Instant::now() + time;
        let mut answers: Vec<Packet> = Vec::new();
        while answers.len() < HEARD_MOST {
            match self.hear(until).await? {
                None => break,
                Some((_, packet)) if packet[1] == question[1] && !answers.contains(&packet) => {
                    answers.push(packet);
                }
                Some(_) => {
                    self.counters.wrong.inc();
                }
            }
        }
        Ok(answers)
    }

    /// The next datagram of any controller. What is none is counted.
    async fn hear(&self, until: Instant) -> Result<Option<(IpAddr, Packet)>, Trouble> {
        let mut bytes = [0; codec::LENGTH + 1];
        for _ in 0..HEARD_MOST {
            let Ok(heard) = timeout_at(until, self.socket.recv_from(&mut bytes)).await else {
                return Ok(None);
            };
            // A port that nobody listens on may answer so; the question is then without an answer.
            let Ok((length, sender)) = heard else { continue };
            if let Some((_, _, packet)) = bytes.get(..length).and_then(codec::read) {
                return Ok(Some((sender.ip(), *packet)));
            }
            self.counters.wrong.inc();
        }
        Ok(None)
    }

    /// Answers that came too late for their question.
    fn drain(&self) {
        let mut bytes = [0; codec::LENGTH];
        for _ in 0..HEARD_MOST {
            match self.socket.try_recv_from(&mut bytes) {
                Ok(_) => self.counters.wrong.inc(),
                Err(_) => break,
            };
        }
    }

    /// Something that nobody asked for and nobody here knows.
    pub fn foreign(&self) {
        self.counters.wrong.inc();
    }
}

impl Counters {
    fn new(metrics: &Metrics, channel: &str) -> Self {
        let counter = |outcome| {
            let channel = channel.to_owned();
            metrics.requests.get_or_create(&Request { channel, outcome }).clone()
        };
        Self {
            ok: counter("ok"),
            timeout: counter("timeout"),
            wrong: counter("wrong"),
            broken: counter("broken"),
        }
    }
}
