//! What is planted is found, and what is true is let through.

use proptest::prelude::*;

use super::*;
use crate::reading::{Clean, Device, DeviceId, Millis, PointId, Site, Value};

const SPIKE: Clean = Clean { rate: None, spike: true, stuck: None, fill: None, slot: None };

fn site(cleans: &[Clean]) -> Site {
    let range = Some((0.0, 1600.0));
    let point = |clean: &Clean| Point {
        id: "pump-1.pressure".into(),
        device: DeviceId(0),
        unit: Some("kPa".into()),
        range,
        deadband: 0.5,
        clean: *clean,
    };
    let device = Device { points: cleans.len() as u32, ..Device::polled("pump-1", "plant") };
    Site { devices: vec![device], points: cleans.iter().map(point).collect(), ..Site::default() }
}

/// One reading every `step`; what becomes of each: its reason, or nothing.
fn judged(clean: Clean, step: Millis, numbers: &[f64]) -> Vec<Option<Reason>> {
    let site = site(&[clean]);
    let mut cleaner = Cleaner::new(&site);
    let readings = numbers.iter().zip(0..).map(|(number, n)| {
        let mut reading = Reading::good(PointId(0), n * step, Value::Number(*number));
        cleaner.clean(&mut reading, site.point(PointId(0)));
        let held_back = reading.quality == Quality::Bad;
        assert_eq!(reading.value.is_none(), held_back, "no number is made up, and none is hidden");
        assert_eq!(reading.raw, held_back.then_some(Value::Number(*number)), "what was said is kept");
        reading.reason
    });
    readings.collect()
}

/// About 300, by one or two.
fn steady(count: usize) -> Vec<f64> {
    let wave = [0.0, 1.5, -0.5, 2.0, -1.0, 0.5, -2.0, 1.0];
    (0..count).map(|n| 300.0 + wave[n % wave.len()]).collect()
}

/// The numbers of those that were held back, or doubted.
fn doubted(reasons: &[Option<Reason>]) -> Vec<(usize, Reason)> {
    reasons.iter().enumerate().filter_map(|(n, reason)| Some((n, (*reason)?))).collect()
}

#[test]
fn a_lone_number_far_off_is_a_spike() {
    let mut numbers = steady(40);
    (numbers[20], numbers[30]) = (900.0, 0.0);
    let expected = [(20, Reason::Spike), (30, Reason::Spike)];
    assert_eq!(doubted(&judged(SPIKE, 1000, &numbers)), expected);
}

#[test]
fn a_step_is_believed_one_reading_later_and_no_reading_of_it_is_held_back_after() {
    let numbers = [steady(20), vec![80.0; 20]].concat();
    assert_eq!(doubted(&judged(SPIKE, 1000, &numbers)), [(20, Reason::Spike)]);
}

#[test]
fn a_burst_pipe_that_falls_and_falls_is_believed_one_reading_later() {
    let numbers = [steady(20), vec![240.0, 170.0, 120.0, 90.0, 75.0, 70.0, 69.0, 68.0, 68.0, 67.0]].concat();
    assert_eq!(doubted(&judged(SPIKE, 1000, &numbers)), [(20, Reason::Spike)]);
}

#[test]
fn a_spike_right_after_a_step_is_found_too() {
    for after in 0..8 {
        for spike in [900.0, 0.0] {
            let mut numbers = [steady(20), vec![80.0, 81.0], vec![80.5; 18]].concat();
            numbers[22 + after] = spike;
            let found = doubted(&judged(SPIKE, 1000, &numbers));
            assert_eq!(
                found,
                [(20, Reason::Spike), (22 + after, Reason::Spike)],
                "{spike}, {after} after it"
            );
        }
    }
    // A spike on the step itself is no way that leads on.
    let numbers = [steady(20), vec![900.0, 500.0, 100.0, 500.0]].concat();
    assert_eq!(doubted(&judged(SPIKE, 1000, &numbers)), [(20, Reason::Spike), (22, Reason::Spike)]);
}

#[test]
fn a_second_step_right_after_the_first_is_believed_one_reading_later_too() {
    for after in 0..8 {
        for level in [300.0, 700.0] {
            let numbers = [steady(20), vec![80.0; 2 + after], vec![level; 10]].concat();
            let found = doubted(&judged(SPIKE, 1000, &numbers));
            assert_eq!(
                found,
                [(20, Reason::Spike), (22 + after, Reason::Spike)],
                "{level}, {after} after it"
            );
        }
    }
}

