//! Devices of all MQTT profiles, face terminals, orders and scans, through mosquitto.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod mosquitto;

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatehouse::config;
use gatehouse::field::mqtt::{self, Device, Dialect, Version};
use gatehouse::field::{Errand, Kind, Scan, Sighting};
use gatehouse::happening::{Happening, Kind as Done};
use gatehouse::order::{Deed, Outcome};
use gatehouse::reading::{Batch, DeviceId, Life, Quality, Reason, Site};
use mosquitto::{Broker, Channel, DEADLINE, Taken, device, offline, point, pseudonyms, settings};
use tokio::sync::{mpsc, oneshot};

// ---------------------------------------------------------------------------------------------- profiles

/// Profile, the device's topic, a message of devices.md or the maker's pages, and what it makes of its points.
const SAID: [(&str, &str, &str, &str, &str); 16] = [
    (
        "zigbee2mqtt-contact",
        "zigbee2mqtt/door",
        "zigbee2mqtt/door",
        r#"{"battery":100,"voltage":3085,"linkquality":52,"contact":true}"#,
        "battery=100 door=closed",
    ),
    (
        "zigbee2mqtt-leak",
        "zigbee2mqtt/leak",
        "zigbee2mqtt/leak",
        r#"{"battery":100,"voltage":3055,"linkquality":94,"water_leak":false}"#,
        "battery=100 leak=dry",
    ),
    (
        "zigbee2mqtt-climate",
        "zigbee2mqtt/hall",
        "zigbee2mqtt/hall",
        r#"{"temperature":27.34,"humidity":44.72}"#,
        "humidity=44.72 temperature=27.34",
    ),
    (
        "zigbee2mqtt-smoke",
        "zigbee2mqtt/smoke",
        "zigbee2mqtt/smoke",
        r#"{"smoke":true,"battery":97,"linkquality":60}"#,
        "battery=97 smoke=alarm",
    ),
    ("zigbee2mqtt-motion", "zigbee2mqtt/move", "zigbee2mqtt/move", r#"{"occupancy":true}"#, "motion=moving"),
    (
        "tasmota-sensor",
        "tele/ds1820",
        "tele/ds1820/SENSOR",
        r#"{"Time":"2021-01-13T23:58:41","DS18B20":{"Id":"030597946B04","Temperature":20.9},"TempUnit":"C"}"#,
        "temperature=20.9",
    ),
    (
        "tasmota-sensor",
        "tele/am2301",
        "tele/am2301/SENSOR",
        r#"{"Time":"2018.02.01 22:52:09","AM2301":{"Temperature":15.5,"Humidity":50.6},"TempUnit":"C"}"#,
        "humidity=50.6 temperature=15.5",
    ),
    (
        "tasmota-sensor",
        "tele/plug",
        "tele/plug/SENSOR",
        r#"{"Time":"2018.02.04 23:17:01","ENERGY":{"Total":3.185,"Yesterday":3.058,"Today":0.127,"Power":0,"Factor":0.00,
            "Voltage":221,"Current":0.000}}"#,
        "current=0 energy=3.185 power-factor=0 power=0 voltage=221",
    ),
    (
        "tasmota-sensor",
        "tele/tasmota",
        "tele/tasmota/SENSOR",
        r#"{"Time":"2021-01-01T00:00:00","Switch1":"ON"}"#,
        "switch-1=on",
    ),
    (
        "tasmota-sensor",
        "tele/two",
        "tele/two/SENSOR",
        r#"{"DS18B20-1":{"Temperature":20.9},"DS18B20-2":{"Temperature":4.0},"TempUnit":"C"}"#,
        "temperature!ambiguous",
    ),
    (
        "shelly-gen2",
        "shellyplus1-08b61fd90730",
        "shellyplus1-08b61fd90730/events/rpc",
        r#"{"src":"shellyplus1-08b61fd90730","dst":"shellyplus1-08b61fd90730/events","method":"NotifyStatus",
            "params":{"ts":1736604020.06,"switch:0":{"id":0,"output":true,"source":"HTTP_in"}}}"#,
        "relay=on",
    ),
    (
        "shelly-gen2",
        "shelly-th",
        "shelly-th/events/rpc",
        r#"{"method":"NotifyStatus","params":{"temperature:0":{"id":0,"tC":22.5,"tF":72.5},"input:0":{"id":0,"state":true}}}"#,
        "input=on temperature=22.5",
    ),
    (
        "chirpstack-milesight",
        "application/1/device/24e124136b000001/event/up",
        "application/1/device/24e124136b000001/event/up",
        r#"{"deduplicationId":"3ac7e3c4-4401-4b8d-9386-a5c902f9202d","time":"2022-07-18T09:34:15.775023242+00:00",
            "deviceInfo":{"devEui":"24e124136b000001"},"fPort":85,"data":"AXVcA2c0AQRoZQUAAA=="}"#,
        "battery=92 humidity=50.5 leak=dry temperature=30.8",
    ),
    (
        "chirpstack-milesight",
        "application/1/device/24e124136b000002/event/up",
        "application/1/device/24e124136b000002/event/up",
        r#"{"deduplicationId":"4ac7e3c4-4401-4b8d-9386-a5c902f9202d","fPort":85,
            "object":{"battery":81,"magnet_status":"open"}}"#,
        "battery=81 door=open",
    ),
    // AM319: 0367EE00 04687C 050001 06CB02 077DA803 087D2500 09736627 0A7D0700 0B7D2000 0C7D3000
    (
        "chirpstack-milesight",
        "application/1/device/24e124136b000003/event/up",
        "application/1/device/24e124136b000003/event/up",
        r#"{"deduplicationId":"5ac7","data":"A2fuAARofAUAAQbLAgd9qAMIfSUACXNmJwp9BwALfSAADH0wAA=="}"#,
        "co2=936 humidity=62 motion=moving pm10=48 pm2-5=32 pressure=1008.6 temperature=23.8",
    ),
    (
        "chirpstack-milesight",
        "application/1/device/24e124136b000004/event/up",
        "application/1/device/24e124136b000004/event/up",
        r#"{"deduplicationId":"6ac7","data":"AXVkA3cCAA=="}"#,
        "battery=100 depth=2",
    ),
];

