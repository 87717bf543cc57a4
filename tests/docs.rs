//! Promise: what the documents show works. TOML is accepted by `check`, Python runs against a real daemon, commands and their
//! flags exist, what a console shows is what it says, and links lead somewhere.
//!
//! An HTML comment on the line before a block says how it is taken: `<!-- on: line -->` puts a fragment of TOML on
//! `tests/docs/on/line.toml`, `<!-- save: first.toml -->` keeps it for the console blocks of the page, `<!-- run -->` runs a console
//! block, `<!-- run: receiver -->` names a program that a test below runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway;
#[path = "pages/mod.rs"]
mod pages;
#[path = "ports/mod.rs"]
mod ports;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use gatehouse::sim::modbus::{Server, Units};
use gateway::{Gateway, beside, of_kind, text, until};
use pages::{Block, page, pages};
use ports::free_port;
use serde_json::Value as Json;

// --- attacks ---

/// `attack_http::name` of tests/attack_http.rs, `web::seats::name` of src/web/seats.rs or the room of that name, `tests/unit.sh`.
fn is_there(test: &str) -> bool {
    if test.starts_with("tests/") {
        return Path::new(test).is_file();
    }
    let Some((room, name)) = test.rsplit_once("::") else { return false };
    let path = room.replace("::", "/");
    let files = [format!("tests/{path}.rs"), format!("src/{path}.rs"), format!("src/{path}/mod.rs")];
    let text = files.iter().find_map(|file| fs::read_to_string(file).ok()).unwrap_or_default();
    text.split("#[test]").chain(text.split("#[tokio::test")).skip(1).any(|after| {
        let signature = after.split_once("fn ").map_or("", |(_, signature)| signature);
        signature.starts_with(&format!("{name}("))
    })
}

#[test]
fn every_attack_names_tests_that_there_are() {
    let page = fs::read_to_string("docs/security.md").unwrap();
    let rows = page.lines().skip_while(|line| !line.starts_with("| attack |")).skip(2);
    let rows: Vec<&str> = rows.take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 40, "{} rows", rows.len());
    for (n, row) in rows.iter().enumerate() {
        let cell = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        if n > 0 && cell == "the same" {
            continue;
        }
        let tests: Vec<&str> = cell
            .split(", ")
            .map(|test| test.strip_prefix('`').and_then(|test| test.strip_suffix('`')).unwrap_or(""))
            .collect();
        let missing: Vec<&&str> = tests.iter().filter(|test| !is_there(test)).collect();
        assert!(missing.is_empty(), "no such test: {missing:?} in {row}");
    }
    assert!(!is_there("attack_http::no_such_test") && !is_there("attack_http") && !is_there("tests/no.sh"));
}

// --- TOML ---

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A block as a whole configuration in a directory of its own.
fn laid_out(block: &Block, dir: &Path) {
    let note = block.note.as_deref().unwrap_or_default();
    let on = |name: &str| fs::read_to_string(format!("tests/docs/on/{name}.toml")).expect(name);
    let device =
        "\n[[device]]\nid = \"one\"\nchannel = \"rs485-1\"\nunit = 1\nprofile = \"acme-t1\"\nrules = true\n";
    let (head, body) = match note.strip_prefix("on: ") {
        _ if block.text.lines().any(|line| line == "[gateway]") => (String::new(), block.text.clone()),
        Some("profile") => {
            keep_profile(&block.text, dir);
            (on("line"), device.to_owned())
        }
        Some("line+profile") => {
            let profile = page(&block.file).into_iter().find(|b| b.note.as_deref() == Some("on: profile"));
            keep_profile(&profile.expect("the page has a profile").text, dir);
            (on("line"), block.text.clone())
        }
        Some(name) => (on(name), block.text.clone()),
        // The README's fragments stand on a gateway; the comment would be seen there.
        None if block.file == "README.md" => (on("gateway"), block.text.clone()),
        None => panic!("{block}: a fragment, and nothing says on what: <!-- on: … -->"),
    };
    let whole = format!("{head}\n{body}").replace("/etc/gatehouse/", &format!("{}/", dir.display()));
    fs::write(dir.join("gatehouse.toml"), &whole).unwrap();
    fs::write(dir.join("privacy-key"), SECRET).unwrap();
    fs::create_dir(dir.join("credentials")).unwrap();
    for named in whole.split("credential = \"").skip(1) {
        let name = named.split('"').next().unwrap();
        fs::write(dir.join("credentials").join(name), SECRET).unwrap();
    }
}

fn keep_profile(text: &str, dir: &Path) {
    fs::create_dir(dir.join("profiles")).unwrap();
    fs::write(dir.join("profiles/acme-t1.toml"), text).unwrap();
}

