//! Secrets are named in the configuration and stand elsewhere: a systemd credential, a file, the environment.

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::codes::Code;
use super::kinds::wrong;
use super::mistakes::Report;
use super::section::{Read as _, Section, Wrong};
use super::tree::{self, Entry, Node, Table, Value};
use crate::fingerprint::{self, Fingerprint};
use crate::secret::Secret;
use zeroize::Zeroizing;

/// Bytes of one secret, in one line.
const SECRET_MAX: u64 = 4096;
/// Characters of a token; one with fewer is warned of.
const TOKEN_CHARS_FEW: usize = 16;
/// Bytes of one file of certificates or a key.
const PEM_MAX: u64 = 256 * 1024;
/// Secrets in one list.
const LIST_MAX: usize = 8;
/// What a command says that was not started by systemd, of every credential there is.
pub(super) const NONE_GIVEN: &str = "since systemd gave none ($CREDENTIALS_DIRECTORY is not set)";
/// Stands for a secret that is not read; as long as any has to be.
const UNREAD: &str = "00000000000000000000000000000000";
pub(super) const HOW: &str =
    "write `{ credential = \"name\" }`, `{ file = \"/path\" }` or `{ env = \"NAME\" }`";

/// The secret behind `key`, read now.
pub(super) fn take(section: &mut Section<'_>, key: &'static str) -> Option<Secret> {
    section.hear(key, grammar);
    let entry = section.entry(key)?;
    secret(section, entry)
}

/// Several of them in one list.
pub(super) fn list(section: &mut Section<'_>, key: &'static str) -> Vec<Secret> {
    section.hear(key, || json!({ "type": "array", "items": grammar(), "maxItems": LIST_MAX }));
    let Some(entry) = section.entry(key) else { return Vec::new() };
    match &entry.value.node {
        Node::List(values) if values.len() <= LIST_MAX => {
            let one = |value: &Value| secret(section, &Entry { value: value.clone(), ..entry.clone() });
            values.iter().filter_map(one).collect()
        }
        _ => {
            let cure = format!("write up to {LIST_MAX} of them: `[{{ credential = \"name\" }}]`");
            let what = format!("`{key}` is a list of secrets");
            section.report.mistake(Code::SecretNotNamed, entry.value.spot, what, cure);
            Vec::new()
        }
    }
}

/// One of three places.
pub(super) fn grammar() -> Json {
    let place = String::grammar();
    json!({
        "type": "object",
        "properties": { "credential": place, "file": place, "env": place },
        "additionalProperties": false,
        "minProperties": 1,
        "maxProperties": 1,
    })
}

/// The same; without it the table is of no use.
pub(super) fn require(section: &mut Section<'_>, key: &'static str) -> Option<Secret> {
    section.hear(key, grammar);
    let entry = section.entry(key);
    section.hear_required(key);
    if entry.is_none() {
        section.missing(key, HOW);
    }
    secret(section, entry?)
}

/// Of an API's token no more than its fingerprint is kept. What stands there may be that already: then the token itself is
/// nowhere on this machine.
pub(super) fn fingerprint(section: &mut Section<'_>, key: &'static str) -> Option<Fingerprint> {
    let secret = require(section, key)?;
    let (report, text) = (section.report, secret.reveal());
    let spot = section.peek(key).map(|entry| entry.value.spot)?;
    let is_bare = Fingerprint::read(&format!("{}{text}", fingerprint::PREFIX)).is_some();
    if is_bare {
        let what = format!("`{key}`: the 64 hex digits that stand there seem to be a token's fingerprint");
        let cure = "write `sha256:` before it; a token itself is better taken from `gatehouse token`";
        report.mistake(Code::SecretUnusable, spot, what, cure);
        return None;
    }
    if !Fingerprint::begins(text) {
        if text.chars().count() < TOKEN_CHARS_FEW {
            let what = format!("`{key}` has fewer than {TOKEN_CHARS_FEW} characters, which can be guessed");
            report.warning(Code::ShortToken, spot, what, "take a new one from `gatehouse token`");
        }
        return Some(Fingerprint::of(text.as_bytes()));
    }
    let own = Fingerprint::read(text).filter(|own| *own != Fingerprint::of(b""));
    if own.is_none() {
        report.mistake(
            Code::SecretUnusable,
            spot,
            format!("`{key}`: what stands there begins like a fingerprint and is none"),
            "write `sha256:` and 64 hex digits, as `gatehouse token` prints it, or the token itself",
        );
    }
    own
}

