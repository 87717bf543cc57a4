//! The table of a year: what was planted, what was found, how soon, and what was told for nothing.
//!
//! `cargo bench --bench year [-- SEED…]`: one table for each seed, and one of all.
#![allow(clippy::print_stdout)]

#[path = "../tests/year/mod.rs"]
mod year;

use year::plant::Plant;
use year::trial::{run, summary};

fn main() {
    let mut seeds: Vec<u64> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    if seeds.is_empty() {
        seeds.push(1);
    }
    let mut reports = Vec::new();
    for seed in seeds {
        let report = run(Plant::new(seed, 60, 365));
        println!("Seed {seed}\n\n{}", report.table());
        reports.push((seed, report));
    }
    println!("{}", summary(&reports));
}
