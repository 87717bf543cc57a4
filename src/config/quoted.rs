//! Where a byte of a text stands in the file that says it between TOML's quotes, with its escapes.

/// The place in `written`, quotes and all, of byte `at` of what it says.
pub(super) fn place(written: &str, at: usize) -> usize {
    let bytes = written.as_bytes();
    let mark = bytes.first().copied().unwrap_or(b'"');
    let triple = bytes.starts_with(&[mark; 3]) && bytes.len() >= 6;
    let mut place = if triple { 3 } else { 1 };
    // A line's end right behind the quotes is not part of the text.
    if triple {
        place +=
            ["\r\n", "\n"].into_iter().find(|end| written[place..].starts_with(*end)).map_or(0, str::len);
    }
    let mut said = 0;
    while said < at && place < bytes.len() {
        let (length, says) = match &bytes[place..] {
            [b'\\', rest @ ..] if mark == b'"' => escape(rest),
            _ => (1, 1),
        };
        place += length;
        said += says;
    }
    place.min(written.len())
}

/// How many bytes an escape is written in, and how many it says. `rest`: behind the backslash.
fn escape(rest: &[u8]) -> (usize, usize) {
    let digits = match rest.first() {
        Some(b'x') => 2,
        Some(b'u') => 4,
        Some(b'U') => 8,
        // Over the end of a line, and all the blanks that follow.
        Some(b' ' | b'\t' | b'\r' | b'\n') => {
            return (1 + rest.iter().take_while(|b| b.is_ascii_whitespace()).count(), 0);
        }
        _ => return (2, 1),
    };
    let code = rest.get(1..=digits).and_then(|hex| std::str::from_utf8(hex).ok());
    let letter = code.and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32);
    (2 + digits, letter.map_or(1, char::len_utf8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_is_found_behind_its_quotes_and_escapes() {
        for (written, says, at, there) in [
            (r#""x > 5""#, "x > 5", 4, "5"),
            (r#"'x == "a"'"#, "x == \"a\"", 5, "\"a"),
            (r#""x == \"a\" && y""#, "x == \"a\" && y", 12, "y"),
            ("\"\"\"\nx >\n y\"\"\"", "x >\n y", 5, "y"),
            ("\"\"\"x \\\n   > y\"\"\"", "x > y", 4, "y"),
            (r#""\u6c34 > y""#, "水 > y", 6, "y"),
            ("'水 > y'", "水 > y", 6, "y"),
            ("'''x > y'''", "x > y", 4, "y"),
        ] {
            assert!(says.is_char_boundary(at) && says[at..].starts_with(&there[..1]), "{written}");
            assert!(written[place(written, at)..].starts_with(there), "{written}");
        }
        assert_eq!(place("\"x\"", 99), 3);
        assert_eq!(place("", 5), 0);
    }
}
