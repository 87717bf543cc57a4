//! What a puller is promised beyond the order: less to carry where it can unpack, and an answer in time however little of
//! the journal it wants.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod web_house;

use std::io::Read as _;
use std::time::{Duration, Instant};

use gatehouse::event::Draft;
use gatehouse::store::Page;
use web_house::{AT, House};

fn page(kind: &'static str, count: usize) -> Page {
    let data = serde_json::json!({"device": "meter-7", "place": "5号楼/配电间", "why": "no answer"});
    let draft = || Draft::new(kind, "devices/meter-7".into(), AT, &data);
    Page { at: AT, events: (0..count).map(|_| draft()).collect(), ..Page::default() }
}

#[tokio::test]
async fn who_asks_for_gzip_gets_the_same_in_less() {
    let mut house = House::open().await;
    house.commit(&page("device.offline", 500));
    let url = format!("{}/api/v1/events?limit=1000", house.url);
    let plain = house.get("/api/v1/events?limit=1000").await;
    assert_eq!(plain.header("content-encoding"), "");
    let packed = house.http.get(&url).header("accept-encoding", "br, gzip").send().await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    assert_eq!(packed.headers()["content-type"], "application/json");
    let packed = packed.bytes().await.unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
    assert_eq!(text, plain.text);
    assert!(packed.len() * 5 < text.len(), "{} of {}", packed.len(), text.len());
    let refused = house.http.get(&url).header("accept-encoding", "gzip;q=0").send().await.unwrap();
    assert!(!refused.headers().contains_key("content-encoding"));
    let small =
        house.http.get(format!("{url}&after=500")).header("accept-encoding", "gzip").send().await.unwrap();
    assert!(!small.headers().contains_key("content-encoding"), "not worth it");
}

#[tokio::test]
async fn who_wants_little_of_a_long_journal_is_answered_in_time_and_keeps_no_writer_waiting() {
    let mut house = House::open().await;
    for _ in 0..12 {
        house.commit(&page("device.offline", 5000));
    }
    let wanted = house.commit(&page("gateway.started", 1));
    let asking = tokio::spawn({
        let (http, url) = (house.http.clone(), house.url.clone());
        async move {
            let (mut after, mut found) = ("0".to_owned(), Vec::new());
            let begun = Instant::now();
            while found.is_empty() {
                let url = format!("{url}/api/v1/events?types=gateway.started&after={after}");
                let page: serde_json::Value =
                    serde_json::from_str(&http.get(url).send().await.unwrap().text().await.unwrap()).unwrap();
                found.extend(page["events"].as_array().unwrap().clone());
                let next = page["next"].as_str().unwrap().to_owned();
                assert!(found.len() == 1 || next != after, "it goes on");
                assert!(begun.elapsed() < Duration::from_secs(60));
                after = next;
            }
            found[0]["sequence"].as_str().unwrap().parse::<u64>().unwrap()
        }
    });
    while !asking.is_finished() {
        house.commit(&page("device.online", 1));
        tokio::task::yield_now().await;
    }
    assert_eq!(asking.await.unwrap(), wanted);
}
