//! A technician's search: which topics there are on a broker. It listens under a name of its own for a while, so that the
//! channel does not hear what is none of its business; payloads are not looked at.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, timeout_at};

use super::line::{Ear, PACKET_MAX, Place, Session, Word};
use crate::field::Sighting;

/// Retained messages come at once, a sensor behind a bridge every some seconds while someone tries it.
const LISTEN: Duration = Duration::from_secs(10);
const TOPICS_MOST: usize = 500;
/// A longer one is cut.
const TOPIC_CHARS: usize = 200;

/// Ends after a while, with many topics, or when nobody wants to know any more.
pub async fn run(place: Place, id: String, time: Duration, found: Sender<Sighting>) {
    let wanted = found.clone();
    tokio::select! {
        () = wanted.closed() => {}
        trouble = seek(&place, &id, time.max(LISTEN), &found) => {
            if let Err(trouble) = trouble {
                let _ = found.send(Sighting::Trouble(trouble)).await;
            }
        }
    }
}

async fn seek(place: &Place, id: &str, time: Duration, found: &Sender<Sighting>) -> Result<(), String> {
    let (mouth, mut ear) = place.open(id, Session::Passing, PACKET_MAX);
    let end = Instant::now() + place.settings.timeout;
    match timeout_at(end, ear.next()).await {
        Ok(Ok(Word::Greeting)) => {}
        Ok(Ok(_)) => return Err("the broker does not greet".into()),
        Ok(Err(lost)) => return Err(format!("the broker is not there: {}", lost.why)),
        Err(_) => return Err(format!("no connection within {:?}", place.settings.timeout)),
    }
    // `#` leaves out what begins with `$`.
    mouth.subscribe(std::iter::once("#".to_owned()), false)?;
    let end = Instant::now() + time;
    let heard = timeout_at(end, listen(&mut ear, found)).await;
    if mouth.part() {
        // Who does not take leave is kept by the broker until the keep-alive is over.
        let _ =
            timeout_at(Instant::now() + Duration::from_secs(1), async { while ear.next().await.is_ok() {} })
                .await;
    }
    heard.unwrap_or(Ok(()))
}

async fn listen(ear: &mut Ear, found: &Sender<Sighting>) -> Result<(), String> {
    let mut topics = HashSet::new();
    loop {
        match ear.next().await.map_err(|lost| lost.why)? {
            Word::Message(mail) => {
                let Some(topic) = mail.topic().filter(|topic| !topic.starts_with('$')) else { continue };
                let address: String = topic.chars().take(TOPIC_CHARS).collect();
                let how = if mail.retained() { "retained" } else { "live" };
                if topics.insert(address.clone()) {
                    let found_one = Sighting::Found { address, line: None, how: how.into() };
                    found.send(found_one).await.map_err(|_| "nobody listens any more")?;
                }
                if topics.len() >= TOPICS_MOST {
                    return Err(format!("there are more than {TOPICS_MOST} topics; these are the first"));
                }
            }
            Word::Subscribed { refused } if refused > 0 => {
                return Err("the broker refuses to tell all topics; may this login read `#`?".into());
            }
            _ => {}
        }
    }
}
