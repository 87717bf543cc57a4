//! What must not be shown of a line of the configuration, be it as wrong as it may: the value of a key that sounds like
//! a secret, and of an address name, password and query. The line need not be TOML; that is why it is shown.

use std::ops::Range;

use super::mistakes::nearest;

/// Stands for each character.
const BLANK: char = '*';
const WORDS: [&str; 5] = ["token", "password", "secret", "bearer", "authorization"];
/// What a table says that names the place of a secret.
const PLACES: [&str; 3] = ["credential", "file", "env"];
/// Of an address.
const SCHEME_ENDS: [char; 3] = [':', '/', '/'];

/// The line, with its secrets blanked.
pub(super) fn hushed(line: &str) -> Vec<char> {
    let mut chars: Vec<char> = line.chars().collect();
    for secret in secrets(&chars) {
        chars[secret].fill(BLANK);
    }
    chars
}

/// Likewise, of a line in which a secret stands at `mark`: without that, and without any text between quotes.
pub(super) fn hushed_of_texts(line: &str, mark: Range<usize>) -> Vec<char> {
    let chars: Vec<char> = line.chars().collect();
    let mut shown = hushed(line);
    let mut at = 0;
    while at < chars.len() {
        if matches!(chars[at], '"' | '\'') {
            let text = text(&chars, at);
            at = text.end;
            shown[text].fill(BLANK);
        } else {
            at += 1;
        }
    }
    let end = mark.end.min(shown.len());
    shown[mark.start.min(end)..end].fill(BLANK);
    shown
}

