//! Promise: over HTTPS nobody is answered whom the configuration does not let in, a renewed certificate closes nothing, and the
//! commands on the box need no more than the configuration. Asked with curl and openssl.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod certs;
mod gateway;
mod kernel_clock;
mod ports;

use std::fs;
use std::io::Read as _;
use std::process::{Child, Command, Stdio};

use gatehouse::time;
use gateway::{Gateway, text};
use kernel_clock::{Clock, faketime};
use serde_json::Value as Json;

const TLS: &str = "tls = { cert = \"box.pem\", key = \"box-key.pem\" }\n";
const TOKENS: &str = "[[api.token]]\nname = \"crm\"\nrole = \"central\"\ntoken = { file = \"crm\" }\n\
                      [[api.token]]\nname = \"li\"\nrole = \"technician\"\ntoken = { file = \"li\" }\n";

/// A gateway with a CA (`ca`), a certificate of it (`box`) and two tokens; on a port that is free.
fn house(tls: &str) -> Gateway {
    let mut gateway = Gateway::new("cp-017");
    gateway.listen = format!("127.0.0.1:{}", ports::free_port());
    let dir = gateway.dir();
    certs::ca(dir, "ca");
    certs::signed(dir, "box", "ca", 90);
    for name in ["crm", "li"] {
        fs::write(dir.join(name), format!("{name}-0123456789abcdef")).unwrap();
    }
    gateway.configure(&format!("{tls}{TOKENS}"));
    gateway
}

/// What curl says: its exit code, the status, and all it printed.
fn curl(gateway: &Gateway, arguments: &[&str], url: &str) -> (i32, u16, String) {
    let said = Command::new("curl")
        .args(["-sS", "-i", "--max-time", "20", "-w", "\n%{http_code}"])
        .args(arguments)
        .arg(url)
        .current_dir(gateway.dir())
        .output()
        .unwrap();
    let printed = text(&said.stdout);
    let status = printed.rsplit_once('\n').map_or(0, |(_, status)| status.parse().unwrap());
    (said.status.code().unwrap_or(-1), status, printed + &text(&said.stderr))
}

fn at(gateway: &Gateway, path: &str) -> String {
    format!("https://{}{path}", gateway.listen)
}

fn token(name: &str) -> String {
    format!("Authorization: Bearer {name}-0123456789abcdef")
}

fn started(gateway: &mut Gateway) {
    gateway.spawn();
    gateway.until("the API listens", || gateway.api());
}

/// A command on the box: how it ended, and what it printed.
fn told(gateway: &Gateway, words: &[&str]) -> (i32, String) {
    let mut command = gateway.command(words[0]);
    let said = command.args(&words[1..]).current_dir(gateway.dir()).stdin(Stdio::null()).output().unwrap();
    (said.status.code().unwrap_or(-1), text(&said.stdout) + &text(&said.stderr))
}

#[test]
fn who_knows_the_ca_is_answered_and_nobody_speaks_in_the_clear() {
    let mut gateway = house(TLS);
    started(&mut gateway);
    let url = at(&gateway, "/api/v1/site");
    let li = token("li");
    let (_, status, printed) = curl(&gateway, &["--cacert", "ca.pem", "-H", &li], &url);
    assert_eq!(status, 200, "{printed}");
    assert!(printed.to_lowercase().contains("strict-transport-security: max-age="), "{printed}");
    for versions in [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]] {
        let (_, status, printed) =
            curl(&gateway, &[&["--cacert", "ca.pem", "-H", &li], &versions[..]].concat(), &url);
        assert_eq!(status, 200, "{versions:?}: {printed}");
    }
    assert_eq!(curl(&gateway, &["-H", &li], &url).0, 60, "curl does not know the CA");
    assert_eq!(curl(&gateway, &["--cacert", "ca.pem"], &url).1, 401, "TLS is no token");

    let (_, status, printed) = curl(&gateway, &["-H", &li], &url.replace("https", "http"));
    assert_eq!(status, 400);
    assert!(printed.contains("https://"), "{printed}");
    assert!(!printed.to_lowercase().contains("strict-transport"), "it counts over TLS only");

    // Where this openssl can still speak it; one that cannot says `no protocols available`.
    let old = ["s_client", "-connect", &gateway.listen, "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"];
    let said = Command::new("openssl").args(old).stdin(Stdio::null()).output().unwrap();
    let words = text(&said.stderr);
    let refused = ["alert protocol version", "alert handshake failure", "no protocols available"];
    assert!(refused.iter().any(|word| words.contains(word)), "{words}");
    assert!(!text(&said.stdout).contains("Cipher is ECDHE"), "a cipher was agreed upon");
}

