//! What others want of the line: an output switched, a look at a reader, a search for readers.

use std::time::Duration;

use tokio::sync::mpsc;

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

impl Panel {
    pub async fn errand(&mut self, errand: Errand) -> Result<(), Closed> {
        match errand {
            Errand::Do(deed) => self.act(&deed).await,
            Errand::Read { device, point: _, answer } => {
                let seen = self.look(device).await?;
                let _ = answer.send(seen); // nobody listens any more
                Ok(())
            }
            Errand::Scan { what, found } => {
                self.scan(&what, &found).await;
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
        if deed.until.is_some_and(|until| until < now()) {
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

    /// Asks each address who is there. Readers of ours are not asked: it would end their secure channel.
    async fn scan(&mut self, what: &Scan, found: &mpsc::Sender<Sighting>) {
        let speeds = self.speeds(what);
        let of = speeds.len() as u32 * u32::from(what.to.saturating_sub(what.from) + 1);
        let (wire, timeout) = (self.line.wire.clone(), self.line.timeout);
        let mut done = 0;
        'search: for speed in &speeds {
            if let Err(e) = self.tune(&wire, speed.as_ref()).await {
                let _ = found.send(Sighting::Trouble(e.to_string())).await;
                break;
            }
            self.line.timeout = what.timeout;
            for address in what.from..=what.to.min(super::frame::ADDRESS_MAX) {
                if let Some(how) = self.who(address, &wire).await {
                    let sighting = Sighting::Found { address: address.to_string(), line: *speed, how };
                    let _ = found.send(sighting).await;
                }
                done += 1;
                if found.send(Sighting::Progress { done, of }).await.is_err() {
                    break 'search;
                }
            }
        }
        if self.line.wire != wire {
            self.line.close();
        }
        (self.line.wire, self.line.timeout) = (wire, timeout);
    }

    /// `None` stands for the line as it is configured.
    fn speeds(&self, what: &Scan) -> Vec<Option<Speed>> {
        match self.line.wire {
            Wire::Serial(_) if !what.lines.is_empty() => what.lines.iter().copied().map(Some).collect(),
            _ => vec![None],
        }
    }

    async fn tune(&mut self, wire: &Wire, speed: Option<&Speed>) -> std::io::Result<()> {
        if let (Wire::Serial(port), Some(speed)) = (wire, speed) {
            let (baud, parity, stop_bits) = (speed.baud, speed.parity, speed.stop_bits);
            self.line.wire = Wire::Serial(Port { baud, parity, stop_bits, ..port.clone() });
            self.line.open().await?;
        }
        if !self.line.is_open() {
            self.line.open().await?;
        }
        Ok(())
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
