//! The clock of a process that is not the machine's. `libfaketime` makes the wall clock (its file is what a test sets) and leaves
//! the steady one alone; a few lines of C beside it stand in for `adjtimex`, since a machine that builds has no say in whether its
//! kernel is synchronised.
#![allow(dead_code)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use gatehouse::reading::Millis;

use crate::gateway::Gateway;

/// In sync if the file named in `SYNCED_FILE` begins with `s`. As under chronyd without `rtcsync`, `STA_UNSYNC` stands either way.
const ADJTIMEX: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <sys/timex.h>
int adjtimex(struct timex *to) {
    FILE *said = fopen(getenv("SYNCED_FILE"), "r");
    int synced = said && fgetc(said) == 's';
    if (said) fclose(said);
    to->status = STA_UNSYNC;
    to->maxerror = synced ? 1000000 : 16000000;
    return TIME_ERROR;
}
"#;

/// The library, for `LD_PRELOAD`, built in `dir`.
pub fn adjtimex(dir: &Path) -> PathBuf {
    let (source, made) = (dir.join("adjtimex.c"), dir.join("adjtimex.so"));
    fs::write(&source, ADJTIMEX).unwrap();
    let cc = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&made).arg(&source).status();
    assert!(cc.unwrap().success());
    made
}

/// The clock that the daemon sees, off the machine's by what a file says.
pub struct Clock {
    dir: PathBuf,
}

impl Clock {
    pub fn of(gateway: &mut Gateway) -> Self {
        let clock = Self { dir: gateway.dir().to_owned() };
        let preload = format!("{}:{}", adjtimex(gateway.dir()).display(), faketime().display());
        gateway.set("LD_PRELOAD", &preload);
        gateway.set("SYNCED_FILE", clock.dir.join("synced").to_str().unwrap());
        gateway.set("FAKETIME_TIMESTAMP_FILE", clock.dir.join("faketime").to_str().unwrap());
        for one in
            ["FAKETIME_NO_CACHE", "FAKETIME_DONT_FAKE_MONOTONIC", "DONT_FAKE_MONOTONIC", "NO_FAKE_STAT"]
        {
            gateway.set(one, "1");
        }
        clock
    }

    pub fn set(&self, off: Millis, synced: bool) {
        self.put("faketime", &format!("{:+}", off / 1000));
        self.put("synced", if synced { "synced" } else { "unsynced" });
    }

    /// As a whole: the daemon may read it at any moment.
    fn put(&self, name: &str, text: &str) {
        let beside = self.dir.join(format!("{name}.new"));
        fs::write(&beside, text).unwrap();
        fs::rename(beside, self.dir.join(name)).unwrap();
    }
}

/// The library that fakes the wall clock.
pub fn faketime() -> PathBuf {
    let dirs = fs::read_dir("/usr/lib").unwrap().map(|dir| dir.unwrap().path());
    let mut found = dirs.map(|dir| dir.join("faketime/libfaketimeMT.so.1")).filter(|file| file.exists());
    found.next().expect("libfaketime is missing; tests/tools.sh installs it")
}
