//! What must hold of a store that is opened after the power was gone at some step of a [`Course`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use gatehouse::event::Kinds;
use gatehouse::store::{self, Ends, Filter};
use rusqlite::{Connection, OpenFlags};
use serde::Deserialize;

use super::day::{Act, Course, GATEWAY, Told, settings};
use super::recorder::Step;
use super::state;

/// What is looked up in a course again and again.
pub struct Promises<'a> {
    pub course: &'a Course,
    /// By number, from 1: what the event says of a ticket.
    spoken: Vec<Option<Spoken>>,
    /// The steps at which the journal's WAL was synced.
    syncs: Vec<usize>,
}

#[derive(Deserialize)]
struct Spoken {
    id: String,
    number: String,
    rule: String,
    point: Option<String>,
    state: String,
    revision: u64,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    pub head: u64,
    /// Commits that were under way or not synced, and are gone or there.
    pub commits_gone: usize,
    pub history: &'static str,
}

/// `Err`: in which words the promise was broken.
type Verdict<T> = Result<T, String>;

macro_rules! hold {
    ($is:expr, $($said:tt)+) => {
        if !$is {
            return Err(format!($($said)+));
        }
    };
}

impl<'a> Promises<'a> {
    /// The run itself has to be in order before it is cut.
    pub fn of(course: &'a Course) -> Self {
        let spoken: Vec<Option<Spoken>> = course
            .truth
            .iter()
            .map(|json| {
                json.contains("\"subject\":\"tickets/")
                    .then(|| serde_json::from_str(state::data_of(json)).unwrap())
            })
            .collect();
        let mut revisions: HashMap<&str, u64> = HashMap::new();
        for ticket in spoken.iter().flatten() {
            let before = revisions.insert(&ticket.id, ticket.revision);
            assert_eq!(ticket.revision, before.unwrap_or(0) + 1, "the revisions of {} in the run", ticket.id);
        }
        let names = &course.log.names;
        let is_sync = |step: &Step| matches!(step, Step::Sync { file } if names[*file] == "journal.db-wal");
        let syncs = (0..course.log.steps.len()).filter(|n| is_sync(&course.log.steps[*n])).collect();
        Self { course, spoken, syncs }
    }

    /// The act that was under way at this step.
    pub fn act(&self, cut: usize) -> &Act {
        let acts = &self.course.acts;
        &acts[acts.partition_point(|act| act.to < cut).min(acts.len() - 1)]
    }

    /// Opens the store on what was left of it and looks at everything.
    pub fn hold(&self, dir: &Path, cut: usize) -> Verdict<Found> {
        let ends =
            store::open(&settings(dir), GATEWAY).map_err(|error| format!("it does not open: {error}"))?;
        let act = self.act(cut);
        let (oldest, head) = self.events(&ends, act)?;
        self.told(&ends, cut, head)?;
        self.consumers(&ends, act, oldest, head)?;
        self.tickets(&ends, dir, head)?;
        let epoch = ends.journal.epoch().to_string();
        hold!(cut < self.course.opened || epoch == self.course.epoch, "the epoch {epoch} is another one");
        drop(ends);
        let commits_gone = self.is_one_of_its_states(dir, cut)?;
        let history = history(dir)?;
        Ok(Found { head, commits_gone, history })
    }

