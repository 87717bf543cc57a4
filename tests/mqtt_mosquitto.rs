//! The MQTT channel against mosquitto: what it reads, what it must not believe, and what a broker's restart costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gatehouse::field::Context;
use gatehouse::field::decode::Transform;
use gatehouse::field::mqtt::{self, Device, Point, Settings};
use gatehouse::metrics::Metrics;
use gatehouse::reading::{Batch, DeviceId, Life, PointId, Quality, Reading, Reason, Site, Value};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(15);
const GATEWAY: &str = "gatehouse-cp-017-broker";

/// mosquitto with persistence on a port of its own; what it logs tells when a subscription stands.
struct Broker {
    port: u16,
    dir: tempfile::TempDir,
    child: Child,
}

impl Broker {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = spawn(dir.path(), port);
        Self { port, dir, child }
    }

    /// SIGTERM: it writes its sessions down, as a broker that is updated does.
    fn stop(&mut self) {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        self.child.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.child = spawn(self.dir.path(), self.port);
    }

    fn forget_everything(&self) {
        let _ = std::fs::remove_file(self.dir.path().join("mosquitto.db"));
    }

    fn logged(&self, line: &str) -> usize {
        std::fs::read_to_string(log(self.dir.path()))
            .unwrap_or_default()
            .lines()
            .filter(|l| l.contains(line))
            .count()
    }

    async fn subscribed(&self, times: usize) {
        self.has_subscribed(GATEWAY, times).await;
    }

    async fn has_subscribed(&self, client: &str, times: usize) {
        self.has_logged(&format!("Sending SUBACK to {client}"), times).await;
    }

    async fn has_logged(&self, line: &str, times: usize) {
        let deadline = Instant::now() + DEADLINE;
        while self.logged(line) < times {
            assert!(Instant::now() < deadline, "the broker has not logged {line:?} {times} times");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn publish_file(&self, topic: &str, payload: &str) {
        let file = self.dir.path().join("payload");
        std::fs::write(&file, payload).unwrap();
        let port = self.port.to_string();
        let mut command = Command::new("mosquitto_pub");
        command.args(["-p", &port, "-q", "1", "-r", "-t", topic, "-f"]);
        assert!(command.arg(&file).status().unwrap().success());
    }

    fn publish(&self, topic: &str, payload: &str, more: &[&str]) {
        let port = self.port.to_string();
        let mut command = Command::new("mosquitto_pub");
        command.args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", topic, "-m", payload]).args(more);
        assert!(command.status().unwrap().success());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log(dir: &Path) -> PathBuf {
    dir.join("mosquitto.log")
}

fn spawn(dir: &Path, port: u16) -> Child {
    let conf = dir.join("mosquitto.conf");
    let at = dir.display();
    let text = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {at}/\n\
         log_dest file {at}/mosquitto.log\nlog_type all\n"
    );
    std::fs::write(&conf, text).unwrap();
    // As root mosquitto becomes another user, who has to be able to write here.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(dir, open).unwrap();
    let child = Command::new("mosquitto")
        .arg("-c")
        .arg(&conf)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("mosquitto is installed");
    let deadline = Instant::now() + DEADLINE;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "mosquitto does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

/// The channel under test, with what it has handed over.
struct Channel {
    batches: mpsc::Receiver<Batch>,
    stop: CancellationToken,
    metrics: Metrics,
    task: tokio::task::JoinHandle<()>,
}

impl Channel {
    fn start(broker: &Broker, devices: Vec<Device>) -> Self {
        Self::with_room(broker, devices, 64)
    }

    /// `room`: how many batches may wait for intake.
    fn with_room(broker: &Broker, devices: Vec<Device>, room: usize) -> Self {
        let (out, batches) = mpsc::channel(room);
        let stop = CancellationToken::new();
        let metrics = Metrics::new();
        let site = Arc::new(Site { gateway: "cp-017".into(), ..Site::default() });
        let context = Context::new(site, out, stop.clone(), metrics.clone());
        let settings = Settings {
            host: "127.0.0.1".into(),
            port: broker.port,
            client_id: None,
            login: None,
            timeout: Duration::from_secs(2),
            version: Default::default(),
            tls: None,
            devices,
        };
        let task = tokio::spawn(mqtt::run("broker".into(), settings, context));
        Self { batches, stop, metrics, task }
    }

    /// The next batch that `wanted` likes; what comes before it is passed over.
    async fn until(&mut self, what: &str, wanted: impl Fn(&Batch) -> bool) -> Batch {
        let search = async {
            loop {
                let batch = self.batches.recv().await.expect("the channel runs");
                if wanted(&batch) {
                    return batch;
                }
            }
        };
        tokio::time::timeout(DEADLINE, search).await.unwrap_or_else(|_| panic!("never came: {what}"))
    }

    /// So many messages, taken by intake or not.
    async fn has_received(&self, messages: usize) {
        let counted = format!(r#"requests_total{{channel="broker",outcome="ok"}} {messages}"#);
        let deadline = Instant::now() + DEADLINE;
        while !self.metrics.render().contains(&counted) {
            assert!(Instant::now() < deadline, "not {messages} messages were received");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn reading(&mut self, point: u32) -> Reading {
        let batch = self.until(&format!("point {point}"), |b| of(b, point).is_some()).await;
        of(&batch, point).unwrap().clone()
    }

    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(DEADLINE, self.task).await.expect("ends when told").unwrap();
    }
}

/// What one point was told to be, batch by batch, until `last`.
async fn numbers(batches: &mut mpsc::Receiver<Batch>, last: f64) -> Vec<f64> {
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

fn of(batch: &Batch, point: u32) -> Option<&Reading> {
    batch.readings.iter().find(|r| r.point == PointId(point))
}

fn device(id: u32, topic: &str, points: Vec<Point>) -> Device {
    Device {
        id: DeviceId(id),
        topic: topic.into(),
        availability: None,
        dialect: Default::default(),
        points,
        commands: vec![],
    }
}

fn point(id: u32, json: Option<&str>) -> Point {
    Point { id: PointId(id), topic: None, json: json.map(Into::into), transform: Transform::default() }
}

fn contact(id: u32) -> Point {
    let map = vec![("true".to_owned(), "closed".to_owned()), ("false".to_owned(), "open".to_owned())];
    Point { transform: Transform { map, ..Transform::default() }, ..point(id, Some("/contact")) }
}

fn offline(batch: &Batch) -> Option<&str> {
    match &batch.life {
        Some(Life::Offline { why }) => Some(why),
        _ => None,
    }
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

    broker.stop();
    let lost = channel.until("the loss", |b| offline(b).is_some()).await;
    assert!(offline(&lost).unwrap().starts_with("broker "), "{lost:?}");
    assert_eq!(of(&lost, 0).unwrap().reason, Some(Reason::WireDown));

    // The broker is back before the gateway is: its persistent session has to hold these.
    broker.start_again();
    for n in 1..=20 {
        broker.publish("z/t", &format!(r#"{{"t":{n}}}"#), &[]);
    }
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
    assert!(
        channel.batches.try_recv().is_err(),
        "tries that fail say nothing new, and a connection makes nothing up"
    );
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
async fn a_stop_hands_on_what_was_received_and_nothing_twice() {
    let broker = Broker::start();
    let devices = || vec![device(0, "z/t", vec![point(0, None)])];
    let mut channel = Channel::with_room(&broker, devices(), 1);
    broker.subscribed(1).await;
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

/// What is logged, kept for the test.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_message_over_the_bound_is_told_once_with_its_cure_and_sought_ever_more_rarely() {
    let log = Log::default();
    let writer = log.clone();
    // For all tests of this file: a subscriber of one thread would miss what another thread logs first.
    tracing_subscriber::fmt().with_writer(move || writer.clone()).init();
    let broker = Broker::start();
    // A bridge's list of all its devices is large, and taken.
    let large = format!(r#"{{"t":20,"definition":"{}"}}"#, "x".repeat(1 << 20));
    broker.publish_file("z/t", &large);
    let mut channel = Channel::start(&broker, vec![device(0, "z/#", vec![point(0, Some("/t"))])]);
    let reading = channel.reading(0).await;
    assert_eq!(reading.value.as_ref().and_then(Value::number), Some(20.0));

    broker.publish_file("z/u", &"x".repeat(5 << 20));
    let lost = channel.until("the loss", |b| offline(b).is_some()).await;
    let why = offline(&lost).unwrap();
    assert!(why.contains("more than 4 MiB") && why.contains("narrow the topics"), "{why}");
    let greeting = format!("Sending CONNACK to {GATEWAY}");
    broker.has_logged(&greeting, 4).await;
    let since = Instant::now();
    broker.has_logged(&greeting, 5).await;
    assert!(since.elapsed() > Duration::from_secs(2), "the pauses grow");
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.matches("narrow the topics").count(), 1, "{log}");
    channel.end().await;
}
