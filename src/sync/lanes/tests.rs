//! Exactly once in effect: both lanes over a real outbox against a centre that loses requests and answers, is late, dislikes
//! events, and over crashes at every step; and a case table of what each lane may take.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::event::{Draft, Kinds};
use crate::store::{self, Ends, Kind, Page, Settings, Slice, TicketRow};
use crate::ticket::{Class, Deadlines, State, Ticket};

const CONSUMER: &str = "crm";
const BATCH: usize = 7;
const AT: i64 = 1_763_712_000_000;

// --- What each may have in hand ---

fn stored(seqs: &[u64]) -> Vec<Stored> {
    let event =
        |seq: &u64| Stored { seq: *seq, kind: "ticket.opened".into(), json: "{}".into(), chain: None };
    seqs.iter().map(event).collect()
}

fn pending(seqs: &[u64], without: &[u64], next: u64) -> Pending {
    let slice = Slice { events: stored(seqs), next, head: 100 };
    Pending { slice, acknowledged: 0, without: without.to_vec(), oldest: 1 }
}

fn in_hand(lanes: &Lanes, lane: Lane) -> Vec<u64> {
    lanes.load(lane).events.iter().map(|event| event.seq).collect()
}

/// In the urgent lane's hands, read from the outbox, what the bulk lane then has, and how far it reaches.
type Row = (&'static [u64], (&'static [u64], u64), &'static [u64], u64);

#[test]
fn the_bulk_lane_reaches_up_to_what_the_urgent_lane_has_in_hand() {
    let rows: &[Row] = &[
        (&[], (&[1, 2, 3], 3), &[1, 2, 3], 3),
        (&[], (&[1, 2, 3], 9), &[1, 2, 3], 9),
        (&[50, 60], (&[1, 2, 3], 3), &[1, 2, 3], 3),
        (&[3], (&[1, 2, 3, 4], 4), &[1, 2], 2),
        (&[3, 90], (&[1, 2, 4], 4), &[1, 2], 2),
        (&[1], (&[1, 2], 2), &[], 0),
        (&[5], (&[1, 9], 9), &[1], 4),
    ];
    for (urgent, (read, next), bulk, reach) in rows {
        let mut lanes = Lanes::new(500);
        lanes.load_urgent(stored(urgent));
        lanes.load_bulk(pending(read, &[], *next));
        assert_eq!(
            (in_hand(&lanes, Lane::Bulk), lanes.reach()),
            (bulk.to_vec(), *reach),
            "{urgent:?} {read:?}"
        );
    }
}

#[test]
fn a_key_never_means_what_was_erased_and_what_was_not() {
    let mut lanes = Lanes::new(500);
    lanes.load_bulk(pending(&[1, 2, 3], &[], 3));
    let whole = lanes.key(Lane::Bulk);
    let mut keys = vec![whole];
    for erased in [0, 1] {
        let mut read = pending(&[1, 2, 3], &[], 3);
        let json = Draft::new("access.card", "devices/d".into(), AT, &1).render("g", "e", erased + 1, true);
        read.slice.events[erased as usize].json = crate::event::blanked(&json, "erased", AT).unwrap();
        lanes.load_bulk(read);
        keys.push(lanes.key(Lane::Bulk));
    }
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 3, "{keys:?}");
}

#[test]
fn a_key_is_first_and_last_where_that_says_what_is_in_between() {
    let mut lanes = Lanes::new(500);
    // What the centre does not want is left out at all times.
    lanes.load_bulk(pending(&[1, 2, 7], &[], 9));
    assert_eq!(lanes.key(Lane::Bulk), "1-7");
    lanes.load_bulk(pending(&[2, 3, 7], &[1, 8], 9));
    assert_eq!(lanes.key(Lane::Bulk), "2-7");
    lanes.load_bulk(pending(&[1, 2, 7], &[5], 9));
    let with_hole = lanes.key(Lane::Bulk);
    assert!(with_hole.starts_with("1-7-") && with_hole.len() == 12, "{with_hole}");
    for (urgent, key) in [(&[9][..], "9-9"), (&[9, 10, 11], "9-11")] {
        lanes.load_urgent(stored(urgent));
        assert_eq!(lanes.key(Lane::Urgent), key);
    }
    lanes.load_urgent(stored(&[1, 2, 7]));
    assert_eq!(lanes.key(Lane::Urgent), with_hole, "the same content has the same key");
    lanes.load_urgent(stored(&[1, 3, 7]));
    assert_ne!(lanes.key(Lane::Urgent), with_hole);
}

