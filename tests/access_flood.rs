//! The real binary under floods at the doors: a thousand records of a face terminal in one second through mosquitto, two
//! hundred cards queued in a reader by libosdp. All in the journal, in order, none twice; also where the daemon is killed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access_peers;
mod gateway;
mod mosquitto;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use access_peers::{Controller, KEY, Readers, SERIAL, names, publish_lines};
use gateway::Gateway;
use mosquitto::Broker;
use serde_json::{Value as Json, json};

const RECORDS: &str = "mqtt/face/1026700/Rec";

fn house(broker: Option<u16>, readers: Option<u16>, controller: Option<u16>) -> Gateway {
    let house = Gateway::new("cp-017");
    std::fs::write(house.dir().join("privacy-key"), KEY).unwrap();
    let mut rest = "[privacy]\nkey = { file = \"privacy-key\" }\n".to_owned();
    if let Some(port) = broker {
        rest += &format!(
            r#"
            [[channel]]
            id   = "broker"
            type = "mqtt"
            url  = "mqtt://127.0.0.1:{port}"
            [[device]]
            id      = "lobby"
            channel = "broker"
            profile = "face-terminal"
            topic   = "mqtt/face/1026700"
            "#
        );
    }
    if let Some(port) = readers {
        rest += &format!(
            r#"
            [[channel]]
            id      = "readers"
            type    = "osdp"
            address = "127.0.0.1:{port}"
            [[device]]
            id      = "b3-reader"
            channel = "readers"
            profile = "osdp-reader"
            unit    = 5
            poll    = "50ms"
            "#
        );
    }
    if let Some(port) = controller {
        let listen = mosquitto::free_port();
        rest += &format!(
            r#"
            [[channel]]
            id      = "gates"
            type    = "uhppote"
            address = "127.0.0.1:{port}"
            listen  = "127.0.0.1:{listen}"
            [[device]]
            id      = "gate"
            channel = "gates"
            profile = "uhppote"
            serial  = {SERIAL}
            doors   = 1
            poll    = "100ms"
            "#
        );
    }
    house.configure(&rest);
    house
}

fn record(n: u32, replay: u32) -> String {
    let person = n % 50 + 1;
    json!({"operator": "RecPush", "messageId": format!("m-{n}"), "info": {
        "customId": "", "personId": person.to_string(), "RecordID": n.to_string(), "VerifyStatus": "1", "PersonType": "0",
        "personName": "李小明", "facesluiceId": "1026700", "telnum": "13800138000", "PushType": replay,
        "time": format!("2026-04-10 10:{:02}:{:02}", n / 60 % 60, n % 60),
        "pic": format!("data:image/jpeg;base64,{}", "A".repeat(512)),
    }})
    .to_string()
}

fn records(numbers: impl Iterator<Item = u32>, replay: u32) -> String {
    numbers.map(|n| record(n, replay) + "\n").collect()
}

/// All events of doors in the journal, pulled page by page.
fn told(house: &Gateway) -> Option<Vec<Json>> {
    let (mut all, mut after) = (Vec::new(), "0".to_owned());
    loop {
        let page = house.get(&format!("/api/v1/events?after={after}&limit=1000&types=access.*"))?;
        all.extend(page["events"].as_array()?.iter().cloned());
        after = page["next"].as_str()?.to_owned();
        if page["next"] == page["head"] {
            return Some(all);
        }
    }
}

fn until_told(house: &Gateway, count: usize) -> Vec<Json> {
    house.until(&format!("{count} events of doors are told"), || told(house).filter(|all| all.len() >= count))
}

/// The terminal's own numbers, in the order of the journal.
fn numbers(events: &[Json]) -> Vec<u32> {
    let number = |event: &Json| event["data"]["record"].as_str()?.split('-').nth(1)?.parse().ok();
    events.iter().map(|event| number(event).unwrap_or_else(|| panic!("no record: {event}"))).collect()
}

fn cards(events: &[Json]) -> Vec<&str> {
    events.iter().map(|event| event["data"]["card"].as_str().unwrap()).collect()
}

/// What cards of facility 100 are called.
fn called(numbers: impl Iterator<Item = u32>) -> Vec<String> {
    numbers.map(|card| names().card(&(10_000_000 + card).to_string()).as_str().to_owned()).collect()
}

fn metric(house: &Gateway, name: &str) -> u64 {
    let metrics = house.text("/metrics");
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{name}: {metrics}")).parse().unwrap()
}

fn subscribed(house: &Gateway, broker: &Broker, times: usize) {
    house.until("the daemon has subscribed", || {
        (broker.logged("Sending SUBACK to gatehouse-cp-017-broker") >= times).then_some(())
    });
}

fn big_broker() -> Broker {
    Broker::with(tempfile::tempdir().unwrap(), "max_queued_messages 10000\n")
}

