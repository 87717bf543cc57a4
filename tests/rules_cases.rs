//! What becomes of tickets, told as cases: each file of `tests/rules` is one, named by its promise.
//!
//! ```text
//! # The sentence that the case shows.
//! [[rule]]                        the configuration, behind a site of two pumps, a tank and a door; its own `[gateway]`,
//! id = "low"                      `[builtin]` or `[[device]]` take the place of the site's
//! …
//! --- cooler                      another configuration by that name, for `restart … with=cooler`
//! ---                             the story
//! 0s    pump-1.pressure 180       a reading; ?180 uncertain; bad; words, true, false; several of one device with commas;
//! 5s    entrance.access forced    of a momentary point: what has happened
//! 5s    offline pump-1             it does not answer any more; online
//! 5s    wire plant down            the wire itself; up
//! 10s   -> opened low value=180   what is told, at its own time; what stands nowhere must not be told
//! 30s   say resolve by=li         acknowledge start resolve close tell; note= id= revision= of=rule@point refused=word
//! 40s   restart off=60s           saved, off for a minute, up again; `kill`: without a word
//! 1h    jump 2h                   the running clock is stepped; `-2h`: back
//! 2h    unsynced                  the clock cannot be believed; synced
//! 3h    maintain place=3号楼 until=4h   device= or rule= as well; until=0s ends it; refused=word
//! 5h    step by=1h                the clock is set forward: the next line is at 6h or later
//! 1d    wait                      nothing until then
//! 2d..9d every 1h tank.level 5..3 readings from 2d to before 9d that go evenly from 5 to 3; `5..3~0.4` swings by as much each
//!                                 day. What is told meanwhile stands behind the line, at its own time.
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use gatehouse::config::{self, Gateway};
use gatehouse::maintenance::{self, Maintenance, Refused, Scope, Step};
use gatehouse::reading::{Batch, DeviceId, Life, Millis, Reading, Reason, Value};
use gatehouse::refine::Cleaner;
use gatehouse::rules::{Change, Engine, Memory, Outcome, Plan, SavedEpisode, SavedTicket};
use gatehouse::ticket::{Action, EVIDENCE_MAX, Refusal, State, Ticket, Verb};

/// 2026-11-21T08:00:00Z, the `0s` of every case.
const BEGIN: Millis = 1_795_248_000_000;

const GATEWAY: &str = "[gateway]\nid = \"cp-017\"\nname = \"锦绣花园\"\n";
const BUILTIN: &str = "[builtin]\ndevice-silent = false\nclock-unsynced = false\n";
const SITE: &str = r#"
[[channel]]
id = "plant"
type = "modbus-tcp"
address = "192.0.2.10:502"
[[channel]]
id = "entrance"
type = "modbus-tcp"
address = "192.0.2.11:502"
"#;
const DEVICES: &str = r#"
[[device]]
id = "pump-1"
channel = "plant"
unit = 1
place = "3号楼/地下室/水泵房"
point = [
  { id = "pressure", table = "holding", register = 0, type = "u16", scale = 0.1, unit = "kPa", range = [0, 1600] },
  { id = "flow", table = "holding", register = 1, type = "i16", scale = 0.1, unit = "m³/h" },
  { id = "starts", table = "holding", register = 2, type = "u32" },
  { id = "state", table = "holding", register = 4, type = "u16", map = { 0 = "stopped", 1 = "running", 2 = "fault" } },
  { id = "alarm", table = "coil", register = 0, type = "bool" },
]
[[device]]
id = "pump-2"
channel = "plant"
unit = 2
place = "4号楼/泵房"
point = [
  { id = "pressure", table = "holding", register = 0, type = "u16", scale = 0.1, unit = "kPa", range = [0, 1600] },
]
[[device]]
id = "tank"
channel = "plant"
unit = 3
point = [{ id = "level", table = "holding", register = 0, type = "u16", scale = 0.01, unit = "m" }]
[[device]]
id = "door"
channel = "entrance"
unit = 4
place = "3号楼/入口"
builtin = { device-silent = false }
point = [{ id = "contact", table = "coil", register = 0, type = "bool", map = { true = "closed", false = "open" } }]
[[door]]
id = "entrance"
contact = "door.contact"
"#;

