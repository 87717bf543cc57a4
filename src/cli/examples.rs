//! What stands below each command's `--help`, and in its man page: a line or two as one would type them.

pub const ALL: &str = "\
Ends with 0 where all is well, 1 where it failed, 2 for wrong usage, 78 for a bad configuration.
Begin with `gatehouse demo`, or with `gatehouse init`; `gatehouse COMMAND --help` has examples of each.";

pub const ACL: &str = "\
Examples:
  gatehouse acl broker
  gatehouse acl broker > /etc/mosquitto/gatehouse.acl

What it prints begins with how it is put in place.";

pub const RUN: &str = "\
Examples:
  gatehouse run
  gatehouse run --config ./compound.toml";

pub const DEMO: &str = "\
Examples:
  gatehouse demo
  gatehouse demo --for 60s --listen 127.0.0.1:8099";

pub const VERIFY: &str = "\
Examples:
  gatehouse verify
  gatehouse verify /media/usb/cp-017.backup --json

Ends with 1 where anything is not as it was told, with 3 where not all could be looked at. --anchor
<epoch>.<number>:<64 digits> is what the centre has kept of `chain`, which nobody at the box can change.";

pub const ERASE: &str = "\
Examples:
  gatehouse erase c-0123456789abcdef --by Wang --reason 'has moved out'
  gatehouse erase c-0123456789abcdef --yes

The events keep number and type and say nothing more; the centre is told (gateway.erased). Backups and copies that people have made are theirs to delete.";

pub const CHECK: &str = "\
Examples:
  gatehouse check
  gatehouse check --config ./compound.toml
  gatehouse check --against-running

Ends with 78 where anything is wrong.";

pub const RELOAD: &str = "\
Examples:
  gatehouse check --against-running   what it would change
  gatehouse reload

Ends with 78 where the configuration is refused; then nothing has changed.";

pub const READ: &str = "\
Examples:
  gatehouse read pump-1                    every point of the device
  gatehouse read pump-1.pressure --json";

pub const SCAN: &str = "\
Examples:
  gatehouse scan rs485-1                   all addresses, with the speeds that are usual
  gatehouse scan rs485-1 --to 16 --line '9600 8N1' --timeout 300ms";

pub const STATUS: &str = "\
Examples:
  gatehouse status
  gatehouse status --json | jq '.readiness.degraded'

Ends with 0 where the daemon is ready, else with 1.";

pub const TOP: &str = "\
Examples:
  gatehouse top
  gatehouse top --every 5s
  gatehouse top --once | less

Keys: q ends; arrows, PgUp, PgDn, Home and End scroll the part that is marked; Tab marks the next part.";

pub const SCHEMA: &str = "\
Examples:
  gatehouse schema > gatehouse.schema.json
  gatehouse schema profile > profile.schema.json";

pub const TICKETS: &str = "\
Examples:
  gatehouse tickets
  gatehouse tickets --state open --device pump-1
  gatehouse tickets --all --json | jq -r '.tickets[] | [.number, .title] | @tsv'";

pub const EVENTS: &str = "\
Examples:
  gatehouse events
  gatehouse events --follow --types 'ticket.*'
  gatehouse events --after 0 --json > journal.jsonl

Followed, it ends with 1 when the daemon goes, and says from where to go on.";

pub const MAINTENANCE: &str = "\
Examples:
  gatehouse maintenance
  gatehouse maintenance --device pump-1 --for 2h --by Wang --note 'new seals'
  gatehouse maintenance --place 3号楼/地下室 --end";

pub const HISTORY: &str = "\
Examples:
  gatehouse history pump-1.pressure
  gatehouse history pump-1.pressure --since 7d --until 1d
  gatehouse history b3-door.door --since 2026-11-21T08:00:00Z --table
  gatehouse history pump-1.pressure --json";

pub const REPLAY: &str = "\
Examples:
  gatehouse replay pump-pressure-low --since 7d
  gatehouse replay pump-pressure-low --compare 220
  gatehouse replay mine.toml --csv readings.csv --json";

pub const BACKUP: &str = "\
Examples:
  gatehouse backup --to /media/usb/cp-017.backup
  gatehouse backup --to - | ssh archive 'cat > cp-017.backup'";

pub const RESTORE: &str = "\
Examples:
  gatehouse restore cp-017.backup
  gatehouse restore cp-017.backup --write-config   onto a box without a configuration";

pub const DOCTOR: &str = "\
Examples:
  gatehouse doctor
  sudo -u gatehouse gatehouse doctor --json | jq '.findings[] | select(.verdict == \"bad\")'

Ends with 0 where nothing is bad, else with 1.";

pub const PROFILES: &str = "\
Examples:
  gatehouse profiles
  gatehouse profiles xy-md02 > profiles/my-sensor.toml";

pub const COMPLETIONS: &str = "\
Examples:
  gatehouse completions bash > /etc/bash_completion.d/gatehouse
  gatehouse completions zsh > /usr/local/share/zsh/site-functions/_gatehouse
  gatehouse completions fish > /etc/fish/completions/gatehouse.fish";

pub const MAN: &str = "\
Examples:
  gatehouse man | man -l -
  gatehouse man --dir /usr/local/share/man/man1";

pub const PSEUDONYM: &str = "\
Examples:
  sudo -u gatehouse gatehouse pseudonym card < lost-card.txt
  echo 6154410 | gatehouse pseudonym card --json

One line for each key, that of now first; those of `key_before` follow.";

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use crate::cli::Cli;

    /// The words of a line as a shell takes them, up to where the line goes on to another program, a file or a remark.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
        let line =
            [" | ", " > ", " < ", "   "].iter().fold(line, |line, end| line.split(end).next().unwrap());
        for letter in line.chars() {
            match letter {
                '\'' => quoted = !quoted,
                ' ' if !quoted => words.push(std::mem::take(&mut word)),
                letter => word.push(letter),
            }
        }
        words.push(word);
        words
    }

    #[test]
    fn every_command_has_examples_and_each_of_them_is_taken() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            let help =
                command.get_after_help().unwrap_or_else(|| panic!("`{name}` has no examples")).to_string();
            let lines: Vec<&str> = help.lines().filter_map(|line| line.strip_prefix("  ")).collect();
            assert!(help.starts_with("Examples:") && !lines.is_empty(), "{name}: {help}");
            for line in lines {
                let at = line.find("gatehouse ").unwrap_or_else(|| panic!("{name}: {line}"));
                let at = line[at..].find(&format!("gatehouse {name}")).map_or(at, |further| at + further);
                if let Err(refused) = Cli::try_parse_from(words(&line[at..])) {
                    panic!("{line}: {refused}");
                }
            }
        }
    }
}
