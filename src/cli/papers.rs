//! `completions` and `man`: what shells and `man` want to know of the commands, made of the words of `--help`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Command, CommandFactory as _, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Cli, print};

const NAME: &str = "gatehouse";
/// When somebody last looked over all words of the pages.
const WRITTEN: &str = "2026-11-22";

#[derive(Debug, Args)]
pub struct Completions {
    shell: Known,
}

/// Those with which it is tested.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Known {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, Args)]
pub struct Manual {
    /// Writes a page for each command into this directory, in place of one page to standard output
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub fn completions(asked: &Completions) -> anyhow::Result<ExitCode> {
    let shell = match asked.shell {
        Known::Bash => Shell::Bash,
        Known::Zsh => Shell::Zsh,
        Known::Fish => Shell::Fish,
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut text);
    print(&String::from_utf8(text).context("the completions cannot be written")?)?;
    Ok(ExitCode::SUCCESS)
}

pub fn manual(asked: &Manual) -> anyhow::Result<ExitCode> {
    let pages = pages()?;
    match &asked.dir {
        Some(dir) => {
            write(dir, &pages)?;
            print(&format!("{} pages in {}\n", pages.len(), dir.display()))?;
        }
        None => print(&pages[0].1)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn write(dir: &Path, pages: &[(String, String)]) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    for (name, page) in pages {
        let file = dir.join(name);
        fs::write(&file, page).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

/// By the name of its file, the page of all first.
fn pages() -> anyhow::Result<Vec<(String, String)>> {
    let mut all = Cli::command().disable_help_subcommand(true);
    all.build();
    let each = all.get_subcommands().map(|command| {
        let name = format!("{NAME}-{}", command.get_name());
        // `man` wants one word, and `--help` of it two.
        let usage = format!("{NAME} {}", command.get_name());
        command.clone().version(env!("CARGO_PKG_VERSION")).display_name(name).bin_name(usage)
    });
    let commands: Vec<Command> = each.collect();
    std::iter::once(all).chain(commands).map(page).collect()
}

fn page(command: Command) -> anyhow::Result<(String, String)> {
    let source = format!("{NAME} {}", env!("CARGO_PKG_VERSION"));
    let title = command.get_display_name().unwrap_or(NAME).to_uppercase();
    let name = title.to_lowercase();
    let page = Man::new(command).title(title).date(WRITTEN).source(source).manual("gatehouse");
    let mut text = Vec::new();
    page.render(&mut text).context("the page cannot be written")?;
    let text = String::from_utf8(text)?;
    // What stands below `--help` has a heading of its own there.
    let text = text.replace(".SH EXTRA\nExamples:\n", ".SH EXAMPLES\n").replace(".SH EXTRA\n", ".SH NOTES\n");
    Ok((format!("{name}.1"), text))
}
