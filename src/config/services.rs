//! The tables of the gateway itself: `[gateway]`, `[store]`, `[api]`, `[[consumer]]`, `[[sync]]`, `[levels]`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::certificates::{self, Certificates};
use super::codes::Code;
use super::ear::text;
use super::keep::Keep;
use super::kinds::{Id, Size, Texts, millis, wrong};
use super::mistakes::{Report, did_you_mean, listed};
use super::names::{Names, title};
use super::section::{Read, Section, Told, Wrong};
use super::tree::{Node, Table, Value};
use super::{Consumer, https, hush, secrets};
use crate::event::{self, Kinds};
use crate::personal::with_erasures;
use crate::rules::Locale;
use crate::ticket::Standard;
use crate::web::{LISTEN_DEFAULT, Role, Token};
use crate::{store, sync, web};

const DATA_DIR: &str = "/var/lib/gatehouse";
const TIMEZONE: &str = "Asia/Shanghai";
const TOKENS_MAX: usize = 32;
const CONSUMERS_MAX: usize = 16;
const SYNC_MAX: usize = 8;
const BATCH_MAX: i128 = 1000;
const RATE_MAX: i128 = 100_000;
const TYPES_MAX: usize = 64;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// A shorter one is the readings themselves.
const SUMMARY_MIN: Duration = Duration::from_secs(60);
const DISK_MIN: u64 = 16 << 20;
const DISK_MAX: u64 = 1 << 44;

// ---------------------------------------------------------------------------------------------- [gateway] [store]

#[derive(Debug)]
pub(super) struct About {
    pub id: String,
    pub name: String,
    pub timezone: String,
    pub locale: Locale,
    pub data_dir: PathBuf,
}

pub(super) fn gateway(table: &Table, report: &Report<'_>) -> About {
    let mut section = Section::new(table, "`[gateway]`", report);
    let id = section.require::<Id>("id").map(|told| told.value.0).unwrap_or_default();
    let about = About {
        name: section.take_or("name", id.clone()),
        id,
        timezone: section.take::<Zone>("timezone").map_or_else(|| TIMEZONE.into(), |told| told.value.0),
        locale: section
            .word("locale", &[("zh-CN", Locale::ZhCn), ("en", Locale::En)])
            .map(|told| told.value)
            .unwrap_or_default(),
        data_dir: section.take::<Dir>("data_dir").map_or_else(|| DATA_DIR.into(), |told| told.value.0),
    };
    // The files are read already; here it is known, and of the right type.
    section.take::<Texts>("include");
    section.finish();
    about
}

#[derive(Debug)]
pub(super) struct Stored {
    pub store: store::Settings,
    /// Bytes a day.
    pub write_budget: u64,
    pub summary: Option<Duration>,
    pub keep_kinds: Vec<(String, Duration)>,
}

pub(super) fn store(table: &Table, dir: PathBuf, report: &Report<'_>) -> Stored {
    let mut section = Section::new(table, "`[store]`", report);
    let usual = store::Settings::at(dir);
    let mut keep = |key, default| section.span(key, DAY..=3660 * DAY).map_or(default, |told| told.value);
    let events_keep = keep("events_keep", usual.events_keep);
    let readings_keep = keep("readings_keep", usual.readings_keep);
    let mut size = |key, default| {
        section.take::<Size>(key).map_or(default, |told| {
            if !(DISK_MIN..=DISK_MAX).contains(&told.value.0) {
                report.mistake(
                    Code::OutOfRange,
                    told.spot,
                    format!("`{key}` is out of bounds"),
                    "write a size from `\"16MiB\"` to `\"16TiB\"`",
                );
            }
            told.value.0
        })
    };
    let disk_limit = size("disk_limit", usual.disk_limit);
    let write_budget = size("write_budget", store::WRITE_BUDGET_DEFAULT);
    let summary = section.span("summary", SUMMARY_MIN..=DAY).map(|told| told.value);
    let keep_kinds = section.take::<Keep>("keep").map(|told| told.value.0).unwrap_or_default();
    section.finish();
    let store = store::Settings { events_keep, readings_keep, disk_limit, ..usual };
    Stored { store, write_budget, summary, keep_kinds }
}

struct Zone(String);

impl Read for Zone {
    const IS: &'static str = "a timezone in quotes";
    const EXAMPLE: &'static str = "\"Asia/Shanghai\"";

