//! `maintenance`: what rests, and until when; sets and ends it.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::client::{Client, read};
use super::table::Table;
use super::{Daemon, local, print, span};
use crate::time;

const PATH: &str = "/api/v1/maintenance";
const ANSWER_MAX: Duration = Duration::from_secs(15);

#[derive(Debug, Args)]
pub struct Maintenance {
    #[command(flatten)]
    what: What,
    /// How long (30m, 2h, 3d); at most 31 days
    #[arg(long = "for", value_name = "TIME", value_parser = span, requires = "What", group = "until")]
    time: Option<Duration>,
    /// Ends it now
    #[arg(long, requires = "What", group = "until")]
    end: bool,
    /// Who says so
    #[arg(long, value_name = "NAME", requires = "What")]
    by: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT", requires = "What")]
    note: Option<String>,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct What {
    /// One device
    #[arg(long, value_name = "ID", requires = "until")]
    device: Option<String>,
    /// All that is in it, as far as its path goes: 3号楼/地下室
    #[arg(long, value_name = "PATH", requires = "until")]
    place: Option<String>,
    /// One rule, wherever it stands
    #[arg(long, value_name = "ID", requires = "until")]
    rule: Option<String>,
}

#[derive(Deserialize)]
struct List {
    maintenance: Vec<One>,
}

#[derive(Deserialize)]
struct One {
    device: Option<String>,
    place: Option<String>,
    rule: Option<String>,
    since: String,
    until: String,
    by: String,
    note: Option<String>,
    /// Of an answer: `begun`, `changed`, `ended`.
    state: Option<String>,
}

pub async fn maintenance(asked: &Maintenance) -> anyhow::Result<ExitCode> {
    let client = Client::new(&asked.daemon)?;
    let answer = match asked.what.named() {
        Some((what, name)) => say(&client, asked, what, name).await?,
        None => client.text(PATH).await?,
    };
    if asked.daemon.json {
        print(&format!("{answer}\n"))?;
    } else if asked.what.named().is_some() {
        let one: One = read(&answer)?;
        let state = one.state.as_deref().unwrap_or_default();
        let until = if state == "ended" { String::new() } else { format!(" until {}", local(&one.until)) };
        print(&format!("maintenance of {} {state}{until}\n", one.name()))?;
    } else {
        print(&page(&read::<List>(&answer)?.maintenance))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn say(client: &Client, asked: &Maintenance, what: &str, name: &str) -> anyhow::Result<String> {
    let until = match asked.time {
        Some(span) => time::now().saturating_add(span.as_millis().try_into().unwrap_or(i64::MAX)),
        // With `--end`; the other clock may be behind.
        None => 0,
    };
    let mut body = json!({ what: name, "until": time::format(until), "note": asked.note });
    if let Some(by) = &asked.by {
        body["by"] = Json::from(by.as_str());
    }
    let mut answer = String::new();
    let keep = |line: &str| {
        answer.push_str(line);
        Ok(())
    };
    client.lines(PATH, &body, ANSWER_MAX, keep).await?;
    Ok(answer)
}

fn page(all: &[One]) -> String {
    if all.is_empty() {
        return "nothing is in maintenance\n".into();
    }
    let mut table = Table::new(&["OF", "SINCE", "UNTIL", "BY…", "NOTE↵"]);
    for one in all {
        table.row(vec![
            one.name().into(),
            local(&one.since).into(),
            local(&one.until).into(),
            (&one.by).into(),
            one.note.as_deref().unwrap_or_default().into(),
        ]);
    }
    table.render()
}

impl What {
    fn named(&self) -> Option<(&'static str, &str)> {
        let device = self.device.as_deref().map(|name| ("device", name));
        let place = self.place.as_deref().map(|name| ("place", name));
        device.or(place).or(self.rule.as_deref().map(|name| ("rule", name)))
    }
}

impl One {
    /// `device pump-1`
    fn name(&self) -> String {
        let named = [("device", &self.device), ("place", &self.place), ("rule", &self.rule)];
        let named = named.into_iter().find_map(|(what, name)| Some(format!("{what} {}", name.as_ref()?)));
        super::table::harmless(&named.unwrap_or_default())
    }
}
