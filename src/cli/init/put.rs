//! How it gets onto the disk: beside what is there, checked by the code of `check`, and only then under its name.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use ring::rand::{SecureRandom, SystemRandom};

use super::ask::Tongue;
use crate::app::BAD_CONFIGURATION;
use crate::cli::print;
use crate::config::schema::{DEFAULT, Of};
use crate::config::{self, Loaded, Mistakes};

/// Beside the configuration.
pub const KEY: &str = "privacy-key";
/// Beside it as well: by its first line editors complete and check.
pub const SCHEMA: &str = "gatehouse.schema.json";
const FIRST: &str = "gatehouse.toml";
const KEY_BYTES: usize = 32;
/// Whom the service runs as, where it is installed.
const USER: &str = "gatehouse";
const TIMEZONE: &str = "Asia/Shanghai";

/// Where it goes.
#[derive(Debug)]
pub struct Target {
    pub file: PathBuf,
    dir: PathBuf,
}

/// What goes there.
#[derive(Debug)]
pub struct Written {
    pub text: String,
    pub needs_key: bool,
}

impl Target {
    /// A path that ends in `.toml` is the file, any other the directory.
    pub fn of(path: &Path) -> Self {
        let is_file = path.extension().is_some_and(|end| end == "toml") && !path.is_dir();
        let file = if is_file { path.to_owned() } else { path.join(FIRST) };
        let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self { dir: dir.to_owned(), file }
    }

    /// Said before anything is asked.
    pub fn may_be_written(&self, force: bool, tongue: Tongue) -> anyhow::Result<()> {
        if self.file.exists() && !force && !self.is_as_shipped() {
            let cure = tongue.pick(
                "已经存在；--force 覆盖它，--config 写到别处，--dry-run 只显示",
                "is there already; --force writes over it, --config names another place, --dry-run only shows",
            );
            bail!("{} {cure}", self.file.display());
        }
        fs::create_dir_all(&self.dir).with_context(|| format!("{} cannot be made", self.dir.display()))
    }

    /// A package put it there, and nobody has changed it.
    fn is_as_shipped(&self) -> bool {
        fs::read_to_string(&self.file).is_ok_and(|text| text == DEFAULT)
    }

    /// Where the service keeps its data; of a trial, beside the configuration.
    pub fn data_dir(&self) -> String {
        if self.dir == Path::new("/etc/gatehouse") {
            return "/var/lib/gatehouse".into();
        }
        let dir = std::path::absolute(&self.dir).unwrap_or_else(|_| self.dir.clone());
        dir.join("data").display().to_string()
    }
}

