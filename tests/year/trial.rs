//! Cleaning and rules over the plant's answers, and what was found of what was planted.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatehouse::config;
use gatehouse::reading::{Batch, DeviceId, PointId, Reading, Reason, Value};
use gatehouse::refine::{Cleaner, Usable};
use gatehouse::rules::{Change, Engine, Memory, Plan};
use gatehouse::ticket::{Action, State, Ticket, Verb};

use super::plant::{BEGIN, DAY, Fault, HOUR, Kind, Millis, Plant, STEP, about};

/// A ticket may come so long after the fault has been put right and still be about it.
const GRACE: Millis = 6 * HOUR;
const LEAD: Millis = 3 * DAY;

#[derive(Debug)]
pub struct Report {
    pub kinds: BTreeMap<Kind, Found>,
    /// Lead times of forecasts, one for each part that wore; 0: none came in time.
    pub leads: Vec<Millis>,
    /// By rule.
    pub wrong: BTreeMap<String, u32>,
    pub months: f64,
    pub before: f64,
    pub after: f64,
    pub readings: u64,
    pub took: Duration,
}

#[derive(Debug, Default)]
pub struct Found {
    pub planted: u32,
    pub found: u32,
    /// From the beginning of the fault to the first ticket.
    pub after: Vec<Millis>,
}

/// A ticket was opened, or opened again.
struct Raised {
    rule: Arc<str>,
    device: usize,
    at: Millis,
}

pub fn run(mut plant: Plant) -> Report {
    let began = Instant::now();
    let loaded = config::load_sources(vec![("gatehouse.toml".into(), plant.toml())]);
    let gateway = loaded.map_err(|mistakes| mistakes.to_string()).unwrap().gateway;
    let site = gateway.site.clone();
    let rules = Plan {
        rules: gateway.rules.clone(),
        standards: gateway.standards(),
        locale: gateway.locale,
        epoch: "e1".into(),
    };
    let mut desk = Desk {
        engine: Engine::new(rules, site.clone(), Memory::default(), BEGIN),
        raised: Vec::new(),
        tickets: HashMap::new(),
    };
    let (mut cleaner, mut usable) = (Cleaner::new(&site), Usable::new(&site, BEGIN));
    let (faults, end) = (plant.faults.clone(), BEGIN + plant.days * DAY);
    let mut repairs: Vec<&Fault> = faults.iter().collect();
    repairs.sort_by_key(|fault| std::cmp::Reverse(fault.to));
    let mut readings = 0;
    for at in (BEGIN..end).step_by(STEP as usize) {
        desk.engine.advance(at, true);
        while let Some(fault) = repairs.pop_if(|fault| fault.to <= at) {
            desk.repair(&site.devices[fault.device].id, at);
        }
        for index in 0..plant.devices.len() {
            let own = faults.iter().filter(|f| f.device == index && (f.from..f.to).contains(&at));
            let under_way: Vec<&Fault> = own.collect();
            // Each is asked at a time of its own.
            let at = at + 1000 * index as Millis;
            let answer = plant.answer(index, at, &under_way);
            let device = &site.devices[index];
            let points = device.first_point..device.first_point + device.points;
            let mut batch = Batch::new(DeviceId(index as u32), at, Vec::with_capacity(points.len()), None);
            for (i, point) in points.enumerate() {
                let point = PointId(point);
                let mut reading = match &answer {
                    Some(values) => Reading::good(point, at, Value::Number(values[i])),
                    None => Reading::bad(point, at, Reason::NoAnswer),
                };
                cleaner.clean(&mut reading, site.point(point));
                usable.take(&reading, batch.device);
                batch.readings.push(reading);
                readings += 1;
            }
            desk.engine.batch(&batch);
        }
        desk.listen(at, &plant);
    }
    let shares = usable.shares(&site, end);
    let mean = |part: fn(&gatehouse::refine::Share) -> f64| {
        shares.iter().map(part).sum::<f64>() / shares.len() as f64
    };
    let months = plant.devices.len() as f64 * plant.days as f64 * 12.0 / 365.0;
    let mut report = Report {
        kinds: BTreeMap::new(),
        leads: Vec::new(),
        wrong: BTreeMap::new(),
        months,
        before: mean(|share| share.before),
        after: mean(|share| share.after),
        readings,
        took: Duration::ZERO,
    };
    report.count(&faults, &desk.raised);
    report.took = began.elapsed();
    report
}

/// The rules, and people who put right what they are sent to.
struct Desk {
    engine: Engine,
    raised: Vec<Raised>,
    tickets: HashMap<Arc<str>, Ticket>,
}

impl Desk {
    fn listen(&mut self, now: Millis, plant: &Plant) {
        for Change { kind, at, ticket } in self.engine.take(now).told {
            if matches!(kind, "ticket.opened" | "ticket.reopened") {
                let device = ticket.device.as_deref().unwrap_or_default();
                let device = plant.devices.iter().position(|d| d.name == device).unwrap();
                self.raised.push(Raised { rule: ticket.rule.clone(), device, at });
            }
            if ticket.state == State::Closed {
                self.tickets.remove(&ticket.id);
            } else {
                self.tickets.insert(ticket.id.clone(), ticket);
            }
        }
    }

    fn repair(&mut self, device: &str, at: Millis) {
        let unclosed = self.tickets.values().filter(|t| t.device.as_deref() == Some(device));
        let mut ids: Vec<Arc<str>> = unclosed.map(|ticket| ticket.id.clone()).collect();
        ids.sort();
        for ticket in ids {
            let (by, verb) = ("li".to_owned(), Verb::Resolve);
            let action = Action { ticket, verb, by, note: None, external_id: None, revision: None };
            self.engine.act(&action, at).unwrap();
        }
    }
}

