//! Questions and their answers over Modbus TCP. The transaction id tells whose answer it is.
//!
//! Where the device takes several questions at a time, as many are under way, and their answers come in any order. Many
//! gateways take several but ask the line behind them one by one, so a question's time to answer begins when the one
//! before it is done: a dead unit costs the others its own timeout and makes none of them look dead.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::frame::{self, Mbap};
use super::master::Reply;
use super::pdu::Request;
use crate::field::poll::Failure;
use crate::field::wire::Link;

#[derive(Debug)]
pub struct Tcp {
    timeout: Duration,
    window: usize,
    id: u16,
    sent: Vec<u8>,
    stream: Vec<u8>,
    /// The last answer that was asked for.
    heard: Vec<u8>,
}

/// One question on its way.
#[derive(Debug)]
struct UnderWay {
    id: u16,
    nth: usize,
}

/// One frame of the stream.
struct Frame {
    id: u16,
    unit: u8,
    pdu: Vec<u8>,
    bytes: Vec<u8>,
}

type Outcome = Result<Reply, Failure>;

impl Tcp {
    pub fn new(timeout: Duration, window: u8) -> Self {
        let window = usize::from(window.max(1));
        Self { timeout, window, id: 0, sent: Vec::new(), stream: Vec::new(), heard: Vec::new() }
    }

    /// A new connection begins with a new stream.
    pub fn opened(&mut self) {
        self.stream.clear();
    }

    pub fn together(&self) -> usize {
        self.window
    }

    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    pub fn timeout_mut(&mut self) -> &mut Duration {
        &mut self.timeout
    }

    /// What the last question was, and the last answer.
    pub fn trace(&self) -> (&[u8], &[u8]) {
        (&self.sent, &self.heard)
    }

    pub async fn ask(&mut self, link: &mut Link, unit: u8, request: &Request) -> Outcome {
        let asked = [(unit, request.clone())];
        self.ask_all(link, &asked).await.pop().unwrap_or(Err(Failure::Silent))
    }

    /// Each of `asked` has its outcome, in the same order.
    pub async fn ask_all(&mut self, link: &mut Link, asked: &[(u8, Request)]) -> Vec<Outcome> {
        self.heard.clear();
        let mut outcomes: Vec<Option<Outcome>> = asked.iter().map(|_| None).collect();
        let mut under_way = VecDeque::new();
        if let Err(e) = self.talk(link, asked, &mut under_way, &mut outcomes).await {
            let lost = || Failure::Broken(io::Error::new(e.kind(), e.to_string()));
            return outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| Err(lost()))).collect();
        }
        outcomes.into_iter().map(|outcome| outcome.unwrap_or(Err(Failure::Silent))).collect()
    }

    async fn talk(
        &mut self,
        link: &mut Link,
        asked: &[(u8, Request)],
        under_way: &mut VecDeque<UnderWay>,
        outcomes: &mut [Option<Outcome>],
    ) -> io::Result<()> {
        let mut waiting = asked.iter().enumerate();
        loop {
            while under_way.len() < self.window
                && let Some((nth, (unit, request))) = waiting.next()
            {
                under_way.push_back(self.put(link, nth, *unit, request).await?);
            }
            if under_way.is_empty() {
                return Ok(());
            }
            match self.answer(link, under_way).await? {
                Some((nth, frame)) => {
                    let (unit, request) = &asked[nth];
                    let answer = request.answer(&frame.pdu).filter(|_| frame.unit == *unit);
                    outcomes[nth] = Some(answer.map(|a| Reply::of(a, request)).ok_or(Failure::Wrong));
                    self.heard = frame.bytes;
                }
                // The oldest has had its time.
                None => drop(under_way.pop_front()),
            }
        }
    }

    async fn put(
        &mut self,
        link: &mut Link,
        nth: usize,
        unit: u8,
        request: &Request,
    ) -> io::Result<UnderWay> {
        self.id = self.id.wrapping_add(1);
        frame::write_mbap(self.id, unit, request, &mut self.sent);
        link.send(&self.sent).await?;
        Ok(UnderWay { id: self.id, nth })
    }

    /// The next answer to one of those under way; none within the time of one. Answers to earlier questions, come too
    /// late, are skipped by their id.
    async fn answer(
        &mut self,
        link: &mut Link,
        under_way: &mut VecDeque<UnderWay>,
    ) -> io::Result<Option<(usize, Frame)>> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let Ok(frame) = timeout_at(deadline, self.frame(link)).await else { return Ok(None) };
            let frame = frame?;
            if let Some(at) = under_way.iter().position(|question| question.id == frame.id) {
                return Ok(under_way.remove(at).map(|question| (question.nth, frame)));
            }
        }
    }

    async fn frame(&mut self, link: &mut Link) -> io::Result<Frame> {
        loop {
            match frame::read_mbap(&self.stream) {
                Mbap::Part => link.receive(&mut self.stream).await?,
                Mbap::Malformed => return Err(malformed(link)),
                Mbap::Frame { id, unit, pdu, length } => {
                    let (pdu, bytes) = (pdu.to_vec(), self.stream[..length].to_vec());
                    self.stream.drain(..length);
                    return Ok(Frame { id, unit, pdu, bytes });
                }
            };
        }
    }
}

fn malformed(link: &Link) -> io::Error {
    let what = format!("{} sends what is no Modbus TCP frame", link.name());
    io::Error::new(ErrorKind::InvalidData, what)
}
