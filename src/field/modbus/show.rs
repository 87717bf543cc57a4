//! The wire in full view, for a technician: questions and answers as bytes, values beside them, and what the same
//! words would be in other orders.

use std::time::Duration;

use tokio::time::sleep_until;

use super::coalesce::merge;
use super::master::Reply;
use super::pdu::{self, Request, Span};
use super::units::Units;
use super::values::{self, Heard};
use super::{Point, Table, Write};
use crate::field::decode::{self, Order, Transform, Type};
use crate::field::poll::Failure;
use crate::field::wire::Link;
use crate::field::{Exchange, Seen};
use crate::reading::{PointId, Reason, Value};
use crate::time::now;

const ORDERS: [(Order, &str); 4] =
    [(Order::Abcd, "ABCD"), (Order::Cdab, "CDAB"), (Order::Badc, "BADC"), (Order::Dcba, "DCBA")];
/// Types that a pair of registers, or four of them, may really have.
const PAIRS: [(Type, &str); 3] = [(Type::F32, "f32"), (Type::I32, "i32"), (Type::U32, "u32")];
const FOURS: [(Type, &str); 3] = [(Type::F64, "f64"), (Type::I64, "i64"), (Type::U64, "u64")];
/// So many runs of registers are named.
const REFUSED_NAMED_MOST: usize = 5;
/// What people measure lies in between, or is 0.
const PLAUSIBLE: std::ops::RangeInclusive<f64> = 1e-6..=1e9;

/// Why a question has no words.
enum Unheard {
    /// The device says that it cannot.
    Refused,
    /// Something came, and it cannot be believed.
    Unclear,
    /// Nobody answered.
    Silent,
}

impl Units {
    /// Asks a device, or one point of it.
    pub(super) async fn show(
        &mut self,
        link: &mut Link,
        device: usize,
        point: Option<PointId>,
    ) -> Result<Vec<Exchange>, Failure> {
        let mut heard = Heard::default();
        let mut shown: Vec<(Span, Exchange)> = Vec::new();
        let mut refused = Vec::new();
        for span in self.spans(device, point) {
            let (exchange, words) = self.exchange(link, device, span).await?;
            shown.push((span, exchange));
            match words {
                Ok(words) => heard.add(span, words),
                Err(Unheard::Refused) => refused.push(span),
                Err(Unheard::Unclear) => {}
                // The others are not asked for the sake of a device that is not there.
                Err(Unheard::Silent) => break,
            }
        }
        let chosen = |p: &&Point| point.is_none_or(|id| p.id == id);
        for p in self.units[device].device.points.iter().filter(chosen) {
            if let Some((_, exchange)) = shown.iter_mut().find(|(span, _)| span.covers(&p.span())) {
                exchange.values.push(self.seen(p, &heard, &refused));
            }
        }
        Ok(shown.into_iter().map(|(_, exchange)| exchange).collect())
    }

    fn spans(&self, device: usize, point: Option<PointId>) -> Vec<Span> {
        let unit = &self.units[device];
        let Some(id) = point else {
            return unit.asks.iter().flat_map(super::units::Asking::spans).collect();
        };
        let points = unit.device.points.iter().filter(|p| p.id == id);
        merge(points.flat_map(Point::spans).collect(), &unit.device.merge)
    }

    /// One question and its words. A unit in doubt is waited for, once.
    async fn exchange(
        &mut self,
        link: &mut Link,
        device: usize,
        span: Span,
    ) -> Result<(Exchange, Result<Vec<u16>, Unheard>), Failure> {
        let request = Request::Read(span);
        let mut reply = self.put(link, device, &request).await;
        if let Err(Failure::Doubt { until }) = reply {
            sleep_until(until).await;
            reply = self.put(link, device, &request).await;
        }
        let (sent, heard) = self.master.trace();
        let what = format!("{} of unit {}", self::span(&span), self.units[device].device.unit);
        let mut exchange = Exchange { what, sent, heard, ..Exchange::default() };
        let (why, trouble) = match reply {
            Ok(Reply::Words(words)) => return Ok((exchange, Ok(words))),
            Ok(Reply::Exception(code @ (pdu::GATEWAY_PATH_UNAVAILABLE | pdu::GATEWAY_NO_RESPONSE))) => {
                (Unheard::Silent, pdu::exception(code))
            }
            Ok(Reply::Exception(code)) => (Unheard::Refused, pdu::exception(code)),
            Ok(Reply::Written) | Err(Failure::Wrong) => {
                (Unheard::Unclear, "what it answers is no answer to what it was asked".into())
            }
            Err(Failure::Silent | Failure::Unreached) => (Unheard::Silent, self.silence()),
            Err(Failure::Doubt { .. }) => {
                (Unheard::Unclear, "it answers, but perhaps to an older question".into())
            }
            Err(failure @ (Failure::Broken(_) | Failure::Fault(_))) => return Err(failure),
        };
        exchange.trouble = Some(trouble);
        Ok((exchange, Err(why)))
    }

