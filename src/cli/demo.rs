//! `gatehouse demo`: a whole compound on this machine. Faults happen by a script; what becomes of them is printed as it
//! happens, from the outside: what the CRM was pushed, and what a central server pulled.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::daemon::Address;
use super::print;
use super::table::{Paint, Table, paint, width};
use super::trust::Papers;
use crate::app::{House, Start};
use crate::reading::Millis;
use crate::sim::crm::Arrival;
use crate::sim::{Compound, STEPS, Step};
use crate::ticket::Ticket;
use crate::{config, time};

/// After the last step: for delays to end, and the CRM to be told.
const SETTLE: Duration = Duration::from_secs(12);
/// How long the last events may take to the CRM and the puller once the time is over.
const ARRIVAL: Duration = Duration::from_secs(10);

/// An event as a puller gets it.
#[derive(Debug, Deserialize)]
struct Event {
    id: String,
    r#type: String,
    data: Box<RawValue>,
}

#[derive(Debug, Deserialize)]
struct Page {
    events: Vec<Event>,
    next: String,
}

/// What became of one ticket, seen from the outside.
#[derive(Debug)]
struct Way {
    ticket: Ticket,
    /// Events that opened it, as pulled: must be one.
    opened: u32,
    opened_event: String,
    pulled_at: Millis,
    cleared: u32,
    reopened: u32,
}

#[derive(Debug, Default)]
struct Seen {
    ways: BTreeMap<String, Way>,
}

