//! What readings, happenings and orders amount to at doors and lockers: a table of sequences, and that neither another
//! configuration at any moment, nor a restart, nor the way in which they are cut into batches changes anything.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod compound;

use compound::{Compound, plan};
use gatehouse::access::Plan;
use gatehouse::numbers::Numbers;
use gatehouse::reading::{Reading, Value};
use proptest::prelude::*;

/// Each script begins with what is known: the first reading is a state and no event.
fn tell(polled: bool, cases: &[(&str, &str, &str)]) {
    for (name, script, expected) in cases {
        let mut compound = Compound::new(polled);
        compound.play(script);
        assert_eq!(compound.tale(), *expected, "{name}: {script}");
        let mut turned = Compound::new(polled);
        turned.play(&script.replace(';', "; 0 turn;"));
        assert_eq!(turned.tale(), *expected, "{name}, another configuration after each line: {script}");
    }
}

#[test]
fn a_door_whose_contact_speaks_by_itself() {
    tell(
        false,
        &[
            ("first reading open", "0 door open; 100 wait", "60 b3-entrance held"),
            (
                "grant, open, close",
                "0 door closed; 10 reader granted; 13 door open; 15 door closed; 100 wait",
                "10 b3-reader granted; 10 b3-entrance granted; 13 b3-entrance opened; 15 b3-entrance closed",
            ),
            (
                "open without grant",
                "0 door closed; 13 door open; 14 wait; 15 wait; 20 door closed",
                "13 b3-entrance opened; 13 b3-entrance forced; 20 b3-entrance closed",
            ),
            (
                "a grant that came too early",
                "0 door closed; 4.9 reader granted; 13 door open; 15 wait",
                "4.9 b3-reader granted; 4.9 b3-entrance granted; 13 b3-entrance opened; 13 b3-entrance forced",
            ),
            (
                "a grant told after the opening",
                "0 door closed; 13 door open; 14.9 reader granted; 30 wait",
                "13 b3-entrance opened; 14.9 b3-reader granted; 14.9 b3-entrance granted",
            ),
            (
                "a grant that came too late",
                "0 door closed; 13 door open; 15 reader granted; 30 wait",
                "13 b3-entrance opened; 13 b3-entrance forced; 15 b3-reader granted; 15 b3-entrance granted",
            ),
            (
                "a denied card lets nobody in, nor does one that is only read",
                "0 door closed; 12 reader denied; 12 reader card; 13 door open; 15 wait",
                "12 b3-reader denied; 12 b3-entrance denied; 12 b3-reader card; 12 b3-entrance card; \
                 13 b3-entrance opened; 13 b3-entrance forced",
            ),
            (
                "held, once",
                "0 door closed; 10 reader granted; 13 door open; 72.9 wait; 73 wait; 200 wait; 210 door closed",
                "10 b3-reader granted; 10 b3-entrance granted; 13 b3-entrance opened; 73 b3-entrance held; \
                 210 b3-entrance closed",
            ),
            (
                "a grant told late excuses the last opening only",
                "0 door closed; 10 door open; 10.3 door closed; 10.6 door open; 10.9 door closed; 11 reader granted; 20 wait",
                "10 b3-entrance opened; 10.3 b3-entrance closed; 10.6 b3-entrance opened; 10.9 b3-entrance closed; \
                 11 b3-reader granted; 11 b3-entrance granted; 10 b3-entrance forced",
            ),
            (
                "held is known from the closing too",
                "0 door closed; 12 reader granted; 13 door open; 74 door closed",
                "12 b3-reader granted; 12 b3-entrance granted; 13 b3-entrance opened; 73 b3-entrance held; \
                 74 b3-entrance closed",
            ),
            (
                "exit button",
                "0 door closed; 0 exit off; 12 exit on; 13 door open; 13.5 exit off; 20 wait",
                "12 b3-entrance exit; 13 b3-entrance opened",
            ),
            (
                "a button that is pressed as it is first read has not been pressed now",
                "0 door closed; 12 exit on; 13 door open; 15 wait",
                "13 b3-entrance opened; 13 b3-entrance forced",
            ),
            (
                "one press told by reading and by happening",
                "0 door closed; 0 exit off; 12 exit on; 12.1 gate exit exit-point; 13 door open; 20 wait",
                "12 b3-entrance exit; 12.1 gate exit; 13 b3-entrance opened",
            ),
            ("tamper", "0 door closed; 5 reader tamper", "5 b3-reader tamper; 5 b3-entrance tamper"),
            (
                "an order is as good as a grant, and one that failed is none",
                "0 door closed; 10 order door; 11 taken door; 18 door open; 30 door closed; \
                 40 order door; 41 failed door; 42 door open; 50 wait",
                "18 b3-entrance opened by order; 30 b3-entrance closed; 42 b3-entrance opened; 42 b3-entrance forced",
            ),
            (
                "an order is named at the opening that follows it, over a restart too, and at no later one",
                "0 door closed; 10 order door; 10.5 restart; 12 unsure door; 13 door open; 20 door closed; \
                 60 door open; 61 door closed; 100 order door; 101 taken door; 140 door open; 150 wait",
                "13 b3-entrance opened by order; 20 b3-entrance closed; 60 b3-entrance opened; 60 b3-entrance forced; \
                 61 b3-entrance closed; 140 b3-entrance opened; 140 b3-entrance forced",
            ),
            (
                "bad readings in between",
                "0 door closed; 10 reader granted; 13 door open; 20 door bad; 30 door open; 40 door closed",
                "10 b3-reader granted; 10 b3-entrance granted; 13 b3-entrance opened; 40 b3-entrance closed",
            ),
            (
                "while it cannot be read, no time counts against it; seen open again, it is held",
                "0 door closed; 12 reader granted; 13 door open; 20 door bad; 100 wait; 110 door open; 120 wait",
                "12 b3-reader granted; 12 b3-entrance granted; 13 b3-entrance opened; 110 b3-entrance held",
            ),
            (
                "an old message is no event, but says that it is still so",
                "0 door closed; 5 door retained open; 12 reader granted; 13 door open; 20 door bad; \
                 80 door retained closed; 90 door retained open; 95 wait",
                "12 b3-reader granted; 12 b3-entrance granted; 13 b3-entrance opened; 90 b3-entrance held",
            ),
            (
                "restart in between: the same opening",
                "0 door closed; 10 reader granted; 11 restart; 13 door open; 15 restart; 20 door open; 73 wait; \
                 75 restart; 80 wait; 90 door closed",
                "10 b3-reader granted; 10 b3-entrance granted; 13 b3-entrance opened; 73 b3-entrance held; \
                 90 b3-entrance closed",
            ),
            (
                "restart before it is judged",
                "0 door closed; 13 door open; 13.5 restart; 20 wait",
                "13 b3-entrance opened; 13 b3-entrance forced",
            ),
            (
                "what is told late is kept, and judges nothing",
                "0 door closed; 12 reader granted late; 13 door open; 20 wait",
                "12 b3-reader granted; 12 b3-entrance granted; 13 b3-entrance opened; 13 b3-entrance forced",
            ),
            (
                "a stepped clock takes nothing from what time was left",
                "0 door closed; 12 reader granted; 13 door open; 20 stepped 3600000; 3672 wait; 3673 wait",
                "12 b3-reader granted; 12 b3-entrance granted; 13 b3-entrance opened; 3673 b3-entrance held",
            ),
        ],
    );
}