/// The channel as the configuration makes it, with the profiles as they stand in `config/profiles`.
fn configured(broker: &Broker) -> (Arc<Site>, mqtt::Settings) {
    let mut text = format!(
        "[gateway]\nid = \"cp-017\"\nname = \"test\"\ntimezone = \"Asia/Shanghai\"\n\n\
         [[channel]]\nid = \"broker\"\ntype = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{}\"\n",
        broker.port
    );
    for (n, (profile, topic, ..)) in SAID.iter().enumerate() {
        text += &format!(
            "\n[[device]]\nid = \"d{n}\"\nchannel = \"broker\"\nprofile = \"{profile}\"\ntopic = \"{topic}\"\n"
        );
    }
    let mut sources = vec![("gatehouse.toml".into(), text)];
    for name in SAID.iter().map(|said| said.0).collect::<BTreeSet<_>>() {
        let path = format!("config/profiles/{name}.toml");
        let profile =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/").to_owned() + &path).unwrap();
        sources.push((format!("profiles/{name}.toml").into(), profile));
    }
    let gateway = config::load_sources(sources).map_err(|mistakes| mistakes.to_string()).unwrap().gateway;
    let Kind::Mqtt(settings) = gateway.channels[0].kind.clone() else { panic!("a channel of another kind") };
    (gateway.site, settings)
}

/// `battery=100 door=closed`, in the order of their names; a bad one with its reason.
fn told(site: &Site, batch: &Batch) -> String {
    let mut words: Vec<_> = batch
        .readings
        .iter()
        .map(|reading| {
            let name = site.point(reading.point).id.split_once('.').unwrap().1;
            match (&reading.value, reading.reason) {
                (Some(value), None) => format!("{name}={value}"),
                (_, reason) => format!("{name}!{}", reason.map_or("", Reason::word)),
            }
        })
        .collect();
    words.sort();
    words.join(" ")
}

#[tokio::test]
async fn every_profile_reads_its_devices_messages() {
    let broker = Broker::start();
    let (site, settings) = configured(&broker);
    let mut channel = Channel::of(settings, 64);
    broker.subscribed(1).await;
    for (n, (profile, _, topic, payload, said)) in SAID.iter().enumerate() {
        broker.publish(topic, payload, &[]);
        let batch = channel.until(profile, |b| b.device == DeviceId(n as u32)).await;
        assert_eq!(told(&site, &batch), *said, "{profile}: {payload}");
        assert_eq!(batch.life, Some(Life::Online));
    }
    channel.end().await;
}