// ---------------------------------------------------------------------------------------------- a case

struct Case {
    /// By name; the first has none.
    configs: HashMap<String, Gateway>,
    story: Vec<Line>,
}

struct Line {
    number: usize,
    at: Millis,
    text: String,
}

fn parse(text: &str) -> Result<Case, String> {
    let mut tomls = vec![(String::new(), String::new())];
    let (mut story, mut telling) = (Vec::new(), false);
    for (number, line) in (1..).zip(text.lines()) {
        match line.strip_prefix("---").map(str::trim) {
            Some("") => telling = true,
            Some(part) => tomls.push((part.to_owned(), String::new())),
            None if !telling => writeln!(tomls.last_mut().unwrap().1, "{line}").unwrap(),
            None => story.extend(parse_line(number, line)?),
        }
    }
    let story = spread(story)?;
    if !text.starts_with("# ") {
        return Err("begin with `# ` and the sentence that the case shows".into());
    }
    let configs = tomls.into_iter().map(|(part, toml)| Ok((part, load(&toml)?)));
    Ok(Case { configs: configs.collect::<Result<_, String>>()?, story })
}

fn parse_line(number: usize, line: &str) -> Result<Option<Line>, String> {
    let line = line.split_once("  #").map_or(line, |(line, _)| line).trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (at, text) = line.split_once(' ').ok_or_else(|| format!("line {number}: `{line}`"))?;
    let (at, text) = match at.split_once("..") {
        Some((from, _)) => (from, line),
        None => (at, text),
    };
    let at = BEGIN + span(at).ok_or_else(|| format!("line {number}: `{at}` is no time"))?;
    let text = text.trim().to_owned();
    Ok(Some(Line { number, at, text }))
}

/// Ranges become their readings; what is told meanwhile goes between them, ahead of a reading of the same instant.
fn spread(story: Vec<Line>) -> Result<Vec<Line>, String> {
    let (mut lines, mut range) = (Vec::new(), Vec::new());
    for line in story {
        let told = line.text.starts_with("->");
        if !told || range.last().is_none_or(|last: &Line| line.at > last.at) {
            lines.append(&mut range);
        }
        if line.text.split(' ').next().is_some_and(|first| first.contains("..")) {
            range = readings(&line).ok_or_else(|| format!("line {}: `{}`", line.number, line.text))?;
        } else if told && !range.is_empty() {
            let place =
                range.partition_point(|other: &Line| other.at < line.at || other.text.starts_with("->"));
            range.insert(place, line);
        } else {
            lines.push(line);
        }
    }
    lines.append(&mut range);
    Ok(lines)
}

/// `2d..9d every 1h tank.level 5..3~0.4`
fn readings(line: &Line) -> Option<Vec<Line>> {
    let words = words(&line.text);
    let [range, _, every, point, values] = words.as_slice() else { return None };
    let (from, to) = range.split_once("..")?;
    let (from, to, every) = (span(from)?, span(to)?, span(every).filter(|every| *every > 0)?);
    let (values, swing) = values.split_once('~').unwrap_or((values, "0"));
    let (first, last) = values.split_once("..").unwrap_or((values, values));
    let (first, last, swing): (f64, f64, f64) =
        (first.parse().ok()?, last.parse().ok()?, swing.parse().ok()?);
    let reading = |at: Millis| {
        let day = (at as f64 / 86_400_000.0 * std::f64::consts::TAU).sin();
        let value = first + (last - first) * (at - from) as f64 / (to - from) as f64 + swing * day;
        Line { number: line.number, at: BEGIN + at, text: format!("{point} {value:.2}") }
    };
    Some((from..to).step_by(every as usize).map(reading).collect())
}

