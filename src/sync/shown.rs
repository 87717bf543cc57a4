//! A centre's answer as people read it. Some repeat what they were sent: our token, somebody's number; neither is shown.

use reqwest::{StatusCode, Url};
use zeroize::Zeroizing;

use super::Target;
use crate::masked::masked;

/// So much of an answer is shown.
const SHOWN_CHARS: usize = 120;
/// A shorter value in an address is no secret, and may be any word.
const SECRET_BYTES_MIN: usize = 8;

/// `422 Unprocessable Entity: {"detail": …`
pub fn shown(target: &Target, status: StatusCode, body: &[u8]) -> String {
    let text = without_secrets(target, String::from_utf8_lossy(body).into_owned());
    // A mask is shorter than what it hides: what is cut off last is not seen.
    let start = &text[..text.floor_char_boundary(8 * SHOWN_CHARS)];
    let text: String =
        masked(start).chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN_CHARS).collect();
    match text.trim() {
        "" => status.to_string(),
        text => format!("{status}: {text}"),
    }
}

/// Without our token and what stands in the query of the address.
pub fn without_secrets(target: &Target, mut text: String) -> String {
    if let Some(token) = &target.token {
        strike(&mut text, token.reveal());
    }
    if let Ok(url) = Url::parse(&target.url) {
        let values = url.query_pairs().filter(|(_, value)| value.len() >= SECRET_BYTES_MIN);
        values.for_each(|(_, value)| strike(&mut text, &value));
    }
    text
}

fn strike(text: &mut String, secret: &str) {
    // JSON may be written with `\/`.
    for written in [Zeroizing::new(secret.replace('/', "\\/")), Zeroizing::new(secret.to_owned())] {
        if !written.is_empty() && text.contains(&**written) {
            *text = text.replace(&**written, "***");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::sync::orders::tests::target;

    #[test]
    fn what_the_centre_repeats_of_ours_is_not_shown() {
        let mut target = target(false);
        target.token = Some(Secret::new("ab/cd+0123456789=="));
        target.url = "https://crm.example.com/e?token=S3cretQuery&v=2".into();
        let body = br#"{"Authorization":"Bearer ab\/cd+0123456789==","to":"/e?token=S3cretQuery&v=2"}"#;
        let said = shown(&target, StatusCode::BAD_REQUEST, body);
        assert_eq!(said, r#"400 Bad Request: {"Authorization":"Bearer ***","to":"/e?token=***&v=2"}"#);
        // However often: what is cut off in the end is cut off after it was masked.
        for times in 1..80 {
            let body = "ab/cd+0123456789== ".repeat(times);
            let said = shown(&target, StatusCode::BAD_REQUEST, body.as_bytes());
            assert!(!said.contains("ab/"), "{said}");
        }
    }

    #[test]
    fn nobodys_number_is_shown_and_nothing_that_moves_a_terminal() {
        let said = shown(
            &target(false),
            StatusCode::UNPROCESSABLE_ENTITY,
            "no \u{1b}[31mholder 13800138000".as_bytes(),
        );
        assert_eq!(said, "422 Unprocessable Entity: no  [31mholder ***00");
        assert_eq!(shown(&target(false), StatusCode::OK, b"  "), "200 OK");
    }
}
