//! Nobody is told what is not on the disk: an action whose page cannot be written is not answered as done.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod compound;

use std::time::Duration;

use compound::GATE;
use compound::bench::Bench;
use gatehouse::reading::{Batch, PointId, Reading, Value};
use gatehouse::rules::{Condition, Over, Rule};
use gatehouse::store;
use gatehouse::ticket::{Action, Ask, Class, Refusal, Ticket, Verb};
use gatehouse::time;
use rusqlite::Connection;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

/// Of no door, and so of the rule alone.
const POINT: PointId = PointId(2);

fn low() -> Rule {
    Rule {
        id: "low".into(),
        over: Over::Points(vec![POINT]),
        condition: Condition::Below(200.0),
        limit: serde_json::json!({ "below": 200.0 }),
        deadband: 0.0,
        on_delay: 0,
        off_delay: 0,
        settle: 3_600_000,
        verify: 3_600_000,
        reopen: 3_600_000,
        class: Class::Immediate,
        level: 1,
        trade: None,
        chatter: None,
        title: None,
    }
}

/// The ticket that a low reading opens, once it is in the journal.
async fn opened(bench: &mut Bench) -> Ticket {
    let reading = Reading::good(POINT, time::now(), Value::Number(100.0));
    let batch = Batch::new(GATE, reading.at, vec![reading], None);
    bench.batches.send(batch).await.unwrap();
    bench.head.wait_for(|head| *head > 0).await.unwrap();
    let tickets = bench.view.tickets(&store::Filter { limit: 1, ..store::Filter::default() }).unwrap();
    serde_json::from_str(&tickets[0].1).unwrap()
}

async fn acknowledge(bench: &Bench, ticket: &Ticket) -> oneshot::Receiver<Result<Ticket, Refusal>> {
    let (answer, answered) = oneshot::channel();
    let action = Action {
        ticket: ticket.id.clone(),
        verb: Verb::Acknowledge,
        by: "li".into(),
        note: None,
        external_id: None,
        revision: None,
    };
    bench.asks.send(Ask { action, answer }).await.unwrap();
    answered
}

#[tokio::test]
async fn an_action_is_answered_when_it_is_written_and_only_then() {
    let dir = tempfile::tempdir().unwrap();
    let work = async {
        let mut bench = Bench::with(dir.path(), vec![low()], 1);
        let ticket = opened(&mut bench).await;
        // A journal that refuses each write at once, as a full disk does.
        let other = Connection::open(dir.path().join("journal.db")).unwrap();
        let refuse = "CREATE TRIGGER full BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'full'); END";
        other.execute_batch(refuse).unwrap();
        let answered = acknowledge(&bench, &ticket).await;
        drop(bench.batches); // the daemon stops
        bench.done.await.unwrap();
        assert!(answered.await.is_err(), "it was not written, and was answered as done");
        let filed = bench.view.ticket(&ticket.id).unwrap().unwrap();
        assert_eq!(serde_json::from_str::<Ticket>(&filed).unwrap().revision, 1);
    };
    let local = LocalSet::new();
    tokio::time::timeout(Duration::from_secs(30), local.run_until(work)).await.unwrap();
}

#[tokio::test]
async fn an_action_asked_as_the_daemon_stops_is_written_and_answered() {
    let dir = tempfile::tempdir().unwrap();
    let work = async {
        let mut bench = Bench::with(dir.path(), vec![low()], 1);
        let ticket = opened(&mut bench).await;
        let answered = acknowledge(&bench, &ticket).await;
        drop(bench.batches);
        bench.done.await.unwrap();
        assert_eq!(answered.await.unwrap().unwrap().revision, 2);
        let filed = bench.view.ticket(&ticket.id).unwrap().unwrap();
        assert_eq!(serde_json::from_str::<Ticket>(&filed).unwrap().revision, 2);
    };
    LocalSet::new().run_until(work).await;
}
