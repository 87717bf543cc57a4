//! A port for a server that is about to start. From below the range out of which the system gives connections theirs: a port of that
//! range may be another test's before the server has it.

use std::hash::{BuildHasher as _, RandomState};
use std::net::TcpListener;

pub fn free_port() -> u16 {
    loop {
        let port = 20_000 + (RandomState::new().hash_one(0) % 12_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
