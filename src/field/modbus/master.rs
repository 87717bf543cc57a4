//! Who asks on the wire: one question at a time, over either framing.

use super::pdu::{self, Answer, Request};
use super::rtu::Rtu;
use super::tcp::Tcp;
use super::{Framing, Settings};
use crate::field::poll::Failure;
use crate::field::wire::Link;

#[derive(Debug)]
pub enum Master {
    Tcp(Tcp),
    Rtu(Rtu),
}

/// What a unit answered; the words are in the buffer that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Words,
    Exception(u8),
}

impl Master {
    pub fn new(settings: &Settings) -> Self {
        match settings.framing {
            Framing::Tcp => Master::Tcp(Tcp::new(settings.timeout)),
            Framing::Rtu => Master::Rtu(Rtu::new(settings)),
        }
    }

    pub fn opened(&mut self) {
        match self {
            Master::Tcp(tcp) => tcp.opened(),
            Master::Rtu(rtu) => rtu.opened(),
        }
    }

    pub async fn ask(
        &mut self,
        link: &mut Link,
        unit: u8,
        request: &Request,
        words: &mut Vec<u16>,
    ) -> Result<Outcome, Failure> {
        match self {
            Master::Tcp(tcp) => tcp.ask(link, unit, request, words).await,
            Master::Rtu(rtu) => rtu.ask(link, unit, request, words).await,
        }
    }
}

impl Outcome {
    pub fn of(answer: Answer<'_>, request: &Request, words: &mut Vec<u16>) -> Self {
        match answer {
            Answer::Exception(code) => Outcome::Exception(code),
            Answer::Data(data) => {
                pdu::words(request, data, words);
                Outcome::Words
            }
        }
    }
}