#[test]
fn what_is_wild_after_a_step_is_let_through_once_it_has_stepped_twice() {
    // A pump that starts: still when it was off, and not any more.
    let wild = [80.0, 240.0, 150.0, 60.0, 200.0, 120.0, 230.0, 90.0, 180.0, 70.0, 210.0, 140.0];
    let numbers = [vec![0.0; 20], wild.repeat(10)].concat();
    let held_back = doubted(&judged(SPIKE, 1000, &numbers)).len();
    assert!(held_back <= 5, "{held_back} of 120");
}

#[test]
fn after_a_long_silence_nothing_is_judged_by_what_was_before_it() {
    let site = site(&[SPIKE]);
    let mut cleaner = Cleaner::new(&site);
    let early = steady(20).into_iter().zip(0..).map(|(number, n)| (n * 1000, number));
    let late = (0..20).map(|n| (600_000 + n * 1000, 80.0));
    for (at, number) in early.chain(late) {
        let mut reading = Reading::good(PointId(0), at, Value::Number(number));
        cleaner.clean(&mut reading, site.point(PointId(0)));
        assert_eq!(reading.reason, None, "at {at}");
    }
}

#[test]
fn two_spikes_to_different_sides_are_two_spikes_and_a_third_in_a_row_is_believed() {
    let numbers = [steady(20), vec![900.0, 0.0], steady(5)].concat();
    assert_eq!(doubted(&judged(SPIKE, 1000, &numbers)), [(20, Reason::Spike), (21, Reason::Spike)]);
    let wild = [steady(20), vec![900.0, 0.0, 900.0]].concat();
    assert_eq!(doubted(&judged(SPIKE, 1000, &wild)), [(20, Reason::Spike), (21, Reason::Spike)]);
}

#[test]
fn the_first_readings_are_believed_as_they_come_and_so_are_those_after_a_long_silence() {
    let numbers = [300.0, 900.0, 300.0, 301.0, 299.0];
    assert_eq!(doubted(&judged(SPIKE, 1000, &numbers)), []);
    let site = site(&[SPIKE]);
    let mut cleaner = Cleaner::new(&site);
    let mut say = |at, number| {
        let mut reading = Reading::good(PointId(0), at, Value::Number(number));
        cleaner.clean(&mut reading, site.point(PointId(0)));
        reading.reason
    };
    for (n, number) in (0..).zip(steady(20)) {
        say(n * 1000, number);
    }
    assert_eq!(say(20_000, 80.0), Some(Reason::Spike), "fifteen readings span 14 s");
    assert_eq!(say(600_000, 900.0), None, "and say nothing ten minutes later");
}

#[test]
fn what_comes_faster_than_it_can_is_held_back_and_believed_when_it_stays() {
    let clean = Clean { rate: Some(0.5), spike: false, ..SPIKE };
    // 60 s apart: 30 are possible.
    let lone = judged(clean, 60_000, &[300.0, 329.0, 360.0, 330.0, 310.0]);
    assert_eq!(doubted(&lone), [(2, Reason::TooFast)]);
    let step = judged(clean, 60_000, &[300.0, 299.0, 200.0, 199.0, 200.0]);
    assert_eq!(doubted(&step), [(2, Reason::TooFast)]);
}

#[test]
fn answers_that_come_together_are_not_too_fast_for_it() {
    let clean = Clean { rate: Some(2.0), spike: false, ..SPIKE };
    assert_eq!(doubted(&judged(clean, 5, &[300.0, 301.5, 300.0, 301.9])), []);
}

#[test]
fn a_number_that_does_not_change_for_long_enough_is_doubted_until_it_does() {
    let clean = Clean { stuck: Some(10_000), spike: false, ..SPIKE };
    let mut numbers = vec![300.0; 14];
    numbers.push(301.0);
    let expected: Vec<(usize, Reason)> = (10..14).map(|n| (n, Reason::Stuck)).collect();
    assert_eq!(doubted(&judged(clean, 1000, &numbers)), expected);
    assert_eq!(doubted(&judged(clean, 6000, &numbers)), [], "in a silence of 6 s it may have changed");
}

