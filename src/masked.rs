//! Tool: takes numbers that name a person out of what people type: mobile numbers of the mainland, numbers of identity cards, of
//! bank cards. Of each the last two digits stay. Numbers of tickets and registers, dates and readings stay as they are.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::CharIndices;

use crate::pseudonym::Pseudonym;

const MASK: &str = "***";
/// Digits that stay.
const KEPT: usize = 2;
/// Groups of digits in which one number is written: a bank card's.
const GROUPS: usize = 5;
/// Between two groups of any number, blanks besides; and, besides, of a mobile number.
const HYPHENS: [char; 6] = ['-', '－', '‐', '‑', '–', '—'];
const JOINTS_OF_MOBILES: [char; 7] = ['.', '/', '_', ')', '）', '·', '\u{200b}'];
/// Characters between two groups, of which one is no blank at the most.
const JOINT_MAX: usize = 3;
/// Digits of an identity number, the check digit among them.
const IDENTITY: usize = 18;
const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
const CHECK: [char; 11] = ['1', '0', 'X', '9', '8', '7', '6', '5', '4', '3', '2'];

/// A text without numbers that name a person.
pub fn masked(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut copied = 0;
    for groups in Runs::of(text) {
        let mut at = 0;
        while at < groups.len() {
            let Some(count) = named(&groups[at..]) else {
                at += 1;
                continue;
            };
            let known = &groups[at..at + count];
            out.push_str(&text[copied..groups[at].from]);
            out.push_str(MASK);
            let digits: Vec<char> = known.iter().flat_map(|group| group.digits.chars()).collect();
            out.extend(&digits[digits.len() - KEPT..]);
            copied = known[count - 1].to;
            at += count;
        }
    }
    if copied == 0 {
        return text.into();
    }
    out.push_str(&text[copied..]);
    out.into()
}

/// How many of the first groups together name a person, at the most; other numbers may stand beside them.
fn named(groups: &[Group]) -> Option<usize> {
    // Behind the point is what was measured, to the last decimal; a word with digits in it is somebody's id.
    let before = groups.first()?.before;
    if matches!(before, '.' | '_') {
        return None;
    }
    // With # before it, it is a ticket's, but for what is a whole mobile number by itself.
    let most = if before == '#' { 1 } else { GROUPS };
    (1..=groups.len().min(most)).rev().find(|count| {
        let groups = &groups[..*count];
        let digits: String = groups.iter().map(|group| group.digits.as_str()).collect();
        let lengths: Vec<usize> = groups.iter().map(|group| group.digits.len()).collect();
        let joints: Vec<char> = groups[1..].iter().map(|group| group.before).collect();
        groups[count - 1].after != '_' && names_someone(&digits, &lengths, &joints)
    })
}

/// Likewise, in its place; and a pseudonym in small letters, as it is kept and sought when somebody is erased.
pub fn mask(text: &mut String) {
    if let Cow::Owned(without) = masked(text) {
        *text = without;
    }
    let ends_word = |c: char| !c.is_ascii_alphanumeric() && c != '-';
    let mut at = 0;
    let words: Vec<_> = text
        .split_inclusive(ends_word)
        .map(|word| {
            let from = at;
            at += word.len();
            from..from + word.trim_end_matches(ends_word).len()
        })
        .collect();
    for word in words {
        let small = text[word.clone()].to_ascii_lowercase();
        if Pseudonym::is_one(&small) {
            text.replace_range(word, &small);
        }
    }
}

/// Digits without anything between them, and what stands around them.
struct Group {
    from: usize,
    to: usize,
    digits: String,
    before: char,
    after: char,
}

struct Runs<'a> {
    chars: Peekable<CharIndices<'a>>,
}

impl<'a> Runs<'a> {
    fn of(text: &'a str) -> Self {
        Self { chars: text.char_indices().peekable() }
    }
}

impl Iterator for Runs<'_> {
    /// Groups with one joint between each and the next, and blanks about it.
    type Item = Vec<Group>;

    fn next(&mut self) -> Option<Vec<Group>> {
        let mut before = ' ';
        loop {
            let (at, c) = self.chars.next()?;
            if let Some(first) = digit(c) {
                return Some(self.run(before, at, c, first));
            }
            // `Tel.138…`
            before = if c == '.' && before.is_alphabetic() { ' ' } else { c };
        }
    }
}

