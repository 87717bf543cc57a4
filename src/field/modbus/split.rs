//! What to ask of a device that refuses a part: one bad address must not cost the others. Pure; time is an argument.
//!
//! A device says only that *something* in a request is not there. So a refused request is taken apart, first at its gaps
//! (what nobody asked for is the likeliest to be missing), then by halves and never through a value, until what is
//! refused stands alone. With that known, the rest is read together again; a device that does not take that (there are some
//! that refuse to read across two blocks, though they have both) is asked by the parts that it took.
//!
//! What is refused alone is asked for again once a minute, and the whole once an hour, and when the device was gone: it
//! may have been replaced, or only been starting up.

use std::time::Duration;

use tokio::time::Instant;

use super::Merge;
use super::coalesce::{Question, merge};
use super::pdu::Span;

const ALONE_AGAIN: Duration = Duration::from_secs(60);
const WHOLE_AGAIN: Duration = Duration::from_secs(3600);

/// How one question is asked at present.
#[derive(Debug)]
pub struct Parts {
    parts: Vec<Part>,
    stage: Stage,
    /// Since something was refused.
    whole_again: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    span: Span,
    wants: Vec<Span>,
    /// It was refused alone, and is let be until then; by which exception.
    refused: Option<(Instant, u8)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Whole,
    Searching,
    /// What it took is read together again; these are the parts to go back to.
    Joined(Vec<Part>),
    Settled,
}

impl Parts {
    pub fn new(question: &Question) -> Self {
        Self { parts: parts_of(&question.wants, &question.reads), stage: Stage::Whole, whole_again: None }
    }

    /// What to ask now.
    pub fn due(&mut self, question: &Question, now: Instant) -> Vec<Span> {
        if self.whole_again.is_some_and(|at| at <= now) {
            *self = Self::new(question);
        }
        let due = |part: &&Part| part.refused.is_none_or(|(until, _)| until <= now);
        self.parts.iter().filter(due).map(|part| part.span).collect()
    }

    /// It was refused for its address, by this exception. What to ask instead; nothing, where it is a single value.
    pub fn refused(&mut self, span: Span, code: u8, merge: &Merge, now: Instant) -> Vec<Span> {
        if let Stage::Joined(pieces) = &mut self.stage {
            self.parts = std::mem::take(pieces);
            self.stage = Stage::Settled;
        }
        let suspect = |part: &Part| part.span == span && part.refused.is_none_or(|(until, _)| until <= now);
        let Some(at) = self.parts.iter().position(suspect) else { return self.pieces_of(&span) };
        if self.parts[at].wants.len() < 2 {
            if self.stage != Stage::Whole {
                self.parts[at].refused = Some((now + ALONE_AGAIN, code));
            }
            return Vec::new();
        }
        if self.stage == Stage::Whole {
            self.stage = Stage::Searching;
            self.whole_again = Some(now + WHOLE_AGAIN);
        }
        let pieces = self.parts.remove(at).taken_apart(merge);
        let spans = pieces.iter().map(|piece| piece.span).collect();
        self.parts.splice(at..at, pieces);
        spans
    }

    /// Of what had been joined, and is no longer.
    fn pieces_of(&self, span: &Span) -> Vec<Span> {
        let of_it = |part: &&Part| part.refused.is_none() && part.wants.iter().any(|want| span.covers(want));
        self.parts.iter().filter(of_it).map(|part| part.span).collect()
    }

    /// It has it after all.
    pub fn answered(&mut self, span: Span) {
        for part in self.parts.iter_mut().filter(|part| part.span == span) {
            part.refused = None;
        }
    }

    /// All was asked: once it is known what is refused, the rest is joined. Whether that is news.
    pub fn settle(&mut self, rules: &Merge) -> bool {
        if self.stage != Stage::Searching {
            return false;
        }
        let (bad, good): (Vec<Part>, Vec<Part>) =
            self.parts.iter().cloned().partition(|part| part.refused.is_some());
        let wants: Vec<Span> = good.iter().flat_map(|part| &part.wants).copied().collect();
        let mut rules = rules.clone();
        rules.avoid.extend(bad.iter().map(|part| (part.span.register, last(&part.span))));
        let joined = merge(wants.clone(), &rules);
        // Where none is bad by itself, it was a gap, or the reading together.
        if bad.is_empty() || joined.len() >= good.len() {
            self.stage = Stage::Settled;
            return true;
        }
        let parts = parts_of(&wants, &joined).into_iter().chain(bad).collect();
        self.stage = Stage::Joined(std::mem::replace(&mut self.parts, parts));
        true
    }

