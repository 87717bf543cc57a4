//! What is asked and answered, whatever frame it travels in: the four read functions. Pure.

use super::Table;

/// So much fits into one answer.
pub const REGISTERS_MOST: u16 = 125;
pub const BITS_MOST: u16 = 2000;

/// Function, address, count.
pub const REQUEST_BYTES: usize = 5;

/// In the answer's function code: the device could not do it, a code follows.
const EXCEPTION: u8 = 0x80;

/// One read. Which unit it goes to is the frame's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    pub table: Table,
    pub register: u16,
    /// Registers, or bits of coils and discrete inputs.
    pub count: u16,
}

/// A unit's answer to a [`Request`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// Exactly the bytes that were asked for.
    Data(&'a [u8]),
    Exception(u8),
}

impl Table {
    fn function(self) -> u8 {
        match self {
            Table::Coil => 1,
            Table::Discrete => 2,
            Table::Holding => 3,
            Table::Input => 4,
        }
    }

    /// Whether it holds single bits.
    pub fn is_bits(self) -> bool {
        matches!(self, Table::Coil | Table::Discrete)
    }
}

impl Request {
    pub fn bytes(&self) -> [u8; REQUEST_BYTES] {
        let [register_high, register_low] = self.register.to_be_bytes();
        let [count_high, count_low] = self.count.to_be_bytes();
        [self.table.function(), register_high, register_low, count_high, count_low]
    }

    /// How many bytes of data answer it.
    pub fn data_bytes(&self) -> usize {
        match self.table.is_bits() {
            true => usize::from(self.count).div_ceil(8),
            false => usize::from(self.count) * 2,
        }
    }

    /// The answer in `pdu` if it is one to this request: its function, and its very length.
    pub fn answer<'a>(&self, pdu: &'a [u8]) -> Option<Answer<'a>> {
        let function = self.table.function();
        match pdu {
            [f, code] if *f == function | EXCEPTION => Some(Answer::Exception(*code)),
            [f, count, data @ ..]
                if *f == function && usize::from(*count) == data.len() && data.len() == self.data_bytes() =>
            {
                Some(Answer::Data(data))
            }
            _ => None,
        }
    }
}

/// How long the answer that begins with `function` and the byte after it is, if it can begin one to any read.
pub fn answer_length(function: u8, second: u8) -> Option<usize> {
    match (function, second) {
        (1..=2, 1..=250) => Some(2 + usize::from(second)),
        (3..=4, 2..=250) if second.is_multiple_of(2) => Some(2 + usize::from(second)),
        (0x81..=0x84, 1..) => Some(2),
        _ => None,
    }
}

/// The words of a read of registers, or a word of 0 or 1 for each bit.
pub fn words(request: &Request, data: &[u8], into: &mut Vec<u16>) {
    into.clear();
    if request.table.is_bits() {
        let bit = |i: usize| data.get(i / 8).map_or(0, |byte| byte >> (i % 8) & 1);
        into.extend((0..usize::from(request.count)).map(|i| u16::from(bit(i))));
    } else {
        into.extend(data.as_chunks::<2>().0.iter().map(|word| u16::from_be_bytes(*word)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(table: Table, register: u16, count: u16) -> Request {
        Request { table, register, count }
    }

    #[test]
    fn requests_are_function_address_count() {
        assert_eq!(request(Table::Input, 0x0156, 2).bytes(), [4, 1, 0x56, 0, 2]);
        assert_eq!(request(Table::Holding, 0x2000, 16).bytes(), [3, 0x20, 0, 0, 16]);
        assert_eq!(request(Table::Coil, 0, 8).bytes(), [1, 0, 0, 0, 8]);
        assert_eq!(request(Table::Discrete, 0, 8).bytes(), [2, 0, 0, 0, 8]);
    }

    #[test]
    fn only_the_asked_function_and_length_is_an_answer() {
        let two = request(Table::Input, 1, 2);
        assert_eq!(two.answer(&[4, 4, 1, 0x31, 2, 0x22]), Some(Answer::Data(&[1, 0x31, 2, 0x22])));
        assert_eq!(two.answer(&[0x84, 2]), Some(Answer::Exception(2)));
        for wrong in [
            &[3, 4, 1, 0x31, 2, 0x22][..], // another function
            &[4, 2, 1, 0x31],              // fewer registers
            &[4, 4, 1, 0x31, 2],           // cut
            &[4, 4, 1, 0x31, 2, 0x22, 0],  // too long
            &[0x83, 2],
            &[0x84],
            &[],
        ] {
            assert_eq!(two.answer(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn bits_are_words_of_0_and_1_lowest_first() {
        let mut words_of = Vec::new();
        words(&request(Table::Discrete, 0, 10), &[0x81, 0x02], &mut words_of);
        assert_eq!(words_of, [1, 0, 0, 0, 0, 0, 0, 1, 0, 1]);
        words(&request(Table::Holding, 0, 2), &[1, 2, 3, 4], &mut words_of);
        assert_eq!(words_of, [0x0102, 0x0304]);
    }
}
