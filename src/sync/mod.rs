//! Outbox → centre. `plan` decides (pure), `carry` does (HTTP).

use std::sync::Arc;

use crate::event::Kinds;
use crate::secret::Secret;

/// One centre that events are pushed to.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Also the consumer's name.
    pub name: Arc<str>,
    pub url: String,
    pub token: Option<Secret>,
    /// Events a request at the most.
    pub batch: usize,
    pub kinds: Kinds,
}

pub const BATCH_DEFAULT: usize = 500;