    fn silence(&self) -> String {
        format!("no answer within {} ms", self.master.timeout().as_millis())
    }

    fn seen(&self, point: &Point, heard: &Heard, refused: &[Span]) -> Seen {
        let reading = values::reading(point, heard, now());
        let words = heard.words(&point.span()).unwrap_or_default().to_vec();
        let is_refused = point.spans().any(|own| refused.iter().any(|span| span.covers(&own)));
        let reason = match reading.reason {
            Some(Reason::DeviceError) if !is_refused => Reason::NoAnswer,
            reason => reason.unwrap_or(Reason::Unreadable),
        };
        let value = reading.value.ok_or(reason.word());
        let range = self.site.points.get(point.id.0 as usize).and_then(|p| p.range);
        let otherwise = otherwise(point, &words, value.as_ref().ok(), range);
        Seen { point: point.id, words, value, otherwise }
    }

    // --- who is there ---

    /// Whether a unit answers at this address: any well-formed answer shows it.
    pub(super) async fn find(
        &mut self,
        link: &mut Link,
        unit: u8,
        timeout: Duration,
    ) -> Result<Option<String>, Failure> {
        let usual = self.master.set_timeout(timeout);
        let mut found = self.probe(link, unit, Table::Holding).await;
        if let Ok(Some(Err(pdu::ILLEGAL_FUNCTION))) = found {
            found = self.probe(link, unit, Table::Input).await;
        }
        self.master.set_timeout(usual);
        Ok(found?.map(|answer| match answer {
            Ok(how) => how,
            Err(code) => format!("answers ({})", pdu::exception(code)),
        }))
    }

    /// What register 0 holds, or by which exception it is refused.
    async fn probe(
        &mut self,
        link: &mut Link,
        unit: u8,
        table: Table,
    ) -> Result<Option<Result<String, u8>>, Failure> {
        let span = Span { table, register: 0, count: 1 };
        match self.master.ask(link, unit, &Request::Read(span)).await {
            Ok(Reply::Words(words)) => {
                let word = words.first().copied().unwrap_or_default();
                Ok(Some(Ok(format!("{} = 0x{word:04X}", self::span(&span)))))
            }
            Ok(Reply::Exception(pdu::GATEWAY_PATH_UNAVAILABLE | pdu::GATEWAY_NO_RESPONSE)) => Ok(None),
            Ok(Reply::Exception(code)) => Ok(Some(Err(code))),
            // It was not asked, since an older answer of it may come; it answered at another speed, perhaps.
            Err(Failure::Doubt { until }) if self.master.trace().0.is_empty() => {
                sleep_until(until).await;
                Box::pin(self.probe(link, unit, table)).await
            }
            Err(Failure::Doubt { .. }) => Ok(Some(Ok("answers".into()))),
            Err(failure @ (Failure::Broken(_) | Failure::Fault(_))) => Err(failure),
            Ok(Reply::Written) | Err(Failure::Silent | Failure::Wrong | Failure::Unreached) => Ok(None),
        }
    }
}

// --- otherwise ---

