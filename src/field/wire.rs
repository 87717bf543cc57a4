//! What bytes go over: a serial port or a TCP connection, opened anew whenever it breaks.
//!
//! A [`Link`] keeps two promises that the protocols above rely on: a read never returns nothing (a port whose
//! peer is gone reads as empty forever, and whoever believed it would spin), and every error names the wire.

use std::fmt;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use serial2::rs4xx::Rs485Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_serial::{ClearBuffer, DataBits, SerialPort, SerialPortBuilderExt, SerialStream, StopBits};

use super::rest::Rest;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wire {
    /// `host:port`
    Tcp {
        address: Arc<str>,
    },
    Serial(Port),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub path: Arc<str>,
    pub baud: u32,
    pub parity: Parity,
    /// 1 or 2
    pub stop_bits: u8,
    /// The kernel switches the direction of the transceiver, where the driver can.
    pub rs485: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parity {
    #[default]
    None,
    Even,
    Odd,
}

/// An open wire.
#[derive(Debug)]
pub struct Link {
    name: Arc<str>,
    stream: Stream,
    /// Why the kernel does not switch the direction, where it should.
    direction: Option<io::Error>,
    character: Duration,
    silence: Duration,
    rest: Rest,
}

/// What stands under a serial port's path just now; another one when it was plugged in anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plugged {
    device: u64,
    inode: u64,
    made: i64,
    made_nanos: i64,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Serial(SerialStream),
}

/// How long connecting, and handing a request to the kernel, may take.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
const SEND_WITHIN: Duration = Duration::from_secs(5);
/// Who closes after an answer does it at once.
const CLOSED_WITHIN: Duration = Duration::from_millis(5);
/// More than this is not rest of old answers but a line that never falls silent.
const DRAIN_MOST: usize = 64 * 1024;
/// What the line behind a serial device server is taken to run at: it does not tell.
const BAUD_BEHIND_TCP: u32 = 9600;

// --- Wire ---

impl Wire {
    /// Opens it. A TCP connection has to stand within 5 s.
    pub async fn open(&self) -> io::Result<Link> {
        let stream = match self {
            Wire::Tcp { address } => connect(address).await.map(|stream| (Stream::Tcp(stream), None)),
            Wire::Serial(port) => port.open().map(|(stream, direction)| (Stream::Serial(stream), direction)),
        };
        let name = self.name();
        match stream {
            Ok((stream, direction)) => Ok(Link {
                name: name.clone(),
                stream,
                direction,
                character: self.character(),
                silence: self.silence(),
                rest: Rest::default(),
            }),
            Err(e) => Err(named(name, "cannot be opened", &e)),
        }
    }

    /// What people call it: `192.0.2.10:502`, `/dev/ttyS3`.
    pub fn name(&self) -> &Arc<str> {
        match self {
            Wire::Tcp { address } => address,
            Wire::Serial(port) => &port.path,
        }
    }

    /// What is plugged in: `None` where nothing is, and always for what is no serial port.
    pub fn plugged(&self) -> Option<Plugged> {
        let Wire::Serial(port) = self else {
            return None;
        };
        let there = std::fs::metadata(&*port.path).ok()?;
        let (made, made_nanos) = (there.ctime(), there.ctime_nsec());
        Some(Plugged { device: there.rdev(), inode: there.ino(), made, made_nanos })
    }

    /// The time one character takes.
    pub fn character(&self) -> Duration {
        let baud = match self {
            Wire::Tcp { .. } => BAUD_BEHIND_TCP,
            Wire::Serial(port) => port.baud,
        };
        // Start bit, 8 data bits, parity or a second stop bit, stop bit.
        Duration::from_secs(11) / baud.max(1)
    }

    /// The silence between two frames: 3.5 characters, and 1.75 ms where characters are shorter than timers.
    pub fn silence(&self) -> Duration {
        (self.character() * 7 / 2).max(Duration::from_micros(1750))
    }
}

impl Port {
    /// With the reason why the kernel does not switch its direction, where it should and does not.
    fn open(&self) -> io::Result<(SerialStream, Option<io::Error>)> {
        let direction = self.rs485.then(|| direction_by_kernel(&self.path));
        let port = tokio_serial::new(&*self.path, self.baud)
            .data_bits(DataBits::Eight)
            .parity(match self.parity {
                Parity::None => tokio_serial::Parity::None,
                Parity::Even => tokio_serial::Parity::Even,
                Parity::Odd => tokio_serial::Parity::Odd,
            })
            .stop_bits(match self.stop_bits {
                2 => StopBits::Two,
                _ => StopBits::One,
            })
            .open_native_async()
            .map_err(|e| self.busy(&e).unwrap_or_else(|| e.into()))?;
        Ok((port, direction.and_then(Result::err)))
    }

