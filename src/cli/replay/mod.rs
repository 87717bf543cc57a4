//! `replay`: which tickets a rule would have raised, over the recorded history or over a CSV, so that a threshold can be
//! tuned without waiting for winter.
//!
//! ```text
//! config + rule ──trial──▶ rules ─┐
//! history ──past──▶ rows ─────────┴▶ course (the daemon's engine, in the time of the readings) ──▶ lines of JSON
//! CSV ──────lines──▶ rows                                                                     └──▶ tally, plot ─▶ page
//! ```

mod course;
mod lines;
mod page;
mod past;
mod tally;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use super::moment::{Moment, moment};
use super::plot::{self, Axis, Curve};
use super::table::harmless;
use super::{Config, print};
use crate::app;
use crate::config::Gateway;
use crate::config::trial::{Other, Trial, Untried, Wanted, trial};
use crate::reading::{Millis, PointId, Value};
use crate::rules::{Condition, Rule};
use crate::store;
use crate::time;

use course::{Course, Told};
use lines::{Lines, Row};
use past::Past;
use tally::Tally;

#[derive(Debug, Args)]
pub struct Replay {
    /// The id of a rule; or a file (`*.toml`) with one `[[rule]]`; or `-`, the same on standard input
    rule: String,
    /// How far back (7d, 12h), or from which time on (2026-11-21T08:00:00Z); without it 7d of the history, all of a CSV
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Moment>,
    /// Until then, in the same words; without it until now, or to the last line of a CSV
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Moment>,
    /// Lines of `time,point,value` in place of the history; an empty value is a bad reading; `-`: standard input
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// For machines: a line a change
    #[arg(long)]
    json: bool,
    /// Beside it the same rule with another limit (220), with another key (on_delay=30s), or another file (*.toml)
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    compare: Option<String>,
    #[command(flatten)]
    config: Config,
}

const SINCE_DEFAULT: Moment = Moment::Ago(7 * 24 * 3600 * 1000);
/// Names in a warning.
const UNKNOWN_SHOWN: usize = 10;
/// Bytes of a file with a rule.
const RULE_MAX: u64 = 1 << 20;

