//! The program's own faults, by device: a decoder that breaks at what one device says costs that device its readings, and
//! the others of the wire nothing. Each is told once.

use std::collections::HashSet;
use std::sync::Arc;

use tracing::error;

use crate::fault::Fault;
use crate::metrics::{DecoderFault, Metrics};
use crate::reading::{DeviceId, Site};

/// What was told, until the wire's task begins anew: at the most each device once for each place in the source.
#[derive(Debug)]
pub struct Stumbles {
    channel: Arc<str>,
    site: Arc<Site>,
    metrics: Metrics,
    told: HashSet<(Option<DeviceId>, Fault)>,
}

impl Stumbles {
    pub fn new(channel: Arc<str>, site: Arc<Site>, metrics: Metrics) -> Self {
        Self { channel, site, metrics, told: HashSet::new() }
    }

    /// `None`: not even whose word it was is known.
    pub fn over(&mut self, device: impl Into<Option<DeviceId>>, fault: &Fault) {
        let device = device.into();
        let known = device.and_then(|device| self.site.devices.get(device.0 as usize));
        let name = known.map_or_else(String::new, |device| device.id.to_string());
        if self.told.insert((device, fault.clone())) {
            let (channel, place) = (&self.channel, &fault.place);
            error!(%channel, device = name, %place, "The decoder broke at what a device says; it has no readings until that is mended. Please report the place.");
        }
        self.metrics.decoder_faults.get_or_create(&DecoderFault { device: name }).inc();
    }
}

/// For people: why the device is not well.
pub fn why(fault: &Fault) -> String {
    format!("decoder fault ({}): what it says cannot be read by this version of gatehouse", fault.place)
}