/// What the words of a number would be in another order, or as another type of that length: what can be, the likeliest
/// first. That is what lies in the point's range, then what is of its type, then the shortest number: a mistaken order
/// makes long ones.
fn otherwise(
    point: &Point,
    words: &[u16],
    present: Option<&Value>,
    range: Option<(f64, f64)>,
) -> Vec<(String, Value)> {
    let kinds: &[(Type, &str)] = match words.len() {
        2 if point.kind.registers() == 2 => &PAIRS,
        4 if point.kind.registers() == 4 && !matches!(point.kind, Type::Text(_)) => &FOURS,
        _ => return Vec::new(),
    };
    if matches!(point.kind, Type::Text(_)) {
        return Vec::new();
    }
    let transform = Transform { map: Vec::new(), ..point.transform.clone() };
    let mut found: Vec<((bool, bool, usize), String, Value)> = Vec::new();
    let own = kinds.iter().filter(|(kind, _)| *kind == point.kind);
    for (kind, name) in own.chain(kinds.iter().filter(|(kind, _)| *kind != point.kind)) {
        for (order, letters) in
            ORDERS.iter().filter(|(order, _)| (*kind, *order) != (point.kind, point.order))
        {
            let raw = decode::decode_words(*kind, *order, None, words);
            let Some(raw) = raw.filter(is_plausible) else { continue };
            let Some(value) = transform.apply(raw) else { continue };
            let Some(number) = value.number() else { continue };
            if present.is_some_and(|v| v.same(&value)) || found.iter().any(|(_, _, v)| v.same(&value)) {
                continue;
            }
            let outside = range.is_some_and(|(low, high)| !(low..=high).contains(&number));
            let (foreign, digits) = (*kind != point.kind, value.to_string().len());
            let called = if foreign { format!("{name} {letters}") } else { (*letters).into() };
            found.push(((outside, foreign, digits), called, value));
        }
    }
    found.sort_by_key(|(rank, ..)| *rank);
    found.into_iter().map(|(_, called, value)| (called, value)).collect()
}

fn is_plausible(raw: &Value) -> bool {
    raw.number().is_some_and(|v| v == 0.0 || PLAUSIBLE.contains(&v.abs()))
}

// --- words for people ---

/// `holding registers 3–4`
pub fn span(span: &Span) -> String {
    let (one, many) = match span.table {
        Table::Coil => ("coil", "coils"),
        Table::Discrete => ("discrete input", "discrete inputs"),
        Table::Holding => ("holding register", "holding registers"),
        Table::Input => ("input register", "input registers"),
    };
    match span.count {
        0 | 1 => format!("{one} {}", span.register),
        _ => format!("{many} {}–{}", span.register, span.end() - 1),
    }
}

/// `holding registers 40–43 are refused (illegal data address)`; `None` of nothing.
pub fn refused(parts: impl Iterator<Item = (Span, u8)>) -> Option<String> {
    let mut parts: Vec<(Span, u8)> = parts.collect();
    parts.sort_by_key(|(span, code)| (span.table, *code, span.register));
    let mut runs: Vec<(Span, u8)> = Vec::new();
    for (span, code) in parts {
        match runs.last_mut() {
            Some((run, same))
                if *same == code && run.table == span.table && u32::from(span.register) <= run.end() =>
            {
                let end = run.end().max(span.end());
                run.count = u16::try_from(end - u32::from(run.register)).unwrap_or(u16::MAX);
            }
            _ => runs.push((span, code)),
        }
    }
    let named = runs.iter().take(REFUSED_NAMED_MOST).map(|(run, code)| {
        let are = if run.count > 1 { "are" } else { "is" };
        let why = pdu::meaning(*code).unwrap_or("an exception");
        format!("{} {are} refused ({why})", span(run))
    });
    let named = named.collect::<Vec<_>>().join(", ");
    match runs.len() {
        0 => None,
        all if all > REFUSED_NAMED_MOST => Some(format!("{named} and {} more", all - REFUSED_NAMED_MOST)),
        _ => Some(named),
    }
}

/// `coil 0 reads on`, `holding registers 3–4 read 0x0001 0x00E6`
pub fn reads(read: &Span, words: &[u16]) -> String {
    let word = |word: &u16| match (read.table.is_bits(), word) {
        (false, word) => format!("0x{word:04X}"),
        (true, 0) => "off".into(),
        (true, _) => "on".into(),
    };
    let words: Vec<String> = words.iter().map(word).collect();
    let reads = if read.count == 1 { "reads" } else { "read" };
    format!("{} {reads} {}", span(read), words.join(" "))
}

