//! A time as people say it on the command line: a span back, or an instant.

use jiff::{Span, SpanRelativeTo};

use crate::reading::Millis;
use crate::time;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Ago(Millis),
    At(Millis),
}

impl Moment {
    pub fn before(self, now: Millis) -> Millis {
        match self {
            Moment::Ago(span) => now.saturating_sub(span),
            Moment::At(at) => at,
        }
    }
}

pub fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(at) = time::parse(text) {
        return Ok(Moment::At(at));
    }
    let span = text.parse::<Span>().and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
    match span {
        Ok(span) if !span.is_negative() => {
            Ok(Moment::Ago(span.as_millis().try_into().unwrap_or(Millis::MAX)))
        }
        _ => Err(format!("`{text}` is no time; say 7d, 12h or 2026-11-21T08:00:00Z")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_span_back_or_an_instant() {
        assert_eq!(moment("7d"), Ok(Moment::Ago(7 * 86_400_000)));
        assert_eq!(moment("1h 30m"), Ok(Moment::Ago(5_400_000)));
        assert_eq!(moment("1970-01-01T08:00:01+08:00"), Ok(Moment::At(1000)));
        for wrong in ["7", "-1h", "yesterday", ""] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
