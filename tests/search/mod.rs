//! A search for things that must stand nowhere: each in all forms in which programs write numbers and texts.

use std::collections::HashMap;
use std::fmt::Write as _;

/// What is sought. Numbers in decimal stand alone: within a longer number they are something else.
#[derive(Default)]
pub struct Needles {
    /// By their first bytes, eight where there are so many: hundreds of numbers begin alike.
    by_start: HashMap<Vec<u8>, Vec<Needle>>,
    /// Which first three bytes there are.
    starts: Vec<bool>,
    count: usize,
}

const START_MAX: usize = 8;

struct Needle {
    bytes: Vec<u8>,
    whole: Whole,
}

#[derive(Clone, Copy, PartialEq)]
enum Whole {
    /// Anywhere.
    Any,
    /// No digit on either side, but for zeros before it.
    Number,
    /// No hexadecimal digit on either side, but for zeros before it.
    Hex,
}

impl Needles {
    fn add(&mut self, bytes: impl Into<Vec<u8>>, whole: Whole) {
        let bytes = bytes.into();
        let start = [bytes[0], bytes[1], bytes[2]];
        self.starts.resize(1 << 24, false);
        self.starts[place(start)] = true;
        self.count += 1;
        let start = bytes[..bytes.len().min(START_MAX)].to_vec();
        self.by_start.entry(start).or_default().push(Needle { bytes, whole });
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// Where something stands, with what is around it.
    pub fn find(&self, hay: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for at in 0..hay.len().saturating_sub(2) {
            let start = [hay[at], hay[at + 1], hay[at + 2]];
            if !self.starts[place(start)] {
                continue;
            }
            let starts = (3..=START_MAX).filter_map(|length| hay.get(at..at + length));
            for needle in starts.filter_map(|start| self.by_start.get(start)).flatten() {
                if hay[at..].starts_with(&needle.bytes) && stands(hay, at, needle) {
                    let around = &hay[at.saturating_sub(120)..(at + 60).min(hay.len())];
                    found.push(format!("{} at {at}: …{}…", show(&needle.bytes), show(around)));
                }
            }
        }
        found
    }
}

fn place([a, b, c]: [u8; 3]) -> usize {
    usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)
}

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn stands(hay: &[u8], at: usize, needle: &Needle) -> bool {
    let is_digit = |byte: &u8| match needle.whole {
        Whole::Any => false,
        Whole::Number => byte.is_ascii_digit(),
        Whole::Hex => byte.is_ascii_hexdigit(),
    };
    let before = hay[..at].iter().rev().find(|byte| needle.whole == Whole::Any || **byte != b'0');
    !before.is_some_and(is_digit) && !hay.get(at + needle.bytes.len()).is_some_and(is_digit)
}

/// A number by itself: decimal, hexadecimal and bytes in either order, as text and as a program's list, base64 of each.
pub fn number_forms(needles: &mut Needles, number: u64) {
    needles.add(number.to_string(), Whole::Number);
    base64_forms(needles, number.to_string().as_bytes());
    let all = number.to_be_bytes();
    let least = all.iter().position(|byte| *byte != 0).unwrap();
    for width in [8 - least, 4, 8] {
        if width < 8 - least {
            continue;
        }
        let big = all[8 - width..].to_vec();
        let little: Vec<u8> = big.iter().rev().copied().collect();
        for bytes in [big, little] {
            bytes_forms(needles, &bytes);
        }
    }
}

/// Bytes as such where they are enough to be no accident, and as programs print them.
pub fn bytes_forms(needles: &mut Needles, bytes: &[u8]) {
    let lists = |word: &dyn Fn(&u8) -> String, between: &str| {
        bytes.iter().map(word).collect::<Vec<_>>().join(between)
    };
    let whole = if bytes.len() < 4 { Whole::Hex } else { Whole::Any };
    if bytes.len() >= 4 {
        needles.add(bytes, Whole::Any);
    }
    for word in [|byte: &u8| format!("{byte:02x}"), |byte: &u8| format!("{byte:02X}")] {
        needles.add(lists(&word, ""), whole);
        for between in [" ", ":", "-", ", ", ",", "\\x", ", 0x", " 0x", "_"] {
            needles.add(lists(&word, between), whole);
        }
    }
    for between in [", ", ",", " "] {
        needles.add(lists(&|byte| byte.to_string(), between), Whole::Number);
    }
    let escaped = bytes.escape_ascii().to_string();
    // Three letters could stand anywhere by accident.
    if escaped.len() > 8 {
        needles.add(escaped, Whole::Any);
    }
    base64_forms(needles, bytes);
}

