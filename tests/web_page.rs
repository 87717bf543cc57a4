//! The page over real HTTP: what its files are served with, that there are no others, and what they weigh.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod web_house;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use gatehouse::order::Refused;
use gatehouse::web::Role;
use web_house::{Answer, House};

/// Of all files together, packed: what a technician's phone loads once over a bad line.
const WEIGHT_MAX: usize = 150_000;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Below `src/web/page`, as `views/home.js`.
fn files() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web/page");
    let (mut found, mut dirs) = (BTreeSet::new(), vec![root.clone()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|kind| ["html", "css", "js"].iter().any(|k| kind == *k)) {
                found.insert(path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    assert!(found.len() > 10, "{found:?}");
    found
}

fn text_of(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web/page").join(file)).unwrap()
}

async fn get(house: &House, path: &str, headers: &[(&str, &str)]) -> Answer {
    house.ask("GET", path, headers, "").await
}

#[tokio::test]
async fn every_file_of_the_folder_is_served_as_it_is_written_and_may_load_nothing_from_elsewhere() {
    let house = House::open().await;
    for file in files() {
        let answer = get(&house, &format!("/page/{file}"), &[]).await;
        assert_eq!(answer.status, 200, "{file} is missing in FILES of src/web/page/mod.rs");
        assert!(answer.text == text_of(&file), "{file} is not as it is written");
        assert_eq!(answer.header("content-security-policy"), POLICY, "{file}");
        assert_eq!(answer.header("cache-control"), "no-cache", "{file}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{file}");
        let kind = match file.rsplit_once('.').unwrap().1 {
            "html" => "text/html; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            _ => "text/javascript; charset=utf-8",
        };
        assert_eq!(answer.header("content-type"), kind, "{file}");
    }
}

#[tokio::test]
async fn the_page_itself_needs_no_token_and_shows_its_shell_without_any_script() {
    let house = House::with_tokens(&[("reader", Role::Viewer)]).await;
    let answer = get(&house, "/", &[]).await;
    assert_eq!(answer.status, 200);
    for landmark in ["<header", "<nav", "<main", "lang=\"zh-CN\"", "工单"] {
        assert!(answer.text.contains(landmark), "{landmark}");
    }
    // The policy would forbid them, and nothing would be seen.
    for forbidden in ["<style", " style=", "onclick", "<script>", "http://", "https://"] {
        let found = answer.text.replace("http://www.w3.org/2000/svg", "").contains(forbidden);
        assert!(!found, "`{forbidden}` in index.html");
    }
}

#[tokio::test]
async fn a_file_that_is_known_is_not_sent_again() {
    let house = House::open().await;
    let first = get(&house, "/page/app.js", &[]).await;
    let tag = first.header("etag").to_owned();
    assert!(tag.len() > 10 && tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    for (said, status) in [
        (tag.clone(), 304),
        (format!("W/{tag}"), 304),
        (format!("\"other\", {tag}"), 304),
        ("*".to_owned(), 304),
        ("\"other\"".to_owned(), 200),
        (tag.trim_matches('"').to_owned(), 200),
    ] {
        let again = get(&house, "/page/app.js", &[("if-none-match", &said)]).await;
        assert_eq!(again.status, status, "{said}");
        assert_eq!(again.text.is_empty(), status == 304, "{said}");
        assert_eq!(again.header("etag"), tag, "{said}");
    }
    let other = get(&house, "/page/dom.js", &[]).await;
    assert_ne!(other.header("etag"), tag, "each has a tag of its own");
}

#[tokio::test]
async fn there_are_no_other_files() {
    let house = House::open().await;
    for path in [
        "/page/",
        "/page/nothing.js",
        "/page/mod.rs",
        "/page/../mod.rs",
        "/page/%2e%2e/mod.rs",
        "/page/views",
        "/page/views/",
        "/page//app.js",
        "/page/APP.JS",
        "/page/%ff",
        "/page/app.js%00",
    ] {
        let answer = get(&house, path, &[]).await;
        assert!((400..500).contains(&answer.status), "{path}: {}", answer.status);
        answer.problem(answer.status);
    }
    house.ask("POST", "/page/app.js", &[], "").await.problem(405);
}

#[tokio::test]
async fn the_whole_page_weighs_little_and_is_packed_for_who_asks() {
    let house = House::open().await;
    // One that unpacks nothing by itself.
    let http = reqwest::Client::builder().no_gzip().build().unwrap();
    let mut weight = 0;
    for file in files() {
        let asked = http.get(format!("{}/page/{file}", house.url)).header("accept-encoding", "gzip, br");
        let answer = asked.send().await.unwrap();
        assert_eq!(answer.headers()["content-encoding"], "gzip", "{file}");
        assert_eq!(answer.headers()["vary"], "accept-encoding", "{file}");
        let packed = answer.bytes().await.unwrap();
        let mut plain = String::new();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed[..]), &mut plain).unwrap();
        assert!(plain == text_of(&file), "{file} is not as it is written");
        println!("{file:<28} {:>7} B  packed {:>6} B", plain.len(), packed.len());
        weight += packed.len();
    }
    println!("all of it, packed: {weight} B");
    assert!(weight <= WEIGHT_MAX, "the page weighs {weight} B packed, more than {WEIGHT_MAX}");
}

/// An `import` of a file that is not there shows only in a browser; a word that is missing shows to nobody who tests.
#[test]
fn what_the_files_import_is_there() {
    let files = files();
    for file in files.iter().filter(|file| file.ends_with(".js") && !file.contains("uplot")) {
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        for line in text_of(file).lines().filter(|line| line.starts_with("import ")) {
            let Some((_, from)) = line.rsplit_once("from '") else { continue };
            let name = from.trim_end_matches("';");
            let path = match name.strip_prefix("../") {
                Some(above) => above.to_owned(),
                None => {
                    format!("{folder}/{}", name.trim_start_matches("./")).trim_start_matches('/').to_owned()
                }
            };
            assert!(files.contains(&path), "{file} imports {name}, and there is no {path}");
        }
    }
}

/// The keys of each `zh: {…}` or `en: {…}` in one call of `add` or `addSaid`.
fn words(call: &str, lang: &str) -> BTreeSet<String> {
    let block =
        call.split_once(&format!("  {lang}: {{")).expect(lang).1.split_once("\n  }").unwrap_or((call, "")).0;
    let block = block.split_once("},\n  en: {").map_or(block, |(own, _)| own);
    // Every other piece between the quotes of values is what stands before a value.
    let keys = block.split(": '").filter_map(|piece| piece.rsplit([' ', ',', '{']).next());
    keys.map(|key| key.trim_matches('\'').to_owned())
        .filter(|key| !key.is_empty() && !key.contains('}'))
        .collect()
}

#[test]
fn every_word_of_the_page_is_there_in_both_languages() {
    let mut calls = 0;
    for file in files().iter().filter(|file| file.ends_with(".js") && !file.contains("uplot")) {
        for call in text_of(file).split("\nadd({").skip(1) {
            let call = call.split("\n});").next().unwrap();
            let (chinese, english) = (words(call, "zh"), words(call, "en"));
            let differ: Vec<&String> = chinese.symmetric_difference(&english).collect();
            assert!(chinese.len() > 1 && differ.is_empty(), "{file}: only in one language: {differ:?}");
            calls += 1;
        }
    }
    assert!(calls >= 7, "{calls}");
}

#[test]
fn the_page_has_a_chinese_word_for_all_that_devices_say() {
    let text = text_of("words.js");
    let said = text.split("\naddSaid({").nth(1).unwrap();
    let chinese = words(said, "zh");
    let profiles = fs::read_dir("config/profiles").unwrap().map(|file| file.unwrap().path());
    let tables: Vec<toml::Table> =
        profiles.map(|path| fs::read_to_string(path).unwrap().parse().unwrap()).collect();
    let points = tables.iter().filter_map(|table| table.get("point")?.as_array()).flatten();
    let maps = points.filter_map(|point| point.get("map")?.as_table());
    let mapped: Vec<&str> = maps.flat_map(toml::Table::values).filter_map(toml::Value::as_str).collect();
    assert!(mapped.len() > 30, "{mapped:?}");
    let reasons =
        ["not-yet", "out-of-range", "device-error", "no-answer", "wire-down", "offline", "ambiguous"];
    let happenings =
        ["card", "keypad", "granted", "denied", "opened", "closed", "forced", "held", "exit", "tamper"];
    let lockers = ["deposited", "collected", "unexpected", "jammed", "overdue"];
    let doubts = ["retained", "sensor-fault", "unreadable", "spike", "too-fast", "stuck"];
    let all = mapped.into_iter().chain(reasons).chain(doubts);
    for word in all.chain(happenings).chain(lockers) {
        assert!(chinese.contains(word), "`{word}` has no Chinese in addSaid of words.js: {chinese:?}");
    }
}

/// Every type of the journal that `[[sync]] types` may name has a sentence in both languages.
#[test]
fn every_type_of_event_has_a_sentence() {
    let text = text_of("sentences.js");
    let call = text.split("\nadd({").nth(1).unwrap();
    let spoken = words(call, "zh");
    let contract = [
        ("ticket", "opened updated escalated cleared reopened acknowledged started resolved verified closed"),
        ("access", "card keypad granted denied opened closed forced held exit tamper"),
        ("locker", "opened closed deposited collected unexpected jammed held overdue"),
        ("device", "online offline degraded"),
        ("readings", "summary"),
        (
            "gateway",
            "started stopped config-changed config-rejected clock-stepped storage-low events-dropped data-quality maintenance expired",
        ),
        ("command", "executed refused"),
    ];
    for (kind, verbs) in contract {
        for verb in verbs.split(' ') {
            let name = format!("{kind}.{verb}");
            assert!(spoken.contains(&name), "{name} has no sentence in sentences.js: {spoken:?}");
        }
    }
}

/// All files put their words on one table: the second of two would speak for both.
#[test]
fn no_word_of_the_page_is_told_twice() {
    let mut told = std::collections::BTreeMap::new();
    for file in files().iter().filter(|file| file.ends_with(".js") && !file.contains("uplot")) {
        for call in text_of(file).split("\nadd({").skip(1) {
            for word in words(call.split("\n});").next().unwrap(), "zh") {
                if let Some(other) = told.insert(word.clone(), file.clone()) {
                    panic!("`{word}` stands in {other} and in {file}; keep it in one, or in words.js");
                }
            }
        }
    }
    assert!(told.len() > 150, "{}", told.len());
}

/// A refusal is told by what it is, not by its status: of 409 there are four. The rest nobody hears from the page, which names
/// each order's device, key and time itself.
#[test]
fn every_refusal_of_an_order_has_words_of_its_own() {
    let text = text_of("order.js");
    let call = text.split("\nadd({").nth(1).unwrap();
    let spoken = words(call, "zh");
    let unheard = ["no-expiry", "too-far-ahead", "not-from-there", "malformed"];
    for word in Refused::WORDS.into_iter().filter(|word| !unheard.contains(word)) {
        let problem = if word == "unknown" { "not-found" } else { word };
        assert!(
            spoken.contains(&format!("order.{problem}")),
            "{problem} has no words in order.js: {spoken:?}"
        );
    }
}