fn gatehouse(arguments: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
    command.args(arguments).current_dir(dir).env("CREDENTIALS_DIRECTORY", dir.join("credentials"));
    command.env_remove("GATEHOUSE_CONFIG").env_remove("GATEHOUSE_TOKEN_FILE").stdin(Stdio::null());
    command.output().unwrap()
}

#[test]
fn every_configuration_passes_check() {
    // The examples of errors.md are mistakes, one each; tests/errors.rs holds them to that.
    let right = |block: &Block| block.language == "toml" && block.file != "docs/errors.md";
    let blocks: Vec<Block> = pages().into_iter().filter(right).collect();
    assert!(blocks.len() > 15, "the pages are not where they were: {}", blocks.len());
    let mut wrong = Vec::new();
    for block in &blocks {
        let dir = tempfile::tempdir().unwrap();
        laid_out(block, dir.path());
        let checked = gatehouse(&["check", "--config", "."], dir.path());
        if !checked.status.success() {
            wrong.push(format!("{block}:\n{}", text(&checked.stderr)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{} blocks of TOML pass check", blocks.len());
}

#[test]
fn a_fragment_that_is_wrong_would_be_found() {
    let dir = tempfile::tempdir().unwrap();
    let text = "[[rule]]\nid = \"r\"\npoint = \"nothing.there\"\nabove = 1\n".to_owned();
    let note = Some("on: line".to_owned());
    let block = Block { file: "docs/x.md".into(), line: 1, language: "toml".into(), note, text };
    laid_out(&block, dir.path());
    assert_eq!(gatehouse(&["check", "--config", "."], dir.path()).status.code(), Some(78));
}

// --- consoles ---

#[test]
fn what_a_console_shows_is_what_it_says() {
    let all = pages();
    let consoles: Vec<&Block> =
        all.iter().filter(|b| b.language == "console" && b.note.as_deref() == Some("run")).collect();
    assert!(!consoles.is_empty());
    for console in consoles {
        let dir = tempfile::tempdir().unwrap();
        for block in page(&console.file) {
            if let Some(name) = block.note.as_deref().and_then(|note| note.strip_prefix("save: ")) {
                fs::write(dir.path().join(name), &block.text).unwrap();
            }
        }
        let mut lines = console.text.lines().peekable();
        while let Some(asked) = lines.next() {
            let asked = asked.strip_prefix("$ gatehouse ").unwrap_or_else(|| panic!("{console}: `{asked}`"));
            let words: Vec<&str> = asked.split_whitespace().collect();
            let ran = gatehouse(&words, dir.path());
            let said = format!("{}{}", text(&ran.stdout), text(&ran.stderr));
            let mut shown = Vec::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with("$ ")) {
                shown.push(line.trim_end());
            }
            let said_lines: Vec<&str> = said.trim_end().lines().map(str::trim_end).collect();
            assert_eq!(shown, said_lines, "{console}: gatehouse {asked}\n{said}");
        }
    }
}

// --- links, commands, flags ---

#[test]
fn links_lead_to_files_that_are_there() {
    let mut links = 0;
    for file in pages::files() {
        let text = fs::read_to_string(&file).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.starts_with('#') || link.contains(' ') {
                continue;
            }
            let path = link.split('#').next().unwrap();
            let there = Path::new(&file).parent().unwrap().join(path);
            assert!(there.exists(), "{file}: there is no {link}");
            links += 1;
        }
    }
    assert!(links > 40, "{links} links");
}

#[test]
fn every_page_is_in_the_index() {
    let index = fs::read_to_string("docs/README.md").unwrap();
    for file in pages::files() {
        if let Some(name) = file.strip_prefix("docs/").filter(|name| *name != "README.md") {
            assert!(index.contains(&format!("]({name})")), "docs/README.md does not name {name}");
        }
    }
}

#[test]
fn commands_and_their_flags_exist() {
    let mut helps: BTreeMap<String, String> = BTreeMap::new();
    let mut wrong = BTreeSet::new();
    let here = tempfile::tempdir().unwrap();
    for (place, command) in pages::commands() {
        let mut words = command.split_whitespace().skip(1);
        let Some(name) = words.next().filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
        else {
            continue;
        };
        let help = helps.entry(name.to_owned()).or_insert_with(|| {
            let asked = gatehouse(&[name, "--help"], here.path());
            if asked.status.success() { text(&asked.stdout) } else { String::new() }
        });
        if help.is_empty() {
            wrong.insert(format!("{place}: there is no command `gatehouse {name}`"));
        }
        for flag in words.filter(|word| word.starts_with("--") && word.len() > 2) {
            let flag = flag.split(['=', ',', '`', ')', ']', ';', '|']).next().unwrap();
            let known =
                help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).any(|word| word == flag);
            if !known && !help.is_empty() {
                wrong.insert(format!("{place}: `gatehouse {name}` has no {flag}"));
            }
        }
    }
    assert!(helps.len() > 12, "{:?}", helps.keys());
    assert!(wrong.is_empty(), "{}", wrong.into_iter().collect::<Vec<_>>().join("\n"));
}

// --- Python ---

/// Ended with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `chain` is run in tests/verify.rs.
const PROGRAMS: [&str; 3] = ["run: receiver", "run: puller", "run: chain"];

/// The page's program, as it stands there.
fn program(note: &str, dir: &Path, argument: &str, secret: (&str, &str)) -> Program {
    let block = page("docs/crm.md").into_iter().find(|block| block.note.as_deref() == Some(note));
    let file = dir.join("program.py");
    fs::write(&file, block.expect(note).text).unwrap();
    let mut command = Command::new("python3");
    command.arg(&file).arg(argument).env(secret.0, secret.1).current_dir(dir);
    let log = fs::File::create(dir.join("log")).unwrap();
    Program(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("python3 runs"))
}

#[test]
fn every_program_on_a_page_is_run_by_a_test() {
    let notes: Vec<Option<String>> =
        pages().into_iter().filter(|block| block.language == "python").map(|block| block.note).collect();
    assert_eq!(notes, PROGRAMS.map(|note| Some(note.to_owned())));
}

/// What was kept under `event` in a database, in the order in which it came.
fn kept(db: &Path) -> Vec<String> {
    let Ok(db) = rusqlite::Connection::open(db) else { return Vec::new() };
    let Ok(mut rows) = db.prepare("SELECT id FROM event ORDER BY rowid") else { return Vec::new() };
    let ids = rows.query_map([], |row| row.get::<_, String>(0));
    ids.map(|ids| ids.flatten().collect()).unwrap_or_default()
}

fn wired(server: &Server) -> String {
    format!(
        "[[channel]]\nid = \"plant\"\ntype = \"modbus-tcp\"\naddress = \"{}\"\n\
         [[device]]\nid = \"sump\"\nchannel = \"plant\"\nunit = 1\npoll = \"100ms\"\n\
         [[device.point]]\nid = \"level\"\ntable = \"holding\"\nregister = 0\ntype = \"u16\"\n\
         [[rule]]\nid = \"high\"\npoint = \"sump.level\"\nabove = 100\n",
        server.address
    )
}

fn ids(events: &[Json]) -> Vec<String> {
    events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

fn keys(event: &Json, part: &str) -> BTreeSet<String> {
    event.pointer(part).unwrap().as_object().unwrap().keys().cloned().collect()
}

/// What went over the wire to the receiver: key and body of each request, and the answer.
type Wire = Arc<Mutex<Vec<(String, Vec<u8>, Vec<u8>)>>>;

/// Stands between: the first answer is lost on its way.
fn lossy(to: u16) -> (u16, Wire) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, wire) = (listener.local_addr().unwrap().port(), Wire::default());
    let seen = wire.clone();
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let seen = seen.clone();
            std::thread::spawn(move || pass(near, to, &seen));
        }
    });
    (port, wire)
}

