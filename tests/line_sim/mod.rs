//! A Modbus RTU bus on a pseudo-terminal that takes the time a real one takes, and demands the silence it demands.
//!
//! A pseudo-terminal hands bytes over at once. So this reckons when each would be over on the wire: the master's frame
//! takes its characters from when its first byte came; a unit answers after its turnaround, and of its answer the master
//! gets no byte before that byte's time, in chunks of a millisecond at the most as a UART's buffer gives them. A frame that
//! begins less than 3.5 characters (1.75 ms above 19200 baud) after the last is no frame for anybody: it is counted as a
//! violation and ignored. It adds up the least time that all this needs: frames, and the silences between them.
//!
//! It runs on a thread of its own, whose sleeps the kernel does not stretch, so that what it delivers is exact to some
//! microseconds. Where the machine makes it late all the same, the line was held by that long: the time counts as needed.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crc::{CRC_16_MODBUS, Crc};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use rustix::thread::set_current_timer_slack as set_timer_slack;

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_MODBUS);

#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub baud: u32,
    pub bits_per_character: u32,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Unit {
    /// From the end of the question to the beginning of the answer; 3.5 characters at least.
    pub turnaround: Duration,
    pub dead: bool,
}

/// What was on the bus so far.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// When each question began, of whom it was asked, and the least time that it, its answer and the silences after both
    /// need; nothing where there was no answer.
    pub asked: Vec<(Instant, u8, Duration)>,
    pub answered: BTreeMap<u8, u64>,
    /// Frames that began too early.
    pub violations: u64,
    /// Frames that none could understand.
    pub rubbish: u64,
    /// Function 5 and 6: after how many answers of all units, and what they said.
    pub writes: Vec<(u64, Vec<u8>)>,
    /// How long after the silence each question began.
    pub delays: Vec<Duration>,
}

impl Tally {
    pub fn answers(&self) -> u64 {
        self.answered.values().sum()
    }
}

