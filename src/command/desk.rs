//! Judges orders and keeps those that are under way. Pure: no clock, no I/O, `now` is an argument.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::judge::{Given, Kept, Moment, in_time, open_then, spoken, who_and_why};
use super::{Allowed, AtMost, Moves};
use crate::numbers::Numbers;
use crate::order::{Deed, Order, Outcome, Refused};
use crate::reading::{DeviceId, Millis, Site};
use crate::time;

/// Orders that are under way at one time; the next is refused for the moment.
pub const UNDER_WAY_MAX: usize = 64;
/// An order that its wire has not begun by then is not begun any more: nobody stands at the door by now.
pub const BEGIN_WITHIN: Millis = 30_000;
/// A wire that has said nothing for so long after that will not say anything.
pub const END_WITHIN: Millis = 30_000;
/// Allowed orders that are named to who asks for another.
const NAMED_MAX: usize = 20;

#[derive(Debug)]
pub struct Desk {
    site: Arc<Site>,
    allowed: Vec<Allowed>,
    under_way: Vec<Running>,
    /// Of this run.
    last_number: u64,
}

/// An order that the wire has, or is about to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    pub number: u64,
    pub order: Order,
    pub device: DeviceId,
    pub moves: Option<Moves>,
    pub begun_at: Millis,
    /// Nobody waits for it any longer than this.
    pub give_up: Millis,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The `n`th of what is allowed.
    Do(usize),
    /// It is under way already, under this number.
    Wait(u64),
    /// It was done before, and this is what came of it.
    Before(Outcome),
    Refuse(Refused),
}

impl Desk {
    pub fn new(site: Arc<Site>, allowed: Vec<Allowed>) -> Self {
        Self { site, allowed, under_way: Vec::new(), last_number: 0 }
    }

    /// Other orders are allowed, in another site. Those under way go on, but for those whose wire has `ended` or whose
    /// device is not there any more: nobody will say what came of these.
    pub fn take_over(
        &mut self,
        site: Arc<Site>,
        allowed: Vec<Allowed>,
        numbers: &Numbers,
        ended: impl Fn(&Arc<str>) -> bool,
    ) -> Vec<Running> {
        let before = std::mem::replace(&mut self.site, site);
        self.allowed = allowed;
        let mut gone = Vec::new();
        for mut running in std::mem::take(&mut self.under_way) {
            running.moves = running.moves.and_then(|moves| moves.counted_by(numbers));
            match numbers.device(running.device) {
                Some(device) if !ended(&before.device(running.device).channel) => {
                    self.under_way.push(Running { device, ..running });
                }
                _ => gone.push(running),
            }
        }
        gone
    }

    /// An order that names no target means the only one there is, where that is so.
    pub fn with_target(&self, mut order: Order) -> Order {
        if let Some(device) = self.site.device_named(&order.device)
            && order.target.is_empty()
        {
            let mut can = self.allowed.iter().filter(|a| a.device == device && *a.action == *order.action);
            if let (Some(only), None) = (can.next(), can.next()) {
                order.target = only.target.to_string();
            }
        }
        order
    }

    /// How far back has to be looked to judge this one; `None`: nobody counts.
    pub fn looks_back(&self, order: &Order) -> Option<Millis> {
        let n = self.named(self.site.device_named(&order.device)?, order)?;
        let at_most = self.allowed[n].terms.at_most?;
        Some(at_most.within.as_millis() as Millis)
    }

    /// An order that was given once has one answer for ever, even where it would not be allowed any more.
    pub fn judge(&self, order: &Order, moment: &Moment<'_>, kept: &Kept<'_>) -> Verdict {
        if let Some(running) = self.under_way.iter().find(|running| running.order.key == order.key) {
            return match same(&running.order, order) {
                true => Verdict::Wait(running.number),
                false => Verdict::Refuse(Refused::KeyTaken(order.key.clone())),
            };
        }
        if let Some((known, outcome)) = kept.row {
            let unsure = || Outcome::Unsure { why: "nothing is known of its end".to_owned() };
            return match same(known, order) {
                true => Verdict::Before(outcome.cloned().unwrap_or_else(unsure)),
                false => Verdict::Refuse(Refused::KeyTaken(order.key.clone())),
            };
        }
        if kept.used {
            return Verdict::Refuse(Refused::KeyUsed(order.key.clone()));
        }
        let Some(device) = self.site.device_named(&order.device) else {
            return Verdict::Refuse(Refused::Unknown(order.device.clone()));
        };
        let Some(n) = self.named(device, order) else {
            return Verdict::Refuse(Refused::NotAllowed(self.not_allowed(device, order)));
        };
        let terms = &self.allowed[n].terms;
        let judged = who_and_why(terms, order)
            .and_then(|()| in_time(order, moment, kept))
            .and_then(|()| open_then(terms, order, moment))
            .and_then(|()| self.not_too_often(n, order, moment, kept))
            .and_then(|()| self.room(kept));
        match judged {
            Ok(()) => Verdict::Do(n),
            Err(refused) => Verdict::Refuse(refused),
        }
    }

