//! A face terminal of the "facesluice" kind: its messages → what happened at its door. Pure.
//!
//! It says below `mqtt/face/<id>` whom it recognised (`Rec`) and which strangers it saw (`Snap`), and on two topics that all
//! terminals share that it is there (`basic`, `heartbeat`). Who it was leaves this file as a pseudonym only; names, numbers and
//! pictures leave it not at all, nor any other text of a message.
//!
//! A record is kept by the terminal until it is acknowledged, and told again after an outage, then as a replay of its own time.
//! What comes twice under one number and time happened once.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Value as Json, json};

use super::inbox::{Message, Reply};
use super::payload::Payload;
use super::seen::Seen;
use crate::happening::{Happening, Kind};
use crate::numbers::Numbers;
use crate::pseudonym::{Pseudonym, Pseudonyms};
use crate::reading::{Batch, DeviceId, Life, Millis};

/// Records of one terminal that are remembered here; the journal remembers more.
const RECORDS_KNOWN: usize = 4096;
/// Three heartbeats.
const SILENCE_MOST: Duration = Duration::from_secs(90);
/// A record that came so much later than the terminal's own clock says it happened is a replay, whatever it says of itself.
const LATE_AFTER: i64 = 60_000;
/// The same by our clock, as long as the terminal's is not known; theirs are seldom exact.
const LATE_BY_OUR_CLOCK: i64 = 600_000;
/// By so much its clock may go faster or slower than ours between two heartbeats; they come every 30 s.
const PACE: i64 = 5_000;
/// Longer texts are no numbers and no names.
const TEXT_MAX: usize = 128;

#[derive(Debug)]
pub struct Terminal {
    device: DeviceId,
    /// `mqtt/face/<id>`
    topic: String,
    zone: Option<TimeZone>,
    pseudonyms: Option<Pseudonyms>,
    records: Seen,
    clock: Option<Clock>,
    /// Its last heartbeat.
    beat: Option<Clock>,
    /// How long it has said nothing; `None`: it is known to be gone.
    silence: Option<Duration>,
}

/// A time that it said, and when that came here. It may be years wrong and goes on all the same.
#[derive(Debug, Clone, Copy)]
struct Clock {
    told: Millis,
    heard: Millis,
}

impl Clock {
    fn at(self, now: Millis) -> Millis {
        self.told.saturating_add(now.saturating_sub(self.heard).max(0))
    }

    /// Whether it went on at the pace of ours.
    fn runs_to(self, next: Self) -> bool {
        next.told > self.told && next.told.saturating_sub(self.at(next.heard)).saturating_abs() <= PACE
    }
}

/// What its topics are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Record,
    Stranger,
    Basic,
    Heartbeat,
}

impl Terminal {
    pub fn new(device: DeviceId, topic: &str, timezone: &str, pseudonyms: Option<Pseudonyms>) -> Self {
        Self {
            device,
            topic: topic.to_owned(),
            zone: TimeZone::get(timezone).ok(),
            pseudonyms,
            records: Seen::new(RECORDS_KNOWN),
            clock: None,
            beat: None,
            silence: Some(Duration::ZERO),
        }
    }

    pub fn filters(&self) -> [String; 4] {
        let (base, _) = self.parts();
        let topic = &self.topic;
        [
            format!("{topic}/Rec"),
            format!("{topic}/Snap"),
            format!("{base}/basic"),
            format!("{base}/heartbeat"),
        ]
    }