impl Report {
    fn count(&mut self, faults: &[Fault], raised: &[Raised]) {
        let about = |raised: &Raised, fault: &Fault| {
            raised.device == fault.device
                && about(&raised.rule).contains(&fault.kind)
                && (fault.from..fault.to + GRACE).contains(&raised.at)
        };
        for fault in faults {
            let found = self.kinds.entry(fault.kind).or_default();
            found.planted += 1;
            let mut tickets = raised.iter().filter(|raised| about(raised, fault));
            if let Some(first) = tickets.clone().map(|raised| raised.at).min() {
                found.found += 1;
                found.after.push(first - fault.from);
            }
            if let (Kind::Wear, Some(crosses)) = (fault.kind, fault.crosses) {
                let forecasts = ["bearing-wears", "filter-clogs", "battery-runs-down"];
                let ahead = tickets.find(|raised| forecasts.contains(&&*raised.rule));
                self.leads.push(ahead.map_or(0, |raised| (crosses - raised.at).max(0)));
            }
        }
        for raised in raised.iter().filter(|raised| !faults.iter().any(|fault| about(raised, fault))) {
            *self.wrong.entry(raised.rule.to_string()).or_default() += 1;
        }
    }

    /// Found, of all that was planted.
    pub fn found(&self) -> (u32, u32) {
        self.kinds.values().fold((0, 0), |(found, of), kind| (found + kind.found, of + kind.planted))
    }

    pub fn wrong_a_month(&self) -> f64 {
        f64::from(self.wrong.values().sum::<u32>()) / self.months
    }

    /// The share of forecasts that came at least three days ahead.
    pub fn in_time(&self) -> f64 {
        self.leads.iter().filter(|lead| **lead >= LEAD).count() as f64 / self.leads.len() as f64
    }

    pub fn table(&self) -> String {
        let hours = |sorted: &[Millis], part: f64| match sorted {
            [] => "–".to_owned(),
            _ => format!("{:.1} h", sorted[((sorted.len() - 1) as f64 * part) as usize] as f64 / HOUR as f64),
        };
        let mut text = String::from(
            "| fault | planted | found | time to detect, median | p90 |\n|---|---|---|---|---|\n",
        );
        for (kind, found) in &self.kinds {
            let mut after = found.after.clone();
            after.sort_unstable();
            let kind = format!("{kind:?}").to_lowercase();
            let (median, p90) = (hours(&after, 0.5), hours(&after, 0.9));
            writeln!(text, "| {kind} | {} | {} | {median} | {p90} |", found.planted, found.found).unwrap();
        }
        let mut leads = self.leads.clone();
        leads.sort_unstable();
        let days = |part: f64| {
            leads
                .get(((leads.len() - 1) as f64 * part) as usize)
                .map_or(0.0, |lead| *lead as f64 / DAY as f64)
        };
        write!(
            text,
            "\n| | |\n|---|---|\n| false tickets per device and month | {:.4} ({:?} in {:.0} months) |\n\
             | wear forecast at least 3 days ahead | {:.1} % of {} (p10 {:.1} d, median {:.1} d, p90 {:.1} d) |\n\
             | usable share before and after cleaning | {:.1} % → {:.1} % |\n| readings, time | {}, {:.1} s |\n",
            self.wrong_a_month(),
            self.wrong,
            self.months,
            self.in_time() * 100.0,
            leads.len(),
            days(0.1),
            days(0.5),
            days(0.9),
            self.before * 100.0,
            self.after * 100.0,
            self.readings,
            self.took.as_secs_f64(),
        )
        .unwrap();
        text
    }
}

/// A line for each seed, the middle one and the worst.
pub fn summary(reports: &[(u64, Report)]) -> String {
    let mut text = String::from(
        "| seed | planted | not found | false a device and month | by rule | 3 days ahead | usable before | after |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    // What is better when it is more, is taken below zero: the last one is the worst.
    let mut columns: [Vec<f64>; 5] = Default::default();
    for (seed, report) in reports {
        let (found, planted) = report.found();
        let rules: Vec<String> = report.wrong.iter().map(|(rule, times)| format!("{rule} {times}")).collect();
        let row = [
            f64::from(planted - found),
            report.wrong_a_month(),
            -report.in_time() * 100.0,
            -report.before * 100.0,
            -report.after * 100.0,
        ];
        writeln!(text, "| {seed} | {planted} | {} |", cells(&row, &rules.join(", "))).unwrap();
        for (column, number) in columns.iter_mut().zip(row) {
            column.push(number);
        }
    }
    for (name, part) in [("median", 0.5), ("worst", 1.0)] {
        let of = |column: &mut Vec<f64>| {
            column.sort_unstable_by(f64::total_cmp);
            column[((column.len() - 1) as f64 * part) as usize]
        };
        let row = columns.each_mut().map(of);
        writeln!(text, "| {name} | | {} |", cells(&row, "")).unwrap();
    }
    text
}

fn cells(row: &[f64; 5], rules: &str) -> String {
    let [missed, wrong, ahead, before, after] = row;
    format!(
        "{missed} | {wrong:.4} | {rules} | {:.1} % of wear | {:.1} % | {:.1} % |",
        -ahead, -before, -after
    )
    .trim_end_matches(" |")
    .to_owned()
}
