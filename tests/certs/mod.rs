//! Certificates for tests, made by openssl.
#![allow(dead_code)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const CURVE: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
/// For a server at 127.0.0.1, and for a client.
const EXTENSIONS: &str = "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n";

fn openssl(dir: &Path, arguments: &[&str]) {
    openssl_in(&[], dir, arguments);
}

fn openssl_in(environment: &[(&str, &str)], dir: &Path, arguments: &[&str]) {
    let mut openssl = Command::new("openssl");
    openssl.args(arguments).envs(environment.iter().copied()).current_dir(dir).stdin(Stdio::null());
    let done = openssl.output().unwrap();
    assert!(done.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// `NAME.pem` and `NAME-key.pem`, which may sign others.
pub fn ca(dir: &Path, name: &str) {
    let (key, cert, subject) = (format!("{name}-key.pem"), format!("{name}.pem"), format!("/CN={name}"));
    let head = ["req", "-x509", "-days", "90", "-subj", &subject, "-keyout", &key, "-out", &cert];
    openssl(dir, &[&head[..], &CURVE].concat());
}

/// `NAME.pem` and `NAME-key.pem`, signed by a CA of [`ca`]; with fewer days than none it has ended.
pub fn signed(dir: &Path, name: &str, ca: &str, days: i32) {
    signed_in(&[], dir, name, ca, days);
}

/// Likewise, where openssl runs in this environment.
pub fn signed_in(environment: &[(&str, &str)], dir: &Path, name: &str, ca: &str, days: i32) {
    let key = format!("{name}-key.pem");
    let head = ["req", "-subj", &format!("/CN={name}"), "-keyout", &key, "-out", "request"];
    openssl(dir, &[&head[..], &CURVE].concat());
    fs::write(dir.join("extensions"), EXTENSIONS).unwrap();
    let (ca, ca_key, days) = (format!("{ca}.pem"), format!("{ca}-key.pem"), days.to_string());
    let by = ["-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial"];
    let out = ["-days", &days, "-extfile", "extensions", "-out", &format!("{name}.pem")];
    openssl_in(environment, dir, &[&["x509", "-req", "-in", "request"], &by[..], &out].concat());
}

/// What the examples of docs/errors.md name.
pub fn make(dir: &Path) {
    ca(dir, "ca");
    for (name, days) in [("cert", 90), ("other", 90)] {
        signed(dir, name, "ca", days);
    }
    // The short one has the key that the examples have.
    let key = ["-key", "key.pem", "-subj", "/CN=short", "-days", "3", "-out", "short.pem"];
    fs::copy(dir.join("cert-key.pem"), dir.join("key.pem")).unwrap();
    openssl(dir, &[&["req", "-x509"], &key[..]].concat());
    let broken = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
    fs::write(dir.join("broken.pem"), broken).unwrap();
}
