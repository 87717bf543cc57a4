//! Who has which file open, as far as /proc shows it to this user.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::store;

/// By file: the process that has it open.
#[derive(Debug, Default)]
pub struct Processes {
    holders: HashMap<PathBuf, u32>,
}

/// The daemon that has a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Daemon {
    /// `None`: of another user, who does not show it.
    pub pid: Option<u32>,
}

impl Processes {
    pub fn now() -> Self {
        let mut holders = HashMap::new();
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        for pid in pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
            let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            // Sockets and pipes are no paths.
            let files = open.filter_map(|fd| fs::read_link(fd.path()).ok()).filter(|file| file.is_absolute());
            holders.extend(files.map(|file| (file, pid)));
        }
        Self { holders }
    }

    /// Who has it open; links are followed.
    pub fn holder(&self, path: &Path) -> Option<u32> {
        self.holders.get(&fs::canonicalize(path).ok()?).copied()
    }

    pub fn daemon(&self, dir: &Path) -> Option<Daemon> {
        store::in_use(dir).then(|| Daemon { pid: self.holder(&dir.join("lock")) })
    }
}

/// `gatehouse (pid 812)`
pub fn name(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm"));
    format!("{} (pid {pid})", name.as_deref().map_or("a program", str::trim))
}
