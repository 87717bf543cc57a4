//! A month offline, then the line returns: a million events drained to a local centre, live tickets amid it, memory; the
//! same with a slow centre; and the same events pulled. `cargo bench --bench drain [-- --check] [--events N]`
//!
//! With `--check` it ends with 1 where a promise is missed: 20,000 events a second, each once and none out of order, a live
//! ticket within a second whatever the centre takes for a request, memory flat.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod centre;
mod daemon;
mod journal;

use std::collections::HashMap;
use std::ops::Range;
use std::thread::sleep;
use std::time::{Duration, Instant};

use centre::{Book, Centre};
use daemon::{Daemon, REGISTERS, free_port};
use gatehouse::sim::modbus::{Server, Units};

const PUSHED_ENOUGH: f64 = 20_000.0;
const LIVE_MAX: Duration = Duration::from_secs(1);
/// By how much memory may be higher amid the drain than before it.
const GROWTH_MAX_MB: f64 = 8.0;

struct Bench {
    dir: tempfile::TempDir,
    events: usize,
    units: Units,
    modbus: Server,
    missed: Vec<String>,
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let at = args.iter().position(|arg| arg == "--events");
    let events = at.and_then(|at| args.get(at + 1)?.parse().ok()).unwrap_or(1_000_000);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let units = Units::default();
    (0..REGISTERS).for_each(|register| units.set_holding(1, register, 0));
    let modbus = runtime.block_on(Server::tcp(units.clone())).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench { dir, events, units, modbus, missed: Vec::new() };
    bench.write();
    bench.drain();
    bench.pull();
    bench.slow("slow-50", Duration::from_millis(50), 40..75);
    bench.slow("slow-300", Duration::from_millis(300), 75..110);
    match bench.missed.is_empty() {
        true => println!("all promises kept"),
        false => println!("missed: {}", bench.missed.join("; ")),
    }
    std::process::exit(i32::from(args.iter().any(|arg| arg == "--check") && !bench.missed.is_empty()));
}

impl Bench {
    fn write(&self) {
        let begun = Instant::now();
        let data = self.dir.path().join("data");
        let bytes = journal::write(&data, self.events, &["crm", "slow-50", "slow-300"]);
        let size = std::fs::metadata(data.join("journal.db")).unwrap().len() as f64;
        println!(
            "journal    {} events of {} B, {:.0} MB, written in {:.0} s",
            self.events,
            bytes / self.events as u64,
            size / 1e6,
            begun.elapsed().as_secs_f64()
        );
    }

    /// The centre is away when the daemon starts, and then it is back.
    fn drain(&mut self) {
        let address = free_port();
        let daemon = self.start("crm", address);
        sleep(Duration::from_secs(3));
        let (before, _) = daemon.memory();
        let cpu = daemon.cpu();
        let back = Instant::now();
        let centre = Centre::open(address, Duration::ZERO);
        wait(60, || centre.look(|book| book.events > 0));
        let first = back.elapsed();
        let mut highest = before;
        let pace = Duration::from_secs_f64(self.events as f64 / 25_000.0 * 0.9 / 40.0);
        let flips = self.flip(0..40, pace, || highest = daemon.memory().0.max(highest));
        wait(300, || centre.look(|book| book.missed(self.events) == 0));
        highest = highest.max(daemon.memory().0);
        sleep(Duration::from_secs(1));
        let (after, _) = daemon.memory();
        let (seconds, cpu) = (centre.look(span), daemon.cpu() - cpu);
        let rate = centre.look(|book| book.events as f64) / seconds;
        println!(
            "drain      {rate:.0} events/s for {seconds:.1} s, {:.1} MB/s, {} requests; first one {first:.1?} after the line was back; cpu {:.2} s/s",
            centre.look(|book| book.bytes as f64) / seconds / 1e6,
            centre.look(|book| book.requests),
            cpu / seconds
        );
        println!("memory     {before:.1} MB before, {highest:.1} MB at most, {after:.1} MB after");
        self.show_live("live", &flips, &centre);
        self.show_effect(&centre, self.events);
        self.promise(rate >= PUSHED_ENOUGH, "drained below 20,000 events/s");
        self.promise(highest - before <= GROWTH_MAX_MB, "memory grew by more than 8 MB");
    }

    /// The centre takes its time for each request; what matters is what becomes of live tickets.
    fn slow(&mut self, name: &str, delay: Duration, registers: Range<u16>) {
        let address = free_port();
        let centre = Centre::open(address, delay);
        let daemon = self.start(name, address);
        wait(60, || centre.look(|book| book.events > 0));
        let flips = self.flip(registers, Duration::from_millis(450), || ());
        sleep(Duration::from_secs(2));
        let rate = centre.look(|book| book.events as f64 / span(book));
        println!("{name:<10} {rate:.0} events/s, {:.1} MB at most", daemon.memory().1);
        self.show_live("live", &flips, &centre);
        self.promise(
            centre.look(|book| book.twice + book.out_of_order) == 0,
            "an event twice or out of order",
        );
        assert!(
            centre.look(|book| book.missed(self.events)) > 0,
            "the backlog was too short for this centre"
        );
    }