    /// What a message says of this terminal, and what is said to it once that is kept. `None`: nothing.
    pub fn take(
        &mut self,
        message: Message<'_>,
        payload: &mut Payload<'_>,
        at: Millis,
    ) -> Option<(Batch, Option<Reply>)> {
        let part = self.part(message.topic)?;
        let json = payload.json();
        let info = json.and_then(|json| json.get("info"));
        let shared = matches!(part, Part::Basic | Part::Heartbeat);
        if shared && text(info, "facesluiceId").as_deref() != Some(self.parts().1) {
            return None;
        }
        let operator = text(json, "operator").unwrap_or_default();
        if part == Part::Basic && operator == "Offline" {
            return Some((self.gone(format!("{} says offline", message.topic), at), None));
        }
        // A retained message has no age: it is no sign of life.
        let life = (!message.retained).then(|| self.alive(info.is_some()));
        if part == Part::Heartbeat && !message.retained {
            self.beat(info, at);
        }
        let mut batch = Batch::new(self.device, at, Vec::new(), life);
        let mut reply = None;
        match (part, info) {
            (Part::Record, Some(info)) if operator == "RecPush" => {
                batch.happenings.extend(self.record(info, message.retained, at));
                reply = self.acknowledgement(json, info);
            }
            (Part::Stranger, Some(info)) => {
                batch.happenings.extend(self.stranger(info, message.retained, at));
            }
            (Part::Basic, Some(_)) if operator == "Online" => reply = Some(self.welcome()),
            _ => {}
        }
        let says_something = batch.life.is_some() || !batch.happenings.is_empty() || reply.is_some();
        says_something.then_some((batch, reply))
    }

    /// Gone, if so much more time without a word is too long.
    pub fn passed(&mut self, time: Duration, at: Millis) -> Option<Batch> {
        let silence = self.silence? + time;
        self.silence = Some(silence);
        (silence >= SILENCE_MOST)
            .then(|| self.gone(format!("not a word for {} s", SILENCE_MOST.as_secs()), at))
    }

    /// The same terminal in another site, with all that is known of it.
    pub fn moved(self, numbers: &Numbers) -> Option<Self> {
        Some(Self { device: numbers.device(self.device)?, ..self })
    }

    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// The broker is gone, and with it all that is known.
    pub fn lost(&mut self, why: &str, at: Millis) -> Batch {
        let batch = self.gone(why.to_owned(), at);
        // Once the broker is back it has to speak again; if it does not, that is another fault and is told.
        self.silence = Some(Duration::ZERO);
        batch
    }

    /// As before, but no longer for the broker's sake.
    pub fn back(&self, why: &str, at: Millis) -> Batch {
        Batch::new(self.device, at, Vec::new(), Some(Life::Offline { why: why.to_owned() }))
    }

    fn gone(&mut self, why: String, at: Millis) -> Batch {
        self.silence = None;
        Batch::new(self.device, at, Vec::new(), Some(Life::Offline { why }))
    }

    fn alive(&mut self, understood: bool) -> Life {
        self.silence = Some(Duration::ZERO);
        match understood {
            true => Life::Online,
            false => Life::Degraded { why: "it sends what is no message of a face terminal".into() },
        }
    }

    /// `mqtt/face` and `<id>`
    fn parts(&self) -> (&str, &str) {
        self.topic.rsplit_once('/').unwrap_or(("", &self.topic))
    }

    fn part(&self, topic: &str) -> Option<Part> {
        match topic.strip_prefix(self.topic.as_str()) {
            Some("/Rec") => return Some(Part::Record),
            Some("/Snap") => return Some(Part::Stranger),
            _ => {}
        }
        match topic.strip_prefix(self.parts().0)? {
            "/basic" => Some(Part::Basic),
            "/heartbeat" => Some(Part::Heartbeat),
            _ => None,
        }
    }

    // --- what happened ---

    fn record(&mut self, info: &Json, retained: bool, at: Millis) -> Option<Happening> {
        let mut happening = self.happening(info, "RecordID", retained, at)?;
        let verdict = text(Some(info), "VerifyStatus");
        let blocked = text(Some(info), "PersonType").as_deref() == Some("1");
        let (kind, reason) = match verdict.as_deref() {
            _ if blocked => (Kind::Denied, Some("blocklist")),
            Some("1") => (Kind::Granted, None),
            Some("2") => (Kind::Denied, Some("refused")),
            Some("3") => (Kind::Denied, Some("unregistered")),
            // It tells whom it saw and leaves the verdict to another.
            _ => (Kind::Card, Some("no-verdict")),
        };
        happening.kind = kind;
        happening.reason = reason.map(Into::into);
        happening.who = self.who(info, verdict.as_deref() != Some("3"));
        Some(happening)
    }

