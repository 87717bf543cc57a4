//! What others want of the line: an output switched, a look at a reader, a search for readers.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::panel::{Closed, Panel};
use super::reply::{self, Reply};
use super::session::{Answer, Session, Trouble};
use super::unit::Unit;
use super::{Command, Does};
use crate::field::profile::Line as Speed;
use crate::field::wire::{Port, Wire};
use crate::field::{Errand, Exchange, Scan, Seen, Sighting};
use crate::order::{Deed, Done, Outcome};
use crate::reading::{Batch, DeviceId};
use crate::time::now;

/// An order may wait for one address: readers answer within 200 ms, whatever time a technician gives them.
const SEEK_MOST: Duration = Duration::from_secs(1);
/// A technician who does not take what is found for so long is gone.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

impl Panel {
    /// `lane`: where others come from meanwhile.
    pub async fn errand(&mut self, errand: Errand, lane: &mut mpsc::Receiver<Errand>) -> Result<(), Closed> {
        match errand {
            Errand::Scan { what, found } => self.scan(&what, &found, lane).await,
            errand => self.run_short(errand).await,
        }
    }

    async fn run_short(&mut self, errand: Errand) -> Result<(), Closed> {
        match errand {
            Errand::Do(deed) => self.act(&deed).await,
            Errand::Read { device, point: _, answer } => {
                let seen = self.look(device).await?;
                let _ = answer.send(seen); // nobody listens any more
                Ok(())
            }
            Errand::Scan { found, .. } => {
                let why = "another scan is under way on this line";
                let _ = found.try_send(Sighting::Trouble(why.into())); // nobody listens any more
                Ok(())
            }
        }
    }

    // --- outputs ---

    async fn act(&mut self, deed: &Deed) -> Result<(), Closed> {
        let outcome = self.outcome(deed).await?;
        let mut batch = Batch::new(deed.device, now(), Vec::new(), None);
        batch.done = Some(Done { number: deed.number, at: batch.at, outcome });
        self.hand_on(batch).await
    }

    async fn outcome(&mut self, deed: &Deed) -> Result<Outcome, Closed> {
        let failed = |why: String| Ok(Outcome::Failed { why });
        if deed.is_late() {
            return failed("it came to the line too late".into());
        }
        let found = self
            .unit_of(deed.device)
            .and_then(|(nth, unit)| Some((nth, *unit.reader.commands.get(deed.nth)?)));
        let Some((nth, command)) = found else { return failed("this reader has no such command".into()) };
        if let Err(trouble) = self.ready(nth).await? {
            return failed(trouble.to_string());
        }
        let outcome = self.ask(nth, reply::OUTPUT, &command.data()).await;
        Ok(match outcome {
            Ok(Reply::Nak(why)) => Outcome::Failed { why: Trouble::Refused(why).to_string() },
            Ok(_) => Outcome::Executed { what: format!("the reader took it: {command}") },
            Err(trouble) => {
                // Never put once more: a door must not open long after its order.
                self.forget(nth);
                Outcome::Unsure { why: trouble.to_string() }
            }
        })
    }

    /// The conversation stands, and no question of it is open.
    async fn ready(&mut self, nth: usize) -> Result<Result<(), Trouble>, Closed> {
        if let Err(trouble) = self.establish(nth).await {
            return Ok(Err(trouble));
        }
        let mut said = Vec::new();
        let ready = match self.units.get(nth).is_some_and(|unit| unit.open.is_some()) {
            true => self.poll(nth, &mut said).await.map(|_| ()),
            false => Ok(()),
        };
        for batch in said {
            self.hand_on(batch).await?;
        }
        Ok(ready)
    }

    fn unit_of(&self, device: DeviceId) -> Option<(usize, &Unit)> {
        self.units.iter().enumerate().find(|(_, unit)| unit.reader.id == device)
    }

    // --- a look ---

