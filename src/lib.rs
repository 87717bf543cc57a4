//! gatehouse: a gateway daemon for residential compounds. It reads devices over Modbus, serial lines, OSDP, UHPPOTE and
//! MQTT, and gives them orders; a reading that crosses a threshold, or a door that is forced, becomes a repair ticket;
//! tickets are kept in SQLite and told to a centre.
//!
//! # The way of a reading
//!
//! ```text
//! wire ─▶ field ──Batch──▶ intake ──▶ refine ──▶ rules      plain calls; what comes back is a value
//!              bounded channel │  └─▶ access ──word──▲
//!           Action ───────────▶▼  one transaction: episode, ticket, event
//!                            store ──batch by cursor──▶ sync ──▶ CRM
//!                              └────── view ──────────▶ web ───▶ central server, technician
//! ```
//!
//! A channel's task in [`field`] owns one wire. What an answer amounts to, it hands on as a [`reading::Batch`]. [`intake`]
//! takes it, lets [`refine`] judge each reading, asks the [`rules`] what that does to the tickets, and has the [`store`] write
//! it all at once. Only then is anyone told: [`sync`] and [`web`] see the journal's head move and read on from their cursors.
//! People's words come the other way and are answered once they are on the disk: on a ticket (acknowledge, resolve) as a
//! [`ticket::Action`], on what rests as a [`maintenance::Call`].
//!
//! Doors and lockers are values *and* happenings: [`access`] says what both amount to (forced, held, jammed), and each
//! of its words is an event and a reading of a momentary point, on which rules can stand.
//!
//! # The way of an order
//!
//! ```text
//! person ─▶ web ──Wish──▶ intake ─▶ command (allowed? known? expired?)
//!                            ├── begun, on the disk ──Deed──▶ lane ──▶ field ─▶ device
//!                            └── ended, on the disk ◀──Done── Batch ◀────┘
//! ```
//!
//! It goes ahead of polling, in the wire's lane. A technician's look (`read`, `scan`) takes the same lane from [`web`], since
//! no second master may speak on a line. A kill at any moment leaves an order that was begun and has no end; the next start tells it as
//! unsure and never gives it again.
//!
//! # What always holds
//!
//! - A number that was not read is never shown: a bad reading has a reason and no value.
//! - What a device said and nobody believes is kept as `raw`, and no other number takes its place: gaps are filled in pictures alone.
//! - No ticket without its event, no event without its ticket: one transaction, synced to disk before anyone hears of it.
//!   While the card takes no writes it is in memory instead, under an epoch of its own, and that is said.
//! - A number belongs to one epoch. A journal that was damaged, restored, or in memory goes on under a new one, which tells what is lost.
//! - Readings may be lost without harm to any ticket; the journal never waits for the history.
//! - A door's device is told that its word was heard once that word is on the disk ([`receipt`]).
//! - Event numbers have no gaps but those that `gateway.events-dropped` tells, and an event once told never changes: one that is
//!   erased or has expired loses what it said, and keeps number, type, digest and its place in the [`chain`].
//! - Never two unclosed tickets of one rule and point.
//! - No order reaches a wire before it is on the disk, and none reaches it twice under one key: the key is known, or
//!   whatever expires up to then is too late (`store/keys.rs`).
//! - Cards, phone numbers and names are [`pseudonym`]s before they leave [`field`].
//! - An acknowledgement is never taken for a door that opened.
//! - Every queue has a bound. When intake falls behind, the wires wait; a poll is late, not lost.
//! - Time is an argument in `rules`, `access`, `command`, `refine`, `field::decode` and the plans of `sync`: no clock, no I/O there.
//! - A room knows only what is below it; `tests/house.rs` fails on an arrow that points back.
//!
//! What is deliberately absent: callbacks, an event bus, global state, a configuration object carried through the house.
//! Each room defines the plain settings it needs, and [`config`] fills them in.
//!
//! # Where to change what
//!
//! | for | go to |
//! |---|---|
//! | a new Modbus word order or type | `field/decode.rs` (what it means), `config/registers.rs` (its name) |
//! | which registers are read together, and what is asked of a unit that refuses some | `field/modbus/coalesce.rs`, `field/modbus/split.rs` |
//! | who is asked next, and when a silent device is asked again | `field/schedule.rs` |
//! | a new key of the configuration | its reader in `config/`, which says what may stand there; its words: a comment in `config/gatehouse.toml`, or `config/schema/words.txt`; then `BLESS=1 cargo test --test schema` |
//! | a new kind of mistake | `config/codes.rs`, and its section in `docs/errors.md` |
//! | a new device of a known kind | `config/profiles/*.toml`: data, no code |
//! | a board or meter with a protocol of its own | a file in `field/serial/`, and its name in `field/serial/mod.rs` |
//! | another kind of wire | a room in `field/`, its name in `field/mod.rs`, `config/channels.rs` and `config/hang/` |
//! | what a reader, controller or face terminal means | `field/osdp/unit.rs`, `field/uhppote/meaning.rs`, `field/mqtt/face.rs` |
//! | what MQTT messages mean | `field/mqtt/inbox.rs` (topics), `field/mqtt/payload.rs` (values) |
//! | what is taken for a false number | `refine/clean.rs`, `refine/hampel.rs`; its TOML: `config/cleaning.rs` |
//! | how much of a day could be used | `refine/usable.rs` (the share), `intake/quality.rs` (when it is told), `web/history.rs` (filled gaps) |
//! | a new rule condition | [`rules::Condition`]; of the value of the moment: `rules/condition.rs`; of more than that: a `Judge` in a file of its own, named in `rules/judge.rs` (`window`, `stuck`, `count`, `wear`, `expression`, `trend`, `occasions`) |
//! | its TOML, and which values suit | `config/windows.rs`, `config/conditions.rs` |
//! | who gives way when the disk is full | `store/room.rs` (the order), `intake/room.rs` (when, and what is told); a card that takes no writes: `store/memory.rs`, `app/storage.rs` |
//! | what a damaged journal becomes | `store/damage.rs` (found, and what then), `store/carry/` (what goes on under a new epoch), `store/landing.rs` (how it is put in place) |
//! | what the history keeps, and how finely | `store/shelf.rs` (segments), `store/rollup.rs` (minutes, hours), `store/series.rs` (bits of a reading); how much a day: `intake/wear.rs` |
//! | what is erased, what expires, and what is told of it | `store/erasure.rs`, `store/expiry.rs`, [`event::blanked`], `web/people.rs` |
//! | what is in the chain, and what is found wrong with it | [`chain`], `store/chain.rs`, `store/verify/` |
//! | backup, restore, doctor | `cli/` of that name, `store/backup.rs`, `store/restore.rs`, `store/inspect.rs` |
//! | the built-in rules | `rules/channel.rs`, `rules/storm.rs`, `rules/storage.rs`, `rules/unsynced.rs`; their TOML: `config/builtin.rs` |
//! | what a stepped clock does | `intake/clocks.rs` (seen, believed, told), `rules/stepped.rs` (what moves along), `docs/time.md` |
//! | what is only counted and no longer told | `rules/chatter.rs`; its TOML: `config/chatter.rs` |
//! | what `replay` shows | `config/trial.rs` (which rules), `cli/replay/course.rs` (what becomes of the readings), `cli/replay/page.rs` |
//! | a new field in the ticket | [`ticket::Ticket`], and `rules/opening.rs` where tickets are written |
//! | what a restart finds of the rules | `rules/saved.rs`; of the whole journal: `store/file.rs` (its formats), `store/journal.rs` |
//! | what is forced, held, jammed, unexpected | `access/door.rs`, `access/bank.rs` |
//! | what may be ordered of a device | `config/commands.rs`, under which terms `config/terms.rs`, `command/terms.rs`; by a Modbus write: `config/writes.rs`, `field/modbus/act.rs` |
//! | whether an order is given | `command/desk.rs`, `command/judge.rs`; what is written of it: `intake/orders.rs`, `store/keys.rs`; who may ask: `web/commands.rs`, and the CRM: `sync/orders.rs` |
//! | what `read` and `scan` show | `view.rs`, `show.rs`, `scan.rs` of the wire's room, then `web/look.rs` and `cli/read.rs`, `cli/scan.rs` |
//! | what `init` asks, and which profile it takes a device for | `cli/init/mod.rs` (the order), `cli/init/guess.rs`; `cli/init/page.rs` writes it |
//! | what an event may have, and what of it is about a person | [`personal`]; what is taken out of what people type: [`masked`]; how it lies on the disk: `store/seal.rs` |
//! | what can happen to a ticket | `rules/desk.rs` |
//! | what rests in maintenance, and what counts at its end | `rules/maintenance.rs`; who may set it: `web/maintenance.rs` |
//! | a new event | where it happens, as an [`event::Draft`] to the journal |
//! | what an answer of the CRM means | `sync/plan.rs` |
//! | which events may go ahead of others | `sync/lanes.rs` (the rules), `store/ahead.rs` (which tickets) |
//! | what a reload does, and in which order | `app/turn.rs`; what has to begin anew for it, and how that is said: `config/changes/` |
//! | what is known across a reload | `intake/turn.rs` (who is asked), `rules/taken.rs`, `access/watch.rs`, `command/desk.rs`, [`live`], [`numbers`] (who is who in the other site) |
//! | what is begun again when it breaks, and what is shown of it | `app/supervise.rs`, `app/concerns.rs` |
//! | what it costs when a decoder breaks | `field/poll/guard.rs` (polled wires), `field/stumble.rs` (what is said of it), [`fault`] |
//! | how many may connect, for how long, and over TLS | `web/seats.rs`, `web/guest.rs`, `web/tls.rs`; their loop: `web/listener.rs`; its TOML: `config/https.rs` |
//! | whom the commands believe to be the daemon | `cli/trust.rs`; until when a certificate counts: [`certificate`] |
//! | who may come in, how often, and after how many mistakes | `web/gate.rs`, `web/rate.rs`, `web/lockout/`; what ends with a token: `web/pass.rs` |
//! | what of a browser is believed | `web/session/way.rs` |
//! | a new call of the API | a file in `web/` |
//! | a new command | a file in `cli/` |

#![deny(unsafe_code)]

// Reading order: nouns and tools first, then the way of a reading, then who puts it together.
pub mod backoff;
pub mod certificate;
pub mod chain;
pub mod clock;
pub mod event;
pub mod fault;
pub mod fingerprint;
pub mod gzip;
pub mod happening;
pub mod live;
pub mod logging;
pub mod maintenance;
pub mod masked;
pub mod metrics;
pub mod near;
pub mod numbers;
pub mod order;
pub mod personal;
pub mod pseudonym;
pub mod reading;
pub mod receipt;
pub mod reload;
pub mod secret;
pub mod ticket;
pub mod time;

pub mod access;
pub mod field;
pub mod refine;
pub mod rules;
pub mod store;

pub mod command;
pub mod intake;
pub mod sync;
pub mod web;

pub mod config;

pub mod app;

pub mod cli;
pub mod sim;
