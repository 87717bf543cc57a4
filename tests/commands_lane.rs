//! What the command lane promises: written down before the wire is told and again after, the same key once, nothing
//! done twice over a restart, and no flood of refusals.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod compound;

use std::path::Path;
use std::time::Duration;

use compound::CELL_1;
use compound::bench::{Bench, kinds, order};
use gatehouse::order::{Deed, Outcome, Refused};
use gatehouse::time;
use rusqlite::Connection;
use tokio::task::LocalSet;
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(60);

/// On the thread that intake runs on.
fn run(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = LocalSet::new();
    runtime.block_on(local.run_until(async { tokio::time::timeout(PATIENCE, work).await.unwrap() }));
}

fn executed() -> Outcome {
    Outcome::Executed { what: "acknowledged".into() }
}

/// Key and outcome of each order on the disk.
fn rows(dir: &Path) -> Vec<(String, Option<String>)> {
    let db = Connection::open(dir.join("journal.db")).unwrap();
    let mut query = db.prepare("SELECT key, outcome FROM command ORDER BY begun_at, key").unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn an_order_is_on_the_disk_before_the_wire_is_told_and_its_end_before_the_asker_is() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let mut bench = Bench::start(dir.path());
        let wished = bench.wish(order("open", "cell-1", "k-1")).await;
        let deed = bench.deed().await;
        assert_eq!(rows(dir.path()), [("k-1".to_owned(), None)], "the wire has it, the disk does not");
        wished.begun.await.unwrap();
        let now = Instant::now();
        assert_eq!(deed, Deed { number: 1, device: compound::BANK, nth: 3, until: deed.until });
        assert!(deed.until.is_some_and(|until| until > now && until <= now + Duration::from_secs(30)));
        bench.done(&deed, executed()).await;
        assert_eq!(wished.answer.await.unwrap(), Ok(executed()));
        assert_eq!(rows(dir.path()), [("k-1".to_owned(), Some("executed".to_owned()))]);
        let events = bench.events(1).await;
        assert_eq!(kinds(&events), ["command.executed executed"]);
        assert_eq!(events[0]["subject"], "devices/bank-1");
        let data = &events[0]["data"];
        for (name, value) in [
            ("device", "bank-1"),
            ("action", "open"),
            ("target", "cell-1"),
            ("by", "li"),
            ("reason", "parcel"),
            ("key", "k-1"),
            ("detail", "acknowledged"),
        ] {
            assert_eq!(data[name], value, "{name}");
        }
        bench.stop().await;
    });
}

#[test]
fn the_same_key_happens_once_and_is_answered_alike_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let mut bench = Bench::start(dir.path());
        let first = bench.wish(order("open", "cell-1", "k-1")).await;
        let deed = bench.deed().await;
        // While it is under way: both wait for the one.
        let second = bench.wish(order("open", "cell-1", "k-1")).await;
        let other = bench.wish(order("release", "", "k-1")).await;
        assert_eq!(other.answer.await.unwrap(), Err(Refused::KeyTaken("k-1".into())));
        // And so many others, of whom those who have gone take no place.
        let mut patient = Vec::new();
        for n in 0..40 {
            let another = bench.wish(order("open", "cell-1", "k-1")).await;
            if n >= 20 {
                patient.push(another);
            }
        }
        let refused = patient.pop().unwrap().answer.await.unwrap();
        assert!(matches!(refused, Err(Refused::Busy(_))), "{refused:?}");
        bench.done(&deed, executed()).await;
        assert_eq!(first.answer.await.unwrap(), Ok(executed()));
        assert_eq!(second.answer.await.unwrap(), Ok(executed()));
        let again = bench.wish(order("open", "cell-1", "k-1")).await;
        assert_eq!(again.answer.await.unwrap(), Ok(executed()));
        assert!(bench.lane.try_recv().is_err(), "it was given to the wire a second time");
        bench.stop().await;

        let mut bench = Bench::start(dir.path());
        let mut late = order("open", "cell-1", "k-1");
        late.expires_at = Some(1);
        let again = bench.wish(late).await;
        assert_eq!(again.answer.await.unwrap(), Ok(executed()), "what was done has one answer for ever");
        let other = bench.wish(order("release", "", "k-1")).await;
        assert_eq!(other.answer.await.unwrap(), Err(Refused::KeyTaken("k-1".into())));
        assert!(bench.lane.try_recv().is_err(), "it was given to the wire a second time");
        let executed: Vec<_> = kinds(&bench.journal());
        assert_eq!(executed.iter().filter(|kind| kind.starts_with("command.executed")).count(), 1);
        bench.stop().await;
    });
}

