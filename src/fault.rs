//! Tool: a panic is kept where it happens. What was under way there is lost, and whoever stands around it goes on.
//!
//! Nobody is told a panic's own words, which may quote what a device or a person said; its place in the source is enough.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

/// A panic that was caught.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fault {
    /// `src/field/decode.rs:120`
    pub place: Arc<str>,
}

thread_local! {
    /// How many stand around what runs on this thread now, ready to catch it.
    static CATCHERS: Cell<u32> = const { Cell::new(0) };
    /// Where it panicked last, with somebody to catch it.
    static PLACE: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// From now on a panic is logged without its words; one that is caught is for the catcher to tell.
pub fn keep_words_out() {
    set_hook(Box::new(|panic| {
        let place = place(panic);
        if CATCHERS.get() > 0 {
            PLACE.set(Some(place));
        } else {
            let thread = std::thread::current().name().unwrap_or_default().to_owned();
            tracing::error!(%place, thread, "A part of the program broke; please report where.");
        }
    }));
}

fn place(panic: &PanicHookInfo<'_>) -> Arc<str> {
    panic.location().map_or_else(unknown, |at| format!("{}:{}", at.file(), at.line()).into())
}

fn unknown() -> Arc<str> {
    "an unknown place".into()
}

/// Does it, and catches its panic. What it was changing is to be given up or begun anew.
pub fn contain<T>(work: impl FnOnce() -> T) -> Result<T, Fault> {
    CATCHERS.set(CATCHERS.get() + 1);
    let done = catch_unwind(AssertUnwindSafe(work));
    CATCHERS.set(CATCHERS.get() - 1);
    done.map_err(|_| Fault { place: PLACE.take().unwrap_or_else(unknown) })
}

/// The same, of a future.
pub async fn contained<T>(work: impl Future<Output = T>) -> Result<T, Fault> {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| match contain(|| work.as_mut().poll(cx)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
        Err(fault) => Poll::Ready(Err(fault)),
    })
    .await
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a fault of the program at {}", self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_what_was_under_way_and_nothing_else() {
        assert_eq!(contain(|| 7), Ok(7));
        assert!(contain(|| panic!("card 4711")).is_err());
        let sleeps = || tokio::time::sleep(std::time::Duration::from_millis(1));
        let breaks = async {
            sleeps().await;
            panic!("card 4711")
        };
        assert!(contained(breaks).await.is_err_and(|fault: Fault| !fault.to_string().contains("4711")));
        let goes_on = async {
            sleeps().await;
            8
        };
        assert_eq!(contained(goes_on).await, Ok(8));
        assert_eq!(CATCHERS.get(), 0);
    }
}
