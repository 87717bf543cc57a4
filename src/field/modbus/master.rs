//! Who asks on the wire: one question at a time, over either framing.

use std::io;

use tokio::time::Instant;

use super::pdu::{self, Answer, Request};
use super::rtu::Rtu;
use super::tcp::Tcp;
use super::{Framing, Settings};
use crate::field::wire::{Link, Wire};

#[derive(Debug)]
pub struct Master {
    wire: Wire,
    link: Option<Link>,
    framing: Talk,
}

#[derive(Debug)]
enum Talk {
    Tcp(Tcp),
    Rtu(Rtu),
}

/// What a unit answered; the words are in the buffer that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Words,
    Exception(u8),
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    Silent,
    /// Something came, but no answer to this question.
    Wrong,
    /// The gateway in between says that it cannot be reached.
    Unreached,
    /// It answers, but may be answering an older question; not to be asked before `until`.
    Doubt {
        until: Instant,
    },
    Broken(io::Error),
}

impl Master {
    pub fn new(settings: &Settings) -> Self {
        Self {
            wire: settings.wire.clone(),
            link: None,
            framing: match settings.framing {
                Framing::Tcp => Talk::Tcp(Tcp::new(settings.timeout)),
                Framing::Rtu => Talk::Rtu(Rtu::new(&settings.wire, settings.timeout)),
            },
        }
    }

    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    pub fn is_open(&self) -> bool {
        self.link.is_some()
    }

    pub async fn open(&mut self) -> io::Result<()> {
        self.link = None; // a serial port is held by one alone
        self.link = Some(self.wire.open().await?);
        match &mut self.framing {
            Talk::Tcp(tcp) => tcp.opened(),
            Talk::Rtu(rtu) => rtu.opened(),
        }
        Ok(())
    }

    pub fn close(&mut self) {
        self.link = None;
    }

    /// Asks once. A wire that breaks by it is closed.
    pub async fn ask(
        &mut self,
        unit: u8,
        request: &Request,
        words: &mut Vec<u16>,
    ) -> Result<Outcome, Failure> {
        let Some(link) = &mut self.link else {
            return Err(io::Error::from(io::ErrorKind::NotConnected).into());
        };
        let outcome = match &mut self.framing {
            Talk::Tcp(tcp) => tcp.ask(link, unit, request, words).await,
            Talk::Rtu(rtu) => rtu.ask(link, unit, request, words).await,
        };
        if let Err(Failure::Broken(_)) = outcome {
            self.close();
        }
        outcome
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

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Failure::Broken(e)
    }
}
