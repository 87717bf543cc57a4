//! Who asks on the wire, over either framing.

use std::time::Duration;

use super::pdu::{Answer, Request};
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

/// What a unit answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Words(Vec<u16>),
    Written,
    Exception(u8),
}

impl Master {
    pub fn new(settings: &Settings) -> Self {
        match settings.framing {
            Framing::Tcp => Master::Tcp(Tcp::new(settings)),
            Framing::Rtu => Master::Rtu(Rtu::new(settings)),
        }
    }

    pub fn opened(&mut self) {
        match self {
            Master::Tcp(tcp) => tcp.opened(),
            Master::Rtu(rtu) => rtu.opened(),
        }
    }

    /// So many questions may be under way at one time.
    pub fn together(&self) -> usize {
        match self {
            Master::Tcp(tcp) => tcp.together(),
            Master::Rtu(_) => 1,
        }
    }

    pub async fn ask(&mut self, link: &mut Link, unit: u8, request: &Request) -> Result<Reply, Failure> {
        match self {
            Master::Tcp(tcp) => tcp.ask(link, unit, request).await,
            Master::Rtu(rtu) => rtu.ask(link, unit, request).await,
        }
    }

    /// Asks all of it. Where it is one by one, the first failure is the end.
    pub async fn ask_all(&mut self, link: &mut Link, asked: &[(u8, Request)]) -> Vec<Result<Reply, Failure>> {
        let rtu = match self {
            Master::Tcp(tcp) => return tcp.ask_all(link, asked).await,
            Master::Rtu(rtu) => rtu,
        };
        let mut replies = Vec::with_capacity(asked.len());
        for (unit, request) in asked {
            replies.push(rtu.ask(link, *unit, request).await);
            if replies.last().is_some_and(Result::is_err) {
                break;
            }
        }
        replies
    }

    /// Whether the answer to a write that looks like its question can be told from an echo.
    pub fn knows_its_echo(&self) -> bool {
        match self {
            Master::Tcp(_) => true,
            Master::Rtu(rtu) => rtu.knows_its_echo(),
        }
    }

    /// What went over the wire for the last question, and what came.
    pub fn trace(&self) -> (Vec<u8>, Vec<u8>) {
        let (sent, heard) = match self {
            Master::Tcp(tcp) => tcp.trace(),
            Master::Rtu(rtu) => rtu.trace(),
        };
        (sent.to_vec(), heard.to_vec())
    }

    pub fn timeout(&self) -> Duration {
        match self {
            Master::Tcp(tcp) => tcp.timeout(),
            Master::Rtu(rtu) => rtu.timeout(),
        }
    }

    /// Sets how long a unit may take to answer; returns how long that was.
    pub fn set_timeout(&mut self, timeout: Duration) -> Duration {
        let present = match self {
            Master::Tcp(tcp) => tcp.timeout_mut(),
            Master::Rtu(rtu) => rtu.timeout_mut(),
        };
        std::mem::replace(present, timeout)
    }
}

impl Reply {
    pub fn of(answer: Answer<'_>, request: &Request) -> Self {
        match answer {
            Answer::Exception(code) => Reply::Exception(code),
            Answer::Written => Reply::Written,
            Answer::Data(data) => {
                let mut words = Vec::new();
                request.words(data, &mut words);
                Reply::Words(words)
            }
        }
    }
}
