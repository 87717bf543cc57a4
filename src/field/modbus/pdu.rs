//! What is asked and answered, whatever frame it travels in: the four read functions and the six that write. Pure.

use super::{Table, Write};

/// So much fits into one answer.
pub const REGISTERS_MOST: u16 = 125;
pub const BITS_MOST: u16 = 2000;

/// So much fits into one write, and into one that reads as well.
const WRITE_BITS_MOST: usize = 1968;
const WRITE_REGISTERS_MOST: usize = 123;
const READ_WRITE_REGISTERS_MOST: usize = 121;

const READ_WRITE: u8 = 23;

/// In the answer's function code: the device could not do it, a code follows.
const EXCEPTION: u8 = 0x80;

/// Registers, or bits of coils and discrete inputs, that lie together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub table: Table,
    pub register: u16,
    pub count: u16,
}

/// One question. Which unit it goes to is the frame's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    Read(Span),
    Write(Write),
}

/// A unit's answer to a [`Request`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// Exactly the bytes that were asked for.
    Data(&'a [u8]),
    /// It repeats what it was told to write.
    Written,
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

// --- Span ---

impl Span {
    /// The register behind the last one.
    pub fn end(&self) -> u32 {
        u32::from(self.register) + u32::from(self.count)
    }

    pub fn covers(&self, other: &Span) -> bool {
        self.table == other.table && self.register <= other.register && other.end() <= self.end()
    }

    /// How many bytes of data answer it.
    fn data_bytes(&self) -> usize {
        match self.table.is_bits() {
            true => usize::from(self.count).div_ceil(8),
            false => usize::from(self.count) * 2,
        }
    }

    /// The words of registers, or a word of 0 or 1 for each bit.
    fn words(&self, data: &[u8], into: &mut Vec<u16>) {
        if self.table.is_bits() {
            let bit = |i: usize| data.get(i / 8).map_or(0, |byte| byte >> (i % 8) & 1);
            into.extend((0..usize::from(self.count)).map(|i| u16::from(bit(i))));
        } else {
            into.extend(data.as_chunks::<2>().0.iter().map(|word| u16::from_be_bytes(*word)));
        }
    }
}

// --- Write ---

impl Write {
    fn function(&self) -> u8 {
        match self {
            Write::Coil { .. } => 5,
            Write::Register { .. } => 6,
            Write::Coils { .. } => 15,
            Write::Registers { .. } => 16,
            Write::Mask { .. } => 22,
            Write::ReadWrite { .. } => READ_WRITE,
        }
    }

    /// Whether one request holds it.
    pub fn fits(&self) -> bool {
        match self {
            Write::Coil { .. } | Write::Register { .. } | Write::Mask { .. } => true,
            Write::Coils { on, .. } => (1..=WRITE_BITS_MOST).contains(&on.len()),
            Write::Registers { words, .. } => (1..=WRITE_REGISTERS_MOST).contains(&words.len()),
            Write::ReadWrite { words, count, .. } => {
                (1..=READ_WRITE_REGISTERS_MOST).contains(&words.len()) && (1..=REGISTERS_MOST).contains(count)
            }
        }
    }

    fn put(&self, into: &mut Vec<u8>) {
        match self {
            Write::Coil { at, word } | Write::Register { at, word } => put_words(&[*at, *word], into),
            Write::Coils { at, on } => {
                put_words(&[*at, on.len() as u16], into);
                into.push(on.len().div_ceil(8) as u8);
                into.extend(on.chunks(8).map(|eight| {
                    eight.iter().enumerate().fold(0, |byte, (i, &on)| byte | u8::from(on) << i)
                }));
            }
            Write::Registers { at, words } => {
                put_words(&[*at, words.len() as u16], into);
                into.push(words.len() as u8 * 2);
                put_words(words, into);
            }
            Write::Mask { at, and, or } => put_words(&[*at, *and, *or], into),
            Write::ReadWrite { at, words, read, count } => {
                put_words(&[*read, *count, *at, words.len() as u16], into);
                into.push(words.len() as u8 * 2);
                put_words(words, into);
            }
        }
    }

    /// Whether these bytes behind the function code repeat what was written, as far as its answer does.
    fn is_repeated(&self, said: &[u8]) -> bool {
        let words: &[u16] = match self {
            Write::Coil { at, word } | Write::Register { at, word } => &[*at, *word],
            Write::Coils { at, on } => &[*at, on.len() as u16],
            Write::Registers { at, words } => &[*at, words.len() as u16],
            Write::Mask { at, and, or } => &[*at, *and, *or],
            Write::ReadWrite { .. } => return false,
        };
        said.len() == words.len() * 2
            && said.as_chunks::<2>().0.iter().zip(words).all(|(a, b)| u16::from_be_bytes(*a) == *b)
    }
}

fn put_words(words: &[u16], into: &mut Vec<u8>) {
    into.extend(words.iter().flat_map(|word| word.to_be_bytes()));
}

// --- Request ---

impl Request {
    pub fn function(&self) -> u8 {
        match self {
            Request::Read(span) => span.table.function(),
            Request::Write(write) => write.function(),
        }
    }

    /// Appends its bytes. A write has to fit ([`Write::fits`]).
    pub fn put(&self, into: &mut Vec<u8>) {
        into.push(self.function());
        match self {
            Request::Read(span) => put_words(&[span.register, span.count], into),
            Request::Write(write) => write.put(into),
        }
    }

    /// How long its answer is, when it is no exception.
    pub fn answer_bytes(&self) -> usize {
        match self {
            Request::Write(Write::Mask { .. }) => 7,
            Request::Write(Write::ReadWrite { count, .. }) => 2 + usize::from(*count) * 2,
            Request::Write(_) => 5,
            Request::Read(span) => 2 + span.data_bytes(),
        }
    }

    /// Whether its answer is the request over again, so that nobody can tell it from an echo of the line.
    pub fn is_mirrored(&self) -> bool {
        matches!(self, Request::Write(Write::Coil { .. } | Write::Register { .. } | Write::Mask { .. }))
    }

    /// The answer in `pdu` if it is one to this request: its function, and its very length.
    pub fn answer<'a>(&self, pdu: &'a [u8]) -> Option<Answer<'a>> {
        let function = self.function();
        match pdu {
            [f, code] if *f == function | EXCEPTION => Some(Answer::Exception(*code)),
            [f, rest @ ..] if *f == function => match self {
                Request::Write(write) if function != READ_WRITE => {
                    write.is_repeated(rest).then_some(Answer::Written)
                }
                _ => {
                    let (count, data) = rest.split_first()?;
                    let whole = usize::from(*count) == data.len() && pdu.len() == self.answer_bytes();
                    whole.then_some(Answer::Data(data))
                }
            },
            _ => None,
        }
    }

    /// The words that an answer holds.
    pub fn words(&self, data: &[u8], into: &mut Vec<u16>) {
        into.clear();
        match self {
            Request::Read(span) => span.words(data, into),
            Request::Write(Write::ReadWrite { read, count, .. }) => {
                Span { table: Table::Holding, register: *read, count: *count }.words(data, into);
            }
            Request::Write(_) => {}
        }
    }
}

