//! TOML → truth; every mistake at once, with its place.
//!
//! ```text
//! files ──texts──▶ tree (all files as one) ──▶ services  channels ◀── devices ◀── profiles   doors   rules
//!                       │                          └───────┴───────────┴──────────────────────┴───────┘
//!                       └── syntax errors ──▶ report ◀── what each of them finds wrong
//! ```
//! The walk never stops at a mistake: readers hand on a harmless value in place of a wrong one ([`section`]), and one
//! mistake is enough to refuse the whole. No serde here: it stops at the first mistake and loses the spots.

mod broker;
mod builtin;
mod certificates;
pub mod changes;
mod channels;
mod chatter;
mod cleaning;
mod codes;
mod commands;
mod conditions;
mod describe;
mod devices;
mod doors;
mod ear;
mod files;
mod hang;
mod https;
mod hush;
mod installed;
mod items;
mod keep;
mod kinds;
pub mod last_good;
mod messages;
mod mistakes;
mod names;
mod points;
mod privacy;
mod profiles;
mod quoted;
mod registers;
mod rendered;
mod rules;
pub mod schema;
mod secrets;
mod section;
mod services;
mod shown;
mod terms;
mod tree;
pub mod trial;
mod windows;
mod wires;
mod writes;

use crate::fingerprint::Fingerprint;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use codes::Code;
pub use describe::describe;
pub use hush::addresses as shown_text;
pub use mistakes::{Mistake, Mistakes, Place};
pub use profiles::{BUILT_IN as PROFILES, built_in as profiles};
pub use secrets::files as secret_files;

use crate::pseudonym::Pseudonyms;
use crate::reading::Site;
use crate::rules::{Locale, Rule};
use crate::ticket::Standard;
use crate::{access, command, field, store, sync, web};
use mistakes::{Report, Spot};
use section::Section;
use tree::Table;
use trial::Bench;

/// A configuration that is right, cut into what each room needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Gateway {
    pub site: Arc<Site>,
    pub timezone: String,
    pub locale: Locale,
    pub store: store::Settings,
    /// Bytes a day; where they are written, the history keeps no more than rollups until midnight.
    pub write_budget: u64,
    /// What was read in so long is told as `readings.summary`.
    pub summary: Option<Duration>,
    /// Kinds of events that are kept for less long than others.
    pub keep_kinds: Vec<(String, Duration)>,
    pub web: web::Settings,
    /// Pullers by name; retention waits for the required ones.
    pub consumers: Vec<Consumer>,
    pub sync: Vec<sync::Target>,
    pub channels: Vec<field::Channel>,
    pub rules: Vec<Rule>,
    pub access: access::Plan,
    /// What may be ordered of devices.
    pub commands: Vec<command::Allowed>,
    /// Makes pseudonyms of cards and people, where there is a key.
    pub pseudonyms: Option<Pseudonyms>,
    /// Of keys that were used before, the latest first: events of then can be found by them.
    pub pseudonyms_before: Vec<Pseudonyms>,
    /// Seals what the journal keeps of people.
    pub seal: store::Seal,
    /// By level, 1 to 3.
    pub levels: BTreeMap<u8, Standard>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    pub name: Arc<str>,
    pub required: bool,
}

impl Gateway {
    /// The service standard of each level, 1 to 3.
    pub fn standards(&self) -> [Standard; 3] {
        [1, 2, 3].map(|level| {
            self.levels.get(&level).copied().unwrap_or(Standard { contact: 0, on_site: 0, follow_up: 0 })
        })
    }
}

/// A configuration with what it was made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub gateway: Gateway,
    /// What is left aside in this version, and what looks odd.
    pub warnings: Vec<Mistake>,
    /// The files as read, so that the last good configuration can be kept. Secrets are not in them.
    pub text: Vec<(PathBuf, String)>,
    /// What these files name and stands elsewhere, as it was read: secrets, certificates.
    pub beside: Vec<Fingerprint>,
}

/// Reads one file, or one directory with `gatehouse.toml` and what that includes.
pub fn load(path: &Path) -> Result<Loaded, Mistakes> {
    load_from(path, None)
}

