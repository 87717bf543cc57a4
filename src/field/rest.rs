//! Waiting to the microsecond. The runtime's timer ticks in milliseconds, which would make 3 ms of the 1.75 ms between two
//! frames; a timer of the kernel's own does not.

use std::io::{self, ErrorKind};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::net::unix::pipe::Receiver;
use tokio::time::{Instant, sleep_until};

/// Made with the first short wait.
#[derive(Debug, Default)]
pub struct Rest(Option<Receiver>);

/// What is longer may end a millisecond late.
const SHORT: Duration = Duration::from_millis(20);

impl Rest {
    pub async fn until(&mut self, at: Instant) {
        let span = at.saturating_duration_since(Instant::now());
        if span.is_zero() {
            return;
        }
        if span > SHORT || self.precisely(span).await.is_err() {
            sleep_until(at).await;
        }
    }

    async fn precisely(&mut self, span: Duration) -> io::Result<()> {
        let timer = match &mut self.0 {
            Some(timer) => timer,
            none => none.insert(timer()?),
        };
        let span = Timespec { tv_sec: 0, tv_nsec: span.subsec_nanos().into() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: span };
        // Whatever an earlier wait, given up, has left in it goes with this.
        timerfd_settime(&*timer, TimerfdTimerFlags::empty(), &once)?;
        loop {
            timer.readable().await?;
            match timer.try_read(&mut [0; 8]) {
                Ok(_) => return Ok(()),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// A timer of the kernel is read like a pipe that is told how often it has rung, eight bytes at a time.
fn timer() -> io::Result<Receiver> {
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
    Receiver::from_owned_fd_unchecked(timer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_short_wait_is_not_rounded_up_to_the_next_tick() {
        let mut rest = Rest::default();
        let mut waits = Vec::new();
        for _ in 0..200 {
            let began = Instant::now();
            rest.until(began + Duration::from_micros(1750)).await;
            waits.push(began.elapsed());
        }
        waits.sort();
        assert!(waits[0] >= Duration::from_micros(1750), "{waits:?}");
        // What other programs take of the machine lengthens some; a tick would lengthen all.
        assert!(waits[20] < Duration::from_micros(2400), "{waits:?}");
    }

    #[tokio::test]
    async fn a_wait_that_was_given_up_does_not_end_the_next() {
        let mut rest = Rest::default();
        let two = Duration::from_millis(2);
        // On a busy machine they may be over before they begin.
        while tokio::time::timeout(Duration::ZERO, rest.until(Instant::now() + two)).await.is_ok() {}
        std::thread::sleep(Duration::from_millis(5));
        let at = Instant::now() + Duration::from_millis(10);
        rest.until(at).await;
        assert!(Instant::now() >= at);
        rest.until(at).await; // past
    }
}
