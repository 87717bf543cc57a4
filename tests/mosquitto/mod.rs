//! For tests of the MQTT channel: a mosquitto of their own, and the channel with what it hands over.
#![allow(dead_code)]

#[path = "../ports/mod.rs"]
mod ports;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatehouse::field::decode::Transform;
use gatehouse::field::mqtt::{self, Device, Point, Settings};
use gatehouse::field::{Context, ERRANDS_MAX, Errand};
use gatehouse::metrics::Metrics;
use gatehouse::pseudonym::Pseudonyms;
use gatehouse::reading::{Batch, DeviceId, Life, PointId, Reading, Site};
use gatehouse::secret::Secret;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use ports::free_port;

pub const DEADLINE: Duration = Duration::from_secs(15);
pub const GATEWAY: &str = "gatehouse-cp-017-broker";

/// mosquitto with persistence on a port of its own; what it logs tells when a subscription stands.
pub struct Broker {
    pub port: u16,
    pub dir: tempfile::TempDir,
    more: String,
    child: Child,
}

impl Broker {
    pub fn start() -> Self {
        Self::with(tempfile::tempdir().unwrap(), "")
    }

    /// With more lines in its configuration, and files of theirs in `dir`.
    pub fn with(dir: tempfile::TempDir, more: &str) -> Self {
        let port = free_port();
        let child = spawn(dir.path(), port, more);
        Self { port, dir, more: more.to_owned(), child }
    }

