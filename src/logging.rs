//! Tool: log lines on stderr. With times for people, with priorities and without times for the journal of systemd,
//! which has its own.

use std::fmt;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
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
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).log_internal_errors(false);
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

#[cfg(test)]
mod tests {
    use super::*;

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