    /// The library calls a port that another program holds "no device", as one that is not there.
    fn busy(&self, e: &tokio_serial::Error) -> Option<io::Error> {
        let path = &self.path;
        let held = e.kind == tokio_serial::ErrorKind::NoDevice && std::fs::exists(&**path).unwrap_or(false);
        let why = format!("another program has it open; stop that one, `fuser -v {path}` says which it is");
        held.then(|| io::Error::new(ErrorKind::ResourceBusy, why))
    }
}

/// RTS high while sending, low after it, switched by the driver. Told over a descriptor of its own, which has to stay open
/// until the port is: what is told to a port that nobody holds may be forgotten.
fn direction_by_kernel(path: &str) -> io::Result<serial2::SerialPort> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let port = serial2::SerialPort::from(rustix::fs::open(path, flags, Mode::empty())?);
    port.set_rs4xx_mode(Rs485Config::new())?;
    Ok(port)
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

async fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = timeout(OPEN_WITHIN, TcpStream::connect(address))
        .await
        .map_err(|_| io::Error::new(ErrorKind::TimedOut, "no connection within 5 s"))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

// --- Link ---

impl Link {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is sent over it may lie somewhere before whoever it is for reads it.
    pub fn is_socket(&self) -> bool {
        matches!(self.stream, Stream::Tcp(_))
    }

    /// Whether its peer has closed it, as some do after each answer.
    pub async fn is_closed(&self) -> bool {
        let Stream::Tcp(stream) = &self.stream else { return false };
        matches!(timeout(CLOSED_WITHIN, stream.peek(&mut [0])).await, Ok(Ok(0) | Err(_)))
    }

    /// When it is closed, what was sent and is not acknowledged is forgotten.
    pub fn forget(&self) {
        if let Stream::Tcp(stream) = &self.stream {
            let _ = stream.set_zero_linger(); // of a socket that is closed already there is nothing to forget
        }
    }

    /// Why the kernel does not switch the direction of this port, where it was told to.
    pub fn direction(&self) -> Option<&io::Error> {
        self.direction.as_ref()
    }

    /// The time one character takes on this line.
    pub fn character(&self) -> Duration {
        self.character
    }

    /// Between two frames.
    pub fn silence(&self) -> Duration {
        self.silence
    }

    /// Waits, to some microseconds.
    pub async fn rest_until(&mut self, at: Instant) {
        self.rest.until(at).await;
    }

    /// Sends all of it. The bytes are then with the kernel, not yet on the line.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = match &mut self.stream {
            Stream::Tcp(stream) => timeout(SEND_WITHIN, stream.write_all(bytes)).await,
            Stream::Serial(stream) => timeout(SEND_WITHIN, stream.write_all(bytes)).await,
        };
        sent.unwrap_or_else(|_| Err(io::Error::new(ErrorKind::TimedOut, "it takes no more bytes")))
            .map_err(|e| named(&self.name, "cannot be written", &e))
    }

    /// Appends what arrives next to `buffer`, one byte at least. Nothing is lost if it is cancelled.
    pub async fn receive(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        buffer.reserve(512); // more than any frame: one read takes it
        let got = match &mut self.stream {
            Stream::Tcp(stream) => stream.read_buf(buffer).await,
            Stream::Serial(stream) => stream.read_buf(buffer).await,
        };
        self.something(got)
    }

    /// Throws away everything that can be read right now; returns how many bytes.
    pub async fn drain(&mut self) -> io::Result<usize> {
        // Bytes the kernel holds are only seen by a socket once the runtime has looked; this lets it look.
        tokio::task::yield_now().await;
        let mut rubbish = [0; 512];
        let mut total = 0;
        while total < DRAIN_MOST {
            let got = match &mut self.stream {
                Stream::Tcp(stream) => stream.try_read(&mut rubbish),
                Stream::Serial(stream) => stream.try_read(&mut rubbish),
            };
            match got {
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                got => total += self.something(got)?,
            }
        }
        if let Stream::Serial(stream) = &self.stream {
            stream
                .clear(ClearBuffer::Input)
                .map_err(|e| named(&self.name, "cannot be cleared", &e.into()))?;
        }
        Ok(total)
    }

    /// A read of nothing is the end of the wire.
    fn something(&self, got: io::Result<usize>) -> io::Result<usize> {
        match got {
            Ok(0) => Err(named(
                &self.name,
                "is broken",
                &io::Error::new(ErrorKind::UnexpectedEof, "closed by the other side"),
            )),
            Ok(n) => Ok(n),
            Err(e) => Err(named(&self.name, "cannot be read", &e)),
        }
    }
}