fn load(toml: &str) -> Result<Gateway, String> {
    let or = |own: &str, usual: &'static str| if toml.contains(own) { "" } else { usual };
    let (gateway, builtin) = (or("[gateway]", GATEWAY), or("[builtin]", BUILTIN));
    let devices = or("[[device]]", DEVICES);
    let whole = format!("{gateway}{builtin}{SITE}{devices}{toml}");
    let loaded = config::load_sources(vec![("gatehouse.toml".into(), whole)]);
    loaded.map(|loaded| loaded.gateway).map_err(|mistakes| mistakes.to_string())
}

const UNITS: [(&str, Millis); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// `1d2h`, `90s`, `500ms`
fn span(text: &str) -> Option<Millis> {
    let (mut rest, mut sum) = (text, 0);
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit)?;
        sum += number.parse::<Millis>().ok()? * millis;
        rest = after;
    }
    (!text.is_empty()).then_some(sum)
}

fn span_text(at: Millis) -> String {
    let (mut rest, mut text) = (at.abs(), if at < 0 { "-" } else { "" }.to_owned());
    for (name, millis) in UNITS {
        if rest >= millis {
            write!(text, "{}{name}", rest / millis).unwrap();
            rest %= millis;
        }
    }
    if at == 0 { "0s".into() } else { text }
}

/// Words between spaces; quotes keep spaces together and are dropped.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn pairs(words: &[String]) -> Result<Vec<(&str, &str)>, String> {
    words.iter().map(|word| word.split_once('=').ok_or_else(|| format!("`{word}` is no key=value"))).collect()
}

// ---------------------------------------------------------------------------------------------- what is told

/// What can be said of a change in a case: times as spans from the beginning, `-` for null.
fn fact(change: &Change, key: &str) -> Option<String> {
    let t = &change.ticket;
    let time = |at: Option<Millis>| at.map(|at| span_text(at - BEGIN));
    let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
    let value = |value: &Option<Value>| value.as_ref().map_or("-".to_owned(), Value::to_string);
    let fact = match key {
        "since" => time(Some(t.since)),
        "opened" => time(Some(t.opened_at)),
        "cleared" => time(t.cleared_at),
        "resolved" => time(t.resolved_at),
        "closed" => time(t.closed_at),
        "contact_by" => time(t.deadlines.contact_by),
        "on_site_by" => time(t.deadlines.on_site_by),
        "follow_up_by" => time(t.deadlines.follow_up_by),
        "number" => Some(t.number.clone()),
        "device" => text(&t.device),
        "point" => text(&t.point),
        "place" => Some(t.place.to_string()),
        "title" => Some(t.title.clone()),
        "class" => serde_json::to_value(t.class).unwrap().as_str().map(str::to_owned),
        "level" => Some(t.level.to_string()),
        "trade" => text(&t.trade),
        "unit" => text(&t.unit),
        "limit" => Some(t.limit.to_string().replace('"', "'")),
        "state" => Some(t.state.word().to_owned()),
        "revision" => Some(t.revision.to_string()),
        "occurrences" => Some(t.occurrences.to_string()),
        "value" => Some(value(&t.value)),
        "id" => t.external_id.clone(),
        "by" => t.by.clone(),
        "note" => t.note.clone(),
        "evidence" => Some(t.evidence.len().to_string()),
        "seen" => {
            let seen = t.evidence.iter().map(|e| format!("{}:{}", span_text(e.0 - BEGIN), value(&e.1)));
            Some(seen.collect::<Vec<_>>().join(" "))
        }
        _ => return None,
    };
    Some(fact.unwrap_or_else(|| "-".to_owned()))
}

const SHOWN: [&str; 12] = [
    "number",
    "state",
    "revision",
    "occurrences",
    "value",
    "since",
    "cleared",
    "resolved",
    "closed",
    "id",
    "by",
    "note",
];

fn show(change: &Change) -> String {
    let kind = change.kind.trim_start_matches("ticket.");
    let mut text = format!("{:<6}-> {kind} {}", span_text(change.at - BEGIN), change.ticket.rule);
    for (key, fact) in SHOWN.iter().filter_map(|key| Some((key, fact(change, key)?))) {
        write!(text, " {key}={fact}").unwrap();
    }
    text
}

