//! Around a protocol: where it breaks at what a device says, that is a failure of this question and of nothing else.

use std::time::Duration;

use tokio::time::Instant;
use tracing::error;

use super::{Answer, Ask, Failure};
use crate::fault::{Fault, contain, contained};
use crate::field::Exchange;
use crate::field::wire::Link;
use crate::order::Outcome;
use crate::reading::{PointId, Reading};

/// Whoever gets a [`Failure::Fault`] has to open the wire anew, which makes the protocol begin anew.
#[derive(Debug)]
pub struct Guard<P> {
    protocol: P,
    /// The last fault that nobody's device is known of.
    told: Option<Fault>,
}

impl<P> Guard<P> {
    pub fn new(protocol: P) -> Self {
        Self { protocol, told: None }
    }
}

impl<P: Ask> Ask for Guard<P> {
    fn opened(&mut self) {
        self.protocol.opened();
    }

    fn begins(&mut self) {
        self.protocol.begins();
    }

    fn listens(&self) -> bool {
        self.protocol.listens()
    }

    fn overheard(&mut self, bytes: &[u8]) -> Vec<(usize, Vec<Reading>)> {
        let protocol = &mut self.protocol;
        contain(|| protocol.overheard(bytes)).unwrap_or_else(|fault| {
            if self.told.as_ref() != Some(&fault) {
                error!(place = %fault.place, "The decoder broke at what came unasked; it is thrown away. Please report the place.");
                self.told = Some(fault);
            }
            self.protocol.opened();
            Vec::new()
        })
    }

    fn together(&self) -> usize {
        self.protocol.together()
    }

    async fn ask_together(
        &mut self,
        link: &mut Link,
        asked: &[(usize, usize)],
        readings: &mut [Vec<Reading>],
    ) -> Vec<Result<Answer, Failure>> {
        let done = contained(self.protocol.ask_together(link, asked, readings)).await;
        done.unwrap_or_else(|fault| asked.iter().map(|_| Err(Failure::Fault(fault.clone()))).collect())
    }

    async fn wake(
        &mut self,
        link: &mut Link,
        device: usize,
        nth: usize,
        readings: &mut Vec<Reading>,
    ) -> Result<(), Failure> {
        contained(self.protocol.wake(link, device, nth, readings))
            .await
            .unwrap_or_else(|fault| Err(fault.into()))
    }

    async fn act(
        &mut self,
        link: &mut Link,
        device: usize,
        nth: usize,
        readings: &mut Vec<Reading>,
    ) -> Result<Outcome, Failure> {
        contained(self.protocol.act(link, device, nth, readings))
            .await
            .unwrap_or_else(|fault| Err(fault.into()))
    }

    fn refused(&self, device: usize) -> Option<String> {
        self.protocol.refused(device)
    }

    fn due(&self) -> Option<Instant> {
        self.protocol.due()
    }

    async fn settle(&mut self, link: &mut Link, now: Instant) -> Result<(), Failure> {
        contained(self.protocol.settle(link, now)).await.unwrap_or_else(|fault| Err(fault.into()))
    }

    async fn look(
        &mut self,
        link: &mut Link,
        device: usize,
        point: Option<PointId>,
    ) -> Result<Vec<Exchange>, Failure> {
        contained(self.protocol.look(link, device, point)).await.unwrap_or_else(|fault| Err(fault.into()))
    }

    async fn seek(
        &mut self,
        link: &mut Link,
        address: u8,
        timeout: Duration,
    ) -> Result<Option<String>, Failure> {
        contained(self.protocol.seek(link, address, timeout)).await.unwrap_or_else(|fault| Err(fault.into()))
    }

    async fn ask(
        &mut self,
        link: &mut Link,
        device: usize,
        question: usize,
        readings: &mut Vec<Reading>,
    ) -> Result<Answer, Failure> {
        contained(self.protocol.ask(link, device, question, readings))
            .await
            .unwrap_or_else(|fault| Err(fault.into()))
    }
}
