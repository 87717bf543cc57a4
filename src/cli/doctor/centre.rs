//! The way to each centre: its name, its address, its certificate, its word.

use std::time::Duration;

use reqwest::Url;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::Finding;
use crate::config::Gateway;
use crate::sync::{self, Probe, ProbeClock, Target};

const WITHIN: Duration = Duration::from_secs(5);

/// What was found, and what the centres' clocks say.
pub async fn look(gateway: &Gateway) -> (Vec<Finding>, Vec<(String, ProbeClock)>) {
    let (mut findings, mut clocks) = (Vec::new(), Vec::new());
    for target in &gateway.sync {
        let probe = sync::probe(target).await;
        if let Probe::Taken { clock: Some(clock), .. } | Probe::Later { clock: Some(clock), .. } = &probe {
            clocks.push((target.name.to_string(), *clock));
        }
        findings.push(verdict(target, probe).await);
    }
    (findings, clocks)
}

async fn verdict(target: &Target, probe: Probe) -> Finding {
    let what = format!("centre {}", target.name);
    let url = &plain(&target.url);
    match probe {
        Probe::Taken { status, .. } => Finding::ok(what, format!("{url} answers {status} to an empty batch")),
        Probe::Later { status, .. } => Finding::warn(
            what,
            format!("{url} answers {status}: it is there, and wants to be asked later"),
            "if it stays so, tell the centre's people; events wait in the journal",
        ),
        Probe::Redirected { status, to } => Finding::bad(
            what,
            format!("{url} answers {status} and sends on to {}", shown(&to)),
            "redirects are not followed, since a token would go to a stranger: ask the centre's people for the right address and set `url`; \
             a portal to log in does the same",
        ),
        Probe::Page { status } => Finding::bad(
            what,
            format!("{url} answers {status} with something that is no JSON"),
            "a portal to log in stands before the network, or `url` is a page for people: open it from this network, and correct `url`",
        ),
        Probe::Forbidden { status } => Finding::bad(
            what,
            format!("{url} answers {status}: it does not take the token"),
            "ask the centre's people for a new token and put it where `token` of this [[sync]] says",
        ),
        Probe::Elsewhere { status } => Finding::bad(
            what,
            format!("{url} answers {status}: nobody takes events there"),
            "correct the path in `url` of this [[sync]]",
        ),
        Probe::Broken(words) => {
            let (found, cure) = why_broken(target, &words).await;
            Finding::bad(what, found, cure)
        }
    }
}

/// How far the way goes: the name, the connection, or what is said over it.
async fn why_broken(target: &Target, words: &str) -> (String, String) {
    let url = &target.url;
    let at = |what: &str| format!("{}: {what}", plain(url));
    let Some((host, port)) = host(url) else {
        return (at(words), "correct `url` of this [[sync]]".into());
    };
    let found: Vec<_> = match timeout(WITHIN, lookup_host((host.as_str(), port))).await {
        Ok(Ok(found)) => found.collect(),
        _ => Vec::new(),
    };
    if found.is_empty() {
        let cure = format!(
            "look after the DNS: getent hosts {host}; cat /etc/resolv.conf; is the uplink there at all (ip route)?"
        );
        return (at(&format!("the DNS has no address for {host}")), cure);
    }
    match timeout(WITHIN, TcpStream::connect(&*found)).await {
        Ok(Ok(_)) => {
            let of_ours = sync::cure(target, words).map(str::to_owned);
            (at(words), of_ours.unwrap_or_else(|| cure_over_tcp(words)))
        }
        Ok(Err(error)) => {
            let cure = "it is down, or a firewall keeps port and address: ask the network's people; events wait in the journal";
            (at(&format!("no connection to {}: {error}", found[0])), cure.into())
        }
        Err(_) => {
            let cure = "is the uplink there (ip route; ping the router)? events wait in the journal";
            (at(&format!("no connection to {} within {} s", found[0], WITHIN.as_secs())), cure.into())
        }
    }
}

fn cure_over_tcp(words: &str) -> String {
    let cure = if words.contains("Expired") || words.contains("NotValidYet") {
        "its certificate is out of date, or this machine's clock is wrong: see the clock first, then tell the centre's people"
    } else if words.contains("NotValidForName") {
        "its certificate is for another name: write that name in `url`, or have the certificate renewed"
    } else if words.contains("certificate") || words.contains("UnknownIssuer") {
        "nobody here vouches for its certificate: name the CA of the centre as `ca` of this [[sync]], or put it, or that of the proxy in between, into \
         /usr/local/share/ca-certificates and run update-ca-certificates"
    } else {
        "it takes the connection and gives no answer that can be read: is it HTTPS or HTTP, and is `url` the right port?"
    };
    cure.into()
}

fn host(url: &str) -> Option<(String, u16)> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
    Some((host, url.port_or_known_default()?))
}

/// Who writes a password or a key into `url` does not want to read it on a screen.
fn plain(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else { return "`url`, which is no address".into() };
    // They fail only where there can be none.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

/// An address that a stranger gave may hold more than where it leads.
fn shown(to: &str) -> String {
    let to = to.split(['?', '#']).next().unwrap_or_default();
    let end = to.char_indices().nth(120).map_or(to.len(), |(end, _)| end);
    if to.is_empty() { "an address that it does not say".into() } else { to[..end].to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_address_hides_is_not_shown() {
        assert_eq!(
            plain("https://li:pass@crm.example.com:8443/events?key=4711#x"),
            "https://crm.example.com:8443/events"
        );
        assert_eq!(plain("https://crm.example.com/events"), "https://crm.example.com/events");
        assert!(!plain("//li:pass@crm").contains("pass"));
    }
}
