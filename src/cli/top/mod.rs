//! `top`: a running daemon as it is now, drawn anew in place: its wires, devices, tickets and events.
//!
//! ```text
//! API ──seen──▶ view ──picture──▶ screen
//! keys ──────────▲
//! ```
//! Asking and following go on while one scrolls; a daemon that is gone is told above what was seen last, and asked again.

mod keys;
mod picture;
mod screen;
mod seen;
mod view;

use std::io::{self, IsTerminal as _, Read as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::client::{Client, read};
use super::events::{self, Event};
use super::plot::letters;
use super::table::{colours, page as columns};
use super::{Daemon, print, span};
use crate::time;
use keys::{Key, keys};
use picture::{Page, picture};
use screen::{Screen, Size};
use seen::Seen;
use view::View;

/// The clock and the time that is left go on without news.
const TICK: Duration = Duration::from_secs(1);
/// Before the journal is asked again after a failure.
const PAUSE: Duration = Duration::from_secs(2);
/// Seconds that the journal is waited for.
const WAIT: u8 = 50;
const EVERY_LEAST: Duration = Duration::from_millis(200);
const QUEUE: usize = 16;

#[derive(Debug, Args)]
pub struct Top {
    /// How often it looks
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = span)]
    every: Duration,
    /// One picture, whole; so it is also where there is no terminal
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    daemon: Daemon,
}

pub async fn top(asked: &Top) -> anyhow::Result<ExitCode> {
    let client = Client::new(&asked.daemon)?;
    // Whoever is not there is told before the screen is touched.
    let mut view = View::default();
    view.see(Seen::now(&client).await?);
    if asked.once || asked.daemon.json || !io::stdout().is_terminal() {
        once(&client, view, asked.daemon.json).await?;
    } else {
        live(&client, view, asked.every.max(EVERY_LEAST)).await?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn once(client: &Client, mut view: View, json: bool) -> anyhow::Result<()> {
    if json {
        let all = view.seen.as_ref().map(Seen::machines);
        return print(&format!("{}\n", all.unwrap_or_default()));
    }
    let after = events::shortly_before_the_end(client, "").await?;
    let tail = events::pull(client, "", &after, 0).await?;
    tail.events.iter().try_for_each(|event| read(event.get()).map(|event| view.hear(event)))?;
    let size = Size { columns: columns(), rows: usize::MAX };
    let drawn = picture(&view, time::now(), Page { size, colours: colours(), letters: letters() });
    print(&(drawn.lines.join("\n") + "\n"))
}

// ---------------------------------------------------------------------------------------------- live

/// What happens beside the keys.
enum News {
    Seen(Box<Seen>),
    Missed(String),
    Told(Vec<Event>),
}

async fn live(client: &Client, mut view: View, every: Duration) -> anyhow::Result<()> {
    let mut ways_out = WaysOut::new()?;
    let mut resized = signal(SignalKind::window_change())?;
    let (out, mut news) = mpsc::channel(QUEUE);
    let mut pressed = listen();
    let (looking, following) = (look(client, every, out.clone()), follow(client, out));
    tokio::pin!(looking, following);
    let screen = Screen::enter()?;
    loop {
        let page = Page { size: Screen::size(), colours: colours(), letters: letters() };
        let drawn = picture(&view, time::now(), page);
        screen.draw(&drawn.lines)?;
        tokio::select! {
            () = ways_out.taken() => return Ok(()),
            Some(key) = pressed.recv() => if !view.press(key, drawn.most) { return Ok(()) },
            Some(news) = news.recv() => view.take(news),
            _ = resized.recv() => {}
            // Neither ends while there is somebody to tell.
            () = &mut looking => return Ok(()),
            () = &mut following => return Ok(()),
            () = sleep(TICK) => {}
        }
    }
}

impl View {
    fn take(&mut self, news: News) {
        match news {
            News::Seen(seen) => self.see(*seen),
            News::Missed(why) => self.miss(time::now(), why),
            News::Told(events) => events.into_iter().for_each(|event| self.hear(event)),
        }
    }
}

/// Signals that end it, as `q` does.
struct WaysOut([Signal; 4]);

impl WaysOut {
    fn new() -> io::Result<Self> {
        let kinds =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::quit()];
        let [a, b, c, d] = kinds.map(signal);
        Ok(Self([a?, b?, c?, d?]))
    }

    async fn taken(&mut self) {
        let [a, b, c, d] = &mut self.0;
        tokio::select! {
            _ = a.recv() => {}
            _ = b.recv() => {}
            _ = c.recv() => {}
            _ = d.recv() => {}
        }
    }
}

/// Keys from a thread of their own, since a terminal is read by waiting. It ends with the process.
fn listen() -> mpsc::Receiver<Key> {
    let (out, pressed) = mpsc::channel(QUEUE);
    std::thread::spawn(move || {
        let mut bytes = [0; 64];
        while let Ok(read @ 1..) = io::stdin().read(&mut bytes) {
            for key in keys(&bytes[..read]) {
                if out.blocking_send(key).is_err() {
                    return;
                }
            }
        }
    });
    pressed
}

async fn look(client: &Client, every: Duration, out: mpsc::Sender<News>) {
    loop {
        sleep(every).await;
        let news = match Seen::now(client).await {
            Ok(seen) => News::Seen(Box::new(seen)),
            Err(why) => News::Missed(format!("{why:#}")),
        };
        if out.send(news).await.is_err() {
            return;
        }
    }
}

/// The journal as it grows. After a failure, also that of a journal which is another one now, from its end on.
async fn follow(client: &Client, out: mpsc::Sender<News>) {
    loop {
        if let Err(gone) = follow_on(client, &out).await {
            tracing::debug!("The journal is asked again: {gone:#}");
        }
        if out.is_closed() {
            return;
        }
        sleep(PAUSE).await;
    }
}

async fn follow_on(client: &Client, out: &mpsc::Sender<News>) -> anyhow::Result<()> {
    let mut after = events::shortly_before_the_end(client, "").await?;
    loop {
        let page = events::pull(client, "", &after, WAIT).await?;
        after = page.next;
        let told = page.events.iter().map(|event| read(event.get())).collect::<anyhow::Result<_>>()?;
        if out.send(News::Told(told)).await.is_err() {
            return Ok(());
        }
    }
}