#[test]
fn an_order_that_a_stop_cut_off_is_told_as_unsure_and_never_given_again() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let mut bench = Bench::start(dir.path());
        bench.reads(CELL_1, "closed").await;
        let wished = bench.wish(order("open", "cell-1", "k-1")).await;
        bench.deed().await;
        bench.stop().await;
        assert!(wished.answer.await.is_err(), "nobody knows, and it was answered");

        let mut bench = Bench::start(dir.path());
        let events = bench.events(1).await;
        assert_eq!(kinds(&events), ["command.executed unsure"]);
        assert_eq!(events[0]["data"]["detail"], "the daemon stopped before the device answered");
        let again = bench.wish(order("open", "cell-1", "k-1")).await;
        assert!(matches!(again.answer.await.unwrap(), Ok(Outcome::Unsure { .. })));
        assert!(bench.lane.try_recv().is_err(), "it was given to the wire a second time");
        // It may have reached the lock: that the cell opens now is its doing.
        bench.reads(CELL_1, "open").await;
        let events = bench.events(2).await;
        assert_eq!(kinds(&events), ["command.executed unsure", "locker.opened"]);
        assert_eq!(events[1]["data"]["order"], "k-1");
        bench.stop().await;

        let bench = Bench::start(dir.path());
        let again = bench.wish(order("open", "cell-1", "k-1")).await;
        assert!(matches!(again.answer.await.unwrap(), Ok(Outcome::Unsure { .. })));
        assert_eq!(kinds(&bench.journal()).len(), 2, "its end was told twice");
        bench.stop().await;
    });
}

#[test]
fn what_is_not_allowed_or_too_late_is_refused_and_told_and_its_key_is_free() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let mut bench = Bench::start(dir.path());
        let not = bench.wish(order("open", "cell-2", "k-1")).await.answer.await.unwrap();
        let Err(Refused::NotAllowed(why)) = not else { panic!("{not:?}") };
        assert!(why.contains("`open cell-2`") && why.contains("`open cell-1`"), "{why}");
        let mut expired = order("open", "cell-1", "k-1");
        expired.expires_at = Some(time::now() - 1);
        let late = bench.wish(expired).await.answer.await.unwrap();
        assert!(matches!(late, Err(Refused::Expired(_))), "{late:?}");
        let mut unknown = order("open", "cell-1", "k-1");
        unknown.device = "bank-9".into();
        let nobody = bench.wish(unknown).await.answer.await.unwrap();
        assert_eq!(nobody, Err(Refused::Unknown("bank-9".into())));
        let events = bench.events(2).await;
        assert_eq!(kinds(&events), ["command.refused not-allowed", "command.refused expired"]);
        assert!(bench.lane.try_recv().is_err(), "a refused order reached the wire");
        assert!(rows(dir.path()).is_empty());

        let wished = bench.wish(order("open", "cell-1", "k-1")).await;
        let deed = bench.deed().await;
        bench.done(&deed, Outcome::Failed { why: "exception 2".into() }).await;
        assert_eq!(wished.answer.await.unwrap(), Ok(Outcome::Failed { why: "exception 2".into() }));
        bench.stop().await;
    });
}

#[test]
fn a_flood_of_refusals_does_not_fill_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let mut bench = Bench::start(dir.path());
        for n in 0..200 {
            let wished = bench.wish(order("open", "cell-2", &format!("k-{n}"))).await;
            assert!(matches!(wished.answer.await.unwrap(), Err(Refused::NotAllowed(_))));
        }
        bench.events(10).await;
        // A slow machine may take more than a minute for it; each minute has its ten and one number.
        assert!(bench.journal().len() <= 32, "{} events", bench.journal().len());
        bench.stop().await;
    });
}