    /// All targets of one table count together.
    fn not_too_often(
        &self,
        n: usize,
        order: &Order,
        moment: &Moment<'_>,
        kept: &Kept<'_>,
    ) -> Result<(), Refused> {
        let allowed = &self.allowed[n];
        let Some(AtMost { times, within }) = allowed.terms.at_most else { return Ok(()) };
        let span = within.as_millis() as Millis;
        let of_this_table = |given: &&Given| {
            let named = |a: &&Allowed| {
                a.device == allowed.device && *a.action == *given.action && *a.target == *given.target
            };
            let table = self.allowed.iter().find(named);
            table.is_some_and(|table| Arc::ptr_eq(&table.terms, &allowed.terms))
        };
        // What a clock that was set back has dated far ahead must not count for as long.
        let lately = |given: &&Given| given.at > moment.now - span && given.at <= moment.now + span;
        let mut lately: Vec<Millis> =
            kept.given.iter().filter(lately).filter(of_this_table).map(|given| given.at).collect();
        if lately.len() < times {
            return Ok(());
        }
        lately.sort_unstable();
        let free = lately[lately.len() - times] + span;
        let what = spoken(&order.action, &order.target);
        let within = within.as_secs();
        let why = format!(
            "{what} may be ordered {times} times in {within} s, with what stands in the same table, and was; \
             again from {} on",
            time::format(free)
        );
        let wait = Duration::from_millis(free.saturating_sub(moment.now).max(0).cast_unsigned());
        Err(Refused::TooOften(why, wait))
    }

    fn room(&self, kept: &Kept<'_>) -> Result<(), Refused> {
        if self.under_way.len() >= UNDER_WAY_MAX {
            let why = format!("{UNDER_WAY_MAX} orders are under way; try again when some of them have ended");
            return Err(Refused::Busy(why));
        }
        if kept.rows_full {
            let why = "so many orders that have not expired yet cannot be kept in mind with one more; \
                       try again later, and let orders expire sooner";
            return Err(Refused::Busy(why.to_owned()));
        }
        Ok(())
    }

    /// Takes it on; what the wire is to be told. `steady` is the same moment as `now`.
    pub fn begin(&mut self, order: Order, n: usize, now: Millis, steady: Instant) -> Option<(Deed, Running)> {
        let allowed = self.allowed.get(n)?;
        self.last_number += 1;
        let until = order.expires_at.unwrap_or(Millis::MAX).min(now + BEGIN_WITHIN);
        let running = Running {
            number: self.last_number,
            device: allowed.device,
            moves: allowed.moves,
            begun_at: now,
            give_up: until + END_WITHIN,
            order,
        };
        let left = Duration::from_millis(until.saturating_sub(now).max(0).cast_unsigned());
        let (number, device, nth) = (self.last_number, allowed.device, allowed.nth);
        let deed = Deed { number, device, nth, until: Some(steady + left) };
        self.under_way.push(running.clone());
        Some((deed, running))
    }

    /// The wire says that it has ended; `None`: it is not known, or was given up.
    pub fn end(&mut self, number: u64) -> Option<Running> {
        let index = self.under_way.iter().position(|running| running.number == number)?;
        Some(self.under_way.remove(index))
    }

    /// Those that are given up.
    pub fn overdue(&mut self, now: Millis) -> Vec<Running> {
        self.under_way.extract_if(.., |running| running.give_up <= now).collect()
    }

    pub fn next_due(&self) -> Option<Millis> {
        self.under_way.iter().map(|running| running.give_up).min()
    }