#[test]
fn the_commands_on_the_box_know_their_daemon_and_others_need_the_ca() {
    let mut gateway = house(TLS);
    started(&mut gateway);
    let (code, said) = told(&gateway, &["status", "--token-file", "li"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = told(&gateway, &["doctor", "--json"]);
    let findings: Json = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    let of = |what: &str| {
        let all = findings["findings"].as_array().unwrap();
        all.iter().find(|one| one["what"] == what).unwrap_or_else(|| panic!("{code} {said}")).clone()
    };
    assert_eq!(of("daemon")["verdict"], "ok", "{said}");
    assert!(of("certificate of the API")["found"].as_str().unwrap().contains("ends in 89 days"), "{said}");

    let url = format!("https://{}", gateway.listen);
    let elsewhere = ["status", "--token-file", "li", "--url", &url];
    let (code, said) = told(&gateway, &elsewhere);
    assert!(code != 0 && said.contains("--ca FILE"), "{said}");
    let (code, said) = told(&gateway, &[&elsewhere[..], &["--ca", "ca.pem"]].concat());
    assert_eq!(code, 0, "{said}");

    // Renewed and not reloaded: the daemon still shows the old one, and is known by that.
    certs::signed(gateway.dir(), "box", "ca", 90);
    let (code, said) = told(&gateway, &["status", "--token-file", "li"]);
    assert_eq!(code, 0, "{said}");

    // Somebody else with the port: nothing is told them.
    gateway.stop();
    let mut other = house(TLS);
    other.listen.clone_from(&gateway.listen);
    other.configure(&format!("{TLS}{TOKENS}"));
    started(&mut other);
    let (code, said) = told(&gateway, &["status", "--token-file", "li"]);
    assert!(code != 0 && said.contains("another certificate"), "{said}");
}

#[test]
fn clients_show_a_certificate_where_they_are_asked_for_one() {
    let asking = TLS.replace(" }", ", client_ca = \"clients.pem\" }");
    let mut gateway = house(&asking);
    let dir = gateway.dir();
    for name in ["clients", "strangers"] {
        certs::ca(dir, name);
    }
    certs::signed(dir, "good", "clients", 30);
    certs::signed(dir, "ended", "clients", -1);
    certs::signed(dir, "stranger", "strangers", 30);
    started(&mut gateway);
    let url = at(&gateway, "/api/v1/site");
    let ask = |cert: Option<&str>, who: &str| {
        let (file, header) =
            (cert.map(|name| (format!("{name}.pem"), format!("{name}-key.pem"))), token(who));
        let mut arguments = vec!["--cacert", "ca.pem", "-H", &header];
        if let Some((cert, key)) = &file {
            arguments.extend(["--cert", cert, "--key", key]);
        }
        curl(&gateway, &arguments, &url)
    };
    assert_eq!(ask(Some("good"), "crm").1, 200);
    for cert in [None, Some("stranger"), Some("ended")] {
        let (code, status, printed) = ask(cert, "crm");
        assert!(code != 0 && status == 0, "{cert:?} is not heard at all: {printed}");
    }
    let (code, said) = told(&gateway, &["status", "--token-file", "li"]);
    assert!(code != 0 && said.contains("--cert FILE --key FILE"), "{said}");
    let shown = ["--cert", "good.pem", "--key", "good-key.pem"];
    let (code, said) = told(&gateway, &[&["status", "--token-file", "li"], &shown[..]].concat());
    assert_eq!(code, 0, "{said}");

    let central = asking.replace(" }", ", client = \"central\" }");
    gateway.configure(&format!("{central}{TOKENS}"));
    let (code, said) = told(&gateway, &[&["reload", "--token-file", "li"], &shown[..]].concat());
    assert!(code == 0 && said.contains("asks role central for a certificate"), "{said}");
    assert_eq!(ask(None, "li").1, 200, "a technician comes without");
    let (_, status, printed) = ask(None, "crm");
    assert!(status == 403 && printed.contains("certificate-required"), "{printed}");
    assert_eq!(ask(Some("good"), "crm").1, 200);
    assert_eq!(ask(Some("stranger"), "li").1, 0, "one that is shown has to be right");
}

#[test]
fn a_box_that_wakes_up_in_1970_lets_its_centre_in_with_a_newer_certificate() {
    let mut gateway = house(&TLS.replace(" }", ", client_ca = \"clients.pem\" }"));
    let dir = gateway.dir();
    certs::ca(dir, "clients");
    let tomorrow = [("LD_PRELOAD", faketime().to_str().unwrap().to_owned()), ("FAKETIME", "+1d".to_owned())];
    let tomorrow = tomorrow.each_ref().map(|(name, value)| (*name, value.as_str()));
    certs::signed_in(&tomorrow, dir, "newer", "clients", 30);
    certs::ca(dir, "strangers");
    certs::signed_in(&tomorrow, dir, "stranger", "strangers", 30);
    let clock = Clock::of(&mut gateway);
    let in_1970 = 10_000 - time::now();
    clock.set(in_1970, false);
    started(&mut gateway);
    let ask = |name: &str| {
        let (cert, key, header) = (format!("{name}.pem"), format!("{name}-key.pem"), token("crm"));
        let arguments = ["--cacert", "ca.pem", "--cert", &cert, "--key", &key, "-H", &header];
        curl(&gateway, &arguments, &at(&gateway, "/api/v1/site")).1
    };
    assert_eq!((ask("newer"), ask("stranger")), (200, 0));
    // Where the hour is known, one that does not count yet is refused.
    clock.set(0, true);
    assert_eq!(ask("newer"), 0);
}

/// Waits for news at the journal's end, over one connection.
fn poll(gateway: &Gateway) -> Child {
    let url = at(gateway, "/api/v1/site");
    let (_, _, printed) = curl(gateway, &["--cacert", "ca.pem", "-H", &token("li")], &url);
    let body = printed.split("\r\n\r\n").nth(1).unwrap().lines().next().unwrap();
    let head: Json = serde_json::from_str(body).unwrap();
    let head = head["head"].as_str().map_or_else(|| head["head"].to_string(), str::to_owned);
    let url = at(gateway, &format!("/api/v1/events?after={head}&wait=60&types=ticket.*"));
    let mut child = Command::new("curl");
    let child =
        child.args(["-sS", "-v", "--cacert", "ca.pem", "-H", &token("li"), &url]).current_dir(gateway.dir());
    let said = fs::File::create(gateway.dir().join("poll")).unwrap();
    let child = child.stdout(Stdio::piped()).stderr(said).spawn().unwrap();
    let asked = || fs::read_to_string(gateway.dir().join("poll")).unwrap().contains("> GET");
    gateway.until("the request is sent", || asked().then_some(()));
    child
}

#[test]
fn a_renewed_certificate_is_shown_to_who_comes_next_and_closes_nothing() {
    let mut gateway = house(TLS);
    started(&mut gateway);
    let mut waiting = poll(&gateway);
    let reload = || told(&gateway, &["reload", "--token-file", "li"]);
    let site = at(&gateway, "/api/v1/site");
    let by = |ca: &str| curl(&gateway, &["--cacert", ca, "-H", &token("li")], &site).1;

    certs::ca(gateway.dir(), "next");
    certs::signed(gateway.dir(), "box", "next", 90);
    assert_eq!((by("ca.pem"), by("next.pem")), (200, 0), "not before it is reloaded");
    let (code, said) = reload();
    assert!(code == 0 && said.contains("api: shows another certificate"), "{said}");
    assert_eq!((by("ca.pem"), by("next.pem")), (0, 200));
    assert_eq!(waiting.try_wait().unwrap(), None, "who waits goes on waiting");

    fs::write(
        gateway.dir().join("box.pem"),
        "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let (code, said) = reload();
    assert!(code == 78 && said.contains("E803"), "{code} {said}");
    // One that begins with its serial number, as X.509 v1 does.
    fs::write(
        gateway.dir().join("box.pem"),
        "-----BEGIN CERTIFICATE-----\nMAswAwIBATAAAwIAAA==\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let (code, said) = reload();
    assert!(code == 78 && said.contains("E803") && said.contains("have a v3 one made"), "{code} {said}");
    certs::signed(gateway.dir(), "other", "next", 90);
    fs::copy(gateway.dir().join("other.pem"), gateway.dir().join("box.pem")).unwrap();
    let (code, said) = reload();
    assert!(code == 78 && said.contains("E804"), "{code} {said}");
    assert_eq!(by("next.pem"), 200, "the old one stays");
    assert_eq!(waiting.try_wait().unwrap(), None);

    assert!(gateway.stop().0.success());
    let mut answer = String::new();
    waiting.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
    assert!(waiting.wait().unwrap().success());
    assert!(answer.contains("\"events\":[]"), "over the connection from before both reloads: {answer}");
}

#[test]
fn a_box_that_starts_with_a_broken_certificate_works_without_its_api_until_that_is_mended() {
    let mut gateway = house(TLS);
    started(&mut gateway);
    gateway.stop();
    let certificate = gateway.dir().join("box.pem");
    let good = fs::read(&certificate).unwrap();
    for broken in [Some("no certificate"), None] {
        match broken {
            Some(text) => fs::write(&certificate, text).unwrap(),
            None => fs::remove_file(&certificate).unwrap(),
        }
        gateway.spawn();
        gateway.until("it runs", || gateway.log().contains("gatehouse runs").then_some(()));
        gateway
            .until("it says why it has no API", || gateway.log().contains("there is no API").then_some(()));
        assert_eq!(curl(&gateway, &["--cacert", "ca.pem"], &at(&gateway, "/healthz")).1, 0);
        fs::write(&certificate, &good).unwrap();
        gateway.signal("HUP");
        gateway.until("the API listens", || gateway.api());
        let said = gateway.until("it is answered", || {
            let (_, status, said) =
                curl(&gateway, &["--cacert", "ca.pem", "-H", &token("li")], &at(&gateway, "/api/v1/events"));
            (status == 200).then_some(said)
        });
        assert!(said.contains("gateway.config-rejected"), "{said}");
        assert!(gateway.stop().0.success());
    }
}

#[test]
fn a_box_that_starts_without_a_token_keeps_its_bearer_out_and_is_open_to_nobody() {
    let mut gateway = house("");
    started(&mut gateway);
    gateway.stop();
    let dir = gateway.dir().to_owned();
    let url = |path: &str| format!("http://{}{path}", gateway.listen);
    let (site, events, ready) = (url("/api/v1/site"), url("/api/v1/events"), url("/readyz"));
    let (crm, li) = (token("crm"), token("li"));
    let asked = |gateway: &Gateway, header: &str, url: &str| curl(gateway, &["-H", header], url);

    fs::remove_file(dir.join("li")).unwrap();
    started(&mut gateway);
    assert_eq!(asked(&gateway, &crm, &site).1, 200);
    assert_eq!((asked(&gateway, &li, &site).1, curl(&gateway, &[], &site).1), (401, 401));
    let degraded = asked(&gateway, &crm, &ready).2;
    assert!(degraded.contains("`token`: cannot read"), "{degraded}");
    let told = asked(&gateway, &crm, &events).2;
    assert!(told.contains("gateway.config-rejected"), "{told}");
    fs::write(dir.join("li"), "li-0123456789abcdef").unwrap();
    gateway.signal("HUP");
    gateway.until("its bearer is let in again", || {
        (asked(&gateway, &li, &site).1 == 200
            && asked(&gateway, &crm, &ready).2.contains("\"degraded\":null"))
        .then_some(())
    });
    assert!(gateway.stop().0.success());

    // With none of them it is not an API without tokens.
    ["crm", "li"].iter().for_each(|name| fs::write(dir.join(name), "").unwrap());
    gateway.spawn();
    gateway.until("it runs", || gateway.log().contains("gatehouse runs").then_some(()));
    gateway.until("it says why it has no API", || {
        gateway.log().contains("[[api.token]]: none of them can be read").then_some(())
    });
    assert_eq!((curl(&gateway, &[], &site).0, asked(&gateway, &li, &site).0), (7, 7), "nobody listens");
    ["crm", "li"]
        .iter()
        .for_each(|name| fs::write(dir.join(name), format!("{name}-0123456789abcdef")).unwrap());
    gateway.signal("HUP");
    gateway.until("the API listens", || gateway.api());
    assert_eq!((asked(&gateway, &li, &site).1, curl(&gateway, &[], &site).1), (200, 401));
}

#[test]
fn https_begins_and_ends_by_a_reload_at_one_address() {
    let mut gateway = house("");
    started(&mut gateway);
    let li = token("li");
    let plain = format!("http://{}/api/v1/site", gateway.listen);
    let site = at(&gateway, "/api/v1/site");
    assert_eq!(curl(&gateway, &["-H", &li], &plain).1, 200);
    for (tls, word, statuses) in
        [(TLS, "api: speaks HTTPS", (400, 200)), ("", "api: speaks HTTP, and HTTPS no longer", (200, 0))]
    {
        gateway.configure(&format!("{tls}{TOKENS}"));
        let (code, said) = told(&gateway, &["reload", "--token-file", "li"]);
        assert!(code == 0 && said.contains(word), "{said}");
        let now = (
            curl(&gateway, &["-H", &li], &plain).1,
            curl(&gateway, &["-H", &li, "--cacert", "ca.pem"], &site).1,
        );
        assert_eq!(now, statuses, "{word}");
        let (code, said) = told(&gateway, &["status", "--token-file", "li"]);
        assert_eq!(code, 0, "{said}");
    }
}

#[test]
fn a_certificate_that_has_ended_is_said_everywhere_and_served() {
    let mut gateway = house(TLS);
    certs::signed(gateway.dir(), "box", "ca", -1);
    let (code, said) = told(&gateway, &["check"]);
    assert!(code == 0 && said.contains("W801") && said.contains("has ended"), "{said}");
    started(&mut gateway);
    let (code, said) = told(&gateway, &["status", "--token-file", "li"]);
    assert!(code == 0 && said.contains("the certificate of the API has ended"), "{said}");
    let (_, said) = told(&gateway, &["doctor"]);
    assert!(said.contains("certificate of the API") && said.contains("has ended"), "{said}");
}

#[test]
fn others_are_let_in_by_tls_and_token_together_only() {
    let mut gateway = house(TLS);
    gateway.listen = "0.0.0.0:8443".into();
    let check = |rest: &str| {
        gateway.configure(rest);
        told(&gateway, &["check"])
    };
    let (code, said) = check(&format!("{TLS}{TOKENS}"));
    assert!(code == 0 && said.contains("https://0.0.0.0:8443"), "{said}");
    for (rest, lacks) in [(TLS.to_owned(), "needs a token"), (TOKENS.to_owned(), "needs TLS and a token")] {
        let (code, said) = check(&rest);
        assert!(code == 78 && said.contains("E802") && said.contains(lacks), "{said}");
    }
    let inline = "tls = { cert = \"box.pem\", key = \"-----BEGIN PRIVATE KEY-----\" }\n";
    assert!(check(&format!("{inline}{TOKENS}")).1.contains("E901"));
}