impl Runs<'_> {
    fn run(&mut self, before: char, from: usize, c: char, first: char) -> Vec<Group> {
        let mut group = Group { from, to: from + c.len_utf8(), digits: first.into(), before, after: ' ' };
        let mut groups = Vec::new();
        while let Some(&(at, c)) = self.chars.peek() {
            if let Some(digit) = digit(c) {
                group.digits.push(digit);
            } else if matches!(c, 'X' | 'x') && group.digits.len() == IDENTITY - 1 {
                group.digits.push('X');
            } else {
                group.after = c;
                let Some((before, from, next, first)) = self.joined() else { break };
                let next =
                    Group { from, to: from + next.len_utf8(), digits: first.into(), before, after: ' ' };
                groups.push(std::mem::replace(&mut group, next));
                continue;
            }
            group.to = at + c.len_utf8();
            self.chars.next();
        }
        groups.push(group);
        groups
    }

    /// The joint that begins here and the first digit behind it, with its place; nothing is read where there is none.
    fn joined(&mut self) -> Option<(char, usize, char, char)> {
        let mut ahead = self.chars.clone();
        let mut joint = ' ';
        for _ in 0..=JOINT_MAX {
            let (at, c) = ahead.next()?;
            if let Some(first) = digit(c) {
                self.chars = ahead;
                return Some((joint, at, c, first));
            }
            match c {
                // A point that blanks follow ends a sentence, or numbers a list.
                c if c.is_whitespace() && c != '\n' && !matches!(joint, '.' | '_') => {}
                c if joint == ' ' && HYPHENS.contains(&c) => joint = '-',
                '）' if joint == ' ' => joint = ')',
                c if joint == ' ' && JOINTS_OF_MOBILES.contains(&c) => joint = c,
                _ => return None,
            }
        }
        None
    }
}

/// Of either width, as an input method of Chinese writes them.
fn digit(c: char) -> Option<char> {
    match c {
        '0'..='9' => Some(c),
        '０'..='９' => char::from_u32(c as u32 - '０' as u32 + '0' as u32),
        _ => None,
    }
}

fn names_someone(digits: &str, groups: &[usize], joints: &[char]) -> bool {
    match groups {
        [_] => is_mobile(digits) || is_identity(digits) || is_bank_card(digits),
        [3, 4, 4] | [3, 5, 3] | [2 | 4, 3, 4, 4] | [2 | 4, 11] => is_mobile(digits),
        [3, 8] => joints == [')'] && is_mobile(digits),
        _ if !joints.iter().all(|joint| matches!(joint, ' ' | '-')) => false,
        [7, 4] => is_mobile(digits),
        [6, 8, 4] | [6, 4, 4, 4] | [10, 8] => is_identity(digits),
        [all @ .., last] => all.iter().all(|group| *group == 4) && *last <= 4 && is_bank_card(digits),
        [] => false,
    }
}

fn is_mobile(digits: &str) -> bool {
    // The country's, and the 0 of a call from another town.
    let own = [("0086", 15), ("86", 13), ("0", 12)]
        .into_iter()
        .find_map(|(country, length)| digits.strip_prefix(country).filter(|_| digits.len() == length))
        .unwrap_or(digits);
    own.len() == 11 && own.starts_with('1') && matches!(own.as_bytes().get(1), Some(b'3'..=b'9'))
}

/// By its check digit, or where a birthday stands in it: people mistype.
fn is_identity(digits: &str) -> bool {
    if digits.len() != IDENTITY {
        return false;
    }
    let number = |from: usize, to: usize| digits.get(from..to).and_then(|part| part.parse::<u32>().ok());
    let born = matches!(number(6, 8), Some(19 | 20))
        && matches!(number(10, 12), Some(1..=12))
        && matches!(number(12, 14), Some(1..=31));
    let sum: u32 = digits.chars().zip(WEIGHTS).map(|(c, weight)| c.to_digit(10).unwrap_or(0) * weight).sum();
    born || digits.chars().last() == CHECK.get(sum as usize % 11).copied()
}

