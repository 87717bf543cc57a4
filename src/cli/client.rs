//! Asks the API of a running daemon, and says what to do where it does not answer.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::daemon::{Address, Daemon};
use super::trust::{self, Papers};
use crate::fingerprint::Fingerprint;

/// Longer than the longest wait for news.
const TIMEOUT: Duration = Duration::from_secs(75);

/// Whoever is there and well says at once whether it is ready.
const READY_WITHIN: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    address: Address,
    token: Option<String>,
}

/// An answer as it came.
pub struct Answer {
    pub status: StatusCode,
    pub text: String,
}

/// What a daemon says of itself.
#[derive(Deserialize)]
pub struct Ready {
    pub degraded: Option<String>,
    journal: Option<String>,
}

impl Ready {
    pub fn is_in_memory(&self) -> bool {
        self.journal.as_deref() == Some("memory")
    }
}

/// The daemon's word on whether it is ready; `None`: there is no answer.
pub async fn ready(address: Address, papers: &Papers) -> Option<Answer> {
    let client = Client::at(address, papers, None).ok()?;
    tokio::time::timeout(READY_WITHIN, client.ask("/readyz")).await.ok()?.ok()
}

#[derive(Deserialize)]
struct Problem {
    detail: String,
}

impl Client {
    pub fn new(daemon: &Daemon) -> anyhow::Result<Self> {
        Self::at(daemon.address()?, &daemon.papers, daemon.token_file.as_deref())
    }

    pub fn at(mut address: Address, papers: &Papers, token_file: Option<&Path>) -> anyhow::Result<Self> {
        let token = match token_file {
            Some(file) => {
                let text = std::fs::read_to_string(file);
                let text = text.with_context(|| format!("cannot read the token from {}", file.display()))?;
                if Fingerprint::read(text.trim()).is_some() {
                    bail!(
                        "{} holds the fingerprint of a token, which opens nothing; name a file with the token itself",
                        file.display()
                    );
                }
                Some(text.trim().to_owned())
            }
            None => None,
        };
        // A proxy is for the world outside; the daemon is named by its own address.
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
            .timeout(TIMEOUT)
            .tls_backend_preconfigured(papers.client(&address.trust)?);
        let http = http.build().context("cannot make an HTTP client")?;
        address.url.truncate(address.url.trim_end_matches('/').len());
        Ok(Self { http, address, token })
    }

    pub fn url(&self) -> &str {
        &self.address.url
    }

    fn failed(&self, error: reqwest::Error) -> anyhow::Error {
        let words = self.no_answer(&error);
        anyhow::Error::new(error).context(words)
    }

    fn no_answer(&self, error: &reqwest::Error) -> String {
        let Address { url, why, .. } = &self.address;
        if let Some(of_tls) = trust::why(error) {
            return format!("{url}, {why}, cannot be believed: {of_tls}");
        }
        format!(
            "no answer from {url}, {why}; is the daemon running (systemctl status gatehouse; gatehouse run)? \
             If its API is elsewhere (it stays at the old address until a changed `listen` is reloaded), say --url URL or \
             --config PATH"
        )
    }

    /// Whatever the daemon says.
    pub async fn ask(&self, path: &str) -> anyhow::Result<Answer> {
        let url = format!("{}{path}", self.url());
        let mut request = self.http.get(&url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(|error| self.failed(error))?;
        let status = response.status();
        let text = response.text().await.map_err(|error| self.failed(error))?;
        Ok(Answer { status, text })
    }

    /// Says something that is answered with nothing of interest.
    pub async fn put(&self, path: &str, body: &serde_json::Value) -> anyhow::Result<()> {
        let mut request = self.http.put(format!("{}{path}", self.url()));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let request = request.header("content-type", "application/json").body(body.to_string());
        request.send().await?.error_for_status()?;
        Ok(())
    }

    /// Whatever the daemon says to that.
    pub async fn post(&self, path: &str, body: &serde_json::Value) -> anyhow::Result<Answer> {
        let mut request = self.http.post(format!("{}{path}", self.url()));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let request = request.header("content-type", "application/json").body(body.to_string());
        let response = request.send().await.map_err(|error| self.failed(error))?;
        let status = response.status();
        let text = response.text().await.map_err(|error| self.failed(error))?;
        Ok(Answer { status, text })
    }

    /// Each line of the answer as it comes; a refusal is an error in the daemon's own words.
    pub async fn lines(
        &self,
        path: &str,
        body: &serde_json::Value,
        within: Duration,
        mut each: impl FnMut(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut request = self.http.post(format!("{}{path}", self.url())).timeout(within);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let request = request.header("content-type", "application/json").body(body.to_string());
        let mut response = request.send().await.map_err(|error| self.failed(error))?;
        let status = response.status();
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.context("the daemon broke off")? {
            text.extend(chunk);
            while status.is_success()
                && let Some(end) = text.iter().position(|byte| *byte == b'\n')
            {
                let line: Vec<u8> = text.drain(..=end).collect();
                each(String::from_utf8_lossy(&line).trim())?;
            }
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        if !status.is_success() {
            bail!(self.refusal(&Answer { status, text }))
        }
        if text.trim().is_empty() { Ok(()) } else { each(text.trim()) }
    }

    /// The text of a good answer; a refusal is an error in the daemon's own words.
    pub async fn text(&self, path: &str) -> anyhow::Result<String> {
        let answer = self.ask(path).await?;
        if answer.status.is_success() {
            return Ok(answer.text);
        }
        bail!(self.refusal(&answer))
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        read(&self.text(path).await?)
    }

    pub fn refusal(&self, answer: &Answer) -> String {
        let detail = serde_json::from_str::<Problem>(&answer.text).map_or_else(
            |_| {
                format!(
                    "this is not gatehouse's API, which was sought there {}; say --url URL or --config PATH",
                    self.address.why
                )
            },
            |problem| problem.detail,
        );
        let hint = match answer.status {
            StatusCode::UNAUTHORIZED => " (--token-file or $GATEHOUSE_TOKEN_FILE)",
            _ => "",
        };
        format!("{} answers {}: {detail}{hint}", self.url(), answer.status)
    }
}

pub fn read<T: DeserializeOwned>(text: &str) -> anyhow::Result<T> {
    serde_json::from_str(text).context("the daemon's answer cannot be read; are both of the same version?")
}

/// One value of a query, safe to stand in a URL.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b',' => {
                safe.push(byte.into());
            }
            _ => {
                // Writing into a String cannot fail.
                let _ = write!(safe, "%{byte:02X}");
            }
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_stands_in_a_query_stays_one_value() {
        assert_eq!(super::escaped("ticket.*,access.*"), "ticket.%2A,access.%2A");
        assert_eq!(super::escaped("a&b=锦"), "a%26b%3D%E9%94%A6");
    }
}
