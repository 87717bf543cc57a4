//! Promise: the API is as it describes itself. schemathesis reads `/openapi.json` and asks a gateway with devices, tickets,
//! doors and lockers whatever the document allows and much that it does not, by each role: there is no server error and no
//! answer that is not described, nothing that breaks a schema is taken, nothing is open that should be guarded.
//!
//! `GATEHOUSE_EXAMPLES=1000` asks more of each call (tests/long).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use gatehouse::sim::Compound;
use gateway::{Gateway, beside, text};
use serde_json::{Value as Json, json};

const ROLES: [&str; 3] = ["technician", "central", "viewer"];

/// On top of the simulated compound: who may ask, a door, and two tickets that open at once.
const MORE: &str = r#"
[[door]]
id = "b3-power"
contact = "b3-door.door"
place = "3号楼/地下室/配电室门"

[[rule]]
id = "tank-not-full"
point = "tank-1.level"
below = 90.0

[[rule]]
id = "pump-runs"
point = "pump-1.frequency"
above = 40.0
class = "planned"
level = 3
"#;

fn configure(gateway: &Gateway, compound: &Compound) {
    let mut config = compound.config("127.0.0.1:0".parse().unwrap(), &gateway.data());
    config += MORE;
    for role in ROLES {
        fs::write(gateway.dir().join(role), secret(role)).unwrap();
        config += &format!(
            "[[api.token]]\nname = \"{role}\"\nrole = \"{role}\"\ntoken = {{ file = '{}' }}\n",
            gateway.dir().join(role).display()
        );
    }
    fs::write(gateway.file(), config).unwrap();
}

fn secret(role: &str) -> String {
    format!("{role}-4f1c9b7e2a6d8035")
}

fn asked(gateway: &Gateway, arguments: &[&str], path: &str) -> String {
    let url = format!("http://{}{path}", gateway.api().expect("it listens"));
    let bearer = format!("Authorization: Bearer {}", secret("technician"));
    let mut curl = Command::new("curl");
    curl.args(["-s", "--max-time", "10", "-H", &bearer]).args(arguments).arg(url);
    text(&curl.output().unwrap().stdout)
}

fn tickets(gateway: &Gateway) -> Option<Vec<String>> {
    let page: Json = serde_json::from_str(&asked(gateway, &[], "/api/v1/tickets")).ok()?;
    let ids = page["tickets"].as_array()?.iter().map(|ticket| ticket["id"].as_str().unwrap().to_owned());
    Some(ids.collect()).filter(|ids: &Vec<String>| ids.len() >= 2)
}

/// Answers may get more members in later versions; those of this version have no others than are described.
fn close(schema: &mut Json) {
    match schema {
        Json::Object(members) => {
            if members.contains_key("properties") && members.get("type") == Some(&json!("object")) {
                members.entry("additionalProperties").or_insert(false.into());
            }
            members.values_mut().for_each(close);
        }
        Json::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// Bodies that may have more than is described stay open.
fn closed(document: &str) -> Json {
    let mut document: Json = serde_json::from_str(document).unwrap();
    let schemas = document.pointer_mut("/components/schemas").and_then(Json::as_object_mut).unwrap();
    for (name, schema) in schemas {
        if !["TicketAction", "Acknowledged"].contains(&name.as_str()) {
            close(schema);
        }
    }
    document
}

struct Asker {
    dir: PathBuf,
    url: String,
}

impl Asker {
    fn new(gateway: &Gateway) -> Self {
        let ids = gateway.until("two tickets are open", || tickets(gateway));
        let dir = gateway.dir().to_owned();
        let names = ["pump-1", "bank-1", "b3-door", "plant", "lockers", "broker"].map(str::to_owned);
        let ids: Vec<String> = names.into_iter().chain(ids).collect();
        let config = include_str!("openapi/schemathesis.toml").replace("@ids@", &format!("{ids:?}"));
        fs::write(dir.join("schemathesis.toml"), config).unwrap();
        fs::write(dir.join("bounds.py"), include_str!("openapi/bounds.py")).unwrap();
        let document = closed(&asked(gateway, &[], "/openapi.json"));
        fs::write(dir.join("openapi.json"), document.to_string()).unwrap();
        Self { dir, url: format!("http://{}", gateway.api().unwrap()) }
    }

    /// Its report, in which there is nothing to complain of.
    fn run(&self, role: &str, arguments: &[&str]) -> String {
        let mut st = Command::new(std::path::absolute("tests/.venv/bin/st").unwrap());
        st.current_dir(&self.dir)
            .env("SCHEMATHESIS_HOOKS", "bounds")
            .env("PYTHONPATH", &self.dir)
            .env("NO_PROXY", "*")
            .args(["--config-file", "schemathesis.toml", "--no-color", "run", "openapi.json"])
            .args(["--url", &self.url, "--header", &format!("Authorization: Bearer {}", secret(role))])
            .args(["--checks", "all", "--seed", "7", "--continue-on-failure", "--no-shrink"])
            .args(arguments);
        let done = st.output().unwrap();
        let report = format!("{}{}", text(&done.stdout), text(&done.stderr));
        assert!(done.status.success(), "as {role}:\n{report}");
        println!("as {role}:\n{report}");
        report
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_asked_is_answered_as_it_is_described() {
    let dir = tempfile::tempdir().unwrap();
    let compound = Compound::start(dir.path()).await.unwrap();
    let mut gateway = Gateway::new("demo-1");
    configure(&gateway, &compound);
    beside(move || {
        gateway.start();
        let asker = Asker::new(&gateway);
        let examples = std::env::var("GATEHOUSE_EXAMPLES").unwrap_or_else(|_| "4".into());
        asker.run("technician", &["--max-examples", &examples]);
        for role in ["central", "viewer"] {
            asker.run(role, &["--max-examples", "2", "--phases", "examples,fuzzing"]);
        }
        assert!(gateway.is_running());
        assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
        gateway.stop();
    })
    .await;
    drop(compound);
}
