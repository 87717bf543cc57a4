//! Promise: the API is as it describes itself. schemathesis reads `/openapi.json` and asks a gateway with devices, tickets,
//! doors and lockers whatever the document allows and much that it does not, by each role: there is no server error and no
//! answer that is not described, nothing that breaks a schema is taken, nothing is open that should be guarded.
//!
//! `GATEHOUSE_EXAMPLES=300` asks more of each call (tests/long).
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

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

fn curl(gateway: &Gateway, arguments: &[&str], path: &str) -> String {
    let url = format!("http://{}{path}", gateway.api().expect("it listens"));
    let mut curl = Command::new("curl");
    curl.args(["-s", "--max-time", "10", "--noproxy", "*"]).args(arguments).arg(url);
    text(&curl.output().unwrap().stdout)
}

fn bearer(role: &str) -> String {
    format!("Authorization: Bearer {}", secret(role))
}

fn tickets(gateway: &Gateway) -> Option<Vec<String>> {
    let page = curl(gateway, &["-H", &bearer("technician")], "/api/v1/tickets");
    let page: Json = serde_json::from_str(&page).ok()?;
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
fn closed(mut document: Json) -> Json {
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
    fn new(gateway: &Gateway, document: Json) -> Self {
        let ids = gateway.until("two tickets are open", || tickets(gateway));
        // Wrong tokens, of which many will be shown, do not lock out who was known before.
        for role in ROLES {
            let site = curl(gateway, &["-H", &bearer(role)], "/api/v1/site");
            assert!(site.contains(&format!("\"role\":\"{role}\"")), "{site}");
        }
        let dir = gateway.dir().to_owned();
        let names = ["pump-1", "bank-1", "b3-door", "plant", "lockers", "broker"].map(str::to_owned);
        let ids: Vec<String> = names.into_iter().chain(ids).collect();
        let config = include_str!("openapi/schemathesis.toml").replace("@ids@", &format!("{ids:?}"));
        fs::write(dir.join("schemathesis.toml"), config).unwrap();
        fs::write(dir.join("bounds.py"), include_str!("openapi/bounds.py")).unwrap();
        fs::write(dir.join("openapi.json"), closed(document).to_string()).unwrap();
        Self { dir, url: format!("http://{}", gateway.api().unwrap()) }
    }

    /// In its report there is nothing to complain of.
    fn run(&self, role: &str, arguments: &[&str]) {
        let mut st = Command::new(std::path::absolute("tests/.venv/bin/st").unwrap());
        st.current_dir(&self.dir)
            .env("SCHEMATHESIS_HOOKS", "bounds")
            .env("PYTHONPATH", &self.dir)
            .env("NO_PROXY", "*")
            .args(["--config-file", "schemathesis.toml", "--no-color", "run", "openapi.json"])
            .args(["--url", &self.url, "--header", &bearer(role)])
            // It shows a wrong token to each call, and after some the gateway answers 429: that is looked at in `guarded`.
            .args(["--checks", "all", "--exclude-checks", "ignored_auth"])
            .args(["--seed", "7", "--continue-on-failure", "--no-shrink"])
            .args(arguments);
        let done = st.output().unwrap();
        let report = format!("{}{}", text(&done.stdout), text(&done.stderr));
        assert!(done.status.success(), "as {role}:\n{report}");
        println!("as {role}:\n{report}");
    }
}

/// As `curl -d` sends them, bodies are taken; as a form or text of a page they are not.
fn bodies(gateway: &Gateway) {
    let bearer = bearer("technician");
    for (headers, status) in [
        (&[][..], "200"),
        (&["Content-Type: application/json; charset=utf-8"], "200"),
        (&["Content-Type:"], "200"),
        (&["Content-Type: text/plain"], "415"),
        (&["Content-Encoding: gzip"], "415"),
        (&["Origin: http://evil.example"], "415"),
    ] {
        let mut arguments = vec!["-o", "/dev/null", "-w", "%{http_code}", "-H", &bearer, "-d", "{}"];
        headers.iter().for_each(|header| arguments.extend(["-H", header]));
        assert_eq!(curl(gateway, &arguments, "/api/v1/devices/pump-1/read"), status, "{headers:?}");
    }
}

/// Who has the document is not sent it again.
fn held(gateway: &Gateway) {
    let head = curl(gateway, &["-I", "-H", "Accept-Encoding: gzip"], "/openapi.json");
    assert!(head.contains("content-encoding: gzip") && head.contains("application/json"), "{head}");
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().trim();
    let again = format!("If-None-Match: {tag}");
    let status = curl(gateway, &["-o", "/dev/null", "-w", "%{http_code}", "-H", &again], "/openapi.json");
    assert_eq!(status, "304");
}

/// Each call for which the document wants a token answers nobody without one.
fn guarded(gateway: &Gateway, document: &Json) {
    let status = |method: &str, path: &str, shown: &[&str]| {
        let mut arguments = vec!["-o", "/dev/null", "-w", "%{http_code}", "-X", method];
        arguments.extend(shown);
        curl(gateway, &arguments, path)
    };
    let mut asked = 0;
    for (path, calls) in document["paths"].as_object().unwrap() {
        let path =
            path.replace("{point}", "pump-1.pressure").replace("{id}", "pump-1").replace(['{', '}'], "");
        for method in ["get", "put", "post", "delete"] {
            let Some(call) = calls.get(method).filter(|call| call.get("security").is_none()) else {
                continue;
            };
            let (name, method) = (&call["operationId"], method.to_uppercase());
            assert_eq!(status(&method, &path, &[]), "401", "{name} without a token");
            let wrong = status(&method, &path, &["-H", "Authorization: Bearer technician-"]);
            assert!(["401", "429"].contains(&&*wrong), "{name} with a wrong token: {wrong}");
            asked += 1;
        }
    }
    assert!(asked > 25, "{asked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_asked_is_answered_as_it_is_described() {
    let dir = tempfile::tempdir().unwrap();
    let compound = Compound::start(dir.path()).await.unwrap();
    let mut gateway = Gateway::new("demo-1");
    configure(&gateway, &compound);
    beside(move || {
        gateway.start();
        let document: Json = serde_json::from_str(&curl(&gateway, &[], "/openapi.json")).unwrap();
        let asker = &Asker::new(&gateway, document.clone());
        let examples = std::env::var("GATEHOUSE_EXAMPLES").unwrap_or_else(|_| "4".into());
        std::thread::scope(|side_by_side| {
            for (role, phases, examples) in [
                ("technician", "coverage", &*examples),
                ("technician", "examples,fuzzing,stateful", &*examples),
                ("central", "examples,fuzzing", "2"),
                ("viewer", "examples,fuzzing", "2"),
            ] {
                let arguments = ["--phases", phases, "--max-examples", examples];
                side_by_side.spawn(move || asker.run(role, &arguments));
            }
        });
        held(&gateway);
        bodies(&gateway);
        guarded(&gateway, &document);
        assert!(gateway.is_running());
        assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
        gateway.stop();
    })
    .await;
    drop(compound);
}
