//! A year of a compound's readings with planted faults, seeded, and what cleaning and rules make of it.
//!
//! `plant` says what is installed, what its sensors read and what breaks when; `trial` drives cleaning and rules over it and
//! counts. Shared by `benches/year.rs` (the table) and `tests/year_of_readings.rs` (the aims, over a shorter time).
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod plant;
pub mod trial;
