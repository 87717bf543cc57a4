//! Pictures of all kinds of tickets: what is in them, and that nothing breaks them.

use std::ops::Range;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::curve::{Curve, Drawn};
use super::draw::{Picture, draw};
use super::story::Story;

use crate::reading::{Millis, Value};
use crate::rules::Locale;
use crate::ticket::{Class, Deadlines, State, Ticket};

const AT: Millis = 1_795_248_000_123;
/// What a picture may weigh.
const BYTES_MAX: usize = 30 << 10;

pub fn ticket() -> Ticket {
    Ticket {
        id: "0198f3c0-0000-7000-8000-000000000001".into(),
        number: "CP-017-000123".into(),
        rule: "pump-pressure-low".into(),
        device: Some("pump-1".into()),
        point: Some("pump-1.pressure".into()),
        place: "3号楼/地下室/水泵房".into(),
        title: "3号楼/地下室/水泵房: 水压低 180 kPa".into(),
        class: Class::Immediate,
        level: 1,
        trade: None,
        state: State::Open,
        revision: 1,
        occurrences: 1,
        value: Some(Value::Number(180.0)),
        limit: json!({ "below": 200.0 }),
        unit: Some("kPa".into()),
        external_id: None,
        by: None,
        note: None,
        since: AT,
        opened_at: AT + 10_000,
        cleared_at: None,
        resolved_at: None,
        closed_at: None,
        deadlines: Deadlines::default(),
        evidence: Vec::new(),
    }
}

fn drawn(ticket: &Ticket, readings: &[(Millis, Option<Value>)], now: Millis, locale: Locale) -> String {
    let story = Story::of(ticket, &[]);
    let span = story.span(&ticket.limit, now);
    let mut curve = Curve::new(span.clone());
    readings.iter().for_each(|(at, value)| curve.add(*at, value.as_ref()));
    of(ticket, &story, span, &curve.drawn(), now, locale)
}

fn of(
    ticket: &Ticket,
    story: &Story,
    span: Range<Millis>,
    drawn: &Drawn,
    now: Millis,
    locale: Locale,
) -> String {
    draw(&Picture {
        ticket,
        story,
        span,
        drawn,
        hold: Some(180_000),
        now,
        zone: &TimeZone::get("Asia/Shanghai").unwrap(),
        zone_name: "Asia/Shanghai",
        locale,
    })
}

fn texts(svg: &str) -> Vec<&str> {
    svg.split("<text")
        .skip(1)
        .filter_map(|part| part.split_once('>')?.1.split_once('<'))
        .map(|p| p.0)
        .collect()
}

/// Whether it is well-formed, as far as can be seen without a parser of XML; `tests/chart_svg.rs` asks one.
fn assert_whole(svg: &str) {
    assert!(svg.len() <= BYTES_MAX, "{} bytes", svg.len());
    assert!(svg.starts_with("<?xml") && svg.ends_with("</svg>\n"));
    for number in ["=\"NaN", "=\"inf", "=\"-inf", ">NaN<", ">inf<", ">-inf<"] {
        assert!(!svg.contains(number), "{number} in {svg}");
    }
    for word in ["<script", "<style", "href", "url(", "onload"] {
        assert!(!svg.contains(word), "{word} in {svg}");
    }
    assert!(!svg.chars().any(|c| c.is_control() && c != '\n'));
    for (n, tag) in svg.split('<').skip(1).enumerate() {
        assert_eq!(tag.matches('>').count(), 1, "{n}: <{tag}");
        assert_eq!(tag.split('>').next().unwrap().matches('"').count() % 2, 0, "{n}: <{tag}");
    }
}

fn pressure() -> Vec<(Millis, Option<Value>)> {
    let steps = [(-100, 320.0), (-40, 318.5), (0, 150.0), (20, 152.0), (60, 318.0), (90, 320.0)];
    steps.iter().map(|(s, value)| (AT + s * 1000, Some(Value::Number(*value)))).collect()
}