    /// SIGKILL: all that it held is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM: it writes its sessions down, as a broker that is updated does.
    pub fn stop(&mut self) {
        self.signal("TERM");
        self.child.wait().unwrap();
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    pub fn start_again(&mut self) {
        self.child = spawn(self.dir.path(), self.port, &self.more);
    }

    pub fn forget_everything(&self) {
        let _ = std::fs::remove_file(self.dir.path().join("mosquitto.db"));
    }

    pub fn logged(&self, line: &str) -> usize {
        std::fs::read_to_string(log(self.dir.path()))
            .unwrap_or_default()
            .lines()
            .filter(|l| l.contains(line))
            .count()
    }

    pub async fn subscribed(&self, times: usize) {
        self.has_subscribed(GATEWAY, times).await;
    }

    pub async fn has_subscribed(&self, client: &str, times: usize) {
        self.has_logged(&format!("Sending SUBACK to {client}"), times).await;
    }

    /// So many messages are acknowledged.
    pub async fn acknowledged(&self, times: usize) {
        self.has_logged(&format!("Received PUBACK from {GATEWAY}"), times).await;
    }

    pub async fn has_logged(&self, line: &str, times: usize) {
        let deadline = Instant::now() + DEADLINE;
        while self.logged(line) < times {
            assert!(Instant::now() < deadline, "the broker has not logged {line:?} {times} times");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Retained.
    pub fn publish_file(&self, topic: &str, payload: &str) {
        self.publish_file_of(topic, payload, true);
    }

    pub fn publish_file_of(&self, topic: &str, payload: &str, retained: bool) {
        let file = self.dir.path().join("payload");
        std::fs::write(&file, payload).unwrap();
        let port = self.port.to_string();
        let mut command = Command::new("mosquitto_pub");
        command.args(["-p", &port, "-q", "1", "-t", topic]).args(retained.then_some("-r")).arg("-f");
        assert!(command.arg(&file).status().unwrap().success());
    }

    pub fn publish(&self, topic: &str, payload: &str, more: &[&str]) {
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

fn spawn(dir: &Path, port: u16, more: &str) -> Child {
    let conf = dir.join("mosquitto.conf");
    let at = dir.display();
    let text = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {at}/\n\
         log_dest file {at}/mosquitto.log\nlog_type all\n{more}"
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

/// In intake's place: what it takes is kept.
pub struct Taken(mpsc::Receiver<Batch>);

impl Taken {
    pub async fn recv(&mut self) -> Option<Batch> {
        let batch = self.take().await?;
        if let Some(kept) = &batch.kept {
            kept.sign();
        }
        Some(batch)
    }

    /// Taken, and not on the disk. That the broker is there is passed over.
    pub async fn take(&mut self) -> Option<Batch> {
        loop {
            let batch = self.0.recv().await?;
            if batch.wire != Some(true) {
                return Some(batch);
            }
        }
    }

    /// What a new connection says: that the broker is there, and nothing of its devices.
    pub async fn found(&mut self) {
        let batch =
            tokio::time::timeout(DEADLINE, self.0.recv()).await.expect("the broker is found").unwrap();
        let of_devices = (batch.readings.len(), batch.life, batch.wire);
        assert_eq!(of_devices, (0, None, Some(true)), "a connection makes nothing up");
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The channel under test, with what it has handed over.
pub struct Channel {
    pub batches: Taken,
    pub lane: mpsc::Sender<Errand>,
    pub stop: CancellationToken,
    pub metrics: Metrics,
    pub task: tokio::task::JoinHandle<()>,
}

impl Channel {
    pub fn start(broker: &Broker, devices: Vec<Device>) -> Self {
        Self::with_room(broker, devices, 64)
    }

    /// `room`: how many batches may wait for intake.
    pub fn with_room(broker: &Broker, devices: Vec<Device>, room: usize) -> Self {
        Self::of(settings(broker, devices), room)
    }

    pub fn of(settings: Settings, room: usize) -> Self {
        let (out, batches) = mpsc::channel(room);
        let (lane, errands) = mpsc::channel(ERRANDS_MAX);
        let stop = CancellationToken::new();
        let metrics = Metrics::new();
        let site = Arc::new(Site { gateway: "cp-017".into(), ..Site::default() });
        let mut context = Context::new(site, out, stop.clone(), metrics.clone());
        context.lane = Arc::new(tokio::sync::Mutex::new(errands));
        context.pseudonyms = Some(pseudonyms());
        let task = tokio::spawn(mqtt::run("broker".into(), settings, context));
        Self { batches: Taken(batches), lane, stop, metrics, task }
    }

    /// The next batch that `wanted` likes; what comes before it is passed over.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Batch) -> bool) -> Batch {
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
    pub async fn has_received(&self, messages: usize) {
        let counted = format!(r#"requests_total{{channel="broker",outcome="ok"}} {messages}"#);
        let deadline = Instant::now() + DEADLINE;
        while !self.metrics.render().contains(&counted) {
            assert!(Instant::now() < deadline, "not {messages} messages were received");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn reading(&mut self, point: u32) -> Reading {
        let batch = self.until(&format!("point {point}"), |b| of(b, point).is_some()).await;
        of(&batch, point).unwrap().clone()
    }

    pub async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(DEADLINE, self.task).await.expect("ends when told").unwrap();
    }
}

pub fn pseudonyms() -> Pseudonyms {
    Pseudonyms::new(&Secret::new("0123456789abcdef")).unwrap()
}

pub fn settings(broker: &Broker, devices: Vec<Device>) -> Settings {
    Settings {
        host: "127.0.0.1".into(),
        port: broker.port,
        client_id: None,
        login: None,
        timeout: Duration::from_secs(2),
        version: Default::default(),
        tls: None,
        devices,
    }
}

pub fn of(batch: &Batch, point: u32) -> Option<&Reading> {
    batch.readings.iter().find(|r| r.point == PointId(point))
}

pub fn device(id: u32, topic: &str, points: Vec<Point>) -> Device {
    Device {
        id: DeviceId(id),
        topic: topic.into(),
        availability: None,
        dialect: Default::default(),
        points,
        commands: vec![],
    }
}

pub fn point(id: u32, json: Option<&str>) -> Point {
    Point { id: PointId(id), topic: None, json: json.map(Into::into), transform: Transform::default() }
}

pub fn contact(id: u32) -> Point {
    let map = vec![("true".to_owned(), "closed".to_owned()), ("false".to_owned(), "open".to_owned())];
    Point { transform: Transform { map, ..Transform::default() }, ..point(id, Some("/contact")) }
}

pub fn offline(batch: &Batch) -> Option<&str> {
    match &batch.life {
        Some(Life::Offline { why }) => Some(why),
        _ => None,
    }
}
