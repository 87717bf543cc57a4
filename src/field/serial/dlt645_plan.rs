//! Which questions read a meter's points. Pure.
//!
//! Each DI is asked once. Voltages, currents and powers of several phases, and energies of several tariffs, stand in one
//! block, whose DI has FF in the place of the phase: one question instead of three or four, which at 2400 baud is most
//! of a second. A meter that does not know a block is asked for each DI by itself.

use super::dlt645::{bytes_of, value};
use super::{Item, Point};

/// What one question is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Of the block, where there is one.
    pub block: Option<u32>,
    /// Each DI with its place in the block and the points that it is for.
    pub parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub di: u32,
    digits: u8,
    signed: bool,
    nth: usize,
    /// By index.
    pub points: Vec<usize>,
}

/// The two high bytes of what comes in blocks, and the number of its first phase or tariff.
const BLOCKS: [(u32, u32); 9] = [
    (0x0000, 0), // energy, total and tariffs: combined, forward, reverse
    (0x0001, 0),
    (0x0002, 0),
    (0x0201, 1), // voltage of the phases
    (0x0202, 1), // current
    (0x0203, 0), // power, total and phases: active, reactive, apparent
    (0x0204, 0),
    (0x0205, 0),
    (0x0206, 0), // power factor
];
/// Of these a meter has so many at the most.
const PHASES_MOST: u32 = 3;
const TARIFFS_MOST: u32 = 63;

/// The questions for these points; points of another protocol are left out.
pub fn plan(points: &[Point]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for part in parts(points) {
        let block = block_of(part.di);
        let is_same = |group: &&mut Group| {
            let first = &group.parts[0];
            block.is_some() && block_of(first.di) == block && first.digits == part.digits
        };
        match groups.iter_mut().find(is_same) {
            Some(group) => {
                group.block = block;
                group.parts.push(part);
            }
            None => groups.push(Group { block: None, parts: vec![part] }),
        }
    }
    groups
}

impl Part {
    /// What the answer to its own DI says.
    pub fn value(&self, data: &[u8]) -> Option<i64> {
        value(data, self.di, self.digits, self.signed)
    }

    pub fn bytes(&self) -> usize {
        bytes_of(self.digits)
    }
}

impl Group {
    /// What a block says of each part; `None` where it is not made of such values, or too short.
    pub fn values(&self, data: &[u8]) -> Option<Vec<Option<i64>>> {
        let bytes = self.parts.first()?.bytes();
        if bytes == 0 || !data.len().is_multiple_of(bytes) {
            return None;
        }
        let part = |part: &Part| data.chunks(bytes).nth(part.nth).map(|data| part.value(data));
        self.parts.iter().map(part).collect()
    }
}

/// Each DI once; points that see it with other digits are parts of their own.
fn parts(points: &[Point]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for (nth, point) in points.iter().enumerate() {
        let Item::Dlt645 { di, digits, signed } = point.item else { continue };
        match parts.iter_mut().find(|p| (p.di, p.digits, p.signed) == (di, digits, signed)) {
            Some(part) => part.points.push(nth),
            None => {
                let nth_of_block = block_of(di).map_or(0, |_| (di >> 8 & 0xFF) - first_of(di));
                parts.push(Part { di, digits, signed, nth: nth_of_block as usize, points: vec![nth] });
            }
        }
    }
    parts
}

fn block_of(di: u32) -> Option<u32> {
    let (kind, member) = (di >> 16, di >> 8 & 0xFF);
    let (_, first) = BLOCKS.iter().find(|(block, _)| *block == kind)?;
    let most = if kind < 0x0200 { TARIFFS_MOST } else { PHASES_MOST };
    (di & 0xFF == 0 && (*first..=most).contains(&member)).then_some(di | 0xFF00)
}

fn first_of(di: u32) -> u32 {
    BLOCKS.iter().find(|(block, _)| *block == di >> 16).map_or(0, |(_, first)| *first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::decode::Transform;
    use crate::reading::PointId;

    fn points(dis: &[(u32, u8)]) -> Vec<Point> {
        let point = |(n, &(di, digits)): (usize, &(u32, u8))| Point {
            id: PointId(n as u32),
            item: Item::Dlt645 { di, digits, signed: true },
            transform: Transform::default(),
        };
        dis.iter().enumerate().map(point).collect()
    }

    fn blocks(dis: &[(u32, u8)]) -> Vec<(Option<u32>, Vec<u32>)> {
        let group = |g: &Group| (g.block, g.parts.iter().map(|p| p.di).collect());
        plan(&points(dis)).iter().map(group).collect()
    }

    #[test]
    fn phases_are_asked_together_and_single_values_by_themselves() {
        let three_phases = [
            (0x0000_0000, 8),
            (0x0201_0100, 4),
            (0x0201_0200, 4),
            (0x0201_0300, 4),
            (0x0202_0100, 6),
            (0x0202_0300, 6),
            (0x0203_0000, 6),
            (0x0280_0002, 4),
        ];
        assert_eq!(
            blocks(&three_phases),
            [
                (None, vec![0]),
                (Some(0x0201_FF00), vec![0x0201_0100, 0x0201_0200, 0x0201_0300]),
                (Some(0x0202_FF00), vec![0x0202_0100, 0x0202_0300]),
                (None, vec![0x0203_0000]),
                (None, vec![0x0280_0002]),
            ]
        );
    }

    #[test]
    fn a_di_is_asked_once() {
        let groups = plan(&points(&[(0, 8), (0, 8), (0x0280_0002, 4), (0x0280_0003, 4)]));
        let asked: Vec<_> = groups.iter().map(|g| (g.parts[0].di, g.parts[0].points.clone())).collect();
        assert_eq!(asked, [(0, vec![0, 1]), (0x0280_0002, vec![2]), (0x0280_0003, vec![3])]);
    }

    #[test]
    fn a_block_is_split_at_its_places() {
        let groups = plan(&points(&[(0x0202_0100, 6), (0x0202_0300, 6)]));
        let data = [0x23, 0x51, 0x00, 0xAA, 0xAA, 0xAA, 0x45, 0x00, 0x80];
        assert_eq!(groups[0].values(&data), Some(vec![Some(5123), Some(-45)]));
        assert_eq!(groups[0].values(&data[..6]), None, "too short");
        assert_eq!(groups[0].values(&data[..8]), None, "not made of such values");
        let totals = plan(&points(&[(0x0203_0000, 6), (0x0203_0100, 6)]));
        assert_eq!(totals[0].values(&[1, 0, 0, 2, 0, 0]), Some(vec![Some(1), Some(2)]));
    }
}
