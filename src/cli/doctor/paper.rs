//! The configuration, and the secrets that it names.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::Finding;
use crate::config::{self, Gateway, Loaded, Mistakes};

/// What is wrong goes to the findings; what comes back is the configuration, or as much as can be made out.
pub fn look(path: &Path, findings: &mut Vec<Finding>) -> Option<Gateway> {
    let (loaded, mistakes) = config::glean(path);
    findings.push(verdict(path, loaded.as_ref(), &mistakes));
    let Some(Loaded { gateway, text, .. }) = loaded else {
        return config::last_good::recall(path).ok();
    };
    findings.extend(secrets(&config::secret_files(&text)));
    Some(gateway)
}

fn verdict(path: &Path, loaded: Option<&Loaded>, mistakes: &Mistakes) -> Finding {
    let what = "configuration";
    match loaded {
        Some(loaded) if mistakes.list.is_empty() => {
            let Loaded { gateway, warnings, text, .. } = loaded;
            let (files, site) = (text.len(), &gateway.site);
            let (devices, points, rules) = (site.devices.len(), site.points.len(), gateway.rules.len());
            let found = format!(
                "{}: files {files}, devices {devices}, points {points}, rules {rules}",
                path.display()
            );
            match warnings.len() {
                0 => Finding::ok(what, found),
                odd => Finding::warn(
                    what,
                    format!("{found}; {odd} things look odd"),
                    "read them: gatehouse check",
                ),
            }
        }
        Some(_) if mistakes.are_only_of_the_place() => Finding::warn(
            what,
            format!("{} names credentials, which systemd gives to the service alone", path.display()),
            "ask again as root while the service runs (sudo gatehouse doctor); then they are found",
        ),
        _ => Finding::bad(
            what,
            format!("{} is not right\n{}", path.display(), mistakes.to_string().trim_end()),
            "put it right, and see with `gatehouse check`; until then a running daemon goes on with the last good one",
        ),
    }
}

fn secrets(files: &[PathBuf]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = files.iter().filter_map(|file| secret(file)).collect();
    if findings.is_empty() && !files.is_empty() {
        findings.push(Finding::ok(
            "secrets",
            format!("{} files, readable here, and not by everyone", files.len()),
        ));
    }
    findings
}

fn secret(path: &Path) -> Option<Finding> {
    let shown = path.display();
    let what = "secret";
    if let Err(error) = File::open(path).and_then(|mut file| file.read(&mut [0])) {
        let cure = match error.kind() {
            std::io::ErrorKind::NotFound => {
                format!("create {shown}: one line, `chmod 640`, of the daemon's group")
            }
            _ => format!("let the daemon's user read it: chgrp gatehouse {shown}; chmod 640 {shown}"),
        };
        return Some(Finding::bad(what, format!("{shown} cannot be read: {error}"), cure));
    }
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o007 != 0).then(|| {
        let found = format!("{shown} can be read by everyone on this machine (mode {mode:o})");
        Finding::warn(what, found, format!("chmod o= {shown}"))
    })
}