/// A card of 26 bits: facility and number apart and together, and the bits as the reader sends them.
pub fn card_forms(needles: &mut Needles, facility: u32, card: u32) {
    for between in [
        ",",
        "-",
        ":",
        "/",
        ".",
        " ",
        ", ",
        " card ",
        ", card: ",
        " card=",
        ", number: ",
        "\",\"card\":\"",
        ",\"card\":",
    ] {
        needles.add(format!("{facility}{between}{card}"), Whole::Number);
    }
    let middle = facility << 16 | card;
    number_forms(needles, u64::from(middle));
    let even = (middle >> 12).count_ones() % 2;
    let odd = 1 - (middle & 0xFFF).count_ones() % 2;
    let frame = even << 25 | middle << 1 | odd;
    number_forms(needles, u64::from(frame));
    bytes_forms(needles, &(frame << 6).to_be_bytes());
}

/// A text as it is, in hexadecimal, in the escapes of Rust and JSON, and in base64.
pub fn text_forms(needles: &mut Needles, text: &str) {
    needles.add(text, Whole::Any);
    bytes_forms(needles, text.as_bytes());
    if !text.is_ascii() {
        let mut json = String::new();
        for unit in text.encode_utf16() {
            write!(json, "\\u{unit:04x}").unwrap();
        }
        needles.add(json.to_uppercase().replace("\\U", "\\u"), Whole::Any);
        needles.add(json, Whole::Any);
        needles.add(text.escape_unicode().to_string(), Whole::Any);
        let percent: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        needles.add(percent, Whole::Any);
    }
}

/// As base64 by itself, and wherever in a longer text it begins, there the letters that depend on nothing beside it.
fn base64_forms(needles: &mut Needles, bytes: &[u8]) {
    for last in [b"+/", b"-_"] {
        let mut whole = letters(bytes, 0, last, true);
        whole.resize(whole.len().next_multiple_of(4), b'=');
        for found in [
            whole,
            letters(bytes, 0, last, false),
            letters(bytes, 1, last, false),
            letters(bytes, 2, last, false),
        ] {
            // Fewer could stand anywhere by accident.
            if found.len() >= 7 {
                needles.add(found, Whole::Any);
            }
        }
    }
}

/// `after`: so many bytes stand before these. `to_the_end`: nothing stands behind them.
fn letters(bytes: &[u8], after: usize, last: &[u8; 2], to_the_end: bool) -> Vec<u8> {
    const COMMON: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let alphabet: Vec<u8> = COMMON.iter().chain(last).copied().collect();
    let mut bits = vec![0; after * 8];
    bits.extend(bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| usize::from(byte >> bit & 1))));
    if to_the_end {
        bits.resize(bits.len().next_multiple_of(6), 0);
    }
    let sixes = bits.chunks_exact(6).enumerate().filter(|(nth, _)| nth * 6 >= after * 8);
    sixes.map(|(_, six)| alphabet[six.iter().fold(0, |sum, bit| sum << 1 | bit)]).collect()
}

#[test]
fn the_search_finds_every_form_and_nothing_else() {
    let mut needles = Needles::default();
    card_forms(&mut needles, 100, 21_807);
    number_forms(&mut needles, 10_021_807);
    text_forms(&mut needles, "诸葛亮");
    text_forms(&mut needles, "13804271357");
    for clear in [
        "\"card\":\"10021807\"",
        "card 0010021807.",
        "number=98EBAF",
        "0x0098ebaf,",
        "afeb9800",
        "bytes: af eb 98 00",
        "[175, 235, 152, 0]",
        "\\xaf\\xeb\\x98\\x00",
        "100-21807",
        "100:21807",
        "facility: 100, card: 21807",
        "6575407",
        "64552f",
        "MTAwMjE4MDc=",
        "x MTAwMjE4MDc x",
        "base64 AJjrrw==",
        "诸葛亮",
        "\\u8bf8\\u845b\\u4eae",
        "\\xe8\\xaf\\xb8\\xe8\\x91\\x9b\\xe4\\xba\\xae",
        "tel:13804271357",
        "3133383034323731333537",
    ] {
        assert!(!needles.find(clear.as_bytes()).is_empty(), "{clear} is not found");
    }
    assert!(!needles.find(&[1, 0xAF, 0xEB, 0x98, 0, 7]).is_empty());
    for other in ["110021807", "100218071", "c-64552f0a98ebaf11", "100-218071", "诸葛", "13804271358 x"] {
        assert_eq!(needles.find(other.as_bytes()), Vec::<String>::new(), "{other}");
    }
}