#[test]
fn a_batch_that_is_late_twice_goes_on_as_half_of_it_and_grows_again() {
    let mut lanes = Lanes::new(8);
    lanes.load_bulk(pending(&[1, 2, 3, 4, 5, 6, 7, 8], &[], 8));
    let again = Decision::Again { after: None };
    for (late, take) in [(true, 8), (false, 8), (true, 8), (true, 4), (true, 4), (true, 2)] {
        assert_eq!(lanes.answered(Lane::Bulk, &again, late), None);
        assert_eq!(lanes.batch(Lane::Bulk).len(), take);
    }
    assert_eq!(lanes.limit(), 2);
    while !lanes.is_empty(Lane::Bulk) {
        let note = lanes.answered(Lane::Bulk, &Decision::Settle, false).unwrap();
        lanes.written(Lane::Bulk, &note);
    }
    let mut limits = Vec::new();
    for _ in 0..8 {
        limits.push(lanes.limit());
        lanes.load_bulk(pending(&[9], &[], 9));
        let note = lanes.answered(Lane::Bulk, &Decision::Settle, false).unwrap();
        lanes.written(Lane::Bulk, &note);
    }
    assert_eq!(limits, [3, 4, 5, 6, 7, 8, 8, 8]);
}

#[test]
fn what_the_urgent_lane_cannot_deliver_it_lets_go_of_and_the_bulk_lane_keeps_its_batch() {
    for decision in [Decision::Again { after: None }, Decision::Slowly] {
        let mut lanes = Lanes::new(500);
        lanes.load_bulk(pending(&[1, 2], &[], 2));
        lanes.load_urgent(stored(&[5]));
        assert_eq!(lanes.answered(Lane::Urgent, &decision, false), None);
        assert_eq!(lanes.answered(Lane::Bulk, &decision, false), None);
        assert!(lanes.is_empty(Lane::Urgent));
        assert_eq!(in_hand(&lanes, Lane::Bulk), [1, 2]);
    }
}

// --- The model ---

struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }
}

/// What came in, each event by its first arrival.
#[derive(Default)]
struct Centre {
    seen: BTreeSet<u64>,
    twice: usize,
    last_of: BTreeMap<String, u64>,
    keys: BTreeMap<String, Vec<u64>>,
    bad: BTreeSet<u64>,
}

/// A request between us and the centre.
#[derive(Clone)]
struct Request {
    key: String,
    /// Number and subject.
    events: Vec<(u64, String)>,
}

impl Centre {
    /// False: one of these is not liked, and none is taken.
    fn take(&mut self, request: &Request, story: &str) -> bool {
        let seqs: Vec<u64> = request.events.iter().map(|(seq, _)| *seq).collect();
        assert!(seqs.is_sorted() && !seqs.is_empty(), "{story}: {seqs:?}");
        let known = self.keys.entry(request.key.clone()).or_insert_with(|| seqs.clone());
        assert_eq!(*known, seqs, "{story}: one key, two contents");
        if seqs.iter().any(|seq| self.bad.contains(seq)) {
            return false;
        }
        for (seq, subject) in &request.events {
            if !self.seen.insert(*seq) {
                self.twice += 1;
                continue;
            }
            let Some(ticket) = subject.strip_prefix("tickets/") else { continue };
            let last = self.last_of.insert(ticket.to_owned(), *seq).unwrap_or(0);
            assert!(last < *seq, "{story}: {seq} of {ticket} after {last}");
        }
        true
    }
}

struct World {
    ends: Ends,
    lanes: Lanes,
    kinds: Kinds,
    centre: Centre,
    flying: [Option<Request>; 2],
    /// Given up by us, and yet on their way.
    stray: Vec<Request>,
    tickets: Vec<Ticket>,
    wanted: BTreeSet<u64>,
    dice: Dice,
    faults: bool,
    story: String,
    _dir: tempfile::TempDir,
}

const LANES: [Lane; 2] = [Lane::Bulk, Lane::Urgent];

impl World {
    fn new(seed: u64, faults: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings::at(dir.path());
        let mut ends = store::open(&settings, "cp-017").unwrap();
        ends.journal.keep_consumers(&[(CONSUMER.into(), Kind::Push, true)]).unwrap();
        let kinds = if seed.is_multiple_of(3) { "ticket.*,device.offline" } else { "" };
        Self {
            ends,
            lanes: Lanes::new(BATCH),
            kinds: kinds.parse().unwrap(),
            centre: Centre::default(),
            flying: [None, None],
            stray: Vec::new(),
            tickets: Vec::new(),
            wanted: BTreeSet::new(),
            dice: Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            faults,
            story: format!("seed {seed}"),
            _dir: dir,
        }
    }

