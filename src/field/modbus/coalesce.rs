//! Points → requests: registers that lie together are read together. Planned once, at start. Pure.
//!
//! Gaps are not bridged: some devices answer a register they do not have with an exception for the whole request.

use super::Point;
use super::pdu::{BITS_MOST, REGISTERS_MOST, Request};

/// One request and the points that it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    pub request: Request,
    /// Indices into the device's points, with the place of each in the answer's words.
    pub points: Vec<(usize, usize)>,
}

/// The fewest requests that read all `points`, by table and register.
pub fn coalesce(points: &[Point]) -> Vec<Read> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by_key(|&i| (points[i].table, points[i].register));
    let mut reads: Vec<Read> = Vec::new();
    for i in order {
        let point = &points[i];
        if !reads.last_mut().is_some_and(|read| read.take(i, point)) {
            reads.push(Read::of(i, point));
        }
    }
    reads
}

impl Read {
    fn of(index: usize, point: &Point) -> Self {
        Self {
            request: Request { table: point.table, register: point.register, count: point.kind.registers() },
            points: vec![(index, 0)],
        }
    }

    /// Takes the point in if it adjoins or overlaps and there is room. Points come by ascending register.
    fn take(&mut self, index: usize, point: &Point) -> bool {
        if point.table != self.request.table {
            return false;
        }
        let most = if point.table.is_bits() { BITS_MOST } else { REGISTERS_MOST };
        let place = point.register - self.request.register;
        let count = self.request.count.max(place.saturating_add(point.kind.registers()));
        let fits = place <= self.request.count && count <= most;
        if fits {
            self.request.count = count;
            self.points.push((index, place.into()));
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::super::Table;
    use super::*;
    use crate::field::decode::{Order, Transform, Type};
    use crate::reading::PointId;

    fn point(table: Table, register: u16, kind: Type) -> Point {
        Point {
            id: PointId(0),
            table,
            register,
            kind,
            order: Order::Abcd,
            bit: None,
            transform: Transform::default(),
            poll: None,
            by: super::super::By::default(),
        }
    }

    type Planned = (Table, u16, u16, Vec<(usize, usize)>);

    fn plan(points: &[Point]) -> Vec<Planned> {
        coalesce(points)
            .into_iter()
            .map(|r| (r.request.table, r.request.register, r.request.count, r.points))
            .collect()
    }

    #[test]
    fn adjoining_registers_are_one_request_and_gaps_are_not_bridged() {
        use Table::Holding;
        let points = [
            point(Holding, 4, Type::F32),
            point(Holding, 0, Type::U16),
            point(Holding, 1, Type::U16),
            point(Holding, 6, Type::U64),
        ];
        assert_eq!(
            plan(&points),
            [(Holding, 0, 2, vec![(1, 0), (2, 1)]), (Holding, 4, 6, vec![(0, 0), (3, 2)])]
        );
    }

    #[test]
    fn points_may_share_registers() {
        use Table::Input;
        let points = [point(Input, 3, Type::Bool), point(Input, 3, Type::Bits), point(Input, 2, Type::U32)];
        assert_eq!(plan(&points), [(Input, 2, 2, vec![(2, 0), (0, 1), (1, 1)])]);
    }

    #[test]
    fn tables_are_never_mixed_and_no_request_is_too_long() {
        let registers = (0..300).map(|r| point(Table::Input, r, Type::U16));
        let bits = (0..2001).map(|r| point(Table::Coil, r, Type::Bool));
        let counts: Vec<_> = plan(&registers.chain(bits).collect::<Vec<_>>())
            .into_iter()
            .map(|(table, register, count, _)| (table, register, count))
            .collect();
        assert_eq!(
            counts,
            [
                (Table::Coil, 0, 2000),
                (Table::Coil, 2000, 1),
                (Table::Input, 0, 125),
                (Table::Input, 125, 125),
                (Table::Input, 250, 50)
            ]
        );
        assert_eq!(plan(&[]), []);
    }

    #[test]
    fn the_last_register_is_no_trap() {
        let points = [point(Table::Holding, 65535, Type::U64), point(Table::Holding, 0, Type::U16)];
        assert_eq!(plan(&points).len(), 2);
    }
}