#[test]
fn a_thousand_records_in_one_second_are_all_in_the_journal_in_order_and_none_twice() {
    let broker = big_broker();
    let mut house = house(Some(broker.port), None, None);
    house.start();
    subscribed(&house, &broker, 1);
    let count =
        || (metric(&house, "gatehouse_commit_seconds_count"), metric(&house, "gatehouse_events_total"));
    let before = count();
    let begun = Instant::now();
    let mut terminal = publish_lines(broker.port, RECORDS, &records(1..=1000, 0));
    assert!(terminal.wait().unwrap().success());
    let said = begun.elapsed();
    house.until("1,000 events are durable", || (count().1 >= before.1 + 1000).then_some(()));
    let durable = begun.elapsed();
    let transactions = count().0 - before.0;
    let all = told(&house).unwrap();
    println!(
        "1,000 records: the broker had taken them after {:.2} s, all were durable after {:.2} s, in {transactions} \
         transactions",
        said.as_secs_f64(),
        durable.as_secs_f64()
    );
    assert_eq!(numbers(&all), (1..=1000).collect::<Vec<_>>());
    let expected = names();
    for (event, n) in all.iter().zip(1u32..) {
        assert_eq!(event["type"], "gatehouse.access.granted");
        assert_eq!(event["data"]["card"], expected.person(&(n % 50 + 1).to_string()).as_str(), "{event}");
    }
    // It has not heard us and tells all of it again, as a replay; then one more.
    publish_lines(broker.port, RECORDS, &records(1..=1001, 2)).wait().unwrap();
    assert_eq!(numbers(&until_told(&house, 1001)), (1..=1001).collect::<Vec<_>>());
    assert!(house.stop().0.success());
}

#[test]
fn of_a_thousand_records_each_is_there_once_though_the_daemon_is_killed_three_times_amid_them() {
    let broker = big_broker();
    let mut house = house(Some(broker.port), None, None);
    house.start();
    subscribed(&house, &broker, 1);
    let mut terminal = publish_lines(broker.port, RECORDS, &records(1..=1000, 0));
    let mut had = 0;
    for kill in 1..=3 {
        had = until_told(&house, (had + 100).min(kill * 250)).len();
        house.kill();
        println!("killed with {had} in the journal");
        house.start();
    }
    assert!(terminal.wait().unwrap().success());
    assert_eq!(numbers(&until_told(&house, 1000)), (1..=1000).collect::<Vec<_>>());
    // What it was not told to have arrived the terminal tells again as well.
    publish_lines(broker.port, RECORDS, &records(1..=1001, 2)).wait().unwrap();
    assert_eq!(numbers(&until_told(&house, 1001)), (1..=1001).collect::<Vec<_>>());
    assert!(house.stop().0.success());
    house.journal();
}

/// It says each record without the broker's help (QoS 0), waits until it is told that this one has arrived, and tells it again
/// as a replay until it is: that is all that it has against an outage.
#[test]
fn a_terminal_that_resumes_from_its_breakpoint_has_each_record_in_the_journal_once_though_the_daemon_is_killed()
 {
    let broker = big_broker();
    let mut house = house(Some(broker.port), None, None);
    house.start();
    subscribed(&house, &broker, 1);
    let heard = Heard::start(&broker);
    let mut again = 0;
    for n in 1..=40 {
        let mut replay = 0;
        loop {
            broker.publish(RECORDS, &record(n, replay), &["-q", "0"]);
            if n % 8 == 0 && replay == 0 {
                house.kill();
                house.start();
            }
            if heard.acknowledgement(n) {
                break;
            }
            (again, replay) = (again + 1, 2);
        }
        // What the terminal may forget now is on the disk: nothing is awaited here.
        assert_eq!(told(&house).unwrap().len(), n as usize);
    }
    println!("40 records, 5 kills, {again} told again");
    assert_eq!(numbers(&until_told(&house, 40)), (1..=40).collect::<Vec<_>>());
}

/// What is said to the terminal.
struct Heard {
    process: Child,
    lines: mpsc::Receiver<String>,
}

impl Heard {
    fn start(broker: &Broker) -> Self {
        let port = broker.port.to_string();
        let mut process = Command::new("mosquitto_sub")
            .args(["-h", "127.0.0.1", "-p", &port, "-i", "terminal", "-t", "mqtt/face/1026700"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (out, lines) = mpsc::channel();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| out.send(line)));
        gateway::until(|| (broker.logged("Sending SUBACK to terminal") > 0).then_some(())).unwrap();
        Self { process, lines }
    }

