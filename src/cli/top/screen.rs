//! The terminal while it is ours: another screen, no echo, no cursor; and as it was on every way out.

use std::io::{self, Write as _};
use std::panic;

use rustix::termios::{InputModes, LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// The other screen, no cursor, and a long line does not go on in the next one.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const LEAVE: &str = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";
/// Columns and rows of a terminal that does not say.
const USUAL: Size = Size { columns: 80, rows: 24 };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub columns: usize,
    pub rows: usize,
}

pub struct Screen {
    before: Option<Termios>,
}

impl Screen {
    pub fn enter() -> io::Result<Self> {
        // Where no terminal is at stdin there are no keys, and nothing to set.
        let before = tcgetattr(io::stdin()).ok();
        // Made first, so that whatever fails from here on puts all back.
        let screen = Self { before: before.clone() };
        if let Some(mut ours) = before.clone() {
            ours.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
            // Ctrl-S would stop the picture.
            ours.input_modes.remove(InputModes::IXON);
            tcsetattr(io::stdin(), OptionalActions::Now, &ours)?;
        }
        let told = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            restore(before.as_ref());
            told(panic);
        }));
        screen.write(ENTER)?;
        Ok(screen)
    }

    pub fn size() -> Size {
        let Ok(size) = tcgetwinsize(io::stdout()) else { return USUAL };
        let or = |said: u16, usual| if said == 0 { usual } else { usize::from(said) };
        Size { columns: or(size.ws_col, USUAL.columns), rows: or(size.ws_row, USUAL.rows) }
    }

    /// From the top on; what was below is gone. No line feed follows the last line, or the screen would scroll.
    pub fn draw(&self, lines: &[String]) -> io::Result<()> {
        let mut text = String::from("\x1b[H");
        for (number, line) in lines.iter().enumerate() {
            text.push_str(if number == 0 { "" } else { "\r\n" });
            text.push_str(line);
            text.push_str("\x1b[0m\x1b[K");
        }
        text.push_str("\x1b[J");
        self.write(&text)
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore(self.before.as_ref());
    }
}

/// A terminal that is gone needs nothing put back.
fn restore(before: Option<&Termios>) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(LEAVE.as_bytes()).and_then(|()| out.flush());
    if let Some(before) = before {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
    }
}