    /// Some events: of new tickets, of old ones, and of other things.
    fn write(&mut self) {
        let mut page = Page { at: AT, ..Page::default() };
        for _ in 0..=self.dice.below(12) {
            let (kind, subject) = match self.dice.below(3) {
                0 => (
                    if self.dice.one_in(2) { "device.online" } else { "device.offline" },
                    "devices/d".to_owned(),
                ),
                _ => self.of_ticket(&mut page),
            };
            page.events.push(Draft::new(kind, subject, AT, &"x"));
        }
        let before = self.ends.journal.head();
        let head = self.ends.journal.commit(&page).unwrap();
        for (seq, draft) in (before + 1..=head).zip(&page.events) {
            if self.kinds.want(draft.kind) {
                self.wanted.insert(seq);
            }
            if self.faults && self.dice.one_in(40) {
                self.centre.bad.insert(seq);
            }
        }
    }

    fn of_ticket(&mut self, page: &mut Page) -> (&'static str, String) {
        if self.tickets.is_empty() || self.dice.one_in(4) {
            let level = 1 + self.dice.below(3) as u8;
            self.tickets.push(ticket(self.tickets.len(), level));
            page.tickets.push(row(&self.tickets[self.tickets.len() - 1]));
            return ("ticket.opened", format!("tickets/{}", self.tickets[self.tickets.len() - 1].id));
        }
        let which = self.dice.below(self.tickets.len());
        let closes = self.dice.one_in(5);
        let ticket = &mut self.tickets[which];
        ticket.state = if closes { State::Closed } else { State::Open };
        page.tickets.retain(|row| row.ticket.id != ticket.id);
        page.tickets.push(row(ticket));
        (if closes { "ticket.closed" } else { "ticket.reopened" }, format!("tickets/{}", ticket.id))
    }

    /// The next thing that happens to a lane.
    fn turn(&mut self, lane: Lane) {
        let Some(request) = self.flying[lane as usize].take() else {
            return self.send(lane);
        };
        // Nothing of it comes, an answer that does not come, or one that comes when we have given up.
        if self.faults && self.dice.one_in(5) {
            match self.dice.below(3) {
                0 => {}
                1 => _ = self.centre.take(&request, &self.story),
                _ => self.stray.push(request),
            }
            let late = self.dice.one_in(2);
            let decision =
                if self.dice.one_in(4) { Decision::Slowly } else { Decision::Again { after: None } };
            return assert_eq!(self.lanes.answered(lane, &decision, late), None);
        }
        let decision = match (self.centre.take(&request, &self.story), request.events.len()) {
            (true, _) => Decision::Settle,
            (false, 1) => Decision::SetAside,
            (false, _) => Decision::Halve,
        };
        if self.crashes() {
            return;
        }
        let Some(note) = self.lanes.answered(lane, &decision, false) else { return };
        match &note {
            Note::Settle(seq) => _ = self.ends.outbox.settle(CONSUMER, *seq, AT).unwrap(),
            Note::Ahead(seqs) => self.ends.outbox.went_ahead(CONSUMER, seqs, AT).unwrap(),
            Note::Aside(seq) => self.ends.outbox.set_aside(CONSUMER, *seq, "", AT).unwrap(),
            Note::AsideAhead(seq) => self.ends.outbox.set_aside_ahead(CONSUMER, *seq, "", AT).unwrap(),
        }
        // The other lane's turn may come before this one hears that it is written.
        if self.faults && self.dice.one_in(3) {
            let other = LANES[1 - lane as usize];
            if self.flying[other as usize].is_none() {
                self.send(other);
            }
        }
        if !self.crashes() {
            self.lanes.written(lane, &note);
        }
    }

    fn send(&mut self, lane: Lane) {
        if self.lanes.is_empty(lane) {
            self.load(lane);
        }
        let batch = self.lanes.batch(lane);
        if batch.is_empty() {
            return;
        }
        let event = |event: &Stored| {
            let json: serde_json::Value = serde_json::from_str(&event.json).unwrap();
            (event.seq, json["subject"].as_str().unwrap().to_owned())
        };
        let events = batch.iter().map(event).collect();
        self.flying[lane as usize] = Some(Request { key: self.lanes.key(lane), events });
    }

    fn load(&mut self, lane: Lane) {
        let outbox = &self.ends.outbox;
        if lane == Lane::Urgent {
            let found = outbox.urgent(CONSUMER, self.lanes.reach(), 5, &self.kinds).unwrap();
            return self.lanes.load_urgent(found);
        }
        let pending = outbox.pending(CONSUMER, self.lanes.limit(), &self.kinds).unwrap();
        let acknowledged = pending.acknowledged;
        self.lanes.load_bulk(pending);
        if self.lanes.is_empty(Lane::Bulk) && self.lanes.reach() > acknowledged {
            outbox.settle(CONSUMER, self.lanes.reach(), AT).unwrap();
        }
    }

