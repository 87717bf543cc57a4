//! How a person is asked: on stderr, so that `--dry-run > file` is a file; a flag or `--yes` answers in their place.

use std::io::{self, BufRead, Write};

use anyhow::bail;

/// In which language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tongue {
    Zh,
    En,
}

/// So often a wrong answer is asked again.
const TRIES_MAX: usize = 20;
const ANSWER_CHARS_MAX: usize = 200;

impl Tongue {
    pub fn parse(word: &str) -> Result<Self, String> {
        match word {
            "zh-CN" | "zh" => Ok(Tongue::Zh),
            "en" => Ok(Tongue::En),
            other => Err(format!("`{other}` is not spoken; say zh-CN or en")),
        }
    }

    /// Chinese, unless the environment says another.
    pub fn of_the_environment() -> Self {
        let said = ["LC_ALL", "LC_MESSAGES", "LANG"].iter().find_map(|name| {
            std::env::var(name).ok().filter(|value| !value.is_empty() && value != "C" && value != "POSIX")
        });
        match said {
            Some(said) if !said.starts_with("zh") && !said.starts_with("C.") => Tongue::En,
            _ => Tongue::Zh,
        }
    }

    pub fn pick(self, zh: &'static str, en: &'static str) -> &'static str {
        match self {
            Tongue::Zh => zh,
            Tongue::En => en,
        }
    }

    pub fn locale(self) -> &'static str {
        self.pick("zh-CN", "en")
    }
}

#[derive(Debug)]
pub struct Asker {
    tongue: Tongue,
    yes: bool,
}

impl Asker {
    pub fn new(tongue: Tongue, yes: bool) -> Self {
        Self { tongue, yes }
    }

    pub fn tongue(&self) -> Tongue {
        self.tongue
    }

    pub fn say(&self, line: &str) -> anyhow::Result<()> {
        Ok(writeln!(io::stderr().lock(), "{line}")?)
    }

    /// `told`: by a flag. A wrong answer of a person is asked again, a wrong flag is an error.
    pub fn ask(
        &mut self,
        question: &str,
        default: &str,
        told: Option<&str>,
        right: impl Fn(&str) -> Result<(), String>,
    ) -> anyhow::Result<String> {
        let given = told.or(self.yes.then_some(default));
        if let Some(given) = given {
            return match right(given) {
                Ok(()) => Ok(given.to_owned()),
                Err(why) => bail!("{question}: `{given}`: {why}"),
            };
        }
        for _ in 0..TRIES_MAX {
            let answer = self.answer(question, default)?;
            match right(&answer) {
                Ok(()) => return Ok(answer),
                Err(why) => self.say(&format!("  {why}"))?,
            }
        }
        bail!("{question}: {}", self.tongue.pick("没有可用的回答", "no answer that can be used"))
    }

    fn answer(&self, question: &str, default: &str) -> anyhow::Result<String> {
        let mut err = io::stderr().lock();
        write!(err, "{question} [{default}]: ")?;
        err.flush()?;
        let mut line = String::new();
        if io::stdin().lock().read_line(&mut line)? == 0 {
            bail!(
                "{}",
                self.tongue.pick("输入已结束，没有写入任何文件", "the input has ended; nothing was written")
            );
        }
        let answer = line.trim();
        Ok(if answer.is_empty() { default.to_owned() } else { answer.to_owned() })
    }
}

pub fn yes_or_no(answer: &str) -> Result<(), String> {
    if matches!(answer, "y" | "n") { Ok(()) } else { Err("y / n".into()) }
}

/// As the configuration takes it: `[a-z0-9-]`, 1 to 64 long.
pub fn id(answer: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=64).contains(&answer.len()) && answer.chars().all(plain) {
        Ok(())
    } else {
        Err("a-z 0-9 -".into())
    }
}

/// A directory is named wholly: the service starts elsewhere than the person who answers.
pub fn whole_path(answer: &str) -> Result<(), String> {
    if answer.starts_with('/') { short(answer) } else { Err("/var/lib/gatehouse".into()) }
}

/// One line of a length that fits into a page.
pub fn short(answer: &str) -> Result<(), String> {
    if answer.chars().count() <= ANSWER_CHARS_MAX && !answer.chars().any(char::is_control) {
        return Ok(());
    }
    Err(format!("one line, {ANSWER_CHARS_MAX} characters at the most"))
}
