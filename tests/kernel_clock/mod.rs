//! A library that stands in for `adjtimex`, since a machine that builds has no say in whether its kernel is synchronised.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

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
