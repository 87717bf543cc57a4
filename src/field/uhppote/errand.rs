//! What others want of controllers: a door opened, a look, a search.

use super::codec::{self, Found, Function};
use super::desk::{Closed, Desk};
use crate::field::{Errand, Exchange, Scan, Seen, Sighting};
use crate::order::{Deed, Done, Outcome};
use crate::reading::{Batch, DeviceId};
use crate::time::now;

impl Desk {
    pub async fn errand(&mut self, errand: Errand) -> Result<(), Closed> {
        match errand {
            Errand::Do(deed) => {
                let outcome = self.open_door(&deed).await;
                let mut batch = Batch::new(deed.device, now(), Vec::new(), None);
                batch.done = Some(Done { number: deed.number, at: batch.at, outcome });
                self.hand_on(batch).await
            }
            Errand::Read { device, point: _, answer } => {
                let _ = answer.send(self.look(device).await); // nobody listens any more
                Ok(())
            }
            Errand::Scan { what, found } => {
                for sighting in self.search(&what).await {
                    if found.send(sighting).await.is_err() {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    /// Asked once: a door must not open a second time because an answer was lost.
    async fn open_door(&self, deed: &Deed) -> Outcome {
        if deed.is_late() {
            return Outcome::Failed { why: "it came to the controller too late".into() };
        }
        let found = self.nth(deed.device);
        let door = found.and_then(|nth| self.units.get(nth)?.controller.commands.get(deed.nth).copied());
        let (Some(nth), Some(door)) = (found, door) else {
            return Outcome::Failed { why: "this controller has no such command".into() };
        };
        match self.ask(nth, |serial| codec::open_door(serial, door)).await {
            Ok(packet) if codec::is_done(&packet) => Outcome::Executed {
                what: format!("the controller took it: door {door} is unlocked for its time"),
            },
            Ok(_) => Outcome::Failed { why: format!("the controller refuses to open door {door}") },
            Err(trouble) => Outcome::Unsure { why: trouble.to_string() },
        }
    }

    async fn look(&self, device: DeviceId) -> Vec<Exchange> {
        let Some((nth, unit)) = self.nth(device).and_then(|nth| Some((nth, self.units.get(nth)?))) else {
            return Vec::new();
        };
        let sent = codec::ask(Function::Status, unit.controller.serial);
        let mut exchange = Exchange {
            what: "status (the card of its last event is blanked)".into(),
            sent: sent.to_vec(),
            ..Exchange::default()
        };
        match self.ask(nth, |_| sent).await {
            Ok(packet) => {
                exchange.heard = codec::shown(&packet);
                let readings = unit.doors(&codec::status(&packet), now()).into_iter();
                let seen = readings.filter_map(|reading| {
                    let value = Ok(reading.value?);
                    Some(Seen { point: reading.point, words: Vec::new(), value, otherwise: Vec::new() })
                });
                exchange.values = seen.collect();
            }
            Err(trouble) => exchange.trouble = Some(trouble.to_string()),
        }
        vec![exchange]
    }

    async fn search(&self, what: &Scan) -> Vec<Sighting> {
        let question = codec::ask(Function::Find, 0);
        match self.asker.call(self.address, &question, what.timeout).await {
            Err(trouble) => vec![Sighting::Trouble(trouble.to_string())],
            Ok(answers) => {
                let found = answers.iter().map(|packet| codec::found(packet).sighting());
                found.chain([Sighting::Progress { done: 1, of: 1 }]).collect()
            }
        }
    }

    fn nth(&self, device: DeviceId) -> Option<usize> {
        self.units.iter().position(|unit| unit.controller.id == device)
    }
}

impl Found {
    fn sighting(&self) -> Sighting {
        let mac: Vec<_> = self.mac.iter().map(|byte| format!("{byte:02X}")).collect();
        let (major, minor) = self.firmware;
        Sighting::Found {
            address: self.serial.to_string(),
            line: None,
            how: format!("{}, firmware {major:x}.{minor:02x}, MAC {}", self.address, mac.join(":")),
        }
    }
}