    /// All there from the first that is kept, and each one word for word what it was.
    fn events(&self, ends: &Ends, act: &Act) -> Verdict<(u64, u64)> {
        let everything = Kinds::default();
        let head = ends.view.head().map_err(|e| e.to_string())?;
        let oldest = match ends.view.events(0, 1, &everything) {
            Err(store::Error::Gone { oldest }) => oldest + 1,
            Err(error) => return Err(error.to_string()),
            Ok(_) => 1,
        };
        hold!(
            oldest <= act.oldest,
            "events up to {oldest} are gone, and only those below {} may be",
            act.oldest
        );
        // On a disk that refuses, a commit that failed may be there all the same; then it is, word for word, what comes next.
        let most = if self.course.refused.is_empty() { act.head } else { self.course.truth.len() as u64 };
        hold!(head <= most, "the head is {head}, and only {} events had happened", act.head);
        let mut seq = oldest - 1;
        while seq < head {
            let slice = ends.view.events(seq, 1000, &everything).map_err(|e| e.to_string())?;
            hold!(!slice.events.is_empty(), "there is nothing after event {seq}, and the head is {head}");
            for event in slice.events {
                seq += 1;
                hold!(event.seq == seq, "a gap: {} in the place of {seq}", event.seq);
                let truth = &self.course.truth[seq as usize - 1];
                hold!(event.json == *truth, "event {seq} is another one now: {}", event.json);
            }
        }
        Ok((oldest, head))
    }

    fn told(&self, ends: &Ends, cut: usize, head: u64) -> Verdict<()> {
        let told = self.course.told.iter().take_while(|(step, _)| *step <= cut);
        for (_, told) in told {
            match told {
                Told::Head(seq) => hold!(*seq <= head, "event {seq} was told, and the head is {head}"),
                Told::Ticket { id, revision } => {
                    let json = ends.view.ticket(id).map_err(|e| e.to_string())?;
                    let json = json.ok_or_else(|| format!("ticket {id} was told and is not there"))?;
                    let now: Spoken = serde_json::from_str(&json).map_err(|e| e.to_string())?;
                    hold!(
                        now.revision >= *revision,
                        "revision {revision} of {id} was told, {} is there",
                        now.revision
                    );
                }
                Told::Order { key, outcome } => {
                    let row = ends.journal.order(key).map_err(|e| e.to_string())?;
                    let row = row.ok_or_else(|| format!("the key {key} is forgotten"))?;
                    let now = row.ended.as_ref().map(|(_, outcome)| outcome.words().0);
                    hold!(
                        outcome.is_none() || now == *outcome,
                        "the end of {key} was told as {outcome:?}, it is {now:?}"
                    );
                }
            }
        }
        Ok(())
    }

    /// A cursor may have gone back, as far as events are kept for it; never forward.
    fn consumers(&self, ends: &Ends, act: &Act, oldest: u64, head: u64) -> Verdict<()> {
        for consumer in ends.view.consumers().map_err(|e| e.to_string())? {
            let (name, at) = (&consumer.name, consumer.acknowledged);
            let furthest = act.cursors.get(name).copied().unwrap_or(0);
            hold!(at <= furthest, "{name} has acknowledged {furthest}, and its cursor says {at}");
            hold!(at <= head, "{name} is at {at}, beyond the head {head}");
            // The one that is required all day long.
            hold!(
                name != "crm" || at + 1 >= oldest,
                "{name} is at {at}, and what follows is gone up to {oldest}"
            );
            let kept = consumer.set_aside.iter().all(|seq| (oldest..=head).contains(seq));
            hold!(kept, "{:?} are set aside for {name}, of {oldest}..={head}", consumer.set_aside);
        }
        Ok(())
    }