    /// All that is asked, with what is refused.
    pub fn spans(&self) -> Vec<Span> {
        self.parts.iter().map(|part| part.span).collect()
    }

    /// What the device refuses by itself, and by which exception.
    pub fn bad(&self) -> impl Iterator<Item = (Span, u8)> {
        self.parts.iter().filter_map(|part| Some((part.span, part.refused?.1)))
    }
}

impl Part {
    /// At its gaps; where it has none, by halves. Two parts at least, with fewer values each.
    fn taken_apart(self, rules: &Merge) -> Vec<Part> {
        let no_gaps = Merge { max_gap: 0, ..rules.clone() };
        let runs = merge(self.wants.clone(), &no_gaps);
        if runs.len() > 1 {
            return parts_of(&self.wants, &runs);
        }
        let (low, high) = self.wants.split_at(self.wants.len() / 2);
        [low, high].iter().flat_map(|half| parts_of(half, &merge(half.to_vec(), &no_gaps))).collect()
    }
}

/// Each want goes to the first read that covers it.
fn parts_of(wants: &[Span], reads: &[Span]) -> Vec<Part> {
    let mut parts: Vec<Part> =
        reads.iter().map(|span| Part { span: *span, wants: Vec::new(), refused: None }).collect();
    for want in wants {
        if let Some(part) = parts.iter_mut().find(|part| part.span.covers(want)) {
            part.wants.push(*want);
        }
    }
    parts
}

