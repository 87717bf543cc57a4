//! Chattering (ISA-18.2): a condition that comes and goes so often that each of it is no news. It is counted, and told
//! once it has calmed down. Pure.
//!
//! The ticket itself stands meanwhile where it stood: not cleared, so that nobody closes it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Chatter;
use super::episode::Clock;
use crate::reading::Millis;

/// What a ticket knows of its own comings. Kept in its life.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comings {
    /// The latest that were told, as many as make it chatter at the most.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    told: VecDeque<Millis>,
    /// Those that have only been counted, until the ticket's next event takes them along.
    #[serde(default)]
    counted: u32,
    /// It chatters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restless: Option<Restless>,
}

/// What has to last for the chatter's span to end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Restless {
    gone: bool,
    lasts: Clock,
}

impl Comings {
    /// The condition is back, and that is told. The last of too many makes it chatter.
    pub fn back(&mut self, at: Millis, chatter: Option<Chatter>) {
        let Some(Chatter { times, within }) = chatter else {
            self.told.clear();
            return;
        };
        // A clock that was set back must not keep what lies ahead.
        self.told.retain(|told| (at - within..=at).contains(told));
        self.told.push_back(at);
        if self.told.len() >= times as usize {
            self.told.clear();
            self.restless = Some(Restless { gone: false, lasts: Clock::started(at) });
        }
    }

    /// The condition is back while it chatters: whether that is only counted.
    pub fn counts(&mut self, at: Millis) -> bool {
        if !self.turned(false, at) {
            return false;
        }
        self.counted = self.counted.saturating_add(1);
        true
    }

    /// The condition is gone: whether that is told to nobody yet.
    pub fn went(&mut self, at: Millis) -> bool {
        self.turned(true, at)
    }

    fn turned(&mut self, gone: bool, at: Millis) -> bool {
        let Some(restless) = &mut self.restless else {
            return false;
        };
        *restless = Restless { gone, lasts: Clock::started(at) };
        true
    }

    /// A reading was good and well, or it was not: gone is what is read to be gone.
    pub fn read(&mut self, well: bool, at: Millis) {
        if let Some(Restless { gone, lasts }) = &mut self.restless {
            if well || !*gone { lasts.go_on(at) } else { lasts.stop(at) }
        }
    }

    /// The wall clock was stepped; as much time has passed as before.
    pub fn shift(&mut self, by: Millis) {
        self.told.iter_mut().for_each(|at| *at += by);
        if let Some(restless) = &mut self.restless {
            restless.lasts.shift(by);
        }
    }

    /// Nobody sees it from `at` on.
    pub fn stop(&mut self, at: Millis) {
        if let Some(restless) = &mut self.restless {
            restless.lasts.stop(at);
        }
    }

    /// As it is saved.
    pub fn rest(&mut self, now: Millis) {
        if let Some(restless) = &mut self.restless {
            restless.lasts.rest(now);
        }
    }

    pub fn wake(&mut self, now: Millis) {
        if let Some(restless) = &mut self.restless {
            restless.lasts.wake(now);
        }
    }

    /// When it will have calmed down.
    pub fn calms(&self, chatter: Option<Chatter>) -> Option<Millis> {
        let within = chatter.map_or(0, |chatter| chatter.within);
        self.restless.and_then(|restless| restless.lasts.ends(within))
    }

    /// It has calmed down, or nobody cares any more: whether it ended with the condition gone.
    pub fn calm(&mut self) -> bool {
        self.restless.take().is_some_and(|restless| restless.gone)
    }

    /// What was counted and not told.
    pub fn take_counted(&mut self) -> u32 {
        std::mem::take(&mut self.counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHATTER: Option<Chatter> = Some(Chatter { times: 3, within: 100 });

    #[test]
    fn too_many_comings_within_the_span_are_chatter_and_what_follows_is_counted() {
        let mut comings = Comings::default();
        for at in [0, 60, 161] {
            comings.back(at, CHATTER);
        }
        assert!(!comings.went(170), "three, but not within the span");
        comings.back(175, CHATTER);
        comings.back(180, CHATTER);
        assert!(comings.went(190) && comings.counts(200) && comings.went(210) && comings.counts(215));
        assert_eq!(comings.calms(CHATTER), Some(315));
        assert!(!comings.calm(), "it stayed on");
        assert_eq!((comings.take_counted(), comings.take_counted()), (2, 0));
        assert!(!comings.went(400));
    }

    #[test]
    fn only_what_is_read_to_be_gone_calms_it_down() {
        let mut comings = Comings::default();
        for at in [0, 1, 2] {
            comings.back(at, CHATTER);
        }
        assert!(comings.went(10));
        comings.read(false, 50);
        assert_eq!(comings.calms(CHATTER), None);
        comings.read(true, 70);
        assert_eq!(comings.calms(CHATTER), Some(130));
        assert!(comings.calm());
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut comings = Comings::default();
        for at in 0..10_000 {
            comings.back(at * 60, CHATTER);
            assert!(comings.told.len() < 3);
        }
    }
}
