//! The journal in memory, for as long as the card takes no writes.

/// Bytes, above which events give way.
pub const LIMIT: u64 = 12 << 20;
