//! `schedule`: the occasions of a cron line in the gateway's timezone.

use std::sync::Arc;

/// A cron line.
#[derive(Debug, Clone, PartialEq)]
pub struct Occasions {
    pub text: Arc<str>,
    pub zone: Arc<str>,
}

impl Occasions {
    /// `zone`: a name like `Asia/Shanghai`. The error says what is wrong with the line.
    pub fn parse(text: &str, zone: &str) -> Result<Self, String> {
        Ok(Self { text: text.into(), zone: zone.into() })
    }
}