#[test]
fn noise_is_let_through_and_planted_spikes_are_found() {
    let mut state: u64 = 1;
    let mut chance = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(1_u32 << 31)
    };
    // Twelve of them are as good as normal.
    let mut noise = || (0..12).map(|_| chance()).sum::<f64>() - 6.0;
    // Deviations of 10, which is more than what is let through anyway.
    let numbers: Vec<f64> =
        (0..2000).map(|n| 800.0 + if n % 100 == 50 { 400.0 } else { 10.0 * noise() }).collect();
    let held_back = doubted(&judged(SPIKE, 1000, &numbers));
    let (planted, wrong): (Vec<usize>, Vec<usize>) =
        held_back.iter().map(|(n, _)| *n).partition(|n| n % 100 == 50);
    assert_eq!(planted.len(), 20);
    assert!(wrong.len() <= 20, "{} of 1980 true ones were held back", wrong.len());
}

#[test]
fn nothing_is_judged_where_the_point_says_nothing() {
    let numbers = [steady(20), vec![1600.0, 0.0], vec![300.0; 50]].concat();
    assert_eq!(doubted(&judged(Clean::default(), 3_600_000, &numbers)), []);
}

#[test]
fn a_point_with_a_unit_or_a_range_says_numbers_within_it_or_nothing() {
    let point = |unit: Option<&str>, range| Point {
        id: "a.p".into(),
        device: DeviceId(0),
        unit: unit.map(Into::into),
        range,
        deadband: 0.0,
        clean: Clean::default(),
    };
    let (text, number) = (|t: &str| Value::Text(t.into()), Value::Number);
    let range = Some((0.0, 100.0));
    let cases = [
        (number(100.0), point(None, range), None),
        (number(100.1), point(None, range), Some(Reason::OutOfRange)),
        (text("1,5"), point(None, range), Some(Reason::Unreadable)),
        (text("5 kPa"), point(Some("kPa"), None), Some(Reason::Unreadable)),
        (Value::Bool(true), point(Some("kPa"), None), Some(Reason::Unreadable)),
        (text("open"), point(None, None), None),
    ];
    for (value, point, reason) in cases {
        let mut reading = Reading::good(PointId(0), 1, value.clone());
        refine(&mut reading, &point);
        assert_eq!(reading.reason, reason, "{value:?} of {point:?}");
        assert_eq!(reading.value.is_none(), reason.is_some());
        assert_eq!(reading.raw, reason.map(|_| value), "what was said is kept where it is not believed");
    }
}

/// Of three points, each with cleaning of its own: what each reading became, by point.
fn by_point(told: &[(u32, Millis, f64)]) -> [Vec<Reading>; 3] {
    let rate = Clean { rate: Some(5.0), ..SPIKE };
    let stuck = Clean { stuck: Some(5000), ..SPIKE };
    let site = site(&[SPIKE, rate, stuck]);
    let mut cleaner = Cleaner::new(&site);
    let mut became = [vec![], vec![], vec![]];
    for (point, at, number) in told {
        let mut reading = Reading::good(PointId(*point), *at, Value::Number(*number));
        cleaner.clean(&mut reading, site.point(PointId(*point)));
        became[*point as usize].push(reading);
    }
    became
}

proptest! {
    /// A batch is nothing but what stands next to each other: where readings of different points are told in another
    /// order, each point's become the same; and two in a row are held back at the most.
    #[test]
    fn what_becomes_of_a_reading_hangs_on_those_of_its_own_point_alone(
        told in prop::collection::vec((0u32..3, prop_oneof![Just(300.0), 295.0..305.0, 0.0..1600.0]), 0..200),
    ) {
        let told: Vec<(u32, Millis, f64)> =
            told.into_iter().zip(0..).map(|((point, number), n)| (point, n * 700, number)).collect();
        let mut sorted = told.clone();
        sorted.sort_by_key(|(point, ..)| *point);
        let became = by_point(&told);
        prop_assert_eq!(&became, &by_point(&sorted));
        for readings in became {
            prop_assert!(!readings.windows(3).any(|w| w.iter().all(|r| r.quality == Quality::Bad)));
        }
    }
}
