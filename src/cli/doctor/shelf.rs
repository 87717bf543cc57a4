//! The store and the disk under it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Finding;
use crate::cli::table::size;
use crate::config::Gateway;
use crate::store::{self, ConsumerNow, Inspection};
use crate::time;

/// Below this the journal can hardly grow; below four times this someone should come by.
const FREE_MIN: u64 = 16 << 20;
/// Files that can still be made.
const NODES_MIN: u64 = 64;
/// A commit waits for the disk as long as this; cards do it in milliseconds.
const SLOW: Duration = Duration::from_secs(1);
const PROBE: &str = "doctor.probe";
const PROBE_BYTES: usize = 4096;

pub fn look(gateway: &Gateway, runs: bool, in_memory: bool) -> Vec<Finding> {
    let dir = &gateway.store.dir;
    if !dir.exists() {
        return vec![missing(dir)];
    }
    let mut findings = journal(gateway, in_memory);
    findings.extend(history(dir));
    findings.push(budget(gateway));
    findings.extend(room(dir));
    findings.push(writable(dir, runs));
    findings.extend(open_to_others(dir));
    findings
}

/// The directory keeps others from all that is in it.
fn open_to_others(dir: &Path) -> Option<Finding> {
    let mode = fs::metadata(dir).ok()?.mode() & 0o777;
    let found = || {
        format!(
            "everybody on this machine may read {} (mode {mode:04o}), and so who came and went",
            dir.display()
        )
    };
    (mode & 0o007 != 0)
        .then(|| Finding::warn("data directory", found(), format!("chmod -R go= {}", dir.display())))
}

fn missing(dir: &Path) -> Finding {
    if let Ok(to) = fs::read_link(dir) {
        let found = format!("{} is a link to {}, which is not there", dir.display(), to.display());
        let cure =
            "mount or make what it leads to, or name another data_dir; started now, nothing could be stored";
        return Finding::bad("data directory", found, cure);
    }
    let found = format!("{} is not there yet", dir.display());
    match dir.ancestors().find(|above| above.exists()) {
        Some(above) if may_write(above) => Finding::ok("data directory", format!("{found}; it can be made")),
        _ => Finding::bad(
            "data directory",
            format!("{found}, and this user cannot make it"),
            format!("mkdir -p {0}; chown gatehouse: {0}; as a service systemd does it", dir.display()),
        ),
    }
}

fn journal(gateway: &Gateway, in_memory: bool) -> Vec<Finding> {
    let dir = &gateway.store.dir;
    let what = "journal";
    let file = dir.join("journal.db");
    match fs::metadata(&file) {
        Ok(about) if !about.is_file() => {
            let cure = format!("move it away: mv {0} {0}.other; then start the daemon", file.display());
            return vec![Finding::bad(what, format!("{} is no file", file.display()), cure)];
        }
        Ok(about) if about.len() == 0 => {
            let cure = "something has cut it: restart the daemon, which goes on with what can be read and tells the centre, or \
                        `gatehouse restore` the last backup";
            return vec![Finding::bad(what, format!("{} is empty (0 bytes)", file.display()), cure)];
        }
        _ => {}
    }
    let found = match store::inspect(dir) {
        Ok(Some(found)) => found,
        Ok(None) => {
            return vec![Finding::ok(
                what,
                format!("none in {} yet; the first start makes it", dir.display()),
            )];
        }
        Err(error @ store::Error::Damaged { .. }) => {
            let cure = "stop the daemon and start it again: it sets the file aside, goes on with what can be read, and tells \
                        the centre; where that fails, `gatehouse restore` the last backup";
            return vec![Finding::bad(what, error.to_string(), cure)];
        }
        Err(error) => {
            let cure = "ask again as root, or as the user that the daemon runs as";
            return vec![Finding::bad(what, format!("{} cannot be read: {error}", dir.display()), cure)];
        }
    };
    let mut findings = vec![whose(gateway, &found, in_memory)];
    findings.extend(found.consumers.iter().filter_map(consumer));
    findings.extend(old_key(gateway));
    findings
}

/// While the daemon brings what lies there under another key, nobody may take the old one away.
fn old_key(gateway: &Gateway) -> Option<Finding> {
    if !gateway.seal.has_keys() {
        return None;
    }
    if let Some(error) = store::locked(&gateway.store.dir, &gateway.seal) {
        let cure = "the daemon does not start without that secret; a backup of the configuration may have it";
        return Some(Finding::bad("journal's key", error.to_string(), cure));
    }
    let stale = store::stale(&gateway.store.dir, &gateway.seal).ok().filter(|stale| *stale > 0)?;
    let cure = "as long as this is said, leave `store_key_before` of [privacy] as it is; the daemon seals 200 at a time, while it has nothing else to write";
    Some(Finding::warn(
        "journal's key",
        format!("{stale} rows are not under the present store_key yet"),
        cure,
    ))
}

fn whose(gateway: &Gateway, found: &Inspection, in_memory: bool) -> Finding {
    let (ours, dir) = (&*gateway.site.gateway, gateway.store.dir.display());
    if found.gateway != ours {
        let found = format!("{dir} holds the data of gateway `{}`, not of `{ours}`", found.gateway);
        return Finding::bad(
            "journal",
            found,
            "set gateway.id back, or give this gateway a data_dir of its own",
        );
    }
    let (epoch, head, unclosed, at) =
        (&found.epoch, found.head, found.unclosed, time::format(found.committed));
    let says =
        format!("sound; epoch {epoch}, {head} events, {unclosed} tickets not closed, last written {at}");
    if in_memory {
        let cure =
            "the card takes no writes: see the lines on the disk; a restart now would cost what is in memory";
        return Finding::warn(
            "journal",
            format!("that on the card is not in use, the daemon's is in memory; {says}"),
            cure,
        );
    }
    Finding::ok("journal", says)
}