pub struct Bus {
    pub path: String,
    tally: Arc<Mutex<Tally>>,
    units: Arc<Mutex<BTreeMap<u8, Unit>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Bus {
    pub fn start(settings: Settings, units: BTreeMap<u8, Unit>) -> Self {
        let far = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&far).unwrap();
        unlockpt(&far).unwrap();
        let path = ptsname(&far, Vec::new()).unwrap().into_string().unwrap();
        // Held open, since a terminal whose near end nobody has open cannot be read at its far end.
        let near = ioctl_tiocgptpeer(&far, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let mut raw = tcgetattr(&near).unwrap();
        raw.make_raw();
        tcsetattr(&near, OptionalActions::Now, &raw).unwrap();

        let (tally, stop) = (Arc::<Mutex<Tally>>::default(), Arc::<AtomicBool>::default());
        let units = Arc::new(Mutex::new(units));
        let wire = Wire::new(settings, far, near, tally.clone(), units.clone(), stop.clone());
        let thread = Some(std::thread::spawn(move || wire.run()));
        Self { path, tally, units, stop, thread }
    }

    pub fn tally(&self) -> Tally {
        self.tally.lock().unwrap().clone()
    }

    pub fn set(&self, address: u8, unit: Unit) {
        self.units.lock().unwrap().insert(address, unit);
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Wire {
    far: OwnedFd,
    _near: OwnedFd,
    tally: Arc<Mutex<Tally>>,
    units: Arc<Mutex<BTreeMap<u8, Unit>>>,
    stop: Arc<AtomicBool>,
    character: Duration,
    silence: Duration,
    /// When the last character on the wire was over.
    over: Instant,
}

impl Wire {
    fn new(
        settings: Settings,
        far: OwnedFd,
        near: OwnedFd,
        tally: Arc<Mutex<Tally>>,
        units: Arc<Mutex<BTreeMap<u8, Unit>>>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let character = Duration::from_secs(settings.bits_per_character.into()) / settings.baud;
        let silence = if settings.baud > 19_200 { Duration::from_micros(1750) } else { character * 7 / 2 };
        Self { far, _near: near, tally, units, stop, character, silence, over: Instant::now() }
    }

    fn run(mut self) {
        set_timer_slack(Some(std::num::NonZeroU64::MIN)).unwrap();
        while !self.stop.load(Ordering::Relaxed) {
            if let Some((began, frame)) = self.question() {
                self.answer(began, &frame);
            }
        }
    }

    /// The master's next frame, when it is over on the wire; `None` where there is none, or where it began too early.
    fn question(&mut self) -> Option<(Instant, Vec<u8>)> {
        let mut frame = self.read(Duration::from_millis(20))?;
        let began = Instant::now();
        let free = self.over + self.silence;
        let too_early = began < free;
        // Bytes that come while those before are still on the wire join them.
        loop {
            self.over = began + self.character * frame.len() as u32;
            let left = self.over.saturating_duration_since(Instant::now());
            match self.read(left.saturating_sub(Duration::from_micros(300))) {
                Some(more) => frame.extend(more),
                None => break,
            }
        }
        wait_until(self.over);
        let mut tally = self.tally.lock().unwrap();
        tally.delays.push(began.saturating_duration_since(free));
        if too_early {
            tally.violations += 1;
            return None;
        }
        Some((began, frame))
    }

    fn answer(&mut self, began: Instant, question: &[u8]) {
        let Some((address, pdu)) = unwrap(question) else {
            self.tally.lock().unwrap().rubbish += 1;
            return;
        };
        let Some(unit) = self.units.lock().unwrap().get(&address).copied() else {
            return;
        };
        if unit.dead {
            self.tally.lock().unwrap().asked.push((began, address, Duration::ZERO));
            return;
        }
        if matches!(pdu[0], 5 | 6) {
            let mut tally = self.tally.lock().unwrap();
            let answers = tally.answers();
            tally.writes.push((answers, pdu.to_vec()));
        }
        let answer = wrap(address, &reply(address, pdu));
        let turnaround = unit.turnaround.max(self.silence);
        let answers = self.over + turnaround;
        self.over = answers + self.character * answer.len() as u32;
        let mut tally = self.tally.lock().unwrap();
        let characters = (question.len() + answer.len()) as u32;
        tally.asked.push((began, address, self.character * characters + turnaround + self.silence));
        // Before the master can have it, and ask again.
        *tally.answered.entry(address).or_default() += 1;
        drop(tally);
        let late = self.deliver(&answer, answers);
        self.over += late;
        if let Some((_, _, needed)) = self.tally.lock().unwrap().asked.last_mut() {
            *needed += late;
        }
    }

    /// Returns by how much the last byte came too late.
    fn deliver(&self, answer: &[u8], began: Instant) -> Duration {
        let chunk = (Duration::from_millis(1).as_nanos() / self.character.as_nanos()).max(1) as usize;
        let (mut said, mut late) = (0, Duration::ZERO);
        for bytes in answer.chunks(chunk) {
            said += bytes.len();
            wait_until(began + self.character * said as u32);
            late = Instant::now() - (began + self.character * said as u32);
            rustix::io::write(&self.far, bytes).unwrap();
        }
        late
    }

    /// What comes within that time.
    fn read(&self, within: Duration) -> Option<Vec<u8>> {
        let within = Timespec { tv_sec: 0, tv_nsec: within.subsec_nanos().into() };
        let mut polled = [PollFd::new(&self.far, PollFlags::IN)];
        if poll(&mut polled, Some(&within)).unwrap_or(0) == 0 {
            return None;
        }
        let mut bytes = [0; 512];
        match rustix::io::read(&self.far, &mut bytes) {
            Ok(n) if n > 0 => Some(bytes[..n].to_vec()),
            _ => None,
        }
    }
}

fn wait_until(at: Instant) {
    while let Some(left) = at.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::sleep(left);
    }
}

fn unwrap(frame: &[u8]) -> Option<(u8, &[u8])> {
    let (body, crc) = frame.split_last_chunk::<2>()?;
    let right = CRC.checksum(body) == u16::from_le_bytes(*crc) && body.len() >= 6;
    right.then(|| (body[0], &body[1..]))
}

fn wrap(address: u8, pdu: &[u8]) -> Vec<u8> {
    let mut frame = [&[address], pdu].concat();
    frame.extend(CRC.checksum(&frame).to_le_bytes());
    frame
}

/// Registers hold unit × 1000 + address; what is written is echoed.
fn reply(address: u8, pdu: &[u8]) -> Vec<u8> {
    let register = u16::from_be_bytes([pdu[1], pdu[2]]);
    let count = u16::from_be_bytes([pdu[3], pdu[4]]);
    match pdu[0] {
        3 | 4 if (1..=125).contains(&count) => {
            let words = (0..count).flat_map(|n| value(address, register + n).to_be_bytes());
            [pdu[0], count as u8 * 2].into_iter().chain(words).collect()
        }
        5 | 6 => pdu.to_vec(),
        function => vec![function | 0x80, 1],
    }
}

pub fn value(address: u8, register: u16) -> u16 {
    u16::from(address) * 1000 + register
}