/// The same, with a rule that is tried on it.
fn load_from(path: &Path, bench: Option<&mut Bench<'_>>) -> Result<Loaded, Mistakes> {
    let (sources, unread) = files::read(path);
    if sources.is_empty() {
        return Err(Mistakes { list: unread, more: 0 });
    }
    match load_texts(sources, bench) {
        Ok(loaded) if unread.is_empty() => Ok(loaded),
        Ok(_) => Err(Mistakes { list: unread, more: 0 }),
        Err(mut mistakes) => {
            mistakes.list.splice(0..0, unread);
            Err(mistakes)
        }
    }
}

/// The same from texts. Their paths are for messages, and for files named relative to them; nothing is included.
pub fn load_sources(sources: Vec<(PathBuf, String)>) -> Result<Loaded, Mistakes> {
    load_texts(sources, None)
}

/// The same, also where tokens and certificates of the API and of pushes cannot be read: whom they would let in stays
/// out, and where they would go nothing goes.
fn load_closed(sources: Vec<(PathBuf, String)>) -> Option<Loaded> {
    let (loaded, mistakes) = walk_as(sources, None, |report| report.spares = true);
    mistakes.list.is_empty().then_some(loaded)
}

/// As much of a configuration as can be made out, with all that is wrong with it: to look at, never to run.
pub fn glean(path: &Path) -> (Option<Loaded>, Mistakes) {
    let (sources, unread) = files::read(path);
    if sources.is_empty() {
        return (None, Mistakes { list: unread, more: 0 });
    }
    let (loaded, mut mistakes) = walk(sources, None);
    mistakes.list.splice(0..0, unread);
    (Some(loaded), mistakes)
}

/// As it is written, to be compared with another one: secrets are not read, and each stands for any.
pub fn outline(path: &Path) -> Result<Gateway, Mistakes> {
    let (sources, unread) = files::read(path);
    match unread.is_empty() {
        true => outline_sources(sources),
        false => Err(Mistakes { list: unread, more: 0 }),
    }
}

/// The same of texts: those of a configuration that runs elsewhere.
pub fn outline_sources(sources: Vec<(PathBuf, String)>) -> Result<Gateway, Mistakes> {
    let (loaded, mistakes) = walk_as(sources, None, |report| report.blind = true);
    if mistakes.list.is_empty() { Ok(loaded.gateway) } else { Err(mistakes) }
}

fn load_texts(sources: Vec<(PathBuf, String)>, bench: Option<&mut Bench<'_>>) -> Result<Loaded, Mistakes> {
    if sources.is_empty() {
        let cure = "begin with `[gateway]` and `id = \"cp-017\"`".into();
        let code = Code::Unreadable;
        let nothing =
            Mistake { code, path: PathBuf::new(), place: None, what: "no configuration".into(), cure };
        return Err(Mistakes { list: vec![nothing], more: 0 });
    }
    let (loaded, mistakes) = walk(sources, bench);
    if mistakes.list.is_empty() { Ok(loaded) } else { Err(mistakes) }
}

fn walk(sources: Vec<(PathBuf, String)>, bench: Option<&mut Bench<'_>>) -> (Loaded, Mistakes) {
    walk_as(sources, bench, |_| {})
}

