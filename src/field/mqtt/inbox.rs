//! Message → batches of the devices it speaks for. Pure: the time is an argument.
//!
//! A retained message has no age: its readings are uncertain and it is no sign of life, not even where it says
//! "online". A retained "offline" is believed, for who comes back says so. A point that two concrete
//! topics feed is bad (`ambiguous`) from the second one on, until the daemon's restart: nobody knows which is right.
//! What says its own number (a ChirpStack uplink, a terminal's record) and comes again was said once.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::face::Terminal;
use super::payload::{Payload, Said};
use super::seen::Seen;
use super::topic;
use super::{Device, Dialect, Point};
use crate::fault::{Fault, contain};
use crate::field::decode::Transform;
use crate::field::stumble;
use crate::numbers::{Numbered, Numbers};
use crate::pseudonym::Pseudonyms;
use crate::reading::{Batch, DeviceId, Life, Millis, PointId, Reading, Reason, Value};

/// So many uplinks of a channel are remembered by their numbers.
const UPLINKS_KNOWN: usize = 1024;
const UNHEARD: &str = "not heard since the broker is back";

#[derive(Debug)]
pub struct Inbox {
    devices: Vec<Device>,
    terminals: Vec<Terminal>,
    sources: HashMap<PointId, Source>,
    uplinks: Seen,
}

/// What a message amounts to.
#[derive(Debug, Default, PartialEq)]
pub struct Heard {
    /// One for each device that it concerns.
    pub batches: Vec<Batch>,
    /// To be said to devices once all of it is on the disk.
    pub replies: Vec<Reply>,
    /// Devices at whose words the program broke.
    pub faults: Vec<(DeviceId, Fault)>,
}

/// What other devices bring with them.
#[derive(Debug, PartialEq, Eq)]
pub struct Changed {
    /// Those of which nothing is known.
    pub new: HashSet<DeviceId>,
    /// What they alone want to hear. (What others hear already is not subscribed again: the broker would tell the others again
    /// what is retained there.)
    pub wanted: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub topic: String,
    pub payload: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Source {
    One(Box<str>),
    Several,
}

/// What a broker hands over.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub retained: bool,
}

impl Inbox {
    pub fn new(devices: Vec<Device>, pseudonyms: Option<&Pseudonyms>) -> Self {
        let (mut speaking, mut terminals) = (Vec::new(), Vec::new());
        for device in devices {
            match &device.dialect {
                Dialect::Points => speaking.push(device),
                Dialect::FaceTerminal { timezone } => {
                    terminals.push(Terminal::new(device.id, &device.topic, timezone, pseudonyms.cloned()));
                }
            }
        }
        Self { devices: speaking, terminals, sources: HashMap::new(), uplinks: Seen::new(UPLINKS_KNOWN) }
    }

    /// Every filter to subscribe to, each once.
    pub fn filters(&self) -> BTreeSet<String> {
        let of_terminals = self.terminals.iter().flat_map(Terminal::filters);
        self.devices.iter().flat_map(filters).chain(of_terminals).collect()
    }

    /// Other devices from now on, and the same terminals; `numbers` leads into the site that they count by. What is known of
    /// those that are as they were goes on.
    pub fn change(&mut self, next: Vec<Device>, numbers: &Numbers) -> Changed {
        let speaking = next.into_iter().filter(|device| device.dialect == Dialect::Points);
        let before = std::mem::replace(&mut self.devices, speaking.collect());
        let before: Vec<Device> = before.in_other(numbers);
        let (same, new): (Vec<&Device>, Vec<&Device>) =
            self.devices.iter().partition(|device| before.iter().any(|before| hears_alike(before, device)));
        let known: HashSet<PointId> =
            same.iter().flat_map(|device| &device.points).map(|point| point.id).collect();
        let sources = std::mem::take(&mut self.sources).into_iter();
        let sources = sources.filter_map(|(point, source)| Some((numbers.point(point)?, source)));
        self.sources = sources.filter(|(point, _)| known.contains(point)).collect();
        let terminals = std::mem::take(&mut self.terminals).into_iter();
        self.terminals = terminals.filter_map(|terminal| terminal.moved(numbers)).collect();
        let told: BTreeSet<String> = same.into_iter().flat_map(filters).collect();
        let wanted = new.iter().flat_map(|device| filters(device)).filter(|filter| !told.contains(filter));
        Changed { new: new.iter().map(|device| device.id).collect(), wanted: wanted.collect() }
    }

