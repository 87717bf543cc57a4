//! The real binary over its life, for tests: started, asked with curl, told by signals, and gone with the test.
#![allow(dead_code)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use gatehouse::event::Kinds;
use gatehouse::store;
use serde_json::{Value as Json, json};

/// How long a condition is waited for at the most; a test that passes waits far less.
const PATIENCE: Duration = Duration::from_secs(40);

/// A directory with a configuration, data and a log, and the daemon that runs with them.
pub struct Gateway {
    dir: tempfile::TempDir,
    id: String,
    pub listen: String,
    variables: Vec<(String, String)>,
    data: Option<PathBuf>,
    child: Option<Child>,
}

impl Gateway {
    /// Not started yet; its API listens on a port of its own choice.
    pub fn new(id: &str) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            id: id.to_owned(),
            listen: "127.0.0.1:0".to_owned(),
            variables: Vec::new(),
            data: None,
            child: None,
        }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn data(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| self.dir().join("data"))
    }

    /// The data directory lies elsewhere.
    pub fn keep_data_in(&mut self, data: &Path) {
        self.data = Some(data.to_owned());
    }

    pub fn file(&self) -> PathBuf {
        self.dir().join("gatehouse.toml")
    }

    /// Writes the configuration: this gateway, and `rest`.
    pub fn configure(&self, rest: &str) {
        self.configure_as(&self.id, &self.data(), rest);
    }

    pub fn configure_as(&self, id: &str, data: &Path, rest: &str) {
        let (data, listen) = (data.display(), &self.listen);
        let text = format!(
            "[gateway]\nid = \"{id}\"\nlocale = \"en\"\ndata_dir = \"{data}\"\n[api]\nlisten = \"{listen}\"\n{rest}"
        );
        fs::write(self.file(), text).unwrap();
    }

    /// For the daemon's environment, from the next start on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    pub fn command(&self, word: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
        command.arg(word).arg("--config").arg(self.file());
        for unwanted in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "GATEHOUSE_LOG"] {
            command.env_remove(unwanted);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command that ends by itself.
    pub fn ran(&self, word: &str) -> Output {
        let mut command = self.command(word);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Ended(command.spawn().unwrap());
        // What it says is far less than a pipe holds.
        child.wait(PATIENCE);
        let mut output = Output { status: child.0.wait().unwrap(), stdout: Vec::new(), stderr: Vec::new() };
        use std::io::Read as _;
        child.0.stdout.take().unwrap().read_to_end(&mut output.stdout).unwrap();
        child.0.stderr.take().unwrap().read_to_end(&mut output.stderr).unwrap();
        output
    }

    /// Starts it, without waiting for anything.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = fs::File::create(self.dir().join("log")).unwrap();
        let mut command = self.command("run");
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// Likewise, and its log is written by the test: what may not write anywhere can still speak.
    pub fn spawn_heard(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let mut log = fs::File::create(self.dir().join("log")).unwrap();
        let mut command = self.command("run");
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = child.stderr.take().unwrap();
        std::thread::spawn(move || std::io::copy(&mut said, &mut log));
        self.child = Some(child);
    }

    /// Starts it, and waits until its API says that it is ready.
    pub fn start(&mut self) {
        self.spawn();
        self.wait_ready();
    }

    pub fn wait_ready(&self) {
        self.until("the daemon is ready", || self.get("/readyz")?["ready"].as_bool().filter(|r| *r));
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(sent.unwrap().success());
    }

    /// Reloads, and waits until the house has been built anew.
    pub fn reload(&self) {
        let built = || self.log().matches("gatehouse runs").count();
        let before = built();
        self.signal("HUP");
        self.until("the daemon runs with the new configuration", || (built() > before).then_some(()));
        self.wait_ready();
    }

    /// SIGTERM; how it ended, and after how long.
    pub fn stop(&mut self) -> (ExitStatus, Duration) {
        self.signal("TERM");
        let asked = Instant::now();
        let mut child = Ended(self.child.take().unwrap());
        child.wait(PATIENCE);
        (child.0.wait().unwrap(), asked.elapsed())
    }

    /// After it has been killed, so that it can be started again.
    pub fn stop_killed(&mut self) -> ExitStatus {
        let mut child = Ended(self.child.take().unwrap());
        child.wait(PATIENCE);
        child.0.wait().unwrap()
    }

    /// SIGKILL, and gone.
    pub fn kill(&mut self) {
        self.signal("KILL");
        self.stop_killed();
    }

    /// What curl gets for a path, as text.
    pub fn text(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.api().expect("it listens"));
        text(&Command::new("curl").args(["-s", "--max-time", "10", &url]).output().unwrap().stdout)
    }

    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir().join("log")).unwrap_or_default()
    }

    /// Where the API listens now, as the log says.
    pub fn api(&self) -> Option<String> {
        let log = self.log();
        let line = log.lines().rev().find(|line| line.contains("the API listens"))?;
        let at = line.split("api=").nth(1)?;
        Some(at.split_whitespace().next()?.to_owned())
    }

    fn curl(&self, arguments: &[&str], path: &str) -> Option<(u16, Json)> {
        let url = format!("http://{}{path}", self.api()?);
        let answer = Command::new("curl")
            .args(["-s", "--max-time", "10", "-w", "\n%{http_code}"])
            .args(arguments)
            .arg(url)
            .output()
            .unwrap();
        let text = String::from_utf8(answer.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n')?;
        let status = status.parse().ok().filter(|status| *status != 0)?;
        Some((status, serde_json::from_str(body).unwrap_or(Json::Null)))
    }

    pub fn get(&self, path: &str) -> Option<Json> {
        self.curl(&[], path).map(|(_, body)| body)
    }

    pub fn post(&self, path: &str, body: &Json) -> (u16, Json) {
        let body = body.to_string();
        self.curl(&["-H", "Content-Type: application/json", "-d", &body], path).expect("the API answers")
    }

    /// What a person asks of a ticket.
    pub fn act(&self, ticket: &Json, verb: &str) -> (u16, Json) {
        let id = ticket["id"].as_str().unwrap();
        self.post(&format!("/api/v1/tickets/{id}/{verb}"), &json!({ "by": "Wang", "note": verb }))
    }

    pub fn tickets(&self) -> Vec<Json> {
        let page = self.get("/api/v1/tickets?limit=1000");
        list(page.unwrap_or_default(), "tickets")
    }

    pub fn ticket(&self, id: &Json) -> Json {
        self.get(&format!("/api/v1/tickets/{}", id.as_str().unwrap())).expect("the API answers")
    }

    /// The journal from its beginning, as the API tells it.
    pub fn events(&self) -> Vec<Json> {
        let page = self.get("/api/v1/events?after=0&limit=1000");
        list(page.unwrap_or_default(), "events")
    }

    /// The journal as it lies on the disk, once nobody holds it; checked for gaps.
    pub fn journal(&self) -> Vec<Json> {
        let ends = self.store();
        let slice = ends.view.events(0, 100_000, &Kinds::default()).unwrap();
        let events: Vec<Json> = slice.events.iter().map(|e| serde_json::from_str(&e.json).unwrap()).collect();
        for (n, event) in events.iter().enumerate() {
            let id = event["id"].as_str().unwrap();
            assert!(id.ends_with(&format!("/{}", n + 1)), "event {} is {id}: a gap", n + 1);
        }
        events
    }

    /// The data directory, once nobody holds it.
    pub fn store(&self) -> store::Ends {
        let settings = store::Settings::at(self.data());
        // A curl of another test, between its fork and its exec, holds our files for a moment longer than we do.
        let opened = until(|| match store::open(&settings, &self.id) {
            Err(store::Error::InUse(_)) => None,
            opened => Some(opened),
        });
        opened.expect("nobody holds it").unwrap()
    }

    /// Waits until there is an answer, and says what was waited for where there is none.
    pub fn until<T>(&self, what: &str, answer: impl FnMut() -> Option<T>) -> T {
        until(answer).unwrap_or_else(|| panic!("waited in vain until {what}; the log:\n{}", self.log()))
    }

    /// Waits until the journal has `count` events of this kind.
    pub fn until_told(&self, kind: &str, count: usize) -> Vec<Json> {
        self.until(&format!("{kind} is told {count} times"), || {
            let told = of_kind(&self.events(), kind);
            (told.len() >= count).then_some(told)
        })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            drop(Ended(child));
        }
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "the daemon's log:\n{}", self.log());
        }
    }
}

/// A child that does not outlive the test.
struct Ended(Child);

impl Ended {
    fn wait(&mut self, most: Duration) {
        let end = Instant::now() + most;
        while self.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "it did not end within {most:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn until<T>(mut answer: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        match answer() {
            Some(answer) => return Some(answer),
            None if Instant::now() > end => return None,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// The events of one kind, named without the prefix.
pub fn of_kind(events: &[Json], kind: &str) -> Vec<Json> {
    let is = |event: &&Json| event["type"].as_str().unwrap().strip_prefix("gatehouse.") == Some(kind);
    events.iter().filter(is).cloned().collect()
}

pub fn kinds(events: &[Json]) -> Vec<String> {
    let kind = |event: &Json| event["type"].as_str().unwrap().replacen("gatehouse.", "", 1);
    events.iter().map(kind).collect()
}

fn list(mut page: Json, key: &str) -> Vec<Json> {
    match page[key].take() {
        Json::Array(list) => list,
        _ => Vec::new(),
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs what blocks beside the simulated devices, which live on the test's own thread.
pub async fn beside<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(body).await {
        Ok(done) => done,
        Err(broken) => std::panic::resume_unwind(broken.into_panic()),
    }
}