/// `how`: what is read of that which stands elsewhere.
fn walk_as(
    sources: Vec<(PathBuf, String)>,
    bench: Option<&mut Bench<'_>>,
    how: impl FnOnce(&mut Report<'_>),
) -> (Loaded, Mistakes) {
    let built_in: Vec<PathBuf> =
        PROFILES.iter().map(|(name, _)| format!("profiles/{name}.toml (built in)").into()).collect();
    let own = sources.iter().map(|(path, text)| (path.as_path(), text.as_str()));
    let more = built_in.iter().zip(PROFILES).map(|(path, (_, text))| (path.as_path(), *text));
    let tried = bench.as_ref().map_or(&[][..], |bench| bench.texts).iter();
    let tried = tried.map(|(path, text)| (path.as_path(), text.as_str()));
    let mut report = Report::new(own.chain(more).chain(tried).collect());
    how(&mut report);
    let gateway = gateway(sources.len(), bench, &report);
    let beside = report.beside();
    let (mistakes, warnings) = report.finish();
    (Loaded { gateway, warnings, text: sources, beside }, mistakes)
}

/// Walks all tables. The first `own` sources are the gateway's, the others are built in, or on the bench.
fn gateway(own: usize, bench: Option<&mut Bench<'_>>, report: &Report<'_>) -> Gateway {
    let (root, profile_tables) = tables(own, report);
    let profiles: BTreeMap<String, profiles::Known<'_>> = profile_tables
        .iter()
        .map(|(name, table)| (name.clone(), profiles::profile(name, table, report)))
        .collect();
    let nothing = Table::default();
    let mut section = Section::new(&root, "the configuration", report);

    let about = match section.table("gateway") {
        Some(table) => services::gateway(table, report),
        None => {
            section.missing("[gateway]", "write `[gateway]` and below it `id = \"cp-017\"`");
            services::gateway(&nothing, &Report::new(Vec::new()))
        }
    };
    let api = section.table("api").unwrap_or(&nothing);
    let sync = services::sync(&section.tables("sync"), report);
    let mut channels = channels::channels(&section.tables("channel"), &about.timezone, report);
    let mut installed =
        devices::devices(&section.tables("device"), &mut channels, &profiles, &about.timezone, report);
    let (doors, watched) = doors::doors(&section.tables("door"), &mut installed, report);
    let permits = std::mem::take(&mut installed.permits);
    let commands = doors::allowed(permits, &installed, &doors, &watched, report);
    let written = section.tables("rule");
    let mut rules = rules::rules(&written, &installed, &about.timezone, report);
    rules.extend(builtin::built_in(section.table("builtin"), &installed, report));
    if let Some(bench) = bench {
        bench.read(&written, &installed, &about.timezone, report);
    }
    let privacy::Privacy { pseudonyms, pseudonyms_before, seal } =
        privacy::privacy(section.table("privacy"), installed.people.take(), report);
    let services::Stored { store, write_budget, summary, keep_kinds } =
        services::store(section.table("store").unwrap_or(&nothing), about.data_dir, report);
    let gateway = Gateway {
        locale: about.locale,
        store,
        write_budget,
        summary,
        keep_kinds,
        web: services::api(api, report),
        consumers: services::consumers(&section.tables("consumer"), api, &sync, report),
        sync,
        access: access::Plan { doors: watched, banks: installed.banks },
        commands,
        pseudonyms,
        pseudonyms_before,
        seal,
        rules,
        levels: services::levels(section.table("levels").unwrap_or(&nothing), report),
        channels: channels
            .into_iter()
            .filter_map(|channel| Some(field::Channel { id: channel.id, kind: channel.what?.1 }))
            .collect(),
        site: Arc::new(Site {
            gateway: about.id.into(),
            name: about.name.into(),
            devices: installed.devices,
            points: installed.points,
            doors,
        }),
        timezone: about.timezone,
    };
    section.finish();
    gateway
}

/// One tree of all files, and one of each profile; a profile of the gateway's own shadows the built-in one.
fn tables(own: usize, report: &Report<'_>) -> (Table, BTreeMap<String, Table>) {
    let mut root = Table::default();
    let mut profiles: BTreeMap<String, Table> = BTreeMap::new();
    for (file, (path, _)) in report.sources().iter().enumerate().take(own) {
        let table = tree::parse(file, report);
        match profiles::name_of(path) {
            Some(name) => {
                if profiles.contains_key(name) {
                    let spot = Spot { file, start: 0, end: 0 };
                    report.mistake(
                        Code::SecondName,
                        spot,
                        format!("a second profile `{name}`"),
                        "rename one of the files",
                    );
                }
                profiles.insert(name.to_owned(), table);
            }
            None => tree::merge(&mut root, table, report),
        }
    }
    // Only those that may be meant: there are many, and reading them takes longer than all the rest.
    let named = |name: &str| report.sources().iter().take(own).any(|(_, text)| text.contains(name));
    for (file, (name, _)) in (own..).zip(PROFILES).filter(|(_, (name, _))| named(name)) {
        profiles.entry((*name).to_owned()).or_insert_with(|| tree::parse(file, report));
    }
    (root, profiles)
}