/// What is wrong with `change` where `line` was expected.
fn differs(line: &Line, change: &Change) -> Result<(), String> {
    let words = words(line.text.trim_start_matches("->"));
    let [kind, rule, keys @ ..] = words.as_slice() else {
        return Err(format!("`{}`: write `-> kind rule`", line.text));
    };
    let mut wrong = Vec::new();
    if change.at != line.at || change.kind != format!("ticket.{kind}") || *change.ticket.rule != **rule {
        wrong.push(show(change));
    }
    for (key, expected) in pairs(keys)? {
        let fact = fact(change, key).ok_or_else(|| format!("there is no `{key}` in a ticket"))?;
        // A time may be written in any way.
        let same = fact == expected || span(expected).is_some_and(|at| span_text(at) == fact);
        if !same {
            wrong.push(format!("{key}={fact}"));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let expected = format!("{:<6}{}", span_text(line.at - BEGIN), line.text);
    Err(format!("expected {expected}\n         told     {}", wrong.join(" ")))
}

// ---------------------------------------------------------------------------------------------- the bench

/// An engine with a journal in memory.
struct Bench<'a> {
    case: &'a Case,
    config: &'a Gateway,
    cleaner: Cleaner,
    engine: Engine,
    now: Millis,
    synced: bool,
    all: Vec<Change>,
    /// Told, and not yet expected.
    told: VecDeque<Change>,
    tickets: HashMap<Arc<str>, SavedTicket>,
    episodes: HashMap<(Arc<str>, Arc<str>), SavedEpisode>,
    maintenance: HashMap<Scope, Maintenance>,
    number: u64,
}

impl<'a> Bench<'a> {
    fn new(case: &'a Case) -> Result<Self, String> {
        let config = &case.configs[""];
        let mut bench = Self {
            case,
            config,
            cleaner: Cleaner::new(&config.site),
            engine: engine(config, Memory::default(), BEGIN),
            now: BEGIN,
            synced: true,
            all: Vec::new(),
            told: VecDeque::new(),
            tickets: HashMap::new(),
            episodes: HashMap::new(),
            maintenance: HashMap::new(),
            number: 0,
        };
        bench.pass(BEGIN)?;
        Ok(bench)
    }

    /// `stepwise`: time passes from line to line; else a reading alone brings it, and what is expected is not looked at.
    fn run(mut self, stepwise: bool) -> Result<Vec<Change>, String> {
        let case = self.case;
        for line in &case.story {
            let done = match line.text.strip_prefix("->") {
                Some(_) if stepwise => self.expect(line),
                Some(_) => Ok(()),
                None => self.act(line, stepwise),
            };
            done.map_err(|why| format!("line {}: {why}\n{}", line.number, self.story()))?;
        }
        let end = case.story.iter().map(|line| line.at).max();
        self.pass(self.now.max(end.unwrap_or(BEGIN)) + 1)?;
        if stepwise {
            self.nothing_more().map_err(|why| format!("the end: {why}\n{}", self.story()))?;
        }
        Ok(self.all)
    }

    fn story(&self) -> String {
        let told = self.all.iter().fold(String::from("       all that was told:"), |text, change| {
            text + "\n         " + &show(change)
        });
        told + "\n"
    }

    fn expect(&mut self, line: &Line) -> Result<(), String> {
        // What the line before has brought may have happened earlier (a deadline while the clock was off).
        self.pass(line.at.max(self.now))?;
        if self.told.is_empty() {
            // An expression is judged when its instant is over.
            self.pass(self.now + 1)?;
        }
        match self.told.pop_front() {
            Some(change) => differs(line, &change),
            None => Err(format!("expected {}\n         told     nothing", line.text)),
        }
    }

    fn nothing_more(&self) -> Result<(), String> {
        match self.told.front() {
            Some(change) => Err(format!("expected nothing\n         told     {}", show(change))),
            None => Ok(()),
        }
    }

    fn act(&mut self, line: &Line, stepwise: bool) -> Result<(), String> {
        if line.at < self.now {
            return Err("this lies in the past".into());
        }
        let words = words(&line.text);
        let (first, rest) = words.split_first().ok_or("an empty line")?;
        if stepwise || !first.contains('.') {
            self.pass(line.at)?;
        }
        if stepwise {
            self.nothing_more()?;
        }
        self.now = line.at;
        match first.as_str() {
            "wait" => {}
            "synced" | "unsynced" => self.synced = first == "synced",
            "jump" => self.jump(rest)?,
            "restart" | "kill" => self.restart(first == "restart", rest)?,
            "say" => self.say(rest)?,
            "maintain" => self.maintain(rest)?,
            "step" => self.step(rest)?,
            "online" | "offline" => self.life(first == "online", rest)?,
            "wire" => self.wire(rest)?,
            point if point.contains('.') => self.read(&line.text)?,
            other => return Err(format!("`{other}` is nothing that can happen")),
        }
        self.take()
    }

    /// Time goes on to `at`.
    fn pass(&mut self, at: Millis) -> Result<(), String> {
        self.now = at;
        self.engine.advance(at, self.synced);
        if self.engine.next_due().is_some_and(|due| due <= at) {
            return Err("something is due and did not happen".into());
        }
        self.take()
    }

    fn take(&mut self) -> Result<(), String> {
        let Outcome { told, tickets, episodes, maintenance, number } = self.engine.take(self.now);
        self.number = number;
        for maintenance::Change { step, maintenance, .. } in maintenance {
            match step {
                Step::Ended => self.maintenance.remove(&maintenance.scope),
                _ => self.maintenance.insert(maintenance.scope.clone(), maintenance),
            };
        }
        for saved in tickets {
            self.tickets.insert(saved.ticket.id.clone(), saved);
        }
        for saved in episodes {
            self.episodes.insert((saved.rule.clone(), saved.subject.clone()), saved);
        }
        for change in told {
            let before = self.all.iter().rev().find(|c| c.ticket.id == change.ticket.id);
            follows(&change, before).map_err(|why| format!("{why}: {}", show(&change)))?;
            self.all.push(change.clone());
            self.told.push_back(change);
        }
        // What is saved of a ticket is what was told of it last.
        for change in self.all.iter().rev() {
            let saved = &self.tickets[&change.ticket.id].ticket;
            if saved.revision == change.ticket.revision && *saved != change.ticket {
                return Err(format!("what is saved is not what was told: {}", show(change)));
            }
            if saved.revision < change.ticket.revision {
                return Err(format!("told and not saved: {}", show(change)));
            }
        }
        Ok(())
    }

    /// `pump-1.pressure 180, pump-1.flow ?2`
    fn read(&mut self, text: &str) -> Result<(), String> {
        let mut batch: Option<Batch> = None;
        for part in text.split(',') {
            let (id, value) = part.trim().split_once(' ').ok_or("write `point value`")?;
            let site = &self.config.site;
            let point = site.point_named(id).ok_or_else(|| format!("there is no point `{id}`"))?;
            let value = value.trim();
            let mut reading = match (value.strip_prefix('?'), value) {
                (_, "bad") => Reading::bad(point, self.now, Reason::NoAnswer),
                (Some(value), _) => Reading::uncertain(point, self.now, read_value(value), Reason::Retained),
                (None, value) => Reading::good(point, self.now, read_value(value)),
            };
            self.cleaner.clean(&mut reading, site.point(point));
            let device = site.point(point).device;
            let batch = batch.get_or_insert(Batch::new(device, self.now, Vec::new(), None));
            if batch.device != device {
                return Err("one answer is of one device".into());
            }
            batch.readings.push(reading);
        }
        let batch = batch.ok_or("no reading")?;
        match batch.readings.as_slice() {
            [word] if self.is_momentary(word) => self.engine.word(word),
            _ => self.engine.batch(&batch),
        }
        Ok(())
    }

    fn is_momentary(&self, reading: &Reading) -> bool {
        let site = &self.config.site;
        let mut words =
            site.doors.iter().map(|door| door.words).chain(site.devices.iter().filter_map(|d| d.words));
        words.any(|point| point == reading.point)
    }

    /// A device is there, or it does not answer any more.
    fn life(&mut self, online: bool, words: &[String]) -> Result<(), String> {
        for id in words {
            let site = &self.config.site;
            let device = site.device_named(id).ok_or_else(|| format!("there is no device `{id}`"))?;
            let why = "no answer".to_owned();
            let life = if online { Life::Online } else { Life::Offline { why } };
            let bad = |point| Reading::bad(point, self.now, Reason::NoAnswer);
            let readings = site.points_of(device).filter(|_| !online).map(bad).collect();
            self.engine.batch(&Batch::new(device, self.now, readings, Some(life)));
        }
        Ok(())
    }

    /// As the wires say it: down of each device, up of one.
    fn wire(&mut self, words: &[String]) -> Result<(), String> {
        let [channel, state] = words else { return Err("write `wire plant down`".into()) };
        let site = &self.config.site;
        let devices =
            (0..).map(DeviceId).zip(&site.devices).filter(|(_, device)| *device.channel == **channel);
        let up = state == "up";
        let life = (!up).then(|| Life::Offline { why: "cannot be opened".into() });
        for (device, _) in devices.take(if up { 1 } else { usize::MAX }) {
            let bad = |point| Reading::bad(point, self.now, Reason::WireDown);
            let readings = site.points_of(device).filter(|_| !up).map(bad).collect();
            let batch = Batch::new(device, self.now, readings, life.clone());
            self.engine.batch(&Batch { wire: Some(up), ..batch });
        }
        Ok(())
    }

    fn say(&mut self, words: &[String]) -> Result<(), String> {
        let (verb, keys) = words.split_first().ok_or("say what?")?;
        let keys: HashMap<&str, &str> = pairs(keys)?.into_iter().collect();
        let (rule, point) = match keys.get("of") {
            Some(of) => {
                of.split_once('@').map_or((Some(*of), None), |(rule, point)| (Some(rule), Some(point)))
            }
            None => (None, None),
        };
        let meant = |t: &&Ticket| {
            keys.get("number").is_none_or(|number| t.number == *number)
                && rule.is_none_or(|rule| *t.rule == *rule)
                && point.is_none_or(|point| t.point.as_deref() == Some(point))
        };
        let ticket = self.all.iter().rev().map(|c| &c.ticket).find(meant).ok_or("there is no such ticket")?;
        let own = |key| keys.get(key).map(|word: &&str| (*word).to_owned());
        let action = Action {
            ticket: ticket.id.clone(),
            verb: match verb.as_str() {
                "acknowledge" => Verb::Acknowledge,
                "start" => Verb::Start,
                "resolve" => Verb::Resolve,
                "close" => Verb::Close,
                "tell" => Verb::Tell,
                other => return Err(format!("nobody can say `{other}`")),
            },
            by: own("by").unwrap_or_else(|| "li".to_owned()),
            note: own("note"),
            external_id: own("id"),
            revision: keys.get("revision").map(|r| r.parse().unwrap()),
        };
        let answer = match self.engine.act(&action, self.now) {
            Ok(_) => "",
            Err(Refusal::Unknown(_)) => "unknown",
            Err(Refusal::ConditionHolds(_)) => "holds",
            Err(Refusal::Stale { .. }) => "stale",
        };
        let expected = keys.get("refused").copied().unwrap_or_default();
        if answer != expected {
            return Err(format!("expected refused=`{expected}`\n         answered refused=`{answer}`"));
        }
        Ok(())
    }

    fn maintain(&mut self, words: &[String]) -> Result<(), String> {
        let (mut scope, mut until, mut refused) = (None, None, "");
        for (key, value) in pairs(words)? {
            match key {
                "until" => until = span(value),
                "refused" => refused = value,
                key => scope = Scope::of(key, value.into()),
            }
        }
        let asked = Maintenance {
            scope: scope.ok_or("device=, place= or rule=")?,
            since: self.now,
            until: BEGIN + until.ok_or("until=1h")?,
            by: "li".into(),
            note: None,
        };
        let answer = match self.engine.maintain(asked) {
            Ok(_) => "",
            Err(Refused::Unknown { .. }) => "unknown",
            Err(Refused::TooLong { .. }) => "long",
            Err(Refused::TooMany) => "many",
        };
        if answer == refused {
            return Ok(());
        }
        Err(format!("expected refused=`{refused}`\n         answered refused=`{answer}`"))
    }

    fn step(&mut self, words: &[String]) -> Result<(), String> {
        let by = pairs(words)?.first().and_then(|(_, by)| span(by)).ok_or("step by=1h")?;
        self.stepped(by)
    }

    /// The clock is stepped while the daemon runs.
    fn jump(&mut self, words: &[String]) -> Result<(), String> {
        let by = words.first().ok_or("jump 1h, or jump -1h")?;
        let length = span(by.trim_start_matches('-')).ok_or("jump 1h, or jump -1h")?;
        self.stepped(if by.starts_with('-') { -length } else { length })
    }

    fn stepped(&mut self, by: Millis) -> Result<(), String> {
        self.engine.advance(self.now, self.synced);
        self.engine.stepped(by, by, self.now + by);
        self.pass(self.now + by)
    }

    /// Comes up again from what was saved, through JSON as in the journal.
    fn restart(&mut self, orderly: bool, words: &[String]) -> Result<(), String> {
        if orderly {
            self.engine.rest();
            self.take()?;
        }
        let trace = self.now;
        for (key, value) in pairs(words)? {
            match key {
                "off" => self.now += span(value).ok_or("off=60s")?,
                "with" => self.config = self.case.configs.get(value).ok_or("there is no such part")?,
                other => return Err(format!("`{other}`: write off=60s, with=part")),
            }
        }
        let through_json = |saved: &SavedTicket| {
            let json = serde_json::to_string(&saved.ticket).unwrap();
            SavedTicket { ticket: serde_json::from_str(&json).unwrap(), ..saved.clone() }
        };
        let memory = Memory {
            tickets: self.tickets.values().map(through_json).collect(),
            episodes: self.episodes.values().filter(|e| e.state.is_some()).cloned().collect(),
            maintenance: self.maintenance.values().cloned().collect(),
            number: self.number,
            last_trace: trace,
        };
        self.cleaner = Cleaner::new(&self.config.site);
        self.engine = engine(self.config, memory, self.now);
        self.pass(self.now)
    }
}

fn engine(config: &Gateway, memory: Memory, now: Millis) -> Engine {
    let plan = Plan {
        rules: config.rules.clone(),
        standards: config.standards(),
        locale: config.locale,
        epoch: "e1".into(),
    };
    Engine::new(plan, config.site.clone(), memory, now)
}

fn read_value(text: &str) -> Value {
    match (text.parse(), text.parse(), text.parse()) {
        (Ok(flag), _, _) => Value::Bool(flag),
        (_, Ok(whole), _) => Value::Signed(whole),
        (_, _, Ok(number)) => Value::Number(number),
        _ => Value::Text(text.into()),
    }
}

/// What holds of every change in every case; `before` is the same ticket's last one.
fn follows(change: &Change, before: Option<&Change>) -> Result<(), &'static str> {
    let t = &change.ticket;
    let revision = before.map_or(0, |before| before.ticket.revision);
    let rules = [
        (t.revision == revision + 1, "the revision does not follow"),
        ((before.is_none()) == (change.kind == "ticket.opened"), "a ticket is opened first and once"),
        (t.evidence.len() <= EVIDENCE_MAX, "too much evidence"),
        ((t.state == State::Closed) == t.closed_at.is_some(), "closed_at goes with the state"),
        (
            change.kind == "ticket.escalated"
                // By the clock as it was before.
                || (change.kind == "ticket.updated" && t.note.as_deref() == Some("clock"))
                || before.is_none_or(|before| before.at <= change.at || before.kind == "ticket.escalated"),
            "it happened before the last change",
        ),
        (
            t.closed_at.is_none_or(|at| t.resolved_at.is_none_or(|resolved| resolved <= at)),
            "closed before resolved",
        ),
        (change.kind != "ticket.cleared" || t.cleared_at == Some(change.at), "cleared_at is another"),
        (change.kind != "ticket.closed" || t.closed_at == Some(change.at), "closed_at is another"),
        (
            change.kind != "ticket.reopened"
                || (t.cleared_at, t.resolved_at, t.closed_at) == (None, None, None),
            "a reopened ticket is not cleared, resolved or closed",
        ),
        (t.since <= t.opened_at || t.occurrences > 1, "opened before it began"),
    ];
    rules.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, why)| Err(why))
}