#[test]
fn a_full_lane_is_said_at_once_and_nothing_is_written_as_begun() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let mut bench = Bench::with(dir.path(), Vec::new(), 1);
        let first = bench.wish(order("open", "cell-1", "k-1")).await;
        first.begun.await.unwrap();
        let second = bench.wish(order("open", "cell-1", "k-2")).await.answer.await.unwrap();
        assert!(matches!(&second, Err(Refused::Busy(why)) if why.contains("`line`")), "{second:?}");
        assert_eq!(rows(dir.path()), [("k-1".to_owned(), None)]);
        let deed = bench.deed().await;
        bench.done(&deed, executed()).await;
        assert_eq!(first.answer.await.unwrap(), Ok(executed()));
        let third = bench.wish(order("open", "cell-1", "k-2")).await;
        assert_eq!(bench.deed().await.number, 2, "the key that was refused is free");
        drop(third);
        bench.stop().await;
    });
}

#[test]
fn an_order_that_cannot_be_written_down_never_reaches_the_wire() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let bench = Bench::start(dir.path());
        let other = Connection::open(dir.path().join("journal.db")).unwrap();
        let refuse = "CREATE TRIGGER full BEFORE INSERT ON command BEGIN SELECT RAISE(ABORT, 'full'); END";
        other.execute_batch(refuse).unwrap();
        let wished = bench.wish(order("open", "cell-1", "k-1")).await;
        let Bench { batches, mut lane, done, .. } = bench;
        drop(batches);
        done.await.unwrap();
        assert!(wished.answer.await.is_err() && wished.begun.await.is_err());
        assert!(lane.recv().await.is_none(), "the wire was told of it");
    });
}

#[test]
fn ordered_acknowledged_and_not_opened_is_jammed() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let mut bench = Bench::start(dir.path());
        bench.reads(CELL_1, "closed").await;
        let _wished = bench.wish(order("open", "cell-1", "k-1")).await;
        let deed = bench.deed().await;
        bench.done(&deed, executed()).await;
        bench.reads(CELL_1, "closed").await;
        let events = bench.events(2).await;
        assert_eq!(kinds(&events), ["command.executed executed", "locker.jammed"]);
        assert_eq!(events[1]["data"]["order"], "k-1");
        bench.stop().await;
    });
}

#[test]
fn another_configuration_answers_at_once_for_orders_of_a_wire_that_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let mut bench = Bench::start(dir.path());
        let taken = bench.wish(order("open", "cell-1", "k-1")).await;
        bench.deed().await;
        let waiting = bench.wish(order("release", "", "k-2")).await;
        waiting.begun.await.unwrap();
        // The wire has ended: one order it had taken, the other waits in its lane.
        let (near, lane) = tokio::sync::mpsc::channel(8);
        let before = std::mem::replace(&mut bench.lane, lane);
        let turned = bench.turn(before, near).await;
        turned.unwrap();
        let Ok(Outcome::Unsure { why }) = taken.answer.await.unwrap() else { panic!("it may have happened") };
        assert_eq!(why, "its channel was begun anew before the device answered");
        let Ok(Outcome::Failed { why }) = waiting.answer.await.unwrap() else { panic!("it did not happen") };
        assert_eq!(why, "its channel was begun anew before its turn came");
        let events = bench.events(3).await;
        let told = kinds(&events);
        assert_eq!(told.iter().filter(|kind| kind.starts_with("command.executed")).count(), 2, "{told:?}");
        assert!(bench.lane.try_recv().is_err(), "it was given to the next wire");
        // And the next wire takes what is new.
        let wished = bench.wish(order("open", "cell-1", "k-3")).await;
        let deed = bench.deed().await;
        bench.done(&deed, executed()).await;
        assert_eq!(wished.answer.await.unwrap(), Ok(executed()));
        bench.stop().await;
    });
}
