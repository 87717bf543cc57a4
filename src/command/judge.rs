//! Whether an order may be given now: by whom, why, not too late, at an hour that is open. Pure.

use jiff::tz::TimeZone;

use super::Terms;
use crate::order::{Order, Outcome, Refused, Role};
use crate::reading::Millis;
use crate::time;

/// An order from far away is good for so long at the most: until then its key is kept.
pub const AHEAD_MAX: Millis = 7 * 24 * 3600 * 1000;

/// When it is, as far as that is known.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    pub now: Millis,
    /// What is known to be past, whatever the clock shows.
    pub past: Millis,
    pub trust: Trust,
    /// Where the hours of the day are those of the compound.
    pub zone: &'a TimeZone,
}

/// How far the clock can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// It is synchronised, or was, and nobody has set it since.
    Sure,
    /// It is not; it shows nothing that cannot be, and the machine was not switched off since it last showed the time.
    Possible,
    /// It lies before what is past, or was not looked at while the machine was off: it may be behind by any span.
    Behind,
}

/// What the journal knows that concerns this order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kept<'a> {
    /// The order that was given under this key, with its outcome.
    pub row: Option<(&'a Order, Option<&'a Outcome>)>,
    /// Of the order only its key is known.
    pub used: bool,
    /// Orders that expired up to then are no longer known.
    pub forgotten: Millis,
    /// Orders that expire up to then may have been given in what was lost of the journal.
    pub lost_until: Millis,
    /// No more keys can be kept for ever.
    pub keys_full: bool,
    /// No more orders can be kept.
    pub rows_full: bool,
    /// What was ordered of this device lately, as far back as [`super::Desk::looks_back`] says.
    pub given: &'a [Given],
}

/// An order that was given to the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    pub action: String,
    pub target: String,
    pub at: Millis,
}

pub(super) fn who_and_why(terms: &Terms, order: &Order) -> Result<(), Refused> {
    if !terms.roles.contains(&order.role) {
        let (role, what) = (order.role.word(), spoken(&order.action, &order.target));
        let roles: Vec<&str> = terms.roles.iter().map(|role| role.word()).collect();
        return Err(Refused::WrongRole(format!(
            "{what} of {} may not be ordered by role {role}, only by {}; `roles` in its [[device.command]] says so",
            order.device,
            roles.join(", ")
        )));
    }
    let said = order.reason.as_deref().is_some_and(|reason| !reason.trim().is_empty());
    if terms.reason && !said {
        return Err(Refused::NoReason(format!("{} {}", order.action, order.target).trim().to_owned()));
    }
    Ok(())
}

/// Whether it is not too late for it, and will be known to be when it comes again.
///
/// A technician waits for the answer, a centre does not: of what comes from afar nobody knows how long it was on its
/// way. So a clock that was never set is enough for the one and not for the other.
pub(super) fn in_time(order: &Order, moment: &Moment<'_>, kept: &Kept<'_>) -> Result<(), Refused> {
    let from_afar = order.role == Role::Central;
    let Some(at) = order.expires_at else {
        return match (from_afar, kept.keys_full) {
            (true, _) => {
                let why = "an order of role central needs `expires_at`; it may have been on its way for long";
                Err(Refused::NoExpiry(why.to_owned()))
            }
            (_, true) => Err(keys_full()),
            (false, false) => Ok(()),
        };
    };
    let past = match moment.trust {
        Trust::Sure => moment.now,
        Trust::Possible | Trust::Behind => moment.now.max(moment.past),
    };
    if at <= past || at <= kept.forgotten {
        return Err(Refused::Expired(time::format(at)));
    }
    if moment.trust == Trust::Behind || (from_afar && moment.trust == Trust::Possible) {
        return Err(Refused::ClockUnsynced(format!(
            "the gateway's clock is not set, and nobody can say whether {} has passed; \
             who stands before the device orders without `expires_at`, role technician",
            time::format(at)
        )));
    }
    let far_ahead = at > moment.now.saturating_add(AHEAD_MAX);
    if from_afar && far_ahead {
        return Err(Refused::TooFarAhead(time::format(at)));
    }
    if far_ahead && kept.keys_full {
        return Err(keys_full());
    }
    if from_afar && at <= kept.lost_until {
        return Err(Refused::KeysLost(format!(
            "a part of the journal was lost, and the order may have been given in it; \
             let it expire after {}, or have it done on the spot",
            time::format(kept.lost_until)
        )));
    }
    Ok(())
}

fn keys_full() -> Refused {
    let why = "no more keys can be kept for ever; send `expires_at`, at most 7 days ahead: \
               the key is kept until it has passed";
    Refused::NoExpiry(why.to_owned())
}