    /// The wall clock was stepped; as much time has passed as before.
    pub fn stepped(&mut self, by: Millis) {
        for running in &mut self.under_way {
            (running.begun_at, running.give_up) = (running.begun_at + by, running.give_up + by);
        }
    }

    /// What an order of an earlier run moves.
    pub fn moves(&self, order: &Order) -> Option<Moves> {
        let n = self.named(self.site.device_named(&order.device)?, order)?;
        self.allowed[n].moves
    }

    fn named(&self, device: DeviceId, order: &Order) -> Option<usize> {
        let same =
            |a: &Allowed| a.device == device && *a.action == *order.action && *a.target == *order.target;
        self.allowed.iter().position(same)
    }

    fn not_allowed(&self, device: DeviceId, order: &Order) -> String {
        let of = self.allowed.iter().filter(|allowed| allowed.device == device);
        let all: Vec<String> =
            of.map(|allowed| spoken(&allowed.action, &allowed.target)).take(NAMED_MAX).collect();
        let asked = spoken(&order.action, &order.target);
        match all.as_slice() {
            [] => format!("nothing may be ordered of {}; allow it with [[device.command]]", order.device),
            all => format!("{asked} is not allowed of {}; allowed are {}", order.device, all.join(", ")),
        }
    }
}

/// Whether the same is to happen; who asks, why and how long it is valid may differ between two tries.
fn same(a: &Order, b: &Order) -> bool {
    (&a.device, &a.action, &a.target) == (&b.device, &b.action, &b.target)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::command::Trust;
    use crate::order::Role;
    use crate::reading::Device;

    static ZONE: TimeZone = TimeZone::UTC;

    fn desk() -> Desk {
        let device = Device::polled("bank-1", "lockers");
        let allowed = Allowed {
            device: DeviceId(0),
            action: "open".into(),
            target: "cell-3".into(),
            nth: 2,
            moves: None,
            terms: Arc::default(),
        };
        let site = Site { devices: vec![device], ..Site::default() };
        Desk::new(Arc::new(site), vec![allowed])
    }

    fn at(now: Millis) -> Moment<'static> {
        Moment { now, past: 0, trust: Trust::Sure, zone: &ZONE }
    }

    fn order(key: &str) -> Order {
        Order {
            device: "bank-1".into(),
            action: "open".into(),
            target: "cell-3".into(),
            reason: None,
            by: "li".into(),
            role: Role::Technician,
            via: "api".into(),
            expires_at: None,
            key: key.into(),
        }
    }

    #[test]
    fn an_order_expires_at_its_instant_and_is_not_begun_after_it() {
        let mut desk = desk();
        let mut soon = order("k-1");
        soon.expires_at = Some(5_000);
        assert_eq!(desk.judge(&soon, &at(4_999), &Kept::default()), Verdict::Do(0));
        assert!(matches!(
            desk.judge(&soon, &at(5_000), &Kept::default()),
            Verdict::Refuse(Refused::Expired(_))
        ));
        let steady = Instant::now();
        let (deed, _) = desk.begin(soon, 0, 4_999, steady).unwrap();
        let left = deed.until.unwrap() - steady;
        assert_eq!((deed.number, deed.nth, left), (1, 2, Duration::from_millis(1)));
        let (deed, _) = desk.begin(order("k-2"), 0, 4_999, steady).unwrap();
        let left = (deed.until.unwrap() - steady).as_millis();
        assert_eq!((deed.number, left), (2, BEGIN_WITHIN as u128));
    }

    #[test]
    fn an_order_without_a_target_is_of_the_only_one_there_is() {
        let mut desk = desk();
        let untold = |action: &str| Order { target: String::new(), action: action.into(), ..order("k-1") };
        assert!(matches!(
            desk.judge(&untold("open"), &at(0), &Kept::default()),
            Verdict::Refuse(Refused::NotAllowed(_))
        ));
        assert_eq!(desk.with_target(untold("open")), order("k-1"));
        assert_eq!(desk.with_target(untold("close")), untold("close"), "nothing of the kind is allowed");
        desk.allowed.push(Allowed { target: "cell-4".into(), ..desk.allowed[0].clone() });
        assert_eq!(desk.with_target(untold("open")), untold("open"), "which of two, nobody said");
        let why = desk.judge(&untold("open"), &at(0), &Kept::default());
        assert!(matches!(why, Verdict::Refuse(Refused::NotAllowed(why)) if why.contains("`open cell-4`")));
        assert_eq!(desk.with_target(order("k-1")), order("k-1"));
    }

    #[test]
    fn a_wire_that_says_nothing_is_given_up_once_and_what_it_says_later_is_not_known() {
        let mut desk = desk();
        desk.begin(order("k-1"), 0, 0, Instant::now()).unwrap();
        assert_eq!(desk.next_due(), Some(BEGIN_WITHIN + END_WITHIN));
        desk.stepped(1_000);
        assert!(desk.overdue(BEGIN_WITHIN + END_WITHIN).is_empty(), "a stepped clock takes no time away");
        let given_up = desk.overdue(BEGIN_WITHIN + END_WITHIN + 1_000);
        assert_eq!(given_up.len(), 1);
        assert_eq!(given_up[0].begun_at, 1_000, "its beginning is told by the new clock too");
        assert_eq!((desk.end(1), desk.next_due()), (None, None));
    }

    #[test]
    fn so_many_are_under_way_and_no_more() {
        let mut desk = desk();
        for n in 0..UNDER_WAY_MAX {
            let order = order(&format!("k-{n}"));
            assert_eq!(desk.judge(&order, &at(0), &Kept::default()), Verdict::Do(0));
            desk.begin(order, 0, 0, Instant::now()).unwrap();
        }
        assert!(matches!(
            desk.judge(&order("one more"), &at(0), &Kept::default()),
            Verdict::Refuse(Refused::Busy(_))
        ));
        assert_eq!(
            desk.judge(&order("k-0"), &at(0), &Kept::default()),
            Verdict::Wait(1),
            "what is under way is no more"
        );
        assert!(desk.end(1).is_some());
        assert_eq!(desk.judge(&order("one more"), &at(0), &Kept::default()), Verdict::Do(0));
    }

    #[test]
    fn a_row_without_an_end_that_nobody_carries_out_is_unsure() {
        let known = order("k-1");
        let verdict =
            desk().judge(&order("k-1"), &at(0), &Kept { row: Some((&known, None)), ..Kept::default() });
        assert!(matches!(verdict, Verdict::Before(Outcome::Unsure { .. })));
    }

    #[test]
    fn another_configuration_ends_the_orders_of_wires_that_ended_and_renumbers_the_others() {
        let mut desk = desk();
        let reader = Device { id: "reader".into(), channel: "gate".into(), ..desk.site.devices[0].clone() };
        let site = Site { devices: vec![desk.site.devices[0].clone(), reader], ..Site::default() };
        let of_reader = Allowed { device: DeviceId(1), target: "".into(), nth: 0, ..desk.allowed[0].clone() };
        desk.site = Arc::new(site);
        desk.allowed.push(of_reader.clone());
        let to_reader = |key: &str| Order { device: "reader".into(), target: String::new(), ..order(key) };
        for (order, n) in [(order("k-1"), 0), (to_reader("k-2"), 1)] {
            desk.begin(order, n, 0, Instant::now()).unwrap();
        }
        let next = Site { devices: desk.site.devices[1..].to_vec(), ..Site::default() };
        let numbers = Numbers::between(&desk.site, &next);
        let of_reader = Allowed { device: DeviceId(0), ..of_reader };
        // The bank has left with its wire.
        let ended = desk.take_over(Arc::new(next), vec![of_reader], &numbers, |wire| **wire == *"lockers");
        assert_eq!(ended.iter().map(|running| running.number).collect::<Vec<_>>(), [1]);
        assert_eq!(desk.judge(&to_reader("k-2"), &at(1), &Kept::default()), Verdict::Wait(2));
        // The reader stays, and its wire has ended all the same.
        let (site, allowed) = (desk.site.clone(), desk.allowed.clone());
        let numbers = Numbers::between(&site, &site);
        let ended = desk.take_over(site, allowed, &numbers, |wire| **wire == *"gate");
        assert_eq!(
            ended.iter().map(|running| (running.number, running.device.0)).collect::<Vec<_>>(),
            [(2, 0)]
        );
        assert_eq!((desk.next_due(), desk.end(2)), (None, None));
    }
}
