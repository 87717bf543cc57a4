//! Tool: log lines on stderr. With times for people, with priorities and without times for the journal of systemd,
//! which has its own.
//!
//! Words from outside (a topic, a note, a centre's answer) stand in them. Here, in one place, it is seen to that a line
//! stays one line and orders no terminal anything: whatever could is written as an escape. Fields are not sent beside the
//! line by the journal's own protocol: the lines would be gone from stderr, and `journalctl -g channel=plant` finds them.

use std::fmt::{self, Debug, Display, Write as _};
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;

/// `info`, or a list by room: `info,gatehouse::field=debug,hyper_util=trace`. What speaks through the crate `log` is never
/// heard: rumqttc shows whole packets there, with people's names in them.
pub const VARIABLE: &str = "GATEHOUSE_LOG";

/// Takes over logging for the whole process, at `default` where the environment does not say.
/// Called twice, the first call stays.
pub fn init(default: LevelFilter) {
    let asked = std::env::var(VARIABLE).unwrap_or_default();
    let parsed = targets(&asked, default);
    // To complain on stderr that stderr takes nothing would break whoever logs: on a full disk it may be a file there.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .log_internal_errors(false)
        .fmt_fields(Harmless);
    let lines = if stderr_is_the_journal() {
        lines.with_ansi(false).event_format(Journald).boxed()
    } else {
        lines.with_ansi(io::stderr().is_terminal()).boxed()
    };
    let filter = parsed.clone().unwrap_or_else(|_| with_quiet_dependencies(default));
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
    if let Err(why) = parsed {
        tracing::warn!("{VARIABLE}=`{asked}` is no level: {why}; say error, warn, info, debug or trace");
    }
}

fn targets(asked: &str, default: LevelFilter) -> Result<Targets, String> {
    if asked.is_empty() {
        return Ok(with_quiet_dependencies(default));
    }
    if let Ok(level) = asked.parse::<LevelFilter>() {
        return Ok(with_quiet_dependencies(level));
    }
    // A bare word would be taken for a target and silence everything else.
    if let Some(word) =
        asked.split(',').find(|part| !part.contains('=') && part.parse::<LevelFilter>().is_err())
    {
        return Err(format!("`{word}`"));
    }
    asked.parse::<Targets>().map_err(|error| error.to_string())
}

/// Ours at this level; what others say only where something is wrong.
fn with_quiet_dependencies(level: LevelFilter) -> Targets {
    Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("gatehouse", level)
}

/// systemd names the device and inode of the stream it gave us; a child that writes elsewhere inherits the name.
fn stderr_is_the_journal() -> bool {
    let named = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let stream = io::stderr().as_fd().try_clone_to_owned().map(std::fs::File::from);
    let stream = stream.and_then(|file| file.metadata());
    stream.is_ok_and(|ours| named == format!("{}:{}", ours.dev(), ours.ino()))
}

/// `<6>message field=value`
struct Journald;

impl<S, N> FormatEvent<S, N> for Journald
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// A text of several lines, each as a line of its own.
pub fn error_lines(text: &impl Display) {
    text.to_string().lines().for_each(|line| tracing::error!("{line}"));
}

/// Likewise.
pub fn warn_lines(text: &impl Display) {
    text.to_string().lines().for_each(|line| tracing::warn!("{line}"));
}

/// A text for a terminal, which may have several lines and orders it nothing.
pub fn harmless(text: &impl Display) -> String {
    let lines: Vec<String> = text.to_string().lines().map(escaped).collect();
    lines.join("\n")
}

fn escaped(line: &str) -> String {
    let mut safe = String::with_capacity(line.len());
    // Writing into a String cannot fail.
    let _ = Escaped(&mut safe).write_str(line);
    safe
}

/// `message field=value`, whatever is in them.
struct Harmless;

impl<'w> FormatFields<'w> for Harmless {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = Line { to: Escaped(&mut writer), is_begun: false, done: Ok(()) };
        fields.record(&mut line);
        line.done
    }
}

struct Line<'a> {
    to: Escaped<'a>,
    is_begun: bool,
    done: fmt::Result,
}

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.record_debug(field, &format_args!("{value}"));
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.done.is_err() {
            return;
        }
        let between = if std::mem::replace(&mut self.is_begun, true) { " " } else { "" };
        self.done = match field.name() {
            "message" => write!(self.to, "{between}{value:?}"),
            name => write!(self.to, "{between}{}={value:?}", name.trim_start_matches("r#")),
        };
    }
}

struct Escaped<'a>(&'a mut dyn fmt::Write);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((at, harmful)) = rest.char_indices().find(|(_, c)| is_harmful(*c)) {
            self.0.write_str(&rest[..at])?;
            write!(self.0, "{}", harmful.escape_default())?;
            rest = &rest[at + harmful.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

/// It ends a line somewhere, orders a terminal something, or turns round what is shown.
fn is_harmful(c: char) -> bool {
    let turns =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_begins_a_line_or_orders_the_terminal_anything() {
        let hostile = "水压\n<3>forged\r\u{1b}[2J\u{9b}31m\u{202e}\u{2028}\0\u{7f}end";
        let safe = escaped(hostile);
        assert!(!safe.chars().any(is_harmful), "{safe}");
        assert!(
            safe.starts_with("水压\\n<3>forged\\r\\u{1b}[2J\\u{9b}31m") && safe.ends_with("end"),
            "{safe}"
        );
        assert_eq!(escaped("锦绣花园 23.5 °C \"x\""), "锦绣花园 23.5 °C \"x\"");
        assert_eq!(harmless(&"one\ntwo\u{1b}"), "one\ntwo\\u{1b}");
    }

    #[test]
    fn dependencies_stay_quiet_until_they_are_named() {
        let debug = targets("debug", LevelFilter::INFO).unwrap();
        assert!(debug.would_enable("gatehouse", &Level::DEBUG));
        assert!(!debug.would_enable("hyper::proto", &Level::INFO));
        assert!(debug.would_enable("hyper::proto", &Level::WARN));
        let named = targets("warn,hyper=trace", LevelFilter::INFO).unwrap();
        assert!(named.would_enable("hyper::proto", &Level::TRACE));
        assert!(!named.would_enable("gatehouse", &Level::INFO));
        assert!(targets("error", LevelFilter::INFO).unwrap().would_enable("gatehouse", &Level::ERROR));
        assert!(!targets("error", LevelFilter::INFO).unwrap().would_enable("hyper", &Level::WARN));
    }

    #[test]
    fn a_word_that_is_no_level_is_refused() {
        assert!(targets("debgu", LevelFilter::INFO).unwrap_err().contains("debgu"));
        assert!(targets("gatehouse=loud", LevelFilter::INFO).is_err());
        assert!(targets("", LevelFilter::INFO).unwrap().would_enable("gatehouse", &Level::INFO));
    }
}