#[test]
fn a_door_whose_contact_is_asked() {
    tell(
        true,
        &[
            (
                "opened between two questions, just within the window",
                "12 door closed; 5 reader granted; 13.5 door open; 20 wait",
                "5 b3-reader granted; 5 b3-entrance granted; 13.5 b3-entrance opened",
            ),
            (
                "known to have been closed when the window had passed",
                "5 reader granted; 13.1 door closed; 13.5 door open; 20 wait",
                "5 b3-reader granted; 5 b3-entrance granted; 13.5 b3-entrance opened; 13.5 b3-entrance forced",
            ),
            (
                "opened while nobody could look: who let it is not to be known",
                "0 door closed; 1 door bad; 600 door open; 700 door closed",
                "600 b3-entrance opened unwatched; 660 b3-entrance held; 700 b3-entrance closed",
            ),
            (
                "opened while the daemon was not there",
                "0 door closed; 10 restart; 20 wait; 30 door open; 40 door closed",
                "30 b3-entrance opened unwatched; 40 b3-entrance closed",
            ),
            (
                "one lost answer hides no break-in",
                "0 door closed; 1 door bad; 2 door open; 10 wait",
                "2 b3-entrance opened; 2 b3-entrance forced",
            ),
            (
                "after a restart it counts as held when it has been seen open again",
                "0 door closed; 1 reader granted; 2 door open; 10 restart; 100 wait; 101 door open",
                "1 b3-reader granted; 1 b3-entrance granted; 2 b3-entrance opened; 101 b3-entrance held",
            ),
            (
                "a standstill is as a restart",
                "0 door closed; 1 reader granted; 2 door open; 100 standstill; 100 wait; 101 door closed",
                "1 b3-reader granted; 1 b3-entrance granted; 2 b3-entrance opened; 101 b3-entrance closed",
            ),
        ],
    );
}