/// `coil 512 = 0x0007`
pub fn write(write: &Write) -> String {
    let (table, register, count) = match write {
        Write::Coil { at, word } => return format!("coil {at} = 0x{word:04X}"),
        Write::Register { at, word } => return format!("holding register {at} = 0x{word:04X}"),
        Write::Mask { at, and, or } => {
            return format!("holding register {at} masked by 0x{and:04X}, 0x{or:04X}");
        }
        Write::Coils { at, on } => (Table::Coil, *at, on.len()),
        Write::Registers { at, words } | Write::ReadWrite { at, words, .. } => {
            (Table::Holding, *at, words.len())
        }
    };
    span(&Span { table, register, count: count as u16 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(kind: Type, order: Order) -> Point {
        Point { order, ..Point::new(PointId(0), Table::Input, 0, kind) }
    }

    fn words(bytes: [u8; 4]) -> [u16; 2] {
        [u16::from_be_bytes([bytes[0], bytes[1]]), u16::from_be_bytes([bytes[2], bytes[3]])]
    }

    #[test]
    fn what_is_refused_is_named_in_runs() {
        let of = |parts: &[(u16, u16, u8)]| {
            let span = |&(register, count, code)| (Span { table: Table::Holding, register, count }, code);
            refused(parts.iter().map(span))
        };
        assert_eq!(of(&[]), None);
        let four = of(&[(42, 2, 2), (40, 1, 2), (41, 1, 2)]).unwrap();
        assert_eq!(four, "holding registers 40–43 are refused (illegal data address)");
        let two = of(&[(9, 1, 2), (40, 1, 3)]).unwrap();
        assert!(two.starts_with("holding register 9 is refused (illegal data address), holding"), "{two}");
        let many: Vec<_> = (0..9).map(|n| (n * 2, 1, 2)).collect();
        assert!(of(&many).unwrap().ends_with(" and 4 more"));
        assert!(of(&[(0xFFFF, 1, 2), (0xFFFE, 1, 2)]).unwrap().contains("65534–65535"));
    }

    #[test]
    fn a_wrong_word_order_is_explained() {
        let swapped = words([0x33, 0x33, 0x43, 0x66]); // 230.2 with its words reversed
        let told = otherwise(&point(Type::F32, Order::Abcd), &swapped, None, Some((0.0, 300.0)));
        assert_eq!(told.first(), Some(&("CDAB".to_owned(), Value::Number(230.2))), "{told:?}");
        let told = otherwise(&point(Type::F32, Order::Abcd), &swapped, None, None);
        assert_eq!(told.first(), Some(&("CDAB".to_owned(), Value::Number(230.2))), "{told:?}");
    }

    #[test]
    fn a_wrong_type_is_explained() {
        let whole = words([0, 0, 0x08, 0xFD]); // 2301 as a whole number, scaled by 0.1
        let transform = Transform { scale: Some(0.1), ..Transform::default() };
        let told = otherwise(
            &Point { transform, ..point(Type::F32, Order::Abcd) },
            &whole,
            None,
            Some((0.0, 300.0)),
        );
        assert_eq!(told.first(), Some(&("i32 ABCD".to_owned(), Value::Number(230.1))), "{told:?}");
    }

    #[test]
    fn what_cannot_be_is_not_told_and_nothing_twice() {
        let told = otherwise(&point(Type::U32, Order::Abcd), &[0, 0], Some(&Value::Number(0.0)), None);
        assert_eq!(told, []);
        let told = otherwise(&point(Type::U32, Order::Abcd), &[0x0001, 0x0001], None, None);
        let numbers: Vec<f64> = told.iter().map(|(_, v)| v.number().unwrap()).collect();
        assert!(numbers.iter().all(|v| PLAUSIBLE.contains(&v.abs())), "{told:?}");
        assert!((1..numbers.len()).all(|i| !numbers[..i].contains(&numbers[i])), "{told:?}");
        assert_eq!(otherwise(&point(Type::Text(2), Order::Abcd), &[0x4142, 0x4344], None, None), []);
        assert_eq!(otherwise(&point(Type::U16, Order::Abcd), &[1], None, None), []);
    }

    #[test]
    fn registers_and_writes_have_words() {
        let of = |table, register, count| span(&Span { table, register, count });
        assert_eq!(of(Table::Holding, 3, 2), "holding registers 3–4");
        assert_eq!(of(Table::Coil, 0, 1), "coil 0");
        let coil = Span { table: Table::Coil, register: 0, count: 1 };
        assert_eq!(reads(&coil, &[1]), "coil 0 reads on");
        let pair = Span { table: Table::Holding, register: 3, count: 2 };
        assert_eq!(reads(&pair, &[1, 230]), "holding registers 3–4 read 0x0001 0x00E6");
        assert_eq!(write(&Write::Coil { at: 512, word: 7 }), "coil 512 = 0x0007");
    }
}