pub fn replay(asked: &Replay) -> anyhow::Result<ExitCode> {
    let on_stdin = [Some("-") == asked.csv.as_deref().and_then(Path::to_str), asked.rule == "-"];
    if on_stdin == [true, true] {
        writeln!(
            io::stderr(),
            "error: the rule and the readings cannot both be on standard input; put one of them into a file"
        )?;
        return Ok(ExitCode::from(2));
    }
    let wanted = wanted(&asked.rule)?;
    let other = asked.compare.as_deref().map(other).transpose()?;
    let trial = match trial(&asked.config.config, &wanted, other.as_ref()) {
        Ok(trial) => trial,
        Err(Untried::Wrong(mistakes)) => {
            writeln!(io::stderr(), "{mistakes}")?;
            return Ok(ExitCode::from(app::BAD_CONFIGURATION));
        }
        Err(error) => return Err(error.into()),
    };
    let mut rules: Vec<&[Rule]> = vec![&trial.rules];
    rules.extend(trial.other.as_ref().map(std::slice::from_ref));
    if rules.iter().copied().flatten().any(|rule| matches!(rule.condition, Condition::Storm { .. })) {
        bail!("`storm` sums up the tickets of all other rules; one rule alone cannot show it");
    }
    if rules.iter().copied().flatten().any(|rule| rule.condition == Condition::StorageLow) {
        bail!("`storage-low` is about the gateway's own disk; no recorded reading can show it");
    }
    if rules.iter().copied().flatten().any(|rule| rule.condition == Condition::ClockUnsynced) {
        bail!("`clock-unsynced` is about the clock, of which nothing is recorded");
    }
    let points = course::points(&trial.loaded.gateway.site, rules.iter().copied().flatten());
    let run = Run { asked, gateway: &trial.loaded.gateway, rules, points };
    match &asked.csv {
        Some(path) => run.over_csv(path, &trial),
        None => run.over_history(&trial),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn wanted(rule: &str) -> anyhow::Result<Wanted> {
    Ok(match rule {
        "-" => Wanted::Written("standard input".into(), rule_text(io::stdin().lock(), "standard input")?),
        file if file.ends_with(".toml") => Wanted::Written(file.into(), rule_file(file)?),
        id => Wanted::Named(id.to_owned()),
    })
}

fn other(compare: &str) -> anyhow::Result<Other> {
    Ok(match compare {
        file if file.ends_with(".toml") => Other::Written(file.into(), rule_file(file)?),
        change => Other::Changed(change.to_owned()),
    })
}

fn rule_file(path: &str) -> anyhow::Result<String> {
    rule_text(File::open(path).with_context(|| path.to_owned())?, path)
}

fn rule_text(from: impl Read, name: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    from.take(RULE_MAX + 1).read_to_string(&mut text).with_context(|| name.to_owned())?;
    if text.len() as u64 > RULE_MAX {
        bail!("{name}: larger than {RULE_MAX} bytes; it holds one `[[rule]]` and nothing else");
    }
    Ok(text)
}

// ---------------------------------------------------------------------------------------------- a run

/// What is replayed, and for whom.
struct Run<'a> {
    asked: &'a Replay,
    gateway: &'a Gateway,
    /// One set for each column of a comparison.
    rules: Vec<&'a [Rule]>,
    /// Those that the rules stand on.
    points: Vec<PointId>,
}

/// What comes of it.
struct Seen {
    axis: Axis,
    curves: HashMap<PointId, Curve>,
    tallies: Vec<Tally>,
    readings: u64,
}

impl Run<'_> {
    fn over_csv(&self, path: &Path, trial: &Trial) -> anyhow::Result<()> {
        let name = if path == Path::new("-") { "standard input".into() } else { path.display().to_string() };
        let from: Box<dyn BufRead> = match path.to_str() {
            Some("-") => Box::new(io::stdin().lock()),
            _ => Box::new(BufReader::new(File::open(path).with_context(|| name.clone())?)),
        };
        let site = &self.gateway.site;
        let Lines { mut rows, span, unknown } =
            lines::read(from, site, |point| self.points.binary_search(&point).is_ok())
                .with_context(|| name.clone())?;
        let Some((first, last)) = span else { bail!("{name}: no line with a reading in it") };
        let to = self.asked.until.map_or(last, |until| until.before(last));
        let from = self.asked.since.map_or(first, |since| since.before(to).max(first));
        if from > to {
            bail!(
                "{name} holds {} to {}; nothing of it is asked for",
                time::format(first),
                time::format(last)
            );
        }
        rows.retain(|row| (from..=to).contains(&row.at));
        if let Some(warning) = unknown_points(&unknown) {
            writeln!(io::stderr(), "warning: {name}: {warning}")?;
        }
        if let Some(warning) = self.words_at_limits(&rows) {
            writeln!(io::stderr(), "warning: {name}: {warning}")?;
        }
        course::clean(&mut rows, site);
        self.go(trial, (from, to), Vec::new(), &[], |take| take(&rows))
    }

    /// `231 kPa` is no number to a limit, and would go by unseen.
    fn words_at_limits(&self, rows: &[Row]) -> Option<String> {
        let limited = |rule: &&Rule| {
            use Condition::{Above, Below, Falls, Forecast, Inside, Outside, Rises};
            matches!(
                rule.condition,
                Above(_)
                    | Below(_)
                    | Outside(..)
                    | Inside(..)
                    | Rises { .. }
                    | Falls { .. }
                    | Forecast { .. }
            )
        };
        let site = &self.gateway.site;
        let points = course::points(site, self.rules.iter().copied().flatten().filter(limited));
        let mut words = rows.iter().filter_map(|row| match &row.value {
            Some(Value::Text(text)) if points.binary_search(&row.point).is_ok() => Some((row.point, text)),
            _ => None,
        });
        let (point, text) = words.next()?;
        let (lines, point) = (1 + words.count(), &site.point(point).id);
        let first: String = harmless(text).chars().take(40).collect();
        Some(format!(
            "{lines} lines with words where a limit needs numbers, the first `{first}` of {point}; write the number alone"
        ))
    }

    fn over_history(&self, trial: &Trial) -> anyhow::Result<()> {
        let now = time::now();
        let to = self.asked.until.map_or(now, |until| until.before(now)).min(now);
        let from = self.asked.since.unwrap_or(SINCE_DEFAULT).before(to);
        let dir = &self.gateway.store.dir;
        let recorded = store::recorded(dir).with_context(|| {
            format!("the history in {} cannot be read; run this as the daemon's user", dir.display())
        })?;
        let oldest = match &recorded {
            Some(readings) => readings.since()?,
            None => None,
        };
        let (Some(readings), Some(oldest)) = (recorded, oldest) else {
            bail!(
                "there is no history in {} yet; the daemon writes it while it runs, and `--csv` needs none",
                dir.display()
            );
        };
        if oldest > to || from > to {
            bail!("the history begins {}; nothing of it is asked for", time::format(oldest));
        }
        let begin = from.max(oldest);
        let past =
            Past { readings: &readings, site: &self.gateway.site, points: &self.points, from: begin, to };
        let gaps = past.gaps()?;
        let mut notes = page::notes(&self.rules, self.gateway, (oldest > from).then_some(oldest), &gaps);
        if let Some(until) = past.rolled_up_to()? {
            notes.push(format!(
                "up to {} the readings have given way to rollups: one value a minute or an hour, the last one read in it; what came and went within it is not seen",
                time::format(until)
            ));
        }
        self.go(trial, (begin, to), gaps, &notes, |take| past.pieces(take))
    }

    /// `feed` gives the readings, piece by piece, to what it is given.
    fn go(
        &self,
        trial: &Trial,
        (from, to): (Millis, Millis),
        gaps: Vec<(Millis, Millis)>,
        notes: &[String],
        feed: impl FnOnce(&mut dyn FnMut(&[Row]) -> anyhow::Result<()>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut course = Course::new(self.gateway, &self.rules, from, gaps);
        let axis = Axis { from, to, width: plot::width(), letters: plot::letters() };
        let tallies = self.rules.iter().map(|_| Tally::default()).collect();
        let mut seen = Seen { axis, curves: HashMap::new(), tallies, readings: 0 };
        let mut out = BufWriter::new(io::stdout().lock());
        feed(&mut |rows| {
            if !self.asked.json {
                rows.iter().for_each(|row| seen.see(row));
            }
            seen.readings += rows.len() as u64;
            course.take(rows, |number, told| self.tell(&mut seen, &mut out, number, told))
        })?;
        course.end(to, |number, told| self.tell(&mut seen, &mut out, number, told))?;
        out.flush()?;
        drop(out);
        if self.asked.json {
            for note in notes {
                writeln!(io::stderr(), "note: {note}")?;
            }
            return Ok(());
        }
        print(&page::page(&page::About { run: self, trial, notes }, seen)?)
    }

    fn tell(
        &self,
        seen: &mut Seen,
        out: &mut impl Write,
        number: usize,
        mut told: Told,
    ) -> anyhow::Result<()> {
        if !self.asked.json {
            seen.tallies[number].add(&seen.axis, &told);
            return Ok(());
        }
        if self.rules.len() > 1 {
            told.limit = self.rules[number].first().map(|rule| rule.limit.clone());
            told.variant = Some(number + 1);
        }
        serde_json::to_writer(&mut *out, &told).map_err(io::Error::from)?;
        Ok(out.write_all(b"\n")?)
    }
}

/// `3 lines of no point of the configuration: pump-9.flow (2), pump-9.pressure (1)`
fn unknown_points(unknown: &BTreeMap<String, u64>) -> Option<String> {
    let lines: u64 = unknown.values().sum();
    let named: Vec<String> =
        unknown.iter().take(UNKNOWN_SHOWN).map(|(point, n)| format!("{} ({n})", harmless(point))).collect();
    let more = if unknown.len() > UNKNOWN_SHOWN { ", …" } else { "" };
    (lines > 0).then(|| format!("{lines} lines of no point of the configuration: {}{more}", named.join(", ")))
}

impl Seen {
    fn see(&mut self, row: &Row) {
        let value = match &row.value {
            Some(Value::Bool(flag)) => Some(f64::from(u8::from(*flag))),
            Some(value) => match value.number() {
                // A word has no height.
                None => return,
                number => number,
            },
            None => None,
        };
        self.curves.entry(row.point).or_default().add(&self.axis, row.at, value);
    }
}