fn last(span: &Span) -> u16 {
    u16::try_from(span.end().saturating_sub(1)).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::Table;
    use super::super::pdu::ILLEGAL_ADDRESS;
    use super::*;
    use crate::field::fuzz::Chance;

    fn span(register: u16, count: u16) -> Span {
        Span { table: Table::Holding, register, count }
    }

    fn question(wants: &[Span], rules: &Merge) -> Question {
        Question { points: Vec::new(), wants: wants.to_vec(), reads: merge(wants.to_vec(), rules) }
    }

    /// A device that has not these registers, or does not read across these borders.
    struct Device {
        missing: Vec<u16>,
        borders: Vec<u16>,
    }

    impl Device {
        fn refuses(&self, span: &Span) -> bool {
            let inside = |r: &u16| span.register <= *r && u32::from(*r) < span.end();
            self.missing.iter().any(inside)
                || self.borders.iter().any(|border| span.register < *border && inside(border))
        }
    }

    /// Asks once; what was read, and by how many requests.
    fn ask(
        parts: &mut Parts,
        question: &Question,
        rules: &Merge,
        device: &Device,
        now: Instant,
    ) -> (Vec<Span>, usize) {
        let (mut heard, mut asked) = (Vec::new(), 0);
        let mut todo = parts.due(question, now);
        while let Some(span) = todo.pop() {
            asked += 1;
            assert!(asked < 1000, "it ends");
            if device.refuses(&span) {
                todo.extend(parts.refused(span, ILLEGAL_ADDRESS, rules, now));
            } else {
                parts.answered(span);
                heard.push(span);
            }
        }
        parts.settle(rules);
        let read =
            question.wants.iter().filter(|want| heard.iter().any(|h| h.covers(want))).copied().collect();
        (read, asked)
    }

    fn without(wants: &[Span], bad: &[Span]) -> Vec<Span> {
        wants.iter().filter(|want| !bad.contains(want)).copied().collect()
    }

    #[test]
    fn one_bad_address_costs_its_own_point_alone() {
        let rules = Merge::default();
        let wants: Vec<Span> = (0..50).map(|n| span(2 * n, 2)).collect();
        let question = question(&wants, &rules);
        assert_eq!(question.reads, [span(0, 100)]);
        let device = Device { missing: vec![37], borders: vec![] };
        let (mut parts, now) = (Parts::new(&question), Instant::now());
        let good = without(&wants, &[span(36, 2)]);

        let (read, asked) = ask(&mut parts, &question, &rules, &device, now);
        assert_eq!(read, good);
        assert!(asked <= 1 + 2 * 6, "{asked}");
        assert_eq!(parts.bad().collect::<Vec<_>>(), [(span(36, 2), ILLEGAL_ADDRESS)]);
        let again = ask(&mut parts, &question, &rules, &device, now);
        assert_eq!(again, (good.clone(), 2), "the rest is read together again, and the bad one let be");
        let (read, asked) = ask(&mut parts, &question, &rules, &device, now + ALONE_AGAIN);
        assert_eq!((read, asked), (good, 3), "it is tried again");

        let well = Device { missing: vec![], borders: vec![] };
        let (read, _) = ask(&mut parts, &question, &rules, &well, now + 2 * ALONE_AGAIN);
        assert_eq!(read, wants, "it is there after all");
        assert_eq!(ask(&mut parts, &question, &rules, &well, now + WHOLE_AGAIN), (wants, 1), "whole again");
    }

    #[test]
    fn a_gap_that_is_not_there_is_no_longer_read_along() {
        let rules = Merge { max_gap: 4, ..Merge::default() };
        let wants = [span(0, 2), span(2, 1), span(6, 2), span(9, 1)];
        let question = question(&wants, &rules);
        assert_eq!(question.reads, [span(0, 10)]);
        let device = Device { missing: vec![4], borders: vec![] };
        let (mut parts, now) = (Parts::new(&question), Instant::now());
        assert_eq!(ask(&mut parts, &question, &rules, &device, now), (wants.to_vec(), 4));
        assert_eq!(ask(&mut parts, &question, &rules, &device, now), (wants.to_vec(), 3));
        assert_eq!(parts.bad().count(), 0);
    }

    #[test]
    fn a_device_that_reads_its_blocks_only_one_by_one_is_asked_so() {
        let rules = Merge::default();
        let wants: Vec<Span> = (0..8).map(|n| span(n, 1)).collect();
        let question = question(&wants, &rules);
        let device = Device { missing: vec![1], borders: vec![4] };
        let (mut parts, now) = (Parts::new(&question), Instant::now());
        for _ in 0..5 {
            let (read, asked) = ask(&mut parts, &question, &rules, &device, now);
            assert_eq!(read, without(&wants, &[span(1, 1)]));
            assert!(asked <= 7, "{asked}");
        }
    }

    #[test]
    fn a_single_value_that_is_refused_is_asked_each_time() {
        let rules = Merge::default();
        let question = question(&[span(5, 2)], &rules);
        let device = Device { missing: vec![5], borders: vec![] };
        let (mut parts, now) = (Parts::new(&question), Instant::now());
        for _ in 0..3 {
            assert_eq!(ask(&mut parts, &question, &rules, &device, now), (vec![], 1));
        }
    }

    /// Whatever is missing, and wherever the values overlap: all that a device gives alone is read, always.
    #[test]
    fn whatever_is_missing_the_rest_is_read() {
        let mut chance = Chance::new(11);
        for _ in 0..2_000 {
            let mut wants: Vec<Span> = (0..1 + chance.below(20))
                .map(|_| span(chance.below(40) as u16, 1 + chance.below(4) as u16))
                .collect();
            wants.sort_by_key(|want| (want.register, want.count));
            wants.dedup();
            let rules = Merge { max_gap: chance.below(4) as u16, ..Merge::default() };
            let question = question(&wants, &rules);
            let missing: Vec<u16> = (0..chance.below(4)).map(|_| chance.below(44) as u16).collect();
            let borders: Vec<u16> = (0..chance.below(2)).map(|_| chance.below(44) as u16).collect();
            let device = Device { missing, borders };
            let good: Vec<Span> = wants.iter().filter(|want| !device.refuses(want)).copied().collect();
            let (mut parts, now) = (Parts::new(&question), Instant::now());
            for _ in 0..4 {
                let (read, asked) = ask(&mut parts, &question, &rules, &device, now);
                assert!(good.iter().all(|want| read.contains(want)), "{wants:?} {:?}", device.missing);
                assert!(
                    asked <= 2 * wants.len() + wants.len(),
                    "{asked} requests for {} values",
                    wants.len()
                );
            }
        }
    }
}