#[tokio::test]
async fn every_family_says_that_it_is_gone_in_its_own_words() {
    let broker = Broker::start();
    let (_, settings) = configured(&broker);
    let mut channel = Channel::of(settings, 64);
    broker.subscribed(1).await;
    for (n, topic, gone, back) in [
        (0, "zigbee2mqtt/door/availability", r#"{"state":"offline"}"#, r#"{"state":"online"}"#),
        (1, "zigbee2mqtt/leak/availability", "offline", "online"),
        (5, "tele/ds1820/LWT", "Offline", "Online"),
        (10, "shellyplus1-08b61fd90730/online", "false", "true"),
    ] {
        broker.publish(topic, gone, &["-r"]);
        let batch = channel.until(topic, |b| b.device == DeviceId(n)).await;
        assert_eq!(offline(&batch), Some(format!("{topic} says offline").as_str()));
        broker.publish(topic, back, &["-r"]);
        let batch = channel.until(topic, |b| b.device == DeviceId(n)).await;
        assert_eq!(batch.life, Some(Life::Online), "{topic}");
    }
    // Zigbee2MQTT itself falls: all five of its devices, and no other.
    broker.publish("zigbee2mqtt/bridge/state", r#"{"state":"offline"}"#, &["-r"]);
    for n in 0..5 {
        let batch = channel.until("the bridge", |_| true).await;
        assert_eq!((batch.device, offline(&batch).is_some()), (DeviceId(n), true), "{batch:?}");
    }
    broker.publish("tele/ds1820/LWT", "Online", &[]);
    let batch = channel.until("the next", |_| true).await;
    assert_eq!(batch.device, DeviceId(5), "{batch:?}");
    channel.end().await;
}

// ---------------------------------------------------------------------------------------------- face terminals

const NAME: &str = "Li Xiaoming";

fn terminal() -> Vec<Device> {
    let dialect = Dialect::FaceTerminal { timezone: "Asia/Shanghai".into() };
    vec![Device { dialect, ..device(0, "mqtt/face/1026700", vec![]) }]
}

/// By a clock that is far ahead: none of them is old.
fn record(n: u32, replay: u32) -> String {
    format!(
        r#"{{"operator":"RecPush","info":{{"customId":"","personId":"{}","RecordID":"{n}","VerifyStatus":"1","PersonType":"0","similarity1":"83.000000","personName":"{NAME}","facesluiceId":"1026700","idCard":"310101199001011234","telnum":"13800138000","time":"2099-04-10 10:{:02}:{:02}","PushType":{replay},"pic":"data:image/jpeg;base64,{}"}}}}"#,
        n % 50 + 1,
        n / 60 % 60,
        n % 60,
        "A".repeat(512),
    )
}

fn records(numbers: impl Iterator<Item = u32>, replay: u32) -> String {
    numbers.map(|n| record(n, replay) + "\n").collect()
}

/// One connection that says each line as a message, as fast as the broker takes them.
fn publish_lines(broker: &Broker, topic: &str, lines: &str) -> std::process::Child {
    let port = broker.port.to_string();
    let mut child = Command::new("mosquitto_pub")
        .args(["-p", &port, "-q", "1", "-t", topic, "-l"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines = lines.to_owned();
    std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    child
}

/// The next happenings, so many of them.
async fn happenings(batches: &mut Taken, count: usize) -> Vec<Happening> {
    let mut all = Vec::new();
    while all.len() < count {
        let batch = tokio::time::timeout(DEADLINE, batches.recv()).await;
        let batch = batch.unwrap_or_else(|_| panic!("only {} came", all.len())).expect("the channel runs");
        assert!(!format!("{batch:?}").contains(NAME) && !format!("{batch:?}").contains("13800138000"));
        all.extend(batch.happenings);
    }
    all
}

fn numbers(happenings: &[Happening]) -> Vec<u32> {
    let number = |h: &Happening| h.record.as_ref().unwrap().split('-').nth(1).unwrap().parse().unwrap();
    happenings.iter().map(number).collect()
}

#[tokio::test]
async fn a_thousand_records_in_a_second_are_handed_on_in_order_and_none_twice() {
    let broker = Broker::with(tempfile::tempdir().unwrap(), "max_queued_messages 10000\n");
    for version in [Version::V311, Version::V5] {
        let mut channel = Channel::of(mqtt::Settings { version, ..settings(&broker, terminal()) }, 64);
        broker.subscribed(if version == Version::V5 { 2 } else { 1 }).await;
        let begun = Instant::now();
        let mut publisher = publish_lines(&broker, "mqtt/face/1026700/Rec", &records(1..=1000, 0));
        let all = happenings(&mut channel.batches, 1000).await;
        let took = begun.elapsed();
        println!(
            "1,000 records over {version:?}: {:.2} s from the first sent to the last handed on",
            took.as_secs_f64()
        );
        assert_eq!(numbers(&all), (1..=1000).collect::<Vec<_>>());
        assert!(all.iter().all(|h| h.kind == Done::Granted && !h.late));
        assert_eq!(all[2].who, Some(pseudonyms().person("4")));
        assert!(publisher.wait().unwrap().success());

        // The terminal has not heard our acknowledgements and tells all of it again; then something new.
        publish_lines(&broker, "mqtt/face/1026700/Rec", &records(1..=1001, 2)).wait().unwrap();
        let next = happenings(&mut channel.batches, 1).await;
        assert_eq!((numbers(&next), next[0].late), (vec![1001], true), "what it told before happened once");
        channel.end().await;
    }
}

#[tokio::test]
async fn a_broker_that_is_restarted_amid_a_thousand_records_sends_the_rest_and_nothing_happens_twice() {
    let mut broker = Broker::with(tempfile::tempdir().unwrap(), "max_queued_messages 10000\n");
    let mut channel = Channel::with_room(&broker, terminal(), 1);
    broker.subscribed(1).await;
    publish_lines(&broker, "mqtt/face/1026700/Rec", &records(1..=1000, 0)).wait().unwrap();
    let mut all = happenings(&mut channel.batches, 300).await;
    // Some are read and not acknowledged, the rest is still there: it comes again, some of it twice.
    broker.stop();
    broker.start_again();
    all.extend(happenings(&mut channel.batches, 700).await);
    assert_eq!(numbers(&all), (1..=1000).collect::<Vec<_>>());
    broker.publish("mqtt/face/1026700/Rec", &record(1001, 0), &[]);
    assert_eq!(numbers(&happenings(&mut channel.batches, 1).await), [1001], "and nothing else");
    channel.end().await;
}

#[tokio::test]
async fn what_a_killed_broker_forgot_the_terminal_tells_again_and_it_happens_once() {
    let mut broker = Broker::with(tempfile::tempdir().unwrap(), "max_queued_messages 10000\n");
    let mut channel = Channel::with_room(&broker, terminal(), 1);
    broker.subscribed(1).await;
    publish_lines(&broker, "mqtt/face/1026700/Rec", &records(1..=1000, 0)).wait().unwrap();
    let mut all = happenings(&mut channel.batches, 300).await;
    broker.kill();
    // What was received before is handed on while the channel learns of it.
    while let Ok(Some(batch)) = tokio::time::timeout(DEADLINE, channel.batches.recv()).await {
        if offline(&batch).is_some() {
            break;
        }
        all.extend(batch.happenings);
    }
    broker.start_again();
    // It says that the broker is back, and there is room for one word at a time.
    let taken = async {
        while let Some(batch) = channel.batches.recv().await {
            all.extend(batch.happenings);
        }
    };
    tokio::select! {
        () = broker.subscribed(2) => {}
        () = taken => panic!("the channel has ended"),
    }
    publish_lines(&broker, "mqtt/face/1026700/Rec", &records(1..=1000, 2)).wait().unwrap();
    let missing = 1000 - all.len();
    all.extend(happenings(&mut channel.batches, missing).await);
    assert_eq!(numbers(&all), (1..=1000).collect::<Vec<_>>());
    assert!(all.last().unwrap().late);
    channel.end().await;
}

#[tokio::test]
async fn a_terminal_is_welcomed_its_records_are_acknowledged_and_its_will_is_believed() {
    let broker = Broker::start();
    let mut channel = Channel::start(&broker, terminal());
    broker.subscribed(1).await;
    let port = broker.port.to_string();
    let ears = Command::new("mosquitto_sub")
        .args(["-p", &port, "-i", "ears", "-t", "mqtt/face/1026700", "-C", "2"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    broker.has_subscribed("ears", 1).await;
    broker.publish("mqtt/face/basic", r#"{"operator":"Online","info":{"facesluiceId":"1026700"}}"#, &[]);
    assert_eq!(channel.until("online", |b| b.life.is_some()).await.life, Some(Life::Online));
    broker.publish("mqtt/face/1026700/Rec", &record(7, 0), &[]);
    assert_eq!(happenings(&mut channel.batches, 1).await[0].kind, Done::Granted);
    let heard = tokio::task::spawn_blocking(|| ears.wait_with_output().unwrap()).await.unwrap();
    let heard: Vec<serde_json::Value> = String::from_utf8(heard.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(heard[0]["operator"], "Online-Ack");
    assert_eq!(
        (&heard[1]["operator"], &heard[1]["info"]["SnapOrRecordID"]),
        (&"PushAck".into(), &"7".into())
    );

    broker.publish(
        "mqtt/face/1026700/Snap",
        r#"{"operator":"SnapPush","info":{"SnapID":"1","pic":"data:"}}"#,
        &[],
    );
    let stranger = happenings(&mut channel.batches, 1).await.remove(0);
    assert_eq!((stranger.kind, stranger.reason.as_deref()), (Done::Denied, Some("stranger")));
    broker.publish("mqtt/face/basic", r#"{"operator":"Offline","info":{"facesluiceId":"1026700"}}"#, &[]);
    let gone = channel.until("the will", |b| offline(b).is_some()).await;
    assert_eq!(offline(&gone), Some("mqtt/face/basic says offline"));
    channel.end().await;
}

#[tokio::test]
#[ignore = "takes two minutes: cargo test --test mqtt_devices -- --ignored"]
async fn a_terminal_that_falls_silent_is_gone_within_two_minutes() {
    let broker = Broker::start();
    let beat = r#"{"operator":"HeartBeat","info":{"facesluiceId":"1026700","time":"2026-04-10 10:00:00"}}"#;
    let mut channels = Vec::new();
    for version in [Version::V311, Version::V5] {
        let client_id = Some(format!("{version:?}"));
        let settings = mqtt::Settings { version, client_id, ..settings(&broker, terminal()) };
        channels.push(Channel::of(settings, 64));
        broker.has_subscribed(&format!("{version:?}"), 1).await;
    }
    broker.publish("mqtt/face/heartbeat", beat, &[]);
    let since = Instant::now();
    for mut channel in channels {
        assert_eq!(channel.until("online", |b| b.life.is_some()).await.life, Some(Life::Online));
        let silent = tokio::time::timeout(Duration::from_secs(120), channel.batches.recv()).await;
        let silent = silent.expect("it is told to be gone").unwrap();
        assert_eq!(offline(&silent), Some("not a word for 90 s"));
        assert!(since.elapsed() >= Duration::from_secs(89) && since.elapsed() < Duration::from_secs(120));
        channel.end().await;
    }
}

// ---------------------------------------------------------------------------------------------- errands

const SUBSCRIBE: u8 = 8;
const UNSUBSCRIBE: u8 = 10;
const PUBLISH: u8 = 3;

/// A broker that greets, takes subscriptions, answers, and breaks off when it is told an order. It tells the kinds of all packets.
fn breaks_off(listener: &std::net::TcpListener, told: &mpsc::UnboundedSender<u8>) {
    use std::io::Read;
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut head = [0; 2];
    while stream.read_exact(&mut head).is_ok() {
        let mut body = vec![0; head[1] as usize];
        stream.read_exact(&mut body).unwrap();
        match head[0] >> 4 {
            1 => stream.write_all(&[0x20, 2, 1, 0]).unwrap(),
            SUBSCRIBE => stream.write_all(&[0x90, 3, body[0], body[1], 1]).unwrap(),
            UNSUBSCRIBE => stream.write_all(&[0xB0, 2, body[0], body[1]]).unwrap(),
            _ => {}
        }
        told.send(head[0] >> 4).unwrap();
        if head[0] >> 4 == PUBLISH {
            return;
        }
    }
}

#[tokio::test]
async fn an_order_that_the_broker_did_not_take_is_unsure_and_not_said_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, mut packets) = mpsc::unbounded_channel();
    let broker = tokio::task::spawn_blocking(move || {
        breaks_off(&listener, &told);
        breaks_off(&listener, &told);
    });
    let aside = Broker::start();
    let mut channel = Channel::of(mqtt::Settings { port, ..settings(&aside, relay()) }, 64);
    while packets.recv().await.unwrap() != SUBSCRIBE {}
    let outcome = outcome(&mut channel, 1).await;
    assert!(matches!(&outcome, Outcome::Unsure { why } if why.contains("broke")), "{outcome:?}");
    assert_eq!([packets.recv().await, packets.recv().await], [Some(UNSUBSCRIBE), Some(PUBLISH)]);
    // The second connection: a greeting, a subscription and, on the way out, a goodbye.
    while packets.recv().await.unwrap() != SUBSCRIBE {}
    channel.end().await;
    broker.await.unwrap();
    while let Some(kind) = packets.recv().await {
        assert_ne!(kind, PUBLISH, "the order is said again");
    }
}

fn relay() -> Vec<Device> {
    let command = |payload: &str| mqtt::Command { topic: "cmnd/relay/POWER".into(), payload: payload.into() };
    let commands = vec![command("OFF"), command("ON")];
    vec![Device { commands, ..device(0, "stat/relay/POWER", vec![point(0, None)]) }]
}

async fn outcome(channel: &mut Channel, nth: usize) -> Outcome {
    ordered(channel, nth, None).await
}

async fn ordered(channel: &mut Channel, nth: usize, within: Option<Duration>) -> Outcome {
    let until = within.map(|within| (Instant::now() + within).into());
    let deed = Deed { number: 40 + nth as u64, device: DeviceId(0), nth, until };
    channel.lane.send(Errand::Do(deed)).await.unwrap();
    let batch = channel.until("the outcome", |b| b.done.is_some()).await;
    let done = batch.done.unwrap();
    assert_eq!(done.number, 40 + nth as u64);
    done.outcome
}

#[tokio::test]
async fn an_order_is_one_message_and_its_outcome_is_the_brokers_word() {
    let mut broker = Broker::start();
    for version in [Version::V311, Version::V5] {
        let mut channel = Channel::of(mqtt::Settings { version, ..settings(&broker, relay()) }, 64);
        broker.subscribed(if version == Version::V5 { 2 } else { 1 }).await;
        let port = broker.port.to_string();
        let id = format!("relay-{version:?}");
        let device = Command::new("mosquitto_sub")
            .args(["-p", &port, "-i", &id, "-q", "1", "-t", "cmnd/relay/POWER", "-C", "1"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        broker.has_subscribed(&id, 1).await;
        let executed = outcome(&mut channel, 1).await;
        assert!(
            matches!(&executed, Outcome::Executed { what } if what.contains("seen by its state")),
            "{executed:?}"
        );
        let heard = tokio::task::spawn_blocking(|| device.wait_with_output().unwrap()).await.unwrap();
        assert_eq!(heard.stdout, b"ON\n");
        if version == Version::V5 {
            let nobody = outcome(&mut channel, 0).await;
            assert!(
                matches!(&nobody, Outcome::Failed { why } if why.contains("nobody listens")),
                "{nobody:?}"
            );
            broker.stop();
            channel.until("the loss", |b| offline(b).is_some()).await;
            let gone = outcome(&mut channel, 1).await;
            assert_eq!(gone, Outcome::Failed { why: "the broker is not there".into() });
        }
        let unknown = outcome(&mut channel, 9).await;
        assert!(matches!(unknown, Outcome::Failed { .. }));
        let late = Deed { number: 1, device: DeviceId(0), nth: 0, until: Some(Instant::now().into()) };
        channel.lane.send(Errand::Do(late)).await.unwrap();
        let batch = channel.until("the late one", |b| b.done.is_some()).await;
        assert_eq!(batch.done.unwrap().outcome, Outcome::Failed { why: "it came too late".into() });
        channel.end().await;
    }
}

/// A device that listens for one message, and what it heard.
async fn ear(broker: &Broker, id: &str, more: &[&str]) -> tokio::task::JoinHandle<String> {
    let port = broker.port.to_string();
    let mut device = Command::new("mosquitto_sub");
    device.args(["-p", &port, "-i", id, "-q", "1", "-t", "cmnd/relay/POWER", "-C", "1"]).args(more);
    let device = device.stdout(Stdio::piped()).spawn().unwrap();
    broker.has_subscribed(id, 1).await;
    let heard = move || String::from_utf8(device.wait_with_output().unwrap().stdout).unwrap();
    tokio::task::spawn_blocking(heard)
}

const SOON: Duration = Duration::from_millis(1200);

#[tokio::test]
async fn an_order_is_not_told_to_a_broker_that_has_stopped_and_not_when_it_goes_on() {
    for version in [Version::V311, Version::V5] {
        let broker = Broker::start();
        let mut channel = Channel::of(mqtt::Settings { version, ..settings(&broker, relay()) }, 64);
        broker.subscribed(1).await;
        let heard = ear(&broker, "relay", &[]).await;
        broker.signal("STOP");
        let outcome = ordered(&mut channel, 1, Some(SOON)).await;
        assert!(matches!(&outcome, Outcome::Failed { why } if why.contains("not told")), "{outcome:?}");
        broker.signal("CONT");
        // The next one comes behind it on the same way.
        let next = ordered(&mut channel, 0, Some(DEADLINE)).await;
        assert!(matches!(next, Outcome::Executed { .. }), "{next:?}");
        assert_eq!(heard.await.unwrap(), "OFF\n", "{version:?}: the order of before is told after its time");
        assert!(channel.batches.is_empty(), "the connection stands");
        channel.end().await;
    }
}

/// A line to the broker on which, once it was asked whether it is there, nothing goes on until it is told so: first what lies on
/// it, then whoever has connected meanwhile.
fn stalls_after_the_question(port: u16, goes_on: std::sync::mpsc::Receiver<()>) -> u16 {
    use std::io::{Read, copy};
    use std::net::{Shutdown, TcpListener, TcpStream};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().port();
    let mut goes_on = Some(goes_on);
    std::thread::spawn(move || {
        let mut packet = vec![0; 64 * 1024];
        while let Ok((mut near, _)) = listener.accept() {
            let mut far = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (mut from, mut to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
            std::thread::spawn(move || copy(&mut from, &mut to));
            while let Ok(length @ 1..) = near.read(&mut packet) {
                far.write_all(&packet[..length]).unwrap();
                if packet[0] >> 4 == UNSUBSCRIBE
                    && let Some(goes_on) = goes_on.take()
                {
                    goes_on.recv().unwrap();
                }
            }
            let _ = far.shutdown(Shutdown::Both);
        }
    });
    at
}

#[tokio::test]
async fn an_order_that_lies_on_the_way_is_taken_back_when_its_time_is_over() {
    // More than the far end takes before anybody reads it: the rest lies in our kernel, and of the last also with the library.
    for (version, length) in [(Version::V311, 1 << 18), (Version::V5, 1 << 18), (Version::V311, 1 << 20)] {
        let broker = Broker::start();
        let (go_on, goes_on) = std::sync::mpsc::channel();
        let port = stalls_after_the_question(broker.port, goes_on);
        let mut devices = relay();
        devices[0].commands[1].payload = "ON".repeat(length);
        let mut channel = Channel::of(mqtt::Settings { version, port, ..settings(&broker, devices) }, 64);
        broker.subscribed(1).await;
        let heard = ear(&broker, "relay", &[]).await;
        let outcome = ordered(&mut channel, 1, Some(SOON)).await;
        assert!(matches!(&outcome, Outcome::Unsure { why } if why.contains("in time")), "{outcome:?}");
        go_on.send(()).unwrap();
        // It has connected anew without a word of its devices.
        broker.subscribed(2).await;
        let next = ordered(&mut channel, 0, Some(DEADLINE)).await;
        assert!(matches!(next, Outcome::Executed { .. }), "{next:?}");
        let heard = heard.await.unwrap();
        assert_eq!(&heard[..heard.len().min(20)], "OFF\n", "{version:?}: it is told after its time");
        assert!(channel.batches.is_empty(), "its devices were not away");
        channel.end().await;
    }
}

#[tokio::test]
async fn a_broker_of_mqtt_5_keeps_an_order_no_longer_than_it_is_good() {
    let broker = Broker::start();
    let away = ["-c", "-V", "5", "-x", "300"];
    let leave = ear(&broker, "relay", &[&away[..], &["-E"]].concat()).await;
    assert_eq!(leave.await.unwrap(), "");
    let v5 = mqtt::Settings { version: Version::V5, ..settings(&broker, relay()) };
    let mut channel = Channel::of(v5, 64);
    broker.subscribed(1).await;
    let over = tokio::time::Instant::now() + SOON + Duration::from_secs(1);
    let on = ordered(&mut channel, 1, Some(SOON)).await;
    assert!(matches!(on, Outcome::Executed { .. }), "the broker has it: {on:?}");
    tokio::time::sleep_until(over).await;
    let off = ordered(&mut channel, 0, Some(DEADLINE)).await;
    assert!(matches!(off, Outcome::Executed { .. }), "{off:?}");
    let heard = ear(&broker, "relay", &away).await;
    assert_eq!(heard.await.unwrap(), "OFF\n");
    channel.end().await;
}

#[tokio::test]
async fn an_mqtt_device_cannot_be_asked_and_says_so() {
    let broker = Broker::start();
    let channel = Channel::start(&broker, relay());
    let (answer, seen) = oneshot::channel();
    channel.lane.send(Errand::Read { device: DeviceId(0), point: None, answer }).await.unwrap();
    let seen = tokio::time::timeout(DEADLINE, seen).await.unwrap().unwrap();
    assert!(seen[0].trouble.as_ref().unwrap().contains("/points"));
    channel.end().await;
}

fn scan() -> Scan {
    Scan { from: 0, to: 0, lines: vec![], timeout: Duration::from_secs(60) }
}

async fn sighting(found: &mut mpsc::Receiver<Sighting>) -> Sighting {
    tokio::time::timeout(DEADLINE, found.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_scan_finds_topics_and_leaves_the_channel_alone() {
    let mut broker = Broker::start();
    broker.publish("zigbee2mqtt/door", "secret payload", &["-r"]);
    let mut channel = Channel::start(&broker, relay());
    broker.subscribed(1).await;
    let (found, mut seen) = mpsc::channel(8);
    channel.lane.send(Errand::Scan { what: scan(), found }).await.unwrap();
    let door = Sighting::Found { address: "zigbee2mqtt/door".into(), line: None, how: "retained".into() };
    assert_eq!(sighting(&mut seen).await, door);
    broker.publish("stat/relay/POWER", "ON", &[]);
    let relay = Sighting::Found { address: "stat/relay/POWER".into(), line: None, how: "live".into() };
    assert_eq!(sighting(&mut seen).await, relay, "not what the broker says of itself");
    let (second, mut refused) = mpsc::channel(8);
    channel.lane.send(Errand::Scan { what: scan(), found: second }).await.unwrap();
    assert!(matches!(sighting(&mut refused).await, Sighting::Trouble(why) if why.contains("already")));
    assert_eq!(channel.reading(0).await.quality, Quality::Good, "the channel hears on");

    // Who has seen enough lets go, and the search ends.
    drop(seen);
    let port = broker.port;
    broker.has_logged("gatehouse-cp-017-broker-scan closed its connection", 1).await;
    broker.stop();
    channel.until("the loss", |b| offline(b).is_some()).await;
    let (found, mut seen) = mpsc::channel(8);
    channel.lane.send(Errand::Scan { what: scan(), found }).await.unwrap();
    assert!(
        matches!(sighting(&mut seen).await, Sighting::Trouble(why) if why.contains("is not there")),
        "{port}"
    );
    channel.end().await;
}

#[tokio::test]
async fn a_scan_of_too_many_topics_says_so() {
    let broker = Broker::start();
    let channel = Channel::start(&broker, relay());
    broker.subscribed(1).await;
    let port = broker.port.to_string();
    let (found, mut seen) = mpsc::channel(8);
    channel.lane.send(Errand::Scan { what: scan(), found }).await.unwrap();
    broker.has_subscribed("gatehouse-cp-017-broker-scan", 1).await;
    let script = format!(
        "for n in $(seq 510); do echo t/$n; done | xargs -P 4 -I @ mosquitto_pub -p {port} -q 1 -t @ -m x"
    );
    let mut publisher = Command::new("sh").arg("-c").arg(script).spawn().unwrap();
    let mut topics = 0;
    let trouble = loop {
        match sighting(&mut seen).await {
            Sighting::Found { .. } => topics += 1,
            Sighting::Trouble(why) => break why,
            Sighting::Progress { .. } => {}
        }
    };
    assert_eq!(topics, 500);
    assert!(trouble.contains("more than 500"), "{trouble}");
    publisher.wait().unwrap();
    channel.end().await;
}
