//! One question and its answer over Modbus TCP. The transaction id tells whose answer it is.

use std::io::{Error, ErrorKind};
use std::time::Duration;

use tokio::time::timeout;

use super::frame::{self, Mbap};
use super::master::Outcome;
use super::pdu::Request;
use crate::field::poll::Failure;
use crate::field::wire::Link;

#[derive(Debug)]
pub struct Tcp {
    timeout: Duration,
    id: u16,
    sent: Vec<u8>,
    stream: Vec<u8>,
}

impl Tcp {
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, id: 0, sent: Vec::new(), stream: Vec::new() }
    }

    /// A new connection begins with a new stream.
    pub fn opened(&mut self) {
        self.stream.clear();
    }

    pub async fn ask(
        &mut self,
        link: &mut Link,
        unit: u8,
        request: &Request,
        words: &mut Vec<u16>,
    ) -> Result<Outcome, Failure> {
        self.id = self.id.wrapping_add(1);
        frame::write_mbap(self.id, unit, request, &mut self.sent);
        link.send(&self.sent).await?;
        timeout(self.timeout, self.hear(link, unit, request, words)).await.unwrap_or(Err(Failure::Silent))
    }

    /// Answers to earlier questions, come too late, are skipped by their id.
    async fn hear(
        &mut self,
        link: &mut Link,
        unit: u8,
        request: &Request,
        words: &mut Vec<u16>,
    ) -> Result<Outcome, Failure> {
        loop {
            let (outcome, length) = match frame::read_mbap(&self.stream) {
                Mbap::Part => {
                    link.receive(&mut self.stream).await?;
                    continue;
                }
                Mbap::Malformed => return Err(malformed(link)),
                Mbap::Frame { id, length, .. } if id != self.id => (None, length),
                Mbap::Frame { unit: from, pdu, length, .. } => {
                    let answer = request.answer(pdu).filter(|_| from == unit);
                    let outcome = answer.map(|a| Outcome::of(a, request, words));
                    (Some(outcome.ok_or(Failure::Wrong)), length)
                }
            };
            self.stream.drain(..length);
            if let Some(outcome) = outcome {
                return outcome;
            }
        }
    }
}

fn malformed(link: &Link) -> Failure {
    let what = format!("{} sends what is no Modbus TCP frame", link.name());
    Failure::Broken(Error::new(ErrorKind::InvalidData, what))
}