/// Only what is wrong with one: how far it is, `status` shows.
fn consumer(now: &ConsumerNow) -> Option<Finding> {
    let what = format!("consumer {}", now.name);
    if let Some(error) = &now.error {
        let found = format!("{} events behind: {error}", now.lag);
        return Some(Finding::bad(
            what,
            found,
            "nothing is lost, the events wait; the lines on the centre say more",
        ));
    }
    (!now.set_aside.is_empty()).then(|| {
        let found =
            format!("did not take {} events, which were set aside: {:?}", now.set_aside.len(), now.set_aside);
        Finding::warn(what, found, "ask the centre's people why, with `gatehouse events`; they are kept")
    })
}

fn history(dir: &Path) -> Option<Finding> {
    let (_, bytes) = store::sizes(dir);
    match store::recorded(dir).and_then(|readings| readings.map(|readings| readings.since()).transpose()) {
        Ok(None) => None,
        Ok(Some(Some(since))) => {
            Some(Finding::ok("history", format!("{}, since {}", size(bytes), time::format(since))))
        }
        Ok(Some(None)) => Some(Finding::ok("history", "empty")),
        Err(error) => Some(Finding::warn(
            "history",
            format!("cannot be read: {error}"),
            "no ticket hangs on it: the next start sets it aside and begins a new one",
        )),
    }
}

fn budget(gateway: &Gateway) -> Finding {
    let (journal, history) = store::sizes(&gateway.store.dir);
    let limit = gateway.store.disk_limit;
    let found = format!("{} journal, {} history, of {}", size(journal), size(history), size(limit));
    if journal > limit / 2 {
        let cure = "tickets that nobody has acknowledged are never dropped: see which consumer is behind (gatehouse status), or \
                    raise [store] disk_limit";
        return Finding::warn("store size", found, cure);
    }
    Finding::ok("store size", found)
}

fn room(dir: &Path) -> Vec<Finding> {
    let Ok(disk) = rustix::fs::statvfs(dir) else { return Vec::new() };
    let free = disk.f_bavail * disk.f_frsize;
    let found = format!("{} free of {}", size(free), size(disk.f_blocks * disk.f_frsize));
    let cure = format!(
        "see what fills it: du -xh {0} | sort -h | tail; journalctl --vacuum-size=50M",
        dir.display()
    );
    let mut findings = vec![match free {
        _ if free < FREE_MIN => Finding::bad("disk", found, cure),
        _ if free < 4 * FREE_MIN => Finding::warn("disk", found, cure),
        _ => Finding::ok("disk", found),
    }];
    // File systems that make them as they need them say 0 of 0.
    if disk.f_files > 0 && disk.f_favail < NODES_MIN {
        let found = format!("only {} more files can be made", disk.f_favail);
        findings.push(Finding::bad("disk", found, "delete small files: df -i shows which file system"));
    }
    findings
}

/// Whether the disk takes a small file, and how long it needs for that.
fn writable(dir: &Path, runs: bool) -> Finding {
    let what = "disk writes";
    match probe(dir) {
        Ok(took) if took > SLOW => Finding::warn(
            what,
            format!("4 KiB took {} ms to be on the disk", took.as_millis()),
            "a card near its end, or something else that writes: iostat -x 5; have a new card ready",
        ),
        Ok(took) => Finding::ok(what, format!("4 KiB on the disk within {} ms", took.as_millis().max(1))),
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Finding::bad(
            what,
            format!("{} is mounted read-only", dir.display()),
            format!(
                "the kernel does that when a card fails: dmesg | tail; have a new card ready and take a backup now; \
                 mount -o remount,rw $(findmnt -no TARGET -T {})",
                dir.display()
            ),
        ),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let owner = fs::metadata(dir).map_or(0, |about| about.uid());
            let found =
                format!("this user may not write to {}, which belongs to user {owner}", dir.display());
            match runs {
                // The daemon does, so this says nothing of it.
                true => {
                    Finding::warn(what, found, "ask again as root, or as the user that the daemon runs as")
                }
                false => Finding::bad(what, found, format!("chown -R gatehouse: {}", dir.display())),
            }
        }
        Err(error) => Finding::bad(
            what,
            format!("{} takes no file: {error}", dir.display()),
            "make room on the disk (df -h), and see what the kernel says of it: dmesg | tail",
        ),
    }
}

/// Where this user may not look into it.
pub fn shut(dir: &Path) -> Option<Finding> {
    let error = fs::read_dir(dir).err()?;
    (error.kind() == io::ErrorKind::PermissionDenied).then(|| {
        let owner = fs::metadata(dir).map_or(0, |about| about.uid());
        Finding::warn(
            "data",
            format!("this user may not look into {}, which belongs to user {owner}", dir.display()),
            "ask again as root, or as the user that the daemon runs as: sudo -u gatehouse gatehouse doctor",
        )
    })
}

fn probe(dir: &Path) -> io::Result<Duration> {
    let path = dir.join(PROBE);
    let started = Instant::now();
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(&[0x55; PROBE_BYTES])?;
        file.sync_all()
    });
    let took = started.elapsed();
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => written.and(Err(error)),
        _ => written.map(|()| took),
    }
}

fn may_write(dir: &Path) -> bool {
    rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok()
}
