//! Points → requests: registers that lie near each other are read together. Planned once, at start. Pure.
//!
//! - A request costs a line far more than a register does: at 9600 baud eight bytes of question, five around the answer
//!   and two silences take as long as ten registers. So small gaps are read along, as far as `max_gap` allows. That is 0
//!   where nothing is known of the device: there are some that answer a register they do not have with an exception for the whole
//!   request.
//! - A gap is not read along when it touches a range to `avoid`, a request has no more than `max_registers` (sixteen times
//!   as many bits), and a value is never cut in two: its halves would be of different moments.
//! - The requests are the fewest possible. Taken by ascending register, each goes as far as it may; what lies inside of
//!   the value that no longer fits comes with that value for nothing, so nothing is lost by stopping there.
//! - Points of one period are planned together, and only those: else the slow ones would be read with the fast.
//! - Registers that say how to read a value (decimals, unit) belong to the question that reads it, be it by a request of
//!   their own: no value counts before they are known.

use std::collections::BTreeMap;
use std::time::Duration;

use super::pdu::{BITS_MOST, REGISTERS_MOST, Span};
use super::{Device, Merge, Point, Table};

/// Coils and inputs of a request, for each register that it may have.
const BITS_A_REGISTER: u16 = 16;

/// What is asked in one period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    pub every: Duration,
    /// Indices into the device's points.
    pub points: Vec<usize>,
    pub questions: Vec<Question>,
}

/// What has to be read before its points have their values: one request but for points that are told by others how to
/// be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub points: Vec<usize>,
    /// What those points stand in, by table and register, none twice.
    pub wants: Vec<Span>,
    /// What is asked for them.
    pub reads: Vec<Span>,
}

/// The fewest requests that read all points, each in its period; the shortest period first.
pub fn plan(device: &Device) -> Vec<Round> {
    let mut periods: BTreeMap<Duration, Vec<usize>> = BTreeMap::new();
    for (nth, point) in device.points.iter().enumerate() {
        periods.entry(point.poll.unwrap_or(device.poll)).or_default().push(nth);
    }
    let round = |(every, points): (Duration, Vec<usize>)| Round {
        every,
        questions: questions(&device.points, &points, &device.merge),
        points,
    };
    periods.into_iter().map(round).collect()
}

/// The fewest requests that read all of `wants`.
pub fn merge(mut wants: Vec<Span>, rules: &Merge) -> Vec<Span> {
    wants.sort_by_key(|want| (want.table, want.register));
    let mut reads: Vec<Span> = Vec::new();
    for want in wants {
        match reads.last_mut() {
            Some(last) if rules.joins(last, &want) => {
                let end = last.end().max(want.end());
                last.count = (end - u32::from(last.register)) as u16;
            }
            _ => reads.push(want),
        }
    }
    reads
}

fn questions(points: &[Point], chosen: &[usize], rules: &Merge) -> Vec<Question> {
    let mut wants: Vec<Span> = chosen.iter().flat_map(|&nth| points[nth].spans()).collect();
    wants.sort_by_key(|want| (want.table, want.register, want.count));
    wants.dedup();
    let reads = merge(wants.clone(), rules);
    let groups = groups(points, chosen, &reads);
    let in_group = |group: usize, span: &Span| {
        reads.iter().zip(&groups).any(|(read, of)| *of == group && read.covers(span))
    };
    let question = |group: usize| Question {
        points: chosen.iter().copied().filter(|&nth| in_group(group, &points[nth].span())).collect(),
        wants: wants.iter().filter(|want| in_group(group, want)).copied().collect(),
        reads: reads.iter().zip(&groups).filter(|(_, of)| **of == group).map(|(read, _)| *read).collect(),
    };
    (0..reads.len()).filter(|group| groups.contains(group)).map(question).collect()
}

/// Which reads belong together, since a point needs them all: for each the first of its group.
fn groups(points: &[Point], chosen: &[usize], reads: &[Span]) -> Vec<usize> {
    let mut groups: Vec<usize> = (0..reads.len()).collect();
    for &nth in chosen {
        let needed = |span: Span| reads.iter().position(|read| read.covers(&span)).map(|read| groups[read]);
        let joined: Vec<usize> = points[nth].spans().filter_map(needed).collect();
        let Some(&first) = joined.iter().min() else { continue };
        for group in groups.iter_mut().filter(|group| joined.contains(group)) {
            *group = first;
        }
    }
    groups
}

impl Point {
    /// What it stands in.
    pub(super) fn span(&self) -> Span {
        Span { table: self.table, register: self.register, count: self.kind.registers() }
    }

