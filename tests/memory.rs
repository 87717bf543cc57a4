//! The daemon's memory under load stays flat: values that cross, a peer that hangs up after each question, a centre that
//! flaps, guests that ask and guests that leave in the middle.
//!
//! `MINUTES=30 cargo test --release --test memory -- --nocapture` is the long run and prints its figures; without it ten
//! seconds show that nothing grows by leaps.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use gatehouse::sim::crm::{Crm, Mood};
use gatehouse::sim::modbus::{Server, Units};
use gateway::{Gateway, beside};

const PUMPS: u8 = 30;
/// What tickets, caches and pages of SQLite may still take once it has warmed up, in KiB: in the short run, in which it
/// hardly has, and in the long one.
const GROWTH_SHORT: u64 = 8 * 1024;
const GROWTH_LONG: u64 = 1024;

fn configuration(pumps: &Server, rude: &str, crm: &str) -> String {
    let mut text = format!(
        "[store]\nevents_keep = \"1d\"\n[[sync]]\nname = \"crm\"\nurl = \"{crm}\"\n\
         [[channel]]\nid = \"plant\"\ntype = \"modbus-tcp\"\naddress = \"{}\"\n\
         [[channel]]\nid = \"rude\"\ntype = \"modbus-tcp\"\naddress = \"{rude}\"\n\
         [[rule]]\nid = \"high\"\npoint = \"*.level\"\nabove = 100\nchatter = false\n",
        pumps.address
    );
    for n in 1..=PUMPS + 1 {
        let (channel, unit) = if n > PUMPS { ("rude", 1) } else { ("plant", n) };
        text += &format!(
            "[[device]]\nid = \"pump-{n}\"\nchannel = \"{channel}\"\nunit = {unit}\npoll = \"100ms\"\n\
             [[device.point]]\nid = \"level\"\ntable = \"holding\"\nregister = 0\ntype = \"u16\"\n"
        );
    }
    text
}

/// A peer that takes a question and hangs up.
fn rude_peer() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 64]);
        }
    });
    address
}

/// One asks and waits, one asks and leaves, one says half a word and leaves.
fn guests(api: &str) {
    for (path, stays) in [
        ("/api/v1/events?after=0&limit=100", true),
        ("/api/v1/tickets?limit=100", true),
        ("/metrics", true),
        ("/api/v1/points/pump-1.level/history?buckets=50", true),
        ("/api/v1/events?after=0&limit=1000", false),
    ] {
        let Ok(mut guest) = TcpStream::connect(api) else { continue };
        let _ = guest.set_read_timeout(Some(Duration::from_secs(10)));
        let asks = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let _ = guest.write_all(asks.as_bytes());
        if stays {
            let _ = guest.read_to_end(&mut Vec::new());
        }
    }
    if let Ok(mut guest) = TcpStream::connect(api) {
        let _ = guest.write_all(b"GET /api/v1/ev");
    }
}

/// KiB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn median(mut of: Vec<u64>) -> u64 {
    of.sort_unstable();
    of[of.len() / 2]
}

#[tokio::test]
async fn the_memory_stays_flat_while_everything_around_it_comes_and_goes() {
    let minutes = std::env::var("MINUTES").ok().map(|minutes| minutes.parse::<f64>().unwrap());
    let span = minutes.map_or(Duration::from_secs(10), |minutes| Duration::from_secs_f64(minutes * 60.0));
    let units = Units::default();
    (1..=PUMPS).for_each(|unit| units.set_holding(unit, 0, 1));
    let pumps = Server::tcp(units.clone()).await.unwrap();
    let crm = Crm::start().await.unwrap();
    beside(move || {
        let mut gateway = Gateway::new("gw-flat");
        gateway.configure(&configuration(&pumps, &rude_peer(), &crm.url()));
        gateway.start();
        let (pid, api) = (gateway.pid(), gateway.api().unwrap());
        let (begun, mut round, mut taken) = (Instant::now(), 0u64, Vec::new());
        while begun.elapsed() < span {
            round += 1;
            let unit = 1 + (round % u64::from(PUMPS)) as u8;
            units.set_holding(unit, 0, if (round / u64::from(PUMPS)).is_multiple_of(2) { 500 } else { 1 });
            crm.set_mood([Mood::Accepts, Mood::Accepts, Mood::Refuses(503), Mood::Cuts][(round / 64 % 4) as usize]);
            guests(&api);
            taken.push(resident(pid));
            std::thread::sleep(Duration::from_millis(50));
        }
        // By then it has seen everything once.
        let third = taken.len() / 3;
        let (first, last) = (median(taken[third..2 * third].to_vec()), median(taken[2 * third..].to_vec()));
        let most = taken.iter().max().unwrap();
        let events = gateway.text("/metrics");
        let events = events.lines().find(|line| line.starts_with("gatehouse_events_total")).unwrap_or_default();
        println!("{round} rounds in {span:?}, {events}: {first} KiB in the middle, {last} KiB at the end, {most} KiB at the most");
        let growth = if minutes.is_some() { GROWTH_LONG } else { GROWTH_SHORT };
        assert!(last <= first + growth, "it grew from {first} to {last} KiB");
        assert!(gateway.stop().0.success());
    })
    .await;
}