    /// It saw somebody whom it does not know, compared and did not open. Whether they wanted in, nobody knows; hence a word of
    /// its own beside `unregistered`.
    fn stranger(&mut self, info: &Json, retained: bool, at: Millis) -> Option<Happening> {
        let mut happening = self.happening(info, "SnapID", retained, at)?;
        happening.kind = Kind::Denied;
        happening.reason = Some("stranger".into());
        Some(happening)
    }

    /// With its time and number; `None` where it has been told before.
    fn happening(&mut self, info: &Json, number: &str, retained: bool, at: Millis) -> Option<Happening> {
        let told = text(Some(info), "time").and_then(|told| self.instant(&told));
        // A counter of its own. What is longer counts nothing: a phone number in the wrong place must not be kept.
        let record = text(Some(info), number).and_then(|id| id.parse::<u32>().ok());
        let mut happening = Happening::new(self.device, at, Kind::Card);
        if let Some(id) = record {
            // With the time, since a terminal that is set back to its factory state counts from 1 again.
            let letter = if number == "SnapID" { "s" } else { "" };
            let record = format!("{}-{letter}{id}-{}", self.parts().1, told.unwrap_or(0));
            if !self.records.is_new(&record) {
                return None;
            }
            happening.record = Some(record.into());
        }
        let replayed = text(Some(info), "PushType").as_deref() == Some("2");
        happening.late = retained || replayed || told.is_some_and(|told| self.is_old_record(told, at));
        if let Some(told) = told.filter(|_| happening.late) {
            happening.at = told;
        }
        Some(happening)
    }

    /// Its clock by a heartbeat. One that is behind waited at the broker, or the clock was set back or is wrong: then the
    /// next one is behind by as much, while those that waited come all at once.
    fn beat(&mut self, info: Option<&Json>, at: Millis) {
        let Some(told) = text(info, "time").and_then(|told| self.instant(&told)) else { return };
        let beat = Clock { told, heard: at };
        let last = self.beat.replace(beat);
        if last.is_some_and(|last| last.runs_to(beat)) || !self.is_old(told, at) {
            self.clock = Some(beat);
        }
    }

    /// By the terminal's own clock; where that is not known, by ours.
    fn is_old(&self, told: Millis, at: Millis) -> bool {
        match self.clock {
            Some(clock) => clock.at(at).saturating_sub(told) > LATE_AFTER,
            None => at.saturating_sub(told) > LATE_BY_OUR_CLOCK,
        }
    }

    /// The same of a record. The newest one shows the clock as well.
    fn is_old_record(&mut self, told: Millis, at: Millis) -> bool {
        let old = self.is_old(told, at);
        if !old && self.clock.is_none_or(|clock| told > clock.at(at)) {
            self.clock = Some(Clock { told, heard: at });
        }
        old
    }

    /// By the terminal's clock, which says no zone.
    fn instant(&self, told: &str) -> Option<Millis> {
        let told: DateTime = told.parse().ok()?;
        let told = told.to_zoned(self.zone.clone()?).ok()?;
        Some(told.timestamp().as_millisecond())
    }

    /// By the id that their keeper gave them, else the terminal's, else by name; where nobody is known, by their card.
    fn who(&self, info: &Json, known: bool) -> Option<Pseudonym> {
        let pseudonyms = self.pseudonyms.as_ref()?;
        let first = |keys: &[&str]| {
            let words = keys.iter().filter_map(|key| text(Some(info), key));
            words.into_iter().find(|word| word != "0")
        };
        let person = first(&["customId", "personId", "personName", "persionName"]).filter(|_| known);
        let card = || first(&["RFIDCard", "cardNum2"]).map(|number| pseudonyms.card(&number));
        person.map(|id| pseudonyms.person(&id)).or_else(card)
    }