/// Checked like what is written, in a directory that goes again.
pub fn show(written: &Written) -> anyhow::Result<ExitCode> {
    let dir = std::env::temp_dir().join(format!("gatehouse-init-{}", std::process::id()));
    DirBuilder::new()
        .mode(0o700)
        .create(&dir)
        .with_context(|| format!("{} cannot be made", dir.display()))?;
    let target = Target { file: dir.join(FIRST), dir };
    let checked = match written.needs_key {
        true => make_key(&target.dir.join(KEY)).and_then(|()| checked(&target, &written.text)),
        false => checked(&target, &written.text),
    };
    let _ = fs::remove_dir_all(&target.dir);
    match checked? {
        Err(mistakes) => refused(&mistakes),
        Ok(_) => {
            print(&written.text)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

pub fn put(target: &Target, written: &Written, tongue: Tongue) -> anyhow::Result<ExitCode> {
    let key = target.dir.join(KEY);
    let new_key = written.needs_key && !key.exists();
    if new_key {
        make_key(&key).with_context(|| format!("{} cannot be written", key.display()))?;
    }
    // What it warns of, the person has just seen answer.
    if let Err(mistakes) = checked(target, &written.text)? {
        if new_key {
            let _ = fs::remove_file(&key);
        }
        return refused(&mistakes);
    }
    schema(target).with_context(|| format!("{} cannot be written", target.dir.join(SCHEMA).display()))?;
    let mut err = io::stderr().lock();
    writeln!(err, "\n{} {}", tongue.pick("已写入", "Written:"), target.file.display())?;
    if new_key {
        let keep =
            tongue.pick("隐私密钥（0600），请另存一份：", "The privacy key (0600), keep a copy of it:");
        writeln!(err, "{keep} {}", key.display())?;
    }
    writeln!(err, "{}\n{}", tongue.pick("接下来：", "Next:"), next(&target.file, service_user().is_some()))?;
    Ok(ExitCode::SUCCESS)
}

/// Where the service is installed, and it is its configuration that was written, it is the service that is started.
fn next(file: &Path, installed: bool) -> String {
    let usual = file == Path::new("/etc/gatehouse").join(FIRST);
    match (usual, installed) {
        (true, true) => "  gatehouse check\n  systemctl enable --now gatehouse".into(),
        (true, false) => "  gatehouse check\n  gatehouse run".into(),
        (false, _) => format!("  gatehouse check --config {0}\n  gatehouse run --config {0}", file.display()),
    }
}

fn refused(mistakes: &Mistakes) -> anyhow::Result<ExitCode> {
    writeln!(io::stderr(), "{mistakes}")?;
    Ok(ExitCode::from(BAD_CONFIGURATION))
}

/// Beside it first: what it includes, and the files that it names, are found from there.
fn checked(target: &Target, text: &str) -> anyhow::Result<Result<Loaded, Mistakes>> {
    let beside = target.dir.join(format!(".gatehouse-init-{}.toml", std::process::id()));
    let written = write(&beside, text, 0o644);
    let outcome = written.map(|()| config::load(&beside));
    let outcome = match outcome {
        Ok(Ok(loaded)) => fs::rename(&beside, &target.file).map(|()| Ok(loaded)),
        other => other,
    };
    if !matches!(outcome, Ok(Ok(_))) {
        let _ = fs::remove_file(&beside);
    }
    let outcome = outcome.map(|checked| checked.map_err(|mistakes| named(mistakes, &beside, &target.file)));
    outcome.with_context(|| format!("{} cannot be written", target.file.display()))
}

/// What was beside is gone; what is said of it is said of the file that it would have been.
fn named(mut mistakes: Mistakes, beside: &Path, file: &Path) -> Mistakes {
    for mistake in mistakes.list.iter_mut().filter(|mistake| mistake.path == beside) {
        mistake.path = file.to_owned();
    }
    mistakes
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    // Whatever the umask of the person is: the service has to read it.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Of this version, in place of another's.
fn schema(target: &Target) -> io::Result<()> {
    let beside = target.dir.join(format!(".{SCHEMA}-{}", std::process::id()));
    write(&beside, &format!("{:#}\n", config::schema::schema(Of::Gateway)), 0o644)?;
    fs::rename(&beside, target.dir.join(SCHEMA))
}

/// Random, for its owner alone: the user of the service, where root makes it.
fn make_key(path: &Path) -> anyhow::Result<()> {
    let mut bytes = [0; KEY_BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| anyhow::anyhow!("this machine has no random numbers"))?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    write(path, &format!("{hex}\n"), 0o600)?;
    if let Some((user, group)) = service_user().filter(|_| rustix::process::geteuid().is_root()) {
        chown(path, Some(user), Some(group))?;
    }
    Ok(())
}

fn service_user() -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.split(':').next() == Some(USER))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

// --- defaults that the machine knows ---

/// As an id.
pub fn hostname() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().to_ascii_lowercase();
    let name: String =
        name.trim().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(64).collect();
    match name.trim_matches('-') {
        "" | "localhost" => "gateway-1".into(),
        name => name.to_owned(),
    }
}

/// A box that nobody set runs on UTC; its compound does not.
pub fn timezone() -> String {
    match jiff::tz::TimeZone::system().iana_name() {
        None | Some("UTC" | "Etc/UTC" | "Etc/Unknown") => TIMEZONE.into(),
        Some(zone) => zone.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[gateway]\nid = \"cp-017\"\n[privacy]\nkey = { file = \"privacy-key\" }\n";

    #[test]
    fn it_is_written_whole_with_a_key_of_its_own_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let target = Target::of(&dir.path().join("etc"));
        target.may_be_written(false, Tongue::En).unwrap();
        let bad = Written { text: GOOD.replace("id =", "di ="), needs_key: true };
        assert_eq!(put(&target, &bad, Tongue::En).unwrap(), ExitCode::from(BAD_CONFIGURATION));
        assert_eq!(fs::read_dir(&target.dir).unwrap().count(), 0, "nothing is left of it");

        let good = Written { text: GOOD.into(), needs_key: true };
        assert_eq!(put(&target, &good, Tongue::En).unwrap(), ExitCode::SUCCESS);
        let key = fs::read_to_string(target.dir.join(KEY)).unwrap();
        assert_eq!(fs::metadata(target.dir.join(KEY)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(key.trim().len(), 2 * KEY_BYTES);
        assert_eq!(fs::read_dir(&target.dir).unwrap().count(), 3, "configuration, key, schema");
        assert!(target.may_be_written(false, Tongue::En).is_err(), "it is there already");
        target.may_be_written(true, Tongue::En).unwrap();
        put(&target, &good, Tongue::En).unwrap();
        assert_eq!(fs::read_to_string(target.dir.join(KEY)).unwrap(), key, "a key is never changed");
    }

    #[test]
    fn what_a_package_put_there_is_written_over_until_somebody_changes_it() {
        let dir = tempfile::tempdir().unwrap();
        let target = Target::of(dir.path());
        fs::write(&target.file, DEFAULT).unwrap();
        target.may_be_written(false, Tongue::En).unwrap();
        fs::write(&target.file, DEFAULT.replace("gateway-1", "cp-017")).unwrap();
        assert!(target.may_be_written(false, Tongue::En).is_err(), "somebody's own");
    }

    #[test]
    fn what_comes_next_is_the_service_where_it_is_installed() {
        let usual = Path::new("/etc/gatehouse/gatehouse.toml");
        assert!(next(usual, true).contains("systemctl enable --now gatehouse"));
        assert!(next(usual, false).ends_with("gatehouse run"));
        assert!(next(Path::new("/x/site.toml"), true).ends_with("gatehouse run --config /x/site.toml"));
    }

    #[test]
    fn a_path_is_a_file_or_a_directory() {
        assert_eq!(Target::of(Path::new("/x/site.toml")).file, Path::new("/x/site.toml"));
        assert_eq!(Target::of(Path::new("/x/y")).file, Path::new("/x/y/gatehouse.toml"));
        assert_eq!(Target::of(Path::new("site.toml")).dir, Path::new("."));
        assert_eq!(Target::of(Path::new("/etc/gatehouse")).data_dir(), "/var/lib/gatehouse");
        assert_eq!(Target::of(Path::new("/x/y")).data_dir(), "/x/y/data");
    }
}