// ---------------------------------------------------------------------------------------------- the tests

/// Runs every case and says what is wrong with each.
fn every_case(run: impl Fn(&Case) -> Result<(), String>) -> usize {
    let mut files: Vec<_> = fs::read_dir("tests/rules").unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut wrong = String::new();
    for path in &files {
        let text = fs::read_to_string(path).unwrap();
        if let Err(why) = parse(&text).and_then(|case| run(&case)) {
            writeln!(wrong, "{}: {why}", Path::new(path).display()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    files.len()
}

#[test]
fn every_case_tells_exactly_what_it_says() {
    let cases = every_case(|case| Bench::new(case)?.run(true).map(|_| ()));
    assert!(cases >= 80, "{cases} cases");
}

#[test]
fn time_that_only_readings_bring_tells_the_same() {
    type Told = (&'static str, Millis, u64, u32, State, Option<Value>);
    let by_subject = |all: Vec<Change>| {
        let mut by = BTreeMap::<_, Vec<Told>>::new();
        for Change { kind, at, ticket: t } in all {
            let told = (kind, at, t.revision, t.occurrences, t.state, t.value);
            by.entry((t.rule, t.device, t.point)).or_default().push(told);
        }
        by
    };
    every_case(|case| {
        let stepwise = Bench::new(case)?.run(true)?;
        let lazy = Bench::new(case)?.run(false)?;
        let (stepwise, lazy) = (by_subject(stepwise), by_subject(lazy));
        if stepwise == lazy { Ok(()) } else { Err(format!("step by step {stepwise:#?}\nat once {lazy:#?}")) }
    });
}

#[test]
fn a_case_that_says_too_little_too_much_or_something_else_fails() {
    let case = |story: &str| {
        let text = format!(
            "# A case.\n[[rule]]\nid = \"low\"\npoint = \"pump-1.pressure\"\nbelow = 200.0\n---\n{story}"
        );
        Bench::new(&parse(&text)?)?.run(true).map(|_| ())
    };
    assert_eq!(case("1s pump-1.pressure 180\n1s -> opened low value=180\n"), Ok(()));
    for (story, why) in [
        ("1s pump-1.pressure 180\n", "expected nothing"),
        ("1s pump-1.pressure 180\n2s wait\n1s -> opened low\n", "expected nothing"),
        ("1s pump-1.pressure 180\n1s -> opened low\n1s -> cleared low\n", "told     nothing"),
        ("1s pump-1.pressure 180\n2s -> opened low\n", "told     1s    -> opened low"),
        ("1s pump-1.pressure 180\n1s -> reopened low\n", "told     1s    -> opened low"),
        ("1s pump-1.pressure 180\n1s -> opened high\n", "told     1s    -> opened low"),
        ("1s pump-1.pressure 180\n1s -> opened low value=181\n", "told     value=180"),
        ("1s pump-1.pressure 180\n1s -> opened low valu=180\n", "no `valu`"),
        ("1s pump-1.pressure 180\n1s -> opened low\n2s say close\n", "answered refused=`holds`"),
        ("1s pump-1.pressur 180\n", "no point"),
        ("2s wait\n1s wait\n", "in the past"),
        ("1s wiat\n", "nothing that can happen"),
    ] {
        let said = case(story).expect_err(story);
        assert!(said.contains(why), "{story}: {said}");
    }
}
