//! Promise: events go to the centre that the configuration's CA vouches for, by one who shows our certificate, and to nobody
//! else; what is wrong is said without a secret. The centre is Python's own HTTPS server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use gateway::{Gateway, until};

const TOKEN: &str = "crm-token-0123456789";
const QUERY: &str = "query-secret-987";

fn openssl(dir: &Path, arguments: &str) {
    let done = Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output().unwrap();
    assert!(done.status.success(), "{arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

fn authority(dir: &Path, name: &str) {
    let curve = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(dir, &format!("req -x509 {curve} -keyout {name}.key -out {name}.pem -days 2 -subj /CN={name}"));
}

/// A certificate for this machine, valid for so many days; fewer than none: it has expired.
fn certificate(dir: &Path, name: &str, authority: &str, until: &str) {
    let curve = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(dir, &format!("req {curve} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
    fs::write(dir.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(
        dir,
        &format!(
            "x509 -req -in {name}.csr -CA {authority}.pem -CAkey {authority}.key -CAcreateserial -extfile names {until} -out {name}.pem"
        ),
    );
}

/// A centre with this certificate, and what it says it took.
struct Centre {
    child: Child,
    port: u16,
    took: mpsc::Receiver<String>,
}

impl Centre {
    fn start(dir: &Path, name: &str) -> Self {
        let files = [format!("{name}.pem"), format!("{name}.key"), "own.pem".to_owned()];
        Self::spawn("tests/peers/https_centre.py", &files.map(|file| dir.join(file)))
    }

    fn spawn(script: &str, arguments: &[PathBuf]) -> Self {
        let mut child = Command::new("tests/.venv/bin/python")
            .arg(script)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        let (heard, took) = mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| heard.send(line)));
        Self { child, port, took }
    }
}

impl Drop for Centre {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configure(house: &Gateway, port: u16, ca: &str, cert: &str) {
    let ours = format!("cert = \"{cert}.pem\"\nkey = {{ file = \"{cert}.key\" }}\n");
    configure_with(house, port, ca, &ours);
}

fn configure_with(house: &Gateway, port: u16, ca: &str, ours: &str) {
    house.configure(&format!(
        "[[sync]]\nname = \"crm\"\nurl = \"https://127.0.0.1:{port}/events\"\ntoken = {{ file = \"crm\" }}\n\
         ca = \"{ca}.pem\"\n{ours}"
    ));
}

/// What stands in `error` of the consumer.
fn error(house: &Gateway, says: &str) -> String {
    house.until(&format!("the consumer says {says}"), || {
        let told = house.get("/api/v1/consumers")?;
        let error = told["consumers"][0]["error"].as_str()?.to_owned();
        error.contains(says).then_some(error)
    })
}

#[test]
fn only_the_centre_of_this_ca_gets_events() {
    let mut house = Gateway::new("cp-017");
    let dir = house.dir().to_owned();
    fs::write(dir.join("crm"), TOKEN).unwrap();
    ["own", "other"].iter().for_each(|name| authority(&dir, name));
    certificate(&dir, "centre", "own", "-days 2");
    certificate(&dir, "expired", "own", "-days -1");
    certificate(&dir, "gateway", "own", "-days 2");
    certificate(&dir, "stranger", "other", "-days 2");

    let centre = Centre::start(&dir, "centre");
    configure(&house, centre.port, "other", "gateway");
    house.start();
    let wrong = error(&house, "UnknownIssuer");
    let expired = Centre::start(&dir, "expired");
    configure(&house, expired.port, "own", "gateway");
    house.reload();
    let late = error(&house, "xpired");
    configure_with(&house, centre.port, "own", "");
    house.reload();
    let missing =
        error(&house, "the centre wants a certificate: name one that it knows with `cert` and `key`");
    let doctor = gateway::text(&house.ran("doctor").stdout);
    assert!(doctor.contains("with `cert` and `key` of this [[sync]]"), "{doctor}");
    configure(&house, centre.port, "own", "stranger");
    house.reload();
    let refused = error(&house, "the centre does not take the certificate in `cert` of this [[sync]]");
    for said in [&wrong, &late, &missing, &refused] {
        assert!(!said.contains(TOKEN) && !said.contains("BEGIN"), "{said}");
    }
    assert!(centre.took.try_recv().is_err() && expired.took.try_recv().is_err(), "nothing has moved");
    let told = house.get("/api/v1/consumers").unwrap();
    assert!(told["consumers"][0]["lag"].as_u64().unwrap() > 0, "{told}");

    // The certificate is renewed in its place, and a reload takes it.
    for end in ["pem", "key"] {
        fs::copy(dir.join(format!("gateway.{end}")), dir.join(format!("stranger.{end}"))).unwrap();
    }
    house.reload();
    let took = centre.took.recv_timeout(Duration::from_secs(40)).expect("events arrive");
    assert!(took.ends_with(" gateway"), "{took}");
    let well = until(|| {
        let told = house.get("/api/v1/consumers")?;
        (told["consumers"][0]["lag"] == 0 && told["consumers"][0]["error"].is_null()).then_some(())
    });
    assert!(well.is_some(), "{:?}", house.get("/api/v1/consumers"));
    assert!(!house.log().contains(TOKEN));

    fs::copy(dir.join("centre.key"), dir.join("stranger.key")).unwrap();
    let checked = house.ran("check");
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert_eq!(checked.status.code(), Some(78), "a key of another certificate: {said}");
    assert!(said.contains("E904") && !said.contains("BEGIN"), "{said}");
}

#[test]
fn a_centre_whose_token_or_certificates_are_gone_at_a_start_gets_nothing_until_they_are_back() {
    let mut house = Gateway::new("cp-017");
    let dir = house.dir().to_owned();
    fs::write(dir.join("crm"), TOKEN).unwrap();
    authority(&dir, "own");
    ["centre", "gateway"].iter().for_each(|name| certificate(&dir, name, "own", "-days 2"));
    let centre = Centre::start(&dir, "centre");
    configure(&house, centre.port, "own", "gateway");
    let is_well = |house: &Gateway| {
        house.until("the centre has all", || {
            let told = house.get("/api/v1/consumers")?;
            (told["consumers"][0]["lag"] == 0 && told["consumers"][0]["error"].is_null()).then_some(())
        });
    };
    house.start();
    is_well(&house);
    assert!(house.stop().0.success());
    let of_another = fs::read(dir.join("centre.key")).unwrap();
    let broken: [(&str, Option<&[u8]>, &str); 5] = [
        ("crm", None, "`token`: cannot read"),
        ("own.pem", Some(b"no certificate"), "`ca`: `own.pem` holds no certificate"),
        ("gateway.pem", None, "`cert`: cannot read"),
        ("gateway.key", Some(b""), "`key`: `gateway.key` holds no private key"),
        ("gateway.key", Some(&of_another), "the certificates cannot be used"),
    ];
    for (n, (file, text, says)) in broken.into_iter().enumerate() {
        while centre.took.try_recv().is_ok() {}
        let file = dir.join(file);
        let good = fs::read(&file).unwrap();
        match text {
            Some(text) => fs::write(&file, text).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        house.start();
        let said = error(&house, says);
        assert!(
            said.ends_with("then reload") && !said.contains(TOKEN) && !said.contains("-----END"),
            "{said}"
        );
        assert!(house.get("/readyz").unwrap()["degraded"].as_str().unwrap().contains(says));
        house.until_told("gateway.config-rejected", n + 1);
        let told = house.get("/api/v1/consumers").unwrap();
        assert!(told["consumers"][0]["lag"].as_u64().unwrap() > 0, "its events are kept: {told}");
        assert!(centre.took.try_recv().is_err(), "{says}: nothing goes out");

        fs::write(&file, good).unwrap();
        house.reload();
        is_well(&house);
        assert!(centre.took.try_recv().is_ok(), "{says}: all that was kept");
        assert!(house.get("/readyz").unwrap()["degraded"].is_null());
        assert!(house.stop().0.success());
    }
}

#[test]
fn a_centre_that_repeats_our_token_spreads_it_no_further() {
    let mut house = Gateway::new("cp-017");
    fs::write(house.dir().join("crm"), TOKEN).unwrap();
    let centre = Centre::spawn("tests/peers/echo_centre.py", &[]);
    house.configure(&format!(
        "[[sync]]\nname = \"crm\"\nurl = \"http://127.0.0.1:{}/e?code={QUERY}\"\ntoken = {{ file = \"crm\" }}\n",
        centre.port
    ));
    house.start();
    let aside = house.until("an event is set aside", || {
        let told = house.get("/api/v1/consumers")?;
        let is_aside = told["consumers"][0]["set_aside"].as_array().is_some_and(|aside| !aside.is_empty());
        is_aside.then(|| told.to_string())
    });
    assert!(house.stop().0.success());
    let secrets = [TOKEN, QUERY, "13800138000"];
    let mut places =
        vec![("the API".to_owned(), aside.into_bytes()), ("the log".to_owned(), house.log().into_bytes())];
    for file in fs::read_dir(house.data()).unwrap().map(|file| file.unwrap()) {
        let name = file.file_name().into_string().unwrap();
        if name.starts_with("journal") {
            places.push((name, fs::read(file.path()).unwrap()));
        }
    }
    assert!(
        places.len() > 2,
        "journal.db is among {:?}",
        places.iter().map(|place| &place.0).collect::<Vec<_>>()
    );
    for (place, bytes) in &places {
        for secret in secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} is in {place}");
        }
    }
    assert!(house.log().contains(r#"/e?code=***\", \"token\": \"Bearer ***"#), "{}", house.log());
}