fn named(name: &str, what: &str, e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{name} {what}: {e}"))
}

#[cfg(test)]
impl Link {
    /// The near end of a pseudo-terminal.
    pub(crate) fn of(stream: SerialStream) -> Self {
        let wire = Wire::Tcp { address: "pty".into() };
        let (character, silence) = (wire.character(), wire.silence());
        let stream = Stream::Serial(stream);
        Self { name: "pty".into(), stream, direction: None, character, silence, rest: Rest::default() }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn tcp_pair() -> (Link, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let wire = Wire::Tcp { address: address.into() };
        let link = wire.open().await.unwrap();
        (link, listener.accept().await.unwrap().0)
    }

    async fn drains_all_and_only_what_is_there(mut link: Link, mut peer: impl AsyncWriteExt + Unpin) {
        assert_eq!(link.drain().await.unwrap(), 0);
        peer.write_all(&[7; 1500]).await.unwrap();
        let mut drained = 0;
        while drained < 1500 {
            drained += link.drain().await.unwrap();
        }
        peer.write_all(&[9]).await.unwrap();
        let mut buffer = Vec::new();
        link.receive(&mut buffer).await.unwrap();
        assert_eq!((drained, buffer), (1500, vec![9]));
    }

    #[tokio::test]
    async fn draining_a_connection_takes_all_that_is_there_and_no_more() {
        let (link, peer) = tcp_pair().await;
        drains_all_and_only_what_is_there(link, peer).await;
    }

    #[tokio::test]
    async fn draining_a_port_takes_all_that_is_there_and_no_more() {
        let (peer, port) = SerialStream::pair().unwrap();
        drains_all_and_only_what_is_there(Link::of(port), peer).await;
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_is_an_error_that_names_the_wire() {
        let (mut link, peer) = tcp_pair().await;
        let name = link.name.clone();
        drop(peer);
        let error = link.receive(&mut Vec::new()).await.unwrap_err().to_string();
        assert!(error.starts_with(&*name), "{error}");
        assert!(link.drain().await.is_err());

        let (peer, port) = SerialStream::pair().unwrap();
        drop(peer);
        let error = Link::of(port).receive(&mut Vec::new()).await.unwrap_err();
        assert!(error.to_string().starts_with("pty "), "{error}");
    }

    #[tokio::test]
    async fn a_wire_that_is_not_there_is_an_error_that_names_it() {
        let port = Port {
            path: "/dev/no-such-port".into(),
            baud: 9600,
            parity: Parity::Even,
            stop_bits: 1,
            rs485: false,
        };
        let error = Wire::Serial(port).open().await.unwrap_err().to_string();
        assert!(error.starts_with("/dev/no-such-port cannot be opened"), "{error}");
        assert!(!error.contains("another program"), "{error}");
    }

    #[tokio::test]
    async fn a_port_is_held_by_one_alone() {
        let (_far, near) = SerialStream::pair().unwrap();
        let path = near.name().unwrap();
        drop(near);
        let port = Port { path: path.into(), baud: 9600, parity: Parity::None, stop_bits: 1, rs485: true };
        let wire = Wire::Serial(port);
        let link = wire.open().await.unwrap();
        assert!(link.direction().is_some(), "a pseudo-terminal has no direction, and is opened all the same");
        let error = wire.open().await.unwrap_err().to_string();
        assert!(error.contains("cannot be opened: another program has it open"), "{error}");
        assert!(error.contains("`fuser -v /dev/"), "which: {error}");
        drop(link);
        wire.open().await.unwrap();
    }

    #[test]
    fn silence_is_three_and_a_half_characters_but_never_below_timers() {
        let at = |baud| {
            Wire::Serial(Port { path: "x".into(), baud, parity: Parity::None, stop_bits: 1, rs485: false })
                .silence()
        };
        assert_eq!(at(2400).as_micros(), 16_041);
        assert_eq!(at(115_200).as_micros(), 1750);
    }
}
