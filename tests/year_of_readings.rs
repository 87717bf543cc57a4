//! Over forty days of a compound whose wires are poor, what was planted is found, ahead of time where it wears, and hardly
//! anything else is told. The table over a whole year: `cargo bench --bench year`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod year;

use year::plant::{Kind, Plant};
use year::trial::run;

#[test]
fn what_is_planted_is_found_in_time_and_little_else_is_told() {
    let report = run(Plant::new(7, 12, 45));
    let table = report.table();
    println!("{table}");
    assert!(report.kinds.len() == 6 && report.kinds.contains_key(&Kind::Wear), "{table}");
    for (kind, found) in &report.kinds {
        assert_eq!(found.found, found.planted, "{kind:?}\n{table}");
    }
    assert!(report.wrong_a_month() < 0.1, "{table}");
    assert!(report.in_time() >= 0.8, "{table}");
    assert!(report.before < 0.75 && report.after > 0.92, "{table}");
}

#[test]
fn the_same_seed_tells_the_same() {
    let told = |seed| {
        let report = run(Plant::new(seed, 6, 20));
        (report.leads, report.wrong, format!("{:?}", report.kinds), report.before)
    };
    assert_eq!(told(3), told(3));
}
