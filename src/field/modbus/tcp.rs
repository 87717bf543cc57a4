//! Questions and their answers over Modbus TCP. The transaction id tells whose answer it is.
//!
//! Where the device takes several questions at a time, as many are under way, and their answers come in any order. Many
//! gateways take several but ask the line behind them one by one, so a question's time to answer begins when the one
//! before it is done: a dead unit costs the others its own timeout and makes none of them look dead.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Settings;
use super::frame::{self, Mbap};
use super::master::Reply;
use super::pdu::Request;
use crate::field::poll::Failure;
use crate::field::wire::Link;

#[derive(Debug)]
pub struct Tcp {
    timeout: Duration,
    window: usize,
    after_connect: Duration,
    /// By unit, where it needs one.
    turnarounds: HashMap<u8, Duration>,
    /// Nobody is asked before.
    rest: Instant,
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
    pub fn new(settings: &Settings) -> Self {
        let of = |device: &super::Device| (device.unit, device.turnaround);
        Self {
            timeout: settings.timeout,
            window: usize::from(settings.pace.pipeline.max(1)),
            after_connect: settings.pace.after_connect,
            turnarounds: settings.devices.iter().map(of).collect(),
            rest: Instant::now(),
            id: 0,
            sent: Vec::new(),
            stream: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// A new connection begins with a new stream.
    pub fn opened(&mut self) {
        self.stream.clear();
        self.rest = Instant::now() + self.after_connect;
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
                link.rest_until(self.rest).await; // the runtime's timer would make a tick of no pause at all
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
                    self.rest = Instant::now() + self.turnarounds.get(unit).copied().unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinHandle;

    use super::super::pdu::Span;
    use super::super::{Framing, Table};
    use super::*;
    use crate::field::wire::Wire;

    const TIMEOUT: Duration = Duration::from_millis(300);

    fn tcp(timeout: Duration, window: u8) -> Tcp {
        let wire = Wire::Tcp { address: "".into() };
        let mut settings = Settings::new(wire, Framing::Tcp, timeout, Vec::new());
        settings.pace.pipeline = window;
        Tcp::new(&settings)
    }

    async fn linked() -> (Link, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let link = Wire::Tcp { address: address.into() }.open().await.unwrap();
        (link, listener.accept().await.unwrap().0)
    }

    /// Register n of unit n.
    fn questions(n: u8) -> Vec<(u8, Request)> {
        let read = |n: u8| Request::Read(Span { table: Table::Holding, register: n.into(), count: 1 });
        (1..=n).map(|n| (n, read(n))).collect()
    }

    /// Id and unit of each of the next questions.
    async fn heard(peer: &mut TcpStream, n: usize) -> Vec<(u16, u8)> {
        let mut asked = Vec::new();
        for _ in 0..n {
            let mut bytes = [0; 12];
            peer.read_exact(&mut bytes).await.unwrap();
            asked.push((u16::from_be_bytes([bytes[0], bytes[1]]), bytes[6]));
        }
        asked
    }

    /// 100 times the unit.
    fn answer((id, unit): (u16, u8)) -> Vec<u8> {
        let ([high, low], [word_high, word_low]) = (id.to_be_bytes(), (u16::from(unit) * 100).to_be_bytes());
        vec![high, low, 0, 0, 0, 5, unit, 3, 2, word_high, word_low]
    }

    fn words(outcomes: &[Outcome]) -> Vec<Option<u16>> {
        let word = |outcome: &Outcome| match outcome {
            Ok(Reply::Words(words)) => words.first().copied(),
            _ => None,
        };
        outcomes.iter().map(word).collect()
    }

    async fn quiet(peer: &mut TcpStream) -> bool {
        tokio::time::timeout(TIMEOUT / 3, peer.read_u8()).await.is_err()
    }

    #[tokio::test]
    async fn answers_may_come_in_any_order_and_no_more_are_under_way_than_the_device_takes() {
        let (mut link, mut peer) = linked().await;
        let far: JoinHandle<()> = tokio::spawn(async move {
            let mut asked = heard(&mut peer, 4).await;
            assert!(quiet(&mut peer).await, "a fifth question came before an answer");
            asked.reverse();
            peer.write_all(&asked.into_iter().flat_map(answer).collect::<Vec<_>>()).await.unwrap();
            for question in heard(&mut peer, 2).await {
                peer.write_all(&answer(question)).await.unwrap();
            }
        });
        let outcomes = tcp(TIMEOUT * 10, 4).ask_all(&mut link, &questions(6)).await;
        assert_eq!(words(&outcomes), [100, 200, 300, 400, 500, 600].map(Some));
        far.await.unwrap();
    }

    #[tokio::test]
    async fn one_that_is_never_answered_costs_only_itself() {
        let (mut link, mut peer) = linked().await;
        let far: JoinHandle<TcpStream> = tokio::spawn(async move {
            for _ in 0..6 {
                let question = heard(&mut peer, 1).await[0];
                if question.1 != 2 {
                    peer.write_all(&answer(question)).await.unwrap();
                }
            }
            peer // it stays open
        });
        let begun = Instant::now();
        let outcomes = tcp(TIMEOUT, 3).ask_all(&mut link, &questions(6)).await;
        assert_eq!(words(&outcomes), [Some(100), None, Some(300), Some(400), Some(500), Some(600)]);
        assert!(matches!(outcomes[1], Err(Failure::Silent)));
        assert!(begun.elapsed() >= TIMEOUT, "it had its time");
        far.await.unwrap();
    }

    /// A gateway that asks its line one by one, and waits for a dead unit as long as we do.
    #[tokio::test]
    async fn those_behind_a_dead_unit_are_not_taken_for_dead() {
        let (mut link, mut peer) = linked().await;
        let far: JoinHandle<()> = tokio::spawn(async move {
            let asked = heard(&mut peer, 3).await;
            tokio::time::sleep(TIMEOUT * 7 / 5).await;
            for question in &asked[1..] {
                peer.write_all(&answer(*question)).await.unwrap();
            }
        });
        let outcomes = tcp(TIMEOUT, 3).ask_all(&mut link, &questions(3)).await;
        assert_eq!(words(&outcomes), [None, Some(200), Some(300)]);
        far.await.unwrap();
    }

    #[tokio::test]
    async fn between_two_questions_there_is_no_tick_of_the_clock() {
        let (mut link, mut peer) = linked().await;
        let far: JoinHandle<()> = tokio::spawn(async move {
            while let [question] = heard(&mut peer, 1).await[..] {
                peer.write_all(&answer(question)).await.unwrap();
            }
        });
        let (mut tcp, mut took) = (tcp(TIMEOUT * 10, 1), Vec::new());
        for (unit, request) in questions(200) {
            let begun = Instant::now();
            assert!(tcp.ask(&mut link, unit, &request).await.is_ok());
            took.push(begun.elapsed());
        }
        took.sort();
        // What other programs take of the machine lengthens some; a tick would lengthen all by half a millisecond and more.
        assert!(took[20] < Duration::from_micros(400), "{took:?}");
        far.abort();
    }

    #[tokio::test]
    async fn an_answer_of_another_unit_under_the_same_id_is_wrong() {
        let (mut link, mut peer) = linked().await;
        let far: JoinHandle<()> = tokio::spawn(async move {
            let asked = heard(&mut peer, 2).await;
            peer.write_all(&answer((asked[0].0, 9))).await.unwrap();
            peer.write_all(&answer((0x7777, 1))).await.unwrap(); // of an id that was not asked
            peer.write_all(&answer(asked[1])).await.unwrap();
        });
        let outcomes = tcp(TIMEOUT, 2).ask_all(&mut link, &questions(2)).await;
        assert!(matches!(outcomes[0], Err(Failure::Wrong)), "{outcomes:?}");
        assert_eq!(words(&outcomes), [None, Some(200)]);
        far.await.unwrap();
    }

    #[tokio::test]
    async fn what_was_answered_before_a_connection_broke_counts() {
        let (mut link, mut peer) = linked().await;
        let far: JoinHandle<()> = tokio::spawn(async move {
            let asked = heard(&mut peer, 3).await;
            peer.write_all(&answer(asked[1])).await.unwrap();
        });
        let outcomes = tcp(TIMEOUT * 10, 3).ask_all(&mut link, &questions(4)).await;
        assert_eq!(words(&outcomes), [None, Some(200), None, None]);
        assert!(matches!(outcomes[3], Err(Failure::Broken(_))), "{outcomes:?}");
        far.await.unwrap();
    }
}
