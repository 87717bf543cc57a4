//! The rules of the example compound: each opens in a story of its own, every family of devices has one, and a week in which
//! nothing is wrong opens nothing.
//!
//! The stories stand in `tests/example/*.txt`. Readings go through the cleaning that the profiles ask for, as in the daemon:
//!
//! ```text
//! [sump-high]                                  the rule; it is alone, so that each story is its own
//! 0s          plant-sump.level 0.8             a reading
//! 1m..5m every 10s plant-sump.level 0.9..1.3   readings that go evenly from one to the other; `open|closed`: in turn
//! 4m30s       -> plant-sump.level "title"      what is opened, and when; `3d..4d ->` within, `-` no point, `*` whatever
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use gatehouse::config::{self, Gateway, PROFILES};
use gatehouse::reading::{Batch, Millis, PointId, Reading, Value};
use gatehouse::refine::Cleaner;
use gatehouse::rules::{Change, Condition, Engine, Memory, Over, Plan, Rule};
use gatehouse::ticket::{Class, Ticket};

/// 2026-11-21T08:00:00Z, a Saturday at four in the afternoon there.
const BEGIN: Millis = 1_795_248_000_000;
const BUILT_IN: [&str; 5] = ["device-silent", "channel-offline", "storm", "storage-low", "clock-unsynced"];

fn example() -> Gateway {
    config::load(Path::new("config/example")).unwrap_or_else(|mistakes| panic!("\n{mistakes}")).gateway
}

fn files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

// ---------------------------------------------------------------------------------------------- playing

type Event = (Millis, PointId, Value);

/// What the rules tell of readings, up to an instant.
fn play(gateway: &Gateway, rules: Vec<Rule>, events: &[Event], until: Millis) -> Vec<Change> {
    let site = gateway.site.clone();
    let plan = Plan { rules, standards: gateway.standards(), locale: gateway.locale, epoch: "e1".into() };
    let words: BTreeSet<u32> = (site.devices.iter().filter_map(|device| device.words))
        .chain(site.doors.iter().map(|door| door.words))
        .map(|point| point.0)
        .collect();
    let mut cleaner = Cleaner::new(&site);
    let mut engine = Engine::new(plan, site.clone(), Memory::default(), BEGIN);
    let mut told = Vec::new();
    for (number, (at, point, value)) in events.iter().enumerate() {
        engine.advance(*at, true);
        let mut reading = Reading::good(*point, *at, value.clone());
        if words.contains(&point.0) {
            engine.word(&reading);
        } else {
            cleaner.clean(&mut reading, site.point(*point));
            engine.batch(&Batch::new(site.point(*point).device, *at, vec![reading], None));
        }
        if number % 1000 == 0 {
            told.extend(engine.take(*at).told);
        }
    }
    engine.advance(until, true);
    told.extend(engine.take(until).told);
    told
}

fn opened(told: Vec<Change>) -> Vec<Ticket> {
    told.into_iter().filter(|change| change.kind == "ticket.opened").map(|change| change.ticket).collect()
}

// ---------------------------------------------------------------------------------------------- stories

#[derive(Default)]
struct Story {
    place: String,
    events: Vec<Event>,
    opens: Vec<Opens>,
}

struct Opens {
    from: Millis,
    to: Millis,
    point: String,
    title: String,
}

fn stories(gateway: &Gateway) -> BTreeMap<String, Story> {
    let mut stories: BTreeMap<String, Story> = BTreeMap::new();
    for path in files("tests/example").iter().filter(|path| !path.ends_with("well.txt")) {
        let text = fs::read_to_string(path).unwrap();
        let mut rule = String::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split_once("  #").map_or(line, |(line, _)| line).trim();
            let place = format!("{}:{number}", path.display());
            if line.is_empty() || line.starts_with('#') {
            } else if let Some(id) = line.strip_prefix('[') {
                rule = id.trim_end_matches(']').to_owned();
                let before = stories.insert(rule.clone(), Story { place: place.clone(), ..Story::default() });
                assert!(before.is_none(), "{place}: a second story of {rule}");
            } else {
                let story = stories.get_mut(&rule).unwrap_or_else(|| panic!("{place}: of which rule?"));
                tell(line, story, gateway).unwrap_or_else(|| panic!("{place}: `{line}`"));
            }
        }
    }
    stories.values_mut().for_each(|story| story.events.sort_by_key(|(at, ..)| *at));
    stories
}

