//! A connection's stream, which ends by itself: when nothing moves on it, or when what should be asked is not said in time.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// From its first byte, or from the connection, to the end of a request's head; a handshake is part of the first.
    pub head: Duration,
    /// From a request's head to the end of its body.
    pub body: Duration,
    /// Nothing moves, neither way: longer than the longest wait for news.
    pub idle: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { head: Duration::from_secs(10), body: Duration::from_secs(30), idle: Duration::from_secs(90) }
    }
}

/// Whether a request is being answered; shared by a connection's stream and its service.
#[derive(Debug, Clone, Default)]
pub struct Pace(Arc<AtomicBool>);

impl Pace {
    /// Until what is returned goes.
    pub fn answers(&self) -> Answering {
        self.0.store(true, Ordering::Relaxed);
        Answering(self.clone())
    }
}

/// As long as it lives, nothing more has to be said by the client.
#[derive(Debug)]
pub struct Answering(Pace);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Relaxed);
    }
}

pub struct Guest {
    pub stream: TcpStream,
    times: Times,
    pace: Pace,
    idle: Pin<Box<Sleep>>,
    /// Runs while a request is begun and not all said.
    head: Option<Pin<Box<Sleep>>>,
}

impl Guest {
    pub fn new(stream: TcpStream, times: Times, pace: Pace) -> Self {
        let (idle, head) = (Box::pin(sleep(times.idle)), Some(Box::pin(sleep(times.head))));
        Self { stream, times, pace, idle, head }
    }

    /// Something moved: the clock starts anew. Nothing did: the clock runs.
    fn watch<T>(&mut self, cx: &mut Context<'_>, moved: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if moved.is_ready() {
            let end = Instant::now() + self.times.idle;
            self.idle.as_mut().reset(end);
            return moved;
        }
        ready!(self.idle.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Whether the head of a request takes too long; `heard`: there was some of it.
    fn is_too_slow(&mut self, cx: &mut Context<'_>, heard: bool) -> bool {
        if self.pace.0.load(Ordering::Relaxed) {
            self.head = None;
            return false;
        }
        if heard && self.head.is_none() {
            self.head = Some(Box::pin(sleep(self.times.head)));
        }
        self.head.as_mut().is_some_and(|head| head.as_mut().poll(cx).is_ready())
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let moved = Pin::new(&mut self.stream).poll_read(cx, into);
        if self.is_too_slow(cx, into.filled().len() > before) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.watch(cx, moved)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let moved = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, moved)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let moved = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, moved)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