    pub fn take(&mut self, message: Message<'_>, at: Millis) -> Heard {
        // An empty payload deletes a retained message; nobody said anything.
        if message.payload.is_empty() {
            return Heard::default();
        }
        let mut payload = Payload::new(message.payload);
        let Self { devices, terminals, sources, uplinks } = self;
        let again = payload.deduplication_id().is_some_and(|id| !uplinks.is_new((message.topic, id)));
        if again {
            return Heard::default();
        }
        let mut heard = Heard::default();
        for device in devices.iter() {
            let points = device.points.iter().map(|point| point.id);
            let hear = || Some((self::heard(device, sources, message, &mut payload, at)?, None));
            heard.of(device.id, points, at, hear);
        }
        for terminal in terminals {
            let device = terminal.device();
            heard.of(device, [], at, || terminal.take(message, &mut payload, at));
        }
        heard
    }

    /// So much time has passed; who should have spoken in it and has not is gone.
    pub fn passed(&mut self, time: Duration, at: Millis) -> Vec<Batch> {
        self.terminals.iter_mut().filter_map(|terminal| terminal.passed(time, at)).collect()
    }

    /// The connection to the broker is gone, and with it all that is known of its devices.
    pub fn lost(&mut self, why: &str, at: Millis) -> Vec<Batch> {
        let devices = self.devices.iter().map(|device| gone(device, Reason::WireDown, why.to_owned(), at));
        let terminals = self.terminals.iter_mut().map(|terminal| terminal.lost(why, at));
        devices.chain(terminals).map(|batch| Batch { wire: Some(false), ..batch }).collect()
    }

    /// The broker is there again. That says nothing of its devices: they speak when they have something to say.
    pub fn found(&self, at: Millis) -> Option<Batch> {
        let device = self.devices.first().map(|device| device.id);
        let device = device.or_else(|| self.terminals.first().map(Terminal::device))?;
        Some(Batch { wire: Some(true), ..Batch::new(device, at, Vec::new(), None) })
    }

    /// The broker is back after it was lost. Of its devices nothing is known yet: that it was down is no excuse for those that
    /// are silent from now on.
    pub fn back(&self, at: Millis) -> Vec<Batch> {
        let devices = self.devices.iter().map(|device| gone(device, Reason::NotYet, UNHEARD.into(), at));
        let terminals = self.terminals.iter().map(|terminal| terminal.back(UNHEARD, at));
        devices.chain(terminals).collect()
    }
}

impl Heard {
    /// What one device makes of a message. Where the program breaks at it, its points have no value, and the others are
    /// heard all the same.
    fn of(
        &mut self,
        device: DeviceId,
        points: impl IntoIterator<Item = PointId>,
        at: Millis,
        hear: impl FnOnce() -> Option<(Batch, Option<Reply>)>,
    ) {
        match contain(hear) {
            Ok(None) => {}
            Ok(Some((batch, reply))) => {
                self.batches.push(batch);
                self.replies.extend(reply);
            }
            Err(fault) => {
                let bad = points.into_iter().map(|point| Reading::bad(point, at, Reason::Unreadable));
                let why = stumble::why(&fault);
                self.batches.push(Batch::new(device, at, bad.collect(), Some(Life::Degraded { why })));
                self.faults.push((device, fault));
            }
        }
    }
}