fn pass(near: TcpStream, to: u16, seen: &Wire) -> Option<()> {
    let mut reader = BufReader::new(near.try_clone().ok()?);
    let (mut head, mut length, mut key) = (String::new(), 0, String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "idempotency-key" => key = value.trim().to_owned(),
            _ => {}
        }
        head.push_str(&line);
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let answer = asked(to, &[head.as_bytes(), &body].concat())?;
    let first = {
        let mut seen = seen.lock().unwrap();
        seen.push((key, [head.as_bytes(), &body].concat(), answer.clone()));
        seen.len() == 1
    };
    let mut near = near;
    if first { None } else { near.write_all(&answer).ok() }
}

fn asked(port: u16, request: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(request).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(answer)
}

fn answer_body(answer: &[u8]) -> Json {
    let answer = text(answer);
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn the_receiver_takes_each_event_once_and_tells_its_number() {
    let units = Units::default();
    units.set_holding(1, 0, 150);
    let server = Server::tcp(units.clone()).await.unwrap();
    beside(move || {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let _receiver = program(PROGRAMS[0], dir.path(), &port.to_string(), ("CRM_TOKEN", SECRET));
        until(|| TcpStream::connect(("127.0.0.1", port)).ok()).expect("it listens");
        let (between, wire) = lossy(port);

        let mut gateway = Gateway::new("cp-017");
        fs::write(gateway.dir().join("crm-token"), SECRET).unwrap();
        let sync = format!(
            "[[sync]]\nname = \"crm\"\nurl = \"http://127.0.0.1:{between}/events\"\ntoken = {{ file = \"crm-token\" }}\n"
        );
        gateway.configure(&format!("{}{sync}", wired(&server)));
        gateway.start();
        gateway.until("the ticket has the CRM's number", || {
            gateway.tickets().into_iter().find(|ticket| ticket["external_id"] == "WO-1")
        });
        units.set_holding(1, 0, 0);
        gateway.until_told("ticket.cleared", 1);
        let db = dir.path().join("crm.db");
        let (mut there, mut told) = gateway.until("all that was told is there", || {
            let (there, told) = (kept(&db), ids(&gateway.events()));
            (there.len() == told.len()).then_some((there, told))
        });
        there.sort();
        told.sort();
        assert_eq!(there, told, "each event once");

        // The page shows an event with the keys that one has.
        let shown = page("docs/crm.md").into_iter().find(|b| b.note.as_deref() == Some("shape: ticket.opened"));
        let shown: Json = serde_json::from_str(&shown.unwrap().text).unwrap();
        let events = gateway.events();
        let opened = events.iter().find(|event| event["type"] == shown["type"]).unwrap();
        for part in ["", "/data", "/data/deadlines"] {
            assert_eq!(keys(&shown, part), keys(opened, part), "docs/crm.md shows other keys at `{part}`");
        }

        // The answer that was lost: the same batch came again, unchanged.
        let requests = wire.lock().unwrap().clone();
        let again = requests.iter().filter(|(key, ..)| *key == requests[0].0).count();
        assert!(again >= 2, "the batch whose answer was lost came {again} times");
        // Any batch again, by hand: the same answer, and nothing more is kept.
        let with_ticket = requests.iter().find(|(_, _, answer)| text(answer).contains("WO-1")).unwrap();
        let repeated = asked(port, &with_ticket.1).unwrap();
        assert_eq!(answer_body(&repeated), answer_body(&with_ticket.2));
        assert_eq!(kept(&db).len(), told.len());
        let orders = rusqlite::Connection::open(&db).unwrap();
        let orders: u64 = orders.query_row("SELECT COUNT(*) FROM work_order", [], |row| row.get(0)).unwrap();
        assert_eq!(orders, 1, "one ticket, one work order");
        // Who has no token is told so, and leaves nothing.
        let forged = text(&with_ticket.1).replace(SECRET, "guessed");
        assert!(text(&asked(port, forged.as_bytes()).unwrap()).starts_with("HTTP/1.0 401"));
        gateway.stop();
    })
    .await;
}

#[tokio::test]
async fn the_puller_has_each_event_once_also_when_it_is_killed_and_when_nobody_answers() {
    let units = Units::default();
    let server = Server::tcp(units.clone()).await.unwrap();
    beside(move || {
        let dir = tempfile::tempdir().unwrap();
        let mut gateway = Gateway::new("cp-017");
        gateway.listen = format!("127.0.0.1:{}", free_port());
        fs::write(gateway.dir().join("central-token"), SECRET).unwrap();
        let central = "[[api.token]]\nname = \"central\"\nrole = \"central\"\ntoken = { file = \"central-token\" }\n\
             [[consumer]]\nname = \"central\"\nrequired = true\n";
        gateway.configure(&format!("{central}{}", wired(&server)));
        gateway.start();
        let db = dir.path().join("central.db");
        let url = format!("http://{}", gateway.api().unwrap());
        let pull = |secret| program(PROGRAMS[1], dir.path(), &url, ("CENTRAL_TOKEN", secret));
        let has = |kind: &str| {
            let db = rusqlite::Connection::open(&db).ok()?;
            let like = format!("%\"gatehouse.{kind}\"%");
            let found = db.query_row("SELECT COUNT(*) FROM event WHERE body LIKE ?", [like], |row| row.get(0));
            found.ok().filter(|n: &u64| *n > 0).map(|_| ())
        };
        let told = || fs::read_to_string(dir.path().join("log")).unwrap_or_default();
        let mut stranger = pull("guessed");
        let ended = gateway.until("it ends", || stranger.0.try_wait().unwrap());
        assert!(!ended.success() && told().contains("401"), "{}", told());
        let killed = pull(SECRET);
        gateway.until("it has the start", || has("gateway.started"));
        drop(killed);
        units.set_holding(1, 0, 150);
        let mut puller = pull(SECRET);
        gateway.until("it has the ticket", || has("ticket.opened"));
        gateway.stop();
        gateway.until("it finds nobody there", || told().contains("refused").then_some(()));
        gateway.start();
        units.set_holding(1, 0, 0);
        gateway.until("it has the end", || has("ticket.cleared"));
        assert!(puller.0.try_wait().unwrap().is_none(), "it is the one that was there before: {}", told());
        gateway.stop();
        let (pulled, journal) = (kept(&db), gateway.journal());
        assert_eq!(pulled[..], ids(&journal)[..pulled.len()], "in order, each once, none missing");
        assert_eq!(of_kind(&journal[..pulled.len()], "ticket.opened").len(), 1);
    })
    .await;
}
