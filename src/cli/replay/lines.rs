//! A CSV of `time,point,value` → readings of the points that are wanted, in the order of their times.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{self, BufRead, Read};

use crate::reading::{Millis, PointId, Quality, Site, Value};
use crate::time;

/// One reading, small: there may be millions of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub at: Millis,
    pub point: PointId,
    pub quality: Quality,
    /// `None` exactly where the quality is bad.
    pub value: Option<Value>,
}

/// What a file holds.
#[derive(Debug, Default)]
pub struct Lines {
    pub rows: Vec<Row>,
    /// Times of the earliest and the latest line, of whichever point.
    pub span: Option<(Millis, Millis)>,
    /// Lines of points that the site does not have, by name.
    pub unknown: BTreeMap<String, u64>,
}

/// Why a file cannot be replayed; the mistakes in it, each with its line.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    #[error("{}", listed(.0))]
    Lines(Vec<Wrong>),
    #[error("more than {ROWS_MAX} lines of points that the rule stands on; cut the file into shorter times")]
    TooMany,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    /// From 1.
    line: u64,
    what: String,
    cure: &'static str,
}

/// Lines of wanted points in memory: 200 MB of them.
const ROWS_MAX: usize = 5_000_000;
/// Bytes of one line.
const LINE_MAX: u64 = 4096;
/// More wrong lines are not told.
const WRONG_MAX: usize = 10;
/// Names of unknown points that are kept.
const UNKNOWN_MAX: usize = 100;
/// Whole numbers below this are told apart by a float.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

const COLUMNS: [&str; 3] = ["time", "point", "value"];

/// `wanted` says which points; lines of the others only tell how long the time runs.
pub fn read(from: impl BufRead, site: &Site, wanted: impl Fn(PointId) -> bool) -> Result<Lines, Unread> {
    let names = (0..).zip(&site.points).map(|(number, point)| (&*point.id, PointId(number))).collect();
    let mut reader = Reader { names, wanted, columns: None, lines: Lines::default(), wrong: Vec::new() };
    reader.all(from)?;
    if !reader.wrong.is_empty() {
        return Err(Unread::Lines(reader.wrong));
    }
    let mut lines = reader.lines;
    lines.rows.sort_by(|a, b| in_order(site, a, b));
    Ok(lines)
}

/// By time; readings of one instant by device and point, so that the order of their lines means nothing. Those of one
/// point stay in their order.
pub fn in_order(site: &Site, a: &Row, b: &Row) -> Ordering {
    let key = |row: &Row| (row.at, site.point(row.point).device, row.point);
    key(a).cmp(&key(b))
}

// ---------------------------------------------------------------------------------------------- lines

struct Reader<'a, W> {
    names: HashMap<&'a str, PointId>,
    wanted: W,
    /// Where time, point and value stand, and how many columns there are.
    columns: Option<([usize; 3], usize)>,
    lines: Lines,
    wrong: Vec<Wrong>,
}

impl<W: Fn(PointId) -> bool> Reader<'_, W> {
    fn all(&mut self, mut from: impl BufRead) -> Result<(), Unread> {
        let mut bytes = Vec::new();
        for line in 1.. {
            bytes.clear();
            if from.by_ref().take(LINE_MAX).read_until(b'\n', &mut bytes)? == 0
                || self.wrong.len() == WRONG_MAX
            {
                break;
            }
            let done = if bytes.len() as u64 == LINE_MAX {
                from.skip_until(b'\n')?;
                Err((
                    format!("a line of more than {LINE_MAX} bytes"),
                    "write time,point,value, a reading a line",
                ))
            } else {
                self.line(&bytes, line == 1)
            };
            self.wrong.extend(done.err().map(|(what, cure)| Wrong { line, what, cure }));
            if self.lines.rows.len() > ROWS_MAX {
                return Err(Unread::TooMany);
            }
        }
        Ok(())
    }

    fn line(&mut self, bytes: &[u8], first: bool) -> Result<(), Complaint> {
        let text = std::str::from_utf8(bytes).map_err(|_| ("not UTF-8".into(), "save the file as UTF-8"))?;
        let text = if first { text.trim_start_matches('\u{feff}') } else { text };
        if text.trim().is_empty() {
            return Ok(());
        }
        let fields = fields(text.trim_end_matches(['\r', '\n']))?;
        let ([at, point, value], columns) = match self.columns {
            Some(columns) => columns,
            None => {
                let (columns, is_head) = head(&fields)?;
                self.columns = Some(columns);
                if is_head {
                    return Ok(());
                }
                columns
            }
        };
        if fields.len() != columns {
            let what = format!("{} columns, and not {columns}", fields.len());
            return Err((what, "write time,point,value with commas between; a value with a comma in quotes"));
        }
        self.reading(&fields[at], &fields[point], &fields[value])
    }

    fn reading(&mut self, at: &str, point: &str, value: &str) -> Result<(), Complaint> {
        let at = time::parse(at).map_err(|_| (format!("`{}` is no time", brief(at)), WRITE_TIME))?;
        let value = read_value(value)?;
        let (from, to) = self.lines.span.unwrap_or((at, at));
        self.lines.span = Some((from.min(at), to.max(at)));
        let Some(&id) = self.names.get(point) else {
            if self.lines.unknown.len() < UNKNOWN_MAX || self.lines.unknown.contains_key(point) {
                *self.lines.unknown.entry(point.to_owned()).or_default() += 1;
            }
            return Ok(());
        };
        if (self.wanted)(id) {
            let quality = if value.is_some() { Quality::Good } else { Quality::Bad };
            self.lines.rows.push(Row { at, point: id, quality, value });
        }
        Ok(())
    }
}