    /// The daemon is killed; what is on its way stays on its way.
    fn crashes(&mut self) -> bool {
        if !self.faults || !self.dice.one_in(25) {
            return false;
        }
        self.lanes = Lanes::new(BATCH);
        for request in self.flying.iter_mut().filter_map(Option::take) {
            self.stray.push(request);
        }
        true
    }

    fn live(&mut self, steps: usize) {
        for _ in 0..steps {
            match self.dice.below(8) {
                0 => self.write(),
                1 if !self.stray.is_empty() => {
                    let which = self.dice.below(self.stray.len());
                    let request = self.stray.swap_remove(which);
                    self.centre.take(&request, &self.story);
                }
                n => self.turn(LANES[n % 2]),
            }
        }
    }

    /// On with a centre that only dislikes, until all is with it.
    fn settle_down(&mut self) {
        self.faults = false;
        let head = self.ends.journal.head();
        for _ in 0..100_000 {
            let lane = LANES[self.dice.below(2)];
            self.turn(lane);
            let idle = LANES.iter().all(|lane| self.lanes.is_empty(*lane));
            if idle && self.ends.outbox.acknowledged(CONSUMER).unwrap() == head {
                return;
            }
        }
        panic!("{}: it does not come to an end", self.story);
    }

    fn check(&self) {
        let liked: BTreeSet<u64> = self.wanted.difference(&self.centre.bad).copied().collect();
        assert_eq!(self.centre.seen, liked, "{}", self.story);
        let aside: BTreeSet<u64> = self.ends.view.consumers().unwrap()[0].set_aside.iter().copied().collect();
        let bad: BTreeSet<u64> = self.wanted.intersection(&self.centre.bad).copied().collect();
        assert_eq!(aside, bad, "{}", self.story);
    }
}

fn ticket(n: usize, level: u8) -> Ticket {
    Ticket {
        id: format!("t{n}").into(),
        number: format!("CP-017-{n:06}"),
        rule: "r".into(),
        device: None,
        point: None,
        place: "".into(),
        title: "".into(),
        class: Class::Immediate,
        level,
        trade: None,
        state: State::Open,
        revision: 1,
        occurrences: 1,
        value: None,
        limit: serde_json::Value::Null,
        unit: None,
        external_id: None,
        by: None,
        note: None,
        since: AT,
        opened_at: AT,
        cleared_at: None,
        resolved_at: None,
        closed_at: None,
        deadlines: Deadlines::default(),
        evidence: vec![],
    }
}

fn row(ticket: &Ticket) -> TicketRow {
    TicketRow { ticket: ticket.clone(), subject: "".into(), life: "{}".into() }
}

/// `GATEHOUSE_SEEDS=500` for a longer run.
fn seeds(default: u64) -> std::ops::Range<u64> {
    1..std::env::var("GATEHOUSE_SEEDS").ok().and_then(|told| told.parse().ok()).unwrap_or(default) + 1
}

#[test]
fn whatever_is_lost_or_late_or_crashes_each_event_is_with_the_centre_once_and_no_ticket_out_of_order() {
    let (mut events, mut twice, mut aside, mut requests) = (0, 0, 0, 0);
    for seed in seeds(12) {
        let mut world = World::new(seed, true);
        world.live(400);
        world.settle_down();
        world.check();
        for request in std::mem::take(&mut world.stray) {
            world.centre.take(&request, "stray at the end");
        }
        world.check();
        events += world.wanted.len();
        twice += world.centre.twice;
        requests += world.centre.keys.len();
        aside += world.centre.bad.len();
    }
    println!(
        "{events} events in {requests} batches; {twice} came again and had no effect, {aside} were not liked"
    );
    assert!(twice > 0 && aside > 0, "the model is too kind");
}

#[test]
fn without_faults_nothing_comes_twice_and_tickets_do_go_ahead() {
    let mut overtook = 0;
    for seed in seeds(4) {
        let mut world = World::new(seed, false);
        for _ in 0..30 {
            world.write();
        }
        world.live(150);
        let cursor = world.ends.outbox.acknowledged(CONSUMER).unwrap();
        overtook += world.centre.seen.iter().filter(|seq| **seq > cursor).count();
        world.settle_down();
        world.check();
        assert_eq!(world.centre.twice, 0, "seed {seed}");
    }
    assert!(overtook > 0);
}
