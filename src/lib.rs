//! gatehouse, a gateway daemon for residential compounds.

// Reading order: nouns and tools first, then the way of a reading, then who puts it together.
pub mod backoff;
pub mod event;
pub mod live;
pub mod logging;
pub mod metrics;
pub mod reading;
pub mod secret;
pub mod ticket;
pub mod time;

pub mod field;
pub mod refine;
pub mod rules;
pub mod store;

pub mod intake;
pub mod sync;
pub mod web;

pub mod config;

pub mod app;

pub mod cli;
pub mod sim;
