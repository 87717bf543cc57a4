//! What is logged by all tests of one file, kept for them: a subscriber of one thread would miss what another logs first.
#![allow(dead_code, reason = "each test uses a part")]

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};

use tracing::Level;

#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

/// At this level, as who asks first has it; without times, whose digits could look like a card.
pub fn log(level: Level) -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        let all = tracing_subscriber::fmt().with_max_level(level).without_time().with_ansi(false);
        all.with_writer(move || writer.clone()).init();
        log
    })
}

impl Log {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// Lines that hold all of these.
    pub fn count(&self, words: &[&str]) -> usize {
        self.text().lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