    fn read(value: &Value) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        if jiff::tz::TimeZone::get(&text).is_ok() {
            return Ok(Self(text));
        }
        const USUAL: [&str; 5] = ["Asia/Shanghai", "Asia/Hong_Kong", "Asia/Urumqi", "Europe/Berlin", "UTC"];
        if USUAL.contains(&text.as_str()) {
            return Err(wrong(
                Code::NoTimezone,
                "this machine knows no time zones",
                "install the package `tzdata`",
            ));
        }
        let cure = match super::mistakes::nearest(&text, USUAL) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "write a name of the IANA list, like `\"Asia/Shanghai\"`".into(),
        };
        Err(wrong(Code::NoTimezone, format!("there is no timezone `{text}`"), cure))
    }

    fn grammar() -> Json {
        text("^[A-Za-z]+([/_+-][A-Za-z0-9_+-]+)*$")
    }
}

struct Dir(PathBuf);

impl Read for Dir {
    const IS: &'static str = "a directory in quotes";
    const EXAMPLE: &'static str = "\"/var/lib/gatehouse\"";

    fn read(value: &Value) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        if text.starts_with('/') {
            return Ok(Self(text.into()));
        }
        Err(wrong(
            Code::BadPath,
            format!("`{text}` depends on where gatehouse is started"),
            "write the whole path, from `/`",
        ))
    }

    fn grammar() -> Json {
        text("^/")
    }
}

// ---------------------------------------------------------------------------------------------- [api] [[consumer]]

pub(super) fn api(table: &Table, report: &Report<'_>) -> web::Settings {
    let mut section = Section::new(table, "`[api]`", report);
    let listen = section.take::<SocketAddr>("listen");
    let tls = https::tls(&mut section);
    let mut names = Names::new("token", "give one of them another name", TOKENS_MAX);
    let tables = section.tables("token");
    let tokens: Vec<Token> = tables.iter().filter_map(|table| token(table, &mut names, report)).collect();
    of_one_each(&tokens, &tables, report);
    let closed = tokens.is_empty() && !tables.is_empty();
    let rate = section.whole("rate", 1..=RATE_MAX).map(|told| told.value);
    let is_guarded = tls.is_some() && section.peek("token").is_some();
    if let Some(listen) = listen.as_ref().filter(|listen| !listen.value.ip().is_loopback() && !is_guarded) {
        open_to_others(listen, tls.is_some(), report);
    }
    section.finish();
    let default = LISTEN_DEFAULT.parse().unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080));
    web::Settings { listen: listen.map_or(default, |told| told.value), tokens, closed, tls, rate }
}

fn open_to_others(listen: &Told<SocketAddr>, tls: bool, report: &Report<'_>) {
    let (address, port) = (listen.value, listen.value.port());
    let (lacks, add) = match tls {
        true => ("a token", "add an `[[api.token]]`".to_owned()),
        false => ("TLS and a token", format!("add {} and an `[[api.token]]`", https::HOW)),
    };
    report.mistake(
        Code::OpenToOthers,
        listen.spot,
        format!("`{address}` is reachable from outside, and that needs {lacks}"),
        format!("{add}, or write `listen = \"127.0.0.1:{port}\"`"),
    );
}

fn token(table: &Table, names: &mut Names, report: &Report<'_>) -> Option<Token> {
    let mut section = Section::new(table, title("api.token", table, "name"), report);
    let name = names.claim_key(&mut section, "name");
    let roles = [("central", Role::Central), ("technician", Role::Technician), ("viewer", Role::Viewer)];
    if section.entry("role").is_none() {
        section.missing("role", "write `role = \"central\"`, or `technician`, `viewer`");
    }
    let role = section.word("role", &roles);
    let (token, _) = section.spared(|section| secrets::fingerprint(section, "token"));
    section.finish();
    Some(Token { name: name.into(), role: role?.value, token: token? })
}

/// Who is who cannot be told by a token that two have.
fn of_one_each(tokens: &[Token], tables: &[&Table], report: &Report<'_>) {
    // Of secrets that are not read, all are alike.
    for (n, token) in tokens.iter().enumerate().filter(|_| !report.blind) {
        let Some(first) = tokens[..n].iter().find(|first| first.token == token.token) else { continue };
        let named = tables.iter().find(|table| table.text("name") == Some(&*token.name));
        let Some(spot) = named.and_then(|table| table.get("token")).map(|entry| entry.value.spot) else {
            continue;
        };
        report.warning(
            Code::OneTokenForTwo,
            spot,
            format!(
                "`{}` has the token of `{}`; whoever shows it is taken for one of them",
                token.name, first.name
            ),
            "give each a token of its own, so that one can be changed without the other: `gatehouse token`",
        );
    }
}

impl Read for SocketAddr {
    const IS: &'static str = "address and port in quotes";
    const EXAMPLE: &'static str = "\"127.0.0.1:8080\"";

    fn read(value: &Value) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        let local = text.replacen("localhost", "127.0.0.1", 1);
        local.parse().map_err(|_| {
            wrong(
                Code::BadAddress,
                format!("`{text}` is no address and port"),
                "write numbers, like `\"127.0.0.1:8080\"`",
            )
        })
    }

    fn grammar() -> Json {
        text(r"^([0-9]+(\.[0-9]+){3}|localhost|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$")
    }
}