    /// With what says how to read it.
    pub(super) fn spans(&self) -> impl Iterator<Item = Span> + use<> {
        let one = |table, register| Span { table, register, count: 1 };
        let decimals = self.by.decimals.map(|(table, register)| one(table, register));
        let unit = self.by.unit.as_ref().map(|(table, register, _)| one(*table, *register));
        [Some(self.span()), decimals, unit].into_iter().flatten()
    }
}

impl Merge {
    /// Whether one request may read both; `want` begins no lower.
    fn joins(&self, read: &Span, want: &Span) -> bool {
        if read.covers(want) {
            return true;
        }
        let count = want.end().max(read.end()) - u32::from(read.register);
        read.table == want.table
            && count <= u32::from(self.most(read.table))
            && self.bridges(read.end(), want.register)
    }

    fn most(&self, table: Table) -> u16 {
        match table.is_bits() {
            true => self.max_registers.saturating_mul(BITS_A_REGISTER).min(BITS_MOST),
            false => self.max_registers.min(REGISTERS_MOST),
        }
    }

    /// Whether what lies between may be read along.
    fn bridges(&self, end: u32, next: u16) -> bool {
        let next = u32::from(next);
        let avoided = |(first, last): &(u16, u16)| u32::from(*first) < next && end <= u32::from(*last);
        next <= end || next - end <= u32::from(self.max_gap) && !self.avoid.iter().any(avoided)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::By;
    use super::*;
    use crate::field::decode::Type;
    use crate::field::fuzz::Chance;
    use crate::reading::{DeviceId, PointId};

    const SECOND: Duration = Duration::from_secs(1);

    fn point(table: Table, register: u16, kind: Type) -> Point {
        Point::new(PointId(0), table, register, kind)
    }

    fn device(points: Vec<Point>, merge: Merge) -> Device {
        Device { merge, ..Device::new(DeviceId(0), 1, SECOND, points) }
    }

    fn span(table: Table, register: u16, count: u16) -> Span {
        Span { table, register, count }
    }

    fn gap(max_gap: u16) -> Merge {
        Merge { max_gap, ..Merge::default() }
    }

    /// Register and count of each request, the table aside.
    fn reads(points: &[Point], merge: Merge) -> Vec<(u16, u16)> {
        let rounds = plan(&device(points.to_vec(), merge));
        let questions = rounds.iter().flat_map(|round| &round.questions);
        questions.flat_map(|q| &q.reads).map(|read| (read.register, read.count)).collect()
    }

    #[test]
    fn adjoining_registers_are_one_request_and_gaps_are_bridged_as_far_as_is_allowed() {
        use Table::Holding;
        let points = [
            point(Holding, 5, Type::F32),
            point(Holding, 0, Type::U16),
            point(Holding, 1, Type::U16),
            point(Holding, 7, Type::U64),
        ];
        assert_eq!(reads(&points, gap(0)), [(0, 2), (5, 6)]);
        assert_eq!(reads(&points, gap(2)), [(0, 2), (5, 6)]);
        assert_eq!(reads(&points, gap(3)), [(0, 11)]);
    }

    #[test]
    fn what_must_not_be_touched_is_not_read_along() {
        let points = [0, 4, 9].map(|register| point(Table::Holding, register, Type::U16));
        let avoiding = |avoid: &[(u16, u16)]| Merge { avoid: avoid.to_vec(), ..gap(10) };
        assert_eq!(reads(&points, avoiding(&[])), [(0, 10)]);
        assert_eq!(reads(&points, avoiding(&[(1, 1)])), [(0, 1), (4, 6)]);
        assert_eq!(reads(&points, avoiding(&[(3, 3)])), [(0, 1), (4, 6)]);
        assert_eq!(reads(&points, avoiding(&[(5, 20)])), [(0, 5), (9, 1)]);
        assert_eq!(
            reads(&points, avoiding(&[(0, 65535)])),
            [(0, 1), (4, 1), (9, 1)],
            "what is asked for is asked"
        );
        assert_eq!(reads(&points, avoiding(&[(10, 65535)])), [(0, 10)]);
    }

    #[test]
    fn no_value_is_cut_and_no_request_is_longer_than_the_device_takes() {
        let points = [
            point(Table::Input, 0, Type::U16),
            point(Table::Input, 1, Type::U64),
            point(Table::Input, 5, Type::U16),
        ];
        let most = |max_registers| Merge { max_registers, ..Merge::default() };
        assert_eq!(reads(&points, most(6)), [(0, 6)]);
        assert_eq!(reads(&points, most(5)), [(0, 5), (5, 1)]);
        assert_eq!(reads(&points, most(4)), [(0, 1), (1, 4), (5, 1)]);
        assert_eq!(
            reads(&points, most(1)),
            [(0, 1), (1, 4), (5, 1)],
            "a value is not cut, however little is allowed"
        );
        let coils: Vec<_> = (0..40).map(|n| point(Table::Coil, n, Type::Bool)).collect();
        assert_eq!(reads(&coils, most(2)), [(0, 32), (32, 8)]);
    }

    #[test]
    fn tables_are_never_mixed_and_no_request_is_above_the_standards() {
        let registers = (0..300).map(|r| point(Table::Input, r, Type::U16));
        let bits = (0..2001).map(|r| point(Table::Coil, r, Type::Bool));
        let points: Vec<_> = registers.chain(bits).collect();
        assert_eq!(reads(&points, gap(100)), [(0, 2000), (2000, 1), (0, 125), (125, 125), (250, 50)]);
        assert_eq!(reads(&[], gap(0)), []);
    }

    #[test]
    fn points_may_share_registers() {
        let points = [(3, Type::Bool), (3, Type::Bits), (2, Type::U32)];
        let points = points.map(|(register, kind)| point(Table::Input, register, kind));
        let rounds = plan(&device(points.to_vec(), gap(0)));
        let question = &rounds[0].questions[0];
        assert_eq!(question.reads, [span(Table::Input, 2, 2)]);
        assert_eq!(question.points, [0, 1, 2]);
        assert_eq!(question.wants, [span(Table::Input, 2, 2), span(Table::Input, 3, 1)]);
    }

    #[test]
    fn the_last_register_is_no_trap() {
        let points = [point(Table::Holding, 65535, Type::U64), point(Table::Holding, 0, Type::U16)];
        assert_eq!(reads(&points, gap(65535)), [(0, 1), (65535, 4)]);
    }

    #[test]
    fn points_of_one_period_are_planned_together_and_only_those() {
        let every = |register, seconds: u64| Point {
            poll: (seconds > 0).then(|| SECOND * seconds as u32),
            ..point(Table::Input, register, Type::U16)
        };
        let rounds =
            plan(&device(vec![every(0, 0), every(1, 60), every(2, 0), every(3, 60), every(4, 1)], gap(1)));
        let told: Vec<_> =
            rounds.iter().map(|r| (r.every, r.points.clone(), r.questions[0].reads.clone())).collect();
        assert_eq!(
            told,
            [
                (SECOND, vec![0, 2, 4], vec![span(Table::Input, 0, 5)]),
                (SECOND * 60, vec![1, 3], vec![span(Table::Input, 1, 3)])
            ]
        );
    }

    #[test]
    fn what_says_how_to_read_a_value_is_read_in_the_same_question() {
        use Table::Holding;
        let codes = vec![(16, Arc::from("m"))];
        let by = |decimals, unit| By {
            decimals: Some((Holding, decimals)),
            unit: Some((Holding, unit, codes.clone())),
        };
        let level = Point { by: by(3, 2), ..point(Holding, 4, Type::I16) };
        let near = plan(&device(vec![level.clone()], gap(0)));
        assert_eq!(near[0].questions.len(), 1);
        assert_eq!(near[0].questions[0].reads, [span(Holding, 2, 3)]);

        let far = Point { by: by(900, 2), ..level };
        let other = point(Holding, 500, Type::U16);
        let rounds = plan(&device(vec![other, far], gap(0)));
        let told: Vec<_> = rounds[0].questions.iter().map(|q| (q.points.clone(), q.reads.clone())).collect();
        let one = |register| span(Holding, register, 1);
        assert_eq!(told, [(vec![1], vec![one(2), one(4), one(900)]), (vec![0], vec![one(500)])]);
    }

    // --- against the least possible ---

    /// By trying every way to put the wants into requests.
    fn least(wants: &[Span], rules: &Merge) -> usize {
        fn place(wants: &[Span], groups: &mut Vec<Vec<Span>>, rules: &Merge, best: &mut usize) {
            let Some((first, rest)) = wants.split_first() else {
                if groups.iter().all(|group| allowed(group, rules)) {
                    *best = groups.len().min(*best);
                }
                return;
            };
            for i in 0..groups.len() {
                groups[i].push(*first);
                place(rest, groups, rules, best);
                groups[i].pop();
            }
            if groups.len() + 1 < *best {
                groups.push(vec![*first]);
                place(rest, groups, rules, best);
                groups.pop();
            }
        }
        let mut best = usize::MAX;
        place(wants, &mut Vec::new(), rules, &mut best);
        best
    }

    /// Whether one request may read all of these: register by register, so that it is not the planner over again.
    fn allowed(group: &[Span], rules: &Merge) -> bool {
        let first = group.iter().map(|s| u32::from(s.register)).min().unwrap();
        let end = group.iter().map(Span::end).max().unwrap();
        let most =
            if group[0].table.is_bits() { (rules.max_registers * 16).min(2000) } else { rules.max_registers };
        let asked = |r: u32| group.iter().any(|s| (u32::from(s.register)..s.end()).contains(&r));
        let avoided = |r: u32| rules.avoid.iter().any(|(a, b)| (u32::from(*a)..=u32::from(*b)).contains(&r));
        let mut idle = 0;
        for r in first..end {
            idle = if asked(r) { 0 } else { idle + 1 };
            if idle > u32::from(rules.max_gap) || idle > 0 && avoided(r) {
                return false;
            }
        }
        group.iter().all(|s| s.table == group[0].table)
            && (group.len() == 1 || end - first <= u32::from(most))
    }

    #[test]
    fn no_way_to_merge_has_fewer_requests() {
        let mut chance = Chance::new(3);
        for _ in 0..3_000 {
            let wants: Vec<Span> = (0..1 + chance.below(6))
                .map(|_| {
                    let table = if chance.below(4) == 0 { Table::Input } else { Table::Holding };
                    span(table, chance.below(24) as u16, 1 + chance.below(4) as u16)
                })
                .collect();
            let first = chance.below(20) as u16;
            let rules = Merge {
                max_gap: chance.below(6) as u16,
                max_registers: 4 + chance.below(12) as u16,
                avoid: vec![(first, first + chance.below(3) as u16)],
            };
            let ours = merge(wants.clone(), &rules);
            assert!(ours.iter().all(|r| wants.iter().any(|w| w.register == r.register)));
            for want in &wants {
                assert!(ours.iter().any(|read| read.covers(want)), "{want:?} is read by none of {ours:?}");
            }
            assert_eq!(ours.len(), least(&wants, &rules), "{wants:?} {rules:?} {ours:?}");
        }
    }

    /// Devices of devices.md: what they are asked for, and how far apart their makers put it.
    fn devices() -> Vec<(&'static str, Vec<Span>, Merge)> {
        use Table::{Coil, Discrete, Holding, Input};
        let f32s =
            |table, registers: &[u16]| registers.iter().map(|r| span(table, *r, 2)).collect::<Vec<_>>();
        let u16s =
            |table, registers: &[u16]| registers.iter().map(|r| span(table, *r, 1)).collect::<Vec<_>>();
        let bits = |table| (0..8).map(move |r| span(table, r, 1));
        let sdm630 = [0, 2, 4, 6, 8, 10, 0x34, 0x3E, 0x46, 0x156];
        let dtsu666 = [0x2006, 0x2008, 0x200A, 0x200C, 0x200E, 0x2010, 0x2012, 0x202A, 0x2044, 0x101E];
        let pzem = [(0, 1), (1, 2), (3, 2), (5, 2), (7, 1), (8, 1)];
        // What lies between its blocks is described nowhere.
        let sdm = Merge { max_gap: 64, max_registers: 80, avoid: vec![(0x54, 0x155)] };
        vec![
            ("XY-MD02", u16s(Input, &[1, 2]), gap(0)),
            ("SDM120", f32s(Input, &[0, 6, 12, 30, 70, 0x156]), Merge { max_registers: 40, ..gap(16) }),
            ("SDM630", f32s(Input, &sdm630), sdm),
            ("DTSU666", f32s(Holding, &dtsu666), gap(32)),
            ("PZEM-016", pzem.map(|(register, count)| span(Input, register, count)).to_vec(), gap(0)),
            ("APC NMC2", u16s(Holding, &[3, 5, 6, 12]), gap(8)),
            ("weather station", u16s(Holding, &[500, 503, 504, 505, 507, 508, 509, 513]), gap(4)),
            ("Waveshare D8", bits(Coil).chain(bits(Discrete)).collect(), gap(0)),
        ]
    }

    /// Points that adjoin are one to the brute force: any request that takes a part of a run may take all of it as long
    /// as it fits, and here every run does. Without that it would try 16! ways for sixteen coils.
    fn runs(wants: &[Span]) -> Vec<Span> {
        merge(wants.to_vec(), &gap(0))
    }

    /// `cargo test --lib merging_table -- --nocapture` prints it.
    #[test]
    fn merging_table() {
        println!("| device | values | one by one | ours | least possible |\n|---|---|---|---|---|");
        for (name, wants, rules) in devices() {
            let ours = merge(wants.clone(), &rules).len();
            let parts = if wants.len() > 10 { runs(&wants) } else { wants.clone() };
            let least = least(&parts, &rules);
            println!("| {name} | {0} | {0} | {ours} | {least} |", wants.len());
            assert_eq!(ours, least, "{name}");
        }
    }
}
