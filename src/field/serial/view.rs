//! For people: a board or meter asked in full view, and who else is on the line.

use std::mem;

use super::boards::Boards;
use super::{Kind, Locker, meter};
use crate::field::poll::{Answer, Ask, Failure};
use crate::field::wire::Link;
use crate::field::{Exchange, Seen};
use crate::reading::{PointId, Reading, Reason};

impl Boards {
    pub(super) async fn look_at(
        &mut self,
        link: &mut Link,
        device: usize,
        point: Option<PointId>,
    ) -> Result<Vec<Exchange>, Failure> {
        let mut exchanges = Vec::new();
        for question in self.boards[device].questions_of(point) {
            let mut readings = Vec::new();
            self.line.begin_trace();
            self.begins();
            let outcome = loop {
                match self.ask(link, device, question, &mut readings).await {
                    Ok(Answer::More) => {}
                    outcome => break outcome,
                }
            };
            let traced = self.line.end_trace();
            let last = traced.len().saturating_sub(1);
            for (nth, traced) in traced.into_iter().enumerate() {
                exchanges.push(Exchange {
                    what: self.boards[device].describe(question),
                    sent: traced.sent,
                    heard: traced.heard,
                    trouble: traced.remark.or_else(|| trouble(&outcome).filter(|_| nth == last)),
                    values: if nth == last {
                        mem::take(&mut readings).into_iter().map(seen).collect()
                    } else {
                        vec![]
                    },
                });
            }
            if let Err(Failure::Broken(e)) = outcome {
                return Err(Failure::Broken(e));
            }
        }
        Ok(exchanges)
    }

    pub(super) async fn seek_each(
        &mut self,
        link: &mut Link,
        address: u8,
    ) -> Result<Option<String>, Failure> {
        for kind in self.kinds.clone() {
            let found = match &kind {
                Kind::Locker(locker) if !locker.protocol.can_be_at(address) => continue,
                Kind::Locker(locker) => {
                    let locker = Locker { address, ..locker.clone() };
                    let answers = locker.ask(&mut self.line, link, 0).await;
                    answers.map(|_| format!("{} board {address}", locker.protocol.name()))
                }
                Kind::Meter(meter) => match meter::seek(&meter.protocol, &mut self.line, link, address).await
                {
                    Ok(None) => continue,
                    found => found.map(Option::unwrap_or_default),
                },
            };
            match found {
                Ok(found) => return Ok(Some(found)),
                Err(Failure::Broken(e)) => return Err(Failure::Broken(e)),
                Err(_) => {}
            }
        }
        Ok(None)
    }
}

/// For people.
fn trouble(outcome: &Result<Answer, Failure>) -> Option<String> {
    match outcome {
        Ok(Answer::Read | Answer::More) => None,
        Ok(Answer::Refused) => Some("it answers that it cannot".into()),
        Err(Failure::Silent) => Some("no answer in time".into()),
        Err(Failure::Broken(e)) => Some(e.to_string()),
        Err(_) => Some("what it answers is no answer to what it was asked".into()),
    }
}

fn seen(reading: Reading) -> Seen {
    let why = reading.reason.unwrap_or(Reason::Unreadable).word();
    Seen { point: reading.point, words: Vec::new(), value: reading.value.ok_or(why), otherwise: Vec::new() }
}