    /// Whether this record is acknowledged, soon.
    fn acknowledgement(&self, n: u32) -> bool {
        let end = Instant::now() + Duration::from_secs(1);
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            let said: Json = serde_json::from_str(&line).unwrap();
            if said["operator"] == "PushAck"
                && said["info"]["SnapOrRecordID"].as_str() == Some(&n.to_string())
            {
                return true;
            }
        }
        false
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn two_hundred_cards_queued_in_a_reader_are_all_in_the_journal_in_order_and_none_twice() {
    let port = mosquitto::free_port();
    let mut readers = Readers::start(port, &["5"]);
    readers.tell("cards 5 1 200"); // before anybody asks
    let mut house = house(None, Some(port), None);
    let begun = Instant::now();
    house.start();
    let all = until_told(&house, 200);
    println!("200 cards: all durable {:.2} s after the daemon's start", begun.elapsed().as_secs_f64());
    assert_eq!(cards(&all), called(1..=200));
    assert!(all.iter().all(|event| event["type"] == "gatehouse.access.card"));
    // A stop and a start in between lose none.
    readers.tell("cards 5 201 100");
    until_told(&house, 230);
    assert!(house.stop().0.success());
    house.start();
    assert_eq!(cards(&until_told(&house, 300)), called(1..=300));
}

/// OSDP knows no repetition after a power cut: a reader forgets a card when it has told it, and who falls between hearing
/// and writing has lost that one. More than that is not lost, since the next is asked for only when the last is on the
/// disk; and none is told twice.
#[test]
fn a_kill_amid_two_hundred_cards_of_a_reader_costs_the_one_on_its_way_at_the_most_and_none_is_there_twice() {
    let port = mosquitto::free_port();
    let mut readers = Readers::start(port, &["5"]);
    readers.tell("cards 5 1 200");
    let mut house = house(None, Some(port), None);
    house.start();
    let kills = 3;
    for kill in 1..=kills {
        until_told(&house, kill * 40);
        house.kill();
        house.start();
    }
    until_told(&house, 200 - kills);
    readers.tell("cards 5 900 1");
    let last = called(900..=900);
    let all = house.until("the last card is told", || {
        told(&house).filter(|all| all.last().is_some_and(|event| event["data"]["card"] == last[0].as_str()))
    });
    let mut order = called(1..=200);
    order.extend(last);
    let places: Vec<usize> =
        cards(&all).iter().map(|card| order.iter().position(|known| known == card).unwrap()).collect();
    assert!(places.is_sorted_by(|a, b| a < b), "in order, none twice: {places:?}");
    let lost: BTreeSet<usize> = (0..201).filter(|n| !places.contains(n)).collect();
    println!("{kills} kills cost {} of 200 cards", lost.len());
    assert!(lost.len() <= kills, "{lost:?}");
}

/// A controller keeps its events and is asked for each by its number: nothing is lost, and what is told again is known.
#[test]
fn of_two_hundred_events_of_a_controller_each_is_there_once_though_the_daemon_is_killed_three_times_amid_them()
 {
    let controller = Controller::start();
    controller.card(1, true);
    controller.is_known();
    let mut house = house(None, None, Some(controller.port));
    house.start();
    for card in 1..=200 {
        controller.card(10_000_000 + card, true);
    }
    for kill in 1..=3 {
        until_told(&house, kill * 35);
        house.kill();
        house.start();
    }
    assert_eq!(cards(&until_told(&house, 200)), called(1..=200));
    controller.card(10_000_900, true);
    assert_eq!(
        cards(&until_told(&house, 201)).last(),
        called(900..=900).iter().map(String::as_str).collect::<Vec<_>>().last()
    );
}

/// The number kept in the controller is written late and is gone when its memory is cleared: it is the journal that knows.
#[test]
fn a_kill_soon_after_the_first_contact_or_a_clearing_of_a_controller_loses_no_event_and_tells_none_twice() {
    let controller = Controller::start();
    let cards_held = |cards: std::ops::RangeInclusive<u32>| {
        cards.for_each(|card| controller.card(10_000_000 + card, true));
    };
    cards_held(1..=1); // before our time
    let mut house = house(None, None, Some(controller.port));
    house.start();
    house.until("the controller is told where we began", || (controller.stored() == 1).then_some(()));
    cards_held(2..=3);
    until_told(&house, 2);
    house.kill();
    cards_held(4..=5);
    house.start();
    assert_eq!(cards(&until_told(&house, 4)), called(2..=5));

    // Cleared under our eyes.
    controller.clear();
    cards_held(6..=7);
    until_told(&house, 6);
    house.kill();
    cards_held(8..=10);
    house.start();
    assert_eq!(cards(&until_told(&house, 9)), called(2..=10));

    // Cleared while we are down, and since then it has counted on beyond what the journal has.
    house.kill();
    controller.clear();
    cards_held(11..=18);
    house.start();
    until_told(&house, 17);
    cards_held(19..=19);
    assert_eq!(cards(&until_told(&house, 18)), called(2..=19));
}
