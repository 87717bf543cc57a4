//! Which daemon is meant, and where its API is: as `--url` says, else as its configuration says, else where it usually is.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use clap::Args;

use super::API_PORT;
use super::trust::{Papers, Trust};
use super::wire::local;
use crate::config::{self, Gateway};
use crate::web;

pub const CONFIG_USUAL: &str = "/etc/gatehouse";
/// Whoever listens takes a connection at once.
const THERE_WITHIN: Duration = Duration::from_secs(2);

/// How a running daemon is reached, and for whom the answer is printed.
#[derive(Debug, Args)]
pub struct Daemon {
    /// Where its API is; without it, where the configuration says (`[api] listen`), else http://127.0.0.1:8080
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The daemon's configuration, to see where its API is; without it /etc/gatehouse, where that can be read
    #[arg(long, value_name = "PATH", env = "GATEHOUSE_CONFIG")]
    pub config: Option<PathBuf>,
    /// A file with the token, where the API asks for one
    #[arg(long, value_name = "FILE", env = "GATEHOUSE_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    #[command(flatten)]
    pub papers: Papers,
    /// For machines: one JSON object, or one a line
    #[arg(long)]
    pub json: bool,
}

/// Where the daemon is asked, and why there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub url: String,
    /// For people: `as --url says`.
    pub why: String,
    /// Where it is https.
    pub trust: Trust,
}

impl Daemon {
    /// # Errors
    /// The configuration that was named cannot be read, or does not say where the API is.
    pub fn address(&self) -> anyhow::Result<Address> {
        match (&self.url, &self.config) {
            (Some(url), _) => Ok(Address::named(url)),
            (None, Some(path)) => match configured(path)? {
                Some(address) => Ok(address),
                None => bail!(
                    "there is no configuration at {} that can be read here; name another with --config or \
                     $GATEHOUSE_CONFIG, or the daemon itself with --url http://127.0.0.1:{API_PORT}",
                    path.display()
                ),
            },
            (None, None) => Ok(configured(Path::new(CONFIG_USUAL))?.unwrap_or_else(Address::usual)),
        }
    }
}

impl Address {
    pub fn named(url: &str) -> Self {
        Self { url: url.to_owned(), why: "as --url says".to_owned(), trust: Trust::Vouched }
    }

    pub fn configured(gateway: &Gateway, path: &Path) -> Self {
        let why = format!("as [api] listen of {} says", path.display());
        Self { url: url_of(&gateway.web), why, trust: Trust::of(&gateway.web, &gateway.store.dir) }
    }

    fn usual() -> Self {
        let why =
            format!("where it usually is, since {CONFIG_USUAL} holds no configuration that can be read here");
        Self { url: format!("http://127.0.0.1:{API_PORT}"), why, trust: Trust::Vouched }
    }
}

fn url_of(web: &web::Settings) -> String {
    let scheme = if web.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{}", local(web.listen))
}

/// As the configuration says, whatever else is wrong in it; `None` where there is none.
fn configured(path: &Path) -> anyhow::Result<Option<Address>> {
    let (Some(loaded), _) = config::glean(path) else { return Ok(None) };
    let gateway = &loaded.gateway;
    let listen = gateway.web.listen;
    if listen.port() == 0 {
        bail!(
            "[api] listen = \"{listen}\" of {} leaves the port to the system; the daemon's log says which one it is \
             (\"the API listens\"): name it with --url, or write a port",
            path.display()
        );
    }
    let address = Address::configured(gateway, path);
    let Some(former) = listened(&gateway.store.dir).filter(|former| is_at(former, &gateway.web)) else {
        address.trust.say_what_is_over()?;
        return Ok(Some(address));
    };
    let Address { url, why, .. } = &address;
    let former = Address {
        url: url_of(&former),
        why: format!("where it listens by the last good configuration, since nobody is at {url}, {why}"),
        trust: Trust::of(&former, &gateway.store.dir),
    };
    writeln!(io::stderr(), "asking {}, {}", former.url, former.why)?;
    Ok(Some(former))
}

/// Where the API was by the last configuration that was good: a changed `listen` or `tls` counts once it is reloaded.
fn listened(data: &Path) -> Option<web::Settings> {
    let gateway = config::outline_sources(config::last_good::texts(data)?).ok()?;
    Some(gateway.web).filter(|web| web.listen.port() != 0)
}

/// Whether the daemon is rather there than where it is to be.
fn is_at(former: &web::Settings, next: &web::Settings) -> bool {
    if former.listen == next.listen {
        return former.tls.is_some() != next.tls.is_some();
    }
    !is_there(next.listen) && is_there(former.listen)
}

fn is_there(listen: SocketAddr) -> bool {
    TcpStream::connect_timeout(&local(listen), THERE_WITHIN).is_ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn asked(url: Option<&str>, config: Option<&Path>) -> anyhow::Result<Address> {
        let url = url.map(str::to_owned);
        let papers = Papers::default();
        Daemon { url, config: config.map(Path::to_owned), token_file: None, papers, json: false }.address()
    }

    #[test]
    fn a_url_goes_before_the_configuration_and_that_before_the_usual_place() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("gatehouse.toml");
        let write = |listen: &str| {
            let text = format!("[gateway]\nid = \"gw\"\n[api]\nlisten = \"{listen}\"\n[[nonsense]]\n");
            std::fs::write(&file, text).unwrap();
        };
        write("127.0.0.1:8169");
        let from_file = asked(None, Some(&file)).unwrap();
        assert_eq!(from_file.url, "http://127.0.0.1:8169", "also where it is not right elsewhere");
        assert!(from_file.why.contains("gatehouse.toml"), "{}", from_file.why);
        assert_eq!(asked(None, Some(dir.path())).unwrap().url, from_file.url, "a directory, too");
        assert_eq!(asked(Some("http://x:1"), Some(&file)).unwrap(), Address::named("http://x:1"));

        write("127.0.0.1:0");
        let open = asked(None, Some(&file)).unwrap_err().to_string();
        assert!(open.contains("--url"), "{open}");
        let gone = asked(None, Some(&dir.path().join("nowhere"))).unwrap_err().to_string();
        assert!(gone.contains("nowhere") && gone.contains("--config"), "{gone}");
        assert!(Address::usual().url.ends_with(":8080"));
    }

    #[test]
    fn a_changed_address_is_not_there_yet_and_the_last_good_one_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("gatehouse.toml");
        let runs = TcpListener::bind("127.0.0.1:0").unwrap();
        let next = TcpListener::bind("127.0.0.1:0").unwrap();
        let [old, new] = [&runs, &next].map(|listener| listener.local_addr().unwrap());
        let text = |listen: SocketAddr| {
            let data = dir.path().display();
            format!(
                "[gateway]\nid = \"gw\"\ntimezone = \"UTC\"\ndata_dir = \"{data}\"\n[api]\nlisten = \"{listen}\"\n"
            )
        };
        config::last_good::keep(dir.path(), &[(file.clone(), text(old))]).unwrap();
        std::fs::write(&file, text(new)).unwrap();
        let url = |of: SocketAddr| format!("http://{of}");
        assert_eq!(asked(None, Some(&file)).unwrap().url, url(new), "somebody is there");
        drop(next);
        let former = asked(None, Some(&file)).unwrap();
        assert_eq!(former.url, url(old));
        assert!(former.why.contains(&url(new)) && former.why.contains("gatehouse.toml"), "{}", former.why);
        drop(runs);
        assert_eq!(
            asked(None, Some(&file)).unwrap().url,
            url(new),
            "where nobody is at all, as it is written"
        );
    }
}
