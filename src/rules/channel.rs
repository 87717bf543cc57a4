//! `channel-offline`: a wire or broker that is down is one ticket, and the silence of its devices waits for it. Pure.
//!
//! A wire is down when it says so itself, or when each of its polled devices, two or more, is offline: a cut cable. It is
//! back with the first device that answers, or when it says so. A device that has not been heard of since the start is
//! neither there nor gone.

use std::sync::Arc;

use super::Condition;
use super::condition::Verdict;
use super::engine::{Engine, Subject};
use super::episode::Phase;
use crate::numbers::Numbers;
use crate::reading::{Batch, DeviceId, Life, Millis, Quality, Reason, Site};

#[derive(Debug, Default)]
pub struct Channels {
    all: Vec<Channel>,
    /// By device: its channel.
    of: Vec<Option<u32>>,
    /// By device: whether it is there; `None`: not heard of yet.
    there: Vec<Option<bool>>,
}

#[derive(Debug)]
struct Channel {
    watch: u32,
    /// From the first instant, not from the opening of the ticket.
    down: bool,
    devices: Vec<DeviceId>,
    polled: Vec<DeviceId>,
    /// The watches that wait for the silence of its devices.
    silences: Vec<u32>,
}

/// What a batch says of its wire.
enum Says {
    Down,
    Up,
}

impl Channels {
    fn new(site: &Site) -> Self {
        let devices = site.devices.len();
        Self { all: Vec::new(), of: vec![None; devices], there: vec![None; devices] }
    }

    /// `None`: nothing new.
    fn hear(&mut self, batch: &Batch) -> Option<(u32, Says)> {
        let device = batch.device.0 as usize;
        let number = (*self.of.get(device)?)?;
        let channel = self.all.get(number as usize)?;
        if batch.wire == Some(false) {
            for device in &channel.devices {
                self.there[device.0 as usize] = Some(false);
            }
            return Some((number, Says::Down));
        }
        if answers(batch) {
            self.there[device] = Some(true);
            return Some((number, Says::Up));
        }
        if batch.wire == Some(true) {
            return Some((number, Says::Up));
        }
        if !matches!(batch.life, Some(Life::Offline { .. })) {
            return None;
        }
        self.there[device] = Some(false);
        let cut = channel.polled.len() > 1
            && channel.polled.iter().all(|device| self.there[device.0 as usize] == Some(false));
        cut.then_some((number, Says::Down))
    }
}

/// Whether the device said anything: also that it cannot, since that came over the wire as well.
fn answers(batch: &Batch) -> bool {
    batch.life == Some(Life::Online)
        || batch.readings.iter().any(|r| r.quality == Quality::Good || r.reason == Some(Reason::DeviceError))
}

impl Engine {
    /// Places a watch for each wire.
    pub(super) fn place_channels(&mut self, rule: u32, over: &[(Arc<str>, Vec<DeviceId>)], now: Millis) {
        self.channels = Channels::new(&self.site);
        for (number, (_, devices)) in (0..).zip(over) {
            let watch = self.place(rule, Subject::Channel(number), now);
            for device in devices {
                self.channels.of[device.0 as usize] = Some(number);
            }
            let polled = devices.iter().copied().filter(|device| self.site.device(*device).polled).collect();
            let channel =
                Channel { watch, down: false, devices: devices.clone(), polled, silences: Vec::new() };
            self.channels.all.push(channel);
        }
    }

    /// Which silences wait for which wire. One that was down when the run before ended is down until it says otherwise.
    pub(super) fn take_up_channels(&mut self) {
        for index in 0..self.watches.len() as u32 {
            if !matches!(self.rule_of(index).condition, Condition::Silent(_)) {
                continue;
            }
            let device = match self.watches[index as usize].subject {
                Subject::Point(point) => self.site.point(point).device,
                Subject::Device(device) => device,
                Subject::Channel(_) | Subject::Rule | Subject::Occasion(_) => continue,
            };
            let number = self.channels.of.get(device.0 as usize).copied().flatten();
            if let Some(channel) = number.and_then(|number| self.channels.all.get_mut(number as usize)) {
                channel.silences.push(index);
            }
        }
        for channel in &mut self.channels.all {
            channel.down = self.watches[channel.watch as usize].phase == Phase::Active;
            for index in channel.silences.iter().filter(|_| channel.down) {
                self.watches[*index as usize].asleep = true;
            }
        }
    }

    /// Which wires are down, and who is there, goes on.
    pub(super) fn channels_handed_over(&mut self, before: &Self, numbers: &Numbers) {
        for number in 0..self.channels.all.len() {
            let id = self.subject_id(self.channels.all[number].watch);
            let was = before.channels.all.iter().find(|was| before.subject_id(was.watch) == id);
            if let (Some(was), Some(channel)) = (was, self.channels.all.get_mut(number)) {
                channel.down = was.down;
                for index in channel.silences.iter().filter(|_| was.down) {
                    self.watches[*index as usize].asleep = true;
                }
            }
        }
        for (device, there) in (0..).map(DeviceId).zip(&before.channels.there) {
            let now = numbers.device(device).and_then(|d| self.channels.there.get_mut(d.0 as usize));
            if let Some(now) = now {
                *now = *there;
            }
        }
    }

    /// What a batch shows of its wire.
    pub(super) fn wire(&mut self, batch: &Batch) {
        match self.channels.hear(batch) {
            Some((number, Says::Down)) => self.wire_down(number, batch.at),
            Some((number, Says::Up)) => self.wire_up(number, batch.at),
            None => {}
        }
    }

    fn wire_down(&mut self, number: u32, at: Millis) {
        let channel = &mut self.channels.all[number as usize];
        let (watch, was) = (channel.watch, std::mem::replace(&mut channel.down, true));
        if !was {
            for i in 0..self.channels.all[number as usize].silences.len() {
                let index = self.channels.all[number as usize].silences[i];
                self.bring_forward(index, at);
                let silence = &mut self.watches[index as usize];
                silence.asleep = true;
                if silence.phase != Phase::Idle {
                    silence.phase.pause(at);
                    self.touched.insert(index);
                }
            }
        }
        self.bring_forward(watch, at);
        self.hear(watch, Some(Verdict::Holds), Quality::Good, at);
    }

    fn wire_up(&mut self, number: u32, at: Millis) {
        let channel = &mut self.channels.all[number as usize];
        let (watch, was) = (channel.watch, std::mem::take(&mut channel.down));
        if was {
            for i in 0..self.channels.all[number as usize].silences.len() {
                self.wake(self.channels.all[number as usize].silences[i], at);
            }
        }
        let own = &self.watches[watch as usize];
        if own.case.is_some() || own.phase != Phase::Idle {
            self.bring_forward(watch, at);
            self.hear(watch, Some(Verdict::Gone), Quality::Good, at);
        }
    }

    /// Its wire is back: from now on the silence is the device's own.
    fn wake(&mut self, index: u32, at: Millis) {
        let silence = &mut self.watches[index as usize];
        silence.asleep = false;
        silence.at = silence.at.max(at);
        if let Phase::Pending { .. } = silence.phase {
            silence.phase = Phase::Idle;
            self.touched.insert(index);
        }
        self.arm(index);
    }

    /// After time that nobody saw: a wire that is down does not say so again.
    pub(super) fn channels_go_on(&mut self, now: Millis) {
        for number in 0..self.channels.all.len() as u32 {
            if self.channels.all[number as usize].down {
                self.wire_down(number, now);
            }
        }
    }
}
