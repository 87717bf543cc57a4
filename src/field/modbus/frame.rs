//! How requests and answers are wrapped: RTU (unit, PDU, CRC) and MBAP (transaction id, length, unit, PDU). Pure.

use crc::{CRC_16_MODBUS, Crc};

use super::pdu::{self, Answer, Request};

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_MODBUS);

/// Unit before and CRC after the PDU.
const RTU_WRAP: usize = 3;
/// Transaction id, protocol, length, unit.
const MBAP_HEAD: usize = 7;
/// The standard's longest PDU.
const PDU_MOST: usize = 253;

// --- RTU ---

pub fn write_rtu(unit: u8, request: &Request, into: &mut Vec<u8>) {
    into.clear();
    into.push(unit);
    request.put(into);
    let crc = CRC.checksum(into);
    into.extend(crc.to_le_bytes());
}

/// How long the frame is that answers, when it is no exception.
pub fn rtu_answer_bytes(request: &Request) -> usize {
    RTU_WRAP + request.answer_bytes()
}

/// What a line has said since the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard<'a> {
    /// No answer, or not yet.
    Nothing,
    Answer(Answer<'a>),
}

/// Finds the answer to `request` in whatever arrived since it was sent: rubbish before it is skipped, so are
/// frames of other units and frames of this one that do not fit the request, and our own request where the
/// adapter echoes it. There are writes whose answer looks like that echo: for those, `sent` is empty where the line
/// has none.
///
/// A whole frame is skipped as a whole, since its data might look like a frame. For the same reason an answer
/// inside of what may be a longer frame still coming in counts only when `silent`: nothing more will come.
pub fn find_rtu<'a>(heard: &'a [u8], unit: u8, request: &Request, sent: &[u8], silent: bool) -> Heard<'a> {
    let mut rest = heard.strip_prefix(sent).unwrap_or(heard);
    let mut within_another = false;
    while let [this, function, second, ..] = *rest {
        let length = match this {
            1..=247 => pdu::answer_length(function, second).map(|pdu| pdu + RTU_WRAP),
            // 0 is to all, and nobody answers; above 247 is reserved but for devices that answer to any address.
            _ if this == unit => pdu::answer_length(function, second).map(|pdu| pdu + RTU_WRAP),
            _ => None,
        };
        let skip = match length {
            None => 1,
            Some(length) if length > rest.len() => {
                within_another = true;
                1
            }
            Some(length) => match unwrap_rtu(&rest[..length]) {
                None => 1,
                Some(pdu) => match request.answer(pdu) {
                    Some(_) if this == unit && within_another && !silent => return Heard::Nothing,
                    Some(answer) if this == unit => return Heard::Answer(answer),
                    _ => length,
                },
            },
        };
        rest = &rest[skip..];
    }
    Heard::Nothing
}

/// The PDU of a frame whose CRC is right.
fn unwrap_rtu(frame: &[u8]) -> Option<&[u8]> {
    let (body, crc) = frame.split_last_chunk::<2>()?;
    (CRC.checksum(body) == u16::from_le_bytes(*crc)).then(|| &body[1..])
}

// --- MBAP ---

pub fn write_mbap(id: u16, unit: u8, request: &Request, into: &mut Vec<u8>) {
    into.clear();
    into.extend(id.to_be_bytes());
    into.extend([0, 0, 0, 0, unit]);
    request.put(into);
    let after_length = (into.len() + 1 - MBAP_HEAD) as u16;
    into[4..6].copy_from_slice(&after_length.to_be_bytes());
}

/// What stands at the beginning of a TCP stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mbap<'a> {
    /// Not yet a whole frame.
    Part,
    Frame {
        id: u16,
        unit: u8,
        pdu: &'a [u8],
        /// What the frame takes of the stream.
        length: usize,
    },
    /// No MBAP frame begins like this; where the next one would begin, nobody can tell.
    Malformed,
}