#[test]
fn a_controller_with_a_contact_of_its_own_is_told_once_a_door() {
    tell(
        false,
        &[
            (
                "an entry",
                "0 garage closed; 10 gate granted; 11 gate opened; 11 garage open; 15 gate closed; 15 garage closed",
                "10 gate granted; 10 garage granted; 11 gate opened; 11 garage opened; 15 gate closed; 15 garage closed",
            ),
            (
                "another door's grant",
                "0 garage closed; 10 gate granted 1; 11 garage open; 20 wait",
                "10 gate granted; 11 garage opened; 11 garage forced",
            ),
            (
                "its own judgement is the device's word, not the door's",
                "0 garage closed; 10 gate granted; 11 garage open; 12 gate forced; 13 gate held; 20 wait",
                "10 gate granted; 10 garage granted; 11 garage opened; 12 gate forced; 13 gate held",
            ),
        ],
    );
    let mut without_grants = plan();
    without_grants.doors[1].grants.clear();
    let mut compound = Compound::with(false, without_grants);
    compound.play("0 garage closed; 11 garage open; 12 gate forced; 30 wait");
    assert_eq!(
        compound.tale(),
        "11 garage opened; 12 gate forced; 12 garage forced",
        "where nobody knows of grants here, the controller's judgement is the door's"
    );
}

