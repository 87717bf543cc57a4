//! The journal by cursor, with long polling. Events leave as they are stored, byte for byte.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use super::Desk;
use super::problem::Problem;
use crate::chain::Link;
use crate::event::Kinds;

const LIMIT_DEFAULT: usize = 100;
pub const LIMIT_MAX: usize = 1000;
/// Seconds.
const WAIT_MAX: f64 = 60.0;
/// A look into the journal ends after this, so that whoever wants little of it keeps nobody waiting; the next one goes on there.
const LOOK_MAX: Duration = Duration::from_millis(100);
/// Looks that found nothing end after this, for one who does not wait for longer; `next` says where to go on.
const SEARCH_MAX: Duration = Duration::from_secs(2);
/// Rows taken from the store in one go, so that a full answer is in memory once only.
pub const CHUNK: usize = 20;
/// Bytes after which an answer ends early; its `next` says where to go on.
pub const BODY_SOFT_MAX: usize = 512 << 10;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    after: Option<String>,
    limit: Option<usize>,
    wait: Option<f64>,
    types: Option<String>,
}

/// `GET /api/v1/events`
pub async fn events(State(desk): State<Arc<Desk>>, Query(asked): Query<Asked>) -> Result<Response, Problem> {
    let pulled = search(&desk, asked).await?;
    Ok(pulled.answer(&desk))
}

/// Looks into the journal until there is something, or it is late.
async fn search(desk: &Arc<Desk>, asked: Asked) -> Result<Pulled, Problem> {
    let limit = limit(asked.limit, LIMIT_DEFAULT)?;
    let wait = wait(asked.wait)?;
    let (deadline, search_end) = (Instant::now() + wait, Instant::now() + wait.max(SEARCH_MAX));
    let kinds: Kinds = asked.types.unwrap_or_default().parse().map_err(Problem::bad_request)?;
    let mut after = desk.seq(asked.after.as_deref().unwrap_or("0"))?;
    let mut head = desk.rooms.head.clone();
    let mut seat = None;
    let mut last = false;
    loop {
        // Seen before the journal is read: what is committed in between wakes the wait below.
        head.borrow_and_update();
        let kinds = kinds.clone();
        let pulled = desk.look(move |desk| pull(desk, after, limit, &kinds)).await?;
        let all_seen = pulled.next >= pulled.head;
        let late = Instant::now() >= if all_seen { deadline } else { search_end };
        if pulled.count > 0 || last || late {
            return Ok(pulled);
        }
        after = pulled.next;
        if !all_seen {
            last = desk.stop.is_cancelled();
            continue;
        }
        if seat.is_none() {
            seat = Some(desk.bounds.polls.clone().try_acquire_owned().map_err(|_| {
                Problem::busy(format!(
                    "{} requests wait for news already; ask without wait, or later",
                    super::POLLS_MAX
                ))
            })?);
        }
        tokio::select! {
            // Nobody writes any more: the house closes.
            news = head.changed() => last = news.is_err(),
            () = sleep_until(deadline) => last = true,
            () = desk.stop.cancelled() => last = true,
        }
    }
}

/// A number of rows within its bound.
pub fn limit(asked: Option<usize>, default: usize) -> Result<usize, Problem> {
    match asked.unwrap_or(default) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        limit => Err(Problem::bad_request(format!("limit={limit} is out of bounds; say 1 to {LIMIT_MAX}"))),
    }
}

fn wait(asked: Option<f64>) -> Result<Duration, Problem> {
    let seconds = asked.unwrap_or(0.0);
    if (0.0..=WAIT_MAX).contains(&seconds) {
        return Ok(Duration::from_secs_f64(seconds));
    }
    Err(Problem::bad_request(format!("wait={seconds} is out of bounds; say 0 to {WAIT_MAX} seconds")))
}

/// What the journal has after a cursor.
struct Pulled {
    /// The answer's body, as far as the last event.
    body: String,
    count: usize,
    next: u64,
    head: u64,
    /// The chain at `next`.
    chain: Option<Link>,
}

impl Pulled {
    fn answer(self, desk: &Desk) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.whole(desk)).into_response()
    }

    fn whole(self, desk: &Desk) -> String {
        let (next, head) = (desk.cursor(self.next), desk.cursor(self.head));
        let chain = self.chain.map_or("null".to_owned(), |link| format!(r#""{link}""#));
        self.body + &format!(r#"],"next":"{next}","head":"{head}","chain":{chain}}}"#)
    }
}

fn pull(desk: &Desk, after: u64, limit: usize, kinds: &Kinds) -> Result<Pulled, Problem> {
    let mut pulled = Pulled {
        body: format!(r#"{{"epoch":"{}","events":["#, desk.rooms.view.epoch()),
        count: 0,
        next: after,
        head: 0,
        chain: None,
    };
    let begun = Instant::now();
    loop {
        let want = CHUNK.min(limit - pulled.count);
        let slice = desk
            .rooms
            .view
            .events(pulled.next, want, kinds)
            .map_err(|error| Problem::of_store(&error, |seq| desk.cursor(seq)))?;
        if after > slice.head {
            return Err(Problem::above_head(after, &desk.cursor(slice.head)));
        }
        for event in &slice.events {
            if pulled.count > 0 {
                pulled.body.push(',');
            }
            pulled.body.push_str(&event.json);
            pulled.count += 1;
        }
        let moved = slice.next > pulled.next;
        pulled.next = slice.next;
        pulled.head = slice.head;
        let full = pulled.count >= limit || pulled.body.len() >= BODY_SOFT_MAX;
        if full || !moved || pulled.next >= pulled.head || begun.elapsed() >= LOOK_MAX {
            let chain = desk.rooms.view.chain_at(pulled.next);
            pulled.chain = chain.map_err(|error| Problem::of_store(&error, |seq| desk.cursor(seq)))?;
            return Ok(pulled);
        }
    }
}