fn tell(line: &str, story: &mut Story, gateway: &Gateway) -> Option<()> {
    let (when, rest) = line.split_once(' ')?;
    let (from, to) = when.split_once("..").unwrap_or((when, when));
    let (from, to) = (BEGIN + span(from)?, BEGIN + span(to)?);
    let rest = rest.trim();
    if let Some(opens) = rest.strip_prefix("->") {
        let (point, title) = opens.trim().split_once(' ')?;
        let title = title.trim().trim_matches('"').to_owned();
        story.opens.push(Opens { from, to, point: point.to_owned(), title });
        return Some(());
    }
    let (every, rest) = match rest.strip_prefix("every ") {
        Some(rest) => rest.split_once(' ').and_then(|(every, rest)| Some((span(every)?, rest)))?,
        None => (1, rest),
    };
    let (point, values) = rest.trim().split_once(' ')?;
    let point = gateway.site.point_named(point)?;
    let count = ((to - from) / every).max(1);
    story.events.extend(
        (0..count).map(|step| (from + step * every, point, value(values.trim(), step as f64, count as f64))),
    );
    Some(())
}

/// `0.9..1.3` evenly, `open|closed` in turn, `+2` growing by so much each time, or one for all.
fn value(text: &str, step: f64, count: f64) -> Value {
    let number = |number: f64| Value::Number((number * 1000.0).round() / 1000.0);
    if let Some((from, to)) = text.split_once("..")
        && let (Ok(from), Ok(to)) = (from.parse::<f64>(), to.parse::<f64>())
    {
        return number(from + (to - from) * step / count);
    }
    if let Some(by) = text.strip_prefix('+').and_then(|by| by.parse::<f64>().ok()) {
        return number(by * step);
    }
    let turns: Vec<&str> = text.split('|').collect();
    let word = turns[step as usize % turns.len()];
    word.parse().map_or_else(|_| Value::Text(word.into()), number)
}

const UNITS: [(&str, Millis); 4] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];

/// `1d2h`, `90s`
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

impl Opens {
    fn is(&self, ticket: &Ticket) -> bool {
        let title = glob::Pattern::new(&self.title).unwrap().matches(&ticket.title);
        let point = ticket.point.as_deref().unwrap_or("-");
        (self.from..=self.to).contains(&ticket.opened_at) && point == self.point && title
    }
}

/// What a story's tickets say, one a line.
fn shown(tickets: &[Ticket]) -> String {
    let line = |t: &Ticket| {
        let minutes = (t.opened_at - BEGIN) / 60_000;
        let (days, hours, minutes) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
        let seconds = (t.opened_at - BEGIN) / 1000 % 60;
        let point = t.point.as_deref().unwrap_or("-");
        format!("\n   {days}d{hours}h{minutes}m{seconds}s {} -> {point} \"{}\"", t.rule, t.title)
    };
    tickets.iter().map(line).collect()
}

/// What a placeholder without anything in it leaves behind.
fn loose_end(title: &str) -> Option<&'static str> {
    let ends = ["{", "}", "  ", "（）", " ：", "()", "-%", " ，", "，，"];
    let within = ends.into_iter().find(|end| title.contains(end));
    let edge = title.starts_with([' ', ':', '：', '，']) || title.ends_with([' ', ':', '：', '，', '（']);
    within.or(edge.then_some("its edge")).or((!title.chars().any(|c| c > '\u{2E80}')).then_some("no Chinese"))
}