#[test]
fn a_pressure_that_fell_and_came_back() {
    let cleared = Ticket { cleared_at: Some(AT + 60_000), ..ticket() };
    let svg = drawn(&cleared, &pressure(), AT + 3_600_000, Locale::ZhCn);
    assert_whole(&svg);
    let texts = texts(&svg);
    for text in [
        "3号楼/地下室/水泵房: 水压低 180 kPa",
        "CP-017-000123 · 3号楼/地下室/水泵房 · 低于 200 kPa · 紧急 · 待处理",
        "pump-1.pressure (kPa)",
        "异常开始 2026-11-21 16:00:00",
        "生成工单 2026-11-21 16:00:10",
        "恢复正常 2026-11-21 16:01:00",
        "16:00",
        "11-21",
        "Asia/Shanghai",
        "200",
        "300",
    ] {
        assert!(texts.contains(&text), "`{text}` is not among {texts:#?}");
    }
    assert!(svg.contains(r#"<title>3号楼/地下室/水泵房: 水压低 180 kPa</title>"#));
    assert_eq!(svg.matches("<path").count(), 1);
    assert_eq!(svg.matches(r#"stroke-dasharray="6 4""#).count(), 1, "one limit");
    let english = drawn(&cleared, &pressure(), AT + 3_600_000, Locale::En);
    assert!(english.contains("below 200 kPa · urgent · open"), "{english}");
}

#[test]
fn a_door_that_stood_open_is_a_line_of_two_words() {
    let door = Ticket {
        point: Some("b3-door.door".into()),
        limit: json!({ "equals": "open" }),
        value: Some(Value::Text("open".into())),
        unit: None,
        ..ticket()
    };
    let word = |s: i64, word: &str| (AT + s * 1000, Some(Value::Text(word.into())));
    let svg =
        drawn(&door, &[word(-90, "closed"), word(0, "open"), word(40, "closed")], AT + 60_000, Locale::En);
    assert_whole(&svg);
    let texts = texts(&svg);
    assert!(texts.contains(&"open") && texts.contains(&"closed"), "{texts:?}");
    let path = svg.split("<path d=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(path.matches('V').count(), 2, "up and down again: {path}");
    // The lane of the word that opened it is tinted.
    assert!(svg.contains("#fff1ef"));
}

#[test]
fn a_rule_without_a_point_shows_its_states_and_the_time_it_held() {
    let states = [
        (State::InProgress, None, None),
        (State::Resolved, Some(AT + 60_000), None),
        (State::Closed, Some(AT + 60_000), Some(AT + 90_000)),
    ];
    for (state, resolved_at, closed_at) in states {
        let upkeep = Ticket {
            device: None,
            point: None,
            value: None,
            unit: None,
            limit: json!({ "schedule": "0 8 1 * *" }),
            state,
            resolved_at,
            closed_at,
            cleared_at: resolved_at,
            ..ticket()
        };
        let svg = drawn(&upkeep, &[], AT + 120_000, Locale::En);
        assert_whole(&svg);
        assert!(!svg.contains("<path"), "{svg}");
        assert!(texts(&svg).contains(&"condition") && texts(&svg).contains(&"ticket"));
    }
}

#[test]
fn a_value_is_not_believed_for_longer_than_it_may_be_and_a_bad_reading_ends_it() {
    let held = drawn(&ticket(), &[(AT - 100_000, Some(Value::Number(1.0)))], AT + 3_600_000, Locale::En);
    let path = |svg: &str| svg.split("<path d=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let end: f64 = path(&held).rsplit('H').next().unwrap().parse().unwrap();
    assert!(end < 300.0, "{}", path(&held));
    let ended = [(AT - 100_000, Some(Value::Number(1.0))), (AT, None), (AT + 5000, Some(Value::Number(2.0)))];
    let svg = drawn(&ticket(), &ended, AT + 60_000, Locale::En);
    assert_eq!(path(&svg).matches('M').count(), 2, "{}", path(&svg));
}

#[test]
fn a_month_of_one_reading_a_second_is_a_small_picture() {
    let month = 30 * 24 * 3600;
    let story = Story::of(&ticket(), &[]);
    let now = AT + month * 1000;
    let span = story.span(&Json::Null, now);
    let mut curve = Curve::new(span.clone());
    for second in (0..month).step_by(7) {
        let value = 200.0 + 80.0 * ((second as f64) / 9000.0).sin() + f64::from((second % 97) as i32);
        curve.add(AT + second * 1000, Some(&Value::Number(value)));
    }
    let svg = of(&ticket(), &story, span, &curve.drawn(), now, Locale::ZhCn);
    assert_whole(&svg);
}

fn any_value() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        any::<f64>().prop_map(|n| Some(Value::Number(n))),
        prop_oneof![Just(f64::MAX), Just(f64::MIN), Just(5e-324), Just(0.0)]
            .prop_map(|n| Some(Value::Number(n))),
        any::<i64>().prop_map(|n| Some(Value::Signed(n))),
        any::<bool>().prop_map(|b| Some(Value::Bool(b))),
        ".{0,60}".prop_map(|text| Some(Value::Text(text.into()))),
        Just(None),
    ]
}

fn any_limit() -> impl Strategy<Value = Json> {
    prop_oneof![
        any::<f64>().prop_map(|n| json!({ "above": n })),
        any::<(f64, f64)>().prop_map(|(a, b)| json!({ "outside": [a, b] })),
        any::<(f64, f64)>().prop_map(|(a, b)| json!({ "inside": [a, b] })),
        ".{0,30}".prop_map(|text| json!({ "equals": text })),
        ".{0,30}".prop_map(|text| json!({ "silent": text })),
        ".{0,30}".prop_map(|text| json!({ text: { "within": "10m" } })),
        Just(Json::Null),
        Just(json!([1, 2])),
    ]
}

fn any_time() -> impl Strategy<Value = Millis> {
    prop_oneof![
        3 => AT - 1_000_000..AT + 1_000_000,
        1 => prop_oneof![Just(0), Just(AT), Just(253_402_300_799_999), Just(-62_135_596_800_000)],
    ]
}

fn any_state() -> impl Strategy<Value = State> {
    proptest::sample::select(State::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_read_and_however_a_ticket_is_called_the_picture_is_whole(
        readings in proptest::collection::vec((any_time(), any_value()), 0..40),
        title in "\\PC{0,80}|[\\x00-\\x1f<>&\"']{0,20}|</svg><script>.{0,20}",
        place in ".{0,40}",
        limit in any_limit(),
        (since, opened_at, now) in (any_time(), any_time(), any_time()),
        (cleared_at, resolved_at) in (proptest::option::of(any_time()), proptest::option::of(any_time())),
        state in any_state(),
        zh in any::<bool>(),
    ) {
        let ticket = Ticket {
            title, place: place.into(), limit, since, opened_at, cleared_at, resolved_at, state, ..ticket()
        };
        let locale = if zh { Locale::ZhCn } else { Locale::En };
        assert_whole(&drawn(&ticket, &readings, now, locale));
    }
}

/// Pictures of several kinds, by name.
fn samples() -> Vec<(&'static str, String)> {
    let nasty = "</svg><script>alert('1')</script>\u{0}\u{1b}[31m & \"quoted\" \u{FFFF}\u{202E}]]>";
    let reading = |s: i64, value: Value| (AT + s * 1000, Some(value));
    let text = |word: &str| Value::Text(word.into());
    let cleared = Ticket { cleared_at: Some(AT + 60_000), closed_at: Some(AT + 600_000), ..ticket() };
    let door = Ticket {
        point: Some("b3-door.door".into()),
        limit: json!({ "equals": "open" }),
        unit: None,
        title: "3号楼/入口: 门未关".into(),
        ..ticket()
    };
    let upkeep = Ticket {
        point: None,
        device: None,
        unit: None,
        limit: json!({ "schedule": "0 8 1 * *" }),
        ..ticket()
    };
    let hostile = Ticket {
        title: nasty.repeat(20),
        place: nasty.into(),
        number: nasty.into(),
        unit: Some(nasty.into()),
        limit: json!({ nasty: nasty }),
        ..ticket()
    };
    let door_said = [reading(-90, text("closed")), reading(0, text("open")), reading(70, text("closed"))];
    let hostile_said = [reading(-60, text(nasty)), reading(0, text("]]>"))];
    let leak = Ticket { limit: json!({ "outside": [198.0, 242.0] }), unit: Some("V".into()), ..ticket() };
    let now = AT + 120_000;
    vec![
        ("pressure", drawn(&cleared, &pressure(), now, Locale::ZhCn)),
        ("pressure-en", drawn(&ticket(), &pressure(), now, Locale::En)),
        ("door", drawn(&door, &door_said, now, Locale::ZhCn)),
        ("outside", drawn(&leak, &pressure(), now, Locale::En)),
        ("upkeep", drawn(&upkeep, &[], now, Locale::ZhCn)),
        ("one-reading", drawn(&ticket(), &pressure()[2..3], now, Locale::En)),
        ("hostile", drawn(&hostile, &hostile_said, now, Locale::En)),
    ]
}

/// `tests/.venv`'s Python has an XML parser (expat) that others wrote.
#[test]
fn a_parser_of_xml_takes_every_picture() {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<_> = samples()
        .iter()
        .map(|(name, svg)| {
            let path = dir.path().join(format!("{name}.svg"));
            std::fs::write(&path, svg).unwrap();
            path
        })
        .collect();
    let parse = "import sys, xml.etree.ElementTree as x\n\
                 for p in sys.argv[1:]: print(x.parse(p).getroot().find('{http://www.w3.org/2000/svg}title').text)";
    let parsed = std::process::Command::new("python3").arg("-c").arg(parse).args(&paths).output().unwrap();
    assert!(parsed.status.success(), "{}", String::from_utf8_lossy(&parsed.stderr));
    let titles = String::from_utf8(parsed.stdout).unwrap();
    assert_eq!(titles.lines().count(), samples().len());
    assert!(titles.contains("</svg><script>alert('1')</script>[31m & \"quoted\" ]]>"), "{titles}");
}