/// How long the answer that begins with `function` and the byte after it is, if it can begin one to any request.
pub fn answer_length(function: u8, second: u8) -> Option<usize> {
    match (function, second) {
        (1..=2, 1..=250) => Some(2 + usize::from(second)),
        (3 | 4 | READ_WRITE, 2..=250) if second.is_multiple_of(2) => Some(2 + usize::from(second)),
        (5 | 6 | 15 | 16, _) => Some(5),
        (22, _) => Some(7),
        (0x81..=0x86 | 0x8F | 0x90 | 0x96 | 0x97, 1..) => Some(2),
        _ => None,
    }
}

/// An exception's code for people.
pub fn exception(code: u8) -> String {
    match meaning(code) {
        Some(what) => format!("exception {code}: {what}"),
        None => format!("exception {code}"),
    }
}

pub fn meaning(code: u8) -> Option<&'static str> {
    Some(match code {
        1 => "illegal function",
        2 => "illegal data address",
        3 => "illegal data value",
        DEVICE_FAILURE => "device failure",
        ACKNOWLEDGED => "acknowledged, still working",
        6 => "device busy",
        8 => "memory parity error",
        GATEWAY_PATH_UNAVAILABLE => "gateway path unavailable",
        GATEWAY_NO_RESPONSE => "the gateway gets no answer from the unit",
        _ => return None,
    })
}