/// Who pulls, by the name of its token. `api` is the table as written: its tokens are the names there are.
pub(super) fn consumers(
    tables: &[&Table],
    api: &Table,
    sync: &[sync::Target],
    report: &Report<'_>,
) -> Vec<Consumer> {
    let mut names = Names::new("consumer", "give one of them another name", CONSUMERS_MAX);
    let tokens = token_names(api);
    let mut consumers = Vec::new();
    for table in tables {
        let mut section = Section::new(table, title("consumer", table, "name"), report);
        let name = names.claim_key(&mut section, "name");
        let required = section.take_or("required", false);
        if let Some(spot) = section.entry("name").map(|entry| entry.value.spot).filter(|_| !name.is_empty()) {
            if sync.iter().any(|target| *target.name == *name) {
                let cure = "a `[[sync]]` is a consumer already, and always required; take this table out, or name it otherwise";
                report.mistake(
                    Code::NameOfAnother,
                    spot,
                    format!("consumer `{name}` has the name of a `[[sync]]`"),
                    cure,
                );
            } else if !tokens.is_empty() && !tokens.contains(&name.as_str()) {
                report.mistake(
                    Code::NoSuchToken,
                    spot,
                    format!("no `[[api.token]]` is named `{name}`"),
                    did_you_mean(&name, tokens.iter().copied()),
                );
            }
        }
        section.finish();
        consumers.push(Consumer { name: name.into(), required });
    }
    consumers
}

fn token_names(api: &Table) -> Vec<&str> {
    let Some(Node::List(list)) = api.get("token").map(|entry| &entry.value.node) else {
        return Vec::new();
    };
    let name = |value| match value {
        &Value { node: Node::Table(ref table), .. } => table.text("name"),
        _ => None,
    };
    list.iter().filter_map(name).collect()
}

// ---------------------------------------------------------------------------------------------- [[sync]]

pub(super) fn sync(tables: &[&Table], report: &Report<'_>) -> Vec<sync::Target> {
    let mut names = Names::new("sync", "give one of them another name", SYNC_MAX);
    tables.iter().map(|table| target(table, &mut names, report)).collect()
}

fn target(table: &Table, names: &mut Names, report: &Report<'_>) -> sync::Target {
    let mut section = Section::new(table, title("sync", table, "name"), report);
    let name = names.claim_key(&mut section, "name").into();
    let url = section.require::<Url>("url");
    let ((token, tls), wrong) = section.spared(|section| {
        let token = secrets::take(section, "token");
        let tls = of_centre(section, url.as_ref(), token.is_some());
        (token, tls)
    });
    let lacks = wrong.map(|wrong| format!("{}; {}, then reload", wrong.what, wrong.cure));
    of_query(url.as_ref(), report);
    let mut url = url.map(|told| told.value.0).unwrap_or_default();
    if report.blind {
        // What runs is known by what the API shows of it.
        url = hush::address(&url);
    }
    let batch = section.whole("batch", 1..=BATCH_MAX).map_or(sync::BATCH_DEFAULT, |told| told.value);
    let rate = section.whole("rate", 1..=RATE_MAX).map_or(sync::RATE_DEFAULT, |told| told.value);
    let compress = section.take_or("compress", false);
    let commands = section.take_or("commands", false);
    if commands && !is_someone(&url) {
        let spot = section.entry("commands").map_or(section.spot(), |entry| entry.value.spot);
        let what = "over plain http anybody on the way could give orders to doors";
        let cure = "write the address with `https://`, or take `commands` out";
        report.mistake(Code::OrdersInTheOpen, spot, what, cure);
    }
    let types = section.take::<Texts>("types");
    section.narrow("types", || json!({ "minItems": 1, "maxItems": TYPES_MAX }));
    if let Some(told) =
        types.as_ref().filter(|told| told.value.0.is_empty() || told.value.0.len() > TYPES_MAX)
    {
        let cure = format!("write 1 to {TYPES_MAX}, or leave `types` out to send all");
        report.mistake(
            Code::ListLength,
            told.spot,
            format!("`types` names {} types", told.value.0.len()),
            cure,
        );
    }
    let types = types.map(|told| told.value.0).unwrap_or_default();
    for (kind, spot) in &types {
        if !Kinds::speaks_of_any(kind) {
            let families =
                ["ticket.*", "access.*", "locker.*", "device.*", "gateway.*", "readings.*", "command.*"];
            let cure = match super::mistakes::nearest(kind, event::KINDS.split_whitespace().chain(families)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there is {}", listed(families)),
            };
            report.mistake(Code::NoSuchEvent, *spot, format!("there is no event `{kind}`"), cure);
        }
    }
    section.finish();
    let kinds = with_erasures(Kinds(types.into_iter().map(|(kind, _)| kind).collect()));
    sync::Target {
        name,
        url,
        token,
        tls,
        lacks,
        batch,
        kinds,
        rate,
        compress,
        commands,
        patience: sync::PATIENCE_DEFAULT,
    }
}

