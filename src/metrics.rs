//! Tool: what the daemon counts of itself; rendered as Prometheus text by `web`.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Cheap to clone; every clone counts into the same place.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    disk: Disk,
    /// Transactions on wires by channel and outcome: `ok`, `exception`, `timeout`, `wrong`, `broken`.
    pub requests: Family<Request, Counter>,
    /// Seconds in which wires were asked on, by channel.
    pub line_busy: Family<Line, Counter<f64, AtomicU64>>,
    /// Seconds that it takes to ask all devices of a wire once, by channel.
    pub line_cycle: Family<Line, Gauge<f64, AtomicU64>>,
    /// Seconds by which the latest question of the last 10 s was late, by channel.
    pub line_lag: Family<Line, Gauge<f64, AtomicU64>>,
    /// Devices of a wire that do not answer, or not everything, by channel.
    pub line_degraded: Family<Line, Gauge>,
    /// 1: a wire cannot keep up with what is due on it, by channel.
    pub line_behind: Family<Line, Gauge>,
    /// Readings taken in, by quality.
    pub readings: Family<Quality, Counter>,
    /// Share of usable data of the day so far, by device and stage: `before` cleaning, `after`.
    pub usable_share: Family<Usable, Gauge<f64, AtomicU64>>,
    /// Events written to the journal.
    pub events: Counter,
    /// Tickets not yet closed.
    pub tickets_unclosed: Gauge,
    /// Bytes of the store by class: `free` and `limit`, and what each takes: `journal`, `history`, `aside`, `reserve`.
    pub storage: Family<Storage, Gauge>,
    /// Devices by state.
    pub devices: Family<State, Gauge>,
    /// Requests to the API that were turned away, by the word of the problem: `unauthorized`, `forbidden`, `too-many-tries`,
    /// `too-many-requests`.
    pub api_refused: Family<Refused, Counter>,
    /// From the answer's last byte to the ticket being synced to disk.
    pub ticket_durable: Histogram,
    /// One journal transaction with its sync.
    pub commit: Histogram,
    /// Pushes by consumer and outcome: `accepted`, `again`, `misconfigured`, `set-aside`.
    pub pushes: Family<Push, Counter>,
    /// Events a consumer has still to get.
    pub lag: Family<Consumer, Gauge>,
    /// Decoders that broke at what a device says, by device.
    pub decoder_faults: Family<DecoderFault, Counter>,
    /// Tasks that ended by themselves and were begun again, by task.
    pub restarts: Family<Task, Counter>,
    /// Bytes written to the disk by this process, as the kernel counts them.
    pub disk_written: Counter,
    /// The same since midnight, or since the start.
    pub disk_written_today: Gauge,
    /// 1: something is not as it should be; `/readyz` says what.
    pub degraded: Gauge,
    /// 1: the card takes nothing, and a power cut would be the end of what is in the journal.
    pub journal_in_memory: Gauge,
    /// 1: more was written today than is allowed, and the history keeps rollups only.
    pub history_thinned: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Request {
    pub channel: String,
    pub outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Line {
    pub channel: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Quality {
    pub quality: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Usable {
    pub device: String,
    pub stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct State {
    pub state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Storage {
    pub class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Refused {
    pub why: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Push {
    pub consumer: String,
    pub outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DecoderFault {
    pub device: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Task {
    pub task: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Consumer {
    pub consumer: String,
}

/// What may come of a transaction on a wire, as [`Request::outcome`].
pub const OUTCOMES: [&str; 5] = ["ok", "exception", "timeout", "wrong", "broken"];

/// Seconds; fine where a disk sync lies.
const LATENCIES: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 1.0];

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("gatehouse");
        let requests = Family::default();
        registry.register("requests", "Transactions on wires", requests.clone());
        let line_busy = Family::default();
        registry.register_with_unit(
            "line_busy",
            "In which wires were asked on",
            Unit::Seconds,
            line_busy.clone(),
        );
        let line_cycle = Family::default();
        registry.register_with_unit(
            "line_cycle",
            "That it takes to ask all devices of a wire once",
            Unit::Seconds,
            line_cycle.clone(),
        );
        let line_lag = Family::default();
        registry.register_with_unit(
            "line_lag",
            "By which the latest question of the last 10 s was late",
            Unit::Seconds,
            line_lag.clone(),
        );
        let line_degraded = Family::default();
        registry.register(
            "line_degraded",
            "Devices of a wire that do not answer, or not everything",
            line_degraded.clone(),
        );
        let line_behind = Family::default();
        registry.register(
            "line_behind",
            "1 where a wire cannot keep up with what is due on it",
            line_behind.clone(),
        );
        let readings = Family::default();
        registry.register("readings", "Readings taken in", readings.clone());
        let usable_share = Family::default();
        registry.register(
            "usable_share",
            "Share of usable data of the day so far, before and after cleaning",
            usable_share.clone(),
        );
        let events = Counter::default();
        registry.register("events", "Events written to the journal", events.clone());
        let tickets_unclosed = Gauge::default();
        registry.register("tickets_unclosed", "Tickets not yet closed", tickets_unclosed.clone());
        let storage = Family::default();
        registry.register_with_unit(
            "storage",
            "Of the store, by class; free and limit besides",
            Unit::Bytes,
            storage.clone(),
        );
        let devices = Family::default();
        registry.register("devices", "Devices by state", devices.clone());
        let ticket_durable = Histogram::new(LATENCIES);
        registry.register_with_unit(
            "ticket_durable",
            "From the answer's last byte to the ticket being synced to disk",
            Unit::Seconds,
            ticket_durable.clone(),
        );
        let commit = Histogram::new(LATENCIES);
        registry.register_with_unit(
            "commit",
            "One journal transaction with its sync",
            Unit::Seconds,
            commit.clone(),
        );
        let pushes = Family::default();
        registry.register("pushes", "Pushes to the centre", pushes.clone());
        let lag = Family::default();
        registry.register("consumer_lag", "Events a consumer has still to get", lag.clone());
        let api_refused = Family::default();
        registry.register("api_refused", "Requests to the API that were turned away", api_refused.clone());
        let decoder_faults = Family::default();
        registry.register(
            "decoder_faults",
            "Decoders that broke at what a device says",
            decoder_faults.clone(),
        );
        let restarts = Family::default();
        registry.register(
            "restarts",
            "Tasks that ended by themselves and were begun again",
            restarts.clone(),
        );
        let disk_written = Counter::default();
        registry.register_with_unit("disk_written", "Written to the disk", Unit::Bytes, disk_written.clone());
        let disk_written_today = Gauge::default();
        registry.register_with_unit(
            "disk_written_today",
            "Written to the disk since midnight, or since the start",
            Unit::Bytes,
            disk_written_today.clone(),
        );
        let degraded = Gauge::default();
        registry.register("degraded", "1 where something is not as it should be", degraded.clone());
        let journal_in_memory = Gauge::default();
        registry.register(
            "journal_in_memory",
            "1 where the card takes nothing and the journal is in memory",
            journal_in_memory.clone(),
        );
        let history_thinned = Gauge::default();
        registry.register(
            "history_thinned",
            "1 where more was written today than is allowed, and the history keeps rollups only",
            history_thinned.clone(),
        );
        Self {
            registry: Arc::new(registry),
            disk: Disk::new(),
            requests,
            line_busy,
            line_cycle,
            line_lag,
            line_degraded,
            line_behind,
            readings,
            usable_share,
            events,
            tickets_unclosed,
            storage,
            devices,
            api_refused,
            ticket_durable,
            commit,
            pushes,
            lag,
            decoder_faults,
            restarts,
            disk_written,
            disk_written_today,
            history_thinned,
            degraded,
            journal_in_memory,
        }
    }

    /// The same, by a look at the disk that was begun earlier.
    pub fn with_disk(self, disk: Disk) -> Self {
        Self { disk, ..self }
    }

    /// Bytes that this process caused to be written since its start; `None` where the kernel does not tell.
    pub fn written(&self) -> Option<u64> {
        self.disk.written()
    }

    /// Prometheus text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// What the kernel counts of this process. Opened while the process may be looked into: later it would be refused to its
/// own user (see [`crate::secret::keep_off_the_disk`]).
#[derive(Debug, Clone)]
pub struct Disk(Option<Arc<File>>);

impl Disk {
    pub fn new() -> Self {
        Self(File::open("/proc/self/io").ok().map(Arc::new))
    }

    fn written(&self) -> Option<u64> {
        let mut told = [0; 512];
        let length = self.0.as_ref()?.read_at(&mut told, 0).ok()?;
        let text = std::str::from_utf8(told.get(..length)?).ok()?;
        text.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.parse().ok()
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}
