//! The MQTT channel against mosquitto: what it reads, what it must not believe, and what a broker's restart costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod log;
mod mosquitto;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gatehouse::field::decode::Transform;
use gatehouse::field::mqtt::{Device, Point};
use gatehouse::reading::{Batch, DeviceId, Life, Quality, Reason, Value};
use log::log;
use mosquitto::{Broker, Channel, DEADLINE, GATEWAY, Taken, contact, device, of, offline, point};
use tracing::Level;

/// What one point was told to be, batch by batch, until `last`.
async fn numbers(batches: &mut Taken, last: f64) -> Vec<f64> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&last) {
        let batch = tokio::time::timeout(DEADLINE, batches.recv()).await;
        let Some(batch) = batch.expect("batches come") else {
            break;
        };
        let values = batch.readings.iter().filter_map(|r| r.value.as_ref());
        numbers.extend(values.filter_map(Value::number));
    }
    numbers
}

#[tokio::test]
async fn json_plain_payloads_and_maps_become_values() {
    let broker = Broker::start();
    let scaled = Transform { scale: Some(0.1), ..Transform::default() };
    let level = Point { topic: Some("tank/level".into()), transform: scaled, ..point(2, None) };
    let devices = vec![
        device(0, "z/door", vec![contact(0), point(1, Some("/battery"))]),
        device(1, "tank", vec![level]),
    ];
    let mut channel = Channel::start(&broker, devices);
    broker.subscribed(1).await;

    broker.publish("z/door", r#"{"battery":100,"contact":true}"#, &[]);
    let batch = channel.until("the door", |b| b.device == DeviceId(0)).await;
    assert_eq!(batch.life, Some(Life::Online));
    assert_eq!(batch.readings.len(), 2, "one message is one batch");
    assert_eq!(of(&batch, 0).unwrap().value, Some(Value::Text("closed".into())));
    assert_eq!(of(&batch, 1).unwrap().value.as_ref().and_then(Value::number), Some(100.0));

    broker.publish("z/door", r#"{"contact":false}"#, &[]);
    let batch = channel.until("the partial message", |b| b.device == DeviceId(0)).await;
    assert_eq!(batch.readings.len(), 1, "a field that is not there is no reading");
    assert_eq!(of(&batch, 0).unwrap().value, Some(Value::Text("open".into())));

    broker.publish("z/door", r#"{"contact":"ajar"}"#, &[]);
    assert_eq!(channel.reading(0).await.reason, Some(Reason::Unreadable));

    broker.publish("tank/level", "1234", &[]);
    let level = channel.reading(2).await.value.as_ref().and_then(Value::number).unwrap();
    assert!((level - 123.4).abs() < 1e-9, "{level}");
    broker.publish("tank/level", "broken sensor", &[]);
    let words = channel.reading(2).await;
    assert_eq!((words.value, words.reason), (None, Some(Reason::Unreadable)));
    assert!(channel.metrics.render().contains(r#"requests_total{channel="broker",outcome="ok"} 5"#));
    channel.end().await;
}

#[tokio::test]
async fn a_point_that_two_topics_feed_is_ambiguous() {
    let broker = Broker::start();
    let mut channel = Channel::start(&broker, vec![device(0, "z/+", vec![point(0, Some("/t"))])]);
    broker.subscribed(1).await;
    broker.publish("z/a", r#"{"t":20}"#, &[]);
    assert_eq!(channel.reading(0).await.quality, Quality::Good);
    for topic in ["z/b", "z/a"] {
        broker.publish(topic, r#"{"t":90}"#, &[]);
        let reading = channel.reading(0).await;
        assert_eq!((reading.value, reading.reason), (None, Some(Reason::Ambiguous)));
    }
    channel.end().await;
}

#[tokio::test]
async fn a_retained_message_is_uncertain_and_no_sign_of_life() {
    let broker = Broker::start();
    broker.publish("z/t", r#"{"t":20}"#, &["-r"]);
    let mut channel = Channel::start(&broker, vec![device(0, "z/t", vec![point(0, Some("/t"))])]);
    let batch = channel.until("the retained one", |b| of(b, 0).is_some()).await;
    assert_eq!(batch.life, None);
    let reading = of(&batch, 0).unwrap();
    assert_eq!((reading.quality, reading.reason), (Quality::Uncertain, Some(Reason::Retained)));
    broker.publish("z/t", r#"{"t":21}"#, &["-r"]);
    let batch = channel.until("the live one", |b| of(b, 0).is_some()).await;
    assert_eq!(batch.life, Some(Life::Online));
    assert_eq!(of(&batch, 0).unwrap().quality, Quality::Good);
    channel.end().await;
}

#[tokio::test]
async fn a_last_will_takes_the_device_and_its_points_offline() {
    let broker = Broker::start();
    let leak = Device {
        availability: Some("z/leak/availability".into()),
        ..device(0, "z/leak", vec![point(0, Some("/wet"))])
    };
    let mut channel = Channel::start(&broker, vec![leak]);
    broker.subscribed(1).await;
    broker.publish("z/leak/availability", r#"{"state":"online"}"#, &["-r"]);
    let online = channel.until("online", |b| b.life == Some(Life::Online)).await;
    assert!(online.readings.is_empty(), "being there is no reading");
    broker.publish("z/leak", r#"{"wet":false}"#, &[]);
    assert_eq!(channel.reading(0).await.quality, Quality::Good);

    let port = broker.port.to_string();
    let mut bridge = Command::new("mosquitto_sub")
        .args(["-p", &port, "-i", "bridge", "-t", "none", "--will-topic", "z/leak/availability"])
        .args(["--will-payload", "offline", "--will-retain", "--will-qos", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    broker.has_subscribed("bridge", 1).await;
    bridge.kill().unwrap();
    bridge.wait().unwrap();

    let batch = channel.until("the last will", |b| offline(b).is_some()).await;
    assert!(offline(&batch).unwrap().contains("z/leak/availability"));
    assert_eq!(of(&batch, 0).unwrap().reason, Some(Reason::Offline));
    broker.publish("z/leak", r#"{"wet":true}"#, &[]);
    let batch = channel.until("a live message", |b| of(b, 0).is_some()).await;
    assert_eq!(batch.life, Some(Life::Online), "who speaks is there");
    channel.end().await;
}

#[tokio::test]
async fn a_restarted_broker_costs_nothing_that_was_published_after_it_came_back() {
    let mut broker = Broker::start();
    let mut channel = Channel::start(&broker, vec![device(0, "z/t", vec![point(0, Some("/t"))])]);
    broker.subscribed(1).await;
    broker.publish("z/t", r#"{"t":0}"#, &[]);
    assert_eq!(channel.reading(0).await.quality, Quality::Good);
    broker.acknowledged(1).await; // or it would come again

    broker.stop();
    let lost = channel.until("the loss", |b| offline(b).is_some()).await;
    assert!(offline(&lost).unwrap().starts_with("broker "), "{lost:?}");
    assert_eq!(of(&lost, 0).unwrap().reason, Some(Reason::WireDown));

    // The broker is back before the gateway is: its persistent session has to hold these.
    broker.start_again();
    for n in 1..=20 {
        broker.publish("z/t", &format!(r#"{{"t":{n}}}"#), &[]);
    }
    assert_eq!(channel.reading(0).await.reason, Some(Reason::NotYet), "not heard since the broker is back");
    for n in 1..=20 {
        let reading = channel.reading(0).await;
        assert_eq!(reading.value.as_ref().and_then(Value::number), Some(f64::from(n)));
        assert_eq!(reading.quality, Quality::Good);
    }
    broker.subscribed(2).await;

    // And a broker that has lost its sessions is subscribed to anew.
    broker.stop();
    broker.forget_everything();
    channel.until("the second loss", |b| offline(b).is_some()).await;
    broker.start_again();
    broker.subscribed(3).await;
    broker.publish("z/t", r#"{"t":99}"#, &[]);
    assert_eq!(channel.reading(0).await.reason, Some(Reason::NotYet));
    assert_eq!(channel.reading(0).await.value.as_ref().and_then(Value::number), Some(99.0));
    assert!(channel.metrics.render().contains(r#"outcome="broken""#));
    channel.end().await;
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_told_once_for_each_device() {
    let mut broker = Broker::start();
    broker.stop();
    let devices = vec![device(0, "a", vec![point(0, None)]), device(1, "b", vec![point(1, None)])];
    let mut channel = Channel::start(&broker, devices);
    for id in 0..2 {
        let batch = channel.until("offline", |b| b.device == DeviceId(id)).await;
        assert!(offline(&batch).is_some());
        assert_eq!(of(&batch, id).unwrap().reason, Some(Reason::WireDown));
    }
    broker.start_again();
    broker.subscribed(1).await;
    channel.batches.found().await;
    for id in 0..2 {
        // Tries that failed said nothing new.
        let batch = channel.until("the broker is back", |b| b.device == DeviceId(id)).await;
        assert_eq!(offline(&batch), Some("not heard since the broker is back"));
        assert_eq!(of(&batch, id).unwrap().reason, Some(Reason::NotYet));
    }
    assert!(channel.batches.is_empty(), "a connection makes nothing up");
    broker.publish("a", "1", &[]);
    assert_eq!(channel.reading(0).await.quality, Quality::Good);
    channel.end().await;
}

#[tokio::test]
async fn a_retained_online_is_no_sign_of_life_and_a_retained_offline_is_believed() {
    let broker = Broker::start();
    broker.publish("z/leak/availability", "online", &["-r"]);
    broker.publish("z/door/availability", "offline", &["-r"]);
    let device = |id, name: &str| Device {
        availability: Some(format!("z/{name}/availability")),
        ..device(id, &format!("z/{name}"), vec![point(id, None)])
    };
    let mut channel = Channel::start(&broker, vec![device(0, "leak"), device(1, "door")]);
    channel.until("the door's word", |b| b.device == DeviceId(1) && offline(b).is_some()).await;
    broker.has_logged(&format!("Received PUBACK from {GATEWAY}"), 2).await;
    broker.publish("z/leak", "1", &[]);
    let first = channel.until("the leak's first word", |b| b.device == DeviceId(0)).await;
    assert_eq!(first.readings.len(), 1, "not the retained one: {first:?}");
    channel.end().await;
}

#[tokio::test]
async fn what_intake_has_not_taken_when_the_gateway_falls_comes_again() {
    let broker = Broker::start();
    let devices = || vec![device(0, "z/t", vec![point(0, None)])];
    let mut channel = Channel::with_room(&broker, devices(), 1);
    broker.subscribed(1).await;
    channel.batches.found().await;
    for n in 1..=5 {
        broker.publish("z/t", &n.to_string(), &[]);
    }
    channel.has_received(2).await; // one fills the room, the other waits
    channel.task.abort();
    let taken = numbers(&mut channel.batches, 5.0).await;
    assert!(taken.len() <= 1, "there is room for one: {taken:?}");

    let mut channel = Channel::start(&broker, devices());
    let again = numbers(&mut channel.batches, 5.0).await;
    assert!(again.ends_with(&[2.0, 3.0, 4.0, 5.0]), "{again:?}");
    channel.end().await;
}

#[tokio::test]
async fn what_intake_took_and_did_not_write_comes_again_when_the_gateway_falls() {
    let broker = Broker::start();
    let devices = || vec![device(0, "z/t", vec![point(0, None)])];
    let mut channel = Channel::start(&broker, devices());
    broker.subscribed(1).await;
    for n in 1..=5 {
        broker.publish("z/t", &n.to_string(), &[]);
    }
    for _ in 1..=5 {
        let batch = channel.batches.take().await.unwrap();
        assert!(!batch.kept.expect("it waits for a receipt").is_signed());
    }
    channel.task.abort();

    let mut channel = Channel::start(&broker, devices());
    assert_eq!(numbers(&mut channel.batches, 5.0).await, [1.0, 2.0, 3.0, 4.0, 5.0]);
    channel.end().await;
}

#[tokio::test]
async fn a_stop_hands_on_what_was_received_and_nothing_twice() {
    let broker = Broker::start();
    let devices = || vec![device(0, "z/t", vec![point(0, None)])];
    let mut channel = Channel::with_room(&broker, devices(), 1);
    broker.subscribed(1).await;
    channel.batches.found().await;
    for n in 1..=5 {
        broker.publish("z/t", &n.to_string(), &[]);
    }
    channel.has_received(2).await; // one fills the room, the other waits
    channel.stop.cancel();
    let mut all = numbers(&mut channel.batches, 6.0).await;
    assert!(all.len() >= 2, "one waited, one was on its way: {all:?}");
    channel.end().await;

    let mut channel = Channel::start(&broker, devices());
    broker.publish("z/t", "6", &[]);
    all.extend(numbers(&mut channel.batches, 6.0).await);
    assert_eq!(all, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    channel.end().await;
}

#[tokio::test]
async fn what_no_connection_takes_is_told_each_time_and_sought_ever_more_rarely() {
    let log = log(Level::INFO);
    let broker = Broker::start();
    // A bridge's list of all its devices is large, and taken.
    let large = format!(r#"{{"t":20,"definition":"{}"}}"#, "x".repeat(1 << 20));
    broker.publish_file("z/t", &large);
    let mut channel = Channel::start(&broker, vec![device(0, "z/#", vec![point(0, Some("/t"))])]);
    let reading = channel.reading(0).await;
    assert_eq!(reading.value.as_ref().and_then(Value::number), Some(20.0));

    broker.publish_file("z/u", &"x".repeat(65 << 20));
    let lost = channel.until("the loss", |b| offline(b).is_some()).await;
    let why = offline(&lost).unwrap();
    assert!(why.contains("more than 64 MiB") && why.contains("narrow the topics"), "{why}");
    let greeting = format!("Sending CONNACK to {GATEWAY}");
    broker.has_logged(&greeting, 4).await;
    let since = Instant::now();
    broker.has_logged(&greeting, 5).await;
    assert!(since.elapsed() > Duration::from_secs(2), "the pauses grow");
    let warned = log.count(&["WARN", "more than 64 MiB"]);
    assert!(warned >= 4, "{warned}");
    channel.end().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_put_aside_and_keeps_nothing_back() {
    let log = log(Level::INFO);
    let broker = Broker::start();
    let devices = || {
        vec![device(0, "big/#", vec![point(0, Some("/t"))]), device(1, "door", vec![point(1, Some("/n"))])]
    };
    let channel = Channel::start(&broker, devices());
    broker.subscribed(1).await;
    channel.end().await;
    // While we are away, one for the session and one that is retained, each larger than the one before.
    broker.publish_file_of("big/queued", &"x".repeat(5 << 20), false);
    broker.publish_file_of("big/kept", &"x".repeat(7 << 20), true);
    for n in 0..100 {
        broker.publish("door", &format!(r#"{{"n":{n}}}"#), &[]);
    }
    let mut channel = Channel::start(&broker, devices());
    let mut come = std::collections::BTreeSet::new();
    while come.len() < 100 {
        let batch = tokio::time::timeout(DEADLINE, channel.batches.recv()).await;
        let batch = batch.unwrap_or_else(|_| panic!("only {} came", come.len())).unwrap();
        assert_eq!((of(&batch, 0), offline(&batch)), (None, None), "it is no reading, and nobody is gone");
        come.extend(of(&batch, 1).and_then(|r| r.value.as_ref()).and_then(Value::number).map(|n| n as u64));
    }
    channel.end().await;
    for topic in ["big/queued", "big/kept"] {
        assert_eq!(log.count(&["WARN", "put aside", &format!("topic=\"{topic}\"")]), 1, "{topic}");
    }

    // What was queued has been acknowledged: only the retained one comes again.
    let mut channel = Channel::start(&broker, devices());
    broker.publish("door", r#"{"n":200}"#, &[]);
    let is_last = |b: &Batch| of(b, 1).is_some_and(|r| r.value == Some(Value::Number(200.0)));
    channel.until("the last one", is_last).await;
    assert_eq!(log.count(&["WARN", "topic=\"big/queued\""]), 1, "it came once");
    channel.end().await;
}
