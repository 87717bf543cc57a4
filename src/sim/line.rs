//! A serial line on a pseudo-terminal, which can be unplugged, plugged in again, and disturbed.
//!
//! Whoever hangs on its far end is any stream of bytes. The near end is found under a path of its own that stays the
//! same, like `/dev/serial/by-id`, while the terminal behind it is a new one after each unplugging.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_serial::{SerialPort, SerialStream};

/// What the line leads to.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Connects to the far end, anew after each break.
pub type Connect = Box<dyn Fn() -> Connecting + Send + Sync>;
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// A line in use; it ends, and its path goes, when this is dropped.
#[derive(Debug)]
pub struct Line {
    path: PathBuf,
    orders: mpsc::Sender<Order>,
}

#[derive(Debug)]
enum Order {
    Unplug,
    Plug,
    Disturb(Vec<u8>),
}

/// Nobody reads at the near end: what is written is lost, as on a wire.
const WRITE_WITHIN: Duration = Duration::from_millis(200);

impl Line {
    pub async fn start(path: &Path, far: Connect) -> io::Result<Self> {
        let (orders, taken) = mpsc::channel(8);
        let plug = Plug::new(path, &far).await?;
        tokio::spawn(run(path.to_owned(), plug, far, taken));
        Ok(Self { path: path.to_owned(), orders })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The adapter is pulled out: the port is gone.
    pub async fn unplug(&self) {
        let _ = self.orders.send(Order::Unplug).await;
    }

    pub async fn plug(&self) {
        let _ = self.orders.send(Order::Plug).await;
    }

    /// Noise that arrives at the near end.
    pub async fn disturb(&self, noise: Vec<u8>) {
        let _ = self.orders.send(Order::Disturb(noise)).await;
    }
}

/// A plugged-in terminal with what it leads to.
struct Plug {
    path: PathBuf,
    terminal: SerialStream,
    /// Held open, since a terminal whose near end nobody has open cannot be read at its far end.
    _near: SerialStream,
    far: Box<dyn Stream>,
}

impl Plug {
    async fn new(path: &Path, connect: &Connect) -> io::Result<Self> {
        let (terminal, near) = SerialStream::pair()?;
        let name = near.name().ok_or(ErrorKind::Unsupported)?;
        let _ = std::fs::remove_file(path);
        std::os::unix::fs::symlink(name, path)?;
        Ok(Self { path: path.to_owned(), terminal, _near: near, far: connect().await? })
    }

    /// Carries bytes both ways until one end breaks.
    async fn carry(&mut self) -> io::Result<()> {
        let (mut out, mut back) = ([0; 512], [0; 512]);
        loop {
            tokio::select! {
                got = self.terminal.read(&mut out) => self.far.write_all(&out[..some(got)?]).await?,
                got = self.far.read(&mut back) => {
                    let _ = timeout(WRITE_WITHIN, self.terminal.write_all(&back[..some(got)?])).await;
                }
            }
        }
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn run(path: PathBuf, plug: Plug, connect: Connect, mut orders: mpsc::Receiver<Order>) {
    let mut plug = Some(plug);
    loop {
        let order = tokio::select! {
            order = orders.recv() => order,
            end = carry(&mut plug) => {
                tracing::debug!(path = %path.display(), ?end, "the simulated line leads to its far end anew");
                Some(Order::Plug)
            }
        };
        match order {
            None => return,
            Some(Order::Unplug) => plug = None,
            Some(Order::Plug) => {
                drop(plug.take());
                plug = Plug::new(&path, &connect).await.ok();
            }
            Some(Order::Disturb(noise)) => {
                if let Some(plug) = &mut plug {
                    let _ = timeout(WRITE_WITHIN, plug.terminal.write_all(&noise)).await;
                }
            }
        }
    }
}

/// Never ends while unplugged.
async fn carry(plug: &mut Option<Plug>) -> io::Result<()> {
    match plug {
        Some(plug) => plug.carry().await,
        None => std::future::pending().await,
    }
}

fn some(got: io::Result<usize>) -> io::Result<usize> {
    match got? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        n => Ok(n),
    }
}