    // --- what it is told ---

    /// Without it the terminal tells the record again.
    fn acknowledgement(&self, json: Option<&Json>, info: &Json) -> Option<Reply> {
        let number = text(Some(info), "RecordID")?;
        let message = text(json, "messageId").unwrap_or_else(|| number.clone());
        Some(self.reply(&json!({
            "operator": "PushAck",
            "messageId": message,
            "info": { "PushAckType": 2, "SnapOrRecordID": number },
        })))
    }

    fn welcome(&self) -> Reply {
        let id = self.parts().1;
        self.reply(&json!({ "operator": "Online-Ack", "info": { "facesluiceId": id, "result": "ok" } }))
    }

    fn reply(&self, payload: &Json) -> Reply {
        Reply { topic: self.topic.clone(), payload: payload.to_string() }
    }
}

/// Numbers come as texts, and texts with blanks; an empty one is none.
fn text(from: Option<&Json>, key: &str) -> Option<String> {
    let word = match from?.get(key)? {
        Json::String(word) => word.trim().to_owned(),
        Json::Number(number) => number.to_string(),
        _ => return None,
    };
    (!word.is_empty() && word.len() <= TEXT_MAX).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    /// As captured on a terminal.
    const RECORD: &str = r#"{"operator":"RecPush","info":{"customId":"","personId":"3","RecordID":"2","VerifyStatus":"1",
        "PersonType":"0","similarity1":"83.000000","Sendintime":1,"personName":"李小明","facesluiceId":"1026700",
        "idCard":"12345","telnum":" ","time":"2026-04-10 10:00:07","isNoMask":"1","PushType":0,
        "targetPosInScene":[346,0,1572,1080],"pic":"data:image/jpeg;base64,/9j/4AAQ"}}"#;
    const BEAT: &str =
        r#"{"operator":"HeartBeat","info":{"facesluiceId":"1026700","time":"2023-01-01 00:00:00"}}"#;

    fn pseudonyms() -> Pseudonyms {
        Pseudonyms::new(&Secret::new("0123456789abcdef")).unwrap()
    }

    fn terminal() -> Terminal {
        Terminal::new(DeviceId(4), "mqtt/face/1026700", "Asia/Shanghai", Some(pseudonyms()))
    }

    fn say(terminal: &mut Terminal, topic: &str, payload: &str) -> Option<(Batch, Option<Reply>)> {
        let message = Message { topic, payload: payload.as_bytes(), retained: false };
        terminal.take(message, &mut Payload::new(payload.as_bytes()), 7)
    }

    fn record(terminal: &mut Terminal, payload: &str) -> Vec<Happening> {
        say(terminal, "mqtt/face/1026700/Rec", payload).unwrap().0.happenings
    }

    #[test]
    fn a_captured_record_is_one_granted_entry_and_is_acknowledged() {
        let mut terminal = terminal();
        let (batch, reply) = say(&mut terminal, "mqtt/face/1026700/Rec", RECORD).unwrap();
        let happening = &batch.happenings[0];
        assert_eq!((happening.kind, happening.at, happening.late), (Kind::Granted, 7, false));
        assert_eq!(happening.who, Some(pseudonyms().person("3")));
        assert_eq!(happening.record.as_deref(), Some("1026700-2-1775786407000"));
        assert_eq!(batch.life, Some(Life::Online));
        let reply = reply.unwrap();
        assert_eq!(reply.topic, "mqtt/face/1026700");
        let said: Json = serde_json::from_str(&reply.payload).unwrap();
        let acknowledged =
            json!({"operator":"PushAck","messageId":"2","info":{"PushAckType":2,"SnapOrRecordID":"2"}});
        assert_eq!(said, acknowledged);

        let (again, reply) = say(&mut terminal, "mqtt/face/1026700/Rec", RECORD).unwrap();
        assert!(again.happenings.is_empty() && reply.is_some(), "it did not hear us; it happened once");
        let later = RECORD.replace("10:00:07", "10:05:00");
        assert_eq!(record(&mut terminal, &later).len(), 1, "a terminal that counts from 1 again");
    }

    #[test]
    fn a_number_that_counts_nothing_is_not_kept() {
        for number in ["13800138000", "1-2", "3 4", "+"] {
            let payload = RECORD.replace(r#""RecordID":"2""#, &format!(r#""RecordID":"{number}""#));
            let told = record(&mut terminal(), &payload);
            assert_eq!((told.len(), told[0].record.as_deref()), (1, None), "{number}");
        }
    }

    #[test]
    fn verdicts_are_words_of_the_field() {
        let mut terminal = terminal();
        let mut number = 10;
        let mut verdict = |status: &str, kind: &str| {
            number += 1;
            let payload = RECORD
                .replace(r#""VerifyStatus":"1""#, &format!(r#""VerifyStatus":{status}"#))
                .replace(r#""PersonType":"0""#, &format!(r#""PersonType":{kind}"#))
                .replace(r#""RecordID":"2""#, &format!(r#""RecordID":{number}"#));
            let happening = record(&mut terminal, &payload).remove(0);
            (
                happening.kind,
                happening.reason.map_or(String::new(), |r| r.to_string()),
                happening.who.is_some(),
            )
        };
        assert_eq!(verdict(r#""1""#, "0"), (Kind::Granted, String::new(), true));
        assert_eq!(verdict("2", "0"), (Kind::Denied, "refused".into(), true));
        assert_eq!(verdict("3", "0"), (Kind::Denied, "unregistered".into(), false));
        assert_eq!(verdict("1", r#""1""#), (Kind::Denied, "blocklist".into(), true));
        assert_eq!(verdict("0", "0"), (Kind::Card, "no-verdict".into(), true));
    }

    #[test]
    fn people_are_known_by_what_there_is() {
        let mut number = 100;
        let mut who = |person: &str| {
            number += 1;
            let payload = format!(
                r#"{{"operator":"RecPush","info":{{"RecordID":{number},"VerifyStatus":1,{person},"time":""}}}}"#
            );
            record(&mut terminal(), &payload).remove(0).who
        };
        let names = pseudonyms();
        assert_eq!(who(r#""customId":"A-7","personId":"3""#), Some(names.person("A-7")));
        assert_eq!(who(r#""customId":" ","personId":0,"persionName":"Li""#), Some(names.person("Li")));
        assert_eq!(who(r#""personId":"","RFIDCard":"6154410""#), Some(names.card("6154410")));
        assert_eq!(who(r#""personId":null"#), None);
    }

    #[test]
    fn a_replay_is_late_and_of_its_own_time() {
        let happening =
            record(&mut terminal(), &RECORD.replace(r#""PushType":0"#, r#""PushType":"2""#)).remove(0);
        assert!(happening.late);
        assert_eq!(crate::time::format(happening.at), "2026-04-10T02:00:07.000Z");
        let unclear =
            RECORD.replace(r#""PushType":0"#, r#""PushType":2"#).replace("2026-04-10 10:00:07", "noon");
        let happening = record(&mut terminal(), &unclear).remove(0);
        assert_eq!((happening.late, happening.at), (true, 7));
    }

    /// Whether a record of this time of 2026-04-10, come at that one, is late.
    fn late(terminal: &mut Terminal, number: u32, told: &str, at: &str) -> bool {
        let payload = RECORD.replace("10:00:07", told).replace(r#""2""#, &format!(r#""{number}""#));
        let message =
            Message { topic: "mqtt/face/1026700/Rec", payload: payload.as_bytes(), retained: false };
        let (batch, _) = terminal.take(message, &mut Payload::new(payload.as_bytes()), at_clock(at)).unwrap();
        batch.happenings[0].late
    }

    fn at_clock(time: &str) -> Millis {
        terminal().instant(&format!("2026-04-10 {time}")).unwrap()
    }

    fn beat(terminal: &mut Terminal, told: &str, at: &str) {
        let payload = BEAT.replace("2023-01-01 00:00:00", told);
        let message = Message { topic: "mqtt/face/heartbeat", payload: payload.as_bytes(), retained: false };
        terminal.take(message, &mut Payload::new(payload.as_bytes()), at_clock(at)).unwrap();
    }

    #[test]
    fn an_old_record_is_late_whatever_it_says_of_itself() {
        let mut terminal = terminal();
        assert!(late(&mut terminal, 1, "09:49:00", "10:00:00"), "by our clock");
        assert!(late(&mut terminal, 2, "09:49:30", "10:00:01"), "and the next of an outage is no newer");
        assert!(!late(&mut terminal, 3, "09:55:00", "10:00:02"), "theirs may be wrong by some minutes");
        assert!(late(&mut terminal, 4, "09:53:30", "10:00:03"), "by the newest");
        beat(&mut terminal, "2026-04-10 10:00:00", "10:00:04");
        assert!(late(&mut terminal, 5, "09:58:00", "10:00:05"), "by the heartbeat");
        assert!(!late(&mut terminal, 6, "09:59:10", "10:00:06"));
        assert!(late(&mut terminal, 7, "10:00:00", "10:01:10"), "time goes on between heartbeats");
    }

    #[test]
    fn a_clock_that_is_wrong_does_not_make_all_late() {
        let mut terminal = terminal();
        beat(&mut terminal, "2026-04-10 01:00:00", "10:00:00");
        assert!(
            late(&mut terminal, 1, "01:00:05", "10:00:05"),
            "one heartbeat may have waited at the broker"
        );
        beat(&mut terminal, "2026-04-10 01:00:30", "10:00:30");
        assert!(!late(&mut terminal, 2, "01:00:35", "10:00:35"), "two that run like ours have not");
        assert!(late(&mut terminal, 3, "00:58:00", "10:00:36"));
        // Set right, ahead, and back again.
        beat(&mut terminal, "2026-04-10 10:01:00", "10:01:00");
        assert!(
            !late(&mut terminal, 4, "10:01:10", "10:01:10") && late(&mut terminal, 5, "01:01:10", "10:01:10")
        );
        assert!(!late(&mut terminal, 6, "20:00:00", "10:01:20"));
        assert!(late(&mut terminal, 7, "10:01:30", "10:01:30"));
        beat(&mut terminal, "2026-04-10 10:01:31", "10:01:31");
        assert!(!late(&mut terminal, 8, "10:01:32", "10:01:32"));
    }

    #[test]
    fn heartbeats_that_waited_at_the_broker_set_no_clock_back() {
        let mut terminal = terminal();
        beat(&mut terminal, "2026-04-10 09:00:00", "09:00:00");
        for (number, told) in [(1, "09:10:00"), (2, "09:10:30"), (3, "09:11:00")] {
            beat(&mut terminal, &format!("2026-04-10 {told}"), "10:00:00");
            assert!(late(&mut terminal, number, told, "10:00:00"), "{told}");
        }
        beat(&mut terminal, "2026-04-10 10:00:01", "10:00:01");
        assert!(!late(&mut terminal, 4, "10:00:02", "10:00:02"));
    }

    #[test]
    fn a_stranger_is_no_record_and_has_no_name() {
        let snap = r#"{"operator":"SnapPush","info":{"facesluiceId":"1026700","SnapID":"2","time":"2026-04-10 10:00:07",
            "pic":"data:image/jpeg;base64,/9j/"}}"#;
        let mut terminal = terminal();
        assert_eq!(record(&mut terminal, RECORD).len(), 1);
        let (batch, reply) = say(&mut terminal, "mqtt/face/1026700/Snap", snap).unwrap();
        let happening = &batch.happenings[0];
        assert_eq!((happening.kind, happening.reason.as_deref()), (Kind::Denied, Some("stranger")));
        assert_eq!((&happening.who, reply), (&None, None));
        assert!(say(&mut terminal, "mqtt/face/1026700/Snap", snap).unwrap().0.happenings.is_empty());
    }

    #[test]
    fn it_is_there_while_it_says_so() {
        let mut terminal = terminal();
        let step = SILENCE_MOST / 3;
        let beat = |t: &mut Terminal| say(t, "mqtt/face/heartbeat", BEAT).map(|(batch, _)| batch.life);
        assert_eq!(beat(&mut terminal), Some(Some(Life::Online)));
        assert!(terminal.passed(step * 2, 1).is_none());
        beat(&mut terminal);
        assert!(terminal.passed(step * 2, 1).is_none());
        let silent = terminal.passed(step, 2).unwrap();
        assert!(matches!(silent.life, Some(Life::Offline { why }) if why == "not a word for 90 s"));
        assert!(terminal.passed(step * 9, 3).is_none(), "told once");
        assert_eq!(beat(&mut terminal), Some(Some(Life::Online)));
        let other = BEAT.replace("1026700", "1306612");
        assert!(say(&mut terminal, "mqtt/face/heartbeat", &other).is_none(), "another one's");
        assert!(say(&mut terminal, "mqtt/face/1306612/Rec", RECORD).is_none());

        let word = |word: &str| format!(r#"{{"operator":"{word}","info":{{"facesluiceId":1026700}}}}"#);
        let (batch, welcome) = say(&mut terminal, "mqtt/face/basic", &word("Online")).unwrap();
        assert_eq!(batch.life, Some(Life::Online));
        let welcome: Json = serde_json::from_str(&welcome.unwrap().payload).unwrap();
        assert_eq!(welcome, json!({"operator":"Online-Ack","info":{"facesluiceId":"1026700","result":"ok"}}));
        let (batch, none) = say(&mut terminal, "mqtt/face/basic", &word("Offline")).unwrap();
        assert!(matches!(batch.life, Some(Life::Offline { .. })) && none.is_none());
    }

    #[test]
    fn what_is_no_message_of_a_terminal_is_no_happening() {
        for payload in ["<html>", "{}", "7"] {
            let (batch, reply) = say(&mut terminal(), "mqtt/face/1026700/Rec", payload).unwrap();
            assert!(matches!(batch.life, Some(Life::Degraded { .. })), "{payload}");
            assert!(batch.happenings.is_empty() && reply.is_none());
        }
    }

    #[test]
    fn a_retained_record_is_late_and_no_sign_of_life() {
        let message = Message { topic: "mqtt/face/1026700/Rec", payload: RECORD.as_bytes(), retained: true };
        let (batch, _) = terminal().take(message, &mut Payload::new(RECORD.as_bytes()), 7).unwrap();
        assert_eq!((batch.life, batch.happenings[0].late), (None, true));
    }

    #[test]
    fn fuzz_face_terminal() {
        let frames = [RECORD.replace("李小明", "Li Xiaoming").into_bytes(), BEAT.as_bytes().to_vec()];
        let mut terminal = terminal();
        crate::field::fuzz::flood("face terminal", &frames, |input| {
            for topic in ["mqtt/face/1026700/Rec", "mqtt/face/1026700/Snap", "mqtt/face/basic"] {
                let message = Message { topic, payload: input, retained: false };
                let Some((batch, reply)) = terminal.take(message, &mut Payload::new(input), 7) else {
                    continue;
                };
                assert!(batch.happenings.len() <= 1 && batch.readings.is_empty());
                assert!(reply.is_none_or(|reply| reply.payload.len() < 8 * TEXT_MAX));
                let told = format!("{batch:?}");
                for secret in ["Xiaoming", "12345", "base64"] {
                    assert!(!told.contains(secret), "{told}");
                }
            }
        });
    }
}