#[test]
fn an_event_says_who_and_where_and_nothing_more() {
    let mut compound = Compound::new(false);
    compound.play("0 door closed; 10 reader granted; 13 door open");
    let data: Vec<String> = compound.told.iter().map(|told| told.data.to_string()).collect();
    let card = "c-9ba7f0a8f4bbd3ff".len();
    let who = compound.told[0].data["card"].as_str().unwrap().to_owned();
    assert_eq!(who.len(), card);
    assert!(who.starts_with("c-") && !data.concat().contains("6154410"));
    let expected = [
        format!(r#"{{"card":"{who}","door":"b3-entrance","reader":"b3-reader"}}"#),
        format!(r#"{{"card":"{who}","door":"b3-entrance","reader":"b3-reader"}}"#),
        r#"{"door":"b3-entrance","point":"b3-door.door"}"#.to_owned(),
    ];
    for (told, expected) in data.iter().zip(&expected) {
        let as_json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(as_json(told), as_json(expected));
    }
    assert_eq!(data.len(), expected.len());
}

#[test]
fn what_was_due_at_several_doors_is_told_in_the_order_of_its_time() {
    for script in [
        "0 garage open; 0 door closed; 0.1 door open; 61 wait",
        "0 garage open; 0 door closed; 0.1 door open; 60 wait; 61 wait",
    ] {
        let mut compound = Compound::new(false);
        compound.play(script);
        assert_eq!(
            compound.tale(),
            "0.1 b3-entrance opened; 0.1 b3-entrance forced; 60 garage held; 60.1 b3-entrance held",
            "{script}"
        );
    }
}

#[test]
fn a_locker_opens_by_order_jams_is_held_and_keeps_parcels() {
    tell(
        true,
        &[
            (
                "ordered, opened, closed",
                "0 cell-1 closed; 10 order cell-1; 10.1 taken cell-1; 11 cell-1 open; 20 cell-1 closed; 30 wait",
                "11 bank-1.1 opened by order; 20 bank-1.1 closed",
            ),
            (
                "an acknowledgement is no opening",
                "0 cell-1 closed; 10 order cell-1; 10.1 taken cell-1; 11 cell-1 closed; 15 cell-1 closed; 15.1 wait; \
                 30 cell-1 closed",
                "15.1 bank-1.1 jammed by order",
            ),
            (
                "jammed, and pulled open within a minute: its order's doing; later it is not",
                "0 cell-1 closed; 10 order cell-1; 10.1 taken cell-1; 11 cell-1 closed; 30 cell-1 open; 31 cell-1 closed; \
                 200 order cell-1; 200.1 taken cell-1; 201 cell-1 closed; 300 cell-1 open",
                "15.1 bank-1.1 jammed by order; 30 bank-1.1 opened by order; 31 bank-1.1 closed; \
                 205.1 bank-1.1 jammed by order; 300 bank-1.1 opened; 300 bank-1.1 unexpected",
            ),
            (
                "not read in time, it is jammed when it is read",
                "0 cell-1 closed; 10 order cell-1; 10.1 taken cell-1; 11 cell-1 bad; 30 wait; 40 cell-1 closed",
                "40 bank-1.1 jammed by order",
            ),
            (
                "an order that failed, or of which nothing is known, jams nothing",
                "0 cell-1 closed; 10 order cell-1; 11 failed cell-1; 30 cell-1 closed; \
                 40 order cell-1; 41 unsure cell-1; 50 cell-1 closed; 60 wait",
                "",
            ),
            (
                "the wire takes its time: the cell's begins when it has taken the order",
                "0 cell-1 closed; 10 order cell-1; 20 cell-1 closed; 25 taken cell-1; 29 cell-1 open",
                "29 bank-1.1 opened by order",
            ),
            (
                "without an order",
                "0 cell-1 closed; 0 cell-2 closed; 10 order cell-1; 10 taken cell-1; 11 cell-2 open; 12 cell-1 open",
                "11 bank-1.2 opened; 11 bank-1.2 unexpected; 12 bank-1.1 opened by order",
            ),
            (
                "an order of long ago",
                "0 cell-1 closed; 10 order cell-1; 10 taken cell-1; 11 cell-1 open; 12 cell-1 closed; 29 cell-1 closed; \
                 30 cell-1 open",
                "11 bank-1.1 opened by order; 12 bank-1.1 closed; 30 bank-1.1 opened; 30 bank-1.1 unexpected",
            ),
            (
                "open already: nothing jams",
                "0 cell-1 open; 10 order cell-1; 10 taken cell-1; 12 cell-1 open; 20 wait",
                "",
            ),
            (
                "not closed in time",
                "0 cell-1 closed; 10 order cell-1; 10 taken cell-1; 11 cell-1 open; 311 wait; 400 cell-1 open; \
                 401 cell-1 closed",
                "11 bank-1.1 opened by order; 311 bank-1.1 held; 401 bank-1.1 closed",
            ),
            (
                "a parcel in, overdue, and out",
                "0 item-1 absent; 10 item-1 present; 3610 wait; 4000 item-1 present; 5000 item-1 absent",
                "10 bank-1.1 deposited; 3610 bank-1.1 overdue; 5000 bank-1.1 collected",
            ),
            (
                "restart between order and opening: what became of it is not known, but it was ordered",
                "0 cell-1 closed; 10 order cell-1; 10.5 restart; 12 unsure cell-1; 13 cell-1 open",
                "13 bank-1.1 opened by order",
            ),
            (
                "an order of which a restart knows no end explains what comes at once, and nothing later",
                "0 cell-1 closed; 10 order cell-1; 10.5 restart; 13 cell-1 open; 14 cell-1 closed; 39 cell-1 closed; \
                 40 cell-1 open",
                "13 bank-1.1 opened by order; 14 bank-1.1 closed; 40 bank-1.1 opened; 40 bank-1.1 unexpected",
            ),
            (
                "the clock is stepped while an order is under way",
                "0 cell-1 closed; 10 order cell-1; 10.1 stepped 3600000; 3610.2 taken cell-1; 3611 cell-1 open; \
                 3612 cell-1 closed; 3639 cell-1 closed; 3640 cell-1 open",
                "3611 bank-1.1 opened by order; 3612 bank-1.1 closed; 3640 bank-1.1 opened; 3640 bank-1.1 unexpected",
            ),
            (
                "a parcel lies on over a restart",
                "0 item-2 absent; 10 item-2 present; 1000 restart; 3700 wait; 3701 item-2 present; 3800 item-2 present",
                "10 bank-1.2 deposited; 3701 bank-1.2 overdue",
            ),
        ],
    );
}

#[test]
fn where_another_system_opens_the_cells_no_opening_is_unexpected() {
    let mut other = plan();
    other.banks[0].unexpected = false;
    let mut compound = Compound::with(true, other);
    compound.play("0 cell-1 closed; 11 cell-1 open");
    assert_eq!(compound.tale(), "11 bank-1.1 opened");
}

#[test]
fn what_stands_on_another_point_under_the_same_name_is_known_as_after_a_restart() {
    let mut compound = Compound::new(false);
    compound.play("0 door closed; 10 reader granted; 13 door open");
    let (site, plan) = (compound::site(false), plan());
    let mut numbers = Numbers::between(&site, &site);
    numbers.keep_points(|point, _| point != compound::CONTACT);
    let (watch, gone) = compound.watch.taken_over(plan.clone(), &site, &numbers);
    assert_eq!(gone, Vec::<String>::new());
    let at = |seconds: i64| seconds * 1000;
    let mut watch = watch;
    let open = Reading::good(compound::CONTACT, at(20), Value::Text("open".into()));
    watch.reading(&open);
    assert_eq!(watch.take().len(), 0, "it is known to be open, and the first reading is no event");

    // One that leaves takes what is known of it along.
    let banks = plan.banks.clone();
    let (mut without, gone) = watch.taken_over(
        Plan { doors: plan.doors[1..].to_vec(), banks },
        &site,
        &Numbers::between(&site, &site),
    );
    assert_eq!(gone, ["doors/b3-entrance"]);
    without.advance(at(1000));
    assert_eq!(without.take().len(), 0, "a door that is gone is held by nobody");
    let (mut again, gone) = without.taken_over(plan, &site, &Numbers::between(&site, &site));
    assert_eq!(gone, Vec::<String>::new());
    again.reading(&Reading { at: at(1001), ..open });
    assert_eq!(again.take().len(), 0, "what came again is seen for the first time");
}

#[test]
fn it_says_when_it_wants_to_be_told_the_time() {
    let mut compound = Compound::new(false);
    compound.play("0 door closed; 13 door open; 13 wait");
    assert_eq!(compound.next_due(), Some(15_000), "the judgement");
    compound.play("15 wait");
    assert_eq!(compound.next_due(), Some(73_000), "held");
    compound.play("74 door closed; 75 wait");
    assert_eq!(compound.next_due(), None);
}

/// Something that can happen, by its number.
fn line(at: u32, what: usize) -> String {
    const WHAT: [&str; 20] = [
        "door open",
        "door closed",
        "door bad",
        "door retained open",
        "exit on",
        "exit off",
        "reader granted",
        "reader denied",
        "gate granted",
        "gate forced",
        "garage open",
        "garage closed",
        "cell-1 open",
        "cell-1 closed",
        "cell-1 bad",
        "order cell-1",
        "taken cell-1",
        "item-1 present",
        "item-1 absent",
        "order door",
    ];
    format!("{} {}", f64::from(at) / 10.0, WHAT[what % WHAT.len()])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn batches_and_rounds_change_nothing(
        steps in prop::collection::vec((0u32..200, 0usize..20), 1..80),
        rounds in prop::collection::vec(any::<bool>(), 80),
        polled: bool,
    ) {
        let mut at = 0;
        let lines: Vec<(u32, String)> = steps
            .iter()
            .map(|(gap, what)| { at += gap; (at, line(at, *what)) })
            .collect();
        let end = format!("{} wait", f64::from(at) / 10.0 + 5000.0);
        let mut whole = Compound::new(polled);
        lines.iter().for_each(|(_, line)| whole.step(line));
        whole.step(&end);
        let mut cut = Compound::new(polled);
        for ((at, line), round) in lines.iter().zip(rounds) {
            if round {
                // Time passes up to the input, as it does while a wire is silent.
                (1..=4).for_each(|n| cut.step(&format!("{} wait", f64::from(at.saturating_sub(4 - n)) / 10.0)));
            }
            cut.step(line);
        }
        cut.step(&end);
        prop_assert_eq!(whole.tale(), cut.tale());
    }

    #[test]
    fn openings_and_closings_alternate_and_forced_and_held_come_at_most_once_an_opening(
        steps in prop::collection::vec((0u32..200, 0usize..20), 1..80),
        restarts in prop::collection::vec(0usize..12, 80),
        polled: bool,
    ) {
        let mut compound = Compound::new(polled);
        let mut at = 0;
        for ((gap, what), restart) in steps.iter().zip(restarts) {
            at += gap;
            compound.step(&line(at, *what));
            if restart == 0 {
                compound.step(&format!("{} restart", f64::from(at) / 10.0));
            }
        }
        for subject in ["doors/b3-entrance", "doors/garage", "devices/bank-1"] {
            let mut open = None;
            let (mut forced, mut held) = (0, 0);
            for told in compound.told.iter().filter(|told| told.subject == subject) {
                match told.word {
                    "opened" => {
                        prop_assert_ne!(open, Some(true), "{}", compound.tale());
                        (open, forced, held) = (Some(true), 0, 0);
                    }
                    "closed" => {
                        prop_assert_ne!(open, Some(false), "{}", compound.tale());
                        open = Some(false);
                        held = 0;
                    }
                    "forced" => forced += 1,
                    "held" => held += 1,
                    _ => {}
                }
                prop_assert!(forced <= 1 && held <= 1, "{}", compound.tale());
            }
        }
    }
}