/// A private key, named like any secret; it has many lines.
pub(super) fn pem(section: &mut Section<'_>, key: &'static str, holds: &str) -> Option<Secret> {
    section.hear(key, grammar);
    let entry = section.entry(key)?;
    found(section, entry, |table, base| {
        let (name, text) = text(table, base)?;
        let text = Zeroizing::new(text);
        is_pem(&name, &text, holds).map(|()| Secret::new(&text))
    })
}

/// Certificates are no secret: the path of their file stands alone.
pub(super) fn pem_file(section: &mut Section<'_>, key: &'static str, holds: &str) -> Option<Arc<str>> {
    let told = section.take::<String>(key)?;
    if section.report.blind {
        return None;
    }
    let base = base(section.report, told.spot.file);
    let text = file(&base.join(&told.value), "name a PEM file that gatehouse may read");
    match text.and_then(|text| is_pem(&told.value, &text, holds).map(|()| text)) {
        Ok(text) => {
            section.report.read_beside(&text);
            return Some(text.into());
        }
        Err(Wrong::Value(code, what, cure)) => {
            section.report.mistake(code, told.spot, format!("`{key}`: {what}"), cure);
        }
        Err(Wrong::Type) => {}
    }
    None
}

/// The files in which the texts of a configuration say that secrets stand, whether there are such files or not.
pub fn files(texts: &[(PathBuf, String)]) -> Vec<PathBuf> {
    let report = Report::new(texts.iter().map(|(path, text)| (path.as_path(), text.as_str())).collect());
    let mut files = Vec::new();
    for file in 0..texts.len() {
        let root = tree::parse(file, &report);
        gather(&root, &base(&report, file), &mut files);
    }
    files
}

fn gather(table: &Table, base: &Path, files: &mut Vec<PathBuf>) {
    if let [Entry { key, value: Value { node: Node::Text(name), .. }, .. }] = table.entries.as_slice() {
        match (key.as_str(), std::env::var_os("CREDENTIALS_DIRECTORY")) {
            ("file", _) => files.push(base.join(name)),
            ("credential", Some(dir)) => files.push(Path::new(&dir).join(name)),
            _ => {}
        }
    }
    // A private key whose path stands alone, beside its certificate's.
    if let (Some(_), Some(key)) = (table.text("cert"), table.text("key")) {
        files.push(base.join(key));
    }
    for entry in &table.entries {
        match &entry.value.node {
            Node::Table(inner) => gather(inner, base, files),
            Node::List(list) => list.iter().for_each(|value| {
                if let Node::Table(inner) = &value.node {
                    gather(inner, base, files);
                }
            }),
            _ => {}
        }
    }
}

fn is_pem(name: &str, text: &str, holds: &str) -> Result<(), Wrong> {
    let begins =
        |line: &str| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(&format!("{holds}-----"));
    if text.len() as u64 <= PEM_MAX && text.lines().any(begins) {
        return Ok(());
    }
    Err(wrong(
        Code::SecretUnusable,
        format!("`{name}` holds no {}", holds.to_lowercase()),
        format!("it has to be PEM: text with a line `-----BEGIN {holds}-----`"),
    ))
}

fn secret(section: &Section<'_>, entry: &Entry) -> Option<Secret> {
    found(section, entry, read)
}

fn found(
    section: &Section<'_>,
    entry: &Entry,
    read: impl FnOnce(&Table, &Path) -> Result<Secret, Wrong>,
) -> Option<Secret> {
    let (report, spot) = (section.report, entry.value.spot);
    match &entry.value.node {
        Node::Table(_) if report.blind => return Some(Secret::new(UNREAD)),
        Node::Table(table) => match read(table, &base(report, spot.file)) {
            Ok(secret) => {
                report.read_beside(secret.reveal());
                return Some(secret);
            }
            Err(Wrong::Value(code, what, cure)) => {
                report.mistake(code, spot, format!("`{}`: {what}", entry.key), cure);
            }
            Err(Wrong::Type) => {
                report.mistake(
                    Code::SecretNotNamed,
                    spot,
                    format!("`{}` names no one place", entry.key),
                    HOW,
                );
            }
        },
        _ => report.mistake(
            Code::SecretInTheOpen,
            spot,
            format!("`{}`: a secret must not stand in the configuration", entry.key),
            HOW,
        ),
    }
    None
}

