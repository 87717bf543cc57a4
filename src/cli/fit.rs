//! Text that fits a terminal: how wide it is, where it may be cut or broken, and what of it a terminal would obey.

use unicode_width::UnicodeWidthChar;

use crate::reading::Millis;

/// What a device or a person wrote must not steer the terminal, nor turn the line round.
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || turns(c) { '·' } else { c }).collect()
}

/// Marks for right-to-left text, and separators that some terminals take for a new line.
fn turns(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Columns on a terminal.
pub fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

fn char_width(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// At most so many columns; what is cut ends in `…`.
pub fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.into();
    }
    let mut shown = text[..fitting(text, columns.saturating_sub(1))].to_owned();
    if columns > 0 {
        shown.push('…');
    }
    shown
}

/// How many bytes of it fit, in whole characters.
fn fitting(text: &str, columns: usize) -> usize {
    let mut used = 0;
    let over = text.char_indices().find(|(_, c)| {
        used += char_width(*c);
        used > columns
    });
    over.map_or(text.len(), |(at, _)| at)
}

/// In lines of so many columns, broken at spaces where there are any. Chinese text has none, and breaks anywhere.
pub fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = text.trim_end();
    while width(rest) > columns {
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let most = fitting(rest, columns).max(first);
        let at_space = rest[most..].starts_with(' ');
        let end = if at_space {
            most
        } else {
            rest[..most].rfind(' ').map_or(most, |at| wide_before(rest, at, most))
        };
        lines.push(rest[..end].trim_end().to_owned());
        rest = rest[end..].trim_start();
    }
    if lines.is_empty() || !rest.is_empty() {
        lines.push(rest.to_owned());
    }
    lines
}

/// A space far back in a line of Chinese is no better place than here.
fn wide_before(text: &str, space: usize, most: usize) -> usize {
    let last = text[space..most].chars().next_back().map_or(0, char_width);
    if space == 0 || last == 2 { most } else { space + 1 }
}

/// The same text with `fill` up to so many columns.
pub fn filled(text: &str, columns: usize) -> String {
    let mut text = text.to_owned();
    text.extend(std::iter::repeat_n(' ', columns.saturating_sub(width(&text))));
    text
}

/// `1.4 MiB`
pub fn size(bytes: u64) -> String {
    let power = (bytes.max(1).ilog2() / 10).min(4);
    match ["", "KiB", "MiB", "GiB", "TiB"][power as usize] {
        "" => format!("{bytes} bytes"),
        unit => format!("{:.1} {unit}", bytes as f64 / 1024_f64.powi(power.cast_signed())),
    }
}

/// `3d 4h`, `2m 5s`, `0s`: the two widest units.
pub fn lasting(span: Millis) -> String {
    const UNITS: [(&str, Millis); 4] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    let mut rest = span.max(0);
    let mut words = Vec::new();
    for (name, unit) in UNITS {
        let n = rest / unit;
        rest %= unit;
        if n > 0 {
            words.push(format!("{n}{name}"));
        } else if !words.is_empty() {
            break;
        }
        if words.len() == 2 {
            break;
        }
    }
    if words.is_empty() { format!("{rest}ms") } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_passes_and_no_mark_that_turns_the_line() {
        assert_eq!(harmless("a\x1b[31mb\n\u{9b}2J\u{202e}c"), "a·[31mb··2J·c");
    }

    #[test]
    fn what_is_cut_ends_in_dots_and_no_wide_character_is_halved() {
        assert_eq!(cut("水压低于下限", 7), "水压低…");
        assert_eq!(cut("水压低于下限", 8), "水压低…");
        assert_eq!(cut("ab", 2), "ab");
        for columns in 0..12 {
            assert!(width(&cut("a水压低于下限", columns)) <= columns, "{columns}");
        }
    }

    #[test]
    fn lines_break_at_spaces_and_chinese_anywhere() {
        assert_eq!(wrapped("no answer within 500 ms", 10), ["no answer", "within 500", "ms"]);
        assert_eq!(wrapped("水压低于下限", 5), ["水压", "低于", "下限"]);
        assert_eq!(wrapped("/var/lib/gatehouse/journal", 10), ["/var/lib/g", "atehouse/j", "ournal"]);
        assert_eq!(wrapped("", 10), [""]);
        assert_eq!(wrapped("水", 1), ["水"], "what fits nowhere is not lost, and ends");
        for columns in 2..40 {
            let text = "3号楼/地下室 water is low, 请尽快派人 now";
            let lines = wrapped(text, columns);
            assert!(lines.iter().all(|line| width(line) <= columns), "{columns}: {lines:?}");
            let letters = |text: &str| text.chars().filter(|c| *c != ' ').collect::<String>();
            assert_eq!(letters(&lines.concat()), letters(text), "{columns}: nothing is lost");
        }
    }

    #[test]
    fn spans_are_told_in_two_units() {
        let told = [0, 999, 1000, 90_000, 86_405_000, 7 * 86_400_000 + 7_300_000].map(lasting);
        assert_eq!(told, ["0ms", "999ms", "1s", "1m 30s", "1d", "7d 2h"]);
    }
}