    /// None lost, none doubled, each as its last event says.
    fn tickets(&self, ends: &Ends, dir: &Path, head: u64) -> Verdict<()> {
        let mut last: BTreeMap<&str, (u64, &Spoken)> = BTreeMap::new();
        for (n, spoken) in self.spoken[..head as usize].iter().enumerate() {
            if let Some(spoken) = spoken {
                last.insert(&spoken.id, (n as u64 + 1, spoken));
            }
        }
        let filter = Filter { limit: store::TICKETS_MAX, ..Filter::default() };
        let rows = ends.view.tickets(&filter).map_err(|e| e.to_string())?;
        hold!(rows.len() == last.len(), "{} tickets, and events of {}", rows.len(), last.len());
        let (mut unclosed, mut numbers) = (HashSet::new(), HashSet::new());
        for (id, json) in &rows {
            let (seq, spoken) =
                last.get(id.as_str()).ok_or_else(|| format!("no event speaks of ticket {id}"))?;
            let told = state::data_of(&self.course.truth[*seq as usize - 1]);
            hold!(json == told, "ticket {id} is not what event {seq} says of it:\n{json}\n{told}");
            hold!(numbers.insert(&spoken.number), "two tickets have the number {}", spoken.number);
            let first = spoken.state == "closed" || unclosed.insert((&spoken.rule, &spoken.point));
            hold!(first, "two unclosed tickets of {} and {:?}", spoken.rule, spoken.point);
        }
        let db = reader(&dir.join("journal.db"))?;
        let mut query = db.prepare("SELECT id, last_seq FROM ticket").map_err(|e| e.to_string())?;
        let mut rows = query.query([]).map_err(|e| e.to_string())?;
        while let Some(row) = rows.next().map_err(|e| e.to_string())? {
            let (id, seq): (String, u64) = (row.get(0).unwrap(), row.get(1).unwrap());
            let spoken = last.get(id.as_str()).map(|(seq, _)| *seq);
            hold!(spoken == Some(seq), "ticket {id} says that event {seq} is its last, and it is {spoken:?}");
        }
        let number: u64 =
            db.query_row("SELECT number FROM gateway", [], |row| row.get(0)).map_err(|e| e.to_string())?;
        let highest =
            last.values().filter_map(|(_, spoken)| spoken.number.rsplit('-').next()?.parse().ok()).max();
        hold!(
            highest.unwrap_or(0) <= number,
            "ticket number {highest:?} is used, and the last one is {number}"
        );
        Ok(())
    }

    /// The journal as a whole is as it was after some commit, none that had not begun and none before the last that was
    /// synced. Returns how many commits that had begun are gone.
    fn is_one_of_its_states(&self, dir: &Path, cut: usize) -> Verdict<usize> {
        let states = &self.course.states;
        // State n is what commit n found; it had to be synced before anything after it was.
        // On a disk that refuses, a commit that failed may be there all the same.
        if cut < self.course.opened || states.is_empty() || !self.course.refused.is_empty() {
            return Ok(0);
        }
        let synced = self.syncs[..self.syncs.partition_point(|step| *step < cut)].last().copied();
        // One more: a commit is counted once its first frame is asked for, which may be the step itself. What was never
        // written cannot be there in any case.
        let begun = (states.partition_point(|(step, _)| *step < cut) + 1).min(states.len());
        let first = synced.map_or(0, |sync| states.partition_point(|(step, _)| *step < sync));
        let db = reader(&dir.join("journal.db"))?;
        let now = state::digest(&db);
        let digest = |n: usize| states.get(n).map_or(self.course.last_state, |(_, digest)| *digest);
        let at = (first..=begun).rev().find(|n| digest(*n) == now);
        let at = at.ok_or_else(|| {
            let other = (0..=states.len()).find(|n| digest(*n) == now);
            format!("it is as after commit {other:?}, and has to be as after one of {first}..={begun}")
        })?;
        Ok(begun - at)
    }
}

/// Opens, or was put aside; what is in it can be read.
fn history(dir: &Path) -> Verdict<&'static str> {
    let aside = std::fs::read_dir(dir).unwrap().flatten();
    let aside = aside.filter(|e| e.file_name().to_string_lossy().contains("history.db.broken")).count();
    let Some(readings) = store::recorded(dir).map_err(|e| format!("history: {e}"))? else {
        return Ok("none yet");
    };
    let spans = readings.spans(0, i64::MAX).map_err(|e| format!("history: {e}"))?;
    let mut samples = 0;
    readings
        .between("pump-0.pressure-0", 0, i64::MAX, |_| samples += 1)
        .map_err(|e| format!("history: {e}"))?;
    Ok(match (aside, spans.len()) {
        (0, 0) => "empty",
        (0, _) => "readable",
        _ => "put aside",
    })
}

fn reader(path: &Path) -> Verdict<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).map_err(|e| e.to_string())
}
