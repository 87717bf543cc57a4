//! Tool: bodies made smaller for those who can read them so: gzip, and nothing else.

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;

/// A tenth smaller costs twice the time; a gateway has little of it.
const EFFORT: Compression = Compression::new(3);

/// Takes some milliseconds for half a megabyte: to be called from a thread of its own.
///
/// # Errors
/// None as long as memory can be written to.
pub fn packed(body: &[u8]) -> io::Result<Vec<u8>> {
    packed_with(body, EFFORT)
}

/// For what is packed once and sent often.
///
/// # Errors
/// None as long as memory can be written to.
pub fn packed_small(body: &[u8]) -> io::Result<Vec<u8>> {
    packed_with(body, Compression::best())
}

fn packed_with(body: &[u8], effort: Compression) -> io::Result<Vec<u8>> {
    let mut zip = GzEncoder::new(Vec::with_capacity(body.len() / 4), effort);
    zip.write_all(body)?;
    zip.finish()
}

/// Whether an `Accept-Encoding` has `gzip`, or everything, and not with `q=0`.
pub fn is_welcome(accept_encoding: &str) -> bool {
    let mut any = false;
    for part in accept_encoding.split(',') {
        let (name, more) = part.split_once(';').unwrap_or((part, ""));
        let weight = more.trim().strip_prefix("q=").unwrap_or("1");
        let welcome = weight.trim().parse::<f32>().is_ok_and(|weight| weight > 0.0);
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => return welcome,
            "*" => any = welcome,
            _ => {}
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_for_those_who_say_so() {
        let rows = [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("gzip, deflate, br, zstd", true),
            ("*", true),
            ("gzip;q=0", false),
            ("*;q=0", false),
            ("gzip;q=0, *", false),
            ("identity, *;q=0.1", true),
            ("gzip;q=nonsense", false),
            ("br", false),
            ("gzippy", false),
            ("", false),
        ];
        for (told, wants) in rows {
            assert_eq!(is_welcome(told), wants, "{told}");
        }
    }
}
