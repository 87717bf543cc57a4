//! Other devices on a connection to a broker that goes on: a reload under a stream of messages that come once and are not
//! kept by anybody. The device that is not touched loses none of them, and none is told twice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod gateway;
mod mosquitto;

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use gateway::{Gateway, of_kind};
use mosquitto::Broker;
use serde_json::{Value as Json, json};

const EVERY: Duration = Duration::from_millis(6);
/// Between two reloads.
const MESSAGES: usize = 60;
const CLIENT: &str = "gatehouse-gw-stream-broker";

/// Counts on `t/raw`, at QoS 0.
struct Stream {
    said: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    speaks: JoinHandle<()>,
}

impl Stream {
    fn start(port: u16) -> Self {
        let (said, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (said.clone(), stop.clone());
        let speaks = thread::spawn(move || {
            let port = port.to_string();
            let mut command = Command::new("mosquitto_pub");
            command.args(["-h", "127.0.0.1", "-p", &port, "-q", "0", "-t", "t/raw", "-l"]);
            let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
            let mut lines = child.stdin.take().unwrap();
            while !end.load(Ordering::SeqCst) {
                writeln!(lines, "{}", count.fetch_add(1, Ordering::SeqCst) + 1).unwrap();
                thread::sleep(EVERY);
            }
            drop(lines);
            assert!(child.wait().unwrap().success());
        });
        Self { said, stop, speaks }
    }

    fn said(&self) -> usize {
        self.said.load(Ordering::SeqCst)
    }

    fn end(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.speaks.join().unwrap();
        self.said.load(Ordering::SeqCst)
    }
}

fn device(id: &str, topic: &str, json: &str) -> String {
    format!(
        "[[device]]\nid = \"{id}\"\nchannel = \"broker\"\ntopic = \"{topic}\"\n[[device.point]]\nid = \"v\"\n{json}"
    )
}

/// Who stands before and behind the untouched device in the file: its topic and the field that it reads.
type Around = (Option<(&'static str, &'static str)>, Option<(&'static str, &'static str)>);

const EDITS: [Around; 10] = [
    (None, Some(("t/other", "b"))),
    (Some(("t/aaa", "a")), Some(("t/other", "b"))),
    (Some(("t/aaa", "c")), Some(("t/other", "b"))),
    (Some(("t/aaa", "c")), None),
    (Some(("t/aaa", "c")), Some(("t/else", "b"))),
    (None, Some(("t/else", "b"))),
    (None, Some(("t/other", "a"))),
    (Some(("t/wild", "a")), Some(("t/other", "a"))),
    (Some(("t/aaa", "a")), Some(("t/other", "b"))),
    (None, None),
];

fn configure(gateway: &Gateway, port: u16, (before, behind): Around) {
    let mut text =
        format!("[[channel]]\nid = \"broker\"\ntype = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{port}\"\n");
    let around = |id: &str, of: Option<(&str, &str)>| {
        of.map(|(topic, field)| device(id, topic, &format!("json = \"/{field}\"\n"))).unwrap_or_default()
    };
    text += &around("aaa", before);
    text += &device("raw", "t/raw", "");
    text += &around("other", behind);
    gateway.configure(&text);
}

fn shown(gateway: &Gateway, point: &str) -> Option<f64> {
    let points = gateway.get("/api/v1/points")?;
    points["points"].as_array()?.iter().find(|p| p["id"] == point)?["value"].as_f64()
}

#[test]
fn a_line_whose_broker_is_back_is_up_before_a_device_has_spoken() {
    let mut broker = Broker::start();
    let mut gateway = Gateway::new("gw-stream");
    configure(&gateway, broker.port, (None, None));
    gateway.start();
    let becomes = |gateway: &Gateway, state: &str| {
        gateway.until(state, || {
            let lines = gateway.get("/api/v1/lines")?;
            (lines["lines"][0]["state"] == state).then_some(())
        });
    };
    becomes(&gateway, "up");
    broker.kill();
    becomes(&gateway, "down");
    broker.start_again();
    becomes(&gateway, "up");
    let devices = gateway.get("/api/v1/devices").unwrap();
    assert_eq!(devices["devices"][0]["state"], "offline", "of the device nobody knows anything: {devices}");
    assert!(gateway.stop().0.success());
}

#[test]
fn a_device_that_is_not_touched_loses_no_message_while_others_come_go_and_change() {
    let broker = Broker::with(tempfile::tempdir().unwrap(), "max_queued_messages 100000\n");
    let mut gateway = Gateway::new("gw-stream");
    configure(&gateway, broker.port, (None, Some(("t/other", "a"))));
    gateway.start();
    gateway.until("it listens", || (broker.logged(&format!("Sending SUBACK to {CLIENT}")) > 0).then_some(()));
    let stream = Stream::start(broker.port);
    for (nth, edit) in EDITS.into_iter().enumerate() {
        let heard = stream.said() + MESSAGES;
        gateway.until("some more is heard", || shown(&gateway, "raw.v").filter(|v| *v >= heard as f64));
        configure(&gateway, broker.port, edit);
        let (status, done) = gateway.post("/api/v1/reload", &json!({ "by": "Wang" }));
        assert_eq!((status, &done["restarted"]), (200, &json!([])), "{done}");
        let goes_on = Json::from("channel broker: goes on, its devices change");
        assert!(done["changed"].as_array().unwrap().contains(&goes_on), "{done}");
        for (id, of) in [("aaa.v", edit.0), ("other.v", edit.1)] {
            let Some((topic, field)) = of else {
                assert_eq!(shown(&gateway, id), None);
                continue;
            };
            let value = 1000 + nth;
            gateway.until(&format!("{id} after edit {nth}"), || {
                // What is said before the subscription stands is said to nobody.
                broker.publish(topic, &json!({ field: value }).to_string(), &[]);
                shown(&gateway, id).filter(|v| *v == value as f64)
            });
        }
    }
    let said = stream.end();
    gateway.until("the last one", || shown(&gateway, "raw.v").filter(|v| *v == said as f64));
    for topic in ["t/other", "t/else", "t/aaa", "t/wild"] {
        let unsubscribed = format!("{CLIENT} {topic}");
        gateway.until(topic, || (broker.logged(&unsubscribed) > 0).then_some(()));
    }
    assert!(gateway.stop().0.success());

    println!("{said} messages at QoS 0 during {} reloads", EDITS.len());
    assert_eq!(broker.logged(&format!("as {CLIENT}")), 1, "one connection");
    assert_eq!(broker.logged(&format!("{CLIENT} 1 t/raw")), 1, "subscribed once");
    let ends = gateway.store();
    let samples = ends.history.recent("raw.v", 0).unwrap();
    let heard: Vec<usize> = samples
        .iter()
        .map(|sample| sample.value.as_ref().and_then(gatehouse::reading::Value::number).unwrap() as usize)
        .collect();
    let all: Vec<usize> = (1..=said).collect();
    assert_eq!(heard, all, "each reading once and in order");
    drop(ends);
    let events = gateway.journal();
    let of_raw = |kind: &str| of_kind(&events, kind).iter().filter(|e| e["subject"] == "devices/raw").count();
    assert_eq!((of_raw("device.online"), of_raw("device.offline")), (1, 0));
    assert_eq!(of_kind(&events, "gateway.started").len(), 1);
}
