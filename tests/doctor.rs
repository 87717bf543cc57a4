//! `gatehouse doctor` on gateways that are well, and with each thing broken: what it says, and that it disturbs nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value as Json;

mod gateway;
mod ports;
use gateway::{Gateway, of_kind, text, until};
use ports::free_port;

/// A centre that gives every request one answer, and writes the bodies down.
#[derive(Clone)]
struct Centre {
    port: u16,
    answer: Arc<Mutex<String>>,
    heard: Arc<Mutex<Vec<(String, String)>>>,
}

impl Centre {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let centre = Self { port, answer: Arc::default(), heard: Arc::default() };
        centre.say("200 OK", "Content-Type: application/json\r\n", "{}");
        let serving = centre.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                std::thread::spawn(move || serving.serve(stream));
            }
        });
        centre
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/events", self.port)
    }

    fn say(&self, status: &str, headers: &str, body: &str) {
        let length = body.len();
        *self.answer.lock().unwrap() =
            format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
    }

    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        loop {
            let (mut head, mut length) = (String::new(), 0);
            while !head.ends_with("\r\n\r\n") {
                let mut line = String::new();
                if reader.read_line(&mut line).ok()? == 0 {
                    return None;
                }
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().ok()?;
                }
                head += &line;
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            self.heard.lock().unwrap().push((head.to_lowercase(), text(&body)));
            stream.write_all(self.answer.lock().unwrap().as_bytes()).ok()?;
        }
    }
}

/// A gateway whose API has an address that is known before it runs.
fn gateway() -> Gateway {
    let mut gateway = Gateway::new("cp-017");
    gateway.listen = format!("127.0.0.1:{}", free_port());
    gateway
}

fn sync(url: &str) -> String {
    format!("[[sync]]\nname = \"crm\"\nurl = \"{url}\"\ntoken = {{ file = \"token\" }}\n")
}

fn token(gateway: &Gateway, mode: u32) {
    let path = gateway.dir().join("token");
    fs::write(&path, "not-to-be-shown\n").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Whether all is well, and every line as `verdict what: found → do`.
fn asked(mut command: Command) -> (bool, Vec<String>) {
    let output = command.arg("--json").env_remove("HTTP_PROXY").env_remove("http_proxy").output().unwrap();
    let said = text(&output.stdout);
    assert!(!said.contains("not-to-be-shown"), "{said}");
    let said: Json = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{}", text(&output.stderr)));
    let healthy = said["healthy"].as_bool().unwrap();
    assert_eq!(output.status.code(), Some(i32::from(!healthy)));
    let word = |finding: &Json, key: &str| finding[key].as_str().unwrap().to_owned();
    let line = |f: &Json| {
        format!("{} {}: {} → {}", word(f, "verdict"), word(f, "what"), word(f, "found"), word(f, "do"))
    };
    (healthy, said["findings"].as_array().unwrap().iter().map(line).collect())
}

fn doctor(gateway: &Gateway) -> (bool, Vec<String>) {
    asked(gateway.command("doctor"))
}

/// The line begins so, and has all of these words.
#[track_caller]
fn says(lines: &[String], begins: &str, words: &[&str]) {
    let found =
        lines.iter().any(|line| line.starts_with(begins) && words.iter().all(|word| line.contains(word)));
    assert!(found, "no line `{begins}` with {words:?} in:\n{}", lines.join("\n"));
}

#[test]
fn a_gateway_that_is_well_is_said_to_be_and_is_not_disturbed() {
    let centre = Centre::start();
    let far = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&far).unwrap();
    unlockpt(&far).unwrap();
    let port = ptsname(&far, Vec::new()).unwrap().into_string().unwrap();
    // It takes connections and says nothing; how many there were is counted.
    let device = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = device.local_addr().unwrap();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let counted = calls.clone();
    std::thread::spawn(move || {
        device.incoming().flatten().for_each(|call| counted.lock().unwrap().push(call));
    });

    let mut gateway = gateway();
    token(&gateway, 0o600);
    gateway.configure(&format!(
        "{}[[channel]]\nid = \"plant\"\ntype = \"modbus-tcp\"\naddress = \"{address}\"\ntimeout = \"30s\"\n\
         [[channel]]\nid = \"line\"\ntype = \"modbus-rtu\"\nport = \"{port}\"\nbaud = 9600\n\
         [[device]]\nid = \"a\"\nchannel = \"plant\"\nunit = 1\n[[device.point]]\nid = \"x\"\ntable = \"holding\"\nregister = 0\ntype = \"u16\"\n\
         [[device]]\nid = \"b\"\nchannel = \"line\"\nunit = 1\n[[device.point]]\nid = \"x\"\ntable = \"holding\"\nregister = 0\ntype = \"u16\"\n",
        sync(&centre.url())
    ));
    gateway.start();
    until(|| (calls.lock().unwrap().len() == 1).then_some(())).expect("the daemon calls the device");
    let (before, lines) = until(|| {
        let before = gateway.events().len();
        let (healthy, lines) = doctor(&gateway);
        let settled = lines.iter().any(|line| line.contains("open in the daemon"));
        (healthy && settled).then_some((before, lines))
    })
    .unwrap_or_else(|| panic!("it is not well: {:#?}", doctor(&gateway)));

    says(&lines, "ok configuration:", &["devices 2", "points 2"]);
    says(&lines, "ok secrets:", &[]);
    says(&lines, "ok daemon:", &["runs and is ready", "MiB of memory"]);
    says(&lines, "ok journal:", &["sound", "epoch", "0 tickets not closed"]);
    says(&lines, "ok disk:", &["free of"]);
    says(&lines, "ok disk writes:", &["4 KiB on the disk within"]);
    says(&lines, "ok port line:", &["open in the daemon"]);
    says(&lines, "ok endpoint plant:", &["the daemon is connected"]);
    says(&lines, "ok centre crm:", &["answers 200 to an empty batch"]);
    assert!(!lines.iter().any(|line| line.starts_with("bad")), "{lines:#?}");
    assert_eq!(calls.lock().unwrap().len(), 1, "a small device has room for one connection");
    let heard = centre.heard.lock().unwrap().clone();
    let empty: Vec<_> = heard.iter().filter(|(_, body)| body == "[]").collect();
    assert!(
        !empty.is_empty() && empty.iter().all(|(head, _)| head.contains("bearer not-to-be-shown")),
        "{heard:?}"
    );
    assert_eq!(gateway.events().len(), before, "nothing came into the journal");
    assert!(!gateway.data().join("doctor.probe").exists());

    let page = text(&gateway.ran("doctor").stdout);
    assert!(page.contains("ok    daemon") && page.contains("0 bad"), "{page}");
    assert!(gateway.stop().0.success());
    assert_eq!(of_kind(&gateway.journal(), "gateway.stopped").len(), 1);
}