/// A secret's file is named relative to the file that names it.
fn base(report: &Report<'_>, file: usize) -> PathBuf {
    let path = report.sources().get(file).map_or(Path::new(""), |(path, _)| path);
    path.parent().unwrap_or(Path::new("")).to_owned()
}

/// What the one place named holds, and its name.
fn text(table: &Table, base: &Path) -> Result<(String, String), Wrong> {
    let [entry] = table.entries.as_slice() else {
        return Err(Wrong::Type);
    };
    let name = String::read(&entry.value)?;
    let text = match entry.key.as_str() {
        "credential" => credential(&name)?,
        "file" => file(&base.join(&name), "create it, readable for gatehouse alone")?,
        "env" => std::env::var(&name).map_err(|_| {
            wrong(
                Code::SecretNotThere,
                format!("the environment has no `{name}`"),
                format!("set `{name}` where gatehouse is started"),
            )
        })?,
        _ => return Err(Wrong::Type),
    };
    Ok((name, text))
}

/// A secret of one line.
fn read(table: &Table, base: &Path) -> Result<Secret, Wrong> {
    let (name, text) = text(table, base)?;
    let text = Zeroizing::new(text);
    let text = text.trim();
    if text.is_empty() {
        return Err(wrong(
            Code::SecretUnusable,
            format!("`{name}` is empty"),
            "write the secret into it, in one line",
        ));
    }
    if text.len() as u64 > SECRET_MAX || text.chars().any(char::is_control) {
        return Err(wrong(
            Code::SecretUnusable,
            format!("`{name}` is not one line of {SECRET_MAX} bytes or fewer"),
            "keep the secret alone in it",
        ));
    }
    Ok(Secret::new(text))
}

fn credential(name: &str) -> Result<String, Wrong> {
    // It is the name of a file in one directory, and must not lead out of it.
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.chars().all(plain) || name.starts_with('.') {
        return Err(wrong(
            Code::BadName,
            format!("`{name}` is no name of a credential"),
            "write letters, digits, `-`, `_` and `.` only",
        ));
    }
    let cure = format!(
        "add `LoadCredential={name}:/path/to/it` to the service, or write `{{ file = \"/path/to/it\" }}`"
    );
    match std::env::var_os("CREDENTIALS_DIRECTORY") {
        Some(dir) => file(&Path::new(&dir).join(name), &cure),
        None => Err(wrong(Code::SecretNotThere, format!("no credential `{name}`, {NONE_GIVEN}"), cure)),
    }
}

fn file(path: &Path, cure: &str) -> Result<String, Wrong> {
    let mut text = String::new();
    // What stands there may be no file: a pipe that nobody writes to would be waited for, and all with it.
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .and_then(|file| file.take(PEM_MAX + 2).read_to_string(&mut text))
        .map(|_| text)
        .map_err(|error| {
            wrong(Code::SecretNotThere, format!("cannot read `{}`: {error}", path.display()), cure)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_to_which_nobody_writes_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("key.pem");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(file(&pipe, "").unwrap(), "");
    }

    #[test]
    fn the_files_of_secrets_are_found_wherever_they_are_named() {
        let text = "[privacy]\nkey = { file = \"keys/privacy\" }\n[[sync]]\nname = \"crm\"\ntoken = { file = \"/run/crm\" }\n\
                    [api]\ntls = { cert = \"c.pem\", key = \"k.pem\" }\n[[api.token]]\ntoken = { env = \"X\" }\n";
        let found = files(&[(PathBuf::from("/etc/gatehouse/gatehouse.toml"), text.to_owned())]);
        assert_eq!(found, ["/etc/gatehouse/keys/privacy", "/run/crm", "/etc/gatehouse/k.pem"].map(Path::new));
    }
}
