//! Where controllers send what happens there. Without it events come by polling only, so a port that is taken is waited
//! for beside the polling.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::codec;
use crate::backoff::Backoff;

#[derive(Debug)]
pub struct Listener {
    channel: Arc<str>,
    address: SocketAddr,
    socket: Option<UdpSocket>,
    pauses: Backoff,
    again: Instant,
    /// Told that it cannot be opened, and not opened since.
    told: bool,
}

const REOPEN_FIRST: Duration = Duration::from_secs(1);
const REOPEN_MOST: Duration = Duration::from_secs(60);

impl Listener {
    pub fn new(channel: Arc<str>, address: SocketAddr) -> Self {
        let pauses = Backoff::new(REOPEN_FIRST, REOPEN_MOST);
        Self { channel, address, socket: None, pauses, again: Instant::now(), told: false }
    }

    /// The next controller that has something to say, and from where; `None`: whatever came was none. Nothing is lost if it
    /// is cancelled.
    pub async fn heard(&mut self) -> Option<(u32, IpAddr)> {
        let socket = self.open().await;
        let mut bytes = [0; codec::LENGTH + 1];
        let (length, from) = socket.recv_from(&mut bytes).await.ok()?;
        codec::read(bytes.get(..length)?).map(|(serial, _, _)| (serial, from.ip().to_canonical()))
    }

    /// Tries until it is open, ever more rarely.
    async fn open(&mut self) -> &UdpSocket {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => self.bind().await,
        };
        self.socket.insert(socket)
    }

    async fn bind(&mut self) -> UdpSocket {
        loop {
            sleep_until(self.again).await;
            match UdpSocket::bind(self.address).await {
                Ok(socket) => {
                    if std::mem::take(&mut self.told) {
                        info!(channel = %self.channel, address = %self.address, "Events are listened for now.");
                    }
                    return socket;
                }
                Err(e) if !std::mem::replace(&mut self.told, true) => {
                    warn!(
                        channel = %self.channel, address = %self.address, error = %e,
                        "Cannot listen for events; they are polled for, and it is tried again."
                    );
                }
                Err(_) => {}
            }
            self.again = Instant::now() + self.pauses.pause();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::codec::tests::vector;
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_taken_is_listened_on_once_it_is_free() {
        let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = other.local_addr().unwrap();
        let mut listener = Listener::new("doors".into(), address);
        let in_vain = tokio::time::timeout(REOPEN_FIRST / 10, listener.heard()).await;
        assert!(in_vain.is_err() && listener.told, "it waits, and has said so");
        drop(other);

        let controller = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let calling = tokio::spawn(async move {
            loop {
                let _ = controller.send_to(&vector(), address).await; // nobody listens yet
                tokio::time::sleep(REOPEN_FIRST / 20).await;
            }
        });
        let heard = tokio::time::timeout(Duration::from_secs(30), listener.heard()).await.unwrap();
        calling.abort();
        let serial = u32::from_le_bytes(vector()[4..8].try_into().unwrap());
        assert_eq!(heard, Some((serial, address.ip())));
        assert!(!listener.told, "a second outage would be told again");
    }
}