/// The exceptions by which a gateway says that the unit behind it does not answer.
pub const GATEWAY_PATH_UNAVAILABLE: u8 = 0x0A;
pub const GATEWAY_NO_RESPONSE: u8 = 0x0B;
/// The device does not have such a register, or not so many from there.
pub const ILLEGAL_ADDRESS: u8 = 2;
pub const ILLEGAL_VALUE: u8 = 3;
pub const ILLEGAL_FUNCTION: u8 = 1;
/// It began, and could not end.
pub const DEVICE_FAILURE: u8 = 4;
/// It has begun, and takes long.
pub const ACKNOWLEDGED: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::fuzz;

    fn read(table: Table, register: u16, count: u16) -> Request {
        Request::Read(Span { table, register, count })
    }

    fn bytes(request: &Request) -> Vec<u8> {
        let mut bytes = Vec::new();
        request.put(&mut bytes);
        bytes
    }

    fn written(write: Write) -> Vec<u8> {
        bytes(&Request::Write(write))
    }

    /// One of each, as the standard's examples have them where there is one.
    pub(crate) fn writes() -> [(Write, Vec<u8>, Vec<u8>); 6] {
        let coils = [1, 0, 1, 1, 0, 0, 1, 1, 1, 0].map(|on| on == 1).to_vec();
        let words = vec![0x00FF; 3];
        [
            (Write::Coil { at: 0xAC, word: 0xFF00 }, vec![5, 0, 0xAC, 0xFF, 0], vec![5, 0, 0xAC, 0xFF, 0]),
            (Write::Register { at: 1, word: 3 }, vec![6, 0, 1, 0, 3], vec![6, 0, 1, 0, 3]),
            (
                Write::Coils { at: 0x13, on: coils },
                vec![15, 0, 0x13, 0, 10, 2, 0xCD, 1],
                vec![15, 0, 0x13, 0, 10],
            ),
            (
                Write::Registers { at: 1, words: vec![0x0A, 0x0102] },
                vec![16, 0, 1, 0, 2, 4, 0, 0x0A, 1, 2],
                vec![16, 0, 1, 0, 2],
            ),
            (
                Write::Mask { at: 4, and: 0xF2, or: 0x25 },
                vec![22, 0, 4, 0, 0xF2, 0, 0x25],
                vec![22, 0, 4, 0, 0xF2, 0, 0x25],
            ),
            (
                Write::ReadWrite { at: 14, words, read: 3, count: 2 },
                vec![23, 0, 3, 0, 2, 0, 14, 0, 3, 6, 0, 0xFF, 0, 0xFF, 0, 0xFF],
                vec![23, 4, 0, 0xFE, 0x0A, 0xCD],
            ),
        ]
    }

    #[test]
    fn reads_are_function_address_count() {
        assert_eq!(bytes(&read(Table::Input, 0x0156, 2)), [4, 1, 0x56, 0, 2]);
        assert_eq!(bytes(&read(Table::Holding, 0x2000, 16)), [3, 0x20, 0, 0, 16]);
        assert_eq!(bytes(&read(Table::Coil, 0, 8)), [1, 0, 0, 0, 8]);
        assert_eq!(bytes(&read(Table::Discrete, 0, 8)), [2, 0, 0, 0, 8]);
    }

    #[test]
    fn writes_and_their_answers_are_the_standards() {
        for (write, asked, said) in writes() {
            let request = Request::Write(write.clone());
            assert_eq!(bytes(&request), asked, "{write:?}");
            assert_eq!(request.answer_bytes(), said.len(), "{write:?}");
            assert_eq!(answer_length(said[0], said[1]), Some(said.len()), "{write:?}");
            assert_eq!(request.is_mirrored(), asked == said, "{write:?}");
            let expected = match said[0] {
                23 => Answer::Data(&said[2..]),
                _ => Answer::Written,
            };
            assert_eq!(request.answer(&said), Some(expected), "{write:?}");
            assert_eq!(request.answer(&[said[0] | 0x80, 4]), Some(Answer::Exception(4)), "{write:?}");
        }
    }

    /// Not even one that differs by a bit: a write to relay 1 is not acknowledged by one to relay 2.
    #[test]
    fn only_what_repeats_the_write_acknowledges_it() {
        for (write, _, said) in writes() {
            let request = Request::Write(write.clone());
            let repeats = if said[0] == 23 { 2 } else { said.len() };
            for bit in 0..repeats * 8 {
                let mut other = said.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(request.answer(&other), None, "{write:?} {other:02X?}");
            }
            for end in 0..said.len() {
                assert_eq!(request.answer(&said[..end]), None, "{write:?} cut at {end}");
            }
            assert_eq!(request.answer(&[&said[..], &[0]].concat()), None, "{write:?}");
        }
    }

    #[test]
    fn a_coil_takes_any_word() {
        assert_eq!(written(Write::Coil { at: 0x0200, word: 7 }), [5, 2, 0, 0, 7]);
        assert_eq!(written(Write::Coil { at: 0, word: 0x5500 }), [5, 0, 0, 0x55, 0]);
    }

    #[test]
    fn what_is_too_much_for_one_request_does_not_fit() {
        let coils = |n| Write::Coils { at: 0, on: vec![true; n] };
        let registers = |n| Write::Registers { at: 0, words: vec![0; n] };
        let both = |n, count| Write::ReadWrite { at: 0, words: vec![0; n], read: 0, count };
        for most in [coils(1968), registers(123), both(121, 125)] {
            assert!(most.fits() && written(most.clone()).len() <= 253, "{most:?}");
        }
        for wrong in
            [coils(0), coils(1969), registers(0), registers(124), both(122, 1), both(1, 126), both(1, 0)]
        {
            assert!(!wrong.fits(), "{wrong:?}");
        }
    }

    #[test]
    fn only_the_asked_function_and_length_is_an_answer() {
        let two = read(Table::Input, 1, 2);
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
        read(Table::Discrete, 0, 10).words(&[0x81, 0x02], &mut words_of);
        assert_eq!(words_of, [1, 0, 0, 0, 0, 0, 0, 1, 0, 1]);
        read(Table::Holding, 0, 2).words(&[1, 2, 3, 4], &mut words_of);
        assert_eq!(words_of, [0x0102, 0x0304]);
    }

    #[test]
    fn fuzz_an_answer_to_a_write_is_the_very_one() {
        let frames = writes().map(|(_, _, said)| said);
        let requests = writes().map(|(write, ..)| Request::Write(write));
        fuzz::flood("modbus-pdu", &frames, |bytes| {
            for (request, said) in requests.iter().zip(&frames) {
                match request.answer(bytes) {
                    Some(Answer::Written) => assert_eq!(bytes, &said[..]),
                    Some(Answer::Data(data)) => assert_eq!(data.len() + 2, request.answer_bytes()),
                    Some(Answer::Exception(_)) => assert_eq!(bytes.len(), 2),
                    None => {}
                }
            }
        });
    }
}