#[test]
fn each_rule_opens_in_a_story_of_its_own() {
    let gateway = example();
    let stories = stories(&gateway);
    let mut wrong = String::new();
    let rule = |id: &str| gateway.rules.iter().find(|rule| &*rule.id == id);
    for (id, story) in &stories {
        let Some(rule) = rule(id) else {
            wrong += &format!("\n{}: there is no rule {id}", story.place);
            continue;
        };
        let until = story.opens.iter().map(|opens| opens.to).max().unwrap_or(BEGIN);
        let until = until.max(story.events.last().map_or(BEGIN, |(at, ..)| *at));
        let opened = opened(play(&gateway, vec![rule.clone()], &story.events, until));
        let as_told = opened.len() == story.opens.len()
            && !opened.is_empty()
            && opened.iter().zip(&story.opens).all(|(ticket, opens)| opens.is(ticket));
        if !as_told {
            wrong += &format!("\n{}: {id} opened{}", story.place, shown(&opened));
        }
        for ticket in opened {
            if let Some(end) = loose_end(&ticket.title) {
                wrong += &format!("\n{}: a loose end, {end}: `{}`", story.place, ticket.title);
            }
        }
    }
    for rule in gateway.rules.iter().filter(|rule| !BUILT_IN.contains(&&*rule.id)) {
        if !stories.contains_key(&*rule.id) {
            wrong += &format!("\n{} has no story", rule.id);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

// ---------------------------------------------------------------------------------------------- a good week

/// `tests/example/well.txt`: patterns of points, and what each says in the course of a day. The first that fits counts.
struct Well(Vec<(glob::Pattern, String)>);

impl Well {
    fn read() -> Self {
        let text = fs::read_to_string("tests/example/well.txt").unwrap();
        let line = |line: &str| {
            let (pattern, values) = line.split_once(' ')?;
            Some((glob::Pattern::new(pattern).unwrap(), values.trim().to_owned()))
        };
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(line).collect())
    }

    /// `5..20` from night to day, `+2` growing by so much an hour, a word that stands; `-`: says nothing.
    fn says(&self, point: &str, hours: f64) -> Option<Value> {
        let (_, text) = self.0.iter().find(|(pattern, _)| pattern.matches(point)).expect(point);
        let round = |number: f64| Value::Number((number * 100.0).round() / 100.0);
        if text == "-" {
            return None;
        }
        if let Some(by) = text.strip_prefix('+').and_then(|by| by.parse::<f64>().ok()) {
            return Some(round(1000.0 + by * hours));
        }
        let Some((low, high)) = text.split_once("..") else {
            let number = text.parse::<f64>().ok();
            return Some(number.map_or_else(|| Value::Text(text.as_str().into()), round));
        };
        // Highest at two in the afternoon, eight hours after midnight UTC less two; and never twice the same.
        let (low, high): (f64, f64) = (low.parse().unwrap(), high.parse().unwrap());
        let day = (((hours + 2.0) / 24.0) * std::f64::consts::TAU).cos() * 0.5 + 0.5;
        let flicker = (hours * 97.0).sin() * 0.02;
        Some(round(low + (high - low) * (day + flicker).clamp(0.0, 1.0)))
    }
}

#[test]
fn a_week_in_which_nothing_is_wrong_opens_nothing_but_what_the_calendar_brings() {
    let gateway = example();
    let well = Well::read();
    let momentary: Vec<PointId> = (gateway.site.devices.iter().filter_map(|device| device.words))
        .chain(gateway.site.doors.iter().map(|door| door.words))
        .collect();
    let measured = (0..gateway.site.points.len() as u32).map(PointId).filter(|id| !momentary.contains(id));
    let mut events = Vec::new();
    for id in measured {
        let point = &gateway.site.point(id).id;
        for step in 0..7 * 24 * 6 {
            let said = well.says(point, f64::from(step) / 6.0);
            events.extend(said.map(|value| (BEGIN + Millis::from(step) * 600_000, id, value)));
        }
    }
    events.sort_by_key(|(at, ..)| *at);
    let rules = gateway.rules.iter().filter(|rule| !BUILT_IN.contains(&&*rule.id)).cloned().collect();
    let opened = opened(play(&gateway, rules, &events, BEGIN + 7 * 86_400_000));
    let calendar = |ticket: &&Ticket| ticket.class == Class::Periodic && ticket.device.is_none();
    let wrong: Vec<Ticket> = opened.iter().filter(|ticket| !calendar(ticket)).cloned().collect();
    assert!(wrong.is_empty(), "{}", shown(&wrong));
}

// ---------------------------------------------------------------------------------------------- the whole

/// The families of the contract's section 6, each with its profiles.
const FAMILIES: [(&str, &str); 21] = [
    ("climate", "xy-md02 rs-ws-n01 cwt-th"),
    ("air", "senseair-s8"),
    ("weather", "sokol-m"),
    ("leak cable", "aqualeak-10k"),
    ("level", "qdy30a"),
    ("single-phase meter", "sdm120 sdm230 ddsu666 pzem-016 dlt645"),
    ("three-phase meter", "sdm630 dtsu666"),
    ("water meter", "xintai-water cjt188"),
    ("relay board", "waveshare-relay-d8"),
    ("UPS", "apc-nmc2"),
    ("drive", "danfoss-fc51 veda-vf51 vacon-10"),
    ("lockers", "lock-board-8a kr-cu16 kr-cu48 winnsen-16"),
    ("reader", "osdp-reader"),
    ("controller", "uhppote"),
    ("face terminal", "face-terminal"),
    ("Zigbee contact", "zigbee2mqtt-contact"),
    ("Zigbee climate, leak", "zigbee2mqtt-climate zigbee2mqtt-leak"),
    ("Zigbee smoke, motion", "zigbee2mqtt-smoke zigbee2mqtt-motion"),
    ("Tasmota", "tasmota-sensor"),
    ("Shelly", "shelly-gen2"),
    ("Milesight", "chirpstack-milesight"),
];

#[test]
fn every_family_of_devices_has_a_rule_on_each_of_its_profiles() {
    let gateway = example();
    let site = &gateway.site;
    let stands_on = |profile: &str| {
        let is_of =
            |point: &PointId| site.device(site.point(*point).device).profile.as_deref() == Some(profile);
        gateway.rules.iter().any(|rule| match &rule.over {
            Over::Points(points) | Over::Together(points) => points.iter().any(is_of),
            _ => false,
        })
    };
    let mut named = BTreeSet::new();
    for (family, profiles) in FAMILIES {
        for profile in profiles.split(' ') {
            assert!(stands_on(profile), "{family}: no rule stands on a point of a {profile}");
            named.insert(profile);
        }
    }
    let all: BTreeSet<&str> = PROFILES.iter().map(|(name, _)| *name).collect();
    assert_eq!(named, all, "a profile is in no family");
}

fn word(condition: &Condition) -> &'static str {
    match condition {
        Condition::Above(_) => "above",
        Condition::Below(_) => "below",
        Condition::Outside(..) => "outside",
        Condition::Inside(..) => "inside",
        Condition::Equals(_) => "equals",
        Condition::NotEquals(_) => "not_equals",
        Condition::Rises { .. } => "rises",
        Condition::Falls { .. } => "falls",
        Condition::Silent(_) => "silent",
        Condition::Stuck(_) => "stuck",
        Condition::Count { .. } => "count",
        Condition::When(_) => "when",
        Condition::Forecast { .. } => "forecast",
        Condition::Runtime { .. } => "runtime",
        Condition::Cycles { .. } => "cycles",
        Condition::Schedule(_) => "schedule",
        _ => "built in",
    }
}

#[test]
fn every_condition_is_used_twice_and_every_class_level_and_trade_is_there() {
    let gateway = example();
    let own: Vec<&Rule> = gateway.rules.iter().filter(|rule| !BUILT_IN.contains(&&*rule.id)).collect();
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    own.iter().for_each(|rule| *times.entry(word(&rule.condition)).or_default() += 1);
    assert_eq!(times.len(), 16, "{times:?}");
    assert!(times.values().all(|times| *times >= 2), "{times:?}");
    let classes: BTreeSet<&str> = own
        .iter()
        .map(|rule| match rule.class {
            Class::Immediate => "immediate",
            Class::Planned => "planned",
            Class::Periodic => "periodic",
        })
        .collect();
    assert_eq!(classes.len(), 3);
    assert_eq!(own.iter().map(|rule| rule.level).collect::<BTreeSet<_>>(), BTreeSet::from([1, 2, 3]));
    let trades: BTreeSet<&str> = own.iter().filter_map(|rule| rule.trade.as_deref()).collect();
    for trade in ["plumbing", "electrical", "security", "lift", "parcel", "cleaning", "fire", "hvac"] {
        assert!(trades.contains(trade), "nobody is sent as {trade}");
    }
}

#[test]
fn each_rule_of_the_example_says_beside_its_id_why_this_number() {
    for path in files("config/example/rules") {
        let text = fs::read_to_string(&path).unwrap();
        for block in text.split("[[rule]]").skip(1) {
            let id = block.lines().find(|line| line.starts_with("id ")).expect("an id");
            assert!(id.split_once('#').is_some_and(|(_, why)| why.len() > 20), "{}: `{id}`", path.display());
        }
    }
}
