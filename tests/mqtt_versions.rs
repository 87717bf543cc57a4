//! The MQTT channel in either version and over TLS, against mosquitto.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod mosquitto;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use gatehouse::field::mqtt::{Device, Settings, Tls, Version};
use gatehouse::reading::{DeviceId, Quality, Reason, Value};
use gatehouse::secret::Secret;
use mosquitto::{Broker, Channel, device, free_port, of, offline, point, settings};

fn one() -> Vec<Device> {
    vec![device(0, "z/t", vec![point(0, Some("/t"))])]
}

async fn number(channel: &mut Channel) -> f64 {
    channel.reading(0).await.value.as_ref().and_then(Value::number).unwrap()
}

#[tokio::test]
async fn a_session_of_mqtt_5_holds_what_is_said_while_the_gateway_is_away() {
    let broker = Broker::start();
    let v5 = || Settings { version: Version::V5, ..settings(&broker, one()) };
    let mut channel = Channel::of(v5(), 64);
    broker.subscribed(1).await;
    broker.publish("z/t", r#"{"t":1}"#, &[]);
    assert!((number(&mut channel).await - 1.0).abs() < 1e-9);
    channel.end().await;
    assert_eq!(broker.logged("(p5, c0, k20"), 1, "MQTT 5, and no clean start");

    for n in 2..=5 {
        broker.publish("z/t", &format!(r#"{{"t":{n}}}"#), &[]);
    }
    let mut channel = Channel::of(v5(), 64);
    for n in 2..=5 {
        assert!((number(&mut channel).await - f64::from(n)).abs() < 1e-9);
    }
    broker.subscribed(2).await;
    channel.end().await;
}

#[tokio::test]
async fn mqtt_5_comes_through_a_restart_of_the_broker() {
    let mut broker = Broker::start();
    let mut channel = Channel::of(Settings { version: Version::V5, ..settings(&broker, one()) }, 64);
    broker.subscribed(1).await;
    broker.publish("z/t", r#"{"t":0}"#, &[]);
    assert_eq!(channel.reading(0).await.quality, Quality::Good);
    broker.acknowledged(1).await; // or it would come again
    broker.stop();
    channel.until("the loss", |b| offline(b).is_some()).await;
    broker.start_again();
    for n in 1..=20 {
        broker.publish("z/t", &format!(r#"{{"t":{n}}}"#), &[]);
    }
    assert_eq!(channel.reading(0).await.reason, Some(Reason::NotYet));
    for n in 1..=20 {
        assert!((number(&mut channel).await - f64::from(n)).abs() < 1e-9);
    }
    broker.subscribed(2).await;
    channel.end().await;
}

#[tokio::test]
async fn a_broker_of_mqtt_5_leaves_out_what_is_too_large() {
    let broker = Broker::start();
    broker.publish_file("z/t", &format!(r#"{{"t":1,"x":"{}"}}"#, "x".repeat(5 << 20)));
    broker.publish_file("z/u", r#"{"t":2}"#);
    let devices =
        vec![device(0, "z/t", vec![point(0, Some("/t"))]), device(1, "z/u", vec![point(1, Some("/t"))])];
    let mut channel = Channel::of(Settings { version: Version::V5, ..settings(&broker, devices) }, 64);
    let batch = channel.until("the small one", |_| true).await;
    assert_eq!(batch.device, DeviceId(1), "{batch:?}");
    broker.publish("z/t", r#"{"t":3}"#, &[]);
    assert!((number(&mut channel).await - 3.0).abs() < 1e-9, "and the connection stands");
    channel.end().await;
}

/// Certificates as a compound's keeper would make them.
fn certify(dir: &Path, name: &str, ca: &str, more: &str) {
    let script = format!(
        "set -e; new='req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
         test -e {ca}.pem || openssl $new -x509 -days 30 -subj /CN={ca} -keyout {ca}.key -out {ca}.pem
         openssl $new -subj /CN={name} -keyout {name}.key -out {name}.csr
         echo subjectAltName=IP:127.0.0.1 > {name}.ext
         openssl x509 -req -in {name}.csr -CA {ca}.pem -CAkey {ca}.key -CAcreateserial -days 30 -extfile {name}.ext {more} \
            -out {name}.pem
         chmod 644 *.key"
    );
    let done = Command::new("sh").arg("-c").arg(script).current_dir(dir).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn read(broker: &Broker, file: &str) -> Arc<str> {
    std::fs::read_to_string(broker.dir.path().join(file)).unwrap().into()
}

/// A broker with a second port that speaks TLS with the certificate `name`.
fn secured(name: &str, more_of_cert: &str, more: &str) -> (Broker, u16) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
    certify(dir.path(), name, "ca", more_of_cert);
    certify(dir.path(), "gateway", "ca", "");
    certify(dir.path(), "stranger", "other-ca", "");
    let (port, at) = (free_port(), dir.path().display());
    let conf = format!(
        "listener {port} 127.0.0.1\ncafile {at}/ca.pem\ncertfile {at}/{name}.pem\nkeyfile {at}/{name}.key\n{more}\n"
    );
    (Broker::with(dir, &conf), port)
}

fn over_tls(broker: &Broker, port: u16, ca: &str, identity: Option<&str>) -> Settings {
    let identity = identity.map(|name| {
        (read(broker, &format!("{name}.pem")), Secret::new(&read(broker, &format!("{name}.key"))))
    });
    let tls = Tls { ca: Some(read(broker, ca)), identity };
    tls.check().unwrap();
    Settings { port, tls: Some(tls), timeout: Duration::from_secs(5), ..settings(broker, one()) }
}

/// Why the channel cannot connect.
async fn refused(settings: Settings) -> String {
    let mut channel = Channel::of(settings, 64);
    let lost = channel.until("the refusal", |b| offline(b).is_some()).await;
    let why = offline(&lost).unwrap().to_owned();
    channel.end().await;
    why
}

#[tokio::test]
async fn readings_come_over_tls_in_either_version_with_a_certificate_of_our_own() {
    let (broker, port) = secured("broker", "", "require_certificate true");
    for (n, version) in [Version::V311, Version::V5].into_iter().enumerate() {
        let over = over_tls(&broker, port, "ca.pem", Some("gateway"));
        let mut channel = Channel::of(Settings { version, ..over }, 64);
        broker.subscribed(n + 1).await;
        broker.publish("z/t", r#"{"t":20}"#, &[]);
        assert!((number(&mut channel).await - 20.0).abs() < 1e-9);
        channel.end().await;
    }
    let without = refused(over_tls(&broker, port, "ca.pem", None)).await;
    assert!(without.contains("name one with `cert` and `key`"), "{without}");
    let strange = refused(over_tls(&broker, port, "ca.pem", Some("stranger"))).await;
    assert!(strange.contains("does not accept our certificate"), "{strange}");
}

#[tokio::test]
async fn a_certificate_that_cannot_be_believed_is_told_with_its_cure() {
    let (broker, port) = secured("broker", "", "");
    let wrong = refused(over_tls(&broker, port, "other-ca.pem", None)).await;
    assert!(wrong.starts_with(&format!("broker 127.0.0.1:{port} is not there: ")), "{wrong}");
    assert!(wrong.contains("name the CA that has with `ca`"), "{wrong}");
    let other = Settings { host: "localhost".into(), ..over_tls(&broker, port, "ca.pem", None) };
    let other = refused(other).await;
    assert!(other.contains("is for another name"), "{other}");
    let plain = refused(over_tls(&broker, broker.port, "ca.pem", None)).await;
    assert!(!plain.contains("panic") && plain.contains("is not there"), "{plain}");

    let (broker, port) = secured("old", "-days -1", "");
    let old = refused(over_tls(&broker, port, "ca.pem", None)).await;
    assert!(old.contains("has expired"), "{old}");
}

#[tokio::test]
async fn a_broker_that_gets_the_right_certificate_is_taken_up_without_a_restart_of_ours() {
    let (mut broker, port) = secured("broker", "", "");
    // Another CA signs the broker's certificate for now.
    let dir = broker.dir.path().to_owned();
    std::fs::rename(dir.join("broker.pem"), dir.join("right.pem")).unwrap();
    std::fs::rename(dir.join("broker.key"), dir.join("right.key")).unwrap();
    certify(&dir, "broker", "other-ca", "");
    broker.stop();
    broker.start_again();
    let mut channel = Channel::of(over_tls(&broker, port, "ca.pem", None), 64);
    let lost = channel.until("the refusal", |b| offline(b).is_some()).await;
    assert!(offline(&lost).unwrap().contains("`ca`"));
    broker.stop();
    std::fs::rename(dir.join("right.pem"), dir.join("broker.pem")).unwrap();
    std::fs::rename(dir.join("right.key"), dir.join("broker.key")).unwrap();
    broker.start_again();
    broker.subscribed(1).await;
    broker.publish("z/t", r#"{"t":20}"#, &[]);
    assert_eq!(channel.reading(0).await.reason, Some(Reason::NotYet));
    assert!((number(&mut channel).await - 20.0).abs() < 1e-9);
    channel.end().await;
}

#[test]
fn certificates_that_are_none_are_told_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    certify(dir.path(), "a", "ca", "");
    certify(dir.path(), "b", "ca", "");
    let text = |file: &str| std::fs::read_to_string(dir.path().join(file)).unwrap();
    let check = |ca: &str, cert: &str, key: &str| {
        let identity = Some((cert.into(), Secret::new(key)));
        Tls { ca: Some(ca.into()), identity }.check()
    };
    let (ca, cert, key) = (text("ca.pem"), text("a.pem"), text("a.key"));
    assert_eq!(check(&ca, &cert, &key), Ok(()));
    assert!(check("nonsense", &cert, &key).unwrap_err().contains("`ca`"));
    assert!(check(&ca, "", &key).unwrap_err().contains("`cert`"));
    assert!(check(&ca, &cert, &cert).unwrap_err().contains("`key`"));
    let other = check(&ca, &cert, &text("b.key")).unwrap_err();
    assert!(other.contains("do not go together"), "{other}");
}

#[tokio::test]
async fn a_refused_login_is_told_as_one() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let users = dir.path().join("users");
    let made = Command::new("mosquitto_passwd").args(["-c", "-b"]).arg(&users).args(["li", "right"]).status();
    assert!(made.unwrap().success());
    std::fs::set_permissions(&users, PermissionsExt::from_mode(0o644)).unwrap();
    let broker = Broker::with(dir, &format!("allow_anonymous false\npassword_file {}\n", users.display()));
    let port = broker.port;
    for version in [Version::V311, Version::V5] {
        let login = Some(("li".to_owned(), Secret::new("wrong")));
        let why =
            refused(Settings { port, login, version, ..settings(&broker, vec![device(0, "z/t", vec![])]) })
                .await;
        assert!(why.contains("refuses our login") && why.contains("`password`"), "{why}");
        assert!(!why.contains("wrong"), "{why}");
    }
    let login = Some(("li".to_owned(), Secret::new("right")));
    let mut channel = Channel::of(Settings { port, login, ..settings(&broker, one()) }, 64);
    broker.subscribed(1).await;
    let publish = ["-p", &port.to_string(), "-u", "li", "-P", "right", "-t", "z/t", "-m", r#"{"t":1}"#];
    assert!(Command::new("mosquitto_pub").args(publish).status().unwrap().success());
    let batch = channel.until("the reading", |b| of(b, 0).is_some()).await;
    assert_eq!(batch.readings[0].quality, Quality::Good);
    channel.end().await;
}
