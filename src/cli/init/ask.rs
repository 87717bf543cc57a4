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

/// A flag in place of an answer, and what it says: `("--id", "cp-017")`.
pub type Flag<'a> = (&'static str, &'a str);

/// A flag that does not fit the question: wrong usage, as clap would call it.
#[derive(Debug, thiserror::Error)]
#[error("{flag} `{value}` cannot be used: {why} ({question})")]
pub struct WrongFlag {
    flag: &'static str,
    value: String,
    why: String,
    question: String,
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
        told: Option<Flag<'_>>,
        right: impl Fn(&str) -> Result<(), String>,
    ) -> anyhow::Result<String> {
        if let Some((flag, value)) = told {
            return right(value).map(|()| value.to_owned()).map_err(|why| {
                let (value, question) = (value.to_owned(), question.trim().to_owned());
                WrongFlag { flag, value, why, question }.into()
            });
        }
        if self.yes {
            return match right(default) {
                Ok(()) => Ok(default.to_owned()),
                Err(why) => bail!("{question}: `{default}`: {why}"),
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
        Err("1 … 64 × a-z 0-9 -, cp-017".into())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_flag_names_itself_its_value_and_what_is_right() {
        let mut asker = Asker::new(Tongue::En, true);
        let wrong = asker.ask("Gateway id", "cp-1", Some(("--id", "Böse ID")), id).unwrap_err();
        assert!(wrong.is::<WrongFlag>());
        for word in ["--id", "`Böse ID`", "a-z 0-9 -", "Gateway id"] {
            assert!(wrong.to_string().contains(word), "{wrong}");
        }
        // Nobody told that.
        assert!(!asker.ask("Gateway id", "Böse ID", None, id).unwrap_err().is::<WrongFlag>());
        assert_eq!(asker.ask("Gateway id", "cp-1", Some(("--id", "cp-2")), id).unwrap(), "cp-2");
    }
}