    /// Every state of one reader; no card is among them.
    async fn look(&mut self, device: DeviceId) -> Result<Vec<Exchange>, Closed> {
        let Some((nth, _)) = self.unit_of(device) else { return Ok(Vec::new()) };
        let mut seen = Vec::new();
        if let Err(trouble) = self.ready(nth).await? {
            let what = "the beginning of the conversation".into();
            seen.push(Exchange { what, trouble: Some(trouble.to_string()), ..self.bytes() });
            return Ok(seen);
        }
        let questions: [(u8, &[u8], &str); 4] = [
            (reply::IDENTIFY, &[0], "who it is"),
            (reply::LOCAL_STATUS, &[], "tamper and power"),
            (reply::INPUT_STATUS, &[], "inputs"),
            (reply::OUTPUT_STATUS, &[], "outputs"),
        ];
        for (code, data, what) in questions {
            let reply = self.ask(nth, code, data).await;
            let mut exchange = Exchange { what: what.into(), ..self.bytes() };
            match &reply {
                Ok(Reply::Nak(why)) => exchange.trouble = Some(Trouble::Refused(*why).to_string()),
                Ok(reply) => exchange.values = self.values(nth, reply)?,
                Err(trouble) => exchange.trouble = Some(trouble.to_string()),
            }
            exchange.what.extend(reply.iter().filter_map(told).map(|told| format!(": {told}")));
            seen.push(exchange);
            if reply.is_err() {
                break;
            }
        }
        Ok(seen)
    }

    fn bytes(&self) -> Exchange {
        Exchange { sent: self.line.sent.clone(), heard: self.line.heard.clone(), ..Exchange::default() }
    }

    fn values(&mut self, nth: usize, reply: &Reply) -> Result<Vec<Seen>, Closed> {
        let Ok(Some(batch)) = self.tell(nth, reply) else { return Ok(Vec::new()) };
        let seen = batch.readings.into_iter().map(|reading| Seen {
            point: reading.point,
            words: Vec::new(),
            value: reading.value.ok_or(reading.reason.map_or("bad", |reason| reason.word())),
            otherwise: Vec::new(),
        });
        Ok(seen.collect())
    }

    // --- a search ---

    /// Asks each address who is there. Readers of ours are not asked: it would end their secure channel. Polling waits
    /// meanwhile, cards wait in their readers; orders go in between two addresses. To end the search for an order would be
    /// no quicker: the line has to be opened as it is configured in both cases, which takes milliseconds.
    async fn scan(
        &mut self,
        what: &Scan,
        found: &mpsc::Sender<Sighting>,
        lane: &mut mpsc::Receiver<Errand>,
    ) -> Result<(), Closed> {
        let speeds = self.speeds(what);
        let of = speeds.len() as u32 * u32::from(what.to.saturating_sub(what.from) + 1);
        let (home, mut done) = (Home { wire: self.line.wire.clone(), timeout: self.line.timeout }, 0);
        'search: for speed in &speeds {
            for address in what.from..=what.to.min(super::frame::ADDRESS_MAX) {
                self.errands_amid_scan(&home, lane).await?;
                if self.stop.is_cancelled() {
                    break 'search;
                }
                if let Err(e) = self.tune(&home.abroad(speed.as_ref())).await {
                    let _ = tell(found, Sighting::Trouble(e.to_string())).await;
                    break 'search;
                }
                self.line.timeout = what.timeout;
                let who = timeout(SEEK_MOST, self.who(address, &home.wire)).await;
                if let Some(how) = who.ok().flatten() {
                    let sighting = Sighting::Found { address: address.to_string(), line: *speed, how };
                    let _ = tell(found, sighting).await;
                }
                done += 1;
                if tell(found, Sighting::Progress { done, of }).await.is_break() {
                    break 'search;
                }
            }
        }
        self.line.timeout = home.timeout;
        if self.line.wire != home.wire {
            self.line.close();
            self.line.wire = home.wire;
        }
        Ok(())
    }

    /// A reader that heard nothing of us for long has given up its secure channel: it has a turn first, which begins the
    /// conversation anew where that is so.
    async fn errands_amid_scan(
        &mut self,
        home: &Home,
        lane: &mut mpsc::Receiver<Errand>,
    ) -> Result<(), Closed> {
        while let Ok(errand) = lane.try_recv() {
            // Where it cannot be opened, the order comes to nothing, and is told so.
            let _ = self.tune(&home.wire).await;
            self.line.timeout = home.timeout;
            let device = match &errand {
                Errand::Do(deed) => Some(deed.device),
                Errand::Read { device, .. } => Some(*device),
                Errand::Scan { .. } => None,
            };
            if let Some((nth, _)) = device.and_then(|device| self.unit_of(device)) {
                self.turn(nth).await?;
            }
            self.run_short(errand).await?;
        }
        Ok(())
    }

    /// `None` stands for the line as it is configured.
    fn speeds(&self, what: &Scan) -> Vec<Option<Speed>> {
        match self.line.wire {
            Wire::Serial(_) if !what.lines.is_empty() => what.lines.iter().copied().map(Some).collect(),
            _ => vec![None],
        }
    }

    /// Opens the line so, where it is not.
    async fn tune(&mut self, wire: &Wire) -> std::io::Result<()> {
        if self.line.wire == *wire && self.line.is_open() {
            return Ok(());
        }
        self.line.wire = wire.clone();
        self.line.open().await
    }

    async fn who(&mut self, address: u8, configured: &Wire) -> Option<String> {
        let ours = self.units.iter().find(|unit| unit.reader.address == address);
        if let Some(unit) = ours.filter(|unit| self.line.wire == *configured && unit.session.is_open()) {
            let how = if unit.session.is_keyed() {
                "a reader of ours, by secure channel"
            } else {
                "a reader of ours"
            };
            return Some(how.into());
        }
        if ours.is_some() {
            return None;
        }
        let mut session = Session::new(address, None);
        session.begin([0; 8]).ok()?;
        let question = session.ask(reply::IDENTIFY, &[0]);
        match self.line.transact(&mut session, &question, 1).await.ok()? {
            Answer::Said(reply) => {
                Some(told(&reply).unwrap_or_else(|| "it answers, but does not say who it is".into()))
            }
            Answer::Next(_) | Answer::Open => None,
        }
    }
}

