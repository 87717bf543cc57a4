//! The picture of a ticket, as a file that a CRM can show: `curve` (what the point said), `story` (what happened when), `scale`
//! (axes), `plot` and `draw` (the picture), `words` (two languages), `svg` (the sheet). Here is only what is gathered for it.

mod curve;
mod draw;
mod plot;
mod scale;
mod story;
mod svg;
#[cfg(test)]
mod tests;
mod words;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::tz::TimeZone;

use super::Desk;
use super::events::CHUNK;
use super::problem::Problem;
use crate::reading::{Millis, Site};
use crate::rules::Locale;
use crate::ticket::{Evidence, State as TicketState, Ticket};
use crate::time;
use curve::Curve;
use draw::Picture;
use story::{Story, Told};

/// The history has a steady value once a minute.
const HOLD_LEAST: Millis = 150_000;
/// Slots without a reading after which a value is no longer believed.
const HOLD_SLOTS: Millis = 3;
/// Events of a ticket that are looked at.
const TOLD_MAX: usize = 1000;
/// A picture may ask for nothing and run nothing, wherever it is shown.
const POLICY: &str = "default-src 'none'";

/// `GET /api/v1/tickets/{id}/chart.svg`
pub async fn chart(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let held = headers.get(header::IF_NONE_MATCH).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
    desk.look(move |desk| answer(desk, &id, held.as_deref(), time::now())).await
}

fn answer(desk: &Desk, id: &str, held: Option<&str>, now: Millis) -> Result<Response, Problem> {
    let row = desk.rooms.view.filed(id).map_err(|error| Problem::of_store(&error, |seq| desk.cursor(seq)))?;
    let Some(row) = row else { return Err(super::tickets::unknown(id)) };
    let ticket = row.ticket;
    let kind = (header::CONTENT_TYPE, "image/svg+xml; charset=utf-8".to_owned());
    let policy = (header::CONTENT_SECURITY_POLICY, POLICY.to_owned());
    if ticket.state != TicketState::Closed {
        let kept = (header::CACHE_CONTROL, "no-store".to_owned());
        return Ok(([kind, policy, kept], picture(desk, &ticket, now)?).into_response());
    }
    // It may be reopened, and then is another revision: kept, and asked about each time.
    let tag = format!("W/\"{}-{}-{}\"", ticket.id, ticket.revision, env!("CARGO_PKG_VERSION"));
    let kept = (header::CACHE_CONTROL, "private, no-cache".to_owned());
    if held.is_some_and(|held| held.split(',').any(|one| one.trim() == tag)) {
        return Ok((StatusCode::NOT_MODIFIED, [kept, (header::ETAG, tag)]).into_response());
    }
    let drawn = picture(desk, &ticket, now)?;
    Ok(([kind, policy, kept, (header::ETAG, tag)], drawn).into_response())
}

fn picture(desk: &Desk, ticket: &Ticket, now: Millis) -> Result<String, Problem> {
    let plan = &desk.rooms.plan;
    let story = Story::of(ticket, &told(desk, ticket)?);
    let span = story.span(&ticket.limit, now);
    let hold = hold(&desk.rooms.site, ticket);
    let mut curve = gather(desk, ticket, span.clone(), hold)?;
    // No picture is wide where nothing is known.
    let known = curve.begin().into_iter().chain(story.begin()).min().unwrap_or(span.start);
    let span = if known - span.start > (span.end - span.start) / 10 {
        let span = known - (span.end - known) / 20..span.end;
        curve = gather(desk, ticket, span.clone(), hold)?;
        span
    } else {
        span
    };
    Ok(draw::draw(&Picture {
        ticket,
        story: &story,
        span,
        drawn: &curve.drawn(),
        hold,
        now,
        zone: &TimeZone::get(&plan.timezone).unwrap_or(TimeZone::UTC),
        zone_name: &plan.timezone,
        locale: if plan.locale == "zh-CN" { Locale::ZhCn } else { Locale::En },
    }))
}

/// What the journal still tells of it, the newest where there is much.
fn told(desk: &Desk, ticket: &Ticket) -> Result<Vec<Told>, Problem> {
    let mut told = VecDeque::new();
    let mut after = 0;
    loop {
        let events = desk.rooms.view.events_of(&ticket.id, after, CHUNK);
        let events = events.map_err(|error| Problem::of_store(&error, |seq| desk.cursor(seq)))?;
        let all = events.len() < CHUNK;
        for event in events {
            after = event.seq;
            told.extend(serde_json::from_str::<Told>(&event.json).ok());
        }
        while told.len() > TOLD_MAX {
            told.pop_front();
        }
        if all {
            return Ok(told.into());
        }
    }
}

/// How long a value of the ticket's point is believed without another one. What may keep silent holds until it speaks; what
/// only says what happens does not hold at all.
fn hold(site: &Site, ticket: &Ticket) -> Option<Millis> {
    let Some(id) = ticket.point.as_deref().and_then(|point| site.point_named(point)) else {
        return Some(HOLD_LEAST);
    };
    if site.momentary()[id.0 as usize] {
        return Some(0);
    }
    let slot = site.point(id).clean.slot?;
    Some(slot.saturating_mul(HOLD_SLOTS).max(HOLD_LEAST))
}

/// What the history still has of the point, and what the ticket has kept of it.
fn gather(desk: &Desk, ticket: &Ticket, span: Range<Millis>, hold: Option<Millis>) -> Result<Curve, Problem> {
    let mut curve = Curve::new(span.clone());
    let Some(point) = ticket.point.as_deref() else { return Ok(curve) };
    let problem = |error| Problem::of_store(&error, |seq| desk.cursor(seq));
    let readings = desk.rooms.view.readings().map_err(problem)?;
    // What held when the picture begins was read before.
    let from = span.start.saturating_sub(hold.unwrap_or(HOLD_LEAST).max(HOLD_LEAST));
    readings.all(point, from, span.end, |piece| curve.take(&piece)).map_err(problem)?;
    for Evidence(at, value) in &ticket.evidence {
        curve.add(*at, value.as_ref());
    }
    Ok(curve)
}
