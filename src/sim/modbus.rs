//! Simulated Modbus units, behind TCP and RTU-over-TCP servers. A pseudo-terminal in front of the latter makes RTU.

use std::collections::BTreeMap;
use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio_modbus::prelude::{ExceptionCode, Request, Response, SlaveRequest};
use tokio_modbus::server::{Service, rtu_over_tcp, tcp};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::line::{Connecting, Line, Stream};

/// The units of one wire; every clone is the same units.
#[derive(Debug, Clone, Default)]
pub struct Units(Arc<Mutex<BTreeMap<u8, Unit>>>);

#[derive(Debug, Clone, Default)]
pub struct Unit {
    pub mood: Mood,
    pub holding: BTreeMap<u16, u16>,
    pub input: BTreeMap<u16, u16>,
    pub coils: BTreeMap<u16, bool>,
    pub discrete: BTreeMap<u16, bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    #[default]
    Answers,
    /// Not a word, as with its power off.
    Silent,
    /// Every request is refused with this exception.
    Refuses(ExceptionCode),
}

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    pub address: SocketAddr,
    _running: DropGuard,
}

// --- Units ---

impl Units {
    /// The unit with this number, which begins to exist when it is first changed.
    pub fn change(&self, unit: u8, change: impl FnOnce(&mut Unit)) {
        change(self.lock().entry(unit).or_default());
    }

    pub fn set_mood(&self, unit: u8, mood: Mood) {
        self.change(unit, |u| u.mood = mood);
    }

    pub fn set_holding(&self, unit: u8, register: u16, word: u16) {
        self.change(unit, |u| _ = u.holding.insert(register, word));
    }

    pub fn set_input(&self, unit: u8, register: u16, word: u16) {
        self.change(unit, |u| _ = u.input.insert(register, word));
    }

    /// A float in two input registers, most significant word first.
    pub fn set_input_f32(&self, unit: u8, register: u16, value: f32) {
        let bits = value.to_bits();
        self.set_input(unit, register, (bits >> 16) as u16);
        self.set_input(unit, register + 1, bits as u16);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u8, Unit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` is silence: of a unit that is not there, too.
    fn answer(&self, request: &SlaveRequest<'static>) -> Result<Option<Response>, ExceptionCode> {
        let mut units = self.lock();
        let Some(unit) = units.get_mut(&request.slave) else {
            return Ok(None);
        };
        match unit.mood {
            Mood::Answers => unit.answer(&request.request).map(Some),
            Mood::Silent => Ok(None),
            Mood::Refuses(exception) => Err(exception),
        }
    }
}

impl Unit {
    fn answer(&mut self, request: &Request<'static>) -> Result<Response, ExceptionCode> {
        match *request {
            Request::ReadHoldingRegisters(at, n) => {
                read(&self.holding, at, n).map(Response::ReadHoldingRegisters)
            }
            Request::ReadInputRegisters(at, n) => read(&self.input, at, n).map(Response::ReadInputRegisters),
            Request::ReadCoils(at, n) => read(&self.coils, at, n).map(Response::ReadCoils),
            Request::ReadDiscreteInputs(at, n) => {
                read(&self.discrete, at, n).map(Response::ReadDiscreteInputs)
            }
            Request::WriteSingleRegister(at, word) if self.holding.contains_key(&at) => {
                self.holding.insert(at, word);
                Ok(Response::WriteSingleRegister(at, word))
            }
            Request::WriteSingleCoil(at, on) if self.coils.contains_key(&at) => {
                self.coils.insert(at, on);
                Ok(Response::WriteSingleCoil(at, on))
            }
            Request::WriteSingleRegister(..) | Request::WriteSingleCoil(..) => {
                Err(ExceptionCode::IllegalDataAddress)
            }
            _ => Err(ExceptionCode::IllegalFunction),
        }
    }
}

fn read<T: Copy>(table: &BTreeMap<u16, T>, at: u16, count: u16) -> Result<Vec<T>, ExceptionCode> {
    let end = at.checked_add(count).ok_or(ExceptionCode::IllegalDataAddress)?;
    (at..end).map(|n| table.get(&n).copied().ok_or(ExceptionCode::IllegalDataAddress)).collect()
}

impl Service for Units {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Option<Response>, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        ready(self.answer(&request))
    }
}

// --- Server ---

impl Server {
    /// Modbus TCP on a free loopback port.
    pub async fn tcp(units: Units) -> io::Result<Self> {
        let (server, listener, stop) = Self::bind().await?;
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            let connected = |stream, from| {
                let units = units.clone();
                async move { tcp::accept_tcp_connection(stream, from, move |_| Ok(Some(units.clone()))) }
            };
            let _ = tcp::Server::new(listener).serve(&connected, |_| {}).await;
        }));
        Ok(server)
    }

    /// RTU frames over TCP on a free loopback port.
    pub async fn rtu_over_tcp(units: Units) -> io::Result<Self> {
        let (server, listener, stop) = Self::bind().await?;
        tokio::spawn(
            stop.run_until_cancelled_owned(async move {
                let connected = |stream, from| {
                    let units = units.clone();
                    async move {
                        rtu_over_tcp::accept_tcp_connection(stream, from, move |_| Ok(Some(units.clone())))
                    }
                };
                let _ = rtu_over_tcp::Server::new(listener).serve(&connected, |_| {}).await;
            }),
        );
        Ok(server)
    }

    async fn bind() -> io::Result<(Self, TcpListener, CancellationToken)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let stop = CancellationToken::new();
        let server = Self { address: listener.local_addr()?, _running: stop.clone().drop_guard() };
        Ok((server, listener, stop))
    }
}

/// Modbus RTU on a pseudo-terminal that is found under `path`.
pub async fn rtu(units: Units, path: &Path) -> io::Result<Line> {
    let server = Arc::new(Server::rtu_over_tcp(units).await?);
    let connect = move || -> Connecting {
        // The line holds its server.
        let server = server.clone();
        Box::pin(async move {
            let stream = TcpStream::connect(server.address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    };
    Line::start(path, Box::new(connect)).await
}