pub async fn demo(time: Option<Duration>, listen: SocketAddr) -> anyhow::Result<ExitCode> {
    let mut terminated = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let dir = Scratch::new()?;
    let compound = Compound::start(&dir.0).await.context("starting the simulated compound")?;
    let house = open(&compound, listen, &dir).await?;
    let api = house.api().context("the API does not listen")?;
    print(&head(&compound, api))?;

    let stop = CancellationToken::new();
    let (told, mut steps) = mpsc::channel(STEPS.len());
    let (pulled_in, mut pulled) = mpsc::channel(1024);
    tokio::spawn(pull(api, pulled_in, stop.clone()));
    let begun = Instant::now();
    let end = time.map(|time| begun + time);
    let mut seen = Seen::default();
    let script = compound.play(stop.clone(), told);
    tokio::pin!(script);
    let mut playing = true;
    loop {
        tokio::select! {
            () = &mut script, if playing => playing = false,
            Some(step) = steps.recv() => print(&step_line(begun, &step))?,
            Some((event, at)) = pulled.recv() => seen.take(begun, event, at)?,
            () = sleep_until(end.unwrap_or(begun)), if end.is_some() => break,
            _ = tokio::signal::ctrl_c() => break,
            _ = terminated.recv() => break,
        }
    }
    // What is under way may arrive: everything opened is to be with the CRM.
    let patience = Instant::now() + ARRIVAL;
    while !seen.arrived(&compound) && Instant::now() < patience {
        tokio::select! {
            Some((event, at)) = pulled.recv() => seen.take(begun, event, at)?,
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
    }
    stop.cancel();
    let whole = house.drain("stop").await;
    let last_step = Duration::from_secs(STEPS.last().map_or(0, |step| step.at));
    let complete = begun.elapsed() >= last_step + SETTLE;
    let (summary, faults) = seen.summary(&compound, complete);
    print(&summary)?;
    Ok(if whole && faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn open(compound: &Compound, listen: SocketAddr, dir: &Scratch) -> anyhow::Result<House> {
    let text = compound.config(listen, &dir.0.join("data"));
    let loaded = config::load_sources(vec![("demo.toml".into(), text)])?;
    let start = Start {
        gateway: loaded.gateway,
        reason: "start",
        rejected: None,
        text: None,
        beside: Vec::new(),
        changes: Vec::new(),
    };
    match House::build(start).await {
        Ok(house) => Ok(house),
        // The usual port may be taken on a machine that is not ours; the demo needs any.
        Err(_) if listen.port() == super::API_PORT => {
            let text = compound.config(SocketAddr::new(listen.ip(), 0), &dir.0.join("data"));
            let gateway = config::load_sources(vec![("demo.toml".into(), text)])?.gateway;
            House::build(Start {
                gateway,
                reason: "start",
                rejected: None,
                text: None,
                beside: Vec::new(),
                changes: Vec::new(),
            })
            .await
        }
        Err(error) => Err(error),
    }
}

/// A central server: long-polls the journal from its beginning.
async fn pull(api: SocketAddr, out: mpsc::Sender<(Event, Millis)>, stop: CancellationToken) {
    let Ok(client) = Client::at(Address::named(&format!("http://{api}")), &Papers::default(), None) else {
        return;
    };
    let mut cursor = "0".to_owned();
    let pulling = async {
        loop {
            let path = format!("/api/v1/events?after={cursor}&wait=30&limit=1000&types=ticket.*");
            match client.get::<Page>(&path).await {
                Ok(page) => {
                    cursor = page.next;
                    for event in page.events {
                        if out.send((event, time::now())).await.is_err() {
                            return;
                        }
                    }
                    // What it has, it says; a miss is made up for by the next.
                    let _ = client.put("/api/v1/consumers/central", &json!({ "acknowledged": cursor })).await;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    };
    stop.run_until_cancelled(pulling).await;
}

impl Seen {
    /// One event, printed as it comes.
    fn take(&mut self, begun: Instant, event: Event, at: Millis) -> anyhow::Result<()> {
        let kind = event.r#type.trim_start_matches("gatehouse.ticket.").to_owned();
        let ticket: Ticket = serde_json::from_str(event.data.get()).context("reading a ticket")?;
        print(&ticket_line(begun, &kind, &ticket))?;
        let id = ticket.id.to_string();
        let way = self.ways.entry(id).or_insert_with(|| Way {
            ticket: ticket.clone(),
            opened: 0,
            opened_event: String::new(),
            pulled_at: at,
            cleared: 0,
            reopened: 0,
        });
        match kind.as_str() {
            "opened" => {
                way.opened += 1;
                way.opened_event = event.id;
            }
            "cleared" => way.cleared += 1,
            "reopened" => way.reopened += 1,
            _ => {}
        }
        // Its first words keep their times; its state is the last one's.
        way.ticket =
            Ticket { opened_at: way.ticket.opened_at, since: way.ticket.since.min(ticket.since), ..ticket };
        Ok(())
    }

    fn arrived(&self, compound: &Compound) -> bool {
        let arrivals = compound.crm.arrivals();
        self.ways.values().all(|way| way.at_crm(&arrivals).is_some())
    }

    /// What is to be read at the end, and how many faults it shows.
    fn summary(&self, compound: &Compound, complete: bool) -> (String, usize) {
        let arrivals = compound.crm.arrivals();
        let faults = self.faults(&arrivals, &compound.expected(), complete);
        let repeats: u32 = arrivals.iter().map(|a| a.times - 1).sum();
        let mut text = format!(
            "\n{}\nDELAY: from the crossing to the opening, as the rule asks. PULLED, AT CRM: from then on.\n\
             {} tickets, {} events at the CRM, {repeats} sent again after a cut answer and known by their id\n",
            self.table(&arrivals).render(),
            self.ways.len(),
            arrivals.len(),
        );
        if !complete {
            let all = STEPS.last().map_or(0, |step| step.at) + SETTLE.as_secs();
            text += &format!("the script was not played to its end; give it --for {all}s or more\n");
        }
        for fault in &faults {
            text += &format!("{} {fault}\n", paint("✗", Some(Paint::Red)));
        }
        if faults.is_empty() {
            let tick = paint("✓", Some(Paint::Green));
            text += &format!("{tick} every ticket was opened, pulled and pushed once\n");
        }
        (text, faults.len())
    }

    fn table(&self, arrivals: &[Arrival]) -> Table {
        let mut table = Table::new(&["NUMBER", "DELAY", "PULLED", "AT CRM", "GONE", "CRM'S ID", "TITLE…"]);
        for way in self.ways.values() {
            let t = &way.ticket;
            let after = |at: Millis| format!("+{} ms", at - t.opened_at);
            table.row(vec![
                (&t.number).into(),
                format!("{:.1} s", (t.opened_at - t.since) as f64 / 1000.0).into(),
                after(way.pulled_at).into(),
                way.at_crm(arrivals).map_or("never".into(), |a| after(a.at)).into(),
                format!("{}×", way.cleared).into(),
                t.external_id.clone().unwrap_or_default().into(),
                (&t.title).into(),
            ]);
        }
        table
    }

    /// Whatever is not as the script says: each of its tickets once, with the puller and the CRM, and no other.
    fn faults(&self, arrivals: &[Arrival], expected: &[(String, String)], complete: bool) -> Vec<String> {
        let mut faults = Vec::new();
        let mut by_subject = BTreeMap::<(String, String), u32>::new();
        for way in self.ways.values() {
            let t = &way.ticket;
            let subject = t.point.as_ref().or(t.device.as_ref()).map_or("", |s| s).to_owned();
            *by_subject.entry((t.rule.to_string(), subject)).or_default() += 1;
            if way.opened != 1 {
                faults.push(format!("{} was opened {} times", t.number, way.opened));
            }
            if way.at_crm(arrivals).is_none() {
                faults.push(format!("{} did not arrive at the CRM", t.number));
            }
        }
        for (key, times) in &by_subject {
            if !expected.contains(key) {
                faults.push(format!("a ticket of {} on {} was not in the script", key.0, key.1));
            } else if *times != 1 {
                faults.push(format!("{} on {} has {times} tickets", key.0, key.1));
            }
        }
        for key in expected.iter().filter(|key| complete && !by_subject.contains_key(key)) {
            faults.push(format!("no ticket of {} on {}", key.0, key.1));
        }
        faults
    }
}

impl Way {
    fn at_crm<'a>(&self, arrivals: &'a [Arrival]) -> Option<&'a Arrival> {
        arrivals.iter().find(|a| a.id == self.opened_event)
    }
}

fn head(compound: &Compound, api: SocketAddr) -> String {
    format!(
        "A compound on this machine: {} on real sockets and pseudo-terminals.\n\
         The technician's page: http://{api}/   the journal: curl 'http://{api}/api/v1/events?after=0'\n\n",
        compound.describe(),
    )
}

fn clock(begun: Instant) -> String {
    paint(&format!("{:5.1} s", begun.elapsed().as_secs_f64()), Some(Paint::Dim))
}

fn step_line(begun: Instant, step: &Step) -> String {
    format!("{}  {} {}\n", clock(begun), paint("▸", Some(Paint::Dim)), step.what)
}

fn ticket_line(begun: Instant, kind: &str, ticket: &Ticket) -> String {
    let colour = match kind {
        "opened" | "reopened" | "escalated" => Some(Paint::Red),
        "cleared" | "closed" | "verified" => Some(Paint::Green),
        _ => Some(Paint::Yellow),
    };
    let room = 13usize.saturating_sub(width(kind));
    let by = ticket.by.as_ref().map_or(String::new(), |by| format!(" ({by})"));
    format!(
        "{}    {}{} {}  {}{by}\n",
        clock(begun),
        paint(kind, colour),
        " ".repeat(room),
        ticket.number,
        ticket.title
    )
}

/// A directory that goes with the demo.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join(format!("gatehouse-demo-{}", std::process::id()));
        std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing worth keeping; what cannot be removed stays in the temporary directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
