//! What decoders share: frames found amid other bytes, and one bit a cell, as a board tells them.

/// Bit `n` is the cell with index `n`; there are `width` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bits {
    bits: u64,
    width: usize,
}

impl Bits {
    /// The lowest bit of the first byte is the first cell; more than 64 are not looked at.
    pub fn low_first<'a>(bytes: impl IntoIterator<Item = &'a u8>) -> Self {
        let bytes = bytes.into_iter().take(8).zip(0..);
        bytes.fold(Self { bits: 0, width: 0 }, |all, (byte, nth)| Self {
            bits: all.bits | u64::from(*byte) << (8 * nth),
            width: all.width + 8,
        })
    }

    /// `None` where the board has no such cell.
    pub fn get(self, nth: usize) -> Option<bool> {
        (nth < self.width).then(|| self.bits >> nth & 1 == 1)
    }
}

/// What stands in `bytes`, where it is one thing only: two that differ cannot both be the answer.
pub fn only<T: PartialEq>(mut found: impl Iterator<Item = T>) -> Option<T> {
    let first = found.next()?;
    found.all(|other| other == first).then_some(first)
}

/// All right frames, wherever they begin. `frame_at`: the one at the beginning of these bytes, and its length.
pub fn each<'a, T>(
    bytes: &'a [u8],
    frame_at: impl Fn(&'a [u8]) -> Option<(usize, T)>,
) -> impl Iterator<Item = T> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() {
            let found = frame_at(&bytes[at..]);
            at += found.as_ref().map_or(1, |(length, _)| (*length).max(1));
            if let Some((_, frame)) = found {
                return Some(frame);
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_a_cell_and_none_beyond() {
        let bits = Bits::low_first(&[0x01, 0x80]);
        let set: Vec<_> = (0..16).filter(|n| bits.get(*n) == Some(true)).collect();
        assert_eq!(set, [0, 15]);
        assert_eq!(bits.get(16), None);
        assert_eq!(Bits::low_first(&[0xFF; 20]).get(64), None);
    }

    #[test]
    fn what_contradicts_itself_is_nothing() {
        assert_eq!(only([1, 1].into_iter()), Some(1));
        assert_eq!(only([1, 2].into_iter()), None);
        assert_eq!(only([0; 0].into_iter()), None);
    }
}