/// By its check digit (Luhn).
fn is_bank_card(digits: &str) -> bool {
    let doubled = |n: u32| if n > 4 { 2 * n - 9 } else { 2 * n };
    let sum: u32 = digits
        .chars()
        .rev()
        .filter_map(|c| c.to_digit(10))
        .enumerate()
        .map(|(at, n)| if at % 2 == 1 { doubled(n) } else { n })
        .sum();
    (16..=19).contains(&digits.len()) && sum.is_multiple_of(10) && digits.bytes().any(|b| b != b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_name_a_person_are_taken_out_of_a_note() {
        for (said, kept) in [
            ("业主电话13804271357，晚上在家", "业主电话***57，晚上在家"),
            ("call 138-0427-1357 or 138 0427 1364", "call ***57 or ***64"),
            ("+8613804271357", "+***57"),
            ("+86 138 0427 1357.", "+***57."),
            ("手机１３８０４２７１３５７", "手机***57"),
            ("身份证11010519491231002X已登记", "身份证***2X已登记"),
            ("身份证 110105194912310021", "身份证 ***21"),
            ("440308199901011512", "***12"),
            ("卡号6222 0212 3456 7894 退款", "卡号***94 退款"),
            ("4111 1111 1111 1111", "***11"),
            ("room 301 13800138000", "room 301 ***00"),
            ("3-1-301 138-0013-8000", "3-1-301 ***00"),
            ("2026-11-22 13800138000 13900139001", "2026-11-22 ***00 ***01"),
            ("13800138000-440308199901011512", "***00-***12"),
            ("4111111111111111,", "***11,"),
            ("138.0013.8000", "***00"),
            ("call 138.0013.8000.", "call ***00."),
            ("(138)00138000, (138) 0013 8001", "(***00, (***01"),
            ("138_0013_8000", "***00"),
            ("138/0013/8000/139/0013/9001", "***00/***01"),
            ("13800138000/13900139001", "***00/***01"),
            ("138·0013·8000 138—0013—8001 138\u{200b}0013\u{200b}8002", "***00 ***01 ***02"),
            ("138 00138 000 138-00138-001", "***00 ***01"),
            ("+86.138.0013.8000", "+***00"),
            ("#3 13800138000", "#3 ***00"),
            ("#13800138000, x#13800138000#", "#***00, x#***00#"),
            ("013800138000", "***00"),
            ("138\u{a0}0013\u{a0}8000 138  0013  8001 138 - 0013 - 8002", "***00 ***01 ***02"),
            ("138　0013　8000、1380013 8001", "***00、***01"),
            ("1. 13800138000 2. 13900139001", "1. ***00 2. ***01"),
            ("业主住301. 13804271357", "业主住301. ***57"),
            ("called at 8. 138 0013 8000", "called at 8. ***00"),
            ("Tel.13800138000", "Tel.***00"),
            ("（138）0013 8000（138）00138001", "（***00（***01"),
            ("310101 1990 0101 1234, 3101011990 01011234", "***34, ***34"),
        ] {
            assert_eq!(masked(said), kept, "{said}");
        }
    }

    #[test]
    fn a_pseudonym_is_kept_as_it_is_sought() {
        for (said, kept) in [
            ("It was P-A2401B9B9983754F, he says", "It was p-a2401b9b9983754f, he says"),
            ("卡C-A2401B9B9983754F。OK", "卡c-a2401b9b9983754f。OK"),
            ("CP-017-000123 P-A240", "CP-017-000123 P-A240"),
        ] {
            let mut text = said.to_owned();
            mask(&mut text);
            assert_eq!(text, kept);
        }
    }

    #[test]
    fn numbers_of_things_stay() {
        for said in [
            "CP-017-000123",
            "2026-11-22 08:00:00",
            "20261122 080000",
            "20261122080000123",
            "寄存器40001读数0.13804271357",
            "3号楼2单元1801",
            "水压 180.5 kPa, 13.8042",
            "cell-3 order 12345678901",
            "换泵 3×2.2kW 2950r/min",
            "2026/11/22 2026.11.22 22.11.2026 138/11/22",
            "192.168.1.138 10.138.13.80:8000 138.13.80.255",
            "10.0.0.138 0013 8000",
            "4x0138 0x1380 30001/40001 138 40001",
            "1801/1802 3-1-301/302 (138)40001",
            "138 20261122 150-20261122",
            "cam_138_0013_8000 138_0013_8000_a 13800138000_2",
            "0.138.0013.8000",
            "#138 0013 8000",
            "rooms 138, 1801, 1802, 13.8, 14.0, 15.2",
            "寄存器150，40001，200 registers 150 160 40001",
            "138–140 40001",
            "volts 138 40 20 10 30 code 134-01-02-03-04",
            "138\n0013\n8000",
            "",
        ] {
            assert!(matches!(masked(said), Cow::Borrowed(same) if same == said), "{said}: {}", masked(said));
        }
    }
}