/// An address, with every value blanked in its query and behind it: not each secret is called one.
pub(super) fn address(url: &str) -> String {
    let (url, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let hushed = |pair: &str| match pair.split_once('=') {
        Some((_, "")) => pair.to_owned(),
        Some((key, _)) => format!("{key}=***"),
        None => "***".to_owned(),
    };
    let mut shown = path.to_owned();
    if !query.is_empty() {
        shown += &format!("?{}", query.split('&').map(hushed).collect::<Vec<_>>().join("&"));
    }
    if !fragment.is_empty() {
        shown += "#***";
    }
    shown
}

/// Whether a value sounds secret in the query of an address.
pub(super) fn has_secret(url: &str) -> bool {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .any(|(key, value)| !value.is_empty() && sounds_secret(&key.chars().collect::<Vec<_>>()))
}

/// A text, with its addresses as they are shown.
pub fn addresses(text: &str) -> String {
    let shown = |line: &str| {
        let chars: Vec<char> = line.chars().collect();
        let (mut shown, mut from) = (String::with_capacity(line.len()), 0);
        while let Some(at) = (from..chars.len()).find(|at| chars[*at..].starts_with(&SCHEME_ENDS)) {
            let end = end_of_address(&chars, at);
            shown.extend(&chars[from..at]);
            shown += &address(&chars[at..end].iter().collect::<String>());
            from = end;
        }
        shown.extend(&chars[from..]);
        shown
    };
    text.split_inclusive('\n').map(shown).collect()
}

/// Given its `://`: where its quotes close, or at the next blank or quote where it has none.
fn end_of_address(line: &[char], at: usize) -> usize {
    let scheme = line[..at].iter().rev().take_while(|c| c.is_ascii_alphanumeric()).count();
    let quote = line[..at - scheme].last().filter(|c| matches!(c, '"' | '\''));
    let mut end = at + SCHEME_ENDS.len();
    while let Some(c) = line.get(end) {
        match quote {
            Some('"') if *c == '\\' => end += 1,
            Some(quote) if c == quote => break,
            None if c.is_whitespace() || matches!(c, '"' | '\'') => break,
            _ => {}
        }
        end += 1;
    }
    end.min(line.len())
}

/// Where in the line secrets stand, in characters.
pub(super) fn secrets(line: &[char]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < line.len() {
        let word = run(line, at, |c| c.is_alphanumeric() || matches!(c, '_' | '-'));
        if word.is_empty() {
            if line[at] == '@' {
                found.push(login(line, at));
            }
            if line[at..].starts_with(&SCHEME_ENDS) {
                let end = end_of_address(line, at);
                let query = run(line, at, |c| !matches!(c, '?' | '#')).end + 1;
                found.extend((query < end).then_some(query..end));
            }
            at += 1;
            continue;
        }
        at = word.end;
        if sounds_secret(&line[word])
            && let Some(value) = value(line, at)
        {
            at = value.end;
            found.push(value);
        }
    }
    found
}

/// `token`, `api_key`, `key_before`, and what is written almost so.
fn sounds_secret(word: &[char]) -> bool {
    let word = word.iter().collect::<String>().to_lowercase();
    word.split(['_', '-']).any(|part| part.ends_with("key"))
        || WORDS.iter().any(|known| word.contains(known))
        || nearest(&word, WORDS.into_iter().chain(["store_key"])).is_some()
}

/// What follows a key: a text between its quotes, or anything else to the end of the line. `None` where nothing does, or
/// tables that name the secret's place.
fn value(line: &[char], key_end: usize) -> Option<Range<usize>> {
    let is_between = |c: char| c.is_whitespace() || matches!(c, '=' | ':');
    let quote = usize::from(matches!(line.get(key_end), Some('"' | '\'')));
    let gap = run(line, key_end + quote, is_between);
    let start = gap.end;
    let told = line.get(gap).is_some_and(|gap| gap.iter().any(|c| !c.is_whitespace()));
    match line.get(start)? {
        '{' | '[' if names_places(&line[start..]) => None,
        '{' => Some(start..line.len()),
        '"' | '\'' => Some(text(line, start)),
        _ if told => Some(start..line.len()),
        _ => None,
    }
}

/// Whether a table, or a list of them, says from its bracket on where secrets stand, and nothing else.
fn names_places(line: &[char]) -> bool {
    let (mut at, mut depth) = (0, 0);
    while at < line.len() {
        match line[at] {
            '{' | '[' => depth += 1,
            '}' | ']' if depth == 1 => {
                at += 1;
                break;
            }
            '}' | ']' => depth -= 1,
            '#' => break,
            c if c == ',' || c.is_whitespace() => {}
            _ => {
                let word = run(line, at, |c| c.is_ascii_lowercase());
                let is_place = PLACES.contains(&line[word.clone()].iter().collect::<String>().as_str());
                match value(line, word.end) {
                    Some(text) if is_place && is_one_text(&line[text.clone()]) => at = text.end,
                    _ => return false,
                }
                continue;
            }
        }
        at += 1;
    }
    let next = run(line, at, char::is_whitespace).end;
    matches!(line.get(next), None | Some(',' | '}' | ']' | '#'))
}

/// A text between its quotes, without another in it.
fn is_one_text(written: &[char]) -> bool {
    match written {
        [quote @ ('"' | '\''), said @ .., end] => quote == end && !said.contains(quote),
        _ => false,
    }
}

/// A text from its opening quote on, quotes included; one that does not close, or goes on oddly, takes the rest of the line.
fn text(line: &[char], start: usize) -> Range<usize> {
    let quote = line[start];
    let mut at = start + 1;
    while at < line.len() {
        match line[at] {
            '\\' if quote == '"' => at += 2,
            c if c == quote => break,
            _ => at += 1,
        }
    }
    let end = (at + 1).min(line.len());
    let next = run(line, end, char::is_whitespace).end;
    match line.get(next) {
        None | Some(',' | '}' | '#') => start..end,
        Some(_) => start..line.len(),
    }
}

/// `name:password` of `//name:password@host`, given the `@`.
fn login(line: &[char], at: usize) -> Range<usize> {
    let begins = |end: &usize| {
        let before = &line[..*end];
        before.ends_with(&['/', '/']) || before.ends_with(&['"']) || before.ends_with(&['\''])
    };
    let start =
        (0..=at).rev().find(|end| begins(end) || line[..*end].last().is_none_or(|c| c.is_whitespace()));
    start.unwrap_or_default()..at
}

/// From `start` as long as `is`.
fn run(line: &[char], start: usize, is: impl Fn(char) -> bool) -> Range<usize> {
    let start = start.min(line.len());
    let length = line[start..].iter().take_while(|c| is(**c)).count();
    start..start + length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_secret_is_left_however_it_is_written() {
        for line in [
            r#"token = "hunter2""#,
            r#"token = "hunter2"#,
            r#"token = hunter2"#,
            r#"token = “hunter2”"#,
            r#"token = 'hunter2' # the old one"#,
            r#"token="hunter2""#,
            r#"  token: hunter2"#,
            r#"token "hunter2""#,
            r#""token" = "hunter2""#,
            r#"api.token = "hunter2""#,
            r#"tokne = "hunter2""#,
            r#"Password = "a\"hunter2""#,
            r#"auth = { username = "li", password = "hunter2" }"#,
            r#"api_key = ["hunter2"]"#,
            r#"url = "mqtt://li:hunter2@192.0.2.1""#,
            r#"url = mqtt://hunter2@192.0.2.1"#,
            r#"url = "li:hunter2@192.0.2.1""#,
            r#"url = "mqtt://li:hunter2/hunter2@1.2.3.4""#,
            r#"token = """hunter2"""#,
            r#"store_kee = "hunter2""#,
            r#"store_key_before = ["hunter2"]"#,
            r#"token = { inline = "hunter2" }"#,
            r#"token = { env = "X", inline = "hunter2" }"#,
            r#"token = [{ env = "X" }, "hunter2"]"#,
            r#"token = { env = "X" } hunter2"#,
            r#"token = { env = "X" "hunter2""#,
            r#"headers = { Authorization = "Bearer hunter2" }"#,
            r#"bearer = "hunter2""#,
            r#"url = "https://crm.example.com/e?gw=7&sig=hunter2""#,
            r#"url = https://crm.example.com/e#hunter2"#,
            r#"url = 'https://crm.example.com/e?a="hunter2'"#,
        ] {
            let shown: String = hushed(line).into_iter().collect();
            assert!(!shown.contains("hunter2"), "{shown}");
            assert_eq!(shown.chars().count(), line.chars().count());
        }
    }

    #[test]
    fn of_a_line_with_a_secret_no_text_is_shown() {
        for line in [
            r#"url = "mqtt://192.0.2.1" # "hunter2", 'hunter2'"#,
            r#""name" = 'a', code = hunter2"#,
            r#"  "hunter2","#,
            r#"hunter2"#,
        ] {
            let at = line.find("hunter2").unwrap();
            let shown: String = hushed_of_texts(line, at..at + 7).into_iter().collect();
            assert!(
                !shown.contains("hunter2") && !shown.contains("192") && !shown.contains("name"),
                "{shown}"
            );
            assert_eq!(shown.chars().count(), line.chars().count());
        }
        assert_eq!(hushed_of_texts("水", 0..9), ['*']);
        assert!(hushed_of_texts("", 5..9).is_empty());
    }

    #[test]
    fn an_address_loses_what_its_query_says() {
        for (url, shown) in [
            (
                "https://crm.example.com/e?gw=7&sig=hunter2#hunter2",
                "https://crm.example.com/e?gw=***&sig=***#***",
            ),
            (
                "https://crm.example.com/e?hunter2&token=&a=hunter=2",
                "https://crm.example.com/e?***&token=&a=***",
            ),
            ("https://crm.example.com/e#hunter2?a", "https://crm.example.com/e#***"),
            ("https://crm.example.com/e", "https://crm.example.com/e"),
        ] {
            assert_eq!(address(url), shown);
            assert_eq!(address(shown), shown);
        }
        assert!(has_secret("https://crm.example.com/e?gw=7&access_token=hunter2"));
        assert!(!has_secret("https://crm.example.com/token?gw=7&token="));
    }

    #[test]
    fn of_a_text_only_queries_are_gone() {
        let text = r#"
[[sync]]
url = "https://crm.example.com/e?sig=hunter2&a=\"b c" # 'http://x/?a=hunter2 hunter2' https://x#y z
url = 'http://x/?a="hunter2'
batch = 3
"#;
        let shown = r#"
[[sync]]
url = "https://crm.example.com/e?sig=***&a=***" # 'http://x/?a=***' https://x#*** z
url = 'http://x/?a=***'
batch = 3
"#;
        assert_eq!(addresses(text), shown);
        assert_eq!(addresses(shown), shown);
    }

    #[test]
    fn what_is_no_secret_is_shown() {
        for line in [
            r#"token = { credential = "central-token" }"#,
            r#"token = { credential = "central-token""#,
            r#"crm = { token = { file = "/run/crm", env = "CRM" }, batch = 3 } # the CRM's"#,
            r#"store_key_before = [{ credential = "a" }, { file = 'b' }]"#,
            "key_before = [ # those before",
            "[[api.token]]",
            r#"url = "http://192.0.2.1/events""#,
            r#"type = "modbus-tcp""#,
            r#"keep = "30d""#,
            "# the token is elsewhere",
            "",
        ] {
            assert_eq!(hushed(line).into_iter().collect::<String>(), line);
        }
    }
}