/// An address goes where a secret must not be.
fn of_query(url: Option<&Told<Url>>, report: &Report<'_>) {
    let Some(url) = url.filter(|url| hush::has_secret(&url.value.0)) else { return };
    let what =
        "`url` seems to have a secret in its query, which whoever reads the file or a log on the way sees";
    let cure = "take it out of the address and write `token = { credential = \"…\" }`";
    report.warning(Code::SecretInAddress, url.spot, what, cure);
}

/// How the way to the centre is kept from others' eyes.
fn of_centre(section: &mut Section<'_>, url: Option<&Told<Url>>, has_token: bool) -> sync::Tls {
    let address = url.map(|told| (told.spot, told.value.0.starts_with("https://")));
    let known = certificates::take(section, address, ["http://", "https://"]);
    let report = section.report;
    if let (Some(url), true, None) = (url, has_token, &known)
        && !sync::is_loopback(&url.value.0)
    {
        let cure = "write `https://`; a centre with a certificate of its own CA needs `ca = \"…\"` beside it";
        let what = "the token and all events go over the network in the clear";
        report.warning(Code::TokenInTheClear, url.spot, what, cure);
    }
    let Certificates { ca, identity, spot } = known.unwrap_or_default();
    let tls = sync::Tls { ca, identity };
    if let (Some(spot), Err(why)) = (spot, tls.fits()) {
        let cure = "`ca` and `cert` have to be certificates in PEM, and `key` the private key of `cert`";
        report.mistake(Code::SecretUnusable, spot, format!("the certificates cannot be used: {why}"), cure);
    }
    tls
}

/// Whether a server's certificate says who it is, or it is this machine.
fn is_someone(url: &str) -> bool {
    // One that does not read is a mistake already.
    let Ok(url) = reqwest::Url::parse(url) else { return true };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    url.scheme() == "https"
        || host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

struct Url(String);

impl Read for Url {
    const IS: &'static str = "an address in quotes";
    const EXAMPLE: &'static str = "\"https://crm.example.com/events\"";

    fn read(value: &Value) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        // First of all, so that no word below repeats one.
        if text.contains('@') {
            return Err(wrong(
                Code::SecretInTheOpen,
                "a secret must not stand in the configuration",
                "take it out of the address and write `token = { credential = \"…\" }`",
            ));
        }
        let url = reqwest::Url::parse(&text).map_err(|_| {
            wrong(
                Code::BadAddress,
                format!("`{}` is no address", hush::address(&text)),
                "write it like `\"https://crm.example.com/events\"`",
            )
        })?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong(
                Code::BadAddress,
                format!("`{}` is no address of the web", hush::address(&text)),
                "begin it with `https://`",
            ));
        }
        Ok(Self(text))
    }

    fn grammar() -> Json {
        text("^https?://[^@]+$")
    }
}

// ---------------------------------------------------------------------------------------------- [levels]

/// The service standard of each level, as the compounds promise it where nothing else is written.
pub(super) fn levels(table: &Table, report: &Report<'_>) -> BTreeMap<u8, Standard> {
    const HOUR: u64 = 3600;
    let standard = |contact: u64, on_site: u64| Standard {
        contact: millis(Duration::from_secs(contact)),
        on_site: millis(Duration::from_secs(on_site)),
        follow_up: millis(DAY),
    };
    let mut section = Section::new(table, "`[levels]`", report);
    let defaults = [
        ("1", 1, standard(HOUR / 4, 2 * HOUR)),
        ("2", 2, standard(HOUR / 2, 2 * HOUR)),
        ("3", 3, standard(6 * HOUR, 48 * HOUR)),
    ];
    let mut levels = BTreeMap::new();
    for (key, level, mut standard) in defaults {
        if let Some(table) = section.table(key) {
            let mut section = Section::new(table, format!("`[levels.{key}]`"), report);
            let mut span = |key, default| {
                section
                    .span(key, Duration::from_secs(60)..=366 * DAY)
                    .map_or(default, |told| millis(told.value))
            };
            standard.contact = span("contact", standard.contact);
            standard.on_site = span("on_site", standard.on_site);
            standard.follow_up = span("follow_up", standard.follow_up);
            section.finish();
        }
        levels.insert(level, standard);
    }
    section.finish();
    levels
}