#[test]
fn without_a_daemon_each_thing_that_is_broken_is_named_with_its_cure() {
    let gateway = gateway();
    token(&gateway, 0o644);
    let gone = free_port();
    gateway.configure(&format!(
        "{}[[channel]]\nid = \"plant\"\ntype = \"modbus-tcp\"\naddress = \"127.0.0.1:{gone}\"\n\
         [[channel]]\nid = \"line\"\ntype = \"modbus-rtu\"\nport = \"/dev/serial/by-id/usb-none\"\n\
         [[channel]]\nid = \"file\"\ntype = \"modbus-rtu\"\nport = \"/etc/hostname\"\n\
         [[channel]]\nid = \"broker\"\ntype = \"mqtt\"\nurl = \"mqtt://no-such-name.invalid:1883\"\n",
        sync(&format!("http://127.0.0.1:{gone}/events"))
    ));
    let (healthy, lines) = doctor(&gateway);
    assert!(!healthy);
    says(&lines, "ok configuration:", &["devices 0"]);
    says(&lines, "warn secret:", &["token can be read by everyone", "chmod o="]);
    says(&lines, "warn daemon:", &["does not run", "systemctl start"]);
    says(&lines, "ok data directory:", &["not there yet"]);
    says(&lines, "bad port line:", &["usb-none is not there", "plug the adapter in"]);
    says(&lines, "bad port file:", &["is no serial port"]);
    says(&lines, "bad endpoint plant:", &["refused", "power and network"]);
    says(&lines, "bad broker broker:", &["no address of that name", "DNS"]);
    says(&lines, "bad centre crm:", &["no connection", "firewall", "events wait"]);
    assert!(!gateway.data().exists(), "nothing was made");
}