pub(super) fn open_then(terms: &Terms, order: &Order, moment: &Moment<'_>) -> Result<(), Refused> {
    if terms.when.is_always() {
        return Ok(());
    }
    let what = spoken(&order.action, &order.target);
    let words = terms.when.words();
    if moment.trust != Trust::Sure {
        return Err(Refused::ClockUnsynced(format!(
            "{what} may be ordered {words} only, and the gateway's clock is not set; see that it is synchronised"
        )));
    }
    match terms.when.is_open(moment.now, moment.zone) {
        true => Ok(()),
        false => {
            Err(Refused::OutsideHours(format!("{what} of {} may be ordered {words} only", order.device)))
        }
    }
}

/// `open cell-3`
pub(super) fn spoken(action: &str, target: &str) -> String {
    format!("`{}`", format!("{action} {target}").trim())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::command::{Allowed, AtMost, Desk, Hours, Verdict, When};
    use crate::reading::{Device, DeviceId, Site};

    const DAY: Millis = 24 * 3600 * 1000;
    /// 2026-11-22 00:00 UTC, a Sunday.
    const NOW: Millis = 1_795_305_600_000;
    static ZONE: TimeZone = TimeZone::UTC;

    /// A bank of three cells in one table, and a fourth in another.
    fn desk(terms: Terms) -> Desk {
        let device = Device::polled("bank-1", "lockers");
        let (terms, other) = (Arc::new(terms.clone()), Arc::new(terms));
        let allowed = |n: usize| Allowed {
            device: DeviceId(0),
            action: "open".into(),
            target: format!("cell-{n}").into(),
            nth: n,
            moves: None,
            terms: if n < 4 { terms.clone() } else { other.clone() },
        };
        let site = Site { devices: vec![device], ..Site::default() };
        Desk::new(Arc::new(site), (1..=4).map(allowed).collect())
    }

    fn order(role: Role) -> Order {
        Order {
            device: "bank-1".into(),
            action: "open".into(),
            target: "cell-3".into(),
            reason: None,
            by: "li".into(),
            role,
            via: "api".into(),
            expires_at: Some(NOW + 60_000),
            key: "k-1".into(),
        }
    }

    fn both() -> Terms {
        Terms { roles: Role::ALL.to_vec(), ..Terms::default() }
    }

    fn sure(now: Millis) -> Moment<'static> {
        Moment { now, past: 0, trust: Trust::Sure, zone: &ZONE }
    }

    fn word(desk: &Desk, order: &Order, moment: Moment<'_>, kept: &Kept<'_>) -> &'static str {
        match desk.judge(order, &moment, kept) {
            Verdict::Refuse(why) => why.word(),
            Verdict::Do(_) => "do",
            Verdict::Wait(_) => "wait",
            Verdict::Before(_) => "before",
        }
    }

    #[test]
    fn who_may_order_and_why_is_what_the_table_says() {
        let word = |terms: Terms, order: Order| word(&desk(terms), &order, sure(NOW), &Kept::default());
        let central = || Terms { roles: vec![Role::Central], ..Terms::default() };
        assert_eq!(word(Terms::default(), order(Role::Technician)), "do");
        assert_eq!(word(Terms::default(), order(Role::Central)), "wrong-role");
        assert_eq!(word(central(), order(Role::Technician)), "wrong-role");
        assert_eq!(word(both(), order(Role::Central)), "do");
        let with_reason = || Terms { reason: true, ..Terms::default() };
        let because = |reason: &str| Order { reason: Some(reason.into()), ..order(Role::Technician) };
        assert_eq!(word(with_reason(), order(Role::Technician)), "no-reason");
        assert_eq!(word(with_reason(), because("  ")), "no-reason");
        assert_eq!(word(with_reason(), because("parcel")), "do");
    }

    #[test]
    fn an_expiry_is_judged_by_how_far_the_clock_can_be_believed() {
        use Role::{Central, Technician};
        use Trust::{Behind, Possible, Sure};
        let ends = |role, at: Millis| Order { expires_at: Some(at), ..order(role) };
        let past = NOW + 1000;
        for (role, expires_at, trust, expected) in [
            (Technician, NOW + 1, Sure, "do"),
            (Technician, NOW, Sure, "expired"),
            (Technician, past, Possible, "expired"),
            (Technician, past + 1, Possible, "do"),
            (Technician, past + 1, Behind, "clock-unsynced"),
            (Technician, past, Behind, "expired"),
            (Technician, NOW + 30 * DAY, Sure, "do"),
            (Central, NOW + 1, Sure, "do"),
            (Central, past + 1, Possible, "clock-unsynced"),
            (Central, past + 1, Behind, "clock-unsynced"),
            (Central, NOW + AHEAD_MAX, Sure, "do"),
            (Central, NOW + AHEAD_MAX + 1, Sure, "too-far-ahead"),
        ] {
            let moment = Moment { past, trust, ..sure(NOW) };
            let is = word(&desk(both()), &ends(role, expires_at), moment, &Kept::default());
            assert_eq!(is, expected, "{role:?} {expires_at} {trust:?}");
        }
        for trust in [Sure, Possible, Behind] {
            let never = |role| Order { expires_at: None, ..order(role) };
            let moment = Moment { past, trust, ..sure(NOW) };
            assert_eq!(
                word(&desk(both()), &never(Technician), moment, &Kept::default()),
                "do",
                "on the spot"
            );
            assert_eq!(word(&desk(both()), &never(Central), moment, &Kept::default()), "no-expiry");
        }
    }

    #[test]
    fn what_is_no_longer_known_is_never_given_again() {
        let word = |order: &Order, kept: &Kept<'_>| word(&desk(both()), order, sure(NOW), kept);
        let soon = order(Role::Technician);
        let until = soon.expires_at.unwrap();
        let never = Order { expires_at: None, ..soon.clone() };
        assert_eq!(word(&soon, &Kept { used: true, ..Kept::default() }), "key-used");
        assert_eq!(word(&soon, &Kept { forgotten: until, ..Kept::default() }), "expired");
        assert_eq!(word(&soon, &Kept { forgotten: until - 1, ..Kept::default() }), "do");
        assert_eq!(word(&soon, &Kept { keys_full: true, ..Kept::default() }), "do");
        assert_eq!(word(&never, &Kept { keys_full: true, ..Kept::default() }), "no-expiry");
        assert_eq!(word(&soon, &Kept { rows_full: true, ..Kept::default() }), "busy");
        let lost = Kept { lost_until: until, ..Kept::default() };
        assert_eq!(word(&soon, &lost), "do", "who stands there knows");
        assert_eq!(word(&order(Role::Central), &lost), "keys-lost");
        let later = Kept { lost_until: until - 1, ..Kept::default() };
        assert_eq!(word(&order(Role::Central), &later), "do");
    }

    #[test]
    fn a_door_that_has_hours_needs_a_clock() {
        let hours = vec![Hours { from: 7 * 60, to: 22 * 60 }];
        let terms = Terms { when: When { hours, ..When::default() }, ..Terms::default() };
        let at = |hour: Millis, trust| {
            let now = NOW + hour * 3_600_000;
            let order = Order { expires_at: None, ..order(Role::Technician) };
            word(&desk(terms.clone()), &order, Moment { trust, ..sure(now) }, &Kept::default())
        };
        assert_eq!(
            [6, 7, 21, 22].map(|hour| at(hour, Trust::Sure)),
            ["outside-hours", "do", "do", "outside-hours"]
        );
        assert_eq!(at(12, Trust::Possible), "clock-unsynced");
        assert_eq!(at(12, Trust::Behind), "clock-unsynced");
    }

    #[test]
    fn so_many_of_one_table_in_so_long_and_the_next_when_the_first_is_so_old() {
        let at_most = Some(AtMost { times: 2, within: Duration::from_secs(60) });
        let desk = desk(Terms { at_most, ..Terms::default() });
        let given = |of: &[(&str, Millis)]| -> Vec<Given> {
            let one = |(target, at): &(&str, Millis)| Given {
                action: "open".into(),
                target: (*target).into(),
                at: NOW + at,
            };
            of.iter().map(one).collect()
        };
        let mine = order(Role::Technician);
        let judged = |of: &[(&str, Millis)]| {
            word(&desk, &mine, sure(NOW), &Kept { given: &given(of), ..Kept::default() })
        };
        assert_eq!(desk.looks_back(&mine), Some(60_000));
        assert_eq!(judged(&[("cell-1", -1)]), "do");
        assert_eq!(
            judged(&[("cell-1", -1), ("cell-3", -59_999)]),
            "too-often",
            "of the table, not of the cell"
        );
        assert_eq!(judged(&[("cell-1", -1), ("cell-3", -60_000)]), "do");
        assert_eq!(judged(&[("cell-1", -1), ("cell-4", -1), ("cell-9", -1)]), "do", "others are not counted");
        assert_eq!(judged(&[("cell-1", 1), ("cell-2", 60_001)]), "do", "a clock was set back since");
        let given = given(&[("cell-1", -10_000), ("cell-2", -40_000), ("cell-3", -20_000)]);
        let kept = Kept { given: &given, ..Kept::default() };
        let Verdict::Refuse(why) = desk.judge(&mine, &sure(NOW), &kept) else { panic!() };
        assert!(why.to_string().contains(&time::format(NOW + 40_000)), "{why}");
    }
}
