//! Decide, then do: what an answer of the centre means for the batch. Pure; the contract's table is the test below.

use std::time::Duration;

use crate::reading::Millis;

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Answered {
        status: u16,
        body: Body,
        retry_after: Option<Duration>,
    },
    /// No answer, or only half of one.
    Broken,
    /// The line was there, and yet no answer, or only half of one, within the time that a request has.
    Late,
}

/// What kind of body an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    Empty,
    Json,
    /// A page, a plain text, JSON that breaks off, or more than [`BODY_BYTES_MAX`].
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The batch is acknowledged.
    Settle,
    /// Again soon, with growing pauses, or when the centre says so.
    Again { after: Option<Duration> },
    /// The centre is misconfigured: again slowly.
    Slowly,
    /// One of these is not liked: the same with the first half.
    Halve,
    /// This one is not liked.
    SetAside,
}

/// Bytes of an answer that are read; the centre's word on a thousand tickets fits.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// A centre that asks for more is asked again sooner.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// What is to be done with a batch of so many events.
pub fn decide(outcome: &Outcome, batch: usize) -> Decision {
    let Outcome::Answered { status, body, retry_after } = outcome else {
        return Decision::Again { after: None };
    };
    match (status, body) {
        // A captive portal says 200, too, with a page to log in.
        (200..=299, Body::Other) => Decision::Slowly,
        (200..=299, Body::Empty | Body::Json) => Decision::Settle,
        (408 | 425 | 429 | 500..=599, _) => Decision::Again { after: *retry_after },
        (400 | 409 | 413 | 422, _) if batch > 1 => Decision::Halve,
        (400 | 409 | 413 | 422, _) => Decision::SetAside,
        // Redirects, an expired token, a wrong path, and whatever nobody has thought of.
        _ => Decision::Slowly,
    }
}

pub fn body_kind(content_type: Option<&str>, body: &[u8]) -> Body {
    if body.len() > BODY_BYTES_MAX {
        return Body::Other;
    }
    if body.trim_ascii().is_empty() {
        return Body::Empty;
    }
    let page =
        content_type.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/html"));
    let json = || serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    if !page && json() { Body::Json } else { Body::Other }
}

/// `Retry-After` in seconds or as a date, at most an hour; `None` where it makes no sense.
pub fn retry_after(text: &str, now: Millis) -> Option<Duration> {
    let text = text.trim();
    let asked = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let wait = http_date(text)?.saturating_sub(now);
            Duration::from_millis(wait.max(0).cast_unsigned())
        }
    };
    Some(asked.min(RETRY_AFTER_MAX))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
pub fn http_date(text: &str) -> Option<Millis> {
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(date.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: usize = 8;

    /// Status, body, batch, and what is to be done: every row of the contract's table.
    const TABLE: &[(u16, Body, usize, Decision)] = &[
        (200, Body::Empty, MANY, Decision::Settle),
        (200, Body::Json, MANY, Decision::Settle),
        (202, Body::Json, 1, Decision::Settle),
        (204, Body::Empty, MANY, Decision::Settle),
        (200, Body::Other, MANY, Decision::Slowly),
        (299, Body::Other, 1, Decision::Slowly),
        (301, Body::Empty, MANY, Decision::Slowly),
        (302, Body::Other, MANY, Decision::Slowly),
        (304, Body::Empty, MANY, Decision::Slowly),
        (307, Body::Json, MANY, Decision::Slowly),
        (401, Body::Json, MANY, Decision::Slowly),
        (402, Body::Json, MANY, Decision::Slowly),
        (403, Body::Empty, MANY, Decision::Slowly),
        (404, Body::Other, 1, Decision::Slowly),
        (405, Body::Empty, MANY, Decision::Slowly),
        (410, Body::Empty, MANY, Decision::Slowly),
        (418, Body::Json, 1, Decision::Slowly),
        (511, Body::Other, MANY, Decision::Again { after: None }),
        (408, Body::Empty, MANY, Decision::Again { after: None }),
        (425, Body::Empty, MANY, Decision::Again { after: None }),
        (429, Body::Json, MANY, Decision::Again { after: None }),
        (500, Body::Other, MANY, Decision::Again { after: None }),
        (503, Body::Empty, 1, Decision::Again { after: None }),
        (599, Body::Empty, MANY, Decision::Again { after: None }),
        (400, Body::Json, MANY, Decision::Halve),
        (409, Body::Empty, MANY, Decision::Halve),
        (413, Body::Other, 2, Decision::Halve),
        (422, Body::Json, MANY, Decision::Halve),
        (400, Body::Json, 1, Decision::SetAside),
        (409, Body::Empty, 1, Decision::SetAside),
        (413, Body::Other, 1, Decision::SetAside),
        (422, Body::Json, 1, Decision::SetAside),
        (0, Body::Empty, MANY, Decision::Slowly),
        (999, Body::Json, MANY, Decision::Slowly),
    ];

    #[test]
    fn every_answer_has_the_meaning_that_the_contract_gives_it() {
        for (status, body, batch, meaning) in TABLE {
            let outcome = Outcome::Answered { status: *status, body: *body, retry_after: None };
            assert_eq!(decide(&outcome, *batch), *meaning, "{status} with {body:?}, {batch} events");
        }
        for batch in [1, MANY] {
            for nothing in [Outcome::Broken, Outcome::Late] {
                assert_eq!(decide(&nothing, batch), Decision::Again { after: None });
            }
        }
    }

    #[test]
    fn the_centre_says_when_to_come_again_and_only_where_again_makes_sense() {
        let answer = |status| Outcome::Answered {
            status,
            body: Body::Empty,
            retry_after: Some(Duration::from_secs(7)),
        };
        for status in [408, 425, 429, 503] {
            let after = Some(Duration::from_secs(7));
            assert_eq!(decide(&answer(status), MANY), Decision::Again { after });
        }
        assert_eq!(decide(&answer(401), MANY), Decision::Slowly);
        assert_eq!(decide(&answer(200), MANY), Decision::Settle);
    }

    #[test]
    fn a_body_is_what_its_bytes_are_unless_it_says_that_it_is_a_page() {
        assert_eq!(body_kind(None, b""), Body::Empty);
        assert_eq!(body_kind(Some("text/html"), b" \r\n"), Body::Empty);
        assert_eq!(body_kind(Some("application/json"), b"{\"tickets\":[]}"), Body::Json);
        assert_eq!(body_kind(Some("text/plain"), b"null"), Body::Json);
        assert_eq!(body_kind(Some("application/json"), b"{\"tickets\":["), Body::Other);
        assert_eq!(body_kind(Some("application/json"), b"<html>log in</html>"), Body::Other);
        assert_eq!(body_kind(Some("Text/HTML; charset=utf-8"), b"1"), Body::Other);
        assert_eq!(body_kind(None, b"OK"), Body::Other);
        let long = format!("\"{}\"", "x".repeat(BODY_BYTES_MAX));
        assert_eq!(body_kind(None, long.as_bytes()), Body::Other);
        assert_eq!(body_kind(None, &vec![b' '; BODY_BYTES_MAX + 1]), Body::Other);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_at_most_an_hour() {
        let now = 1_445_412_450_000; // 2015-10-21 07:27:30
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("99999999", now), Some(Duration::from_secs(3600)));
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-1", now), None);
    }
}
