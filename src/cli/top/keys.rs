//! What was pressed, out of what a terminal sends for it.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    End,
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Next,
    Before,
}

/// Of an arrow a terminal sends `ESC [ A`, or `ESC O A`; of what is not known here nothing becomes.
pub fn keys(mut bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    while !bytes.is_empty() {
        let (key, used) = first(bytes);
        keys.extend(key);
        bytes = &bytes[used..];
    }
    keys
}

fn first(bytes: &[u8]) -> (Option<Key>, usize) {
    match bytes {
        [0x1b, b'[' | b'O', rest @ ..] => {
            let end =
                rest.iter().position(|byte| (0x40..=0x7e).contains(byte)).map_or(rest.len(), |at| at + 1);
            (sequence(&rest[..end]), 2 + end)
        }
        // Ctrl-C comes as a letter, since the terminal makes no signals of letters while it is ours.
        [b'q' | b'Q' | 0x03, ..] => (Some(Key::End), 1),
        [b'\t', ..] => (Some(Key::Next), 1),
        [b'k', ..] => (Some(Key::Up), 1),
        [b'j', ..] => (Some(Key::Down), 1),
        [b'g', ..] => (Some(Key::First), 1),
        [b'G', ..] => (Some(Key::Last), 1),
        [b' ', ..] => (Some(Key::PageDown), 1),
        _ => (None, 1),
    }
}

fn sequence(rest: &[u8]) -> Option<Key> {
    Some(match rest {
        b"A" => Key::Up,
        b"B" => Key::Down,
        b"C" => Key::Next,
        b"D" | b"Z" => Key::Before,
        b"5~" => Key::PageUp,
        b"6~" => Key::PageDown,
        b"H" | b"1~" | b"7~" => Key::First,
        b"F" | b"4~" | b"8~" => Key::Last,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_by_what_terminals_send() {
        assert_eq!(keys(b"q\x03"), [Key::End, Key::End]);
        assert_eq!(keys(b"\x1b[A\x1bOB\x1b[5~\x1b[6~"), [Key::Up, Key::Down, Key::PageUp, Key::PageDown]);
        assert_eq!(keys(b"\t\x1b[Z\x1b[H\x1b[4~"), [Key::Next, Key::Before, Key::First, Key::Last]);
    }

    #[test]
    fn what_is_not_known_does_nothing_and_ends() {
        for odd in [&b"\x1b"[..], b"\x1b[", b"\x1b[200", b"\x1b[1;5P", b"x\xff\x00", "水".as_bytes()] {
            assert_eq!(keys(odd), [], "{odd:?}");
        }
        assert_eq!(keys(b"\x1b[15~q"), [Key::End], "a function key goes by");
    }
}
