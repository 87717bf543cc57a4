//! The table of a year: what was planted, what was found, how soon, and what was told for nothing.
//!
//! `cargo bench --bench year [-- SEED]`
#![allow(clippy::print_stdout)]

#[path = "../tests/year/mod.rs"]
mod year;

fn main() {
    let seed = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(1);
    println!("{}", year::trial::run(year::plant::Plant::new(seed, 60, 365)).table());
}