pub fn read_mbap(stream: &[u8]) -> Mbap<'_> {
    let [id_high, id_low, 0, 0, length_high, length_low, unit, ..] = *stream else {
        return match stream.get(2..4.min(stream.len())) {
            Some(protocol) if protocol.iter().any(|b| *b != 0) => Mbap::Malformed,
            _ => Mbap::Part,
        };
    };
    let after_length = usize::from(u16::from_be_bytes([length_high, length_low]));
    if !(3..=PDU_MOST + 1).contains(&after_length) {
        return Mbap::Malformed;
    }
    let length = MBAP_HEAD - 1 + after_length;
    match stream.get(MBAP_HEAD..length) {
        None => Mbap::Part,
        Some(pdu) => Mbap::Frame { id: u16::from_be_bytes([id_high, id_low]), unit, pdu, length },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::pdu::Span;
    use super::super::{Table, Write};
    use super::*;
    use crate::field::fuzz::{self, Chance};

    fn read(table: Table, register: u16, count: u16) -> Request {
        Request::Read(Span { table, register, count })
    }

    fn input(register: u16, count: u16) -> Request {
        read(Table::Input, register, count)
    }

    fn rtu(unit: u8, pdu: &[u8]) -> Vec<u8> {
        let mut frame = vec![unit];
        frame.extend(pdu);
        frame.extend(CRC.checksum(&frame).to_le_bytes());
        frame
    }

    fn sent(unit: u8, request: &Request) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_rtu(unit, request, &mut bytes);
        bytes
    }

    fn find<'a>(heard: &'a [u8], unit: u8, request: &Request, silent: bool) -> Heard<'a> {
        find_rtu(heard, unit, request, &sent(unit, request), silent)
    }

    /// Frames as the makers of the devices print them.
    #[test]
    fn frames_of_real_devices() {
        let xy_md02 = [1, 4, 0, 1, 0, 2, 0x20, 0x0B];
        assert_eq!(sent(1, &input(1, 2)), xy_md02);
        let warm = [1, 4, 4, 0x01, 0x31, 0x02, 0x22, 0x2A, 0xCE];
        assert_eq!(
            find(&warm, 1, &input(1, 2), false),
            Heard::Answer(Answer::Data(&[0x01, 0x31, 0x02, 0x22]))
        );
        let frost = [1, 4, 4, 0xFF, 0x33, 0x02, 0x22, 0xBA, 0xE6];
        assert_eq!(
            find(&frost, 1, &input(1, 2), false),
            Heard::Answer(Answer::Data(&[0xFF, 0x33, 0x02, 0x22]))
        );

        assert_eq!(sent(1, &input(0, 2)), [1, 4, 0, 0, 0, 2, 0x71, 0xCB]);
        let sdm120 = [1, 4, 4, 0x43, 0x66, 0x33, 0x33, 0x5A, 0xFA];
        assert_eq!(
            find(&sdm120, 1, &input(0, 2), false),
            Heard::Answer(Answer::Data(&[0x43, 0x66, 0x33, 0x33]))
        );
        assert_eq!(sent(1, &input(0x0156, 2)), [1, 4, 1, 0x56, 0, 2, 0x90, 0x27]);

        assert_eq!(sent(1, &input(0, 10)), [1, 4, 0, 0, 0, 10, 0x70, 0x0D]);
        let pzem = [
            1, 4, 0x14, 0x08, 0xD1, 0, 0x6C, 0, 0, 0, 0xF4, 0, 0, 0, 0x26, 0, 0, 1, 0xF4, 0, 0x64, 0, 0,
            0x51, 0x34,
        ];
        assert_eq!(find(&pzem, 1, &input(0, 10), false), Heard::Answer(Answer::Data(&pzem[3..23])));

        let inputs = read(Table::Discrete, 0, 8);
        assert_eq!(sent(1, &inputs), [1, 2, 0, 0, 0, 8, 0x79, 0xCC]);
        assert_eq!(
            find(&[1, 2, 1, 0x81, 0x61, 0xE8], 1, &inputs, false),
            Heard::Answer(Answer::Data(&[0x81]))
        );
    }

    #[test]
    fn an_echo_of_the_request_is_skipped() {
        let request = input(0x2000, 2);
        let mut heard = sent(7, &request);
        heard.extend(rtu(7, &[4, 4, 1, 2, 3, 4]));
        assert_eq!(find(&heard, 7, &request, false), Heard::Answer(Answer::Data(&[1, 2, 3, 4])));
    }

    /// The answer to a write is what was sent. Where the line echoes, the first of two is the echo.
    #[test]
    fn an_echo_is_no_acknowledgement() {
        let pulse = Request::Write(Write::Coil { at: 0x0200, word: 7 });
        let frame = sent(1, &pulse);
        assert_eq!(frame, [1, 5, 2, 0, 0, 7, 0x8D, 0xB0]);
        assert_eq!(find_rtu(&frame, 1, &pulse, &[], false), Heard::Answer(Answer::Written));
        assert_eq!(find_rtu(&frame, 1, &pulse, &frame, true), Heard::Nothing);
        let twice = [&frame[..], &frame].concat();
        assert_eq!(find_rtu(&twice, 1, &pulse, &frame, false), Heard::Answer(Answer::Written));
    }

    #[test]
    fn a_late_answer_to_a_read_is_none_to_a_write_and_the_other_way_round() {
        let on = Request::Write(Write::Register { at: 2, word: 5 });
        let data = rtu(1, &[3, 2, 0, 5]);
        let done = rtu(1, &[6, 0, 2, 0, 5]);
        assert_eq!(find_rtu(&data, 1, &on, &[], true), Heard::Nothing);
        assert_eq!(find(&done, 1, &read(Table::Holding, 2, 1), true), Heard::Nothing);
        let both = [data, done].concat();
        assert_eq!(find_rtu(&both, 1, &on, &[], true), Heard::Answer(Answer::Written));
        assert_eq!(find(&both, 1, &read(Table::Holding, 2, 1), true), Heard::Answer(Answer::Data(&[0, 5])));
    }

    #[test]
    fn a_frame_inside_the_data_of_another_units_frame_is_no_answer() {
        let inner = rtu(1, &[4, 2, 0xBA, 0xD0]);
        let mut data = vec![4, inner.len() as u8 + 1];
        data.extend(&inner);
        data.push(0);
        let outer = rtu(9, &data);
        for end in 0..=outer.len() {
            assert_eq!(find(&outer[..end], 1, &input(0, 1), false), Heard::Nothing, "{end}");
        }
        assert_eq!(find(&outer, 1, &input(0, 1), true), Heard::Nothing);
    }

    #[test]
    fn rubbish_that_looks_like_the_head_of_a_long_frame_only_delays_the_answer() {
        let mut heard = vec![9, 4, 200];
        heard.extend(rtu(1, &[4, 2, 0, 5]));
        assert_eq!(find(&heard, 1, &input(0, 1), false), Heard::Nothing);
        assert_eq!(find(&heard, 1, &input(0, 1), true), Heard::Answer(Answer::Data(&[0, 5])));
    }

    #[test]
    fn a_frame_that_does_not_fit_the_request_is_skipped_and_the_next_is_found() {
        let mut heard = rtu(1, &[4, 4, 0, 1, 0, 2]); // two registers, one was asked for
        heard.extend(rtu(1, &[3, 2, 0, 7])); // another function
        heard.extend(rtu(2, &[4, 2, 0, 8])); // another unit
        assert_eq!(find(&heard, 1, &input(0, 1), true), Heard::Nothing);
        heard.extend(rtu(1, &[4, 2, 0, 5]));
        assert_eq!(find(&heard, 1, &input(0, 1), false), Heard::Answer(Answer::Data(&[0, 5])));
        let exception = rtu(1, &[0x84, 2]);
        assert_eq!(find(&exception, 1, &input(0, 1), false), Heard::Answer(Answer::Exception(2)));
    }

    #[test]
    fn mbap_frames_are_cut_from_the_stream() {
        let mut bytes = Vec::new();
        write_mbap(0x1234, 7, &input(0x10, 2), &mut bytes);
        assert_eq!(bytes, [0x12, 0x34, 0, 0, 0, 6, 7, 4, 0, 0x10, 0, 2]);

        let answer = [0x12, 0x34, 0, 0, 0, 7, 7, 4, 4, 1, 2, 3, 4, 0x99];
        for end in 0..13 {
            assert_eq!(read_mbap(&answer[..end]), Mbap::Part, "{end}");
        }
        assert_eq!(
            read_mbap(&answer),
            Mbap::Frame { id: 0x1234, unit: 7, pdu: &[4, 4, 1, 2, 3, 4], length: 13 }
        );
        assert_eq!(read_mbap(&[0, 1, 0, 9, 0, 6, 1, 4]), Mbap::Malformed);
        assert_eq!(read_mbap(b"HTTP"), Mbap::Malformed);
        assert_eq!(read_mbap(&[0, 1, 0, 0, 0, 2, 1, 4]), Mbap::Malformed);
        assert_eq!(read_mbap(&[0, 1, 0, 0, 9, 2, 1, 4]), Mbap::Malformed);
    }

    /// Requests of all kinds, with an answer to each.
    fn asked_and_answered() -> Vec<(Request, Vec<u8>)> {
        vec![
            (input(0, 2), vec![4, 4, 0x43, 0x66, 0x33, 0x33]),
            (read(Table::Holding, 9, 1), vec![3, 2, 0, 0xE6]),
            (read(Table::Discrete, 0, 8), vec![2, 1, 0x81]),
            (read(Table::Coil, 0, 12), vec![1, 2, 0x81, 3]),
            (Request::Write(Write::Coil { at: 0, word: 0xFF00 }), vec![5, 0, 0, 0xFF, 0]),
            (Request::Write(Write::Register { at: 2, word: 5 }), vec![6, 0, 2, 0, 5]),
            (Request::Write(Write::Coils { at: 0, on: vec![true; 3] }), vec![15, 0, 0, 0, 3]),
            (Request::Write(Write::Registers { at: 1, words: vec![7; 2] }), vec![16, 0, 1, 0, 2]),
            (Request::Write(Write::Mask { at: 4, and: 0xF2, or: 0x25 }), vec![22, 0, 4, 0, 0xF2, 0, 0x25]),
            (
                Request::Write(Write::ReadWrite { at: 4, words: vec![1], read: 6, count: 1 }),
                vec![23, 2, 0x12, 0x34],
            ),
        ]
    }

    #[test]
    fn fuzz_an_rtu_answer_is_one_to_the_question_and_no_longer_than_what_was_heard() {
        let asked = asked_and_answered();
        let frames: Vec<_> = asked.iter().map(|(_, pdu)| rtu(7, pdu)).collect();
        let mut turn = 0;
        fuzz::flood("modbus-rtu", &frames, |bytes| {
            turn += 1;
            let (request, pdu) = &asked[turn % asked.len()];
            for silent in [false, true] {
                match find_rtu(bytes, 7, request, &[], silent) {
                    Heard::Answer(Answer::Data(data)) => {
                        assert_eq!(data.len() + 2, request.answer_bytes());
                        assert!(bytes.windows(data.len()).any(|part| part == data));
                    }
                    Heard::Answer(Answer::Written) => {
                        let frame = rtu(7, pdu);
                        assert!(bytes.windows(frame.len()).any(|part| part == frame), "{bytes:02X?}");
                    }
                    Heard::Answer(Answer::Exception(code)) => {
                        let frame = rtu(7, &[pdu[0] | 0x80, code]);
                        assert!(bytes.windows(frame.len()).any(|part| part == frame), "{bytes:02X?}");
                    }
                    Heard::Nothing => {}
                }
            }
        });
    }

    #[test]
    fn fuzz_an_mbap_frame_is_no_longer_than_the_stream_and_never_above_the_standards() {
        let frames: Vec<_> = asked_and_answered().iter().map(|(_, pdu)| mbap(0x1234, 7, pdu)).collect();
        fuzz::flood("modbus-mbap", &frames, |bytes| {
            let mut rest = bytes;
            while let Mbap::Frame { pdu, length, .. } = read_mbap(rest) {
                assert!((9..=260).contains(&length) && length <= rest.len(), "{length}");
                assert_eq!(pdu.len() + MBAP_HEAD, length);
                rest = &rest[length..];
            }
            // What is neither whole nor wrong waits for more, but not for ever.
            assert!(read_mbap(rest) == Mbap::Malformed || rest.len() < 260);
        });
    }

    fn mbap(id: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
        let [high, low] = id.to_be_bytes();
        [&[high, low, 0, 0, 0, 1 + pdu.len() as u8, unit], pdu].concat()
    }

    /// Noise between the frames of other units and of this one: the answer is found, wherever it stands.
    #[test]
    fn in_a_stream_of_noise_and_frames_the_answer_is_found() {
        let asked = asked_and_answered();
        let frames: Vec<_> = asked.iter().map(|(_, pdu)| rtu(7, pdu)).collect();
        let noise: Vec<u8> = (0..=255).collect();
        let mut chance = Chance::new(42);
        for _ in 0..20_000 {
            let (bytes, which) = fuzz::stream(&frames, &noise, &mut chance);
            for nth in which {
                let (request, pdu) = &asked[nth];
                let found = find_rtu(&bytes, 7, request, &[], true);
                assert_eq!(found, Heard::Answer(request.answer(pdu).unwrap()), "{bytes:02X?}");
            }
        }
    }

    /// A stream of MBAP frames is cut into them, however it is split.
    #[test]
    fn in_a_stream_of_mbap_frames_each_is_found() {
        let frames: Vec<_> =
            asked_and_answered().iter().enumerate().map(|(id, (_, pdu))| mbap(id as u16, 7, pdu)).collect();
        let mut chance = Chance::new(7);
        for _ in 0..5_000 {
            let (bytes, which) = fuzz::stream(&frames, &[], &mut chance);
            let (mut stream, mut found) = (Vec::new(), Vec::new());
            for part in bytes.chunks(1 + chance.below(20)) {
                stream.extend(part);
                while let Mbap::Frame { id, length, .. } = read_mbap(&stream) {
                    found.push(usize::from(id));
                    stream.drain(..length);
                }
            }
            assert_eq!(found, which);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_parse_without_panic(bytes: Vec<u8>, unit: u8, register: u16, count: u16, silent: bool) {
            let request = input(register, count);
            let _ = find(&bytes, unit, &request, silent);
            if let Mbap::Frame { length, .. } = read_mbap(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }

        #[test]
        fn a_frame_is_found_inside_rubbish(
            before in prop::collection::vec(any::<u8>(), 0..40),
            after in prop::collection::vec(any::<u8>(), 0..40),
            unit in 1u8..=247,
            registers in prop::collection::vec(any::<u16>(), 1..=125),
        ) {
            let data: Vec<u8> = registers.iter().flat_map(|w| w.to_be_bytes()).collect();
            let mut pdu = vec![4, data.len() as u8];
            pdu.extend(&data);
            let heard = [before, rtu(unit, &pdu), after].concat();
            let request = input(0, registers.len() as u16);
            prop_assert_eq!(find(&heard, unit, &request, true), Heard::Answer(Answer::Data(&data[..])));
        }

        #[test]
        fn a_frame_with_one_flipped_bit_is_no_answer(value: u16, bit in 0usize..56) {
            let mut frame = rtu(1, &[4, 2, (value >> 8) as u8, value as u8]);
            frame[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(find(&frame, 1, &input(0, 1), true), Heard::Nothing);
        }
    }
}
