//! `read` and `scan` as a technician types them: by themselves where no daemon runs, through it where one does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway;
mod ports;

use std::process::{Output, Stdio};
use std::sync::Arc;

use crc::{CRC_16_MODBUS, Crc};
use gatehouse::sim::modbus::{Server, Units};
use gateway::Gateway;
use serde_json::Value as Json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_serial::{SerialPort, SerialStream, StopBits};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs a command to its end beside what this runtime simulates.
async fn ran(gateway: &Arc<Gateway>, arguments: &[&str]) -> Output {
    let mut command = gateway.command(arguments[0]);
    command.args(&arguments[1..]).stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

// --- read ---

/// A meter whose voltage is 230.2 V with the words the other way round than the configuration says.
async fn meter() -> (Server, String) {
    let units = Units::default();
    units.change(7, |unit| {
        unit.holding.insert(0, 0x3333);
        unit.holding.insert(1, 0x4366);
        unit.holding.insert(2, 305);
    });
    let server = Server::tcp(units).await.unwrap();
    let config = format!(
        "[[channel]]\nid = \"plant\"\ntype = \"modbus-tcp\"\naddress = \"{}\"\n\
         [[device]]\nid = \"meter\"\nchannel = \"plant\"\nunit = 7\n\
         [[device.point]]\nid = \"voltage\"\ntable = \"holding\"\nregister = 0\ntype = \"f32\"\nunit = \"V\"\nrange = [0, 500]\n\
         [[device.point]]\nid = \"temperature\"\ntable = \"holding\"\nregister = 2\ntype = \"i16\"\nscale = 0.1\nunit = \"°C\"\n\
         [[device]]\nid = \"gone\"\nchannel = \"plant\"\nunit = 9\n\
         [[device.point]]\nid = \"x\"\ntable = \"holding\"\nregister = 0\ntype = \"u16\"\n",
        server.address
    );
    (server, config)
}

#[tokio::test]
async fn read_shows_bytes_and_values_and_explains_a_wrong_word_order() {
    let (_server, config) = meter().await;
    let gateway = Gateway::new("cp-017");
    gateway.configure(&config);
    let gateway = Arc::new(gateway);

    let read = ran(&gateway, &["read", "meter"]).await;
    let page = text(&read.stdout);
    assert!(read.status.success(), "{page}{}", text(&read.stderr));
    assert!(
        page.contains("00 03 33 33 43 66 01 31") || page.contains("33 33 43 66 01 31"),
        "raw bytes: {page}"
    );
    assert!(page.contains("30.5 °C"), "{page}");
    assert!(page.contains("3333 4366"), "the words: {page}");
    assert!(page.contains("CDAB 230.2"), "how it reads otherwise: {page}");

    let one = text(&ran(&gateway, &["read", "meter.temperature"]).await.stdout);
    assert!(one.contains("30.5 °C") && !one.contains("voltage"), "{one}");
    let json: Json =
        serde_json::from_slice(&ran(&gateway, &["read", "meter.temperature", "--json"]).await.stdout)
            .unwrap();
    assert_eq!(json["exchanges"][0]["values"][0]["words"][0], "0131");
    assert_eq!(json["exchanges"][0]["values"][0]["value"], 30.5);

    let gone = ran(&gateway, &["read", "gone"]).await;
    assert_eq!(gone.status.code(), Some(1));
    let page = text(&gone.stdout);
    assert!(page.contains("no answer within") && page.contains("no-answer"), "{page}");
    assert!(!page.contains("device-error"), "nobody said so: {page}");
    let unknown = ran(&gateway, &["read", "metre"]).await;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("meter"), "{}", text(&unknown.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_running_daemon_read_goes_through_it() {
    let (_server, config) = meter().await;
    let mut gateway = Gateway::new("cp-017");
    gateway.listen = free_address();
    gateway.configure(&config);
    let gateway = tokio::task::spawn_blocking(move || {
        gateway.start();
        gateway
    });
    let gateway = Arc::new(gateway.await.unwrap());
    let read = ran(&gateway, &["read", "meter"]).await;
    let page = text(&read.stdout);
    assert!(read.status.success(), "{page}{}", text(&read.stderr));
    assert!(page.contains("30.5 °C") && page.contains("CDAB 230.2"), "{page}");
}

/// A port that nobody has; the daemon's own choice is not known to who reads its configuration.
fn free_address() -> String {
    format!("127.0.0.1:{}", ports::free_port())
}

// --- scan ---

/// Eight units of one line, each with a setting of its own; only who is spoken to in it answers. A pseudo-terminal
/// shows its far end speed and stop bits; parity it does not know.
const UNITS: [(u8, u32, StopBits); 8] = [
    (1, 9600, StopBits::One),
    (2, 9600, StopBits::One),
    (3, 9600, StopBits::Two),
    (5, 4800, StopBits::One),
    (8, 19_200, StopBits::One),
    (9, 19_200, StopBits::Two),
    (11, 2400, StopBits::One),
    (12, 115_200, StopBits::One),
];

/// The far end of a pseudo-terminal sees the setting of the near one.
async fn units(mut far: SerialStream) {
    let crc = Crc::<u16>::new(&CRC_16_MODBUS);
    let mut bytes = Vec::new();
    loop {
        let mut byte = [0];
        if far.read_exact(&mut byte).await.is_err() {
            // The near end is being opened anew.
            tokio::task::yield_now().await;
            continue;
        }
        bytes.push(byte[0]);
        // A right frame of eight bytes at the end of what was heard is a question.
        let Some(frame) = bytes.last_chunk::<8>() else { continue };
        if crc.checksum(&frame[..6]) != u16::from_le_bytes([frame[6], frame[7]]) {
            continue;
        }
        let (unit, function) = (frame[0], frame[1]);
        bytes.clear();
        let line = (far.baud_rate().unwrap(), far.stop_bits().unwrap());
        if UNITS.iter().any(|(u, baud, stop)| *u == unit && (*baud, *stop) == line) {
            let mut answer = vec![unit, function, 2, 0, unit];
            answer.extend(crc.checksum(&answer).to_le_bytes());
            far.write_all(&answer).await.unwrap();
        }
    }
}

fn found(json_lines: &str) -> Vec<(String, String)> {
    let lines = json_lines.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
    let mut found: Vec<(String, String)> = lines
        .filter_map(|line| {
            let found = line.get("found")?;
            Some((found["address"].as_str()?.to_owned(), found["line"].as_str()?.to_owned()))
        })
        .collect();
    found.sort_by_key(|(address, _)| address.parse::<u8>().unwrap_or(0));
    found
}

fn wanted() -> Vec<(String, String)> {
    let stop = |stop| if stop == StopBits::One { '1' } else { '2' };
    UNITS.iter().map(|(unit, baud, s)| (unit.to_string(), format!("{baud} 8N{}", stop(*s)))).collect()
}

fn line_config(port: &str) -> String {
    format!(
        "[[channel]]\nid = \"rs485-1\"\ntype = \"modbus-rtu\"\nport = \"{port}\"\ntimeout = \"100ms\"\n\
         [[device]]\nid = \"one\"\nchannel = \"rs485-1\"\nunit = 1\npoll = \"200ms\"\n\
         [[device.point]]\nid = \"x\"\ntable = \"holding\"\nregister = 0\ntype = \"u16\"\n"
    )
}

const LINES: [&str; 8] =
    ["2400 8N1", "4800 8N1", "9600 8N1", "9600 8N2", "19200 8N1", "19200 8N2", "57600 8N1", "115200 8N1"];

async fn scanned(gateway: &Arc<Gateway>) -> Output {
    let mut arguments = vec!["scan", "rs485-1", "--to", "12", "--timeout", "60ms", "--json"];
    arguments.extend(LINES.iter().flat_map(|line| ["--line", line]));
    ran(gateway, &arguments).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scan_finds_eight_units_of_mixed_speeds() {
    let (far, near) = SerialStream::pair().unwrap();
    let port = near.name().unwrap();
    tokio::spawn(units(far));
    let gateway = Gateway::new("cp-017");
    gateway.configure(&line_config(&port));
    let scan = scanned(&Arc::new(gateway)).await;
    assert_eq!(found(&text(&scan.stdout)), wanted(), "{}", text(&scan.stderr));
    assert!(text(&scan.stdout).contains("\"progress\""), "it says how far it is");
    assert!(scan.status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_running_daemon_scan_goes_through_it_and_polling_goes_on_after_it() {
    let (far, near) = SerialStream::pair().unwrap();
    let port = near.name().unwrap();
    tokio::spawn(units(far));
    let mut gateway = Gateway::new("cp-017");
    gateway.listen = free_address();
    gateway.configure(&line_config(&port));
    let gateway = tokio::task::spawn_blocking(move || {
        gateway.start();
        gateway
    });
    let gateway = Arc::new(gateway.await.unwrap());
    let scan = scanned(&gateway).await;
    assert_eq!(found(&text(&scan.stdout)), wanted(), "{}", text(&scan.stderr));
    let after = gatehouse::time::now();
    tokio::task::spawn_blocking(move || {
        gateway.until("the unit is polled again at its own speed", || {
            let points = gateway.get("/api/v1/points")?;
            let point = &points["points"][0];
            let at = gatehouse::time::parse(point["at"].as_str()?).ok()?;
            (at > after && point["value"] == 1.0).then_some(())
        });
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_setting_the_channels_own_is_tried_first_and_then_the_usual_ones() {
    let (far, near) = SerialStream::pair().unwrap();
    let port = near.name().unwrap();
    tokio::spawn(units(far));
    let gateway = Gateway::new("cp-017");
    gateway.configure(&line_config(&port).replace("timeout", "baud = 19200\ntimeout"));
    let scan = ["scan", "rs485-1", "--from", "8", "--to", "8", "--timeout", "60ms", "--json"];
    let page = text(&ran(&Arc::new(gateway), &scan).await.stdout);
    let lines: Vec<&str> = page.lines().collect();
    assert!(lines[0].contains("19200 8N1"), "its own first: {page}");
    assert!(lines.last().unwrap().contains("{\"done\":10,\"of\":10}"), "and nine others: {page}");
}

#[tokio::test]
async fn a_scan_over_tcp_says_what_it_cannot_do_and_where_to_look() {
    let (_server, config) = meter().await;
    let gateway = Gateway::new("cp-017");
    gateway.configure(&config);
    let gateway = Arc::new(gateway);
    let nobody = ran(&gateway, &["scan", "plant", "--from", "8", "--to", "9", "--timeout", "60ms"]).await;
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody.stdout).contains("look at the units"), "{}", text(&nobody.stdout));
    let speed = ran(&gateway, &["scan", "plant", "--line", "9600 8N1"]).await;
    assert!(text(&speed.stdout).contains("cannot be changed from here"), "{}", text(&speed.stdout));
}