fn filters(device: &Device) -> Vec<String> {
    let own = device.points.iter().any(|point| point.topic.is_none()).then(|| device.topic.clone());
    let of_points = device.points.iter().filter_map(|point| point.topic.clone());
    own.into_iter().chain(of_points).chain(device.availability.clone()).chain(bridge(device)).collect()
}

/// But for what may be ordered of it.
fn hears_alike(one: &Device, other: &Device) -> bool {
    let heard = |device: &Device| Device { commands: Vec::new(), ..device.clone() };
    heard(one) == heard(other)
}

/// Where the bridge of a Zigbee2MQTT device says whether it runs itself. When it has fallen, nobody is left to say
/// `offline` for each of its devices.
pub fn bridge(device: &Device) -> Option<String> {
    let of_device = device.availability.as_deref()?.strip_suffix("/availability")?;
    let (base, _) = of_device.split_once('/').filter(|_| of_device == device.topic)?;
    Some(format!("{base}/bridge/state"))
}

fn heard(
    device: &Device,
    sources: &mut HashMap<PointId, Source>,
    message: Message<'_>,
    payload: &mut Payload<'_>,
    at: Millis,
) -> Option<Batch> {
    if bridge(device).is_some_and(|bridge| bridge == message.topic) && payload.is_online() == Some(false) {
        return Some(gone(device, Reason::Offline, format!("{} says offline", message.topic), at));
    }
    let of_life = device.availability.as_deref().is_some_and(|filter| topic::matches(filter, message.topic));
    // What says whether the device is there is a value only of a point that asks for that very topic.
    let points = device.points.iter().filter(|point| !of_life || point.topic.is_some());
    let readings: Vec<_> =
        points.filter_map(|point| reading(device, point, sources, message, payload, at)).collect();
    let life = match of_life {
        true => match payload.is_online() {
            Some(false) => {
                let mut batch = gone(device, Reason::Offline, format!("{} says offline", message.topic), at);
                batch.readings.retain(|bad| readings.iter().all(|said| said.point != bad.point));
                batch.readings.extend(readings);
                return Some(batch);
            }
            Some(true) if !message.retained => Some(Life::Online),
            Some(true) | None => None,
        },
        false if message.retained => None,
        false if readings.is_empty() && !topic::matches(&device.topic, message.topic) => None,
        false => Some(Life::Online),
    };
    (life.is_some() || !readings.is_empty()).then(|| Batch::new(device.id, at, readings, life))
}

fn reading(
    device: &Device,
    point: &Point,
    sources: &mut HashMap<PointId, Source>,
    message: Message<'_>,
    payload: &mut Payload<'_>,
    at: Millis,
) -> Option<Reading> {
    if !topic::matches(point.topic.as_ref().unwrap_or(&device.topic), message.topic) {
        return None;
    }
    let said = payload.value(point.json.as_deref());
    if said == Said::Nothing {
        return None;
    }
    let source = sources.entry(point.id).or_insert_with(|| Source::One(message.topic.into()));
    if matches!(source, Source::One(first) if **first != *message.topic) {
        *source = Source::Several;
    }
    if *source == Source::Several || said == Said::Ambiguous {
        return Some(Reading::bad(point.id, at, Reason::Ambiguous));
    }
    let value = match said {
        Said::Value(raw) => value(point, raw),
        Said::Nothing | Said::Unreadable | Said::Ambiguous => None,
    };
    Some(match value {
        Some(value) if message.retained => Reading::uncertain(point.id, at, value, Reason::Retained),
        Some(value) => Reading::good(point.id, at, value),
        None => Reading::bad(point.id, at, Reason::Unreadable),
    })
}

/// A point with a scale is a number: where its sensor says a word instead ("error"), that is no value of it.
fn value(point: &Point, raw: Value) -> Option<Value> {
    let Transform { scale, offset, map, .. } = &point.transform;
    let wants_number = map.is_empty() && (scale.is_some() || *offset != 0.0);
    point.transform.apply(raw).filter(|value| !wants_number || value.number().is_some())
}