#[test]
fn what_a_centre_answers_is_told_apart() {
    let centre = Centre::start();
    let gateway = gateway();
    token(&gateway, 0o600);
    gateway.configure(&sync(&centre.url()));
    let json = "Content-Type: application/json\r\n";
    for (status, headers, body, begins, words) in [
        ("200 OK", json, "{}", "ok centre", &["empty batch"][..]),
        ("422 Unprocessable", json, "{}", "ok centre", &["422"]),
        (
            "302 Found",
            "Location: http://portal.example/login?secret=1\r\n",
            "",
            "bad centre",
            &["portal.example/login", "not followed"],
        ),
        (
            "200 OK",
            "Content-Type: text/html\r\n",
            "<html>log in</html>",
            "bad centre",
            &["no JSON", "portal"],
        ),
        ("401 Unauthorized", "", "", "bad centre", &["does not take the token"]),
        ("404 Not Found", "", "", "bad centre", &["correct the path"]),
        ("503 Service Unavailable", "", "", "warn centre", &["asked later"]),
        (
            "200 OK",
            "Date: Fri, 21 Nov 2025 08:00:00 GMT\r\n",
            "",
            "bad clock of crm",
            &["ahead of it", "timedatectl"],
        ),
    ] {
        centre.say(status, headers, body);
        let (_, lines) = doctor(&gateway);
        says(&lines, begins, words);
        assert!(!lines.join("\n").contains("secret=1"), "{lines:#?}");
    }
    assert!(centre.heard.lock().unwrap().iter().all(|(_, body)| body == "[]"), "no event is ever sent");
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_named() {
    let gateway = gateway();
    token(&gateway, 0o600);
    let port = free_port();
    let script = format!(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
         -addext basicConstraints=critical,CA:FALSE \
         -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key.pem -out cert.pem 2>/dev/null && \
         exec openssl s_server -accept 127.0.0.1:{port} -cert cert.pem -key key.pem -www -quiet"
    );
    let mut server = Command::new("sh");
    let mut server =
        server.args(["-c", &script]).current_dir(gateway.dir()).stdin(Stdio::null()).spawn().unwrap();
    until(|| TcpStream::connect(("127.0.0.1", port)).ok()).expect("openssl serves");
    gateway.configure(&sync(&format!("https://127.0.0.1:{port}/events")));
    let (healthy, lines) = doctor(&gateway);
    let _ = server.kill();
    let _ = server.wait();
    assert!(!healthy);
    says(&lines, "bad centre crm:", &["certificate", "update-ca-certificates"]);
}

#[test]
fn a_configuration_with_mistakes_is_shown_as_check_does_and_the_rest_is_looked_at() {
    let gateway = gateway();
    gateway.configure(&format!(
        "{}[[channel]]\nid = \"x\"\ntyp = \"mqtt\"\n",
        sync("http://127.0.0.1:9/events")
    ));
    let (healthy, lines) = doctor(&gateway);
    assert!(!healthy);
    let checked = text(&gateway.ran("check").stderr);
    let first = checked.lines().next().unwrap();
    says(&lines, "bad configuration:", &[first, "gatehouse check", "did you mean `type`"]);
    says(&lines, "bad configuration:", &["token", "cannot read"]);
    says(&lines, "bad secret:", &["token cannot be read", "create"]);
    says(&lines, "bad centre crm:", &["127.0.0.1:9"]);
    says(&lines, "ok memory:", &["available of"]);

    fs::remove_file(gateway.file()).unwrap();
    let (healthy, lines) = doctor(&gateway);
    assert!(!healthy);
    says(&lines, "bad configuration:", &["cannot be read"]);
}

#[test]
fn a_port_that_another_program_holds_is_named_with_that_program() {
    let far = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&far).unwrap();
    unlockpt(&far).unwrap();
    let port = ptsname(&far, Vec::new()).unwrap().into_string().unwrap();
    let gateway = gateway();
    gateway.configure(&format!("[[channel]]\nid = \"line\"\ntype = \"modbus-rtu\"\nport = \"{port}\"\n"));
    says(&doctor(&gateway).1, "ok port line:", &["this user may open it"]);
    let held = fs::File::open(&port).unwrap();
    let pid = format!("(pid {})", std::process::id());
    says(&doctor(&gateway).1, "bad port line:", &["is held by", &pid, "stop that one"]);
    drop(held);
}

#[test]
fn a_port_that_never_answers_and_a_link_to_nothing_are_told_soon() {
    let gateway = gateway();
    gateway.configure("");
    let _silent = TcpListener::bind(&gateway.listen).unwrap();
    std::os::unix::fs::symlink("/nowhere/at/all", gateway.data()).unwrap();
    let began = std::time::Instant::now();
    let (_, lines) = doctor(&gateway);
    assert!(began.elapsed().as_secs() < 40, "it waited {:?}", began.elapsed());
    says(&lines, "warn daemon:", &["does not run"]);
    says(&lines, "bad data directory:", &["is a link to /nowhere/at/all"]);
}

