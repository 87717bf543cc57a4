//! A port for a server that is about to start. From below the range out of which the system gives connections theirs: a port of that
//! range may be another test's before the server has it. And nobody else's who asks here, until this program ends: a server that
//! is not up yet does not hold its own.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Open files, each locked.
static TAKEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

pub fn free_port() -> u16 {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ports");
    std::fs::create_dir_all(&dir).unwrap();
    loop {
        let port = 20_000 + (RandomState::new().hash_one(0) % 12_000) as u16;
        let lock = File::create(dir.join(port.to_string())).unwrap();
        if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            TAKEN.lock().unwrap_or_else(PoisonError::into_inner).push(lock);
            return port;
        }
    }
}