/// Every point bad, the device offline.
fn gone(device: &Device, reason: Reason, why: String, at: Millis) -> Batch {
    let readings = device.points.iter().map(|point| Reading::bad(point.id, at, reason)).collect();
    Batch::new(device.id, at, readings, Some(Life::Offline { why }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{DeviceId, Quality, Site};

    fn point(id: u32, json: Option<&str>) -> Point {
        Point { id: PointId(id), topic: None, json: json.map(Into::into), transform: Transform::default() }
    }

    fn inbox(topic: &str) -> Inbox {
        Inbox::new(
            vec![Device {
                id: DeviceId(0),
                topic: topic.into(),
                availability: Some("z/door/availability".into()),
                dialect: Default::default(),
                commands: Vec::new(),
                points: vec![point(0, Some("/t")), point(1, Some("/h"))],
            }],
            None,
        )
    }

    fn say(inbox: &mut Inbox, topic: &str, payload: &str, retained: bool) -> Vec<Batch> {
        inbox.take(Message { topic, payload: payload.as_bytes(), retained }, 7).batches
    }

    #[test]
    fn a_decoder_that_breaks_costs_its_device_alone() {
        let said = || Some((Batch::new(DeviceId(1), 7, Vec::new(), Some(Life::Online)), None));
        let mut heard = Heard::default();
        heard.of(DeviceId(0), [PointId(4)], 7, || panic!("card 4711"));
        heard.of(DeviceId(1), [PointId(5)], 7, said);
        let [broken, well] = &heard.batches[..] else { panic!("{heard:?}") };
        assert_eq!(broken.readings, [Reading::bad(PointId(4), 7, Reason::Unreadable)]);
        assert!(matches!(&broken.life, Some(Life::Degraded { why }) if why.starts_with("decoder fault")));
        assert_eq!(well.life, Some(Life::Online));
        assert_eq!(heard.faults.len(), 1);
    }

    #[test]
    fn one_message_is_one_batch_and_a_missing_field_is_no_reading() {
        let mut inbox = inbox("z/door");
        let both = say(&mut inbox, "z/door", r#"{"t":20.5,"h":44}"#, false);
        assert_eq!(both.len(), 1);
        assert_eq!(both[0].readings.len(), 2);
        assert_eq!(both[0].life, Some(Life::Online));
        let part = say(&mut inbox, "z/door", r#"{"h":45.5}"#, false);
        assert_eq!(part[0].readings, [Reading::good(PointId(1), 7, Value::Number(45.5))]);
    }

    #[test]
    fn a_retained_message_is_uncertain_and_no_sign_of_life() {
        let batch = say(&mut inbox("z/door"), "z/door", r#"{"t":20.5}"#, true).remove(0);
        assert_eq!(batch.life, None);
        assert_eq!(batch.readings[0].quality, Quality::Uncertain);
        assert_eq!(batch.readings[0].reason, Some(Reason::Retained));
    }

    #[test]
    fn availability_moves_the_device_and_only_offline_the_points() {
        let mut inbox = inbox("z/door/#");
        let off = say(&mut inbox, "z/door/availability", r#"{"state":"offline"}"#, true).remove(0);
        assert!(off.readings.iter().all(|r| r.reason == Some(Reason::Offline)) && off.readings.len() == 2);
        assert!(matches!(off.life, Some(Life::Offline { .. })));
        let on = say(&mut inbox, "z/door/availability", "online", false).remove(0);
        assert_eq!((on.readings.len(), on.life), (0, Some(Life::Online)));
        let old = say(&mut inbox, "z/door/availability", "online", true);
        assert_eq!(old, [], "who has said online long ago may be gone");
    }

    #[test]
    fn a_point_may_ask_for_the_availability_itself() {
        let mut inbox = inbox("z/door");
        let own = Point { topic: Some("z/door/availability".into()), ..point(2, None) };
        inbox.devices[0].points.push(own);
        let off = say(&mut inbox, "z/door/availability", "offline", false).remove(0);
        assert_eq!(off.readings.len(), 3);
        assert_eq!(off.readings[2], Reading::good(PointId(2), 7, Value::Text("offline".into())));
        let on = say(&mut inbox, "z/door/availability", "online", false).remove(0);
        assert_eq!(on.readings, [Reading::good(PointId(2), 7, Value::Text("online".into()))]);
    }

    #[test]
    fn a_second_source_makes_a_point_ambiguous_for_both() {
        let mut inbox = inbox("z/+");
        assert_eq!(say(&mut inbox, "z/a", r#"{"t":1}"#, false)[0].readings[0].quality, Quality::Good);
        assert_eq!(say(&mut inbox, "z/b", r#"{"h":1}"#, false)[0].readings[0].quality, Quality::Good);
        for topic in ["z/b", "z/a"] {
            let batch = say(&mut inbox, topic, r#"{"t":2}"#, false).remove(0);
            assert_eq!(batch.readings, [Reading::bad(PointId(0), 7, Reason::Ambiguous)]);
        }
    }

    #[test]
    fn what_cannot_be_read_is_bad_and_what_concerns_nobody_is_nothing() {
        let mut inbox = inbox("z/door");
        let batch = say(&mut inbox, "z/door", "<html>", false).remove(0);
        assert!(batch.readings.iter().all(|r| r.reason == Some(Reason::Unreadable)));
        assert!(say(&mut inbox, "z/window", "{}", false).is_empty());
        assert!(say(&mut inbox, "z/door", "", false).is_empty());
        assert_eq!(
            inbox.lost("broker gone", 9)[0].readings[1],
            Reading::bad(PointId(1), 9, Reason::WireDown)
        );
    }

    #[test]
    fn a_broker_that_is_back_leaves_its_devices_unheard() {
        let mut inbox = inbox("z/door");
        inbox.lost("broker gone", 8);
        let back = inbox.back(9).remove(0);
        assert_eq!(back.readings, [0, 1].map(|id| Reading::bad(PointId(id), 9, Reason::NotYet)));
        assert_eq!(back.life, Some(Life::Offline { why: UNHEARD.into() }));
        let heard = say(&mut inbox, "z/door", r#"{"t":20.5}"#, false).remove(0);
        assert_eq!((heard.readings.len(), heard.life), (1, Some(Life::Online)));
    }

    #[test]
    fn each_filter_is_subscribed_once() {
        let mut inbox = inbox("z/door");
        inbox.devices.push(inbox.devices[0].clone());
        assert_eq!(
            inbox.filters().into_iter().collect::<Vec<_>>(),
            ["z/bridge/state", "z/door", "z/door/availability"]
        );
    }

    /// What is known moves with a device that stays; a terminal's records too.
    #[test]
    fn other_devices_take_nothing_from_one_that_stays() {
        let site = |ids: &[&str]| {
            let devices = ids.iter().enumerate().map(|(n, id)| crate::reading::Device {
                polled: false,
                first_point: n as u32,
                points: 1,
                ..crate::reading::Device::polled(id, "c")
            });
            let points = ids.iter().enumerate().map(|(n, id)| crate::reading::Point {
                id: format!("{id}.p").into(),
                device: DeviceId(n as u32),
                unit: None,
                range: None,
                deadband: 0.0,
                clean: <_>::default(),
            });
            Site { devices: devices.collect(), points: points.collect(), ..Site::default() }
        };
        let device = |id: u32, topic: &str, json: &str| Device {
            id: DeviceId(id),
            topic: topic.into(),
            availability: None,
            dialect: Dialect::Points,
            points: vec![point(id, Some(json))],
            commands: Vec::new(),
        };
        let terminal = |id: u32| {
            let dialect = Dialect::FaceTerminal { timezone: "UTC".into() };
            Device { dialect, points: Vec::new(), ..device(id, "mqtt/face/1", "") }
        };
        let record = r#"{"operator":"RecPush","info":{"RecordID":"2","VerifyStatus":"1"}}"#;
        let (first, then) = (site(&["raw", "other", "face"]), site(&["aaa", "face", "other", "raw"]));
        let numbers = Numbers::between(&first, &then);
        let (raw, other) = (device(0, "z/+", "/t"), device(1, "o", "/t"));
        let mut inbox = Inbox::new(vec![raw, other, terminal(2)], None);
        say(&mut inbox, "z/a", r#"{"t":1}"#, false);
        say(&mut inbox, "o", r#"{"t":1}"#, false);
        assert_eq!(say(&mut inbox, "mqtt/face/1/Rec", record, false)[0].happenings.len(), 1);
        let (aaa, other, raw) = (device(0, "z/+", "/u"), device(2, "o", "/u"), device(3, "z/+", "/t"));
        let changed = inbox.change(vec![aaa, terminal(1), other, raw], &numbers);
        assert_eq!(changed.new, [DeviceId(0), DeviceId(2)].into());
        assert_eq!(changed.wanted, ["o".to_owned()].into(), "the other is heard already");
        let second = say(&mut inbox, "z/b", r#"{"t":2}"#, false).remove(1);
        assert_eq!(second.readings, [Reading::bad(PointId(3), 7, Reason::Ambiguous)], "its first is known");
        let edited = say(&mut inbox, "o", r#"{"u":4}"#, false).remove(0);
        assert_eq!(edited.readings, [Reading::good(PointId(2), 7, Value::Number(4.0))]);
        let again = say(&mut inbox, "mqtt/face/1/Rec", record, false).remove(0);
        assert_eq!((again.device, again.happenings.len()), (DeviceId(1), 0), "told before");
    }

    #[test]
    fn a_bridge_that_falls_takes_its_devices_with_it() {
        let mut inbox = inbox("z/door");
        let off = say(&mut inbox, "z/bridge/state", r#"{"state":"offline"}"#, true).remove(0);
        assert!(off.readings.len() == 2 && matches!(off.life, Some(Life::Offline { .. })));
        assert_eq!(say(&mut inbox, "z/bridge/state", "online", false), [], "it speaks for itself only");
        inbox.devices[0].availability = Some("z/lwt".into());
        assert_eq!(say(&mut inbox, "z/bridge/state", "offline", false), [], "only Zigbee2MQTT has one");
    }

    #[test]
    fn an_uplink_that_comes_again_was_said_once() {
        let mut inbox = inbox("application/1/device/24e1/event/up");
        let topic = "application/1/device/24e1/event/up";
        let mut up =
            |id| say(&mut inbox, topic, &format!(r#"{{"deduplicationId":"{id}","t":1}}"#), false).len();
        assert_eq!([up("a"), up("a"), up("b"), up("a")], [1, 0, 1, 0]);
    }

    #[test]
    fn a_field_that_two_sensors_have_is_ambiguous() {
        let mut inbox = inbox("tele/x/SENSOR");
        inbox.devices[0].points[0].json = Some("/*/Temperature".into());
        let mut say = |payload| say(&mut inbox, "tele/x/SENSOR", payload, false).remove(0).readings.remove(0);
        assert_eq!(say(r#"{"A":{"Temperature":1}}"#).quality, Quality::Good);
        assert_eq!(say(r#"{"A":{"Temperature":1},"B":{"Temperature":2}}"#).reason, Some(Reason::Ambiguous));
        assert_eq!(say(r#"{"A":{"Temperature":1}}"#).quality, Quality::Good, "of this message only");
    }
}