/// What is wrong, and the cure.
type Complaint = (String, &'static str);

const WRITE_TIME: &str = "write it like 2026-11-21T08:00:00Z or 2026-11-21T16:00:00+08:00";

/// Where the columns stand, and whether the line was a head.
fn head(fields: &[String]) -> Result<(([usize; 3], usize), bool), Complaint> {
    let place = |name: &str| fields.iter().position(|field| field.trim().eq_ignore_ascii_case(name));
    if let [Some(at), Some(point), Some(value)] = COLUMNS.map(place) {
        return Ok((([at, point, value], fields.len()), true));
    }
    if fields.first().is_some_and(|field| time::parse(field).is_ok()) {
        return Ok((([0, 1, 2], 3), false));
    }
    let what = format!("neither a head nor a reading: `{}`", brief(&fields.join(",")));
    Err((
        what,
        "name the columns `time,point,value`, or begin with a line like 2026-11-21T08:00:00Z,pump-1.pressure,231.0",
    ))
}

/// Fields between commas; quotes keep a comma, and two of them are one.
fn fields(line: &str) -> Result<Vec<String>, Complaint> {
    if !line.contains('"') {
        return Ok(line.split(',').map(|field| field.trim().to_owned()).collect());
    }
    let (mut fields, mut quoted) = (vec![String::new()], false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let Some(field) = fields.last_mut() else { break };
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    if quoted {
        return Err(("a quote that does not end on its line".into(), "close it with another"));
    }
    Ok(fields.into_iter().map(|field| field.trim().to_owned()).collect())
}

/// A number, true or false, a word; nothing is a bad reading.
fn read_value(text: &str) -> Result<Option<Value>, Complaint> {
    let value = match text {
        "" => return Ok(None),
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        text => match text.parse::<f64>() {
            Ok(number) if !number.is_finite() => {
                return Err((format!("`{text}` is no number"), "leave the value empty for a bad reading"));
            }
            Ok(number) if number.abs() >= WHOLE_MAX => {
                let signed = text.parse().map(Value::Signed);
                signed.or_else(|_| text.parse().map(Value::Unsigned)).unwrap_or(Value::Number(number))
            }
            Ok(number) => Value::Number(number),
            Err(_) => Value::Text(text.into()),
        },
    };
    Ok(Some(value))
}

/// So much of a text as helps to find it, and nothing that steers a terminal.
fn brief(text: &str) -> String {
    text.chars().take(60).map(|c| if c.is_control() { '·' } else { c }).collect()
}

fn listed(wrong: &[Wrong]) -> String {
    let more = if wrong.len() == WRONG_MAX { "\nand perhaps more" } else { "" };
    wrong.iter().map(Wrong::to_string).collect::<Vec<_>>().join("\n") + more
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}; {}", self.line, self.what, self.cure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{Clean, DeviceId, Point};

    fn site() -> Site {
        let point = |id: &str, device| Point {
            id: id.into(),
            device: DeviceId(device),
            unit: None,
            range: None,
            deadband: 0.0,
            clean: Clean::default(),
        };
        Site { points: vec![point("a.x", 0), point("b.x", 1), point("b.y", 1)], ..Site::default() }
    }

    fn lines(text: &str) -> Result<Lines, String> {
        read(text.as_bytes(), &site(), |point| point != PointId(2)).map_err(|error| error.to_string())
    }

    fn told(text: &str) -> Vec<(Millis, u32, String)> {
        let value = |row: &Row| row.value.as_ref().map_or("bad".into(), |value| format!("{value:?}"));
        let rows = lines(text).unwrap().rows;
        rows.iter().map(|row| (row.at, row.point.0, value(row))).collect()
    }

    #[test]
    fn a_head_may_stand_first_in_any_order_or_not_at_all() {
        let expected = vec![(1000, 0, "Number(1.5)".to_owned())];
        for text in [
            "1970-01-01T00:00:01Z,a.x,1.5",
            "time,point,value\n1970-01-01T00:00:01Z,a.x,1.5\n",
            "\u{feff}Value, Unit ,TIME,point\r\n\r\n1.5,kPa,1970-01-01T08:00:01+08:00,a.x\r\n",
            "time,point,value\n1970-01-01T00:00:01Z,\"a.x\",\"1.5\"",
        ] {
            assert_eq!(told(text), expected, "{text:?}");
        }
    }

    #[test]
    fn lines_come_back_by_time_then_device_and_point_whatever_their_order() {
        let text = "1970-01-01T00:00:02Z,b.x,1\n1970-01-01T00:00:02Z,a.x,\n1970-01-01T00:00:01Z,b.x,true\n1970-01-01T00:00:02Z,a.x,on";
        let rows = told(text);
        let expected =
            [(1000, 1, "Bool(true)"), (2000, 0, "bad"), (2000, 0, "Text(\"on\")"), (2000, 1, "Number(1.0)")];
        assert_eq!(rows, expected.map(|(at, point, value)| (at, point, value.to_owned())));
    }

    #[test]
    fn what_is_not_wanted_only_tells_how_long_the_time_runs_and_what_is_unknown_is_counted() {
        let lines =
            lines("1970-01-01T00:00:02Z,b.y,1\n1970-01-01T00:00:09Z,c.z,1\n1970-01-01T00:00:03Z,c.z,1")
                .unwrap();
        assert!(lines.rows.is_empty());
        assert_eq!(lines.span, Some((2000, 9000)));
        assert_eq!(lines.unknown.get("c.z"), Some(&2));
    }

    #[test]
    fn each_wrong_line_is_told_with_its_number_and_the_cure() {
        for (line, said) in [
            ("yesterday,a.x,1", "line 3: `yesterday` is no time; write it like 2026"),
            ("1970-01-01T00:00:01Z,a.x", "line 3: 2 columns, and not 3; write time,point,value"),
            ("1970-01-01T00:00:01Z,a.x,1,5", "line 3: 4 columns, and not 3"),
            ("1970-01-01T00:00:01Z,a.x,NaN", "line 3: `NaN` is no number; leave the value empty"),
            ("1970-01-01T00:00:01Z,a.x,\"1", "line 3: a quote that does not end"),
        ] {
            let text =
                format!("time,point,value\n1970-01-01T00:00:01Z,a.x,1\n{line}\n1970-01-01T00:00:02Z,a.x,1\n");
            let error = lines(&text).unwrap_err();
            assert!(error.starts_with(said), "{error}");
        }
        let error = lines("when,what\n").unwrap_err();
        assert!(error.starts_with("line 1: neither a head nor a reading"), "{error}");
        let error = lines(&format!("time,point,value\n{}\n", "x".repeat(10_000))).unwrap_err();
        assert!(error.starts_with("line 2: a line of more than 4096 bytes"), "{error}");
        assert_eq!(lines(&"x\n".repeat(1000)).unwrap_err().lines().count(), WRONG_MAX + 1);
    }

    #[test]
    fn numbers_that_a_float_would_round_keep_their_digits() {
        let value = |text| read_value(text).unwrap();
        assert_eq!(value("9007199254740993"), Some(Value::Signed(9_007_199_254_740_993)));
        assert_eq!(value("18446744073709551615"), Some(Value::Unsigned(u64::MAX)));
        assert_eq!(value("180"), Some(Value::Number(180.0)));
    }
}