    fn pull(&mut self) {
        let daemon = self.start("crm", free_port());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for zip in [false, true] {
            let (book, bytes, seconds) = runtime.block_on(pulled(&daemon, zip, self.events));
            let told = if zip { "pull gzip " } else { "pull      " };
            println!(
                "{told} {:.0} events/s, {} requests, {bytes} B on the wire, 1 : {:.1}",
                book.events as f64 / seconds,
                book.requests,
                book.bytes as f64 / bytes as f64
            );
            self.promise(
                book.missed(self.events) + book.twice + book.out_of_order == 0,
                "pulled in another order, or not all",
            );
        }
        let (longest, requests, seconds) = runtime.block_on(seldom(&daemon, self.events));
        println!(
            "seldom     {} events looked through for a kind that is not there: {seconds:.1} s, {requests} requests, the longest {longest:.2?}; {:.1} MB at most",
            self.events,
            daemon.memory().1
        );
        self.promise(longest <= Duration::from_secs(3), "a choosy pull took more than 3 s");
    }

    fn start(&self, name: &str, centre: std::net::SocketAddr) -> Daemon {
        Daemon::run(self.dir.path(), self.modbus.address, name, centre, "")
    }

    /// Raises one register after the other and says when.
    fn flip(
        &self,
        registers: Range<u16>,
        pace: Duration,
        mut meanwhile: impl FnMut(),
    ) -> HashMap<String, Instant> {
        let mut flips = HashMap::new();
        for register in registers {
            sleep(pace);
            self.units.set_holding(1, register, 200);
            flips.insert(format!("live.r{register}"), Instant::now());
            meanwhile();
        }
        flips
    }

    fn show_live(&mut self, what: &str, flips: &HashMap<String, Instant>, centre: &Centre) {
        let told =
            |point: &String, at: &Instant| Some(centre.look(|book| book.live.get(point).copied())? - *at);
        let mut late: Vec<Duration> = flips.iter().filter_map(|(point, at)| told(point, at)).collect();
        late.sort();
        let share = |share: f64| {
            late.get(((late.len() as f64 * share) as usize).min(late.len().max(1) - 1))
                .copied()
                .unwrap_or_default()
        };
        println!(
            "{what:<10} {} of {} tickets: p50 {:.0?}  p95 {:.0?}  max {:.0?}   (register changed → with the centre; polled each 100 ms)",
            late.len(),
            flips.len(),
            share(0.5),
            share(0.95),
            share(1.0)
        );
        self.promise(late.len() == flips.len(), "a live ticket did not come");
        self.promise(share(1.0) <= LIVE_MAX, "a live ticket took more than a second");
    }

    fn show_effect(&mut self, centre: &Centre, events: usize) {
        let (missed, twice, out) = centre.look(|book| (book.missed(events), book.twice, book.out_of_order));
        println!("effect     missed {missed}, twice {twice}, out of order within a ticket {out}");
        self.promise(missed + twice + out == 0, "not each event once and in order");
    }

    fn promise(&mut self, kept: bool, what: &str) {
        if !kept {
            self.missed.push(what.to_owned());
        }
    }
}

/// Everything from the beginning, a thousand at a time; also the bytes on the wire, and the seconds.
async fn pulled(daemon: &Daemon, zip: bool, events: usize) -> (Book, usize, f64) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let (mut book, mut bytes, mut after) = (Book::default(), 0, "0".to_owned());
    let begun = Instant::now();
    while book.events < events {
        let url = format!("http://{}/api/v1/events?limit=1000&after={after}", daemon.api);
        let accept = if zip { "gzip" } else { "identity" };
        let body =
            http.get(url).header("accept-encoding", accept).send().await.unwrap().bytes().await.unwrap();
        bytes += body.len();
        let text = if zip { unpacked(&body) } else { String::from_utf8(body.to_vec()).unwrap() };
        book.note(&text);
        after = next(&text);
    }
    (book, bytes, begun.elapsed().as_secs_f64())
}

/// As far as the backlog reaches: the longest request, how many there were, and the seconds.
async fn seldom(daemon: &Daemon, events: usize) -> (Duration, usize, f64) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let (mut longest, mut requests, mut after) = (Duration::ZERO, 0, "0".to_owned());
    let begun = Instant::now();
    while after.rsplit('.').next().unwrap().parse::<usize>().unwrap() < events {
        let url =
            format!("http://{}/api/v1/events?limit=1000&types=command.refused&after={after}", daemon.api);
        let asked = Instant::now();
        after = next(&http.get(url).send().await.unwrap().text().await.unwrap());
        longest = longest.max(asked.elapsed());
        requests += 1;
    }
    (longest, requests, begun.elapsed().as_secs_f64())
}

fn next(page: &str) -> String {
    let (_, rest) = page.rsplit_once("\"next\":\"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

fn unpacked(body: &[u8]) -> String {
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(body), &mut text).unwrap();
    text
}

fn span(book: &Book) -> f64 {
    let (Some(first), Some(last)) = (book.first, book.last) else { return f64::NAN };
    (last - first).as_secs_f64()
}

fn wait(seconds: u64, mut ready: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !ready() {
        assert!(Instant::now() < end, "not ready within {seconds} s");
        sleep(Duration::from_millis(100));
    }
}