#[test]
fn a_store_that_is_damaged_foreign_or_not_writable_is_named() {
    let mut gateway = gateway();
    gateway.configure("");
    gateway.start();
    assert!(gateway.stop().0.success());
    says(&doctor(&gateway).1, "ok journal:", &["sound"]);

    gateway.configure_as("cp-018", &gateway.data(), "");
    says(&doctor(&gateway).1, "bad journal:", &["of gateway `cp-017`, not of `cp-018`"]);
    gateway.configure("");

    let journal = gateway.data().join("journal.db");
    let whole = fs::read(&journal).unwrap();
    let mut bent = whole.clone();
    bent[4096..8192].fill(0x5a);
    fs::write(&journal, bent).unwrap();
    let (healthy, lines) = doctor(&gateway);
    assert!(!healthy);
    says(&lines, "bad journal:", &["damaged", "restore"]);
    for (bytes, words) in [(&b""[..], "is empty"), (&[0x5a; 8192], "not a database")] {
        fs::write(&journal, bytes).unwrap();
        says(&doctor(&gateway).1, "bad journal:", &[words, "restore"]);
    }
    fs::remove_file(&journal).unwrap();
    fs::create_dir(&journal).unwrap();
    says(&doctor(&gateway).1, "bad journal:", &["is no file", "move it away"]);
    fs::remove_dir(&journal).unwrap();
    fs::write(&journal, whole).unwrap();

    // As root one may write anywhere; in a name space of our own a file system can be made read-only.
    let (data, file) = (gateway.data(), gateway.file());
    let inside = |first: &str| {
        let script = format!("{first} && exec \"$0\" \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", &script]).arg(env!("CARGO_BIN_EXE_gatehouse"));
        command.args(["doctor", "--config"]).arg(&file);
        command
    };
    let can = Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|status| status.success());
    if !can {
        println!("left out: no name space of our own here, in which a file system could be read-only");
    } else {
        let mount = format!("mount --bind -o ro {0} {0}", data.display());
        let (healthy, lines) = asked(inside(&mount));
        assert!(!healthy);
        says(&lines, "bad disk writes:", &["mounted read-only", "dmesg", "remount,rw"]);
    }
}

#[test]
fn as_long_as_rows_are_under_an_old_key_it_is_said() {
    let mut gateway = gateway();
    let key = |name: &str| {
        fs::write(gateway.dir().join(name), format!("not-to-be-shown-{name}")).unwrap();
        format!("{{ file = \"{name}\" }}")
    };
    let (old, new) = (key("old"), key("new"));
    gateway.configure(&format!("[privacy]\nstore_key = {old}\n"));
    gateway.start();
    assert!(gateway.stop().0.success());
    let is_said = |gateway: &Gateway| doctor(gateway).1.iter().any(|line| line.contains("journal's key"));
    assert!(!is_said(&gateway));
    gateway.configure(&format!("[privacy]\nstore_key = {new}\nstore_key_before = [{old}]\n"));
    says(&doctor(&gateway).1, "warn journal's key:", &["rows are not under", "leave `store_key_before`"]);
    gateway.configure(&format!("[privacy]\nstore_key = {new}\n"));
    let (healthy, lines) = doctor(&gateway);
    assert!(!healthy, "the daemon would not start");
    says(&lines, "bad journal's key:", &["which the configuration does not name", "store_key_before"]);
}

#[test]
fn whoever_may_not_read_is_told_who_may() {
    if !rustix::process::geteuid().is_root() || !Path::new("/usr/bin/setpriv").exists() {
        println!("left out: only root can ask as somebody else, by setpriv");
        return;
    }
    let mut gateway = gateway();
    token(&gateway, 0o600);
    gateway.configure(&sync("http://127.0.0.1:9/events"));
    gateway.start();
    fs::set_permissions(gateway.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = gateway.dir().join("gatehouse");
    fs::copy(env!("CARGO_BIN_EXE_gatehouse"), &program).unwrap();
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
    nobody.arg("doctor").arg("--config").arg(gateway.file());
    let (healthy, lines) = asked(nobody);
    assert!(!healthy);
    says(&lines, "bad secret:", &["token cannot be read", "Permission denied", "chgrp gatehouse"]);
    says(&lines, "warn data:", &["may not look into", "ask again as root"]);
    assert!(!lines.iter().any(|line| line.contains("daemon:") || line.contains("journal:")), "{lines:?}");
    gateway.stop();
}