/// The line as it is configured.
struct Home {
    wire: Wire,
    timeout: Duration,
}

impl Home {
    /// With other settings of a serial line.
    fn abroad(&self, speed: Option<&Speed>) -> Wire {
        match (&self.wire, speed) {
            (Wire::Serial(port), Some(&Speed { baud, parity, stop_bits })) => {
                Wire::Serial(Port { baud, parity, stop_bits, ..port.clone() })
            }
            (wire, _) => wire.clone(),
        }
    }
}

async fn tell(found: &mpsc::Sender<Sighting>, what: Sighting) -> ControlFlow<()> {
    match timeout(TOLD_WITHIN, found.send(what)).await {
        Ok(Ok(())) => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    }
}

/// For people.
fn told(reply: &Reply) -> Option<String> {
    let listed = |states: &[bool]| {
        let words: Vec<_> = states.iter().map(|&on| if on { "on" } else { "off" }).collect();
        words.join(" ")
    };
    match reply {
        Reply::Identity { maker: [a, b, c], model, version, serial, firmware: [major, minor, build] } => {
            Some(format!(
                "maker {a:02X}{b:02X}{c:02X}, model {model}.{version}, serial number {serial:08X}, firmware {major}.{minor}.{build}"
            ))
        }
        Reply::Inputs(states) | Reply::Outputs(states) => Some(listed(states)),
        Reply::Nak(why) => Some(Trouble::Refused(*why).to_string()),
        _ => None,
    }
}

impl Command {
    /// Output, what to do, for how many tenths of a second.
    fn data(&self) -> [u8; 4] {
        let (code, tenths) = match self.does {
            Does::Off => (1, 0),
            Does::On => (2, 0),
            Does::Pulse(time) => (5, tenths(time)),
        };
        let [low, high] = tenths.to_le_bytes();
        [self.output, code, low, high]
    }
}

fn tenths(time: Duration) -> u16 {
    u16::try_from(time.as_millis().div_ceil(100)).unwrap_or(u16::MAX).max(1)
}

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.does {
            Does::On => write!(f, "output {} on", self.output),
            Does::Off => write!(f, "output {} off", self.output),
            Does::Pulse(time) => write!(f, "output {} on for {} s", self.output, time.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_what_the_reader_understands() {
        let data = |does| Command { output: 2, does }.data();
        assert_eq!(data(Does::On), [2, 2, 0, 0]);
        assert_eq!(data(Does::Off), [2, 1, 0, 0]);
        assert_eq!(data(Does::Pulse(Duration::from_secs(3))), [2, 5, 30, 0]);
        assert_eq!(data(Does::Pulse(Duration::from_millis(1))), [2, 5, 1, 0], "never for no time at all");
        assert_eq!(data(Does::Pulse(Duration::from_secs(86_400))), [2, 5, 0xFF, 0xFF]);
    }
}
